//! What outlives a page, as numbered records, so that to keep a change costs what the change is long, however much is kept beside it.
//!
//! | record | says |
//! |---|---|
//! | 0, the head | the key, the first number of rooms that have no record, the clocks, and in which *life* of the records it was written |
//! | a room | its name, the number of its first message, and from which record on its messages count |
//! | a message | its room's record, and itself |
//!
//! A message has the number that its place gives it among the records of its room. A record of another life than the head's is nothing.
//!
//! A page may end between any two writes, and what is there then must not lose a message, double it or give its number to another. So
//! changes are written in this order: the head, the rooms that are gone, the rooms that went on, the messages that are gone, the messages
//! that are new or changed, ascending. No number of what is new was sent yet, because what is sent waits for its record. When all is
//! written anew, as after a reload and with a new key, it is written as another life under numbers that were never used, then the head,
//! and then the life before is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    PendingMessage, RoomSnapshot, Snapshot, Tag,
    outbox::{Entry, Lane, Outbox},
};
use crate::{
    Body, ClientKey, PublishId, RoomName, Seq,
    message::{Millis, fields::read_by_fields},
};

/// One step of keeping a session in a store of numbered texts, see [`ClientSession::writes`](super::ClientSession::writes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Store this text under this number, in place of what is there.
    Put {
        /// The number.
        record: u64,
        /// The text.
        text: String,
    },
    /// Remove what is stored under this number.
    Remove {
        /// The number.
        record: u64,
    },
    /// Remove everything under lower numbers than this one, but not under 0.
    RemoveBelow {
        /// The number.
        record: u64,
    },
}

/// A session as a store has it, see [`ClientSession::resume`](super::ClientSession::resume).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(super) snapshot: Snapshot,
    saved_at: Millis,
    /// The highest number in the store.
    pub(super) last: u64,
}

impl Kept {
    /// Reads what [`ClientSession::writes`](super::ClientSession::writes) stored, in any order, or what is there of it. A text
    /// `{"saved_at":..,"snapshot":{..}}` under 0, of a [`Snapshot`] and the time when it was taken, is read too.
    ///
    /// Without the record 0 there is nothing. Another record that cannot be read is passed over: with it a message is lost, or a
    /// room with its messages, as the store has lost them. That the numbers of those behind it do not fit then does no harm, because
    /// each message has an id; see [`Output::KeyWanted`](super::Output::KeyWanted).
    pub fn read<T: AsRef<str>>(records: impl IntoIterator<Item = (u64, T)>) -> Option<Self> {
        let records: BTreeMap<u64, T> = records.into_iter().collect();
        let last = *records.last_key_value()?.0;
        let head = records.get(&0)?.as_ref();
        if let Ok(Former { saved_at, snapshot }) = serde_json::from_str(head) {
            return Some(Self {
                snapshot,
                saved_at,
                last,
            });
        }
        let head: Head = serde_json::from_str(head).ok()?;
        let mut rooms = BTreeMap::<u64, RoomRecord>::new();
        let mut pending = BTreeMap::<u64, Vec<PendingMessage>>::new();
        // The record of a room has a lower number than those of its messages.
        for (&number, text) in records.range(1..) {
            let text = text.as_ref();
            if let Ok(message) = serde_json::from_str::<MessageRecord>(text) {
                let room = rooms.get(&message.lane).filter(|room| number >= room.from);
                if message.life == head.life && room.is_some() {
                    let messages = pending.entry(message.lane).or_default();
                    messages.push(message.pending(head.now_ms));
                }
            } else if let Ok(room) = serde_json::from_str::<RoomRecord>(text)
                && room.life == head.life
            {
                rooms.insert(number, room);
            }
        }
        let mut next = head.next;
        let mut named = BTreeMap::new();
        for (number, RoomRecord { room, first, .. }) in rooms {
            match pending.remove(&number) {
                Some(pending) => drop(named.insert(room, (first, pending))),
                None => next = next.max(first),
            }
        }
        let rooms = named.into_iter().map(|(room, (first, pending))| RoomSnapshot {
            room,
            cursor: None,
            first,
            pending,
        });
        Some(Self {
            snapshot: Snapshot {
                key: head.key,
                next,
                rooms: rooms.collect(),
            },
            saved_at: head.saved_at,
            last,
        })
    }

    /// What is kept. Cursors are not: an application that keeps what it read keeps the cursor next to it.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// When it was written last, as it was given to [`ClientSession::writes`](super::ClientSession::writes).
    #[must_use]
    pub fn saved_at(&self) -> Millis {
        self.saved_at
    }
}

/// How all was stored in one record before there were several.
struct Former {
    saved_at: Millis,
    snapshot: Snapshot,
}

#[derive(Serialize)]
struct Head {
    key: ClientKey,
    next: Seq,
    life: u64,
    /// By the wall clock, and by the session's clock at the same moment.
    saved_at: Millis,
    now_ms: u64,
}

#[derive(Serialize)]
struct RoomRecord {
    life: u64,
    room: RoomName,
    first: Seq,
    /// Messages under lower numbers are settled.
    from: u64,
}

#[derive(Serialize)]
struct MessageRecord {
    life: u64,
    /// The record of its room.
    lane: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    id: PublishId,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
    /// When something is to be done about it, by the session's clock.
    due_ms: u64,
}

read_by_fields! {
    Former { saved_at: required, snapshot: required }
    Head { key: required, next: required, life: required, saved_at: required, now_ms: required }
    RoomRecord { life: required, room: required, first: required, from: required }
    MessageRecord { life: required, lane: required, tag: optional, id: required, body: optional, due_ms: required }
}

