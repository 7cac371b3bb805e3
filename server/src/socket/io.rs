//! The bytes under a socket: one non-blocking stream, read through a buffer that a thread's sockets share, written from an outbox.
//!
//! tungstenite reads frames from [`Io`] and writes its pongs and close frames to it. It never sees the data frames that the server
//! sends: those go to the outbox directly.

use std::{
    cell::Cell,
    io::{self, IoSlice, Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::outbox::Outbox;

/// One read takes at most this much. A burst of small messages costs one system call, and one client cannot hold the thread for long.
const SCRATCH: usize = 16 * 1024;
/// After so many full reads in one turn the other connections come first.
const READS_PER_TURN: u8 = 4;
/// Pongs to a client that does not read are held back beyond this; only the newest ping needs an answer
/// ([RFC 6455, section 5.5.3](https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3)).
const PONGS_UP_TO: usize = 64 * 1024;
/// Buffers in one vectored write.
const SLICES: usize = 16;

/// The transport left over when HTTP is done.
pub(crate) enum Stream {
    /// A bare TCP stream, as this crate's own accept loop gives it; other threads may write to it.
    Tcp(TcpStream),
    /// Whatever another accept loop put under hyper (TLS, a test's pipe).
    Other(Box<TokioIo<Upgraded>>),
    /// The connection was let go.
    Gone,
}

impl Stream {
    /// Unwraps what hyper gives after the `101`, with the bytes it had read too far.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, Bytes) {
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (Self::Tcp(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => (Self::Other(Box::new(TokioIo::new(upgraded))), Bytes::new()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
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

    /// Writes without a task of its own; `Pending` does not promise a wake-up.
    fn try_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = match (&*self, slices) {
            (Self::Tcp(stream), [one]) => stream.try_write(one),
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

/// What came of a flush.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// The client does not take more now.
    Blocked,
    /// The connection is broken; what was queued is gone.
    Broken,
}

pub(crate) struct Io {
    stream: Stream,
    /// Bytes that were read but not yet asked for.
    unread: Bytes,
    scratch: Option<Box<Scratch>>,
    pub(crate) outbox: Outbox,
    /// Wakes the connection's task; all reading and writing is registered with it.
    waker: Waker,
    reads_left: u8,
    /// The last read found nothing and the task will be woken when there is more.
    blocked: bool,
    /// The client showed that it lives since this was last cleared.
    pub(crate) heard: bool,
    /// The last write found the kernel's buffer full.
    stalled: bool,
    /// The close frame must be queued whatever waits before it.
    pub(crate) closing: bool,
    shut: bool,
    /// A write failed; whoever wrote may not have been the task, which has to learn of it.
    broken: bool,
}

impl Io {
    pub(crate) fn new(stream: Stream, unread: Bytes) -> Self {
        Self {
            stream,
            unread,
            scratch: None,
            outbox: Outbox::default(),
            waker: Waker::noop().clone(),
            reads_left: READS_PER_TURN,
            blocked: false,
            heard: false,
            stalled: false,
            closing: false,
            shut: false,
            broken: false,
        }
    }

    /// Starts a turn of the connection's task.
    pub(crate) fn begin_turn(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker.clone_from(waker);
        }
        self.reads_left = READS_PER_TURN;
        self.blocked = false;
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The turn's share of reads is used up while there may be more to read.
    pub(crate) fn wants_another_turn(&self) -> bool {
        self.reads_left == 0 && !self.blocked
    }

    /// Gives the shared read buffer back. To be called before the socket's lock is released.
    pub(crate) fn release_scratch(&mut self) {
        if let Some(mut scratch) = self.scratch.take() {
            let rest = scratch.rest();
            if !rest.is_empty() {
                self.unread = Bytes::copy_from_slice(rest);
            }
            scratch.clear();
            SPARE.set(Some(scratch));
        }
    }

    /// Reads and forgets; true at the end of the stream.
    pub(crate) fn discard_input(&mut self) -> bool {
        self.unread.clear();
        loop {
            self.scratch.iter_mut().for_each(|scratch| scratch.clear());
            match self.fill(&mut []) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes the outbox. With `direct` the caller is not the connection's task, which must be woken when the result is
    /// [`Flushed::Blocked`].
    pub(crate) fn flush_outbox(&mut self, direct: bool) -> Flushed {
        if self.broken {
            self.outbox = Outbox::default();
            return Flushed::Broken;
        }
        let mut cx = Context::from_waker(&self.waker);
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.slices(&mut slices);
            let result = if direct {
                self.stream.try_write(&mut cx, &slices[..used])
            } else {
                self.stream.poll_write(&mut cx, &slices[..used])
            };
            match result {
                Poll::Pending => {
                    self.stalled = true;
                    return Flushed::Blocked;
                }
                Poll::Ready(Ok(written @ 1..)) => {
                    self.outbox.advance(written);
                    // The kernel's buffer was full and has room again: the client acknowledged something.
                    self.heard |= std::mem::take(&mut self.stalled);
                }
                Poll::Ready(_) => {
                    self.broken = true;
                    self.outbox = Outbox::default();
                    return Flushed::Broken;
                }
            }
        }
        match self.stream.poll_flush(&mut cx) {
            Poll::Pending => Flushed::Blocked,
            Poll::Ready(result) => {
                self.broken = result.is_err();
                if self.broken { Flushed::Broken } else { Flushed::All }
            }
        }
    }

    /// Closes the connection and frees what it held.
    pub(crate) fn release(&mut self) {
        self.stream = Stream::Gone;
        self.unread = Bytes::new();
        self.waker = Waker::noop().clone();
    }

    /// Tells the client that nothing more will come, once everything is written.
    pub(crate) fn shut_down(&mut self) {
        if !self.shut && self.outbox.is_empty() {
            let mut cx = Context::from_waker(&self.waker);
            self.shut = self.stream.poll_shutdown(&mut cx).is_ready();
        }
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Takes up to `into.len()` bytes that were read before, or reads. With an empty `into` it only reads.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.unread.is_empty() {
            let taken = into.len().min(self.unread.len());
            self.unread.copy_to_slice(&mut into[..taken]);
            return Ok(taken);
        }
        let scratch = self
            .scratch
            .get_or_insert_with(|| SPARE.take().unwrap_or_else(Scratch::new));
        if scratch.rest().is_empty() {
            if self.blocked || self.reads_left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.reads_left -= 1;
            let mut buffer = ReadBuf::new(&mut scratch.bytes);
            match self
                .stream
                .poll_read(&mut Context::from_waker(&self.waker), &mut buffer)
            {
                Poll::Pending => {
                    self.blocked = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Poll::Ready(result) => result?,
            }
            let read = buffer.filled().len();
            if read == 0 {
                return Ok(0);
            }
            self.heard = true;
            (scratch.start, scratch.end) = (0, read);
            if into.is_empty() {
                return Ok(read);
            }
        }
        let taken = into.len().min(scratch.end - scratch.start);
        into[..taken].copy_from_slice(&scratch.rest()[..taken]);
        scratch.start += taken;
        Ok(taken)
    }
}

impl Read for Io {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill(into)
    }
}

impl Write for Io {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        if self.outbox.bytes() > PONGS_UP_TO && !self.closing {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbox.push_copy(frames);
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Scratch {
    bytes: [u8; SCRATCH],
    start: usize,
    end: usize,
}

impl Scratch {
    fn new() -> Box<Self> {
        Box::new(Self {
            bytes: [0; SCRATCH],
            start: 0,
            end: 0,
        })
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

thread_local! {
    /// The read buffer of this thread: it is needed only while a socket is read, so idle sockets have none.
    static SPARE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}
