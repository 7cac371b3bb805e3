//! The commands of the README. Each sets up what it needs and says so.
//!
//! - [`serve`]: build the page and the server, run them;
//! - [`mod@test`]: every tier of tests, one after the other;
//! - [`conformance`]: Autobahn's cases against the server, compared with the stored verdicts;
//! - [`chaos`]: real servers under load, killed again and again, as docs/chaos.md;
//! - [`soak`]: random faults against the session, as many as given;
//! - [`mutants`]: changes of the code, one at a time, each of which a test must notice;
//! - [`recordings`]: what both halves of the session say to each other, as one number;
//! - [`mod@bench`]: the server next to others, as docs/bench.md, and what many servers hold, as docs/scaling.md;
//! - [`attack`]: what attacks on the server do to other clients, as docs/attacks.md;
//! - [`lighthouse`]: Lighthouse's scores of the page, as in docs/browser.md;
//! - [`pictures`]: the pictures of the page in docs/pictures;
//! - [`profile`]: which functions of the page a first visit does not run;
//! - [`tools`], [`debian`], [`browsers`]: what the commands need on this machine, installed once;
//! - [`page`]: builds the page when something in it has changed;
//! - [`run`]: commands that run to their end.

mod attack;
mod bench;
mod browsers;
mod chaos;
mod conformance;
mod debian;
mod lighthouse;
mod mutants;
mod page;
mod pictures;
mod profile;
mod recordings;
mod run;
mod serve;
mod sizes;
mod soak;
mod test;
mod tools;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, serve and test Talkback",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the page and the server and run them
    Serve(serve::ServeArgs),
    /// Run every tier of tests, or one
    Test(test::TestArgs),
    /// Run Autobahn's cases against the server and compare the verdicts with docs/conformance.json
    Conformance(conformance::ConformanceArgs),
    /// Run the session's promises against many more random faults than `test` does
    Soak(soak::SoakArgs),
    /// Load real servers, kill them and break their Redis and network again and again, and check that no promise was broken
    Chaos(chaos::ChaosArgs),
    /// Plant faults in the code that keeps the promises and show those that no test notices
    Mutants(mutants::MutantsArgs),
    /// Print a digest of what both halves of the session say to each other in the tests: equal before and after a
    /// change that is to change nothing on the wire
    Recordings,
    /// Measure the server next to other servers and write docs/bench.md
    Bench(bench::BenchArgs),
    /// Write the tables of docs/scaling.md and docs/operations.md from the figures of `bench --engines`, with its simulation
    Scaling,
    /// Measure what a browser loads: frontends with parts of the client crate, the page, other clients. Write docs/sizes.md,
    /// and fail when something is larger than its budget
    Sizes(sizes::SizesArgs),
    /// Let Lighthouse look at the page with a telephone, and fail when a score is too low: about 4 minutes
    Lighthouse(lighthouse::LighthouseArgs),
    /// Take the pictures of the page in docs/pictures again
    Pictures,
    /// Write which functions of the page a first visit does not run, so that they are loaded after it: run it when `sizes` says that
    /// a first visit is larger than its budget. What earlier profiles saw run counts too
    Profile(profile::ProfileArgs),
    /// Attack the server and fail when that affects other clients: about 20 minutes. With --write, write
    /// docs/attacks.md
    Attack(attack::AttackArgs),
}

/// Errors are printed with their causes and without the backtrace that `anyhow` adds when `main` returns them.
fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<()> {
    std::env::set_current_dir(root()).context("cannot enter the workspace")?;
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Recordings => recordings::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Scaling => bench::scale(),
        Command::Sizes(arguments) => sizes::run(&arguments),
        Command::Lighthouse(arguments) => lighthouse::run(&arguments),
        Command::Pictures => pictures::run(),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Attack(arguments) => attack::run(&arguments),
    }
}

/// The workspace's folder. Cargo names this package's folder when it runs it, so a checkout may be moved.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("..")
}
