//! Waiting for a condition, with a deadline and a description, instead of sleeping.

use std::time::{Duration, Instant};

use thirtyfour::error::WebDriverError;

/// How long a step may take before the scenario gives up. A step takes milliseconds on an idle machine; the rest is for
/// a busy one.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long a condition is not looked at, at least and at most: each look costs the browser time that it takes from what is waited for.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A condition is looked at again after this part of the time that it was waited for so far.
const PART: u32 = 8;

/// Why one step of a scenario failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A condition was still false at the deadline.
    #[error("timed out after {deadline:?}: {description}{}", at_last(last.as_deref()))]
    TimedOut {
        /// The condition, as a sentence.
        description: String,
        /// How long it was given.
        deadline: Duration,
        /// The error of the last check, if it had one.
        last: Option<String>,
    },
    /// The browser refused a command.
    #[error("the browser could not {step}: {source}")]
    Browser {
        /// The command in words.
        step: String,
        /// The driver's answer.
        source: Box<WebDriverError>,
    },
    /// A browser, driver, server or the page is missing or did not start; the text says what to do.
    #[error("{0}")]
    Setup(String),
}

impl StepError {
    /// For `map_err` on a WebDriver command: `step` completes the sentence "the browser could not ...".
    pub(crate) fn browser(step: impl Into<String>) -> impl FnOnce(WebDriverError) -> Self {
        let step = step.into();
        move |source| Self::Browser {
            step,
            source: Box::new(source),
        }
    }
}

/// Looks at `condition` until it is true. An error from it counts as "not yet": elements come and go while a page
/// renders.
///
/// # Errors
/// [`StepError::TimedOut`] with `description` when it is still false after `deadline`.
pub async fn wait_for(
    description: impl Into<String>,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Result<bool, StepError>,
) -> Result<(), StepError> {
    let started = Instant::now();
    loop {
        let last = match condition().await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        if started.elapsed() >= deadline {
            return Err(StepError::TimedOut {
                description: description.into(),
                deadline,
                last,
            });
        }
        let (least, most) = INTERVALS;
        tokio::time::sleep((started.elapsed() / PART).clamp(least, most)).await;
    }
}

fn at_last(last: Option<&str>) -> String {
    last.map(|last| format!("\n  at last: {last}")).unwrap_or_default()
}
