//! The part of the world that replaces the browser for one client.

use std::{
    any::Any,
    rc::{Rc, Weak},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use talkback_protocol::test_util::ConnectionId;

use super::{Inner, Task, Woken};
use crate::{
    driver::Driver,
    runtime::{LocalFuture, Runtime},
    transport::{Connection, Events, Transport},
};

/// The runtime and the transport of one client.
pub(super) struct FakePlatform {
    pub(super) inner: Rc<Inner>,
    pub(super) id: u64,
}

impl Runtime for FakePlatform {
    fn now(&self) -> Duration {
        self.inner.now.get()
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut random = self.inner.random.borrow_mut();
        bytes.fill_with(|| random.bits().to_be_bytes()[0]);
    }

    fn wake_at(&self, time: Duration, driver: &Weak<Driver>) {
        self.inner.timers.borrow_mut().insert(self.id, (time, driver.clone()));
    }

    fn spawn(&self, future: LocalFuture<()>) {
        self.inner.tasks.borrow_mut().push(Task {
            future,
            woken: Arc::new(Woken(AtomicBool::new(true))),
        });
    }

    fn watch(&self, driver: &Weak<Driver>) -> Box<dyn Any> {
        let mut watchers = self.inner.watchers.borrow_mut();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(driver.clone());
        Box::new(())
    }

    fn warn(&self, text: &str) {
        self.inner.warnings.borrow_mut().push(text.to_owned());
    }
}

impl Transport for FakePlatform {
    fn open(&self, events: Events) -> Option<Box<dyn Connection>> {
        let id = self.inner.connect(events);
        Some(Box::new(FakeConnection {
            inner: self.inner.clone(),
            id,
        }))
    }
}

struct FakeConnection {
    inner: Rc<Inner>,
    id: ConnectionId,
}

impl Connection for FakeConnection {
    fn send(&self, text: String) -> Result<(), String> {
        self.inner.server.borrow_mut().send(self.id, text, self.inner.now.get());
        Ok(())
    }

    fn close(self: Box<Self>, _: u16, _: &str) {}
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        self.inner.links.borrow_mut().remove(&self.id);
        let mut server = self.inner.server.borrow_mut();
        server.close_by_client(self.id, self.inner.now.get());
    }
}
