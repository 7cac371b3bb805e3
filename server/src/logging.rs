//! Logs on stderr, for people or for machines.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::{AppOptions, LogFormat, limits::TokenBucket};

/// Sends the logs of the whole process to stderr, as the configuration says. Call it once, at the start.
pub fn init(config: &AppOptions) {
    let filter = EnvFilter::builder().parse_lossy(&config.log);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Human => logs.init(),
        // One flat object a line, so that `code` of a close is not hidden in a nested one.
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

/// Bounds the lines that somebody outside can cause at will.
pub(crate) struct Throttle {
    lines: Mutex<TokenBucket>,
    dropped: AtomicU64,
}

impl Throttle {
    /// So many lines a second, and as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            lines: Mutex::new(TokenBucket::new(per_second, per_second, Instant::now())),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether a line may be written now, and how many were not since the last one.
    pub(crate) fn admit(&self) -> Option<u64> {
        if self.lines.lock().take(Instant::now()) {
            return Some(self.dropped.swap(0, Ordering::Relaxed));
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        None
    }
}
