//! The legitimate clients: members of a room, one of which publishes 50 times per second, and visitors, each of which
//! opens a connection and publishes once in a new room. They measure their round trips during the attack.
//!
//! Times are measured from a fixed schedule: a server that answers nothing for a second delays 50 messages, not one.

use std::{
    collections::VecDeque,
    io::BufRead,
    net::{Ipv4Addr, SocketAddrV4},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;

use super::{
    figures::{ClientReport, Spread},
    swarm::{Event, Opening, Peer, Reading, Swarm},
    wire,
};
use crate::{clients, session};

/// The room of the legitimate clients that is not attacked.
pub(super) const OTHER_ROOM: &str = "other";
/// The interval between two messages of a sender.
const SEND_INTERVAL: Duration = Duration::from_millis(20);
/// The interval between two visitors.
const VISIT_INTERVAL: Duration = Duration::from_millis(250);
/// A visitor without an answer after this time counts as refused.
const VISIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Members of each room that only receive.
const LISTENERS: usize = 3;
/// The pause before a member whose connection was closed connects again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// The maximum of messages in flight of a sender, below the server's `in_flight`.
const IN_FLIGHT: usize = 100;
/// Legitimate clients have the addresses 127.9.x.y, so that limits of an attacker's address do not apply to them.
const NETWORK: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 0);
const VISITORS: Ipv4Addr = Ipv4Addr::new(127, 9, 1, 0);

/// Whether this is the address of a legitimate client.
#[must_use]
pub(crate) fn is_legitimate(address: Ipv4Addr) -> bool {
    address.octets()[..2] == NETWORK.octets()[..2]
}

/// The child process of the legitimate clients: for each line on standard input it prints a report as JSON.
#[derive(Args, Clone, Debug)]
pub struct LegitimateClientsArgs {
    /// The server.
    #[arg(long)]
    address: SocketAddrV4,
    /// The attacked room, if there is one; it has legitimate clients too.
    #[arg(long)]
    attacked_room: Option<String>,
}

struct Pending {
    seq: u64,
    since: Instant,
    /// Whether it was sent on an earlier connection too. Then the acknowledgement may come without the message.
    again: bool,
}

/// A member that publishes, or that only receives if it has no schedule.
struct Member {
    place: Option<usize>,
    number: u64,
    room: String,
    sends: bool,
    joined: bool,
    /// When it may connect again, or resend after a temporary refusal.
    not_before: Instant,
    next_seq: u64,
    pending: VecDeque<Pending>,
    /// How many of `pending` are in flight on this connection.
    sent: usize,
    first: bool,
    settled: Vec<Duration>,
    closed: u64,
    refused: u64,
}

impl Member {
    fn new(number: u64, room: &str, sends: bool) -> Self {
        Self {
            place: None,
            number,
            room: room.to_owned(),
            sends,
            joined: false,
            not_before: Instant::now(),
            next_seq: 1,
            pending: VecDeque::new(),
            sent: 0,
            first: true,
            settled: Vec::new(),
            closed: 0,
            refused: 0,
        }
    }

    fn greeting(&self) -> String {
        let number = self.number;
        format!(
            "{}\n{}",
            wire::hello(0x1000 + number, &format!("member{number}")),
            wire::join(&self.room)
        )
    }

    fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(NETWORK.to_bits() + 1 + u32::try_from(self.number).unwrap_or_default())
    }

    fn tick(&mut self, now: Instant) {
        if self.sends {
            self.pending.push_back(Pending {
                seq: self.next_seq,
                since: now,
                again: false,
            });
            self.next_seq += 1;
        }
    }

    /// The lines that may be sent now.
    fn due(&mut self, now: Instant) -> Option<String> {
        if !self.joined || now < self.not_before {
            return None;
        }
        let last = self.pending.len().min(IN_FLIGHT);
        let mut lines = Vec::new();
        for pending in self.pending.range(self.sent.min(last)..last) {
            let id = self.number << 48 | pending.seq;
            let body = format!("i{}-{}", self.number, pending.seq);
            lines.push(wire::publish(&self.room, pending.seq, self.first, id, &body));
            self.first = false;
        }
        self.sent = last;
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn on_text(&mut self, text: &str, now: Instant) {
        for line in text.split('\n') {
            if wire::is(line, "message") {
                self.message(line, now);
            } else if wire::is(line, "ack") {
                if let Some(seq) = wire::number(line, "seq")
                    && self.pending.iter().any(|pending| pending.seq == seq && pending.again)
                {
                    self.settle(seq, now);
                }
            } else if wire::is(line, "nack") || wire::is(line, "forgotten") {
                self.refusal(line, now);
            } else if wire::is(line, "joined") {
                self.joined = true;
            } else if wire::is(line, "error") {
                // The join was refused: the member connects again.
                self.refused += 1;
            }
        }
    }

    fn message(&mut self, line: &str, now: Instant) {
        if !self.sends {
            return;
        }
        let own = format!("\"body\":\"i{}-", self.number);
        if let Some(at) = line.rfind(&own)
            && let Some(seq) = line[at + own.len()..].strip_suffix("\"}}")
            && let Ok(seq) = seq.parse()
        {
            self.settle(seq, now);
        }
    }

    fn settle(&mut self, seq: u64, now: Instant) {
        if let Some(at) = self.pending.iter().position(|pending| pending.seq == seq) {
            let pending = self.pending.remove(at);
            self.settled.extend(pending.map(|pending| now - pending.since));
            self.sent = self.sent.saturating_sub(1);
        }
    }

    fn refusal(&mut self, line: &str, now: Instant) {
        let Some(seq) = wire::number(line, "seq") else { return };
        match wire::number(line, "retry_after_ms") {
            Some(pause) => {
                if wire::string(line, "code") != Some("gap") {
                    self.refused += 1;
                }
                self.not_before = now + Duration::from_millis(pause.min(1000));
                self.resend();
            }
            None => {
                self.refused += 1;
                self.settle(seq, now);
            }
        }
    }

    fn resend(&mut self) {
        for pending in self.pending.iter_mut().take(self.sent) {
            pending.again = true;
        }
        self.sent = 0;
        self.first = true;
    }

    fn on_connection_lost(&mut self, now: Instant) {
        self.place = None;
        self.joined = false;
        self.not_before = now + RECONNECT_PAUSE;
        self.resend();
    }
}

/// One connection, one new room, one message.
struct Visit {
    place: usize,
    number: u64,
    begun: Instant,
    done: Option<bool>,
}

struct LegitimateClients {
    swarm: Swarm,
    members: Vec<Member>,
    /// The member or visit of each connection of the swarm.
    visits: Vec<Visit>,
    visited: u64,
    late: Vec<Duration>,
    visit_times: Vec<Duration>,
    visits_refused: u64,
    run: u64,
}

