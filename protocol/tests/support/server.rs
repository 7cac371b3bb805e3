//! The driver of one `ServerSession` in the model: the engine's answers come later, a member catches up page by page,
//! and live lines go straight to the link.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use talkback_protocol::{
    Offset, RoomName, ServerLine, UserName,
    codec::{self, MemberList, MessageLine},
    message::{Member, Message, Presence, Signal, code},
    session::server::{AppendOutcome, Identity, Input, Output, Refusal, ServerSession, SubscriptionId},
};

use super::{
    log::{Appended, Entry},
    ms,
    world::{ConnId, Down, Event, World},
};

/// Users of a room are told by name up to this many, and again when there are fewer than [`LISTED_AGAIN`].
const LISTED: usize = 3;
const LISTED_AGAIN: usize = 2;
/// How many messages of a member's backlog go out together.
const CATCH_UP_PAGE: usize = 2;

pub struct Server {
    pub session: ServerSession,
    pub subs: BTreeMap<RoomName, Sub>,
    pub user: Option<UserName>,
    /// What came and was not read yet.
    unread: VecDeque<String>,
    /// The engine answers a session in order.
    engine_free: Duration,
}

pub struct Sub {
    pub id: SubscriptionId,
    pub state: SubState,
    /// Whom its client was told of.
    told: Told,
}

/// Where a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubState {
    /// The log is read for the first time.
    Starting,
    /// The backlog goes out.
    CatchingUp,
    Live,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Names(BTreeSet<UserName>),
    Number(usize),
}

impl Server {
    pub fn new(session: ServerSession) -> Self {
        Self {
            session,
            subs: BTreeMap::new(),
            user: None,
            unread: VecDeque::new(),
            engine_free: Duration::ZERO,
        }
    }
}

impl World {
    /// A text came over the link.
    pub fn server_received(&mut self, conn: ConnId, text: String) {
        if let Some(server) = self.server_of(conn) {
            server.unread.push_back(text);
            self.read_on(conn);
        }
    }

    /// Takes what came, as far as the session reads.
    pub fn read_on(&mut self, conn: ConnId) {
        while let Some(server) = self.server_of(conn).filter(|server| server.session.reads()) {
            let Some(text) = server.unread.pop_front() else { return };
            self.server_input(conn, Input::Counted { frames: 1 });
            self.server_input(conn, Input::Received { text });
        }
    }

    pub fn server_input(&mut self, conn: ConnId, input: Input) {
        let moment = self.moment();
        if let Some(server) = self.server_of(conn) {
            server.session.handle(moment, input);
        }
        while let Some(output) = self.server_of(conn).and_then(|server| server.session.poll_output()) {
            self.server_output(conn, output);
        }
    }

