//! Shared code of the browser tests: the addresses of the servers, and waiting with a deadline.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
};

use futures_util::{
    StreamExt,
    future::{Either, select},
};
use gloo_net::http::{Method, RequestBuilder};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Promise, Reflect};
use talkback_client::{Message, Socket, SocketOptions, SocketStream};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, spawn_local};

const DEADLINE_MS: u32 = 20_000;

/// The runner puts the real server one port above the test page and the fault service two above. A worker has no port
/// in its `location`, only the origin of its page.
pub(crate) fn port(above: u16) -> u16 {
    let origin = Reflect::get(&js_sys::global(), &"origin".into())
        .unwrap()
        .as_string()
        .unwrap();
    origin.rsplit(':').next().unwrap().parse::<u16>().unwrap() + above
}

pub(crate) fn server(path: &str) -> String {
    format!("ws://127.0.0.1:{}{path}", port(1))
}

pub(crate) fn faults(path: &str) -> String {
    format!("ws://127.0.0.1:{}{path}", port(2))
}

/// A name that no other test uses.
pub(crate) fn unique() -> String {
    thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
    NEXT.with(|next| next.replace(next.get() + 1)).to_string()
}

/// Asks the fault service over HTTP.
pub(crate) async fn ask<T: serde::de::DeserializeOwned>(method: Method, path: &str) -> T {
    let url = faults(path).replace("ws://", "http://");
    let answer = RequestBuilder::new(&url).method(method).send().await.unwrap();
    assert!(answer.ok(), "{path}: {} {:?}", answer.status(), answer.text().await);
    answer.json().await.unwrap()
}

#[derive(serde::Deserialize)]
pub(crate) struct Port {
    pub(crate) port: u16,
}

#[derive(serde::Deserialize, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

#[derive(serde::Deserialize)]
struct Live {
    open: usize,
}

#[derive(serde::Deserialize)]
pub(crate) struct Empty {}

/// The close of the client of `/record?id=`, as its peer received it.
pub(crate) async fn recorded(id: &str) -> Record {
    within("the peer sees the close", ask(Method::GET, &format!("/record?id={id}"))).await
}

/// Releases the connection at `/stall` or `/silent`.
pub(crate) async fn release(path: &str, id: &str) {
    let _: Empty = ask(Method::POST, &format!("{path}?id={id}")).await;
}

/// Waits until the browser gave up its handshake with `/silent`, then ends that connection.
///
/// Firefox keeps the TCP connection of a handshake that the page gave up for minutes, also without this crate, and
/// makes other handshakes with that host wait for it.
pub(crate) async fn until_silence_is_left(id: &str) {
    let agent = Reflect::get(&js_sys::global(), &"navigator".into())
        .and_then(|navigator| Reflect::get(&navigator, &"userAgent".into()))
        .unwrap();
    if !agent.as_string().unwrap().contains("Firefox") {
        until_connections("/silent", 0).await;
    }
    release("/silent", id).await;
    until_connections("/silent", 0).await;
}

/// Waits until the fault service holds this many connections on this path.
pub(crate) async fn until_connections(path: &str, count: usize) {
    within(&format!("{count} connections on {path}"), async {
        while ask::<Live>(Method::GET, &format!("/live?path={path}")).await.open != count {
            turn().await;
        }
    })
    .await;
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match select(pin!(future), TimeoutFuture::new(DEADLINE_MS)).await {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("not within {DEADLINE_MS} ms: {what}"),
    }
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            turn().await;
        }
    })
    .await;
}

/// A separate task, so that it continues only if the socket wakes it, and not because another future of the same task
/// was woken.
pub(crate) struct Task<T>(Rc<RefCell<Option<T>>>);

impl<T: 'static> Task<T> {
    /// Runs until it waits for the socket.
    pub(crate) async fn waiting(future: impl Future<Output = T> + 'static) -> Self {
        let slot = Rc::new(RefCell::new(None));
        let task = Self(slot.clone());
        spawn_local(async move {
            let outcome = future.await;
            slot.replace(Some(outcome));
        });
        // Long enough for the task to begin, too short for the browser to deliver anything.
        JsFuture::from(Promise::resolve(&JsValue::UNDEFINED)).await.unwrap();
        assert!(task.0.borrow().is_none(), "the task did not wait");
        task
    }

    pub(crate) async fn outcome(self, what: &str) -> T {
        until(what, || self.0.borrow().is_some()).await;
        self.0.take().unwrap()
    }
}

/// Runs `action` while new timers never fire.
pub(crate) fn without_timers<T>(action: impl FnOnce() -> T) -> T {
    with_global("setTimeout", &js_sys::Function::new_no_args("return 0"), action)
}

/// Runs `action` while a global has another value.
pub(crate) fn with_global<T>(name: &str, value: &JsValue, action: impl FnOnce() -> T) -> T {
    let (global, name) = (js_sys::global(), JsValue::from(name));
    let own = Reflect::get(&global, &name).unwrap();
    assert!(Reflect::set(&global, &name, value).unwrap());
    let outcome = action();
    assert!(Reflect::set(&global, &name, &own).unwrap());
    outcome
}

/// Every closure and every browser object that Rust holds is one live reference.
pub(crate) fn references() -> u32 {
    wasm_bindgen::externref_heap_live_count()
}

/// Waits without a deadline, which would hold references of its own.
pub(crate) async fn until_references(before: u32) {
    for _ in 0..5_000 {
        if references() <= before {
            return;
        }
        turn().await;
    }
    panic!("{} references became {}", before, references());
}

/// Lets the browser deliver pending events.
pub(crate) async fn turn() {
    TimeoutFuture::new(1).await;
}

pub(crate) async fn connect(url: &str) -> Socket {
    connect_with(url, &SocketOptions::default()).await
}

pub(crate) async fn connect_with(url: &str, options: &SocketOptions) -> Socket {
    within(&format!("{url} opens"), Socket::connect(url, options))
        .await
        .unwrap()
}

pub(crate) async fn next(socket: &mut Socket) -> Message {
    within("a message", socket.next())
        .await
        .expect("the stream goes on")
        .unwrap()
}

/// The remaining messages of the stream.
pub(crate) async fn rest(stream: &mut SocketStream) -> Vec<Message> {
    within("the stream ends", stream.by_ref().map(Result::unwrap).collect()).await
}

/// Sends a message to a peer that echoes, and returns the echo.
pub(crate) async fn echo(socket: &mut Socket, message: impl Into<Message>) -> Message {
    socket.send(message).unwrap();
    next(socket).await
}
