//! The server's half of one connection: the greeting, limits, and the translation between the wire and the engine.
//!
//! | what | where |
//! |---|---|
//! | what goes in and out | [`Input`], [`Output`] |
//! | the greeting, time, answers of the engine | `server.rs` |
//! | what each frame of the client does | `frames.rs` |
//! | how many frames may come | `rate.rs` |
//! | everything that happens by time alone | `timer.rs` |
//!
//! Live messages do not pass through a session: the hub encodes each once and writes the shared bytes to every member's socket.
//! [`Output::Live`] and [`Output::Unsubscribe`] say between which two points it may.

mod api;
mod config;
mod frames;
mod rate;
mod timer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use api::{AppendOutcome, Denied, Identity, Input, Output, PageLines, Refusal, Subscription, SubscriptionId};
pub use config::ServerConfig;
pub use rate::Allowance;

use crate::{
    ClientFrame, ClientKey, Epoch, Moment, RequestId, RoomName, Seq, ServerFrame, close, codec,
    message::{Ack, Author, ErrorFrame, Forgotten, Joined, Left, Nack, Welcome, code},
};
use rate::Rate;
use timer::{Timer, Timers};

/// The server's half of the session, for one connection. See the [contract](crate::session) of its driver.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    now: Duration,
    state: State,
    /// Frames that came while the driver finds out who the user is.
    held: VecDeque<ClientFrame>,
    rooms: BTreeMap<RoomName, Membership>,
    last_subscription: SubscriptionId,
    /// Messages that the engine has not answered.
    appends: u32,
    /// Pages that the engine has not answered.
    reads: usize,
    rate: Rate,
    timers: Timers,
    /// Lines that are ready and not yet an [`Output::Transmit`].
    text: String,
    outputs: VecDeque<Output>,
}

/// Where the session stands.
#[derive(Clone, Debug)]
enum State {
    /// `hello` has not come.
    Silent,
    /// The driver finds out who said `hello`.
    Greeting { client: ClientKey },
    /// Welcomed.
    Open { client: ClientKey, author: Author },
    /// Welcomed, and the driver looks at a newer token.
    Renewing { client: ClientKey, author: Author },
    /// [`Output::Close`] was given.
    Closed,
}

impl State {
    /// Whether frames wait for the driver's answer.
    fn is_identifying(&self) -> bool {
        matches!(self, Self::Greeting { .. } | Self::Renewing { .. })
    }
}

#[derive(Debug)]
struct Membership {
    id: SubscriptionId,
    /// Whether `joined` was sent.
    live: bool,
}

