//! Events and commands that come while the store is being opened: held until there is a session, within the session's
//! own bounds, and refused as the session would refuse them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::discriminant,
    rc::{Rc, Weak},
};

use talkback_protocol::{
    Body, RoomName,
    session::client::{ClientOptions, DeliveryState, FailReason, Input, OutboxOptions, PageError},
};

use super::pages::PageSlot;
use crate::client::{DeliverySlot, PageRequest, StartPosition};

/// What is held, and what its bounds count.
pub(super) struct Early {
    outbox: OutboxOptions,
    /// See [`ClientOptions::pages`].
    pages: usize,
    held: RefCell<VecDeque<Held>>,
    messages: Cell<usize>,
    bytes: Cell<usize>,
    requests: Cell<usize>,
}

/// An event or a command for the session. A message and a request have no tag yet, because a stored outbox may use it.
pub(super) enum Held {
    Event(Input),
    Connect,
    Stop,
    Join {
        room: RoomName,
        start: StartPosition,
    },
    Publish {
        room: RoomName,
        body: Body,
        slot: Rc<DeliverySlot>,
    },
    History {
        room: RoomName,
        request: PageRequest,
        slot: Weak<PageSlot>,
    },
}

/// A message or a request that was held, and that the session refused at once.
pub(super) enum Refusal {
    Message { slot: Rc<DeliverySlot>, reason: FailReason },
    Page { slot: Weak<PageSlot>, error: PageError },
}

impl Held {
    /// Whether the earlier one has no effect beside this one.
    fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Event(event), Self::Event(earlier)) => discriminant(event) == discriminant(earlier),
            (Self::Connect, Self::Connect) | (Self::Stop, Self::Stop) => true,
            _ => false,
        }
    }
}

impl Refusal {
    pub(super) fn report(self) {
        match self {
            Self::Message { slot, reason } => slot.step(DeliveryState::Failed(reason)),
            Self::Page { slot, error } => {
                if let Some(slot) = slot.upgrade() {
                    slot.put(Err(error));
                }
            }
        }
    }
}

impl Early {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            outbox: options.outbox,
            pages: options.pages,
            held: RefCell::default(),
            messages: Cell::new(0),
            bytes: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    /// Holds an event or a command that has no bound of its own. There are few: the last of each kind, and one join for
    /// each room that has a handle.
    pub(super) fn hold(&self, held: Held) {
        let mut all = self.held.borrow_mut();
        all.retain(|earlier| !held.replaces(earlier));
        all.push_back(held);
    }

    /// Cancels the join.
    pub(super) fn leave(&self, room: &RoomName) {
        let is_join = |held: &Held| matches!(held, Held::Join { room: joined, .. } if joined == room);
        self.held.borrow_mut().retain(|held| !is_join(held));
    }

    pub(super) fn publish(&self, room: RoomName, body: Body, slot: &Rc<DeliverySlot>) -> Result<(), FailReason> {
        self.count_message(body.json().len())?;
        let slot = slot.clone();
        self.held.borrow_mut().push_back(Held::Publish { room, body, slot });
        Ok(())
    }

    pub(super) fn history(&self, room: RoomName, request: PageRequest, slot: &Rc<PageSlot>) -> Result<(), PageError> {
        self.count_request()?;
        let slot = Rc::downgrade(slot);
        self.held.borrow_mut().push_back(Held::History { room, request, slot });
        Ok(())
    }

    /// All that is held, in its order, for the session that now exists.
    pub(super) fn take(&self) -> VecDeque<Held> {
        self.held.take()
    }

    fn count_message(&self, bytes: usize) -> Result<(), FailReason> {
        let (messages, all, max) = (self.messages.get(), self.bytes.get(), self.outbox.bytes);
        if bytes > max {
            return Err(FailReason::TooLarge { bytes, max });
        }
        if messages >= self.outbox.messages || all + bytes > max {
            return Err(FailReason::OutboxFull);
        }
        self.messages.set(messages + 1);
        self.bytes.set(all + bytes);
        Ok(())
    }

