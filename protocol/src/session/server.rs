//! The server's half of one connection: the greeting, limits, and the translation between the wire and the engine.
//!
//! | what | where |
//! |---|---|
//! | inputs and outputs | [`Input`], [`Output`] |
//! | the greeting, time, the end | `server.rs` |
//! | each line of a welcomed client, answers of the engine | `open.rs` |
//! | the rate of a client | `rate.rs` |
//! | lines that share a text, refusals | `outgoing.rs` |
//! | timers | `timer.rs` |
//!
//! Live messages do not pass through a session: the hub encodes each once and writes the shared bytes to every member's
//! socket. It may do so between [`Output::Live`] and [`Output::Unsubscribe`].

mod api;
mod open;
mod options;
mod outgoing;
mod rate;
mod timer;
mod trace;

use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use api::{
    AppendOutcome, Denied, FoundMembers, Identity, Input, Output, PageLines, Place, Refusal, Subscription,
    SubscriptionId,
};
pub use options::ServerOptions;
pub use rate::Allowance;

use crate::{
    ClientKey, ClientLine, Moment, ServerLine, UserName, close,
    codec::{self, TextLimits},
    message::{Author, Hello, Welcome, code},
};
use open::Open;
use outgoing::{Outgoing, millis};
use rate::Rate;
use timer::{Timer, Timers};
use trace::trace;

const TOO_MUCH: &str = "far more was sent than any client needs";

/// The server's half of the session, for one connection. See the [contract](crate::session) of its driver.
#[derive(Debug)]
pub struct ServerSession {
    options: Arc<ServerOptions>,
    now: Duration,
    state: State,
    unserved: Unserved,
    rate: Rate,
    timers: Timers,
    /// The time by which the answer to a ping may exceed `heartbeat_grace`.
    slow_by: Duration,
    out: Outgoing,
}

/// The state of the session.
#[derive(Debug)]
enum State {
    /// `hello` was not received yet.
    AwaitingHello,
    /// The driver identifies the user.
    Identifying {
        client: ClientKey,
        /// The name that the client requested.
        name: Option<UserName>,
    },
    /// `welcome` was sent.
    Open(Open),
    /// [`Output::Close`] was given.
    Closed {
        /// The client, if it was welcomed. Its next connection gets its allowance.
        welcomed: Option<ClientKey>,
    },
}

impl State {
    /// Whether an [`Output::Identify`] is unanswered. Then lines wait, because the answer may close the connection,
    /// also the answer for a newer token.
    fn is_identifying(&self) -> bool {
        match self {
            Self::Identifying { .. } => true,
            Self::Open(open) => open.is_renewing(),
            Self::AwaitingHello | Self::Closed { .. } => false,
        }
    }

    /// The client, if it was welcomed. A client that was not welcomed may not use the allowance of the key.
    fn welcomed(&self) -> Option<ClientKey> {
        match self {
            Self::Open(open) => Some(open.client()),
            Self::Closed { welcomed } => *welcomed,
            Self::AwaitingHello | Self::Identifying { .. } => None,
        }
    }
}

/// Received lines that wait until the driver has identified the user.
#[derive(Debug, Default)]
struct Unserved {
    lines: VecDeque<ClientLine>,
    /// The bytes of the texts of these lines.
    bytes: usize,
}

