//! The rows of the conversation: the newest part of the room's log, without gaps, and the page's notices between the
//! messages.
//!
//! Messages are in the order of their offsets, whether they arrive live or as a page of history. Rows of a previous log
//! stay above those of the current one until the bounds drop them. What is far from the end of the log is shown without it: see
//! [`away`].

use std::{ops::Range, rc::Rc};

use talkback_client::{Cursor, Epoch, Offset, UserName};

use crate::{
    i18n::Sentence,
    rows::{PayloadSize, Row, RowOptions, Rows},
};

mod away;

use away::Away;
pub(crate) use away::{Found, Newer};

/// The bytes of the rows that follow each other, at most. Rows far from the end of the log and the newest ones have as many each.
const MAX_BYTES: usize = 8 << 20;

/// The rows while the list is scrolled to its end, at most: each is some elements.
const MAX_ROWS_AT_END: usize = 500;

/// The rows while the list is scrolled up, at most. Beyond it, the newest are dropped for older ones and the oldest for newer ones.
const MAX_ROWS: usize = 10_000;

/// At most so many rows beyond the bounds are dropped at once: removing thousands of them from the page takes longer than a frame. Going
/// to a message far away, or back to the end of the log, replaces all rows in one drawing none the less.
const DROPPED_AT_ONCE: usize = 500;

/// A block gets no more rows at an end where it has so many. Each block is one component and one containment of layout, so that
/// rows which come need neither the comparison nor the layout of all others; a block of so many is drawn within a part of a frame.
const BLOCK_ROWS: usize = 25;

/// The row after a block that has no more space begins one, whose number is that row's.
const FULL: (u64, usize) = (0, BLOCK_ROWS);

/// The messages of one page of history, at most: a server's default maximum.
pub(super) const PAGE: u32 = 100;

/// A message within this time of the one above, from the same sender, is grouped with it, in milliseconds.
const GROUP_WITHIN_MS: f64 = 5.0 * 60_000.0;

/// A line about users who joined or left names at most this many; more begin another line.
const MAX_FOLDED_USERS: usize = 200;

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
    /// An operator deleted it; the text is empty.
    pub(crate) deleted: bool,
    /// The user sent it: in this tab, or, once the reducer has compared the names, in another one.
    pub(crate) own: bool,
    /// The ranges of the text that mention a user, once the reducer has compared the names.
    pub(crate) mentions: Vec<Range<usize>>,
    /// One of them mentions this user.
    pub(crate) mentions_me: bool,
}

/// A row of the timeline, its [`Row::content`].
#[derive(Debug)]
pub(crate) struct Entry {
    /// The day on the local calendar, as a count of days.
    pub(crate) day: i64,
    /// It arrived while the user was in the room; it is not history.
    pub(crate) live: bool,
    /// The number of its block: rows that follow each other and are drawn together. It never changes.
    pub(crate) block: u64,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Message(RoomMessage),
    /// A text of the page, written out in its language when it is drawn.
    Notice(NoticeKind, Sentence),
    /// Users who joined and left.
    Presence {
        joined: Vec<UserName>,
        left: Vec<UserName>,
    },
}

/// What a notice is about: losses have styles of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    Event,
    /// Messages of the room are missing.
    Loss,
    /// Own messages were lost.
    Failure,
}

impl Entry {
    /// Whether it is a message of this user.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.body, Body::Message(RoomMessage { own: true, .. }))
    }

    /// The sender of a message, and whether it is this user.
    fn sender(&self) -> Option<(&str, bool)> {
        match &self.body {
            Body::Message(RoomMessage { from, own, .. }) => Some((from, *own)),
            Body::Notice(..) | Body::Presence { .. } => None,
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
            Body::Presence { joined, left } => joined.iter().chain(left).map(|user| user.len()).sum(),
            Body::Notice(..) => 0,
        }
    }
}

/// A message as a link names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The log of it; none in a link from before links had it, which is taken for the current one.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) offset: u64,
}

impl Target {
    /// Reads the fragment of a link.
    pub(crate) fn parse(fragment: &str) -> Option<Self> {
        let (epoch, offset) = fragment
            .rsplit_once(':')
            .map_or((None, fragment), |(epoch, offset)| (Some(epoch), offset));
        Some(Self {
            epoch: epoch.map(Epoch::parse).transpose().ok()?,
            offset: offset.parse().ok()?,
        })
    }

