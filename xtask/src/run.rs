//! Commands that run to their end, and where Cargo puts what they build.

use anyhow::{Context, bail};
use std::{path::PathBuf, process::Command};

/// `cargo` itself: the one that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo's target directory, as an absolute path: tests run in the folders of their packages.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::path::absolute(&target).unwrap_or(target)
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut line = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    if let Some(name) = line[0].rsplit('/').next() {
        line[0] = name.to_owned();
    }
    line.join(" ")
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or does not succeed; the text is the command as one would type it.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The tests of the page, which need browsers and a built page: no part of a plain `cargo test`.
pub(crate) const SCENARIOS: [&str; 2] = ["--test", "scenarios"];

/// Builds these programs of the workspace without optimisation; the result is the folder in which they are.
///
/// Cargo counts the features that development dependencies ask for only where a test is built too. With one, and of
/// the whole workspace, the features are those of `cargo test --workspace`, after which no dependency is built again.
pub(crate) fn programs(names: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--workspace"]);
    for name in names {
        build.args(["--bin", name]);
    }
    succeed(build.args(SCENARIOS))?;
    std::fs::canonicalize(target().join("debug")).context("the folder of what was built is not there")
}

/// What a command prints, without the line end; `None` if it is not there or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
