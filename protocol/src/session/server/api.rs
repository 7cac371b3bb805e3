//! What goes into a [`ServerSession`](super::ServerSession) and what comes out.

use std::{borrow::Cow, time::Duration};

use crate::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RequestId, RoomName, Seq, UserName,
    codec::{MemberList, MessageLine},
    message::{Author, Millis},
};

use super::Allowance;

/// The number of a subscription in its session. A room that is joined again has another one.
pub type SubscriptionId = u64;

/// Everything that can happen to a server's session. The transport's end is not among them: drop the session and its
/// memberships.
#[derive(Clone, Debug)]
pub enum Input {
    /// A WebSocket message with a text came.
    Received {
        /// The whole text.
        text: String,
    },
    /// WebSocket messages and control frames were received since the last `Counted`; give it before the text that came
    /// last. They count against the bound on everything that a client sends, whatever is in them.
    Counted {
        /// How many, WebSocket messages and control frames together.
        frames: u32,
    },
    /// The time of [`next_timeout`](super::ServerSession::next_timeout) has come, and what the transport had was taken
    /// before, unless [`reads`](super::ServerSession::reads) forbids it: only this input can find that the client is
    /// silent, so that one whose pong lies unread is not closed for it. A driver that does not read for reasons of its
    /// own does so for less than `heartbeat_grace` at a time. Harmless at any other time.
    Tick,
    /// What was sent may take this long to reach a slow client: from now on the answer to a ping may come so much later
    /// than `heartbeat_grace`. For a driver that knows how much is unsent; give it before an input that is given at or
    /// after [`next_timeout`](super::ServerSession::next_timeout).
    Slow {
        /// How much longer; replaces what was given before.
        by: Duration,
    },
    /// The answer to [`Output::Identify`].
    Identified(Result<Identity, Denied>),
    /// The answer to [`Output::Subscribe`].
    Subscribed {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// What the log had at that moment.
        result: Result<Subscription, Refusal>,
    },
    /// The answer to [`Output::Append`].
    Appended {
        /// The `room` of [`Output::Append`].
        room: RoomName,
        /// Its `seq`.
        seq: Seq,
        /// What the log did.
        outcome: AppendOutcome,
    },
    /// The answer to [`Output::ReadPage`].
    PageRead {
        /// The `id` of [`Output::ReadPage`].
        id: RequestId,
        /// Its `room`.
        room: RoomName,
        /// The messages, or why they cannot be read.
        result: Result<PageLines, Refusal>,
    },
    /// The server's own decision that the client is no longer a member, for instance because the room ends. The
    /// membership is gone.
    Expelled {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// Why; its `retry_after` is not told. A `left` without a code is the answer to `leave`.
        reason: Refusal,
    },
    /// The server stops: closes with 1012 and asks the client to come back after this time, which the driver spreads.
    Shutdown {
        /// How long from now.
        retry_after: Duration,
    },
}

/// Everything that a server's session asks for. Carry the outputs out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this text as one WebSocket message.
    Transmit(String),
    /// The client has sent what it may for now: take nothing from the transport before this time, on the clock of
    /// [`Moment::now`](crate::Moment::now) and at most a second ahead. Then give [`Input::Tick`] before reading: the
    /// session pauses again if the client still owes. Everything else goes on, and silence is not counted meanwhile.
    Pause {
        /// When to read again.
        until: Duration,
    },
    /// Find out who the user is, and answer with [`Input::Identified`] before the next [`Input::Received`]: stop
    /// reading meanwhile.
    Identify {
        /// The client's secret, from `hello`.
        client: ClientKey,
        /// Its token, from `hello` or `auth`.
        token: Option<String>,
        /// The name it would like to show, from `hello`, also with a newer token.
        name: Option<UserName>,
    },
    /// Append to the room's log, in the order of these outputs. Up to `limits.in_flight` are unanswered. Each gets one
    /// [`Input::Appended`]: for a number that was settled before, with what it was settled with.
    Append {
        /// The room whose log takes it.
        room: RoomName,
        /// With `seq` and `room`, the key of de-duplication.
        client: ClientKey,
        /// The number of the message among those of the client in the room.
        seq: Seq,
        /// The id of the message. A log that has the number with another id answers [`AppendOutcome::Conflict`].
        id: PublishId,
        /// Whether all earlier numbers are settled. The log takes the number after the last that it settled, which is 0
        /// for a client that it does not know; if `first`, it takes any that is greater. Another greater one is
        /// [`AppendOutcome::Gap`].
        first: bool,
        /// What members see of the sender.
        from: Author,
        /// The body; or a refusal that settles the number in place of a message.
        content: Result<Body, Refusal>,
    },
    /// Register the socket in the hub, holding back its live lines; then read the log; then answer with
    /// [`Input::Subscribed`].
    Subscribe {
        /// To be given in the answer.
        id: SubscriptionId,
        /// The room to follow.
        room: RoomName,
        /// Read what follows it ...
        since: Option<Cursor>,
        /// ... or, without it, or when what follows is gone, this many of the newest messages.
        history: u32,
    },
    /// From here on the driver writes the room's lines straight to the socket: every message with an offset over
    /// `after`, each once, in order. First what the answer left out, then the lines held back since
    /// [`Output::Subscribe`] without those that were sent already, then the live ones.
    Live {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// Its `room`.
        room: RoomName,
        /// The last offset that the session sent itself, or `after` of the answer if it sent none.
        after: Offset,
    },
    /// Take the socket out of the room: no line of it after this.
    Unsubscribe {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// Its `room`.
        room: RoomName,
    },
    /// Read the newest messages before an offset and answer with [`Input::PageRead`], in any order.
    ReadPage {
        /// To be given in the answer.
        id: RequestId,
        /// The room to read; it need not be joined.
        room: RoomName,
        /// The offset after the last message wanted.
        before: Offset,
        /// How many at most: 1 to `limits.page`.
        limit: u32,
    },
    /// Send a `signal` line to the other members of the room.
    Signal {
        /// The room whose other members get it.
        room: RoomName,
        /// Who signals.
        from: Author,
        /// The body of the signal.
        body: Body,
    },
    /// Close the connection. Nothing follows.
    Close {
        /// The code of the close frame.
        code: u16,
        /// The reason of the close frame; at most 123 bytes.
        reason: String,
    },
}

