use std::{fmt, str::FromStr, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult};
use serde::{Serialize, Serializer};

use super::super::{MemoryOptions, WaitingOptions};

/// Where a Redis is, with its user and password: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or
/// `unix:///PATH?db=DATABASE&user=USER&pass=PASSWORD`; or where some nodes of a Redis Cluster are:
/// `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`. `Debug`, `Display` and `check` do not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// With what the scheme of a cluster ends.
const CLUSTER: &str = "+cluster";

impl RedisUrl {
    pub(super) fn is_cluster(&self) -> bool {
        self.parts().0.ends_with(CLUSTER)
    }

    /// How to connect to the Redis, or to the nodes that are named of a cluster.
    pub(super) fn infos(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let (scheme, place) = self.parts();
        let Some(scheme) = scheme.strip_suffix(CLUSTER) else {
            return Ok(vec![self.0.as_str().into_connection_info()?]);
        };
        let (identity, hosts) = identity(place);
        let identity = identity.map_or_else(String::new, |identity| format!("{identity}@"));
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let url = |host| format!("{scheme}://{identity}{host}").into_connection_info();
        hosts.split(',').map(url).collect()
    }

    /// The scheme, and the rest.
    fn parts(&self) -> (&str, &str) {
        self.0.split_once("://").unwrap_or(("redis", &self.0))
    }
}

/// User and password, and where it is.
fn identity(place: &str) -> (Option<&str>, &str) {
    // The last @: one in a password need not be escaped.
    place
        .rsplit_once('@')
        .map_or((None, place), |(identity, hosts)| (Some(identity), hosts))
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let url = Self(url.to_owned());
        // A cluster has one database, and nodes that are reached by TCP.
        let is_possible = |info: &ConnectionInfo| {
            let is_tcp = !matches!(info.addr(), ConnectionAddr::Unix(_));
            !url.is_cluster() || info.redis_settings().db() == 0 && is_tcp
        };
        // The text of an error may repeat the URL, which has a password.
        match url.infos() {
            Ok(infos) if infos.iter().all(is_possible) => Ok(url),
            _ => Err(
                "write redis://HOST:PORT, redis://USER:PASSWORD@HOST:PORT/DATABASE, unix:///PATH or \
                      redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECRET: &str = "(secret)";
        let (scheme, rest) = self.parts();
        let (place, query) = rest
            .split_once('?')
            .map_or((rest, None), |(place, query)| (place, Some(query)));
        match identity(place) {
            (Some(identity), host) => {
                let user = identity.split(':').next().unwrap_or_default();
                let password = if identity.contains(':') { ":" } else { "" };
                let secret = if password.is_empty() { "" } else { SECRET };
                write!(f, "{scheme}://{user}{password}{secret}@{host}")?;
            }
            (None, place) => write!(f, "{scheme}://{place}")?,
        }
        for (index, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some(("pass", _)) => write!(f, "pass={SECRET}")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the Redis engine keeps the logs, what it keeps at most, and for how long.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The Redis, or the cluster.
    pub url: RedisUrl,
    /// With what all keys and channels begin. Servers with the same prefix have the same rooms.
    pub prefix: String,
    /// How long a room is kept after its last message and its last member, at least as long as messages, clients and
    /// requests.
    pub expire: Duration,
    /// What is kept of rooms, messages, clients and requests, as in memory. Not used, because the memory of Redis has a
    /// bound of its own (`maxmemory`): `rooms`, `total_bytes`, `watched_bytes`, `clients`, `requests`,
    /// `remembered_bytes` and what belongs to them.
    pub log: MemoryOptions,
    /// Messages that wait for Redis.
    pub waiting: WaitingOptions,
    /// The most messages that are sent in one go.
    pub group_messages: usize,
    /// How many such groups may be without an answer.
    pub groups: usize,
    /// Signals that wait to be sent to other servers. Further ones are dropped.
    pub signals: usize,
    /// Reads without an answer. Further ones are refused, to be retried.
    pub reads: usize,
    /// The most messages of one read.
    pub read_messages: usize,
    /// Rooms of which this server remembers that they exist.
    pub known_rooms: usize,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// The longest pause between two attempts to connect.
    pub reconnect_pause: Duration,
    /// How often the connections are probed, by a message from this server to itself.
    pub probe_interval: Duration,
    /// How long a probe may take. Then the connections are replaced.
    pub probe_timeout: Duration,
    /// A server that is not heard for so long is dead, and its users are gone. Servers are heard in each
    /// `probe_interval`.
    pub server_timeout: Duration,
    /// The most users of a room that a server tells others.
    pub present_users: usize,
    /// How often the end of each watched log is compared with what arrived, and the users of each room are told again.
    pub check_interval: Duration,
}

impl RedisOptions {
    /// The default of `prefix`.
    pub(crate) const PREFIX: &str = "talkback";

    /// The defaults, with this Redis.
    #[must_use]
    pub fn new(url: RedisUrl) -> Self {
        Self {
            url,
            prefix: Self::PREFIX.to_owned(),
            expire: Duration::ZERO,
            log: MemoryOptions::DEFAULT,
            waiting: WaitingOptions::DEFAULT,
            group_messages: 512,
            groups: 4,
            signals: 1024,
            reads: 65_536,
            read_messages: 4096,
            known_rooms: 65_536,
            connect_timeout: Duration::from_secs(5),
            reconnect_pause: Duration::from_secs(2),
            probe_interval: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(5),
            server_timeout: Duration::from_secs(6),
            present_users: 10_000,
            check_interval: Duration::from_secs(20),
        }
    }

    /// How long a room is kept after its last use.
    pub(super) fn idle(&self) -> Duration {
        let log = &self.log;
        self.expire.max(log.age).max(log.client_age).max(log.request_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost"),
            (
                "redis://:hunter2@localhost:6380/1",
                "redis://:(secret)@localhost:6380/1",
            ),
            ("redis://ann:hun@ter2@localhost", "redis://ann:(secret)@localhost"),
            (
                "unix:///run/redis?db=1&user=ann&pass=hunter2",
                "unix:///run/redis?db=1&user=ann&pass=(secret)",
            ),
            (
                "redis+cluster://ann:hunter2@a:7000,b:7001",
                "redis+cluster://ann:(secret)@a:7000,b:7001",
            ),
        ] {
            let parsed: RedisUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert!(!format!("{parsed:?}").contains("ter2"));
            assert_eq!(parsed.0, url);
        }
        for url in [
            "redis://",
            "redis://:hunter2@localhost:port",
            "redis+cluster://:hunter2@",
            "redis+cluster://:hunter2@a:1,b:port",
            "redis+cluster://:hunter2@a:1,b:2/1",
            "unix+cluster:///hunter2",
        ] {
            let error = url.parse::<RedisUrl>().unwrap_err();
            assert!(
                error.contains("redis://HOST") && !error.contains("hunter2"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn the_url_of_a_cluster_names_nodes_with_one_user_and_password() {
        let url: RedisUrl = "redis+cluster://ann:hun@ter2@a:7000,10.0.0.1,[::1]:7002/"
            .parse()
            .unwrap();
        let infos = url.infos().unwrap();
        let places: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
        assert!(url.is_cluster());
        assert_eq!(places.len(), 3, "{places:?}");
        assert_eq!(places[..2], ["a:7000", "10.0.0.1:6379"]);
        for info in &infos {
            let settings = info.redis_settings();
            assert_eq!(
                (settings.username(), settings.password()),
                (Some("ann"), Some("hun@ter2"))
            );
        }
        assert!(!"redis://a".parse::<RedisUrl>().unwrap().is_cluster());
    }
}
