//! The runner of the browser tests, with a program in place of wasm-bindgen's.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

/// Runs the tests with this shell script. It finds in `$runs` a file with a line for each of its runs.
fn run(script: &str) -> (Output, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("wasm-bindgen-test-runner");
    let runs = folder.path().join("runs");
    let head = format!("#!/bin/sh\nruns={}\necho \"$TMPDIR\" >> \"$runs\"\n", runs.display());
    fs::write(&program, head + script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = env::var("PATH").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wasm-test-runner"))
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .output()
        .unwrap();
    let runs = fs::read_to_string(runs).unwrap();
    (output, runs.lines().map(str::to_owned).collect())
}

#[test]
fn a_browser_that_does_not_start_is_started_once_more_with_another_profile() {
    let second = "if [ $(wc -l < \"$runs\") = 2 ]; then echo 'running 1 test'; exit 0; fi\n";
    let (output, runs) = run(&[second, "echo 'Failed to start driver'; exit 1\n"].concat());
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(
        stderr.contains("the browser did not start; trying once more"),
        "{stderr}"
    );
    assert!(stdout.contains("running 1 test"), "{stdout}");
    assert_eq!(runs.len(), 2);
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn a_second_failure_and_failed_tests_are_failures() {
    let (output, runs) = run("exit 1\n");
    assert!(!output.status.success());
    assert_eq!(runs.len(), 2);
    let (output, runs) = run("echo 'running 1 test'; exit 1\n");
    assert!(!output.status.success());
    assert_eq!(runs.len(), 1);
}
