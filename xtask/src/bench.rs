//! `cargo xtask bench`: builds Talkback's server and the servers it is compared with, measures them, writes the report.

use crate::{browsers, debian, page, run, tools};
use anyhow::Context;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Measure the page in Chromium instead, and write its tables in docs/browser.md: about 10 minutes
    #[arg(long, conflicts_with_all = ["seconds", "before", "quick"])]
    page: bool,
    /// Measure the engines and Django Channels instead, and write docs/engines.json and their part of docs/bench.md: about 9
    /// minutes with 5 rounds
    #[arg(long, conflicts_with_all = ["page", "before"])]
    engines: bool,
    /// With --engines: only the measurements whose name contains this, such as `redis: acks`; may be repeated
    #[arg(long, value_name = "NAME", requires = "engines")]
    only: Vec<String>,
    /// Everything once and briefly, written to target/: shows that the bench works, not how fast the servers are
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every server carries each load once [default: 9]
    #[arg(long, conflicts_with = "quick")]
    rounds: Option<usize>,
    /// How long a server carries a load in a round [default: 1.5]
    #[arg(long, conflicts_with = "quick")]
    seconds: Option<f64>,
    /// An earlier talkback-server to compare with, too
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// An option for it besides --listen, such as --before-option=--session-line-rate=0; may be repeated
    #[arg(long, value_name = "OPTION", requires = "before")]
    before_option: Vec<String>,
}

