//! The server program with its logs in a sqlite file, killed and started again.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkback_launch::{Process, Server as Program};
use talkback_testbed::Port;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    addressed::{direct, post},
    promises::{Member, assert_once_and_in_one_order, member},
    support::{
        engine::Held,
        session::{Session, cursor, publish},
        wait_for, within,
    },
};

/// The timeout of a test, much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(120);

fn command(file: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
    let engine = format!("sqlite:{}", file.display());
    command.args(["--listen", listen, "--engine", &engine, "--log", "off"]);
    command.env_clear().stdout(Stdio::piped());
    command
}

fn start(file: &Path, listen: &str) -> Program {
    let process = Process::spawn(&mut command(file, listen)).unwrap();
    Program::wait(process, DEADLINE).unwrap()
}

/// What a `GET` answers: the status and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Waits until `/readyz` of this server answers with this status.
pub(crate) async fn until_ready(address: SocketAddr, status: u16) {
    let until = Instant::now() + DEADLINE;
    while get(address, "/readyz").await.0 != status {
        assert!(Instant::now() < until, "/readyz is not {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn epoch(address: SocketAddr) -> Value {
    let (_, mut page) = get(address, "/rooms/lobby/messages").await;
    page["epoch"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_at_any_time_loses_no_acknowledged_message_and_adds_none_twice() {
    const CLIENTS: u8 = 4;
    const EACH: u64 = 400;
    const KILLS: usize = 5;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let port = Port::loopback().unwrap();
    let address = port.address();
    let mut server = start(&file, &address.to_string());
    let expects = u64::from(CLIENTS) * EACH;
    let members = (1..=CLIENTS).map(|number| tokio::spawn(member(address, number, EACH, expects)));
    let mut members = futures_util::future::join_all(members);
    let (mut kills, mut epochs) = (0, HashSet::new());
    let begun = Instant::now();
    let members: Vec<Member> = loop {
        // When a kill comes is the fault of this test, and not something to wait for. A busy machine may get nothing done between two, so
        // they end.
        let next_kill = if kills < 3 * KILLS {
            Duration::from_millis(fastrand::u64(100..500))
        } else {
            DEADLINE.saturating_sub(begun.elapsed())
        };
        if let Ok(members) = tokio::time::timeout(next_kill, &mut members).await {
            break members.into_iter().map(Result::unwrap).collect();
        }
        assert!(begun.elapsed() < DEADLINE, "not all messages came within {DEADLINE:?}");
        epochs.insert(epoch(address).await.to_string());
        server.process().kill().unwrap();
        kills += 1;
        server = start(&file, &address.to_string());
    };
    epochs.insert(epoch(address).await.to_string());
    assert!(kills >= KILLS, "only {kills} kills");
    assert_eq!(epochs.len(), 1, "{epochs:?}");

    assert_once_and_in_one_order(&members, EACH);
    for member in &members {
        // It may have had everything before the last kill.
        assert!(member.connections >= KILLS, "its connection was not lost");
    }
}

#[tokio::test]
async fn what_a_member_and_the_log_have_goes_on_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let mut server = start(&file, "127.0.0.1:0");
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    let ack = ann.say("lobby", 1, json!("one")).await;
    server.process().kill().unwrap();

    let mut server = start(&file, "127.0.0.1:0");
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby", "since": cursor(&before, 0)})).await;
    assert_eq!(
        (&joined["recovered"], &joined["epoch"]),
        (&json!(true), &before["epoch"])
    );
    assert_eq!(ann.bodies(1).await, [json!("one")]);
    assert_eq!(
        ann.say("lobby", 1, json!("one")).await,
        ack,
        "the resend has the same answer"
    );
    assert_eq!(ann.say("lobby", 2, json!("two")).await["offset"], 2);
    server.process().stop().unwrap();
}

#[tokio::test]
async fn the_queries_of_the_document_read_the_file_of_a_running_server() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let mut server = start(&file, "127.0.0.1:0");
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    ann.say("lobby", 1, json!("one")).await;
    let tool = rusqlite::Connection::open_with_flags(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let document = include_str!("../../docs/sqlite.md");
    let queries: Vec<_> = document
        .split("sqlite3 PATH \"SELECT ")
        .skip(1)
        .map(|rest| format!("SELECT {}", rest.split_once('"').unwrap().0))
        .collect();
    assert_eq!(queries.len(), 2, "{queries:?}");
    for query in queries {
        let mut statement = tool.prepare(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let rows = statement.query_map([], |_| Ok(())).unwrap().count();
        assert_eq!(rows, 1, "{query}");
    }
    server.process().stop().unwrap();
}

#[tokio::test]
async fn a_second_server_on_the_file_does_not_start_and_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let mut server = start(&file, "127.0.0.1:0");
    let mut second = command(&file, "127.0.0.1:0");
    let second = tokio::task::spawn_blocking(move || second.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("another server uses"), "{error}");
    assert!(second.stdout.is_empty(), "it says that it listens");
    server.process().kill().unwrap();
    // The lock ends with the process.
    start(&file, "127.0.0.1:0").process().stop().unwrap();
}

#[tokio::test]
async fn readyz_makes_a_round_trip_to_the_engine_and_says_why_it_is_not_ready() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log.db");
    let mut server = start(&file, "127.0.0.1:0");
    assert_eq!(
        get(server.address(), "/readyz").await,
        (200, json!({"status": "ready"}))
    );
    let tool = rusqlite::Connection::open(&file).unwrap();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        get(server.address(), "/readyz").await,
        (503, json!({"status": "not ready"}))
    );
    assert_eq!(
        get(server.address(), "/healthz").await.0,
        200,
        "the server itself is up"
    );
    tool.execute_batch("ROLLBACK").unwrap();
    assert_eq!(get(server.address(), "/readyz").await.0, 200);
    server.process().stop().unwrap();

    let memory = talkback_server::engine::Memory::new(talkback_server::engine::MemoryOptions::default());
    let engine = Held::new(std::sync::Arc::new(memory));
    let server = crate::support::Server::with_engine(talkback_server::AppOptions::default(), engine.clone()).await;
    assert_eq!(get(server.address, "/readyz").await.0, 200);
    engine.hold(&["ready"]);
    assert_eq!(get(server.address, "/readyz").await.0, 503);
    let operations = talkback_server::operations(server.app.clone());
    let request = axum::http::Request::get("/readyz")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = tower::ServiceExt::oneshot(operations, request).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["reason"].as_str().unwrap().contains("has not answered"), "{body}");
    engine.hold(&[]);
}

