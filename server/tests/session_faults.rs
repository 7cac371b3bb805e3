//! `/ws` with faults: lost acks, cut and half-open connections, slow members, floods, invalid lines, and a server that
//! stops.

use std::time::Duration;

use crate::support::{
    self, Server, assert_contains, close_frame, frame,
    session::{SUBPROTOCOL, Session, cursor, id, key, publish},
    wait_for, within,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkback_server::AppOptions;
use tokio_tungstenite::tungstenite::Message;

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

#[tokio::test]
async fn a_message_that_is_resent_after_a_lost_ack_is_acknowledged_again_and_delivered_once() {
    let server = Server::start().await;
    let mut member = Session::member(&server, 9, "eve", "lobby").await;
    for number in 1..=20 {
        let mut ann = Session::open(&server, 1, "ann").await;
        ann.publish("lobby", number, json!(number)).await;
        // The message was appended, but the ack does not reach the client.
        assert_eq!(member.bodies(1).await, numbers(number..=number));
        ann.cut();
    }
    let mut ann = Session::open(&server, 1, "ann").await;
    let resent: Vec<_> = (11..=21)
        .map(|number| publish("lobby", number, json!(number)))
        .collect();
    ann.send(&resent).await;
    for number in 11..=21 {
        let ack = ann.expect("ack").await;
        assert_eq!((&ack["seq"], &ack["offset"]), (&json!(number), &json!(number)));
    }
    assert_eq!(
        member.bodies(1).await,
        numbers(21..=21),
        "an earlier message was delivered twice"
    );
}

#[tokio::test]
async fn two_concurrent_sockets_of_one_client_reorder_duplicate_and_lose_nothing() {
    let server = Server::start().await;
    let mut member = Session::member(&server, 9, "eve", "lobby").await;
    let mut old = Session::open(&server, 1, "ann").await;
    let mut new = Session::open(&server, 1, "ann").await;
    old.say("lobby", 1, json!(1)).await;
    new.send(&[
        publish("lobby", 1, json!(1)),
        publish("lobby", 2, json!(2)),
        publish("lobby", 3, json!(3)),
    ])
    .await;
    for offset in 1..=3 {
        assert_eq!(new.expect("ack").await["offset"], offset);
    }
    // Messages of the old socket arrive late.
    assert_eq!(old.say("lobby", 2, json!(2)).await["offset"], 2);
    old.publish("lobby", 5, json!(5)).await;
    let nack = old.expect("nack").await;
    assert_eq!((&nack["seq"], &nack["code"]), (&json!(5), &json!("gap")));
    assert!(
        nack["retry_after_ms"].is_u64(),
        "the nack of a gap must be temporary: {nack}"
    );
    assert_eq!(new.say("lobby", 4, json!(4)).await["offset"], 4);
    assert_eq!(old.say("lobby", 5, json!(5)).await["offset"], 5);
    assert_eq!(member.bodies(5).await, numbers(1..=5));
}

#[tokio::test]
async fn a_withdrawn_or_too_large_message_is_settled_and_the_next_one_is_appended() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    ann.say("lobby", 1, json!(1)).await;
    for _ in 0..2 {
        ann.publish("lobby", 2, json!("x".repeat(32 * 1024))).await;
        let nack = ann.expect("nack").await;
        assert_eq!((&nack["code"], nack.get("retry_after_ms")), (&json!("too_large"), None));
    }
    for _ in 0..2 {
        ann.send(&[json!({"withdraw": {"room": "lobby", "seq": 3, "id": id(3)}})])
            .await;
        assert_eq!(ann.expect("nack").await["code"], "withdrawn");
    }
    ann.publish("lobby", 3, json!("an old copy")).await;
    assert_eq!(ann.expect("nack").await["code"], "withdrawn");
    let other = json!({"publish": {"room": "lobby", "seq": 3, "id": id(77), "body": "another message"}});
    ann.send(&[other]).await;
    assert_eq!(ann.expect("nack").await["code"], "conflict");
    assert_eq!(ann.say("lobby", 4, json!(4)).await["offset"], 2);
}

