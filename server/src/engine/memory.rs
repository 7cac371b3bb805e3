//! The engine that keeps everything in this process, and loses it when the process ends.
//!
//! Each room's log has a lock of its own, which also guards the entries of its publishers. The lock is held while
//! watchers are called, so that they all see one order. Locks are taken in this order: the map of rooms, a room's log,
//! the limit of new rooms or the ledger. No thread waits for a log's lock while it holds that of the map, because the
//! log may be calling many watchers.
//!
//! Memory besides the bodies of messages: a room without messages takes about 600 bytes; a client 400 to 500 bytes with
//! its first four outcomes, of which there are up to [`MemoryOptions::client_messages`] at 32 bytes each (4.4 KiB with
//! 128); the name of a request about 300 bytes and its own length. [`Usage::remembered_bytes`] counts the last two.

mod log;
mod options;
mod publishers;
mod refusals;
mod rooms;
mod sweep;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use talkback_protocol::{Body, RoomName, UserName, session::server::Refusal};
use tokio::time::Instant;

use super::{
    Answer, Append, AppendOutcome, DeletedRoom, Engine, Limit, MessageId, Page, Place, Range, Usage, Watch, Watcher,
    ledger::{Cost, Holder, Ledger, LedgerOptions},
    new_rooms::NewRoomLimit,
    outcome::{busy, too_large, too_many_watches},
    unless_deleted,
};
use log::Log;
pub use options::MemoryOptions;
use publishers::{DedupOptions, Settlement, Verdict};
use refusals::Refusals;
use rooms::{Evicted, Rooms};

/// Logs in memory. Clones are handles to the same logs.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    dedup: DedupOptions,
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
    /// A message was refused because the log is full: the next sweep drops others.
    refused_full: AtomicBool,
    /// The task that sweeps runs.
    sweeping: AtomicBool,
}

