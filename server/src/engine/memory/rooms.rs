//! The map of rooms, and which room is evicted when there are too many. Each operation takes constant time.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use lru::LruCache;
use parking_lot::Mutex;
use slab::Slab;
use talkback_protocol::{Epoch, RoomName};
use tokio::time::Instant;

use super::{MemoryOptions, log::Log};

pub(super) type SharedLog = Arc<Mutex<Log>>;

/// The rooms that have a log.
///
/// Rooms with watchers are not evicted. The others are a segmented LRU cache of two classes: young rooms, and those
/// that were used again when they were no longer young. The young may take a quarter from the old, and then evict each
/// other: so a client that makes many rooms evicts such rooms, and not those with a history.
pub(super) struct Rooms {
    watched: HashMap<RoomName, Watched>,
    young: LruCache<RoomName, Room>,
    old: LruCache<RoomName, Room>,
    /// All rooms once more, each at an index that does not change: so that a sweep can visit them in batches while
    /// rooms are added and removed. The maps have no such index.
    entries: Slab<RoomEntry>,
    max_unwatched: usize,
    young_for: Duration,
    watches: usize,
    next_id: u64,
    /// The epochs of rooms without a log, by a hash of the name. When a room is evicted, its slot gets a new epoch.
    /// With one epoch for all rooms, each eviction would change the epoch that readers of any empty room get.
    initial_epochs: Box<[u64]>,
    hasher: RandomState,
}

#[derive(Clone)]
struct Room {
    log: SharedLog,
    made: Instant,
    /// Its index in `entries`.
    index: usize,
}

struct Watched {
    room: Room,
    watches: usize,
}

/// A room as [`Rooms::batch`] returns it.
#[derive(Clone)]
pub(super) struct RoomEntry {
    pub(super) name: RoomName,
    pub(super) log: SharedLog,
    pub(super) class: Class,
}

/// In the order in which rooms lose their messages to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Young,
    Old,
    Watched,
}

/// A log that was taken out of the map. The caller must call [`Log::close_and_clear`], without the lock of the map.
#[must_use]
pub(super) struct Evicted(pub(super) SharedLog);

