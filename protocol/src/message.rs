//! The only wire types: what stands in a line of a `talkback.v1` text frame. `docs/protocol.md` says when each is sent and what its
//! receiver does; a test holds the two together.

pub(crate) mod fields;

use serde::{Deserialize, Serialize};

use crate::{Body, ClientKey, Epoch, Offset, RoomName, SenderId, Seq, UserName};

/// The subprotocol that both sides name in the handshake.
pub const SUBPROTOCOL: &str = "talkback.v1";

/// Milliseconds since the Unix epoch, by the server's clock.
pub type Millis = u64;

/// From the client to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame {
    /// First of all; answered by `welcome` or by closing.
    Hello(Hello),
    /// Asks for the messages of a room; answered by `joined` or `error`.
    Join(Join),
    /// No more messages of this room; answered by `left`, also if the room was not joined.
    Leave {
        /// Which room.
        room: RoomName,
    },
    /// Appends a message to a room's log; answered by exactly one `ack` or `nack`. The room need not be joined.
    Publish(Publish),
    /// Tells the members of a joined room something that is not kept, like "is typing". Not answered, unless by an `error`.
    Signal {
        /// Which room.
        room: RoomName,
        /// What to tell.
        body: Body,
    },
    /// Asks for messages before an offset; answered by `page` or `error`.
    History {
        /// Which room.
        room: RoomName,
        /// The offset after the last message wanted.
        before: Offset,
        /// How many at most.
        limit: u32,
    },
    /// A newer token, before the one in use expires; answered by `welcome` or by closing.
    Auth {
        /// The token.
        token: String,
    },
    /// Asks for a sign of life; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ClientFrame::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's secret.
    pub client: ClientKey,
    /// Proof of who the user is, if the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name to show, where no token tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
}

/// See [`ClientFrame::Join`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Which room.
    pub room: RoomName,
    /// The last message that the client has; what follows it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Cursor>,
    /// How many of the newest messages to send when there is no `since` or what follows it is gone. Absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// A place in the log of a room: everything up to it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// The life of the log in which the offset means something.
    pub epoch: Epoch,
    /// The last message known.
    pub offset: Offset,
}

/// See [`ClientFrame::Publish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Which room.
    pub room: RoomName,
    /// The number of this message among those of the client in the room.
    pub seq: Seq,
    /// Every earlier number of the client in the room is settled. A log that does not know the number before, because it is new, was
    /// lost or forgot, takes only a message that says so: then one that was refused for a time is not overtaken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// The message. Absent, it withdraws the number: if it is not in the log yet it never will be (`nack` with `withdrawn`), and if
    /// it is, the `ack` says where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

/// From the server to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame {
    /// The session is open, or a newer token was taken.
    Welcome(Welcome),
    /// The answer to `join`; the messages after `after` follow.
    Joined(Joined),
    /// A message of a joined room.
    Message(Message),
    /// The message is in the log.
    Ack(Ack),
    /// The message is not in the log.
    Nack(Nack),
    /// Users who came and went since the last list.
    Presence(Presence),
    /// What a member signalled; it is not kept anywhere.
    Signal(Signal),
    /// The answer to `history`.
    Page(Page),
    /// Nothing more of this room follows; the answer to `leave`, or the server's own decision.
    Left {
        /// Which room.
        room: RoomName,
    },
    /// A frame was refused, or something went wrong that belongs to no frame.
    Error(ErrorFrame),
    /// Asks for a sign of life; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ServerFrame::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// The name that the members of rooms see.
    pub user: UserName,
    /// The public id of this client.
    pub sender: SenderId,
    /// How often the server pings, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long the token is good for, in milliseconds; absent means for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What the server takes.
    pub limits: Limits,
}

/// What a server takes from one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of one text frame; a longer one closes with 1009.
    pub frame_bytes: u32,
    /// Lines of one text frame; more close with 1009.
    pub frame_lines: u32,
    /// Bytes of the JSON of one body; a longer one is refused for good.
    pub body_bytes: u32,
    /// Rooms joined at a time.
    pub rooms: u32,
    /// Messages of all rooms that were sent on this connection and are not answered: with as many the client waits. Nor does it send a
    /// number that is as much above the first that is not settled in its room: the server remembers what became of so many.
    pub in_flight: u32,
    /// Messages in one page, and the most that `history` in `join` brings.
    pub page: u32,
}

/// See [`ServerFrame::Joined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// Which room.
    pub room: RoomName,
    /// The life of the log.
    pub epoch: Epoch,
    /// The newest message at this moment.
    pub head: Offset,
    /// The messages after this offset follow, without a gap.
    pub after: Offset,
    /// Whether nothing is missing between the cursor of `join` and the messages that follow. True without a cursor.
    pub recovered: bool,
    /// How many users are in the room.
    pub users: u32,
    /// The users in the room, one entry each; of many, only as many as the server lists.
    pub members: Vec<Member>,
}

