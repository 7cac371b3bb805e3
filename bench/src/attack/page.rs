//! The text of docs/attacks.md: the figures, and for comparison those from before the server was hardened.

use std::fmt::Write;

use super::{
    Record,
    figures::{Run, Spread},
    scenarios,
};

/// One run as a line for a terminal.
pub(super) fn line(run: &Run) -> String {
    let same = run.attacked.same.map(|same| format!("; same room {}", times(&same)));
    let facts = run.done.facts.iter().map(|(name, value)| format!("; {name} {value}"));
    format!(
        "{} x{} ({}): did {}; idle {}; other room {}{}; late {:.1}; closed {}, refused {}, \
         visitors {} of {} refused; cpu {:.0} % (waited {:.0} %); rss {} -> {} MiB; \
         kernel {} MiB; attacker closed {}, refused {}, held {}{}; load {:.1}",
        run.scenario,
        run.factor,
        run.size,
        run.done.units,
        times(&run.idle.other),
        times(&run.attacked.other),
        same.unwrap_or_default(),
        run.attacked.late.p99,
        run.attacked.closed,
        run.attacked.refused,
        run.attacked.visits_refused,
        run.attacked.visits_refused + run.attacked.visits.count,
        run.cpu * 100.0,
        run.waited * 100.0,
        run.memory_before >> 20,
        run.memory >> 20,
        run.kernel >> 20,
        run.done.closed,
        run.done.refused,
        run.held,
        facts.collect::<String>(),
        run.load,
    )
}

/// The text `p50 / p99 / max ms`.
fn times(spread: &Spread) -> String {
    format!(
        "{} / {} / {} ms",
        milliseconds(spread.p50),
        milliseconds(spread.p99),
        milliseconds(spread.max)
    )
}

fn milliseconds(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The text of docs/attacks.md.
pub(super) fn markdown(now: &Record, before: &Record) -> String {
    let mut page = String::from(INTRODUCTION);
    for scenario in scenarios::all() {
        let _ = writeln!(
            page,
            "\n### {}\n\n{}: {} {}.\n",
            scenario.name,
            capital(scenario.about),
            scenario.size,
            scenario.unit
        );
        page.push_str(
            "| | size | another room: idle | attacked | same room | clients closed, refused | visitors refused | \
             CPU, waited | resident | kernel | attacker: did; closed, refused, held |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for factor in [1, 4] {
            for (when, record) in [("before", before), ("**now**", now)] {
                if let Some(run) = record.find(scenario.name, factor) {
                    let _ = writeln!(page, "{}", row(when, run));
                }
            }
        }
        let bounds = scenario.bounds(scenario.size);
        let same = if scenario.local {
            format!(", {} ms in the same", bounds.same)
        } else {
            String::new()
        };
        let cpu = if bounds.cpu < 1.0 {
            format!(", {:.0} % CPU", bounds.cpu * 100.0)
        } else {
            String::new()
        };
        let _ = write!(
            page,
            "\nBounds: {} ms in another room at p99{same}, no legitimate client closed or refused, \
             {} MiB resident, {} MiB in the kernel{cpu}",
            bounds.other,
            bounds.memory >> 20,
            bounds.kernel >> 20,
        );
        for (fact, most) in &bounds.facts {
            let _ = write!(page, ", {fact} at most {most}");
        }
        page.push_str(".\n");
    }
    let _ = write!(
        page,
        "\n## Measured on\n\n- now: {}\n- before: {}\n",
        now.note, before.note
    );
    page
}

fn row(when: &str, run: &Run) -> String {
    let done = &run.done;
    let mut facts = String::new();
    for (name, value) in &done.facts {
        let _ = write!(facts, "; {name} {value}");
    }
    format!(
        "| {when} | {} | {} | {} | {} | {}, {} | {} of {} | {:.0} %, {:.0} % | {} MiB | {} MiB | \
         {}; {}, {}, {}{facts} |",
        run.size,
        times(&run.idle.other),
        times(&run.attacked.other),
        run.attacked.same.as_ref().map(times).unwrap_or_default(),
        run.attacked.closed,
        run.attacked.refused,
        run.attacked.visits_refused,
        run.attacked.visits_refused + run.attacked.visits.count,
        run.cpu * 100.0,
        run.waited * 100.0,
        run.memory >> 20,
        run.kernel >> 20,
        done.units,
        done.closed,
        done.refused,
        run.held,
    )
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

const INTRODUCTION: &str = "\
# What attacks do to others

Written by `cargo xtask attack --write`; do not edit. `cargo xtask attack` makes the attacks again and fails when a
bound is exceeded; `--scenario NAME` makes one. The figures of the server before it was hardened are stored in
`docs/attacks-before.json`.

## How it is measured

- For each row a new server process with default options runs on a core of its own. The options that are given:
  `--listen`, `--publish-key`, with which logs are filled before an attack, and `--flood`, which enables `/flood`.
- Two processes run on the other core: the attacker, 5 steps of priority (`nice`) below the server, and the legitimate
  clients, 10 above it where the system allows that, so that the attacker's work delays their measurement little. With
  two cores they cannot be separated further.
- The legitimate clients are a sender and three receivers in a room that is not attacked, and as many in the attacked
  room where a room is attacked, each with an address of its own. A sender publishes 50 times a second, without waiting
  for answers, and measures until its own message comes back: p50 / p99 / max. An unanswered message counts with the
  time it has waited. 4 times a second a visitor connects from another address and publishes in a new room; it counts
  as refused after an error or 10 s without an answer.
- The idle figures are those of the same clients on the same server during 2 s before the attack.
- Each attack is made in its size from one address and in four times its size from four addresses, unless its
  description says otherwise.
- CPU is the server's share of its core during the attack, \"waited\" the share of the time in which it was ready to run
  while a process that is not part of the attack used the core (`/proc/PID/task/*/schedstat`): where that is not near 0
  the machine was busy, and the times mean little. Resident memory is its peak (`VmHWM`); the kernel's is the maximum
  of the bytes that waited in the server's sockets in both directions (`/proc/net/tcp`, every half second). \"Held\" is
  the number of the attacker's connections that the server still had open at the end.
- The bounds of memory and CPU are derived from the server's limits in `bench/src/attack/scenarios.rs`.

## Figures
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_has_the_figures_of_the_old_and_of_the_new_server() {
        let record = |note: &str, units| Record {
            note: note.to_owned(),
            runs: scenarios::all()
                .iter()
                .map(|scenario| {
                    let mut run = Run {
                        scenario: scenario.name.to_owned(),
                        factor: 1,
                        ..Run::default()
                    };
                    run.done.units = units;
                    run
                })
                .collect(),
        };
        let page = markdown(&record("a new server", 222), &record("an old server", 111));
        for scenario in scenarios::all() {
            assert!(page.contains(&format!("### {}\n", scenario.name)), "{}", scenario.name);
        }
        assert_eq!(page.matches("| before |").count(), scenarios::all().len());
        assert_eq!(page.matches("| **now** |").count(), scenarios::all().len());
        assert_eq!(page.matches("| 111; 0, 0, 0 |").count(), scenarios::all().len());
        assert!(page.contains("- now: a new server") && page.contains("- before: an old server"));
        let columns = |line: &str| line.matches('|').count();
        let tables = page.lines().filter(|line| line.starts_with('|'));
        assert!(tables.clone().all(|line| columns(line) == 12), "{page}");
    }
}
