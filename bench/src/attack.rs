//! What attacks on the server do to clients that take no part in them.
//!
//! For each scenario a fresh server with default options runs on a core of its own. On the other core run two
//! processes: the innocents, at a higher priority, and the attacker, at a lower one. The innocents measure first
//! without the attack and then during it; what they measured, what the attacker did and what the server used are judged
//! against bounds that are derived from the server's named limits.
//!
//! - [`figures`]: what a run gives, and judging it;
//! - `scenarios`: the attacks and their bounds;
//! - `attacker` and `innocent`: the two child processes. Innocents are clients that keep the rules;
//! - `swarm`: connections that do not behave;
//! - `wire`: the lines that both send;
//! - `page`: docs/attacks.md.
//!
//! `cargo xtask attack` builds everything and runs it.

pub(crate) mod attacker;
pub mod figures;
pub(crate) mod innocent;
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
pub use innocent::{InnocentArgs, run as run_innocents};

use crate::{
    process::{self, Cores, Server, Sockets},
    report::Machine,
};
use figures::{Done, Heard, Judging, Run};
use scenarios::{ATTACKED_ROOM, PUBLISH_KEY, Scenario};

/// How long the innocents measure without an attack.
const IDLE: Duration = Duration::from_secs(2);
const IDLE_QUICK: Duration = Duration::from_millis(500);
/// The preparations are over when no message took this long, in milliseconds.
const QUIET_MS: f64 = 250.0;
const QUIET_WITHIN: Duration = Duration::from_secs(30);
const SECONDS_QUICK: u64 = 1;
/// A child that prints nothing for this long is killed: longer than preparations and scenario take.
const PATIENCE: Duration = Duration::from_secs(240);
/// The interval at which the server's memory and sockets are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Files that a server may open: its own limit, `--max-connections`, comes first.
const OPEN_FILES: u64 = 70_000;

/// Attack a server and judge what that does to others.
#[derive(Args, Clone, Debug)]
pub struct AttackArgs {
    /// The server; by default the one that was built beside this program
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Only the scenarios whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A few scenarios, briefly: shows that the attacks work. Times, memory and CPU are not judged
    #[arg(long, conflicts_with = "scenario")]
    quick: bool,
    /// Each scenario in its first size only
    #[arg(long)]
    once: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Write docs/attacks.md, next to the figures of docs/attacks-before.json
    #[arg(long, conflicts_with_all = ["quick", "scenario", "once"])]
    write: bool,
    /// Keep the figures in a file, with those of other scenarios that it has already
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Figures of a server, as they are kept in a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    /// The machine, the options and the remarks, as text.
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