#[tokio::test]
async fn another_server_has_another_epoch_and_does_not_recover_a_cursor() {
    let first = Server::start().await;
    let mut ann = Session::open(&first, 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    for number in 1..=5 {
        ann.publish("lobby", number, json!(number)).await;
    }
    assert_eq!(ann.bodies(5).await, numbers(1..=5));
    drop(first);
    let second = Server::start().await;
    let mut ann = Session::open(&second, 1, "ann").await;
    let again = ann
        .join(json!({"room": "lobby", "since": cursor(&joined, 5), "history": 10}))
        .await;
    assert_ne!(again["epoch"], joined["epoch"]);
    assert_eq!(
        (&again["recovered"], &again["head"], &again["after"]),
        (&json!(false), &json!(0), &json!(0))
    );
    // A log without an entry of ann must not accept a later message before an earlier one.
    ann.publish("lobby", 6, json!(6)).await;
    assert_eq!(ann.find("nack").await["code"], "gap");
    let goes_on = json!({"publish": {"room": "lobby", "seq": 6, "id": id(6), "first": true, "body": 6}});
    ann.send(&[goes_on]).await;
    assert_eq!(ann.find("ack").await["offset"], 1);
}

#[tokio::test]
async fn a_fast_client_is_read_at_its_rate_and_none_of_its_messages_are_refused() {
    const RATE: u32 = 200;
    const BURST: u32 = 200;
    const MESSAGES: u32 = 500;
    let config = AppOptions {
        session_line_rate: RATE,
        session_line_burst: BURST,
        // A burst is never less than the lines that a client needs to join its rooms again.
        max_session_rooms: 4,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut other = Session::open(&server, 2, "bob").await;
    let start = std::time::Instant::now();
    // At most 100 messages are in flight, within the limit of the server.
    let (mut sent, mut acked) = (0, 0);
    while acked < MESSAGES {
        let next = (sent + 1..=MESSAGES.min(acked + 100)).map(|number| publish("lobby", number.into(), json!(number)));
        let next: Vec<_> = next.collect();
        if !next.is_empty() {
            sent += u32::try_from(next.len()).unwrap();
            ann.send(&next).await;
        }
        acked += 1;
        assert_eq!(ann.expect("ack").await["seq"], acked);
    }
    let least = Duration::from_secs_f64(f64::from(MESSAGES - BURST) / f64::from(RATE));
    assert!(
        start.elapsed() >= least - Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        other.say("lobby", 1, json!(1)).await["offset"],
        MESSAGES + 1,
        "another client is slowed down"
    );
    // The next connection of the client has no new burst.
    ann.cut();
    let ended = &server.app.sockets().metrics().sessions_ended;
    wait_for("the end of the session", || ended.get() == 1).await;
    let start = std::time::Instant::now();
    let mut again = Session::open(&server, 1, "ann").await;
    let more: Vec<_> = (MESSAGES + 1..=MESSAGES + 120)
        .map(|number| publish("lobby", number.into(), json!(0)))
        .collect();
    again.send(&more).await;
    again.say("lobby", u64::from(MESSAGES) + 121, json!("last")).await;
    while again.expect("ack").await["seq"] != MESSAGES + 121 {}
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_of_lines_that_no_other_limit_counts_closes_with_4429() {
    let server = Server::start().await;
    for text in ["\n".repeat(900), "{\"wave\":{}}\n".repeat(900)] {
        let mut session = Session::open(&server, 1, "ann").await;
        within("sending", async {
            for _ in 0..100 {
                if session.socket.send(Message::text(text.as_str())).await.is_err() {
                    break;
                }
            }
        })
        .await;
        assert_eq!(session.closed().await.0, 4429);
    }
}

#[tokio::test]
async fn a_refused_name_closes_with_4403_and_a_refused_room_is_answered_with_an_error() {
    let server = Server::start().await;
    for name in ["server", "a]b", "\u{200b}"] {
        let mut session = Session::silent(&server).await;
        session
            .send(&[json!({"hello": {"client": key(1), "name": name}})])
            .await;
        let (code, reason) = session.closed().await;
        assert_eq!(code, 4403, "{name:?}: {reason}");
        assert_contains(&reason, "name");
    }
    let mut session = Session::open(&server, 1, "  Ａnn  ").await;
    assert_eq!(session.welcome["user"], "Ann", "the normalised name");
    for (room, code) in [
        ("a/b", "bad_room"),
        ("cafe\u{301}", "bad_room"),
        ("~server", "forbidden"),
    ] {
        session
            .send(&[
                json!({"join": {"room": room}}),
                publish(room, 1, json!(1)),
                json!({"history": {"id": 1, "room": room, "before": 1, "limit": 1}}),
            ])
            .await;
        for kind in ["error", "nack", "error"] {
            let refused = session.expect(kind).await;
            assert_eq!((&refused["code"], &refused["room"]), (&json!(code), &json!(room)));
            assert_eq!(refused.get("retry_after_ms"), None);
        }
    }
    session.join(json!({"room": "caf\u{e9}"})).await;
    assert_eq!(server.app.hub().engine().usage().rooms, 1, "refused rooms were created");
}

#[tokio::test]
async fn invalid_lines_close_with_4400_and_the_reason_and_unknown_kinds_are_skipped() {
    let server = Server::start().await;
    for (text, told) in [
        ("hello", "line 1 is not a JSON object"),
        (
            "{\"ping\":{}}\n{\"publish\":{\"room\":\"a\",\"seq\":1,\"body\":1}}",
            "line 2: bad publish",
        ),
        ("{\"publish\":{\"room\":\"a\",\"seq\":0,\"body\":1}}", "bad publish"),
        (
            "{\"publish\":{\"room\":\"a\",\"seq\":9007199254740992,\"body\":1}}",
            "bad publish",
        ),
        ("{\"join\":{}}", "bad join"),
        (
            "{\"hello\":{\"client\":\"00000000000000000000000000000001\"}}",
            "hello came twice",
        ),
    ] {
        let mut session = Session::open(&server, 1, "ann").await;
        session.send_text(text).await;
        let (code, reason) = session.closed().await;
        assert_eq!(code, 4400, "{text}: {reason}");
        assert_contains(&reason, told);
    }
    for text in ["{\"ping\":{}}", "{\"hello\":{\"client\":\"short\"}}", "{\"hello\":{}}"] {
        let mut session = Session::silent(&server).await;
        session.send_text(text).await;
        assert_eq!(session.closed().await.0, 4400, "{text}");
    }
    let mut session = Session::open(&server, 1, "ann").await;
    session
        .send_text("{\"wave\":{\"at\":1}}\n\n{\"ping\":{\"later\":true}}")
        .await;
    session.expect("pong").await;
    assert_eq!(server.app.hub().engine().usage().rooms, 0);
}

#[tokio::test]
async fn binary_and_too_large_messages_close_the_session_after_earlier_messages_are_answered() {
    let server = Server::start().await;
    let mut session = Session::open(&server, 1, "ann").await;
    session.publish("lobby", 1, json!(1)).await;
    within("sending", session.socket.send(Message::binary(vec![1])))
        .await
        .unwrap();
    session.expect("ack").await;
    assert_eq!(session.closed().await.0, 1003);
    let mut session = Session::open(&server, 2, "ann").await;
    session.send_text(&"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(session.closed().await.0, 1009);
    let mut session = Session::open(&server, 3, "ann").await;
    session.send_text(&"\n".repeat(2000)).await;
    assert_eq!(session.closed().await.0, 1009);
}

#[tokio::test]
async fn a_client_that_sends_nothing_at_first_or_later_is_closed_with_4408() {
    let config = AppOptions {
        hello_timeout: Duration::from_millis(100),
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    assert_eq!(Session::silent(&server).await.closed().await.0, 4408);
    // The WebSocket answers pings, as a browser does for a page that hangs, but the session sends nothing.
    let mut hangs = Session::open(&server, 1, "ann").await;
    let (code, reason) = hangs.closed().await;
    assert_eq!(code, 4408);
    assert_contains(&reason, "nothing was heard");
    let mut responsive = Session::open(&server, 1, "ann").await;
    for _ in 0..5 {
        // `next` skips pings.
        let ping = within("a ping", responsive.socket.next()).await.unwrap().unwrap();
        if ping.is_text() {
            assert_contains(ping.to_text().unwrap(), "{\"ping\":{}}");
            responsive.send(&[json!({"pong": {}})]).await;
        }
    }
    assert_eq!(server.app.sockets().count(), 1);
}

#[tokio::test]
async fn a_half_open_socket_times_out_and_leaves_its_room() {
    let config = AppOptions {
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_millis(100),
        presence_grace: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    // A client that disappeared: its connection stays open, and no bytes arrive from it.
    let mut gone = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let handshake = support::handshake("/ws").replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: talkback.v1\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut gone, handshake.as_bytes())
        .await
        .unwrap();
    support::read_head(&mut gone).await;
    let hello = format!(
        "{{\"hello\":{{\"client\":\"{}\",\"name\":\"ann\"}}}}\n{{\"join\":{{\"room\":\"lobby\"}}}}",
        key(1)
    );
    let hello = frame(0x81, hello.as_bytes());
    tokio::io::AsyncWriteExt::write_all(&mut gone, &hello).await.unwrap();
    wait_for("the member", || server.app.hub().rooms() == 1).await;
    wait_for("the room to end", || server.app.hub().rooms() == 0).await;
    assert_eq!(server.app.sockets().metrics().closed_heartbeat_lost.get(), 1);
    drop(gone);
}

#[tokio::test]
async fn a_server_that_stops_lets_sessions_reconnect_at_once() {
    let mut server = Server::start().await;
    let mut sessions = Vec::new();
    for number in 1..=20 {
        sessions.push(Session::member(&server, number, "ann", "lobby").await);
    }
    let mut plain = server.connect("/echo").await;
    server.stop();
    for session in &mut sessions {
        let close = session.closed().await;
        assert_eq!(close, (1012, r#"{"retry_after_ms":0}"#.to_owned()));
    }
    assert_eq!(close_frame(&mut plain).await.0, 1001);
    server.ended().await;
}

#[tokio::test]
async fn rooms_and_members_are_bounded_and_a_session_gets_an_error_and_stays_open() {
    let config = AppOptions {
        max_session_rooms: 2,
        max_room_members: 1,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "a").await;
    ann.join(json!({"room": "b"})).await;
    let mut bob = Session::open(&server, 2, "bob").await;
    for (session, room, code) in [(&mut ann, "c", "too_many_rooms"), (&mut bob, "a", "room_full")] {
        session.send(&[json!({"join": {"room": room}})]).await;
        let error = session.expect("error").await;
        assert_eq!(
            (&error["code"], &error["room"], &error["kind"]),
            (&json!(code), &json!(room), &json!("join"))
        );
    }
    ann.send(&[json!({"join": {"room": "a"}})]).await;
    assert_eq!(ann.expect("error").await["code"], "already_joined");
    ann.cut();
    wait_for("the rooms of ann to end", || server.app.hub().rooms() == 0).await;
    bob.join(json!({"room": "a"})).await;
}

#[tokio::test]
async fn messages_published_over_http_are_delivered_in_the_order_of_the_log() {
    let config = AppOptions {
        publish_key: Some("0123456789abcdef".parse().unwrap()),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "todo").await;
    for number in 1..=20_u64 {
        if number % 2 == 0 {
            ann.publish("todo", number / 2, json!(number)).await;
            assert_eq!(ann.find("ack").await["offset"], number);
        } else {
            let body = number.to_string();
            let request = format!(
                "POST /rooms/todo/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
                 Authorization: Bearer 0123456789abcdef\r\n\r\n{body}",
                body.len()
            );
            assert_contains(&server.raw(&request).await, "201 Created");
        }
    }
    let mut late = Session::open(&server, 2, "bob").await;
    late.join(json!({"room": "todo", "history": 100})).await;
    assert_eq!(late.bodies(20).await, numbers(1..=20));
}

#[tokio::test]
async fn a_draining_server_closes_a_session_that_was_just_upgraded_too() {
    let server = Server::start().await;
    let mut session = Session::open(&server, 1, "ann").await;
    let (_, (code, _)) = tokio::join!(server.app.sockets().drain(Duration::ZERO), session.closed());
    assert_eq!(code, 1012);
    assert!(
        server.try_connect("/ws", &[SUBPROTOCOL]).await.is_err(),
        "a new session is refused"
    );
}
