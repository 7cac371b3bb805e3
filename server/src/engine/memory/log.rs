//! One room's messages.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::Arc,
    time::SystemTime,
};

use slab::Slab;
use talkback_protocol::{
    Body, Epoch, Offset, PublishId, RoomName, SenderId, Seq,
    message::{self, Message},
};
use tokio::time::Instant;

use super::{
    super::{Limit, Page, Place, Range, Watcher},
    publishers::Publishers,
};

/// What a message takes besides its body: the structs, the names, its places in the ring and among its sender's.
const OVERHEAD: usize = 256;

/// A list has place for at most so many times what is in it.
const SPARE: usize = 4;

/// The bytes that a message counts for.
pub(super) fn weight(message: &Message) -> usize {
    message.body.json().len() + OVERHEAD
}

pub(super) struct Log {
    id: u64,
    epoch: Epoch,
    /// The offset of the newest message.
    head: Offset,
    kept: VecDeque<Kept>,
    /// Where the kept messages with a number are, by their sender; the numbers ascend.
    numbered: HashMap<SenderId, VecDeque<Offset>>,
    bytes: usize,
    /// The time of the newest message; times never go back, whatever the system's clock does.
    at: u64,
    watchers: Slab<Arc<dyn Watcher>>,
    publishers: Publishers,
    used: Instant,
    /// Whether anything was ever said or settled in it.
    touched: bool,
    closed: bool,
}

struct Kept {
    since: Instant,
    weight: usize,
    message: Arc<Message>,
}

/// What was dropped, or is left.
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
            kept: VecDeque::new(),
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

    /// No other log ever has it.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
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

    /// Something was said or settled.
    pub(super) fn touch(&mut self, now: Instant) {
        self.touched = true;
        self.used = now;
    }

    /// Whether nobody may add to it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Closes it and takes out everything that it holds.
    pub(super) fn forget(&mut self) -> (Freed, Publishers) {
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

    pub(super) fn watchers_have_room(&self) -> bool {
        self.watchers.iter().all(|(_, watcher)| watcher.has_room())
    }

    pub(super) fn remove_watcher(&mut self, key: usize) -> Option<Arc<dyn Watcher>> {
        let watcher = self.watchers.try_remove(key);
        if self.watchers.is_empty() {
            self.watchers = Slab::new();
        }
        watcher
    }

    /// The message that would come next; it is not added yet.
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
            body,
        }
    }

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
        self.kept.push_back(Kept {
            since: now,
            weight,
            message: Arc::clone(&message),
        });
        for (_, watcher) in &self.watchers {
            watcher.appended(&message);
        }
    }

    /// Drops the oldest messages while `condition` holds of when the oldest came and of what is kept.
    pub(super) fn drop_while(&mut self, condition: impl Fn(Instant, Freed) -> bool) -> Freed {
        let mut freed = Freed::default();
        while let Some(oldest) = self.kept.front()
            && condition(
                oldest.since,
                Freed {
                    messages: self.kept.len(),
                    bytes: self.bytes,
                },
            )
        {
            let more = self.drop_oldest();
            freed.messages += more.messages;
            freed.bytes += more.bytes;
        }
        // A room that was busy once would keep the memory for that, which nobody counts.
        shrink(&mut self.kept);
        if self.numbered.len() < self.numbered.capacity().div_ceil(SPARE) {
            self.numbered.shrink_to(self.numbered.len() * 2);
        }
        freed
    }

    pub(super) fn drop_oldest(&mut self) -> Freed {
        let Some(oldest) = self.kept.pop_front() else {
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

    /// The number of the newest message of this sender that is kept and has one.
    pub(super) fn newest_of(&self, sender: &SenderId) -> Option<Seq> {
        let newest = self.numbered.get(sender)?.back()?;
        self.message_at(*newest)?.seq
    }

    /// Where this message of this sender is, and its id, if it is kept.
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
        let oldest = self.kept.front()?.message.offset;
        let index = offset.get().checked_sub(oldest.get())?;
        let kept = self.kept.get(usize::try_from(index).ok()?)?;
        Some(&kept.message)
    }

    pub(super) fn page(&self, range: Range, limit: Limit) -> Page {
        let floor = self
            .kept
            .front()
            .map_or(self.head, |oldest| oldest.message.offset.before());
        // How many of the kept messages have this offset or a smaller one.
        let up_to = |offset: Offset| {
            let count = offset.get().saturating_sub(floor.get());
            usize::try_from(count).unwrap_or(usize::MAX).min(self.kept.len())
        };
        let part = match range {
            Range::After(offset) => {
                let from = up_to(offset);
                from..from + fitting(self.kept.range(from..), limit)
            }
            Range::Before(offset) => newest_of(&self.kept, up_to(offset.before()), limit),
            Range::Newest => newest_of(&self.kept, self.kept.len(), limit),
        };
        Page {
            epoch: self.epoch.clone(),
            fork: None,
            head: self.head,
            floor,
            messages: self.kept.range(part).map(|kept| Arc::clone(&kept.message)).collect(),
        }
    }
}

fn shrink<T>(list: &mut VecDeque<T>) {
    if list.len() < list.capacity().div_ceil(SPARE) {
        list.shrink_to(list.len() * 2);
    }
}

fn newest_of(kept: &VecDeque<Kept>, end: usize, limit: Limit) -> std::ops::Range<usize> {
    end - fitting(kept.range(..end).rev(), limit)..end
}

/// How many of the first messages fit; one always does, unless none is asked for.
fn fitting<'a>(kept: impl Iterator<Item = &'a Kept>, limit: Limit) -> usize {
    let mut bytes = 0_usize;
    kept.take(limit.messages)
        .enumerate()
        .take_while(|(number, kept)| {
            bytes = bytes.saturating_add(kept.weight);
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
    fn what_a_busy_room_needed_is_given_back_when_its_messages_are_dropped() {
        let now = Instant::now();
        let mut log = Log::new(1, Epoch::from_random(1), now);
        for number in 1..=8192_u64 {
            // One who says much, and many who say little.
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
            [log.kept.capacity(), log.numbered.capacity(), most.unwrap_or(0)]
        };
        assert!(sizes(&log).iter().all(|size| *size >= 4096));
        let freed = log.drop_while(|_, left| left.messages > 100);
        assert_eq!((freed.messages, log.kept.len()), (8092, 100));
        assert!(sizes(&log).iter().all(|size| *size <= 100 * SPARE), "{:?}", sizes(&log));
        log.drop_while(|_, _| true);
        assert_eq!(sizes(&log), [0, 0, 0]);
    }
}
