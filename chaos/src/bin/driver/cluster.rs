//! The Redis Cluster of several servers: three masters, each with a replica, and what breaks them.
//!
//! Servers reach the nodes themselves, so a node that is to get nothing more is killed, and a replica that is to miss
//! something is given a wrong password.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use talkback_chaos::{Event, Fault, Kind, Loss};
use talkback_protocol::{Epoch, RoomName};
use talkback_testbed::{Redis, RedisCluster};
use tokio::time::{Instant, sleep};

use crate::{
    client::Shared,
    faults::{Dealer, LOST_TAIL, micros, tail},
    redis::{EPOCHS_DEADLINE, OPTIONS, info, start_again, until},
};

/// The faults of the cluster, with how many of each a deck has.
pub(crate) const DECK: [(Kind, usize); 8] = [
    (Kind::RedisKill, 1),
    (Kind::RedisPause, 1),
    (Kind::RedisCut, 2),
    (Kind::Failover, 1),
    (Kind::MasterKill, 1),
    (Kind::Promote, 1),
    (Kind::ReplicaKill, 1),
    (Kind::SlotMove, 2),
];

const MASTERS: usize = 3;

/// Starts it.
///
/// # Errors
/// There is no redis-server, or the nodes do not form a cluster.
pub(crate) async fn start() -> Result<RedisCluster> {
    Ok(RedisCluster::start(MASTERS, 1, &OPTIONS).await?)
}

/// Writes what the nodes have logged into this folder.
///
/// # Errors
/// The error of the system.
pub(crate) fn keep_logs(cluster: &RedisCluster, folder: &Path) -> Result<()> {
    for number in 0..cluster.len() {
        fs::write(folder.join(format!("redis-{number}.log")), cluster.node(number).log())?;
    }
    Ok(())
}

/// A room, with the key of its state in Redis and the slot of this key.
struct Placed {
    room: RoomName,
    key: String,
    slot: String,
}

/// What breaks the cluster.
pub(crate) struct ClusterFaults {
    cluster: RedisCluster,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    /// The kinds that happen.
    kinds: Vec<Kind>,
    rooms: Vec<Placed>,
    /// The number of the next copy.
    next: u64,
}

impl ClusterFaults {
    pub(crate) fn new(cluster: RedisCluster, shared: Arc<Shared>, rng: fastrand::Rng, kinds: Vec<Kind>) -> Self {
        Self {
            cluster,
            shared,
            rng,
            kinds,
            rooms: Vec::new(),
            next: 0,
        }
    }

    /// Breaks the cluster until this time. It runs afterwards.
    ///
    /// # Errors
    /// A node did not do what it was told.
    pub(crate) async fn run(mut self, until: Instant) -> Result<RedisCluster> {
        self.find_rooms().await?;
        let mut dealer = Dealer::new(&DECK, &self.kinds, until);
        while let Some(kind) = dealer.next(&mut self.rng).await {
            sleep(Duration::from_micros(self.rng.u64(20_000..1_000_000))).await;
            self.happen(kind)
                .await
                .with_context(|| format!("fault {}", kind.name()))?;
        }
        Ok(self.cluster)
    }

    /// Waits until each room has a state, and notes where.
    async fn find_rooms(&mut self) -> Result<()> {
        for room in &self.shared.rooms {
            let pattern = format!("*:state:{room}");
            let find = async || -> Result<Option<String>> {
                for number in 0..MASTERS {
                    let key = self.cluster.node(number).command(&["KEYS", &pattern]).await?;
                    if !key.is_empty() {
                        return Ok(Some(key));
                    }
                }
                Ok(None)
            };
            until("each room has a state", async || Ok(find().await?.is_some())).await?;
            let key = find().await?.context("a room has no state any more")?;
            let slot = self.cluster.slot(&key).await?;
            self.rooms.push(Placed {
                room: room.clone(),
                key,
                slot,
            });
        }
        Ok(())
    }

