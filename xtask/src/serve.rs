//! `cargo xtask serve`: the page and the server, built and running.

use crate::{
    page,
    run::{self, Group},
};
use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// The port of the page on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Rebuild and reload the page whenever a file of it changes
    #[arg(long)]
    watch: bool,
}

/// The server's name in Cargo and of its program.
const SERVER: &str = "talkback-server";

/// Builds and runs the page and the server until Ctrl-C.
///
/// # Errors
/// Something does not build or start.
pub(crate) fn run(arguments: &ServeArgs) -> anyhow::Result<()> {
    if arguments.watch {
        watch(arguments.port)
    } else {
        serve(arguments.port)
    }
}

fn serve(port: u16) -> anyhow::Result<()> {
    page::build()?;
    let groups = Groups::default();
    groups.stop_on_ctrl_c()?;
    let (server, address) = start_server("release", &["--flood", "--listen", &format!("127.0.0.1:{port}")])?;
    println!("Talkback is at http://{address}/ (Ctrl-C stops it)");
    groups.wait_for(server)
}

/// Trunk's proxy cannot stand between the page and the server: it drops the subprotocol, it opens the page's socket before
/// it dials the server, so that a refusal looks like a lost connection, and it forwards a Host without the port, which fails
/// the Origin check. So the page is told the server's address when it is compiled and connects straight to it; the server
/// lets it in because both are on loopback addresses.
fn watch(port: u16) -> anyhow::Result<()> {
    if port == 0 {
        bail!("--watch needs a port of its own: leave --port away or name one");
    }
    page::set_up()?;
    let groups = Groups::default();
    groups.stop_on_ctrl_c()?;
    let (server, address) = start_server("debug", &["--flood", "--listen", "127.0.0.1:0"])?;
    groups.add(&server);
    let mut trunk = page::trunk("serve");
    trunk
        .args(["--address", "127.0.0.1", "--port", &port.to_string()])
        .env("TALKBACK_SERVER", format!("http://{address}"));
    let trunk = Group::spawn(&mut trunk)?;
    println!("Talkback is at http://127.0.0.1:{port}/ once Trunk has built it (Ctrl-C stops it)");
    groups.wait_for(trunk)
}

/// Builds the server, starts it and returns it with the address it listens on.
pub(crate) fn start_server(profile: &str, arguments: &[&str]) -> anyhow::Result<(Group, String)> {
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
    let mut server = Group::spawn(&mut command)?;
    let mut stdout = BufReader::new(
        server
            .child()
            .stdout
            .take()
            .context("the server's output is not piped")?,
    );
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    let Some(address) = line.trim().strip_prefix("listening on http://") else {
        bail!("the server did not start; its reason stands above. If the port is taken, choose another: --port 0");
    };
    let address = address.to_owned();
    // A full pipe would stop the server.
    thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    Ok((server, address))
}

/// The process groups to stop on Ctrl-C.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<Vec<u32>>>);

impl Groups {
    fn add(&self, group: &Group) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(group.id());
    }

    /// The first Ctrl-C asks the children to end in their own time, the second ends them.
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
                run::signal(group, next);
            }
            next = Signal::SIGKILL;
        })
        .context("cannot listen for Ctrl-C")
    }

    /// Waits for this child; the others end with it.
    fn wait_for(&self, mut group: Group) -> anyhow::Result<()> {
        self.add(&group);
        let status = group.child().wait()?;
        match status.code() {
            Some(0) | None => Ok(()),
            Some(_) => bail!("it ended by itself ({status}); its reason stands above"),
        }
    }
}
