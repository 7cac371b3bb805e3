//! docs/bench.md: what was measured, on which machine, how, and whether the targets are met.

use std::{
    fmt::{self, Write},
    fs,
    process::Command,
};

use anyhow::Result;

use crate::{
    clients::AT_ONCE,
    contenders::{Contender, TALKBACK},
    process,
    results::{Bound, Cost, Held, Ratio, Results},
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
/// Bytes that an idle session may take whose room has thousands of users.
const ONE_ROOM_BYTES: u64 = 5 * 1024;
/// How much more than in the smallest room a join may cost in the largest.
const OVER_SMALL_ROOM: f64 = 2.0;

/// The machine and the programs that the numbers depend on.
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

/// These facts in one sentence, with the load before the measurement.
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

/// The text of docs/bench.md.
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
    let is_echo = |shape: Shape| matches!(shape, Shape::Echo { .. });
    line(&costs(results, is_echo));
    line("### Talkback against the others\n");
    line(
        "How much more (+) or less (-) CPU Talkback takes: the median over the rounds of the quotient within a round, and in brackets the",
    );
    line(
        "interval that has the true median with a probability of at least 95 % (order statistics). \"No difference seen\": 0 is in it.\n",
    );
    line(&pairs(results, Contender::Talkback, is_echo));
    line("## Fan-out in one room: server CPU, microseconds per delivery\n");
    line(
        "One member sends a burst, every member receives it, then comes the next burst. Talkback's is `/chat/{room}`, which",
    );
    line(
        "puts the sender's name in front; delivered texts have the same size everywhere. axum's is a group chat with its own WebSocket",
    );
    line("and tokio's `broadcast`, a flush for all that is there. Talkback's session is `/ws`: the message is in");
    line(
        "the room's log first, is acknowledged, and carries the room, its offset, its sender and the time, about 140 bytes more.\n",
    );
    let is_fan_out = |shape: Shape| matches!(shape, Shape::FanOut { .. });
    line(&costs(results, is_fan_out));
    line("### Talkback against the others, plain chat\n");
    line(&pairs(results, Contender::Talkback, is_fan_out));
    line("### Talkback against the others, session\n");
    line(&pairs(results, Contender::Session, is_fan_out));
    line("### Within which time 99 of 100 deliveries arrive, milliseconds\n");
    line(
        "From the sending of the burst. A client process on one core receives them all, so this is mostly that client's time.\n",
    );
    line(&delays(results));
    line("## With default limits: server CPU, microseconds per message or delivery\n");
    line(
        "Talkback as it ships, with no option but the port, next to Talkback without the limits below, under loads that the limits",
    );
    line("allow: the echo, and sessions in a room in which one says something so many times a second.\n");
    line(&as_shipped(results));
    line("## Appends to many rooms: server CPU, microseconds per append\n");
    line(
        "Rooms × messages in flight to each × size: each session publishes to a room of its own and gets the acknowledgements. On one",
    );
    line(
        "core, and with a thread on every core, which the clients share then: what the threads take from each other shows as the",
    );
    line("difference.\n");
    line(&appends(results));
    line("## Joins: server CPU, microseconds per join\n");
    line(&format!(
        "{} users connect and join a room as fast as they can, {AT_ONCE} at a time, each with a name of its own. The TCP connection, the\n\
         handshake and what everybody in the room is told because of it are in the cost.\n",
        grouped(results.plan.joins as u64)
    ));
    line(&joins(results));
    line("![All of it as bars](bench.svg)\n");
    line("## Memory of idle connections\n");
    line(&memory(results));
    line("## What is switched off\n");
    line(&switched_off());
    line("## How it is measured\n");
    line(&method(results, machine));
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn targets(results: &Results) -> String {
    let mut text = String::from(
        "## Targets\n\nBetween servers a target is met or missed by the whole interval in brackets (see Echo), and open if the bound is within it.\n\n\
         | Target | Measured | |\n|---|---|---|\n",
    );
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
            (Some(own), Some(rival)) => compared(own, rival, factor),
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
            (Some(own), Some(rival)) => compared(own, rival, factor),
            _ => String::from("not measured: no C++ compiler here | "),
        };
        let _ = writeln!(text, "| {}: {wording} | {row} |", shape.title());
    }
    let [small, .., large] = Shape::JOINS.map(|shape| results.cost(Contender::Session, shape));
    if let (Some(small), Some(large)) = (small, large) {
        let _ = writeln!(
            text,
            "| A join in {}: at most twice one in {} | {} |",
            large.shape.title(),
            small.shape.title(),
            compared(large, small, OVER_SMALL_ROOM)
        );
    }
    let of = |contender| results.memory.iter().find(|memory| memory.contender == contender);
    for (memory, what, most) in [
        (of(Contender::Talkback), "connections", IDLE_BYTES),
        (of(Contender::Session), "sessions", IDLE_SESSION_BYTES),
        (Some(&results.one_room), "sessions in one room", ONE_ROOM_BYTES),
    ] {
        if let Some(memory) = memory {
            let bytes = memory.per_connection();
            let _ = writeln!(
                text,
                "| {} idle {what}: at most {} bytes each | {} bytes | {} |",
                grouped(memory.connections as u64),
                grouped(most),
                grouped(bytes),
                Bound::from(bytes <= most)
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

/// The results as sentences.
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
        text.push('\n');
    }
    let mut spreads: Vec<_> = results.costs.iter().map(Cost::spread).collect();
    spreads.sort_by(f64::total_cmp);
    if let (Some(middle), Some(largest)) = (spreads.get(spreads.len() / 2), spreads.last()) {
        let _ = writeln!(
            text,
            "- The rounds of one server lie {:.0} % apart in the middle case and {:.0} % in the worst, because the machine is not always\n  \
             the same. So two servers are compared within each round; what their medians alone differ by says little.",
            middle * 100.0,
            largest * 100.0
        );
    }
    text
}

fn compared(own: &Cost, rival: &Cost, most: f64) -> String {
    let ratio = own.over(rival);
    format!(
        "{:.2} against {:.2} µs, {} | {}",
        own.median(),
        rival.median(),
        paired(ratio),
        ratio.at_most(most)
    )
}

/// A ratio in words: `-6 % (-9 to -3): faster`.
#[must_use]
pub fn paired(ratio: Ratio) -> String {
    // Not -0.
    let percent = |ratio: f64| (ratio * 100.0 - 100.0).round() + 0.0;
    let interval = ratio
        .interval
        .map(|(low, high)| format!(" ({:+} to {:+})", percent(low), percent(high)));
    format!(
        "{:+} %{}: {}",
        percent(ratio.median),
        interval.unwrap_or_default(),
        ratio.verdict()
    )
}

/// One contender against each of its rivals, under the loads that both carry.
fn pairs(results: &Results, own: Contender, include: impl Fn(Shape) -> bool) -> String {
    table(results, include, |contender, shape| {
        let is_rival = contender.is_rival_of(own);
        is_rival.then(|| results.ratio(own, contender, shape).map(paired))?
    })
}

fn as_shipped(results: &Results) -> String {
    let mut text =
        String::from("| | without limits | as it ships | as it ships against without |\n|---|---|---|---|\n");
    for (contender, shape) in [
        (Contender::Talkback, Shape::ECHO_AS_SHIPPED),
        (Contender::Session, Shape::ROOM_AS_SHIPPED),
    ] {
        text.push_str(&two(results, &shape.title(), shape, contender, Contender::AsShipped));
    }
    text
}

fn appends(results: &Results) -> String {
    let shape = Shape::APPENDS;
    let mut text = String::from("| | one core | all cores | all cores against one |\n|---|---|---|---|\n");
    text.push_str(&two(
        results,
        &shape.title(),
        shape,
        Contender::Session,
        Contender::AllCores,
    ));
    text
}

/// A row with both costs and what the second is to the first.
fn two(results: &Results, name: &str, shape: Shape, first: Contender, second: Contender) -> String {
    let (Some(first), Some(second)) = (results.cost(first, shape), results.cost(second, shape)) else {
        return String::new();
    };
    format!(
        "| {name} | {} | {} | {} |\n",
        cell(first),
        cell(second),
        paired(second.over(first))
    )
}

fn joins(results: &Results) -> String {
    let costs: Vec<_> = Shape::JOINS
        .into_iter()
        .filter_map(|shape| results.cost(Contender::Session, shape))
        .collect();
    let mut text = String::from("| | per join | against the smallest room |\n|---|---|---|\n");
    for cost in &costs {
        let against = if cost.shape == costs[0].shape {
            String::new()
        } else {
            paired(cost.over(costs[0]))
        };
        let _ = writeln!(text, "| {} | {} | {against} |", cost.shape.title(), cell(cost));
    }
    text
}

/// A table of everything that slows a server down or adds other work, and whether it is switched off.
fn switched_off() -> String {
    let mut text = String::from("| Server | Switched off | Why |\n|---|---|---|\n");
    for off in TALKBACK {
        let _ = writeln!(text, "| Talkback | `{} {}` | {} |", off.option, off.value, off.why);
    }
    for contender in Contender::ALL {
        if let Some((what, why)) = contender.leaves_out() {
            let _ = writeln!(text, "| {} | {what} | {why} |", contender.name());
        }
    }
    text.push_str(
        "\nEverything else of Talkback is on, as it ships: the checks of host, origin and names, the sizes of messages and queues, the bounds of a\n\
         turn, of rooms and of the log, pings and the timers of connections. With default limits nothing at all is switched off.\n",
    );
    text
}

fn bold(contender: Contender) -> String {
    if contender.is_talkback() {
        format!("**{}**", contender.name())
    } else {
        contender.name().to_owned()
    }
}

fn costs(results: &Results, include: impl Fn(Shape) -> bool) -> String {
    table(results, include, |contender, shape| {
        // It has a table of its own.
        let is_here = contender != Contender::AsShipped;
        is_here.then(|| results.cost(contender, shape).map(cell))?
    })
}

/// A row for each contender that has a cell under one of these loads.
fn table(
    results: &Results,
    include: impl Fn(Shape) -> bool,
    cell: impl Fn(Contender, Shape) -> Option<String>,
) -> String {
    let shapes: Vec<_> = Shape::ALL.into_iter().filter(|&shape| include(shape)).collect();
    let mut text = String::from("| |");
    for shape in &shapes {
        let _ = write!(text, " {} |", shape.title());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(shapes.len()));
    for contender in results.contenders() {
        let row: Vec<_> = shapes.iter().map(|&shape| cell(contender, shape)).collect();
        if row.iter().any(Option::is_some) {
            let row: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
            let _ = writeln!(text, "| {} | {} |", bold(contender), row.join(" | "));
        }
    }
    text
}

fn delays(results: &Results) -> String {
    table(
        results,
        |shape| matches!(shape, Shape::FanOut { .. }),
        |contender, shape| {
            let delays = &results.cost(contender, shape)?.slowest_percent;
            Some(format!("{:.2}", delays.get(delays.len() / 2)?))
        },
    )
}

fn cell(cost: &Cost) -> String {
    format!("{:.2} ({:.2}–{:.2})", cost.median(), cost.min(), cost.max())
}

fn memory(results: &Results) -> String {
    let mut text =
        String::from("| | bytes per connection | whole process, MiB | without connections, MiB |\n|---|---|---|---|\n");
    let one_room = format!(
        "**{}, {} in one room**",
        Contender::Session.name(),
        grouped(results.one_room.connections as u64)
    );
    let rows = results.memory.iter().map(|memory| (bold(memory.contender), memory));
    for (name, memory) in rows.chain([(one_room, &results.one_room)]) {
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
         echoed message (sessions: members of rooms of 1,000 after one message in each room, or all in one room, each with a name of its own), less what it was before the first; the sockets' memory in the kernel is not in it.",
        grouped(connections as u64)
    );
    text
}

fn method(results: &Results, machine: &Machine) -> String {
    let plan = results.plan;
    let mut text = format!(
        "- Measured on {}: {}, {}, {}.\n\
         - Server and clients are pinned to a core each, over loopback. In each of {} rounds every server in turn carries the\n  \
           load in a fresh process: {:.1} s to warm up, {:.1} s measured. Each round begins with the next server, so that none always\n  \
           comes after the same other.\n\
         - What two servers need is compared within each round. The interval is that of the order statistics, which holds whatever the\n  \
           distribution is: of 9 rounds it leaves out the smallest and the largest.\n\
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
    for (contender, command) in &results.commands {
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

/// With a comma between thousands: 6,500.
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
