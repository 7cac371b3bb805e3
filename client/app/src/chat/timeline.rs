//! The conversation as rows: the newest stretch of the room's log that the page keeps, and what the page notes between.
//!
//! Messages stand in the order of their offsets, whether they come live or as a page of history. Rows of a log that is gone stay
//! above the rows of its successor until the bounds take them.

use std::{collections::VecDeque, rc::Rc};

use talkback_client::{Cursor, Epoch, Offset};

use super::RoomMessage;
use crate::i18n::Sentence;

/// What a row costs beside its texts, in bytes.
const ROW_BYTES: usize = 128;

/// Bytes of texts and rows that are kept at most.
const KEPT_BYTES: usize = 8 << 20;

/// Rows that are kept while the newest are looked at: each is an element, and drawing takes longer the more there are.
const KEPT_AT_END: usize = 500;

/// Rows that are kept while older ones are read. With as many, no more pages are fetched until the reader is back at the end.
const KEPT_READING: usize = 3_000;

/// Messages of one sender within this time are shown as one speech.
const GOES_ON_MS: f64 = 5.0 * 60_000.0;

/// One row; its number never changes and never comes again.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: f64,
    /// The day on the local calendar, as a count of days.
    pub(crate) day: i64,
    /// It is news, and not history that was fetched.
    pub(crate) live: bool,
    pub(crate) content: Content,
}

/// Rows of one timeline are equal when their numbers are: comparing their texts on each drawing would cost more than drawing.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Row {
    /// Whether it is a message of the same sender as the row above, soon after it.
    pub(crate) fn goes_on_from(&self, above: &Self) -> bool {
        let sender = |row| match row {
            &Self {
                content: Content::Said { ref from, own, .. },
                ..
            } => Some((from, own)),
            _ => None,
        };
        sender(self).is_some_and(|said| sender(above) == Some(said)) && self.at - above.at < GOES_ON_MS
    }
}

#[derive(Debug)]
pub(crate) enum Content {
    Said {
        offset: u64,
        from: String,
        text: String,
        own: bool,
    },
    /// Something the page says, written out in its language when it is drawn.
    Notice(Sentence),
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
    rows: VecDeque<Rc<Row>>,
    bytes: usize,
    /// How many rows at the front belong to a log that is gone.
    past: usize,
    epoch: Option<Epoch>,
    /// The offset before the oldest message on the page.
    before_first: u64,
    /// Everything up to this offset has come.
    received: u64,
    older: Older,
    next_number: u64,
    local_day: fn(f64) -> i64,
}

impl Timeline {
    /// An empty one; `local_day` counts the days of the local calendar.
    pub(super) fn new(local_day: fn(f64) -> i64) -> Self {
        Self {
            rows: VecDeque::new(),
            bytes: 0,
            past: 0,
            epoch: None,
            before_first: 0,
            received: 0,
            older: Older::Unknown,
            next_number: 1,
            local_day,
        }
    }

    /// Rows of a log that is gone, oldest first.
    pub(crate) fn past(&self) -> impl DoubleEndedIterator<Item = &Rc<Row>> {
        self.rows.range(..self.past)
    }

    /// Rows since the log on the page began, oldest first.
    pub(crate) fn current(&self) -> impl DoubleEndedIterator<Item = &Rc<Row>> {
        self.rows.range(self.past..)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What is before the first of [`Self::current`].
    pub(crate) fn older(&self) -> Older {
        match self.older {
            Older::More | Older::Failed if self.rows.len() >= KEPT_READING => Older::Full,
            older => older,
        }
    }

    /// The number of the newest row that there ever was.
    pub(crate) fn last_number(&self) -> u64 {
        self.next_number - 1
    }

    /// From where a room that was left is to be joined again.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        Some(Cursor {
            epoch: self.epoch.clone()?,
            offset: Offset::new(self.received).ok()?,
        })
    }

    /// The room was joined without a cursor or with one that the log does not know: what is on the page is past.
    pub(super) fn begin(&mut self, epoch: Epoch, after: u64) {
        self.past = self.rows.len();
        self.epoch = Some(epoch);
        self.before_first = after;
        self.received = after;
        self.older = if after == 0 { Older::Beginning } else { Older::More };
    }

    /// The room goes on with nothing missing, perhaps in another life of its log.
    pub(super) fn go_on(&mut self, epoch: Epoch) {
        let is_other = self.epoch.replace(epoch.clone()).is_some_and(|life| life != epoch);
        if is_other && self.older == Older::Failed {
            self.older = Older::More;
        }
    }

    /// A message came from the room; whether it was not on the page yet.
    pub(super) fn said(&mut self, message: RoomMessage, live: bool) -> bool {
        if message.offset <= self.received {
            return false;
        }
        self.received = message.offset;
        let row = self.message_row(message, live);
        self.rows.push_back(row);
        self.trim(KEPT_READING);
        true
    }

    /// One's own message is in a log that is gone, and was not seen to come back.
    pub(super) fn was_said(&mut self, message: RoomMessage) {
        let row = self.message_row(message, false);
        self.rows.push_back(row);
    }

    /// The page says something, below all that is there.
    pub(super) fn notice(&mut self, at: f64, message: Sentence) {
        let row = self.row(at, true, Content::Notice(message));
        self.rows.push_back(row);
        self.trim(KEPT_READING);
    }

    /// The offset before which to ask for older messages; none if there is nothing to ask for now.
    pub(super) fn ask_older(&mut self) -> Option<u64> {
        if matches!(self.older(), Older::More | Older::Failed) {
            self.older = Older::Loading;
            return Some(self.before_first + 1);
        }
        None
    }

    /// Older messages came, oldest first.
    pub(super) fn page(&mut self, epoch: &Epoch, messages: Vec<RoomMessage>, more: bool) {
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
            let row = self.message_row(message, false);
            self.rows.insert(self.past, row);
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
    pub(super) fn keep_bounds(&mut self, at_end: bool) {
        self.trim(if at_end { KEPT_AT_END } else { KEPT_READING });
    }

    fn trim(&mut self, rows: usize) {
        while self.rows.len() > 1 && (self.rows.len() > rows || self.bytes > KEPT_BYTES) {
            let Some(row) = self.rows.pop_front() else { return };
            self.bytes -= weight(&row);
            if self.past > 0 {
                self.past -= 1;
            } else if let Content::Said { offset, .. } = row.content {
                self.before_first = offset;
                if self.older != Older::Loading {
                    self.older = Older::More;
                }
            }
        }
    }

    fn message_row(&mut self, message: RoomMessage, live: bool) -> Rc<Row> {
        let RoomMessage {
            offset,
            from,
            at,
            text,
            own,
        } = message;
        let content = Content::Said {
            offset,
            from,
            text,
            own,
        };
        self.row(at, live, content)
    }

    fn row(&mut self, at: f64, live: bool, content: Content) -> Rc<Row> {
        let row = Rc::new(Row {
            number: self.next_number,
            at,
            day: (self.local_day)(at),
            live,
            content,
        });
        self.next_number += 1;
        self.bytes += weight(&row);
        row
    }
}

fn weight(row: &Row) -> usize {
    ROW_BYTES
        + match &row.content {
            Content::Said { from, text, .. } => from.len() + text.len(),
            Content::Notice(_) => 0,
        }
}

#[cfg(test)]
mod tests;
