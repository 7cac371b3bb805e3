//! The inputs and outputs of a [`ClientSession`](super::ClientSession).

use std::time::Duration;

use crate::{
    Body, ClientKey, Epoch, Offset, RoomName, SenderId, UserName,
    message::{Author, Member, Message, Millis},
};

/// The number of a connection in its session, from 1. Each event that a driver reports carries the generation of its
/// connection, so that late events of earlier generations are ignored.
pub type Generation = u64;

/// A number that the driver chooses for a message or a request; its outputs carry it. Each is used once, also across a
/// restored snapshot.
pub type Tag = u64;

/// An event for a client's session. Commands are methods of [`ClientSession`](super::ClientSession).
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection of [`Output::Connect`] is open, and the subprotocol was agreed.
    Opened {
        /// From [`Output::Connect`].
        generation: Generation,
    },
    /// A WebSocket message with a text was received.
    Received {
        /// From [`Output::Connect`].
        generation: Generation,
        /// The whole text.
        text: String,
    },
    /// The connection ended, or could not be opened.
    Closed {
        /// From [`Output::Connect`].
        generation: Generation,
        /// From the close frame; 1006 if there was none.
        code: u16,
        /// From the close frame; empty if there was none.
        reason: String,
    },
    /// The time of [`next_timeout`](super::ClientSession::next_timeout) has come. Harmless at any other time.
    Tick,

    /// The machine has a network again: connects at once, or checks that the open connection works.
    Online,
    /// The machine has no network: no attempts until [`Online`](Self::Online). A connection that still works is kept.
    Offline,
    /// The page became visible: as [`Online`](Self::Online), unless the machine is offline.
    Visible,
    /// The page is suspended (`pagehide`, `freeze`): closes with 1000, no attempts until [`Resume`](Self::Resume).
    Suspend,
    /// The page is back (`pageshow`, `resume`): connects at once.
    Resume,

    /// The answer to [`Output::TokenWanted`]: a token, or `None` if there is none now; then it is asked for again with
    /// backoff.
    Token(Option<String>),
    /// The answer to [`Output::KeyWanted`]: a new key from a cryptographic source.
    Key(ClientKey),
}

/// An action to carry out or an event to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection. There is no other one: the earlier one was closed by its peer or by [`Output::Disconnect`].
    Connect {
        /// To be reported with each event of the connection.
        generation: Generation,
    },
    /// Send this text as one WebSocket message.
    Transmit {
        /// The connection to send it on.
        generation: Generation,
        /// One or more lines.
        text: String,
    },
    /// Close the connection and forget it at once, without waiting for the closing handshake.
    Disconnect {
        /// The connection to close.
        generation: Generation,
        /// For the close frame: 1000, or 4000 to 4999, which a browser may send.
        code: u16,
        /// For the close frame; at most 123 bytes.
        reason: String,
    },
    /// Ask the application for a token and answer with [`Input::Token`].
    TokenWanted,
    /// Another client uses the key of this one, as a copy of its kept outbox does, or the log is far beyond the numbers
    /// of this session, as after an older copy was restored. Answer with [`Input::Key`]; until then there is no
    /// connection. Messages that may have been sent with the old key and were not answered have failed with
    /// [`FailReason::Unconfirmed`]; the others are sent with the new key and new numbers.
    KeyWanted,
    /// If the outbox is kept across reloads: carry out [`writes`](super::ClientSession::writes), or store
    /// [`snapshot`](super::ClientSession::snapshot), now, before later outputs are carried out. Those may use numbers that a restored
    /// session must not use again.
    Save,
    /// The state of the connection changed.
    Status(Status),
    /// An event of a room.
    Room {
        /// The room that the application joined.
        room: RoomName,
        /// Events of one room are in the order of its log.
        event: RoomEvent,
    },
    /// The server refused [`address`](super::ClientSession::address), for instance because it does not address users. No
    /// event of an addressed room follows.
    NotAddressed {
        /// Why, for programs: see [`code`](crate::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
    /// The state of a message in the outbox changed. The last state of a tag is `Acked` or `Failed`, and it is reported
    /// exactly once.
    Delivery {
        /// From [`publish`](super::ClientSession::publish).
        tag: Tag,
        /// The new state.
        state: DeliveryState,
    },
    /// After a publish failed with [`FailReason::OutboxFull`] or [`has_capacity`](super::ClientSession::has_capacity)
    /// returned `false`: at least a quarter of the outbox is free again, and enough for the smallest body that was
    /// refused since the last such output. A driver lets waiting tasks try in the order in which they came, each after
    /// the one before succeeded; then small bodies cannot keep a large one waiting forever.
    OutboxHasCapacity,
    /// The answer to a request for [`history`](super::ClientSession::history); exactly one for each that was taken.
    Page {
        /// From [`history`](super::ClientSession::history).
        tag: Tag,
        /// The page, or why there is none.
        result: Result<HistoryPage, PageError>,
    },
    /// The answer to [`find`](super::ClientSession::find); exactly one for each that was taken.
    Found {
        /// From [`find`](super::ClientSession::find).
        tag: Tag,
        /// The users, or why they were not searched.
        result: Result<FoundMembers, PageError>,
    },
    /// An error that belongs to no pending request, like a refused signal. For logs.
    Fault {
        /// Why, for programs.
        code: String,
        /// Why, for people.
        message: String,
        /// The room that it concerns, if it concerns one.
        room: Option<RoomName>,
    },
}

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// An attempt: asking the application for a token, opening the transport, or waiting for `welcome`.
    Connecting,
    /// The server has sent `welcome`.
    Open {
        /// The name that other users see.
        user: UserName,
        /// The public id of this client.
        sender: SenderId,
    },
    /// The next attempt begins by itself.
    Waiting {
        /// How many attempts failed in a row; 1 also after a restart of the server, which is no failure.
        attempt: u32,
        /// When it begins, on the clock of [`Moment::now`](crate::Moment::now).
        until: Duration,
        /// Why the last connection ended.
        cause: Cause,
    },
    /// No attempt until the page resumes or the network is back.
    Suspended(SuspendReason),
    /// No attempt until [`connect`](super::ClientSession::connect).
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

