//! `/chat/{room}`: all members of a room receive what one of them sends, and no other client does.

use std::time::Duration;

use crate::support::{self, Server, assert_contains, close_frame, frame, members, next, send, text, wait_for, within};
use talkback_server::AppOptions;
use tokio::{io::AsyncWriteExt, time::Instant};
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test]
async fn a_message_is_delivered_to_all_members_of_its_room_and_to_no_other_client() {
    let server = Server::start().await;
    let mut lobby = members(&server, "lobby", &["ann", "bob"]).await;
    let mut other = members(&server, "other", &["eve"]).await;
    send(&mut lobby[0], "hello").await;
    send(&mut lobby[1], "").await;
    for member in &mut lobby {
        let mut received = [text(member).await, text(member).await];
        received.sort();
        assert_eq!(received, ["[ann] hello", "[bob] "]);
    }
    send(&mut other[0], "is anyone here?").await;
    assert_eq!(
        text(&mut other[0]).await,
        "[eve] is anyone here?",
        "a message of the lobby came before"
    );
}

#[tokio::test]
async fn all_members_get_all_messages_in_one_order_that_keeps_each_senders_order() {
    const EACH: usize = 200;
    let server = Server::start().await;
    let mut members = members(&server, "lobby", &["a", "b", "c"]).await;
    for number in 0..EACH {
        for member in &mut members {
            futures_util::SinkExt::feed(member, Message::text(number.to_string()))
                .await
                .unwrap();
        }
    }
    for member in &mut members {
        within("flushing", futures_util::SinkExt::flush(member)).await.unwrap();
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..3 * EACH {
            order.push(text(member).await);
        }
        orders.push(order);
    }
    assert!(orders[0] == orders[1] && orders[1] == orders[2], "the orders differ");
    for name in ["a", "b", "c"] {
        let prefix = format!("[{name}] ");
        let own: Vec<_> = orders[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert!(
            own.iter().copied().eq((0..EACH).map(|number| number.to_string())),
            "{name}: {own:?}"
        );
    }
}

#[tokio::test]
async fn the_default_name_is_user_and_names_of_any_script_are_allowed() {
    let server = Server::start().await;
    let mut client = server.connect("/chat/%E5%A4%A7%E5%8E%85").await;
    send(&mut client, "你好").await;
    assert_eq!(text(&mut client).await, "[user] 你好");
    let mut named = server
        .connect("/chat/%E5%A4%A7%E5%8E%85?name=%E6%9D%8E%20%E9%9B%B7")
        .await;
    send(&mut named, "在").await;
    assert_eq!(text(&mut named).await, "[李 雷] 在");
    assert_eq!(text(&mut client).await, "[李 雷] 在");
}

#[tokio::test]
async fn bad_room_and_user_names_are_refused_with_the_rule() {
    let server = Server::start().await;
    for (path, rule) in [
        ("/chat/a%2Fb", "the room name has the character '/'"),
        ("/chat/a%0Ab", "control character"),
        (&format!("/chat/{}", "x".repeat(65)), "at most 64"),
        ("/chat/lobby?name=%5Ba%5D", "brackets"),
        ("/chat/lobby?name=", "nothing to see"),
        (&format!("/chat/lobby?name={}", "x".repeat(33)), "at most 32"),
    ] {
        match server.try_connect(path, &[]).await {
            Err(Error::Http(response)) => {
                assert_eq!(response.status(), 400, "{path}");
                let body = String::from_utf8(response.body().clone().unwrap()).unwrap();
                assert_contains(&body, rule);
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_contains(&server.get("/chat/a%2Fb", "").await, "400 Bad Request");
    assert_contains(&server.get("/chat/%FF", "").await, "400 Bad Request");
    assert_eq!(server.app.hub().rooms(), 0);
}

#[tokio::test]
async fn a_binary_message_closes_its_sender_with_1003_and_no_other_member() {
    let server = Server::start().await;
    let mut members = members(&server, "lobby", &["ann", "bob"]).await;
    send(&mut members[0], vec![1, 2, 3]).await;
    let (code, reason) = close_frame(&mut members[0]).await;
    assert_eq!(code, 1003);
    assert_contains(&reason, "text only");
    send(&mut members[1], "still here").await;
    assert_eq!(text(&mut members[1]).await, "[bob] still here");
}

#[tokio::test]
async fn a_room_is_removed_when_its_last_member_leaves() {
    let server = Server::start().await;
    let mut members = members(&server, "lobby", &["ann", "bob"]).await;
    assert_eq!(server.app.hub().rooms(), 1);
    within("closing", members[0].close(None)).await.unwrap();
    close_frame(&mut members[0]).await;
    // The other connection is cut without a close frame.
    drop(members);
    wait_for("the room to end", || server.app.hub().rooms() == 0).await;
    wait_for("the sockets to end", || server.app.sockets().count() == 0).await;
}

#[tokio::test]
async fn limits_of_rooms_and_members_close_with_4429() {
    let config = AppOptions {
        max_rooms: 1,
        max_room_members: 2,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let members = members(&server, "lobby", &["ann", "bob"]).await;
    let mut third = server.connect("/chat/lobby").await;
    assert_eq!(close_frame(&mut third).await, (4429, "the room is full".to_owned()));
    let mut elsewhere = server.connect("/chat/other").await;
    assert_eq!(close_frame(&mut elsewhere).await.0, 4429);
    drop(members);
    wait_for("the room to end", || server.app.hub().rooms() == 0).await;
    support::Server::connect(&server, "/chat/other").await;
}

/// axum's chat example drops messages of a slow member without a notice; the queue of sockudo grows without bound.
#[tokio::test]
async fn a_member_that_does_not_read_is_closed_with_4413_and_the_others_receive_everything() {
    const MESSAGES: usize = 3000;
    let config = AppOptions {
        queue_bytes: 128 * 1024,
        session_line_rate: 0,
        session_byte_rate: 0,
        // The close frame waits for the slow member until this test reads.
        close_timeout: Duration::from_secs(60),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut members = members(&server, "lobby", &["ann", "bob", "slow"]).await;
    let mut slow = members.pop().unwrap();
    let payload = "x".repeat(4000);
    for number in 0..MESSAGES {
        send(&mut members[0], format!("{number} {payload}")).await;
        for member in &mut members {
            let received = text(member).await;
            assert!(received.starts_with(&format!("[ann] {number} ")), "{}", &received[..20]);
        }
    }
    let metrics = server.app.sockets().metrics();
    assert_eq!(metrics.closed_too_slow.get(), 1);
    assert_eq!(server.health().await["closed_too_slow"], 1);

    // It receives the messages that were queued before, in order, and then the close code.
    let mut expected = 0;
    loop {
        match next(&mut slow).await {
            Message::Text(text) => {
                assert!(text.starts_with(&format!("[ann] {expected} ")));
                expected += 1;
            }
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 4413);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(expected < MESSAGES, "the member was not slow");
}

#[tokio::test]
async fn the_queue_of_a_slow_member_is_bounded_in_messages_too() {
    let config = AppOptions {
        queue_messages: 50,
        queue_bytes: usize::MAX / 2,
        max_body_size: 64 * 1024,
        session_byte_rate: 0,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut members = members(&server, "lobby", &["ann", "slow"]).await;
    let payload = "x".repeat(60_000);
    let too_slow = &server.app.sockets().metrics().closed_too_slow;
    let mut sent = 0;
    while too_slow.get() == 0 {
        send(&mut members[0], payload.as_str()).await;
        text(&mut members[0]).await;
        sent += 1;
        assert!(sent < 1000, "the queue grows without bound");
    }
}

/// How many messages were added to logs.
fn added(server: &Server) -> u64 {
    server.app.hub().engine().usage().added
}

/// A limit of this many messages per second, with a burst of a tenth of it.
fn slow_lines(per_second: u32) -> AppOptions {
    AppOptions {
        session_line_rate: per_second,
        session_line_burst: per_second / 10,
        ..AppOptions::default()
    }
}

#[tokio::test]
async fn a_member_that_exceeds_its_rate_is_read_later_and_loses_nothing() {
    let by_bytes = AppOptions {
        session_byte_rate: 102 * 100,
        session_byte_burst: 102 * 10,
        ..AppOptions::default()
    };
    for (what, config) in [("messages", slow_lines(100)), ("bytes", by_bytes)] {
        let server = Server::with(config).await;
        let mut client = server.connect("/chat/lobby").await;
        let started = Instant::now();
        for number in 0..50 {
            send(&mut client, format!("{number:<100}")).await;
        }
        for number in 0..50_u32 {
            assert_eq!(text(&mut client).await.trim_end(), format!("[user] {number}"));
            let at_least = Duration::from_millis(10) * number.saturating_sub(10);
            let took = started.elapsed();
            assert!(took >= at_least, "{what}: {number} after {took:?}");
        }
        let mut others = members(&server, "other", &["ann"]).await;
        send(&mut others[0], "not slowed down").await;
        assert_eq!(text(&mut others[0]).await, "[ann] not slowed down");
    }
}

/// A new connection of the same member does not get a new burst.
#[tokio::test]
async fn a_member_that_reconnects_keeps_its_rate() {
    const RATE: u32 = 20;
    let config = AppOptions {
        session_line_rate: RATE,
        session_line_burst: 10,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let started = Instant::now();
    let mut sent = 0;
    for _ in 0..5 {
        let mut client = server.connect("/chat/lobby?name=ann").await;
        for number in 0..10 {
            send(&mut client, number.to_string()).await;
            assert_eq!(text(&mut client).await, format!("[ann] {number}"));
            sent += 1;
        }
        drop(client);
        wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
    }
    // The last message is answered before the pause that it causes.
    let least = Duration::from_secs(1) * (sent - 10 - 1) / RATE;
    let took = started.elapsed();
    assert!(took >= least * 9 / 10, "{sent} messages in {took:?}");
}

/// No queue of the server grows: unread bytes stay in the client.
#[tokio::test]
async fn a_member_that_floods_its_room_is_read_at_its_rate() {
    let server = Server::with(slow_lines(100)).await;
    let mut stream = server.raw_socket("/chat/lobby").await;
    let started = Instant::now();
    let flood = frame(0x81, &[b'x'; 1000]).repeat(8000);
    // 8 MB is more than the buffers of the system and of the server together.
    let whole = tokio::time::timeout(Duration::from_millis(500), stream.write_all(&flood)).await;
    assert!(whole.is_err(), "the server read everything");
    let bound = 10.0 + started.elapsed().as_secs_f64() * 100.0 + 1.0;
    assert!(added(&server) as f64 <= bound, "{} of {bound}", added(&server));
    assert_eq!(server.app.sockets().count(), 1);
}

#[tokio::test]
async fn messages_sent_before_a_disconnect_are_added_although_the_rate_was_exceeded() {
    for with_close_frame in [true, false] {
        let server = Server::with(slow_lines(100)).await;
        let mut stream = server.raw_socket("/chat/lobby").await;
        let mut bytes: Vec<u8> = (0..100).flat_map(|_| frame(0x81, b"x")).collect();
        if with_close_frame {
            bytes.extend(frame(0x88, b""));
        }
        stream.write_all(&bytes).await.unwrap();
        // Without a close frame the system may reset a connection with unread bytes.
        stream.shutdown().await.unwrap();
        wait_for("all messages", || added(&server) == 100).await;
        wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
    }
}

/// Two members and a message of 100 bytes: 2 x (100 + 2 + 128) bytes, with the quotes and the overhead of a delivery.
#[tokio::test]
async fn a_room_over_its_delivery_rate_slows_its_senders_and_no_other_room() {
    const COST: usize = 2 * (102 + 128);
    let config = AppOptions {
        room_delivery_rate: 50 * COST,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut lobby = members(&server, "lobby", &["ann", "bob"]).await;
    let started = Instant::now();
    for number in 0..100 {
        send(&mut lobby[0], format!("{number:<100}")).await;
    }
    for number in 0..100_u32 {
        assert_eq!(text(&mut lobby[1]).await.trim_end(), format!("[ann] {number}"));
        // The burst of one second, a debt of a tenth more, and the message itself.
        let at_least = Duration::from_millis(20) * number.saturating_sub(50 + 5 + 2);
        let took = started.elapsed();
        assert!(took >= at_least, "{number} after {took:?}");
    }
    let mut other = members(&server, "other", &["eve"]).await;
    let started = Instant::now();
    for _ in 0..10 {
        send(&mut other[0], "x").await;
        assert_eq!(text(&mut other[0]).await, "[eve] x");
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "another room was slowed down"
    );
}

#[tokio::test]
async fn the_size_limit_counts_a_message_as_json() {
    let config = AppOptions {
        max_body_size: 1000,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut client = server.connect("/chat/lobby").await;
    send(&mut client, "x".repeat(998)).await;
    assert_eq!(text(&mut client).await.len(), 998 + "[user] ".len());
    // Six characters each in JSON.
    send(&mut client, "\u{1}".repeat(170)).await;
    let (code, reason) = close_frame(&mut client).await;
    assert_eq!(code, 1009);
    assert_contains(&reason, "1000 bytes as JSON");
    assert_eq!(added(&server), 1);
}
