//! `cargo xtask recordings`: what both halves of the session say to each other in the tests, as one number.

use crate::run;
use anyhow::{Context, bail};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Runs the transcripts, the pair and the ordinary seeds, and prints a digest of the bytes of both directions. A change
/// of the code that changes nothing on the wire leaves it as it is; another Rust toolchain may not.
///
/// # Errors
/// A test failed, or nothing was recorded.
pub(crate) fn run() -> anyhow::Result<()> {
    let path = run::target().join("recordings.txt");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let mut test = run::cargo();
    test.args(["test", "--package", "talkback-protocol"])
        .args([
            "--test", "client", "--test", "server", "--test", "pair", "--test", "promises",
        ])
        .env("TEST_RECORDINGS", &path);
    run::succeed(&mut test)?;
    let text = fs::read_to_string(&path).context("nothing was recorded")?;
    let mut recordings: Vec<_> = text.lines().collect();
    // The tests of a program run at the same time.
    recordings.sort_unstable();
    let mut texts = 0_u64;
    for recording in &recordings {
        let count = recording.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
        texts += count.with_context(|| format!("{}: `{recording}` is no recording", path.display()))?;
    }
    if recordings.is_empty() {
        bail!("nothing was recorded");
    }
    let mut digest = DefaultHasher::new();
    recordings.hash(&mut digest);
    println!(
        "{} recordings with {texts} texts: {:016x}",
        recordings.len(),
        digest.finish()
    );
    Ok(())
}
