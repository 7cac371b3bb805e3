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
    /// Nothing came after a ping.
    Silence,
    /// The token is good no longer.
    Expiry,
    /// The client may send again.
    Pause,
}

const ALL: [Timer; 5] = [Timer::Hello, Timer::Ping, Timer::Silence, Timer::Expiry, Timer::Pause];

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

    /// Takes one whose time has come. That nothing came from the client is known only when the driver `looked`.
    pub(super) fn take_due(&mut self, now: Duration, looked: bool) -> Option<Timer> {
        let due = ALL.into_iter().find(|&timer| {
            let is_due = self.0[timer as usize].is_some_and(|at| at <= now);
            is_due && (looked || !matches!(timer, Timer::Hello | Timer::Silence))
        })?;
        self.clear(due);
        Some(due)
    }
}
