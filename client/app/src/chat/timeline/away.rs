//! Rows that are shown while they are far from the end of the log: those that are there after older ones were loaded until the page had
//! too many, or around a message that was gone to. The newest rows are kept beside them as those of a list at its end, with all that
//! arrives, and are shown again as soon as the rows reach them.

use super::{
    Body, DROPPED_AT_ONCE, Entry, FULL, MAX_ROWS, MAX_ROWS_AT_END, NoticeKind, Older, PAGE, RoomMessage, Seek, Span,
    Target, Timeline,
};
use crate::{chat::other_rooms::gap, rows::Row};

/// Where a message is that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The number of its row.
    Row(u64),
    /// It is not loaded, and the last one before this offset.
    InPage {
        before: u64,
    },
    /// It is not loaded; the last one before this offset says where to look.
    Between {
        before: u64,
    },
    Nowhere,
}

/// What follows the newest of the rows that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newer {
    /// They end with the log.
    Nothing,
    /// There are more, which can be requested.
    More,
    /// Those before this offset are requested.
    Loading { before: u64 },
    /// The last request failed; it can be repeated.
    Failed,
}

#[derive(Debug)]
pub(super) struct Away {
    pub(super) span: Span,
    /// The offset of the newest message.
    last: u64,
    pub(super) newer: Newer,
    /// Newer messages that do not follow yet: a page is shorter than was asked for where messages are long.
    ahead: Vec<RoomMessage>,
}

impl Timeline {
    /// Whether the end of the log is not shown.
    pub(crate) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// What follows the last row of [`Self::current`].
    pub(crate) fn newer(&self) -> Newer {
        self.away.as_ref().map_or(Newer::Nothing, |away| away.newer)
    }

    /// Shows the end of the log.
    pub(in crate::chat) fn show_end(&mut self) {
        self.away = None;
    }

    /// Whether the page before this offset was requested for the newer messages in it.
    pub(super) fn is_newer(&self, before: u64) -> bool {
        self.newer() == Newer::Loading { before }
    }

    /// Starts a request for newer messages: returns the offset before which they end, or none if there is nothing to
    /// request.
    pub(in crate::chat) fn request_newer(&mut self) -> Option<u64> {
        let before_end = self.end.before_first;
        let away = self.away.as_mut()?;
        if !matches!(away.newer, Newer::More | Newer::Failed) {
            return None;
        }
        let before = match away.ahead.first() {
            Some(ahead) => ahead.offset,
            None => (away.last + u64::from(PAGE)).min(before_end.max(away.last + 1)) + 1,
        };
        away.newer = Newer::Loading { before };
        Some(before)
    }

    /// Appends the page before an offset, oldest message first, to the rows that it follows, and drops the oldest beyond the bounds.
    pub(super) fn insert_newer(&mut self, before: u64, mut messages: Vec<RoomMessage>, more: bool) {
        let (local_day, before_end) = (self.local_day, self.end.before_first);
        let Some(Away {
            span,
            last,
            newer,
            ahead,
        }) = &mut self.away
        else {
            return;
        };
        let is_empty = messages.is_empty();
        messages.append(ahead);
        let first = messages.first().map_or(before, |first| first.offset);
        if first > *last + 1 && more {
            // No progress: automatic requests would follow each other without end.
            *newer = if is_empty { Newer::Failed } else { Newer::More };
            // The rows may end earlier than when the page was requested.
            if first <= *last + u64::from(PAGE) {
                *ahead = messages;
            }
            return;
        }
        // Of a block that is not in sight the browser has the height, which must stay.
        span.blocks[1] = FULL;
        if first > *last + 1 {
            // The server has dropped those between.
            let at = span.rows.range(..).next_back().map_or(0.0, |row| row.at);
            let body = Body::Notice(NoticeKind::Loss, gap(true).into());
            span.insert(span.rows.len(), at, false, body, local_day);
            *last = first - 1;
        }
        for message in messages {
            if message.offset == *last + 1 && *last < before_end {
                *last = message.offset;
                span.insert_message(span.rows.len(), message, false, local_day);
            }
        }
        *newer = Newer::More;
        while span.is_over() && span.rows.len() > 1 {
            span.trim(MAX_ROWS, DROPPED_AT_ONCE);
        }
        self.join_end();
    }

    /// Drops the newest rows beyond the bounds, after older ones were inserted. Those at the end of the log are kept beside the others.
    pub(super) fn drop_newest(&mut self) {
        if self.away.is_none() && self.end.is_over() {
            self.leave_end();
        }
        let Some(away) = &mut self.away else { return };
        while away.span.is_over() && away.span.rows.len() > away.span.previous + 1 {
            if let Some(offset) = away.span.rows.pop_newest().and_then(|row| offset_of(&row)) {
                away.last = offset.saturating_sub(1);
            }
            away.span.blocks[1] = FULL;
            away.ahead.clear();
        }
    }

