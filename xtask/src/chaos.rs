//! `cargo xtask chaos`: loads real servers, breaks them again and again, and checks what their clients recorded.
//!
//! A run has one topology and one seed and takes about a minute; runs of a topology follow each other until the goal is
//! reached. Each has a folder with its verdict, so that a command that was broken off goes on with the next seed.

mod planted;

use crate::{debian, run};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt, fs,
    hash::{DefaultHasher, Hasher},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub(crate) struct ChaosArgs {
    /// Go on for so many minutes with each topology; without a goal 10
    #[arg(long, value_name = "N", conflicts_with_all = ["messages", "kills"])]
    minutes: Option<u64>,
    /// Go on until so many messages are acknowledged with each topology, in all runs of its folder together
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Go on until servers were killed so many times with each topology, in all runs of its folder together
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// The seed of the first run; each further run has the next one
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Which servers are loaded
    #[arg(long, value_enum, default_value = "all")]
    topology: Topology,
    /// One run of about 30 seconds with each topology, with unoptimised programs and seed 1: part of `cargo xtask test`
    #[arg(long, conflicts_with_all = ["minutes", "messages", "kills", "seed"])]
    quick: bool,
    /// Only these kinds of faults, as the driver names them: kill, terminate, ...
    #[arg(long, value_name = "KIND")]
    only: Vec<String>,
    /// Another server than this workspace's
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Where the runs of one topology are kept; by default a folder of its name in target/chaos
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Remove the runs that are in the folder instead of going on after them
    #[arg(long)]
    fresh: bool,
    /// Try a bug of chaos/planted.toml, or `all` of them, in a copy of the server, and fail if the checker does not
    /// notice it
    #[arg(long, value_name = "BUG", conflicts_with_all = ["minutes", "messages", "kills", "quick", "server", "only"])]
    planted: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topology {
    /// One server with logs in memory, which its end loses
    Memory,
    /// One server with logs in a file
    Sqlite,
    /// Three servers with logs in one Redis, which is broken too
    Redis,
    /// Three servers with logs in a Redis Cluster of three masters with a replica each, which are broken too
    Cluster,
    /// `sqlite`, then `redis`
    All,
}

impl Topology {
    /// The names that the driver knows.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["memory"],
            Self::Sqlite => &["sqlite"],
            Self::Redis => &[REDIS],
            Self::Cluster => &[CLUSTER],
            Self::All => &["sqlite", REDIS],
        }
    }
}

/// The topologies that need redis-servers.
const REDIS: &str = "redis";
const CLUSTER: &str = "cluster";
/// How long faults happen in a run, in seconds. Settling and reading the logs come after that.
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 18;
/// The messages that all clients together publish a second.
const RATE: u64 = 1_500;
const RATE_QUICK: u64 = 400;
const MINUTES: u64 = 10;
/// The faults that kill a server.
const KILLS: [&str; 2] = ["kill", "power_cut"];

fn needs_redis(topology: &str) -> bool {
    [REDIS, CLUSTER].contains(&topology)
}

/// Runs until the goal is reached.
///
/// # Errors
/// A rule was broken, or a run could not be made.
pub(crate) fn run(arguments: &ChaosArgs) -> anyhow::Result<()> {
    if let Some(name) = &arguments.planted {
        return planted::run(name);
    }
    let names = arguments.topology.names();
    ensure!(
        arguments.folder.is_none() || names.len() == 1,
        "--folder is that of one topology: name it with --topology"
    );
    if names.iter().any(|name| needs_redis(name)) {
        debian::set_up(&[debian::REDIS])?;
    }
    let build = if arguments.quick { Build::Quick } else { Build::Release };
    let programs = Programs::build(build, arguments.server.clone())?;
    let mut totals = Vec::new();
    for name in names {
        totals.push((name, run_one(arguments, &programs, name)?));
    }
    for (name, total) in &totals {
        println!("\n{name}: {total}");
    }
    let broken: Vec<_> = totals.iter().filter(|(_, total)| !total.broken.is_empty()).collect();
    ensure!(
        broken.is_empty(),
        "rules were broken in earlier runs; --fresh removes them"
    );
    Ok(())
}

