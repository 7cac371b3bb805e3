use std::time::Duration;

use super::super::NewRoomOptions;

/// What the memory engine keeps at most, and for how long.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Rooms without watchers. Beyond it one of them is evicted: young rooms take at most a quarter from the old ones,
    /// and within each class the least recently used one goes. Rooms with watchers do not count.
    pub rooms: usize,
    /// The age at which a room that is used again is no longer young.
    pub young_for: Duration,
    /// Watches of all rooms. More are refused.
    pub watches: usize,
    /// How many rooms a client may make by publishing.
    pub new_rooms: NewRoomOptions,
    /// Messages of one room.
    pub messages: usize,
    /// Bytes of the messages of one room.
    pub bytes: usize,
    /// Bytes of the messages of all rooms. Above seven eighths of it, rooms that hold more than their share lose their
    /// oldest messages, first those without watchers.
    pub total_bytes: usize,
    /// Bytes that a room with watchers does not lose to other rooms, as long as all such rooms together fit: enough for
    /// a member that was too slow to catch up.
    pub watched_bytes: usize,
    /// How long a message is kept.
    pub age: Duration,
    /// Clients whose last number is kept; each counts once for each of its rooms. A client is never dropped early for
    /// another one: a new one is refused, to be retried.
    pub clients: usize,
    /// One client, and the requests of one room, may have this part of what is free of `clients` and
    /// `remembered_bytes`: 16 is a sixteenth.
    pub client_part: usize,
    /// All clients of one origin together may have this part of it: 8 is an eighth.
    pub origin_part: usize,
    /// Messages of a client whose outcome is kept: as many as it may have in flight.
    pub client_messages: usize,
    /// How long a client's last number is kept. Must be longer than clients resend a message.
    pub client_age: Duration,
    /// Idempotency-Keys that are kept for one room. One more is refused, to be retried.
    pub requests: usize,
    /// How long an Idempotency-Key is kept.
    pub request_age: Duration,
    /// Bytes of everything that is kept about clients and requests.
    pub remembered_bytes: usize,
    /// Distinct refusals of which one copy is shared by all outcomes that are equal. A further one replaces the oldest
    /// of the table, and equal outcomes get a new copy from then on.
    pub shared_refusals: usize,
    /// When to retry a message that was refused because the log is full or a watcher has no capacity.
    pub retry_after: Duration,
    /// When to retry a call that was refused because of `watches`, `clients`, `requests` or `remembered_bytes`.
    pub remembered_retry_after: Duration,
    /// How often expired messages, clients and requests are dropped.
    pub sweep_interval: Duration,
    /// Rooms that a sweep visits in one go before other tasks run, and entries whose bytes are released under one lock.
    pub sweep_batch: usize,
    /// Expired clients and requests of one room that are dropped in one go, while its lock is held. The next sweep
    /// drops more.
    pub expire_batch: usize,
    /// Random epochs that are kept for rooms without a log. When a room is evicted, the epoch of all rooms with the
    /// same hash changes.
    pub epoch_slots: usize,
}

impl MemoryOptions {
    pub(crate) const DEFAULT: Self = Self {
        rooms: 10_000,
        young_for: Duration::from_secs(600),
        watches: 100_000,
        new_rooms: NewRoomOptions {
            burst: 128,
            per_minute: 30,
            clients: 65_536,
            expire_batch: 1024,
        },
        messages: 8192,
        bytes: 8 << 20,
        total_bytes: 256 << 20,
        watched_bytes: 4 << 20,
        age: Duration::from_secs(24 * 3600),
        clients: 100_000,
        client_part: 16,
        origin_part: 8,
        client_messages: 128,
        client_age: Duration::from_secs(3600),
        requests: 10_000,
        request_age: Duration::from_secs(3600),
        remembered_bytes: 128 << 20,
        shared_refusals: 32,
        retry_after: Duration::from_secs(1),
        remembered_retry_after: Duration::from_secs(5),
        sweep_interval: Duration::from_secs(1),
        sweep_batch: 256,
        expire_batch: 4096,
        epoch_slots: 4096,
    };
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}
