//! The settings of a client's session: times and bounds.

use std::time::Duration;

use crate::{UserName, codec::TextLimits};

/// The times and bounds of a [`ClientSession`](super::ClientSession). The defaults are those of `docs/protocol.md`.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The name to ask the server for; without effect where a token determines it. Default: none.
    pub name: Option<UserName>,
    /// Whether the application has tokens. If so, it is asked for one before the first connection, after 4401 and
    /// before one expires. Default: no.
    pub tokens: bool,
    /// Whether the driver stores snapshots; only then is there an [`Output::Save`](super::Output::Save). Default: no.
    pub keep: bool,
    /// How long a change may wait to be stored, if nothing that is sent depends on it. Default: 250 ms.
    pub save_delay: Duration,
    /// How long to wait between attempts.
    pub backoff: BackoffOptions,
    /// The bounds of unsettled messages.
    pub outbox: OutboxOptions,
    /// From `Connect` to `Opened`. Default: 10 s.
    pub connect_timeout: Duration,
    /// From `Opened` to `welcome`. Default: 10 s.
    pub hello_timeout: Duration,
    /// From `TokenWanted` to `Token`. Default: 30 s.
    pub token_timeout: Duration,
    /// How long after the announced heartbeat the server may be silent before the connection is given up. Default: 10
    /// s.
    pub heartbeat_grace: Duration,
    /// How long the server may be silent after a ping: when the network or the page came back, when the network went away,
    /// and when the application asks. Default: 5 s.
    pub probe_timeout: Duration,
    /// How long the server may answer none of the open requests before the connection is given up.
    /// Default: 30 s.
    pub answer_timeout: Duration,
    /// The longest pause that a server can ask for. Default: 300 s.
    pub max_retry_after: Duration,
    /// The shortest pause before a line that was refused for now is sent again, also where the server asks for a
    /// shorter one: otherwise a server that asks for 0 would get the line again and again without pause. Default: 100
    /// ms.
    pub min_retry_after: Duration,
    /// The most rooms that are joined, and the most rooms with messages that are not settled. Default: 1,024.
    pub rooms: usize,
    /// The most requests for history without an answer. Default: 64.
    pub pages: usize,
    /// The most acknowledged own messages, the newest over all rooms, whose place in the log is remembered; see
    /// [`RoomEvent::Lost`](super::RoomEvent::Lost). They are not stored with a snapshot. Default: 1,000.
    pub acknowledged: usize,
    /// The largest text that is accepted; a larger one ends the connection with 4400. It must be above
    /// `sent_text_bytes` in the limits of the server, and above the largest single line, which may be alone in a larger
    /// text. Default: 16 MiB and 65,536 lines.
    pub text: TextLimits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            name: None,
            tokens: false,
            keep: false,
            save_delay: Duration::from_millis(250),
            backoff: BackoffOptions::default(),
            outbox: OutboxOptions::default(),
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            token_timeout: Duration::from_secs(30),
            heartbeat_grace: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(300),
            min_retry_after: Duration::from_millis(100),
            rooms: 1_024,
            pages: 64,
            acknowledged: 1_000,
            text: TextLimits {
                bytes: 16 << 20,
                lines: 1 << 16,
            },
        }
    }
}

/// How long to wait between attempts: a random time below `base`, 2 x `base`, 4 x `base`, ..., `cap`. This full jitter
/// spreads the reconnects after a restart of the server evenly.
#[derive(Clone, Copy, Debug)]
pub struct BackoffOptions {
    /// The bound of the first wait. Default: 500 ms.
    pub base: Duration,
    /// The largest bound. Default: 20 s.
    pub cap: Duration,
    /// After a connection that was welcomed and lasted this long, waits begin at `base` again. Not after a shorter one,
    /// because a server that accepts and then closes would get attempts at the rate of `base`. Default: 10 s.
    pub reset_after: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            reset_after: Duration::from_secs(10),
        }
    }
}

/// The bounds of the outbox, over all rooms.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// The most unsettled messages, those included whose failure was reported and whose number is not settled. Default:
    /// 1,000.
    pub messages: usize,
    /// The most bytes of their JSON. Default: 1 MiB.
    pub bytes: usize,
    /// How long a message may wait to be sent. One that was sent and not answered is withdrawn after this time. Until
    /// twice this time after it was published, on the clock of [`Moment::now`](crate::Moment::now) and across a
    /// restored snapshot, the log's answer is reliable; afterwards the outcome is unknown. Twice this time must be less
    /// than the time for which the server remembers a client. At most 3,153,600,000 s, which are 36,500 days. Default:
    /// 600 s.
    pub ttl: Duration,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            messages: 1_000,
            bytes: 1 << 20,
            ttl: Duration::from_secs(600),
        }
    }
}
