//! The format of a recording: what the driver of `cargo xtask chaos` did to servers and what their clients saw, one JSON
//! object per line. docs/chaos.md describes it.
//!
//! The driver (`src/bin/driver/`) writes it, the checker (`src/bin/check/`) reads it, and this is all that they share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format.
pub const FORMAT: u32 = 3;
/// The name of the file in the folder of a run.
pub const FILE: &str = "recording.jsonl";

/// One line. The lines of a file are in the order in which the driver saw the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the run began.
    pub us: u64,
    /// The client that saw it; absent for events of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first line of a file.
    Run(Run),
    /// The WebSocket of a client is open.
    Connected {
        /// The number of this connection of the client, from 1.
        connection: u64,
    },
    /// The connection of a client ended.
    Disconnected {
        /// The close code; 1006 if there was no close frame.
        code: u16,
        /// The reason in the close frame, or the error of the connection.
        reason: String,
        /// Whether the client gave the connection up.
        by_client: bool,
    },
    /// The session of a client ended and makes no attempt any more.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The client took a new key, because the log has its numbers from another client.
    NewKey {},
    /// The page of the client was loaded again: the messages of its stored outbox and its cursors are all that is left.
    Reloaded {},

    /// The client published a message. Each body is published once in a run.
    Send {
        /// The client's number of the message, ascending.
        message: u64,
        /// The room.
        room: String,
        /// The JSON text of the body.
        body: String,
    },
    /// The message was acknowledged.
    Acked {
        /// From `send`.
        message: u64,
        /// The epoch of the log.
        epoch: String,
        /// The offset in the log.
        offset: u64,
    },
    /// The message failed.
    Failed {
        /// From `send`.
        message: u64,
        /// Whether the message is certainly not in the log. Otherwise its outcome is unknown.
        certain: bool,
        /// Why.
        reason: String,
    },
    /// A line `nack` arrived. The session sends the message again, or the message fails.
    Nack {
        /// The room.
        room: String,
        /// The number of the message in its room on the wire.
        seq: u64,
        /// The code of the line.
        code: String,
        /// Absent if the message was refused permanently.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },

    /// The application of the client joined a room.
    Join {
        /// The room.
        room: String,
        /// The last message that it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Position>,
    },
    /// The room was joined, also after each new connection.
    Joined {
        /// The room.
        room: String,
        /// What this means for the messages before.
        how: How,
        /// The epoch of the log.
        epoch: String,
        /// The offset of the newest message.
        head: u64,
        /// The messages after this offset follow.
        after: u64,
    },
    /// The application of the client left a room.
    Leave {
        /// The room.
        room: String,
    },
    /// The server ended the membership or refused the join.
    Left {
        /// The room.
        room: String,
        /// The code of the line.
        code: String,
    },
    /// A message was delivered to the application of the client.
    Message {
        /// The room.
        room: String,
        /// The epoch of the last `joined` of this room.
        epoch: String,
        /// The offset in the log.
        offset: u64,
        /// The JSON text of the body.
        body: String,
    },
    /// A message in a page of history.
    Read {
        /// The room.
        room: String,
        /// The epoch of the page.
        epoch: String,
        /// The offset in the log.
        offset: u64,
        /// The JSON text of the body.
        body: String,
    },
    /// The session reported that the log has lost acknowledged messages of this client.
    Lost {
        /// The room.
        room: String,
        /// The epoch in which they were acknowledged.
        epoch: String,
        /// Their offsets in it.
        offsets: Vec<u64>,
    },
    /// A line `message` on a connection did not have the offset after the one before. The session hides this from its
    /// application: a later offset makes it join again, an earlier one is dropped.
    Gap {
        /// The room.
        room: String,
        /// The offset that should have come; absent if the room was not joined on this connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
        /// The offset that came.
        offset: u64,
    },

    /// What is in the data now is in this copy, or was there when a replica was cut off. One server does not run meanwhile;
    /// with several, what is recorded later may be in the copy too.
    Copied {
        /// The number of the copy in this run.
        copy: u64,
    },
    /// A fault happened.
    Fault(Fault),
    /// The data of several servers gets another life now: epochs that are seen before this line are over.
    Life {
        /// The rooms that are in this data; empty for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rooms: Vec<String>,
    },
    /// A server listens.
    Started {},
    /// No fault follows, and no client publishes any more.
    Quiet {},
    /// What a fresh member reads of a room at the end. The reader's `message` records with this epoch are the log.
    Log {
        /// The room.
        room: String,
        /// The epoch of the log.
        epoch: String,
        /// The offset of the newest message.
        head: u64,
    },
    /// The last line of a complete file.
    End {
        /// The lines before this one.
        records: u64,
    },
}