/// Runs one topology until the goal is reached. Returns the sums of all runs in its folder.
fn run_one(arguments: &ChaosArgs, programs: &Programs, name: &str) -> anyhow::Result<Total> {
    let folder = arguments.folder.clone().unwrap_or_else(|| {
        let name = if arguments.quick {
            format!("{name}-quick")
        } else {
            name.to_owned()
        };
        run::target().join("chaos").join(name)
    });
    let runs = Runs::open(&folder, &programs.server, arguments.fresh || arguments.quick)?;
    let mut total = runs.total.clone();
    if total.runs > 0 {
        println!("going on after {} runs in {}", total.runs, folder.display());
    }
    let start = Instant::now();
    let mut seed = runs.last_seed.map_or(arguments.seed, |last| last + 1);
    while !arguments.is_reached(&total, start.elapsed()) {
        let run = Run {
            topology: name,
            seed,
            seconds: if arguments.quick { SECONDS_QUICK } else { SECONDS },
            rate: if arguments.quick { RATE_QUICK } else { RATE },
            only: &arguments.only,
        };
        let verdict = run.make(programs, &folder)?;
        total.add(&verdict);
        let is_kept = verdict["kept"] == true;
        println!("{name}, seed {seed}: {}", if is_kept { "kept" } else { "BROKEN" });
        if !is_kept {
            println!("{name}: {total}");
            bail!(
                "a rule was broken with seed {seed}; {} has the recording and the servers' logs",
                folder_of(&folder, seed).display()
            );
        }
        seed += 1;
    }
    Ok(total)
}

impl ChaosArgs {
    fn is_reached(&self, total: &Total, elapsed: Duration) -> bool {
        if self.quick {
            return total.runs > 0;
        }
        if self.messages.is_none() && self.kills.is_none() {
            return elapsed >= Duration::from_secs(60 * self.minutes.unwrap_or(MINUTES));
        }
        total.count("acknowledged") >= self.messages.unwrap_or_default()
            && total.kills() >= self.kills.unwrap_or_default()
    }
}

/// How programs are built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    Release,
    /// Without optimisation, and with the features of the whole workspace: after the other tests no dependency is built
    /// again.
    Quick,
    /// Without optimisation, for a server that is built apart.
    Planted,
}

struct Programs {
    server: PathBuf,
    driver: PathBuf,
    checker: PathBuf,
    /// The library of chaos/power_cut.
    power_cut: PathBuf,
    /// That of libfaketime.
    clock: PathBuf,
}

impl Programs {
    /// Builds them, the server too if there is no other one.
    fn build(how: Build, server: Option<PathBuf>) -> anyhow::Result<Self> {
        debian::set_up(&[debian::FAKETIME])?;
        let mut names = vec!["talkback-chaos-driver", "talkback-chaos-check"];
        if server.is_none() {
            names.push("talkback-server");
        }
        let folder = match how {
            Build::Quick => run::programs(&names)?,
            Build::Release | Build::Planted => {
                let mut build = run::cargo();
                build.args(["build", "--package", "talkback-chaos"]);
                if how == Build::Release {
                    build.args(["--release", "--package", "talkback-server"]);
                }
                for name in names {
                    build.args(["--bin", name]);
                }
                run::succeed(&mut build)?;
                run::target().join(if how == Build::Release { "release" } else { "debug" })
            }
        };
        let power_cut = folder.join("power_cut.so");
        // The C compiler is there, because SQLite is compiled too.
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&power_cut).args([
            "chaos/power_cut/power_cut.c",
            "-ldl",
            "-lpthread",
        ]);
        run::succeed(&mut compile)?;
        Ok(Self {
            server: server.unwrap_or_else(|| folder.join("talkback-server")),
            driver: folder.join("talkback-chaos-driver"),
            checker: folder.join("talkback-chaos-check"),
            power_cut,
            clock: debian::faketime_library()?,
        })
    }
}

/// One run.
struct Run<'a> {
    topology: &'a str,
    seed: u64,
    /// How long faults happen.
    seconds: u64,
    /// The messages that all clients together publish a second.
    rate: u64,
    /// The kinds of faults; empty for all.
    only: &'a [String],
}

impl Run<'_> {
    /// Starts the driver, then the checker. Returns the verdict.
    fn make(&self, programs: &Programs, folder: &Path) -> anyhow::Result<Value> {
        let folder = folder_of(folder, self.seed);
        remove(&folder)?;
        let mut driver = Command::new(&programs.driver);
        driver
            .arg("--server")
            .arg(&programs.server)
            .arg("--power-cut")
            .arg(&programs.power_cut)
            .arg("--clock")
            .arg(&programs.clock)
            .arg("--folder")
            .arg(&folder)
            .args(["--topology", self.topology])
            .args(["--seed", &self.seed.to_string()])
            .args(["--seconds", &self.seconds.to_string()])
            .args(["--rate", &self.rate.to_string()]);
        for kind in self.only {
            driver.args(["--only", kind]);
        }
        run::succeed(&mut driver)?;
        // It fails when a rule is broken too: its verdict says which.
        let status = Command::new(&programs.checker).arg(&folder).status();
        let status = status.with_context(|| format!("cannot start {}", programs.checker.display()))?;
        ensure!(matches!(status.code(), Some(0 | 1)), "the checker failed ({status})");
        let verdict = read(&folder.join("verdict.json"))?;
        if verdict["kept"] == true {
            // Large, and only a broken rule needs them.
            remove(&folder.join("recording.jsonl"))?;
            remove(&folder.join("data"))?;
        }
        Ok(verdict)
    }
}

