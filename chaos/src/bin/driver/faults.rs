//! The faults of a run, by random choices: one task breaks the servers, another one the network, and a third one a Redis
//! ([`crate::redis`]) or a cluster ([`crate::cluster`]).
//!
//! Each deals a deck of faults again and again. The first deck is dealt whole, so that each kind happens.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use talkback_chaos::{Event, Fault, Kind, Loss};
use talkback_launch::Signal;
use talkback_testbed::{Direction, Proxy};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{
    client::Shared,
    cluster, redis,
    server::{Restoration, Server, Topology, sleep_exactly},
};

/// The timeout until all connections have ended, or until enough was acknowledged after a copy.
const DEADLINE: Duration = Duration::from_secs(30);
/// A made lost tail has at least so many acknowledged messages.
pub(crate) const LOST_TAIL: u64 = 20;
/// A rate that is no bound.
const FAST: u32 = u32::MAX;

/// The faults of the servers, with how many of each a deck has.
const SERVER_DECK: [(Kind, usize); 6] = [
    (Kind::Kill, 7),
    (Kind::PowerCut, 3),
    (Kind::Terminate, 1),
    (Kind::Pause, 2),
    (Kind::Clock, 2),
    (Kind::Restore, 1),
];
/// The faults of the network.
const NETWORK_DECK: [(Kind, usize); 3] = [(Kind::Cut, 5), (Kind::Stall, 3), (Kind::Slow, 2)];

/// The kinds of faults of a run.
pub(crate) fn kinds(topology: Topology, has_power_cut: bool, has_clocks: bool) -> Vec<Kind> {
    let redis = match topology {
        Topology::Redis => &redis::DECK[..],
        Topology::Cluster => &cluster::DECK,
        Topology::Memory | Topology::Sqlite => &[],
    };
    let all = SERVER_DECK.iter().chain(&NETWORK_DECK).map(|(kind, _)| *kind);
    let all = all.filter(|kind| match kind {
        Kind::Restore => topology == Topology::Sqlite,
        Kind::Clock => has_clocks,
        Kind::PowerCut => topology == Topology::Sqlite && has_power_cut,
        _ => true,
    });
    all.chain(redis.iter().map(|(kind, _)| *kind)).collect()
}

/// Deals a deck of faults again and again, in another order each time: the whole deck once, and then until the end.
pub(crate) struct Dealer {
    cards: Vec<Kind>,
    /// Those of the deck that were not dealt in this turn.
    left: Vec<Kind>,
    turns: u32,
    until: Instant,
}

impl Dealer {
    /// Of the deck, only these kinds happen in this run.
    pub(crate) fn new(deck: &[(Kind, usize)], kinds: &[Kind], until: Instant) -> Self {
        let chosen = deck.iter().filter(|(kind, _)| kinds.contains(kind));
        Self {
            cards: chosen.flat_map(|&(kind, count)| vec![kind; count]).collect(),
            left: Vec::new(),
            turns: 0,
            until,
        }
    }

    /// The next fault; `None` after the end. Without any fault it waits for the end.
    pub(crate) async fn next(&mut self, rng: &mut fastrand::Rng) -> Option<Kind> {
        if self.cards.is_empty() {
            tokio::time::sleep_until(self.until).await;
            return None;
        }
        if self.left.is_empty() {
            self.turns += 1;
            self.left.clone_from(&self.cards);
            rng.shuffle(&mut self.left);
        }
        if self.turns > 1 && Instant::now() >= self.until {
            return None;
        }
        self.left.pop()
    }
}

/// What breaks the servers.
pub(crate) struct ServerFaults {
    pub(crate) servers: Vec<Server>,
    pub(crate) topology: Topology,
    pub(crate) proxies: Arc<Vec<Proxy>>,
    /// The server of the new connections of each proxy.
    pub(crate) targets: Vec<usize>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: fastrand::Rng,
    /// The kinds that happen.
    pub(crate) kinds: Vec<Kind>,
    /// The number of copies of the data.
    pub(crate) copies: u64,
}

impl ServerFaults {
    /// Breaks the servers until this time. They run afterwards.
    ///
    /// # Errors
    /// One ended by itself or did not start.
    pub(crate) async fn run(mut self, until: Instant) -> Result<Self> {
        let mut dealer = Dealer::new(&SERVER_DECK, &self.kinds, until);
        while let Some(kind) = dealer.next(&mut self.rng).await {
            let pause = Duration::from_micros(self.rng.u64(20_000..1_200_000));
            block_in_place(|| sleep_exactly(pause));
            self.happen(kind)
                .await
                .with_context(|| format!("fault {}", kind.name()))?;
        }
        Ok(self)
    }

