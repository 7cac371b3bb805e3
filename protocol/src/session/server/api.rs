//! The inputs and outputs of a [`ServerSession`](super::ServerSession).

use std::{borrow::Cow, time::Duration};

use crate::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RequestId, RoomName, Seq, UserName,
    codec::{MemberList, MessageLine},
    message::{Author, Member, Millis},
};

use super::Allowance;

/// The number of a subscription in its session. A room that is joined again has another one.
pub type SubscriptionId = u64;

/// The inputs of a server's session. There is none for the end of the transport: then drop the session and its
/// memberships.
#[derive(Clone, Debug)]
pub enum Input {
    /// A text message was received.
    Received {
        /// The whole text.
        text: String,
    },
    /// WebSocket messages and control frames were received since the last `Counted`; give it before the text that came
    /// last. They count against the bound of everything that a client sends.
    Counted {
        /// The number of WebSocket messages and control frames together.
        frames: u32,
    },
    /// The time of [`next_timeout`](super::ServerSession::next_timeout) has come, and everything that the transport had
    /// was read before, unless [`reads`](super::ServerSession::reads) is false. Only this input can close a silent
    /// client, so that a client with an unread pong is not closed. A driver that stops reading for other reasons must
    /// do so for less than `heartbeat_grace` at a time. Without effect at any other time.
    Tick,
    /// Sent texts may need this long to reach a slow client: from now on the answer to a ping may come this much later
    /// than `heartbeat_grace`. For a driver that knows how many bytes are unsent; give it before an input at or after
    /// [`next_timeout`](super::ServerSession::next_timeout).
    Slow {
        /// The additional time; replaces an earlier one.
        by: Duration,
    },
    /// The answer to [`Output::Identify`].
    Identified(Result<Identity, Denied>),
    /// The answer to [`Output::Subscribe`].
    Subscribed {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// The state of the log at that moment, or the refusal.
        result: Result<Subscription, Refusal>,
    },
    /// The answer to [`Output::Append`].
    Appended {
        /// The `room` of [`Output::Append`].
        room: RoomName,
        /// Its `seq`.
        seq: Seq,
        /// The outcome.
        outcome: AppendOutcome,
    },
    /// The answer to [`Output::ReadPage`].
    PageRead {
        /// The `id` of [`Output::ReadPage`].
        id: RequestId,
        /// Its `room`.
        room: RoomName,
        /// The messages, or the reason why they cannot be read.
        result: Result<PageLines, Refusal>,
    },
    /// The answer to [`Output::Find`].
    Found {
        /// The `id` of [`Output::Find`].
        id: RequestId,
        /// Its `room`.
        room: RoomName,
        /// The users, or the reason why they cannot be searched.
        result: Result<FoundMembers, Refusal>,
    },
    /// The answer to [`Output::Address`].
    Addressed(Result<Vec<RoomName>, Refusal>),
    /// The server ended the membership, for instance because the room ends.
    Expelled {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// The reason; its `retry_after` is not sent.
        reason: Refusal,
    },
    /// The server stops: closes with 1012 and tells the client to reconnect after this time. The driver gives each
    /// client another time.
    Shutdown {
        /// The time from now.
        retry_after: Duration,
    },
}

/// The outputs of a server's session. Carry them out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this text as one WebSocket message.
    Transmit(String),
    /// The client has exceeded its rate: read nothing from the transport before this time, on the clock of
    /// [`Moment::now`](crate::Moment::now) and at most a second ahead. Then give [`Input::Tick`] before reading: the
    /// session pauses again if there is still a debt. Everything else continues, and the heartbeat timeout does not run
    /// meanwhile.
    Pause {
        /// The time to read again.
        until: Duration,
    },
    /// Identify the user, and answer with [`Input::Identified`] before the next [`Input::Received`]. Stop reading
    /// meanwhile.
    Identify {
        /// The client's secret, from `hello`.
        client: ClientKey,
        /// Its token, from `hello` or `auth`.
        token: Option<String>,
        /// The requested name, from `hello`, also with a newer token.
        name: Option<UserName>,
    },
    /// Append to the room's log, in the order of these outputs. Up to `limits.in_flight` are unanswered. Each needs one
    /// [`Input::Appended`]; a number that was settled before has the same outcome again.
    Append {
        /// The room of the log.
        room: RoomName,
        /// Together with `room` and `seq`, the key of de-duplication.
        client: ClientKey,
        /// The number of the message among those of the client in the room.
        seq: Seq,
        /// The id of the message. A log that has the number with another id answers [`AppendOutcome::Conflict`].
        id: PublishId,
        /// Whether all earlier numbers are settled. The log accepts the number after the last settled one, which is 0
        /// for an unknown client, and with `first` any greater one. Without `first` a greater one is
        /// [`AppendOutcome::Gap`].
        first: bool,
        /// The author of the message.
        from: Author,
        /// The body, or a refusal that settles the number instead of a message.
        content: Result<Body, Refusal>,
    },
    /// Find the addressed rooms of the client's user, and answer with [`Input::Addressed`]: the room of the user, and
    /// those of the groups that it belongs to. Their names begin with `~`. There is one such question at a time.
    Address,
    /// Register the socket in the hub and hold back live lines, then read the log, then answer with
    /// [`Input::Subscribed`].
    Subscribe {
        /// The id for the answer.
        id: SubscriptionId,
        /// The room to follow.
        room: RoomName,
        /// Read the messages after this cursor ...
        since: Option<Cursor>,
        /// ... or, without a cursor or if it is not recovered, this many of the newest messages.
        history: u32,
    },
    /// From now on the driver writes the room's lines directly to the socket: every message with an offset above
    /// `after`, once and in order. First those that the answer left out, then the lines that were held back since
    /// [`Output::Subscribe`] and not sent yet, then live ones.
    Live {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// Its `room`.
        room: RoomName,
        /// The last offset that the session sent, or `after` of the answer if it sent none.
        after: Offset,
    },
    /// Remove the socket from the room. No line of the room follows.
    Unsubscribe {
        /// The `id` of [`Output::Subscribe`].
        id: SubscriptionId,
        /// Its `room`.
        room: RoomName,
    },
    /// Read the newest messages before an offset and answer with [`Input::PageRead`], in any order.
    ReadPage {
        /// The id for the answer.
        id: RequestId,
        /// The room to read; it need not be joined.
        room: RoomName,
        /// The offset after the newest message of the page.
        before: Offset,
        /// The maximum of messages: 1 to `limits.page`.
        limit: u32,
    },
    /// Find users of a room that the client has joined, or is joining, and answer with [`Input::Found`], in any order: as
    /// many as one answer is to have, first those whose names begin with `name`, then others that have it.
    Find {
        /// The id for the answer.
        id: RequestId,
        /// The room to search.
        room: RoomName,
        /// A part of the names, in any case of letters. `None`: any name.
        name: Option<UserName>,
    },
    /// Send a `signal` line to the other members of the room.
    Signal {
        /// The room whose other members get it.
        room: RoomName,
        /// The author of the signal.
        from: Author,
        /// The body of the signal.
        body: Body,
    },
    /// Close the connection. This is the last output.
    Close {
        /// The code of the close frame.
        code: u16,
        /// The reason of the close frame; at most 123 bytes.
        reason: String,
    },
}

