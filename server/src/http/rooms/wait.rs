//! Wakes one request that waits for a message.

use std::sync::Arc;

use talkback_protocol::message::Message;
use tokio::sync::Notify;

use crate::engine::Watcher;

/// Rings at the first message.
#[derive(Default)]
pub(super) struct Bell(Notify);

impl Bell {
    /// Waits for a message, also one that came before this call.
    pub(super) async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Watcher for Bell {
    fn appended(&self, _message: &Arc<Message>) {
        self.0.notify_one();
    }
}
