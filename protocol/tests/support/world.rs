//! The virtual clock, and what happens at which time.

mod line;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use talkback_protocol::{
    ClientKey, Cursor, Moment, Offset, RequestId, RoomName,
    message::{Limits, code},
    session::{
        client,
        server::{self, Allowance, Refusal, ServerOptions, SubscriptionId},
    },
};

use super::{
    log::{Entry, ModelLog, REMEMBERED},
    ms,
    peer::Peer,
    random::Random,
    recording::Recording,
    secs,
    server::{Server, Sub},
};

use line::Conn;
pub use line::{Down, Link};

pub type ConnId = u64;

/// How long after a change members are told who came and went.
const PRESENCE: Duration = ms(250);
/// How long a message may wait in the outboxes of the model.
pub const TTL: Duration = secs(60);

pub enum Event {
    Up {
        conn: ConnId,
        text: String,
    },
    Down {
        conn: ConnId,
        down: Down,
    },
    /// The server learns that the connection is gone.
    ServerGone {
        conn: ConnId,
    },
    Append {
        conn: ConnId,
        entry: Entry,
    },
    /// A pause that the server made may be over.
    ReadOn {
        conn: ConnId,
    },
    /// The next page of what a member missed.
    CatchUp {
        conn: ConnId,
        id: SubscriptionId,
        room: RoomName,
        after: Offset,
    },
    /// Members are told who came and went.
    Presence,
    Subscribe {
        conn: ConnId,
        id: SubscriptionId,
        room: RoomName,
        since: Option<Cursor>,
        history: u32,
    },
    ReadPage {
        conn: ConnId,
        id: RequestId,
        room: RoomName,
        before: Offset,
        limit: u32,
    },
}

pub struct World {
    pub now: Duration,
    pub random: Random,
    pub log: ModelLog,
    pub link: Link,
    pub peers: Vec<Peer>,
    pub engine_busy_until: Duration,
    /// The hub sends some lines twice and loses others, which no hub should and every client must notice.
    pub sloppy: bool,
    /// Joins, messages and requests for history are refused for good.
    pub deny: bool,
    /// They were, at some time.
    pub denied: bool,
    /// A server took smaller bodies than others, at some time.
    pub small_bodies: bool,
    /// The only token that is good.
    pub token_version: u64,
    pub violations: Vec<String>,
    /// How often each kind of thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What clients had left of their rates when their connections ended, and when.
    pub allowances: BTreeMap<ClientKey, (Allowance, Duration)>,
    /// Messages that another page went on with, by their text, and how many pages did.
    pub copies: BTreeMap<String, usize>,
    /// Keeps a transcript when a seed is replayed.
    pub verbose: bool,
    recording: Recording,
    presence_due: bool,
    server_config: Arc<ServerOptions>,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: ConnId,
    events: BTreeMap<(Duration, u64), Event>,
    last_event: u64,
}

impl World {
    pub fn new(seed: u64, peers: usize) -> Self {
        let mut server_config = ServerOptions::default();
        server_config.limits.in_flight = u32::try_from(REMEMBERED).unwrap();
        server_config.limits.page = 20;
        server_config.limits.lines_per_second = 30;
        server_config.limits.lines_burst = 10;
        server_config.limits.rooms = 4;
        server_config.limits.history = 3;
        let mut random = Random::new(seed);
        let peers = (0..peers).map(|index| Peer::new(index, &mut random)).collect();
        Self {
            now: secs(1),
            random,
            log: ModelLog::new(),
            link: Link {
                delay: ms(40),
                refuse: false,
                close_at_once: None,
                black_hole: false,
            },
            peers,
            engine_busy_until: Duration::ZERO,
            sloppy: false,
            deny: false,
            denied: false,
            small_bodies: false,
            token_version: 0,
            violations: Vec::new(),
            counts: BTreeMap::new(),
            allowances: BTreeMap::new(),
            copies: BTreeMap::new(),
            verbose: false,
            recording: Recording::default(),
            presence_due: false,
            server_config: Arc::new(server_config),
            conns: BTreeMap::new(),
            last_conn: 0,
            events: BTreeMap::new(),
            last_event: 0,
        }
    }

    /// The limits that servers and clients have by default, and outboxes that hold everything.
    pub fn with_default_limits(seed: u64, peers: usize) -> Self {
        let mut world = Self::new(seed, peers);
        world.server_config = Arc::new(ServerOptions::default());
        for peer in &mut world.peers {
            peer.hold_everything();
        }
        world
    }

    pub fn limits(&self) -> &Limits {
        &self.server_config.limits
    }

    pub fn moment(&mut self) -> Moment {
        Moment {
            now: self.now,
            random: self.random.bits(),
        }
    }

    /// One more of these happened.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Other limits for the connections from now on, as another server has them.
    pub fn limit_bodies(&mut self, bytes: u32) {
        let config = Arc::make_mut(&mut self.server_config);
        config.limits.body_bytes = bytes;
        self.small_bodies |= bytes < 1_000;
    }

