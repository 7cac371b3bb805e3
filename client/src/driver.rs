//! Drives one session: gives events and commands to [`ClientSession`], and carries out its outputs: on the transport,
//! the timer, the rooms and the waiting tasks. Decisions about connections are the session's.
//!
//! Every method may be called at any time, also from inside a callback or a waker that the driver itself runs. The
//! session takes an event or a command at once, because it calls no foreign code; what this leads to is carried out
//! after the outputs that are being carried out. Nothing stays borrowed while foreign code runs. The browser's closures
//! hold the driver weakly, so dropping the last handle ends everything.

#[cfg(feature = "direct")]
mod direct;
mod early;
mod pages;
mod rooms;

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
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
    transport::{Connection, Events, Transport},
    waiters::{Waiter, Waiters},
};

#[cfg(feature = "find")]
use pages::Slot;
use pages::{Asker, PageSlot, Pages};
use rooms::Rooms;

#[cfg(feature = "direct")]
pub(crate) use direct::DirectReader;
pub(crate) use early::Early;
pub(crate) use rooms::Handle;

/// Asks the application for a token.
pub(crate) type TokenProvider = Box<dyn Fn() -> LocalFuture<Option<String>>>;
/// Reports errors of the server that belong to no pending request.
pub(crate) type OnFault = Box<dyn Fn(Fault)>;

/// A store of the outbox that is not open yet. Stores are behind traits, so that a client whose outbox is in memory links nothing of
/// them.
pub(crate) trait ClosedStore {
    /// What holds events and commands until it is open.
    fn waiting(&self, options: &ClientOptions) -> Rc<dyn Waiting>;

    /// Opens it, and calls [`Driver::begin`] with what is in it.
    fn open(self: Box<Self>, driver: Weak<Driver>, options: ClientOptions) -> LocalFuture<()>;
}

/// An event or a command that has no result and no bound of its own. There are few that wait: the last of each kind,
/// and one join for each room that has a handle.
pub(crate) enum Command {
    Event(Input),
    Connect,
    Stop,
    Join {
        room: RoomName,
        start: StartPosition,
    },
    #[cfg(feature = "direct")]
    Address {
        since: Vec<(RoomName, talkback_protocol::Cursor)>,
        history: u32,
    },
    #[cfg(feature = "direct")]
    LeaveAddressed,
}

/// Holds events and commands while there is no session.
pub(crate) trait Waiting {
    fn hold(&self, command: Command);

    /// Cancels the join.
    fn leave(&self, room: &RoomName);

    fn publish(&self, room: RoomName, body: Body, slot: &Rc<DeliverySlot>) -> Result<(), FailReason>;

    fn history(&self, room: RoomName, request: PageRequest, slot: &Rc<PageSlot>) -> Result<(), PageError>;

    /// Gives all that is held, in its order, to the session that now exists.
    fn give_to(&self, driver: &Driver);
}

/// A store of the outbox. Dropping it ends its use.
pub(crate) trait OpenStore {
    /// Moves to a new key, with these random bits in the name of its records.
    fn renew(&self, random: u64);

    /// Writes what changed since the last save.
    ///
    /// # Errors
    /// Why it cannot be stored. Then the store must not be used again.
    fn save(&self, session: &mut ClientSession) -> Result<(), String>;
}

/// What [`Driver::start`] needs.
pub(crate) struct Parts {
    pub(crate) config: ClientOptions,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) runtime: Rc<dyn Runtime>,
    pub(crate) token: Option<TokenProvider>,
    pub(crate) on_fault: Option<OnFault>,
    pub(crate) keep: Option<Box<dyn ClosedStore>>,
}

