//! Requests that wait for a message of a room.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use talkback_protocol::{Epoch, message::Message};
use tokio::sync::Notify;

use crate::engine::Watcher;

/// Counts the requests that wait. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request until the result is dropped.
    pub(super) fn enter(&self) -> Waiter {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(self.clone())
    }
}

/// A counted request.
pub(super) struct Waiter(Waiting);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes one request that waits for a message.
#[derive(Default)]
pub(super) struct Wakeup(Notify);

impl Wakeup {
    /// Waits for a message; one that was appended before this call counts too. Cancel safe.
    pub(super) async fn notified(&self) {
        self.0.notified().await;
    }
}

impl Watcher for Wakeup {
    fn appended(&self, _message: &Arc<Message>) {
        self.0.notify_one();
    }

    fn restarted(&self, _epoch: &Epoch) {
        self.0.notify_one();
    }
}
