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

    /// The current state of the message.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        self.slot.state().unwrap_or(DeliveryState::Queued)
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
            Some(DeliveryState::Acked { epoch, offset, at }) => Some(Ok(Acked { epoch, offset, at })),
            Some(DeliveryState::Failed(reason)) => Some(Err(reason)),
            _ => None,
        };
        self.slot.watchers.poll_for(&self.waiter, context, result)
    }
}

impl Stream for Delivery {
    type Item = DeliveryState;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DeliveryState>> {
        let changes = self.slot.changes.get();
        match self.slot.state() {
            Some(state) if self.seen != changes => {
                self.seen = changes;
                Poll::Ready(Some(state))
            }
            Some(state) if state.is_final() => Poll::Ready(None),
            _ => {
                self.slot.watchers.wait(&self.waiter, context);
                Poll::Pending
            }
        }
    }
}

/// The state of one message, which the driver sets and its [`Delivery`]s read.
#[derive(Default)]
pub(crate) struct DeliverySlot {
    /// `None` until the session has taken the message.
    state: RefCell<Option<DeliveryState>>,
    /// How many times `state` changed.
    changes: Cell<u32>,
    /// How many releases had happened when the outbox had no capacity for the message, see
    /// [`SendQueue`](crate::send_queue::SendQueue).
    releases_when_full: Cell<u64>,
    /// Wait for a change of `state`.
    watchers: Waiters,
}

impl DeliverySlot {
    pub(crate) fn at(state: DeliveryState) -> Rc<Self> {
        let slot = Rc::new(Self::default());
        slot.step(state);
        slot
    }

    pub(crate) fn step(&self, state: DeliveryState) {
        if self.state.borrow().as_ref() == Some(&state) {
            return;
        }
        self.state.replace(Some(state));
        self.changes.set(self.changes.get().wrapping_add(1));
        self.watchers.wake();
    }

    fn state(&self) -> Option<DeliveryState> {
        self.state.borrow().clone()
    }

    /// The outbox had no capacity for the message when this many releases had happened.
    pub(crate) fn record_releases(&self, releases: u64) {
        self.releases_when_full.set(releases);
    }

    pub(crate) fn releases_when_full(&self) -> u64 {
        self.releases_when_full.get()
    }

    /// The current state, as soon as the session has taken the message.
    pub(crate) fn poll_first_state(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<DeliveryState> {
        self.watchers.poll_for(waiter, context, || self.state())
    }
}
