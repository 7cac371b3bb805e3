//! The server's half of each connection, and the rooms.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use super::{
    Appended, Arrival, ConnectionId, Entry, Faults, Logs, Request,
    network::{Connection, Packet},
};
use crate::{
    Body, ClientKey, Cursor, Moment, Offset, RequestId, RoomName, ServerLine, UserName, close,
    codec::{self, MemberList, MessageLine},
    message::{Author, Member, Message, Presence, Signal, code},
    session::server::{
        Allowance, AppendOutcome, FoundMembers, Identity, Input, Output, Refusal, ServerOptions, ServerSession,
        Subscription, SubscriptionId,
    },
};

/// The longest pause that a session may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A server with its connections, its rooms and the network before it, on a virtual clock that its owner sets. Its
/// connections are handled by the production session.
pub struct TestServer<F> {
    /// What goes wrong.
    pub faults: F,
    /// The logs of the rooms.
    pub logs: Logs,
    /// The rooms that are addressed to a user besides its own ([`user_room`]), if the option
    /// [`direct`](ServerOptions::direct) is on.
    pub groups: BTreeMap<UserName, Vec<RoomName>>,
    pub(super) options: Arc<ServerOptions>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) last_connection: ConnectionId,
    /// Keyed by their time and a number in the order of their creation.
    pub(super) events: BTreeMap<(Duration, u64), Event>,
    last_event: u64,
    pub(super) is_stalled: bool,
    /// What clients had left of their rates when their connections ended, and when.
    allowances: BTreeMap<ClientKey, (Allowance, Duration)>,
    is_presence_due: bool,
}

/// What happens at a time.
pub(super) enum Event {
    ToServer {
        id: ConnectionId,
        packet: Packet,
    },
    ToClient {
        id: ConnectionId,
        arrival: Arrival,
    },
    /// The server notices that a connection is gone.
    Gone {
        id: ConnectionId,
    },
    /// A pause of reading may be over.
    ReadOn {
        id: ConnectionId,
    },
    Append {
        id: ConnectionId,
        entry: Entry,
    },
    Subscribe {
        id: ConnectionId,
        subscription: SubscriptionId,
        room: RoomName,
        since: Option<Cursor>,
        history: u32,
    },
    /// The next page of a member's backlog.
    CatchUp {
        id: ConnectionId,
        subscription: SubscriptionId,
        room: RoomName,
        after: Offset,
    },
    ReadPage {
        id: ConnectionId,
        request: RequestId,
        room: RoomName,
        before: Offset,
        limit: u32,
    },
    Find {
        id: ConnectionId,
        request: RequestId,
        room: RoomName,
        name: Option<UserName>,
    },
    /// Members are told which users joined and left.
    Presence,
}

impl Event {
    pub(super) fn is_packet(&self) -> bool {
        matches!(self, Self::ToServer { .. } | Self::ToClient { .. })
    }
}

/// The server's half of one connection.
pub(super) struct Session {
    pub(super) machine: ServerSession,
    memberships: BTreeMap<RoomName, Membership>,
    user: Option<UserName>,
    unread: VecDeque<Packet>,
    /// When the log has answered what was requested so far.
    log_free: Duration,
}

impl Session {
    pub(super) fn new(options: Arc<ServerOptions>, now: Duration) -> Self {
        Self {
            machine: ServerSession::new(options, now),
            memberships: BTreeMap::new(),
            user: None,
            unread: VecDeque::new(),
            log_free: Duration::ZERO,
        }
    }
}

struct Membership {
    subscription: SubscriptionId,
    state: MemberState,
    told: Told,
}

/// How far a connection has become a member of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberState {
    /// The log is read for the first time.
    Starting,
    /// The backlog is sent.
    CatchingUp,
    Live,
}

/// What a member was told of the users in its room.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Names(BTreeSet<UserName>),
    Number(usize),
}

