//! The virtual clock, and what happens at which time.

mod line;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use talkback_protocol::{
    Body, ClientKey, Cursor, Moment, Offset, PublishId, RequestId, RoomName, Seq,
    message::{Author, code},
    session::{
        client,
        server::{self, Refusal, ServerConfig, ServerSession, SubscriptionId},
    },
};

use super::{
    log::{ModelLog, REMEMBERED},
    ms,
    peer::Peer,
    random::Random,
    secs,
    server::{Server, Sub},
};

use line::Conn;
pub use line::{Down, Link};

pub type ConnId = u64;

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
        room: RoomName,
        client: ClientKey,
        seq: Seq,
        id: PublishId,
        first: bool,
        entry: Result<(Author, Body), Refusal>,
    },
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
    /// The only token that is good.
    pub token_version: u64,
    pub violations: Vec<String>,
    /// Keeps a transcript when a seed is replayed.
    pub verbose: bool,
    server_config: Arc<ServerConfig>,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: ConnId,
    events: BTreeMap<(Duration, u64), Event>,
    last_event: u64,
}

impl World {
    pub fn new(seed: u64, peers: usize) -> Self {
        let mut server_config = ServerConfig::default();
        server_config.limits.in_flight = u32::try_from(REMEMBERED).unwrap();
        server_config.limits.page = 20;
        server_config.limits.lines_per_second = 200;
        server_config.limits.lines_burst = 40;
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
            token_version: 0,
            violations: Vec::new(),
            verbose: false,
            server_config: Arc::new(server_config),
            conns: BTreeMap::new(),
            last_conn: 0,
            events: BTreeMap::new(),
            last_event: 0,
        }
    }

    pub fn moment(&mut self) -> Moment {
        Moment {
            now: self.now,
            random: self.random.bits(),
        }
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
                Event::Up { conn, text } => self.come_up(conn, text),
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
            self.read_up(conn);
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
        self.events.retain(|_, event| matches!(event, Event::Down { .. }));
    }

    pub fn server_gone(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.server = None;
            conn.up = false;
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
        let reason = Refusal::for_good(code::FORBIDDEN, "the room is over for this user");
        self.server_input(id, server::Input::Expelled { id: sub, reason });
    }

    pub fn server_of(&mut self, id: ConnId) -> Option<&mut Server> {
        self.conns.get_mut(&id)?.server.as_mut()
    }

    pub fn sub(&mut self, id: ConnId, room: &RoomName) -> Option<&mut Sub> {
        self.server_of(id)?.subs.get_mut(room)
    }

    pub fn members(&self, room: &RoomName) -> Vec<ConnId> {
        let members = self.conns.iter().filter(|(_, conn)| {
            let server = conn.server.as_ref();
            server.is_some_and(|server| server.subs.contains_key(room))
        });
        members.map(|(&id, _)| id).collect()
    }
}
