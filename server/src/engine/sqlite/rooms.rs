//! What callers and the writer share of each room: where its log ends, its watchers, and what they have not got yet.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use slab::Slab;
use talkback_protocol::{Cursor, Epoch, Offset, RoomName, message::Message};
use tokio::runtime::Handle;

use super::super::{Page, Watcher, hash};

/// Messages that are passed to the watchers of a room in one go, before other tasks run.
const DELIVERED_AT_ONCE: usize = 256;

/// The rooms that are in the file or have watchers.
pub(super) struct Rooms {
    map: Mutex<Map>,
    delivery_bytes: usize,
}

struct Map {
    rooms: HashMap<RoomName, Arc<Room>>,
    watches: usize,
    /// The epochs of rooms without a log, by a hash of the name.
    epochs: Vec<Epoch>,
}

pub(super) struct Room {
    state: Mutex<RoomState>,
}

struct RoomState {
    end: LogEnd,
    /// Whether the room is in the file.
    is_stored: bool,
    watchers: Slab<Arc<dyn Watcher>>,
    /// What the watchers have not got.
    queue: VecDeque<Event>,
    queue_bytes: usize,
    is_delivering: bool,
}

/// What watchers get.
enum Event {
    /// A committed message, with its bytes.
    Message(Arc<Message>, usize),
    /// The room was removed, or its messages were deleted, and it continues in this epoch.
    Restarted(Epoch),
}

/// The committed bounds of a log.
#[derive(Clone, Debug)]
pub(super) struct LogEnd {
    pub(super) epoch: Epoch,
    pub(super) fork: Option<Cursor>,
    pub(super) head: Offset,
    pub(super) floor: Offset,
}

impl LogEnd {
    /// That of a log without messages.
    pub(super) fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            fork: None,
            head: Offset::ZERO,
            floor: Offset::ZERO,
        }
    }

    pub(super) fn page(self, messages: Vec<Arc<Message>>) -> Page {
        Page {
            epoch: self.epoch,
            forks: self.fork.into_iter().collect(),
            head: self.head,
            floor: self.floor,
            messages,
        }
    }
}

