//! The loads, and measuring them in interleaved rounds.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    clients::{Clients, Expected, Rooms, Target},
    contenders::{Contender, Programs},
    hold::{Holder, SPARE_FILES},
    load::{Echo, FanOut, Load},
    process::{self, Cores, Server},
    results::{Cost, Held, Memory, Results},
};

/// The number of connections that Talkback must hold.
pub const HELD: usize = 50_000;
/// With more server processes than this the connections are not measured, because the figure would mean little for one
/// process.
const MAX_PROCESSES: usize = 4;

/// A load: what the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `connections` clients keep `in_flight` messages of `size` bytes in flight each.
    Echo {
        /// The number of clients.
        connections: usize,
        /// The number of messages of each client that have not come back yet.
        in_flight: u64,
        /// The bytes of a message.
        size: usize,
    },
    /// One of `members` sends bursts of `in_flight` messages; all members receive texts of `size` bytes.
    FanOut {
        /// The number of members.
        members: usize,
        /// The number of messages in a burst.
        in_flight: u64,
        /// Bytes of a delivered text.
        size: usize,
    },
    /// One of `members` sends `per_second` messages per second, which the default limits allow; all members receive
    /// texts of `size` bytes.
    Paced {
        /// The number of members.
        members: usize,
        /// Bytes of a delivered text.
        size: usize,
        /// The number of messages per second.
        per_second: u32,
    },
    /// `sessions` clients keep `in_flight` messages of `size` bytes in flight, each to the log of a room of its own
    /// without members.
    Append {
        /// The number of clients and rooms.
        sessions: usize,
        /// The number of messages of each client that are not yet acknowledged.
        in_flight: u64,
        /// The bytes of a message's body.
        size: usize,
    },
    /// Users join a room as fast as they can.
    Join {
        /// The number of users who are in the room before.
        users: usize,
    },
}

impl Shape {
    /// Connections that echo once and then do nothing.
    pub const IDLE: Self = Self::echo(1, 1, 32);
    /// The echo that is also measured with Talkback's default limits.
    pub const ECHO_DEFAULT_LIMITS: Self = Self::echo(64, 1, 32);
    /// The sessions in a room that are also measured with Talkback's default limits.
    pub const ROOM_DEFAULT_LIMITS: Self = Self::Paced {
        members: 100,
        size: 64,
        per_second: 250,
    };
    /// Appends to many rooms.
    pub const APPENDS: Self = Self::Append {
        sessions: 256,
        in_flight: 16,
        size: 64,
    };
    /// Joins in a small, a large and a very large room.
    pub const JOINS: [Self; 3] = [
        Self::Join { users: 100 },
        Self::Join { users: 1000 },
        Self::Join { users: 5000 },
    ];
    /// The loads of the report.
    pub const ALL: [Self; 13] = [
        Self::ECHO_DEFAULT_LIMITS,
        Self::echo(64, 16, 32),
        Self::echo(64, 1, 1024),
        Self::echo(64, 16, 1024),
        Self::fan_out(100, 1, 64),
        Self::fan_out(100, 8, 64),
        Self::fan_out(1000, 1, 64),
        Self::fan_out(1000, 8, 64),
        Self::ROOM_DEFAULT_LIMITS,
        Self::APPENDS,
        Self::JOINS[0],
        Self::JOINS[1],
        Self::JOINS[2],
    ];

    const fn echo(connections: usize, in_flight: u64, size: usize) -> Self {
        Self::Echo {
            connections,
            in_flight,
            size,
        }
    }

    const fn fan_out(members: usize, in_flight: u64, size: usize) -> Self {
        Self::FanOut {
            members,
            in_flight,
            size,
        }
    }

    /// The same with messages of another size.
    fn with_size(mut self, other: Option<usize>) -> Self {
        match &mut self {
            Self::Echo { size, .. }
            | Self::FanOut { size, .. }
            | Self::Paced { size, .. }
            | Self::Append { size, .. } => *size = other.unwrap_or(*size),
            Self::Join { .. } => {}
        }
        self
    }

    /// The unit that the cost is for.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Echo { .. } => "message",
            Self::FanOut { .. } | Self::Paced { .. } => "delivery",
            Self::Append { .. } => "append",
            Self::Join { .. } => "join",
        }
    }

    /// The title of its column in tables.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Echo {
                connections,
                in_flight,
                size,
            } => format!("{connections} clients × {in_flight} × {}", bytes(size)),
            Self::FanOut {
                members,
                in_flight,
                size,
            } => format!("{members} members × {in_flight} × {}", bytes(size)),
            Self::Paced {
                members,
                size,
                per_second,
            } => format!("{members} members × {}, {per_second} a second", bytes(size)),
            Self::Append {
                sessions,
                in_flight,
                size,
            } => format!("{sessions} rooms × {in_flight} × {}", bytes(size)),
            Self::Join { users } => format!("a room of {users} users"),
        }
    }
}

