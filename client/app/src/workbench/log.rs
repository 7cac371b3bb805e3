//! The workbench's log: bounded rows with consecutive numbers, and the undo of a clear.

use std::{collections::VecDeque, ops::Range, rc::Rc};

use super::log_entry::{Content, Direction};
use crate::rows::{Row, RowOptions, Rows};

/// Rows with consecutive numbers; beyond the bounds the oldest are dropped and counted.
#[derive(Debug)]
pub(crate) struct Log<T> {
    rows: Rows<T>,
    options: RowOptions,
    dropped: u64,
    counts: Counts,
    cleared: Option<Cleared<T>>,
}

/// How many of a log's rows are messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: usize,
    pub(crate) received: usize,
}

impl Counts {
    pub(crate) fn messages(self) -> usize {
        self.sent + self.received
    }

    fn of(&mut self, direction: Direction) -> Option<&mut usize> {
        match direction {
            Direction::Sent => Some(&mut self.sent),
            Direction::Received => Some(&mut self.received),
            Direction::Notice => None,
        }
    }
}

/// The state before a clear, for its undo.
#[derive(Debug)]
struct Cleared<T> {
    rows: VecDeque<Rc<Row<T>>>,
    dropped: u64,
    counts: Counts,
}

impl<T: Content> Log<T> {
    pub(crate) fn new(options: RowOptions) -> Self {
        Self {
            rows: Rows::new(),
            options,
            dropped: 0,
            counts: Counts::default(),
            cleared: None,
        }
    }

    /// Appends a row. The newest row always stays, however large it is.
    pub(crate) fn push(&mut self, at: f64, content: T) {
        if let Some(count) = self.counts.of(content.direction()) {
            *count += 1;
        }
        self.rows.push(at, content);
        self.drop_beyond_bounds();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of the oldest row, or of the next one if there is none.
    pub(crate) fn first_number(&self) -> u64 {
        self.rows.get(0).map_or(self.last_number() + 1, |row| row.number)
    }

    /// The number of the newest row, also if it was cleared; 0 before the first.
    pub(crate) fn last_number(&self) -> u64 {
        self.rows.last_number()
    }

    /// Changes how many bytes the rows may have, and drops the oldest that are beyond.
    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.options.max_bytes = max_bytes;
        self.drop_beyond_bounds();
    }

    /// How many rows were dropped because of the bounds since the log was last cleared.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many of the kept rows are messages.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The rows at these indices, counted from the oldest; indices beyond the end are left out.
    pub(crate) fn range(&self, indices: Range<usize>) -> impl DoubleEndedIterator<Item = &Rc<Row<T>>> {
        let end = indices.end.min(self.rows.len());
        self.rows.range(indices.start.min(end)..end)
    }

    /// The rows with higher numbers than this one, oldest first.
    pub(crate) fn after(&self, number: u64) -> impl DoubleEndedIterator<Item = &Rc<Row<T>>> {
        let newer = usize::try_from(self.last_number().saturating_sub(number)).unwrap_or(usize::MAX);
        self.range(self.len().saturating_sub(newer)..self.len())
    }

    /// The row with this number; none if it was dropped or cleared.
    pub(crate) fn get(&self, number: u64) -> Option<&Rc<Row<T>>> {
        let index = number.checked_sub(self.first_number())?;
        self.rows.get(usize::try_from(index).ok()?)
    }

    /// Removes all rows; [`Log::undo_clear`] restores them until the next clear.
    pub(crate) fn clear(&mut self) {
        self.cleared = Some(Cleared {
            rows: self.rows.take(),
            dropped: std::mem::take(&mut self.dropped),
            counts: std::mem::take(&mut self.counts),
        });
    }

    /// Whether cleared rows can be restored.
    pub(crate) fn can_undo_clear(&self) -> bool {
        self.cleared.as_ref().is_some_and(|cleared| !cleared.rows.is_empty())
    }

    /// Restores the cleared rows in front of those that were added since, within the bounds.
    pub(crate) fn undo_clear(&mut self) {
        if let Some(Cleared { rows, dropped, counts }) = self.cleared.take() {
            self.rows.prepend(rows);
            self.dropped += dropped;
            self.counts.sent += counts.sent;
            self.counts.received += counts.received;
            self.drop_beyond_bounds();
        }
    }

