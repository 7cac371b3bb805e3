//! One room's messages.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use talkback_protocol::{
    Body, Epoch, Offset, PublishId, RoomName, SenderId, Seq,
    message::{self, Message},
};
use tokio::time::Instant;

use super::super::{Limit, Page, Place, Range, Watcher};

/// What a message takes besides its body: the structs, the names, its place in the ring.
const OVERHEAD: usize = 256;

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
    bytes: usize,
    /// The time of the newest message; times never go back, whatever the system's clock does.
    at: u64,
    watchers: Vec<(u64, Arc<dyn Watcher>)>,
    used: Instant,
    forgotten: bool,
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
            bytes: 0,
            at: 0,
            watchers: Vec::new(),
            used: now,
            forgotten: false,
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

    pub(super) fn has_begun(&self) -> bool {
        self.head > Offset::ZERO
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// Nobody may add to it any more.
    pub(super) fn forget(&mut self) -> Freed {
        self.forgotten = true;
        self.drop_while(|_, _| true)
    }

    pub(super) fn add_watcher(&mut self, id: u64, watcher: Arc<dyn Watcher>) {
        self.watchers.push((id, watcher));
    }

    pub(super) fn remove_watcher(&mut self, id: u64) -> Option<Arc<dyn Watcher>> {
        let index = self.watchers.iter().position(|(watcher, _)| *watcher == id)?;
        Some(self.watchers.swap_remove(index).1)
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
        self.used = now;
        self.bytes += weight;
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
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
        freed
    }

    pub(super) fn drop_oldest(&mut self) -> Freed {
        let Some(oldest) = self.kept.pop_front() else {
            return Freed::default();
        };
        self.bytes -= oldest.weight;
        Freed {
            messages: 1,
            bytes: oldest.weight,
        }
    }

    /// The number of the newest message of this sender that is kept and has one.
    pub(super) fn newest_of(&self, sender: &SenderId) -> Option<Seq> {
        self.of(sender).find_map(|message| message.seq)
    }

    /// Where this message of this sender is, if it is kept.
    pub(super) fn find(&self, sender: &SenderId, seq: Seq) -> Option<(PublishId, Place)> {
        let message = self.of(sender).find(|message| message.seq == Some(seq))?;
        let place = Place {
            epoch: self.epoch.clone(),
            offset: message.offset,
            at: message.at,
        };
        Some((message.id?, place))
    }

    /// The messages of this sender, newest first.
    fn of(&self, sender: &SenderId) -> impl Iterator<Item = &Message> {
        let messages = self.kept.iter().rev().map(|kept| &*kept.message);
        messages.filter(move |message| message.from.sender == *sender)
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
