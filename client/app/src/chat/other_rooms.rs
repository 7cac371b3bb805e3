//! The rooms that the user is in besides the one that is shown: they stay joined on the same connection, and count what
//! is unread.

use std::{cell::Cell, rc::Rc};

use talkback_client::{Cursor, Epoch, Offset, RoomName};

use super::{
    history::{self, Batch, Stored},
    outbox::{Key, Outbox},
    people_search::PeopleSearch,
    preview::Preview,
    reducer::{ConnectionStatus, Membership},
    roster::Roster,
    timeline::{Body, RoomMessage, Timeline},
    typing::Typing,
    unread::Unread,
};
use crate::i18n::Text;

/// At most this many rooms stay joined besides the one that is shown; the one that was shown the longest ago is left
/// first. Each holds at most the rows that a list at its end has.
const MAX_OTHERS: usize = 16;

/// What the chat has of a room, whether it is shown or not.
#[derive(Debug)]
pub(crate) struct RoomState {
    pub(crate) membership: Membership,
    pub(crate) roster: Roster,
    /// For the list of users.
    pub(crate) found: PeopleSearch,
    /// For the mention that is being written.
    pub(super) mentionable: PeopleSearch,
    pub(crate) typing: Typing,
    pub(crate) timeline: Timeline,
    pub(crate) outbox: Outbox,
    pub(crate) unread: Unread,
    /// Messages up to this offset are older than the join: history, which is not announced or counted as unread.
    pub(super) history_to: u64,
    /// Up to where the user has read it, in this tab or another one, when it was opened.
    pub(super) read: Option<Cursor>,
    /// Up to this offset of the current log the browser has kept that it is read.
    pub(super) saved_read: u64,
    /// What the browser kept of it is to be read. The room is joined after that, from the cursor of the last kept row.
    pub(super) awaits_history: bool,
    /// The rows are what the browser kept, and the room was not joined since.
    pub(super) is_restored: bool,
    /// The rows are what the server has, read before joining: the messages come again with the join, which knows whose they are.
    pub(super) is_preview: bool,
    /// Messages up to this offset of the current log were given to the browser to keep.
    pub(super) kept: u64,
    /// The timeline is as new as what the browser keeps, so that its rows can be kept behind that.
    pub(super) is_current: bool,
    /// The current log is a copy of the one with this epoch, whose messages were given to the browser to keep.
    pub(super) forked: Option<Epoch>,
    /// The user who joined it last, whose failed messages the outbox has.
    pub(super) failed_of: String,
}

impl RoomState {
    pub(super) fn new(local_day: fn(f64) -> i64, last_key: Rc<Cell<Key>>) -> Self {
        Self {
            membership: Membership::Out,
            roster: Roster::default(),
            found: PeopleSearch::default(),
            mentionable: PeopleSearch::default(),
            typing: Typing::default(),
            timeline: Timeline::new(local_day),
            outbox: Outbox::new(last_key),
            unread: Unread::default(),
            history_to: 0,
            read: None,
            saved_read: 0,
            awaits_history: true,
            is_restored: false,
            is_preview: false,
            kept: 0,
            is_current: false,
            forked: None,
            failed_of: String::new(),
        }
    }

    pub(super) fn is_out(&self) -> bool {
        self.membership == Membership::Out
    }

    /// Up to where the user has read; none while something is unread, which stays unread.
    pub(super) fn read_cursor(&self) -> Option<Cursor> {
        self.timeline.cursor().filter(|_| self.unread.count == 0)
    }

    /// Up to where the user has read, also while something is unread; none if that is not known.
    pub(super) fn read_place(&self) -> Option<Cursor> {
        let cursor = self.timeline.cursor()?;
        if self.unread.count == 0 {
            return Some(cursor);
        }
        let offset = Offset::new(self.unread.first?.saturating_sub(1)).ok()?;
        Some(Cursor { offset, ..cursor })
    }

    /// All rows so far belong to a previous log, and messages after an offset of this one follow.
    pub(super) fn start_log(&mut self, epoch: Epoch, after: u64) {
        let is_same = self.timeline.cursor().is_some_and(|cursor| cursor.epoch == epoch);
        self.unread.first.take_if(|_| !is_same);
        self.timeline.start_log(epoch, after);
    }

    /// Messages of history came: the divider is at the first unread one of before, which has another row if it was dropped.
    pub(super) fn divide_again(&mut self) {
        if let Some(row) = self.unread.first.and_then(|first| self.timeline.row_of(first)) {
            self.unread.divider = Some(row);
        }
    }

    /// Another tab has read up to this cursor.
    pub(super) fn read_elsewhere(&mut self, read: &Cursor) {
        let Some(cursor) = self.timeline.cursor().filter(|cursor| cursor.epoch == read.epoch) else {
            return;
        };
        let offset = read.offset.get();
        let all = cursor.offset.get().saturating_sub(offset);
        let unloaded = all.saturating_sub(self.timeline.count_after(offset));
        let mut unread = self.unread;
        unread.recount();
        unread.count = usize::try_from(unloaded).unwrap_or(usize::MAX);
        unread.remove_divider();
        for row in self.timeline.messages_after(offset) {
            if let Body::Message(RoomMessage {
                offset,
                own: false,
                mentions_me,
                ..
            }) = row.content.body
            {
                unread.count += 1;
                unread.mentions += usize::from(mentions_me);
                unread.divide_at(row.number, offset);
            }
        }
        if unread.count < self.unread.count {
            if unread.is_visible() {
                // It would move what the user reads.
                (unread.divider, unread.first) = (self.unread.divider, self.unread.first);
            }
            self.unread = unread;
        }
    }

