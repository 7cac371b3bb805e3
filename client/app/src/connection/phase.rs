//! The state of a connection and how it ended: a pure state machine. Times are parameters, in milliseconds.

use talkback_client::{ReadyState, close};

/// How often the page draws the elapsed time while the connection opens or closes.
pub(crate) const WAIT_TICK_MS: u32 = 100;

/// After this time without an answer, in milliseconds, the page shows that the server may be unreachable.
pub(crate) const CONNECT_HINT_MS: f64 = 5_000.0;

/// After this time without an answer to its close, in milliseconds, the page shows that it waits.
pub(crate) const CLOSE_HINT_MS: f64 = 1_000.0;

/// The timeout of the closing handshake, in milliseconds. Browsers have timeouts of their own, and WebKitGTK reports a
/// lost connection after 5 s, so the page ends the connection earlier.
pub(crate) const CLOSE_LIMIT_MS: u32 = 3_000;

/// The pause before the first attempt to connect again, in milliseconds. It doubles with each attempt that fails.
const FIRST_RETRY_MS: f64 = 1_000.0;

/// The longest pause between two attempts to connect again, in milliseconds.
const LONGEST_RETRY_MS: f64 = 30_000.0;

/// The pause after so many attempts that failed. It is not random: one page does not make a crowd of clients that return at once.
fn retry_after(attempts: u32) -> f64 {
    (FIRST_RETRY_MS * f64::from(1_u32 << attempts.min(10))).min(LONGEST_RETRY_MS)
}

/// The state of the connection. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Phase {
    /// There is no connection, and no end of one to show.
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
    /// This page began the closing handshake with the code `sent` (none: without a code) and waits for the answer.
    Closing {
        opened: f64,
        since: f64,
        sent: Option<u16>,
    },
    Closed(End),
    /// The connection ended, and the page connects again at a time.
    Waiting {
        until: f64,
        end: End,
    },
}

/// The close code and reason as the browser reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseInfo {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// `wasClean`: both close frames were exchanged and the network connection ended as it should.
    pub(crate) clean: bool,
}

/// The side that began the closing handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    Page,
    Server,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// The user cancelled it before it opened.
    Cancelled,
    /// It never opened; the browser hides the reason.
    NeverOpened(CloseInfo),
    /// It ended without a close frame after it was open for so many milliseconds.
    Lost { closed: CloseInfo, open_ms: f64 },
    /// It ended with the closing handshake.
    Finished {
        closed: CloseInfo,
        by: ClosedBy,
        open_ms: f64,
    },
    /// The server did not answer the close within [`CLOSE_LIMIT_MS`].
    Forced { open_ms: f64 },
}

impl End {
    /// Whether this page ended the connection, or gave it up.
    pub(crate) fn is_by_page(&self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::Forced { .. } | Self::Finished { by: ClosedBy::Page, .. }
        )
    }

    /// The code and reason that the browser reported; none if the page ended it without an answer of the server.
    pub(crate) fn close_info(&self) -> Option<&CloseInfo> {
        match self {
            Self::NeverOpened(closed) | Self::Lost { closed, .. } | Self::Finished { closed, .. } => Some(closed),
            Self::Cancelled | Self::Forced { .. } => None,
        }
    }
}

impl Phase {
    /// The `readyState` that the socket reports in this state.
    pub(crate) fn ready_state(&self) -> ReadyState {
        match self {
            Self::Idle | Self::Closed(_) | Self::Waiting { .. } => ReadyState::Closed,
            Self::Connecting { .. } => ReadyState::Connecting,
            Self::Open { .. } => ReadyState::Open,
            Self::Closing { .. } => ReadyState::Closing,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ready_state() == ReadyState::Open
    }

    /// There is no connection, so a new one may start.
    pub(crate) fn is_over(&self) -> bool {
        self.ready_state() == ReadyState::Closed
    }

    /// The start of the wait for the server, to open or to close; none in any other state.
    pub(crate) fn waiting_since(&self) -> Option<f64> {
        match *self {
            Self::Connecting { since } | Self::Closing { since, .. } => Some(since),
            Self::Idle | Self::Open { .. } | Self::Closed(_) | Self::Waiting { .. } => None,
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

    /// The page begins the closing handshake of an open connection; in any other state nothing changes.
    pub(crate) fn closing(&mut self, now: f64, sent: Option<u16>) {
        if let Self::Open { since, .. } = *self {
            *self = Self::Closing {
                opened: since,
                since: now,
                sent,
            };
        }
    }

    /// The browser reports the close; returns how the connection ended, or none if it had ended already.
    pub(crate) fn closed(&mut self, now: f64, closed: CloseInfo) -> Option<End> {
        let end = match *self {
            Self::Idle | Self::Closed(_) | Self::Waiting { .. } => return None,
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
                // Both sides may close at once; the code shows whose close frame was answered.
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

    /// The connection that ended is made again after a pause, which grows with the number of attempts.
    pub(crate) fn wait(&mut self, now: f64, attempts: u32) {
        if let Self::Closed(end) = self {
            *self = Self::Waiting {
                until: now + retry_after(attempts),
                end: end.clone(),
            };
        }
    }

    /// The page does not connect again by itself; returns whether it would have.
    pub(crate) fn stop_waiting(&mut self) -> bool {
        let Self::Waiting { end, .. } = self else { return false };
        *self = Self::Closed(end.clone());
        true
    }

    /// The user cancels a connection that is not open yet; none in any other state.
    pub(crate) fn cancelled(&mut self) -> Option<End> {
        matches!(self, Self::Connecting { .. }).then(|| {
            *self = Self::Closed(End::Cancelled);
            End::Cancelled
        })
    }

    /// The closing handshake timed out; none unless it is CLOSING.
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
            clean: code != close::ABNORMAL,
        }
    }

    fn open() -> Phase {
        let mut phase = Phase::Connecting { since: 0.0 };
        phase.opened(100.0, "chat".into(), String::new());
        phase
    }

    #[test]
    fn a_close_before_open_differs_from_a_loss_after_it() {
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
    fn the_side_that_began_the_close_is_known_by_the_code() {
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
    fn the_pause_before_an_attempt_doubles_up_to_a_bound() {
        assert_eq!(
            [0, 1, 2, 4, 5, 1_000].map(retry_after),
            [1_000.0, 2_000.0, 4_000.0, 16_000.0, 30_000.0, 30_000.0]
        );
        let mut phase = open();
        phase.closed(200.0, closed(1006));
        phase.wait(200.0, 0);
        assert!(matches!(phase, Phase::Waiting { until: 1_200.0, .. }));
        assert!(phase.is_over(), "the user may connect at once");
        assert!(phase.stop_waiting() && !phase.stop_waiting());
        assert!(matches!(phase, Phase::Closed(End::Lost { .. })));
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
