use std::fmt;

use super::{CloseEvent, Message, ReadyState};

/// Why there is no connection. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no `WebSocket` here: an old browser, or not a browser.
    #[error("WebSocket is not supported here: use a current browser")]
    Unsupported,
    /// The address is not one of a WebSocket.
    #[error("{url:?} is not a WebSocket address: {reason}")]
    InvalidUrl {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address has a fragment, which has no meaning for a connection. Browsers disagree on it: some refuse, some drop it.
    #[error("{url:?} has a fragment: remove the # and what follows, or write %23 if it belongs to the path or query")]
    Fragment {
        /// The address as it was given.
        url: String,
    },
    /// A subprotocol that may not be offered.
    #[error("subprotocol {name:?} {}", if *.repeated { "is repeated: offer it once" } else {
        "is not a token: use letters, digits and !#$%&'*+-.^_`|~ and offer each subprotocol on its own" })]
    Subprotocol {
        /// The first subprotocol that is wrong.
        name: String,
        /// `true` if it occurs twice, `false` if it is not a token.
        repeated: bool,
    },
    /// A page loaded over https may not open an unencrypted connection, except to the machine it runs on.
    #[error("a page loaded over https may not open {url:?}: use wss://, or load the page over http")]
    MixedContent {
        /// The address, resolved.
        url: String,
    },
    /// The browser refused for a reason of its own, for instance the page's content security policy.
    #[error("the browser refused to connect: {reason}")]
    Refused {
        /// The browser's own words.
        reason: String,
    },
    /// The connection closed before it was open.
    ///
    /// The code is 1006 and nothing more: [browsers hide the reason](https://websockets.spec.whatwg.org/#feedback-from-the-protocol),
    /// lest a page learn about hosts around it.
    #[error(
        "could not connect (close code {}): the browser hides the reason. Common: server not running, wrong port or path, \
         certificate, HTTP refusal (401, 403, 404), origin refused, none of the offered subprotocols taken", .0.code
    )]
    Closed(CloseEvent),
    /// The handshake took longer than [`Options::timeout`](crate::Options::timeout).
    #[error("could not connect in time: the server took the connection and did not answer, or is out of reach")]
    TimedOut,
    /// [`Options::abort`](crate::Options::abort) fired before the connection was open.
    #[error("connecting was aborted")]
    Aborted,
}

/// A message that was not sent, and why. `M` is the [`Message`] itself, or an `Option` in a sink, where readiness and flushing
/// can fail without one.
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

    /// The message that was not sent, to keep or to send again.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Gives the message that was not sent back.
    pub fn into_message(self) -> M {
        self.message
    }
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The socket is not open. A browser would throw while connecting and drop the message in silence afterwards.
    #[error("not sent: the socket is {0}, not OPEN")]
    NotOpen(ReadyState),
    /// Too much is waiting for the network already: wait, or use the sink, which does.
    #[error("not sent: {buffered} bytes wait for the network already, over the bound of {max}")]
    Full {
        /// [`Socket::buffered_amount`](crate::Socket::buffered_amount) at that moment, in bytes.
        buffered: u32,
        /// [`Outbound::max`](crate::Outbound::max), in bytes.
        max: u32,
    },
    /// The browser refused the message, for instance one in shared memory.
    #[error("not sent: the browser refused the message: {0}")]
    Rejected(String),
    /// The connection ended before everything sent earlier was handed to the network, or without a close handshake: what of it
    /// arrived is unknown.
    #[error("the connection ended (close code {}) before all was sent", .0.code)]
    Lost(CloseEvent),
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

// Without the message, which may be long or private.
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
    fn an_error_gives_the_message_back_and_keeps_it_out_of_logs() {
        let error = SendError::new(SendErrorKind::NotOpen(ReadyState::Closed), Message::from("secret"));
        assert_eq!(error.to_string(), "not sent: the socket is CLOSED, not OPEN");
        assert!(!format!("{error:?}").contains("secret"));
        assert_eq!(error.into_message(), Message::from("secret"));
    }

    #[test]
    fn texts_say_what_to_do() {
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
