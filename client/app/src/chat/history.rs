//! What the browser keeps of rooms that were read, as texts: how rows are written, which are dropped, and how they are
//! read again. `history_store` has these texts in IndexedDB.
//!
//! A room is kept in segments of some rows, so that a new message neither writes all of them again nor costs a record of
//! its own. Its index, [`Kept`], says which segments there are and has the cursor after the last row.

use std::{collections::VecDeque, fmt::Write, ops::Range, rc::Rc, str::FromStr};

use talkback_client::{Cursor, Epoch, RoomName};

use super::timeline::{Body, Entry, RoomMessage};
use crate::rows::Row;

/// At least this many of a room's newest rows are kept, unless [`MAX_BYTES`] are fewer: as many as a list at its end
/// shows.
pub(super) const MIN_ROWS: usize = 500;

/// At most this many rows of a room are kept, because whole segments are dropped.
const MAX_ROWS: usize = MIN_ROWS + SEGMENT_ROWS;

/// At most this many bytes of a room are kept: 64 rooms of them are far below what browsers give a page.
const MAX_BYTES: usize = 512 << 10;

/// At most this many rooms are kept, over all users; the one that was written the longest ago is dropped first.
pub(super) const MAX_ROOMS: usize = 64;

/// A segment with so many rows, or so many bytes, is full. Each write of a room writes its last segment again.
const SEGMENT_ROWS: usize = 50;
const SEGMENT_BYTES: usize = 16 << 10;

/// A message has at most so many bytes beside its sender, its text and its mentions.
const MESSAGE_BYTES: usize = 64;

/// Rows of one log that follow each other, to be kept.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) room: RoomName,
    /// After the last row.
    pub(super) cursor: Cursor,
    /// The offset before the first row.
    pub(super) after: u64,
    /// The epoch whose messages this log goes on from, if it began as a copy of another one.
    pub(super) forked: Option<Epoch>,
    /// It is a page of history: its rows are kept before the others, and the cursor of the room stays.
    pub(super) is_older: bool,
    pub(super) rows: Vec<Rc<Row<Entry>>>,
}

/// What is kept of a room, to be shown again.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    /// The user who has read it.
    pub(super) user: String,
    pub(super) cursor: Cursor,
    pub(super) parts: Vec<Part>,
}

/// Rows without a gap between them.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    /// The rows above belong to another log, or messages are missing between them and these.
    pub(super) is_break: bool,
    pub(super) messages: Vec<RoomMessage>,
}

/// The index of a room's segments.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    cursor: Option<Cursor>,
    /// When it was written last, in milliseconds since the Unix epoch.
    pub(super) at: u64,
    segments: VecDeque<Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    /// Those of pages of history count down from the first one.
    number: i64,
    rows: usize,
    bytes: usize,
}

