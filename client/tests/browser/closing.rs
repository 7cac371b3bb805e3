//! Every way a connection ends, and its close event.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_util::{FutureExt, SinkExt, StreamExt, future::join3};
use gloo_net::http::Method;
use talkback_client::{CloseEvent, Message, ReadyState, SendErrorKind, Socket, SocketOptions};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{
    Empty, Port, Record, Task, ask, connect, echo, faults, next, recorded, rest, server, turn, unique,
    until_connections, until_silence_is_left, within,
};

fn event(code: u16, reason: &str, was_clean: bool) -> CloseEvent {
    CloseEvent {
        code,
        reason: reason.into(),
        was_clean,
    }
}

async fn closed(socket: &Socket) -> CloseEvent {
    within("the close event", socket.closed()).await
}

#[wasm_bindgen_test]
async fn the_servers_code_and_reason_are_known() {
    let socket = connect(&faults("/close?code=4000&reason=bye")).await;
    assert_eq!(closed(&socket).await, event(4000, "bye", true));
    let socket = connect(&faults("/close?code=1011&reason=%E5%87%BA%E9%94%99&on_message=1")).await;
    socket.send("go").unwrap();
    assert_eq!(closed(&socket).await, event(1011, "出错", true));
}

#[wasm_bindgen_test]
async fn a_close_without_a_code_is_1005() {
    let socket = connect(&faults("/close")).await;
    assert_eq!(closed(&socket).await, event(1005, "", true));
}

#[wasm_bindgen_test]
async fn the_server_sees_the_code_and_reason_of_the_page() {
    let id = unique();
    let socket = connect(&faults(&format!("/record?id={id}"))).await;
    let reason = "好".repeat(41);
    socket.close_with(4999, &reason).unwrap();
    assert_eq!(recorded(&id).await, Record { code: 4999, reason });
    assert!(closed(&socket).await.was_clean);
}

#[wasm_bindgen_test]
async fn the_server_sees_a_close_without_a_code() {
    let id = unique();
    let socket = connect(&faults(&format!("/record?id={id}"))).await;
    socket.close();
    assert_eq!(recorded(&id).await.code, 1005);
    assert!(closed(&socket).await.was_clean);
}

/// gloo-net passes 1005 for `close(None, Some(reason))`, which always throws; others pass 1001 or 1006.
#[wasm_bindgen_test]
async fn codes_and_reasons_that_the_browser_would_refuse_are_errors_without_effect() {
    let mut socket = connect(&server("/echo")).await;
    for code in [0, 999, 1001, 1005, 1006, 1015, 2999, 5000] {
        let refused = socket.close_with(code, "").unwrap_err().to_string();
        assert!(refused.contains("use 1000 or 3000 to 4999"), "{refused}");
    }
    let refused = socket.close_with(1000, &"好".repeat(42)).unwrap_err().to_string();
    assert!(refused.contains("126 bytes"), "{refused}");
    assert_eq!(echo(&mut socket, "open").await.as_text(), Some("open"));
}

#[wasm_bindgen_test]
async fn closing_again_has_no_effect() {
    let id = unique();
    let socket = connect(&faults(&format!("/record?id={id}"))).await;
    socket.close_with(4001, "first").unwrap();
    socket.close_with(4002, "second").unwrap();
    socket.close();
    assert_eq!(recorded(&id).await.code, 4001);
    closed(&socket).await;
    socket.close();
    socket.close_with(4003, "late").unwrap();
    socket.terminate();
    assert_eq!(closed(&socket).await.code, 4001);
}

/// gloo#380: after `split` there was no way to close.
#[wasm_bindgen_test]
async fn any_clone_and_either_half_can_close() {
    type Close = fn(&Socket);
    let ways: [Close; 3] = [
        |socket| socket.clone().close_with(4100, "").unwrap(),
        |socket| socket.clone().split().0.close_with(4100, "").unwrap(),
        |socket| socket.clone().split().1.close_with(4100, "").unwrap(),
    ];
    for close in ways {
        let id = unique();
        let socket = connect(&faults(&format!("/record?id={id}"))).await;
        close(&socket);
        assert_eq!(recorded(&id).await.code, 4100);
        closed(&socket).await;
    }
}

#[wasm_bindgen_test]
async fn any_number_of_tasks_wait_for_the_close_before_and_after_it() {
    let socket = connect(&faults("/close?code=4000&on_message=1")).await;
    let clone = socket.clone();
    assert!(socket.closed().now_or_never().is_none());
    let waiting = join3(socket.closed(), socket.closed(), clone.closed());
    socket.send("go").unwrap();
    let (a, b, c) = within("all three", waiting).await;
    assert_eq!((a.code, b.code, c.code), (4000, 4000, 4000));
    assert_eq!(socket.closed().now_or_never().map(|event| event.code), Some(4000));
}

#[wasm_bindgen_test]
async fn every_kind_of_task_is_woken_by_the_close() {
    type End = fn(&Socket);
    let ends: [(&str, End); 2] = [
        ("/close?code=4000&on_message=1", |socket| socket.send("go").unwrap()),
        ("/no-close", Socket::terminate),
    ];
    for (path, end) in ends {
        let socket = connect(&faults(path)).await;
        let (mut sink, mut stream) = socket.clone().split();
        let watcher = socket.clone();
        let reading = Task::waiting(async move { stream.next().await }).await;
        let watching = Task::waiting(async move { watcher.closed().await }).await;
        end(&socket);
        assert_eq!(reading.outcome("the reader").await, None);
        let seen = watching.outcome("the watcher").await;
        let closing = sink.close().now_or_never().expect("the connection ended");
        assert_eq!(closing.is_ok(), seen.was_clean);
    }
}

