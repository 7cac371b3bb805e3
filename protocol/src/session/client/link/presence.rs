//! Whether the page is awake and the machine has a network, and what "connect now" does.

use std::time::Duration;

use super::{
    super::{Cause, ClientSession, Status, SuspendReason, timer::Timer},
    State,
};
use crate::{ClientLine, close};

impl ClientSession {
    pub(in super::super) fn online(&mut self) {
        self.link.offline = false;
        self.come_back();
    }

    pub(in super::super) fn awake(&mut self) {
        self.link.asleep = false;
        self.come_back();
    }

    pub(in super::super) fn offline(&mut self) {
        self.link.offline = true;
        match self.link.state {
            // It may be a local server, or a browser that is wrong about the network: as long as it works, it is kept.
            State::Open { .. } | State::Stopped | State::Suspended => {}
            _ => {
                self.drop_connection(close::NORMAL, "offline");
                self.suspended();
            }
        }
    }

    pub(in super::super) fn suspend(&mut self) {
        self.link.asleep = true;
        if !matches!(self.link.state, State::Stopped) {
            self.drop_connection(close::NORMAL, "the page sleeps");
            self.suspended();
        }
        self.save_due = true;
    }

    pub(in super::super) fn connect_by_hand(&mut self) {
        self.link.offline = false;
        self.link.asleep = false;
        self.link.hold_until = Duration::ZERO;
        match self.link.state {
            State::Stopped | State::Suspended | State::Waiting => self.begin(),
            State::Open { .. } => self.probe(),
            State::AskingToken | State::AskingKey | State::Connecting | State::Greeting => {}
        }
    }

    /// The page or the network is back.
    fn come_back(&mut self) {
        match self.link.state {
            State::Open { .. } => self.probe(),
            State::Suspended | State::Waiting if self.link.offline || self.link.asleep => {}
            State::Suspended | State::Waiting => {
                // A network that flickers must not become a storm of attempts.
                let earliest = self
                    .link
                    .begun
                    .map_or(Duration::ZERO, |begun| begun.saturating_add(self.config.backoff.base));
                let at = earliest.max(self.link.hold_until);
                if at <= self.now {
                    self.begin();
                } else {
                    // An attempt that comes earlier anyway is not put off.
                    let until = self.timers.at(Timer::Reconnect).map_or(at, |set| set.min(at));
                    self.wait_until(until, self.last_cause());
                }
            }
            _ => {}
        }
    }

    /// Asks for a sign of life, unless one came just now.
    fn probe(&mut self) {
        let silent = self.now.saturating_sub(self.link.heard) >= self.config.probe_timeout;
        if silent && !self.timers.is_set(Timer::Probe) {
            self.lines.push(ClientLine::Ping {});
            self.set_timer(Timer::Probe, self.config.probe_timeout);
        }
    }

    fn last_cause(&self) -> Cause {
        match &self.link.status {
            Status::Waiting { cause, .. } => cause.clone(),
            _ => Cause {
                code: close::NORMAL,
                reason: String::new(),
            },
        }
    }

    pub(super) fn is_held_off(&self) -> bool {
        self.link.offline || self.link.asleep
    }

    pub(super) fn suspended(&mut self) {
        self.link.state = State::Suspended;
        let reason = if self.link.asleep {
            SuspendReason::Asleep
        } else {
            SuspendReason::Offline
        };
        self.set_status(Status::Suspended(reason));
    }
}
