//! `/ws`: the session over real sockets, without faults. `session_faults.rs` has the faults.

use std::time::Duration;

use crate::support::{
    Server, assert_contains, close_frame, send,
    session::{SUBPROTOCOL, Session, cursor, id, key, publish},
    text, wait_for,
};
use serde_json::{Value, json};
use talkback_server::AppOptions;

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

#[tokio::test]
async fn hello_is_answered_with_the_sender_the_user_and_the_limits() {
    let server = Server::start().await;
    let session = Session::open(&server, 1, "ann").await;
    let welcome = &session.welcome;
    assert_eq!(welcome["user"], "ann");
    assert_eq!(welcome["heartbeat_ms"], 25_000);
    assert_eq!(welcome["limits"]["body_bytes"], 32 * 1024);
    assert_eq!(welcome["limits"]["in_flight"], 128);
    let sender = welcome["sender"].as_str().unwrap().to_owned();
    assert!(!key(1).contains(&sender), "the sender id contains the key");
    let again = Session::open(&server, 1, "ann").await;
    assert_eq!(again.welcome["sender"], sender, "the same client is the same sender");
    let mut nameless = Session::silent(&server).await;
    nameless.send(&[json!({"hello": {"client": key(2)}})]).await;
    assert_eq!(nameless.expect("welcome").await["user"], "user");
}

#[tokio::test]
async fn plain_http_gets_426_and_another_subprotocol_gets_a_close_frame_with_the_reason() {
    let server = Server::start().await;
    assert_contains(&server.get("/ws", "").await, "426 Upgrade Required");
    for offers in [&[][..], &[("sec-websocket-protocol", "chat, talkback.v0")]] {
        let (mut socket, response) = server.try_connect("/ws", offers).await.unwrap();
        let accepted = response.headers().get("sec-websocket-protocol");
        assert_eq!(
            accepted.is_some(),
            !offers.is_empty(),
            "a browser fails a handshake that accepts none of its offers"
        );
        let (code, reason) = close_frame(&mut socket).await;
        assert_eq!(code, 4426);
        assert_contains(&reason, "talkback.v1");
    }
    let several = ("sec-websocket-protocol", "talkback.v9, talkback.v1");
    let (_, response) = server.try_connect("/ws", &[several]).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "talkback.v1");
    let foreign = ("origin", "https://evil.example");
    let refused = server.try_connect("/ws", &[SUBPROTOCOL, foreign]).await.unwrap_err();
    assert_contains(&refused.to_string(), "403");
}

