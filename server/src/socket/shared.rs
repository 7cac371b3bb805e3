//! The part of a socket that its handles, the hub and its task share.
//!
//! One task polls the handler and does the I/O. A *turn* is one poll of that task: it polls the handler, which takes
//! messages from the inbound queue and queues its own, reads the remaining input, and writes everything queued: sixteen
//! messages that arrived together cost one read and one write. Other tasks queue messages too and, while no turn is in
//! progress, write them immediately without waking the task.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use talkback_protocol::close;
use tokio::{sync::Notify, time::Instant};

use super::{
    CloseInfo, Message, SendError, SocketOptions, Sockets,
    core::SocketCore,
    inbound::give_spare,
    io::{Flushed, Transport},
    outbox::{Admission, FrameKind, Outbox},
};
use crate::notify::wait_until;

pub(crate) struct SharedSocket {
    core: Mutex<SocketCore>,
    /// The handler's batch has messages that were not returned yet.
    has_batch: AtomicBool,
    /// The client is a session, which reads from the reason of a close when to reconnect.
    restarts: AtomicBool,
    /// The number of waiting calls of `send`.
    sends_waiting: AtomicU32,
    /// Notified when the socket ends, and when a full outbox has capacity again. One for both, because each costs
    /// memory on every idle socket, and few calls wait.
    changed: Notify,
    sockets: Sockets,
}

/// How a broadcast to one member ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Written, or queued.
    Queued,
    /// The member's queue is full, so its socket is being closed.
    TooSlow,
    /// The socket is closing or closed.
    Closed,
}

