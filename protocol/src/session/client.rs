//! The client's half: the connection and reconnecting, rooms with their cursors, and the outbox.
//!
//! | what | where |
//! |---|---|
//! | commands | here: [`ClientSession::publish`] and the methods around it |
//! | inputs and outputs | `api.rs`: [`Input`], [`Output`] |
//! | settings and bounds | `options.rs` |
//! | connecting, disconnecting, tokens, keys | `link.rs`, `backoff.rs` |
//! | what each line of the server does | `lines.rs` |
//! | which rooms are joined, and how far they were read | `rooms.rs` |
//! | messages that are not acknowledged | `outbox.rs` |
//! | what is kept across reloads | `snapshot.rs`, `records.rs` |
//! | where the log has own messages | `acknowledged.rs` |
//! | requests for older messages, and for users by name | `history.rs` |
//! | timers | `timer.rs` |
//! | what is logged, with the feature `trace` | `trace.rs` |

mod acknowledged;
mod api;
mod backoff;
mod history;
mod lines;
mod link;
mod options;
mod outbox;
mod records;
mod rooms;
mod snapshot;
mod timer;
mod trace;

use std::{collections::VecDeque, time::Duration};

pub use api::{
    Cause, DeliveryState, FailReason, FoundMembers, Generation, HistoryPage, Input, JoinedRoom, LeftReason, Output,
    PageError, PresenceChange, RoomEvent, Status, StopReason, SuspendReason, Tag,
};
pub use options::{BackoffOptions, ClientOptions, OutboxOptions};
pub use records::{Kept, Write};
pub use snapshot::{PendingMessage, RoomSnapshot, Snapshot};

use crate::{
    Body, ClientKey, ClientLine, Cursor, Moment, Offset, PublishId, RoomName, codec,
    message::{Limits, Millis, code},
};
use acknowledged::Acknowledged;
use history::{History, Question, Wanted};
use link::Link;
use outbox::{Outbox, Progress, unfit};
use rooms::{Effect, Rooms, is_addressed};
use timer::{Timer, Timers};
use trace::{RoomNumbers, debug, trace};

/// Lines are put together into WebSocket messages of at most this size; a longer line is sent alone. A message that a
/// lost connection cuts off is lost as a whole, so with large ones nothing would get through connections that are lost
/// soon.
const TEXT_BYTES: usize = 2 * 1024;

/// The client's half of the session. See the [contract](crate::session) of its driver.
#[derive(Debug)]
pub struct ClientSession {
    options: ClientOptions,
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
    /// Lines that are ready and not yet in an [`Output::Transmit`].
    lines: Vec<ClientLine>,
    outputs: VecDeque<Output>,
    /// A snapshot would differ from the one at the last [`Output::Save`].
    changed: bool,
    /// An [`Output::Save`] is due with the next outputs.
    save_due: bool,
}

impl ClientSession {
    /// A new session. It waits for [`connect`](Self::connect).
    #[must_use]
    pub fn new(options: ClientOptions, key: ClientKey) -> Self {
        Self {
            key,
            now: Duration::ZERO,
            random: 0,
            link: Link::default(),
            rooms: Rooms::default(),
            outbox: Outbox::new(options.outbox),
            history: History::new(),
            acknowledged: Acknowledged::new(options.acknowledged),
            timers: Timers::default(),
            // Those that are joined, and those with messages.
            numbers: RoomNumbers::new(options.rooms.saturating_mul(2)),
            lines: Vec::new(),
            outputs: VecDeque::new(),
            changed: false,
            save_due: false,
            options,
        }
    }

    /// Continues the session of a snapshot. It waits for [`connect`](Self::connect). `elapsed` is the time since the
    /// snapshot was stored: messages that expired meanwhile fail. Rooms are not joined: their cursors are in the
    /// snapshot, for an application that kept what it read.
    #[must_use]
    pub fn restore(options: ClientOptions, snapshot: Snapshot, elapsed: Duration, now: Duration) -> Self {
        let mut session = Self::new(options, snapshot.key);
        session.now = now;
        session.outbox.next = snapshot.next;
        for room in snapshot.rooms {
            snapshot::restore(&mut session.outbox, room, elapsed, now);
        }
        session.timers.set(Timer::Expire, now);
        session
    }

