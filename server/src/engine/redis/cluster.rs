//! The map of a Redis Cluster: which master has which slots.
//!
//! The cluster client of the crate `redis` is not used: it hides which process answers, and a log is bound to the life of
//! the data of one process.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;

use super::{
    super::NotReady,
    RedisOptions, Shared,
    link::{self, ConnectError},
    nodes::Node,
    wire::{Keys, PARTS},
};

const SLOTS: usize = 16_384;
/// Nodes that are asked for the map at once.
const ASKED_AT_ONCE: usize = 8;
/// How long nodes that have not answered are awaited when another one has.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest time between two looks at the map.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// How often the map is read while a master does not answer.
const WHILE_AWAY: Duration = Duration::from_millis(250);

/// The slot of a key: the hash of what is between its first braces.
pub(super) fn slot(key: &str) -> usize {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    // CRC-16 as in XMODEM.
    let crc = hashed.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    usize::from(crc) % SLOTS
}

/// Where a node of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What one node says of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    claims: Vec<Claim>,
    known: Vec<Address>,
}

/// A master has these slots, and has had them since this configuration of the cluster.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    first: usize,
    last: usize,
    master: Address,
    since: u64,
}

impl View {
    /// Reads an answer to `CLUSTER NODES` of the node at this address.
    fn parse(text: &str, asked: &Address) -> Self {
        let mut view = Self::default();
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, place, flags, _, _, _, since, _, slots @ ..] = &words[..] else {
                continue;
            };
            let has = |name: &str| flags.split(',').any(|flag| flag == name);
            if has("noaddr") || has("handshake") {
                continue;
            }
            let Some(address) = address(place, asked) else { continue };
            view.known.push(address.clone());
            let Some(since) = since.parse().ok().filter(|_| has("master")) else {
                continue;
            };
            // What is in brackets is being moved, and belongs to its master till then.
            for slots in slots.iter().filter(|slots| !slots.starts_with('[')) {
                let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
                let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else {
                    continue;
                };
                view.claims.push(Claim {
                    first,
                    last,
                    master: address.clone(),
                    since,
                });
            }
        }
        view
    }
}

/// Reads `HOST:PORT@BUS,NAME`: the name of the host if it has one, and the asked node's own one if it knows none.
fn address(place: &str, asked: &Address) -> Option<Address> {
    let mut fields = place.split(',');
    let (place, name) = (fields.next()?, fields.next().filter(|name| !name.is_empty()));
    let place = place.split_once('@').map_or(place, |(place, _)| place);
    let (host, port) = place.rsplit_once(':')?;
    let host = name.unwrap_or(host);
    Some(Address {
        host: if host.is_empty() {
            asked.host.clone()
        } else {
            host.to_owned()
        },
        port: port.parse().ok().filter(|port| *port != 0)?,
    })
}

/// The master of each part of the rooms.
#[derive(Debug)]
pub(super) struct Map {
    by_part: Vec<Option<Address>>,
    /// A slot of rooms that no master has.
    gap: Option<usize>,
}

impl Map {
    /// Of several masters that claim a slot, one that was cut off among them, the one of the newest configuration has it:
    /// so the nodes themselves decide too.
    fn of(views: &[View], keys: &Keys) -> Self {
        let mut owners: Vec<Option<&Claim>> = vec![None; SLOTS];
        for claim in views.iter().flat_map(|view| &view.claims) {
            for owner in owners.iter_mut().take(claim.last + 1).skip(claim.first) {
                if owner.is_none_or(|other| other.since < claim.since) {
                    *owner = Some(claim);
                }
            }
        }
        let slots: Vec<_> = (0..PARTS).map(|part| slot(&keys.tag(part))).collect();
        Self {
            by_part: slots
                .iter()
                .map(|slot| owners[*slot].map(|claim| claim.master.clone()))
                .collect(),
            gap: slots.into_iter().find(|slot| owners[*slot].is_none()),
        }
    }

    pub(super) fn masters(&self) -> BTreeSet<&Address> {
        self.by_part.iter().flatten().collect()
    }
}

/// Asks the nodes of a cluster for its map.
pub(super) struct Surveyor {
    /// The nodes that the URL names.
    seeds: Vec<(Address, ConnectionInfo)>,
    /// Those that the nodes have named.
    known: BTreeSet<Address>,
    connections: HashMap<Address, MultiplexedConnection>,
}

