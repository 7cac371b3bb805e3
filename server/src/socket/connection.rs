//! What the handles, the hub and the task of one socket share.
//!
//! The handler's future and the bytes share one task. A turn of that task polls the handler, which takes messages straight from the
//! read side and queues its answers, then answers control frames, then writes everything in one go: sixteen messages that arrived
//! together cost one read and one write. Other tasks queue into the same state and, when the task is not in the middle of a turn,
//! write at once without waking it.

mod turn;

pub(crate) use turn::Life;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use talkback_protocol::close;
use tokio::sync::Notify;

use super::{
    CloseInfo, Message, SendError, SocketOptions, Sockets,
    io::{Flushed, Stream},
    outbox::FrameKind,
    state::{Answer, Phase, State, give_spare},
};
use crate::notify::wait_until;

/// Where `send` begins to wait for a client that reads slowly.
const SEND_WAITS_AT: usize = 64 * 1024;
/// What the system holds of what was sent to a client, at most about: what it has not sent (`--unsent-bytes`, and as much again that it
/// takes at once), and what is on its way.
const SYSTEM_HOLDS: usize = 128 * 1024;
/// Where a handler's burst is written before its turn ends.
const WRITE_AT: usize = 32 * 1024;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// The handler holds messages that it has not looked at.
    has_batch: AtomicBool,
    /// The client understands when to come back.
    restarts: AtomicBool,
    /// How many calls of `send` wait.
    sends_waiting: AtomicUsize,
    /// Notified once, when the socket closes.
    closed: Notify,
    /// Notified when a full outbox has room again.
    room: Notify,
    sockets: Sockets,
}

/// How long a message may have to wait for a place in the queue.
#[derive(Clone, Copy)]
enum Wait {
    /// It is refused when the queue is full.
    Never,
    /// It begins to wait long before that.
    ForRoom,
    /// The same, but not after all that was queued before this place is written.
    ForPlace(u64),
}

impl Wait {
    fn bytes(self) -> usize {
        match self {
            Self::Never => usize::MAX,
            Self::ForRoom | Self::ForPlace(_) => SEND_WAITS_AT,
        }
    }

    fn place(self) -> Option<u64> {
        match self {
            Self::ForPlace(place) => Some(place),
            Self::Never | Self::ForRoom => None,
        }
    }
}

/// How a broadcast to one member ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Queued,
    /// The member's queue was full, so its socket is being closed.
    TooSlow,
    Closed,
}

