//! How far a socket has come, from the opening handshake to the end of its TCP stream.

use super::CloseInfo;

/// The state of a socket, with what only that state needs. Everything but `Open` is boxed: thousands of idle sockets
/// are open.
pub(super) enum SocketState {
    /// Messages go both ways.
    Open,
    /// The client ended its side, in the way that is given, and the handler has not taken all messages that came
    /// before. Messages still go out, so that those are answered.
    HalfClosed(Box<CloseInfo>),
    /// It is settled how the socket ended, and no message goes either way.
    Ended(Box<Ended>),
}

/// A socket that has ended, as far as messages are concerned.
pub(super) struct Ended {
    pub(super) info: CloseInfo,
    handshake: ClosingHandshake,
    /// All that wait for the end were notified.
    pub(super) announced: bool,
    /// The handler learned of the end from its socket, so it may do its last work.
    pub(super) observed: bool,
    /// The client took nothing for too long: the system should drop what it holds for the client too.
    pub(super) given_up: bool,
}

/// What is missing until the connection is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosingHandshake {
    /// Our close frame is queued; the client's close frame has not come.
    AwaitsCloseFrame,
    /// Nothing more is understood from the client: what is queued is written, then the end of the stream is awaited,
    /// because closing a TCP connection with unread input resets it, and that can destroy the close frame on its way.
    AwaitsEndOfStream {
        /// Both close frames are through.
        is_complete: bool,
    },
    /// The connection is gone.
    Over,
}

impl SocketState {
    /// Whether what comes in is for the handler.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether messages may be queued. Also when the client has ended its side: the handler still answers what came
    /// before.
    pub(super) fn can_send(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }

    /// Whether frames are read. Also after our close frame, because the client's close frame is behind what it sent
    /// before it saw ours. Not while the client's own end waits for the handler: nothing may follow it.
    pub(super) fn can_read(&self) -> bool {
        match self {
            Self::Open => true,
            Self::HalfClosed(_) => false,
            Self::Ended(ended) => ended.handshake == ClosingHandshake::AwaitsCloseFrame,
        }
    }

    pub(super) fn is_half_closed(&self) -> bool {
        matches!(self, Self::HalfClosed(_))
    }

    /// Whether input is read only to be dropped.
    pub(super) fn awaits_end_of_stream(&self) -> bool {
        matches!(self.handshake(), Some(ClosingHandshake::AwaitsEndOfStream { .. }))
    }

    /// Whether both close frames are through and only the end of the stream is missing.
    pub(super) fn is_handshake_complete(&self) -> bool {
        self.handshake() == Some(ClosingHandshake::AwaitsEndOfStream { is_complete: true })
    }

    pub(super) fn is_over(&self) -> bool {
        self.handshake() == Some(ClosingHandshake::Over)
    }

    fn handshake(&self) -> Option<ClosingHandshake> {
        self.ended().map(|ended| ended.handshake)
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Ended(ended) => Some(ended),
            Self::Open | Self::HalfClosed(_) => None,
        }
    }

    pub(super) fn ended_mut(&mut self) -> Option<&mut Ended> {
        match self {
            Self::Ended(ended) => Some(ended),
            Self::Open | Self::HalfClosed(_) => None,
        }
    }

    /// How the socket ended, for a call of the handler: the handler has observed the end then.
    pub(super) fn observe_end(&mut self) -> Option<&CloseInfo> {
        let ended = self.ended_mut()?;
        ended.observed = true;
        Some(&ended.info)
    }

    /// Ends the socket, or brings one that has ended further; then `info` is ignored, because the first end counts.
    pub(super) fn end(&mut self, info: CloseInfo, handshake: ClosingHandshake) {
        match self {
            Self::Ended(ended) => ended.handshake = handshake,
            Self::Open | Self::HalfClosed(_) => {
                *self = Self::Ended(Box::new(Ended {
                    info,
                    handshake,
                    announced: false,
                    observed: false,
                    given_up: false,
                }));
            }
        }
    }

    /// The client's stream has ended, which is all that was awaited.
    pub(super) fn stream_ended(&mut self) {
        if let Self::Ended(ended) = self {
            ended.handshake = ClosingHandshake::Over;
        }
    }
}
