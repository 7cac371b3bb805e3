//! An echo over the client crate's `Socket`, without the feature `session`.

use futures_util::StreamExt;
use talkback_client::{ConnectError, Message, Socket, SocketOptions};
use talkback_frontends::{on_line, show, show_error};
use wasm_bindgen_futures::spawn_local;

fn main() {
    spawn_local(async {
        if let Err(error) = echo().await {
            show_error(&error);
        }
    });
}

async fn echo() -> Result<(), ConnectError> {
    let mut socket = Socket::connect("/echo", &SocketOptions::default()).await?;
    let sender = socket.clone();
    on_line(move |line| {
        if let Err(error) = sender.send(line) {
            show_error(&error);
        }
    });
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) => show(&text.into_string()),
            Ok(Message::Binary(bytes)) => show(&format!("{} bytes", bytes.len())),
            Ok(Message::Blob(_)) => show("a blob"),
            Err(error) => show_error(&error),
        }
    }
    let event = socket.closed().await;
    show(&format!("closed with {} {}", event.code, event.reason));
    Ok(())
}
