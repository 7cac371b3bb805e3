//! The connection: opening it, losing it, waiting for the next attempt, and the tokens and keys that it needs.

use std::{fmt, time::Duration};

use super::{
    Cause, ClientSession, Generation, Output, PageError, Status, StopReason, SuspendReason,
    backoff::{Backoff, Pause},
    timer::{Timer, millis},
    trace::debug,
};
use crate::{
    ClientKey, ClientLine, SenderId, UserName, close,
    message::{Hello, Limits, Welcome},
};

/// The state of the connection. What applications see of it is [`Link::status`].
#[derive(Debug)]
enum State {
    /// No attempt until [`ClientSession::connect`].
    Stopped(StopReason),
    /// No attempt until the page or the network is back.
    Suspended(SuspendReason),
    /// The next attempt begins with [`Timer::Reconnect`].
    Waiting { until: Duration, cause: Cause },
    /// The connection opens when the application has answered: with a key if [`Link::key_asked`], otherwise with a
    /// token.
    Asking,
    /// The transport opens.
    Connecting,
    /// `hello` was sent.
    Greeting,
    /// `welcome` came.
    Open(Open),
}

#[derive(Debug)]
struct Open {
    /// When the first `welcome` of this connection came.
    since: Duration,
    /// When the last text came.
    heard: Duration,
    /// How often the server sends at least a `ping`.
    heartbeat: Duration,
    limits: Limits,
    /// The server addresses users.
    addresses: bool,
    /// The server finds users by name.
    finds: bool,
    user: UserName,
    sender: SenderId,
}

impl State {
    /// Whether the transport has a connection, open or opening. Only then are its events of interest, and only then is
    /// there one to close.
    fn has_connection(&self) -> bool {
        matches!(self, Self::Connecting | Self::Greeting | Self::Open(_))
    }

    /// Whether lines can be sent. The server reads before its `welcome` too: that is how it gets `hello`, and `pong`
    /// besides.
    fn can_send(&self) -> bool {
        matches!(self, Self::Greeting | Self::Open(_))
    }

    /// Whether the next event of the page or the network may begin an attempt. A stopped session waits for the
    /// application, and all other states are an attempt, or more, already.
    fn can_resume(&self) -> bool {
        matches!(self, Self::Suspended(_) | Self::Waiting { .. })
    }

    /// Whether nothing changes when the network goes. An open connection may lead to a local server, or the browser is
    /// wrong about the network: it is kept for as long as it works. Attempts are given up.
    fn survives_offline(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Stopped(_) | Self::Suspended(_))
    }

    /// Whether the session ended, so that nothing is sent until the application connects again. A session that has not
    /// been started is about to be: it takes messages.
    fn is_over(&self) -> bool {
        matches!(self, Self::Stopped(reason) if *reason != StopReason::NotStarted)
    }
}

impl fmt::Display for State {
    /// For the log: without names, and without the texts of causes, which are the server's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(StopReason::Refused(cause)) => write!(f, "stopped after close code {}", cause.code),
            Self::Stopped(reason) => write!(f, "stopped ({reason:?})"),
            Self::Suspended(reason) => write!(f, "suspended ({reason:?})"),
            Self::Waiting { until, cause } => {
                write!(
                    f,
                    "waiting until {} ms, after close code {}",
                    millis(*until),
                    cause.code
                )
            }
            Self::Asking => f.write_str("asking the application for a token or a key"),
            Self::Connecting => f.write_str("connecting"),
            Self::Greeting => f.write_str("greeting"),
            Self::Open(open) => write!(f, "open, heartbeat {} ms", millis(open.heartbeat)),
        }
    }
}

