//! What the application asks for while the store is being opened: held until there is a session to take it, within the bounds that the
//! session has, and answered as the session would answer when it does not fit.

use std::{cell::Cell, mem::discriminant};

use talkback_protocol::session::client::{
    ClientOptions, DeliveryState, FailReason, Input, OutboxOptions, PageError, Tag,
};

use super::Driver;

/// How much is held.
pub(super) struct Early {
    outbox: OutboxOptions,
    /// See [`ClientOptions::pages`].
    pages: usize,
    messages: Cell<usize>,
    bytes: Cell<usize>,
    requests: Cell<usize>,
}

impl Early {
    pub(super) fn new(config: &ClientOptions) -> Self {
        Self {
            outbox: config.outbox,
            pages: config.pages,
            messages: Cell::new(0),
            bytes: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    /// Takes a message into account, or says why it is not held.
    fn publish(&self, bytes: usize) -> Result<(), FailReason> {
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

    fn request(&self) -> bool {
        let requests = self.requests.get();
        let fits = requests < self.pages;
        self.requests.set(requests + usize::from(fits));
        fits
    }
}

impl Driver {
    /// Keeps an input for the session that is not there yet.
    pub(super) fn hold(&self, input: Input) {
        match &input {
            Input::Publish { body, tag, .. } => {
                if let Err(reason) = self.early.publish(body.json().len()) {
                    return self.refuse_early(*tag, reason);
                }
            }
            Input::History { tag, .. } => {
                if !self.early.request() {
                    return self.page_came(*tag, Err(PageError::TooMany));
                }
            }
            // Nobody is a member yet.
            Input::Signal { .. } => return,
            // A join that was not carried out is given up. There is one for each room that has a handle.
            Input::Leave { room } => {
                let is_join = |held: &Input| matches!(held, Input::Join { room: joined, .. } if joined == room);
                return self.inputs.borrow_mut().retain(|held| !is_join(held));
            }
            Input::Join { .. } => {}
            // Of what happens to the page, the last of each kind counts.
            other => {
                let kind = discriminant(other);
                self.inputs.borrow_mut().retain(|held| discriminant(held) != kind);
            }
        }
        self.inputs.borrow_mut().push_back(input);
    }

    fn refuse_early(&self, tag: Tag, reason: FailReason) {
        let slot = self.deliveries.borrow_mut().remove(&tag);
        if let Some(slot) = slot {
            slot.step(DeliveryState::Failed(reason));
        }
    }
}

#[cfg(all(test, feature = "test-util", not(target_family = "wasm")))]
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
        client.driver().inputs.borrow().len()
    }

    #[test]
    fn what_is_asked_for_before_the_store_is_open_is_bounded_as_in_the_session() {
        let world = World::new();
        let client = early(&world);
        let driver = client.driver();
        let room = RoomName::parse("lobby").unwrap();
        let publish = |bytes| {
            let slot = driver.publish(room.clone(), Body::text(&"x".repeat(bytes)));
            crate::Delivery::new(slot).state()
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
        assert_eq!(held(&client), 5);
        for _ in 0..10_000 {
            drop(client.join::<u64>("other", &JoinOptions::default()));
            client.stop();
            client.connect();
            driver.page(Input::Visible);
            driver.input(Input::Signal {
                room: room.clone(),
                body: Body::text("typing"),
            });
        }
        assert_eq!(held(&client), 8, "the last of each kind");
    }

    #[test]
    fn what_comes_before_the_session_is_held_to_the_last_byte_of_its_bounds() {
        let mut config = ClientOptions::default();
        (config.outbox.messages, config.outbox.bytes) = (2, 10);
        let full = Err(FailReason::OutboxFull);
        let early = Early::new(&config);
        let too_large = FailReason::TooLarge { bytes: 11, max: 10 };
        assert_eq!(early.publish(11), Err(too_large));
        assert_eq!((early.publish(10), early.publish(1)), (Ok(()), full.clone()));
        let early = Early::new(&config);
        assert_eq!(
            (early.publish(4), early.publish(6), early.publish(0)),
            (Ok(()), Ok(()), full)
        );
    }

    #[test]
    fn who_waits_for_a_page_is_told_when_the_client_goes_before_there_is_a_session() {
        let world = World::new();
        let client = early(&world);
        let page = client
            .driver()
            .history(RoomName::parse("lobby").unwrap(), Offset::ZERO, 1);
        drop(client);
        let context = Context::from_waker(Waker::noop());
        let told = page.poll(&Waiter::default(), &context);
        assert!(matches!(told, Poll::Ready(Err(PageError::Stopped))), "{told:?}");
    }
}
