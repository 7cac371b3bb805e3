//! Rooms on this server: who is in which, and how one message reaches all of them.
//!
//! A published message is framed once, into the room's pending block. Shortly after, one pass writes the whole block to every member:
//! the frames of a server are not masked, so all members share the same bytes, and however many messages came in between, a member
//! costs one write. A member that cannot take the block at once keeps a reference to it in its own bounded queue, and is closed with
//! 4413 when that queue is full. Nobody ever waits for a slow member.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use talkback_protocol::RoomName;

use crate::socket::{Delivery, FrameKind, Message, Sender, put_header};

/// A block of pending messages that is larger than this is not held back any longer.
const DELIVER_AT: usize = 64 * 1024;

/// How many rooms and members there may be.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Members of one room.
    pub members_per_room: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            members_per_room: 10_000,
        }
    }
}

/// Why a room could not be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The server has as many rooms as it may have.
    #[error("the server has no place for another room")]
    TooManyRooms,
    /// The room has as many members as it may have.
    #[error("the room is full")]
    RoomFull,
}

/// The rooms of one application. Clones mean the same rooms.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    limits: HubLimits,
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    next_member: AtomicU64,
}

impl Hub {
    /// No rooms yet.
    #[must_use]
    pub fn new(limits: HubLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            rooms: Mutex::default(),
            next_member: AtomicU64::new(0),
        }))
    }

    /// How many rooms have members.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.0.rooms.lock().len()
    }

    /// Makes a socket a member of a room, which begins to exist with its first member and ends with its last. The member gets
    /// everything that is published from now on.
    ///
    /// # Errors
    /// [`JoinError`] when a limit is reached.
    pub fn join(&self, room: &RoomName, socket: Sender) -> Result<Membership, JoinError> {
        let mut rooms = self.0.rooms.lock();
        let room = match rooms.get(room) {
            Some(room) => Arc::clone(room),
            None if rooms.len() >= self.0.limits.rooms => return Err(JoinError::TooManyRooms),
            None => {
                let new = Arc::new(Room {
                    name: room.clone(),
                    pending: Mutex::default(),
                    members: Mutex::default(),
                });
                rooms.insert(room.clone(), Arc::clone(&new));
                new
            }
        };
        let mut members = room.members.lock();
        if members.len() >= self.0.limits.members_per_room {
            return Err(JoinError::RoomFull);
        }
        // What was published before this member came is not for it.
        room.deliver_to(&members);
        let id = self.0.next_member.fetch_add(1, Ordering::Relaxed);
        members.insert(id, socket);
        drop(members);
        Ok(Membership {
            hub: self.clone(),
            room,
            id,
        })
    }

    /// Sends a message to all members of a room. Nothing happens if nobody is there.
    pub fn publish(&self, room: &RoomName, message: &Message) {
        let room = self.0.rooms.lock().get(room).cloned();
        if let Some(room) = room {
            room.publish(FrameKind::of(message), &[message.payload()]);
        }
    }
}

/// A place in a room; dropping it leaves the room.
#[must_use = "dropping a membership leaves the room at once"]
pub struct Membership {
    hub: Hub,
    room: Arc<Room>,
    id: u64,
}

impl Membership {
    /// Sends a message to all members of the room, this one included. All members get all messages of a room in the same order.
    pub fn publish(&self, message: &Message) {
        self.room.publish(FrameKind::of(message), &[message.payload()]);
    }

    /// Like [`publish`](Self::publish), with a text that is put together from parts.
    pub fn publish_text(&self, parts: &[&str]) {
        self.room.publish(FrameKind::Text, parts);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut rooms = self.hub.0.rooms.lock();
        let mut members = self.room.members.lock();
        members.remove(&self.id);
        if members.is_empty() {
            rooms.remove(&self.room.name);
        }
    }
}

struct Room {
    name: RoomName,
    pending: Mutex<Pending>,
    /// Locked during a delivery, so that all members get all blocks in one order. Locked before `pending`, after the hub's rooms.
    members: Mutex<HashMap<u64, Sender>>,
}

/// Published messages that are not delivered yet.
#[derive(Default)]
struct Pending {
    frames: Vec<u8>,
    messages: usize,
    scheduled: bool,
}

impl Room {
    fn publish(self: &Arc<Self>, kind: FrameKind, parts: &[impl AsRef<[u8]>]) {
        let mut pending = self.pending.lock();
        put_header(
            &mut pending.frames,
            kind,
            parts.iter().map(|part| part.as_ref().len()).sum(),
        );
        for part in parts {
            pending.frames.extend_from_slice(part.as_ref());
        }
        pending.messages += 1;
        let large = pending.frames.len() >= DELIVER_AT;
        let schedule = !large && !std::mem::replace(&mut pending.scheduled, true);
        drop(pending);
        if large {
            self.deliver_to(&self.members.lock());
        } else if schedule {
            // Runs after the tasks that are ready now, so it takes along what they publish.
            let room = Arc::clone(self);
            tokio::spawn(async move { room.deliver_to(&room.members.lock()) });
        }
    }

    fn deliver_to(&self, members: &HashMap<u64, Sender>) {
        let Pending { frames, messages, .. } = std::mem::take(&mut *self.pending.lock());
        if messages == 0 {
            return;
        }
        let frames = Bytes::from(frames);
        for member in members.values() {
            let socket = member.shared();
            if socket.deliver(&frames, messages) == Delivery::TooSlow {
                socket.sockets().metrics().closed_too_slow.add_one();
            }
        }
    }
}
