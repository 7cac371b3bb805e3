//! The session's public API. Each file below holds one type; [`Driver`](crate::driver::Driver) does the work.

mod builder;
mod delivery;
#[cfg(feature = "direct")]
mod direct;
mod event;
mod inbox;
mod members;
mod name;
mod room;
mod watched;

use std::{fmt, rc::Rc, time::Duration};

use serde::Serialize;
use talkback_protocol::{
    Body, BodyError, RoomName, SenderId,
    session::client::{FailReason, Status},
};

use crate::driver::Driver;

pub use builder::{ClientBuilder, OutboxStorage};
pub use delivery::{Acked, Delivery};
#[cfg(feature = "direct")]
pub use direct::{Addressee, Direct, DirectOptions, Directed};
pub use event::{Event, History, Incoming, Received};
pub use inbox::InboxOptions;
pub use name::{RoomNameError, room_name};
pub use room::{JoinOptions, Room, RoomSender};
pub use watched::Changes;

#[cfg(feature = "test-util")]
pub(crate) use builder::Platform;
pub(crate) use delivery::DeliverySlot;
pub(crate) use inbox::{Inbox, PageRequest, StartPosition, SubscribedRoom};
pub(crate) use members::Members;
pub(crate) use watched::Watched;

/// A handle to one session with one server: rooms with exactly-once delivery in both directions.
///
/// It connects and reconnects by itself, and continues where it was: after a loss of the network, after a page was
/// suspended or in the back/forward cache, after a restart of the server. Clones are handles to the same session. When
/// the last handle is dropped ([`Client`] or [`Room`]), the connection is closed with 1000, messages that were never sent
/// fail with [`FailReason::Stopped`], those that were sent and not acknowledged with [`FailReason::Unconfirmed`], and no
/// callback is called any more.
///
/// It is not `Send`. Two clients of one page are two members of a room.
#[derive(Clone)]
pub struct Client {
    driver: Rc<Driver>,
}

impl Client {
    /// Prepares a session with the server at this address, for instance `"/ws"` on the page's own server.
    ///
    /// The address may be relative or have the scheme http or https, as for [`Socket`](crate::Socket).
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    pub(crate) fn over(driver: Rc<Driver>) -> Self {
        Self { driver }
    }

    /// The state of the connection. [`Status::Open`] means that the server has sent its welcome.
    #[must_use]
    pub fn status(&self) -> Status {
        self.driver.status.get()
    }

    /// The state of the connection, now and after each change. It does not keep the session alive, and ends with it.
    #[must_use]
    pub fn status_changes(&self) -> Changes<Status> {
        Changes::new(self.driver.status.clone())
    }