impl Kept {
    /// Reads what [`Kept::to_text`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (at, cursor) = lines.next()?.split_once(' ')?;
        let segment = |line: &str| {
            let mut numbers = line.split(' ');
            Some(Segment {
                number: number(&mut numbers)?,
                rows: number(&mut numbers)?,
                bytes: number(&mut numbers)?,
            })
        };
        Some(Self {
            cursor: Some(cursor.parse().ok()?),
            at: at.parse().ok()?,
            segments: lines.map(segment).collect::<Option<_>>()?,
        })
    }

    /// A line with the cursor, then one for each segment; none while nothing is kept.
    pub(super) fn to_text(&self) -> Option<String> {
        let mut text = format!("{} {}\n", self.at, self.cursor.as_ref()?);
        for Segment { number, rows, bytes } in &self.segments {
            // Writing to a text cannot fail.
            let _: Result<(), _> = writeln!(text, "{number} {rows} {bytes}");
        }
        Some(text)
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The number of the segment whose text [`Kept::add`] needs: the first one, or the last one if it is not full.
    pub(super) fn open_segment(&self, batch: &Batch) -> Option<i64> {
        if batch.is_older {
            return Some(self.segments.front()?.number);
        }
        let last = self.segments.back()?;
        (last.rows < SEGMENT_ROWS && last.bytes < SEGMENT_BYTES).then_some(last.number)
    }

    /// The number of the first segment: those before it are dropped.
    pub(super) fn first_segment(&self) -> i64 {
        self.segments.front().map_or(0, |first| first.number)
    }

    /// Adds the rows of a batch that are not kept yet, and drops the oldest segments beyond the bounds. `open` is the text of
    /// [`Kept::open_segment`]. Returns the segments to write, with their numbers; none if there is nothing new.
    pub(super) fn add(&mut self, batch: &Batch, open: Option<String>) -> Option<Vec<(i64, String)>> {
        if batch.is_older {
            self.prepend(batch, &open?)
        } else {
            self.append(batch, open)
        }
    }

    /// Adds the rows that directly precede the kept ones, as many as the bounds leave space for.
    fn prepend(&mut self, batch: &Batch, first: &str) -> Option<Vec<(i64, String)>> {
        let epoch = batch.cursor.epoch.as_str();
        let (head, rows) = first.split_once('\n')?;
        let front = self.segments.front()?.number;
        let mut next = read_message(rows)?.0.offset;
        let mut space = MIN_ROWS.saturating_sub(self.sum(|segment| segment.rows));
        let mut bytes = MAX_BYTES.saturating_sub(self.sum(|segment| segment.bytes));
        let mut added = Vec::new();
        for row in batch.rows.iter().rev().filter(|_| head.get(1..) == Some(epoch)) {
            let Body::Message(message) = &row.content.body else {
                continue;
            };
            if message.offset >= next {
                continue;
            }
            let size = MESSAGE_BYTES + message.from.len() + message.text.len();
            if message.offset + 1 != next || space == 0 || bytes < size {
                break;
            }
            (next, space, bytes) = (message.offset, space - 1, bytes - size);
            added.push(message);
        }
        let mut segments: Vec<(Segment, String)> = Vec::new();
        for message in added.into_iter().rev() {
            let is_full =
                |(segment, text): &(Segment, String)| segment.rows >= SEGMENT_ROWS || text.len() >= SEGMENT_BYTES;
            if segments.last().is_none_or(is_full) {
                let sign = if segments.is_empty() { "-" } else { "+" };
                segments.push((Segment::after(None), [sign, epoch, "\n"].concat()));
            }
            if let Some((segment, text)) = segments.last_mut() {
                push_message(text, message);
                segment.rows += 1;
            }
        }
        if segments.is_empty() {
            return None;
        }
        // It is the first one no longer.
        let mut written = vec![(front, ["+", &first[1..]].concat())];
        for ((segment, text), number) in segments.into_iter().rev().zip((i64::MIN..front).rev()) {
            self.segments.push_front(Segment { number, ..segment }.close(&text));
            written.push((number, text));
        }
        Some(written)
    }

    fn append(&mut self, batch: &Batch, open: Option<String>) -> Option<Vec<(i64, String)>> {
        let is_same = |last: &&Cursor| last.epoch == batch.cursor.epoch;
        let is_copy = |last: &&Cursor| batch.forked.as_ref() == Some(&last.epoch);
        let last = self.cursor.as_ref();
        if last
            .filter(is_same)
            .is_some_and(|last| last.offset >= batch.cursor.offset)
        {
            return None;
        }
        let continued = last.filter(|last| (is_same(last) || is_copy(last)) && batch.after <= last.offset.get());
        let known = continued.map_or(0, |last| last.offset.get());
        let open = open.filter(|_| continued.as_ref().is_some_and(is_same));
        let mut is_break = continued.is_none();
        let mut written = Vec::new();
        let (mut segment, mut text) = match (open, self.segments.back().copied()) {
            (Some(text), Some(last)) => {
                self.segments.pop_back();
                (last, text)
            }
            (_, last) => (Segment::after(last), String::new()),
        };
        for row in &batch.rows {
            let Body::Message(message) = &row.content.body else {
                continue;
            };
            if message.offset <= known {
                continue;
            }
            if segment.rows >= SEGMENT_ROWS || text.len() >= SEGMENT_BYTES {
                let full = segment.close(&text);
                segment = Segment::after(Some(full));
                self.segments.push_back(full);
                written.push((full.number, std::mem::take(&mut text)));
            }
            if text.is_empty() {
                text.push(if std::mem::take(&mut is_break) { '-' } else { '+' });
                text.push_str(batch.cursor.epoch.as_str());
                text.push('\n');
            }
            push_message(&mut text, message);
            segment.rows += 1;
        }
        if segment.rows > 0 {
            self.segments.push_back(segment.close(&text));
            written.push((segment.number, text));
        }
        self.cursor = Some(batch.cursor.clone());
        self.apply_bounds();
        Some(written)
    }

    fn sum(&self, size: fn(&Segment) -> usize) -> usize {
        self.segments.iter().map(size).sum()
    }

    fn apply_bounds(&mut self) {
        while self.segments.len() > 1
            && (self.sum(|segment| segment.rows) > MAX_ROWS || self.sum(|segment| segment.bytes) > MAX_BYTES)
        {
            self.segments.pop_front();
        }
    }
}

