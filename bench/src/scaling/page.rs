//! The tables of docs/scaling.md and docs/operations.md, by document and name.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use anyhow::Result;
use num_format::{Locale, ToFormattedString};

use super::{
    costs::Costs,
    queue, shards,
    size::{PLANNED, Profile},
    storm::{Cause, Storm, simulate},
};
use crate::engines::{
    MEMBERS, SESSIONS,
    figures::{Figures, name},
    stack::Kind,
};

/// The same simulation each time.
const SEED: u64 = 20;
/// The rooms whose load is spread.
const ROOMS: usize = 100_000;

/// What connected people do, for a million of them.
const PROFILES: [Profile; 4] = [
    Profile {
        name: "notices: rooms of 2, a message an hour in each",
        connections: 1e6,
        members: 2.0,
        per_room: 1.0 / 3600.0,
        body: 200.0,
        servers: 20.0,
    },
    Profile {
        name: "teams: rooms of 20, a message a minute in each",
        connections: 1e6,
        members: 20.0,
        per_room: 1.0 / 60.0,
        body: 100.0,
        servers: 20.0,
    },
    Profile {
        name: "busy chat: rooms of 100, a message a second in each",
        connections: 1e6,
        members: 100.0,
        per_room: 1.0,
        body: 100.0,
        servers: 20.0,
    },
    Profile {
        name: "one event: a room of 1,000,000, a message a second",
        connections: 1e6,
        members: 1e6,
        per_room: 1.0,
        body: 200.0,
        servers: 20.0,
    },
];

/// All tables: by the document, and the name in it. Quickly: with a hundredth of the clients and rooms, to test that it
/// works.
///
/// # Errors
/// A figure was not measured.
pub fn tables(figures: &Figures, quickly: bool) -> Result<BTreeMap<String, BTreeMap<&'static str, String>>> {
    let costs = Costs::read(figures)?;
    let part = if quickly { 100 } else { 1 };
    let scaling = BTreeMap::from([
        ("costs", costs_table(&costs, figures)),
        ("limits", limits(&costs)),
        ("sizes", sizes(&costs)),
        ("shards", spreads(ROOMS / part)),
        ("waits", waits(&costs)),
        ("storms", storms(&costs, part)?),
    ]);
    let operations = BTreeMap::from([("sizing", sizing(figures)?)]);
    Ok(BTreeMap::from([
        ("docs/scaling.md".to_owned(), scaling),
        ("docs/operations.md".to_owned(), operations),
    ]))
}

fn costs_table(costs: &Costs, figures: &Figures) -> String {
    let us = |value: f64| format!("{value:.1} µs");
    table(
        &["with logs in Redis", "a server", "Redis"],
        &[
            vec!["a message".into(), us(costs.server_message), us(costs.redis_message)],
            vec![
                "each delivery, one message at a time".into(),
                us(costs.server_delivery),
                String::new(),
            ],
            vec![
                "each server that has members in the room".into(),
                String::new(),
                us(costs.redis_subscriber),
            ],
            vec![
                "a session that connects and joins".into(),
                us(costs.server_join),
                us(costs.redis_join),
            ],
            vec![
                "memory of an idle session".into(),
                format!("{} bytes", grouped(costs.session_bytes)),
                String::new(),
            ],
        ],
    ) + &format!("\nMeasured on {}.\n", figures.machine)
}

fn limits(costs: &Costs) -> String {
    let a_second = |microseconds: f64| grouped(1e6 / microseconds);
    let watched = costs.redis_message + costs.redis_subscriber;
    table(
        &["", "a second, with the whole core"],
        &[
            vec![
                "messages through one server core".into(),
                a_second(costs.server_message),
            ],
            vec!["deliveries of one server core".into(), a_second(costs.server_delivery)],
            vec![
                "sessions that one server core takes".into(),
                a_second(costs.server_join),
            ],
            vec![
                "messages of one Redis, in rooms that no server watches".into(),
                a_second(costs.redis_message),
            ],
            vec![
                "messages of one Redis, in rooms on one server".into(),
                a_second(watched),
            ],
            vec!["sessions that one Redis takes".into(), a_second(costs.redis_join)],
        ],
    )
}

fn sizes(costs: &Costs) -> String {
    let rows: Vec<_> = PROFILES
        .iter()
        .map(|profile| {
            let need = profile.need(costs);
            vec![
                profile.name.to_owned(),
                grouped(need.messages),
                grouped(need.deliveries),
                format!("{:.1}", need.server_cores),
                format!("{:.2}", need.redis_nodes),
                format!("{:.1} GB", need.memory),
                format!("{:.2} Gbit/s", need.network),
            ]
        })
        .collect();
    table(
        &[
            "a million connections",
            "messages a second",
            "deliveries a second",
            "server cores",
            "Redis cores",
            "memory",
            "network",
        ],
        &rows,
    ) + &format!("\nCores are planned to be used by {} %.\n", grouped(PLANNED * 100.0))
}

