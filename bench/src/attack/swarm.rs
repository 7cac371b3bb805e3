//! Many connections on one epoll loop. Each reads or does not read, and sends as fast as the server reads. Refusals and
//! closes are events, not errors.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use super::wire;
use crate::{frame, session};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The maximum of reads and writes of one connection per turn.
const CALLS_A_TURN: usize = 8;

/// How a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// After the handshake it reads nothing.
    Never,
    /// It reads and drops the bytes.
    Discard,
    /// It reads text messages, and answers pings.
    Lines,
}

/// How to open a connection.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) source: Ipv4Addr,
    /// The head of the request, and bytes that are sent without waiting for the response.
    pub(super) request: Vec<u8>,
    /// Whether the response must be 101; otherwise the response ends with the connection.
    pub(super) websocket: bool,
    pub(super) reading: Reading,
    /// The size of this end's socket buffers; if it is small, unread bytes wait in the server.
    pub(super) buffers: Option<usize>,
}

/// An event of a connection.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The WebSocket is open.
    Opened,
    /// The response was not 101, or the connection was not established.
    Refused,
    /// A text message was received.
    Text(&'a str),
    /// A plain response is complete, and its status was 200.
    Answered,
    /// The server closed or reset an open connection.
    Closed,
}

/// The counters of all connections together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) attempts: u64,
    pub(super) opened: u64,
    pub(super) refused: u64,
    pub(super) answered: u64,
    pub(super) closed: u64,
    pub(super) written: u64,
    pub(super) read: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Head,
    Frames,
    Plain,
    Ended,
}

pub(super) struct Peer {
    stream: Option<TcpStream>,
    stage: ConnectionState,
    reading: Reading,
    writable: bool,
    readable: bool,
    status: u16,
    out: Vec<u8>,
    rest: Vec<u8>,
    flood: Option<Rc<[u8]>>,
    flooded: usize,
}

impl Peer {
    /// Queues these bytes; they are sent when the connection is writable.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        let frame = frame::masked_text(text);
        self.send(&frame);
    }

    /// The number of bytes that are not yet written.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Sends whole copies of these bytes as long as the connection is writable.
    pub(super) fn flood(&mut self, bytes: &Rc<[u8]>) {
        self.flood = Some(Rc::clone(bytes));
        self.flooded = 0;
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some() && self.stage == ConnectionState::Frames
    }

    /// Whether the TCP connection is established.
    pub(super) fn is_connected(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.peer_addr().is_ok())
    }

    /// Sets how the connection reads from now on.
    pub(super) fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
        self.readable = true;
    }

    /// Ends the connection, without an event.
    pub(super) fn cut(&mut self) {
        self.stream = None;
        self.stage = ConnectionState::Ended;
        self.out = Vec::new();
        self.rest = Vec::new();
    }

    fn flush(&mut self) -> Result<u64, ErrorKind> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let mut written = 0;
        for _ in 0..CALLS_A_TURN {
            let flood = self.flood.as_ref().filter(|_| self.stage == ConnectionState::Frames);
            let bytes = match flood {
                _ if !self.out.is_empty() && self.flooded == 0 => &self.out[..],
                Some(flood) => &flood[self.flooded..],
                None => break,
            };
            match stream.write(bytes) {
                Ok(length) => {
                    written += length as u64;
                    if !self.out.is_empty() && self.flooded == 0 {
                        self.out.drain(..length);
                    } else if let Some(flood) = flood {
                        self.flooded = (self.flooded + length) % flood.len();
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    self.writable = false;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.kind()),
            }
        }
        Ok(written)
    }

    fn wants_to_write(&self) -> bool {
        self.writable && (!self.out.is_empty() || (self.flood.is_some() && self.stage == ConnectionState::Frames))
    }

    fn wants_to_read(&self) -> bool {
        self.readable
            && self.stream.is_some()
            && (self.reading != Reading::Never || self.stage == ConnectionState::Head)
    }
}

