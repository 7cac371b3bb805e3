//! `cargo xtask test`: every tier of tests, with one line for each and one for all.

use crate::{
    browsers::{self, Browser, Choice},
    debian, page, run, tools,
};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::{
    cmp::Reverse,
    env, fs,
    io::{self, BufRead, BufReader},
    num::NonZero,
    panic::resume_unwind,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run only this tier
    #[arg(long)]
    tier: Option<Tier>,
    /// Also run the tier `long`, which takes most of an hour, axe-core in every engine, language and theme, the
    /// pictures in every theme, and the long forms of scenarios; with `--tier`, the long form of that tier
    #[arg(long)]
    full: bool,
    /// The browsers of the tiers `browser` and `e2e`
    #[arg(long, default_value = "present")]
    browsers: Choice,
}

/// What a change must pass, from the quickest answer to the slowest.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Formatting
    Format,
    /// Clippy with warnings as errors, native and wasm32; the libraries compile alone; the documentation builds
    Lint,
    /// Unit, integration and documentation tests on this machine
    Native,
    /// Real servers and a Redis, killed again and again under load; see `cargo xtask chaos`
    Chaos,
    /// The client crate's tests inside real browsers, against a real server; the protocol's in the first of them
    Browser,
    /// The built page in real browsers, against the real server
    E2e,
    /// What is too long for every day: the soak with 20,000 seeds, Autobahn's cases, Lighthouse, all attacks, chaos with a
    /// Redis Cluster
    Long,
}

/// Members that run in a browser.
const WASM_MEMBERS: [&str; 8] = [
    "--package",
    "talkback-protocol",
    "--package",
    "talkback-client",
    "--package",
    "talkback-app",
    "--package",
    "talkback-frontends",
];
/// The environment variable that names the server which tests start.
const SERVER: &str = "TEST_SERVER_BIN";
/// The environment variable that names how many tests of a program run at the same time.
const THREADS: &str = "RUST_TEST_THREADS";
const WASM: [&str; 2] = ["--target", "wasm32-unknown-unknown"];
/// The modules of scenarios about what the page does by itself or several servers do, which depends least on the browser's
/// engine: the first browser runs them every day, the others with `--full`. All in each take five more minutes on two cores.
const FIRST_BROWSER: [&str; 14] = [
    "bar",
    "composer",
    "errors",
    "fields",
    "log",
    "looks",
    "messages",
    "people",
    "rooms",
    "saved",
    "servers",
    "tabs",
    "trace",
    "workbench",
];

/// So many scenarios of each browser are printed with their time.
const SLOWEST: usize = 8;

/// So many failed tests of one command are run again alone. More than that are no accident of a busy machine.
const MAX_AGAIN: usize = 3;

#[derive(Clone, Default)]
struct Count {
    passed: u64,
    failed: u64,
    /// The tests that failed beside others and passed alone.
    passed_alone: Vec<String>,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.passed_alone.extend(other.passed_alone);
    }
}

