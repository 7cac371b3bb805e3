//! No message is dropped without an error, and a sink applies backpressure.

use futures_util::{FutureExt, SinkExt, StreamExt, future::join};
use gloo_net::http::Method;
use talkback_client::{Message, OutboundOptions, ReadyState, SendErrorKind, Socket, SocketOptions};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{
    Empty, Port, Task, ask, connect, connect_with, faults, next, release, server, unique, within, without_timers,
};

const CHUNK: usize = 64 * 1024;
const MARKS: OutboundOptions = OutboundOptions {
    low: 256 * 1024,
    high: 1024 * 1024,
    max: 4 * 1024 * 1024,
};

fn chunk() -> Message {
    vec![7; CHUNK].into()
}

/// A socket whose peer does not read until it is released.
async fn stalled() -> (Socket, String) {
    let id = unique();
    let options = SocketOptions {
        outbound: MARKS,
        ..SocketOptions::default()
    };
    (connect_with(&faults(&format!("/stall?id={id}")), &options).await, id)
}

/// A stalled socket with more in its buffer than the high mark.
async fn full() -> (Socket, String) {
    let (socket, id) = stalled().await;
    while socket.buffered_amount() <= MARKS.high {
        socket.send(chunk()).unwrap();
    }
    (socket, id)
}

/// Feeds until the sink is not ready; returns how many chunks it accepted.
async fn feed_until_pending(socket: &mut Socket) -> usize {
    let mut fed = 0;
    loop {
        match socket.feed(chunk()).now_or_never() {
            Some(outcome) => outcome.unwrap(),
            None => return fed,
        }
        fed += 1;
        assert!(fed * CHUNK < 512 * 1024 * 1024, "the sink is always ready");
    }
}

#[wasm_bindgen_test]
async fn sending_before_open_returns_the_message() {
    let socket = Socket::new(&server("/echo"), &SocketOptions::default()).unwrap();
    let error = socket.send("early").unwrap_err();
    assert_eq!(*error.kind(), SendErrorKind::NotOpen(ReadyState::Connecting));
    assert_eq!(error.into_message(), Message::from("early"));
}

#[wasm_bindgen_test]
async fn sending_while_closing_or_closed_returns_the_message() {
    let socket = connect(&server("/echo")).await;
    socket.close();
    let error = socket.send("late").unwrap_err();
    assert_eq!(*error.kind(), SendErrorKind::NotOpen(ReadyState::Closing));
    within("it closes", socket.closed()).await;
    let error = socket.send(vec![1, 2]).unwrap_err();
    assert_eq!(*error.kind(), SendErrorKind::NotOpen(ReadyState::Closed));
    assert_eq!(error.into_message(), Message::from(vec![1, 2]));
}

/// gloo#499: `send` returned Ok after the server had closed.
#[wasm_bindgen_test]
async fn send_and_the_sink_fail_after_the_server_was_killed() {
    let Port { port } = ask(Method::POST, "/server").await;
    let mut socket = connect(&format!("ws://127.0.0.1:{port}/echo")).await;
    let _: Empty = ask(Method::DELETE, &format!("/server?port={port}")).await;
    within("the loss is seen", socket.closed()).await;
    assert_eq!(socket.send("gone").unwrap_err().into_message(), Message::from("gone"));
    let error = within("an error of the sink", socket.feed("gone".into()))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), SendErrorKind::NotOpen(ReadyState::Closed));
}

/// gloo#280: a sink waited for ever when the connection failed.
#[wasm_bindgen_test]
async fn a_sink_waits_while_connecting_and_fails_if_connecting_fails() {
    let feed = |url: String| {
        let mut socket = Socket::new(&url, &SocketOptions::default()).unwrap();
        Task::waiting(async move { socket.feed("first".into()).await.map(|()| socket) })
    };
    let fed = feed(server("/echo")).await.outcome("it opens and sends").await;
    assert_eq!(next(&mut fed.unwrap()).await, Message::from("first"));

    let fed = feed(faults("/refuse?status=403")).await.outcome("the sink fails").await;
    let error = fed.unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::NotOpen(_)), "{error}");
}

