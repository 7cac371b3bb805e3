//! The timers of a server's session.

use std::time::Duration;

/// A timer of a server's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The timeout of `hello`.
    Hello,
    /// The next `ping` is due.
    Ping,
    /// The heartbeat timeout: no WebSocket message was received after a `ping`.
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

    /// Takes a timer that is due. Those that close a silent client fire only if the driver `looked` for unread messages
    /// of the transport.
    pub(super) fn take_due(&mut self, now: Duration, looked: bool) -> Option<Timer> {
        let due = ALL.into_iter().find(|&timer| {
            let is_due = self.0[timer as usize].is_some_and(|at| at <= now);
            is_due && (looked || !matches!(timer, Timer::Hello | Timer::Silence))
        })?;
        self.clear(due);
        Some(due)
    }
}