/// Why the session makes no attempt.
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
    /// [`connect`](super::ClientSession::connect) was not called yet.
    NotStarted,
    /// [`stop`](super::ClientSession::stop).
    Asked,
    /// The server closed with a final code: another attempt would end the same way.
    Refused(Cause),
    /// The server requires a token, and [`ClientOptions::tokens`](super::ClientOptions::tokens) is off.
    TokenNeeded,
}

/// An event of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// Joined without a cursor: the newest messages that were asked for follow, then the live ones.
    Joined(JoinedRoom),
    /// Joined again, or with a cursor: everything after the last message follows, nothing is missing.
    Recovered(JoinedRoom),
    /// Joined again, but messages are missing: the messages that follow replace what the application shows of the room.
    Reset(JoinedRoom),
    /// The next message of the log. Each comes once.
    Message {
        /// The message, with its offset and sender.
        message: Message,
        /// Whether this client sent it with its present key. Its `Acked` with this offset came before. Messages that it
        /// sent with an earlier key, see [`Output::KeyWanted`], have another sender and are not its own.
        own: bool,
    },
    /// Users came or went.
    Presence {
        /// How many users are in the room now.
        users: u32,
        /// Which users, if the server says so.
        change: PresenceChange,
    },
    /// The log forked at an earlier offset: these messages of this client were acknowledged and are lost. Precedes the
    /// [`Recovered`](Self::Recovered) or [`Reset`](Self::Reset) of the same join.
    Lost {
        /// The epoch in which they were acknowledged.
        epoch: Epoch,
        /// Their offsets in it, ascending: of the acknowledgements since the session began or was restored, as many as
        /// [`ClientOptions::acknowledged`](super::ClientOptions::acknowledged) remembers.
        offsets: Vec<Offset>,
    },
    /// A member sent a signal.
    Signal {
        /// The member.
        from: Author,
        /// The content.
        body: Body,
    },
    /// The membership ended by the server's decision, which may have a reason.
    Left(Option<LeftReason>),
    /// The server refused the join.
    Refused {
        /// Why, for programs: see [`code`](crate::message::code).
        code: String,
        /// Why, for people.
        message: String,
    },
}

/// Which users came and went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceChange {
    /// The difference to the users before. It may add a user who is present already, or remove one who is not.
    Changed {
        /// Users whose first tab came.
        joined: Vec<Member>,
        /// Users whose last tab left.
        left: Vec<Member>,
    },
    /// All users. Replaces the users before.
    List(Vec<Member>),
    /// Unknown, because there are too many. The users before are out of date.
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
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The offset of the newest message at this moment.
    pub head: Offset,
    /// The messages after this offset follow.
    pub after: Offset,
    /// How many users are in the room.
    pub users: u32,
    /// The users in the room, as the server last listed them; `None` if there are too many for a list.
    pub members: Option<Vec<Member>>,
}

/// The state of a message that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// In the outbox. It is the state from [`publish`](super::ClientSession::publish) on, and never an output.
    Queued,
    /// Handed to the transport, once or more often.
    Written,
    /// In the log.
    Acked {
        /// The epoch of the log.
        epoch: Epoch,
        /// Its offset in the log.
        offset: Offset,
        /// When it was appended, by the server's clock.
        at: Millis,
    },
    /// Not sent, or not sent again.
    Failed(FailReason),
}

impl DeliveryState {
    /// Whether it is the last state of a message.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Acked { .. } | Self::Failed(_))
    }
}

/// Why a message failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The outbox has no capacity for it. Wait for [`Output::OutboxHasCapacity`] and publish again.
    #[error("too many messages wait to be sent; try again when some of them are out")]
    OutboxFull,
    /// [`ClientOptions::rooms`](super::ClientOptions::rooms) other rooms have unsettled messages. Publish again after some are settled.
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
    /// It expired, and it is certainly not in the log: it was never sent, or the log confirmed so in time.
    #[error("the message could not be sent in time")]
    Expired,
    /// It was sent, or an earlier page may have sent it, and it cannot be known any more whether it is in the log: no
    /// answer came within twice its `ttl`, the log has forgotten it, or another client uses its key.
    #[error("the message was sent, but the server did not confirm it in time; it may have arrived")]
    Unconfirmed,
    /// The server refused it for good.
    #[error("{message}")]
    Refused {
        /// The epoch of the log that does not have it. `None`: it was refused before the log was asked, and the log may
        /// have it from an earlier connection.
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

/// A page of older messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The epoch that the offsets belong to.
    pub epoch: Epoch,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether the log has older messages.
    pub more: bool,
}

/// Users of a room that were found by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundMembers {
    /// First those whose names begin with the part that was asked for, then the others that have it.
    pub members: Vec<Member>,
    /// Whether there are more than the server names in one answer.
    pub more: bool,
}

/// Why a page of history, or the users with a name, did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// [`ClientOptions::pages`](super::ClientOptions::pages) requests have no answer yet. Request it again after one of them.
    #[error("too many requests wait; try again after one of them is answered")]
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
