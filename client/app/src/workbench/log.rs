//! The workbench's log: bounded rows with consecutive numbers, and the undo of a clear. The logs of all tabs share one bound of bytes.

use std::{
    ops::{DerefMut, Range},
    rc::Rc,
};

use super::log_entry::{Content, Direction};
use crate::rows::{Row, Rows};

/// Rows with consecutive numbers; beyond the bounds the oldest are dropped and counted.
#[derive(Debug)]
pub(crate) struct Log<T> {
    rows: Rows<T>,
    max_rows: usize,
    dropped: u64,
    counts: Counts,
    cleared: Option<Cleared<T>>,
    /// The bound because of which rows were dropped, until the user has read it.
    notice: Option<Bound>,
    /// The user was told since the log was last cleared.
    told: bool,
}

/// Why rows were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The log has so many rows.
    Rows(usize),
    /// The logs of all tabs together have so many bytes.
    Bytes(usize),
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

    fn subtract<T: Content>(&mut self, dropped: &Row<T>) {
        if let Some(count) = self.of(dropped.content.direction()) {
            *count -= 1;
        }
    }
}

/// The state before a clear, for its undo.
#[derive(Debug)]
struct Cleared<T> {
    rows: Rows<T>,
    dropped: u64,
    counts: Counts,
}

impl<T: Content> Log<T> {
    pub(crate) fn new(max_rows: usize) -> Self {
        Self {
            rows: Rows::new(),
            max_rows,
            dropped: 0,
            counts: Counts::default(),
            cleared: None,
            notice: None,
            told: false,
        }
    }

