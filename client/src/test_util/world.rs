mod platform;
mod tab;

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
    Body, NameError, RoomName, UserName, close,
    message::Message,
    session::{client::Input, server::ServerOptions},
};

use super::{network::Network, server::Server};
use crate::{Client, ClientBuilder, client::Platform, driver::Driver, runtime::LocalFuture};
use platform::FakePlatform;
use tab::Tab;

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
    random: Cell<u64>,
    network: Network,
    server: RefCell<Server>,
    timers: RefCell<BTreeMap<u64, (Duration, Weak<Driver>)>>,
    watchers: RefCell<Vec<Weak<Driver>>>,
    tab: Tab,
    tasks: RefCell<Vec<Task>>,
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
                random: Cell::new(1),
                network: Network::default(),
                server: RefCell::new(Server::new(options)),
                timers: RefCell::default(),
                watchers: RefCell::default(),
                tab: Tab::default(),
                tasks: RefCell::default(),
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
            inner.network.wake_at(id, until, context.waker().clone());
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
        self.inner.network.set_latency(latency);
    }

    /// Breaks every connection, on both sides, and drops the packets in flight.
    pub fn cut(&self) {
        self.close_all(close::ABNORMAL, "");
    }

    /// The server closes every connection with this code and reason.
    pub fn close_all(&self, code: u16, reason: &str) {
        self.inner.server.borrow_mut().remove_sessions();
        for events in self.inner.network.remove_all() {
            events.closed(code, reason.to_owned());
        }
    }

    /// Makes every current connection half-open: packets are dropped in both directions, and neither side gets a close
    /// event.
    pub fn half_open(&self) {
        self.inner.network.half_open();
    }

    /// Refuses new connections from now on, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.inner.network.set_refusing(refuse);
    }

    /// Holds packets back from now on, or delivers them again, in order.
    pub fn stall(&self, stall: bool) {
        self.inner.network.set_stalled(stall);
    }

    /// Kills the server and starts it again, with or without the logs of its rooms.
    pub fn restart_server(&self, keep_logs: bool) {
        self.inner.server.borrow_mut().restart(keep_logs);
        self.cut();
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
    /// [`OutboxStorage::Session`](crate::OutboxStorage::Session): all clients of a world are in one tab.
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
        self.inner.tab.texts()
    }

    /// Replaces the content of the tab's `sessionStorage`, as a browser does that restores an older state of the tab.
    pub fn set_tab_storage(&self, texts: BTreeMap<String, String>) {
        self.inner.tab.set_texts(texts);
    }

    /// Sets the quota of the tab's `sessionStorage` in bytes; there is none at first.
    pub fn set_storage_quota(&self, bytes: Option<usize>) {
        self.inner.tab.set_quota(bytes);
    }

    /// Sets the check of tokens: the server accepts a client if the callback returns `true`. Without it, every client
    /// is accepted.
    pub fn accept_tokens(&self, accept: impl Fn(Option<&str>) -> bool + 'static) {
        self.inner.server.borrow_mut().accept_tokens(Box::new(accept));
    }

    /// Forbids all users to join this room, or permits it again.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn forbid(&self, room: &str, forbid: bool) -> Result<(), NameError> {
        self.inner.server.borrow_mut().forbid(RoomName::parse(room)?, forbid);
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
        let mut server = self.inner.server.borrow_mut();
        server.publish(room, user, body, &self.inner.network, self.inner.now.get());
        Ok(())
    }

    /// Drops all messages of a room's log except this many newest ones.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn keep_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().keep_newest(&room, count);
        Ok(())
    }

    /// Restarts the server without this many of the newest messages of a room, whose log begins a new epoch.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn lose_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().lose_newest(&room, count);
        self.restart_server(true);
        Ok(())
    }

    /// Makes the server answer requests for history with pages of another epoch than members have, as happens just
    /// after a log began a new epoch.
    pub fn set_foreign_pages(&self, foreign: bool) {
        self.inner.server.borrow_mut().set_foreign_pages(foreign);
    }

    /// Sets the most messages of a page of history, for new connections.
    pub fn set_page(&self, messages: u32) {
        self.inner.server.borrow_mut().set_page(messages);
    }

    /// How many pages of history were requested so far.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.inner.server.borrow().pages()
    }

    /// Seeds the world's random bits. Clients that begin with the same bits have the same key, like copies of a tab
    /// that are used one after the other.
    pub fn set_random(&self, seed: u64) {
        self.inner.random.set(seed);
    }

    /// The messages in the log of a room.
    ///
    /// # Errors
    /// [`NameError`] if the room name is invalid.
    pub fn log(&self, room: &str) -> Result<Vec<Message>, NameError> {
        let room = RoomName::parse(room)?;
        Ok(self.inner.server.borrow().log(&room))
    }

    /// How many connections are open or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.network.count()
    }

    /// How many connections clients tried to open so far.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.inner.network.attempts()
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

    /// Handles one event that is due; `false` if none is.
    fn step(&self) -> bool {
        let now = self.now.get();
        self.run_task() || self.fire_timer(now) || self.network.deliver(now, &self.server) || {
            let mut server = self.server.borrow_mut();
            server.tick(&self.network, now)
        }
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
        let session = self.server.borrow().next_timeout();
        [timer, session, self.network.next_time()].into_iter().flatten().min()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
