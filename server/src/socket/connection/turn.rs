//! The task's side of what is shared, in the order of a turn.

use std::{sync::atomic::Ordering, task::Waker};

use super::{
    super::{
        io::Flushed,
        outbox::FrameKind,
        state::{Phase, SENDS_PER_TURN},
    },
    SEND_WAITS_AT, Shared,
};

impl Shared {
    /// Begins a turn.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        let mut state = self.state.lock();
        state.in_turn = true;
        state.sends_left = SENDS_PER_TURN;
        state.io.begin_turn(waker);
        if state.receiver.is_some() {
            state.pump();
            state.wake_receiver();
        }
    }

    /// Ends a turn: reads what the handler left unread, writes everything. Returns what the task should do.
    pub(crate) fn end_turn(&self, handler_done: bool) -> Turn {
        let mut state = self.state.lock();
        let state = &mut *state;
        let was_open = state.info.is_none();
        if handler_done {
            state.drop_inbound();
        }
        state.pump();
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
        if sends_waiting && state.io.outbox.bytes() < SEND_WAITS_AT / 2 {
            self.room.notify_waiters();
        }
        state.wake_receiver();
        if was_open && state.info.is_some() {
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
        }
    }

    /// The handler had its time to take what came before the client's end.
    pub(crate) fn stop_deferring(&self) {
        let mut state = self.state.lock();
        if state.end_deferred() {
            self.announce_close(&mut state);
        }
    }

    /// Whether the client showed any life since the last call. While reading is paused it has no chance to, and counts as heard.
    pub(crate) fn heard(&self) -> bool {
        let mut state = self.state.lock();
        std::mem::take(&mut state.io.heard) || state.paused
    }

    pub(crate) fn ping(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.io.outbox.push_copy(&[FrameKind::Ping as u8, 0]);
        }
    }

    /// Gives up on a client that does not finish the close handshake.
    pub(crate) fn force_over(&self) {
        self.state.lock().lose();
    }
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
}
