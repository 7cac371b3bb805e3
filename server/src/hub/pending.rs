//! What a room has not delivered yet.

use talkback_protocol::{Epoch, Offset};
use tokio::time::Instant;

use super::{
    HubOptions,
    block::{Blocks, Builder, Frames, Lines},
    pass::Pass,
};

/// Messages, presence lines and signals that wait for the next pass.
pub(super) struct Pending {
    pub(super) has_plain: bool,
    pub(super) has_sessions: bool,
    pub(super) frames: Blocks<Frames>,
    /// Tagged with the offsets of messages.
    pub(super) lines: Blocks<Lines<Option<Offset>>>,
    /// Tagged with the key of the member that sent them.
    pub(super) signals: Lines<usize>,
    /// The epoch of the log whose messages come; `None` before the log is watched.
    pub(super) epoch: Option<Epoch>,
    /// The log began anew, and the members do not know it yet: see [`restart`](Self::restart).
    pub(super) restarted: bool,
    /// How many messages came since the room has members.
    pub(super) count: u64,
    /// The newest message of this epoch that is not among the lines, because the room had no session members.
    pub(super) not_in_lines: Offset,
    block_bytes: usize,
    /// The task that delivers runs, until nothing is pending.
    pub(super) scheduled: bool,
    /// When the oldest message of the pass under way was added.
    delivering_since: Option<Instant>,
}

impl Pending {
    pub(super) fn new(options: &HubOptions) -> Self {
        let block_bytes = options.block_bytes.min(options.sent_text_bytes);
        Self {
            has_plain: false,
            has_sessions: false,
            frames: Blocks::new(block_bytes),
            lines: Blocks::new(block_bytes),
            signals: Lines::default(),
            epoch: None,
            restarted: false,
            count: 0,
            not_in_lines: Offset::ZERO,
            block_bytes,
            scheduled: false,
            delivering_since: None,
        }
    }

    /// Drops the lines of the epoch before: the session members that follow it are closed. Plain members get all
    /// messages, because they have no cursor.
    pub(super) fn restart(&mut self, epoch: &Epoch) {
        self.epoch = Some(epoch.clone());
        self.restarted = true;
        self.not_in_lines = Offset::ZERO;
        self.lines = Blocks::new(self.block_bytes);
    }

    /// The pending bytes of the kind of member that has more of them.
    pub(super) fn bytes(&self) -> usize {
        self.frames.bytes().max(self.lines.bytes())
    }

    /// When the oldest message was added that is not delivered to all members.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let waiting = [self.frames.oldest(), self.lines.oldest()].into_iter().flatten().min();
        self.delivering_since.or(waiting)
    }

    /// Takes out what the next pass delivers. `None` if nothing is pending; then the task that delivers ends.
    pub(super) fn next_pass(&mut self) -> Option<Pass> {
        self.delivering_since = None;
        self.delivering_since = self.oldest();
        let pass = Pass::new(self.frames.take(), self.lines.take(), self.signals.take());
        self.scheduled = pass.is_some();
        pass
    }

    /// Notes the end of a pass. Returns whether more is pending; otherwise the task that delivers ends.
    pub(super) fn end_pass(&mut self) -> bool {
        self.delivering_since = None;
        self.scheduled = self.oldest().is_some() || self.signals.len() > 0 || self.restarted;
        self.scheduled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_ends_with_more_to_deliver_exactly_if_something_was_added_meanwhile() {
        let now = Instant::now();
        let mut pending = Pending::new(&HubOptions::default());
        assert!(pending.next_pass().is_none());
        assert!(!pending.scheduled);
        pending.lines.push(now, |lines| lines.push(None, b"one"));
        assert!(pending.next_pass().is_some());
        assert_eq!(pending.oldest(), Some(now), "it is not delivered to all members yet");
        assert!(!pending.end_pass());
        assert_eq!(pending.oldest(), None);

        pending.lines.push(now, |lines| lines.push(None, b"two"));
        assert!(pending.next_pass().is_some());
        pending.signals.push(1, b"a signal");
        assert!(pending.end_pass(), "a signal alone is worth a pass");
        assert!(pending.next_pass().is_some());
        pending.lines.push(now, |lines| lines.push(None, b"three"));
        assert!(pending.end_pass());
    }
}
