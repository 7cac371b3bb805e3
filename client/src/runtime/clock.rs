use std::{cell::Cell, time::Duration};

/// A clock that never goes back and that goes on while the machine sleeps.
///
/// A page has two clocks. `performance.now()` never goes back, but stands still on some systems while the machine sleeps.
/// `Date.now()` goes on, but follows whoever sets the clock. The one that moved on further is believed: a clock set
/// forward looks like a sleep, which costs a question to the server, and one set back like nothing.
///
/// Browsers round both, by up to a tenth of a second, so neither is followed from reading to reading, where each rounding would
/// count: both are measured from one moment, until they differ by more than any rounding, which is a sleep or a clock that was set.
pub(super) struct Clock {
    time: Cell<f64>,
    /// Since when the clocks agree: the time and their readings then.
    since: Cell<[f64; 3]>,
}

/// More than browsers round by, in milliseconds.
const DISAGREEMENT_MS: f64 = 1_000.0;

impl Clock {
    /// Starts at zero, with the readings of both clocks in milliseconds.
    pub(super) fn new(steady: f64, wall: f64) -> Self {
        Self {
            time: Cell::new(0.0),
            since: Cell::new([0.0, steady, wall]),
        }
    }

    /// The time by these readings.
    pub(super) fn read(&self, steady: f64, wall: f64) -> Duration {
        let [time, steady_then, wall_then] = self.since.get();
        let (by_steady, by_wall) = (steady - steady_then, wall - wall_then);
        let time = self.time.get().max(time + by_steady.max(by_wall));
        self.time.set(time);
        if (by_steady - by_wall).abs() > DISAGREEMENT_MS {
            self.since.set([time, steady, wall]);
        }
        Duration::try_from_secs_f64(time / 1000.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_through_sleep_and_never_goes_back() {
        let clock = Clock::new(100.0, 1_000_000.0);
        let read = |steady, wall| clock.read(steady, wall).as_millis();
        assert_eq!(read(150.0, 1_000_050.0), 50);
        assert_eq!(
            read(160.0, 1_600_060.0),
            600_060,
            "asleep, with a steady clock that stood still"
        );
        assert_eq!(read(170.0, 0.0), 600_070, "somebody set the clock back");
        assert_eq!(read(170.0, 0.0), 600_070);
        assert_eq!(read(160.0, 0.0), 600_070, "a steady clock that is not");
        assert_eq!(read(161.0, 1.0), 600_071);
    }

    #[test]
    fn a_clock_that_is_read_often_runs_no_faster_however_browsers_round() {
        for (steady_ms, wall_ms, reads_per_second) in [(0.1, 1.0, 5_000), (100.0, 100.0, 1_000), (0.005, 1.0, 20_000)] {
            let rounded = |time: f64, to: f64| (time / to).floor() * to;
            let clock = Clock::new(0.0, 7_000.0);
            let mut now = Duration::ZERO;
            for reading in 0..30 * reads_per_second {
                let time = f64::from(reading) * 1_000.0 / f64::from(reads_per_second);
                // The two do not begin at the same moment.
                now = clock.read(
                    rounded(time, steady_ms),
                    rounded(time + 7_000.4 * wall_ms, wall_ms) - 7_000.0 * wall_ms + 7_000.0,
                );
            }
            assert!(
                (29_800..=30_200).contains(&now.as_millis()),
                "{now:?} with {steady_ms}, {wall_ms}"
            );
        }
    }
}
