//! How long to wait before the next attempt.

use std::time::Duration;

use super::{BackoffOptions, Cause};
use crate::close;

/// Counts failed attempts in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pub(super) attempt: u32,
}

/// A pause before the next attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) length: Duration,
    /// The part of it that the server asked for. Only the user cuts it short.
    pub(super) asked: Option<Duration>,
}

impl Pause {
    /// What was asked for, and a random time up to `bound`.
    fn new(asked: Option<Duration>, bound: Duration, random: u64) -> Self {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let jitter = (u128::from(bound) * u128::from(random)) >> 64;
        let jitter = Duration::from_nanos(u64::try_from(jitter).unwrap_or(u64::MAX));
        Self {
            length: asked.unwrap_or_default().saturating_add(jitter),
            asked,
        }
    }
}

impl Backoff {
    /// Counts a failure, and returns how long to wait. With full jitter: a random time up to the bound, so that clients
    /// that failed at the same time do not reconnect at the same time.
    pub(super) fn fail(
        &mut self,
        options: BackoffOptions,
        max_retry_after: Duration,
        cause: &Cause,
        random: u64,
    ) -> Pause {
        let doublings = self.attempt.min(31);
        self.attempt = self.attempt.saturating_add(1);
        let bound = options.base.saturating_mul(1 << doublings).min(options.cap);
        let asked = match close::retry_after(&cause.reason) {
            Some(pause) => Some(pause.min(max_retry_after)),
            // A client that did too much must not reconnect at once by chance.
            None if cause.code == close::TOO_MANY => Some(options.base),
            None => None,
        };
        Pause::new(asked, bound, random)
    }

    /// How long to wait after a server that restarts closed a welcomed session. It is no failure: another server may
    /// take the session at once, and a client that several restarting servers close in a row does not wait longer for each.
    pub(super) fn restart(options: BackoffOptions, max_retry_after: Duration, reason: &str, random: u64) -> Pause {
        let asked = close::retry_after(reason).map(|pause| pause.min(max_retry_after));
        Pause::new(asked, options.base.min(options.cap), random)
    }

    /// A session lasted: see [`BackoffOptions::reset_after`].
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn cause(code: u16, reason: &str) -> Cause {
        Cause {
            code,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_the_wait_is_anywhere_below() {
        let options = BackoffOptions::default();
        let mut backoff = Backoff::default();
        let mut wait = |random| {
            backoff
                .fail(options, Duration::MAX, &cause(1006, ""), random)
                .length
                .as_millis()
        };
        let bounds: Vec<_> = (0..8).map(|_| wait(u64::MAX)).collect();
        assert_eq!(bounds, [499, 999, 1999, 3999, 7999, 15999, 19999, 19999]);
        assert_eq!(wait(0), 0);
        assert_eq!(wait(u64::MAX / 2), 9999);
        backoff.attempt = u32::MAX;
        backoff.fail(options, Duration::MAX, &cause(1006, ""), 0);
        backoff.reset();
        assert_eq!(
            backoff
                .fail(options, Duration::MAX, &cause(1006, ""), u64::MAX)
                .length
                .as_millis(),
            499
        );
    }

    #[test]
    fn a_restart_waits_for_what_was_asked_and_up_to_the_base_however_often_it_happens() {
        let options = BackoffOptions::default();
        let pause = |reason, random| Backoff::restart(options, Duration::from_secs(300), reason, random);
        assert_eq!(pause("", u64::MAX).length.as_millis(), 499);
        assert_eq!(pause("", 0).length, Duration::ZERO);
        let asked = pause(r#"{"retry_after_ms":400000}"#, 0);
        assert_eq!(asked.asked, Some(Duration::from_secs(300)));
        assert_eq!(asked.length, Duration::from_secs(300));
    }

    #[test]
    fn the_server_steers_the_pause_up_to_a_limit() {
        let options = BackoffOptions::default();
        let max = Duration::from_secs(300);
        let pause = |cause| Backoff::default().fail(options, max, &cause, 0);
        assert_eq!(
            pause(cause(1012, r#"{"retry_after_ms":2000}"#)).asked,
            Some(Duration::from_secs(2))
        );
        assert_eq!(pause(cause(1013, r#"{"retry_after_ms":99999999}"#)).length, max);
        assert_eq!(pause(cause(1013, "busy")).asked, None);
        assert_eq!(pause(cause(4429, "")).length, options.base);
    }
}
