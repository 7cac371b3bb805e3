//! The effect of attacks on the server on legitimate clients.
//!
//! For each scenario a new server with default options runs on a core of its own. Two processes run on the other core:
//! the legitimate clients, at a higher priority, and the attacker, at a lower one. The legitimate clients measure first
//! without the attack and then during it. Their measurements, the attacker's report and the server's resource usage are
//! compared with bounds that are derived from the server's named limits.
//!
//! - [`figures`]: the figures of a run, and comparing them with bounds;
//! - `scenarios`: the attacks and their bounds;
//! - `attacker` and `legitimate`: the two child processes;
//! - `swarm`: the connections of both;
//! - `wire`: the lines of `talkback.v1` that both send;
//! - `page`: the text of docs/attacks.md.
//!
//! `cargo xtask attack` builds the programs and runs the attacks.

pub(crate) mod attacker;
pub mod figures;
pub(crate) mod legitimate;
mod page;
mod scenarios;
mod swarm;
mod wire;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

pub use attacker::{AttackerArgs, run as run_attacker};
pub use legitimate::{LegitimateClientsArgs, run as run_legitimate_clients};

use crate::{
    process::{self, Cores, Server, Sockets},
    report::Machine,
};
use figures::{AttackReport, ClientReport, Judging, Run};
use scenarios::{ATTACKED_ROOM, PUBLISH_KEY, Scenario};

/// How long the legitimate clients measure without an attack.
const IDLE_DURATION: Duration = Duration::from_secs(2);
const IDLE_DURATION_QUICK: Duration = Duration::from_millis(500);
/// The attack starts after a measurement in which every message took less than this, in milliseconds.
const QUIET_MAX_MS: f64 = 250.0;
const QUIET_WITHIN: Duration = Duration::from_secs(30);
const SECONDS_QUICK: u64 = 1;
/// A child process that runs longer than this is killed; the longest preparation and scenario take less.
const CHILD_TIMEOUT: Duration = Duration::from_secs(240);
/// The interval at which the server's sockets are read.
const SOCKET_READ_INTERVAL: Duration = Duration::from_millis(500);
/// The limit of open files; it is above `--max-connections`, so that the server reaches its own limit first.
const OPEN_FILES: u64 = 70_000;

/// Attack a server and measure the effect on legitimate clients.
#[derive(Args, Clone, Debug)]
pub struct AttackArgs {
    /// The server program; by default `talkback-server` in the folder of this program
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Only the scenarios whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A few short scenarios, to test that the attacks work; times, memory and CPU are not compared with bounds
    #[arg(long, conflicts_with = "scenario")]
    quick: bool,
    /// Only the first size of each scenario
    #[arg(long)]
    once: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Write docs/attacks.md, with the figures of docs/attacks-before.json for comparison
    #[arg(long, conflicts_with_all = ["quick", "scenario", "once"])]
    write: bool,
    /// Store the figures in a file; the figures of other scenarios in it are stored
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Figures of a server, as a file stores them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    /// When and on which machine they were measured.
    note: String,
    runs: Vec<Run>,
}

impl Record {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a record of attacks", path.display()))
    }

    fn find(&self, scenario: &str, factor: usize) -> Option<&Run> {
        self.runs
            .iter()
            .find(|run| run.scenario == scenario && run.factor == factor)
    }

    fn add(&mut self, run: Run) {
        self.runs
            .retain(|other| (&other.scenario, other.factor) != (&run.scenario, run.factor));
        self.runs.push(run);
    }

    /// Writes each run on a line of its own, so that a new measurement of one run changes one line.
    fn write(&self, path: &Path) -> Result<()> {
        let runs = self.runs.iter().map(serde_json::to_string);
        let runs = runs.collect::<Result<Vec<_>, _>>()?.join(",\n");
        let note = serde_json::to_string(&self.note)?;
        let text = format!("{{\"note\": {note},\n\"runs\": [\n{runs}\n]}}\n");
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Runs the scenarios.
///
/// # Errors
/// When a bound is exceeded, an attack did nothing, or a program does not start.
pub fn run(arguments: &AttackArgs) -> Result<()> {
    let chosen: Vec<_> = scenarios::all()
        .into_iter()
        .filter(|scenario| match arguments.scenario.as_slice() {
            [] => scenario.quick || !arguments.quick,
            names => names.iter().any(|name| scenario.name.contains(name)),
        })
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no such scenario; --list prints their names"
    );
    if arguments.list {
        for Scenario {
            name,
            size,
            unit,
            about,
            ..
        } in &chosen
        {
            println!("{name:24}{size:>6} {unit}: {about}");
        }
        return Ok(());
    }
    let machine = Machine::read()?;
    let stage = Setup::new(arguments)?;
    let mut record = Record {
        note: machine.to_string(),
        runs: Vec::new(),
    };
    let mut exceeded = Vec::new();
    for scenario in &chosen {
        let fourfold = scenario.fourfold && !arguments.quick && !arguments.once;
        for factor in if fourfold { vec![1, 4] } else { vec![1] } {
            let size = scenario.size * factor;
            let run = match stage.run(scenario, factor) {
                Ok(run) => run,
                Err(error) => {
                    eprintln!("{} x{factor}: failed: {error:#}", scenario.name);
                    exceeded.push(format!("{} x{factor}: {error:#}", scenario.name));
                    continue;
                }
            };
            println!("{}", page::line(&run));
            for wrong in figures::judge(&run, &scenario.bounds(size), stage.judging()) {
                println!("    exceeded: {wrong}");
                exceeded.push(format!("{} x{factor}: {wrong}", scenario.name));
            }
            record.add(run);
            if let Some(path) = &arguments.save {
                let mut stored = if path.exists() {
                    Record::read(path)?
                } else {
                    record.clone()
                };
                record.runs.iter().cloned().for_each(|run| stored.add(run));
                stored.write(path)?;
            }
        }
    }
    if arguments.write {
        let before = Record::read(Path::new("docs/attacks-before.json"))?;
        fs::write("docs/attacks.md", page::markdown(&record, &before))?;
        println!("wrote docs/attacks.md");
    }
    ensure!(
        exceeded.is_empty(),
        "{} bounds are exceeded:\n  {}",
        exceeded.len(),
        exceeded.join("\n  ")
    );
    Ok(())
}

