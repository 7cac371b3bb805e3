//! Measures the servers and writes the report; started by `cargo xtask bench` and `cargo xtask attack`.

use std::{fs, net::SocketAddrV4, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use talkback_bench::{
    attack::{self, AttackArgs, AttackerArgs, InnocentArgs},
    clients::Target,
    contenders::{Others, Programs},
    hold::{self, HoldArgs},
    load::{Echo, FanOut, Load},
    plot, report,
    results::Cost,
    suite::{self, HELD, Plan},
};

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all servers and write bench.md and bench.svg
    Run(RunArgs),
    /// Measure all servers under some of the loads and print the medians, for work on one of them
    Compare(CompareArgs),
    /// Keep one running server busy, to look at it with a profiler
    Load(LoadArgs),
    /// Hold idle connections until standard input ends
    Hold(HoldArgs),
    /// Attack the server, judge what that does to others, and fail when a bound is broken
    Attack(AttackArgs),
    /// The process that attacks
    #[command(hide = true)]
    Attacker(AttackerArgs),
    /// The process of clients that take no part in the attack
    #[command(hide = true)]
    Innocents(InnocentArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The folder for bench.md and bench.svg
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    others: Others,
    /// Everything once and briefly: shows that the bench works, not how fast the servers are
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every server carries each load once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a server carries a load in a round
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
}

#[derive(Args, Debug)]
struct CompareArgs {
    /// A part of the loads' titles, such as "members" or "1000 members × 1"
    #[arg(default_value = "")]
    loads: String,
    /// Other bytes of a message than the loads have
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    #[command(flatten)]
    others: Others,
    /// Rounds; in each, every server carries each load once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a server carries a load in a round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Args, Debug)]
struct LoadArgs {
    /// The server
    #[arg(long)]
    address: SocketAddrV4,
    /// An echoing WebSocket there
    #[arg(long, default_value = "/echo")]
    path: String,
    /// How many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages in flight on each connection
    #[arg(long, default_value_t = 1)]
    in_flight: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The connections are members of one room, in which the first publishes; `/ws` is a room of sessions
    #[arg(long)]
    fan_out: bool,
    /// What the room puts in front of a text
    #[arg(long, default_value = "")]
    prefix: String,
}

/// Errors are printed with their causes and without a backtrace.
fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talkback-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run(arguments),
        Command::Compare(arguments) => compare(arguments),
        Command::Load(arguments) => load(arguments),
        Command::Hold(arguments) => hold::run(&arguments),
        Command::Attack(arguments) => attack::run(&arguments),
        Command::Attacker(arguments) => attack::run_attacker(&arguments),
        Command::Innocents(arguments) => attack::run_innocents(&arguments),
    }
}

fn run(arguments: RunArgs) -> Result<()> {
    let plan = if arguments.quick {
        Plan::QUICK
    } else {
        plan(arguments.rounds, arguments.seconds)?
    };
    let machine = report::Machine::read()?;
    let results = suite::run(&Programs::find(arguments.others)?, plan)?;
    fs::create_dir_all(&arguments.out)?;
    let page = arguments.out.join("bench.md");
    fs::write(arguments.out.join("bench.svg"), plot::svg(&results)?)?;
    fs::write(&page, report::markdown(&results, &machine))?;
    println!("wrote {}", page.display());
    Ok(())
}

fn plan(rounds: usize, seconds: f64) -> Result<Plan> {
    Ok(Plan {
        quick: false,
        rounds: rounds.max(1),
        warm_up: Duration::from_millis(300),
        measured: Duration::try_from_secs_f64(seconds).context("--seconds")?,
        idle: 10_000,
        held: HELD,
        most_members: 5000,
        joins: 1000,
        one_room: 3000,
        settled: Duration::from_millis(500),
    })
}

fn compare(arguments: CompareArgs) -> Result<()> {
    let plan = plan(arguments.rounds, arguments.seconds)?;
    let programs = Programs::find(arguments.others)?;
    let costs = suite::costs(&programs, plan, &arguments.loads, arguments.size)?;
    for cost in &costs {
        let delay = cost.slowest_percent.get(cost.slowest_percent.len() / 2);
        let delay = delay
            .map(|delay| format!(", 99 of 100 within {delay:.2} ms"))
            .unwrap_or_default();
        let (title, name) = (cost.shape.title(), cost.contender.name());
        println!(
            "{title}: {name}: {:.2} us ({:.2} to {:.2}){delay}",
            cost.median(),
            cost.min(),
            cost.max()
        );
        let is_rival = |other: &&Cost| other.shape == cost.shape && other.contender.is_rival_of(cost.contender);
        for rival in costs.iter().filter(is_rival) {
            println!(
                "  {} against {}",
                report::paired(cost.over(rival)),
                rival.contender.name()
            );
        }
    }
    Ok(())
}

fn load(arguments: LoadArgs) -> Result<()> {
    let LoadArgs {
        address,
        path,
        connections,
        in_flight,
        size,
        seconds,
        fan_out,
        prefix,
    } = arguments;
    let target = Target {
        address,
        path: Some(path),
    };
    let mut load: Box<dyn Load> = if fan_out {
        Box::new(FanOut::connect(&target, connections, in_flight, size, &prefix)?)
    } else {
        Box::new(Echo::connect(&target, connections, in_flight, size)?)
    };
    let messages = load.run(Duration::try_from_secs_f64(seconds)?)?;
    println!("{messages} messages");
    Ok(())
}
