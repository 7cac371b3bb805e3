use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::waiters::{Waiter, Waiters};

/// A value with change notification: each watcher sees the newest value and may miss values in between.
pub(crate) struct Watched<T> {
    value: RefCell<T>,
    changes: Cell<u64>,
    is_ended: Cell<bool>,
    watchers: Waiters,
}

impl<T: Clone> Watched<T> {
    pub(crate) fn new(value: T) -> Rc<Self> {
        Rc::new(Self {
            value: RefCell::new(value),
            changes: Cell::new(1),
            is_ended: Cell::new(false),
            watchers: Waiters::default(),
        })
    }

    pub(crate) fn get(&self) -> T {
        self.value.borrow().clone()
    }

    pub(crate) fn set(&self, value: T) {
        self.value.replace(value);
        self.changes.set(self.changes.get() + 1);
        self.watchers.wake();
    }

    /// Ends the streams after the last change.
    pub(crate) fn end(&self) {
        self.is_ended.set(true);
        self.watchers.wake();
    }
}

/// A `Stream` of the current value and its changes. If it changes faster than the stream is read, only the newest value
/// is yielded. Ends when the client ends.
///
/// # Cancel safety
/// Polling it is cancel safe.
pub struct Changes<T> {
    watched: Rc<Watched<T>>,
    seen: u64,
    waiter: Waiter,
}

impl<T> Changes<T> {
    pub(crate) fn new(watched: Rc<Watched<T>>) -> Self {
        Self {
            watched,
            seen: 0,
            waiter: Waiter::default(),
        }
    }
}

impl<T: Clone> Stream for Changes<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let changes = self.watched.changes.get();
        if self.seen != changes {
            self.seen = changes;
            return Poll::Ready(Some(self.watched.get()));
        }
        if self.watched.is_ended.get() {
            return Poll::Ready(None);
        }
        self.watched.watchers.wait(&self.waiter, context);
        Poll::Pending
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Changes").field(&self.watched.get()).finish()
    }
}