impl SharedSocket {
    pub(crate) fn new(stream: Transport, unread: Bytes, sockets: Sockets) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(SocketCore::new(stream, unread, sockets.clone())),
            has_batch: AtomicBool::new(false),
            restarts: AtomicBool::new(false),
            sends_waiting: AtomicU32::new(0),
            changed: Notify::new(),
            sockets,
        })
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn options(&self) -> &SocketOptions {
        self.sockets.options()
    }

    /// The next message. All waiting messages are taken under one lock into `batch`, which the handler keeps.
    #[inline]
    pub(crate) fn poll_recv(&self, batch: &mut VecDeque<Message>, waker: Option<&Waker>) -> Poll<Option<Message>> {
        if batch.is_empty() {
            let mut core = self.core.lock();
            core.inbound.is_asked_for = true;
            core.take_inbound(batch);
            if batch.is_empty() {
                if core.end_half_closed() {
                    self.announce_close(&mut core);
                }
                if let Some(ended) = core.state.ended_mut() {
                    ended.observed |= waker.is_some();
                    return Poll::Ready(None);
                }
                if let Some(waker) = waker {
                    core.inbound.receiver = (!core.io.waker().will_wake(waker)).then(|| waker.clone());
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

    /// The number of messages that have arrived since the handler took its last batch.
    pub(crate) fn pending(&self) -> usize {
        let mut core = self.core.lock();
        core.pump();
        core.inbound.len()
    }

    pub(crate) fn close_info(&self) -> Option<CloseInfo> {
        let mut core = self.core.lock();
        core.state.observe_end().cloned()
    }

    /// The number of frames received since the last call.
    pub(crate) fn take_received(&self) -> u32 {
        std::mem::take(&mut self.core.lock().io.received)
    }

    pub(crate) fn turns(&self) -> u64 {
        self.core.lock().turn.count
    }

    /// Removes the limit on the rate of control frames, fragments and empty messages.
    pub(crate) fn take_any_rate(&self) {
        self.core.lock().overhead = None;
    }

    /// Like [`close_info`](Self::close_info), without marking the end as observed by the handler.
    pub(crate) fn peek_close_info(&self) -> Option<CloseInfo> {
        self.core.lock().state.ended().map(|ended| ended.info.clone())
    }

    pub(crate) async fn closed(&self) -> CloseInfo {
        wait_until(&self.changed, || self.close_info()).await
    }

    #[inline]
    pub(crate) async fn send(&self, message: Message) -> Result<(), SendError> {
        match self.queue(message, Admission::Paced) {
            // Boxed, because every handler's future holds the state of its calls, and this one is rare.
            Err(SendError::Full(message)) => Box::pin(self.send_slowly(message, Admission::Paced)).await,
            result => result,
        }
    }

    /// The place in the queue of the next queued byte, see [`Outbox`].
    pub(crate) fn place(&self) -> u64 {
        self.core.lock().io.outbox.next_place()
    }

    /// Queues a message, waiting while the client reads too slowly, but only until all that was queued before this
    /// place is written: what is queued meanwhile is written first, but does not delay the message further. A socket
    /// has one such call at a time. Fails if the socket is closed.
    ///
    /// Cancel safe: a new call with the same place continues.
    pub(crate) async fn send_at(&self, place: u64, message: &Message) -> Result<(), ()> {
        let sent = Box::pin(self.send_slowly(message.clone(), Admission::AtPlace(place))).await;
        sent.map_err(|_| ())
    }

    async fn send_slowly(&self, message: Message, admission: Admission) -> Result<(), SendError> {
        let _waiting = Waiting::new(&self.sends_waiting);
        let mut message = Some(message);
        wait_until(&self.changed, || match self.queue(message.take()?, admission) {
            Err(SendError::Full(full)) => {
                message = Some(full);
                None
            }
            result => Some(result),
        })
        .await
    }

    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.queue(message, Admission::Bounded)
    }

    #[inline]
    fn queue(&self, message: Message, admission: Admission) -> Result<(), SendError> {
        let options = self.options();
        let max_bytes = admission.max_bytes(options);
        let mut core = self.core.lock();
        let core = &mut *core;
        if core.state.observe_end().is_some() {
            return Err(SendError::Closed(message));
        }
        let length = message.len();
        let is_full = |outbox: &Outbox| outbox.is_full_for(1, length, options.queue_messages, max_bytes);
        if core.io.outbox.bytes() >= options.write_at || is_full(&core.io.outbox) {
            core.flush_direct();
            let outbox = &mut core.io.outbox;
            let has_place =
                |outbox: &mut Outbox| matches!(admission, Admission::AtPlace(place) if outbox.reaches(place));
            if is_full(outbox) && !has_place(outbox) {
                return Err(SendError::Full(message));
            }
        }
        if !matches!(admission, Admission::Bounded) {
            if core.turn.sends_left == 0 || core.turn.send_bytes_left == 0 {
                core.turn.is_share_used = true;
                core.leave_to_task(Flushed::Blocked);
                return Err(SendError::Full(message));
            }
            core.turn.sends_left -= 1;
            core.turn.send_bytes_left = core.turn.send_bytes_left.saturating_sub(length);
        }
        core.io
            .outbox
            .push_message(FrameKind::of(&message), message.shared_payload());
        if let Admission::AtPlace(_) = admission {
            core.io.outbox.note_placed(length);
        }
        if !core.turn.is_under_way {
            core.flush_direct();
        }
        Ok(())
    }

    /// Queues whole frames that other members get too, and writes them.
    pub(crate) fn deliver(&self, frames: &Bytes, messages: usize) -> Delivered {
        let mut core = self.core.lock();
        if !core.state.can_send() {
            return Delivered::Closed;
        }
        let options = self.options();
        let is_full = |outbox: &Outbox| {
            let max_bytes = options.queue_bytes + outbox.placed_bytes();
            outbox.is_full_for(messages, frames.len(), options.queue_messages, max_bytes)
        };
        if is_full(&core.io.outbox) {
            core.flush_direct();
            if is_full(&core.io.outbox) {
                core.io.outbox.discard_unstarted();
                core.close(close::TOO_SLOW, "messages were not read fast enough");
                self.announce_close(&mut core);
                return Delivered::TooSlow;
            }
        }
        if core.turn.is_under_way {
            core.io.outbox.push_frames(frames.clone(), messages);
        } else {
            let flushed = core.io.write_frames(frames, messages);
            core.leave_to_task(flushed);
        }
        Delivered::Queued
    }

    /// Writes a whole frame, or drops it if earlier bytes still wait for the client: later it would be out of date.
    pub(crate) fn deliver_if_idle(&self, frame: &Bytes) {
        let mut core = self.core.lock();
        if !core.state.can_send() || !core.io.outbox.is_empty() {
            return;
        }
        if core.turn.is_under_way {
            core.io.outbox.push_frames(frame.clone(), 1);
        } else {
            let flushed = core.io.write_frames(frame, 1);
            core.leave_to_task(flushed);
        }
    }

    /// Like [`send_at`](Self::send_at), for whole frames as one message.
    pub(crate) async fn send_frames_at(&self, place: u64, frames: &Bytes) -> Result<(), ()> {
        while !self.try_send_frames_at(place, std::slice::from_ref(frames))? {
            self.ready_at(place).await?;
        }
        Ok(())
    }

    /// Queues whole frames, each as one message. Returns false if the client reads too slowly;
    /// [`ready_at`](Self::ready_at) waits until a new call can succeed. Fails if the socket is closed.
    pub(crate) fn try_send_frames_at(&self, place: u64, frames: &[Bytes]) -> Result<bool, ()> {
        let mut core = self.core.lock();
        if !self.is_ready(&mut core, place)? {
            return Ok(false);
        }
        for frame in frames {
            core.io.outbox.push_frames(frame.clone(), 1);
        }
        if !core.turn.is_under_way {
            core.flush_direct();
        }
        Ok(true)
    }

    /// Waits until [`try_send_frames_at`](Self::try_send_frames_at) queues something. Fails if the socket is closed.
    /// Cancel safe.
    pub(crate) async fn ready_at(&self, place: u64) -> Result<(), ()> {
        let _waiting = Waiting::new(&self.sends_waiting);
        wait_until(&self.changed, || {
            let is_ready = self.is_ready(&mut self.core.lock(), place);
            is_ready.map(|is_ready| is_ready.then_some(())).transpose()
        })
        .await
    }

    fn is_ready(&self, core: &mut SocketCore, place: u64) -> Result<bool, ()> {
        if core.state.observe_end().is_some() {
            return Err(());
        }
        Ok(core.io.outbox.bytes() < self.options().send_waits_at || core.io.outbox.reaches(place))
    }

    /// How long a link of [`SocketOptions::link_rate`] needs for the bytes in flight.
    pub(crate) fn backlog_time(&self) -> Duration {
        let rate = self.sockets.link_rate();
        self.core.lock().backlog_time(&rate)
    }

    /// How many bytes the system has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.core.lock().io.outbox.bytes()
    }

    /// The bytes that are not written yet.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> Vec<u8> {
        let core = self.core.lock();
        let mut slices = [std::io::IoSlice::new(&[]); 4096];
        let used = core.io.outbox.slices(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// Starts the closing handshake. Returns false if the socket was closing already.
    pub(crate) fn close(&self, code: u16, reason: &str) -> bool {
        let mut core = self.core.lock();
        let closes = core.close(code, reason);
        if closes {
            self.announce_close(&mut core);
        }
        closes
    }

    /// Closes because the server stops. A session reconnects at once, perhaps to another server; the server spreads
    /// the closes over time instead.
    pub(crate) fn close_to_restart(&self) -> bool {
        self.close_reconnecting(Duration::ZERO)
    }

    /// Closes because the log of a room began anew: a session reconnects after a time of its own.
    pub(crate) fn close_to_reconnect(&self) -> bool {
        self.close_reconnecting(self.options().reconnect_spread.mul_f32(fastrand::f32()))
    }

    fn close_reconnecting(&self, after: Duration) -> bool {
        if !self.restarts.load(Ordering::Relaxed) {
            return self.close(close::GOING_AWAY, "the server is going away");
        }
        self.close(close::SERVICE_RESTART, &close::retry_after_reason(after))
    }

    /// Lets a stopping server close this socket with 1012 and the time after which to reconnect.
    pub(crate) fn expect_restart(&self) {
        self.restarts.store(true, Ordering::Relaxed);
    }

    /// Closes on a call of the handler, which therefore has observed the end.
    pub(crate) fn close_observed(&self, code: u16, reason: &str) {
        self.close(code, reason);
        self.core.lock().state.observe_end();
    }

    /// Closes the connection and frees what it held, although handles to the socket may remain.
    pub(crate) fn release(&self) {
        let mut core = self.core.lock();
        core.release();
        self.announce_close(&mut core);
    }

    /// Notifies the tasks that wait for the end, and wakes the socket's task, which sets the timer of the closing
    /// handshake.
    fn announce_close(&self, core: &mut SocketCore) {
        if let Some(ended) = core.state.ended_mut() {
            ended.announced = true;
        }
        if !core.turn.is_under_way {
            core.flush_direct();
            core.io.waker().wake_by_ref();
        }
        if let Some(receiver) = core.inbound.receiver.take() {
            receiver.wake();
        }
        self.changed.notify_waiters();
    }
}

/// The task's side, in the order of a turn.
impl SharedSocket {
    /// Begins a turn, with a new share of reads and sends.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        let mut core = self.core.lock();
        let options = self.options();
        core.turn.is_under_way = true;
        core.turn.count += 1;
        core.turn.sends_left = options.turn_messages;
        core.turn.send_bytes_left = options.turn_bytes;
        core.io.begin_turn(waker, options.turn_messages);
        if core.inbound.receiver.is_some() {
            core.pump();
            core.wake_receiver();
        }
    }

    /// Ends a turn: reads what the handler has not read, and writes everything queued.
    pub(crate) fn end_turn(&self, handler_done: bool) -> TurnEnd {
        let mut core = self.core.lock();
        let core = &mut *core;
        if handler_done {
            core.inbound.clear();
        }
        core.pump();
        self.count_overhead(core);
        let sends_waiting = self.sends_waiting.load(Ordering::Relaxed) > 0;
        // The handler has taken all messages and queued its answers, and waits for something other than its socket.
        let nothing_left = core.inbound.is_empty() && !self.has_batch.load(Ordering::Relaxed) && !sends_waiting;
        if handler_done || nothing_left {
            core.end_half_closed();
        }
        if core.io.flush(false) == Flushed::Broken {
            // The client's close frame may be among what it sent before the connection broke.
            core.pump();
            if !core.state.awaits_end_of_stream() && !core.state.is_over() {
                core.lose();
            }
        }
        if core.state.awaits_end_of_stream() {
            core.io.shut_down();
            core.pump();
        }
        // Waking the senders without a change would be a busy loop while the client does not read.
        let has_capacity = core.io.outbox.bytes() < self.options().send_waits_at / 2 || core.io.outbox.take_reached();
        if sends_waiting && has_capacity && (core.turn.is_share_used || core.io.wrote) {
            core.turn.is_share_used = false;
            core.io.wrote = false;
            self.changed.notify_waiters();
        }
        core.wake_receiver();
        if core.state.ended().is_some_and(|ended| !ended.announced) {
            self.announce_close(core);
        }
        core.turn.is_under_way = false;
        if core.io.wants_another_turn()
            && !core.inbound.is_paused
            && !core.state.is_half_closed()
            && !core.state.is_over()
        {
            core.io.waker().wake_by_ref();
        }
        TurnEnd {
            is_half_closed: core.state.is_half_closed(),
            has_ended: core.state.ended().is_some(),
            is_observed: core.state.ended().is_some_and(|ended| ended.observed),
            is_complete: core.state.is_handshake_complete() && core.io.is_shut(),
            is_over: core.state.is_over(),
            stalled_since: core.io.stalled_since(),
        }
    }

    /// Closes a client that sends control frames, fragments and empty messages faster than
    /// [`SocketOptions::max_overhead_rate`].
    fn count_overhead(&self, core: &mut SocketCore) {
        let overhead = std::mem::take(&mut core.io.overhead);
        if overhead == 0 || !core.state.can_send() {
            return;
        }
        let Some(bucket) = &mut core.overhead else { return };
        let rate = self.sockets.overhead_rate();
        if bucket.take(&rate, overhead.into(), Instant::now()).is_some() {
            core.close(close::TOO_MANY, "too many control frames, fragments or empty messages");
            self.sockets.metrics().closed_too_many_frames.add_one();
        }
    }

    /// Ends the socket of a client that ended its side, although the handler has not taken all its messages.
    pub(crate) fn end_half_closed(&self) {
        let mut core = self.core.lock();
        if core.end_half_closed() {
            self.announce_close(&mut core);
        }
    }

    /// Whether the client sent or took something since the last call.
    pub(crate) fn take_liveness(&self) -> Liveness {
        let mut core = self.core.lock();
        // Input since the last turn counts.
        core.pump();
        let heard = std::mem::take(&mut core.io.heard);
        let was_paused = core.inbound.was_paused;
        core.inbound.was_paused = core.inbound.is_paused;
        match (heard, was_paused) {
            (true, _) => Liveness::Heard,
            (false, true) => Liveness::NotRead,
            (false, false) => Liveness::Silent,
        }
    }

    /// Closes a client that took fewer than [`SocketOptions::min_taken`] of the bytes that wait for it within
    /// `timeout`.
    pub(crate) fn give_up(&self, timeout: Duration) {
        let mut core = self.core.lock();
        // The system reports a stream as writable only when much of what it holds was taken, but a write succeeds
        // before that.
        core.flush_direct();
        let stalled = core.io.stalled_since();
        if core.state.can_send() && stalled.is_some_and(|since| since.elapsed() >= timeout) {
            core.io.outbox.discard_unstarted();
            core.close(close::TOO_SLOW, "nothing was read for too long");
            if let Some(ended) = core.state.ended_mut() {
                ended.given_up = true;
            }
            self.sockets.metrics().closed_stalled.add_one();
            self.announce_close(&mut core);
        }
    }

    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.core.lock().io.stalled_since()
    }

    pub(crate) fn ping(&self) {
        let mut core = self.core.lock();
        if core.state.can_send() {
            core.io.outbox.push_copy(&[FrameKind::Ping as u8, 0]);
        }
    }

    /// Cuts the connection of a client that does not complete the closing handshake.
    pub(crate) fn force_over(&self) {
        let mut core = self.core.lock();
        let stalled = core.io.stalled_since();
        let is_stalled = stalled.is_some_and(|since| since.elapsed() >= self.options().close_timeout);
        core.lose();
        if let Some(ended) = core.state.ended_mut() {
            ended.given_up |= is_stalled;
        }
    }
}

/// The signs of life of a client since the last check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It sent something, or took something that it had not taken at once.
    Heard,
    /// Neither, although reading was not paused.
    Silent,
    /// Neither, but reading was paused for a part of the time.
    NotRead,
}

/// The socket at the end of a turn, for its task.
pub(crate) struct TurnEnd {
    /// The client ended its side, and the handler has not taken all its messages.
    pub(crate) is_half_closed: bool,
    /// No further message is received or sent.
    pub(crate) has_ended: bool,
    /// A call of the handler returned the end.
    pub(crate) is_observed: bool,
    /// Both close frames were exchanged, ours is written, and only the end of the stream is missing.
    pub(crate) is_complete: bool,
    /// The connection is closed or lost.
    pub(crate) is_over: bool,
    /// Since when bytes wait of which the client took fewer than [`SocketOptions::min_taken`].
    pub(crate) stalled_since: Option<Instant>,
}

/// Counts a waiting call until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
