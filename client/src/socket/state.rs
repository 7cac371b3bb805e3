use std::fmt;

/// The state of a connection at this moment: [`readyState`](https://websockets.spec.whatwg.org/#dom-websocket-readystate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// The opening handshake is under way.
    Connecting,
    /// Messages can be sent and received.
    Open,
    /// The closing handshake is under way, by either side. The browser delivers no messages any more.
    Closing,
    /// It is over, or never was.
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

/// How a connection ended: [CloseEvent](https://websockets.spec.whatwg.org/#the-closeevent-interface).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseEvent {
    /// The code the peer sent, or 1005 if its close frame had none, or 1006 if there was no close frame. Never made up: what
    /// looks like a normal close was one.
    pub code: u16,
    /// The reason the peer sent, at most 123 bytes of UTF-8, often empty.
    pub reason: String,
    /// Whether the closing handshake was done.
    pub was_clean: bool,
}

impl CloseEvent {
    /// The connection ended without a close frame.
    pub(super) fn abnormal() -> Self {
        Self {
            code: talkback_protocol::close::ABNORMAL,
            reason: String::new(),
            was_clean: false,
        }
    }
}

impl From<&web_sys::CloseEvent> for CloseEvent {
    fn from(event: &web_sys::CloseEvent) -> Self {
        Self {
            code: event.code(),
            reason: event.reason(),
            was_clean: event.was_clean(),
        }
    }
}
