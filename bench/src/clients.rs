//! Many WebSocket connections on one thread and one epoll loop.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    ops::Range,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    event::{Timespec, epoll},
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{frame, session};

/// Linux has 28,232 ephemeral ports per address by default; when half of them are in use, finding the next takes
/// milliseconds.
const PORTS_PER_ADDRESS: usize = 10_000;
/// The key and the answer of [RFC 6455, section 1.3](https://www.rfc-editor.org/rfc/rfc6455#section-1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The number of concurrent handshakes, so that opening thousands of connections needs few context switches.
pub const AT_ONCE: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The address and the protocol of a server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's address.
    pub address: SocketAddrV4,
    /// The path and query of the WebSocket; `None` for plain TCP without a handshake.
    pub path: Option<String>,
}

impl Target {
    /// Whether the protocol is `talkback.v1`.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.path.as_deref() == Some(session::PATH)
    }
}

/// What each connection expects to receive.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Copies of these bytes.
    Copies(Vec<u8>),
    /// The messages of a session's room.
    Messages {
        /// The body of each message.
        text: String,
        /// The room and the user of each session.
        rooms: Rooms,
    },
    /// Acknowledgements of the messages that the session publishes; it joins no room.
    Acks,
}

impl Expected {
    /// The first lines of the session with this index.
    fn greeting(&self, index: usize) -> Vec<u8> {
        match self {
            Self::Messages { rooms, .. } => session::greeting(index, &rooms.user(index), &rooms.room(index)),
            Self::Copies(_) | Self::Acks => session::hello(index),
        }
    }
}

/// The rooms that the sessions join, and their users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rooms {
    /// One room per thousand sessions, all as one user.
    OnePerThousand,
    /// One room for all sessions, each as another user.
    One,
    /// One room per so many sessions, each as another user.
    Per(usize),
}

const MEMBERS_PER_ROOM: usize = 1000;

impl Rooms {
    /// The room of the session with this index.
    #[must_use]
    pub fn room(self, index: usize) -> String {
        match self {
            Self::OnePerThousand => format!("bench{}", index / MEMBERS_PER_ROOM),
            Self::One => String::from("bench"),
            Self::Per(sessions) => format!("bench{}", index / sessions),
        }
    }

    fn user(self, index: usize) -> String {
        match self {
            Self::OnePerThousand => String::from("bench"),
            Self::One | Self::Per(_) => format!("user{index}"),
        }
    }
}

/// The timeout until all members have received the number of users in the room: in a large room presence is sent every
/// few seconds only.
const PRESENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Open connections with the same expected messages.
pub struct Clients {
    /// The number of the first session.
    first: usize,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    expected: Expected,
    buffer: Box<[u8]>,
    events: Vec<epoll::Event>,
    arrived: Vec<Arrival>,
}

/// Messages that arrived on one connection with one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The connection, counted from 0 in the order of connecting.
    pub client: usize,
    /// The number of messages.
    pub messages: u64,
    /// The time of the read.
    pub at: Instant,
}

struct Connection {
    // A blocking socket: it is read only after an epoll event, and all bytes in flight fit into the system's buffers.
    stream: TcpStream,
    incoming: Incoming,
}

enum Incoming {
    Copies(frame::Incoming),
    Session(session::Incoming),
}

impl Incoming {
    fn of(target: &Target) -> Self {
        if target.is_session() {
            Self::Session(session::Incoming::default())
        } else {
            Self::Copies(frame::Incoming::default())
        }
    }

    fn accept(&mut self, bytes: &[u8], expected: &Expected, reply: &mut Vec<u8>) -> Result<u64> {
        match (self, expected) {
            (Self::Copies(incoming), Expected::Copies(expected)) => incoming.accept(bytes, expected, reply),
            (Self::Session(incoming), Expected::Messages { text, .. }) => incoming.accept(bytes, Some(text), reply),
            (Self::Session(incoming), Expected::Acks) => incoming.accept(bytes, None, reply),
            _ => bail!("a session expects messages or acknowledgements, and everything else copies"),
        }
    }
}

