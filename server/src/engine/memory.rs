//! The engine that keeps everything in this process, and loses it when the process ends.
//!
//! A room's log is behind a lock of its own, with what is remembered about its publishers; that lock is held while watchers are told, so
//! that they all see one order. Locks are taken in this order: the map of rooms, a room's log, the budget of new rooms or the ledger.
//! Under the lock of the map nobody waits for a log, which may be telling many watchers.
//!
//! What it takes besides the bodies of messages: a room without messages about 600 bytes; a remembered client 400 to 500 bytes with its
//! first four outcomes, which double with its messages up to [`MemoryOptions::client_messages`] at 32 bytes each (4.4 KiB with 128); the
//! name of a request about 300 bytes and its own length. [`Usage::remembered_bytes`] counts the last two.

mod ledger;
mod log;
mod new_rooms;
mod publishers;
mod rooms;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use talkback_protocol::{Body, RoomName, message::code, session::server::Refusal};
use tokio::time::Instant;

use super::{Answer, Append, Engine, Limit, MessageId, Outcome, Page, Place, Range, Usage, Watch, Watcher};
use ledger::{Bounds, Cost, Holder, Ledger};
use log::Log;
use new_rooms::NewRoomLimit;
pub use new_rooms::NewRoomOptions;
use publishers::{Fate, Memories, Refusals, Verdict};
use rooms::{Class, Evicted, Placed, Rooms};

/// How often what is too old is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Whoever met a full log may try again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many rooms are looked at before others have a turn, and while nobody else may use the map of rooms.
const SWEPT_AT_ONCE: usize = 256;

/// Whoever found no place in what is remembered may try again after this long. What is remembered is for an hour, not for a second.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

/// What the memory engine keeps at most.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Rooms that nobody watches. Beyond it one of them is forgotten: the young ones take at most a quarter from the old ones, and of each
    /// kind the one that was not used for longest goes. Rooms that somebody watches do not count.
    pub rooms: usize,
    /// After what time a room that is used again is not young any more.
    pub young_for: Duration,
    /// Watches of all rooms. More are refused.
    pub watches: usize,
    /// How many rooms a client may make by publishing.
    pub new_rooms: NewRoomOptions,
    /// Messages of one room.
    pub messages: usize,
    /// Bytes of the messages of one room.
    pub bytes: usize,
    /// Bytes of the messages of all rooms. Near it rooms that hold more than their share drop their oldest messages, those first that
    /// nobody watches.
    pub total_bytes: usize,
    /// Bytes of a room that somebody watches which it does not lose to others, as long as all such rooms have place for as many: enough
    /// for a member that was too slow to catch up.
    pub watched_bytes: usize,
    /// How old a message may become.
    pub age: Duration,
    /// Clients whose last number is remembered; each counts once for each of its rooms. A client may have a sixteenth of what is free.
    /// Nobody is forgotten early for another: one more is refused for now.
    pub clients: usize,
    /// All clients of one origin may have this part of what is free of `clients` and `remembered_bytes`: 8 is an eighth.
    pub origin_part: usize,
    /// How many messages of a client are remembered with their places: as many as it may have on the way.
    pub client_messages: usize,
    /// How long a client's last number is remembered. Must be longer than clients try to send a message again.
    pub client_age: Duration,
    /// Names of requests that are remembered for one room. One more is refused for now.
    pub requests: usize,
    /// How long the name of a request is remembered.
    pub request_age: Duration,
    /// Bytes of all that is remembered about clients and requests. A client, and the requests of a room, may have a sixteenth of what
    /// is free.
    pub remembered_bytes: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            young_for: Duration::from_secs(600),
            watches: 100_000,
            new_rooms: NewRoomOptions {
                burst: 128,
                per_minute: 30,
                clients: 65_536,
                expire_batch: 1024,
            },
            messages: 8192,
            bytes: 8 << 20,
            total_bytes: 256 << 20,
            watched_bytes: 4 << 20,
            age: Duration::from_secs(24 * 3600),
            clients: 100_000,
            origin_part: 8,
            client_messages: 128,
            client_age: Duration::from_secs(3600),
            requests: 10_000,
            request_age: Duration::from_secs(3600),
            remembered_bytes: 128 << 20,
        }
    }
}

/// The part of what is free that one holder of memories may have.
const PART: usize = 16;

/// Logs in memory. Clones are handles to the same logs.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    memories: Memories,
    options: MemoryOptions,
    rooms: Mutex<Rooms>,
    new_rooms: Mutex<NewRoomLimit>,
    ledger: Ledger,
    refusals: Refusals,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    messages: AtomicUsize,
    added: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    /// A message found no place: the next sweep makes some.
    pressed: AtomicBool,
    /// A task drops what is too old.
    sweeping: AtomicBool,
}

