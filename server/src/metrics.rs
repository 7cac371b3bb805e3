//! Counters since the start, shown by `/healthz` to those who run the server.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number that only grows.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened since the start.
#[derive(Debug, Default, Serialize)]
pub struct Metrics {
    /// WebSockets that were opened.
    pub sockets_opened: Counter,
    /// Sessions that were opened: WebSockets that speak `talkback.v1`.
    pub sessions_opened: Counter,
    /// Sessions that ended.
    #[serde(skip)]
    pub sessions_ended: Counter,
    /// Handshakes refused because the page came from elsewhere; the log names the pages at `debug`.
    pub origins_refused: Counter,
    /// Members closed with 4413 because they did not read fast enough.
    pub closed_too_slow: Counter,
    /// Sockets closed with 4413 because the client took none of what waited for it for too long.
    pub closed_stalled: Counter,
    /// Sockets closed with 4429 because of too many control frames, fragments and empty messages.
    pub closed_too_many_frames: Counter,
    /// HTTP answers replaced by 503 because too many were under way.
    pub answers_refused: Counter,
    /// Sockets closed with 4408 because nothing was heard from the client.
    pub closed_heartbeat_lost: Counter,
    /// Handlers that panicked; their sockets were closed with 1011.
    pub handler_panics: Counter,
    /// Connections answered with 503 because the server was full or they came too fast.
    pub connections_refused: Counter,
    /// Connections answered with 429 because their address had too many or they came too fast from there.
    pub addresses_refused: Counter,
    /// Requests answered with 429 because their address sent too many.
    pub requests_refused: Counter,
    /// Requests answered with 421 because they named a host that is not this server's.
    pub hosts_refused: Counter,
}
