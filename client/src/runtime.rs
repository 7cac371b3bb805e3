//! What the driver needs beside a transport: the time, random bits, tasks, a timer, and the events of the page.

mod browser;
mod clock;
mod lifecycle;

use std::{any::Any, future::Future, pin::Pin, rc::Weak, time::Duration};

use crate::driver::Driver;

pub(crate) use browser::Browser;

/// A future that stays on its thread.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The environment of one driver: the browser's, or that of a test.
pub(crate) trait Runtime {
    /// The time since a fixed moment. Monotonic, and it includes the time during which the machine sleeps.
    fn now(&self) -> Duration;

    /// Fills the slice with cryptographically secure random bits.
    fn random(&self, bytes: &mut [u8]);

    /// Calls [`Driver::tick`] at this time. Replaces the time of an earlier call.
    fn wake_at(&self, time: Duration, driver: &Weak<Driver>);

    /// Starts a task that runs a future to its end.
    fn spawn(&self, future: LocalFuture<()>);

    /// Calls [`Driver::page`] with the events of the page and the network, until the value is dropped.
    fn watch(&self, driver: &Weak<Driver>) -> Box<dyn Any>;

    /// Writes a warning for developers, to the browser's console.
    fn warn(&self, text: &str);
}
