//! A client with its application, which checks each output against its own state and against the history of the log.

mod outputs;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Moment, Offset, RoomName, SenderId, UserName,
    session::client::{
        ClientOptions, ClientSession, DeliveryState, FailReason, Input, JoinedRoom, Kept, LeftReason, Output,
        PresenceChange, RoomEvent, Snapshot, Tag, Write,
    },
    test_util::{ConnectionId, Random},
};

use super::{
    secs,
    world::{TTL, World},
};

/// How many earlier records a page may go back to.
const RECORDS: usize = 8;
/// The most bodies that an application holds back until the outbox has capacity.
const HELD_BACK: usize = 12;

pub struct Peer {
    pub session: ClientSession,
    pub key: ClientKey,
    sender: SenderId,
    config: ClientOptions,
    pub index: usize,
    /// A page of this client crashed or went back to an earlier record: its session went on from an older state.
    pub crashed: bool,
    /// Another client used its key.
    pub in_conflict: bool,
    /// The session's present connection.
    pub conn: Option<(u64, ConnectionId)>,
    /// The machine sleeps until then.
    pub wake: Duration,
    /// Timers go off once a minute only, as in a page in the background.
    pub throttled: bool,
    /// The clock of this machine is set back by so much.
    pub clock_behind: Duration,
    pub views: BTreeMap<RoomName, View>,
    pub sent: BTreeMap<Tag, Sent>,
    /// Messages that did not fit into the outbox; published when it has capacity.
    held_back: VecDeque<(RoomName, usize)>,
    next_tag: Tag,
    /// What is stored.
    store: BTreeMap<u64, String>,
    /// What it held, the newest last, and when.
    records: VecDeque<(Snapshot, Duration)>,
    /// Attempts since anything but time made the session connect.
    attempts: u64,
    attempts_since: Duration,
    /// The number of answers to each request.
    pub pages: BTreeMap<Tag, usize>,
    pub signals: usize,
}

/// What the application has of a room.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub wanted: bool,
    /// The server ended the membership, or refused it: the application asks again when it may.
    pub ended: bool,
    pub joined: bool,
    pub epoch: Option<Epoch>,
    pub last: Offset,
    pub resets: usize,
    pub got: Vec<String>,
    pub users: u32,
    /// `None` while the server does not list the users.
    pub roster: Option<BTreeSet<UserName>>,
    /// Own messages that were reported as lost.
    pub lost: BTreeSet<(Epoch, Offset)>,
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub room: RoomName,
    pub body: Body,
    pub last: Option<DeliveryState>,
    pub at: Duration,
    /// It failed for certain: it must not be in the log of this epoch or of a later one.
    pub never_since: Option<Epoch>,
    /// Its application crashed before it was stored.
    pub crashed: bool,
    /// It was acknowledged to the page that is open now.
    pub acked_here: bool,
}

impl Peer {
    pub fn new(index: usize, random: &mut Random) -> Self {
        let key = new_key(random);
        let mut config = ClientOptions {
            name: Some(UserName::parse(&format!("user{index}")).unwrap()),
            // One of them is known by tokens.
            tokens: index == 1,
            keep: true,
            ..ClientOptions::default()
        };
        config.outbox.ttl = TTL;
        config.outbox.messages = 40;
        config.outbox.bytes = 1_200;
        Self {
            session: ClientSession::new(config.clone(), key),
            key,
            sender: key.sender(),
            config,
            index,
            crashed: false,
            in_conflict: false,
            conn: None,
            wake: Duration::ZERO,
            throttled: false,
            clock_behind: Duration::ZERO,
            views: BTreeMap::new(),
            sent: BTreeMap::new(),
            held_back: VecDeque::new(),
            next_tag: 0,
            store: BTreeMap::new(),
            records: VecDeque::new(),
            attempts: 0,
            attempts_since: Duration::ZERO,
            pages: BTreeMap::new(),
            signals: 0,
        }
    }

