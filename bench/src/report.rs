//! The text of docs/bench.md: what was measured, on which machine, how, and whether the targets are met.

use std::{
    fmt::{self, Write},
    fs,
    process::Command,
};

use anyhow::Result;
use num_format::{Locale, ToFormattedString};

use crate::{
    clients::AT_ONCE,
    contenders::{Contender, TALKBACK},
    process,
    results::{Bound, Cost, Held, Ratio, Results},
    suite::Shape,
};

/// The target for the cost of a message relative to the minimal axum handler, with one in flight.
const OVER_AXUM: f64 = 1.10;
/// The target for the bytes of an idle connection, with 10,000 of them.
const IDLE_BYTES: u64 = 6_500;

/// The target for the cost of a delivery to a session relative to uWebSockets' publish, with one in flight.
const OVER_PUBLISH: f64 = 1.05;
/// The target for the bytes of an idle session.
const IDLE_SESSION_BYTES: u64 = 8_192;
/// The target for the bytes of an idle session in a room with thousands of users.
const ONE_ROOM_BYTES: u64 = 5 * 1024;
/// The target for the cost of a join in the largest room relative to the smallest.
const OVER_SMALL_ROOM: f64 = 2.0;

/// The machine and the compiler, on which the figures depend.
#[derive(Clone, Debug)]
pub struct Machine {
    processor: String,
    kernel: String,
    rustc: String,
    load: f64,
    date: String,
}

impl Machine {
    /// Reads these facts and the load average of the last minute, so it must be called before the measurement.
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

/// All of it in one line.
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
    let is_echo = |shape: Shape| matches!(shape, Shape::Echo { .. });
    let is_fan_out = |shape: Shape| matches!(shape, Shape::FanOut { .. });
    let quick = if results.plan.quick {
        "\n**A quick run of unoptimised programs, to test that the bench works. The figures mean nothing.**\n"
    } else {
        ""
    };
    format!(
        "\
# What a message and a connection cost

Written by `cargo xtask bench`; do not edit. The figures are server CPU time, not latency or throughput: on a busy core
it determines how many messages per second the server can process, and it hardly depends on the speed of the clients.
{quick}
## Targets

A target between servers is met or missed if the whole interval in brackets is (see Echo), and open if the bound is
within the interval.

{targets}
## Reading

{reading}
## Echo: server CPU, microseconds per message

Connections × messages in flight on each × size. Median of the rounds (smallest to largest).

{echo}
### Talkback against the others

How much more (+) or less (-) CPU Talkback uses: the median over the rounds of the quotient within a round, and in
brackets the interval that contains the true median with a probability of at least 95 % (order statistics). \"No
difference seen\": the interval contains 0.

{echo_pairs}
## Fan-out in one room: server CPU, microseconds per delivery

One member sends a burst, every member receives it, then the next burst follows. Talkback's room is `/chat/{{room}}`,
which puts the sender's name before the text; delivered texts have the same size for all servers. axum's room is a group
chat with its own WebSocket and tokio's `broadcast`, with one flush for all messages that are ready. Talkback's session
is `/ws`: the message is appended to the room's log first, is acknowledged, and carries the room, its offset, its sender
and the time, about 140 bytes more.

{fan_out}
### Talkback against the others, plain chat

{chat_pairs}
### Talkback against the others, session

{session_pairs}
### The time within which 99 of 100 deliveries arrive, milliseconds

From the sending of the burst. A client process on one core receives all deliveries, so this is mostly the time of that
client.

{delays}
## With default limits: server CPU, microseconds per message or delivery

Talkback with no option but the port, compared with Talkback without the limits below, under loads that are within the
limits: the echo, and sessions in a room in which one member publishes at a fixed rate.

{default_limits}
## Appends to many rooms: server CPU, microseconds per append

Rooms × messages in flight to each × size: each session publishes to a room of its own and receives the
acknowledgements. On one core, and with a thread on every core, which the clients then share: the difference shows
how much the threads slow each other down.

{appends}
## Joins: server CPU, microseconds per join

{joining} users connect and join a room as fast as they can, {AT_ONCE} at a time, each with a name of its own. The cost
includes the TCP connection, the handshake and the presence lines to the members of the room.

{joins}
![All figures as bars](bench.svg)

## Memory of idle connections

{memory}
## What is switched off

{switched_off}
## How it is measured

{method}",
        targets = targets(results),
        reading = reading(results),
        echo = costs(results, is_echo),
        echo_pairs = pairs(results, Contender::Talkback, is_echo),
        fan_out = costs(results, is_fan_out),
        chat_pairs = pairs(results, Contender::Talkback, is_fan_out),
        session_pairs = pairs(results, Contender::Session, is_fan_out),
        delays = delays(results),
        default_limits = default_limits(results),
        appends = appends(results),
        joining = grouped(results.plan.joins as u64),
        joins = joins(results),
        memory = memory(results),
        switched_off = switched_off(),
        method = method(results, machine),
    )
}