    /// Each run on a line of its own, so that a new measurement of one changes one line.
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
/// When a bound is broken, an attack did not happen, or something does not start.
pub fn run(arguments: &AttackArgs) -> Result<()> {
    let chosen: Vec<_> = scenarios::all()
        .into_iter()
        .filter(|scenario| match arguments.scenario.as_slice() {
            [] => scenario.quick || !arguments.quick,
            names => names.iter().any(|name| scenario.name.contains(name)),
        })
        .collect();
    ensure!(!chosen.is_empty(), "there is no such scenario: --list shows them");
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
    let stage = Stage::set(arguments)?;
    let mut record = Record {
        note: machine.to_string(),
        runs: Vec::new(),
    };
    let mut broken = Vec::new();
    for scenario in &chosen {
        let fourfold = scenario.fourfold && !arguments.quick && !arguments.once;
        for factor in if fourfold { vec![1, 4] } else { vec![1] } {
            let size = scenario.size * factor;
            let run = match stage.run(scenario, factor) {
                Ok(run) => run,
                Err(error) => {
                    eprintln!("{} x{factor}: failed: {error:#}", scenario.name);
                    broken.push(format!("{} x{factor}: {error:#}", scenario.name));
                    continue;
                }
            };
            println!("{}", page::line(&run));
            for wrong in figures::judge(&run, &scenario.bounds(size), stage.judging()) {
                println!("    broken: {wrong}");
                broken.push(format!("{} x{factor}: {wrong}", scenario.name));
            }
            record.add(run);
            if let Some(path) = &arguments.save {
                let mut kept = if path.exists() {
                    Record::read(path)?
                } else {
                    record.clone()
                };
                record.runs.iter().cloned().for_each(|run| kept.add(run));
                kept.write(path)?;
            }
        }
    }
    if arguments.write {
        let before = Record::read(Path::new("docs/attacks-before.json"))?;
        fs::write("docs/attacks.md", page::markdown(&record, &before))?;
        println!("wrote docs/attacks.md");
    }
    ensure!(
        broken.is_empty(),
        "{} bounds are broken:\n  {}",
        broken.len(),
        broken.join("\n  ")
    );
    Ok(())
}

/// What all scenarios of a run share.
struct Stage {
    cores: Cores,
    server: PathBuf,
    options: Vec<String>,
    quick: bool,
    /// What the servers log.
    logs: PathBuf,
}

impl Stage {
    fn set(arguments: &AttackArgs) -> Result<Self> {
        let cores = Cores::find()?;
        cores.enter_clients()?;
        process::raise_open_files(OPEN_FILES)?;
        let own = std::env::current_exe()?;
        let folder = own.parent().context("this program is in no folder")?;
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
        // Off by default, which would be no defence of those who turn it on.
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
        let mut innocents = Extra::start("innocents", &["--address", &address], |command| {
            if scenario.local {
                command.args(["--attacked-room", ATTACKED_ROOM]);
            }
        })?;
        innocents.expect_ready()?;
        let seconds = if self.quick { SECONDS_QUICK } else { scenario.seconds };
        let mut attacker = Extra::start(
            "attacker",
            &["--address", &address, "--scenario", scenario.name],
            |command| {
                command.args(["--size", &size.to_string(), "--seconds", &seconds.to_string()]);
                command.args(["--addresses", &factor.to_string()]);
            },
        )?;
        attacker.expect_ready()?;
        until_quiet(&mut innocents)?;
        thread::sleep(if self.quick { IDLE_QUICK } else { IDLE });
        let idle = ask(&mut innocents)?;
        let memory_before = server.memory()?;
        let (cpu_before, waited_before, begun) = (server.cpu_time()?, server.waiting_time()?, Instant::now());
        let watch = Watch::start(&server);
        attacker.say()?;
        let answer = attacker.hear().context("the attacker said nothing");
        let attacked = ask(&mut innocents)?;
        let lasted = begun.elapsed().as_secs_f64();
        let cpu = (server.cpu_time()? - cpu_before).as_secs_f64() / lasted;
        let waited = (server.waiting_time()? - waited_before).as_secs_f64() / lasted;
        // What was closed a moment ago may still be on its way out.
        thread::sleep(Duration::from_millis(300));
        let held = server.sockets(innocent::is_innocent)?.others;
        let answer = answer?;
        let done: Done = serde_json::from_str(&answer).with_context(|| format!("the attacker said {answer:?}"))?;
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
            kernel: watch.end()?,
            held,
        };
        drop(attacker);
        Ok(run)
    }
}

/// Waits until the preparations no longer delay the innocents, at most [`QUIET_WITHIN`]: their effect is part of
/// neither measurement.
fn until_quiet(innocents: &mut Extra) -> Result<()> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        thread::sleep(Duration::from_millis(300));
        let heard = ask(innocents)?;
        if heard.other.max < QUIET_MS || Instant::now() > deadline {
            return Ok(());
        }
    }
}

fn ask(innocents: &mut Extra) -> Result<Heard> {
    innocents.say()?;
    innocent::read_report(&innocents.hear()?)
}

/// A child process that runs another command of this program; it ends when its standard input does.
struct Extra {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    name: &'static str,
    watchdog: Arc<AtomicBool>,
}

impl Extra {
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
            let deadline = Instant::now() + PATIENCE;
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
        match self.hear()?.as_str() {
            "ready" => Ok(()),
            other => bail!("the {} said {other:?}", self.name),
        }
    }

    fn say(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no standard input")?;
        stdin
            .write_all(b"\n")
            .with_context(|| format!("the {} ended", self.name))
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the {} ended; it has said why", self.name);
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.kill();
        self.watchdog.store(true, Ordering::Release);
        let _ = self.child.wait();
    }
}

/// Reads the server's sockets at intervals, on a thread of its own.
struct Watch {
    over: Arc<AtomicBool>,
    most: Arc<Mutex<Result<u64>>>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
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
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Self { over, most, thread }
    }

    /// The most bytes that waited in the kernel.
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
    fn a_kept_record_is_read_again_and_a_new_run_takes_the_place_of_the_old() {
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
    fn the_figures_from_before_the_server_was_hardened_are_of_scenarios_that_exist() {
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