    /// Gives it an outbox with bounds that no test reaches. It is not stored, because that would take most of the time.
    pub fn hold_everything(&mut self) {
        self.config.keep = false;
        self.config.outbox.messages = 100_000;
        self.config.outbox.bytes = 1 << 30;
        self.config.outbox.ttl = secs(600);
        self.session = ClientSession::new(self.config.clone(), self.key);
    }

    pub fn sleeps_until(&self, now: Duration) -> Option<Duration> {
        (self.wake > now).then_some(self.wake)
    }

    pub fn next_tick(&self) -> Option<Duration> {
        let timeout = (self.session.next_timeout()? + self.clock_behind).max(self.wake);
        let minutes = timeout.as_nanos().div_ceil(secs(60).as_nanos());
        let whole = secs(60) * u32::try_from(minutes).unwrap();
        Some(if self.throttled { whole } else { timeout })
    }

    pub fn view(&mut self, room: &RoomName) -> &mut View {
        self.views.entry(room.clone()).or_default()
    }

    /// A page begins with a record, or with nothing: messages that are not in it get no further events.
    fn begin_with(&mut self, record: Option<&Snapshot>) {
        let pending = pending(record);
        for (tag, sent) in &mut self.sent {
            sent.acked_here = false;
            if pending.contains(tag) {
                // The new page hears of it again.
                sent.last = None;
                sent.never_since = None;
            } else if sent.last.as_ref().is_none_or(|last| !last.is_final()) {
                sent.crashed = true;
            }
        }
        self.pages.values_mut().for_each(|answers| *answers = 1);
        self.held_back.clear();
        self.store.clear();
    }

    /// Writes what changed, and reads all of it again.
    fn store(&mut self) -> Option<Snapshot> {
        for write in self.session.writes(0) {
            match write {
                Write::Put { record, text } => drop(self.store.insert(record, text)),
                Write::Remove { record } => drop(self.store.remove(&record)),
                Write::RemoveBelow { record } => self.store.retain(|&number, _| number == 0 || number >= record),
            }
        }
        let records = self.store.iter().map(|(number, text)| (*number, text));
        Kept::read(records).map(|kept| kept.snapshot().clone())
    }
}

/// The messages that a record holds.
fn pending(record: Option<&Snapshot>) -> BTreeSet<Tag> {
    let rooms = record.into_iter().flat_map(|record| &record.rooms);
    rooms
        .flat_map(|room| room.pending.iter().filter_map(|message| message.tag))
        .collect()
}

fn new_key(random: &mut Random) -> ClientKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.bits().to_be_bytes());
    ClientKey::from_random(bytes)
}

impl World {
    pub fn publish(&mut self, peer: usize, room: &RoomName) -> Tag {
        self.publish_sized(peer, room, 0)
    }

    /// Publishes a message with so many bytes of padding.
    pub fn publish_sized(&mut self, peer: usize, room: &RoomName, padding: usize) -> Tag {
        let at = self.now;
        let state = &mut self.peers[peer];
        state.next_tag += 1;
        let tag = state.next_tag;
        let body = Body::text(&format!("{peer}-{tag}-{}", "x".repeat(padding)));
        let sent = Sent {
            room: room.clone(),
            body: body.clone(),
            last: None,
            at,
            never_since: None,
            crashed: false,
            acked_here: false,
        };
        state.sent.insert(tag, sent);
        let room = room.clone();
        let taken = self.call(peer, |session, moment| session.publish(moment, room, body, tag));
        self.delivered(
            peer,
            tag,
            taken.map_or_else(DeliveryState::Failed, |()| DeliveryState::Queued),
        );
        self.drain(peer);
        tag
    }

    /// Publishes the messages that were held back, as far as they fit.
    fn publish_held_back(&mut self, peer: usize) {
        while let Some((room, padding)) = self.peers[peer].held_back.front().cloned() {
            // Two numbers, two dashes and two quotes are around the padding.
            if !self.peers[peer].session.has_capacity(padding + 20) {
                return;
            }
            self.count("a message that found the outbox full was published later");
            self.peers[peer].held_back.pop_front();
            self.publish_sized(peer, &room, padding);
        }
    }

