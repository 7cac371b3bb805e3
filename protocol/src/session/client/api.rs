//! What goes into a [`ClientSession`](super::ClientSession) and what comes out.

use std::time::Duration;

use crate::{
    Body, ClientKey, Cursor, Epoch, Offset, RoomName, SenderId, UserName,
    message::{Author, Member, Message, Millis},
};

/// Counts the connections of a session. Whatever a driver reports carries the generation it belongs to, so that a late event of an
/// old socket is told apart and ignored.
pub type Generation = u64;

/// A number that the driver chose for a request, given back with its answers. Each is used once, also across a restored snapshot.
pub type Tag = u64;

/// Everything that can happen to a client's session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection that [`Output::Connect`] asked for is open, with the subprotocol agreed.
    Opened {
        /// From [`Output::Connect`].
        generation: Generation,
    },
    /// A WebSocket message with a text came.
    Received {
        /// From [`Output::Connect`].
        generation: Generation,
        /// The whole text.
        text: String,
    },
    /// The connection is gone, or could not be opened.
    Closed {
        /// From [`Output::Connect`].
        generation: Generation,
        /// As the transport tells it; 1006 if there was none.
        code: u16,
        /// As the transport tells it.
        reason: String,
    },
    /// The time of [`next_timeout`](super::ClientSession::next_timeout) has come. Harmless at any other time.
    Tick,

    /// The machine has a network again: connects at once, or checks the connection that is there.
    Online,
    /// The machine has no network: no attempts until [`Online`](Self::Online). A connection that still works is kept.
    Offline,
    /// The user looks at the page: as [`Online`](Self::Online), unless the machine is offline.
    Visible,
    /// The page is about to sleep (`pagehide`, `freeze`): closes with 1000, no attempts until [`Resume`](Self::Resume).
    Suspend,
    /// The page is back (`pageshow`, `resume`): connects at once.
    Resume,

    /// The answer to [`Output::TokenWanted`]: a token, or `None` if there is none to be had now, which is retried with backoff.
    Token(Option<String>),
    /// The answer to [`Output::KeyWanted`]: a key that nobody has used, from a cryptographic source.
    Key(ClientKey),

    /// Connects now, without waiting: for the first time, from "try now", after a stop.
    Connect,
    /// Ends the session with 1000. What is not acknowledged fails.
    Stop,
    /// Become a member of a room. Joining a room that is joined changes nothing.
    Join {
        /// Which room.
        room: RoomName,
        /// The last message the application has; what follows it comes.
        since: Option<Cursor>,
        /// How many of the newest messages to get when there is no `since`, or when what follows it is gone.
        history: Option<u32>,
    },
    /// Be a member no longer.
    Leave {
        /// Which room.
        room: RoomName,
    },
    /// Send a message. The room need not be joined, the connection need not be open.
    Publish {
        /// Which room.
        room: RoomName,
        /// What to say.
        body: Body,
        /// Comes back with each [`Output::Delivery`].
        tag: Tag,
    },
    /// Tell the members of a joined room something that is not kept. Without a joined room it is dropped; one that
    /// the server would not take is an [`Output::Fault`].
    Signal {
        /// Which room.
        room: RoomName,
        /// What to tell.
        body: Body,
    },
    /// Ask for older messages.
    History {
        /// Which room.
        room: RoomName,
        /// The offset after the last message wanted.
        before: Offset,
        /// How many at most; the server may give fewer.
        limit: u32,
        /// Comes back with [`Output::Page`].
        tag: Tag,
    },
}

