//! The settings: flags, then `TALKBACK_*` environment variables, then a TOML file, then defaults.
//!
//! [`AppOptions`] declares every setting once: its name, documentation, range and default. Its name as a flag
//! (`--max-rooms`), in the environment (`TALKBACK_MAX_ROOMS`) and in the file (`max-rooms`) is the same. A value in the
//! file becomes the default of the flag, so clap keeps the order of precedence and one parser checks all three. A
//! default that a part of the server has for its own options is taken from there.

mod api_key;
mod engine;
mod sources;
mod values;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use serde::Serialize;
use talkback_protocol::{message::Limits, session::server::ServerOptions};

pub use api_key::ApiKey;
pub use engine::EngineOption;
pub use sources::OptionsError;
use values::{
    as_duration, as_size, count, duration, duration_text, header_name, log_filter, more_than, nonzero, redis_prefix,
    size, size_text,
};

#[cfg(feature = "redis")]
use crate::engine::{Redis, RedisOptions, RedisUrl};
use crate::{
    engine::{Engine, Memory, MemoryOptions, NewRoomOptions, NotReady, Sqlite, SqliteOptions, WaitingOptions},
    hub::HubOptions,
    limits::AddressOptions,
    origin::{HostPattern, OriginPattern, OriginPolicy},
    socket::SocketOptions,
};

