//! HTTP responses that clients do not read: the bounds of their bytes, and the write timeout.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{Server, assert_contains, read_head, wait_for, within};
use axum::{Router, routing::get};
use talkback_server::{AppOptions, AppState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// More bytes than the system's buffers hold for a client that does not read.
const LARGE: usize = 16 * 1024 * 1024;
const REQUEST: &[u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server with a large response at `/large`, and the number of requests for it.
async fn server(config: AppOptions) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let large = get(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async { vec![b'x'; LARGE] }
    });
    let routes = Router::<AppState>::new().route("/large", large);
    (Server::with_routes(config, routes).await, asked)
}

/// Requests the large response, and reads nothing.
async fn ask(server: &Server) -> TcpStream {
    ask_from(server, 1).await
}

/// The same from 127.0.0.`last`.
async fn ask_from(server: &Server, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_cut_off() {
    let config = AppOptions {
        write_timeout: Duration::from_millis(100),
        answer_bytes: LARGE,
        ..AppOptions::default()
    };
    let (server, asked) = server(config).await;
    let mut stalled = ask(&server).await;
    wait_for("the request", || asked.load(Ordering::Relaxed) == 1).await;
    // The bytes of a response that was cut off are released.
    within("capacity for another answer", async {
        loop {
            let mut stream = ask(&server).await;
            if read_head(&mut stream).await.starts_with("HTTP/1.1 200") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let mut rest = Vec::new();
    let end = within("the end", stalled.read_to_end(&mut rest)).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// A few bytes from time to time do not restart the timer.
#[tokio::test]
async fn a_client_that_reads_its_response_too_slowly_is_cut_off() {
    let config = AppOptions {
        write_timeout: Duration::from_secs(1),
        min_taken: 4 << 20,
        unsent_bytes: 16 * 1024,
        ..AppOptions::default()
    };
    let (server, _) = server(config).await;
    server.get("/healthz", "").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut bytes = vec![0; 16 * 1024];
    let mut taken = 0;
    let end = within("the end", async {
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) => break None,
                Ok(read) => taken += read,
                Err(error) => break Some(error.kind()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    assert!(taken > bytes.len() * 8, "only {taken} bytes were read");
}

#[tokio::test]
async fn responses_in_flight_are_bounded_and_small_ones_are_not_refused() {
    let config = AppOptions {
        answer_bytes: 2 * LARGE + 1000,
        ..AppOptions::default()
    };
    let (server, asked) = server(config).await;
    let mut reading = vec![ask_from(&server, 1).await, ask_from(&server, 2).await];
    wait_for("both requests", || asked.load(Ordering::Relaxed) == 2).await;
    for _ in 0..3 {
        let mut refused = ask(&server).await;
        let head = read_head(&mut refused).await;
        assert_contains(&head, "503 Service Unavailable");
        assert_contains(&head, "retry-after: 1");
    }
    assert_eq!(server.app.sockets().metrics().answers_refused.get(), 3);
    assert_contains(&server.get("/echo?message=small", "").await, "200 OK");

    // One response is read to its end, and one connection is closed: both release their bytes.
    let mut stream = reading.pop().unwrap();
    assert_contains(&read_head(&mut stream).await, "200 OK");
    within("the answer", stream.read_exact(&mut vec![0; LARGE]))
        .await
        .unwrap();
    drop(reading);
    for last in 1..=2 {
        within("capacity for an answer", async {
            while !read_head(&mut ask_from(&server, last).await).await.contains("200 OK") {}
        })
        .await;
    }
}

#[tokio::test]
async fn one_address_leaves_capacity_for_responses_to_other_addresses() {
    let config = AppOptions {
        answer_bytes: 8 * LARGE,
        ..AppOptions::default()
    };
    let (server, asked) = server(config).await;
    let mut held = Vec::new();
    for count in 1..=4 {
        held.push(ask(&server).await);
        wait_for("the request", || asked.load(Ordering::Relaxed) == count).await;
    }
    // Half of the bytes are in flight, all to one address.
    let mut refused = ask(&server).await;
    assert_contains(&read_head(&mut refused).await, "503 Service Unavailable");
    for last in 2..=4 {
        let mut other = ask_from(&server, last).await;
        assert_contains(&read_head(&mut other).await, "200 OK");
        held.push(other);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_sequence() {
    const COUNT: usize = 5;
    let (server, asked) = server(AppOptions::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&REQUEST.repeat(COUNT)).await.unwrap();
    wait_for("the first request", || asked.load(Ordering::Relaxed) == 1).await;
    // Requests on other connections are answered meanwhile.
    for _ in 0..20 {
        assert_contains(&server.get("/echo?message=small", "").await, "200 OK");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the first response is not read yet");
    for number in 1..=COUNT {
        assert_contains(&read_head(&mut stream).await, "200 OK");
        within("the answer", stream.read_exact(&mut vec![0; LARGE]))
            .await
            .unwrap();
        assert!(asked.load(Ordering::Relaxed) <= number + 1);
    }
}

/// The bytes of every kind of response are released when it was read.
#[tokio::test]
async fn responses_that_were_read_are_not_counted() {
    let config = AppOptions {
        answer_bytes: 100_000,
        ..AppOptions::default()
    };
    let (server, _) = server(config).await;
    let path = format!("/echo?message={}", "x".repeat(8000));
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..50 {
        assert_contains(&server.get(&path, "").await, "200 OK");
        for method in ["HEAD", "GET"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            kept.write_all(request.as_bytes()).await.unwrap();
            assert_contains(&read_head(&mut kept).await, "200 OK");
        }
        within("the answer", kept.read_exact(&mut [0; 8000])).await.unwrap();
    }
    assert_eq!(server.app.sockets().metrics().answers_refused.get(), 0);
}
