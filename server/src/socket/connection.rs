//! One socket's state, and the task that moves it.
//!
//! The handler's future and the bytes share one task. A turn of that task polls the handler, which takes messages straight from the
//! read side and queues its answers, then answers control frames, then writes everything in one go: sixteen messages that arrived
//! together cost one read and one write. Other tasks queue into the same state and, when the task is not in the middle of a turn,
//! write at once without waking it.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use talkback_protocol::close;
use tokio::{sync::Notify, task::coop};
use tungstenite::{
    Error, Message as Frame, WebSocket,
    error::ProtocolError,
    protocol::{CloseFrame, Role, WebSocketConfig},
};

use super::{
    CloseInfo, ClosedBy, Message, SendError, SocketOptions, Sockets, Utf8Bytes,
    io::{Flushed, Io, Stream},
    outbox::FrameKind,
};

/// Received messages that wait for the handler; when they reach either bound, reading stops and TCP slows the client down.
const INBOUND_MESSAGES: usize = 128;
const INBOUND_BYTES: usize = 64 * 1024;
/// Where `send` begins to wait for a client that reads slowly.
const SEND_WAITS_AT: usize = 64 * 1024;
/// Where a handler's burst is written before its turn ends.
const WRITE_AT: usize = 32 * 1024;
/// What an idle connection holds for reading.
const READ_BUFFER: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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

/// What the handles, the hub and the task of one socket share.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Notified once, when the socket closes.
    closed: Notify,
    /// Notified when a full outbox has room again.
    room: Notify,
    /// How many calls of `send` wait, for room or for their turn.
    sends_waiting: AtomicUsize,
    sockets: Sockets,
}

struct Inner {
    socket: WebSocket<Io>,
    inbound: VecDeque<Message>,
    inbound_bytes: usize,
    /// Reading stopped because `inbound` is full.
    paused: bool,
    phase: Phase,
    info: Option<CloseInfo>,
    /// The client's close frame was read.
    complete: bool,
    /// The handler waits for a message, with a waker that is not the task's own.
    receiver: Option<Waker>,
    /// The task is in the middle of a turn and will flush at its end.
    in_turn: bool,
    /// The handler has asked for messages at least once.
    receives: bool,
    /// The client's close frame, while the handler has not taken all messages before it. The socket stays open until it has, so that
    /// its answers still go out.
    deferred: Option<Option<CloseFrame>>,
    /// The handler was told by its socket that it is closed.
    observed: bool,
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
        let max = sockets.options().max_message_size;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Pongs and close frames go to the outbox at once, so tungstenite's own buffer stays empty.
            .write_buffer_size(0)
            .max_write_buffer_size(4096)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        Arc::new(Self {
            inner: Mutex::new(Inner {
                socket: WebSocket::from_raw_socket(Io::new(stream, unread), Role::Server, Some(config)),
                inbound: VecDeque::new(),
                inbound_bytes: 0,
                paused: false,
                phase: Phase::Open,
                info: None,
                complete: false,
                receiver: None,
                // The first turn is about to begin.
                in_turn: true,
                receives: false,
                deferred: None,
                observed: false,
            }),
            closed: Notify::new(),
            room: Notify::new(),
            sends_waiting: AtomicUsize::new(0),
            sockets,
        })
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn options(&self) -> &SocketOptions {
        self.sockets.options()
    }

    pub(crate) fn poll_recv(&self, waker: &Waker) -> Poll<Option<Message>> {
        let mut inner = self.inner.lock();
        if let Some(message) = self.next_message(&mut inner) {
            return Poll::Ready(Some(message));
        }
        if inner.phase != Phase::Open {
            inner.observed = true;
            return Poll::Ready(None);
        }
        inner.receiver = (!inner.io().waker().will_wake(waker)).then(|| waker.clone());
        Poll::Pending
    }

    pub(crate) fn try_recv(&self) -> Option<Message> {
        self.next_message(&mut self.inner.lock())
    }

    fn next_message(&self, inner: &mut Inner) -> Option<Message> {
        inner.receives = true;
        if inner.inbound.is_empty() {
            inner.pump();
        }
        if inner.inbound.is_empty() {
            self.close_deferred(inner);
        }
        let message = inner.inbound.pop_front()?;
        inner.inbound_bytes -= message.len();
        if inner.paused && !inner.in_turn {
            inner.io().waker().wake_by_ref();
        }
        Some(message)
    }

