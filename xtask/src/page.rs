//! Builds the page, when something in it has changed.

use crate::{run, tools};
use anyhow::{Context, bail};
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use walkdir::WalkDir;

/// Where the page is put. Not `dist`, because a plain `trunk serve` or `trunk build` leaves its development build there.
pub(crate) const DIST: &str = "target/page";

/// The profile of Cargo.toml that it is built with.
pub(crate) const PROFILE: &str = "wasm-release";

/// How wasm-opt is run for it: as in index.html, which says why.
pub(crate) const WASM_OPT: [&str; 2] = ["-Oz", "--one-caller-inline-max-function-size=0"];

/// What the page is made of.
const INPUTS: [&str; 8] = [
    ".cargo/config.toml",
    "index.html",
    "Trunk.toml",
    "Cargo.toml",
    "Cargo.lock",
    "client",
    "pack",
    "protocol",
];

/// Holds the fingerprint of what the page was built from.
const STAMP: &str = "target/page.stamp";

/// Makes [`DIST`] the release build of the page as it is now. When nothing has changed this takes milliseconds, where
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

/// Builds a page in this folder whose functions mark that they ran, see pack/src/split/profile.rs.
///
/// # Errors
/// A tool cannot be installed, or the page does not build.
pub(crate) fn build_marked(folder: &str) -> anyhow::Result<()> {
    set_up()?;
    let mut trunk = trunk("build");
    trunk.args(release_arguments()).args(["--dist", folder]);
    run::succeed(trunk.env("TALKBACK_PROFILE", "1"))
}

/// Does the same as [`build`] at the lowest priority, once [`set_up`] is done: tests that wait for something leave processors idle.
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

/// Runs Trunk with these arguments, unless [`DIST`] is the page as it is now.
fn build_with(trunk: impl FnOnce(&[&str]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let now = fingerprint()?;
    if Path::new(DIST).join("index.html").exists() && fs::read_to_string(STAMP).is_ok_and(|built| built == now) {
        return Ok(());
    }
    trunk(&[release_arguments(), &["--dist", DIST]].concat())?;
    fs::create_dir_all("target")?;
    fs::write(STAMP, now).context("cannot write target/page.stamp")
}

/// In a release build Trunk runs wasm-opt and downloads it where it is missing; the same profile, given by its name, is
/// built without it.
fn release_arguments() -> &'static [&'static str] {
    if has_wasm_opt() {
        &["--release"]
    } else {
        &["--cargo-profile", PROFILE]
    }
}

/// A wasm-opt on the PATH is taken where npm installed none.
fn has_wasm_opt() -> bool {
    tools::npm_programs().is_some() || which::which("wasm-opt").is_ok()
}

/// Installs what building the page needs.
///
/// # Errors
/// A tool cannot be installed; the text says what to run by hand.
pub(crate) fn set_up() -> anyhow::Result<()> {
    tools::wasm_target()?;
    tools::Tool::wasm_bindgen()?.install()?;
    tools::install_from_npm()?;
    tools::Tool::trunk()?.install()
}

/// Tells the hook of Trunk.toml that this is no development build: without wasm-opt Trunk takes it for one.
const PACK: (&str, &str) = ("TALKBACK_PACK", "1");

/// A Trunk command that asks no network for newer versions of itself or of its tools.
pub(crate) fn trunk(command: &str) -> Command {
    let mut trunk = Command::new("trunk");
    if command == "build" {
        trunk.env(PACK.0, PACK.1).envs(without_paths());
    }
    if let Some(folder) = tools::npm_programs() {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = iter::once(folder).chain(env::split_paths(&path));
        // A folder whose name holds the separator cannot be listed, and then Trunk looks on the PATH as it is.
        if let Ok(path) = env::join_paths(folders) {
            trunk.env("PATH", path);
        }
    }
    trunk
        .arg(command)
        .env("TRUNK_SKIP_VERSION_CHECK", "true")
        .env_remove("NO_COLOR");
    trunk
}

/// The variable by which Cargo leaves the folders of this machine out of the paths of source files, which panics name: they would say
/// where the page was built, and each is a hundred bytes. Cargo adds the flags to those of `.cargo/config.toml`. It splits the variable
/// at spaces, so a folder with a space in its name stays.
pub(crate) fn without_paths() -> Option<(&'static str, String)> {
    const VARIABLE: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    let mut folders = vec![
        env::current_dir().ok()?,
        cargo_home.join("registry/src"),
        cargo_home.join("git/checkouts"),
    ];
    // The standard library's, where its sources are installed.
    let sysroot = run::output("rustc", &["--print", "sysroot"]);
    folders.extend(sysroot.map(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust")));
    let flags = folders.iter().filter_map(|folder| {
        let folder = folder.to_str().filter(|folder| !folder.contains(char::is_whitespace))?;
        Some(format!("--remap-path-prefix={folder}="))
    });
    let given = env::var(VARIABLE).ok();
    Some((VARIABLE, given.into_iter().chain(flags).collect::<Vec<_>>().join(" ")))
}

/// A hash of everything that goes into the page.
fn fingerprint() -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    (has_wasm_opt(), without_paths()).hash(&mut hasher);
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
