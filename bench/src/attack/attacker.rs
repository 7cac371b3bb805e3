//! The process that attacks, with one function for each attack. It prints `ready` after its preparations, waits for a
//! line, attacks, and prints its report as JSON.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    rc::Rc,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{
    figures::AttackReport,
    scenarios::{self, ATTACKED_ROOM, Attack, Frame, PUBLISH_KEY, UNREAD_MESSAGE},
    swarm::{Event, IgnoreEvents, Opening, Peer, Reading, Swarm},
    wire,
};
use crate::{clients, frame, process, session};

/// The pause before a connection that was closed or refused is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The rate at which attacks open their connections, unless opening them is the attack: below `--max-connection-rate`.
const CONNECTIONS_PER_SECOND: f64 = 1_500.0;
/// Bytes per write in a flood.
const FLOOD_BYTES: usize = 32 * 1024;
/// The receive buffer of connections that do not read. It is small, so that unread bytes wait in the server.
const SMALL_BUFFER: Option<usize> = Some(4096);
/// The number of messages of 10 KB in each of 64 rooms. Together they take 85 % of `--log-total-bytes`, so that no room
/// has to drop messages.
const FULL_ROOM_MESSAGES: u64 = 350;
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(150);
/// Lines per second of a session, below `--session-line-rate`.
const LINES_PER_SECOND: f64 = 450.0;

/// A child process that attacks.
#[derive(Args, Clone, Debug)]
pub struct AttackerArgs {
    /// The server.
    #[arg(long)]
    address: SocketAddrV4,
    /// The name of the scenario.
    #[arg(long)]
    scenario: String,
    /// The number of connections, or of requests per second, as the scenario defines it.
    #[arg(long)]
    size: usize,
    /// The number of source addresses of the connections.
    #[arg(long)]
    addresses: u32,
    /// The duration of the attack, in seconds.
    #[arg(long)]
    seconds: f64,
}

struct Attacker {
    swarm: Swarm,
    size: usize,
    addresses: u32,
    seconds: Duration,
    units: u64,
    facts: BTreeMap<String, u64>,
    /// Set by [`Attacker::wait_for_start`].
    deadline: Instant,
}

/// The child process.
///
/// # Errors
/// When the preparations fail or a system call fails. Refusals and closes by the server are counted in the report.
pub fn run(arguments: &AttackerArgs) -> Result<()> {
    // Lower than the priority of the legitimate clients, which run on the same core.
    let _ = rustix::process::nice(5);
    process::raise_open_files(arguments.size as u64 + 4_000)?;
    let scenario = scenarios::all()
        .into_iter()
        .find(|scenario| scenario.name == arguments.scenario)
        .context("no such scenario")?;
    let mut attacker = Attacker {
        swarm: Swarm::new(arguments.address)?,
        size: arguments.size,
        addresses: arguments.addresses,
        seconds: Duration::try_from_secs_f64(arguments.seconds)?,
        units: 0,
        facts: BTreeMap::new(),
        deadline: Instant::now(),
    };
    attacker.attack(scenario.attack)?;
    let counts = attacker.swarm.counts;
    let done = AttackReport {
        attempts: counts.attempts,
        opened: counts.opened + counts.answered,
        refused: counts.refused,
        closed: counts.closed,
        written: counts.written,
        read: counts.read,
        units: attacker.units,
        facts: attacker.facts,
    };
    println!("{}", serde_json::to_string(&done)?);
    // The connections stay open until the server's sockets were read.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Counts the events of a rate that are due.
struct Pace {
    begun: Instant,
    per_second: f64,
    done: u64,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        Self {
            begun: Instant::now(),
            per_second,
            done: 0,
        }
    }

    fn due(&mut self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number of events of a scenario is far below 2^63 and not negative"
        )]
        let due = (self.begun.elapsed().as_secs_f64() * self.per_second) as u64;
        let now = due.saturating_sub(self.done);
        self.done = due;
        now
    }
}

/// The state of one member that reconnects.
#[derive(Clone, Copy)]
struct ReconnectingMember {
    place: Option<usize>,
    again: Instant,
    joined: bool,
    failures: u32,
}

