//! The times and bounds of a server's session.

use std::time::Duration;

use crate::message::Limits;

/// The times and bounds of a [`ServerSession`](super::ServerSession), shared by all sessions of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What `welcome` tells and the session enforces.
    pub limits: Limits,
    /// How long a client may take to say `hello`.
    pub hello_timeout: Duration,
    /// How often to ping; told in `welcome`.
    pub heartbeat: Duration,
    /// How much later than a heartbeat a sign of life of the client may come.
    pub heartbeat_grace: Duration,
    /// Frames a second that a client may send on average; 0 means any number.
    pub frames_per_second: u32,
    /// Frames that it may send at once; at least `limits.in_flight` + `limits.rooms`, which is what an honest client may. Further
    /// ones are refused, with the time to wait; a client that sends as many again without waiting is closed with 4429.
    pub frames_burst: u32,
    /// Reads of history of one session that the engine has not answered; further ones are told to come again. The same bound for
    /// messages is `limits.in_flight`.
    pub reads: usize,
    /// Bytes after which lines that are ready at the same time go into the next text frame.
    pub transmit_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits {
                text_bytes: 256 << 10,
                text_lines: 1_024,
                body_bytes: 64 << 10,
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
            frames_per_second: 500,
            frames_burst: 1_000,
            reads: 4,
            transmit_bytes: 64 << 10,
        }
    }
}
