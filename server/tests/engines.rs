//! What sessions and members get from an engine that answers late, or whose log begins anew.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkback_protocol::RoomName;
use talkback_server::{
    AppOptions,
    engine::{Memory, MemoryOptions},
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Server, close_frame,
    engine::{Held, Restarting, Shared},
    session::{Session, cursor, publish},
    wait_for, within,
};

/// The default interval is 25 seconds: a call that hangs for 60 seconds is one that hangs for three pings.
fn frequent_pings() -> AppOptions {
    AppOptions {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_secs(5),
        ..AppOptions::default()
    }
}

async fn held() -> (Server, Arc<Held>) {
    let engine = Held::new(Arc::new(Memory::new(MemoryOptions::default())));
    let server = Server::with_engine(frequent_pings(), Arc::clone(&engine) as _).await;
    (server, engine)
}

#[tokio::test]
async fn a_session_answers_pings_and_serves_other_rooms_while_calls_of_one_room_hang() {
    let (server, engine) = held().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    ann.answers_pings = true;
    let joined = ann.join(json!({"room": "stuck"})).await;
    for seq in 1..=40 {
        ann.say("stuck", seq, json!("before")).await;
    }
    ann.send(&[json!({"join": {"room": "free"}})]).await;
    ann.find("joined").await;
    ann.say("free", 1, json!("before")).await;
    ann.send(&[json!({"leave": {"room": "stuck"}})]).await;
    ann.find("left").await;

    engine.hold(&["stuck", "new"]);
    ann.send(&[
        publish("stuck", 41, json!("during")),
        json!({"history": {"id": 1, "room": "stuck", "before": 9, "limit": 5}}),
        json!({"join": {"room": "stuck", "since": cursor(&joined, 0)}}),
        json!({"join": {"room": "new"}}),
    ])
    .await;
    let pings = ann.pings;
    for seq in 2..=20 {
        ann.send(&[json!({"ping": {}})]).await;
        within("a pong of the session", ann.find("pong")).await;
        let ack = within("an ack of the other room", ann.say("free", seq, json!("during"))).await;
        assert_eq!(ack["offset"], seq);
    }
    within("pings of the server", async {
        while ann.pings < pings + 3 {
            ann.send(&[json!({"ping": {}})]).await;
            let line = ann.next().await;
            assert!(line.get("pong").is_some() || line.get("message").is_some(), "{line}");
        }
    })
    .await;

    engine.hold(&[]);
    let (mut acks, mut pages, mut rooms, mut messages) = (0, 0, 0, Vec::new());
    within("all answers", async {
        while acks < 1 || pages < 1 || rooms < 2 || messages.len() < 41 {
            let line = ann.next().await;
            acks += usize::from(line.get("ack").is_some());
            pages += usize::from(line.get("page").is_some());
            rooms += usize::from(line.get("joined").is_some());
            if line["message"]["room"] == "stuck" {
                messages.push(line["message"]["offset"].as_u64().unwrap());
            }
        }
    })
    .await;
    assert!(messages.into_iter().eq(1..=41));
}

#[tokio::test]
async fn a_room_catches_up_while_the_log_of_another_one_hangs() {
    let (server, engine) = held().await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut epochs = Vec::new();
    for room in ["a", "b"] {
        ann.send(&[json!({"join": {"room": room}})]).await;
        epochs.push(ann.find("joined").await);
        for seq in 1..=40 {
            ann.say(room, seq, json!("x")).await;
        }
    }
    let mut bob = Session::open(&server, 2, "bob").await;
    engine.hold(&["a"]);
    bob.send(&[json!({"join": {"room": "a", "since": cursor(&epochs[0], 0)}})])
        .await;
    bob.find("joined").await;
    bob.send(&[json!({"join": {"room": "b", "since": cursor(&epochs[1], 0)}})])
        .await;
    let of_b = async {
        let mut count = 0;
        while count < 40 {
            count += usize::from(bob.find("message").await["room"] == "b");
        }
    };
    within("the messages of the other room", of_b).await;
    engine.hold(&[]);
}

