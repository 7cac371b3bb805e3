//! The wire types: the lines of a `talkback.v1` text. `docs/protocol.md` says when each is sent and what its receiver
//! does; a test compares the two.

mod cursor;
pub(crate) mod fields;
pub(crate) mod kinds;

pub use cursor::CursorError;
use serde::Serialize;

use crate::{Body, ClientKey, Epoch, Offset, PublishId, RequestId, RoomName, SenderId, Seq, UserName};

/// The subprotocol of both sides in the opening handshake.
pub const SUBPROTOCOL: &str = "talkback.v1";

/// Milliseconds since the Unix epoch, by the server's clock.
pub type Millis = u64;

/// A line from the client to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLine {
    /// The first line; answered by `welcome` or by closing.
    Hello(Hello),
    /// Asks for the messages of a room; answered by `joined` or `error`.
    Join(Join),
    /// Ends the messages of this room; answered by `left`, also if the room was not joined.
    Leave {
        /// The room to leave.
        room: RoomName,
    },
    /// Appends a message to a room's log; answered by exactly one `ack`, `nack` or `forgotten`. The room need not be
    /// joined.
    Publish(Publish),
    /// Withdraws a published message: if it is not in the log, it will never be appended. Answered like `publish`.
    Withdraw(Withdraw),
    /// Sends the other members of a joined room a body that is not stored, like "is typing". Not answered, except by an
    /// `error`.
    Signal {
        /// The room whose other members get it.
        room: RoomName,
        /// The body of the signal.
        body: Body,
    },
    /// Asks for messages before an offset; answered by `page` or `error`.
    History(History),
    /// Asks for users of a joined room by name; answered by `found` or `error`.
    Find(Find),
    /// Asks for what is addressed to the client's user; answered by a `joined` or an `error` for each addressed room.
    Direct(Direct),
    /// Sends a newer token before the current one expires; answered by `welcome` or by closing.
    Auth {
        /// The newer token.
        token: String,
    },
    /// Tests the connection; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ClientLine::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// The client's secret.
    pub client: ClientKey,
    /// The proof of the user's identity, if the server needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of the user, if no token has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
}

/// See [`ClientLine::Join`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Join {
    /// The room to follow.
    pub room: RoomName,
    /// The last message that the client has. The messages after it are requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Cursor>,
    /// How many of the newest messages to send if there is no `since`, or the messages after it are not recovered.
    /// Absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// A position in the log of a room: all messages up to it are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// The epoch of the offset.
    pub epoch: Epoch,
    /// The last known message.
    pub offset: Offset,
}

/// See [`ClientLine::Publish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// The room to publish to.
    pub room: RoomName,
    /// The number of this message among those of the client in the room.
    pub seq: Seq,
    /// The id of the message. The same number with another id is another message, and a conflict.
    pub id: PublishId,
    /// Whether every earlier number of the client in the room is settled. A log without an entry of the client, because
    /// it is new, was lost or has forgotten the client, accepts only a message with this flag. So no message overtakes
    /// one that was refused for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// The body of the message: any JSON, also null.
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
    /// The client's number of this request; its answer has the same number.
    pub id: RequestId,
    /// The room to read; it need not be joined.
    pub room: RoomName,
    /// The offset after the newest message of the page.
    pub before: Offset,
    /// The maximum of messages.
    pub limit: u32,
}

/// See [`ClientLine::Find`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Find {
    /// The client's number of this request; its answer has the same number.
    pub id: RequestId,
    /// The room whose users are searched; it must be joined.
    pub room: RoomName,
    /// A part of the names, in any case of letters. Absent means any name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
}

/// See [`ClientLine::Direct`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Direct {
    /// The last message that the client has of each addressed room that it knows. Absent means that it knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Vec<Position>>,
    /// How many of the newest messages to send of a room that is not in `since`, or of which messages are missing.
    /// Absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// A cursor together with its room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The room.
    pub room: RoomName,
    /// The epoch of the offset.
    pub epoch: Epoch,
    /// The last known message.
    pub offset: Offset,
}

/// A line from the server to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerLine {
    /// The session is open, or a newer token was accepted.
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
    /// Users who joined and left since the last list.
    Presence(Presence),
    /// A signal of another member; it is not stored.
    Signal(Signal),
    /// The answer to `history`.
    Page(Page),
    /// The answer to `find`.
    Found(Found),
    /// The membership has ended and no line of this room follows; the answer to `leave`, or the server's decision.
    Left(Left),
    /// A line was refused, or an error that belongs to no line.
    Error(ErrorLine),
    /// Tests the connection; answered by `pong`.
    Ping {},
    /// The answer to `ping`.
    Pong {},
}