#[tokio::test]
async fn a_message_is_acknowledged_and_reaches_all_members_including_the_sender() {
    let server = Server::start().await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    let body = json!({"text": "好", "list": [1, 2.5, null]});
    let ack = ann.say("lobby", 1, body.clone()).await;
    assert_eq!(
        (&ack["room"], &ack["seq"], &ack["offset"]),
        (&json!("lobby"), &json!(1), &json!(1))
    );
    let sender = ann.welcome["sender"].clone();
    for member in [&mut ann, &mut bob] {
        let message = member.find("message").await;
        let expected = json!({
            "room": "lobby", "offset": 1, "from": {"sender": sender, "user": "ann"},
            "seq": 1, "id": id(1), "at": ack["at"],
            "body": body,
        });
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn a_client_that_is_not_a_member_may_publish_and_receives_nothing() {
    let server = Server::start().await;
    let mut member = Session::member(&server, 1, "ann", "lobby").await;
    let mut outside = Session::open(&server, 2, "bob").await;
    assert_eq!(outside.say("lobby", 1, json!("from outside")).await["offset"], 1);
    assert_eq!(member.bodies(1).await, [json!("from outside")]);
    assert_eq!(
        outside.say("lobby", 2, json!("again")).await["offset"],
        2,
        "an ack, and no line before it"
    );
}

#[tokio::test]
async fn plain_members_and_session_members_of_a_room_receive_each_others_messages() {
    let server = Server::start().await;
    let mut session = Session::member(&server, 1, "ann", "lobby").await;
    let mut plain = server.connect("/chat/lobby?name=bob").await;
    session.users("lobby", &["ann", "bob"]).await;
    send(&mut plain, "a \"quoted\"\nline").await;
    assert_eq!(text(&mut plain).await, "[bob] a \"quoted\"\nline");
    let message = session.expect("message").await;
    assert_eq!(
        (&message["body"], &message["from"]["user"]),
        (&json!("a \"quoted\"\nline"), &json!("bob"))
    );
    assert_eq!(message.get("seq"), None);
    session.publish("lobby", 1, json!("hello \\ 好")).await;
    assert_eq!(text(&mut plain).await, "[ann] hello \\ 好");
    session.publish("lobby", 2, json!({"done": 1})).await;
    assert_eq!(text(&mut plain).await, "[ann] {\"done\":1}");
    assert_eq!(session.bodies(2).await, [json!("hello \\ 好"), json!({"done": 1})]);
}

#[tokio::test]
async fn a_late_member_receives_the_history_that_it_requests_and_then_new_messages() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    for number in 1..=30 {
        ann.say("lobby", number, json!(number)).await;
    }
    for (history, first) in [(0, 31), (10, 21), (100, 1), (5000, 1)] {
        let mut late = Session::open(&server, 2, "bob").await;
        let joined = late.join(json!({"room": "lobby", "history": history})).await;
        assert_eq!(
            (&joined["head"], &joined["after"], &joined["recovered"]),
            (&json!(30), &json!(first - 1), &json!(true))
        );
        if first <= 30 {
            assert_eq!(
                late.bodies(31 - usize::try_from(first).unwrap()).await,
                numbers(first..=30)
            );
        }
    }
    let mut late = Session::open(&server, 3, "eve").await;
    late.join(json!({"room": "lobby", "history": 1})).await;
    ann.say("lobby", 31, json!(31)).await;
    assert_eq!(late.bodies(2).await, numbers(30..=31));
}

#[tokio::test]
async fn a_cursor_recovers_what_follows_it_and_a_foreign_or_old_one_is_not_recovered() {
    let config = AppOptions {
        log_messages: 10,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    for number in 1..=30 {
        ann.say("lobby", number, json!(number)).await;
    }
    let mut probe = Session::open(&server, 2, "bob").await;
    let at_end = probe.join(json!({"room": "lobby"})).await;
    let foreign = json!({"epoch": "0123456789abcdef", "offset": 25});
    for (since, recovered, after) in [
        (cursor(&at_end, 30), true, 30),
        (cursor(&at_end, 25), true, 25),
        (cursor(&at_end, 20), true, 20),
        (cursor(&at_end, 19), false, 27),
        (cursor(&at_end, 31), false, 27),
        (foreign, false, 27),
    ] {
        let mut session = Session::open(&server, 3, "eve").await;
        let joined = session
            .join(json!({"room": "lobby", "since": since, "history": 3}))
            .await;
        assert_eq!(
            (&joined["recovered"], &joined["after"]),
            (&json!(recovered), &json!(after)),
            "{since}"
        );
        ann.publish("elsewhere", 1, json!(0)).await;
        assert_eq!(
            session.bodies(30 - after).await,
            numbers(u64::try_from(after).unwrap() + 1..=30),
            "{since}"
        );
    }
}

/// A page is much larger than its request, and pages would accumulate in memory for a client that does not read.
#[tokio::test]
async fn of_many_concurrent_requests_for_history_only_as_many_as_the_limit_are_answered() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    ann.say("lobby", 1, json!(1)).await;
    let requests: Vec<_> = (1..=40)
        .map(|id| json!({"history": {"id": id, "room": "lobby", "before": 2, "limit": 5}}))
        .collect();
    ann.send(&requests).await;
    let (mut pages, mut refused) = (0, 0);
    for _ in 0..requests.len() {
        let line = ann.next().await;
        if line["error"].is_object() {
            assert_eq!(line["error"]["code"], json!("busy"));
            refused += 1;
        } else {
            assert_eq!(line["page"]["messages"].as_array().unwrap().len(), 1, "{line}");
            pages += 1;
        }
    }
    let announced = AppOptions::default().session_options().limits.history;
    assert_eq!((pages, refused), (announced, 40 - announced));
}

#[tokio::test]
async fn history_is_read_backwards_page_by_page() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    for number in 1..=7 {
        ann.say("lobby", number, json!(number)).await;
    }
    let mut pages = Vec::new();
    let mut before = 8;
    loop {
        ann.send(&[json!({"history": {"id": before, "room": "lobby", "before": before, "limit": 3}})])
            .await;
        let page = ann.expect("page").await;
        assert_eq!(page["id"], before);
        let messages = page["messages"].as_array().unwrap();
        before = messages[0]["offset"].as_u64().unwrap();
        pages.push(
            messages
                .iter()
                .map(|message| message["body"].as_u64().unwrap())
                .collect::<Vec<_>>(),
        );
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(pages, [vec![5, 6, 7], vec![2, 3, 4], vec![1]]);
    ann.send(&[json!({"history": {"id": 99, "room": "nowhere", "before": 5, "limit": 3}})])
        .await;
    assert_eq!(ann.expect("page").await["messages"], json!([]));
}

#[tokio::test]
async fn a_burst_is_delivered_and_acknowledged_in_few_frames_of_many_lines() {
    const BURST: u64 = 100;
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    bob.frames = 0;
    ann.frames = 0;
    let burst: Vec<_> = (1..=BURST)
        .map(|number| publish("lobby", number, json!(number)))
        .collect();
    ann.send(&burst).await;
    assert_eq!(bob.bodies(100).await, numbers(1..=BURST));
    for number in 1..=BURST {
        assert_eq!(ann.expect("ack").await["offset"], json!(number));
    }
    assert!(
        bob.frames <= 3 && ann.frames <= 3,
        "{} and {} frames",
        bob.frames,
        ann.frames
    );
}

#[tokio::test]
async fn a_room_that_was_left_sends_nothing_and_can_be_joined_again() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    ann.say("lobby", 1, json!(1)).await;
    let joined =
        json!({"epoch": server.get("/rooms/lobby/messages", "").await.split("\"epoch\":\"").nth(1).unwrap()[..16]});
    assert_eq!(bob.bodies(1).await, numbers(1..=1));
    bob.send(&[json!({"leave": {"room": "lobby"}})]).await;
    assert_eq!(bob.expect("left").await["room"], "lobby");
    ann.say("lobby", 2, json!(2)).await;
    let again = bob.join(json!({"room": "lobby", "since": cursor(&joined, 1)})).await;
    assert_eq!(again["recovered"], true);
    assert_eq!(bob.bodies(1).await, numbers(2..=2), "each message once, after joined");
}

