//! The rate of a client, as token buckets. Everything that was read is served, so a bucket can be in debt; the session
//! does not read until the debt is paid.

use std::time::Duration;

use super::ServerOptions;
use crate::ClientLine;

/// The longest pause of a session before it checks the debt again.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// With a debt that needs longer than this, signals and requests (`history`, `find`) are refused. They need no order, so they
/// do not have to wait for a backlog.
const MAX_BEHIND: Duration = Duration::from_secs(1);

/// The rate of everything received is at least this many times the rate of lines.
const RECEIVED_PER_LINE: f64 = 4.0;

/// The lines that a join, `direct` or `find` counts for, because a join and the leave after it are sent to all members of the
/// room, and a search may look at all their names.
const JOIN_LINES: u32 = 8;

/// The tokens of a client when its connection ended. Its next connection starts with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    lines: f64,
    bytes: f64,
    received: f64,
}

impl Allowance {
    /// The smaller value for each bucket, for a client with two ended connections.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        Self {
            lines: self.lines.min(other.lines),
            bytes: self.bytes.min(other.bytes),
            received: self.received.min(other.received),
        }
    }
}

/// A token bucket: `per_second` tokens on average, `burst` at once. A rate of 0 is no limit.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
}

impl Bucket {
    fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            tokens: burst,
        }
    }

    /// The tokens after some time.
    fn filled(&self, time: Duration) -> f64 {
        (self.tokens + time.as_secs_f64() * self.per_second).min(self.burst)
    }

    fn fill(&mut self, time: Duration) {
        self.tokens = self.filled(time);
    }

    fn take(&mut self, amount: usize) {
        if self.per_second > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "no text has 2^52 bytes")]
            let amount = amount as f64;
            self.tokens -= amount;
        }
    }

    /// The time until the debt is paid.
    fn behind(&self) -> Duration {
        if self.tokens < 0.0 {
            Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or(Duration::MAX)
        } else {
            Duration::ZERO
        }
    }
}

#[derive(Debug)]
pub(super) struct Rate {
    /// Lines of known kinds.
    lines: Bucket,
    /// Bytes of texts.
    bytes: Bucket,
    /// Everything: all lines, WebSocket messages, control frames.
    received: Bucket,
    filled: Duration,
}

impl Rate {
    pub(super) fn new(config: &ServerOptions, now: Duration) -> Self {
        let limits = &config.limits;
        let joins = limits.rooms.saturating_add(config.direct.into());
        let needed = limits.in_flight.saturating_add(joins.saturating_mul(JOIN_LINES));
        let lines = f64::from(limits.lines_per_second);
        let burst = f64::from(limits.lines_burst.max(needed));
        let received = match limits.lines_per_second {
            0 => 0.0,
            _ => f64::from(config.received_per_second).max(lines * RECEIVED_PER_LINE),
        };
        let received_burst = f64::from(config.received_burst).max(burst * RECEIVED_PER_LINE);
        Self {
            lines: Bucket::new(lines, burst),
            bytes: Bucket::new(f64::from(limits.bytes_per_second), f64::from(limits.bytes_burst)),
            received: Bucket::new(received, received_burst),
            filled: now,
        }
    }

    /// Lets the buckets fill up to this moment.
    pub(super) fn fill(&mut self, now: Duration) {
        let time = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        for bucket in [&mut self.lines, &mut self.bytes, &mut self.received] {
            bucket.fill(time);
        }
    }

    /// Continues with the tokens of an earlier connection and those since its end, at most a full bucket.
    pub(super) fn go_on(&mut self, allowance: Allowance, ago: Duration) {
        for (bucket, tokens) in [
            (&mut self.lines, allowance.lines),
            (&mut self.bytes, allowance.bytes),
            (&mut self.received, allowance.received),
        ] {
            let used = bucket.burst - bucket.tokens;
            bucket.tokens = tokens;
            bucket.fill(ago);
            bucket.tokens -= used;
        }
    }

    pub(super) fn allowance(&self, now: Duration) -> Allowance {
        let time = now.saturating_sub(self.filled);
        Allowance {
            lines: self.lines.filled(time),
            bytes: self.bytes.filled(time),
            received: self.received.filled(time),
        }
    }

    /// Counts everything received. Returns false above the bound.
    pub(super) fn receive(&mut self, amount: usize) -> bool {
        self.received.take(amount);
        self.received.tokens >= 0.0
    }

    pub(super) fn take_bytes(&mut self, bytes: usize) {
        self.bytes.take(bytes);
    }

    pub(super) fn take_line(&mut self, line: &ClientLine) {
        let is_large = matches!(line, ClientLine::Join(_) | ClientLine::Direct(_) | ClientLine::Find(_));
        self.lines.take(if is_large { JOIN_LINES as usize } else { 1 });
    }

    /// The `retry_after` of a signal or a request, if it is refused now.
    pub(super) fn refused_for(&self) -> Option<Duration> {
        let behind = self.behind();
        (behind > MAX_BEHIND).then_some(behind)
    }

