//! The Redis of several servers: two redis-servers, of which one is the master and the other one becomes its replica, and
//! what breaks them.
//!
//! Servers reach the master through a proxy, which a failover turns to the other one; a replica reaches its master
//! through another proxy, which can be stalled.

use std::{
    collections::VecDeque,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use talkback_chaos::{Event, Fault, Kind, Loss};
use talkback_testbed::{Direction, Proxy, Redis};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    aof::{Copy, Tail},
    client::Shared,
    faults::{Dealer, LOST_TAIL, micros, tail},
};

/// The faults of Redis, with how many of each a deck has.
pub(crate) const DECK: [(Kind, usize); 10] = [
    (Kind::RedisKill, 2),
    (Kind::RedisKillEverysec, 1),
    (Kind::RedisPause, 1),
    (Kind::RedisCut, 2),
    (Kind::RedisStall, 1),
    (Kind::AofCut, 1),
    (Kind::RedisRestore, 1),
    (Kind::Flush, 1),
    (Kind::Failover, 1),
    (Kind::Promote, 1),
];

/// What a redis-server is started with: what it has acknowledged is on the disk, in files that it does not write anew. One
/// that ends within a transaction is mended before: docs/redis.md.
pub(crate) const OPTIONS: [&str; 12] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--aof-load-truncated",
    "no",
    "--auto-aof-rewrite-percentage",
    "0",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-backlog-size",
    "64mb",
];
/// The timeout until a redis-server has done what it was told.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long members may take to be in the epochs of a new life of the data. A server that does not begin any takes
/// longer: the checker judges that.
pub(crate) const EPOCHS_DEADLINE: Duration = Duration::from_secs(15);
/// What is under way when a proxy is stalled has arrived, and was processed, so much later.
const SETTLED: Duration = Duration::from_millis(50);
/// With `everysec` Redis may write, and not only sync, two seconds later.
const EVERYSEC: Duration = Duration::from_millis(2_500);
/// The copies that are kept.
const COPIES: usize = 4;
/// A port may be taken by a connection while its redis-server does not run.
const STARTS: u32 = 10;

/// The two redis-servers.
pub(crate) struct Stage {
    nodes: [Redis; 2],
    /// Which one is the master.
    master: usize,
    /// What the servers connect to.
    way: Proxy,
    /// What the replica connects to.
    link: Proxy,
}

impl Stage {
    /// Starts both.
    ///
    /// # Errors
    /// There is no redis-server, or it does not start.
    pub(crate) async fn start() -> Result<Self> {
        let nodes = [Redis::start(&OPTIONS).await?, Redis::start(&OPTIONS).await?];
        let way = Proxy::start(nodes[0].address()).await?;
        let link = Proxy::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        Ok(Self {
            nodes,
            master: 0,
            way,
            link,
        })
    }

    /// The URL for servers.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.way.address())
    }

    /// Writes what the redis-servers have logged into this folder.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            fs::write(folder.join(format!("redis-{number}.log")), node.log())?;
        }
        Ok(())
    }

    fn master(&mut self) -> &mut Redis {
        &mut self.nodes[self.master]
    }

    fn other(&self) -> &Redis {
        &self.nodes[1 - self.master]
    }

    /// Starts a killed one again.
    async fn start_again(&mut self, number: usize) -> Result<()> {
        start_again(&mut self.nodes[number]).await
    }

    /// Makes the other one a replica, and waits until it has all data and writes it to its files.
    async fn attach(&self) -> Result<()> {
        let port = self.link.address().port().to_string();
        self.link.set_target(self.nodes[self.master].address());
        self.link.cut();
        self.other().command(&["REPLICAOF", "127.0.0.1", &port]).await?;
        let is_ready = |info: &Info| {
            info.has("master_link_status", "up")
                && info.has("aof_rewrite_in_progress", "0")
                && info.has("aof_rewrite_scheduled", "0")
                && info.has("aof_last_bgrewrite_status", "ok")
        };
        until("a replica has all data", async || {
            Ok(is_ready(&info(self.other()).await?))
        })
        .await
    }

    /// Waits until the replica has what the master has now.
    async fn is_followed(&self) -> Result<()> {
        let offset = info(&self.nodes[self.master]).await?.number("master_repl_offset")?;
        until("the replica follows", async || {
            Ok(info(self.other()).await?.number("slave_repl_offset")? >= offset)
        })
        .await
    }

    /// Makes the replica the master. Servers reach it from now on.
    async fn promote(&mut self) -> Result<()> {
        self.other().command(&["REPLICAOF", "NO", "ONE"]).await?;
        self.link.stall(false);
        self.link.cut();
        self.master = 1 - self.master;
        self.way.set_target(self.nodes[self.master].address());
        self.way.cut();
        self.way.stall(false);
        self.way.refuse(false);
        Ok(())
    }
}

