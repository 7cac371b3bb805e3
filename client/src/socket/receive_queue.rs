use std::collections::VecDeque;

use super::{InboundOptions, Overflow};

/// Messages arrived faster than they were read and a bound of [`InboundOptions`] was reached. The stream yields this
/// error in the place of the messages that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue was full and {lost} received messages were dropped: read faster, or raise SocketOptions::inbound")]
pub struct InboundOverflow {
    /// How many messages were dropped.
    pub lost: usize,
}

/// Received messages that were not read yet.
pub(super) struct ReceiveQueue<T> {
    options: InboundOptions,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// How many were dropped and not reported yet: older than all items with [`Overflow::DropOldest`], newer with
    /// [`Overflow::Close`].
    lost: usize,
    /// A message did not fit and [`Overflow::Close`] applies. Stays set, because later messages would follow a gap.
    is_closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Kept,
    /// A bound is reached and the socket must close.
    MustClose,
}

impl<T> ReceiveQueue<T> {
    pub(super) fn new(options: InboundOptions) -> Self {
        Self {
            options,
            items: VecDeque::new(),
            bytes: 0,
            lost: 0,
            is_closed: false,
        }
    }

    pub(super) fn push(&mut self, item: T, bytes: usize) -> Pushed {
        if self.is_closed {
            self.lost += 1;
            return Pushed::MustClose;
        }
        if !self.fits(bytes) {
            match self.options.overflow {
                Overflow::Close => {
                    self.is_closed = true;
                    self.lost += 1;
                    return Pushed::MustClose;
                }
                Overflow::DropOldest => {
                    while !self.fits(bytes) {
                        self.lost += 1;
                        if self.pop_message().is_none() {
                            return Pushed::Kept;
                        }
                    }
                }
            }
        }
        self.bytes += bytes;
        self.items.push_back((item, bytes));
        Pushed::Kept
    }

    pub(super) fn pop(&mut self) -> Option<Result<T, InboundOverflow>> {
        if self.lost > 0 && (self.items.is_empty() || !self.is_closed) {
            let lost = std::mem::take(&mut self.lost);
            return Some(Err(InboundOverflow { lost }));
        }
        self.pop_message().map(Ok)
    }

    /// The next message; dropped ones before it are still reported by [`ReceiveQueue::pop`].
    pub(super) fn pop_message(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.items.len() < self.options.max_messages && self.bytes.saturating_add(bytes) <= self.options.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max_messages: usize, max_bytes: usize, overflow: Overflow) -> ReceiveQueue<u32> {
        ReceiveQueue::new(InboundOptions {
            max_messages,
            max_bytes,
            overflow,
        })
    }

    fn drain(queue: &mut ReceiveQueue<u32>) -> Vec<Result<u32, usize>> {
        std::iter::from_fn(|| queue.pop())
            .map(|item| item.map_err(|overflow| overflow.lost))
            .collect()
    }

    #[test]
    fn messages_leave_in_the_order_they_came() {
        let mut queue = queue(10_000, usize::MAX, Overflow::Close);
        for n in 0..10_000 {
            assert_eq!(queue.push(n, 1), Pushed::Kept);
        }
        assert_eq!(drain(&mut queue), (0..10_000).map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn at_the_bound_of_messages_the_socket_closes_and_the_error_follows_the_rest() {
        let mut queue = queue(2, 100, Overflow::Close);
        let pushed: Vec<_> = (0..4).map(|n| queue.push(n, 1)).collect();
        assert_eq!(
            pushed,
            [Pushed::Kept, Pushed::Kept, Pushed::MustClose, Pushed::MustClose]
        );
        assert_eq!(drain(&mut queue), [Ok(0), Ok(1), Err(2)]);
        assert_eq!(
            queue.push(4, 1),
            Pushed::MustClose,
            "there is capacity again, but also a gap"
        );
        assert_eq!(drain(&mut queue), [Err(1)]);
    }

    #[test]
    fn at_the_bound_of_bytes_the_oldest_are_dropped_and_the_error_precedes_the_rest() {
        let mut queue = queue(100, 10, Overflow::DropOldest);
        for n in 0..4 {
            assert_eq!(queue.push(n, 4), Pushed::Kept);
        }
        assert_eq!(drain(&mut queue), [Err(2), Ok(2), Ok(3)]);
        queue.push(4, 11);
        assert_eq!(
            drain(&mut queue),
            [Err(1)],
            "a message larger than the bound never fits"
        );
        queue.push(5, 10);
        assert_eq!(drain(&mut queue), [Ok(5)]);
    }

    #[test]
    fn empty_messages_count_as_messages() {
        let mut queue = queue(1, 0, Overflow::Close);
        assert_eq!(queue.push(0, 0), Pushed::Kept);
        assert_eq!(queue.push(1, 0), Pushed::MustClose);
    }
}
