//! One room's messages.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::Arc,
    time::SystemTime,
};

use slab::Slab;
use talkback_protocol::{
    Body, Epoch, Offset, PublishId, RoomName, SenderId, Seq, UserName,
    message::{self, Message},
};
use tokio::time::Instant;

use super::{
    super::{Limit, Page, Place, Range, Watcher},
    publishers::Publishers,
};

/// The bytes that a message takes besides its body: the structs, the names, its slots in the log and among its sender's
/// offsets.
const OVERHEAD: usize = 256;

/// A list's capacity is at most this many times its length.
const MAX_SPARE: usize = 4;

/// The bytes that a message counts for.
pub(super) fn weight(message: &Message) -> usize {
    message.body.json().len() + OVERHEAD
}

/// The log of one room, with its watchers and the entries of its publishers.
pub(super) struct Log {
    id: u64,
    epoch: Epoch,
    /// The offset of the newest message.
    head: Offset,
    /// The newest message of those that were deleted with the room; 0 if none were.
    deleted: Offset,
    entries: VecDeque<Entry>,
    /// The offsets of the kept messages with a number, by sender. The numbers ascend.
    numbered: HashMap<SenderId, VecDeque<Offset>>,
    bytes: usize,
    /// The time of the newest message. Times never go back, even if the system's clock does.
    at: u64,
    watchers: Slab<Arc<dyn Watcher>>,
    publishers: Publishers,
    /// When a message was last added or settled.
    used: Instant,
    /// Whether a message was ever added or settled.
    touched: bool,
    closed: bool,
}

struct Entry {
    since: Instant,
    weight: usize,
    message: Arc<Message>,
}

/// Messages that were dropped, or that are left.
#[derive(Clone, Copy, Default)]
pub(super) struct Freed {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Log {
    pub(super) fn new(id: u64, epoch: Epoch, now: Instant) -> Self {
        Self {
            id,
            epoch,
            head: Offset::ZERO,
            deleted: Offset::ZERO,
            entries: VecDeque::new(),
            numbered: HashMap::new(),
            bytes: 0,
            at: 0,
            watchers: Slab::new(),
            publishers: Publishers::default(),
            used: now,
            touched: false,
            closed: false,
        }
    }