impl Attacker {
    fn attack(&mut self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Unread { path, send } => self.unread(path, send),
            Attack::ReadFlood { path } => self.read_flood(path),
            Attack::EchoLarge => {
                let message = frame::masked_text(&frame::text(60_000));
                self.wait_for_start()?;
                self.keep_flooding("/echo", None, &message, Reading::Discard)
            }
            Attack::Subprotocols { path } => self.subprotocols(path),
            Attack::QuietRooms => self.quiet_rooms(),
            Attack::RoomsBySessions => self.rooms_by_sessions(),
            Attack::RoomsByWaiting => self.rooms_by_waiting(),
            Attack::ChatFlood => {
                let message = frame::masked_text(&frame::text(32));
                self.wait_for_start()?;
                let path = format!("/chat/{ATTACKED_ROOM}?name=mallory");
                self.keep_flooding(&path, None, &message, Reading::Discard)
            }
            Attack::SessionFlood => self.session_flood(),
            Attack::Names { chat } => self.names(chat),
            Attack::ChurnOfMany => self.churn(0, 25.0),
            Attack::ChurnOfOne => self.churn(2_000, 240.0),
            Attack::PagesByHttp => self.pages_by_http(),
            Attack::PagesBySession => self.pages_by_session(),
            Attack::Frames { path, frame } => self.frames(path, frame),
            Attack::EvictedAuthor => self.evicted_author(),
            Attack::Connects { request } => self.connects(request),
            Attack::HalfHeads => self.half_heads(),
            Attack::UnreadMembers { chat } => self.unread_members(chat),
            Attack::Reconnect { rooms, one_address } => self.reconnect_after_restart(rooms, one_address),
            Attack::CatchUp { http: true } => self.catch_up_http(),
            Attack::CatchUp { http: false } => self.catch_up_sessions(),
        }
    }

    /// Prints `ready` and waits for the line that starts the attack. Meanwhile sessions read and answer pings.
    fn wait_for_start(&mut self) -> Result<()> {
        println!("ready");
        let (lines, received) = mpsc::channel();
        std::thread::spawn(move || lines.send(std::io::stdin().read_line(&mut String::new())));
        loop {
            match received.try_recv() {
                Ok(line) => break line?,
                Err(_) => self.swarm.turn(Duration::from_millis(2), &mut IgnoreEvents)?,
            };
        }
        .checked_sub(1)
        .context("standard input was closed before the attack started")?;
        self.deadline = Instant::now() + self.seconds;
        Ok(())
    }

    /// The number of connections that were begun.
    fn begun(&self) -> u64 {
        let counts = self.swarm.counts;
        if counts.written > 0 { counts.attempts } else { 0 }
    }

    fn source(&self, index: usize) -> Ipv4Addr {
        spread(Ipv4Addr::new(127, 0, 1, 1), index, self.addresses)
    }

    fn websocket(&self, path: &str, source: Ipv4Addr, reading: Reading) -> Opening {
        Opening {
            source,
            request: clients::upgrade_request(self.swarm.address(), path).into_bytes(),
            websocket: true,
            reading,
            buffers: None,
        }
    }

    fn get(&self, path: &str, source: Ipv4Addr, reading: Reading) -> Opening {
        let host = self.swarm.address();
        Opening {
            source,
            request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes(),
            websocket: false,
            reading,
            buffers: None,
        }
    }

    /// Keeps `size` connections open until the deadline: each is opened again when it is refused or closed. `on` sends
    /// the first bytes of a new connection.
    fn keep(
        &mut self,
        opening: impl Fn(&Self, usize) -> Opening,
        on: impl FnMut(usize, &mut Peer, Event<'_>),
        each_turn: impl FnMut(&mut Self) -> bool,
    ) -> Result<()> {
        self.keep_open(Some(RECONNECT_PAUSE), opening, on, each_turn)
    }

    /// Like [`Self::keep`], with the pause before a connection is opened again; with `None` it stays closed.
    fn keep_open(
        &mut self,
        try_again: Option<Duration>,
        opening: impl Fn(&Self, usize) -> Opening,
        mut on: impl FnMut(usize, &mut Peer, Event<'_>),
        mut each_turn: impl FnMut(&mut Self) -> bool,
    ) -> Result<()> {
        let mut again: Vec<Option<Instant>> = vec![Some(Instant::now()); self.size];
        let mut pace = Pace::new(CONNECTIONS_PER_SECOND);
        while Instant::now() < self.deadline {
            let now = Instant::now();
            let mut may_open = pace.due();
            for (index, again) in again.iter_mut().enumerate() {
                if may_open > 0 && again.is_some_and(|at| at <= now) {
                    may_open -= 1;
                    *again = None;
                    let opening = opening(self, index);
                    let place = (index < self.swarm.peers.len()).then_some(index);
                    self.swarm.open(&opening, place)?;
                }
            }
            self.swarm.turn(
                Duration::from_millis(2),
                &mut |index: usize, peer: &mut Peer, event: Event<'_>| {
                    if matches!(event, Event::Closed | Event::Refused | Event::Answered) {
                        // An answered request is repeated without a pause.
                        let pause = |pause| {
                            if matches!(event, Event::Answered) {
                                Duration::ZERO
                            } else {
                                pause
                            }
                        };
                        again[index] = try_again.map(|after| Instant::now() + pause(after));
                    }
                    on(index, peer, event);
                },
            )?;
            if !each_turn(self) {
                break;
            }
        }
        Ok(())
    }

    /// Keeps `size` WebSockets open that send `unit` as fast as the server reads it.
    fn keep_flooding(&mut self, path: &str, greeting: Option<Vec<u8>>, unit: &[u8], reading: Reading) -> Result<()> {
        let copies = (FLOOD_BYTES / unit.len()).max(1);
        let flood: Rc<[u8]> = unit.repeat(copies).into();
        self.keep(
            |attacker, index| attacker.websocket(path, attacker.source(index), reading),
            |_, peer, event| {
                if matches!(event, Event::Opened) {
                    peer.send(greeting.as_deref().unwrap_or_default());
                    peer.flood(&flood);
                }
            },
            |_| true,
        )?;
        self.units = self.swarm.counts.written / unit.len() as u64;
        Ok(())
    }

    fn unread(&mut self, path: &str, send: bool) -> Result<()> {
        self.wait_for_start()?;
        let unit = frame::masked_text("x");
        let flood: Rc<[u8]> = unit.repeat(FLOOD_BYTES / unit.len()).into();
        // Closed connections are not opened again, so that `held` counts those that the server never closed.
        self.keep_open(
            None,
            |attacker, index| Opening {
                buffers: SMALL_BUFFER,
                ..attacker.websocket(path, attacker.source(index), Reading::Never)
            },
            |_, peer, event| {
                if send && matches!(event, Event::Opened) {
                    peer.flood(&flood);
                }
            },
            |_| true,
        )?;
        self.units = self.swarm.counts.opened;
        Ok(())
    }

    fn read_flood(&mut self, path: &str) -> Result<()> {
        self.wait_for_start()?;
        self.keep(
            |attacker, index| attacker.websocket(path, attacker.source(index), Reading::Discard),
            |_, _, _| {},
            |_| true,
        )?;
        // A refused request counts as an attack too.
        self.units = self.swarm.counts.opened + self.swarm.counts.refused;
        Ok(())
    }

    fn subprotocols(&mut self, path: &str) -> Result<()> {
        let letters: Vec<char> = ('a'..='z')
            .chain('A'..='Z')
            .chain('0'..='9')
            .chain("!#$%&*+-.^_~".chars())
            .collect();
        let pairs = letters
            .iter()
            .flat_map(|first| letters.iter().map(move |second| format!("{first}{second}")));
        let names = pairs.take(5_200).collect::<Vec<_>>().join(",");
        let plain = clients::upgrade_request(self.swarm.address(), path);
        let head = plain
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("Sec-WebSocket-Protocol"));
        let request = head.map(|line| format!("{line}\r\n")).collect::<String>()
            + &format!("Sec-WebSocket-Protocol: {names}\r\n\r\n");
        self.wait_for_start()?;
        #[expect(clippy::cast_precision_loss, reason = "a size is far below 2^52")]
        let mut pace = Pace::new(self.size as f64);
        let mut free = Vec::new();
        while Instant::now() < self.deadline {
            for _ in 0..pace.due() {
                let opening = Opening {
                    request: request.clone().into_bytes(),
                    ..self.websocket(path, self.source(0), Reading::Discard)
                };
                self.swarm.open(&opening, free.pop())?;
            }
            self.swarm
                .turn(Duration::from_millis(2), &mut |index, peer: &mut Peer, _: Event<'_>| {
                    peer.cut();
                    free.push(index);
                })?;
        }
        self.units = self.swarm.counts.written / request.len() as u64;
        Ok(())
    }

    /// Opens sessions, each with its first lines, and waits until each has received a line of this kind.
    fn prepare_sessions(
        &mut self,
        count: usize,
        reading: Reading,
        kind: &str,
        greeting: impl Fn(usize) -> String,
    ) -> Result<()> {
        let deadline = Instant::now() + PREPARATION_TIMEOUT;
        let mut pace = Pace::new(CONNECTIONS_PER_SECOND);
        let mut ready = vec![false; count];
        while !ready.iter().all(|ready| *ready) {
            ensure!(
                Instant::now() < deadline,
                "the attacker's sessions were not opened within {PREPARATION_TIMEOUT:?}"
            );
            for _ in 0..pace.due() {
                let index = self.swarm.peers.len();
                if index < count {
                    self.swarm
                        .open(&self.websocket(session::PATH, self.source(index), Reading::Lines), None)?;
                }
            }
            let mut gone = Vec::new();
            self.swarm.turn(
                Duration::from_millis(2),
                &mut |index: usize, peer: &mut Peer, event: Event<'_>| match event {
                    Event::Opened => peer.text(&greeting(index)),
                    Event::Text(text) => {
                        if text
                            .split('\n')
                            .any(|line| wire::is(line, kind) || wire::is(line, "error"))
                        {
                            ready[index] = true;
                            peer.set_reading(reading);
                        }
                    }
                    Event::Refused | Event::Closed => gone.push(index),
                    Event::Answered => {}
                },
            )?;
            for index in gone {
                ready[index] = false;
                self.swarm.open(
                    &self.websocket(session::PATH, self.source(index), Reading::Lines),
                    Some(index),
                )?;
            }
        }
        Ok(())
    }

    fn quiet_rooms(&mut self) -> Result<()> {
        self.prepare_sessions(self.size, Reading::Discard, "welcome", |index| {
            wire::hello(client(index), "mallory")
        })?;
        self.wait_for_start()?;
        for index in 0..self.size {
            let joins: Vec<_> = (0..64).map(|room| wire::join(&format!("sat{index}-{room}"))).collect();
            self.swarm.text(index, &joins.join("\n"));
        }
        let mut pace = Pace::new(LINES_PER_SECOND);
        let mut name = 0;
        while Instant::now() < self.deadline {
            // After that the sessions stay idle.
            for _ in 0..pace.due().min(10_000 - name) {
                for index in 0..self.size {
                    let line = wire::publish(&format!("quiet{index}-{name}"), 1, true, client(index), "x");
                    self.swarm.text(index, &line);
                    self.units += 1;
                }
                name += 1;
            }
            self.swarm.turn(Duration::from_millis(2), &mut IgnoreEvents)?;
        }
        Ok(())
    }

    fn rooms_by_sessions(&mut self) -> Result<()> {
        self.wait_for_start()?;
        let mut joined = 0;
        self.keep(
            |attacker, index| attacker.websocket(session::PATH, attacker.source(index), Reading::Lines),
            |index, peer, event| match event {
                Event::Opened => {
                    let joins = (0..64).map(|room| wire::join(&format!("taken{index}-{room}")));
                    let lines: Vec<_> = std::iter::once(wire::hello(client(index), "mallory"))
                        .chain(joins)
                        .collect();
                    peer.text(&lines.join("\n"));
                }
                Event::Text(text) => {
                    joined += text.split('\n').filter(|line| wire::is(line, "joined")).count() as u64;
                }
                _ => {}
            },
            |_| true,
        )?;
        self.facts.insert("rooms".to_owned(), joined);
        self.units = self.swarm.counts.opened + self.swarm.counts.refused;
        Ok(())
    }

    fn rooms_by_waiting(&mut self) -> Result<()> {
        self.wait_for_start()?;
        self.keep(
            |attacker, index| {
                let path = format!("/rooms/waited{index}/messages?since=0&wait=60");
                attacker.get(&path, attacker.source(index), Reading::Discard)
            },
            |_, _, _| {},
            |_| true,
        )?;
        self.units = self.begun();
        Ok(())
    }

    fn session_flood(&mut self) -> Result<()> {
        const BODY: &str = "xxxxxxxxxxxxxxxx";
        self.wait_for_start()?;
        let mut next = vec![1; self.size];
        let mut lives = vec![0; self.size];
        let opened = std::cell::RefCell::new(Vec::new());
        self.keep(
            |attacker, index| attacker.websocket(session::PATH, attacker.source(index), Reading::Lines),
            |index, _, event| {
                if matches!(event, Event::Opened) {
                    opened.borrow_mut().push(index);
                }
            },
            |attacker| {
                for index in opened.borrow_mut().drain(..) {
                    // A new client key for each connection, so that no number is a resend.
                    (next[index], lives[index]) = (1, lives[index] + 1);
                    let hello = wire::hello(client(index) + (lives[index] << 40), "mallory");
                    attacker.swarm.text(index, &hello);
                }
                let opened = attacker.swarm.peers.len();
                for (index, next) in next.iter_mut().enumerate().take(opened) {
                    if attacker.swarm.peers[index].is_open() && attacker.swarm.peers[index].waiting() < FLOOD_BYTES {
                        let lines: Vec<_> = (*next..*next + 100)
                            .map(|seq| wire::publish(ATTACKED_ROOM, seq, seq == 1, seq, BODY))
                            .collect();
                        attacker.swarm.text(index, &lines.join("\n"));
                        *next += 100;
                    }
                }
                true
            },
        )?;
        let line = wire::publish(ATTACKED_ROOM, 1, true, 1, BODY);
        self.units = self.swarm.counts.written / line.len() as u64;
        Ok(())
    }

    fn names(&mut self, chat: bool) -> Result<()> {
        self.wait_for_start()?;
        let reading = if chat { Reading::Discard } else { Reading::Lines };
        let mut joined = 0;
        self.keep(
            |attacker, index| {
                let path = match chat {
                    true => format!("/chat/{ATTACKED_ROOM}?name=user{index}"),
                    false => session::PATH.to_owned(),
                };
                attacker.websocket(&path, crowd_address(index), reading)
            },
            |index, peer, event| match event {
                Event::Opened if chat => joined += 1,
                Event::Opened => {
                    peer.text(&format!(
                        "{}\n{}",
                        wire::hello(client(index), &format!("user{index}")),
                        wire::join(ATTACKED_ROOM)
                    ));
                }
                Event::Text(text) if text.split('\n').any(|line| wire::is(line, "joined")) => {
                    joined += 1;
                    peer.set_reading(Reading::Discard);
                }
                _ => {}
            },
            |_| true,
        )?;
        self.units = joined;
        Ok(())
    }

    fn churn(&mut self, members: usize, per_second: f64) -> Result<()> {
        let greeting = |index| {
            format!(
                "{}\n{}",
                wire::hello(client(index), &format!("user{index}")),
                wire::join(ATTACKED_ROOM)
            )
        };
        self.prepare_sessions(members + self.size, Reading::Lines, "joined", greeting)?;
        self.wait_for_start()?;
        let lines = format!("{}\n{}", wire::leave(ATTACKED_ROOM), wire::join(ATTACKED_ROOM));
        let mut pace = Pace::new(per_second);
        while Instant::now() < self.deadline {
            for _ in 0..pace.due() {
                for index in members..members + self.size {
                    let peer = &self.swarm.peers[index];
                    if peer.is_open() && peer.waiting() < FLOOD_BYTES {
                        self.swarm.text(index, &lines);
                        self.units += 1;
                    }
                }
            }
            self.swarm.turn(Duration::from_millis(2), &mut IgnoreEvents)?;
        }
        Ok(())
    }

    fn pages_by_http(&mut self) -> Result<()> {
        self.fill("full", 34, 30_000)?;
        self.wait_for_start()?;
        self.keep_open(
            None,
            |attacker, index| Opening {
                buffers: SMALL_BUFFER,
                ..attacker.get("/rooms/full/messages?limit=100", attacker.source(index), Reading::Never)
            },
            |_, _, _| {},
            |_| true,
        )?;
        self.units = self.begun();
        Ok(())
    }

    fn pages_by_session(&mut self) -> Result<()> {
        self.fill("full", 34, 30_000)?;
        self.wait_for_start()?;
        let mut asked = 0;
        self.keep_open(
            None,
            |attacker, index| Opening {
                buffers: SMALL_BUFFER,
                ..attacker.websocket(session::PATH, attacker.source(index), Reading::Never)
            },
            |index, peer, event| {
                if matches!(event, Event::Opened) {
                    let pages = (1..=8).map(|id| wire::history(id, "full", 1_000_000, 100));
                    let lines: Vec<_> = std::iter::once(wire::hello(client(index), "mallory"))
                        .chain(pages)
                        .collect();
                    peer.text(&lines.join("\n"));
                    asked += 8;
                }
            },
            |_| true,
        )?;
        self.units = asked;
        Ok(())
    }

    fn frames(&mut self, path: &str, kind: Frame) -> Result<()> {
        let unit = match kind {
            Frame::Ping => frame::masked(0x89, b""),
            Frame::Pong => frame::masked(0x8a, b""),
            Frame::Continuation => frame::masked(0x00, b""),
            Frame::Unknown => frame::masked_text(&[wire::UNKNOWN; 500].join("\n")),
            Frame::Blank => frame::masked_text(&"\n".repeat(1_000)),
            Frame::Empty => frame::masked_text(""),
        };
        let hello = wire::hello(client(0), "mallory");
        let mut greeting = if path == session::PATH {
            frame::masked_text(&hello)
        } else {
            Vec::new()
        };
        if kind == Frame::Continuation {
            greeting.extend(frame::masked(0x01, b"x"));
        }
        self.wait_for_start()?;
        // The server closes a session with a close frame. The attacker reconnects without waiting for the end of the
        // closing handshake.
        let reading = if path == session::PATH {
            Reading::Lines
        } else {
            Reading::Discard
        };
        self.keep_flooding(path, Some(greeting), &unit, reading)
    }

    fn evicted_author(&mut self) -> Result<()> {
        const ROOMS: u64 = 4_000;
        let line = wire::publish("victims", 1, true, 0xfeed, "once");
        let first = self.publish_once(&line)?;
        self.prepare_sessions(self.size, Reading::Lines, "welcome", |index| {
            wire::hello(client(index), "mallory")
        })?;
        self.wait_for_start()?;
        let mut pace = Pace::new(LINES_PER_SECOND);
        let flush = 1_100_u64.div_ceil(self.size as u64);
        let mut step = 0;
        let answered = std::cell::Cell::new(0);
        let mut count = |_: usize, _: &mut Peer, event: Event<'_>| {
            if let Event::Text(text) = event {
                let kinds = ["ack", "nack", "forgotten"];
                let answers = text
                    .split('\n')
                    .filter(|line| kinds.iter().any(|kind| wire::is(line, kind)));
                answered.set(answered.get() + answers.count() as u64);
            }
        };
        while Instant::now() < self.deadline && step < 2 * ROOMS + flush {
            for _ in 0..pace.due() {
                for index in 0..self.size {
                    let line = match step {
                        ..ROOMS => wire::publish(&format!("e{step}"), 1, true, step, "x"),
                        _ if step < 2 * ROOMS => wire::publish(&format!("e{}", step - ROOMS), 2, true, step, "x"),
                        _ => wire::publish("victims", step - 2 * ROOMS + 1, true, step, "x"),
                    };
                    if self.swarm.peers[index].is_open() {
                        self.swarm.text(index, &line);
                        self.units += 1;
                    }
                }
                step += 1;
            }
            self.swarm.turn(Duration::from_millis(2), &mut count)?;
        }
        // Everything must be acknowledged or refused before the victim publishes again.
        let (units, patience) = (self.units, Instant::now() + Duration::from_secs(20));
        self.swarm.run(patience, &mut count, |swarm| {
            answered.get() >= units || !swarm.peers.iter().any(Peer::is_open)
        })?;
        self.facts.insert("answered".to_owned(), answered.get());
        let second = self.publish_once(&line)?;
        // The same offset as before, or `forgotten`, is correct. Another offset means that the message was appended
        // twice.
        let again = first.is_some() && second.is_some() && first != second;
        self.facts.insert("appended_again".to_owned(), u64::from(again));
        Ok(())
    }

    /// Publishes as the victim of [`Attack::EvictedAuthor`] on a new connection and returns the acknowledged offset, if
    /// any.
    fn publish_once(&self, line: &str) -> Result<Option<u64>> {
        let mut swarm = Swarm::new(self.swarm.address())?;
        let hello = wire::hello(0xfeed, "victim");
        swarm.open(
            &self.websocket(session::PATH, Ipv4Addr::new(127, 9, 2, 1), Reading::Lines),
            None,
        )?;
        let answer = std::cell::Cell::new(None);
        swarm.run(
            Instant::now() + Duration::from_secs(10),
            &mut |_: usize, peer: &mut Peer, event: Event<'_>| match event {
                Event::Opened => peer.text(&format!("{hello}\n{line}")),
                Event::Text(text) => {
                    for line in text.split('\n') {
                        if wire::is(line, "ack") {
                            answer.set(Some(wire::number(line, "offset")));
                        } else if wire::is(line, "nack") || wire::is(line, "forgotten") {
                            answer.set(Some(None));
                        }
                    }
                }
                _ => {}
            },
            |_| answer.get().is_some(),
        )?;
        answer
            .get()
            .context("the victim's message was not answered within 10 s")
    }

    fn connects(&mut self, request: bool) -> Result<()> {
        self.wait_for_start()?;
        #[expect(clippy::cast_precision_loss, reason = "a size is far below 2^52")]
        let mut pace = Pace::new(self.size as f64);
        let mut free = Vec::new();
        while Instant::now() < self.deadline {
            // Connections that this process cannot open in time are left out.
            for number in 0..pace.due().min(500) {
                let mut opening = self.get("/healthz", self.source(usize::try_from(number)?), Reading::Discard);
                if !request {
                    opening.request.clear();
                }
                // No local port is free at the moment.
                let Ok(index) = self.swarm.open(&opening, free.pop()) else {
                    break;
                };
                if !request {
                    self.units += u64::from(self.swarm.peers[index].is_connected());
                    self.swarm.peers[index].cut();
                    free.push(index);
                }
            }
            self.swarm
                .turn(Duration::ZERO, &mut |index, _: &mut Peer, _: Event<'_>| {
                    free.push(index)
                })?;
        }
        if request {
            self.units = self.swarm.counts.answered + self.swarm.counts.refused;
        }
        Ok(())
    }

    fn half_heads(&mut self) -> Result<()> {
        self.wait_for_start()?;
        self.keep(
            |attacker, index| Opening {
                request: b"GET /ws HTTP/1.1\r\nHost: half\r\n".to_vec(),
                ..attacker.get("/", attacker.source(index), Reading::Discard)
            },
            |_, _, _| {},
            |_| true,
        )?;
        self.units = self.begun();
        Ok(())
    }

    fn unread_members(&mut self, chat: bool) -> Result<()> {
        let mut speaker = Swarm::new(self.swarm.address())?;
        let opening = self.websocket(session::PATH, self.source(0), Reading::Discard);
        self.wait_for_start()?;
        speaker.open(&opening, None)?;
        let body = frame::text(UNREAD_MESSAGE);
        let mut pace = Pace::new(50.0);
        let mut seq = 0;
        let mut turn = move |attacker: &mut Self| {
            for _ in 0..pace.due() {
                seq += 1;
                // It waits while the server does not read.
                if speaker.peers[0].is_open() && speaker.peers[0].waiting() < FLOOD_BYTES {
                    speaker.text(0, &wire::publish(ATTACKED_ROOM, seq, true, seq, &body));
                    attacker.units += 1;
                }
            }
            let hello = |_: usize, peer: &mut Peer, event: Event<'_>| {
                if matches!(event, Event::Opened) {
                    peer.text(&wire::hello(0xbeef, "mallory"));
                }
            };
            speaker.turn(Duration::ZERO, &mut { hello }).is_ok()
        };
        self.keep(
            |attacker, index| {
                let path = match chat {
                    true => format!("/chat/{ATTACKED_ROOM}?name=mute"),
                    false => session::PATH.to_owned(),
                };
                Opening {
                    buffers: SMALL_BUFFER,
                    ..attacker.websocket(&path, attacker.source(index), Reading::Never)
                }
            },
            |index, peer, event| {
                if !chat && matches!(event, Event::Opened) {
                    peer.text(&format!(
                        "{}\n{}",
                        wire::hello(client(index), "mute"),
                        wire::join(ATTACKED_ROOM)
                    ));
                }
            },
            &mut turn,
        )?;
        Ok(())
    }

    /// Members that reconnect like this project's client: with backoff after a refusal.
    fn reconnect_after_restart(&mut self, rooms: usize, one_address: bool) -> Result<()> {
        self.wait_for_start()?;
        let begun = Instant::now();
        let mut members = vec![
            ReconnectingMember {
                place: None,
                again: begun,
                joined: false,
                failures: 0
            };
            self.size
        ];
        let mut whole = None;
        while Instant::now() < self.deadline
            && whole.is_none_or(|whole: Instant| whole.elapsed() < Duration::from_secs(1))
        {
            let now = Instant::now();
            for (index, member) in members.iter_mut().enumerate() {
                if member.place.is_none() && member.again <= now {
                    let source = if one_address {
                        self.source(0)
                    } else {
                        crowd_address(index)
                    };
                    let place = (index < self.swarm.peers.len()).then_some(index);
                    let opening = self.websocket(session::PATH, source, Reading::Lines);
                    member.place = Some(self.swarm.open(&opening, place)?);
                }
            }
            self.swarm.turn(
                Duration::from_millis(2),
                &mut |index: usize, peer: &mut Peer, event: Event<'_>| {
                    let member = &mut members[index];
                    match event {
                        Event::Opened => {
                            let room = format!("back{}", index % rooms);
                            let hello = wire::hello(client(index), &format!("user{index}"));
                            // A cursor of an epoch that the restarted server does not have.
                            peer.text(&format!("{hello}\n{}", wire::join_since(&room, "0123456789abcdef", 7)));
                        }
                        Event::Text(text) => {
                            if !member.joined && text.split('\n').any(|line| wire::is(line, "joined")) {
                                member.joined = true;
                            }
                        }
                        Event::Refused | Event::Closed | Event::Answered => {
                            // docs/protocol.md, Reconnecting: random up to a bound that doubles, from 0.5 s to 20 s.
                            let bound = (500 << member.failures.min(6)).min(20_000);
                            member.again =
                                Instant::now() + Duration::from_millis(random(index, member.failures) % bound);
                            member.failures += 1;
                            (member.joined, member.place) = (false, None);
                        }
                    }
                },
            )?;
            if whole.is_none() && members.iter().all(|member| member.joined) {
                whole = Some(Instant::now());
                self.facts.insert("all_joined_ms".to_owned(), millis(begun.elapsed()));
            }
        }
        self.facts
            .entry("all_joined_ms".to_owned())
            .or_insert(millis(begun.elapsed()));
        let joined = members.iter().filter(|member| member.joined).count();
        self.facts.insert("missing".to_owned(), (members.len() - joined) as u64);
        self.units = joined as u64;
        Ok(())
    }

    /// Fills 64 rooms and returns the epoch of each.
    fn fill_rooms(&self) -> Result<Vec<String>> {
        (0..64)
            .map(|number| {
                let room = format!("full{number}");
                self.fill(&room, usize::try_from(FULL_ROOM_MESSAGES)?, 10_000)?;
                let answer = self.ask(&format!("GET /rooms/{room}/messages?limit=1 HTTP/1.1\r\n"), "")?;
                let epoch = wire::string(&answer, "epoch").context("an answer without an epoch")?;
                Ok(epoch.to_owned())
            })
            .collect()
    }

    /// The smallest offset from which a full room can be recovered: a server may keep fewer messages than were
    /// published.
    fn first_kept(&self) -> Result<u64> {
        let (mut lost, mut kept) = (0, FULL_ROOM_MESSAGES);
        while lost < kept {
            let middle = u64::midpoint(lost, kept);
            let line = format!("GET /rooms/full0/messages?since={middle}&limit=1 HTTP/1.1\r\n");
            if self.ask(&line, "")?.contains("\"recovered\":true") {
                kept = middle;
            } else {
                lost = middle + 1;
            }
        }
        Ok(kept)
    }

    fn catch_up_sessions(&mut self) -> Result<()> {
        let epochs = self.fill_rooms()?;
        let after = self.first_kept()?;
        let joins = |epochs: &[String]| {
            let joins = epochs.iter().enumerate();
            let joins = joins.map(|(number, epoch)| wire::join_since(&format!("full{number}"), epoch, after));
            joins.collect::<Vec<_>>().join("\n")
        };
        let all = joins(&epochs);
        let mut slow = SlowMember::new(self, &all)?;
        self.wait_for_start()?;
        let mut rooms_read = 0;
        self.keep(
            |attacker, index| attacker.websocket(session::PATH, attacker.source(index), Reading::Lines),
            |index, peer, event| match event {
                Event::Opened => peer.text(&format!("{}\n{all}", wire::hello(client(index), "mallory"))),
                Event::Text(text) => {
                    for line in text.split('\n').filter(|line| wire::is(line, "message")) {
                        if wire::number(line, "offset") == Some(FULL_ROOM_MESSAGES)
                            && let Some(room) = wire::string(line, "room")
                            && let Some(number) = room
                                .strip_prefix("full")
                                .and_then(|number| number.parse::<usize>().ok())
                        {
                            rooms_read += 1;
                            peer.text(&format!(
                                "{}\n{}",
                                wire::leave(room),
                                wire::join_since(room, &epochs[number], after)
                            ));
                        }
                    }
                }
                _ => {}
            },
            |_| slow.turn().is_ok(),
        )?;
        slow.report(&mut self.facts);
        self.facts.insert("rooms_read".to_owned(), rooms_read);
        self.units = self.swarm.counts.read / 10_000;
        Ok(())
    }

    fn catch_up_http(&mut self) -> Result<()> {
        self.fill_rooms()?;
        let after = self.first_kept()?;
        self.wait_for_start()?;
        let next = std::cell::Cell::new(0_u64);
        self.keep(
            |attacker, index| {
                next.set(next.get() + 1);
                let path = format!("/rooms/full{}/messages?since={after}&limit=100", next.get() % 64);
                attacker.get(&path, attacker.source(index), Reading::Discard)
            },
            |_, _, _| {},
            |_| true,
        )?;
        self.units = self.swarm.counts.answered + self.swarm.counts.refused;
        Ok(())
    }

    /// Publishes `messages` messages to a room over HTTP.
    fn fill(&self, room: &str, messages: usize, bytes: usize) -> Result<()> {
        let body = format!("\"{}\"", frame::text(bytes));
        let mut stream = TcpStream::connect(self.swarm.address())?;
        for _ in 0..messages {
            let head = format!("POST /rooms/{room}/messages HTTP/1.1\r\n");
            let (status, answer) = self.ask_on(&mut stream, &head, &body)?;
            ensure!(status == 201, "{room} was not filled: {status} {answer}");
        }
        Ok(())
    }

    fn ask(&self, first_line: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.swarm.address())?;
        let (status, answer) = self.ask_on(&mut stream, first_line, body)?;
        ensure!(status == 200, "{first_line}: {status} {answer}");
        Ok(answer)
    }

    fn ask_on(&self, stream: &mut TcpStream, first_line: &str, body: &str) -> Result<(u16, String)> {
        let (host, length) = (self.swarm.address(), body.len());
        let request = format!(
            "{first_line}Host: {host}\r\nAuthorization: Bearer {PUBLISH_KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let length = stream.read(&mut chunk)?;
            ensure!(length > 0, "the server ended the connection");
            answer.extend_from_slice(&chunk[..length]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.context("an answer without a length")? {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return Ok((status.context("an answer without a status")?, body.to_owned()));
            }
        }
    }
}