/// Everything that a client's session asks for or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection. There is no other one: an earlier one was closed by its peer or by [`Output::Disconnect`].
    Connect {
        /// To be given with everything that the connection does.
        generation: Generation,
    },
    /// Send this text as one WebSocket message.
    Transmit {
        /// Which connection.
        generation: Generation,
        /// One or more lines.
        text: String,
    },
    /// Close the connection and forget it at once, without waiting for the closing handshake. Codes that a browser may not send
    /// do not occur: they are 1000 or 4000 and above.
    Disconnect {
        /// Which connection.
        generation: Generation,
        /// To be sent in the close frame.
        code: u16,
        /// To be sent in the close frame; at most 123 bytes.
        reason: String,
    },
    /// Ask the application for a token and answer with [`Input::Token`].
    TokenWanted,
    /// Another client uses the key of this one, as a copy of its kept outbox would, or the log is far beyond the numbers of this session,
    /// as after an older copy was restored: answer with [`Input::Key`]; until then there is no connection. The connection was dropped
    /// before. Messages that may have been sent with the old key and were not answered have failed as [`FailReason::Unconfirmed`]; those
    /// that certainly were not go out with the new one, with new numbers.
    KeyWanted,
    /// If the outbox is kept across reloads: carry out [`writes`](super::ClientSession::writes), or store
    /// [`snapshot`](super::ClientSession::snapshot), now, before the outputs that follow are carried out. What follows may use numbers that
    /// a restored session must not use again.
    Save,
    /// The state of the connection changed.
    Status(Status),
    /// Something happened in a room.
    Room {
        /// Which room.
        room: RoomName,
        /// What.
        event: RoomEvent,
    },
    /// A message that was sent got further. The last state of a tag is `Acked` or `Failed`, and it comes exactly once.
    Delivery {
        /// From [`Input::Publish`].
        tag: Tag,
        /// How far.
        state: DeliveryState,
    },
    /// After a publish failed with [`FailReason::OutboxFull`] or [`has_capacity`](super::ClientSession::has_capacity) said no: there is place
    /// again, a quarter of the outbox at least, and enough for the smallest body that was refused since it was last told. A driver lets
    /// those who wait ask in the order in which they came, each only after the one before got its place: then small bodies cannot keep
    /// a large one waiting for ever.
    OutboxHasCapacity,
    /// The answer to [`Input::History`]; exactly one.
    Page {
        /// From [`Input::History`].
        tag: Tag,
        /// Messages, oldest first.
        result: Result<HistoryPage, PageError>,
    },
    /// The server reported an error that belongs to nothing the application waits for, like a refused signal. For logs.
    Fault {
        /// Why, for programs.
        code: String,
        /// Why, for people.
        message: String,
        /// The room it is about.
        room: Option<RoomName>,
    },
}

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// On the way to be open: asking for a token, connecting, or greeting the server.
    Connecting,
    /// Welcomed by the server.
    Open {
        /// The name that others see.
        user: UserName,
        /// The public id of this client.
        sender: SenderId,
    },
    /// The next attempt comes by itself.
    Waiting {
        /// How many attempts failed in a row.
        attempt: u32,
        /// When, on the clock of [`Moment::now`](crate::Moment::now).
        until: Duration,
        /// Why the last connection ended.
        cause: Cause,
    },
    /// No attempt until the page or the network is back.
    Suspended(SuspendReason),
    /// No attempt until [`Input::Connect`].
    Stopped(StopReason),
}

/// Why a connection ended, as a close code and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// See [`close`](crate::close).
    pub code: u16,
    /// For people; may be empty.
    pub reason: String,
}

/// Why no attempt is made for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspendReason {
    /// [`Input::Offline`].
    Offline,
    /// [`Input::Suspend`].
    Asleep,
}

/// Why the session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Nobody said [`Input::Connect`] yet.
    NotStarted,
    /// [`Input::Stop`].
    Asked,
    /// The server closed with a final code: trying again cannot help.
    Refused(Cause),
    /// The server wants a token and the configuration says that there is none.
    TokenNeeded,
}

/// What happens in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// Joined without a cursor: the newest messages that were asked for follow, then the live ones.
    Joined(JoinedRoom),
    /// Joined again, or with a cursor: everything after the last message follows, nothing is missing.
    Recovered(JoinedRoom),
    /// Joined again, but messages are missing: what the application shows of the room is to be replaced by what follows.
    Reset(JoinedRoom),
    /// The next message, in the order that all members share; each comes once.
    Message {
        /// The message.
        message: Message,
        /// Whether this client sent it, with the key that it has now. Its `Acked` with this offset came before. What it sent with an
        /// earlier key, see [`Output::KeyWanted`], comes from another sender and is not its own any more.
        own: bool,
    },
    /// Users came or went.
    Presence {
        /// How many users are in the room now.
        users: u32,
        /// Who.
        change: PresenceChange,
    },
    /// The log went on from an earlier point: these messages of this client were acknowledged and are lost. Comes before the
    /// [`Recovered`](Self::Recovered) or [`Reset`](Self::Reset) of the same join.
    Lost {
        /// The life of the log in which they were acknowledged.
        epoch: Epoch,
        /// Their places in it, ascending: of the acknowledgements since the session began or was restored, as many as
        /// [`ClientOptions::acknowledged`](super::ClientOptions::acknowledged) remembers.
        offsets: Vec<Offset>,
    },
    /// A member signalled.
    Signal {
        /// Who.
        from: Author,
        /// What.
        body: Body,
    },
    /// No longer a member, after [`Input::Leave`] or by the server's decision, which may come with a reason.
    Left(Option<LeftReason>),
    /// The server does not let this user be a member; the room is not joined.
    Refused {
        /// Why, for programs: see [`code`](crate::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
}

