//! The second part of docs/bench.md: what messages cost with each engine, and with Django Channels.

use std::fmt::Write;

use anyhow::Result;
use num_format::{Locale, ToFormattedString};

use super::{
    ACK_RATE, BODY, BURST_EACH, BURST_SENDERS, BURSTS, CROWD, CROWD_RATE, DELIVERY_RATE, FEW_MEMBERS, IN_FLIGHT,
    JOINED_ROOM, JOINS, MEMBERS, OTHER_SESSIONS, ROOMS, SESSIONS,
    figures::{Figures, name},
    stack::{Kind, LIMITS},
};
use crate::results::{median, sorted};

/// Where the part begins.
const MARK: &str = "<!-- From here on written by `cargo xtask bench --engines`; do not edit -->\n";

/// The document with this part in place of its former one, or at its end.
///
/// # Errors
/// Something was not measured.
pub fn with_engines(document: &str, figures: &Figures) -> Result<String> {
    let first = document.split_once(MARK).map_or(document, |(first, _)| first);
    Ok(format!("{}\n\n{MARK}\n{}", first.trim_end(), markdown(figures)?))
}

fn markdown(figures: &Figures) -> Result<String> {
    let limits: Vec<_> = LIMITS
        .iter()
        .map(|(option, value)| format!("`{option} {value}`"))
        .collect();
    Ok(format!(
        "\
# Engines, and Django Channels

Measured on {machine}. The servers and Redis share one core, and the clients have the other one; each value is the
median of the rounds (smallest to largest), and in each round everything is measured once, in another order each time.
The chat with Channels is `bench/reference/channels_chat.py`: the consumer of its tutorial without sessions and users,
with channels_redis under uvicorn with uvloop, in one process on the same redis-server.

## Targets of the engines

Met: in all rounds; missed: in none.

| Target | Measured | |
|---|---|---|
{targets}
## Acknowledged messages

Bodies of {BODY} B, {IN_FLIGHT} messages of each session in flight. With more rooms than sessions each session publishes
to its part of them in turn. sqlite acknowledges when the disk has the message, Redis (without a file) when it has it.

| | a second | server, µs per message | Redis, µs per message |
|---|---|---|---|
{acks}
## Deliveries in one room

{MEMBERS} members, of which one sends a burst that all receive before the next one follows. Bodies of {BODY} B; a
member of the chat with Channels sends and receives a text of that size.

| | a second | server, µs per delivery | Redis, µs per delivery | deliveries per CPU second of server and Redis |
|---|---|---|---|---|
{deliveries}
**Loss.** {senders} of {MEMBERS} members send {BURST_EACH} messages each at once. Deliveries that did not arrive:

| | expected | lost |
|---|---|---|
{losses}
## How long a delivery takes

One member sends {DELIVERY_RATE} messages a second to {FEW_MEMBERS} others. From the time when a message was to be sent
until it was read, milliseconds. Across two: the sender is at one server, the others are at another one.

| | p50 | p99 |
|---|---|---|
{delays}
## How long an acknowledgement takes

{ack_rate} messages a second in all, of {SESSIONS} sessions, milliseconds. Beside a large room: the server delivers
{CROWD_RATE} message a second to {crowd} other members, too, on the same core.

| | p50 alone | p99 alone | p50 beside it | p99 beside it |
|---|---|---|---|---|
{ack_delays}
## Joins of many rooms

{joins_count} sessions connect as fast as they can and join rooms of {JOINED_ROOM}, with all presence lines.

| | server, µs per session | Redis, µs per session | server, bytes per session |
|---|---|---|---|
{joins}
## Engines against bare loops

The writer of sqlite against a loop with the same statements and group size (`cargo run --release -p talkback-server
--example durable`), and the engine in Redis against its own commands, recorded and sent again, pipelined, by a program
that does nothing else (`--example shared`).

| | engine | bare | engine to bare |
|---|---|---|---|
{bare}
Besides what is switched off above: {limits}.
",
        machine = figures.machine,
        targets = targets(figures)?,
        acks = acks(figures)?,
        deliveries = deliveries(figures)?,
        senders = BURST_SENDERS,
        losses = losses(figures)?,
        delays = delays(figures)?,
        ack_rate = grouped(f64::from(ACK_RATE)),
        crowd = grouped(CROWD as f64),
        ack_delays = ack_delays(figures)?,
        joins_count = grouped(JOINS as f64),
        joins = joins(figures)?,
        bare = bare(figures)?,
        limits = limits.join(", "),
    ))
}

