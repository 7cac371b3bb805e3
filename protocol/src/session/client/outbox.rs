//! Messages that are not acknowledged: a queue for each room, its *lane*. A message that was sent has a number that no
//! other message of this key gets in this room.
//!
//! A message gets its number when it is sent for the first time, so one that expires before leaves no gap. One that was
//! sent keeps its number until the server has settled it: when it expires it is *withdrawn*. The log answers with the
//! outcome, and the messages behind it follow. The answer is reliable for twice [`OutboxOptions::ttl`] after the
//! message was published; later the log may have forgotten it, and the outcome is unknown.
//!
//! A lane is removed as soon as everything in it is settled, so a client may publish to any number of rooms. For all
//! removed lanes together one number is kept, [`Outbox::next`]: it is above all numbers that were used in them. A new
//! lane begins there. That cannot lose or double a message: its first publish has the flag `first`, with which a log
//! accepts any later number, and which is correct because no earlier number is open. By accepting it the log forgets
//! the outcomes of earlier numbers, which are not asked for again: a kept outbox is stored without them before the
//! publish is sent.

use std::{collections::VecDeque, time::Duration};

use litemap::LiteMap;

use super::{DeliveryState, FailReason, OutboxOptions, Tag, records::Journal};
use crate::{
    Body, ClientLine, PublishId, RoomName, Seq,
    message::{Limits, Publish, Withdraw, code},
};

/// How many messages may be in flight on a new connection. Each answer adds one, up to the server's limit. Over
/// connections that end soon, the answers to a few messages arrive, where those to very many would not.
///
/// It is also the window after a refusal for now, because all messages behind the refused one are refused too and sent
/// again.
const FIRST_WINDOW: u32 = 16;

/// The longest `ttl`: 36,500 days. Sums with a longer one could exceed a `Duration`.
const MAX_TTL: Duration = Duration::from_secs(3_153_600_000);

/// The next state of a message.
pub(super) type Progress = (Tag, DeliveryState);

#[derive(Debug)]
pub(super) struct Outbox {
    options: OutboxOptions,
    /// One for each room with a message that is not settled.
    pub(super) lanes: LiteMap<RoomName, Lane>,
    /// The first number of a room that has no lane.
    pub(super) next: Seq,
    /// The changes that the store does not have.
    pub(super) journal: Journal,
    /// Entries of all lanes, also those whose last state was reported and whose number is not settled.
    messages: usize,
    /// Bytes of the bodies in the entries.
    bytes: usize,
    /// Publishes and withdrawals of this connection that are not answered.
    in_flight: u32,
    /// The most that may be in flight.
    window: u32,
    /// The room whose message was sent last. The next one is of another room, so that a busy room does not delay the
    /// others.
    turn: Option<RoomName>,
    /// Nothing is sent before this time: the server refused a message because the connection sends too much.
    paused_until: Option<Duration>,
    /// Bytes of the smallest body that was refused for lack of capacity since the last notice of capacity.
    awaited: Option<usize>,
    /// The log is far beyond the numbers of this session: no further message gets a number, and when those that were
    /// sent are answered, a new key is needed.
    outdated: bool,
}

impl Outbox {
    pub(super) fn new(mut options: OutboxOptions) -> Self {
        options.ttl = options.ttl.min(MAX_TTL);
        Self {
            journal: Journal::default(),
            options,
            lanes: LiteMap::new(),
            next: Seq::FIRST,
            messages: 0,
            bytes: 0,
            in_flight: 0,
            window: FIRST_WINDOW,
            turn: None,
            paused_until: None,
            awaited: None,
            outdated: false,
        }
    }

    /// See [`OutboxOptions::messages`].
    pub(super) fn max_messages(&self) -> usize {
        self.options.messages
    }

    /// See [`OutboxOptions::ttl`]; at most [`MAX_TTL`].
    pub(super) fn ttl(&self) -> Duration {
        self.options.ttl
    }

