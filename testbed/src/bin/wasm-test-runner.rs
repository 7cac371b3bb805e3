//! Cargo's runner for wasm32 tests: starts a real server and the fault service, then the tests in a real browser.
//!
//! The page of the tests is at port P, the real server at P + 1 and the fault service at P + 2, so that a test derives
//! both addresses from its own `location`, without a rebuild or a fixed port.
//!
//! On a busy machine a browser sometimes does not start. Then it is started once more, with another profile; tests that
//! failed are not run again.

use serde_json::json;
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::Ipv4Addr,
    process::{self, Command, ExitCode, ExitStatus, Stdio},
};
use talkback_testbed::{Process, Server, ended, faults};
use tokio::{net::TcpListener, signal};

/// Messages of a mebibyte and bursts of ten thousand are part of the tests; the server's default limits are lower.
/// Tests wait until a user has left a room, which by default takes seconds.
const SERVER_ARGUMENTS: [&str; 11] = [
    "--presence-grace",
    "500ms",
    "--max-message-size",
    "16MiB",
    "--log-messages",
    "20000",
    "--log-bytes",
    "16MiB",
    "--address-users",
    "--publish-key",
    faults::PUBLISH_KEY,
];

/// The variable with the path of a file with further capabilities that the runner requests of the browser.
const CAPABILITIES: &str = "WASM_BINDGEN_TEST_WEBDRIVER_JSON";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wasm-test-runner: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<ExitStatus> {
    let (port, faults_listener) = three_ports().await?;
    let arguments = SERVER_ARGUMENTS.iter().map(|&argument| argument.to_owned()).collect();
    let _server = Server::start_at((Ipv4Addr::LOCALHOST, port + 1).into(), arguments).await?;
    tokio::spawn(faults::serve(faults_listener));

    let first = run_tests(port).await?;
    if first.status.success() || first.browser_started {
        return Ok(first.status);
    }
    eprintln!("wasm-test-runner: the browser did not start; trying once more with a new profile");
    Ok(run_tests(port).await?.status)
}

/// How a run of the tests ended.
struct Run {
    status: ExitStatus,
    /// The browser has shown the page of the tests.
    browser_started: bool,
}

async fn run_tests(port: u16) -> io::Result<Run> {
    // Browsers do not remove their profiles; this folder is removed with them.
    let temporary = tempfile::tempdir()?;
    let mut command = Command::new("wasm-bindgen-test-runner");
    command
        .args(env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .env("WASM_BINDGEN_TEST_ADDRESS", format!("127.0.0.1:{port}"))
        .env("TMPDIR", temporary.path());
    set_default(&mut command, "WASM_BINDGEN_TEST_TIMEOUT", || Some("300".into()));
    set_default(&mut command, "WASM_BINDGEN_TEST_DRIVER_TIMEOUT", || Some("30".into()));
    if env::var_os("GECKODRIVER").is_some() && env::var_os(CAPABILITIES).is_none() {
        let file = temporary.path().join("webdriver.json");
        fs::write(&file, firefox().to_string())?;
        command.env(CAPABILITIES, file);
    }
    // Without one of these variables the runner takes the first driver on the PATH.
    if !["CHROMEDRIVER", "GECKODRIVER", "SAFARIDRIVER"]
        .iter()
        .any(|name| env::var_os(name).is_some())
    {
        command.env("CHROMEDRIVER", "chromedriver");
    }
    let mut tests = Process::spawn_group(&mut command).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; `cargo xtask test --tier browser` installs it"),
        )
    })?;
    let output = tests.take_stdout().ok_or_else(|| io::Error::other("no pipe"))?;
    let output = tokio::task::spawn_blocking(move || pass_on(output));
    let status = tokio::select! {
        status = ended(&mut tests) => status,
        _ = signal::ctrl_c() => Err(io::Error::other("interrupted")),
    }?;
    Ok(Run {
        status,
        browser_started: output.await??,
    })
}

/// Writes the output of the tests to that of this process; returns whether the page of the tests is among it.
fn pass_on(output: impl Read) -> io::Result<bool> {
    let mut browser_started = false;
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        // What the page says first, and what it says when it has loaded the tests.
        browser_started |= line.starts_with(b"Loading ") || line.starts_with(b"running ");
        io::stdout().write_all(&line)?;
        line.clear();
    }
    io::stdout().flush()?;
    Ok(browser_started)
}

/// Firefox delays a page's connections to an address that has failed, longer with each failure and up to a minute.
/// Tests that break connections would measure this and not the client. The end-to-end tests do not change it.
fn firefox() -> serde_json::Value {
    json!({ "moz:firefoxOptions": { "prefs": { "network.websocket.delay-failed-reconnects": false } } })
}

/// Three consecutive free ports: the first is for the runner, the second for the server, the third is listened on
/// already.
///
/// They are below the ephemeral ports, so that no outgoing connection takes a port before it is listened on. Runners
/// that start at the same time try different ports, because their process IDs differ.
async fn three_ports() -> io::Result<(u16, TcpListener)> {
    const FIRST: u32 = 10_000;
    const TRIPLES: u32 = 7_000;
    for attempt in 0..TRIPLES {
        let triple = (process::id() + attempt * 101) % TRIPLES;
        let port = u16::try_from(FIRST + 3 * triple).map_err(io::Error::other)?;
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).await;
        let third = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 2)).await;
        if let (Ok(_), Ok(_), Ok(third)) = (first, second, third) {
            return Ok((port, third));
        }
    }
    Err(io::Error::other("there are no three consecutive free ports"))
}

fn set_default(command: &mut Command, name: &str, value: impl FnOnce() -> Option<OsString>) {
    if env::var_os(name).is_none()
        && let Some(value) = value()
    {
        command.env(name, value);
    }
}
