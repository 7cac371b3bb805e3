//! The rows of a log, bounded by count and bytes.

use std::{collections::VecDeque, ops::Range, rc::Rc};

/// What one row costs beside its payload, in bytes: the row itself, its reference count and its place in the queue.
const ROW_BYTES: usize = 128;

/// What a log keeps at most; over it the oldest rows are dropped and counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// The size of a row's content in memory.
pub(crate) trait Weigh {
    /// Bytes of payload.
    fn payload_bytes(&self) -> usize;
}

/// One row; its number never changes and never comes again.
#[derive(Debug)]
pub(crate) struct Row<T> {
    pub(crate) number: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: f64,
    pub(crate) content: T,
}

/// Rows of one log are equal when their numbers are: comparing megabytes of content on each drawing would cost more than drawing.
impl<T> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// Rows with consecutive numbers.
#[derive(Debug)]
pub(crate) struct Log<T> {
    rows: VecDeque<Rc<Row<T>>>,
    bytes: usize,
    limits: Limits,
    next: u64,
    dropped: u64,
    cleared: Option<Cleared<T>>,
}

/// What `clear` took away, for `undo_clear`.
#[derive(Debug)]
struct Cleared<T> {
    rows: VecDeque<Rc<Row<T>>>,
    dropped: u64,
}

impl<T: Weigh> Log<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            rows: VecDeque::new(),
            bytes: 0,
            limits,
            next: 1,
            dropped: 0,
            cleared: None,
        }
    }

    /// Appends a row. The newest row always stays, however large it is.
    pub(crate) fn push(&mut self, at: f64, content: T) {
        let row = Rc::new(Row {
            number: self.next,
            at,
            content,
        });
        self.next += 1;
        self.bytes += weight(&row);
        self.rows.push_back(row);
        self.drop_over_limits();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of the oldest row, or of the next one if there is none.
    pub(crate) fn first_number(&self) -> u64 {
        self.rows.front().map_or(self.next, |row| row.number)
    }

    /// The number of the newest row that there ever was; 0 before the first.
    pub(crate) fn last_number(&self) -> u64 {
        self.next - 1
    }

    /// How many rows the limits took since the log was last cleared.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The rows at these places, counted from the oldest; places beyond the end are left out.
    pub(crate) fn range(&self, places: Range<usize>) -> impl DoubleEndedIterator<Item = &Rc<Row<T>>> {
        let end = places.end.min(self.rows.len());
        self.rows.range(places.start.min(end)..end)
    }

    /// The rows with higher numbers than this one, oldest first.
    pub(crate) fn after(&self, number: u64) -> impl DoubleEndedIterator<Item = &Rc<Row<T>>> {
        let newer = usize::try_from(self.last_number().saturating_sub(number)).unwrap_or(usize::MAX);
        self.range(self.len().saturating_sub(newer)..self.len())
    }

    /// The row with this number, if it is still kept.
    pub(crate) fn get(&self, number: u64) -> Option<&Rc<Row<T>>> {
        let place = number.checked_sub(self.first_number())?;
        self.rows.get(usize::try_from(place).ok()?)
    }

    /// Takes all rows away; [`Log::undo_clear`] brings them back until the next clear.
    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        self.cleared = Some(Cleared {
            rows: std::mem::take(&mut self.rows),
            dropped: std::mem::take(&mut self.dropped),
        });
    }

    /// Whether there is something to bring back.
    pub(crate) fn can_undo_clear(&self) -> bool {
        self.cleared.as_ref().is_some_and(|cleared| !cleared.rows.is_empty())
    }

    /// Puts the cleared rows back in front of those that came since; the limits hold.
    pub(crate) fn undo_clear(&mut self) {
        let Some(Cleared { mut rows, dropped }) = self.cleared.take() else {
            return;
        };
        rows.append(&mut self.rows);
        self.rows = rows;
        self.dropped += dropped;
        self.bytes = self.rows.iter().map(|row| weight(row)).sum();
        self.drop_over_limits();
    }

    fn drop_over_limits(&mut self) {
        while self.rows.len() > 1 && (self.rows.len() > self.limits.rows || self.bytes > self.limits.bytes) {
            if let Some(row) = self.rows.pop_front() {
                self.bytes -= weight(&row);
                self.dropped += 1;
            }
        }
    }
}

fn weight<T: Weigh>(row: &Row<T>) -> usize {
    ROW_BYTES + row.content.payload_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn payload_bytes(&self) -> usize {
            *self
        }
    }

    fn log(rows: usize, bytes: usize) -> Log<usize> {
        Log::new(Limits { rows, bytes })
    }

    fn numbers(log: &Log<usize>) -> Vec<u64> {
        log.range(0..usize::MAX).map(|row| row.number).collect()
    }

    #[test]
    fn over_the_row_limit_the_oldest_go_and_are_counted() {
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
    fn over_the_byte_limit_the_oldest_go_but_the_newest_stays_however_large() {
        let mut log = log(100, 1000);
        for _ in 0..10 {
            log.push(0.0, 100);
        }
        assert_eq!(log.len(), 1000 / (ROW_BYTES + 100));
        log.push(0.0, 1_000_000);
        assert_eq!((numbers(&log), log.dropped()), (vec![11], 10));
        log.push(0.0, 1);
        assert_eq!(numbers(&log), [12], "its bytes must be given back when it goes");
    }

    #[test]
    fn a_clear_can_be_undone_and_keeps_what_came_since() {
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
    fn the_rows_after_a_number_are_those_of_them_that_are_kept() {
        let mut log = log(3, usize::MAX);
        for _ in 0..5 {
            log.push(0.0, 1);
        }
        let after = |number| log.after(number).map(|row| row.number).collect::<Vec<_>>();
        assert_eq!([after(5), after(4), after(1)], [vec![], vec![5], vec![3, 4, 5]]);
    }

    #[test]
    fn a_range_beyond_the_end_is_cut_and_not_a_panic() {
        let mut log = log(4, usize::MAX);
        log.push(0.0, 1);
        assert_eq!(log.range(5..9).count(), 0);
        assert_eq!(log.range(0..9).count(), 1);
    }
}
