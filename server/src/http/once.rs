//! `/once`: sends back one message, then closes with 1000. WebSocket only.

use axum::response::Response;

use crate::{logging, socket::Upgrade};

pub(crate) async fn once(upgrade: Upgrade) -> Response {
    logging::websocket_accepted("once");
    upgrade.on_upgrade(|mut socket| async move {
        if let Some(message) = socket.recv().await {
            // If the client is gone, no answer can be sent. The socket is closed in either case when this ends.
            let _ = socket.send(message).await;
        }
    })
}
