//! Browsers that run many scenarios, one after the other.
//!
//! Each scenario has servers of its own on ports of their own, and so origins of its own: it sees no storage, cache or
//! lock of another, and the page sets no cookies. So a used browser is as good as a new one, which takes a second of a
//! processor to start and another to load its first page. There are as many browsers of an engine as scenarios run at
//! the same time.

use std::sync::{Mutex, PoisonError};

use crate::{Browser, DEADLINE, Engine, StepError};

/// The browsers without a scenario. They end with this process, see [`crate::driver::Program`].
static IDLE: Mutex<Vec<Browser>> = Mutex::new(Vec::new());

/// An idle browser of this engine, or a new one; one that records requests, or one that does not.
///
/// # Errors
/// As [`Engine::start`].
pub(crate) async fn take(engine: Engine, records_requests: bool) -> Result<Browser, StepError> {
    while let Some(mut browser) = idle(engine, records_requests) {
        if browser.forget_logs().await.is_ok() {
            return Ok(browser);
        }
        browser.quit().await;
    }
    engine.start(records_requests).await
}

fn idle(engine: Engine, records_requests: bool) -> Option<Browser> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_such = |browser: &Browser| browser.engine() == engine && browser.records_requests() == records_requests;
    let index = idle.iter().rposition(is_such)?;
    Some(idle.remove(index))
}

/// Keeps a browser for the next scenario, after one that succeeded: a failure leaves a browser in an unknown state. A
/// browser that refuses a command, or does not answer in time, ends.
pub(crate) async fn give_back(browser: Browser) {
    // Seldom, a driver on a busy machine does not answer for a minute.
    let cleared = tokio::time::timeout(DEADLINE, browser.close_pages()).await;
    if matches!(cleared, Ok(Ok(()))) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(browser);
    } else {
        browser.quit().await;
    }
}
