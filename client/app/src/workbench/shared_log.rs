//! The handle of the workbench's log: the view writes to it, its panel draws it.

use std::{
    cell::{Ref, RefCell},
    rc::{Rc, Weak},
};

use yew::Callback;

use super::{log::Log, log_entry::Content, log_view::LogView};
use crate::{animation_frame::FrameRequest, rows::RowOptions};

/// A log and its listeners. Appending stores the row at once and calls the listeners at the next animation frame, so
/// that a burst of messages is drawn once (hoppscotch#1873: over 1000 messages a second froze the page).
pub(crate) struct SharedLog<T>(Rc<Inner<T>>);

struct Inner<T> {
    log: RefCell<Log<T>>,
    listeners: RefCell<Vec<(u64, Callback<()>)>>,
    next_listener: RefCell<u64>,
    flush: RefCell<FrameRequest>,
    /// What its panel showed last, while no panel shows it.
    view: RefCell<LogView>,
}

/// Ends the subscription when dropped.
#[must_use = "the subscription ends when this is dropped"]
pub(crate) struct Subscription(Option<Box<dyn FnOnce()>>);

impl<T: Content + 'static> SharedLog<T> {
    pub(crate) fn new(options: RowOptions) -> Self {
        Self(Rc::new(Inner {
            log: RefCell::new(Log::new(options)),
            listeners: RefCell::default(),
            next_listener: RefCell::default(),
            flush: RefCell::default(),
            view: RefCell::default(),
        }))
    }

    /// Reads the log; the guard must not be held while rows are pushed.
    pub(crate) fn read(&self) -> Ref<'_, Log<T>> {
        self.0.log.borrow()
    }

    /// Appends a row now and draws it with the next frame.
    pub(crate) fn push(&self, content: T) {
        self.0.log.borrow_mut().push(js_sys::Date::now(), content);
        self.schedule();
    }

    /// Changes the log, for instance clears it, and draws it with the next frame.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Log<T>)) {
        change(&mut self.0.log.borrow_mut());
        self.schedule();
    }

    /// Calls back, at most once per frame, after the log has changed.
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

    fn schedule(&self) {
        let inner = Rc::downgrade(&self.0);
        let flush = Callback::from(move |()| Inner::flush(&inner));
        self.0.flush.borrow_mut().request(flush);
    }
}

impl<T> Inner<T> {
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
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl<T> Clone for SharedLog<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// Handles of the same log are equal, so that a component is not drawn again when its parent is.
impl<T> PartialEq for SharedLog<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
