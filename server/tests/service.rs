//! The settings and the unit of systemd in docs/.

use std::{fs, process::Command, time::Duration};

use talkback_server::AppOptions;
use tempfile::TempDir;

const UNIT: &str = include_str!("../../docs/talkback.service");
const PROGRAM: &str = env!("CARGO_BIN_EXE_talkback-server");

/// The settings in docs/operations.md.
fn settings() -> &'static str {
    let text = include_str!("../../docs/operations.md");
    let (_, block) = text.split_once("```toml\n").expect("a block of TOML");
    block.split_once("```").expect("its end").0
}

#[test]
fn the_server_accepts_the_settings_of_the_docs() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("talkback.toml");
    fs::write(&file, settings()).unwrap();
    let mut check = Command::new(PROGRAM);
    let output = check
        .arg("check")
        .arg("--config")
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The template of two servers, as the command in docs/operations.md makes it.
fn template(unit: &str) -> String {
    let command = "sed -e 's|/etc/talkback.toml|/etc/talkback-%i.toml|' -e '/^StateDirectory/d' docs/talkback.service";
    assert!(include_str!("../../docs/operations.md").contains(command));
    let lines = unit.lines().filter(|line| !line.starts_with("StateDirectory"));
    let lines = lines.map(|line| line.replace("/etc/talkback.toml", "/etc/talkback-%i.toml"));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn systemd_knows_every_setting_of_the_unit_and_of_the_template() {
    // It looks whether the program is there.
    let unit = UNIT.replace("/usr/local/bin/talkback-server", PROGRAM);
    assert_ne!(unit, UNIT);
    verify("talkback@.service", &template(&unit));
    verify("talkback.service", &unit);
}

fn verify(name: &str, unit: &str) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, unit).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let Ok(output) = verify.args(["verify", "--man=no"]).arg(&file).output() else {
        println!("there is no systemd-analyze here: the unit was not checked");
        return;
    };
    let errors = String::from_utf8(output.stderr).unwrap();
    // Units of this machine may have faults of their own. Unknown settings are told, and no failure.
    let ours: Vec<_> = errors.lines().filter(|line| line.contains(name)).collect();
    assert!(output.status.success(), "{errors}");
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn systemd_waits_longer_than_a_server_takes_to_stop() {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let seconds = line
        .and_then(|value| value.strip_suffix('s'))
        .expect("a time in seconds");
    let waits = Duration::from_secs(seconds.parse().unwrap());
    let options = AppOptions::default();
    let settings: toml::Table = settings().parse().unwrap();
    let drain_time = humantime::parse_duration(settings["drain-time"].as_str().unwrap()).unwrap();
    let longest = options.drain_delay + drain_time.max(options.drain_time) + options.close_timeout;
    assert!(waits >= longest * 2, "{waits:?} for {longest:?}");
}
