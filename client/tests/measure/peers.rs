//! What a message costs with this crate, with gloo-net, with web-sys alone and in plain JavaScript: the same frames in
//! the same page, in turn.
//!
//! web-sys alone is what any Rust program pays: a text crosses between JavaScript's strings and those of Rust.
//!
//! Of receiving, the CPU time of the page's main thread is measured too: until the messages are there, it mostly waits for
//! the server and the browser's network process, whichever library it uses. Sending is one task of the main thread.

use std::{cell::Cell, hint::black_box, rc::Rc};

use futures_util::{SinkExt, StreamExt};
use gloo_net::websocket::{Message as GlooMessage, futures::WebSocket as GlooSocket};
use js_sys::{Function, Promise, Uint8Array};
use serde::Deserialize;
use talkback_client::{Message, Socket};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::{
    MESSAGES, cpu_time, interval, median, now,
    support::{connect, server, until, within},
};

const ROUNDS: usize = 16;
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

async fn receive_from_the_stream(work: Work) -> u32 {
    let mut socket = connect(&work.url()).await;
    let mut count = 0;
    while let Some(message) = socket.next().await {
        match (work, message.unwrap()) {
            (Work::Text, Message::Text(text)) => drop(black_box(text.as_str().len())),
            (Work::Binary, Message::Binary(bytes)) => drop(black_box(bytes.as_slice().len())),
            (Work::Json, Message::Text(text)) => Work::parse(text.as_str()),
            (_, message) => drop(black_box(message)),
        }
        count += 1;
    }
    count
}

async fn receive_by_a_callback(work: Work) -> u32 {
    let socket = connect(&work.url()).await;
    let count = Rc::new(Cell::new(0));
    let _guard = socket.on_message({
        let count = count.clone();
        move |message| {
            match (work, message) {
                (Work::Text, Message::Text(text)) => drop(black_box(text.as_str().len())),
                (Work::Binary, Message::Binary(bytes)) => drop(black_box(bytes.as_slice().len())),
                (Work::Json, Message::Text(text)) => Work::parse(text.as_str()),
                (_, message) => drop(black_box(message)),
            }
            count.set(count.get() + 1);
        }
    });
    within("the end", socket.closed()).await;
    count.get()
}

async fn receive_with_gloo_net(work: Work) -> u32 {
    let mut socket = GlooSocket::open(&work.url()).unwrap();
    let mut count = 0;
    // It ends with an error, also after a normal closure.
    while let Some(Ok(message)) = socket.next().await {
        match (work, message) {
            (Work::Json, GlooMessage::Text(text)) => Work::parse(&text),
            (_, message) => drop(black_box(message)),
        }
        count += 1;
    }
    count
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
async fn receive_with_javascript(work: Work) -> u32 {
    let take = match work {
        Work::Text => "sum += data.length",
        Work::Binary => "sum += new Uint8Array(data).length",
        Work::Json => "const { n, text } = JSON.parse(data); sum += n + text.length",
    };
    let body = format!(
        "return new Promise(resolve => {{
            const socket = new WebSocket(url);
            socket.binaryType = 'arraybuffer';
            let count = 0, sum = 0;
            socket.onmessage = ({{ data }}) => {{
                {take};
                count++;
            }};
            socket.onclose = () => resolve(count);
        }})"
    );
    promised(&Function::new_with_args("url", &body), &work.url()).await as u32
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

