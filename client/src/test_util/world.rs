mod place;
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
use crate::{Builder, Client, client::Platform, driver::Driver, runtime::LocalFuture};
use place::Place;
use tab::Tab;

/// How long, by its own clock, a world goes on for a future before it says that it waits in vain.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How much may happen at one moment.
const STEPS: u32 = 10_000_000;

/// A server, a network, a clock and the tasks of a test. Clones are handles to the same world.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

/// What can happen to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEvent {
    /// The machine has a network again.
    Online,
    /// The machine has no network.
    Offline,
    /// The user looks at the page again.
    Visible,
    /// The page goes into the back/forward cache or is frozen.
    Hide,
    /// The page is back from there.
    Show,
}

struct Inner {
    now: Cell<Duration>,
    random: Cell<u64>,
    network: Network,
    server: RefCell<Server>,
    alarms: RefCell<BTreeMap<u64, (Duration, Weak<Driver>)>>,
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
    /// A world in which everything works and takes no time.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(ServerOptions::default())
    }

    /// With a server of other limits and times.
    #[must_use]
    pub fn with_config(config: ServerOptions) -> Self {
        Self {
            inner: Rc::new(Inner {
                now: Cell::default(),
                random: Cell::new(1),
                network: Network::default(),
                server: RefCell::new(Server::new(config)),
                alarms: RefCell::default(),
                watchers: RefCell::default(),
                tab: Tab::default(),
                tasks: RefCell::default(),
                next_id: Cell::default(),
                warnings: RefCell::default(),
            }),
        }
    }

    /// A client of this world's server, for a user of this name.
    ///
    /// # Panics
    /// If it is not a user's name.
    #[must_use]
    pub fn client(&self, user: &str) -> Client {
        let name = UserName::parse(user).unwrap_or_else(|error| panic!("{error}"));
        self.builder()
            .name(name)
            .build()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Prepares a client of this world's server.
    pub fn builder(&self) -> Builder {
        Builder::on(self.platform())
    }

    pub(crate) fn platform(&self) -> Platform {
        let place = Rc::new(Place {
            inner: self.inner.clone(),
            id: self.inner.id(),
        });
        Platform {
            transport: place.clone(),
            runtime: place,
            storage: Some(Rc::new(self.inner.clone())),
        }
    }

    /// Runs a future to its end. When all wait for something, the clock jumps to what happens next, so that no time is spent.
    ///
    /// # Panics
    /// If the future is not ready after an hour of this world, or nothing can happen any more.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let end = self.inner.now.get() + PATIENCE;
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
                Some(_) => panic!("what the future waits for has not happened within an hour"),
                None => panic!("what the future waits for cannot happen any more"),
            }
        }
    }

    /// Lets everything happen that is due, without letting time pass.
    ///
    /// # Panics
    /// If it does not come to rest, because two sides go on answering each other.
    pub fn settle(&self) {
        let mut steps = 0;
        while self.inner.step() {
            steps += 1;
            assert!(steps < STEPS, "the world does not come to rest: {self:?}");
        }
    }

    /// Lets time pass, and everything happen that is due in it.
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

    /// Lets time pass at once, as for a machine that slept: what was due in it happens late.
    pub fn sleep_through(&self, time: Duration) {
        self.inner.now.set(self.inner.now.get() + time);
        self.settle();
    }

    /// Waits in the world's time.
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

    /// How long a frame travels, in each direction. No time at all in a new world.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.network.set_latency(latency);
    }

    /// Breaks every connection, on both sides, with what is on its way.
    pub fn cut(&self) {
        self.close_all(close::ABNORMAL, "");
    }

    /// The server closes every connection with this code and reason.
    pub fn close_all(&self, code: u16, reason: &str) {
        self.inner.server.borrow_mut().forget_sessions();
        for events in self.inner.network.close_all() {
            events.closed(code, reason.to_owned());
        }
    }

    /// Makes every present connection half-open: nothing passes any more in either direction, and neither side is told.
    pub fn half_open(&self) {
        self.inner.network.half_open();
    }

    /// Whether connections are refused from now on.
    pub fn refuse(&self, refuse: bool) {
        self.inner.network.set_refusing(refuse);
    }

    /// Whether frames are held back from now on; released, they arrive in order.
    pub fn stall(&self, stall: bool) {
        self.inner.network.set_stalled(stall);
    }

    /// Kills the server and starts it again, with the logs of its rooms or without them.
    pub fn restart_server(&self, keep_logs: bool) {
        self.inner.server.borrow_mut().restart(keep_logs);
        self.cut();
    }

    /// Something happens to the page of all clients of this world.
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

    /// Ends the page of a client as a reload does: it is told that it is left, and then it is gone, without running anything of its own.
    /// A client that is built afterwards finds what its outbox kept, see [`OutboxStorage::Session`](crate::OutboxStorage::Session): all
    /// clients of a world are in one tab.
    #[expect(clippy::needless_pass_by_value, reason = "a client is of no use after its page")]
    pub fn reload(&self, client: Client) {
        client.driver().end_page();
    }

    /// What the tab's `sessionStorage` has.
    #[must_use]
    pub fn tab_storage(&self) -> BTreeMap<String, String> {
        self.inner.tab.texts()
    }

    /// Puts other texts in place of those of the tab's `sessionStorage`, as a browser that restores an older state of the tab does.
    pub fn set_tab_storage(&self, texts: BTreeMap<String, String>) {
        self.inner.tab.set_texts(texts);
    }

    /// How many bytes the tab's `sessionStorage` can have from now on; any number at first.
    pub fn set_storage_quota(&self, bytes: Option<usize>) {
        self.inner.tab.set_quota(bytes);
    }

    /// The server accepts a client only if this says so of its token, from now on. Without it, everybody.
    pub fn accept_tokens(&self, accept: impl Fn(Option<&str>) -> bool + 'static) {
        self.inner.server.borrow_mut().accept_tokens(Box::new(accept));
    }

    /// Whether the server lets anybody join this room; all rooms at first.
    ///
    /// # Errors
    /// [`NameError`] if it is not a room's name.
    pub fn forbid(&self, room: &str, forbid: bool) -> Result<(), NameError> {
        self.inner.server.borrow_mut().forbid(RoomName::parse(room)?, forbid);
        Ok(())
    }

    /// A message from a user who is no client of this world, as from another page or over HTTP.
    ///
    /// # Errors
    /// What is wrong with a name or the message.
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

    /// Lets the server drop all but the newest messages of a room.
    ///
    /// # Errors
    /// [`NameError`] if it is not a room's name.
    pub fn keep_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().keep_newest(&room, count);
        Ok(())
    }

    /// Lets the server lose the newest messages of a room: it starts again and goes on, in another life of the log, from what is left.
    ///
    /// # Errors
    /// [`NameError`] if it is not a room's name.
    pub fn lose_newest(&self, room: &str, count: usize) -> Result<(), NameError> {
        let room = RoomName::parse(room)?;
        self.inner.server.borrow_mut().lose_newest(&room, count);
        self.restart_server(true);
        Ok(())
    }

    /// Whether the server answers requests for history with pages of another life of the log than members have, from now on; as one does
    /// whose log began anew a moment ago.
    pub fn give_pages_of_another_life(&self, give: bool) {
        self.inner.server.borrow_mut().give_pages_of_another_life(give);
    }

    /// The most messages that the server gives in a page, to connections from now on.
    pub fn set_page(&self, messages: u32) {
        self.inner.server.borrow_mut().set_page(messages);
    }

    /// How many pages of history the server was asked for so far.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.inner.server.borrow().pages()
    }

    /// Begins the world's random bits anew. Clients that begin with the same bits have the same key, as the copies of a tab have that
    /// are used one after the other.
    pub fn set_random(&self, seed: u64) {
        self.inner.random.set(seed);
    }

    /// What the log of a room holds.
    ///
    /// # Errors
    /// [`NameError`] if it is not a room's name.
    pub fn log(&self, room: &str) -> Result<Vec<Message>, NameError> {
        let room = RoomName::parse(room)?;
        Ok(self.inner.server.borrow().log(&room))
    }

    /// How many connections the network carries.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.network.count()
    }

    /// How many connections were opened or refused so far.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.inner.network.attempts()
    }

    /// What would stand in the browser's console.
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

    /// Does one thing that is due; `false` if nothing is.
    fn step(&self) -> bool {
        let now = self.now.get();
        self.run_task() || self.ring(now) || self.network.deliver(now, &self.server) || {
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

    fn ring(&self, now: Duration) -> bool {
        let due = {
            let mut alarms = self.alarms.borrow_mut();
            let due = alarms.iter().find(|(_, (time, _))| *time <= now).map(|(id, _)| *id);
            due.and_then(|id| alarms.remove(&id))
        };
        let Some((_, driver)) = due else { return false };
        if let Some(driver) = driver.upgrade() {
            driver.tick();
        }
        true
    }

    fn next_time(&self) -> Option<Duration> {
        let mut alarms = self.alarms.borrow_mut();
        alarms.retain(|_, (_, driver)| driver.strong_count() > 0);
        let alarm = alarms.values().map(|(time, _)| *time).min();
        let session = self.server.borrow().next_timeout();
        [alarm, session, self.network.next_time()].into_iter().flatten().min()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
