//! The state of one socket: what was received, how far the end has come, and who must be woken.

use std::{cell::Cell, collections::VecDeque, task::Waker, time::Duration};

use bytes::Bytes;
use talkback_protocol::close;
use tokio::time::Instant;

use super::{
    CloseInfo, ClosedBy, Message, SocketOptions, Utf8Bytes,
    frames::{End, Frames, Step},
    io::{Flushed, Io, Stream},
};
use crate::rate::{Bucket, Rate};

/// Received messages that wait for the handler; when they reach either bound, reading stops and TCP slows the client down.
const INBOUND_MESSAGES: usize = 128;
const INBOUND_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages go both ways.
    Open,
    /// Our close frame is queued; the client's answer has not come.
    Closing,
    /// Nothing more will be understood from the client: write what is left, then wait for the end of the stream, because closing a
    /// TCP connection with unread input resets it and can destroy the close frame on its way.
    Ending,
    /// The connection is gone.
    Over,
}

pub(super) struct State {
    pub(super) io: Io,
    frames: Frames,
    pub(super) phase: Phase,
    pub(super) inbound: VecDeque<Message>,
    inbound_bytes: usize,
    /// Reading stopped because `inbound` is full.
    pub(super) paused: bool,
    /// It did since the client was last judged by its silence.
    pub(super) was_paused: bool,
    /// The handler has asked for messages at least once.
    pub(super) receives: bool,
    /// How the client ended its side, while the handler has not taken all messages before that. The socket stays open until it has, so
    /// that its answers still go out.
    deferred: Option<End>,
    pub(super) info: Option<CloseInfo>,
    /// Both close frames are through.
    pub(super) complete: bool,
    /// The handler waits for a message, with a waker that is not the task's own.
    pub(super) receiver: Option<Waker>,
    /// The task is in the middle of a turn and will flush at its end.
    pub(super) in_turn: bool,
    /// How many turns the task had.
    pub(super) turns: u64,
    /// How many messages, and bytes of them, may still be queued before the task has its next turn.
    pub(super) sends_left: u32,
    pub(super) send_bytes_left: usize,
    /// A sender used that up, and may go on in the next turn.
    pub(super) share_used: bool,
    /// What the client took of the rate of frames that carry no message.
    pub(super) overhead: Bucket,
    /// When what was queued before this place is written, somebody who waits can go on.
    place: Option<u64>,
    /// The last message that took a place of its own.
    pub(super) answer: Answer,
    /// When all that was written has reached a client whose link is as slow as any.
    link: Bucket,
    /// How much of it is counted there.
    link_bytes: u64,
    /// The handler knows how to bear any number of those.
    pub(super) takes_any_rate: bool,
    /// The client took nothing for too long: what waits for it is of no use to anybody.
    pub(super) given_up: bool,
    /// Everybody who waits for the end was told.
    pub(super) announced: bool,
    /// The handler was told by its socket that it is closed.
    pub(super) observed: bool,
}

/// A message that is queued whatever else waits.
#[derive(Default)]
pub(super) struct Answer {
    /// The place behind it.
    pub(super) end: u64,
    pub(super) bytes: usize,
}

impl State {
    pub(super) fn new(stream: Stream, unread: Bytes, options: &SocketOptions) -> Self {
        let now = Instant::now();
        Self {
            io: Io::new(stream, unread, options.min_taken),
            frames: Frames::new(options.max_message_size),
            phase: Phase::Open,
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            paused: false,
            was_paused: false,
            receives: false,
            deferred: None,
            info: None,
            complete: false,
            receiver: None,
            // The first turn is about to begin.
            in_turn: true,
            turns: 0,
            sends_left: 0,
            send_bytes_left: 0,
            share_used: false,
            overhead: Bucket::new(now),
            place: None,
            answer: Answer::default(),
            link: Bucket::new(now),
            link_bytes: 0,
            takes_any_rate: false,
            given_up: false,
            announced: false,
            observed: false,
        }
    }