    /// The log's id, which no other log of this engine ever has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The newest message of those that were deleted with the room.
    pub(super) fn deleted(&self) -> Offset {
        self.deleted
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn used(&self) -> Instant {
        self.used
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    /// Notes that a message was added or settled.
    pub(super) fn touch(&mut self, now: Instant) {
        self.touched = true;
        self.used = now;
    }

    /// Whether the log was evicted: nothing may be added to it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Closes the log and takes out everything that it holds.
    pub(super) fn close_and_clear(&mut self) -> (Freed, Publishers) {
        self.closed = true;
        let freed = self.drop_while(|_, _| true);
        (freed, std::mem::take(&mut self.publishers))
    }

    pub(super) fn publishers(&self) -> &Publishers {
        &self.publishers
    }

    pub(super) fn publishers_mut(&mut self) -> &mut Publishers {
        &mut self.publishers
    }

    pub(super) fn add_watcher(&mut self, watcher: Arc<dyn Watcher>) -> usize {
        self.watchers.insert(watcher)
    }

    pub(super) fn watchers_have_capacity(&self) -> bool {
        self.watchers.iter().all(|(_, watcher)| watcher.has_capacity())
    }

    pub(super) fn remove_watcher(&mut self, key: usize) -> Option<Arc<dyn Watcher>> {
        let watcher = self.watchers.try_remove(key);
        if self.watchers.is_empty() {
            self.watchers = Slab::new();
        }
        watcher
    }

    /// Makes the next message, without adding it.
    pub(super) fn next_message(
        &self,
        room: RoomName,
        from: message::Author,
        number: Option<(Seq, PublishId)>,
        body: Body,
    ) -> Message {
        let (seq, id) = number.unzip();
        Message {
            room,
            offset: self.head.next(),
            from,
            seq,
            id,
            at: unix_milliseconds().max(self.at),
            deleted: false,
            body,
        }
    }

    /// Adds the [next message](Self::next_message) and passes it to the watchers.
    pub(super) fn push(&mut self, message: Message, weight: usize, now: Instant) {
        self.head = message.offset;
        self.at = message.at;
        self.touch(now);
        self.bytes += weight;
        if message.seq.is_some() {
            match self.numbered.get_mut(&message.from.sender) {
                Some(offsets) => offsets.push_back(message.offset),
                None => {
                    let offsets = VecDeque::from([message.offset]);
                    self.numbered.insert(message.from.sender.clone(), offsets);
                }
            }
        }
        let message = Arc::new(message);
        self.entries.push_back(Entry {
            since: now,
            weight,
            message: Arc::clone(&message),
        });
        for (_, watcher) in &self.watchers {
            watcher.appended(&message);
        }
    }

    /// Drops the oldest message while `condition` holds, which gets the time when it was added and what is left with
    /// it.
    pub(super) fn drop_while(&mut self, condition: impl Fn(Instant, Freed) -> bool) -> Freed {
        let mut freed = Freed::default();
        while let Some(oldest) = self.entries.front()
            && condition(
                oldest.since,
                Freed {
                    messages: self.entries.len(),
                    bytes: self.bytes,
                },
            )
        {
            let more = self.drop_oldest();
            freed.messages += more.messages;
            freed.bytes += more.bytes;
        }
        // Otherwise a room that was busy once would keep the capacity for that, which no bound counts.
        shrink(&mut self.entries);
        if is_sparse(self.numbered.len(), self.numbered.capacity()) {
            self.numbered.shrink_to(self.numbered.len() * 2);
        }
        freed
    }

    pub(super) fn drop_oldest(&mut self) -> Freed {
        let Some(oldest) = self.entries.pop_front() else {
            return Freed::default();
        };
        self.bytes -= oldest.weight;
        if oldest.message.seq.is_some()
            && let hash_map::Entry::Occupied(mut offsets) = self.numbered.entry(oldest.message.from.sender.clone())
        {
            offsets.get_mut().pop_front();
            shrink(offsets.get_mut());
            if offsets.get().is_empty() {
                offsets.remove();
            }
        }
        Freed {
            messages: 1,
            bytes: oldest.weight,
        }
    }

    /// Drops all messages. The log continues in a new epoch, of which the watchers are told.
    pub(super) fn delete_all(&mut self) -> Freed {
        let freed = self.drop_while(|_, _| true);
        self.epoch = Epoch::from_random(fastrand::u64(..));
        self.deleted = self.head;
        for (_, watcher) in &self.watchers {
            watcher.restarted(&self.epoch);
        }
        freed
    }

    /// Deletes the bodies of this user's messages. Returns how many, and the bytes that are free now.
    pub(super) fn delete_bodies_of(&mut self, user: &UserName) -> (u64, Freed) {
        let (mut count, mut freed) = (0, Freed::default());
        let of_user = |message: &Message| message.from.user == *user && !message.deleted;
        for entry in self.entries.iter_mut().filter(|entry| of_user(&entry.message)) {
            let message = Arc::make_mut(&mut entry.message);
            message.deleted = true;
            message.body = Body::null();
            let weight = weight(message).min(entry.weight);
            freed.bytes += entry.weight - weight;
            entry.weight = weight;
            count += 1;
        }
        self.bytes -= freed.bytes;
        (count, freed)
    }

    /// The number of the newest message of this sender that is kept and has one.
    pub(super) fn newest_of(&self, sender: &SenderId) -> Option<Seq> {
        let newest = self.numbered.get(sender)?.back()?;
        self.message_at(*newest)?.seq
    }

    /// The id and place of this sender's message with this number, if it is kept.
    pub(super) fn find(&self, sender: &SenderId, seq: Seq) -> Option<(PublishId, Place)> {
        let offsets = self.numbered.get(sender)?;
        let number_at = |offset: &Offset| self.message_at(*offset).and_then(|message| message.seq);
        let index = offsets.binary_search_by_key(&Some(seq), number_at).ok()?;
        let message = self.message_at(*offsets.get(index)?)?;
        let place = Place {
            epoch: self.epoch.clone(),
            offset: message.offset,
            at: message.at,
        };
        Some((message.id?, place))
    }

    /// The message with this offset, if it is kept.
    fn message_at(&self, offset: Offset) -> Option<&Message> {
        let oldest = self.entries.front()?.message.offset;
        let index = offset.get().checked_sub(oldest.get())?;
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        Some(&entry.message)
    }

    pub(super) fn page(&self, range: Range, limit: Limit) -> Page {
        let floor = self
            .entries
            .front()
            .map_or(self.head, |oldest| oldest.message.offset.before());
        // How many of the kept messages have this offset or a lower one.
        let up_to = |offset: Offset| {
            let count = offset.get().saturating_sub(floor.get());
            usize::try_from(count).unwrap_or(usize::MAX).min(self.entries.len())
        };
        let part = match range {
            Range::After(offset) => {
                let from = up_to(offset);
                from..from + fitting(self.entries.range(from..), limit)
            }
            Range::Before(offset) => newest_of(&self.entries, up_to(offset.before()), limit),
            Range::Newest => newest_of(&self.entries, self.entries.len(), limit),
        };
        Page {
            epoch: self.epoch.clone(),
            forks: Vec::new(),
            head: self.head,
            floor,
            messages: self
                .entries
                .range(part)
                .map(|entry| Arc::clone(&entry.message))
                .collect(),
        }
    }
}

/// Whether a list of this length has more than the capacity that it may have.
fn is_sparse(len: usize, capacity: usize) -> bool {
    len < capacity.div_ceil(MAX_SPARE)
}

fn shrink<T>(list: &mut VecDeque<T>) {
    if is_sparse(list.len(), list.capacity()) {
        list.shrink_to(list.len() * 2);
    }
}

fn newest_of(entries: &VecDeque<Entry>, end: usize, limit: Limit) -> std::ops::Range<usize> {
    end - fitting(entries.range(..end).rev(), limit)..end
}

/// How many of the first messages are within the limit. The first one always is, unless the limit is no messages.
fn fitting<'a>(entries: impl Iterator<Item = &'a Entry>, limit: Limit) -> usize {
    let mut bytes = 0_usize;
    entries
        .take(limit.messages)
        .enumerate()
        .take_while(|(number, entry)| {
            bytes = bytes.saturating_add(entry.weight);
            *number == 0 || bytes <= limit.bytes
        })
        .count()
}

fn unix_milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use talkback_protocol::{ClientKey, UserName};

