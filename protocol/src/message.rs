//! The only wire types: the lines of a `talkback.v1` text. `docs/protocol.md` says when each is sent and what its
//! receiver does; a test compares the two.

mod cursor;
pub(crate) mod fields;
mod kinds;

pub use cursor::CursorError;
use serde::{Deserialize, Serialize};

use crate::{Body, ClientKey, Epoch, Offset, PublishId, RequestId, RoomName, SenderId, Seq, UserName};

/// The subprotocol that both sides name in the handshake.
pub const SUBPROTOCOL: &str = "talkback.v1";

/// Milliseconds since the Unix epoch, by the server's clock.
pub type Millis = u64;

/// From the client to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "kinds::Client")]
pub enum ClientLine {
    /// First of all; answered by `welcome` or by closing.
    Hello(Hello),
    /// Asks for the messages of a room; answered by `joined` or `error`.
    Join(Join),
    /// No more messages of this room; answered by `left`, also if the room was not joined.
    Leave {
        /// The room to leave.
        room: RoomName,
    },
    /// Appends a message to a room's log; answered by exactly one `ack`, `nack` or `forgotten`. The room need not be
    /// joined.
    Publish(Publish),
    /// Gives a message up that was published: if it is not in the log it never will be. Answered like `publish`.
    Withdraw(Withdraw),
    /// Tells the members of a joined room something that is not kept, like "is typing". Not answered, unless by an
    /// `error`.
    Signal {
        /// The room whose other members get it.
        room: RoomName,
        /// The body of the signal.
        body: Body,
    },
    /// Asks for messages before an offset; answered by `page` or `error`.
    History(History),
    /// A newer token, before the one in use expires; answered by `welcome` or by closing.
    Auth {
        /// The newer token.
        token: String,
    },
    /// Asks for a sign of life; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ClientLine::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// The client's secret.
    pub client: ClientKey,
    /// Proof of who the user is, if the server wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name to show, where no token tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
}

/// See [`ClientLine::Join`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Join {
    /// The room to follow.
    pub room: RoomName,
    /// The last message that the client has; what follows it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Cursor>,
    /// How many of the newest messages to send when there is no `since` or what follows it is gone. Absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// See [`ClientLine::Publish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// The room whose log takes it.
    pub room: RoomName,
    /// The number of this message among those of the client in the room.
    pub seq: Seq,
    /// The id of the message: its number with another id is another message, and a conflict.
    pub id: PublishId,
    /// Every earlier number of the client in the room is settled. A log that does not know the number before, because
    /// it is new, was lost or forgot, takes only a message that says so: then one that was refused for a time is not
    /// overtaken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// The message; any JSON, also null.
    pub body: Body,
}

/// See [`ClientLine::Withdraw`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Withdraw {
    /// The room of the message.
    pub room: RoomName,
    /// The number of the message.
    pub seq: Seq,
    /// The id of the message.
    pub id: PublishId,
    /// As in [`Publish`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
}

/// See [`ClientLine::History`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// The client's number of this request, given back with its answer.
    pub id: RequestId,
    /// The room to read; it need not be joined.
    pub room: RoomName,
    /// The offset after the last message wanted.
    pub before: Offset,
    /// How many at most.
    pub limit: u32,
}