/// A WebSocket echo and group chat server.
///
/// Every option can also be set in the environment (TALKBACK_MAX_ROOMS for --max-rooms) and in a TOML file (max-rooms =
/// 10). Flags take precedence over the environment, the environment over the file.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "talkback-server", version)]
#[serde(rename_all = "kebab-case")]
pub struct AppOptions {
    /// `check` prints the effective settings as TOML and fails on unknown keys and variables; `admin` asks a running
    /// server (`talkback-server admin --help`). Without it the server runs.
    #[arg(value_enum)]
    #[serde(skip)]
    pub action: Option<Action>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// The address to listen on; with port 0 the system chooses the port. The first line on stdout has the address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: String,
    /// The address to listen on for operators: /metrics for Prometheus, /healthz with counters and /readyz with the
    /// reason. Without it the counters are not served; the public /healthz has the status only. The second line on
    /// stdout has the address.
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations_listen: Option<String>,
    /// The directory of the built page.
    #[arg(long, value_name = "DIR", default_value = "dist")]
    pub assets: PathBuf,
    /// Origins whose pages may connect, besides those of the server's own host: https://*.example.com,
    /// http://localhost:*. Can be repeated or separated by commas; * stands for any scheme, one label or any port.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<OriginPattern>,
    /// Host names that the server answers for: chat.example.com, *.example.com, example.com:8443. Can be repeated or
    /// separated by commas. One label can be *, and * alone is any name; without a port every port matches. Requests
    /// for other names are answered with 421. Loopback names (localhost, 127.0.0.1, ::1) are always allowed. Without
    /// this option a server on a loopback address answers for loopback names only, because a foreign page could point a
    /// name of its own to it; any other server answers for every name.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub allow_host: Vec<HostPattern>,
    /// Networks of the proxies in front of the server: 10.0.0.0/8, 127.0.0.1/32. Can be repeated or separated by
    /// commas. Only from these networks --proxy-header and X-Forwarded-Proto are used.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub trust_proxy: Vec<IpNet>,
    /// The header in which a trusted proxy sends the client's address, alone or as the last of a list, such as
    /// X-Forwarded-For or X-Real-IP.
    #[arg(long, value_name = "NAME", value_parser = header_name, default_value = "x-forwarded-for")]
    pub proxy_header: String,
    /// The size limit of a WebSocket message from a client; a larger one closes its socket with 1009. More than 1KiB,
    /// of which a line of the protocol uses up to 1KiB besides its body.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size(more_than(1024)),
        default_value = size_text(limits().text_bytes)
    )]
    #[serde(serialize_with = "as_size")]
    pub max_message_size: usize,
    /// The capacity of a client's send queue in messages. A member whose queue is full is closed with 4413.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = socket().queue_messages)]
    pub queue_messages: usize,
    /// The capacity of a client's send queue in bytes. A member whose queue is full is closed with 4413.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = size_text(socket().queue_bytes))]
    #[serde(serialize_with = "as_size")]
    pub queue_bytes: usize,
    /// The maximum number of open connections; further ones are answered with 503. The server lowers it to what the
    /// system's limit on open files allows.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = 65536)]
    pub max_connections: usize,
    /// The rate of new connections a second, which is also the burst; further ones are answered with 503. A quarter is
    /// reserved for addresses that have not connected often in the last second. 0 is unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = 2000)]
    pub max_connection_rate: u32,
    /// The maximum number of open connections of one address (IPv6: one /64) while the server is over half full;
    /// further ones are answered with 429. 0 is an eighth of --max-connections.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(..), default_value_t = 0)]
    pub max_address_connections: usize,
    /// The rate of new connections of one address a second, which is also the burst; further ones are delayed. 0 is
    /// unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = 500)]
    pub address_connection_rate: u32,
    /// The maximum delay of a connection over --address-connection-rate; one that would be delayed longer is answered
    /// with 429.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = "5s")]
    #[serde(serialize_with = "as_duration")]
    pub address_delay: Duration,
    /// The rate of requests of one address a second, which is also the burst. A POST counts only if its key is wrong,
    /// and the first request of each connection does not count; further ones are answered with 429. 0 is unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = 500)]
    pub address_request_rate: u32,
    /// The rate at which clients of one address may create rooms, per second on average. 0 is unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = 10)]
    pub address_room_rate: u32,
    /// The burst of --address-room-rate: rooms that clients of one address may create at once.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = 1000)]
    pub address_room_burst: u32,
    /// The number of addresses whose use of these rates is remembered. Beyond it the least recently seen one is
    /// forgotten and starts again with full bursts.
    #[arg(long, value_name = "COUNT", value_parser = nonzero, default_value = "65536")]
    pub remember_addresses: NonZeroUsize,
    /// The maximum number of rooms with members. For one more a plain member is closed with 4429, and a session
    /// gets `error` with code `busy` for that room.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = HubOptions::DEFAULT.rooms)]
    pub max_rooms: usize,
    /// The maximum number of members of a room. One more is closed with 4429 in plain chat; a session gets `error` with
    /// code `room_full`.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = count::<usize>(1..),
        default_value_t = HubOptions::DEFAULT.members_per_room
    )]
    pub max_room_members: usize,
    /// The maximum number of users of a room that sessions get a list of. In a room with more users they get the number
    /// only and find users by name, until there are at most three quarters of this. At most 1800, so that a list fits
    /// into one text.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = count::<usize>(..=1800),
        default_value_t = HubOptions::DEFAULT.listed_users
    )]
    pub max_listed_users: usize,
    /// The maximum number of rooms that one session has joined.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = limits().rooms)]
    pub max_session_rooms: u32,
    /// The size limit of a message body (as JSON) from a session or a publisher over HTTP; it is lowered to 1KiB less
    /// than --max-message-size.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = size_text(limits().body_bytes))]
    #[serde(serialize_with = "as_size")]
    pub max_body_size: usize,
    /// The maximum nesting depth of arrays and objects in a message body.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = limits().body_depth)]
    pub max_body_depth: u32,
    /// The rate of lines of a session, or of messages of a plain member, per second on average. The server reads
    /// what is over the rate later. 0 is unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = limits().lines_per_second)]
    pub session_line_rate: u32,
    /// The burst of --session-line-rate.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = limits().lines_burst)]
    pub session_line_burst: u32,
    /// The rate of bytes of messages of a session or a plain member, per second on average. The server reads what
    /// is over the rate later. 0 is unlimited.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(limits().bytes_per_second))]
    #[serde(serialize_with = "as_size")]
    pub session_byte_rate: usize,
    /// The burst of --session-byte-rate.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(limits().bytes_burst))]
    #[serde(serialize_with = "as_size")]
    pub session_byte_burst: usize,
    /// The rate of bytes of messages delivered in one room to all its members together, per second, which is also the
    /// burst. Beyond it, and while deliveries are late, the server reads the room's senders later. 0 is unlimited.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size(..),
        default_value = size_text(HubOptions::DEFAULT.delivery_rate)
    )]
    #[serde(serialize_with = "as_size")]
    pub room_delivery_rate: usize,
    /// The rate of control frames, fragments and empty messages of a WebSocket client per second; the burst is twice as
    /// many. Beyond it the socket is closed with 4429. 0 is unlimited. /echo has no such limit.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = socket().max_overhead_rate)]
    pub max_overhead_rate: u32,
    /// The timeout for `hello` on a new session.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(more_than(Duration::ZERO)),
        default_value = duration_text(session().hello_timeout)
    )]
    #[serde(serialize_with = "as_duration")]
    pub hello_timeout: Duration,
    /// The maximum number of messages of one page of history or one answer over HTTP.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = limits().page)]
    pub max_page: u32,
    /// The maximum bytes of messages in one answer over HTTP; a single larger message is answered alone.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = "256KiB")]
    #[serde(serialize_with = "as_size")]
    pub max_answer_size: usize,
    /// The longest time for which a request over HTTP can wait for a message.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = "1m")]
    #[serde(serialize_with = "as_duration")]
    pub max_wait: Duration,
    /// The key that a publisher over HTTP sends as `Authorization: Bearer KEY`: at least 16 characters. Without it
    /// publishing over HTTP is off. Set it in the environment (TALKBACK_PUBLISH_KEY), because other users of the
    /// machine can see flags.
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_key: Option<ApiKey>,
    /// The key of requests to /admin at the address for operators, as `talkback-server admin` sends it: at least 16
    /// characters. Without it there is no /admin. Set it in the environment (TALKBACK_ADMIN_KEY).
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<ApiKey>,
    /// When the log of a room begins anew, its session members are asked to reconnect after a random time of at most
    /// this.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(..),
        default_value = duration_text(socket().reconnect_spread)
    )]
    #[serde(serialize_with = "as_duration")]
    pub reconnect_spread: Duration,
    /// The time for which a user stays present after its last connection ended, so that a reconnection causes no
    /// presence event.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(..),
        default_value = duration_text(HubOptions::DEFAULT.presence_grace)
    )]
    #[serde(serialize_with = "as_duration")]
    pub presence_grace: Duration,
    /// Where the logs of the rooms are kept: `memory` forgets them when the server stops; `sqlite:PATH` keeps them in this
    /// file, and a message is acknowledged when it is on the disk; `redis://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// `rediss://` for TLS, or `unix:///PATH?db=DATABASE&user=USER&pass=PASSWORD` keeps them in this Redis, and servers with
    /// the same Redis have the same rooms; `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT` keeps them in a Redis Cluster.
    #[arg(long, value_name = "ENGINE", default_value = "memory")]
    pub engine: EngineOption,
    /// The file of --engine sqlite:PATH was restored from a snapshot of its volume: all rooms begin new epochs, and
    /// clients that have later messages than the file are told. Give it for one start. A file that was copied is
    /// recognised without it.
    #[arg(long)]
    pub restored: bool,
    /// What all keys and channels in Redis begin with. Servers with another prefix have other rooms.
    #[arg(long, value_name = "TEXT", value_parser = redis_prefix, default_value = "talkback")]
    pub redis_prefix: String,
    /// How long Redis keeps a room after its last message and its last member. At least the longest of --log-age,
    /// --remember-clients-for and --remember-requests-for, which is what 0s means.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = "0s")]
    #[serde(serialize_with = "as_duration")]
    pub redis_expire: Duration,
    /// The bytes of messages that may wait for the disk or for Redis, of all rooms; further ones are refused with `busy`. Without
    /// effect in memory.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = size_text(WaitingOptions::DEFAULT.bytes))]
    #[serde(serialize_with = "as_size")]
    pub engine_queue_bytes: usize,
    /// The bytes of messages of one room that may wait for the disk or for Redis.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size(1..),
        default_value = size_text(WaitingOptions::DEFAULT.room_bytes)
    )]
    #[serde(serialize_with = "as_size")]
    pub engine_room_queue_bytes: usize,
    /// The maximum number of rooms without members whose log is kept. Beyond it the least recently used one is deleted:
    /// of the young rooms if they are more than a quarter, else of the others.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = memory().rooms)]
    pub log_rooms: usize,
    /// The number of rooms that a client can create at once by publishing; at least --max-session-rooms.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = memory().new_rooms.burst)]
    pub new_rooms_burst: u32,
    /// The rate at which a client can create rooms, per minute on average; 0 is unlimited.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(..), default_value_t = memory().new_rooms.per_minute)]
    pub new_rooms_per_minute: u32,
    /// The number of messages in the log of a room. It must be several times --queue-messages, so that a member that
    /// was too slow finds the messages that it missed.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = memory().messages)]
    pub log_messages: usize,
    /// The bytes of messages in the log of a room. It must be several times --queue-bytes.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = size_text(memory().bytes))]
    #[serde(serialize_with = "as_size")]
    pub log_bytes: usize,
    /// The bytes of messages in the logs of all rooms. Near it the rooms above their share drop their oldest messages,
    /// those without members first.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = size_text(memory().total_bytes))]
    #[serde(serialize_with = "as_size")]
    pub log_total_bytes: usize,
    /// The bytes of its log that a room with members keeps when other rooms need space. It must be several times
    /// --queue-bytes.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(memory().watched_bytes))]
    #[serde(serialize_with = "as_size")]
    pub log_watched_bytes: usize,
    /// The retention time of a message.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(more_than(Duration::ZERO)),
        default_value = duration_text(memory().age)
    )]
    #[serde(serialize_with = "as_duration")]
    pub log_age: Duration,
    /// The number of clients that are remembered, counted once for each of their rooms, so that a resent message is not
    /// appended again. It must be far more than publish within --remember-clients-for: no client is forgotten early,
    /// and further ones are refused for now. The clients of one address (IPv6: one /64) can have an eighth of the free
    /// entries.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = memory().clients)]
    pub remember_clients: usize,
    /// The time for which a client is remembered after its last message. It must be longer than clients resend a
    /// message.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(more_than(Duration::ZERO)),
        default_value = duration_text(memory().client_age)
    )]
    #[serde(serialize_with = "as_duration")]
    pub remember_clients_for: Duration,
    /// The maximum number of messages in flight on one connection, in all its rooms together. The log remembers the
    /// places of as many messages of each client in a room.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = count::<usize>(1..),
        default_value = limits().in_flight.to_string()
    )]
    pub max_in_flight: usize,
    /// The bytes of all that is remembered about clients and Idempotency-Keys. One client can have a sixteenth of the
    /// free bytes, the clients of one address an eighth.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(memory().remembered_bytes))]
    #[serde(serialize_with = "as_size")]
    pub remember_bytes: usize,
    /// The number of Idempotency-Keys of publishers over HTTP that are remembered for one room. Further ones are
    /// answered with 503.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..), default_value_t = memory().requests)]
    pub remember_requests: usize,
    /// The time for which an Idempotency-Key is remembered.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(more_than(Duration::ZERO)),
        default_value = duration_text(memory().request_age)
    )]
    #[serde(serialize_with = "as_duration")]
    pub remember_requests_for: Duration,
    /// The interval between pings to a client; 0s sends none.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(..),
        default_value = duration_text(socket().ping_interval)
    )]
    #[serde(serialize_with = "as_duration")]
    pub ping_interval: Duration,
    /// The timeout for an answer to a ping, after which the client is closed with 4408; it is longer when much was sent
    /// before (--link-rate). More than 0s unless --ping-interval is 0s.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = duration_text(socket().ping_timeout))]
    #[serde(serialize_with = "as_duration")]
    pub ping_timeout: Duration,
    /// The timeout for a client that takes fewer than --min-taken of the bytes that wait for it: its WebSocket is
    /// closed with 4413, a plain HTTP connection is cut. 0s is no timeout.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(..),
        default_value = duration_text(socket().write_timeout)
    )]
    #[serde(serialize_with = "as_duration")]
    pub write_timeout: Duration,
    /// The bytes of those that wait for it that a client must take within --write-timeout; 0 is any. The first of them
    /// are hidden by the system's buffers: with the defaults a link of 2KB a second may stall for 20s, and one that
    /// takes less than 70 bytes a second is closed.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(socket().min_taken))]
    #[serde(serialize_with = "as_size")]
    pub min_taken: usize,
    /// The lowest rate of a client's link in bytes a second: --ping-timeout is extended by the time that such a link
    /// needs for the bytes that were sent before the ping. 0 never extends it.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = size_text(socket().link_rate))]
    #[serde(serialize_with = "as_size")]
    pub link_rate: usize,
    /// The bytes of answers over HTTP in flight to all clients together; an answer that does not fit is replaced by
    /// 503. At least --max-answer-size.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = "64MiB")]
    #[serde(serialize_with = "as_size")]
    pub answer_bytes: usize,
    /// The size of the system's receive buffer of a connection (SO_RCVBUF); 0 leaves it to the system. A connection
    /// with a round trip of 100 ms can receive ten times as much in a second.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = "256KiB")]
    #[serde(serialize_with = "as_size")]
    pub receive_buffer: usize,
    /// The bytes that the system buffers for a connection and has not sent (TCP_NOTSENT_LOWAT, on Linux); 0 leaves it
    /// to the system.
    #[arg(long, value_name = "SIZE", value_parser = size(..), default_value = "64KiB")]
    #[serde(serialize_with = "as_size")]
    pub unsent_bytes: usize,
    /// The timeout of a closing handshake, after which the connection is cut.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration(more_than(Duration::ZERO)),
        default_value = duration_text(socket().close_timeout)
    )]
    #[serde(serialize_with = "as_duration")]
    pub close_timeout: Duration,
    /// The timeout for the head of a request, and for the next request on a connection that is kept alive.
    #[arg(long, value_name = "TIME", value_parser = duration(more_than(Duration::ZERO)), default_value = "10s")]
    #[serde(serialize_with = "as_duration")]
    pub header_timeout: Duration,
    /// The timeout for the body of a request.
    #[arg(long, value_name = "TIME", value_parser = duration(more_than(Duration::ZERO)), default_value = "10s")]
    #[serde(serialize_with = "as_duration")]
    pub body_timeout: Duration,
    /// The longest time for which a plain HTTP connection stays open, with all its requests and answers.
    #[arg(long, value_name = "TIME", value_parser = duration(more_than(Duration::ZERO)), default_value = "5m")]
    #[serde(serialize_with = "as_duration")]
    pub http_lifetime: Duration,
    /// The time between the signal to stop and the end of accepting connections. Meanwhile everything is served, and
    /// /readyz and /healthz answer 503 with `draining`. Set it to what a load balancer needs to notice that: its
    /// interval between checks times the failures that it counts.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = "0s")]
    #[serde(serialize_with = "as_duration")]
    pub drain_delay: Duration,
    /// The time over which a server that stops spreads the closes of its sockets, with 1012 for sessions and 1001 for
    /// others; at most 50ms are between two closes. Clients reconnect at once: choose it longer where others take them
    /// over, and short where this server is restarted in place. What is open --close-timeout after it is cut.
    #[arg(long, value_name = "TIME", value_parser = duration(..), default_value = "1s")]
    #[serde(serialize_with = "as_duration")]
    pub drain_time: Duration,
    /// Let a back end address users and groups: it publishes with --publish-key to /users/NAME/messages, and every session
    /// of that user gets it, on whatever server. This is no privacy: the server does not verify users, so whoever takes
    /// the name gets what is addressed to it. Each user with a session counts as a room of --max-rooms.
    #[arg(long)]
    pub address_users: bool,
    /// Serve /flood, which sends test traffic to every client that asks for it. Not for public servers.
    #[arg(long)]
    pub flood: bool,
    /// The maximum number of messages that one /flood sends.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = 1_000_000)]
    pub flood_messages: u32,
    /// The maximum rate of one /flood in messages a second.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = 1_000_000)]
    pub flood_rate: u32,
    /// The maximum size of a message of /flood.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = "64KiB")]
    #[serde(serialize_with = "as_size")]
    pub flood_message_size: usize,
    /// The maximum number of bytes that one /flood sends.
    #[arg(long, value_name = "SIZE", value_parser = size(1..), default_value = "256MiB")]
    #[serde(serialize_with = "as_size")]
    pub flood_bytes: usize,
    /// The number of threads that serve; 0 is one for each processor.
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(..=MAX_WORKERS), default_value_t = 0)]
    pub workers: usize,
    /// What to log on stderr: a level (error, warn, info, debug, trace, off) or a list of levels by target, such as
    /// info,talkback=debug. talkback=trace shows what each connection does, which costs CPU time while it is on.
    #[arg(long, value_name = "FILTER", value_parser = log_filter, default_value = "info")]
    pub log: String,
    /// The rate of log lines per second for events that clients can cause at will, such as closing; further ones are
    /// counted.
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..), default_value_t = socket().log_rate)]
    pub log_rate: u32,
    /// The format of the log.
    #[arg(long, value_enum, default_value = "human")]
    pub log_format: LogFormat,
}

