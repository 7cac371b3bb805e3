//! The socket in a dedicated worker, where there is no window.

#![cfg(target_family = "wasm")]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use talkback_client::{Client, ConnectError, Event, JoinOptions, Socket, SocketOptions};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use support::{connect_with, echo, faults, recorded, server, unique, within};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen_test]
async fn a_worker_has_the_whole_socket_with_its_timers() {
    assert!(web_sys::window().is_none());
    let options = SocketOptions {
        timeout: Some(Duration::from_secs(10)),
        ..SocketOptions::default()
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
    drop(connect_with(&faults(&format!("/record?id=worker{id}")), &SocketOptions::default()).await);
    assert_eq!(recorded(&format!("worker{id}")).await.code, 1000);
}

#[wasm_bindgen_test]
fn a_fragment_is_refused_in_a_worker_too() {
    let refused = Socket::new("ws://127.0.0.1/#", &SocketOptions::default());
    assert!(matches!(refused, Err(ConnectError::Fragment { .. })));
}

/// Without a document there are fewer events of the page's lifecycle, and no storage.
#[wasm_bindgen_test]
async fn a_worker_has_rooms() {
    let client = Client::builder(&server("/ws")).build().unwrap();
    let mut room = client.join::<String>("rooms-worker", &JoinOptions::default()).unwrap();
    assert!(matches!(within("joined", room.next()).await, Some(Event::Joined(_))));
    let delivery = room.send(&"hello".to_owned()).await.unwrap();
    let acked = within("an acknowledgement", delivery).await.unwrap();
    let Some(Event::Message(message)) = within("the message", room.next()).await else {
        panic!("something else")
    };
    assert_eq!((message.offset, message.own), (acked.offset, true));
    let global: web_sys::EventTarget = wasm_bindgen::JsCast::unchecked_into(js_sys::global());
    global.dispatch_event(&web_sys::Event::new("offline").unwrap()).unwrap();
    global.dispatch_event(&web_sys::Event::new("online").unwrap()).unwrap();
    within("an acknowledgement", room.send(&"again".to_owned()).await.unwrap())
        .await
        .unwrap();
}