/// From the server to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "kinds::Server")]
pub enum ServerLine {
    /// The session is open, or a newer token was taken.
    Welcome(Welcome),
    /// The answer to `join`; the messages after `after` follow.
    Joined(Joined),
    /// A message of a joined room.
    Message(Message),
    /// The message is in the log.
    Ack(Ack),
    /// The message is not in the log of this epoch.
    Nack(Nack),
    /// The log no longer has the outcome of the message.
    Forgotten(Forgotten),
    /// Users who came and went since the last list.
    Presence(Presence),
    /// A signal of another member; it is not kept anywhere.
    Signal(Signal),
    /// The answer to `history`.
    Page(Page),
    /// Nothing more of this room follows; the answer to `leave`, or the server's own decision.
    Left(Left),
    /// A line was refused, or something went wrong that belongs to no line.
    Error(ErrorLine),
    /// Asks for a sign of life; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ServerLine::Welcome`].
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
    /// Bytes of one text; a longer one closes with 1009.
    pub text_bytes: u32,
    /// Lines of one text; more close with 1009.
    pub text_lines: u32,
    /// Bytes of the JSON of one body; a longer one is refused for good.
    pub body_bytes: u32,
    /// How deep lists and objects of a body may be nested; a deeper one is refused for good.
    pub body_depth: u32,
    /// Rooms joined at a time.
    pub rooms: u32,
    /// Messages of all rooms that were sent on this connection and are not answered: with as many the client waits. Nor
    /// does it send a number that is as much above the first that is not settled in its room: the server remembers what
    /// became of so many.
    pub in_flight: u32,
    /// Messages in one page, and the most that `history` in `join` brings.
    pub page: u32,
    /// Requests for history that are not answered.
    pub history: u32,
    /// Lines a second that the server reads of one client on average; 0 means any number. A faster client is read
    /// later.
    pub lines_per_second: u32,
    /// Lines that it reads at once after a quiet time.
    pub lines_burst: u32,
    /// Bytes a second that the server reads of one client on average; 0 means any number.
    pub bytes_per_second: u32,
    /// Bytes that it reads at once after a quiet time.
    pub bytes_burst: u32,
    /// Bytes of the largest text that the server sends.
    pub sent_text_bytes: u32,
}

/// See [`ServerLine::Joined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// The room of the `join`.
    pub room: RoomName,
    /// The life of the log.
    pub epoch: Epoch,
    /// The newest message at this moment.
    pub head: Offset,
    /// The messages after this offset follow, without a gap.
    pub after: Offset,
    /// Whether nothing is missing between the cursor of `join` and the messages that follow. True without a cursor.
    pub recovered: bool,
    /// Where this log parted from the life before, if it went on from an earlier point of it: the last message that
    /// both have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<Cursor>,
    /// How many users are in the room.
    pub users: u32,
    /// The users in the room, one entry each, as the server last listed them: the newest may still be missing, and
    /// `presence` tells them. Absent: not told, because there are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}

/// A user in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// The name of the user.
    pub user: UserName,
}

/// A message of a room's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The room of the log.
    pub room: RoomName,
    /// Its place in the log.
    pub offset: Offset,
    /// Who said it.
    pub from: Author,
    /// The sender's own number of it. Absent if it did not come through a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The id that its sender gave it. Absent if it did not come through a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PublishId>,
    /// When it was appended.
    pub at: Millis,
    /// What it says.
    pub body: Body,
}

/// The sender of a message or a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Author {
    /// The client.
    pub sender: SenderId,
    /// The user that it shows.
    pub user: UserName,
}

/// See [`ServerLine::Ack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ack {
    /// The room of the message.
    pub room: RoomName,
    /// The number that the client gave it.
    pub seq: Seq,
    /// The life of the log that the offset belongs to.
    pub epoch: Epoch,
    /// Its place in the log.
    pub offset: Offset,
    /// When it was appended.
    pub at: Millis,
}

/// See [`ServerLine::Nack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nack {
    /// The room of the message.
    pub room: RoomName,
    /// The number that the client gave it.
    pub seq: Seq,
    /// The life of the log that does not have it. Absent if it was refused before the log was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Why, for programs: one of [`code`].
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// Absent: refused for good, the number is settled. Present: send again after this many milliseconds, in order from
    /// the first message that is not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// See [`ServerLine::Forgotten`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// The room of the message.
    pub room: RoomName,
    /// The number that the client gave it.
    pub seq: Seq,
    /// The life of the log.
    pub epoch: Epoch,
}

/// See [`ServerLine::Presence`]. A list that is absent is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// The room that the users are in.
    pub room: RoomName,
    /// How many users are in the room now.
    pub users: u32,
    /// Users whose first connection joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<Vec<Member>>,
    /// Users whose last connection left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Vec<Member>>,
    /// All users, in place of every earlier list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}

