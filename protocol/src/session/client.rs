//! The client's half: connecting and connecting again, rooms with their cursors, and the outbox.
//!
//! | what | where |
//! |---|---|
//! | what goes in and out | [`Input`], [`Output`] |
//! | connecting, losing, waiting | `link.rs`, `backoff.rs` |
//! | what each frame of the server does | `lines.rs` |
//! | which rooms are joined, and how far they were read | `rooms.rs` |
//! | what was not acknowledged | `outbox.rs` |
//! | what is kept across reloads | `snapshot.rs`, `records.rs` |
//! | where the log has own messages | `acknowledged.rs` |
//! | older messages that were asked for | `history.rs` |
//! | everything that happens by time alone | `timer.rs` |

mod acknowledged;
mod api;
mod backoff;
mod config;
mod history;
mod lines;
mod link;
mod outbox;
mod records;
mod rooms;
mod snapshot;
mod timer;
mod trace;

use std::{collections::VecDeque, time::Duration};

pub use api::{
    Cause, DeliveryState, FailReason, Generation, HistoryPage, Input, JoinedRoom, LeftReason, Output, PageError,
    PresenceChange, RoomEvent, Status, StopReason, SuspendReason, Tag,
};
pub use config::{BackoffOptions, ClientOptions, OutboxOptions};
pub use records::{Kept, Write};
pub use snapshot::{PendingMessage, RoomSnapshot, Snapshot};

use crate::{
    Body, ClientKey, ClientLine, Cursor, Moment, PublishId, RoomName, codec,
    message::{Millis, code},
};
use acknowledged::Acknowledged;
use history::{History, Question};
use link::Link;
use outbox::{Outbox, Progress, unfit};
use rooms::{Effect, Rooms};
use timer::{Timer, Timers};
use trace::{RoomNumbers, debug, trace};

/// Frames share a text frame up to this size. A server has nothing of one that does not arrive whole, and over connections that never
/// last long enough for a large one it would have nothing for ever.
const TEXT_BYTES: usize = 2 * 1024;

/// The client's half of the session. See the [contract](crate::session) of its driver.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientOptions,
    key: ClientKey,
    now: Duration,
    random: u64,
    link: Link,
    rooms: Rooms,
    outbox: Outbox,
    history: History,
    acknowledged: Acknowledged,
    timers: Timers,
    numbers: RoomNumbers,
    /// Frames that are ready and not yet an [`Output::Transmit`].
    lines: Vec<ClientLine>,
    outputs: VecDeque<Output>,
    /// What a snapshot holds has changed since the last [`Output::Save`].
    changed: bool,
    /// An [`Output::Save`] is due with the next outputs.
    save_due: bool,
}

impl ClientSession {
    /// A session that never was; it waits for [`Input::Connect`].
    #[must_use]
    pub fn new(config: ClientOptions, key: ClientKey) -> Self {
        Self {
            key,
            now: Duration::ZERO,
            random: 0,
            link: Link::default(),
            rooms: Rooms::default(),
            outbox: Outbox::new(config.outbox),
            history: History::new(),
            acknowledged: Acknowledged::new(config.acknowledged),
            timers: Timers::default(),
            // Those that are joined, and those with messages.
            numbers: RoomNumbers::new(config.rooms.saturating_mul(2)),
            lines: Vec::new(),
            outputs: VecDeque::new(),
            changed: false,
            save_due: false,
            config,
        }
    }

    /// A session that goes on where a snapshot was taken; it waits for [`Input::Connect`]. `elapsed` is the time since the snapshot
    /// was stored: messages whose time was over meanwhile fail. Rooms are not joined by themselves: their cursors are in the
    /// snapshot, for an application that kept what it read.
    #[must_use]
    pub fn restore(config: ClientOptions, snapshot: Snapshot, elapsed: Duration, now: Duration) -> Self {
        let mut session = Self::new(config, snapshot.key);
        session.now = now;
        session.outbox.next = snapshot.next;
        for room in snapshot.rooms {
            snapshot::restore(&mut session.outbox, room, elapsed, now);
        }
        session.timers.set(Timer::Expire, now);
        session
    }

    /// A session that goes on where a store has it, as [`restore`](Self::restore) does. `wall` is the time by the clock that was given
    /// to [`writes`](Self::writes). The store may be used again: the first `writes` replaces what is there.
    #[must_use]
    pub fn resume(config: ClientOptions, kept: Kept, wall: Millis, now: Duration) -> Self {
        let elapsed = Duration::from_millis(wall.saturating_sub(kept.saved_at()));
        let mut session = Self::restore(config, kept.snapshot, elapsed, now);
        session.outbox.journal.begin_above(kept.last);
        session
    }

    /// What to carry out so that a store of numbered texts has the session as it is now, and [`resume`](Self::resume) can go on. `wall`
    /// is a clock that goes on while there is no page.
    ///
    /// The first call gives everything, each further one what changed since the call before; so all that is written over time is
    /// proportional to what was published, however much waits. The steps are to be carried out in this order. If it ends after any of
    /// them, as with a page that crashes, the store has all that the calls before gave, nothing twice, and no number that was sent
    /// belongs to another message. If a step fails, the store is not up to date any more: [`write_all`](Self::write_all) begins anew,
    /// or nothing of it may be used again.
    ///
    /// At most [`OutboxOptions::messages`] changes are remembered for the next call; after more, it gives everything.
    #[must_use = "each step is given once"]
    pub fn writes(&mut self, wall: Millis) -> Vec<Write> {
        records::take(self.key, &mut self.outbox, self.now, wall)
    }

