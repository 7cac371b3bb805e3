//! Messages that are not acknowledged: one lane per room, in order, each with a number that is its own for ever once it was sent.
//!
//! A message gets its number when it is sent for the first time, so one that expires before leaves no gap. One that was sent keeps its
//! number until the server has settled it: when its time is over it is *withdrawn*, which is a publish without a body. Then the log
//! says what became of it, and the messages behind it can go on.
//!
//! A room is forgotten as soon as everything in it is settled, so a client may publish to any number of rooms in its life. Of all
//! forgotten rooms together one number is remembered, [`Outbox::next`]: above all that were used in them. A room that is published to
//! again begins there. That cannot lose or double a message: its first publish says `first`, which lets a log jump to any later
//! number, and is said rightly, because nothing before it is open. What a log forgets by the jump is how it settled numbers that
//! nobody asks about again; a kept outbox was stored without them before the jump was sent.

mod lane;

use std::{collections::VecDeque, time::Duration};

use litemap::LiteMap;

use super::{DeliveryState, FailReason, OutboxConfig, Tag};
use crate::{
    Body, ClientFrame, PublishId, RoomName, Seq,
    message::{Limits, Publish, Withdraw},
};

pub(super) use lane::{Entry, Lane};

/// So many messages may be on the way at once on a new connection, and one more with each answer, up to the server's limit. Over
/// connections that end after a while, the answers to a few arrive, where those to very many would not.
const FIRST_WINDOW: u32 = 16;

/// A message that got further.
pub(super) type Progress = (Tag, DeliveryState);

#[derive(Debug)]
pub(super) struct Outbox {
    config: OutboxConfig,
    /// Rooms with something that is not settled.
    pub(super) lanes: LiteMap<RoomName, Lane>,
    /// The first number of a room that has no lane.
    pub(super) next: Seq,
    /// Messages whose last state was not told yet.
    messages: usize,
    /// Bytes of the bodies that are held.
    bytes: usize,
    /// Publishes of this connection that are not answered.
    on_way: u32,
    /// How many of them there may be.
    window: u32,
    /// The room whose message was sent last; the next one is another's, so that a busy room does not hold up the others.
    turn: Option<RoomName>,
    /// Somebody was told that there is no room.
    awaited: bool,
}

impl Outbox {
    pub(super) fn new(config: OutboxConfig) -> Self {
        Self {
            config,
            lanes: LiteMap::new(),
            next: Seq::FIRST,
            messages: 0,
            bytes: 0,
            on_way: 0,
            window: FIRST_WINDOW,
            turn: None,
            awaited: false,
        }
    }

    /// Puts back what a snapshot holds.
    pub(super) fn restore(&mut self, room: RoomName, first: Seq, ever: usize, entries: Vec<Entry>) {
        self.messages += entries.iter().filter(|entry| entry.tag.is_some()).count();
        self.bytes += entries.iter().map(Entry::bytes).sum::<usize>();
        let lane = Lane {
            ever: ever.min(entries.len()),
            entries: entries.into(),
            ..Lane::new(first)
        };
        self.lanes.insert(room, lane);
    }

    pub(super) fn on_way(&self) -> u32 {
        self.on_way
    }

    /// Whether a body of so many bytes can be taken. If not, [`take_place`](Self::take_place) tells when.
    pub(super) fn has_room(&mut self, bytes: usize) -> bool {
        // One that never fits is not worth waiting for: `push` names the reason.
        let fits = bytes > self.config.bytes
            || (self.messages < self.config.messages && self.bytes + bytes <= self.config.bytes);
        self.awaited |= !fits;
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
        if !self.has_room(bytes) {
            return Err(FailReason::OutboxFull);
        }
        if !self.lanes.contains_key(&room) && self.lanes.len() >= rooms {
            return Err(FailReason::TooManyRooms);
        }
        self.messages += 1;
        self.bytes += bytes;
        let deadline = now + self.config.ttl;
        let entry = Entry {
            tag: Some(tag),
            id,
            body: Some(body),
            deadline,
            settled: false,
        };
        self.lanes
            .entry(room)
            .or_insert_with(|| Lane::new(self.next))
            .entries
            .push_back(entry);
        Ok(deadline)
    }

