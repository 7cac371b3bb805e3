//! What the server counts: the only counters there are. `/healthz` shows some of them to operators, `/metrics` all
//! (`exposition.rs`).

pub(crate) mod exposition;

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use talkback_protocol::{close, message::code};

use crate::engine::{AppendOutcome, KEY_REUSED};

/// A number that only increases.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// The current number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that increases and decreases.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds a number, which may be negative.
    pub fn add(&self, number: i64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// The current number.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The codes of refusals that are counted one by one; an engine of your own may have others.
pub(crate) const REFUSAL_CODES: [&str; code::ALL.len() + 1] = {
    let mut codes = [KEY_REUSED; code::ALL.len() + 1];
    let mut index = 0;
    while index < code::ALL.len() {
        codes[index] = code::ALL[index];
        index += 1;
    }
    codes
};

/// The close codes that are counted one by one. Clients may send any other one.
pub(crate) const CLOSE_CODES: [u16; 21] = [
    close::NORMAL,
    close::GOING_AWAY,
    close::PROTOCOL_ERROR,
    close::UNSUPPORTED_DATA,
    close::NO_STATUS,
    close::ABNORMAL,
    close::INVALID_PAYLOAD,
    close::POLICY_VIOLATION,
    close::MESSAGE_TOO_BIG,
    close::INTERNAL_ERROR,
    close::SERVICE_RESTART,
    close::TRY_AGAIN_LATER,
    close::BAD_LINE,
    close::UNAUTHORIZED,
    close::FORBIDDEN,
    close::NO_SUCH_ROOM,
    close::HEARTBEAT_LOST,
    close::TOO_SLOW,
    close::WRONG_VERSION,
    close::TOO_MANY,
    close::BAD_GATEWAY,
];

/// A counter for each of some codes, and one for all others.
#[derive(Debug)]
pub struct ByCode<const CODES: usize> {
    counters: [Counter; CODES],
    others: Counter,
}

impl<const CODES: usize> Default for ByCode<CODES> {
    fn default() -> Self {
        Self {
            counters: std::array::from_fn(|_| Counter::default()),
            others: Counter::default(),
        }
    }
}

impl<const CODES: usize> ByCode<CODES> {
    fn add_one<T: PartialEq>(&self, codes: &[T; CODES], code: T) {
        let index = codes.iter().position(|known| *known == code);
        index.map_or(&self.others, |index| &self.counters[index]).add_one();
    }

    /// The counters in the order of the codes.
    #[must_use]
    pub fn known(&self) -> &[Counter; CODES] {
        &self.counters
    }

    /// The counter of all other codes.
    #[must_use]
    pub fn others(&self) -> &Counter {
        &self.others
    }
}

/// The upper bounds of the histogram of append latencies, in microseconds.
pub(crate) const LATENCY_BOUNDS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
];

/// How many durations are in each range, without a lock.
#[derive(Debug, Default)]
pub struct Latencies {
    /// One for each bound, and one for everything above.
    ranges: [Counter; LATENCY_BOUNDS.len() + 1],
    micros: Counter,
}

impl Latencies {
    /// Counts one duration.
    pub fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let range = LATENCY_BOUNDS.partition_point(|bound| *bound < micros);
        self.ranges[range].add_one();
        self.micros.add(micros);
    }

    /// How many durations were counted in each range: one for each bound, and one for everything above.
    #[must_use]
    pub fn ranges(&self) -> &[Counter] {
        &self.ranges
    }

    /// The sum of all durations.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.get())
    }
}