    /// The store does not have any more what was written, for instance because it is another one: the next
    /// [`writes`](Self::writes) gives everything.
    pub fn write_all(&mut self) {
        self.outbox.journal.all();
    }

    /// What to store so that [`restore`](Self::restore) can go on. For a store that takes it whole each time; see
    /// [`writes`](Self::writes) for one in which only changes are written.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(self.key, &self.outbox, &self.rooms, self.now)
    }

    /// Takes one input. Afterwards, and before waiting for anything, drain [`poll_output`](Self::poll_output); several inputs that
    /// are there already may go in first, and then what they lead to leaves together.
    pub fn handle(&mut self, moment: Moment, input: Input) {
        self.now = self.now.max(moment.now);
        self.random = moment.random;
        self.take(input);
        // After the input: what just came may be the sign of life that a timer waits for. With every input and not only with `Tick`: a
        // page in the background has its timers throttled, and a machine that slept has none.
        while let Some(timer) = self.timers.take_due(self.now) {
            trace!("timer {timer:?} fired at {} ms", self.now.as_millis());
            self.on_timer(timer);
        }
    }

    /// The next thing to do. `None` means that there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.collect();
            if self.outbox.take_place() {
                self.outputs.push_back(Output::OutboxHasCapacity);
            }
        }
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`] at the latest, on the clock of [`Moment::now`]; ask again after
    /// each drain.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The state of the connection.
    #[must_use]
    pub fn status(&self) -> Status {
        self.link.status()
    }

    /// Whether a message with so many bytes of JSON would be taken now. After `false`, [`Output::OutboxHasCapacity`] comes when it is
    /// worth asking again.
    pub fn has_capacity(&mut self, bytes: usize) -> bool {
        self.outbox.has_capacity(bytes)
    }

    /// How far a room was read, to be kept next to what was read.
    #[must_use]
    pub fn cursor(&self, room: &RoomName) -> Option<&Cursor> {
        self.rooms.cursor(room)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { generation } => self.opened(generation),
            Input::Received { generation, text } => self.received(generation, &text),
            Input::Closed {
                generation,
                code,
                reason,
            } => self.closed(generation, Cause { code, reason }),
            Input::Tick => {}
            Input::Online => self.online(),
            Input::Offline => self.offline(),
            Input::Visible | Input::Resume => self.awake(),
            Input::Suspend => self.suspend(),
            Input::Token(token) => self.token(token),
            Input::Key(key) => self.take_key(key),
            Input::Connect => self.connect_by_hand(),
            Input::Stop => self.stop(StopReason::Asked),
            Input::Join { room, since, history } => {
                let max = self.config.rooms;
                let effect = self.rooms.want(room.clone(), since, history, max);
                self.apply(&room, effect);
            }
            Input::Leave { room } => {
                if self.rooms.is_wanted(&room) {
                    let effect = self.rooms.leave(&room);
                    self.apply(&room, effect);
                    self.tell(&room, RoomEvent::Left(None));
                }
            }
            Input::Publish { room, body, tag } => self.publish(room, body, tag),
            Input::Signal { room, body } => self.signal(room, body),
            Input::History {
                room,
                before,
                limit,
                tag,
            } => self.ask_history(Question {
                room,
                before,
                limit,
                tag,
            }),
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Token => self.no_token("the application gave no token in time"),
            Timer::Connect => self.give_up("the connection did not open in time"),
            Timer::Hello => self.give_up("the server did not say welcome in time"),
            Timer::Reconnect => self.reconnect(),
            Timer::Heartbeat => self.give_up("nothing was heard from the server"),
            Timer::Probe => self.give_up("nothing was heard from the server after coming back"),
            Timer::Answer => self.give_up("the server left requests without an answer"),
            Timer::Renew => self.want_token(),
            // What was held back is looked at whenever outputs are collected.
            Timer::Retry => {}
            Timer::Expire => {
                let mut progress = Vec::new();
                if let Some(next) = self.outbox.expire(self.now, &mut progress) {
                    self.timers.set(Timer::Expire, next);
                }
                self.report(progress);
            }
            Timer::Save => self.save_due = true,
        }
    }

    fn publish(&mut self, room: RoomName, body: Body, tag: Tag) {
        if self.link.is_over() {
            let state = DeliveryState::Failed(FailReason::Stopped);
            return self.outputs.push_back(Output::Delivery { tag, state });
        }
        let taken = {
            let id = PublishId::from_random(self.random);
            self.outbox.push(room, body, id, tag, self.now, self.config.rooms)
        };
        let state = match taken {
            Ok(deadline) => {
                self.timers.set_earlier(Timer::Expire, deadline);
                self.change();
                DeliveryState::Queued
            }
            Err(reason) => {
                debug!("message {tag} is refused: {reason}");
                DeliveryState::Failed(reason)
            }
        };
        self.outputs.push_back(Output::Delivery { tag, state });
    }

    fn signal(&mut self, room: RoomName, body: Body) {
        let Some((_, limits)) = self.link.open().filter(|_| self.rooms.is_in(&room)) else {
            return;
        };
        let depth = u32::try_from(body.depth()).unwrap_or(u32::MAX);
        let Some(reason) = unfit(&room, body.json().len(), depth, limits) else {
            return self.lines.push(ClientLine::Signal { room, body });
        };
        debug!("room {}: a signal is refused: {reason}", self.numbers.of(&room));
        let code = match reason {
            FailReason::TooDeep { .. } => code::TOO_DEEP,
            _ => code::TOO_LARGE,
        };
        self.outputs.push_back(Output::Fault {
            code: code.to_owned(),
            message: reason.to_string(),
            room: Some(room),
        });
    }

    fn ask_history(&mut self, question: Question) {
        let error = if self.link.is_over() {
            PageError::Stopped
        } else if self.history.len() >= self.config.pages {
            PageError::TooMany
        } else {
            return self.history.push(question);
        };
        debug!("request {} for history is refused: {error}", question.tag);
        self.outputs.push_back(Output::Page {
            tag: question.tag,
            result: Err(error),
        });
    }

    fn apply(&mut self, room: &RoomName, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Tell(event) => {
                self.change();
                self.tell(room, event);
            }
            Effect::Send(line) => {
                debug!("room {}: leaves", self.numbers.of(room));
                self.lines.push(line);
            }
            Effect::Violation(reason) => {
                debug!("room {}: {reason}", self.numbers.of(room));
                self.violated(reason);
            }
        }
    }

    fn tell(&mut self, room: &RoomName, event: RoomEvent) {
        let room = room.clone();
        self.outputs.push_back(Output::Room { room, event });
    }

    fn report(&mut self, progress: impl IntoIterator<Item = Progress>) {
        for (tag, state) in progress {
            if state != DeliveryState::Written {
                self.change();
            }
            self.outputs.push_back(Output::Delivery { tag, state });
        }
    }

    /// What a snapshot holds is not what was stored.
    fn change(&mut self) {
        if self.config.keep {
            self.changed = true;
            self.timers
                .set_earlier(Timer::Save, self.now.saturating_add(self.config.save_delay));
        }
    }

    fn save_if_due(&mut self) {
        if std::mem::take(&mut self.save_due) && std::mem::take(&mut self.changed) {
            self.timers.clear(Timer::Save);
            self.outputs.push_back(Output::Save);
        }
    }

    /// Makes text frames of what is ready to be sent.
    fn collect(&mut self) {
        let mut frames = std::mem::take(&mut self.lines);
        let Some((generation, limits)) = self.link.open() else {
            // Before the welcome there are no limits to keep; a greeting is one line.
            if let Some(generation) = self.link.connection() {
                let texts = codec::pack(&frames, usize::MAX, usize::MAX).into_iter();
                self.outputs
                    .extend(texts.map(|text| Output::Transmit { generation, text }));
            }
            return self.save_if_due();
        };
        let limits = limits.clone();
        while let Some(join) = self.rooms.next_join(self.now) {
            frames.push(join);
        }
        while let Some(request) = self.history.next(self.now, limits.history) {
            frames.push(request);
        }
        let mut progress = Vec::new();
        loop {
            let (publish, further) = self.outbox.next(self.now, &limits);
            if publish.is_none() && further.is_none() {
                break;
            }
            progress.extend(further);
            frames.extend(publish);
        }
        if frames
            .iter()
            .any(|frame| matches!(frame, ClientLine::Publish(_) | ClientLine::Withdraw(_)))
        {
            // A number that is on the wire must never be given to another message, and what was settled before must be known to be: so
            // the server's memory of the last `in_flight` numbers covers all that a restored session sends again.
            self.changed |= self.config.keep;
            self.save_due = true;
        }
        self.save_if_due();
        let bytes = TEXT_BYTES.min(limits.text_bytes as usize);
        for text in codec::pack(&frames, bytes, limits.text_lines as usize) {
            self.outputs.push_back(Output::Transmit { generation, text });
        }
        self.report(progress);
        self.arm();
    }

    /// Sets the timers that follow from what is waited for.
    fn arm(&mut self) {
        let pauses = [
            self.rooms.paused_until(),
            self.outbox.paused_until(),
            self.history.paused_until(),
        ];
        // What is due already waits for an answer and not for time.
        match pauses.into_iter().flatten().filter(|&until| until > self.now).min() {
            Some(until) => self.timers.set(Timer::Retry, until),
            None => self.timers.clear(Timer::Retry),
        }
        let waits = self.outbox.on_way() > 0 || self.rooms.awaits_answer() || self.history.awaits_answer();
        if !waits {
            self.timers.clear(Timer::Answer);
        } else if !self.timers.is_set(Timer::Answer) {
            self.set_timer(Timer::Answer, self.config.answer_timeout);
        }
    }
}
