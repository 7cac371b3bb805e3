//! The connection: when there is one, when there will be one, and when not.

mod presence;
mod token;

use std::time::Duration;

use super::{
    Cause, ClientSession, Generation, Output, PageError, Status, StopReason,
    backoff::{Backoff, Pause},
    timer::Timer,
};
use crate::{
    ClientKey, ClientLine, SenderId, close,
    message::{Hello, Limits, Welcome},
};

/// Where the connection stands.
#[derive(Debug)]
enum State {
    /// See [`StopReason`].
    Stopped,
    /// See [`SuspendReason`].
    Suspended,
    /// Until [`Timer::Reconnect`].
    Waiting,
    /// A token was asked for, and the connection comes after it.
    AskingToken,
    /// A key was asked for, and the connection comes after it.
    AskingKey,
    /// The transport opens.
    Connecting,
    /// `hello` was sent.
    Greeting,
    /// `welcome` came.
    Open {
        since: Duration,
        heartbeat: Duration,
        limits: Limits,
    },
}

/// The connection and what is remembered between connections.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    status: Status,
    /// The last connection.
    generation: Generation,
    backoff: Backoff,
    /// No connection before this, because the server asked for it.
    hold_until: Duration,
    /// When the last connection was begun.
    begun: Option<Duration>,
    /// When the last frame came.
    heard: Duration,
    offline: bool,
    asleep: bool,
    token: Option<String>,
    /// A token was asked for and has not come.
    token_asked: bool,
    /// The last token was refused, and no session lived since.
    token_refused: bool,
    /// A key was asked for and has not come.
    key_asked: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            status: Status::Stopped(StopReason::NotStarted),
            generation: 0,
            backoff: Backoff::default(),
            hold_until: Duration::ZERO,
            begun: None,
            heard: Duration::ZERO,
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
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Whether the session ended, so that nothing will be sent unless somebody says connect.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.status, Status::Stopped(reason) if *reason != StopReason::NotStarted)
    }

    /// The connection on which frames can be sent, if there is one.
    pub(super) fn connection(&self) -> Option<Generation> {
        matches!(self.state, State::Greeting | State::Open { .. }).then_some(self.generation)
    }

    /// The welcomed connection, if there is one.
    pub(super) fn open(&self) -> Option<(Generation, &Limits)> {
        match &self.state {
            State::Open { limits, .. } => Some((self.generation, limits)),
            _ => None,
        }
    }

    /// The public id of this client, as the server told it.
    pub(super) fn sender(&self) -> Option<SenderId> {
        match &self.status {
            Status::Open { sender, .. } => Some(sender.clone()),
            _ => None,
        }
    }

    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting)
    }

    /// Whether an event of the transport is about the connection that lives.
    pub(super) fn is_live(&self, generation: Generation) -> bool {
        let connected = matches!(self.state, State::Connecting | State::Greeting | State::Open { .. });
        connected && generation == self.generation
    }
}

impl ClientSession {
    pub(super) fn opened(&mut self, generation: Generation) {
        if !self.link.is_live(generation) || !matches!(self.link.state, State::Connecting) {
            return;
        }
        self.timers.clear(Timer::Connect);
        self.set_timer(Timer::Hello, self.config.hello_timeout);
        self.link.state = State::Greeting;
        self.lines.push(ClientLine::Hello(Hello {
            client: self.key,
            token: self.link.token.clone(),
            name: self.config.name.clone(),
        }));
    }

    /// The transport reports the end of a connection.
    pub(super) fn closed(&mut self, generation: Generation, cause: Cause) {
        if !self.link.is_live(generation) {
            return;
        }
        self.forget_connection();
        if close::is_final(cause.code) {
            return self.stop(StopReason::Refused(cause));
        }
        if cause.code == close::UNAUTHORIZED {
            if !self.config.tokens {
                return self.stop(StopReason::TokenNeeded);
            }
            self.link.token = None;
            // The first refusal is the usual end of a token's life; the second one in a row is a mistake that may last.
            if !std::mem::replace(&mut self.link.token_refused, true) && !self.is_held_off() {
                return self.begin();
            }
        }
        self.wait(cause);
    }

    /// The connection is of no use any more, though its transport does not say so.
    pub(super) fn give_up(&mut self, reason: &str) {
        self.drop_connection(close::HEARTBEAT_LOST, reason);
        self.wait(Cause {
            code: close::HEARTBEAT_LOST,
            reason: reason.to_owned(),
        });
    }

    /// The server broke a rule. It may be another one after a pause.
    pub(super) fn violated(&mut self, reason: &str) {
        self.drop_connection(close::BAD_LINE, reason);
        self.wait(Cause {
            code: close::BAD_LINE,
            reason: reason.to_owned(),
        });
    }

    /// The key, or the numbers used with it, are another's too.
    pub(super) fn renew_key(&mut self) {
        let reason = "another client uses the key of this one: a new one is taken";
        self.drop_connection(close::NORMAL, reason);
        let mut progress = Vec::new();
        self.outbox.renumber(&mut progress);
        self.report(progress);
        if !std::mem::replace(&mut self.link.key_asked, true) {
            self.outputs.push_back(Output::KeyWanted);
        }
        // With a pause: a server that says so of every key would be asked without end.
        self.wait(Cause {
            code: close::NORMAL,
            reason: reason.to_owned(),
        });
    }

