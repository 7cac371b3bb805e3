use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use talkback_protocol::{Cursor, RoomName};

use super::{Client, Event, InboxOptions};
use crate::{driver::DirectReader, waiters::Waiter};

/// The options of [`Client::direct`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectOptions {
    /// How far the application has read, from [`Direct::cursors`]: every later message is delivered.
    pub since: Vec<(RoomName, Cursor)>,
    /// How many of the newest messages to deliver of a room that is not in `since`, or whose log has dropped messages after
    /// it: 50 by default. A server gives at most 100 by default.
    pub history: u32,
    /// The bounds of received events that were not read yet, for each room.
    pub inbox: InboxOptions,
}

impl Default for DirectOptions {
    fn default() -> Self {
        Self {
            since: Vec::new(),
            history: 50,
            inbox: InboxOptions::default(),
        }
    }
}

/// To whom a message is addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addressee {
    /// This client's user, with all its clients.
    User,
    /// The group of this name, to which the user belongs.
    Group(String),
}

impl Addressee {
    fn of(room: &RoomName) -> Self {
        match room.strip_prefix("~g.") {
            Some(group) => Self::Group(group.to_owned()),
            None => Self::User,
        }
    }
}

/// An event of what is addressed to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Directed<T> {
    /// To whom its message is addressed.
    pub to: Addressee,
    /// The event. There is no presence and no signal.
    pub event: Event<T>,
}

/// What is addressed to the client's user, alone or as a member of a group: a `Stream` of [`Directed`] events.
///
/// Only a back end addresses users; the server says which rooms are addressed to them. Each is read as a
/// [`Room`](crate::Room) is: its first event is [`Event::Joined`], [`Event::Recovered`] or [`Event::Reset`], and then every
/// message is yielded once and in its order, also across reconnections. Messages of different rooms are in no order.
///
/// [`Event::Left`] and [`Event::Refused`] end one room, for instance that of a group which the user has left. Where the
/// server addresses nobody, the only event is an [`Event::Refused`] to [`Addressee::User`], and the stream ends.
///
/// # Cancel safety
/// Polling it is cancel safe: an event is yielded whole, or not at all.
#[must_use = "dropping it ends what is addressed to the user"]
pub struct Direct<T> {
    client: Client,
    reader: Rc<DirectReader>,
    waiter: Waiter,
    types: PhantomData<fn(T)>,
}

impl<T> Direct<T> {
    pub(super) fn new(client: Client, options: &DirectOptions) -> Self {
        let reader = client.driver().direct(&options.since, options.history, options.inbox);
        Self {
            client,
            reader,
            waiter: Waiter::default(),
            types: PhantomData,
        }
    }

    /// The last message that this stream yielded of each room, for [`DirectOptions::since`].
    #[must_use]
    pub fn cursors(&self) -> Vec<(RoomName, Cursor)> {
        self.reader.cursors()
    }
}

impl<T: DeserializeOwned> Stream for Direct<T> {
    type Item = Directed<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Directed<T>>> {
        let Self {
            client, reader, waiter, ..
        } = &*self;
        let next = client.driver().poll_direct(reader, waiter, context);
        next.map(|next| {
            let (room, event) = next?;
            Some(Directed {
                to: room.as_ref().map_or(Addressee::User, Addressee::of),
                event: Event::read(event, |_| false),
            })
        })
    }
}

impl<T> Drop for Direct<T> {
    fn drop(&mut self) {
        self.client.driver().release_direct(&self.reader);
    }
}

impl<T> fmt::Debug for Direct<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("cursors", &self.cursors())
            .finish_non_exhaustive()
    }
}
