use std::{
    cell::RefCell,
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

type WakerSlot = RefCell<Option<Waker>>;

/// The wakers of all tasks that wait for one condition. A task that stops waiting leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters(RefCell<Vec<Weak<WakerSlot>>>);

/// The waker of one task in one [`Waiters`]; dropping it removes the waker.
#[derive(Default)]
pub(crate) struct Waiter(Rc<WakerSlot>);

impl Waiters {
    /// Waits until the condition is true. It is checked at once and after each [`Waiters::wake`].
    pub(crate) async fn until(&self, mut condition: impl FnMut() -> bool) {
        self.wait_for(|| condition().then_some(())).await;
    }

    /// Waits until there is a value. It is asked for at once and after each [`Waiters::wake`].
    pub(crate) async fn wait_for<T>(&self, mut value: impl FnMut() -> Option<T>) -> T {
        let waiter = Waiter::default();
        poll_fn(|context| self.poll_for(&waiter, context, &mut value)).await
    }

    /// As [`Waiters::wait_for`], for code that polls by itself and keeps its own [`Waiter`].
    pub(crate) fn poll_for<T>(
        &self,
        waiter: &Waiter,
        context: &Context<'_>,
        value: impl FnOnce() -> Option<T>,
    ) -> Poll<T> {
        match value() {
            Some(value) => Poll::Ready(value),
            None => {
                self.wait(waiter, context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn wait(&self, waiter: &Waiter, context: &Context<'_>) {
        let former = waiter.0.replace(Some(context.waker().clone()));
        if former.is_none() {
            let mut slots = self.0.borrow_mut();
            slots.retain(|slot| slot.strong_count() > 0);
            slots.push(Rc::downgrade(&waiter.0));
        }
    }

    pub(crate) fn wake(&self) {
        // A woken task may run at once and wait again, so nothing stays borrowed.
        let mut woken = self.0.take();
        for slot in woken.drain(..) {
            let waker = slot.upgrade().and_then(|slot| slot.take());
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        // For the next task that waits: allocating is a large part of what a message costs.
        let mut waiting = self.0.borrow_mut();
        if waiting.capacity() == 0 {
            *waiting = woken;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), count.into())
    }

    #[test]
    fn every_waiting_task_is_woken_once() {
        let waiters = Waiters::default();
        let (first, second) = (Waiter::default(), Waiter::default());
        let ((a, wakes_a), (b, wakes_b)) = (task(), task());
        waiters.wait(&first, &Context::from_waker(&wakes_a));
        waiters.wait(&second, &Context::from_waker(&wakes_b));
        waiters.wait(&second, &Context::from_waker(&wakes_b));
        waiters.wake();
        waiters.wake();
        assert_eq!((a.0.load(Ordering::Relaxed), b.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_waiter_polled_by_another_task_wakes_that_one() {
        let waiters = Waiters::default();
        let waiter = Waiter::default();
        let ((old, wakes_old), (new, wakes_new)) = (task(), task());
        waiters.wait(&waiter, &Context::from_waker(&wakes_old));
        waiters.wait(&waiter, &Context::from_waker(&wakes_new));
        waiters.wake();
        assert_eq!((old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn tasks_that_stopped_waiting_are_removed() {
        let waiters = Waiters::default();
        let (count, wakes) = task();
        for _ in 0..1000 {
            waiters.wait(&Waiter::default(), &Context::from_waker(&wakes));
        }
        assert_eq!(waiters.0.borrow().len(), 1);
        assert_eq!(Arc::strong_count(&count), 2);
        waiters.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