/// Runs the tiers.
///
/// # Errors
/// Set-up failed, or a test did.
pub(crate) fn run(arguments: &TestArgs) -> anyhow::Result<()> {
    let tiers = arguments.tier.map_or_else(
        || {
            let all = Tier::value_variants().iter().copied();
            all.filter(|tier| arguments.full || *tier != Tier::Long).collect()
        },
        |tier| vec![tier],
    );
    let browsers = set_up(&tiers, arguments.browsers)?;
    let mut report = Vec::new();
    let mut page = None;
    let mut all = Count::default();
    for &tier in &tiers {
        eprintln!("\nxtask: tier {}", name(tier));
        if tier == Tier::Native && tiers.contains(&Tier::E2e) {
            page = Some(thread::spawn(page::build_in_background));
        }
        let start = Instant::now();
        let count = match tier {
            Tier::Format => one(run::cargo().args(["fmt", "--all", "--check"])),
            Tier::Lint => lint(),
            Tier::Native => native(),
            Tier::Chaos => one(run::cargo().args(["xtask", "chaos", "--quick"])),
            Tier::Browser => browser(&browsers)?,
            Tier::E2e => {
                match page.take() {
                    Some(building) => building.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                    None => page::build()?,
                }
                e2e(&browsers, arguments.full)?
            }
            Tier::Long => long(),
        };
        let Count { passed, failed, .. } = count;
        report.push((name(tier), passed, failed, start.elapsed()));
        all.add(count);
    }
    println!();
    for (name, passed, failed, time) in report {
        println!("{name:8} {passed:4} passed, {failed} failed, in {}", minutes(time));
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    for test in &all.passed_alone {
        println!("failed beside others and passed alone, which is a fault of the code or of the test: {test}");
    }
    if all.failed > 0 {
        bail!("{} failed; the reasons stand above", all.failed);
    }
    Ok(())
}

/// Installs what these tiers need, so that a missing tool is reported at the start and not after ten minutes.
fn set_up(tiers: &[Tier], choice: Choice) -> anyhow::Result<Vec<Browser>> {
    if tiers
        .iter()
        .any(|tier| matches!(tier, Tier::Lint | Tier::Browser | Tier::E2e))
    {
        tools::wasm_target()?;
    }
    if tiers.contains(&Tier::Native) {
        debian::set_up(&[debian::REDIS, debian::NGINX, debian::CADDY])?;
    }
    if tiers.contains(&Tier::Browser) {
        tools::Tool::wasm_bindgen()?.install()?;
    }
    if tiers.contains(&Tier::E2e) {
        debian::set_up(&[debian::REDIS, debian::NGINX])?;
        page::set_up()?;
    }
    if tiers.iter().any(|tier| matches!(tier, Tier::Browser | Tier::E2e)) {
        let browsers = browsers::set_up(choice)?;
        let names: Vec<_> = browsers.iter().map(|browser| browser.name()).collect();
        eprintln!("xtask: browsers: {}", names.join(", "));
        return Ok(browsers);
    }
    Ok(Vec::new())
}

/// Cargo unites the features of members that it builds together, and builds a dependency again for each set of
/// features. So all members are linted together, and alone are compiled those that others use alone: a feature that
/// such a crate forgets to name is an error there. The page is compiled alone by the tier `e2e`, `xtask` by each of its
/// commands.
fn lint() -> Count {
    let clippy = |selection: &[&str], target: &[&str]| {
        let mut cargo = run::cargo();
        cargo
            .args(["clippy", "--quiet"])
            .args(target)
            .args(selection)
            .args(["--", "-D", "warnings"]);
        one(&mut cargo)
    };
    let mut count = Count::default();
    count.add(clippy(&["--workspace", "--all-targets"], &[]));
    count.add(clippy(&[&WASM_MEMBERS[..], &["--all-targets"]].concat(), &WASM));
    // `--all-targets` leaves out those that do not run in a plain `cargo test`.
    count.add(clippy(
        &[&["--workspace", "--test", "speed"], &run::SCENARIOS[..]].concat(),
        &[],
    ));
    count.add(clippy(&[&WASM_MEMBERS[..], &["--test", "measure"]].concat(), &WASM));
    for library in ["talkback-protocol", "talkback-server"] {
        count.add(clippy(&["--package", library], &[]));
    }
    // The client crate as its users choose its features: the socket alone, the rooms, and everything.
    for features in ["--no-default-features", "--features=default", "--all-features"] {
        count.add(clippy(&["--package", "talkback-client", features], &WASM));
    }
    let mut docs = run::cargo();
    docs.args(["doc", "--quiet", "--no-deps", "--workspace", "--all-features"])
        // With examples the features of dependencies are those of `--all-targets`. Programs that have the name of a
        // library would replace its pages, so the others are named.
        .args(["--lib", "--examples"])
        .args(["--bin", "xtask", "--bin", "wasm-test-runner", "--bin", "reference-*"])
        .env("RUSTDOCFLAGS", "-D warnings");
    count.add(one(&mut docs));
    // Applications with another framework do not pay for Yew, and those that use the socket alone do not pay for the
    // session.
    count.add(client_is_free_of(&[], &["yew"]));
    count.add(client_is_free_of(
        &["--no-default-features"],
        &["litemap", "serde", "serde_json", "sha2"],
    ));
    count
}

/// Whether the client crate with these features depends on none of these crates.
fn client_is_free_of(features: &[&str], crates: &[&str]) -> Count {
    let tree = [
        "tree",
        "--package",
        "talkback-client",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ];
    let depends = |tree: &str, name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} ")));
    let free = run::output("cargo", &[&tree, features].concat())
        .is_some_and(|tree| !crates.iter().any(|name| depends(&tree, name)));
    if !free {
        eprintln!(
            "xtask: talkback-client {features:?} depends on one of {crates:?}: see `cargo tree -p talkback-client -e normal`"
        );
    }
    pass_or_fail(free)
}

