//! The real server, run as its users run it.

use crate::Process;
use nix::sys::signal::Signal;
use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// How long a server may take to start or to end before a test calls it broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `talkback-server`. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    arguments: Vec<String>,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Server {
    /// Starts a server on a free loopback port with these extra arguments, and waits until it listens.
    ///
    /// The binary is `$TEST_SERVER_BIN`, or else the one beside the running executable in Cargo's target directory.
    ///
    /// # Errors
    /// The binary is missing, ends at once or does not say where it listens within 20 s; the text has its log.
    pub async fn start(arguments: &[&str]) -> io::Result<Self> {
        Self::start_at(
            (Ipv4Addr::LOCALHOST, 0).into(),
            arguments.iter().map(|&a| a.to_owned()).collect(),
        )
        .await
    }

    /// Starts a server at this address; see [`Server::start`].
    ///
    /// # Errors
    /// As [`Server::start`], and when the address is taken.
    pub async fn start_at(address: SocketAddr, arguments: Vec<String>) -> io::Result<Self> {
        let mut command = Command::new(binary()?);
        command
            .args(["--listen", &address.to_string(), "--log-format", "json", "--flood"])
            .args(&arguments);
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let child = process.child();
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the server's output is not piped"));
        };
        let log = collect(stderr);
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(PATIENCE, lines.next_line()).await;
        let address = match &first {
            Ok(Ok(Some(line))) => line
                .strip_prefix("listening on http://")
                .and_then(|address| address.parse().ok()),
            _ => None,
        };
        let Some(address) = address else {
            let log = log.lock().map(|log| log.join("\n")).unwrap_or_default();
            return Err(io::Error::other(format!(
                "talkback-server did not say where it listens: {first:?}\n{log}"
            )));
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            process,
            address,
            arguments,
            log,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` followed by the path.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `ws://ADDRESS` followed by the path.
    #[must_use]
    pub fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// The lines it has logged so far, one JSON object each.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Stops it as a service manager does, with SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It has not ended within 20 s.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        timeout(PATIENCE, self.process.wait())
            .await
            .map_err(|_| io::Error::other("the server ignores SIGTERM"))?
    }

    /// Kills it with SIGKILL, as a crash would: no close frame is sent.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Starts a stopped or killed server again, on the same port and with the same arguments.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self) -> io::Result<()> {
        *self = Self::start_at(self.address, self.arguments.clone()).await?;
        Ok(())
    }
}

/// Reads the log as it comes, so that a full pipe never stops the server.
fn collect(stderr: tokio::process::ChildStderr) -> Log {
    let log = Log::default();
    let kept = Arc::clone(&log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(mut kept) = kept.lock() {
                kept.push(line);
            }
        }
    });
    log
}

fn binary() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("TEST_SERVER_BIN") {
        return Ok(path.into());
    }
    let name = format!("talkback-server{}", env::consts::EXE_SUFFIX);
    let here = env::current_exe()?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name))
        .find(|path| path.exists())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "talkback-server is not built: run `cargo build -p talkback-server`",
            )
        })
}