    /// Adds the messages of a room from a snapshot.
    pub(super) fn restore(&mut self, room: RoomName, first: Seq, entries: VecDeque<Entry>) {
        self.messages += entries.len();
        self.bytes += entries.iter().map(Entry::bytes).sum::<usize>();
        let lane = Lane {
            numbered: entries.len(),
            entries,
            ..Lane::new(first)
        };
        self.lanes.insert(room, lane);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether a body of so many bytes fits. If not, [`take_capacity_notice`](Self::take_capacity_notice) reports when
    /// it does.
    pub(super) fn has_capacity(&mut self, bytes: usize) -> bool {
        // A body that never fits is not waited for: `push` reports the reason.
        let fits = bytes > self.options.bytes
            || (self.messages < self.options.messages && self.bytes + bytes <= self.options.bytes);
        if !fits {
            self.awaited = Some(self.awaited.map_or(bytes, |smallest| smallest.min(bytes)));
        }
        fits
    }

    /// Adds a message, and returns when it expires, or why it is refused.
    pub(super) fn push(
        &mut self,
        room: RoomName,
        body: Body,
        id: PublishId,
        tag: Tag,
        now: Duration,
        rooms: usize,
    ) -> Result<Duration, FailReason> {
        let bytes = body.json().len();
        if bytes > self.options.bytes {
            let max = self.options.bytes;
            return Err(FailReason::TooLarge { bytes, max });
        }
        if !self.has_capacity(bytes) {
            return Err(FailReason::OutboxFull);
        }
        if !self.lanes.contains_key(&room) && self.lanes.len() >= rooms {
            return Err(FailReason::TooManyRooms);
        }
        self.messages += 1;
        self.bytes += bytes;
        let ttl = self.options.ttl;
        let until = now.saturating_add(ttl.saturating_mul(2));
        let mut entry = Entry::new(Some(tag), id, Some(body), until);
        let deadline = entry.deadline(ttl);
        let lane = self.lanes.entry(room.clone()).or_insert_with(|| {
            self.journal.room(&room);
            Lane {
                record: self.journal.number(),
                ..Lane::new(self.next)
            }
        });
        entry.record = self.journal.number();
        self.journal.message(entry.record, &room);
        lane.entries.push_back(entry);
        Ok(deadline)
    }

    /// The next message to send, and its new state; none while as many are in flight as the window and the server
    /// allow.
    pub(super) fn next(&mut self, now: Duration, limits: &Limits) -> (Option<ClientLine>, Option<Progress>) {
        let max_in_flight = limits.in_flight.max(1);
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.paused_until.is_some() || self.in_flight >= max_in_flight.min(self.window) {
            return (None, None);
        }
        let (turn, known) = (self.turn.as_ref(), self.outdated);
        let Some((room, lane)) = next_lane(&mut self.lanes, turn, now, max_in_flight as usize, known) else {
            return (None, None);
        };
        let index = lane.sent;
        let entry = &mut lane.entries[index];
        if let Some(reason) = entry.unfit(room, limits) {
            self.bytes -= entry.bytes();
            if index >= lane.numbered {
                self.journal.message_gone(entry.record);
                let tag = lane.entries.remove(index).and_then(|entry| entry.tag);
                self.messages -= 1;
                self.forget_settled();
                return (None, tag.map(|tag| (tag, DeliveryState::Failed(reason))));
            }
            // An earlier server may have taken it: the log answers the withdrawal.
            entry.body = None;
            entry.given_up = Some(reason);
            self.journal.message(entry.record, room);
        }
        let (room, seq) = (room.clone(), lane.first.plus(index as u64));
        let (id, first) = (entry.id, index == 0);
        self.turn = Some(room.clone());
        let line = match entry.body.clone() {
            Some(body) => ClientLine::Publish(Publish {
                room,
                seq,
                id,
                first,
                body,
            }),
            None => ClientLine::Withdraw(Withdraw { room, seq, id, first }),
        };
        let progress = entry.tag.map(|tag| (tag, DeliveryState::Written));
        lane.sent += 1;
        lane.numbered = lane.numbered.max(lane.sent);
        lane.in_flight += 1;
        self.in_flight += 1;
        (Some(line), progress)
    }

    /// The server answered one of the messages in flight.
    pub(super) fn answered(&mut self, room: &RoomName) {
        if let Some(lane) = self.lanes.get_mut(room)
            && lane.in_flight > 0
        {
            lane.in_flight -= 1;
            self.in_flight -= 1;
            self.window = self.window.saturating_add(1);
            self.forget_settled();
        }
    }

    /// A number is settled: its message is in the log, refused for good, or its outcome is unknown.
    pub(super) fn settle(
        &mut self,
        room: &RoomName,
        seq: Seq,
        id: Option<PublishId>,
        now: Duration,
        fate: DeliveryState,
    ) -> Option<Progress> {
        let lane = self.lanes.get_mut(room)?;
        let index = usize::try_from(seq.get().checked_sub(lane.first.get())?).ok()?;
        if index >= lane.numbered || lane.entries[index].settled {
            return None;
        }
        let entry = &mut lane.entries[index];
        if id.is_some_and(|id| id != entry.id) {
            return None;
        }
        entry.settled = true;
        self.bytes -= entry.bytes();
        let withdrawn = entry.body.take().is_none();
        let (tag, until, given_up) = (entry.tag.take(), entry.until, entry.given_up.take());
        self.journal.message(entry.record, room);
        if index == 0 {
            self.journal.room(room);
        }
        while let Some(entry) = lane.entries.pop_front_if(|entry| entry.settled) {
            self.journal.message_gone(entry.record);
            lane.first = lane.first.next();
            lane.numbered -= 1;
            lane.sent = lane.sent.saturating_sub(1);
            self.messages -= 1;
        }
        self.forget_settled();
        let fate = match fate {
            DeliveryState::Failed(FailReason::Refused { epoch, code, .. }) if withdrawn => {
                // Without the log's answer, what an earlier connection sent may be in the log; and a log that is asked
                // too late may have forgotten it.
                let certain = now < until && (epoch.is_some() || code == code::WITHDRAWN);
                DeliveryState::Failed(match given_up {
                    _ if !certain => FailReason::Unconfirmed,
                    Some(reason) => reason,
                    None => FailReason::Expired,
                })
            }
            fate => fate,
        };
        Some((tag?, fate))
    }

    /// The server refused a number until a time; with `all`, nothing of any room is sent before.
    pub(super) fn send_again(&mut self, room: &RoomName, seq: Seq, until: Duration, all: bool) {
        // Also undoes the widening by this very answer.
        self.window = FIRST_WINDOW;
        if all {
            self.paused_until = self.paused_until.max(Some(until));
        }
        if let Some(lane) = self.lanes.get_mut(room)
            && seq >= lane.first
            && seq.get() - lane.first.get() < lane.numbered as u64
        {
            lane.rewinding = true;
            if !all {
                lane.paused_until = lane.paused_until.max(Some(until));
            }
        }
    }

    /// The log has numbers of this key that this session never used.
    pub(super) fn outdated(&mut self) {
        self.outdated = true;
    }

    /// Whether a new key is needed and the outcome of every message that was sent is known.
    pub(super) fn needs_key(&self) -> bool {
        self.outdated
            && self
                .lanes
                .values()
                .all(|lane| lane.numbered == 0 && lane.in_flight == 0)
    }

    /// Prepares for a new key, without a connection: fails the messages that were sent and not answered, and starts
    /// numbering anew.
    pub(super) fn renumber(&mut self, progress: &mut Vec<Progress>) {
        for (_, lane) in &mut self.lanes {
            for entry in lane.entries.drain(..lane.numbered) {
                self.bytes -= entry.bytes();
                self.messages -= 1;
                let unconfirmed = DeliveryState::Failed(FailReason::Unconfirmed);
                progress.extend(entry.tag.map(|tag| (tag, unconfirmed)));
            }
            lane.numbered = 0;
            lane.first = Seq::FIRST;
        }
        self.forget_settled();
        self.next = Seq::FIRST;
        self.outdated = false;
        self.journal.all();
    }

    /// When the first pause ends.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        let lanes = self.lanes.values().filter_map(|lane| lane.paused_until);
        // While all rooms pause, the end of one room's pause changes nothing.
        self.paused_until.or(lanes.min())
    }