impl Segment {
    /// The empty segment after another one.
    fn after(last: Option<Self>) -> Self {
        Self {
            number: last.map_or(1, |last| last.number + 1),
            rows: 0,
            bytes: 0,
        }
    }

    fn close(self, text: &str) -> Self {
        Self {
            bytes: text.len(),
            ..self
        }
    }
}

/// Reads the rows of segments, oldest first. What cannot be read is left out.
pub(super) fn read(segments: impl Iterator<Item = String>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for segment in segments {
        let Some((head, mut rows)) = segment.split_once('\n') else {
            continue;
        };
        let is_break = head.starts_with('-');
        let Ok(epoch) = Epoch::parse(head.get(1..).unwrap_or_default()) else {
            continue;
        };
        let mut messages = Vec::new();
        while let Some((message, rest)) = read_message(rows) {
            messages.push(message);
            rows = rest;
        }
        match parts.last_mut() {
            Some(part) if !is_break && part.epoch == epoch => part.messages.append(&mut messages),
            _ => parts.push(Part {
                epoch,
                is_break,
                messages,
            }),
        }
    }
    parts
}

/// A line with numbers (the last ones are pairs: the mentions), then the sender and the text.
fn push_message(text: &mut String, message: &RoomMessage) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time after 1970; `as` saturates"
    )]
    let at = message.at as u64;
    let flags = u64::from(message.own) | u64::from(message.mentions_me) << 1 | u64::from(message.deleted) << 2;
    let mut numbers = vec![
        message.offset,
        at,
        flags,
        message.from.len() as u64,
        message.text.len() as u64,
    ];
    for mention in &message.mentions {
        numbers.extend([mention.start as u64, mention.end as u64]);
    }
    push_numbers(text, &numbers);
    text.push_str(&message.from);
    text.push_str(&message.text);
    text.push('\n');
}

fn read_message(rows: &str) -> Option<(RoomMessage, &str)> {
    let (head, rest) = rows.split_once('\n')?;
    let mut numbers = head.split(' ');
    let offset = number(&mut numbers)?;
    let at: u64 = number(&mut numbers)?;
    let flags: u64 = number(&mut numbers)?;
    let from_end: usize = number(&mut numbers)?;
    let text_end = from_end.checked_add(number(&mut numbers)?)?;
    let text = rest.get(from_end..text_end)?;
    let mut mentions: Vec<Range<usize>> = Vec::new();
    while let (Some(start), Some(end)) = (number(&mut numbers), number(&mut numbers)) {
        // A mention has at least its sign, which the list of messages relies on.
        text.get(start..end).filter(|mention| mention.len() > 1)?;
        mentions.push(start..end);
    }
    let message = RoomMessage {
        offset,
        from: rest.get(..from_end)?.to_owned(),
        #[expect(clippy::cast_precision_loss, reason = "times are below 2^53")]
        at: at as f64,
        text: text.to_owned(),
        deleted: flags & 4 != 0,
        own: flags & 1 != 0,
        mentions,
        mentions_me: flags & 2 != 0,
    };
    Some((message, rest.get(text_end + 1..)?))
}

fn number<'a, N: FromStr>(numbers: &mut impl Iterator<Item = &'a str>) -> Option<N> {
    numbers.next()?.parse().ok()
}

