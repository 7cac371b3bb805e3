//! One room: its members, and what is about to be delivered to them.
//!
//! What waits is delivered in passes: a pass hands one block to one member after the other, a slice of the members at a time, and between
//! two slices whatever else is ready has its turn. There is one pass at a time, so all members get everything in one order. Whoever joins
//! or goes live between two slices gets of the rest of the pass what it does not have: a member without a cursor nothing, a plain member
//! what was said after it came, a session what is behind its cursor, which [`Room::go_live`] makes sure is not before this pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use talkback_protocol::{
    Body, Offset, RoomName, UserName,
    codec::MemberList,
    message::{self, Author, Message, ServerLine},
};
use tokio::time::Instant;

use super::{
    HubOptions, JoinError, Kind, Member,
    block::{Block, Blocks, Frames, Lines, PlainBlock, Unfinished, frame_of_line},
    delivery_budget::DeliveryBudget,
    presence::{Presence, Told},
};
use crate::{
    engine::{Engine, Watch, Watcher},
    socket::{Delivery, Sender},
};

/// What a delivery costs besides the message's own bytes, in bytes: the rest of its line, and a share of a write.
const DELIVERY_OVERHEAD: usize = 128;

pub(super) struct Room {
    name: RoomName,
    options: HubOptions,
    /// What its senders may cause together.
    budget: DeliveryBudget,
    /// Locked during one slice of a pass.
    members: Mutex<Members>,
    pending: Mutex<Pending>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Members {
    life: Life,
    plain: Slab<Plain>,
    sessions: Slab<Session>,
    presence: Presence,
    /// What is being delivered now.
    pass: Option<Pass>,
    /// The newest message of which the delivery to session members has begun since the room has members.
    delivered: Offset,
}

#[derive(Default)]
enum Life {
    /// Its first member is about to come.
    #[default]
    New,
    /// It has members. Dropping this ends the watching.
    Watching(#[expect(dead_code, reason = "it is kept for what dropping it does")] Watch),
    /// Its last member left. Nobody joins it any more: the next one makes a room of the same name.
    Over,
}

/// Why somebody could not be added.
pub(super) enum NotAdded {
    /// The room is over, and another one takes its place.
    Over,
    Refused(JoinError),
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

/// What came of the wish to get what is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoneLive {
    /// It gets everything from here on, or has left.
    Live,
    /// There is something that it has to read first.
    Behind,
    /// Its client has to take something first.
    Full,
}

/// What is not delivered yet, and not being delivered.
struct Pending {
    has_plain: bool,
    has_sessions: bool,
    frames: Blocks<Frames>,
    /// Tagged with the offsets of messages.
    lines: Blocks<Lines<Option<Offset>>>,
    /// Tagged with the member that sent them.
    signals: Lines<usize>,
    /// The newest message that was said since the room has members.
    newest: Offset,
    /// The newest message that is not among the lines, because nobody was there who gets lines.
    not_in_lines: Offset,
    /// There is a task that delivers until nothing waits.
    scheduled: bool,
    /// Since when the oldest of what is being delivered waits for its end.
    delivering_since: Option<Instant>,
}

impl Pending {
    /// The bytes that wait for the kind of member for which more do.
    fn bytes(&self) -> usize {
        self.frames.bytes().max(self.lines.bytes())
    }

    fn oldest(&self) -> Option<Instant> {
        let waiting = [self.frames.oldest(), self.lines.oldest()].into_iter().flatten().min();
        self.delivering_since.or(waiting)
    }

    /// What is to be delivered next. Without anything the task that delivers ends.
    fn next_pass(&mut self) -> Option<Pass> {
        self.delivering_since = None;
        self.delivering_since = self.oldest();
        let (frames, lines, signals) = (self.frames.take(), self.lines.take(), self.signals.take());
        if frames.is_none() && lines.is_none() && signals.is_none() {
            self.scheduled = false;
            return None;
        }
        let with_frame = |block: Block<_>| (block.frame(), block);
        Some(Pass {
            frames,
            lines: lines.map(with_frame),
            signals: signals.map(|block| (block.frame(), block)),
            plain: 0,
            session: 0,
        })
    }

