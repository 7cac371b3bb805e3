//! docs/bench.md: what was measured, on what, how, and what it says about the targets.

use std::{
    fmt::{self, Write},
    fs,
    process::Command,
};

use anyhow::Result;

use crate::{
    contenders::Contender,
    process,
    results::{Cost, Held, Results},
    suite::Shape,
};

/// How much more than the leanest axum handler a message may cost with one in flight.
const OVER_AXUM: f64 = 1.10;
/// Bytes that an idle connection may take, with 10,000 of them.
const IDLE_BYTES: u64 = 6_500;

/// How much more than uWebSockets' publish a delivery to a session may cost with one in flight.
const OVER_PUBLISH: f64 = 1.05;
/// Bytes that an idle session may take.
const IDLE_SESSION_BYTES: u64 = 8_192;

/// What the numbers depend on.
#[derive(Clone, Debug)]
pub struct Machine {
    processor: String,
    kernel: String,
    rustc: String,
    load: f64,
    date: String,
}

impl Machine {
    /// Reads the facts, and the load of the last minute: it must come before the measurement.
    ///
    /// # Errors
    /// When /proc is not readable.
    pub fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .unwrap_or(": unknown");
        let cores = std::thread::available_parallelism()?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kernel: Vec<_> = release.trim().split(['.', '-']).take(2).collect();
        let rustc = Command::new("rustc")
            .arg("--version")
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let rustc = String::from_utf8_lossy(&rustc);
        Ok(Self {
            processor: format!("{}, {cores} cores", model.trim_start_matches([':', ' ', '\t'])),
            kernel: format!("Linux {}", kernel.join(".")),
            rustc: rustc.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
            load: process::load_average()?,
            date: jiff::Timestamp::now()
                .to_zoned(jiff::tz::TimeZone::UTC)
                .date()
                .to_string(),
        })
    }
}

/// In one sentence, with the load before.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processor,
            kernel,
            rustc,
            load,
            date,
        } = self;
        write!(
            f,
            "{date}: {processor}, {kernel}, {rustc}; the machine's load was {load:.1} before the start"
        )
    }
}

