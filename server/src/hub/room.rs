//! One room: its members, and what is about to be delivered to them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use talkback_protocol::{
    Body, Offset, RoomName, UserName,
    codec::MemberList,
    message::{self, Author, Message, ServerFrame},
};
use tokio::time::Instant;

use super::{
    HubOptions, Kind, Member,
    block::{Block, Frames, Lines, PlainBlock, frame_of_lines},
    presence::{Presence, Told},
};
use crate::{
    budget::Budget,
    engine::Watcher,
    socket::{Delivery, Sender},
};

/// Pending messages that are larger than this are not held back any longer.
const DELIVER_AT: usize = 64 * 1024;
/// What a delivery costs besides the message's own bytes, in bytes: the rest of its line, and a share of a write.
const DELIVERY_OVERHEAD: usize = 128;

pub(super) struct Room {
    name: RoomName,
    options: HubOptions,
    /// What its senders may cause together.
    budget: Budget,
    /// Locked during a delivery, so that all members get everything in one order.
    members: Mutex<Members>,
    pending: Mutex<Pending>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Members {
    plain: Slab<Plain>,
    sessions: Slab<Session>,
    presence: Presence,
    /// The newest message that was delivered since the room has members.
    delivered: Offset,
}

struct Plain {
    socket: Sender,
    /// It gets what was said after this message.
    after: Offset,
}

struct Session {
    socket: Sender,
    progress: Progress,
    /// The tellings of presence that it had when it joined.
    told: u64,
}

/// What a session member gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing: it reads the log itself.
    CatchingUp,
    /// Messages from this offset on; the ones before it has from the log.
    From(Offset),
    /// Everything.
    Live,
}

/// What is not delivered yet.
#[derive(Default)]
struct Pending {
    has_plain: bool,
    has_sessions: bool,
    frames: Frames,
    /// Tagged with the offsets of messages.
    lines: Lines<Option<Offset>>,
    /// Tagged with the member that sent them.
    signals: Lines<usize>,
    /// The newest message that was said since the room has members.
    newest: Offset,
    /// The newest message that is not among the lines, because nobody was there who gets lines.
    not_in_lines: Offset,
    scheduled: bool,
}

impl Room {
    pub(super) fn new(name: RoomName, options: HubOptions) -> Self {
        let delivery_rate = u64::try_from(options.delivery_rate).unwrap_or(u64::MAX);
        Self {
            name,
            options,
            budget: Budget::new(delivery_rate, Instant::now()),
            members: Mutex::default(),
            pending: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    pub(super) fn name(&self) -> &RoomName {
        &self.name
    }

    pub(super) fn members(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn users(&self) -> Vec<UserName> {
        self.members.lock().presence.users()
    }

    /// Charges a sender for a message of so many bytes that all members get. If all senders together cause too much: until when this
    /// one should pause.
    pub(super) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = bytes.saturating_add(DELIVERY_OVERHEAD).saturating_mul(self.members());
        self.budget.charge(u64::try_from(bytes).unwrap_or(u64::MAX), now)
    }

    pub(super) fn add_plain(self: &Arc<Self>, user: &UserName, socket: Sender) -> Member {
        let mut members = self.members.lock();
        // What was said before this member came is not for it.
        let after = self.pending.lock().newest;
        let key = members.plain.insert(Plain { socket, after });
        self.entered(&mut members, Kind::Plain, key, user)
    }

    pub(super) fn add_session(self: &Arc<Self>, user: &UserName, socket: Sender) -> Member {
        let mut members = self.members.lock();
        let key = members.sessions.insert(Session {
            socket,
            progress: Progress::CatchingUp,
            told: 0,
        });
        self.entered(&mut members, Kind::Session, key, user)
    }

    fn entered(self: &Arc<Self>, members: &mut Members, kind: Kind, key: usize, user: &UserName) -> Member {
        self.count_kinds(members);
        if members.presence.enter(user, &self.options) {
            self.tell_soon(members);
        }
        Member {
            kind,
            key,
            user: user.clone(),
        }
    }

    /// Returns how many members are left.
    pub(super) fn remove(self: &Arc<Self>, member: &Member) -> usize {
        let mut members = self.members.lock();
        match member.kind {
            Kind::Plain => drop(members.plain.try_remove(member.key)),
            Kind::Session => drop(members.sessions.try_remove(member.key)),
        }
        self.count_kinds(&members);
        let grace = self.options.presence_grace;
        if members.presence.leave(&member.user, Instant::now(), grace) && self.members() > 0 {
            tokio::spawn(Arc::clone(self).end_graces());
        }
        self.members()
    }

    fn count_kinds(&self, members: &Members) {
        let mut pending = self.pending.lock();
        pending.has_plain = !members.plain.is_empty();
        pending.has_sessions = !members.sessions.is_empty();
        self.count
            .store(members.plain.len() + members.sessions.len(), Ordering::Relaxed);
    }

    /// Lets users go for good whose grace is over, until nobody is about to. There is one such task in a room at a time.
    async fn end_graces(self: Arc<Self>) {
        loop {
            let next = self.members.lock().presence.next_end();
            let Some(next) = next else { return };
            tokio::time::sleep_until(next).await;
            let mut members = self.members.lock();
            if members.presence.expire(Instant::now(), &self.options) {
                self.tell_soon(&members);
            }
            if members.presence.next_end().is_none() {
                return;
            }
        }
    }

    /// Tells the session members who came and went, a little later. There is one such task in a room at a time.
    fn tell_soon(self: &Arc<Self>, members: &Members) {
        let due = members
            .presence
            .due(Instant::now(), members.sessions.len(), &self.options);
        let room = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let mut members = room.members.lock();
            let line = members.presence.tell(&room.name, Instant::now(), &room.options);
            let mut pending = room.pending.lock();
            if let Some(line) = line
                && pending.has_sessions
            {
                pending.lines.push(None, &line);
                room.schedule(&mut pending);
            }
        });
    }

