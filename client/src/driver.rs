//! Drives one session: inputs one at a time into [`ClientSession`], its outputs to the transport, the timer, the rooms and whoever
//! waits. It decides nothing about connections; the session does.
//!
//! Anything may call in at any moment, also from inside a callback or a waker that the driver itself runs: an input that comes
//! while another one is carried out waits in a queue, and nothing stays borrowed while foreign code runs. The browser's closures
//! reach the driver weakly, so dropping the last handle ends everything.

mod connection;
mod early;
mod pages;
mod rooms;
mod token;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::{Rc, Weak},
    task::Poll,
    time::Duration,
};

use litemap::LiteMap;
use talkback_protocol::{
    Body, ClientKey, Moment, RoomName, SenderId,
    session::client::{
        ClientOptions, ClientSession, DeliveryState, FailReason, Generation, Input, Output, Snapshot, Status,
        StopReason, Tag,
    },
};

use crate::{
    client::{Delivery, DeliverySlot, Fault, Restored, Watched},
    runtime::{LocalFuture, Runtime},
    send_queue::SendQueue,
    store::{Store, StoreOptions, StoredOutbox},
    transport::{Connection, Transport},
    waiters::{Waiter, Waiters},
};

pub(crate) use rooms::Handle;

/// Asks the application for a token.
pub(crate) type TokenProvider = Box<dyn Fn() -> LocalFuture<Option<String>>>;
/// Tells the application what concerns nothing it waits for.
pub(crate) type OnFault = Box<dyn Fn(Fault)>;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) config: ClientOptions,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) runtime: Rc<dyn Runtime>,
    pub(crate) token: Option<TokenProvider>,
    pub(crate) on_fault: Option<OnFault>,
    pub(crate) keep: Option<StoreOptions>,
}

pub(crate) struct Driver {
    me: Weak<Self>,
    transport: Rc<dyn Transport>,
    runtime: Rc<dyn Runtime>,
    token: Option<TokenProvider>,
    on_fault: Option<OnFault>,
    /// Not there until the store was opened; inputs wait for it.
    session: RefCell<Option<ClientSession>>,
    /// As the server told it last.
    sender: RefCell<Option<SenderId>>,
    inputs: RefCell<VecDeque<Input>>,
    early: early::Early,
    busy: Cell<bool>,
    connection: RefCell<Option<(Generation, Box<dyn Connection>)>>,
    /// The time the runtime was asked to wake at.
    alarm: Cell<Option<Duration>>,
    token_task: RefCell<Option<LocalFuture<Option<String>>>>,
    store: RefCell<Option<Store>>,
    next_tag: Cell<Tag>,
    deliveries: RefCell<LiteMap<Tag, Rc<DeliverySlot>>>,
    restored: RefCell<Vec<Restored>>,
    pages: pages::Pages,
    rooms: rooms::Rooms,
    pub(crate) status: Rc<Watched<Status>>,
    /// Wait for the store to be opened.
    patient: Waiters,
    pub(crate) send_queue: SendQueue,
    watching: RefCell<Option<Box<dyn Any>>>,
}

impl Driver {
    /// Starts a session and connects.
    pub(crate) fn start(parts: Parts) -> Rc<Self> {
        let Parts { config, keep, .. } = parts;
        let driver = Rc::new_cyclic(|me| Self {
            me: me.clone(),
            transport: parts.transport,
            runtime: parts.runtime,
            token: parts.token,
            on_fault: parts.on_fault,
            session: RefCell::default(),
            sender: RefCell::default(),
            inputs: RefCell::default(),
            early: early::Early::new(&config),
            busy: Cell::default(),
            connection: RefCell::default(),
            alarm: Cell::default(),
            token_task: RefCell::default(),
            store: RefCell::default(),
            next_tag: Cell::new(1),
            deliveries: RefCell::default(),
            restored: RefCell::default(),
            pages: pages::Pages::default(),
            rooms: rooms::Rooms::default(),
            status: Watched::new(Status::Stopped(StopReason::NotStarted)),
            patient: Waiters::default(),
            send_queue: SendQueue::default(),
            watching: RefCell::default(),
        });
        let watching = driver.runtime.watch(&driver.me);
        driver.watching.replace(Some(watching));
        driver.input(Input::Connect);
        match keep {
            None => driver.begin(config, None, None),
            Some(keep) => {
                let me = driver.me.clone();
                driver.runtime.spawn(Box::pin(async move {
                    let opened = keep.open().await;
                    let Some(driver) = me.upgrade() else { return };
                    match opened {
                        Ok((store, left)) => driver.begin(config, Some(store), left),
                        Err(reason) => {
                            driver
                                .runtime
                                .warn(&format!("talkback: the outbox is not kept: {reason}"));
                            driver.begin(config, None, None);
                        }
                    }
                }));
            }
        }
        driver
    }

