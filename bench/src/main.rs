//! Measures the servers and writes the report; started by `cargo xtask bench` and `cargo xtask attack`.

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use talkback_bench::{
    attack::{self, AttackArgs, AttackerArgs, LegitimateClientsArgs},
    clients::Target,
    contenders::{Others, Programs},
    engines::{self, EnginesArgs, figures::Figures},
    hold::{self, HoldArgs},
    load::{Echo, FanOut, Load},
    plot, report,
    results::Cost,
    scaling::page::tables,
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
    /// Measure the engines and Django Channels, and write the figures
    Engines(EnginesArgs),
    /// Write the part of bench.md that has the figures of the engines
    EnginesPage(EnginesPageArgs),
    /// Print the tables of docs/scaling.md and docs/operations.md as JSON: by document and name
    Scaling(ScalingArgs),
    /// Measure all servers under some of the loads and print the medians
    Compare(CompareArgs),
    /// Keep a running server busy while a profiler observes it
    Load(LoadArgs),
    /// Hold idle connections until standard input is closed
    Hold(HoldArgs),
    /// Attack the server, measure the effect on legitimate clients, and fail when a bound is exceeded
    Attack(AttackArgs),
    /// The process that attacks
    #[command(hide = true)]
    Attacker(AttackerArgs),
    /// The process of the legitimate clients
    #[command(hide = true)]
    LegitimateClients(LegitimateClientsArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The folder for bench.md and bench.svg
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    others: Others,
    /// Everything once and shortly, to test that the bench works; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// The number of rounds; each round measures every server under every load
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// The duration of a measurement, in seconds
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
}

#[derive(Args, Debug)]
struct EnginesPageArgs {
    /// The folder with engines.json and bench.md
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct ScalingArgs {
    /// The figures of the engines
    #[arg(long, value_name = "FILE")]
    figures: PathBuf,
    /// Few clients and rooms, to test that it works
    #[arg(long)]
    quick: bool,
}

#[derive(Args, Debug)]
struct CompareArgs {
    /// Only the loads whose title contains this, such as "members" or "1000 members × 1"
    #[arg(default_value = "")]
    loads: String,
    /// The bytes of a message, instead of those of the loads
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    #[command(flatten)]
    others: Others,
    /// The number of rounds; each round measures every server under every load
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The duration of a measurement, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Args, Debug)]
struct LoadArgs {
    /// The address of the server
    #[arg(long)]
    address: SocketAddrV4,
    /// The path of an echoing WebSocket
    #[arg(long, default_value = "/echo")]
    path: String,
    /// The number of connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The number of messages in flight on each connection
    #[arg(long, default_value_t = 1)]
    in_flight: u64,
    /// The bytes of a message
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// The duration in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The connections are members of one room, to which the first one publishes; at `/ws` they are sessions
    #[arg(long)]
    fan_out: bool,
    /// The text that the room puts before each message
    #[arg(long, default_value = "")]
    prefix: String,
}

/// Prints an error with its causes, without a backtrace.
fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talkback-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run(arguments),
        Command::Engines(arguments) => engines::run(&arguments),
        Command::EnginesPage(arguments) => engines_page(&arguments.out),
        Command::Scaling(arguments) => scaling(&arguments),
        Command::Compare(arguments) => compare(arguments),
        Command::Load(arguments) => load(arguments),
        Command::Hold(arguments) => hold::run(&arguments),
        Command::Attack(arguments) => attack::run(&arguments),
        Command::Attacker(arguments) => attack::run_attacker(&arguments),
        Command::LegitimateClients(arguments) => attack::run_legitimate_clients(&arguments),
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
    if arguments.out.join(ENGINES).exists() {
        engines_page(&arguments.out)?;
    }
    Ok(())
}

/// The figures of the engines, in the folder of bench.md.
const ENGINES: &str = "engines.json";

fn engines_page(folder: &Path) -> Result<()> {
    let (figures, page) = (folder.join(ENGINES), folder.join("bench.md"));
    let figures = read_figures(&figures)?;
    let document = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    fs::write(&page, engines::page::with_engines(&document, &figures)?)?;
    println!("wrote the engines into {}", page.display());
    Ok(())
}

fn read_figures(path: &Path) -> Result<Figures> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Figures::read(&text)
}

fn scaling(arguments: &ScalingArgs) -> Result<()> {
    let tables = tables(&read_figures(&arguments.figures)?, arguments.quick)?;
    println!("{}", serde_json::to_string(&tables)?);
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
        max_members: 5000,
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
        let delay = cost.p99.get(cost.p99.len() / 2);
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