    pub(super) fn take_key(&mut self, key: ClientKey) {
        if !std::mem::take(&mut self.link.key_asked) {
            return;
        }
        self.key = key;
        // Before anything is sent with it: the numbers begin anew, and belong to this key alone.
        self.changed = self.config.keep;
        self.save_due = true;
        self.save_if_due();
        if matches!(self.link.state, State::AskingKey) {
            self.begin();
        }
    }

    /// The server shows life.
    pub(super) fn heard(&mut self) {
        self.link.heard = self.now;
        self.timers.clear(Timer::Probe);
        if let State::Open { heartbeat, .. } = self.link.state {
            self.set_timer(Timer::Heartbeat, heartbeat.saturating_add(self.config.heartbeat_grace));
        }
    }

    pub(super) fn welcomed(&mut self, welcome: Welcome) {
        let since = match self.link.state {
            State::Open { since, .. } => since,
            _ => self.now,
        };
        self.timers.clear(Timer::Hello);
        self.link.state = State::Open {
            since,
            heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
            limits: welcome.limits,
        };
        match welcome.expires_ms.filter(|_| self.config.tokens) {
            // Early enough for a slow provider, and never in a busy loop.
            Some(expires) => {
                let early = Duration::from_millis(expires).mul_f64(0.8);
                self.set_timer(Timer::Renew, early.max(Duration::from_secs(1)));
            }
            None => self.timers.clear(Timer::Renew),
        }
        self.heard();
        self.set_status(Status::Open {
            user: welcome.user,
            sender: welcome.sender,
        });
    }

    pub(super) fn reconnect(&mut self) {
        if matches!(self.link.state, State::Waiting) {
            self.begin();
        }
    }

    pub(super) fn stop(&mut self, reason: StopReason) {
        self.drop_connection(close::NORMAL, "");
        self.link.state = State::Stopped;
        self.set_status(Status::Stopped(reason));
        let mut progress = Vec::new();
        self.outbox.stop(&mut progress);
        self.report(progress);
        let pages: Vec<_> = self.history.stop().collect();
        for tag in pages {
            let result = Err(PageError::Stopped);
            self.outputs.push_back(Output::Page { tag, result });
        }
        self.save_due = true;
    }

    /// Connects, with a token if the application has some.
    fn begin(&mut self) {
        self.timers.clear(Timer::Reconnect);
        if self.link.key_asked {
            self.link.state = State::AskingKey;
            return self.set_status(Status::Connecting);
        }
        if self.config.tokens && self.link.token.is_none() {
            self.link.state = State::AskingToken;
            self.set_timer(Timer::Token, self.config.token_timeout);
            self.set_status(Status::Connecting);
            return self.want_token();
        }
        self.timers.clear(Timer::Token);
        self.link.generation += 1;
        self.link.begun = Some(self.now);
        self.link.state = State::Connecting;
        self.set_timer(Timer::Connect, self.config.connect_timeout);
        self.set_status(Status::Connecting);
        let generation = self.link.generation;
        self.outputs.push_back(Output::Connect { generation });
    }

    /// Waits for the next attempt, as long as the causes so far call for.
    fn wait(&mut self, cause: Cause) {
        let config = &self.config;
        let Pause { length, asked } =
            self.link
                .backoff
                .fail(config.backoff, config.max_retry_after, &cause, self.random);
        if let Some(asked) = asked {
            self.link.hold_until = self.now.saturating_add(asked);
        }
        // Only now: what the server asked for holds also where the next attempt waits for the page or the network.
        if self.is_held_off() {
            return self.suspended();
        }
        self.wait_until(self.now.saturating_add(length), cause);
    }

    fn wait_until(&mut self, until: Duration, cause: Cause) {
        self.link.state = State::Waiting;
        self.timers.set(Timer::Reconnect, until);
        let attempt = self.link.backoff.attempt;
        self.set_status(Status::Waiting { attempt, until, cause });
    }

    /// Closes the connection from this side, if there is one.
    fn drop_connection(&mut self, code: u16, reason: &str) {
        if self.link.is_live(self.link.generation) {
            self.outputs.push_back(Output::Disconnect {
                generation: self.link.generation,
                code,
                reason: close::fit_reason(reason).to_owned(),
            });
        }
        self.forget_connection();
    }

    /// Forgets everything that belonged to the connection alone.
    fn forget_connection(&mut self) {
        if let State::Open { since, .. } = self.link.state
            && self.now.saturating_sub(since) >= self.config.backoff.reset_after
        {
            self.link.backoff.reset();
            self.link.token_refused = false;
        }
        // The caller says what comes next; there is nothing to close any more.
        self.link.state = State::Waiting;
        self.timers.end_connection();
        self.lines.clear();
        self.rooms.disconnected();
        self.outbox.rewind();
        self.history.disconnected();
    }

    pub(super) fn set_timer(&mut self, timer: Timer, after: Duration) {
        self.timers.set(timer, self.now.saturating_add(after));
    }

    fn set_status(&mut self, status: Status) {
        if self.link.status != status {
            self.link.status = status.clone();
            self.outputs.push_back(Output::Status(status));
        }
    }
}
