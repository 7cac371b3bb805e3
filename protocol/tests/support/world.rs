//! The virtual clock, and connections that lose, delay and outlive what goes over them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use talkback_protocol::{
    Body, ClientKey, Cursor, Moment, Offset, RoomName, Seq,
    message::Author,
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

pub type ConnId = u64;

/// How long a message may wait in the outboxes of the model.
pub const TTL: Duration = secs(60);

/// What the link does to new connections and texts.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The longest time that a text is on the way.
    pub delay: Duration,
    /// Connections fail to open.
    pub refuse: bool,
    /// Connections are accepted and closed at once with this code.
    pub close_at_once: Option<u16>,
    /// Connections neither open nor fail.
    pub black_hole: bool,
}

/// What comes down to a client.
#[derive(Clone, Debug)]
pub enum Down {
    Opened,
    Text(String),
    Close(u16, String),
}

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
        room: RoomName,
        before: Offset,
        limit: u32,
    },
}

struct Conn {
    peer: usize,
    generation: u64,
    server: Option<Server>,
    /// Texts from the server still arrive.
    down: bool,
    /// Texts from the client still arrive.
    up: bool,
    up_free: Duration,
    down_free: Duration,
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
        server_config.frames_per_second = 200;
        server_config.frames_burst = 40;
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
                Event::Up { conn, text } => self.server_input(conn, server::Input::Received { text }),
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

    pub fn connect(&mut self, peer: usize, generation: u64) -> ConnId {
        self.last_conn += 1;
        let id = self.last_conn;
        let now = self.now;
        self.conns.insert(
            id,
            Conn {
                peer,
                generation,
                server: None,
                down: true,
                up: true,
                up_free: now,
                down_free: now,
            },
        );
        if self.link.refuse {
            self.send_down(id, Down::Close(1006, String::new()));
        } else if !self.link.black_hole {
            let session = ServerSession::new(Arc::clone(&self.server_config), now);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.server = Some(Server::new(session));
            }
            self.send_down(id, Down::Opened);
            if let Some(code) = self.link.close_at_once {
                self.server_gone(id);
                self.send_down(id, Down::Close(code, String::new()));
            }
        }
        id
    }

    pub fn send_up(&mut self, conn: ConnId, text: String) {
        let at = self.now + self.some_delay();
        let Some(state) = self.conns.get_mut(&conn).filter(|conn| conn.up) else {
            return;
        };
        state.up_free = state.up_free.max(at);
        let at = state.up_free;
        self.at(at, Event::Up { conn, text });
    }

    pub fn send_down(&mut self, conn: ConnId, down: Down) {
        let at = self.now + self.some_delay();
        let Some(state) = self.conns.get_mut(&conn).filter(|conn| conn.down) else {
            return;
        };
        state.down_free = state.down_free.max(at);
        let at = state.down_free;
        self.at(at, Event::Down { conn, down });
    }

    fn some_delay(&mut self) -> Duration {
        let longest = u64::try_from(self.link.delay.as_micros()).unwrap();
        Duration::from_micros(self.random.below(longest + 1))
    }

    fn come_down(&mut self, id: ConnId, down: Down) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.down) else {
            return;
        };
        let (peer, generation) = (conn.peer, conn.generation);
        if let Some(wake) = self.peers[peer].sleeps_until(self.now) {
            // The machine sleeps: what comes waits in its buffers. Nothing overtakes it.
            conn.down_free = conn.down_free.max(wake);
            return self.at(wake, Event::Down { conn: id, down });
        }
        let input = match down {
            Down::Opened => client::Input::Opened { generation },
            Down::Text(text) => client::Input::Received { generation, text },
            Down::Close(code, reason) => {
                conn.down = false;
                client::Input::Closed {
                    generation,
                    code,
                    reason,
                }
            }
        };
        self.peer_input(peer, input);
    }

    /// The client closed: the server learns it after a while, and what was sent before may still arrive.
    pub fn close_by_client(&mut self, id: ConnId) {
        let mut late = self.some_delay();
        if self.random.one_in(4) {
            late += ms(self.random.below(20_000));
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.down = false;
            let at = conn.up_free.max(self.now) + late;
            self.at(at, Event::ServerGone { conn: id });
        }
    }

    /// The connection breaks. `told`: the client is told at once. What was on the way up is lost or comes late.
    pub fn cut(&mut self, id: ConnId, told: bool) {
        let lose_up = self.random.one_in(2);
        let late = ms(self.random.below(30_000));
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.up = false;
        let mut at = conn.up_free.max(now) + late;
        if lose_up {
            at = now + late;
            self.events
                .retain(|_, event| !matches!(event, Event::Up { conn, .. } if *conn == id));
        }
        // Half of what was on the way down arrives.
        let lost: Vec<_> = self
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Down { conn, .. } if *conn == id))
            .map(|(key, _)| *key)
            .collect();
        let kept = usize::try_from(self.random.below(lost.len() as u64 + 1)).unwrap();
        for key in &lost[kept..] {
            self.events.remove(key);
        }
        if told {
            self.send_down(id, Down::Close(1006, String::new()));
        }
        self.at(at, Event::ServerGone { conn: id });
        if !told && let Some(conn) = self.conns.get_mut(&id) {
            // Half-open: nothing more comes, and nobody says so.
            conn.down = false;
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
        self.server_input(id, server::Input::Expelled { id: sub });
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
