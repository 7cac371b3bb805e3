//! The times and bounds of a server's session, with their defaults.

use std::time::Duration;

use super::Refusal;
use crate::{RoomName, message::Limits};

/// The times and bounds of a [`ServerSession`](super::ServerSession), shared by all sessions of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What `welcome` tells and the session enforces. At `lines_per_second` and `bytes_per_second` it stops reading; a
    /// join counts for eight lines. A burst of less than what an honest client may send at once, `in_flight` lines and
    /// `rooms` joins, counts as that.
    pub limits: Limits,
    /// How long after the handshake `hello` must come; then the session closes with 4408.
    pub hello_timeout: Duration,
    /// The time between two pings; told in `welcome`.
    pub heartbeat: Duration,
    /// How long after a ping any WebSocket message of the client must come; then the session closes with 4408.
    pub heartbeat_grace: Duration,
    /// Everything that a client may send a second on average, whatever is in it: lines of all kinds, also unknown and
    /// empty ones, WebSocket messages and control frames. No correct client sends more: it closes with 4429. Four times
    /// `limits.lines_per_second` if that is more, and any number where lines are not limited.
    pub received_per_second: u32,
    /// The same at once. Four times `limits.lines_burst` if that is more.
    pub received_burst: u32,
    /// Bytes after which lines that are ready at the same time go into the next text; `limits.sent_text_bytes` if that
    /// is less.
    pub transmit_bytes: usize,
    /// The server's rule for names of rooms, beyond what every [`RoomName`] keeps: a line with a name that breaks it
    /// gets this refusal and has no other effect. `leave` is not asked, because it is answered in any case.
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
            check_room: |_| Ok(()),
        }
    }
}
