//! The timer of a connection.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep};

/// Rings at a time. The timer is reset only to an earlier time, because a session's timeout moves with every text.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: false,
        }
    }

    pub(super) fn set(&mut self, at: Option<Instant>) {
        match at {
            Some(at) if !self.armed || at < self.sleep.deadline() => {
                self.sleep.as_mut().reset(at);
                self.armed = true;
            }
            Some(_) => {}
            None => self.armed = false,
        }
    }

    /// Waits until it rings, which may be before the time that was set last; a session allows that. Cancel safe.
    pub(super) async fn ring(&mut self) {
        if !self.armed {
            return std::future::pending().await;
        }
        self.sleep.as_mut().await;
        self.armed = false;
    }
}
