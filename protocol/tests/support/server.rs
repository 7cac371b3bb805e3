//! The driver of one `ServerSession` in the model: the engine's answers come later, and live lines go straight to the link.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use talkback_protocol::{
    Offset, RoomName, ServerFrame, UserName,
    codec::{self, MessageLine},
    message::{Message, Signal, code},
    session::server::{AppendOutcome, Identity, Input, Output, Refusal, ServerSession, SubscriptionId},
};

use super::log::Number;
use super::world::{ConnId, Down, Event, World};

pub struct Server {
    pub session: ServerSession,
    pub subs: BTreeMap<RoomName, Sub>,
    /// Texts that arrived while the session does not read.
    unread: VecDeque<String>,
    /// The engine answers a session in order.
    engine_free: Duration,
}

pub struct Sub {
    pub id: SubscriptionId,
    /// From `Live` on.
    pub live: bool,
}

impl Server {
    pub fn new(session: ServerSession) -> Self {
        Self {
            session,
            subs: BTreeMap::new(),
            unread: VecDeque::new(),
            engine_free: Duration::ZERO,
        }
    }
}

impl World {
    /// A text arrived: the session gets it when it reads.
    pub fn come_up(&mut self, conn: ConnId, text: String) {
        if let Some(server) = self.server_of(conn) {
            server.unread.push_back(text);
        }
        self.read_up(conn);
    }

    pub fn read_up(&mut self, conn: ConnId) {
        while let Some(server) = self.server_of(conn).filter(|server| server.session.reads()) {
            let Some(text) = server.unread.pop_front() else {
                return;
            };
            self.server_input(conn, Input::Received { text });
        }
    }

    pub fn server_input(&mut self, conn: ConnId, input: Input) {
        let moment = self.moment();
        if let Some(server) = self.server_of(conn) {
            server.session.handle(moment, input);
        }
        self.drain_server(conn);
    }

    fn drain_server(&mut self, conn: ConnId) {
        while let Some(output) = self.server_of(conn).and_then(|server| server.session.poll_output()) {
            self.server_output(conn, output);
        }
    }

    fn server_output(&mut self, conn: ConnId, output: Output) {
        match output {
            Output::Transmit(text) => self.send_down(conn, Down::Text(text)),
            Output::Identify { name, token, .. } => {
                let good = self.token_version.to_string();
                let result = if token.is_some_and(|token| token != good) {
                    Err(talkback_protocol::session::server::Denied {
                        code: 4401,
                        reason: "expired".to_owned(),
                    })
                } else {
                    Ok(Identity {
                        user: name.unwrap_or(UserName::parse("user").unwrap()),
                        expires: None,
                        allowance: None,
                    })
                };
                self.server_input(conn, Input::Identified(result));
            }
            Output::Append {
                room,
                client,
                seq,
                id,
                first,
                from,
                content,
            } => {
                let at = self.engine_time(conn);
                let entry = content.map(|body| (from, body));
                self.at(
                    at,
                    Event::Append {
                        conn,
                        room,
                        client,
                        seq,
                        id,
                        first,
                        entry,
                    },
                );
            }
            Output::Subscribe {
                id,
                room,
                since,
                history,
            } => {
                if let Some(server) = self.server_of(conn) {
                    server.subs.insert(room.clone(), Sub { id, live: false });
                }
                let at = self.engine_time(conn);
                let read = Event::Subscribe {
                    conn,
                    id,
                    room,
                    since,
                    history,
                };
                self.at(at, read);
            }
            Output::Live { id, room, after } => self.go_live(conn, id, &room, after),
            Output::Unsubscribe { id, room } => {
                if let Some(server) = self.server_of(conn)
                    && server.subs.get(&room).is_some_and(|sub| sub.id == id)
                {
                    server.subs.remove(&room);
                }
            }
            Output::ReadPage {
                id,
                room,
                before,
                limit,
            } => {
                let at = self.engine_time(conn);
                self.at(
                    at,
                    Event::ReadPage {
                        conn,
                        id,
                        room,
                        before,
                        limit,
                    },
                );
            }
            Output::Signal { room, from, body } => {
                let line = codec::encode(&ServerFrame::Signal(Signal {
                    room: room.clone(),
                    from,
                    body,
                }));
                for member in self.members(&room) {
                    if member != conn && self.sub(member, &room).is_some_and(|sub| sub.live) {
                        self.send_down(member, Down::Text(line.clone()));
                    }
                }
            }
            // `read_up` asks the session before it takes a text.
            Output::Pause { .. } => {}
            Output::Close { code, reason } => {
                self.server_gone(conn);
                self.send_down(conn, Down::Close(code, reason));
            }
        }
    }

    /// What the answer left out and what came since: the model reads both from the log.
    fn go_live(&mut self, conn: ConnId, id: SubscriptionId, room: &RoomName, after: Offset) {
        let rest = self.log.after(room, after);
        let Some(sub) = self.sub(conn, room).filter(|sub| sub.id == id) else {
            return;
        };
        sub.live = true;
        for line in rest {
            self.send_down(conn, Down::Text(line.line().to_owned()));
        }
    }

    /// Publishes a message to all members.
    fn fan_out(&mut self, message: &Message) {
        let line = MessageLine::encode(message);
        for conn in self.members(&message.room) {
            let Some(sub) = self.sub(conn, &message.room) else {
                continue;
            };
            if !sub.live {
                continue;
            }
            let copies = match self.random.below(16) {
                0 if self.sloppy => 2,
                1 if self.sloppy => 0,
                _ => 1,
            };
            for _ in 0..copies {
                self.send_down(conn, Down::Text(line.line().to_owned()));
            }
        }
    }

    pub fn engine_event(&mut self, event: Event) {
        match event {
            Event::Append {
                conn,
                room,
                client,
                seq,
                id,
                first,
                entry,
            } => {
                let now = self.now;
                let busy = self.engine_busy_until > now;
                let (outcome, message) = if busy {
                    let refusal = Refusal::later(code::UNAVAILABLE, "busy", Duration::from_millis(300));
                    (AppendOutcome::Refused { epoch: None, refusal }, None)
                } else {
                    self.log.append(&room, client, Number { seq, id, first }, entry, now)
                };
                if let Some(message) = message {
                    self.fan_out(&message);
                }
                self.server_input(conn, Input::Appended { room, seq, outcome });
            }
            Event::Subscribe {
                conn,
                id,
                room,
                since,
                history,
            } => {
                let first_page = usize::try_from(self.random.below(6)).unwrap();
                let result = if self.engine_busy_until > self.now {
                    Err(Refusal::later(code::UNAVAILABLE, "busy", Duration::from_millis(300)))
                } else {
                    Ok(self.log.subscribe(&room, since.as_ref(), history, first_page))
                };
                if result.is_err()
                    && let Some(server) = self.server_of(conn)
                    && server.subs.get(&room).is_some_and(|sub| sub.id == id)
                {
                    server.subs.remove(&room);
                }
                self.server_input(conn, Input::Subscribed { id, result });
            }
            Event::ReadPage {
                conn,
                id,
                room,
                before,
                limit,
            } => {
                let result = Ok(self.log.page(&room, before, limit));
                self.server_input(conn, Input::PageRead { id, room, result });
            }
            _ => {}
        }
    }

    fn engine_time(&mut self, conn: ConnId) -> Duration {
        let soon = self.now + Duration::from_millis(self.random.below(20));
        match self.server_of(conn) {
            Some(server) => {
                server.engine_free = server.engine_free.max(soon);
                server.engine_free
            }
            None => soon,
        }
    }
}
