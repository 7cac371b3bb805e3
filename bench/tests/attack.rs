//! `talkback-bench attack` attacks the server, and a run in which the attack did nothing fails.

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
fn a_quick_run_attacks_the_server_and_no_legitimate_client_is_closed() {
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
fn a_run_in_which_nothing_happened_exceeds_bounds() {
    let bounds = Bounds {
        other: 100.0,
        same: 250.0,
        memory: u64::MAX,
        kernel: u64::MAX,
        cpu: 2.0,
        visits_refused: 0,
        facts: Vec::new(),
    };
    let exceeded = judge(&Run::default(), &bounds, Judging::Untimed);
    let exceeded: Vec<_> = exceeded.iter().map(ToString::to_string).collect();
    assert_eq!(
        exceeded,
        [
            "the attack did not happen: the attacker did nothing",
            "only 0 messages were measured in another room"
        ]
    );
}
