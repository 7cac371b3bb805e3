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

/// Where a message is in the log of its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The life of the log that the offset belongs to.
    pub epoch: Epoch,
    /// Its place.
    pub offset: Offset,
    /// When it was appended, in milliseconds since the Unix epoch by the server's clock.
    pub at: Millis,
}

/// A message on its way. It always ends: in the log, or with a reason.
///
/// As a future it waits for that end; as a `Stream` it yields each step ([`DeliveryState`]), the present one first, and ends after
/// the last. A step that was overtaken before it was read is skipped; the last one never is. It may be awaited by `&mut` and more
/// than once.
///
/// Dropping it does not take the message back.
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

    /// How far the message is.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        self.slot
            .progress
            .borrow()
            .state
            .clone()
            .unwrap_or(DeliveryState::Queued)
    }
}

impl Clone for Delivery {
    /// Another view of the same message, which yields its steps from the present one on.
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
        match &self.slot.progress.borrow().state {
            Some(DeliveryState::Acked { epoch, offset, at }) => Poll::Ready(Ok(Acked {
                epoch: epoch.clone(),
                offset: *offset,
                at: *at,
            })),
            Some(DeliveryState::Failed(reason)) => Poll::Ready(Err(reason.clone())),
            _ => {
                self.slot.waiting.wait(&self.waiter, context);
                Poll::Pending
            }
        }
    }
}

impl Stream for Delivery {
    type Item = DeliveryState;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DeliveryState>> {
        let (steps, state) = {
            let progress = self.slot.progress.borrow();
            (progress.steps, progress.state.clone())
        };
        match state {
            Some(state) if self.seen != steps => {
                self.seen = steps;
                Poll::Ready(Some(state))
            }
            Some(state) if state.is_final() => Poll::Ready(None),
            _ => {
                self.slot.waiting.wait(&self.waiter, context);
                Poll::Pending
            }
        }
    }
}

/// What the driver knows about one message.
#[derive(Default)]
pub(crate) struct DeliverySlot {
    progress: RefCell<Progress>,
    /// How many releases had happened when the outbox had no capacity for the message, see [`SendQueue`](crate::send_queue::SendQueue).
    releases_when_full: Cell<u64>,
    waiting: Waiters,
}

#[derive(Default)]
struct Progress {
    /// `None` until the session has seen it.
    state: Option<DeliveryState>,
    steps: u32,
}

impl DeliverySlot {
    pub(crate) fn at(state: DeliveryState) -> Rc<Self> {
        let slot = Rc::new(Self::default());
        slot.step(state);
        slot
    }

    pub(crate) fn step(&self, state: DeliveryState) {
        {
            let mut progress = self.progress.borrow_mut();
            if progress.state.as_ref() == Some(&state) {
                return;
            }
            progress.state = Some(state);
            progress.steps = progress.steps.wrapping_add(1);
        }
        self.waiting.wake();
    }

    /// The outbox had no capacity for the message when this many releases had happened.
    pub(crate) fn record_releases(&self, releases: u64) {
        self.releases_when_full.set(releases);
    }

    pub(crate) fn releases_when_full(&self) -> u64 {
        self.releases_when_full.get()
    }

    /// The first step, once there is one.
    pub(crate) fn poll_first_state(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<DeliveryState> {
        match &self.progress.borrow().state {
            Some(state) => Poll::Ready(state.clone()),
            None => {
                self.waiting.wait(waiter, context);
                Poll::Pending
            }
        }
    }
}