    fn close_deferred(&self, inner: &mut Inner) {
        if let Some(frame) = inner.deferred.take() {
            inner.closed_by_client(frame);
            self.announce_close(inner);
        }
    }

    /// The handler had its time to take what came before the client's close frame.
    pub(crate) fn stop_deferring(&self) {
        self.close_deferred(&mut self.inner.lock());
    }

    pub(crate) fn pending(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.pump();
        inner.inbound.len()
    }

    pub(crate) fn close_info(&self) -> Option<CloseInfo> {
        let mut inner = self.inner.lock();
        inner.observed |= inner.info.is_some();
        inner.info.clone()
    }

    /// What [`close_info`](Self::close_info) says, on nobody's behalf.
    pub(crate) fn peek_close_info(&self) -> Option<CloseInfo> {
        self.inner.lock().info.clone()
    }

    pub(crate) async fn closed(&self) -> CloseInfo {
        loop {
            let mut notified = std::pin::pin!(self.closed.notified());
            notified.as_mut().enable();
            if let Some(info) = self.close_info() {
                return info;
            }
            notified.await;
        }
    }

    pub(crate) async fn send(&self, mut message: Message) -> Result<(), SendError> {
        if !coop::has_budget_remaining() {
            let _waiting = Waiting::new(&self.sends_waiting);
            coop::consume_budget().await;
        } else {
            // A handler that sends in a loop to a fast client would otherwise never let go of the thread.
            coop::consume_budget().await;
        }
        let bytes = self.options().queue_bytes.min(SEND_WAITS_AT);
        message = match self.queue(message, bytes) {
            Err(SendError::Full(message)) => message,
            result => return result,
        };
        let _waiting = Waiting::new(&self.sends_waiting);
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            message = match self.queue(message, bytes) {
                Err(SendError::Full(message)) => message,
                result => return result,
            };
            room.await;
        }
    }

    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.queue(message, self.options().queue_bytes)
    }

    fn queue(&self, message: Message, bytes: usize) -> Result<(), SendError> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Open {
            inner.observed = true;
            return Err(SendError::Closed(message));
        }
        let messages = self.options().queue_messages;
        if inner.io().outbox.bytes() >= WRITE_AT || inner.is_full(1, message.len(), messages, bytes) {
            inner.flush_direct();
        }
        if inner.is_full(1, message.len(), messages, bytes) {
            return Err(SendError::Full(message));
        }
        let outbox = &mut inner.io_mut().outbox;
        outbox.push_message(FrameKind::of(&message), message.shared_payload());
        if !inner.in_turn {
            inner.flush_direct();
        }
        Ok(())
    }

    /// Queues whole frames that other members get too, and writes them.
    pub(crate) fn deliver(&self, frames: &Bytes, messages: usize) -> Delivery {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Open {
            return Delivery::Closed;
        }
        let options = self.options();
        if inner.is_full(messages, frames.len(), options.queue_messages, options.queue_bytes) {
            inner.flush_direct();
        }
        if inner.is_full(messages, frames.len(), options.queue_messages, options.queue_bytes) {
            inner.io_mut().outbox.discard_unstarted();
            inner.close(close::TOO_SLOW, "messages were not read fast enough", ClosedBy::Server);
            self.announce_close(&mut inner);
            return Delivery::TooSlow;
        }
        inner.io_mut().outbox.push_frames(frames.clone(), messages);
        if !inner.in_turn {
            inner.flush_direct();
        }
        Delivery::Queued
    }

    /// Starts the close handshake. False if the socket was closing already.
    pub(crate) fn close(&self, code: u16, reason: &str) -> bool {
        let mut inner = self.inner.lock();
        let closes = inner.close(code, reason, ClosedBy::Server);
        if closes {
            self.announce_close(&mut inner);
        }
        closes
    }

    /// Closes on the handler's own wish.
    pub(crate) fn close_observed(&self, code: u16, reason: &str) {
        self.close(code, reason);
        self.inner.lock().observed = true;
    }

    /// Lets go of the connection, although handles to the socket may live on.
    pub(crate) fn release(&self) {
        let mut inner = self.inner.lock();
        inner.lose();
        inner.io_mut().release();
        inner.in_turn = true;
        self.announce_close(&mut inner);
    }

    /// Tells everybody but the handler's own `close` call. The task must see it too: it arms the timer that bounds the handshake.
    fn announce_close(&self, inner: &mut Inner) {
        if !inner.in_turn {
            inner.flush_direct();
            inner.io().waker().wake_by_ref();
        }
        if let Some(receiver) = inner.receiver.take() {
            receiver.wake();
        }
        self.closed.notify_waiters();
        self.room.notify_waiters();
    }

    // The task's side, in the order of a turn.

    /// Begins a turn.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        let mut inner = self.inner.lock();
        inner.in_turn = true;
        inner.io_mut().begin_turn(waker);
        if inner.receiver.is_some() {
            inner.pump();
            inner.wake_receiver();
        }
    }

    /// Ends a turn: reads what the handler left unread, writes everything. Returns what the task should do.
    pub(crate) fn end_turn(&self, handler_done: bool) -> Turn {
        let mut inner = self.inner.lock();
        let was_open = inner.info.is_none();
        if handler_done {
            inner.inbound = VecDeque::new();
            inner.inbound_bytes = 0;
            self.close_deferred(&mut inner);
        }
        inner.pump();
        // The handler has taken everything and answered what it could: now it waits for something else.
        if inner.inbound.is_empty() && self.sends_waiting.load(Ordering::Relaxed) == 0 {
            self.close_deferred(&mut inner);
        }
        if inner.io_mut().flush_outbox(false) == Flushed::Broken {
            // The client's close frame may still be among what it sent before it went.
            inner.pump();
            if inner.phase != Phase::Over && inner.phase != Phase::Ending {
                inner.lose();
            }
        }
        if inner.phase == Phase::Ending {
            inner.io_mut().shut_down();
            inner.pump();
        }
        let sends_waiting = self.sends_waiting.load(Ordering::Relaxed) > 0;
        if sends_waiting && inner.io().outbox.bytes() < SEND_WAITS_AT / 2 {
            self.room.notify_waiters();
        }
        inner.wake_receiver();
        if was_open && inner.info.is_some() {
            self.announce_close(&mut inner);
        }
        inner.in_turn = false;
        if inner.inbound.is_empty() && inner.inbound.capacity() > 16 {
            inner.inbound = VecDeque::new();
        }
        if inner.io().wants_another_turn() && !inner.paused && inner.phase != Phase::Over {
            inner.io().waker().wake_by_ref();
        }
        Turn {
            deferred: inner.deferred.is_some(),
            closed: inner.info.is_some(),
            observed: inner.observed,
            complete: inner.complete && inner.io().is_shut(),
            over: inner.phase == Phase::Over,
        }
    }

    /// Whether the client showed any life since the last call. While reading is paused it has no chance to, and counts as heard.
    pub(crate) fn heard(&self) -> bool {
        let mut inner = self.inner.lock();
        let heard = inner.io().heard || inner.paused;
        inner.io_mut().heard = false;
        heard
    }

    pub(crate) fn ping(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Open {
            inner.io_mut().outbox.push_copy(&[FrameKind::Ping as u8, 0]);
        }
    }

    /// Gives up on a client that does not finish the close handshake.
    pub(crate) fn force_over(&self) {
        self.inner.lock().lose();
    }
}

