use serde::de::DeserializeOwned;
use talkback_protocol::{
    Body, Epoch, Offset,
    message::{Author, Message, Millis},
    session::client::{JoinedRoom, LeftReason, PresenceChange, RoomEvent},
};

/// An event of a room whose messages are of type `T`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<T> {
    /// Joined without a cursor: the requested number of newest messages follows, then the live ones.
    Joined(JoinedRoom),
    /// Joined again, or with a cursor: every message after the last one or the cursor follows.
    Recovered(JoinedRoom),
    /// Messages are missing between the last one and those that follow: the log has dropped them, an operator has
    /// deleted the room, or the log was lost or restored from an older copy. Replace the messages shown by those that
    /// follow.
    Reset(JoinedRoom),
    /// The next message of the log. Each message is yielded once.
    Message(Received<T>),
    /// Users joined or left.
    Presence {
        /// How many users are in the room now.
        users: u32,
        /// Which users joined and left, or the whole list.
        change: PresenceChange,
    },
    /// The server lost its newest messages: these messages of this client were acknowledged ([`Acked`](crate::Acked))
    /// and are no longer in the log. Precedes the [`Event::Recovered`] or [`Event::Reset`] of the same join. The
    /// application decides whether to send them again.
    Lost {
        /// The epoch of the log in which they were acknowledged.
        epoch: Epoch,
        /// Their offsets, ascending. If there are too many, the newest.
        offsets: Vec<Offset>,
    },
    /// A message that is not stored in the log, like "is typing".
    Signal {
        /// The member who sent it.
        from: Author,
        /// The content.
        body: Body,
    },
    /// The server ended the membership, with its reason if it gave one. The last event.
    Left(Option<LeftReason>),
    /// The server refused the join. The last event.
    Refused {
        /// The machine-readable reason, see [`code`](crate::code).
        code: String,
        /// The human-readable reason.
        message: String,
    },
}

/// A message of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<T> {
    /// The offset in the room's log; the sender has it as [`Acked::offset`](crate::Acked::offset).
    pub offset: Offset,
    /// The user and the client that sent it.
    pub from: Author,
    /// Whether this client sent it.
    pub own: bool,
    /// When it was appended, in milliseconds since the Unix epoch by the server's clock.
    pub at: Millis,
    /// The content.
    pub body: Incoming<T>,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming<T> {
    /// A `T`.
    Known(T),
    /// JSON that cannot be read as `T`, for instance from a later version of the application. It is never dropped: show
    /// a placeholder, or read it as another type ([`Body::read`]).
    Unknown(Body),
    /// The content was deleted from the log: show a placeholder. Who has received the message before is not told.
    Deleted,
}

impl<T> Incoming<T> {
    /// The message, if it could be read as `T`.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(message) => Some(message),
            Self::Unknown(_) | Self::Deleted => None,
        }
    }
}

/// Older messages of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct History<T> {
    /// The epoch of the log that the offsets belong to.
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
                _ if message.deleted => Incoming::Deleted,
                Ok(known) => Incoming::Known(known),
                Err(_) => Incoming::Unknown(message.body),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use talkback_protocol::{ClientKey, RoomName, UserName};

    use super::*;

    #[test]
    fn a_deleted_message_is_not_read_as_null() {
        let message = |deleted| Message {
            room: RoomName::parse("lobby").unwrap(),
            offset: Offset::ZERO.next(),
            from: Author {
                sender: ClientKey::from_random([1; 16]).sender(),
                user: UserName::parse("ann").unwrap(),
            },
            seq: None,
            id: None,
            at: 0,
            deleted,
            body: Body::null(),
        };
        let read = |deleted| Received::<Option<u64>>::read(message(deleted), |_| false).body;
        assert_eq!(read(false), Incoming::Known(None));
        assert_eq!((read(true), read(true).known()), (Incoming::Deleted, None));
    }
}
