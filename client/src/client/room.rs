use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;
use serde::{Serialize, de::DeserializeOwned};
use talkback_protocol::{
    Body, BodyError, Cursor, Offset, RoomName,
    message::{Author, Member},
    session::client::PageError,
};

use super::{Client, Delivery, Event, History, InboxOptions, Received, StartPosition};
use crate::{driver::Handle, waiters::Waiter};

/// The options of [`Client::join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinOptions {
    /// The last message that the application has; every later message is delivered. It comes from [`Room::cursor`], or
    /// from the server: the text in the field `cursor` of an answer over HTTP, which [`Cursor`] parses. Read it before
    /// the state that it belongs to, so that a change between both is not missed.
    pub since: Option<Cursor>,
    /// How many of the newest messages to deliver when there is no `since`, or when the log has dropped messages after
    /// it: 50 by default. A server gives at most 100 by default; [`RoomSender::history`] gets older ones.
    pub history: u32,
    /// The bounds of received events that were not read yet.
    pub inbox: InboxOptions,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self {
            since: None,
            history: 50,
            inbox: InboxOptions::default(),
        }
    }
}

/// A membership of a room: a `Stream` of [`Event`]s, with a [`RoomSender`] to send. Dropping it leaves the room, unless
/// the same client has another `Room` with that name.
///
/// The first event is [`Event::Joined`], [`Event::Recovered`] or [`Event::Reset`], when the server has answered the
/// join. Then every message of the room is yielded once, in the order of the room's log, also across reconnections.
/// [`Event::Reset`] reports that messages are missing or that the log began anew, and [`Event::Lost`] that the log has
/// lost acknowledged messages of this client. The stream ends after [`Event::Left`] and [`Event::Refused`].
///
/// [`JoinOptions::inbox`] bounds the events that were not read yet. A slow reader still gets every message that the room's log has.
///
/// # Cancel safety
/// Polling it is cancel safe: an event is yielded whole, or not at all.
#[must_use = "dropping it leaves the room"]
pub struct Room<T> {
    sender: RoomSender<T>,
    handle: Rc<Handle>,
    waiter: Waiter,
}

impl<T> Room<T> {
    pub(super) fn join(client: Client, name: RoomName, options: &JoinOptions) -> Self {
        let start = StartPosition {
            since: options.since.clone(),
            history: options.history,
        };
        let handle = client.driver().join(&name, start, options.inbox);
        Self {
            sender: RoomSender::new(client, name),
            handle,
            waiter: Waiter::default(),
        }
    }

    /// The last message that this stream yielded, for [`JoinOptions::since`]. `None` before the first event.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.handle.taken()
    }

    /// A handle to send with; its clones may outlive the `Room`.
    #[must_use]
    pub fn sender(&self) -> &RoomSender<T> {
        &self.sender
    }

    /// Leaves the room, as dropping does.
    pub fn leave(self) {}
}

impl<T> std::ops::Deref for Room<T> {
    type Target = RoomSender<T>;

    /// The same as [`Room::sender`].
    fn deref(&self) -> &RoomSender<T> {
        &self.sender
    }
}

impl<T: DeserializeOwned> Stream for Room<T> {
    type Item = Event<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        let Self { sender, handle, waiter } = &*self;
        let next = sender.client.driver().poll_room(&sender.name, handle, waiter, context);
        next.map(|event| Some(Event::read(event?, |from| sender.is_own(from))))
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        self.sender.client.driver().release(&self.sender.name, &self.handle);
    }
}

impl<T> fmt::Debug for Room<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("name", &self.sender.name)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

/// Sends to a room. Cheap to clone. It keeps the session alive, but not the membership.
pub struct RoomSender<T> {
    client: Client,
    name: RoomName,
    types: PhantomData<fn(T)>,
}

impl<T> RoomSender<T> {
    pub(super) fn new(client: Client, name: RoomName) -> Self {
        Self {
            client,
            name,
            types: PhantomData,
        }
    }

    /// The room's name.
    #[must_use]
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// The client that it sends with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a message; the [`Delivery`] gives its state. Messages of one task arrive in the order they were sent.
    ///
    /// Waits while the outbox is full. It does not wait for the network and needs neither a connection nor a
    /// membership: the message is transmitted when the client is connected.
    ///
    /// Each waiting call holds its message; the application bounds the number of calls that wait at the same time.
    ///
    /// With a timeout for the acknowledgement:
    ///
    /// ```no_run
    /// # async fn example(room: talkback_client::RoomSender<String>, request: String) -> Result<(), talkback_client::BodyError> {
    /// use futures_util::future::{Either, select};
    /// use gloo_timers::future::TimeoutFuture;
    ///
    /// match select(room.send(&request).await?, TimeoutFuture::new(5_000)).await {
    ///     Either::Left((Ok(acked), _)) => println!("message {}", acked.offset),
    ///     Either::Left((Err(reason), _)) => println!("{reason}"),
    ///     Either::Right(((), delivery)) => println!("after 5 s it is {:?}", delivery.state()),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// The message is still sent after the timeout: dropping the delivery does not cancel it.
    ///
    /// # Errors
    /// [`BodyError`] if the message has no JSON form.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the message is not sent.
    pub async fn send(&self, message: &T) -> Result<Delivery, BodyError>
    where
        T: Serialize,
    {
        self.client.publish_in_turn(&self.name, message).await
    }

