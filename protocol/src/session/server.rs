//! The server's half of one connection: the greeting, limits, and the translation between the wire and the engine.
//!
//! | what | where |
//! |---|---|
//! | what goes in and out | [`Input`], [`Output`] |
//! | the greeting, time, answers of the engine | `server.rs` |
//! | what each line of the client does | `lines.rs` |
//! | how much may come | `rate.rs` |
//! | everything that happens by time alone | `timer.rs` |
//!
//! Live messages do not pass through a session: the hub encodes each once and writes the shared bytes to every member's socket.
//! [`Output::Live`] and [`Output::Unsubscribe`] say between which two points it may.

mod api;
mod config;
mod lines;
mod rate;
mod timer;

use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use api::{AppendOutcome, Denied, Identity, Input, Output, PageLines, Refusal, Subscription, SubscriptionId};
pub use config::ServerOptions;
pub use rate::Allowance;

use super::trace::trace_event;
use crate::{
    ClientKey, ClientLine, Epoch, Moment, RequestId, RoomName, Seq, ServerLine, UserName, close, codec,
    message::{Ack, Author, ErrorLine, Forgotten, Joined, Left, Nack, Welcome, code},
};
use rate::Rate;
use timer::{Timer, Timers};

/// The target of this half's trace events.
const TRACE: &str = "talkback::server";
const TOO_MUCH: &str = "far more was sent than any client needs";

/// The server's half of the session, for one connection. See the [contract](crate::session) of its driver.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerOptions>,
    now: Duration,
    state: State,
    /// From `hello` on.
    who: Option<Who>,
    /// Lines that came while the driver finds out who the user is.
    held: VecDeque<ClientLine>,
    /// Bytes of the texts that they came with.
    held_bytes: usize,
    /// A few dozen at most, and mostly one: a map would take several times the memory.
    rooms: Vec<Membership>,
    last_subscription: SubscriptionId,
    /// Messages that the engine has not answered.
    appends: u32,
    /// Pages that the engine has not answered.
    reads: u32,
    /// Those of them that ask for no message at all, but whether there is one.
    probes: Vec<RequestId>,
    rate: Rate,
    timers: Timers,
    /// So much later than `heartbeat_grace` an answer may come.
    slow_by: Duration,
    /// Lines that are ready and not yet an [`Output::Transmit`].
    text: String,
    outputs: VecDeque<Output>,
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `hello` has not come.
    Silent,
    /// The driver finds out who said `hello`.
    Greeting,
    /// Welcomed.
    Open,
    /// Welcomed, and the driver looks at a newer token.
    Renewing,
    /// [`Output::Close`] was given.
    Closed,
}

impl State {
    /// Whether lines wait for the driver's answer.
    fn is_identifying(self) -> bool {
        matches!(self, Self::Greeting | Self::Renewing)
    }
}

/// Who the other side is.
#[derive(Debug)]
struct Who {
    client: ClientKey,
    /// The name that it asked for.
    name: Option<UserName>,
    /// From `welcome` on.
    author: Option<Author>,
}

#[derive(Debug)]
struct Membership {
    room: RoomName,
    id: SubscriptionId,
    /// Whether `joined` was sent.
    live: bool,
}

