//! Sending from other tasks, and backpressure in both directions.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use talkback_server::{
    AppOptions,
    socket::{Message, SendError, Sender},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
};

use super::{server_with, server_with_config};
use crate::support::{self, Server, close_frame, frame, next, read_frame, send, text, wait_for, within};

#[tokio::test]
async fn senders_work_from_other_tasks_and_outlive_the_socket() {
    let (give, mut given) = mpsc::unbounded_channel::<Sender>();
    let server = server_with(move |mut socket| {
        let give = give.clone();
        async move {
            give.send(socket.sender()).unwrap();
            while socket.recv().await.is_some() {}
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    let sender = within("the sender", given.recv()).await.unwrap();
    let other = sender.clone();
    let thread = std::thread::spawn(move || {
        for number in 0..100 {
            other.try_send(number.to_string()).unwrap();
        }
    });
    thread.join().unwrap();
    for number in 0..100 {
        assert_eq!(text(&mut client).await, number.to_string());
    }
    sender.close(4000, "from outside").unwrap();
    assert_eq!(close_frame(&mut client).await, (4000, "from outside".to_owned()));
    wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
    assert_eq!(sender.send("late").await, Err(SendError::Closed("late".into())));
    assert_eq!(sender.closed().await.code, 4000);
}

#[tokio::test]
async fn sending_to_a_client_that_does_not_read_waits_and_continues_when_it_reads() {
    const MESSAGES: usize = 400;
    const SIZE: usize = 50_000;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let server = server_with(move |socket| {
        let counter = Arc::clone(&counter);
        async move {
            for number in 0..MESSAGES {
                socket.send(vec![number.to_le_bytes()[0]; SIZE]).await.unwrap();
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    let count = || sent.load(std::sync::atomic::Ordering::Relaxed);
    // Waits until the count does not change any more: the buffers of the system and of the server are full.
    let mut last = (0, 0);
    wait_for("sending to wait", || {
        last = if count() == last.0 {
            (last.0, last.1 + 1)
        } else {
            (count(), 0)
        };
        last.0 > 0 && last.1 > 50
    })
    .await;
    assert!(count() < MESSAGES, "no call of send waited");
    for number in 0..MESSAGES {
        let expected = vec![number.to_le_bytes()[0]; SIZE];
        assert!(
            next(&mut client).await == tokio_tungstenite::tungstenite::Message::binary(expected),
            "{number}"
        );
    }
    assert_eq!(close_frame(&mut client).await.0, 1000);
}

#[tokio::test]
async fn try_send_to_a_client_that_does_not_read_returns_full_and_the_message() {
    let (result, results) = oneshot::channel();
    let result = Arc::new(Mutex::new(Some(result)));
    let config = AppOptions {
        queue_bytes: 100_000,
        ..AppOptions::default()
    };
    let server = server_with_config(config, move |socket| {
        let result = Arc::clone(&result);
        async move {
            let sender = socket.sender();
            let error = loop {
                if let Err(error) = sender.try_send(vec![7; 30_000]) {
                    break error;
                }
            };
            result.lock().unwrap().take().unwrap().send(error).unwrap();
            socket.closed().await;
        }
    })
    .await;
    let _client = server.connect("/test").await;
    let error = within("the queue to be full", results).await.unwrap();
    assert_eq!(error, SendError::Full(Message::from(vec![7; 30_000])));
}

#[tokio::test]
async fn a_client_that_sends_faster_than_the_handler_reads_is_slowed_down_and_loses_nothing() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let server = server_with(move |mut socket| {
        let gone = gone.lock().unwrap().take().unwrap();
        async move {
            gone.await.unwrap();
            assert!(
                socket.pending() <= 128,
                "{} messages were read from the network",
                socket.pending()
            );
            let mut received = 0_u32;
            while let Some(message) = socket.recv().await {
                assert_eq!(message.payload()[..4], received.to_be_bytes());
                received += 1;
                if received == 5000 {
                    socket.send("all").await.unwrap();
                }
            }
        }
    })
    .await;
    let stream = server.raw_socket("/test").await;
    let (mut read, mut write) = stream.into_split();
    let writer = tokio::spawn(async move {
        for number in 0..5000_u32 {
            let payload = [&number.to_be_bytes()[..], &[0; 2000]].concat();
            write.write_all(&frame(0x82, &payload)).await.unwrap();
        }
        write
    });
    // The writer cannot finish before the handler reads, because 10 MB do not fit into the buffers.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!writer.is_finished());
    go.send(()).unwrap();
    let _write = within("everything to be sent", writer).await.unwrap();
    let mut answer = [0; 5];
    within(
        "the answer",
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer),
    )
    .await
    .unwrap();
    assert_eq!(&answer, b"\x81\x03all");
}

#[tokio::test]
async fn a_handler_that_never_stops_sending_lets_other_tasks_run_on_the_same_thread() {
    let server = server_with(|socket| async move { while socket.send("x").await.is_ok() {} }).await;
    let mut greedy = server.connect("/test").await;
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = greedy.next().await {} });
    let mut other = server.connect("/echo").await;
    for number in 0..20 {
        send(&mut other, number.to_string()).await;
        assert_eq!(text(&mut other).await, number.to_string());
    }
    reader.abort();
    let _ = tokio::time::timeout(Duration::from_millis(1), reader).await;
}

/// A task has a budget of 128 steps per poll. These numbers of messages end it at every position around the last
/// message.
#[tokio::test]
async fn any_number_of_messages_before_a_close_are_all_answered() {
    let server = Server::start().await;
    for count in [1, 2, 126, 127, 128, 129, 130, 255, 256, 257, 1000] {
        let mut stream = server.raw_socket("/echo").await;
        let mut bytes: Vec<u8> = (0..count).flat_map(|_| frame(0x82, b"x")).collect();
        bytes.extend(frame(0x88, &1000_u16.to_be_bytes()));
        stream.write_all(&bytes).await.unwrap();
        for number in 0..count {
            assert_eq!(
                read_frame(&mut stream).await,
                (0x82, b"x".to_vec()),
                "{number} of {count}"
            );
        }
        assert_eq!(support::read_close(&mut stream).await.0, 1000);
    }
}
