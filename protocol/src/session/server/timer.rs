//! The one table of everything that happens by time alone.

use std::time::Duration;

/// What a server's session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The client does not say hello.
    Hello,
    /// The client is to be asked for a sign of life.
    Ping,
    /// No frame came for a heartbeat and some grace.
    Silence,
    /// The token is good no longer.
    Expiry,
}

const ALL: [Timer; 4] = [Timer::Hello, Timer::Ping, Timer::Silence, Timer::Expiry];

/// At most one deadline for each [`Timer`].
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Duration>; ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Duration) {
        self.0[timer as usize] = Some(deadline);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
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
