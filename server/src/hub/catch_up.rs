//! How a session member catches up from its cursor to the live messages, without a gap and without duplicates.
//!
//! The member is added to the room first and gets nothing from it. It reads the log to the end in batches, as fast as
//! its client takes them; between two batches the connection does its other work and serves its other rooms. Then, with
//! the members locked, there are two cases. If the member has read all messages that passes have delivered, it is live:
//! it gets the messages after its last one, which may begin in the middle of the next block. Otherwise it reads again.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use talkback_protocol::{
    Body, Cursor, Epoch, Offset,
    message::{Author, Signal},
    session::server::{FoundMembers, Refusal},
};
use tokio::time::Instant;

use super::{HubOptions, MemberHandle, block, presence::PresenceSnapshot, room::GoLive};
use crate::{
    engine::{Answer, Limit, Page, Range},
    socket::Sender,
};

/// A session that is a member of a room. Dropping it leaves the room.
pub(crate) struct SessionMember {
    handle: MemberHandle,
}

/// Where a member begins to read the log.
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    /// The last message before those that the member gets.
    pub(crate) after: Offset,
    /// Whether the member gets all messages after its cursor.
    pub(crate) recovered: bool,
    /// That of the cursor's epoch: see [`Page::fork_of`].
    pub(crate) fork: Option<Cursor>,
}

impl Start {
    /// After `since`; if messages after it are missing, or without it, before the newest `history` messages.
    fn new(page: Page, since: Option<&Cursor>, history: u64) -> Self {
        let recovered = since.is_none_or(|since| page.has_all_since(since));
        let newest = page.head.get().saturating_sub(history).max(page.floor.get());
        let newest = Offset::new(newest).unwrap_or(page.floor);
        let fork = match since {
            Some(since) => page.fork_of(&since.epoch),
            None => page.forks.first(),
        };
        Self {
            fork: fork.cloned(),
            after: since.filter(|_| recovered).map_or(newest, |since| since.offset),
            epoch: page.epoch,
            head: page.head,
            recovered,
        }
    }
}

impl SessionMember {
    pub(super) fn new(handle: MemberHandle) -> Self {
        Self { handle }
    }

    /// Finds where to begin to read the log.
    pub(crate) fn start(&self, since: Option<Cursor>, history: u32) -> Answer<Result<Start, Refusal>> {
        let begin =
            move |page: Result<Page, Refusal>| page.map(|page| Start::new(page, since.as_ref(), history.into()));
        let page = match self.handle.open().at_once() {
            Ok(Ok(())) => self.read(Range::Newest, 0),
            Ok(Err(refusal)) => Answer::now(Err(refusal)),
            Err(opening) => {
                // Read after the log is watched, so that no message is missed in between.
                let (hub, room) = (self.handle.hub.clone(), self.handle.room.name().clone());
                let limit = self.limit(0);
                let read = async move {
                    opening.await?;
                    hub.engine().read(&room, Range::Newest, limit).await
                };
                Answer::later(read.boxed())
            }
        };
        match page.at_once() {
            Ok(page) => Answer::now(begin(page)),
            Err(later) => Answer::later(later.map(begin).boxed()),
        }
    }

    /// The users of the room, for `joined`. Later changes follow when the member goes live.
    pub(crate) fn presence(&self) -> PresenceSnapshot {
        self.handle.room.snapshot_for(&self.handle.member)
    }

    /// Users of the room whose names have this part, as [`names::folded`] makes it: at most 50, and they may lack those who
    /// joined last.
    pub(crate) fn find(&self, part: &str) -> FoundMembers {
        self.handle.room.find(part)
    }

    /// Sends the other session members a signal, also those at other servers. It is not kept.
    pub(crate) fn signal(&self, from: Author, body: Body) {
        let room = self.handle.room.name().clone();
        let signal = Signal { room, from, body };
        self.handle.hub.engine().signal(&signal);
        self.handle.room.signal(self.handle.member.key, signal);
    }

