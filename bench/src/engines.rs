//! Talkback's engines under the same loads, in interleaved rounds: acknowledged messages, deliveries within one server
//! and across two, their delays and their CPU time; and in the same rounds the chat of Django Channels on the same
//! Redis.
//!
//! - [`figures`]: the values, and the file that keeps them;
//! - `stack`: the processes of one measurement;
//! - `load`: what the clients do besides the loads of [`crate::load`];
//! - [`page`]: the tables of docs/bench.md.
//!
//! `cargo xtask bench --engines` builds the programs and runs it. The servers and Redis share one core, and the clients
//! have the other one.

pub mod figures;
mod load;
pub mod page;
pub(crate) mod stack;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    clients::{Clients, Expected, Rooms},
    frame,
    load::{Echo, FanOut, Load},
    process::{self, Cores},
    report::Machine,
    suite::microseconds_each,
};
use figures::{Figures, name};
use load::{AckDelays, Deliveries, burst};
use stack::{Kind, Stack};

/// The bytes of a message's body, with its quotation marks.
pub(crate) const BODY: usize = 100;
/// The messages of each session that are not acknowledged.
pub(crate) const IN_FLIGHT: u64 = 128;
/// The sessions that publish.
pub(crate) const SESSIONS: usize = 64;
/// The numbers of rooms that they publish to.
pub(crate) const ROOMS: [usize; 3] = [1, 100, 10_000];
/// Other numbers of sessions, which publish to 100 rooms.
pub(crate) const OTHER_SESSIONS: [usize; 2] = [8, 512];
/// The members of the room in which deliveries are counted, and the messages of a burst.
pub(crate) const MEMBERS: usize = 100;
pub(crate) const BURSTS: [u64; 2] = [1, 8];
/// The members of the room in which delays are measured, and the messages a second.
pub(crate) const FEW_MEMBERS: usize = 20;
pub(crate) const DELIVERY_RATE: u32 = 100;
/// The messages a second whose acknowledgements are timed.
pub(crate) const ACK_RATE: u32 = 1000;
/// The members of the large room beside which they are timed, and its messages a second.
pub(crate) const CROWD: usize = 9000;
pub(crate) const CROWD_RATE: u32 = 1;
/// Each of so many members sends so many messages at once.
pub(crate) const BURST_SENDERS: usize = 8;
pub(crate) const BURST_EACH: u64 = 60;
/// The sessions that join, and the members of each of their rooms.
pub(crate) const JOINS: usize = 1000;
pub(crate) const JOINED_ROOM: usize = 10;
/// Open files besides the connections of the largest load.
const SPARE_FILES: u64 = 2000;

/// Measure Talkback's engines and Django Channels.
#[derive(Args, Clone, Debug)]
pub struct EnginesArgs {
    /// The file for the figures; the tables are written from it
    #[arg(long, value_name = "FILE")]
    figures: PathBuf,
    /// The Python with Django Channels; without it Channels is not measured
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// The folder of the examples `durable` and `shared` of talkback-server; without it the engines are not compared
    /// with bare loops
    #[arg(long, value_name = "FOLDER")]
    examples: Option<PathBuf>,
    /// The number of rounds; each round measures everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The duration of a measurement, in seconds
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// Only the measurements whose name contains this; may be repeated. The others keep the values of the file
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Few sessions, rooms and members, to test that the measurements work; the figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// As many acknowledged messages as possible.
    Acks { sessions: usize, rooms: usize },
    /// As many deliveries as possible, in bursts.
    Deliveries { in_flight: u64 },
    /// The delays of deliveries at a fixed rate.
    Delays,
    /// Many messages at once, of which all must arrive.
    Burst,
    /// The delays of acknowledgements at a fixed rate, beside a large room.
    AckDelays { crowd: usize },
    /// Sessions that connect and join rooms.
    Joins,
}

impl Job {
    /// With what the names of its figures begin.
    fn title(self) -> String {
        match self {
            Self::Acks { sessions, rooms } => name::acks(sessions, rooms),
            Self::Deliveries { in_flight } => name::deliveries(in_flight),
            Self::Delays => name::DELAYS.to_owned(),
            Self::Burst => name::BURST.to_owned(),
            Self::AckDelays { crowd } => name::ack_delays(crowd > 0),
            Self::Joins => name::JOINS.to_owned(),
        }
    }
}

/// What a run of jobs needs.
struct Bench<'a> {
    arguments: &'a EnginesArgs,
    cores: Cores,
    runtime: tokio::runtime::Runtime,
    /// The folder of talkback-server.
    folder: PathBuf,
    measured: Duration,
    warm_up: Duration,
}

