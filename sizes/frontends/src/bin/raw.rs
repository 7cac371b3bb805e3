//! The browser's WebSocket by web-sys alone, without any of the client crate: what every frontend in Rust has at least.

use talkback_frontends::{on_line, show};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

fn main() {
    let Ok(socket) = WebSocket::new("/echo") else {
        return show("the address is wrong");
    };
    let received = Closure::<dyn FnMut(MessageEvent)>::new(|event: MessageEvent| {
        if let Some(text) = event.data().as_string() {
            show(&text);
        }
    });
    socket.set_onmessage(Some(received.into_js_value().unchecked_ref()));
    let closed = Closure::<dyn FnMut(CloseEvent)>::new(|event: CloseEvent| {
        show(&format!("closed with {} {}", event.code(), event.reason()));
    });
    socket.set_onclose(Some(closed.into_js_value().unchecked_ref()));
    on_line(move |line| {
        if socket.send_with_str(&line).is_err() {
            show("not connected");
        }
    });
}
