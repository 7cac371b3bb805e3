//! `cargo xtask serve`: the page and the server, built and running.

use crate::{page, run};
use anyhow::{Context, bail};
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use talkback_launch::{Process, Server, Signal, signal_group};

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// The port of the page on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Rebuild and reload the page whenever a file of it changes
    #[arg(long)]
    watch: bool,
    /// The sqlite file that keeps the messages. By default target/serve/log.db, which only one server may use
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// The server's name in Cargo and of its program.
const SERVER: &str = "talkback-server";
/// It listens within milliseconds; the rest is for a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Builds and runs the page and the server until Ctrl-C.
///
/// # Errors
/// Something does not build or start.
pub(crate) fn run(arguments: &ServeArgs) -> anyhow::Result<()> {
    let engine = engine(arguments.data.clone())?;
    if arguments.watch {
        watch(arguments.port, &engine)
    } else {
        serve(arguments.port, &engine)
    }
}

/// The server's `--engine` for this file.
fn engine(data: Option<PathBuf>) -> anyhow::Result<String> {
    let data = match data {
        Some(data) => data,
        None => {
            let folder = run::target().join("serve");
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            folder.join("log.db")
        }
    };
    let data = data.to_str().context("the path of --data is not UTF-8")?;
    Ok(format!("sqlite:{data}"))
}

fn serve(port: u16, engine: &str) -> anyhow::Result<()> {
    page::build()?;
    let groups = Groups::default();
    groups.stop_on_ctrl_c()?;
    let address = format!("127.0.0.1:{port}");
    let mut server = start_server("release", &["--flood", "--listen", &address, "--engine", engine])?;
    println!("Talkback is at http://{}/ (Ctrl-C stops it)", server.address());
    groups.wait_for(server.process())
}

/// Trunk's proxy cannot stand between the page and the server: it drops the subprotocol, it opens the page's socket
/// before it dials the server, so that a refusal looks like a lost connection, and it forwards a Host without the port,
/// which fails the Origin check. So the server's address is compiled into the page, which connects to it directly; the
/// server accepts its origin because both are on loopback addresses.
fn watch(port: u16, engine: &str) -> anyhow::Result<()> {
    if port == 0 {
        bail!("--watch needs a fixed port: omit --port or name one");
    }
    page::set_up()?;
    let groups = Groups::default();
    groups.stop_on_ctrl_c()?;
    let mut server = start_server("debug", &["--flood", "--listen", "127.0.0.1:0", "--engine", engine])?;
    groups.add(server.id());
    let mut trunk = page::trunk("serve");
    trunk
        .args(["--address", "127.0.0.1", "--port", &port.to_string()])
        .env("TALKBACK_SERVER", format!("http://{}", server.address()));
    let mut trunk = Process::spawn_group(&mut trunk)?;
    println!("Talkback is at http://127.0.0.1:{port}/ once Trunk has built it (Ctrl-C stops it)");
    let ended = groups.wait_for(&mut trunk);
    server.process().stop()?;
    ended
}

/// Builds the server and starts it in a process group of its own: Ctrl-C in the terminal reaches only this program,
/// which then stops its children once, so that a server drains instead of taking a second signal as a demand to end at
/// once.
pub(crate) fn start_server(profile: &str, arguments: &[&str]) -> anyhow::Result<Server> {
    let mut build = run::cargo();
    build.args(["build", "--package", SERVER]);
    if profile == "release" {
        build.arg("--release");
    }
    run::succeed(&mut build)?;
    let mut command = Command::new(run::target().join(profile).join(SERVER));
    command
        .args(arguments)
        .args(["--assets", page::DIST])
        .stdout(Stdio::piped());
    let server = Process::spawn_group(&mut command)?;
    Server::wait(server, START_DEADLINE)
        .context("the server did not start; its reason stands above. If the port is taken, choose another: --port 0")
}

/// The process groups to stop on Ctrl-C.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<Vec<u32>>>);

impl Groups {
    fn add(&self, group: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(group);
    }

    /// The first Ctrl-C sends SIGTERM to the groups, the second SIGKILL.
    fn stop_on_ctrl_c(&self) -> anyhow::Result<()> {
        let groups = self.clone();
        let mut next = Signal::SIGTERM;
        ctrlc::set_handler(move || {
            let groups = groups.0.lock().unwrap_or_else(PoisonError::into_inner);
            if groups.is_empty() {
                // Still building: Cargo and Trunk get the terminal's Ctrl-C themselves.
                std::process::exit(130);
            }
            for &group in groups.iter() {
                signal_group(group, next);
            }
            next = Signal::SIGKILL;
        })
        .context("cannot listen for Ctrl-C")
    }

    /// Waits until this process has ended, by itself or by Ctrl-C.
    fn wait_for(&self, process: &mut Process) -> anyhow::Result<()> {
        self.add(process.id());
        let status = process.wait()?;
        match status.code() {
            Some(0) | None => Ok(()),
            Some(_) => bail!("it ended by itself ({status}); its reason stands above"),
        }
    }
}
