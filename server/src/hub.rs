//! The rooms that have members on this server, and the delivery of each message to all members of its room.
//!
//! A message is added to the room's log first; the log passes it to the room, in the order of the offsets. The room
//! encodes it once for each kind of its members: as a frame `[name] text` for plain members, as a line for session
//! members. Shortly after, a pass delivers what is pending to one member after the other, each as one write: plain
//! members get several frames, session members one text frame of several lines. The frames of a server are not masked,
//! so all members of a kind share the same bytes. For a member that cannot take them at once, a reference waits in its
//! own bounded queue; a member with a full queue is closed with 4413 and can catch up from the log. No member waits for
//! a slow one.
//!
//! A pass is made in slices, between which other tasks run. Messages that are added meanwhile are pending. Senders are
//! read later where deliveries are late, and while [`HubOptions::pending_bytes`] are pending, the log refuses further
//! messages, to be retried.
//!
//! A timer of the room announces who joined and left: a join costs the same in a room of ten users and of five
//! thousand, except for its share of one list that all new members get.
//!
//! When the log of a room begins anew, its session members are closed, at most so many in one slice. They reconnect and
//! join again with their cursors, so that the log decides which of them it recovers. Plain members have no cursor and
//! get the messages of the new epoch.
//!
//! Locks are taken in this order: a room's log (an engine may hold its lock while it calls a watcher), the room's members,
//! its pending messages, a socket. The engine is called without a lock. While the map of rooms is locked, nothing else is waited for.

mod allowances;
mod block;
mod catch_up;
mod delivery_budget;
mod directory;
mod new_room;
mod options;
mod pass;
mod pending;
mod presence;
mod room;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use talkback_protocol::{
    Body, ClientKey, RoomName, SenderId, UserName, close,
    codec::MemberList,
    message::{Author, code},
    session::server::{Allowance, Refusal},
};
use tokio::time::Instant;

use crate::{
    engine::{Answer, Append, AppendOutcome, DeletedRoom, Engine, MessageId},
    metrics::Metrics,
    socket::Sender,
};
pub(crate) use allowances::Allowances;
pub(crate) use catch_up::{CatchUp, CatchUpError, SessionMember, Start};
pub(crate) use new_room::NewRoomCharge;
pub use options::HubOptions;
use room::{NotAdded, Room};

/// When to retry a join that was refused for lack of capacity.
const JOIN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a room could not be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The server has its maximum of rooms with members.
    #[error("the server has no place for another room")]
    TooManyRooms,
    /// The room has its maximum of members.
    #[error("the room is full")]
    RoomFull,
    /// The log cannot be watched.
    #[error("{}", .0.message)]
    Log(Refusal),
}

impl JoinError {
    /// The error as the protocol carries it.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let code = match self {
            Self::TooManyRooms => code::BUSY,
            Self::RoomFull => code::ROOM_FULL,
            Self::Log(refusal) => return refusal,
        };
        Refusal {
            code: code.into(),
            message: self.to_string().into(),
            retry_after: Some(JOIN_RETRY_AFTER),
        }
    }
}

/// The rooms of one application. Clones are handles to the same rooms.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    options: HubOptions,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    /// The sender of the server's own messages.
    sender: SenderId,
    /// Rooms that have members, or whose first member is being added or last one removed.
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    /// What sessions have left of their rates, with the time when their connection ended.
    allowances: Allowances<ClientKey, (Allowance, Instant)>,
}

impl Hub {
    /// A hub without rooms, whose messages are kept by `engine`.
    #[must_use]
    pub fn new(options: HubOptions, engine: Arc<dyn Engine>) -> Self {
        Self::with_metrics(options, engine, Arc::default())
    }

