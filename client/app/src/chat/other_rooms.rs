//! The rooms that the user is in besides the one that is shown: they stay joined on the same connection, and count what
//! is unread.

use std::{cell::Cell, rc::Rc};

use talkback_client::{Cursor, RoomName};

use super::{
    outbox::{Key, Outbox},
    reducer::{ConnectionStatus, Membership},
    roster::Roster,
    timeline::Timeline,
    typing::Typing,
    unread::Unread,
};

/// At most this many rooms stay joined besides the one that is shown; the one that was shown the longest ago is left
/// first. Each holds at most the rows that a list at its end has.
const MAX_OTHERS: usize = 16;

/// What the chat has of a room, whether it is shown or not.
#[derive(Debug)]
pub(crate) struct RoomState {
    pub(crate) membership: Membership,
    pub(crate) roster: Roster,
    pub(crate) typing: Typing,
    pub(crate) timeline: Timeline,
    pub(crate) outbox: Outbox,
    pub(crate) unread: Unread,
    /// Messages up to this offset are older than the join: history, which is not announced or counted as unread.
    pub(super) history_to: u64,
    /// Up to where the user has read it, in this tab or another one, when it was opened.
    pub(super) read: Option<Cursor>,
}

impl RoomState {
    pub(super) fn new(local_day: fn(f64) -> i64, last_key: Rc<Cell<Key>>) -> Self {
        Self {
            membership: Membership::Out,
            roster: Roster::default(),
            typing: Typing::default(),
            timeline: Timeline::new(local_day),
            outbox: Outbox::new(last_key),
            unread: Unread::default(),
            history_to: 0,
            read: None,
        }
    }

    pub(super) fn is_out(&self) -> bool {
        self.membership == Membership::Out
    }

    /// Up to where the user has read; none while something is unread, which stays unread.
    pub(super) fn read_cursor(&self) -> Option<Cursor> {
        self.timeline.cursor().filter(|_| self.unread.count == 0)
    }

    pub(super) fn connection_changed(&mut self, status: ConnectionStatus) {
        let (Membership::Joining(connection) | Membership::In { connection, .. }) = &mut self.membership else {
            return;
        };
        *connection = status;
        if status != ConnectionStatus::Open {
            // Signals of others do not arrive any more.
            self.typing.clear();
        }
    }

    /// The user is not in the room any more; what was read and what failed stays.
    pub(super) fn reset_to_out(&mut self) {
        self.membership = Membership::Out;
        self.roster = Roster::default();
        self.typing.clear();
        self.timeline.page_failed();
    }
}

/// In the order in which they were shown last.
#[derive(Debug, Default)]
pub(crate) struct OtherRooms(Vec<(RoomName, RoomState)>);

impl OtherRooms {
    /// Keeps a room that is shown no longer; returns one that is to be left for it.
    pub(super) fn keep(&mut self, name: RoomName, mut state: RoomState) -> Option<RoomName> {
        // From now on its end is not visible: what arrives is unread. It is shown again at its end.
        state.unread.scrolled(true);
        state.unread.visibility_changed(false);
        state.timeline.apply_bounds(true);
        self.0.push((name, state));
        (self.0.len() > MAX_OTHERS).then(|| self.0.remove(0).0)
    }

    /// Removes a room, to show it or to leave it.
    pub(super) fn take(&mut self, name: &RoomName) -> Option<RoomState> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    pub(super) fn get_mut(&mut self, name: &RoomName) -> Option<&mut RoomState> {
        let (_, state) = self.0.iter_mut().find(|(other, _)| other == name)?;
        Some(state)
    }

    pub(crate) fn get(&self, name: &RoomName) -> Option<&RoomState> {
        let (_, state) = self.0.iter().find(|(other, _)| other == name)?;
        Some(state)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RoomState> {
        self.0.iter_mut().map(|(_, state)| state)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RoomName, &RoomState)> {
        self.0.iter().map(|(name, state)| (name, state))
    }

    /// The names of those that the user is in, each in a line.
    pub(super) fn joined_text(&self) -> String {
        let joined = self.iter().filter(|(_, state)| !state.is_out());
        let names: Vec<&str> = joined.map(|(name, _)| &**name).collect();
        names.join("\n")
    }

    /// Whether the user is in one of them.
    pub(super) fn is_in_any(&self) -> bool {
        self.0.iter().any(|(_, state)| !state.is_out())
    }
}
