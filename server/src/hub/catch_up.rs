//! How a session member gets from its cursor to what is delivered now, with no gap and no double.
//!
//! It is registered first and gets nothing. It reads the log, page by page and as fast as its client takes them, to the end. Then, with
//! the members locked, either nothing was delivered that it has not read, and from here on it gets what follows its last message, even
//! if that is in the middle of what is delivered next; or something was, and it reads again.

use std::sync::Arc;

use talkback_protocol::{
    Body, Cursor, Epoch, Offset, UserName,
    message::{Author, Message},
    session::server::Refusal,
};

use tokio::time::Instant;

use super::{Place, block};
use crate::{
    engine::{Limit, Page, Range},
    socket::Sender,
};

/// How much of the log goes to a client as one frame.
const PAGE: Limit = Limit {
    messages: 256,
    bytes: 64 * 1024,
};
/// How many messages the first frame has; each further one has twice as many. A client has nothing of a frame that does not arrive
/// whole, and over connections that never last long enough for a large one it would have nothing for ever.
const FIRST_PAGE: usize = 16;

/// A session's place in a room. Dropping it leaves the room.
pub(crate) struct SessionMember {
    place: Place,
    users: Vec<UserName>,
    version: u64,
}

/// Where a member begins.
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    /// The last message before those that it gets.
    pub(crate) after: Offset,
    /// Whether no message is missing between its cursor and those that it gets.
    pub(crate) recovered: bool,
    pub(crate) users: Vec<UserName>,
}

impl SessionMember {
    pub(super) fn new(place: Place) -> Self {
        let (users, version) = place.room.presence();
        Self { place, users, version }
    }

    /// Finds out where to begin: behind `since`, or else so that the newest `history` messages follow.
    pub(crate) async fn start(&self, since: Option<&Cursor>, history: u64) -> Result<Start, Refusal> {
        let page = self.read(Range::Newest, 0).await?;
        let recovered = since.is_none_or(|since| since.epoch == page.epoch && page.has_all_after(since.offset));
        let newest = page.head.get().saturating_sub(history).max(page.floor.get());
        let newest = Offset::new(newest).unwrap_or(page.floor);
        Ok(Start {
            after: since.filter(|_| recovered).map_or(newest, |since| since.offset),
            epoch: page.epoch,
            head: page.head,
            recovered,
            users: self.users.clone(),
        })
    }

    /// Sends everything after `cursor` to the socket, waiting while the client reads slowly, until the member gets what is delivered.
    pub(crate) async fn catch_up(
        &self,
        mut cursor: Offset,
        epoch: &Epoch,
        socket: &Sender,
    ) -> Result<(), CatchUpError> {
        let mut messages = FIRST_PAGE;
        loop {
            let page = self
                .read(Range::After(cursor), messages)
                .await
                .map_err(CatchUpError::Refused)?;
            messages = PAGE.messages.min(messages * 2);
            // While it waited for the client, the log may have dropped what comes next.
            if page.epoch != *epoch || page.floor > cursor {
                return Err(CatchUpError::Overtaken);
            }
            if let Some(last) = page.messages.last() {
                cursor = last.offset;
                send(&page.messages, socket).await.map_err(|()| CatchUpError::Closed)?;
            }
            let is_end = cursor >= page.head;
            if is_end
                && self
                    .place
                    .room
                    .go_live(&self.place.member, cursor, &self.users, self.version)
            {
                return Ok(());
            }
        }
    }

    async fn read(&self, range: Range, messages: usize) -> Result<Page, Refusal> {
        let limit = Limit { messages, ..PAGE };
        self.place.hub.engine().read(self.place.room.name(), range, limit).await
    }

    /// Charges the room's budget of deliveries for a message of so many bytes. If the room is over it: until when its sender should
    /// pause.
    #[expect(dead_code, reason = "sessions pause once the session has an output for it")]
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        self.place.room.charge(bytes, now)
    }

    /// Tells the other members something that is not kept.
    pub(crate) fn signal(&self, from: Author, body: Body) {
        self.place.room.signal(&self.place.member, from, body);
    }
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

async fn send(messages: &[Arc<Message>], socket: &Sender) -> Result<(), ()> {
    match block::frame_of(messages) {
        Some(frame) => socket.shared().send_frames(&frame).await,
        None => Ok(()),
    }
}