/// More threads than any machine has processors for.
const MAX_WORKERS: u64 = 1024;

/// How many queues of a member the log of a room should hold.
const QUEUES_IN_LOG: usize = 4;

/// What a line of the protocol uses at most besides its body.
const LINE_OVERHEAD: usize = 1024;

/// What the binary does instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Print the effective settings.
    Check,
    /// Ask a running server: see [`crate::admin`]. It has arguments of its own.
    Admin,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object in each line.
    Json,
}

fn session() -> ServerOptions {
    ServerOptions::default()
}

fn limits() -> Limits {
    session().limits
}

fn socket() -> SocketOptions {
    SocketOptions::default()
}

fn memory() -> MemoryOptions {
    MemoryOptions::default()
}

impl AppOptions {
    /// The settings as TOML, each under its key of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }

    /// Valid settings that do not fit together, each with what to do.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut at_least = |name: &str, set: usize, least: usize, why: &str| {
            if set < least {
                warnings.push(format!("--{name} is {set}: make it at least {least}, {why}"));
            }
        };
        let why = "several times the queue of a member, or members that were too slow do not find what they missed";
        let queues = |queue: usize| queue.saturating_mul(QUEUES_IN_LOG);
        at_least("log-messages", self.log_messages, queues(self.queue_messages), why);
        at_least("log-bytes", self.log_bytes, queues(self.queue_bytes), why);
        at_least(
            "log-watched-bytes",
            self.log_watched_bytes,
            queues(self.queue_bytes),
            why,
        );
        let why = "or a room with members cannot keep --log-watched-bytes";
        let least = self.log_watched_bytes.saturating_mul(2);
        at_least("log-total-bytes", self.log_total_bytes, least, why);
        if self.new_rooms_per_minute > 0 {
            let why = "--max-session-rooms, or a client that comes back after a restart cannot go on in all its rooms";
            let (burst, rooms) = (self.new_rooms_burst, self.max_session_rooms);
            if burst < rooms {
                warnings.push(format!("--new-rooms-burst is {burst}: make it at least {rooms}, {why}"));
            }
        }
        warnings
    }

    /// The options of sockets.
    #[must_use]
    pub fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            origins: OriginPolicy::new(self.allow_origin.clone()),
            max_message_size: self.max_message_size,
            queue_messages: self.queue_messages,
            queue_bytes: self.queue_bytes,
            max_overhead_rate: self.max_overhead_rate,
            write_timeout: self.write_timeout,
            min_taken: self.min_taken,
            link_rate: self.link_rate,
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            close_timeout: self.close_timeout,
            reconnect_spread: self.reconnect_spread,
            log_rate: self.log_rate,
            ..socket()
        }
    }

    /// The options of rooms with members.
    #[must_use]
    pub fn hub_options(&self) -> HubOptions {
        HubOptions {
            rooms: self.max_rooms,
            members_per_room: self.max_room_members,
            listed_users: self.max_listed_users,
            presence_grace: self.presence_grace,
            delivery_rate: self.room_delivery_rate,
            sent_text_bytes: usize::try_from(self.session_options().limits.sent_text_bytes).unwrap_or(usize::MAX),
            ..HubOptions::DEFAULT
        }
    }

    /// The options of sessions.
    #[must_use]
    pub fn session_options(&self) -> ServerOptions {
        let defaults = session();
        let heartbeat = Some(self.ping_interval).filter(|interval| !interval.is_zero());
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        ServerOptions {
            limits: Limits {
                text_bytes: small(self.max_message_size),
                body_bytes: small(self.max_body()),
                body_depth: self.max_body_depth,
                rooms: self.max_session_rooms,
                in_flight: small(self.max_in_flight),
                page: self.max_page,
                lines_per_second: self.session_line_rate,
                lines_burst: self.session_line_burst,
                bytes_per_second: small(self.session_byte_rate),
                bytes_burst: small(self.session_byte_burst),
                ..defaults.limits
            },
            hello_timeout: self.hello_timeout,
            heartbeat: heartbeat.unwrap_or(defaults.heartbeat),
            heartbeat_grace: self.ping_timeout,
            direct: self.address_users,
            ..defaults
        }
    }

    /// The options of the limits of one address.
    pub(crate) fn address_options(&self) -> AddressOptions {
        AddressOptions {
            connections: match self.max_address_connections {
                0 => self.max_connections.div_ceil(8),
                connections => connections,
            },
            connection_rate: self.address_connection_rate,
            delay: self.address_delay,
            request_rate: self.address_request_rate,
            room_rate: self.address_room_rate,
            room_burst: self.address_room_burst,
            reserved_part: AddressOptions::RESERVED_PART,
            remembered: self.remember_addresses,
        }
    }

    /// The size limit of a body: clients could not send a larger one in a line.
    pub(crate) fn max_body(&self) -> usize {
        self.max_body_size
            .min(self.max_message_size.saturating_sub(LINE_OVERHEAD))
    }

    /// Starts the engine that keeps the logs.
    ///
    /// # Errors
    /// [`NotReady`] if it cannot start, with what to do.
    pub fn open_engine(&self) -> Result<Arc<dyn Engine>, NotReady> {
        Ok(match &self.engine {
            EngineOption::Memory => Arc::new(Memory::new(self.memory_options())),
            EngineOption::Sqlite(path) => Arc::new(Sqlite::open(self.sqlite_options(path))?),
            #[cfg(feature = "redis")]
            EngineOption::Redis(url) => Arc::new(Redis::open(self.redis_options(url))?),
        })
    }

    fn sqlite_options(&self, path: &Path) -> SqliteOptions {
        let defaults = SqliteOptions::new(path);
        SqliteOptions {
            restored: self.restored,
            log: self.memory_options(),
            waiting: WaitingOptions {
                bytes: self.engine_queue_bytes,
                room_bytes: self.engine_room_queue_bytes,
                ..defaults.waiting
            },
            ..defaults
        }
    }

    #[cfg(feature = "redis")]
    fn redis_options(&self, url: &RedisUrl) -> RedisOptions {
        let defaults = RedisOptions::new(url.clone());
        RedisOptions {
            prefix: self.redis_prefix.clone(),
            expire: self.redis_expire,
            log: self.memory_options(),
            waiting: WaitingOptions {
                bytes: self.engine_queue_bytes,
                room_bytes: self.engine_room_queue_bytes,
                ..defaults.waiting
            },
            ..defaults
        }
    }

    /// The options of the logs in memory, which those in a file have too.
    #[must_use]
    pub fn memory_options(&self) -> MemoryOptions {
        let defaults = memory();
        MemoryOptions {
            rooms: self.log_rooms,
            // One for each room with members and one for each request that waits.
            watches: self.max_rooms.saturating_add(self.max_connections),
            new_rooms: NewRoomOptions {
                burst: self.new_rooms_burst,
                per_minute: self.new_rooms_per_minute,
                ..defaults.new_rooms
            },
            messages: self.log_messages,
            bytes: self.log_bytes,
            total_bytes: self.log_total_bytes,
            watched_bytes: self.log_watched_bytes,
            age: self.log_age,
            clients: self.remember_clients,
            client_messages: self.max_in_flight,
            client_age: self.remember_clients_for,
            requests: self.remember_requests,
            request_age: self.remember_requests_for,
            remembered_bytes: self.remember_bytes,
            ..defaults
        }
    }
}

