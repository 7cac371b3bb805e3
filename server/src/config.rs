//! The configuration: flags, then `TALKBACK_*` environment variables, then a TOML file, then defaults.
//!
//! One struct declares every setting once. Its name as a flag (`--max-rooms`), in the environment (`TALKBACK_MAX_ROOMS`) and in the file
//! (`max-rooms`) is the same. What a file says becomes the default of the flag, which gives the order of precedence for free.

mod check;
mod sources;
mod units;

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use serde::Serialize;
use talkback_protocol::{message::Limits, session::server::ServerOptions};

use crate::{
    connection,
    engine::{MemoryOptions, NewRoomOptions},
    http::{
        chat::ChatOptions,
        flood::FloodOptions,
        rooms::{PublishKey, RoomsOptions},
    },
    hub::HubOptions,
    limits::AddressOptions,
    origin::{HostPattern, OriginPattern, OriginPolicy},
    rate::Rate,
    socket::SocketOptions,
};

pub use sources::ConfigError;
use units::{duration, parse_duration, parse_size, size};

/// A WebSocket echo and group chat server.
///
/// Every option can also be set in the environment (TALKBACK_MAX_ROOMS for --max-rooms) and in a TOML file (max-rooms = 10). Flags win
/// over the environment, the environment over the file.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "talkback-server", version)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// `check` prints the configuration that would be used, as TOML, and complains about unknown keys; without it the server runs.
    #[arg(value_enum)]
    #[serde(skip)]
    pub action: Option<Action>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one. The first line on stdout says which.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: String,
    /// Where to listen for those who run the server: /healthz with all counters. Without it nobody sees them; the public /healthz only
    /// says whether the server is up. The second line on stdout says where.
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations_listen: Option<String>,
    /// The directory of the built page.
    #[arg(long, value_name = "DIR", default_value = "dist")]
    pub assets: PathBuf,
    /// Pages from here may connect too, besides those from the server's own host: https://*.example.com, http://localhost:*. May be
    /// repeated or separated by commas; * stands for any scheme, one label or any port.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<OriginPattern>,
    /// Names under which the server is reached: chat.example.com, *.example.com, example.com:8443. May be repeated or separated by commas.
    /// One label may be *, and * alone is any name; without a port any port is meant. Requests for other names are answered with 421.
    /// Loopback names (localhost, 127.0.0.1, ::1) are always taken. Without this option a server that listens on a loopback address takes
    /// nothing else, so that no foreign page reaches it by a name that it points there, and any other server takes every name.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub allow_host: Vec<HostPattern>,
    /// Proxies in front of the server, as networks: 10.0.0.0/8, 127.0.0.1/32. May be repeated or separated by commas. From these alone
    /// --proxy-header and X-Forwarded-Proto are believed.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub trust_proxy: Vec<IpNet>,
    /// The header in which a trusted proxy writes the client's address, alone or as the last of a list, such as X-Forwarded-For or
    /// X-Real-IP.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for")]
    pub proxy_header: String,
    /// The largest message that a client may send; a larger one closes its socket with 1009.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub max_message_size: usize,
    /// How many messages may wait for a client that reads slowly. A chat member over it is closed with 4413.
    #[arg(long, value_name = "COUNT", default_value = "1024")]
    pub queue_messages: usize,
    /// How many bytes may wait for a client that reads slowly. A chat member over it is closed with 4413.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub queue_bytes: usize,
    /// How many connections may be open; more are answered with 503. It is lowered when the system allows fewer open files.
    #[arg(long, value_name = "COUNT", default_value = "65536")]
    pub max_connections: usize,
    /// How many connections may come in a second, as many at once; more are answered with 503. A quarter is kept for addresses that have
    /// not come often just now. 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "2000")]
    pub max_connection_rate: u32,
    /// How many connections one address (of IPv6: one /64) may have open while the server is over half full; more are answered with 429.
    /// 0 is an eighth of --max-connections.
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub max_address_connections: usize,
    /// How many connections may come from one address in a second, as many at once; more wait for their turn. 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "500")]
    pub address_connection_rate: u32,
    /// How long a connection may wait for its turn; one that would wait longer is answered with 429.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub address_delay: Duration,
    /// How many requests without --publish-key may come from one address in a second, as many at once, the first of each connection not
    /// counted; more are answered with 429. 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "500")]
    pub address_request_rate: u32,
    /// How many new rooms the clients of one address may begin in a second on average. 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "10")]
    pub address_room_rate: u32,
    /// How many new rooms the clients of one address may begin at once.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub address_room_burst: u32,
    /// How many addresses are remembered with what they used up of these rates; beyond it the one that was not seen for longest begins
    /// anew.
    #[arg(long, value_name = "COUNT", default_value = "65536")]
    pub remember_addresses: NonZeroUsize,
    /// How many rooms may have members. Whoever would begin one more is refused: a plain chat member is closed with 4429, a session is
    /// answered with `error` of code `busy` for that room.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    pub max_rooms: usize,
    /// How many members a room may have. One more is refused: a plain chat member is closed with 4429, a session is answered with
    /// `error` of code `room_full`.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    pub max_room_members: usize,
    /// Up to how many users of a room sessions are told who they are; of more they are told only how many, until there are at most three
    /// quarters of this.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub max_listed_users: usize,
    /// How many rooms one session may have joined.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    pub max_session_rooms: u32,
    /// The largest message body (as JSON) that a session or a publisher over HTTP may send; it must fit into --max-message-size with
    /// 1KiB to spare.
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub max_body_size: usize,
    /// How deep arrays and objects may be nested in a message body.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    pub max_body_depth: u32,
    /// How many lines a second a session may send, or messages a plain chat member, on average; beyond it they are read later; 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "500")]
    pub session_line_rate: u32,
    /// How many lines a session may send at once, or messages a plain chat member.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub session_line_burst: u32,
    /// How many bytes of messages a second a session or a plain chat member may send on average; 0 is any number. Beyond it, its
    /// messages are read later.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub session_byte_rate: usize,
    /// How many bytes of messages a session or a plain chat member may send at once.
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub session_byte_burst: usize,
    /// How many bytes of messages a second may be delivered in one room, to all its members together; as much at once. Beyond it, and
    /// while deliveries are late, what its senders send is read later. 0 is any number.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub room_delivery_rate: usize,
    /// How many control frames, fragments and empty messages a second a WebSocket client may send, twice as many at once; beyond it
    /// its socket is closed with 4429. 0 is any number. /echo takes any number, a share at a time.
    #[arg(long, value_name = "COUNT", default_value = "5000")]
    pub max_overhead_rate: u32,
    /// How long a client may take to say hello on a new session.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub hello_timeout: Duration,
    /// How many messages one page of history or one answer over HTTP has.
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub max_page: u32,
    /// How many bytes the messages of one answer over HTTP have; one message is answered however large it is.
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub max_answer_size: usize,
    /// How long a request over HTTP may wait for a message.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub max_wait: Duration,
    /// What a publisher over HTTP must send as `Authorization: Bearer KEY`: at least 16 characters. Without it nobody may publish over
    /// HTTP. Rather set it in the environment (TALKBACK_PUBLISH_KEY), where other users of the machine do not see it.
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_key: Option<PublishKey>,
    /// When the server stops, over what time its sessions are asked to come back, each at a random moment.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub reconnect_spread: Duration,
    /// How long a user whose last connection ended still counts as present, so that a reconnect is not told to the room.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub presence_grace: Duration,
    /// How many rooms that nobody is in keep messages. Beyond it one of them is forgotten, a young one if more than a quarter are young;
    /// of its kind the one that was not used for longest.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    pub log_rooms: usize,
    /// How many rooms a client may make at once by publishing; at least as many as --max-session-rooms.
    #[arg(long, value_name = "COUNT", default_value = "128")]
    pub new_rooms_burst: u32,
    /// How many rooms a client may make in a minute on average; 0 is any number.
    #[arg(long, value_name = "COUNT", default_value = "30")]
    pub new_rooms_per_minute: u32,
    /// How many messages a room keeps. It must be several times --queue-messages, so that a member that was too slow finds what it
    /// missed.
    #[arg(long, value_name = "COUNT", default_value = "8192")]
    pub log_messages: usize,
    /// How many bytes of messages a room keeps. It must be several times --queue-bytes.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub log_bytes: usize,
    /// How many bytes of messages all rooms keep together. Near it, rooms that hold more than their share drop their oldest messages,
    /// those first that nobody is in.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub log_total_bytes: usize,
    /// How many of its bytes a room with members does not lose to other rooms. It must be several times --queue-bytes.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub log_watched_bytes: usize,
    /// How long a message is kept.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub log_age: Duration,
    /// How many clients are remembered, each once for each of its rooms, so that a message that one sends again is not added again. It must
    /// be far more than publish within --remember-clients-for: nobody is forgotten early, and further ones are refused for now. The clients
    /// of one address (of IPv6: one /64) may have an eighth of what is free.
    #[arg(long, value_name = "COUNT", default_value = "100000")]
    pub remember_clients: usize,
    /// How long a client is remembered after its last message. It must be longer than clients try to send a message again.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub remember_clients_for: Duration,
    /// How many messages of one connection may be on the way, over all its rooms. As many are remembered of each client in a room with
    /// their places.
    #[arg(long, value_name = "COUNT", default_value = "128")]
    pub max_in_flight: usize,
    /// How many bytes are kept of what is remembered about clients and Idempotency-Keys. A client may have a sixteenth of what is free,
    /// the clients of one address an eighth.
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub remember_bytes: usize,
    /// How many Idempotency-Keys of publishers over HTTP are remembered for one room. Further ones are answered with 503.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    pub remember_requests: usize,
    /// How long an Idempotency-Key is remembered.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub remember_requests_for: Duration,
    /// The time between two pings to a client; 0s sends none.
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long a client may be silent after a ping before it is closed with 4408; longer when much was sent before (--link-rate).
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub ping_timeout: Duration,
    /// How long bytes may wait for a client that takes fewer than --min-taken of them: then its WebSocket is closed with 4413, a plain HTTP
    /// connection is cut. 0s waits for ever.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    #[serde(serialize_with = "duration")]
    pub write_timeout: Duration,
    /// How many of the bytes that wait for it a client must take in --write-timeout; 0 is any. What the system holds hides the first of them:
    /// with the defaults a link of 2KB a second may stall for 20s, and one that takes less than 70 bytes a second is given up.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub min_taken: usize,
    /// How slow a client's link may be, in bytes a second: after much was sent, the answer to a ping is waited for as much longer than
    /// --ping-timeout as such a link needs for it. 0 never waits longer.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub link_rate: usize,
    /// How many bytes of answers over HTTP may be under way to all clients together; what does not fit is answered with 503.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub answer_bytes: usize,
    /// How many bytes the system may hold that came from one connection and were not read (SO_RCVBUF); 0 leaves it to the system. A
    /// connection with a round trip of 100 ms can send ten times as much in a second.
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub receive_buffer: usize,
    /// How many bytes the system may hold for one connection besides those that are on their way (TCP_NOTSENT_LOWAT, on Linux); 0 leaves
    /// it to the system.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub unsent_bytes: usize,
    /// How long a closing handshake may take before the connection is cut.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub close_timeout: Duration,
    /// How long a client may take to send the head of a request, and to rest between two requests.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long a plain HTTP connection may stay open, all its requests and answers included.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub http_lifetime: Duration,
    /// How long stopping may take: sockets are closed with 1001 and waited for; what is left then is cut.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "duration")]
    pub drain: Duration,
    /// Serve /flood, which sends test traffic to whoever asks for it. Not for servers that strangers reach.
    #[arg(long)]
    pub flood: bool,
    /// How many messages one /flood sends at most.
    #[arg(long, value_name = "COUNT", default_value = "1000000")]
    pub flood_messages: u32,
    /// How many messages a second one /flood sends at most.
    #[arg(long, value_name = "COUNT", default_value = "1000000")]
    pub flood_rate: u32,
    /// How large a message of /flood is at most.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub flood_message_size: usize,
    /// How many bytes one /flood sends at most.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    #[serde(serialize_with = "size")]
    pub flood_bytes: usize,
    /// Threads that serve; 0 is one for each processor.
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub workers: usize,
    /// What to log on stderr: error, warn, info, debug, trace, or a list such as info,talkback_server=debug.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How many lines a second the log has for what clients can repeat at will, such as closing; the others are counted.
    #[arg(long, value_name = "COUNT", default_value = "20")]
    pub log_rate: u32,
    /// How to write logs.
    #[arg(long, value_enum, default_value = "human")]
    pub log_format: LogFormat,
}

