use std::{any::Any, cell::RefCell, rc::Weak, time::Duration};

use gloo_timers::callback::Timeout;
use js_sys::Date;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Performance, WorkerGlobalScope};

use super::{LocalFuture, Runtime, clock::Clock, lifecycle::Lifecycle};
use crate::{driver::Driver, timer::timeout_millis};

/// The [`Runtime`] of a page or a worker.
pub(crate) struct Browser {
    performance: Option<Performance>,
    clock: Clock,
    timer: RefCell<Option<Timeout>>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let performance = performance();
        let monotonic = performance.as_ref().map_or(0.0, Performance::now);
        Self {
            performance,
            clock: Clock::new(monotonic, Date::now()),
            timer: RefCell::default(),
        }
    }
}

impl Runtime for Browser {
    fn now(&self) -> Duration {
        let monotonic = self.performance.as_ref().map_or(0.0, Performance::now);
        self.clock.read(monotonic, Date::now())
    }

    fn random(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Unexpected: every browser that has WebAssembly has `crypto.getRandomValues`.
            self.warn(
                "talkback: crypto.getRandomValues is missing, Math.random is used instead: use a current browser",
            );
            bytes.fill_with(|| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
                let byte = (js_sys::Math::random() * 256.0) as u8;
                byte
            });
        }
    }

    fn wake_at(&self, time: Duration, driver: &Weak<Driver>) {
        // The driver sets the timer again if it fires too early because the time is beyond the longest timeout.
        let millis = timeout_millis(time.saturating_sub(self.now()));
        let driver = driver.clone();
        let timer = Timeout::new(millis, move || {
            if let Some(driver) = driver.upgrade() {
                driver.tick();
            }
        });
        drop(self.timer.replace(Some(timer)));
    }

    fn spawn(&self, future: LocalFuture<()>) {
        spawn_local(future);
    }

    fn watch(&self, driver: &Weak<Driver>) -> Box<dyn Any> {
        Box::new(Lifecycle::watch(driver))
    }

    fn warn(&self, text: &str) {
        web_sys::console::warn_1(&text.into());
    }
}

fn performance() -> Option<Performance> {
    match web_sys::window() {
        Some(window) => window.performance(),
        None => js_sys::global().dyn_into::<WorkerGlobalScope>().ok()?.performance(),
    }
}
