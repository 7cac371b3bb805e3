//! A server as a child process on a core of its own, and the kernel's figures about it.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use talkback_launch::Process;

/// The timeout until a server listens. It needs milliseconds; a busy machine needs more.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// The core of the server, the core of the clients, and all cores.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    server: CpuSet,
    clients: CpuSet,
    all: CpuSet,
}

/// The cores of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The server's own core.
    OwnCore,
    /// All cores, also that of the clients.
    AllCores,
}

impl Cores {
    /// The first two cores that this process may use.
    ///
    /// # Errors
    /// When there is only one: server and clients would use each other's CPU time.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let server = cores.next().context("no core to run on")?;
        let clients = cores
            .next()
            .context("two cores are needed: one for the server, one for the clients")?;
        Ok(Self {
            server: only(server),
            clients: only(clients),
            all: allowed,
        })
    }

    /// Calls `start` on the server's core, so that the processes that it starts run there.
    ///
    /// # Errors
    /// When the system refuses, or the error of `start`.
    pub fn on_server_core<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.clients)?;
        started
    }

    /// The same on all cores.
    ///
    /// # Errors
    /// When the system refuses, or the error of `start`.
    pub fn on_all_cores<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(self.all)?;
        let started = start();
        pin(self.clients)?;
        started
    }

    /// Moves the calling thread, and the processes it starts from now on, to the clients' core.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enter_clients(self) -> Result<()> {
        pin(self.clients)
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

fn pin(cores: CpuSet) -> Result<()> {
    Ok(sched_setaffinity(None, &cores)?)
}

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    server: talkback_launch::Server,
    address: SocketAddrV4,
}

impl Server {
    /// Starts `program` on the server's core and waits for its first line, `listening on http://ADDRESS`. Its standard
    /// error is written to `log`.
    ///
    /// # Errors
    /// When it does not start or prints another line.
    pub fn start_logging(cores: Cores, program: &Path, arguments: &[impl AsRef<OsStr>], log: Stdio) -> Result<Self> {
        Self::start(cores, Place::OwnCore, program, arguments, log)
    }

    /// Like [`Server::start_logging`], on the cores of `place`.
    ///
    /// # Errors
    /// When it does not start or prints another line.
    pub fn start(
        cores: Cores,
        place: Place,
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: Stdio,
    ) -> Result<Self> {
        // A child process inherits the cores of the thread that starts it.
        pin(match place {
            Place::OwnCore => cores.server,
            Place::AllCores => cores.all,
        })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let started = Process::spawn(&mut command);
        pin(cores.clients)?;
        let server =
            talkback_launch::Server::wait(started?, START_DEADLINE).with_context(|| program.display().to_string())?;
        let SocketAddr::V4(address) = server.address() else {
            bail!("{} listens on an IPv6 address: the clients use IPv4", program.display());
        };
        Ok(Self { server, address })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The CPU time of all threads so far, user and system. It is exact while the server is idle; the kernel adds the
    /// time of a running thread at its next tick.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.schedstat(0)
    }

