//! `cargo xtask conformance`: the Autobahn cases against the server's `/echo`, compared with docs/conformance.json.

use crate::{run, serve, tools};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs,
    num::ParseIntError,
    path::{Path, PathBuf},
    process::Command,
};

const STORED: &str = "docs/conformance.json";
/// The core cases: all but those of compression (12 and 13), which the server does not offer.
const GROUPS: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];
const CASES: usize = 301;
/// The cases send messages of up to 16 MiB, many connections a second from one address.
const SERVER: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--max-message-size",
    "16MiB",
    "--log",
    "error",
];

#[derive(clap::Args)]
pub(crate) struct ConformanceArgs {
    /// Store the verdicts of this run, whatever they are
    #[arg(long)]
    bless: bool,
}

/// Runs the cases and compares their verdicts with the stored ones.
///
/// # Errors
/// A verdict is worse than the stored one, a case is missing, or the suite cannot run.
pub(crate) fn run(arguments: &ConformanceArgs) -> anyhow::Result<()> {
    let folder = Path::new("target/conformance");
    let kosoku = install(folder)?;
    let report = folder.join("report");
    let verdicts = measure(&kosoku, &report)?;
    println!("{}", summary(&verdicts));
    println!(
        "the report with every byte on the wire: {}",
        report.join("index.html").display()
    );
    if arguments.bless {
        fs::create_dir_all("docs")?;
        fs::write(STORED, json(&verdicts)?)?;
        println!("stored in {STORED}");
        return Ok(());
    }
    let stored = fs::read_to_string(STORED)
        .with_context(|| format!("{STORED}: if there is none yet, store this run with --bless"))?;
    let changes = Changes::between(&serde_json::from_str(&stored).context(STORED)?, &verdicts);
    changes.print();
    if !changes.worse.is_empty() {
        bail!("{} cases are worse than in {STORED}", changes.worse.len());
    }
    Ok(())
}

/// Puts the pinned kosoku into a virtual environment of its own and returns its program.
fn install(folder: &Path) -> anyhow::Result<PathBuf> {
    let version = tools::pinned("kosoku")?;
    let environment = folder.join(format!("kosoku-{version}"));
    let program = environment.join("bin/kosoku");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("xtask: installing kosoku {version}, the Autobahn cases: a few seconds, only this once");
    run::succeed(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )
    .context("Python 3 with venv is needed; on Debian: apt-get install python3-venv")?;
    run::succeed(Command::new(environment.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &format!("kosoku=={version}"),
    ]))?;
    Ok(program)
}

/// Runs all core cases against a server of its own.
fn measure(kosoku: &Path, report: &Path) -> anyhow::Result<Verdicts> {
    // A report of an earlier run must not be taken for this one.
    if report.exists() {
        fs::remove_dir_all(report)?;
    }
    let server = serve::start_server("debug", &SERVER)?;
    let mut client = Command::new(kosoku);
    client
        .arg(format!("ws://{}/echo", server.address()))
        .arg("--outdir")
        .arg(report);
    client.args(GROUPS.iter().flat_map(|group| ["--include", group]));
    // Its exit code says only that some case failed; the report says which.
    let output = client
        .output()
        .with_context(|| format!("cannot start {}", kosoku.display()))?;
    let index = fs::read_to_string(report.join("index.json"))
        .with_context(|| format!("kosoku wrote no report: {}", String::from_utf8_lossy(&output.stderr)))?;
    let by_server: BTreeMap<String, Verdicts> = serde_json::from_str(&index).context("kosoku's report")?;
    let verdicts: Verdicts = by_server.into_values().flatten().collect();
    ensure!(
        verdicts.len() == CASES,
        "kosoku ran {} of the {CASES} core cases",
        verdicts.len()
    );
    Ok(verdicts)
}

type Verdicts = BTreeMap<Case, Verdict>;

/// The number of a case, such as 9.1.6, sorted as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Case(Vec<u16>);

impl TryFrom<String> for Case {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text.split('.').map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl From<Case> for String {
    fn from(case: Case) -> Self {
        case.to_string()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u16::to_string).collect();
        formatter.write_str(&parts.join("."))
    }
}

/// What the suite says about the messages and about the close of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: Grade,
    behavior_close: Grade,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, close {}", self.behavior, self.behavior_close)
    }
}

