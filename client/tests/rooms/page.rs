//! The lifecycle of a page, tokens and room names.

use std::{cell::Cell, rc::Rc, time::Duration};

use js_sys::{Function, Object, Reflect};
use talkback_client::{Client, Event, JoinOptions, Status, SuspendReason};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, dispatch, join, joined, messages, next, open, room_name,
    support::{turn, within},
};

/// socket.io#5232, whatwg/html#12085: a page in the back/forward cache must have no connection and must reconnect by
/// itself.
#[wasm_bindgen_test]
async fn a_hidden_or_frozen_page_disconnects_and_reconnects_when_it_is_back() {
    let network = Network::shared().await;
    let (room, client) = (room_name(), network.client("ann").build().unwrap());
    let window = web_sys::window().unwrap();
    let document = window.document().unwrap();
    let mut inside = join(&client, &room);
    joined(&mut inside).await;
    for (number, (target, leave, back)) in [
        (web_sys::EventTarget::from(window), "pagehide", "pageshow"),
        (document.into(), "freeze", "resume"),
    ]
    .into_iter()
    .enumerate()
    {
        dispatch(&target, leave);
        assert_eq!(client.status(), Status::Suspended(SuspendReason::Asleep), "{leave}");
        network.until_open(0).await;
        let number = number as u64;
        let delivery = inside.try_send(&number).unwrap();
        dispatch(&target, back);
        assert!(!matches!(client.status(), Status::Suspended(_)), "{back}");
        delivery.await.unwrap();
        assert!(matches!(next(&mut inside).await, Event::Recovered(_)));
        assert_eq!(messages(&mut inside, 1).await, [number]);
    }
}

/// Makes every random byte of the browser this one, until the value is dropped.
struct FixedRandom;

impl FixedRandom {
    fn always(byte: u8) -> Self {
        let draw = Function::new_with_args("bytes", &format!("return bytes.fill({byte});"));
        assert!(Reflect::set(&crypto(), &"getRandomValues".into(), &draw).unwrap());
        Self
    }
}

impl Drop for FixedRandom {
    fn drop(&mut self) {
        // The browser's own function is in the prototype.
        Reflect::delete_property(&crypto(), &"getRandomValues".into()).unwrap();
    }
}

fn crypto() -> Object {
    Reflect::get(&js_sys::global(), &"crypto".into())
        .unwrap()
        .unchecked_into()
}

/// A client whose next attempt is seconds away, while the network works again.
async fn long_waiting(network: &Network) -> Client {
    network.set("refuse=1").await;
    let builder = network
        .client("ann")
        .options(|options| options.backoff.cap = Duration::from_secs(600));
    let client = builder.build().unwrap();
    // The bound doubles with each attempt. The delay is 0 until the bound is long enough, then it is the bound.
    let shortest = FixedRandom::always(0);
    network.until_accepted(8).await;
    drop(shortest);
    let _longest = FixedRandom::always(255);
    within("a long wait", async {
        while client.retry_in().is_none_or(|left| left < Duration::from_secs(3)) {
            turn().await;
        }
    })
    .await;
    network.set("").await;
    client
}

async fn opens_at_once(client: &Client) {
    // The shortest backoff separates two attempts.
    let left = client.retry_in().unwrap_or_default();
    assert!(left <= Duration::from_millis(20), "{left:?} left");
    open(client).await;
}

/// centrifuge-js#203: slow recovery after the network returns.
#[wasm_bindgen_test]
async fn the_network_that_returns_connects_at_once() {
    let network = Network::shared().await;
    let client = long_waiting(&network).await;
    let window = web_sys::window().unwrap();
    dispatch(&window, "offline");
    assert_eq!(client.status(), Status::Suspended(SuspendReason::Offline));
    dispatch(&window, "online");
    opens_at_once(&client).await;
}

#[wasm_bindgen_test]
async fn a_page_that_becomes_visible_connects_at_once() {
    let network = Network::shared().await;
    let client = long_waiting(&network).await;
    let document = web_sys::window().unwrap().document().unwrap();
    assert_eq!(document.visibility_state(), web_sys::VisibilityState::Visible);
    dispatch(&document, "visibilitychange");
    opens_at_once(&client).await;
}

#[wasm_bindgen_test]
async fn a_token_is_requested_before_each_connection_that_needs_one() {
    let network = Network::shared().await;
    let asked = Rc::new(Cell::new(0));
    let client = network
        .client("ann")
        .token({
            let asked = asked.clone();
            move || {
                asked.set(asked.get() + 1);
                async {
                    turn().await;
                    Some("token".to_owned())
                }
            }
        })
        .build()
        .unwrap();
    open(&client).await;
    assert_eq!(asked.get(), 1);
}

/// Names that look the same are the same room, however the keyboard or the URL encodes them.
#[wasm_bindgen_test]
async fn a_room_name_is_normalized_to_nfc() {
    let written = talkback_client::room_name("cafe\u{301}").unwrap();
    assert_eq!(&*written, "caf\u{e9}");
    let client = Network::shared().await.client("ann").build().unwrap();
    let mut room = client.join::<u64>("cafe\u{301}", &JoinOptions::default()).unwrap();
    assert_eq!(&**room.name(), "caf\u{e9}");
    joined(&mut room).await;
}