    /// Reads until nothing is left, the inbound queue is full, or the turn's share is used up.
    pub(super) fn pump(&mut self) {
        loop {
            match self.phase {
                // What the client sent last waits for the handler.
                Phase::Open if self.deferred.is_some() => break,
                Phase::Open | Phase::Closing => {
                    let full = self.inbound.len() >= INBOUND_MESSAGES || self.inbound_bytes >= INBOUND_BYTES;
                    self.paused = full && self.phase == Phase::Open;
                    self.was_paused |= self.paused;
                    if self.paused || !self.read() {
                        break;
                    }
                }
                Phase::Ending => {
                    self.paused = false;
                    if self.io.discard_input() {
                        self.phase = Phase::Over;
                    }
                    break;
                }
                Phase::Over => break,
            }
        }
        self.io.release_input();
    }

    /// Reads one message or control frame; false if none is there.
    fn read(&mut self) -> bool {
        match self.frames.read(&mut self.io) {
            Step::Message(message) if self.phase == Phase::Open => {
                self.inbound_bytes += message.len();
                if self.inbound.capacity() == 0 {
                    self.inbound = SPARE.take();
                }
                self.inbound.push_back(message);
            }
            // After our close frame messages are of no use to anybody.
            Step::Message(_) | Step::Control => {}
            Step::Nothing => return false,
            Step::End(End::Lost) => self.lose(),
            Step::End(end) if self.phase == Phase::Open && self.receives => self.deferred = Some(end),
            Step::End(end) => self.end(end),
        }
        true
    }

    /// Swaps the received messages for an empty queue.
    pub(super) fn take_inbound(&mut self, batch: &mut VecDeque<Message>) {
        if self.inbound.is_empty() {
            self.pump();
        }
        std::mem::swap(&mut self.inbound, batch);
        self.inbound_bytes = 0;
        if self.paused && !self.in_turn {
            self.io.waker().wake_by_ref();
        }
    }

    /// Forgets what was received; nobody will ask for it.
    pub(super) fn drop_inbound(&mut self) {
        self.inbound = VecDeque::new();
        self.inbound_bytes = 0;
    }

    pub(super) fn is_deferring(&self) -> bool {
        self.deferred.is_some()
    }

    /// Lets the client's end take effect. True if there was one.
    pub(super) fn end_deferred(&mut self) -> bool {
        let Some(end) = self.deferred.take() else { return false };
        self.end(end);
        true
    }

    fn end(&mut self, end: End) {
        match end {
            // The first close frame counts; this may be the answer to ours.
            End::Close(frame) => {
                let (code, reason) = frame.map_or((close::NO_STATUS, Utf8Bytes::default()), |frame| {
                    (frame.code.into(), frame.reason)
                });
                self.info.get_or_insert(CloseInfo {
                    code,
                    reason,
                    by: ClosedBy::Client,
                });
                self.frames.answer_close(&mut self.io);
                self.complete = true;
            }
            End::Failed { code, reason } => {
                self.close(code, &reason);
            }
            End::Lost => return self.lose(),
        }
        self.phase = Phase::Ending;
    }