/// The tests of the server mostly wait for time to pass, so more of them run at the same time than there are
/// processors.
fn native() -> Count {
    let tests = || {
        let mut tests = run::cargo();
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        tests
    };
    let mut beside_others = tests();
    if env::var_os(THREADS).is_none() {
        beside_others.env(THREADS, (3 * processors()).to_string());
    }
    let run = counted(&mut beside_others, "");
    again_alone(run, "", |test| {
        let mut alone = tests();
        alone.args(["--", "--exact", test]);
        alone
    })
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The programs that tests in browsers start.
struct Programs {
    server: PathBuf,
    runner: PathBuf,
}

impl Programs {
    fn build() -> anyhow::Result<Self> {
        let folder = run::programs(&["talkback-server", "wasm-test-runner"])?;
        Ok(Self {
            server: folder.join("talkback-server"),
            runner: folder.join("wasm-test-runner"),
        })
    }
}

/// The engines run at the same time: a page mostly waits, for its server or for time to pass.
fn browser(browsers: &[Browser]) -> anyhow::Result<Count> {
    let programs = Programs::build()?;
    // The runner of `.cargo/config.toml` without the build of its package alone.
    let runner = format!("target.wasm32-unknown-unknown.runner=[{:?}]", programs.runner);
    let package = ["--package", "talkback-client"];
    // Pure computation, which no engine does differently: once shows that it is the same on wasm32. So do the examples
    // of the documentation, which only compile.
    let first = [&package[..], &["--package", "talkback-protocol"]].concat();
    let others = [&package[..], &["--tests"]].concat();
    let build = one(run::cargo().args(["test", "--no-run"]).args(WASM).args(&first));
    if build.failed > 0 {
        return Ok(build);
    }
    let tests = |browser: Browser, selection: &[&str]| {
        let mut tests = browser.cargo();
        tests.args(["test", "--no-fail-fast", "--config", &runner]).args(WASM);
        tests.args(selection).env(SERVER, &programs.server);
        tests
    };
    let runs = in_each_browser("browser tests", browsers, |index, browser| {
        tests(browser, if index == 0 { &first } else { &others })
    });
    let mut all = Count::default();
    for (browser, run) in runs {
        all.add(again_alone(run, &label(browser), |test| {
            tests(browser, &[&first[..], &["--", "--exact", test]].concat())
        }));
    }
    Ok(all)
}

/// As in the tier `browser`, the engines run at the same time.
fn e2e(browsers: &[Browser], is_full: bool) -> anyhow::Result<Count> {
    let programs = Programs::build()?;
    let times = |browser: Browser| run::target().join("e2e").join(format!("times-{}", browser.name()));
    for &browser in browsers {
        // Those of an earlier run.
        let _: io::Result<()> = fs::remove_file(times(browser));
    }
    let tests = |browser: Browser| {
        let mut tests = run::cargo();
        tests
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(run::SCENARIOS)
            .arg("--");
        tests.env("TEST_BROWSERS", browser.name()).env(SERVER, &programs.server);
        if is_full {
            tests.env("TEST_FULL", "1");
        }
        tests
    };
    let runs = in_each_browser("scenarios", browsers, |index, browser| {
        let mut tests = tests(browser);
        if is_full {
            return tests;
        }
        if index > 0 {
            tests.args(FIRST_BROWSER.map(|module| format!("--skip={module}::")));
        } else if browsers.len() > 1 && env::var_os(THREADS).is_none() {
            // It has more scenarios than the others, and would go on alone for minutes.
            tests.env(THREADS, (processors() + 1).to_string());
        }
        tests
    });
    let mut all = Count::default();
    for (browser, run) in runs {
        all.add(again_alone(run, &label(browser), |test| {
            let mut alone = tests(browser);
            alone.args(["--exact", test]);
            alone
        }));
    }
    for &browser in browsers {
        let times = fs::read_to_string(times(browser)).unwrap_or_default();
        println!("the slowest scenarios in {}:", browser.name());
        for (milliseconds, name) in slowest(&times) {
            println!("  {:5}.{} s {name}", milliseconds / 1_000, milliseconds % 1_000 / 100);
        }
    }
    Ok(all)
}

/// Of lines such as `3150 600 2500 50 chat-name`, the milliseconds and the names of the slowest.
fn slowest(times: &str) -> Vec<(u64, &str)> {
    let mut all: Vec<(u64, &str)> = times
        .lines()
        .filter_map(|line| Some((line.split(' ').next()?.parse().ok()?, line.rsplit(' ').next()?)))
        .collect();
    all.sort_unstable_by_key(|(milliseconds, _)| Reverse(*milliseconds));
    all.truncate(SLOWEST);
    all
}

fn label(browser: Browser) -> String {
    format!("{:8} | ", browser.name())
}

/// Runs the tests of all browsers at the same time, and prints how long each took. `tests` gets the number of the
/// browser, from 0.
fn in_each_browser(
    what: &str,
    browsers: &[Browser],
    tests: impl Fn(usize, Browser) -> Command + Sync,
) -> Vec<(Browser, Run)> {
    let run = |index: usize, browser: Browser| {
        let start = Instant::now();
        let run = counted(&mut tests(index, browser), &label(browser));
        (browser, run, start.elapsed())
    };
    let runs = thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = browsers
            .iter()
            .enumerate()
            .map(|(index, &browser)| scope.spawn(move || run(index, browser)))
            .collect();
        running.into_iter().map(|run| run.join()).collect::<Vec<_>>()
    });
    let runs = runs
        .into_iter()
        .map(|run| run.unwrap_or_else(|panic| resume_unwind(panic)));
    runs.map(|(browser, run, time)| {
        let Count { passed, failed, .. } = run.count;
        println!(
            "{what} in {}: {passed} passed, {failed} failed, in {}",
            browser.name(),
            minutes(time)
        );
        (browser, run)
    })
    .collect()
}