/// The state of the connection, and what outlives each state.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    /// Of the last connection.
    generation: Generation,
    backoff: Backoff,
    /// The server asked for no connection before this time.
    hold_until: Duration,
    /// When the last attempt began.
    begun: Option<Duration>,
    /// The machine has no network.
    offline: bool,
    /// The page sleeps.
    asleep: bool,
    /// The newest token that the server did not refuse.
    token: Option<String>,
    /// The application has not answered [`Output::TokenWanted`]. It may answer in any state, and is not asked twice.
    token_asked: bool,
    /// A token was refused, and no session lived since.
    token_refused: bool,
    /// The application has not answered [`Output::KeyWanted`]. It may answer in any state, and is not asked twice.
    key_asked: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: State::Stopped(StopReason::NotStarted),
            generation: 0,
            backoff: Backoff::default(),
            hold_until: Duration::ZERO,
            begun: None,
            offline: false,
            asleep: false,
            token: None,
            token_asked: false,
            token_refused: false,
            key_asked: false,
        }
    }
}

impl Link {
    /// What applications see of the state.
    pub(super) fn status(&self) -> Status {
        match &self.state {
            State::Stopped(reason) => Status::Stopped(reason.clone()),
            State::Suspended(reason) => Status::Suspended(*reason),
            State::Waiting { until, cause } => Status::Waiting {
                // A restart of the server is no failure, and the attempt after it is the first.
                attempt: self.backoff.attempt.max(1),
                until: *until,
                cause: cause.clone(),
            },
            State::Asking | State::Connecting | State::Greeting => Status::Connecting,
            State::Open(open) => Status::Open {
                user: open.user.clone(),
                sender: open.sender.clone(),
            },
        }
    }

    /// See [`State::is_over`].
    pub(super) fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// The connection on which lines can be sent, if there is one.
    pub(super) fn connection(&self) -> Option<Generation> {
        self.state.can_send().then_some(self.generation)
    }

    /// The welcomed connection, if there is one.
    pub(super) fn open(&self) -> Option<(Generation, &Limits)> {
        match &self.state {
            State::Open(open) => Some((self.generation, &open.limits)),
            _ => None,
        }
    }

    /// Whether the server of the welcomed connection addresses users.
    pub(super) fn addresses(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.addresses)
    }

    /// Whether the server of the welcomed connection finds users by name.
    pub(super) fn finds(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.finds)
    }

    /// The public id of this client, while it is welcomed.
    pub(super) fn sender(&self) -> Option<&SenderId> {
        match &self.state {
            State::Open(open) => Some(&open.sender),
            _ => None,
        }
    }

    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting)
    }

    /// Whether this is the connection that the transport has. Events of earlier generations are ignored.
    pub(super) fn is_live(&self, generation: Generation) -> bool {
        self.state.has_connection() && generation == self.generation
    }

    /// Whether the application is asked for a token that the connection needs to open.
    fn awaits_token(&self) -> bool {
        matches!(self.state, State::Asking) && !self.key_asked
    }

    /// Whether the page or the network forbids attempts.
    fn is_held_off(&self) -> bool {
        self.offline || self.asleep
    }
}

// The transport and the server.
impl ClientSession {
    pub(super) fn opened(&mut self, generation: Generation) {
        if generation != self.link.generation || !matches!(self.link.state, State::Connecting) {
            return;
        }
        self.timers.clear(Timer::Connect);
        self.set_timer(Timer::Hello, self.options.hello_timeout);
        self.enter(State::Greeting);
        self.lines.push(ClientLine::Hello(Hello {
            client: self.key,
            token: self.link.token.clone(),
            name: self.options.name.clone(),
        }));
    }

    /// The transport reports the end of a connection.
    pub(super) fn closed(&mut self, generation: Generation, cause: Cause) {
        if !self.link.is_live(generation) {
            return;
        }
        let restarts = cause.code == close::SERVICE_RESTART && matches!(self.link.state, State::Open(_));
        self.end_connection();
        if restarts {
            let options = &self.options;
            let pause = Backoff::restart(options.backoff, options.max_retry_after, &cause.reason, self.random);
            return self.pause(pause, cause);
        }
        if close::is_final(cause.code) {
            return self.stopped(StopReason::Refused(cause));
        }
        if cause.code == close::UNAUTHORIZED {
            if !self.options.tokens {
                return self.stopped(StopReason::TokenNeeded);
            }
            self.link.token = None;
            // The first refusal is the usual end of a token's life; the second one in a row is a mistake that may last.
            if !std::mem::replace(&mut self.link.token_refused, true) && !self.link.is_held_off() {
                return self.begin();
            }
        }
        self.wait(cause);
    }