fn folder_of(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("seed-{seed}"))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no verdict", path.display()))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The runs that a folder has.
struct Runs {
    total: Total,
    last_seed: Option<u64>,
}

impl Runs {
    /// Reads the verdicts in the folder. They count only for the server that they were made with.
    fn open(folder: &Path, server: &Path, fresh: bool) -> anyhow::Result<Self> {
        if fresh {
            remove(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(server).with_context(|| format!("cannot read {}", server.display()))?);
        let hash = format!("{:016x}", hasher.finish());
        let path = folder.join("server.txt");
        match fs::read_to_string(&path) {
            Ok(former) => ensure!(
                former == hash,
                "the runs in {} are of another server program; --fresh removes them",
                folder.display()
            ),
            Err(_) => fs::write(&path, hash)?,
        }
        let (mut total, mut last_seed) = (Total::default(), None);
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(seed) = name.strip_prefix("seed-").and_then(|seed| seed.parse::<u64>().ok()) else {
                continue;
            };
            // One that was broken off has no verdict, and the next seed follows it too.
            last_seed = last_seed.max(Some(seed));
            let verdict = path.join("verdict.json");
            if verdict.exists() {
                total.add(&read(&verdict)?);
            }
        }
        Ok(Self { total, last_seed })
    }
}

/// The sums of all runs.
#[derive(Clone, Default)]
struct Total {
    runs: u64,
    counts: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    /// How often each rule was broken.
    broken: BTreeMap<String, u64>,
}

impl Total {
    fn add(&mut self, verdict: &Value) {
        self.runs += 1;
        for (counts, name) in [(&mut self.counts, "counts"), (&mut self.faults, "faults")] {
            for (name, count) in verdict[name].as_object().into_iter().flatten() {
                *counts.entry(name.clone()).or_default() += count.as_u64().unwrap_or_default();
            }
        }
        for (rule, broken) in verdict["rules"].as_object().into_iter().flatten() {
            *self.broken.entry(rule.clone()).or_default() += broken["times"].as_u64().unwrap_or_default();
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn kills(&self) -> u64 {
        KILLS.iter().filter_map(|kind| self.faults.get(*kind)).sum()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let items: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            items.join(", ")
        };
        writeln!(f, "{} runs, {} kills of servers", self.runs, self.kills())?;
        writeln!(f, "seen: {}", list(&self.counts))?;
        writeln!(f, "faults: {}", list(&self.faults))?;
        if self.broken.is_empty() {
            write!(f, "verdict: every rule was kept in every run")
        } else {
            write!(f, "verdict: BROKEN: {}", list(&self.broken))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_command_that_was_broken_off_goes_on_with_the_next_seed_and_the_runs_before_count() {
        let folder = tempfile::tempdir().unwrap();
        let server = folder.path().join("server");
        fs::write(&server, "a program").unwrap();
        let runs = folder.path().join("runs");
        let open = |fresh| Runs::open(&runs, &server, fresh);
        let first = open(false).unwrap();
        assert_eq!((first.total.runs, first.last_seed), (0, None));
        for (seed, kills) in [(7, 30), (8, 12)] {
            let folder = folder_of(&runs, seed);
            fs::create_dir_all(&folder).unwrap();
            let verdict = json!({
                "kept": true, "counts": {"acknowledged": 1000}, "faults": {"kill": kills, "power_cut": 1, "cut": 3}, "rules": {},
            });
            fs::write(folder.join("verdict.json"), verdict.to_string()).unwrap();
        }
        // Broken off: there is no verdict.
        fs::create_dir_all(folder_of(&runs, 9)).unwrap();
        let again = open(false).unwrap();
        assert_eq!((again.total.runs, again.last_seed), (2, Some(9)));
        assert_eq!((again.total.count("acknowledged"), again.total.kills()), (2000, 44));
        // Another server's runs do not count.
        fs::write(&server, "another program").unwrap();
        assert!(open(false).is_err());
        let fresh = open(true).unwrap();
        assert_eq!((fresh.total.runs, fresh.last_seed), (0, None));
    }

    #[test]
    fn broken_rules_of_all_runs_are_in_the_sum() {
        let mut total = Total::default();
        total.add(&json!({"rules": {"log": {"times": 3, "first": []}}}));
        total.add(&json!({"rules": {"log": {"times": 2, "first": []}, "gap": {"times": 1, "first": []}}}));
        assert!(total.to_string().ends_with("verdict: BROKEN: 1 gap, 5 log"), "{total}");
    }
}