/// A user in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// Its name.
    pub user: UserName,
}

/// A message of a room's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Which room.
    pub room: RoomName,
    /// Its place in the log.
    pub offset: Offset,
    /// Who said it.
    pub from: Author,
    /// The sender's own number of it. Absent if it did not come through a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// When it was appended.
    pub at: Millis,
    /// What it says.
    pub body: Body,
}

/// Who sent something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Author {
    /// The client.
    pub sender: SenderId,
    /// The user that it shows.
    pub user: UserName,
}

/// See [`ServerFrame::Ack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ack {
    /// Which room.
    pub room: RoomName,
    /// The number that the client gave it.
    pub seq: Seq,
    /// Its place in the log.
    pub offset: Offset,
    /// When it was appended.
    pub at: Millis,
}

/// See [`ServerFrame::Nack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nack {
    /// Which room.
    pub room: RoomName,
    /// The number that the client gave it.
    pub seq: Seq,
    /// Why, for programs: one of [`code`].
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// Absent: refused for good, the number is settled. Present: send again after this many milliseconds, in order from the first
    /// message that is not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// See [`ServerFrame::Presence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// Which room.
    pub room: RoomName,
    /// Users whose first tab came.
    pub joined: Vec<Member>,
    /// Users whose last tab left.
    pub left: Vec<Member>,
}

/// See [`ServerFrame::Signal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Which room.
    pub room: RoomName,
    /// Who.
    pub from: Author,
    /// What.
    pub body: Body,
}

/// See [`ServerFrame::Page`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Which room.
    pub room: RoomName,
    /// The life of the log that the offsets belong to.
    pub epoch: Epoch,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more: bool,
}

/// See [`ServerFrame::Error`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorFrame {
    /// Why, for programs: one of [`code`].
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The room it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// The kind of the frame that was refused, like `join`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Present: the same frame may be sent again after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

fields::read_by_fields! {
    Welcome { user: required, sender: required, heartbeat_ms: required, expires_ms: optional, limits: required }
    Joined { room: required, epoch: required, head: required, after: required, recovered: required, users: required, members: required }
    Message { room: required, offset: required, from: required, seq: optional, at: required, body: required }
    Ack { room: required, seq: required, offset: required, at: required }
    Nack { room: required, seq: required, code: required, message: required, retry_after_ms: optional }
    Presence { room: required, joined: required, left: required }
    Signal { room: required, from: required, body: required }
    Page { room: required, epoch: required, messages: required, more: required }
    ErrorFrame { code: required, message: required, room: optional, frame: optional, retry_after_ms: optional }
    Cursor { epoch: required, offset: required }
    Author { sender: required, user: required }
    Member { user: required }
    Limits { frame_bytes: required, frame_lines: required, body_bytes: required, rooms: required, in_flight: required, page: required }
}

/// The codes in `nack` and `error`. A client treats one that it does not know by `retry_after_ms` alone.
pub mod code {
    /// An earlier number is missing: the client sends again from the first that is not settled.
    pub const GAP: &str = "gap";
    /// Too many frames a second.
    pub const RATE: &str = "rate";
    /// The server has too much to do.
    pub const BUSY: &str = "busy";
    /// The log cannot be reached.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The body is over `limits.body_bytes`.
    pub const TOO_LARGE: &str = "too_large";
    /// This user may not do this in this room.
    pub const FORBIDDEN: &str = "forbidden";
    /// The room does not exist and may not be made.
    pub const NO_SUCH_ROOM: &str = "no_such_room";
    /// The session has joined as many rooms as it may.
    pub const TOO_MANY_ROOMS: &str = "too_many_rooms";
    /// The room has as many members as it may.
    pub const ROOM_FULL: &str = "room_full";
    /// The room is joined already.
    pub const ALREADY_JOINED: &str = "already_joined";
    /// The room must be joined for this.
    pub const NOT_JOINED: &str = "not_joined";
    /// The client withdrew the number.
    pub const WITHDRAWN: &str = "withdrawn";
    /// The number was settled so long ago that the log no longer knows how.
    pub const FORGOTTEN: &str = "forgotten";

    /// All of them.
    pub const ALL: [&str; 13] = [
        GAP,
        RATE,
        BUSY,
        UNAVAILABLE,
        TOO_LARGE,
        FORBIDDEN,
        NO_SUCH_ROOM,
        TOO_MANY_ROOMS,
        ROOM_FULL,
        ALREADY_JOINED,
        NOT_JOINED,
        WITHDRAWN,
        FORGOTTEN,
    ];
}
