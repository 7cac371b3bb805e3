//! The messages of one room, in order.

use std::{collections::VecDeque, time::Duration};

use super::super::Tag;
use crate::{Body, PublishId, Seq};

/// The messages of one room.
#[derive(Debug)]
pub(in super::super) struct Lane {
    /// The number of the first entry, or of the next one.
    pub(in super::super) first: Seq,
    pub(in super::super) entries: VecDeque<Entry>,
    /// How many entries, from the front, were ever sent: these have numbers.
    pub(in super::super) ever: usize,
    /// How many entries, from the front, were sent on this connection since the last rewind.
    pub(super) sent: usize,
    /// Publishes of this connection that are not answered.
    pub(super) on_way: u32,
    /// The server asked to send again: from the front, once everything on the way is answered.
    pub(super) rewinding: bool,
    /// Nothing is sent before.
    pub(super) paused_until: Option<Duration>,
}

#[derive(Debug)]
pub(in super::super) struct Entry {
    /// Absent once its last state was told.
    pub(in super::super) tag: Option<Tag>,
    pub(in super::super) id: PublishId,
    /// Absent once it is withdrawn or settled.
    pub(in super::super) body: Option<Body>,
    pub(in super::super) deadline: Duration,
    pub(super) settled: bool,
}

impl Lane {
    pub(super) fn new(first: Seq) -> Self {
        Self {
            first,
            entries: VecDeque::new(),
            ever: 0,
            sent: 0,
            on_way: 0,
            rewinding: false,
            paused_until: None,
        }
    }

    /// Whether a message can be sent now. A rewind begins here, when its time has come. The server remembers the outcomes of the last
    /// `window` numbers: one that is further from the first that is not settled must wait, also if the answers to those between came.
    pub(super) fn ready(&mut self, now: Duration, window: usize) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        if self.rewinding && self.on_way == 0 && self.paused_until.is_none() {
            self.rewinding = false;
            self.sent = 0;
        }
        !self.rewinding && self.paused_until.is_none() && self.sent < self.entries.len().min(window)
    }
}

impl Entry {
    pub(in super::super) fn restored(tag: Option<Tag>, id: PublishId, body: Option<Body>, deadline: Duration) -> Self {
        Self {
            tag,
            id,
            body,
            deadline,
            settled: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.json().len())
    }
}
