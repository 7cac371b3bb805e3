//! The four promises of the session under random faults. A seed that fails says how to replay it.
//!
//! | environment | meaning |
//! |---|---|
//! | `TEST_SEED=7` | this seed alone, with everything that happens |
//! | `TEST_SEEDS=5000..90000` | other seeds than those of the ordinary run: a soak |

mod support;

use std::{env, ops::Range};

use support::{run, seeded};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// As many as take about ten seconds without optimisation.
const ORDINARY: Range<u64> = if cfg!(target_family = "wasm") { 0..500 } else { 0..2_000 };

#[test]
fn nothing_is_lost_or_doubled_in_silence_and_every_message_ends() {
    if let Some(seed) = number("TEST_SEED") {
        let ops = seeded(seed);
        let result = run(seed, &ops, true);
        return assert_eq!(result, Ok(()), "seed {seed}");
    }
    let seeds = range("TEST_SEEDS").unwrap_or(ORDINARY);
    for seed in seeds {
        let _replay = Replay(seed);
        if let Err(broken) = run(seed, &seeded(seed), false) {
            panic!("seed {seed}: {broken}");
        }
    }
}

/// Says how to see a failure again, also when the session itself panics.
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