/// The child process.
///
/// # Errors
/// When a system call fails. Refusals and closes by the server are counted in the report.
pub fn run(arguments: &LegitimateClientsArgs) -> Result<()> {
    // Higher than the priority of the attacker, which runs on the same core. Without the permission for it the
    // attacker's lower priority must suffice.
    let _ = rustix::process::nice(-10);
    let (ask, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || ask.send(()).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    let mut clients = LegitimateClients::new(arguments)?;
    clients.join_rooms()?;
    println!("ready");
    let mut next = Instant::now();
    let mut next_visit = next;
    loop {
        let now = Instant::now();
        while next <= now {
            clients.late.push(now - next);
            // The schedule continues from now, so that a delay of this process does not count as a delay of the server.
            clients.members.iter_mut().for_each(|member| member.tick(now));
            next += SEND_INTERVAL;
        }
        if next_visit <= now {
            clients.visit(now)?;
            next_visit = now + VISIT_INTERVAL;
        }
        clients.send_and_connect()?;
        clients.turn(next.saturating_duration_since(Instant::now()))?;
        if asked.try_recv().is_ok() {
            println!("{}", serde_json::to_string(&clients.report())?);
        }
    }
}

impl LegitimateClients {
    fn new(arguments: &LegitimateClientsArgs) -> Result<Self> {
        let mut members = Vec::new();
        for room in std::iter::once(OTHER_ROOM).chain(arguments.attacked_room.as_deref()) {
            for index in 0..=LISTENERS {
                let number = members.len() as u64;
                members.push(Member::new(number, room, index == 0));
            }
        }
        Ok(Self {
            swarm: Swarm::new(arguments.address)?,
            members,
            visits: Vec::new(),
            visited: 0,
            late: Vec::new(),
            visit_times: Vec::new(),
            visits_refused: 0,
            run: u64::from(std::process::id()),
        })
    }

    fn join_rooms(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.members.iter().all(|member| member.joined) {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the legitimate clients cannot join their rooms"
            );
            self.send_and_connect()?;
            self.turn(Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn opening(&self, source: Ipv4Addr) -> Opening {
        Opening {
            source,
            request: clients::upgrade_request(self.swarm.address(), session::PATH).into_bytes(),
            websocket: true,
            reading: Reading::Lines,
            buffers: None,
        }
    }

    fn send_and_connect(&mut self) -> Result<()> {
        let now = Instant::now();
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if let Some(place) = member.place {
                if let Some(lines) = member.due(now) {
                    self.swarm.text(place, &lines);
                }
            } else if now >= member.not_before {
                let source = member.source();
                // A member always uses the place with its own index.
                let place = (index < self.swarm.peers.len()).then_some(index);
                let place = self.swarm.open(&self.opening(source), place)?;
                self.members[index].place = Some(place);
            }
        }
        Ok(())
    }

    fn visit(&mut self, now: Instant) -> Result<()> {
        let number = self.visited;
        self.visited += 1;
        let free = (self.members.len()..self.swarm.peers.len())
            .find(|place| self.visits.iter().all(|visit| visit.place != *place));
        let source = Ipv4Addr::from_bits(VISITORS.to_bits() + 1 + u32::try_from(number % 250)?);
        let place = self.swarm.open(&self.opening(source), free)?;
        self.visits.push(Visit {
            place,
            number,
            begun: now,
            done: None,
        });
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> Result<()> {
        let Self {
            swarm,
            members,
            visits,
            run,
            ..
        } = self;
        swarm.turn(timeout, &mut |place: usize, peer: &mut Peer, event: Event<'_>| {
            let now = Instant::now();
            if let Some(member) = members.iter_mut().find(|member| member.place == Some(place)) {
                match event {
                    Event::Opened => peer.text(&member.greeting()),
                    Event::Text(text) => member.on_text(text, now),
                    Event::Closed | Event::Refused | Event::Answered => {
                        if member.joined || matches!(event, Event::Closed) {
                            member.closed += 1;
                        } else {
                            member.refused += 1;
                        }
                        member.on_connection_lost(now);
                    }
                }
            } else if let Some(visit) = visits.iter_mut().find(|visit| visit.place == place) {
                visit.on_text(*run, peer, &event);
            }
        })?;
        self.end_visits();
        Ok(())
    }

    fn end_visits(&mut self) {
        let now = Instant::now();
        for visit in &mut self.visits {
            if now - visit.begun > VISIT_TIMEOUT {
                visit.done.get_or_insert(false);
            }
            match visit.done {
                Some(true) => self.visit_times.push(now - visit.begun),
                Some(false) => self.visits_refused += 1,
                None => continue,
            }
            self.swarm.peers[visit.place].cut();
        }
        self.visits.retain(|visit| visit.done.is_none());
    }

    /// The measurements since the last report. An unanswered message counts with the time that it has waited.
    fn report(&mut self) -> ClientReport {
        let now = Instant::now();
        let mut rooms = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.sends) {
            let mut times = std::mem::take(&mut member.settled);
            let answered = times.len() as u64;
            times.extend(member.pending.iter().map(|pending| now - pending.since));
            rooms.push(Spread::of(times, answered));
        }
        let mut rooms = rooms.into_iter();
        ClientReport {
            other: rooms.next().unwrap_or_default(),
            same: rooms.next(),
            closed: self
                .members
                .iter_mut()
                .map(|member| std::mem::take(&mut member.closed))
                .sum(),
            refused: self
                .members
                .iter_mut()
                .map(|member| std::mem::take(&mut member.refused))
                .sum(),
            visits: Spread::of(std::mem::take(&mut self.visit_times), 0),
            visits_refused: std::mem::take(&mut self.visits_refused),
            late: Spread::of(std::mem::take(&mut self.late), 0),
        }
    }
}

impl Visit {
    fn on_text(&mut self, run: u64, peer: &mut Peer, event: &Event<'_>) {
        let room = format!("visit{}", self.number);
        match event {
            Event::Opened => {
                let client = run << 32 | self.number;
                let name = format!("visitor{}", self.number);
                let lines = [
                    wire::hello(client, &name),
                    wire::join(&room),
                    wire::publish(&room, 1, true, client, "hello"),
                ];
                peer.text(&lines.join("\n"));
            }
            Event::Text(text) => {
                for line in text.split('\n') {
                    if wire::is(line, "ack") {
                        self.done = Some(true);
                    } else if wire::is(line, "nack") || wire::is(line, "error") {
                        self.done = Some(false);
                    }
                }
            }
            Event::Refused | Event::Closed | Event::Answered => self.done = Some(false),
        }
    }
}

/// Parses a line that the child process printed.
///
/// # Errors
/// When the line is no report.
pub(super) fn parse_report(line: &str) -> Result<ClientReport> {
    serde_json::from_str(line).with_context(|| format!("the legitimate clients printed {line:?} instead of a report"))
}
