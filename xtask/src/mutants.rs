//! `cargo xtask mutants`: plants faults in the code that keeps the promises, one at a time, and shows those that no test notices.
//!
//! Which files, and which mutants are equivalent to the code as it stands, is in `.cargo/mutants.toml`.

use crate::{run, tools};
use anyhow::{Context, bail};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

#[derive(clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only a part of all mutants: K/N, K from 0. A whole run takes hours; parts can run one after the other
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only mutants of lines that changed since this commit
    #[arg(long, value_name = "COMMIT")]
    in_diff: Option<String>,
    /// Only files that match this pattern, for instance 'protocol/src/session/client/**'
    #[arg(long, value_name = "GLOB")]
    file: Option<String>,
    /// How many mutants are tried at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// At most so many of a hundred mutants may be listed as equivalent.
const MAX_LISTED_PERCENT: usize = 3;

/// Runs the tests of a package against each of its mutants.
///
/// # Errors
/// A mutant was missed, too many are listed as equivalent, or the tests do not pass without a mutation.
pub(crate) fn run(arguments: &MutantsArgs) -> anyhow::Result<()> {
    tools::Tool::cargo_mutants()?.install()?;
    check_listed()?;
    let out = run::target().join("mutants");
    fs::create_dir_all(&out)?;
    let mut mutants = run::cargo();
    mutants
        .args(["mutants", "--workspace", "--no-shuffle", "--colors", "never", "--jobs"])
        .arg(arguments.jobs.to_string())
        .arg("--output")
        .arg(&out);
    if let Some(shard) = &arguments.shard {
        mutants.args(["--shard", shard]);
    }
    if let Some(glob) = &arguments.file {
        // The globs of the configuration would be tried too; what it lists as equivalent stays out.
        mutants.args(["--no-config", "--file", glob, "--minimum-test-timeout", "60"]);
        for equivalent in strings("exclude_re")? {
            mutants.args(["--exclude-re", &equivalent]);
        }
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
        mutants.arg("--in-diff").arg(&diff);
    }
    let outcome = run::succeed(&mut mutants);
    report(&out.join("mutants.out/outcomes.json"))?;
    outcome
}

/// Prints how many mutants were caught and names those that were missed.
fn report(outcomes: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(outcomes)
        .with_context(|| format!("{}: cargo-mutants left no report", outcomes.display()))?;
    let report: Value = serde_json::from_str(&text)?;
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    for outcome in report["outcomes"].as_array().into_iter().flatten() {
        if outcome["summary"] == "MissedMutant"
            && let Some(name) = outcome["scenario"]["Mutant"]["name"].as_str()
        {
            println!("missed: {name}");
        }
    }
    println!(
        "{} mutants: {} caught, {} missed, {} timed out, {} do not compile",
        count("total_mutants"),
        count("caught"),
        count("missed"),
        count("timeout"),
        count("unviable")
    );
    Ok(())
}

/// The list of equivalent mutants may not become the way around a missing test.
fn check_listed() -> anyhow::Result<()> {
    let list = |config: bool| -> anyhow::Result<usize> {
        let mut command = Command::new("cargo");
        command.args(["mutants", "--workspace", "--list", "--json"]);
        if !config {
            command.args(["--no-config"]);
            for glob in strings("examine_globs")? {
                command.args(["--file", &glob]);
            }
        }
        let output = command.output().context("cannot start `cargo mutants --list`")?;
        if !output.status.success() {
            bail!(
                "`cargo mutants --list` failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let mutants: Value = serde_json::from_slice(&output.stdout)?;
        Ok(mutants.as_array().map_or(0, Vec::len))
    };
    let (tried, all) = (list(true)?, list(false)?);
    let listed = all.saturating_sub(tried);
    eprintln!("xtask: {all} mutants, of which {listed} are listed as equivalent in .cargo/mutants.toml");
    if listed * 100 > all * MAX_LISTED_PERCENT {
        bail!("{listed} of {all} mutants are listed as equivalent: at most {MAX_LISTED_PERCENT} % may be");
    }
    Ok(())
}

/// A list of the configuration.
fn strings(key: &str) -> anyhow::Result<Vec<String>> {
    let config: toml::Table = fs::read_to_string(".cargo/mutants.toml")?
        .parse()
        .context(".cargo/mutants.toml")?;
    let list = config.get(key).and_then(toml::Value::as_array);
    let list = list.with_context(|| format!(".cargo/mutants.toml has no {key}"))?;
    Ok(list
        .iter()
        .filter_map(|glob| glob.as_str().map(str::to_owned))
        .collect())
}
