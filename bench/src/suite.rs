//! Which loads the contenders carry, in interleaved rounds.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    contenders::{Contender, Programs},
    hold::{Holder, SPARE_FILES},
    load::{Echo, FanOut, Load},
    process::{self, Cores},
    results::{Cost, Held, Memory, Results},
};

/// How many connections the promise to hold them speaks of.
pub const HELD: usize = 50_000;
/// More server processes than this are no longer a claim about a server.
const MOST_PROCESSES: usize = 4;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `connections` clients keep `in_flight` messages of `size` bytes going each.
    Echo {
        /// How many clients.
        connections: usize,
        /// Messages each client has sent and not yet got back.
        in_flight: u64,
        /// Bytes of a message.
        size: usize,
    },
    /// One of `members` sends bursts of `in_flight` messages; all members receive texts of `size` bytes.
    FanOut {
        /// How many members the room has.
        members: usize,
        /// Messages in a burst.
        in_flight: u64,
        /// Bytes of a delivered text.
        size: usize,
    },
}

impl Shape {
    /// Connections that echo once and then do nothing.
    pub const IDLE: Self = Self::echo(1, 1, 32);
    /// The loads of the report.
    pub const ALL: [Self; 8] = [
        Self::echo(64, 1, 32),
        Self::echo(64, 16, 32),
        Self::echo(64, 1, 1024),
        Self::echo(64, 16, 1024),
        Self::fan_out(100, 1, 64),
        Self::fan_out(100, 8, 64),
        Self::fan_out(1000, 1, 64),
        Self::fan_out(1000, 8, 64),
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
        let (Self::Echo { size, .. } | Self::FanOut { size, .. }) = &mut self;
        *size = other.unwrap_or(*size);
        self
    }

    /// The head of its column.
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

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether the numbers say nothing about the servers.
    pub quick: bool,
    /// Rounds; in each, every contender carries the load once.
    pub rounds: usize,
    /// How long the load is kept up before the measurement.
    pub warm_up: Duration,
    /// How long it is measured.
    pub measured: Duration,
    /// Idle connections whose memory is measured.
    pub idle: usize,
    /// Connections that Talkback must hold at once.
    pub held: usize,
}

impl Plan {
    /// Everything in a few seconds: shows that the bench works, says nothing about the servers.
    pub const QUICK: Self = Self {
        quick: true,
        rounds: 1,
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(20),
        idle: 50,
        held: 100,
    };
}

/// Measures everything.
///
/// # Errors
/// When a server does not start, loses a message or answers with another.
pub fn run(programs: &Programs, plan: Plan) -> Result<Results> {
    let cores = Cores::find()?;
    cores.enter_clients()?;
    let files = process::raise_open_files((plan.held as u64) + SPARE_FILES)?;
    let mut costs = Vec::new();
    for shape in Shape::ALL {
        costs.extend(cost(programs, plan, cores, shape)?);
    }
    let mut memory = Vec::new();
    // Plain TCP holds nothing per connection that is worth a comparison.
    for contender in programs
        .contenders()
        .into_iter()
        .filter(|&contender| contender != Contender::Tcp)
    {
        let (before, with) = idle(programs, contender, cores, 1, plan.idle)?;
        memory.push(Memory {
            contender,
            connections: plan.idle,
            before,
            with,
        });
    }
    let held = held(programs, plan, cores, files)?;
    Ok(Results {
        plan,
        costs,
        memory,
        held,
    })
}

/// Measures only the loads whose title contains `part`, with messages of `size` bytes if it is given, and no memory.
///
/// # Errors
/// Like [`run`].
pub fn costs(programs: &Programs, plan: Plan, part: &str, size: Option<usize>) -> Result<Vec<Cost>> {
    let cores = Cores::find()?;
    cores.enter_clients()?;
    process::raise_open_files(SPARE_FILES + 2000)?;
    let mut costs = Vec::new();
    for shape in Shape::ALL.into_iter().filter(|shape| shape.title().contains(part)) {
        costs.extend(cost(programs, plan, cores, shape.with_size(size))?);
    }
    Ok(costs)
}

/// One load: round after round, every contender in turn, each time in a fresh process.
fn cost(programs: &Programs, plan: Plan, cores: Cores, shape: Shape) -> Result<Vec<Cost>> {
    let able = programs
        .contenders()
        .into_iter()
        .filter(|contender| contender.can(shape));
    let mut costs: Vec<_> = able
        .map(|contender| Cost {
            contender,
            shape,
            sorted: Vec::new(),
            slowest_percent: Vec::new(),
        })
        .collect();
    for round in 1..=plan.rounds {
        for cost in &mut costs {
            let name = cost.contender.name();
            let (value, delay) = once(programs, plan, cores, cost.contender, shape)
                .with_context(|| format!("{name}, {}, round {round}", shape.title()))?;
            eprintln!("{} round {round}/{}: {name}: {value:.3} us", shape.title(), plan.rounds);
            cost.sorted.push(value);
            cost.slowest_percent
                .extend(delay.map(|delay| delay.as_secs_f64() * 1e3));
        }
    }
    for cost in &mut costs {
        cost.sorted.sort_by(f64::total_cmp);
        cost.slowest_percent.sort_by(f64::total_cmp);
    }
    Ok(costs)
}

/// Server CPU a message in microseconds, and how long 99 of 100 deliveries took at most.
fn once(
    programs: &Programs,
    plan: Plan,
    cores: Cores,
    contender: Contender,
    shape: Shape,
) -> Result<(f64, Option<Duration>)> {
    let (server, target) = programs.start(contender, shape, cores)?;
    let mut load: Box<dyn Load> = match shape {
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
            members,
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
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
    Ok((used.as_secs_f64() * 1e6 / messages as f64, load.slowest_percent()))
}

/// Resident bytes before and with idle connections, summed over `servers` processes with `each` connections.
fn idle(programs: &Programs, contender: Contender, cores: Cores, servers: usize, each: usize) -> Result<(u64, u64)> {
    let mut running = Vec::new();
    let (mut before, mut with) = (0, 0);
    for index in 0..servers {
        let (server, target) = programs.start(contender, Shape::IDLE, cores)?;
        let path = target.path.context("idle connections are WebSockets")?;
        before += server.settled_memory()?;
        running.push((Holder::start(target.address, &path, each, source(index)?)?, server));
    }
    for (_, server) in &running {
        with += server.settled_memory()?;
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
    Ok((before, with))
}

/// Open files are limited per process, so a low limit spreads the connections over several server processes.
fn held(programs: &Programs, plan: Plan, cores: Cores, files: u64) -> Result<Held> {
    let most = usize::try_from(files.saturating_sub(SPARE_FILES))?.max(1);
    let processes = plan.held.div_ceil(most);
    if processes > MOST_PROCESSES {
        return Ok(Held::NotHere(format!(
            "a process may open only {files} files here; raise the hard limit (`ulimit -Hn`) to {} for this",
            plan.held as u64 + SPARE_FILES
        )));
    }
    let each = plan.held.div_ceil(processes);
    let (before, with) = idle(programs, Contender::Talkback, cores, processes, each)?;
    let connections = processes * each;
    Ok(Held::Yes {
        connections,
        processes,
        per_connection: with.saturating_sub(before) / connections as u64,
    })
}

/// Each holder has source addresses, and so ports, of its own.
fn source(holder: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::from_bits(
        Ipv4Addr::new(127, 0, 1, 1).to_bits() + u32::try_from(holder * 16)?,
    ))
}