/// The long proofs, each by its own command.
fn long() -> Count {
    let mut count = Count::default();
    for proof in [
        &["soak", "--seeds", "20000"][..],
        &["conformance"],
        &["lighthouse"],
        &["attack"],
        &["chaos", "--topology", "cluster", "--minutes", "5", "--fresh"],
    ] {
        count.add(one(run::cargo().arg("xtask").args(proof)));
    }
    count
}

/// A command that passes or fails as a whole.
fn one(command: &mut Command) -> Count {
    let outcome = run::succeed(command);
    if let Err(error) = &outcome {
        eprintln!("xtask: {error:#}");
    }
    pass_or_fail(outcome.is_ok())
}

fn pass_or_fail(passed: bool) -> Count {
    Count {
        passed: u64::from(passed),
        failed: u64::from(!passed),
        passed_alone: Vec::new(),
    }
}

/// What a command that runs tests printed.
#[derive(Default)]
struct Run {
    count: Count,
    /// The names of the tests that failed.
    failed: Vec<String>,
}

/// A test command: shows what it prints, each line behind the label, and adds up its `test result` lines. One that
/// fails without such a line, because something did not compile, counts as one failure.
fn counted(command: &mut Command, label: &str) -> Run {
    let mut run = Run::default();
    let outcome = (|| {
        let line = run::shown(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let stdout = child.stdout.take().context("the output is not piped")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{label}{line}");
            if let Some(count) = result(&line) {
                run.count.add(count);
            }
            run.failed.extend(failed_test(&line).map(str::to_owned));
        }
        let status = child.wait()?;
        if !status.success() && run.count.failed == 0 {
            bail!("`{line}` failed ({status})");
        }
        Ok(())
    })();
    if let Err(error) = outcome {
        eprintln!("xtask: {error:#}");
        run.count.failed += 1;
    }
    run
}

