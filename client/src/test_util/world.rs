mod faults;
mod platform;
mod tab;
mod texts;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use serde::Serialize;
use talkback_protocol::{
    Body, ClientKey, NameError, RoomName, UserName, close,
    message::{Author, Message},
    session::{client::Input, server::ServerOptions},
    test_util::{Arrival, ConnectionId, Random, Step, TestServer, user_room},
};

use crate::{Client, ClientBuilder, client::Platform, driver::Driver, runtime::LocalFuture, transport::Events};
use faults::SetFaults;
use platform::FakePlatform;
use tab::Tab;

pub(crate) use texts::MemoryTexts;

/// How long [`World::run`] waits for a future, by the clock of the world.
const RUN_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How many steps [`World::settle`] makes before it fails.
const MAX_STEPS: u32 = 10_000_000;

/// A server, a network, a clock and the tasks of a test. Clones are handles to the same world.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

/// An event of the page or its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEvent {
    /// The event `online`: the machine has a network again.
    Online,
    /// The event `offline`: the machine has no network.
    Offline,
    /// The page became visible.
    Visible,
    /// The page enters the back/forward cache or is frozen.
    Hide,
    /// The page leaves the back/forward cache or is resumed.
    Show,
}

struct Inner {
    now: Cell<Duration>,
    random: RefCell<Random>,
    server: RefCell<TestServer<SetFaults>>,
    /// The clients' ends of the connections that they have not closed.
    links: RefCell<BTreeMap<ConnectionId, Events>>,
    /// How many connections were opened.
    attempts: Cell<u64>,
    timers: RefCell<BTreeMap<u64, (Duration, Weak<Driver>)>>,
    watchers: RefCell<Vec<Weak<Driver>>>,
    tab: Tab,
    tasks: RefCell<Vec<Task>>,
    /// Futures that wait by the world's clock.
    sleepers: RefCell<BTreeMap<u64, (Duration, Waker)>>,
    next_id: Cell<u64>,
    warnings: RefCell<Vec<String>>,
}

struct Task {
    future: LocalFuture<()>,
    woken: Arc<Woken>,
}

