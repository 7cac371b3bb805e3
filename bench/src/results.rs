//! What the loads cost the contenders.

use std::fmt;

use crate::{
    contenders::Contender,
    suite::{Plan, Shape},
};

/// Server CPU of one contender under one load, in microseconds per message (fan-out: per delivery), one value a round.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The contender.
    pub contender: Contender,
    /// The load.
    pub shape: Shape,
    /// The values, in the order of the rounds.
    pub rounds: Vec<f64>,
    /// In each round the time in milliseconds within which 99 of 100 deliveries arrived, sorted; empty for an echo.
    pub slowest_percent: Vec<f64>,
}

impl Cost {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The middle value; of two the mean.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&sorted(self.rounds.clone()))
    }

    /// This cost as a multiple of another, both from the same rounds.
    #[must_use]
    pub fn over(&self, other: &Self) -> Ratio {
        Ratio::of(
            self.rounds
                .iter()
                .zip(&other.rounds)
                .map(|(own, other)| own / other)
                .collect(),
        )
    }

    /// The range of the rounds, as a share of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / self.median()
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of values in ascending order, at least one.
fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// What two servers' costs are to each other: the quotient is taken within each round, so that other work of the
/// machine affects both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The middle of the rounds' quotients.
    pub median: f64,
    /// The interval that has the true median with a probability of at least 95 %; `None` with fewer than six rounds, which cannot
    /// tell one.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// From one quotient a round, at least one.
    #[must_use]
    pub fn of(rounds: Vec<f64>) -> Self {
        let sorted = sorted(rounds);
        let interval = outside(sorted.len()).map(|left_out| (sorted[left_out], sorted[sorted.len() - 1 - left_out]));
        Self {
            median: median(&sorted),
            interval,
        }
    }

    /// What the interval says about the ratio.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self.interval {
            None => Verdict::TooFewRounds,
            Some((_, high)) if high < 1.0 => Verdict::Faster,
            Some((low, _)) if low > 1.0 => Verdict::Slower,
            Some(_) => Verdict::NoDifference,
        }
    }

    /// Whether it is at most `most`.
    #[must_use]
    pub fn at_most(self, most: f64) -> Bound {
        match self.interval {
            Some((_, high)) if high <= most => Bound::Met,
            Some((low, _)) if low > most => Bound::Missed,
            _ => Bound::Open,
        }
    }
}

/// How many of so many sorted values to leave out at each end, so that the others span the true median with a probability of at least
/// 95 %: each value is below it with a probability of one half, whatever the distribution is.
fn outside(values: usize) -> Option<usize> {
    const MOST_MISSED: f64 = 0.05;
    // Of being left or right of everything that is not left out.
    let mut missed = 0.0;
    let mut ways = 1.0;
    let all = 2.0_f64.powi(i32::try_from(values).ok()?);
    let mut left_out = None;
    for below in 0..values.div_ceil(2) {
        missed += 2.0 * ways / all;
        if missed > MOST_MISSED {
            break;
        }
        left_out = Some(below);
        #[expect(clippy::cast_precision_loss, reason = "rounds are few")]
        let next = (values - below) as f64 / (below + 1) as f64;
        ways *= next;
    }
    left_out
}

/// What a ratio of costs says about the first of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes less: the whole interval is below 1.
    Faster,
    /// It takes more: the whole interval is above 1.
    Slower,
    /// The interval has 1 in it.
    NoDifference,
    /// There is no interval.
    TooFewRounds,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no difference seen",
            Self::TooFewRounds => "too few rounds",
        })
    }
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// By the whole interval.
    Met,
    /// By no part of the interval.
    Missed,
    /// The bound is within the interval, or there is none.
    Open,
}

impl From<bool> for Bound {
    fn from(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::Open => "open",
        })
    }
}

/// Memory of one contender with idle connections.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The contender.
    pub contender: Contender,
    /// How many connections are idle.
    pub connections: usize,
    /// Resident bytes of the process without connections.
    pub before: u64,
    /// Resident bytes of the process with them.
    pub with: u64,
}

impl Memory {
    /// Bytes that a connection adds.
    #[must_use]
    pub fn per_connection(self) -> u64 {
        self.with.saturating_sub(self.before) / self.connections as u64
    }
}

/// Whether Talkback held the connections it promises to hold.
#[derive(Clone, Debug)]
pub enum Held {
    /// It did, in so many server processes (one, unless open files are limited).
    Yes {
        /// Idle connections in all.
        connections: usize,
        /// Server processes they were spread over.
        processes: usize,
        /// Resident bytes a connection added.
        per_connection: u64,
    },
    /// This machine does not allow it; the reason.
    NotHere(String),
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Results {
    /// The duration and number of the rounds.
    pub plan: Plan,
    /// The command line of each contender that was measured.
    pub commands: Vec<(Contender, String)>,
    /// CPU, load by load and in each in the order of the contenders.
    pub costs: Vec<Cost>,
    /// Memory with idle connections.
    pub memory: Vec<Memory>,
    /// Memory of sessions that are all in one room, each as another user.
    pub one_room: Memory,
    /// Whether Talkback holds as many connections as it promises.
    pub held: Held,
}

impl Results {
    /// The cost of one contender under one load.
    #[must_use]
    pub fn cost(&self, contender: Contender, shape: Shape) -> Option<&Cost> {
        self.costs
            .iter()
            .find(|cost| cost.contender == contender && cost.shape == shape)
    }