    /// A master that has rooms, with its replica and the indices of the rooms.
    async fn choose(&mut self) -> Result<(usize, usize, Vec<usize>)> {
        let chosen = self.rng.usize(0..self.rooms.len());
        let slot = self.rooms[chosen].slot.clone();
        let master = self.cluster.owner(&slot, 0).await?;
        let mut rooms = Vec::new();
        for (index, placed) in self.rooms.iter().enumerate() {
            if self.cluster.owner(&placed.slot, 0).await? == master {
                rooms.push(index);
            }
        }
        Ok((master, (master + MASTERS) % self.cluster.len(), rooms))
    }

    async fn happen(&mut self, kind: Kind) -> Result<()> {
        let (master, replica, rooms) = self.choose().await?;
        match kind {
            Kind::RedisKill => {
                self.cluster.node_mut(master).kill()?;
                self.record(kind, None, &[], None);
                sleep(Duration::from_millis(self.rng.u64(0..300))).await;
                start_again(self.cluster.node_mut(master)).await?;
                // One with the start, and one when its replica is back.
                self.begins(&rooms);
                self.begins(&rooms);
                Ok(self.cluster.serves().await?)
            }
            Kind::RedisPause => {
                // Longer than the others wait for it, or not.
                let length = Duration::from_micros(self.rng.u64(1_000..3_000_000));
                self.record(kind, None, &[], Some(length));
                self.cluster.node(master).pause();
                sleep(length).await;
                self.cluster.node(master).resume();
                Ok(self.cluster.serves().await?)
            }
            Kind::RedisCut => {
                let of = ["normal", "pubsub"][self.rng.usize(0..2)];
                self.record(kind, None, &[], None);
                self.told(master, &["CLIENT", "KILL", "TYPE", of]).await
            }
            Kind::Failover => {
                self.record(kind, None, &[], None);
                self.cluster.fail_over(replica).await?;
                self.begins(&rooms);
                self.agrees(&rooms, replica).await
            }
            Kind::MasterKill => {
                self.has_begun(&rooms, master).await?;
                let copy = self.copied();
                self.is_followed(master, replica).await?;
                sleep(Duration::from_micros(self.rng.u64(0..300_000))).await;
                self.lose(kind, copy, (master, replica), &rooms).await
            }
            Kind::Promote => {
                self.has_begun(&rooms, master).await?;
                let copy = self.copied();
                self.is_followed(master, replica).await?;
                // The master has no password and refuses this one.
                self.told(replica, &["CONFIG", "SET", "masterauth", "wrong"]).await?;
                self.told(master, &["CLIENT", "KILL", "TYPE", "replica"]).await?;
                until("the replica is cut off", async || {
                    Ok(info(self.cluster.node(replica))
                        .await?
                        .has("master_link_status", "down"))
                })
                .await?;
                // Of all rooms: some are at other masters.
                let all = u64::try_from(self.rooms.len())?;
                tail(&self.shared, LOST_TAIL * all).await?;
                sleep(Duration::from_micros(self.rng.u64(0..500_000))).await;
                self.lose(kind, copy, (master, replica), &rooms).await
            }
            Kind::ReplicaKill => {
                self.record(kind, None, &[], None);
                self.cluster.node_mut(replica).kill()?;
                sleep(Duration::from_millis(self.rng.u64(0..2_000))).await;
                start_again(self.cluster.node_mut(replica)).await?;
                Ok(self.cluster.serves().await?)
            }
            Kind::SlotMove => {
                let slot = self.rooms[rooms[self.rng.usize(0..rooms.len())]].slot.clone();
                let moved: Vec<_> = (0..self.rooms.len())
                    .filter(|room| self.rooms[*room].slot == slot)
                    .collect();
                let mut others = Vec::new();
                for number in 0..self.cluster.len() {
                    if number != master && info(self.cluster.node(number)).await?.has("role", "master") {
                        others.push(number);
                    }
                }
                let to = *self.rng.choice(&others).context("there is no other master")?;
                self.record(kind, None, &[], None);
                self.cluster.begin_move(&slot, master, to).await?;
                loop {
                    sleep(Duration::from_micros(self.rng.u64(0..50_000))).await;
                    let most = self.rng.usize(1..20);
                    if self.cluster.move_keys(&slot, master, to, most).await? == 0 {
                        break;
                    }
                }
                self.cluster.end_move(&slot, master, to).await?;
                self.begins(&moved);
                self.agrees(&moved, to).await
            }
            _ => Ok(()),
        }
    }

