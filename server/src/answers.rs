//! HTTP answers on their way: how many bytes of them there may be, and when to give up on a client that does not take them.
//!
//! An answer is made whole before the first byte of it leaves, so it costs memory until the client took it. [`AnswerStream`] sees what
//! leaves; [`Account`] holds what has not left yet, for one connection; [`Answers`] is the sum over all connections.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::HttpBody,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::{limits::Address, socket::send_now};

/// An answer up to this size is never refused: the number of connections bounds how many there are.
const SMALL: usize = 4 * 1024;
/// A body that is read from a file while it is sent costs at most about this much.
const STREAMED: usize = 64 * 1024;

/// Of all answers under way one address may have this part, once half of them are.
const PART: usize = 8;

/// The bytes of all answers under way.
pub(crate) struct Answers {
    max: usize,
    under_way: AtomicUsize,
    /// What each address has of it that has any.
    addresses: Mutex<HashMap<Address, usize>>,
}

impl Answers {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            under_way: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Whether there was room, in all and for this address.
    fn add(&self, bytes: usize, address: Option<Address>) -> bool {
        if !self.add_to_all(bytes) {
            return false;
        }
        let Some(address) = address else { return true };
        let is_half_full = self.under_way.load(Ordering::Relaxed) > self.max / 2;
        let mut addresses = self.addresses.lock();
        let of_address = addresses.entry(address).or_default();
        // The first of an address passes however large it is, if there is room at all.
        if bytes > SMALL && is_half_full && *of_address > 0 && *of_address + bytes > self.max / PART {
            self.under_way.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        *of_address += bytes;
        true
    }

    fn give_back(&self, bytes: usize, address: Option<Address>) {
        self.under_way.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(address) = address {
            let mut addresses = self.addresses.lock();
            if let Some(of_address) = addresses.get_mut(&address) {
                *of_address -= bytes;
                if *of_address == 0 {
                    addresses.remove(&address);
                }
            }
        }
    }

    fn add_to_all(&self, bytes: usize) -> bool {
        let add = |under_way: usize| {
            let sum = under_way.saturating_add(bytes);
            (bytes <= SMALL || sum <= self.max).then_some(sum)
        };
        self.under_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }
}

/// The answers under way on one connection, which hyper makes one after the other. Dropping it gives back what was not written.
pub(crate) struct Account {
    answers: Arc<Answers>,
    /// `None` for a proxy, which many clients share.
    address: Option<Address>,
    under_way: AtomicUsize,
}

impl Account {
    pub(crate) fn new(answers: &Arc<Answers>, address: Option<Address>) -> Arc<Self> {
        Arc::new(Self {
            answers: Arc::clone(answers),
            address,
            under_way: AtomicUsize::new(0),
        })
    }

    /// Counts an answer. In place of one for which there is no room, `None`.
    pub(crate) fn admit(&self, response: Response) -> Option<Response> {
        let bytes = cost(&response);
        if bytes > 0 && !self.answers.add(bytes, self.address) {
            return None;
        }
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        Some(response)
    }

    /// Bytes left; heads are among them, which are not counted.
    fn written(&self, bytes: usize) {
        let under_way = self.under_way.load(Ordering::Relaxed);
        let bytes = bytes.min(under_way);
        if bytes > 0 {
            self.under_way.store(under_way - bytes, Ordering::Relaxed);
            self.answers.give_back(bytes, self.address);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let left = *self.under_way.get_mut();
        if left > 0 {
            self.answers.give_back(left, self.address);
        }
    }
}

fn cost(response: &Response) -> usize {
    let size = response.body().size_hint();
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match (size.exact(), length) {
        (Some(exact), _) => usize::try_from(exact).unwrap_or(usize::MAX),
        (None, Some(length)) => length.min(STREAMED),
        // Its end is unknown, so it cannot be told from what leaves when all of it has left.
        (None, None) => 0,
    }
}

/// The answer to a request when too many answers are under way.
pub(crate) fn too_many() -> Response {
    let mut response = (
        StatusCode::SERVICE_UNAVAILABLE,
        "too many answers are under way: try again in a few seconds\n",
    )
        .into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A client's stream while it carries HTTP. A write fails when the client took hardly anything of what waits for it for too long, and then
/// the system drops what it holds for the client too.
pub(crate) struct AnswerStream {
    stream: TcpStream,
    timeout: Duration,
    /// How many bytes of what waits for it the client must take in that time.
    min_taken: usize,
    /// Runs while something waits to be written and the client has not taken so much.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What it has taken since.
    taken: usize,
    account: Arc<Account>,
}

impl AnswerStream {
    /// With a timeout of zero it waits for ever.
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

    /// Notes what came of a write of `bytes`.
    fn written(
        &mut self,
        bytes: &[u8],
        result: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            return Poll::Ready(result.inspect(|taken| self.took(*taken)));
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
        // The system tells of room only when much of what it holds was taken; asked, it takes more before that.
        if let Ok(taken @ 1..) = send_now(&self.stream, bytes) {
            self.took(taken);
            if self.stalled.is_none() {
                return Poll::Ready(Ok(taken));
            }
        }
        // Fails only on a connection that is gone.
        let _ = self.stream.set_zero_linger();
        let message = "the client took hardly anything of its answer for too long";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }

    fn took(&mut self, bytes: usize) {
        self.account.written(bytes);
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= self.min_taken {
            self.waits_no_more();
        }
    }

    fn waits_no_more(&mut self) {
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
        // All that there was is written.
        this.waits_no_more();
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
