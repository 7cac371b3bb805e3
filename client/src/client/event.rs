use serde::de::DeserializeOwned;
use talkback_protocol::{
    Body, Epoch, Offset,
    message::{Author, Message, Millis},
    session::client::{JoinedRoom, LeftReason, PresenceChange, RoomEvent},
};

/// What happens in a room, for an application whose messages are of type `T`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<T> {
    /// Joined without a cursor: the newest messages that were asked for follow, then the live ones.
    Joined(JoinedRoom),
    /// Joined again, or with a cursor: everything after the last message follows, nothing is missing.
    Recovered(JoinedRoom),
    /// Messages are missing between the last one and those that follow, because the log has them no longer. What the application
    /// shows of the room is to be replaced by what follows.
    Reset(JoinedRoom),
    /// The next message, in the order that all members share. Each comes once.
    Message(Received<T>),
    /// Users came or went.
    Presence {
        /// How many users are in the room now.
        users: u32,
        /// Who.
        change: PresenceChange,
    },
    /// The server lost its newest messages and goes on from an earlier one: these messages of this client were acknowledged
    /// ([`Acked`](crate::Acked)) and are in the log no longer. Comes before the [`Event::Recovered`] or [`Event::Reset`] of the same
    /// join. To send them again is for the application to decide.
    Lost {
        /// The life of the log in which they were acknowledged.
        epoch: Epoch,
        /// Their places in it, ascending; of very many, the newest.
        offsets: Vec<Offset>,
    },
    /// A member told something that is not kept, like "is typing".
    Signal {
        /// Who.
        from: Author,
        /// What.
        body: Body,
    },
    /// No longer a member, by the server's decision, which may come with a reason. The last event.
    Left(Option<LeftReason>),
    /// The server does not let this user be a member. The last event.
    Refused {
        /// Why, for programs: see [`code`](talkback_protocol::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
}

/// A message of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<T> {
    /// Its place in the room's log; what [`Acked::offset`](crate::Acked::offset) tells the sender.
    pub offset: Offset,
    /// Who sent it.
    pub from: Author,
    /// Whether this client sent it.
    pub own: bool,
    /// When it was appended, in milliseconds since the Unix epoch by the server's clock.
    pub at: Millis,
    /// What it says.
    pub body: Incoming<T>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming<T> {
    /// A message as this build of the application knows them.
    Known(T),
    /// JSON of another shape, for instance from a later version of the application. It is never dropped: show that there is something,
    /// or read it as another type ([`Body::read`]).
    Unknown(Body),
}

impl<T> Incoming<T> {
    /// The message, if it is of a known shape.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(message) => Some(message),
            Self::Unknown(_) => None,
        }
    }
}

/// Older messages of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct History<T> {
    /// The life of the log that the offsets belong to.
    pub epoch: Epoch,
    /// Oldest first.
    pub messages: Vec<Received<T>>,
    /// Whether there are older ones.
    pub more: bool,
}

impl<T: DeserializeOwned> Event<T> {
    pub(super) fn read(event: RoomEvent, is_own: impl Fn(&Author) -> bool) -> Self {
        match event {
            RoomEvent::Joined(room) => Self::Joined(room),
            RoomEvent::Recovered(room) => Self::Recovered(room),
            RoomEvent::Reset(room) => Self::Reset(room),
            RoomEvent::Message { message, .. } => Self::Message(Received::read(message, is_own)),
            RoomEvent::Presence { users, change } => Self::Presence { users, change },
            RoomEvent::Lost { epoch, offsets } => Self::Lost { epoch, offsets },
            RoomEvent::Signal { from, body } => Self::Signal { from, body },
            RoomEvent::Left(reason) => Self::Left(reason),
            RoomEvent::Refused { code, message } => Self::Refused { code, message },
        }
    }
}

impl<T: DeserializeOwned> Received<T> {
    pub(super) fn read(message: Message, is_own: impl Fn(&Author) -> bool) -> Self {
        Self {
            offset: message.offset,
            own: is_own(&message.from),
            from: message.from,
            at: message.at,
            body: match message.body.read() {
                Ok(known) => Incoming::Known(known),
                Err(_) => Incoming::Unknown(message.body),
            },
        }
    }
}
