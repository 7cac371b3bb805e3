//! The timers of a client's session.

use std::time::Duration;

use super::trace::trace;
use crate::message::Millis;

/// Each fires when its deadline passes and nothing has cleared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The application gave no token in time.
    Token,
    /// The connection did not open in time.
    Connect,
    /// The server did not send `welcome` in time.
    Hello,
    /// The pause between attempts is over.
    Reconnect,
    /// Nothing came from the server for its heartbeat and the grace period.
    Heartbeat,
    /// Nothing came from the server after the page or the network came back.
    Probe,
    /// The server answered none of the open requests in time.
    Answer,
    /// The token is about to expire.
    Renew,
    /// A pause that the server asked for is over: joins, publishes or history go on.
    Retry,
    /// A message expires.
    Expire,
    /// Changes are due to be stored.
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

/// In whole milliseconds, rounded down. A number of 64 bits, because printing one of 128, as `Duration::as_millis` has it,
/// would cost a page a kilobyte.
pub(super) fn millis(time: Duration) -> Millis {
    parts(time, time.subsec_millis())
}

/// In whole milliseconds, rounded up.
pub(super) fn millis_up(time: Duration) -> Millis {
    parts(time, time.subsec_nanos().div_ceil(1_000_000))
}

fn parts(time: Duration, rest: u32) -> Millis {
    time.as_secs().saturating_mul(1_000).saturating_add(rest.into())
}

/// At most one deadline for each [`Timer`].
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Duration>; ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Duration) {
        if self.0[timer as usize].replace(deadline) != Some(deadline) {
            trace!("timer {timer:?} set to {} ms", millis(deadline));
        }
    }

    /// Sets the deadline, unless it is earlier already.
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

    /// The deadline.
    pub(super) fn at(&self, timer: Timer) -> Option<Duration> {
        self.0[timer as usize]
    }

    /// Clears those of the connection that ended and of the next attempt.
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

    /// Clears and returns one whose deadline has passed.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Timer> {
        let due = ALL
            .into_iter()
            .find(|&timer| self.0[timer as usize].is_some_and(|at| at <= now))?;
        self.clear(due);
        Some(due)
    }
}