impl Memory {
    /// No rooms yet.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        let memories = Memories::new(&options);
        let bounds = Bounds {
            total: Cost {
                entries: options.clients,
                bytes: options.remembered_bytes,
            },
            part: PART,
            origin_part: options.origin_part.max(1),
            least_bytes: memories.largest_entry(),
        };
        Self(Arc::new(Inner {
            memories,
            rooms: Mutex::new(Rooms::new(options.rooms, options.young_for)),
            new_rooms: Mutex::new(NewRoomLimit::new(options.new_rooms)),
            ledger: Ledger::new(bounds),
            refusals: Refusals::default(),
            options,
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            added: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
        }))
    }

    /// The task ends when no room is left, or with the engine.
    fn start_sweeping(&self) {
        if self.0.sweeping.load(Ordering::Relaxed) || self.0.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.0.sweeping.store(false, Ordering::Relaxed);
            return;
        };
        let engine: Weak<Inner> = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                if engine.sweep().await == 0 {
                    engine.sweeping.store(false, Ordering::Relaxed);
                    // A room that came since did not start another task.
                    if engine.rooms.lock().len() == 0 || engine.sweeping.swap(true, Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
    }

    fn append_now(&self, append: Append) -> Outcome {
        let now = Instant::now();
        loop {
            let log = {
                let mut rooms = self.0.rooms.lock();
                match rooms.get(&append.room, now) {
                    Some(log) => log,
                    None => return self.begin(rooms, append, now),
                }
            };
            let mut log = log.lock();
            if !log.is_closed() {
                self.start_sweeping();
                self.0.expire(&mut log, now);
                return self.0.append_to(&mut log, append, now);
            }
        }
    }

    /// The first message of a room that is not there. One that settles nothing makes no room, which could take the place of another.
    fn begin(&self, mut rooms: MutexGuard<'_, Rooms>, append: Append, now: Instant) -> Outcome {
        let room = append.room.clone();
        let mut log = rooms.new_log(&room, now);
        let outcome = self.0.append_to(&mut log, append, now);
        if log.is_touched() {
            let evicted = rooms.put(&room, log, now);
            drop(rooms);
            self.start_sweeping();
            self.0.retire(evicted);
        }
        outcome
    }
}

