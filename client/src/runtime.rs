//! What the driver needs of the world beside a transport: time, chance, tasks, and the events of the page.

mod browser;
mod clock;
mod lifecycle;

use std::{any::Any, future::Future, pin::Pin, rc::Weak, time::Duration};

use crate::driver::Driver;

pub(crate) use browser::Browser;

/// A future that stays on its thread.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The world of one driver.
pub(crate) trait Runtime {
    /// Time since some fixed moment. It never goes back and goes on while the machine sleeps.
    fn now(&self) -> Duration;

    /// Uniform random bits that nobody can guess.
    fn random(&self, bytes: &mut [u8]);

    /// Calls [`Driver::tick`] at this time, instead of at any time asked for before.
    fn wake_at(&self, time: Duration, driver: &Weak<Driver>);

    /// Runs a future to its end.
    fn spawn(&self, future: LocalFuture<()>);

    /// Tells the driver about the page and the network until the value is dropped.
    fn watch(&self, driver: &Weak<Driver>) -> Box<dyn Any>;

    /// Tells a developer about something that went wrong and needs no handling.
    fn warn(&self, text: &str);
}