#[tokio::test]
async fn a_plain_member_gets_pongs_and_sends_while_the_log_hangs_and_its_messages_keep_their_order() {
    let (server, engine) = held().await;
    let mut ann = server.connect("/chat/stuck?name=ann").await;
    let mut bob = server.connect("/chat/stuck?name=bob").await;
    wait_for("two members", || {
        server.app.hub().users(&RoomName::parse("stuck").unwrap()).len() == 2
    })
    .await;
    engine.hold(&["stuck"]);
    for number in 0..10 {
        ann.send(Message::text(number.to_string())).await.unwrap();
        ann.send(Message::Ping(vec![number].into())).await.unwrap();
        // Members get a message when the log has it, which these engines do before they answer.
        loop {
            match within("a pong", ann.next()).await.unwrap().unwrap() {
                Message::Pong(bytes) => break assert_eq!(*bytes, [number]),
                Message::Text(_) | Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    engine.hold(&[]);
    let mut seen = Vec::new();
    while seen.len() < 10 {
        if let Message::Text(text) = within("a message", bob.next()).await.unwrap().unwrap() {
            seen.push(text.to_string());
        }
    }
    assert!(seen.into_iter().eq((0..10).map(|number| format!("[ann] {number}"))));
}

#[tokio::test]
async fn members_of_a_log_that_begins_anew_join_again_and_those_up_to_the_fork_miss_nothing() {
    let logs = Restarting::new();
    let server = Server::with_engine(AppOptions::default(), Arc::new(Shared(Arc::clone(&logs)))).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    for number in 1..=10 {
        ann.say("lobby", number, json!(number)).await;
    }
    let mut plain = server.connect("/chat/lobby?name=eve").await;
    wait_for("the plain member", || {
        server.app.hub().users(&RoomName::parse("lobby").unwrap()).len() == 2
    })
    .await;

    logs.lose_after("lobby", 6);
    let (code, reason) = ann.closed().await;
    assert_eq!(code, 1012);
    assert!(reason.contains("retry_after_ms"), "{reason}");

    let mut ahead = Session::open(&server, 1, "ann").await;
    let joined = ahead
        .join(json!({"room": "lobby", "since": cursor(&before, 10), "history": 2}))
        .await;
    assert_eq!((&joined["recovered"], &joined["head"]), (&json!(false), &json!(6)));
    assert_eq!(ahead.bodies(2).await, [json!(5), json!(6)]);
    let mut at_fork = Session::open(&server, 2, "bob").await;
    let joined = at_fork
        .join(json!({"room": "lobby", "since": cursor(&before, 6)}))
        .await;
    assert_eq!((&joined["recovered"], &joined["after"]), (&json!(true), &json!(6)));
    assert_ne!(joined["epoch"], before["epoch"]);
    let mut behind = Session::open(&server, 3, "cid").await;
    let joined = behind.join(json!({"room": "lobby", "since": cursor(&before, 3)})).await;
    assert_eq!((&joined["recovered"], &joined["after"]), (&json!(true), &json!(3)));
    assert_eq!(behind.bodies(3).await, [json!(4), json!(5), json!(6)]);

    // All get each message of the new epoch once, also those with offsets that the old one had.
    let mut sender = Session::open(&server, 4, "dan").await;
    for number in 1..=8_u64 {
        let ack = sender.say("lobby", number, json!(100 + number)).await;
        assert_eq!(ack["offset"], 6 + number);
    }
    let expected: Vec<Value> = (101..=108).map(|number| json!(number)).collect();
    for session in [&mut ahead, &mut at_fork, &mut behind] {
        assert_eq!(session.bodies(8).await, expected);
    }
    let mut texts = Vec::new();
    while texts.len() < 8 {
        if let Message::Text(text) = within("a message", plain.next()).await.unwrap().unwrap() {
            texts.push(text.to_string());
        }
    }
    assert_eq!(texts.first().unwrap(), "[dan] 101");
    assert_eq!(texts.last().unwrap(), "[dan] 108");
}

#[tokio::test]
async fn a_session_that_catches_up_when_the_log_begins_anew_gets_no_message_of_another_epoch() {
    let logs = Restarting::new();
    let held = Held::new(Arc::new(Shared(Arc::clone(&logs))));
    let server = Server::with_engine(AppOptions::default(), Arc::clone(&held) as _).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    for number in 1..=40 {
        ann.say("lobby", number, json!(number)).await;
    }
    let mut bob = Session::open(&server, 2, "bob").await;
    held.hold(&["lobby"]);
    bob.send(&[json!({"join": {"room": "lobby", "since": cursor(&before, 0)}})])
        .await;
    bob.send(&[json!({"ping": {}})]).await;
    bob.find("pong").await;
    logs.lose_after("lobby", 5);
    let mut cid = Session::open(&server, 3, "cid").await;
    cid.publish("lobby", 1, json!("new")).await;
    // The server has read it.
    cid.send(&[json!({"ping": {}})]).await;
    cid.find("pong").await;
    held.hold(&[]);
    let (code, _) = close_frame(&mut bob.socket).await;
    assert_eq!(code, 4413, "its messages are not in the log any more");
}
