//! Measures the Redis engine: how many messages a second are acknowledged, and how many a second the same Redis adds
//! when the engine's own commands are sent again, pipelined, by a program that does nothing else.
//!
//! `cargo run --release -p talkback-server --example shared -- redis://HOST:PORT` with a Redis of its own: all that is
//! in it is deleted. With `--figures` it prints each figure as a name and a number.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use talkback_protocol::{Body, ClientKey, PublishId, RoomName, Seq, UserName, message::Author};
use talkback_server::engine::{Append, AppendOutcome, Engine, MessageId, Redis, RedisOptions, RedisUrl};

/// The clients, the rooms that they publish to, and how many messages of each client are not answered.
const SESSIONS: u64 = 64;
const ROOMS: u64 = 16;
const IN_FLIGHT: usize = 128;
const BYTES: usize = 100;
/// The messages of each client in one measurement.
const MESSAGES: u64 = 1500;
/// Measurements, each of both.
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let url = arguments.iter().find(|argument| !argument.starts_with("--"));
    let url = url.expect("the URL of a Redis whose data may be deleted");
    let prints_figures = arguments.iter().any(|argument| argument == "--figures");
    let address = url.trim_start_matches("redis://").to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    flush(&address);
    let recorder = Recorder::start(&address);
    runtime.block_on(append_all(&recorder.url));
    let commands = recorder.appends();
    let (mut engine, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each begins in every other round, because the machine is not always equally fast.
        for turn in 0..2 {
            flush(&address);
            if (round + turn).is_multiple_of(2) {
                engine.push(runtime.block_on(append_all(url)));
            } else {
                bare.push(replay(&address, &commands));
            }
        }
    }
    let mut ratios: Vec<_> = engine.iter().zip(&bare).map(|(engine, bare)| engine / bare).collect();
    if prints_figures {
        for (name, values) in [("redis-engine", &engine), ("redis-bare", &bare)] {
            values.iter().for_each(|value| println!("{name} {value}"));
        }
        return;
    }
    println!(
        "appends a second: engine {:.0}, bare {:.0}, engine to bare {:.2}",
        median(&mut engine),
        median(&mut bare),
        median(&mut ratios)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets all clients publish all their messages. Returns how many were acknowledged a second.
async fn append_all(url: &str) -> f64 {
    let options = RedisOptions::new(url.parse::<RedisUrl>().unwrap());
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(options).unwrap());
    engine.ready().await.unwrap();
    let start = Instant::now();
    let tasks = (0..SESSIONS).map(|session| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let (mut seq, mut acks) = (0, 0);
            let mut open = FuturesUnordered::new();
            while acks < MESSAGES {
                while open.len() < IN_FLIGHT && seq < MESSAGES {
                    seq += 1;
                    open.push(engine.append(append(session, seq)));
                }
                match open.next().await {
                    Some(AppendOutcome::Added(_)) => acks += 1,
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    per_second(start)
}

fn per_second(start: Instant) -> f64 {
    (SESSIONS * MESSAGES) as f64 / start.elapsed().as_secs_f64()
}

fn append(session: u64, seq: u64) -> Append {
    let key = ClientKey::from_random(u128::from(session + 1).to_be_bytes());
    Append {
        room: RoomName::parse(&format!("room-{}", session % ROOMS)).unwrap(),
        id: MessageId::Client {
            key,
            seq: Seq::new(seq).unwrap(),
            id: PublishId::from_random(seq),
            first: false,
            origin: None,
        },
        from: Author {
            sender: key.sender(),
            user: UserName::parse("ann").unwrap(),
        },
        content: Ok(Body::text(&"x".repeat(BYTES - 2))),
    }
}

/// Passes connections on to Redis and keeps what the engine sends on each.
struct Recorder {
    url: String,
    /// Of each connection.
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// What was sent on a connection.
type Sent = Arc<Mutex<Vec<u8>>>;

impl Recorder {
    fn start(redis: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (redis, connections) = (redis.to_owned(), Arc::clone(&sent));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&redis).unwrap());
                let kept = Sent::default();
                connections.lock().unwrap().push(Arc::clone(&kept));
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(client, server, |bytes| kept.lock().unwrap().extend(bytes)));
                thread::spawn(move || pass(back.0, back.1, |_| {}));
            }
        });
        Self { url, sent }
    }

    /// The commands that append, in the order in which they were sent.
    fn appends(&self) -> Vec<Vec<u8>> {
        let sent = self.sent.lock().unwrap();
        let largest = sent.iter().max_by_key(|sent| sent.lock().unwrap().len()).unwrap();
        let bytes = largest.lock().unwrap();
        let mut rest = &bytes[..];
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let length = command_length(rest);
            let (command, after) = rest.split_at(length);
            // An append has four keys, every other script three.
            if command.windows(13).take(64).any(|part| part == b"\r\nEVALSHA\r\n$4") && count(command) == 18 {
                commands.push(command.to_vec());
            }
            rest = after;
        }
        assert_eq!(commands.len() as u64, SESSIONS * MESSAGES, "of the recorded appends");
        commands
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The number after the first byte of a line, and the length of the line with its end.
fn head(bytes: &[u8]) -> (usize, usize) {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let number = std::str::from_utf8(&bytes[1..end]).unwrap().parse().unwrap();
    (number, end + 2)
}

/// The words of a command.
fn count(command: &[u8]) -> usize {
    head(command).0
}

fn command_length(bytes: &[u8]) -> usize {
    let (words, mut length) = head(bytes);
    for _ in 0..words {
        let (word, line) = head(&bytes[length..]);
        length += line + word + 2;
    }
    length
}

fn flush(redis: &str) {
    let mut stream = TcpStream::connect(redis).unwrap();
    stream.write_all(b"FLUSHALL\r\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

/// Sends the commands, in groups of 512 of which four are without an answer, as the engine does at most. Returns how
/// many messages were added a second.
fn replay(redis: &str, commands: &[Vec<u8>]) -> f64 {
    let groups: Vec<(usize, Vec<u8>)> = commands
        .chunks(512)
        .map(|group| (group.len(), group.concat()))
        .collect();
    let mut stream = TcpStream::connect(redis).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let (answered, wait) = mpsc::channel::<()>();
    let start = Instant::now();
    let lengths: Vec<_> = groups.iter().map(|(length, _)| *length).collect();
    let writer = thread::spawn(move || {
        for (index, (_, bytes)) in groups.iter().enumerate() {
            if index >= 4 {
                wait.recv().unwrap();
            }
            writing.write_all(bytes).unwrap();
        }
    });
    let (mut buffer, mut rest) = (vec![0; 256 * 1024], Vec::new());
    for length in lengths {
        let (mut missing, mut at) = (length, 0);
        loop {
            while missing > 0
                && let Some(answer) = answer(&rest[at..])
            {
                at += answer;
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "Redis closed the connection");
            rest.extend_from_slice(&buffer[..read]);
        }
        rest.drain(..at);
        // The writer has ended when nothing is left to send.
        let _ = answered.send(());
    }
    writer.join().unwrap();
    per_second(start)
}

/// The length of a whole answer, which says that the message was added.
fn answer(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let line = String::from_utf8_lossy(&bytes[..end]);
    assert!(line.starts_with('$'), "the script answers {line}");
    let (length, _) = head(bytes);
    let text = bytes.get(end..end + length + 2)?;
    assert_eq!(text[1], b'A', "the script answers {}", String::from_utf8_lossy(text));
    Some(end + length + 2)
}