impl Rooms {
    pub(super) fn new(epochs: Vec<Epoch>, delivery_bytes: usize) -> Self {
        Self {
            map: Mutex::new(Map {
                rooms: HashMap::new(),
                watches: 0,
                epochs,
            }),
            delivery_bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.lock().rooms.len()
    }

    pub(super) fn has(&self, name: &RoomName) -> bool {
        self.map.lock().rooms.contains_key(name)
    }

    pub(super) fn get(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.map.lock().rooms.get(name).map(Arc::clone)
    }

    pub(super) fn is_watched(&self, name: &RoomName) -> bool {
        self.get(name)
            .is_some_and(|room| !room.state.lock().watchers.is_empty())
    }

    /// The slot of the epoch that this room begins with.
    pub(super) fn slot(&self, name: &RoomName) -> usize {
        let slots = self.map.lock().epochs.len().max(1) as u64;
        usize::try_from(hash(name) % slots).unwrap_or(0)
    }

    /// The epoch that a room without a log begins with.
    pub(super) fn initial_epoch(&self, name: &RoomName) -> Epoch {
        let slot = self.slot(name);
        self.map.lock().epochs[slot].clone()
    }

    /// Where the log of this room ends.
    pub(super) fn end(&self, name: &RoomName) -> LogEnd {
        match self.get(name) {
            Some(room) => room.state.lock().end.clone(),
            None => self.empty(name),
        }
    }

    fn empty(&self, name: &RoomName) -> LogEnd {
        LogEnd::empty(self.initial_epoch(name))
    }

    /// Notes that a room was committed.
    pub(super) fn stored(&self, name: &RoomName, end: LogEnd) -> Arc<Room> {
        let mut map = self.map.lock();
        let room = map.rooms.entry(name.clone()).or_insert_with(|| Room::new(end.clone()));
        let mut state = room.state.lock();
        state.end = end;
        state.is_stored = true;
        drop(state);
        Arc::clone(room)
    }

    /// Like [`stored`](Self::stored), for a room that continues in another epoch: its watchers are told.
    pub(super) fn restarted(&self, name: &RoomName, end: LogEnd, runtime: &Handle) -> Arc<Room> {
        let mut map = self.map.lock();
        let room = map.rooms.entry(name.clone()).or_insert_with(|| Room::new(end.clone()));
        let mut state = room.state.lock();
        let epoch = end.epoch.clone();
        state.end = end;
        state.is_stored = true;
        // One that comes later begins in this epoch.
        if !state.watchers.is_empty() {
            state.leave_out_messages();
            state.queue.push_back(Event::Restarted(epoch));
            room.start_delivery(&mut state, runtime);
        }
        drop(state);
        Arc::clone(room)
    }

    /// Notes that a room is not in the file any more. Rooms with its slot begin with this epoch from now on.
    pub(super) fn removed(&self, name: &RoomName, slot: usize, epoch: Epoch, runtime: &Handle) {
        let mut map = self.map.lock();
        map.epochs[slot] = epoch.clone();
        let Some(room) = map.rooms.get(name).map(Arc::clone) else {
            return;
        };
        let mut state = room.state.lock();
        if state.watchers.is_empty() {
            drop(state);
            map.rooms.remove(name);
            return;
        }
        // It got a watcher while it was removed.
        state.is_stored = false;
        state.end = LogEnd::empty(epoch.clone());
        state.queue.push_back(Event::Restarted(epoch));
        room.start_delivery(&mut state, runtime);
    }

    /// Adds a watcher, unless there are too many. Returns its room, its key and the log's epoch.
    pub(super) fn watch(
        &self,
        name: &RoomName,
        watcher: Arc<dyn Watcher>,
        most: usize,
    ) -> Option<(Arc<Room>, usize, Epoch)> {
        let empty = self.empty(name);
        let mut map = self.map.lock();
        if map.watches >= most {
            return None;
        }
        map.watches += 1;
        let room = map.rooms.entry(name.clone()).or_insert_with(|| Room::new(empty));
        let mut state = room.state.lock();
        let key = state.watchers.insert(watcher);
        let epoch = state.end.epoch.clone();
        drop(state);
        Some((Arc::clone(room), key, epoch))
    }

    /// Removes a watcher, and a room that only was watched.
    pub(super) fn unwatch(&self, name: &RoomName, room: &Arc<Room>, key: usize) {
        let mut map = self.map.lock();
        map.watches -= 1;
        let mut state = room.state.lock();
        let watcher = state.watchers.try_remove(key);
        let is_unused = state.watchers.is_empty() && !state.is_stored;
        drop(state);
        if is_unused && map.rooms.get(name).is_some_and(|current| Arc::ptr_eq(current, room)) {
            map.rooms.remove(name);
        }
        drop(map);
        // Outside of the locks: it may be the last handle to something whose drop takes other locks.
        drop(watcher);
    }

    /// Whether all watchers of a room have capacity for a further message.
    pub(super) fn has_capacity(&self, room: &Room, pending: usize) -> bool {
        let state = room.state.lock();
        if state.watchers.is_empty() {
            return true;
        }
        if state.queue_bytes + pending >= self.delivery_bytes {
            return false;
        }
        let watchers: Vec<_> = state.watchers.iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
        drop(state);
        watchers.iter().all(|watcher| watcher.has_capacity())
    }
}

impl RoomState {
    /// Drops the messages that the watchers have not got.
    fn leave_out_messages(&mut self) {
        let mut dropped = 0;
        self.queue.retain(|event| match event {
            Event::Message(_, bytes) => {
                dropped += bytes;
                false
            }
            Event::Restarted(_) => true,
        });
        self.queue_bytes -= dropped;
    }
}

impl Room {
    fn new(end: LogEnd) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(RoomState {
                end,
                is_stored: false,
                watchers: Slab::new(),
                queue: VecDeque::new(),
                queue_bytes: 0,
                is_delivering: false,
            }),
        })
    }

    /// Passes committed messages to the watchers, in a task of the runtime. Returns them if there is no watcher.
    pub(super) fn deliver(
        self: &Arc<Self>,
        messages: Vec<(Arc<Message>, usize)>,
        runtime: &Handle,
    ) -> Option<Vec<(Arc<Message>, usize)>> {
        let mut state = self.state.lock();
        if state.watchers.is_empty() && !state.is_delivering {
            return Some(messages);
        }
        for (message, bytes) in messages {
            state.queue_bytes += bytes;
            state.queue.push_back(Event::Message(message, bytes));
        }
        self.start_delivery(&mut state, runtime);
        None
    }

    fn start_delivery(self: &Arc<Self>, state: &mut RoomState, runtime: &Handle) {
        if !std::mem::replace(&mut state.is_delivering, true) {
            let room = Arc::clone(self);
            runtime.spawn(async move {
                while room.deliver_some() {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// Passes the next messages to the watchers. There is one such task for each room at a time, so they come in order.
    /// Returns whether there may be more.
    fn deliver_some(&self) -> bool {
        let (events, watchers): (Vec<_>, Vec<_>) = {
            let mut state = self.state.lock();
            let count = state.queue.len().min(DELIVERED_AT_ONCE);
            if count == 0 {
                state.is_delivering = false;
                state.queue.shrink_to(0);
                return false;
            }
            let events = state.queue.drain(..count).collect();
            let watchers = state.watchers.iter().map(|(_, watcher)| Arc::clone(watcher));
            (events, watchers.collect())
        };
        let mut bytes = 0;
        for event in &events {
            for watcher in &watchers {
                match event {
                    Event::Message(message, _) => watcher.appended(message),
                    Event::Restarted(epoch) => watcher.restarted(epoch),
                }
            }
            if let Event::Message(_, of_message) = event {
                bytes += of_message;
            }
        }
        self.state.lock().queue_bytes -= bytes;
        true
    }
}