fn spreads(rooms: usize) -> String {
    let mut rows = Vec::new();
    for (skew, what) in [(0.0, "all alike"), (0.8, "skewed (0.8)"), (1.0, "very skewed (1.0)")] {
        for nodes in [3, 10, 30, 100] {
            let spread = shards::spread(rooms, skew, nodes);
            rows.push(vec![
                what.to_owned(),
                nodes.to_string(),
                format!("{:.2} times", spread.busiest),
                format!("{:.1} %", spread.largest_room * 100.0),
                format!("{:.1}", nodes as f64 / spread.busiest),
            ]);
        }
    }
    table(
        &[
            "rooms",
            "nodes",
            "the busiest node has, of the mean",
            "the busiest room has, of all messages",
            "nodes' worth of messages until one is full",
        ],
        &rows,
    )
}

fn waits(costs: &Costs) -> String {
    let service = Duration::from_secs_f64((costs.redis_message + costs.redis_subscriber) / 1e6);
    let rows: Vec<_> = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95]
        .into_iter()
        .map(|used| {
            let (half, most) = queue::waits(service, used, SEED);
            vec![
                format!("{} %", grouped(used * 100.0)),
                grouped(used / service.as_secs_f64()),
                format!("{:.2}", half.as_secs_f64() * 1e3),
                format!("{:.2}", most.as_secs_f64() * 1e3),
            ]
        })
        .collect();
    table(
        &["Redis's core is used by", "messages a second", "p50, ms", "p99, ms"],
        &rows,
    )
}

fn storms(costs: &Costs, part: usize) -> Result<String> {
    let drain = Cause::Drain(Duration::from_secs(1));
    let gone = |seconds| Cause::AllGone(Duration::from_secs(seconds));
    let mut rows = Vec::new();
    for (what, cause, clients, servers) in [
        ("one of 10 servers with 10,000 each stops", drain, 10_000, 9),
        ("one of 10 servers with 50,000 each stops", drain, 50_000, 9),
        (
            "the same, drained for 30 s",
            Cause::Drain(Duration::from_secs(30)),
            50_000,
            9,
        ),
        ("one of 10 servers with 50,000 each is killed", Cause::Killed, 50_000, 9),
        ("one of 2 servers with 50,000 each is killed", Cause::Killed, 50_000, 1),
        (
            "all of 10 servers with 10,000 each, back after 5 s",
            gone(5),
            100_000,
            10,
        ),
        ("the same, back after 60 s", gone(60), 100_000, 10),
        (
            "all of 4 servers with 50,000 each, back after 60 s",
            gone(60),
            200_000,
            4,
        ),
    ] {
        let microseconds = |value: f64| Duration::from_secs_f64(value / 1e6);
        let outcome = simulate(
            &Storm {
                cause,
                clients: clients / part,
                servers,
                server_join: microseconds(costs.server_join),
                redis_join: microseconds(costs.redis_join),
            },
            SEED,
        )?;
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        rows.push(vec![
            what.to_owned(),
            grouped(clients as f64),
            seconds(outcome.half),
            seconds(outcome.most),
            seconds(outcome.all),
            format!("{:.1}", outcome.attempts),
            format!("{} %", grouped(outcome.failed * 100.0)),
        ]);
    }
    Ok(table(
        &[
            "",
            "clients",
            "half are back after",
            "99 of 100",
            "all",
            "attempts of a client",
            "of them failed",
        ],
        &rows,
    ))
}

fn sizing(figures: &Figures) -> Result<String> {
    let mut rows = Vec::new();
    for kind in Kind::ENGINES {
        let median = |load: &str, unit| figures.median(&name::of(kind, load, unit));
        let acks = name::acks(SESSIONS, 100);
        let delays = name::ack_delays(false);
        let redis = match kind {
            Kind::Redis => format!("{:.1} µs", median(&acks, name::REDIS_CPU)?),
            _ => String::new(),
        };
        rows.push(vec![
            kind.name().to_owned(),
            grouped(median(&acks, name::PER_SECOND)?),
            format!("{:.1} µs", median(&acks, name::SERVER_CPU)?),
            redis,
            format!("{:.1} µs", median(&name::deliveries(1), name::SERVER_CPU)?),
            format!("{:.1} µs", median(&name::deliveries(8), name::SERVER_CPU)?),
            format!("{:.2} ms", median(&delays, name::P99)?),
        ]);
    }
    let bytes = figures.median(&name::of(Kind::Memory, name::JOINS, name::BYTES))?;
    Ok(table(
        &[
            "engine",
            "acknowledged messages a second",
            "server CPU of a message",
            "Redis's CPU",
            "of a delivery, 1 at a time",
            "of a delivery, 8 at a time",
            "p99 of an acknowledgement at 1,000 a second",
        ],
        &rows,
    ) + &format!(
        "\nOn {}. One core for the server and Redis together, bodies of 100 B, {SESSIONS} publishers, {MEMBERS} members. An idle session needs {} \
         bytes of the server's memory, without the system's for its socket.\n",
        figures.machine,
        grouped(bytes)
    ))
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[expect(clippy::cast_possible_truncation, reason = "what is counted is far below 2^52")]
fn grouped(value: f64) -> String {
    (value.round() as i64).to_formatted_string(&Locale::en)
}