impl Surveyor {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, NotReady> {
        let mut seeds = Vec::new();
        for info in link::infos(options)? {
            let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = info.addr() else {
                let why = format!("--engine {}: the nodes of a cluster are reached by TCP", options.url);
                return Err(NotReady(why));
            };
            let address = Address {
                host: host.clone(),
                port: *port,
            };
            seeds.push((address, info));
        }
        Ok(Self {
            seeds,
            known: BTreeSet::new(),
            connections: HashMap::new(),
        })
    }

    /// A client for a node, with the user and the password of the URL.
    pub(super) fn client(&self, address: &Address) -> Result<Client, ConnectError> {
        let Address { host, port } = address.clone();
        let unknown = || NotReady("the URL of the cluster names no node".to_owned());
        let (_, like) = self.seeds.first().ok_or_else(|| ConnectError::Refused(unknown()))?;
        let place = match like.addr() {
            ConnectionAddr::TcpTls {
                insecure, tls_params, ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => ConnectionAddr::Tcp(host, port),
            _ => return Err(ConnectError::Refused(unknown())),
        };
        Client::open(like.clone().set_addr(place))
            .map_err(|error| ConnectError::from_redis(&address.to_string(), &error))
    }

    /// The map, by what some nodes say.
    ///
    /// # Errors
    /// None of them answers, or the URL is wrong.
    pub(super) async fn survey(&mut self, options: &RedisOptions, keys: &Keys) -> Result<Map, ConnectError> {
        let mut addresses: Vec<_> = self.known.iter().cloned().collect();
        fastrand::shuffle(&mut addresses);
        addresses.truncate(ASKED_AT_ONCE);
        let mut views = self.ask(options, &addresses).await;
        if !views.iter().any(Result::is_ok) {
            let seeds: Vec<_> = self.seeds.iter().map(|(address, _)| address.clone()).collect();
            views = self.ask(options, &seeds).await;
        }
        let (mut seen, mut error) = (Vec::new(), None);
        for view in views {
            match view {
                Ok(view) => seen.push(view),
                Err(refused @ ConnectError::Refused(_)) => error = Some(refused),
                Err(away) => error = Some(error.unwrap_or(away)),
            }
        }
        if seen.is_empty() {
            let late = || {
                let timeout = options.connect_timeout;
                let why = format!("no node of {} has answered within {timeout:?}", options.url);
                ConnectError::Away(NotReady(why))
            };
            return Err(error.unwrap_or_else(late));
        }
        self.known = seen.iter().flat_map(|view| view.known.iter().cloned()).collect();
        self.connections.retain(|address, _| self.known.contains(address));
        Ok(Map::of(&seen, keys))
    }

    async fn ask(&mut self, options: &RedisOptions, addresses: &[Address]) -> Vec<Result<View, ConnectError>> {
        let start = Instant::now();
        let mut answers = FuturesUnordered::new();
        for address in addresses {
            let (client, connection) = (self.client(address), self.connections.remove(address));
            answers.push(async move {
                let seen = async { view(address, &client?, connection).await };
                (address, seen.await)
            });
        }
        let (mut views, mut has_answer) = (Vec::new(), false);
        loop {
            let most = options.connect_timeout;
            let until = start + if has_answer { most.min(PATIENCE) } else { most };
            match tokio::time::timeout_at(until, answers.next()).await {
                Ok(Some((address, Ok((view, connection))))) => {
                    has_answer = true;
                    self.connections.insert(address.clone(), connection);
                    views.push(Ok(view));
                }
                Ok(Some((_, Err(error)))) => views.push(Err(error)),
                Ok(None) | Err(_) => return views,
            }
        }
    }
}

/// Asks one node.
async fn view(
    address: &Address,
    client: &Client,
    connection: Option<MultiplexedConnection>,
) -> Result<(View, MultiplexedConnection), ConnectError> {
    let name = address.to_string();
    let mut connection = match connection {
        Some(connection) => connection,
        None => link::connect_one(&name, client, AsyncConnectionConfig::new()).await?,
    };
    let asked = connection.req_packed_command(redis::cmd("CLUSTER").arg("NODES")).await;
    let answer = asked.and_then(Value::extract_error).map_err(|error| {
        if error
            .detail()
            .is_some_and(|detail| detail.contains("cluster support disabled"))
        {
            return ConnectError::Refused(no_node_of_a_cluster(&name));
        }
        ConnectError::from_redis(&name, &error)
    })?;
    let text = link::text(answer).unwrap_or_default();
    Ok((View::parse(&text, address), connection))
}

/// The URL names a cluster, and what answers is none.
pub(super) fn no_node_of_a_cluster(name: &str) -> NotReady {
    NotReady(format!(
        "the Redis at {name} is not a node of a cluster: write redis:// instead of redis+cluster://"
    ))
}

/// Finds the masters, and checks that logs can be kept in them. One that does not answer may do so later.
pub(super) async fn check(options: &RedisOptions) -> Result<Map, ConnectError> {
    let keys = Keys::new(&options.prefix);
    if options.prefix.contains(['{', '}']) {
        let why = "the prefix of the keys has a { or a }, which decide in a cluster where a key is: choose another one";
        return Err(ConnectError::Refused(NotReady(why.to_owned())));
    }
    let mut surveyor = Surveyor::new(options).map_err(ConnectError::Refused)?;
    let map = surveyor.survey(options, &keys).await?;
    for address in map.masters() {
        match link::check_one(options, &address.to_string(), &surveyor.client(address)?, true).await {
            Err(refused @ ConnectError::Refused(_)) => return Err(refused),
            Err(ConnectError::Away(why)) => tracing::warn!("the server starts without a part of its log: {why}"),
            Ok(()) => {}
        }
    }
    Ok(map)
}

impl Shared {
    /// Takes the masters of a map.
    pub(super) fn route_by(self: &Arc<Self>, map: &Map, surveyor: &Surveyor) {
        if let Some(slot) = map.gap {
            let url = &self.options.url;
            let why = format!("no master of the cluster {url} has slot {slot}: see redis-cli --cluster check");
            self.nodes.set_problem(NotReady(why));
        }
        let addresses: HashMap<_, _> = map
            .masters()
            .into_iter()
            .map(|address| (address.to_string(), address))
            .collect();
        self.route(
            |part| map.by_part[part].as_ref().map(ToString::to_string),
            |name| {
                let client = surveyor.client(addresses.get(name)?).ok()?;
                Some(Node::new(name.to_owned(), client, true, self.options.signals))
            },
        );
    }