    /// Tells the other session members something that is not kept. It may be dropped.
    pub(super) fn signal(self: &Arc<Self>, member: &Member, from: Author, body: Body) {
        let mut pending = self.pending.lock();
        if pending.has_sessions && pending.signals.len() < self.options.signal_bytes {
            let room = self.name.clone();
            pending
                .signals
                .push_frame(member.key, &ServerFrame::Signal(message::Signal { room, from, body }));
            self.schedule(&mut pending);
        }
    }

    /// How many users there are, and the newest list of them, unless there are too many.
    pub(super) fn listed(&self) -> (u32, Option<MemberList>) {
        let told = self.members.lock().presence.told(Instant::now(), &self.options);
        (told.users, told.members)
    }

    /// What `joined` tells a session member of the users.
    pub(super) fn told(&self, member: &Member) -> Told {
        let mut members = self.members.lock();
        let told = members.presence.told(Instant::now(), &self.options);
        if let Some(session) = members.sessions.get_mut(member.key) {
            session.told = told.version;
        }
        told
    }

    /// Lets a session member that has all messages up to `cursor` go on with what is delivered, unless it missed a delivery
    /// meanwhile; then it has to read again. Who came and went since it joined is told before.
    pub(super) fn go_live(&self, member: &Member, cursor: Offset) -> bool {
        let mut members = self.members.lock();
        let missed = members.delivered.max(self.pending.lock().not_in_lines);
        if missed > cursor {
            return false;
        }
        let Members { sessions, presence, .. } = &mut *members;
        let Some(session) = sessions.get_mut(member.key) else {
            return true;
        };
        session.progress = Progress::From(cursor.next());
        if presence.version() != session.told {
            let lines = presence.missed(session.told, &self.name, Instant::now(), &self.options);
            if let Some(frame) = frame_of_lines(&lines) {
                deliver(&session.socket, &frame, 1);
            }
        }
        true
    }

    fn schedule(self: &Arc<Self>, pending: &mut Pending) {
        if !std::mem::replace(&mut pending.scheduled, true) {
            // Runs after the tasks that are ready now, so it takes along what they say.
            let room = Arc::clone(self);
            tokio::spawn(async move { room.deliver_to(&mut room.members.lock()) });
        }
    }