impl World {
    /// A world without faults and latency.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(ServerOptions::default())
    }

    /// A world whose server has these options.
    #[must_use]
    pub fn with_options(options: ServerOptions) -> Self {
        Self {
            inner: Rc::new(Inner {
                now: Cell::default(),
                random: RefCell::new(Random::new(1)),
                server: RefCell::new(TestServer::new(options, SetFaults::default())),
                links: RefCell::default(),
                attempts: Cell::default(),
                timers: RefCell::default(),
                watchers: RefCell::default(),
                tab: Tab::default(),
                tasks: RefCell::default(),
                sleepers: RefCell::default(),
                next_id: Cell::default(),
                warnings: RefCell::default(),
            }),
        }
    }

    /// A client of this world's server with this user name.
    ///
    /// # Panics
    /// If the user name is invalid.
    #[must_use]
    pub fn client(&self, user: &str) -> Client {
        let name = UserName::parse(user).unwrap_or_else(|error| panic!("{error}"));
        self.builder()
            .name(name)
            .build()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A builder for a client of this world's server.
    pub fn builder(&self) -> ClientBuilder {
        ClientBuilder::on(self.platform())
    }

    pub(crate) fn platform(&self) -> Platform {
        let platform = Rc::new(FakePlatform {
            inner: self.inner.clone(),
            id: self.inner.id(),
        });
        Platform {
            transport: platform.clone(),
            runtime: platform,
            storage: Some(Rc::new(self.inner.clone())),
        }
    }

    /// Runs a future to its end. When all tasks wait, the clock jumps to the next event, so that the test does not
    /// wait.
    ///
    /// # Panics
    /// If the future is not ready after an hour by the world's clock, or if it waits and no event is left.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let end = self.inner.now.get() + RUN_TIMEOUT;
        loop {
            if woken.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            if self.inner.step() || woken.0.load(Ordering::Relaxed) {
                continue;
            }
            match self.inner.next_time() {
                Some(time) if time <= end => self.inner.now.set(time),
                Some(_) => panic!("the future is not ready after an hour"),
                None => panic!("the future waits and no event is left"),
            }
        }
    }

    /// Handles all events that are due, without advancing the clock.
    ///
    /// # Panics
    /// After 10,000,000 events, which means that they do not end.
    pub fn settle(&self) {
        let mut steps = 0;
        while self.inner.step() {
            steps += 1;
            assert!(steps < MAX_STEPS, "there is no end of events that are due: {self:?}");
        }
    }

    /// Advances the clock, and handles all events when they are due.
    pub fn advance(&self, time: Duration) {
        let end = self.inner.now.get() + time;
        self.settle();
        while let Some(time) = self.inner.next_time().filter(|&time| time <= end) {
            self.inner.now.set(time);
            self.settle();
        }
        self.inner.now.set(end);
        self.settle();
    }

    /// Advances the clock at once, as for a machine that slept: events that were due meanwhile are handled late.
    pub fn sleep_through(&self, time: Duration) {
        self.inner.now.set(self.inner.now.get() + time);
        self.settle();
    }

    /// Waits by the world's clock.
    pub async fn wait(&self, time: Duration) {
        let until = self.inner.now.get() + time;
        let inner = self.inner.clone();
        let id = inner.id();
        std::future::poll_fn(move |context| {
            if inner.now.get() >= until {
                return Poll::Ready(());
            }
            inner.wake_at(id, until, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner.now.get()
    }

    /// Sets the latency of the network in each direction, zero at first.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.server.borrow_mut().faults.latency = latency;
    }

    /// Breaks every connection, on both sides, and drops the packets in flight.
    pub fn cut(&self) {
        self.close_all(close::ABNORMAL, "");
    }

    /// The server closes every connection with this code and reason.
    pub fn close_all(&self, code: u16, reason: &str) {
        self.inner.server.borrow_mut().remove_connections(self.inner.now.get());
        self.inner.close_links(code, reason);
    }

    /// Makes every current connection half-open: packets are dropped in both directions, and neither side gets a close
    /// event.
    pub fn half_open(&self) {
        self.inner.server.borrow_mut().half_open();
    }

    /// Refuses new connections from now on, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.inner.server.borrow_mut().faults.is_refusing = refuse;
    }

    /// Holds packets back from now on, or delivers them again, in order.
    pub fn stall(&self, stall: bool) {
        self.inner.server.borrow_mut().stall(stall);
    }

    /// Kills the server and starts it again, with or without the logs of its rooms.
    pub fn restart_server(&self, keep_logs: bool) {
        {
            let mut server = self.inner.server.borrow_mut();
            server.remove_connections(self.inner.now.get());
            server.forget_work();
            if !keep_logs {
                server.logs.lose();
            }
        }
        self.inner.close_links(close::ABNORMAL, "");
    }

    /// Fires an event of the page of all clients of this world.
    pub fn page(&self, event: PageEvent) {
        let input = match event {
            PageEvent::Online => Input::Online,
            PageEvent::Offline => Input::Offline,
            PageEvent::Visible => Input::Visible,
            PageEvent::Hide => Input::Suspend,
            PageEvent::Show => Input::Resume,
        };
        let watchers = self.inner.watchers.borrow().clone();
        for driver in watchers.iter().filter_map(Weak::upgrade) {
            driver.page(input.clone());
        }
    }

    /// Ends the page of a client as a reload does: the page is hidden, and then ends without running any code. A client
    /// that is built afterwards restores the stored outbox, see
    /// [`OutboxStorage::session`](crate::OutboxStorage::session): all clients of a world are in one tab.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the client must not be used after its page ended"
    )]
    pub fn reload(&self, client: Client) {
        client.driver().end_page();
    }

    /// The content of the tab's `sessionStorage`.
    #[must_use]
    pub fn tab_storage(&self) -> BTreeMap<String, String> {
        self.inner.tab.texts.all()
    }

    /// Replaces the content of the tab's `sessionStorage`, as a browser does that restores an older state of the tab.
    pub fn set_tab_storage(&self, texts: BTreeMap<String, String>) {
        self.inner.tab.texts.replace_all(texts);
    }

    /// Sets the quota of the tab's `sessionStorage` in bytes; there is none at first.
    pub fn set_storage_quota(&self, bytes: Option<usize>) {
        self.inner.tab.texts.set_quota(bytes);
    }

    /// Sets the check of tokens: the server accepts a client if the callback returns `true`. Without it, every client
    /// is accepted.
    pub fn accept_tokens(&self, accept: impl Fn(Option<&str>) -> bool + 'static) {
        self.inner.server.borrow_mut().faults.accept_token = Some(Box::new(accept));
    }

    /// Forbids all users to join this room, or permits it again.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn forbid(&self, room: &str, forbid: bool) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        let forbidden = &mut self.inner.server.borrow_mut().faults.forbidden;
        forbidden.retain(|other| *other != room);
        if forbid {
            forbidden.push(room);
        }
        Ok(())
    }

    /// Appends a message from a user without a client in this world, as over HTTP.
    ///
    /// # Errors
    /// If a name is invalid, or the message has no JSON form.
    pub fn publish(
        &self,
        room: &str,
        user: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (room, user, body) = (RoomName::parse(room)?, UserName::parse(user)?, Body::of(message)?);
        let sender = ClientKey::from_random([0; 16]).sender();
        let from = Author { sender, user };
        let mut server = self.inner.server.borrow_mut();
        server.publish(room, from, body, self.inner.now.get());
        Ok(())
    }

    /// Addresses a message of the user `from` to a user, as over HTTP. Clients get it if the server of this world has the
    /// option [`ServerOptions::direct`], see [`with_options`](Self::with_options).
    ///
    /// # Errors
    /// If a name is invalid, or the message has no JSON form.
    pub fn publish_to_user(
        &self,
        user: &str,
        from: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.publish(&user_room(&UserName::parse(user)?), from, message)
    }

    /// Addresses a message of the user `from` to a group, as over HTTP: see [`set_groups`](Self::set_groups).
    ///
    /// # Errors
    /// If a name is invalid, or the message has no JSON form.
    pub fn publish_to_group(
        &self,
        group: &str,
        from: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.publish(&format!("~g.{group}"), from, message)
    }

    /// Sets the groups that a user belongs to, for clients that ask from now on.
    ///
    /// # Errors
    /// [`NameError`] if a name is invalid.
    pub fn set_groups(&self, user: &str, groups: &[&str]) -> Result<(), NameError> {
        let rooms = groups.iter().map(|group| RoomName::parse(&format!("~g.{group}")));
        let rooms = rooms.collect::<Result<_, _>>()?;
        let user = UserName::parse(user)?;
        self.inner.server.borrow_mut().groups.insert(user, rooms);
        Ok(())
    }

    /// Drops all messages of a room's log except this many newest ones.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn keep_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().logs.trim_room(&room, count);
        Ok(())
    }

    /// Restarts the server without this many of the newest messages of a room, whose log begins a new epoch.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn lose_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().logs.lose_newest(&room, count);
        self.restart_server(true);
        Ok(())
    }

    /// Makes the server answer requests for history with pages of another epoch than members have, as happens just
    /// after a log began a new epoch.
    pub fn set_foreign_pages(&self, foreign: bool) {
        self.inner.server.borrow_mut().faults.has_foreign_pages = foreign;
    }

    /// Refuses requests for history from now on, with the code `forbidden`, or answers them again.
    pub fn refuse_history(&self, refuse: bool) {
        self.inner.server.borrow_mut().faults.refuses_history = refuse;
    }

    /// Sets the most messages of a page of history, for new connections.
    pub fn set_page(&self, messages: u32) {
        self.inner.server.borrow_mut().options_mut().limits.page = messages;
    }

    /// How many pages of history were requested so far.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.inner.server.borrow().faults.pages
    }

    /// Seeds the world's random bits. Clients that begin with the same bits have the same key, like copies of a tab
    /// that are used one after the other.
    pub fn set_random(&self, seed: u64) {
        self.inner.random.replace(Random::new(seed));
    }

    /// The messages in the log of a room.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn log(&self, room: &str) -> Result<Vec<Message>, NameError> {
        let room = RoomName::parse(room)?;
        Ok(self.inner.server.borrow().logs.kept(&room).to_vec())
    }

    /// How many connections are open or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.links.borrow().len()
    }

    /// How many connections clients tried to open so far.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.inner.attempts.get()
    }

    /// The warnings that a browser's console would show.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.inner.warnings.borrow().clone()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.inner.now.get())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// A client opens a connection.
    fn connect(&self, events: Events) -> ConnectionId {
        self.attempts.set(self.attempts.get() + 1);
        let now = self.now.get();
        let mut server = self.server.borrow_mut();
        let id = server.connect(now);
        if server.faults.is_refusing {
            server.refuse(id, now);
        } else {
            server.request(id, now);
        }
        self.links.borrow_mut().insert(id, events);
        id
    }

    /// Tells the clients that their connections are closed.
    fn close_links(&self, code: u16, reason: &str) {
        for events in self.links.take().into_values() {
            events.closed(code, reason.to_owned());
        }
    }

    fn wake_at(&self, id: u64, time: Duration, waker: Waker) {
        self.sleepers.borrow_mut().insert(id, (time, waker));
    }

    /// Handles one event that is due; `false` if none is.
    fn step(&self) -> bool {
        let now = self.now.get();
        self.run_task() || self.fire_timer(now) || self.wake_sleeper(now) || self.step_server(now)
    }

    fn step_server(&self, now: Duration) -> bool {
        let step = self.server.borrow_mut().step(now, |_| None);
        match step {
            Step::Idle => self.server.borrow_mut().tick(now),
            Step::Server => true,
            Step::Client(id, arrival) => {
                self.arrived(id, arrival);
                true
            }
        }
    }

    fn arrived(&self, id: ConnectionId, arrival: Arrival) {
        let mut links = self.links.borrow_mut();
        let events = match arrival {
            Arrival::Closed(..) => links.remove(&id),
            _ => links.get(&id).cloned(),
        };
        drop(links);
        let Some(events) = events else { return };
        match arrival {
            Arrival::Opened => events.opened(),
            Arrival::Text(text) => events.received(text),
            Arrival::Closed(code, reason) => events.closed(code, reason),
        }
    }

    fn wake_sleeper(&self, now: Duration) -> bool {
        let mut sleepers = self.sleepers.borrow_mut();
        let due = sleepers.iter().find(|(_, (time, _))| *time <= now).map(|(id, _)| *id);
        let Some((_, waker)) = due.and_then(|id| sleepers.remove(&id)) else {
            return false;
        };
        drop(sleepers);
        waker.wake();
        true
    }

    fn run_task(&self) -> bool {
        let ready = {
            let mut tasks = self.tasks.borrow_mut();
            let index = tasks.iter().position(|task| task.woken.0.load(Ordering::Relaxed));
            index.map(|index| tasks.remove(index))
        };
        let Some(mut task) = ready else { return false };
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.woken.clone());
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut().push(task);
        }
        true
    }

    fn fire_timer(&self, now: Duration) -> bool {
        let due = {
            let mut timers = self.timers.borrow_mut();
            let due = timers.iter().find(|(_, (time, _))| *time <= now).map(|(id, _)| *id);
            due.and_then(|id| timers.remove(&id))
        };
        let Some((_, driver)) = due else { return false };
        if let Some(driver) = driver.upgrade() {
            driver.tick();
        }
        true
    }

    fn next_time(&self) -> Option<Duration> {
        let mut timers = self.timers.borrow_mut();
        timers.retain(|_, (_, driver)| driver.strong_count() > 0);
        let timer = timers.values().map(|(time, _)| *time).min();
        let sleeper = self.sleepers.borrow().values().map(|(time, _)| *time).min();
        let server = self.server.borrow().next_time();
        [timer, sleeper, server].into_iter().flatten().min()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
