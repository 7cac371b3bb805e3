//! The rooms that are watched here: which of their messages have arrived, and who gets them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use slab::Slab;
use talkback_protocol::{
    Epoch, Offset, RoomName, UserName,
    message::{Message, Signal},
    session::server::Refusal,
};
use tokio::sync::oneshot;

use super::{
    super::{Limit, Page, Range, Watcher},
    Shared,
};

/// The most that is read at once of what a room has missed.
const CATCH_UP: Limit = Limit {
    messages: 256,
    bytes: 256 * 1024,
};
/// How often a room looks whether its watchers have capacity again.
const CAPACITY_INTERVAL: Duration = Duration::from_millis(5);
/// The pause after a read that failed.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(250);

/// The rooms with watchers.
#[derive(Default)]
pub(super) struct Rooms {
    map: Mutex<Map>,
}

#[derive(Default)]
struct Map {
    rooms: HashMap<RoomName, Arc<Room>>,
    watches: usize,
}

pub(super) struct Room {
    pub(super) name: RoomName,
    state: Mutex<RoomState>,
}

struct RoomState {
    phase: Phase,
    watchers: Slab<Arc<dyn Watcher>>,
    /// The newest message that Redis has published, in this connection.
    seen: Option<(Epoch, Offset)>,
    /// A task reads what the watchers have missed, and delivers it.
    is_catching_up: bool,
    /// The users that other servers have, of each server that has any.
    elsewhere: HashMap<u64, Vec<UserName>>,
    /// The reads of these users that are under way.
    user_reads: Vec<Weak<UserRead>>,
}

/// A read of the users that other servers have: the servers that have published theirs meanwhile.
#[derive(Default)]
pub(super) struct UserRead {
    newer: Mutex<HashSet<u64>>,
}

enum Phase {
    /// The watchers wait for the subscription.
    Opening(Vec<oneshot::Sender<Result<Epoch, Refusal>>>),
    /// The watchers have all messages of this epoch up to `head`.
    Open { epoch: Epoch, head: Offset },
}

/// What [`Rooms::watch`] comes to.
pub(super) enum Watching {
    /// There are too many watches.
    Full,
    /// At once.
    Open(Arc<Room>, usize, Epoch),
    /// When the subscription is there.
    Later(Arc<Room>, usize, oneshot::Receiver<Result<Epoch, Refusal>>),
}

impl Rooms {
    pub(super) fn len(&self) -> usize {
        self.map.lock().rooms.len()
    }

    pub(super) fn get(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.map.lock().rooms.get(name).map(Arc::clone)
    }

    pub(super) fn all(&self) -> Vec<Arc<Room>> {
        self.map.lock().rooms.values().map(Arc::clone).collect()
    }

    /// Adds a watcher, and tells it the users that other servers have. `open` is called for a room without a
    /// subscription while the map is locked, so that subscriptions are made and ended in the order of these calls.
    pub(super) fn watch(
        &self,
        name: &RoomName,
        watcher: Arc<dyn Watcher>,
        most: usize,
        open: impl FnOnce(&Arc<Room>),
    ) -> Watching {
        let mut map = self.map.lock();
        if map.watches >= most {
            return Watching::Full;
        }
        map.watches += 1;
        let room = map.rooms.entry(name.clone()).or_insert_with(|| Room::new(name.clone()));
        let room = Arc::clone(room);
        let mut state = room.state.lock();
        let key = state.watchers.insert(watcher);
        let watching = match &mut state.phase {
            Phase::Open { epoch, .. } => Watching::Open(Arc::clone(&room), key, epoch.clone()),
            Phase::Opening(waiting) => {
                let (answer, answered) = oneshot::channel();
                // The first one makes the subscription, also after one that was refused.
                if waiting.is_empty() {
                    open(&room);
                }
                waiting.push(answer);
                Watching::Later(Arc::clone(&room), key, answered)
            }
        };
        // With the lock of the room, so that they are in order with those that are published later.
        drop(map);
        for (server, users) in &state.elsewhere {
            state.watchers[key].present(*server, users);
        }
        watching
    }

    /// Visits all rooms while the map is locked, as [`Rooms::watch`] does.
    pub(super) fn with_all(&self, visit: impl FnOnce(std::collections::hash_map::Values<'_, RoomName, Arc<Room>>)) {
        visit(self.map.lock().rooms.values());
    }

    /// Calls `open` while the map is locked, unless nobody watches this room any more.
    pub(super) fn if_watched(&self, room: &Arc<Room>, open: impl FnOnce()) {
        let map = self.map.lock();
        if map
            .rooms
            .get(&room.name)
            .is_some_and(|current| Arc::ptr_eq(current, room))
        {
            open();
        }
    }

    /// Removes a watcher, and a room that has no others: then `close` is called while the map is locked.
    pub(super) fn unwatch(&self, room: &Arc<Room>, key: usize, close: impl FnOnce()) {
        let mut map = self.map.lock();
        map.watches -= 1;
        let mut state = room.state.lock();
        let watcher = state.watchers.try_remove(key);
        let is_unused = state.watchers.is_empty();
        drop(state);
        if is_unused
            && map
                .rooms
                .get(&room.name)
                .is_some_and(|current| Arc::ptr_eq(current, room))
        {
            map.rooms.remove(&room.name);
            close();
        }
        drop(map);
        // Outside of the locks: it may be the last handle to something whose drop takes other locks.
        drop(watcher);
    }

    /// Whether all watchers of a room have capacity for a further message.
    pub(super) fn have_capacity(&self, name: &RoomName) -> bool {
        self.get(name).is_none_or(|room| room.state.lock().have_capacity())
    }
}

impl RoomState {
    fn have_capacity(&self) -> bool {
        self.watchers.iter().all(|(_, watcher)| watcher.has_capacity())
    }

