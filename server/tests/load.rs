//! Many messages from many threads, and the endpoint `/flood`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{self, Server, assert_contains, close_frame, text, within};
use axum::{Router, routing::get};
use futures_util::{SinkExt, StreamExt};
use talkback_server::{
    AppOptions, AppState,
    socket::{Sender, Upgrade},
};
use tokio_tungstenite::tungstenite::Message;

fn flooding() -> AppOptions {
    AppOptions {
        flood: true,
        ..AppOptions::default()
    }
}

#[tokio::test]
async fn flood_sends_the_requested_number_of_messages_of_the_requested_size_and_closes_normally() {
    let server = Server::with(flooding()).await;
    let mut client = server.connect("/flood?n=1000&size=100").await;
    for number in 0..1000 {
        let message = text(&mut client).await;
        assert_eq!(message.len(), 100);
        assert_eq!(message.trim_end(), number.to_string());
    }
    assert_eq!(close_frame(&mut client).await, (1000, String::new()));
    let mut client = server.connect("/flood?n=12&size=1").await;
    for number in 0..12 {
        assert_eq!(
            text(&mut client).await,
            number.to_string(),
            "a number is never truncated"
        );
    }
}

#[tokio::test]
async fn flood_sends_json_and_binary_messages_on_request() {
    let server = Server::with(flooding()).await;
    let mut client = server.connect("/flood?n=2&size=64&kind=json").await;
    for number in 0..2 {
        let object: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
        assert_eq!(object["n"], number);
    }
    let mut client = server.connect("/flood?n=1&size=3&kind=binary").await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::binary("0  "));
    let error = server.try_connect("/flood?kind=xml", &[]).await.unwrap_err();
    assert_contains(&error.to_string(), "400");
}

#[tokio::test]
async fn flood_sends_at_the_requested_rate() {
    let server = Server::with(flooding()).await;
    let started = tokio::time::Instant::now();
    let mut client = server.connect("/flood?n=101&rate=500").await;
    assert_eq!(close_frame(&mut client).await.0, 1000);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(195), "{took:?}");
}

#[tokio::test]
async fn flood_is_bounded_and_needs_a_websocket() {
    let server = Server::with(flooding()).await;
    for query in [
        "n=1000001",
        "rate=1000001",
        "size=65537",
        "n=1000000&size=65000",
        "n=-1",
        "n=x",
    ] {
        let error = server.try_connect(&format!("/flood?{query}"), &[]).await.unwrap_err();
        assert_contains(&error.to_string(), "400");
    }
    assert_contains(&server.get("/flood", "").await, "426 Upgrade Required");
}

#[tokio::test]
async fn flood_is_off_by_default() {
    let server = Server::start().await;
    let error = server.try_connect("/flood?n=1", &[]).await.unwrap_err();
    assert_contains(&error.to_string(), "404");
}

#[tokio::test]
async fn flood_sends_the_largest_messages_too() {
    let server = Server::with(flooding()).await;
    let mut client = server.connect("/flood?n=2&size=65536").await;
    for _ in 0..2 {
        assert_eq!(text(&mut client).await.len(), 65_536);
    }
    assert_eq!(close_frame(&mut client).await.0, 1000);
    assert_eq!(server.app.sockets().metrics().handler_panics.get(), 0);
}

/// Each thread's messages must arrive complete, once and in that thread's order, no matter which thread writes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_send_to_one_socket_while_its_handler_sends_too() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let given: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let give = Arc::clone(&given);
    let route = get(move |upgrade: Upgrade| async move {
        upgrade.on_upgrade(move |mut socket| async move {
            give.lock().unwrap().push(socket.sender());
            while let Some(message) = socket.recv().await {
                socket.send(message).await.unwrap();
            }
        })
    });
    let server = Server::with_routes(AppOptions::default(), Router::<AppState>::new().route("/test", route)).await;
    let (mut write, mut read) = server.connect("/test").await.split();
    support::wait_for("the handler", || !given.lock().unwrap().is_empty()).await;
    let sender = given.lock().unwrap().pop().unwrap();
    let mut tasks = Vec::new();
    for thread in 1..THREADS {
        let sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..EACH {
                // Sizes below and above the limit of payloads that are copied.
                let padding = "x".repeat(if number % 50 == 0 { 5000 } else { number % 90 });
                sender.send(format!("{thread} {number} {padding}")).await.unwrap();
            }
        }));
    }
    tasks.push(tokio::spawn(async move {
        for number in 0..EACH {
            write.send(Message::text(format!("0 {number} "))).await.unwrap();
        }
    }));
    let mut next = [0; THREADS];
    for _ in 0..THREADS * EACH {
        let message = within("a message", read.next())
            .await
            .unwrap()
            .unwrap()
            .into_text()
            .unwrap();
        let mut words = message.split(' ').map(|word| word.parse::<usize>());
        let (thread, number) = (words.next().unwrap().unwrap(), words.next().unwrap().unwrap());
        assert_eq!(number, next[thread], "thread {thread}");
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
    for task in tasks {
        within("a sender to end", task).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_all_members_of_a_busy_room_receive_one_order() {
    const MEMBERS: usize = 8;
    const EACH: usize = 300;
    let config = AppOptions {
        queue_messages: 100_000,
        queue_bytes: 100_000_000,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let names: Vec<_> = (0..MEMBERS).map(|member| member.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let members = support::members(&server, "lobby", &names).await;
    let members = members.into_iter().map(|member| {
        tokio::spawn(async move {
            let (mut write, read) = member.split();
            let writer = tokio::spawn(async move {
                for number in 0..EACH {
                    write.send(Message::text(number.to_string())).await.unwrap();
                }
                write
            });
            let received: Vec<String> = read
                .map(|message| message.unwrap().into_text().unwrap().to_string())
                .take(MEMBERS * EACH)
                .collect()
                .await;
            drop(writer.await.unwrap());
            received
        })
    });
    let orders = within("all messages at all members", futures_util::future::join_all(members)).await;
    let orders: Vec<_> = orders.into_iter().map(Result::unwrap).collect();
    for order in &orders {
        assert!(order == &orders[0], "the orders differ");
    }
    for member in 0..MEMBERS {
        let prefix = format!("[{member}] ");
        let own = orders[0].iter().filter_map(|message| message.strip_prefix(&prefix));
        assert!(own.eq((0..EACH).map(|number| number.to_string())), "member {member}");
    }
}