    /// Closes a connection of which nothing more is expected, although its transport does not report the end.
    pub(super) fn give_up(&mut self, reason: &'static str) {
        debug!("connection {} is given up: {reason}", self.link.generation);
        self.drop_connection(close::HEARTBEAT_LOST, reason);
        self.wait(Cause {
            code: close::HEARTBEAT_LOST,
            reason: reason.to_owned(),
        });
    }

    /// Closes the connection because the server broke a rule of the protocol. Another server may answer the next
    /// attempt.
    pub(super) fn violated(&mut self, reason: &str) {
        // Without the reason, which may quote the line.
        debug!(
            "connection {} is given up: the server broke the protocol",
            self.link.generation
        );
        self.drop_connection(close::BAD_LINE, reason);
        self.wait(Cause {
            code: close::BAD_LINE,
            reason: reason.to_owned(),
        });
    }

    /// Another client uses the key of this one, or numbers of it: closes the connection and asks for a new key.
    pub(super) fn renew_key(&mut self) {
        let reason = "another client uses the key of this one: a new one is taken";
        debug!("connection {} is given up: {reason}", self.link.generation);
        self.drop_connection(close::NORMAL, reason);
        let mut progress = Vec::new();
        self.outbox.renumber(&mut progress);
        self.report(progress);
        if !std::mem::replace(&mut self.link.key_asked, true) {
            self.outputs.push_back(Output::KeyWanted);
        }
        // After a pause: a server that says so of every key would be asked without end.
        self.wait(Cause {
            code: close::NORMAL,
            reason: reason.to_owned(),
        });
    }

    pub(super) fn take_key(&mut self, key: ClientKey) {
        if !std::mem::take(&mut self.link.key_asked) {
            return;
        }
        debug!("a new key is in use, from number {} on", self.outbox.next);
        self.key = key;
        // Stored before anything is sent with it: the numbers begin anew, and belong to this key alone.
        self.changed = self.options.keep;
        self.save_due = true;
        self.save_if_due();
        if matches!(self.link.state, State::Asking) {
            self.begin();
        }
    }

    /// A text of the server came: the connection works.
    pub(super) fn heard(&mut self) {
        self.timers.clear(Timer::Probe);
        if let State::Open(open) = &mut self.link.state {
            open.heard = self.now;
            let silence = open.heartbeat.saturating_add(self.options.heartbeat_grace);
            self.set_timer(Timer::Heartbeat, silence);
        }
    }

    pub(super) fn welcomed(&mut self, welcome: Welcome) {
        let since = match &self.link.state {
            // A second welcome of the same connection does not begin its life anew.
            State::Open(open) => open.since,
            _ => self.now,
        };
        self.timers.clear(Timer::Hello);
        if self.link.is_greeting() {
            for (room, lane) in self.outbox.lanes.iter().filter(|(_, lane)| lane.numbered > 0) {
                debug!(
                    "room {}: {} messages to be sent again",
                    self.numbers.of(room),
                    lane.numbered
                );
            }
        }
        match welcome.expires_ms.filter(|_| self.options.tokens) {
            // Early enough for a slow provider, and never in a busy loop.
            Some(expires) => {
                let early = Duration::from_millis(expires).mul_f64(0.8);
                self.set_timer(Timer::Renew, early.max(Duration::from_secs(1)));
            }
            None => self.timers.clear(Timer::Renew),
        }
        self.enter(State::Open(Open {
            since,
            heard: self.now,
            heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
            limits: welcome.limits,
            addresses: welcome.direct,
            finds: welcome.find,
            user: welcome.user,
            sender: welcome.sender,
        }));
        self.heard();
    }