pub(crate) struct Driver {
    me: Weak<Self>,
    transport: Rc<dyn Transport>,
    runtime: Rc<dyn Runtime>,
    token: Option<TokenProvider>,
    on_fault: Option<OnFault>,
    /// `None` until the store was opened; events and commands wait in `early`.
    session: RefCell<Option<ClientSession>>,
    /// Set if there is a store.
    early: OnceCell<Rc<dyn Waiting>>,
    /// As in the last welcome; kept while there is no connection.
    sender: RefCell<Option<SenderId>>,
    /// As in the last welcome; kept while there is no connection.
    max_body_bytes: Cell<Option<usize>>,
    /// [`carry_on`](Self::carry_on) runs, further up the stack.
    busy: Cell<bool>,
    connection: RefCell<Option<(Generation, Box<dyn Connection>)>>,
    /// The earliest time at which the runtime was asked to wake this driver.
    alarm: Cell<Option<Duration>>,
    /// Lives here, so that it ends with the driver.
    token_task: RefCell<Option<LocalFuture<Option<String>>>>,
    store: RefCell<Option<Box<dyn OpenStore>>>,
    next_tag: Cell<Tag>,
    deliveries: RefCell<LiteMap<Tag, Rc<DeliverySlot>>>,
    restored: RefCell<Vec<Restored>>,
    pages: Pages,
    rooms: Rooms,
    #[cfg(feature = "direct")]
    direct: direct::Readers,
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
        let Parts { mut config, keep, .. } = parts;
        // The store sets it once it is open.
        config.keep = false;
        let driver = Rc::new_cyclic(|me| Self {
            me: me.clone(),
            transport: parts.transport,
            runtime: parts.runtime,
            token: parts.token,
            on_fault: parts.on_fault,
            session: RefCell::default(),
            sender: RefCell::default(),
            max_body_bytes: Cell::default(),
            early: OnceCell::new(),
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
            #[cfg(feature = "direct")]
            direct: direct::Readers::default(),
            status: Watched::new(Status::Stopped(StopReason::NotStarted)),
            ready: Waiters::default(),
            send_queue: SendQueue::default(),
            watching: RefCell::default(),
        });
        let watching = driver.runtime.watch(&driver.me);
        driver.watching.replace(Some(watching));
        match keep {
            None => {
                driver.begin(driver.new_session(config));
                driver.connect();
            }
            Some(store) => {
                // There was none.
                let _: Result<(), _> = driver.early.set(store.waiting(&config));
                driver.connect();
                driver.runtime.spawn(store.open(driver.me.clone(), config));
            }
        }
        driver
    }

    /// A session without messages of an earlier page.
    pub(crate) fn new_session(&self, options: ClientOptions) -> ClientSession {
        ClientSession::new(options, ClientKey::from_random(self.random()))
    }

    /// Stores the outbox of the session that begins. A method of its own: as an argument of [`begin`](Self::begin) the only
    /// store would be taken for a constant, and linked into every application.
    pub(crate) fn keep(&self, store: Box<dyn OpenStore>) {
        self.store.replace(Some(store));
    }

    /// Takes the session, and gives it what was held.
    pub(crate) fn begin(&self, session: ClientSession) {
        log_line!(
            client,
            debug,
            "the session begins: the outbox is {}, with {} messages of an earlier page",
            if self.is_kept() { "stored" } else { "in memory" },
            self.restored.borrow().len(),
        );
        self.session.replace(Some(session));
        self.take_held();
        self.ready.wake();
    }

    /// Gives the session what was held.
    fn take_held(&self) {
        if let Some(early) = self.early.get() {
            early.give_to(self);
            self.carry_on();
        }
    }

    /// Makes deliveries for the messages that an earlier page left in the store.
    pub(crate) fn adopt(&self, snapshot: &Snapshot) {
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

    /// Gives an event to the session.
    pub(crate) fn input(&self, input: Input) {
        self.give(Command::Event(input));
    }

    /// Connects now.
    pub(crate) fn connect(&self) {
        self.give(Command::Connect);
    }

    /// Asks the server for a sign of life, if there is a connection.
    pub(crate) fn check(&self) {
        if self.has_session() {
            self.call(ClientSession::check);
            self.carry_on();
        }
    }

    /// Ends the session.
    pub(crate) fn stop(&self) {
        self.give(Command::Stop);
    }

    /// Gives the session an event or a command that has no result: now, or when there is a session.
    fn give(&self, command: Command) {
        match self.waiting() {
            Some(early) => early.hold(command),
            None => {
                self.act(command);
                self.carry_on();
            }
        }
    }

    /// What holds events and commands, while the store is not open.
    fn waiting(&self) -> Option<&Rc<dyn Waiting>> {
        self.early.get().filter(|_| !self.has_session())
    }

    fn act(&self, command: Command) {
        match command {
            Command::Event(input) => self.call(|session, moment| session.handle(moment, input)),
            Command::Connect => self.call(ClientSession::connect),
            Command::Stop => self.call(ClientSession::stop),
            Command::Join { room, start } => {
                self.call(|session, moment| session.join(moment, room, start.since, Some(start.history)))
            }
            #[cfg(feature = "direct")]
            Command::Address { since, history } => {
                self.call(|session, moment| session.address(moment, since, Some(history)))
            }
            #[cfg(feature = "direct")]
            Command::LeaveAddressed => self.call(ClientSession::leave_addressed),
        };
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
            // The page may never run again after this, and another page may have taken its record for a copy, see
            // `Store`.
            self.save();
        }
    }

    /// Publishes a message, unless it is refused at once.
    pub(crate) fn publish(&self, room: RoomName, body: Body) -> Result<Rc<DeliverySlot>, FailReason> {
        let slot = DeliverySlot::at(DeliveryState::Queued);
        match self.waiting() {
            Some(early) => early.publish(room, body, &slot)?,
            None => {
                let taken = self.call_publish(room, body, &slot);
                self.carry_on();
                taken?;
            }
        }
        Ok(slot)
    }

    fn call_publish(&self, room: RoomName, body: Body, slot: &Rc<DeliverySlot>) -> Result<(), FailReason> {
        let tag = self.tag();
        let taken = self.call(|session, moment| session.publish(moment, room, body, tag));
        taken.unwrap_or(Err(FailReason::Stopped))?;
        self.deliveries.borrow_mut().insert(tag, slot.clone());
        Ok(())
    }

    /// Sends a signal. Before there is a session no room is joined, and a signal to a room that is not joined is
    /// dropped.
    pub(crate) fn signal(&self, room: RoomName, body: Body) {
        self.call(|session, moment| session.signal(moment, room, body));
        self.carry_on();
    }

    /// Adds a handle of a room; the first one joins it.
    pub(crate) fn join(&self, room: &RoomName, want: StartPosition, bounds: InboxOptions) -> Rc<Handle> {
        if self.rooms.contains(room) {
            let handle = self
                .rooms
                .add(room, Inbox::for_further_handle(bounds, want), Rc::default());
            self.pump(room, &handle);
            return handle;
        }
        let handle = self.rooms.add(room, Inbox::for_first_handle(bounds), Rc::default());
        let (room, start) = (room.clone(), want);
        self.give(Command::Join { room, start });
        handle
    }

    /// Removes a handle of a room; the last one leaves it.
    pub(crate) fn release(&self, room: &RoomName, handle: &Rc<Handle>) {
        if !self.rooms.remove(room, handle) {
            return;
        }
        match self.waiting() {
            Some(early) => early.leave(room),
            None => {
                self.call(|session, moment| session.leave(moment, room));
                self.carry_on();
            }
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
        #[cfg(feature = "direct")]
        if room.is_reserved() {
            self.direct.begin(&self.rooms, room);
        }
        for handle in self.rooms.fan_out(room, event).unwrap_or_default() {
            handle.wake();
            self.pump(room, &handle);
        }
    }

    /// Requests the page that a handle needs to read on. Says whether it needs one that will come.
    fn pump(&self, room: &RoomName, handle: &Rc<Handle>) -> bool {
        if handle.is_live() {
            return false;
        }
        let Some(wanted) = self.rooms.next_page(room, handle) else {
            return false;
        };
        let asker = Asker::Handle {
            room: room.clone(),
            handle: Rc::downgrade(handle),
            wanted,
        };
        let refusal = self.call_history(room.clone(), wanted, asker).err();
        let too_many = refusal == Some(PageError::TooMany);
        if too_many {
            self.pages.put_off(room, handle);
        }
        let will_come = too_many || refusal.is_none();
        if let Some(error) = refusal {
            self.rooms.answer(room, handle, wanted, Err(error));
        }
        self.carry_on();
        will_come
    }

    /// Requests the newest `limit` messages before an offset, unless the request is refused at once.
    pub(crate) fn history(&self, room: RoomName, before: Offset, limit: u32) -> Result<Rc<PageSlot>, PageError> {
        let slot = Rc::<PageSlot>::default();
        let request = PageRequest { before, limit };
        match self.waiting() {
            Some(early) => early.history(room, request, &slot)?,
            None => {
                let taken = self.call_history(room, request, Asker::Application(Rc::downgrade(&slot)));
                self.carry_on();
                taken?;
            }
        }
        Ok(slot)
    }

    fn call_history(&self, room: RoomName, request: PageRequest, asker: Asker) -> Result<(), PageError> {
        let tag = self.tag();
        let PageRequest { before, limit } = request;
        let taken = self.call(|session, moment| session.history(moment, room, before, limit, tag));
        taken.unwrap_or(Err(PageError::Stopped))?;
        self.pages.add(tag, asker);
        Ok(())
    }

    /// Requests users of a room by a part of their names, unless the request is refused at once. There must be a session.
    #[cfg(feature = "find")]
    pub(crate) fn find(
        &self,
        room: RoomName,
        part: Option<talkback_protocol::UserName>,
    ) -> Result<Rc<Slot<crate::FoundMembers>>, PageError> {
        let slot = Rc::<Slot<crate::FoundMembers>>::default();
        let tag = self.tag();
        let taken = self.call(|session, moment| session.find(moment, room, part, tag));
        if let Some(Ok(())) = taken {
            self.pages.add(tag, Asker::Search(Rc::downgrade(&slot)));
        }
        self.carry_on();
        taken.unwrap_or(Err(PageError::Stopped)).map(|()| slot)
    }

    #[cfg(feature = "find")]
    fn found(&self, tag: Tag, result: Result<crate::FoundMembers, PageError>) {
        let asker = self.pages.remove(tag);
        self.pump_put_off();
        if let Some(Asker::Search(slot)) = asker
            && let Some(slot) = slot.upgrade()
        {
            slot.put(result);
        }
    }

    /// Lets the next handle ask that was put off. For before an answer is delivered: a receiver that requests something
    /// else at once comes after those that were put off.
    fn pump_put_off(&self) {
        while let Some((room, handle)) = self.pages.next_put_off() {
            if self.pump(&room, &handle) {
                break;
            }
        }
    }

    fn page_came(&self, tag: Tag, result: Result<HistoryPage, PageError>) {
        let asker = self.pages.remove(tag);
        self.pump_put_off();
        match asker {
            Some(Asker::Application(slot)) => {
                if let Some(slot) = slot.upgrade() {
                    slot.put(result);
                }
            }
            Some(Asker::Handle { room, handle, wanted }) => {
                let Some(handle) = handle.upgrade() else { return };
                if self.rooms.answer(&room, &handle, wanted, result) {
                    self.pump(&room, &handle);
                }
            }
            #[cfg(feature = "find")]
            Some(Asker::Search(_)) => {}
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
            if self.has_session() {
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

    /// Writes a warning for developers, to the browser's console.
    pub(crate) fn warn(&self, text: &str) {
        self.runtime.warn(text);
    }

    pub(crate) fn max_body_bytes(&self) -> Option<usize> {
        self.max_body_bytes.get()
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

    fn has_session(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Calls the session, if there is one. What this leads to is still to be [carried out](Self::carry_on).
    fn call<T>(&self, act: impl FnOnce(&mut ClientSession, Moment) -> T) -> Option<T> {
        let moment = self.moment();
        self.session.borrow_mut().as_mut().map(|session| act(session, moment))
    }

    /// Carries out the outputs, unless this runs further up the stack: then the caller there does it, in their order.
    fn carry_on(&self) {
        if self.busy.replace(true) {
            return;
        }
        while let Some(output) = self.output() {
            self.carry_out(output);
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

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.runtime.random(&mut bytes);
        bytes
    }

    /// Asks the runtime only for earlier times: an alarm that is too early is a harmless tick, after which the right
    /// time is set.
    fn set_alarm(&self) {
        let next = self.session.borrow().as_ref().and_then(ClientSession::next_timeout);
        if let Some(next) = next
            && self.alarm.get().is_none_or(|alarm| next < alarm)
        {
            // Printing the 128 bits of `as_millis` would cost a page a kilobyte.
            let millis = next.as_secs() * 1_000 + u64::from(next.subsec_millis());
            log_line!(client, trace, "alarm set to {millis} ms");
            self.alarm.set(Some(next));
            self.runtime.wake_at(next, &self.me);
        }
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::Connect { generation } => self.open_connection(generation),
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
                    let max = self
                        .session
                        .borrow()
                        .as_ref()
                        .and_then(|session| Some(session.limits()?.body_bytes));
                    self.max_body_bytes.set(max.and_then(|max| usize::try_from(max).ok()));
                }
                let is_over = matches!(status, Status::Stopped(_));
                self.status.set(status);
                if is_over {
                    // Tasks that wait for capacity try again and fail now, although unsettled numbers may still fill
                    // the outbox.
                    self.send_queue.release();
                }
            }
            Output::Room { room, event } => self.room_event(&room, event),
            #[cfg(not(feature = "direct"))]
            Output::NotAddressed { .. } => {}
            #[cfg(feature = "direct")]
            Output::NotAddressed { code, message } => self.direct.refuse(&self.rooms, &code, &message),
            Output::Delivery { tag, state } => {
                let is_final = state.is_final();
                let slot = if is_final {
                    self.deliveries.borrow_mut().remove(&tag)
                } else {
                    self.deliveries.borrow().get(&tag).cloned()
                };
                if let Some(slot) = slot {
                    slot.step(state);
                }
                if is_final {
                    self.send_queue.release();
                }
            }
            Output::OutboxHasCapacity => self.send_queue.release(),
            Output::Page { tag, result } => self.page_came(tag, result),
            #[cfg(not(feature = "find"))]
            Output::Found { .. } => {}
            #[cfg(feature = "find")]
            Output::Found { tag, result } => self.found(tag, result),
            Output::Fault { code, message, room } => {
                let fault = Fault { code, message, room };
                match &self.on_fault {
                    Some(on_fault) => on_fault(fault),
                    None => self.runtime.warn(&format!("talkback: {fault}")),
                }
            }
        }
    }

    fn open_connection(&self, generation: Generation) {
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
        let saved = match (&mut *self.session.borrow_mut(), &*self.store.borrow()) {
            (Some(session), Some(store)) => store.save(session),
            _ => Ok(()),
        };
        if let Err(reason) = saved {
            log_line!(client, debug, "the outbox cannot be stored any more");
            self.store.take();
            self.runtime
                .warn(&format!("talkback: the outbox is not kept any more: {reason}"));
        }
    }
}

impl Drop for Driver {
    /// Stops the session, so that what is kept says the same as the deliveries: what failed here is not sent by a later
    /// page.
    fn drop(&mut self) {
        // What is carried out here sets no alarm.
        self.busy.set(true);
        self.call(ClientSession::stop);
        while let Some(output) = self.output() {
            self.carry_out(output);
        }
        self.save();
        // No task may wait forever for a state that cannot come any more.
        for (_, slot) in self.deliveries.take() {
            slot.step(DeliveryState::Failed(FailReason::Stopped));
        }
        // Without a session all of it is refused.
        self.take_held();
        self.status.end();
    }
}

#[cfg(test)]
#[cfg(all(feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use std::{
        sync::Arc,
        task::{Wake, Waker},
    };

    use futures_core::Stream;
    use talkback_protocol::{
        Seq,
        session::client::{PendingMessage, RoomSnapshot},
    };

    use super::*;
    use crate::{
        Client, Event, JoinOptions, OutboxOptions, OutboxStorage, Room, RoomSender,
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

    const WELCOME: &str = r#"{"welcome":{"user":"ann","sender":"s1","heartbeat_ms":25000,"limits":{"text_bytes":1000,"text_lines":10,"body_bytes":100,"body_depth":8,"rooms":4,"in_flight":3,"page":10,"history":2,"lines_per_second":0,"lines_burst":0,"bytes_per_second":0,"bytes_burst":0,"sent_text_bytes":65536}}}"#;

    /// A transport whose server is the test.
    #[derive(Clone, Default)]
    struct Manual {
        events: Rc<RefCell<Option<Events>>>,
        seen: Seen,
    }

    impl Transport for Manual {
        fn open(&self, events: Events) -> Option<Box<dyn Connection>> {
            self.events.replace(Some(events));
            Some(Box::new(Recorded(self.seen.clone())))
        }
    }

    impl Manual {
        /// A client that is welcomed.
        fn client(&self, outbox: OutboxOptions) -> Client {
            let platform = Platform {
                transport: Rc::new(self.clone()),
                ..World::new().platform()
            };
            let client = ClientBuilder::on(platform).outbox(outbox).build().unwrap();
            self.events().opened();
            self.receive(&[WELCOME.to_owned()]);
            self.seen.borrow_mut().clear();
            client
        }

        fn events(&self) -> Events {
            self.events.borrow().clone().unwrap()
        }

        /// Lines of the server, in one text.
        fn receive(&self, lines: &[String]) {
            self.events().received(lines.join("\n"));
        }
    }

    fn ack(seq: u64) -> String {
        format!(r#"{{"ack":{{"room":"lobby","seq":{seq},"epoch":"e1","offset":{seq},"at":1}}}}"#)
    }

    fn joined(room: &str) -> String {
        format!(
            r#"{{"joined":{{"room":"{room}","epoch":"e1","head":5,"after":5,"recovered":true,"users":1,"members":[{{"user":"ann"}}]}}}}"#
        )
    }

    fn lobby(client: &Client) -> RoomSender<u64> {
        client.room_sender("lobby").unwrap()
    }

    thread_local! {
        static ON_WAKE: RefCell<Option<Box<dyn FnOnce()>>> = RefCell::default();
    }

    /// Runs [`ON_WAKE`] inside of the call, as executors may.
    struct AtOnceTask;

    impl Wake for AtOnceTask {
        fn wake(self: Arc<Self>) {
            if let Some(act) = ON_WAKE.take() {
                act();
            }
        }
    }

    /// Polls with a waker that runs this when it is woken.
    fn on_wake<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>, act: impl FnOnce() + 'static) {
        ON_WAKE.replace(Some(Box::new(act)));
        let waker = Waker::from(Arc::new(AtOnceTask));
        assert!(poll(&mut Context::from_waker(&waker)).is_pending());
    }

    fn next(room: &mut Room<u64>, context: &mut Context<'_>) -> Poll<Option<Event<u64>>> {
        Pin::new(room).poll_next(context)
    }

    #[test]
    fn a_message_published_by_a_waker_has_its_state_at_once() {
        let server = Manual::default();
        let client = server.client(OutboxOptions {
            messages: 2,
            ..OutboxOptions::default()
        });
        let sender = lobby(&client);
        let mut first = sender.try_send(&1).unwrap();
        let states = Rc::<RefCell<Vec<_>>>::default();
        let woken = states.clone();
        on_wake(
            |context| Pin::new(&mut first).poll(context),
            move || {
                let sent = [2, 3, 4].map(|number| sender.try_send(&number).unwrap().state());
                woken.replace(sent.to_vec());
            },
        );
        server.receive(&[ack(1)]);
        let full = DeliveryState::Failed(FailReason::OutboxFull);
        assert_eq!(*states.borrow(), [DeliveryState::Queued, DeliveryState::Queued, full]);
        let seen = server.seen.borrow();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(seen[1].matches("publish").count(), 2, "the lines are sent together");
    }

    #[test]
    fn what_a_waker_leads_to_is_carried_out_after_the_waker_ended() {
        let server = Manual::default();
        let client = server.client(OutboxOptions::default());
        let mut first = lobby(&client).try_send(&1).unwrap();
        let (inside, seen) = (client.clone(), server.seen.clone());
        on_wake(
            |context| Pin::new(&mut first).poll(context),
            move || {
                lobby(&inside).try_send(&2).unwrap();
                inside.stop();
                assert!(matches!(inside.status(), Status::Open { .. }));
                assert_eq!(
                    lobby(&inside).try_send(&3).unwrap().state(),
                    DeliveryState::Failed(FailReason::Stopped)
                );
                seen.borrow_mut().push("the waker ended".to_owned());
            },
        );
        server.receive(&[ack(1)]);
        assert_eq!(
            server.seen.borrow()[1..],
            ["the waker ended", "closed with 1000", "dropped"]
        );
        assert_eq!(client.status(), Status::Stopped(StopReason::Asked));
    }

    #[test]
    fn a_room_that_is_joined_again_by_a_waker_gets_no_event_of_the_earlier_membership() {
        let server = Manual::default();
        let client = server.client(OutboxOptions::default());
        let join = |client: &Client, room| client.join::<u64>(room, &JoinOptions::default()).unwrap();
        let (mut a, b) = (join(&client, "a"), join(&client, "b"));
        let again = Rc::<RefCell<Option<Room<u64>>>>::default();
        let (inside, rejoined) = (client.clone(), again.clone());
        on_wake(
            |context| next(&mut a, context),
            move || {
                drop(b);
                rejoined.replace(Some(join(&inside, "b")));
            },
        );
        server.receive(&[joined("a"), joined("b")]);
        let mut b = again.take().unwrap();
        let context = &mut Context::from_waker(Waker::noop());
        assert!(next(&mut b, context).is_pending());
        server.receive(&[r#"{"left":{"room":"b"}}"#.to_owned()]);
        server.receive(&[joined("b")]);
        assert!(matches!(next(&mut b, context), Poll::Ready(Some(Event::Joined(_)))));
        assert!(next(&mut b, context).is_pending());
        let seen = server.seen.borrow();
        let (joins, leaves) = (r#"{"join":{"room":"b""#, r#"{"leave":{"room":"b"}}"#);
        let count = |line| seen.iter().map(|text| text.matches(line).count()).sum::<usize>();
        assert_eq!((count(joins), count(leaves)), (2, 1), "{seen:?}");
    }

    #[test]
    fn a_waker_may_drop_the_client() {
        let server = Manual::default();
        let client = server.client(OutboxOptions::default());
        let [mut first, second] = [1, 2].map(|number| lobby(&client).try_send(&number).unwrap());
        on_wake(|context| Pin::new(&mut first).poll(context), move || drop(client));
        server.receive(&[ack(1)]);
        assert!(first.state().is_final());
        assert_eq!(second.state(), DeliveryState::Failed(FailReason::Unconfirmed));
        let seen = server.seen.borrow();
        assert_eq!(seen[2..], ["closed with 1000", "dropped"], "{seen:?}");
    }

    /// A runtime whose timers do not fire, as in a page in the background.
    struct Throttled {
        inner: Rc<dyn Runtime>,
        ahead: Rc<Cell<Duration>>,
    }

    impl Runtime for Throttled {
        fn now(&self) -> Duration {
            self.inner.now() + self.ahead.get()
        }

        fn random(&self, bytes: &mut [u8]) {
            self.inner.random(bytes);
        }

        fn wake_at(&self, _: Duration, _: &Weak<Driver>) {}

        fn spawn(&self, future: LocalFuture<()>) {
            self.inner.spawn(future);
        }

        fn watch(&self, driver: &Weak<Driver>) -> Box<dyn Any> {
            self.inner.watch(driver)
        }

        fn warn(&self, text: &str) {
            self.inner.warn(text);
        }
    }

    /// The refused attempt itself lets the messages expire that fill the outbox, and no later release follows.
    #[test]
    fn a_sender_does_not_miss_capacity_that_its_own_attempt_releases() {
        let (platform, ahead) = (World::new().platform(), Rc::<Cell<Duration>>::default());
        let platform = Platform {
            runtime: Rc::new(Throttled {
                inner: platform.runtime.clone(),
                ahead: ahead.clone(),
            }),
            ..platform
        };
        let outbox = OutboxOptions {
            messages: 1,
            ttl: Duration::from_secs(60),
            ..OutboxOptions::default()
        };
        let client = ClientBuilder::on(platform).outbox(outbox).build().unwrap();
        let sender = lobby(&client);
        let first = sender.try_send(&1).unwrap();
        ahead.set(Duration::from_secs(120));
        let sent = Box::pin(sender.send(&2))
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(first.state(), DeliveryState::Failed(FailReason::Expired));
        assert!(sent.is_ready());
    }

    /// The messages of one task arrive in the order in which it sent them.
    #[test]
    fn what_a_waker_publishes_when_a_held_message_is_refused_follows_the_other_held_messages() {
        let world = World::new();
        let page = || {
            let outbox = OutboxOptions {
                bytes: 100,
                ..OutboxOptions::default()
            };
            let storage = OutboxStorage::session("chat", Duration::from_secs(600));
            let client = world.builder().outbox(outbox).outbox_storage(storage).build().unwrap();
            let sender = client.room_sender::<String>("lobby").unwrap();
            (client, sender)
        };
        world.refuse(true);
        let (before, sender) = page();
        world.settle();
        let long = |text: &str| text.repeat(60);
        sender.try_send(&long("1")).unwrap();
        drop(sender);
        world.advance(Duration::from_secs(1));
        world.reload(before);
        let (after, sender) = page();
        let [mut large, small] = [long("2"), "3".to_owned()].map(|text| sender.try_send(&text).unwrap());
        on_wake(
            |context| Pin::new(&mut large).poll(context),
            move || drop(sender.try_send(&"4".to_owned()).unwrap()),
        );
        world.settle();
        assert_eq!(large.state(), DeliveryState::Failed(FailReason::OutboxFull));
        world.refuse(false);
        after.connect();
        world.settle();
        assert!(matches!(small.state(), DeliveryState::Acked { .. }), "{small:?}");
        let restored = world.run(after.restored());
        assert!(matches!(restored[0].delivery.state(), DeliveryState::Acked { .. }));
        let log = world.log("lobby").unwrap();
        let texts: Vec<String> = log.iter().map(|message| message.body.read().unwrap()).collect();
        assert_eq!(texts, [long("1"), "3".to_owned(), "4".to_owned()]);
    }
}