    /// Follows the cluster: reads its map again and again, and at once when a node has said that it changed.
    pub(super) async fn follow_cluster(self: &Arc<Self>, mut surveyor: Surveyor) {
        loop {
            match surveyor.survey(&self.options, &self.keys).await {
                Ok(map) => self.route_by(&map, &surveyor),
                // The nodes that are known say themselves that they are away.
                Err(error) => self.nodes.set_problem(error.not_ready()),
            }
            let interval = self.options.probe_interval;
            let is_away = self.nodes.all().iter().any(|node| node.link().is_none());
            let pause = if is_away { interval.min(WHILE_AWAY) } else { interval };
            tokio::time::sleep(pause.min(SHORTEST_PAUSE)).await;
            // Its elapsing is what is waited for, too.
            let _ = tokio::time::timeout(pause.saturating_sub(SHORTEST_PAUSE), self.nodes.outdated.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address {
            host: "10.0.0.1".to_owned(),
            port,
        }
    }

    #[test]
    fn a_key_has_the_slot_that_redis_gives_it() {
        // What CLUSTER KEYSLOT answers.
        for (key, expected) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}:bar", 12_182),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
        ] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn of_two_masters_of_a_slot_the_one_of_the_newest_configuration_has_it() {
        let asked = at(7000);
        let stale = View::parse(
            "a :7000@17000 myself,master - 0 0 3 connected 0-8191 [8191->-b]\n\
             b 10.0.0.1:7001@17001 master - 0 0 2 connected 8192-16383\n",
            &asked,
        );
        assert_eq!(stale.known, [at(7000), at(7001)]);
        let newer = View::parse(
            "a 10.0.0.1:7000@17000 master,fail - 0 0 3 connected\n\
             b 10.0.0.1:7001@17001,,tls-port=0 master - 0 0 2 connected 8192-16383\n\
             c 10.0.0.1:7002@17002,node.example master - 0 0 4 connected 0-8000 8002-8191\n\
             d 10.0.0.1:7003@17003 slave b 0 0 2 connected\n\
             e :0@0 master,noaddr - 0 0 9 disconnected 0-16383\n",
            &asked,
        );
        assert_eq!(newer.known.len(), 4);
        let promoted = Address {
            host: "node.example".to_owned(),
            port: 7002,
        };
        let keys = Keys::new("talkback");
        let map = Map::of(&[stale, newer], &keys);
        for part in 0..PARTS {
            let expected = match slot(&keys.tag(part)) {
                8001 => at(7000),
                ..8192 => promoted.clone(),
                _ => at(7001),
            };
            assert_eq!(map.by_part[part], Some(expected), "{part}");
        }
        assert_eq!(map.gap, None);
        assert!(Map::of(&[], &keys).gap.is_some());
    }
}
