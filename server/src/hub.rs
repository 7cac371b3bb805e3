//! Rooms on this server: who is in which, and how one message reaches all of them.
//!
//! What is said goes into the room's log first; the log tells the room, in the order of its offsets. The message is encoded once for
//! each kind of member that the room has: as a frame `[name] text` for plain members, as a line for session members. Shortly after, a
//! pass hands what is pending to one member after the other, each as one write: plain members get several frames, session members one
//! text frame of several lines. The frames of a server are not masked, so all members of a kind share the same bytes. A member that
//! cannot take them at once keeps a reference in its own bounded queue, and is closed with 4413 when that queue is full; it can catch up
//! from the log. Nobody ever waits for a slow member.
//!
//! A pass is made in slices, between which everything else has its turn. What is said meanwhile waits. Whoever says much where deliveries
//! are late is read later, and when [`HubOptions::pending_bytes`] wait, the log refuses for a time to add more.
//!
//! Who comes and goes is told by a timer of the room and not by those who come and go: a join costs the same in a room of ten users and
//! of five thousand, except for its share of one list that all who join get.
//!
//! Locks are taken in this order: a room's members, a room's log, its pending messages, a socket. While the map of rooms is locked,
//! nothing is waited for.

mod allowances;
mod beginning;
mod block;
mod catch_up;
mod delivery_budget;
mod presence;
mod room;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use talkback_protocol::{
    Body, ClientKey, RoomName, SenderId, UserName,
    codec::MemberList,
    message::{Author, code},
    session::server::Refusal,
};
use tokio::time::Instant;

use crate::{
    engine::{Answer, Append, Engine, MessageId, Outcome},
    socket::Sender,
};
pub(crate) use allowances::Allowances;
pub(crate) use beginning::Beginning;
pub(crate) use catch_up::{CatchUp, CatchUpError, SessionMember, Start};
use room::{NotAdded, Room};

/// Bounds and times of rooms.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Members of one room.
    pub members_per_room: usize,
    /// Users of a room up to which sessions are told who they are. Of more they are told only how many; and who they are again when
    /// there are at most three quarters of this.
    pub listed_users: usize,
    /// How long a user whose last socket closed still counts as present, so that a reconnect is not told to anybody.
    pub presence_grace: Duration,
    /// The least time between two tellings of who came and went, and between two lists of a room's users that are made.
    pub presence_interval: Duration,
    /// Lines a second that one room spends on telling who came and went: a room with more session members than this is told less often
    /// than once a second.
    pub presence_lines_per_second: u32,
    /// Bytes of signals that one room holds until its next delivery; further ones are dropped.
    pub signal_bytes: usize,
    /// Bytes of messages that may be delivered in one room in a second, to all its members together; whoever says more there is read
    /// later, and also while deliveries are late. 0 is any number.
    pub delivery_rate: usize,
    /// No room owes more than this beyond what may be delivered at once: so it is free again soon after those who send too much are
    /// gone.
    pub delivery_max_debt: Duration,
    /// A sender that is to pause pauses no longer than this at a time. Shorter than the heartbeat's timeout, because nothing is read
    /// meanwhile.
    pub delivery_max_pause: Duration,
    /// With this debt a sender pauses for as long as the rate needs for what it caused; with twice as much, four times as long. With a
    /// hundred senders that send all they can, the debt settles at ten times this.
    pub delivery_debt_unit: Duration,
    /// How late deliveries may be. What they are later than this counts as debt.
    pub delivery_max_delay: Duration,
    /// So many members get what is delivered in one go, before other tasks have their turn.
    pub slice_members: usize,
    /// So many bytes are delivered in one go, and what one member gets beyond it.
    pub slice_bytes: usize,
    /// The most bytes that are delivered to a member as one write, and as one text. One message may be larger.
    pub block_bytes: usize,
    /// Bytes of messages that may wait for their delivery in one room. While so many do, no message is added to its log; who sends one is
    /// told when to try again.
    pub pending_bytes: usize,
    /// No text with several lines and no line about who is in a room has more bytes, which is `sent_text_bytes` of the protocol.
    pub sent_text_bytes: usize,
    /// Clients whose rate is remembered after their connection ended, so that a new connection does not begin with a full one.
    pub allowances: usize,
    /// How long it is remembered. It should be as long as the rate needs to be whole again.
    pub allowance_age: Duration,
}

