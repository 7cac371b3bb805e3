//! The redis-server of the tests: the one on the PATH, or Debian's, unpacked under `target/` so that no service of the
//! system is started.

use crate::run;
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Debian's packages: the program, and those of its libraries that a small system does not have.
const PACKAGES: [&str; 8] = [
    "redis-server",
    "redis-tools",
    "libatomic1",
    "libhiredis0.14",
    "libjemalloc2",
    "liblua5.1-0",
    "liblzf1",
    "lua-bitop",
];
/// A library that some versions of the program need and that not every release has.
const OPTIONAL_PACKAGES: [&str; 1] = ["lua-cjson"];

/// Makes sure of a redis-server. `talkback_testbed::Redis` looks for it in the same places.
///
/// # Errors
/// It cannot be installed; the text says what to run.
pub(crate) fn set_up() -> anyhow::Result<()> {
    let folder = run::target().join("redis");
    if which::which("redis-server").is_ok() || program(&folder).exists() {
        return Ok(());
    }
    if which::which("apt-get").is_err() || which::which("dpkg-deb").is_err() {
        bail!("install Redis 7 or Valkey so that redis-server and redis-cli are on the PATH, then come back");
    }
    eprintln!("xtask: unpacking redis-server from Debian's packages into target/redis: a few seconds, only this once");
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    let by_hand = "run it by hand, then come back: apt-get install redis-server";
    download(&packages, &PACKAGES).context(by_hand)?;
    for package in OPTIONAL_PACKAGES {
        // Without it the program says what is missing.
        let _ = download(&packages, &[package]);
    }
    for package in fs::read_dir(&packages)? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            run::succeed(unpack.arg("--extract").arg(&package).arg(&folder)).context(by_hand)?;
        }
    }
    if !program(&folder).exists() {
        bail!("Debian's packages have no redis-server: install Redis 7 so that it is on the PATH, then come back");
    }
    Ok(())
}

fn program(folder: &Path) -> PathBuf {
    folder.join("usr/bin/redis-server")
}

fn download(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let mut download = Command::new("apt-get");
    // The user of apt-get's own downloads may not write to this folder.
    download
        .current_dir(folder)
        .args(["download", "-qq", "-o", "APT::Sandbox::User=root"]);
    run::succeed(download.args(packages))
}
