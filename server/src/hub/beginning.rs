//! What it costs to begin a room.

use std::time::Duration;

use talkback_protocol::RoomName;

use super::Hub;
use crate::limits::NewRooms;

/// What was taken off an address's budget of new rooms for a call that may begin one.
#[must_use = "a room that did not begin is paid for until this is settled"]
#[derive(Default)]
pub(crate) struct Beginning(Option<Paid>);

struct Paid {
    hub: Hub,
    room: RoomName,
    budget: NewRooms,
}

impl Hub {
    /// Takes a room that is not there off the budget of whoever is about to begin it. When that was carried out, it is to be
    /// [settled](Beginning::settle).
    ///
    /// # Errors
    /// When it may be tried again.
    pub(crate) fn may_begin(&self, room: &RoomName, budget: &NewRooms) -> Result<Beginning, Duration> {
        if self.is_there(room) {
            return Ok(Beginning::default());
        }
        budget.take()?;
        Ok(Beginning(Some(Paid {
            hub: self.clone(),
            room: room.clone(),
            budget: budget.clone(),
        })))
    }

    /// Whether it has messages or members.
    fn is_there(&self, room: &RoomName) -> bool {
        // Asked of the engine first: it has nearly every room that has members.
        self.0.engine.has(room) || self.0.rooms.lock().contains_key(room)
    }
}

impl Beginning {
    /// Gives back what was taken if no room began, because what should have begun it was refused. Without this call it stays taken, so
    /// that nobody gets rooms for nothing by not waiting for the answer.
    pub(crate) fn settle(self) {
        if let Self(Some(Paid { hub, room, budget })) = self
            && !hub.is_there(&room)
        {
            budget.give_back();
        }
    }
}