    fn drop_beyond_bounds(&mut self) {
        while let Some(row) = self.rows.drop_oldest(self.options) {
            self.dropped += 1;
            if let Some(count) = self.counts.of(row.content.direction()) {
                *count -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{PayloadSize, ROW_BYTES};

    impl PayloadSize for usize {
        fn payload_bytes(&self) -> usize {
            *self
        }
    }

    impl Content for usize {
        fn direction(&self) -> Direction {
            [Direction::Notice, Direction::Sent, Direction::Received][(*self).min(2)]
        }
    }

    fn log(rows: usize, bytes: usize) -> Log<usize> {
        Log::new(RowOptions {
            max_rows: rows,
            max_bytes: bytes,
        })
    }

    fn numbers(log: &Log<usize>) -> Vec<u64> {
        log.range(0..usize::MAX).map(|row| row.number).collect()
    }

    #[test]
    fn beyond_the_row_bound_the_oldest_are_dropped_and_counted() {
        let mut log = log(3, usize::MAX);
        for _ in 0..5 {
            log.push(0.0, 1);
        }
        assert_eq!(
            (numbers(&log), log.dropped(), log.first_number()),
            (vec![3, 4, 5], 2, 3)
        );
        assert!(log.get(2).is_none() && log.get(6).is_none());
        assert_eq!(log.get(4).unwrap().number, 4);
    }

    #[test]
    fn beyond_the_byte_bound_the_oldest_are_dropped_but_the_newest_stays() {
        let mut log = log(100, 1000);
        for _ in 0..10 {
            log.push(0.0, 100);
        }
        assert_eq!(log.len(), 1000 / (ROW_BYTES + 100));
        log.push(0.0, 1_000_000);
        assert_eq!((numbers(&log), log.dropped()), (vec![11], 10));
        log.push(0.0, 1);
        assert_eq!(numbers(&log), [12], "its bytes must be subtracted when it is dropped");
    }

    #[test]
    fn a_lower_byte_bound_drops_the_oldest_at_once() {
        let mut log = log(100, usize::MAX);
        for _ in 0..10 {
            log.push(0.0, 100);
        }
        log.set_max_bytes(3 * (ROW_BYTES + 100));
        assert_eq!((numbers(&log), log.dropped()), (vec![8, 9, 10], 7));
    }

    #[test]
    fn the_undo_of_a_clear_keeps_the_rows_added_since() {
        let mut log = log(4, usize::MAX);
        for _ in 0..3 {
            log.push(0.0, 1);
        }
        log.clear();
        assert_eq!((log.len(), log.can_undo_clear(), log.first_number()), (0, true, 4));
        log.push(0.0, 1);
        log.push(0.0, 1);
        log.undo_clear();
        assert_eq!(
            (numbers(&log), log.dropped(), log.can_undo_clear()),
            (vec![2, 3, 4, 5], 1, false)
        );
    }

    #[test]
    fn the_counts_are_those_of_the_kept_messages() {
        let mut log = log(4, usize::MAX);
        let counts = |log: &Log<usize>| (log.counts().sent, log.counts().received, log.counts().messages());
        for content in [1, 1, 2, 0, 2] {
            log.push(0.0, content);
        }
        assert_eq!(counts(&log), (1, 2, 3), "one of the sent is dropped");
        log.clear();
        assert_eq!(counts(&log), (0, 0, 0));
        log.push(0.0, 1);
        log.undo_clear();
        assert_eq!(counts(&log), (1, 2, 3), "the other sent one is dropped");
    }

    #[test]
    fn the_rows_after_a_number_are_the_kept_ones() {
        let mut log = log(3, usize::MAX);
        for _ in 0..5 {
            log.push(0.0, 1);
        }
        let after = |number| log.after(number).map(|row| row.number).collect::<Vec<_>>();
        assert_eq!([after(5), after(4), after(1)], [vec![], vec![5], vec![3, 4, 5]]);
    }

    #[test]
    fn a_range_beyond_the_end_is_cut_without_a_panic() {
        let mut log = log(4, usize::MAX);
        log.push(0.0, 1);
        assert_eq!(log.range(5..9).count(), 0);
        assert_eq!(log.range(0..9).count(), 1);
    }
}