#[wasm_bindgen_test]
async fn the_close_callback_runs_once_with_the_event() {
    let socket = connect(&faults("/close?code=4000&reason=bye&on_message=1")).await;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let _guard = socket.on_close({
        let seen = seen.clone();
        move |event| seen.borrow_mut().push(event)
    });
    socket.send("go").unwrap();
    closed(&socket).await;
    turn().await;
    assert_eq!(*seen.borrow(), [event(4000, "bye", true)]);
}

/// cometd#2302: a made-up 1000 hid the actual 1006.
#[wasm_bindgen_test]
async fn a_server_killed_mid_stream_is_1006_and_earlier_messages_are_yielded() {
    let Port { port } = ask(Method::POST, "/server").await;
    let mut socket = connect(&format!("ws://127.0.0.1:{port}/echo")).await;
    for n in 0..100 {
        socket.send(n.to_string()).unwrap();
    }
    assert_eq!(next(&mut socket).await.as_text(), Some("0"));
    let (_, mut stream) = socket.split();
    let _: Empty = ask(Method::DELETE, &format!("/server?port={port}")).await;
    assert_eq!(closed(stream.socket()).await, event(1006, "", false));
    let kept = rest(&mut stream).await;
    let expected: Vec<_> = (1..=kept.len()).map(|n| Message::from(n.to_string())).collect();
    assert_eq!(kept, expected);
}

#[wasm_bindgen_test]
async fn a_connection_reset_inside_a_frame_is_1006_and_whole_messages_are_yielded() {
    let mut socket = connect(&faults("/reset?after=3")).await;
    for n in 0..3 {
        assert_eq!(next(&mut socket).await, Message::from(n.to_string()));
    }
    socket.send("reset").unwrap();
    assert_eq!(closed(&socket).await, event(1006, "", false));
    let (_, mut stream) = socket.split();
    assert_eq!(rest(&mut stream).await, []);
}

/// partykit#403: messages that were buffered when the socket ended were lost.
#[wasm_bindgen_test]
async fn messages_that_arrived_before_the_close_are_read_after_it() {
    let (_, mut stream) = connect(&server("/once")).await.split();
    stream.socket().send("only").unwrap();
    assert_eq!(closed(stream.socket()).await.code, 1000);
    assert_eq!(rest(&mut stream).await, [Message::from("only")]);
    assert_eq!(rest(&mut stream).await, [], "the stream stays ended");
}

/// In gloo-net `poll_close` does nothing, so `sink.close().await` returned with the connection open.
#[wasm_bindgen_test]
async fn closing_the_sink_waits_for_the_closing_handshake() {
    let id = unique();
    let (mut sink, stream) = connect(&faults(&format!("/record?id={id}"))).await.split();
    sink.feed("last message".into()).await.unwrap();
    within("the sink closes", sink.close()).await.unwrap();
    assert_eq!(stream.socket().ready_state(), ReadyState::Closed);
    assert_eq!(recorded(&id).await.code, 1005);
}

#[wasm_bindgen_test]
async fn closing_the_sink_fails_if_the_connection_does_instead() {
    let (mut sink, stream) = connect(&faults("/no-close")).await.split();
    let closing = Task::waiting(async move { sink.close().await }).await;
    stream.socket().terminate();
    let error = closing.outcome("the sink gives up").await.unwrap_err();
    assert_eq!(*error.kind(), SendErrorKind::Lost(event(1006, "", false)));
}

/// graphql-ws: the close handshake of a half-open socket never ends; centrifuge-js#228: iOS never fires close.
#[wasm_bindgen_test]
async fn terminate_ends_a_socket_whose_peer_never_answers_the_close() {
    let socket = connect(&faults("/no-close")).await;
    let calls = Rc::new(Cell::new(0));
    let (errors, closes) = (calls.clone(), calls.clone());
    let _guards = (
        socket.on_error(move || errors.set(errors.get() + 1)),
        socket.on_close(move |event| closes.set(closes.get() + u32::from(event.code))),
    );
    socket.close();
    turn().await;
    assert_eq!(socket.ready_state(), ReadyState::Closing);

    socket.terminate();
    assert_eq!(socket.ready_state(), ReadyState::Closed);
    assert_eq!(socket.closed().now_or_never(), Some(event(1006, "", false)));
    assert_eq!(calls.get(), 0, "never from inside the caller");
    socket.terminate();
    turn().await;
    assert_eq!(calls.get(), 1 + 1006);
}

#[wasm_bindgen_test]
async fn terminate_while_connecting_leaves_nothing() {
    let id = unique();
    let socket = Socket::new(&faults(&format!("/silent?id={id}")), &SocketOptions::default()).unwrap();
    until_connections("/silent", 1).await;
    socket.terminate();
    assert_eq!(socket.closed().now_or_never().map(|event| event.code), Some(1006));
    drop(socket);
    until_silence_is_left(&id).await;
}
