//! Measurements for the figures in the documentation, which check nothing:
//!
//! ```text
//! cargo build --release -p talkback-server
//! TEST_SERVER_BIN=$PWD/target/release/talkback-server cargo test --release -p talkback-client \
//!     --target wasm32-unknown-unknown --test measure -- --include-ignored --nocapture
//! ```
//!
//! Without `TEST_SERVER_BIN` the server is not optimised and needs most of the time of a burst.

#![cfg(target_family = "wasm")]

mod support;

#[path = "measure/peers.rs"]
mod peers;
#[path = "measure/rooms.rs"]
mod rooms;

use std::hint::black_box;

use futures_util::{SinkExt, StreamExt};
use gloo_net::http::Method;
use js_sys::{JsString, Reflect};
use talkback_client::{Message, Socket, Text};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

use support::{ask, connect, echo, server, within};

wasm_bindgen_test_configure!(run_in_browser);

/// The messages of a burst.
const MESSAGES: u32 = 10_000;
const MEBIBYTE: usize = 1024 * 1024;
const ROUNDS: usize = 21;

fn now() -> f64 {
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let now: js_sys::Function = Reflect::get(&performance, &"now".into()).unwrap().unchecked_into();
    now.call0(&performance).unwrap().as_f64().unwrap()
}

/// The CPU time of the page's main thread so far, in microseconds. It does not grow while the page waits for the server or
/// for another process.
async fn cpu_time() -> f64 {
    #[derive(serde::Deserialize)]
    struct Spent {
        us: f64,
    }
    let Spent { us } = ask(Method::GET, "/cpu").await;
    us
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The median, with the least and the greatest.
fn interval(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let (least, greatest) = (times[0], times[times.len() - 1]);
    format!("{:.1} ({least:.1} to {greatest:.1})", median(times))
}

fn heap_pages() -> usize {
    core::arch::wasm32::memory_size(0)
}

async fn received_text(socket: &mut Socket, content: &str) -> Text {
    match echo(socket, content).await {
        Message::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn text_of_a_mebibyte() {
    let mut socket = connect(&server("/echo")).await;
    let chinese = "好".repeat(MEBIBYTE / 3);
    for (name, content) in [("ASCII", "x".repeat(MEBIBYTE)), ("Chinese", chinese)] {
        let (mut kept, mut converted, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let text = received_text(&mut socket, &content).await;
            let start = now();
            for _ in 0..10 {
                black_box(text.to_js());
            }
            kept.push((now() - start) / 10.0);
            let start = now();
            black_box(text.as_str().len());
            converted.push(now() - start);
            let start = now();
            black_box(JsString::from(text.as_str()));
            again.push(now() - start);
        }
        console_log!(
            "1 MiB of {name}: as JavaScript {:.3} ms, to Rust {:.3} ms, and back {:.3} ms",
            median(kept),
            median(converted),
            median(again)
        );
    }
}

#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn wasm_memory_of_a_queue_of_unread_text() {
    let mut socket = connect(&server("/echo")).await;
    let content = JsString::from("x".repeat(MEBIBYTE));
    for _ in 0..16 {
        socket.send(content.clone()).unwrap();
    }
    socket.send("end").unwrap();
    let before = heap_pages();
    let mut unread = Vec::new();
    loop {
        let message = within("a message", socket.next()).await.unwrap().unwrap();
        if matches!(&message, Message::Text(text) if text.to_js().length() == 3) {
            break;
        }
        unread.push(message);
    }
    let held = heap_pages() - before;
    let bytes: usize = unread.iter().filter_map(Message::as_text).map(str::len).sum();
    console_log!(
        "{bytes} bytes of received text: {} KiB of wasm memory unread, {} KiB when read",
        held * 64,
        (heap_pages() - before) * 64
    );
}

#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn sending_through_the_sink() {
    let mut socket = connect(&server("/echo")).await;
    for (name, flush) in [("feed", false), ("send (feed and flush)", true)] {
        let start = now();
        for _ in 0..1000 {
            socket.feed("0123456789abcdef".into()).await.unwrap();
            if flush {
                socket.flush().await.unwrap();
            }
        }
        console_log!("{name}: {:.1} us a message", (now() - start));
        for _ in 0..1000 {
            within("its echo", socket.next()).await.unwrap().unwrap();
        }
    }

    let (chunk, total) = (vec![0; 64 * 1024], 64 * MEBIBYTE);
    let (mut sink, stream) = connect(&server("/echo")).await.split();
    let reading = stream.take(total / chunk.len()).count();
    let start = now();
    let sending = async {
        for _ in 0..total / chunk.len() {
            sink.feed(chunk.clone().into()).await.unwrap();
        }
        sink.flush().await.unwrap();
        now() - start
    };
    let (sent, _) = futures_util::future::join(sending, reading).await;
    let mebibytes_per_second = |ms: f64| (total / MEBIBYTE) as f64 * 1000.0 / ms;
    console_log!(
        "through the sink: {:.0} MiB/s, echoed: {:.0} MiB/s",
        mebibytes_per_second(sent),
        mebibytes_per_second(now() - start)
    );
}
