use std::{cell::Cell, time::Duration};

/// A monotonic clock that includes the time during which the machine sleeps.
///
/// A page has two clocks. `performance.now()` is monotonic, but on some systems it stops while the machine sleeps.
/// `Date.now()` continues, but changes when the system clock is set. This clock advances by the larger of both
/// differences: a system clock that is set forward looks like a sleep, after which the session probes the connection;
/// one that is set back has no effect.
///
/// Browsers round both, by up to a tenth of a second. Differences between consecutive readings would add up these
/// roundings, so both clocks are measured from one reference, which is renewed when they differ by more than any
/// rounding: after a sleep, or after the system clock was set.
pub(super) struct Clock {
    time: Cell<f64>,
    /// The reference: the time and the readings of both clocks.
    reference: Cell<[f64; 3]>,
}

/// More than the roundings of browsers, in milliseconds.
const MAX_ROUNDING_MS: f64 = 1_000.0;

impl Clock {
    /// Starts at zero, with the readings of both clocks in milliseconds.
    pub(super) fn new(monotonic: f64, wall: f64) -> Self {
        Self {
            time: Cell::new(0.0),
            reference: Cell::new([0.0, monotonic, wall]),
        }
    }

    /// The time since [`Clock::new`], given new readings of both clocks in milliseconds.
    pub(super) fn read(&self, monotonic: f64, wall: f64) -> Duration {
        let [time, monotonic_then, wall_then] = self.reference.get();
        let (by_monotonic, by_wall) = (monotonic - monotonic_then, wall - wall_then);
        let time = self.time.get().max(time + by_monotonic.max(by_wall));
        self.time.set(time);
        if (by_monotonic - by_wall).abs() > MAX_ROUNDING_MS {
            self.reference.set([time, monotonic, wall]);
        }
        Duration::try_from_secs_f64(time / 1000.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_includes_sleep_and_never_goes_back() {
        let clock = Clock::new(100.0, 1_000_000.0);
        let read = |monotonic, wall| clock.read(monotonic, wall).as_millis();
        assert_eq!(read(150.0, 1_000_050.0), 50);
        assert_eq!(
            read(160.0, 1_600_060.0),
            600_060,
            "the machine slept and the monotonic clock stopped"
        );
        assert_eq!(read(170.0, 0.0), 600_070, "the system clock was set back");
        assert_eq!(read(170.0, 0.0), 600_070);
        assert_eq!(read(160.0, 0.0), 600_070, "a monotonic clock that goes back");
        assert_eq!(read(161.0, 1.0), 600_071);
    }

    #[test]
    fn frequent_readings_do_not_add_up_the_roundings_of_browsers() {
        for (monotonic_ms, wall_ms, reads_per_second) in
            [(0.1, 1.0, 5_000), (100.0, 100.0, 1_000), (0.005, 1.0, 20_000)]
        {
            let rounded = |time: f64, to: f64| (time / to).floor() * to;
            let clock = Clock::new(0.0, 7_000.0);
            let mut now = Duration::ZERO;
            for reading in 0..30 * reads_per_second {
                let time = f64::from(reading) * 1_000.0 / f64::from(reads_per_second);
                // The roundings of the two clocks are not aligned.
                now = clock.read(
                    rounded(time, monotonic_ms),
                    rounded(time + 7_000.4 * wall_ms, wall_ms) - 7_000.0 * wall_ms + 7_000.0,
                );
            }
            assert!(
                (29_800..=30_200).contains(&now.as_millis()),
                "{now:?} with {monotonic_ms}, {wall_ms}"
            );
        }
    }
}