    fn server_output(&mut self, conn: ConnId, output: Output) {
        match output {
            Output::Transmit(text) => self.send_down(conn, Down::Text(text)),
            Output::Pause { until } => {
                self.count("the server paused a client");
                if until > self.now + Duration::from_secs(1) {
                    self.violation(format!("a pause until {until:?}"));
                }
                self.at(until, Event::ReadOn { conn });
            }
            Output::Identify {
                client, name, token, ..
            } => {
                let good = self.token_version.to_string();
                let result = if token.is_some_and(|token| token != good) {
                    self.count("a token was refused");
                    Err(talkback_protocol::session::server::Denied {
                        code: 4401,
                        reason: "expired".to_owned(),
                    })
                } else {
                    let user = name.unwrap_or(UserName::parse("user").unwrap());
                    let now = self.now;
                    let left = self.allowances.get(&client);
                    let allowance = left.map(|(left, at)| (*left, now.saturating_sub(*at)));
                    if let Some(server) = self.server_of(conn) {
                        server.user = Some(user.clone());
                    }
                    Ok(Identity {
                        user,
                        expires: None,
                        allowance,
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
                let entry = Entry {
                    room,
                    client,
                    seq,
                    id,
                    first,
                    content: content.map(|body| (from, body)),
                };
                self.at(at, Event::Append { conn, entry });
            }
            Output::Subscribe {
                id,
                room,
                since,
                history,
            } => {
                if let Some(server) = self.server_of(conn) {
                    let sub = Sub {
                        id,
                        state: SubState::Starting,
                        told: Told::Nothing,
                    };
                    server.subs.insert(room.clone(), sub);
                }
                self.presence_changed();
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
            Output::Live { id, room, after } => {
                if let Some(sub) = self.sub(conn, &room).filter(|sub| sub.id == id) {
                    sub.state = SubState::CatchingUp;
                    self.catch_up(conn, id, &room, after);
                }
            }
            Output::Unsubscribe { id, room } => {
                if let Some(server) = self.server_of(conn)
                    && server.subs.get(&room).is_some_and(|sub| sub.id == id)
                {
                    server.subs.remove(&room);
                }
                self.presence_changed();
            }
            Output::ReadPage {
                id,
                room,
                before,
                limit,
            } => {
                // Reads overtake each other.
                let at = self.now + ms(self.random.below(40));
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
                let line = codec::encode(&ServerLine::Signal(Signal {
                    room: room.clone(),
                    from,
                    body,
                }));
                for member in self.members(&room) {
                    let is_live = self.sub(member, &room).is_some_and(|sub| sub.state == SubState::Live);
                    if member != conn && is_live {
                        self.count("a signal was passed on");
                        self.send_down(member, Down::Text(line.clone()));
                    }
                }
            }
            Output::Close { code, reason } => {
                if code == talkback_protocol::close::TOO_MANY {
                    self.count("a client was closed with 4429");
                }
                self.server_gone(conn);
                self.send_down(conn, Down::Close(code, reason));
            }
        }
    }

    /// Sends the next page of what a member missed. Then it is live, or there is another page after a while.
    pub fn catch_up(&mut self, conn: ConnId, id: SubscriptionId, room: &RoomName, after: Offset) {
        if self.sub(conn, room).is_none_or(|sub| sub.id != id) {
            return;
        }
        if !self.log.has_all_after(room, after) {
            self.count("a member was overtaken while it caught up");
            return self.close_by_server(conn, 4413);
        }
        let rest = self.log.after(room, after);
        let page = &rest[..rest.len().min(CATCH_UP_PAGE)];
        for line in page {
            self.send_down(conn, Down::Text(line.line().to_owned()));
        }
        if page.len() < rest.len() {
            self.count("a member caught up in several pages");
            let at = self.now + ms(self.random.below(2_000));
            let after = after.plus(page.len() as u64);
            let room = room.clone();
            return self.at(at, Event::CatchUp { conn, id, room, after });
        }
        if let Some(sub) = self.sub(conn, room) {
            sub.state = SubState::Live;
        }
        self.presence_changed();
    }

    /// Publishes a message to all members.
    fn fan_out(&mut self, message: &Message) {
        let line = MessageLine::encode(message);
        for conn in self.members(&message.room) {
            let Some(sub) = self.sub(conn, &message.room) else {
                continue;
            };
            if sub.state != SubState::Live {
                continue;
            }
            let copies = match self.random.below(16) {
                0 if self.sloppy => 2,
                1 if self.sloppy => 0,
                _ => 1,
            };
            if copies != 1 {
                self.count("the hub lost or doubled a line");
            }
            for _ in 0..copies {
                self.send_down(conn, Down::Text(line.line().to_owned()));
            }
        }
    }

    /// The users of a room, by what its members' connections said.
    pub fn users(&mut self, room: &RoomName) -> BTreeSet<UserName> {
        let members = self.members(room);
        members
            .into_iter()
            .filter_map(|conn| self.server_of(conn)?.user.clone())
            .collect()
    }

    /// Tells the members of all rooms who came and went, as a hub does now and then.
    pub fn tell_presence(&mut self) {
        let rooms: BTreeSet<_> = self.rooms_with_members();
        for room in rooms {
            let now = self.users(&room);
            for conn in self.members(&room) {
                let Some(sub) = self.sub(conn, &room).filter(|sub| sub.state == SubState::Live) else {
                    continue;
                };
                let listed = match &sub.told {
                    Told::Names(_) => now.len() <= LISTED,
                    Told::Number(_) | Told::Nothing => now.len() <= LISTED_AGAIN,
                };
                let news = if listed {
                    Told::Names(now.clone())
                } else {
                    Told::Number(now.len())
                };
                let told = std::mem::replace(&mut sub.told, news.clone());
                if told == news {
                    continue;
                }
                let mut presence = Presence {
                    room: room.clone(),
                    users: u32::try_from(now.len()).unwrap(),
                    joined: None,
                    left: None,
                    members: None,
                };
                match (&told, &news) {
                    (Told::Names(before), Told::Names(now)) => {
                        self.count("a difference of users was told");
                        presence.joined = Some(members(now.difference(before)));
                        presence.left = Some(members(before.difference(now)));
                    }
                    (_, Told::Names(now)) => {
                        self.count("a full list of users was told");
                        presence.members = Some(members(now));
                    }
                    _ => self.count("only a number of users was told"),
                }
                let line = codec::encode(&ServerLine::Presence(presence));
                self.send_down(conn, Down::Text(line));
            }
        }
    }

    pub fn engine_event(&mut self, event: Event) {
        match event {
            Event::Append { conn, mut entry } => {
                let now = self.now;
                let (room, seq) = (entry.room.clone(), entry.seq);
                let outcome = if self.engine_busy_until > now {
                    self.count("the engine refused a message for now");
                    let code = if self.random.one_in(2) {
                        code::UNAVAILABLE
                    } else {
                        code::BUSY
                    };
                    // Some ask to come again at once, which must not become a storm.
                    let pause = ms([0, 300, 900][usize::try_from(self.random.below(3)).unwrap()]);
                    AppendOutcome::Refused {
                        epoch: None,
                        refusal: Refusal::later(code, "not now", pause),
                    }
                } else {
                    if self.deny && entry.content.is_ok() {
                        entry.content = Err(Refusal::for_good(code::FORBIDDEN, "not here"));
                    }
                    let Appended {
                        outcome,
                        message,
                        late_copy,
                    } = self.log.append(entry, now);
                    match &outcome {
                        _ if late_copy => self.count("a late copy of a refused or withdrawn number came"),
                        AppendOutcome::Refused { refusal, .. } if refusal.code == code::WITHDRAWN => {
                            self.count("a number was withdrawn");
                        }
                        AppendOutcome::Refused { refusal, .. } if refusal.code == code::TOO_LARGE => {
                            self.count("the server refused a message as too large");
                        }
                        AppendOutcome::Refused { .. } => self.count("a message was refused for good"),
                        AppendOutcome::Gap { .. } => self.count("a gap"),
                        AppendOutcome::Conflict { .. } => self.count("a conflict"),
                        AppendOutcome::Forgotten { .. } => self.count("an outcome was forgotten"),
                        AppendOutcome::Duplicate(_) => self.count("a message came again"),
                        AppendOutcome::Added(_) => {}
                    }
                    if let Some(message) = message {
                        self.fan_out(&message);
                    }
                    outcome
                };
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
                    self.count("a join was refused for now");
                    Err(Refusal::later(code::UNAVAILABLE, "busy", ms(300)))
                } else if self.deny {
                    self.count("a join was refused for good");
                    Err(Refusal::for_good(code::FORBIDDEN, "not here"))
                } else {
                    Ok(self.log.subscribe(&room, since.as_ref(), history, first_page))
                };
                let result = result.map(|mut start| {
                    let users = self.users(&room);
                    start.users = u32::try_from(users.len()).unwrap();
                    // The list of a room may be from a while ago: the newest of its users are not on it.
                    let skipped = usize::from(self.random.one_in(2));
                    let old: BTreeSet<_> = users.iter().skip(skipped).cloned().collect();
                    let told = if users.len() > LISTED {
                        Told::Number(users.len())
                    } else {
                        start.members = Some(MemberList::encode(&members(&old)));
                        Told::Names(old)
                    };
                    if let Some(sub) = self.sub(conn, &room).filter(|sub| sub.id == id) {
                        sub.told = told;
                    }
                    if start.fork.is_some() && since.is_some() {
                        self.count(if start.recovered {
                            "a member recovered, perhaps across a fork"
                        } else {
                            "a member was beyond a fork"
                        });
                    }
                    start
                });
                if result.is_err()
                    && let Some(server) = self.server_of(conn)
                    && server.subs.get(&room).is_some_and(|sub| sub.id == id)
                {
                    server.subs.remove(&room);
                    self.presence_changed();
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
                let result = if self.deny {
                    self.count("history was refused for good");
                    Err(Refusal::for_good(code::FORBIDDEN, "not here"))
                } else if self.engine_busy_until > self.now {
                    self.count("history was refused for now");
                    Err(Refusal::later(code::BUSY, "not now", ms(200)))
                } else {
                    Ok(self.log.page(&room, before, limit))
                };
                self.server_input(conn, Input::PageRead { id, room, result });
            }
            _ => {}
        }
    }

    fn engine_time(&mut self, conn: ConnId) -> Duration {
        let soon = self.now + ms(self.random.below(20));
        match self.server_of(conn) {
            Some(server) => {
                server.engine_free = server.engine_free.max(soon);
                server.engine_free
            }
            None => soon,
        }
    }
}

fn members<'a>(users: impl IntoIterator<Item = &'a UserName>) -> Vec<Member> {
    users.into_iter().map(|user| Member { user: user.clone() }).collect()
}