    /// The fragment of a link.
    pub(crate) fn to_text(&self) -> String {
        let offset = self.offset.to_string();
        match &self.epoch {
            Some(epoch) => [epoch.as_str(), ":", &offset].concat(),
            None => offset,
        }
    }
}

/// A message to go to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seek {
    /// The message of a link.
    Message(Target),
    /// The first message at or after this time, in milliseconds since the Unix epoch.
    Time(f64),
}

/// What precedes the oldest message of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// The room was not joined yet.
    Unknown,
    /// There may be more, which can be requested.
    More,
    /// Those before this offset are requested.
    Loading { before: u64 },
    /// The last request failed; it can be repeated.
    Failed,
    /// The oldest row is the first message of the room.
    Beginning,
    /// The server keeps nothing older.
    NotKept,
}

/// The rows that follow each other without a gap, beginning with those of previous logs.
#[derive(Debug)]
struct Span {
    rows: Rows<Entry>,
    /// The number and the rows of the block at the front, and of the one at the back. It may be the same block.
    blocks: [(u64, usize); 2],
    /// How many rows at the front belong to a previous log.
    previous: usize,
    /// The offset before the oldest message of the current log.
    before_first: u64,
    older: Older,
}

impl Span {
    /// None yet.
    fn new(rows: Rows<Entry>) -> Self {
        Self {
            rows,
            blocks: [FULL; 2],
            previous: 0,
            before_first: 0,
            older: Older::Unknown,
        }
    }

    fn current(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        self.rows.range(self.previous..)
    }

    fn is_over(&self) -> bool {
        self.rows.len() > MAX_ROWS || self.rows.bytes() > MAX_BYTES
    }

    fn insert_message(&mut self, index: usize, message: RoomMessage, live: bool, local_day: fn(f64) -> i64) {
        self.insert(index, message.at, live, Body::Message(message), local_day);
    }

    fn insert(&mut self, index: usize, at: f64, live: bool, body: Body, local_day: fn(f64) -> i64) {
        let (block, rows) = &mut self.blocks[usize::from(index == self.rows.len())];
        if *rows >= BLOCK_ROWS {
            (*block, *rows) = (self.rows.last_number() + 1, 0);
        }
        *rows += 1;
        let entry = Entry {
            day: local_day(at),
            live,
            block: *block,
            body,
        };
        self.rows.insert(index, at, entry);
    }

    /// Inserts messages, oldest first, in front of those of the current log; returns how many of them are new.
    fn insert_older(&mut self, messages: Vec<RoomMessage>, more: bool, local_day: fn(f64) -> i64) -> usize {
        let before = self.before_first;
        // Of a block that is not in sight the browser has the height, which must stay.
        self.blocks[0] = FULL;
        for message in messages.into_iter().rev() {
            if message.offset != self.before_first {
                // Before a gap, or in the timeline already.
                continue;
            }
            self.before_first -= 1;
            self.insert_message(self.previous, message, false, local_day);
        }
        self.older = match (more, self.before_first) {
            // No progress: automatic requests would follow each other without end.
            (true, 1..) if self.before_first == before => Older::Failed,
            (true, 1..) => Older::More,
            (_, 0) => Older::Beginning,
            (false, _) => Older::NotKept,
        };
        usize::try_from(before - self.before_first).unwrap_or_default()
    }

