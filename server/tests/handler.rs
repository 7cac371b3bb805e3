//! The socket's interface to handlers.

mod flow;

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use crate::support::{self, Server, close_frame, frame, read_frame, send, text, wait_for, within};
use axum::{Router, routing::get};
use futures_util::StreamExt;
use talkback_server::{
    AppOptions, AppState,
    socket::{ClosedBy, Message, SendError, Socket, Upgrade},
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
    server_with_config(AppOptions::default(), handler).await
}

async fn server_with_config<H, F>(config: AppOptions, handler: H) -> Server
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
async fn when_a_handler_ends_the_socket_closes_normally_after_its_messages() {
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
async fn a_handler_that_panics_closes_its_socket_with_1011_and_the_server_continues() {
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
async fn close_sends_code_and_reason_and_refuses_invalid_ones() {
    let server = server_with(|mut socket| async move {
        for code in [0, 999, 1001, 1005, 1006, 1015, 2999, 5000] {
            socket.close(code, "").unwrap_err();
        }
        socket.close(4000, &"好".repeat(42)).unwrap_err();
        assert!(!socket.is_closed());
        socket.close(4000, &"好".repeat(41)).unwrap();
        socket.close(4001, "ignored without an error").unwrap();
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
async fn a_handler_gets_the_code_and_reason_of_the_clients_close() {
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
async fn messages_that_arrived_before_the_end_are_received_before_recv_returns_none() {
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
async fn received_messages_can_be_counted_and_taken_without_waiting() {
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
            // The future is polled once and usually dropped.
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
async fn the_socket_can_be_polled_inside_combinators_with_their_own_wakers() {
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
            "each message is sent as soon as it is ready"
        );
    }
}

#[tokio::test]
async fn a_handler_whose_client_has_disconnected_ends_at_once_in_every_wait() {
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
                    // The client does not read, so `send` waits when the queue is full.
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
        for sends_close_frame in [true, false] {
            let mut stream = server.raw_socket("/test").await;
            stream.write_all(&frame(0x81, what.as_bytes())).await.unwrap();
            wait_for("the message to be taken", || server.app.sockets().count() == 1).await;
            if sends_close_frame {
                stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
            }
            drop(stream);
            assert_eq!(
                within(what, events.recv()).await,
                Some(end),
                "sends a close frame: {sends_close_frame}"
            );
            wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_handler_that_asked_to_finish_is_not_dropped_when_its_client_disconnects() {
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
    let server = Server::with_routes(AppOptions::default(), routes).await;
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
