//! `cargo xtask mutants`: changes the code that keeps the promises in one place at a time, and shows the changes that
//! no test notices.
//!
//! `.cargo/mutants.toml` names the files, and the mutants that are equivalent to the code.

use crate::{run, tools};
use anyhow::{Context, bail};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only the mutants of this package
    #[arg(long, value_name = "NAME", value_parser = PASSES.map(|pass| pass.package))]
    package: Option<String>,
    /// Only a part of the mutants of each package: K/N, K from 0. A whole run takes more than an hour; parts can run
    /// one after the other
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only mutants of lines that changed since this commit
    #[arg(long, value_name = "COMMIT")]
    in_diff: Option<String>,
    /// Only files that match this pattern, for instance 'protocol/src/session/client/**'; braces list several:
    /// '{server/src/hub/**,client/src/store.rs}'
    #[arg(long, value_name = "GLOB")]
    file: Option<String>,
    /// How many mutants are tried at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// The tests that are run against the mutants of a package: those that can notice them.
#[derive(Clone, Copy)]
struct Pass {
    package: &'static str,
    /// What `cargo test` gets.
    tests: &'static [&'static str],
}

const PASSES: [Pass; 3] = [
    Pass {
        package: "talkback-protocol",
        // Without the test of shrinking itself, see `ENVIRONMENT`.
        tests: &[
            "--lib",
            "--test",
            "client",
            "--test",
            "pair",
            "--test",
            "promises",
            "--test",
            "server",
            "--test",
            "trace_client",
            "--test",
            "trace_server",
            "--",
            "--skip",
            "a_failing_seed_is_shrunk",
        ],
    },
    Pass {
        package: "talkback-server",
        tests: &[
            "--lib",
            "--test",
            "sockets",
            // Tests of HTTP and of sockets, which are not mutated. They wait for timeouts.
            "--",
            "--skip=answers::",
            "--skip=binary::",
            "--skip=handler::",
            "--skip=lifecycle::",
            "--skip=session_faults::",
            "--skip=stalls::",
            "--skip=violations::",
        ],
    },
    Pass {
        package: "talkback-client",
        tests: &["--lib", "--test", "session"],
    },
];

