//! Measures the servers and writes the report; started by `cargo xtask bench`.

use std::{fs, net::SocketAddrV4, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use talkback_bench::{
    clients::Target,
    contenders::Programs,
    hold::{self, HoldArgs},
    load::{Echo, Load},
    plot, report,
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
    /// Keep one running server busy, to look at it with a profiler
    Load(LoadArgs),
    /// Hold idle connections until standard input ends
    Hold(HoldArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The folder for bench.md and bench.svg
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// reference/uwebsockets.cpp as a program; left out where no C++ compiler is
    #[arg(long, value_name = "PROGRAM")]
    uwebsockets: Option<PathBuf>,
    /// Everything once and briefly: shows that the bench works, not how fast the servers are
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every server carries each load once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a server carries a load in a round
    #[arg(long, default_value_t = 1.5)]
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
    /// Messages on the way on each connection
    #[arg(long, default_value_t = 1)]
    in_flight: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// How long
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Load(arguments) => load(arguments),
        Command::Hold(arguments) => hold::run(&arguments),
    }
}

fn run(arguments: RunArgs) -> Result<()> {
    let plan = if arguments.quick {
        Plan::QUICK
    } else {
        Plan {
            quick: false,
            rounds: arguments.rounds.max(1),
            warm_up: Duration::from_millis(300),
            measured: Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?,
            idle: 10_000,
            held: HELD,
        }
    };
    let machine = report::Machine::read()?;
    let results = suite::run(&Programs::find(arguments.uwebsockets)?, plan)?;
    fs::create_dir_all(&arguments.out)?;
    let page = arguments.out.join("bench.md");
    fs::write(arguments.out.join("bench.svg"), plot::svg(&results)?)?;
    fs::write(&page, report::markdown(&results, &machine))?;
    println!("wrote {}", page.display());
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
    } = arguments;
    let target = Target {
        address,
        path: Some(path),
    };
    let messages = Echo::connect(&target, connections, in_flight, size)?.run(Duration::try_from_secs_f64(seconds)?)?;
    println!("{messages} messages");
    Ok(())
}