    /// The connection ended: everything that is not settled is sent again, in order.
    pub(super) fn rewind(&mut self) {
        self.in_flight = 0;
        self.window = FIRST_WINDOW;
        self.paused_until = None;
        for (_, lane) in &mut self.lanes {
            lane.in_flight = 0;
            lane.sent = 0;
            lane.rewinding = false;
            lane.paused_until = None;
        }
        self.forget_settled();
    }

    /// Removes the lanes in which nothing is open and no answer is awaited.
    fn forget_settled(&mut self) {
        let (next, journal) = (&mut self.next, &mut self.journal);
        self.lanes.retain(|room, lane| {
            let settled = lane.entries.is_empty() && lane.in_flight == 0;
            if settled {
                *next = lane.first.max(*next);
                journal.room_gone(lane.record, room);
            }
            !settled
        });
    }

    /// The first number in new lanes of a restored session. A lane without entries that awaits its last answer still
    /// exists here, but not in the restored session.
    pub(super) fn first_in_settled(&self) -> Seq {
        let settled = self.lanes.values().filter(|lane| lane.entries.is_empty());
        settled.map(|lane| lane.first).fold(self.next, Seq::max)
    }

    /// Fails or withdraws the messages that have expired. Returns when the next one does.
    pub(super) fn expire(&mut self, now: Duration, progress: &mut Vec<Progress>) -> Option<Duration> {
        let ttl = self.options.ttl;
        self.end(progress, |entry, was_sent| {
            if entry.deadline(ttl) > now {
                End::Not
            } else if !was_sent {
                End::Fail(FailReason::Expired)
            } else if entry.until > now {
                entry.given_up = Some(FailReason::Expired);
                End::Withdraw
            } else {
                End::Fail(FailReason::Unconfirmed)
            }
        });
        let entries = self.lanes.values().flat_map(|lane| &lane.entries);
        entries
            .filter(|entry| entry.tag.is_some())
            .map(|entry| entry.deadline(ttl))
            .min()
    }

