//! The socket as a handler sees it.

mod support;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::StreamExt;
use support::{Server, close_frame, frame, next, read_frame, send, text, wait_for, within};
use talkback_server::{
    AppState, Config,
    socket::{ClosedBy, Message, SendError, Sender, Socket, Upgrade},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
};

/// A server whose `/test` runs this handler.
async fn server_with<H, F>(handler: H) -> Server
where
    H: Fn(Socket) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    server_with_config(Config::default(), handler).await
}

async fn server_with_config<H, F>(config: Config, handler: H) -> Server
where
    H: Fn(Socket) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let route = get(move |upgrade: Upgrade| async move { upgrade.on_upgrade(handler) });
    Server::with_routes(config, Router::<AppState>::new().route("/test", route)).await
}

/// Reports when it is dropped.
struct OnDrop(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[tokio::test]
async fn a_handler_that_ends_closes_normally_behind_what_it_sent() {
    let server = server_with(|socket| async move {
        for number in 0..10 {
            socket.send(number.to_string()).await.unwrap();
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    for number in 0..10 {
        assert_eq!(text(&mut client).await, number.to_string());
    }
    assert_eq!(close_frame(&mut client).await, (1000, String::new()));
}

#[tokio::test]
async fn a_handler_that_panics_closes_with_1011_and_the_server_lives_on() {
    let server = server_with(|mut socket| async move {
        let message = socket.recv().await;
        assert!(message.is_none(), "on purpose");
    })
    .await;
    let mut client = server.connect("/test").await;
    send(&mut client, "boom").await;
    assert_eq!(close_frame(&mut client).await.0, 1011);
    assert_eq!(server.app.sockets().metrics().handler_panics.get(), 1);
    server.connect("/test").await;
}

#[tokio::test]
async fn a_handler_that_panics_before_its_first_wait_closes_with_1011_too() {
    let server = server_with(|socket| {
        assert!(socket.is_closed(), "on purpose");
        async {}
    })
    .await;
    let mut client = server.connect("/test").await;
    assert_eq!(close_frame(&mut client).await.0, 1011);
}

#[tokio::test]
async fn close_sends_code_and_reason_and_refuses_what_may_not_be_sent() {
    let server = server_with(|mut socket| async move {
        for code in [0, 999, 1001, 1005, 1006, 1015, 2999, 5000] {
            socket.close(code, "").unwrap_err();
        }
        socket.close(4000, &"好".repeat(42)).unwrap_err();
        assert!(!socket.is_closed());
        socket.close(4000, &"好".repeat(41)).unwrap();
        socket.close(4001, "too late, and no error").unwrap();
        assert!(socket.is_closed());
        let error = socket.send("kept").await.unwrap_err();
        assert_eq!(error, SendError::Closed(Message::from("kept")));
        assert_eq!(socket.recv().await, None);
        let info = socket.closed().await;
        assert_eq!((info.code, info.by), (4000, ClosedBy::Server));
    })
    .await;
    let mut client = server.connect("/test").await;
    assert_eq!(close_frame(&mut client).await, (4000, "好".repeat(41)));
    assert_eq!(server.app.sockets().metrics().handler_panics.get(), 0);
}

#[tokio::test]
async fn a_handler_learns_how_the_client_closed() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let server = server_with(move |mut socket| {
        let ended = ended.clone();
        async move {
            assert_eq!(socket.recv().await, None);
            let error = socket.send("late").await.unwrap_err();
            assert_eq!(error.into_message(), Message::from("late"));
            ended.send(socket.close_info().unwrap()).unwrap();
        }
    })
    .await;
    let mut stream = server.raw_socket("/test").await;
    stream.write_all(&frame(0x88, b"\x0f\xa0bye")).await.unwrap();
    let info = within("the end", ends.recv()).await.unwrap();
    assert_eq!(
        (info.code, info.reason.as_str(), info.by),
        (4000, "bye", ClosedBy::Client)
    );

    let mut stream = server.raw_socket("/test").await;
    stream.write_all(&frame(0x88, b"")).await.unwrap();
    let info = within("the end", ends.recv()).await.unwrap();
    assert_eq!((info.code, info.by), (1005, ClosedBy::Client));

    drop(server.raw_socket("/test").await);
    let info = within("the end", ends.recv()).await.unwrap();
    assert_eq!((info.code, info.by), (1006, ClosedBy::Network));
}

#[tokio::test]
async fn messages_that_came_before_the_end_are_all_received_before_none() {
    let (received, mut receives) = mpsc::unbounded_channel();
    let server = server_with(move |mut socket| {
        let received = received.clone();
        async move {
            while let Some(message) = socket.recv().await {
                received.send(message.len()).unwrap();
            }
            received.send(usize::MAX).unwrap();
        }
    })
    .await;
    let mut stream = server.raw_socket("/test").await;
    let burst: Vec<u8> = (0..500).flat_map(|_| frame(0x82, &[0; 300])).collect();
    stream.write_all(&burst).await.unwrap();
    drop(stream);
    for _ in 0..500 {
        assert_eq!(within("a message", receives.recv()).await, Some(300));
    }
    assert_eq!(within("the end", receives.recv()).await, Some(usize::MAX));
}

#[tokio::test]
async fn what_has_arrived_can_be_counted_and_taken_without_waiting() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let server = server_with(move |mut socket| {
        let gone = gone.lock().unwrap().take().unwrap();
        async move {
            assert_eq!(
                (socket.pending(), socket.has_pending(), socket.try_recv()),
                (0, false, None)
            );
            gone.await.unwrap();
            while socket.pending() < 3 {
                tokio::task::yield_now().await;
            }
            assert!(socket.has_pending());
            assert_eq!(socket.try_recv(), Some(Message::from("a")));
            assert_eq!(socket.pending(), 2);
            assert_eq!(socket.recv().await, Some(Message::from("b")));
            assert_eq!(socket.next().await, Some(Message::from("c")));
            assert_eq!(socket.try_recv(), None);
            socket.send("done").await.unwrap();
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    go.send(()).unwrap();
    for message in ["a", "b", "c"] {
        send(&mut client, message).await;
    }
    assert_eq!(text(&mut client).await, "done");
}

#[tokio::test]
async fn a_cancelled_recv_loses_nothing() {
    let server = server_with(|mut socket| async move {
        let mut received = 0;
        while received < 100 {
            // Polled once and dropped, most of the time.
            if let Some(message) = futures_util::FutureExt::now_or_never(socket.recv()) {
                assert_eq!(message.unwrap().as_text().unwrap(), received.to_string());
                received += 1;
            } else {
                tokio::task::yield_now().await;
            }
        }
        socket.send("all").await.unwrap();
    })
    .await;
    let mut client = server.connect("/test").await;
    for number in 0..100 {
        send(&mut client, number.to_string()).await;
    }
    assert_eq!(text(&mut client).await, "all");
}

#[tokio::test]
async fn the_socket_can_be_polled_inside_combinators_with_wakers_of_their_own() {
    let server = server_with(|socket| async move {
        let sender = socket.sender();
        let never = futures_util::stream::pending::<Message>();
        let mut both = futures_util::stream::select_all([socket.boxed(), never.boxed()]);
        while let Some(message) = both.next().await {
            sender.send(message).await.unwrap();
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    for number in 0..20 {
        send(&mut client, number.to_string()).await;
        assert_eq!(text(&mut client).await, number.to_string());
    }
}

#[tokio::test]
async fn control_frames_are_answered_while_the_handler_computes() {
    let server = server_with(|socket| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let mut stream = server.raw_socket("/test").await;
    stream.write_all(&frame(0x89, b"hello?")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x8a, b"hello?".to_vec()));
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    assert_eq!(support::read_close(&mut stream).await.0, 1000);
}

#[tokio::test]
async fn a_handler_can_send_while_it_waits_for_something_else() {
    let (tick, ticks) = mpsc::unbounded_channel::<u32>();
    let ticks = Arc::new(tokio::sync::Mutex::new(ticks));
    let server = server_with(move |socket| {
        let ticks = Arc::clone(&ticks);
        async move {
            let mut ticks = ticks.lock().await;
            while let Some(number) = ticks.recv().await {
                socket.send(number.to_string()).await.unwrap();
            }
        }
    })
    .await;
    let mut client = server.connect("/test").await;
    for number in 0..5 {
        tick.send(number).unwrap();
        assert_eq!(
            text(&mut client).await,
            number.to_string(),
            "each as soon as it is ready"
        );
    }
}

#[tokio::test]
async fn a_handler_whose_client_is_gone_ends_at_once_wherever_it_waits() {
    let (event, mut events) = mpsc::unbounded_channel();
    let server = server_with(move |mut socket| {
        let event = event.clone();
        async move {
            let Some(Message::Text(what)) = socket.recv().await else {
                return;
            };
            match what.as_str() {
                "elsewhere" => {
                    let _dropped = OnDrop(event, "dropped elsewhere");
                    std::future::pending::<()>().await;
                }
                "recv" => {
                    while socket.recv().await.is_some() {}
                    tokio::task::yield_now().await;
                    event.send("finished after recv").unwrap();
                }
                "closed" => {
                    tokio::select! {
                        _ = socket.closed() => event.send("finished after closed").unwrap(),
                        () = std::future::pending() => {}
                    }
                }
                _ => {
                    // The client reads nothing, so sending waits in the end.
                    while socket.send(vec![0; 10_000]).await.is_ok() {}
                    event.send("finished after send").unwrap();
                }
            }
        }
    })
    .await;
    for (what, end) in [
        ("elsewhere", "dropped elsewhere"),
        ("recv", "finished after recv"),
        ("closed", "finished after closed"),
        ("send", "finished after send"),
    ] {
        for politely in [true, false] {
            let mut stream = server.raw_socket("/test").await;
            stream.write_all(&frame(0x81, what.as_bytes())).await.unwrap();
            wait_for("the message to be taken", || server.app.sockets().count() == 1).await;
            if politely {
                stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
            }
            drop(stream);
            assert_eq!(within(what, events.recv()).await, Some(end), "politely: {politely}");
            wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_handler_that_asked_to_finish_is_not_dropped_when_its_client_is_gone() {
    let (give, mut given) = mpsc::unbounded_channel();
    let (event, mut events) = mpsc::unbounded_channel();
    let (go, _) = tokio::sync::broadcast::channel::<()>(1);
    let starter = go.clone();
    let route = get(move |upgrade: Upgrade| async move {
        upgrade.finish_handler().on_upgrade(move |socket| async move {
            let mut going = starter.subscribe();
            give.send(socket.sender()).unwrap();
            going.recv().await.unwrap();
            assert!(socket.is_closed());
            event.send("finished").unwrap();
        })
    });
    let routes = Router::<AppState>::new().route("/test", route);
    let server = Server::with_routes(Config::default(), routes).await;
    let stream = server.raw_socket("/test").await;
    let sender = within("the start", given.recv()).await.unwrap();
    drop(stream);
    within("the socket to close", sender.closed()).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    assert_eq!(within("the end", events.recv()).await, Some("finished"));
}

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
async fn sending_to_a_client_that_does_not_read_waits_and_goes_on_when_it_reads() {
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
    // Waits until the count stands still: the kernel's buffers and ours are full.
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
    assert!(count() < MESSAGES, "nothing ever waited");
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
async fn try_send_to_a_client_that_does_not_read_says_full_and_returns_the_message() {
    let (result, results) = oneshot::channel();
    let result = Arc::new(Mutex::new(Some(result)));
    let config = Config {
        queue_bytes: 100_000,
        ..Config::default()
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
async fn a_client_that_sends_faster_than_the_handler_takes_is_slowed_down_and_loses_nothing() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let server = server_with(move |mut socket| {
        let gone = gone.lock().unwrap().take().unwrap();
        async move {
            gone.await.unwrap();
            assert!(
                socket.pending() <= 128,
                "{} messages were taken off the network",
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
    // The writer cannot finish before the handler reads: 10 MB do not fit into any buffer.
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
async fn a_handler_that_sends_without_end_lets_others_run_on_the_same_thread() {
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

/// The budget of a task is 128 steps, so with these numbers of messages its end falls on every place around the last message.
#[tokio::test]
async fn all_messages_before_a_close_are_answered_however_many_came_at_once() {
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
