//! One client: a real session over a real socket, and an application that publishes, joins, leaves and reloads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use talkback_chaos::{Event, How, Position};
use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Moment, Offset, RoomName, UserName,
    message::code,
    session::client::{
        BackoffOptions, ClientOptions, ClientSession, DeliveryState, FailReason, Input, JoinedRoom, Kept,
        OutboxOptions, Output, RoomEvent, Status, Tag, Write,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    connection::{Connection, Happened},
    load::{Action, Load},
    recorder::Recorder,
    wire::Wire,
};

/// What a run does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients publish, join and leave.
    Load,
    /// No client begins anything new.
    Settle,
    /// The run is over.
    Stop,
}

/// What a run asks of a single client.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Joins a room.
    Join { room: RoomName, since: Option<Cursor> },
    /// Leaves a room.
    Leave { room: RoomName },
}

/// What all clients of a run share.
pub(crate) struct Shared {
    pub(crate) recorder: Recorder,
    pub(crate) rooms: Vec<RoomName>,
    /// The connections that are open.
    pub(crate) open: AtomicUsize,
    /// The number of the newest tail that is to be lost.
    pub(crate) tail: AtomicU64,
    /// The acknowledged messages that were sent since that tail began.
    pub(crate) in_tail: AtomicU64,
    /// The epochs of each room that were seen.
    pub(crate) epochs: Mutex<BTreeMap<RoomName, HashSet<Epoch>>>,
    /// The outcomes of messages and the deliveries.
    pub(crate) steps: AtomicU64,
    /// How far each client is, by its number.
    pub(crate) clients: Mutex<BTreeMap<u32, Progress>>,
}

impl Shared {
    /// A number that grows with what a client gets.
    pub(crate) fn progress(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn has_seen(&self, room: &RoomName, epoch: &Epoch) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let of_room = epochs.entry(room.clone()).or_default();
        if !of_room.contains(epoch) {
            of_room.insert(epoch.clone());
        }
    }
}

/// How far a client is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Whether it begins nothing new any more.
    pub(crate) settles: bool,
    /// Messages without an outcome.
    pub(crate) unsettled: usize,
    /// The rooms that its application has joined, each with the last message that it has.
    pub(crate) rooms: BTreeMap<RoomName, Option<(Cursor, Offset)>>,
}

/// How a client is made.
pub(crate) struct ClientArgs {
    pub(crate) number: u32,
    pub(crate) server: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// What its application does; `None` for the reader.
    pub(crate) load: Option<Load>,
}

/// The room of an application: what it has read.
#[derive(Default)]
struct Room {
    /// Whether the application wants to be a member.
    joined: bool,
    /// The last message that it has.
    cursor: Option<Cursor>,
    /// The newest message at the last `joined`.
    head: Offset,
}

/// Every so many clients store their outbox, and every so many let messages expire early.
const STORES: u32 = 3;
const EXPIRES: u32 = 4;
/// The most messages of an outbox.
const OUTBOX: usize = 150;

pub(crate) struct Client {
    number: u32,
    server: SocketAddr,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    phase: watch::Receiver<Phase>,
    commands: mpsc::Receiver<Command>,
    load: Option<Load>,
    options: ClientOptions,
    session: ClientSession,
    connection: Option<Connection>,
    wire: Wire,
    /// The stored outbox.
    store: BTreeMap<u64, String>,
    /// Messages without an outcome, with the number of the tail in which they were sent.
    unsettled: HashMap<Tag, u64>,
    next: Tag,
    rooms: BTreeMap<RoomName, Room>,
}