    /// Fails all messages, because the session ends.
    pub(super) fn stop(&mut self, progress: &mut Vec<Progress>) {
        self.end(progress, |_, was_sent| {
            End::Fail(if was_sent {
                FailReason::Unconfirmed
            } else {
                FailReason::Stopped
            })
        });
    }

    fn end(&mut self, progress: &mut Vec<Progress>, mut decide: impl FnMut(&mut Entry, bool) -> End) {
        for (room, lane) in &mut self.lanes {
            let mut kept = VecDeque::with_capacity(lane.entries.len());
            for (index, mut entry) in std::mem::take(&mut lane.entries).into_iter().enumerate() {
                let was_sent = index < lane.numbered;
                let Some(tag) = entry.tag else {
                    kept.push_back(entry);
                    continue;
                };
                let end = decide(&mut entry, was_sent);
                let has_ended = !matches!(end, End::Not);
                if has_ended {
                    self.bytes -= entry.bytes();
                    entry.body = None;
                }
                if let End::Fail(reason) = end {
                    entry.tag = None;
                    progress.push((tag, DeliveryState::Failed(reason)));
                }
                // Without its entry, the number of a message that was sent could never be settled.
                if was_sent || entry.tag.is_some() {
                    if has_ended {
                        self.journal.message(entry.record, room);
                    }
                    kept.push_back(entry);
                } else {
                    self.journal.message_gone(entry.record);
                    self.messages -= 1;
                }
            }
            lane.entries = kept;
        }
        self.forget_settled();
    }

    /// Whether the application is to be notified of capacity after a refusal, once. A quarter must be free, so that
    /// there are few notices, and enough for the smallest refused body, so that it is not refused again and again.
    pub(super) fn take_capacity_notice(&mut self) -> bool {
        let OutboxOptions { messages, bytes, .. } = self.options;
        let fits = |smallest: usize| {
            self.messages < messages
                && self.messages <= messages - messages.div_ceil(4)
                && self.bytes <= bytes - smallest.max(bytes / 4)
        };
        self.awaited.take_if(|smallest| fits(*smallest)).is_some()
    }
}

/// The lane whose message is sent next: the first that is ready after `turn`, in the order of names.
fn next_lane<'a>(
    lanes: &'a mut LiteMap<RoomName, Lane>,
    turn: Option<&RoomName>,
    now: Duration,
    window: usize,
    known: bool,
) -> Option<(&'a RoomName, &'a mut Lane)> {
    let start = match turn.map(|room| lanes.find_index(room)) {
        Some(Ok(turn)) => turn + 1,
        Some(Err(after)) => after,
        None => 0,
    };
    let lanes_now = lanes.iter_mut().enumerate();
    let ready = lanes_now.filter_map(|(index, (_, lane))| lane.ready(now, window, known).then_some(index));
    let index = ready.min_by_key(|&index| (index < start, index))?;
    lanes.iter_mut().nth(index)
}

