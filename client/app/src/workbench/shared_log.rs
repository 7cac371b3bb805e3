//! The handle of a tab's log: the view writes to it, its panel draws it. A log is exported without its panel, so that the user may look at
//! another tab or view meanwhile.

use std::{
    cell::{Ref, RefCell},
    rc::{Rc, Weak},
};

use yew::Callback;

use super::{
    log::{Log, share_memory},
    log_entry::LogEntry,
    log_export::{Export, iso_time},
    log_panel::TURN_MS,
    log_view::LogView,
};
use crate::{animation_frame::FrameRequest, browser::files::FileParts};

/// The bytes of one part of an exported file.
const EXPORT_BYTES: usize = 512 << 10;

/// A log and its listeners. Appending stores the row at once and calls the listeners at the next animation frame, so
/// that a burst of messages is drawn once (hoppscotch#1873: over 1000 messages a second froze the page).
#[derive(Clone)]
pub(crate) struct SharedLog(Rc<Inner>);

/// The memory of the logs of all tabs: each may use what the others do not.
#[derive(Clone)]
pub(crate) struct LogMemory(Rc<Memory>);

struct Memory {
    max_bytes: usize,
    logs: RefCell<Vec<Weak<Inner>>>,
}

struct Inner {
    log: RefCell<Log<LogEntry>>,
    memory: LogMemory,
    listeners: RefCell<Vec<(u64, Callback<()>)>>,
    next_listener: RefCell<u64>,
    flush: RefCell<FrameRequest>,
    /// What its panel showed last, while no panel shows it.
    view: RefCell<LogView>,
    export: RefCell<Option<(Export, FileParts)>>,
    /// Goes on with the export.
    export_frame: RefCell<FrameRequest>,
}

/// Ends the subscription when dropped.
#[must_use = "the subscription ends when this is dropped"]
pub(crate) struct Subscription(Option<Box<dyn FnOnce()>>);

impl LogMemory {
    /// Memory of so many bytes, in which the newest row of each log has its place in any case.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Rc::new(Memory {
            max_bytes,
            logs: RefCell::default(),
        }))
    }

    fn logs(&self) -> Vec<Rc<Inner>> {
        self.0.logs.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops what is too much.
    fn settle(&self) {
        let inners = self.logs();
        let mut logs: Vec<_> = inners.iter().map(|inner| inner.log.borrow_mut()).collect();
        let is_over = share_memory(&mut logs, self.0.max_bytes);
        drop(logs);
        if is_over {
            for inner in &inners {
                Inner::schedule(inner);
            }
        }
    }
}

impl SharedLog {
    /// A log of at most so many rows, in this memory.
    pub(crate) fn new(max_rows: usize, memory: &LogMemory) -> Self {
        let log = Self(Rc::new(Inner {
            log: RefCell::new(Log::new(max_rows)),
            memory: memory.clone(),
            listeners: RefCell::default(),
            next_listener: RefCell::default(),
            flush: RefCell::default(),
            view: RefCell::default(),
            export: RefCell::default(),
            export_frame: RefCell::default(),
        }));
        let mut logs = memory.0.logs.borrow_mut();
        logs.retain(|log| log.strong_count() > 0);
        logs.push(Rc::downgrade(&log.0));
        log
    }

    /// Reads the log; the guard must not be held while rows are pushed to any log.
    pub(crate) fn read(&self) -> Ref<'_, Log<LogEntry>> {
        self.0.log.borrow()
    }

    /// Appends a row now and draws it with the next frame.
    pub(crate) fn push(&self, content: LogEntry) {
        self.0.log.borrow_mut().push(js_sys::Date::now(), content);
        self.0.memory.settle();
        Inner::schedule(&self.0);
    }

    /// Changes the log, for instance clears it, and draws it with the next frame.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Log<LogEntry>)) {
        change(&mut self.0.log.borrow_mut());
        Inner::schedule(&self.0);
    }

    /// Calls back, at most once per frame, after the log or its export has changed.
    pub(crate) fn subscribe(&self, listener: Callback<()>) -> Subscription {
        let id = *self.0.next_listener.borrow();
        *self.0.next_listener.borrow_mut() += 1;
        self.0.listeners.borrow_mut().push((id, listener));
        let inner = Rc::downgrade(&self.0);
        Subscription(Some(Box::new(move || {
            if let Some(inner) = inner.upgrade() {
                inner.listeners.borrow_mut().retain(|(other, _)| *other != id);
            }
        })))
    }

    /// The view for the panel that shows the log from now on. The panel gives it back with [`SharedLog::keep_view`].
    pub(crate) fn take_view(&self) -> LogView {
        self.0.view.take()
    }

    /// Keeps the filter and the place for the next panel.
    pub(crate) fn keep_view(&self, view: LogView) {
        self.0.view.replace(view);
    }

    /// Begins to write a file, which is offered to the user when it is done: also when no panel shows the log, or its tab is closed.
    pub(crate) fn export(&self, export: Export) {
        let parts = FileParts::new(export.format.media_type());
        self.0.export.replace(Some((export, parts)));
        Inner::export_on(&self.0);
    }

    /// How much of the file is written, in percent; none while no file is.
    pub(crate) fn exporting(&self) -> Option<u64> {
        self.0.export.borrow().as_ref().map(|(export, _)| export.percent())
    }

    pub(crate) fn cancel_export(&self) {
        self.0.export.take();
    }
}

impl Inner {
    fn schedule(self: &Rc<Self>) {
        let inner = Rc::downgrade(self);
        let flush = Callback::from(move |()| Self::flush(&inner));
        self.flush.borrow_mut().request(flush);
    }

    fn flush(inner: &Weak<Self>) {
        let Some(inner) = inner.upgrade() else { return };
        let pending = inner.flush.take();
        let listeners: Vec<_> = inner
            .listeners
            .borrow()
            .iter()
            .map(|(_, listener)| listener.clone())
            .collect();
        for listener in listeners {
            listener.emit(());
        }
        drop(pending);
    }

    /// Writes parts of the file for a turn, and goes on with the next frame.
    fn export_on(self: &Rc<Self>) {
        let mut running = self.export.borrow_mut();
        let Some((export, parts)) = running.as_mut() else {
            return;
        };
        Self::schedule(self);
        let log = self.log.borrow();
        let end = js_sys::Date::now() + TURN_MS;
        loop {
            let (text, is_last) = export.step(&log, EXPORT_BYTES);
            parts.push(&text);
            if is_last {
                break;
            }
            if js_sys::Date::now() >= end {
                let inner = Rc::clone(self);
                let next = Callback::from(move |()| {
                    let inner = Rc::clone(&inner);
                    let pending = inner.export_frame.take();
                    inner.export_on();
                    drop(pending);
                });
                self.export_frame.borrow_mut().request(next);
                return;
            }
        }
        // Colons are not allowed in file names everywhere.
        let now = iso_time(js_sys::Date::now()).replace(':', "-");
        parts.download(&format!("talkback-{now}.{}", export.format.extension()));
        *running = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// Handles of the same log are equal, so that a component is not drawn again when its parent is.
impl PartialEq for SharedLog {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
