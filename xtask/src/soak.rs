//! `cargo xtask soak`: the promises of the session under more random faults than the ordinary tests have time for.

use crate::run;
use anyhow::Context;

#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// How many lists of random operations to run; 100,000 take about a minute on a core
    #[arg(long, default_value_t = 500_000)]
    seeds: u64,
    /// The first seed; the ordinary tests run those below 2,000
    #[arg(long, default_value_t = 2_000)]
    from: u64,
}

/// Runs the seeds. A failing one says how to replay it.
///
/// # Errors
/// A promise was broken, or the tests do not build.
pub(crate) fn run(arguments: &SoakArgs) -> anyhow::Result<()> {
    let SoakArgs { seeds, from } = *arguments;
    let to = from.checked_add(seeds).context("the last seed is too large")?;
    let mut test = run::cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "talkback-protocol",
        "--test",
        "promises",
    ])
    .env("TEST_SEEDS", format!("{from}..{to}"));
    run::succeed(&mut test)
}
