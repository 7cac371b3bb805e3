//! The socket in a dedicated worker, where there is no window.

#![cfg(target_family = "wasm")]

mod support;

use std::time::Duration;

use futures_util::SinkExt;
use talkback_client::{ConnectError, Options, Socket};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use support::{connect_with, echo, faults, recorded, server, unique, within};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen_test]
async fn a_worker_has_the_whole_socket_with_its_timers() {
    assert!(web_sys::window().is_none());
    let options = Options {
        timeout: Some(Duration::from_secs(10)),
        ..Options::default()
    };
    let mut socket = connect_with(&server("/echo"), &options).await;
    assert_eq!(echo(&mut socket, "你好").await.as_text(), Some("你好"));
    socket.feed(vec![1; 1 << 20].into()).await.unwrap();
    within("the flush", socket.flush()).await.unwrap();
    within("the close", SinkExt::close(&mut socket)).await.unwrap();
}

#[wasm_bindgen_test]
async fn a_worker_drops_its_socket_with_1000() {
    let id = unique();
    drop(connect_with(&faults(&format!("/record?id=worker{id}")), &Options::default()).await);
    assert_eq!(recorded(&format!("worker{id}")).await.code, 1000);
}

#[wasm_bindgen_test]
fn a_fragment_is_refused_in_a_worker_too() {
    let refused = Socket::new("ws://127.0.0.1/#", &Options::default());
    assert!(matches!(refused, Err(ConnectError::Fragment { .. })));
}
