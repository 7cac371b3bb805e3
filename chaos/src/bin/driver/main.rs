//! The driver of `cargo xtask chaos`: clients with real sessions load real servers, faults break these, their Redis and
//! the network, and everything that the clients did and saw is recorded for the checker.
//!
//! - [`client`]: a client, which drives a `ClientSession`; [`load`]: what its application does;
//! - [`connection`]: its WebSocket; [`wire`]: what only the lines on it show;
//! - [`server`]: the process of a server and its data; [`faults`]: what breaks servers and the network;
//! - [`clock`]: the clock of a server;
//! - [`redis`]: the Redis of several servers, and what breaks it; [`aof`]: its files; [`cluster`]: a Redis Cluster;
//! - [`recorder`]: the recording.

mod aof;
mod client;
mod clock;
mod cluster;
mod connection;
mod faults;
mod load;
mod power;
mod recorder;
mod redis;
mod server;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use talkback_chaos::{Event, FILE, FORMAT, Run};
use talkback_protocol::{Cursor, Offset, RoomName};
use talkback_testbed::{Proxy, RedisCluster};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use client::{Client, ClientArgs, Command, Phase, Shared, beginning};
use clock::Clock;
use cluster::ClusterFaults;
use faults::{NetworkFaults, ServerFaults, kinds};
use load::Load;
use recorder::Recorder;
use redis::{RedisFaults, Stage};
use server::{Data, Server, Topology};

/// How long clients may make no progress while they settle and catch up. What is not done then is for the checker to
/// judge.
const NO_PROGRESS: Duration = Duration::from_secs(30);

/// A run that takes so much longer than its faults hangs.
const OVERTIME: Duration = Duration::from_secs(600);

#[derive(Parser)]
struct Arguments {
    /// The server program
    #[arg(long)]
    server: PathBuf,
    /// Which servers run, and where they keep their data
    #[arg(long, value_enum)]
    topology: Topology,
    /// A new folder for the recording, the data and the logs of the servers
    #[arg(long)]
    folder: PathBuf,
    /// Of all random choices
    #[arg(long)]
    seed: u64,
    /// How long faults happen, in seconds; each kind happens at least once
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// How many clients there are
    #[arg(long, default_value_t = 24)]
    clients: u32,
    /// How many rooms there are
    #[arg(long, default_value_t = 6)]
    rooms: u32,
    /// How many messages all clients together publish a second
    #[arg(long, default_value_t = 600.0)]
    rate: f64,
    /// The library of chaos/power_cut, for power cuts
    #[arg(long, value_name = "LIBRARY")]
    power_cut: Option<PathBuf>,
    /// The library of libfaketime, for clocks that are turned
    #[arg(long, value_name = "LIBRARY")]
    clock: Option<PathBuf>,
    /// Only these kinds of faults
    #[arg(long, value_name = "KIND")]
    only: Vec<String>,
}

/// What keeps the data besides the servers.
enum Outside {
    Nothing,
    Redis(Box<Stage>),
    Cluster(RedisCluster),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let limit = Duration::from_secs(arguments.seconds) + OVERTIME;
    timeout(limit, run(&arguments))
        .await
        .unwrap_or_else(|_| bail!("the run did not end within {limit:?}"))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let &Arguments {
        topology,
        seed,
        clients,
        rooms,
        rate,
        ..
    } = arguments;
    ensure!(clients > 0 && rooms > 0 && rate > 0.0, "nothing would be published");
    let folder = &arguments.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let is_wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let mut kinds = kinds(topology, arguments.power_cut.is_some(), arguments.clock.is_some());
    kinds.retain(|kind| is_wanted(kind.name()));
    ensure!(!kinds.is_empty(), "no fault would happen");
    let shared = Arc::new(Shared {
        recorder: Recorder::new(&folder.join(FILE))?,
        rooms: (0..rooms)
            .map(|room| RoomName::parse(&format!("room{room}")))
            .collect::<Result<_, _>>()?,
        open: 0.into(),
        tail: 0.into(),
        in_tail: 0.into(),
        epochs: Mutex::default(),
        steps: 0.into(),
        clients: Mutex::default(),
    });
    shared.recorder.run(Event::Run(Run {
        format: FORMAT,
        seed,
        topology: format!("{topology:?}").to_lowercase(),
        servers: topology.servers(),
        clients,
        reader: clients,
        plan: kinds.iter().map(|kind| (*kind, 1)).collect(),
    }));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut proxies = Vec::new();
    for _ in 0..clients {
        // The server, which starts later, gives them its address.
        proxies.push(Proxy::start((Ipv4Addr::LOCALHOST, 0).into()).await?);
    }
    let proxies = Arc::new(proxies);
    let outside = match topology {
        Topology::Redis => Outside::Redis(Box::new(Stage::start().await?)),
        Topology::Cluster => Outside::Cluster(cluster::start().await?),
        Topology::Memory | Topology::Sqlite => Outside::Nothing,
    };
    let data = match (topology, &outside) {
        (Topology::Memory, _) => Data::Memory,
        (_, Outside::Redis(stage)) => Data::Redis(stage.url()),
        (_, Outside::Cluster(cluster)) => Data::Redis(cluster.url()),
        (_, Outside::Nothing) => Data::Sqlite {
            power_cut: arguments.power_cut.clone(),
        },
    };
    let names = (0..topology.servers()).map(|number| match topology {
        Topology::Redis | Topology::Cluster => format!("server-{number}"),
        Topology::Memory | Topology::Sqlite => "server".to_owned(),
    });
    let servers = names.map(|name| {
        let clock = arguments.clock.as_deref();
        let clock = clock.map(|library| Clock::new(library, folder, &name)).transpose()?;
        Ok(Server::new(&arguments.server, data.clone(), folder, &name)?.with_clock(clock))
    });
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let mut server = ServerFaults {
        targets: (0..proxies.len()).map(|proxy| proxy % servers.len()).collect(),
        servers,
        topology,
        proxies: Arc::clone(&proxies),
        shared: Arc::clone(&shared),
        rng: rng.fork(),
        kinds: kinds.clone(),
        copies: 0,
    };
    for number in 0..server.servers.len() {
        server.start(number)?;
    }

