//! Messages that are not acknowledged: one lane per room, in order, each with a number that is its own for ever once it was sent.
//!
//! A message gets its number when it is sent for the first time, so one that expires before leaves no gap. One that was sent keeps its
//! number until the server has settled it: when its time is over it is *withdrawn*. Then the log says what became of it,
//! and the messages behind it can go on. What the log says counts for twice the time that a message may wait, from when it was
//! published; later it may have forgotten, and the message's fate is unknown.
//!
//! A room is forgotten as soon as everything in it is settled, so a client may publish to any number of rooms in its life. Of all
//! forgotten rooms together one number is remembered, [`Outbox::next`]: above all that were used in them. A room that is published to
//! again begins there. That cannot lose or double a message: its first publish says `first`, which lets a log jump to any later
//! number, and is said rightly, because nothing before it is open. What a log forgets by the jump is how it settled numbers that
//! nobody asks about again; a kept outbox was stored without them before the jump was sent.

use std::{collections::VecDeque, time::Duration};

use litemap::LiteMap;

use super::{DeliveryState, FailReason, OutboxOptions, Tag, records::Journal};
use crate::{
    Body, ClientLine, PublishId, RoomName, Seq,
    message::{Limits, Publish, Withdraw, code},
};

/// So many messages may be on the way at once on a new connection, and one more with each answer, up to the server's limit. Over
/// connections that end after a while, the answers to a few arrive, where those to very many would not.
///
/// After a refusal for now it begins again so: the messages behind the refused one are refused with it, and must all come again.
const FIRST_WINDOW: u32 = 16;

/// The longest time that a message may wait: 36,500 days. With a longer one, sums with it would leave what a `Duration` holds.
const MAX_TTL: Duration = Duration::from_secs(3_153_600_000);

/// A message that got further.
pub(super) type Progress = (Tag, DeliveryState);

#[derive(Debug)]
pub(super) struct Outbox {
    config: OutboxOptions,
    /// Rooms with something that is not settled.
    pub(super) lanes: LiteMap<RoomName, Lane>,
    /// The first number of a room that has no lane.
    pub(super) next: Seq,
    /// What of it the store does not have.
    pub(super) journal: Journal,
    /// Entries of all lanes: also those whose last state was told, and whose number is still to be settled.
    messages: usize,
    /// Bytes of the bodies that are held.
    bytes: usize,
    /// Publishes of this connection that are not answered.
    on_way: u32,
    /// How many of them there may be.
    window: u32,
    /// The room whose message was sent last; the next one is another's, so that a busy room does not hold up the others.
    turn: Option<RoomName>,
    /// Nothing is sent before: the server refused a message because the connection sends too much.
    paused_until: Option<Duration>,
    /// The smallest body that was refused for want of room since it was last told that there is some.
    awaited: Option<usize>,
    /// The log is far beyond the numbers of this session: no message gets another one, and once those that were sent are answered a new
    /// key is needed.
    outdated: bool,
}

impl Outbox {
    pub(super) fn new(mut config: OutboxOptions) -> Self {
        config.ttl = config.ttl.min(MAX_TTL);
        Self {
            journal: Journal::new(config.messages),
            config,
            lanes: LiteMap::new(),
            next: Seq::FIRST,
            messages: 0,
            bytes: 0,
            on_way: 0,
            window: FIRST_WINDOW,
            turn: None,
            paused_until: None,
            awaited: None,
            outdated: false,
        }
    }

    /// How long a message may wait to be sent.
    pub(super) fn ttl(&self) -> Duration {
        self.config.ttl
    }

    /// Puts back what a snapshot holds.
    pub(super) fn restore(&mut self, room: RoomName, first: Seq, entries: VecDeque<Entry>) {
        self.messages += entries.len();
        self.bytes += entries.iter().map(Entry::bytes).sum::<usize>();
        let lane = Lane {
            ever: entries.len(),
            entries,
            ..Lane::new(first)
        };
        self.lanes.insert(room, lane);
    }

    pub(super) fn on_way(&self) -> u32 {
        self.on_way
    }

    /// Whether a body of so many bytes can be taken. If not, [`take_place`](Self::take_place) tells when.
    pub(super) fn has_capacity(&mut self, bytes: usize) -> bool {
        // One that never fits is not worth waiting for: `push` names the reason.
        let fits = bytes > self.config.bytes
            || (self.messages < self.config.messages && self.bytes + bytes <= self.config.bytes);
        if !fits {
            self.awaited = Some(self.awaited.map_or(bytes, |smallest| smallest.min(bytes)));
        }
        fits
    }

