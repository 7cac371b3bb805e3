use std::time::Duration;

/// What to request from the server, and the bounds of the socket. By default no subprotocol is offered.
///
/// ```
/// use talkback_client::SocketOptions;
///
/// let options = SocketOptions { protocols: vec!["chat".into()], ..SocketOptions::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// The subprotocols to offer, the preferred one first; the server chooses at most one, see
    /// [`Socket::protocol`](crate::Socket::protocol). Each is a token without spaces, and each is offered once.
    pub protocols: Vec<String>,
    /// How binary messages arrive.
    pub binary_type: BinaryType,
    /// How long the opening handshake may take, at most 24.8 days. `None` leaves it to the browser, which may wait for
    /// minutes.
    pub timeout: Option<Duration>,
    /// Ends the opening handshake when it fires. Has no effect after that.
    pub abort: Option<web_sys::AbortSignal>,
    /// The bounds of received messages that were not read yet.
    pub inbound: InboundOptions,
    /// The bounds of sent messages that the browser has not handed to the network yet.
    pub outbound: OutboundOptions,
}

/// How a binary message arrives: [`binaryType`](https://websockets.spec.whatwg.org/#dom-websocket-binarytype).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinaryType {
    /// As [`Message::Binary`](crate::Message::Binary), whole and in memory. The standard's default is
    /// [`BinaryType::Blob`] instead.
    #[default]
    ArrayBuffer,
    /// As [`Message::Blob`](crate::Message::Blob), which the browser may keep on disk and which is read asynchronously.
    Blob,
}

impl From<BinaryType> for web_sys::BinaryType {
    fn from(binary_type: BinaryType) -> Self {
        match binary_type {
            BinaryType::ArrayBuffer => Self::Arraybuffer,
            BinaryType::Blob => Self::Blob,
        }
    }
}

/// The bounds of the queue between the browser and the stream.
///
/// A browser has no way to stop receiving, so an application that reads too slowly loses either the connection or
/// messages. In both cases the stream yields [`InboundOverflow`](crate::InboundOverflow).
///
/// Callbacks ([`Socket::on_message`](crate::Socket::on_message)) get each message when it arrives, without the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundOptions {
    /// The most messages in the queue, 65,536 by default.
    pub max_messages: usize,
    /// The most bytes in the queue, 64 MiB by default. A text counts two bytes for each UTF-16 code unit, the most
    /// memory that a browser uses for it; a blob counts its size.
    pub max_bytes: usize,
    /// What happens when the next message does not fit.
    pub overflow: Overflow,
}

impl Default for InboundOptions {
    fn default() -> Self {
        Self {
            max_messages: 65_536,
            max_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Close,
        }
    }
}

/// What happens when a received message does not fit into the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The socket closes with code 4413. The stream yields the messages in the queue, then the error, then ends.
    #[default]
    Close,
    /// The oldest messages are dropped. The stream yields the error in their place and continues. For applications that
    /// need only the newest messages.
    DropOldest,
}

/// The bounds of [`Socket::buffered_amount`](crate::Socket::buffered_amount), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundOptions {
    /// The low mark: a sink that was not ready is ready again at or below this, 256 KiB by default.
    pub low: u32,
    /// The high mark: a sink is not ready above this, 1 MiB by default.
    pub high: u32,
    /// [`Socket::send`](crate::Socket::send), which does not wait, refuses messages above this, 64 MiB by default. The
    /// last message accepted may exceed it, because only the browser knows its size in UTF-8.
    pub max: u32,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            low: 256 * 1024,
            high: 1024 * 1024,
            max: 64 * 1024 * 1024,
        }
    }
}