/// The defaults, independent of the environment.
impl Default for AppOptions {
    fn default() -> Self {
        Self::parse_from(["talkback-server"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_each_parts_own_options() {
        let options = AppOptions::default();
        let same = |ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            assert_eq!(format!("{ours:#?}"), format!("{theirs:#?}"));
        };
        let ours = options.session_options();
        // Addresses of functions cannot be compared.
        let check_room = ours.check_room;
        same(
            &ours,
            &ServerOptions {
                check_room,
                ..session()
            },
        );
        same(&options.socket_options(), &socket());
        same(&options.hub_options(), &HubOptions::default());
        let ours = options.memory_options();
        // `watches` depends on two other settings.
        let watches = ours.watches;
        same(&ours, &MemoryOptions { watches, ..memory() });
        #[cfg(feature = "redis")]
        {
            let url: RedisUrl = "redis://localhost".parse().unwrap();
            let ours = options.redis_options(&url);
            let log = ours.log.clone();
            same(
                &ours,
                &RedisOptions {
                    log,
                    ..RedisOptions::new(url)
                },
            );
        }
    }

    #[test]
    fn the_documents_have_the_same_defaults() {
        const PROTOCOL: &str = include_str!("../../docs/protocol.md");
        let options = AppOptions::default();
        let remembered = format!(
            "client for {} s (`remember_clients_for`)",
            options.remember_clients_for.as_secs()
        );
        assert!(PROTOCOL.contains(&remembered), "{remembered}");
        let limits = serde_json::to_value(options.session_options().limits).unwrap();
        let mut compared = 0;
        for (name, default) in rows(PROTOCOL) {
            if let Some(field) = name.strip_prefix("limits.") {
                assert_eq!(limits[field].to_string(), default, "{name}");
                compared += 1;
            }
        }
        assert_eq!(compared, limits.as_object().unwrap().len());

        let mut documented = 0;
        let table = options.to_toml().parse::<toml::Table>().unwrap();
        for (name, default) in rows(include_str!("../../README.md")) {
            if let Some(key) = name.strip_prefix("--") {
                let value = &table[key];
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(default.trim_matches('`'), text, "{name}");
                documented += 1;
            }
        }
        assert!(documented >= 6, "{documented} options in the README");
    }

    /// The first two cells of each row whose first cell is code.
    fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        })
    }

    #[test]
    fn a_log_smaller_than_several_queues_has_a_warning_and_the_defaults_have_none() {
        let default = AppOptions::default();
        assert_eq!(default.warnings(), [""; 0]);
        let options = default.memory_options();
        let sockets = default.socket_options();
        assert!(options.messages >= 4 * sockets.queue_messages);
        assert!(options.bytes.min(options.watched_bytes) >= 4 * sockets.queue_bytes);
        for (options, name) in [
            (
                AppOptions {
                    log_messages: 4095,
                    ..default.clone()
                },
                "--log-messages is 4095: make it at least 4096",
            ),
            (
                AppOptions {
                    queue_bytes: 3 << 20,
                    ..default.clone()
                },
                "--log-bytes is 8388608: make it at least 12582912",
            ),
            (
                AppOptions {
                    log_watched_bytes: 1,
                    ..default.clone()
                },
                "--log-watched-bytes is 1: make it at least 4194304",
            ),
            (
                AppOptions {
                    log_total_bytes: 1 << 20,
                    ..default.clone()
                },
                "--log-total-bytes is 1048576",
            ),
            (
                AppOptions {
                    new_rooms_burst: 63,
                    ..default.clone()
                },
                "--new-rooms-burst is 63: make it at least 64",
            ),
        ] {
            let warnings = options.warnings();
            assert!(warnings[0].starts_with(name), "{warnings:?}");
        }
    }
}
