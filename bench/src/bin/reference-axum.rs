//! The leanest axum echo: one thread, 4 KiB buffers, no limits, no timers, no Origin check.
//! `--mode each` flushes every message; `--mode batch` feeds all messages that are there and flushes once.

use anyhow::{Result, bail};
use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::any,
};
use clap::Parser;
use futures_util::{FutureExt, SinkExt, StreamExt};
use talkback_bench::reference::{self, ReferenceArgs};

const BUFFER_BYTES: usize = 4096;

fn main() -> Result<()> {
    let arguments = ReferenceArgs::parse();
    let route = match arguments.mode.as_deref() {
        Some("each") => any(|upgrade: WebSocketUpgrade| async { lean(upgrade).on_upgrade(echo_each) }),
        Some("batch") => any(|upgrade: WebSocketUpgrade| async { lean(upgrade).on_upgrade(echo_batch) }),
        _ => bail!("--mode is `each` or `batch`"),
    };
    let runtime = reference::runtime()?;
    let listener = arguments.bind()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = Router::new().route("/echo", route);
        Ok(axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |stream| {
                let _ = stream.set_nodelay(true);
            }),
            app,
        )
        .await?)
    })
}

fn lean(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES)
}

async fn echo_each(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if is_data(&message) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn echo_batch(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if is_data(&message) && socket.feed(message).await.is_err() {
                return;
            }
            next = socket.next().now_or_never().flatten().and_then(Result::ok);
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