    /// The time so far in which threads were ready to run while other processes used the core.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn waiting_time(&self) -> Result<Duration> {
        self.schedstat(1)
    }

    fn schedstat(&self, field: usize) -> Result<Duration> {
        schedstat(self.server.id(), field)
    }

    /// Resident memory of the process in bytes.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn memory(&self) -> Result<u64> {
        // This walks the pages. `status` is less exact, because its counters are per core and summed periodically.
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.server.id()))?;
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .context("no Rss in smaps_rollup")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
        Ok(kibibytes * 1024)
    }

    /// The peak resident memory of the process, in bytes.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let line = line.context("no VmHWM in status")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
        Ok(kibibytes * 1024)
    }

    /// The sockets of the server, see [`Sockets::read`].
    ///
    /// # Errors
    /// When /proc is not readable.
    pub fn sockets(&self, known: impl Fn(Ipv4Addr) -> bool) -> Result<Sockets> {
        Sockets::read(self.address.port(), known)
    }

    /// Waits until [`Server::memory`] has not changed for this long, and returns it.
    ///
    /// # Errors
    /// When the server has ended or its memory still changes after 20 s.
    pub fn settled_memory(&self, unchanged: Duration) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut last = (self.memory()?, Instant::now());
        while last.1.elapsed() < unchanged {
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

/// The CPU time so far of all threads of the process with this id, as [`Server::cpu_time`].
///
/// # Errors
/// When the process has ended.
pub fn cpu_time(process: u32) -> Result<Duration> {
    schedstat(process, 0)
}

fn schedstat(process: u32, field: usize) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        let value = schedstat.split_whitespace().nth(field).context("short schedstat")?;
        nanoseconds += value.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The sockets at one port, from /proc/net/tcp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// The number of open connections whose peers are not known addresses.
    pub others: u64,
    /// Bytes that wait in the kernel to be sent, acknowledged or read, including connections that the process has
    /// closed.
    pub bytes: u64,
}

impl Sockets {
    /// Reads the sockets at this local port.
    ///
    /// # Errors
    /// When /proc is not readable.
    pub fn read(port: u16, known: impl Fn(Ipv4Addr) -> bool) -> Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/net/tcp")?, port, known))
    }

    fn parse(table: &str, port: u16, known: impl Fn(Ipv4Addr) -> bool) -> Self {
        const LISTENING: &str = "0A";
        let mut sockets = Self::default();
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().take(10).collect();
            let &[_, local, remote, state, queues, _, _, _, _, inode] = fields.as_slice() else {
                continue;
            };
            let is_here = |(_, text): (&str, &str)| u16::from_str_radix(text, 16) == Ok(port);
            if state == LISTENING || !local.split_once(':').is_some_and(is_here) {
                continue;
            }
            let (send, receive) = queues.split_once(':').unwrap_or_default();
            let waiting = [send, receive].map(|digits| u64::from_str_radix(digits, 16).unwrap_or_default());
            sockets.bytes += waiting.iter().sum::<u64>();
            // The kernel prints the four bytes of an address as a number in the byte order of the machine.
            let address = remote
                .split_once(':')
                .and_then(|(digits, _)| u32::from_str_radix(digits, 16).ok());
            let is_known = address.is_some_and(|bits| known(Ipv4Addr::from(bits.to_ne_bytes())));
            if inode != "0" && !is_known {
                sockets.others += 1;
            }
        }
        sockets
    }
}

/// The load average of the machine over the last minute.
///
/// # Errors
/// When /proc is not readable.
pub fn load_average() -> Result<f64> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().context("empty loadavg")?.parse()?)
}

/// Raises the limit of open files of this process and its children, to `wanted` if it is privileged and to the hard
/// limit otherwise, and returns the limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_of_a_port_are_counted_without_known_addresses_and_orphans() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0        0 100 1 0
   1: 0100007F:0BB8 0101007F:9C40 01 00000010:00000001 00:00000000 00000000     0        0 101 1 0
   2: 0100007F:0BB8 0200097F:9C41 01 00000100:00000000 00:00000000 00000000     0        0 102 1 0
   3: 0100007F:0BB8 0101007F:9C42 04 00001000:00000000 01:00000000 00000000     0        0 0 1 0
   4: 0101007F:9C40 0100007F:0BB8 01 00000000:0000FFFF 00:00000000 00000000     0        0 103 1 0
";
        // The addresses above are in little-endian byte order.
        if cfg!(target_endian = "little") {
            let sockets = Sockets::parse(table, 3000, |address| address == Ipv4Addr::new(127, 9, 0, 2));
            assert_eq!(
                sockets,
                Sockets {
                    others: 1,
                    bytes: 0x1111
                }
            );
        }
    }
}
