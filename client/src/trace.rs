//! The trace of a client (feature `trace`): what its session decides, through the `log` crate with the target
//! `talkback::client`.
//!
//! | level | lines |
//! |---|---|
//! | debug | changes of the connection's state with their causes, resends, refusals, the stored outbox, events |
//! | trace | timers |
//!
//! No line has a message, a user name, a token, a key or the name of a room: a room is a number. The guide in
//! `CONTRIBUTING.md` reads the trace of a reconnection.
//!
//! An application installs any logger, or [`log_to_console`] for the browser's console. While none is installed, a line
//! costs one relaxed load; without the feature it is not compiled.

pub use log::{LevelFilter, SetLoggerError};
use log::{Log, Metadata, Record};

/// The beginning of the targets that [`log_to_console`] shows.
const TARGETS: &str = "talkback::";

/// Writes the trace of every client of this page or worker to the browser's console, up to a level. Lines of other
/// crates are left out.
///
/// A line has the time (UTC, milliseconds), its level and its target. Browsers show lines of the level debug in the
/// console's default view, and those of the level trace with its filter for verbose or debug lines.
///
/// Call it before the first client is built, to see its beginning. Another target than a browser has no console, and
/// nothing is written there.
///
/// # Errors
/// A logger is installed already.
///
/// ```no_run
/// use talkback_client::trace::{LevelFilter, log_to_console};
///
/// # fn main() -> Result<(), talkback_client::trace::SetLoggerError> {
/// log_to_console(LevelFilter::Debug)?;
/// # Ok(()) }
/// ```
pub fn log_to_console(max_level: LevelFilter) -> Result<(), SetLoggerError> {
    log::set_logger(&Console)?;
    log::set_max_level(max_level);
    Ok(())
}

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        cfg!(target_family = "wasm") && metadata.target().starts_with(TARGETS)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time = js_sys::Date::new_0().to_iso_string();
        console_log::log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!(
                    "{time} {} {}: {}",
                    record.level(),
                    record.target(),
                    record.args()
                ))
                .build(),
        );
    }

    fn flush(&self) {}
}
