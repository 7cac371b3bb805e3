//! The times and bounds of a client's session.

use std::time::Duration;

use crate::{UserName, codec::TextLimits};

/// The times and bounds of a [`ClientSession`](super::ClientSession). The defaults are those of `docs/protocol.md`.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The name to show, where no token tells it.
    pub name: Option<UserName>,
    /// Whether the application has tokens. Then one is asked for before the first connection, after 4401 and before it expires.
    pub tokens: bool,
    /// Whether the driver stores snapshots; only then is there an [`Output::Save`](super::Output::Save).
    pub keep: bool,
    /// How soon a change that nothing sent depends on is stored.
    pub save_delay: Duration,
    /// How long to wait between attempts.
    pub backoff: BackoffConfig,
    /// What may wait to be sent.
    pub outbox: OutboxConfig,
    /// From `Connect` to `Opened`.
    pub connect_timeout: Duration,
    /// From `Opened` to `welcome`.
    pub hello_timeout: Duration,
    /// From `TokenWanted` to `Token`.
    pub token_timeout: Duration,
    /// How much later than announced a sign of life of the server may come.
    pub heartbeat_grace: Duration,
    /// How soon the server must show life after the network or the page came back.
    pub probe_timeout: Duration,
    /// How long the server may leave requests without any answer before the connection is given up.
    pub answer_timeout: Duration,
    /// The longest pause that a server can ask for.
    pub max_retry_after: Duration,
    /// Rooms that are joined, and rooms with messages that are not settled.
    pub rooms: usize,
    /// Requests for history that wait for an answer.
    pub pages: usize,
    /// What is taken in one text frame. A server sends at most 64 KiB or one frame, whichever is more.
    pub text: TextLimits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: None,
            tokens: false,
            keep: false,
            save_delay: Duration::from_millis(250),
            backoff: BackoffConfig::default(),
            outbox: OutboxConfig::default(),
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            token_timeout: Duration::from_secs(30),
            heartbeat_grace: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(300),
            rooms: 1_024,
            pages: 64,
            text: TextLimits {
                bytes: 16 << 20,
                lines: 1 << 16,
            },
        }
    }
}

/// How long to wait between attempts: a random time below `base`, 2 x `base`, 4 x `base`, ..., `cap`. Full jitter spreads the clients
/// of a server that comes back better than any other rule.
#[derive(Clone, Copy, Debug)]
pub struct BackoffConfig {
    /// The bound of the first wait.
    pub base: Duration,
    /// The largest bound.
    pub cap: Duration,
    /// A session that was welcomed and lived this long begins again at `base`. A shorter one does not: a server that accepts and
    /// then closes would be asked without end.
    pub reset_after: Duration,
}

impl Default for BackoffConfig {
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
pub struct OutboxConfig {
    /// Messages that are not acknowledged.
    pub messages: usize,
    /// Bytes of their JSON.
    pub bytes: usize,
    /// How long a message may wait to be sent. One that was sent and not answered is withdrawn after this time and has as long again
    /// to learn its fate. Twice this time must be less than the time for which the server remembers a client.
    pub ttl: Duration,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            messages: 1_000,
            bytes: 1 << 20,
            ttl: Duration::from_secs(600),
        }
    }
}