/// The cores and programs that all scenarios of a run use.
struct Setup {
    cores: Cores,
    server: PathBuf,
    options: Vec<String>,
    quick: bool,
    /// The folder of the servers' logs.
    logs: PathBuf,
}

impl Setup {
    fn new(arguments: &AttackArgs) -> Result<Self> {
        let cores = Cores::find()?;
        cores.enter_clients()?;
        process::raise_open_files(OPEN_FILES)?;
        let own = std::env::current_exe()?;
        let folder = own.parent().context("the path of this program has no folder")?;
        let server = arguments
            .server
            .clone()
            .unwrap_or_else(|| folder.join("talkback-server"));
        ensure!(
            server.is_file(),
            "{} is not built: start the attacks with `cargo xtask attack`",
            server.display()
        );
        let logs = folder.join("attack");
        fs::create_dir_all(&logs)?;
        let mut options = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
        options.extend(["--publish-key".to_owned(), PUBLISH_KEY.to_owned()]);
        // `/flood` is off by default. It is attacked because operators can turn it on.
        let help = Command::new(&server).arg("--help").output()?;
        if String::from_utf8_lossy(&help.stdout).contains("--flood") {
            options.push("--flood".to_owned());
        }
        Ok(Self {
            cores,
            server,
            options,
            quick: arguments.quick,
            logs,
        })
    }

    fn judging(&self) -> Judging {
        if self.quick { Judging::Untimed } else { Judging::All }
    }

    fn run(&self, scenario: &Scenario, factor: usize) -> Result<Run> {
        let size = scenario.size * factor;
        let load = process::load_average()?;
        let log = File::create(self.logs.join(format!("{}-{factor}.log", scenario.name)))?;
        let server = Server::start_logging(self.cores, &self.server, &self.options, log.into())?;
        let address = server.address().to_string();
        let mut legitimate = ChildProgram::start("legitimate-clients", &["--address", &address], |command| {
            if scenario.local {
                command.args(["--attacked-room", ATTACKED_ROOM]);
            }
        })?;
        legitimate.expect_ready()?;
        let seconds = if self.quick { SECONDS_QUICK } else { scenario.seconds };
        let mut attacker = ChildProgram::start(
            "attacker",
            &["--address", &address, "--scenario", scenario.name],
            |command| {
                command.args(["--size", &size.to_string(), "--seconds", &seconds.to_string()]);
                command.args(["--addresses", &factor.to_string()]);
            },
        )?;
        attacker.expect_ready()?;
        wait_until_quiet(&mut legitimate)?;
        thread::sleep(if self.quick { IDLE_DURATION_QUICK } else { IDLE_DURATION });
        let idle = read_report(&mut legitimate)?;
        let memory_before = server.memory()?;
        let (cpu_before, waited_before, begun) = (server.cpu_time()?, server.waiting_time()?, Instant::now());
        let socket_reader = SocketReader::start(&server);
        attacker.send_line()?;
        let answer = attacker.read_line().context("the attacker printed no report");
        let attacked = read_report(&mut legitimate)?;
        let lasted = begun.elapsed().as_secs_f64();
        let cpu = (server.cpu_time()? - cpu_before).as_secs_f64() / lasted;
        let waited = (server.waiting_time()? - waited_before).as_secs_f64() / lasted;
        // Connections that were closed a moment ago may still be open in the kernel.
        thread::sleep(Duration::from_millis(300));
        let held = server.sockets(legitimate::is_legitimate)?.others;
        let answer = answer?;
        let done: AttackReport = serde_json::from_str(&answer)
            .with_context(|| format!("the attacker printed {answer:?} instead of a report"))?;
        let run = Run {
            scenario: scenario.name.to_owned(),
            size,
            factor,
            load,
            idle,
            attacked,
            done,
            cpu: figures::rounded(cpu),
            waited: figures::rounded(waited),
            memory_before,
            memory: server.peak_memory()?,
            kernel: socket_reader.end()?,
            held,
        };
        drop(attacker);
        Ok(run)
    }
}

