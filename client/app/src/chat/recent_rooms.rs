//! The rooms that the user has opened: the list at the left, as it is kept in the browser.

use talkback_client::RoomName;

/// At most this many rooms are kept; beyond it the one that was opened first is dropped. A list that is much longer
/// than a screen is no help.
const MAX_ROOMS: usize = 32;

/// What stands behind the name of a muted room in the kept text. No name has a control character.
const MUTED: &str = "\tmuted";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecentRoom {
    pub(crate) name: RoomName,
    /// Its messages do not count as unread in title and icon, unless they mention the user.
    pub(crate) is_muted: bool,
}

/// In the order in which they were first opened, so that no row moves when a room is opened again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecentRooms(Vec<RecentRoom>);

impl RecentRooms {
    /// Reads what [`RecentRooms::to_text`] wrote; ignores lines that are no names.
    pub(super) fn parse(text: &str) -> Self {
        let mut rooms = Self::default();
        for line in text.lines() {
            let unmuted = line.strip_suffix(MUTED);
            if let Ok(name) = RoomName::parse(unmuted.unwrap_or(line)) {
                rooms.add(name.clone());
                if unmuted.is_some() && !rooms.is_muted(&name) {
                    rooms.toggle_mute(&name);
                }
            }
        }
        rooms
    }

    /// A line for each room.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for room in &self.0 {
            text += &room.name;
            text += if room.is_muted { MUTED } else { "" };
            text += "\n";
        }
        text
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RecentRoom> {
        self.0.iter()
    }

    pub(super) fn contains(&self, name: &RoomName) -> bool {
        self.0.iter().any(|room| room.name == *name)
    }

    pub(super) fn is_muted(&self, name: &RoomName) -> bool {
        self.0.iter().any(|room| room.name == *name && room.is_muted)
    }

    pub(super) fn add(&mut self, name: RoomName) {
        if self.contains(&name) {
            return;
        }
        if self.0.len() == MAX_ROOMS {
            self.0.remove(0);
        }
        self.0.push(RecentRoom { name, is_muted: false });
    }

    pub(super) fn remove(&mut self, name: &RoomName) {
        self.0.retain(|room| room.name != *name);
    }

    pub(super) fn toggle_mute(&mut self, name: &RoomName) {
        if let Some(room) = self.0.iter_mut().find(|room| room.name == *name) {
            room.is_muted = !room.is_muted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn rooms_keep_their_order_and_are_kept_as_a_text() {
        let mut rooms = RecentRooms::default();
        for name in ["lobby", "大厅", "lobby", "c"] {
            rooms.add(room(name));
        }
        rooms.toggle_mute(&room("c"));
        assert_eq!(rooms.to_text(), "lobby\n大厅\nc\tmuted\n");
        rooms.remove(&room("大厅"));
        assert_eq!(RecentRooms::parse(&rooms.to_text()), rooms);
        assert_eq!(
            RecentRooms::parse("a\n\n\u{1}\na\nb\tmuted\nb\tmuted").to_text(),
            "a\nb\tmuted\n"
        );
    }

    #[test]
    fn the_room_that_was_opened_first_makes_place_for_a_new_one() {
        let mut rooms = RecentRooms::default();
        for number in 0..=MAX_ROOMS {
            rooms.add(room(&number.to_string()));
        }
        assert_eq!(rooms.iter().count(), MAX_ROOMS);
        assert_eq!(rooms.iter().next().map(|first| &first.name), Some(&room("1")));
    }
}
