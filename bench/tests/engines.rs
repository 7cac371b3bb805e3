//! The measurements of the engines run, with a real Redis, and lose nothing.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use talkback_bench::engines::figures::{Figures, name};

#[test]
fn a_quick_run_measures_every_engine_under_every_load_and_loses_nothing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engines");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("engines.json");
    let bench = || Command::new(env!("CARGO_BIN_EXE_talkback-bench"));
    let output = bench()
        .args(["engines", "--quick", "--rounds", "1", "--figures"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let figures = Figures::read(&fs::read_to_string(&path).unwrap()).unwrap();
    let one = |name: &str| {
        let rounds = figures.rounds(name);
        assert_eq!(rounds.len(), 1, "{name} in {:?}", figures.values.keys());
        rounds[0]
    };
    for engine in ["memory", "sqlite", "redis"] {
        for load in [
            name::acks(64, 1),
            name::acks(64, 10_000),
            name::deliveries(1),
            name::deliveries(8),
        ] {
            assert!(
                one(&format!("{engine}: {load}: {}", name::PER_SECOND)) > 0.0,
                "{engine}, {load}"
            );
        }
        for load in [name::DELAYS.to_owned(), name::ack_delays(false), name::ack_delays(true)] {
            let [half, most] = [name::P50, name::P99].map(|part| one(&format!("{engine}: {load}: {part}")));
            assert!(0.0 < half && half <= most, "{engine}, {load}: {half} {most}");
        }
    }
    assert!(one(&format!("redis, two servers: {}: {}", name::DELAYS, name::P99)) > 0.0);
    assert!(one(&format!("redis: {}: {}", name::BURST, name::EXPECTED)) > 0.0);
    assert_eq!(one(&format!("redis: {}: {}", name::BURST, name::LOST)), 0.0);

    // The models need no more than this run has.
    let output = bench()
        .args(["scaling", "--quick", "--figures"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tables: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
    for (document, tables) in tables {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&document)).unwrap();
        for (name, table) in tables {
            let start = format!("<!-- cargo xtask scaling: {name} -->\n");
            assert!(text.contains(&start), "{document} has no place for the table {name}");
            let rows = table.lines().filter(|line| line.starts_with('|'));
            assert!(rows.count() > 2, "{name}: {table}");
        }
    }
}
