//! The one table of everything that happens by time alone.

use std::time::Duration;

/// What a server's session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// `hello` has not come.
    Hello,
    /// The next `ping` is due.
    Ping,
    /// No WebSocket message came after a `ping`.
    Silence,
    /// The token expires.
    Expiry,
    /// The end of a pause: the client may be read again.
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

    /// Takes a timer that is due. Those that find the client silent go off only when the driver `looked` at what the
    /// transport has.
    pub(super) fn take_due(&mut self, now: Duration, looked: bool) -> Option<Timer> {
        let due = ALL.into_iter().find(|&timer| {
            let is_due = self.0[timer as usize].is_some_and(|at| at <= now);
            is_due && (looked || !matches!(timer, Timer::Hello | Timer::Silence))
        })?;
        self.clear(due);
        Some(due)
    }
}
