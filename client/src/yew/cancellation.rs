use std::{
    cell::Cell,
    future::{Future, poll_fn},
    rc::Rc,
    task::Poll,
};

use crate::waiters::{Waiter, Waiters};

/// Cancels a task that belongs to a component. The task's future is dropped at the next poll, which `cancel` wakes it
/// for.
#[derive(Clone, Default)]
pub(super) struct CancellationToken(Rc<Shared>);

#[derive(Default)]
struct Shared {
    is_cancelled: Cell<bool>,
    waiters: Waiters,
}

impl CancellationToken {
    pub(super) fn cancel(&self) {
        self.0.is_cancelled.set(true);
        self.0.waiters.wake();
    }

    /// Runs a future until it is ready or the token is cancelled.
    pub(super) async fn run_until_cancelled(self, future: impl Future<Output = ()>) {
        let waiter = Waiter::default();
        let mut future = Box::pin(future);
        poll_fn(move |context| {
            if self.0.is_cancelled.get() {
                return Poll::Ready(());
            }
            self.0.waiters.wait(&waiter, context);
            future.as_mut().poll(context)
        })
        .await;
    }
}
