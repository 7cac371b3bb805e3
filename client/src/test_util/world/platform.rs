//! The part of the world that replaces the browser for one client.

use std::{
    any::Any,
    rc::{Rc, Weak},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

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
        for byte in bytes {
            // SplitMix64, so that each run of a test has the same bits.
            let state = self.inner.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.inner.random.set(state);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56).to_le_bytes()[0];
        }
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
        let link = self.inner.network.open(events, self.inner.now.get());
        Some(Box::new(FakeConnection {
            inner: self.inner.clone(),
            link,
        }))
    }
}

struct FakeConnection {
    inner: Rc<Inner>,
    link: u64,
}

impl Connection for FakeConnection {
    fn send(&self, text: String) -> Result<(), String> {
        self.inner.network.to_server(self.link, text, self.inner.now.get());
        Ok(())
    }

    fn close(self: Box<Self>, _: u16, _: &str) {}
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        self.inner.network.close_by_client(self.link, self.inner.now.get());
    }
}
