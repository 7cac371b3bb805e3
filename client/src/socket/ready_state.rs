use std::fmt;

/// The state of a connection at this moment:
/// [`readyState`](https://websockets.spec.whatwg.org/#dom-websocket-readystate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// The opening handshake is under way.
    Connecting,
    /// Messages can be sent and received.
    Open,
    /// Either side began the closing handshake. The browser delivers no more messages.
    Closing,
    /// The connection ended, or could not be opened.
    Closed,
}

impl ReadyState {
    pub(super) fn from_web(state: u16) -> Self {
        match state {
            web_sys::WebSocket::CONNECTING => Self::Connecting,
            web_sys::WebSocket::OPEN => Self::Open,
            web_sys::WebSocket::CLOSING => Self::Closing,
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for ReadyState {
    /// The standard's name, like `CONNECTING`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connecting => "CONNECTING",
            Self::Open => "OPEN",
            Self::Closing => "CLOSING",
            Self::Closed => "CLOSED",
        })
    }
}
