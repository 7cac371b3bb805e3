//! Measures the sqlite engine: how many messages a second are acknowledged, what they cost the thread that writes, how
//! long an ack takes, and how long a server takes to open a large log.
//!
//! `cargo run --release -p talkback-server --example durable`. It writes to a directory of its own under `TMPDIR`. With
//! `--figures` it prints what the thread that writes costs, and the bare loop, each as a name and a number.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use talkback_protocol::{Body, ClientKey, PublishId, RoomName, Seq, UserName, message::Author};
use talkback_server::engine::{Append, AppendOutcome, Engine, Memory, MemoryOptions, MessageId, Sqlite, SqliteOptions};

/// How many messages of each session are not answered.
const IN_FLIGHT: usize = 128;
const MEASURED: Duration = Duration::from_secs(5);
/// The measurements of a run with `--figures`.
const ROUNDS: usize = 5;
const MEASURED_EACH: Duration = Duration::from_secs(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    if std::env::args().any(|argument| argument == "--figures") {
        for round in 0..ROUNDS {
            for sessions in [8, 64, 512] {
                let at = |name| directory.path().join(format!("{name}-{sessions}-{round}.db"));
                let measured = runtime.block_on(throughput(&at("log"), sessions, 100, MEASURED_EACH));
                let bare = bare_loop(&at("bare"), sessions, 100, measured.group, MEASURED_EACH);
                println!("sqlite-{sessions}-engine {}", measured.writer_us);
                println!("sqlite-{sessions}-bare {bare}");
            }
        }
        return;
    }
    println!("sessions  bytes  acks/s  messages/commit  writer us/message  bare loop us/message  ratio");
    for (sessions, bytes) in [(64, 100), (8, 100), (512, 100)] {
        let path = directory.path().join(format!("log-{sessions}.db"));
        let measured = runtime.block_on(throughput(&path, sessions, bytes, MEASURED));
        let bare = bare_loop(
            &directory.path().join(format!("bare-{sessions}.db")),
            sessions,
            bytes,
            measured.group,
            MEASURED,
        );
        println!(
            "{sessions:>8}  {bytes:>5}  {:>6.0}  {:>15}  {:>17.2}  {:>20.2}  {:>5.2}",
            measured.per_second,
            measured.group,
            measured.writer_us,
            bare,
            measured.writer_us / bare
        );
    }
    println!("\nack at 1,000 messages a second, ms: median, p99");
    runtime.block_on(async {
        let memory: Arc<dyn Engine> = Arc::new(Memory::new(MemoryOptions::default()));
        let (median, p99) = latency(memory).await;
        println!("memory  {median:.2}  {p99:.2}");
        let options = SqliteOptions::new(directory.path().join("latency.db"));
        let (median, p99) = latency(Arc::new(Sqlite::open(options).unwrap())).await;
        println!("sqlite  {median:.2}  {p99:.2}");
    });
    let path = directory.path().join("large.db");
    let messages = 10_000_000;
    runtime.block_on(async {
        drop(Sqlite::open(SqliteOptions::new(&path)).unwrap());
        fill(&path, messages);
        let options = SqliteOptions {
            log: MemoryOptions {
                age: Duration::from_secs(1 << 40),
                total_bytes: usize::MAX,
                ..MemoryOptions::default()
            },
            ..SqliteOptions::new(&path)
        };
        let start = Instant::now();
        let engine = Sqlite::open(options).unwrap();
        let outcome = engine.append(append("room-7", 1, 1, 100)).await;
        assert!(matches!(outcome, AppendOutcome::Added(_)), "{outcome:?}");
        println!(
            "\nopened {} messages in {} rooms and added one in {:?}",
            engine.usage().messages,
            engine.usage().rooms,
            start.elapsed()
        );
    });
}

fn append(room: &str, session: u64, seq: u64, bytes: usize) -> Append {
    let key = ClientKey::from_random(u128::from(session + 1).to_be_bytes());
    Append {
        room: RoomName::parse(room).unwrap(),
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
        content: Ok(Body::text(&"x".repeat(bytes - 2))),
    }
}

struct Measured {
    per_second: f64,
    /// Messages of a commit on average.
    group: u64,
    writer_us: f64,
}

