//! Servers that stop while sessions use them: the closes are spread over the drain time, every session is back soon, and
//! nothing that was acknowledged is lost.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use talkback_launch::{Process, Server as Program, Signal};
use talkback_protocol::{
    Body, ClientKey, Moment, RoomName, UserName,
    session::client::{ClientOptions, ClientSession, DeliveryState, Input, Output, RoomEvent},
};
use talkback_server::AppOptions;
use talkback_testbed::{Balancer, Port, ReverseProxy};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::durable::until_ready;
use crate::metrics::{fill, large_queues};
use crate::support::{
    self, Client, Server, assert_contains, close_frame,
    session::{SUBPROTOCOL, Session},
    wait_for, within,
};

/// The timeout of a test, much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(120);
/// The members that publish.
const PUBLISHERS: usize = 4;
/// The time between two messages of a publisher.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(400);
/// The longest pause that a session may choose before it reconnects to a server that takes it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What all members of a run share.
#[derive(Default)]
struct Shared {
    /// Members that have joined on their current connection.
    joined: AtomicUsize,
    publishing: AtomicBool,
    acked: AtomicU64,
    published: AtomicU64,
    /// Set when the run is over: the number of messages in the log.
    head: AtomicU64,
}

/// What a member saw.
#[derive(Default)]
struct Seen {
    received: Vec<String>,
    /// The offset and the text of its own messages.
    acked: Vec<(u64, String)>,
    /// The ends of its connections: when, and with which code.
    closes: Vec<(Instant, u16)>,
    /// The pauses that the session chose after a close with 1012.
    pauses: Vec<Duration>,
    /// From the end of each connection until it was a member again.
    away: Vec<Duration>,
}

