//! What a message costs with this crate, with gloo-net and in plain JavaScript: the same frames in the same page, in turn.

use std::hint::black_box;

use futures_util::{SinkExt, StreamExt};
use gloo_net::websocket::{Message as GlooMessage, futures::WebSocket as GlooSocket};
use js_sys::{Function, Promise};
use serde::Deserialize;
use talkback_client::{Message, Socket};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use crate::{
    MESSAGES, interval, now,
    support::{connect, server, within},
};

const ROUNDS: usize = 9;
const SIZE: usize = 160;

/// What is done with a message.
#[derive(Clone, Copy)]
enum Work {
    /// Takes the text of a text message, as the language has it.
    Text,
    /// Takes the bytes of a binary message.
    Binary,
    /// Parses a text message as JSON.
    Json,
}

/// What the server sends, see `/flood`.
#[derive(Deserialize)]
struct Flooded {
    n: u32,
    text: String,
}

impl Work {
    fn url(self) -> String {
        let kind = match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Json => "json",
        };
        server(&format!("/flood?n={MESSAGES}&size={SIZE}&kind={kind}"))
    }

    fn parse(text: &str) {
        let flooded: Flooded = serde_json::from_str(text).unwrap();
        black_box((flooded.n, flooded.text.len()));
    }
}

/// From the first message to the last, in microseconds a message.
struct Clock {
    first: Option<f64>,
    last: f64,
    messages: u32,
}

impl Clock {
    fn new() -> Self {
        Self {
            first: None,
            last: 0.0,
            messages: 0,
        }
    }

    fn count(&mut self) {
        self.messages += 1;
        self.first.get_or_insert_with(now);
        if self.messages == MESSAGES {
            self.last = now();
        }
    }

    fn microseconds(self) -> f64 {
        assert_eq!(self.messages, MESSAGES);
        (self.last - self.first.unwrap()) * 1000.0 / f64::from(MESSAGES)
    }
}

async fn receive_with_this_crate(work: Work) -> f64 {
    let mut socket = connect(&work.url()).await;
    let mut clock = Clock::new();
    while let Some(message) = socket.next().await {
        match (work, message.unwrap()) {
            (Work::Text, Message::Text(text)) => drop(black_box(text.as_str().len())),
            (Work::Json, Message::Text(text)) => Work::parse(text.as_str()),
            (_, message) => drop(black_box(message)),
        }
        clock.count();
    }
    clock.microseconds()
}

async fn receive_with_gloo_net(work: Work) -> f64 {
    let mut socket = GlooSocket::open(&work.url()).unwrap();
    let mut clock = Clock::new();
    // It ends with an error, also after a normal closure.
    while let Some(Ok(message)) = socket.next().await {
        match (work, message) {
            (Work::Json, GlooMessage::Text(text)) => Work::parse(&text),
            (_, message) => drop(black_box(message)),
        }
        clock.count();
    }
    clock.microseconds()
}

async fn receive_with_javascript(work: Work) -> f64 {
    let take = match work {
        Work::Text => "sum += data.length",
        Work::Binary => "sum += new Uint8Array(data).length",
        Work::Json => "const { n, text } = JSON.parse(data); sum += n + text.length",
    };
    let body = format!(
        "return new Promise(resolve => {{
            const socket = new WebSocket(url);
            socket.binaryType = 'arraybuffer';
            let first, last, count = 0, sum = 0;
            socket.onmessage = ({{ data }}) => {{
                {take};
                first ??= performance.now();
                if (++count === {MESSAGES}) last = performance.now();
            }};
            socket.onclose = () => resolve((last - first) * 1000 / count);
        }})"
    );
    promised(&Function::new_with_args("url", &body), &work.url()).await
}

async fn promised(function: &Function, url: &str) -> f64 {
    let promise: Promise = function
        .call1(&JsValue::UNDEFINED, &url.into())
        .unwrap()
        .unchecked_into();
    within("JavaScript", JsFuture::from(promise))
        .await
        .unwrap()
        .as_f64()
        .unwrap()
}

/// Sending alone: the echoes are received after the clock was stopped.
const SENT: u32 = 2_000;

fn sent_text(number: u32) -> String {
    format!("{number:0SIZE$}")
}

async fn send_with_this_crate() -> f64 {
    let mut socket: Socket = connect(&server("/echo")).await;
    let start = now();
    for number in 0..SENT {
        socket.send(sent_text(number)).unwrap();
    }
    let took = now() - start;
    for _ in 0..SENT {
        within("an echo", socket.next()).await.unwrap().unwrap();
    }
    took * 1000.0 / f64::from(SENT)
}

async fn send_with_gloo_net() -> f64 {
    let mut socket = GlooSocket::open(&server("/echo")).unwrap();
    // The first waits until it is open.
    SinkExt::send(&mut socket, GlooMessage::Text(sent_text(0)))
        .await
        .unwrap();
    within("the first echo", socket.next()).await.unwrap().unwrap();
    let start = now();
    for number in 0..SENT {
        SinkExt::send(&mut socket, GlooMessage::Text(sent_text(number)))
            .await
            .unwrap();
    }
    let took = now() - start;
    for _ in 0..SENT {
        within("an echo", socket.next()).await.unwrap().unwrap();
    }
    took * 1000.0 / f64::from(SENT)
}

async fn send_with_javascript() -> f64 {
    let body = format!(
        "return new Promise(resolve => {{
            const socket = new WebSocket(url);
            let took, count = 0;
            socket.onopen = () => {{
                const start = performance.now();
                for (let number = 0; number < {SENT}; number++) socket.send(String(number).padStart({SIZE}, '0'));
                took = performance.now() - start;
            }};
            socket.onmessage = () => {{ if (++count === {SENT}) socket.close(); }};
            socket.onclose = () => resolve(took * 1000 / {SENT});
        }})"
    );
    promised(&Function::new_with_args("url", &body), &server("/echo")).await
}

#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn the_cost_of_a_message_with_each_library() {
    for (name, work) in [
        ("receive a text", Work::Text),
        ("receive bytes", Work::Binary),
        ("receive and parse JSON", Work::Json),
    ] {
        let (mut ours, mut gloo, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(receive_with_this_crate(work).await);
            gloo.push(receive_with_gloo_net(work).await);
            plain.push(receive_with_javascript(work).await);
        }
        row(name, ours, gloo, plain);
    }
    let (mut ours, mut gloo, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(send_with_this_crate().await);
        gloo.push(send_with_gloo_net().await);
        plain.push(send_with_javascript().await);
    }
    row("send a text", ours, gloo, plain);
}

/// A row of the table in docs/browser.md, which `cargo xtask bench --page` reads from the output.
fn row(name: &str, ours: Vec<f64>, gloo: Vec<f64>, plain: Vec<f64>) {
    console_log!(
        "| {name} | {} | {} | {} |",
        interval(plain),
        interval(gloo),
        interval(ours)
    );
}