    /// Drops some of the oldest rows beyond the bounds.
    fn trim(&mut self, max_rows: usize, at_once: usize) {
        for _ in 0..at_once {
            let Some(row) = self.rows.drop_oldest(bounds(max_rows)) else {
                return;
            };
            if self.previous > 0 {
                self.previous -= 1;
            } else if let Body::Message(RoomMessage { offset, .. }) = row.content.body {
                self.before_first = offset;
                if !matches!(self.older, Older::Loading { .. }) {
                    self.older = Older::More;
                }
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Timeline {
    /// Up to the end of the log.
    end: Span,
    /// The rows that are shown instead, while they are too far from the end of the log for those between to be kept.
    away: Option<Away>,
    epoch: Option<Epoch>,
    /// Every message up to this offset was delivered.
    received: u64,
    local_day: fn(f64) -> i64,
}

impl Timeline {
    /// An empty timeline; `local_day` converts a time to a day of the local calendar.
    pub(super) fn new(local_day: fn(f64) -> i64) -> Self {
        Self {
            end: Span::new(Rows::new()),
            away: None,
            epoch: None,
            received: 0,
            local_day,
        }
    }

    fn shown(&self) -> &Span {
        self.away.as_ref().map_or(&self.end, |away| &away.span)
    }

    fn shown_mut(&mut self) -> &mut Span {
        self.away.as_mut().map_or(&mut self.end, |away| &mut away.span)
    }

    /// The rows of previous logs that are shown, oldest first.
    pub(crate) fn previous(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        let shown = self.shown();
        shown.rows.range(..shown.previous)
    }

    /// The rows of the current log that are shown, oldest first.
    pub(crate) fn current(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        self.shown().current()
    }

    /// The newest rows, oldest first, whether they are shown or not.
    pub(crate) fn newest(&self) -> impl DoubleEndedIterator<Item = &Rc<Row<Entry>>> {
        self.end.current()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end.rows.len() == 0
    }

    /// What precedes the first row of [`Self::current`].
    pub(crate) fn older(&self) -> Older {
        self.shown().older
    }

    /// All rows, oldest first, whether they are shown or not.
    fn all(&self) -> impl Iterator<Item = &Rc<Row<Entry>>> {
        let away = self.away.iter().flat_map(|away| away.span.rows.range(..));
        let previous = self.end.rows.range(..self.end.previous);
        previous.chain(away).chain(self.end.current())
    }

    /// The message in the row with this number.
    pub(super) fn message(&self, number: u64) -> Option<&RoomMessage> {
        let mut rows = self.previous().chain(self.current());
        match &rows.find(|row| row.number == number)?.content.body {
            Body::Message(message) => Some(message),
            Body::Notice(..) | Body::Presence { .. } => None,
        }
    }

    /// The numbers of the rows whose message or sender contains a text, oldest first. `lower` makes its letters small.
    pub(super) fn search(&self, text: &str, lower: fn(&str) -> String) -> Vec<u64> {
        let text = lower(text.trim());
        let rows = self.all().filter(|_| !text.is_empty());
        let found = rows.filter(|row| match &row.content.body {
            Body::Message(message) => lower(&message.text).contains(&text) || lower(&message.from).contains(&text),
            Body::Notice(..) | Body::Presence { .. } => false,
        });
        found.map(|row| row.number).collect()
    }

    /// The number of the row that was added last; 0 before the first.
    pub(crate) fn last_number(&self) -> u64 {
        self.end.rows.last_number()
    }

    /// The cursor with which to join the room again.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        Some(Cursor {
            epoch: self.epoch.clone()?,
            offset: Offset::new(self.received).ok()?,
        })
    }

    /// Every message up to this offset was delivered.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Removes all rows: others come in their place.
    pub(super) fn clear(&mut self) {
        self.away = None;
        self.end.rows.take();
        self.end.previous = 0;
        self.epoch = None;
        self.end.older = Older::Unknown;
    }

    /// The room was joined without recovery: all rows so far belong to a previous log, and messages after an offset
    /// follow. The end of the log is shown.
    pub(super) fn start_log(&mut self, epoch: Epoch, after: u64) {
        self.away = None;
        self.end.previous = self.end.rows.len();
        self.end.blocks = [FULL; 2];
        self.epoch = Some(epoch);
        self.end.before_first = after;
        self.received = after;
        self.end.older = older_before(after);
    }

    /// The room was recovered without a gap, perhaps with another epoch of its log.
    pub(super) fn continue_log(&mut self, epoch: Epoch) {
        let is_other = self
            .epoch
            .replace(epoch.clone())
            .is_some_and(|previous| previous != epoch);
        let shown = self.shown_mut();
        if is_other && shown.older == Older::Failed {
            shown.older = Older::More;
        }
        if self.end.older == Older::Unknown {
            self.end.older = older_before(self.end.before_first);
        }
        if let Some(away) = self
            .away
            .as_mut()
            .filter(|away| is_other && away.newer == Newer::Failed)
        {
            away.newer = Newer::More;
        }
    }

    /// The rows so far are all that the browser kept; a room that is joined with this cursor continues them. Until then
    /// older messages cannot be requested.
    pub(super) fn kept_until(&mut self, cursor: Cursor) {
        self.epoch = Some(cursor.epoch);
        self.received = cursor.offset.get();
        self.end.older = Older::Unknown;
    }

    /// Whether the room has delivered the message at this offset of this log.
    pub(super) fn has_received(&self, epoch: &Epoch, offset: u64) -> bool {
        offset <= self.received && self.epoch.as_ref() == Some(epoch)
    }

    /// How many messages after an offset the timeline has had.
    pub(super) fn count_after(&self, offset: u64) -> u64 {
        self.received.saturating_sub(offset.max(self.end.before_first))
    }

    /// The messages of the current log after an offset, oldest first, as far as they are among the newest rows.
    pub(super) fn messages_after(&self, offset: u64) -> Vec<Rc<Row<Entry>>> {
        let is_known =
            |row: &Row<Entry>| matches!(&row.content.body, Body::Message(message) if message.offset <= offset);
        let rows = self.end.current().rev().take_while(|row| !is_known(row));
        let mut rows: Vec<_> = rows
            .filter(|row| matches!(row.content.body, Body::Message(_)))
            .cloned()
            .collect();
        rows.reverse();
        rows
    }

    /// The offset of the message in a row of the current log.
    pub(super) fn offset_in(&self, number: u64) -> Option<u64> {
        let mut rows = self.all_current();
        rows.find_map(|(row, message)| (row == number).then_some(message.offset))
    }

    /// The number of the row of the current log that has the message at an offset.
    pub(super) fn row_of(&self, offset: u64) -> Option<u64> {
        let mut rows = self.all_current();
        rows.find_map(|(row, message)| (message.offset == offset).then_some(row))
    }

    /// The messages of the current log with the numbers of their rows: those that are shown, then those at its end.
    fn all_current(&self) -> impl Iterator<Item = (u64, &RoomMessage)> {
        let away = self.away.iter().flat_map(|away| away.span.current());
        away.chain(self.end.current())
            .filter_map(|row| match &row.content.body {
                Body::Message(message) => Some((row.number, message)),
                Body::Notice(..) | Body::Presence { .. } => None,
            })
    }

    /// Appends a message that the room delivered; returns false for a duplicate.
    pub(super) fn push_message(&mut self, message: RoomMessage, live: bool) -> bool {
        if message.offset <= self.received {
            return false;
        }
        self.received = message.offset;
        self.push_body(message.at, live, Body::Message(message));
        self.end.trim(MAX_ROWS, DROPPED_AT_ONCE);
        true
    }

    /// Appends an own message that is in a previous log and was not delivered.
    pub(super) fn push_undelivered(&mut self, message: RoomMessage) {
        self.push_body(message.at, false, Body::Message(message));
    }

    /// Appends a notice of the page.
    pub(super) fn push_notice(&mut self, at: f64, kind: NoticeKind, message: Sentence) {
        self.push_body(at, true, Body::Notice(kind, message));
        self.end.trim(MAX_ROWS, DROPPED_AT_ONCE);
    }

    fn push_body(&mut self, at: f64, live: bool, body: Body) {
        self.end.insert(self.end.rows.len(), at, live, body, self.local_day);
    }

    /// Appends the notice of a gap between rows that the browser kept.
    pub(super) fn push_kept_notice(&mut self, at: f64, message: Sentence) {
        self.push_body(at, false, Body::Notice(NoticeKind::Loss, message));
    }

    /// Users joined and left: one line, together with the line above if that is about the same. Of each user it has what
    /// happened last.
    pub(super) fn push_presence(&mut self, at: f64, mut joined: Vec<UserName>, mut left: Vec<UserName>) {
        if let Some(Body::Presence {
            joined: came,
            left: went,
        }) = self.newest_of_day(at)
            && came.len() + went.len() + joined.len() + left.len() <= MAX_FOLDED_USERS
        {
            let still = |users: &[UserName]| -> Vec<UserName> {
                let is_still = |user: &&UserName| !joined.contains(user) && !left.contains(user);
                users.iter().filter(is_still).cloned().collect()
            };
            let (came, went) = (still(came), still(went));
            joined.splice(..0, came);
            left.splice(..0, went);
            self.end.rows.pop_newest();
        }
        self.push_body(at, true, Body::Presence { joined, left });
        self.end.trim(MAX_ROWS, DROPPED_AT_ONCE);
    }

    /// The user of this page joined or left: one line, in place of the line above if that is about the same.
    pub(super) fn push_own_presence(&mut self, at: f64, message: Sentence) {
        if let Some(Body::Notice(NoticeKind::Event, _)) = self.newest_of_day(at) {
            self.end.rows.pop_newest();
        }
        self.push_notice(at, NoticeKind::Event, message);
    }

    /// The newest row of the current log, if it is of the day of this time.
    fn newest_of_day(&self, at: f64) -> Option<&Body> {
        let row = self.end.current().next_back()?;
        (row.content.day == (self.local_day)(at)).then_some(&row.content.body)
    }

    /// Starts a request for older messages: returns the offset before which they end, or none if there is nothing to
    /// request.
    pub(super) fn request_older(&mut self) -> Option<u64> {
        let shown = self.shown_mut();
        if matches!(shown.older, Older::More | Older::Failed) {
            let before = shown.before_first + 1;
            shown.older = Older::Loading { before };
            return Some(before);
        }
        None
    }

    /// Inserts the page of history before an offset, oldest message first; returns how many of its messages are new and precede the
    /// newest rows.
    pub(super) fn insert_page(&mut self, before: u64, epoch: &Epoch, messages: Vec<RoomMessage>, more: bool) -> usize {
        let is_of_log = self.epoch.as_ref() == Some(epoch);
        if self.is_newer(before) {
            if is_of_log {
                self.insert_newer(before, messages, more);
            } else {
                self.page_failed(before);
            }
            return 0;
        }
        let local_day = self.local_day;
        let shown = self.shown_mut();
        if shown.older != (Older::Loading { before }) {
            // It was requested for rows that are not shown any more.
            return 0;
        }
        if !is_of_log {
            // No automatic retry: until the room is joined with its new epoch, every answer would be the same.
            shown.older = Older::Failed;
            return 0;
        }
        if before != shown.before_first + 1 {
            // The oldest rows were dropped since.
            shown.older = Older::More;
            return 0;
        }
        let new = shown.insert_older(messages, more, local_day);
        let is_at_end = self.away.is_none();
        self.drop_newest();
        if is_at_end { new } else { 0 }
    }

    /// The request for the page before an offset failed.
    pub(super) fn page_failed(&mut self, before: u64) {
        if let Some(away) = &mut self.away
            && away.newer == (Newer::Loading { before })
        {
            away.newer = Newer::Failed;
        } else if self.older() == (Older::Loading { before }) {
            self.shown_mut().older = Older::Failed;
        }
    }

    /// No request is answered any more.
    pub(super) fn pages_failed(&mut self) {
        if let Newer::Loading { before } = self.newer() {
            self.page_failed(before);
        }
        if let Older::Loading { before } = self.older() {
            self.page_failed(before);
        }
    }

    /// Drops some of the oldest rows beyond the bounds, which are wider while the list is scrolled up.
    pub(super) fn apply_bounds(&mut self, at_end: bool) {
        self.end.trim(self.max_rows(at_end), DROPPED_AT_ONCE);
    }

    /// Whether [`Self::apply_bounds`] has nothing to drop.
    pub(super) fn is_within_bounds(&self, at_end: bool) -> bool {
        !self.end.rows.is_over(bounds(self.max_rows(at_end)))
    }

    fn max_rows(&self, at_end: bool) -> usize {
        if at_end || self.away.is_some() {
            MAX_ROWS_AT_END
        } else {
            MAX_ROWS
        }
    }

    /// Drops the rows that a list at its end does not have. It is not on the page.
    pub(super) fn put_away(&mut self) {
        self.away = None;
        self.put_end_aside();
    }

    fn put_end_aside(&mut self) {
        self.end.trim(MAX_ROWS_AT_END, MAX_ROWS);
    }
}

fn bounds(max_rows: usize) -> RowOptions {
    RowOptions {
        max_rows,
        max_bytes: MAX_BYTES,
    }
}

fn older_before(offset: u64) -> Older {
    if offset == 0 { Older::Beginning } else { Older::More }
}

#[cfg(test)]
mod tests;
