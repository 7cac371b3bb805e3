//! The figures of one run of a scenario, and whether they are within its bounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// How times are spread, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The number of times.
    pub count: u64,
    /// How many of them ended; the others are the time that a message without an answer has waited.
    pub ended: u64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// The spread of `times`; `ended` of them (or all, with 0) are over.
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

/// Rounds to thousandths: more digits mean nothing and make records hard to read.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What the innocents measured between two reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The round trip of messages in another room than the attacked one.
    pub other: Spread,
    /// The same in the attacked room, if a room is attacked.
    pub same: Option<Spread>,
    /// Connections of members that the server ended.
    pub closed: u64,
    /// Messages, joins and handshakes of members that the server refused.
    pub refused: u64,
    /// How long visitors took to connect and publish in a new room.
    pub visits: Spread,
    /// Visitors that were refused or not answered within 10 s.
    pub visits_refused: u64,
    /// How late the innocents themselves were with their next message, because others used their core.
    pub late: Spread,
}

/// What the attacker did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Connections that it began.
    pub attempts: u64,
    /// WebSockets that were opened and plain requests that were answered with 200.
    pub opened: u64,
    /// Connections that were refused: another status, or none.
    pub refused: u64,
    /// WebSockets that the server closed.
    pub closed: u64,
    /// Bytes that it wrote.
    pub written: u64,
    /// Bytes that it read.
    pub read: u64,
    /// What the attack consists of: requests, messages, frames, joins, connections.
    pub units: u64,
    /// Facts that only this scenario has, by name.
    pub facts: BTreeMap<String, u64>,
}

/// One run of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The name of the scenario.
    pub scenario: String,
    /// The size of the attack.
    pub size: usize,
    /// The size as a multiple of the scenario's first one.
    pub factor: usize,
    /// The load of the machine in the minute before.
    pub load: f64,
    /// The innocents before the attack.
    pub idle: Heard,
    /// The innocents during the attack.
    pub attacked: Heard,
    /// What the attacker did.
    pub done: Done,
    /// The server's share of its core during the attack.
    pub cpu: f64,
    /// The share of the time in which the server was ready to run and another process had its core; the attack does not
    /// cause it.
    pub waited: f64,
    /// The server's resident memory before, in bytes.
    pub memory_before: u64,
    /// The most resident memory that the server had, in bytes.
    pub memory: u64,
    /// The most bytes that waited in the kernel, in the server's own sockets, in either direction.
    pub kernel: u64,
    /// Connections of the attacker that the server still had open at the end.
    pub held: u64,
}

impl Run {
    /// A fact of the attacker's, or one that every run has.
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
    /// Milliseconds at p99 in another room.
    pub other: f64,
    /// Milliseconds at p99 in the attacked room.
    pub same: f64,
    /// Bytes of resident memory.
    pub memory: u64,
    /// Bytes in the kernel.
    pub kernel: u64,
    /// Share of the core; 1 is no bound.
    pub cpu: f64,
    /// Visitors that may be refused temporarily.
    pub visits_refused: u64,
    /// Facts and their maximum.
    pub facts: Vec<(&'static str, u64)>,
}

/// Whether times, memory and CPU are judged, or only what does not depend on how busy the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// Everything.
    All,
    /// That the attack happened, that no innocent was closed or refused, and the facts.
    Untimed,
}

/// A bound that was broken, or a run without enough data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fewest messages that give a 99th percentile.
const FEWEST: u64 = 50;

/// The bounds that a run broke; empty if it kept all.
#[must_use]
pub fn judge(run: &Run, bounds: &Bounds, judging: Judging) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            broken.push(Broken(what));
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
            spread.count >= if timed { FEWEST } else { 1 },
            format!("only {} messages were measured in {room}", spread.count),
        );
        expect(
            !timed || spread.p99 <= bound,
            format!("{room}: p99 {:.0} ms, at most {bound:.0} ms", spread.p99),
        );
    }
    let heard = &run.attacked;
    expect(heard.closed == 0, format!("{} innocents were closed", heard.closed));
    expect(
        heard.refused == 0,
        format!("{} messages or joins of innocents were refused", heard.refused),
    );
    expect(
        heard.visits_refused <= bounds.visits_refused,
        format!("{} visitors were refused", heard.visits_refused),
    );
    for (name, most) in &bounds.facts {
        match run.fact(name) {
            Some(value) => expect(value <= *most, format!("{name}: {value}, at most {most}")),
            None => expect(false, format!("the attacker did not tell {name}")),
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
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Run, Bounds) {
        let spread = Spread {
            count: 200,
            ended: 200,
            p50: 0.4,
            p99: 40.0,
            max: 60.0,
        };
        let attacked = Heard {
            other: spread,
            same: Some(spread),
            ..Heard::default()
        };
        let run = Run {
            attacked,
            done: Done {
                units: 1,
                facts: [("again".to_owned(), 0)].into(),
                ..Done::default()
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
    fn a_run_within_its_bounds_is_good() {
        let (run, bounds) = good();
        assert_eq!(judge(&run, &bounds, Judging::All), []);
        assert_eq!(judge(&run, &bounds, Judging::Untimed), []);
    }

    #[test]
    fn each_bad_figure_breaks_a_bound() {
        type Spoil = fn(&mut Run);
        let spoilt: [(&str, Spoil); 11] = [
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
            ("1 innocents were closed", |run| run.attacked.closed = 1),
            ("1 messages or joins", |run| run.attacked.refused = 1),
            ("1 visitors were refused", |run| run.attacked.visits_refused = 1),
            ("again: 1, at most 0", |run| {
                run.done.facts = [("again".to_owned(), 1)].into()
            }),
            ("did not tell again", |run| run.done.facts.clear()),
            ("held: 3, at most 0", |run| run.held = 3),
            ("CPU 60 %", |run| run.cpu = 0.6),
        ];
        for (expected, spoil) in spoilt {
            let (mut run, bounds) = good();
            spoil(&mut run);
            let broken = judge(&run, &bounds, Judging::All);
            assert_eq!(broken.len(), 1, "{expected}: {broken:?}");
            assert!(broken[0].0.contains(expected), "{expected}: {broken:?}");
        }
        for spoil in [|run: &mut Run| run.memory = 21, |run: &mut Run| run.kernel = 21] {
            let (mut run, bounds) = good();
            spoil(&mut run);
            assert_eq!(judge(&run, &bounds, Judging::All).len(), 1);
        }
    }

    #[test]
    fn an_untimed_run_is_not_judged_by_the_clock_but_by_what_happened() {
        let (mut run, bounds) = good();
        (run.attacked.other.p99, run.cpu, run.memory) = (5_000.0, 1.0, 1 << 40);
        assert_eq!(judge(&run, &bounds, Judging::Untimed), []);
        run.done.units = 0;
        run.attacked.closed = 2;
        assert_eq!(judge(&run, &bounds, Judging::Untimed).len(), 2);
    }
}