    let (phase, phases) = watch::channel(Phase::Load);
    let mut tasks = JoinSet::new();
    let (command, commands) = mpsc::channel(1);
    // Clients without commands keep the end of a channel on which none come.
    let mut silent = Vec::new();
    for (number, proxy) in (0..clients).zip(proxies.iter()) {
        let (none, commands) = mpsc::channel(1);
        silent.push(none);
        let client = Client::new(ClientArgs {
            number,
            server: proxy.address(),
            shared: Arc::clone(&shared),
            rng: rng.fork(),
            phase: phases.clone(),
            commands,
            load: Some(Load::new(shared.rooms.clone(), rate / f64::from(clients))),
        })?;
        tasks.spawn(client.run());
    }
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let network = NetworkFaults {
        proxies: Arc::clone(&proxies),
        shared: Arc::clone(&shared),
        rng: rng.fork(),
        kinds: kinds.clone(),
    };
    let network = tokio::spawn(network.run(until));
    let server = tokio::spawn(server.run(until));
    let outside = match outside {
        Outside::Redis(stage) => {
            let faults = RedisFaults::new(*stage, Arc::clone(&shared), rng.fork(), kinds, folder.join("data"));
            Outside::Redis(Box::new(faults.run(until).await?))
        }
        Outside::Cluster(cluster) => {
            let faults = ClusterFaults::new(cluster, Arc::clone(&shared), rng.fork(), kinds);
            Outside::Cluster(faults.run(until).await?)
        }
        Outside::Nothing => Outside::Nothing,
    };
    let server = server.await??;
    network.await?;
    shared.recorder.run(Event::Quiet {});
    phase.send_replace(Phase::Settle);
    wait(&shared, || is_settled(&shared)).await;

    let reader = Client::new(ClientArgs {
        number: clients,
        server: server.servers[0].address().context("the server does not run")?,
        shared: Arc::clone(&shared),
        rng: rng.fork(),
        phase: phases,
        commands,
        load: None,
    })?;
    tasks.spawn(reader.run());
    let heads = read_logs(&shared, clients, &command).await?;
    wait(&shared, || is_caught_up(&shared, clients, &heads)).await;
    phase.send_replace(Phase::Stop);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    shared.recorder.finish()?;
    match outside {
        Outside::Redis(stage) => stage.keep_logs(folder)?,
        Outside::Cluster(cluster) => cluster::keep_logs(&cluster, folder)?,
        Outside::Nothing => {}
    }
    drop((server, silent));
    Ok(())
}

/// Waits for a condition while the clients make progress, and says whether it came.
async fn wait(shared: &Shared, mut is_true: impl FnMut() -> bool) -> bool {
    let (mut progress, mut since) = (shared.progress(), Instant::now());
    while since.elapsed() < NO_PROGRESS {
        if is_true() {
            return true;
        }
        sleep(Duration::from_millis(5)).await;
        let now = shared.progress();
        if now > progress {
            (progress, since) = (now, Instant::now());
        }
    }
    false
}

/// Whether all messages have an outcome, and none follows.
fn is_settled(shared: &Shared) -> bool {
    let progress = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
    progress.values().all(|client| client.settles && client.unsettled == 0)
}

/// Whether each client has all messages of the rooms that it has joined.
fn is_caught_up(shared: &Shared, clients: u32, heads: &BTreeMap<RoomName, Cursor>) -> bool {
    let progress = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
    progress.range(..clients).all(|(_, client)| {
        client.rooms.iter().all(|(room, state)| {
            let cursor = state.as_ref().map(|(cursor, _)| cursor);
            cursor.is_some() && cursor == heads.get(room)
        })
    })
}

/// The reader joins each room, sees its head, and reads it from the beginning.
async fn read_logs(
    shared: &Shared,
    reader: u32,
    command: &mpsc::Sender<Command>,
) -> Result<BTreeMap<RoomName, Cursor>> {
    let state = |room: &RoomName| -> Option<(Cursor, Offset)> {
        let progress = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        progress.get(&reader)?.rooms.get(room)?.clone()
    };
    let mut heads = BTreeMap::new();
    for room in &shared.rooms {
        let join = |since| Command::Join {
            room: room.clone(),
            since,
        };
        command.send(join(None)).await?;
        wait(shared, || state(room).is_some()).await;
        let Some((Cursor { epoch, .. }, head)) = state(room) else {
            // The others could not be read either.
            break;
        };
        command.send(Command::Leave { room: room.clone() }).await?;
        wait(shared, || state(room).is_none()).await;
        command.send(join(Some(beginning(&epoch)))).await?;
        let end = Cursor { epoch, offset: head };
        wait(shared, || state(room).is_some_and(|(cursor, _)| cursor == end)).await;
        shared.recorder.run(Event::Log {
            room: room.to_string(),
            epoch: end.epoch.as_str().to_owned(),
            head: head.get(),
        });
        heads.insert(room.clone(), end);
    }
    Ok(heads)
}