/// Measures everything and writes the figures.
///
/// # Errors
/// When a server does not start, or Talkback loses a message or answers with a wrong one.
pub fn run(arguments: &EnginesArgs) -> Result<()> {
    // Before this process is bound to one core.
    let machine = Machine::read()?.to_string();
    let cores = Cores::find()?;
    cores.enter_clients()?;
    process::raise_open_files(CROWD as u64 + SPARE_FILES)?;
    let own = std::env::current_exe()?;
    let seconds = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    let bench = Bench {
        arguments,
        cores,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        folder: own
            .parent()
            .context("the path of this program has no folder")?
            .to_owned(),
        measured: if arguments.quick {
            Duration::from_millis(30)
        } else {
            seconds
        },
        warm_up: if arguments.quick {
            Duration::ZERO
        } else {
            Duration::from_millis(300)
        },
    };
    let before = fs::read_to_string(&arguments.figures).ok();
    let mut figures = match before {
        Some(text) if !arguments.only.is_empty() => Figures::read(&text)?,
        _ => Figures::new(machine),
    };
    let mut jobs = bench.jobs();
    jobs.retain(|(kind, job)| bench.is_wanted(&name::of(*kind, &job.title(), "")));
    for (kind, job) in &jobs {
        figures.forget(&name::of(*kind, &job.title(), ""));
    }
    for round in 0..arguments.rounds.max(1) {
        for turn in 0..jobs.len() {
            let (kind, job) = jobs[(round + turn) % jobs.len()];
            let what = name::of(kind, &job.title(), "");
            let values = bench.measure(kind, job).with_context(|| what.clone())?;
            for (figure, value) in values {
                eprintln!("round {}: {what}{figure}: {value:.3}", round + 1);
                figures.add(&name::of(kind, &job.title(), figure), value);
            }
        }
    }
    if let Some(examples) = &arguments.examples
        && bench.is_wanted(name::BARE)
    {
        figures.forget(name::BARE);
        bench.against_bare(examples, &mut figures)?;
    }
    fs::write(&arguments.figures, figures.text()?)?;
    println!("wrote {}", arguments.figures.display());
    Ok(())
}

