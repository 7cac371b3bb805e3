//! What the lock of one socket guards: its state, its bytes, and what was received.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use talkback_protocol::close;
use tokio::time::Instant;

use super::{
    CloseInfo, ClosedBy, Message, Sockets, Utf8Bytes,
    frame_reader::{FrameReader, ReadStep},
    inbound::Inbound,
    io::{Flushed, SocketIo, Transport},
    state::{ClosingHandshake, SocketState},
};
use crate::rate::{Bucket, Rate};

pub(super) struct SocketCore {
    pub(super) io: SocketIo,
    frames: FrameReader,
    pub(super) state: SocketState,
    pub(super) inbound: Inbound,
    pub(super) turn: Turn,
    /// What the client used of the rate of frames that carry no message. `None` if the handler lets it send any number
    /// of them.
    pub(super) overhead: Option<Bucket>,
    link: Link,
}

/// The turns of the socket's task. They are independent of the socket's state.
#[derive(Default)]
pub(super) struct Turn {
    /// A turn is in progress. The task writes at its end, so other tasks only queue.
    pub(super) is_under_way: bool,
    /// How many turns the task has begun.
    pub(super) count: u64,
    /// How many messages, and bytes of them, may still be queued before the next turn.
    pub(super) sends_left: u32,
    pub(super) send_bytes_left: usize,
    /// A sender has used that up and waits for the next turn.
    pub(super) is_share_used: bool,
}

/// How many bytes may be in flight to the client, over a link of
/// [`SocketOptions::link_rate`](super::SocketOptions::link_rate).
struct Link {
    /// When all counted bytes have arrived.
    bucket: Bucket,
    /// The place in the outbox up to which bytes are counted.
    counted: u64,
}

impl SocketCore {
    pub(super) fn new(transport: Transport, unread: Bytes, sockets: Sockets) -> Self {
        let now = Instant::now();
        Self {
            io: SocketIo::new(transport, unread, sockets),
            frames: FrameReader::default(),
            state: SocketState::Open,
            inbound: Inbound::default(),
            turn: Turn {
                // The first turn is about to begin.
                is_under_way: true,
                ..Turn::default()
            },
            overhead: Some(Bucket::new(now)),
            link: Link {
                bucket: Bucket::new(now),
                counted: 0,
            },
        }
    }

    /// Reads until no input is available, the inbound queue is full, or the turn's share is used up.
    pub(super) fn pump(&mut self) {
        loop {
            self.inbound.is_paused = self.state.is_open() && self.inbound.is_full(self.io.options());
            self.inbound.was_paused |= self.inbound.is_paused;
            if self.inbound.is_paused || !self.state.can_read() || !self.read() {
                break;
            }
        }
        if self.state.awaits_end_of_stream() && self.io.discard_input() {
            // Queued bytes are still written: the client may have closed only its own side.
            self.state.stream_ended();
        }
        self.io.release_input();
    }

    /// Reads one message or control frame. Returns false if none is available.
    fn read(&mut self) -> bool {
        match self.frames.read(&mut self.io) {
            ReadStep::Message(message) if self.state.is_open() => self.inbound.push(message),
            // Messages after our close frame are dropped.
            ReadStep::Message(_) | ReadStep::Control => {}
            ReadStep::Nothing => return false,
            ReadStep::Lost => self.lose(),
            ReadStep::End(info) if self.state.is_open() && self.inbound.is_asked_for => {
                self.state = SocketState::HalfClosed(Box::new(info));
            }
            ReadStep::End(info) => self.end_input(info),
        }
        true
    }

    /// Takes all received messages; reads first if there are none.
    pub(super) fn take_inbound(&mut self, batch: &mut VecDeque<Message>) {
        if self.inbound.is_empty() {
            self.pump();
        }
        self.inbound.take(batch);
        if self.inbound.is_paused && !self.turn.is_under_way {
            self.io.waker().wake_by_ref();
        }
    }

    /// Ends the socket if the client's end waits for the handler. Returns whether it did.
    pub(super) fn end_half_closed(&mut self) -> bool {
        let SocketState::HalfClosed(info) = &self.state else {
            return false;
        };
        let info = CloseInfo::clone(info);
        self.end_input(info);
        true
    }

