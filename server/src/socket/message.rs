//! The messages of a socket, the errors of sending, and how a socket ended.

use std::fmt;

use bytes::Bytes;
use talkback_protocol::close;
pub use talkback_protocol::close::CloseError;
/// Valid UTF-8 whose clones share the bytes.
pub use tungstenite::Utf8Bytes;

/// A whole message, however many frames it came in ([RFC 6455, section
/// 5.6](https://www.rfc-editor.org/rfc/rfc6455#section-5.6)).
///
/// Pings, pongs and close frames never reach a handler: the socket answers them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

impl Message {
    /// The payload's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload().len()
    }

    /// Whether the payload has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload().is_empty()
    }

    /// The payload as bytes, of either kind of message.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_str().as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, unless the message is binary.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    pub(crate) fn shared_payload(&self) -> &Bytes {
        match self {
            Self::Text(text) => text.as_ref(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// Why a message was not queued. The message is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The socket is closing or closed; nothing can be sent any more.
    #[error("the socket is closed: the message was not sent")]
    Closed(Message),
    /// The client does not read as fast as messages are queued. Wait with [`Sender::send`](super::Sender::send), drop
    /// the message, or close the socket.
    #[error("the client is too slow: its queue is full and the message was not queued")]
    Full(Message),
}

impl SendError {
    /// The message that was not sent.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Closed(message) | Self::Full(message) => message,
        }
    }
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseInfo {
    /// The close code. 1005 stands for a close frame without a code and 1006 for no close frame at all
    /// ([RFC 6455, section 7.4.1](https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1)).
    pub code: u16,
    /// The reason given with the code, often empty.
    pub reason: Utf8Bytes,
    /// Who ended it.
    pub by: ClosedBy,
}

impl CloseInfo {
    /// A close by this server. A reason that is too long for a close frame is cut.
    pub(crate) fn by_server(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: reason[..reason.floor_char_boundary(close::MAX_REASON_BYTES)].into(),
            by: ClosedBy::Server,
        }
    }
}

/// Who ended a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client sent the first close frame.
    Client,
    /// This server sent the first close frame.
    Server,
    /// The connection broke without a close frame from either side.
    Network,
}

impl fmt::Display for ClosedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
        })
    }
}
