//! What all engines answer in the same words, and count.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use talkback_protocol::{message::code, session::server::Refusal};

use super::{AppendOutcome, Usage};

/// How often messages had each outcome, since the start.
#[derive(Default)]
pub(super) struct OutcomeCounts {
    added: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
}

impl OutcomeCounts {
    pub(super) fn count(&self, outcome: &AppendOutcome) {
        let counter = match outcome {
            AppendOutcome::Added(_) => &self.added,
            AppendOutcome::Duplicate(_) => &self.duplicates,
            AppendOutcome::Refused { .. }
            | AppendOutcome::Gap { .. }
            | AppendOutcome::Conflict { .. }
            | AppendOutcome::Forgotten { .. } => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A usage with these counts.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            added: self.added.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            ..Usage::default()
        }
    }
}

pub(super) fn busy(message: &'static str, retry_after: Duration) -> Refusal {
    Refusal::later(code::BUSY, message, retry_after)
}

/// The engine has as many watchers as it may have.
pub(super) fn too_many_watches(retry_after: Duration) -> Refusal {
    let message = "the server has too many members and waiting requests: try again later";
    busy(message, retry_after)
}

/// The message has more bytes than a log keeps.
pub(super) fn too_large(most: usize) -> Refusal {
    Refusal {
        code: code::TOO_LARGE.into(),
        message: format!("the log of a room keeps at most {most} bytes").into(),
        retry_after: None,
    }
}
