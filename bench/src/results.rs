//! The costs of the loads.

use std::fmt;

use crate::{
    contenders::Contender,
    suite::{Plan, Shape},
};

/// Server CPU of one contender under one load, in microseconds per [unit](Shape::unit), with one value per round.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The contender.
    pub contender: Contender,
    /// The load.
    pub shape: Shape,
    /// The cost in each round, in the order of the rounds.
    pub rounds: Vec<f64>,
    /// The 99th percentile of the delivery time in each round, in milliseconds, sorted; empty for an echo.
    pub p99: Vec<f64>,
}

impl Cost {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median; of two middle values their mean.
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

    /// The range of the values, as a share of the median.
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

pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of values in ascending order, at least one.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The ratio of two servers' costs. The quotient is taken within each round, so that other work of the machine affects
/// both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the rounds' quotients.
    pub median: f64,
    /// The interval that contains the true median with a probability of at least 95 %; `None` with fewer than six
    /// rounds, which are too few for it.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// The ratio from one quotient per round. There must be at least one.
    #[must_use]
    pub fn of(rounds: Vec<f64>) -> Self {
        let sorted = sorted(rounds);
        let interval =
            left_out_at_each_end(sorted.len()).map(|left_out| (sorted[left_out], sorted[sorted.len() - 1 - left_out]));
        Self {
            median: median(&sorted),
            interval,
        }
    }

    /// Whether the first server is faster or slower.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self.interval {
            None => Verdict::TooFewRounds,
            Some((_, high)) if high < 1.0 => Verdict::Faster,
            Some((low, _)) if low > 1.0 => Verdict::Slower,
            Some(_) => Verdict::NoDifference,
        }
    }

    /// Whether the ratio is at most `most`.
    #[must_use]
    pub fn at_most(self, most: f64) -> Bound {
        match self.interval {
            Some((_, high)) if high <= most => Bound::Met,
            Some((low, _)) if low > most => Bound::Missed,
            _ => Bound::Open,
        }
    }
}

/// How many of `values` sorted values to leave out at each end, so that the others span the true median with a
/// probability of at least 95 %: for every distribution each value is below it with a probability of one half.
fn left_out_at_each_end(values: usize) -> Option<usize> {
    const MOST_MISSED: f64 = 0.05;
    // The probability that the median is left_out_at_each_end of the remaining values.
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

/// The comparison of two costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first costs less: the whole interval is below 1.
    Faster,
    /// The first costs more: the whole interval is above 1.
    Slower,
    /// The interval contains 1.
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
    /// The whole interval is within the bound.
    Met,
    /// The whole interval is above the bound.
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
    /// The number of idle connections.
    pub connections: usize,
    /// Resident bytes of the process before the first connection.
    pub before: u64,
    /// Resident bytes of the process with all connections.
    pub with: u64,
}

impl Memory {
    /// Bytes per connection.
    #[must_use]
    pub fn per_connection(self) -> u64 {
        self.with.saturating_sub(self.before) / self.connections as u64
    }
}

/// Whether Talkback held [`HELD`](super::suite::HELD) connections.
#[derive(Clone, Debug)]
pub enum Held {
    /// It held them.
    Yes {
        /// The number of idle connections.
        connections: usize,
        /// The number of server processes; more than one if open files are limited.
        processes: usize,
        /// Resident bytes per connection.
        per_connection: u64,
    },
    /// They were not measured; the text is the reason.
    NotHere(String),
}

/// All results.
#[derive(Clone, Debug)]
pub struct Results {
    /// The duration and number of the rounds.
    pub plan: Plan,
    /// The command line of each contender that was measured.
    pub commands: Vec<(Contender, String)>,
    /// The costs by load, for each load in the order of the contenders.
    pub costs: Vec<Cost>,
    /// Memory with idle connections.
    pub memory: Vec<Memory>,
    /// Memory of sessions that are all in one room, each as another user.
    pub one_room: Memory,
    /// Whether Talkback held the connections.
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

    /// The ratio of two contenders' costs under one load, if both were measured.
    #[must_use]
    pub fn ratio(&self, own: Contender, other: Contender, shape: Shape) -> Option<Ratio> {
        Some(self.cost(own, shape)?.over(self.cost(other, shape)?))
    }

    /// The contenders that were measured, in the order of the tables.
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
    fn the_interval_leaves_out_as_many_values_as_the_table_of_the_sign_test() {
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
            assert_eq!(left_out_at_each_end(values), left_out, "of {values} values");
        }
        assert_eq!(left_out_at_each_end(0), None);
    }

    fn cost(rounds: &[f64]) -> Cost {
        Cost {
            contender: Contender::Talkback,
            shape: Shape::IDLE,
            rounds: rounds.to_vec(),
            p99: Vec::new(),
        }
    }

    /// The slowness of a machine in each round.
    const MACHINE: [f64; 9] = [1.0, 1.9, 1.1, 1.5, 1.0, 2.0, 1.2, 1.7, 1.3];
    /// The noise of the measurement in each round.
    const NOISE: [f64; 9] = [0.99, 1.01, 1.0, 0.98, 1.02, 1.01, 0.99, 1.02, 0.98];

    #[test]
    fn a_difference_smaller_than_that_of_the_rounds_is_found() {
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
    fn one_outlier_of_nine_rounds_changes_no_verdict() {
        let mut own: Vec<_> = MACHINE.iter().map(|machine| machine * 0.9).collect();
        own[4] *= 3.0;
        assert_eq!(cost(&own).over(&cost(&MACHINE)).verdict(), Verdict::Faster);
    }

    #[test]
    fn too_few_rounds_give_no_verdict() {
        let ratio = Ratio::of(vec![0.5; 5]);
        assert_eq!(
            (ratio.verdict(), ratio.at_most(1.0)),
            (Verdict::TooFewRounds, Bound::Open)
        );
        assert_eq!(Ratio::of(vec![0.5; 6]).verdict(), Verdict::Faster);
    }

    #[test]
    fn a_bound_within_the_interval_is_open() {
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