async fn throughput(path: &Path, sessions: u64, bytes: usize, duration: Duration) -> Measured {
    let engine: Arc<dyn Engine> = Arc::new(Sqlite::open(SqliteOptions::new(path)).unwrap());
    let end = Instant::now() + duration;
    let (start, cpu) = (Instant::now(), cpu_of("log-writer"));
    let tasks = (0..sessions).map(|session| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let (mut seq, mut acks) = (0, 0_u64);
            let mut open = FuturesUnordered::new();
            loop {
                while open.len() < IN_FLIGHT && Instant::now() < end {
                    seq += 1;
                    open.push(engine.append(append(&format!("room-{}", session % 16), session, seq, bytes)));
                }
                match open.next().await {
                    Some(AppendOutcome::Added(_)) => acks += 1,
                    Some(other) => panic!("{other:?}"),
                    None => return acks,
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut acks = 0;
    for task in tasks {
        acks += task.await.unwrap();
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_of("log-writer") - cpu);
    let commits = engine.usage().commits;
    Measured {
        per_second: acks as f64 / seconds,
        group: (acks / commits.max(1)).max(1),
        writer_us: cpu * 1e6 / acks as f64,
    }
}

/// The same statements in groups of the same size, without anything else. CPU time of a message.
fn bare_loop(path: &Path, sessions: u64, bytes: usize, group: u64, duration: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { drop(Sqlite::open(SqliteOptions::new(path)).unwrap()) });
    let measured = std::thread::Builder::new().name("bare-loop".to_owned());
    let path = path.to_owned();
    let thread = measured.spawn(move || {
        let mut connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "synchronous", "full").unwrap();
        connection.pragma_update(None, "cache_size", -32 * 1024).unwrap();
        let outcomes = vec![7_u8; 25 * IN_FLIGHT];
        for id in 0..sessions as i64 {
            connection.execute("INSERT INTO clients (id, room, client, last, newest, used, outcomes) VALUES (?1, 1, ?2, 0, 0, 0, x'')", (id, id.to_be_bytes())).unwrap();
        }
        for id in 0..16_i64 {
            connection.execute("INSERT INTO rooms (id, name, epoch, head, floor, bytes, at, made, used) VALUES (?1, ?2, 'e', 0, 0, 0, 0, 0, 0)", (id, format!("room-{id}"))).unwrap();
        }
        let body = format!("\"{}\"", "x".repeat(bytes - 2));
        let (mut offset, mut messages) = (0_i64, 0_u64);
        let (end, cpu) = (Instant::now() + duration, cpu_of("bare-loop"));
        while Instant::now() < end {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
            for _ in 0..group {
                offset += 1;
                messages += 1;
                transaction.prepare_cached("INSERT INTO messages (room, offset, at, sender, user, seq, id, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").unwrap()
                    .execute((offset % 16, offset, 1_700_000_000_000_i64, "0123456789abcdef", "ann", offset, offset, &body)).unwrap();
            }
            for room in 0..16 {
                transaction.prepare_cached("UPDATE rooms SET head = ?2, floor = ?3, bytes = ?4, at = ?5, used = ?6 WHERE id = ?1").unwrap()
                    .execute((room, offset, 0, offset, offset, offset)).unwrap();
                // As many as the engine keeps of each room.
                let floor = offset - 16 * 8192;
                transaction.prepare_cached("DELETE FROM messages WHERE room = ?1 AND offset <= ?2 RETURNING octet_length(body)").unwrap()
                    .query_map((room, floor), |row| row.get::<_, i64>(0)).unwrap().for_each(|row| assert!(row.unwrap() > 0));
            }
            for client in 0..sessions as i64 {
                transaction.prepare_cached("UPDATE clients SET last = ?2, newest = ?3, used = ?4, outcomes = ?5 WHERE id = ?1").unwrap()
                    .execute((client, offset, offset, offset, &outcomes)).unwrap();
            }
            transaction.commit().unwrap();
        }
        (cpu_of("bare-loop") - cpu) * 1e6 / messages as f64
    });
    thread.unwrap().join().unwrap()
}

/// Seconds of CPU time of the threads with this name, by Linux's account of them.
fn cpu_of(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let is_it = std::fs::read_to_string(path.join("comm")).ok()?.trim() == name;
            let nanoseconds = std::fs::read_to_string(path.join("schedstat")).ok()?;
            let nanoseconds: f64 = nanoseconds.split(' ').next()?.parse().ok()?;
            is_it.then_some(nanoseconds / 1e9)
        })
        .sum()
}

async fn latency(engine: Arc<dyn Engine>) -> (f64, f64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut acks = Vec::new();
    for seq in 1..=10_000 {
        ticks.tick().await;
        let start = Instant::now();
        let answer = engine.append(append("lobby", seq % 64, seq / 64 + 1, 100));
        acks.push(tokio::spawn(async move {
            drop(answer.await);
            start.elapsed().as_secs_f64() * 1e3
        }));
    }
    let mut times = Vec::new();
    for ack in acks {
        times.push(ack.await.unwrap());
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Writes so many messages in 2,000 rooms.
fn fill(path: &Path, messages: u64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let each = messages / 2000;
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = off; BEGIN;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO rooms (id, name, epoch, head, floor, bytes, at, made, used)
             SELECT i, 'room-' || i, 'e', {each}, 0, {each} * 356, 0, 0, 0 FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {each})
             INSERT INTO messages (room, offset, at, sender, user, body)
             SELECT rooms.id, n.i, 1700000000000, '0123456789abcdef', 'ann', '\"' || hex(zeroblob(49)) || '\"'
             FROM rooms CROSS JOIN n;
             COMMIT;"
        ))
        .unwrap();
}