    /// What one contender's cost is to another's under one load, if both were measured.
    #[must_use]
    pub fn ratio(&self, own: Contender, other: Contender, shape: Shape) -> Option<Ratio> {
        Some(self.cost(own, shape)?.over(self.cost(other, shape)?))
    }

    /// Those that were measured, in the order of the tables.
    #[must_use]
    pub fn contenders(&self) -> Vec<Contender> {
        let measured = |contender: &Contender| self.costs.iter().any(|cost| cost.contender == *contender);
        Contender::ALL.into_iter().filter(measured).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_leaves_out_what_the_table_of_the_sign_test_says() {
        // With n values, the k-th smallest and the k-th largest: k = 1, 1, 1, 2, 2, 3, 6, 40 at 95 %.
        let expected = [
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (11, Some(1)),
            (12, Some(2)),
            (20, Some(5)),
            (100, Some(39)),
        ];
        for (values, left_out) in expected {
            assert_eq!(outside(values), left_out, "of {values} values");
        }
        assert_eq!(outside(0), None);
    }

    fn cost(rounds: &[f64]) -> Cost {
        Cost {
            contender: Contender::Talkback,
            shape: Shape::IDLE,
            rounds: rounds.to_vec(),
            slowest_percent: Vec::new(),
        }
    }

    /// The factors of a machine that is twice as slow in some rounds as in others.
    const MACHINE: [f64; 9] = [1.0, 1.9, 1.1, 1.5, 1.0, 2.0, 1.2, 1.7, 1.3];
    /// What the measurement itself adds, in no order.
    const NOISE: [f64; 9] = [0.99, 1.01, 1.0, 0.98, 1.02, 1.01, 0.99, 1.02, 0.98];

    #[test]
    fn a_planted_difference_is_found_though_the_rounds_are_further_apart() {
        for (factor, verdict) in [(0.95, Verdict::Faster), (1.05, Verdict::Slower)] {
            let own: Vec<_> = MACHINE
                .iter()
                .zip(NOISE)
                .map(|(machine, noise)| machine * noise * factor)
                .collect();
            let ratio = cost(&own).over(&cost(&MACHINE));
            assert_eq!(ratio.verdict(), verdict, "{ratio:?}");
            assert!((ratio.median - factor).abs() < 1e-9, "{ratio:?}");
            let (low, high) = ratio.interval.unwrap();
            // The smallest and the largest of nine are left out, and nothing else.
            assert!(
                (low - 0.98 * factor).abs() < 1e-9 && (high - 1.02 * factor).abs() < 1e-9,
                "{ratio:?}"
            );
        }
    }

    #[test]
    fn quotients_are_taken_within_a_round() {
        let ratio = cost(&[1.0, 2.0, 4.0]).over(&cost(&[2.0, 4.0, 1.0]));
        assert!((ratio.median - 0.5).abs() < 1e-9, "{ratio:?}");
    }

    #[test]
    fn equal_servers_show_no_difference() {
        let own: Vec<_> = MACHINE
            .iter()
            .zip(NOISE)
            .map(|(machine, noise)| machine * noise)
            .collect();
        let ratio = cost(&own).over(&cost(&MACHINE));
        assert_eq!(ratio.verdict(), Verdict::NoDifference, "{ratio:?}");
        let same = cost(&MACHINE).over(&cost(&MACHINE));
        assert_eq!(
            (same.verdict(), same.interval),
            (Verdict::NoDifference, Some((1.0, 1.0)))
        );
    }

    #[test]
    fn one_round_that_went_wrong_of_nine_decides_nothing() {
        let mut own: Vec<_> = MACHINE.iter().map(|machine| machine * 0.9).collect();
        own[4] *= 3.0;
        assert_eq!(cost(&own).over(&cost(&MACHINE)).verdict(), Verdict::Faster);
    }

    #[test]
    fn few_rounds_decide_nothing() {
        let ratio = Ratio::of(vec![0.5; 5]);
        assert_eq!(
            (ratio.verdict(), ratio.at_most(1.0)),
            (Verdict::TooFewRounds, Bound::Open)
        );
        assert_eq!(Ratio::of(vec![0.5; 6]).verdict(), Verdict::Faster);
    }

    #[test]
    fn a_bound_within_the_interval_is_neither_met_nor_missed() {
        let ratio = Ratio::of(vec![0.9, 1.0, 1.0, 1.0, 1.0, 1.2]);
        assert_eq!(ratio.at_most(1.2), Bound::Met);
        assert_eq!(ratio.at_most(1.1), Bound::Open);
        assert_eq!(ratio.at_most(0.8), Bound::Missed);
    }

    #[test]
    fn the_median_does_not_depend_on_the_order_of_the_rounds() {
        assert!((cost(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((cost(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert_eq!((cost(&[3.0, 1.0, 2.0]).min(), cost(&[3.0, 1.0, 2.0]).max()), (1.0, 3.0));
    }
}