impl Shared {
    pub(crate) fn new(stream: Stream, unread: Bytes, sockets: Sockets) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(stream, unread, sockets.options())),
            has_batch: AtomicBool::new(false),
            restarts: AtomicBool::new(false),
            sends_waiting: AtomicUsize::new(0),
            closed: Notify::new(),
            room: Notify::new(),
            sockets,
        })
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn options(&self) -> &SocketOptions {
        self.sockets.options()
    }

    /// The next message. A whole batch is taken under one lock, and `batch` is where the handler keeps the rest of it.
    #[inline]
    pub(crate) fn poll_recv(&self, batch: &mut VecDeque<Message>, waker: Option<&Waker>) -> Poll<Option<Message>> {
        if batch.is_empty() {
            let mut state = self.state.lock();
            state.receives = true;
            state.take_inbound(batch);
            if batch.is_empty() {
                if state.end_deferred() {
                    self.announce_close(&mut state);
                }
                if state.phase != Phase::Open {
                    state.observed |= waker.is_some();
                    return Poll::Ready(None);
                }
                if let Some(waker) = waker {
                    state.receiver = (!state.io.waker().will_wake(waker)).then(|| waker.clone());
                }
                return Poll::Pending;
            }
        }
        let message = batch.pop_front();
        self.has_batch.store(!batch.is_empty(), Ordering::Relaxed);
        if batch.is_empty() {
            give_spare(batch);
        }
        Poll::Ready(message)
    }

    /// How many messages have arrived since the handler took its last batch.
    pub(crate) fn pending(&self) -> usize {
        let mut state = self.state.lock();
        state.pump();
        state.inbound.len()
    }

    pub(crate) fn close_info(&self) -> Option<CloseInfo> {
        let mut state = self.state.lock();
        state.observed |= state.info.is_some();
        state.info.clone()
    }

    /// How many frames came since the last call.
    pub(crate) fn take_received(&self) -> u32 {
        std::mem::take(&mut self.state.lock().io.received)
    }

    pub(crate) fn turns(&self) -> u64 {
        self.state.lock().turns
    }

    /// Any number of control frames, fragments and empty messages is taken, a share of them in each turn.
    pub(crate) fn take_any_rate(&self) {
        self.state.lock().takes_any_rate = true;
    }

    /// What [`close_info`](Self::close_info) says, on nobody's behalf.
    pub(crate) fn peek_close_info(&self) -> Option<CloseInfo> {
        self.state.lock().info.clone()
    }

    pub(crate) async fn closed(&self) -> CloseInfo {
        wait_until(&self.closed, || self.close_info()).await
    }

    #[inline]
    pub(crate) async fn send(&self, message: Message) -> Result<(), SendError> {
        match self.queue(message, Wait::ForRoom) {
            // Boxed, because every handler's future holds the state of its calls, and this one is rare.
            Err(SendError::Full(message)) => Box::pin(self.send_slowly(message, Wait::ForRoom)).await,
            result => result,
        }
    }

    /// The end of the queue, in bytes of all that was ever queued.
    pub(crate) fn place(&self) -> u64 {
        self.state.lock().place()
    }

    /// Queues a message, waiting while the client reads too slowly, but only until it has all that was queued before this place: what
    /// others queue meanwhile goes before it and cannot keep it out for ever. Of one socket, one call at a time. An error if the socket is
    /// closed.
    ///
    /// Cancel safe: a call with the same place goes on.
    pub(crate) async fn send_at(&self, place: u64, message: &Message) -> Result<(), ()> {
        let sent = Box::pin(self.send_slowly(message.clone(), Wait::ForPlace(place))).await;
        sent.map_err(|_| ())
    }

    async fn send_slowly(&self, message: Message, wait: Wait) -> Result<(), SendError> {
        let _waiting = Waiting::new(&self.sends_waiting);
        let mut message = Some(message);
        wait_until(&self.room, || match self.queue(message.take()?, wait) {
            Err(SendError::Full(full)) => {
                message = Some(full);
                None
            }
            result => Some(result),
        })
        .await
    }

    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.queue(message, Wait::Never)
    }

    #[inline]
    fn queue(&self, message: Message, wait: Wait) -> Result<(), SendError> {
        let options = self.options();
        let max_bytes = wait.bytes().min(options.queue_bytes);
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.phase != Phase::Open {
            state.observed = true;
            return Err(SendError::Closed(message));
        }
        let length = message.len();
        if state.io.outbox.bytes() >= WRITE_AT || state.is_full(1, length, options.queue_messages, max_bytes) {
            state.flush_direct();
            let is_full = state.is_full(1, length, options.queue_messages, max_bytes);
            if is_full && !state.waits_no_longer(wait.place()) {
                return Err(SendError::Full(message));
            }
        }
        if !matches!(wait, Wait::Never) {
            if state.sends_left == 0 || state.send_bytes_left == 0 {
                state.share_used = true;
                state.leave_to_task(Flushed::Blocked);
                return Err(SendError::Full(message));
            }
            state.sends_left -= 1;
            state.send_bytes_left = state.send_bytes_left.saturating_sub(length);
        }
        state
            .io
            .outbox
            .push_message(FrameKind::of(&message), message.shared_payload());
        if let Wait::ForPlace(_) = wait {
            state.answer = Answer {
                end: state.place(),
                bytes: length,
            };
        }
        if !state.in_turn {
            state.flush_direct();
        }
        Ok(())
    }

    /// Queues whole frames that other members get too, and writes them.
    pub(crate) fn deliver(&self, frames: &Bytes, messages: usize) -> Delivery {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Delivery::Closed;
        }
        let options = self.options();
        let is_full = |state: &State| {
            // An answer has a place of its own beside what is delivered.
            let bytes = options.queue_bytes + state.answer_left();
            state.is_full(messages, frames.len(), options.queue_messages, bytes)
        };
        if is_full(&state) {
            state.flush_direct();
            if is_full(&state) {
                state.io.outbox.discard_unstarted();
                state.close(close::TOO_SLOW, "messages were not read fast enough");
                self.announce_close(&mut state);
                return Delivery::TooSlow;
            }
        }
        if state.in_turn {
            state.io.outbox.push_frames(frames.clone(), messages);
        } else {
            let flushed = state.io.write_frames(frames, messages);
            state.leave_to_task(flushed);
        }
        Delivery::Queued
    }

    /// Writes a whole frame that is of no use later: drops it if the client has not taken all that it was sent before.
    pub(crate) fn deliver_if_idle(&self, frame: &Bytes) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open || !state.io.outbox.is_empty() {
            return;
        }
        if state.in_turn {
            state.io.outbox.push_frames(frame.clone(), 1);
        } else {
            let flushed = state.io.write_frames(frame, 1);
            state.leave_to_task(flushed);
        }
    }

    /// Like [`send_at`](Self::send_at), for whole frames as one message.
    pub(crate) async fn send_frames_at(&self, place: u64, frames: &Bytes) -> Result<(), ()> {
        while !self.try_send_frames_at(place, std::slice::from_ref(frames))? {
            self.ready_at(place).await?;
        }
        Ok(())
    }

    /// Queues whole frames, each as one message, unless the client reads too slowly; then it returns false, and
    /// [`ready_at`](Self::ready_at) tells when to try again. An error if the socket is closed.
    pub(crate) fn try_send_frames_at(&self, place: u64, frames: &[Bytes]) -> Result<bool, ()> {
        let mut state = self.state.lock();
        if !Self::is_ready(&mut state, place)? {
            return Ok(false);
        }
        for frame in frames {
            state.io.outbox.push_frames(frame.clone(), 1);
        }
        if !state.in_turn {
            state.flush_direct();
        }
        Ok(true)
    }

    /// Waits until [`try_send_frames_at`](Self::try_send_frames_at) takes something. An error if the socket is closed. Cancel safe.
    pub(crate) async fn ready_at(&self, place: u64) -> Result<(), ()> {
        let _waiting = Waiting::new(&self.sends_waiting);
        wait_until(&self.room, || {
            let is_ready = Self::is_ready(&mut self.state.lock(), place);
            is_ready.map(|is_ready| is_ready.then_some(())).transpose()
        })
        .await
    }

    fn is_ready(state: &mut State, place: u64) -> Result<bool, ()> {
        if state.phase != Phase::Open {
            state.observed = true;
            return Err(());
        }
        Ok(state.io.outbox.bytes() < SEND_WAITS_AT || state.waits_no_longer(Some(place)))
    }

    /// How long what was sent may still be on its way to a client whose link is as slow as any.
    pub(crate) fn backlog_time(&self) -> Duration {
        let rate = self.sockets.link_rate();
        self.state.lock().backlog_time(&rate, SYSTEM_HOLDS)
    }

    /// What waits to be written.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> Vec<u8> {
        let state = self.state.lock();
        let mut slices = [std::io::IoSlice::new(&[]); 4096];
        let used = state.io.outbox.slices(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// Starts the close handshake. False if the socket was closing already.
    pub(crate) fn close(&self, code: u16, reason: &str) -> bool {
        let mut state = self.state.lock();
        let closes = state.close(code, reason);
        if closes {
            self.announce_close(&mut state);
        }
        closes
    }

    /// Closes because the server stops.
    pub(crate) fn close_to_drain(&self) -> bool {
        if !self.restarts.load(Ordering::Relaxed) {
            return self.close(close::GOING_AWAY, "the server is going away");
        }
        let after = self.options().reconnect_spread.mul_f32(fastrand::f32());
        self.close(close::SERVICE_RESTART, &close::retry_after_reason(after))
    }

    /// From now on the server's end is told with 1012 and a time to come back at.
    pub(crate) fn expect_restart(&self) {
        self.restarts.store(true, Ordering::Relaxed);
    }

    /// Closes on the handler's own wish.
    pub(crate) fn close_observed(&self, code: u16, reason: &str) {
        self.close(code, reason);
        self.state.lock().observed = true;
    }

    /// Lets go of the connection, although handles to the socket may live on.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.release();
        self.announce_close(&mut state);
    }

    /// Tells everybody but the handler's own `close` call. The task must see it too: it arms the timer that bounds the handshake.
    fn announce_close(&self, state: &mut State) {
        state.announced = true;
        if !state.in_turn {
            state.flush_direct();
            state.io.waker().wake_by_ref();
        }
        if let Some(receiver) = state.receiver.take() {
            receiver.wake();
        }
        self.closed.notify_waiters();
        self.room.notify_waiters();
    }
}

/// Counts a waiting call while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