/// Runs the few tests that failed beside others once more, one after the other, with nothing else on the machine: one
/// that waits for a busy machine says nothing about the change. What passes then is counted as passed and named at the end of the
/// report, because it is a fault all the same.
fn again_alone(run: Run, label: &str, alone: impl Fn(&str) -> Command) -> Count {
    let Run { mut count, failed } = run;
    // Not all names are known where a program crashed or did not compile.
    if failed.len() > MAX_AGAIN || failed.len() as u64 != count.failed {
        return count;
    }
    for test in failed {
        eprintln!("xtask: {test} failed: once more alone");
        let again = counted(&mut alone(&test), label).count;
        if again.failed == 0 && again.passed > 0 {
            count.failed -= 1;
            count.passed += 1;
            count.passed_alone.push(format!("{label}{test}"));
        }
    }
    count
}

/// Reads the name from `test name ... FAILED` of cargo or `test name ... FAIL` of the browser runner.
fn failed_test(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    matches!(outcome, "FAILED" | "FAIL").then_some(())?;
    Some(name.strip_suffix(" - should panic").unwrap_or(name))
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`.
fn result(line: &str) -> Option<Count> {
    let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        numbers
            .split(';')
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
        passed_alone: Vec::new(),
    })
}

fn name(tier: Tier) -> String {
    tier.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_scenarios_are_printed_first() {
        let times = "3150 600 2500 50 chat-a\n12000 1 2 3 log-b\nbroken\n90 1 2 3 bar-c\n";
        assert_eq!(slowest(times), [(12_000, "log-b"), (3_150, "chat-a"), (90, "bar-c")]);
        assert_eq!(slowest(&times.repeat(10)).len(), SLOWEST);
    }

    #[test]
    fn the_names_of_failed_tests_are_read() {
        assert_eq!(failed_test("test rooms::a_room ... FAILED"), Some("rooms::a_room"));
        assert_eq!(failed_test("test stops - should panic ... FAILED"), Some("stops"));
        let of_documentation = "test client/src/lib.rs - Client (line 12) ... FAILED";
        assert_eq!(
            failed_test(of_documentation),
            Some("client/src/lib.rs - Client (line 12)")
        );
        assert_eq!(failed_test("test rooms::a_room ... FAIL"), Some("rooms::a_room"));
        assert_eq!(failed_test("test rooms::a_room ... ok"), None);
        assert_eq!(failed_test("test result: FAILED. 1 passed; 1 failed"), None);
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_test_that_fails_beside_others_is_run_alone_and_named_when_it_passes() {
        let beside_others = "
            echo 'test a::b ... FAILED'
            echo 'test a::c ... ok'
            echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'
            exit 101";
        let passes = "
            echo 'test a::b ... ok'
            echo 'test result: ok. 1 passed; 0 failed; 1 filtered out'";
        let count = again_alone(counted(&mut sh(beside_others), ""), "firefox | ", |test| {
            assert_eq!(test, "a::b");
            sh(passes)
        });
        assert_eq!((count.passed, count.failed), (2, 0));
        assert_eq!(count.passed_alone, ["firefox | a::b"]);
        let runs_nothing = "echo 'test result: ok. 0 passed; 0 failed; 2 filtered out'";
        for again in [beside_others, runs_nothing] {
            let count = again_alone(counted(&mut sh(beside_others), ""), "", |_| sh(again));
            assert_eq!((count.passed, count.failed), (1, 1), "{again}");
            assert_eq!(count.passed_alone, [""; 0]);
        }
    }

    #[test]
    fn many_failures_and_those_without_a_name_are_not_run_again() {
        let many = "
            for test in a b c d; do echo \"test $test ... FAILED\"; done
            echo 'test result: FAILED. 0 passed; 4 failed; 0 ignored'
            exit 101";
        let crash = "echo 'test a ... ok'; exit 101";
        let again = "echo 'test result: ok. 1 passed; 0 failed'";
        for (script, failed) in [(many, 4), (crash, 1)] {
            let count = again_alone(counted(&mut sh(script), ""), "", |_| sh(again));
            assert_eq!(count.failed, failed, "{script}");
        }
    }

    #[test]
    fn the_counts_of_cargo_and_of_the_browser_runner_are_read() {
        let count = result("test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out").unwrap();
        assert_eq!((count.passed, count.failed), (12, 3));
        let count = result("test result: ok. 7 passed; 0 failed; 0 ignored; 0 filtered out; finished in 1.2s").unwrap();
        assert_eq!((count.passed, count.failed), (7, 0));
        assert!(result("running 7 tests").is_none());
    }
}
