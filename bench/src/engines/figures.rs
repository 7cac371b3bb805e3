//! The values of all rounds by name, and the file that keeps them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::results::{median, sorted};

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Figures {
    /// The machine and the day of the measurement.
    pub machine: String,
    /// The value of each round, in the order of the rounds.
    pub values: BTreeMap<String, Vec<f64>>,
}

/// How figures are named: the stack, the load and the unit.
pub mod name {
    use super::super::{CROWD, stack::Kind};

    /// Messages or deliveries a second.
    pub const PER_SECOND: &str = "per second";
    /// CPU time of all servers for each message, delivery or join, in microseconds.
    pub const SERVER_CPU: &str = "server us";
    /// The same of Redis.
    pub const REDIS_CPU: &str = "redis us";
    /// Resident memory of the server for each session, in bytes.
    pub const BYTES: &str = "bytes";
    /// Half of the delays are at most this, in milliseconds.
    pub const P50: &str = "p50 ms";
    /// 99 of 100 delays are at most this, in milliseconds.
    pub const P99: &str = "p99 ms";
    /// Deliveries that must arrive.
    pub const EXPECTED: &str = "expected";
    /// Deliveries that have not arrived.
    pub const LOST: &str = "lost";
    /// The load of delays of deliveries.
    pub const DELAYS: &str = "delays";
    /// The load of many messages at once.
    pub const BURST: &str = "burst";
    /// The load of joins.
    pub const JOINS: &str = "joins";
    /// With what the figures of engines against bare loops begin.
    pub const BARE: &str = "bare: ";

    /// The load of as many acknowledgements as possible.
    #[must_use]
    pub fn acks(sessions: usize, rooms: usize) -> String {
        format!("acks of {sessions} sessions in {rooms} rooms")
    }

    /// The load of as many deliveries as possible.
    #[must_use]
    pub fn deliveries(in_flight: u64) -> String {
        format!("deliveries of {in_flight} at a time")
    }

    /// The load of timed acknowledgements.
    #[must_use]
    pub fn ack_delays(beside_crowd: bool) -> String {
        if beside_crowd {
            format!("ack delays beside {CROWD} members")
        } else {
            "ack delays alone".to_owned()
        }
    }

    /// The name of a figure of a stack.
    pub(crate) fn of(kind: Kind, load: &str, figure: &str) -> String {
        format!("{}: {load}: {figure}", kind.name())
    }
}

impl Figures {
    /// No figures yet.
    #[must_use]
    pub fn new(machine: String) -> Self {
        Self {
            machine,
            values: BTreeMap::new(),
        }
    }

    /// Reads [`Figures::text`].
    ///
    /// # Errors
    /// The text is something else.
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("these are no figures of `cargo xtask bench --engines`")
    }

    /// The text of the file.
    ///
    /// # Errors
    /// A value is not finite.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Adds the value of a round.
    pub fn add(&mut self, name: &str, value: f64) {
        // More digits than that are noise.
        let value = (value * 1e4).round() / 1e4;
        self.values.entry(name.to_owned()).or_default().push(value);
    }

    /// Removes all figures whose name begins with this.
    pub fn forget(&mut self, start: &str) {
        self.values.retain(|name, _| !name.starts_with(start));
    }

    /// The values of a figure; empty if it was not measured.
    #[must_use]
    pub fn rounds(&self, name: &str) -> &[f64] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The median of a figure.
    ///
    /// # Errors
    /// It was not measured.
    pub fn median(&self, name: &str) -> Result<f64> {
        let rounds = self.rounds(name);
        anyhow::ensure!(
            !rounds.is_empty(),
            "{name:?} was not measured: run `cargo xtask bench --engines`"
        );
        Ok(median(&sorted(rounds.to_vec())))
    }
}
