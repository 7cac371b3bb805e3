//! The log on stderr, for people or for programs, and the span of a connection.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Dispatch, Span};
use tracing_log::LogTracer;
use tracing_subscriber::EnvFilter;

use crate::{
    AppOptions, LogFormat,
    rate::{Bucket, Rate},
};

/// Writes the log of the whole process to stderr, by [`AppOptions::log`] and [`AppOptions::log_format`]. Call it once,
/// at the start: it has no effect in a process that has a logger already.
pub fn init(options: &AppOptions) {
    let filter = EnvFilter::builder().parse_lossy(&options.log);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let dispatch = match options.log_format {
        LogFormat::Human => Dispatch::new(builder.finish()),
        // One flat object in each line, so that `code` of a close is a field of the line itself.
        LogFormat::Json => Dispatch::new(builder.json().flatten_event(true).finish()),
    };
    if tracing::dispatcher::set_global_default(dispatch).is_ok()
        && log::set_boxed_logger(Box::new(SessionLog(LogTracer::new()))).is_ok()
    {
        // The `log` facade compares each record with this level before it does anything else.
        let most = tracing::level_filters::LevelFilter::current();
        log::set_max_level(tracing_log::AsLog::as_log(&most));
    }
}

/// Passes the records of `talkback-protocol`, which uses the `log` facade, to `tracing` and so into the span of their
/// connection.
///
/// Records of other crates are dropped: tungstenite's have the contents of frames.
struct SessionLog(LogTracer);

impl log::Log for SessionLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("talkback::") && self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

/// A new span for one TCP connection, at the level trace. It has a number that is unique in the process;
/// [`websocket_accepted`] adds the kind.
pub(crate) fn connection_span() -> Span {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    let number = || CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    tracing::trace_span!("connection", number = number(), kind = tracing::field::Empty)
}

/// Records in the span of the current connection what its WebSocket is used for.
pub(crate) fn websocket_accepted(kind: &'static str) {
    Span::current().record("kind", kind);
    tracing::trace!(target: "talkback_server::http", "websocket accepted");
}

/// Limits the rate of log lines for events that clients can cause at will.
pub(crate) struct Throttle {
    rate: Rate,
    lines: Mutex<Bucket>,
    dropped: AtomicU64,
}

impl Throttle {
    /// `per_second` is also the burst.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            rate: Rate::new(per_second.into(), per_second.into()),
            lines: Mutex::new(Bucket::new(Instant::now())),
            dropped: AtomicU64::new(0),
        }
    }

    /// Returns `None` if no line may be written now, else how many lines were dropped since the last one.
    pub(crate) fn admit(&self) -> Option<u64> {
        let taken = self.lines.lock().try_take(&self.rate, Duration::ZERO, Instant::now());
        if taken.is_ok() {
            return Some(self.dropped.swap(0, Ordering::Relaxed));
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use log::Log;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(target: &str) {
        let text = format_args!("text of {target}");
        let level = log::Level::Trace;
        let record = log::Record::builder().target(target).level(level).args(text).build();
        SessionLog(LogTracer::new()).log(&record);
    }

    #[test]
    fn records_of_the_protocol_are_in_the_span_of_their_connection_and_others_are_dropped() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace"))
            .with_writer(move || writer.clone())
            .json()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = connection_span();
            let _entered = span.enter();
            websocket_accepted("session");
            record("talkback::server");
            record("tungstenite::protocol");
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let targets: Vec<_> = lines.iter().map(|line| line["target"].as_str().unwrap()).collect();
        assert_eq!(targets, ["talkback_server::http", "talkback::server"], "{text}");
        for line in &lines {
            assert_eq!(
                (&line["span"]["name"], &line["span"]["kind"]),
                (&"connection".into(), &"session".into())
            );
            assert!(line["span"]["number"].is_u64(), "{line}");
        }
        assert_eq!(lines[1]["fields"]["message"], "text of talkback::server");
    }
}