/// A user who is let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The name to show.
    pub user: UserName,
    /// How long the token is good for; after that the session closes with 4401.
    pub expires: Option<Duration>,
    /// What an earlier connection of this client had left of its rate
    /// ([`ServerSession::allowance`](super::ServerSession::allowance)), and how long ago it ended. Without it the
    /// client begins with full buckets.
    pub allowance: Option<(Allowance, Duration)>,
}

/// Why a user is not let in: closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// 4401, 4403, 4429, 1013, ...
    pub code: u16,
    /// The reason of the close frame: for people, or `{"retry_after_ms":n}`.
    pub reason: String,
}

/// What the log had when the socket was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The life of the log.
    pub epoch: Epoch,
    /// The offset of its newest message.
    pub head: Offset,
    /// The messages after this offset follow. Equal to the offset of `since` if `recovered`
    /// and a `since` was given.
    pub after: Offset,
    /// Whether nothing is missing between `since` and `messages`; true without `since`.
    pub recovered: bool,
    /// Where this log parted from its life before, if it went on from an earlier point of it.
    pub fork: Option<Cursor>,
    /// How many users are in the room.
    pub users: u32,
    /// The users in the room as they were last listed; `None` when there are too many to tell.
    pub members: Option<MemberList>,
    /// The messages from `after + 1` on, encoded: all up to `head`, or some, or none. The driver sends the others after
    /// [`Output::Live`], before the live lines: so a long backlog can be read page by page, as fast as the client takes
    /// it.
    pub messages: Vec<MessageLine>,
}

/// What the log did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is in the log from now on.
    Added(Place),
    /// It was in the log before.
    Duplicate(Place),
    /// It is not in the log. Without `retry_after` its number is settled with this refusal, and it would be refused
    /// again; with it the number is still free.
    Refused {
        /// The life of the log; `None` if the log was not asked.
        epoch: Option<Epoch>,
        /// Why.
        refusal: Refusal,
    },
    /// Its number is not the next one: an earlier one of this client is missing and must come first.
    Gap {
        /// The life of the log.
        epoch: Epoch,
    },
    /// Its number belongs to a message with another id. Nothing changed.
    Conflict {
        /// The life of the log.
        epoch: Epoch,
    },
    /// Its number was settled so long ago that the log no longer knows how. Nothing changed.
    Forgotten {
        /// The life of the log.
        epoch: Epoch,
    },
}

/// Where a message is in a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The life of the log that the offset belongs to.
    pub epoch: Epoch,
    /// Its offset.
    pub offset: Offset,
    /// When it was added.
    pub at: Millis,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs: see [`code`](crate::message::code).
    pub code: Cow<'static, str>,
    /// The same for people; it says what to do.
    pub message: Cow<'static, str>,
    /// When to try again; `None` means never.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal for good: trying again cannot help.
    #[must_use]
    pub fn for_good(code: &'static str, message: &'static str) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// A refusal for now: the same line may be sent again after this time.
    #[must_use]
    pub fn later(code: &'static str, message: &'static str, retry_after: Duration) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry_after: Some(retry_after),
        }
    }
}

/// A part of a room's log, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageLines {
    /// The life of the log.
    pub epoch: Epoch,
    /// Oldest first.
    pub messages: Vec<MessageLine>,
    /// Whether there are older ones.
    pub more: bool,
}