    /// Appends a row. The newest row always stays, however large it is.
    pub(crate) fn push(&mut self, at: f64, content: T) {
        if let Some(count) = self.counts.of(content.direction()) {
            *count += 1;
        }
        self.rows.push(at, content);
        self.drop_beyond_max_rows();
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

    /// The bytes of all rows, also of those that the undo of a clear would restore.
    fn bytes(&self) -> usize {
        self.rows.bytes() + self.cleared.as_ref().map_or(0, |cleared| cleared.rows.bytes())
    }

    /// Drops the oldest row for the bound of all logs. The newest row always stays.
    fn drop_oldest(&mut self, max_bytes: usize) {
        if let Some(cleared) = &mut self.cleared
            && let Some(row) = cleared.rows.pop_oldest()
        {
            cleared.dropped += 1;
            cleared.counts.subtract(&row);
        } else if self.rows.len() > 1 {
            self.drop_row(Bound::Bytes(max_bytes));
        }
    }

    /// The bound because of which rows were dropped, unless the user has read it.
    pub(crate) fn notice(&self) -> Option<Bound> {
        self.notice
    }

    /// The user has read why rows were dropped.
    pub(crate) fn dismiss_notice(&mut self) {
        self.notice = None;
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
        self.notice = None;
        self.told = false;
    }

    /// Whether cleared rows can be restored.
    pub(crate) fn can_undo_clear(&self) -> bool {
        self.cleared.as_ref().is_some_and(|cleared| cleared.rows.len() > 0)
    }

    /// Restores the cleared rows in front of those that were added since, within the bound of rows.
    pub(crate) fn undo_clear(&mut self) {
        if let Some(Cleared { rows, dropped, counts }) = self.cleared.take() {
            self.rows.prepend(rows);
            self.dropped += dropped;
            self.counts.sent += counts.sent;
            self.counts.received += counts.received;
            self.drop_beyond_max_rows();
        }
    }

    fn drop_beyond_max_rows(&mut self) {
        while self.rows.len() > self.max_rows {
            // Between rows that are restored and the next ones there must be no gap.
            self.cleared = None;
            self.drop_row(Bound::Rows(self.max_rows));
        }
    }

    fn drop_row(&mut self, bound: Bound) {
        let Some(row) = self.rows.pop_oldest() else { return };
        self.dropped += 1;
        self.counts.subtract(&row);
        if !std::mem::replace(&mut self.told, true) {
            self.notice = Some(bound);
        }
    }
}

/// Drops rows until all logs together have at most so many bytes: first the cleared rows, then the oldest of the log that has most bytes. The
/// newest row of each log stays, however large it is. Returns whether there were too many.
pub(crate) fn share_memory<T: Content>(logs: &mut [impl DerefMut<Target = Log<T>>], max_bytes: usize) -> bool {
    let mut is_over = false;
    while logs.iter().map(|log| log.bytes()).sum::<usize>() > max_bytes {
        // Compared in this order: whether it has cleared rows, and its bytes. A log of a single row has none to give.
        let rank = |log: &Log<T>| {
            let is_cleared = log.can_undo_clear();
            (is_cleared || log.len() > 1).then_some((is_cleared, log.bytes()))
        };
        let Some(largest) = logs
            .iter_mut()
            .max_by_key(|log| rank(log))
            .filter(|log| rank(log).is_some())
        else {
            break;
        };
        largest.drop_oldest(max_bytes);
        is_over = true;
    }
    is_over
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

    fn log(rows: usize) -> Log<usize> {
        Log::new(rows)
    }

    fn numbers(log: &Log<usize>) -> Vec<u64> {
        log.range(0..usize::MAX).map(|row| row.number).collect()
    }

    #[test]
    fn beyond_the_row_bound_the_oldest_are_dropped_and_counted() {
        let mut log = log(3);
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

    /// The bytes of a row with a payload of 100 bytes.
    const ROW: usize = ROW_BYTES + 100;

    fn filled(rows: usize) -> Log<usize> {
        let mut log = log(100);
        for _ in 0..rows {
            log.push(0.0, 100);
        }
        log
    }

    #[test]
    fn a_log_may_use_the_bytes_that_the_others_do_not_use() {
        let (mut small, mut large) = (filled(1), filled(9));
        assert!(!share_memory(&mut [&mut small, &mut large], 10 * ROW));
        assert_eq!([small.len(), large.len()], [1, 9]);
        assert_eq!([small.notice(), large.notice()], [None, None]);
    }

    #[test]
    fn beyond_the_bytes_of_all_logs_the_largest_drops_its_oldest_rows_and_tells_it_once() {
        let (mut small, mut large) = (filled(4), filled(8));
        assert!(share_memory(&mut [&mut small, &mut large], 10 * ROW));
        assert_eq!([small.len(), large.len()], [4, 6]);
        assert_eq!((numbers(&large)[0], large.dropped()), (3, 2));
        assert_eq!([small.notice(), large.notice()], [None, Some(Bound::Bytes(10 * ROW))]);
        large.dismiss_notice();
        share_memory(&mut [&mut small, &mut large], 9 * ROW);
        assert_eq!((large.dropped(), large.notice()), (3, None));
        share_memory(&mut [&mut small, &mut large], 2 * ROW);
        assert_eq!(
            [small.len(), large.len()],
            [1, 1],
            "when they are equal, both give rows"
        );
    }

    #[test]
    fn the_newest_row_of_each_log_stays_however_large_it_is() {
        let (mut small, mut large) = (filled(1), log(100));
        large.push(0.0, 1_000_000);
        assert!(!share_memory(&mut [&mut small, &mut large], 1000));
        assert_eq!([small.len(), large.len()], [1, 1]);
        large.push(0.0, 1);
        assert!(share_memory(&mut [&mut small, &mut large], 1000));
        assert_eq!(numbers(&large), [2], "the bytes of a dropped row are subtracted");
    }

    #[test]
    fn cleared_rows_count_and_are_dropped_first() {
        let (mut cleared, mut other) = (filled(4), filled(6));
        cleared.clear();
        cleared.push(0.0, 100);
        assert!(share_memory(&mut [&mut cleared, &mut other], 9 * ROW));
        assert_eq!((cleared.len(), other.len(), cleared.notice()), (1, 6, None));
        cleared.undo_clear();
        assert_eq!((numbers(&cleared), cleared.dropped()), (vec![3, 4, 5], 2));
        assert_eq!(cleared.counts().messages(), 3, "those that are left");
        cleared.clear();
        share_memory(&mut [&mut cleared, &mut other], 7 * ROW);
        assert_eq!((cleared.can_undo_clear(), other.len()), (true, 6));
        share_memory(&mut [&mut cleared, &mut other], ROW);
        assert_eq!((cleared.can_undo_clear(), other.len()), (false, 1));
    }

    #[test]
    fn rows_beyond_the_bound_of_rows_leave_no_gap_behind_cleared_ones() {
        let mut log = log(2);
        log.push(0.0, 1);
        log.clear();
        for _ in 0..3 {
            log.push(0.0, 1);
        }
        assert!(!log.can_undo_clear());
        log.undo_clear();
        assert_eq!((numbers(&log), log.notice()), (vec![3, 4], Some(Bound::Rows(2))));
    }

    #[test]
    fn the_undo_of_a_clear_keeps_the_rows_added_since() {
        let mut log = log(4);
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
        let mut log = log(4);
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
        let mut log = log(3);
        for _ in 0..5 {
            log.push(0.0, 1);
        }
        let after = |number| log.after(number).map(|row| row.number).collect::<Vec<_>>();
        assert_eq!([after(5), after(4), after(1)], [vec![], vec![5], vec![3, 4, 5]]);
    }

    #[test]
    fn a_range_beyond_the_end_is_cut_without_a_panic() {
        let mut log = log(4);
        log.push(0.0, 1);
        assert_eq!(log.range(5..9).count(), 0);
        assert_eq!(log.range(0..9).count(), 1);
    }
}