/// What happened since the start, and how much there is now of what has no other place that counts it.
#[derive(Debug, Default, Serialize)]
pub struct Metrics {
    /// TCP connections that are open, not those of operators.
    #[serde(skip)]
    pub connections: Gauge,
    /// WebSockets that were opened.
    pub sockets_opened: Counter,
    /// Sessions that were opened: WebSockets that speak `talkback.v1`.
    pub sessions_opened: Counter,
    /// Sessions that ended.
    #[serde(skip)]
    pub sessions_ended: Counter,
    /// Members of all rooms, plain ones and sessions.
    #[serde(skip)]
    pub members: Gauge,
    /// Messages and withdrawals that were given to the log, by sessions, plain members and over HTTP.
    #[serde(skip)]
    pub messages_received: Counter,
    /// Messages that were given to the sockets of members, once for each member.
    #[serde(skip)]
    pub messages_delivered: Counter,
    /// Messages that the log acknowledged, resent ones included.
    #[serde(skip)]
    pub acks: Counter,
    /// Messages that were refused by the log, or because their address began too many rooms.
    #[serde(skip)]
    pub nacks: ByCode<{ REFUSAL_CODES.len() }>,
    /// Messages whose outcome the log has forgotten.
    #[serde(skip)]
    pub forgotten: Counter,
    /// From giving a message to the log until its answer.
    #[serde(skip)]
    pub append_latency: Latencies,
    /// Rooms whose messages an operator deleted.
    #[serde(skip)]
    pub deleted_rooms: Counter,
    /// Messages that an operator deleted, with their rooms or those of a user.
    #[serde(skip)]
    pub deleted_messages: Counter,
    /// WebSockets that ended, by their close code.
    #[serde(skip)]
    pub closes: ByCode<{ CLOSE_CODES.len() }>,
    /// Handshakes and requests refused because of a foreign origin; the log has the origins of handshakes at `debug`.
    pub origins_refused: Counter,
    /// Members closed with 4413 because their send queue was full.
    pub closed_too_slow: Counter,
    /// Sockets closed with 4413 because the client took less than `min_taken` within `write_timeout`.
    pub closed_stalled: Counter,
    /// Sockets closed with 4429 because of too many control frames, fragments and empty messages.
    pub closed_too_many_frames: Counter,
    /// HTTP answers replaced by 503 because too many bytes of answers were in flight.
    pub answers_refused: Counter,
    /// Sockets closed with 4408 because the client did not answer a ping.
    pub closed_heartbeat_lost: Counter,
    /// Handlers that panicked; their sockets were closed with 1011.
    pub handler_panics: Counter,
    /// Connections answered with 503 because of `max_connections` or `max_connection_rate`.
    pub connections_refused: Counter,
    /// Connections answered with 429 because of the limits of one address.
    pub addresses_refused: Counter,
    /// Requests answered with 429 because of `address_request_rate`.
    pub requests_refused: Counter,
    /// Requests answered with 421 because the server does not answer for their host name.
    pub hosts_refused: Counter,
}

impl Metrics {
    /// Counts the log's answer to a message.
    pub(crate) fn appended(&self, outcome: &AppendOutcome, after: Duration) {
        self.append_latency.observe(after);
        match outcome {
            AppendOutcome::Added(_) | AppendOutcome::Duplicate(_) => self.acks.add_one(),
            AppendOutcome::Refused { refusal, .. } => self.refused(&refusal.code),
            AppendOutcome::Gap { .. } => self.refused(code::GAP),
            AppendOutcome::Conflict { .. } => self.refused(code::CONFLICT),
            AppendOutcome::Forgotten { .. } => self.forgotten.add_one(),
        }
    }

    /// Counts a message that was refused.
    pub(crate) fn refused(&self, code: &str) {
        self.nacks.add_one(&REFUSAL_CODES, code);
    }

    /// Counts a socket that ended.
    pub(crate) fn closed(&self, code: u16) {
        self.closes.add_one(&CLOSE_CODES, code);
    }

    /// Messages that were given to the log and are not answered.
    pub(crate) fn appends_waiting(&self) -> u64 {
        let answered: u64 = self.append_latency.ranges.iter().map(Counter::get).sum();
        self.messages_received.get().saturating_sub(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_is_not_in_the_list_is_counted_with_the_others() {
        let metrics = Metrics::default();
        for code in [1000, 4413, 4413, 3001, 65535] {
            metrics.closed(code);
        }
        let count = |code| metrics.closes.known()[CLOSE_CODES.iter().position(|known| *known == code).unwrap()].get();
        assert_eq!((count(1000), count(4413), count(1001)), (1, 2, 0));
        assert_eq!(metrics.closes.others().get(), 2);
        metrics.refused("busy");
        metrics.refused("of another engine");
        assert_eq!(metrics.nacks.others().get(), 1);
        let mut codes = REFUSAL_CODES.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REFUSAL_CODES.len());
    }

    #[test]
    fn a_latency_is_counted_in_the_first_range_whose_bound_it_does_not_exceed() {
        let latencies = Latencies::default();
        for micros in [0, 50, 51, 1_000, 6_000_000] {
            latencies.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = latencies.ranges().iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], counts[4]), (2, 1, 1));
        assert_eq!(counts[LATENCY_BOUNDS.len()], 1);
        assert_eq!(latencies.sum(), Duration::from_micros(6_001_101));
    }
}
