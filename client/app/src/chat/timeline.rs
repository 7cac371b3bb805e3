//! The conversation as rows: the newest stretch of the room's log that the page keeps, and what the page notes between.
//!
//! Messages stand in the order of their offsets, whether they come live or as a page of history. Rows of a log that is gone stay
//! above the rows of its successor until the bounds take them.

use std::rc::Rc;

use talkback_client::{Cursor, Epoch, Offset};

use crate::{
    i18n::Sentence,
    rows::{PayloadSize, Row, RowOptions, Rows},
};

/// The bytes of all rows, at most.
const MAX_BYTES: usize = 8 << 20;

/// The rows while the list is scrolled to its end, at most: each is an element, and more of them take longer to draw.
const MAX_ROWS_AT_END: usize = 500;

/// The rows while the list is scrolled up, at most. With as many, no more pages of history are requested until it is back at its end.
const MAX_ROWS: usize = 3_000;

/// A message within this time of the one above, from the same sender, is grouped with it, in milliseconds.
const GROUP_WITHIN_MS: f64 = 5.0 * 60_000.0;

/// A message of the room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoomMessage {
    /// Its offset in the room's log.
    pub(crate) offset: u64,
    /// The name of the user who sent it.
    pub(crate) from: String,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub(crate) at: f64,
    /// The text; the JSON of a body that is not a text.
    pub(crate) text: String,
    /// This tab sent it.
    pub(crate) own: bool,
}

/// A row of the timeline, its [`Row::content`].
#[derive(Debug)]
pub(crate) struct Entry {
    /// The day on the local calendar, as a count of days.
    pub(crate) day: i64,
    /// It arrived while the user was in the room; it is not history.
    pub(crate) live: bool,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Message(RoomMessage),
    /// A text of the page, written out in its language when it is drawn.
    Notice(Sentence),
}

impl Entry {
    /// The sender of a message, and whether it is this tab.
    fn sender(&self) -> Option<(&str, bool)> {
        match &self.body {
            Body::Message(RoomMessage { from, own, .. }) => Some((from, *own)),
            Body::Notice(_) => None,
        }
    }
}

impl Row<Entry> {
    /// Whether it is a message of the same sender as the row above, soon after it.
    pub(crate) fn is_grouped_with(&self, above: &Self) -> bool {
        let sender = self.content.sender();
        sender.is_some() && sender == above.content.sender() && self.at - above.at < GROUP_WITHIN_MS
    }
}

impl PayloadSize for Entry {
    fn payload_bytes(&self) -> usize {
        match &self.body {
            Body::Message(RoomMessage { from, text, .. }) => from.len() + text.len(),
            Body::Notice(_) => 0,
        }
    }
}

/// What is before the oldest message on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// The room was not joined yet.
    Unknown,
    /// There may be more, to be asked for.
    More,
    Loading,
    /// The last request failed; it can be repeated.
    Failed,
    /// The first message of the room is on the page.
    Beginning,
    /// The server keeps nothing older.
    NotKept,
    /// The page keeps as many rows as it may.
    Full,
}

#[derive(Debug)]
pub(crate) struct Timeline {
    rows: Rows<Entry>,
    /// How many rows at the front belong to a log that is gone.
    previous: usize,
    epoch: Option<Epoch>,
    /// The offset before the oldest message on the page.
    before_first: u64,
    /// Everything up to this offset has come.
    received: u64,
    older: Older,
    local_day: fn(f64) -> i64,
}

impl Timeline {
    /// An empty one; `local_day` counts the days of the local calendar.
    pub(super) fn new(local_day: fn(f64) -> i64) -> Self {
        Self {
            rows: Rows::new(),
            previous: 0,
            epoch: None,
            before_first: 0,
            received: 0,
            older: Older::Unknown,
            local_day,
        }
    }

    /// Rows of a log that is gone, oldest first.
    pub(crate) fn previous(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        self.rows.range(..self.previous)
    }

