//! Where the log has own messages, to report those that it lost.

use std::collections::VecDeque;

use crate::{Cursor, Epoch, Offset, RoomName};

/// The newest places, over all rooms. At most [`ClientOptions::acknowledged`](super::ClientOptions::acknowledged).
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

    /// The log of a room has this epoch now, forked at `fork` if that is given. Returns the offsets after the fork,
    /// ascending, and forgets all places in other epochs.
    pub(super) fn entered(&mut self, room: &RoomName, epoch: &Epoch, fork: Option<&Cursor>) -> Vec<Offset> {
        let mut lost = Vec::new();
        self.places.retain(|(name, former, offset)| {
            if name != room || former == epoch {
                return true;
            }
            if fork.is_some_and(|fork| fork.epoch == *former && *offset > fork.offset) {
                // Already sorted, as a rule. A sort of the library's would be 3 KB of code.
                lost.insert(lost.partition_point(|before| before < offset), *offset);
            }
            false
        });
        lost
    }
}