    /// Charges the room's budget of deliveries for a message of so many bytes. Returns until when its sender should
    /// pause, if it should.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        self.handle.room.charge(bytes, now)
    }

    /// See [`Room::go_live`](super::room::Room::go_live).
    pub(super) fn go_live(&self, epoch: &Epoch, cursor: Offset, place: u64) -> GoLive {
        self.handle.room.go_live(&self.handle.member, epoch, cursor, place)
    }

    fn read(&self, range: Range, messages: usize) -> Answer<Result<Page, Refusal>> {
        let limit = self.limit(messages);
        self.handle.hub.engine().read(self.handle.room.name(), range, limit)
    }

    fn limit(&self, messages: usize) -> Limit {
        let bytes = self.options().catch_up_bytes;
        Limit { messages, bytes }
    }

    fn options(&self) -> &HubOptions {
        self.handle.room.options()
    }
}

/// The progress of a member that is not live yet.
pub(crate) struct CatchUp {
    epoch: Epoch,
    /// The last message that is in the socket's queue.
    cursor: Offset,
    /// The most messages of the next batch.
    messages: usize,
    next: Next,
}

enum Next {
    Read,
    Reading(Answer<Result<Page, Refusal>>),
    /// The log's answer.
    Page(Result<Page, Refusal>),
    /// The frame to send, its last message, and its place in the socket's queue.
    Send(Bytes, Offset, u64),
    /// The client has all messages of the log; the presence changes have this place in the socket's queue.
    GoLive(u64),
}

/// Why a member cannot catch up.
pub(crate) enum CatchUpError {
    /// The log cannot be read.
    Refused(Refusal),
    /// The log dropped messages before the member read them, or began anew: it must join again.
    Overtaken,
    /// The socket is closed.
    Closed,
}

impl CatchUp {
    pub(crate) fn new(member: &SessionMember, epoch: Epoch, cursor: Offset) -> Self {
        Self {
            epoch,
            cursor,
            messages: member.options().catch_up_first_messages.max(1),
            next: Next::Read,
        }
    }

    /// Waits until there is something to send: for the log's answer, if the next batch is not read yet.
    pub(crate) fn poll_read(&mut self, member: &SessionMember, cx: &mut Context<'_>) -> Poll<()> {
        if let Next::Read = self.next {
            self.next = Next::Reading(member.read(Range::After(self.cursor), self.messages));
        }
        if let Next::Reading(page) = &mut self.next {
            self.next = Next::Page(ready!(page.poll_unpin(cx)));
        }
        Poll::Ready(())
    }

    /// Sends the next batch of messages to the socket, after the client has taken the one before. Returns whether the
    /// member is live now.
    ///
    /// Cancel safe: the next call continues.
    pub(crate) async fn step(&mut self, member: &SessionMember, socket: &Sender) -> Result<bool, CatchUpError> {
        loop {
            std::future::poll_fn(|cx| self.poll_read(member, cx)).await;
            match std::mem::replace(&mut self.next, Next::Read) {
                Next::Read | Next::Reading(_) => {}
                Next::Page(page) => {
                    let page = page.map_err(CatchUpError::Refused)?;
                    self.messages = member.options().catch_up_messages.min(self.messages * 2).max(1);
                    // While the client took the batch before, the log may have dropped the next messages.
                    if page.epoch != self.epoch || page.floor > self.cursor {
                        return Err(CatchUpError::Overtaken);
                    }
                    let Some((last, frame)) = page.messages.last().zip(block::frame_of_messages(&page.messages)) else {
                        self.next = Next::GoLive(socket.shared().place());
                        continue;
                    };
                    self.next = Next::Send(frame, last.offset, socket.shared().place());
                    if last.offset >= page.head {
                        // This may be the end of the log; if it is not, `go_live` finds out.
                        self.send(socket).await?;
                        self.next = Next::GoLive(socket.shared().place());
                    }
                }
                send @ Next::Send(..) => {
                    self.next = send;
                    self.send(socket).await?;
                    return Ok(false);
                }
                Next::GoLive(place) => match member.go_live(&self.epoch, self.cursor, place) {
                    GoLive::Live => return Ok(true),
                    GoLive::OtherEpoch => return Err(CatchUpError::Overtaken),
                    GoLive::Behind => return Ok(false),
                    GoLive::QueueFull => {
                        self.next = Next::GoLive(place);
                        let ready = socket.shared().ready_at(place).await;
                        ready.map_err(|()| CatchUpError::Closed)?;
                    }
                },
            }
        }
    }