    /// The next message to send, and how it got further; none while as many are on the way as the window and the server allow.
    pub(super) fn next(&mut self, now: Duration, limits: &Limits) -> (Option<ClientFrame>, Option<Progress>) {
        let in_flight = limits.in_flight.max(1);
        if self.on_way >= in_flight.min(self.window) {
            return (None, None);
        }
        let Some((room, lane)) = next_lane(&mut self.lanes, self.turn.as_ref(), now, in_flight as usize) else {
            return (None, None);
        };
        let index = lane.sent;
        let entry = &mut lane.entries[index];
        let (bytes, max) = (entry.bytes(), limits.body_bytes as usize);
        if bytes > max {
            self.bytes -= bytes;
            if index >= lane.ever {
                let tag = lane.entries.remove(index).and_then(|entry| entry.tag);
                self.messages -= usize::from(tag.is_some());
                let failed = DeliveryState::Failed(FailReason::TooLarge { bytes, max });
                self.forget_settled();
                return (None, tag.map(|tag| (tag, failed)));
            }
            // A server that took larger ones has it, or nobody will.
            entry.body = None;
        }
        let (room, seq) = (room.clone(), lane.first.plus(index as u64));
        let (id, first) = (entry.id, index == 0);
        self.turn = Some(room.clone());
        let line = match entry.body.clone() {
            Some(body) => ClientFrame::Publish(Publish {
                room,
                seq,
                id,
                first,
                body,
            }),
            None => ClientFrame::Withdraw(Withdraw { room, seq, id, first }),
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

    /// A number is settled, in the log or refused for good.
    pub(super) fn settle(
        &mut self,
        room: &RoomName,
        seq: Seq,
        id: Option<PublishId>,
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
        let tag = entry.tag.take();
        self.messages -= usize::from(tag.is_some());
        while lane.entries.front().is_some_and(|entry| entry.settled) {
            lane.entries.pop_front();
            lane.first = lane.first.next();
            lane.ever -= 1;
            lane.sent = lane.sent.saturating_sub(1);
        }
        self.forget_settled();
        let fate = match fate {
            DeliveryState::Failed(FailReason::Refused { .. }) if withdrawn => {
                DeliveryState::Failed(FailReason::Expired)
            }
            fate => fate,
        };
        Some((tag?, fate))
    }

    /// A number is to be sent again after a time.
    pub(super) fn send_again(&mut self, room: &RoomName, seq: Seq, until: Duration) {
        if let Some(lane) = self.lanes.get_mut(room)
            && seq >= lane.first
            && seq.get() - lane.first.get() < lane.ever as u64
        {
            lane.rewinding = true;
            lane.paused_until = lane.paused_until.max(Some(until));
        }
    }

    /// When the first pause is over.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        self.lanes.values().filter_map(|lane| lane.paused_until).min()
    }

    /// The connection is gone: everything that is not settled will be sent again, from the front.
    pub(super) fn rewind(&mut self) {
        self.on_way = 0;
        self.window = FIRST_WINDOW;
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
        let next = &mut self.next;
        self.lanes.retain(|_, lane| {
            let settled = lane.entries.is_empty() && lane.on_way == 0;
            if settled {
                *next = lane.first.max(*next);
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
            if entry.deadline > now {
                return End::Not;
            }
            if !was_sent {
                return End::Fail(FailReason::Expired);
            }
            if entry.body.is_some() {
                entry.deadline = now + ttl;
                return End::Withdraw;
            }
            End::Fail(FailReason::Unconfirmed)
        });
        let entries = self.lanes.values().flat_map(|lane| &lane.entries);
        entries
            .filter(|entry| entry.tag.is_some())
            .map(|entry| entry.deadline)
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
        for (_, lane) in &mut self.lanes {
            let mut kept = VecDeque::with_capacity(lane.entries.len());
            for (index, mut entry) in std::mem::take(&mut lane.entries).into_iter().enumerate() {
                let was_sent = index < lane.ever;
                let Some(tag) = entry.tag else {
                    kept.push_back(entry);
                    continue;
                };
                let end = decide(&mut entry, was_sent);
                if !matches!(end, End::Not) {
                    self.bytes -= entry.bytes();
                    entry.body = None;
                }
                if let End::Fail(reason) = end {
                    self.messages -= 1;
                    entry.tag = None;
                    progress.push((tag, DeliveryState::Failed(reason)));
                }
                // Without its entry, the number of a message that was sent would be missing for ever.
                if was_sent || entry.tag.is_some() {
                    kept.push_back(entry);
                }
            }
            lane.entries = kept;
        }
        self.forget_settled();
    }

    /// Whether those who were told to wait are to be told that there is room.
    pub(super) fn take_place(&mut self) -> bool {
        let free = self.messages <= self.config.messages - self.config.messages.div_ceil(4)
            && self.bytes <= self.config.bytes - self.config.bytes / 4;
        free && std::mem::take(&mut self.awaited)
    }
}

/// The room whose message is to be sent next: the first that is ready after the one whose turn it was.
fn next_lane<'a>(
    lanes: &'a mut LiteMap<RoomName, Lane>,
    turn: Option<&RoomName>,
    now: Duration,
    window: usize,
) -> Option<(&'a RoomName, &'a mut Lane)> {
    let start = match turn.map(|room| lanes.find_index(room)) {
        Some(Ok(turn)) => turn + 1,
        Some(Err(after)) => after,
        None => 0,
    };
    let lanes_now = lanes.iter_mut().enumerate();
    let ready = lanes_now.filter_map(|(index, (_, lane))| lane.ready(now, window).then_some(index));
    let index = ready.min_by_key(|&index| (index < start, index))?;
    lanes.iter_mut().nth(index)
}

enum End {
    Not,
    Withdraw,
    Fail(FailReason),
}
