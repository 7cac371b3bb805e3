//! Programs that the tests start and that are not from crates.io: those on the PATH, or Debian's, unpacked under `target/`
//! so that no service of the system is started.

use crate::run;
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A program of Debian's packages.
pub(crate) struct Program {
    name: &'static str,
    /// The folder under `target/` that it is unpacked into. `talkback_testbed` looks for it there, and on the PATH.
    folder: &'static str,
    /// The packages of the program, and of those of its libraries that a small system does not have.
    packages: &'static [&'static str],
    /// Libraries that some versions of the program need and that not every release has.
    optional: &'static [&'static str],
    /// What to install where there are no packages of Debian.
    instead: &'static str,
}

pub(crate) const REDIS: Program = Program {
    name: "redis-server",
    folder: "redis",
    packages: &[
        "redis-server",
        "redis-tools",
        "libatomic1",
        "libhiredis0.14",
        "libjemalloc2",
        "liblua5.1-0",
        "liblzf1",
        "lua-bitop",
    ],
    optional: &["lua-cjson"],
    instead: "Redis 7 or Valkey, so that redis-server and redis-cli are on the PATH",
};

pub(crate) const NGINX: Program = Program {
    name: "nginx",
    folder: "nginx",
    packages: &["nginx"],
    optional: &["libpcre2-8-0", "libssl3"],
    instead: "nginx, so that it is on the PATH",
};

pub(crate) const CADDY: Program = Program {
    name: "caddy",
    folder: "caddy",
    packages: &["caddy"],
    optional: &[],
    instead: "Caddy 2, so that it is on the PATH",
};

pub(crate) const FAKETIME: Program = Program {
    name: "faketime",
    folder: "faketime",
    packages: &["faketime", "libfaketime"],
    optional: &[],
    instead: "libfaketime, so that faketime is on the PATH",
};

/// The library of [`FAKETIME`] for programs with several threads.
///
/// # Errors
/// It is not where packages of Debian have it.
pub(crate) fn faketime_library() -> anyhow::Result<PathBuf> {
    let unpacked = run::target().join(FAKETIME.folder).join("usr/lib");
    let places = [unpacked, PathBuf::from("/usr/lib")];
    // There is a folder for each kind of machine.
    let kinds = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
    let found = kinds.filter_map(|kind| Some(kind.ok()?.path().join("faketime/libfaketimeMT.so.1")));
    found
        .into_iter()
        .find(|library| library.exists())
        .context("there is no libfaketimeMT.so.1 in /usr/lib/*/faketime: install libfaketime")
}

/// Makes sure of these programs.
///
/// # Errors
/// One cannot be installed; the text says what to run.
pub(crate) fn set_up(programs: &[Program]) -> anyhow::Result<()> {
    programs.iter().try_for_each(Program::set_up)
}

impl Program {
    fn set_up(&self) -> anyhow::Result<()> {
        let Self {
            name, folder, instead, ..
        } = self;
        let directory = run::target().join(folder);
        if which::which(name).is_ok() || self.is_in(&directory) {
            return Ok(());
        }
        if which::which("apt-get").is_err() || which::which("dpkg-deb").is_err() {
            bail!("install {instead}, then come back");
        }
        eprintln!("xtask: unpacking {name} from Debian's packages into target/{folder}: a few seconds, only this once");
        let packages = directory.join("packages");
        fs::create_dir_all(&packages)?;
        let by_hand = || format!("run it by hand, then come back: apt-get install {name}");
        download(&packages, self.packages).with_context(by_hand)?;
        for package in self.optional {
            // Without it the program says what is missing.
            let _ = download(&packages, &[package]);
        }
        for package in fs::read_dir(&packages)? {
            let package = package?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                run::succeed(unpack.arg("--extract").arg(&package).arg(&directory)).with_context(by_hand)?;
            }
        }
        if !self.is_in(&directory) {
            bail!("Debian's packages have no {name}: install {instead}, then come back");
        }
        Ok(())
    }

    fn is_in(&self, directory: &Path) -> bool {
        let place = |folder: &str| -> PathBuf { directory.join("usr").join(folder).join(self.name) };
        place("bin").exists() || place("sbin").exists()
    }
}

fn download(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let mut download = Command::new("apt-get");
    // The user of apt-get's own downloads may not write to this folder.
    download
        .current_dir(folder)
        .args(["download", "-qq", "-o", "APT::Sandbox::User=root"]);
    run::succeed(download.args(packages))
}
