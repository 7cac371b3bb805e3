//! Planted bugs: changes of a copy of the server that the checker must notice.

use super::{Build, Programs, Run, needs_redis, remove};
use crate::{debian, run};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::{fs, path::Path};

/// The bugs.
const FILE: &str = "chaos/planted.toml";
/// A bug that breaks none of its rules in so many runs is not noticed.
const RUNS: u64 = 8;
const SECONDS: u64 = 25;
const RATE: u64 = 600;

#[derive(Deserialize)]
struct File {
    bug: Vec<Bug>,
}

#[derive(Deserialize)]
struct Bug {
    name: String,
    /// What it does, and which promise that breaks.
    about: String,
    topology: String,
    /// The kinds of faults that it needs; empty for all.
    #[serde(default)]
    only: Vec<String>,
    /// The rules of which at least one must be broken.
    breaks: Vec<String>,
    edit: Vec<Edit>,
}

/// A text of a file that occurs once, and what stands there instead.
#[derive(Deserialize)]
struct Edit {
    file: String,
    find: String,
    replace: String,
}

/// The bugs of the workspace in this folder.
fn read(workspace: &Path) -> anyhow::Result<Vec<Bug>> {
    let text = fs::read_to_string(workspace.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let File { bug } = toml::from_str(&text).context(FILE)?;
    Ok(bug)
}

/// Tries the bug with this name, or all of them.
///
/// # Errors
/// A bug is not noticed, or cannot be planted.
pub(super) fn run(name: &str) -> anyhow::Result<()> {
    let bugs = read(Path::new("."))?;
    let names: Vec<_> = bugs.iter().map(|bug| bug.name.as_str()).collect();
    ensure!(
        name == "all" || names.contains(&name),
        "{FILE} has no bug {name}: it has {}",
        names.join(", ")
    );
    let mut results = Vec::new();
    let chosen = |bug: &&Bug| name == "all" || bug.name == name;
    if bugs.iter().filter(chosen).any(|bug| needs_redis(&bug.topology)) {
        debian::set_up(&[debian::REDIS])?;
    }
    for bug in bugs.iter().filter(chosen) {
        results.push((bug, bug.run()?));
    }
    println!();
    for (bug, noticed) in &results {
        let result = noticed.as_deref().unwrap_or("NOT NOTICED");
        println!("{}: {result}", bug.name);
    }
    let missed = results.iter().filter(|(_, noticed)| noticed.is_none()).count();
    ensure!(missed == 0, "{missed} planted bugs were not noticed");
    Ok(())
}

impl Bug {
    /// How the checker noticed it.
    fn run(&self) -> anyhow::Result<Option<String>> {
        println!("\nplanted bug {}: {}", self.name, self.about);
        let folder = run::target().join("chaos/planted");
        let source = folder.join("source");
        self.plant(&source)?;
        let target = folder.join("target");
        let mut build = run::cargo();
        build
            .current_dir(&source)
            .args(["build", "--package", "talkback-server", "--bin", "talkback-server"])
            // Apart, because the crates of the copy would have the names of the workspace's own.
            .arg("--target-dir")
            .arg(&target);
        run::succeed(&mut build)?;
        let programs = Programs::build(Build::Planted, Some(target.join("debug/talkback-server")))?;
        let runs = folder.join(&self.name);
        remove(&runs)?;
        for seed in 1..=RUNS {
            let run = Run {
                topology: &self.topology,
                seed,
                seconds: SECONDS,
                rate: RATE,
                only: &self.only,
            };
            let verdict = run.make(&programs, &runs)?;
            let broken = verdict["rules"].as_object().into_iter().flatten();
            let broken: Vec<_> = broken.map(|(rule, _)| rule.as_str()).collect();
            if broken
                .iter()
                .any(|rule| self.breaks.iter().any(|expected| expected == rule))
            {
                remove(&runs)?;
                return Ok(Some(format!("noticed with seed {seed}: {}", broken.join(", "))));
            }
        }
        Ok(None)
    }

    /// Makes a copy of the workspace with the bug. Files that are the same already are not written, so that Cargo builds
    /// only what changed.
    fn plant(&self, copy: &Path) -> anyhow::Result<()> {
        let files = run::output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])
            .context("`git ls-files` failed: the copy is made of the files that git knows")?;
        let mut planted = 0;
        for name in files.lines().filter(|name| Path::new(name).is_file()) {
            let mut content = fs::read(name).with_context(|| format!("cannot read {name}"))?;
            for edit in self.edit.iter().filter(|edit| edit.file == name) {
                let text = String::from_utf8(content).with_context(|| name.to_owned())?;
                let count = text.matches(edit.find.trim_end()).count();
                ensure!(
                    count == 1,
                    "planted bug {}: {name} has its text {count} times; write it anew in {FILE}",
                    self.name
                );
                content = text.replace(edit.find.trim_end(), edit.replace.trim_end()).into_bytes();
                planted += 1;
            }
            let to = copy.join(name);
            if fs::read(&to).is_ok_and(|former| former == content) {
                continue;
            }
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            }
            fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
        }
        ensure!(
            planted == self.edit.len() && planted > 0,
            "planted bug {} names a file that is not there",
            self.name
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_each_planted_bug_occurs_once_in_its_file() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let bugs = read(&workspace).unwrap();
        assert!(bugs.len() > 5);
        for edit in bugs.iter().flat_map(|bug| &bug.edit) {
            let text = fs::read_to_string(workspace.join(&edit.file)).unwrap();
            assert_eq!(
                text.matches(edit.find.trim_end()).count(),
                1,
                "{}: {}",
                edit.file,
                edit.find
            );
        }
    }
}