/// Whether a target is met: the values of the rounds, and whether each is within the bound.
struct Target {
    text: String,
    measured: String,
    rounds: Vec<bool>,
}

fn targets(figures: &Figures) -> Result<String> {
    let mut targets = Vec::new();
    let acks = name::of(Kind::Sqlite, &name::acks(SESSIONS, 100), name::PER_SECOND);
    targets.push(Target {
        text: format!("sqlite, {SESSIONS} sessions in 100 rooms: at least 60,000 acknowledged messages a second"),
        measured: spread(figures, &acks, 0)?,
        rounds: figures.rounds(&acks).iter().map(|value| *value >= 60_000.0).collect(),
    });
    let p99 = |kind, crowd| name::of(kind, &name::ack_delays(crowd), name::P99);
    for (kind, crowd, base, base_crowd, text) in [
        (
            Kind::Sqlite,
            false,
            Kind::Memory,
            false,
            "sqlite: p99 of an acknowledgement within 5 ms of memory's".to_owned(),
        ),
        (Kind::Memory, true, Kind::Memory, false, crowd_target(Kind::Memory)),
        (Kind::Sqlite, true, Kind::Sqlite, false, crowd_target(Kind::Sqlite)),
        (Kind::Redis, true, Kind::Redis, false, crowd_target(Kind::Redis)),
    ] {
        let own = figures.rounds(&p99(kind, crowd));
        let base = figures.rounds(&p99(base, base_crowd));
        let differences: Vec<_> = own.iter().zip(base).map(|(own, base)| own - base).collect();
        targets.push(Target {
            text,
            measured: format!("{} ms", spread_of(&differences, 2)?),
            rounds: differences.iter().map(|difference| *difference <= 5.0).collect(),
        });
    }
    for (engine, unit, text, bound, is_least) in [
        (
            "redis",
            "",
            "Redis: at least 70 % of the appends of its bare script",
            0.7,
            true,
        ),
        (
            "sqlite-64",
            "",
            "sqlite: the writer's CPU at most 1.5 times that of the bare loop",
            1.5,
            false,
        ),
    ] {
        let quotients = against_bare(figures, engine);
        targets.push(Target {
            text: text.to_owned(),
            measured: format!("{}{unit}", spread_of(&quotients, 2)?),
            rounds: quotients
                .iter()
                .map(|value| (*value >= bound) == is_least || *value == bound)
                .collect(),
        });
    }
    let lost = name::of(Kind::Redis, name::BURST, name::LOST);
    for in_flight in BURSTS {
        let quotients = over_channels(figures, in_flight);
        // Where there is no Python there is no Channels.
        if quotients.is_empty() {
            continue;
        }
        targets.push(Target {
            text: format!("Redis, {MEMBERS} members × {in_flight}: at least 10 times the deliveries per CPU second of Channels, nothing lost"),
            measured: format!("{} times, {} lost", spread_of(&quotients, 1)?, grouped(figures.median(&lost)?)),
            rounds: quotients.iter().map(|value| *value >= 10.0 && figures.rounds(&lost).iter().all(|lost| *lost == 0.0)).collect(),
        });
    }
    let mut text = String::new();
    for Target {
        text: target,
        measured,
        rounds,
    } in targets
    {
        let verdict = match rounds.iter().filter(|is_met| **is_met).count() {
            met if met == rounds.len() => "met",
            0 => "missed",
            _ => "open",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {target} | {measured} | {verdict} |");
    }
    Ok(text)
}

fn crowd_target(kind: Kind) -> String {
    format!(
        "{}: a room of {} members raises p99 of others' acknowledgements by at most 5 ms",
        kind.name(),
        grouped(CROWD as f64)
    )
}

/// The quotients of the rounds of an engine and its bare loop: of appends a second, or of CPU time.
fn against_bare(figures: &Figures, engine: &str) -> Vec<f64> {
    let rounds = |which| figures.rounds(&format!("{}{engine}-{which}", name::BARE)).to_vec();
    rounds("engine")
        .iter()
        .zip(rounds("bare"))
        .map(|(engine, bare)| engine / bare)
        .collect()
}

/// CPU time of a delivery, of servers and Redis, in each round.
fn whole_cpu(figures: &Figures, kind: Kind, in_flight: u64) -> Vec<f64> {
    let rounds = |unit| {
        figures
            .rounds(&name::of(kind, &name::deliveries(in_flight), unit))
            .to_vec()
    };
    let redis = rounds(name::REDIS_CPU);
    let servers = rounds(name::SERVER_CPU);
    servers
        .iter()
        .enumerate()
        .map(|(round, cpu)| cpu + redis.get(round).unwrap_or(&0.0))
        .collect()
}

fn over_channels(figures: &Figures, in_flight: u64) -> Vec<f64> {
    let own = whole_cpu(figures, Kind::Redis, in_flight);
    let channels = whole_cpu(figures, Kind::Channels, in_flight);
    own.iter().zip(channels).map(|(own, channels)| channels / own).collect()
}

fn acks(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    let few = ROOMS
        .into_iter()
        .flat_map(|rooms| Kind::ENGINES.map(|kind| (kind, SESSIONS, rooms)));
    for (kind, sessions, rooms) in few.chain(OTHER_SESSIONS.map(|sessions| (Kind::Sqlite, sessions, 100))) {
        let (load, plural) = (name::acks(sessions, rooms), if rooms == 1 { "room" } else { "rooms" });
        let rooms = grouped(rooms as f64);
        let cells = cells(
            figures,
            kind,
            &load,
            &[(name::PER_SECOND, 0), (name::SERVER_CPU, 2), (name::REDIS_CPU, 2)],
        )?;
        let _ = writeln!(
            text,
            "| {}, {sessions} sessions, {rooms} {plural} | {cells} |",
            kind.name()
        );
    }
    Ok(text)
}

fn deliveries(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    for in_flight in BURSTS {
        let load = name::deliveries(in_flight);
        for kind in [Kind::Memory, Kind::Sqlite, Kind::Redis, Kind::Channels] {
            if figures.rounds(&name::of(kind, &load, name::PER_SECOND)).is_empty() {
                continue;
            }
            let cells = cells(
                figures,
                kind,
                &load,
                &[(name::PER_SECOND, 0), (name::SERVER_CPU, 2), (name::REDIS_CPU, 2)],
            )?;
            let a_second: Vec<_> = whole_cpu(figures, kind, in_flight)
                .iter()
                .map(|cpu| 1e6 / cpu)
                .collect();
            let a_second = spread_of(&a_second, 0)?;
            let _ = writeln!(
                text,
                "| {}, {in_flight} at a time | {cells} | {a_second} |",
                kind.name()
            );
        }
    }
    Ok(text)
}

fn losses(figures: &Figures) -> Result<String> {
    rows(
        figures,
        &[Kind::Redis, Kind::Channels],
        name::BURST,
        &[(name::EXPECTED, 0), (name::LOST, 0)],
    )
}

fn delays(figures: &Figures) -> Result<String> {
    let kinds = [
        Kind::Memory,
        Kind::Sqlite,
        Kind::Redis,
        Kind::TwoServers,
        Kind::Channels,
        Kind::TwoChannels,
    ];
    rows(figures, &kinds, name::DELAYS, &[(name::P50, 2), (name::P99, 2)])
}

fn ack_delays(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    for kind in Kind::ENGINES {
        let columns = [(name::P50, 2), (name::P99, 2)];
        let alone = cells(figures, kind, &name::ack_delays(false), &columns)?;
        let beside = cells(figures, kind, &name::ack_delays(true), &columns)?;
        let _ = writeln!(text, "| {} | {alone} | {beside} |", kind.name());
    }
    Ok(text)
}

fn joins(figures: &Figures) -> Result<String> {
    rows(
        figures,
        &[Kind::Memory, Kind::Redis],
        name::JOINS,
        &[(name::SERVER_CPU, 0), (name::REDIS_CPU, 0), (name::BYTES, 0)],
    )
}

fn bare(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    for (engine, title, digits) in [
        ("redis", "Redis, appends a second".to_owned(), 0),
        ("sqlite-8", "sqlite, 8 sessions, µs per message".to_owned(), 2),
        ("sqlite-64", "sqlite, 64 sessions, µs per message".to_owned(), 2),
        ("sqlite-512", "sqlite, 512 sessions, µs per message".to_owned(), 2),
    ] {
        let cell = |which| spread(figures, &format!("{}{engine}-{which}", name::BARE), digits);
        let (own, bare) = (cell("engine")?, cell("bare")?);
        let quotient = spread_of(&against_bare(figures, engine), 2)?;
        let _ = writeln!(text, "| {title} | {own} | {bare} | {quotient} |");
    }
    Ok(text)
}

/// A row for each kind that was measured.
fn rows(figures: &Figures, kinds: &[Kind], load: &str, columns: &[(&str, usize)]) -> Result<String> {
    let mut text = String::new();
    for kind in kinds {
        let is_measured = |(column, _): &(&str, usize)| !figures.rounds(&name::of(*kind, load, column)).is_empty();
        if columns.iter().any(is_measured) {
            let _ = writeln!(text, "| {} | {} |", kind.name(), cells(figures, *kind, load, columns)?);
        }
    }
    Ok(text)
}

/// The columns of a row. A stack without Redis has no figure of it.
fn cells(figures: &Figures, kind: Kind, load: &str, columns: &[(&str, usize)]) -> Result<String> {
    let cell = |(unit, digits): &(&str, usize)| {
        let name = name::of(kind, load, unit);
        if *unit == name::REDIS_CPU && figures.rounds(&name).is_empty() {
            return Ok(String::new());
        }
        spread(figures, &name, *digits)
    };
    let cells = columns.iter().map(cell).collect::<Result<Vec<_>>>()?;
    Ok(cells.join(" | "))
}

fn spread(figures: &Figures, name: &str, digits: usize) -> Result<String> {
    figures.median(name)?;
    spread_of(figures.rounds(name), digits)
}

/// The median, and the smallest and the largest value.
fn spread_of(values: &[f64], digits: usize) -> Result<String> {
    anyhow::ensure!(
        !values.is_empty(),
        "something was not measured: run `cargo xtask bench --engines`"
    );
    let sorted = sorted(values.to_vec());
    let show = |value: f64| {
        if digits == 0 {
            grouped(value)
        } else {
            format!("{value:.digits$}")
        }
    };
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    Ok(format!("{} ({}–{})", show(median(&sorted)), show(least), show(most)))
}

#[expect(clippy::cast_possible_truncation, reason = "what is counted is far below 2^52")]
fn grouped(value: f64) -> String {
    (value.round() as i64).to_formatted_string(&Locale::en)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_median_and_bounds() {
        assert_eq!(spread_of(&[3.0, 1.0, 2000.4], 0).unwrap(), "3 (1–2,000)");
        assert_eq!(spread_of(&[4.126], 2).unwrap(), "4.13 (4.13–4.13)");
        assert!(spread_of(&[], 2).is_err());
    }

    #[test]
    fn something_that_was_not_measured_is_an_error_that_says_what_to_run() {
        let error = with_engines("# Bench\n", &Figures::new("a machine".to_owned())).unwrap_err();
        assert!(error.to_string().contains("cargo xtask bench --engines"), "{error}");
    }
}