fn bytes(size: usize) -> String {
    if size.is_multiple_of(1024) {
        format!("{} KiB", size / 1024)
    } else {
        format!("{size} B")
    }
}

/// The durations and numbers of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether the run is too short for meaningful figures.
    pub quick: bool,
    /// The number of rounds; in each round every load is measured once with every contender.
    pub rounds: usize,
    /// The duration of the load before the measurement.
    pub warm_up: Duration,
    /// The duration of the measurement.
    pub measured: Duration,
    /// The number of idle connections whose memory is measured.
    pub idle: usize,
    /// The number of connections that Talkback must hold at once.
    pub held: usize,
    /// The maximum of the members of a room and of the sessions that append, also if the load has more.
    pub max_members: usize,
    /// The number of users that join in the load of joins.
    pub joins: usize,
    /// The number of idle sessions in one room whose memory is measured.
    pub one_room: usize,
    /// Memory is read when it has not changed for this long.
    pub settled: Duration,
}

impl Plan {
    /// Everything in a few seconds, to test that the bench works. The figures mean nothing.
    pub const QUICK: Self = Self {
        quick: true,
        rounds: 1,
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(20),
        idle: 50,
        held: 100,
        max_members: 60,
        joins: 20,
        one_room: 60,
        settled: Duration::from_millis(100),
    };
}

/// Measures everything.
///
/// # Errors
/// When a server does not start, loses a message or answers with a wrong one.
pub fn run(programs: &Programs, plan: Plan) -> Result<Results> {
    let cores = Cores::find()?;
    cores.enter_clients()?;
    let files = process::raise_open_files((plan.held as u64) + SPARE_FILES)?;
    let mut costs = Vec::new();
    for group in groups() {
        costs.extend(cost(programs, plan, cores, &group)?);
    }
    let mut memory = Vec::new();
    for contender in programs.contenders() {
        if contender.can_idle() {
            memory.push(idle(
                programs,
                plan,
                contender,
                cores,
                1,
                plan.idle,
                Rooms::OnePerThousand,
            )?);
        }
    }
    let one_room = idle(programs, plan, Contender::Session, cores, 1, plan.one_room, Rooms::One)?;
    let held = held(programs, plan, cores, files)?;
    let contenders = programs.contenders().into_iter();
    Ok(Results {
        plan,
        commands: contenders
            .map(|contender| (contender, programs.command_line(contender)))
            .collect(),
        costs,
        memory,
        one_room,
        held,
    })
}

/// Measures only the CPU of the loads whose title contains `part`, with messages of `size` bytes if it is given.
///
/// # Errors
/// Like [`run`].
pub fn costs(programs: &Programs, plan: Plan, part: &str, size: Option<usize>) -> Result<Vec<Cost>> {
    let cores = Cores::find()?;
    cores.enter_clients()?;
    process::raise_open_files(SPARE_FILES + (plan.max_members + plan.joins).max(2000) as u64)?;
    let mut costs = Vec::new();
    for group in groups() {
        let group: Vec<_> = group.into_iter().filter(|shape| shape.title().contains(part)).collect();
        let group: Vec<_> = group.into_iter().map(|shape| shape.with_size(size)).collect();
        costs.extend(cost(programs, plan, cores, &group)?);
    }
    Ok(costs)
}

/// The loads in groups whose costs are compared with each other.
fn groups() -> Vec<Vec<Shape>> {
    let is_join = |shape: &Shape| matches!(shape, Shape::Join { .. });
    let (joins, alone): (Vec<_>, Vec<_>) = Shape::ALL.into_iter().partition(is_join);
    alone.into_iter().map(|shape| vec![shape]).chain([joins]).collect()
}

/// Measures a group of loads: in each round every load with every contender, each time in a new process. Costs that are
/// compared are measured in the same round. Each round begins with the next of them, so that the order varies.
fn cost(programs: &Programs, plan: Plan, cores: Cores, group: &[Shape]) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for &shape in group {
        let able = programs
            .contenders()
            .into_iter()
            .filter(|contender| contender.can(shape));
        costs.extend(able.map(|contender| Cost {
            contender,
            shape,
            rounds: Vec::new(),
            p99: Vec::new(),
        }));
    }
    for round in 0..plan.rounds {
        for turn in 0..costs.len() {
            let index = (round + turn) % costs.len();
            let cost = &mut costs[index];
            let what = format!(
                "{} round {}/{}: {}",
                cost.shape.title(),
                round + 1,
                plan.rounds,
                cost.contender.name()
            );
            let (value, delay) =
                once(programs, plan, cores, cost.contender, cost.shape).with_context(|| what.clone())?;
            eprintln!("{what}: {value:.3} us");
            cost.rounds.push(value);
            cost.p99.extend(delay.map(|delay| delay.as_secs_f64() * 1e3));
        }
    }
    for cost in &mut costs {
        cost.p99.sort_by(f64::total_cmp);
    }
    Ok(costs)
}

