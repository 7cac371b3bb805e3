//! The task's side of what is shared, in the order of a turn.

use std::{sync::atomic::Ordering, task::Waker, time::Duration};

use talkback_protocol::close;
use tokio::time::Instant;

use super::{
    super::{
        io::Flushed,
        outbox::FrameKind,
        state::{Phase, State},
    },
    SEND_WAITS_AT, Shared,
};

impl Shared {
    /// Begins a turn.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        let mut state = self.state.lock();
        let options = self.options();
        state.in_turn = true;
        state.turns += 1;
        state.sends_left = options.turn_messages;
        state.send_bytes_left = options.turn_bytes;
        state.io.begin_turn(waker, options.turn_messages);
        if state.receiver.is_some() {
            state.pump();
            state.wake_receiver();
        }
    }

    /// Ends a turn: reads what the handler left unread, writes everything. Returns what the task should do.
    pub(crate) fn end_turn(&self, handler_done: bool) -> Turn {
        let mut state = self.state.lock();
        let state = &mut *state;
        if handler_done {
            state.drop_inbound();
        }
        state.pump();
        self.count_overhead(state);
        let sends_waiting = self.sends_waiting.load(Ordering::Relaxed) > 0;
        // The handler has taken everything and answered what it could: now it waits for something else.
        let nothing_left = state.inbound.is_empty() && !self.has_batch.load(Ordering::Relaxed) && !sends_waiting;
        if handler_done || nothing_left {
            state.end_deferred();
        }
        if state.io.flush(false) == Flushed::Broken {
            // The client's close frame may still be among what it sent before it went.
            state.pump();
            if state.phase != Phase::Over && state.phase != Phase::Ending {
                state.lose();
            }
        }
        if state.phase == Phase::Ending {
            state.io.shut_down();
            state.pump();
        }
        // Waking them when nothing has changed would be a loop that a client keeps going by not reading.
        let has_room = state.io.outbox.bytes() < SEND_WAITS_AT / 2 || state.reached_place();
        if sends_waiting && has_room && (state.share_used || state.io.wrote) {
            state.share_used = false;
            state.io.wrote = false;
            self.room.notify_waiters();
        }
        state.wake_receiver();
        if state.info.is_some() && !state.announced {
            self.announce_close(state);
        }
        state.in_turn = false;
        if state.io.wants_another_turn() && !state.paused && !state.is_deferring() && state.phase != Phase::Over {
            state.io.waker().wake_by_ref();
        }
        Turn {
            deferring: state.is_deferring(),
            closed: state.info.is_some(),
            observed: state.observed,
            complete: state.complete && state.io.is_shut(),
            over: state.phase == Phase::Over,
            stalled_since: state.io.stalled_since(),
        }
    }

    /// Closes a client that sends more control frames, fragments and empty messages than anybody has use for.
    fn count_overhead(&self, state: &mut State) {
        let overhead = std::mem::take(&mut state.io.overhead);
        if overhead == 0 || state.takes_any_rate || state.phase != Phase::Open {
            return;
        }
        let rate = self.sockets.overhead_rate();
        if state.overhead.take(&rate, overhead.into(), Instant::now()).is_some() {
            state.close(close::TOO_MANY, "too many control frames, fragments or empty messages");
            self.sockets.metrics().closed_too_many_frames.add_one();
        }
    }

    /// The handler had its time to take what came before the client's end.
    pub(crate) fn stop_deferring(&self) {
        let mut state = self.state.lock();
        if state.end_deferred() {
            self.announce_close(&mut state);
        }
    }

    /// What the client showed since the last call.
    pub(crate) fn life(&self) -> Life {
        let mut state = self.state.lock();
        // What has come while this task had no turn counts.
        state.pump();
        let heard = std::mem::take(&mut state.io.heard);
        let was_paused = state.was_paused;
        state.was_paused = state.paused;
        match (heard, was_paused) {
            (true, _) => Life::Heard,
            (false, true) => Life::NotRead,
            (false, false) => Life::Silent,
        }
    }

    /// Closes a client that took hardly any of the bytes that wait for it in all of this time.
    pub(crate) fn give_up(&self, timeout: Duration) {
        let mut state = self.state.lock();
        // The system wakes the task only when much of what it holds was taken; asked, it takes more before that.
        state.flush_direct();
        let stalled = state.io.stalled_since();
        if state.phase == Phase::Open && stalled.is_some_and(|since| since.elapsed() >= timeout) {
            state.given_up = true;
            state.io.outbox.discard_unstarted();
            state.close(close::TOO_SLOW, "nothing was read for too long");
            self.sockets.metrics().closed_stalled.add_one();
            self.announce_close(&mut state);
        }
    }

    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.state.lock().io.stalled_since()
    }

    pub(crate) fn ping(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.io.outbox.push_copy(&[FrameKind::Ping as u8, 0]);
        }
    }

    /// Gives up on a client that does not finish the close handshake.
    pub(crate) fn force_over(&self) {
        let mut state = self.state.lock();
        let stalled = state.io.stalled_since();
        state.given_up |= stalled.is_some_and(|since| since.elapsed() >= self.options().close_timeout);
        state.lose();
    }
}

/// What a client showed in some time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Heard,
    Silent,
    /// Nothing was heard, but this side did not read all the time.
    NotRead,
}

/// The state at the end of a turn.
pub(crate) struct Turn {
    /// The client is done, but the handler has not taken all its messages.
    pub(crate) deferring: bool,
    /// No message goes either way any more.
    pub(crate) closed: bool,
    /// The handler knows.
    pub(crate) observed: bool,
    /// Both close frames are through, ours is written, and only the end of the stream is missing.
    pub(crate) complete: bool,
    /// The connection itself is gone.
    pub(crate) over: bool,
    /// Since when bytes wait of which the client took hardly any.
    pub(crate) stalled_since: Option<Instant>,
}