impl Clients {
    /// Opens `count` connections to `target`. Source addresses count up from `source`, one per 10,000 connections.
    ///
    /// # Errors
    /// When a connection or its handshake fails.
    pub fn connect(target: &Target, count: usize, source: Ipv4Addr, expected: Expected) -> Result<Self> {
        Self::connect_from(target, 0, count, source, expected)
    }

    /// Like [`Clients::connect`], with sessions that are counted from `first`: sessions of other [`Clients`] in the same
    /// rooms have other keys and users.
    ///
    /// # Errors
    /// When a connection or its handshake fails.
    pub fn connect_from(
        target: &Target,
        first: usize,
        count: usize,
        source: Ipv4Addr,
        expected: Expected,
    ) -> Result<Self> {
        let mut clients = Self {
            first,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            expected,
            buffer: vec![0; 256 * 1024].into_boxed_slice(),
            events: vec![
                epoll::Event {
                    flags: epoll::EventFlags::empty(),
                    data: epoll::EventData::new_u64(0)
                };
                1024
            ],
            arrived: Vec::with_capacity(1024),
        };
        clients.grow_to(target, count, source)?;
        Ok(clients)
    }

    /// Opens more connections, until there are `count`.
    ///
    /// # Errors
    /// When a connection or its handshake fails.
    pub fn grow_to(&mut self, target: &Target, count: usize, source: Ipv4Addr) -> Result<()> {
        while self.connections.len() < count {
            let first = self.connections.len();
            let last = count.min(first + AT_ONCE);
            self.add(target, source, first..last)
                .with_context(|| format!("connections {} to {last} of {count}", first + 1))?;
            // Pings must be answered meanwhile, because opening thousands of connections can take longer than the
            // server's timeout.
            let early = self.receive(Duration::ZERO)?;
            ensure!(early.is_empty(), "a message came before any was sent");
        }
        Ok(())
    }

    /// Waits until every session has received this number of users in its room.
    ///
    /// # Errors
    /// When a session has not received it within a minute, or when a message arrives.
    pub fn await_users(&mut self, users: usize) -> Result<()> {
        let users = users as u64;
        let deadline = Instant::now() + PRESENCE_TIMEOUT;
        let is_informed = |connection: &Connection| match &connection.incoming {
            Incoming::Session(session) => session.users() == Some(users),
            Incoming::Copies(_) => false,
        };
        while !self.connections.iter().all(is_informed) {
            let informed = self
                .connections
                .iter()
                .filter(|connection| is_informed(connection))
                .count();
            ensure!(
                Instant::now() < deadline,
                "only {informed} of {} sessions have received that {users} users are in the room",
                self.connections.len()
            );
            let early = self.receive(Duration::from_millis(5))?;
            ensure!(early.is_empty(), "a message came before any was sent");
        }
        Ok(())
    }

