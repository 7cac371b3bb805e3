//! Rooms in a real browser, against the real server behind a TCP proxy with the faults of a network:
//! `cargo test -p talkback-client --target wasm32-unknown-unknown --test rooms`.
//!
//! Tests that need no browser are in `session.rs`. Tests that guard against a known failure name its public issue.

#![cfg(target_family = "wasm")]

mod support;

#[path = "rooms/addressed.rs"]
mod addressed;
#[path = "rooms/faults.rs"]
mod faults;
#[path = "rooms/lifetime.rs"]
mod lifetime;
#[path = "rooms/outbox.rs"]
mod outbox;
#[path = "rooms/page.rs"]
mod page;

use std::time::Duration;

use futures_util::StreamExt;
use gloo_net::http::Method;
use serde::Deserialize;
use talkback_client::{BackoffOptions, Client, ClientBuilder, Event, JoinOptions, Room, Status, UserName};

use support::{Port, ask, port, unique, within};

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// A TCP proxy with faults in front of a real server.
struct Network {
    port: u16,
}

/// The traffic of the proxy so far.
#[derive(Deserialize)]
struct Passed {
    open: usize,
    accepted: u64,
}

impl Network {
    /// A proxy in front of the server that all tests share.
    async fn shared() -> Self {
        Self::before(port(1)).await
    }

    async fn before(server: u16) -> Self {
        let Port { port } = ask(Method::POST, &format!("/proxy?to={server}")).await;
        Self { port }
    }

    /// Sets the faults of the proxy, see the table in `testbed/src/faults`; an empty text removes them.
    async fn set(&self, conditions: &str) {
        self.ask(Method::POST, &format!("&stall=0&refuse=0&delay_ms=0&{conditions}"))
            .await;
    }

    /// Cuts all connections, now or after this many further bytes from the server.
    async fn cut(&self, after: Option<u64>) {
        let cut = after.map_or("&cut=1".to_owned(), |bytes| format!("&cut_after_down={bytes}"));
        self.ask(Method::POST, &cut).await;
    }

    async fn ask(&self, method: Method, what: &str) -> Passed {
        ask(method, &format!("/proxy?port={}{what}", self.port)).await
    }

    async fn passed(&self) -> Passed {
        self.ask(Method::GET, "").await
    }

    fn client(&self, user: &str) -> ClientBuilder {
        client(self.port, user)
    }

    async fn until_accepted(&self, count: u64) {
        within(&format!("{count} connections so far"), async {
            while self.passed().await.accepted < count {
                support::turn().await;
            }
        })
        .await;
    }

    async fn until_open(&self, count: usize) {
        within(&format!("{count} connections"), async {
            while self.passed().await.open != count {
                support::turn().await;
            }
        })
        .await;
    }
}

/// A client with short timeouts.
fn client(port: u16, user: &str) -> ClientBuilder {
    Client::builder(&format!("ws://127.0.0.1:{port}/ws"))
        .name(UserName::parse(user).unwrap())
        .options(|options| {
            options.backoff = BackoffOptions {
                base: Duration::from_millis(20),
                cap: Duration::from_millis(200),
                reset_after: Duration::from_secs(1),
            };
            options.probe_timeout = Duration::from_millis(300);
        })
}

/// A room that no other test uses.
fn room_name() -> String {
    format!("rooms-{}-{}", unique(), js_sys::Math::random().to_bits())
}

fn join(client: &Client, room: &str) -> Room<u64> {
    client.join(room, &JoinOptions::default()).unwrap()
}

async fn next(room: &mut Room<u64>) -> Event<u64> {
    within("an event", room.next()).await.expect("the stream has ended")
}

async fn joined(room: &mut Room<u64>) {
    let event = next(room).await;
    assert!(matches!(event, Event::Joined(_)), "{event:?}");
}

/// The next `count` messages, which must be consecutive.
async fn messages(room: &mut Room<u64>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        match next(room).await {
            Event::Message(message) => numbers.push(*message.body.known().expect("a number")),
            Event::Reset(room) => panic!("{room:?}"),
            _ => {}
        }
    }
    numbers
}

async fn until_status(client: &Client, what: &str, predicate: impl Fn(&Status) -> bool) {
    within(what, async {
        let mut changes = client.status_changes();
        while let Some(status) = changes.next().await {
            if predicate(&status) {
                return;
            }
        }
    })
    .await;
}

async fn open(client: &Client) {
    until_status(client, "open", |status| matches!(status, Status::Open { .. })).await;
}

fn dispatch(target: &web_sys::EventTarget, name: &str) {
    target.dispatch_event(&web_sys::Event::new(name).unwrap()).unwrap();
}