/// How many queues of a member the log of a room should hold.
const QUEUES_IN_LOG: usize = 4;

/// What the binary does instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Print the effective configuration.
    Check,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Whether a server can run with these settings; [`load`](Self::load) has looked already.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the first setting that cannot be meant, and its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::check(self)
    }

    /// The settings as TOML, each under the name that a file gives it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }

    /// Settings that are taken but do not go well together, each with what to do.
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

    /// The rules for sockets.
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
            ..SocketOptions::default()
        }
    }

    /// Bounds and times of rooms with members.
    #[must_use]
    pub fn hub_options(&self) -> HubOptions {
        HubOptions {
            rooms: self.max_rooms,
            members_per_room: self.max_room_members,
            listed_users: self.max_listed_users,
            presence_grace: self.presence_grace,
            delivery_rate: self.room_delivery_rate,
            sent_text_bytes: usize::try_from(self.session_config().limits.sent_text_bytes).unwrap_or(usize::MAX),
            ..HubOptions::default()
        }
    }

    /// Bounds of plain chat.
    pub(crate) fn chat_options(&self) -> ChatOptions {
        let amount = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        ChatOptions {
            max_body: self.max_body(),
            lines: Rate::new(self.session_line_rate.into(), self.session_line_burst.into()),
            bytes: Rate::new(amount(self.session_byte_rate), amount(self.session_byte_burst)),
            remembered: self.hub_options().allowances,
        }
    }

    /// Times and bounds of sessions.
    #[must_use]
    pub fn session_config(&self) -> ServerOptions {
        let defaults = ServerOptions::default();
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
            check_room: connection::check_room,
            ..defaults
        }
    }

    /// Bounds of rooms over HTTP.
    pub(crate) fn rooms_options(&self) -> RoomsOptions {
        RoomsOptions {
            publish_key: self.publish_key.clone(),
            max_body: self.max_body(),
            max_depth: usize::try_from(self.max_body_depth).unwrap_or(usize::MAX),
            max_page: usize::try_from(self.max_page).unwrap_or(usize::MAX),
            max_answer: self.max_answer_size,
            max_wait: self.max_wait,
            body_timeout: self.body_timeout,
        }
    }

    /// Bounds of `/flood`; `None` when it is not served.
    pub(crate) fn flood_options(&self) -> Option<FloodOptions> {
        self.flood.then_some(FloodOptions {
            messages: self.flood_messages,
            rate: self.flood_rate,
            message_size: self.flood_message_size,
            bytes: self.flood_bytes,
        })
    }

    /// What one address may have.
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

    /// A body that no frame can carry would be promised in vain.
    fn max_body(&self) -> usize {
        self.max_body_size.min(self.max_message_size.saturating_sub(1024))
    }

    /// What the log keeps.
    #[must_use]
    pub fn memory_options(&self) -> MemoryOptions {
        let defaults = MemoryOptions::default();
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

/// The built-in defaults, whatever the environment says.
impl Default for Config {
    fn default() -> Self {
        Self::parse_from(["talkback-server"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_protocol() {
        let limits = Config::default().session_config().limits;
        assert_eq!(limits, ServerOptions::default().limits);
    }

    #[test]
    fn a_log_that_is_not_several_times_a_queue_is_warned_of_and_the_defaults_are() {
        let default = Config::default();
        assert_eq!(default.warnings(), [""; 0]);
        let options = default.memory_options();
        let sockets = default.socket_options();
        assert!(options.messages >= 4 * sockets.queue_messages);
        assert!(options.bytes.min(options.watched_bytes) >= 4 * sockets.queue_bytes);
        for (config, name) in [
            (
                Config {
                    log_messages: 4095,
                    ..default.clone()
                },
                "--log-messages is 4095: make it at least 4096",
            ),
            (
                Config {
                    queue_bytes: 3 << 20,
                    ..default.clone()
                },
                "--log-bytes is 8388608: make it at least 12582912",
            ),
            (
                Config {
                    log_watched_bytes: 1,
                    ..default.clone()
                },
                "--log-watched-bytes is 1: make it at least 4194304",
            ),
            (
                Config {
                    log_total_bytes: 1 << 20,
                    ..default.clone()
                },
                "--log-total-bytes is 1048576",
            ),
            (
                Config {
                    new_rooms_burst: 63,
                    ..default.clone()
                },
                "--new-rooms-burst is 63: make it at least 64",
            ),
        ] {
            let warnings = config.warnings();
            assert!(warnings[0].starts_with(name), "{warnings:?}");
        }
    }
}
