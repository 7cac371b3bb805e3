//! Servers behind nginx and Caddy, with the configurations of docs/.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use talkback_launch::Signal;
use talkback_server::AppOptions;
use talkback_testbed::{
    ProxyProgram::{self, Caddy, Nginx},
    Redis, ReverseProxy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::{
    addresses::{ask, connect_from, forwarded, proxied},
    durable::{get, until_ready},
    promises::{assert_once_and_in_one_order, member},
    redis::{command, start_with},
    restart::{Figures, Front, rolling_restart},
    support::{Server, handshake, next, text, try_connect_at, wait_for, within},
};

/// The timeout of a test, much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(60);

async fn front(program: ProxyProgram, servers: &[SocketAddr]) -> ReverseProxy {
    ReverseProxy::start(program, servers).await.unwrap()
}

/// Waits until the room of [`member`] has so many messages, and returns how many it has.
async fn until_head(server: SocketAddr, least: u64) -> u64 {
    let until = Instant::now() + DEADLINE;
    loop {
        let (_, page) = get(server, "/rooms/lobby/messages?limit=1").await;
        match page["head"].as_u64() {
            Some(head) if head >= least => return head,
            head => assert!(
                Instant::now() < until,
                "waited for {least} messages, there are {head:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn members_of_a_killed_and_of_a_stopped_server_move_to_the_other_one(program: ProxyProgram) {
    const CLIENTS: u8 = 4;
    const EACH: u64 = 300;
    const STEP: u64 = 100;
    let redis = Redis::start(&[]).await.unwrap();
    let start = |listen: &str| start_with(&redis, listen, &["--trust-proxy", "127.0.0.1/32"]);
    let (mut killed, mut stopped) = (start("127.0.0.1:0"), start("127.0.0.1:0"));
    let (first, second) = (killed.address(), stopped.address());
    let front = front(program, &[first, second]).await;
    let address = front.address();
    let expects = u64::from(CLIENTS) * EACH;
    let members = (1..=CLIENTS).map(|number| tokio::spawn(member(address, number, EACH, expects)));
    let members = futures_util::future::join_all(members);

    let head = until_head(second, STEP).await;
    killed.process().kill().unwrap();
    let head = until_head(second, head + STEP).await;
    let mut killed = start(&first.to_string());
    until_ready(first, 200).await;

    let status = tokio::task::spawn_blocking(move || stopped.process().stop());
    assert!(
        within("the end of the server", status)
            .await
            .unwrap()
            .unwrap()
            .success()
    );
    until_head(first, (head + STEP).min(expects)).await;
    let mut stopped = start(&second.to_string());

    let members = timeout(DEADLINE, members)
        .await
        .expect("all members to have everything");
    let members: Vec<_> = members.into_iter().map(Result::unwrap).collect();
    assert_once_and_in_one_order(&members, EACH);
    for member in &members {
        assert!(member.connections >= 2, "it was at neither server when that ended");
    }
    for server in [&mut killed, &mut stopped] {
        server.process().kill().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_nginx_the_members_of_a_killed_and_of_a_stopped_server_move_and_lose_nothing() {
    members_of_a_killed_and_of_a_stopped_server_move_to_the_other_one(Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_caddy_the_members_of_a_killed_and_of_a_stopped_server_move_and_lose_nothing() {
    members_of_a_killed_and_of_a_stopped_server_move_to_the_other_one(Caddy).await;
}

#[tokio::test]
async fn caddy_sends_nothing_to_a_server_that_is_about_to_stop_and_still_serves() {
    let redis = Redis::start(&[]).await.unwrap();
    let arguments = ["--trust-proxy", "127.0.0.1/32", "--drain-delay", "1h"];
    let mut servers = [(); 2].map(|()| start_with(&redis, "127.0.0.1:0", &arguments));
    let [stopping, staying] = [servers[0].address(), servers[1].address()];
    let front = front(Caddy, &[stopping, staying]).await;
    servers[0].process().signal(Signal::SIGTERM);
    until_ready(stopping, 503).await;
    assert_eq!(get(stopping, "/readyz").await.1, json!({"status": "draining"}));
    // Until its next check Caddy asks both in turn.
    let mut answers = 0;
    within("answers of the other server alone", async {
        while answers < 20 {
            let (status, _) = get(front.address(), "/readyz").await;
            answers = if status == 200 { answers + 1 } else { 0 };
        }
    })
    .await;
    for server in &mut servers {
        server.process().kill().unwrap();
    }
}

#[tokio::test]
async fn behind_nginx_and_caddy_each_client_counts_for_the_address_that_it_connects_from() {
    for program in [Nginx, Caddy] {
        let server = Server::with(proxied()).await;
        let front = front(program, &[server.address]).await;
        let upgrade = async |address, request: &str| {
            let stream = connect_from(address, front.address()).await;
            let (status, _, stream) = ask(stream, request).await;
            (status, stream)
        };
        let mut held = Vec::new();
        for number in 0..8 {
            // What the client itself sends is believed by neither.
            let request = forwarded(&format!("192.0.2.{number}"));
            let (status, stream) = upgrade("127.0.0.9", &request).await;
            assert_eq!(status, 101, "{program:?}");
            held.push(stream);
        }
        let (status, _) = upgrade("127.0.0.9", &forwarded("192.0.2.99")).await;
        assert_eq!(
            status, 429,
            "{program:?}: the server is half full, and this client has its share"
        );
        let (status, _other) = upgrade("127.0.0.10", &handshake("/echo")).await;
        assert_eq!(status, 101, "{program:?}: another client");
    }
}

#[tokio::test]
async fn through_nginx_and_caddy_a_waiting_request_is_answered_and_a_flood_arrives_as_it_is_sent() {
    const KEY: &str = "0123456789abcdef";
    for program in [Nginx, Caddy] {
        let options = AppOptions {
            flood: true,
            publish_key: Some(KEY.parse().unwrap()),
            ..proxied()
        };
        let server = Server::with(options).await;
        let front = front(program, &[server.address]).await;
        let address = front.address();
        let (_, page) = get(address, "/rooms/lobby/messages").await;
        let cursor = page["cursor"].as_str().unwrap().to_owned();
        let path = format!("/rooms/lobby/messages?since={cursor}&wait=30");
        let waiting = tokio::spawn(async move { get(address, &path).await });
        wait_for("the request to wait", || server.app.waiting() == 1).await;
        let mut publisher = connect_from("127.0.0.1", address).await;
        let publish = format!(
            "POST /rooms/lobby/messages HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Authorization: Bearer {KEY}\r\nContent-Length: 7\r\n\r\n\"hello\""
        );
        publisher.write_all(publish.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("the answer", publisher.read_to_string(&mut answer))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{program:?}: {answer}");
        let (status, page): (u16, Value) = within("the message", waiting).await.unwrap();
        assert_eq!((status, &page["messages"][0]["body"]), (200, &json!("hello")));

        // Its last message comes after an hour. The page is of the address of the proxy, with its port.
        let origin = format!("http://{address}");
        let flood = try_connect_at(address, "/flood?n=72000&rate=20", &[("origin", &origin)]).await;
        let (mut flood, _) = flood.unwrap_or_else(|error| panic!("{program:?}: {error}"));
        for number in 0..3 {
            assert_eq!(text(&mut flood).await.trim(), number.to_string());
        }
        flood.close(None).await.unwrap();
        while let tokio_tungstenite::tungstenite::Message::Text(_) = next(&mut flood).await {}
    }
}

/// What is silent is ended by the server, which says why.
#[test]
fn nginx_waits_longer_than_the_server_for_the_next_byte() {
    let site = include_str!("../../docs/nginx.conf");
    let seconds = |name: &str| {
        let line = site.lines().find_map(|line| line.trim().strip_prefix(name));
        let value = line.and_then(|value| value.trim().strip_suffix("s;"));
        Duration::from_secs(value.unwrap_or_else(|| panic!("no {name} in seconds")).parse().unwrap())
    };
    let options = AppOptions::default();
    assert!(seconds("proxy_read_timeout") > options.max_wait);
    assert!(seconds("proxy_read_timeout") > options.ping_interval + options.ping_timeout);
    assert!(seconds("proxy_send_timeout") > options.write_timeout);
}

/// Restarts three servers behind nginx in turn, while so many members use them.
async fn rolling_restart_behind_nginx(members: usize) -> Figures {
    let redis = Redis::start(&[]).await.unwrap();
    let nginx = async |servers: Vec<SocketAddr>| Front::Nginx(front(Nginx, &servers).await);
    let command = |_, listen: &str| {
        let mut command = command(&redis.url(), listen);
        command.args(["--trust-proxy", "127.0.0.1/32"]);
        command
    };
    rolling_restart(3, members, nginx, command).await
}

/// nginx gave servers that it had marked as failed a connection every other second, for as long as no WebSocket to them ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_uses_a_server_that_was_restarted_at_once_and_a_rolling_restart_loses_nothing() {
    let figures = rolling_restart_behind_nginx(40).await;
    let longest = figures.away(1.0);
    assert!(longest < Duration::from_secs(10), "a member was away for {longest:?}");
}

/// `cargo test -p talkback-server --release --test sockets -- --ignored --nocapture of_500_members`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn in_a_rolling_restart_of_3_servers_99_of_100_of_500_members_are_away_for_less_than_2_seconds() {
    let figures = rolling_restart_behind_nginx(500).await;
    figures.assert_away_for_less_than_2_seconds();
}