    /// Starts a server. Clients connect to it from then on: all of one server, and a share of several.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(&mut self, number: usize) -> Result<()> {
        let address = block_in_place(|| self.servers[number].start())?;
        self.shared.recorder.run(Event::Started {});
        for (proxy, target) in self.proxies.iter().zip(&mut self.targets) {
            if *target != number && self.rng.usize(0..self.servers.len()) == 0 {
                *target = number;
            }
            if *target == number {
                proxy.set_target(address);
                proxy.refuse(false);
            }
        }
        Ok(())
    }

    /// New connections of the clients of this server lead to others that run, as behind a load balancer.
    fn move_clients(&mut self, number: usize) {
        let others = self.servers.iter().enumerate().filter(|(other, _)| *other != number);
        let others: Vec<_> = others
            .filter_map(|(other, server)| Some((other, server.address()?)))
            .collect();
        for (proxy, target) in self.proxies.iter().zip(&mut self.targets) {
            if *target == number
                && let Some(&(other, address)) = self.rng.choice(&others)
            {
                *target = other;
                proxy.set_target(address);
            }
        }
    }

    /// The servers that a fault hits: mostly one.
    fn choose(&mut self) -> Vec<usize> {
        let all = self.servers.len();
        let count = match self.rng.u32(0..10) {
            0..7 => 1,
            7..9 => 2,
            _ => all,
        };
        self.rng.choose_multiple(0..all, count.min(all))
    }

    async fn happen(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill => {
                let chosen = self.choose();
                for &number in &chosen {
                    block_in_place(|| self.servers[number].kill())?;
                    self.ended(number, kind).await?;
                }
                for number in chosen {
                    // A server that just reads its data, or connects to it, is killed too.
                    while self.rng.u32(0..6) == 0 {
                        let after = Duration::from_micros(self.rng.u64(0..60_000));
                        block_in_place(|| self.servers[number].start_and_kill(after))?;
                        self.ended(number, kind).await?;
                    }
                    self.pause(300).await;
                    self.start(number)?;
                }
                Ok(())
            }
            Kind::PowerCut => {
                let server = &mut self.servers[0];
                block_in_place(|| server.kill())?;
                let loses = [[true, false], [false, true], [true, true]][self.rng.usize(0..3)];
                let writes = block_in_place(|| server.cut_power(loses))?;
                self.shared.recorder.run(Event::Fault(Fault {
                    writes: Some(writes),
                    ..Fault::of(kind)
                }));
                self.start(0)
            }
            Kind::Terminate => {
                for number in self.choose() {
                    self.move_clients(number);
                    block_in_place(|| self.servers[number].terminate())?;
                    self.ended(number, kind).await?;
                    self.start(number)?;
                }
                Ok(())
            }
            Kind::Pause => {
                let length = Duration::from_micros(self.rng.u64(1_000..4_000_000));
                let chosen = self.choose();
                for &number in &chosen {
                    self.record(kind, None, Some(length));
                    self.servers[number].signal(Signal::SIGSTOP);
                    // Clients that notice it move, while what they sent waits in the server; or they do not.
                    if self.rng.bool() {
                        self.move_clients(number);
                    }
                }
                sleep(length).await;
                for number in chosen {
                    self.servers[number].signal(Signal::SIGCONT);
                }
                Ok(())
            }
            Kind::Clock => {
                for number in self.choose() {
                    if let Some(clock) = self.servers[number].clock() {
                        let ahead = clock.turn(&mut self.rng)?;
                        self.shared.recorder.run(Event::Fault(Fault {
                            ahead_s: Some(ahead),
                            ..Fault::of(kind)
                        }));
                    }
                }
                Ok(())
            }
            Kind::Restore => self.lose_tail().await,
            _ => Ok(()),
        }
    }

    /// Records that a server ended.
    async fn ended(&mut self, number: usize, kind: Kind) -> Result<()> {
        let loses = (self.topology == Topology::Memory).then_some(Loss::Everything);
        if loses.is_some() {
            self.disconnect_all().await?;
        }
        self.record(kind, loses, None);
        self.move_clients(number);
        Ok(())
    }

    fn record(&self, kind: Kind, loses: Option<Loss>, length: Option<Duration>) {
        self.shared.recorder.run(Event::Fault(Fault {
            loses,
            for_us: length.map(micros),
            ..Fault::of(kind)
        }));
    }

    async fn pause(&mut self, most_ms: u64) {
        sleep(Duration::from_millis(self.rng.u64(0..most_ms))).await;
    }

    /// Ends the connections of the clients to the only server, which does not run, and waits until the clients have recorded
    /// all that came on them: what comes later is from the next server.
    async fn disconnect_all(&self) -> Result<()> {
        for proxy in self.proxies.iter() {
            proxy.refuse(true);
            proxy.cut();
        }
        let deadline = Instant::now() + DEADLINE;
        while self.shared.open.load(Ordering::SeqCst) > 0 {
            ensure!(Instant::now() < deadline, "a client does not notice that it is cut off");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Makes a lost tail: messages are acknowledged after a copy of the data was made, and then the copy is restored.
    async fn lose_tail(&mut self) -> Result<()> {
        if self.copies == 0 || self.rng.u32(0..10) < 7 {
            block_in_place(|| self.servers[0].kill())?;
            self.disconnect_all().await?;
            self.record(Kind::Kill, None, None);
            let copy = self.copies;
            block_in_place(|| self.servers[0].copy(copy))?;
            self.copies += 1;
            self.shared.recorder.run(Event::Copied { copy });
            self.start(0)?;
        }
        let copy = if self.rng.u32(0..3) > 0 {
            self.copies - 1
        } else {
            self.rng.u64(0..self.copies)
        };
        tail(&self.shared, LOST_TAIL).await?;
        let pause = Duration::from_micros(self.rng.u64(0..500_000));
        block_in_place(|| sleep_exactly(pause));
        if self.rng.bool() {
            block_in_place(|| self.servers[0].kill())?;
        } else {
            block_in_place(|| self.servers[0].terminate())?;
        }
        self.disconnect_all().await?;
        let how = [Restoration::Renamed, Restoration::Removed, Restoration::InPlace][self.rng.usize(0..3)];
        block_in_place(|| self.servers[0].restore(copy, how))?;
        self.record(Kind::Restore, Some(Loss::Since(copy)), None);
        self.start(0)
    }
}

/// Waits until at least so many messages are acknowledged that were sent after this was called, so that they can be lost.
///
/// # Errors
/// Too few messages are acknowledged in time.
pub(crate) async fn tail(shared: &Shared, least: u64) -> Result<()> {
    shared.tail.fetch_add(1, Ordering::SeqCst);
    shared.in_tail.store(0, Ordering::SeqCst);
    let deadline = Instant::now() + DEADLINE;
    while shared.in_tail.load(Ordering::SeqCst) < least {
        ensure!(Instant::now() < deadline, "too few messages are acknowledged");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// What breaks the network.
pub(crate) struct NetworkFaults {
    pub(crate) proxies: Arc<Vec<Proxy>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: fastrand::Rng,
    /// The kinds that happen.
    pub(crate) kinds: Vec<Kind>,
}

impl NetworkFaults {
    /// Breaks connections until this time. Afterwards the network works.
    pub(crate) async fn run(mut self, until: Instant) {
        let mut dealer = Dealer::new(&NETWORK_DECK, &self.kinds, until);
        while let Some(kind) = dealer.next(&mut self.rng).await {
            sleep(Duration::from_micros(self.rng.u64(1_000..1_000_000))).await;
            self.happen(kind).await;
        }
    }

    async fn happen(&mut self, kind: Kind) {
        // One client, a few, or all.
        let all = self.proxies.len();
        let count = match self.rng.u32(0..10) {
            0..6 => 1,
            6..9 => all.div_ceil(4),
            _ => all,
        };
        let mut clients = self.rng.choose_multiple(0..all, count);
        clients.sort_unstable();
        let proxies = Arc::clone(&self.proxies);
        let each = || clients.iter().map(|client| &proxies[*client]);
        let length = match kind {
            Kind::Stall => Some(Duration::from_micros(self.rng.u64(1_000..4_000_000))),
            Kind::Slow => Some(Duration::from_micros(self.rng.u64(2_000_000..5_000_000))),
            _ => None,
        };
        self.shared.recorder.run(Event::Fault(Fault {
            clients: clients
                .iter()
                .filter_map(|client| u32::try_from(*client).ok())
                .collect(),
            for_us: length.map(micros),
            ..Fault::of(kind)
        }));
        match kind {
            Kind::Cut if self.rng.bool() => each().for_each(Proxy::cut),
            Kind::Cut => {
                for proxy in each() {
                    let way = if self.rng.bool() {
                        Direction::Up
                    } else {
                        Direction::Down
                    };
                    proxy.cut_after(way, self.rng.u64(1..6_000));
                }
            }
            Kind::Stall => {
                each().for_each(|proxy| proxy.stall(true));
                sleep(length.unwrap_or_default()).await;
                each().for_each(|proxy| proxy.stall(false));
            }
            Kind::Slow => {
                // The rate is that of new connections.
                for proxy in each() {
                    proxy.down_rate(self.rng.u32(1_000..20_000));
                    proxy.cut();
                }
                sleep(length.unwrap_or_default()).await;
                for proxy in each() {
                    proxy.down_rate(FAST);
                    proxy.cut();
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
