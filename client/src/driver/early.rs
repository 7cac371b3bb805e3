//! Events and commands that come while a store is being opened: held until there is a session, within the session's
//! own bounds, and refused as the session would refuse them. Only a store makes an [`Early`], so a client whose outbox
//! is in memory links nothing of it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::discriminant,
    rc::{Rc, Weak},
};

use talkback_protocol::{
    Body, RoomName,
    session::client::{ClientOptions, DeliveryState, FailReason, OutboxOptions, PageError},
};

use super::{
    Command, Driver, Waiting,
    pages::{Asker, PageSlot},
};
use crate::client::{DeliverySlot, PageRequest};

/// What is held, and what its bounds count.
pub(crate) struct Early {
    outbox: OutboxOptions,
    /// See [`ClientOptions::pages`].
    pages: usize,
    held: RefCell<VecDeque<Held>>,
    messages: Cell<usize>,
    bytes: Cell<usize>,
    requests: Cell<usize>,
}

/// An event or a command for the session. A message and a request have no tag yet, because a stored outbox may use it.
enum Held {
    Command(Command),
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
enum Refusal {
    Message { slot: Rc<DeliverySlot>, reason: FailReason },
    Page { slot: Weak<PageSlot>, error: PageError },
}

impl Held {
    fn give_to(self, driver: &Driver) -> Option<Refusal> {
        match self {
            Self::Command(command) => driver.act(command),
            Self::Publish { room, body, slot } => {
                let taken = driver.call_publish(room, body, &slot);
                return taken.err().map(|reason| Refusal::Message { slot, reason });
            }
            Self::History { room, request, slot } => {
                let taken = driver.call_history(room, request, Asker::Application(slot.clone()));
                return taken.err().map(|error| Refusal::Page { slot, error });
            }
        }
        None
    }
}

/// Whether the earlier of two commands has no effect beside the later one.
fn replaces(later: &Command, earlier: &Held) -> bool {
    let Held::Command(earlier) = earlier else { return false };
    match (later, earlier) {
        (Command::Event(event), Command::Event(earlier)) => discriminant(event) == discriminant(earlier),
        (Command::Connect, Command::Connect) | (Command::Stop, Command::Stop) => true,
        #[cfg(feature = "direct")]
        // Only the first `Address` of several has an effect, and none before a `LeaveAddressed`.
        (Command::LeaveAddressed, Command::Address { .. } | Command::LeaveAddressed) => true,
        _ => false,
    }
}

impl Refusal {
    fn report(self) {
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
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self {
            outbox: options.outbox,
            pages: options.pages,
            held: RefCell::default(),
            messages: Cell::new(0),
            bytes: Cell::new(0),
            requests: Cell::new(0),
        }
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

impl Waiting for Early {
    fn hold(&self, command: Command) {
        let mut all = self.held.borrow_mut();
        #[cfg(feature = "direct")]
        if matches!(command, Command::Address { .. }) {
            let is_address = |held: &Held| matches!(held, Held::Command(Command::Address { .. }));
            if all.iter().any(is_address) {
                return;
            }
        }
        all.retain(|earlier| !replaces(&command, earlier));
        all.push_back(Held::Command(command));
    }

    fn leave(&self, room: &RoomName) {
        let is_join = |held: &Held| matches!(held, Held::Command(Command::Join { room: joined, .. }) if joined == room);
        self.held.borrow_mut().retain(|held| !is_join(held));
    }

    fn publish(&self, room: RoomName, body: Body, slot: &Rc<DeliverySlot>) -> Result<(), FailReason> {
        self.count_message(body.json().len())?;
        let slot = slot.clone();
        self.held.borrow_mut().push_back(Held::Publish { room, body, slot });
        Ok(())
    }

    fn history(&self, room: RoomName, request: PageRequest, slot: &Rc<PageSlot>) -> Result<(), PageError> {
        self.count_request()?;
        let slot = Rc::downgrade(slot);
        self.held.borrow_mut().push_back(Held::History { room, request, slot });
        Ok(())
    }

    /// All of it comes before anything that the application does when it learns of the first refusal.
    fn give_to(&self, driver: &Driver) {
        let held = self.held.take().into_iter();
        let refused: Vec<_> = held.filter_map(|held| held.give_to(driver)).collect();
        refused.into_iter().for_each(Refusal::report);
    }
}

#[cfg(test)]
#[cfg(all(feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use std::{
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use talkback_protocol::{Body, Offset, RoomName, session::client::Input};

    use crate::{Client, JoinOptions, OutboxOptions, test_util::World, waiters::Waiter};

    use super::*;

    /// A client whose store is not open yet, and what waits.
    fn early(world: &World) -> (Client, Rc<Early>) {
        let bounds = OutboxOptions {
            messages: 3,
            bytes: 100,
            ttl: Duration::from_secs(60),
        };
        let builder = world.builder().outbox(bounds).options(|options| options.pages = 2);
        let client = builder.build().unwrap_or_else(|error| panic!("{error}"));
        client.driver().session.take();
        let mut options = ClientOptions::default();
        (options.outbox, options.pages) = (bounds, 2);
        let early = Rc::new(Early::new(&options));
        assert!(client.driver().early.set(early.clone()).is_ok(), "it had none");
        (client, early)
    }

    #[test]
    fn inputs_before_the_store_is_open_are_bounded_as_in_the_session() {
        let world = World::new();
        let (client, early) = early(&world);
        let held = || early.held.borrow().len();
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
        assert_eq!(held(), 3);
        for _ in 0..10_000 {
            drop(driver.history(room.clone(), Offset::ZERO, 1));
        }
        let refused = driver.history(room.clone(), Offset::ZERO, 1);
        assert_eq!(refused.err(), Some(PageError::TooMany));
        assert_eq!(held(), 5);
        for _ in 0..10_000 {
            drop(client.join::<u64>("other", &JoinOptions::default()));
            client.stop();
            client.connect();
            driver.page(Input::Visible);
            driver.signal(room.clone(), Body::text("typing"));
        }
        assert_eq!(held(), 8, "the last of each kind");
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
        let (client, _) = early(&world);
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
