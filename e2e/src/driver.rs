//! A WebDriver program: started from the PATH, its output always read.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use talkback_testbed::{Lines, Process};

use crate::{DEADLINE, StepError, wait_for};

/// A running helper program, ended with all it started when dropped or when this process ends.
pub(crate) struct Program {
    name: &'static str,
    // Held for its `Drop`.
    _process: Process,
    lines: Lines,
}

/// Runs a program until the shell's input ends, which it does when the process that started the shell ends, in whatever
/// way; then ends what the program has started, and removes its files, more than once because a browser that ends still
/// writes some. It is needed because Rust drops no statics, and the browsers between two scenarios are in one.
const GUARD: &str = r#""$@" </dev/null &
read -r _
trap : TERM
kill -s TERM 0
wait
for _ in 1 2 3 4 5; do rm -rf "$TMPDIR"; sleep 1; done"#;

impl Program {
    /// Starts the program with its temporary files in `directory`.
    ///
    /// # Errors
    /// When it is not on the PATH (the text says how to install it) or cannot be started.
    pub(crate) fn start(
        name: &'static str,
        directory: &Path,
        configure: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self, StepError> {
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, name])
            .arg(find(name)?)
            .env("TMPDIR", directory)
            .env("LANGUAGE", "en_US")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        configure(&mut command);
        let mut process = Process::spawn_group(&mut command).map_err(|error| StepError::Setup(error.to_string()))?;
        let lines = Lines::default();
        if let Some(stdout) = process.take_stdout() {
            lines.collect(stdout);
        }
        if let Some(stderr) = process.take_stderr() {
            lines.collect(stderr);
        }
        Ok(Self {
            name,
            _process: process,
            lines,
        })
    }

    /// What it wrote to stdout and stderr so far, the browser's output among it.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Waits for a line that holds `before` and a number after it, such as a port.
    ///
    /// # Errors
    /// When there is none in time; the text holds what the program wrote instead.
    pub(crate) async fn number_after<T: std::str::FromStr>(&self, before: &str) -> Result<T, StepError> {
        let mut number = None;
        let found = wait_for(
            format!("{} writes {before:?} and a number", self.name),
            DEADLINE,
            async || {
                number = self.lines().iter().find_map(|line| {
                    let (_, rest) = line.split_once(before)?;
                    rest.trim_end_matches(|end: char| !end.is_ascii_digit()).parse().ok()
                });
                Ok(number.is_some())
            },
        );
        let found = found.await;
        number.ok_or_else(|| self.trouble(found.err().map(|error| error.to_string()).unwrap_or_default()))
    }

    /// `what` went wrong, with what the program wrote.
    pub(crate) fn trouble(&self, what: impl std::fmt::Display) -> StepError {
        StepError::Setup(format!("{what}. {} wrote:\n  {}", self.name, self.lines().join("\n  ")))
    }
}

/// The path of a program.
///
/// # Errors
/// When it is not on the PATH; the text says how to install it.
pub(crate) fn find(name: &str) -> Result<PathBuf, StepError> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| missing(name))
}

/// The complaint about a program that is not there. A browser that cannot be tested is a failure, never a skipped test.
pub(crate) fn missing(name: &str) -> StepError {
    let by_hand = match name {
        "chromedriver" => "apt-get install chromium chromium-driver",
        "geckodriver" => "cargo install --locked geckodriver",
        "firefox-esr" => "apt-get install firefox-esr",
        _ => "apt-get install webkit2gtk-driver xvfb",
    };
    StepError::Setup(format!(
        "{name} is not installed. `cargo xtask test --browsers all` installs what the tests need; by hand: {by_hand}"
    ))
}
