//! A minimal echo and group chat with axum and tokio: one thread, 4 KiB buffers, no limits, no timers, no check of the
//! origin. `--mode each` flushes every message; `--mode batch` feeds all messages that are ready and flushes once, and
//! has the chat too.

use anyhow::{Result, bail};
use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    routing::any,
};
use clap::Parser;
use futures_util::{FutureExt, SinkExt, StreamExt};
use talkback_bench::reference::{self, ReferenceArgs};
use tokio::sync::broadcast;

const BUFFER_BYTES: usize = 4096;
/// A member that is more messages behind than this is dropped.
const BEHIND: usize = 1024;

fn main() -> Result<()> {
    let arguments = ReferenceArgs::parse();
    let each = any(|upgrade: WebSocketUpgrade| async { lean(upgrade).on_upgrade(echo_each) });
    let batch = any(|upgrade: WebSocketUpgrade| async { lean(upgrade).on_upgrade(echo_batch) });
    let app = match arguments.mode.as_deref() {
        Some("each") => Router::new().route("/echo", each),
        Some("batch") => Router::new()
            .route("/echo", batch)
            .route("/chat/{room}", any(chat))
            .with_state(Room::new(BEHIND)),
        _ => bail!("--mode is `each` or `batch`"),
    };
    let runtime = reference::runtime()?;
    let listener = arguments.bind()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
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

/// The only room, with any name: the bench needs no second one.
type Room = broadcast::Sender<Message>;

async fn chat(State(room): State<Room>, upgrade: WebSocketUpgrade) -> axum::response::Response {
    lean(upgrade).on_upgrade(|socket| member(socket, room))
}

async fn member(mut socket: WebSocket, room: Room) {
    let mut messages = room.subscribe();
    loop {
        tokio::select! {
            said = socket.recv() => match said {
                // An error means that the room has no members; this is one.
                Some(Ok(message)) if is_data(&message) => drop(room.send(message)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            message = messages.recv() => {
                let mut next = message.ok();
                if next.is_none() {
                    return;
                }
                while let Some(message) = next {
                    if socket.feed(message).await.is_err() {
                        return;
                    }
                    next = messages.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
