//! Which users other servers have in the rooms that are watched here.
//!
//! Each server publishes the users that it has in a room when they change, and again in each `check_interval`; it keeps
//! them in a hash of the room for servers that come later. All servers hear each other: one that is silent for
//! `server_timeout` is dead, and its users are gone.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use talkback_protocol::{RoomName, UserName};
use tokio::{sync::Notify, time::Instant};

use super::wire::part;

#[derive(Default)]
pub(super) struct Present {
    state: Mutex<PresentState>,
    changed: Notify,
}

#[derive(Default)]
struct PresentState {
    /// The users that this server has, in rooms that have any.
    here: HashMap<RoomName, Arc<[UserName]>>,
    /// The rooms whose users are to be published, by their part.
    changed: BTreeMap<usize, HashSet<RoomName>>,
    servers: HashMap<u64, Server>,
}

struct Server {
    heard: Instant,
    /// The watched rooms in which it has users.
    rooms: HashSet<RoomName>,
}

/// Rooms whose users are being published. Dropping it puts off those that were not.
pub(super) struct Telling<'a> {
    present: &'a Present,
    rooms: Vec<(RoomName, Arc<[UserName]>)>,
}

impl Telling<'_> {
    /// The rooms with their users.
    pub(super) fn rooms(&self) -> &[(RoomName, Arc<[UserName]>)] {
        &self.rooms
    }

    /// Forgets them, because all were published.
    pub(super) fn finish(mut self) {
        self.rooms.clear();
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut state = self.present.state.lock();
        for (room, _) in self.rooms.drain(..) {
            state.has_changed(room);
        }
    }
}

impl Present {
    /// Notes the users that this server has in a room, to be published.
    pub(super) fn set(&self, room: &RoomName, users: Arc<[UserName]>) {
        let mut state = self.state.lock();
        if users.is_empty() {
            state.here.remove(room);
        } else {
            state.here.insert(room.clone(), users);
        }
        state.has_changed(room.clone());
        drop(state);
        self.changed.notify_waiters();
    }

    /// All rooms of these parts are published again.
    pub(super) fn publish_all(&self, has: impl Fn(usize) -> bool) {
        let mut state = self.state.lock();
        let rooms: Vec<_> = state.here.keys().filter(|room| has(part(room))).cloned().collect();
        for room in rooms {
            state.has_changed(room);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Other parts are published where [`next`](Self::next) is waited for.
    pub(super) fn routes_changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits for rooms of these parts whose users are to be published, and returns at most so many of them with their users.
    pub(super) async fn next(&self, most: usize, has: impl Fn(usize) -> bool) -> Telling<'_> {
        loop {
            // What changes from here on is told to it.
            let changed = self.changed.notified();
            let rooms = self.state.lock().take_changed(most, &has);
            if !rooms.is_empty() {
                return Telling { present: self, rooms };
            }
            changed.await;
        }
    }

    /// A server was heard.
    pub(super) fn heard(&self, server: u64) {
        let mut state = self.state.lock();
        state.server(server).heard = Instant::now();
    }

    /// No server was heard while there was no connection.
    pub(super) fn is_connected(&self) {
        let now = Instant::now();
        for server in self.state.lock().servers.values_mut() {
            server.heard = now;
        }
    }

    /// A server has these users in a watched room.
    pub(super) fn has_users(&self, server: u64, room: &RoomName, has_any: bool) {
        let mut state = self.state.lock();
        if has_any {
            state.server(server).rooms.insert(room.clone());
        } else if let Some(server) = state.servers.get_mut(&server) {
            server.rooms.remove(room);
        }
    }

    /// A room is not watched any more.
    pub(super) fn forget(&self, room: &RoomName) {
        for server in self.state.lock().servers.values_mut() {
            server.rooms.remove(room);
        }
    }

    /// Removes the servers that were not heard for so long, and returns them with their rooms.
    pub(super) fn take_dead(&self, timeout: Duration) -> Vec<(u64, HashSet<RoomName>)> {
        let now = Instant::now();
        let is_dead = |_: &u64, server: &mut Server| now.saturating_duration_since(server.heard) > timeout;
        let mut state = self.state.lock();
        state
            .servers
            .extract_if(is_dead)
            .map(|(server, Server { rooms, .. })| (server, rooms))
            .collect()
    }
}

impl PresentState {
    fn has_changed(&mut self, room: RoomName) {
        self.changed.entry(part(&room)).or_default().insert(room);
    }

    /// Takes at most so many rooms of these parts whose users are to be published.
    fn take_changed(&mut self, most: usize, has: &impl Fn(usize) -> bool) -> Vec<(RoomName, Arc<[UserName]>)> {
        let parts = self.changed.iter().filter(|(part, _)| has(**part));
        let rooms: Vec<_> = parts.flat_map(|(_, rooms)| rooms).take(most).cloned().collect();
        for room in &rooms {
            if let Entry::Occupied(mut changed) = self.changed.entry(part(room)) {
                changed.get_mut().remove(room);
                if changed.get().is_empty() {
                    changed.remove();
                }
            }
        }
        let users = |room: RoomName| {
            let users = self.here.get(&room).map_or_else(|| Arc::from([]), Arc::clone);
            (room, users)
        };
        rooms.into_iter().map(users).collect()
    }

    /// A server that was not known is taken for alive until it should have been heard.
    fn server(&mut self, server: u64) -> &mut Server {
        self.servers.entry(server).or_insert_with(|| Server {
            heard: Instant::now(),
            rooms: HashSet::new(),
        })
    }
}