    /// Continues the session that a store has, as [`restore`](Self::restore) does. `wall` is the time by the clock that
    /// was given to
    /// [`writes`](Self::writes). The store may be used again: the first `writes` replaces its content.
    #[must_use]
    pub fn resume(options: ClientOptions, kept: Kept, wall: Millis, now: Duration) -> Self {
        let elapsed = Duration::from_millis(wall.saturating_sub(kept.saved_at()));
        let mut session = Self::restore(options, kept.snapshot, elapsed, now);
        let max = session.outbox.max_messages();
        session.outbox.journal.begin_above(kept.last, max);
        session
    }

    /// The writes that bring a store of numbered texts up to date, for [`resume`](Self::resume). `wall` is the time by
    /// a clock that goes on while there is no page.
    ///
    /// The first call returns everything, each later one the changes since the call before; so the bytes written over
    /// time are proportional to what was published, however much is pending. The writes are to be carried out in this
    /// order. If the page ends after any of them, the store has all that earlier calls returned, nothing twice, and no
    /// number that was sent belongs to another message. If a write fails, the store is out of date: call
    /// [`write_all`](Self::write_all), or do not use the store again.
    ///
    /// At most [`OutboxOptions::messages`] changes are remembered for the next call; after more, it returns everything.
    #[must_use = "each step is given once"]
    pub fn writes(&mut self, wall: Millis) -> Vec<Write> {
        records::take(self.key, &mut self.outbox, self.now, wall)
    }

    /// The store lost what was written, or is another one: the next [`writes`](Self::writes) returns everything.
    pub fn write_all(&mut self) {
        self.outbox.journal.all();
    }

