//! The real server, as a process.

use crate::Port;
use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};
use talkback_launch::{Lines, Process, Signal};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// The timeout until a server has started or ended.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running `talkback-server`. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    server: talkback_launch::Server,
    arguments: Vec<String>,
    log: Lines,
    /// Its reservation, unless who started it has chosen the port.
    _port: Option<Port>,
}

impl Server {
    /// Starts a server on a free loopback port with these extra arguments, and waits until it listens.
    ///
    /// The program is `$TEST_SERVER_BIN`, or else the one in the target directory of the running executable, which the
    /// first call builds.
    ///
    /// # Errors
    /// The program does not build, ends at once or does not print its address within 20 s; the text has its log.
    pub async fn start(arguments: &[&str]) -> io::Result<Self> {
        Self::start_at(
            (Ipv4Addr::LOCALHOST, 0).into(),
            arguments.iter().map(|&a| a.to_owned()).collect(),
        )
        .await
    }

    /// Starts a server at this address (port 0: a free one, which stays reserved until it is dropped); see [`Server::start`].
    ///
    /// # Errors
    /// As [`Server::start`], and when the address is in use.
    pub async fn start_at(address: SocketAddr, arguments: Vec<String>) -> io::Result<Self> {
        let port = match address.port() {
            0 => Some(Port::reserve(address.ip())?),
            _ => None,
        };
        let address = port.as_ref().map_or(address, Port::address);
        let (server, log) = start(address, arguments.clone()).await?;
        Ok(Self {
            server,
            arguments,
            log,
            _port: port,
        })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `http://ADDRESS` followed by the path.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// `ws://ADDRESS` followed by the path.
    #[must_use]
    pub fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }

    /// The lines it has logged so far, one JSON object each.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Stops it as a service manager does, with SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It has not ended within 20 s.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        let process = self.server.process();
        process.signal(Signal::SIGTERM);
        timeout(DEADLINE, ended(process))
            .await
            .map_err(|_| io::Error::other("the server ignores SIGTERM"))?
    }

    /// Kills it with SIGKILL, as a crash would: no close frame is sent.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.server.process().kill().map(drop)
    }

    /// Starts a stopped or killed server again, on the same port and with the same arguments.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self) -> io::Result<()> {
        (self.server, self.log) = start(self.address(), self.arguments.clone()).await?;
        Ok(())
    }
}

async fn start(address: SocketAddr, arguments: Vec<String>) -> io::Result<(talkback_launch::Server, Lines)> {
    spawn_blocking(move || start_blocking(address, &arguments))
        .await
        .map_err(io::Error::other)?
}

fn start_blocking(address: SocketAddr, arguments: &[String]) -> io::Result<(talkback_launch::Server, Lines)> {
    let mut command = Command::new(program()?);
    command
        .args(["--listen", &address.to_string(), "--log-format", "json", "--flood"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::spawn_group(&mut command)?;
    let log = Lines::default();
    if let Some(stderr) = process.take_stderr() {
        log.collect(stderr);
    }
    let server = talkback_launch::Server::wait(process, DEADLINE)
        .map_err(|error| io::Error::other(format!("talkback-server: {error}\n{}", log.all().join("\n"))))?;
    Ok((server, log))
}

/// Waits until the process has ended.
///
/// # Errors
/// The error of the operating system.
pub async fn ended(process: &mut Process) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The path of the server program. `cargo test` builds no programs of other packages, and an outdated server could be
/// tested. So it is built here, once per process, unless `TEST_SERVER_BIN` names one.
fn program() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("TEST_SERVER_BIN") {
        return Ok(path.into());
    }
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| error.to_string()));
    built.clone().map_err(io::Error::other)
}

fn build() -> io::Result<PathBuf> {
    let executable = env::current_exe()?;
    // `target/PROFILE/NAME`, or `target/PROFILE/deps/NAME` of a test.
    let folder = executable.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let (Some(folder), Some(target)) = (folder, folder.and_then(Path::parent)) else {
        return Err(io::Error::other(format!(
            "{} is in no target directory: set TEST_SERVER_BIN to the path of the server",
            executable.display()
        )));
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--package",
            "talkback-server",
            "--bin",
            "talkback-server",
        ])
        .arg("--target-dir")
        .arg(target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output()?;
    if output.status.success() {
        Ok(folder.join(format!("talkback-server{}", env::consts::EXE_SUFFIX)))
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("the server does not build:\n{text}")))
    }
}