/// A member of `lobby` with the real options of a client.
async fn member(address: SocketAddr, number: usize, shared: Arc<Shared>) -> Seen {
    let options = ClientOptions {
        name: Some(UserName::parse(&format!("user{number}")).unwrap()),
        ..ClientOptions::default()
    };
    let room = RoomName::parse("lobby").unwrap();
    let start = Instant::now();
    let moment = || Moment {
        now: start.elapsed(),
        random: fastrand::u64(..),
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    let mut session = ClientSession::new(options, ClientKey::from_random(key));
    let mut seen = Seen::default();
    let mut socket: Option<Client> = None;
    let (mut current, mut sent, mut ended_at, mut is_joined) = (0, 0, None, false);
    session.join(moment(), room.clone(), None, Some(100));
    session.connect(moment());
    let mut next_publish = start + PUBLISH_INTERVAL.mul_f32(fastrand::f32());
    loop {
        if number < PUBLISHERS && shared.publishing.load(Ordering::SeqCst) && Instant::now() >= next_publish {
            next_publish = Instant::now() + PUBLISH_INTERVAL;
            sent += 1;
            let body = Body::text(&format!("{number} {sent}"));
            session.publish(moment(), room.clone(), body, sent).unwrap();
            shared.published.fetch_add(1, Ordering::SeqCst);
        }
        while let Some(output) = session.poll_output() {
            match output {
                Output::Connect { generation } => {
                    current = generation;
                    socket = connect(address).await;
                    let input = match socket {
                        Some(_) => Input::Opened { generation },
                        None => closed(generation, 1006, ""),
                    };
                    session.handle(moment(), input);
                }
                Output::Transmit { generation, text } if generation == current => {
                    if let Some(open) = &mut socket {
                        // A connection that ended says so when it is read.
                        let _ = open.send(Message::text(text)).await;
                    }
                }
                Output::Disconnect { .. } => socket = None,
                Output::Delivery { tag, state } => match state {
                    DeliveryState::Acked { offset, .. } => {
                        seen.acked.push((offset.get(), format!("{number} {tag}")));
                        shared.acked.fetch_add(1, Ordering::SeqCst);
                    }
                    DeliveryState::Failed(reason) => panic!("message {tag} failed: {reason}"),
                    DeliveryState::Queued | DeliveryState::Written => {}
                },
                Output::Room { event, .. } => match event {
                    RoomEvent::Message { message, .. } => {
                        let offset = message.offset.get();
                        assert_eq!(offset, seen.received.len() as u64 + 1, "a gap or a duplicate");
                        seen.received.push(message.body.read().unwrap());
                    }
                    RoomEvent::Joined(_) | RoomEvent::Recovered(_) => {
                        seen.away.extend(ended_at.take().map(|ended: Instant| ended.elapsed()));
                        if !std::mem::replace(&mut is_joined, true) {
                            shared.joined.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    RoomEvent::Reset(_) => panic!("a reset although the log lost nothing"),
                    _ => {}
                },
                _ => {}
            }
        }
        let head = shared.head.load(Ordering::SeqCst);
        if head > 0 && seen.received.len() as u64 >= head {
            return seen;
        }
        let timer = session
            .next_timeout()
            .map_or(DEADLINE, |at| at.saturating_sub(start.elapsed()));
        let next = async {
            match &mut socket {
                Some(socket) => socket.next().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            message = next => match message {
                Some(Ok(Message::Text(text))) => {
                    let text = text.to_string();
                    session.handle(moment(), Input::Received { generation: current, text });
                    continue;
                }
                Some(Ok(Message::Close(frame))) => {
                    let end = frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    // Answers the close frame.
                    if let Some(socket) = &mut socket {
                        let _ = timeout(LONGEST_PAUSE, socket.next()).await;
                    }
                    end
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => (1006, String::new()),
            },
            // Publishing and the end of the run are looked at now and then.
            () = tokio::time::sleep(timer.min(Duration::from_millis(50))) => {
                session.handle(moment(), Input::Tick);
                continue;
            }
        };
        socket = None;
        let now = Instant::now();
        seen.closes.push((now, end.0));
        ended_at.get_or_insert(now);
        if std::mem::take(&mut is_joined) {
            shared.joined.fetch_sub(1, Ordering::SeqCst);
        }
        let at = moment();
        let since = at.now;
        session.handle(at, closed(current, end.0, &end.1));
        if end.0 == 1012 {
            seen.pauses
                .extend(session.next_timeout().map(|at| at.saturating_sub(since)));
        }
    }
}

fn closed(generation: u64, code: u16, reason: &str) -> Input {
    Input::Closed {
        generation,
        code,
        reason: reason.to_owned(),
    }
}

async fn connect(address: SocketAddr) -> Option<Client> {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request
        .headers_mut()
        .insert(SUBPROTOCOL.0, SUBPROTOCOL.1.parse().unwrap());
    let handshake = async {
        let stream = TcpStream::connect(address).await.ok()?;
        tokio_tungstenite::client_async(request, stream).await.ok()
    };
    Some(timeout(Duration::from_secs(10), handshake).await.ok()??.0)
}

/// The result of a run.
pub(crate) struct Figures {
    members: Vec<Seen>,
    /// When each server got its signal.
    stopped: Vec<Instant>,
}

impl Figures {
    /// Prints how long members were away, and checks that 99 of 100 were for less than 2 seconds.
    pub(crate) fn assert_away_for_less_than_2_seconds(&self) {
        let (half, most, all) = (self.away(0.5), self.away(0.99), self.away(1.0));
        let count: usize = self.members.iter().map(|seen| seen.away.len()).sum();
        println!("away {count} times: p50 {half:?}, p99 {most:?}, max {all:?}");
        assert!(most < Duration::from_secs(2), "p99 {most:?}");
    }

    /// The time that this part of the members was away at most, over all restarts.
    pub(crate) fn away(&self, part: f64) -> Duration {
        let mut away: Vec<_> = self.members.iter().flat_map(|seen| seen.away.iter().copied()).collect();
        away.sort_unstable();
        let last = away.len() - 1;
        #[expect(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a part of a small number"
        )]
        away[(last as f64 * part) as usize]
    }
}

/// What is in front of the servers.
pub(crate) enum Front {
    /// It holds connections while no server is ready.
    Balancer(Balancer),
    Nginx(ReverseProxy),
}

impl Front {
    pub(crate) async fn balancer(servers: Vec<SocketAddr>) -> Self {
        Self::Balancer(Balancer::start(&servers).await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Balancer(balancer) => balancer.address(),
            Self::Nginx(nginx) => nginx.address(),
        }
    }
}

/// Restarts each server in turn, in place, while `count` members use all of them through what `front` starts, some of which
/// publish. `command` makes the command of a server from its number and the address to listen on; several servers must
/// share an engine.
pub(crate) async fn rolling_restart(
    servers: usize,
    count: usize,
    front: impl AsyncFnOnce(Vec<SocketAddr>) -> Front,
    command: impl Fn(usize, &str) -> Command,
) -> Figures {
    let start = |number: usize, listen: &str| {
        let mut command = command(number, listen);
        // The start of a program is short, and nothing else has to go on meanwhile.
        Program::wait(Process::spawn(&mut command).unwrap(), DEADLINE).unwrap()
    };
    let ports: Vec<_> = (0..servers).map(|_| Port::loopback().unwrap()).collect();
    let addresses: Vec<_> = ports.iter().map(Port::address).collect();
    let mut programs: Vec<_> = (0..servers)
        .map(|number| start(number, &addresses[number].to_string()))
        .collect();
    let front = front(addresses.clone()).await;
    let shared = Arc::new(Shared::default());
    let address = front.address();
    let members = (0..count).map(|number| tokio::spawn(member(address, number, Arc::clone(&shared))));
    let members: Vec<_> = members.collect();
    let all_joined = async |what: &str| {
        let joined = timeout(DEADLINE, async {
            while shared.joined.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(
            joined.await.is_ok(),
            "waited for all members {what}: {} of {count} have joined",
            shared.joined.load(Ordering::SeqCst)
        );
    };
    all_joined("to join").await;
    shared.publishing.store(true, Ordering::SeqCst);

    let mut stopped = Vec::new();
    for number in 0..servers {
        let acked = shared.acked.load(Ordering::SeqCst);
        wait_for("messages between two restarts", || {
            shared.acked.load(Ordering::SeqCst) > acked
        })
        .await;
        stopped.push(Instant::now());
        let mut program = programs.remove(0);
        let status = tokio::task::spawn_blocking(move || program.process().stop())
            .await
            .unwrap();
        assert!(status.unwrap().success());
        let ended = stopped[number].elapsed();
        let listen = addresses[number].to_string();
        programs.push(start(number, &listen));
        until_ready(addresses[number], 200).await;
        let ready = stopped[number].elapsed();
        all_joined("to be back").await;
        let back = stopped[number].elapsed();
        println!("server {number} ended after {ended:?}, was ready after {ready:?}, had all members after {back:?}");
    }
    shared.publishing.store(false, Ordering::SeqCst);
    let all_acked = timeout(DEADLINE, async {
        // A member that was about to publish has done so after one of its pauses.
        tokio::time::sleep(PUBLISH_INTERVAL).await;
        while shared.acked.load(Ordering::SeqCst) < shared.published.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(all_acked.await.is_ok(), "waited for all messages to be acknowledged");
    shared.head.store(shared.acked.load(Ordering::SeqCst), Ordering::SeqCst);
    let members = timeout(DEADLINE, futures_util::future::join_all(members))
        .await
        .expect("all members to have every message");
    let members: Vec<_> = members.into_iter().map(Result::unwrap).collect();

    for seen in &members {
        assert!(seen.received == members[0].received, "the orders differ");
        for (offset, text) in &seen.acked {
            let at = usize::try_from(*offset).unwrap() - 1;
            assert_eq!(seen.received[at], *text, "an acknowledged message is lost");
        }
    }
    for pause in members.iter().flat_map(|seen| &seen.pauses) {
        assert!(*pause < LONGEST_PAUSE, "a session waits for {pause:?} after 1012");
    }
    Figures { members, stopped }
}

fn sqlite(file: &Path, listen: &str, drain_time: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
    let engine = format!("sqlite:{}", file.display());
    command.args(["--listen", listen, "--engine", &engine, "--drain-time", drain_time]);
    command.args(["--log", "off"]);
    command.env_clear().stdout(Stdio::piped());
    command
}

/// Counts the closes in tenths of the drain time.
fn tenths(closes: impl Iterator<Item = Duration>, drain_time: Duration) -> [usize; 10] {
    let mut bins = [0; 10];
    for after in closes {
        let bin = after.as_millis() * 10 / drain_time.as_millis().max(1);
        bins[usize::try_from(bin).unwrap().min(9)] += 1;
    }
    bins
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_nothing_and_each_session_is_closed_once_and_comes_back_by_itself() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let figures = rolling_restart(1, 60, Front::balancer, |_, listen| sqlite(&file, listen, "600ms")).await;
    for seen in &figures.members {
        // Attempts while no server is there fail, but every open session gets the close frame.
        assert_eq!(seen.closes.first().map(|(_, code)| *code), Some(1012));
        assert_eq!((seen.pauses.len(), seen.away.len()), (1, 1));
    }
}

/// `cargo test -p talkback-server --release --test sockets -- --ignored --nocapture of_500_members`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn in_a_restart_in_place_99_of_100_of_500_members_are_away_for_less_than_2_seconds() {
    const DRAIN_TIME: Duration = Duration::from_millis(300);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let figures = rolling_restart(1, 500, Front::balancer, |_, listen| sqlite(&file, listen, "300ms")).await;
    let stopped = figures.stopped[0];
    let closes = figures.members.iter().flat_map(|seen| &seen.closes);
    let closes = closes.filter(|(_, code)| *code == 1012).map(|(at, _)| *at - stopped);
    println!(
        "closes in each tenth of {DRAIN_TIME:?}: {:?}",
        tenths(closes, DRAIN_TIME)
    );
    figures.assert_away_for_less_than_2_seconds();
}

#[tokio::test]
async fn the_closes_are_spread_over_the_drain_time_and_meanwhile_nothing_is_accepted() {
    const DRAIN_TIME: Duration = Duration::from_secs(2);
    const SOCKETS: usize = 100;
    let options = AppOptions {
        drain_time: DRAIN_TIME,
        ..AppOptions::default()
    };
    let mut server = Server::with(options).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(server.connect("/echo").await);
    }
    let stopped = Instant::now();
    server.stop();
    let closes = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let (code, _) = close_frame(&mut socket).await;
            (code, stopped.elapsed())
        })
    });
    let closes: Vec<_> = closes.collect();
    wait_for("the first close", || server.app.sockets().count() < SOCKETS).await;
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "it is still accepting"
    );
    let mut after = Vec::new();
    for close in closes {
        let (code, at) = close.await.unwrap();
        assert_eq!(code, 1001);
        after.push(at);
    }
    server.ended().await;
    // A busy machine makes closes late, and never early.
    let bins = tenths(after.iter().copied(), DRAIN_TIME);
    let mut closed = 0;
    for (number, bin) in (1..=bins.len()).zip(bins) {
        closed += bin;
        let most = SOCKETS * number / bins.len() + 1;
        assert!(closed <= most, "{closed} in the first {number} tenths: {bins:?}");
    }
    assert!(after.iter().max() >= Some(&(DRAIN_TIME * 9 / 10)), "{bins:?}");
}

