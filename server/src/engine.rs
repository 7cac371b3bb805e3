//! The log: a room is an append-only list of messages, and everything else reads from it or appends to it.
//!
//! [`Engine`] is the interface of a log; [`Memory`] implements it in the memory of this process, [`Sqlite`] in a file,
//! `Redis` (feature `redis`) in a Redis that several servers share. A log has an epoch,
//! which changes when its offsets begin anew, and offsets are contiguous. An engine also keeps the last messages of
//! each publisher, so that a resend after a lost answer is not added twice.
//!
//! An engine that answers at once returns [`Answer::now`]; one that must wait for a disk or another server returns
//! [`Answer::later`]. Either way the messages of one task for one room are added in their order. No method may block its
//! thread: methods are called by tasks that serve many connections.
//!
//! An engine of your own implements [`Engine`], passes the suite of the module `conformance` (feature `conformance`), and
//! is given to [`AppState::new`](crate::AppState::new).
//!
//! Who is in a room is not the log's business: each server's [hub](crate::hub) keeps the users of its own rooms, and
//! [`Presence`] tells them to the hubs of other servers.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "conformance"))]
pub mod faulty;
mod ledger;
mod memory;
mod new_rooms;
mod outcome;
#[cfg(feature = "redis")]
mod redis;
mod sqlite;
mod waiting;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use serde::Serialize;
use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq, UserName,
    message::{self, Message, Signal, code},
    session::server::Refusal,
};

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisOptions, RedisUrl};
pub use memory::{Memory, MemoryOptions};
pub use new_rooms::NewRoomOptions;
pub use sqlite::{Sqlite, SqliteOptions};
pub use talkback_protocol::session::server::{AppendOutcome, Place};
pub use waiting::{Permit, WaitingMessages, WaitingOptions};

/// FNV-1a: the same for a name in every process, because what is kept depends on it.
fn hash(name: &RoomName) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The code of a refusal: the request has the name of an earlier request with another message.
pub const KEY_REUSED: &str = "key_reused";

/// A log for many rooms.
///
/// Rooms need not be created: a room exists with the first call that names it. An engine may drop a room that has no
/// messages, no watchers and no entries of publishers; it comes back with another epoch.
pub trait Engine: Send + Sync + 'static {
    /// Adds a message to a room and passes it to all watchers of the room. While one of them has no capacity
    /// ([`Watcher::has_capacity`]), the message is refused, to be retried.
    ///
    /// A message that is in the log already is not added again; the answer is that of the first time. Of a client
    /// ([`MessageId::Client`]) the engine accepts the number after the last settled one, which is 0 for an unknown
    /// client; with `first` it accepts any later number. Any other later number is an [`AppendOutcome::Gap`]. A settled
    /// number belongs to the message id it came with: with another id it is an [`AppendOutcome::Conflict`] and nothing
    /// changes, also if the number was settled by a refusal or a withdrawal.
    ///
    /// Dropping the answer does not cancel the call. What waits for a later answer is bounded by the engine, which
    /// refuses further messages with `busy` and a retry: see [`WaitingMessages`].
    fn append(&self, append: Append) -> Answer<AppendOutcome>;

    /// Reads messages of a room in the order of their offsets, as many as `limit` allows, and the bounds of the room's
    /// log.
    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>>;

    /// Passes each new message of a room to `watcher`, until the returned [`Watch`] is dropped.
    ///
    /// A message is returned by a read after this call, or passed to the watcher, or both; so a caller that watches
    /// first and then reads misses nothing.
    ///
    /// The answer is a [`Refusal`] if the engine has its maximum of watches. Dropping a later answer ends the
    /// subscription.
    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>>;

    /// Deletes all messages of a room. The room continues in a new epoch that forks from no earlier one, so that no cursor
    /// of an earlier epoch is recovered; its offsets go on after the deleted ones. All watchers are told by
    /// [`Watcher::restarted`], after which they get no deleted message; those that they had not got are left out. A
    /// message that is being added meanwhile is deleted, or is of the new epoch.
    ///
    /// What is kept of publishers stays, so that no deleted message is added again: a resend of one is refused for good
    /// with [`code::DELETED`], and every other settled number has the outcome that it had.
    ///
    /// A room without a log stays as it is. When the answer comes, the messages are as surely gone as an acknowledged
    /// message is in the log. The answer is a [`Refusal`] with a retry if it is not known whether they are. Dropping the
    /// answer does not cancel the call.
    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>>;

    /// Deletes the bodies of all messages that this user has in a room, or without one in all rooms, and returns how many
    /// it deleted. The messages stay, with their offsets, ids, times and authors, so that nothing is missing in the log
    /// and resends are recognised; they are read as [`deleted`](Message::deleted), with the body null. Watchers are not
    /// told: only what is read later is without these bodies.
    ///
    /// Messages that are added meanwhile may be left out, as may rooms that begin meanwhile. The answer is a [`Refusal`]
    /// with a retry if some may be left; calling it again deletes the others. Dropping the answer may end it before all
    /// rooms were visited.
    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>>;

    /// Passes a signal to the watchers of its room at other servers with the same logs, which get it by
    /// [`Watcher::signalled`]. Signals may be lost. It must not wait; an engine of one server has nothing to do.
    fn signal(&self, _signal: &Signal) {}

    /// Presence across servers, if the logs belong to several.
    fn presence(&self) -> Option<&dyn Presence> {
        None
    }

    /// Whether the engine keeps anything about this room: if not, the next message makes a new room, which is charged
    /// to its publisher. It must not wait; an engine that cannot say it at once answers true.
    fn has(&self, room: &RoomName) -> bool;

    /// What the engine holds now, and counters since its start. It must not wait.
    fn usage(&self) -> Usage;

    /// A round trip to what keeps the logs: whether a message would be added now. An engine in the memory of this
    /// process is always ready.
    fn ready(&self) -> Answer<Result<(), NotReady>> {
        Answer::now(Ok(()))
    }
}

