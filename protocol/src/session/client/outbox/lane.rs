//! The messages of one room, in order.

use std::{collections::VecDeque, time::Duration};

use super::super::{FailReason, Tag};
use crate::{Body, PublishId, RoomName, Seq, message::Limits};

/// The messages of one room.
#[derive(Debug)]
pub(in super::super) struct Lane {
    /// The number of the first entry, or of the next one.
    pub(in super::super) first: Seq,
    /// Its record; without meaning while all records are to be written anew.
    pub(in super::super) record: u64,
    pub(in super::super) entries: VecDeque<Entry>,
    /// How many entries, from the front, have a number: those that were sent, and all that came with a snapshot, because it may be older
    /// than what its session did last.
    pub(in super::super) ever: usize,
    /// How many entries, from the front, were sent on this connection since the last rewind.
    pub(super) sent: usize,
    /// Publishes of this connection that are not answered.
    pub(super) on_way: u32,
    /// The server asked to send again: from the front, once everything on the way is answered.
    pub(super) rewinding: bool,
    /// Nothing of this room is sent before.
    pub(super) paused_until: Option<Duration>,
}

#[derive(Debug)]
pub(in super::super) struct Entry {
    /// As that of the lane. Ascending in a lane.
    pub(in super::super) record: u64,
    /// Absent once its last state was told.
    pub(in super::super) tag: Option<Tag>,
    pub(in super::super) id: PublishId,
    /// Absent once it is withdrawn or settled.
    pub(in super::super) body: Option<Body>,
    depth: u32,
    /// From here on its fate is unknown: twice the time that a message may wait after it was published.
    pub(in super::super) until: Duration,
    /// Why it was withdrawn, to be told once the log confirms that it does not have it.
    pub(super) given_up: Option<FailReason>,
    pub(super) settled: bool,
}

impl Lane {
    pub(super) fn new(first: Seq) -> Self {
        Self {
            first,
            record: 0,
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
    /// With `known`, nothing gets a number that has none yet.
    pub(super) fn ready(&mut self, now: Duration, window: usize, known: bool) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        if self.rewinding && self.on_way == 0 && self.paused_until.is_none() {
            self.rewinding = false;
            self.sent = 0;
        }
        let end = if known { self.ever } else { self.entries.len() };
        !self.rewinding && self.paused_until.is_none() && self.sent < end.min(window)
    }
}

impl Entry {
    pub(in super::super) fn new(tag: Option<Tag>, id: PublishId, body: Option<Body>, until: Duration) -> Self {
        let depth = body.as_ref().map_or(0, Body::depth);
        Self {
            record: 0,
            tag,
            id,
            body,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            until,
            given_up: None,
            settled: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.json().len())
    }

    /// When something is to be done about it for the next time.
    pub(in super::super) fn deadline(&self, ttl: Duration) -> Duration {
        match self.body {
            Some(_) => self.until.saturating_sub(ttl),
            None => self.until,
        }
    }

    /// Why the server will not take it, if that is known before it is sent.
    pub(super) fn unfit(&self, room: &RoomName, limits: &Limits) -> Option<FailReason> {
        let body = self.body.as_ref()?;
        unfit(room, body.json().len(), self.depth, limits)
    }
}

/// What stands in the line of a publish around the name of the room and the body; in that of a signal it is less.
const AROUND: usize =
    r#"{"publish":{"room":"","seq":9007199254740991,"id":"0123456789abcdef","first":true,"body":}}"#.len();

/// Why a body of so many bytes, nested so deep, cannot be sent to a room, if it cannot.
pub(in super::super) fn unfit(room: &RoomName, bytes: usize, depth: u32, limits: &Limits) -> Option<FailReason> {
    // A line must fit into a text of its own, and in JSON a quote in the name takes two bytes.
    let around = AROUND + 2 * room.len();
    let max = (limits.body_bytes as usize).min((limits.text_bytes as usize).saturating_sub(around));
    if bytes > max {
        return Some(FailReason::TooLarge { bytes, max });
    }
    let max = limits.body_depth;
    (depth > max).then_some(FailReason::TooDeep { depth, max })
}