impl Client {
    pub(crate) fn new(arguments: ClientArgs) -> Result<Self> {
        let ClientArgs {
            number,
            server,
            shared,
            mut rng,
            phase,
            commands,
            load,
        } = arguments;
        let options = ClientOptions {
            name: Some(UserName::parse(&format!("client{number}"))?),
            keep: number.is_multiple_of(STORES) && load.is_some(),
            // Short times, so that a client notices a lost connection within a few seconds and comes back soon.
            backoff: BackoffOptions {
                base: Duration::from_millis(40),
                cap: Duration::from_millis(400),
                reset_after: Duration::from_millis(500),
            },
            outbox: OutboxOptions {
                messages: OUTBOX,
                ttl: if number % EXPIRES == 1 {
                    Duration::from_secs(2)
                } else {
                    OutboxOptions::default().ttl
                },
                ..OutboxOptions::default()
            },
            connect_timeout: Duration::from_secs(2),
            hello_timeout: Duration::from_secs(2),
            heartbeat_grace: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(4),
            min_retry_after: Duration::from_millis(20),
            ..ClientOptions::default()
        };
        Ok(Self {
            number,
            server,
            session: ClientSession::new(options.clone(), key(&mut rng)),
            options,
            shared,
            rng,
            phase,
            commands,
            load,
            connection: None,
            wire: Wire::default(),
            store: BTreeMap::new(),
            unsettled: HashMap::new(),
            next: 1,
            rooms: BTreeMap::new(),
        })
    }

    /// Runs until the phase [`Phase::Stop`].
    ///
    /// # Errors
    /// The session stopped, or the driver itself is wrong.
    pub(crate) async fn run(mut self) -> Result<()> {
        let moment = self.moment();
        self.session.connect(moment);
        if let Some(load) = &mut self.load {
            for room in load.first_rooms(&mut self.rng) {
                self.join(&room, None, 0);
            }
        }
        loop {
            self.carry_out()?;
            let phase = *self.phase.borrow_and_update();
            self.report(phase);
            if phase == Phase::Stop {
                return self.stop();
            }
            let act_at = self.load.as_ref().map(Load::next).filter(|_| phase == Phase::Load);
            let act_at = act_at.map(|at| self.instant(at));
            let tick_at = self.session.next_timeout().map(|at| self.instant(at));
            tokio::select! {
                happened = next_event(&mut self.connection) => self.happened(happened),
                () = until(tick_at) => {
                    let moment = self.moment();
                    self.session.handle(moment, Input::Tick);
                }
                () = until(act_at) => self.act()?,
                Some(command) = self.commands.recv() => match command {
                    Command::Join { room, since } => self.join(&room, since, 0),
                    Command::Leave { room } => self.leave(&room),
                },
                // A run that ended without a last phase drops the other end.
                changed = self.phase.changed() => if changed.is_err() {
                    return self.stop();
                },
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        let moment = self.moment();
        self.session.stop(moment);
        self.carry_out()
    }

    fn record(&self, event: Event) {
        self.shared.recorder.client(self.number, event);
    }

    fn moment(&mut self) -> Moment {
        Moment {
            now: self.shared.recorder.now(),
            random: self.rng.u64(..),
        }
    }

    /// When a time of the session's clock comes.
    fn instant(&self, at: Duration) -> Instant {
        Instant::now() + at.saturating_sub(self.shared.recorder.now())
    }

    /// The milliseconds of a clock that goes on over a reload.
    fn wall(&self) -> u64 {
        u64::try_from(self.shared.recorder.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn happened(&mut self, happened: Happened) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let generation = connection.generation;
        let input = match happened {
            Happened::Opened => {
                connection.is_open = true;
                self.shared.open.fetch_add(1, Ordering::SeqCst);
                self.wire = Wire::default();
                self.record(Event::Connected { connection: generation });
                Input::Opened { generation }
            }
            Happened::Text(text) => {
                for event in self.wire.read(&text) {
                    self.record(event);
                }
                Input::Received { generation, text }
            }
            Happened::Closed { code, reason } => {
                drop(self.end_connection(code, &reason, false));
                Input::Closed {
                    generation,
                    code,
                    reason,
                }
            }
        };
        let moment = self.moment();
        self.session.handle(moment, input);
    }

    /// Takes the connection out and records its end.
    fn end_connection(&mut self, code: u16, reason: &str, by_client: bool) -> Option<Connection> {
        let connection = self.connection.take()?;
        self.record(Event::Disconnected {
            code,
            reason: reason.to_owned(),
            by_client,
        });
        if connection.is_open {
            self.shared.open.fetch_sub(1, Ordering::SeqCst);
        }
        Some(connection)
    }

    fn carry_out(&mut self) -> Result<()> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { generation } => {
                    self.connection = Some(Connection::open(generation, self.server));
                }
                Output::Transmit { generation, text } => self.transmit(generation, text),
                Output::Disconnect {
                    generation,
                    code,
                    reason,
                } => {
                    if self.is_current(generation)
                        && let Some(connection) = self.end_connection(code, &reason, true)
                    {
                        connection.close(code, reason);
                    }
                }
                Output::TokenWanted => bail!("the session asks for a token without a wish for one"),
                Output::KeyWanted => {
                    self.record(Event::NewKey {});
                    let (moment, key) = (self.moment(), key(&mut self.rng));
                    self.session.handle(moment, Input::Key(key));
                }
                Output::Save => self.save(),
                Output::Status(Status::Stopped(reason)) => {
                    if *self.phase.borrow() != Phase::Stop {
                        let reason = format!("{reason:?}");
                        self.record(Event::Stopped { reason });
                    }
                }
                Output::Room { room, event } => self.room_event(&room, event),
                Output::Delivery { tag, state } => self.delivery(tag, state),
                Output::Page { result, .. } => {
                    // A refused page is asked for again by chance.
                    if let Ok(page) = result {
                        for message in page.messages {
                            self.record(Event::Read {
                                room: message.room.to_string(),
                                epoch: page.epoch.as_str().to_owned(),
                                offset: message.offset.get(),
                                body: message.body.json().to_owned(),
                            });
                        }
                    }
                }
                Output::Status(_)
                | Output::OutboxHasCapacity
                | Output::Found { .. }
                | Output::NotAddressed { .. }
                | Output::Fault { .. } => {}
            }
        }
        Ok(())
    }