    fn deliver_to(&self, members: &mut Members) {
        let (frames, lines, signals) = {
            let mut pending = self.pending.lock();
            pending.scheduled = false;
            members.delivered = members.delivered.max(pending.newest);
            (pending.frames.take(), pending.lines.take(), pending.signals.take())
        };
        if let Some(block) = frames {
            members.plain.iter().for_each(|(_, plain)| plain.deliver(&block));
        }
        if let Some(block) = lines {
            let frame = block.frame();
            let sessions = members.sessions.iter_mut();
            sessions.for_each(|(_, session)| session.deliver(&block, &frame));
        }
        if let Some(block) = signals {
            let frame = block.frame();
            for (key, session) in members
                .sessions
                .iter()
                .filter(|(_, session)| session.progress != Progress::CatchingUp)
            {
                let socket = session.socket.shared();
                if !block.tags().any(|sender| *sender == key) {
                    socket.deliver_if_idle(&frame);
                } else if let Some(of_others) = block.only(|sender| *sender != key) {
                    socket.deliver_if_idle(&of_others.frame());
                }
            }
        }
    }
}

impl Watcher for Arc<Room> {
    fn appended(&self, message: &Arc<Message>) {
        let mut pending = self.pending.lock();
        if pending.has_plain {
            pending.frames.push(message);
        }
        if pending.has_sessions {
            pending.lines.push_message(Some(message.offset), message);
        } else {
            pending.not_in_lines = message.offset;
        }
        pending.newest = message.offset;
        if pending.frames.len().max(pending.lines.len()) < DELIVER_AT {
            self.schedule(&mut pending);
        } else {
            drop(pending);
            self.deliver_to(&mut self.members.lock());
        }
    }
}

impl Plain {
    fn deliver(&self, block: &PlainBlock) {
        if let Some((frames, messages)) = block.after(self.after) {
            deliver(&self.socket, &frames, messages);
        }
    }
}

impl Session {
    fn deliver(&mut self, block: &Block<Option<Offset>>, frame: &Bytes) {
        match self.progress.take(block) {
            Part::All => deliver(&self.socket, frame, block.len()),
            Part::Some(block) => deliver(&self.socket, &block.frame(), block.len()),
            Part::Nothing => {}
        }
    }
}

/// What of a block is for one member.
enum Part {
    All,
    Some(Block<()>),
    Nothing,
}

impl Progress {
    /// An engine may tell of messages later than it lets them be read, so a block may begin with some that the member has.
    fn take(&mut self, block: &Block<Option<Offset>>) -> Part {
        let first = match *self {
            Self::Live => return Part::All,
            Self::CatchingUp => return Part::Nothing,
            Self::From(first) => first,
        };
        if block.tags().flatten().any(|offset| *offset >= first) {
            *self = Self::Live;
        }
        let part = block.only(|offset| offset.is_none_or(|offset| offset >= first));
        part.map_or(Part::Nothing, Part::Some)
    }
}

fn deliver(socket: &Sender, frames: &Bytes, messages: usize) {
    let socket = socket.shared();
    if socket.deliver(frames, messages) == Delivery::TooSlow {
        socket.sockets().metrics().closed_too_slow.add_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of messages with these offsets; 0 stands for a line that is no message.
    fn block(offsets: &[u64]) -> Block<Option<Offset>> {
        let mut lines = Lines::default();
        for offset in offsets {
            let tag = Some(Offset::new(*offset).unwrap()).filter(|offset| *offset > Offset::ZERO);
            lines.push_frame(tag, &ServerFrame::Ping {});
        }
        lines.take().unwrap()
    }

    fn lines(part: Part, block: &Block<Option<Offset>>) -> usize {
        match part {
            Part::All => block.len(),
            Part::Some(block) => block.len(),
            Part::Nothing => 0,
        }
    }

    #[test]
    fn a_member_gets_of_a_block_what_it_does_not_have_and_later_everything() {
        let from = |offset| Progress::From(Offset::new(offset).unwrap());
        for (mut progress, offsets, expected, then) in [
            (Progress::CatchingUp, &[1, 2][..], 0, Progress::CatchingUp),
            (from(3), &[1, 2], 0, from(3)),
            (from(3), &[0, 2], 1, from(3)),
            (from(3), &[0], 1, from(3)),
            (from(3), &[1, 0, 2, 3, 0, 4], 4, Progress::Live),
            (from(3), &[3, 4], 2, Progress::Live),
            (Progress::Live, &[1, 0, 2], 3, Progress::Live),
        ] {
            let block = block(offsets);
            assert_eq!(lines(progress.take(&block), &block), expected, "{offsets:?}");
            assert!(progress == then, "{offsets:?}");
        }
    }
}
