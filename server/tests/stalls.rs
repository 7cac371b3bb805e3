//! Bounds of the cost of clients that do not read, or that send too much.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{self, Server, frame, members, read_close, read_frame, send, text, wait_for, within};
use axum::{Router, routing::get};
use talkback_protocol::{Body, RoomName, UserName};
use talkback_server::{
    AppOptions, AppState,
    engine::AppendOutcome,
    socket::{Socket, SocketOptions, Sockets, Upgrade},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

/// A server whose `/test` runs this handler.
async fn server_with<H, F>(config: AppOptions, handler: H) -> Server
where
    H: Fn(Socket, Sockets) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let route = get(
        move |upgrade: Upgrade, axum::extract::State(sockets): axum::extract::State<Sockets>| async move {
            upgrade.on_upgrade(move |socket| handler(socket, sockets))
        },
    );
    Server::with_routes(config, Router::<AppState>::new().route("/test", route)).await
}

/// Waits until no socket of this server has turns any more.
async fn turns_to_stop(server: &Server) {
    let mut last = (0, 0);
    wait_for("the turns to stop", || {
        let turns = server.app.sockets().turns();
        last = if turns == last.0 {
            (turns, last.1 + 1)
        } else {
            (turns, 0)
        };
        last.1 > 50
    })
    .await;
}

