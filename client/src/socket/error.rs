use std::fmt;

use talkback_protocol::Quoted;

use super::{CloseEvent, Message, ReadyState};

/// Why there is no connection. Each error text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The global object has no `WebSocket`: an old browser, or not a browser.
    #[error("WebSocket is not supported here: use a current browser")]
    Unsupported,
    /// The address cannot be parsed, or its scheme is none of ws, wss, http and https.
    #[error("{} is not a WebSocket address: {reason}", Quoted(.url))]
    InvalidUrl {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address has a fragment, which has no meaning for a connection. Some browsers refuse it and some ignore it.
    #[error("{} has a fragment: remove the # and what follows, or write %23 if it belongs to the path or query", Quoted(.url))]
    Fragment {
        /// The address as it was given.
        url: String,
    },
    /// A subprotocol that must not be offered.
    #[error("subprotocol {} {}", Quoted(.name), if *.repeated { "is repeated: offer it once" } else {
        "is not a token: use letters, digits and !#$%&'*+-.^_`|~ and offer each subprotocol on its own" })]
    Subprotocol {
        /// The first invalid subprotocol.
        name: String,
        /// `true` if it occurs twice, `false` if it is not a token.
        repeated: bool,
    },
    /// A page loaded over https may not open an unencrypted connection, except to the machine it runs on.
    #[error("a page loaded over https may not open {}: use wss://, or load the page over http", Quoted(.url))]
    MixedContent {
        /// The resolved address.
        url: String,
    },
    /// The browser refused for another reason, for instance the page's content security policy.
    #[error("the browser refused to connect: {reason}")]
    Refused {
        /// The browser's error text.
        reason: String,
    },
    /// The connection closed before it was open.
    ///
    /// The code is 1006 without details: [browsers hide the
    /// reason](https://websockets.spec.whatwg.org/#feedback-from-the-protocol), so that a page cannot scan the hosts of
    /// its network.
    #[error(
        "could not connect (close code {}): the browser hides the reason. Check that the server runs, its port and \
         path, its certificate, HTTP errors (401, 403, 404), the allowed origins and the offered subprotocols", .0.code
    )]
    Closed(CloseEvent),
    /// The handshake took longer than [`SocketOptions::timeout`](crate::SocketOptions::timeout).
    #[error(
        "could not connect in time: the server did not answer; check that it runs and is reachable, or raise the \
         timeout"
    )]
    TimedOut,
    /// [`SocketOptions::abort`](crate::SocketOptions::abort) fired before the connection was open.
    #[error("connecting was aborted")]
    Aborted,
}

/// A message that was not sent, and why. `M` is [`Message`], or `Option<Message>` in a sink, where readiness and
/// flushing can fail without a message.
#[derive(Clone, PartialEq)]
pub struct SendError<M = Message> {
    kind: SendErrorKind,
    message: M,
}

impl<M> SendError<M> {
    pub(super) fn new(kind: SendErrorKind, message: M) -> Self {
        Self { kind, message }
    }

    /// Why it was not sent.
    pub fn kind(&self) -> &SendErrorKind {
        &self.kind
    }

    /// The message that was not sent.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Returns the message that was not sent, to send it again.
    pub fn into_message(self) -> M {
        self.message
    }
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The socket is not open. A browser would throw an exception while connecting, and ignore the message once
    /// closing.
    #[error("not sent: the socket is {0}, not OPEN")]
    NotOpen(ReadyState),
    /// The browser's buffer is full: send later, or use the sink, which waits.
    #[error("not sent: {buffered} bytes are buffered, more than {max}: send later, or use the sink, which waits")]
    Full {
        /// [`Socket::buffered_amount`](crate::Socket::buffered_amount) when the message was refused, in bytes.
        buffered: u32,
        /// [`OutboundOptions::max`](crate::OutboundOptions::max), in bytes.
        max: u32,
    },
    /// The browser refused the message, for instance one in shared memory.
    #[error("not sent: the browser refused the message: {0}")]
    Rejected(String),
    /// The connection ended before all sent messages were handed to the network, or without a closing handshake. It is
    /// unknown which of them the peer received.
    #[error("the connection ended (close code {}) before all messages were sent: connect again", .0.code)]
    Lost(CloseEvent),
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

// Leaves out the message, which may be long or private.
impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<M> std::error::Error for SendError<M> {}

impl From<SendError> for SendError<Option<Message>> {
    fn from(error: SendError) -> Self {
        Self::new(error.kind, Some(error.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_returns_the_message_and_keeps_it_out_of_logs() {
        let error = SendError::new(SendErrorKind::NotOpen(ReadyState::Closed), Message::from("secret"));
        assert_eq!(error.to_string(), "not sent: the socket is CLOSED, not OPEN");
        assert!(!format!("{error:?}").contains("secret"));
        assert_eq!(error.into_message(), Message::from("secret"));
    }

    #[test]
    fn error_texts_say_what_to_do() {
        let name = || "a b".to_owned();
        let [repeated, malformed] = [true, false].map(|repeated| ConnectError::Subprotocol { name: name(), repeated });
        assert_eq!(repeated.to_string(), r#"subprotocol "a b" is repeated: offer it once"#);
        assert!(
            malformed
                .to_string()
                .starts_with(r#"subprotocol "a b" is not a token: use "#)
        );
    }
}
