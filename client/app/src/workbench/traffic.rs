//! How much the connection has received and sent, and how much of it in each of the last seconds. Pure.

use std::collections::VecDeque;

/// The seconds that the curve shows.
const RATE_SECONDS: usize = 36;

/// The time between two points of the curve, in milliseconds.
pub(crate) const RATE_STEP_MS: u32 = 1_000;

/// A step that is earlier than this is none: timers are late by some milliseconds, and the next one is not.
const SHORTEST_STEP_MS: f64 = RATE_STEP_MS as f64 * 0.9;

/// The width and the height of the curve, in its own units.
pub(super) const CURVE: (u32, u32) = (72, 14);

/// Messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// The messages of a connection and of those that continue it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) received: Count,
    pub(crate) sent: Count,
    /// Messages a second in both directions, the newest last.
    rates: VecDeque<u64>,
    /// When the newest rate was taken, and the number of messages then.
    step: (f64, u64),
}

impl Traffic {
    /// Counts from a time in milliseconds.
    pub(crate) fn since(now: f64) -> Self {
        Self {
            step: (now, 0),
            ..Self::default()
        }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.received.add(bytes);
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent.add(bytes);
    }

    /// Adds a point to the curve when its step is over. A hidden page has late timers: the rate is that of the time that passed.
    pub(crate) fn tick(&mut self, now: f64) {
        let (before, counted) = self.step;
        let passed = now - before;
        if passed < SHORTEST_STEP_MS {
            return;
        }
        let total = self.received.messages + self.sent.messages;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate far below 2^53, of a positive time"
        )]
        let rate = ((total - counted) as f64 * 1_000.0 / passed + 0.5) as u64;
        self.step = (now, total);
        self.rates.push_back(rate);
        if self.rates.len() > RATE_SECONDS {
            self.rates.pop_front();
        }
    }

    /// Messages a second in the last step.
    pub(crate) fn rate(&self) -> u64 {
        self.rates.back().copied().unwrap_or_default()
    }

    /// The points of an SVG polyline in [`CURVE`], the newest rate at the right and the highest one at the top; empty before there
    /// are two.
    pub(crate) fn curve(&self) -> String {
        let highest = self.rates.iter().copied().max().unwrap_or_default().max(1);
        let (width, height) = (u64::from(CURVE.0), u64::from(CURVE.1));
        let missing = RATE_SECONDS - self.rates.len();
        if self.rates.len() < 2 {
            return String::new();
        }
        // Before it was connected there was nothing.
        let rates = std::iter::repeat_n(&0, missing).chain(&self.rates);
        let points = rates.enumerate().map(|(index, rate)| {
            let x = index as u64 * width / (RATE_SECONDS as u64 - 1);
            let y = height - 1 - rate * (height - 2) / highest;
            format!("{x},{y}")
        });
        points.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_time_that_has_passed() {
        let mut traffic = Traffic::since(0.0);
        for _ in 0..100 {
            traffic.received(10);
        }
        traffic.sent(1);
        traffic.tick(500.0);
        assert_eq!(traffic.rate(), 0, "the step is not over");
        traffic.tick(1_000.0);
        assert_eq!(traffic.rate(), 101);
        for _ in 0..100 {
            traffic.received(10);
        }
        traffic.tick(11_000.0);
        assert_eq!(traffic.rate(), 10, "a late timer");
        assert_eq!(
            (traffic.received, traffic.sent),
            (
                Count {
                    messages: 200,
                    bytes: 2_000
                },
                Count { messages: 1, bytes: 1 }
            )
        );
    }

    #[test]
    fn the_curve_stays_in_its_box_and_its_points_are_bounded() {
        let mut traffic = Traffic::since(0.0);
        traffic.tick(1_000.0);
        assert_eq!(traffic.curve(), "");
        for second in 2..200_u32 {
            for _ in 0..second % 7 {
                traffic.sent(0);
            }
            traffic.tick(f64::from(second) * 1_000.0);
        }
        let curve = traffic.curve();
        let points: Vec<(u32, u32)> = curve
            .split(' ')
            .map(|point| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        assert_eq!(points.len(), RATE_SECONDS);
        assert_eq!((points[0].0, points[RATE_SECONDS - 1].0), (0, CURVE.0));
        assert!(points.iter().all(|point| (1..CURVE.1).contains(&point.1)), "{curve}");
        assert!(
            points.iter().any(|point| point.1 == 1),
            "the highest rate is at the top"
        );
    }
}