    /// [`Timer::Reconnect`] fired.
    pub(super) fn reconnect(&mut self) {
        if matches!(self.link.state, State::Waiting { .. }) {
            self.begin();
        }
    }

    /// Ends the session, because the application wants it to end.
    pub(super) fn stop_by_hand(&mut self) {
        self.drop_connection(close::NORMAL, "");
        self.stopped(StopReason::Asked);
    }

    /// The connection has ended, and the session ends with it.
    fn stopped(&mut self, reason: StopReason) {
        self.enter(State::Stopped(reason));
        let mut progress = Vec::new();
        self.outbox.stop(&mut progress);
        self.report(progress);
        let questions: Vec<_> = self.history.stop().collect();
        for question in questions {
            self.unanswered(&question, PageError::Stopped);
        }
        self.save_due = true;
    }

    /// Begins an attempt: connects, or first asks the application for what is missing.
    fn begin(&mut self) {
        self.timers.clear(Timer::Reconnect);
        if self.link.key_asked {
            return self.enter(State::Asking);
        }
        if self.options.tokens && self.link.token.is_none() {
            self.set_timer(Timer::Token, self.options.token_timeout);
            self.enter(State::Asking);
            return self.want_token();
        }
        self.timers.clear(Timer::Token);
        self.link.generation += 1;
        self.link.begun = Some(self.now);
        self.set_timer(Timer::Connect, self.options.connect_timeout);
        self.enter(State::Connecting);
        let generation = self.link.generation;
        self.outputs.push_back(Output::Connect { generation });
    }

    /// An attempt or a connection failed: waits for the next attempt, for the time that backoff and the server ask for.
    fn wait(&mut self, cause: Cause) {
        let options = &self.options;
        let pause = self
            .link
            .backoff
            .fail(options.backoff, options.max_retry_after, &cause, self.random);
        self.pause(pause, cause);
    }

    fn pause(&mut self, Pause { length, asked }: Pause, cause: Cause) {
        if let Some(asked) = asked {
            self.link.hold_until = self.now.saturating_add(asked);
        }
        // Not before: the pause that the server asked for also holds when the page or the network comes back.
        if self.link.is_held_off() {
            return self.suspended();
        }
        self.wait_until(self.now.saturating_add(length), cause);
    }

    fn wait_until(&mut self, until: Duration, cause: Cause) {
        self.timers.set(Timer::Reconnect, until);
        self.enter(State::Waiting { until, cause });
    }

    /// Closes the connection, if there is one. The caller enters the next state.
    fn drop_connection(&mut self, code: u16, reason: &str) {
        if self.link.state.has_connection() {
            self.outputs.push_back(Output::Disconnect {
                generation: self.link.generation,
                code,
                reason: close::fit_reason(reason).to_owned(),
            });
        }
        self.end_connection();
    }

    /// Resets everything that belonged to the connection alone. The caller enters the next state.
    fn end_connection(&mut self) {
        if let State::Open(open) = &self.link.state
            && self.now.saturating_sub(open.since) >= self.options.backoff.reset_after
        {
            self.link.backoff.reset();
            self.link.token_refused = false;
        }
        self.timers.end_connection();
        self.lines.clear();
        self.rooms.disconnected();
        self.outbox.rewind();
        self.history.disconnected();
    }

    /// The only place where the state changes. Reports the status if that changes with it.
    fn enter(&mut self, state: State) {
        debug!(
            "{} ms: connection {}: {} -> {state}",
            millis(self.now),
            self.link.generation,
            self.link.state,
        );
        let before = self.link.status();
        self.link.state = state;
        let status = self.link.status();
        if status != before {
            self.outputs.push_back(Output::Status(status));
        }
    }

    pub(super) fn set_timer(&mut self, timer: Timer, after: Duration) {
        self.timers.set(timer, self.now.saturating_add(after));
    }
}

// The page, the network and the application's "connect now".
impl ClientSession {
    pub(super) fn online(&mut self) {
        self.link.offline = false;
        self.come_back();
    }

    pub(super) fn awake(&mut self) {
        self.link.asleep = false;
        self.come_back();
    }