/// Users of a room that were found by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundMembers {
    /// In the order of the answer.
    pub members: Vec<Member>,
    /// Whether there are more.
    pub more: bool,
}

/// An identified user.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The name of the user.
    pub user: UserName,
    /// How long the token is valid; after that the session closes with 4401.
    pub expires: Option<Duration>,
    /// The allowance of an earlier connection of this client
    /// ([`ServerSession::allowance`](super::ServerSession::allowance)), and the time since it ended. Without it the
    /// client starts with full buckets.
    pub allowance: Option<(Allowance, Duration)>,
}

/// The reason why a user is refused; closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// 4401, 4403, 4429, 1013, ...
    pub code: u16,
    /// The reason of the close frame: for people, or `{"retry_after_ms":n}`.
    pub reason: String,
}

/// The state of the log when the socket was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The offset of its newest message.
    pub head: Offset,
    /// The messages after this offset follow. Equal to the offset of `since` if `recovered`
    /// and a `since` was given.
    pub after: Offset,
    /// Whether no message is missing between `since` and `messages`; true without `since`.
    pub recovered: bool,
    /// The last message in common with an earlier epoch, if this one continues it: with that of `since` if its fork is
    /// known, else with the one before.
    pub fork: Option<Cursor>,
    /// How many users are in the room.
    pub users: u32,
    /// The users of the room in the last list; `None` if there are too many.
    pub members: Option<MemberList>,
    /// The messages from `after + 1` on, encoded: all up to `head`, or some, or none. The driver sends the others after
    /// [`Output::Live`] and before live lines, so that a long backlog can be read page by page, as fast as the client
    /// reads.
    pub messages: Vec<MessageLine>,
}

/// The outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The message was appended.
    Added(Place),
    /// The message was in the log before.
    Duplicate(Place),
    /// The message is not in the log. Without `retry_after` its number is settled with this refusal; with it the number
    /// is still free.
    Refused {
        /// The epoch of the log; `None` if the log was not asked.
        epoch: Option<Epoch>,
        /// Why.
        refusal: Refusal,
    },
    /// The number is not the next one: an earlier message of this client is missing and must come first.
    Gap {
        /// The epoch of the log.
        epoch: Epoch,
    },
    /// The number belongs to a message with another id. The log was not changed.
    Conflict {
        /// The epoch of the log.
        epoch: Epoch,
    },
    /// The number was settled so long ago that the log has forgotten the outcome. The log was not changed.
    Forgotten {
        /// The epoch of the log.
        epoch: Epoch,
    },
}

/// The position of a message in a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The epoch of the offset.
    pub epoch: Epoch,
    /// Its offset.
    pub offset: Offset,
    /// The time when it was appended.
    pub at: Millis,
}

/// The reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason for programs: see [`code`](crate::message::code).
    pub code: Cow<'static, str>,
    /// The reason for people; it says what to do.
    pub message: Cow<'static, str>,
    /// The time until a retry; `None` means never.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A permanent refusal: a retry would be refused too.
    #[must_use]
    pub fn for_good(code: &'static str, message: &'static str) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// A temporary refusal: the same line may be sent again after this time.
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
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The messages, oldest first.
    pub messages: Vec<MessageLine>,
    /// Whether there are older messages.
    pub more: bool,
}