/// See [`ServerLine::Signal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// The room of the signal.
    pub room: RoomName,
    /// The member that sent it.
    pub from: Author,
    /// Its body.
    pub body: Body,
}

/// See [`ServerLine::Page`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The `id` of the `history`.
    pub id: RequestId,
    /// The room that was read.
    pub room: RoomName,
    /// The life of the log that the offsets belong to.
    pub epoch: Epoch,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more: bool,
}

/// See [`ServerLine::Left`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The room whose membership ended.
    pub room: RoomName,
    /// Why the server ended the membership, for programs. Absent in the answer to `leave`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// See [`ServerLine::Error`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorLine {
    /// Why, for programs: one of [`code`].
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The room it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// The kind of the line that was refused, like `join`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of a refused `history`: its `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// Present: the same line may be sent again after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

fields::read_by_fields! {
    Hello { client: required, token: optional, name: optional }
    Join { room: required, since: optional, history: optional }
    Publish { room: required, seq: required, id: required, first: flag, body: required }
    Withdraw { room: required, seq: required, id: required, first: flag }
    History { id: required, room: required, before: required, limit: required }
    Welcome { user: required, sender: required, heartbeat_ms: required, expires_ms: optional_number, limits: required }
    Joined { room: required, epoch: required, head: required, after: required, recovered: required, fork: optional, users: required, members: optional }
    Message { room: required, offset: required, from: required, seq: optional, id: optional, at: number, body: required }
    Ack { room: required, seq: required, epoch: required, offset: required, at: number }
    Nack { room: required, seq: required, epoch: optional, code: required, message: required, retry_after_ms: optional_number }
    Forgotten { room: required, seq: required, epoch: required }
    Presence { room: required, users: required, joined: optional, left: optional, members: optional }
    Signal { room: required, from: required, body: required }
    Page { id: required, room: required, epoch: required, messages: required, more: required }
    Left { room: required, code: optional, message: optional }
    ErrorLine { code: required, message: required, room: optional, kind: optional, id: optional, retry_after_ms: optional_number }
    Cursor { epoch: required, offset: required }
    Author { sender: required, user: required }
    Member { user: required }
    Limits { text_bytes: required, text_lines: required, body_bytes: required, body_depth: required, rooms: required, in_flight: required, page: required, history: required, lines_per_second: required, lines_burst: required, bytes_per_second: required, bytes_burst: required, sent_text_bytes: required }
}

/// The codes in `nack`, `error` and `left`. A client treats one that it does not know by `retry_after_ms` alone.
pub mod code {
    /// An earlier number is missing: the client sends again from the first that is not settled.
    pub const GAP: &str = "gap";
    /// Too many signals or requests for history a second.
    pub const RATE: &str = "rate";
    /// The server has too much to do.
    pub const BUSY: &str = "busy";
    /// The log cannot be reached.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The body is over `limits.body_bytes`.
    pub const TOO_LARGE: &str = "too_large";
    /// The body is nested deeper than `limits.body_depth`.
    pub const TOO_DEEP: &str = "too_deep";
    /// The name of the room breaks the server's rule.
    pub const BAD_ROOM: &str = "bad_room";
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
    /// The number belongs to another message of this key: nothing was appended and nothing withdrawn, and the number is
    /// not settled by this answer. Two clients use one key.
    pub const CONFLICT: &str = "conflict";

    /// All of them.
    pub const ALL: [&str; 15] = [
        GAP,
        RATE,
        BUSY,
        UNAVAILABLE,
        TOO_LARGE,
        TOO_DEEP,
        BAD_ROOM,
        FORBIDDEN,
        NO_SUCH_ROOM,
        TOO_MANY_ROOMS,
        ROOM_FULL,
        ALREADY_JOINED,
        NOT_JOINED,
        WITHDRAWN,
        CONFLICT,
    ];
}