    async fn send(&mut self, socket: &Sender) -> Result<(), CatchUpError> {
        if let Next::Send(frame, last, place) = &self.next {
            socket
                .shared()
                .send_frames_at(*place, frame)
                .await
                .map_err(|()| CatchUpError::Closed)?;
            let messages = last.get().saturating_sub(self.cursor.get());
            socket.shared().sockets().metrics().messages_delivered.add(messages);
            self.cursor = *last;
            self.next = Next::Read;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talkback_protocol::{RoomName, UserName};

    use super::*;
    use crate::{
        engine::{Memory, MemoryOptions},
        hub::Hub,
        socket::{SocketOptions, Sockets},
    };

    /// How many of 40 messages with 1000 bytes each are in each text frame to a member that catches up.
    async fn messages_of_each_frame(options: HubOptions) -> Vec<usize> {
        let hub = Hub::new(options, Arc::new(Memory::new(MemoryOptions::default())));
        let (room, user) = (RoomName::parse("lobby").unwrap(), UserName::parse("ann").unwrap());
        let text = "x".repeat(1000);
        for _ in 0..40 {
            drop(hub.publish(&room, &user, Body::text(&text)));
        }
        let socket = Sender::without_task(&Sockets::new(SocketOptions::default()));
        let member = hub.join_session(&room, &user, socket.clone()).unwrap();
        let epoch = member.start(None, 0).await.unwrap().epoch;
        let mut catch_up = CatchUp::new(&member, epoch, Offset::ZERO);
        let (mut frames, mut is_live) = (Vec::new(), false);
        while !is_live {
            is_live = catch_up.step(&member, &socket).await.ok().unwrap();
            let sent = socket.shared().waiting_bytes();
            let messages = String::from_utf8_lossy(&sent).matches(&text).count();
            frames.push(messages - frames.iter().sum::<usize>());
        }
        assert_eq!(frames.iter().sum::<usize>(), 40);
        frames
    }

    #[tokio::test]
    async fn a_member_whose_next_messages_were_dropped_from_the_log_cannot_catch_up() {
        let memory = MemoryOptions {
            messages: 10,
            ..MemoryOptions::default()
        };
        let options = HubOptions {
            catch_up_first_messages: 3,
            ..HubOptions::default()
        };
        let hub = Hub::new(options, Arc::new(Memory::new(memory)));
        let (room, user) = (RoomName::parse("lobby").unwrap(), UserName::parse("ann").unwrap());
        let say = |count| (0..count).for_each(|_| drop(hub.publish(&room, &user, Body::text("x"))));
        say(10);
        let socket = Sender::without_task(&Sockets::new(SocketOptions::default()));
        let member = hub.join_session(&room, &user, socket.clone()).unwrap();
        let epoch = member.start(None, 0).await.unwrap().epoch;
        let mut catch_up = CatchUp::new(&member, epoch, Offset::ZERO);
        assert!(matches!(catch_up.step(&member, &socket).await, Ok(false)));
        // The log keeps the messages from the fourth on, and the member has three.
        say(3);
        assert!(matches!(catch_up.step(&member, &socket).await, Ok(false)));
        say(10);
        let step = catch_up.step(&member, &socket).await;
        assert!(matches!(step, Err(CatchUpError::Overtaken)));
    }

    #[tokio::test]
    async fn each_frame_has_twice_as_many_messages_as_the_one_before_up_to_the_options() {
        let options = HubOptions {
            catch_up_first_messages: 3,
            catch_up_messages: 20,
            catch_up_bytes: usize::MAX,
            ..HubOptions::default()
        };
        assert_eq!(messages_of_each_frame(options).await, [3, 6, 12, 19]);
        let smaller = HubOptions {
            catch_up_messages: 10,
            ..options
        };
        assert_eq!(messages_of_each_frame(smaller).await, [3, 6, 10, 10, 10, 1]);
        let fewer_bytes = HubOptions {
            catch_up_bytes: 10_000,
            ..options
        };
        let frames = messages_of_each_frame(fewer_bytes).await;
        assert_eq!(frames[..2], [3, 6]);
        assert!(frames.iter().all(|messages| messages * 1000 <= 10_000), "{frames:?}");
    }
}
