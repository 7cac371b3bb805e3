//! The engine that keeps everything in this process, and loses it when the process ends.
//!
//! A room's log is behind a lock of its own; that lock is held while watchers are told, so that they all see one order. Locks are taken in
//! this order: the map of rooms, a room's log, the publishers.

mod log;
mod publishers;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lru::LruCache;
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use talkback_protocol::{Body, Epoch, RoomName, message::code, session::server::Refusal};
use tokio::time::Instant;

use super::{Answer, Append, Engine, Limit, Outcome, Page, Place, Range, Usage, Watch, Watcher};
use log::Log;
use publishers::{Publishers, Settled, Verdict};

/// How often what is too old is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many of the rooms that were not used for longest are looked at to find one that nobody is in.
const CANDIDATES: usize = 64;
/// Whoever met a full log may try again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the memory engine keeps at most.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Rooms. Beyond it the room that was not used for longest is forgotten, unless somebody is in it.
    pub rooms: usize,
    /// Messages of one room.
    pub messages: usize,
    /// Bytes of the messages of one room.
    pub bytes: usize,
    /// Bytes of the messages of all rooms. Near it, rooms that hold more than their share drop their oldest messages.
    pub total_bytes: usize,
    /// How old a message may become.
    pub age: Duration,
    /// Clients whose last number is remembered, over all rooms. Must be far more than publish within `client_age`.
    pub clients: usize,
    /// How many messages of a client are remembered with their places: as many as it may have on the way.
    pub client_messages: usize,
    /// How long a client's last number is remembered. Must be longer than clients try to send a message again.
    pub client_age: Duration,
    /// Names of requests that are remembered, over all rooms.
    pub requests: usize,
    /// How long the name of a request is remembered.
    pub request_age: Duration,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            messages: 1000,
            bytes: 1024 * 1024,
            total_bytes: 256 * 1024 * 1024,
            age: Duration::from_secs(24 * 3600),
            clients: 100_000,
            client_messages: 64,
            client_age: Duration::from_secs(3600),
            requests: 10_000,
            request_age: Duration::from_secs(3600),
        }
    }
}

/// Logs in memory. Clones are handles to the same logs.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    options: MemoryOptions,
    rooms: Mutex<Rooms>,
    publishers: Mutex<Publishers>,
    bytes: AtomicUsize,
    messages: AtomicUsize,
    added: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    next: AtomicU64,
    /// A message found no place: the next sweep makes some.
    pressed: AtomicBool,
    /// A task drops what is too old.
    sweeping: AtomicBool,
}

struct Rooms {
    logs: LruCache<RoomName, Arc<Mutex<Log>>>,
    /// The epoch of all rooms that have no log. It changes when a log with messages is forgotten, because that room begins anew.
    unborn: Epoch,
}

type Locked = ArcMutexGuard<RawMutex, Log>;

impl Memory {
    /// No rooms yet.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        Self(Arc::new(Inner {
            rooms: Mutex::new(Rooms {
                logs: LruCache::unbounded(),
                unborn: new_epoch(),
            }),
            publishers: Mutex::new(Publishers::new(&options)),
            options,
            bytes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            added: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            next: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
        }))
    }

    /// The room's log, locked and without what is too old.
    fn open(&self, room: &RoomName) -> Result<Locked, Refusal> {
        loop {
            let log = self.0.find_or_add(room)?;
            let mut log = log.lock_arc();
            if !log.is_forgotten() {
                self.start_sweeping();
                self.0.expire(&mut log, Instant::now());
                return Ok(log);
            }
        }
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
                if engine.sweep(Instant::now()) == 0 {
                    engine.sweeping.store(false, Ordering::Relaxed);
                    return;
                }
            }
        });
    }

    fn append_now(&self, append: Append) -> Result<Outcome, Refusal> {
        let options = &self.0.options;
        let now = Instant::now();
        let mut log = self.open(&append.room)?;
        let verdict = self.0.publishers.lock().check(log.id(), &append.id, now);
        match verdict.or_from_log(&log, &append.from.sender, &append.id) {
            Verdict::New | Verdict::Unknown => {}
            Verdict::Known(outcome) => return Ok(outcome),
            Verdict::Forgotten => return Err(forgotten()),
        }
        let seq = append.id.seq();
        let weigh = |body: Body| {
            let message = log.next_message(append.room, append.from, seq, body);
            let weight = log::weight(&message);
            if weight > options.bytes || weight > options.total_bytes {
                return Err(too_large(options.bytes));
            }
            Ok((message, weight))
        };
        let (message, weight) = match append.content.and_then(weigh) {
            Ok(weighed) => weighed,
            Err(refusal) => {
                let settled = Settled::Refused(Box::new(refusal.clone()));
                self.0.publishers.lock().note(log.id(), append.id, settled, now);
                return Err(refusal);
            }
        };
        if !self.0.make_room(&mut log, weight) {
            return Err(full("the log is full: try again in a moment"));
        }
        let place = Place {
            offset: message.offset,
            at: message.at,
        };
        let mut publishers = self.0.publishers.lock();
        publishers.note(log.id(), append.id, Settled::At(place), now);
        drop(publishers);
        self.0.messages.fetch_add(1, Ordering::Relaxed);
        log.push(message, weight, now);
        Ok(Outcome::Added(place))
    }
}

