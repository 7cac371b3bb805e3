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

/// What a command prints, without the line end; `None` if it is not there or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