/// Starts a killed redis-server again. If it does not start, its files are mended first.
///
/// # Errors
/// It does not start then either.
pub(crate) async fn start_again(node: &mut Redis) -> Result<()> {
    for _ in 1..STARTS {
        if node.start_again().await.is_ok() {
            return Ok(());
        }
        node.kill()?;
        node.mend().await?;
        sleep(SETTLED).await;
    }
    Ok(node.start_again().await?)
}

/// What `INFO` answers.
pub(crate) struct Info(String);

impl Info {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.lines().filter_map(|line| line.split_once(':'));
        Some(fields.find(|(field, _)| *field == name)?.1.trim())
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        let value = self.field(name).with_context(|| format!("INFO has no {name}"))?;
        Ok(value.parse()?)
    }
}

pub(crate) async fn info(redis: &Redis) -> Result<Info> {
    Ok(Info(redis.command(&["INFO"]).await?))
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let looks = async {
        while !is_so().await? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    timeout(DEADLINE, looks)
        .await
        .unwrap_or_else(|_| bail!("not within {DEADLINE:?}: {what}"))
}

/// What breaks Redis.
pub(crate) struct RedisFaults {
    stage: Stage,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    /// The kinds that happen.
    kinds: Vec<Kind>,
    /// The folder of the copies.
    folder: PathBuf,
    copies: VecDeque<(u64, Copy)>,
    /// The number of the next copy.
    next: u64,
    /// How many epochs each room had when the data got its present life.
    before: Option<Vec<usize>>,
}

impl RedisFaults {
    pub(crate) fn new(
        stage: Stage,
        shared: Arc<Shared>,
        rng: fastrand::Rng,
        kinds: Vec<Kind>,
        folder: PathBuf,
    ) -> Self {
        Self {
            stage,
            shared,
            rng,
            kinds,
            folder,
            copies: VecDeque::new(),
            next: 0,
            before: Some(Vec::new()),
        }
    }

    /// Breaks Redis until this time. It runs afterwards.
    ///
    /// # Errors
    /// A redis-server did not do what it was told.
    pub(crate) async fn run(mut self, until: Instant) -> Result<Stage> {
        let mut dealer = Dealer::new(&DECK, &self.kinds, until);
        while let Some(kind) = dealer.next(&mut self.rng).await {
            sleep(Duration::from_micros(self.rng.u64(20_000..1_000_000))).await;
            self.happen(kind)
                .await
                .with_context(|| format!("fault {}", kind.name()))?;
        }
        // Messages show that a log was deleted: with members alone a server looks for that every 20 seconds.
        self.has_begun().await;
        Ok(self.stage)
    }

    async fn happen(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::RedisKill => {
                self.has_begun().await;
                self.stage.master().kill()?;
                self.record(kind, None, None);
                self.start_again().await
            }
            Kind::RedisKillEverysec => {
                self.stage
                    .master()
                    .command(&["CONFIG", "SET", "appendfsync", "everysec"])
                    .await?;
                let copy = self.copied();
                sleep(EVERYSEC).await;
                self.has_begun().await;
                self.stage.master().kill()?;
                self.record(kind, Some(Loss::Since(copy)), None);
                self.start_again().await
            }
            Kind::RedisPause => {
                // Servers connect anew when Redis has not answered for 5 seconds.
                let most = if self.rng.u32(0..4) == 0 { 8_000_000 } else { 3_000_000 };
                let length = Duration::from_micros(self.rng.u64(1_000..most));
                self.record(kind, None, Some(length));
                self.stage.master().pause();
                sleep(length).await;
                self.stage.master().resume();
                Ok(())
            }
            Kind::RedisCut => {
                self.record(kind, None, None);
                if self.rng.bool() {
                    self.stage.way.cut();
                } else {
                    let way = if self.rng.bool() {
                        Direction::Up
                    } else {
                        Direction::Down
                    };
                    self.stage.way.cut_after(way, self.rng.u64(1..20_000));
                }
                Ok(())
            }
            Kind::RedisStall => {
                let length = Duration::from_micros(self.rng.u64(1_000..3_000_000));
                self.record(kind, None, Some(length));
                self.stage.way.stall(true);
                sleep(length).await;
                self.stage.way.stall(false);
                Ok(())
            }
            Kind::AofCut => {
                self.has_begun().await;
                let copy = self.copied();
                let end = Tail::of(self.stage.master().directory())?;
                self.tail().await?;
                self.stage.master().kill()?;
                end.cut(if self.rng.bool() { 0 } else { self.rng.u64(0..500) })?;
                self.record(kind, Some(Loss::Since(copy)), None);
                self.start_again().await
            }
            Kind::RedisRestore => {
                self.has_begun().await;
                let (number, copy) = self.copy().await?;
                self.tail().await?;
                self.stage.master().kill()?;
                copy.restore(self.stage.master().directory())?;
                self.record(kind, Some(Loss::Since(number)), None);
                self.start_again().await
            }
            Kind::Flush => {
                self.has_begun().await;
                self.tail().await?;
                self.stage.way.stall(true);
                sleep(SETTLED).await;
                self.stage.master().command(&["FLUSHALL"]).await?;
                self.record(kind, Some(Loss::Everything), None);
                self.begins();
                self.stage.way.stall(false);
                Ok(())
            }
            Kind::Failover => {
                self.attach().await?;
                self.has_begun().await;
                self.stage.way.stall(true);
                sleep(SETTLED).await;
                self.stage.is_followed().await?;
                self.stage.master().kill()?;
                self.record(kind, None, None);
                self.promote().await
            }
            Kind::Promote => {
                self.attach().await?;
                self.has_begun().await;
                let copy = self.copied();
                self.stage.is_followed().await?;
                self.stage.link.stall(true);
                self.tail().await?;
                // The former master goes on for a while without servers, or it does not.
                if self.rng.bool() {
                    self.stage.master().kill()?;
                } else {
                    self.stage.way.refuse(true);
                    self.stage.way.cut();
                }
                self.record(kind, Some(Loss::Since(copy)), None);
                self.promote().await
            }
            _ => Ok(()),
        }
    }

    fn record(&self, kind: Kind, loses: Option<Loss>, length: Option<Duration>) {
        self.shared.recorder.run(Event::Fault(Fault {
            loses,
            for_us: length.map(micros),
            ..Fault::of(kind)
        }));
    }

    /// Records that what is acknowledged now is in the data, and the number under which that is known.
    fn copied(&mut self) -> u64 {
        let copy = self.next;
        self.next += 1;
        self.shared.recorder.run(Event::Copied { copy });
        copy
    }

    /// A copy of the data: mostly a new one.
    async fn copy(&mut self) -> Result<(u64, Copy)> {
        if self.copies.is_empty() || self.rng.u32(0..10) < 7 {
            let number = self.copied();
            fs::create_dir_all(&self.folder)?;
            let to = self.folder.join(format!("copy-{number}"));
            let is_snapshot = self.rng.bool();
            let master = self.stage.master();
            let copy = if is_snapshot {
                master.command(&["SAVE"]).await?;
                Copy::of_snapshot(master.directory(), &to)?
            } else {
                Copy::of_files(master.directory(), &to)?
            };
            self.copies.push_back((number, copy));
            if self.copies.len() > COPIES
                && let Some((_, oldest)) = self.copies.pop_front()
            {
                oldest.remove()?;
            }
        }
        let last = self.copies.len() - 1;
        let chosen = if self.rng.u32(0..3) > 0 {
            last
        } else {
            self.rng.usize(0..=last)
        };
        self.copies.get(chosen).cloned().context("there is no copy")
    }

    /// Waits until there are acknowledged messages that can be lost.
    async fn tail(&mut self) -> Result<()> {
        tail(&self.shared, LOST_TAIL).await?;
        sleep(Duration::from_micros(self.rng.u64(0..500_000))).await;
        Ok(())
    }

    /// Makes the other one a replica. If it is the first one, that gives the data another life.
    async fn attach(&mut self) -> Result<()> {
        self.has_begun().await;
        let history = async |stage: &Stage| -> Result<String> {
            let info = info(&stage.nodes[stage.master]).await?;
            Ok(info.field("master_replid").unwrap_or_default().to_owned())
        };
        let (epochs, former) = (self.epochs(), history(&self.stage).await?);
        self.stage.attach().await?;
        if history(&self.stage).await? != former {
            self.shared.recorder.run(Event::Life { rooms: Vec::new() });
            self.before = Some(epochs);
        }
        Ok(())
    }

    /// The replica becomes the master, and the former one is kept for the next time.
    async fn promote(&mut self) -> Result<()> {
        let former = self.stage.master;
        self.begins();
        self.stage.promote().await?;
        self.stage.nodes[former].kill()?;
        self.stage.start_again(former).await
    }

    async fn start_again(&mut self) -> Result<()> {
        self.begins();
        sleep(Duration::from_millis(self.rng.u64(0..300))).await;
        self.stage.start_again(self.stage.master).await
    }

    /// Records that the data gets another life: what its servers say of it comes later.
    fn begins(&mut self) {
        self.shared.recorder.run(Event::Life { rooms: Vec::new() });
        self.before = Some(self.epochs());
    }

    /// How many epochs of each room were seen.
    fn epochs(&self) -> Vec<usize> {
        let epochs = self.shared.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |room| epochs.get(room).map_or(0, |epochs| epochs.len());
        self.shared.rooms.iter().map(of).collect()
    }

    /// Waits until an epoch of the present life of the data was seen of each room. So the checker can tell which epochs
    /// were before the next loss.
    async fn has_begun(&mut self) {
        let Some(before) = self.before.take() else { return };
        let deadline = Instant::now() + EPOCHS_DEADLINE;
        let is_seen = |(now, before): (&usize, Option<&usize>)| *now > before.copied().unwrap_or_default();
        while Instant::now() < deadline {
            let now = self.epochs();
            if (0..)
                .zip(&now)
                .all(|(room, now)| is_seen((now, before.get::<usize>(room))))
            {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}
