//! The browser's WebSocket as a `Stream` and a `Sink`. [`Shared`] holds the connection; each other file below is one
//! part of it.

mod address;
mod backpressure;
mod binary;
mod close_event;
mod error;
mod events;
mod halves;
mod message;
mod options;
mod ready_state;
mod receive_queue;
mod shared;
mod subprotocol;
mod text;

use std::{
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_sink::Sink;
use talkback_protocol::close::CloseError;

use crate::waiters::Waiter;
use shared::Shared;

#[cfg(feature = "session")]
pub(crate) use address::resolve;
pub use binary::Binary;
pub use close_event::CloseEvent;
pub use error::{ConnectError, SendError, SendErrorKind};
pub use events::EventGuard;
pub use halves::{SocketSink, SocketStream};
pub use message::Message;
pub use options::{BinaryType, InboundOptions, OutboundOptions, Overflow, SocketOptions};
pub use ready_state::ReadyState;
pub use receive_queue::InboundOverflow;
pub use text::Text;

/// A handle to one [WebSocket](https://websockets.spec.whatwg.org/#the-websocket-interface) of the browser.
///
/// Clones are handles to the same connection, and any of them may send, read and close. When the last handle (clone or
/// half) is dropped, the connection is closed with code 1000 and no callback runs any more; messages sent before still
/// go out. A task that waits with a clone is a handle too.
///
/// # Receiving
/// As a `Stream` of [`Message`]s: each message is one item, in order, and messages that arrived before the connection
/// ended are yielded before the stream ends. [`Socket::closed`] gives the close event. Several handles that read share
/// the messages between them. If messages arrive faster than they are read, the stream yields [`InboundOverflow`], see
/// [`InboundOptions`].
///
/// Or by callback: while a guard of [`Socket::on_message`] lives, messages go to the callbacks and not to the stream.
///
/// # Sending
/// [`Socket::send`] sends at once or fails. The `Sink` of [`Message`]s applies backpressure instead:
/// - ready while connected and at most [`OutboundOptions::high`] bytes are buffered, then again at
///   [`OutboundOptions::low`]; while connecting it waits, and once closing it fails. `SinkExt::feed` waits for this;
///   use it to send at the pace of the network;
/// - flushed (`SinkExt::send`, `flush`) when the browser has handed everything to the network, which takes at least one
///   turn of the event loop: 1,000 small messages took 8 to 40 us each by `feed` and 120 to 270 us by `send`. It does
///   not mean that the peer received them;
/// - closed (`SinkExt::close`) when the closing handshake is completed.
///
/// On a `Socket` itself `send` and `close` are its own methods, which do not wait; on a [`SocketSink`] they are those
/// of `SinkExt`.
///
/// Browsers have no event for the buffer, so a waiting sink reads `bufferedAmount` again by a timer (after 0, 1, 2, 4,
/// 8 and then every 16 ms), whenever a message arrives (hidden pages delay timers, but not messages), and when the
/// state changes.
///
/// # Cancel safety
/// Polling the `Sink` and the `Stream` is cancel safe: a message is sent or yielded whole, or not at all.
pub struct Socket {
    shared: Rc<Shared>,
    reader: Waiter,
    writer: Waiter,
}

impl Socket {
    /// Connects and waits until the connection is open.
    ///
    /// The address may be relative or have the scheme http or https, as in the
    /// [standard](https://websockets.spec.whatwg.org/#dom-websocket-websocket); a fragment is refused.
    ///
    /// # Errors
    /// Every [`ConnectError`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the handshake and frees everything it used.
    pub async fn connect(url: &str, options: &SocketOptions) -> Result<Self, ConnectError> {
        let socket = Self::new(url, options)?;
        socket.opened().await?;
        Ok(socket)
    }

    /// Begins to connect, as the browser's constructor does. No event fires before the caller returns to the event
    /// loop, so callbacks can be registered first.
    ///
    /// # Errors
    /// Every [`ConnectError`] except [`ConnectError::Closed`] and [`ConnectError::TimedOut`], which are known later.
    pub fn new(url: &str, options: &SocketOptions) -> Result<Self, ConnectError> {
        Shared::connect(url, options).map(Self::handle)
    }

    /// Whether the global object has `WebSocket`: `true` in pages and workers of current browsers.
    pub fn is_supported() -> bool {
        shared::is_supported()
    }

    /// Waits until the connection is open. Also `Ok` if it was open and has ended since.
    ///
    /// # Errors
    /// [`ConnectError::Closed`], [`ConnectError::TimedOut`] or [`ConnectError::Aborted`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn opened(&self) -> Result<(), ConnectError> {
        self.shared.opened().await
    }

    /// The current state. It is [`ReadyState::Closing`] as soon as either side began the closing handshake.
    pub fn ready_state(&self) -> ReadyState {
        self.shared.ready_state()
    }

    /// The resolved address: [`url`](https://websockets.spec.whatwg.org/#dom-websocket-url).
    pub fn url(&self) -> String {
        self.shared.web.url()
    }

    /// The subprotocol that the server chose; empty before the connection is open and if none was chosen:
    /// [`protocol`](https://websockets.spec.whatwg.org/#dom-websocket-protocol).
    pub fn protocol(&self) -> String {
        self.shared.web.protocol()
    }

    /// The extensions in use, like `permessage-deflate`; empty before the connection is open and if there are none:
    /// [`extensions`](https://websockets.spec.whatwg.org/#dom-websocket-extensions).
    pub fn extensions(&self) -> String {
        self.shared.web.extensions()
    }

    /// How binary messages arrive.
    pub fn binary_type(&self) -> BinaryType {
        match self.shared.web.binary_type() {
            web_sys::BinaryType::Blob => BinaryType::Blob,
            _ => BinaryType::ArrayBuffer,
        }
    }

    /// Changes how binary messages arrive from now on.
    pub fn set_binary_type(&self, binary_type: BinaryType) {
        self.shared.web.set_binary_type(binary_type.into());
    }

    /// How many bytes of sent messages the browser has not handed to the network yet:
    /// [`bufferedAmount`](https://websockets.spec.whatwg.org/#dom-websocket-bufferedamount). It is not reset to 0 when
    /// the connection ends.
    pub fn buffered_amount(&self) -> u32 {
        self.shared.web.buffered_amount()
    }

    /// Sends a message: [`send`](https://websockets.spec.whatwg.org/#dom-websocket-send). It takes text (`&str`,
    /// `String`, [`Text`], `JsString`), bytes (`&[u8]`, `Vec<u8>`, [`Binary`], `ArrayBuffer` and its views) and `Blob`.
    ///
    /// It never waits: the browser buffers, up to [`OutboundOptions::max`]. `Ok` means buffered, not received by the
    /// peer.
    ///
    /// # Errors
    /// [`SendErrorKind::NotOpen`], [`SendErrorKind::Full`] or [`SendErrorKind::Rejected`]; the error returns the
    /// message.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.shared.send(&message) {
            Ok(()) => Ok(()),
            Err(kind) => Err(SendError::new(kind, message)),
        }
    }

    /// Begins the closing handshake without a code, after the messages sent before; most servers answer so that the
    /// close event has 1005. While connecting, it ends the opening handshake. Closing again has no effect:
    /// [`close`](https://websockets.spec.whatwg.org/#dom-websocket-close).
    ///
    /// The browser delivers no messages after this call. To receive everything that the peer still sends, let the peer
    /// close.
    pub fn close(&self) {
        self.shared.close();
    }

    /// As [`Socket::close`], with a code and a reason.
    ///
    /// # Errors
    /// [`CloseError`] if the code is not 1000 or 3000 to 4999, or the reason has more than 123 bytes of UTF-8.
    pub fn close_with(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        self.shared.close_with(code, reason)
    }

    /// Ends the connection at once, without waiting for the peer: the state is CLOSED and [`Socket::closed`] gives
    /// 1006. The browser closes its socket in the background. The callbacks for error and close run soon after this
    /// returns.
    ///
    /// For a half-open connection: after [`Socket::close`] a browser waits for the peer's answer, some of them for
    /// minutes.
    pub fn terminate(&self) {
        self.shared.terminate();
    }

    /// Waits until the connection ended and gives the close event. Any number of tasks may wait, before or after the
    /// end.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> CloseEvent {
        self.shared.closed().await
    }

    /// Splits the socket into two handles, one to send and one to receive. [`SocketSink::socket`] and
    /// [`SocketStream::socket`] give the socket back.
    pub fn split(self) -> (SocketSink, SocketStream) {
        halves::split(self)
    }

    /// Calls back when the connection becomes open; not if it is open already, see [`Socket::opened`].
    pub fn on_open(&self, mut callback: impl FnMut() + 'static) -> EventGuard {
        self.shared.on_open.add(move |()| callback())
    }

    /// Calls back with each message, which then does not go to the stream. The first callback also gets the queued
    /// messages, soon after this returns.
    pub fn on_message(&self, callback: impl FnMut(Message) + 'static) -> EventGuard {
        self.shared.on_message(callback)
    }

    /// Calls back when the connection failed. The event has no details; the close event that follows has a code.
    pub fn on_error(&self, mut callback: impl FnMut() + 'static) -> EventGuard {
        self.shared.on_error.add(move |()| callback())
    }

    /// Calls back once, when the connection ends; not if it ended already, see [`Socket::closed`].
    pub fn on_close(&self, callback: impl FnMut(CloseEvent) + 'static) -> EventGuard {
        self.shared.on_close.add(callback)
    }

    fn handle(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            reader: Waiter::default(),
            writer: Waiter::default(),
        }
    }
}

impl Clone for Socket {
    fn clone(&self) -> Self {
        Self::handle(self.shared.clone())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("url", &self.url())
            .field("ready_state", &self.ready_state())
            .finish_non_exhaustive()
    }
}

impl Stream for Socket {
    type Item = Result<Message, InboundOverflow>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll_next(&self.reader, context)
    }
}

impl Sink<Message> for Socket {
    type Error = SendError<Option<Message>>;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.shared.poll_ready(&self.writer, context).map_err(without_message)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        Ok(self.send(message)?)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.shared.poll_flush(&self.writer, context).map_err(without_message)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.shared.poll_close(&self.writer, context).map_err(without_message)
    }
}

fn without_message(kind: SendErrorKind) -> SendError<Option<Message>> {
    SendError::new(kind, None)
}
