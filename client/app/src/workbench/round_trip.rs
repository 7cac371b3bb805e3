//! How long sent texts take to come back. Pure.
//!
//! Browsers do not show pings, so the round trip is measured where the server echoes: from the time when a text is given to the browser to the
//! time when a text with the same content arrives. It includes what waits in the browser's buffer and in the server.

use std::collections::VecDeque;

/// The sent texts that may still come back, at most: the newest ones.
const MAX_WAITING: usize = 32;

/// Longer texts are not measured: they would be kept in memory until they come back.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// The newest round trips, of which the percentiles are.
const MAX_SAMPLES: usize = 200;

/// The texts that may come back, and the newest round trips.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoundTrips {
    /// Each with the time when it was sent, the oldest first.
    waiting: VecDeque<(String, f64)>,
    /// In milliseconds, the newest last.
    samples: VecDeque<u32>,
}

/// Half of the round trips take at most `p50` milliseconds, 95 of 100 at most `p95`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: u32,
    pub(crate) p95: u32,
}

impl RoundTrips {
    pub(crate) fn sent(&mut self, text: &str, now: f64) {
        if text.len() > MAX_TEXT_BYTES {
            return;
        }
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((text.to_owned(), now));
    }

    pub(crate) fn received(&mut self, text: &str, now: f64) {
        let Some(index) = self.waiting.iter().position(|(sent, _)| sent == text) else {
            return;
        };
        if let Some((_, sent_at)) = self.waiting.remove(index) {
            if self.samples.len() == MAX_SAMPLES {
                self.samples.pop_front();
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a clock that was set back gives 0"
            )]
            self.samples.push_back((now - sent_at) as u32);
        }
    }

    /// None before the first round trip.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        // One after the other, because there are few: the sort of the standard library would cost the page a kilobyte.
        let mut sorted = Vec::with_capacity(self.samples.len());
        for &sample in &self.samples {
            sorted.insert(sorted.partition_point(|&other| other < sample), sample);
        }
        let of_100 = |percent: usize| {
            sorted
                .get((sorted.len() * percent).div_ceil(100).checked_sub(1)?)
                .copied()
        };
        Some(Percentiles {
            p50: of_100(50)?,
            p95: of_100(95)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentiles_are_of_texts_that_came_back_unchanged() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.percentiles(), None);
        trips.sent("a", 0.0);
        trips.received("b", 1.0);
        assert_eq!(trips.percentiles(), None, "another text is no answer");
        trips.received("a", 4.0);
        trips.received("a", 9.0);
        assert_eq!(trips.percentiles(), Some(Percentiles { p50: 4, p95: 4 }), "once");
        for ms in 1..=100 {
            trips.sent("a", 0.0);
            trips.received("a", f64::from(ms));
        }
        assert_eq!(trips.percentiles(), Some(Percentiles { p50: 50, p95: 95 }));
    }

    #[test]
    fn texts_and_samples_are_bounded_and_the_oldest_of_equal_texts_is_answered_first() {
        let mut trips = RoundTrips::default();
        trips.sent(&"x".repeat(MAX_TEXT_BYTES + 1), 0.0);
        assert!(trips.waiting.is_empty());
        for time in 0..100 {
            trips.sent("same", f64::from(time));
        }
        assert_eq!(trips.waiting.len(), MAX_WAITING);
        trips.received("same", 100.0);
        assert_eq!(trips.percentiles(), Some(Percentiles { p50: 32, p95: 32 }));
        for _ in 0..1_000 {
            trips.sent("x", 0.0);
            trips.received("x", 0.0);
        }
        assert_eq!(trips.samples.len(), MAX_SAMPLES);
    }
}
