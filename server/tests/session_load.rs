//! `/ws` under load: members that read too slowly, that join amid a storm of messages, and that go in its middle.

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{
    Server, assert_contains, members, send,
    session::{Session, cursor, publish},
    text, wait_for, within,
};
use talkback_protocol::RoomName;
use talkback_server::Config;
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
    let config = Config {
        queue_bytes: 64 * 1024,
        close_timeout: Duration::from_secs(60),
        log_messages: 5000,
        log_bytes: 64 << 20,
        session_frame_rate: 0,
        ..Config::default()
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
    let config = Config {
        log_messages: 600,
        log_bytes: 64 << 20,
        close_timeout: Duration::from_secs(60),
        session_frame_rate: 0,
        ..Config::default()
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
    const EACH: u64 = 1500;
    const PUBLISHERS: u32 = 3;
    const TOTAL: u64 = EACH * PUBLISHERS as u64;
    let config = Config {
        session_frame_rate: 0,
        log_messages: 100_000,
        log_bytes: 64 << 20,
        queue_messages: 100_000,
        queue_bytes: 64 << 20,
        ..Config::default()
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
    let joiners = (0..60_u32).map(|number| {
        let (server, epoch) = (server.clone(), epoch.clone());
        tokio::spawn(async move {
            // They come one after the other, all through the storm, some with a cursor and some with none.
            let newest = u64::from(number) * TOTAL / 60;
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
    let config = Config {
        log_messages: 600,
        log_bytes: 64 << 20,
        session_frame_rate: 0,
        presence_grace: Duration::ZERO,
        ..Config::default()
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
    let joined = slow.join(json!({"room": "lobby", "since": cursor(&joined, 0)})).await;
    let users = |members: &Value| {
        let members = members.as_array().unwrap().iter();
        members
            .map(|member| member["user"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(users(&joined["members"]), ["bob", "gone"]);
    // It waits for its client to read, and is not live yet.
    gone.cut();
    let _eve = Session::member(&server, 5, "eve", "lobby").await;
    wait_for("who is gone to be gone", || server.app.hub().users(&room).len() == 2).await;
    let mut here = users(&joined["members"]);
    let mut messages = 0;
    while messages < MESSAGES || here != ["bob", "eve"] {
        let mut frame = slow.next().await;
        if let Some(message) = frame.get("message") {
            messages += 1;
            assert_eq!(message["offset"], messages);
        } else {
            let presence = frame["presence"].take();
            here.extend(users(&presence["joined"]));
            here.retain(|user| !users(&presence["left"]).contains(user));
        }
    }
}
