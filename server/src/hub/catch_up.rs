//! How a session member gets from its cursor to what is delivered now, with no gap and no double.
//!
//! It is registered first and gets nothing. It reads the log to the end, a page at a time and as fast as its client takes them; between
//! two pages the connection does its other work, and its other rooms have their turn. Then, with the members locked, either nothing was
//! delivered that it has not read, and from here on it gets what follows its last message, even if that is in the middle of what is
//! delivered next; or something was, and it reads again.

use bytes::Bytes;
use futures_util::FutureExt;
use talkback_protocol::{Body, Cursor, Epoch, Offset, message::Author, session::server::Refusal};
use tokio::time::Instant;

use super::{Place, block, presence::Told, room::GoneLive};
use crate::{
    engine::{Answer, Limit, Page, Range},
    socket::Sender,
};

/// How much of the log goes to a client as one frame. An answer to the client waits behind one of these at most, besides what the
/// system holds for it. What stands in a line beside the body, 600 bytes with the longest names, is bounded by the number of messages:
/// so it is a text as the protocol allows it.
const PAGE: Limit = Limit {
    messages: 256,
    bytes: 32 * 1024,
};
/// How many messages the first frame has; each further one has twice as many. A client has nothing of a frame that does not arrive
/// whole, and over connections that never last long enough for a large one it would have nothing for ever.
const FIRST_PAGE: usize = 16;

/// A session's place in a room. Dropping it leaves the room.
pub(crate) struct SessionMember {
    place: Place,
}

/// Where a member begins.
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    /// The last message before those that it gets.
    pub(crate) after: Offset,
    /// Whether no message is missing between its cursor and those that it gets.
    pub(crate) recovered: bool,
    /// Where this life of the log parted from the one before.
    pub(crate) fork: Option<Cursor>,
}

impl Start {
    /// Behind `since`, or else so that the newest `history` messages follow.
    fn new(page: Page, since: Option<&Cursor>, history: u64) -> Self {
        let recovered = since.is_none_or(|since| page.has_all_since(since));
        let newest = page.head.get().saturating_sub(history).max(page.floor.get());
        let newest = Offset::new(newest).unwrap_or(page.floor);
        Self {
            after: since.filter(|_| recovered).map_or(newest, |since| since.offset),
            epoch: page.epoch,
            head: page.head,
            recovered,
            fork: page.fork,
        }
    }
}

impl SessionMember {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }

    /// Finds out where to begin.
    pub(crate) fn start(&self, since: Option<Cursor>, history: u32) -> Answer<Result<Start, Refusal>> {
        let begin =
            move |page: Result<Page, Refusal>| page.map(|page| Start::new(page, since.as_ref(), history.into()));
        match self.read(Range::Newest, 0) {
            Answer::Now(page) => Answer::Now(begin(page)),
            later => Answer::Later(later.map(begin).boxed()),
        }
    }

    /// What it is told of the users when it begins.
    pub(crate) fn told(&self) -> Told {
        self.place.room.told(&self.place.member)
    }

    /// See [`Room::go_live`](super::room::Room::go_live).
    pub(super) fn go_live(&self, cursor: Offset, place: u64) -> GoneLive {
        self.place.room.go_live(&self.place.member, cursor, place)
    }

    fn read(&self, range: Range, messages: usize) -> Answer<Result<Page, Refusal>> {
        let limit = Limit { messages, ..PAGE };
        self.place.hub.engine().read(self.place.room.name(), range, limit)
    }

    /// Tells the other members something that is not kept.
    pub(crate) fn signal(&self, from: Author, body: Body) {
        self.place.room.signal(&self.place.member, from, body);
    }

    /// Charges the room's budget of deliveries for a message of so many bytes. If the room is over it: until when its sender should
    /// pause.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        self.place.room.charge(bytes, now)
    }
}

/// How far a member is that does not get yet what is delivered.
pub(crate) struct CatchUp {
    epoch: Epoch,
    /// The last message that the socket has.
    cursor: Offset,
    /// How many messages the next page has at most.
    messages: usize,
    next: Next,
}

enum Next {
    Read,
    Reading(Answer<Result<Page, Refusal>>),
    /// What to send, its last message, and the place in the socket's queue that it had when it began to wait.
    Send(Bytes, Offset, u64),
    /// The client has all of the log; the place is that of what it is told before it gets what is delivered.
    GoLive(u64),
}

/// Why a member cannot go on.
pub(crate) enum CatchUpError {
    /// The log cannot be read.
    Refused(Refusal),
    /// The log dropped messages before the member had them: it must begin anew.
    Overtaken,
    /// The socket is closed.
    Closed,
}

impl CatchUp {
    pub(crate) fn new(epoch: Epoch, cursor: Offset) -> Self {
        Self {
            epoch,
            cursor,
            messages: FIRST_PAGE,
            next: Next::Read,
        }
    }

    /// Sends the next page of what follows to the socket, once the client has taken what it was sent before. Returns whether the
    /// member now gets what is delivered.
    ///
    /// Cancel safe: the next call goes on.
    pub(crate) async fn step(&mut self, member: &SessionMember, socket: &Sender) -> Result<bool, CatchUpError> {
        loop {
            match &mut self.next {
                Next::Read => self.next = Next::Reading(member.read(Range::After(self.cursor), self.messages)),
                Next::Reading(page) => {
                    let page = page.await;
                    self.next = Next::Read;
                    let page = page.map_err(CatchUpError::Refused)?;
                    self.messages = PAGE.messages.min(self.messages * 2);
                    // While it waited for the client, the log may have dropped what comes next.
                    if page.epoch != self.epoch || page.floor > self.cursor {
                        return Err(CatchUpError::Overtaken);
                    }
                    let Some((last, frame)) = page.messages.last().zip(block::frame_of(&page.messages)) else {
                        self.next = Next::GoLive(socket.shared().place());
                        continue;
                    };
                    self.next = Next::Send(frame, last.offset, socket.shared().place());
                    if last.offset >= page.head {
                        // Sent, it may be the end; if it is not, the next turn finds out.
                        self.send(socket).await?;
                        self.next = Next::GoLive(socket.shared().place());
                    }
                }
                Next::Send(..) => {
                    self.send(socket).await?;
                    return Ok(false);
                }
                Next::GoLive(place) => match member.go_live(self.cursor, *place) {
                    GoneLive::Live => return Ok(true),
                    GoneLive::Behind => {
                        self.next = Next::Read;
                        return Ok(false);
                    }
                    GoneLive::Full => {
                        let ready = socket.shared().ready_at(*place).await;
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
            self.cursor = *last;
            self.next = Next::Read;
        }
        Ok(())
    }
}