/// What kind of run it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// Of the random choices of the driver.
    pub seed: u64,
    /// Which servers run, and where they keep their data.
    pub topology: String,
    /// How many servers run. The data of several is in another process, and they go on while it is broken.
    pub servers: u32,
    /// The clients, numbered from 0.
    pub clients: u32,
    /// The number of the client that reads the logs at the end.
    pub reader: u32,
    /// How often each kind of fault must happen at least.
    pub plan: BTreeMap<Kind, u64>,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What happened.
    pub kind: Kind,
    /// What the engine may have lost by its promises. With one server all connections of clients have ended before such a
    /// record, and after it the server starts. With several, their data is out of reach in this line: nothing is added to
    /// the data before in a later one, and nothing was added to the data after in an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<Loss>,
    /// The rooms that may lose it; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// The clients whose connections it affects; empty for a fault of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<u32>,
    /// How long it lasts, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_us: Option<u64>,
    /// The writes that a power cut took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
    /// How many seconds the clock is ahead of the right time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead_s: Option<i64>,
}

impl Fault {
    /// A fault of the server of which nothing else is known.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            loses: None,
            rooms: Vec::new(),
            clients: Vec::new(),
            for_us: None,
            writes: None,
            ahead_s: None,
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A server is killed with SIGKILL.
    Kill,
    /// The server is killed with SIGKILL, and what it wrote and did not sync is taken back.
    PowerCut,
    /// A server is stopped with SIGTERM.
    Terminate,
    /// A server is stopped with SIGSTOP and continued with SIGCONT.
    Pause,
    /// The clock of a server is set to another time.
    Clock,
    /// Connections are reset, possibly within a frame.
    Cut,
    /// Connections forward nothing for a time.
    Stall,
    /// Connections to clients forward fewer bytes than are published.
    Slow,
    /// The data of the stopped server is replaced by an older copy.
    Restore,
    /// Redis, which syncs each write before it answers, is killed with SIGKILL.
    RedisKill,
    /// Redis, which syncs once a second, is killed with SIGKILL.
    RedisKillEverysec,
    /// Redis is stopped with SIGSTOP and continued with SIGCONT.
    RedisPause,
    /// The connections of the servers to Redis are reset, possibly within a message.
    RedisCut,
    /// The connections of the servers to Redis forward nothing for a time.
    RedisStall,
    /// Redis is killed with SIGKILL, and its append-only file loses its end.
    AofCut,
    /// Redis is killed with SIGKILL, and its files are replaced by older ones.
    RedisRestore,
    /// All keys in Redis are deleted.
    Flush,
    /// A replica that has everything is promoted.
    Failover,
    /// A replica that was cut off from its master is promoted.
    Promote,
    /// A master of a cluster is killed with SIGKILL, and the cluster promotes its replica, which may not have the newest.
    MasterKill,
    /// A replica of a cluster is killed with SIGKILL and started again.
    ReplicaKill,
    /// A slot is moved to another master of the cluster.
    SlotMove,
}

impl Kind {
    /// The name in a recording.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerCut => "power_cut",
            Self::Terminate => "terminate",
            Self::Pause => "pause",
            Self::Clock => "clock",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::Restore => "restore",
            Self::RedisKill => "redis_kill",
            Self::RedisKillEverysec => "redis_kill_everysec",
            Self::RedisPause => "redis_pause",
            Self::RedisCut => "redis_cut",
            Self::RedisStall => "redis_stall",
            Self::AofCut => "aof_cut",
            Self::RedisRestore => "redis_restore",
            Self::Flush => "flush",
            Self::Failover => "failover",
            Self::Promote => "promote",
            Self::MasterKill => "master_kill",
            Self::ReplicaKill => "replica_kill",
            Self::SlotMove => "slot_move",
        }
    }

    /// Whether it makes a lost tail: if no acknowledged message is lost by it in a run, the run proves nothing.
    #[must_use]
    pub fn makes_lost_tail(self) -> bool {
        matches!(
            self,
            Self::Restore | Self::AofCut | Self::RedisRestore | Self::Flush | Self::Promote
        )
    }
}

/// What may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Everything: the logs were in memory, or all were deleted.
    Everything,
    /// What was appended after this copy was made.
    Since(u64),
}

/// A position in the log of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch of the offset.
    pub epoch: String,
    /// The last message that is known.
    pub offset: u64,
}

/// What a join means for the messages that the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Joined without a cursor.
    Joined,
    /// The messages after the cursor follow: `recovered: true`.
    Recovered,
    /// Messages are missing: `recovered: false`. What follows replaces what the client has.
    Reset,
}
