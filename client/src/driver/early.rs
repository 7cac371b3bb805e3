//! Inputs that come while the store is being opened: held until there is a session, within the session's own bounds, and refused as the
//! session would refuse them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::discriminant,
};

use talkback_protocol::session::client::{
    ClientOptions, DeliveryState, FailReason, Input, OutboxOptions, Output, PageError,
};

/// The held inputs, and what their bounds count.
pub(super) struct Early {
    outbox: OutboxOptions,
    /// See [`ClientOptions::pages`].
    pages: usize,
    inputs: RefCell<VecDeque<Input>>,
    messages: Cell<usize>,
    bytes: Cell<usize>,
    requests: Cell<usize>,
}

impl Early {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            outbox: options.outbox,
            pages: options.pages,
            inputs: RefCell::default(),
            messages: Cell::new(0),
            bytes: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    /// Holds an input, or gives the output that refuses it.
    pub(super) fn hold(&self, input: Input) -> Option<Output> {
        match &input {
            Input::Publish { body, tag, .. } => {
                if let Err(reason) = self.count_message(body.json().len()) {
                    let state = DeliveryState::Failed(reason);
                    return Some(Output::Delivery { tag: *tag, state });
                }
            }
            Input::History { tag, .. } => {
                if !self.count_request() {
                    let result = Err(PageError::TooMany);
                    return Some(Output::Page { tag: *tag, result });
                }
            }
            // No room is joined yet, and a signal to a room that is not joined is dropped.
            Input::Signal { .. } => return None,
            // Cancels the join. There is at most one for each room that has a handle.
            Input::Leave { room } => {
                let is_join = |held: &Input| matches!(held, Input::Join { room: joined, .. } if joined == room);
                self.inputs.borrow_mut().retain(|held| !is_join(held));
                return None;
            }
            Input::Join { .. } => {}
            // Of the events of the page, only the last of each kind matters.
            other => {
                let kind = discriminant(other);
                self.inputs.borrow_mut().retain(|held| discriminant(held) != kind);
            }
        }
        self.inputs.borrow_mut().push_back(input);
        None
    }

    /// The held inputs in their order, for the session that now exists.
    pub(super) fn take(&self) -> VecDeque<Input> {
        self.inputs.take()
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

    fn count_request(&self) -> bool {
        let requests = self.requests.get();
        let fits = requests < self.pages;
        self.requests.set(requests + usize::from(fits));
        fits
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
        client.driver().early.inputs.borrow().len()
    }

    #[test]
    fn inputs_before_the_store_is_open_are_bounded_as_in_the_session() {
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
            .history(RoomName::parse("lobby").unwrap(), Offset::ZERO, 1);
        drop(client);
        let context = Context::from_waker(Waker::noop());
        let result = page.poll(&Waiter::default(), &context);
        assert!(matches!(result, Poll::Ready(Err(PageError::Stopped))), "{result:?}");
    }
}
