//! The I/O of a socket: one non-blocking stream, read into a buffer that all sockets of a thread share, written from an
//! outbox.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_util::io::poll_read_buf;

use super::{SocketOptions, Sockets, outbox::Outbox};
use crate::answers::AnswerStream;

/// When less than this part of what one read takes is free, the read buffer is replaced: some message of an earlier
/// read still holds it.
const READ_AT_LEAST: usize = 4;
/// Buffers in one vectored write.
const SLICES: usize = 16;

/// The stream of a connection that was upgraded from HTTP.
pub(crate) enum Transport {
    /// A TCP stream, as this crate's own accept loop makes it. Any thread can write to it without the runtime.
    Tcp(TcpStream),
    /// A stream of another accept loop (TLS, a test's pipe).
    Other(Box<TokioIo<Upgraded>>),
    /// The connection is closed and freed.
    Gone,
}

impl Transport {
    /// Unwraps hyper's stream after the `101`. Also returns the bytes that hyper read after the request.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match upgraded.downcast::<TokioIo<AnswerStream>>() {
            Ok(parts) => return (Self::Tcp(parts.io.into_inner().into_inner()), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (Self::Tcp(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => (Self::Other(Box::new(TokioIo::new(upgraded))), Bytes::new()),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Self::Other(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Self::Gone, _) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Writes from any task; `Pending` registers no waker.
    fn try_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = match (&*self, slices) {
            (Self::Tcp(stream), [one]) => send_now(stream, one),
            (Self::Tcp(stream), _) => stream.try_write_vectored(slices),
            (Self::Other(_) | Self::Gone, _) => return self.poll_write(cx, slices),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Gone => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// Writes without the runtime's check of whether the stream is writable: with a thousand members the check is a
/// thousand cache misses, and the system checks anyway. The next write of the socket's task registers a full stream
/// with the runtime.
#[cfg(unix)]
pub(crate) fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};
    Ok(send(stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

#[cfg(not(unix))]
pub(crate) fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// The result of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// The system has taken everything.
    All,
    /// The stream is full.
    Blocked,
    /// The same, and the task will be woken when it does.
    Awaited,
    /// The connection is broken; what was queued is dropped.
    Broken,
}

/// A client that does not take what waits for it, see [`SocketOptions::min_taken`].
struct Stalled {
    since: Instant,
    /// Bytes that it took since.
    taken: usize,
}

/// The side of the stream that this server writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputHalf {
    /// The stream is tried when something is queued.
    Open,
    /// The task found the stream full, and will be woken when it is not.
    Full,
    /// Its end was sent.
    Shut,
    /// A write failed. It may have been another task's write, and the socket's task must see it.
    Broken,
}

impl OutputHalf {
    /// A full stream is tried again.
    fn retry(&mut self) {
        if *self == Self::Full {
            *self = Self::Open;
        }
    }
}

pub(crate) struct SocketIo {
    transport: Transport,
    /// Bytes that were read and belong to incomplete frames. While the socket's lock is held this may be the thread's
    /// shared buffer.
    pub(super) input: BytesMut,
    has_shared_buffer: bool,
    pub(super) outbox: Outbox,
    /// Wakes the connection's task; all reading and writing is registered with it.
    waker: Waker,
    /// Reads left in this turn.
    reads_left: u8,
    /// Frames left in this turn.
    frames_left: u32,
    /// Frames received since this was last taken: whole messages, fragments, pings, pongs.
    pub(super) received: u32,
    /// Those of them since the last turn that carry no message of their own: control frames, fragments, empty messages.
    pub(super) overhead: u32,
    /// The last read found no input, and the task will be woken when there is some.
    blocked: bool,
    /// The client sent or acknowledged something since this was last cleared.
    pub(super) heard: bool,
    /// The system's buffer was full, and has not taken `min_taken` bytes since. Boxed, because few clients are stalled.
    stalled: Option<Box<Stalled>>,
    /// Something was written since the senders that wait for capacity were last woken.
    pub(super) wrote: bool,
    output: OutputHalf,
    sockets: Sockets,
}

impl SocketIo {
    pub(crate) fn new(transport: Transport, unread: Bytes, sockets: Sockets) -> Self {
        Self {
            transport,
            input: BytesMut::from(unread),
            has_shared_buffer: false,
            outbox: Outbox::default(),
            waker: Waker::noop().clone(),
            reads_left: sockets.options().turn_reads,
            frames_left: 0,
            received: 0,
            overhead: 0,
            blocked: false,
            heard: false,
            stalled: None,
            wrote: false,
            output: OutputHalf::Open,
            sockets,
        }
    }

    pub(super) fn options(&self) -> &SocketOptions {
        self.sockets.options()
    }

    /// Begins a turn of the connection's task.
    pub(crate) fn begin_turn(&mut self, waker: &Waker, frames: u32) {
        if !self.waker.will_wake(waker) {
            self.waker.clone_from(waker);
        }
        self.reads_left = self.options().turn_reads;
        self.frames_left = frames;
        self.blocked = false;
        self.output.retry();
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether the turn's share is used up while there may be more input.
    pub(crate) fn wants_another_turn(&self) -> bool {
        self.frames_left == 0 || (self.reads_left == 0 && !self.blocked)
    }

    /// Whether another frame may be taken in this turn.
    pub(crate) fn may_take_frame(&self) -> bool {
        self.frames_left > 0
    }

    /// Counts a frame that is taken. `carries_message` if it is a whole message that is not empty.
    pub(crate) fn took_frame(&mut self, carries_message: bool) {
        self.frames_left = self.frames_left.saturating_sub(1);
        self.received = self.received.saturating_add(1);
        self.overhead = self.overhead.saturating_add(u32::from(!carries_message));
    }

    /// Since when bytes wait of which the client took fewer than [`SocketOptions::min_taken`].
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        let stalled = self.stalled.as_ref().filter(|_| !self.outbox.is_empty());
        stalled.map(|stalled| stalled.since)
    }

    /// Makes the system drop the unsent bytes when the connection is closed, instead of sending them again for minutes.
    pub(crate) fn reset_on_release(&self) {
        if let Transport::Tcp(stream) = &self.transport {
            // Fails only on a connection that is broken.
            let _ = stream.set_zero_linger();
        }
    }

    /// Reads available bytes to the end of `input`. `Ok(0)` is the end of the stream; `WouldBlock` means that the
    /// turn's share is used up or that the task will be woken.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.blocked || self.reads_left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.reads_left -= 1;
        if !self.has_shared_buffer {
            let mut shared = SHARED.take();
            shared.extend_from_slice(&self.input);
            self.input = shared;
            self.has_shared_buffer = true;
        }
        let wanted = self.options().read_bytes;
        if !self.input.try_reclaim(wanted) && self.input.capacity() - self.input.len() < wanted / READ_AT_LEAST {
            self.input.reserve(wanted);
        }
        let mut cx = Context::from_waker(&self.waker);
        match poll_read_buf(Pin::new(&mut self.transport), &mut cx, &mut self.input) {
            Poll::Pending => {
                self.blocked = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
            Poll::Ready(read) => {
                self.heard = true;
                read
            }
        }
    }

    /// Gives the shared buffer back. Call it before the socket's lock is released.
    pub(crate) fn release_input(&mut self) {
        if self.has_shared_buffer {
            let rest = BytesMut::from(&self.input[..]);
            self.input.clear();
            SHARED.set(std::mem::replace(&mut self.input, rest));
            self.has_shared_buffer = false;
        }
    }

    /// Reads and drops what was read. Returns whether the stream has ended.
    pub(crate) fn discard_input(&mut self) -> bool {
        loop {
            self.input.clear();
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes the outbox. With `direct` the caller is not the connection's task, which must be woken when the result is
    /// not [`Flushed::All`].
    pub(crate) fn flush(&mut self, direct: bool) -> Flushed {
        while self.output != OutputHalf::Broken && !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.slices(&mut slices);
            let mut cx = Context::from_waker(&self.waker);
            let result = if direct {
                self.transport.try_write(&mut cx, &slices[..used])
            } else {
                self.transport.poll_write(&mut cx, &slices[..used])
            };
            match self.written(result) {
                Poll::Pending => {
                    if !direct {
                        self.output = OutputHalf::Full;
                    }
                    return Flushed::Blocked;
                }
                Poll::Ready(written) => {
                    self.output.retry();
                    self.outbox.advance(written);
                }
            }
        }
        if self.output == OutputHalf::Broken {
            self.outbox.discard();
            return Flushed::Broken;
        }
        // Nothing waits, so the client is not stalled.
        self.stalled = None;
        match self.transport.poll_flush(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Flushed::Blocked,
            Poll::Ready(Err(_)) => {
                self.output = OutputHalf::Broken;
                Flushed::Broken
            }
            Poll::Ready(Ok(())) => Flushed::All,
        }
    }

    /// Writes frames from outside the connection's task; what does not go now is queued.
    pub(crate) fn write_frames(&mut self, frames: &Bytes, messages: usize) -> Flushed {
        if !self.outbox.is_empty() {
            self.outbox.push_frames(frames.clone(), messages);
            // While the stream is full, each write would be a useless system call and a turn of the task.
            return if self.output == OutputHalf::Full {
                Flushed::Awaited
            } else {
                self.flush(true)
            };
        }
        let mut cx = Context::from_waker(&self.waker);
        let result = self.transport.try_write(&mut cx, &[IoSlice::new(frames)]);
        let written = match self.written(result) {
            Poll::Pending => 0,
            Poll::Ready(_) if self.output == OutputHalf::Broken => return Flushed::Broken,
            Poll::Ready(written) => written,
        };
        if written < frames.len() {
            self.outbox.push_frames(frames.clone(), messages);
            self.outbox.advance(written);
            return Flushed::Blocked;
        }
        match self.transport {
            Transport::Tcp(_) => Flushed::All,
            _ => self.flush(true),
        }
    }

    /// Counts what was written, and notes whether the client is stalled. Returns 0 after an error, which breaks the
    /// output.
    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<usize> {
        if result.is_pending() {
            self.stalled.get_or_insert_with(|| {
                Box::new(Stalled {
                    since: Instant::now(),
                    taken: 0,
                })
            });
        }
        match ready!(result) {
            Ok(written @ 1..) => {
                if let Some(stalled) = &mut self.stalled {
                    // The system's buffer was full and has capacity again: the client acknowledged something.
                    self.heard = true;
                    stalled.taken = stalled.taken.saturating_add(written);
                    if stalled.taken >= self.sockets.options().min_taken {
                        self.stalled = None;
                    }
                }
                self.wrote = true;
                self.outbox.count_written(written);
                Poll::Ready(written)
            }
            _ => {
                self.output = OutputHalf::Broken;
                Poll::Ready(0)
            }
        }
    }

    /// Ends our side of the stream once everything is written.
    pub(crate) fn shut_down(&mut self) {
        if !self.is_shut() && self.outbox.is_empty() {
            let mut cx = Context::from_waker(&self.waker);
            if self.transport.poll_shutdown(&mut cx).is_ready() {
                self.output = OutputHalf::Shut;
            }
        }
    }

    /// Whether nothing more can be written.
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.output, OutputHalf::Shut | OutputHalf::Broken)
    }

    /// Closes the connection and frees what it held.
    pub(crate) fn release(&mut self) {
        self.transport = Transport::Gone;
        self.input = BytesMut::new();
        self.waker = Waker::noop().clone();
    }
}

thread_local! {
    /// The read buffer of this thread. Sockets need it only while they are read, so idle ones have none.
    static SHARED: Cell<BytesMut> = Cell::new(BytesMut::new());
}