    pub(super) fn offline(&mut self) {
        self.link.offline = true;
        if !self.link.state.survives_offline() {
            self.drop_connection(close::NORMAL, "offline");
            self.suspended();
        } else if matches!(self.link.state, State::Open(_)) {
            // It may be dead, which nothing would show before the next heartbeat.
            self.ping();
        }
    }

    pub(super) fn suspend(&mut self) {
        self.link.asleep = true;
        if !matches!(self.link.state, State::Stopped(_)) {
            self.drop_connection(close::NORMAL, "the page sleeps");
            self.suspended();
        }
        self.save_due = true;
    }

    pub(super) fn connect_by_hand(&mut self) {
        self.link.offline = false;
        self.link.asleep = false;
        self.link.hold_until = Duration::ZERO;
        match self.link.state {
            State::Stopped(_) | State::Suspended(_) | State::Waiting { .. } => self.begin(),
            State::Open(_) => self.probe(),
            State::Asking | State::Connecting | State::Greeting => {}
        }
    }

    pub(super) fn check_by_hand(&mut self) {
        if matches!(self.link.state, State::Open(_)) {
            self.ping();
        }
    }

    /// The page or the network is back.
    fn come_back(&mut self) {
        self.probe();
        if !self.link.state.can_resume() {
            return;
        }
        if self.link.is_held_off() {
            // The page is back while the network is not, or the other way round.
            return self.suspended();
        }
        // A network that flickers must not cause a storm of attempts.
        let earliest = self
            .link
            .begun
            .map_or(Duration::ZERO, |begun| begun.saturating_add(self.options.backoff.base));
        let at = earliest.max(self.link.hold_until);
        if at <= self.now {
            return self.begin();
        }
        let (until, cause) = match &self.link.state {
            // An attempt that comes earlier anyway is not delayed.
            State::Waiting { until, cause } => (at.min(*until), cause.clone()),
            _ => {
                let reason = String::new();
                (
                    at,
                    Cause {
                        code: close::NORMAL,
                        reason,
                    },
                )
            }
        };
        self.wait_until(until, cause);
    }

    /// Asks an open connection for a sign of life, unless one came just now.
    fn probe(&mut self) {
        let State::Open(open) = &self.link.state else { return };
        if self.now.saturating_sub(open.heard) >= self.options.probe_timeout {
            self.ping();
        }
    }

    /// Asks an open connection for a sign of life.
    fn ping(&mut self) {
        if !self.timers.is_set(Timer::Probe) {
            self.lines.push(ClientLine::Ping {});
            self.set_timer(Timer::Probe, self.options.probe_timeout);
        }
    }

    fn suspended(&mut self) {
        self.enter(State::Suspended(if self.link.asleep {
            SuspendReason::Asleep
        } else {
            SuspendReason::Offline
        }));
    }
}

// The application's tokens: before the first connection, when one was refused, and before one expires.
impl ClientSession {
    pub(super) fn want_token(&mut self) {
        if !std::mem::replace(&mut self.link.token_asked, true) {
            debug!("asks the application for a token");
            self.outputs.push_back(Output::TokenWanted);
        }
    }

    pub(super) fn token(&mut self, token: Option<String>) {
        self.link.token_asked = false;
        self.timers.clear(Timer::Token);
        let awaited = self.link.awaits_token();
        match token {
            Some(token) => {
                if self.link.open().is_some() {
                    self.lines.push(ClientLine::Auth { token: token.clone() });
                }
                self.link.token = Some(token);
                if awaited {
                    self.begin();
                }
            }
            None if awaited => self.no_token("the application has no token"),
            // The one in use is good until the server refuses it.
            None => {}
        }
    }

    /// The attempt fails, because the application gives no token.
    pub(super) fn no_token(&mut self, reason: &'static str) {
        debug!("the attempt fails: {reason}");
        self.link.token_asked = false;
        self.wait(Cause {
            code: close::UNAUTHORIZED,
            reason: reason.to_owned(),
        });
    }
}