#[tokio::test]
async fn few_sockets_are_closed_in_less_than_the_drain_time() {
    let options = AppOptions {
        drain_time: Duration::from_secs(3600),
        ..AppOptions::default()
    };
    let mut server = Server::with(options).await;
    let mut sockets = [server.connect("/echo").await, server.connect("/chat/lobby").await];
    server.stop();
    for socket in &mut sockets {
        assert_eq!(close_frame(socket).await.0, 1001);
    }
    server.ended().await;
}

#[tokio::test]
async fn during_the_drain_delay_the_server_is_not_ready_and_still_serves() {
    let directory = TempDir::new().unwrap();
    let mut command = sqlite(&directory.path().join("log.db"), "127.0.0.1:0", "0s");
    command.args(["--drain-delay", "1h"]);
    let mut program = Program::wait(Process::spawn(&mut command).unwrap(), DEADLINE).unwrap();
    let address = program.address();
    let ready = async || support::get(&address.to_string(), "/readyz").await;
    assert_contains(&ready().await, "200 OK");
    program.process().signal(Signal::SIGTERM);
    within("the server to be draining", async {
        while !ready().await.contains("\"status\":\"draining\"") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_contains(&ready().await, "503 Service Unavailable");
    let mut socket = connect(address).await.expect("a new session is accepted");
    socket.close(None).await.unwrap();
    // A second signal ends it at once.
    let status = tokio::task::spawn_blocking(move || program.process().stop());
    assert_eq!(within("the end", status).await.unwrap().unwrap().code(), Some(130));
}

#[tokio::test]
async fn what_waits_for_a_member_is_written_before_its_close_frame() {
    let mut server = Server::with(large_queues()).await;
    let mut slow = Session::member(&server, 1, "slow", "lobby").await;
    let mut ann = Session::member(&server, 2, "ann", "lobby").await;
    let messages = fill(&server, &mut ann).await;
    server.stop();
    assert_eq!(slow.bodies(messages).await.len(), messages);
    assert_eq!(slow.closed().await.0, 1012);
    drop(ann);
    server.ended().await;
}