    /// Splits the rows: the newest, and the others, which are shown.
    fn leave_end(&mut self) {
        let rows = &self.end.rows;
        let newest = MAX_ROWS_AT_END.min(rows.len() / 2);
        let is_start = |index: &usize| {
            let block = |index| rows.get(index).map(|row| row.content.block);
            block(*index) != block(index - 1)
        };
        // A block stays in one piece.
        let Some(at) = (rows.len() - newest..rows.len()).find(is_start) else {
            return;
        };
        if at <= self.end.previous {
            return;
        }
        let newest = self.end.rows.split_off(at);
        let last = newest.range(..).find_map(|row| offset_of(row));
        let last = last.map_or(self.received, |first| first.saturating_sub(1));
        let end = Span {
            blocks: [FULL, self.end.blocks[1]],
            before_first: last,
            older: Older::More,
            ..Span::new(newest)
        };
        let mut span = std::mem::replace(&mut self.end, end);
        span.blocks[1] = FULL;
        self.away = Some(Away::new(span, last));
    }

    /// Shows a page of history, oldest message first, and what follows it.
    pub(in crate::chat) fn open(&mut self, mut messages: Vec<RoomMessage>, more: bool) {
        messages.retain(|message| message.offset <= self.end.before_first);
        let Some(last) = messages.last().map(|last| last.offset) else {
            // They are among the newest rows by now.
            self.show_end();
            return;
        };
        let mut span = Span::new(self.end.rows.split_off(self.end.rows.len()));
        span.before_first = last;
        span.insert_older(messages, more, self.local_day);
        if matches!(self.end.older, Older::Loading { .. }) {
            // The answer is for rows that are not shown any more.
            self.end.older = Older::More;
        }
        self.away = Some(Away::new(span, last));
        self.join_end();
        if self.is_away() {
            self.put_end_aside();
        }
    }

    /// The rows are shown together with the newest ones if nothing is between them.
    fn join_end(&mut self) {
        let end = &mut self.end;
        let Some(Away { mut span, .. }) = self.away.take_if(|away| away.last >= end.before_first) else {
            return;
        };
        let newest = end.rows.split_off(end.previous);
        span.rows.prepend(std::mem::replace(&mut end.rows, newest));
        end.rows.prepend(span.rows);
        end.previous += span.previous;
        end.blocks[0] = span.blocks[0];
        end.before_first = span.before_first;
        end.older = span.older;
    }

    /// Where a message is. A time is looked for between two offsets: every message up to `after` is older, and none from `until` on.
    pub(in crate::chat) fn seek(&self, seek: &Seek, mut after: u64, mut until: u64) -> Found {
        let shown = self.shown();
        let all_before = match shown.older {
            Older::Beginning | Older::NotKept => shown.before_first,
            _ => 0,
        };
        let sought = match seek {
            Seek::Message(Target { epoch: Some(epoch), .. }) if self.epoch.as_ref().is_some_and(|log| log != epoch) => {
                return Found::Nowhere;
            }
            Seek::Message(Target { offset, .. }) => *offset,
            Seek::Time(time) => {
                after = after.max(all_before);
                until = until.min(self.received + 1);
                for (_, message) in self.all_current() {
                    if message.at < *time {
                        after = after.max(message.offset);
                    } else {
                        until = until.min(message.offset);
                    }
                }
                if after + 1 < until {
                    return Found::Between {
                        before: u64::midpoint(after, until) + 1,
                    };
                }
                until
            }
        };
        match self.row_of(sought) {
            Some(row) => Found::Row(row),
            None if sought > all_before && sought <= self.received => Found::InPage { before: sought + 1 },
            None => Found::Nowhere,
        }
    }

    /// Starts a request for what follows a row, if it is the last that is shown and more follows.
    pub(in crate::chat) fn request_after(&mut self, row: u64) -> Option<u64> {
        let last = self.away.as_ref().filter(|away| away.newer == Newer::More)?;
        let last = last.span.rows.range(..).next_back()?;
        (last.number == row).then(|| self.request_newer())?
    }

    /// Shows the end of the log if this row is shown there only.
    pub(in crate::chat) fn show_rows_with(&mut self, row: u64) {
        if !self.previous().chain(self.current()).any(|shown| shown.number == row) {
            self.show_end();
        }
    }
}

impl Away {
    fn new(span: Span, last: u64) -> Self {
        Self {
            span,
            last,
            newer: Newer::More,
            ahead: Vec::new(),
        }
    }
}

fn offset_of(row: &Row<Entry>) -> Option<u64> {
    match &row.content.body {
        Body::Message(message) => Some(message.offset),
        Body::Notice(..) | Body::Presence { .. } => None,
    }
}
