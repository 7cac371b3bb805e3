//! Where a connection is and how it ended: a pure state machine, time comes in as milliseconds.

use talkback_client::{ReadyState, close};

/// How often the page counts the time while it waits for the server.
pub(crate) const WAIT_TICK_MS: u32 = 100;

/// After this long without an answer the page says that the server may be unreachable.
pub(crate) const CONNECT_HINT_MS: f64 = 5_000.0;

/// After this long without an answer to its close the page says that it waits.
pub(crate) const CLOSE_HINT_MS: f64 = 1_000.0;

/// A peer that never answers a close frame would hold CLOSING for as long as the browser likes, so the page ends it itself, and before
/// WebKitGTK, which gives up after 5 s and reports a lost connection.
pub(crate) const CLOSE_LIMIT_MS: u32 = 3_000;

/// Where the connection is. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Phase {
    /// There was no connection yet.
    #[default]
    Idle,
    Connecting {
        since: f64,
    },
    Open {
        since: f64,
        protocol: String,
        extensions: String,
    },
    /// This page asked to close with the code `sent` (none: without a code) and waits for the answer.
    Closing {
        opened: f64,
        since: f64,
        sent: Option<u16>,
    },
    Closed(End),
}

/// The close code and reason as the browser reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseInfo {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// Who began a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    Page,
    Server,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// The user stopped it before it opened.
    Cancelled,
    /// It never opened; the browser hides why.
    NeverOpened(CloseInfo),
    /// It ended without a close message after it was open for so many milliseconds.
    Lost { closed: CloseInfo, open_ms: f64 },
    /// It ended by a close handshake.
    Finished {
        closed: CloseInfo,
        by: ClosedBy,
        open_ms: f64,
    },
    /// The server did not answer the close within [`CLOSE_LIMIT_MS`].
    Forced { open_ms: f64 },
}

impl End {
    /// What the browser reported; none if the page ended it without the server.
    pub(crate) fn frame(&self) -> Option<&CloseInfo> {
        match self {
            Self::NeverOpened(closed) | Self::Lost { closed, .. } | Self::Finished { closed, .. } => Some(closed),
            Self::Cancelled | Self::Forced { .. } => None,
        }
    }
}

impl Phase {
    /// The state in the standard's words, as the socket itself would report it.
    pub(crate) fn ready_state(&self) -> ReadyState {
        match self {
            Self::Idle | Self::Closed(_) => ReadyState::Closed,
            Self::Connecting { .. } => ReadyState::Connecting,
            Self::Open { .. } => ReadyState::Open,
            Self::Closing { .. } => ReadyState::Closing,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ready_state() == ReadyState::Open
    }

    /// No connection exists or is being made: a new one may start.
    pub(crate) fn is_over(&self) -> bool {
        self.ready_state() == ReadyState::Closed
    }

    /// Since when it waits for the server, to open or to close; none in the states that last.
    pub(crate) fn waiting_since(&self) -> Option<f64> {
        match *self {
            Self::Connecting { since } | Self::Closing { since, .. } => Some(since),
            Self::Idle | Self::Open { .. } | Self::Closed(_) => None,
        }
    }

    /// The handshake succeeded.
    pub(crate) fn opened(&mut self, now: f64, protocol: String, extensions: String) {
        *self = Self::Open {
            since: now,
            protocol,
            extensions,
        };
    }

    /// The page asks an open connection to close; in any other state nothing changes.
    pub(crate) fn closing(&mut self, now: f64, sent: Option<u16>) {
        if let Self::Open { since, .. } = *self {
            *self = Self::Closing {
                opened: since,
                since: now,
                sent,
            };
        }
    }

    /// The connection is over; gives what ended it, or none if it was over already.
    pub(crate) fn closed(&mut self, now: f64, closed: CloseInfo) -> Option<End> {
        let end = match *self {
            Self::Idle | Self::Closed(_) => return None,
            Self::Connecting { .. } => End::NeverOpened(closed),
            Self::Open { since, .. } if closed.code == close::ABNORMAL => End::Lost {
                closed,
                open_ms: now - since,
            },
            Self::Closing { opened, .. } if closed.code == close::ABNORMAL => End::Lost {
                closed,
                open_ms: now - opened,
            },
            Self::Open { since, .. } => End::Finished {
                closed,
                by: ClosedBy::Server,
                open_ms: now - since,
            },
            Self::Closing { opened, sent, .. } => {
                // Both may close at once; the code tells whose close frame won.
                let ours = closed.code == sent.unwrap_or(close::NO_STATUS);
                End::Finished {
                    closed,
                    by: if ours { ClosedBy::Page } else { ClosedBy::Server },
                    open_ms: now - opened,
                }
            }
        };
        *self = Self::Closed(end.clone());
        Some(end)
    }

    /// The user stopped a connection that is not open yet; none in any other state.
    pub(crate) fn cancelled(&mut self) -> Option<End> {
        matches!(self, Self::Connecting { .. }).then(|| {
            *self = Self::Closed(End::Cancelled);
            End::Cancelled
        })
    }

    /// The close was not answered in time; none unless it is CLOSING.
    pub(crate) fn forced(&mut self, now: f64) -> Option<End> {
        let Self::Closing { opened, .. } = *self else {
            return None;
        };
        let end = End::Forced { open_ms: now - opened };
        *self = Self::Closed(end.clone());
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> CloseInfo {
        CloseInfo {
            code,
            reason: String::new(),
        }
    }

    fn open() -> Phase {
        let mut phase = Phase::Connecting { since: 0.0 };
        phase.opened(100.0, "chat".into(), String::new());
        phase
    }

    #[test]
    fn a_close_before_open_is_told_apart_from_a_loss_after_it() {
        let mut phase = Phase::Connecting { since: 0.0 };
        assert_eq!(phase.closed(9.0, closed(1006)), Some(End::NeverOpened(closed(1006))));
        let mut phase = open();
        assert_eq!(
            phase.closed(350.0, closed(1006)),
            Some(End::Lost {
                closed: closed(1006),
                open_ms: 250.0
            })
        );
    }

    #[test]
    fn the_servers_close_is_told_apart_from_the_pages_own() {
        // hoppscotch#5987: both looked alike.
        let by = |phase: &mut Phase, code| match phase.closed(200.0, closed(code)) {
            Some(End::Finished { by, .. }) => by,
            other => panic!("{other:?}"),
        };
        assert_eq!(by(&mut open(), 1000), ClosedBy::Server);
        let mut phase = open();
        phase.closing(150.0, Some(4000));
        assert_eq!(phase.ready_state(), ReadyState::Closing);
        assert_eq!(by(&mut phase.clone(), 4000), ClosedBy::Page);
        assert_eq!(by(&mut phase, 1001), ClosedBy::Server);
        let mut phase = open();
        phase.closing(150.0, None);
        assert_eq!(by(&mut phase, 1005), ClosedBy::Page);
    }

    #[test]
    fn only_a_connecting_phase_can_be_cancelled_and_only_a_closing_one_forced() {
        assert_eq!(open().cancelled(), None);
        assert_eq!(open().forced(1.0), None);
        let mut phase = Phase::Connecting { since: 0.0 };
        assert_eq!(phase.cancelled(), Some(End::Cancelled));
        assert_eq!(
            phase.closed(5.0, closed(1006)),
            None,
            "a late event must not overwrite the end"
        );
        let mut phase = open();
        phase.closing(150.0, None);
        assert_eq!(phase.forced(5_150.0), Some(End::Forced { open_ms: 5_050.0 }));
        assert!(phase.is_over());
    }
}