/// Who came and went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceChange {
    /// The difference to what was told before. A user may be named again who is there already, or leave who is not.
    Changed {
        /// Users whose first tab came.
        joined: Vec<Member>,
        /// Users whose last tab left.
        left: Vec<Member>,
    },
    /// All users, in place of what was told before.
    List(Vec<Member>),
    /// The server does not tell who: there are too many. What was told before is out of date.
    Untold,
}

/// Why the server ended a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftReason {
    /// For programs: see [`code`](crate::message::code).
    pub code: String,
    /// For people.
    pub message: String,
}

/// The state of a room at the moment it was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedRoom {
    /// The life of the log.
    pub epoch: Epoch,
    /// The newest message at this moment.
    pub head: Offset,
    /// The messages after this offset follow.
    pub after: Offset,
    /// How many users are in the room.
    pub users: u32,
    /// The users in the room, as the server last listed them; `None` when there are too many to tell.
    pub members: Option<Vec<Member>>,
}

/// How far a message got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// In the outbox.
    Queued,
    /// Handed to the transport, for the first time or again.
    Written,
    /// In the log, for all members to see.
    Acked {
        /// The life of the log.
        epoch: Epoch,
        /// Its place.
        offset: Offset,
        /// When it was appended, by the server's clock.
        at: Millis,
    },
    /// It will not be sent any more.
    Failed(FailReason),
}

impl DeliveryState {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Acked { .. } | Self::Failed(_))
    }
}

/// Why a message will not be sent any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The outbox holds as many messages or bytes as it may. Wait for [`Output::OutboxHasCapacity`] and publish again.
    #[error("too many messages wait to be sent; try again when some of them are out")]
    OutboxFull,
    /// Messages to as many rooms as may be are not settled. Publish again after some of them are.
    #[error("messages to too many different rooms wait to be sent; try again when some of them are out")]
    TooManyRooms,
    /// The message is larger than the server takes.
    #[error("the message has {bytes} bytes of JSON: the server takes at most {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The server's limit.
        max: usize,
    },
    /// Lists and objects in the message are nested deeper than the server takes.
    #[error("lists and objects in the message are nested {depth} deep: the server takes at most {max}")]
    TooDeep {
        /// Its depth; 0 for a text or a number.
        depth: u32,
        /// The server's limit.
        max: u32,
    },
    /// Its time was over, and it is certainly not in the log: it was never sent, or the log told so in time.
    #[error("the message could not be sent in time")]
    Expired,
    /// It was sent, or an earlier page may have done so, and nobody can tell any more whether it is in the log: no answer came within
    /// twice the time that a message may wait, the log has forgotten, or another client uses its key.
    #[error("the message was sent, but the server did not confirm it in time; it may have arrived")]
    Unconfirmed,
    /// The server refused it for good.
    #[error("{message}")]
    Refused {
        /// The life of the log that does not have it. `None`: it was refused before the log was asked; what an earlier connection
        /// carried of it may be in the log.
        epoch: Option<Epoch>,
        /// Why, for programs: see [`code`](crate::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
    /// The session was stopped before it was sent. It is certainly not in the log.
    #[error("the connection was stopped before the message was sent")]
    Stopped,
}

/// Older messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The life of the log that the offsets belong to.
    pub epoch: Epoch,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more: bool,
}

/// Why a page of history did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Too many requests wait.
    #[error("too many requests for older messages wait; try again after one of them is answered")]
    TooMany,
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// Why, for programs: see [`code`](crate::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
    /// The session was stopped.
    #[error("the connection was stopped")]
    Stopped,
}