pub(crate) fn run(arguments: &BenchArgs) -> anyhow::Result<()> {
    if arguments.page {
        return measure_page(arguments.rounds.unwrap_or(5));
    }
    if arguments.engines {
        return measure_engines(arguments);
    }
    let profile = if arguments.quick { "dev" } else { "release" };
    let packages = ["--package", "talkback-server", "--package", "talkback-bench"];
    run::succeed(
        run::cargo()
            .args(["build", "--bins", "--profile", profile])
            .args(packages),
    )?;
    let workspace = Workspace::read()?;
    let folder = workspace.target.join(if arguments.quick { "debug" } else { "release" });
    let mut bench = Command::new(folder.join("talkback-bench"));
    bench.arg("run").arg("--out");
    if arguments.quick {
        bench.arg(workspace.target.join("bench")).arg("--quick");
    } else {
        bench.arg("docs");
    }
    if let Some(program) = uwebsockets(&workspace)? {
        bench.arg("--uwebsockets").arg(program);
    }
    if let Some(rounds) = arguments.rounds {
        bench.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(seconds) = arguments.seconds {
        bench.args(["--seconds", &seconds.to_string()]);
    }
    if let Some(before) = &arguments.before {
        bench.arg("--before").arg(before);
    }
    let options = arguments.before_option.iter();
    bench.args(options.map(|option| format!("--before-option={option}")));
    run::succeed(&mut bench)
}

/// The Python with Django Channels, in a folder of its own.
const PYTHON: &str = "target/channels";
/// The packages of the chat with Channels: their versions are in Cargo.toml.
const CHANNELS: [&str; 5] = ["channels", "channels_redis", "uvicorn", "uvloop", "websockets"];

fn measure_engines(arguments: &BenchArgs) -> anyhow::Result<()> {
    debian::set_up(&[debian::REDIS])?;
    let python = channels()?;
    let build = |programs: &[&str]| run::succeed(run::cargo().args(["build", "--release", "--package"]).args(programs));
    build(&["talkback-server", "--bins", "--examples"])?;
    build(&["talkback-bench", "--bins"])?;
    let release = run::target().join("release");
    let program = release.join("talkback-bench");
    let (out, figures) = if arguments.quick {
        (run::target().join("bench"), run::target().join("bench/engines.json"))
    } else {
        (PathBuf::from("docs"), PathBuf::from("docs/engines.json"))
    };
    fs::create_dir_all(&out)?;
    let mut bench = Command::new(&program);
    bench.arg("engines").arg("--figures").arg(&figures);
    bench.arg("--examples").arg(release.join("examples"));
    if let Some(python) = python {
        bench.arg("--python").arg(python);
    }
    if arguments.quick {
        bench.args(["--quick", "--rounds", "1"]);
    }
    for (option, value) in [
        ("--rounds", arguments.rounds.map(|rounds| rounds.to_string())),
        ("--seconds", arguments.seconds.map(|seconds| seconds.to_string())),
    ] {
        bench.args(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    bench.args(arguments.only.iter().flat_map(|name| ["--only", name]));
    run::succeed(&mut bench)?;
    if arguments.quick {
        fs::copy("docs/bench.md", out.join("bench.md"))?;
    }
    run::succeed(Command::new(&program).arg("engines-page").arg("--out").arg(&out))
}

/// Installs Django Channels in a virtual environment unless it is there; `None` where no Python is.
fn channels() -> anyhow::Result<Option<PathBuf>> {
    let folder = std::path::absolute(PYTHON)?;
    let (python, installed) = (folder.join("bin/python"), folder.join("installed"));
    let packages = CHANNELS.map(|name| Ok(format!("{name}=={}", tools::pinned(name)?)));
    let packages = packages.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|names| names == packages.join(" ")) {
        return Ok(Some(python));
    }
    if which::which("python3").is_err() {
        eprintln!("xtask: there is no python3: Django Channels is left out of the comparison");
        return Ok(None);
    }
    eprintln!(
        "xtask: installing {}: half a minute, only this once",
        packages.join(", ")
    );
    run::succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("Python 3 with venv is needed; on Debian: apt-get install python3-venv")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run::succeed(Command::new(&python).args(install).args(&packages))?;
    fs::write(installed, packages.join(" "))?;
    Ok(Some(python))
}

/// What a page costs. Each table stands after a comment with the command that writes it.
const PAGE_DOCUMENT: &str = "docs/browser.md";

/// The heads of the tables of the page, of the libraries and of a session.
const PAGE_HEAD: &str = "| | target | median (least to greatest) |\n|---|---|---|\n";
const PEERS_HEAD: &str = "| | plain JavaScript | web-sys alone | callbacks of this crate | gloo-net | stream and sink of this crate | callbacks to web-sys | callbacks to JavaScript | stream to gloo-net | stream to JavaScript |\n|---|---|---|---|---|---|---|---|---|---|\n";
const BURST_HEAD: &str = "| | the page's CPU time | until all were read |\n|---|---|---|\n";

fn measure_page(rounds: usize) -> anyhow::Result<()> {
    page::build()?;
    browsers::set_up(browsers::Choice::Chromium)?;
    run::succeed(run::cargo().args(["build", "--release", "--package", "talkback-server"]))?;
    let target = run::target();
    let server = fs::canonicalize(target.join("release/talkback-server"))?;
    let figures = std::path::absolute(target.join("page-figures"))?;
    fs::create_dir_all(&figures)?;
    let mut speed = run::cargo();
    speed
        .args(["test", "--workspace", "--test", "speed", "--", "--nocapture"])
        // One after the other: a measurement has the machine for itself.
        .arg("--test-threads=1")
        .env("TEST_BROWSERS", "chromium")
        .env("TEST_SERVER_BIN", &server)
        .env("TEST_ROUNDS", rounds.to_string())
        .env("TEST_FIGURES", &figures);
    run::succeed(&mut speed)?;
    for name in ["page", "kept"] {
        let rows = fs::read_to_string(figures.join(format!("{name}.md")))?;
        write_table(
            PAGE_DOCUMENT,
            &format!("cargo xtask bench --page: {name}"),
            &format!("{PAGE_HEAD}{rows}"),
        )?;
    }
    let rows = measure_client("the_cost_of_a_message", &server)?;
    write_table(
        PAGE_DOCUMENT,
        "cargo xtask bench --page: peers",
        &format!("{PEERS_HEAD}{rows}"),
    )?;
    let rows = measure_client("a_burst_of_a_room", &server)?;
    write_table(
        PAGE_DOCUMENT,
        "cargo xtask bench --page: burst",
        &format!("{BURST_HEAD}{rows}"),
    )
}

/// Runs one measurement of the client crate in Chromium. Returns the rows of its table, which it writes to the console.
fn measure_client(test: &str, server: &Path) -> anyhow::Result<String> {
    // Optimised, because it has the publishers of the measurements.
    let runner = "cargo run --quiet --release --package talkback-testbed --bin wasm-test-runner --";
    let output = run::cargo()
        .args([
            "test",
            "--release",
            "--package",
            "talkback-client",
            "--target",
            "wasm32-unknown-unknown",
        ])
        .args(["--test", "measure", "--", "--include-ignored", "--nocapture", test])
        .env("TEST_SERVER_BIN", server)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        // The bindings of tests check each call between WebAssembly and JavaScript; those of applications do not.
        .env("WASM_BINDGEN_NO_DEBUG", "1")
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    anyhow::ensure!(output.status.success(), "the measurement {test} failed");
    let mut rows = String::new();
    for row in text.lines().filter_map(|line| Some(&line[line.find("| ")?..])) {
        rows += row.trim_end();
        rows.push('\n');
    }
    anyhow::ensure!(!rows.is_empty(), "the measurement {test} wrote no rows");
    Ok(rows)
}

/// Writes a table of a document in place of the one after this comment.
///
/// # Errors
/// The document has no such comment.
pub(crate) fn write_table(document: &str, comment: &str, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(document)?;
    let start = format!("<!-- {comment} -->\n");
    let (before, rest) = text
        .split_once(&start)
        .with_context(|| format!("{document} has no {start}"))?;
    let (_, after) = rest
        .split_once("<!-- end -->")
        .with_context(|| format!("{document} has no end of {start}"))?;
    Ok(fs::write(
        document,
        format!("{before}{start}{table}<!-- end -->{after}"),
    )?)
}

/// Writes the tables of docs/scaling.md and docs/operations.md from docs/engines.json.
///
/// # Errors
/// The figures are missing, or a document has no place for a table.
pub(crate) fn scale() -> anyhow::Result<()> {
    // Optimised: it simulates hundreds of thousands of clients.
    run::succeed(run::cargo().args([
        "build",
        "--release",
        "--package",
        "talkback-bench",
        "--bin",
        "talkback-bench",
    ]))?;
    let output = Command::new(run::target().join("release/talkback-bench"))
        .args(["scaling", "--figures", "docs/engines.json"])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "the tables could not be made");
    let tables: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&output.stdout)?;
    for (document, tables) in &tables {
        for (name, table) in tables {
            write_table(document, &format!("cargo xtask scaling: {name}"), table)?;
        }
        println!("wrote the tables of {document}");
    }
    Ok(())
}

