//! The attacks are made, and a run that has none is not taken for a server that withstood.

use std::process::{Command, Output};

use talkback_bench::attack::figures::{Bounds, Judging, Run, judge};

fn attack(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_talkback-bench"))
        .arg("attack")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_quick_run_attacks_the_server_and_closes_no_innocent() {
    let output = attack(&["--quick"]);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("pings-ws x1 (4): did "), "{out}");
}

#[test]
fn a_scenario_that_does_not_exist_is_an_error() {
    let output = attack(&["--scenario", "no-such-thing"]);
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("there is no such scenario"), "{err}");
}

#[test]
fn a_server_that_does_not_start_fails_the_run() {
    let output = attack(&["--scenario", "pings-ws", "--once", "--server", "/bin/true"]);
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("expected `listening on http://ADDRESS`"), "{err}");
}

#[test]
fn a_run_in_which_nothing_happened_is_broken() {
    let bounds = Bounds {
        other: 100.0,
        same: 250.0,
        memory: u64::MAX,
        kernel: u64::MAX,
        cpu: 2.0,
        visits_refused: 0,
        facts: Vec::new(),
    };
    let broken = judge(&Run::default(), &bounds, Judging::Untimed);
    let broken: Vec<_> = broken.iter().map(ToString::to_string).collect();
    assert_eq!(
        broken,
        [
            "the attack did not happen: the attacker did nothing",
            "only 0 messages were measured in another room"
        ]
    );
}
