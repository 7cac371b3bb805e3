//! The limits of one address, the addresses of clients behind a proxy, and that other addresses are not affected.

use std::{net::SocketAddr, time::Duration};

use crate::support::{Server, assert_contains, close_frame, handshake, read_head, session::Session, wait_for, within};
use futures_util::future::join_all;
use serde_json::json;
use talkback_server::AppOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A connection from an address of 127.0.0.0/8.
async fn from(address: &str, server: &Server) -> TcpStream {
    connect_from(address, server.address).await
}

/// The same to any program.
pub(crate) async fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status of the answer to this request, and the connection.
pub(crate) async fn ask(mut stream: TcpStream, request: &str) -> (u16, String, TcpStream) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (head[9..12].parse().unwrap(), head, stream)
}

async fn upgraded(address: &str, server: &Server) -> (u16, TcpStream) {
    let (status, _, stream) = ask(from(address, server).await, &handshake("/echo")).await;
    (status, stream)
}

#[tokio::test]
async fn an_address_is_limited_to_its_share_of_a_server_over_half_full_and_others_can_connect() {
    let config = AppOptions {
        max_connections: 16,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let (status, stream) = upgraded("127.0.0.9", &server).await;
        assert_eq!(status, 101, "the server is at most half full");
        held.push(stream);
    }
    let (status, head, _) = ask(from("127.0.0.9", &server).await, &handshake("/echo")).await;
    assert_eq!(status, 429);
    assert_contains(&head, "retry-after: 5");
    for other in 10..18 {
        let (status, stream) = upgraded(&format!("127.0.0.{other}"), &server).await;
        assert_eq!(status, 101);
        held.push(stream);
    }
    let (status, ..) = ask(from("127.0.0.99", &server).await, &handshake("/echo")).await;
    assert_eq!(status, 503, "the server is full");
    let metrics = server.app.sockets().metrics();
    assert_eq!(
        (metrics.addresses_refused.get(), metrics.connections_refused.get()),
        (1, 1)
    );
    drop(held);
    wait_for("the sockets to close", || server.app.sockets().count() == 0).await;
    within("a place for the address", async {
        while upgraded("127.0.0.9", &server).await.0 != 101 {}
    })
    .await;
}

