//! The connections of clients, and the packets in flight.

use std::time::Duration;

use super::{
    Direction, Faults, TestServer,
    server::{Event, Session},
};
use crate::close;

/// The number of a connection, in the order of opening.
pub type ConnectionId = u64;

/// What arrives at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The connection is open.
    Opened,
    /// A WebSocket message with this text.
    Text(String),
    /// The connection is closed, with this code and reason.
    Closed(u16, String),
}

/// What arrives at the server.
pub(super) enum Packet {
    /// The opening handshake.
    Open,
    Text(String),
    /// The client has closed the connection.
    Close,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// What becomes of the texts in flight to the server.
    pub to_server: InFlight,
    /// How many of the packets in flight to the client arrive.
    pub to_client: usize,
    /// Whether the client notices at once. Otherwise the connection is half-open.
    pub is_noticed: bool,
    /// How long after the last text to the server the server notices.
    pub server_notices_after: Duration,
}

/// What becomes of texts in flight to the server when their connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// They are lost.
    Lost,
    /// They arrive as if nothing had happened.
    Arrive,
    /// They arrive this long after the server would have noticed.
    ArriveLate(Duration),
}

/// What [`TestServer::step`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: no event is due.
    Idle,
    /// An event of the server.
    Server,
    /// Something arrived at the client of this connection.
    Client(ConnectionId, Arrival),
}

pub(super) struct Connection {
    /// The server's half; `None` before the connection is accepted, and after the server has closed or lost it.
    pub(super) session: Option<Session>,
    /// Packets from the server still arrive.
    to_client: bool,
    /// Texts from the client are still sent.
    pub(super) to_server: bool,
    /// When the newest packet of a direction arrives.
    to_server_until: Duration,
    to_client_until: Duration,
}

impl<F: Faults> TestServer<F> {
    /// A new connection of a client, without an answer: it neither opens nor fails until [`request`](Self::request),
    /// [`accept`](Self::accept) or [`refuse`](Self::refuse) follows.
    pub fn connect(&mut self, now: Duration) -> ConnectionId {
        self.last_connection += 1;
        let connection = Connection {
            session: None,
            to_client: true,
            to_server: true,
            to_server_until: now,
            to_client_until: now,
        };
        self.connections.insert(self.last_connection, connection);
        self.last_connection
    }

    /// Sends the request to open a connection, which the server accepts when it arrives.
    pub fn request(&mut self, id: ConnectionId, now: Duration) {
        self.send_packet(id, Packet::Open, now);
    }