/// See [`ServerLine::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// The name of the user, which members of rooms see.
    pub user: UserName,
    /// The public id of this client.
    pub sender: SenderId,
    /// The interval of the server's pings, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long the token is valid, in milliseconds; absent means for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether the server addresses users, so that the client may send `direct`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// Whether the server finds users by name, so that the client may send `find`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub find: bool,
    /// The limits of the server.
    pub limits: Limits,
}

/// The limits of a server for one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The maximum of bytes of one text; a longer one closes with 1009.
    pub text_bytes: u32,
    /// The maximum of lines of one text; more close with 1009.
    pub text_lines: u32,
    /// The maximum of bytes of the JSON of one body; a longer one is refused permanently.
    pub body_bytes: u32,
    /// The maximum depth of nested lists and objects in a body; a deeper one is refused permanently.
    pub body_depth: u32,
    /// The maximum of joined rooms.
    pub rooms: u32,
    /// The maximum of messages in flight on this connection, in all rooms together. The server also keeps the outcomes
    /// of this many numbers per room, so the client sends no number that is this much above the first one that is not
    /// settled in the room.
    pub in_flight: u32,
    /// The maximum of messages in one page, and of `history` in `join`.
    pub page: u32,
    /// The maximum of open requests: `history` and `find` together.
    pub history: u32,
    /// The lines per second that the server reads from one client on average; 0 means no limit. A faster client is read
    /// later.
    pub lines_per_second: u32,
    /// The burst of lines.
    pub lines_burst: u32,
    /// The bytes per second that the server reads from one client on average; 0 means no limit.
    pub bytes_per_second: u32,
    /// The burst of bytes.
    pub bytes_burst: u32,
    /// The maximum of bytes of a text that the server sends.
    pub sent_text_bytes: u32,
}

/// See [`ServerLine::Joined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// The room of the `join`.
    pub room: RoomName,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The offset of the newest message at this moment.
    pub head: Offset,
    /// The messages after this offset follow without a gap.
    pub after: Offset,
    /// Whether no message is missing between the cursor of `join` and the messages that follow. True without a cursor.
    pub recovered: bool,
    /// The last message that this epoch and an earlier one have in common, if this epoch continues it: the epoch of the
    /// cursor of `join` if the server knows its fork, else the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<Cursor>,
    /// The number of users in the room.
    pub users: u32,
    /// The users in the room, each once, in the server's last list. The newest may be missing; they follow in
    /// `presence`. Absent if there are too many.
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
    /// The author of the message.
    pub from: Author,
    /// The sender's number of the message. Absent if it was not published in a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The sender's id of the message. Absent if it was not published in a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PublishId>,
    /// The time when it was appended.
    pub at: Millis,
    /// Whether the body was deleted after the message was appended; `body` is null then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// The body of the message.
    pub body: Body,
}

/// The sender of a message or a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Author {
    /// The public id of the client.
    pub sender: SenderId,
    /// The name of the user.
    pub user: UserName,
}

/// See [`ServerLine::Ack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ack {
    /// The room of the message.
    pub room: RoomName,
    /// The client's number of the message.
    pub seq: Seq,
    /// The epoch of the offset.
    pub epoch: Epoch,
    /// Its place in the log.
    pub offset: Offset,
    /// The time when it was appended.
    pub at: Millis,
}

/// See [`ServerLine::Nack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nack {
    /// The room of the message.
    pub room: RoomName,
    /// The client's number of the message.
    pub seq: Seq,
    /// The epoch of the log that does not have the message. Absent if the message was refused before the log was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The reason for programs: one of [`code`].
    pub code: String,
    /// The reason for people.
    pub message: String,
    /// Absent: refused permanently, and the number is settled. Present: resend after this many milliseconds, in order
    /// from the first message that is not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// See [`ServerLine::Forgotten`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// The room of the message.
    pub room: RoomName,
    /// The client's number of the message.
    pub seq: Seq,
    /// The epoch of the log.
    pub epoch: Epoch,
}

/// See [`ServerLine::Presence`]. An absent list is unknown and not empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// The room that the users are in.
    pub room: RoomName,
    /// The number of users in the room now.
    pub users: u32,
    /// Users whose first connection joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<Vec<Member>>,
    /// Users whose last connection left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Vec<Member>>,
    /// All users; replaces every earlier list.
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
    /// The body of the signal.
    pub body: Body,
}

