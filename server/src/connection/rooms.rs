//! The rooms of a connection.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use talkback_protocol::{Epoch, Offset, RoomName, session::server::SubscriptionId};

use crate::{
    hub::{CatchUp, CatchUpError, SessionMember},
    socket::Sender,
};

/// The most rooms of one session that wait for the log at the same time, because each answer is a page in memory.
const READS_AT_ONCE: usize = 4;

/// The rooms that the client joined. The session bounds their number.
#[derive(Default)]
pub(super) struct Rooms {
    joined: Vec<Joined>,
    /// Rooms that catch up. The first one is next.
    behind: VecDeque<SubscriptionId>,
}

/// A room from its registration in the hub. Dropping it leaves the room.
pub(super) struct Joined {
    id: SubscriptionId,
    room: RoomName,
    member: SessionMember,
    progress: Progress,
}

/// The state of a joined room.
enum Progress {
    /// The log has not answered yet where to begin.
    Starting,
    /// The log has answered with this epoch, and the session has the answer.
    Started(Epoch),
    /// Messages are sent from the log. Boxed, because few members are catching up.
    CatchingUp(Box<CatchUp>),
    /// The hub writes to the socket.
    Live,
}

impl Joined {
    pub(super) fn member(&self) -> &SessionMember {
        &self.member
    }
}

impl Rooms {
    pub(super) fn add(&mut self, id: SubscriptionId, room: RoomName, member: SessionMember) {
        if self.joined.is_empty() {
            // Most sessions are in one room, and a vector that grows by itself begins with a capacity of four.
            self.joined.reserve_exact(1);
        }
        self.joined.push(Joined {
            id,
            room,
            member,
            progress: Progress::Starting,
        });
    }

    pub(super) fn find(&self, room: &RoomName) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.room == *room)
    }

    /// Notes the log's answer to a join. `None` if the client left the room meanwhile.
    pub(super) fn started(&mut self, id: SubscriptionId, epoch: Epoch) -> Option<&Joined> {
        let joined = self.joined.iter_mut().find(|joined| joined.id == id)?;
        joined.progress = Progress::Started(epoch);
        Some(joined)
    }

    /// Begins to send the messages after `after`, which the session has announced to the client.
    pub(super) fn catch_up(&mut self, id: SubscriptionId, after: Offset) {
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.id == id)
            && let Progress::Started(epoch) = &joined.progress
        {
            joined.progress = Progress::CatchingUp(Box::new(CatchUp::new(&joined.member, epoch.clone(), after)));
            self.behind.push_back(id);
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Sends the next messages of a room that catches up, which is the last one then: of the first one, or while that
    /// waits for the log, of one after it. Cancel safe.
    pub(super) async fn catch_up_next(&mut self, socket: &Sender) -> Result<(), CatchUpError> {
        let index = std::future::poll_fn(|cx| self.poll_read(cx)).await;
        let Some(id) = self.behind.get(index).copied() else {
            return Ok(());
        };
        let mut is_live = true;
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.id == id) {
            if let Progress::CatchingUp(catch_up) = &mut joined.progress {
                is_live = catch_up.step(&joined.member, socket).await?;
            }
            if is_live {
                joined.progress = Progress::Live;
            }
        }
        self.behind.remove(index);
        if !is_live {
            self.behind.push_back(id);
        }
        if self.behind.is_empty() {
            self.behind.shrink_to(0);
        }
        Ok(())
    }

    /// The first of the rooms that catch up which does not wait for the log.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        for (index, id) in self.behind.iter().take(READS_AT_ONCE).enumerate() {
            let joined = self.joined.iter_mut().find(|joined| joined.id == *id);
            if let Some(joined) = joined
                && let Progress::CatchingUp(catch_up) = &mut joined.progress
                && catch_up.poll_read(&joined.member, cx).is_pending()
            {
                continue;
            }
            return Poll::Ready(index);
        }
        Poll::Pending
    }

    pub(super) fn leave(&mut self, id: SubscriptionId) {
        self.joined.retain(|joined| joined.id != id);
        self.behind.retain(|behind| *behind != id);
    }
}
