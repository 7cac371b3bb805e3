//! A child process that cannot outlive its test.

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    io,
    process::{ExitStatus, Stdio},
};
use tokio::process::{Child, Command};

/// A child in a process group of its own. Dropping it kills the whole group, so that drivers take their browsers along.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
}

impl Process {
    /// Starts the command in a new process group, with standard input closed.
    ///
    /// # Errors
    /// The error of the operating system, with the program's name in its text.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| io::Error::other("the child has no id"))?;
        Ok(Self {
            child,
            group: Pid::from_raw(id),
        })
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to every process of the group; a group that is gone already is no error.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match killpg(self.group, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the child has ended.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the group with SIGKILL and waits until the child has ended.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await.map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that was waited for is gone, and its number may belong to a stranger by now.
        if self.child.id().is_some() {
            let _ = self.signal(Signal::SIGKILL);
        }
    }
}
