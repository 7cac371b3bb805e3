//! Which rooms there are, and which one goes when there are too many. Everything here takes the same time however many there are.

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

use super::log::Log;

pub(super) type SharedLog = Arc<Mutex<Log>>;

/// Over how many epochs the rooms without a log are spread.
const EPOCHS: usize = 4096;

/// Rooms that somebody watches stay. The others are in the order of their last use, in two classes: those that are young, and those that
/// were used again when they were not young any more. The young may take a quarter from the old, and then give way to each other: so
/// whoever makes many rooms pushes out rooms of that kind, and not those that have a history.
pub(super) struct Rooms {
    watched: HashMap<RoomName, Watched>,
    young: LruCache<RoomName, Room>,
    old: LruCache<RoomName, Room>,
    /// All of them once more, each at a place that stays the same: so that all can be gone through a part at a time while some come and
    /// go. The maps have no such places.
    places: Slab<Placed>,
    max_unwatched: usize,
    young_for: Duration,
    watches: usize,
    next_id: u64,
    /// The epochs of rooms that have no log, by a hash of the name. One changes when a log of such a name is forgotten, because that
    /// room begins anew; so it is not one for all, which would give everybody who reads an empty room a new epoch each time.
    unborn: Box<[u64]>,
    hasher: RandomState,
}

#[derive(Clone)]
struct Room {
    log: SharedLog,
    made: Instant,
    place: usize,
}

struct Watched {
    room: Room,
    watches: usize,
}

/// A room as [`Rooms::part`] gives it.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) name: RoomName,
    pub(super) log: SharedLog,
    pub(super) class: Class,
}

/// The order is that in which rooms lose their messages to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Young,
    Old,
    Watched,
}

/// A log that is not in the map any more; whoever takes it out must call [`Log::forget`], without the lock of the map.
#[must_use]
pub(super) struct Evicted(pub(super) SharedLog);

impl Rooms {
    pub(super) fn new(max_unwatched: usize, young_for: Duration) -> Self {
        Self {
            watched: HashMap::new(),
            young: LruCache::unbounded(),
            old: LruCache::unbounded(),
            places: Slab::new(),
            max_unwatched: max_unwatched.max(1),
            young_for,
            watches: 0,
            next_id: 0,
            unborn: (0..EPOCHS).map(|_| fastrand::u64(..)).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.watched.len() + self.unwatched()
    }

    /// Whether the room has a log, or somebody watches it.
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

    /// The epoch with which a room would begin that has no log.
    pub(super) fn unborn(&self, name: &RoomName) -> Epoch {
        Epoch::from_random(self.unborn[self.slot(name)])
    }

    fn slot(&self, name: &RoomName) -> usize {
        usize::try_from(self.hasher.hash_one(name) % EPOCHS as u64).unwrap_or(0)
    }

    /// The log of a room, without counting as a use of it: anybody may read any room as often as they like, and must not keep it by that.
    pub(super) fn peek(&self, name: &RoomName) -> Option<SharedLog> {
        let watched = self.watched.get(name).map(|watched| &watched.room);
        let room = watched
            .or_else(|| self.old.peek(name))
            .or_else(|| self.young.peek(name))?;
        Some(Arc::clone(&room.log))
    }

    /// The log of a room, which counts as used now: somebody publishes there.
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

    /// A log for a room that is not there. It is nobody's before it is [put in](Self::put).
    pub(super) fn new_log(&mut self, name: &RoomName, now: Instant) -> Log {
        self.next_id += 1;
        Log::new(self.next_id, self.unborn(name), now)
    }

    /// Makes a room that is not there, and that nobody watches, of a [new log](Self::new_log).
    pub(super) fn put(&mut self, name: &RoomName, log: Log, now: Instant) -> Option<Evicted> {
        let room = self.place(name, log, now);
        self.add_unwatched(name.clone(), room, now)
    }

    fn place(&mut self, name: &RoomName, log: Log, now: Instant) -> Room {
        let log = Arc::new(Mutex::new(log));
        let placed = Placed {
            name: name.clone(),
            log: Arc::clone(&log),
            class: Class::Young,
        };
        Room {
            log,
            made: now,
            place: self.places.insert(placed),
        }
    }

    fn set_class(&mut self, room: &Room, class: Class) {
        if let Some(placed) = self.places.get_mut(room.place) {
            placed.class = class;
        }
    }

    /// The room is in no map any more.
    fn take_out(&mut self, room: Room) -> Evicted {
        self.places.try_remove(room.place);
        if self.places.is_empty() {
            self.places = Slab::new();
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
            self.begin_anew(&name);
        }
        Some(self.take_out(room))
    }

    /// The next life of this room has another epoch than the last one.
    fn begin_anew(&mut self, name: &RoomName) {
        let slot = self.slot(name);
        self.unborn[slot] = fastrand::u64(..);
    }

    /// The log of a room, which stays at least until [`unwatch`](Self::unwatch).
    pub(super) fn watch(&mut self, name: &RoomName, now: Instant) -> SharedLog {
        self.watches += 1;
        if let Some(watched) = self.watched.get_mut(name) {
            watched.watches += 1;
            return Arc::clone(&watched.room.log);
        }
        let unwatched = self.old.pop(name).or_else(|| self.young.pop(name));
        let room = unwatched.unwrap_or_else(|| {
            let log = self.new_log(name, now);
            self.place(name, log, now)
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
            return Some(self.take_out(room));
        }
        self.add_unwatched(name.clone(), room, now)
    }

    /// Takes out a room that nobody watches if it is as `condition` says and nobody uses it right now.
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
            self.begin_anew(name);
        }
        let room = self.old.pop(name).or_else(|| self.young.pop(name))?;
        Some(self.take_out(room))
    }

