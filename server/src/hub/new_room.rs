//! The charge for new rooms.

use std::time::Duration;

use talkback_protocol::RoomName;

use super::Hub;
use crate::limits::NewRooms;

/// A room that was taken off an address's budget of new rooms, for a call that may create it. The default is no charge.
#[must_use = "a room that was not created stays charged until this is settled"]
#[derive(Default)]
pub(crate) struct NewRoomCharge(Option<Charged>);

struct Charged {
    hub: Hub,
    room: RoomName,
    budget: NewRooms,
}

impl Hub {
    /// Takes a room that does not exist off the budget of the address that is about to create it. After the call that may create it, the
    /// charge is to be [settled](NewRoomCharge::settle).
    ///
    /// # Errors
    /// How long the address must wait before it may create a room.
    pub(crate) fn charge_new_room(&self, room: &RoomName, budget: &NewRooms) -> Result<NewRoomCharge, Duration> {
        if self.exists(room) {
            return Ok(NewRoomCharge::default());
        }
        budget.take()?;
        Ok(NewRoomCharge(Some(Charged {
            hub: self.clone(),
            room: room.clone(),
            budget: budget.clone(),
        })))
    }

    /// Whether the room has messages or members.
    fn exists(&self, room: &RoomName) -> bool {
        // The engine first: it has nearly every room that has members.
        self.0.engine.has(room) || self.0.rooms.lock().contains_key(room)
    }
}

impl NewRoomCharge {
    /// Refunds the charge if the room does not exist, because what should have created it was refused. Without this call the charge
    /// stays: a client that does not wait for the answer must not get rooms without a charge.
    pub(crate) fn settle(self) {
        if let Self(Some(Charged { hub, room, budget })) = self
            && !hub.exists(&room)
        {
            budget.give_back();
        }
    }
}