    /// Queues a close frame behind what is queued already. False if the socket is closing already.
    pub(super) fn close(&mut self, code: u16, reason: &str) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        if !self.end_deferred() {
            let reason = &reason[..reason.floor_char_boundary(close::MAX_REASON_BYTES)];
            self.frames.close(&mut self.io, code, reason);
            self.phase = Phase::Closing;
            self.info = Some(CloseInfo {
                code,
                reason: reason.into(),
                by: ClosedBy::Server,
            });
        }
        true
    }

    /// Ends without further words.
    pub(super) fn lose(&mut self) {
        self.end_deferred();
        self.phase = Phase::Over;
        self.io.outbox = Default::default();
        self.info.get_or_insert_with(|| CloseInfo {
            code: close::ABNORMAL,
            reason: Utf8Bytes::default(),
            by: ClosedBy::Network,
        });
    }

    /// Lets go of the connection.
    pub(super) fn release(&mut self) {
        self.lose();
        if self.given_up {
            self.io.reset_on_release();
        }
        self.io.release();
        self.frames = Frames::new(0);
        self.in_turn = true;
    }

    pub(super) fn wake_receiver(&mut self) {
        let has_news = !self.inbound.is_empty() || self.phase != Phase::Open;
        if let Some(receiver) = self.receiver.take_if(|_| has_news) {
            receiver.wake();
        }
    }

    /// Whether so much more is over a bound. Something that is larger than the whole queue may go alone.
    pub(super) fn is_full(&self, messages: usize, bytes: usize, max_messages: usize, max_bytes: usize) -> bool {
        let outbox = &self.io.outbox;
        !outbox.is_empty() && (outbox.messages() + messages > max_messages || outbox.bytes() + bytes > max_bytes)
    }

    /// The end of the queue, in bytes of all that was ever queued.
    pub(super) fn place(&self) -> u64 {
        self.io.written + self.io.outbox.bytes() as u64
    }

    /// Whether all that was queued before this place is written. If not, those who wait for room are woken when it is.
    pub(super) fn waits_no_longer(&mut self, place: Option<u64>) -> bool {
        let Some(place) = place else { return false };
        let is_reached = place <= self.io.written;
        self.place = Some(place).filter(|_| !is_reached);
        is_reached
    }

    /// Whether somebody waited for a place, and can go on.
    pub(super) fn reached_place(&mut self) -> bool {
        self.place.take_if(|place| *place <= self.io.written).is_some()
    }

    /// How much of the last answer is not written.
    pub(super) fn answer_left(&self) -> usize {
        let left = self.answer.end.saturating_sub(self.io.written);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.answer.bytes)
    }

    /// How long what was sent may still be on its way over a link of this rate. It cannot be more than what waits here and what the
    /// system `holds`.
    pub(super) fn backlog_time(&mut self, rate: &Rate, holds: usize) -> Duration {
        let place = self.place();
        // Less than before, if what waited was dropped meanwhile.
        let sent = place.saturating_sub(self.link_bytes);
        self.link_bytes = place;
        let most = (holds + self.io.outbox.bytes()) as u64;
        self.link.take_up_to(rate, sent, most, Instant::now())
    }

    /// Writes now, from wherever the caller runs; what does not go is left to the task.
    pub(super) fn flush_direct(&mut self) {
        let flushed = self.io.flush(true);
        self.leave_to_task(flushed);
    }

    /// Wakes the task if a direct write left something to do.
    pub(super) fn leave_to_task(&self, flushed: Flushed) {
        if matches!(flushed, Flushed::Blocked | Flushed::Broken) && !self.in_turn {
            self.io.waker().wake_by_ref();
        }
    }
}

thread_local! {
    /// The queue that was emptied last on this thread: thousands of idle sockets share one instead of keeping one each.
    static SPARE: Cell<VecDeque<Message>> = const { Cell::new(VecDeque::new()) };
}

/// Keeps the memory of an empty queue for the next socket that receives something.
pub(super) fn give_spare(queue: &mut VecDeque<Message>) {
    SPARE.set(std::mem::take(queue));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::outbox::FrameKind;

    #[test]
    fn the_backlog_of_a_slow_link_is_what_was_sent_and_has_a_bound() {
        const KIB: usize = 1024;
        let mut state = State::new(Stream::Gone, Bytes::new(), &SocketOptions::default());
        let rate = Rate::new(1024, 0);
        let backlog = |state: &mut State| state.backlog_time(&rate, 10 * KIB).as_secs_f64().round();
        assert_eq!(backlog(&mut state), 0.0);
        state
            .io
            .outbox
            .push_message(FrameKind::Text, &vec![0; 100 * KIB].into());
        assert_eq!(backlog(&mut state), 100.0);
        assert_eq!(backlog(&mut state), 100.0, "it is counted once");
        state.io.outbox.discard_unstarted();
        assert_eq!(backlog(&mut state), 10.0, "nothing waits but what the system holds");
        state.io.outbox.push_message(FrameKind::Text, &vec![0; 4 * KIB].into());
        assert_eq!(backlog(&mut state), 14.0);
        assert_eq!(state.backlog_time(&Rate::new(0, 0), 10 * KIB), Duration::ZERO);
    }
}
