//! The browser's WebSocket. Each file below holds one behaviour; [`shared`] brings them together.

mod address;
mod binary;
mod error;
mod events;
mod halves;
mod inbound;
mod message;
mod options;
mod outbound;
mod polling;
mod shared;
mod state;
mod text;

use std::{
    fmt,
    future::poll_fn,
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
pub use error::{ConnectError, SendError, SendErrorKind};
pub use events::EventGuard;
pub use halves::{SocketSink, SocketStream};
pub use inbound::InboundOverflow;
pub use message::Message;
pub use options::{BinaryType, Inbound, Options, Outbound, Overflow};
pub use state::{CloseEvent, ReadyState};
pub use text::Text;

/// A handle to one [WebSocket](https://websockets.spec.whatwg.org/#the-websocket-interface) of the browser.
///
/// Clones are handles to the same connection, and any of them may send, read and close. When the last handle (clone or half) is
/// dropped, the connection is closed with code 1000 and nothing is called any more; what was sent before still goes out. A task
/// that waits with a clone is a handle too.
///
/// # Receiving
/// As a `Stream` of [`Message`]s: each message is one item, in order, and what arrived before the connection ended is
/// delivered before the stream ends. How it ended is told by [`Socket::closed`]. Several handles that read share the messages
/// between them. If messages are not read as fast as they come, [`Inbound`] decides, and the stream yields [`InboundOverflow`].
///
/// Or by callback: while a guard of [`Socket::on_message`] lives, messages go to the callbacks and not to the stream.
///
/// # Sending
/// [`Socket::send`] sends at once or fails. The `Sink` of [`Message`]s waits for the network instead:
/// - ready while connected and at most [`Outbound::high`] bytes are buffered, then again at [`Outbound::low`]; while connecting it
///   waits, and once closing it fails. This is what `SinkExt::feed` waits for, and the right pace for a sender;
/// - flushed (`SinkExt::send`, `flush`) when the browser has handed everything to the network, which takes a turn of the event
///   loop at least: 1,000 small messages took 8 to 40 us each by `feed` and 120 to 270 us by `send`. Nothing tells whether it arrived;
/// - closed (`SinkExt::close`) when the closing handshake is done.
///
/// On a `Socket` itself `send` and `close` are its own methods, which do not wait; on a [`SocketSink`] they are those of `SinkExt`.
///
/// There is no event for the buffer, so a waiting sink looks at it again by a timer (after 0, 1, 2, 4, 8 and then every 16 ms),
/// whenever a message arrives, which no hidden page delays, and when the state changes. Polling the `Sink` and the `Stream` is
/// cancel safe: a message is taken or given whole.
pub struct Socket {
    shared: Rc<Shared>,
    reader: Waiter,
    writer: Waiter,
}

impl Socket {
    /// Connects and waits until messages can be sent.
    ///
    /// The address may be relative or have the scheme http or https, as in the
    /// [standard](https://websockets.spec.whatwg.org/#dom-websocket-websocket); a fragment is refused.
    ///
    /// # Errors
    /// Every [`ConnectError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the handshake and leaves nothing behind.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, ConnectError> {
        let socket = Self::new(url, options)?;
        socket.opened().await?;
        Ok(socket)
    }

    /// Begins to connect, as the browser's constructor does; callbacks may be registered before anything happens.
    ///
    /// # Errors
    /// What is known at once: every [`ConnectError`] but [`ConnectError::Closed`] and [`ConnectError::TimedOut`].
    pub fn new(url: &str, options: &Options) -> Result<Self, ConnectError> {
        Shared::connect(url, options).map(Self::handle)
    }

    /// Whether there are WebSockets here.
    pub fn is_supported() -> bool {
        shared::is_supported()
    }

    /// Waits until the connection is open. If it was open and ended since, this is still `Ok`.
    ///
    /// # Errors
    /// [`ConnectError::Closed`], [`ConnectError::TimedOut`] or [`ConnectError::Aborted`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn opened(&self) -> Result<(), ConnectError> {
        let waiter = Waiter::default();
        poll_fn(|context| self.shared.poll_opened(&waiter, context)).await
    }

    /// The state at this moment. It is [`ReadyState::Closing`] as soon as one side began to close.
    pub fn ready_state(&self) -> ReadyState {
        self.shared.ready_state()
    }

    /// The address, resolved: [`url`](https://websockets.spec.whatwg.org/#dom-websocket-url).
    pub fn url(&self) -> String {
        self.shared.web.url()
    }

    /// The subprotocol that the server chose, empty before the connection is open and if none was chosen:
    /// [`protocol`](https://websockets.spec.whatwg.org/#dom-websocket-protocol).
    pub fn protocol(&self) -> String {
        self.shared.web.protocol()
    }

    /// The extensions in use, like `permessage-deflate`, empty before the connection is open and if there are none:
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

    /// How many bytes were sent that the browser has not handed to the network yet:
    /// [`bufferedAmount`](https://websockets.spec.whatwg.org/#dom-websocket-bufferedamount). It does not fall to 0 when the connection ends.
    pub fn buffered_amount(&self) -> u32 {
        self.shared.web.buffered_amount()
    }

    /// Sends a message, or gives it back: [`send`](https://websockets.spec.whatwg.org/#dom-websocket-send). It takes text (`&str`, `String`,
    /// [`Text`], `JsString`), bytes (`&[u8]`, `Vec<u8>`, [`Binary`], `ArrayBuffer` and its views) and `Blob`.
    ///
    /// It never waits: the browser buffers, up to [`Outbound::max`]. `Ok` means buffered, not received.
    ///
    /// # Errors
    /// [`SendErrorKind::NotOpen`], [`SendErrorKind::Full`] or [`SendErrorKind::Rejected`], each with the message.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.shared.send(&message) {
            Ok(()) => Ok(()),
            Err(kind) => Err(SendError::new(kind, message)),
        }
    }

    /// Begins the closing handshake without a code, after what was sent before; the event then has 1005 from most servers.
    /// While connecting, it gives up. Closing again changes nothing.
    /// [`close`](https://websockets.spec.whatwg.org/#dom-websocket-close)
    ///
    /// From here on the browser delivers no messages; to get all that the peer still sends, ask it to close instead.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Begins the closing handshake with a code and a reason. Like [`Socket::close`] otherwise.
    ///
    /// # Errors
    /// [`CloseError`] if the code is not 1000 or 3000 to 4999, or the reason has more than 123 bytes of UTF-8.
    pub fn close_with(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        self.shared.close_with(code, reason)
    }

    /// Ends it here and now, without waiting for the peer: the state is CLOSED and [`Socket::closed`] has 1006 at once. The browser
    /// is told to close too and takes care of the rest on its own. Callbacks get an error and the close, soon after this returns.
    ///
    /// For a connection that is lost and does not know it: after [`Socket::close`] a browser waits for an answer, some of them for
    /// minutes.
    pub fn terminate(&self) {
        self.shared.terminate();
    }

    /// Waits until the connection is over and tells how it ended. Any number of tasks may wait, before or after the end.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> CloseEvent {
        let waiter = Waiter::default();
        poll_fn(|context| self.shared.poll_closed(&waiter, context)).await
    }

    /// Splits it into two handles, one to send and one to receive. Both stay connected to the socket, see [`SocketSink::socket`].
    pub fn split(self) -> (SocketSink, SocketStream) {
        halves::split(self)
    }

    /// Calls back when the connection is open. Not if it is already: see [`Socket::opened`].
    pub fn on_open(&self, mut callback: impl FnMut() + 'static) -> EventGuard {
        self.shared.on_open.add(move |()| callback())
    }

    /// Calls back with each message, which then does not go to the stream. The first callback also gets what is in the queue,
    /// soon after this returns.
    pub fn on_message(&self, callback: impl FnMut(Message) + 'static) -> EventGuard {
        self.shared.on_message(callback)
    }

    /// Calls back when the connection failed. There is no more to know than in the close event that follows.
    pub fn on_error(&self, mut callback: impl FnMut() + 'static) -> EventGuard {
        self.shared.on_error.add(move |()| callback())
    }

    /// Calls back once, when the connection is over. Not if it is already: see [`Socket::closed`].
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