    fn count_request(&self) -> Result<(), PageError> {
        let requests = self.requests.get();
        if requests >= self.pages {
            return Err(PageError::TooMany);
        }
        self.requests.set(requests + 1);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(all(feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use std::{
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use talkback_protocol::{Body, Offset, RoomName};

    use crate::{Client, JoinOptions, OutboxOptions, test_util::World, waiters::Waiter};

    use super::*;

    /// A client whose store is not open yet.
    fn early(world: &World) -> Client {
        let bounds = OutboxOptions {
            messages: 3,
            bytes: 100,
            ttl: Duration::from_secs(60),
        };
        let builder = world.builder().outbox(bounds).options(|options| options.pages = 2);
        let client = builder.build().unwrap_or_else(|error| panic!("{error}"));
        client.driver().session.take();
        client
    }

    fn held(client: &Client) -> usize {
        client.driver().early.held.borrow().len()
    }

    #[test]
    fn inputs_before_the_store_is_open_are_bounded_as_in_the_session() {
        let world = World::new();
        let client = early(&world);
        let driver = client.driver();
        let room = RoomName::parse("lobby").unwrap();
        let publish = |bytes| {
            let taken = driver.publish(room.clone(), Body::text(&"x".repeat(bytes)));
            taken.map_or_else(DeliveryState::Failed, |slot| slot.state())
        };
        assert_eq!(
            publish(200),
            DeliveryState::Failed(FailReason::TooLarge { bytes: 202, max: 100 })
        );
        assert_eq!(publish(80), DeliveryState::Queued);
        assert_eq!(publish(80), DeliveryState::Failed(FailReason::OutboxFull), "the bytes");
        assert_eq!([publish(1), publish(1)], [DeliveryState::Queued, DeliveryState::Queued]);
        for _ in 0..10_000 {
            assert_eq!(publish(1), DeliveryState::Failed(FailReason::OutboxFull), "the number");
        }
        assert_eq!(held(&client), 3);
        for _ in 0..10_000 {
            drop(driver.history(room.clone(), Offset::ZERO, 1));
        }
        let refused = driver.history(room.clone(), Offset::ZERO, 1);
        assert_eq!(refused.err(), Some(PageError::TooMany));
        assert_eq!(held(&client), 5);
        for _ in 0..10_000 {
            drop(client.join::<u64>("other", &JoinOptions::default()));
            client.stop();
            client.connect();
            driver.page(Input::Visible);
            driver.signal(room.clone(), Body::text("typing"));
        }
        assert_eq!(held(&client), 8, "the last of each kind");
    }

    #[test]
    fn the_bounds_before_the_session_are_exact_to_the_byte() {
        let mut config = ClientOptions::default();
        (config.outbox.messages, config.outbox.bytes) = (2, 10);
        let full = Err(FailReason::OutboxFull);
        let early = Early::new(&config);
        let too_large = FailReason::TooLarge { bytes: 11, max: 10 };
        assert_eq!(early.count_message(11), Err(too_large));
        assert_eq!(
            (early.count_message(10), early.count_message(1)),
            (Ok(()), full.clone())
        );
        let early = Early::new(&config);
        assert_eq!(
            (early.count_message(4), early.count_message(6), early.count_message(0)),
            (Ok(()), Ok(()), full)
        );
    }

    #[test]
    fn a_waiting_page_request_ends_when_the_client_is_dropped_before_there_is_a_session() {
        let world = World::new();
        let client = early(&world);
        let page = client
            .driver()
            .history(RoomName::parse("lobby").unwrap(), Offset::ZERO, 1)
            .unwrap();
        drop(client);
        let context = Context::from_waker(Waker::noop());
        let result = page.poll(&Waiter::default(), &context);
        assert!(matches!(result, Poll::Ready(Err(PageError::Stopped))), "{result:?}");
    }
}
