use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;
use talkback_protocol::{
    Epoch, Offset,
    message::Millis,
    session::client::{DeliveryState, FailReason},
};

use crate::waiters::{Waiter, Waiters};

/// The position of an acknowledged message in the log of its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The epoch of the log that the offset belongs to.
    pub epoch: Epoch,
    /// The offset in the log.
    pub offset: Offset,
    /// When it was appended, in milliseconds since the Unix epoch by the server's clock.
    pub at: Millis,
}

/// A message that was sent. It always reaches a final state: acknowledged by the log, or failed with a reason.
///
/// A failed message is certainly not in the log, except after [`FailReason::Unconfirmed`] and after
/// [`FailReason::Refused`] without an `epoch`: then it may be there. Ask the user before you send such a message again.
///
/// As a `Future` it waits for the final state. As a `Stream` it yields each [`DeliveryState`], the current one first,
/// and ends after the final one. A state that changes again before it is read is skipped; the final one never is. It
/// may be awaited by `&mut` and more than once.
///
/// Dropping it does not cancel the message.
///
/// # Cancel safety
/// Polling it, both ways, is cancel safe.
pub struct Delivery {
    slot: Rc<DeliverySlot>,
    seen: u32,
    waiter: Waiter,
}

impl Delivery {
    pub(crate) fn new(slot: Rc<DeliverySlot>) -> Self {
        Self {
            slot,
            seen: 0,
            waiter: Waiter::default(),
        }
    }

    /// The delivery of a message that the outbox has taken, or of one that was refused at once.
    pub(crate) fn of(taken: Result<Rc<DeliverySlot>, FailReason>) -> Self {
        Self::new(taken.unwrap_or_else(|reason| DeliverySlot::at(DeliveryState::Failed(reason))))
    }

    /// The current state of the message.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        self.slot.state()
    }
}

impl Clone for Delivery {
    /// Another handle to the same message, which yields its states from the current one on.
    fn clone(&self) -> Self {
        Self::new(self.slot.clone())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.state()).finish()
    }
}

impl Future for Delivery {
    type Output = Result<Acked, FailReason>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = || match self.slot.state() {
            DeliveryState::Acked { epoch, offset, at } => Some(Ok(Acked { epoch, offset, at })),
            DeliveryState::Failed(reason) => Some(Err(reason)),
            DeliveryState::Queued | DeliveryState::Written => None,
        };
        self.slot.watchers.poll_for(&self.waiter, context, result)
    }
}

impl Stream for Delivery {
    type Item = DeliveryState;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DeliveryState>> {
        let changes = self.slot.changes.get();
        let state = self.slot.state();
        if self.seen != changes {
            self.seen = changes;
            return Poll::Ready(Some(state));
        }
        if state.is_final() {
            return Poll::Ready(None);
        }
        self.slot.watchers.wait(&self.waiter, context);
        Poll::Pending
    }
}

/// The state of one message, which the driver sets and its [`Delivery`]s read.
pub(crate) struct DeliverySlot {
    state: RefCell<DeliveryState>,
    /// How many states it had.
    changes: Cell<u32>,
    /// Wait for a change of `state`.
    watchers: Waiters,
}

impl DeliverySlot {
    pub(crate) fn at(state: DeliveryState) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(state),
            changes: Cell::new(1),
            watchers: Waiters::default(),
        })
    }

    pub(crate) fn step(&self, state: DeliveryState) {
        if *self.state.borrow() == state {
            return;
        }
        self.state.replace(state);
        self.changes.set(self.changes.get().wrapping_add(1));
        self.watchers.wake();
    }

    pub(crate) fn state(&self) -> DeliveryState {
        self.state.borrow().clone()
    }
}