    /// Kills a master, which may have what its replica has not, and waits until that is the master.
    async fn lose(&mut self, kind: Kind, copy: u64, of: (usize, usize), rooms: &[usize]) -> Result<()> {
        let (master, replica) = of;
        self.cluster.node_mut(master).kill()?;
        self.record(kind, Some(Loss::Since(copy)), rooms, None);
        self.begins(rooms);
        self.cluster.may_fail_over(replica, true).await?;
        let node = self.cluster.node(replica);
        until("a replica is the master", async || {
            Ok(info(node).await?.has("role", "master"))
        })
        .await?;
        self.cluster.may_fail_over(replica, false).await?;
        self.told(replica, &["CONFIG", "SET", "masterauth", ""]).await?;
        start_again(self.cluster.node_mut(master)).await?;
        self.agrees(rooms, replica).await
    }

    /// Waits until all nodes know this master of these rooms, and serve.
    async fn agrees(&self, rooms: &[usize], master: usize) -> Result<()> {
        until("all nodes know the master", async || {
            for room in rooms {
                for asked in 0..self.cluster.len() {
                    // One that was just started may know no master of the slot.
                    let known = self.cluster.owner(&self.rooms[*room].slot, asked).await;
                    if known.ok() != Some(master) {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })
        .await?;
        Ok(self.cluster.serves().await?)
    }

    async fn told(&self, number: usize, words: &[&str]) -> Result<()> {
        self.cluster.node(number).command(words).await?;
        Ok(())
    }

    /// Waits until the replica has what the master has now.
    async fn is_followed(&self, master: usize, replica: usize) -> Result<()> {
        let offset = info(self.cluster.node(master)).await?.number("master_repl_offset")?;
        until("the replica follows", async || {
            Ok(info(self.cluster.node(replica)).await?.number("slave_repl_offset")? >= offset)
        })
        .await
    }

    fn record(&self, kind: Kind, loses: Option<Loss>, rooms: &[usize], length: Option<Duration>) {
        self.shared.recorder.run(Event::Fault(Fault {
            loses,
            rooms: self.names(rooms),
            for_us: length.map(micros),
            ..Fault::of(kind)
        }));
    }

    fn names(&self, rooms: &[usize]) -> Vec<String> {
        rooms.iter().map(|room| self.rooms[*room].room.to_string()).collect()
    }

    /// Records that what is acknowledged now is in the data, and the number under which that is known.
    fn copied(&mut self) -> u64 {
        let copy = self.next;
        self.next += 1;
        self.shared.recorder.run(Event::Copied { copy });
        copy
    }

    /// Records that the data of these rooms gets another life.
    fn begins(&self, rooms: &[usize]) {
        let rooms = self.names(rooms);
        self.shared.recorder.run(Event::Life { rooms });
    }

    /// Waits until a member of each room has joined the epoch of the present life of its data. So the checker can tell
    /// which epochs were before a loss. What is not joined by then is for the checker to judge.
    async fn has_begun(&self, rooms: &[usize], master: usize) -> Result<()> {
        let node = self.cluster.node(master);
        let deadline = Instant::now() + EPOCHS_DEADLINE;
        for room in rooms {
            while !self.is_joined(node, &self.rooms[*room]).await? && Instant::now() < deadline {
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn is_joined(&self, node: &Redis, placed: &Placed) -> Result<bool> {
        let state = node.command(&["HMGET", &placed.key, "epoch", "history"]).await?;
        let (epoch, history) = state.split_once('\n').unwrap_or_default();
        let is_present = info(node).await?.has("master_replid", history.trim());
        let Ok(epoch) = Epoch::parse(epoch.trim()) else {
            return Ok(false);
        };
        let seen = self.shared.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(is_present && seen.get(&placed.room).is_some_and(|epochs| epochs.contains(&epoch)))
    }
}
