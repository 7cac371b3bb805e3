//! Rust tools that the commands need: looked for first, installed once, by the versions of Cargo.toml and Cargo.lock.

use crate::run;
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A tool from crates.io.
pub(crate) struct Tool {
    /// The package to install.
    package: &'static str,
    /// A program of it, and how it is asked for its version.
    program: &'static str,
    asked: &'static [&'static str],
    version: String,
    /// What an installation takes on two cores, measured.
    takes: &'static str,
}

impl Tool {
    /// Builds the page.
    pub(crate) fn trunk() -> anyhow::Result<Self> {
        Ok(Self {
            package: "trunk",
            program: "trunk",
            asked: &["--version"],
            version: pinned("trunk")?,
            takes: "about 6 minutes",
        })
    }

    /// Joins wasm and JavaScript, and runs tests in browsers.
    pub(crate) fn wasm_bindgen() -> anyhow::Result<Self> {
        Ok(Self {
            package: "wasm-bindgen-cli",
            program: "wasm-bindgen",
            asked: &["--version"],
            version: locked("wasm-bindgen")?,
            takes: "about 3 minutes",
        })
    }

    /// Drives Firefox.
    pub(crate) fn geckodriver() -> anyhow::Result<Self> {
        Ok(Self {
            package: "geckodriver",
            program: "geckodriver",
            asked: &["--version"],
            version: pinned("geckodriver")?,
            takes: "about 2 minutes",
        })
    }

    /// Plants faults in code and runs its tests.
    pub(crate) fn cargo_mutants() -> anyhow::Result<Self> {
        Ok(Self {
            package: "cargo-mutants",
            program: "cargo-mutants",
            asked: &["mutants", "--version"],
            version: pinned("cargo-mutants")?,
            takes: "about 2 minutes",
        })
    }

    /// The version on the PATH, if there is one.
    pub(crate) fn found(&self) -> Option<String> {
        let printed = run::output(self.program, self.asked)?;
        printed.split_whitespace().nth(1).map(str::to_owned)
    }

    /// Installs the tool unless this version is there.
    ///
    /// # Errors
    /// The installation failed; the text says what to run by hand.
    pub(crate) fn install(&self) -> anyhow::Result<()> {
        let Self {
            package,
            version,
            takes,
            ..
        } = self;
        let found = self.found();
        if found.as_ref() == Some(version) {
            return Ok(());
        }
        let replaces = found.map(|found| format!(", in place of {found}")).unwrap_or_default();
        eprintln!("xtask: installing {package} {version}{replaces}: {takes} on two cores, only this once");
        let crate_version = format!("{package}@{version}");
        // A tool that runs for a second a build need not be optimised for minutes: this halves the installation.
        let mut command = run::cargo();
        command
            .args(["install", "--locked", "--force", &crate_version])
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env_remove("CARGO_TARGET_DIR");
        run::succeed(&mut command)
            .with_context(|| format!("run it by hand, then come back: cargo install --locked --force {crate_version}"))
    }
}

/// Where npm puts what makes the page smaller, wasm-opt and esbuild (see pack/src/minify.rs), and axe-core, which a scenario runs in it.
const NPM: &str = "target/npm";

/// The folder of the programs that [`install_from_npm`] has installed.
pub(crate) fn npm_programs() -> Option<PathBuf> {
    let folder = std::path::absolute(Path::new(NPM).join("node_modules/.bin")).ok()?;
    folder.join("wasm-opt").exists().then_some(folder)
}

/// Installs wasm-opt, esbuild and axe-core where there is npm. Where there is none the page is built without them and is larger, and
/// axe-core is not run.
///
/// # Errors
/// Cargo.toml does not name their versions.
pub(crate) fn install_from_npm() -> anyhow::Result<()> {
    let packages = ["axe-core", "binaryen", "esbuild"].map(|name| Ok(format!("{name}@{}", pinned(name)?)));
    let packages = packages.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    if npm_programs().is_none() && which::which("npm").is_err() {
        eprintln!("xtask: there is no npm to install wasm-opt and esbuild with: the page will be larger");
        return Ok(());
    }
    if let Err(error) = npm_install(Path::new(NPM), &packages) {
        eprintln!("xtask: {error:#}: the page will be larger");
    }
    Ok(())
}

/// Installs packages from npm into a folder of their own, unless the same are there.
///
/// # Errors
/// npm failed.
pub(crate) fn npm_install(folder: &Path, packages: &[String]) -> anyhow::Result<()> {
    let installed = folder.join("installed");
    let are_same = fs::read_to_string(&installed).is_ok_and(|names| names == packages.join(" "));
    if are_same && folder.join("node_modules").exists() {
        return Ok(());
    }
    eprintln!(
        "xtask: installing {}: a few seconds, only this once",
        packages.join(", ")
    );
    fs::create_dir_all(folder)?;
    let mut npm = std::process::Command::new("npm");
    npm.args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
    ])
    .arg(folder)
    .args(packages);
    run::succeed(&mut npm)?;
    Ok(fs::write(installed, packages.join(" "))?)
}

/// Adds the compiler's wasm32 target unless it is there.
///
/// # Errors
/// There is no rustup, or it failed; the text says what to do.
pub(crate) fn wasm_target() -> anyhow::Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let folder = run::output("rustc", &["--print", "target-libdir", "--target", TARGET]);
    if folder.is_some_and(|folder| Path::new(&folder).exists()) {
        return Ok(());
    }
    if which::which("rustup").is_err() {
        bail!("the compiler has no {TARGET} target and there is no rustup: install the target as your Rust came");
    }
    eprintln!("xtask: adding the compiler's {TARGET} target: a few seconds, only this once");
    run::succeed(std::process::Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("run it by hand, then come back: rustup target add {TARGET}"))
}

/// The version of a tool in `[workspace.metadata.tools]`.
pub(crate) fn pinned(tool: &str) -> anyhow::Result<String> {
    metadata("tools", tool)
}

/// The version of a client in `[workspace.metadata.peers]`.
pub(crate) fn peer(name: &str) -> anyhow::Result<String> {
    metadata("peers", name)
}

fn metadata(table: &str, name: &str) -> anyhow::Result<String> {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml")?.parse().context("Cargo.toml")?;
    let version = manifest["workspace"]["metadata"][table]
        .get(name)
        .and_then(toml::Value::as_str);
    version
        .map(str::to_owned)
        .with_context(|| format!("[workspace.metadata.{table}] in Cargo.toml has no {name}"))
}

/// The version of a library in Cargo.lock.
fn locked(library: &str) -> anyhow::Result<String> {
    let lock: toml::Table = fs::read_to_string("Cargo.lock")?.parse().context("Cargo.lock")?;
    let packages = lock["package"].as_array().context("Cargo.lock lists no packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"].as_str() == Some(library));
    let version = package.and_then(|package| package["version"].as_str());
    version
        .map(str::to_owned)
        .with_context(|| format!("{library} is not in Cargo.lock"))
}
