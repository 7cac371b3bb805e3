//! Handles, guards, and that dropping them frees everything.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use js_sys::WebAssembly;
use talkback_client::{EventGuard, Message, Socket, SocketOptions};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{
    Record, connect, connect_with, echo, faults, recorded, references, server, turn, unique, until, until_connections,
    until_references, within,
};

/// The number of references before a test, after the first socket created the shared ones.
async fn references_before() -> u32 {
    drop(connect(&server("/echo")).await);
    turn().await;
    references()
}

fn wasm_memory() -> u32 {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let buffer: js_sys::ArrayBuffer = memory.buffer().unchecked_into();
    buffer.byte_length()
}

/// Opens and drops a socket with callbacks, a waiting sink, tasks and unread messages.
async fn one_life(alive: &Rc<()>) {
    let url = faults("/record?id=leak");
    let mut socket = connect(&url).await;
    let guards: Vec<EventGuard> = {
        let [a, b, c, d] = [(); 4].map(|()| alive.clone());
        vec![
            socket.on_open(move || drop(a.clone())),
            socket.on_error(move || drop(b.clone())),
            socket.on_close(move |_| drop(c.clone())),
            socket.on_message(move |_| drop(d.clone())),
        ]
    };
    drop(guards);
    assert_eq!(
        echo(&mut socket, "x".repeat(10_000)).await.as_text().map(str::len),
        Some(10_000)
    );
    socket.send("unread").unwrap();
    assert!(socket.closed().now_or_never().is_none());
    let alive = alive.clone();
    let _late = socket.on_close(move |_| drop(alive.clone()));
    socket.close_with(1000, "").unwrap();
    within("it closes", socket.closed()).await;
}