/// A member that catches up at 1 Mbit/s, publishes 5 times per second, and measures the time until each
/// acknowledgement.
struct SlowMember {
    swarm: Swarm,
    greeting: String,
    next_read: Instant,
    next_message: Instant,
    asked: BTreeMap<u64, Instant>,
    seq: u64,
    longest: Duration,
    acks: u64,
}

impl SlowMember {
    /// Bytes per read: 8 reads per turn and 12.5 turns per second make 1 Mbit/s.
    const READ: usize = 1_250;
    const EVERY: Duration = Duration::from_millis(80);

    fn new(attacker: &Attacker, joins: &str) -> Result<Self> {
        let mut swarm = Swarm::reading(attacker.swarm.address(), Self::READ)?;
        let opening = attacker.websocket(session::PATH, Ipv4Addr::new(127, 0, 2, 1), Reading::Lines);
        swarm.open(
            &Opening {
                buffers: Some(16 * 1024),
                ..opening
            },
            None,
        )?;
        Ok(Self {
            swarm,
            greeting: format!("{}\n{joins}", wire::hello(0xcafe, "slow")),
            next_read: Instant::now(),
            next_message: Instant::now() + Duration::from_millis(500),
            asked: BTreeMap::new(),
            seq: 0,
            longest: Duration::ZERO,
            acks: 0,
        })
    }