    pub fn join(&mut self, peer: usize, room: &RoomName, keep: bool, history: u32) {
        let view = self.peers[peer].view(room);
        if view.wanted {
            return;
        }
        if !keep {
            *view = View::default();
        }
        view.wanted = true;
        view.ended = false;
        let since = view.epoch.clone().map(|epoch| Cursor {
            epoch,
            offset: view.last,
        });
        let (room, history) = (room.clone(), Some(history));
        self.command(peer, |session, moment| session.join(moment, room, since, history));
    }

    pub fn leave(&mut self, peer: usize, room: &RoomName) {
        self.call(peer, |session, moment| session.leave(moment, room));
        if self.peers[peer].view(room).wanted {
            self.left(peer, room);
        }
        self.drain(peer);
    }

    /// Looks for the user of this peer, whose name is a part of no other.
    pub fn find(&mut self, peer: usize, room: &RoomName) {
        let tag = self.peers[peer].pages.len() as Tag;
        self.peers[peer].pages.insert(tag, 0);
        let (room, user) = (room.clone(), self.peers[peer].config.name.clone());
        let asked = self.call(peer, |session, moment| session.find(moment, room, user, tag));
        if let Err(error) = asked {
            self.found(peer, tag, Err(error));
        }
        self.drain(peer);
    }

    pub fn ask_history(&mut self, peer: usize, room: &RoomName, before: Offset) {
        let tag = self.peers[peer].pages.len() as Tag;
        self.peers[peer].pages.insert(tag, 0);
        let room = room.clone();
        let asked = self.call(peer, |session, moment| session.history(moment, room, before, 5, tag));
        if let Err(error) = asked {
            self.page_came(peer, tag, Err(error));
        }
        self.drain(peer);
    }

    /// The page is loaded again, `away` later: with what was stored last, which is not the newest state after a crash,
    /// or with what was stored `back` times before that.
    pub fn reload(&mut self, peer: usize, crash: bool, away: Duration, back: usize) {
        if !crash {
            self.peer_input(peer, Input::Suspend);
        }
        self.note(|| format!("peer {peer} reloads after {away:?}, crash: {crash}, back: {back}"));
        if let Some((_, conn)) = self.peers[peer].conn.take() {
            self.close_by_client(conn);
        }
        let state = &mut self.peers[peer];
        state.session = ClientSession::new(state.config.clone(), state.key);
        for view in state.views.values_mut() {
            view.joined = false;
        }
        let records = state.records.len().saturating_sub(back).max(1);
        state.records.truncate(records);
        state.crashed |= crash || back > 0;
        if !away.is_zero() {
            self.count("time passed between a record and its page");
            self.advance(away);
        }
        let now = self.now;
        let state = &mut self.peers[peer];
        let stored = state.records.back().cloned();
        state.begin_with(stored.as_ref().map(|(record, _)| record));
        if let Some((record, at)) = stored {
            let texts = state.texts(&record);
            state.key = record.key;
            state.sender = record.key.sender();
            state.session = restore(&state.config, &record, now - at, now);
            if back > 0 {
                self.count("a page went back to an earlier record");
                self.copied(texts);
            }
        }
        let rooms: Vec<_> = self.peers[peer]
            .views
            .iter()
            .filter(|(_, view)| view.wanted)
            .map(|(room, _)| room.clone())
            .collect();
        self.command(peer, ClientSession::connect);
        for room in rooms {
            let view = self.peers[peer].view(&room);
            view.wanted = false;
            view.joined = false;
            let keep = self.random().one_in(2);
            self.join(peer, &room, keep, 5);
        }
    }