/// What becomes of a message that has not ended.
enum End {
    /// It stays.
    Not,
    Withdraw,
    Fail(FailReason),
}

/// The messages of one room.
#[derive(Debug)]
pub(super) struct Lane {
    /// The number of the first entry, or of the next entry if there is none.
    pub(super) first: Seq,
    /// The number of its record; meaningless while all records are to be written anew.
    pub(super) record: u64,
    pub(super) entries: VecDeque<Entry>,
    /// How many entries, from the front, have a number: those that were sent, and all of a snapshot, because its
    /// session may have sent them after it was taken.
    pub(super) numbered: usize,
    /// How many entries, from the front, were sent since the last rewind. A new connection is a rewind.
    sent: usize,
    /// Of this connection.
    in_flight: u32,
    /// The server refused a message for now: the lane is sent again from the front, once everything in flight is
    /// answered.
    rewinding: bool,
    /// Nothing of this room is sent before this time.
    paused_until: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The number of its record, as in [`Lane`]. Ascending in a lane.
    pub(super) record: u64,
    /// `None` once its last state was reported.
    pub(super) tag: Option<Tag>,
    pub(super) id: PublishId,
    /// `None` once it is withdrawn or settled.
    pub(super) body: Option<Body>,
    depth: u32,
    /// From this time on its outcome is unknown: twice the `ttl` after it was published.
    pub(super) until: Duration,
    /// Why it was withdrawn; reported once the log confirms that it does not have the message.
    given_up: Option<FailReason>,
    settled: bool,
}

impl Lane {
    fn new(first: Seq) -> Self {
        Self {
            first,
            record: 0,
            entries: VecDeque::new(),
            numbered: 0,
            sent: 0,
            in_flight: 0,
            rewinding: false,
            paused_until: None,
        }
    }

    /// Whether a message can be sent now; a rewind takes effect here when its pause has ended. The server remembers the
    /// outcomes of the last `window` numbers: a number that is further from the first that is not settled must wait,
    /// even if those between are answered. With `known`, only messages that have a number are sent.
    fn ready(&mut self, now: Duration, window: usize, known: bool) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        if self.rewinding && self.in_flight == 0 && self.paused_until.is_none() {
            self.rewinding = false;
            self.sent = 0;
        }
        let end = if known { self.numbered } else { self.entries.len() };
        !self.rewinding && self.paused_until.is_none() && self.sent < end.min(window)
    }
}

impl Entry {
    pub(super) fn new(tag: Option<Tag>, id: PublishId, body: Option<Body>, until: Duration) -> Self {
        let depth = body.as_ref().map_or(0, Body::depth);
        Self {
            record: 0,
            tag,
            id,
            body,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            until,
            given_up: None,
            settled: false,
        }
    }

    fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.json().len())
    }

    /// When it expires, or, if it is withdrawn, when its outcome becomes unknown.
    pub(super) fn deadline(&self, ttl: Duration) -> Duration {
        match self.body {
            Some(_) => self.until.saturating_sub(ttl),
            None => self.until,
        }
    }

    /// Why the server would refuse it by its limits.
    fn unfit(&self, room: &RoomName, limits: &Limits) -> Option<FailReason> {
        let body = self.body.as_ref()?;
        unfit(room, body.json().len(), self.depth, limits)
    }
}

/// The most bytes of a publish line besides the name of the room and the body. A signal has fewer.
const AROUND: usize =
    r#"{"publish":{"room":"","seq":9007199254740991,"id":"0123456789abcdef","first":true,"body":}}"#.len();

/// Why a body of so many bytes and this depth is over the server's limits, if it is.
pub(super) fn unfit(room: &RoomName, bytes: usize, depth: u32, limits: &Limits) -> Option<FailReason> {
    // The line must fit into a WebSocket message of its own, and a quote in the name takes two bytes in JSON.
    let around = AROUND + 2 * room.len();
    let max = (limits.body_bytes as usize).min((limits.text_bytes as usize).saturating_sub(around));
    if bytes > max {
        return Some(FailReason::TooLarge { bytes, max });
    }
    let max = limits.body_depth;
    (depth > max).then_some(FailReason::TooDeep { depth, max })
}