    use super::*;

    #[test]
    fn a_list_may_have_four_times_the_capacity_that_it_needs() {
        assert!(!is_sparse(2, 2 * MAX_SPARE) && is_sparse(2, 2 * MAX_SPARE + 1));
        assert!(!is_sparse(0, 0), "an empty list without capacity has nothing to shrink");
    }

    #[test]
    fn the_capacity_of_a_busy_room_shrinks_when_its_messages_are_dropped() {
        let now = Instant::now();
        let mut log = Log::new(1, Epoch::from_random(1), now);
        for number in 1..=8192_u64 {
            // One sender with many messages, and many with one each.
            let sender = if number % 2 == 0 { 0 } else { u128::from(number) };
            let from = message::Author {
                sender: ClientKey::from_random(sender.to_ne_bytes()).sender(),
                user: UserName::parse("ann").unwrap(),
            };
            let number = Some((Seq::new(number).unwrap(), PublishId::from_random(number)));
            let body = Body::from_json("1").unwrap();
            let message = log.next_message(RoomName::parse("a").unwrap(), from, number, body);
            let weight = weight(&message);
            log.push(message, weight, now);
        }
        let sizes = |log: &Log| {
            let most = log.numbered.values().map(VecDeque::capacity).max();
            [log.entries.capacity(), log.numbered.capacity(), most.unwrap_or(0)]
        };
        assert!(sizes(&log).iter().all(|size| *size >= 4096));
        let freed = log.drop_while(|_, left| left.messages > 100);
        assert_eq!((freed.messages, log.entries.len()), (8092, 100));
        assert!(
            sizes(&log).iter().all(|size| *size <= 100 * MAX_SPARE),
            "{:?}",
            sizes(&log)
        );
        log.drop_while(|_, _| true);
        assert_eq!(sizes(&log), [0, 0, 0]);
    }
}