    fn is_current(&self, generation: u64) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.generation == generation)
    }

    fn transmit(&mut self, generation: u64, text: String) {
        let Some(connection) = &self.connection else { return };
        if connection.generation == generation && !connection.send(text) {
            let (code, reason) = (1006, "too many texts wait to be written");
            drop(self.end_connection(code, reason, true));
            let moment = self.moment();
            let reason = reason.to_owned();
            self.session.handle(
                moment,
                Input::Closed {
                    generation,
                    code,
                    reason,
                },
            );
        }
    }

    /// Does to the store what the session asks for.
    fn save(&mut self) {
        for write in self.session.writes(self.wall()) {
            match write {
                Write::Put { record, text } => drop(self.store.insert(record, text)),
                Write::Remove { record } => drop(self.store.remove(&record)),
                Write::RemoveBelow { record } => self.store.retain(|number, _| *number == 0 || *number >= record),
            }
        }
    }

    fn delivery(&mut self, tag: Tag, state: DeliveryState) {
        let event = match state {
            DeliveryState::Acked { epoch, offset, .. } => {
                if self.unsettled.get(&tag) == Some(&self.shared.tail.load(Ordering::SeqCst)) {
                    self.shared.in_tail.fetch_add(1, Ordering::SeqCst);
                }
                Event::Acked {
                    message: tag,
                    epoch: epoch.as_str().to_owned(),
                    offset: offset.get(),
                }
            }
            DeliveryState::Failed(reason) => failed(tag, &reason),
            DeliveryState::Queued | DeliveryState::Written => return,
        };
        self.unsettled.remove(&tag);
        self.shared.steps.fetch_add(1, Ordering::Relaxed);
        self.record(event);
    }

    fn room_event(&mut self, name: &RoomName, event: RoomEvent) {
        let room = name.to_string();
        match event {
            RoomEvent::Joined(joined) => self.joined(name, How::Joined, &joined),
            RoomEvent::Recovered(joined) => self.joined(name, How::Recovered, &joined),
            RoomEvent::Reset(joined) => self.joined(name, How::Reset, &joined),
            RoomEvent::Message { message, .. } => {
                self.shared.steps.fetch_add(1, Ordering::Relaxed);
                let entry = self.rooms.entry(name.clone()).or_default();
                // A message before the first `joined` has no epoch, and the checker refuses it.
                let epoch = entry
                    .cursor
                    .as_ref()
                    .map_or("", |cursor| cursor.epoch.as_str())
                    .to_owned();
                if let Some(cursor) = &mut entry.cursor {
                    cursor.offset = message.offset;
                }
                let (offset, body) = (message.offset.get(), message.body.json().to_owned());
                self.record(Event::Message {
                    room,
                    epoch,
                    offset,
                    body,
                });
            }
            RoomEvent::Lost { epoch, offsets } => self.record(Event::Lost {
                room,
                epoch: epoch.as_str().to_owned(),
                offsets: offsets.into_iter().map(Offset::get).collect(),
            }),
            RoomEvent::Left(reason) => {
                let code = reason.map(|reason| reason.code).unwrap_or_default();
                self.rooms.entry(name.clone()).or_default().joined = false;
                self.record(Event::Left { room, code });
            }
            RoomEvent::Refused { code, .. } => {
                self.rooms.entry(name.clone()).or_default().joined = false;
                self.record(Event::Left { room, code });
            }
            RoomEvent::Presence { .. } | RoomEvent::Signal { .. } => {}
        }
    }

    fn joined(&mut self, name: &RoomName, how: How, joined: &JoinedRoom) {
        let room = self.rooms.entry(name.clone()).or_default();
        room.cursor = Some(Cursor {
            epoch: joined.epoch.clone(),
            offset: joined.after,
        });
        room.head = joined.head;
        self.record(Event::Joined {
            room: name.to_string(),
            how,
            epoch: joined.epoch.as_str().to_owned(),
            head: joined.head.get(),
            after: joined.after.get(),
        });
        self.shared.has_seen(name, &joined.epoch);
    }

    fn join(&mut self, name: &RoomName, since: Option<Cursor>, history: u32) {
        let room = self.rooms.entry(name.clone()).or_default();
        room.joined = true;
        room.cursor.clone_from(&since);
        self.record(Event::Join {
            room: name.to_string(),
            since: since.as_ref().map(position),
        });
        let moment = self.moment();
        self.session.join(moment, name.clone(), since, Some(history));
    }

    fn leave(&mut self, name: &RoomName) {
        self.rooms.entry(name.clone()).or_default().joined = false;
        self.record(Event::Leave { room: name.to_string() });
        let moment = self.moment();
        self.session.leave(moment, name);
    }

    /// Does what the application wants next.
    fn act(&mut self) -> Result<()> {
        let now = self.shared.recorder.now();
        let joined = self.rooms.iter().filter(|(_, room)| room.joined);
        let joined: Vec<_> = joined.map(|(name, _)| name.clone()).collect();
        let Some(load) = &mut self.load else { return Ok(()) };
        match load.act(now, &mut self.rng, &joined, self.options.keep) {
            Action::Publish { room, bodies } => {
                for body in bodies {
                    self.publish(&room, &body)?;
                }
            }
            Action::Join {
                room,
                from_cursor,
                history,
            } => {
                let since = self.rooms.get(&room).and_then(|room| room.cursor.clone());
                self.join(&room, since.filter(|_| from_cursor), history);
            }
            Action::Leave { room } => self.leave(&room),
            Action::History { room, before, limit } => {
                let (moment, tag) = (self.moment(), self.tag());
                // Refused while too many wait; by chance there is another one.
                let _ = self.session.history(moment, room, before, limit, tag);
            }
            Action::Signal { room } => {
                let moment = self.moment();
                self.session.signal(moment, room, Body::text("typing"));
            }
            Action::Reload => self.reload()?,
        }
        Ok(())
    }

    fn tag(&mut self) -> Tag {
        self.next += 1;
        self.next - 1
    }

    fn publish(&mut self, room: &RoomName, body: &str) -> Result<()> {
        let tag = self.tag();
        let body = Body::from_json(&body.replace(MESSAGE_NUMBER, &format!("{}:{tag}", self.number)))?;
        if !self.session.has_capacity(body.json().len()) {
            return Ok(());
        }
        self.record(Event::Send {
            message: tag,
            room: room.to_string(),
            body: body.json().to_owned(),
        });
        let (moment, tail) = (self.moment(), self.shared.tail.load(Ordering::SeqCst));
        match self.session.publish(moment, room.clone(), body, tag) {
            Ok(()) => drop(self.unsettled.insert(tag, tail)),
            Err(reason) => self.record(failed(tag, &reason)),
        }
        Ok(())
    }

    /// Ends the page without a warning, and begins another one with what is stored.
    fn reload(&mut self) -> Result<()> {
        drop(self.end_connection(1006, "the page was loaded again", true));
        self.record(Event::Reloaded {});
        let (wall, now) = (self.wall(), self.shared.recorder.now());
        self.session = match Kept::read(self.store.iter().map(|(record, text)| (*record, text))) {
            Some(kept) => {
                let rooms = &kept.snapshot().rooms;
                let kept_tags: HashSet<_> = rooms
                    .iter()
                    .flat_map(|room| &room.pending)
                    .filter_map(|m| m.tag)
                    .collect();
                self.forget(|tag| !kept_tags.contains(&tag));
                ClientSession::resume(self.options.clone(), kept, wall, now)
            }
            None => {
                self.forget(|_| true);
                ClientSession::new(self.options.clone(), key(&mut self.rng))
            }
        };
        let moment = self.moment();
        self.session.connect(moment);
        let joined = self.rooms.iter().filter(|(_, room)| room.joined);
        let joined: Vec<_> = joined.map(|(name, room)| (name.clone(), room.cursor.clone())).collect();
        for (name, cursor) in joined {
            self.join(&name, cursor, 0);
        }
        Ok(())
    }

    /// Messages that a reload took from the page before they were stored. A message is stored before it is sent.
    fn forget(&mut self, is_lost: impl Fn(Tag) -> bool) {
        let mut lost: Vec<_> = self.unsettled.keys().copied().filter(|tag| is_lost(*tag)).collect();
        lost.sort_unstable();
        for tag in lost {
            self.unsettled.remove(&tag);
            self.record(Event::Failed {
                message: tag,
                certain: true,
                reason: "the page was loaded again before it was stored".to_owned(),
            });
        }
    }

    /// Tells the run how far this client is.
    fn report(&self, phase: Phase) {
        let rooms = self.rooms.iter().filter(|(_, room)| room.joined);
        let progress = Progress {
            settles: phase != Phase::Load,
            unsettled: self.unsettled.len(),
            rooms: rooms
                .map(|(name, room)| (name.clone(), room.cursor.clone().map(|cursor| (cursor, room.head))))
                .collect(),
        };
        let mut all = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.number, progress);
    }
}

/// What stands in a body for the client's number and that of the message, which make it unique.
pub(crate) const MESSAGE_NUMBER: &str = "@";

async fn next_event(connection: &mut Option<Connection>) -> Happened {
    match connection {
        Some(connection) => connection.next().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn key(rng: &mut fastrand::Rng) -> ClientKey {
    ClientKey::from_random(rng.u128(..).to_le_bytes())
}

fn position(cursor: &Cursor) -> Position {
    Position {
        epoch: cursor.epoch.as_str().to_owned(),
        offset: cursor.offset.get(),
    }
}

fn failed(message: Tag, reason: &FailReason) -> Event {
    // See the documentation of each reason.
    let certain = match reason {
        FailReason::Unconfirmed => false,
        FailReason::Refused { epoch, code, .. } => epoch.is_some() || code == code::WITHDRAWN,
        _ => true,
    };
    Event::Failed {
        message,
        certain,
        reason: reason.to_string(),
    }
}

/// The cursor before the first message of an epoch.
pub(crate) fn beginning(epoch: &Epoch) -> Cursor {
    Cursor {
        epoch: epoch.clone(),
        offset: Offset::ZERO,
    }
}