impl ServerSession {
    /// A connection that was just opened, with the subprotocol agreed.
    #[must_use]
    pub fn new(config: Arc<ServerOptions>, now: Duration) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Hello, now + config.hello_timeout);
        Self {
            now,
            state: State::Silent,
            who: None,
            held: VecDeque::new(),
            held_bytes: 0,
            rooms: Vec::new(),
            last_subscription: 0,
            appends: 0,
            reads: 0,
            probes: Vec::new(),
            rate: Rate::new(&config, now),
            timers,
            slow_by: Duration::ZERO,
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
        let looked = matches!(input, Input::Tick);
        match input {
            Input::Received { text } => self.received(&text),
            Input::Counted { frames } => self.counted(frames),
            Input::Tick => {}
            Input::Slow { by } => self.slow_by = by,
            Input::Identified(result) => self.identified(result),
            Input::Subscribed { id, result } => self.subscribed(id, result),
            Input::Appended { room, seq, outcome } => self.appended(room, seq, outcome),
            Input::PageRead { id, room, result } => self.page_read(id, &room, result),
            Input::Expelled { id, reason } => self.expelled(id, reason),
            Input::Shutdown { retry_after } => {
                self.close(close::SERVICE_RESTART, &close::retry_after_reason(retry_after));
            }
        }
        while let Some(timer) = self.timers.take_due(self.now, looked) {
            self.on_timer(timer);
        }
        self.pause();
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

    /// Whether the driver may take anything more from the transport: not during an [`Output::Pause`], not before it has answered
    /// [`Output::Identify`], not after the end. A driver that gives several inputs before it drains asks before each.
    #[must_use]
    pub fn reads(&self) -> bool {
        !self.is_closed() && !self.state.is_identifying() && !self.timers.is_set(Timer::Pause)
    }

    /// What the members of rooms see of this client; `None` before it was welcomed.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        match self.state {
            State::Open | State::Renewing => self.who.as_ref()?.author.as_ref(),
            State::Silent | State::Greeting | State::Closed => None,
        }
    }

    /// What the client has left of its rate, for its next connection ([`Identity::allowance`]); `None` if it was never welcomed. Ask
    /// when the connection ends.
    #[must_use]
    pub fn allowance(&self) -> Option<(ClientKey, Allowance)> {
        let who = self.who.as_ref().filter(|who| who.author.is_some())?;
        Some((who.client, self.rate.allowance(self.now)))
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Hello => self.close(close::HEARTBEAT_LOST, "no hello came in time"),
            Timer::Ping => {
                self.send(&ServerLine::Ping {});
                self.timers.set(Timer::Ping, self.now + self.config.heartbeat);
                // While nothing is read, nothing can be heard: then the next ping begins the wait.
                if self.reads() && !self.timers.is_set(Timer::Silence) {
                    let grace = self.config.heartbeat_grace.saturating_add(self.slow_by);
                    self.timers.set(Timer::Silence, self.now.saturating_add(grace));
                }
            }
            Timer::Silence => self.close(close::HEARTBEAT_LOST, "nothing was heard from the client"),
            Timer::Expiry => self.close(close::UNAUTHORIZED, "the token has expired"),
            Timer::Pause => self.rate.fill(self.now),
        }
    }

    /// Stops reading, if the client has sent more than it may for now.
    fn pause(&mut self) {
        if self.is_closed() || self.timers.is_set(Timer::Pause) {
            return;
        }
        if let Some(pause) = self.rate.pause() {
            let until = self.now + pause;
            self.timers.set(Timer::Pause, until);
            self.outputs.push_back(Output::Pause { until });
        }
    }

    fn counted(&mut self, frames: u32) {
        self.rate.fill(self.now);
        if !self.rate.receive(frames as usize) {
            self.close(close::TOO_MANY, TOO_MUCH);
        }
    }

    fn identified(&mut self, result: Result<Identity, Denied>) {
        let identity = match result {
            Ok(identity) => identity,
            Err(denied) => return self.close(denied.code, &denied.reason),
        };
        let Some(who) = self.who.as_mut().filter(|_| self.state.is_identifying()) else {
            return;
        };
        if who.author.as_ref().is_some_and(|author| author.user != identity.user) {
            return self.close(close::FORBIDDEN, "the new token is another user's");
        }
        let sender = who.client.sender();
        who.author = Some(Author {
            sender: sender.clone(),
            user: identity.user.clone(),
        });
        if self.state == State::Greeting {
            self.timers.set(Timer::Ping, self.now + self.config.heartbeat);
            if let Some((allowance, ago)) = identity.allowance {
                self.rate.go_on(allowance, ago);
            }
        }
        self.state = State::Open;
        match identity.expires {
            Some(expires) => self.timers.set(Timer::Expiry, self.now + expires),
            None => self.timers.clear(Timer::Expiry),
        }
        self.send(&ServerLine::Welcome(Welcome {
            user: identity.user,
            sender,
            heartbeat_ms: u32::try_from(self.config.heartbeat.as_millis()).unwrap_or(u32::MAX),
            expires_ms: identity.expires.map(millis),
            limits: self.config.limits.clone(),
        }));
        self.take_held();
    }

    fn subscribed(&mut self, id: SubscriptionId, result: Result<Subscription, Refusal>) {
        // Not there: it was left meanwhile.
        let Some(index) = self.rooms.iter().position(|membership| membership.id == id) else {
            return;
        };
        let subscription = match result {
            Ok(subscription) => subscription,
            Err(refusal) => {
                let Membership { room, .. } = self.rooms.swap_remove(index);
                return self.refuse("join", room, refusal);
            }
        };
        let membership = &mut self.rooms[index];
        membership.live = true;
        let room = membership.room.clone();
        let after = subscription.after.plus(subscription.messages.len() as u64);
        let joined = Joined {
            room: room.clone(),
            epoch: subscription.epoch,
            head: subscription.head,
            after: subscription.after,
            recovered: subscription.recovered,
            fork: subscription.fork,
            users: subscription.users,
            members: None,
        };
        let largest = self.config.limits.sent_text_bytes as usize;
        let line = codec::encode_joined(joined, subscription.members.as_ref(), largest);
        self.send_line(&line);
        for message in &subscription.messages {
            self.send_line(message.line());
        }
        self.flush();
        self.outputs.push_back(Output::Live { id, room, after });
    }

    fn appended(&mut self, room: RoomName, seq: Seq, outcome: AppendOutcome) {
        self.appends = self.appends.saturating_sub(1);
        match outcome {
            AppendOutcome::Appended { epoch, offset, at } => self.send(&ServerLine::Ack(Ack {
                room,
                seq,
                epoch,
                offset,
                at,
            })),
            AppendOutcome::Forgotten { epoch } => self.send(&ServerLine::Forgotten(Forgotten { room, seq, epoch })),
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
        let probe = self.probes.iter().position(|probe| *probe == id);
        let probe = probe.map(|index| self.probes.swap_remove(index));
        match result {
            Ok(mut page) => {
                if probe.is_some() {
                    page.more |= !page.messages.is_empty();
                    page.messages.clear();
                }
                let largest = self.config.limits.sent_text_bytes as usize;
                self.send_line(&codec::encode_page(id, room, &page, largest));
            }
            Err(refusal) => self.refuse_history(id, room.clone(), refusal),
        }
    }

    fn expelled(&mut self, id: SubscriptionId, reason: Refusal) {
        let found = self.rooms.iter().position(|membership| membership.id == id);
        if let Some(index) = found {
            let Membership { room, .. } = self.rooms.swap_remove(index);
            self.send(&ServerLine::Left(Left {
                room,
                code: Some(reason.code.into_owned()),
                message: Some(reason.message.into_owned()),
            }));
        }
    }

    fn nack(&mut self, room: RoomName, seq: Seq, epoch: Option<Epoch>, refusal: Refusal) {
        self.send(&ServerLine::Nack(Nack {
            room,
            seq,
            epoch,
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    fn refuse(&mut self, kind: &str, room: RoomName, refusal: Refusal) {
        self.send_error(kind, room, None, refusal);
    }

    fn refuse_history(&mut self, id: RequestId, room: RoomName, refusal: Refusal) {
        self.send_error("history", room, Some(id), refusal);
    }

    fn send_error(&mut self, kind: &str, room: RoomName, id: Option<RequestId>, refusal: Refusal) {
        self.send(&ServerLine::Error(ErrorLine {
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            room: Some(room),
            kind: Some(kind.to_owned()),
            id,
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    fn close(&mut self, code: u16, reason: &str) {
        trace_event!(TRACE, "close with {code}");
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

    fn send(&mut self, frame: &ServerLine) {
        self.send_line(&codec::encode(frame));
    }

    fn send_line(&mut self, line: &str) {
        let most = self
            .config
            .transmit_bytes
            .min(self.config.limits.sent_text_bytes as usize);
        if !self.text.is_empty() && self.text.len() + 1 + line.len() > most {
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