/// Receives the events of a swarm.
pub(super) trait EventHandler {
    fn on(&mut self, index: usize, peer: &mut Peer, event: Event<'_>);
}

/// Ignores the events; the counters still count them.
pub(super) struct IgnoreEvents;

impl EventHandler for IgnoreEvents {
    fn on(&mut self, _: usize, _: &mut Peer, _: Event<'_>) {}
}

impl<F: FnMut(usize, &mut Peer, Event<'_>)> EventHandler for F {
    fn on(&mut self, index: usize, peer: &mut Peer, event: Event<'_>) {
        self(index, peer, event);
    }
}

pub(super) struct Swarm {
    address: SocketAddrV4,
    epoll: OwnedFd,
    pub(super) peers: Vec<Peer>,
    events: Vec<epoll::Event>,
    buffer: Box<[u8]>,
    pub(super) counts: Counts,
    /// Connections that the next turn serves even without an epoll event.
    busy: Vec<usize>,
}

impl Swarm {
    pub(super) fn new(address: SocketAddrV4) -> Result<Self> {
        Self::reading(address, 64 * 1024)
    }

    /// A swarm that reads at most this many bytes per call.
    pub(super) fn reading(address: SocketAddrV4, bytes: usize) -> Result<Self> {
        Ok(Self {
            address,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            peers: Vec::new(),
            events: vec![
                epoll::Event {
                    flags: epoll::EventFlags::empty(),
                    data: epoll::EventData::new_u64(0)
                };
                1024
            ],
            buffer: vec![0; bytes].into_boxed_slice(),
            counts: Counts::default(),
            busy: Vec::new(),
        })
    }

    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Begins a connection and returns its index. `place` is the index of an ended connection, whose place the new one
    /// takes.
    pub(super) fn open(&mut self, opening: &Opening, place: Option<usize>) -> Result<usize> {
        self.counts.attempts += 1;
        let index = place.unwrap_or(self.peers.len());
        let stream = connect(self.address, opening)?;
        epoll::add(
            &self.epoll,
            &stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET,
        )?;
        let peer = Peer {
            stream: Some(stream),
            stage: if opening.websocket {
                ConnectionState::Head
            } else {
                ConnectionState::Plain
            },
            reading: opening.reading,
            writable: false,
            readable: false,
            status: 0,
            out: opening.request.clone(),
            rest: Vec::new(),
            flood: None,
            flooded: 0,
        };
        if index == self.peers.len() {
            self.peers.push(peer);
        } else {
            self.peers[index] = peer;
        }
        Ok(index)
    }

    /// Waits at most `timeout` for events and handles them.
    pub(super) fn turn(&mut self, timeout: Duration, handler: &mut impl EventHandler) -> Result<()> {
        let timeout = if self.busy.is_empty() { timeout } else { Duration::ZERO };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs())?,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let ready = match epoll::wait(&self.epoll, self.events.as_mut_slice(), Some(&timeout)) {
            Err(Errno::INTR) => 0,
            ready => ready?,
        };
        let mut now = std::mem::take(&mut self.busy);
        for event in &self.events[..ready] {
            let index = usize::try_from(event.data.u64())?;
            let peer = &mut self.peers[index];
            let gone = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
            let flags = event.flags;
            peer.writable |= flags.intersects(epoll::EventFlags::OUT | gone);
            peer.readable |= flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | gone);
            if flags.intersects(gone) && peer.reading == Reading::Never {
                // A connection that does not read ends with a reset too.
                peer.reading = Reading::Discard;
            }
            now.push(index);
        }
        now.sort_unstable();
        now.dedup();
        for index in now {
            self.serve(index, handler);
        }
        Ok(())
    }

    /// Serves a connection in the next turn, because it was changed outside of an event handler.
    pub(super) fn wake(&mut self, index: usize) {
        self.busy.push(index);
    }

    /// Queues a text message on a connection.
    pub(super) fn text(&mut self, index: usize, text: &str) {
        self.peers[index].text(text);
        self.wake(index);
    }

