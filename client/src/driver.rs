//! Drives one session: gives inputs one at a time to [`ClientSession`], and carries out its outputs: on the transport, the timer, the
//! rooms and the waiting tasks. Decisions about connections are the session's.
//!
//! Every method may be called at any time, also from inside a callback or a waker that the driver itself runs: an input that comes
//! while another one is carried out is queued, and nothing stays borrowed while foreign code runs. The browser's closures hold the
//! driver weakly, so dropping the last handle ends everything.

mod early;
mod pages;
mod rooms;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use litemap::LiteMap;
use talkback_protocol::{
    Body, ClientKey, Moment, Offset, RoomName, SenderId, close, log_line,
    message::Member,
    session::client::{
        ClientOptions, ClientSession, DeliveryState, FailReason, Generation, HistoryPage, Input, Output, PageError,
        RoomEvent, Snapshot, Status, StopReason, Tag,
    },
};

use crate::{
    client::{Delivery, DeliverySlot, Fault, Inbox, InboxOptions, PageRequest, Restored, StartPosition, Watched},
    runtime::{LocalFuture, Runtime},
    send_queue::SendQueue,
    store::{Store, StoreOptions, StoredOutbox},
    transport::{Connection, Events, Transport},
    waiters::{Waiter, Waiters},
};

use early::Early;
use pages::{Asker, PageSlot, Pages};
use rooms::Rooms;

pub(crate) use rooms::Handle;

/// Asks the application for a token.
pub(crate) type TokenProvider = Box<dyn Fn() -> LocalFuture<Option<String>>>;
/// Reports errors of the server that belong to no pending request.
pub(crate) type OnFault = Box<dyn Fn(Fault)>;