    /// Makes the kernel acknowledge at once what a client reads, as it does anyway before the client has sent anything.
    /// After an exchange Linux delays ACKs to send them with data, and over loopback some of these late ACKs use the
    /// server's CPU time.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn acknowledge_at_once(&self) -> Result<()> {
        for connection in &self.connections {
            sockopt::set_tcp_quickack(&connection.stream, true)?;
        }
        Ok(())
    }

    fn add(&mut self, target: &Target, source: Ipv4Addr, indices: Range<usize>) -> Result<()> {
        let mut opened = Vec::new();
        for index in indices {
            let offset = u32::try_from(index / PORTS_PER_ADDRESS)?;
            let source = Ipv4Addr::from_bits(source.to_bits() + offset);
            let mut stream = open(target.address, source).context("cannot connect")?;
            if let Some(path) = &target.path {
                stream.write_all(upgrade_request(target.address, path).as_bytes())?;
            }
            opened.push((index, stream));
        }
        for (index, mut stream) in opened {
            let mut incoming = Incoming::of(target);
            if target.path.is_some() {
                let early = read_upgrade_response(&mut stream).context("the WebSocket handshake failed")?;
                let messages = incoming.accept(&early, &self.expected, &mut Vec::new())?;
                ensure!(messages == 0, "a message came before any was sent");
            }
            if target.is_session() {
                stream.write_all(&self.expected.greeting(self.first + index))?;
                let is_member = matches!(self.expected, Expected::Messages { .. });
                await_welcome(&mut stream, &mut incoming, &self.expected, is_member)
                    .context("the session was not opened")?;
            }
            epoll::add(
                &self.epoll,
                &stream,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            self.connections.push(Connection { stream, incoming });
        }
        Ok(())
    }

    /// The number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// Writes `frames` to one connection, with one system call if the socket's buffer has capacity.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn send(&mut self, client: usize, frames: &[u8]) -> Result<()> {
        self.connections[client]
            .stream
            .write_all(frames)
            .context("cannot write to the server")
    }

    /// Waits for messages, answers pings, and returns the arrivals; none after `timeout`. Reads at least once.
    ///
    /// # Errors
    /// When a connection ends or receives anything but the expected messages.
    pub fn receive(&mut self, timeout: Duration) -> Result<&[Arrival]> {
        self.arrived.clear();
        let deadline = Instant::now() + timeout;
        loop {
            self.read_ready()?;
            if !self.arrived.is_empty() || Instant::now() >= deadline {
                return Ok(&self.arrived);
            }
        }
    }

    /// Reads once from every readable connection.
    fn read_ready(&mut self) -> Result<()> {
        // The client never sleeps, because waking it would use the server's CPU time over loopback, which a remote
        // client does not.
        let ready = match epoll::wait(&self.epoll, self.events.as_mut_slice(), Some(&Timespec::default())) {
            Err(rustix::io::Errno::INTR) => 0,
            ready => ready?,
        };
        for event in &self.events[..ready] {
            let client = usize::try_from(event.data.u64())?;
            let connection = &mut self.connections[client];
            let length = connection
                .stream
                .read(&mut self.buffer)
                .context("cannot read from the server")?;
            ensure!(length > 0, "the server ended connection {client}");
            let mut reply = Vec::new();
            let messages = connection
                .incoming
                .accept(&self.buffer[..length], &self.expected, &mut reply)?;
            if !reply.is_empty() {
                connection.stream.write_all(&reply)?;
            }
            if messages > 0 {
                let at = Instant::now();
                self.arrived.push(Arrival { client, messages, at });
            }
        }
        Ok(())
    }
}

fn open(address: SocketAddrV4, source: Ipv4Addr) -> Result<TcpStream> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The close is a reset without TIME_WAIT, so that thousands of connections per round do not use up the ports.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&socket, &SocketAddr::from(address))?;
    Ok(socket.into())
}

/// The request of the opening handshake for the WebSocket at `path`.
pub(crate) fn upgrade_request(address: SocketAddrV4, path: &str) -> String {
    let subprotocol = if path == session::PATH {
        format!("Sec-WebSocket-Protocol: {}\r\n", session::SUBPROTOCOL)
    } else {
        String::new()
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
}

/// Reads until `welcome`, and until `joined` if the session joins a room.
fn await_welcome(stream: &mut TcpStream, incoming: &mut Incoming, expected: &Expected, is_member: bool) -> Result<()> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let is_done = |incoming: &Incoming| match incoming {
        Incoming::Session(session) if is_member => session.is_joined(),
        Incoming::Session(session) => session.is_welcome(),
        Incoming::Copies(_) => true,
    };
    while !is_done(incoming) {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).context("no answer")?;
        ensure!(length > 0, "the server ended the connection");
        incoming.accept(&chunk[..length], expected, &mut Vec::new())?;
    }
    Ok(stream.set_read_timeout(None)?)
}

/// Reads the response to [`upgrade_request`] and returns the bytes that follow it.
fn read_upgrade_response(stream: &mut TcpStream) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let mut answer = Vec::new();
    let end = loop {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).context("no answer")?;
        ensure!(length > 0, "the server ended the connection");
        answer.extend_from_slice(&chunk[..length]);
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    stream.set_read_timeout(None)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
        bail!("the server answered: {}", head.trim_end());
    }
    Ok(answer.split_off(end))
}
