//! Child processes: run to the end, or kept until this process ends.

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command},
};

/// `cargo` itself: the one that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
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

/// A child in a process group of its own: Ctrl-C in the terminal reaches only this program, which then stops its children
/// in order and once, so that a server drains instead of taking a second signal for impatience.
pub(crate) struct Group {
    child: Child,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let line = shown(command);
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Self { child })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.child.id(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a whole process group; one that is gone is no error.
pub(crate) fn signal(group: u32, signal: Signal) {
    if let Ok(group) = i32::try_from(group) {
        let _ = killpg(Pid::from_raw(group), signal);
    }
}