/// The state at the end of a turn.
pub(crate) struct Turn {
    /// The client is done, but the handler has not taken all its messages.
    pub(crate) deferred: bool,
    /// No message goes either way any more.
    pub(crate) closed: bool,
    /// The handler knows.
    pub(crate) observed: bool,
    /// Both close frames are through, ours is written, and only the end of the stream is missing.
    pub(crate) complete: bool,
    /// The connection itself is gone.
    pub(crate) over: bool,
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

impl Inner {
    fn io(&self) -> &Io {
        self.socket.get_ref()
    }

    fn io_mut(&mut self) -> &mut Io {
        self.socket.get_mut()
    }

    /// Whether so much more is over a bound. Something that is larger than the whole queue may go alone.
    fn is_full(&self, messages: usize, bytes: usize, max_messages: usize, max_bytes: usize) -> bool {
        let outbox = &self.io().outbox;
        !outbox.is_empty() && (outbox.messages() + messages > max_messages || outbox.bytes() + bytes > max_bytes)
    }

    fn wake_receiver(&mut self) {
        let has_news = !self.inbound.is_empty() || self.phase != Phase::Open;
        if let Some(receiver) = self.receiver.take_if(|_| has_news) {
            receiver.wake();
        }
    }

    /// Reads until nothing is left, the inbound queue is full, or the turn's share is used up.
    fn pump(&mut self) {
        loop {
            match self.phase {
                // Nothing may follow a close frame, and reading on would answer it.
                Phase::Open if self.deferred.is_some() => break,
                Phase::Open | Phase::Closing => {
                    let full = self.inbound.len() >= INBOUND_MESSAGES || self.inbound_bytes >= INBOUND_BYTES;
                    self.paused = full && self.phase == Phase::Open;
                    if self.paused || !self.read_message() {
                        break;
                    }
                }
                Phase::Ending => {
                    self.paused = false;
                    if self.io_mut().discard_input() {
                        self.phase = Phase::Over;
                    }
                    break;
                }
                Phase::Over => break,
            }
        }
        self.io_mut().release_scratch();
    }

