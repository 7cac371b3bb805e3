//! `/ws` under load: members that read too slowly, that join amid a storm of messages, and that go in its middle.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use crate::support::{
    Server, assert_contains, members, send,
    session::{Session, cursor, publish},
    text, wait_for, within,
};
use axum::{Router, extract::State, response::Response, routing::get};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkback_protocol::{Body, RoomName, UserName};
use talkback_server::{AppOptions, AppState, hub::HubOptions, socket::Upgrade};
use talkback_testbed::Proxy;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// A burst of more text frames than the server takes at once: the first one beyond its bound was lost, and everything behind it a gap.
#[tokio::test]
async fn a_burst_of_many_text_frames_is_acknowledged_to_the_last() {
    let server = Server::start().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    within("sending", async {
        for number in 1..=500 {
            let line = publish("lobby", number, json!(number)).to_string();
            ann.socket.feed(Message::text(line)).await.unwrap();
        }
        ann.socket.flush().await.unwrap();
    })
    .await;
    for number in 1..=500 {
        let ack = ann.find("ack").await;
        assert_eq!((&ack["seq"], &ack["offset"]), (&json!(number), &json!(number)));
    }
}

#[tokio::test]
async fn a_slow_member_is_closed_with_4413_and_catches_up_from_the_log_without_gap_or_double() {
    const MESSAGES: u64 = 3000;
    let config = AppOptions {
        queue_bytes: 64 * 1024,
        close_timeout: Duration::from_secs(60),
        log_messages: 5000,
        log_bytes: 64 << 20,
        session_line_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut slow = Session::open(&server, 2, "bob").await;
    let joined = slow.join(json!({"room": "lobby"})).await;
    let filler = "x".repeat(8000);
    for number in 1..=MESSAGES {
        ann.say("lobby", number, json!([number, filler])).await;
    }
    assert_eq!(server.app.sockets().metrics().closed_too_slow.get(), 1);
    let (mut seen, mut code) = (0, 0);
    within("the close frame", async {
        while let Some(Ok(message)) = slow.socket.next().await {
            match message {
                Message::Text(lines) => {
                    for line in lines
                        .split('\n')
                        .map(|line| serde_json::from_str::<Value>(line).unwrap())
                    {
                        if let Some(message) = line.get("message") {
                            seen += 1;
                            assert_eq!(message["offset"], seen);
                        }
                    }
                }
                Message::Close(frame) => code = frame.unwrap().code.into(),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(code, 4413);
    assert!(seen < MESSAGES, "it was never slow");
    let mut back = Session::open(&server, 2, "bob").await;
    let joined = back
        .join(json!({"room": "lobby", "since": cursor(&joined, seen)}))
        .await;
    assert_eq!(joined["recovered"], true);
    // More than its queue may hold: it gets it as fast as it reads.
    for number in seen + 1..=MESSAGES {
        assert_eq!(back.find("message").await["offset"], number);
    }
    ann.say("lobby", MESSAGES + 1, json!("live")).await;
    assert_eq!(back.bodies(1).await, [json!("live")]);
}

#[tokio::test]
async fn a_member_that_reads_its_backlog_more_slowly_than_the_log_forgets_it_is_told() {
    // More than the system's buffers take for a client that does not read.
    const MESSAGES: u64 = 600;
    let config = AppOptions {
        log_messages: 600,
        log_bytes: 64 << 20,
        close_timeout: Duration::from_secs(60),
        session_line_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    ann.send(&[json!({"leave": {"room": "lobby"}})]).await;
    let filler = "x".repeat(30_000);
    for number in 1..=MESSAGES {
        ann.say("lobby", number, json!([number, filler])).await;
    }
    let mut slow = Session::open(&server, 2, "bob").await;
    let joined = slow.join(json!({"room": "lobby", "since": cursor(&joined, 0)})).await;
    assert_eq!((&joined["recovered"], &joined["after"]), (&json!(true), &json!(0)));
    // It reads nothing while the log moves on beneath it.
    for number in MESSAGES + 1..=2 * MESSAGES {
        ann.say("lobby", number, json!([number, filler])).await;
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 4413);
    assert_contains(&reason, "dropped before they were read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_joins_amid_a_storm_of_messages_misses_none_and_gets_none_twice() {
    const EACH: u64 = 600;
    const PUBLISHERS: u32 = 3;
    const TOTAL: u64 = EACH * PUBLISHERS as u64;
    let config = AppOptions {
        session_line_rate: 0,
        session_byte_rate: 0,

        log_messages: 100_000,
        log_bytes: 64 << 20,
        queue_messages: 100_000,
        queue_bytes: 64 << 20,
        ..AppOptions::default()
    };
    let server = std::sync::Arc::new(Server::with(config).await);
    let epoch = Session::open(&server, 99, "zoe")
        .await
        .join(json!({"room": "lobby"}))
        .await["epoch"]
        .clone();
    let publishers = (1..=PUBLISHERS).map(|number| {
        let server = server.clone();
        tokio::spawn(async move {
            let mut publisher = Session::open(&server, number, "ann").await;
            for seq in 1..=EACH {
                publisher.publish("lobby", seq, json!([number, seq])).await;
                // As many on the way as the server allows, and not more.
                if seq % 16 == 0 {
                    for _ in 0..16 {
                        publisher.expect("ack").await;
                    }
                }
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let joiners = (0..40_u32).map(|number| {
        let (server, epoch) = (server.clone(), epoch.clone());
        tokio::spawn(async move {
            // They come one after the other, all through the storm, some with a cursor and some with none.
            let newest = u64::from(number) * TOTAL / 40;
            wait_for("the storm", || server.app.hub().engine().usage().added >= newest).await;
            let mut joiner = Session::open(&server, 100 + number, "bob").await;
            let join = match number % 3 {
                0 => json!({"room": "lobby"}),
                1 => json!({"room": "lobby", "history": 50}),
                _ => json!({"room": "lobby", "since": {"epoch": epoch, "offset": newest}}),
            };
            let joined = joiner.join(join).await;
            assert_eq!(joined["recovered"], true);
            let after = joined["after"].as_u64().unwrap();
            let mut order = Vec::new();
            for offset in after + 1..=TOTAL {
                let message = joiner.find("message").await;
                assert_eq!(message["offset"], offset, "joiner {number} after {after}");
                order.push(message["body"].clone());
            }
            (after, order)
        })
    });
    let joiners: Vec<_> = joiners.collect();
    for publisher in publishers {
        within("a publisher", publisher).await.unwrap();
    }
    let mut orders = Vec::new();
    for joiner in joiners {
        orders.push(within("a joiner", joiner).await.unwrap());
    }
    let (_, longest) = orders.iter().min_by_key(|(after, _)| *after).unwrap().clone();
    for (_, order) in &orders {
        assert!(longest.ends_with(order), "the orders differ");
    }
    for number in 1..=PUBLISHERS {
        let theirs = longest
            .iter()
            .filter(|body| body[0] == number)
            .map(|body| body[1].as_u64().unwrap());
        assert!(theirs.collect::<Vec<_>>().is_sorted(), "publisher {number}");
    }
}

#[tokio::test]
async fn a_member_that_goes_in_the_middle_of_a_storm_leaves_nothing_behind() {
    let server = Server::start().await;
    let mut plain = members(&server, "lobby", &["ann"]).await.remove(0);
    for number in 0..30 {
        let member = Session::member(&server, number, "bob", "lobby").await;
        send(&mut plain, "x").await;
        member.cut();
        assert_eq!(text(&mut plain).await, "[ann] x");
    }
    wait_for("the sockets to end", || server.app.sockets().count() == 1).await;
    drop(plain);
    wait_for("the room to end", || server.app.hub().rooms() == 0).await;
}

#[tokio::test]
async fn who_comes_and_goes_while_a_member_reads_its_backlog_is_told_to_it_too() {
    const MESSAGES: u64 = 600;
    let config = AppOptions {
        log_messages: 600,
        log_bytes: 64 << 20,
        session_line_rate: 0,
        presence_grace: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let room = RoomName::parse("lobby").unwrap();
    let mut ann = Session::open(&server, 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    let mut outside = Session::open(&server, 4, "pub").await;
    let filler = "x".repeat(30_000);
    ann.send(&[json!({"leave": {"room": "lobby"}})]).await;
    for number in 1..=MESSAGES {
        outside.say("lobby", number, json!([number, filler])).await;
    }
    let gone = Session::member(&server, 3, "gone", "lobby").await;
    let mut slow = Session::open(&server, 2, "bob").await;
    slow.join(json!({"room": "lobby", "since": cursor(&joined, 0)})).await;
    // It waits for its client to read, and is not live yet.
    gone.cut();
    let _eve = Session::member(&server, 5, "eve", "lobby").await;
    wait_for("who is gone to be gone", || server.app.hub().users(&room).len() == 2).await;
    // It is told while and after it reads, and nothing of it stands between two messages in their stead.
    for offset in 1..=MESSAGES {
        assert_eq!(slow.find("message").await["offset"], offset);
    }
    slow.users("lobby", &["bob", "eve"]).await;
}

/// A proxy that passes so many bytes a second to the client.
async fn slow_link(server: SocketAddr, bytes_per_second: u32) -> Proxy {
    let proxy = Proxy::start(server).await.unwrap();
    proxy.down_rate(bytes_per_second);
    proxy
}

/// Lets somebody say so many messages of about 1 KB in each of these rooms.
async fn fill_logs(server: &Server, rooms: &[String], messages: u64) {
    let mut publisher = Session::open(server, 99, "pub").await;
    let filler = "x".repeat(900);
    for room in rooms {
        for first in (1..=messages).step_by(50) {
            let last = messages.min(first + 49);
            let lines: Vec<_> = (first..=last)
                .map(|number| publish(room, number, json!(filler)))
                .collect();
            publisher.send(&lines).await;
            for _ in first..=last {
                publisher.expect("ack").await;
            }
        }
    }
}

/// The room that catches up was the connection's only work: no line was read, acknowledged or answered before all of it was sent.
#[tokio::test]
async fn rooms_catch_up_in_turn_and_messages_are_acknowledged_meanwhile() {
    const ROOMS: usize = 64;
    const MESSAGES: u64 = 40;
    const TOTAL: usize = ROOMS * 40;
    let config = AppOptions {
        session_line_rate: 0,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let rooms: Vec<_> = (0..ROOMS).map(|number| format!("room{number}")).collect();
    fill_logs(&server, &rooms, MESSAGES).await;
    let link = slow_link(server.address, 500_000).await;
    let mut slow = Session::open_at(link.address(), 1, "ann").await;
    let joins: Vec<_> = rooms
        .iter()
        .map(|room| json!({"join": {"room": room, "history": MESSAGES}}))
        .collect();
    slow.send(&joins).await;
    let (mut received, mut seq) = (HashMap::<String, u64>::new(), 0);
    let mut answered = Vec::new();
    let mut all_began = None;
    let mut messages = 0;
    while messages < TOTAL {
        let line = slow.next().await;
        if let Some(room) = line["message"]["room"].as_str() {
            if room == "elsewhere" {
                continue;
            }
            let offset = received.entry(room.to_owned()).or_default();
            *offset += 1;
            assert_eq!(line["message"]["offset"], *offset, "in {room}");
            messages += 1;
            if received.len() == ROOMS {
                all_began.get_or_insert(messages);
            }
        } else if line.get("ack").is_some() {
            answered.push(messages);
        } else {
            assert!(line.get("joined").is_some(), "{line}");
        }
        // The next one when the one before is answered, from when the first message came.
        if messages > 0 && answered.len() == seq {
            seq += 1;
            slow.publish("elsewhere", seq as u64, json!(seq)).await;
        }
    }
    let before_half = answered.iter().filter(|messages| **messages < TOTAL / 2).count();
    assert!(
        before_half >= 3,
        "answers after so many of {TOTAL} messages: {answered:?}"
    );
    let waited = answered.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(
        waited < TOTAL / 4,
        "answers after so many of {TOTAL} messages: {answered:?}"
    );
    let all_began = all_began.unwrap();
    assert!(
        all_began <= TOTAL * 3 / 4,
        "the last room began after {all_began} of {TOTAL} messages"
    );
    // Then it gets what is said now.
    let mut publisher = Session::open(&server, 99, "pub").await;
    for room in &rooms {
        publisher.publish(room, MESSAGES + 1, json!("live")).await;
    }
    for _ in &rooms {
        assert_eq!(slow.find("message").await["offset"], MESSAGES + 1);
    }
    assert_eq!(
        server.app.sockets().metrics().sockets_opened.get(),
        3,
        "nobody connected again"
    );
}

#[tokio::test]
async fn a_client_that_reads_a_long_backlog_slowly_and_answers_pings_is_not_closed_for_silence() {
    const MESSAGES: u64 = 2_000;
    let config = AppOptions {
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(1),
        log_messages: 5_000,
        log_bytes: 64 << 20,
        session_line_rate: 0,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let room = "lobby".to_owned();
    fill_logs(&server, std::slice::from_ref(&room), MESSAGES).await;
    let joined = Session::open(&server, 2, "bob").await.join(json!({"room": room})).await;
    let link = slow_link(server.address, 600_000).await;
    let mut slow = Session::open_at(link.address(), 1, "ann").await;
    slow.answers_pings = true;
    slow.join(json!({"room": room, "since": cursor(&joined, 0)})).await;
    for offset in 1..=MESSAGES {
        assert_eq!(slow.find("message").await["offset"], offset);
    }
    assert!(slow.pings >= 2, "{} pings", slow.pings);
}

/// What is delivered kept the socket's queue from ever being empty, and a page waited for that.
#[tokio::test]
async fn a_slow_member_of_a_busy_room_gets_its_pages_after_a_bounded_amount_of_messages() {
    /// What waits for the slow member all the time, well below the bound of its queue.
    const BEHIND: u64 = 500;
    let config = AppOptions {
        session_line_rate: 0,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let room = "lobby".to_owned();
    let other = "other".to_owned();
    fill_logs(&server, &[room.clone(), other.clone()], 200).await;
    let link = slow_link(server.address, 2_000_000).await;
    let mut slow = Session::open_at(link.address(), 1, "ann").await;
    slow.join(json!({"room": room})).await;
    let mut publisher = Session::open(&server, 98, "pub").await;
    let filler = "x".repeat(900);
    let (mut said, mut got, mut asked_at) = (0, 0, None);
    let (mut page, mut of_other) = (None, 0);
    while page.is_none() || of_other < 100 {
        while said < got + BEHIND {
            said += 1;
            publisher.say(&room, said, json!(filler)).await;
        }
        if got == BEHIND && asked_at.is_none() {
            asked_at = Some(got);
            slow.send(&[
                json!({"history": {"id": 1, "room": room, "before": 200, "limit": 100}}),
                json!({"join": {"room": other, "history": 100}}),
            ])
            .await;
        }
        let line = slow.next().await;
        let since = got - asked_at.unwrap_or(got);
        if line["message"]["room"] == room {
            got += 1;
            // Each page waits for what was before it: one of history, and four of the other room.
            assert!(
                since < 10 * BEHIND,
                "{of_other} of the other room's messages after {since}"
            );
            assert!(page.is_some() || since < 3 * BEHIND, "no page after {since} messages");
        } else if line["message"]["room"] == other {
            of_other += 1;
        } else if line.get("page").is_some() {
            page = Some(line);
        }
    }
    assert_eq!(server.app.sockets().metrics().closed_too_slow.get(), 0);
}

/// A page that takes far longer than a ping may: the client has no chance to answer while it comes.
#[tokio::test]
async fn a_client_behind_a_page_on_a_slow_link_is_not_closed_for_silence() {
    let config = AppOptions {
        ping_interval: Duration::from_millis(500),
        ping_timeout: Duration::from_millis(500),
        session_line_rate: 0,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let room = "lobby".to_owned();
    fill_logs(&server, std::slice::from_ref(&room), 100).await;
    let link = slow_link(server.address, 10_000).await;
    let mut slow = Session::open_at(link.address(), 1, "ann").await;
    slow.answers_pings = true;
    slow.join(json!({"room": room})).await;
    slow.send(&[json!({"history": {"id": 1, "room": room, "before": 101, "limit": 100}})])
        .await;
    let page = slow.find("page").await;
    assert!(page.to_string().len() > 30_000, "{} bytes", page.to_string().len());
    slow.say(&room, 1, json!("still here")).await;
    assert_eq!(server.app.sockets().metrics().closed_heartbeat_lost.get(), 0);
}

#[tokio::test]
async fn a_slow_member_gets_no_more_signals_than_it_takes_and_is_not_closed_for_them() {
    const SIGNALS: usize = 400;
    let config = AppOptions {
        queue_bytes: 256 * 1024,
        session_line_rate: 0,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    let mut slow = Session::member(&server, 2, "bob", "lobby").await;
    let mut quick = Session::member(&server, 3, "eve", "lobby").await;
    for session in [&mut ann, &mut slow, &mut quick] {
        session.users("lobby", &["ann", "bob", "eve"]).await;
    }
    let filler = "x".repeat(30_000);
    for number in 0..SIGNALS {
        ann.send(&[json!({"signal": {"room": "lobby", "body": [number, filler]}})])
            .await;
        // The others go on.
        assert_eq!(quick.expect("signal").await["body"][0], number);
    }
    assert_eq!(server.app.sockets().metrics().closed_too_slow.get(), 0);
    // It gets what it had taken before, and then what is new; what was between is gone.
    let mut got = 0;
    ann.publish("lobby", 1, json!("last")).await;
    loop {
        let line = slow.next().await;
        if line.get("message").is_some() {
            break;
        }
        got += usize::from(line.get("signal").is_some());
    }
    assert!(got < SIGNALS, "it was never slow");
}

#[tokio::test]
async fn signals_at_once_are_dropped_beyond_the_bound_of_a_room() {
    let server = Server::start().await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    let mut signals: Vec<_> = (0..400)
        .map(|number| json!({"signal": {"room": "lobby", "body": [number, "x".repeat(100)]}}))
        .collect();
    signals.push(publish("lobby", 1, json!("after")));
    ann.send(&signals).await;
    let mut bytes = 0;
    loop {
        let line = bob.next().await;
        if line.get("message").is_some() {
            break;
        }
        bytes += line.to_string().len();
    }
    // The message may come before them.
    ann.publish("lobby", 2, json!("after")).await;
    loop {
        let line = bob.next().await;
        if line.get("message").is_some() {
            break;
        }
        bytes += line.to_string().len();
    }
    let bound = HubOptions::default().signal_bytes;
    assert!((1..bound + 1000).contains(&bytes), "{bytes} bytes of signals");
}

#[tokio::test]
async fn a_plain_member_gets_nothing_that_was_said_before_it_came() {
    // It joins right after something was said, before that can have been delivered.
    async fn joins_late(upgrade: Upgrade, State(app): State<AppState>) -> Response {
        upgrade.on_upgrade(async move |mut socket| {
            let (room, user) = (RoomName::parse("lobby").unwrap(), UserName::parse("late").unwrap());
            drop(app.hub().publish(&room, &user, Body::text("before")));
            let _membership = app.hub().join(&room, &user, socket.sender()).unwrap();
            drop(app.hub().publish(&room, &user, Body::text("after")));
            while socket.recv().await.is_some() {}
        })
    }
    let server = Server::with_routes(AppOptions::default(), Router::new().route("/late", get(joins_late))).await;
    let mut first = members(&server, "lobby", &["first"]).await.remove(0);
    let mut late = server.connect("/late").await;
    assert_eq!(text(&mut first).await, "[late] before");
    assert_eq!(text(&mut first).await, "[late] after");
    assert_eq!(text(&mut late).await, "[late] after");
}

/// A room over its budget of deliveries slows whoever speaks there, and refuses nothing.
#[tokio::test]
async fn who_says_more_than_a_room_may_deliver_is_read_later_and_the_others_are_not() {
    const MESSAGES: u64 = 3;
    let config = AppOptions {
        room_delivery_rate: 512 << 10,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut members = Vec::new();
    for number in 1..=20 {
        members.push(Session::member(&server, number, "ann", "lobby").await);
    }
    let mut other = Session::member(&server, 99, "eve", "elsewhere").await;
    // Each is more than the room may deliver in a second, and a pause is a second at most.
    let filler = "x".repeat(30_000);
    let start = Instant::now();
    let loud = async {
        for number in 1..=MESSAGES {
            members[0].publish("lobby", number, json!(filler)).await;
            while members[0].next().await.get("ack").is_none() {}
        }
        start.elapsed()
    };
    let quiet = async {
        for number in 1..=100 {
            other.publish("elsewhere", number, json!(number)).await;
            while other.next().await.get("ack").is_none() {}
        }
    };
    let (took, ()) = tokio::join!(loud, quiet);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(members[1].bodies(3).await.len(), 3);
}

/// What the others are told does not grow with how often they leave and join.
#[tokio::test]
async fn members_that_leave_and_join_all_the_time_are_told_in_few_lines() {
    const MEMBERS: u32 = 40;
    const TIMES: usize = 15;
    let config = AppOptions {
        presence_grace: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let start = Instant::now();
    let mut watcher = Session::member(&server, 999, "eve", "lobby").await;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(Session::open(&server, number, &format!("user{number}")).await);
    }
    // One after the other, so that each of them could be told by itself.
    for _ in 0..TIMES {
        for member in &mut members {
            member.join(json!({"room": "lobby"})).await;
            member.send(&[json!({"leave": {"room": "lobby"}})]).await;
            member.expect("left").await;
        }
    }
    for member in &mut members {
        member.join(json!({"room": "lobby"})).await;
    }
    let mut names: Vec<_> = (0..MEMBERS).map(|number| format!("user{number}")).collect();
    names.push("eve".to_owned());
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    watcher.users("lobby", &names).await;
    for member in &mut members {
        member.users("lobby", &names).await;
    }
    let tellings = start.elapsed().as_millis() / HubOptions::default().presence_interval.as_millis() + 1;
    assert!(
        watcher.tellings as u128 <= tellings,
        "{} lines in {:?}",
        watcher.tellings,
        start.elapsed()
    );
}

/// No refusal and no pause costs a client more than its rate: as long as that, in however many rooms it speaks.
#[tokio::test]
async fn a_backlog_drains_at_the_rate_in_one_room_and_in_many() {
    const MESSAGES: usize = 8_000;
    const RATE: u32 = 4_000;
    const BURST: u32 = 1_000;
    let config = AppOptions {
        session_line_rate: RATE,
        session_line_burst: BURST,
        max_connection_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    for rooms in [1, 8, 64] {
        let mut session = Session::open(&server, 1000 + u32::try_from(rooms).unwrap(), "ann").await;
        let in_flight = usize::try_from(session.welcome["limits"]["in_flight"].as_u64().unwrap()).unwrap();
        let start = Instant::now();
        let (mut sent, mut acked, mut seqs) = (0, 0, vec![0; rooms]);
        while acked < MESSAGES {
            let mut lines = Vec::new();
            while sent < MESSAGES && sent - acked < in_flight {
                let room = sent % rooms;
                seqs[room] += 1;
                sent += 1;
                lines.push(publish(&format!("{rooms}-{room}"), seqs[room], json!(sent)));
            }
            if !lines.is_empty() {
                session.send(&lines).await;
            }
            session.expect("ack").await;
            acked += 1;
        }
        let least = f64::from(u32::try_from(MESSAGES).unwrap() - BURST) / f64::from(RATE);
        let took = start.elapsed().as_secs_f64();
        assert!(took >= least * 0.9, "{took} s in {rooms} rooms, not {least} s");
    }
    assert_eq!(server.app.hub().engine().usage().refused, 0);
}
