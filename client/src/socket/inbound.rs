use std::collections::VecDeque;

use super::options::{Inbound, Overflow};

/// Messages arrived faster than they were read and [`Inbound`]'s bound was reached. The stream yields this in the place of the
/// messages that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{lost} received messages were dropped because the queue was full: read faster, or raise the bounds in Options::inbound"
)]
pub struct InboundOverflow {
    /// How many messages this crate dropped here.
    pub lost: usize,
}

/// Received messages that nobody has read yet.
pub(super) struct Queue<T> {
    bounds: Inbound,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Dropped and not reported yet. They are older than all items when the oldest go, newer when the socket closes.
    lost: usize,
    overflowed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Kept,
    /// The bound is reached and the socket must close.
    MustClose,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Inbound) -> Self {
        Self {
            bounds,
            items: VecDeque::new(),
            bytes: 0,
            lost: 0,
            overflowed: false,
        }
    }

    pub(super) fn push(&mut self, item: T, bytes: usize) -> Pushed {
        if self.overflowed {
            self.lost += 1;
            return Pushed::MustClose;
        }
        if !self.fits(bytes) {
            match self.bounds.overflow {
                Overflow::Close => {
                    self.overflowed = true;
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
        if self.lost > 0 && (self.items.is_empty() || !self.overflowed) {
            let lost = std::mem::take(&mut self.lost);
            return Some(Err(InboundOverflow { lost }));
        }
        self.pop_message().map(Ok)
    }

    /// The next message; what was lost before it stays to be reported by [`Queue::pop`].
    pub(super) fn pop_message(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.items.len() < self.bounds.max_messages && self.bytes.saturating_add(bytes) <= self.bounds.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max_messages: usize, max_bytes: usize, overflow: Overflow) -> Queue<u32> {
        Queue::new(Inbound {
            max_messages,
            max_bytes,
            overflow,
        })
    }

    fn drain(queue: &mut Queue<u32>) -> Vec<Result<u32, usize>> {
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
    fn at_the_bound_of_messages_the_socket_closes_and_the_loss_follows_what_was_kept() {
        let mut queue = queue(2, 100, Overflow::Close);
        let pushed: Vec<_> = (0..4).map(|n| queue.push(n, 1)).collect();
        assert_eq!(
            pushed,
            [Pushed::Kept, Pushed::Kept, Pushed::MustClose, Pushed::MustClose]
        );
        assert_eq!(drain(&mut queue), [Ok(0), Ok(1), Err(2)]);
        assert_eq!(queue.push(4, 1), Pushed::MustClose, "room again, but there is a gap");
        assert_eq!(drain(&mut queue), [Err(1)]);
    }

    #[test]
    fn at_the_bound_of_bytes_the_oldest_go_and_the_loss_precedes_what_was_kept() {
        let mut queue = queue(100, 10, Overflow::DropOldest);
        for n in 0..4 {
            assert_eq!(queue.push(n, 4), Pushed::Kept);
        }
        assert_eq!(drain(&mut queue), [Err(2), Ok(2), Ok(3)]);
        queue.push(4, 11);
        assert_eq!(
            drain(&mut queue),
            [Err(1)],
            "a message over the whole bound fits nowhere"
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
