//! The figures of one run of a scenario, and comparing them with its bounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The distribution of a set of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The number of durations.
    pub count: u64,
    /// How many of them are complete. The others are the time that an unanswered message has waited so far.
    pub ended: u64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// The distribution of `times`; `ended` of them are complete.
    #[must_use]
    pub fn of(mut times: Vec<Duration>, ended: u64) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            // The nearest rank: the smallest time that is not below `percent` of 100.
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let time = times.get(rank - 1).copied().unwrap_or_default();
            rounded(time.as_secs_f64() * 1e3)
        };
        let count = times.len() as u64;
        Self {
            count,
            ended: if ended == 0 { count } else { ended },
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// Rounds to thousandths, because further digits are noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The measurements of the legitimate clients since their last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Round trips of messages in a room that is not attacked.
    pub other: Spread,
    /// Round trips of messages in the attacked room, if a room is attacked.
    pub same: Option<Spread>,
    /// Connections of members that the server closed.
    pub closed: u64,
    /// Messages, joins and handshakes of members that the server refused.
    pub refused: u64,
    /// The time that visitors took to connect and publish in a new room.
    pub visits: Spread,
    /// Visitors that were refused or not answered within 10 s.
    pub visits_refused: u64,
    /// How late this process sent its messages because other processes used its core.
    pub late: Spread,
}

/// The attacker's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttackReport {
    /// Connections that were begun.
    pub attempts: u64,
    /// WebSockets that were opened, and plain requests that were answered with 200.
    pub opened: u64,
    /// Connections that were refused, with another status or without an answer.
    pub refused: u64,
    /// WebSockets that the server closed.
    pub closed: u64,
    /// Bytes that were written.
    pub written: u64,
    /// Bytes that were read.
    pub read: u64,
    /// The units of the attack: requests, messages, frames, joins or connections.
    pub units: u64,
    /// Figures that only this scenario has, by name.
    pub facts: BTreeMap<String, u64>,
}

/// One run of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The name of the scenario.
    pub scenario: String,
    /// The size of the attack, in the scenario's unit.
    pub size: usize,
    /// The size as a multiple of the scenario's first one.
    pub factor: usize,
    /// The load average of the machine over the minute before.
    pub load: f64,
    /// The legitimate clients' report before the attack.
    pub idle: ClientReport,
    /// The legitimate clients' report during the attack.
    pub attacked: ClientReport,
    /// The attacker's report.
    pub done: AttackReport,
    /// The server's share of its core during the attack.
    pub cpu: f64,
    /// The share of the time in which the server was ready to run while another process used its core. The attack does
    /// not cause it.
    pub waited: f64,
    /// The server's resident memory before the attack, in bytes.
    pub memory_before: u64,
    /// The server's peak resident memory, in bytes.
    pub memory: u64,
    /// The maximum of the bytes that waited in the kernel, in both directions of the server's sockets.
    pub kernel: u64,
    /// Connections of the attacker that the server still had open at the end.
    pub held: u64,
}

impl Run {
    /// A fact of the attacker, or one that every run has.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<u64> {
        match name {
            "held" => Some(self.held),
            "closed" => Some(self.done.closed),
            _ => self.done.facts.get(name).copied(),
        }
    }
}

/// The bounds of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// The 99th percentile of round trips in another room, in milliseconds.
    pub other: f64,
    /// The 99th percentile of round trips in the attacked room, in milliseconds.
    pub same: f64,
    /// Peak resident memory in bytes.
    pub memory: u64,
    /// Bytes that wait in the kernel.
    pub kernel: u64,
    /// The server's share of its core; 1 or more is no bound.
    pub cpu: f64,
    /// The number of visitors that may be refused.
    pub visits_refused: u64,
    /// Facts and their maxima.
    pub facts: Vec<(&'static str, u64)>,
}

/// Which figures are compared with their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// All of them.
    All,
    /// Only those that do not depend on how busy the machine is: that the attack did something, that no legitimate
    /// client was closed or refused, and the facts.
    Untimed,
}

/// A bound that was exceeded, or a run without enough data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundExceeded(pub String);

impl fmt::Display for BoundExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The smallest number of messages of which a 99th percentile is taken.
const MIN_MESSAGES: u64 = 50;