    /// A tab is duplicated: another page begins with what this one stored, its key among it.
    pub fn duplicate(&mut self, peer: usize) {
        let now = self.now;
        let source = &self.peers[peer];
        let Some((record, at)) = source.records.back().cloned() else {
            return;
        };
        let index = self.peers.len();
        let texts = source.texts(&record);
        let pending = pending(Some(&record));
        let mut copy = Peer {
            session: restore(&source.config, &record, now - at, now),
            key: record.key,
            sender: record.key.sender(),
            index,
            // What both have becomes of the one that is first.
            crashed: true,
            next_tag: source.next_tag,
            ..Peer::new(index, self.random())
        };
        copy.config = self.peers[peer].config.clone();
        for (tag, sent) in &self.peers[peer].sent {
            if pending.contains(tag) {
                let again = Sent {
                    last: None,
                    never_since: None,
                    crashed: false,
                    acked_here: false,
                    ..sent.clone()
                };
                copy.sent.insert(*tag, again);
            }
        }
        self.peers[peer].crashed = true;
        self.peers.push(copy);
        self.count("a tab was duplicated");
        self.copied(texts);
        self.command(index, ClientSession::connect);
        self.join(index, &super::room("a"), true, 5);
    }

    /// Each of these may now be in a log once more, under another key.
    fn copied(&mut self, texts: Vec<String>) {
        for text in texts {
            *self.copies.entry(text).or_default() += 1;
        }
    }

    /// Gives the session a command of its application, whose result is still to be taken before the outputs are
    /// drained.
    fn call<T>(&mut self, peer: usize, act: impl FnOnce(&mut ClientSession, Moment) -> T) -> T {
        self.peers[peer].attempts = 0;
        self.peers[peer].attempts_since = self.now;
        let moment = self.peer_moment(peer);
        act(&mut self.peers[peer].session, moment)
    }

    /// Gives the session a command that has no result.
    pub fn command(&mut self, peer: usize, act: impl FnOnce(&mut ClientSession, Moment)) {
        self.call(peer, act);
        self.drain(peer);
    }

    fn peer_moment(&mut self, peer: usize) -> Moment {
        let mut moment = self.moment();
        moment.now = moment.now.saturating_sub(self.peers[peer].clock_behind);
        moment
    }

    pub fn peer_input(&mut self, peer: usize, input: Input) {
        self.note(|| format!("peer {peer} <- {input:?}"));
        if !matches!(
            input,
            Input::Tick
                | Input::Opened { .. }
                | Input::Received { .. }
                | Input::Closed { .. }
                | Input::Token(_)
                | Input::Key(_)
        ) {
            self.peers[peer].attempts = 0;
            self.peers[peer].attempts_since = self.now;
        }
        if let Input::Closed { generation, .. } = input
            && self.peers[peer].conn.is_some_and(|(live, _)| live == generation)
        {
            self.peers[peer].conn = None;
        }
        let moment = self.peer_moment(peer);
        self.peers[peer].session.handle(moment, input);
        self.drain(peer);
    }

    fn drain(&mut self, peer: usize) {
        let mut count = 0;
        while let Some(output) = self.peers[peer].session.poll_output() {
            self.note(|| format!("peer {peer} -> {output:?}"));
            self.peer_output(peer, output);
            count += 1;
            if count > 10_000 {
                return self.violation(format!("peer {peer} has outputs without end"));
            }
        }
        let now = self.now;
        if self.peers[peer]
            .session
            .next_timeout()
            .is_some_and(|at| at + self.peers[peer].clock_behind <= now)
            && self.peers[peer].clock_behind.is_zero()
        {
            self.violation(format!("peer {peer} asks for a timer in the past"));
        }
    }
}

impl Peer {
    /// What the messages of a record say.
    fn texts(&self, record: &Snapshot) -> Vec<String> {
        let tags = pending(Some(record));
        let sent = self.sent.iter().filter(|(tag, _)| tags.contains(tag));
        sent.map(|(_, sent)| sent.body.read().unwrap()).collect()
    }
}

/// A session from a record as it comes out of a store.
fn restore(config: &ClientOptions, record: &Snapshot, elapsed: Duration, now: Duration) -> ClientSession {
    let text = serde_json::to_string(record).unwrap();
    let record = serde_json::from_str(&text).unwrap();
    ClientSession::restore(config.clone(), record, elapsed, now)
}
