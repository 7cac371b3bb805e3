//! The log: a room is an append-only list of messages, and everything else reads from it or appends to it.
//!
//! [`Engine`] is what a log must do; [`Memory`] is the one that keeps it in this process. A log has an epoch, which changes when its
//! offsets begin anew, and every message has the offset after that of the one before it. An engine also remembers what each publisher
//! sent last, so that sending again after a lost answer does no harm.
//!
//! An engine that answers at once says [`Answer::Now`]; one that must wait for a disk or another server says [`Answer::Later`].
//! Either way calls take effect in the order in which one task makes them.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod faulty;
mod memory;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use serde::Serialize;
use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq,
    message::{self, Message},
    session::server::Refusal,
};

pub use memory::{Memory, MemoryOptions, NewRooms};
pub use talkback_protocol::session::server::{AppendOutcome as Outcome, Place};

/// The code of a refused message whose request has the name of another one.
pub const KEY_REUSED: &str = "key_reused";

/// A log for many rooms.
///
/// Rooms need not be made: every room exists with the first call that names it, and an engine may forget one that has no messages, no
/// watchers and nothing to remember about its publishers. It comes back with another epoch.
pub trait Engine: Send + Sync + 'static {
    /// Adds a message to a room and tells everybody who watches it. While one of them cannot be told ([`Watcher::has_room`]), the message
    /// is refused for a time.
    ///
    /// A message that the log has already is not added again; the answer is that of the first time. Of a numbered client
    /// ([`MessageId::Client`]) it takes the number after the last that is done with, which is 0 for a client that it does not know; of one
    /// that vouches for all before it (`first`) any later number. Another later number is an [`Outcome::Gap`]. A number that is done with
    /// belongs to the message whose id it came with: with another id it is an [`Outcome::Conflict`], also where there is nothing but a
    /// refusal or a withdrawal to be told, and nothing changes.
    ///
    /// Dropping the answer does not take the message back.
    fn append(&self, append: Append) -> Answer<Outcome>;

    /// Messages of a room in the order of their offsets, as many as `limit` allows, and what is kept of the room now.
    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>>;

    /// Tells `watcher` of each message from now on, until the answer is dropped.
    ///
    /// A message is in what is read after this call, or the watcher is told of it, or both; so whoever watches first and then reads
    /// misses nothing.
    ///
    /// # Errors
    /// [`Refusal`] if the engine has no place for another room.
    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Result<Watch, Refusal>;

    /// Whether it keeps anything about this room, so that a call which names the room begins none.
    fn has(&self, room: &RoomName) -> bool;

    /// What the engine holds now.
    fn usage(&self) -> Usage;
}

/// Somebody who wants to know of each message of a room.
pub trait Watcher: Send + Sync {
    /// Whether it can be told of one more message. An engine asks all watchers before it adds one; when one of them has no room, it
    /// refuses the message for a time. May be called while the engine holds the room's lock, like [`appended`](Self::appended).
    fn has_room(&self) -> bool {
        true
    }

    /// A message was added. Calls come one at a time, in the order of the offsets and without a gap, and may come while the engine
    /// holds the room's lock: they must be short and must not call the engine.
    fn appended(&self, message: &Arc<Message>);
}

