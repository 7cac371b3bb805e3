//! The attacks, and the bounds within which a server with default options must stay under each.

use super::figures::Bounds;

/// The kinds of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// WebSockets to `path` that send one-byte messages, or nothing, and never read.
    Unread { path: &'static str, send: bool },
    /// WebSockets to `path` that read a flood of the server as fast as they can.
    ReadFlood { path: &'static str },
    /// WebSockets to `/echo` with large messages that are read as fast as they come.
    EchoLarge,
    /// Upgrades to `path` that offer 5,200 subprotocols, `size` per second.
    Subprotocols { path: &'static str },
    /// Each session is a member of 64 rooms and publishes once to each of 10,000 other rooms.
    QuietRooms,
    /// Each session joins 64 rooms of its own.
    RoomsBySessions,
    /// Each request waits for a message in a room of its own.
    RoomsByWaiting,
    /// Each socket sends to the attacked room as fast as it can, over plain chat.
    ChatFlood,
    /// Each session publishes to the attacked room as fast as it can.
    SessionFlood,
    /// Users with distinct names join the attacked room.
    Names { chat: bool },
    /// Members of the attacked room leave it and join it again, each 25 times per second.
    ChurnOfMany,
    /// Sessions leave and join a room of 2,000 members, each 240 times per second.
    ChurnOfOne,
    /// Requests for a page of 1 MB that is never read.
    PagesByHttp,
    /// Sessions that ask for 8 pages of history and never read.
    PagesBySession,
    /// Connections to `path` send frames or lines without content.
    Frames { path: &'static str, frame: Frame },
    /// Sessions publish to 4,000 rooms twice and then flush the room of a sender, who sends its message again.
    EvictedAuthor,
    /// `size` connections per second, each with or without a request.
    Connects { request: bool },
    /// Requests whose head is never complete.
    HalfHeads,
    /// Members of the attacked room that never read, while messages of 8 KB are published in it 50 times per second.
    UnreadMembers { chat: bool },
    /// Members that reconnect after a restart, all at once.
    Reconnect { rooms: usize, one_address: bool },
    /// 64 rooms with full logs are read repeatedly.
    CatchUp { http: bool },
}

/// A frame or line without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Ping,
    Pong,
    /// Empty continuation frames of a message that never ends.
    Continuation,
    /// Lines of an unknown kind.
    Unknown,
    /// Empty lines.
    Blank,
    /// Empty text frames.
    Empty,
}

/// One attack with its size and duration.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The description of the attack in docs/attacks.md.
    pub(super) about: &'static str,
    pub(super) attack: Attack,
    /// The size of the attack, in `unit`.
    pub(super) size: usize,
    pub(super) unit: &'static str,
    /// The duration in seconds.
    pub(super) seconds: u64,
    /// Whether legitimate clients are in the attacked room.
    pub(super) local: bool,
    /// Whether it is also run with four times the size, from four addresses.
    pub(super) fourfold: bool,
    /// Whether it is part of `--quick`.
    pub(super) quick: bool,
}

/// The room that is attacked.
pub(super) const ATTACKED_ROOM: &str = "attacked";
/// The server's publish key, with which the logs are filled over HTTP before an attack.
pub(super) const PUBLISH_KEY: &str = "the-key-of-the-attack-bench";

/// The server's limits, with their defaults, from which the bounds are derived.
mod limits {
    pub(super) const KIB: u64 = 1024;
    pub(super) const MIB: u64 = 1024 * KIB;
    /// `limits.sent_text_bytes`: a page of history in a session.
    pub(super) const SENT_TEXT: u64 = 256 * KIB;
    /// `--queue-bytes`.
    pub(super) const QUEUE_BYTES: u64 = MIB;
    /// `--max-message-size`.
    pub(super) const MESSAGE: u64 = 64 * KIB;
    /// `--receive-buffer`: received bytes in the kernel that the server has not read.
    pub(super) const RECEIVE_BUFFER: u64 = 256 * KIB;
    /// `--unsent-bytes`: bytes in the kernel that are not sent.
    pub(super) const UNSENT: u64 = 64 * KIB;
    /// `--answer-bytes`: the bytes of all HTTP responses in flight.
    pub(super) const ANSWERS: u64 = 64 * MIB;
    /// `--log-bytes`: the log of one room.
    pub(super) const LOG_BYTES: u64 = 8 * MIB;
    /// `--log-total-bytes`: the logs of all rooms.
    pub(super) const LOG_TOTAL: u64 = 256 * MIB;
    /// `--log-rooms`, and `--max-rooms`.
    pub(super) const ROOMS: u64 = 10_000;
    /// `--remember-bytes`: the table of publishers.
    pub(super) const REMEMBERED: u64 = 128 * MIB;
    /// `--address-connection-rate` times `--address-delay`: connections that are delayed.
    pub(super) const WAITING_CONNECTIONS: u64 = 500 * 5;
    /// `lines_per_second`: lines of a session.
    pub(super) const LINES_PER_SECOND: f64 = 500.0;
}

/// The process itself, its legitimate clients, and memory that the allocator does not return: 7 MiB were measured at
/// rest.
const PROCESS: u64 = 32 * limits::MIB;
/// A connection: 2.1 KB at rest (docs/bench.md), the head of a request, the state of a session, and its entries in the
/// lists of a room.
const CONNECTION: u64 = 16 * limits::KIB;
/// The size of messages to members that do not read, in bytes.
pub(super) const UNREAD_MESSAGE: usize = 8_000;
/// The entry of a message in the queue of a member: 48 bytes besides the message, which all members share. It counts
/// twice, because a queue's list is reallocated as it grows and the allocator does not reuse all of it. 12 KB were
/// measured with 131 messages in each queue.
const QUEUE_ENTRY: u64 = 2 * 48;
/// A room without messages, with the entry of one author, once in the log and once in the hub.
const ROOM: u64 = 4 * limits::KIB;
/// The memory of a body in the log: 1.5 times its bytes, with its entry and with what the allocator adds.
const fn logged(bytes: u64) -> u64 {
    bytes / 2 * 3
}
/// The bytes that the kernel may hold of one connection in both directions; the last write may exceed `--unsent-bytes`
/// by a message. Clients that do not read have small receive buffers here, so that few bytes are in flight.
const KERNEL: u64 = limits::RECEIVE_BUFFER + limits::UNSENT + 2 * limits::MESSAGE;
/// The same for clients that only send requests.
const KERNEL_SENT: u64 = limits::UNSENT + limits::MESSAGE;
/// The same for connections with at most the head of a request.
const KERNEL_IDLE: u64 = 4 * limits::KIB;
/// The load of the legitimate clients and of the measurement, as a share of the core.
const CPU_AT_REST: f64 = 0.10;
/// CPU time of one line or frame in seconds, with the kernel's part: docs/bench.md has 0.5 to 2 microseconds.
const CPU_OF_A_LINE: f64 = 10e-6;
/// CPU time of writing one message of [`UNREAD_MESSAGE`] bytes in seconds, nearly all of it the kernel's.
const CPU_OF_A_WRITE: f64 = 5e-6;
/// No bound: work that is bounded per turn and not by a rate may use all idle CPU time.
const CPU_UNBOUNDED: f64 = 1.01;

impl Scenario {
    const fn new(name: &'static str, attack: Attack, size: usize, unit: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            attack,
            size,
            unit,
            seconds: 4,
            local: false,
            fourfold: true,
            quick: false,
        }
    }

    const fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    const fn local(mut self) -> Self {
        self.local = true;
        self
    }

    const fn once(mut self) -> Self {
        self.fourfold = false;
        self
    }

    const fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// The bounds with an attack of this size.
    pub(super) fn bounds(&self, size: usize) -> Bounds {
        use limits::*;
        let size = size as u64;
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        let many = size as f64;
        let connections = |each: u64| PROCESS + size * (CONNECTION + each);
        let rated = |lines_per_second: f64| (CPU_AT_REST + many * lines_per_second * CPU_OF_A_LINE).min(CPU_UNBOUNDED);
        let (memory, kernel, cpu, facts) = match self.attack {
            // At most its queue waits for a reader, and the last message besides. After `--write-timeout` and
            // `--close-timeout`, 65 s, all connections that read nothing are closed.
            Attack::Unread { send, .. } => (
                connections(QUEUE_BYTES + 2 * MESSAGE),
                size * KERNEL,
                // Until its client's buffer is full, each connection is served like others: for at most a tenth of the
                // long scenarios.
                if send && self.seconds > 65 {
                    2.0 * CPU_AT_REST
                } else {
                    CPU_AT_REST
                },
                if send && self.seconds > 65 {
                    vec![("held", 0)]
                } else {
                    vec![]
                },
            ),
            Attack::ReadFlood { .. } | Attack::EchoLarge => (
                connections(QUEUE_BYTES + 2 * MESSAGE),
                size * 2 * KERNEL,
                CPU_UNBOUNDED,
                vec![],
            ),
            // `size` requests per second with a head of 21 KB each: a millisecond is 50 times the time of parsing one.
            Attack::Subprotocols { .. } => (
                PROCESS + size * 64 * KIB,
                size * KERNEL,
                (CPU_AT_REST + many * 1e-3).min(CPU_UNBOUNDED),
                vec![],
            ),
            Attack::QuietRooms => (PROCESS + ROOMS * ROOM, size * KERNEL, rated(LINES_PER_SECOND), vec![]),
            Attack::RoomsBySessions | Attack::RoomsByWaiting => (
                connections(0) + ROOMS * ROOM,
                size * KERNEL_IDLE * 4,
                CPU_UNBOUNDED,
                vec![],
            ),
            Attack::ChatFlood | Attack::SessionFlood => (
                connections(QUEUE_BYTES) + logged(LOG_BYTES),
                size * KERNEL + 8 * KERNEL,
                // Each line is also delivered to the legitimate clients in the room, with 8 writes.
                (CPU_AT_REST + many * LINES_PER_SECOND * CPU_OF_A_LINE * 8.0).min(CPU_UNBOUNDED),
                vec![],
            ),
            // Members of a large room receive presence lines. All members share them, so that together they hold at
            // most one queue.
            Attack::Names { .. } | Attack::ChurnOfMany => (
                connections(CONNECTION) + 8 * QUEUE_BYTES,
                size * 64 * KIB,
                CPU_UNBOUNDED,
                vec![],
            ),
            Attack::ChurnOfOne => (
                PROCESS + (2000 + size) * 2 * CONNECTION + 8 * QUEUE_BYTES,
                2000 * 64 * KIB,
                CPU_UNBOUNDED,
                vec![],
            ),
            // A page is in memory until it is sent. A session reads one page at a time: the next one when the end of
            // the page before is in the queue of the socket.
            Attack::PagesByHttp | Attack::PagesBySession => (
                connections(if matches!(self.attack, Attack::PagesByHttp) {
                    0
                } else {
                    2 * SENT_TEXT
                }) + ANSWERS
                    + logged(LOG_BYTES),
                size * KERNEL_SENT,
                CPU_UNBOUNDED,
                // The kernel takes some more bytes of a few connections shortly before their timeout, which restarts it
                // once.
                vec![("held", 4)],
            ),
            Attack::Frames { .. } => (
                connections(QUEUE_BYTES + 2 * MESSAGE),
                size * 2 * KERNEL,
                // `/echo` has no rate limit. Elsewhere a connection is closed after its burst; an attacker that
                // reconnects at once has a new burst, as often as `--address-connection-rate` allows.
                CPU_UNBOUNDED,
                vec![],
            ),
            Attack::EvictedAuthor => (
                connections(0) + ROOMS * ROOM + REMEMBERED + logged(LOG_BYTES),
                size * KERNEL,
                rated(LINES_PER_SECOND * 2.0),
                vec![("appended_again", 0)],
            ),
            Attack::Connects { .. } => (
                PROCESS + size.min(WAITING_CONNECTIONS * 4) * CONNECTION,
                WAITING_CONNECTIONS * 4 * KERNEL_IDLE,
                CPU_UNBOUNDED,
                vec![],
            ),
            Attack::HalfHeads => (connections(0), size * KERNEL_IDLE, CPU_UNBOUNDED, vec![]),
            // Queues share the messages that wait in them; only their entries are separate.
            Attack::UnreadMembers { .. } => (
                connections(QUEUE_BYTES / UNREAD_MESSAGE as u64 * QUEUE_ENTRY) + 8 * QUEUE_BYTES + logged(LOG_BYTES),
                size * KERNEL_SENT,
                CPU_UNBOUNDED,
                vec![],
            ),
            Attack::Reconnect { one_address, .. } => {
                let mut facts = vec![("missing", 0), ("closed", 0)];
                if !one_address {
                    facts.push(("all_joined_ms", 10_000));
                }
                (
                    connections(CONNECTION) + 8 * QUEUE_BYTES,
                    size * 64 * KIB,
                    CPU_UNBOUNDED,
                    facts,
                )
            }
            Attack::CatchUp { http } => (
                connections(QUEUE_BYTES + 64 * CONNECTION) + logged(LOG_TOTAL) + ANSWERS,
                // Connections that read have receive buffers that grow automatically; only these bound the bytes in
                // flight.
                (size + 1) * (KERNEL + 2 * MIB),
                CPU_UNBOUNDED,
                if http {
                    vec![]
                } else {
                    vec![("slow_ack_ms", 2_000), ("slow_closed", 0)]
                },
            ),
        };
        #[expect(clippy::cast_precision_loss, reason = "a few messages")]
        let same = match self.attack {
            // Until the kernel holds so many bytes of each member that never reads, each message is written to all of
            // them, faster than the server can do it, and the legitimate members wait for their turn.
            Attack::UnreadMembers { .. } => {
                let messages = (UNSENT / UNREAD_MESSAGE as u64) as f64;
                100.0 + many * messages * CPU_OF_A_WRITE * 1e3
            }
            _ => 250.0,
        };
        Bounds {
            other: 100.0,
            same,
            memory,
            // The sockets of the legitimate clients.
            kernel: kernel + MIB,
            cpu,
            // While thousands reconnect at once, `--max-connection-rate` refuses some connections for now, also new
            // visitors.
            visits_refused: if matches!(self.attack, Attack::Reconnect { .. }) {
                4
            } else {
                0
            },
            facts,
        }
    }
}

