//! `cargo xtask attack`: builds the server and the attackers, and shows what attacks do to other clients.

use crate::run;
use std::{path::PathBuf, process::Command};

#[derive(clap::Args)]
pub(crate) struct AttackArgs {
    /// Only the scenarios whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A few scenarios of a second each against unoptimised programs: times, memory and CPU are not judged
    #[arg(long, conflicts_with_all = ["scenario", "write"])]
    quick: bool,
    /// Each scenario in its first size only, not in four times the size too
    #[arg(long)]
    once: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Another server than this workspace's, to compare with
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Write docs/attacks.md
    #[arg(long)]
    write: bool,
    /// Keep the figures in a file, with those of other scenarios that it has already
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Runs the scenarios.
///
/// # Errors
/// A bound was broken, an attack did not happen, or something does not build.
pub(crate) fn run(arguments: &AttackArgs) -> anyhow::Result<()> {
    let profile = if arguments.quick { "dev" } else { "release" };
    let mut build = run::cargo();
    build.args(["build", "--profile", profile]);
    build.args(["--package", "talkback-bench", "--bin", "talkback-bench"]);
    if arguments.server.is_none() {
        build.args(["--package", "talkback-server", "--bin", "talkback-server"]);
    }
    run::succeed(&mut build)?;
    let folder = run::target().join(if arguments.quick { "debug" } else { "release" });
    let mut attack = Command::new(folder.join("talkback-bench"));
    attack.arg("attack");
    for name in &arguments.scenario {
        attack.args(["--scenario", name]);
    }
    let flags = [
        ("--quick", arguments.quick),
        ("--once", arguments.once),
        ("--list", arguments.list),
        ("--write", arguments.write),
    ];
    attack.args(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| flag));
    for (flag, path) in [("--server", &arguments.server), ("--save", &arguments.save)] {
        if let Some(path) = path {
            attack.arg(flag).arg(path);
        }
    }
    run::succeed(&mut attack)
}
