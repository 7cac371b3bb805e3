//! The browsers of the tests: which are present, and how the others are installed.

use crate::{run, tools::Tool};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::{ffi::OsString, path::Path, process::Command};

/// Which browsers a run uses.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Choice {
    /// Chromium, and the others where they are installed
    Present,
    /// Chromium alone
    Chromium,
    /// All three, installed where they are missing
    All,
}

/// One engine with its WebDriver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browser {
    Chromium,
    Firefox,
    Webkit,
}

/// Where Debian puts WebKitGTK's test browser.
const MINI_BROWSER: &str = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";

impl Browser {
    pub(crate) const ALL: [Self; 3] = [Self::Chromium, Self::Firefox, Self::Webkit];

    /// The name in reports, flags and `TEST_BROWSERS`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Webkit => "webkit",
        }
    }

    fn is_present(self) -> bool {
        let any = |names: &[&str]| names.iter().any(|name| which::which(name).is_ok());
        match self {
            Self::Chromium => any(&["chromedriver"]) && any(&["chromium", "chromium-browser", "google-chrome"]),
            Self::Firefox => any(&["geckodriver"]) && any(&["firefox", "firefox-esr"]),
            Self::Webkit => any(&["WebKitWebDriver"]) && any(&["xvfb-run"]) && Path::new(MINI_BROWSER).exists(),
        }
    }

    /// Debian's packages. The Chinese font is for the screenshots that people look at.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium", "chromium-driver", "fonts-wqy-zenhei"],
            Self::Firefox => &["firefox-esr"],
            Self::Webkit => &["webkit2gtk-driver", "xvfb", "xauth"],
        }
    }

    fn install(self) -> anyhow::Result<()> {
        if self.is_present() {
            return Ok(());
        }
        let mut line = vec!["apt-get", "install", "--yes", "--no-install-recommends"];
        line.extend(self.packages());
        let is_root = nix::unistd::Uid::effective().is_root();
        if which::which("apt-get").is_err() {
            bail!(
                "install {} and its WebDriver, so that both are on the PATH",
                self.name()
            );
        }
        if !is_root {
            bail!(
                "{} is missing: run `sudo {}`, then come back",
                self.name(),
                line.join(" ")
            );
        }
        eprintln!(
            "xtask: installing {} from Debian's packages: under a minute, only this once",
            self.name()
        );
        let quietly = |command: &mut Command| run::succeed(command.env("DEBIAN_FRONTEND", "noninteractive"));
        quietly(Command::new("apt-get").args(["update", "-qq"]))?;
        quietly(Command::new(line[0]).arg("-qq").args(&line[1..]))
            .with_context(|| format!("run it by hand, then come back: {}", line.join(" ")))?;
        if self == Self::Firefox {
            Tool::geckodriver()?.install()?;
        }
        if !self.is_present() {
            bail!(
                "{} was installed, but it or its WebDriver is not on the PATH",
                self.name()
            );
        }
        Ok(())
    }

    /// `cargo`, set up so that wasm-bindgen's test runner drives this browser.
    pub(crate) fn cargo(self) -> Command {
        let driver = |name: &str| which::which(name).map_or_else(|_| OsString::from(name), Into::into);
        let mut cargo = run::cargo();
        match self {
            Self::Chromium => cargo.env("CHROMEDRIVER", driver("chromedriver")),
            Self::Firefox => cargo.env("GECKODRIVER", driver("geckodriver")),
            Self::Webkit => {
                // It has no headless mode. To the runner every plain WebDriver is Safari's.
                let program = cargo.get_program().to_owned();
                cargo = Command::new("xvfb-run");
                cargo
                    .arg("--auto-servernum")
                    .arg(program)
                    .env("SAFARIDRIVER", driver("WebKitWebDriver"))
            }
        };
        cargo
    }
}

/// Makes sure of the chosen browsers and returns them, Chromium first.
///
/// # Errors
/// A chosen one cannot be installed; the text says what to run.
pub(crate) fn set_up(choice: Choice) -> anyhow::Result<Vec<Browser>> {
    let demanded: &[Browser] = match choice {
        Choice::Present | Choice::Chromium => &[Browser::Chromium],
        Choice::All => &Browser::ALL,
    };
    for browser in demanded {
        browser.install()?;
    }
    let wanted = |browser: &Browser| match choice {
        Choice::Chromium => *browser == Browser::Chromium,
        Choice::Present | Choice::All => browser.is_present(),
    };
    Ok(Browser::ALL.into_iter().filter(wanted).collect())
}
