use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use super::Account;
use crate::socket::send_now;

/// A client's TCP stream while it carries HTTP. If the client takes too little of an answer in a time, the write fails,
/// and the system's buffer for the client is dropped too.
pub(crate) struct AnswerStream {
    stream: TcpStream,
    timeout: Duration,
    /// The bytes that the client must take in that time.
    min_taken: usize,
    /// Runs while bytes wait to be written and the client has not taken `min_taken`.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What it has taken since the timer began.
    taken: usize,
    account: Arc<Account>,
}

impl AnswerStream {
    /// A timeout of zero never ends.
    pub(crate) fn new(stream: TcpStream, timeout: Duration, min_taken: usize, account: Arc<Account>) -> Self {
        Self {
            stream,
            timeout,
            min_taken,
            stalled: None,
            taken: 0,
            account,
        }
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Counts a write of `bytes`, and fails it if the client is stalled.
    fn written(
        &mut self,
        bytes: &[u8],
        result: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            return Poll::Ready(result.inspect(|taken| self.count_taken(*taken)));
        }
        if self.timeout.is_zero() {
            return Poll::Pending;
        }
        let timeout = self.timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if stalled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The system reports capacity only after much of its buffer was taken; a write may succeed before that.
        if let Ok(taken @ 1..) = send_now(&self.stream, bytes) {
            self.count_taken(taken);
            if self.stalled.is_none() {
                return Poll::Ready(Ok(taken));
            }
        }
        // This fails only if the connection is closed already.
        let _ = self.stream.set_zero_linger();
        let message = "the client took too little of its answer in the write timeout";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }

    fn count_taken(&mut self, bytes: usize) {
        self.account.written(bytes);
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= self.min_taken {
            self.stop_timer();
        }
    }

    fn stop_timer(&mut self) {
        self.stalled = None;
        self.taken = 0;
    }
}

impl AsyncRead for AnswerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AnswerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(bytes, result, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        let first = slices.iter().find(|slice| !slice.is_empty());
        this.written(first.map_or(&[], |slice| slice), result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Everything is written.
        this.stop_timer();
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