    /// Reads one message or control frame; false if none is there.
    fn read_message(&mut self) -> bool {
        match self.socket.read() {
            Ok(Frame::Text(text)) => self.take_in(Message::Text(text)),
            Ok(Frame::Binary(bytes)) => self.take_in(Message::Binary(bytes)),
            Ok(Frame::Close(frame)) if self.phase == Phase::Open && self.receives => {
                self.deferred = Some(frame);
                return false;
            }
            Ok(Frame::Close(frame)) => self.closed_by_client(frame),
            // tungstenite has queued the pong.
            Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => self.phase = Phase::Ending,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => self.lose(),
            Err(Error::Capacity(_)) => {
                let max = self.socket.get_config().max_message_size.unwrap_or(usize::MAX);
                self.fail(
                    close::MESSAGE_TOO_BIG,
                    &format!("a message may have at most {max} bytes"),
                );
            }
            Err(Error::Utf8(_)) => self.fail(close::INVALID_PAYLOAD, "a text message must be valid UTF-8"),
            Err(error) => self.fail(close::PROTOCOL_ERROR, &error.to_string()),
        }
        true
    }

    fn take_in(&mut self, message: Message) {
        if self.phase == Phase::Open {
            self.inbound_bytes += message.len();
            self.inbound.push_back(message);
        }
    }

    /// The client's close frame, which is either the first one or the answer to ours.
    fn closed_by_client(&mut self, frame: Option<CloseFrame>) {
        if self.info.is_none() {
            let (code, reason) = frame.map_or((close::NO_STATUS, Utf8Bytes::default()), |frame| {
                (frame.code.into(), frame.reason)
            });
            self.info = Some(CloseInfo {
                code,
                reason,
                by: ClosedBy::Client,
            });
        }
        self.complete = true;
        self.io_mut().closing = true;
        // Moves tungstenite's answer to the outbox; its error only says that the handshake is complete.
        let _ = self.socket.flush();
        self.phase = Phase::Ending;
    }

    /// Queues a close frame behind what is queued already.
    fn close(&mut self, code: u16, reason: &str, by: ClosedBy) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        if let Some(frame) = self.deferred.take() {
            self.closed_by_client(frame);
            return true;
        }
        self.io_mut().closing = true;
        let reason = truncated(reason);
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        // Writing to the outbox cannot fail once `closing` is set.
        let _ = self.socket.close(Some(frame));
        self.phase = Phase::Closing;
        self.info = Some(CloseInfo {
            code,
            reason: reason.into(),
            by,
        });
        true
    }

    /// Ends a connection whose input cannot be trusted any more.
    fn fail(&mut self, code: u16, reason: &str) {
        self.close(code, reason, ClosedBy::Server);
        self.phase = Phase::Ending;
    }

    fn lose(&mut self) {
        if let Some(frame) = self.deferred.take() {
            self.closed_by_client(frame);
        }
        self.phase = Phase::Over;
        self.io_mut().outbox = Default::default();
        self.info.get_or_insert_with(|| CloseInfo {
            code: close::ABNORMAL,
            reason: Utf8Bytes::default(),
            by: ClosedBy::Network,
        });
    }

    /// Writes now, from wherever the caller runs; what does not go is left to the task.
    fn flush_direct(&mut self) {
        if self.io_mut().flush_outbox(true) != Flushed::All && !self.in_turn {
            self.io().waker().wake_by_ref();
        }
    }
}

/// The longest part of a reason that fits into a close frame.
fn truncated(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(close::MAX_REASON_BYTES)]
}
