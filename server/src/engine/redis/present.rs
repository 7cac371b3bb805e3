//! Which users other servers have in the rooms that are watched here.
//!
//! Each server publishes the users that it has in a room when they change, and again in each `check_interval`; it keeps
//! them in a hash of the room for servers that come later. All servers hear each other: one that is silent for
//! `server_timeout` is dead, and its users are gone.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use talkback_protocol::{RoomName, UserName};
use tokio::{sync::Notify, time::Instant};

#[derive(Default)]
pub(super) struct Present {
    state: Mutex<PresentState>,
    changed: Notify,
}

#[derive(Default)]
struct PresentState {
    /// The users that this server has, in rooms that have any.
    here: HashMap<RoomName, Arc<[UserName]>>,
    /// The rooms whose users are to be published.
    changed: HashSet<RoomName>,
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
        let rooms = self.rooms.drain(..).map(|(room, _)| room);
        self.present.state.lock().changed.extend(rooms);
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
        state.changed.insert(room.clone());
        drop(state);
        self.changed.notify_one();
    }

    /// All rooms are published again.
    pub(super) fn publish_all(&self) {
        let mut state = self.state.lock();
        let PresentState { here, changed, .. } = &mut *state;
        changed.extend(here.keys().cloned());
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for rooms whose users are to be published, and returns at most so many of them with their users.
    pub(super) async fn next(&self, most: usize) -> Telling<'_> {
        loop {
            {
                let mut state = self.state.lock();
                let rooms: Vec<_> = state.changed.iter().take(most).cloned().collect();
                if !rooms.is_empty() {
                    let users = |room: RoomName| {
                        state.changed.remove(&room);
                        let users = state.here.get(&room).map_or_else(|| Arc::from([]), Arc::clone);
                        (room, users)
                    };
                    return Telling {
                        present: self,
                        rooms: rooms.into_iter().map(users).collect(),
                    };
                }
            }
            self.changed.notified().await;
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
    /// A server that was not known is taken for alive until it should have been heard.
    fn server(&mut self, server: u64) -> &mut Server {
        self.servers.entry(server).or_insert_with(|| Server {
            heard: Instant::now(),
            rooms: HashSet::new(),
        })
    }
}
