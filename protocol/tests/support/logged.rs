//! What the sessions of this thread, and so of one test, log.

use std::{cell::RefCell, sync::Once};

use log::{Level, LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct Collector {
    target: &'static str,
}

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        assert_eq!(record.target(), self.target);
        LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
    }

    fn flush(&self) {}
}

/// Collects lines from now on, which must all have this target.
pub(crate) fn collect(target: &'static str) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_boxed_logger(Box::new(Collector { target })).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// The lines since the last call, with their levels.
pub(crate) fn take() -> Vec<(Level, String)> {
    LINES.take()
}
