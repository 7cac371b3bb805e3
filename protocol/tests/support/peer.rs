//! A client with its application: it checks everything that it is told against what it knows and what was ever in the log.

mod outputs;

use std::{collections::BTreeMap, time::Duration};

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, RoomName, SenderId, UserName,
    session::client::{
        ClientConfig, ClientSession, DeliveryState, FailReason, Input, JoinedRoom, Output, RoomEvent, Snapshot, Tag,
    },
};

use super::{
    random::Random,
    secs,
    world::{ConnId, TTL, World},
};

pub struct Peer {
    pub session: ClientSession,
    pub key: ClientKey,
    sender: SenderId,
    config: ClientConfig,
    pub index: usize,
    /// A page of this client crashed, so that its session once went on from a state behind the present.
    pub crashed: bool,
    /// The connection that lives, as the session sees it.
    pub conn: Option<(u64, ConnId)>,
    /// The machine sleeps until then.
    pub wake: Duration,
    /// Timers go off once a minute only, as in a page in the background.
    pub throttled: bool,
    pub views: BTreeMap<RoomName, View>,
    pub sent: BTreeMap<Tag, Sent>,
    next_tag: Tag,
    stored: Option<(Snapshot, Duration)>,
    /// Attempts since anything but time made the session connect.
    attempts: u64,
    attempts_since: Duration,
    /// What came of the requests for history.
    pub pages: BTreeMap<Tag, usize>,
    pub signals: usize,
}

/// What the application has of a room.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub wanted: bool,
    pub joined: bool,
    pub epoch: Option<Epoch>,
    pub last: Offset,
    pub resets: usize,
    pub got: Vec<String>,
}

#[derive(Debug)]
pub struct Sent {
    pub room: RoomName,
    pub body: Body,
    pub last: Option<DeliveryState>,
    pub at: Duration,
    /// It failed for certain: it must not be in the log of this epoch or of a later one.
    pub never_since: Option<Epoch>,
    /// Its application crashed before it was stored.
    pub crashed: bool,
}

fn new_key(random: &mut Random) -> ClientKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.bits().to_be_bytes());
    ClientKey::from_random(bytes)
}

impl Peer {
    pub fn new(index: usize, random: &mut Random) -> Self {
        let key = new_key(random);
        let mut config = ClientConfig {
            name: Some(UserName::parse(&format!("user{index}")).unwrap()),
            // One of them is known by tokens.
            tokens: index == 1,
            keep: true,
            ..ClientConfig::default()
        };
        config.outbox.ttl = TTL;
        config.outbox.messages = 40;
        Self {
            session: ClientSession::new(config.clone(), key),
            key,
            sender: key.sender(),
            config,
            index,
            crashed: false,
            conn: None,
            wake: Duration::ZERO,
            throttled: false,
            views: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_tag: 0,
            stored: None,
            attempts: 0,
            attempts_since: Duration::ZERO,
            pages: BTreeMap::new(),
            signals: 0,
        }
    }

    pub fn sleeps_until(&self, now: Duration) -> Option<Duration> {
        (self.wake > now).then_some(self.wake)
    }

    pub fn next_tick(&self) -> Option<Duration> {
        let timeout = self.session.next_timeout()?.max(self.wake);
        let minutes = timeout.as_nanos().div_ceil(secs(60).as_nanos());
        let whole = secs(60) * u32::try_from(minutes).unwrap();
        Some(if self.throttled { whole } else { timeout })
    }

    pub fn view(&mut self, room: &RoomName) -> &mut View {
        self.views.entry(room.clone()).or_default()
    }
}

impl World {
    pub fn publish(&mut self, peer: usize, room: &RoomName) -> Tag {
        let at = self.now;
        let state = &mut self.peers[peer];
        state.next_tag += 1;
        let tag = state.next_tag;
        let body = Body::text(&format!("{peer}-{tag}"));
        let sent = Sent {
            room: room.clone(),
            body: body.clone(),
            last: None,
            at,
            never_since: None,
            crashed: false,
        };
        state.sent.insert(tag, sent);
        let room = room.clone();
        self.peer_input(peer, Input::Publish { room, body, tag });
        tag
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
        let since = view.epoch.clone().map(|epoch| Cursor {
            epoch,
            offset: view.last,
        });
        let (room, history) = (room.clone(), Some(history));
        self.peer_input(peer, Input::Join { room, since, history });
    }

    pub fn leave(&mut self, peer: usize, room: &RoomName) {
        self.peer_input(peer, Input::Leave { room: room.clone() });
    }

    pub fn ask_history(&mut self, peer: usize, room: &RoomName, before: Offset) {
        let tag = self.peers[peer].pages.len() as Tag;
        self.peers[peer].pages.insert(tag, 0);
        let (room, limit) = (room.clone(), 5);
        self.peer_input(
            peer,
            Input::History {
                room,
                before,
                limit,
                tag,
            },
        );
    }

    /// The page is loaded again: with what was stored last, which a crash leaves behind the present.
    pub fn reload(&mut self, peer: usize, crash: bool) {
        if !crash {
            self.peer_input(peer, Input::Suspend);
        }
        self.note(|| format!("peer {peer} reloads, crash: {crash}"));
        if let Some((_, conn)) = self.peers[peer].conn.take() {
            self.close_by_client(conn);
        }
        let now = self.now;
        let state = &mut self.peers[peer];
        state.crashed |= crash;
        let stored = state.stored.clone();
        let pending: Vec<Tag> =
            stored
                .iter()
                .flat_map(|(snapshot, _)| &snapshot.rooms)
                .fold(Vec::new(), |mut tags, room| {
                    tags.extend(room.pending.iter().filter_map(|message| message.tag));
                    tags
                });
        for (tag, sent) in &mut state.sent {
            if pending.contains(tag) {
                // The new page hears of it again.
                sent.last = None;
                sent.never_since = None;
            } else if sent.last.as_ref().is_none_or(|last| !last.is_final()) {
                sent.crashed = true;
            }
        }
        state.session = match stored {
            Some((snapshot, at)) => {
                let text = serde_json::to_string(&snapshot).unwrap();
                let snapshot = serde_json::from_str(&text).unwrap();
                ClientSession::restore(state.config.clone(), snapshot, now - at, now)
            }
            None => ClientSession::new(state.config.clone(), state.key),
        };
        state.pages.values_mut().for_each(|answers| *answers = 1);
        let rooms: Vec<_> = state
            .views
            .iter()
            .filter(|(_, view)| view.wanted)
            .map(|(room, _)| room.clone())
            .collect();
        self.peer_input(peer, Input::Connect);
        for room in rooms {
            let view = self.peers[peer].view(&room);
            view.wanted = false;
            view.joined = false;
            let keep = self.random.one_in(2);
            self.join(peer, &room, keep, 5);
        }
    }

    pub fn peer_input(&mut self, peer: usize, input: Input) {
        self.note(|| format!("peer {peer} <- {input:?}"));
        if !matches!(
            input,
            Input::Tick | Input::Opened { .. } | Input::Received { .. } | Input::Closed { .. } | Input::Token(_)
        ) {
            self.peers[peer].attempts = 0;
            self.peers[peer].attempts_since = self.now;
        }
        if let Input::Closed { generation, .. } = input
            && self.peers[peer].conn.is_some_and(|(live, _)| live == generation)
        {
            self.peers[peer].conn = None;
        }
        let moment = self.moment();
        self.peers[peer].session.handle(moment, input);
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
        if self.peers[peer].session.next_timeout().is_some_and(|at| at <= now) {
            self.violation(format!("peer {peer} asks for a timer in the past"));
        }
    }
}
