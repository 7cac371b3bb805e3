//! An echo over the WebSocket of gloo-net.

use std::{cell::RefCell, rc::Rc};

use futures_util::{SinkExt, StreamExt};
use gloo_net::websocket::{Message, futures::WebSocket};
use talkback_frontends::{on_line, show, show_error};
use wasm_bindgen_futures::spawn_local;

fn main() {
    let socket = match WebSocket::open("/echo") {
        Ok(socket) => socket,
        Err(error) => return show_error(&error),
    };
    let (sink, mut stream) = socket.split();
    let sink = Rc::new(RefCell::new(Some(sink)));
    on_line(move |line| {
        let sink = sink.clone();
        spawn_local(async move {
            // Taken out while it waits.
            let Some(mut free) = sink.take() else {
                return show("the line before is being sent");
            };
            if let Err(error) = free.send(Message::Text(line)).await {
                show_error(&error);
            }
            sink.replace(Some(free));
        });
    });
    spawn_local(async move {
        while let Some(message) = stream.next().await {
            match message {
                Ok(Message::Text(text)) => show(&text),
                Ok(Message::Bytes(bytes)) => show(&format!("{} bytes", bytes.len())),
                Err(error) => show_error(&error),
            }
        }
    });
}