    /// The time until the next attempt, while the status is [`Status::Waiting`]. For a countdown; call it again for
    /// each change of the display.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.status() {
            Status::Waiting { until, .. } => Some(until.saturating_sub(self.driver.now())),
            _ => None,
        }
    }

    /// Connects now, without waiting for the next attempt: when the user wants to, after [`Client::stop`], and after a
    /// refusal.
    pub fn connect(&self) {
        self.driver.connect();
    }

    /// Asks the server of an open connection for a sign of life: when the user wants to know whether it still works. If none
    /// comes within [`ClientOptions::probe_timeout`](crate::ClientOptions::probe_timeout), the client connects again.
    pub fn check(&self) {
        self.driver.check();
    }

    /// Ends the session with 1000. Messages that were never sent fail with [`FailReason::Stopped`], those that were sent
    /// and not acknowledged with [`FailReason::Unconfirmed`]. [`Client::connect`] starts it again.
    pub fn stop(&self) {
        self.driver.stop();
    }

    /// The public id of this client, which is in [`Received::from`] of its own messages. `None` until the status is
    /// open for the first time.
    #[must_use]
    pub fn sender(&self) -> Option<SenderId> {
        self.driver.sender()
    }

    /// The most bytes that the JSON of a message may have, see [`Body::json`](crate::Body::json): a longer message fails with
    /// [`FailReason::TooLarge`]. `None` until the status is open for the first time.
    #[must_use]
    pub fn max_body_bytes(&self) -> Option<usize> {
        self.driver.max_body_bytes()
    }

    /// Becomes a member of a room. Events come through the [`Room`], which is a `Stream`; dropping it leaves.
    ///
    /// Several `Room`s of one room share one membership; each gets every message, from its own start on.
    ///
    /// The name is taken as [`room_name`] gives it.
    ///
    /// # Errors
    /// [`RoomNameError`] says what is wrong with the name. A refusal by the server is an event of the room.
    pub fn join<T>(&self, room: &str, options: &JoinOptions) -> Result<Room<T>, RoomNameError> {
        Ok(Room::join(self.clone(), room_name(room)?, options))
    }

    #[cfg(feature = "direct")]
    /// What is addressed to this client's user, alone or as a member of a group, by a back end: a `Stream` of [`Directed`]
    /// events. Dropping it ends that.
    ///
    /// Several `Direct`s of one client each get every message, from their own start on.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # use talkback_client::{Client, DirectOptions, Event};
    /// # async fn example(client: Client) {
    /// let mut direct = client.direct::<String>(&DirectOptions::default());
    /// while let Some(directed) = direct.next().await {
    ///     if let Event::Message(message) = directed.event {
    ///         println!("to {:?}: {:?}", directed.to, message.body.known());
    ///     }
    /// }
    /// # }
    /// ```
    pub fn direct<T>(&self, options: &DirectOptions) -> Direct<T> {
        Direct::new(self.clone(), options)
    }

    /// A handle to send to a room, without being a member. The name is taken as [`room_name`] gives it.
    ///
    /// # Errors
    /// [`RoomNameError`] says what is wrong with the name.
    pub fn room_sender<T>(&self, room: &str) -> Result<RoomSender<T>, RoomNameError> {
        Ok(RoomSender::new(self.clone(), room_name(room)?))
    }

    /// The messages that an earlier page of this tab left in a kept outbox, with their deliveries, the oldest of each
    /// room first. They are sent automatically. Each call returns those that no earlier call returned.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn restored(&self) -> Vec<Restored> {
        self.driver.ready().await;
        self.driver.take_restored()
    }

    /// Whether the outbox survives a reload of the tab: `false` if it was not asked for or is not possible here.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn keeps_outbox(&self) -> bool {
        self.driver.ready().await;
        self.driver.is_kept()
    }

    pub(crate) fn driver(&self) -> &Rc<Driver> {
        &self.driver
    }

    /// Publishes now; the delivery fails if the outbox is full.
    fn publish(&self, room: &RoomName, message: &(impl Serialize + ?Sized)) -> Result<Delivery, BodyError> {
        let body = Body::of(message)?;
        Ok(Delivery::of(self.driver.publish(room.clone(), body)))
    }

    /// Publishes as soon as the outbox has capacity, after the tasks that began to wait earlier.
    async fn publish_in_turn(
        &self,
        room: &RoomName,
        message: &(impl Serialize + ?Sized),
    ) -> Result<Delivery, BodyError> {
        let body = Body::of(message)?;
        self.driver.ready().await;
        let turn = self.driver.send_queue.enter();
        turn.until_first().await;
        loop {
            // Before the attempt, during which capacity may be released.
            let releases = self.driver.send_queue.releases();
            match self.driver.publish(room.clone(), body.clone()) {
                Err(FailReason::OutboxFull) => turn.until_release_after(releases).await,
                taken => return Ok(Delivery::of(taken)),
            }
        }
    }
}

impl PartialEq for Client {
    /// Whether they are handles to the same session.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.driver, &other.driver)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A message that an earlier page left in the outbox.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The room that it was published to.
    pub room: RoomName,
    /// The content.
    pub body: Body,
    /// Its state, and later states.
    pub delivery: Delivery,
}

/// An error of the server that belongs to no pending request, like a refused signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The room that it concerns, if it concerns one.
    pub room: Option<RoomName>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.room {
            Some(room) => write!(f, "{} in room {room}: {}", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}
