//! A server with the real server's session over a small log in memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Moment, Offset, PublishId, RoomName, Seq, ServerLine, UserName, close,
    codec::{self, MessageLine},
    message::{Author, Member, Message, Presence, Signal, code},
    session::server::{
        Allowance, AppendOutcome, Denied, Identity, Input, Output, Place, Refusal, ServerOptions, ServerSession,
        Subscription, SubscriptionId,
    },
};

use super::{log::Log, network::Network};

type AcceptToken = Box<dyn Fn(Option<&str>) -> bool>;

/// The outcome of one message of a client.
type Settled = (Seq, PublishId, AppendOutcome);

pub(super) struct Server {
    options: Arc<ServerOptions>,
    sessions: BTreeMap<u64, Connected>,
    rooms: BTreeMap<RoomName, Log>,
    /// The outcomes of all messages of each client. Never removed, because tests are short.
    settled: HashMap<(RoomName, ClientKey), Vec<Settled>>,
    /// The remaining allowances of closed connections, and when they closed.
    allowances: HashMap<ClientKey, (Allowance, Duration)>,
    /// How many epochs were begun.
    epochs: u64,
    accept: Option<AcceptToken>,
    forbidden: Vec<RoomName>,
    /// How many pages were requested.
    pages: u64,
    /// Whether pages have another epoch than their log.
    has_foreign_pages: bool,
}

struct Connected {
    session: ServerSession,
    rooms: BTreeMap<SubscriptionId, Membership>,
    /// The session reads no text before this time.
    paused_until: Duration,
    /// Texts that were not read yet.
    unread: VecDeque<String>,
    /// The client closed the connection after the unread texts.
    is_ended: bool,
}

impl Connected {
    /// When [`Server::tick`] has to handle this connection.
    fn next_timeout(&self) -> Option<Duration> {
        let has_unread = self.is_ended || !self.unread.is_empty();
        let read = has_unread.then_some(self.paused_until);
        self.session.next_timeout().into_iter().chain(read).min()
    }
}

struct Membership {
    room: RoomName,
    /// Lines since the subscription, those of messages with their offsets; `None` once the subscription is live.
    held: Option<Vec<(Option<Offset>, String)>>,
}

impl Server {
    pub(super) fn new(options: ServerOptions) -> Self {
        Self {
            options: Arc::new(options),
            sessions: BTreeMap::new(),
            rooms: BTreeMap::new(),
            settled: HashMap::new(),
            allowances: HashMap::new(),
            epochs: 0,
            accept: None,
            forbidden: Vec::new(),
            pages: 0,
            has_foreign_pages: false,
        }
    }

    pub(super) fn accept_tokens(&mut self, accept: AcceptToken) {
        self.accept = Some(accept);
    }

