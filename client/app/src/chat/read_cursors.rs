//! Up to where the user has read each room, as it is kept in the browser for all tabs.

use talkback_client::{Cursor, RoomName};

/// At most this many rooms are kept; the one that was read the longest ago is dropped first.
const MAX_ROOMS: usize = 64;

/// The room that was read last is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadCursors(Vec<(RoomName, Cursor)>);

impl ReadCursors {
    /// Reads what [`ReadCursors::to_text`] wrote; ignores other lines.
    pub(super) fn parse(text: &str) -> Self {
        let mut cursors = Self::default();
        for line in text.lines() {
            if let Some((room, cursor)) = line.split_once('\t')
                && let (Ok(room), Ok(cursor)) = (RoomName::parse(room), cursor.parse())
            {
                cursors.set(room, cursor);
            }
        }
        cursors
    }

    /// A line for each room.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (room, cursor) in &self.0 {
            text += &format!("{room}\t{cursor}\n");
        }
        text
    }

    pub(super) fn get(&self, room: &RoomName) -> Option<&Cursor> {
        let (_, cursor) = self.0.iter().find(|(other, _)| other == room)?;
        Some(cursor)
    }

    /// How many messages of a room are unread whose log ends at this cursor; none of a room or a log of which nothing was read.
    pub(super) fn unread(&self, room: &RoomName, head: &Cursor) -> usize {
        let read = self.get(room).filter(|read| read.epoch == head.epoch);
        let unread = read.map(|read| head.offset.get().saturating_sub(read.offset.get()));
        usize::try_from(unread.unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// The log is shorter than what was read of it.
    pub(super) fn lower(&mut self, room: &RoomName, cursor: &Cursor) {
        for (other, before) in &mut self.0 {
            if other == room && before.epoch == cursor.epoch {
                before.offset = before.offset.min(cursor.offset);
            }
        }
    }

    /// Another tab may have read further.
    pub(super) fn set(&mut self, room: RoomName, cursor: Cursor) {
        if let Some(index) = self.0.iter().position(|(other, _)| *other == room) {
            let (_, before) = self.0.remove(index);
            let is_behind = before.epoch == cursor.epoch && before.offset > cursor.offset;
            self.0.push((room, if is_behind { before } else { cursor }));
            return;
        }
        if self.0.len() == MAX_ROOMS {
            self.0.remove(0);
        }
        self.0.push((room, cursor));
    }
}

#[cfg(test)]
mod tests {
    use talkback_client::{Epoch, Offset};

    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn cursor(epoch: u64, offset: u64) -> Cursor {
        Cursor {
            epoch: Epoch::from_random(epoch),
            offset: Offset::new(offset).unwrap(),
        }
    }

    #[test]
    fn a_room_is_read_forward_until_its_log_is_another_one() {
        let mut cursors = ReadCursors::default();
        for (epoch, offset, expected) in [(1, 5, 5), (1, 9, 9), (1, 7, 9), (2, 3, 3)] {
            cursors.set(room("a"), cursor(epoch, offset));
            assert_eq!(cursors.get(&room("a")), Some(&cursor(epoch, expected)));
        }
        cursors.lower(&room("a"), &cursor(2, 9));
        cursors.lower(&room("a"), &cursor(1, 1));
        assert_eq!(cursors.get(&room("a")), Some(&cursor(2, 3)), "it is not beyond that");
        cursors.lower(&room("a"), &cursor(2, 2));
        assert_eq!(cursors.get(&room("a")), Some(&cursor(2, 2)));
        cursors.set(room("大厅"), cursor(3, 0));
        assert_eq!(ReadCursors::parse(&cursors.to_text()), cursors);
        assert_eq!(cursors.get(&room("b")), None);
        let unread = [cursor(2, 9), cursor(2, 1), cursor(1, 9)].map(|head| cursors.unread(&room("a"), &head));
        assert_eq!((unread, cursors.unread(&room("b"), &cursor(2, 9))), ([7, 0, 0], 0));
        assert_eq!(ReadCursors::parse("a\nb\tx\n\t\n"), ReadCursors::default());
    }

    #[test]
    fn the_room_that_was_read_the_longest_ago_makes_place() {
        let mut cursors = ReadCursors::default();
        for number in 0..MAX_ROOMS {
            cursors.set(room(&number.to_string()), cursor(1, 1));
        }
        cursors.set(room("0"), cursor(1, 2));
        cursors.set(room("new"), cursor(1, 1));
        let kept = ["0", "1", "new"].map(|name| cursors.get(&room(name)).is_some());
        assert_eq!((kept, cursors.0.len()), ([true, false, true], MAX_ROOMS));
    }
}