/// gloo#510: without `bufferedAmount` a sender cannot wait for the network.
#[wasm_bindgen_test]
async fn a_sink_stops_at_the_high_mark_and_continues_when_the_peer_reads() {
    let (mut socket, id) = stalled().await;
    let fed = feed_until_pending(&mut socket).await;
    let buffered = socket.buffered_amount() as usize;
    assert!(buffered > MARKS.high as usize, "{buffered} is not above the mark");
    assert!(
        buffered <= MARKS.high as usize + CHUNK,
        "{buffered} passed the mark by more than a message"
    );

    release("/stall", &id).await;
    within("the sink is ready again", socket.feed(chunk())).await.unwrap();
    assert!(
        socket.buffered_amount() as usize <= MARKS.low as usize + CHUNK,
        "ready at the low mark only"
    );
    within("everything is handed over", socket.flush()).await.unwrap();
    assert_eq!(socket.buffered_amount(), 0);
    for _ in 0..=fed {
        assert_eq!(
            next(&mut socket).await,
            Message::from(CHUNK.to_string()),
            "nothing was lost"
        );
    }
}

/// phoenix#4309, aspnetcore#31079: timers of a hidden page are up to a minute late.
#[wasm_bindgen_test]
async fn a_waiting_sink_continues_without_timers_when_messages_arrive() {
    let (mut socket, id) = full().await;
    let mut feeding = Box::pin(async move { socket.feed(chunk()).await });
    assert!(without_timers(|| feeding.as_mut().now_or_never()).is_none());
    let feeding = Task::waiting(feeding).await;
    release("/stall", &id).await;
    feeding.outcome("the sink to continue").await.unwrap();
}

#[wasm_bindgen_test]
async fn send_stops_at_the_bound_and_returns_the_message() {
    let (socket, _) = stalled().await;
    let refused = (0..10_000).find_map(|_| socket.send(chunk()).err()).expect("a bound");
    let buffered = socket.buffered_amount();
    let max = MARKS.max;
    assert_eq!(*refused.kind(), SendErrorKind::Full { buffered, max });
    assert!(buffered > max && buffered as usize <= max as usize + CHUNK);
    assert_eq!(refused.into_message(), chunk());
    assert_eq!(socket.ready_state(), ReadyState::Open, "the connection stays open");
}

#[wasm_bindgen_test]
async fn a_sink_that_waits_for_capacity_is_woken_by_every_kind_of_close() {
    type End = fn(&Socket);
    let ends: [End; 3] = [
        Socket::close,
        |socket| socket.close_with(4000, "").unwrap(),
        Socket::terminate,
    ];
    for end in ends {
        let (socket, _) = full().await;
        let mut sink = socket.clone();
        let mut feeding = Box::pin(async move { sink.feed(chunk()).await });
        assert!(without_timers(|| feeding.as_mut().now_or_never()).is_none());
        let feeding = Task::waiting(feeding).await;
        end(&socket);
        let error = feeding.outcome("the sink is woken").await.unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::NotOpen(_)), "{error}");
        socket.terminate();
    }
}

#[wasm_bindgen_test]
async fn a_flush_fails_if_the_connection_ends_with_messages_unsent() {
    let (mut socket, _) = stalled().await;
    feed_until_pending(&mut socket).await;
    let other = socket.clone();
    let (outcome, ()) = within("the flush ends", join(socket.flush(), async { other.terminate() })).await;
    assert!(matches!(outcome.unwrap_err().kind(), SendErrorKind::Lost(end) if end.code == 1006));
}

#[wasm_bindgen_test]
async fn a_stream_can_be_forwarded_into_a_sink() {
    let (sink, stream) = connect(&server("/echo")).await.split();
    let messages = (0..1000).map(|n| Ok(Message::from(n.to_string())));
    let forwarding = futures_util::stream::iter(messages).forward(sink);
    let reading = stream.take(1000).map(|message| message.unwrap()).collect::<Vec<_>>();
    let (forwarded, echoed) = within("all are echoed", join(forwarding, reading)).await;
    // `forward` closes the sink at its end, so the last echoes may not arrive.
    forwarded.unwrap();
    for (n, message) in echoed.iter().enumerate() {
        assert_eq!(message.as_text(), Some(n.to_string().as_str()));
    }
}

#[wasm_bindgen_test]
async fn a_message_in_shared_memory_is_rejected_and_returned() {
    let socket = connect(&server("/echo")).await;
    let Ok(shared) =
        js_sys::Function::new_no_args("return new Uint8Array(new SharedArrayBuffer(8))").call0(&js_sys::global())
    else {
        return; // In some browsers pages without cross-origin isolation have no shared memory.
    };
    let error = socket.send(js_sys::Uint8Array::from(shared)).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::Rejected(_)), "{error}");
}

#[wasm_bindgen_test]
async fn a_sink_that_is_ready_takes_its_message_without_waiting() {
    let mut socket = connect(&server("/echo")).await;
    assert!(matches!(socket.feed("now".into()).now_or_never(), Some(Ok(()))));
    within("the flush", socket.flush()).await.unwrap();
    assert_eq!(socket.buffered_amount(), 0);
}