    /// Ends the input: answers the client's close frame, or closes because the client broke a rule.
    fn end_input(&mut self, info: CloseInfo) {
        // The close frame may be the answer to ours; otherwise it is answered.
        let is_complete = info.by == ClosedBy::Client;
        if is_complete {
            self.frames.answer_close(&mut self.io);
        } else if self.state.can_send() {
            self.frames.close(&mut self.io, info.code, &info.reason);
        }
        self.state
            .end(info, ClosingHandshake::AwaitsEndOfStream { is_complete });
    }

    /// Queues a close frame after what is queued. Returns false if the socket is closing already.
    pub(super) fn close(&mut self, code: u16, reason: &str) -> bool {
        if !self.state.can_send() {
            return false;
        }
        if !self.end_half_closed() {
            let info = CloseInfo::by_server(code, reason);
            self.frames.close(&mut self.io, code, &info.reason);
            self.state.end(info, ClosingHandshake::AwaitsCloseFrame);
        }
        true
    }

    /// Ends the connection without the rest of the closing handshake.
    pub(super) fn lose(&mut self) {
        self.end_half_closed();
        let lost = CloseInfo {
            code: close::ABNORMAL,
            reason: Utf8Bytes::default(),
            by: ClosedBy::Network,
        };
        self.state.end(lost, ClosingHandshake::Over);
        self.io.outbox.discard();
    }

    /// Closes the connection and frees what it held.
    pub(super) fn release(&mut self) {
        self.lose();
        if self.state.ended().is_some_and(|ended| ended.given_up) {
            self.io.reset_on_release();
        }
        self.io.release();
        self.frames = FrameReader::default();
    }

    /// Wakes a handler that waits for a message if one was received or none will be.
    pub(super) fn wake_receiver(&mut self) {
        let has_news = !self.inbound.is_empty() || !self.state.can_send();
        if let Some(receiver) = self.inbound.receiver.take_if(|_| has_news) {
            receiver.wake();
        }
    }

    /// How long a link of this rate needs for the bytes in flight: at most those that wait here and
    /// [`SocketOptions::system_bytes`](super::SocketOptions::system_bytes).
    pub(super) fn backlog_time(&mut self, rate: &Rate) -> Duration {
        let place = self.io.outbox.next_place();
        // The place is lower than before if waiting bytes were dropped.
        let sent = place.saturating_sub(self.link.counted);
        self.link.counted = place;
        let most = (self.io.options().system_bytes + self.io.outbox.bytes()) as u64;
        self.link.bucket.take_up_to(rate, sent, most, Instant::now())
    }

    /// Writes now, from any task; the socket's task writes the rest.
    pub(super) fn flush_direct(&mut self) {
        let flushed = self.io.flush(true);
        self.leave_to_task(flushed);
    }

    /// Wakes the task if a direct write left something to do.
    pub(super) fn leave_to_task(&self, flushed: Flushed) {
        if matches!(flushed, Flushed::Blocked | Flushed::Broken) && !self.turn.is_under_way {
            self.io.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{SocketOptions, outbox::FrameKind};

    #[test]
    fn the_backlog_of_a_slow_link_is_what_was_sent_and_has_a_bound() {
        const KIB: usize = 1024;
        let options = SocketOptions {
            system_bytes: 10 * KIB,
            ..SocketOptions::default()
        };
        let mut core = SocketCore::new(Transport::Gone, Bytes::new(), Sockets::new(options));
        let rate = Rate::new(1024, 0);
        let backlog = |core: &mut SocketCore| core.backlog_time(&rate).as_secs_f64().round();
        assert_eq!(backlog(&mut core), 0.0);
        core.io.outbox.push_message(FrameKind::Text, &vec![0; 100 * KIB].into());
        assert_eq!(backlog(&mut core), 100.0);
        assert_eq!(backlog(&mut core), 100.0, "it is counted once");
        core.io.outbox.discard_unstarted();
        assert_eq!(backlog(&mut core), 10.0, "nothing waits but what the system holds");
        core.io.outbox.push_message(FrameKind::Text, &vec![0; 4 * KIB].into());
        assert_eq!(backlog(&mut core), 14.0);
        assert_eq!(core.backlog_time(&Rate::new(0, 0)), Duration::ZERO);
    }
}