/// Writes these bytes repeatedly until the server does not read any more, and returns the number of written bytes.
async fn write_until_blocked(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    let mut quiet = 0;
    within("the server to stop reading", async {
        while quiet < 50 {
            match stream.try_write(&bytes[written % bytes.len()..]) {
                Ok(more) => {
                    written += more;
                    quiet = 0;
                }
                Err(_) => quiet += 1,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    written
}

fn no_pings() -> AppOptions {
    AppOptions {
        ping_interval: Duration::ZERO,
        ..AppOptions::default()
    }
}

/// The queue is bounded by 16 messages, which can have few bytes.
fn few_messages() -> AppOptions {
    AppOptions {
        queue_messages: 16,
        ..no_pings()
    }
}

#[tokio::test]
async fn a_socket_with_a_full_queue_whose_client_does_not_read_has_no_turns() {
    for size in [1000, 60_000] {
        let server = server_with(few_messages(), move |socket, _| async move {
            let mut number = 0_usize;
            while socket.send(format!("{number:<size$}")).await.is_ok() {
                number += 1;
            }
        })
        .await;
        let mut stream = server.connect("/test").await;
        wait_for("the socket", || server.app.sockets().count() == 1).await;
        turns_to_stop(&server).await;
        for number in 0..1000 {
            assert_eq!(
                text(&mut stream).await.trim_end(),
                number.to_string(),
                "the sender was not woken"
            );
        }
    }
    let server = Server::with(few_messages()).await;
    let mut stream = server.raw_socket("/echo").await;
    write_until_blocked(&mut stream, &frame(0x82, &[7; 1000]).repeat(100)).await;
    turns_to_stop(&server).await;
    for _ in 0..100 {
        assert_eq!(read_frame(&mut stream).await, (0x82, vec![7; 1000]));
    }
}

#[tokio::test]
async fn a_sender_on_another_task_that_waits_for_a_stalled_client_causes_no_turns() {
    let server = server_with(few_messages(), |socket, _| async move {
        let sender = socket.sender();
        let other = tokio::spawn(async move { while sender.send("x".repeat(1000)).await.is_ok() {} });
        other.await.unwrap();
    })
    .await;
    let mut client = server.connect("/test").await;
    wait_for("the socket", || server.app.sockets().count() == 1).await;
    turns_to_stop(&server).await;
    for _ in 0..1000 {
        assert_eq!(text(&mut client).await.len(), 1000, "the sender was not woken");
    }
}

/// A message in a room is queued for a member that does not read, without a turn of its socket.
#[tokio::test]
async fn a_member_that_does_not_read_has_no_turns_while_others_receive_messages() {
    let config = AppOptions {
        queue_bytes: 64 << 20,
        room_delivery_rate: 0,
        ..no_pings()
    };
    let server = Server::with(config).await;
    let mut sockets = members(&server, "lobby", &["mute", "ann"]).await;
    let (mut ann, mut mute) = (sockets.pop().unwrap(), sockets.pop().unwrap());
    let (lobby, bob) = (RoomName::parse("lobby").unwrap(), UserName::parse("bob").unwrap());
    let filler = "x".repeat(30_000);
    // More bytes than the system's buffers hold for a client that does not read.
    for number in 0..400 {
        let outcome = server
            .app
            .hub()
            .publish(&lobby, &bob, Body::text(&format!("{number} {filler}")));
        assert!(matches!(outcome.at_once(), Ok(AppendOutcome::Added(_))));
        assert!(text(&mut ann).await.starts_with(&format!("[bob] {number} ")));
    }
    turns_to_stop(&server).await;
    let turns = server.app.sockets().turns();
    for number in 400..500 {
        let outcome = server.app.hub().publish(&lobby, &bob, Body::text(&number.to_string()));
        assert!(matches!(outcome.at_once(), Ok(AppendOutcome::Added(_))));
        assert_eq!(text(&mut ann).await, format!("[bob] {number}"));
    }
    assert_eq!(server.app.sockets().turns(), turns);
    for number in 0..500 {
        assert!(
            text(&mut mute).await.starts_with(&format!("[bob] {number}")),
            "the sender was not woken"
        );
    }
}

#[tokio::test]
async fn a_handler_sends_and_receives_a_bounded_amount_in_one_turn() {
    const SIZE: usize = 60_000;
    let most = Arc::new(AtomicUsize::new(0));
    let most_seen = Arc::clone(&most);
    let server = server_with(no_pings(), move |mut socket, sockets| {
        let most = Arc::clone(&most);
        async move {
            let (mut turn, mut in_turn) = (0, 0);
            let mut count = |amount| {
                let now = sockets.turns();
                in_turn = if now == turn { in_turn + amount } else { amount };
                turn = now;
                most.fetch_max(in_turn, Ordering::Relaxed);
            };
            if socket.recv().await.unwrap().as_text() == Some("send") {
                for _ in 0..200 {
                    socket.send(vec![0; SIZE]).await.unwrap();
                    count(SIZE);
                }
            } else {
                while socket.recv().await.is_some() {
                    count(1);
                }
            }
        }
    })
    .await;
    let options = SocketOptions::default();

    // The client runs on another thread, so that it reads while the server writes.
    let mut stream = server.raw_socket("/test").await;
    stream.write_all(&frame(0x81, b"send")).await.unwrap();
    let mut reader = stream.into_std().unwrap();
    reader.set_nonblocking(false).unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; 1 << 20];
        let mut total = 0;
        while total < 200 * SIZE {
            total += reader.read(&mut bytes).unwrap();
        }
    });
    within("everything to be sent", reader).await.unwrap();
    let bytes = most_seen.swap(0, Ordering::Relaxed);
    assert!(bytes <= options.turn_bytes + SIZE, "{bytes} bytes in one turn");

    wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
    let mut stream = server.raw_socket("/test").await;
    stream.write_all(&frame(0x81, b"x").repeat(20_000)).await.unwrap();
    stream.write_all(&frame(0x88, b"")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await.0, 0x88);
    let messages = most_seen.load(Ordering::Relaxed);
    // The queue may be full already when a turn begins.
    let bound = usize::try_from(options.turn_messages).unwrap() + 128;
    assert!((1..=bound).contains(&messages), "{messages} messages in one turn");
}

/// These frames do not reach the handler, and each costs more than a byte of a message.
#[tokio::test]
async fn control_frames_fragments_and_empty_messages_are_bounded_in_each_turn() {
    const COUNT: usize = 5000;
    let many = |first| frame(first, b"").repeat(COUNT);
    for (what, bytes, answers) in [
        ("pings", many(0x89), COUNT),
        ("pongs", [many(0x8a), frame(0x81, b"x")].concat(), 1),
        (
            "fragments",
            [frame(0x01, b""), many(0x00), frame(0x80, b"x")].concat(),
            1,
        ),
        ("empty messages", many(0x81), COUNT),
    ] {
        let server = Server::with(no_pings()).await;
        let mut stream = server.raw_socket("/echo").await;
        stream.write_all(&bytes).await.unwrap();
        for _ in 0..answers {
            assert!(matches!(read_frame(&mut stream).await.0, 0x81 | 0x8a), "{what}");
        }
        let per_turn = u64::from(SocketOptions::default().turn_messages);
        let turns = server.app.sockets().turns();
        assert!(turns >= COUNT as u64 / per_turn, "{COUNT} {what} in {turns} turns");
    }
}

#[tokio::test]
async fn too_many_control_frames_and_fragments_close_with_4429_but_not_on_echo() {
    let config = AppOptions {
        max_overhead_rate: 100,
        close_timeout: Duration::from_millis(50),
        ..no_pings()
    };
    let server = Server::with(config).await;
    let many = |first| frame(first, b"").repeat(5000);
    for path in ["/chat/lobby", "/once"] {
        for bytes in [many(0x89), many(0x8a), [frame(0x01, b""), many(0x00)].concat()] {
            let mut stream = server.raw_socket(path).await;
            // The burst is twice the rate.
            stream.write_all(&frame(0x8a, b"").repeat(150)).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(read_close(&mut stream).await.0, 4429, "{path}");
        }
    }
    assert_eq!(server.app.sockets().metrics().closed_too_many_frames.get(), 6);

    let mut stream = server.raw_socket("/echo").await;
    stream.write_all(&many(0x8a)).await.unwrap();
    stream.write_all(&frame(0x81, b"still here")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x81, b"still here".to_vec()));

    let mut within_rate = server.raw_socket("/chat/lobby").await;
    within_rate.write_all(&frame(0x8a, b"").repeat(150)).await.unwrap();
    within_rate.write_all(&frame(0x81, b"hello")).await.unwrap();
    assert_eq!(read_frame(&mut within_rate).await, (0x81, b"[user] hello".to_vec()));
}