    /// Shows what the browser kept of the room.
    pub(super) fn restore(&mut self, Stored { cursor, parts, .. }: Stored) {
        let is_as_new = |shown: Cursor| shown.epoch == cursor.epoch && shown.offset <= cursor.offset;
        if self.is_preview && self.timeline.cursor().is_some_and(is_as_new) {
            // They came after the preview: they say whose messages these are.
            self.clear();
        }
        if !self.timeline.is_empty() {
            return;
        }
        let mut above: Option<Epoch> = None;
        let mut is_after_read = false;
        for part in parts {
            let Some(first) = part.messages.first() else {
                continue;
            };
            let before = first.offset.saturating_sub(1);
            let read = self.read.as_ref().filter(|read| read.epoch == part.epoch);
            let read = read.map(|read| read.offset.get());
            if above.is_some() && !part.is_break {
                self.timeline.continue_log(part.epoch.clone());
            } else {
                if let Some(above) = &above {
                    let notice = gap(above == &part.epoch);
                    self.timeline.push_kept_notice(first.at, notice.into());
                } else if let Some(read) = read {
                    let unloaded = before.saturating_sub(read);
                    self.unread
                        .count_unloaded(usize::try_from(unloaded).unwrap_or(usize::MAX));
                }
                self.start_log(part.epoch.clone(), before);
            }
            for message in part.messages {
                let is_unread = !message.own && read.map_or(is_after_read, |read| message.offset > read);
                let (offset, mentions_me) = (message.offset, message.mentions_me);
                if self.timeline.push_message(message, false) && is_unread {
                    let number = self.timeline.last_number();
                    self.unread.message_arrived(number, offset, mentions_me);
                    self.unread.divide_at(number, offset);
                }
            }
            is_after_read |= read.is_some();
            above = Some(part.epoch);
        }
        self.read.get_or_insert_with(|| cursor.clone());
        self.kept = cursor.offset.get();
        self.is_restored = true;
        self.timeline.kept_until(cursor);
        self.timeline.put_away();
    }

    /// Shows what the server has of a room that the user is not in, instead of what the browser kept, if there is something new in it.
    pub(super) fn show_preview(&mut self, Preview { cursor, messages }: Preview) {
        let is_replaced = self.timeline.is_empty() || self.is_restored || self.is_preview;
        let Some(first) = messages.first().filter(|_| is_replaced && self.is_out()) else {
            return;
        };
        if self.timeline.has_received(&cursor.epoch, cursor.offset.get()) {
            return;
        }
        self.clear();
        self.timeline
            .start_log(cursor.epoch.clone(), first.offset.saturating_sub(1));
        for message in messages {
            self.timeline.push_message(message, false);
        }
        // Older ones are loaded once the user is in the room.
        self.timeline.kept_until(cursor);
        self.is_preview = true;
    }

    /// Removes the rows: the messages come again.
    pub(super) fn clear(&mut self) {
        self.timeline.clear();
        self.unread.recount();
        self.unread.remove_divider();
        self.is_restored = false;
        self.is_preview = false;
    }

    /// The cursor with which the room is joined again.
    pub(super) fn since(&self) -> Option<Cursor> {
        self.timeline.cursor().filter(|_| !self.is_preview)
    }

    /// How many messages the browser is still to keep.
    pub(super) fn unkept(&self) -> u64 {
        if self.is_current {
            self.timeline.count_after(self.kept)
        } else {
            0
        }
    }

    /// The messages that the browser is still to keep.
    pub(super) fn take_unkept(&mut self, room: &RoomName) -> Option<Batch> {
        let cursor = self.timeline.cursor().filter(|_| self.unkept() > 0)?;
        let rows = self.timeline.messages_after(self.kept);
        let first = rows.first().and_then(|row| self.timeline.offset_in(row.number))?;
        self.kept = cursor.offset.get();
        Some(Batch {
            room: room.clone(),
            cursor,
            after: first.saturating_sub(1),
            forked: self.forked.take(),
            is_older: false,
            rows,
        })
    }

    /// The page of history that was loaded last, with so many messages, to be kept by the browser; none if long messages left no place
    /// for all of it. Of a room that is read far back, no more than the browser keeps.
    pub(super) fn loaded_page(&self, room: &RoomName, messages: usize) -> Option<Batch> {
        let newer = self.timeline.current().count().checked_sub(messages)?;
        let rows: Vec<_> = self.timeline.current().take(messages).cloned().collect();
        let (first, last) = (rows.first()?, rows.last().filter(|_| newer < history::MIN_ROWS)?);
        let [first, last] = [first, last].map(|row| self.timeline.offset_in(row.number));
        Some(Batch {
            room: room.clone(),
            cursor: Cursor {
                offset: Offset::new(last?).ok()?,
                ..self.timeline.cursor()?
            },
            after: first?.saturating_sub(1),
            forked: None,
            is_older: true,
            rows,
        })
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
        self.timeline.pages_failed();
    }
}

/// The notice between two rows of a room that do not follow each other.
pub(super) fn gap(is_same_log: bool) -> Text {
    if is_same_log {
        Text::AwayTooLong
    } else {
        Text::HistoryLost
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
        state.timeline.put_away();
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

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut (RoomName, RoomState)> {
        self.0.iter_mut()
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
