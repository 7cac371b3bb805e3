//! The state of a session that is kept across pages, as numbered records, so that storing a change costs bytes for that
//! change alone.
//!
//! | record | content |
//! |---|---|
//! | 0, the head | the key, the first number of rooms that have no record, the clocks, and the *life*: the generation of the records |
//! | a room | its name, the number of its first message, and the lowest valid record of its messages |
//! | a message | its room's record, its id, its body |
//!
//! The number of a message follows from its place among the records of its room. Records of another life than the
//! head's are ignored.
//!
//! A page may end between any two writes. Even then no message may be lost or doubled, and no number given to another
//! message. So changes are written in this order: the head, the removed rooms, the changed rooms, the removed messages,
//! the new and changed messages in ascending order. No new message was sent yet, because sending waits for its record.
//! When everything is written anew, as after a reload or with a new key, it is written as another life under record
//! numbers that were never used, then the head, and then the former life is removed.

use std::{fmt, time::Duration};

use litemap::LiteMap;
use serde::Serialize;

use super::{
    PendingMessage, RoomSnapshot, Snapshot, Tag,
    outbox::{Entry, Lane, Outbox},
    timer::millis_up,
};
use crate::{
    Body, ClientKey, PublishId, RoomName, Seq,
    message::{Millis, fields::read_by_fields},
};

/// One step of keeping a session in a store of numbered texts, see
/// [`ClientSession::writes`](super::ClientSession::writes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Store this text under this number, and replace the text that is there.
    Put {
        /// The number to store it under.
        record: u64,
        /// JSON on one line.
        text: String,
    },
    /// Remove the text under this number.
    Remove {
        /// The number to remove.
        record: u64,
    },
    /// Remove the texts under all lower numbers but 0.
    RemoveBelow {
        /// The lowest number, besides 0, that stays.
        record: u64,
    },
}

/// A session as read from a store, see [`ClientSession::resume`](super::ClientSession::resume).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(super) snapshot: Snapshot,
    saved_at: Millis,
    /// The highest number in the store.
    pub(super) last: u64,
}