    pub fn violation(&mut self, text: String) {
        self.violations.push(format!("at {:?}: {text}", self.now));
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>12.3?} {}", self.now, text());
        }
    }

    pub fn at(&mut self, time: Duration, event: Event) {
        self.last_event += 1;
        self.events.insert((time, self.last_event), event);
    }

    /// Lets time pass, with everything that happens meanwhile.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_time().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until something holds; whether it did in time.
    pub fn advance_until(&mut self, limit: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            match self.next_time().filter(|next| *next <= end) {
                Some(next) => {
                    self.now = self.now.max(next);
                    self.step();
                }
                None => {
                    self.now = end;
                    return holds(self);
                }
            }
        }
    }

    fn next_time(&self) -> Option<Duration> {
        let event = self.events.keys().next().map(|(time, _)| *time);
        let peers = self.peers.iter().filter_map(Peer::next_tick);
        let servers = self.conns.values().filter_map(|conn| conn.server.as_ref());
        let servers = servers.filter_map(|server| server.session.next_timeout());
        event.into_iter().chain(peers).chain(servers).min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Event::Up { conn, text } => self.server_received(conn, text),
                Event::ReadOn { conn } => {
                    self.server_input(conn, server::Input::Tick);
                    self.read_on(conn);
                }
                Event::CatchUp { conn, id, room, after } => self.catch_up(conn, id, &room, after),
                Event::Presence => {
                    self.presence_due = false;
                    self.tell_presence();
                }
                Event::Down { conn, down } => self.come_down(conn, down),
                Event::ServerGone { conn } => self.server_gone(conn),
                event => self.engine_event(event),
            }
        }
        for peer in 0..self.peers.len() {
            if self.peers[peer].next_tick().is_some_and(|at| at <= self.now) {
                self.peer_input(peer, client::Input::Tick);
            }
        }
        let due: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                let timeout = conn.server.as_ref().and_then(|server| server.session.next_timeout());
                timeout.is_some_and(|at| at <= self.now)
            })
            .map(|(&id, _)| id)
            .collect();
        for conn in due {
            self.server_input(conn, server::Input::Tick);
        }
    }

    /// The server ends: all connections break, and what the engine was about to do is not done.
    pub fn restart(&mut self, graceful: bool) {
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in ids {
            if graceful {
                let retry_after = ms(self.random.below(2_000));
                self.server_input(id, server::Input::Shutdown { retry_after });
            } else {
                self.server_gone(id);
                self.send_down(id, Down::Close(1006, String::new()));
            }
        }
        self.events
            .retain(|_, event| matches!(event, Event::Down { .. } | Event::Presence));
        self.allowances.clear();
    }

    pub fn server_gone(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.up = false;
            if let Some(server) = conn.server.take()
                && let Some((client, allowance)) = server.session.allowance()
            {
                self.allowances.insert(client, (allowance, now));
            }
            self.presence_changed();
        }
    }

    /// The server closes a member that is too slow.
    pub fn close_by_server(&mut self, id: ConnId, code: u16) {
        if self.server_of(id).is_some() {
            self.server_gone(id);
            self.send_down(id, Down::Close(code, "too slow".to_owned()));
        }
    }

    pub fn expel(&mut self, id: ConnId, room: &RoomName) {
        let Some(sub) = self.sub(id, room).map(|sub| sub.id) else {
            return;
        };
        if let Some(server) = self.server_of(id) {
            server.subs.remove(room);
        }
        self.presence_changed();
        let reason = Refusal::for_good(code::FORBIDDEN, "the room is closed to you");
        self.server_input(id, server::Input::Expelled { id: sub, reason });
    }

    pub fn server_of(&mut self, id: ConnId) -> Option<&mut Server> {
        self.conns.get_mut(&id)?.server.as_mut()
    }

    pub fn sub(&mut self, id: ConnId, room: &RoomName) -> Option<&mut Sub> {
        self.server_of(id)?.subs.get_mut(room)
    }

    /// Somebody came or went: members are told of it soon.
    pub fn presence_changed(&mut self) {
        if !std::mem::replace(&mut self.presence_due, true) {
            let at = self.now + PRESENCE;
            self.at(at, Event::Presence);
        }
    }

    pub fn rooms_with_members(&self) -> BTreeSet<RoomName> {
        let servers = self.conns.values().filter_map(|conn| conn.server.as_ref());
        servers.flat_map(|server| server.subs.keys().cloned()).collect()
    }

    pub fn members(&self, room: &RoomName) -> Vec<ConnId> {
        let members = self.conns.iter().filter(|(_, conn)| {
            let server = conn.server.as_ref();
            server.is_some_and(|server| server.subs.contains_key(room))
        });
        members.map(|(&id, _)| id).collect()
    }
}
