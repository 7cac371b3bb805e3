//! One room: its members, and what is about to be delivered to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use talkback_protocol::{
    Body, Offset, RoomName, UserName,
    message::{self, Author, Message, ServerFrame},
};
use tokio::time::Instant;

use super::{
    HubOptions, Kind, Member,
    block::{Block, Frames, Lines},
    presence::Presence,
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
/// Signals beyond this are dropped until the next delivery.
const MAX_SIGNALS: usize = 16 * 1024;

pub(super) struct Room {
    name: RoomName,
    presence_grace: Duration,
    /// What its senders may cause together.
    budget: Budget,
    /// Locked during a delivery, so that all members get everything in one order.
    members: Mutex<Members>,
    pending: Mutex<Pending>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Members {
    plain: Slab<Sender>,
    sessions: Slab<Session>,
    presence: Presence,
    /// The newest message that was delivered since the room has members.
    delivered: Offset,
}

struct Session {
    socket: Sender,
    progress: Progress,
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
    /// The newest message among them.
    newest: Offset,
    scheduled: bool,
}

impl Room {
    pub(super) fn new(name: RoomName, options: &HubOptions) -> Self {
        let delivery_rate = u64::try_from(options.delivery_rate).unwrap_or(u64::MAX);
        Self {
            name,
            presence_grace: options.presence_grace,
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

    /// Charges a sender for a message of so many bytes that all members get. If all senders together cause too much: until when this
    /// one should pause.
    pub(super) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = bytes.saturating_add(DELIVERY_OVERHEAD).saturating_mul(self.members());
        self.budget.charge(u64::try_from(bytes).unwrap_or(u64::MAX), now)
    }

    pub(super) fn users(&self) -> Vec<UserName> {
        self.members.lock().presence.users()
    }

    pub(super) fn add_plain(self: &Arc<Self>, user: &UserName, socket: Sender) -> Member {
        let mut members = self.members.lock();
        // What was said before this member came is not for it.
        self.deliver_to(&mut members);
        let key = members.plain.insert(socket);
        self.entered(&mut members, Kind::Plain, key, user)
    }

    pub(super) fn add_session(self: &Arc<Self>, user: &UserName, socket: Sender) -> Member {
        let mut members = self.members.lock();
        self.deliver_to(&mut members);
        let key = members.sessions.insert(Session {
            socket,
            progress: Progress::CatchingUp,
        });
        self.entered(&mut members, Kind::Session, key, user)
    }

    fn entered(self: &Arc<Self>, members: &mut Members, kind: Kind, key: usize, user: &UserName) -> Member {
        self.count_kinds(members);
        if members.presence.enter(user) {
            self.tell_presence(vec![user.clone()], Vec::new());
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
        if members
            .presence
            .leave(&member.user, Instant::now(), self.presence_grace)
            && self.members() > 0
        {
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

    /// Tells who left for good, until nobody is about to or the room has ended.
    async fn end_graces(self: Arc<Self>) {
        loop {
            let next = self.members.lock().presence.next_end();
            let Some(next) = next else { return };
            tokio::time::sleep_until(next).await;
            let mut members = self.members.lock();
            let left = members.presence.expire(Instant::now(), self.presence_grace);
            if !left.is_empty() {
                self.tell_presence(Vec::new(), left);
            }
            if members.presence.next_end().is_none() {
                return;
            }
        }
    }

    fn tell_presence(self: &Arc<Self>, joined: Vec<UserName>, left: Vec<UserName>) {
        let frame = self.presence_frame(joined, left);
        let mut pending = self.pending.lock();
        if pending.has_sessions {
            pending.lines.push_frame(None, &frame);
            self.schedule(&mut pending);
        }
    }

    fn presence_frame(&self, joined: Vec<UserName>, left: Vec<UserName>) -> ServerFrame {
        let members = |users: Vec<UserName>| users.into_iter().map(|user| message::Member { user }).collect();
        ServerFrame::Presence(message::Presence {
            room: self.name.clone(),
            joined: members(joined),
            left: members(left),
        })
    }

    /// Tells the other session members something that is not kept. It may be dropped.
    pub(super) fn signal(self: &Arc<Self>, member: &Member, from: Author, body: Body) {
        let mut pending = self.pending.lock();
        if pending.has_sessions && pending.signals.len() < MAX_SIGNALS {
            let room = self.name.clone();
            pending
                .signals
                .push_frame(member.key, &ServerFrame::Signal(message::Signal { room, from, body }));
            self.schedule(&mut pending);
        }
    }

    /// Lets a session member that has all messages up to `cursor` go on with what is delivered, unless it missed a delivery
    /// meanwhile; then it has to read again. Who came and went since `users` were present is told before.
    pub(super) fn go_live(&self, member: &Member, cursor: Offset, users: &[UserName], version: u64) -> bool {
        let mut members = self.members.lock();
        // It has this from the log, and knows who came: itself, for one.
        self.deliver_to(&mut members);
        if members.delivered > cursor {
            return false;
        }
        let changes = (members.presence.version() != version).then(|| members.presence.since(users));
        let Some(session) = members.sessions.get_mut(member.key) else {
            return true;
        };
        session.progress = Progress::From(cursor.next());
        if let Some((joined, left)) = changes {
            let mut lines = Lines::default();
            lines.push_frame((), &self.presence_frame(joined, left));
            if let Some(block) = lines.take() {
                deliver(&session.socket, &block.frame(), 1);
            }
        }
        true
    }

    /// The users who are present and the number of this state.
    pub(super) fn presence(&self) -> (Vec<UserName>, u64) {
        let members = self.members.lock();
        (members.presence.users(), members.presence.version())
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
        if let Some((frames, messages)) = frames {
            members
                .plain
                .iter()
                .for_each(|(_, socket)| deliver(socket, &frames, messages));
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