impl HubOptions {
    pub(crate) const DEFAULT: Self = Self {
        rooms: 10_000,
        members_per_room: 10_000,
        listed_users: 1000,
        presence_grace: Duration::from_secs(5),
        presence_interval: Duration::from_millis(250),
        presence_lines_per_second: 1_000,
        signal_bytes: 16 * 1024,
        delivery_rate: 1 << 30,
        delivery_max_debt: Duration::from_secs(2),
        delivery_max_pause: Duration::from_secs(5),
        delivery_debt_unit: Duration::from_millis(100),
        delivery_max_delay: Duration::from_millis(50),
        slice_members: 256,
        slice_bytes: 256 * 1024,
        block_bytes: 64 * 1024,
        pending_bytes: 1024 * 1024,
        sent_text_bytes: 256 * 1024,
        allowances: 10_000,
        allowance_age: Duration::from_secs(60),
    };

    /// With so many users or fewer a room that was not listed is listed again.
    fn listed_again(&self) -> usize {
        self.listed_users / 4 * 3 + self.listed_users % 4 * 3 / 4
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a room could not be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The server has as many rooms as it may have.
    #[error("the server has no place for another room")]
    TooManyRooms,
    /// The room has as many members as it may have.
    #[error("the room is full")]
    RoomFull,
    /// The log cannot be watched.
    #[error("{}", .0.message)]
    Log(Refusal),
}

impl JoinError {
    /// The same for a session.
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
            // Members come and go.
            retry_after: Some(Duration::from_secs(5)),
        }
    }
}

/// The rooms of one application. Clones mean the same rooms.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    options: HubOptions,
    engine: Arc<dyn Engine>,
    /// Who speaks for the server itself.
    sender: SenderId,
    /// Rooms that have members, or whose first or last one is about to come or go.
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    allowances: Allowances,
}

impl Hub {
    /// No rooms yet; what is said is kept by `engine`.
    #[must_use]
    pub fn new(options: HubOptions, engine: Arc<dyn Engine>) -> Self {
        Self(Arc::new(Inner {
            options,
            engine,
            sender: new_sender(),
            rooms: Mutex::default(),
            allowances: Allowances::new(options.allowances, options.allowance_age),
        }))
    }

    /// What keeps the logs.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// The public id of what [`publish`](Self::publish) says. It is another one after a restart.
    #[must_use]
    pub fn sender(&self) -> &SenderId {
        &self.0.sender
    }

    pub(crate) fn allowances(&self) -> &Allowances {
        &self.0.allowances
    }

    /// Like [`Membership::charge`], for somebody who need not be a member of the room.
    pub(crate) fn charge(&self, room: &RoomName, bytes: usize, now: Instant) -> Option<Instant> {
        self.find(room)?.charge(bytes, now)
    }

