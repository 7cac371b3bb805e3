use std::{
    any::Any,
    cell::RefCell,
    fmt,
    rc::{Rc, Weak},
};

type Callback<T> = RefCell<dyn FnMut(T)>;

/// Keeps one callback registered; dropping it unregisters the callback, also from inside a callback.
///
/// The guard owns the callback, the socket does not: a callback may hold a [`Socket`](crate::Socket) without a
/// reference cycle, as long as the guard is not stored inside the callback itself. A guard does not keep the socket
/// open.
#[must_use = "the callback is unregistered when its guard is dropped"]
pub struct EventGuard(#[expect(dead_code, reason = "held only to own the callback")] Rc<dyn Any>);

impl fmt::Debug for EventGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventGuard").finish_non_exhaustive()
    }
}

/// The callbacks of one kind of event, in the order they were registered. The list is replaced and not changed, so that
/// an event does not copy it.
pub(super) struct Listeners<T>(RefCell<Rc<[Weak<Callback<T>>]>>);

impl<T> Default for Listeners<T> {
    fn default() -> Self {
        Self(RefCell::new(Rc::new([])))
    }
}

impl<T: Clone + 'static> Listeners<T> {
    pub(super) fn add(&self, callback: impl FnMut(T) + 'static) -> EventGuard {
        let callback = Rc::new(RefCell::new(callback));
        let listener: Weak<Callback<T>> = Rc::<_>::downgrade(&callback) as Weak<Callback<T>>;
        let mut list = self.0.borrow_mut();
        let others = list.iter().filter(|listener| listener.strong_count() > 0);
        *list = others.cloned().chain([listener]).collect();
        EventGuard(callback)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.0.borrow().iter().any(|listener| listener.strong_count() > 0)
    }

    /// Calls the callbacks that are registered now, except those that an earlier one of them unregisters.
    pub(super) fn emit(&self, event: T) {
        let listeners = self.0.borrow().clone();
        let Some((last, others)) = listeners.split_last() else {
            return;
        };
        for callback in others.iter().filter_map(Weak::upgrade) {
            (callback.borrow_mut())(event.clone());
        }
        if let Some(callback) = last.upgrade() {
            (callback.borrow_mut())(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn counter() -> (Rc<Cell<u32>>, impl FnMut(u32) + 'static) {
        let sum = Rc::new(Cell::new(0));
        (sum.clone(), move |n| sum.set(sum.get() + n))
    }

    #[test]
    fn a_dropped_guard_unregisters_and_frees_its_callback() {
        let listeners = Listeners::default();
        let (sum, add) = counter();
        let guard = listeners.add(add);
        listeners.emit(2);
        drop(guard);
        listeners.emit(4);
        assert_eq!(sum.get(), 2);
        assert_eq!(Rc::strong_count(&sum), 1);
        assert!(listeners.is_empty());
    }

    #[test]
    fn a_callback_may_drop_its_own_guard_and_those_after_it() {
        let listeners = Rc::new(Listeners::default());
        let guards = Rc::new(RefCell::new(Vec::new()));
        let (sum, add) = counter();
        let first = listeners.add({
            let guards = guards.clone();
            move |_: u32| guards.take().clear()
        });
        let second = listeners.add(add);
        guards.borrow_mut().extend([first, second]);
        listeners.emit(1);
        assert_eq!(sum.get(), 0, "the first callback unregistered the second one");
        assert!(listeners.is_empty());
    }

    #[test]
    fn a_callback_registered_by_a_callback_gets_the_next_event_first() {
        let listeners = Rc::new(Listeners::default());
        let added = Rc::new(RefCell::new(None));
        let (sum, add) = counter();
        let mut add = Some(add);
        let _guard = listeners.add({
            let (listeners, added) = (Rc::downgrade(&listeners), added.clone());
            move |_: u32| {
                if let Some(add) = add.take() {
                    added.replace(listeners.upgrade().map(|listeners| listeners.add(add)));
                }
            }
        });
        listeners.emit(1);
        assert_eq!(sum.get(), 0);
        listeners.emit(1);
        assert_eq!(sum.get(), 1);
    }
}