/// All scenarios, in the order in which they run and are reported.
pub(super) fn all() -> Vec<Scenario> {
    use Attack::*;
    let frames = |name, path, frame, about| Scenario::new(name, Frames { path, frame }, 4, "connections", about);
    vec![
        Scenario::new(
            "echo-unread",
            Unread {
                path: "/echo",
                send: true,
            },
            2,
            "connections",
            "one-byte messages to `/echo`; answers are never read",
        )
        .quick(),
        Scenario::new(
            "flood-unread",
            Unread {
                path: "/flood?n=1000000&size=1",
                send: false,
            },
            2,
            "connections",
            "`/flood` of a million one-byte messages is never read",
        ),
        Scenario::new(
            "flood-read",
            ReadFlood {
                path: "/flood?n=1000000&size=65000",
            },
            2,
            "connections",
            "`/flood` of 65,000-byte messages is read as fast as it comes, repeatedly",
        ),
        Scenario::new(
            "echo-large",
            EchoLarge,
            2,
            "connections",
            "`/echo` of 60,000-byte messages, read as fast as they come",
        ),
        Scenario::new(
            "subprotocols-ws",
            Subprotocols { path: "/ws" },
            14,
            "requests/s",
            "upgrades to `/ws` that offer 5,200 subprotocols",
        )
        .quick(),
        Scenario::new(
            "subprotocols-echo",
            Subprotocols { path: "/echo" },
            14,
            "requests/s",
            "the same to `/echo`",
        ),
        Scenario::new(
            "quiet-rooms",
            QuietRooms,
            1,
            "sessions",
            "a session is a member of 64 rooms and publishes once to each of 10,000 other rooms",
        )
        .seconds(30),
        Scenario::new(
            "rooms-by-sessions",
            RoomsBySessions,
            158,
            "sessions",
            "each session joins 64 rooms of its own",
        ),
        Scenario::new(
            "rooms-by-waiting",
            RoomsByWaiting,
            10_000,
            "requests",
            "anonymous `GET ?since=0&wait=60`, each for a new room",
        )
        .seconds(10),
        Scenario::new(
            "chat-flood",
            ChatFlood,
            1,
            "sockets",
            "plain chat that sends as fast as it can, in a room with legitimate clients",
        )
        .local(),
        Scenario::new(
            "session-flood",
            SessionFlood,
            1,
            "sessions",
            "a session publishes as fast as it can, in a room with legitimate clients",
        )
        .local(),
        Scenario::new(
            "names-sessions",
            Names { chat: false },
            1_600,
            "sessions",
            "users with distinct names join one room, over sessions",
        )
        .local()
        .seconds(8),
        Scenario::new(
            "names-chat",
            Names { chat: true },
            1_600,
            "sockets",
            "the same over plain chat",
        )
        .local()
        .seconds(8),
        Scenario::new(
            "churn-of-many",
            ChurnOfMany,
            500,
            "sessions",
            "members leave and join one room 25 times a second each",
        )
        .local()
        .seconds(6),
        Scenario::new(
            "churn-of-one",
            ChurnOfOne,
            1,
            "sessions",
            "one member does so 240 times a second, in a room of 2,000",
        )
        .local()
        .seconds(6),
        Scenario::new(
            "echo-stalled",
            Unread {
                path: "/echo",
                send: true,
            },
            60,
            "connections",
            "like `echo-unread`, for longer than the heartbeat and write timeouts",
        )
        .seconds(75),
        Scenario::new(
            "pages-by-http",
            PagesByHttp,
            1_000,
            "requests",
            "pages of 1 MB are requested over HTTP and never read",
        )
        .seconds(75),
        Scenario::new(
            "pages-by-session",
            PagesBySession,
            250,
            "sessions",
            "each requests 8 pages of history and never reads",
        )
        .seconds(75),
        frames("pings-ws", "/ws", Frame::Ping, "empty pings to `/ws`").quick(),
        frames("pongs-ws", "/ws", Frame::Pong, "empty pongs to `/ws`"),
        frames(
            "continuations-ws",
            "/ws",
            Frame::Continuation,
            "empty continuation frames to `/ws`",
        ),
        frames("unknown-kinds-ws", "/ws", Frame::Unknown, "lines of an unknown kind"),
        frames("blank-lines-ws", "/ws", Frame::Blank, "blank lines"),
        frames("empty-texts-ws", "/ws", Frame::Empty, "empty texts to `/ws`").quick(),
        frames("pings-echo", "/echo", Frame::Ping, "empty pings to `/echo`"),
        frames("pongs-echo", "/echo", Frame::Pong, "empty pongs to `/echo`"),
        frames(
            "continuations-echo",
            "/echo",
            Frame::Continuation,
            "empty continuation frames to `/echo`",
        ),
        frames("empty-texts-echo", "/echo", Frame::Empty, "empty texts to `/echo`"),
        frames(
            "empty-texts-chat",
            "/chat/elsewhere?name=mallory",
            Frame::Empty,
            "empty texts to plain chat, in a room of its own",
        ),
        Scenario::new(
            "evicted-author",
            EvictedAuthor,
            40,
            "sessions",
            "160,000 publishers in other rooms and 1,100 messages, until the log may have forgotten a publisher",
        )
        .seconds(30),
        Scenario::new(
            "connects",
            Connects { request: false },
            15_000,
            "connects/s",
            "connections from one address that are reset at once",
        ),
        Scenario::new(
            "connects-with-request",
            Connects { request: true },
            15_000,
            "connects/s",
            "the same, each with one request",
        ),
        Scenario::new(
            "half-heads",
            HalfHeads,
            5_000,
            "connections",
            "requests whose head is never complete",
        )
        .seconds(8),
        Scenario::new(
            "unread-members-session",
            UnreadMembers { chat: false },
            2_000,
            "sessions",
            "members that never read, in a room with legitimate clients and 50 messages of 8 KB per second",
        )
        .local()
        .seconds(6),
        Scenario::new(
            "unread-members-chat",
            UnreadMembers { chat: true },
            2_000,
            "sockets",
            "the same over plain chat",
        )
        .local()
        .seconds(6),
        Scenario::new(
            "reconnect-one-room",
            Reconnect {
                rooms: 1,
                one_address: false,
            },
            5_000,
            "members",
            "after a restart the members of one room reconnect, from 250 addresses",
        )
        .seconds(60)
        .once(),
        Scenario::new(
            "reconnect-500-rooms",
            Reconnect {
                rooms: 500,
                one_address: false,
            },
            5_000,
            "members",
            "the same with 500 rooms",
        )
        .seconds(60)
        .once(),
        Scenario::new(
            "reconnect-one-address",
            Reconnect {
                rooms: 1,
                one_address: true,
            },
            5_000,
            "members",
            "the members of one room reconnect from one address: slower, but all of them",
        )
        .seconds(90)
        .once(),
        Scenario::new(
            "catch-up-sessions",
            CatchUp { http: false },
            8,
            "sessions",
            "each catches up with 64 full rooms repeatedly; one more does so at 1 Mbit/s and publishes",
        )
        .seconds(12),
        Scenario::new(
            "catch-up-http",
            CatchUp { http: true },
            8,
            "connections",
            "the same 64 rooms are read over HTTP",
        )
        .seconds(6),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_bounds_grow_with_the_size() {
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len());
        for scenario in all() {
            let (once, fourfold) = (scenario.bounds(scenario.size), scenario.bounds(scenario.size * 4));
            assert!(once.memory <= fourfold.memory && once.kernel <= fourfold.kernel && once.cpu <= fourfold.cpu);
            assert!(once.same <= fourfold.same);
            assert_eq!((once.other, &once.facts), (fourfold.other, &fourfold.facts));
        }
    }
}