impl Engine for Memory {
    fn append(&self, append: Append) -> Answer<Outcome> {
        let outcome = self.append_now(append);
        let counter = match outcome {
            Outcome::Added(_) => &self.0.added,
            Outcome::Duplicate(_) => &self.0.duplicates,
            Outcome::Refused { .. } | Outcome::Gap { .. } | Outcome::Conflict { .. } | Outcome::Forgotten { .. } => {
                &self.0.refused
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Answer::Now(outcome)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let now = Instant::now();
        let log = {
            let rooms = self.0.rooms.lock();
            match rooms.peek(room) {
                Some(log) => log,
                // Reading makes no room: anybody may ask for any name.
                None => return Answer::Now(Ok(Page::empty(rooms.unborn(room)))),
            }
        };
        let mut log = log.lock();
        self.0.expire(&mut log, now);
        Answer::Now(Ok(log.page(range, limit)))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Result<Watch, Refusal> {
        let log = {
            let mut rooms = self.0.rooms.lock();
            if rooms.watches() >= self.0.options.watches {
                return Err(busy("the server watches as many rooms as it may", RETRY_WHEN_FULL));
            }
            rooms.watch(room, Instant::now())
        };
        self.start_sweeping();
        let key = log.lock().add_watcher(watcher);
        let (inner, room) = (Arc::clone(&self.0), room.clone());
        Ok(Watch::new(move || {
            // Dropped outside of the lock: it may be the last handle to things that lock in turn.
            let _watcher = log.lock().remove_watcher(key);
            let evicted = inner.rooms.lock().unwatch(&room, Instant::now());
            inner.retire(evicted);
        }))
    }

    fn has(&self, room: &RoomName) -> bool {
        self.0.rooms.lock().has(room)
    }

    fn usage(&self) -> Usage {
        let remembered = self.0.ledger.total();
        Usage {
            rooms: self.0.rooms.lock().len(),
            messages: self.0.messages.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            clients: remembered.entries,
            requests: self.0.requests.load(Ordering::Relaxed),
            remembered_bytes: remembered.bytes,
            added: self.0.added.load(Ordering::Relaxed),
            duplicates: self.0.duplicates.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn append_to(&self, log: &mut Log, append: Append, now: Instant) -> Outcome {
        let epoch = log.epoch().clone();
        let verdict = log.publishers_mut().verdict(&self.memories, &epoch, &append.id, now);
        match verdict.or_from_log(log, &append.from.sender, &append.id) {
            Verdict::New | Verdict::Unknown => {}
            Verdict::Known(outcome) => return outcome,
            Verdict::Forgotten => return Outcome::Forgotten { epoch },
        }
        match self.add_or_begin(log, append, now) {
            Ok(place) => Outcome::Added(place),
            Err(refusal) => Outcome::Refused {
                epoch: Some(epoch),
                refusal,
            },
        }
    }

    /// Adds a message that comes next, or settles its number with a refusal for good. If that begins the room, its client pays for it.
    fn add_or_begin(&self, log: &mut Log, append: Append, now: Instant) -> Result<Place, Refusal> {
        let key = match append.id {
            MessageId::Client { key, .. } if !log.is_touched() => key,
            MessageId::Client { .. } | MessageId::Request { .. } | MessageId::None => {
                return self.add(log, append, now);
            }
        };
        let taken = self.new_rooms.lock().take(&key, now);
        taken.map_err(|wait| busy("this client made too many rooms: wait before the next", wait))?;
        let added = self.add(log, append, now);
        if !log.is_touched() {
            self.new_rooms.lock().give_back(&key);
        }
        added
    }

    fn add(&self, log: &mut Log, append: Append, now: Instant) -> Result<Place, Refusal> {
        let Append {
            room,
            id,
            from,
            content,
        } = append;
        if content.as_ref().is_err_and(|refusal| refusal.retry_after.is_some()) {
            return Err(content.err().unwrap_or_else(|| unreachable!("it was just seen")));
        }
        if content.is_ok() && !log.watchers_have_room() {
            return Err(busy("the room is busy: try again in a moment", RETRY_AFTER));
        }
        let weigh = |body: Body| {
            let message = log.next_message(room, from, id.number(), body);
            let weight = log::weight(&message);
            if weight > self.options.bytes || weight > self.options.total_bytes {
                return Err(too_large(self.options.bytes));
            }
            Ok((message, weight))
        };
        let content = content.and_then(weigh);
        let paid = self.pay(log, &id, now)?;
        let (message, weight) = match content {
            Ok(weighed) => weighed,
            Err(refusal) => {
                self.note(log, id, Fate::Refused(self.refusals.share(&refusal)), now);
                return Err(refusal);
            }
        };
        if !self.make_room(log, weight) {
            self.ledger.give_back(paid);
            return Err(busy("the log is full: try again in a moment", RETRY_AFTER));
        }
        let place = Place {
            epoch: log.epoch().clone(),
            offset: message.offset,
            at: message.at,
        };
        let fate = Fate::At {
            offset: message.offset,
            at: message.at,
        };
        self.note(log, id, fate, now);
        self.messages.fetch_add(1, Ordering::Relaxed);
        log.push(message, weight, now);
        Ok(place)
    }

    /// Pays for what will be remembered of a message; nobody is forgotten early for it.
    fn pay(&self, log: &mut Log, id: &MessageId, now: Instant) -> Result<Option<(Holder, Cost)>, Refusal> {
        let take = |log: &Log| {
            let cost = log.publishers().cost(&self.memories, log.id(), id).ok()?;
            cost.is_none_or(|(holder, cost)| self.ledger.take(holder, cost))
                .then_some(cost)
        };
        if let Some(paid) = take(log) {
            return Ok(paid);
        }
        self.expire_publishers(log, now);
        take(log).ok_or_else(|| busy("too much is remembered: try again later", RETRY_WHEN_FULL))
    }

    fn note(&self, log: &mut Log, id: MessageId, fate: Fate, now: Instant) {
        log.touch(now);
        if matches!((&id, &fate), (MessageId::Request { .. }, Fate::At { .. })) {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        log.publishers_mut().note(&self.memories, id, fate, now);
    }

    /// Frees what a log held that is not in the map any more.
    fn retire(&self, evicted: Option<Evicted>) {
        if let Some(Evicted(log)) = evicted {
            let mut log = log.lock();
            let (freed, publishers) = log.forget();
            let id = log.id();
            drop(log);
            self.freed(freed);
            self.requests.fetch_sub(publishers.len().1, Ordering::Relaxed);
            self.ledger.give_back(publishers.costs(id));
        }
    }

    fn expire(&self, log: &mut Log, now: Instant) {
        if let Some(oldest) = now.checked_sub(self.options.age) {
            self.freed(log.drop_while(|since, _| since < oldest));
        }
    }

    fn expire_publishers(&self, log: &mut Log, now: Instant) {
        let id = log.id();
        let given_back = log.publishers_mut().expire(&self.memories, id, now);
        if !given_back.is_empty() {
            let requests = given_back
                .iter()
                .filter(|(holder, _)| matches!(holder, Holder::Requests(_)));
            self.requests.fetch_sub(requests.count(), Ordering::Relaxed);
            self.ledger.give_back(given_back);
        }
    }

    fn freed(&self, freed: log::Freed) {
        self.messages.fetch_sub(freed.messages, Ordering::Relaxed);
        self.bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
    }

    /// Drops old messages of this room until one of `weight` bytes has its place, and takes that place. False, with nothing dropped,
    /// if the other rooms leave none.
    fn make_room(&self, log: &mut Log, weight: usize) -> bool {
        let options = &self.options;
        let (messages, bytes) = (options.messages.max(1), options.bytes);
        self.freed(log.drop_while(|_, left| left.messages >= messages || left.bytes + weight > bytes));
        let reserve = |log: &Log| {
            let reserved = |total: usize| (total + weight <= options.total_bytes).then_some(total + weight);
            let others = self.bytes.load(Ordering::Relaxed).saturating_sub(log.bytes());
            others + weight <= options.total_bytes
                && self
                    .bytes
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserved)
                    .is_ok()
        };
        while !reserve(log) {
            let others = self.bytes.load(Ordering::Relaxed).saturating_sub(log.bytes());
            if others + weight > options.total_bytes || log.bytes() == 0 {
                self.pressed.store(true, Ordering::Relaxed);
                return false;
            }
            self.freed(log.drop_oldest());
        }
        true
    }

    /// Drops what is too old or too much; returns how many rooms are left.
    async fn sweep(&self) -> usize {
        let now = Instant::now();
        self.new_rooms.lock().expire(now);
        self.for_each_room(|room| {
            let mut log = room.log.lock();
            self.expire(&mut log, now);
            self.expire_publishers(&mut log, now);
            if room.class != Class::Watched && self.is_unused(&log, now) {
                drop(log);
                let evicted = self.rooms.lock().remove_if(&room.name, |log| self.is_unused(log, now));
                self.retire(evicted);
            }
        })
        .await;
        let is_pressed = self.pressed.swap(false, Ordering::Relaxed);
        if is_pressed || self.is_nearly_full() {
            self.relieve(is_pressed).await;
        }
        self.rooms.lock().len()
    }

    /// Visits all rooms, a part of them at a time. A room that is made meanwhile may be left out.
    async fn for_each_room(&self, mut visit: impl FnMut(Placed)) {
        let mut next = Some(0);
        while let Some(from) = next {
            let (part, rest) = self.rooms.lock().part(from, SWEPT_AT_ONCE);
            part.into_iter().for_each(&mut visit);
            next = rest;
            tokio::task::yield_now().await;
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.options.total_bytes / 8 * 7
    }

    /// Makes place in the logs: rooms that hold no more than their share lose nothing, unless rooms that somebody watches need it.
    async fn relieve(&self, is_pressed: bool) {
        let total = self.options.total_bytes;
        let (rooms, watched) = {
            let rooms = self.rooms.lock();
            (rooms.len(), rooms.watched())
        };
        // One more if a message found no place: it may be the first of a room, which is not there then.
        let share = total / (rooms + usize::from(is_pressed)).max(1);
        // At most half is for those that somebody is in: else so many of them as fill the total leave nothing to all others.
        let share_of_watched = total / 2 / watched.max(1);
        let kept = self.options.watched_bytes.min(share_of_watched);
        let trim = |log: &mut Log, above: usize, keep: usize| {
            if log.bytes() > above {
                self.freed(log.drop_while(|_, left| left.bytes > keep));
            }
        };
        let (mut unwatched, mut order) = (Vec::new(), Vec::new());
        self.for_each_room(|room| {
            let mut log = room.log.lock();
            if room.class == Class::Watched {
                trim(&mut log, share.max(kept), (share / 8 * 7).max(kept));
                return;
            }
            trim(&mut log, share, share / 8 * 7);
            if watched > 0 && log.bytes() > 0 {
                order.push(Reverse((room.class, log.used(), unwatched.len())));
                drop(log);
                unwatched.push(room.log);
            }
        })
        .await;
        // Sorted only as far as it is needed: of very many rooms few may have to go.
        let mut order = BinaryHeap::from(order);
        while self.is_nearly_full() && !order.is_empty() {
            for _ in 0..SWEPT_AT_ONCE {
                if self.is_nearly_full()
                    && let Some(Reverse((_, _, index))) = order.pop()
                {
                    trim(&mut unwatched[index].lock(), 0, 0);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// A room is kept while its publishers may be remembered; one in which nothing was ever said or settled is not needed.
    fn is_unused(&self, log: &Log, now: Instant) -> bool {
        let remembered = self.options.client_age.max(self.options.request_age);
        log.bytes() == 0 && (!log.is_touched() || log.used() + remembered <= now)
    }
}

fn busy(message: &'static str, retry_after: Duration) -> Refusal {
    Refusal::later(code::BUSY, message, retry_after)
}

fn too_large(max: usize) -> Refusal {
    Refusal {
        code: code::TOO_LARGE.into(),
        message: format!("the log of a room keeps at most {max} bytes").into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