/// See [`ServerLine::Page`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The `id` of the `history`.
    pub id: RequestId,
    /// The room that was read.
    pub room: RoomName,
    /// The epoch of the offsets.
    pub epoch: Epoch,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older messages.
    pub more: bool,
}

/// See [`ServerLine::Found`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The `id` of the `find`.
    pub id: RequestId,
    /// The room that was searched.
    pub room: RoomName,
    /// The users: first those whose names begin with the part, then the others, both by name.
    pub members: Vec<Member>,
    /// Whether there are more.
    pub more: bool,
}

/// See [`ServerLine::Left`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The room whose membership ended.
    pub room: RoomName,
    /// The reason of the server for programs. Absent in the answer to `leave`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason of the server for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// See [`ServerLine::Error`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorLine {
    /// The reason for programs: one of [`code`].
    pub code: String,
    /// The reason for people.
    pub message: String,
    /// The room of the refused line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// The kind of the refused line, like `join`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The `id` of a refused `history` or `find`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// Present if the same line may be sent again after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

fields::read_by_fields! {
    Hello { client: required, token: optional, name: optional }
    Join { room: required, since: optional, history: optional }
    Publish { room: required, seq: required, id: required, first: flag, body: required }
    Withdraw { room: required, seq: required, id: required, first: flag }
    History { id: required, room: required, before: required, limit: required }
    Find { id: required, room: required, name: optional }
    Direct { since: optional, history: optional }
    Position { room: required, epoch: required, offset: required }
    Welcome { user: required, sender: required, heartbeat_ms: required, expires_ms: optional_number, direct: flag, find: flag, limits: required }
    Joined { room: required, epoch: required, head: required, after: required, recovered: required, fork: optional, users: required, members: optional }
    Message { room: required, offset: required, from: required, seq: optional, id: optional, at: number, deleted: flag, body: required }
    Ack { room: required, seq: required, epoch: required, offset: required, at: number }
    Nack { room: required, seq: required, epoch: optional, code: required, message: required, retry_after_ms: optional_number }
    Forgotten { room: required, seq: required, epoch: required }
    Presence { room: required, users: required, joined: optional, left: optional, members: optional }
    Signal { room: required, from: required, body: required }
    Page { id: required, room: required, epoch: required, messages: required, more: required }
    Found { id: required, room: required, members: required, more: required }
    Left { room: required, code: optional, message: optional }
    ErrorLine { code: required, message: required, room: optional, kind: optional, id: optional, retry_after_ms: optional_number }
    Cursor { epoch: required, offset: required }
    Author { sender: required, user: required }
    Member { user: required }
    Limits { text_bytes: required, text_lines: required, body_bytes: required, body_depth: required, rooms: required, in_flight: required, page: required, history: required, lines_per_second: required, lines_burst: required, bytes_per_second: required, bytes_burst: required, sent_text_bytes: required }
}

/// The codes in `nack`, `error` and `left`. A client handles an unknown code by `retry_after_ms` only.
pub mod code {
    /// An earlier number is missing: the client resends from the first number that is not settled.
    pub const GAP: &str = "gap";
    /// Too many signals or requests (`history`, `find`) per second.
    pub const RATE: &str = "rate";
    /// The server is overloaded.
    pub const BUSY: &str = "busy";
    /// The log cannot be reached.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The body is over `limits.body_bytes`.
    pub const TOO_LARGE: &str = "too_large";
    /// The body is nested deeper than `limits.body_depth`.
    pub const TOO_DEEP: &str = "too_deep";
    /// The name of the room violates the server's rule.
    pub const BAD_ROOM: &str = "bad_room";
    /// This user may not do this in this room.
    pub const FORBIDDEN: &str = "forbidden";
    /// The room does not exist and may not be created.
    pub const NO_SUCH_ROOM: &str = "no_such_room";
    /// The session has joined the maximum of rooms.
    pub const TOO_MANY_ROOMS: &str = "too_many_rooms";
    /// The room has the maximum of members.
    pub const ROOM_FULL: &str = "room_full";
    /// The room is joined already.
    pub const ALREADY_JOINED: &str = "already_joined";
    /// The room must be joined first.
    pub const NOT_JOINED: &str = "not_joined";
    /// The client withdrew the number.
    pub const WITHDRAWN: &str = "withdrawn";
    /// The number belongs to another message of this key, because two clients use the key. No message was appended or
    /// withdrawn, and this answer does not settle the number.
    pub const CONFLICT: &str = "conflict";
    /// The message was in the log, and was deleted with all messages of its room.
    pub const DELETED: &str = "deleted";

    /// All codes.
    pub const ALL: [&str; 16] = [
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
        DELETED,
    ];
}