    fn serve(&mut self, index: usize, handler: &mut impl EventHandler) {
        let peer = &mut self.peers[index];
        if peer.stream.is_none() {
            return;
        }
        let mut gone = false;
        if peer.wants_to_write() {
            match peer.flush() {
                Ok(written) => self.counts.written += written,
                Err(_) => gone = true,
            }
        }
        for _ in 0..CALLS_A_TURN {
            let peer = &mut self.peers[index];
            if !peer.wants_to_read() {
                break;
            }
            let Some(stream) = &mut peer.stream else { break };
            match stream.read(&mut self.buffer) {
                Ok(0) => gone = true,
                Ok(length) => {
                    self.counts.read += length as u64;
                    accept(index, peer, &self.buffer[..length], &mut self.counts, handler);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => peer.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => gone = true,
            }
            break;
        }
        let peer = &mut self.peers[index];
        if gone && peer.stream.is_some() {
            ended(index, peer, &mut self.counts, handler);
        }
        let peer = &mut self.peers[index];
        if peer.wants_to_write() || peer.wants_to_read() {
            self.busy.push(index);
        }
    }

    /// Runs turns until `until` returns true or the deadline has passed. Returns whether `until` returned true.
    pub(super) fn run(
        &mut self,
        deadline: Instant,
        handler: &mut impl EventHandler,
        mut until: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool> {
        loop {
            if until(self) {
                return Ok(true);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(false);
            };
            self.turn(left.min(Duration::from_millis(2)), handler)?;
        }
    }
}

fn ended(index: usize, peer: &mut Peer, counts: &mut Counts, handler: &mut impl EventHandler) {
    let stage = peer.stage;
    let status = peer.status;
    peer.cut();
    let event = match stage {
        ConnectionState::Frames => {
            counts.closed += 1;
            Event::Closed
        }
        ConnectionState::Plain if status == 200 => {
            counts.answered += 1;
            Event::Answered
        }
        ConnectionState::Head | ConnectionState::Plain => {
            counts.refused += 1;
            Event::Refused
        }
        ConnectionState::Ended => return,
    };
    handler.on(index, peer, event);
}

fn accept(index: usize, peer: &mut Peer, bytes: &[u8], counts: &mut Counts, handler: &mut impl EventHandler) {
    if peer.stage == ConnectionState::Plain {
        if peer.status == 0 {
            peer.rest.extend_from_slice(bytes);
            peer.status = status(&peer.rest).unwrap_or_default();
        }
        return;
    }
    if peer.reading != Reading::Lines && peer.stage == ConnectionState::Frames {
        return;
    }
    let mut all = std::mem::take(&mut peer.rest);
    all.extend_from_slice(bytes);
    let mut bytes = &all[..];
    if peer.stage == ConnectionState::Head {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            peer.rest = all;
            return;
        };
        if status(bytes) != Some(101) {
            counts.refused += 1;
            peer.cut();
            handler.on(index, peer, Event::Refused);
            return;
        }
        bytes = &bytes[end + 4..];
        peer.stage = ConnectionState::Frames;
        counts.opened += 1;
        handler.on(index, peer, Event::Opened);
    }
    if peer.reading != Reading::Lines {
        return;
    }
    while let Some((first, payload, rest)) = session::split_frame(bytes) {
        bytes = rest;
        match first {
            TEXT => {
                if let Ok(text) = str::from_utf8(payload) {
                    if text.contains("{\"ping\":") {
                        peer.text(wire::PONG);
                    }
                    handler.on(index, peer, Event::Text(text));
                }
            }
            PING => peer.send(&frame::masked(PONG, payload)),
            CLOSE => {
                ended(index, peer, counts, handler);
                return;
            }
            _ => {}
        }
        if peer.stage != ConnectionState::Frames {
            return;
        }
    }
    peer.rest = bytes.to_vec();
}

fn status(head: &[u8]) -> Option<u16> {
    str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

fn connect(address: SocketAddrV4, opening: &Opening) -> Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(bytes) = opening.buffers {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    }
    rustix::net::bind(&socket, &SocketAddr::from((opening.source, 0)))?;
    match rustix::net::connect(&socket, &SocketAddr::from(address)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}
