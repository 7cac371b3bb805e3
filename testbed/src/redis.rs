//! The real redis-server, as a process.

use crate::{Port, unpacked};
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::Duration,
};
use talkback_launch::{Process, Signal};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

/// Where its programs are unpacked.
const FOLDER: &str = "redis";
/// The timeout until a redis-server answers.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running redis-server with its data in a folder of its own. It is killed when dropped, and the folder is deleted.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    directory: TempDir,
    port: Port,
    options: Vec<String>,
}

impl Redis {
    /// Starts a redis-server on a free loopback port and a unix socket, with these further options, and waits until it
    /// answers. Without options it keeps nothing on the disk.
    ///
    /// The program is the one on the PATH, or else the one that `cargo xtask test --tier native` has unpacked.
    ///
    /// # Errors
    /// There is no such program, or it does not answer within 20 s; the text has its log.
    pub async fn start(options: &[&str]) -> io::Result<Self> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let port = Port::loopback()?;
        let directory = TempDir::new()?;
        let mut redis = Self {
            process: spawn(directory.path(), &port, &options)?,
            directory,
            port,
            options,
        };
        redis.answers().await?;
        Ok(redis)
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// `unix://` and the path of its socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.directory.path().join("socket").display())
    }

    /// Its process ID.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The folder with its files: `dump.rdb`, `appendonlydir`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// What redis-cli prints for a command.
    ///
    /// # Errors
    /// redis-cli cannot be started, or fails.
    pub async fn command(&self, words: &[&str]) -> io::Result<String> {
        let mut cli = unpacked::command("redis-cli", FOLDER)?;
        cli.args(["-p", &self.port.number().to_string()])
            .args(words)
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || cli.output())
            .await
            .map_err(io::Error::other)??;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() {
            return Ok(text);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!(
            "redis-cli {}: {text}{error}",
            words.join(" ")
        )))
    }

    /// Kills it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts a killed redis-server again, on the same port, with its folder as it is now.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn start_again(&mut self) -> io::Result<()> {
        self.process = spawn(self.directory.path(), &self.port, &self.options)?;
        self.answers().await
    }

    /// Cuts off what is incomplete at the end of the append-only file of a killed one, with redis-check-aof, as an
    /// operator does.
    ///
    /// # Errors
    /// redis-check-aof cannot be started, or cannot mend the file.
    pub async fn mend(&self) -> io::Result<()> {
        let mut check = unpacked::command("redis-check-aof", FOLDER)?;
        check
            .current_dir(self.directory.path())
            .args(["--fix", "appendonlydir/appendonly.aof.manifest"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let checked = move || {
            let mut check = check.spawn()?;
            if let Some(mut answer) = check.stdin.take() {
                // It asks only if there is something to mend.
                drop(answer.write_all(b"y\n"));
            }
            check.wait_with_output()
        };
        let output = tokio::task::spawn_blocking(checked).await.map_err(io::Error::other)??;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Err(io::Error::other(format!("redis-check-aof: {text}")))
    }

    /// Stops it without ending it, as a machine does that hangs: its connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    async fn answers(&mut self) -> io::Result<()> {
        let until = Instant::now() + DEADLINE;
        loop {
            match ping(self.address()).await {
                // One with a password answers that it wants it.
                Ok(answer) if !answer.starts_with("-LOADING") => return Ok(()),
                _ if Instant::now() < until && self.process.try_wait()?.is_none() => {
                    sleep(Duration::from_millis(10)).await;
                }
                _ => {
                    return Err(io::Error::other(format!(
                        "redis-server does not answer:\n{}",
                        self.log()
                    )));
                }
            }
        }
    }
}

async fn ping(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn spawn(directory: &Path, port: &Port, options: &[String]) -> io::Result<Process> {
    let mut command = unpacked::command("redis-server", FOLDER)?;
    command
        .current_dir(directory)
        .args(["--port", &port.number().to_string(), "--bind", "127.0.0.1"])
        .args(["--unixsocket", "socket", "--logfile", "log", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn_group(&mut command)
}
