//! The options of a server's session, with their defaults.

use std::time::Duration;

use super::Refusal;
use crate::{RoomName, message::Limits};

/// The options of a [`ServerSession`](super::ServerSession), shared by all sessions of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The limits in `welcome`, which the session enforces. Above `lines_per_second` and `bytes_per_second` it stops
    /// reading; a join counts for eight lines. A burst of at least `in_flight` lines and `rooms` joins is always
    /// allowed, because a correct client may send this much at once.
    pub limits: Limits,
    /// The timeout from the opening handshake to `hello`; then the session closes with 4408.
    pub hello_timeout: Duration,
    /// The interval of pings; `welcome` has it too.
    pub heartbeat: Duration,
    /// The timeout from a ping to any WebSocket message of the client; then the session closes with 4408.
    pub heartbeat_grace: Duration,
    /// Everything that a client may send per second on average: lines of all kinds, also unknown and empty ones,
    /// WebSocket messages and control frames. No correct client sends more; the session closes with 4429. At least four
    /// times `limits.lines_per_second`, and no limit if lines are not limited.
    pub received_per_second: u32,
    /// The burst of `received_per_second`. At least four times `limits.lines_burst`.
    pub received_burst: u32,
    /// The maximum of bytes of a text with several lines; at most `limits.sent_text_bytes`.
    pub transmit_bytes: usize,
    /// Whether the driver answers [`Output::Address`](super::Output::Address): `welcome` says so, and without it the line
    /// `direct` is refused.
    pub direct: bool,
    /// The server's rule for names of rooms, in addition to that of [`RoomName`]: a line with a name that violates it
    /// gets this refusal and has no other effect. It is not applied to `leave`, which is always answered.
    pub check_room: fn(&RoomName) -> Result<(), Refusal>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            limits: Limits {
                text_bytes: 64 << 10,
                text_lines: 1_024,
                body_bytes: 32 << 10,
                body_depth: 64,
                rooms: 64,
                in_flight: 128,
                page: 100,
                history: 4,
                lines_per_second: 500,
                lines_burst: 1_000,
                bytes_per_second: 1 << 20,
                bytes_burst: 2 << 20,
                sent_text_bytes: 256 << 10,
            },
            hello_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            heartbeat_grace: Duration::from_secs(10),
            received_per_second: 5_000,
            received_burst: 10_000,
            transmit_bytes: 64 << 10,
            direct: false,
            check_room: |_| Ok(()),
        }
    }
}
