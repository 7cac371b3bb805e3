//! A child process that does not outlive the value that holds it.

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus},
};

/// A child process. Dropping it kills it with SIGKILL, with its process group if it leads one.
#[derive(Debug)]
pub struct Process {
    child: Child,
    leads_group: bool,
    /// Whether the child was waited for. After that the system may give its process ID to another process.
    ended: bool,
}

impl Process {
    /// Starts the command in the process group of the caller: Ctrl-C in the terminal ends both.
    ///
    /// # Errors
    /// The error of the operating system; its text names the program.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
        Ok(Self {
            child,
            leads_group: false,
            ended: false,
        })
    }

    /// Starts the command in a process group of its own: signals are also sent to the programs that it starts, and
    /// Ctrl-C in the terminal does not reach it.
    ///
    /// # Errors
    /// The error of the operating system; its text names the program.
    pub fn spawn_group(command: &mut Command) -> io::Result<Self> {
        let mut process = Self::spawn(command.process_group(0))?;
        process.leads_group = true;
        Ok(process)
    }

    /// The process ID, which is also the ID of the group that the process leads.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard output, once, if it is piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's standard error, once, if it is piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends a signal to the process or the group that it leads, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended {
            return;
        }
        if self.leads_group {
            signal_group(self.id(), signal);
        } else if let Ok(id) = i32::try_from(self.id()) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Waits until the child has ended.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.ended = true;
        Ok(status)
    }

    /// How the child has ended; `None` while it runs.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Asks the child to end, with SIGTERM, and waits for it.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Kills the child with SIGKILL and waits for it.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Sends a signal to a process group. A group that has ended is not an error.
pub fn signal_group(group: u32, signal: Signal) {
    if let Ok(group) = i32::try_from(group) {
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::process::ExitStatusExt,
        process::Stdio,
        sync::mpsc,
        thread,
        time::Duration,
    };

    /// A shell and a program that it has started. The pipe is open while one of them runs.
    fn shell_with_child() -> (Process, BufReader<ChildStdout>) {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started; wait"]);
        let mut process = Process::spawn_group(command.stdout(Stdio::piped())).unwrap();
        let mut stdout = BufReader::new(process.take_stdout().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        (process, stdout)
    }

    /// Waits until no process holds the other end of the pipe.
    fn assert_closed(mut stdout: BufReader<ChildStdout>) {
        let (closed, is_closed) = mpsc::channel();
        thread::spawn(move || closed.send(stdout.read(&mut [0]).unwrap()));
        let read = is_closed.recv_timeout(Duration::from_secs(10));
        assert_eq!(read, Ok(0), "a process of the group still runs");
    }

    #[test]
    fn dropping_a_group_kills_the_programs_that_its_leader_has_started() {
        let (process, stdout) = shell_with_child();
        drop(process);
        assert_closed(stdout);
    }

    #[test]
    fn a_signal_ends_the_whole_group_and_the_exit_status_has_it() {
        let (mut process, stdout) = shell_with_child();
        assert!(process.try_wait().unwrap().is_none());
        assert_eq!(process.stop().unwrap().signal(), Some(Signal::SIGTERM as i32));
        assert_closed(stdout);
    }

    #[test]
    fn the_error_for_a_program_that_does_not_exist_names_it() {
        let error = Process::spawn(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("cannot start no-such-program"), "{error}");
    }
}