fn targets(results: &Results) -> String {
    let mut text = String::from("| Target | Measured | |\n|---|---|---|\n");
    for shape in Shape::ALL {
        let Shape::Echo { in_flight, .. } = shape else { continue };
        let (rival, factor, wording) = match in_flight {
            1 => (
                Contender::AxumEach,
                OVER_AXUM,
                "at most 10 % over the minimal axum handler",
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

/// The results in words.
fn reading(results: &Results) -> String {
    let median = |contender, shape| results.cost(contender, shape).map(Cost::median);
    let mut text = String::new();
    for shape in Shape::ALL {
        let (Some(own), Some(limit)) = (median(Contender::Talkback, shape), median(Contender::Tcp, shape)) else {
            continue;
        };
        let _ = write!(
            text,
            "- {}: {own:.2} µs, {:.2} of it Talkback's own: the system uses {limit:.2} for plain TCP too.",
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
            "\
- The rounds of one server differ by {:.0} % in the median case and {:.0} % at most, because the machine is not
  always equally fast. So servers are compared within each round; a difference of their medians alone says little.",
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
    // Adding 0.0 turns -0.0 into 0.0.
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

/// A table that compares one contender with the others, under the loads of both.
fn pairs(results: &Results, own: Contender, include: impl Fn(Shape) -> bool) -> String {
    table(results, include, |contender, shape| {
        let is_rival = contender.is_rival_of(own);
        is_rival.then(|| results.ratio(own, contender, shape).map(paired))?
    })
}

fn default_limits(results: &Results) -> String {
    let mut text = String::from("| | without limits | default limits | default against without |\n|---|---|---|---|\n");
    for (contender, shape) in [
        (Contender::Talkback, Shape::ECHO_DEFAULT_LIMITS),
        (Contender::Session, Shape::ROOM_DEFAULT_LIMITS),
    ] {
        text.push_str(&two(
            results,
            &shape.title(),
            shape,
            contender,
            Contender::DefaultLimits,
        ));
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

/// A row with both costs and their ratio.
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

/// A table of the limits and features that are switched off, with the reasons.
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
        "
Everything else of Talkback is on, as by default: the checks of host, origin and names, the limits of messages,
queues, turns, rooms and the log, pings and the timers of connections. With default limits nothing is switched off.
",
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
        // Talkback with default limits has a table of its own.
        let is_here = contender != Contender::DefaultLimits;
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
            let delays = &results.cost(contender, shape)?.p99;
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
        "
Resident memory of the server process (`Rss` in `/proc/PID/smaps_rollup`) with {} connections, each idle after
one echoed message, minus its resident memory before the first connection. Sessions are members of rooms of 1,000
after one message in each room, or all in one room, each with a name of its own. The kernel's memory for sockets is
not included.",
        grouped(connections as u64)
    );
    text
}

fn method(results: &Results, machine: &Machine) -> String {
    let plan = results.plan;
    let mut text = format!(
        "\
- Measured on {}: {}, {}, {}.
- Server and clients are pinned to a core each, and connected over loopback. In each of {} rounds every load is
  measured with every server, in a new process: {:.1} s to warm up, {:.1} s measured. Each round begins with the
  next server, so that the order varies.
- Two servers are compared within each round. The interval is that of the order statistics, which holds for every
  distribution: of 9 rounds it leaves out the smallest and the largest.
- CPU is the time of all threads of the server, user and system, from `/proc/PID/task/*/schedstat`, read while
  nothing is in flight, divided by the messages that came back. The clients compare every byte that comes back.
- Sending over loopback runs the receiver's half of TCP too, in the sender's time: this adds to the cost of all
  servers, and plain TCP shows how much.
- The members of a room acknowledge at once what they read (`TCP_QUICKACK`), also those that have never sent
  anything: otherwise some late ACKs would be sent in the server's time.
- The clients poll and never sleep: waking a client on the same machine costs server CPU, waking a client on
  another machine does not.
- Messages that come back to a client in one read are answered in one write, so messages in flight travel in
  batches.
",
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
            "\
- **The machine was not idle**: its load was {:.1} before the start. Compare ratios, not absolute values, and
  measure again when it is idle.",
            machine.load
        );
    }
    text.push_str(
        "- Servers are release builds of one profile (uWebSockets: `-O3`, its C++ interface, no TLS, no compression), \
         started as:\n\n```\n",
    );
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

/// A number with commas between thousands: 6,500.
fn grouped(number: u64) -> String {
    number.to_formatted_string(&Locale::en)
}