const ENVIRONMENT: [(&str, &str); 3] = [
    // A mutant that breaks a promise breaks it with few seeds or with none, and a failing seed need not be shrunk.
    ("TEST_SEEDS", "0..150"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    // The tests of the server mostly wait for time to pass.
    ("RUST_TEST_THREADS", "6"),
];

/// At most so many of a hundred mutants may be listed as equivalent.
const MAX_LISTED_PERCENT: usize = 3;

const CONFIG: &str = ".cargo/mutants.toml";

/// Runs the tests of each package against each of its mutants.
///
/// # Errors
/// A mutant was missed, too many are listed as equivalent, or the tests do not pass without a mutation.
pub(crate) fn run(arguments: &MutantsArgs) -> anyhow::Result<()> {
    tools::Tool::cargo_mutants()?.install()?;
    let config: toml::Table = fs::read_to_string(CONFIG)?.parse().context(CONFIG)?;
    let listed = check_listed(&config)?;
    let out = run::target().join("mutants-report");
    fs::create_dir_all(&out)?;
    let mut filters = Vec::new();
    if let Some(shard) = &arguments.shard {
        filters.extend(["--shard".into(), shard.into()]);
    }
    if let Some(glob) = &arguments.file {
        let path = out.join("one-file.toml");
        write_config(&config, &[glob.as_str()], true, &path)?;
        filters.extend(["--config".into(), path]);
    }
    if let Some(commit) = &arguments.in_diff {
        let diff = out.join("changes.diff");
        let range = format!("{commit}..HEAD");
        let text = run::output("git", &["diff", "--no-color", &range, "--", "*.rs"])
            .with_context(|| format!("`git diff {range}` failed: name a commit of this repository"))?;
        if text.is_empty() {
            eprintln!("xtask: no Rust code changed since {commit}");
            return Ok(());
        }
        // The command's own line end was cut off, and a diff needs it.
        fs::write(&diff, text + "\n")?;
        filters.extend(["--in-diff".into(), diff]);
    }
    let mut all = Counts::default();
    let wanted = |pass: &&Pass| arguments.package.as_ref().is_none_or(|package| package == pass.package);
    for pass in PASSES.iter().filter(wanted) {
        let counts = try_mutants(pass, &filters, arguments.jobs, &out)?;
        println!("{}: {counts}", pass.package);
        all.add(&counts);
    }
    println!("all: {all}, {listed} listed as equivalent");
    if all.missed > 0 {
        bail!(
            "{} mutants were missed: each needs a test, or a line in {CONFIG} that says why none can notice it",
            all.missed
        );
    }
    Ok(())
}

/// Tries the mutants of one package.
fn try_mutants(pass: &Pass, filters: &[PathBuf], jobs: usize, out: &Path) -> anyhow::Result<Counts> {
    let out = out.join(pass.package);
    // Without mutants cargo-mutants writes no report, and that of an earlier run would be taken for it.
    let report = out.join("mutants.out/outcomes.json");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    fs::create_dir_all(&out)?;
    let mut command = run::cargo();
    command
        .args(["mutants", "--package", pass.package, "--profile", "mutants"])
        .args([
            "--no-shuffle",
            "--colors",
            "never",
            "--jobs",
            &jobs.to_string(),
            "--output",
        ])
        .arg(&out)
        .args(filters)
        .arg("--")
        .args(pass.tests)
        .envs(ENVIRONMENT);
    let line = run::shown(&command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    // 2: some were missed; 3: the tests of some exceeded the timeout, which counts as caught.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("`{line}` failed ({status})");
    }
    if report.exists() {
        Counts::read(&report)
    } else {
        Ok(Counts::default())
    }
}

/// How many mutants had which outcome.
#[derive(Default)]
struct Counts {
    all: u64,
    caught: u64,
    missed: u64,
    timed_out: u64,
    unviable: u64,
}

impl Counts {
    /// Reads a report of cargo-mutants and names the mutants that were missed.
    fn read(outcomes: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(outcomes).with_context(|| outcomes.display().to_string())?;
        let report: Value = serde_json::from_str(&text).with_context(|| outcomes.display().to_string())?;
        for outcome in report["outcomes"].as_array().into_iter().flatten() {
            if outcome["summary"] == "MissedMutant"
                && let Some(name) = outcome["scenario"]["Mutant"]["name"].as_str()
            {
                println!("missed: {name}");
            }
        }
        let count = |name: &str| report[name].as_u64().unwrap_or_default();
        Ok(Self {
            all: count("total_mutants"),
            caught: count("caught"),
            missed: count("missed"),
            timed_out: count("timeout"),
            unviable: count("unviable"),
        })
    }

    fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.caught += other.caught;
        self.missed += other.missed;
        self.timed_out += other.timed_out;
        self.unviable += other.unviable;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} mutants: {} caught, {} missed, {} timed out, {} do not compile",
            self.all, self.caught, self.missed, self.timed_out, self.unviable
        )
    }
}

/// Checks that few mutants are listed as equivalent, because the list must not replace tests. Returns how many are
/// listed.
fn check_listed(config: &toml::Table) -> anyhow::Result<usize> {
    let everything = run::target().join("mutants-report/everything.toml");
    fs::create_dir_all(run::target().join("mutants-report"))?;
    let globs = config.get("examine_globs").and_then(toml::Value::as_array);
    let globs = globs.with_context(|| format!("{CONFIG} has no examine_globs"))?;
    let globs: Vec<_> = globs.iter().filter_map(toml::Value::as_str).collect();
    write_config(config, &globs, false, &everything)?;
    let (tried, all) = (count_mutants(Path::new(CONFIG))?, count_mutants(&everything)?);
    let listed = all.saturating_sub(tried);
    eprintln!("xtask: {all} mutants, of which {listed} are listed as equivalent in {CONFIG}");
    if listed * 100 > all * MAX_LISTED_PERCENT {
        bail!("{listed} of {all} mutants are listed as equivalent: at most {MAX_LISTED_PERCENT} % may be");
    }
    Ok(listed)
}

/// How many mutants there are with this configuration.
fn count_mutants(config: &Path) -> anyhow::Result<usize> {
    let mut command = Command::new("cargo");
    command
        .args(["mutants", "--workspace", "--list", "--json", "--config"])
        .arg(config);
    let output = command.output().context("cannot start `cargo mutants --list`")?;
    if !output.status.success() {
        bail!(
            "`cargo mutants --list` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mutants: Value = serde_json::from_slice(&output.stdout)?;
    Ok(mutants.as_array().map_or(0, Vec::len))
}

/// Writes the configuration with other files to mutate, and with or without the list of equivalent mutants.
fn write_config(config: &toml::Table, globs: &[&str], listed: bool, path: &Path) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.insert("examine_globs".to_owned(), globs.to_vec().into());
    if !listed {
        config.remove("exclude_re");
    }
    fs::write(path, toml::to_string(&config)?)?;
    Ok(())
}