impl ServerSession {
    /// A connection that was just opened, with the subprotocol agreed.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, now: Duration) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Hello, now + config.hello_timeout);
        Self {
            now,
            state: State::Silent,
            held: VecDeque::new(),
            rooms: BTreeMap::new(),
            last_subscription: 0,
            appends: 0,
            reads: 0,
            rate: Rate::new(&config, now),
            timers,
            text: String::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Takes one input. Afterwards, and before waiting for anything, drain [`poll_output`](Self::poll_output); several inputs that
    /// are there already may go in first, and then what they lead to leaves together. An output may be answered while draining.
    pub fn handle(&mut self, moment: Moment, input: Input) {
        self.now = self.now.max(moment.now);
        if self.is_closed() {
            return;
        }
        match input {
            Input::Received { text } => self.received(&text),
            Input::Tick => {}
            Input::Identified(result) => self.identified(result),
            Input::Subscribed { id, result } => self.subscribed(id, result),
            Input::Appended { room, seq, outcome } => self.appended(room, seq, outcome),
            Input::PageRead { id, room, result } => self.page_read(id, &room, result),
            Input::Expelled { id, reason } => self.expelled(id, reason),
            Input::Counted { .. } => {}
            Input::Shutdown { retry_after } => {
                self.close(close::SERVICE_RESTART, &close::retry_after_reason(retry_after));
            }
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.on_timer(timer);
        }
    }

    /// The next thing to do. `None` means that there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.flush();
            if self.outputs.is_empty() {
                // Most connections are idle most of the time.
                self.outputs.shrink_to(0);
            }
        }
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`] at the latest, on the clock of [`Moment::now`]; ask again after
    /// each drain.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Whether [`Output::Close`] was given, or is about to be.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the members of rooms see of this client; `None` before it was welcomed.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        match &self.state {
            State::Open { author, .. } | State::Renewing { author, .. } => Some(author),
            State::Silent | State::Greeting { .. } | State::Closed => None,
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Hello => self.close(close::HEARTBEAT_LOST, "no hello came in time"),
            Timer::Ping => {
                self.send(&ServerFrame::Ping {});
                self.timers.set(Timer::Ping, self.now + self.config.heartbeat);
            }
            Timer::Silence => self.close(close::HEARTBEAT_LOST, "nothing was heard from the client"),
            Timer::Expiry => self.close(close::UNAUTHORIZED, "the token has expired"),
        }
    }

    fn identified(&mut self, result: Result<Identity, Denied>) {
        let identity = match result {
            Ok(identity) => identity,
            Err(denied) => return self.close(denied.code, &denied.reason),
        };
        let client = match std::mem::replace(&mut self.state, State::Silent) {
            State::Greeting { client } => {
                self.timers.set(Timer::Ping, self.now + self.config.heartbeat);
                self.listen();
                client
            }
            State::Renewing { client, author } => {
                if author.user != identity.user {
                    return self.close(close::FORBIDDEN, "the new token is another user's");
                }
                client
            }
            other => return self.state = other,
        };
        let sender = client.sender();
        match identity.expires {
            Some(expires) => self.timers.set(Timer::Expiry, self.now + expires),
            None => self.timers.clear(Timer::Expiry),
        }
        self.send(&ServerFrame::Welcome(Welcome {
            user: identity.user.clone(),
            sender: sender.clone(),
            heartbeat_ms: u32::try_from(self.config.heartbeat.as_millis()).unwrap_or(u32::MAX),
            expires_ms: identity.expires.map(millis),
            limits: self.config.limits.clone(),
        }));
        let author = Author {
            sender,
            user: identity.user,
        };
        self.state = State::Open { client, author };
        self.take_held();
    }

    fn subscribed(&mut self, id: SubscriptionId, result: Result<Subscription, Refusal>) {
        // Not there: it was left meanwhile.
        let Some((room, membership)) = self.rooms.iter_mut().find(|(_, membership)| membership.id == id) else {
            return;
        };
        let room = room.clone();
        let subscription = match result {
            Ok(subscription) => {
                membership.live = true;
                subscription
            }
            Err(refusal) => {
                self.rooms.remove(&room);
                return self.refuse("join", Some(room), refusal);
            }
        };
        let after = subscription.after.plus(subscription.messages.len() as u64);
        self.send(&ServerFrame::Joined(Joined {
            room: room.clone(),
            epoch: subscription.epoch,
            head: subscription.head,
            after: subscription.after,
            recovered: subscription.recovered,
            fork: subscription.fork,
            users: subscription.users,
            members: None,
        }));
        for message in &subscription.messages {
            self.send_line(message.line());
        }
        self.flush();
        self.outputs.push_back(Output::Live { id, room, after });
    }

    fn appended(&mut self, room: RoomName, seq: Seq, outcome: AppendOutcome) {
        self.appends = self.appends.saturating_sub(1);
        match outcome {
            AppendOutcome::Appended { epoch, offset, at } => self.send(&ServerFrame::Ack(Ack {
                room,
                seq,
                epoch,
                offset,
                at,
            })),
            AppendOutcome::Forgotten { epoch } => self.send(&ServerFrame::Forgotten(Forgotten { room, seq, epoch })),
            AppendOutcome::Refused { epoch, refusal } => self.nack(room, seq, epoch, refusal),
            AppendOutcome::Conflict { epoch } => self.nack(
                room,
                seq,
                Some(epoch),
                Refusal::for_good(code::CONFLICT, "the number belongs to another message of this key"),
            ),
            AppendOutcome::Gap { epoch } => self.nack(
                room,
                seq,
                Some(epoch),
                // The message before it was refused for a time, and that is the time to wait.
                Refusal::later(code::GAP, "an earlier message is missing", Duration::ZERO),
            ),
        }
    }

    fn page_read(&mut self, id: RequestId, room: &RoomName, result: Result<PageLines, Refusal>) {
        self.reads = self.reads.saturating_sub(1);
        match result {
            Ok(page) => self.send_line(&codec::encode_page(id, room, &page.epoch, &page.messages, page.more)),
            Err(refusal) => self.refuse("history", Some(room.clone()), refusal),
        }
    }

    fn expelled(&mut self, id: SubscriptionId, reason: Option<Refusal>) {
        let found = self.rooms.iter().find(|(_, membership)| membership.id == id);
        if let Some(room) = found.map(|(room, _)| room.clone()) {
            self.rooms.remove(&room);
            let (code, message) = reason.map(|reason| (reason.code, reason.message)).unzip();
            self.send(&ServerFrame::Left(Left {
                room,
                code: code.map(Into::into),
                message: message.map(Into::into),
            }));
        }
    }

    fn nack(&mut self, room: RoomName, seq: Seq, epoch: Option<Epoch>, refusal: Refusal) {
        self.send(&ServerFrame::Nack(Nack {
            room,
            seq,
            epoch,
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    fn refuse(&mut self, kind: &str, room: Option<RoomName>, refusal: Refusal) {
        self.send(&ServerFrame::Error(ErrorFrame {
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            room,
            kind: Some(kind.to_owned()),
            id: None,
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    /// The client shows life.
    fn listen(&mut self) {
        let limit = self.config.heartbeat + self.config.heartbeat_grace;
        self.timers.set(Timer::Silence, self.now + limit);
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.flush();
        self.outputs.push_back(Output::Close {
            code,
            reason: close::fit_reason(reason).to_owned(),
        });
        self.state = State::Closed;
        self.timers = Timers::default();
        self.rooms.clear();
        self.held.clear();
    }

    fn send(&mut self, frame: &ServerFrame) {
        self.send_line(&codec::encode(frame));
    }

    fn send_line(&mut self, line: &str) {
        if !self.text.is_empty() && self.text.len() + 1 + line.len() > self.config.transmit_bytes {
            self.flush();
        }
        codec::append_line(&mut self.text, line);
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.outputs.push_back(Output::Transmit(std::mem::take(&mut self.text)));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(crate::id::MAX_NUMBER)
        .min(crate::id::MAX_NUMBER)
}