impl Engine for Memory {
    fn append(&self, append: Append) -> Answer<Outcome> {
        let outcome = self.append_now(append).unwrap_or_else(Outcome::Refused);
        let counter = match outcome {
            Outcome::Added(_) => &self.0.added,
            Outcome::Duplicate(_) => &self.0.duplicates,
            Outcome::Refused(_) | Outcome::Gap => &self.0.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Answer::Now(outcome)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let log = {
            let mut rooms = self.0.rooms.lock();
            match rooms.logs.get(room) {
                Some(log) => Arc::clone(log),
                // Reading makes no room: anybody may ask for any name.
                None => return Answer::Now(Ok(Page::empty(rooms.unborn.clone()))),
            }
        };
        let mut log = log.lock();
        self.0.expire(&mut log, Instant::now());
        Answer::Now(Ok(log.page(range, limit)))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Result<Watch, Refusal> {
        let mut log = self.open(room)?;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        log.add_watcher(id, watcher);
        let log = Arc::clone(ArcMutexGuard::mutex(&log));
        Ok(Watch::new(move || {
            // Dropped outside of the lock: it may be the last handle to things that lock in turn.
            let _watcher = log.lock().remove_watcher(id);
        }))
    }

    fn has(&self, room: &RoomName) -> bool {
        self.0.rooms.lock().logs.contains(room)
    }

    fn usage(&self) -> Usage {
        let (clients, requests) = self.0.publishers.lock().len();
        Usage {
            rooms: self.0.rooms.lock().logs.len(),
            messages: self.0.messages.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            clients,
            requests,
            added: self.0.added.load(Ordering::Relaxed),
            duplicates: self.0.duplicates.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn find_or_add(&self, room: &RoomName) -> Result<Arc<Mutex<Log>>, Refusal> {
        let mut rooms = self.rooms.lock();
        if let Some(log) = rooms.logs.get(room) {
            return Ok(Arc::clone(log));
        }
        if rooms.logs.len() >= self.options.rooms && !self.forget_one(&mut rooms) {
            return Err(full("the server has no place for another room"));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let log = Arc::new(Mutex::new(Log::new(id, rooms.unborn.clone(), Instant::now())));
        rooms.logs.put(room.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// Forgets the room that was not used for longest among those that nobody is in.
    fn forget_one(&self, rooms: &mut Rooms) -> bool {
        let oldest = rooms.logs.iter().rev().take(CANDIDATES);
        let unused = oldest.filter(|(_, log)| log.try_lock().is_some_and(|log| !log.is_watched()));
        let Some(name) = unused.map(|(name, _)| name.clone()).next() else {
            return false;
        };
        self.forget_if(rooms, &name, |log| !log.is_watched())
    }

    fn forget_if(&self, rooms: &mut Rooms, name: &RoomName, condition: impl FnOnce(&Log) -> bool) -> bool {
        let Some(log) = rooms.logs.peek(name).cloned() else {
            return false;
        };
        let mut log = log.lock();
        if !condition(&log) {
            return false;
        }
        if log.has_begun() {
            rooms.unborn = new_epoch();
        }
        self.freed(log.forget());
        rooms.logs.pop(name);
        true
    }

    fn expire(&self, log: &mut Log, now: Instant) {
        if let Some(oldest) = now.checked_sub(self.options.age) {
            self.freed(log.drop_while(|since, _| since < oldest));
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

    /// Drops what is too old or too much; returns how many rooms and remembered publishers are left.
    fn sweep(&self, now: Instant) -> usize {
        let logs: Vec<_> = {
            let rooms = self.rooms.lock();
            let logs = rooms.logs.iter();
            logs.map(|(name, log)| (name.clone(), Arc::clone(log))).collect()
        };
        // Rooms that hold no more than their share lose nothing to the others.
        let share = self.options.total_bytes / logs.len().max(1);
        let pressed = self.pressed.swap(false, Ordering::Relaxed)
            || self.bytes.load(Ordering::Relaxed) > self.options.total_bytes / 8 * 7;
        let mut unused = Vec::new();
        for (name, log) in logs {
            let mut log = log.lock();
            self.expire(&mut log, now);
            if pressed && log.bytes() > share {
                self.freed(log.drop_while(|_, left| left.bytes > share / 8 * 7));
            }
            if self.is_unused(&log, now) {
                unused.push(name);
            }
        }
        let mut rooms = self.rooms.lock();
        for name in unused {
            self.forget_if(&mut rooms, &name, |log| self.is_unused(log, now));
        }
        let (clients, requests) = self.publishers.lock().expire(now);
        rooms.logs.len() + clients + requests
    }

    /// A room in which nothing was ever said is not needed without watchers; another is kept while its publishers may be remembered.
    fn is_unused(&self, log: &Log, now: Instant) -> bool {
        let remembered = self.options.client_age.max(self.options.request_age);
        !log.is_watched() && log.bytes() == 0 && (!log.has_begun() || log.used() + remembered <= now)
    }
}

fn new_epoch() -> Epoch {
    Epoch::from_random(fastrand::u64(..))
}

fn full(message: &'static str) -> Refusal {
    Refusal {
        code: code::BUSY.into(),
        message: message.into(),
        retry_after: Some(RETRY_AFTER),
    }
}

fn too_large(max: usize) -> Refusal {
    Refusal {
        code: code::TOO_LARGE.into(),
        message: format!("the log of a room keeps at most {max} bytes").into(),
        retry_after: None,
    }
}

fn forgotten() -> Refusal {
    Refusal {
        code: code::FORGOTTEN.into(),
        message: "this number was settled too long ago".into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