    fn turn(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.next_message <= now && self.swarm.peers[0].is_open() {
            self.seq += 1;
            self.asked.insert(self.seq, now);
            let line = wire::publish("slow", self.seq, true, self.seq, "still here");
            self.swarm.text(0, &line);
            self.next_message = now + Duration::from_millis(200);
        }
        if self.next_read > now {
            return Ok(());
        }
        self.next_read = now + Self::EVERY;
        let Self {
            swarm,
            greeting,
            asked,
            longest,
            acks,
            ..
        } = self;
        swarm.turn(
            Duration::ZERO,
            &mut |_: usize, peer: &mut Peer, event: Event<'_>| match event {
                Event::Opened => peer.text(greeting),
                Event::Text(text) => {
                    for line in text.split('\n').filter(|line| wire::is(line, "ack")) {
                        if let Some(since) = wire::number(line, "seq").and_then(|seq| asked.remove(&seq)) {
                            *acks += 1;
                            *longest = (*longest).max(since.elapsed());
                        }
                    }
                }
                _ => {}
            },
        )
    }

    fn report(&self, facts: &mut BTreeMap<String, u64>) {
        let waits = self.asked.values().map(Instant::elapsed);
        let longest = waits.fold(self.longest, Duration::max);
        facts.insert("slow_ack_ms".to_owned(), millis(longest));
        facts.insert("slow_acks".to_owned(), self.acks);
        facts.insert(
            "slow_closed".to_owned(),
            self.swarm.counts.closed + self.swarm.counts.refused,
        );
    }
}

/// The lower half of a client key. Attackers have other keys than legitimate clients.
fn client(index: usize) -> u64 {
    0x100_0000 + index as u64
}

/// One of 250 source addresses.
fn crowd_address(index: usize) -> Ipv4Addr {
    spread(Ipv4Addr::new(127, 1, 0, 1), index, 250)
}

fn spread(first: Ipv4Addr, index: usize, addresses: u32) -> Ipv4Addr {
    let number = u32::try_from(index).unwrap_or_default() % addresses.max(1);
    Ipv4Addr::from_bits(first.to_bits() + number)
}

/// A reproducible pseudorandom number, for the pauses.
fn random(index: usize, turn: u32) -> u64 {
    let mut bits = (index as u64) << 32 | u64::from(turn) | 1 << 63;
    for _ in 0..3 {
        bits = (bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    bits >> 16
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
