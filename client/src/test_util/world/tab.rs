//! The storage that the consecutive pages of a tab share.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use talkback_protocol::message::Millis;

use super::{Inner, MemoryTexts};
use crate::{
    runtime::LocalFuture,
    store::{Lock, Storage, Texts},
    waiters::{Waiter, Waiters},
};

/// The `sessionStorage` of a tab, and the locks that its pages hold.
#[derive(Default)]
pub(super) struct Tab {
    pub(super) texts: MemoryTexts,
    locked: RefCell<BTreeSet<String>>,
    /// Wait for a lock.
    waiting: Waiters,
}

impl Tab {
    fn take_lock(&self, name: &str) -> bool {
        self.locked.borrow_mut().insert(name.to_owned())
    }
}

impl Texts for Rc<Inner> {
    fn names(&self) -> Vec<String> {
        self.tab.texts.names()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.tab.texts.get(name)
    }

    fn set(&self, name: &str, text: &str) -> Result<(), String> {
        self.tab.texts.set(name, text)
    }

    fn remove(&self, name: &str) {
        self.tab.texts.remove(name);
    }
}

impl Storage for Rc<Inner> {
    fn wall_clock(&self) -> Millis {
        u64::try_from(self.now.get().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self, name: &str, timeout: Option<Duration>) -> Box<dyn Lock> {
        Box::new(FakeLock {
            held: Rc::new(Cell::new(self.tab.take_lock(name))),
            name: name.to_owned(),
            until: timeout.map(|timeout| self.now.get() + timeout),
            inner: self.clone(),
        })
    }
}

struct FakeLock {
    inner: Rc<Inner>,
    name: String,
    held: Rc<Cell<bool>>,
    until: Option<Duration>,
}

impl Lock for FakeLock {
    fn granted(&self) -> LocalFuture<bool> {
        let (inner, name, held, until) = (self.inner.clone(), self.name.clone(), self.held.clone(), self.until);
        let (waiter, id) = (Waiter::default(), inner.id());
        Box::pin(poll_fn(move |context| {
            if !held.get() {
                held.set(inner.tab.take_lock(&name));
            }
            if held.get() || until.is_some_and(|until| inner.now.get() >= until) {
                return Poll::Ready(held.get());
            }
            inner.tab.waiting.wait(&waiter, context);
            if let Some(until) = until {
                inner.wake_at(id, until, context.waker().clone());
            }
            Poll::Pending
        }))
    }
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        if self.held.get() {
            self.inner.tab.locked.borrow_mut().remove(&self.name);
            self.inner.tab.waiting.wake();
        }
    }
}
