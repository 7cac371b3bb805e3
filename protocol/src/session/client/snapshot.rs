//! What of a session outlives its page.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Tag,
    outbox::{Entry, Outbox},
    rooms::Rooms,
};
use crate::{Body, ClientKey, Cursor, RoomName, Seq};

/// What a driver stores so that a session can go on after a reload: the key, the messages that are not acknowledged, the numbers that
/// were used, and how far each joined room was read.
///
/// It holds the secret key. At any time one session may use it: a browser copies `sessionStorage` into a duplicated tab, so a driver
/// takes a lock named after the key's [`sender`](ClientKey::sender), and begins anew without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The client's secret.
    pub key: ClientKey,
    /// Rooms that were published to, or joined.
    pub rooms: Vec<RoomSnapshot>,
}

/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSnapshot {
    /// Which room.
    pub room: RoomName,
    /// How far it was read, if it is joined. The application decides whether to join with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The number of the first message of `pending`; of the next one if that is empty.
    pub first: Seq,
    /// How many of `pending` may have been sent, so that their numbers are theirs for ever.
    pub sent: usize,
    /// Messages that are not acknowledged, in order.
    pub pending: Vec<PendingMessage>,
}

/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingMessage {
    /// The driver's number for it; absent if its failure was reported and only its number is still to be settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// What to say; absent if it is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// How long it may go on waiting, in milliseconds.
    pub ttl_ms: u64,
}

pub(super) fn take(key: ClientKey, outbox: &Outbox, rooms: &Rooms, now: Duration) -> Snapshot {
    let mut cursors: BTreeMap<_, _> = rooms.wanted().collect();
    let published = outbox.lanes.iter().map(|(room, lane)| RoomSnapshot {
        room: room.clone(),
        cursor: cursors.remove(room).flatten().cloned(),
        first: lane.first,
        sent: lane.ever,
        pending: lane.entries.iter().map(|entry| pending(entry, now)).collect(),
    });
    let mut rooms: Vec<_> = published.collect();
    rooms.extend(cursors.into_iter().map(|(room, cursor)| RoomSnapshot {
        room: room.clone(),
        cursor: cursor.cloned(),
        first: Seq::FIRST,
        sent: 0,
        pending: Vec::new(),
    }));
    Snapshot { key, rooms }
}

pub(super) fn restore(outbox: &mut Outbox, room: RoomSnapshot, elapsed: Duration, now: Duration) {
    if room.pending.is_empty() && room.first == Seq::FIRST {
        return;
    }
    let entries = room.pending.into_iter().map(|message| {
        let left = Duration::from_millis(message.ttl_ms).saturating_sub(elapsed);
        Entry::restored(message.tag, message.body, now + left)
    });
    outbox.restore(room.room, room.first, room.sent, entries.collect());
}

fn pending(entry: &Entry, now: Duration) -> PendingMessage {
    // Rounded up: no message expires before its time because a page was loaded again.
    let left = entry.deadline.saturating_sub(now).as_nanos().div_ceil(1_000_000);
    PendingMessage {
        tag: entry.tag,
        body: entry.body.clone(),
        ttl_ms: u64::try_from(left).unwrap_or(u64::MAX),
    }
}
