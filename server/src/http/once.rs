//! `/once`: one message back, then a normal close. WebSocket only.

use axum::response::Response;

use crate::socket::Upgrade;

pub(crate) async fn once(upgrade: Upgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        if let Some(message) = socket.recv().await {
            // A client that is gone already needs no answer; the socket closes either way when this ends.
            let _ = socket.send(message).await;
        }
    })
}