impl MessageRecord {
    fn pending(self, now_ms: u64) -> PendingMessage {
        PendingMessage {
            tag: self.tag,
            id: Some(self.id),
            body: self.body,
            ttl_ms: self.due_ms.saturating_sub(now_ms),
        }
    }
}

/// What changed since the records were written. Bounded: with more changes than it notes, all is written.
#[derive(Debug)]
pub(super) struct Journal {
    /// The highest number that was given to a record.
    last: u64,
    /// The highest number that was written.
    written: u64,
    /// The life of the records. While there is none, all is to be written, and nothing is noted.
    life: Option<u64>,
    /// The most changes that are noted.
    max: usize,
    /// Rooms whose record is to be written.
    rooms: BTreeSet<RoomName>,
    /// Records of rooms that are to be removed.
    rooms_gone: Vec<u64>,
    /// Records of messages that are to be written, with their rooms.
    messages: BTreeMap<u64, RoomName>,
    /// Records of messages that are to be removed.
    messages_gone: Vec<u64>,
}

impl Journal {
    pub(super) fn new(max: usize) -> Self {
        Self {
            last: 0,
            written: 0,
            life: None,
            max,
            rooms: BTreeSet::new(),
            rooms_gone: Vec::new(),
            messages: BTreeMap::new(),
            messages_gone: Vec::new(),
        }
    }

    /// Begins above everything that a store has.
    pub(super) fn begin_above(&mut self, last: u64) {
        self.last = last;
    }

    /// All is to be written anew.
    pub(super) fn all(&mut self) {
        self.life = None;
        self.rooms.clear();
        self.rooms_gone.clear();
        self.messages.clear();
        self.messages_gone.clear();
    }

    /// A number for a new record; without meaning while all is to be written anew, which gives each another one.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The record of a room is to be written.
    pub(super) fn room(&mut self, room: &RoomName) {
        if self.notes() {
            self.rooms.insert(room.clone());
        }
    }

    /// A room is forgotten.
    pub(super) fn room_gone(&mut self, record: u64, room: &RoomName) {
        if self.notes() {
            self.rooms.remove(room);
            if record <= self.written {
                self.rooms_gone.push(record);
            }
        }
    }

    /// A message is new or changed.
    pub(super) fn message(&mut self, record: u64, room: &RoomName) {
        if self.notes() {
            self.messages.insert(record, room.clone());
        }
    }

    /// A message is settled or failed.
    pub(super) fn message_gone(&mut self, record: u64) {
        if self.notes() {
            self.messages.remove(&record);
            if record <= self.written {
                self.messages_gone.push(record);
            }
        }
    }

    /// Whether changes are noted; not if there are too many.
    fn notes(&mut self) -> bool {
        let noted = self.rooms.len() + self.rooms_gone.len() + self.messages.len() + self.messages_gone.len();
        if noted >= self.max {
            self.all();
        }
        self.life.is_some()
    }
}

/// What is to be written so that the store has the session as it is now.
pub(super) fn take(key: ClientKey, outbox: &mut Outbox, now: Duration, saved_at: Millis) -> Vec<Write> {
    let next = outbox.first_in_settled();
    let ttl = outbox.ttl();
    let Outbox { lanes, journal, .. } = outbox;
    let head = |life| {
        put(
            0,
            &Head {
                key,
                next,
                life,
                saved_at,
                now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            },
        )
    };
    let mut writes = Vec::new();
    if let Some(life) = journal.life {
        let remove = |record| Write::Remove { record };
        writes.push(head(life));
        writes.extend(journal.rooms_gone.drain(..).map(remove));
        let rooms = std::mem::take(&mut journal.rooms).into_iter();
        writes.extend(rooms.filter_map(|name| {
            let lane = lanes.get(&name)?;
            let from = lane.entries.front().map_or(journal.last + 1, |entry| entry.record);
            Some(room(life, name, lane, from))
        }));
        writes.extend(journal.messages_gone.drain(..).map(remove));
        let messages = std::mem::take(&mut journal.messages).into_iter();
        writes.extend(messages.filter_map(|(record, name)| {
            let lane = lanes.get(&name)?;
            let index = lane.entries.binary_search_by_key(&record, |entry| entry.record).ok()?;
            Some(message(life, lane.record, &lane.entries[index], ttl))
        }));
    } else {
        let life = journal.number();
        for (name, lane) in lanes.iter_mut() {
            lane.record = journal.number();
            writes.push(room(life, name.clone(), lane, lane.record));
            for entry in &mut lane.entries {
                entry.record = journal.number();
                writes.push(message(life, lane.record, entry, ttl));
            }
        }
        writes.push(head(life));
        writes.push(Write::RemoveBelow { record: life });
        journal.life = Some(life);
    }
    journal.written = journal.last;
    writes
}

fn room(life: u64, name: RoomName, lane: &Lane, from: u64) -> Write {
    let first = lane.first;
    put(
        lane.record,
        &RoomRecord {
            life,
            room: name,
            first,
            from,
        },
    )
}

fn message(life: u64, lane: u64, entry: &Entry, ttl: Duration) -> Write {
    // Rounded up: no message expires before its time because a page was loaded again.
    let due_ms = entry.deadline(ttl).as_nanos().div_ceil(1_000_000);
    put(
        entry.record,
        &MessageRecord {
            life,
            lane,
            tag: entry.tag,
            id: entry.id,
            body: entry.body.clone(),
            due_ms: u64::try_from(due_ms).unwrap_or(u64::MAX),
        },
    )
}

fn put(record: u64, content: &impl Serialize) -> Write {
    let text = serde_json::to_string(content).unwrap_or_else(|_| unreachable!("records have texts for keys"));
    Write::Put { record, text }
}