/// Waits until the preparations no longer delay the legitimate clients, at most [`QUIET_WITHIN`], so that neither
/// measurement includes their effect.
fn wait_until_quiet(legitimate: &mut ChildProgram) -> Result<()> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        thread::sleep(Duration::from_millis(300));
        let report = read_report(legitimate)?;
        if report.other.max < QUIET_MAX_MS || Instant::now() > deadline {
            return Ok(());
        }
    }
}

fn read_report(legitimate: &mut ChildProgram) -> Result<ClientReport> {
    legitimate.send_line()?;
    legitimate::parse_report(&legitimate.read_line()?)
}

/// A child process that runs another command of this program. It ends when its standard input is closed.
struct ChildProgram {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    name: &'static str,
    watchdog: Arc<AtomicBool>,
}

impl ChildProgram {
    fn start(name: &'static str, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        more(&mut command);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("no standard output")?);
        let watchdog = Arc::new(AtomicBool::new(false));
        let (ended, id) = (Arc::clone(&watchdog), rustix::process::Pid::from_child(&child));
        thread::spawn(move || {
            let deadline = Instant::now() + CHILD_TIMEOUT;
            while !ended.load(Ordering::Acquire) {
                if Instant::now() > deadline {
                    let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
                    return;
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        Ok(Self {
            child,
            stdin,
            lines,
            name,
            watchdog,
        })
    }

    fn expect_ready(&mut self) -> Result<()> {
        match self.read_line()?.as_str() {
            "ready" => Ok(()),
            other => bail!("the {} process printed {other:?} instead of `ready`", self.name),
        }
    }

    fn send_line(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no standard input")?;
        stdin
            .write_all(b"\n")
            .with_context(|| format!("the {} process ended", self.name))
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the {} process ended; its error is above", self.name);
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for ChildProgram {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.kill();
        self.watchdog.store(true, Ordering::Release);
        let _ = self.child.wait();
    }
}

/// Reads the server's sockets at intervals, in a thread of its own.
struct SocketReader {
    over: Arc<AtomicBool>,
    most: Arc<Mutex<Result<u64>>>,
    thread: thread::JoinHandle<()>,
}

impl SocketReader {
    fn start(server: &Server) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let most = Arc::new(Mutex::new(Ok(0)));
        let thread = thread::spawn({
            let (over, most, port) = (Arc::clone(&over), Arc::clone(&most), server.address().port());
            move || {
                while !over.load(Ordering::Acquire) {
                    let now = Sockets::read(port, |_| false);
                    let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
                    match (now, &mut *most) {
                        (Ok(now), Ok(most)) => *most = now.bytes.max(*most),
                        (Err(error), most) => *most = Err(error),
                        (Ok(_), Err(_)) => {}
                    }
                    drop(most);
                    thread::sleep(SOCKET_READ_INTERVAL);
                }
            }
        });
        Self { over, most, thread }
    }

    /// Stops reading and returns the maximum of the bytes that waited in the kernel.
    fn end(self) -> Result<u64> {
        self.over.store(true, Ordering::Release);
        let _ = self.thread.join();
        std::mem::replace(&mut *self.most.lock().unwrap_or_else(PoisonError::into_inner), Ok(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_record_is_read_and_a_new_run_replaces_the_old_one() {
        let run = |scenario: &str, factor, held| Run {
            scenario: scenario.to_owned(),
            factor,
            held,
            ..Run::default()
        };
        let mut record = Record {
            note: "a \"busy\" machine".to_owned(),
            runs: vec![run("one", 1, 5), run("one", 4, 6), run("two", 1, 7)],
        };
        record.add(run("one", 4, 60));
        let path = std::env::temp_dir().join(format!("attacks-{}.json", std::process::id()));
        record.write(&path).unwrap();
        let again = Record::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!((&again.note, &again.runs), (&record.note, &record.runs));
        assert_eq!(again.runs.len(), 3);
        assert_eq!(again.find("one", 4).map(|run| run.held), Some(60));
    }

    #[test]
    fn every_run_in_attacks_before_json_has_a_scenario() {
        let before = Record::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks-before.json")).unwrap();
        for run in &before.runs {
            let scenario = scenarios::all()
                .into_iter()
                .find(|scenario| scenario.name == run.scenario);
            assert!(scenario.is_some(), "there is no scenario {}", run.scenario);
        }
        assert!(!before.runs.is_empty());
    }
}
