//! A server program that listens.

use crate::Process;
use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::Duration,
};

/// The address in a server's line `listening on http://ADDRESS`; `None` if it is another line.
#[must_use]
pub fn listening_address(line: &str) -> Option<SocketAddr> {
    line.trim_end().strip_prefix("listening on http://")?.parse().ok()
}

/// A running server program. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

/// The server did not print its address; it is killed.
#[derive(Debug)]
pub struct StartError {
    /// Its first line, empty if it ended without one; `None` if there was no line before the deadline.
    line: Option<String>,
    deadline: Duration,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `listening on http://ADDRESS`, ")?;
        match &self.line {
            Some(line) => write!(f, "got {line:?}"),
            None => write!(f, "got nothing within {:?}", self.deadline),
        }
    }
}

impl std::error::Error for StartError {}

impl Server {
    /// Waits up to `deadline` for the first line of the process, whose standard output is piped. From then on the
    /// output is read and dropped, because a full pipe would stop the server.
    ///
    /// # Errors
    /// The first line is not `listening on http://ADDRESS`, or does not come in time.
    pub fn wait(mut process: Process, deadline: Duration) -> Result<Self, StartError> {
        let (first, line) = mpsc::channel();
        if let Some(stdout) = process.take_stdout() {
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                let _ = stdout.read_until(b'\n', &mut line);
                let _ = first.send(String::from_utf8_lossy(&line).into_owned());
                let _ = std::io::copy(&mut stdout.by_ref(), &mut std::io::sink());
            });
        }
        let line = line.recv_timeout(deadline).ok();
        match line.as_deref().and_then(listening_address) {
            Some(address) => Ok(Self { process, address }),
            None => Err(StartError { line, deadline }),
        }
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, to send signals and to wait for its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn start(script: &str, deadline: Duration) -> Result<Server, StartError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        Server::wait(Process::spawn_group(&mut command).unwrap(), deadline)
    }

    #[test]
    fn a_server_is_started_when_it_has_printed_its_address_and_its_further_output_is_read() {
        // More than a pipe holds: the shell ends only after all of it was read.
        let script = "echo listening on http://127.0.0.1:1234; head -c 1000000 /dev/zero; exit 7";
        let mut server = start(script, Duration::from_secs(20)).unwrap();
        assert_eq!(server.address(), "127.0.0.1:1234".parse().unwrap());
        assert_eq!(server.process().wait().unwrap().code(), Some(7));
    }

    #[test]
    fn another_first_line_no_line_and_a_timeout_are_different_errors() {
        let error = |script, deadline| start(script, deadline).unwrap_err().to_string();
        let deadline = Duration::from_secs(20);
        assert!(error("echo hello; sleep 60", deadline).ends_with("got \"hello\\n\""));
        assert!(error("exit 1", deadline).ends_with("got \"\""));
        let silence = error("sleep 60", Duration::from_millis(50));
        assert!(silence.ends_with("got nothing within 50ms"), "{silence}");
    }
}
