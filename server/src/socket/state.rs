//! The state of a socket, from the opening handshake to the end of its TCP stream.

use super::CloseInfo;

/// The state of a socket, with the data of that state. All but `Open` are boxed, because thousands of idle sockets are
/// open.
pub(super) enum SocketState {
    /// Messages are received and sent.
    Open,
    /// The client ended its side, with this code and reason, and the handler has not taken all messages received
    /// before. Messages are still sent, so that those are answered.
    HalfClosed(Box<CloseInfo>),
    /// The code and reason of the end are fixed, and no message is received or sent.
    Ended(Box<Ended>),
}

/// A socket that receives and sends no further message.
pub(super) struct Ended {
    pub(super) info: CloseInfo,
    handshake: ClosingHandshake,
    /// The tasks that wait for the end were notified.
    pub(super) announced: bool,
    /// A call of the handler returned the end, so the handler is not dropped before it ends itself.
    pub(super) observed: bool,
    /// The write timeout expired: the connection is reset, so that the system drops its unsent bytes too.
    pub(super) given_up: bool,
}

/// What the closing handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosingHandshake {
    /// Our close frame is queued; the client's close frame was not received.
    AwaitsCloseFrame,
    /// Further input is dropped. What is queued is written, then the end of the stream is awaited: closing a TCP
    /// connection with unread input resets it, and that can destroy the close frame in flight.
    AwaitsEndOfStream {
        /// Both close frames were exchanged.
        is_complete: bool,
    },
    /// The connection is closed or lost.
    Over,
}

impl SocketState {
    /// Whether received messages are for the handler.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether messages may be queued. Also when the client has ended its side: the handler still answers earlier
    /// messages.
    pub(super) fn can_send(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }

    /// Whether frames are read. Also after our close frame, because the client's close frame follows what it sent
    /// before it received ours. Not while the client's own end waits for the handler: no frame may follow a close
    /// frame.
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

    /// Whether input is dropped.
    pub(super) fn awaits_end_of_stream(&self) -> bool {
        matches!(self.handshake(), Some(ClosingHandshake::AwaitsEndOfStream { .. }))
    }

    /// Whether both close frames were exchanged and only the end of the stream is missing.
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

    /// How the socket ended, for a call of the handler. Notes that the handler has observed the end.
    pub(super) fn observe_end(&mut self) -> Option<&CloseInfo> {
        let ended = self.ended_mut()?;
        ended.observed = true;
        Some(&ended.info)
    }

    /// Ends the socket, or advances the closing handshake of one that has ended; then `info` is ignored, because the
    /// first end counts.
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

    /// The client's stream has ended, so nothing is awaited any more.
    pub(super) fn stream_ended(&mut self) {
        if let Self::Ended(ended) = self {
            ended.handshake = ClosingHandshake::Over;
        }
    }
}
