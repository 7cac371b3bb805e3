//! The rooms of a connection.

use std::collections::VecDeque;

use talkback_protocol::{Epoch, Offset, RoomName, session::server::SubscriptionId};

use crate::{
    hub::{CatchUp, CatchUpError, SessionMember},
    socket::Sender,
};

/// The rooms that the client joined. The session bounds how many there are.
#[derive(Default)]
pub(super) struct Rooms {
    joined: Vec<Joined>,
    /// Rooms that catch up, in the order of their turns.
    behind: VecDeque<SubscriptionId>,
}

/// A room from its registration in the hub. Dropping it leaves the room.
pub(super) struct Joined {
    id: SubscriptionId,
    room: RoomName,
    member: SessionMember,
    progress: Progress,
}

/// How far a room is.
enum Progress {
    /// The log was asked where to begin.
    Starting,
    /// The session has the answer, with this epoch of the log.
    Started(Epoch),
    /// The client gets what the log has. Boxed, because few members are catching up.
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
            // Most sessions are in one room, and a vector that grows by itself begins with four places.
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

    /// The log's answer to a join is on its way to the session; `None` if the room was left meanwhile.
    pub(super) fn started(&mut self, id: SubscriptionId, epoch: Epoch) -> Option<&Joined> {
        let joined = self.joined.iter_mut().find(|joined| joined.id == id)?;
        joined.progress = Progress::Started(epoch);
        Some(joined)
    }

    /// The session has told the client of everything up to `after`.
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

    /// Sends a page to the room whose turn it is. Cancel safe.
    pub(super) async fn catch_up_next(&mut self, socket: &Sender) -> Result<(), CatchUpError> {
        let Some(id) = self.behind.front().copied() else {
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
        self.behind.pop_front();
        if !is_live {
            self.behind.push_back(id);
        }
        if self.behind.is_empty() {
            self.behind.shrink_to(0);
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, id: SubscriptionId) {
        self.joined.retain(|joined| joined.id != id);
        self.behind.retain(|behind| *behind != id);
    }
}