/// TCP does not end such a connection, because the client's system acknowledges with a closed window.
#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_its_connection_is_reset() {
    let config = AppOptions {
        close_timeout: Duration::from_millis(50),
        ..AppOptions::default()
    };
    let [pings, soon, late] = [60, 100, 10_000].map(Duration::from_millis);
    for (path, pings, write_timeout, expected) in [
        ("/echo", Duration::ZERO, soon, (5, 0)),
        ("/echo", pings, soon, (5, 0)),
        ("/test", Duration::ZERO, soon, (5, 0)),
        // This client has time to answer its ping, and does not answer.
        ("/test", pings, late, (0, 5)),
    ] {
        let config = AppOptions {
            write_timeout,
            // Otherwise the bytes in the system's buffers extend the ping timeout.
            link_rate: 0,
            ping_interval: pings,
            ping_timeout: Duration::from_millis(30),
            ..config.clone()
        };
        let server = server_with(config, |socket, _| async move {
            while socket.send(vec![0; 60_000]).await.is_ok() {}
        })
        .await;
        let mut streams = Vec::new();
        for _ in 0..5 {
            let stream = server.raw_socket(path).await;
            // The server runs in this thread, so the timeout cannot fire during this loop. Nothing is sent to `/test`,
            // because closing a connection with unread input resets it anyway.
            while path == "/echo" && stream.try_write(&frame(0x82, &[0; 60_000])).is_ok() {
                tokio::task::yield_now().await;
            }
            streams.push(stream);
        }
        wait_for("the sockets to be gone", || server.app.sockets().count() == 0).await;
        let metrics = server.app.sockets().metrics();
        assert_eq!(
            (metrics.closed_stalled.get(), metrics.closed_heartbeat_lost.get()),
            expected,
            "{path}, pings: {pings:?}"
        );
        #[cfg(target_os = "linux")]
        assert_eq!(connections_of(server.address), 0, "the system still has the connection");
        drop(streams);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_does_not_time_out() {
    let config = AppOptions {
        write_timeout: Duration::from_secs(2),
        ..no_pings()
    };
    let server = server_with(config, |socket, _| async move {
        while socket.send(vec![0; 10_000]).await.is_ok() {}
    })
    .await;
    let mut stream = server.raw_socket("/test").await;
    let mut bytes = vec![0; 400_000];
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        within("more bytes", stream.read_exact(&mut bytes)).await.unwrap();
    }
    assert_eq!(server.app.sockets().metrics().closed_stalled.get(), 0);
    assert_eq!(server.app.sockets().count(), 1);
}

