//! A server as a process, and copies of its data.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use talkback_launch::{Process, Signal};

use crate::{clock::Clock, power};

/// The timeout until a server listens or has ended. It needs milliseconds; a busy machine needs more.
const DEADLINE: Duration = Duration::from_secs(30);

/// Which servers run, and where they keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// One server with logs in memory: when it ends it loses all of them.
    Memory,
    /// One server with logs in a file.
    Sqlite,
    /// Three servers with logs in one Redis.
    Redis,
    /// Three servers with logs in a Redis Cluster.
    Cluster,
}

impl Topology {
    /// How many servers run.
    pub(crate) fn servers(self) -> u32 {
        match self {
            Self::Memory | Self::Sqlite => 1,
            Self::Redis | Self::Cluster => 3,
        }
    }
}

/// Where a server keeps its logs.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Memory,
    /// In a file in the folder of the data. With the library of chaos/power_cut [`Server::cut_power`] has an effect.
    Sqlite {
        power_cut: Option<PathBuf>,
    },
    /// In the Redis, or the cluster, with this URL.
    Redis(String),
}

/// How an operator restores a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restoration {
    /// The former file is replaced by the new one.
    Renamed,
    /// The former file is removed first; the system often gives its number to the new one.
    Removed,
    /// The former file gets the content of the copy, and the server is told by an option.
    InPlace,
}

/// A server that is started again and again.
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    /// The folder of the data.
    data: PathBuf,
    log: PathBuf,
    /// The layer that knows what a power cut would take.
    power_cut: Option<PathBuf>,
    clock: Option<Clock>,
    /// The data was restored in a way that the server cannot notice itself.
    is_restored: bool,
    running: Option<talkback_launch::Server>,
}

impl Server {
    /// A server that does not run yet. Its data and its log are in `folder`; `name` is that of the log.
    ///
    /// # Errors
    /// The folder of the data cannot be made.
    pub(crate) fn new(program: &Path, data: Data, folder: &Path, name: &str) -> Result<Self> {
        let own = folder.join("data");
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        // The library compares the path with that which the server opens.
        let own = own.canonicalize()?;
        let mut arguments = OPTIONS.map(str::to_owned).to_vec();
        let (engine, power_cut) = match data {
            Data::Memory => ("memory".to_owned(), None),
            Data::Sqlite { power_cut } => (format!("sqlite:{}", own.join(FILE).display()), power_cut),
            Data::Redis(url) => (url, None),
        };
        arguments.extend(["--engine".to_owned(), engine]);
        Ok(Self {
            program: program.to_owned(),
            arguments,
            data: own,
            log: folder.join(format!("{name}.log")),
            power_cut: power_cut.as_deref().map(Path::canonicalize).transpose()?,
            clock: None,
            is_restored: false,
            running: None,
        })
    }

    /// Gives it a clock that can be turned, from its next start on.
    pub(crate) fn with_clock(mut self, clock: Option<Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Its clock, if it can be turned.
    pub(crate) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// Starts it on a free port and waits until it listens. A new port each time: while nothing listens on the former
    /// one, the system may give it to a client.
    ///
    /// # Errors
    /// It does not start; its log has the reason.
    pub(crate) fn start(&mut self) -> Result<SocketAddr> {
        let started = talkback_launch::Server::wait(self.spawn()?, DEADLINE);
        let server = started.with_context(|| {
            format!(
                "{} did not start; {} has its log",
                self.program.display(),
                self.log.display()
            )
        })?;
        let address = server.address();
        self.is_restored = false;
        self.running = Some(server);
        Ok(address)
    }

    /// Starts it and kills it with SIGKILL after this time, whether it listens then or not.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn start_and_kill(&mut self, after: Duration) -> Result<()> {
        let mut process = self.spawn()?;
        sleep_exactly(after);
        process.kill()?;
        self.killed(process.id());
        Ok(())
    }

    fn killed(&self, process: u32) {
        if self.clock.is_some() {
            Clock::clean_up(process);
        }
    }

    fn spawn(&self) -> Result<Process> {
        ensure!(self.running.is_none(), "the server runs already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if self.is_restored {
            command.arg("--restored");
        }
        if let Some(library) = &self.power_cut {
            command
                .env("LD_PRELOAD", library)
                .env("POWER_CUT_FILE", self.data.join(FILE));
        }
        if let Some(clock) = &self.clock {
            clock.set_up(&mut command, self.power_cut.as_deref());
        }
        Ok(Process::spawn_group(&mut command)?)
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It ended by itself before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut server = self.running.take().context("the server does not run")?;
        let ended = server.process().try_wait()?;
        if let Some(status) = ended {
            bail!(
                "the server ended by itself: {status}; {} has its log",
                self.log.display()
            );
        }
        server.process().kill()?;
        self.killed(server.process().id());
        Ok(())
    }

