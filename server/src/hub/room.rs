//! One room: its members, and what is pending for them.
//!
//! Pending messages are delivered in [passes](super::pass): a pass delivers one block to one member after the other, in
//! slices, between which other tasks run. There is one pass at a time, so all members get everything in one order. A
//! member that joins or goes live between two slices gets what it does not have of the rest of the pass: a member that
//! is catching up nothing, a plain member the messages after it joined, a session member those after its cursor, which
//! [`Room::go_live`] ensures is not before this pass.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use talkback_protocol::{
    Epoch, Offset, RoomName, UserName,
    codec::MemberList,
    message::{Message, ServerLine, Signal},
    session::server::{FoundMembers, Refusal},
};
use tokio::time::Instant;

use super::{
    HubOptions, JoinError, Kind, Member,
    block::{Builder, frame_of_line},
    delivery_budget::DeliveryBudget,
    directory::Directory,
    pass::{Pass, PlainRecipient, Progress, SessionRecipient, Slice},
    pending::Pending,
    presence::{Presence, PresenceSnapshot, Searched},
};
use crate::{
    engine::{Answer, Engine, Watch, Watcher},
    metrics::Metrics,
    socket::Sender,
};

/// The bytes that a delivery is charged for besides the message's own: the rest of its line, and a share of a write.
const DELIVERY_OVERHEAD: usize = 128;
/// The key of no member, for signals that come from another server.
const AT_ANOTHER_SERVER: usize = usize::MAX;

pub(super) struct Room {
    name: RoomName,
    options: HubOptions,
    engine: Arc<dyn Engine>,
    /// The bytes that all senders of the room may cause to be delivered.
    budget: DeliveryBudget,
    /// Locked during one slice of a pass.
    members: Mutex<Members>,
    pending: Mutex<Pending>,
    count: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Members {
    state: State,
    plain: Slab<PlainRecipient>,
    sessions: Slab<SessionRecipient>,
    presence: Presence,
    /// The users that other servers have in the room; each counts as one socket in `presence`.
    elsewhere: HashMap<u64, HashSet<UserName>>,
    /// The users that other servers were told.
    told: Arc<[UserName]>,
    /// A task is going to tell them the users of now.
    is_telling: bool,
    /// The pass under way.
    pass: Option<Pass>,
    /// The newest message of this epoch whose delivery to session members has begun.
    delivered: Offset,
    /// The log began anew: the key of the next session member to look at, of which those are closed that follow the
    /// epoch before.
    closing: Option<usize>,
}

/// The log's answer to the subscription of a room, for all members that wait for it.
type Opening = Shared<BoxFuture<'static, Result<(), Refusal>>>;

#[derive(Default)]
enum State {
    /// Before the first member.
    #[default]
    New,
    /// With members, which wait for the log to be watched.
    Opening(Opening),
    /// With members. Dropping the watch ends the subscription to the log.
    Open(#[expect(dead_code, reason = "it is kept for what dropping it does")] Watch),
    /// The log cannot be watched: all members leave, and the room is not joined again.
    Refused(Refusal),
    /// After the last member. A closed room is never joined again: the next member gets a new room of the same name.
    Closed,
}

/// Why a member could not be added.
pub(super) enum NotAdded {
    /// The room is closed, and a new one takes its place.
    Closed,
    Refused(JoinError),
}

/// The result of [`Room::go_live`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoLive {
    /// The member gets all later messages from passes, or has left.
    Live,
    /// There are messages that it has to read from the log first.
    Behind,
    /// The queue of its socket is full: its client must read first.
    QueueFull,
    /// The member has read the log in another epoch than that of the messages that come: it must join again.
    OtherEpoch,
}

impl Room {
    pub(super) fn new(name: RoomName, options: HubOptions, engine: Arc<dyn Engine>, metrics: Arc<Metrics>) -> Self {
        Self {
            name,
            options,
            engine,
            budget: DeliveryBudget::new(&options, Instant::now()),
            members: Mutex::default(),
            pending: Mutex::new(Pending::new(&options)),
            count: AtomicUsize::new(0),
            metrics,
        }
    }