    /// The time to pause reading, if there is a debt.
    pub(super) fn pause(&self) -> Option<Duration> {
        let behind = self.behind();
        // At least a millisecond, the resolution of some clocks, so that the debt is paid when the timer fires.
        (!behind.is_zero()).then(|| behind.max(Duration::from_millis(1)).min(MAX_PAUSE))
    }

    fn behind(&self) -> Duration {
        self.lines.behind().max(self.bytes.behind())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{RoomName, message::Join};

    const START: Duration = Duration::from_secs(7);

    fn join() -> ClientLine {
        ClientLine::Join(Join {
            room: RoomName::parse("lobby").unwrap(),
            since: None,
            history: None,
        })
    }

    fn config() -> ServerOptions {
        let mut config = ServerOptions {
            received_per_second: 1_000,
            received_burst: 2_000,
            ..ServerOptions::default()
        };
        let limits = &mut config.limits;
        (limits.lines_per_second, limits.lines_burst) = (100, 10);
        (limits.bytes_per_second, limits.bytes_burst) = (1_000, 5_000);
        (limits.in_flight, limits.rooms) = (6, 0);
        config
    }

    #[test]
    fn a_burst_is_free_then_the_debt_of_lines_or_bytes_is_the_pause() {
        let mut rate = Rate::new(&config(), START);
        (0..10).for_each(|_| rate.take_line(&ClientLine::Ping {}));
        rate.take_bytes(5_000);
        assert_eq!(rate.pause(), None);
        (0..30).for_each(|_| rate.take_line(&ClientLine::Ping {}));
        assert_eq!(rate.pause(), Some(Duration::from_millis(300)));
        rate.take_bytes(500);
        assert_eq!(rate.pause(), Some(Duration::from_millis(500)));
        rate.take_bytes(5_000);
        assert_eq!(rate.pause(), Some(MAX_PAUSE), "and then it looks again");
        assert_eq!(rate.refused_for(), Some(Duration::from_millis(5_500)));
        rate.fill(START + Duration::from_millis(4_500));
        assert_eq!(rate.refused_for(), None);
        rate.fill(START + Duration::from_millis(5_500));
        assert_eq!(rate.pause(), None);
    }

    #[test]
    fn a_quiet_time_fills_a_bucket_to_its_burst_and_no_further() {
        let mut rate = Rate::new(&config(), START);
        rate.fill(START + Duration::from_secs(3_600));
        assert_eq!(rate.allowance(START), Rate::new(&config(), START).allowance(START));
        rate.fill(START);
        (0..11).for_each(|_| rate.take_line(&ClientLine::Ping {}));
        assert!(rate.pause().is_some());
    }

    #[test]
    fn a_join_costs_eight_lines() {
        let mut rate = Rate::new(&config(), START);
        rate.take_line(&join());
        assert_eq!(rate.pause(), None);
        rate.take_line(&join());
        assert_eq!(rate.pause(), Some(Duration::from_millis(60)), "16 lines of 10");
    }

    #[test]
    fn a_new_connection_goes_on_where_the_last_one_ended() {
        let mut first = Rate::new(&config(), START);
        (0..60).for_each(|_| first.take_line(&ClientLine::Ping {}));
        let mut second = Rate::new(&config(), START);
        second.take_line(&ClientLine::Ping {});
        second.go_on(first.allowance(START), Duration::from_millis(200));
        assert_eq!(second.pause(), Some(Duration::from_millis(310)));
        second.go_on(first.allowance(START), Duration::from_secs(3_600));
        second.fill(START + Duration::from_secs(3_600));
        assert_eq!(second.pause(), None);
    }

    #[test]
    fn a_full_window_and_all_joins_are_always_within_the_burst() {
        let mut config = config();
        config.limits.rooms = 14;
        let mut rate = Rate::new(&config, START);
        (0..6).for_each(|_| rate.take_line(&ClientLine::Ping {}));
        (0..14).for_each(|_| rate.take_line(&join()));
        assert_eq!(rate.pause(), None, "a full window, and all rooms joined again");
        rate.take_line(&ClientLine::Ping {});
        assert!(rate.pause().is_some());
        config.limits.lines_burst = 3_000;
        let mut rate = Rate::new(&config, START);
        assert!((0..12_000).all(|_| rate.receive(1)), "four times the burst of lines");
        assert!(!rate.receive(1));
    }

    #[test]
    fn everything_received_has_its_own_bound_unless_lines_are_not_limited() {
        let mut rate = Rate::new(&config(), START);
        assert!(rate.receive(2_000));
        rate.fill(START + Duration::from_secs(1));
        assert!(rate.receive(1_000));
        assert!(!rate.receive(1));
        let mut config = config();
        (config.limits.lines_per_second, config.limits.bytes_per_second) = (0, 0);
        let mut any = Rate::new(&config, START);
        (0..1_000).for_each(|_| any.take_line(&ClientLine::Ping {}));
        any.take_bytes(1 << 30);
        assert!(any.receive(1 << 20));
        assert_eq!(any.pause(), None);
    }
}