/// The disk of a log, which fails when a test wants it.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-shared", "-fPIC", "-o"]);
        compile.arg(directory.path().join("disk_faults.so"));
        compile.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/disk_faults.c"));
        assert!(compile.arg("-ldl").status().unwrap().success());
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("log.db")
    }

    fn command(&self) -> Command {
        let mut command = command(&self.file(), "127.0.0.1:0");
        command.env("LD_PRELOAD", self.directory.path().join("disk_faults.so"));
        command.env("DISK_FAULTS_FILE", self.file());
        command
    }

    fn start(&self) -> Program {
        let process = Process::spawn(&mut self.command()).unwrap();
        Program::wait(process, DEADLINE).unwrap()
    }

    /// Names are those of `disk_faults.c`.
    fn fails(&self, fault: &str, fails: bool) {
        let path = self.directory.path().join(format!("log.db.{fault}"));
        if fails {
            fs::write(path, "").unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

async fn refused(session: &mut Session, seq: u64, body: Value) {
    session.publish("lobby", seq, body).await;
    let nack = session.find("nack").await;
    assert_eq!((&nack["seq"], &nack["code"]), (&json!(seq), &json!("busy")), "{nack}");
    assert!(nack["retry_after_ms"].as_u64().unwrap() > 0, "{nack}");
}

/// The bodies in the log.
async fn log(address: SocketAddr) -> Vec<Value> {
    let (_, page) = get(address, "/rooms/lobby/messages").await;
    let messages = page["messages"].as_array().unwrap();
    messages.iter().map(|message| message["body"].clone()).collect()
}

#[tokio::test]
async fn after_a_failed_sync_no_message_is_added_before_a_restart_and_none_is_lost() {
    let disk = Disk::new();
    let mut server = disk.start();
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    let mut bob = Session::open_at(server.address(), 2, "bob").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    bob.join(json!({"room": "lobby"})).await;
    ann.say("lobby", 1, json!("one")).await;
    assert_eq!(bob.bodies(1).await, [json!("one")]);

    disk.fails("cannot-sync", true);
    refused(&mut ann, 2, json!("two")).await;
    assert_eq!(get(server.address(), "/readyz").await.0, 503);
    assert_eq!(log(server.address()).await, [json!("one")], "what it has can be read");
    // What the failed sync had is gone from the system's memory: the next one would succeed without it.
    disk.fails("cannot-sync", false);
    refused(&mut ann, 2, json!("two")).await;
    assert_eq!(get(server.address(), "/readyz").await.0, 503);
    // Neither connection was closed, and nothing was delivered.
    bob.send(&[json!({"join": {"room": "other"}})]).await;
    bob.expect("joined").await;
    server.process().kill().unwrap();

    let mut server = disk.start();
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby", "since": cursor(&before, 1)})).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(ann.say("lobby", 2, json!("two")).await["offset"], 2);
    assert_eq!(log(server.address()).await, [json!("one"), json!("two")]);
    assert_eq!(get(server.address(), "/readyz").await.0, 200);
    server.process().stop().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_messages_until_it_has_space_again() {
    let disk = Disk::new();
    let mut server = disk.start();
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    ann.join(json!({"room": "lobby"})).await;
    ann.say("lobby", 1, json!("one")).await;
    disk.fails("is-full", true);
    for _ in 0..3 {
        refused(&mut ann, 2, json!("two")).await;
    }
    assert_eq!(get(server.address(), "/readyz").await.0, 503);
    assert_eq!(log(server.address()).await, [json!("one")]);
    disk.fails("is-full", false);
    assert_eq!(ann.say("lobby", 2, json!("two")).await["offset"], 2);
    assert_eq!(log(server.address()).await, [json!("one"), json!("two")]);
    assert_eq!(get(server.address(), "/readyz").await.0, 200);
    server.process().kill().unwrap();
    let mut server = disk.start();
    assert_eq!(log(server.address()).await, [json!("one"), json!("two")]);
    server.process().stop().unwrap();
}

#[tokio::test]
async fn a_server_whose_log_cannot_be_written_does_not_start_and_says_what_to_do() {
    let disk = Disk::new();
    disk.start().process().stop().unwrap();
    disk.fails("is-read-only", true);
    let mut command = disk.command();
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("the right to write the file"), "{error}");
    assert!(output.stdout.is_empty(), "it says that it listens");
}

/// Publishes to `lobby` with a client of its own until the connection is lost. Each acknowledged message is in the result, with
/// its offset, from when it is acknowledged.
async fn publish_until_closed(address: SocketAddr, number: u32, acked: Acked) {
    let mut socket = Session::open_at(address, number, &format!("user{number}")).await.socket;
    for seq in 1.. {
        let body = json!(format!("{number} {seq}"));
        let line = publish("lobby", seq, body.clone()).to_string();
        if socket.send(Message::text(line)).await.is_err() {
            return;
        }
        let offset = loop {
            let Some(Ok(message)) = socket.next().await else {
                return;
            };
            let Message::Text(text) = message else { continue };
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(ack) = lines.into_iter().find_map(|line| line.get("ack").cloned()) {
                break ack["offset"].as_u64().unwrap();
            }
        };
        acked.lock().unwrap().push((offset, body));
    }
}

type Acked = Arc<Mutex<Vec<(u64, Value)>>>;

async fn until_acked(acked: &Acked, more: usize) -> usize {
    let least = acked.lock().unwrap().len() + more;
    wait_for("more acknowledged messages", || acked.lock().unwrap().len() >= least).await;
    least
}

/// Makes a backup while publishers write, puts it in place while they go on, and looks at what members are told. `put` replaces
/// the file by the copy, and says whether the server must be told.
async fn restore_under_load(put: fn(&Path, &Path) -> bool) {
    const PUBLISHERS: u32 = 3;
    let directory = TempDir::new().unwrap();
    let (file, copy) = (directory.path().join("log.db"), directory.path().join("copy.db"));
    let mut server = start(&file, "127.0.0.1:0");
    let address = server.address();
    let mut absent = Session::open_at(address, 9, "absent").await;
    let before = absent.join(json!({"room": "lobby"})).await;
    absent.cut();
    let acked = Acked::default();
    let publishers = |from: u32| -> Vec<_> {
        let clients = from..from + PUBLISHERS;
        let publishers = clients.map(|number| publish_until_closed(address, number, Arc::clone(&acked)));
        publishers.map(tokio::spawn).collect()
    };
    let running = publishers(11);
    until_acked(&acked, 300).await;

    // What docs/sqlite.md says, without the tool: VACUUM INTO.
    let known = acked.lock().unwrap().clone();
    let backup = tokio::task::spawn_blocking({
        let (file, copy) = (file.clone(), copy.clone());
        move || {
            let tool = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            tool.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        }
    });
    within("the backup", backup).await.unwrap();
    let tool = rusqlite::Connection::open(&copy).unwrap();
    let (copied, newest): (u64, u64) = tool
        .query_row("SELECT count(*), max(offset) FROM messages", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    drop(tool);
    assert_eq!(copied, newest, "a backup without a gap");
    let last_known = known.iter().map(|(offset, _)| *offset).max().unwrap();
    assert!(newest >= last_known, "what was acknowledged before the backup is in it");

    until_acked(&acked, 300).await;
    server.process().kill().unwrap();
    for publisher in running {
        within("the publisher to notice", publisher).await.unwrap();
    }
    let all = acked.lock().unwrap().clone();
    let needs_telling = put(&file, &copy);
    let mut again = command(&file, &address.to_string());
    if needs_telling {
        again.arg("--restored");
    }
    let mut server = Program::wait(Process::spawn(&mut again).unwrap(), DEADLINE).unwrap();
    let running = publishers(21);
    until_acked(&acked, 100).await;

    // Up to the newest message of the copy, a member goes on; beyond it, it is told.
    let last = all.iter().map(|(offset, _)| *offset).max().unwrap();
    for (offset, recovered) in [(0, true), (newest, true), (newest + 1, false), (last, false)] {
        let mut member = Session::open_at(address, 9, "absent").await;
        let joined = member
            .join(json!({"room": "lobby", "since": cursor(&before, offset)}))
            .await;
        assert_eq!(joined["recovered"], recovered, "{offset} of {newest}: {joined}");
        assert_ne!(joined["epoch"], before["epoch"]);
    }
    server.process().kill().unwrap();
    for publisher in running {
        within("the publisher to notice", publisher).await.unwrap();
    }
    let tool = rusqlite::Connection::open(&file).unwrap();
    let mut read = tool.prepare("SELECT body FROM messages WHERE offset = ?1").unwrap();
    for (offset, body) in all.iter().filter(|(offset, _)| *offset <= newest) {
        let kept: String = read.query_row([offset], |row| row.get(0)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), *body, "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_told_when_a_backup_that_was_made_under_load_is_put_in_place() {
    restore_under_load(|file, copy| {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", file.display()));
        }
        fs::rename(copy, file).unwrap();
        false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_told_when_the_file_was_written_over_and_the_server_is_started_with_restored() {
    restore_under_load(|file, copy| {
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", file.display()));
        }
        fs::copy(copy, file).unwrap();
        true
    })
    .await;
}

#[tokio::test]
async fn what_is_addressed_survives_a_kill_and_is_read_on_from_the_cursor() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("log");
    let arguments = ["--address-users", "--publish-key", "0123456789abcdef"];
    let start = || {
        let process = Process::spawn(command(&file, "127.0.0.1:0").args(arguments)).unwrap();
        Program::wait(process, DEADLINE).unwrap()
    };
    let mut server = start();
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    let mut at = direct(&mut ann, json!({}), 1).await.remove(0);
    for number in 0..3 {
        post(server.address(), "/users/ann/messages", &json!(number)).await;
        server.process().kill().unwrap();
        server = start();
        let mut ann = Session::open_at(server.address(), 1, "ann").await;
        let mut since = cursor(&at, number);
        since["room"] = at["room"].clone();
        at = direct(&mut ann, json!({"since": [since], "history": 9}), 1)
            .await
            .remove(0);
        assert_eq!(ann.bodies(1).await, [json!(number)], "{at}");
        assert_eq!(at["recovered"], true, "{at}");
    }
    server.process().kill().unwrap();
}