/// What [`Driver::start`] needs.
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
    /// `None` until the store was opened; inputs wait in `early`.
    session: RefCell<Option<ClientSession>>,
    /// As in the last welcome; kept while there is no connection.
    sender: RefCell<Option<SenderId>>,
    inputs: RefCell<VecDeque<Input>>,
    early: Early,
    /// [`carry_on`](Self::carry_on) runs, further up the stack.
    busy: Cell<bool>,
    connection: RefCell<Option<(Generation, Box<dyn Connection>)>>,
    /// The earliest time at which the runtime was asked to wake this driver.
    alarm: Cell<Option<Duration>>,
    /// Lives here, so that it ends with the driver.
    token_task: RefCell<Option<LocalFuture<Option<String>>>>,
    store: RefCell<Option<Store>>,
    next_tag: Cell<Tag>,
    deliveries: RefCell<LiteMap<Tag, Rc<DeliverySlot>>>,
    restored: RefCell<Vec<Restored>>,
    pages: Pages,
    rooms: Rooms,
    pub(crate) status: Rc<Watched<Status>>,
    /// Tasks that wait for the store to be opened.
    ready: Waiters,
    pub(crate) send_queue: SendQueue,
    /// The runtime's event listeners for the page and the network, as long as this lives.
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
            early: Early::new(&config),
            busy: Cell::default(),
            connection: RefCell::default(),
            alarm: Cell::default(),
            token_task: RefCell::default(),
            store: RefCell::default(),
            next_tag: Cell::new(1),
            deliveries: RefCell::default(),
            restored: RefCell::default(),
            pages: Pages::default(),
            rooms: Rooms::default(),
            status: Watched::new(Status::Stopped(StopReason::NotStarted)),
            ready: Waiters::default(),
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
                            // Without the reason, which may quote the names of stored texts.
                            log_line!(client, debug, "the outbox cannot be stored");
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
        log_line!(
            client,
            debug,
            "the session begins: the outbox is {}, with {} messages of an earlier page",
            if self.is_kept() { "stored" } else { "in memory" },
            self.restored.borrow().len(),
        );
        self.session.replace(Some(session));
        self.inputs.borrow_mut().append(&mut self.early.take());
        self.carry_on();
        self.ready.wake();
    }

    /// Makes deliveries for the messages that an earlier page left in the store.
    fn adopt(&self, snapshot: &Snapshot) {
        for room in &snapshot.rooms {
            for pending in &room.pending {
                let Some(tag) = pending.tag else { continue };
                // Also above the tag of a withdrawn message, whose last state still comes.
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

    /// Gives an input to the session: now, or after the one that is being carried out.
    pub(crate) fn input(&self, input: Input) {
        if self.session.borrow().is_none() {
            if let Some(refusal) = self.early.hold(input) {
                log_line!(
                    client,
                    debug,
                    "refused: too much is held until the stored outbox is read"
                );
                self.carry_out(refusal);
            }
            return;
        }
        self.inputs.borrow_mut().push_back(input);
        self.carry_on();
    }

    /// The timer fired.
    pub(crate) fn tick(&self) {
        self.alarm.set(None);
        self.input(Input::Tick);
    }

    /// An event of the page or the network.
    pub(crate) fn page(&self, input: Input) {
        let leaving = matches!(input, Input::Suspend);
        self.input(input);
        if leaving {
            // The page may never run again after this, and another page may have taken its record for a copy, see `Store`.
            self.save();
        }
    }

    /// Publishes a message. The slot has its first state at once, unless the driver is carrying out another input.
    pub(crate) fn publish(&self, room: RoomName, body: Body) -> Rc<DeliverySlot> {
        let tag = self.tag();
        let slot = Rc::new(DeliverySlot::default());
        self.deliveries.borrow_mut().insert(tag, slot.clone());
        self.input(Input::Publish { room, body, tag });
        slot
    }

    /// Adds a handle of a room; the first one joins it.
    pub(crate) fn join(&self, room: &RoomName, want: StartPosition, bounds: InboxOptions) -> Rc<Handle> {
        if self.rooms.contains(room) {
            let handle = self.rooms.add(room, Inbox::for_further_handle(bounds, want));
            self.pump(room, &handle);
            return handle;
        }
        let handle = self.rooms.add(room, Inbox::for_first_handle(bounds));
        self.input(Input::Join {
            room: room.clone(),
            since: want.since,
            history: Some(want.history),
        });
        handle
    }

    /// Removes a handle of a room; the last one leaves it.
    pub(crate) fn release(&self, room: &RoomName, handle: &Rc<Handle>) {
        if self.rooms.remove(room, handle) {
            self.input(Input::Leave { room: room.clone() });
        }
    }

    /// The next event for a reader.
    pub(crate) fn poll_room(
        &self,
        room: &RoomName,
        handle: &Rc<Handle>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Option<RoomEvent>> {
        let Some(event) = handle.take() else {
            return handle.poll_end(waiter, context);
        };
        self.pump(room, handle);
        Poll::Ready(Some(event))
    }

    /// The users in a room that is joined, if the server tells them.
    pub(crate) fn members(&self, room: &RoomName) -> Option<Vec<Member>> {
        self.rooms.members(room)
    }

    /// How many users are in a room that is joined.
    pub(crate) fn users(&self, room: &RoomName) -> Option<u32> {
        self.rooms.users(room)
    }

    fn room_event(&self, room: &RoomName, event: RoomEvent) {
        for handle in self.rooms.fan_out(room, event).unwrap_or_default() {
            handle.wake();
            self.pump(room, &handle);
        }
    }

    /// Requests the page that a handle needs to read on, and says whether it needed one.
    fn pump(&self, room: &RoomName, handle: &Rc<Handle>) -> bool {
        let Some(wanted) = self.rooms.next_page(room, handle) else {
            return false;
        };
        let asker = Asker::Handle {
            room: room.clone(),
            handle: Rc::downgrade(handle),
            wanted,
        };
        self.ask_page(room.clone(), wanted, asker);
        true
    }

    /// Requests the newest `limit` messages before an offset.
    pub(crate) fn history(&self, room: RoomName, before: Offset, limit: u32) -> Rc<PageSlot> {
        let slot = Rc::new(PageSlot::default());
        let asker = Asker::Application(Rc::downgrade(&slot));
        self.ask_page(room, PageRequest { before, limit }, asker);
        slot
    }

    fn ask_page(&self, room: RoomName, PageRequest { before, limit }: PageRequest, asker: Asker) {
        let tag = self.tag();
        self.pages.add(tag, asker);
        self.input(Input::History {
            room,
            before,
            limit,
            tag,
        });
    }

    fn page_came(&self, tag: Tag, result: Result<HistoryPage, PageError>) {
        let asker = self.pages.remove(tag);
        if result.as_ref().err() != Some(&PageError::TooMany) {
            // Before this answer is delivered: a receiver that requests another page at once comes after those that were put off.
            while let Some((room, handle)) = self.pages.next_put_off() {
                if self.pump(&room, &handle) {
                    break;
                }
            }
        }
        match asker {
            Some(Asker::Application(slot)) => {
                if let Some(slot) = slot.upgrade() {
                    slot.put(result);
                }
            }
            Some(Asker::Handle { room, handle, wanted }) => {
                let Some(handle) = handle.upgrade() else { return };
                let failed = result.as_ref().err().cloned();
                if !self.rooms.answer(&room, &handle, wanted, result) {
                    return;
                }
                match failed {
                    None => drop(self.pump(&room, &handle)),
                    Some(PageError::TooMany) => self.pages.put_off(&room, &handle),
                    // Requested again with the next event of the room. At once would be a loop without end.
                    Some(_) => {}
                }
            }
            None => {}
        }
    }

    /// Ends the page as a reload does: `pagehide` first, and then nothing of it runs any more.
    #[cfg(feature = "test-util")]
    pub(crate) fn end_page(&self) {
        self.page(Input::Suspend);
        self.store.take();
        self.session.take();
        self.connection.take();
    }

    /// Waits until there is a session. Before that, a kept outbox may still be on its way from the store.
    pub(crate) async fn ready(&self) {
        let waiter = Waiter::default();
        poll_fn(|context| {
            if self.session.borrow().is_some() {
                return Poll::Ready(());
            }
            self.ready.wait(&waiter, context);
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

    /// Asks the runtime only for earlier times: an alarm that is too early is a harmless tick, after which the right time is set.
    fn set_alarm(&self) {
        let next = self.session.borrow().as_ref().and_then(ClientSession::next_timeout);
        if let Some(next) = next
            && self.alarm.get().is_none_or(|alarm| next < alarm)
        {
            log_line!(client, trace, "alarm set to {} ms", next.as_millis());
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
                    // Tasks that wait for capacity try again and fail now, although unsettled numbers may still fill the outbox.
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
                // A message that found the outbox full was never in it.
                let has_left = state.is_final() && state != DeliveryState::Failed(FailReason::OutboxFull);
                if let Some(slot) = slot {
                    slot.record_releases(self.send_queue.releases());
                    slot.step(state);
                }
                if has_left {
                    self.send_queue.release();
                }
            }
            Output::OutboxHasCapacity => self.send_queue.release(),
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

    fn connect(&self, generation: Generation) {
        let connection = self.transport.open(Events::new(self.me.clone(), generation));
        if connection.is_none() {
            log_line!(client, debug, "connection {generation}: the transport cannot be opened");
        }
        let connection = connection.map(|connection| (generation, connection));
        drop(self.connection.replace(connection));
    }

    fn transmit(&self, generation: Generation, text: String) {
        let failed = match &*self.connection.borrow() {
            Some((current, connection)) if *current == generation => connection.send(text).err(),
            _ => None,
        };
        if let Some(reason) = failed {
            log_line!(client, debug, "connection {generation}: the transport cannot send");
            self.disconnected(generation);
            self.input(Input::Closed {
                generation,
                code: close::ABNORMAL,
                reason,
            });
        }
    }

    fn disconnect(&self, generation: Generation, code: u16, reason: &str) {
        if let Some(connection) = self.take_connection(generation) {
            connection.close(code, reason);
        }
    }

    /// A connection ended by itself. Events of earlier generations are ignored.
    pub(crate) fn disconnected(&self, generation: Generation) {
        drop(self.take_connection(generation));
    }

    /// Takes the connection out, so that nothing stays borrowed: dropping it runs code of the browser.
    fn take_connection(&self, generation: Generation) -> Option<Box<dyn Connection>> {
        let mut connection = self.connection.borrow_mut();
        connection
            .take_if(|(current, _)| *current == generation)
            .map(|(_, connection)| connection)
    }

    /// The spawned task only polls the future, which lives in the driver and ends with it.
    fn ask_for_token(&self) {
        let Some(provider) = &self.token else {
            return self.input(Input::Token(None));
        };
        let future = provider();
        self.token_task.replace(Some(future));
        let me = self.me.clone();
        let task = poll_fn(move |context| match me.upgrade() {
            Some(driver) => driver.poll_token(context),
            None => Poll::Ready(()),
        });
        self.runtime.spawn(Box::pin(task));
    }

    fn poll_token(&self, context: &mut Context<'_>) -> Poll<()> {
        // Taken out, because the application's code runs inside and may call this driver.
        let Some(mut future) = self.token_task.take() else {
            return Poll::Ready(());
        };
        match Pin::new(&mut future).poll(context) {
            Poll::Ready(token) => {
                self.input(Input::Token(token));
                Poll::Ready(())
            }
            Poll::Pending => {
                let newer = self.token_task.borrow().is_some();
                if !newer {
                    self.token_task.replace(Some(future));
                }
                Poll::Pending
            }
        }
    }

    /// Another client uses the key: this one takes a new one, and moves its outbox to a new record of the store.
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
            log_line!(client, debug, "the outbox cannot be stored any more");
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
        // Inputs from callbacks are queued and never carried out.
        self.busy.set(true);
        if let Some(session) = self.session.get_mut() {
            session.handle(moment, Input::Stop);
        }
        while let Some(output) = self.output() {
            self.carry_out(output);
        }
        self.save();
        // No task may wait forever for a state that cannot come any more.
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
    use crate::{
        Client,
        client::{ClientBuilder, Platform},
        test_util::World,
    };

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
            "a withdrawn message is not sent again"
        );
    }

    /// The texts and the ends of connections.
    type Seen = Rc<RefCell<Vec<String>>>;

    /// A transport that reports open before it returns.
    struct AtOnce(Seen);

    struct Recorded(Seen);

    impl Transport for AtOnce {
        fn open(&self, events: Events) -> Option<Box<dyn Connection>> {
            events.opened();
            Some(Box::new(Recorded(self.0.clone())))
        }
    }

    impl Connection for Recorded {
        fn send(&self, text: String) -> Result<(), String> {
            self.0.borrow_mut().push(text);
            Ok(())
        }

        fn close(self: Box<Self>, code: u16, _: &str) {
            self.0.borrow_mut().push(format!("closed with {code}"));
        }
    }

    impl Drop for Recorded {
        fn drop(&mut self) {
            self.0.borrow_mut().push("dropped".to_owned());
        }
    }

    fn connected() -> (Client, Seen) {
        let seen = Seen::default();
        let platform = Platform {
            transport: Rc::new(AtOnce(seen.clone())),
            ..World::new().platform()
        };
        let client = ClientBuilder::on(platform).build().unwrap();
        (client, seen)
    }

    #[test]
    fn a_connection_that_opens_inside_the_call_gets_the_first_line_once_it_is_stored() {
        let (_client, seen) = connected();
        assert!(seen.borrow()[0].contains("hello"), "{seen:?}");
        assert_eq!(seen.borrow().len(), 1);
    }

    #[test]
    fn events_of_earlier_generations_are_ignored() {
        let (client, seen) = connected();
        let driver = client.driver();
        let current = driver.connection.borrow().as_ref().unwrap().0;
        seen.borrow_mut().clear();
        let earlier = current.wrapping_sub(1);
        driver.transmit(earlier, "late".to_owned());
        driver.disconnect(earlier, 1000, "");
        driver.disconnected(earlier);
        assert_eq!(*seen.borrow(), Vec::<String>::new());
        driver.disconnected(current);
        assert_eq!(*seen.borrow(), ["dropped"]);
    }
}
