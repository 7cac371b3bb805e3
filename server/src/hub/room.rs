//! One room: its members, and what is pending for them.
//!
//! Pending messages are delivered in [passes](super::pass): a pass delivers one block to one member after the other, in
//! slices, between which other tasks run. There is one pass at a time, so all members get everything in one order. A
//! member that joins or goes live between two slices gets what it does not have of the rest of the pass: a member that
//! is catching up nothing, a plain member the messages after it joined, a session member those after its cursor, which
//! [`Room::go_live`] ensures is not before this pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

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
    block::{Builder, frame_of_line},
    delivery_budget::DeliveryBudget,
    pass::{Pass, PlainRecipient, Progress, SessionRecipient, Slice},
    pending::Pending,
    presence::{Presence, PresenceSnapshot},
};
use crate::{
    engine::{Engine, Watch, Watcher},
    socket::Sender,
};

/// The bytes that a delivery is charged for besides the message's own: the rest of its line, and a share of a write.
const DELIVERY_OVERHEAD: usize = 128;

pub(super) struct Room {
    name: RoomName,
    options: HubOptions,
    /// The bytes that all senders of the room may cause to be delivered.
    budget: DeliveryBudget,
    /// Locked during one slice of a pass.
    members: Mutex<Members>,
    pending: Mutex<Pending>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Members {
    state: State,
    plain: Slab<PlainRecipient>,
    sessions: Slab<SessionRecipient>,
    presence: Presence,
    /// The pass under way.
    pass: Option<Pass>,
    /// The newest message whose delivery to session members has begun.
    delivered: Offset,
}

#[derive(Default)]
enum State {
    /// Before the first member.
    #[default]
    New,
    /// With members. Dropping the watch ends the subscription to the log.
    Open(#[expect(dead_code, reason = "it is kept for what dropping it does")] Watch),
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
}

impl Room {
    pub(super) fn new(name: RoomName, options: HubOptions) -> Self {
        Self {
            name,
            options,
            budget: DeliveryBudget::new(&options, Instant::now()),
            members: Mutex::default(),
            pending: Mutex::new(Pending::new(&options)),
            count: AtomicUsize::new(0),
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

    /// The number of users, and the newest list of them unless there are too many.
    pub(super) fn listed(&self) -> (u32, Option<MemberList>) {
        let snapshot = self.members.lock().presence.snapshot(Instant::now(), &self.options);
        (snapshot.users, snapshot.members)
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

    pub(super) fn add_plain(
        self: &Arc<Self>,
        engine: &dyn Engine,
        user: &UserName,
        socket: Sender,
    ) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&mut members, engine)?;
        // The member does not get earlier messages that are still pending.
        let after = self.pending.lock().newest;
        let key = members.plain.insert(PlainRecipient { socket, after });
        Ok(self.added(&mut members, Kind::Plain, key, user))
    }

    pub(super) fn add_session(
        self: &Arc<Self>,
        engine: &dyn Engine,
        user: &UserName,
        socket: Sender,
    ) -> Result<Member, NotAdded> {
        let mut members = self.members.lock();
        self.admit(&mut members, engine)?;
        let key = members.sessions.insert(SessionRecipient {
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

    /// Makes a session member live that has all messages up to `cursor`, unless there are later messages that no pass
    /// will deliver to it. The presence changes since it joined are sent to it first, at this place in its socket's
    /// queue.
    pub(super) fn go_live(&self, member: &Member, cursor: Offset, place: u64) -> GoLive {
        let mut members = self.members.lock();
        let missed = members.delivered.max(self.pending.lock().not_in_lines);
        if missed > cursor {
            return GoLive::Behind;
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

    /// Sends a signal to the other session members. It is not kept, and is dropped if too many signals are pending.
    pub(super) fn signal(self: &Arc<Self>, member: &Member, from: Author, body: Body) {
        let mut pending = self.pending.lock();
        if pending.signals.len() < self.options.signal_bytes {
            let room = self.name.clone();
            let signal = ServerLine::Signal(message::Signal { room, from, body });
            pending.signals.push_line(member.key, &signal);
            // A signal that makes the text too large is dropped, unless it is alone.
            if pending.signals.len() > self.options.sent_text_bytes {
                pending.signals.split_last();
            }
            self.schedule(&mut pending);
        }
    }

    fn members(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Checks that one more member may join. The first one opens the room.
    fn admit(self: &Arc<Self>, members: &mut Members, engine: &dyn Engine) -> Result<(), NotAdded> {
        if matches!(members.state, State::Closed) {
            return Err(NotAdded::Closed);
        }
        if self.members() >= self.options.members_per_room {
            return Err(NotAdded::Refused(JoinError::RoomFull));
        }
        if matches!(members.state, State::New) {
            let watch = engine.watch(&self.name, Arc::new(Arc::clone(self)));
            members.state = State::Open(watch.map_err(|refusal| NotAdded::Refused(JoinError::Log(refusal)))?);
        }
        Ok(())
    }

    fn added(self: &Arc<Self>, members: &mut Members, kind: Kind, key: usize, user: &UserName) -> Member {
        self.count_kinds(members);
        if members.presence.enter(user, &self.options) {
            self.schedule_announcement(members);
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
        drop(members);
        // Outside of the lock, because dropping the watch locks the log.
        drop(state);
        is_closed
    }

    fn count_kinds(&self, members: &Members) {
        let mut pending = self.pending.lock();
        pending.has_plain = !members.plain.is_empty();
        pending.has_sessions = !members.sessions.is_empty();
        self.count
            .store(members.plain.len() + members.sessions.len(), Ordering::Relaxed);
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
        let mut pending = self.pending.lock();
        if let Some(line) = line
            && pending.has_sessions
        {
            pending.lines.push(now, |lines| lines.push(None, &line));
            self.schedule(&mut pending);
        }
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
        let Members {
            plain,
            sessions,
            pass: under_way,
            delivered,
            ..
        } = &mut *members;
        if under_way.is_none() {
            *under_way = self.pending.lock().next_pass();
            let newest = under_way.as_ref().and_then(Pass::newest);
            *delivered = newest.map_or(*delivered, |newest| newest.max(*delivered));
        }
        let Some(pass) = under_way else { return false };
        if !pass.deliver(plain, sessions, &mut Slice::new(&self.options)) {
            return true;
        }
        *under_way = None;
        self.pending.lock().end_pass()
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

#[cfg(test)]
mod tests;