impl Kept {
    /// Reads the records that [`ClientSession::writes`](super::ClientSession::writes) stored, in any order. Reads a
    /// text `{"saved_at":..,"snapshot":{..}}` under 0 too, of a [`Snapshot`] and the time when it was taken.
    ///
    /// `None` without the record 0. Another record that cannot be read is skipped: with it a message is lost, or a room
    /// with its messages. The messages behind it then have wrong numbers, which does no harm, because each message has
    /// an id; see
    /// [`Output::KeyWanted`](super::Output::KeyWanted).
    pub fn read<T: AsRef<str>>(records: impl IntoIterator<Item = (u64, T)>) -> Option<Self> {
        // Not collected, because that would link a sort, 4 KB of code. Stores list most records in ascending order.
        let mut sorted = LiteMap::<u64, T>::new();
        for (number, text) in records {
            sorted.insert(number, text);
        }
        let records = sorted;
        let last = *records.last()?.0;
        let head = records.get(&0)?.as_ref();
        if let Ok(Former { saved_at, snapshot }) = serde_json::from_str(head) {
            return Some(Self {
                snapshot,
                saved_at,
                last,
            });
        }
        let head: Head = serde_json::from_str(head).ok()?;
        let mut rooms = LiteMap::<u64, RoomRecord>::new();
        let mut pending = LiteMap::<u64, Vec<PendingMessage>>::new();
        // The record of a room has a lower number than those of its messages.
        for (&number, text) in records.iter().filter(|(number, _)| **number > 0) {
            let text = text.as_ref();
            if let Ok(message) = serde_json::from_str::<MessageRecord>(text) {
                let room = rooms.get(&message.lane).filter(|room| number >= room.from);
                if message.life == head.life && room.is_some() {
                    let lane = message.lane;
                    let message = message.pending(head.now_ms);
                    match pending.get_mut(&lane) {
                        Some(messages) => messages.push(message),
                        None => drop(pending.insert(lane, vec![message])),
                    }
                }
            } else if let Ok(room) = serde_json::from_str::<RoomRecord>(text)
                && room.life == head.life
            {
                rooms.insert(number, room);
            }
        }
        let mut next = head.next;
        let mut named = LiteMap::<RoomName, (Seq, Vec<PendingMessage>)>::new();
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

    /// The state that was read. It has no cursors: an application that keeps the messages it read keeps the cursor with
    /// them.
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

/// The former format: everything in one record.
struct Former {
    saved_at: Millis,
    snapshot: Snapshot,
}

#[derive(Serialize)]
struct Head {
    key: ClientKey,
    next: Seq,
    life: u64,
    /// The time by the wall clock, and below it by the session's clock at the same moment.
    saved_at: Millis,
    now_ms: u64,
}

#[derive(Serialize)]
struct RoomRecord {
    life: u64,
    room: RoomName,
    first: Seq,
    /// Messages with lower record numbers are settled.
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
    /// When it expires, or, without a body, its outcome becomes unknown, by the session's clock.
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

/// What is to be written, once anything was: before the first [`take`] all of it is. A session that is never stored links no code of
/// records, because only `take` and [`begin_above`](Self::begin_above) make the object behind the trait.
#[derive(Default)]
pub(super) struct Journal(Option<Box<dyn Notes>>);

// Without its content: a method behind a trait is linked although nothing prints it, and this one with all that it prints.
impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// See [`Changes`].
trait Notes: Send {
    fn number(&mut self) -> u64;
    fn room(&mut self, room: &RoomName);
    fn room_gone(&mut self, record: u64, room: &RoomName);
    fn message(&mut self, record: u64, room: &RoomName);
    fn message_gone(&mut self, record: u64);
    fn all(&mut self);
    fn changes(&mut self) -> &mut Changes;
}

impl Journal {
    /// Starts record numbers above those in the store. `max` is the most changes that are noted.
    pub(super) fn begin_above(&mut self, last: u64, max: usize) {
        self.changes(max).last = last;
    }

    /// Everything is to be written anew.
    pub(super) fn all(&mut self) {
        self.note(|notes| notes.all());
    }

    /// A number for a new record; meaningless while everything is to be written anew, which gives each record another
    /// one.
    pub(super) fn number(&mut self) -> u64 {
        self.0.as_mut().map_or(0, |notes| notes.number())
    }

    /// The record of a room is to be written.
    pub(super) fn room(&mut self, room: &RoomName) {
        self.note(|notes| notes.room(room));
    }

    /// The lane of a room was removed.
    pub(super) fn room_gone(&mut self, record: u64, room: &RoomName) {
        self.note(|notes| notes.room_gone(record, room));
    }

    /// A message is new or changed.
    pub(super) fn message(&mut self, record: u64, room: &RoomName) {
        self.note(|notes| notes.message(record, room));
    }

    /// A message is settled or failed.
    pub(super) fn message_gone(&mut self, record: u64) {
        self.note(|notes| notes.message_gone(record));
    }

    fn note(&mut self, note: impl FnOnce(&mut dyn Notes)) {
        if let Some(notes) = &mut self.0 {
            note(&mut **notes);
        }
    }

    fn changes(&mut self, max: usize) -> &mut Changes {
        self.0.get_or_insert_with(|| Box::new(Changes::new(max))).changes()
    }
}

/// The changes since the records were written. Bounded: with more changes than `max`, everything is written.
struct Changes {
    /// The highest record number in use.
    last: u64,
    /// The highest number that was written.
    written: u64,
    /// The life of the records. `None`: everything is to be written, and no change is noted.
    life: Option<u64>,
    /// The most changes that are noted.
    max: usize,
    /// Rooms whose record is to be written.
    rooms: LiteMap<RoomName, ()>,
    /// Records of rooms that are to be removed.
    rooms_gone: Vec<u64>,
    /// Records of messages that are to be written, with their rooms.
    messages: LiteMap<u64, RoomName>,
    /// Records of messages that are to be removed.
    messages_gone: Vec<u64>,
}

impl Changes {
    fn new(max: usize) -> Self {
        Self {
            last: 0,
            written: 0,
            life: None,
            max,
            rooms: LiteMap::new(),
            rooms_gone: Vec::new(),
            messages: LiteMap::new(),
            messages_gone: Vec::new(),
        }
    }

    /// Whether changes are noted. If there are too many, they are not any more.
    fn notes(&mut self) -> bool {
        let noted = self.rooms.len() + self.rooms_gone.len() + self.messages.len() + self.messages_gone.len();
        if noted >= self.max {
            self.all();
        }
        self.life.is_some()
    }
}

impl Notes for Changes {
    fn all(&mut self) {
        self.life = None;
        self.rooms.clear();
        self.rooms_gone.clear();
        self.messages.clear();
        self.messages_gone.clear();
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn room(&mut self, room: &RoomName) {
        if self.notes() {
            self.rooms.insert(room.clone(), ());
        }
    }

    fn room_gone(&mut self, record: u64, room: &RoomName) {
        if self.notes() {
            self.rooms.remove(room);
            if record <= self.written {
                self.rooms_gone.push(record);
            }
        }
    }

    fn message(&mut self, record: u64, room: &RoomName) {
        if self.notes() {
            self.messages.insert(record, room.clone());
        }
    }

    fn message_gone(&mut self, record: u64) {
        if self.notes() {
            self.messages.remove(&record);
            if record <= self.written {
                self.messages_gone.push(record);
            }
        }
    }

    fn changes(&mut self) -> &mut Changes {
        self
    }
}

/// See [`ClientSession::writes`](super::ClientSession::writes).
pub(super) fn take(key: ClientKey, outbox: &mut Outbox, now: Duration, saved_at: Millis) -> Vec<Write> {
    let next = outbox.first_in_settled();
    let (ttl, max) = (outbox.ttl(), outbox.max_messages());
    let Outbox { lanes, journal, .. } = outbox;
    let journal = journal.changes(max);
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
        writes.extend(rooms.filter_map(|(name, ())| {
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
    put(
        entry.record,
        &MessageRecord {
            life,
            lane,
            tag: entry.tag,
            id: entry.id,
            body: entry.body.clone(),
            due_ms: millis_up(entry.deadline(ttl)),
        },
    )
}

fn put(record: u64, content: &impl Serialize) -> Write {
    let text = serde_json::to_string(content).unwrap_or_else(|_| unreachable!("records have texts for keys"));
    Write::Put { record, text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        Epoch, Offset,
        session::{
            client::{DeliveryState, OutboxOptions},
            server::ServerOptions,
        },
    };

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn changes_of_each_kind_count_against_the_bound_and_above_it_everything_is_written() {
        let mut journal = Changes::new(4);
        (journal.life, journal.written) = (Some(1), 10);
        journal.room(&room("a"));
        journal.room_gone(2, &room("b"));
        journal.message(11, &room("a"));
        journal.message_gone(3);
        assert!(journal.life.is_some(), "four changes fit");
        journal.message(12, &room("a"));
        assert!(journal.life.is_none());
        for record in 0..100 {
            journal.message(record, &room("a"));
            journal.room_gone(record, &room("a"));
        }
        assert!(journal.messages.is_empty() && journal.rooms_gone.is_empty());
    }

    /// The page ends after the record of the room and before the message's is removed.
    #[test]
    fn a_settled_message_is_not_read_again_although_its_record_is_still_there() {
        let (key, now, id) = (
            ClientKey::from_random([7; 16]),
            Duration::ZERO,
            PublishId::from_random(1),
        );
        let mut outbox = Outbox::new(OutboxOptions::default());
        outbox.push(room("a"), Body::text("said"), id, 1, now, 8).unwrap();
        assert!(outbox.next(now, &ServerOptions::default().limits).0.is_some());
        let mut store = BTreeMap::new();
        let mut put = |writes: Vec<Write>| {
            for write in writes {
                if let Write::Put { record, text } = write {
                    store.insert(record, text);
                }
            }
            let kept = Kept::read(store.iter().map(|(record, text)| (*record, text))).unwrap();
            kept.snapshot.rooms.iter().map(|room| room.pending.len()).sum::<usize>()
        };
        assert_eq!(put(take(key, &mut outbox, now, 0)), 1);
        let acked = DeliveryState::Acked {
            epoch: Epoch::from_random(1),
            offset: Offset::ZERO,
            at: 0,
        };
        outbox.settle(&room("a"), Seq::FIRST, Some(id), now, acked);
        assert_eq!(put(take(key, &mut outbox, now, 0)), 0);
    }
}