    /// A pass is over. Returns whether there is more; otherwise the task that delivers ends.
    fn end_pass(&mut self) -> bool {
        self.delivering_since = None;
        self.scheduled = self.oldest().is_some() || self.signals.len() > 0;
        self.scheduled
    }
}

/// One block of each kind on its way to the members.
struct Pass {
    frames: Option<PlainBlock>,
    lines: Option<(Bytes, Block<Option<Offset>>)>,
    signals: Option<(Bytes, Block<usize>)>,
    /// The plain member that is next, and the session member.
    plain: usize,
    session: usize,
}

/// What is left of a slice.
struct Slice {
    members: usize,
    bytes: usize,
}

impl Slice {
    fn is_over(&self) -> bool {
        self.members == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.members -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Room {
    pub(super) fn new(name: RoomName, options: HubOptions) -> Self {
        let block_bytes = options.block_bytes.min(options.sent_text_bytes);
        let pending = Pending {
            has_plain: false,
            has_sessions: false,
            frames: Blocks::new(block_bytes),
            lines: Blocks::new(block_bytes),
            signals: Lines::default(),
            newest: Offset::ZERO,
            not_in_lines: Offset::ZERO,
            scheduled: false,
            delivering_since: None,
        };
        Self {
            name,
            options,
            budget: DeliveryBudget::new(&options, Instant::now()),
            members: Mutex::default(),
            pending: Mutex::new(pending),
            count: AtomicUsize::new(0),
        }
    }

    pub(super) fn name(&self) -> &RoomName {
        &self.name
    }

    fn members(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn users(&self) -> Vec<UserName> {
        self.members.lock().presence.users()
    }

    /// Charges a sender for a message of so many bytes that all members get. If all senders together cause too much, or more than is
    /// delivered in time: until when this one should pause.
    pub(super) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = bytes.saturating_add(DELIVERY_OVERHEAD).saturating_mul(self.members());
        let oldest = self.pending.lock().oldest();
        let late = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.budget.charge(&self.options, bytes, late, now)
    }

    pub(super) fn add_plain(
        self: &Arc<Self>,
        engine: &dyn Engine,
        user: &UserName,
        socket: Sender,
    ) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&mut members, engine)?;
        // What was said before this member came is not for it.
        let after = self.pending.lock().newest;
        let key = members.plain.insert(Plain { socket, after });
        Ok(self.entered(&mut members, Kind::Plain, key, user))
    }

    pub(super) fn add_session(
        self: &Arc<Self>,
        engine: &dyn Engine,
        user: &UserName,
        socket: Sender,
    ) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&mut members, engine)?;
        let key = members.sessions.insert(Session {
            socket,
            progress: Progress::CatchingUp,
            told: 0,
        });
        Ok(self.entered(&mut members, Kind::Session, key, user))
    }

