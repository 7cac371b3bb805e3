//! How many frames a client may send: a bucket that fills at a rate, and may be overdrawn once by as much as it holds.

use std::time::Duration;

use super::ServerConfig;

/// What a client had left of its rate when its connection ended, to go on from with its next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    pub(super) lines: f64,
    pub(super) bytes: f64,
    pub(super) received: f64,
}

#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Duration,
}

/// What is to be done with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may pass.
    Pass,
    /// It is refused, and may come again after this time.
    Wait(Duration),
    /// The client does not wait although it was told to.
    TooMany,
}

impl Rate {
    pub(super) fn new(config: &ServerConfig, now: Duration) -> Self {
        let honest = config.limits.in_flight.saturating_add(config.limits.rooms);
        let burst = f64::from(config.frames_burst.max(honest));
        Self {
            per_second: f64::from(config.frames_per_second),
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// Judges the next frame.
    pub(super) fn take(&mut self, now: Duration) -> Verdict {
        if self.per_second == 0.0 {
            return Verdict::Pass;
        }
        let new = now.saturating_sub(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + new).min(self.burst);
        self.filled = now;
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Verdict::Pass
        } else if self.tokens >= -self.burst {
            // Half full, so that what was refused finds place when it comes again at once.
            Verdict::Wait(Duration::from_secs_f64(
                (self.burst / 2.0 - self.tokens) / self.per_second,
            ))
        } else {
            Verdict::TooMany
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_burst_passes_then_frames_wait_then_the_client_is_too_much() {
        let mut config = ServerConfig {
            frames_per_second: 100,
            frames_burst: 10,
            ..ServerConfig::default()
        };
        config.limits.in_flight = 6;
        config.limits.rooms = 4;
        let start = Duration::from_secs(7);
        let mut rate = Rate::new(&config, start);
        assert!((0..10).all(|_| rate.take(start) == Verdict::Pass));
        assert_eq!(rate.take(start), Verdict::Wait(Duration::from_millis(60)));
        let later = start + Duration::from_millis(60);
        assert!((0..5).all(|_| rate.take(later) == Verdict::Pass));
        assert!((0..10).all(|_| matches!(rate.take(later), Verdict::Wait(_))));
        assert_eq!(rate.take(later), Verdict::TooMany);

        config.limits.rooms = 14;
        let mut honest = Rate::new(&config, start);
        assert!((0..20).all(|_| honest.take(start) == Verdict::Pass));
        config.frames_per_second = 0;
        let mut any = Rate::new(&config, start);
        assert!((0..1000).all(|_| any.take(start) == Verdict::Pass));
    }
}