    fn begin(&self, mut config: ClientOptions, store: Option<Store>, left: Option<StoredOutbox>) {
        config.keep = store.is_some();
        if let Some(store) = &store {
            store.own(u64::from_le_bytes(self.random()));
        }
        self.store.replace(store);
        let session = match left {
            Some(StoredOutbox { kept, wall }) => {
                self.adopt(kept.snapshot());
                ClientSession::resume(config, kept, wall, self.runtime.now())
            }
            None => ClientSession::new(config, ClientKey::from_random(self.random())),
        };
        self.session.replace(Some(session));
        self.carry_on();
        self.patient.wake();
    }

    /// Gives the application deliveries for the messages that an earlier page left behind.
    fn adopt(&self, snapshot: &Snapshot) {
        for room in &snapshot.rooms {
            for pending in &room.pending {
                let Some(tag) = pending.tag else { continue };
                // Also that of a withdrawn message: its fate is told under it.
                self.next_tag.set(self.next_tag.get().max(tag + 1));
                let Some(body) = &pending.body else { continue };
                let slot = DeliverySlot::at(DeliveryState::Queued);
                self.deliveries.borrow_mut().insert(tag, slot.clone());
                self.restored.borrow_mut().push(Restored {
                    room: room.room.clone(),
                    body: body.clone(),
                    delivery: Delivery::new(slot),
                });
            }
        }
    }

    /// Feeds the session, now or as soon as what is being carried out is done.
    pub(crate) fn input(&self, input: Input) {
        if self.session.borrow().is_none() {
            return self.hold(input);
        }
        self.inputs.borrow_mut().push_back(input);
        self.carry_on();
    }

    /// The timer fired.
    pub(crate) fn tick(&self) {
        self.alarm.set(None);
        self.input(Input::Tick);
    }

    /// Something happened to the page.
    pub(crate) fn page(&self, input: Input) {
        let leaving = matches!(input, Input::Suspend);
        self.input(input);
        if leaving {
            // A page may never run again after this, and its record may have been taken for a copy, see `Store`.
            self.save();
        }
    }

    /// Publishes a message; its delivery begins at once, unless the session is busy.
    pub(crate) fn publish(&self, room: RoomName, body: Body) -> Rc<DeliverySlot> {
        let tag = self.tag();
        let slot = Rc::new(DeliverySlot::default());
        self.deliveries.borrow_mut().insert(tag, slot.clone());
        self.input(Input::Publish { room, body, tag });
        slot
    }

    /// The page ends as it does at a reload: told before, and then without running anything of it.
    #[cfg(feature = "test-util")]
    pub(crate) fn end_page(&self) {
        self.page(Input::Suspend);
        self.store.take();
        self.session.take();
        self.connection.take();
    }

