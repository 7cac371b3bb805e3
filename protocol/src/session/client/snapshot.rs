//! The state of a session that is kept across pages, as one value.

use std::time::Duration;

use serde::Serialize;

use super::{
    Tag,
    outbox::{Entry, Outbox},
    rooms::Rooms,
    timer::millis_up,
};
use crate::{Body, ClientKey, Cursor, PublishId, RoomName, Seq, message::fields::read_by_fields};

/// The state that a driver stores to continue a session after a reload: the key, the messages that are not
/// acknowledged, the numbers that were used, and how far each joined room was read.
///
/// It contains the secret key. Only one session at a time may use it: a browser copies `sessionStorage` into a
/// duplicated tab, so a driver takes a lock with the snapshot, and starts a new session without the lock. A copy that
/// is used all the same, or that is older than the last state of its session, gets no false answer: each message has an
/// id, and the log reports a
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
    /// Unique in a snapshot.
    pub room: RoomName,
    /// The last message that was read, if the room is joined. The application decides whether to join with it.
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
    /// The same each time it is sent. Absent in snapshots of versions without ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PublishId>,
    /// The content; absent if it is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// After how many milliseconds it expires, or, without a body, its outcome becomes unknown.
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
        // Until the outcome is unknown, and not from the publish, because the clock of a new page may be younger than
        // the message.
        let left = Duration::from_millis(ttl_ms).saturating_add(if body.is_some() { ttl } else { Duration::ZERO });
        let left = left.min(ttl.saturating_mul(2)).saturating_sub(elapsed);
        Entry::new(tag, id, body, now.saturating_add(left))
    });
    let entries = entries.collect();
    outbox.restore(room.room, room.first, entries);
}

/// The id of a message that was stored without one, by its number and body. This is FNV-1a: a collision would be with a
/// message of the same client, so an attacker gains nothing.
fn id_of(seq: u64, body: Option<&Body>) -> PublishId {
    let body = body.map_or(&[][..], |body| body.json().as_bytes());
    let bytes = seq.to_le_bytes().into_iter().chain(body.iter().copied());
    PublishId::from_random(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

fn pending(entry: &Entry, ttl: Duration, now: Duration) -> PendingMessage {
    // Rounded up: no message expires before its time because a page was loaded again.
    PendingMessage {
        tag: entry.tag,
        id: Some(entry.id),
        body: entry.body.clone(),
        ttl_ms: millis_up(entry.deadline(ttl).saturating_sub(now)),
    }
}