    pub(super) fn forbid(&mut self, room: RoomName, forbid: bool) {
        self.forbidden.retain(|other| *other != room);
        if forbid {
            self.forbidden.push(room);
        }
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn set_foreign_pages(&mut self, foreign: bool) {
        self.has_foreign_pages = foreign;
    }

    pub(super) fn set_page(&mut self, page: u32) {
        Arc::make_mut(&mut self.options).limits.page = page;
    }

    /// Removes all connections without closing them.
    pub(super) fn remove_sessions(&mut self) {
        self.sessions.clear();
        for log in self.rooms.values_mut() {
            log.remove_users();
        }
    }

    pub(super) fn restart(&mut self, keep_logs: bool) {
        self.remove_sessions();
        if !keep_logs {
            self.rooms.clear();
            self.settled.clear();
        }
    }

    pub(super) fn keep_newest(&mut self, room: &RoomName, count: usize) {
        if let Some(log) = self.rooms.get_mut(room) {
            log.keep_newest(count);
        }
    }

    /// Loses the newest messages of a room and their outcomes, and begins a new epoch.
    pub(super) fn lose_newest(&mut self, room: &RoomName, count: usize) {
        self.epochs += 1;
        let Some(log) = self.rooms.get_mut(room) else { return };
        log.lose_newest(count, Epoch::from_random(self.epochs));
        let head = log.messages().last().map_or(Offset::ZERO, |message| message.offset);
        for ((other, _), settled) in &mut self.settled {
            if other == room {
                settled
                    .retain(|(_, _, outcome)| !matches!(outcome, AppendOutcome::Added(place) if place.offset > head));
            }
        }
    }

    pub(super) fn log(&self, room: &RoomName) -> Vec<Message> {
        self.rooms
            .get(room)
            .map(|log| log.messages().to_vec())
            .unwrap_or_default()
    }

    pub(super) fn publish(&mut self, room: RoomName, user: UserName, body: Body, network: &Network, now: Duration) {
        let sender = ClientKey::from_random([0; 16]).sender();
        self.append(room, Author { sender, user }, None, body, network, now);
    }

    pub(super) fn open(&mut self, link: u64, now: Duration) {
        let session = ServerSession::new(self.options.clone(), now);
        let connected = Connected {
            session,
            rooms: BTreeMap::new(),
            paused_until: Duration::ZERO,
            unread: VecDeque::new(),
            is_ended: false,
        };
        self.sessions.insert(link, connected);
    }

    pub(super) fn received(&mut self, link: u64, text: String, network: &Network, now: Duration) {
        if let Some(connected) = self.sessions.get_mut(&link) {
            connected.unread.push_back(text);
            self.read(link, network, now);
        }
    }

    /// The client closed the connection; texts that it sent before are still read.
    pub(super) fn client_closed(&mut self, link: u64, network: &Network, now: Duration) {
        if let Some(connected) = self.sessions.get_mut(&link) {
            connected.is_ended = true;
            self.read(link, network, now);
        }
    }

    /// Reads the unread texts, unless the session pauses.
    fn read(&mut self, link: u64, network: &Network, now: Duration) {
        while let Some(connected) = self.sessions.get_mut(&link)
            && connected.paused_until <= now
        {
            if let Some(text) = connected.unread.pop_front() {
                self.input(link, Input::Counted { frames: 1 }, network, now);
                self.input(link, Input::Received { text }, network, now);
            } else {
                if connected.is_ended {
                    self.remove(link, network, now);
                }
                return;
            }
        }
    }

    /// Removes a connection.
    fn remove(&mut self, link: u64, network: &Network, now: Duration) {
        if let Some(mut removed) = self.sessions.remove(&link) {
            if let Some((client, allowance)) = removed.session.allowance() {
                self.allowances.insert(client, (allowance, now));
            }
            for membership in std::mem::take(&mut removed.rooms).into_values() {
                self.user_left(&membership.room, &removed.session, network, now);
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let timeouts = self.sessions.values();
        timeouts.filter_map(Connected::next_timeout).min()
    }

    /// Handles one connection that is due; `false` if none is.
    pub(super) fn tick(&mut self, network: &Network, now: Duration) -> bool {
        let due = |connected: &Connected| connected.next_timeout().is_some_and(|time| time <= now);
        let link = self.sessions.iter().find(|(_, connected)| due(connected));
        let Some(link) = link.map(|(link, _)| *link) else {
            return false;
        };
        self.input(link, Input::Tick, network, now);
        self.read(link, network, now);
        true
    }

    fn input(&mut self, link: u64, input: Input, network: &Network, now: Duration) {
        let moment = Moment { now, random: 0 };
        let Some(connected) = self.sessions.get_mut(&link) else {
            return;
        };
        connected.session.handle(moment, input);
        while let Some(output) = self
            .sessions
            .get_mut(&link)
            .and_then(|connected| connected.session.poll_output())
        {
            if let Some(answer) = self.carry_out(link, output, network, now)
                && let Some(connected) = self.sessions.get_mut(&link)
            {
                connected.session.handle(moment, answer);
            }
        }
    }

    fn carry_out(&mut self, link: u64, output: Output, network: &Network, now: Duration) -> Option<Input> {
        match output {
            Output::Transmit(text) => network.to_client(link, text, now),
            Output::Pause { until } => self.sessions.get_mut(&link)?.paused_until = until,
            Output::Identify { client, token, name } => {
                return Some(Input::Identified(self.identify(client, token.as_deref(), name, now)));
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
                let outcome = self.settle(&room, client, (seq, id), first, |server, epoch| match content {
                    Ok(body) => {
                        let message = server.append(room.clone(), from, Some((seq, id)), body, network, now);
                        AppendOutcome::Added(Place {
                            epoch,
                            offset: message.offset,
                            at: message.at,
                        })
                    }
                    Err(refusal) => AppendOutcome::Refused {
                        epoch: Some(epoch),
                        refusal,
                    },
                });
                return Some(Input::Appended { room, seq, outcome });
            }
            Output::Subscribe {
                id,
                room,
                since,
                history,
            } => {
                let result = self.subscribe(link, id, room, since, history, network, now);
                return Some(Input::Subscribed { id, result });
            }
            Output::Live { id, after, .. } => {
                let held = self.sessions.get_mut(&link)?.rooms.get_mut(&id)?.held.take();
                for (offset, line) in held.into_iter().flatten() {
                    if offset.is_none_or(|offset| offset > after) {
                        network.to_client(link, line, now);
                    }
                }
            }
            Output::Unsubscribe { id, room } => {
                let connected = self.sessions.get_mut(&link)?;
                connected.rooms.remove(&id)?;
                let user = connected.session.author()?.user.clone();
                self.count_connection(&room, &user, false, Some(link), network, now);
            }
            Output::ReadPage {
                id,
                room,
                before,
                limit,
            } => {
                self.pages += 1;
                let mut page = self.room(&room).page(before, limit);
                if self.has_foreign_pages {
                    page.epoch = Epoch::from_random(u64::MAX);
                }
                let result = Ok(page);
                return Some(Input::PageRead { id, room, result });
            }
            Output::Signal { room, from, body } => {
                let line = codec::encode(&ServerLine::Signal(Signal {
                    room: room.clone(),
                    from,
                    body,
                }));
                self.broadcast(&room, None, &line, Some(link), network, now);
            }
            Output::Close { code, reason } => {
                network.close_by_server(link, code, reason, now);
                self.remove(link, network, now);
            }
        }
        None
    }

    fn identify(
        &mut self,
        client: ClientKey,
        token: Option<&str>,
        name: Option<UserName>,
        now: Duration,
    ) -> Result<Identity, Denied> {
        if self.accept.as_ref().is_some_and(|accept| !accept(token)) {
            return Err(Denied {
                code: close::UNAUTHORIZED,
                reason: "the token is not accepted".to_owned(),
            });
        }
        let user = name.or_else(|| UserName::parse("user").ok()).ok_or_else(|| Denied {
            code: close::UNAUTHORIZED,
            reason: "there is no name".to_owned(),
        })?;
        let allowance = self.allowances.remove(&client);
        Ok(Identity {
            user,
            expires: None,
            allowance: allowance.map(|(allowance, ended)| (allowance, now.saturating_sub(ended))),
        })
    }

    /// The outcome of a client's message: the former one if the message is a resend, otherwise that of `decide`.
    fn settle(
        &mut self,
        room: &RoomName,
        client: ClientKey,
        (seq, id): (Seq, PublishId),
        first: bool,
        decide: impl FnOnce(&mut Self, Epoch) -> AppendOutcome,
    ) -> AppendOutcome {
        let epoch = self.room(room).epoch().clone();
        let key = (room.clone(), client);
        let settled = self.settled.get(&key).map_or(&[][..], Vec::as_slice);
        match settled.iter().find(|(known, ..)| *known == seq) {
            Some((_, of, outcome)) if *of == id => return outcome.clone(),
            Some(_) => return AppendOutcome::Conflict { epoch },
            None => {}
        }
        let last = settled.last().map_or(0, |(last, ..)| last.get());
        if seq.get() <= last {
            return AppendOutcome::Forgotten { epoch };
        }
        if seq.get() > last + 1 && !first {
            return AppendOutcome::Gap { epoch };
        }
        let outcome = decide(self, epoch);
        self.settled.entry(key).or_default().push((seq, id, outcome.clone()));
        outcome
    }

    fn append(
        &mut self,
        room: RoomName,
        from: Author,
        sent_as: Option<(Seq, PublishId)>,
        body: Body,
        network: &Network,
        now: Duration,
    ) -> Message {
        let message = self.room(&room).append(room.clone(), from, sent_as, body, now);
        let line = MessageLine::encode(&message);
        self.broadcast(&room, Some(message.offset), line.line(), None, network, now);
        message
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one output, its connection and the time"
    )]
    fn subscribe(
        &mut self,
        link: u64,
        id: SubscriptionId,
        room: RoomName,
        since: Option<Cursor>,
        history: u32,
        network: &Network,
        now: Duration,
    ) -> Result<Subscription, Refusal> {
        if self.forbidden.contains(&room) {
            return Err(Refusal::for_good(code::FORBIDDEN, "you may not join this room"));
        }
        if let Some(connected) = self.sessions.get_mut(&link) {
            let membership = Membership {
                room: room.clone(),
                held: Some(Vec::new()),
            };
            connected.rooms.insert(id, membership);
            if let Some(author) = connected.session.author() {
                let user = author.user.clone();
                self.count_connection(&room, &user, true, Some(link), network, now);
            }
        }
        Ok(self.room(&room).subscribe(since, history))
    }

    fn user_left(&mut self, room: &RoomName, session: &ServerSession, network: &Network, now: Duration) {
        if let Some(author) = session.author() {
            self.count_connection(room, &author.user, false, None, network, now);
        }
    }

    fn count_connection(
        &mut self,
        room: &RoomName,
        user: &UserName,
        joins: bool,
        link: Option<u64>,
        network: &Network,
        now: Duration,
    ) {
        if !self.room(room).count_connection(user, joins) {
            return;
        }
        let member = vec![Member { user: user.clone() }];
        let (joined, left) = if joins {
            (member, Vec::new())
        } else {
            (Vec::new(), member)
        };
        let users = self.room(room).user_count();
        let line = codec::encode(&ServerLine::Presence(Presence {
            room: room.clone(),
            users,
            joined: Some(joined),
            left: Some(left),
            members: None,
        }));
        self.broadcast(room, None, &line, link, network, now);
    }

    /// Sends a line to all members of a room, except one connection.
    fn broadcast(
        &mut self,
        room: &RoomName,
        offset: Option<Offset>,
        line: &str,
        except: Option<u64>,
        network: &Network,
        now: Duration,
    ) {
        for (link, connected) in &mut self.sessions {
            let membership = connected.rooms.values_mut().find(|membership| membership.room == *room);
            match membership.filter(|_| Some(*link) != except) {
                Some(Membership { held: Some(held), .. }) => held.push((offset, line.to_owned())),
                Some(_) => network.to_client(*link, line.to_owned(), now),
                None => {}
            }
        }
    }

    fn room(&mut self, room: &RoomName) -> &mut Log {
        let epochs = &mut self.epochs;
        self.rooms.entry(room.clone()).or_insert_with(|| {
            *epochs += 1;
            Log::new(Epoch::from_random(*epochs))
        })
    }
}
