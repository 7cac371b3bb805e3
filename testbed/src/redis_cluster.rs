//! A real Redis Cluster: redis-servers as processes, masters and their replicas.

use crate::{Port, Redis};
use std::{io, time::Duration};
use tokio::time::{Instant, sleep};

const SLOTS: usize = 16_384;
/// How long a node is silent before the others take it for dead, in milliseconds.
const NODE_TIMEOUT: &str = "1000";
/// How long a replica tries to become the master.
const FAILOVER: Duration = Duration::from_secs(5);
/// The timeout until the nodes have done what they were told.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running cluster. Its processes are killed when it is dropped, and their folders are deleted.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    /// The ports on which the nodes talk to each other.
    bus: Vec<Port>,
}

impl RedisCluster {
    /// Starts so many masters, and so many replicas of each, with these further options, and waits until they serve. The
    /// masters are the first nodes; replica `number` of master `master` is node `masters * (number + 1) + master`. A replica
    /// takes the place of its master only after [`may_fail_over`](Self::may_fail_over), because on a busy machine nodes are
    /// silent for longer than the others wait; then also if it has not followed for long.
    ///
    /// # Errors
    /// As [`Redis::start`]; or the nodes do not form a cluster within 60 s.
    pub async fn start(masters: usize, replicas: usize, options: &[&str]) -> io::Result<Self> {
        let (mut nodes, mut bus) = (Vec::new(), Vec::new());
        for _ in 0..masters * (replicas + 1) {
            let port = Port::loopback()?;
            let number = port.number().to_string();
            let own = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", &number],
                ["--cluster-node-timeout", NODE_TIMEOUT],
                ["--cluster-replica-validity-factor", "0"],
                ["--cluster-replica-no-failover", "yes"],
                ["--cluster-allow-replica-migration", "no"],
                ["--repl-diskless-sync-delay", "0"],
            ];
            let all: Vec<_> = own.iter().flatten().chain(options).copied().collect();
            nodes.push(Redis::start(&all).await?);
            bus.push(port);
        }
        let cluster = Self { nodes, bus };
        for (number, node) in cluster.nodes[..masters].iter().enumerate() {
            let (first, end) = (SLOTS * number / masters, SLOTS * (number + 1) / masters);
            let (first, last, epoch) = (first.to_string(), (end - 1).to_string(), (number + 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        for (node, bus) in cluster.nodes.iter().zip(&cluster.bus).skip(1) {
            let (port, bus) = (node.address().port().to_string(), bus.number().to_string());
            cluster.nodes[0]
                .command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                .await?;
        }
        let count = format!("cluster_known_nodes:{}", cluster.nodes.len());
        cluster
            .until("the nodes know each other", async |node| {
                let state = node.command(&["CLUSTER", "INFO"]).await?;
                let nodes = node.command(&["CLUSTER", "NODES"]).await?;
                Ok(state.contains(&count) && !nodes.contains("handshake"))
            })
            .await?;
        for (number, node) in cluster.nodes.iter().enumerate().skip(masters) {
            let master = cluster.id(number % masters).await?;
            node.command(&["CLUSTER", "REPLICATE", &master]).await?;
        }
        cluster.serves().await?;
        Ok(cluster)
    }

    /// `redis+cluster://` and the addresses of all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// A node by its number.
    #[must_use]
    pub fn node(&self, number: usize) -> &Redis {
        &self.nodes[number]
    }

    /// The same, to kill it or start it again.
    pub fn node_mut(&mut self, number: usize) -> &mut Redis {
        &mut self.nodes[number]
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The name by which the nodes know one of them.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn id(&self, number: usize) -> io::Result<String> {
        self.nodes[number].command(&["CLUSTER", "MYID"]).await
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// The first node does not answer.
    pub async fn slot(&self, key: &str) -> io::Result<String> {
        self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// The number of the master of a slot, as this node knows it.
    ///
    /// # Errors
    /// The node does not answer, or knows none.
    pub async fn owner(&self, slot: &str, asked: usize) -> io::Result<usize> {
        let nodes = self.nodes[asked].command(&["CLUSTER", "NODES"]).await?;
        let slot: usize = slot.parse().map_err(io::Error::other)?;
        let has = |slots: &str| {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            first.parse().is_ok_and(|first: usize| first <= slot) && last.parse().is_ok_and(|last: usize| slot <= last)
        };
        let line = nodes
            .lines()
            .find(|line| line.contains("master") && line.split_whitespace().skip(8).any(has));
        let address = line.and_then(|line| line.split([' ', '@']).nth(1)).unwrap_or_default();
        let number = self.nodes.iter().position(|node| node.address().to_string() == address);
        number.ok_or_else(|| io::Error::other(format!("no master of slot {slot} in:\n{nodes}")))
    }

    /// Begins to move a slot: from now on its keys may be at either node.
    ///
    /// # Errors
    /// One of them refuses it.
    pub async fn begin_move(&self, slot: &str, from: usize, to: usize) -> io::Result<()> {
        let (source, target) = (self.id(from).await?, self.id(to).await?);
        self.told(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &source])
            .await?;
        self.told(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &target])
            .await
    }

    /// Moves at most so many keys of a slot that is being moved, and returns how many there were.
    ///
    /// # Errors
    /// One of the nodes refuses it.
    pub async fn move_keys(&self, slot: &str, from: usize, to: usize, most: usize) -> io::Result<usize> {
        let count = most.to_string();
        let keys = self.nodes[from]
            .command(&["CLUSTER", "GETKEYSINSLOT", slot, &count])
            .await?;
        let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
        if !keys.is_empty() {
            let port = self.nodes[to].address().port().to_string();
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            command.extend(&keys);
            self.told(from, &command).await?;
        }
        Ok(keys.len())
    }

    /// Ends the move of a slot, of which the former master has no keys any more.
    ///
    /// # Errors
    /// One of the nodes refuses it.
    pub async fn end_move(&self, slot: &str, from: usize, to: usize) -> io::Result<()> {
        let id = self.id(to).await?;
        for number in [to, from] {
            self.told(number, &["CLUSTER", "SETSLOT", slot, "NODE", &id]).await?;
        }
        Ok(())
    }

    /// Says whether a replica may take the place of its master by itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn may_fail_over(&self, replica: usize, may: bool) -> io::Result<()> {
        let not = if may { "no" } else { "yes" };
        self.told(replica, &["CONFIG", "SET", "cluster-replica-no-failover", not])
            .await
    }

    /// Makes a replica the master, without a loss: its master waits until it has everything.
    ///
    /// # Errors
    /// It is none within 60 s.
    pub async fn fail_over(&self, replica: usize) -> io::Result<()> {
        let node = &self.nodes[replica];
        let until = Instant::now() + DEADLINE;
        let role = async || node.command(&["INFO", "replication"]).await;
        // A master that was replaced does not know it at once.
        while !role().await?.contains("master_link_status:up") && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        while Instant::now() < until {
            // A replica whose master is slow gives up.
            node.command(&["CLUSTER", "FAILOVER"]).await?;
            let attempt = Instant::now() + FAILOVER;
            while Instant::now() < attempt {
                if role().await?.contains("role:master") {
                    return self.serves().await;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        let (state, log) = (role().await?, node.log());
        Err(io::Error::other(format!(
            "not within {DEADLINE:?}: it is a master:\n{state}\n{log}"
        )))
    }

    /// A command that answers `OK`, or something else that is no error.
    async fn told(&self, number: usize, words: &[&str]) -> io::Result<()> {
        let answer = self.nodes[number].command(words).await?;
        if answer == "OK" || answer == "NOKEY" {
            return Ok(());
        }
        Err(io::Error::other(format!("{}: {answer}", words.join(" "))))
    }

    /// Waits until all nodes say that the cluster serves all slots, and all replicas follow their masters.
    ///
    /// # Errors
    /// They do not say so within 60 s.
    pub async fn serves(&self) -> io::Result<()> {
        self.until("the cluster serves all slots", async |node| {
            let (state, replication) = (
                node.command(&["CLUSTER", "INFO"]).await?,
                node.command(&["INFO", "replication"]).await?,
            );
            let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
            Ok(state.contains("cluster_state:ok") && follows)
        })
        .await
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn(&Redis) -> io::Result<bool>) -> io::Result<()> {
        let until = Instant::now() + DEADLINE;
        for node in &self.nodes {
            while !is_so(node).await? {
                if Instant::now() > until {
                    let nodes = node.command(&["CLUSTER", "NODES"]).await?;
                    let log = node.log();
                    return Err(io::Error::other(format!(
                        "not within {DEADLINE:?}: {what}:\n{nodes}\n{log}"
                    )));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}