impl<F: Faults> TestServer<F> {
    /// A server without connections and rooms.
    #[must_use]
    pub fn new(options: ServerOptions, faults: F) -> Self {
        Self {
            faults,
            logs: Logs::new(F::REMEMBERED, F::STORED_EVERY),
            groups: BTreeMap::new(),
            options: Arc::new(options),
            connections: BTreeMap::new(),
            last_connection: 0,
            events: BTreeMap::new(),
            last_event: 0,
            is_stalled: false,
            allowances: BTreeMap::new(),
            is_presence_due: false,
        }
    }

    /// The options of new connections.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Changes the options of new connections.
    pub fn options_mut(&mut self) -> &mut ServerOptions {
        Arc::make_mut(&mut self.options)
    }

    /// The connections that were opened and are not removed, also those that are closed.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.connections.keys().copied().collect()
    }

    pub(super) fn at(&mut self, time: Duration, event: Event) {
        self.last_event += 1;
        self.events.insert((time, self.last_event), event);
    }

    fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.connections.get_mut(&id)?.session.as_mut()
    }

    /// The membership of a connection in a room, if it is that of this subscription.
    fn membership(
        &mut self,
        id: ConnectionId,
        room: &RoomName,
        subscription: SubscriptionId,
    ) -> Option<&mut Membership> {
        let membership = self.session(id)?.memberships.get_mut(room)?;
        (membership.subscription == subscription).then_some(membership)
    }

    fn remove_membership(&mut self, id: ConnectionId, room: &RoomName, subscription: SubscriptionId) {
        if self.membership(id, room, subscription).is_some()
            && let Some(session) = self.session(id)
        {
            session.memberships.remove(room);
        }
    }

    fn is_live(&mut self, id: ConnectionId, room: &RoomName) -> bool {
        let membership = self.session(id).and_then(|session| session.memberships.get(room));
        membership.is_some_and(|membership| membership.state == MemberState::Live)
    }

    /// The connections with a membership in a room.
    fn members(&self, room: &RoomName) -> Vec<ConnectionId> {
        let members = self.connections.iter().filter(|(_, connection)| {
            let session = connection.session.as_ref();
            session.is_some_and(|session| session.memberships.contains_key(room))
        });
        members.map(|(&id, _)| id).collect()
    }

    /// The users in a room; none in an addressed one, which has no presence.
    pub fn users(&mut self, room: &RoomName) -> BTreeSet<UserName> {
        if room.is_reserved() {
            return BTreeSet::new();
        }
        let members = self.members(room);
        members
            .into_iter()
            .filter_map(|id| self.session(id)?.user.clone())
            .collect()
    }

    /// Gives every session whose time has come a tick; `false` if there is none. Call it when [`step`](Self::step)
    /// found nothing more that is due.
    pub fn tick(&mut self, now: Duration) -> bool {
        let due = self.connections.iter().filter(|(_, connection)| {
            let session = connection.session.as_ref();
            let timeout = session.and_then(|session| session.machine.next_timeout());
            timeout.is_some_and(|at| at <= now)
        });
        let due: Vec<_> = due.map(|(&id, _)| id).collect();
        for &id in &due {
            self.input(id, Input::Tick, now);
        }
        !due.is_empty()
    }

    /// The server closes a connection that it has accepted.
    pub fn close(&mut self, id: ConnectionId, code: u16, reason: &str, now: Duration) {
        if self.session(id).is_some() {
            self.end_session(id, now);
            self.send_to_client(id, Arrival::Closed(code, reason.to_owned()), now);
        }
    }

    /// The server's half of a connection ends without closing it, as when the program is killed.
    pub fn kill(&mut self, id: ConnectionId, now: Duration) {
        self.end_session(id, now);
        self.send_to_client(id, Arrival::Closed(close::ABNORMAL, String::new()), now);
    }

    /// What the server was about to do is not done, and the rates of clients are forgotten: the rest of a restart after
    /// all connections ended.
    pub fn forget_work(&mut self) {
        self.events
            .retain(|_, event| matches!(event, Event::ToClient { .. } | Event::Presence));
        self.allowances.clear();
    }

    /// The server ends the membership of a connection in a room.
    pub fn expel(&mut self, id: ConnectionId, room: &RoomName, reason: Refusal, now: Duration) {
        let Some(membership) = self.session(id).and_then(|session| session.memberships.remove(room)) else {
            return;
        };
        self.presence_changed(now);
        let expelled = Input::Expelled {
            id: membership.subscription,
            reason,
        };
        self.input(id, expelled, now);
    }

    /// Appends a message without a number and sends it to the members, as one that came over HTTP.
    pub fn publish(&mut self, room: RoomName, from: Author, body: Body, now: Duration) {
        let message = self.logs.append_unnumbered(room, from, body, now);
        self.broadcast(&message, now);
    }

    pub(super) fn end_session(&mut self, id: ConnectionId, now: Duration) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.to_server = false;
        if let Some(session) = connection.session.take()
            && let Some((client, allowance)) = session.machine.allowance()
        {
            self.allowances.insert(client, (allowance, now));
        }
        self.presence_changed(now);
    }

    fn presence_changed(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.is_presence_due, true) {
            self.at(now + F::PRESENCE_INTERVAL, Event::Presence);
        }
    }

    pub(super) fn received(&mut self, id: ConnectionId, packet: Packet, now: Duration) {
        if let Some(session) = self.session(id) {
            session.unread.push_back(packet);
            self.read_on(id, now);
        } else if matches!(packet, Packet::Close) {
            self.connections.remove(&id);
        }
    }

    /// Reads what was received, as far as the session reads.
    fn read_on(&mut self, id: ConnectionId, now: Duration) {
        while let Some(session) = self.session(id).filter(|session| session.machine.reads()) {
            match session.unread.pop_front() {
                Some(Packet::Text(text)) => {
                    self.input(id, Input::Counted { frames: 1 }, now);
                    self.input(id, Input::Received { text }, now);
                }
                Some(Packet::Close) => {
                    self.end_session(id, now);
                    self.connections.remove(&id);
                }
                Some(Packet::Open) => {}
                None => return,
            }
        }
    }

    /// Gives a session an input, and carries its outputs out.
    pub fn input(&mut self, id: ConnectionId, input: Input, now: Duration) {
        let random = self.faults.random();
        if let Some(session) = self.session(id) {
            session.machine.handle(Moment { now, random }, input);
        }
        while let Some(output) = self.session(id).and_then(|session| session.machine.poll_output()) {
            self.carry_out(id, output, now);
        }
    }

    fn carry_out(&mut self, id: ConnectionId, output: Output, now: Duration) {
        match output {
            Output::Transmit(text) => self.send_to_client(id, Arrival::Text(text), now),
            Output::Pause { until } => {
                assert!(until <= now + MAX_PAUSE, "a pause until {until:?} at {now:?}");
                self.faults.happened("the server paused a client");
                self.at(until, Event::ReadOn { id });
            }
            Output::Identify { client, name, token } => self.identify(id, client, name, token.as_deref(), now),
            Output::Append {
                room,
                client,
                seq,
                id: message,
                first,
                from,
                content,
            } => {
                let entry = Entry {
                    room,
                    client,
                    seq,
                    id: message,
                    first,
                    content: content.map(|body| (from, body)),
                };
                let at = self.log_time(id, now);
                self.at(at, Event::Append { id, entry });
            }
            Output::Subscribe {
                id: subscription,
                room,
                since,
                history,
            } => {
                if let Some(session) = self.session(id) {
                    let membership = Membership {
                        subscription,
                        state: MemberState::Starting,
                        told: Told::Nothing,
                    };
                    session.memberships.insert(room.clone(), membership);
                }
                let at = self.log_time(id, now);
                let subscribe = Event::Subscribe {
                    id,
                    subscription,
                    room,
                    since,
                    history,
                };
                // Before members are told, because a request that is refused changes nothing.
                self.at(at, subscribe);
                self.presence_changed(now);
            }
            Output::Address => {
                let user = self.session(id).and_then(|session| session.user.clone());
                let rooms = user.map(|user| {
                    let groups = self.groups.get(&user).cloned().unwrap_or_default();
                    std::iter::once(user_room(&user)).chain(groups).collect()
                });
                self.input(id, Input::Addressed(Ok(rooms.unwrap_or_default())), now);
            }
            Output::Live {
                id: subscription,
                room,
                after,
            } => {
                if let Some(membership) = self.membership(id, &room, subscription) {
                    membership.state = MemberState::CatchingUp;
                    self.catch_up(id, subscription, room, after, now);
                }
            }
            Output::Unsubscribe { id: subscription, room } => {
                self.remove_membership(id, &room, subscription);
                self.presence_changed(now);
            }
            Output::ReadPage {
                id: request,
                room,
                before,
                limit,
            } => {
                let at = now + self.faults.page_time();
                let read = Event::ReadPage {
                    id,
                    request,
                    room,
                    before,
                    limit,
                };
                self.at(at, read);
            }
            Output::Find {
                id: request,
                room,
                name,
            } => {
                let at = now + self.faults.page_time();
                let find = Event::Find {
                    id,
                    request,
                    room,
                    name,
                };
                self.at(at, find);
            }
            Output::Signal { room, from, body } => {
                let line = codec::encode(&ServerLine::Signal(Signal {
                    room: room.clone(),
                    from,
                    body,
                }));
                for member in self.members(&room) {
                    if member != id && self.is_live(member, &room) {
                        self.faults.happened("a signal was passed on");
                        self.send_to_client(member, Arrival::Text(line.clone()), now);
                    }
                }
            }
            Output::Close { code, reason } => {
                if code == close::TOO_MANY {
                    self.faults.happened("a client was closed with 4429");
                }
                self.end_session(id, now);
                self.send_to_client(id, Arrival::Closed(code, reason), now);
            }
        }
    }

    fn identify(
        &mut self,
        id: ConnectionId,
        client: ClientKey,
        name: Option<UserName>,
        token: Option<&str>,
        now: Duration,
    ) {
        let result = self.faults.identify(token).map(|()| {
            let user = name.unwrap_or_else(unnamed);
            let allowance = self.allowances.get(&client);
            Identity {
                user,
                expires: None,
                allowance: allowance.map(|(allowance, ended)| (*allowance, now.saturating_sub(*ended))),
            }
        });
        if let (Ok(identity), Some(session)) = (&result, self.session(id)) {
            session.user = Some(identity.user.clone());
        }
        self.input(id, Input::Identified(result), now);
    }

    /// When the log answers a request that is made now.
    fn log_time(&mut self, id: ConnectionId, now: Duration) -> Duration {
        let soon = now + self.faults.append_time();
        match self.session(id) {
            Some(session) => {
                session.log_free = session.log_free.max(soon);
                session.log_free
            }
            None => soon,
        }
    }

    /// Sends the next page of a member's backlog. Then the member is live, or another page follows after a pause.
    fn catch_up(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        room: RoomName,
        after: Offset,
        now: Duration,
    ) {
        if self.membership(id, &room, subscription).is_none() {
            return;
        }
        if !self.logs.has_all_after(&room, after) {
            self.faults.happened("a member was overtaken while it caught up");
            return self.close(id, close::TOO_SLOW, "too slow", now);
        }
        let rest = self.logs.after(&room, after);
        let page = &rest[..rest.len().min(F::CATCH_UP_PAGE)];
        for line in page {
            self.send_to_client(id, Arrival::Text(line.line().to_owned()), now);
        }
        if page.len() < rest.len() {
            self.faults.happened("a member caught up in several pages");
            let at = now + self.faults.catch_up_pause();
            let after = after.plus(page.len() as u64);
            let next = Event::CatchUp {
                id,
                subscription,
                room,
                after,
            };
            return self.at(at, next);
        }
        if let Some(membership) = self.membership(id, &room, subscription) {
            membership.state = MemberState::Live;
        }
        self.presence_changed(now);
    }

    /// Sends a new message to the members of its room.
    fn broadcast(&mut self, message: &Message, now: Duration) {
        let line = MessageLine::encode(message);
        for id in self.members(&message.room) {
            if !self.is_live(id, &message.room) {
                continue;
            }
            let copies = self.faults.copies();
            if copies != 1 {
                self.faults.happened("the hub lost or doubled a line");
            }
            for _ in 0..copies {
                self.send_to_client(id, Arrival::Text(line.line().to_owned()), now);
            }
        }
    }

    /// Tells the members of all rooms which users joined and left.
    fn tell_presence(&mut self, now: Duration) {
        let sessions = self
            .connections
            .values()
            .filter_map(|connection| connection.session.as_ref());
        let rooms: BTreeSet<_> = sessions
            .flat_map(|session| session.memberships.keys().cloned())
            .collect();
        for room in rooms {
            let users = self.users(&room);
            for id in self.members(&room) {
                let session = self.session(id);
                let membership = session.and_then(|session| session.memberships.get_mut(&room));
                let Some(membership) = membership.filter(|membership| membership.state == MemberState::Live) else {
                    continue;
                };
                let is_listed = match &membership.told {
                    Told::Names(_) => users.len() <= F::MAX_LISTED,
                    Told::Number(_) | Told::Nothing => users.len() <= F::LISTED_AGAIN,
                };
                let told = if is_listed {
                    Told::Names(users.clone())
                } else {
                    Told::Number(users.len())
                };
                let before = std::mem::replace(&mut membership.told, told.clone());
                if before == told {
                    continue;
                }
                let mut presence = Presence {
                    room: room.clone(),
                    users: user_count(&users),
                    joined: None,
                    left: None,
                    members: None,
                };
                match (&before, &told) {
                    (Told::Names(before), Told::Names(users)) => {
                        self.faults.happened("a difference of users was told");
                        presence.joined = Some(member_list(users.difference(before)));
                        presence.left = Some(member_list(before.difference(users)));
                    }
                    (_, Told::Names(users)) => {
                        self.faults.happened("a full list of users was told");
                        presence.members = Some(member_list(users));
                    }
                    _ => self.faults.happened("only a number of users was told"),
                }
                let line = codec::encode(&ServerLine::Presence(presence));
                self.send_to_client(id, Arrival::Text(line), now);
            }
        }
    }

    pub(super) fn server_event(&mut self, event: Event, now: Duration) {
        match event {
            // The network's.
            Event::ToServer { .. } | Event::ToClient { .. } | Event::Gone { .. } => {}
            Event::ReadOn { id } => {
                self.input(id, Input::Tick, now);
                self.read_on(id, now);
            }
            Event::Append { id, entry } => {
                let (room, seq) = (entry.room.clone(), entry.seq);
                let outcome = self.append(entry, now);
                self.input(id, Input::Appended { room, seq, outcome }, now);
            }
            Event::Subscribe {
                id,
                subscription,
                room,
                since,
                history,
            } => {
                let result = self.subscribe(id, subscription, &room, since.as_ref(), history, now);
                if result.is_err() && self.membership(id, &room, subscription).is_some() {
                    self.remove_membership(id, &room, subscription);
                    self.presence_changed(now);
                }
                let answer = Input::Subscribed {
                    id: subscription,
                    result,
                };
                self.input(id, answer, now);
            }
            Event::CatchUp {
                id,
                subscription,
                room,
                after,
            } => self.catch_up(id, subscription, room, after, now),
            Event::ReadPage {
                id,
                request,
                room,
                before,
                limit,
            } => {
                let result = match self.faults.refuse(Request::History, &room, now) {
                    Some(refusal) => Err(refusal),
                    None => {
                        let mut page = self.logs.page(&room, before, limit);
                        self.faults.page(&mut page);
                        Ok(page)
                    }
                };
                let answer = Input::PageRead {
                    id: request,
                    room,
                    result,
                };
                self.input(id, answer, now);
            }
            Event::Find {
                id,
                request,
                room,
                name,
            } => {
                let result = match self.faults.refuse(Request::Find, &room, now) {
                    Some(refusal) => Err(refusal),
                    None => Ok(self.find(&room, name.as_deref().unwrap_or_default())),
                };
                let answer = Input::Found {
                    id: request,
                    room,
                    result,
                };
                self.input(id, answer, now);
            }
            Event::Presence => {
                self.is_presence_due = false;
                self.tell_presence(now);
            }
        }
    }

    fn append(&mut self, mut entry: Entry, now: Duration) -> AppendOutcome {
        match self.faults.refuse(Request::Append, &entry.room, now) {
            Some(refusal) if refusal.retry_after.is_some() => {
                let epoch = None;
                return AppendOutcome::Refused { epoch, refusal };
            }
            Some(refusal) if entry.content.is_ok() => entry.content = Err(refusal),
            _ => {}
        }
        let Appended {
            outcome,
            message,
            late_copy,
        } = self.logs.append(entry, now);
        let happened = match &outcome {
            _ if late_copy => Some("a late copy of a refused or withdrawn number came"),
            AppendOutcome::Refused { refusal, .. } => Some(match refusal.code.as_ref() {
                code::WITHDRAWN => "a number was withdrawn",
                code::TOO_LARGE => "the server refused a message as too large",
                _ => "a message was refused for good",
            }),
            AppendOutcome::Gap { .. } => Some("a gap"),
            AppendOutcome::Conflict { .. } => Some("a conflict"),
            AppendOutcome::Forgotten { .. } => Some("an outcome was forgotten"),
            AppendOutcome::Duplicate(_) => Some("a message came again"),
            AppendOutcome::Added(_) => None,
        };
        if let Some(happened) = happened {
            self.faults.happened(happened);
        }
        if let Some(message) = message {
            self.broadcast(&message, now);
        }
        outcome
    }

    fn subscribe(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        room: &RoomName,
        since: Option<&Cursor>,
        history: u32,
        now: Duration,
    ) -> Result<Subscription, Refusal> {
        let first_page = self.faults.first_page();
        if let Some(refusal) = self.faults.refuse(Request::Join, room, now) {
            return Err(refusal);
        }
        let mut start = self.logs.subscribe(room, since, history, first_page);
        let users = self.users(room);
        start.users = user_count(&users);
        let unlisted = self.faults.unlisted_users();
        let listed: BTreeSet<_> = users.iter().skip(unlisted).cloned().collect();
        let told = if users.len() > F::MAX_LISTED {
            Told::Number(users.len())
        } else {
            start.members = Some(MemberList::encode(&member_list(&listed)));
            Told::Names(listed)
        };
        if let Some(membership) = self.membership(id, room, subscription) {
            membership.told = told;
        }
        if start.fork.is_some() && since.is_some() {
            self.faults.happened(if start.recovered {
                "a member recovered, perhaps across a fork"
            } else {
                "a member was beyond a fork"
            });
        }
        Ok(start)
    }
}