/// The page.
#[must_use]
pub fn markdown(results: &Results, machine: &Machine) -> String {
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    line("# What a message and a connection cost\n");
    line(
        "Written by `cargo xtask bench`; do not edit. Server CPU, not latency or throughput: on a core that is busy, it is",
    );
    line("what decides how many messages a second go through, and it hardly depends on how fast the clients are.\n");
    if results.plan.quick {
        line("**A quick run of unoptimised programs: it shows that the bench works. The numbers mean nothing.**\n");
    }
    line(&targets(results));
    line("## Reading\n");
    line(&reading(results));
    line("## Echo: server CPU, microseconds per message\n");
    line("Connections × messages in flight on each × size. Median of the rounds (smallest to largest).\n");
    line(&costs(results, |shape| matches!(shape, Shape::Echo { .. })));
    line("## Fan-out in one room: server CPU, microseconds per delivery\n");
    line(
        "One member sends a burst, every member receives it, then comes the next burst. Talkback's is `/chat/{room}`, which",
    );
    line(
        "puts the sender's name in front; delivered texts have the same size everywhere. Its session is `/ws`: the message is in",
    );
    line(
        "the room's log first, is acknowledged, and carries the room, its offset, its sender and the time, about 140 bytes more.\n",
    );
    line(&costs(results, |shape| matches!(shape, Shape::FanOut { .. })));
    line("### Within which time 99 of 100 deliveries arrive, milliseconds\n");
    line(
        "From the sending of the burst. A client process on one core receives them all, so this is mostly that client's time.\n",
    );
    line(&delays(results));
    line("![All of it as bars](bench.svg)\n");
    line("## Memory of idle connections\n");
    line(&memory(results));
    line("## How it is measured\n");
    line(&method(results, machine));
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn targets(results: &Results) -> String {
    let mut text = String::from("## Targets\n\n| Target | Measured | |\n|---|---|---|\n");
    for shape in Shape::ALL {
        let Shape::Echo { in_flight, .. } = shape else { continue };
        let (rival, factor, wording) = match in_flight {
            1 => (
                Contender::AxumEach,
                OVER_AXUM,
                "at most 10 % over the leanest axum handler",
            ),
            _ => (Contender::UWebSockets, 1.0, "below uWebSockets"),
        };
        let row = match (results.cost(Contender::Talkback, shape), results.cost(rival, shape)) {
            (Some(own), Some(rival)) => compared(own.median(), rival.median(), factor),
            _ => String::from("not measured: no C++ compiler here | "),
        };
        let _ = writeln!(text, "| {}: {wording} | {row} |", shape.title());
    }
    for shape in Shape::ALL {
        let Shape::FanOut {
            members: 1000,
            in_flight,
            ..
        } = shape
        else {
            continue;
        };
        let (factor, wording) = match in_flight {
            1 => (OVER_PUBLISH, "session at most 5 % over uWebSockets"),
            _ => (1.0, "session at or below uWebSockets"),
        };
        let row = match (
            results.cost(Contender::Session, shape),
            results.cost(Contender::UWebSockets, shape),
        ) {
            (Some(own), Some(rival)) => compared(own.median(), rival.median(), factor),
            _ => String::from("not measured: no C++ compiler here | "),
        };
        let _ = writeln!(text, "| {}: {wording} | {row} |", shape.title());
    }
    for (contender, what, most) in [
        (Contender::Talkback, "connections", IDLE_BYTES),
        (Contender::Session, "sessions", IDLE_SESSION_BYTES),
    ] {
        if let Some(memory) = results.memory.iter().find(|memory| memory.contender == contender) {
            let bytes = memory.per_connection();
            let _ = writeln!(
                text,
                "| {} idle {what}: at most {} bytes each | {} bytes | {} |",
                grouped(memory.connections as u64),
                grouped(most),
                grouped(bytes),
                verdict(bytes <= most)
            );
        }
    }
    let held = match &results.held {
        Held::Yes {
            connections,
            processes: 1,
            per_connection,
        } => {
            format!(
                "{} held, {} bytes each | met",
                grouped(*connections as u64),
                grouped(*per_connection)
            )
        }
        Held::Yes {
            connections,
            processes,
            per_connection,
        } => format!(
            "{} held, {} bytes each, by {processes} server processes side by side, because a process may open too few \
             files on this machine | met, not in one process",
            grouped(*connections as u64),
            grouped(*per_connection)
        ),
        Held::NotHere(reason) => format!("not measured: {reason} | "),
    };
    let _ = writeln!(
        text,
        "| {} connections held | {held} |",
        grouped(results.plan.held as u64)
    );
    text
}

/// What the numbers say, in sentences.
fn reading(results: &Results) -> String {
    let median = |contender, shape| results.cost(contender, shape).map(Cost::median);
    let mut text = String::new();
    for shape in Shape::ALL {
        let (Some(own), Some(limit)) = (median(Contender::Talkback, shape), median(Contender::Tcp, shape)) else {
            continue;
        };
        let _ = write!(
            text,
            "- {}: {own:.2} µs, {:.2} of it Talkback's own: {limit:.2} are what the system takes for plain TCP too.",
            shape.title(),
            own - limit
        );
        let rivals = [
            Contender::AxumEach,
            Contender::AxumBatch,
            Contender::FastWebSockets,
            Contender::UWebSockets,
        ];
        let compared: Vec<_> = rivals
            .into_iter()
            .filter_map(|rival| Some((rival, (own / median(rival, shape)? - 1.0) * 100.0)))
            .map(|(rival, percent)| format!("{percent:+.0} % against {}", rival.name()))
            .collect();
        if !compared.is_empty() {
            let _ = write!(text, "\n  {}.", compared.join("; "));
        }
        text.push('\n');
    }
    let mut spreads: Vec<_> = results.costs.iter().map(Cost::spread).collect();
    spreads.sort_by(f64::total_cmp);
    if let (Some(middle), Some(largest)) = (spreads.get(spreads.len() / 2), spreads.last()) {
        let _ = writeln!(
            text,
            "- The rounds of one server lie {:.0} % apart in the middle case and {:.0} % in the worst: a smaller difference between\n  \
             two servers says nothing.",
            middle * 100.0,
            largest * 100.0
        );
    }
    text
}

fn compared(own: f64, rival: f64, factor: f64) -> String {
    let difference = (own / rival - 1.0) * 100.0;
    let verdict = verdict(own <= rival * factor);
    format!("{own:.2} against {rival:.2} µs, {difference:+.0} % | {verdict}")
}

fn bold(contender: Contender) -> String {
    match contender {
        Contender::Talkback | Contender::Session => format!("**{}**", contender.name()),
        _ => contender.name().to_owned(),
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn costs(results: &Results, include: impl Fn(Shape) -> bool) -> String {
    let shapes: Vec<_> = Shape::ALL.into_iter().filter(|&shape| include(shape)).collect();
    let mut text = String::from("| |");
    for shape in &shapes {
        let _ = write!(text, " {} |", shape.title());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(shapes.len()));
    for contender in results.contenders() {
        let row: Vec<_> = shapes
            .iter()
            .filter_map(|&shape| results.cost(contender, shape))
            .map(cell)
            .collect();
        if !row.is_empty() {
            let _ = writeln!(text, "| {} | {} |", bold(contender), row.join(" | "));
        }
    }
    text
}

fn delays(results: &Results) -> String {
    let shapes: Vec<_> = Shape::ALL
        .into_iter()
        .filter(|shape| matches!(shape, Shape::FanOut { .. }))
        .collect();
    let mut text = String::from("| |");
    for shape in &shapes {
        let _ = write!(text, " {} |", shape.title());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(shapes.len()));
    for contender in results.contenders() {
        let costs = shapes.iter().filter_map(|&shape| results.cost(contender, shape));
        let row: Vec<_> = costs
            .filter_map(|cost| cost.slowest_percent.get(cost.slowest_percent.len() / 2))
            .map(|delay| format!("{delay:.2}"))
            .collect();
        if !row.is_empty() {
            let _ = writeln!(text, "| {} | {} |", contender.name(), row.join(" | "));
        }
    }
    text
}

fn cell(cost: &Cost) -> String {
    format!("{:.2} ({:.2}–{:.2})", cost.median(), cost.min(), cost.max())
}

fn memory(results: &Results) -> String {
    let mut text =
        String::from("| | bytes per connection | whole process, MiB | without connections, MiB |\n|---|---|---|---|\n");
    for memory in &results.memory {
        let name = bold(memory.contender);
        let bytes = grouped(memory.per_connection());
        let _ = writeln!(
            text,
            "| {name} | {bytes} | {} | {} |",
            mebibytes(memory.with),
            mebibytes(memory.before)
        );
    }
    let connections = results.memory.first().map_or(0, |memory| memory.connections);
    let _ = writeln!(
        text,
        "\nResident memory of the server process (`Rss` in `/proc/PID/smaps_rollup`) with {} connections, each idle after one\n\
         echoed message (sessions: members of rooms of 1,000 after one message in each room), less what it was before the first; the sockets' memory in the kernel is not in it.",
        grouped(connections as u64)
    );
    text
}

fn method(results: &Results, machine: &Machine) -> String {
    let plan = results.plan;
    let mut text = format!(
        "- Measured on {}: {}, {}, {}.\n\
         - Server and clients are pinned to a core each, over loopback. In each of {} rounds every server in turn carries the\n  \
           load in a fresh process: {:.1} s to warm up, {:.1} s measured.\n\
         - CPU is the time of all threads of the server, user and system, from `/proc/PID/task/*/schedstat`, read while nothing\n  \
           is in flight, divided by the messages that came back. The clients compare every byte that comes back.\n\
         - Sending over loopback runs the receiver's half of TCP too, on the sender's time: all servers pay that, and plain TCP\n  \
           shows how much it is.\n\
         - The members of a room acknowledge what they read at once (`TCP_QUICKACK`), whether they have sent anything before or\n  \
           not: late ACKs of some would be sent on the server's time.\n\
         - The clients poll and never sleep: waking a client on the same machine is charged to the server too, as a client on\n  \
           another machine is not, and the more often it sleeps between two messages the more.\n\
         - What comes back to a client in one read is answered in one write, so messages in flight travel in batches.\n",
        machine.date,
        machine.processor,
        machine.kernel,
        machine.rustc,
        plan.rounds,
        plan.warm_up.as_secs_f64(),
        plan.measured.as_secs_f64(),
    );
    if machine.load > 0.5 {
        let _ = writeln!(
            text,
            "- **The machine was not idle**: its load was {:.1} before the start. Compare ratios, not absolute values, and measure\n  \
             again on a quiet one.",
            machine.load
        );
    }
    text.push_str("- Servers are release builds of one profile (uWebSockets: `-O3`, its C++ interface, no TLS, no compression), started as:\n\n```\n");
    for contender in results.contenders() {
        let (program, arguments) = contender.command(Shape::IDLE);
        let command = [&[program], arguments.as_slice()].concat().join(" ");
        let _ = writeln!(text, "{:30}{command}", contender.name());
    }
    text.push_str(
        "```\n\n`reference-tcp` is started with `--mode fan-out` for the rooms. Their sources are in `bench/`.\n",
    );
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{}", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// Thousands apart: 6,500.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