/// web-sys with a closure for each event, and nothing in between.
struct Bare {
    web: WebSocket,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Bare {
    fn new(url: &str, on_message: impl FnMut(MessageEvent) + 'static) -> Self {
        let web = WebSocket::new(url).unwrap();
        web.set_binary_type(BinaryType::Arraybuffer);
        let on_message = Closure::new(on_message);
        web.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Self {
            web,
            _on_message: on_message,
        }
    }

    async fn event(&self, set: fn(&WebSocket, Option<&Function>)) {
        let event = Promise::new(&mut |resolve, _| set(&self.web, Some(&resolve)));
        within("an event", JsFuture::from(event)).await.unwrap();
    }
}

async fn receive_with_web_sys(work: Work) -> u32 {
    let count = Rc::new(Cell::new(0));
    let socket = Bare::new(&work.url(), {
        let count = count.clone();
        move |event| {
            let data = event.data();
            match work {
                Work::Text => drop(black_box(data.as_string())),
                Work::Binary => drop(black_box(Uint8Array::new(&data).to_vec())),
                Work::Json => Work::parse(&data.as_string().unwrap()),
            }
            count.set(count.get() + 1);
        }
    });
    socket.event(WebSocket::set_onclose).await;
    count.get()
}

/// Sending alone: the echoes are received after the clock was stopped.
const SENT: u32 = 2_000;

/// A message as applications build it: a few values in a text.
fn sent_text(number: u32, content: &str) -> String {
    format!("{{\"n\":{number},\"text\":\"{content}\"}}")
}

/// What the numbers and the names in [`sent_text`] leave of its size.
fn content() -> String {
    "x".repeat(SIZE - 20)
}

fn microseconds_a_send(start: f64) -> f64 {
    (now() - start) * 1000.0 / f64::from(SENT)
}

async fn send_by_the_method() -> f64 {
    let mut socket: Socket = connect(&server("/echo")).await;
    let content = content();
    let start = now();
    for number in 0..SENT {
        socket.send(sent_text(number, &content)).unwrap();
    }
    let took = microseconds_a_send(start);
    receive_echoes(&mut socket).await;
    took
}

async fn send_into_the_sink() -> f64 {
    let mut socket: Socket = connect(&server("/echo")).await;
    let content = content();
    let start = now();
    for number in 0..SENT {
        // Without waiting until the browser has sent all, which `SinkExt::send` does and gloo-net's does not.
        SinkExt::feed(&mut socket, sent_text(number, &content).into())
            .await
            .unwrap();
    }
    let took = microseconds_a_send(start);
    receive_echoes(&mut socket).await;
    took
}

async fn receive_echoes(socket: &mut Socket) {
    for _ in 0..SENT {
        within("an echo", socket.next()).await.unwrap().unwrap();
    }
}

async fn send_with_gloo_net() -> f64 {
    let mut socket = GlooSocket::open(&server("/echo")).unwrap();
    let content = content();
    // The first waits until it is open.
    SinkExt::send(&mut socket, GlooMessage::Text(sent_text(0, &content)))
        .await
        .unwrap();
    within("the first echo", socket.next()).await.unwrap().unwrap();
    let start = now();
    for number in 0..SENT {
        SinkExt::send(&mut socket, GlooMessage::Text(sent_text(number, &content)))
            .await
            .unwrap();
    }
    let took = microseconds_a_send(start);
    for _ in 0..SENT {
        within("an echo", socket.next()).await.unwrap().unwrap();
    }
    took
}

async fn send_with_web_sys() -> f64 {
    let echoes = Rc::new(Cell::new(0));
    let socket = Bare::new(&server("/echo"), {
        let echoes = echoes.clone();
        move |_| echoes.set(echoes.get() + 1)
    });
    socket.event(WebSocket::set_onopen).await;
    let content = content();
    let start = now();
    for number in 0..SENT {
        socket.web.send_with_str(&sent_text(number, &content)).unwrap();
    }
    let took = microseconds_a_send(start);
    until("the echoes", || echoes.get() == SENT).await;
    socket.web.close().unwrap();
    took
}

async fn send_with_javascript() -> f64 {
    let body = format!(
        "return new Promise(resolve => {{
            const socket = new WebSocket(url);
            const content = '{}';
            let took, count = 0;
            socket.onopen = () => {{
                const start = performance.now();
                for (let number = 0; number < {SENT}; number++) socket.send(`{{\"n\":${{number}},\"text\":\"${{content}}\"}}`);
                took = performance.now() - start;
            }};
            socket.onmessage = () => {{ if (++count === {SENT}) socket.close(); }};
            socket.onclose = () => resolve(took * 1000 / {SENT});
        }})",
        content()
    );
    promised(&Function::new_with_args("url", &body), &server("/echo")).await
}