    /// Takes a message, or gives the reason why not.
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
        if bytes > self.config.bytes {
            let max = self.config.bytes;
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
        let ttl = self.config.ttl;
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

    /// The next message to send, and how it got further; none while as many are on the way as the window and the server allow.
    pub(super) fn next(&mut self, now: Duration, limits: &Limits) -> (Option<ClientLine>, Option<Progress>) {
        let in_flight = limits.in_flight.max(1);
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.paused_until.is_some() || self.on_way >= in_flight.min(self.window) {
            return (None, None);
        }
        let (turn, known) = (self.turn.as_ref(), self.outdated);
        let Some((room, lane)) = next_lane(&mut self.lanes, turn, now, in_flight as usize, known) else {
            return (None, None);
        };
        let index = lane.sent;
        let entry = &mut lane.entries[index];
        if let Some(reason) = entry.unfit(room, limits) {
            self.bytes -= entry.bytes();
            if index >= lane.ever {
                self.journal.message_gone(entry.record);
                let tag = lane.entries.remove(index).and_then(|entry| entry.tag);
                self.messages -= 1;
                self.forget_settled();
                return (None, tag.map(|tag| (tag, DeliveryState::Failed(reason))));
            }
            // A server that took such ones has it, or nobody will.
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
        lane.ever = lane.ever.max(lane.sent);
        lane.on_way += 1;
        self.on_way += 1;
        (Some(line), progress)
    }

    /// One of the publishes on the way was answered.
    pub(super) fn answered(&mut self, room: &RoomName) {
        if let Some(lane) = self.lanes.get_mut(room)
            && lane.on_way > 0
        {
            lane.on_way -= 1;
            self.on_way -= 1;
            self.window = self.window.saturating_add(1);
            self.forget_settled();
        }
    }

    /// A number is settled: in the log, refused for good, or nobody knows.
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
        if index >= lane.ever || lane.entries[index].settled {
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
            lane.ever -= 1;
            lane.sent = lane.sent.saturating_sub(1);
            self.messages -= 1;
        }
        self.forget_settled();
        let fate = match fate {
            DeliveryState::Failed(FailReason::Refused { epoch, code, .. }) if withdrawn => {
                // A server that did not ask the log cannot know what an earlier connection carried there, and a log that was asked too
                // late may have forgotten it.
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

    /// A number is to be sent again after a time; with `all`, nothing of any room is sent before.
    pub(super) fn send_again(&mut self, room: &RoomName, seq: Seq, until: Duration, all: bool) {
        // Also when this answer has just widened it.
        self.window = FIRST_WINDOW;
        if all {
            self.paused_until = self.paused_until.max(Some(until));
        }
        if let Some(lane) = self.lanes.get_mut(room)
            && seq >= lane.first
            && seq.get() - lane.first.get() < lane.ever as u64
        {
            lane.rewinding = true;
            if !all {
                lane.paused_until = lane.paused_until.max(Some(until));
            }
        }
    }

    /// The log has numbers of this key that this session does not know of.
    pub(super) fn outdated(&mut self) {
        self.outdated = true;
    }

    /// Whether a new key is needed and nothing is in doubt any more.
    pub(super) fn needs_key(&self) -> bool {
        self.outdated && self.lanes.values().all(|lane| lane.ever == 0 && lane.on_way == 0)
    }

    /// There will be a new key: ends the messages in doubt, and takes the numbers of all others from them. The connection is gone.
    pub(super) fn renumber(&mut self, progress: &mut Vec<Progress>) {
        for (_, lane) in &mut self.lanes {
            for entry in lane.entries.drain(..lane.ever) {
                self.bytes -= entry.bytes();
                self.messages -= 1;
                let unconfirmed = DeliveryState::Failed(FailReason::Unconfirmed);
                progress.extend(entry.tag.map(|tag| (tag, unconfirmed)));
            }
            lane.ever = 0;
            lane.first = Seq::FIRST;
        }
        self.forget_settled();
        self.next = Seq::FIRST;
        self.outdated = false;
        self.journal.all();
    }

    /// When the first pause is over.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        let lanes = self.lanes.values().filter_map(|lane| lane.paused_until);
        // While all wait, no room is worth waking for.
        self.paused_until.or(lanes.min())
    }

    /// The connection is gone: everything that is not settled will be sent again, from the front.
    pub(super) fn rewind(&mut self) {
        self.on_way = 0;
        self.window = FIRST_WINDOW;
        self.paused_until = None;
        for (_, lane) in &mut self.lanes {
            lane.on_way = 0;
            lane.sent = 0;
            lane.rewinding = false;
            lane.paused_until = None;
        }
        self.forget_settled();
    }

    /// Forgets the rooms in which nothing is open and no answer is awaited.
    fn forget_settled(&mut self) {
        let (next, journal) = (&mut self.next, &mut self.journal);
        self.lanes.retain(|room, lane| {
            let settled = lane.entries.is_empty() && lane.on_way == 0;
            if settled {
                *next = lane.first.max(*next);
                journal.room_gone(lane.record, room);
            }
            !settled
        });
    }

    /// What a restored session begins with in a room that has nothing pending. A room whose last answer is still awaited is not
    /// forgotten yet, but it will not be in the restored session.
    pub(super) fn first_in_settled(&self) -> Seq {
        let settled = self.lanes.values().filter(|lane| lane.entries.is_empty());
        settled.map(|lane| lane.first).fold(self.next, Seq::max)
    }

    /// Ends the wait of messages whose time is over. Gives the next time to look.
    pub(super) fn expire(&mut self, now: Duration, progress: &mut Vec<Progress>) -> Option<Duration> {
        let ttl = self.config.ttl;
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

    /// Nothing more will be sent.
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
                let was_sent = index < lane.ever;
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
                // Without its entry, the number of a message that was sent would be missing for ever.
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

    /// Whether those who were told to wait are to be told that there is room: a quarter, so that it is worth it, and enough for one of
    /// them, so that they do not ask in vain again and again.
    pub(super) fn take_place(&mut self) -> bool {
        let OutboxOptions { messages, bytes, .. } = self.config;
        let fits = |smallest: usize| {
            self.messages < messages
                && self.messages <= messages - messages.div_ceil(4)
                && self.bytes <= bytes - smallest.max(bytes / 4)
        };
        let told = self.awaited.is_some_and(fits);
        if told {
            self.awaited = None;
        }
        told
    }
}

/// The room whose message is to be sent next: the first that is ready after the one whose turn it was.
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

enum End {
    Not,
    Withdraw,
    Fail(FailReason),
}

/// The messages of one room.
#[derive(Debug)]
pub(super) struct Lane {
    /// The number of the first entry, or of the next one.
    pub(super) first: Seq,
    /// Its record; without meaning while all records are to be written anew.
    pub(super) record: u64,
    pub(super) entries: VecDeque<Entry>,
    /// How many entries, from the front, have a number: those that were sent, and all that came with a snapshot, because it may be older
    /// than what its session did last.
    pub(super) ever: usize,
    /// How many entries, from the front, were sent on this connection since the last rewind.
    sent: usize,
    /// Publishes of this connection that are not answered.
    on_way: u32,
    /// The server asked to send again: from the front, once everything on the way is answered.
    rewinding: bool,
    /// Nothing of this room is sent before.
    paused_until: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// As that of the lane. Ascending in a lane.
    pub(super) record: u64,
    /// Absent once its last state was told.
    pub(super) tag: Option<Tag>,
    pub(super) id: PublishId,
    /// Absent once it is withdrawn or settled.
    pub(super) body: Option<Body>,
    depth: u32,
    /// From here on its fate is unknown: twice the time that a message may wait after it was published.
    pub(super) until: Duration,
    /// Why it was withdrawn, to be told once the log confirms that it does not have it.
    given_up: Option<FailReason>,
    settled: bool,
}

impl Lane {
    fn new(first: Seq) -> Self {
        Self {
            first,
            record: 0,
            entries: VecDeque::new(),
            ever: 0,
            sent: 0,
            on_way: 0,
            rewinding: false,
            paused_until: None,
        }
    }

    /// Whether a message can be sent now. A rewind begins here, when its time has come. The server remembers the outcomes of the last
    /// `window` numbers: one that is further from the first that is not settled must wait, also if the answers to those between came.
    /// With `known`, nothing gets a number that has none yet.
    fn ready(&mut self, now: Duration, window: usize, known: bool) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        if self.rewinding && self.on_way == 0 && self.paused_until.is_none() {
            self.rewinding = false;
            self.sent = 0;
        }
        let end = if known { self.ever } else { self.entries.len() };
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

    /// When something is to be done about it for the next time.
    pub(super) fn deadline(&self, ttl: Duration) -> Duration {
        match self.body {
            Some(_) => self.until.saturating_sub(ttl),
            None => self.until,
        }
    }

    /// Why the server will not take it, if that is known before it is sent.
    fn unfit(&self, room: &RoomName, limits: &Limits) -> Option<FailReason> {
        let body = self.body.as_ref()?;
        unfit(room, body.json().len(), self.depth, limits)
    }
}

/// What stands in the line of a publish around the name of the room and the body; in that of a signal it is less.
const AROUND: usize =
    r#"{"publish":{"room":"","seq":9007199254740991,"id":"0123456789abcdef","first":true,"body":}}"#.len();

/// Why a body of so many bytes, nested so deep, cannot be sent to a room, if it cannot.
pub(super) fn unfit(room: &RoomName, bytes: usize, depth: u32, limits: &Limits) -> Option<FailReason> {
    // A line must fit into a text of its own, and in JSON a quote in the name takes two bytes.
    let around = AROUND + 2 * room.len();
    let max = (limits.body_bytes as usize).min((limits.text_bytes as usize).saturating_sub(around));
    if bytes > max {
        return Some(FailReason::TooLarge { bytes, max });
    }
    let max = limits.body_depth;
    (depth > max).then_some(FailReason::TooDeep { depth, max })
}