    /// Whether one more member may come. Before the first one the log begins to be watched.
    fn admit(self: &Arc<Self>, members: &mut Members, engine: &dyn Engine) -> Result<(), NotAdded> {
        if matches!(members.life, Life::Over) {
            return Err(NotAdded::Over);
        }
        if self.members() >= self.options.members_per_room {
            return Err(NotAdded::Refused(JoinError::RoomFull));
        }
        if matches!(members.life, Life::New) {
            let watch = engine.watch(&self.name, Arc::new(Arc::clone(self)));
            members.life = Life::Watching(watch.map_err(|refusal| NotAdded::Refused(JoinError::Log(refusal)))?);
        }
        Ok(())
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

    /// Returns whether the room is over with it.
    pub(super) fn remove(self: &Arc<Self>, member: &Member) -> bool {
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
        self.end(members)
    }

    /// Ends a room that nobody is in. Returns whether it is over.
    pub(super) fn end_if_empty(&self) -> bool {
        self.end(self.members.lock())
    }

    fn end(&self, mut members: MutexGuard<'_, Members>) -> bool {
        let is_over = self.members() == 0;
        let life = is_over.then(|| std::mem::replace(&mut members.life, Life::Over));
        drop(members);
        // Ending the watching locks the log.
        drop(life);
        is_over
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
            while !room.tell() {
                tokio::time::sleep(room.options.presence_interval).await;
            }
        });
    }

    /// Tells it now. False if too much waits to be delivered already.
    fn tell(self: &Arc<Self>) -> bool {
        let mut members = self.members.lock();
        let now = Instant::now();
        if self.pending.lock().bytes() >= self.options.pending_bytes {
            return false;
        }
        let line = members.presence.tell(&self.name, now, &self.options);
        let mut pending = self.pending.lock();
        if let Some(line) = line
            && pending.has_sessions
        {
            pending.lines.push(now, |lines| lines.push(None, &line));
            self.schedule(&mut pending);
        }
        true
    }

    /// Tells the other session members something that is not kept. It may be dropped.
    pub(super) fn signal(self: &Arc<Self>, member: &Member, from: Author, body: Body) {
        let mut pending = self.pending.lock();
        if pending.has_sessions && pending.signals.len() < self.options.signal_bytes {
            let room = self.name.clone();
            let signal = ServerLine::Signal(message::Signal { room, from, body });
            pending.signals.push_frame(member.key, &signal);
            // What is beyond the largest text is one signal too many, unless it is alone.
            if pending.signals.len() > self.options.sent_text_bytes {
                pending.signals.split_last();
            }
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

    /// Lets a session member that has all messages up to `cursor` go on with what is delivered, unless there is a message in between: of
    /// one whose delivery has begun, only those have it for whom it was. Who came and went since it joined is told before, at this place in
    /// the socket's queue.
    pub(super) fn go_live(&self, member: &Member, cursor: Offset, place: u64) -> GoneLive {
        let mut members = self.members.lock();
        let missed = members.delivered.max(self.pending.lock().not_in_lines);
        if missed > cursor {
            return GoneLive::Behind;
        }
        let Members { sessions, presence, .. } = &mut *members;
        let Some(session) = sessions.get_mut(member.key) else {
            return GoneLive::Live;
        };
        if presence.version() != session.told {
            // What is told in the rest of this pass and after it comes again: it ends with the newest state either way.
            let lines = presence.missed(session.told, &self.name, Instant::now(), &self.options);
            let frames: Vec<_> = lines.iter().filter_map(|line| frame_of_line(line)).collect();
            if session.socket.shared().try_send_frames_at(place, &frames) == Ok(false) {
                return GoneLive::Full;
            }
        }
        session.progress = Progress::From(cursor.next());
        GoneLive::Live
    }

    fn schedule(self: &Arc<Self>, pending: &mut Pending) {
        if !std::mem::replace(&mut pending.scheduled, true) {
            let room = Arc::clone(self);
            tokio::spawn(async move {
                // Runs after the tasks that are ready now, so it takes along what they say.
                while room.deliver_slice() {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// Goes on with the pass that is under way, or begins one. Returns whether anything is left to do.
    fn deliver_slice(&self) -> bool {
        let mut members = self.members.lock();
        let Members {
            plain,
            sessions,
            pass: under_way,
            delivered,
            ..
        } = &mut *members;
        if under_way.is_none() {
            *under_way = self.pending.lock().next_pass();
            let lines = under_way.as_ref().and_then(|pass| pass.lines.as_ref());
            let newest = lines.and_then(|(_, block)| block.tags().flatten().max().copied());
            *delivered = newest.map_or(*delivered, |newest| newest.max(*delivered));
        }
        let Some(pass) = under_way else { return false };
        let mut slice = Slice {
            members: self.options.slice_members.max(1),
            bytes: self.options.slice_bytes.max(1),
        };
        if !pass.go_on(plain, sessions, &mut slice) {
            return true;
        }
        *under_way = None;
        self.pending.lock().end_pass()
    }
}

impl Pass {
    /// Hands it to the next members. Returns whether it was the last of them.
    fn go_on(&mut self, plain: &Slab<Plain>, sessions: &mut Slab<Session>, slice: &mut Slice) -> bool {
        // The keys are fewer than there ever were members at once, so looking for the next member is bounded like those.
        if let Some(block) = &self.frames {
            while self.plain < plain.capacity() {
                if slice.is_over() {
                    return false;
                }
                if let Some(member) = plain.get(self.plain) {
                    slice.take(member.deliver(block));
                }
                self.plain += 1;
            }
        }
        if self.lines.is_none() && self.signals.is_none() {
            return true;
        }
        while self.session < sessions.capacity() {
            if slice.is_over() {
                return false;
            }
            if let Some(member) = sessions.get_mut(self.session) {
                let lines = self
                    .lines
                    .as_ref()
                    .map_or(0, |(frame, block)| member.deliver(block, frame));
                let signals = self.signals.as_ref();
                slice.take(lines + signals.map_or(0, |(frame, block)| member.signal(self.session, block, frame)));
            }
            self.session += 1;
        }
        true
    }
}

impl Watcher for Arc<Room> {
    fn has_capacity(&self) -> bool {
        self.pending.lock().bytes() < self.options.pending_bytes
    }

    fn appended(&self, message: &Arc<Message>) {
        let now = Instant::now();
        let mut pending = self.pending.lock();
        if pending.has_plain {
            pending.frames.push(now, |frames| frames.push(message));
        }
        if pending.has_sessions {
            pending
                .lines
                .push(now, |lines| lines.push_message(Some(message.offset), message));
        } else {
            pending.not_in_lines = message.offset;
        }
        pending.newest = message.offset;
        if pending.has_plain || pending.has_sessions {
            self.schedule(&mut pending);
        }
    }
}

impl Plain {
    /// Returns how many bytes it was.
    fn deliver(&self, block: &PlainBlock) -> usize {
        block
            .after(self.after)
            .map_or(0, |(frames, messages)| deliver(&self.socket, &frames, messages))
    }
}

impl Session {
    /// Returns how many bytes it was.
    fn deliver(&mut self, block: &Block<Option<Offset>>, frame: &Bytes) -> usize {
        match self.progress.take(block) {
            Part::All => deliver(&self.socket, frame, block.len()),
            Part::Some(block) => deliver(&self.socket, &block.frame(), block.len()),
            Part::Nothing => 0,
        }
    }

    /// Hands over what others than the member with this key signal. Returns how many bytes it was.
    fn signal(&self, key: usize, block: &Block<usize>, frame: &Bytes) -> usize {
        if self.progress == Progress::CatchingUp {
            return 0;
        }
        let of_others = match block.tags().any(|sender| *sender == key) {
            false => Some(frame.clone()),
            true => block.only(|sender| *sender != key).map(|block| block.frame()),
        };
        of_others.map_or(0, |frame| {
            self.socket.shared().deliver_if_idle(&frame);
            frame.len()
        })
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

/// Returns how many bytes it was.
fn deliver(socket: &Sender, frames: &Bytes, messages: usize) -> usize {
    let socket = socket.shared();
    if socket.deliver(frames, messages) == Delivery::TooSlow {
        socket.sockets().metrics().closed_too_slow.add_one();
    }
    frames.len()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        engine::{Answer, Memory, MemoryOptions, Outcome},
        hub::{Hub, SessionMember},
        socket::{SocketOptions, Sockets},
    };

    /// A block of messages with these offsets; 0 stands for a line that is no message.
    fn block(offsets: &[u64]) -> Block<Option<Offset>> {
        let mut lines = Lines::default();
        for offset in offsets {
            let tag = Some(Offset::new(*offset).unwrap()).filter(|offset| *offset > Offset::ZERO);
            lines.push_frame(tag, &ServerLine::Ping {});
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

    const MANY: usize = 40;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn lobby() -> RoomName {
        RoomName::parse("lobby").unwrap()
    }

    fn hub(options: HubOptions) -> Hub {
        Hub::new(options, Arc::new(Memory::new(MemoryOptions::default())))
    }

    fn small_slices() -> HubOptions {
        HubOptions {
            slice_members: 4,
            ..HubOptions::default()
        }
    }

    fn say(hub: &Hub, text: &str) -> Outcome {
        match hub.publish(&lobby(), &user("ann"), Body::text(text)) {
            Answer::Now(outcome) => outcome,
            _ => panic!("this engine answers at once"),
        }
    }

    /// Lets everything that is ready have its turn until nothing is left to deliver.
    async fn deliver_all(room: &Room) {
        while room.pending.lock().scheduled {
            tokio::task::yield_now().await;
        }
    }

    fn session(hub: &Hub, sockets: &Sockets) -> (SessionMember, Sender) {
        let socket = Sender::without_task(sockets);
        let member = hub.join_session(&lobby(), &user("ann"), socket.clone()).unwrap();
        (member, socket)
    }

    #[tokio::test]
    async fn a_pass_serves_a_slice_of_the_members_and_then_others_have_their_turn() {
        let bytes_of_four = 4 * "x".repeat(1000).len();
        for options in [
            small_slices(),
            HubOptions {
                slice_bytes: bytes_of_four,
                ..HubOptions::default()
            },
        ] {
            for plain in [true, false] {
                let (hub, all) = (hub(options), Sockets::new(SocketOptions::default()));
                let (mut members, mut sockets) = ((Vec::new(), Vec::new()), Vec::new());
                for _ in 0..MANY {
                    if plain {
                        sockets.push(Sender::without_task(&all));
                        let membership = hub.join(&lobby(), &user("ann"), sockets[sockets.len() - 1].clone());
                        members.0.push(membership.unwrap());
                    } else {
                        let (member, socket) = session(&hub, &all);
                        assert_eq!(member.go_live(Offset::ZERO, 0), GoneLive::Live);
                        members.1.push(member);
                        sockets.push(socket);
                    }
                }
                let room = hub.find(&lobby()).unwrap();
                say(&hub, &"x".repeat(1000));
                let has_it = |socket: &&Sender| !socket.shared().waiting_bytes().is_empty();
                let served = || sockets.iter().filter(has_it).count();
                let (mut before, mut turns) = (0, 0);
                while before < MANY {
                    tokio::task::yield_now().await;
                    assert!(served() <= before + 4, "{} at once", served() - before);
                    (before, turns) = (served(), turns + 1);
                    assert!(turns < 10 * MANY, "only {before} were served");
                }
                assert!(turns >= MANY / 4);
                assert!(!room.members.is_locked());
            }
        }
    }

    /// What the texts of a socket's frames say, which are numbers.
    fn numbers(socket: &Sender) -> Vec<u64> {
        let bytes = socket.shared().waiting_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let plain = text.split("[ann] ").skip(1);
        let lines = text.split(r#""body":""#).skip(1);
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        plain.chain(lines).map(|part| digits(part).parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn whoever_joins_leaves_or_goes_live_between_two_slices_gets_everything_once_and_in_order() {
        let sockets = Sockets::new(SocketOptions {
            queue_messages: usize::MAX,
            queue_bytes: usize::MAX,
            ..SocketOptions::default()
        });
        let mut amid_a_pass = [0; 4];
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let hub = hub(HubOptions {
                slice_members: random.usize(1..4),
                block_bytes: random.usize(1..600),
                ..HubOptions::default()
            });
            // Never empty, so that it stays the same room.
            let first = hub
                .join(&lobby(), &user("ann"), Sender::without_task(&sockets))
                .unwrap();
            let room = hub.find(&lobby()).unwrap();
            let mut said = 0_u64;
            let mut plain = Vec::new();
            // With what they had from the log.
            let mut sessions: Vec<(SessionMember, Sender, Option<u64>)> = Vec::new();
            for _ in 0..400 {
                let is_amid = room.members.lock().pass.is_some();
                let what = match random.u8(0..20) {
                    0..6 => {
                        said += 1;
                        assert!(matches!(say(&hub, &said.to_string()), Outcome::Added(_)));
                        continue;
                    }
                    6 => {
                        let socket = Sender::without_task(&sockets);
                        plain.push((hub.join(&lobby(), &user("ann"), socket.clone()).unwrap(), socket, said));
                        0
                    }
                    7 if sessions.len() < 30 => {
                        let (member, socket) = session(&hub, &sockets);
                        sessions.push((member, socket, None));
                        1
                    }
                    8 if !sessions.is_empty() => {
                        let index = random.usize(0..sessions.len());
                        let (member, _, had) = &mut sessions[index];
                        // The log is read now, or was read a moment ago.
                        let cursor = said.saturating_sub(random.u64(0..3));
                        if had.is_none() && member.go_live(Offset::new(cursor).unwrap(), 0) == GoneLive::Live {
                            *had = Some(cursor);
                        }
                        2
                    }
                    9 if !sessions.is_empty() && random.bool() => {
                        sessions.swap_remove(random.usize(0..sessions.len()));
                        3
                    }
                    _ => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
                amid_a_pass[what] += usize::from(is_amid);
            }
            deliver_all(&room).await;
            for (_, socket, after) in &plain {
                assert!(numbers(socket).into_iter().eq(after + 1..=said), "seed {seed}");
            }
            for (_, socket, had) in &sessions {
                let expected: Vec<_> = had.map_or_else(Vec::new, |had| (had + 1..=said).collect());
                assert_eq!(numbers(socket), expected, "seed {seed}");
            }
            drop((first, plain, sessions));
            assert_eq!(hub.rooms(), 0);
        }
        assert!(amid_a_pass.iter().all(|count| *count > 50), "{amid_a_pass:?}");
    }

    #[tokio::test]
    async fn what_waits_for_its_delivery_is_bounded_and_more_is_refused_for_a_time() {
        let options = HubOptions {
            pending_bytes: 10_000,
            ..small_slices()
        };
        let hub = hub(options);
        let sockets = Sockets::new(SocketOptions::default());
        let (member, socket) = session(&hub, &sockets);
        assert_eq!(member.go_live(Offset::ZERO, 0), GoneLive::Live);
        let room = hub.find(&lobby()).unwrap();
        let text = "x".repeat(1000);
        let mut added = 0;
        let refusal = loop {
            match say(&hub, &text) {
                Outcome::Added(_) => added += 1,
                Outcome::Refused { refusal, .. } => break refusal,
                other => panic!("{other:?}"),
            }
            assert!(added < 20);
        };
        assert!(refusal.retry_after.is_some());
        assert!(room.pending.lock().bytes() < options.pending_bytes + 2000);
        // Who comes and goes is told later then.
        assert!(!room.tell());
        deliver_all(&room).await;
        assert!(room.tell());
        assert!(matches!(say(&hub, &text), Outcome::Added(_)));
        deliver_all(&room).await;
        let lines = socket.shared().waiting_bytes();
        assert_eq!(String::from_utf8_lossy(&lines).matches(&text).count(), added + 1);
    }

    #[tokio::test]
    async fn signals_at_once_are_one_text_as_the_protocol_allows_it() {
        let options = HubOptions {
            sent_text_bytes: 1000,
            ..HubOptions::default()
        };
        let hub = hub(options);
        let sockets = Sockets::new(SocketOptions::default());
        let ((one, _), (other, socket)) = (session(&hub, &sockets), session(&hub, &sockets));
        assert_eq!(other.go_live(Offset::ZERO, 0), GoneLive::Live);
        let room = hub.find(&lobby()).unwrap();
        deliver_all(&room).await;
        for _ in 0..10 {
            let from = Author {
                sender: hub.sender().clone(),
                user: user("ann"),
            };
            one.signal(from, Body::text(&"x".repeat(300)));
        }
        deliver_all(&room).await;
        let bytes = socket.shared().waiting_bytes();
        assert!((600..=1000).contains(&bytes.len()), "{} bytes", bytes.len());
    }

    #[tokio::test]
    async fn a_member_that_goes_live_with_a_full_queue_waits_for_its_client_and_is_not_closed() {
        let hub = hub(HubOptions {
            presence_grace: Duration::ZERO,
            ..HubOptions::default()
        });
        let sockets = Sockets::new(SocketOptions::default());
        let (member, socket) = session(&hub, &sockets);
        let told = member.told();
        assert_eq!(told.users, 1);
        let room = hub.find(&lobby()).unwrap();
        let _bob = hub
            .join(&lobby(), &user("bob"), Sender::without_task(&sockets))
            .unwrap();
        assert!(room.tell());
        let shared = socket.shared();
        shared.send_frames_at(0, &Bytes::from(vec![0; 100_000])).await.unwrap();
        let place = shared.place();
        assert_eq!(member.go_live(Offset::ZERO, place), GoneLive::Full);
        assert!(socket.close_info().is_none());
        assert!(shared.ready_at(place).now_or_never().is_none());
    }

    #[tokio::test]
    async fn users_who_come_and_go_need_no_task_each() {
        let hub = hub(HubOptions {
            presence_grace: Duration::from_secs(60),
            ..HubOptions::default()
        });
        let sockets = Sockets::new(SocketOptions::default());
        let join = |name: &str| hub.join(&lobby(), &user(name), Sender::without_task(&sockets)).unwrap();
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let _ann = join("ann");
        drop(join("bob"));
        let before = tasks();
        for number in 0..100 {
            drop(join(&format!("user-{number}")));
            drop(join("bob"));
        }
        assert!(tasks() <= before, "{} tasks, {before} before", tasks());
    }

    /// Runs this on a thread of its own and waits for it.
    fn elsewhere<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Handle::current();
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _guard = runtime.enter();
            done.send(run())
        });
        let waited = finished.recv_timeout(Duration::from_secs(20));
        waited.unwrap_or_else(|_| panic!("{what} waits for a room that it has nothing to do with"))
    }

    #[tokio::test]
    async fn nobody_waits_for_a_room_that_somebody_else_joins_or_leaves() {
        let hub = hub(HubOptions::default());
        let sockets = Sockets::new(SocketOptions::default());
        let socket = Sender::without_task(&sockets);
        let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
        let room = hub.find(&lobby()).unwrap();
        let delivering = room.members.lock();
        let runtime = tokio::runtime::Handle::current();
        let (joins, began) = std::sync::mpsc::channel();
        let others = [
            (joins.clone(), Some(member), hub.clone(), socket.clone()),
            (joins, None, hub.clone(), socket.clone()),
        ]
        .map(|(began, leaves, hub, socket)| {
            let runtime = runtime.clone();
            std::thread::spawn(move || {
                let _guard = runtime.enter();
                began.send(()).unwrap();
                match leaves {
                    Some(member) => drop(member),
                    None => drop(hub.join(&lobby(), &user("bob"), socket)),
                }
            })
        });
        (0..2).for_each(|_| began.recv().unwrap());
        // They wait for this room by now, or soon.
        for number in 0..200 {
            let (hub, socket) = (hub.clone(), socket.clone());
            elsewhere("who joins another room", move || {
                let name = RoomName::parse(&format!("room{number}")).unwrap();
                drop(hub.join(&name, &user("eve"), socket));
                hub.rooms()
            });
        }
        drop(delivering);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(hub.rooms(), 0);
    }

    #[tokio::test]
    async fn a_join_does_not_enter_a_room_that_is_being_removed() {
        let hub = hub(HubOptions::default());
        let sockets = Sockets::new(SocketOptions::default());
        // The last member has left, and has not come to the map yet.
        let room = hub.find_or_begin(&lobby()).unwrap();
        assert!(room.end_if_empty());
        let socket = Sender::without_task(&sockets);
        let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
        let new = hub.find(&lobby()).unwrap();
        assert!(!Arc::ptr_eq(&room, &new));
        // Whoever removes the old one late leaves the new one alone.
        hub.forget(&room);
        assert_eq!(hub.rooms(), 1);
        say(&hub, "7");
        deliver_all(&new).await;
        assert_eq!(numbers(&socket), [7]);
        drop(member);
        assert_eq!(hub.rooms(), 0);
    }

    #[tokio::test]
    async fn a_room_whose_first_member_is_refused_does_not_stay() {
        let hub = hub(HubOptions {
            members_per_room: 0,
            ..HubOptions::default()
        });
        let sockets = Sockets::new(SocketOptions::default());
        let joined = hub.join(&lobby(), &user("ann"), Sender::without_task(&sockets));
        assert_eq!(joined.err(), Some(JoinError::RoomFull));
        assert_eq!(hub.rooms(), 0);
    }

    #[test]
    fn members_that_join_and_leave_on_many_threads_leave_no_room_behind_and_hear_what_they_say() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let hub = hub(HubOptions {
            presence_grace: Duration::ZERO,
            ..HubOptions::default()
        });
        let sockets = Sockets::new(SocketOptions::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (hub, sockets, runtime) = (hub.clone(), sockets.clone(), runtime.handle().clone());
                std::thread::spawn(move || {
                    let _guard = runtime.enter();
                    for _ in 0..300 {
                        let socket = Sender::without_task(&sockets);
                        let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
                        let Answer::Now(Outcome::Added(place)) = member.publish_text("1") else {
                            panic!("it was not added")
                        };
                        let room = hub.find(&lobby()).unwrap();
                        assert!(room.pending.lock().newest >= place.offset, "nobody watches the log");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(hub.rooms(), 0);
    }
}