    pub(super) fn name(&self) -> &RoomName {
        &self.name
    }

    pub(super) fn options(&self) -> &HubOptions {
        &self.options
    }

    /// The users in the room, by name.
    pub(super) fn users(&self) -> Vec<UserName> {
        self.members.lock().presence.users()
    }

    /// The sockets of all members, or of those of one user.
    pub(super) fn sockets(&self, user: Option<&UserName>) -> Vec<Sender> {
        let members = self.members.lock();
        let plain = members.plain.iter().map(|(_, member)| (&member.user, &member.socket));
        let sessions = members
            .sessions
            .iter()
            .map(|(_, member)| (&member.user, &member.socket));
        let of_user = plain
            .chain(sessions)
            .filter(|(of, _)| user.is_none_or(|user| *of == user));
        of_user.map(|(_, socket)| socket.clone()).collect()
    }

    /// The number of users, and the newest list of them unless there are too many.
    pub(super) fn listed(&self) -> (u32, Option<MemberList>) {
        let snapshot = self.members.lock().presence.snapshot(Instant::now(), &self.options);
        (snapshot.users, snapshot.members)
    }

    /// Users whose names have this part, which is in small letters.
    pub(super) fn find(&self, part: &str) -> FoundMembers {
        let now = Instant::now();
        let searched = self.members.lock().presence.searched(now, &self.options);
        let directory = match searched {
            Searched::Directory(directory) => directory,
            Searched::Users(users, changes) => {
                // Sorted without the lock.
                let directory = Arc::new(Directory::of(users));
                let kept = Arc::clone(&directory);
                // Freed after the lock.
                let _before = self.members.lock().presence.keep_directory(kept, changes, now);
                directory
            }
        };
        directory.find(part)
    }

    /// The users as `joined` names them to a session member.
    pub(super) fn snapshot_for(&self, member: &Member) -> PresenceSnapshot {
        let mut members = self.members.lock();
        let snapshot = members.presence.snapshot(Instant::now(), &self.options);
        if let Some(session) = members.sessions.get_mut(member.key) {
            session.presence_version = snapshot.version;
        }
        snapshot
    }

    /// Charges a sender for a message of so many bytes, which is delivered to all members. Returns until when the
    /// sender should pause, if all senders together cause too much or deliveries are late.
    pub(super) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = bytes.saturating_add(DELIVERY_OVERHEAD).saturating_mul(self.members());
        let oldest = self.pending.lock().oldest();
        let late = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.budget.charge(&self.options, bytes, late, now)
    }