/// Why an engine cannot start, or cannot add messages now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(
    /// What is wrong, and what to do.
    pub String,
);

/// A subscriber to the messages of a room.
pub trait Watcher: Send + Sync {
    /// Whether it can take one more message. An engine asks all watchers before it adds a message; if one has no
    /// capacity, the engine refuses the message, to be retried. May be called while the engine holds the room's lock,
    /// like [`appended`](Self::appended).
    fn has_capacity(&self) -> bool {
        true
    }

    /// A message was added. Calls come one at a time, in the order of the offsets and without a gap. They may come
    /// while the engine holds the room's lock: they must be short and must not call the engine.
    fn appended(&self, message: &Arc<Message>);

    /// The log began anew: it lost messages, was replaced by an older copy, or its messages were deleted. All later messages have this epoch, and
    /// their offsets may be lower than those before. Comes in order with the calls of [`appended`](Self::appended) and
    /// under the same conditions.
    fn restarted(&self, epoch: &Epoch);

    /// Another server has these users in the room now, all of them. Comes under the same conditions, in no order with
    /// messages. Each server has a number of its own; one that is gone has no users.
    fn present(&self, _server: u64, _users: &[UserName]) {}

    /// A member at another server sent a signal. Comes under the same conditions, in no order with messages.
    fn signalled(&self, _signal: &Signal) {}
}

/// Who is in a room at each of several servers with the same logs. Changes may be lost for a time, and are repeated.
pub trait Presence: Send + Sync {
    /// Notes the users that this server has in a room, all of them; none after its last member left. The watchers of the
    /// room at other servers get them by [`Watcher::present`], and get no users when this server is gone. It must not
    /// wait.
    fn set_users(&self, room: &RoomName, users: Arc<[UserName]>);
}

/// The subscription of a [`Watcher`]. Dropping it ends the subscription.
#[must_use = "dropping it ends the subscription at once"]
pub struct Watch {
    epoch: Epoch,
    unwatch: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Watch {
    /// A subscription that calls `unwatch` when it is dropped. The messages that its watcher gets have this epoch until
    /// [`Watcher::restarted`] is called.
    pub fn new(epoch: Epoch, unwatch: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            epoch,
            unwatch: Some(Box::new(unwatch)),
        }
    }

    /// The epoch of the log when the subscription began.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(unwatch) = self.unwatch.take() {
            unwatch();
        }
    }
}

/// A message that is to be added to a room.
#[derive(Clone, Debug)]
pub struct Append {
    /// The room.
    pub room: RoomName,
    /// How a resend of it is recognised.
    pub id: MessageId,
    /// The sender that members see.
    pub from: message::Author,
    /// The message's body; or a refusal, which settles the message's number without a message if it has no
    /// `retry_after`. A withdrawal is such a refusal.
    pub content: Result<Body, Refusal>,
}

/// How a resend of a message is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// By its number: a client counts its messages to a room.
    Client {
        /// The client that numbers its messages.
        key: ClientKey,
        /// The message's number.
        seq: Seq,
        /// The message's id. The engine keeps it with the message and with the outcome of the number.
        id: PublishId,
        /// Whether all earlier numbers are settled.
        first: bool,
        /// The origin of this call, if known. It identifies neither the client nor the message: a client may change its
        /// origin at any time. An engine may charge it for the entries that it keeps.
        origin: Option<Origin>,
    },
    /// By a name that the publisher gave to the request, which is kept for a time. A request with the same name and
    /// another digest is refused with [`KEY_REUSED`].
    Request {
        /// The name.
        name: Box<str>,
        /// SHA-256 of the request.
        digest: [u8; 32],
    },
    /// Not at all: each call adds a message.
    None,
}

impl MessageId {
    /// The number and the id of the message, if it has a number.
    #[must_use]
    pub fn number(&self) -> Option<(Seq, PublishId)> {
        match self {
            Self::Client { seq, id, .. } => Some((*seq, *id)),
            Self::Request { .. } | Self::None => None,
        }
    }
}