    /// Stops it with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// It did not end as it should.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        let mut server = self.running.take().context("the server does not run")?;
        let process = server.process();
        process.signal(Signal::SIGTERM);
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = process.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "the server ignores SIGTERM");
            sleep(Duration::from_millis(1));
        };
        ensure!(
            status.success(),
            "the server ended with {status} after SIGTERM; {} has its log",
            self.log.display()
        );
        Ok(())
    }

    /// The address on which it listens, while it runs.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        Some(self.running.as_ref()?.address())
    }

    /// Stops or continues the process.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(server) = &mut self.running {
            server.process().signal(signal);
        }
    }

    /// Takes back what the killed server has not synced, in the database, in its write-ahead log, or in both: the system
    /// may have written the other one in time. Returns how many writes it were.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn cut_power(&self, loses: [bool; FILES.len()]) -> Result<u64> {
        let mut writes = 0;
        for (file, loses) in FILES.iter().zip(loses) {
            let path = self.data.join(file);
            if loses {
                writes += power::take_back(&path)?;
            } else {
                power::forget(&path)?;
            }
        }
        Ok(writes)
    }

    /// Copies the data of the stopped server.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn copy(&self, copy: u64) -> Result<()> {
        let to = self.copy_path(copy);
        fs::create_dir_all(&to)?;
        for file in FILES {
            let from = self.data.join(file);
            if from.exists() {
                fs::copy(&from, to.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        Ok(())
    }

    /// Replaces the data of the stopped server by a copy.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn restore(&mut self, copy: u64, how: Restoration) -> Result<()> {
        let from = self.copy_path(copy);
        for file in FILES {
            let (copied, path) = (from.join(file), self.data.join(file));
            power::forget(&path)?;
            if path.exists() && (how == Restoration::Removed || !copied.exists()) {
                fs::remove_file(&path)?;
            }
            if copied.exists() {
                let new = self.data.join(format!("{file}.new"));
                let to = if how == Restoration::Renamed { &new } else { &path };
                fs::copy(&copied, to).with_context(|| format!("cannot copy {}", copied.display()))?;
                File::open(to)?.sync_all()?;
                if how == Restoration::Renamed {
                    fs::rename(&new, &path)?;
                }
            }
        }
        self.is_restored = how == Restoration::InPlace;
        let index = self.data.join(SHARED_MEMORY);
        if index.exists() {
            fs::remove_file(&index)?;
        }
        Ok(())
    }

    fn copy_path(&self, copy: u64) -> PathBuf {
        self.data.join(format!("copy-{copy}"))
    }
}

impl Drop for Server {
    /// A server that still runs is killed with its handle.
    fn drop(&mut self) {
        if let Some(mut server) = self.running.take() {
            let process = server.process().id();
            drop(server);
            self.killed(process);
        }
    }
}

/// Sleeps to the microsecond: a sleep of the system takes longer than asked.
pub(crate) fn sleep_exactly(time: Duration) {
    const COARSE: Duration = Duration::from_millis(1);
    let end = Instant::now() + time;
    sleep(time.saturating_sub(COARSE));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The name of the database file.
const FILE: &str = "log.sqlite";
/// What belongs to the database: SQLite reads the write-ahead log when it opens the file.
const FILES: [&str; 2] = [FILE, "log.sqlite-wal"];
/// The index of the write-ahead log, which SQLite makes anew.
const SHARED_MEMORY: &str = "log.sqlite-shm";

/// The bounds that a run must not reach, because what they drop is no fault of the log, and short times, so that lost
/// connections are noticed often.
const OPTIONS: [&str; 38] = [
    "--log-messages",
    "100000000",
    "--log-bytes",
    "64GiB",
    "--log-total-bytes",
    "256GiB",
    "--log-watched-bytes",
    "64GiB",
    "--session-line-rate",
    "0",
    "--session-byte-rate",
    "0",
    "--max-connection-rate",
    "0",
    "--address-connection-rate",
    "0",
    "--max-overhead-rate",
    "0",
    "--queue-bytes",
    "64KiB",
    "--ping-interval",
    "1s",
    "--ping-timeout",
    "2s",
    "--write-timeout",
    "4s",
    "--close-timeout",
    "1s",
    "--hello-timeout",
    "2s",
    "--reconnect-spread",
    "200ms",
    "--presence-grace",
    "500ms",
    "--drain-time",
    "500ms",
    "--log",
    "warn,talkback=info",
];