#[tokio::test]
async fn a_user_joins_with_the_first_tab_and_leaves_after_the_last_tab_and_a_grace_period() {
    let config = AppOptions {
        presence_grace: Duration::from_millis(200),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let room = talkback_protocol::RoomName::parse("lobby").unwrap();
    let mut ann = Session::open(&server, 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    assert_eq!(
        (&joined["users"], &joined["members"]),
        (&json!(1), &json!([{"user": "ann"}]))
    );
    ann.users("lobby", &["ann"]).await;
    let first = Session::member(&server, 2, "bob", "lobby").await;
    ann.users("lobby", &["ann", "bob"]).await;
    let second = Session::member(&server, 3, "bob", "lobby").await;
    first.cut();
    second.cut();
    wait_for("both to be gone", || server.app.sockets().count() == 1).await;
    let third = Session::member(&server, 2, "bob", "lobby").await;
    let mut eve = Session::open(&server, 4, "eve").await;
    assert_eq!(eve.join(json!({"room": "lobby"})).await["users"], 3);
    eve.users("lobby", &["ann", "bob", "eve"]).await;
    loop {
        let presence = ann.find_presence().await;
        assert_ne!(
            presence["left"],
            json!([{"user": "bob"}]),
            "a reconnect is reported as a leave"
        );
        if presence["joined"] == json!([{"user": "eve"}]) {
            assert_eq!(presence["users"], 3);
            break;
        }
    }
    third.cut();
    ann.users("lobby", &["ann", "eve"]).await;
    eve.users("lobby", &["ann", "eve"]).await;
    assert_eq!(server.app.hub().users(&room).len(), 2);
}

#[tokio::test]
async fn a_signal_reaches_the_other_members_and_is_not_stored() {
    let server = Server::start().await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    ann.send(&[json!({"signal": {"room": "lobby", "body": "typing"}})])
        .await;
    let signal = bob.expect("signal").await;
    assert_eq!(
        (&signal["from"]["user"], &signal["body"]),
        (&json!("ann"), &json!("typing"))
    );
    // Both send at once: each receives the signal of the other and not its own.
    ann.send(&[
        json!({"signal": {"room": "lobby", "body": 1}}),
        publish("lobby", 1, json!("x")),
    ])
    .await;
    bob.send(&[
        json!({"signal": {"room": "lobby", "body": 2}}),
        publish("lobby", 1, json!("y")),
    ])
    .await;
    assert_eq!(bob.find("signal").await["body"], 1);
    assert_eq!(ann.find("signal").await["body"], 2);
    let mut late = Session::open(&server, 3, "eve").await;
    assert_eq!(late.join(json!({"room": "lobby", "history": 100})).await["head"], 2);
    late.send(&[json!({"signal": {"room": "other", "body": 1}})]).await;
    assert_eq!(late.find("error").await["code"], "not_joined");
}

#[tokio::test]
async fn above_the_bound_users_are_counted_and_not_listed_and_the_list_is_sent_again_when_there_are_fewer() {
    let config = AppOptions {
        max_listed_users: 4,
        presence_grace: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 9, "ann", "lobby").await;
    let mut members = Vec::new();
    for number in 1..=4 {
        members.push(Session::member(&server, number, &format!("user{number}"), "lobby").await);
    }
    let mut late = Session::open(&server, 10, "zoe").await;
    let joined = late.join(json!({"room": "lobby"})).await;
    assert_eq!((&joined["users"], joined.get("members")), (&json!(6), None));
    let presence = ann.find_presence_of(6).await;
    for list in ["joined", "left", "members"] {
        assert_eq!(
            presence.get(list),
            None,
            "the list is too long and must be absent: {presence}"
        );
    }
    members.truncate(2);
    ann.find_presence_of(4).await;
    assert_eq!(
        ann.here.get("lobby"),
        None,
        "the list is sent again only below a lower bound than 4 of 4"
    );
    members.truncate(1);
    for member in [&mut ann, &mut late, &mut members[0]] {
        member.users("lobby", &["ann", "user1", "zoe"]).await;
    }
}

#[tokio::test]
async fn members_of_a_room_with_too_many_users_to_list_find_them_by_name() {
    let config = AppOptions {
        max_listed_users: 3,
        presence_grace: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "Ann", "lobby").await;
    assert_eq!(ann.welcome["find"], true);
    let mut members = Vec::new();
    for (number, name) in (2..).zip(["Hanna", "Anton", "李安", "bob"]) {
        members.push(Session::member(&server, number, name, "lobby").await);
    }
    let elsewhere = Session::member(&server, 9, "Anders", "other").await;
    assert!(!ann.finds("lobby", "AN", &["Ann", "Anton", "Hanna"]).await);
    assert!(!ann.finds("lobby", "安", &["李安"]).await);
    assert!(
        !ann.finds("lobby", " ｂｏ", &["bob"]).await,
        "the part is normalized as names are"
    );
    assert!(!ann.finds("lobby", "x", &[]).await);
    ann.send(&[json!({"find": {"id": 7, "room": "lobby"}})]).await;
    let all = ann.find("found").await;
    assert_eq!(
        (&all["id"], all["members"].as_array().map(Vec::len)),
        (&json!(7), Some(5))
    );
    members.remove(0);
    ann.finds("lobby", "an", &["Ann", "Anton"]).await;

    let mut outside = elsewhere;
    outside
        .send(&[json!({"find": {"id": 1, "room": "lobby", "name": "ann"}})])
        .await;
    let error = outside.find("error").await;
    assert_eq!(
        (&error["code"], &error["kind"], &error["id"]),
        (&json!("not_joined"), &json!("find"), &json!(1))
    );
    let leave = json!({"leave": {"room": "lobby"}});
    ann.send(&[json!({"find": {"id": 8, "room": "lobby"}}), leave]).await;
    let error = ann.find("error").await;
    assert_eq!(
        (&error["code"], &error["id"], &error["retry_after_ms"]),
        (&json!("not_joined"), &json!(8), &Value::Null),
        "the room is left before the answer"
    );
}

/// An answer is much larger than its request, and answers would accumulate in memory for a client that does not read.
#[tokio::test]
async fn of_many_concurrent_searches_only_as_many_as_the_limit_are_answered_and_each_has_fifty_users_at_most() {
    let server = Server::start().await;
    let mut members = Vec::new();
    for number in 1..=52 {
        members.push(Session::member(&server, number, &format!("user {number:02}"), "lobby").await);
    }
    let first = &mut members[0];
    first.finds("lobby", "52", &["user 52"]).await;
    let searches: Vec<_> = (1..=40)
        .map(|id| json!({"find": {"id": id, "room": "lobby", "name": "User"}}))
        .collect();
    first.send(&searches).await;
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..searches.len() {
        let line = first.next().await;
        if line["error"].is_object() {
            assert_eq!(
                (&line["error"]["code"], &line["error"]["kind"]),
                (&json!("busy"), &json!("find"))
            );
            refused += 1;
        } else {
            let found = &line["found"];
            assert_eq!(
                (found["members"].as_array().map(Vec::len), &found["more"]),
                (Some(50), &json!(true))
            );
            answered += 1;
        }
    }
    let announced = AppOptions::default().session_options().limits.history;
    assert_eq!((answered, refused), (announced, 40 - announced));
}

#[tokio::test]
async fn the_health_report_has_counters_of_the_log_and_of_sessions() {
    let server = Server::start().await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    ann.say("lobby", 1, json!(1)).await;
    ann.say("lobby", 1, json!(1)).await;
    let health = server.health().await;
    let log = &health["log"];
    assert_eq!(
        (&log["rooms"], &log["messages"], &log["added"], &log["duplicates"]),
        (&json!(1), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&health["sessions_opened"], &health["sessions"]),
        (&json!(1), &json!(1))
    );
}