impl Memory {
    /// An engine without rooms.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        let dedup = DedupOptions::new(&options);
        let ledger = LedgerOptions {
            total: Cost {
                entries: options.clients,
                bytes: options.remembered_bytes,
            },
            part: options.client_part.max(1),
            origin_part: options.origin_part.max(1),
            min_bytes: dedup.largest_entry(),
            release_batch: options.sweep_batch.max(1),
        };
        Self(Arc::new(Inner {
            dedup,
            rooms: Mutex::new(Rooms::new(&options)),
            new_rooms: Mutex::new(NewRoomLimit::new(options.new_rooms)),
            ledger: Ledger::new(ledger),
            refusals: Refusals::new(options.shared_refusals),
            options,
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            added: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_full: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
        }))
    }

    fn append_now(&self, append: Append) -> AppendOutcome {
        let now = Instant::now();
        loop {
            let log = {
                let mut rooms = self.0.rooms.lock();
                match rooms.get(&append.room, now) {
                    Some(log) => log,
                    None => return self.append_to_new_room(rooms, append, now),
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

    /// Appends to a room that does not exist. A message that settles nothing makes no room: it could evict another one.
    fn append_to_new_room(&self, mut rooms: MutexGuard<'_, Rooms>, append: Append, now: Instant) -> AppendOutcome {
        let room = append.room.clone();
        let mut log = rooms.new_log(&room, now);
        let outcome = self.0.append_to(&mut log, append, now);
        if log.is_touched() {
            let evicted = rooms.put(&room, log, now);
            drop(rooms);
            self.start_sweeping();
            self.0.release_evicted(evicted);
        }
        outcome
    }
}

impl Engine for Memory {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        let outcome = self.append_now(append);
        let counter = match outcome {
            AppendOutcome::Added(_) => &self.0.added,
            AppendOutcome::Duplicate(_) => &self.0.duplicates,
            AppendOutcome::Refused { .. }
            | AppendOutcome::Gap { .. }
            | AppendOutcome::Conflict { .. }
            | AppendOutcome::Forgotten { .. } => &self.0.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Answer::now(outcome)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let now = Instant::now();
        let log = {
            let rooms = self.0.rooms.lock();
            match rooms.peek(room) {
                Some(log) => log,
                // Reading makes no room, because any name may be asked for.
                None => return Answer::now(Ok(Page::empty(rooms.initial_epoch(room)))),
            }
        };
        let mut log = log.lock();
        self.0.expire(&mut log, now);
        Answer::now(Ok(log.page(range, limit)))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        let log = {
            let mut rooms = self.0.rooms.lock();
            if rooms.watches() >= self.0.options.watches {
                return Answer::now(Err(too_many_watches(self.0.options.remembered_retry_after)));
            }
            rooms.watch(room, Instant::now())
        };
        self.start_sweeping();
        let (key, epoch) = {
            let mut log = log.lock();
            (log.add_watcher(watcher), log.epoch().clone())
        };
        let (inner, room) = (Arc::clone(&self.0), room.clone());
        Answer::now(Ok(Watch::new(epoch, move || {
            // Dropped outside of the lock: it may be the last handle to something whose drop takes other locks.
            let _watcher = log.lock().remove_watcher(key);
            let evicted = inner.rooms.lock().unwatch(&room, Instant::now());
            inner.release_evicted(evicted);
        })))
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        loop {
            let log = {
                let rooms = self.0.rooms.lock();
                match rooms.peek(room) {
                    Some(log) => log,
                    None => {
                        let epoch = rooms.initial_epoch(room);
                        return Answer::now(Ok(DeletedRoom { epoch, messages: 0 }));
                    }
                }
            };
            let mut log = log.lock();
            // A closed log is not in the map any more.
            if log.is_closed() {
                continue;
            }
            let mut messages = 0;
            if log.is_touched() {
                let freed = log.delete_all();
                messages = u64::try_from(freed.messages).unwrap_or(u64::MAX);
                self.0.freed(freed);
            }
            let epoch = log.epoch().clone();
            return Answer::now(Ok(DeletedRoom { epoch, messages }));
        }
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        let (inner, user) = (Arc::clone(&self.0), user.clone());
        if let Some(room) = room {
            let log = inner.rooms.lock().peek(room);
            let count = log.map_or(0, |log| inner.delete_bodies(&mut log.lock(), &user));
            return Answer::now(Ok(count));
        }
        Answer::later(Box::pin(async move {
            let mut count = 0;
            inner
                .for_each_room(|room| count += inner.delete_bodies(&mut room.log.lock(), &user))
                .await;
            Ok(count)
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
            commits: 0,
        }
    }
}

impl Inner {
    fn append_to(&self, log: &mut Log, append: Append, now: Instant) -> AppendOutcome {
        let epoch = log.epoch().clone();
        let verdict = log.publishers_mut().verdict(&self.dedup, &epoch, &append.id, now);
        match verdict.or_from_log(log, &append.from.sender, &append.id) {
            Verdict::New | Verdict::Unknown => {}
            Verdict::Known(outcome) => return unless_deleted(outcome, log.deleted()),
            Verdict::Forgotten => return AppendOutcome::Forgotten { epoch },
        }
        match self.add_charged(log, append, now) {
            Ok(place) => AppendOutcome::Added(place),
            Err(refusal) => AppendOutcome::Refused {
                epoch: Some(epoch),
                refusal,
            },
        }
    }

    /// Adds a message with the next number, or settles its number with a final refusal. The first of a room is charged
    /// to its client.
    fn add_charged(&self, log: &mut Log, append: Append, now: Instant) -> Result<Place, Refusal> {
        let key = match append.id {
            MessageId::Client { key, .. } if !log.is_touched() => key,
            MessageId::Client { .. } | MessageId::Request { .. } | MessageId::None => {
                return self.add(log, append, now);
            }
        };
        let taken = self.new_rooms.lock().take(&key, now);
        taken.map_err(|wait| busy("this client made too many rooms: try again later", wait))?;
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
            return Err(content
                .err()
                .unwrap_or_else(|| unreachable!("it is an error, see above")));
        }
        if content.is_ok() && !log.watchers_have_capacity() {
            return Err(busy(
                "the room is busy: try again in a moment",
                self.options.retry_after,
            ));
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
        let reserved = self.reserve_entry(log, &id, now)?;
        let (message, weight) = match content {
            Ok(weighed) => weighed,
            Err(refusal) => {
                let settlement = Settlement::Refused(self.refusals.share(&refusal));
                self.settle(log, id, settlement, now);
                return Err(refusal);
            }
        };
        if !self.reserve_bytes(log, weight) {
            self.ledger.release(reserved);
            return Err(busy("the log is full: try again in a moment", self.options.retry_after));
        }
        let place = Place {
            epoch: log.epoch().clone(),
            offset: message.offset,
            at: message.at,
        };
        let settlement = Settlement::Added {
            offset: message.offset,
            at: message.at,
        };
        self.settle(log, id, settlement, now);
        self.messages.fetch_add(1, Ordering::Relaxed);
        log.push(message, weight, now);
        Ok(place)
    }

    /// Reserves capacity for the entry of a message's publisher. No other entry is dropped early for it.
    fn reserve_entry(&self, log: &mut Log, id: &MessageId, now: Instant) -> Result<Option<(Holder, Cost)>, Refusal> {
        let reserve = |log: &Log| {
            let cost = log.publishers().cost(&self.dedup, log.id(), id).ok()?;
            cost.is_none_or(|(holder, cost)| self.ledger.reserve(holder, cost))
                .then_some(cost)
        };
        if let Some(reserved) = reserve(log) {
            return Ok(reserved);
        }
        self.expire_publishers(log, now);
        reserve(log).ok_or_else(|| {
            busy(
                "the server remembers too many clients and requests: try again later",
                self.options.remembered_retry_after,
            )
        })
    }

    /// Records the outcome of a message.
    fn settle(&self, log: &mut Log, id: MessageId, settlement: Settlement, now: Instant) {
        log.touch(now);
        if matches!(
            (&id, &settlement),
            (MessageId::Request { .. }, Settlement::Added { .. })
        ) {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        log.publishers_mut().settle(&self.dedup, id, settlement, now);
    }

    /// Releases everything that an evicted log held.
    fn release_evicted(&self, evicted: Option<Evicted>) {
        if let Some(Evicted(log)) = evicted {
            let mut log = log.lock();
            let (freed, publishers) = log.close_and_clear();
            let id = log.id();
            drop(log);
            self.freed(freed);
            self.requests.fetch_sub(publishers.len().1, Ordering::Relaxed);
            self.ledger.release(publishers.costs(id));
        }
    }

    /// Deletes the bodies of this user's messages. Returns how many.
    fn delete_bodies(&self, log: &mut Log, user: &UserName) -> u64 {
        let (count, freed) = log.delete_bodies_of(user);
        self.freed(freed);
        count
    }

    fn expire(&self, log: &mut Log, now: Instant) {
        if let Some(oldest) = now.checked_sub(self.options.age) {
            self.freed(log.drop_while(|since, _| since < oldest));
        }
    }

    fn expire_publishers(&self, log: &mut Log, now: Instant) {
        let id = log.id();
        let released = log.publishers_mut().expire(&self.dedup, id, now);
        if !released.is_empty() {
            let requests = released
                .iter()
                .filter(|(holder, _)| matches!(holder, Holder::Requests(_)));
            self.requests.fetch_sub(requests.count(), Ordering::Relaxed);
            self.ledger.release(released);
        }
    }

    fn freed(&self, freed: log::Freed) {
        self.messages.fetch_sub(freed.messages, Ordering::Relaxed);
        self.bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
    }

    /// Reserves `weight` bytes for a message of this room, and drops the room's oldest messages for it where that is
    /// needed. Returns false if the bytes of other rooms leave too few.
    fn reserve_bytes(&self, log: &mut Log, weight: usize) -> bool {
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
                self.refused_full.store(true, Ordering::Relaxed);
                return false;
            }
            self.freed(log.drop_oldest());
        }
        true
    }
}

#[cfg(test)]
mod tests;