#[tokio::test]
async fn an_address_that_connects_too_fast_is_delayed_and_none_of_its_connections_is_refused() {
    const CLIENTS: usize = 60;
    let config = AppOptions {
        address_connection_rate: 20,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let started = tokio::time::Instant::now();
    let clients = join_all((0..CLIENTS).map(|_| upgraded("127.0.0.9", &server))).await;
    assert!(clients.iter().all(|(status, _)| *status == 101));
    // 20 at once, and the other 40 at 20 per second.
    assert!(
        started.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(server.app.sockets().count(), CLIENTS);
}

#[tokio::test]
async fn an_address_that_connects_too_fast_is_refused_and_does_not_use_the_rate_of_others() {
    let config = AppOptions {
        max_connection_rate: 50,
        address_connection_rate: 10,
        address_delay: Duration::ZERO,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let attacker = join_all((0..100).map(|_| upgraded_or_closed("127.0.0.9", &server))).await;
    let admitted = attacker.iter().filter(|(status, _)| *status == Some(101)).count();
    assert!((10..40).contains(&admitted), "{admitted}");
    assert!(server.app.sockets().metrics().addresses_refused.get() >= 60);
    for other in 10..20 {
        assert_eq!(upgraded(&format!("127.0.0.{other}"), &server).await.0, 101);
    }
    assert_eq!(server.app.sockets().metrics().connections_refused.get(), 0);
}

/// Returns no status if the connection was closed without an answer, as above a number of concurrent refusals.
async fn upgraded_or_closed(address: &str, server: &Server) -> (Option<u16>, TcpStream) {
    let mut stream = from(address, server).await;
    let _ = stream.write_all(handshake("/echo").as_bytes()).await;
    let mut head = [0; 12];
    let answered = within("an answer or the end", stream.read_exact(&mut head))
        .await
        .is_ok();
    let status = answered.then(|| str::from_utf8(&head[9..]).unwrap().parse().unwrap());
    (status, stream)
}

#[tokio::test]
async fn requests_on_one_connection_count_for_the_rate_of_its_address() {
    let config = AppOptions {
        address_request_rate: 5,
        publish_key: Some("0123456789abcdef".parse().unwrap()),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let get = "GET /rooms/a/members HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = from("127.0.0.9", &server).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let (status, head, mut same) = ask(stream, get).await;
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        same.read_exact(&mut body).await.unwrap();
        if status == 429 {
            assert_contains(&head, "retry-after: 1");
            assert_contains(str::from_utf8(&body).unwrap(), "\"code\":\"rate\"");
        }
        statuses.push(status);
        stream = same;
    }
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!((6..20).contains(&passed), "{statuses:?}");
    let (status, ..) = ask(from("127.0.0.10", &server).await, get).await;
    assert_eq!(status, 200, "another address has its own rate");
    // Requests with the publish key do not count.
    let post = "POST /rooms/a/messages HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Bearer 0123456789abcdef\r\nContent-Length: 1\r\n\r\n1";
    let (status, ..) = ask(stream, post).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn lines_of_a_session_are_not_counted_by_address() {
    let config = AppOptions {
        address_request_rate: 1,
        address_connection_rate: 1,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    for number in 1..=50 {
        ann.say("lobby", number, json!(number)).await;
    }
}

#[tokio::test]
async fn each_address_has_a_budget_of_new_rooms_and_existing_rooms_use_nothing_of_it() {
    let config = AppOptions {
        address_room_rate: 1,
        address_room_burst: 3,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "r0").await;
    for room in ["r1", "r2"] {
        ann.join(json!({"room": room})).await;
    }
    let mut refused = 0;
    for room in 3..30 {
        ann.send(&[json!({"join": {"room": format!("r{room}")}})]).await;
        let answer = loop {
            let line = ann.next().await;
            if line.get("joined").or(line.get("error")).is_some() {
                break line;
            }
        };
        if let Some(error) = answer.get("error") {
            assert_eq!(error["code"], json!("busy"));
            assert!(error["retry_after_ms"].as_u64().unwrap() <= 1000);
            refused += 1;
        }
    }
    assert!(refused >= 20, "{refused}");
    assert!(server.app.hub().engine().usage().rooms <= 10);
    // Sessions of the address can join rooms that exist.
    Session::member(&server, 2, "bob", "r0").await;
    let mut plain = server.connect("/chat/r99?name=cid").await;
    assert_eq!(close_frame(&mut plain).await.0, 4429);
}

#[tokio::test]
async fn a_call_that_creates_no_room_uses_nothing_of_the_budget_of_new_rooms() {
    let config = AppOptions {
        address_room_rate: 1,
        address_room_burst: 3,
        max_rooms: 2,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut ann = Session::member(&server, 1, "ann", "r0").await;
    ann.join(json!({"room": "r1"})).await;
    for room in 2..40 {
        // A gap in the numbers, and a join above the maximum of rooms with members, do not create a room.
        ann.publish(&format!("r{room}"), 2, json!("x")).await;
        assert_eq!(ann.find("nack").await["code"], json!("gap"), "{room}");
        ann.send(&[json!({"join": {"room": format!("r{room}")}})]).await;
        let error = ann.find("error").await;
        assert_eq!(error["message"], json!("the server has no place for another room"));
    }
    for room in 2..10 {
        let mut plain = server.connect(&format!("/chat/r{room}?name=cid")).await;
        let reason = "the server has no place for another room".to_owned();
        assert_eq!(close_frame(&mut plain).await, (4429, reason));
    }
    ann.say("r99", 1, json!("the third")).await;
    assert!(server.app.hub().engine().usage().rooms <= 3);
}

#[tokio::test]
async fn many_clients_of_one_address_leave_entries_for_clients_of_other_addresses() {
    let config = AppOptions {
        remember_clients: 80,
        max_connections: AppOptions::default().max_connections,
        ..proxied()
    };
    let server = Server::with(config).await;
    let from = async |address: &str, client| {
        let session = Session::silent_with(server.address, &[("x-forwarded-for", address)]).await;
        session.welcomed(client, "ann").await
    };
    let mut accepted = 0;
    for client in 0..100 {
        // Of one /64, which is one customer.
        let mut session = from(&format!("2001:db8::{client:x}"), client).await;
        session.publish("lobby", 1, json!(client)).await;
        match session.next().await {
            line if line.get("ack").is_some() => accepted += 1,
            line => assert_eq!(line["nack"]["code"], json!("busy")),
        }
    }
    assert!((1..=80 / 8).contains(&accepted), "{accepted}");
    for other in 1..=6 {
        let mut session = from(&format!("192.0.2.{other}"), 1000 + other).await;
        session.say("lobby", 1, json!("hello")).await;
    }
    // A resend of a client with an entry is answered as before, also from another address.
    let mut session = from("192.0.2.99", 0).await;
    assert_eq!(session.say("lobby", 1, json!(0)).await["offset"], json!(1));
}

pub(crate) fn proxied() -> AppOptions {
    AppOptions {
        trust_proxy: vec!["127.0.0.1/32".parse().unwrap()],
        max_connections: 16,
        ..AppOptions::default()
    }
}

pub(crate) fn forwarded(entries: &str) -> String {
    handshake("/echo").replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {entries}\r\n\r\n"))
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_the_address_that_the_proxy_added() {
    let server = Server::with(proxied()).await;
    let mut held = Vec::new();
    for number in 0..8 {
        // The first entry is from the client itself, the last one from the proxy.
        let request = forwarded(&format!("198.51.100.{number}, 192.0.2.1"));
        let (status, _, stream) = ask(from("127.0.0.1", &server).await, &request).await;
        assert_eq!(status, 101);
        held.push(stream);
    }
    let (status, ..) = ask(from("127.0.0.1", &server).await, &forwarded("203.0.113.5, 192.0.2.1")).await;
    assert_eq!(
        status, 429,
        "the server is half full, and this client has more than its share"
    );
    let (status, _, stream) = ask(from("127.0.0.1", &server).await, &forwarded("192.0.2.2, 127.0.0.1")).await;
    assert_eq!(status, 101, "another client of the same proxy, behind a second one");
    held.push(stream);
    let (status, ..) = ask(from("127.0.0.1", &server).await, &forwarded("[2001:db8::1]:443")).await;
    assert_eq!(status, 101);
}

#[tokio::test]
async fn a_client_that_sends_the_header_itself_counts_for_its_own_address() {
    let server = Server::with(proxied()).await;
    let mut held = Vec::new();
    for number in 0..8 {
        let request = forwarded(&format!("192.0.2.{number}"));
        let (status, _, stream) = ask(from("127.0.0.9", &server).await, &request).await;
        assert_eq!(status, 101);
        held.push(stream);
    }
    let (status, ..) = ask(from("127.0.0.9", &server).await, &forwarded("192.0.2.99")).await;
    assert_eq!(status, 429);
}

#[tokio::test]
async fn the_scheme_of_the_origin_must_be_the_one_that_a_trusted_proxy_sends() {
    let server = Server::with(proxied()).await;
    let request = |scheme: &str, origin: &str| {
        let headers = format!("\r\nX-Forwarded-Proto: {scheme}\r\nOrigin: {origin}\r\n\r\n");
        handshake("/echo").replace("\r\n\r\n", &headers)
    };
    for (address, scheme, origin, expected) in [
        ("127.0.0.1", "https", "https://localhost", 101),
        ("127.0.0.1", "https", "http://localhost", 403),
        // The header is ignored if it is from a client.
        ("127.0.0.9", "https", "http://localhost", 101),
    ] {
        let (status, ..) = ask(from(address, &server).await, &request(scheme, origin)).await;
        assert_eq!(status, expected, "{address} {scheme} {origin}");
    }
}
