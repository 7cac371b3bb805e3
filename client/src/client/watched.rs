use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::waiters::{Waiter, Waiters};

/// A value that others watch: each sees the newest, and may miss one that was overtaken.
pub(crate) struct Watched<T> {
    value: RefCell<T>,
    changes: Cell<u64>,
    over: Cell<bool>,
    watchers: Waiters,
}

impl<T: Clone> Watched<T> {
    pub(crate) fn new(value: T) -> Rc<Self> {
        Rc::new(Self {
            value: RefCell::new(value),
            changes: Cell::new(1),
            over: Cell::new(false),
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

    /// No further changes; the streams end after the last one.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.watchers.wake();
    }
}

/// The current value first, then each change; of changes that come faster than they are read, the newest. Ends with its source.
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
        if self.watched.over.get() {
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