    /// Waits until the session takes messages at all; before that, an outbox may still be on its way from the store.
    pub(crate) async fn ready(&self) {
        let waiter = Waiter::default();
        poll_fn(|context| {
            if self.session.borrow().is_some() {
                return Poll::Ready(());
            }
            self.patient.wait(&waiter, context);
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn now(&self) -> Duration {
        self.runtime.now()
    }

    pub(crate) fn sender(&self) -> Option<SenderId> {
        self.sender.borrow().clone()
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.store.borrow().is_some()
    }

    pub(crate) fn take_restored(&self) -> Vec<Restored> {
        self.restored.take()
    }

    fn tag(&self) -> Tag {
        self.next_tag.replace(self.next_tag.get() + 1)
    }

    fn carry_on(&self) {
        if self.busy.replace(true) {
            return;
        }
        loop {
            let Some(input) = self.inputs.borrow_mut().pop_front() else {
                break;
            };
            let moment = self.moment();
            if let Some(session) = &mut *self.session.borrow_mut() {
                session.handle(moment, input);
            }
            while let Some(output) = self.output() {
                self.carry_out(output);
            }
        }
        self.busy.set(false);
        self.set_alarm();
    }

    fn output(&self) -> Option<Output> {
        self.session.borrow_mut().as_mut()?.poll_output()
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.runtime.now(),
            random: u64::from_le_bytes(self.random()),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.runtime.random(&mut bytes);
        bytes
    }

    /// Only an earlier time needs another timer: an alarm that comes too early is a harmless tick, after which the right time is set.
    fn set_alarm(&self) {
        let next = self.session.borrow().as_ref().and_then(ClientSession::next_timeout);
        if let Some(next) = next
            && self.alarm.get().is_none_or(|alarm| next < alarm)
        {
            self.alarm.set(Some(next));
            self.runtime.wake_at(next, &self.me);
        }
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::Connect { generation } => self.connect(generation),
            Output::Transmit { generation, text } => self.transmit(generation, text),
            Output::Disconnect {
                generation,
                code,
                reason,
            } => self.disconnect(generation, code, &reason),
            Output::TokenWanted => self.ask_for_token(),
            Output::KeyWanted => self.renew_key(),
            Output::Save => self.save(),
            Output::Status(status) => {
                if let Status::Open { sender, .. } = &status {
                    self.sender.replace(Some(sender.clone()));
                }
                let is_over = matches!(status, Status::Stopped(_));
                self.status.set(status);
                if is_over {
                    // Who waits for room is told so now, also if nothing leaves the outbox: numbers may still be unsettled in it.
                    self.send_queue.release();
                }
            }
            Output::Room { room, event } => self.room_event(&room, event),
            Output::Delivery { tag, state } => {
                let slot = if state.is_final() {
                    self.deliveries.borrow_mut().remove(&tag)
                } else {
                    self.deliveries.borrow().get(&tag).cloned()
                };
                // What was refused for want of room has not been in the outbox.
                let has_left = state.is_final() && state != DeliveryState::Failed(FailReason::OutboxFull);
                if let Some(slot) = slot {
                    slot.record_releases(self.send_queue.releases());
                    slot.step(state);
                }
                if has_left {
                    self.send_queue.release();
                }
            }
            Output::OutboxHasRoom => self.send_queue.release(),
            Output::Page { tag, result } => self.page_came(tag, result),
            Output::Fault { code, message, room } => {
                let fault = Fault { code, message, room };
                match &self.on_fault {
                    Some(on_fault) => on_fault(fault),
                    None => self.runtime.warn(&format!("talkback: {fault}")),
                }
            }
        }
    }

    /// Somebody else uses the key, so this client goes on with one that nobody has, and what it keeps moves to a record that nobody has.
    fn renew_key(&self) {
        if let Some(store) = &*self.store.borrow() {
            store.renew(u64::from_le_bytes(self.random()));
        }
        self.input(Input::Key(ClientKey::from_random(self.random())));
    }

    fn save(&self) {
        let mut session = self.session.borrow_mut();
        let mut store = self.store.borrow_mut();
        if let (Some(session), Some(kept)) = (&mut *session, &*store)
            && let Err(reason) = kept.save(session)
        {
            self.runtime
                .warn(&format!("talkback: the outbox is not kept any more: {reason}"));
            *store = None;
        }
    }
}

impl Drop for Driver {
    /// Stops the session, so that what is kept says the same as the deliveries: what failed here is not sent by a later page.
    fn drop(&mut self) {
        let moment = self.moment();
        // Whatever is told now goes no further.
        self.busy.set(true);
        if let Some(session) = self.session.get_mut() {
            session.handle(moment, Input::Stop);
        }
        while let Some(output) = self.output() {
            self.carry_out(output);
        }
        self.save();
        // Nobody may wait for ever for something that cannot come any more.
        for (_, slot) in self.deliveries.take() {
            slot.step(DeliveryState::Failed(FailReason::Stopped));
        }
        self.pages.end();
        self.status.end();
    }
}

#[cfg(all(test, feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use talkback_protocol::{
        Seq,
        session::client::{PendingMessage, RoomSnapshot},
    };

    use super::*;
    use crate::test_util::World;

    #[test]
    fn a_new_message_never_takes_the_tag_of_one_that_an_earlier_page_withdrew() {
        let world = World::new();
        let client = world.client("ann");
        let pending = |tag, body| PendingMessage {
            tag: Some(tag),
            id: None,
            body,
            ttl_ms: 1_000,
        };
        client.driver().adopt(&Snapshot {
            key: ClientKey::from_random([7; 16]),
            next: Seq::FIRST,
            rooms: vec![RoomSnapshot {
                room: RoomName::parse("lobby").unwrap(),
                cursor: None,
                first: Seq::FIRST,
                pending: vec![pending(40, Some(Body::text("said"))), pending(41, None)],
            }],
        });
        assert_eq!(client.driver().tag(), 42);
        assert_eq!(
            client.driver().take_restored().len(),
            1,
            "what is withdrawn is not sent again"
        );
    }
}