impl ServerSession {
    /// A session for a new connection, after the opening handshake.
    #[must_use]
    pub fn new(options: Arc<ServerOptions>, now: Duration) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Hello, now + options.hello_timeout);
        Self {
            now,
            state: State::AwaitingHello,
            unserved: Unserved::default(),
            rate: Rate::new(&options, now),
            timers,
            slow_by: Duration::ZERO,
            out: Outgoing::new(&options),
            options,
        }
    }

    /// Takes one input. Afterwards, and before waiting for an event, drain [`poll_output`](Self::poll_output). Several
    /// inputs may be given before that, and then their lines share texts. An output may be answered while draining.
    pub fn handle(&mut self, moment: Moment, input: Input) {
        self.now = self.now.max(moment.now);
        if self.is_closed() {
            return;
        }
        let is_tick = matches!(input, Input::Tick);
        match input {
            Input::Received { text } => self.received(&text),
            Input::Counted { frames } => self.counted(frames),
            Input::Tick => {}
            Input::Slow { by } => self.slow_by = by,
            Input::Identified(result) => self.identified(result),
            Input::Subscribed { id, result } => {
                self.when_open(|open, options, out| open.subscribed(id, result, options, out));
            }
            Input::Appended { room, seq, outcome } => {
                self.when_open(|open, _, out| open.appended(room, seq, outcome, out));
            }
            Input::Found { id, room, result } => {
                self.when_open(|open, _, out| open.found(id, room, result, out));
            }
            Input::PageRead { id, room, result } => {
                self.when_open(|open, options, out| open.page_read(id, room, result, options, out));
            }
            Input::Addressed(result) => self.when_open(|open, options, out| open.addressed(result, options, out)),
            Input::Expelled { id, reason } => self.when_open(|open, _, out| open.expelled(id, reason, out)),
            Input::Shutdown { retry_after } => {
                let reason = close::retry_after_reason(retry_after);
                self.close_because(close::SERVICE_RESTART, "the server stops", &reason);
            }
        }
        while let Some(timer) = self.timers.take_due(self.now, is_tick) {
            self.on_timer(timer);
        }
        self.pause();
    }

    /// The next output. `None` means that there is none until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// The latest time for [`handle`](Self::handle) with [`Input::Tick`], on the clock of [`Moment::now`]. It may
    /// change with each input.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Whether [`Output::Close`] was given, or is in the queue of outputs.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether the driver may read from the transport: not during an [`Output::Pause`], not before it has answered
    /// [`Output::Identify`], and not after the end. A driver that gives several inputs before it drains checks this
    /// before each.
    #[must_use]
    pub fn reads(&self) -> bool {
        !self.is_closed() && !self.state.is_identifying() && !self.timers.is_set(Timer::Pause)
    }

    /// The author of this client's messages; `None` before `welcome` and after the close.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        match &self.state {
            State::Open(open) => Some(open.author()),
            State::AwaitingHello | State::Identifying { .. } | State::Closed { .. } => None,
        }
    }

    /// The remaining allowance of the client's rate, for its next connection ([`Identity::allowance`]); `None` if it
    /// was not welcomed. Call this when the connection ends.
    #[must_use]
    pub fn allowance(&self) -> Option<(ClientKey, Allowance)> {
        Some((self.state.welcomed()?, self.rate.allowance(self.now)))
    }

    fn received(&mut self, text: &str) {
        self.timers.clear(Timer::Silence);
        self.rate.fill(self.now);
        self.rate.take_bytes(text.len());
        if !self.rate.receive(text.split('\n').count()) {
            return self.close(close::TOO_MANY, TOO_MUCH);
        }
        let limits = TextLimits {
            bytes: self.options.limits.text_bytes as usize,
            lines: self.options.limits.text_lines as usize,
        };
        let lines = match codec::decode::<ClientLine>(text, limits) {
            Ok(lines) => lines,
            Err(error) => return self.close_because(error.close_code(), error.class(), &error.to_string()),
        };
        // They exceed this only if a driver does not wait for `Identified`.
        self.unserved.bytes += text.len();
        if self.unserved.lines.len() + lines.len() > limits.lines || self.unserved.bytes > limits.bytes {
            return self.close(close::TOO_MANY, "too much came before the welcome");
        }
        self.unserved.lines.extend(lines);
        self.serve_lines();
    }

    /// Serves lines until there are none, or one of them waits for the driver.
    fn serve_lines(&mut self) {
        while !self.state.is_identifying() {
            let Some(line) = self.unserved.lines.pop_front() else {
                self.unserved = Unserved::default();
                return;
            };
            self.serve(line);
        }
    }

    fn serve(&mut self, line: ClientLine) {
        let late = self.rate.refused_for();
        let late = late.map(|pause| Refusal::later(code::RATE, "too much was sent before it", pause));
        match (&mut self.state, line, late) {
            // A refusal is not charged, because it is little work and the line is charged when it is sent again.
            (State::Open(open), ClientLine::Signal { room, .. }, Some(refusal)) => {
                open.refuse("signal", Some(room), refusal, &mut self.out);
            }
            (State::Open(open), ClientLine::History(history), Some(refusal)) => {
                open.refuse_request("history", history.id, history.room, refusal, &mut self.out);
            }
            (State::Open(open), ClientLine::Find(find), Some(refusal)) => {
                open.refuse_request("find", find.id, find.room, refusal, &mut self.out);
            }
            (state, line, _) => {
                self.rate.take_line(&line);
                match (state, line) {
                    (State::AwaitingHello, ClientLine::Hello(hello)) => self.hello(hello),
                    (State::AwaitingHello, _) => self.close(close::BAD_LINE, "the first line must be hello"),
                    (_, ClientLine::Hello(_)) => self.close(close::BAD_LINE, "hello came twice"),
                    (State::Open(open), line) => open.serve(line, &self.options, &mut self.out),
                    // Lines wait while the user is identified, and are dropped after the close.
                    (State::Identifying { .. } | State::Closed { .. }, _) => {}
                }
            }
        }
    }

    fn hello(&mut self, hello: Hello) {
        let Hello { client, token, name } = hello;
        trace!(
            "hello: {} token; lines wait until the user is known",
            if token.is_some() { "with a" } else { "without a" }
        );
        self.timers.clear(Timer::Hello);
        self.out.push(Output::Identify {
            client,
            token,
            name: name.clone(),
        });
        self.state = State::Identifying { client, name };
    }

    fn identified(&mut self, result: Result<Identity, Denied>) {
        let identity = match result {
            Ok(identity) => identity,
            Err(denied) => return self.close_because(denied.code, "the user is denied", &denied.reason),
        };
        let sender = match &mut self.state {
            State::Identifying { client, name } => {
                let open = Open::new(*client, name.take(), identity.user.clone());
                let sender = open.author().sender.clone();
                self.state = State::Open(open);
                self.timers.set(Timer::Ping, self.now + self.options.heartbeat);
                if let Some((allowance, ago)) = identity.allowance {
                    self.rate.go_on(allowance, ago);
                }
                sender
            }
            State::Open(open) if open.is_renewing() => {
                if open.author().user != identity.user {
                    return self.close(close::FORBIDDEN, "the new token is another user's");
                }
                open.renewed();
                open.author().sender.clone()
            }
            State::AwaitingHello | State::Open(_) | State::Closed { .. } => return,
        };
        trace!(
            "welcome: heartbeat {:?}, the token expires in {:?}, {} lines waited",
            self.options.heartbeat,
            identity.expires,
            self.unserved.lines.len()
        );
        match identity.expires {
            Some(expires) => self.timers.set(Timer::Expiry, self.now + expires),
            None => self.timers.clear(Timer::Expiry),
        }
        self.out.send(&ServerLine::Welcome(Welcome {
            user: identity.user,
            sender,
            heartbeat_ms: u32::try_from(self.options.heartbeat.as_millis()).unwrap_or(u32::MAX),
            expires_ms: identity.expires.map(millis),
            direct: self.options.direct,
            find: true,
            limits: self.options.limits.clone(),
        }));
        self.serve_lines();
    }

    /// Answers of the engine are ignored in a session that is not open.
    fn when_open(&mut self, answer: impl FnOnce(&mut Open, &ServerOptions, &mut Outgoing)) {
        if let State::Open(open) = &mut self.state {
            answer(open, &self.options, &mut self.out);
        }
    }

    fn counted(&mut self, frames: u32) {
        self.rate.fill(self.now);
        if !self.rate.receive(frames as usize) {
            self.close(close::TOO_MANY, TOO_MUCH);
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Hello => self.close(close::HEARTBEAT_LOST, "no hello came in time"),
            Timer::Ping => {
                self.out.send(&ServerLine::Ping {});
                self.timers.set(Timer::Ping, self.now + self.options.heartbeat);
                // During a pause nothing is read, so the timeout starts with the next ping after it.
                if self.reads() && !self.timers.is_set(Timer::Silence) {
                    let grace = self.options.heartbeat_grace.saturating_add(self.slow_by);
                    trace!("ping: a sign of life is expected within {grace:?}");
                    self.timers.set(Timer::Silence, self.now.saturating_add(grace));
                }
            }
            Timer::Silence => self.close(close::HEARTBEAT_LOST, "nothing was heard from the client"),
            Timer::Expiry => self.close(close::UNAUTHORIZED, "the token has expired"),
            Timer::Pause => self.rate.fill(self.now),
        }
    }

    /// Stops reading if the client has exceeded its rate.
    fn pause(&mut self) {
        if self.is_closed() || self.timers.is_set(Timer::Pause) {
            return;
        }
        if let Some(pause) = self.rate.pause() {
            trace!("pause: nothing is read for {pause:?}");
            let until = self.now + pause;
            self.timers.set(Timer::Pause, until);
            self.out.push(Output::Pause { until });
        }
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.close_because(code, reason, reason);
    }

    /// Closes with a reason that may quote the client, so the trace has only its class.
    fn close_because(&mut self, code: u16, class: &'static str, reason: &str) {
        trace!("close: {code}, {class}");
        self.out.flush();
        self.out.push(Output::Close {
            code,
            reason: close::fit_reason(reason).to_owned(),
        });
        self.state = State::Closed {
            welcomed: self.state.welcomed(),
        };
        self.timers = Timers::default();
        self.unserved = Unserved::default();
    }
}
