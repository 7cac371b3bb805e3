//! Where the log has own messages, to tell which of them it lost.

use std::collections::VecDeque;

use crate::{Cursor, Epoch, Offset, RoomName};

/// The newest places, over all rooms.
#[derive(Debug)]
pub(super) struct Acknowledged {
    max: usize,
    places: VecDeque<(RoomName, Epoch, Offset)>,
}

impl Acknowledged {
    pub(super) fn new(max: usize) -> Self {
        let places = VecDeque::new();
        Self { max, places }
    }

    pub(super) fn add(&mut self, room: &RoomName, epoch: &Epoch, offset: Offset) {
        if self.places.len() >= self.max {
            self.places.pop_front();
        }
        if self.max > 0 {
            self.places.push_back((room.clone(), epoch.clone(), offset));
        }
    }

    /// The log of a room has this epoch now, and went on from `fork` if it says so. Gives the places beyond, ascending, and forgets
    /// those of all other lives.
    pub(super) fn entered(&mut self, room: &RoomName, epoch: &Epoch, fork: Option<&Cursor>) -> Vec<Offset> {
        let mut lost = Vec::new();
        self.places.retain(|(name, life, offset)| {
            if name != room || life == epoch {
                return true;
            }
            if fork.is_some_and(|fork| fork.epoch == *life && *offset > fork.offset) {
                lost.push(*offset);
            }
            false
        });
        lost.sort_unstable();
        lost
    }
}
