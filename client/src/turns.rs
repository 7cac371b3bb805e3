use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::Poll,
};

use crate::waiters::{Waiter, Waiters};

/// The order of those who wait for room in the outbox: only the first of them tries, so that a large message is not overtaken by
/// small ones for ever, and each try follows something that left the outbox.
#[derive(Default)]
pub(crate) struct Turns {
    /// In ascending order; the first has its turn. Each waits for its own turn, so that a turn that ends wakes one task and not all.
    waiting: RefCell<VecDeque<(u64, Rc<Waiters>)>>,
    next: Cell<u64>,
    reliefs: Cell<u64>,
    /// Who has its turn waits here for room.
    room: Waiters,
}

/// A place in the order; dropping it gives it up.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
    /// Woken when it comes.
    turn: Rc<Waiters>,
}

impl Turns {
    /// The last place in the order.
    pub(crate) fn take(&self) -> Turn<'_> {
        let number = self.next.replace(self.next.get() + 1);
        let turn = Rc::<Waiters>::default();
        self.waiting.borrow_mut().push_back((number, turn.clone()));
        Turn {
            turns: self,
            number,
            turn,
        }
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

    fn first(&self) -> Option<u64> {
        self.waiting.borrow().front().map(|(number, _)| *number)
    }
}

impl Turn<'_> {
    /// Waits until nobody is before it.
    pub(crate) async fn comes(&self) {
        until(&self.turn, || self.turns.first() == Some(self.number)).await;
    }

    /// Waits until more has left the outbox than when it was full.
    pub(crate) async fn relief(&self, when_full: u64) {
        until(&self.turns.room, || self.turns.reliefs.get() != when_full).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let next = {
            let mut waiting = self.turns.waiting.borrow_mut();
            let Ok(place) = waiting.binary_search_by_key(&self.number, |(number, _)| *number) else {
                return;
            };
            waiting.remove(place);
            let next = waiting.front().filter(|_| place == 0);
            next.map(|(_, turn)| turn.clone())
        };
        // Nothing is borrowed: a woken task may run at once.
        if let Some(next) = next {
            next.wake();
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