    /// Like [`new`](Self::new), counting in the metrics of [`Sockets::metrics`](crate::socket::Sockets::metrics).
    #[must_use]
    pub fn with_metrics(options: HubOptions, engine: Arc<dyn Engine>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            options,
            engine,
            metrics,
            sender: new_sender(),
            rooms: Mutex::default(),
            allowances: Allowances::new(options.allowances, |(one, ended), (other, then)| {
                (one.less(other), *ended.max(then))
            }),
        }))
    }

    /// Gives a message to the log, and counts it.
    pub(crate) fn append(&self, append: Append) -> Answer<AppendOutcome> {
        let metrics = &self.0.metrics;
        metrics.messages_received.add_one();
        let since = Instant::now();
        match self.0.engine.append(append).at_once() {
            Ok(outcome) => {
                metrics.appended(&outcome, since.elapsed());
                Answer::now(outcome)
            }
            Err(later) => {
                let metrics = Arc::clone(metrics);
                let counted = later.inspect(move |outcome| metrics.appended(outcome, since.elapsed()));
                Answer::later(counted.boxed())
            }
        }
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// The engine that keeps the logs.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// The sender id of messages that [`publish`](Self::publish) adds. It changes with a restart.
    #[must_use]
    pub fn sender(&self) -> &SenderId {
        &self.0.sender
    }

    /// Keeps what a session has left of its rates for its client's next connection.
    pub(crate) fn keep_allowance(&self, client: ClientKey, allowance: Allowance, now: Instant) {
        let expires = now + self.0.options.allowance_age;
        self.0.allowances.keep(client, (allowance, now), expires, now);
    }

    /// Takes what this client had left of its rates when its last connection ended, and how long ago that was.
    pub(crate) fn take_allowance(&self, client: &ClientKey, now: Instant) -> Option<(Allowance, Duration)> {
        let ((allowance, ended), _) = self.0.allowances.take(client, now)?;
        Some((allowance, now.saturating_duration_since(ended)))
    }

    /// Like [`Membership::charge`], for a publisher that need not be a member of the room.
    pub(crate) fn charge(&self, room: &RoomName, bytes: usize, now: Instant) -> Option<Instant> {
        self.find(room)?.charge(bytes, now)
    }

    /// How many rooms have members.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.0.rooms.lock().len()
    }

    /// The number of users in a room, and the list of them that new members get. The list may be a little old, and is
    /// absent if there are too many users. It is made at most once in [`HubOptions::presence_interval`], however often
    /// this is called.
    #[must_use]
    pub fn listed(&self, room: &RoomName) -> (u32, Option<MemberList>) {
        self.find(room)
            .map_or_else(|| (0, Some(MemberList::encode(&[]))), |room| room.listed())
    }

    /// The users in a room, by name. It visits all of them under a lock that joins and leaves wait for, so it is not
    /// for requests of clients.
    #[must_use]
    pub fn users(&self, room: &RoomName) -> Vec<UserName> {
        self.find(room).map(|room| room.users()).unwrap_or_default()
    }

    /// The rooms with members, and how many members each has.
    pub(crate) fn list(&self) -> Vec<(RoomName, usize)> {
        let rooms: Vec<_> = self.0.rooms.lock().values().cloned().collect();
        rooms.iter().map(|room| (room.name().clone(), room.members())).collect()
    }

    /// Closes the members of a room, or those of one user, with 4403. Returns how many.
    pub(crate) async fn close_members(&self, room: &RoomName, user: Option<&UserName>, reason: &str) -> usize {
        let sockets = self.find(room).map(|room| room.sockets(user)).unwrap_or_default();
        let mut closed = 0;
        for slice in sockets.chunks(self.0.options.slice_members.max(1)) {
            for socket in slice {
                closed += usize::from(socket.shared().close(close::FORBIDDEN, reason));
            }
            tokio::task::yield_now().await;
        }
        closed
    }

    /// Closes the members of a room, who reconnect. Returns how many.
    pub(crate) fn reconnect_members(&self, room: &RoomName) -> usize {
        let sockets = self.find(room).map(|room| room.sockets(None)).unwrap_or_default();
        let closed = sockets.iter().filter(|socket| socket.shared().close_to_reconnect());
        closed.count()
    }

    /// Deletes all messages of a room, and counts them: see [`Engine::delete_room`]. Its session members are closed and
    /// join again.
    ///
    /// # Errors
    /// The engine's refusal: it is not known whether they are deleted.
    pub(crate) async fn delete_room(&self, room: &RoomName) -> Result<DeletedRoom, Refusal> {
        let deleted = self.0.engine.delete_room(room).await?;
        let metrics = &self.0.metrics;
        metrics.deleted_rooms.add_one();
        metrics.deleted_messages.add(deleted.messages);
        tracing::info!(messages = deleted.messages, "the messages of a room were deleted");
        Ok(deleted)
    }

    /// Deletes the bodies of a user's messages in a room, or in all, and counts them: see
    /// [`Engine::delete_messages_of`].
    ///
    /// # Errors
    /// The engine's refusal: some may be left.
    pub(crate) async fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Result<u64, Refusal> {
        let messages = self.0.engine.delete_messages_of(user, room).await?;
        self.0.metrics.deleted_messages.add(messages);
        tracing::info!(messages, "the messages of a user were deleted");
        Ok(messages)
    }

    fn find(&self, room: &RoomName) -> Option<Arc<Room>> {
        self.0.rooms.lock().get(room).map(Arc::clone)
    }

    /// Makes a socket a plain member of a room: it gets every message from now on as `[name] text`. The hub has a room
    /// from its first member to its last; the room's log is independent of that. With an engine that answers later,
    /// or while another thread opens the room, the messages come from the answer of [`Membership::opened`] on.
    ///
    /// # Errors
    /// [`JoinError`] if a limit is reached.
    pub fn join(&self, room: &RoomName, user: &UserName, socket: Sender) -> Result<Membership, JoinError> {
        self.enter(room, |room| room.add_plain(user, socket.clone()))
            .map(|handle| Membership {
                handle,
                author: Author {
                    sender: new_sender(),
                    user: user.clone(),
                },
            })
    }

    /// Makes a socket a session member. It gets nothing before it has caught up.
    pub(crate) fn join_session(
        &self,
        room: &RoomName,
        user: &UserName,
        socket: Sender,
    ) -> Result<SessionMember, JoinError> {
        self.enter(room, |room| room.add_session(user, socket.clone()))
            .map(SessionMember::new)
    }

    fn enter(
        &self,
        name: &RoomName,
        add: impl Fn(&Arc<Room>) -> Result<Member, NotAdded>,
    ) -> Result<MemberHandle, JoinError> {
        loop {
            let room = self.find_or_create(name)?;
            match add(&room) {
                Ok(member) => {
                    let handle = MemberHandle {
                        hub: self.clone(),
                        room,
                        member,
                    };
                    return match handle.open().at_once() {
                        Ok(Err(refusal)) => Err(JoinError::Log(refusal)),
                        _ => Ok(handle),
                    };
                }
                // The thread that closed it may not have removed it from the map yet.
                Err(NotAdded::Closed) => self.remove(&room),
                Err(NotAdded::Refused(error)) => {
                    if room.close_if_empty() {
                        self.remove(&room);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn find_or_create(&self, name: &RoomName) -> Result<Arc<Room>, JoinError> {
        let mut rooms = self.0.rooms.lock();
        if let Some(room) = rooms.get(name) {
            return Ok(Arc::clone(room));
        }
        if rooms.len() >= self.0.options.rooms {
            return Err(JoinError::TooManyRooms);
        }
        let engine = Arc::clone(&self.0.engine);
        let room = Arc::new(Room::new(
            name.clone(),
            self.0.options,
            engine,
            Arc::clone(&self.0.metrics),
        ));
        rooms.insert(name.clone(), Arc::clone(&room));
        Ok(room)
    }

    /// Removes a closed room from the map, which may have a new room of the same name already.
    fn remove(&self, room: &Arc<Room>) {
        let mut rooms = self.0.rooms.lock();
        if rooms.get(room.name()).is_some_and(|current| Arc::ptr_eq(current, room)) {
            rooms.remove(room.name());
        }
    }

    /// Adds a message to a room in the name of `user`. All members get it.
    pub fn publish(&self, room: &RoomName, user: &UserName, body: Body) -> Answer<AppendOutcome> {
        self.append(Append {
            room: room.clone(),
            id: MessageId::None,
            from: Author {
                sender: self.0.sender.clone(),
                user: user.clone(),
            },
            content: Ok(body),
        })
    }
}

/// A plain member of a room; dropping it leaves the room.
#[must_use = "dropping a membership leaves the room at once"]
pub struct Membership {
    handle: MemberHandle,
    author: Author,
}

impl Membership {
    /// Waits until the room's log is watched: later messages reach this member. An error is that of
    /// [`JoinError::Log`].
    pub fn opened(&self) -> Answer<Result<(), Refusal>> {
        self.handle.open()
    }

    /// Adds a text to the room. All members get it, this one included, and all get the messages of a room in the same
    /// order.
    pub fn publish_text(&self, text: &str) -> Answer<AppendOutcome> {
        self.publish(Body::text(text))
    }

    /// Charges the room's budget of deliveries for a message of so many bytes. Returns until when its sender should
    /// pause, if it should.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        self.handle.room.charge(bytes, now)
    }

    /// Like [`publish_text`](Self::publish_text), for any body. Plain members get a body that is not a text as JSON.
    pub fn publish(&self, body: Body) -> Answer<AppendOutcome> {
        self.handle.hub.append(Append {
            room: self.handle.room.name().clone(),
            id: MessageId::None,
            from: self.author.clone(),
            content: Ok(body),
        })
    }
}

/// Identifies a member of a room.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    kind: Kind,
    key: usize,
    user: UserName,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Session,
}

/// Keeps a member in its room. Dropping it removes the member.
pub(crate) struct MemberHandle {
    hub: Hub,
    room: Arc<Room>,
    member: Member,
}

impl MemberHandle {
    fn open(&self) -> Answer<Result<(), Refusal>> {
        self.room.open(&self.hub.0.engine)
    }
}

impl Drop for MemberHandle {
    fn drop(&mut self) {
        if self.room.remove(&self.member) {
            self.hub.remove(&self.room);
        }
    }
}

/// A random sender id, for senders without a client key.
fn new_sender() -> SenderId {
    ClientKey::from_random(fastrand::u128(..).to_ne_bytes()).sender()
}

#[cfg(test)]
mod tests {
    use talkback_protocol::{
        Moment,
        session::server::{Identity, Input, ServerOptions, ServerSession},
    };

    use super::*;
    use crate::engine::{Memory, MemoryOptions};

    /// The allowance of a client after its `hello` and so many further lines.
    fn allowance_after(lines: usize) -> Allowance {
        let mut session = ServerSession::new(Arc::new(ServerOptions::default()), Duration::ZERO);
        for input in [
            Input::Received {
                text: r#"{"hello":{"client":"00000000000000000000000000000001"}}"#.to_owned(),
            },
            Input::Identified(Ok(Identity {
                user: UserName::parse("ann").unwrap(),
                expires: None,
                allowance: None,
            })),
            Input::Received {
                text: vec!["{\"pong\":{}}"; lines].join("\n"),
            },
        ] {
            let moment = Moment {
                now: Duration::ZERO,
                random: 0,
            };
            session.handle(moment, input);
        }
        session.allowance().unwrap().1
    }

    #[test]
    fn a_session_continues_the_smallest_allowance_of_the_connections_of_its_client_that_ended_lately() {
        let options = HubOptions::default();
        let hub = Hub::new(options, Arc::new(Memory::new(MemoryOptions::default())));
        let (client, start) = (ClientKey::from_random([1; 16]), Instant::now());
        let (much, little) = (allowance_after(5), allowance_after(10));
        let later = start + Duration::from_secs(7);
        for (first, then) in [(much, little), (little, much)] {
            hub.keep_allowance(client, first, start);
            hub.keep_allowance(client, then, start + Duration::from_secs(1));
            let ago = Duration::from_secs(6);
            assert_eq!(hub.take_allowance(&client, later), Some((little, ago)));
            assert_eq!(hub.take_allowance(&client, later), None);
        }
        hub.keep_allowance(client, little, start);
        assert_eq!(hub.take_allowance(&client, start + options.allowance_age), None);
    }
}
