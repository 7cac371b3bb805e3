//! `/ws` under load: members that read too slowly, and members that join and leave while many messages are sent.

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

/// Former behaviour: of a burst of more text frames than the server reads at once, the first one above the bound was
/// lost, and the messages after it were a gap.
#[tokio::test]
async fn a_burst_of_many_text_frames_is_acknowledged_completely() {
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
async fn a_slow_member_is_closed_with_4413_and_catches_up_from_the_log_without_gaps_or_duplicates() {
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
    assert!(seen < MESSAGES, "the member was not slow");
    let mut back = Session::open(&server, 2, "bob").await;
    let joined = back
        .join(json!({"room": "lobby", "since": cursor(&joined, seen)}))
        .await;
    assert_eq!(joined["recovered"], true);
    // More messages than its queue may hold: they are sent as fast as the member reads.
    for number in seen + 1..=MESSAGES {
        assert_eq!(back.find("message").await["offset"], number);
    }
    ann.say("lobby", MESSAGES + 1, json!("live")).await;
    assert_eq!(back.bodies(1).await, [json!("live")]);
}

#[tokio::test]
async fn a_member_that_reads_its_backlog_more_slowly_than_the_log_drops_it_is_closed() {
    // More messages than the system's buffers hold for a client that does not read.
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
    // The member reads nothing while the log drops old messages.
    for number in MESSAGES + 1..=2 * MESSAGES {
        ann.say("lobby", number, json!([number, filler])).await;
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 4413);
    assert_contains(&reason, "dropped before they were read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_joins_during_a_burst_of_messages_misses_none_and_gets_none_twice() {
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
                // At most as many messages are in flight as the server allows.
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
            // The joiners join at different times while messages are published, some with a cursor and some without.
            let newest = u64::from(number) * TOTAL / 40;
            wait_for("the next joiner's time", || {
                server.app.hub().engine().usage().added >= newest
            })
            .await;
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
async fn members_that_disconnect_during_a_burst_of_messages_are_removed() {
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
async fn a_member_that_catches_up_receives_presence_too() {
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
    // The session waits for its client to read, and still catches up.
    gone.cut();
    let _eve = Session::member(&server, 5, "eve", "lobby").await;
    wait_for("the user to be removed", || server.app.hub().users(&room).len() == 2).await;
    // Presence is sent while and after the member catches up, and does not replace messages.
    for offset in 1..=MESSAGES {
        assert_eq!(slow.find("message").await["offset"], offset);
    }
    slow.users("lobby", &["bob", "eve"]).await;
}

/// A proxy with a rate to the client.
async fn slow_link(server: SocketAddr, bytes_per_second: u32) -> Proxy {
    let proxy = Proxy::start(server).await.unwrap();
    proxy.down_rate(bytes_per_second);
    proxy
}

/// Publishes this many messages of about 1 KB in each of these rooms.
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

/// Former behaviour: while one room caught up, no line of the connection was read, acknowledged or answered.
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
        // After the first message the next message is published when the one before is acknowledged.
        if messages > 0 && answered.len() == seq {
            seq += 1;
            slow.publish("elsewhere", seq as u64, json!(seq)).await;
        }
    }
    let before_half = answered.iter().filter(|messages| **messages < TOTAL / 2).count();
    assert!(
        before_half >= 3,
        "acks after these numbers of {TOTAL} messages: {answered:?}"
    );
    let waited = answered.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(
        waited < TOTAL / 4,
        "acks after these numbers of {TOTAL} messages: {answered:?}"
    );
    let all_began = all_began.unwrap();
    assert!(
        all_began <= TOTAL * 3 / 4,
        "the last room began after {all_began} of {TOTAL} messages"
    );
    // After that it receives new messages.
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
        "a session reconnected"
    );
}

#[tokio::test]
async fn a_client_that_reads_a_long_backlog_slowly_and_answers_pings_does_not_time_out() {
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

/// Former behaviour: a page waited until the socket's queue was empty, which deliveries prevented.
#[tokio::test]
async fn a_slow_member_of_a_busy_room_receives_pages_after_a_bounded_number_of_messages() {
    /// The number of messages that always wait for the slow member, well below the bound of its queue.
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
    let (mut published, mut received, mut asked_at) = (0, 0, None);
    let (mut page, mut of_other) = (None, 0);
    while page.is_none() || of_other < 100 {
        while published < received + BEHIND {
            published += 1;
            publisher.say(&room, published, json!(filler)).await;
        }
        if received == BEHIND && asked_at.is_none() {
            asked_at = Some(received);
            slow.send(&[
                json!({"history": {"id": 1, "room": room, "before": 200, "limit": 100}}),
                json!({"join": {"room": other, "history": 100}}),
            ])
            .await;
        }
        let line = slow.next().await;
        let since = received - asked_at.unwrap_or(received);
        if line["message"]["room"] == room {
            received += 1;
            // Each page waits for the messages that were queued before it: one page of history, and four of the other
            // room.
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

/// The page takes much longer than the ping timeout, and the client cannot answer the ping before it has received the
/// page.
#[tokio::test]
async fn a_client_that_receives_a_page_over_a_slow_link_does_not_time_out() {
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
async fn signals_to_a_slow_member_are_dropped_and_do_not_close_it() {
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
        // The other member receives every signal.
        assert_eq!(quick.expect("signal").await["body"][0], number);
    }
    assert_eq!(server.app.sockets().metrics().closed_too_slow.get(), 0);
    // The slow member receives the signals that were queued before, and then new lines; the signals between were
    // dropped.
    let mut received = 0;
    ann.publish("lobby", 1, json!("last")).await;
    loop {
        let line = slow.next().await;
        if line.get("message").is_some() {
            break;
        }
        received += usize::from(line.get("signal").is_some());
    }
    assert!(received < SIGNALS, "the member was not slow");
}

#[tokio::test]
async fn concurrent_signals_above_the_bound_of_a_room_are_dropped() {
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
    // The message may arrive before the signals.
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
async fn a_plain_member_receives_no_messages_from_before_its_join() {
    // The member joins directly after a message was published, before it can be delivered.
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

/// A room over its budget of deliveries slows its publishers down and refuses nothing.
#[tokio::test]
async fn a_publisher_over_its_rooms_delivery_rate_is_read_later_and_other_rooms_are_not() {
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
    // Each message costs more than the room may deliver in a second, and a pause is at most a second.
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

/// The number of presence lines does not grow with the number of joins and leaves.
#[tokio::test]
async fn members_that_leave_and_join_repeatedly_cause_few_presence_lines() {
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
    // In sequence, so that a line for each of them would be possible.
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
    let intervals = start.elapsed().as_millis() / HubOptions::default().presence_interval.as_millis() + 1;
    assert!(
        watcher.presence_lines as u128 <= intervals,
        "{} lines in {:?}",
        watcher.presence_lines,
        start.elapsed()
    );
}

/// Refusals and pauses cost no time in addition to the rate, with any number of rooms.
#[tokio::test]
async fn a_backlog_is_sent_at_the_rate_in_one_room_and_in_many() {
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