fn push_numbers(text: &mut String, numbers: &[u64]) {
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        // Writing to a text cannot fail.
        let _: Result<(), _> = write!(text, "{number}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use talkback_client::Offset;

    use super::*;
    use crate::chat::timeline::Timeline;

    fn cursor(epoch: u64, offset: u64) -> Cursor {
        Cursor {
            epoch: Epoch::from_random(epoch),
            offset: Offset::new(offset).unwrap(),
        }
    }

    fn message(offset: u64, text: &str) -> RoomMessage {
        RoomMessage {
            offset,
            from: "Ann\u{e9}".into(),
            at: 1_700_000_000_123.0,
            text: text.into(),
            deleted: text.is_empty(),
            own: offset.is_multiple_of(2),
            mentions: Vec::new(),
            mentions_me: false,
        }
    }

    /// The messages of an epoch after `after`, as the timeline gives them.
    fn batch(epoch: u64, after: u64, to: u64, text: &str) -> Batch {
        let mut timeline = Timeline::new(|_| 0);
        timeline.start_log(Epoch::from_random(epoch), after);
        for offset in after + 1..=to {
            timeline.push_message(message(offset, text), true);
        }
        Batch {
            room: RoomName::parse("a").unwrap(),
            cursor: cursor(epoch, to),
            after,
            forked: None,
            is_older: false,
            rows: timeline.messages_after(after),
        }
    }

    /// A page of history with the messages of an epoch after `after`.
    fn page(epoch: u64, after: u64, to: u64, text: &str) -> Batch {
        Batch {
            is_older: true,
            ..batch(epoch, after, to, text)
        }
    }

    /// What IndexedDB does: the index and the segments by their numbers.
    #[derive(Default)]
    struct Store {
        index: Option<String>,
        segments: std::collections::BTreeMap<i64, String>,
    }

    impl Store {
        fn write(&mut self, batch: &Batch) -> bool {
            let mut kept = self.index.as_deref().and_then(Kept::parse).unwrap_or_default();
            let open = kept.open_segment(batch).map(|number| self.segments[&number].clone());
            let Some(written) = kept.add(batch, open) else {
                return false;
            };
            self.segments.extend(written);
            self.segments.retain(|number, _| *number >= kept.first_segment());
            self.index = kept.to_text();
            let bytes: usize = self.segments.values().map(String::len).sum();
            assert_eq!(bytes, kept.segments.iter().map(|segment| segment.bytes).sum::<usize>());
            assert_eq!(self.segments.len(), kept.segments.len());
            true
        }

        /// Of each part: its epoch, whether it is a break, and its first and last offset.
        fn parts(&self) -> Vec<(Epoch, bool, u64, u64)> {
            let parts = read(self.segments.values().cloned());
            let summary = |part: &Part| {
                let offsets: Vec<_> = part.messages.iter().map(|message| message.offset).collect();
                assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{offsets:?}");
                (
                    part.epoch.clone(),
                    part.is_break,
                    offsets[0],
                    offsets[offsets.len() - 1],
                )
            };
            parts.iter().map(summary).collect()
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written_whatever_its_text_is() {
        let mut messages = vec![
            message(1, ""),
            message(2, "a\nb\r\n\0\u{1f600} 3 4\n- x"),
            message(3, "@Bob @Ann\u{e9}"),
        ];
        messages[2].mentions = vec![0..4, 5..11];
        messages[2].mentions_me = true;
        let mut text = format!("-{}\n", Epoch::from_random(7));
        messages.iter().for_each(|message| push_message(&mut text, message));
        let [part] = &read([text.clone()].into_iter())[..] else {
            panic!("it is one part")
        };
        assert_eq!((part.is_break, &part.messages), (true, &messages));
        for end in 0..text.len() {
            // A text that another version wrote is read without a panic.
            read(text.get(..end).map(str::to_owned).into_iter());
            read(text.get(end..).map(str::to_owned).into_iter());
        }
    }

    #[test]
    fn batches_of_one_log_are_one_part_and_rows_that_are_kept_already_are_not_kept_twice() {
        let mut store = Store::default();
        assert!(store.write(&batch(1, 0, 3, "a")));
        assert!(!store.write(&batch(1, 0, 3, "a")), "nothing is new");
        assert!(store.write(&batch(1, 1, 5, "a")), "two of them are new");
        assert!(store.write(&batch(1, 5, 120, "a")));
        assert_eq!(store.parts(), [(Epoch::from_random(1), true, 1, 120)]);
        assert_eq!(
            store.segments.len(),
            3,
            "a segment is filled before the next one begins"
        );
        let kept = Kept::parse(store.index.as_deref().unwrap()).unwrap();
        assert_eq!(kept.cursor(), Some(&cursor(1, 120)));
    }

    #[test]
    fn another_log_and_a_gap_begin_a_part_of_their_own_and_a_copy_of_the_log_goes_on() {
        let mut store = Store::default();
        store.write(&batch(1, 0, 3, "a"));
        store.write(&batch(1, 7, 9, "a"));
        store.write(&batch(2, 9, 11, "a"));
        let mut copy = batch(3, 11, 12, "a");
        copy.forked = Some(Epoch::from_random(2));
        store.write(&copy);
        assert_eq!(
            store.parts(),
            [
                (Epoch::from_random(1), true, 1, 3),
                (Epoch::from_random(1), true, 8, 9),
                (Epoch::from_random(2), true, 10, 11),
                (Epoch::from_random(3), false, 12, 12),
            ]
        );
    }

    #[test]
    fn pages_of_history_are_kept_before_the_rows_that_they_precede_until_the_bounds_are_reached() {
        let mut store = Store::default();
        assert!(!store.write(&page(1, 0, 100, "a")), "nothing is kept that it precedes");
        store.write(&batch(1, 700, 710, "a"));
        assert!(!store.write(&page(2, 600, 700, "a")), "it is of another log");
        assert!(!store.write(&page(1, 500, 600, "a")), "messages are missing between");
        assert!(store.write(&page(1, 600, 700, "a")));
        assert_eq!(store.parts(), [(Epoch::from_random(1), true, 601, 710)]);
        assert!(!store.write(&page(1, 600, 700, "a")), "it is kept already");
        assert!(store.write(&page(1, 500, 605, "a")), "a part of it is kept already");
        store.write(&batch(1, 710, 715, "a"));
        assert_eq!(store.parts(), [(Epoch::from_random(1), true, 501, 715)]);
        let kept = Kept::parse(store.index.as_deref().unwrap()).unwrap();
        assert_eq!(
            kept.cursor(),
            Some(&cursor(1, 715)),
            "the cursor is after the newest row"
        );
        store.write(&page(1, 300, 500, "a"));
        store.write(&page(1, 0, 300, "a"));
        assert_eq!(
            store.parts(),
            [(Epoch::from_random(1), true, 216, 715)],
            "as many as are kept"
        );
        for to in 716..=900 {
            store.write(&batch(1, to - 1, to, "a"));
        }
        let [(_, _, first, 900)] = store.parts()[..] else {
            panic!("it is one part")
        };
        assert!((350..=401).contains(&first), "{first}");

        let mut long = Store::default();
        long.write(&batch(1, 100, 101, "a"));
        long.write(&page(1, 0, 100, &"x".repeat(20_000)));
        let bytes: usize = long.segments.values().map(String::len).sum();
        assert!((MAX_BYTES / 2..=MAX_BYTES).contains(&bytes), "{bytes}");
    }

    #[test]
    fn rows_and_bytes_are_bounded_and_the_newest_stay() {
        let mut store = Store::default();
        for to in (7..=3_500).step_by(7) {
            store.write(&batch(1, to - 7, to, "a"));
            let [(_, _, first, last)] = store.parts()[..] else {
                panic!("it is one part")
            };
            let rows = usize::try_from(last - first + 1).unwrap();
            assert!(last == to && rows <= MAX_ROWS && rows >= MIN_ROWS.min(usize::try_from(to).unwrap()));
        }
        let long = "x".repeat(20_000);
        store.write(&batch(1, 3_500, 3_600, &long));
        let bytes: usize = store.segments.values().map(String::len).sum();
        assert!(bytes <= MAX_BYTES && store.parts()[0].3 == 3_600, "{bytes}");
    }

    #[test]
    fn an_index_that_cannot_be_read_is_none() {
        for text in ["", "1", "1 x", "x 0000000000000001:2\n", "1 0000000000000001:2\n1 2\n"] {
            assert_eq!(Kept::parse(text), None, "{text:?}");
        }
    }
}
