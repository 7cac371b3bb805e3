//! Counters since the start, which `/healthz` shows to operators.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number that only increases.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The current number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of events since the start.
#[derive(Debug, Default, Serialize)]
pub struct Metrics {
    /// WebSockets that were opened.
    pub sockets_opened: Counter,
    /// Sessions that were opened: WebSockets that speak `talkback.v1`.
    pub sessions_opened: Counter,
    /// Sessions that ended.
    #[serde(skip)]
    pub sessions_ended: Counter,
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