/// Server CPU per message in microseconds, and the 99th percentile of the delivery time.
fn once(
    programs: &Programs,
    plan: Plan,
    cores: Cores,
    contender: Contender,
    shape: Shape,
) -> Result<(f64, Option<Duration>)> {
    let (server, target) = programs.start(contender, shape, cores)?;
    let mut load: Box<dyn Load> = match shape {
        Shape::Join { users } => return Ok((joins(&server, &target, users.min(plan.max_members), plan.joins)?, None)),
        Shape::Append {
            sessions,
            in_flight,
            size,
        } => Box::new(Echo::appending(
            &target,
            sessions.min(plan.max_members),
            sessions.min(plan.max_members),
            in_flight,
            size,
        )?),
        Shape::Paced {
            members,
            size,
            per_second,
        } => Box::new(FanOut::connect(&target, members.min(plan.max_members), 1, size, "")?.paced(per_second)),
        Shape::Echo {
            connections,
            in_flight,
            size,
        } => Box::new(Echo::connect(&target, connections, in_flight, size)?),
        Shape::FanOut {
            members,
            in_flight,
            size,
        } => Box::new(FanOut::connect(
            &target,
            members.min(plan.max_members),
            in_flight,
            size,
            contender.room_prefix(),
        )?),
    };
    load.run(plan.warm_up)?;
    let before = server.cpu_time()?;
    let messages = load.run(plan.measured)?;
    let used = server.cpu_time()? - before;
    ensure!(messages > 0, "no message in {:?}", plan.measured);
    Ok((microseconds_each(used, messages), load.p99()))
}

/// Server CPU per join in microseconds, with the presence lines to the members of the room.
fn joins(server: &Server, target: &Target, users: usize, joins: usize) -> Result<f64> {
    let expected = Expected::Messages {
        text: String::new(),
        rooms: Rooms::One,
    };
    let mut clients = Clients::connect(target, users, Ipv4Addr::LOCALHOST, expected)?;
    clients.await_users(users)?;
    let before = server.cpu_time()?;
    clients.grow_to(target, users + joins, Ipv4Addr::LOCALHOST)?;
    clients.await_users(users + joins)?;
    Ok(microseconds_each(server.cpu_time()? - before, joins as u64))
}

#[expect(clippy::cast_precision_loss, reason = "what is counted is far below 2^52")]
pub(crate) fn microseconds_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Resident bytes before and with idle connections, summed over `servers` processes with `each` connections each.
fn idle(
    programs: &Programs,
    plan: Plan,
    contender: Contender,
    cores: Cores,
    servers: usize,
    each: usize,
    rooms: Rooms,
) -> Result<Memory> {
    let mut running = Vec::new();
    let (mut before, mut with) = (0, 0);
    for index in 0..servers {
        let (server, target) = programs.start(contender, Shape::IDLE, cores)?;
        let path = target.path.context("idle connections are WebSockets")?;
        before += server.settled_memory(plan.settled)?;
        running.push((
            Holder::start(target.address, &path, each, source(index)?, rooms)?,
            server,
        ));
    }
    for (_, server) in &running {
        with += server.settled_memory(plan.settled)?;
    }
    let holding = running.iter_mut().all(|(holder, _)| holder.is_holding());
    ensure!(holding, "{} dropped idle connections", contender.name());
    eprintln!(
        "{} with {} idle: {} -> {} KiB",
        contender.name(),
        servers * each,
        before / 1024,
        with / 1024
    );
    Ok(Memory {
        contender,
        connections: servers * each,
        before,
        with,
    })
}

/// Measures [`HELD`] connections, spread over several server processes if the limit of open files is low.
fn held(programs: &Programs, plan: Plan, cores: Cores, files: u64) -> Result<Held> {
    let most = usize::try_from(files.saturating_sub(SPARE_FILES))?.max(1);
    let processes = plan.held.div_ceil(most);
    if processes > MAX_PROCESSES {
        return Ok(Held::NotHere(format!(
            "a process may open only {files} files here; raise the hard limit (`ulimit -Hn`) to {} for this",
            plan.held as u64 + SPARE_FILES
        )));
    }
    let each = plan.held.div_ceil(processes);
    let memory = idle(
        programs,
        plan,
        Contender::Talkback,
        cores,
        processes,
        each,
        Rooms::OnePerThousand,
    )?;
    Ok(Held::Yes {
        connections: memory.connections,
        processes,
        per_connection: memory.per_connection(),
    })
}

/// The first source address of a holder. Each has addresses of its own, because ports are limited per address.
fn source(holder: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::from_bits(
        Ipv4Addr::new(127, 0, 1, 1).to_bits() + u32::try_from(holder * 16)?,
    ))
}
