//! The end of sockets: heartbeat, lost connections, and a server that stops.

use std::time::Duration;

use crate::support::{
    self, Server, assert_contains, close_frame, frame, read_close, read_frame, send, text, wait_for, within,
};
use talkback_server::AppOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn quick_heartbeat() -> AppOptions {
    AppOptions {
        ping_interval: Duration::from_millis(60),
        ping_timeout: Duration::from_millis(30),
        close_timeout: Duration::from_millis(100),
        ..AppOptions::default()
    }
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed_with_4408() {
    let server = Server::with(quick_heartbeat()).await;
    let mut stream = server.raw_socket("/echo").await;
    assert_eq!(read_frame(&mut stream).await, (0x89, vec![]));
    assert_eq!(read_close(&mut stream).await.0, 4408);
    assert_eq!(server.app.sockets().metrics().closed_heartbeat_lost.get(), 1);
    wait_for("the server to end the connection", || server.app.sockets().count() == 0).await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_connected() {
    let server = Server::with(quick_heartbeat()).await;
    let mut stream = server.raw_socket("/echo").await;
    for _ in 0..5 {
        assert_eq!(read_frame(&mut stream).await, (0x89, vec![]));
        stream.write_all(&frame(0x8a, b"")).await.unwrap();
    }
    assert_eq!(server.app.sockets().count(), 1);
}

#[tokio::test]
async fn any_bytes_from_the_client_count_as_an_answer_to_a_ping() {
    let server = Server::with(quick_heartbeat()).await;
    let mut stream = server.raw_socket("/echo").await;
    // One long message, one byte after each ping: no pong and no complete frame.
    stream.write_all(&frame(0x82, &[0; 100])[..6]).await.unwrap();
    for _ in 0..5 {
        assert_eq!(read_frame(&mut stream).await, (0x89, vec![]));
        stream.write_all(&[0]).await.unwrap();
    }
    assert_eq!(server.app.sockets().count(), 1);
}

#[tokio::test]
async fn no_pings_are_sent_when_they_are_switched_off() {
    let config = AppOptions {
        ping_interval: Duration::ZERO,
        ..quick_heartbeat()
    };
    let server = Server::with(config).await;
    let mut stream = server.raw_socket("/echo").await;
    let mut byte = [0];
    let quiet = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await;
    assert!(quiet.is_err(), "{quiet:?} {byte:?}");
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_is_disconnected_after_the_close_timeout() {
    let server = Server::with(quick_heartbeat()).await;
    let mut stream = server.raw_socket("/once").await;
    stream.write_all(&frame(0x81, b"x")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x81, b"x".to_vec()));
    assert_eq!(read_frame(&mut stream).await, (0x88, 1000_u16.to_be_bytes().to_vec()));
    // The client keeps the connection open and continues to send.
    within("the server to close the connection", async {
        while stream.write_all(&frame(0x81, b"x")).await.is_ok() {}
    })
    .await;
    wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
}

#[tokio::test]
async fn a_connection_that_breaks_without_a_close_frame_leaves_no_socket() {
    let server = Server::start().await;
    for half_a_frame in [false, true] {
        let mut stream = server.raw_socket("/echo").await;
        wait_for("the socket", || server.app.sockets().count() == 1).await;
        if half_a_frame {
            stream.write_all(&frame(0x82, &[0; 100])[..50]).await.unwrap();
        }
        drop(stream);
        wait_for("the socket to be gone", || server.app.sockets().count() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_gets_the_end_of_the_stream() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    stream.write_all(&frame(0x81, b"last message")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x81, b"last message".to_vec()));
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

/// Former behaviour of axum (issue 3003): a graceful shutdown ignored upgraded connections.
#[tokio::test]
async fn a_stopping_server_closes_every_socket_with_1001_and_ends_after_the_last_one() {
    let mut server = Server::start().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(server.connect("/chat/lobby").await);
    }
    server.stop();
    let closes = clients.iter_mut().map(close_frame);
    for (code, reason) in futures_util::future::join_all(closes).await {
        assert_eq!(code, 1001);
        assert_contains(&reason, "going away");
    }
    server.ended().await;
}

#[tokio::test]
async fn a_stopping_server_accepts_no_connection_and_ends_idle_http_ones() {
    // The timeouts are too long to end the idle connection.
    let hour = Duration::from_secs(3600);
    let options = AppOptions {
        drain_time: hour,
        header_timeout: hour,
        ..AppOptions::default()
    };
    let mut server = Server::with(options).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_contains(&support::read_head(&mut idle).await, "200 OK");
    let mut client = server.connect("/echo").await;
    server.stop();
    assert_eq!(close_frame(&mut client).await.0, 1001);
    let mut rest = Vec::new();
    within("the idle connection to end", idle.read_to_end(&mut rest))
        .await
        .unwrap();
    let address = server.address;
    server.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stopping_server_waits_for_slow_clients_at_most_for_the_drain_and_the_close_timeout() {
    let config = AppOptions {
        drain_time: Duration::ZERO,
        close_timeout: Duration::from_millis(200),
        ..AppOptions::default()
    };
    let mut server = Server::with(config).await;
    // The client does not answer the close frame and does not close the connection.
    let stream = server.raw_socket("/echo").await;
    let started = tokio::time::Instant::now();
    server.stop();
    server.ended().await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
    drop(stream);
}

#[tokio::test]
async fn messages_in_flight_when_the_server_stops_are_answered_before_the_close() {
    let mut server = Server::start().await;
    let mut client = server.connect("/echo").await;
    for number in 0..100 {
        send(&mut client, number.to_string()).await;
    }
    for number in 0..100 {
        assert_eq!(text(&mut client).await, number.to_string());
    }
    server.stop();
    assert_eq!(close_frame(&mut client).await.0, 1001);
    server.ended().await;
}

#[tokio::test]
async fn the_health_status_is_draining_while_the_server_stops() {
    let server = Server::start().await;
    assert_contains(&server.get("/healthz", "").await, "\"status\":\"ok\"");
    within("draining", server.app.sockets().drain(Duration::ZERO)).await;
    let answer = server.get("/healthz", "").await;
    assert_contains(&answer, "503 Service Unavailable");
    assert_contains(&answer, "\"status\":\"draining\"");
    let error = server.try_connect("/echo", &[]).await.unwrap_err();
    assert_contains(&error.to_string(), "503");
}