/// A client with small buffers, so that the server soon sees how much it reads.
async fn small_client(server: &Server) -> TcpStream {
    // The listener is open before the server runs, and earlier connections do not inherit its buffer sizes.
    server.get("/healthz", "").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    // As on links between machines.
    socket2::SockRef::from(&socket).set_tcp_mss(1448).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(support::handshake("/test").as_bytes()).await.unwrap();
    assert!(support::read_head(&mut stream).await.starts_with("HTTP/1.1 101"));
    stream
}

/// Former behaviour: every byte that was read restarted the timeout, so a client that read a byte now and then kept its
/// whole queue.
#[tokio::test]
async fn a_client_that_reads_its_queue_too_slowly_is_closed() {
    const PART: usize = 16 * 1024;
    let config = AppOptions {
        write_timeout: Duration::from_secs(1),
        min_taken: 1 << 20,
        unsent_bytes: 16 * 1024,
        ..no_pings()
    };
    let server = server_with(config, |socket, _| async move {
        while socket.send(vec![0; 10_000]).await.is_ok() {}
    })
    .await;
    let mut stream = small_client(&server).await;
    let mut bytes = vec![0; PART];
    let mut taken = 0;
    within("the client to time out", async {
        while server.app.sockets().metrics().closed_stalled.get() == 0 {
            taken += stream.read(&mut bytes).await.unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(taken > 8 * PART, "only {taken} bytes were read");
}

/// A client on the slowest supported link, 2 KB per second with pauses of 20 seconds, but faster by a factor.
async fn take_slowly(unsent_bytes: usize) {
    const FASTER: u32 = 10;
    const RATE: u32 = 2_000 * FASTER;
    let config = AppOptions {
        write_timeout: AppOptions::default().write_timeout / FASTER,
        unsent_bytes,
        ..no_pings()
    };
    let stall = Duration::from_secs(20) / FASTER;
    let server = server_with(config, |socket, _| async move {
        while socket.send(vec![0; 60_000]).await.is_ok() {}
    })
    .await;
    let mut stream = small_client(&server).await;
    // It reads fast at first, so that the system's buffer for the connection grows.
    within("much", stream.read_exact(&mut vec![0; 16 << 20])).await.unwrap();
    let mut bytes = vec![0; 1024];
    let mut next = Instant::now();
    for part in 1..=100_u32 {
        let read = within("a part", stream.read(&mut bytes)).await.unwrap();
        next += Duration::from_secs(1) * u32::try_from(read).unwrap() / RATE;
        if part % 50 == 0 {
            next += stall;
        }
        tokio::time::sleep_until(next).await;
    }
    assert_eq!(server.app.sockets().metrics().closed_stalled.get(), 0);
    assert_eq!(server.app.sockets().count(), 1);
}

/// For the second client the system buffers so much that it reports the stream as writable only after `write_timeout`,
/// so a write must be tried before.
#[tokio::test]
async fn a_client_on_a_slow_link_that_stalls_for_a_time_does_not_time_out() {
    tokio::join!(take_slowly(AppOptions::default().unsent_bytes), take_slowly(512 * 1024));
}

/// The number of connections of the system with this server's address, including those that the server has closed.
#[cfg(target_os = "linux")]
fn connections_of(server: std::net::SocketAddr) -> usize {
    const LISTENS: &str = "0A";
    let port = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && row[3] != LISTENS).count()
}

/// The system's receive buffer of a connection grows with its traffic, and a client could leave the large buffer full.
#[tokio::test]
async fn unread_bytes_of_a_client_are_bounded_in_the_system_too() {
    const BUFFER: usize = 64 * 1024;
    let config = AppOptions {
        receive_buffer: BUFFER,
        ..no_pings()
    };
    let server = server_with(config, |mut socket, _| async move {
        while socket.recv().await.is_some_and(|message| message.as_text().is_none()) {}
        std::future::pending().await
    })
    .await;
    // The listener is open before the server runs, and earlier connections do not inherit its buffer sizes.
    server.get("/healthz", "").await;
    let mut stream = server.raw_socket("/test").await;
    socket2::SockRef::from(&stream).set_send_buffer_size(BUFFER).unwrap();
    let message = frame(0x82, &[0; 60_000]);
    within("much to be taken", stream.write_all(&message.repeat(300)))
        .await
        .unwrap();
    stream.write_all(&frame(0x81, b"stop")).await.unwrap();
    let written = write_until_blocked(&mut stream, &message).await;
    // The system allocates twice the size of a buffer, on both sides; the socket has a full queue and the bytes of one
    // more read.
    let bound = 2 * BUFFER + 2 * BUFFER + 64 * 1024 + 2 * 60_000 + 32 * 1024;
    assert!(written <= bound, "{written} of {bound} bytes");
}

fn quick_heartbeat() -> AppOptions {
    AppOptions {
        ping_interval: Duration::from_millis(60),
        ping_timeout: Duration::from_millis(30),
        ..AppOptions::default()
    }
}

/// The pongs of this client wait behind messages that the handler does not take.
#[tokio::test]
async fn the_heartbeat_timeout_does_not_run_while_the_handler_takes_no_messages() {
    let goes = Arc::new(AtomicBool::new(false));
    let go = Arc::clone(&goes);
    let server = server_with(quick_heartbeat(), move |mut socket, _| {
        let goes = Arc::clone(&goes);
        async move {
            wait_for("the test to continue", || goes.load(Ordering::Relaxed)).await;
            while let Some(message) = socket.recv().await {
                if message.as_text() == Some("last") {
                    socket.send("done").await.unwrap();
                }
            }
        }
    })
    .await;
    let mut stream = server.raw_socket("/test").await;
    let message = frame(0x82, &[0; 60_000]);
    let written = write_until_blocked(&mut stream, &message).await;
    let rest = &message[written % message.len()..];
    // Five times the heartbeat timeout.
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(server.app.sockets().count(), 1);
    assert_eq!(server.app.sockets().metrics().closed_heartbeat_lost.get(), 0);
    go.store(true, Ordering::Relaxed);
    let rest = if written % message.len() == 0 { &[][..] } else { rest };
    within("the rest", stream.write_all(rest)).await.unwrap();
    stream.write_all(&frame(0x81, b"last")).await.unwrap();
    loop {
        match read_frame(&mut stream).await {
            (0x89, _) => stream.write_all(&frame(0x8a, b"")).await.unwrap(),
            answer => break assert_eq!(answer, (0x81, b"done".to_vec())),
        }
    }
}

/// This happens on a busy machine and after a suspension.
#[tokio::test]
async fn a_pong_that_arrives_while_the_server_is_blocked_counts() {
    let server = Server::with(quick_heartbeat()).await;
    let stream = server.raw_socket("/echo").await;
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    for _ in 0..3 {
        let mut reading = stream.try_clone().unwrap();
        let ping = tokio::task::spawn_blocking(move || {
            let mut ping = [0; 2];
            reading.read_exact(&mut ping).unwrap();
            ping
        });
        assert_eq!(within("a ping", ping).await.unwrap(), [0x89, 0]);
        // The server runs in this thread. It is blocked for longer than its timeout, and the answer arrives during that
        // time.
        stream.write_all(&frame(0x8a, b"")).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    let mut client = server.connect("/echo").await;
    send(&mut client, "alive?").await;
    assert_eq!(text(&mut client).await, "alive?");
    assert_eq!(server.app.sockets().metrics().closed_heartbeat_lost.get(), 0);
}
