//! What of a session outlives its page.

use std::time::Duration;

use serde::Serialize;

use super::{
    Tag,
    outbox::{Entry, Outbox},
    rooms::Rooms,
};
use crate::{Body, ClientKey, Cursor, PublishId, RoomName, Seq, message::fields::read_by_fields};

/// What a driver stores so that a session can go on after a reload: the key, the messages that are not acknowledged, the numbers that
/// were used, and how far each joined room was read.
///
/// It holds the secret key. At any time one session may use it: a browser copies `sessionStorage` into a duplicated tab, so a driver
/// takes a lock with the snapshot, and begins anew without it. A copy that is used all the same, or one that is older than what its
/// session did last, meets no false answer: each message has an id, and the log tells a
/// [conflict](crate::message::code::CONFLICT), see [`Output::KeyWanted`](super::Output::KeyWanted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The client's secret.
    pub key: ClientKey,
    /// The number of the first message in a room that has none pending.
    pub next: Seq,
    /// Rooms with messages that are not acknowledged, and those that are joined.
    pub rooms: Vec<RoomSnapshot>,
}

/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomSnapshot {
    /// Which room.
    pub room: RoomName,
    /// How far it was read, if it is joined. The application decides whether to join with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The number of the first message of `pending`.
    pub first: Seq,
    /// Messages that are not acknowledged, in order.
    pub pending: Vec<PendingMessage>,
}

/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingMessage {
    /// The driver's number for it; absent if its failure was reported and only its number is still to be settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// What makes it itself. Absent in what versions stored that had no ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PublishId>,
    /// What to say; absent if it is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// How long it may go on waiting to be sent, or, without a body, for its fate, in milliseconds.
    pub ttl_ms: u64,
}

read_by_fields! {
    Snapshot { key: required, next: required, rooms: required }
    RoomSnapshot { room: required, cursor: optional, first: required, pending: required }
    PendingMessage { tag: optional, id: optional, body: optional, ttl_ms: required }
}

pub(super) fn take(key: ClientKey, outbox: &Outbox, rooms: &Rooms, now: Duration) -> Snapshot {
    let sending = outbox.lanes.iter().map(|(room, lane)| RoomSnapshot {
        room: room.clone(),
        cursor: rooms
            .wanted()
            .find(|(wanted, _)| *wanted == room)
            .and_then(|(_, cursor)| cursor.cloned()),
        first: lane.first,
        pending: lane
            .entries
            .iter()
            .map(|entry| pending(entry, outbox.ttl(), now))
            .collect(),
    });
    let joined = rooms.wanted().filter(|(room, _)| !outbox.lanes.contains_key(*room));
    let reading = joined.map(|(room, cursor)| RoomSnapshot {
        room: room.clone(),
        cursor: cursor.cloned(),
        first: outbox.next,
        pending: Vec::new(),
    });
    Snapshot {
        key,
        next: outbox.first_in_settled(),
        rooms: sending.chain(reading).collect(),
    }
}

pub(super) fn restore(outbox: &mut Outbox, room: RoomSnapshot, elapsed: Duration, now: Duration) {
    if room.pending.is_empty() {
        return;
    }
    let ttl = outbox.ttl();
    let entries = room.pending.into_iter().zip(room.first.get()..).map(|(message, seq)| {
        let PendingMessage { tag, id, body, ttl_ms } = message;
        let id = id.unwrap_or_else(|| id_of(seq, body.as_ref()));
        // Up to the end of everything, because what is over already counts too: the clock of a new page may be younger than the message.
        let left = Duration::from_millis(ttl_ms).saturating_add(if body.is_some() { ttl } else { Duration::ZERO });
        let left = left.min(ttl.saturating_mul(2)).saturating_sub(elapsed);
        Entry::new(tag, id, body, now.saturating_add(left))
    });
    let entries = entries.collect();
    outbox.restore(room.room, room.first, entries);
}

/// The id of a message that was stored without one: the same each time, and another for another number or body. This is FNV-1a; nobody
/// gains by a collision with an own message.
fn id_of(seq: u64, body: Option<&Body>) -> PublishId {
    let body = body.map_or(&[][..], |body| body.json().as_bytes());
    let bytes = seq.to_le_bytes().into_iter().chain(body.iter().copied());
    PublishId::from_random(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

fn pending(entry: &Entry, ttl: Duration, now: Duration) -> PendingMessage {
    // Rounded up: no message expires before its time because a page was loaded again.
    let left = entry.deadline(ttl).saturating_sub(now).as_nanos().div_ceil(1_000_000);
    PendingMessage {
        tag: entry.tag,
        id: Some(entry.id),
        body: entry.body.clone(),
        ttl_ms: u64::try_from(left).unwrap_or(u64::MAX),
    }
}
