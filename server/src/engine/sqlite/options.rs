use std::{path::PathBuf, time::Duration};

use super::super::{MemoryOptions, WaitingOptions};

/// Where the sqlite engine keeps the logs, what it keeps at most, and for how long.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. Beside it are its write-ahead log (`-wal`, `-shm`) and a lock file (`.lock`).
    pub path: PathBuf,
    /// The file was restored from a snapshot of its volume: all rooms begin new epochs. A file that was copied is
    /// recognised without this.
    pub restored: bool,
    /// What is kept of rooms, messages, clients and requests, as in memory. Not used: `watched_bytes`,
    /// `shared_refusals`.
    pub log: MemoryOptions,
    /// Messages that wait for a commit.
    pub waiting: WaitingOptions,
    /// The most messages of one commit.
    pub group_messages: usize,
    /// Threads that read.
    pub readers: usize,
    /// Reads that wait for one of these threads. Further ones are refused, to be retried.
    pub reads: usize,
    /// Clients of which the newest outcomes are in memory too; those of the others are read when a message comes.
    pub cached_clients: usize,
    /// Bytes of committed messages of one room that are not passed to its watchers yet. While there are more, messages
    /// of the room are refused, to be retried.
    pub delivery_bytes: usize,
    /// How long a commit waits for another program that writes to the file, such as the sqlite3 tool.
    pub busy_timeout: Duration,
}

impl SqliteOptions {
    /// The defaults, with this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            restored: false,
            log: MemoryOptions::DEFAULT,
            waiting: WaitingOptions::DEFAULT,
            group_messages: 4096,
            readers: 2,
            reads: 65_536,
            cached_clients: 8192,
            delivery_bytes: 1 << 20,
            busy_timeout: Duration::from_secs(1),
        }
    }
}
