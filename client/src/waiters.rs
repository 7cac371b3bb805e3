use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    task::{Context, Waker},
};

type Slot = RefCell<Option<Waker>>;

/// The tasks that wait for one thing. Any number may; one that stops waiting leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters(RefCell<Vec<Weak<Slot>>>);

/// One waiting task's place in one [`Waiters`]; dropping it gives the place up.
#[derive(Default)]
pub(crate) struct Waiter(Rc<Slot>);

impl Waiters {
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
        for slot in self.0.take() {
            let waker = slot.upgrade().and_then(|slot| slot.take());
            if let Some(waker) = waker {
                waker.wake();
            }
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
    fn tasks_that_stopped_waiting_leave_nothing_behind() {
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