/// The bounds that a run exceeds; empty if it is within all of them.
#[must_use]
pub fn judge(run: &Run, bounds: &Bounds, judging: Judging) -> Vec<BoundExceeded> {
    let mut exceeded = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            exceeded.push(BoundExceeded(what));
        }
    };
    expect(
        run.done.units > 0,
        "the attack did not happen: the attacker did nothing".to_owned(),
    );
    let same = run
        .attacked
        .same
        .iter()
        .map(|spread| ("the attacked room", *spread, bounds.same));
    for (room, spread, bound) in same.chain([("another room", run.attacked.other, bounds.other)]) {
        let timed = judging == Judging::All;
        expect(
            spread.count >= if timed { MIN_MESSAGES } else { 1 },
            format!("only {} messages were measured in {room}", spread.count),
        );
        expect(
            !timed || spread.p99 <= bound,
            format!("{room}: p99 {:.0} ms, at most {bound:.0} ms", spread.p99),
        );
    }
    let report = &run.attacked;
    expect(
        report.closed == 0,
        format!("{} legitimate clients were closed", report.closed),
    );
    expect(
        report.refused == 0,
        format!(
            "{} messages or joins of legitimate clients were refused",
            report.refused
        ),
    );
    expect(
        report.visits_refused <= bounds.visits_refused,
        format!("{} visitors were refused", report.visits_refused),
    );
    for (name, most) in &bounds.facts {
        match run.fact(name) {
            Some(value) => expect(value <= *most, format!("{name}: {value}, at most {most}")),
            None => expect(false, format!("the attacker did not report {name}")),
        }
    }
    if judging == Judging::All {
        let mib = |bytes: u64| bytes >> 20;
        expect(
            run.memory <= bounds.memory,
            format!(
                "resident memory {} MiB, at most {} MiB",
                mib(run.memory),
                mib(bounds.memory)
            ),
        );
        expect(
            run.kernel <= bounds.kernel,
            format!(
                "{} MiB in the kernel, at most {} MiB",
                mib(run.kernel),
                mib(bounds.kernel)
            ),
        );
        expect(
            run.cpu <= bounds.cpu,
            format!(
                "CPU {:.0} %, at most {:.0} % of a core",
                run.cpu * 100.0,
                bounds.cpu * 100.0
            ),
        );
    }
    exceeded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_within_bounds() -> (Run, Bounds) {
        let spread = Spread {
            count: 200,
            ended: 200,
            p50: 0.4,
            p99: 40.0,
            max: 60.0,
        };
        let attacked = ClientReport {
            other: spread,
            same: Some(spread),
            ..ClientReport::default()
        };
        let run = Run {
            attacked,
            done: AttackReport {
                units: 1,
                facts: [("again".to_owned(), 0)].into(),
                ..AttackReport::default()
            },
            cpu: 0.2,
            memory: 10,
            kernel: 10,
            ..Run::default()
        };
        let bounds = Bounds {
            other: 100.0,
            same: 250.0,
            memory: 20,
            kernel: 20,
            cpu: 0.5,
            visits_refused: 0,
            facts: vec![("again", 0), ("held", 0)],
        };
        (run, bounds)
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let times = |count: u64| (1..=count).rev().map(Duration::from_millis).collect::<Vec<_>>();
        let spread = Spread::of(times(200), 150);
        assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
        assert_eq!((spread.count, spread.ended), (200, 150));
        let one = Spread::of(times(1), 0);
        assert_eq!((one.p50, one.p99, one.max, one.ended), (1.0, 1.0, 1.0, 1));
        assert_eq!(Spread::of(Vec::new(), 0), Spread::default());
    }

    #[test]
    fn a_run_within_its_bounds_exceeds_none() {
        let (run, bounds) = run_within_bounds();
        assert_eq!(judge(&run, &bounds, Judging::All), []);
        assert_eq!(judge(&run, &bounds, Judging::Untimed), []);
    }

    #[test]
    fn each_figure_above_its_bound_exceeds_exactly_that_bound() {
        type Change = fn(&mut Run);
        let changes: [(&str, Change); 11] = [
            ("the attack did not happen", |run| run.done.units = 0),
            ("another room: p99 101 ms", |run| run.attacked.other.p99 = 101.0),
            ("the attacked room: p99 251 ms", |run| {
                run.attacked.same = Some(Spread {
                    count: 200,
                    p99: 251.0,
                    ..Spread::default()
                });
            }),
            ("only 49 messages", |run| run.attacked.other.count = 49),
            ("1 legitimate clients were closed", |run| run.attacked.closed = 1),
            ("1 messages or joins", |run| run.attacked.refused = 1),
            ("1 visitors were refused", |run| run.attacked.visits_refused = 1),
            ("again: 1, at most 0", |run| {
                run.done.facts = [("again".to_owned(), 1)].into()
            }),
            ("did not report again", |run| run.done.facts.clear()),
            ("held: 3, at most 0", |run| run.held = 3),
            ("CPU 60 %", |run| run.cpu = 0.6),
        ];
        for (expected, spoil) in changes {
            let (mut run, bounds) = run_within_bounds();
            spoil(&mut run);
            let exceeded = judge(&run, &bounds, Judging::All);
            assert_eq!(exceeded.len(), 1, "{expected}: {exceeded:?}");
            assert!(exceeded[0].0.contains(expected), "{expected}: {exceeded:?}");
        }
        for spoil in [|run: &mut Run| run.memory = 21, |run: &mut Run| run.kernel = 21] {
            let (mut run, bounds) = run_within_bounds();
            spoil(&mut run);
            assert_eq!(judge(&run, &bounds, Judging::All).len(), 1);
        }
    }

    #[test]
    fn an_untimed_run_ignores_times_memory_and_cpu_and_still_checks_facts() {
        let (mut run, bounds) = run_within_bounds();
        (run.attacked.other.p99, run.cpu, run.memory) = (5_000.0, 1.0, 1 << 40);
        assert_eq!(judge(&run, &bounds, Judging::Untimed), []);
        run.done.units = 0;
        run.attacked.closed = 2;
        assert_eq!(judge(&run, &bounds, Judging::Untimed).len(), 2);
    }
}
