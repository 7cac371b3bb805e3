//! What an application uses of the session. Each file below holds one type; [`Driver`](crate::driver::Driver) does the work.

mod builder;
mod delivery;
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
    session::client::{DeliveryState, FailReason, Input, Status},
};

use crate::{driver::Driver, waiters::Waiter};

pub use builder::{ClientBuilder, OutboxStorage};
pub use delivery::{Acked, Delivery};
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

/// A handle to one session with one server: rooms that lose nothing, exactly once, both ways.
///
/// It connects by itself, comes back by itself and goes on where it was: after a cut network, a page that slept or lay in the
/// back/forward cache, a server that restarted. Clones are handles to the same session. When the last handle is dropped
/// ([`Client`] or [`Room`]), the connection is closed with 1000, what was not acknowledged fails with [`FailReason::Stopped`],
/// and nothing is called any more.
///
/// It stays on its thread. Two clients of one page are two members of a room.
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

    /// The state of the connection at this moment. Open means welcomed by the server.
    #[must_use]
    pub fn status(&self) -> Status {
        self.driver.status.get()
    }

    /// The state of the connection, now and whenever it changes. It does not keep the session alive, and ends with it.
    #[must_use]
    pub fn status_changes(&self) -> Changes<Status> {
        Changes::new(self.driver.status.clone())
    }

    /// How long it still is to the next attempt, while the status is [`Status::Waiting`]. For a countdown; ask again for each change
    /// of the display.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.status() {
            Status::Waiting { until, .. } => Some(until.saturating_sub(self.driver.now())),
            _ => None,
        }
    }

    /// Connects now, without waiting for the next attempt; for "try now", and after [`Client::stop`] or a refusal.
    pub fn connect(&self) {
        self.driver.input(Input::Connect);
    }

    /// Ends the session with 1000. What is not acknowledged fails. [`Client::connect`] begins anew.
    pub fn stop(&self) {
        self.driver.input(Input::Stop);
    }

    /// The public id of this client, the same in every [`Received::from`] of its own messages. `None` until the server has told it,
    /// when the status was open for the first time.
    #[must_use]
    pub fn sender(&self) -> Option<SenderId> {
        self.driver.sender()
    }

    /// Becomes a member of a room. Events come through the [`Room`], which is a `Stream`; dropping it leaves.
    ///
    /// Several `Room`s of one room share one membership; each has every message, from where it wants.
    ///
    /// The name is taken as [`room_name`] gives it.
    ///
    /// # Errors
    /// [`RoomNameError`] says what is wrong with the name. Whether the server lets this user in comes as an event.
    pub fn join<T>(&self, room: &str, options: &JoinOptions) -> Result<Room<T>, RoomNameError> {
        Ok(Room::join(self.clone(), room_name(room)?, options))
    }

    /// A handle to send to a room, without being a member. The name is taken as [`room_name`] gives it.
    ///
    /// # Errors
    /// [`RoomNameError`] says what is wrong with the name.
    pub fn room_sender<T>(&self, room: &str) -> Result<RoomSender<T>, RoomNameError> {
        Ok(RoomSender::new(self.clone(), room_name(room)?))
    }

    /// The messages that an earlier page of this tab left in a kept outbox, with their deliveries, the oldest of each room first.
    /// They are sent by themselves. Each call gives those that no call gave before.
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

    /// Publishes at once; a full outbox is told by the delivery.
    fn publish(&self, room: &RoomName, message: &(impl Serialize + ?Sized)) -> Result<Delivery, BodyError> {
        let body = Body::of(message)?;
        Ok(Delivery::new(self.driver.publish(room.clone(), body)))
    }

    /// Publishes as soon as the outbox has room.
    async fn publish_in_turn(
        &self,
        room: &RoomName,
        message: &(impl Serialize + ?Sized),
    ) -> Result<Delivery, BodyError> {
        let body = Body::of(message)?;
        self.driver.ready().await;
        let (turn, waiter) = (self.driver.send_queue.enter(), Waiter::default());
        turn.until_first().await;
        loop {
            let slot = self.driver.publish(room.clone(), body.clone());
            let begun = std::future::poll_fn(|context| slot.poll_first_state(&waiter, context)).await;
            if begun != DeliveryState::Failed(FailReason::OutboxFull) {
                return Ok(Delivery::new(slot));
            }
            turn.until_release_after(slot.releases_when_full()).await;
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
    /// Where it goes.
    pub room: RoomName,
    /// What it says.
    pub body: Body,
    /// How far it is.
    pub delivery: Delivery,
}

/// An error of the server that belongs to nothing the application waits for, like a refused signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The room it is about.
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
