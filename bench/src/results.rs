//! What the loads cost the contenders.

use crate::{
    contenders::Contender,
    suite::{Plan, Shape},
};

/// Server CPU of one contender under one load, in microseconds per message (fan-out: per delivery), one value a round.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Who.
    pub contender: Contender,
    /// Under which load.
    pub shape: Shape,
    /// Sorted values.
    pub sorted: Vec<f64>,
    /// In each round the time in milliseconds within which 99 of 100 deliveries arrived, sorted; empty for an echo.
    pub slowest_percent: Vec<f64>,
}

impl Cost {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    /// The middle value; of two the mean.
    #[must_use]
    pub fn median(&self) -> f64 {
        let upper = self.sorted.len() / 2;
        let lower = (self.sorted.len() - 1) / 2;
        f64::midpoint(self.sorted[lower], self.sorted[upper])
    }

    /// How far the rounds are apart, as a part of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / self.median()
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }
}

/// Memory of one contender with idle connections.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Who.
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
    /// How.
    pub plan: Plan,
    /// CPU, load by load and in each in the order of the contenders.
    pub costs: Vec<Cost>,
    /// Memory.
    pub memory: Vec<Memory>,
    /// Many connections.
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

    /// Those that were measured, in the order of the tables.
    #[must_use]
    pub fn contenders(&self) -> Vec<Contender> {
        let measured = |contender: &Contender| self.costs.iter().any(|cost| cost.contender == *contender);
        Contender::ALL.into_iter().filter(measured).collect()
    }
}
