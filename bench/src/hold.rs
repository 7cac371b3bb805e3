//! Child processes that hold idle connections, because open files are limited per process.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{
    clients::{AT_ONCE, Clients, Expected, Rooms, Target},
    frame, process, session,
};

/// Before it is idle every connection carries one message of this many bytes, so that buffers that are allocated with
/// the first message count.
const MESSAGE_BYTES: usize = 32;
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of open files of a process besides its connections.
pub const SPARE_FILES: u64 = 200;

/// Opens connections, sends one message over each, and answers pings until standard input is closed.
#[derive(Args, Clone, Debug)]
pub struct HoldArgs {
    /// The server.
    #[arg(long)]
    address: SocketAddrV4,
    /// The path of an echoing WebSocket.
    #[arg(long)]
    path: String,
    /// The number of connections.
    #[arg(long)]
    connections: usize,
    /// The first source address.
    #[arg(long)]
    source: Ipv4Addr,
    /// All sessions join one room, each as another user.
    #[arg(long)]
    one_room: bool,
}

/// The child process. It prints `held N` when all connections are open and idle.
///
/// # Errors
/// When a connection fails or ends.
pub fn run(arguments: &HoldArgs) -> Result<()> {
    process::raise_open_files(arguments.connections as u64 + SPARE_FILES)?;
    let target = Target {
        address: arguments.address,
        path: Some(arguments.path.clone()),
    };
    let text = frame::text(MESSAGE_BYTES);
    let rooms = if arguments.one_room {
        Rooms::One
    } else {
        Rooms::OnePerThousand
    };
    let expected = if target.is_session() {
        Expected::Messages {
            text: text.clone(),
            rooms,
        }
    } else {
        Expected::Copies(frame::server_text(&text))
    };
    let mut clients = Clients::connect(&target, arguments.connections, arguments.source, expected)?;
    if rooms == Rooms::One {
        clients.await_users(arguments.connections)?;
    }
    if target.is_session() {
        publish_to_rooms(&mut clients, rooms, &text)?;
    } else {
        echo(&mut clients, &text)?;
    }
    println!("held {}", clients.count());
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        ensure!(
            clients.receive(Duration::from_secs(60))?.is_empty(),
            "an unexpected message arrived"
        );
    }
}

/// Sends a message over every connection and waits for its echo.
fn echo(clients: &mut Clients, text: &str) -> Result<()> {
    let text = frame::masked_text(text);
    for first in (0..clients.count()).step_by(AT_ONCE) {
        let clients_now = first..clients.count().min(first + AT_ONCE);
        let mut missing = clients_now.len() as u64;
        for client in clients_now {
            clients.send(client, &text)?;
        }
        let deadline = Instant::now() + RECEIVE_TIMEOUT;
        while missing > 0 {
            ensure!(Instant::now() < deadline, "{missing} echoes are missing");
            missing -= received(clients)?;
        }
    }
    Ok(())
}

/// The first member of each room publishes, and every member of the room receives it.
fn publish_to_rooms(clients: &mut Clients, rooms: Rooms, text: &str) -> Result<()> {
    let room = |index| rooms.room(index);
    for first in (0..clients.count()).filter(|&index| index == 0 || room(index) != room(index - 1)) {
        clients.send(first, &session::publish(&room(first), 1, text))?;
        let members = (first..clients.count()).take_while(|&index| room(index) == room(first));
        let mut missing = members.count() as u64;
        let deadline = Instant::now() + RECEIVE_TIMEOUT;
        while missing > 0 {
            ensure!(Instant::now() < deadline, "{missing} deliveries are missing");
            missing -= received(clients)?;
        }
    }
    Ok(())
}

fn received(clients: &mut Clients) -> Result<u64> {
    Ok(clients
        .receive(RECEIVE_TIMEOUT)?
        .iter()
        .map(|arrival| arrival.messages)
        .sum())
}

/// A child process that holds connections until it is dropped.
#[derive(Debug)]
pub struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Holder {
    /// Opens `connections` to the WebSocket at `path` of `address` and returns when all of them are idle.
    ///
    /// # Errors
    /// When a connection fails; the child's error is on standard error.
    pub fn start(
        address: SocketAddrV4,
        path: &str,
        connections: usize,
        source: Ipv4Addr,
        rooms: Rooms,
    ) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", "--address", &address.to_string(), "--path", path])
            .args([
                "--connections",
                &connections.to_string(),
                "--source",
                &source.to_string(),
            ])
            .args((rooms == Rooms::One).then_some("--one-room"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stdin = child.stdin.take();
        let holder = Self { child, stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim_end() != format!("held {connections}") {
            bail!("{connections} connections could not be held");
        }
        Ok(holder)
    }

    /// Whether all its connections are still open.
    #[must_use]
    pub fn is_holding(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}
