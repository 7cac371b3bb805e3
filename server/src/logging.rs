//! Logs on stderr, for people or for machines.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::{
    Config, LogFormat,
    rate::{Bucket, Rate},
};

/// Sends the logs of the whole process to stderr, as the configuration says. Call it once, at the start.
pub fn init(config: &Config) {
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
    rate: Rate,
    lines: Mutex<Bucket>,
    dropped: AtomicU64,
}

impl Throttle {
    /// So many lines a second, and as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            rate: Rate::new(per_second.into(), per_second.into()),
            lines: Mutex::new(Bucket::new(Instant::now())),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether a line may be written now, and how many were not since the last one.
    pub(crate) fn admit(&self) -> Option<u64> {
        let taken = self.lines.lock().try_take(&self.rate, Duration::ZERO, Instant::now());
        if taken.is_ok() {
            return Some(self.dropped.swap(0, Ordering::Relaxed));
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        None
    }
}
