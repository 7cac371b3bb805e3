//! The guarantees of the session under random faults. The operations of a seed that fails are shrunk to those that
//! matter, and the output says how to replay it.
//!
//! | environment | meaning |
//! |---|---|
//! | `TEST_SEED=7` | only this seed, with a trace of everything that happens |
//! | `TEST_SEEDS=5000..90000` | these seeds instead of those of the ordinary run: a soak |

mod support;

use std::{collections::BTreeMap, env, ops::Range};

use support::{Op, run, seeded};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// The seeds of an ordinary run. They take about fifteen seconds without optimisation.
const ORDINARY: Range<u64> = if cfg!(target_family = "wasm") { 0..500 } else { 0..2_000 };

/// The events that must happen in an ordinary run, each at least [`OFTEN`] times: a guarantee that was never tested is
/// not kept.
const HAPPENS: [&str; 43] = [
    "a client heard that a message was refused for good",
    "a client heard that a request was refused",
    "a client heard that it may not join",
    "a client heard which of its messages are lost",
    "a client joined again after its membership had ended",
    "a client took a new key",
    "a client was closed with 4429",
    "a client was told of capacity in the outbox",
    "a clock stepped back",
    "a conflict",
    "a difference of users was told",
    "a full list of users was told",
    "a gap",
    "a join was refused for good",
    "a join was refused for now",
    "a late copy of a refused or withdrawn number came",
    "a member caught up in several pages",
    "a member heard why it was expelled",
    "a member left and was expelled at once",
    "a member recovered across a fork",
    "a member was beyond a fork",
    "a member was closed because it was too slow",
    "a member was overtaken while it caught up",
    "a member was reset",
    "a message came again",
    "a message ended in doubt",
    "a message expired",
    "a message that found the outbox full was published later",
    "a message was too large",
    "a number was withdrawn",
    "a page of history came",
    "a page was refused for now",
    "a page went back to an earlier record",
    "a search for users was answered",
    "a search was refused for now",
    "a signal was passed on",
    "a tab was duplicated",
    "an outcome was forgotten",
    "only a number of users was told",
    "the engine refused a message for now",
    "the hub lost or doubled a line",
    "the log forgot a client",
    "the server paused a client",
];
const OFTEN: u64 = 50;

#[test]
fn no_message_is_silently_lost_or_duplicated_and_every_delivery_ends() {
    let mut counts = BTreeMap::new();
    if let Some(seed) = number("TEST_SEED") {
        let ops = seeded(seed);
        let result = run(seed, &ops, true, &mut counts);
        return assert_eq!(result, Ok(()), "seed {seed}");
    }
    let seeds = range("TEST_SEEDS");
    for seed in seeds.clone().unwrap_or(ORDINARY) {
        let _replay = Replay(seed);
        let ops = seeded(seed);
        if let Err(broken) = run(seed, &ops, false, &mut counts) {
            let again = |ops: &[Op]| run(seed, ops, false, &mut BTreeMap::new());
            let (broken, ops) = shrink(&ops, again).unwrap_or((broken, ops));
            panic!("seed {seed}: {broken}\nthese operations suffice: {ops:#?}");
        }
    }
    for (what, count) in &counts {
        println!("{count:>8} {what}");
    }
    if seeds.is_none() && !cfg!(target_family = "wasm") {
        let too_rare: Vec<_> = HAPPENS
            .into_iter()
            .filter(|what| counts.get(what).is_none_or(|count| *count < OFTEN))
            .collect();
        assert_eq!(too_rare, [""; 0], "each must happen at least {OFTEN} times");
    }
}

/// Leaves out operations as long as a guarantee is still broken. Returns the last failure and the remaining operations.
#[cfg(not(target_family = "wasm"))]
fn shrink(ops: &[Op], check: impl Fn(&[Op]) -> Result<(), String>) -> Option<(String, Vec<Op>)> {
    use proptest::{
        bool,
        collection::vec,
        strategy::Strategy,
        test_runner::{Config, TestCaseError, TestError, TestRunner},
    };
    let kept = |mask: &[bool]| {
        let kept = ops.iter().zip(mask).filter(|(_, kept)| **kept);
        kept.map(|(op, _)| *op).collect::<Vec<_>>()
    };
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    // At first all operations are kept. Leaving one out makes the value simpler.
    let tree = vec(bool::weighted(1.0), ops.len()).new_tree(&mut runner).ok()?;
    let result = runner.run_one(tree, |mask| check(&kept(&mask)).map_err(TestCaseError::fail));
    match result {
        Err(TestError::Fail(broken, mask)) => Some((broken.message().to_owned(), kept(&mask))),
        _ => None,
    }
}

#[cfg(target_family = "wasm")]
fn shrink(_: &[Op], _: impl Fn(&[Op]) -> Result<(), String>) -> Option<(String, Vec<Op>)> {
    None
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn a_failing_seed_is_shrunk_to_the_operations_that_break_the_guarantee() {
    let mut ops = seeded(11);
    ops.extend([Op::CutAll, Op::HealLink, Op::NewTokens]);
    // A check that fails for two operations together.
    let check = |ops: &[Op]| match ops.contains(&Op::CutAll) && ops.contains(&Op::NewTokens) {
        true => Err("both".to_owned()),
        false => Ok(()),
    };
    let (broken, left) = shrink(&ops, check).unwrap();
    assert_eq!((broken.as_str(), left), ("both", vec![Op::CutAll, Op::NewTokens]));
}

/// Prints the command that replays a failure, also when the session itself panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("replay: TEST_SEED={seed} cargo test -p talkback-protocol --test promises");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn range(name: &str) -> Option<Range<u64>> {
    let text = env::var(name).ok()?;
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
