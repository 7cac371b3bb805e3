//! The checker of `cargo xtask chaos`: reads the recording of a run and judges it by the promises of
//! docs/protocol.md. It shares the format of the recording with the driver, and no code of Talkback.
//!
//! - [`model`]: what the records say about messages, logs and members;
//! - [`rules`]: the rules, each with a verdict;
//! - [`verdict`]: the result.

mod model;
mod rules;
mod verdict;

#[cfg(test)]
mod planted;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use talkback_chaos::FILE;

use rules::Checker;

/// The name of the result in the folder of a run.
const VERDICT: &str = "verdict.json";

#[derive(Parser)]
struct Arguments {
    /// The folder of a run; verdict.json is written there
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("talkback-chaos-check: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether no rule is broken.
fn run(arguments: &Arguments) -> Result<bool> {
    let path = arguments.folder.join(FILE);
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut checker = Checker::default();
    for line in BufReader::with_capacity(1 << 20, file).lines() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        match serde_json::from_str(&line) {
            Ok(record) => checker.take(&record),
            Err(error) => checker.unreadable(&error.to_string()),
        }
    }
    let verdict = checker.finish();
    print!("{verdict}");
    let path = arguments.folder.join(VERDICT);
    fs::write(&path, serde_json::to_string_pretty(&verdict)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(verdict.is_kept())
}