    /// Rows since the log on the page began, oldest first.
    pub(crate) fn current(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        self.rows.range(self.previous..)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// What is before the first of [`Self::current`].
    pub(crate) fn older(&self) -> Older {
        match self.older {
            Older::More | Older::Failed if self.rows.len() >= MAX_ROWS => Older::Full,
            older => older,
        }
    }

    /// The number of the newest row that there ever was.
    pub(crate) fn last_number(&self) -> u64 {
        self.rows.last_number()
    }

    /// From where a room that was left is to be joined again.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        Some(Cursor {
            epoch: self.epoch.clone()?,
            offset: Offset::new(self.received).ok()?,
        })
    }

    /// The room was joined without a cursor or with one that the log does not know: what is on the page is past.
    pub(super) fn start_log(&mut self, epoch: Epoch, after: u64) {
        self.previous = self.rows.len();
        self.epoch = Some(epoch);
        self.before_first = after;
        self.received = after;
        self.older = if after == 0 { Older::Beginning } else { Older::More };
    }

    /// The room goes on with nothing missing, perhaps in another life of its log.
    pub(super) fn continue_log(&mut self, epoch: Epoch) {
        let is_other = self.epoch.replace(epoch.clone()).is_some_and(|life| life != epoch);
        if is_other && self.older == Older::Failed {
            self.older = Older::More;
        }
    }

    /// A message came from the room; whether it was not on the page yet.
    pub(super) fn push_message(&mut self, message: RoomMessage, live: bool) -> bool {
        if message.offset <= self.received {
            return false;
        }
        self.received = message.offset;
        self.insert_message(self.rows.len(), message, live);
        self.trim(MAX_ROWS);
        true
    }

    /// One's own message is in a log that is gone, and was not seen to come back.
    pub(super) fn push_undelivered(&mut self, message: RoomMessage) {
        self.insert_message(self.rows.len(), message, false);
    }

    /// The page says something, below all that is there.
    pub(super) fn push_notice(&mut self, at: f64, message: Sentence) {
        self.insert(self.rows.len(), at, true, Body::Notice(message));
        self.trim(MAX_ROWS);
    }

    /// The offset before which to ask for older messages; none if there is nothing to ask for now.
    pub(super) fn request_older(&mut self) -> Option<u64> {
        if matches!(self.older(), Older::More | Older::Failed) {
            self.older = Older::Loading;
            return Some(self.before_first + 1);
        }
        None
    }

    /// Older messages came, oldest first.
    pub(super) fn insert_page(&mut self, epoch: &Epoch, messages: Vec<RoomMessage>, more: bool) {
        if self.older != Older::Loading {
            return;
        }
        if self.epoch.as_ref() != Some(epoch) {
            // Not asked for again by itself: until the room tells of its new life, the answer would be the same each time.
            self.older = Older::Failed;
            return;
        }
        let before = self.before_first;
        for message in messages.into_iter().rev() {
            if message.offset != self.before_first {
                // The rest is older than what the log still had when it answered, or on the page already.
                continue;
            }
            self.before_first -= 1;
            self.insert_message(self.previous, message, false);
        }
        self.older = match (more, self.before_first) {
            // A server that answers so would be asked at the speed of the line.
            (true, 1..) if self.before_first == before => Older::Failed,
            (true, 1..) => Older::More,
            (_, 0) => Older::Beginning,
            (false, _) => Older::NotKept,
        };
    }

    pub(super) fn page_failed(&mut self) {
        if self.older == Older::Loading {
            self.older = Older::Failed;
        }
    }

    /// Drops what is kept beyond the bounds, the oldest first; while older rows are read, more are kept.
    pub(super) fn apply_bounds(&mut self, at_end: bool) {
        self.trim(if at_end { MAX_ROWS_AT_END } else { MAX_ROWS });
    }

    fn trim(&mut self, max_rows: usize) {
        let options = RowOptions {
            max_rows,
            max_bytes: MAX_BYTES,
        };
        while let Some(row) = self.rows.drop_oldest(options) {
            if self.previous > 0 {
                self.previous -= 1;
            } else if let Body::Message(RoomMessage { offset, .. }) = row.content.body {
                self.before_first = offset;
                if self.older != Older::Loading {
                    self.older = Older::More;
                }
            }
        }
    }

    fn insert_message(&mut self, index: usize, message: RoomMessage, live: bool) {
        self.insert(index, message.at, live, Body::Message(message));
    }

    fn insert(&mut self, index: usize, at: f64, live: bool, body: Body) {
        let day = (self.local_day)(at);
        self.rows.insert(index, at, Entry { day, live, body });
    }
}

#[cfg(test)]
mod tests;
