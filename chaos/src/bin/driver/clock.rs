//! The clock of a server, which libfaketime turns: the time of day alone, as when an operator or NTP sets it. What measures
//! durations is not turned.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The furthest that a clock is turned from the right time. Twice as much is less than the time for which clients are
/// remembered, and messages kept: what is older than that may be forgotten.
const MOST_SECONDS: i64 = 25 * 60;

/// How often libfaketime looks for another time, in seconds.
const LOOKS_EVERY: &str = "1";

pub(crate) struct Clock {
    library: PathBuf,
    /// What libfaketime reads: how far the clock is turned.
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, for the server of this name.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn new(library: &Path, folder: &Path, name: &str) -> Result<Self> {
        let clock = Self {
            library: library.canonicalize()?,
            file: folder.canonicalize()?.join(format!("{name}.clock")),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Turns the clock forwards or backwards. Returns how many seconds it is ahead of the right time.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn turn(&self, rng: &mut fastrand::Rng) -> Result<i64> {
        let ahead = rng.i64(-MOST_SECONDS..=MOST_SECONDS);
        self.set(ahead)?;
        Ok(ahead)
    }

    fn set(&self, ahead: i64) -> Result<()> {
        // By rename, so that it is never read half written.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Lets a server use it, after the libraries that are loaded before.
    pub(crate) fn set_up(&self, command: &mut Command, before: Option<&Path>) {
        let mut libraries = OsString::new();
        for library in before.into_iter().chain([self.library.as_path()]) {
            if !libraries.is_empty() {
                libraries.push(":");
            }
            libraries.push(library);
        }
        command
            .env("LD_PRELOAD", libraries)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", LOOKS_EVERY)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Removes what libfaketime leaves in the shared memory of the system when its process is killed.
    pub(crate) fn clean_up(process: u32) {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            // It is there only if the process came that far.
            let _ = fs::remove_file(format!("/dev/shm/{name}{process}"));
        }
    }
}