/// Libraries that forget their closures leak four of them for each connection.
#[wasm_bindgen_test]
async fn a_hundred_connections_leak_no_closure_no_socket_and_no_memory() {
    let alive = Rc::new(());
    for _ in 0..10 {
        one_life(&alive).await;
    }
    until_connections("/record", 0).await;
    let before = (references(), wasm_memory());
    for _ in 0..100 {
        one_life(&alive).await;
    }
    until_connections("/record", 0).await;
    until_references(before.0).await;
    assert_eq!(wasm_memory(), before.1);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[wasm_bindgen_test]
async fn a_hundred_connections_dropped_while_connecting_or_open_leak_nothing() {
    let before = references_before().await;
    for n in 0..100 {
        let socket = Socket::new(&faults("/record?id=dropped"), &SocketOptions::default()).unwrap();
        if n % 2 == 0 {
            within("it opens", socket.opened()).await.unwrap();
            socket.send("unread").unwrap();
        }
    }
    until_connections("/record", 0).await;
    until_references(before).await;
}

#[wasm_bindgen_test]
async fn a_closed_socket_holds_no_closure_while_its_handle_lives() {
    let before = references_before().await;
    let ended = connect(&faults("/close?code=4000")).await;
    within("it ends", ended.closed()).await;
    let held = references() - before;
    assert!(held <= 1, "{held} references besides the socket");
}

#[wasm_bindgen_test]
async fn the_timeout_and_the_abort_listener_are_freed_once_it_is_open() {
    let hurried = SocketOptions {
        timeout: Some(Duration::from_secs(3600)),
        abort: Some(web_sys::AbortController::new().unwrap().signal()),
        ..SocketOptions::default()
    };
    let mut sockets = vec![connect_with(&server("/echo"), &hurried).await];
    let mut held = Vec::new();
    for options in [SocketOptions::default(), hurried.clone()] {
        let before = references();
        sockets.push(connect_with(&server("/echo"), &options).await);
        held.push(references() - before);
    }
    assert_eq!(held[0], held[1], "it holds as much as without a timeout and a signal");
}

#[wasm_bindgen_test]
async fn dropping_the_last_handle_closes_with_1000_after_sent_messages() {
    let id = unique();
    let socket = connect(&faults(&format!("/record?id={id}"))).await;
    let (sink, stream) = socket.clone().split();
    socket.send("sent").unwrap();
    drop(socket);
    drop(sink);
    turn().await;
    assert_eq!(stream.socket().ready_state().to_string(), "OPEN", "one handle is left");
    drop(stream);
    let normal = Record {
        code: 1000,
        reason: String::new(),
    };
    assert_eq!(recorded(&id).await, normal);
}

#[wasm_bindgen_test]
async fn a_guard_does_not_keep_the_socket_open() {
    let id = unique();
    let socket = connect(&faults(&format!("/record?id={id}"))).await;
    let called = Rc::new(Cell::new(false));
    let _guard = socket.on_close({
        let called = called.clone();
        move |_| called.set(true)
    });
    drop(socket);
    assert_eq!(recorded(&id).await.code, 1000);
    turn().await;
    assert!(!called.get(), "no callback runs after the last handle is dropped");
}

/// "closure invoked recursively or after being dropped": the panic of wrappers whose callbacks run after the component
/// was dropped.
#[wasm_bindgen_test]
async fn the_last_handle_may_be_dropped_inside_each_callback() {
    type Register = fn(&Socket, Rc<RefCell<Option<Socket>>>) -> EventGuard;
    let in_callbacks: [(&str, Register); 4] = [
        ("/record?id=inside", |socket, slot| {
            socket.on_open(move || drop(slot.take()))
        }),
        ("/close?code=4000", |socket, slot| {
            socket.on_close(move |_| drop(slot.take()))
        }),
        ("/refuse?status=403", |socket, slot| {
            socket.on_error(move || drop(slot.take()))
        }),
        ("/reset?after=3", |socket, slot| {
            socket.on_message(move |_| drop(slot.take()))
        }),
    ];
    let before = references_before().await;
    for (path, register) in in_callbacks {
        let socket = Socket::new(&faults(path), &SocketOptions::default()).unwrap();
        let slot = Rc::new(RefCell::new(None));
        let _guard = register(&socket, slot.clone());
        slot.replace(Some(socket));
        until(path, || slot.borrow().is_none()).await;
    }
    until_references(before).await;
}

#[wasm_bindgen_test]
async fn a_guard_may_be_dropped_inside_its_own_callback() {
    let mut socket = connect(&server("/echo")).await;
    let calls = Rc::new(Cell::new(0));
    let slot = Rc::new(RefCell::new(None));
    let guard = socket.on_message({
        let (calls, slot) = (calls.clone(), slot.clone());
        move |_| {
            calls.set(calls.get() + 1);
            drop(slot.take());
        }
    });
    slot.replace(Some(guard));
    socket.send("callback").unwrap();
    until("the callback", || calls.get() == 1).await;
    assert_eq!(echo(&mut socket, "stream").await, Message::from("stream"));
    assert_eq!((calls.get(), Rc::strong_count(&calls)), (1, 1));
}

#[wasm_bindgen_test]
async fn dropping_during_a_message_has_no_error() {
    for n in 0..20 {
        let mut socket = connect(&server("/flood?n=1000")).await;
        for _ in 0..n {
            within("a message", socket.next()).await.unwrap().unwrap();
        }
        socket.send("x".repeat(1_000_000)).unwrap();
    }
}

#[wasm_bindgen_test]
async fn a_callback_may_call_every_method_of_its_socket() {
    let socket = connect(&server("/echo")).await;
    let done = Rc::new(Cell::new(false));
    let guards = Rc::new(RefCell::new(Vec::new()));
    let guard = socket.on_message({
        let (socket, done, guards) = (socket.clone(), done.clone(), guards.clone());
        move |_| {
            guards.borrow_mut().push(socket.on_message(|_| ()));
            guards.borrow_mut().push(socket.on_close(|_| ()));
            socket.send("from inside").unwrap();
            assert!(socket.clone().next().now_or_never().is_none());
            assert_eq!(socket.ready_state().to_string(), "OPEN");
            socket.close_with(4000, "inside").unwrap();
            socket.terminate();
            done.set(true);
        }
    });
    socket.send("go").unwrap();
    until("the callback", || done.get()).await;
    assert_eq!(within("it ends", socket.closed()).await.code, 1006);
    drop((guard, guards.take()));
}