/// What clients on one host or network have in common: the address from which they connect. One attacker can make up
/// any number of clients, but has few addresses, so an engine can bound what the clients of one origin take together.
/// To the engine it is an opaque number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub u64);

/// Which messages of a room to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The oldest after this offset.
    After(Offset),
    /// The newest before this offset.
    Before(Offset),
    /// The newest.
    Newest,
}

/// How much to read at most. The first message is read however large it is, unless `messages` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Messages.
    pub messages: usize,
    /// Bytes of their bodies together.
    pub bytes: usize,
}

/// A part of a room's log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The last message that this epoch has in common with each earlier one that it continues, the previous one first. A
    /// cursor of an earlier epoch at or below it means the same message here. An engine may know only some of them.
    pub forks: Vec<Cursor>,
    /// The offset of the newest message, 0 if there never was one.
    pub head: Offset,
    /// The offset before the oldest message that is kept. Equal to `head` if none is kept.
    pub floor: Offset,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Message>>,
}

impl Page {
    /// The page of a room that never had a message.
    #[must_use]
    pub fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            forks: Vec::new(),
            head: Offset::ZERO,
            floor: Offset::ZERO,
            messages: Vec::new(),
        }
    }

    /// Whether every message after this cursor is kept: see [`Cursor::is_recovered_by`].
    #[must_use]
    pub fn has_all_since(&self, since: &Cursor) -> bool {
        let fork = self.fork_of(&since.epoch);
        since.is_recovered_by(&self.epoch, fork, self.floor..=self.head)
    }

    /// Where an earlier epoch forked; of one that is not known, where the previous one did.
    #[must_use]
    pub fn fork_of(&self, epoch: &Epoch) -> Option<&Cursor> {
        let fork = self.forks.iter().find(|fork| fork.epoch == *epoch);
        fork.or(self.forks.first())
    }

    /// Whether every message after this offset of this epoch is kept.
    #[must_use]
    pub fn has_all_after(&self, offset: Offset) -> bool {
        (self.floor..=self.head).contains(&offset)
    }
}

/// What [`Engine::delete_room`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRoom {
    /// The epoch in which the room continues.
    pub epoch: Epoch,
    /// How many messages were deleted.
    pub messages: u64,
}

/// The answer to a message that comes again, in a room whose messages up to this offset were deleted.
fn unless_deleted(outcome: AppendOutcome, deleted: Offset) -> AppendOutcome {
    match outcome {
        AppendOutcome::Duplicate(place) if place.offset <= deleted => AppendOutcome::Refused {
            epoch: Some(place.epoch),
            refusal: deleted_refusal(),
        },
        outcome => outcome,
    }
}

/// The answer to a resend of a message that was deleted with its room.
fn deleted_refusal() -> Refusal {
    Refusal::for_good(code::DELETED, "the message was deleted with all messages of the room")
}

/// What an engine holds now, and counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Rooms.
    pub rooms: usize,
    /// Messages of all rooms.
    pub messages: usize,
    /// Bytes of these messages.
    pub bytes: usize,
    /// Clients whose last number is kept, once for each of their rooms.
    pub clients: usize,
    /// Names of requests that are kept.
    pub requests: usize,
    /// Bytes of these names and clients.
    pub remembered_bytes: usize,
    /// Messages added since the start.
    pub added: u64,
    /// Resends of added messages since the start.
    pub duplicates: u64,
    /// Messages refused since the start.
    pub refused: u64,
    /// Commits since the start; 0 of an engine that makes none.
    pub commits: u64,
}

/// The result of a call to an engine, at once or later. Dropping it does not cancel the call.
#[must_use = "an answer that is not looked at may be an error"]
pub struct Answer<T>(AnswerState<T>);

enum AnswerState<T> {
    Now(T),
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
    /// A poll returned the result.
    Taken,
}

impl<T> Answer<T> {
    /// The result.
    pub fn now(result: T) -> Self {
        Self(AnswerState::Now(result))
    }

    /// The future result.
    pub fn later(result: Pin<Box<dyn Future<Output = T> + Send>>) -> Self {
        Self(AnswerState::Later(result))
    }

    /// The result, if it is there at once.
    ///
    /// # Errors
    /// This answer, if it comes later.
    pub fn at_once(self) -> Result<T, Self> {
        match self.0 {
            AnswerState::Now(result) => Ok(result),
            AnswerState::Later(_) | AnswerState::Taken => Err(self),
        }
    }
}

impl<T: Unpin> Future for Answer<T> {
    type Output = T;

    /// # Panics
    /// After it has returned the result, as other futures may.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let state = &mut self.get_mut().0;
        match std::mem::replace(state, AnswerState::Taken) {
            AnswerState::Now(answer) => Poll::Ready(answer),
            AnswerState::Later(mut later) => match later.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(answer),
                Poll::Pending => {
                    *state = AnswerState::Later(later);
                    Poll::Pending
                }
            },
            AnswerState::Taken => panic!("an answer was polled after it was given"),
        }
    }
}
