//! The attacks, and the bounds that a server with default options must keep under each.

use super::figures::Bounds;

/// What the attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// WebSockets to `path` send one-byte messages, or nothing, and never read.
    Unread { path: &'static str, send: bool },
    /// WebSockets to `path` read as fast as they can what it sends by itself.
    ReadFlood { path: &'static str },
    /// `/echo` with the largest messages, read as fast as they come.
    EchoLarge,
    /// Upgrades to `path` with 5,200 subprotocols, `size` a second.
    Subprotocols { path: &'static str },
    /// Each session sits in 64 rooms and publishes once to each of 10,000 names.
    QuietRooms,
    /// Each session joins 64 rooms of its own.
    RoomsBySessions,
    /// Each request waits for a message of a room of its own.
    RoomsByWaiting,
    /// Each socket sends to the attacked room's plain chat as fast as it can.
    ChatFlood,
    /// Each session publishes to the attacked room as fast as it can.
    SessionFlood,
    /// Users with distinct names join the attacked room.
    Names { chat: bool },
    /// Members of the attacked room leave it and join again 25 times a second each.
    ChurnOfMany,
    /// Sessions leave and join 240 times a second each, in a room of 2,000.
    ChurnOfOne,
    /// Requests for a page of 1 MB that is never read.
    PagesByHttp,
    /// Sessions that ask for 8 pages of history and never read.
    PagesBySession,
    /// Connections to `path` send frames or lines without content.
    Frames { path: &'static str, frame: Frame },
    /// Sessions publish to 4,000 rooms twice and then flush the room of a sender, who sends its message again.
    EvictedAuthor,
    /// `size` connections a second, each with a request or without.
    Connects { request: bool },
    /// Requests whose head is never complete.
    HalfHeads,
    /// Members of the attacked room that never read, while 8 KB are published in it 50 times a second.
    UnreadMembers { chat: bool },
    /// Members reconnect after a restart, all at once.
    ComeBack { rooms: usize, one_address: bool },
    /// 64 rooms with full logs are read repeatedly.
    CatchUp { http: bool },
}

/// What a connection sends that is neither a request nor a message.
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

/// One attack over one path.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// A sentence about the attack for docs/attacks.md.
    pub(super) about: &'static str,
    pub(super) attack: Attack,
    /// The number of `unit` in the attack.
    pub(super) size: usize,
    pub(super) unit: &'static str,
    /// The duration in seconds.
    pub(super) seconds: u64,
    /// Whether the attacked room has innocents.
    pub(super) local: bool,
    /// Whether it is also run at four times the size, from four addresses.
    pub(super) fourfold: bool,
    /// Whether it is part of `--quick`.
    pub(super) quick: bool,
}

/// The room that is attacked.
pub(super) const ATTACKED_ROOM: &str = "attacked";
/// What back ends send to publish over HTTP, with which the logs are filled before an attack.
pub(super) const PUBLISH_KEY: &str = "the-key-of-the-attack-bench";

/// The named limits of the server, with their defaults, from which the bounds follow.
mod limits {
    pub(super) const KIB: u64 = 1024;
    pub(super) const MIB: u64 = 1024 * KIB;
    /// `limits.sent_text_bytes`: a page of history in a session.
    pub(super) const SENT_TEXT: u64 = 256 * KIB;
    /// `--queue-bytes`.
    pub(super) const QUEUE_BYTES: u64 = MIB;
    /// `--max-message-size`.
    pub(super) const MESSAGE: u64 = 64 * KIB;
    /// `--receive-buffer`: what the kernel holds that was not read.
    pub(super) const RECEIVE_BUFFER: u64 = 256 * KIB;
    /// `--unsent-bytes`: what it holds that was not sent.
    pub(super) const UNSENT: u64 = 64 * KIB;
    /// `--answer-bytes`: answers over HTTP that are under way, all together.
    pub(super) const ANSWERS: u64 = 64 * MIB;
    /// `--log-bytes`: what one room keeps.
    pub(super) const LOG_BYTES: u64 = 8 * MIB;
    /// `--log-total-bytes`: what all rooms keep.
    pub(super) const LOG_TOTAL: u64 = 256 * MIB;
    /// `--log-rooms`, and `--max-rooms`.
    pub(super) const ROOMS: u64 = 10_000;
    /// `--remember-bytes`: what is remembered about clients.
    pub(super) const REMEMBERED: u64 = 128 * MIB;
    /// `--address-connection-rate` times `--address-delay`: connections that are delayed.
    pub(super) const WAITING_CONNECTIONS: u64 = 500 * 5;
    /// `lines_per_second`: lines of a session.
    pub(super) const LINES_A_SECOND: f64 = 500.0;
}

/// The process itself, its innocents and what its allocator does not give back: 7 MiB were measured at rest.
const PROCESS: u64 = 32 * limits::MIB;
/// A connection: 2.1 KB at rest (docs/bench.md), the head of a request and the state of a session beside it, and its name, room and
/// place in the lists of a room.
const CONNECTION: u64 = 16 * limits::KIB;
/// The size of messages to members that do not read, in bytes.
pub(super) const UNREAD_MESSAGE: usize = 8_000;
/// The entry of a message in the queue of a member: 48 bytes beside the message, which all members share; twice, because each queue's list
/// grows as it fills and the allocator does not use every piece again. 12 KB were measured with 131 messages in each queue.
const QUEUE_ENTRY: u64 = 2 * 48;
/// A room without messages and the entry of one author in it, once in the log and once with its members.
const ROOM: u64 = 4 * limits::KIB;
/// A body in the log as a share of its bytes: 1.5 times with what stands beside it, when the allocator rounds up.
const fn logged(bytes: u64) -> u64 {
    bytes / 2 * 3
}
/// What the kernel may hold of one connection in both directions; the last write may go beyond the limit on what is not sent, by a message.
/// A client that does not read has a small buffer of its own here, so that what is on the way is little.
const KERNEL: u64 = limits::RECEIVE_BUFFER + limits::UNSENT + 2 * limits::MESSAGE;
/// The same for clients that send nothing but requests.
const KERNEL_SENT: u64 = limits::UNSENT + limits::MESSAGE;
/// The same for connections that never carried more than the head of a request.
const KERNEL_IDLE: u64 = 4 * limits::KIB;
/// What the innocents, the visitors and the measurement cost, as a share of the core.
const CPU_AT_REST: f64 = 0.10;
/// CPU of one line or frame, with its share of the system's work: docs/bench.md has 0.5 to 2 microseconds.
const CPU_OF_A_LINE: f64 = 10e-6;
/// All of the core: work that is bounded per turn, and not by a rate, may use what is otherwise idle.
const CPU_FREE: f64 = 1.01;

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

    /// What the server must keep to, with `size` attackers.
    pub(super) fn bounds(&self, size: usize) -> Bounds {
        use limits::*;
        let size = size as u64;
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        let many = size as f64;
        let connections = |each: u64| PROCESS + size * (CONNECTION + each);
        let rated = |lines_a_second: f64| (CPU_AT_REST + many * lines_a_second * CPU_OF_A_LINE).min(CPU_FREE);
        let (memory, kernel, cpu, facts) = match self.attack {
            // What waits for a reader is at most its queue; the last message taken may stand beside it. After `--write-timeout` and
            // `--close-timeout`, 65 s, none of those is left that took nothing.
            Attack::Unread { send, .. } => (
                connections(QUEUE_BYTES + 2 * MESSAGE),
                size * KERNEL,
                // Until its client has a full buffer, each of them is a client like others: for at most a tenth of the long scenarios.
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
                CPU_FREE,
                vec![],
            ),
            // `size` requests a second with a head of 21 KB each: a millisecond is 50 times what parsing it takes.
            Attack::Subprotocols { .. } => (
                PROCESS + size * 64 * KIB,
                size * KERNEL,
                (CPU_AT_REST + many * 1e-3).min(CPU_FREE),
                vec![],
            ),
            Attack::QuietRooms => (PROCESS + ROOMS * ROOM, size * KERNEL, rated(LINES_A_SECOND), vec![]),
            Attack::RoomsBySessions | Attack::RoomsByWaiting => {
                (connections(0) + ROOMS * ROOM, size * KERNEL_IDLE * 4, CPU_FREE, vec![])
            }
            Attack::ChatFlood | Attack::SessionFlood => (
                connections(QUEUE_BYTES) + logged(LOG_BYTES),
                size * KERNEL + 8 * KERNEL,
                // Each line goes to the innocents in the room, too: 8 writes of it.
                (CPU_AT_REST + many * LINES_A_SECOND * CPU_OF_A_LINE * 8.0).min(CPU_FREE),
                vec![],
            ),
            // A member of a large room is told who is there: at most its queue waits for all of them together, as it is shared.
            Attack::Names { .. } | Attack::ChurnOfMany => (
                connections(CONNECTION) + 8 * QUEUE_BYTES,
                size * 64 * KIB,
                CPU_FREE,
                vec![],
            ),
            Attack::ChurnOfOne => (
                PROCESS + (2000 + size) * 2 * CONNECTION + 8 * QUEUE_BYTES,
                2000 * 64 * KIB,
                CPU_FREE,
                vec![],
            ),
            // A page is in memory for as long as it is sent. A session reads one at a time: the next one when the last of the one before
            // waits in the queue of the socket.
            Attack::PagesByHttp | Attack::PagesBySession => (
                connections(if matches!(self.attack, Attack::PagesByHttp) {
                    0
                } else {
                    2 * SENT_TEXT
                }) + ANSWERS
                    + logged(LOG_BYTES),
                size * KERNEL_SENT,
                CPU_FREE,
                // Of a few the system takes some more bytes just before they are given up, which counts as progress once.
                vec![("held", 4)],
            ),
            Attack::Frames { .. } => (
                connections(QUEUE_BYTES + 2 * MESSAGE),
                size * 2 * KERNEL,
                // `/echo` has no rate. Elsewhere a connection is closed after its burst; an attacker that connects again at once may
                // send as much again, as often as `--address-connection-rate` lets it.
                CPU_FREE,
                vec![],
            ),
            Attack::EvictedAuthor => (
                connections(0) + ROOMS * ROOM + REMEMBERED + logged(LOG_BYTES),
                size * KERNEL,
                rated(LINES_A_SECOND * 2.0),
                vec![("appended_again", 0)],
            ),
            Attack::Connects { .. } => (
                PROCESS + size.min(WAITING_CONNECTIONS * 4) * CONNECTION,
                WAITING_CONNECTIONS * 4 * KERNEL_IDLE,
                CPU_FREE,
                vec![],
            ),
            Attack::HalfHeads => (connections(0), size * KERNEL_IDLE, CPU_FREE, vec![]),
            // What is said in a room is shared by those who have not read it, but for the entries in their queues.
            Attack::UnreadMembers { .. } => (
                connections(QUEUE_BYTES / UNREAD_MESSAGE as u64 * QUEUE_ENTRY) + 8 * QUEUE_BYTES + logged(LOG_BYTES),
                size * KERNEL_SENT,
                CPU_FREE,
                vec![],
            ),
            Attack::ComeBack { one_address, .. } => {
                let mut facts = vec![("missing", 0), ("closed", 0)];
                if !one_address {
                    facts.push(("whole_ms", 10_000));
                }
                (
                    connections(CONNECTION) + 8 * QUEUE_BYTES,
                    size * 64 * KIB,
                    CPU_FREE,
                    facts,
                )
            }
            Attack::CatchUp { http } => (
                connections(QUEUE_BYTES + 64 * CONNECTION) + logged(LOG_TOTAL) + ANSWERS,
                // Those that read have buffers that the system lets grow, and what is on the way is bounded by them alone.
                (size + 1) * (KERNEL + 2 * MIB),
                CPU_FREE,
                if http {
                    vec![]
                } else {
                    vec![("slow_ack_ms", 2_000), ("slow_closed", 0)]
                },
            ),
        };
        Bounds {
            other: 100.0,
            same: 250.0,
            memory,
            // The innocents' own sockets.
            kernel: kernel + MIB,
            cpu,
            // While thousands come back at once, `--max-connection-rate` tells some to come again, and who comes for the first time is one
            // of them.
            visits_refused: if matches!(self.attack, Attack::ComeBack { .. }) {
                4
            } else {
                0
            },
            facts,
        }
    }
}

/// Every scenario, in the order in which they are run and shown.
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
            "`/flood` of 65,000-byte messages, again and again, is read as fast as it comes",
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
            "a session sits in 64 rooms and publishes once to each of 10,000 names",
        )
        .seconds(30),
        Scenario::new(
            "rooms-by-sessions",
            RoomsBySessions,
            158,
            "sessions",
            "each session joins 64 rooms that nobody else is in",
        ),
        Scenario::new(
            "rooms-by-waiting",
            RoomsByWaiting,
            10_000,
            "requests",
            "anonymous `GET ?since=0&wait=60` on a new room each",
        )
        .seconds(10),
        Scenario::new(
            "chat-flood",
            ChatFlood,
            1,
            "sockets",
            "plain chat, as fast as it goes, in a room with others",
        )
        .local(),
        Scenario::new(
            "session-flood",
            SessionFlood,
            1,
            "sessions",
            "a session publishes as fast as it goes, in a room with others",
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
            "one does so 240 times a second, in a room of 2,000",
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
            "as `echo-unread`, for longer than silence and stalled writes are allowed",
        )
        .seconds(75),
        Scenario::new(
            "pages-by-http",
            PagesByHttp,
            1_000,
            "requests",
            "pages of 1 MB are asked for over HTTP and never read",
        )
        .seconds(75),
        Scenario::new(
            "pages-by-session",
            PagesBySession,
            250,
            "sessions",
            "each asks for 8 pages of history and never reads",
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
            "empty texts to plain chat, in a room of the attacker's",
        ),
        Scenario::new(
            "evicted-author",
            EvictedAuthor,
            40,
            "sessions",
            "160,000 authors of rooms and 1,100 messages, until the log may have forgotten a sender",
        )
        .seconds(30),
        Scenario::new(
            "connects",
            Connects { request: false },
            15_000,
            "connects/s",
            "connections from one address that are cut at once",
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
            "requests whose head never ends",
        )
        .seconds(8),
        Scenario::new(
            "unread-members-session",
            UnreadMembers { chat: false },
            2_000,
            "sessions",
            "members that never read, in a room with others where 8 KB are said 50 times a second",
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
            "comeback-one-room",
            ComeBack {
                rooms: 1,
                one_address: false,
            },
            5_000,
            "members",
            "after a restart the members of one room come back, from 250 addresses",
        )
        .seconds(60)
        .once(),
        Scenario::new(
            "comeback-500-rooms",
            ComeBack {
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
            "comeback-one-address",
            ComeBack {
                rooms: 1,
                one_address: true,
            },
            5_000,
            "members",
            "the members of one room come back from one address: slowed, but whole",
        )
        .seconds(90)
        .once(),
        Scenario::new(
            "catch-up-sessions",
            CatchUp { http: false },
            8,
            "sessions",
            "each catches up with 64 full rooms again and again; one more does so at 1 Mbit/s and publishes",
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
    fn names_are_unique_and_bounds_grow_with_the_size_only() {
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len());
        for scenario in all() {
            let (once, fourfold) = (scenario.bounds(scenario.size), scenario.bounds(scenario.size * 4));
            assert!(once.memory <= fourfold.memory && once.kernel <= fourfold.kernel && once.cpu <= fourfold.cpu);
            assert_eq!(
                (once.other, once.same, &once.facts),
                (fourfold.other, fourfold.same, &fourfold.facts)
            );
        }
    }
}
