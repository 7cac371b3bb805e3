//! A server as a child process on a core of its own, and what the kernel says about it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddrV4,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The core of the server and the core of the clients.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    server: usize,
    clients: usize,
}

impl Cores {
    /// The first two cores this process may use.
    ///
    /// # Errors
    /// When there is only one: server and clients would take each other's time.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let server = cores.next().context("no core to run on")?;
        let clients = cores
            .next()
            .context("two cores are needed: one for the server, one for the clients")?;
        Ok(Self { server, clients })
    }

    /// Moves the calling thread, and the processes it starts from now on, to the clients' core.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enter_clients(self) -> Result<()> {
        pin(self.clients)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// A running server; killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddrV4,
}

impl Server {
    /// Starts `program` on the server's core and waits for its first line, `listening on http://ADDRESS`.
    ///
    /// # Errors
    /// When it does not start or says something else.
    pub fn start(cores: Cores, program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Self> {
        // A child inherits the core of the thread that starts it.
        pin(cores.server)?;
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        pin(cores.clients)?;
        let mut child = started.with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the server has no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim_end()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            anyhow::bail!(
                "{}: expected `listening on http://ADDRESS`, got {line:?}",
                program.display()
            );
        };
        Ok(Self { child, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// CPU time used so far by all threads, user and system. Exact while the server is idle; the kernel adds the time of
    /// a running thread at its next tick.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
            let on_cpu = schedstat.split_whitespace().next().context("empty schedstat")?;
            nanoseconds += on_cpu.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory of the process in bytes.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn memory(&self) -> Result<u64> {
        // Unlike `status`, whose counters are kept per core and summed now and then, this walks the pages.
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .context("no Rss in smaps_rollup")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
        Ok(kibibytes * 1024)
    }

    /// [`Server::memory`] once it has not changed for half a second.
    ///
    /// # Errors
    /// When the server is gone or still grows after 20 s.
    pub fn settled_memory(&self) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut last = (self.memory()?, Instant::now());
        while last.1.elapsed() < Duration::from_millis(500) {
            thread::sleep(Duration::from_millis(50));
            let now = self.memory()?;
            if now != last.0 {
                last = (now, Instant::now());
            }
            ensure!(Instant::now() < deadline, "the memory of the server does not settle");
        }
        Ok(last.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises this process's limit of open files as far as it may, for itself and the processes it starts, and returns it.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files(wanted: u64) -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // Only a privileged process may raise the hard limit.
    let raised = Rlimit {
        current: Some(wanted.max(most)),
        maximum: Some(wanted.max(most)),
    };
    if most < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(wanted);
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(most)
}
