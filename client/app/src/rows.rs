//! The rows of a log, bounded by number and bytes: the workbench's log and the chat's timeline.

use std::{cell::Cell, collections::VecDeque, ops::RangeBounds, rc::Rc};

/// The memory of one row besides its payload, in bytes: the row itself, its reference count and its element in the
/// queue.
pub(crate) const ROW_BYTES: usize = 128;

/// The bounds of a log; beyond them its oldest rows are dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowOptions {
    pub(crate) max_rows: usize,
    /// Of payloads, and of [`ROW_BYTES`] for each row.
    pub(crate) max_bytes: usize,
}

/// The size of a row's content in memory.
pub(crate) trait PayloadSize {
    /// Bytes of texts and binary data.
    fn payload_bytes(&self) -> usize;
}

/// One row; its number never changes and is not used again.
#[derive(Debug)]
pub(crate) struct Row<T> {
    pub(crate) number: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: f64,
    pub(crate) content: T,
}

/// A row is equal to itself only: comparing megabytes of content on each drawing would cost more than drawing, and rows of different logs may have
/// the same number.
impl<T> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The kept rows, the number of the next one, and the bytes of all.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    queue: VecDeque<Rc<Row<T>>>,
    bytes: usize,
    /// Shared with the rows that were split off.
    last_number: Rc<Cell<u64>>,
}

impl<T: PayloadSize> Rows<T> {
    pub(crate) fn new() -> Self {
        Self::numbered_by(Rc::default())
    }

    fn numbered_by(last_number: Rc<Cell<u64>>) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            last_number,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Rc<Row<T>>> {
        self.queue.get(index)
    }

    /// # Panics
    /// When the range ends beyond [`Rows::len`].
    pub(crate) fn range(&self, indices: impl RangeBounds<usize>) -> impl DoubleEndedIterator<Item = &Rc<Row<T>>> {
        self.queue.range(indices)
    }

    /// The number that was given last, also to a row that is dropped by now; 0 before the first.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number.get()
    }

    pub(crate) fn push(&mut self, at: f64, content: T) {
        self.insert(self.queue.len(), at, content);
    }

    /// Inserts a new row before the one at an index.
    ///
    /// # Panics
    /// When the index is greater than [`Rows::len`].
    pub(crate) fn insert(&mut self, index: usize, at: f64, content: T) {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let row = Rc::new(Row { number, at, content });
        self.bytes += row_bytes(&row);
        self.queue.insert(index, row);
    }

    /// Of the payloads, and of [`ROW_BYTES`] for each row.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops and returns the oldest row if the bounds are exceeded. The last row stays, however large it is.
    pub(crate) fn drop_oldest(&mut self, options: RowOptions) -> Option<Rc<Row<T>>> {
        self.is_over(options).then(|| self.pop_oldest())?
    }

    /// Whether [`Rows::drop_oldest`] drops a row.
    pub(crate) fn is_over(&self, options: RowOptions) -> bool {
        let is_over = self.queue.len() > options.max_rows || self.bytes > options.max_bytes;
        is_over && self.queue.len() > 1
    }

    /// Removes the oldest row; its number stays used.
    pub(crate) fn pop_oldest(&mut self) -> Option<Rc<Row<T>>> {
        let row = self.queue.pop_front()?;
        self.bytes -= row_bytes(&row);
        Some(row)
    }

    /// Removes the newest row; its number stays used.
    pub(crate) fn pop_newest(&mut self) -> Option<Rc<Row<T>>> {
        let row = self.queue.pop_back()?;
        self.bytes -= row_bytes(&row);
        Some(row)
    }

    /// Takes the rows from an index on. No row of either has the number of one of the other, nor will have.
    ///
    /// # Panics
    /// When the index is greater than [`Rows::len`].
    pub(crate) fn split_off(&mut self, index: usize) -> Self {
        let mut newest = Self::numbered_by(self.last_number.clone());
        newest.queue = self.queue.split_off(index);
        newest.bytes = newest.queue.iter().map(|row| row_bytes(row)).sum();
        self.bytes -= newest.bytes;
        newest
    }

    /// Removes all rows; their numbers stay used.
    pub(crate) fn take(&mut self) -> Self {
        self.split_off(0)
    }

    /// Puts rows that were taken back in front of the others.
    pub(crate) fn prepend(&mut self, mut taken: Self) {
        taken.queue.append(&mut self.queue);
        self.queue = taken.queue;
        self.bytes += taken.bytes;
    }
}

fn row_bytes<T: PayloadSize>(row: &Row<T>) -> usize {
    ROW_BYTES + row.content.payload_bytes()
}
