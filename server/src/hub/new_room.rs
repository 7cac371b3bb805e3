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
    /// Takes a room that does not exist off the budget of the address that is about to create it. After the call that
    /// may create it, the charge is to be [settled](NewRoomCharge::settle).
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
    /// Refunds the charge if the room does not exist, because what should have created it was refused. Without this
    /// call the charge stays: a client that does not wait for the answer must not get rooms without a charge.
    pub(crate) fn settle(self) {
        if let Self(Some(Charged { hub, room, budget })) = self
            && !hub.exists(&room)
        {
            budget.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talkback_protocol::{Body, UserName};

    use super::{super::HubOptions, *};
    use crate::{
        engine::{Memory, MemoryOptions},
        limits::{AddressLimits, AddressOptions, Peer},
    };

    #[tokio::test(start_paused = true)]
    async fn a_room_that_has_messages_and_no_members_costs_nothing() {
        let hub = Hub::new(HubOptions::default(), Arc::new(Memory::new(MemoryOptions::default())));
        let peer = Peer {
            address: std::net::IpAddr::from([192, 0, 2, 1]).into(),
            limits: AddressLimits::new(AddressOptions {
                room_rate: 1,
                room_burst: 1,
                ..AddressOptions::small()
            }),
            counted: true,
        };
        let budget = peer.new_rooms();
        let user = UserName::parse("ann").unwrap();
        let [said, new] = ["said", "new"].map(|name| RoomName::parse(name).unwrap());
        drop(hub.publish(&said, &user, Body::text("hello")));
        for _ in 0..10 {
            assert!(hub.charge_new_room(&said, &budget).is_ok());
        }
        assert!(
            hub.charge_new_room(&new, &budget)
                .is_ok_and(|charge| charge.0.is_some())
        );
        assert!(hub.charge_new_room(&new, &budget).is_err());
        assert!(hub.charge_new_room(&said, &budget).is_ok());
    }
}