impl<F> fmt::Debug for TestServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer")
            .field("connections", &self.connections.len())
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// The room that is addressed to a user at a [`TestServer`].
#[must_use]
pub fn user_room(user: &UserName) -> RoomName {
    RoomName::parse(&format!("~u.{user}")).unwrap_or_else(|_| unreachable!("a user's name is shorter than a room's"))
}

/// The name of a user without one.
fn unnamed() -> UserName {
    UserName::parse("user").unwrap_or_else(|_| unreachable!("`user` is a valid name"))
}

fn user_count(users: &BTreeSet<UserName>) -> u32 {
    u32::try_from(users.len()).unwrap_or(u32::MAX)
}

impl<F: Faults> TestServer<F> {
    /// The users with this part of a name, as many as a list may have.
    fn find(&mut self, room: &RoomName, part: &str) -> FoundMembers {
        let part = part.to_lowercase();
        let users = self.users(room);
        let place = |user: &&UserName| user.to_lowercase().find(&part);
        let (begin, others): (Vec<_>, Vec<_>) = users
            .iter()
            .filter(|user| place(user).is_some())
            .partition(|user| place(user) == Some(0));
        let mut members = member_list(begin.into_iter().chain(others));
        let more = members.len() > F::MAX_LISTED;
        members.truncate(F::MAX_LISTED);
        FoundMembers { members, more }
    }
}

fn member_list<'a>(users: impl IntoIterator<Item = &'a UserName>) -> Vec<Member> {
    users.into_iter().map(|user| Member { user: user.clone() }).collect()
}
