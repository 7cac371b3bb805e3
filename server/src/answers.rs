//! HTTP answers that clients have not taken yet: the bounds of their bytes, and the timeout of a connection that takes
//! nothing.
//!
//! An answer is complete before its first byte is sent, so it takes memory until the client took it. [`AnswerStream`]
//! counts what is written; [`Account`] holds what is not written yet of one connection; [`Answers`] is the sum over all
//! connections.

mod stream;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::HttpBody,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;

use crate::limits::Address;
pub(crate) use stream::AnswerStream;

/// Bounds of answers in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerOptions {
    /// Bytes of all answers in flight.
    pub(crate) bytes: usize,
    /// Answers up to this size are never refused: the number of connections bounds how many there are.
    pub(crate) small_bytes: usize,
    /// The bytes that an answer is charged at most if its body is read from a file while it is sent.
    pub(crate) streamed_bytes: usize,
    /// One address may have this part of `bytes`, once half of them are in flight: 8 is an eighth.
    pub(crate) address_part: usize,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024 * 1024,
            small_bytes: 4 * 1024,
            streamed_bytes: 64 * 1024,
            address_part: 8,
        }
    }
}

/// The bytes of all answers in flight.
pub(crate) struct Answers {
    options: AnswerOptions,
    in_flight: AtomicUsize,
    /// The part of each address that has any.
    addresses: Mutex<HashMap<Address, usize>>,
}

impl Answers {
    pub(crate) fn new(options: AnswerOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            in_flight: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Counts an answer. Returns false if there is no capacity in all or for this address; then nothing was counted.
    fn add(&self, bytes: usize, address: Option<Address>) -> bool {
        if !self.add_to_all(bytes) {
            return false;
        }
        let Some(address) = address else { return true };
        let is_half_full = self.in_flight.load(Ordering::Relaxed) > self.options.bytes / 2;
        let mut addresses = self.addresses.lock();
        let of_address = addresses.entry(address).or_default();
        let max = self.options.bytes / self.options.address_part.max(1);
        // The first of an address passes however large it is, if all answers together have the capacity.
        if bytes > self.options.small_bytes && is_half_full && *of_address > 0 && *of_address + bytes > max {
            self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        *of_address += bytes;
        true
    }

    fn release(&self, bytes: usize, address: Option<Address>) {
        self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
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
        let add = |in_flight: usize| {
            let sum = in_flight.saturating_add(bytes);
            (bytes <= self.options.small_bytes || sum <= self.options.bytes).then_some(sum)
        };
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }
}

/// The answers in flight on one connection, which hyper makes one after the other. Dropping it releases what was not
/// written.
pub(crate) struct Account {
    answers: Arc<Answers>,
    /// `None` for a proxy, which many clients share.
    address: Option<Address>,
    in_flight: AtomicUsize,
}

impl Account {
    pub(crate) fn new(answers: &Arc<Answers>, address: Option<Address>) -> Arc<Self> {
        Arc::new(Self {
            answers: Arc::clone(answers),
            address,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Counts an answer and returns it. `None` if there is no capacity for it.
    pub(crate) fn admit(&self, response: Response) -> Option<Response> {
        let bytes = cost(&response, self.answers.options.streamed_bytes);
        if bytes > 0 && !self.answers.add(bytes, self.address) {
            return None;
        }
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        Some(response)
    }

    /// Counts bytes as written. The heads of answers are among them, though they were not counted before.
    fn written(&self, bytes: usize) {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let bytes = bytes.min(in_flight);
        if bytes > 0 {
            self.in_flight.store(in_flight - bytes, Ordering::Relaxed);
            self.answers.release(bytes, self.address);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let rest = *self.in_flight.get_mut();
        if rest > 0 {
            self.answers.release(rest, self.address);
        }
    }
}

/// The bytes that an answer takes until it is written. `streamed` bounds those of a body that is read from a file.
fn cost(response: &Response, streamed: usize) -> usize {
    let size = response.body().size_hint();
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match (size.exact(), length) {
        (Some(exact), _) => usize::try_from(exact).unwrap_or(usize::MAX),
        (None, Some(length)) => length.min(streamed),
        // Without a length the written bytes do not show when the whole answer is written.
        (None, None) => 0,
    }
}

/// The answer to a request when too many answers are in flight.
pub(crate) fn too_many() -> Response {
    let mut response = (
        StatusCode::SERVICE_UNAVAILABLE,
        "too many answers are in flight: try again in a few seconds\n",
    )
        .into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
