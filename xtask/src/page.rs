//! Builds the page into `dist/`, when something in it has changed.

use crate::{run, tools};
use anyhow::{Context, bail};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::{Command, Stdio},
};
use walkdir::WalkDir;

/// Where Trunk puts the page.
pub(crate) const DIST: &str = "dist";

/// What the page is made of.
const INPUTS: [&str; 6] = [
    "index.html",
    "Trunk.toml",
    "Cargo.toml",
    "Cargo.lock",
    "client",
    "protocol",
];

/// Holds the fingerprint of what `dist/` was built from.
const STAMP: &str = "target/page.stamp";

/// Makes `dist/` the release build of the page as it is now. When nothing has changed this takes milliseconds, where
/// Trunk would run every tool again.
///
/// # Errors
/// A tool cannot be installed, or the page does not build.
pub(crate) fn build() -> anyhow::Result<()> {
    set_up()?;
    build_with(|arguments| {
        eprintln!("xtask: building the page: about 2 minutes the first time");
        run::succeed(trunk("build").args(arguments))
    })
}

/// Does the same at the lowest priority, once [`set_up`] is done: tests that wait for something leave processors idle.
/// What Trunk prints is shown only when it fails.
///
/// # Errors
/// The page does not build.
pub(crate) fn build_in_background() -> anyhow::Result<()> {
    build_with(|arguments| {
        let trunk = trunk("build");
        let variables = trunk.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"])
            .arg(trunk.get_program())
            .args(trunk.get_args())
            .args(arguments)
            .envs(variables)
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        let line = run::shown(&nice);
        let output = nice.output().with_context(|| format!("cannot start `{line}`"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` failed ({}):\n{text}", output.status);
        }
        Ok(())
    })
}

/// Runs Trunk with these arguments, unless `dist/` is the page as it is now.
fn build_with(trunk: impl FnOnce(&[&str]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let now = fingerprint()?;
    if Path::new(DIST).join("index.html").exists() && fs::read_to_string(STAMP).is_ok_and(|built| built == now) {
        return Ok(());
    }
    trunk(release_arguments())?;
    fs::create_dir_all("target")?;
    fs::write(STAMP, now).context("cannot write target/page.stamp")
}

/// In a release build Trunk runs wasm-opt and downloads it where it is missing; the same profile, given by its name, is
/// built without it.
fn release_arguments() -> &'static [&'static str] {
    if which::which("wasm-opt").is_ok() {
        return &["--release"];
    }
    eprintln!("xtask: no wasm-opt on the PATH: the page will be larger (npm install --global binaryen has it)");
    &["--cargo-profile", "wasm-release"]
}

/// Installs what building the page needs.
///
/// # Errors
/// A tool cannot be installed; the text says what to run by hand.
pub(crate) fn set_up() -> anyhow::Result<()> {
    tools::wasm_target()?;
    tools::Tool::wasm_bindgen()?.install()?;
    tools::Tool::trunk()?.install()
}

/// A Trunk command that asks no network for newer versions of itself or of its tools.
pub(crate) fn trunk(command: &str) -> Command {
    let mut trunk = Command::new("trunk");
    trunk
        .arg(command)
        .env("TRUNK_SKIP_VERSION_CHECK", "true")
        .env_remove("NO_COLOR");
    trunk
}

/// A hash of everything that goes into the page.
fn fingerprint() -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    which::which("wasm-opt").ok().hash(&mut hasher);
    for input in INPUTS {
        for entry in WalkDir::new(input).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                entry.path().hash(&mut hasher);
                fs::read(entry.path())?.hash(&mut hasher);
            }
        }
    }
    Ok(format!("{:x}", hasher.finish()))
}