    fn deliver(&self, message: &Arc<Message>) {
        for (_, watcher) in &self.watchers {
            watcher.appended(message);
        }
    }

    /// Delivers the messages of a page that was read after this offset.
    fn take_missed(&mut self, page: &Page, after: Offset) -> Missed {
        let Phase::Open { epoch, head } = &mut self.phase else {
            return Missed::Some;
        };
        if *epoch != page.epoch || page.floor > *head {
            self.restart(page);
            return Missed::Some;
        }
        let messages = page.messages.iter().filter(|message| message.offset > after);
        let messages: Vec<_> = messages.collect();
        if let Some(last) = messages.last() {
            *head = last.offset;
        }
        let head = *head;
        for message in &messages {
            self.deliver(message);
        }
        let seen = self.seen.as_ref();
        let is_other_epoch = seen.is_some_and(|(epoch, _)| *epoch != page.epoch);
        let is_behind = head < page.head || is_other_epoch || seen.is_some_and(|(_, offset)| *offset > head);
        if !is_behind {
            self.is_catching_up = false;
            return Missed::UpToDate;
        }
        // What was published may have been of an epoch that is over.
        if head >= page.head && is_other_epoch {
            self.seen = None;
            return Missed::Some;
        }
        if messages.is_empty() {
            Missed::Nothing
        } else {
            Missed::Some
        }
    }

