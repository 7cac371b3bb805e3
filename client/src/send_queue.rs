use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use crate::waiters::Waiters;

/// The FIFO queue of senders that wait for capacity in the outbox. Only the first of them tries to publish, so that
/// small messages do not overtake a large one for ever, and each retry follows a release of capacity.
#[derive(Default)]
pub(crate) struct SendQueue {
    /// One entry for each call of `RoomSender::send` that waits, in ascending order of their numbers. Each sender has
    /// its own [`Waiters`], so that the end of the first one wakes one task.
    waiting: RefCell<VecDeque<(u64, Rc<Waiters>)>>,
    next: Cell<u64>,
    releases: Cell<u64>,
    /// The first sender waits here for a release.
    capacity: Waiters,
}

/// One sender in a [`SendQueue`]; dropping it removes the sender.
pub(crate) struct QueuedSend<'a> {
    queue: &'a SendQueue,
    number: u64,
    /// Woken when this sender becomes the first.
    is_first: Rc<Waiters>,
}

impl SendQueue {
    /// Adds a sender at the end.
    pub(crate) fn enter(&self) -> QueuedSend<'_> {
        let number = self.next.replace(self.next.get() + 1);
        let is_first = Rc::<Waiters>::default();
        self.waiting.borrow_mut().push_back((number, is_first.clone()));
        QueuedSend {
            queue: self,
            number,
            is_first,
        }
    }

    /// How many times capacity was released so far.
    pub(crate) fn releases(&self) -> u64 {
        self.releases.get()
    }

    /// The outbox has more capacity than before.
    pub(crate) fn release(&self) {
        self.releases.set(self.releases.get() + 1);
        self.capacity.wake();
    }

    fn first(&self) -> Option<u64> {
        self.waiting.borrow().front().map(|(number, _)| *number)
    }
}

impl QueuedSend<'_> {
    /// Waits until this sender is the first.
    pub(crate) async fn until_first(&self) {
        let is_first = || self.queue.first() == Some(self.number);
        self.is_first.until(is_first).await;
    }

    /// Waits until there were more releases than this many.
    pub(crate) async fn until_release_after(&self, releases: u64) {
        self.queue.capacity.until(|| self.queue.releases() != releases).await;
    }
}

impl Drop for QueuedSend<'_> {
    fn drop(&mut self) {
        let next = {
            let mut waiting = self.queue.waiting.borrow_mut();
            let Ok(index) = waiting.binary_search_by_key(&self.number, |(number, _)| *number) else {
                return;
            };
            waiting.remove(index);
            let next = waiting.front().filter(|_| index == 0);
            next.map(|(_, is_first)| is_first.clone())
        };
        // Nothing is borrowed: a woken task may run at once.
        if let Some(next) = next {
            next.wake();
        }
    }
}
