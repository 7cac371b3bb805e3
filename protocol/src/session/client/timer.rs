//! The one table of everything that happens by time alone.

use std::time::Duration;

use super::trace::trace;

/// What a client's session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The application does not answer with a token.
    Token,
    /// The connection does not open.
    Connect,
    /// The server does not say welcome.
    Hello,
    /// The pause between attempts is over.
    Reconnect,
    /// No frame came for the server's heartbeat and some grace.
    Heartbeat,
    /// No frame came after the page or the network came back.
    Probe,
    /// Requests stay without any answer.
    Answer,
    /// The token is about to expire.
    Renew,
    /// A pause that the server asked for is over: joins, publishes or history go on.
    Retry,
    /// A message has waited too long.
    Expire,
    /// Changes are to be stored.
    Save,
}

const ALL: [Timer; 11] = [
    Timer::Token,
    Timer::Connect,
    Timer::Hello,
    Timer::Reconnect,
    Timer::Heartbeat,
    Timer::Probe,
    Timer::Answer,
    Timer::Renew,
    Timer::Retry,
    Timer::Expire,
    Timer::Save,
];

/// At most one deadline for each [`Timer`].
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Duration>; ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Duration) {
        if self.0[timer as usize].replace(deadline) != Some(deadline) {
            trace!("timer {timer:?} set to {} ms", deadline.as_millis());
        }
    }

    /// Sets it unless it is to go off earlier anyway.
    pub(super) fn set_earlier(&mut self, timer: Timer, deadline: Duration) {
        let earlier = self.at(timer).map_or(deadline, |set| set.min(deadline));
        self.set(timer, earlier);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// When it is to go off.
    pub(super) fn at(&self, timer: Timer) -> Option<Duration> {
        self.0[timer as usize]
    }

    /// Clears those that are about the connection that just ended, and about the next one.
    pub(super) fn end_connection(&mut self) {
        for timer in ALL {
            if !matches!(timer, Timer::Expire | Timer::Save) {
                self.clear(timer);
            }
        }
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes one whose time has come.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Timer> {
        let due = ALL
            .into_iter()
            .find(|&timer| self.0[timer as usize].is_some_and(|at| at <= now))?;
        self.clear(due);
        Some(due)
    }
}