    /// The log continues in this epoch, or lost messages that its watchers have not got.
    fn restart(&mut self, page: &Page) {
        let Phase::Open { epoch, head } = &mut self.phase else {
            return;
        };
        if page.epoch != *epoch {
            let fork = page.forks.iter().find(|fork| fork.epoch == *epoch);
            *head = match fork {
                // What the watchers got after it was lost.
                Some(fork) => fork.offset.min(*head),
                // What both logs have is not known: they get what the newest life of this one has, and nothing is
                // passed over.
                None => page.forks.first().map_or(Offset::ZERO, |fork| fork.offset.min(*head)),
            };
        }
        *head = (*head).max(page.floor);
        *epoch = page.epoch.clone();
        for (_, watcher) in &self.watchers {
            watcher.restarted(&page.epoch);
        }
    }
}

/// What a read of what the watchers have missed came to.
enum Missed {
    /// They have all, and the task has ended.
    UpToDate,
    /// Something; there is more to read.
    Some,
    /// Nothing, though there should be something.
    Nothing,
}

impl Room {
    fn new(name: RoomName) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(RoomState {
                phase: Phase::Opening(Vec::new()),
                watchers: Slab::new(),
                seen: None,
                is_catching_up: false,
                elsewhere: HashMap::new(),
                user_reads: Vec::new(),
            }),
        })
    }

    /// Redis has published a message.
    pub(super) fn received(self: &Arc<Self>, shared: &Arc<Shared>, epoch: Epoch, message: Message) {
        let mut state = self.state.lock();
        state.seen = Some((epoch.clone(), message.offset));
        if state.is_catching_up {
            return;
        }
        let is_next = match &state.phase {
            Phase::Opening(_) => return,
            Phase::Open { epoch: current, head } if *current == epoch => {
                if message.offset <= *head {
                    return;
                }
                message.offset == head.next()
            }
            Phase::Open { .. } => false,
        };
        if !is_next || !state.have_capacity() {
            return self.catch_up(&mut state, shared);
        }
        if let Phase::Open { head, .. } = &mut state.phase {
            *head = message.offset;
        }
        state.deliver(&Arc::new(message));
    }

    /// The messages up to `head` were deleted, and the log continues in this epoch.
    pub(super) fn restarted(self: &Arc<Self>, shared: &Arc<Shared>, epoch: Epoch, head: Offset) {
        let mut state = self.state.lock();
        let is_other = matches!(&state.phase, Phase::Open { epoch: current, .. } if *current != epoch);
        state.seen = Some((epoch, head));
        if is_other && !state.is_catching_up {
            self.catch_up(&mut state, shared);
        }
    }

    /// Another server has published its users.
    pub(super) fn present(&self, shared: &Shared, server: u64, users: Vec<UserName>) {
        let mut state = self.state.lock();
        for read in state.user_reads.iter().filter_map(Weak::upgrade) {
            read.newer.lock().insert(server);
        }
        self.set_users(&mut state, shared, server, users);
    }

    /// A read of the users of other servers begins.
    pub(super) fn begin_user_read(&self) -> Arc<UserRead> {
        let read = Arc::default();
        let mut state = self.state.lock();
        state.user_reads.retain(|read| read.strong_count() > 0);
        state.user_reads.push(Arc::downgrade(&read));
        read
    }

    /// The users of all other servers were read. What a server has published meanwhile is newer.
    pub(super) fn end_user_read(&self, shared: &Shared, read: &UserRead, users: HashMap<u64, Vec<UserName>>) {
        let mut state = self.state.lock();
        let newer = read.newer.lock();
        let gone = state.elsewhere.keys().filter(|server| !users.contains_key(server));
        let gone: Vec<_> = gone.map(|server| (*server, Vec::new())).collect();
        for (server, users) in gone.into_iter().chain(users) {
            if !newer.contains(&server) {
                self.set_users(&mut state, shared, server, users);
            }
        }
    }

    fn set_users(&self, state: &mut RoomState, shared: &Shared, server: u64, users: Vec<UserName>) {
        shared.present.has_users(server, &self.name, !users.is_empty());
        for (_, watcher) in &state.watchers {
            watcher.present(server, &users);
        }
        if users.is_empty() {
            state.elsewhere.remove(&server);
        } else {
            state.elsewhere.insert(server, users);
        }
    }

    /// A member at another server sent a signal.
    pub(super) fn signalled(&self, signal: &Signal) {
        for (_, watcher) in &self.state.lock().watchers {
            watcher.signalled(signal);
        }
    }

    /// The log was looked at. Opens the room if its subscription was there before that, or reads what it has missed.
    pub(super) fn synchronised(self: &Arc<Self>, shared: &Arc<Shared>, page: &Page, is_subscribed: bool) {
        let mut state = self.state.lock();
        if is_subscribed && let Phase::Opening(waiting) = &mut state.phase {
            for waiting in std::mem::take(waiting) {
                // One that is not awaited any more has dropped its watch.
                let _ = waiting.send(Ok(page.epoch.clone()));
            }
            state.phase = Phase::Open {
                epoch: page.epoch.clone(),
                head: page.head,
            };
        }
        let Phase::Open { epoch, head } = &state.phase else {
            return;
        };
        let newest = state
            .seen
            .as_ref()
            .filter(|(of, _)| *of == page.epoch)
            .map(|(_, offset)| *offset);
        let newest = newest.map_or(page.head, |newest| newest.max(page.head));
        // What was published may be of the epoch that began after the look.
        let is_other = state.seen.as_ref().is_some_and(|(of, _)| *of != page.epoch);
        if (*epoch != page.epoch || newest > *head || is_other) && !state.is_catching_up {
            self.catch_up(&mut state, shared);
        }
    }

    /// The subscription cannot be made: those that wait for it get this refusal.
    pub(super) fn refused(&self, refusal: &Refusal) {
        if let Phase::Opening(waiting) = &mut self.state.lock().phase {
            for waiting in std::mem::take(waiting) {
                let _ = waiting.send(Err(refusal.clone()));
            }
        }
    }

    /// A page of another epoch than that of the watchers was read: they are told.
    pub(super) fn has_read(self: &Arc<Self>, shared: &Arc<Shared>, page: &Page) {
        let mut state = self.state.lock();
        let is_other = matches!(&state.phase, Phase::Open { epoch, .. } if *epoch != page.epoch);
        if is_other && !state.is_catching_up {
            self.catch_up(&mut state, shared);
        }
    }

    fn catch_up(self: &Arc<Self>, state: &mut RoomState, shared: &Arc<Shared>) {
        state.is_catching_up = true;
        let (room, task) = (Arc::clone(self), Arc::clone(shared));
        shared.runtime.spawn(async move { room.read_missed(&task).await });
    }

    /// Reads from the log what the watchers have missed, as fast as they take it. A room has one such task at a time.
    async fn read_missed(self: Arc<Self>, shared: &Arc<Shared>) {
        loop {
            let after = {
                let mut state = self.state.lock();
                match &state.phase {
                    Phase::Open { head, .. } if !state.watchers.is_empty() => state.have_capacity().then_some(*head),
                    _ => {
                        state.is_catching_up = false;
                        return;
                    }
                }
            };
            let Some(after) = after else {
                tokio::time::sleep(CAPACITY_INTERVAL).await;
                continue;
            };
            let page = match shared.read_now(&self.name, Range::After(after), CATCH_UP, true).await {
                Ok(page) => page,
                Err(_) if shared.nodes.of(&self.name).is_some_and(|node| node.link().is_some()) => {
                    tokio::time::sleep(READ_PAUSE).await;
                    continue;
                }
                Err(_) => {
                    // All its rooms are looked at when the node is back.
                    self.state.lock().is_catching_up = false;
                    return;
                }
            };
            let missed = self.state.lock().take_missed(&page, after);
            match missed {
                Missed::UpToDate => return,
                Missed::Some => {}
                Missed::Nothing => tokio::time::sleep(READ_PAUSE).await,
            }
        }
    }
}
