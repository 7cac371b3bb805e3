//! Builds the page into `dist/`, when something in it has changed.

use crate::{run, tools};
use anyhow::Context;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Command,
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

/// Remembers what `dist/` was built from.
const STAMP: &str = "target/page.stamp";

/// Makes `dist/` the release build of the page as it is now. When nothing has changed this takes milliseconds, where Trunk
/// would run every tool again.
///
/// # Errors
/// A tool cannot be installed, or the page does not build.
pub(crate) fn build() -> anyhow::Result<()> {
    set_up()?;
    let now = fingerprint()?;
    if Path::new(DIST).join("index.html").exists() && fs::read_to_string(STAMP).is_ok_and(|built| built == now) {
        return Ok(());
    }
    eprintln!("xtask: building the page: about 2 minutes the first time");
    run::succeed(trunk("build").args(release_arguments()))?;
    fs::create_dir_all("target")?;
    fs::write(STAMP, now).context("cannot write target/page.stamp")
}

/// Trunk cannot be told to do without wasm-opt in a release build and would try to download it; the same profile, named
/// outright, is built without it.
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