    pub(super) fn add_plain(self: &Arc<Self>, user: &UserName, socket: Sender) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&members)?;
        // The member does not get earlier messages that are still pending.
        let after = self.pending.lock().count;
        let key = members.plain.insert(PlainRecipient {
            user: user.clone(),
            socket,
            after,
        });
        Ok(self.added(&mut members, Kind::Plain, key, user))
    }

    pub(super) fn add_session(self: &Arc<Self>, user: &UserName, socket: Sender) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&members)?;
        let key = members.sessions.insert(SessionRecipient {
            user: user.clone(),
            socket,
            progress: Progress::CatchingUp,
            presence_version: 0,
        });
        Ok(self.added(&mut members, Kind::Session, key, user))
    }

    /// Returns whether this was the last member; then the room is closed.
    pub(super) fn remove(self: &Arc<Self>, member: &Member) -> bool {
        let mut members = self.members.lock();
        match member.kind {
            Kind::Plain => drop(members.plain.try_remove(member.key)),
            Kind::Session => drop(members.sessions.try_remove(member.key)),
        }
        self.count_kinds(&members);
        if self.name.is_reserved() {
            return self.close_without_members(members);
        }
        self.schedule_telling(&mut members);
        let grace = self.options.presence_grace;
        if members.presence.leave(&member.user, Instant::now(), grace) && self.members() > 0 {
            tokio::spawn(Arc::clone(self).expire_presence());
        }
        self.close_without_members(members)
    }

    /// Closes a room that has no members. Returns whether it is closed.
    pub(super) fn close_if_empty(&self) -> bool {
        self.close_without_members(self.members.lock())
    }

    /// Makes a session member live that has all messages of this epoch up to `cursor`, unless there are later messages
    /// that no pass will deliver to it. The presence changes since it joined are sent to it first, at this place in its
    /// socket's queue.
    pub(super) fn go_live(&self, member: &Member, epoch: &Epoch, cursor: Offset, place: u64) -> GoLive {
        let mut members = self.members.lock();
        {
            let mut pending = self.pending.lock();
            begin_anew(&mut members, &mut pending);
            if pending.epoch.as_ref() != Some(epoch) {
                return GoLive::OtherEpoch;
            }
            if members.delivered.max(pending.not_in_lines) > cursor {
                return GoLive::Behind;
            }
        }
        let Members { sessions, presence, .. } = &mut *members;
        let Some(session) = sessions.get_mut(member.key) else {
            return GoLive::Live;
        };
        if presence.version() != session.presence_version {
            // The rest of this pass and later ones may repeat some of these changes: the list is right after the last
            // one either way.
            let lines = presence.missed(session.presence_version, &self.name, Instant::now(), &self.options);
            let frames: Vec<_> = lines.iter().filter_map(|line| frame_of_line(line)).collect();
            if session.socket.shared().try_send_frames_at(place, &frames) == Ok(false) {
                return GoLive::QueueFull;
            }
        }
        session.progress = Progress::From(cursor.next());
        GoLive::Live
    }

    /// Sends a signal of the member with this key to the other session members. It is not kept, and is dropped if too many signals are pending.
    pub(super) fn signal(self: &Arc<Self>, sender: usize, signal: Signal) {
        let mut pending = self.pending.lock();
        if pending.signals.len() < self.options.signal_bytes {
            pending.signals.push_line(sender, &ServerLine::Signal(signal));
            // A signal that makes the text too large is dropped, unless it is alone.
            if pending.signals.len() > self.options.sent_text_bytes {
                pending.signals.split_last();
            }
            self.schedule(&mut pending);
        }
    }

    pub(super) fn members(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Watches the log, for the first member. Each member gets the answer. Messages reach the members from then on.
    pub(super) fn open(self: &Arc<Self>, engine: &Arc<dyn Engine>) -> Answer<Result<(), Refusal>> {
        let opening = {
            let mut members = self.members.lock();
            match &members.state {
                State::New => {
                    let opening = Arc::clone(self).watch(Arc::clone(engine)).boxed().shared();
                    members.state = State::Opening(opening.clone());
                    opening
                }
                State::Opening(opening) => opening.clone(),
                State::Open(_) | State::Closed => return Answer::now(Ok(())),
                State::Refused(refusal) => return Answer::now(Err(refusal.clone())),
            }
        };
        // The engine is called here, without a lock.
        match opening.clone().now_or_never() {
            Some(answer) => Answer::now(answer),
            None => Answer::later(opening.boxed()),
        }
    }

    async fn watch(self: Arc<Self>, engine: Arc<dyn Engine>) -> Result<(), Refusal> {
        let watcher = Arc::new(Arc::clone(&self));
        let watch = engine.watch(&self.name, watcher).await;
        let mut members = self.members.lock();
        let (state, answer) = match watch {
            Ok(watch) => {
                let epoch = watch.epoch().clone();
                self.pending.lock().epoch.get_or_insert(epoch);
                (State::Open(watch), Ok(()))
            }
            Err(refusal) => (State::Refused(refusal.clone()), Err(refusal)),
        };
        let is_awaited = matches!(members.state, State::Opening(_));
        let unused = if is_awaited {
            std::mem::replace(&mut members.state, state)
        } else {
            state
        };
        drop(members);
        // Outside of the lock, because dropping the watch of a room that closed meanwhile locks the log.
        drop(unused);
        answer
    }

    /// Checks that one more member may join.
    fn admit(&self, members: &Members) -> Result<(), NotAdded> {
        if matches!(members.state, State::Closed | State::Refused(_)) {
            return Err(NotAdded::Closed);
        }
        if self.members() >= self.options.members_per_room {
            return Err(NotAdded::Refused(JoinError::RoomFull));
        }
        Ok(())
    }

    fn added(self: &Arc<Self>, members: &mut Members, kind: Kind, key: usize, user: &UserName) -> Member {
        self.count_kinds(members);
        // Nobody is told who else something is addressed to.
        if !self.name.is_reserved() {
            if members.presence.enter(user, &self.options) {
                self.schedule_announcement(members);
            }
            self.schedule_telling(members);
        }
        Member {
            kind,
            key,
            user: user.clone(),
        }
    }

    fn close_without_members(&self, mut members: MutexGuard<'_, Members>) -> bool {
        let is_closed = self.members() == 0;
        let state = is_closed.then(|| std::mem::replace(&mut members.state, State::Closed));
        let has_told = is_closed && !std::mem::take(&mut members.told).is_empty();
        drop(members);
        if let Some(presence) = self.engine.presence().filter(|_| has_told) {
            presence.set_users(&self.name, Arc::default());
        }
        // Outside of the lock, because dropping the watch locks the log.
        drop(state);
        is_closed
    }

    fn count_kinds(&self, members: &Members) {
        let mut pending = self.pending.lock();
        pending.has_plain = !members.plain.is_empty();
        pending.has_sessions = !members.sessions.is_empty();
        let count = members.plain.len() + members.sessions.len();
        let before = self.count.swap(count, Ordering::Relaxed);
        self.metrics.members.add(count as i64 - before as i64);
    }

    /// Removes users when their grace period is over, until no user is in it. A room has one such task at a time.
    async fn expire_presence(self: Arc<Self>) {
        loop {
            let next = self.members.lock().presence.next_expiry();
            let Some(next) = next else { return };
            tokio::time::sleep_until(next).await;
            let mut members = self.members.lock();
            if members.presence.expire(Instant::now(), &self.options) {
                self.schedule_announcement(&members);
            }
            if members.presence.next_expiry().is_none() {
                return;
            }
        }
    }

    /// Tells other servers the users of this one, a little later. A room has one such task at a time.
    fn schedule_telling(self: &Arc<Self>, members: &mut Members) {
        if self.engine.presence().is_none() || std::mem::replace(&mut members.is_telling, true) {
            return;
        }
        let room = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(room.options.presence_interval).await;
            room.tell();
        });
    }

    fn tell(&self) {
        let mut members = self.members.lock();
        members.is_telling = false;
        // A room of the same name may have told its own users since.
        if matches!(members.state, State::Closed) {
            return;
        }
        let users = members.presence.users_here(&members.elsewhere);
        if *members.told == *users {
            return;
        }
        members.told = users.into();
        let users = Arc::clone(&members.told);
        drop(members);
        if let Some(presence) = self.engine.presence() {
            presence.set_users(&self.name, users);
        }
    }

    /// Announces the presence changes to session members when that is due. A room has one such task at a time.
    fn schedule_announcement(self: &Arc<Self>, members: &Members) {
        let due = members
            .presence
            .due(Instant::now(), members.sessions.len(), &self.options);
        let room = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            while !room.announce_presence() {
                tokio::time::sleep(room.options.presence_interval).await;
            }
        });
    }

    /// Returns false, with nothing announced, if too much is pending already.
    fn announce_presence(self: &Arc<Self>) -> bool {
        let mut members = self.members.lock();
        let now = Instant::now();
        if self.pending.lock().bytes() >= self.options.pending_bytes {
            return false;
        }
        let line = members.presence.announce(&self.name, now, &self.options);
        let needless = members.presence.take_needless_directory();
        let mut pending = self.pending.lock();
        if let Some(line) = line
            && pending.has_sessions
        {
            pending.lines.push(now, |lines| lines.push(None, &line));
            self.schedule(&mut pending);
        }
        drop(pending);
        drop(members);
        // Without the lock.
        drop(needless);
        true
    }

    fn schedule(self: &Arc<Self>, pending: &mut Pending) {
        if !std::mem::replace(&mut pending.scheduled, true) {
            let room = Arc::clone(self);
            tokio::spawn(async move {
                // Runs after the tasks that are ready now, so that their messages are in the same pass.
                while room.deliver_slice() {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// Delivers the next slice of the pass under way, or of a new one. Returns whether anything is left to deliver.
    fn deliver_slice(&self) -> bool {
        let mut members = self.members.lock();
        {
            let mut pending = self.pending.lock();
            begin_anew(&mut members, &mut pending);
            if members.closing.is_none() && members.pass.is_none() {
                members.pass = pending.next_pass();
                let newest = members.pass.as_ref().and_then(Pass::newest);
                members.delivered = newest.map_or(members.delivered, |newest| newest.max(members.delivered));
            }
        }
        if self.close_restarted(&mut members) {
            return true;
        }
        let Members {
            plain,
            sessions,
            pass: under_way,
            ..
        } = &mut *members;
        let Some(pass) = under_way else { return false };
        let mut slice = Slice::new(&self.options);
        let is_over = pass.deliver(plain, sessions, &mut slice);
        self.metrics.messages_delivered.add(slice.delivered());
        if !is_over {
            return true;
        }
        *under_way = None;
        self.pending.lock().end_pass()
    }

    /// Closes the next session members that follow the epoch before. They reconnect at different times and join again
    /// with their cursors. Returns whether there may be more of them.
    fn close_restarted(&self, members: &mut Members) -> bool {
        let Some(first) = members.closing.take() else {
            return false;
        };
        let end = first.saturating_add(self.options.slice_members.max(1));
        for key in first..end.min(members.sessions.capacity()) {
            if let Some(member) = members.sessions.get(key)
                && member.progress == Progress::Restarted
            {
                member.socket.shared().close_to_reconnect();
            }
        }
        members.closing = (end < members.sessions.capacity()).then_some(end);
        true
    }
}

/// Ends the epoch before if the log began anew: its lines are not delivered, and its session members are closed in the
/// next slices. A member that still catches up learns it from the log.
fn begin_anew(members: &mut Members, pending: &mut Pending) {
    if !std::mem::take(&mut pending.restarted) {
        return;
    }
    members.delivered = Offset::ZERO;
    if let Some(pass) = &mut members.pass {
        pass.drop_lines();
    }
    for (_, session) in &mut members.sessions {
        if session.progress != Progress::CatchingUp {
            session.progress = Progress::Restarted;
        }
    }
    members.closing = Some(0);
}

impl Watcher for Arc<Room> {
    fn has_capacity(&self) -> bool {
        self.pending.lock().bytes() < self.options.pending_bytes
    }

    fn appended(&self, message: &Arc<Message>) {
        let now = Instant::now();
        let mut pending = self.pending.lock();
        pending.count += 1;
        let number = pending.count;
        if pending.has_plain {
            pending.frames.push(now, |frames| frames.push(number, message));
        }
        if pending.has_sessions {
            pending
                .lines
                .push(now, |lines| lines.push_message(Some(message.offset), message));
        } else {
            pending.not_in_lines = message.offset;
        }
        if pending.has_plain || pending.has_sessions {
            self.schedule(&mut pending);
        }
    }

    fn restarted(&self, epoch: &Epoch) {
        let mut pending = self.pending.lock();
        pending.restart(epoch);
        self.schedule(&mut pending);
    }

    fn present(&self, server: u64, users: &[UserName]) {
        let mut members = self.members.lock();
        let before = members.elsewhere.remove(&server).unwrap_or_default();
        let now: HashSet<_> = users.iter().cloned().collect();
        let (mut is_changed, mut expires) = (false, false);
        for user in now.difference(&before) {
            is_changed |= members.presence.enter(user, &self.options);
        }
        let grace = self.options.presence_grace;
        for user in before.difference(&now) {
            expires |= members.presence.leave(user, Instant::now(), grace);
        }
        if !now.is_empty() {
            members.elsewhere.insert(server, now);
        }
        if is_changed {
            self.schedule_announcement(&members);
        }
        if expires {
            tokio::spawn(Arc::clone(self).expire_presence());
        }
    }

    fn signalled(&self, signal: &Signal) {
        if self.pending.lock().has_sessions {
            self.signal(AT_ANOTHER_SERVER, signal.clone());
        }
    }
}

#[cfg(test)]
mod tests;
