//! The opening handshake: accepted and refused requests.

use crate::support::{self, Server, assert_contains, handshake, send, text};
use axum::{Router, routing::get};
use talkback_server::{
    AppOptions, AppState,
    socket::{Sockets, Upgrade},
};
use tokio_tungstenite::tungstenite::Error;

async fn status_of(server: &Server, headers: &[(&'static str, &str)]) -> u16 {
    match server.try_connect("/echo", headers).await {
        Ok((_, response)) => response.status().as_u16(),
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

/// Makes the server close the connection after its response.
fn closing(request: &str) -> String {
    request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_accept_key_of_the_example_in_the_standard_is_computed() {
    let server = Server::start().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, handshake("/echo").as_bytes())
        .await
        .unwrap();
    let head = support::read_head(&mut stream).await;
    assert_contains(&head, "HTTP/1.1 101 Switching Protocols");
    // RFC 6455, section 1.3.
    assert_contains(&head, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_contains(&head, "connection: upgrade");
    assert_contains(&head, "upgrade: websocket");
    assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
}

#[tokio::test]
async fn header_names_and_tokens_may_be_of_any_case_and_in_lists() {
    let server = Server::start().await;
    let request = handshake("/echo")
        .replace("Connection: Upgrade", "connection: keep-alive, UPGRADE")
        .replace("Upgrade: websocket", "uPgRaDe: WebSocket");
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    assert_contains(&support::read_head(&mut stream).await, "HTTP/1.1 101");
}

#[tokio::test]
async fn each_malformed_handshake_is_refused_with_its_status_and_the_reason() {
    let server = Server::start().await;
    for (from, to, status, why) in [
        ("GET", "POST", "405", ""),
        (
            "Connection: Upgrade",
            "Connection: keep-alive",
            "400",
            "`Connection: Upgrade`",
        ),
        (
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Version: 8",
            "426",
            "must be 13",
        ),
        ("Sec-WebSocket-Version: 13\r\n", "", "426", "must be 13"),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            "400",
            "`Sec-WebSocket-Key` is missing",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400", "16 bytes"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base64", "400", "16 bytes"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: a, ,b\r\n\r\n",
            "400",
            "Sec-WebSocket-Protocol",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: a, b, a\r\n\r\n",
            "400",
            "\"a\"",
        ),
        ("HTTP/1.1", "HTTP/1.0", "400", "HTTP/1.1"),
    ] {
        let request = closing(&handshake("/echo").replace(from, to));
        let answer = server.raw(&request).await;
        assert_contains(answer.lines().next().unwrap(), status);
        assert_contains(&answer, why);
    }
    let answer = server
        .raw(&closing(&handshake("/once").replace("Version: 13", "Version: 99")))
        .await;
    assert_contains(&answer, "sec-websocket-version: 13");
}

#[tokio::test]
async fn the_servers_first_common_subprotocol_is_chosen_or_none() {
    async fn two(upgrade: Upgrade) -> axum::response::Response {
        upgrade.subprotocols(&["v2", "v1"]).on_upgrade(|socket| async move {
            let chosen = socket.subprotocol().unwrap_or("none").to_owned();
            socket.send(chosen).await.unwrap();
        })
    }
    let server = Server::with_routes(AppOptions::default(), Router::new().route("/two", get(two))).await;
    for (offer, chosen) in [("v1, v2", Some("v2")), ("v3,v1", Some("v1")), ("v3", None)] {
        let headers = [("sec-websocket-protocol", offer)];
        match server.try_connect("/two", &headers).await {
            Ok((mut client, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], chosen.unwrap());
                assert_eq!(text(&mut client).await, chosen.unwrap());
            }
            // The client fails the handshake, as browsers do, because the server chose none of its offers.
            Err(Error::Protocol(_)) => assert_eq!(chosen, None),
            Err(error) => panic!("{error}"),
        }
    }
    let mut without = server.connect("/two").await;
    assert_eq!(text(&mut without).await, "none");
}

#[tokio::test]
async fn foreign_origins_are_refused_and_others_are_not() {
    let server = Server::start().await;
    let own = format!("http://{}", server.address);
    assert_eq!(status_of(&server, &[]).await, 101);
    assert_eq!(status_of(&server, &[("origin", &own)]).await, 101);
    assert_eq!(status_of(&server, &[("origin", "http://localhost:8080")]).await, 101);
    assert_eq!(status_of(&server, &[("origin", "https://evil.example")]).await, 403);
    assert_eq!(status_of(&server, &[("origin", "null")]).await, 403);
    assert_eq!(server.app.sockets().metrics().origins_refused.get(), 2);
}

#[tokio::test]
async fn a_server_with_a_public_host_name_refuses_loopback_origins() {
    let config = AppOptions {
        allow_host: vec!["chat.example.com".parse().unwrap()],
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let public = [("host", "chat.example.com"), ("origin", "http://localhost:8080")];
    assert_eq!(status_of(&server, &public).await, 403);
    let own = [("host", "chat.example.com"), ("origin", "https://chat.example.com")];
    assert_eq!(status_of(&server, &own).await, 101);
}

/// DNS rebinding: the host name of an attacker's page resolves to 127.0.0.1, so that page and server have the same
/// origin.
#[tokio::test]
async fn a_server_on_loopback_refuses_foreign_host_names() {
    let server = Server::start().await;
    let rebound = [("host", "evil.example:3000"), ("origin", "http://evil.example:3000")];
    assert_eq!(status_of(&server, &rebound).await, 421);
    for path in ["/rooms/a/messages", "/", "/healthz", "/echo?message=a"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = server.raw(&request).await;
        assert_contains(&answer, "HTTP/1.1 421");
        assert_contains(&answer, "--allow-host evil.example");
    }
    for host in ["localhost", "127.0.0.1:9", "[::1]:3000"] {
        assert_eq!(status_of(&server, &[("host", host)]).await, 101, "{host}");
    }
    assert_eq!(server.app.sockets().metrics().hosts_refused.get(), 5);
}

#[tokio::test]
async fn a_request_with_no_host_or_several_is_malformed() {
    let server = Server::start().await;
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: local host\r\n"] {
        let request = format!("GET /echo?message=a HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        assert_contains(&server.raw(&request).await, "HTTP/1.1 400");
    }
}

#[tokio::test]
async fn more_than_sixteen_subprotocols_are_refused_and_not_compared() {
    let server = Server::start().await;
    let offer = |count: usize| {
        (0..count)
            .map(|number| format!("p{number}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for (count, status) in [(16, "101"), (17, "400"), (2000, "400")] {
        let header = format!("\r\nSec-WebSocket-Protocol: {}\r\n\r\n", offer(count));
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request = handshake("/echo").replace("\r\n\r\n", &header);
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .unwrap();
        assert_contains(&support::read_head(&mut stream).await, format!("HTTP/1.1 {status}"));
    }
}

#[tokio::test]
async fn a_wildcard_in_an_allowed_origin_matches_one_label() {
    let config = AppOptions {
        allow_origin: vec!["https://*.example.com".parse().unwrap()],
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    assert_eq!(status_of(&server, &[("origin", "https://app.example.com")]).await, 101);
    assert_eq!(status_of(&server, &[("origin", "https://example.com")]).await, 403);
    assert_eq!(status_of(&server, &[("origin", "https://a.b.example.com")]).await, 403);
}

#[tokio::test]
async fn the_refusal_of_an_origin_names_the_flag_that_allows_it() {
    let server = Server::start().await;
    let request = handshake("/echo").replace("\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n");
    let answer = server.raw(&closing(&request)).await;
    assert_contains(&answer, "HTTP/1.1 403");
    assert_contains(&answer, "--allow-origin https://evil.example");
}

#[tokio::test]
async fn the_router_works_inside_another_application_with_its_own_accept_loop() {
    let app = AppState::open(&AppOptions::default()).unwrap();
    let outer = Router::new()
        .route("/", get(|| async { "another application" }))
        .nest("/talk", talkback_server::router(app.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, outer).await });
    let url = format!("ws://{address}/talk/chat/lobby?name=ann");
    let (mut ann, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    futures_util::SinkExt::send(&mut ann, "hello".into()).await.unwrap();
    let message = support::within("the message", futures_util::StreamExt::next(&mut ann))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.to_text().unwrap(), "[ann] hello");
    assert_eq!((app.sockets().count(), app.hub().rooms()), (1, 1));
    drop(ann);
    support::wait_for("the socket to end", || {
        app.sockets().count() == 0 && app.hub().rooms() == 0
    })
    .await;
}

#[tokio::test]
async fn a_handler_works_with_only_sockets_as_its_state() {
    async fn shout(upgrade: Option<Upgrade>) -> axum::response::Response {
        let Some(upgrade) = upgrade else {
            return axum::response::IntoResponse::into_response("plain");
        };
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(message) = socket.recv().await {
                socket.send(message.as_text().unwrap().to_uppercase()).await.unwrap();
            }
        })
    }
    let sockets = Sockets::new(Default::default());
    let router = Router::new().route("/shout", get(shout)).with_state(sockets);
    let server = Server::with_routes(AppOptions::default(), router.with_state(())).await;
    assert!(server.get("/shout", "").await.ends_with("plain"));
    let mut client = server.connect("/shout").await;
    send(&mut client, "hello").await;
    assert_eq!(text(&mut client).await, "HELLO");
}