    /// The server accepts a connection now.
    pub fn accept(&mut self, id: ConnectionId, now: Duration) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.session = Some(Session::new(self.options.clone(), now));
        }
        self.send_to_client(id, Arrival::Opened, now);
    }

    /// A connection fails to open.
    pub fn refuse(&mut self, id: ConnectionId, now: Duration) {
        self.send_to_client(id, Arrival::Closed(close::ABNORMAL, String::new()), now);
    }

    /// A client sends a text.
    pub fn send(&mut self, id: ConnectionId, text: String, now: Duration) {
        self.send_packet(id, Packet::Text(text), now);
    }

    fn send_packet(&mut self, id: ConnectionId, packet: Packet, now: Duration) {
        let at = now + self.faults.latency();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.to_server {
            return;
        }
        if let Packet::Text(text) = &packet {
            self.faults.sent(now, id, Direction::ToServer, text);
        }
        connection.to_server_until = connection.to_server_until.max(at);
        let at = connection.to_server_until;
        self.at(at, Event::ToServer { id, packet });
    }

    pub(super) fn send_to_client(&mut self, id: ConnectionId, arrival: Arrival, now: Duration) {
        let at = now + self.faults.latency();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.to_client {
            return;
        }
        if let Arrival::Text(text) = &arrival {
            self.faults.sent(now, id, Direction::ToClient, text);
        }
        connection.to_client_until = connection.to_client_until.max(at);
        let at = connection.to_client_until;
        self.at(at, Event::ToClient { id, arrival });
    }

    /// A client closes a connection: nothing arrives at it any more. The server reads what was sent before.
    pub fn close_by_client(&mut self, id: ConnectionId, now: Duration) {
        self.send_packet(id, Packet::Close, now);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.to_client = false;
        }
    }

    /// A client closes a connection, and the server notices this long after the last text arrived. What it has not read
    /// by then is lost.
    pub fn abandon(&mut self, id: ConnectionId, after: Duration, now: Duration) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.to_client = false;
            let at = connection.to_server_until.max(now) + after;
            self.at(at, Event::Gone { id });
        }
    }

    /// How many packets are in flight to the client; `None` if there is no such connection.
    #[must_use]
    pub fn in_flight_to_client(&self, id: ConnectionId) -> Option<usize> {
        self.connections
            .contains_key(&id)
            .then(|| self.packets_to_client(id).count())
    }

    fn packets_to_client(&self, id: ConnectionId) -> impl Iterator<Item = (Duration, u64)> {
        let to_client = move |event: &Event| matches!(event, Event::ToClient { id: other, .. } if *other == id);
        let packets = self.events.iter().filter(move |(_, event)| to_client(event));
        packets.map(|(key, _)| *key)
    }

    /// Breaks a connection.
    pub fn cut(&mut self, id: ConnectionId, cut: Cut, now: Duration) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.to_server = false;
        let mut notices = connection.to_server_until.max(now) + cut.server_notices_after;
        let to_server = |event: &Event| matches!(event, Event::ToServer { id: other, .. } if *other == id);
        match cut.to_server {
            InFlight::Lost => {
                notices = now + cut.server_notices_after;
                self.events.retain(|_, event| !to_server(event));
            }
            InFlight::Arrive => {}
            InFlight::ArriveLate(later) => {
                notices += later;
                let late: Vec<_> = self.events.extract_if(.., |_, event| to_server(event)).collect();
                for (_, event) in late {
                    self.at(notices, event);
                }
            }
        }
        let lost: Vec<_> = self.packets_to_client(id).skip(cut.to_client).collect();
        for key in lost {
            self.events.remove(&key);
        }
        if cut.is_noticed {
            self.send_to_client(id, Arrival::Closed(close::ABNORMAL, String::new()), now);
        }
        self.at(notices, Event::Gone { id });
        if !cut.is_noticed
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.to_client = false;
        }
    }

    /// Makes every connection half-open: packets are lost in both directions, and neither side notices.
    pub fn half_open(&mut self) {
        for connection in self.connections.values_mut() {
            connection.to_client = false;
            connection.to_server = false;
        }
        self.events.retain(|_, event| !event.is_packet());
    }

    /// Removes every connection on both sides, with the packets in flight. It is for the caller to tell the clients.
    pub fn remove_connections(&mut self, now: Duration) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.end_session(id, now);
        }
        self.connections.clear();
        self.events.retain(|_, event| !event.is_packet());
    }

    /// Holds packets back from now on, or delivers them again, in order.
    pub fn stall(&mut self, stall: bool) {
        self.is_stalled = stall;
    }

    /// When the next event is due: call [`step`](Self::step) and [`tick`](Self::tick) then.
    #[must_use]
    pub fn next_time(&self) -> Option<Duration> {
        let event = self.next_event().map(|(time, _)| time);
        let sessions = self
            .connections
            .values()
            .filter_map(|connection| connection.session.as_ref());
        let timeouts = sessions.filter_map(|session| session.machine.next_timeout());
        event.into_iter().chain(timeouts).min()
    }

    fn next_event(&self) -> Option<(Duration, u64)> {
        let is_held = |event: &Event| self.is_stalled && event.is_packet();
        let mut events = self.events.iter().filter(|(_, event)| !is_held(event));
        events.next().map(|(key, _)| *key)
    }

    /// Handles one event that is due. What arrives at a client whose machine sleeps (`asleep_until`) waits until it
    /// wakes, with what follows.
    pub fn step(&mut self, now: Duration, asleep_until: impl Fn(ConnectionId) -> Option<Duration>) -> Step {
        let due = self.next_event().filter(|(time, _)| *time <= now);
        let Some(event) = due.and_then(|key| self.events.remove(&key)) else {
            return Step::Idle;
        };
        match event {
            Event::ToClient { id, arrival } => {
                let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.to_client) else {
                    return Step::Server;
                };
                if let Some(until) = asleep_until(id) {
                    connection.to_client_until = connection.to_client_until.max(until);
                    self.at(until, Event::ToClient { id, arrival });
                    return Step::Server;
                }
                connection.to_client = !matches!(arrival, Arrival::Closed(..));
                return Step::Client(id, arrival);
            }
            Event::ToServer { id, packet } => match packet {
                Packet::Open => self.accept(id, now),
                packet => self.received(id, packet, now),
            },
            Event::Gone { id } => self.end_session(id, now),
            event => self.server_event(event, now),
        }
        Step::Server
    }
}
