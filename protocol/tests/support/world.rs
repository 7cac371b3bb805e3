//! The virtual clock, the server with its faults, and the clients.

use std::{collections::BTreeMap, time::Duration};

use talkback_protocol::{
    Moment, RoomName,
    message::{Limits, code},
    session::{
        client,
        server::{self, Refusal, ServerOptions},
    },
    test_util::{Arrival, ConnectionId, Cut, Faults, InFlight, Logs, Random, Step, TestServer},
};

use super::{
    faults::{REMEMBERED, RandomFaults},
    ms,
    peer::Peer,
    secs,
};

/// How long a message may wait in the outboxes of the model.
pub const TTL: Duration = secs(60);

pub struct World {
    pub now: Duration,
    pub server: TestServer<RandomFaults>,
    pub peers: Vec<Peer>,
    /// The peer and the generation of each connection.
    owners: BTreeMap<ConnectionId, (usize, u64)>,
    /// A server took smaller bodies than others, at some time.
    pub small_bodies: bool,
    pub violations: Vec<String>,
    /// Messages that another page went on with, by their text, and how many pages did.
    pub copies: BTreeMap<String, usize>,
    /// Keeps a transcript when a seed is replayed.
    pub verbose: bool,
}

impl World {
    pub fn new(seed: u64, peers: usize) -> Self {
        let mut options = ServerOptions::default();
        options.limits.in_flight = u32::try_from(REMEMBERED).unwrap();
        options.limits.page = 20;
        options.limits.lines_per_second = 30;
        options.limits.lines_burst = 10;
        options.limits.rooms = 4;
        options.limits.history = 3;
        let mut faults = RandomFaults::new(seed);
        let peers = (0..peers).map(|index| Peer::new(index, &mut faults.random)).collect();
        Self {
            now: secs(1),
            server: TestServer::new(options, faults),
            peers,
            owners: BTreeMap::new(),
            small_bodies: false,
            violations: Vec::new(),
            copies: BTreeMap::new(),
            verbose: false,
        }
    }

    /// The limits that servers and clients have by default, and outboxes that hold everything.
    pub fn with_default_limits(seed: u64, peers: usize) -> Self {
        let mut world = Self::new(seed, peers);
        *world.server.options_mut() = ServerOptions::default();
        for peer in &mut world.peers {
            peer.hold_everything();
        }
        world
    }

    pub fn faults(&mut self) -> &mut RandomFaults {
        &mut self.server.faults
    }

    pub fn logs(&mut self) -> &mut Logs {
        &mut self.server.logs
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.server.faults.random
    }

    pub fn limits(&self) -> &Limits {
        &self.server.options().limits
    }

    pub fn moment(&mut self) -> Moment {
        Moment {
            now: self.now,
            random: self.random().bits(),
        }
    }

    /// One more of these happened.
    pub fn count(&mut self, what: &'static str) {
        self.faults().happened(what);
    }

    /// Other limits for the connections from now on, as another server has them.
    pub fn limit_bodies(&mut self, bytes: u32) {
        self.server.options_mut().limits.body_bytes = bytes;
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
        let peers = self.peers.iter().filter_map(Peer::next_tick);
        self.server.next_time().into_iter().chain(peers).min()
    }

    fn step(&mut self) {
        loop {
            let (now, owners, peers) = (self.now, &self.owners, &self.peers);
            let asleep_until = |id| peers[owners[&id].0].sleeps_until(now);
            match self.server.step(now, asleep_until) {
                Step::Idle => break,
                Step::Server => {}
                Step::Client(id, arrival) => self.arrived(id, arrival),
            }
        }
        for peer in 0..self.peers.len() {
            if self.peers[peer].next_tick().is_some_and(|at| at <= self.now) {
                self.peer_input(peer, client::Input::Tick);
            }
        }
        self.server.tick(self.now);
    }

    fn arrived(&mut self, id: ConnectionId, arrival: Arrival) {
        let (peer, generation) = self.owners[&id];
        let input = match arrival {
            Arrival::Opened => client::Input::Opened { generation },
            Arrival::Text(text) => client::Input::Received { generation, text },
            Arrival::Closed(code, reason) => client::Input::Closed {
                generation,
                code,
                reason,
            },
        };
        self.peer_input(peer, input);
    }

    pub fn connect(&mut self, peer: usize, generation: u64) -> ConnectionId {
        let (now, link) = (self.now, self.faults().link);
        let id = self.server.connect(now);
        self.owners.insert(id, (peer, generation));
        if link.refuse {
            self.server.refuse(id, now);
        } else if !link.black_hole {
            self.server.accept(id, now);
            if let Some(code) = link.close_at_once {
                self.server.close(id, code, "", now);
            }
        }
        id
    }

    /// A client closes: the server notices after a while, and what was sent before may still arrive.
    pub fn close_by_client(&mut self, id: ConnectionId) {
        let mut late = self.faults().latency();
        if self.random().one_in(4) {
            late += ms(self.random().below(20_000));
        }
        self.server.abandon(id, late, self.now);
    }

    /// Breaks a connection. What was in flight to the server is lost or arrives late, and half of what was in flight to
    /// the client arrives.
    pub fn cut(&mut self, id: ConnectionId, is_noticed: bool) {
        let is_lost = self.random().one_in(2);
        let server_notices_after = ms(self.random().below(30_000));
        let Some(in_flight) = self.server.in_flight_to_client(id) else {
            return;
        };
        let to_server = if is_lost {
            InFlight::Lost
        } else if self.random().one_in(4) {
            // A network can keep what was sent for long after its sender gave the connection up.
            InFlight::ArriveLate(ms(self.random().below(20_000)))
        } else {
            InFlight::Arrive
        };
        let to_client = self.random().below(in_flight as u64 + 1);
        let cut = Cut {
            to_server,
            to_client: usize::try_from(to_client).unwrap(),
            is_noticed,
            server_notices_after,
        };
        self.server.cut(id, cut, self.now);
    }

    /// The server ends: all connections break, and what it was about to do is not done.
    pub fn restart(&mut self, graceful: bool) {
        for id in self.server.connections() {
            if graceful {
                let retry_after = ms(self.random().below(2_000));
                let shutdown = server::Input::Shutdown { retry_after };
                self.server.input(id, shutdown, self.now);
            } else {
                self.server.kill(id, self.now);
            }
        }
        self.server.forget_work();
    }

    /// The server closes a member that is too slow.
    pub fn close_by_server(&mut self, id: ConnectionId, code: u16) {
        self.server.close(id, code, "too slow", self.now);
    }

    pub fn expel(&mut self, id: ConnectionId, room: &RoomName) {
        let reason = Refusal::for_good(code::FORBIDDEN, "the room is closed to you");
        self.server.expel(id, room, reason, self.now);
    }
}