/// Keeps a [`Watcher`] informed while it lives.
#[must_use = "dropping it ends the watching at once"]
pub struct Watch(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Watch {
    /// A watch that calls this when it is dropped.
    pub fn new(unwatch: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(unwatch)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(unwatch) = self.0.take() {
            unwatch();
        }
    }
}

/// A message that is to be added to a room.
#[derive(Clone, Debug)]
pub struct Append {
    /// The room.
    pub room: RoomName,
    /// How a second sending of it is recognised.
    pub id: MessageId,
    /// Whom the others see as its sender.
    pub from: message::Author,
    /// The message; or that there is none, because it was refused for good or withdrawn, so that its number is done with and
    /// the next one may come.
    pub content: Result<Body, Refusal>,
}

/// How a message that comes a second time is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// By its number: a client counts its messages to a room.
    Client {
        /// Which client.
        key: ClientKey,
        /// Which of its messages.
        seq: Seq,
        /// What makes it itself: the engine keeps it with the message and with what became of the number.
        id: PublishId,
        /// Whether all earlier ones are done with.
        first: bool,
        /// Where it publishes from now, if that is known. It says nothing about which client or message it is: a client may come from
        /// elsewhere at any time. An engine may charge it for what it remembers.
        origin: Option<Origin>,
    },
    /// By a name that the publisher gave to the request, remembered for a time. Under the name of another message it is refused with
    /// [`KEY_REUSED`].
    Request {
        /// The name.
        name: Box<str>,
        /// SHA-256 of what the request says.
        digest: [u8; 32],
    },
    /// Not at all.
    None,
}

/// What many clients may have in common, and whoever makes up clients has little of: the address from which they come. An engine can
/// bound what clients of one origin take; to it an origin is a number like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub u64);

impl MessageId {
    /// The number and what makes the message itself, if it came with a number.
    #[must_use]
    pub fn number(&self) -> Option<(Seq, PublishId)> {
        match self {
            Self::Client { seq, id, .. } => Some((*seq, *id)),
            Self::Request { .. } | Self::None => None,
        }
    }
}

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

/// How much to read at most. One message is read however large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many messages.
    pub messages: usize,
    /// How many bytes their bodies may have together.
    pub bytes: usize,
}

/// A part of a room's log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The log's epoch.
    pub epoch: Epoch,
    /// Where this life of the log parted from the one before, if it went on from an earlier point of it: the last message that both
    /// have. A cursor of that epoch at or below it means the same message here.
    pub fork: Option<Cursor>,
    /// The offset of its newest message, 0 if there never was one.
    pub head: Offset,
    /// The offset before the oldest message that is kept. Equal to `head` when none is.
    pub floor: Offset,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Message>>,
}

impl Page {
    /// Of a room in which nothing was said yet.
    #[must_use]
    pub fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            fork: None,
            head: Offset::ZERO,
            floor: Offset::ZERO,
            messages: Vec::new(),
        }
    }

    /// Whether every message after this cursor is kept: see [`Cursor::is_recovered_by`].
    #[must_use]
    pub fn has_all_since(&self, since: &Cursor) -> bool {
        since.is_recovered_by(&self.epoch, self.fork.as_ref(), self.floor..=self.head)
    }

    /// Whether every message after this offset is kept, and the offset is of this log.
    #[must_use]
    pub fn has_all_after(&self, offset: Offset) -> bool {
        (self.floor..=self.head).contains(&offset)
    }
}

/// What an engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Rooms.
    pub rooms: usize,
    /// Messages of all rooms.
    pub messages: usize,
    /// Bytes that these take.
    pub bytes: usize,
    /// Clients whose last number is remembered, once for each of their rooms.
    pub clients: usize,
    /// Names of requests that are remembered.
    pub requests: usize,
    /// Bytes that these and the clients take.
    pub remembered_bytes: usize,
    /// Messages that were added since the start.
    pub added: u64,
    /// Messages that came again since the start and were not added.
    pub duplicates: u64,
    /// Messages that were refused since the start.
    pub refused: u64,
}

/// What an engine answers: at once or when it is ready.
#[must_use = "an answer that is not looked at may be an error"]
pub enum Answer<T> {
    /// Here it is.
    Now(T),
    /// It comes. Dropping it does not take back what was asked for.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
    /// It was taken by a poll.
    Taken,
}

impl<T: Unpin> Future for Answer<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        match std::mem::replace(this, Self::Taken) {
            Self::Now(answer) => Poll::Ready(answer),
            Self::Later(mut later) => match later.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(answer),
                Poll::Pending => {
                    *this = Self::Later(later);
                    Poll::Pending
                }
            },
            Self::Taken => panic!("an answer was polled after it was given"),
        }
    }
}
