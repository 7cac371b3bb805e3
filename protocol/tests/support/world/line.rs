//! Connections that lose, delay and outlive what goes over them.

use std::{sync::Arc, time::Duration};

use talkback_protocol::session::{client, server::ServerSession};

use super::{ConnId, Event, World};
use crate::support::{Direction, ms, server::Server};

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

pub(super) struct Conn {
    pub(super) peer: usize,
    pub(super) generation: u64,
    pub(super) server: Option<Server>,
    /// Texts from the server still arrive.
    pub(super) down: bool,
    /// Texts from the client still arrive.
    pub(super) up: bool,
    pub(super) up_free: Duration,
    pub(super) down_free: Duration,
}

impl World {
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
        self.recording.text(self.now, conn, Direction::ToServer, &text);
        state.up_free = state.up_free.max(at);
        let at = state.up_free;
        self.at(at, Event::Up { conn, text });
    }

    pub fn send_down(&mut self, conn: ConnId, down: Down) {
        let at = self.now + self.some_delay();
        let Some(state) = self.conns.get_mut(&conn).filter(|conn| conn.down) else {
            return;
        };
        if let Down::Text(text) = &down {
            self.recording.text(self.now, conn, Direction::ToClient, text);
        }
        state.down_free = state.down_free.max(at);
        let at = state.down_free;
        self.at(at, Event::Down { conn, down });
    }

    fn some_delay(&mut self) -> Duration {
        let longest = u64::try_from(self.link.delay.as_micros()).unwrap();
        Duration::from_micros(self.random.below(longest + 1))
    }

    pub(super) fn come_down(&mut self, id: ConnId, down: Down) {
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
        if !lose_up && self.random.one_in(4) {
            // A network can keep what was sent for long after its sender gave the connection up.
            let late = at + ms(self.random.below(20_000));
            let up = |event: &Event| matches!(event, Event::Up { conn, .. } if *conn == id);
            for event in self
                .events
                .extract_if(.., |_, event| up(event))
                .map(|(_, event)| event)
                .collect::<Vec<_>>()
            {
                self.at(late, event);
            }
            at = late;
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
}