    /// How many rooms have members.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.0.rooms.lock().len()
    }

    /// How many users are in a room, and the list of them that is told to members who join: a little old at times, and absent when
    /// there are too many. However often it is asked for, the list is made at most once in [`HubOptions::presence_interval`].
    #[must_use]
    pub fn listed(&self, room: &RoomName) -> (u32, Option<MemberList>) {
        self.find(room)
            .map_or_else(|| (0, Some(MemberList::encode(&[]))), |room| room.listed())
    }

    /// The users in a room, by name. It looks at all of them while nobody can join or leave: not for what anybody may ask for.
    #[must_use]
    pub fn users(&self, room: &RoomName) -> Vec<UserName> {
        self.find(room).map(|room| room.users()).unwrap_or_default()
    }

    fn find(&self, room: &RoomName) -> Option<Arc<Room>> {
        self.0.rooms.lock().get(room).map(Arc::clone)
    }

    /// Makes a socket a plain member of a room: it gets everything that is said from now on as `[name] text`. A room begins to exist
    /// here with its first member and ends with its last; its log does not.
    ///
    /// # Errors
    /// [`JoinError`] when a limit is reached.
    pub fn join(&self, room: &RoomName, user: &UserName, socket: Sender) -> Result<Membership, JoinError> {
        self.enter(room, |room, engine| room.add_plain(engine, user, socket.clone()))
            .map(|place| Membership {
                place,
                author: Author {
                    sender: new_sender(),
                    user: user.clone(),
                },
            })
    }

    /// Makes a socket a session member, which gets nothing before it has caught up.
    pub(crate) fn join_session(
        &self,
        room: &RoomName,
        user: &UserName,
        socket: Sender,
    ) -> Result<SessionMember, JoinError> {
        self.enter(room, |room, engine| room.add_session(engine, user, socket.clone()))
            .map(SessionMember::new)
    }

    fn enter(
        &self,
        name: &RoomName,
        add: impl Fn(&Arc<Room>, &dyn Engine) -> Result<Member, NotAdded>,
    ) -> Result<Place, JoinError> {
        loop {
            let room = self.find_or_begin(name)?;
            match add(&room, &*self.0.engine) {
                Ok(member) => {
                    return Ok(Place {
                        hub: self.clone(),
                        room,
                        member,
                    });
                }
                // Whoever ended it may not have come to this yet.
                Err(NotAdded::Over) => self.forget(&room),
                Err(NotAdded::Refused(error)) => {
                    if room.end_if_empty() {
                        self.forget(&room);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn find_or_begin(&self, name: &RoomName) -> Result<Arc<Room>, JoinError> {
        let mut rooms = self.0.rooms.lock();
        if let Some(room) = rooms.get(name) {
            return Ok(Arc::clone(room));
        }
        if rooms.len() >= self.0.options.rooms {
            return Err(JoinError::TooManyRooms);
        }
        let room = Arc::new(Room::new(name.clone(), self.0.options));
        rooms.insert(name.clone(), Arc::clone(&room));
        Ok(room)
    }

    /// Takes a room that is over out of the map. Another one of its name may be there already.
    fn forget(&self, room: &Arc<Room>) {
        let mut rooms = self.0.rooms.lock();
        if rooms.get(room.name()).is_some_and(|current| Arc::ptr_eq(current, room)) {
            rooms.remove(room.name());
        }
    }

    /// Says something in a room in the name of `user`. It is kept, and all members get it.
    pub fn publish(&self, room: &RoomName, user: &UserName, body: Body) -> Answer<Outcome> {
        self.0.engine.append(Append {
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

/// A plain member's place in a room; dropping it leaves the room.
#[must_use = "dropping a membership leaves the room at once"]
pub struct Membership {
    place: Place,
    author: Author,
}

impl Membership {
    /// Says something in the room. All members get it, this one included, and all get all messages of a room in the same order.
    pub fn publish_text(&self, text: &str) -> Answer<Outcome> {
        self.publish(Body::text(text))
    }

    /// Charges the room's budget of deliveries for a message of so many bytes. If the room is over it: until when its sender should
    /// pause.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        self.place.room.charge(bytes, now)
    }

    /// Like [`publish_text`](Self::publish_text), for any body. Plain members get one that is no text as JSON.
    pub fn publish(&self, body: Body) -> Answer<Outcome> {
        self.place.hub.0.engine.append(Append {
            room: self.place.room.name().clone(),
            id: MessageId::None,
            from: self.author.clone(),
            content: Ok(body),
        })
    }
}

/// Which member of a room.
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

/// A member's place in a room, which is free again when this is dropped.
pub(crate) struct Place {
    hub: Hub,
    room: Arc<Room>,
    member: Member,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.room.remove(&self.member) {
            self.hub.forget(&self.room);
        }
    }
}

/// For those who have no key of their own.
fn new_sender() -> SenderId {
    ClientKey::from_random(fastrand::u128(..).to_ne_bytes()).sender()
}