struct Workspace {
    target: PathBuf,
    /// The folder of the C++ sources that the crate libuwebsockets-sys carries.
    uwebsockets: PathBuf,
}

impl Workspace {
    fn read() -> anyhow::Result<Self> {
        let output = run::cargo()
            .args(["metadata", "--format-version", "1", "--locked"])
            .stderr(Stdio::inherit())
            .output()?;
        let metadata: Value = serde_json::from_slice(&output.stdout).context("`cargo metadata` failed")?;
        let packages = metadata["packages"]
            .as_array()
            .context("`cargo metadata` lists no packages")?;
        let package = packages.iter().find(|package| package["name"] == "libuwebsockets-sys");
        let manifest = package.and_then(|package| package["manifest_path"].as_str());
        let manifest = manifest.context("talkback-bench no longer depends on libuwebsockets-sys")?;
        Ok(Self {
            target: metadata["target_directory"]
                .as_str()
                .context("no target directory")?
                .into(),
            uwebsockets: Path::new(manifest).with_file_name("uWebSockets"),
        })
    }
}

/// Compiles the reference server in C++ unless that is done; `None` where no C++ compiler is.
fn uwebsockets(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    let (cc, cxx) = (compiler("CC", "cc"), compiler("CXX", "c++"));
    if which::which(&cc).is_err() || which::which(&cxx).is_err() {
        eprintln!("xtask: no C++ compiler here: uWebSockets is left out of the comparison");
        return Ok(None);
    }
    let folder = workspace.target.join("bench");
    let (library, program) = (folder.join("usockets.o"), folder.join("uwebsockets"));
    let source = Path::new("bench/reference/uwebsockets.cpp");
    if is_newer(&program, source) {
        return Ok(Some(program));
    }
    eprintln!("xtask: compiling uWebSockets: about 15 seconds, only this once");
    fs::create_dir_all(&folder)?;
    let sockets = workspace.uwebsockets.join("uSockets/src");
    let include = |path: &Path| [OsString::from("-I"), path.as_os_str().to_owned()];
    // The flags of its own build, without TLS and compression and without code for this very processor, as the Rust
    // servers have it. `-r` joins the C files to one object.
    let common = ["-O3", "-DLIBUS_NO_SSL", "-DUWS_NO_ZLIB"];
    let files = [
        "bsd.c",
        "context.c",
        "loop.c",
        "socket.c",
        "udp.c",
        "eventing/epoll_kqueue.c",
    ];
    run::succeed(
        Command::new(cc)
            .args(common)
            .args(include(&sockets))
            .args(["-r", "-o"])
            .arg(&library)
            .args(files.map(|file| sockets.join(file))),
    )?;
    run::succeed(
        Command::new(cxx)
            .args(common)
            .arg("-std=c++20")
            .args(include(&sockets))
            .args(include(&workspace.uwebsockets.join("src")))
            .args([source, &library])
            .arg("-o")
            .arg(&program),
    )?;
    Ok(Some(program))
}

fn compiler(variable: &str, default: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| default.into())
}

fn is_newer(made: &Path, source: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|metadata| metadata.modified());
    matches!((time(made), time(source)), (Ok(made), Ok(source)) if made > source)
}
