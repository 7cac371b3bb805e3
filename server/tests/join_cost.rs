//! What a join costs in a room of many users, and an idle session. Figures for people; the one bound that is asserted is the ratio
//! that must not grow with the room.
//!
//! `cargo test --release -p talkback-server --test join_cost -- --ignored --nocapture`
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Joins over which the cost is taken.
const JOINS: u32 = 1_000;
/// Joins on the way at a time, as after a restart.
const AT_ONCE: usize = 50;

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_talkback-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--max-connection-rate",
                "0",
                "--workers",
                "1",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        let address = first
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .parse()
            .unwrap();
        Self { process, address }
    }

    /// The time that all its threads have computed.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanos = tasks.map(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split(' ')
                .next()
                .and_then(|nanos| nanos.parse::<u64>().ok())
                .unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Joins as a user of its own, and reads what comes then on a task of its own.
async fn join(server: SocketAddr, number: u32, room: String) {
    let socket = TcpSocket::new_v4().unwrap();
    let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + number % 200);
    socket.bind((source, 0).into()).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: talkback.v1\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let hello = format!(
        "{{\"hello\":{{\"client\":\"{number:032x}\",\"name\":\"user{number}\"}}}}\n{{\"join\":{{\"room\":\"{room}\"}}}}"
    );
    read_to(&mut stream, b"\r\n\r\n").await;
    // Not masked by anything: the mask is 0.
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&u16::try_from(hello.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(hello.as_bytes());
    stream.write_all(&frame).await.unwrap();
    read_to(&mut stream, b"\"joined\"").await;
    tokio::spawn(async move {
        let mut bytes = vec![0; 512];
        while let Ok(1..) = stream.read(&mut bytes).await {}
    });
}

async fn read_to(stream: &mut TcpStream, end: &[u8]) {
    let mut all = Vec::new();
    while !all.windows(end.len()).any(|part| part == end) {
        assert!(
            stream.read_buf(&mut all).await.unwrap() > 0,
            "the server closed the connection"
        );
    }
}

async fn join_all(server: SocketAddr, numbers: std::ops::Range<u32>, room: &str) {
    use futures_util::StreamExt;
    let joins = futures_util::stream::iter(numbers.map(|number| join(server, number, room.to_owned())));
    joins.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}

/// Until what was to be told has been told.
async fn rest() {
    tokio::time::sleep(Duration::from_secs(7)).await;
}

#[tokio::test]
#[ignore = "figures that mean something in a release build on a quiet machine only"]
async fn a_join_costs_no_more_in_a_large_room_and_an_idle_session_little() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let mut costs = Vec::new();
    for users in [100, 1_000, 5_000] {
        let server = Server::start();
        join_all(server.address, 0..users, "lobby").await;
        rest().await;
        let before = server.cpu();
        join_all(server.address, users..users + JOINS, "lobby").await;
        // What they are told later belongs to it.
        rest().await;
        let cost = (server.cpu() - before) / JOINS;
        println!("a join in a room of {users}: {cost:?} of CPU");
        costs.push(cost);
    }
    let server = Server::start();
    join_all(server.address, 0..10, "lobby").await;
    rest().await;
    let before = server.resident_bytes();
    join_all(server.address, 10..3_010, "lobby").await;
    rest().await;
    let each = (server.resident_bytes() - before) / 3_000;
    println!("an idle session in a room of 3,000: {each} bytes");
    assert!(costs[2] <= costs[0] * 2, "{costs:?}");
    assert!(each <= 5 * 1024, "{each} bytes");
}
