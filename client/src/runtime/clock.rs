use std::{cell::Cell, time::Duration};

/// A clock that never goes back and that goes on while the machine sleeps.
///
/// A page has two clocks. `performance.now()` never goes back, but stands still on some systems while the machine sleeps.
/// `Date.now()` goes on, but follows whoever sets the clock. The one that moved on further is believed each time: a clock set
/// forward looks like a sleep, which costs a question to the server, and one set back like nothing.
pub(super) struct Clock {
    time: Cell<f64>,
    steady: Cell<f64>,
    wall: Cell<f64>,
}

impl Clock {
    /// Starts at zero, with the readings of both clocks in milliseconds.
    pub(super) fn new(steady: f64, wall: f64) -> Self {
        Self {
            time: Cell::new(0.0),
            steady: Cell::new(steady),
            wall: Cell::new(wall),
        }
    }

    /// The time by these readings.
    pub(super) fn read(&self, steady: f64, wall: f64) -> Duration {
        let passed = (steady - self.steady.replace(steady)).max(wall - self.wall.replace(wall));
        self.time.set(self.time.get() + passed.max(0.0));
        Duration::try_from_secs_f64(self.time.get() / 1000.0).unwrap_or_default()
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
}