/// What is measured.
#[derive(Clone, Copy)]
enum Library {
    Plain,
    WebSys,
    /// This crate as the two above are used: a callback for each message, a method that sends.
    Callbacks,
    GlooNet,
    /// This crate as gloo-net is used: a stream and a sink.
    Stream,
}

impl Library {
    const ALL: [Self; 5] = [Self::Plain, Self::WebSys, Self::Callbacks, Self::GlooNet, Self::Stream];

    /// The time of a message and the CPU time of the page's main thread for it, in microseconds. Of sending, which is when
    /// there is nothing to be done with a message, there is only the time.
    async fn measure(self, work: Option<Work>) -> (f64, Option<f64>) {
        let Some(work) = work else {
            let time = match self {
                Self::Plain => send_with_javascript().await,
                Self::WebSys => send_with_web_sys().await,
                Self::GlooNet => send_with_gloo_net().await,
                Self::Callbacks => send_by_the_method().await,
                Self::Stream => send_into_the_sink().await,
            };
            return (time, None);
        };
        let (cpu, start) = (cpu_time().await, now());
        let received = match self {
            Self::Plain => receive_with_javascript(work).await,
            Self::WebSys => receive_with_web_sys(work).await,
            Self::GlooNet => receive_with_gloo_net(work).await,
            Self::Callbacks => receive_by_a_callback(work).await,
            Self::Stream => receive_from_the_stream(work).await,
        };
        let time = (now() - start) * 1000.0;
        assert_eq!(received, MESSAGES);
        let cpu = cpu_time().await - cpu;
        (time / f64::from(MESSAGES), Some(cpu / f64::from(MESSAGES)))
    }
}

/// One row of the table.
fn print_row(name: &str, times: [Vec<f64>; Library::ALL.len()]) {
    let ratio = |ours: Library, other: Library| {
        let rounds = times[ours as usize].iter().zip(&times[other as usize]);
        format!("{:.2}", median(rounds.map(|(ours, other)| ours / other).collect()))
    };
    let ratios = [
        ratio(Library::Callbacks, Library::WebSys),
        ratio(Library::Callbacks, Library::Plain),
        ratio(Library::Stream, Library::GlooNet),
        ratio(Library::Stream, Library::Plain),
    ]
    .join(" | ");
    let columns = times.map(interval).join(" | ");
    console_log!("| {name} | {columns} | {ratios} |");
}

/// Prints rows of the table in docs/browser.md, which `cargo xtask bench --page` reads from the output. The last columns
/// are medians of the rounds' ratios, because what else the machine does changes from round to round.
#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn the_cost_of_a_message_with_each_library() {
    for (name, work) in [
        ("receive a text", Some(Work::Text)),
        ("receive bytes", Some(Work::Binary)),
        ("receive and parse JSON", Some(Work::Json)),
        ("send a text", None),
    ] {
        let (mut times, mut cpu_times) = (Library::ALL.map(|_| Vec::new()), Library::ALL.map(|_| Vec::new()));
        // A round of sending is short, and what else the machine does changes it more.
        let rounds = if work.is_some() { ROUNDS } else { 3 * ROUNDS };
        for round in 0..rounds {
            // Each library comes first in some rounds.
            for turn in 0..Library::ALL.len() {
                let library = Library::ALL[(round + turn) % Library::ALL.len()];
                let (time, cpu_time) = library.measure(work).await;
                times[library as usize].push(time);
                cpu_times[library as usize].extend(cpu_time);
            }
        }
        print_row(name, times);
        if work.is_some() {
            print_row("the same: the page's CPU time", cpu_times);
        }
    }
}