    /// Sends a message without waiting: if the outbox is full, the delivery fails with
    /// [`FailReason::OutboxFull`](crate::FailReason::OutboxFull). For event handlers.
    ///
    /// # Errors
    /// [`BodyError`] if the message has no JSON form.
    pub fn try_send(&self, message: &T) -> Result<Delivery, BodyError>
    where
        T: Serialize,
    {
        self.client.publish(&self.name, message)
    }

    /// Sends the other members a message that is not stored in the log, like "is typing". It is not acknowledged and
    /// may be lost; without a connection or a membership it is dropped.
    ///
    /// # Errors
    /// [`BodyError`] if it has no JSON form.
    pub fn signal(&self, signal: &(impl Serialize + ?Sized)) -> Result<(), BodyError> {
        let body = Body::of(signal)?;
        self.client.driver().signal(self.name.clone(), body);
        Ok(())
    }

    /// The users in the room, sorted, as of the last event received from the server, which may be later than the last
    /// event yielded. `None` before the room is joined, and while the server sends no list because there are too many
    /// users.
    #[must_use]
    pub fn members(&self) -> Option<Vec<Member>> {
        self.client.driver().members(&self.name)
    }

    /// How many users are in the room, as of the last event received from the server. `None` before the room is joined.
    #[must_use]
    pub fn users(&self) -> Option<u32> {
        self.client.driver().users(&self.name)
    }

    /// The newest `limit` messages before an offset, for scrolling back. The server may give fewer; [`History::more`]
    /// is `true` if there are older ones. Works without a membership if the server allows it, and waits for a
    /// connection.
    ///
    /// # Errors
    /// [`PageError`] says why there is no page.
    ///
    /// # Cancel safety
    /// Dropping the future discards the page.
    pub async fn history(&self, before: Offset, limit: u32) -> Result<History<T>, PageError>
    where
        T: DeserializeOwned,
    {
        let slot = self.client.driver().history(self.name.clone(), before, limit)?;
        let waiter = Waiter::default();
        let page = poll_fn(|context| slot.poll(&waiter, context)).await?;
        let messages = page.messages.into_iter();
        Ok(History {
            epoch: page.epoch,
            messages: messages
                .map(|message| Received::read(message, |from| self.is_own(from)))
                .collect(),
            more: page.more,
        })
    }

    /// Users in the room whose names have this part, in any case of letters, for rooms with so many users that
    /// [`members`](Self::members) has no list: first those whose names begin with it. With an empty part the first users by
    /// name. A server of this project names at most 50, and [`FoundMembers::more`](crate::FoundMembers::more) is `true` if
    /// there are others; users who joined a moment ago may be missing. Needs a membership, and waits for a connection, and
    /// while the room is being joined until it is. A part that no name can have, because it is too long or has control
    /// characters, is in nobody's name: that is the answer at once, without the server.
    ///
    /// For a field that searches while the user types, ask again when the answer is there, for what the field has then.
    ///
    /// # Errors
    /// [`PageError`] says why there is no answer: [`PageError::Refused`] with the code
    /// [`NOT_JOINED`](crate::code::NOT_JOINED) without a membership, and with [`FORBIDDEN`](crate::code::FORBIDDEN) if the
    /// server is of an earlier version that cannot search.
    ///
    /// # Cancel safety
    /// Dropping the future discards the answer.
    #[cfg(feature = "find")]
    pub async fn find(&self, part: &str) -> Result<crate::FoundMembers, PageError> {
        let part = part.trim();
        let name = talkback_protocol::UserName::parse(part).ok();
        if name.is_none() && !part.is_empty() {
            // No user has such a name.
            return Ok(crate::FoundMembers::default());
        }
        let driver = self.client.driver();
        driver.ready().await;
        let slot = driver.find(self.name.clone(), name)?;
        let waiter = Waiter::default();
        poll_fn(|context| slot.poll(&waiter, context)).await
    }

    fn is_own(&self, from: &Author) -> bool {
        self.client
            .driver()
            .sender()
            .is_some_and(|sender| sender == from.sender)
    }
}

impl<T> Clone for RoomSender<T> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.name.clone())
    }
}

impl<T> PartialEq for RoomSender<T> {
    /// Whether they send to the same room of the same session.
    fn eq(&self, other: &Self) -> bool {
        self.client == other.client && self.name == other.name
    }
}

impl<T> fmt::Debug for RoomSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoomSender").field(&self.name).finish()
    }
}