/// Autobahn's words, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Grade {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "INFORMATIONAL")]
    Informational,
    #[serde(rename = "NON-STRICT")]
    NonStrict,
    #[serde(rename = "UNIMPLEMENTED")]
    Unimplemented,
    #[serde(rename = "WRONG CODE")]
    WrongCode,
    #[serde(rename = "UNCLEAN")]
    Unclean,
    #[serde(rename = "FAILED BY CLIENT")]
    FailedByClient,
    #[serde(rename = "FAILED")]
    Failed,
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// One line a case, so that a change is a line in a diff.
fn json(verdicts: &Verdicts) -> anyhow::Result<String> {
    let lines = verdicts
        .iter()
        .map(|(case, verdict)| Ok(format!("  \"{case}\": {}", serde_json::to_string(verdict)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn summary(verdicts: &Verdicts) -> String {
    let mut counts: BTreeMap<Grade, usize> = BTreeMap::new();
    for verdict in verdicts.values() {
        *counts.entry(verdict.behavior.max(verdict.behavior_close)).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(grade, count)| format!("{count} {grade}")).collect();
    format!("{} cases: {}", verdicts.len(), counts.join(", "))
}

/// How a run differs from the stored one, a line for each case.
#[derive(Default)]
struct Changes {
    better: Vec<String>,
    worse: Vec<String>,
}

impl Changes {
    fn between(stored: &Verdicts, now: &Verdicts) -> Self {
        let mut changes = Self::default();
        for (case, old) in stored {
            match now.get(case) {
                None => changes.worse.push(format!("{case}: was {old}, now missing")),
                Some(new) if new == old => {}
                Some(new) => {
                    let line = format!("{case}: was {old}, now {new}");
                    let worse = new.behavior > old.behavior || new.behavior_close > old.behavior_close;
                    let list = if worse { &mut changes.worse } else { &mut changes.better };
                    list.push(line);
                }
            }
        }
        let added = now.iter().filter(|(case, _)| !stored.contains_key(*case));
        changes
            .better
            .extend(added.map(|(case, new)| format!("{case}: is new, {new}")));
        changes
    }

    fn print(&self) {
        for line in &self.worse {
            println!("worse: {line}");
        }
        for line in &self.better {
            println!("better: {line}");
        }
        if !self.better.is_empty() {
            println!("store what is better with: cargo xtask conformance --bless");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(text: &str) -> Verdicts {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_worse_close_a_worse_message_and_a_missing_case_are_worse() {
        let stored = verdicts(
            r#"{"1.1.1": {"behavior": "OK", "behaviorClose": "OK"},
                "1.1.2": {"behavior": "NON-STRICT", "behaviorClose": "OK"},
                "1.1.10": {"behavior": "OK", "behaviorClose": "OK"}}"#,
        );
        let now = verdicts(
            r#"{"1.1.1": {"behavior": "OK", "behaviorClose": "UNCLEAN"},
                "1.1.2": {"behavior": "FAILED", "behaviorClose": "OK"}}"#,
        );
        let changes = Changes::between(&stored, &now);
        assert_eq!(changes.worse.len(), 3, "{:?}", changes.worse);
        assert!(changes.better.is_empty());
    }

    #[test]
    fn a_better_verdict_is_not_worse_and_an_equal_run_has_no_changes() {
        let stored = verdicts(r#"{"6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "OK"}}"#);
        let now = verdicts(r#"{"6.4.1": {"behavior": "OK", "behaviorClose": "OK"}}"#);
        let changes = Changes::between(&stored, &now);
        assert_eq!((changes.better.len(), changes.worse.len()), (1, 0));
        let same = Changes::between(&stored, &stored);
        assert_eq!((same.better.len(), same.worse.len()), (0, 0));
    }

    #[test]
    fn the_stored_file_lists_cases_by_number_and_reads_back() {
        let unsorted = verdicts(
            r#"{"10.1.1": {"behavior": "OK", "behaviorClose": "OK"},
                "9.1.1": {"behavior": "INFORMATIONAL", "behaviorClose": "FAILED BY CLIENT"}}"#,
        );
        let text = json(&unsorted).unwrap();
        assert!(text.find("9.1.1") < text.find("10.1.1"), "{text}");
        assert_eq!(verdicts(&text), unsorted);
    }
}