    /// The rooms at so many places from this one on, and the place to go on with, if there is one.
    pub(super) fn part(&self, from: usize, places: usize) -> (Vec<Placed>, Option<usize>) {
        let end = from.saturating_add(places).min(self.places.capacity());
        let part = (from..end).filter_map(|place| self.places.get(place).cloned());
        (part.collect(), (end < self.places.capacity()).then_some(end))
    }

    /// How many rooms somebody watches.
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }
}

/// Whether it was untouched and is not in use right now; then nobody who has it may touch it any more.
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

    fn name(number: usize) -> RoomName {
        RoomName::parse(&format!("room-{number}")).unwrap()
    }

    impl Rooms {
        fn add(&mut self, name: &RoomName, now: Instant) -> (SharedLog, Option<Evicted>) {
            let log = self.new_log(name, now);
            let evicted = self.put(name, log, now);
            (self.peek(name).unwrap(), evicted)
        }

        fn all(&self) -> Vec<(RoomName, Class)> {
            let mut all: Vec<_> = self.parts(usize::MAX).concat();
            all.sort();
            all
        }

        fn parts(&self, places: usize) -> Vec<Vec<(RoomName, Class)>> {
            let mut next = Some(0);
            let parts = std::iter::from_fn(|| {
                let (part, rest) = self.part(next?, places);
                next = rest;
                Some(part.into_iter().map(|placed| (placed.name, placed.class)).collect())
            });
            parts.collect()
        }
    }

    #[test]
    fn watched_rooms_neither_give_way_nor_keep_new_ones_out() {
        let mut rooms = Rooms::new(4, YOUNG_FOR);
        let now = Instant::now();
        for number in 0..1000 {
            rooms.watch(&name(number), now);
        }
        for number in 1000..1100 {
            let _ = rooms.add(&name(number), now);
        }
        assert_eq!((rooms.len(), rooms.watches()), (1004, 1000));
        assert!((0..1000).all(|number| rooms.get(&name(number), now).is_some()));
    }

    #[test]
    fn rooms_with_a_history_outlive_any_number_of_new_ones() {
        let mut rooms = Rooms::new(100, YOUNG_FOR);
        let start = Instant::now();
        for number in 0..70 {
            let _ = rooms.add(&name(number), start);
        }
        let later = start + YOUNG_FOR;
        assert!((0..70).all(|number| rooms.get(&name(number), later).is_some()));
        for number in 1000..11_000 {
            let _ = rooms.add(&name(number), later);
        }
        assert_eq!(rooms.len(), 100);
        assert!((0..70).all(|number| rooms.get(&name(number), later).is_some()));
        assert!(
            (10_970..11_000).all(|number| rooms.get(&name(number), later).is_some()),
            "the newest of the others"
        );
    }

    #[test]
    fn old_rooms_leave_a_quarter_to_young_ones_and_go_in_the_order_of_their_last_use() {
        let mut rooms = Rooms::new(8, YOUNG_FOR);
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        for number in 0..8 {
            let _ = rooms.add(&name(number), start);
        }
        for number in [1, 0, 2, 3, 4, 5, 6, 7] {
            assert!(rooms.get(&name(number), later).is_some());
        }
        for number in 100..110 {
            let _ = rooms.add(&name(number), later);
        }
        let left: Vec<_> = (0..200)
            .filter(|number| rooms.get(&name(*number), later).is_some())
            .collect();
        assert_eq!(left, [2, 3, 4, 5, 6, 7, 108, 109]);
    }

    #[test]
    fn who_only_reads_a_room_neither_keeps_it_nor_makes_it_old() {
        let mut rooms = Rooms::new(4, YOUNG_FOR);
        let start = Instant::now();
        for number in 0..4 {
            let _ = rooms.add(&name(number), start);
        }
        let later = start + YOUNG_FOR;
        assert!((0..4).all(|number| rooms.peek(&name(number)).is_some()));
        assert!(rooms.get(&name(3), later).is_some());
        for number in 4..8 {
            assert!(rooms.peek(&name(0)).is_some() || number > 4);
            let _ = rooms.add(&name(number), later);
        }
        let left: Vec<_> = (0..8).filter(|number| rooms.has(&name(*number))).collect();
        assert_eq!(left, [3, 5, 6, 7], "0 was read last and goes first, 3 was published to");
    }

    #[test]
    fn each_room_is_in_one_part_with_its_class_and_a_part_has_no_more_than_is_asked_for() {
        let mut rooms = Rooms::new(100, YOUNG_FOR);
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        for number in 0..60 {
            let _ = rooms.add(&name(number), start);
        }
        for number in 0..10 {
            assert!(rooms.get(&name(number), later).is_some());
        }
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
        let parts = rooms.parts(7);
        assert!(parts.iter().all(|part| part.len() <= 7));
        let mut together = parts.concat();
        together.sort();
        assert_eq!(together, expected);
        for number in 1000..2000 {
            let _ = rooms.add(&name(number), later);
        }
        assert_eq!(rooms.places.len(), rooms.len(), "those that went left nothing");
    }

    #[test]
    fn the_newest_room_is_never_the_one_that_goes() {
        let mut rooms = Rooms::new(1, YOUNG_FOR);
        let start = Instant::now();
        let later = start + YOUNG_FOR;
        let _ = rooms.add(&name(0), start);
        assert!(rooms.get(&name(0), later).is_some());
        let _ = rooms.add(&name(1), later);
        assert!(rooms.get(&name(0), later).is_none() && rooms.get(&name(1), later).is_some());
    }

    #[test]
    fn a_room_that_goes_gets_a_new_epoch_and_hardly_another_room_does() {
        let mut rooms = Rooms::new(1, YOUNG_FOR);
        let now = Instant::now();
        let epochs = |rooms: &Rooms| (0..100).map(|number| rooms.unborn(&name(number))).collect::<Vec<_>>();
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
        assert_eq!(epochs(&rooms)[1..], after[1..], "in the second nothing was said");
    }

    #[test]
    fn a_watched_room_without_messages_leaves_nothing_behind() {
        let mut rooms = Rooms::new(4, YOUNG_FOR);
        let now = Instant::now();
        let epoch = rooms.unborn(&name(0));
        rooms.watch(&name(0), now);
        rooms.watch(&name(0), now);
        assert!(rooms.unwatch(&name(0), now).is_none());
        assert!(rooms.unwatch(&name(0), now).is_some());
        assert_eq!((rooms.len(), rooms.watches()), (0, 0));
        assert_eq!(rooms.unborn(&name(0)), epoch);
    }

    #[test]
    fn nobody_adds_to_a_log_that_was_taken_out() {
        let mut rooms = Rooms::new(4, YOUNG_FOR);
        let now = Instant::now();
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