    /// The state to store for [`restore`](Self::restore), as a whole; see [`writes`](Self::writes) for a store in which
    /// only changes are written.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(self.key, &self.outbox, &self.rooms, self.now)
    }

    /// Takes an event. Afterwards, and before waiting for anything, drain [`poll_output`](Self::poll_output). All that
    /// has already happened, events and commands, may be given first; then the lines are sent together.
    pub fn handle(&mut self, moment: Moment, input: Input) {
        self.at(moment, |session| session.take(input));
    }

    /// Connects now, without a pause: for the first time, by the user's wish, or after a stop.
    pub fn connect(&mut self, moment: Moment) {
        self.at(moment, Self::connect_by_hand);
    }

    /// Asks the server of an open connection for a sign of life; if none comes within
    /// [`ClientOptions::probe_timeout`], the connection is given up.
    pub fn check(&mut self, moment: Moment) {
        self.at(moment, Self::check_by_hand);
    }

    /// Ends the session with 1000. Messages that are not acknowledged fail.
    pub fn stop(&mut self, moment: Moment) {
        self.at(moment, Self::stop_by_hand);
    }

    /// Becomes a member of a room. Joining a room that is joined changes nothing. A refusal is the event
    /// [`RoomEvent::Refused`], whether it is the server's or that of [`ClientOptions::rooms`].
    ///
    /// The messages after `since`, the last that the application has, follow. Without it, or if the log does not have
    /// all of them any more, the newest `history` messages do.
    pub fn join(&mut self, moment: Moment, room: RoomName, since: Option<Cursor>, history: Option<u32>) {
        self.at(moment, |session| {
            if is_addressed(&room) {
                let event = RoomEvent::Refused {
                    code: code::FORBIDDEN.to_owned(),
                    message: "rooms whose names begin with ~ are the server's own".to_owned(),
                };
                return session.emit(&room, event);
            }
            let effect = session.rooms.want(room.clone(), since, history, session.options.rooms);
            session.apply(&room, effect);
        });
    }

    /// Ends the membership of a room. No event of it follows, also none that was not taken from
    /// [`poll_output`](Self::poll_output) yet.
    pub fn leave(&mut self, moment: Moment, room: &RoomName) {
        self.at(moment, |session| {
            let effect = session.rooms.leave(room);
            session.apply(room, effect);
            session
                .outputs
                .retain(|output| !matches!(output, Output::Room { room: left, .. } if left == room));
        });
    }

    /// Asks for what is addressed to the user, alone or as a member of a group. The server says which rooms these are: the
    /// first event of each is as after [`join`](Self::join), and their names begin with `~`. A second call changes
    /// nothing. A refusal is [`Output::NotAddressed`], or a [`RoomEvent::Refused`] of one room.
    ///
    /// `since` has the last messages that the application has of rooms that it knows, `history` is as in
    /// [`join`](Self::join).
    #[cfg(feature = "direct")]
    pub fn address(&mut self, moment: Moment, since: Vec<(RoomName, Cursor)>, history: Option<u32>) {
        self.at(moment, |session| {
            session.rooms.want_addressed(since, history, session.options.rooms);
        });
    }

    /// Ends what [`address`](Self::address) asked for. No event of an addressed room follows, also none that was not
    /// taken from [`poll_output`](Self::poll_output) yet.
    #[cfg(feature = "direct")]
    pub fn leave_addressed(&mut self, moment: Moment) {
        self.at(moment, |session| {
            session.lines.extend(session.rooms.leave_addressed());
            session
                .outputs
                .retain(|output| !matches!(output, Output::Room { room, .. } if is_addressed(room)));
        });
    }

    /// Puts a message into the outbox. The room need not be joined, the connection need not be open. Each
    /// [`Output::Delivery`] of it carries `tag`.
    ///
    /// # Errors
    /// Why the outbox does not take it: [`FailReason::OutboxFull`], [`FailReason::TooLarge`],
    /// [`FailReason::TooManyRooms`] or
    /// [`FailReason::Stopped`]. No output follows for its tag then.
    pub fn publish(&mut self, moment: Moment, room: RoomName, body: Body, tag: Tag) -> Result<(), FailReason> {
        self.at(moment, |session| session.enqueue(room, body, tag))
    }

    /// Sends something to the members of a joined room that the log does not keep. It is dropped if the room is not
    /// joined. One over the server's limits is an [`Output::Fault`], as one is that the server refuses.
    pub fn signal(&mut self, moment: Moment, room: RoomName, body: Body) {
        self.at(moment, |session| session.send_signal(room, body));
    }

    /// Requests a page of older messages: at most `limit`, the newest before an offset. The server may return fewer.
    /// The room need not be joined. The [`Output::Page`] of the answer carries `tag`.
    ///
    /// # Errors
    /// [`PageError::TooMany`] or [`PageError::Stopped`]. No output follows for its tag then.
    pub fn history(
        &mut self,
        moment: Moment,
        room: RoomName,
        before: Offset,
        limit: u32,
        tag: Tag,
    ) -> Result<(), PageError> {
        let wanted = Wanted::Page { before, limit };
        let question = Question { room, wanted, tag };
        self.at(moment, |session| session.ask(question))
    }

    /// Requests the users of a joined room whose names have this part, in any case of letters; without one, the first
    /// users by name. The server returns some, and says whether there are more. The [`Output::Found`] of the answer
    /// carries `tag`. While the room is being joined, the request waits. A server of an earlier version does not find
    /// users: that is [`PageError::Refused`] with the code `forbidden`.
    ///
    /// # Errors
    /// [`PageError::TooMany`] or [`PageError::Stopped`]. No output follows for its tag then.
    #[cfg(feature = "find")]
    pub fn find(
        &mut self,
        moment: Moment,
        room: RoomName,
        name: Option<crate::UserName>,
        tag: Tag,
    ) -> Result<(), PageError> {
        let wanted = Wanted::Users { name };
        let question = Question { room, wanted, tag };
        self.at(moment, |session| session.ask(question))
    }

    /// The next output to carry out. `None`: there is none until the next event or command.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.collect();
            if self.outbox.take_capacity_notice() {
                self.outputs.push_back(Output::OutboxHasCapacity);
            }
        }
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`] at the latest, on the clock of [`Moment::now`]; ask
    /// again after each drain.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The state of the connection.
    #[must_use]
    pub fn status(&self) -> Status {
        self.link.status()
    }

    /// The limits of the server, while the connection is open.
    #[must_use]
    pub fn limits(&self) -> Option<&Limits> {
        Some(self.link.open()?.1)
    }

    /// Whether the outbox has capacity for a message with so many bytes of JSON. After `false`,
    /// [`Output::OutboxHasCapacity`] comes when it is worth asking again.
    pub fn has_capacity(&mut self, bytes: usize) -> bool {
        self.outbox.has_capacity(bytes)
    }

    /// How far a room was read, to be kept next to what was read.
    #[must_use]
    pub fn cursor(&self, room: &RoomName) -> Option<&Cursor> {
        self.rooms.cursor(room)
    }

    /// Does something at a moment, and then what is due by its time.
    fn at<T>(&mut self, moment: Moment, act: impl FnOnce(&mut Self) -> T) -> T {
        self.now = self.now.max(moment.now);
        self.random = moment.random;
        let result = act(self);
        self.fire_due();
        result
    }

    /// After the input, because it may be the sign of life that a timer waits for. With every input and command and not
    /// only with `Tick`, because the timers of a page in the background are throttled, and those of a machine that
    /// sleeps stand still.
    fn fire_due(&mut self) {
        while let Some(timer) = self.timers.take_due(self.now) {
            trace!("timer {timer:?} fired at {} ms", timer::millis(self.now));
            self.on_timer(timer);
        }
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
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Token => self.no_token("the application gave no token in time"),
            Timer::Connect => self.give_up("the connection did not open in time"),
            Timer::Hello => self.give_up("the server did not say welcome in time"),
            Timer::Reconnect => self.reconnect(),
            Timer::Heartbeat => self.give_up("nothing was heard from the server"),
            Timer::Probe => self.give_up("nothing was heard from the server after a ping"),
            Timer::Answer => self.give_up("the server left requests without an answer"),
            Timer::Renew => self.want_token(),
            // `collect` looks for what has become due.
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

    fn enqueue(&mut self, room: RoomName, body: Body, tag: Tag) -> Result<(), FailReason> {
        if self.link.is_over() {
            return Err(FailReason::Stopped);
        }
        let id = PublishId::from_random(self.random);
        let taken = self.outbox.push(room, body, id, tag, self.now, self.options.rooms);
        let deadline = taken.inspect_err(|reason| debug!("message {tag} is refused: {reason}"))?;
        self.timers.set_earlier(Timer::Expire, deadline);
        self.change();
        Ok(())
    }

    fn send_signal(&mut self, room: RoomName, body: Body) {
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

    fn ask(&mut self, question: Question) -> Result<(), PageError> {
        let error = if self.link.is_over() {
            PageError::Stopped
        } else if self.history.len() >= self.options.pages {
            PageError::TooMany
        } else {
            self.history.push(question);
            return Ok(());
        };
        debug!("request {} is refused: {error}", question.tag);
        Err(error)
    }

    fn apply(&mut self, room: &RoomName, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Emit(event) => {
                self.change();
                self.emit(room, event);
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

    fn emit(&mut self, room: &RoomName, event: RoomEvent) {
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

    /// The state that is to be stored has changed.
    fn change(&mut self) {
        if self.options.keep {
            self.changed = true;
            self.timers
                .set_earlier(Timer::Save, self.now.saturating_add(self.options.save_delay));
        }
    }

    fn save_if_due(&mut self) {
        if std::mem::take(&mut self.save_due) && std::mem::take(&mut self.changed) {
            self.timers.clear(Timer::Save);
            self.outputs.push_back(Output::Save);
        }
    }

    /// Puts the lines that can be sent into WebSocket messages.
    fn collect(&mut self) {
        let mut frames = std::mem::take(&mut self.lines);
        let Some((generation, limits)) = self.link.open() else {
            // Before `welcome` the limits are unknown; what is sent then is a few short lines.
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
        if self.link.addresses() {
            frames.extend(self.rooms.next_direct(self.now, limits.text_bytes as usize));
        } else {
            self.not_addressed(
                code::FORBIDDEN.to_owned(),
                "this server does not address users".to_owned(),
            );
        }
        if cfg!(feature = "find") && !self.link.finds() {
            while let Some(question) = self.history.take_for_users() {
                let refused = PageError::Refused {
                    code: code::FORBIDDEN.to_owned(),
                    message: "this server does not find users by name".to_owned(),
                };
                self.unanswered(&question, refused);
            }
        }
        while let Some(request) = self.history.next(self.now, limits.history, &self.rooms) {
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
            // Stored first: a number that is on the wire must never be given to another message, and what is settled
            // must stay settled, so that the server's memory of the last `in_flight` numbers covers all that a restored
            // session sends again.
            self.changed |= self.options.keep;
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

    /// Sets the timers for pauses and for answers.
    fn arm(&mut self) {
        let pauses = [
            self.rooms.paused_until(),
            self.outbox.paused_until(),
            self.history.paused_until(),
        ];
        // What is due now waits for an answer and not for the time.
        match pauses.into_iter().flatten().filter(|&until| until > self.now).min() {
            Some(until) => self.timers.set(Timer::Retry, until),
            None => self.timers.clear(Timer::Retry),
        }
        let waits = self.outbox.in_flight() > 0 || self.rooms.awaits_answer() || self.history.awaits_answer();
        if !waits {
            self.timers.clear(Timer::Answer);
        } else if !self.timers.is_set(Timer::Answer) {
            self.set_timer(Timer::Answer, self.options.answer_timeout);
        }
    }
}