impl Bench<'_> {
    fn is_wanted(&self, what: &str) -> bool {
        let only = &self.arguments.only;
        only.is_empty() || only.iter().any(|part| what.contains(part.as_str()))
    }

    fn jobs(&self) -> Vec<(Kind, Job)> {
        let mut jobs = Vec::new();
        let mut add = |kinds: &[Kind], job: Job| jobs.extend(kinds.iter().map(|kind| (*kind, job)));
        for rooms in ROOMS {
            add(
                &Kind::ENGINES,
                Job::Acks {
                    sessions: SESSIONS,
                    rooms,
                },
            );
        }
        for sessions in OTHER_SESSIONS {
            add(&[Kind::Sqlite], Job::Acks { sessions, rooms: 100 });
        }
        let one_server = [Kind::Memory, Kind::Sqlite, Kind::Redis, Kind::Channels];
        for in_flight in BURSTS {
            add(&one_server, Job::Deliveries { in_flight });
        }
        add(&one_server, Job::Delays);
        add(&[Kind::TwoServers, Kind::TwoChannels], Job::Delays);
        add(&[Kind::Redis, Kind::Channels], Job::Burst);
        for crowd in [0, CROWD] {
            add(&Kind::ENGINES, Job::AckDelays { crowd });
        }
        add(&[Kind::Memory, Kind::Redis], Job::Joins);
        let has_python = self.arguments.python.is_some();
        jobs.retain(|(kind, _)| has_python || !kind.is_channels());
        jobs
    }

    /// The number for a whole run, or less for a quick one.
    fn size(&self, number: usize) -> usize {
        if self.arguments.quick { number.min(20) } else { number }
    }

    fn measure(&self, kind: Kind, job: Job) -> Result<Vec<(&'static str, f64)>> {
        let stack = Stack::start(
            kind,
            &self.folder,
            self.arguments.python.as_deref(),
            self.cores,
            &self.runtime,
        )?;
        match job {
            Job::Acks { sessions, rooms } => self.acks(&stack, self.size(sessions), self.size(rooms)),
            Job::Deliveries { in_flight } => self.deliveries(&stack, in_flight),
            Job::Delays => self.delays(&stack),
            Job::Burst => self.burst(&stack),
            Job::AckDelays { crowd } => self.ack_delays(&stack, self.size(crowd)),
            Job::Joins => self.joins(&stack),
        }
    }

    /// Runs a load and returns its messages a second and the CPU time of each.
    fn loaded(&self, stack: &Stack, load: &mut dyn Load) -> Result<Vec<(&'static str, f64)>> {
        load.run(self.warm_up)?;
        let (before, start) = (stack.cpu()?, std::time::Instant::now());
        let messages = load.run(self.measured)?;
        let (used, seconds) = (stack.cpu()?.since(before), start.elapsed().as_secs_f64());
        ensure!(messages > 0, "no message in {:?}", self.measured);
        let mut values = vec![
            (name::PER_SECOND, messages as f64 / seconds),
            (name::SERVER_CPU, microseconds_each(used.servers, messages)),
        ];
        if stack.has_redis() {
            values.push((name::REDIS_CPU, microseconds_each(used.redis, messages)));
        }
        Ok(values)
    }

    fn acks(&self, stack: &Stack, sessions: usize, rooms: usize) -> Result<Vec<(&'static str, f64)>> {
        let mut load = Echo::appending(&stack.target(0), sessions, rooms, IN_FLIGHT, BODY)?;
        self.loaded(stack, &mut load)
    }

    fn deliveries(&self, stack: &Stack, in_flight: u64) -> Result<Vec<(&'static str, f64)>> {
        let (target, members) = (stack.target(0), self.size(MEMBERS));
        let mut load = if stack.is_channels() {
            FanOut::of_text(&target, members, in_flight, &channels_text())?
        } else {
            FanOut::connect(&target, members, in_flight, BODY, "")?
        };
        self.loaded(stack, &mut load)
    }

    fn delays(&self, stack: &Stack) -> Result<Vec<(&'static str, f64)>> {
        let mut deliveries = Deliveries::connect(stack, FEW_MEMBERS)?;
        deliveries.run(DELIVERY_RATE, self.warm_up)?;
        let delays = deliveries.run(DELIVERY_RATE, 2 * self.measured)?;
        Ok(delays.percentiles().to_vec())
    }

    fn burst(&self, stack: &Stack) -> Result<Vec<(&'static str, f64)>> {
        let outcome = burst(stack, self.size(MEMBERS))?;
        Ok(vec![
            (name::EXPECTED, outcome.expected as f64),
            (name::LOST, outcome.expected.saturating_sub(outcome.arrived) as f64),
        ])
    }

    fn ack_delays(&self, stack: &Stack, crowd: usize) -> Result<Vec<(&'static str, f64)>> {
        let mut acks = AckDelays::connect(&stack.target(0), self.size(SESSIONS), crowd)?;
        acks.run(ACK_RATE, 0, self.warm_up)?;
        let duration = if crowd > 0 {
            5 * self.measured
        } else {
            2 * self.measured
        };
        let delays = acks.run(ACK_RATE, CROWD_RATE, duration)?;
        Ok(delays.percentiles().to_vec())
    }

    fn joins(&self, stack: &Stack) -> Result<Vec<(&'static str, f64)>> {
        let (target, joins) = (stack.target(0), self.size(JOINS));
        let expected = Expected::Messages {
            text: String::new(),
            rooms: Rooms::Per(JOINED_ROOM),
        };
        let (before, memory) = (stack.cpu()?, stack.memory()?);
        let mut clients = Clients::connect(&target, joins, Ipv4Addr::LOCALHOST, expected)?;
        clients.await_users(JOINED_ROOM.min(joins))?;
        let used = stack.cpu()?.since(before);
        let memory = stack.memory()?.saturating_sub(memory) / joins as u64;
        let mut values = vec![
            (name::SERVER_CPU, microseconds_each(used.servers, joins as u64)),
            (name::BYTES, memory as f64),
        ];
        if stack.has_redis() {
            values.push((name::REDIS_CPU, microseconds_each(used.redis, joins as u64)));
        }
        Ok(values)
    }

    /// Runs the examples that compare engines with bare loops, each of which has rounds of its own.
    fn against_bare(&self, examples: &Path, figures: &mut Figures) -> Result<()> {
        let redis = Stack::start_redis(self.cores, &self.runtime)?;
        let shared = Command::new(examples.join("shared"))
            .args([&redis.url(), "--figures"])
            .output()?;
        drop(redis);
        // It measures one thread: the others may use the other core.
        let durable = self
            .cores
            .on_all_cores(|| Ok(Command::new(examples.join("durable")).arg("--figures").output()?))?;
        for output in [shared, durable] {
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "an example failed: {error}");
            for line in String::from_utf8(output.stdout)?.lines() {
                let (figure, value) = line.split_once(' ').with_context(|| format!("{line:?} is no figure"))?;
                eprintln!("{line}");
                figures.add(&format!("{}{figure}", name::BARE), value.parse()?);
            }
        }
        Ok(())
    }
}

/// What a member of the chat with Channels sends and receives, as large as a body of Talkback.
fn channels_text() -> String {
    const AROUND: usize = r#"{"message": ""}"#.len();
    format!(r#"{{"message": "{}"}}"#, frame::text(BODY - AROUND))
}