impl Rooms {
    pub(super) fn new(options: &MemoryOptions) -> Self {
        Self {
            watched: HashMap::new(),
            young: LruCache::unbounded(),
            old: LruCache::unbounded(),
            entries: Slab::new(),
            max_unwatched: options.rooms.max(1),
            young_for: options.young_for,
            watches: 0,
            next_id: 0,
            initial_epochs: (0..options.epoch_slots.max(1)).map(|_| fastrand::u64(..)).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.watched.len() + self.unwatched()
    }

    /// Whether the room has a log: messages, entries of publishers or watchers.
    pub(super) fn has(&self, name: &RoomName) -> bool {
        self.watched.contains_key(name) || self.old.contains(name) || self.young.contains(name)
    }

    /// How many watches there are, over all rooms.
    pub(super) fn watches(&self) -> usize {
        self.watches
    }

    fn unwatched(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The epoch that a room without a log will begin with.
    pub(super) fn initial_epoch(&self, name: &RoomName) -> Epoch {
        Epoch::from_random(self.initial_epochs[self.slot(name)])
    }

    fn slot(&self, name: &RoomName) -> usize {
        let slots = self.initial_epochs.len() as u64;
        usize::try_from(self.hasher.hash_one(name) % slots).unwrap_or(0)
    }

    /// The log of a room, for reading. It does not count as a use: a reader must not keep a room from being evicted.
    pub(super) fn peek(&self, name: &RoomName) -> Option<SharedLog> {
        let watched = self.watched.get(name).map(|watched| &watched.room);
        let room = watched
            .or_else(|| self.old.peek(name))
            .or_else(|| self.young.peek(name))?;
        Some(Arc::clone(&room.log))
    }

    /// The log of a room, for publishing. It counts as a use.
    pub(super) fn get(&mut self, name: &RoomName, now: Instant) -> Option<SharedLog> {
        if let Some(watched) = self.watched.get(name) {
            return Some(Arc::clone(&watched.room.log));
        }
        if let Some(room) = self.old.get(name) {
            return Some(Arc::clone(&room.log));
        }
        let room = self.young.get(name)?;
        let (log, made) = (Arc::clone(&room.log), room.made);
        if self.is_old(made, now)
            && let Some((name, room)) = self.young.pop_entry(name)
        {
            self.set_class(&room, Class::Old);
            self.old.put(name, room);
        }
        Some(log)
    }

    fn is_old(&self, made: Instant, now: Instant) -> bool {
        made + self.young_for <= now
    }

    /// A log for a room that does not exist. It is not in the map before [`put`](Self::put).
    pub(super) fn new_log(&mut self, name: &RoomName, now: Instant) -> Log {
        self.next_id += 1;
        Log::new(self.next_id, self.initial_epoch(name), now)
    }

    /// Adds a room without watchers that has this [new log](Self::new_log).
    pub(super) fn put(&mut self, name: &RoomName, log: Log, now: Instant) -> Option<Evicted> {
        let room = self.add_entry(name, log, now);
        self.add_unwatched(name.clone(), room, now)
    }

    fn add_entry(&mut self, name: &RoomName, log: Log, now: Instant) -> Room {
        let log = Arc::new(Mutex::new(log));
        let entry = RoomEntry {
            name: name.clone(),
            log: Arc::clone(&log),
            class: Class::Young,
        };
        Room {
            log,
            made: now,
            index: self.entries.insert(entry),
        }
    }

    fn set_class(&mut self, room: &Room, class: Class) {
        if let Some(entry) = self.entries.get_mut(room.index) {
            entry.class = class;
        }
    }

    /// Removes the entry of a room that is in no map any more.
    fn evict(&mut self, room: Room) -> Evicted {
        self.entries.try_remove(room.index);
        if self.entries.is_empty() {
            self.entries = Slab::new();
        }
        Evicted(room.log)
    }

    fn add_unwatched(&mut self, name: RoomName, room: Room, now: Instant) -> Option<Evicted> {
        if self.is_old(room.made, now) {
            self.set_class(&room, Class::Old);
            self.old.put(name, room);
        } else {
            self.set_class(&room, Class::Young);
            self.young.put(name, room);
        }
        if self.unwatched() <= self.max_unwatched {
            return None;
        }
        let young_first = self.young.len() > (self.max_unwatched / 4).max(1) || self.old.is_empty();
        let class = if young_first { &mut self.young } else { &mut self.old };
        let (name, room) = class.pop_lru()?;
        if !close_if_untouched(&room.log) {
            self.renew_epoch(&name);
        }
        Some(self.evict(room))
    }

    /// Gives this room another initial epoch than that of the evicted log.
    fn renew_epoch(&mut self, name: &RoomName) {
        let slot = self.slot(name);
        self.initial_epochs[slot] = fastrand::u64(..);
    }

    /// The log of a room, made if it does not exist. It is not evicted before [`unwatch`](Self::unwatch).
    pub(super) fn watch(&mut self, name: &RoomName, now: Instant) -> SharedLog {
        self.watches += 1;
        if let Some(watched) = self.watched.get_mut(name) {
            watched.watches += 1;
            return Arc::clone(&watched.room.log);
        }
        let unwatched = self.old.pop(name).or_else(|| self.young.pop(name));
        let room = unwatched.unwrap_or_else(|| {
            let log = self.new_log(name, now);
            self.add_entry(name, log, now)
        });
        self.set_class(&room, Class::Watched);
        let log = Arc::clone(&room.log);
        self.watched.insert(name.clone(), Watched { room, watches: 1 });
        log
    }

    /// Ends one [`watch`](Self::watch).
    pub(super) fn unwatch(&mut self, name: &RoomName, now: Instant) -> Option<Evicted> {
        let hash_map::Entry::Occupied(mut watched) = self.watched.entry(name.clone()) else {
            return None;
        };
        self.watches -= 1;
        watched.get_mut().watches -= 1;
        if watched.get().watches > 0 {
            return None;
        }
        let room = watched.remove().room;
        if close_if_untouched(&room.log) {
            return Some(self.evict(room));
        }
        self.add_unwatched(name.clone(), room, now)
    }

    /// Removes a room without watchers if `condition` holds and its log is not in use at the moment.
    pub(super) fn remove_if(&mut self, name: &RoomName, condition: impl FnOnce(&Log) -> bool) -> Option<Evicted> {
        let room = self.old.peek(name).or_else(|| self.young.peek(name))?;
        let log = Arc::clone(&room.log);
        let is_touched = {
            let mut log = log.try_lock()?;
            if !condition(&log) {
                return None;
            }
            log.close();
            log.is_touched()
        };
        if is_touched {
            self.renew_epoch(name);
        }
        let room = self.old.pop(name).or_else(|| self.young.pop(name))?;
        Some(self.evict(room))
    }

    /// The rooms at `len` indices from `from` on, and the index of the next batch if there is one.
    pub(super) fn batch(&self, from: usize, len: usize) -> (Vec<RoomEntry>, Option<usize>) {
        let end = from.saturating_add(len).min(self.entries.capacity());
        let batch = (from..end).filter_map(|index| self.entries.get(index).cloned());
        (batch.collect(), (end < self.entries.capacity()).then_some(end))
    }

    /// How many rooms have watchers.
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }
}

/// Closes a log that has no activity and is not in use at the moment, so that holders of a handle cannot add to it.
/// Returns whether it did.
fn close_if_untouched(log: &SharedLog) -> bool {
    log.try_lock().is_some_and(|mut log| {
        let is_untouched = !log.is_touched();
        if is_untouched {
            log.close();
        }
        is_untouched
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG_FOR: Duration = Duration::from_secs(60);

    /// A map of at most `max` rooms without watchers, which has the first `added` rooms.
    fn rooms(max: usize, added: usize, now: Instant) -> Rooms {
        let mut rooms = Rooms::new(&MemoryOptions {
            rooms: max,
            young_for: YOUNG_FOR,
            ..MemoryOptions::DEFAULT
        });
        rooms.add_all(0..added, now);
        rooms
    }

    fn name(number: usize) -> RoomName {
        RoomName::parse(&format!("room-{number}")).unwrap()
    }

    impl Rooms {
        fn add_all(&mut self, numbers: std::ops::Range<usize>, now: Instant) {
            for number in numbers {
                let _ = self.add(&name(number), now);
            }
        }

        /// Which of these rooms exist. It counts as a use of them.
        fn used(&mut self, numbers: std::ops::Range<usize>, now: Instant) -> Vec<usize> {
            numbers
                .filter(|number| self.get(&name(*number), now).is_some())
                .collect()
        }

        fn add(&mut self, name: &RoomName, now: Instant) -> (SharedLog, Option<Evicted>) {
            let log = self.new_log(name, now);
            let evicted = self.put(name, log, now);
            (self.peek(name).unwrap(), evicted)
        }

        fn all(&self) -> Vec<(RoomName, Class)> {
            let mut all: Vec<_> = self.batches(usize::MAX).concat();
            all.sort();
            all
        }

        fn batches(&self, len: usize) -> Vec<Vec<(RoomName, Class)>> {
            let mut next = Some(0);
            let batches = std::iter::from_fn(|| {
                let (batch, rest) = self.batch(next?, len);
                next = rest;
                Some(batch.into_iter().map(|entry| (entry.name, entry.class)).collect())
            });
            batches.collect()
        }
    }

    #[test]
    fn rooms_with_watchers_are_not_evicted_and_do_not_count() {
        let now = Instant::now();
        let mut rooms = rooms(4, 0, now);
        for number in 0..1000 {
            rooms.watch(&name(number), now);
        }
        rooms.add_all(1000..1100, now);
        assert_eq!((rooms.len(), rooms.watches()), (1004, 1000));
        assert_eq!(rooms.used(0..1000, now).len(), 1000);
    }

    #[test]
    fn rooms_with_a_history_outlive_any_number_of_new_ones() {
        let start = Instant::now();
        let mut rooms = rooms(100, 70, start);
        let later = start + YOUNG_FOR;
        assert_eq!(rooms.used(0..70, later).len(), 70);
        rooms.add_all(1000..11_000, later);
        assert_eq!(rooms.len(), 100);
        assert_eq!(rooms.used(0..70, later).len(), 70);
        let newest = rooms.used(10_970..11_000, later);
        assert_eq!(newest.len(), 30, "the newest of the others");
    }

    #[test]
    fn old_rooms_leave_a_quarter_to_young_ones_and_are_evicted_in_the_order_of_their_last_use() {
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        let mut rooms = rooms(8, 8, start);
        for number in [1, 0, 2, 3, 4, 5, 6, 7] {
            assert!(rooms.get(&name(number), later).is_some());
        }
        rooms.add_all(100..110, later);
        assert_eq!(rooms.used(0..200, later), [2, 3, 4, 5, 6, 7, 108, 109]);
    }

    #[test]
    fn reading_a_room_is_no_use_of_it() {
        let start = Instant::now();
        let mut rooms = rooms(4, 4, start);
        let later = start + YOUNG_FOR;
        assert!((0..4).all(|number| rooms.peek(&name(number)).is_some()));
        assert!(rooms.get(&name(3), later).is_some());
        for number in 4..8 {
            assert!(rooms.peek(&name(0)).is_some() || number > 4);
            let _ = rooms.add(&name(number), later);
        }
        let left: Vec<_> = (0..8).filter(|number| rooms.has(&name(*number))).collect();
        assert_eq!(
            left,
            [3, 5, 6, 7],
            "room 0 was read last and is evicted first, 3 was published to"
        );
    }

    #[test]
    fn each_room_is_in_one_batch_with_its_class_and_batches_are_bounded() {
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        let mut rooms = rooms(100, 60, start);
        assert_eq!(rooms.used(0..10, later).len(), 10);
        for number in 10..20 {
            rooms.watch(&name(number), later).lock().touch(later);
        }
        for number in 20..30 {
            assert!(rooms.remove_if(&name(number), |_| true).is_some());
        }
        rooms.watch(&name(30), later).lock().touch(later);
        assert!(rooms.unwatch(&name(30), later).is_none());
        rooms.watch(&name(99), later);
        assert!(rooms.unwatch(&name(99), later).is_some());
        let mut expected: Vec<_> = (0..10).chain([30]).map(|number| (name(number), Class::Old)).collect();
        expected.extend((10..20).map(|number| (name(number), Class::Watched)));
        expected.extend((31..60).map(|number| (name(number), Class::Young)));
        expected.sort();
        assert_eq!(rooms.all(), expected);
        assert_eq!((rooms.len(), rooms.watched()), (expected.len(), 10));
        let batches = rooms.batches(7);
        assert!(batches.iter().all(|batch| batch.len() <= 7));
        let mut together = batches.concat();
        together.sort();
        assert_eq!(together, expected);
        rooms.add_all(1000..2000, later);
        assert_eq!(rooms.entries.len(), rooms.len(), "evicted rooms left an entry");
    }

    #[test]
    fn the_newest_room_is_never_evicted() {
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        let mut rooms = rooms(1, 1, start);
        assert_eq!(rooms.used(0..1, later), [0]);
        rooms.add_all(1..2, later);
        assert_eq!(rooms.used(0..2, later), [1]);
    }

    #[test]
    fn an_evicted_room_gets_a_new_epoch_and_hardly_another_room_does() {
        let now = Instant::now();
        let mut rooms = rooms(1, 0, now);
        let epochs = |rooms: &Rooms| {
            (0..100)
                .map(|number| rooms.initial_epoch(&name(number)))
                .collect::<Vec<_>>()
        };
        let before = epochs(&rooms);
        let (log, _) = rooms.add(&name(0), now);
        log.lock().touch(now);
        let (_, evicted) = rooms.add(&name(1), now);
        assert!(evicted.is_some_and(|Evicted(evicted)| Arc::ptr_eq(&evicted, &log)));
        let after = epochs(&rooms);
        assert_ne!(before[0], after[0]);
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert!(changed.count() < 10);
        let _ = rooms.add(&name(2), now);
        assert_eq!(epochs(&rooms)[1..], after[1..], "the second room had no messages");
    }

    #[test]
    fn a_room_without_messages_is_removed_with_its_last_watcher() {
        let now = Instant::now();
        let mut rooms = rooms(4, 0, now);
        let epoch = rooms.initial_epoch(&name(0));
        rooms.watch(&name(0), now);
        rooms.watch(&name(0), now);
        assert!(rooms.unwatch(&name(0), now).is_none());
        assert!(rooms.unwatch(&name(0), now).is_some());
        assert_eq!((rooms.len(), rooms.watches()), (0, 0));
        assert_eq!(rooms.initial_epoch(&name(0)), epoch);
    }

    #[test]
    fn a_log_that_was_taken_out_of_the_map_is_closed() {
        let now = Instant::now();
        let mut rooms = rooms(4, 0, now);
        let watched = rooms.watch(&name(0), now);
        let (log, _) = rooms.add(&name(1), now);
        assert!(rooms.remove_if(&name(1), |_| false).is_none());
        assert!(!watched.lock().is_closed() && !log.lock().is_closed());
        assert!(rooms.unwatch(&name(0), now).is_some());
        assert!(rooms.remove_if(&name(1), |_| true).is_some());
        assert!(watched.lock().is_closed() && log.lock().is_closed());
        assert_eq!(rooms.len(), 0);
    }
}
