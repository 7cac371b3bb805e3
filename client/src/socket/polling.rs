//! The asynchronous face of [`Shared`]: what each kind of task waits for.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use gloo_timers::callback::Timeout;

use crate::waiters::Waiter;

use super::{
    CloseEvent, ConnectError, InboundOverflow, Message, ReadyState, SendErrorKind,
    shared::{GaveUp, Shared},
};

impl Shared {
    pub(super) fn poll_opened(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Result<(), ConnectError>> {
        if self.opened.get() {
            return Poll::Ready(Ok(()));
        }
        self.poll_closed(waiter, context).map(|event| {
            Err(match self.gave_up.get() {
                Some(GaveUp::TimedOut) => ConnectError::TimedOut,
                Some(GaveUp::Aborted) => ConnectError::Aborted,
                None => ConnectError::Closed(event),
            })
        })
    }

    pub(super) fn poll_closed(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<CloseEvent> {
        if let Some(event) = self.ending.borrow().clone() {
            return Poll::Ready(event);
        }
        self.watchers.wait(waiter, context);
        Poll::Pending
    }

    pub(super) fn poll_next(
        &self,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Message, InboundOverflow>>> {
        let item = self.queue.borrow_mut().pop();
        if item.is_some() || self.ending.borrow().is_some() {
            return Poll::Ready(item);
        }
        self.readers.wait(waiter, context);
        Poll::Pending
    }

    pub(super) fn poll_ready(
        self: &Rc<Self>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Result<(), SendErrorKind>> {
        match self.ready_state() {
            ReadyState::Connecting => self.writers.wait(waiter, context),
            ReadyState::Open => {
                let buffered = self.web.buffered_amount();
                if self.gate.borrow_mut().admits(buffered) {
                    return Poll::Ready(Ok(()));
                }
                self.wait_to_drain(waiter, context);
            }
            state => return Poll::Ready(Err(SendErrorKind::NotOpen(state))),
        }
        Poll::Pending
    }

    pub(super) fn poll_flush(
        self: &Rc<Self>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Result<(), SendErrorKind>> {
        if self.web.buffered_amount() == 0 {
            self.gate.borrow_mut().drained();
            return Poll::Ready(Ok(()));
        }
        if let Some(event) = self.ending.borrow().clone() {
            return Poll::Ready(Err(SendErrorKind::Lost(event)));
        }
        self.wait_to_drain(waiter, context);
        Poll::Pending
    }

    pub(super) fn poll_close(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        if let Some(event) = self.ending.borrow().clone() {
            return Poll::Ready(if event.was_clean {
                Ok(())
            } else {
                Err(SendErrorKind::Lost(event))
            });
        }
        if matches!(self.ready_state(), ReadyState::Connecting | ReadyState::Open) {
            self.web.close().ok();
        }
        self.writers.wait(waiter, context);
        Poll::Pending
    }

    fn wait_to_drain(self: &Rc<Self>, waiter: &Waiter, context: &Context<'_>) {
        self.writers.wait(waiter, context);
        if self.looking.replace(true) {
            return;
        }
        let delay = self.gate.borrow_mut().next_look();
        let weak = Rc::downgrade(self);
        let timeout = Timeout::new(delay, move || {
            if let Some(shared) = weak.upgrade() {
                shared.looking.set(false);
                shared.writers.wake();
            }
        });
        drop(self.look_again.replace(Some(timeout)));
    }
}
