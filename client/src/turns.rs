use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    task::Poll,
};

use crate::waiters::{Waiter, Waiters};

/// The order of those who wait for room in the outbox: only the first of them tries, so that a large message is not overtaken by
/// small ones for ever, and each try follows something that left the outbox.
#[derive(Default)]
pub(crate) struct Turns {
    /// The first has its turn.
    waiting: RefCell<VecDeque<u64>>,
    next: Cell<u64>,
    reliefs: Cell<u64>,
    /// Who has its turn waits here for room, all others for their turn.
    room: Waiters,
    turn: Waiters,
}

/// A place in the order; dropping it gives it up.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    /// The last place in the order.
    pub(crate) fn take(&self) -> Turn<'_> {
        let number = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().push_back(number);
        Turn { turns: self, number }
    }

    /// How many times something left the outbox so far.
    pub(crate) fn reliefs(&self) -> u64 {
        self.reliefs.get()
    }

    /// Something left the outbox.
    pub(crate) fn relieve(&self) {
        self.reliefs.set(self.reliefs.get() + 1);
        self.room.wake();
    }
}

impl Turn<'_> {
    /// Waits until nobody is before it.
    pub(crate) async fn comes(&self) {
        let is_first = || self.turns.waiting.borrow().front() == Some(&self.number);
        until(&self.turns.turn, is_first).await;
    }

    /// Waits until more has left the outbox than when it was full.
    pub(crate) async fn relief(&self, when_full: u64) {
        until(&self.turns.room, || self.turns.reliefs.get() != when_full).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let was_first = {
            let mut waiting = self.turns.waiting.borrow_mut();
            let was_first = waiting.front() == Some(&self.number);
            waiting.retain(|&number| number != self.number);
            was_first && !waiting.is_empty()
        };
        if was_first {
            self.turns.turn.wake();
        }
    }
}

async fn until(waiters: &Waiters, condition: impl Fn() -> bool) {
    let waiter = Waiter::default();
    poll_fn(|context| {
        if condition() {
            return Poll::Ready(());
        }
        waiters.wait(&waiter, context);
        Poll::Pending
    })
    .await;
}
