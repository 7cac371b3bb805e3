//! `/rooms/{room}/...`: reading, waiting and publishing over HTTP, with the same log as the sockets.

use std::time::Duration;

use crate::support::{self, Server, assert_contains, close_frame, members, send, text, wait_for, within};
use serde_json::{Value, json};
use talkback_protocol::{Body, RoomName, UserName};
use talkback_server::{ApiKey, AppOptions, engine::AppendOutcome};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

const KEY: &str = "0123456789abcdef";

fn with_key() -> AppOptions {
    AppOptions {
        publish_key: Some(KEY.parse::<ApiKey>().unwrap()),
        ..AppOptions::default()
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

async fn request(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        server.address,
        body.len()
    );
    let answer = server.raw(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

async fn get(server: &Server, path: &str) -> Answer {
    request(server, "GET", path, "", "").await
}

async fn publish(server: &Server, room: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {KEY}\r\n{headers}");
    request(server, "POST", &format!("/rooms/{room}/messages"), &headers, body).await
}

fn bodies(answer: &Answer) -> Vec<Value> {
    let messages = answer.body["messages"].as_array().unwrap();
    messages.iter().map(|message| message["body"].clone()).collect()
}

#[tokio::test]
async fn a_published_message_can_be_read_and_is_delivered_to_plain_members() {
    let server = Server::with(with_key()).await;
    let mut plain = members(&server, "todo", &["ann"]).await.remove(0);
    let answer = publish(
        &server,
        "todo",
        "Content-Type: application/json\r\n",
        r#"{"done": [1, 2.50]}"#,
    )
    .await;
    assert_eq!(
        (answer.status, &answer.body["offset"], &answer.body["duplicate"]),
        (201, &json!(2), &json!(false))
    );
    assert_contains(&answer.head, "cache-control: no-store");
    assert_eq!(
        text(&mut plain).await,
        r#"[server] {"done": [1, 2.50]}"#,
        "the same bytes"
    );
    publish(&server, "todo?name=x", "", "").await;
    let named = request(
        &server,
        "POST",
        "/rooms/todo/messages?name=shop",
        &format!("Authorization: bearer {KEY}\r\n"),
        "\"open\"",
    )
    .await;
    assert_eq!(named.status, 201);
    assert_eq!(text(&mut plain).await, "[shop] open");

    let read = get(&server, "/rooms/todo/messages").await;
    assert_eq!(read.status, 200);
    assert_eq!(
        bodies(&read),
        [json!("joined"), json!({"done": [1, 2.50]}), json!("open")]
    );
    let message = &read.body["messages"][1];
    assert_eq!(
        (&message["room"], &message["offset"], &message["from"]["user"]),
        (&json!("todo"), &json!(2), &json!("server"))
    );
    assert_eq!(message["at"], answer.body["at"]);
    assert_eq!(
        (&read.body["head"], &read.body["recovered"], &read.body["more"]),
        (&json!(3), &json!(true), &json!(false))
    );
}

#[tokio::test]
async fn a_reader_that_follows_its_cursor_receives_every_message() {
    let server = Server::with(with_key()).await;
    for number in 1..=7 {
        publish(&server, "a", "", &number.to_string()).await;
    }
    let newest = get(&server, "/rooms/a/messages?limit=2").await;
    assert_eq!(bodies(&newest), [6, 7].map(|number| json!(number)));
    let (mut since, mut read) = ("0".to_owned(), Vec::new());
    loop {
        let page = get(&server, &format!("/rooms/a/messages?limit=3&since={since}")).await;
        assert_eq!(page.body["recovered"], json!(true));
        read.extend(bodies(&page));
        since = page.body["cursor"].as_str().unwrap().to_owned();
        if page.body["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(read, (1..=7).map(|number| json!(number)).collect::<Vec<_>>());
    let nothing = get(&server, &format!("/rooms/a/messages?since={since}")).await;
    assert_eq!(
        (bodies(&nothing).len(), nothing.body["cursor"].as_str()),
        (0, Some(&*since))
    );
}

#[tokio::test]
async fn a_reader_with_a_cursor_of_another_epoch_or_too_old_gets_the_newest_messages_and_recovered_false() {
    let config = AppOptions {
        log_messages: 3,
        ..with_key()
    };
    let server = Server::with(config).await;
    for number in 1..=5 {
        publish(&server, "a", "", &number.to_string()).await;
    }
    let epoch = get(&server, "/rooms/a/messages").await.body["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    for (since, recovered, expected) in [
        (format!("{epoch}:2"), true, vec![3, 4, 5]),
        (format!("{epoch}:1"), false, vec![4, 5]),
        (format!("{epoch}:6"), false, vec![4, 5]),
        ("ffffffffffffffff:5".to_owned(), false, vec![4, 5]),
        ("1".to_owned(), false, vec![4, 5]),
    ] {
        let limit = if recovered { 3 } else { 2 };
        let read = get(
            &server,
            &format!("/rooms/a/messages?limit={limit}&since={since}&wait=1"),
        )
        .await;
        assert_eq!(read.body["recovered"], json!(recovered), "{since}");
        assert_eq!(
            bodies(&read),
            expected.iter().map(|number| json!(number)).collect::<Vec<_>>(),
            "{since}"
        );
    }
}

#[tokio::test]
async fn a_request_can_wait_for_the_first_message_of_a_room() {
    let server = Server::with(with_key()).await;
    let empty = get(&server, "/rooms/a/messages").await;
    let since = empty.body["cursor"].as_str().unwrap().to_owned();
    assert_eq!((&empty.body["head"], since.ends_with(":0")), (&json!(0), true));
    let path = format!("/rooms/a/messages?wait=30&since={since}");
    let (read, ()) = tokio::join!(get(&server, &path), async {
        wait_for("the request to wait", || server.app.waiting() == 1).await;
        publish(&server, "b", "", "\"elsewhere\"").await;
        publish(&server, "a", "", "\"here\"").await;
    });
    assert_eq!(
        (read.body["recovered"].clone(), bodies(&read)),
        (json!(true), vec![json!("here")])
    );
}

#[tokio::test]
async fn a_waiting_request_is_answered_after_its_timeout_and_when_the_server_stops() {
    let mut server = Server::start().await;
    let read = get(&server, "/rooms/a/messages?since=0&wait=1").await;
    assert_eq!((read.status, bodies(&read).len()), (200, 0));
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting
        .write_all(b"GET /rooms/b/messages?since=0&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    wait_for("the request to wait", || server.app.waiting() == 1).await;
    server.stop();
    let mut answer = String::new();
    within("the answer", waiting.read_to_string(&mut answer)).await.unwrap();
    assert_contains(&answer, "200 OK");
    server.ended().await;
}

#[tokio::test]
async fn waiting_for_a_message_creates_no_room_and_returns_its_first_message() {
    let server = Server::with(with_key()).await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET /rooms/r{}/messages?since=0&wait=60 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            number / 2
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    wait_for("all to wait", || server.app.waiting() == 20).await;
    publish(&server, "r3", "", "\"first\"").await;
    for number in [6, 7] {
        let mut answer = String::new();
        within("the answer", waiting[number].read_to_string(&mut answer))
            .await
            .unwrap();
        assert_contains(&answer, "\"body\":\"first\"");
    }
    wait_for("the other requests to be waiting", || server.app.waiting() == 18).await;
    drop(waiting);
    wait_for("no request to be waiting", || server.app.waiting() == 0).await;
    assert_eq!(
        server.app.hub().engine().usage().rooms,
        1,
        "only the room with a message"
    );
}

/// A client that sends requests and does not read makes the server hold the responses in memory.
#[tokio::test]
async fn the_bytes_of_unread_responses_are_bounded_and_further_requests_get_503() {
    const ANSWER: usize = 12 * 1024 * 1024;
    let config = AppOptions {
        max_page: 1000,
        log_bytes: 2 * ANSWER,
        max_answer_size: ANSWER,
        answer_bytes: ANSWER,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let (room, user) = (RoomName::parse("a").unwrap(), UserName::parse("ann").unwrap());
    for _ in 0..340 {
        let body = Body::text(&"x".repeat(32 * 1024));
        let outcome = server.app.hub().publish(&room, &user, body).await;
        assert!(matches!(outcome, AppendOutcome::Added(_)), "{outcome:?}");
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    // From another address than the other requests, so that the limit of one address is not reached.
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut greedy = socket.connect(server.address).await.unwrap();
    greedy
        .write_all(b"GET /rooms/a/messages?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let head = support::read_head(&mut greedy).await;
    assert_contains(&head, "200 OK");
    assert_contains(&head, "content-length: 1");
    let refused = get(&server, "/rooms/a/messages?limit=1000").await;
    assert_eq!(refused.status, 503);
    assert_contains(&refused.head, "retry-after: 1");
    assert_eq!(server.app.sockets().metrics().answers_refused.get(), 1);
    assert_eq!(
        get(&server, "/rooms/a/messages?limit=1").await.status,
        200,
        "a small answer is not refused"
    );
    drop(greedy);
    within("the bytes to be free again", async {
        while get(&server, "/rooms/a/messages?limit=1000").await.status != 200 {}
    })
    .await;
}

#[tokio::test]
async fn one_response_has_a_bounded_size_and_says_that_there_are_more_messages() {
    let config = AppOptions {
        max_answer_size: 3000,
        ..with_key()
    };
    let server = Server::with(config).await;
    for _ in 0..5 {
        publish(&server, "a", "", &format!("\"{}\"", "x".repeat(1000))).await;
    }
    let answer = get(&server, "/rooms/a/messages?since=0").await;
    assert_eq!((bodies(&answer).len(), &answer.body["more"]), (2, &json!(true)));
}

#[tokio::test]
async fn a_body_that_is_too_deep_or_has_too_long_a_number_is_refused() {
    let server = Server::with(with_key()).await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(publish(&server, "a", "", &nested(64)).await.status, 201);
    let deep = publish(&server, "a", "", &nested(65)).await;
    assert_eq!((deep.status, &deep.body["code"]), (400, &json!("too_deep")));
    let long = publish(&server, "a", "", &"1".repeat(30_000)).await;
    assert_eq!((long.status, &long.body["code"]), (400, &json!("bad_request")));
    assert_contains(long.body["message"].as_str().unwrap(), "write it as a string");
}

#[tokio::test]
async fn a_request_whose_body_does_not_arrive_gets_408() {
    let config = AppOptions {
        body_timeout: Duration::from_millis(100),
        ..with_key()
    };
    let server = Server::with(config).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /rooms/a/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: 1000\r\n\r\n\"x"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert_contains(&answer, "HTTP/1.1 408");
    assert_contains(&answer, "\"code\":\"timeout\"");
}

#[tokio::test]
async fn names_over_http_are_checked_and_reserved_rooms_are_refused() {
    let server = Server::with(with_key()).await;
    for (name, status) in [
        ("%EF%BC%A1nn", 201),
        ("SERVER", 400),
        ("%E2%80%8B", 400),
        ("a%5Db", 400),
    ] {
        let path = format!("/rooms/a/messages?name={name}");
        let headers = format!("Authorization: Bearer {KEY}\r\n");
        assert_eq!(
            request(&server, "POST", &path, &headers, "1").await.status,
            status,
            "{name}"
        );
        let socket = server.try_connect(&format!("/chat/b?name={name}"), &[]).await;
        assert_eq!(socket.is_ok(), status == 201, "{name}");
    }
    let read = get(&server, "/rooms/a/messages").await;
    assert_eq!(read.body["messages"][0]["from"]["user"], json!("Ann"));
    let own = get(&server, "/rooms/~x/messages").await;
    assert_eq!((own.status, &own.body["code"]), (403, &json!("forbidden")));
    assert!(server.try_connect("/chat/~x", &[]).await.is_err());
}

/// Such a request has no `Origin` header, and the time until its response would tell the page whether the room has
/// messages.
#[tokio::test]
async fn pages_of_other_sites_cannot_embed_the_messages_of_a_room() {
    let server = Server::start().await;
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ] {
        for path in ["/rooms/a/messages", "/rooms/a/members"] {
            let headers = format!("Sec-Fetch-Site: {site}\r\n");
            let answer = request(&server, "GET", path, &headers, "").await;
            assert_eq!(answer.status, status, "{site} {path}");
            assert_contains(&answer.head, "cross-origin-resource-policy: same-origin");
        }
    }
    let allowed = "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost:8080\r\n";
    assert_eq!(
        request(&server, "GET", "/rooms/a/messages", allowed, "").await.status,
        200
    );
}

#[tokio::test]
async fn a_repeated_request_with_its_idempotency_key_is_answered_and_not_appended_again() {
    let server = Server::with(with_key()).await;
    let first = publish(&server, "a", "Idempotency-Key: 7f\r\n", "1").await;
    let again = publish(&server, "a", "Idempotency-Key: 7f\r\n", "1").await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(
        (&again.body["offset"], &again.body["at"]),
        (&first.body["offset"], &first.body["at"])
    );
    assert_eq!(again.body["duplicate"], json!(true));
    assert_eq!(publish(&server, "a", "Idempotency-Key: 8\r\n", "1").await.status, 201);
    let other = publish(&server, "a", "Idempotency-Key: 7f\r\n", "2").await;
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(publish(&server, "a", "", "1").await.status, 201);
    let long = format!("Idempotency-Key: {}\r\n", "x".repeat(129));
    assert_eq!(publish(&server, "a", &long, "1").await.status, 400);
    assert_eq!(get(&server, "/rooms/a/messages").await.body["head"], json!(3));
}

#[tokio::test]
async fn publishing_needs_the_key_and_is_off_if_the_server_has_none() {
    let server = Server::start().await;
    let off = publish(&server, "a", "", "1").await;
    assert_eq!((off.status, &off.body["code"]), (403, &json!("forbidden")));
    assert_contains(off.body["message"].as_str().unwrap(), "--publish-key");
    let server = Server::with(with_key()).await;
    for header in [
        "",
        "Authorization: Bearer 0123456789abcdee\r\n",
        "Authorization: Basic eA==\r\n",
        "Authorization: Bearer\r\n",
    ] {
        let refused = request(&server, "POST", "/rooms/a/messages", header, "1").await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (401, &json!("unauthorized")),
            "{header}"
        );
        assert_contains(&refused.head, "www-authenticate: bearer");
    }
    assert_eq!(server.app.hub().engine().usage().added, 0);
    assert!("short".parse::<ApiKey>().is_err());
    assert!(
        !format!("{:?}{}", with_key(), with_key().to_toml()).contains(KEY),
        "the output contains the key"
    );
}

#[tokio::test]
async fn responses_to_bad_requests_name_the_rule() {
    let server = Server::with(with_key()).await;
    for (body, status, code, reason) in [
        ("", 400, "bad_request", "not JSON"),
        ("hello", 400, "bad_request", "such as \"hello\""),
        ("1 2", 400, "bad_request", "not JSON"),
        (
            &format!("\"{}\"", "x".repeat(32 * 1024)),
            413,
            "too_large",
            "more than 32768 bytes",
        ),
    ] {
        let answer = publish(&server, "a", "", body).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (status, Some(code)),
            "{body:.20}"
        );
        assert_contains(answer.body["message"].as_str().unwrap(), reason);
    }
    assert_eq!(
        publish(&server, "a", "", &format!("\"{}\"", "x".repeat(32 * 1024 - 2)))
            .await
            .status,
        201
    );
    for (path, reason) in [
        ("a%2Fb/messages", "the room name has the character '/'"),
        ("a/messages?limit=0", "limit must be 1 to 100"),
        ("a/messages?limit=101", "limit must be 1 to 100"),
        ("a/messages?limit=x", "limit"),
        ("a/messages?wait=61", "wait must be 0 to 60"),
        ("a/messages?since=x", "since must be"),
        ("a/messages?since=:1", "since must be"),
        ("a/messages?since=-1", "since must be"),
        ("a/messages?since=9007199254740992", "since must be"),
        ("a%0A/members", "the room name has the control character"),
        ("e%CC%81/members", "the room name"),
    ] {
        let answer = get(&server, &format!("/rooms/{path}")).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (400, Some("bad_request")),
            "{path}"
        );
        assert_contains(answer.body["message"].as_str().unwrap(), reason);
    }
    assert_eq!(
        request(&server, "DELETE", "/rooms/a/messages", "", "").await.status,
        405
    );
}

#[tokio::test]
async fn the_list_of_members_has_each_user_once_with_any_number_of_sockets() {
    let server = Server::start().await;
    assert_eq!(
        get(&server, "/rooms/a/members").await.body,
        json!({"room": "a", "users": 0, "members": []})
    );
    let mut tabs = members(&server, "a", &["bob", "ann"]).await;
    let _third = server.connect("/chat/a?name=ann").await;
    wait_for("the third", || server.app.sockets().count() == 3).await;
    let both = json!({"room": "a", "users": 2, "members": [{"user": "ann"}, {"user": "bob"}]});
    within("the list to be made", async {
        while get(&server, "/rooms/a/members").await.body != both {}
    })
    .await;
    within("closing", tabs[0].close(None)).await.unwrap();
    close_frame(&mut tabs[0]).await;
    assert_eq!(
        get(&server, "/rooms/a/members").await.body,
        both,
        "bob is a member until the grace period is over"
    );
}

#[tokio::test]
async fn pages_of_other_origins_may_not_read_or_publish_unless_they_are_allowed() {
    let config = AppOptions {
        allow_origin: vec!["https://shop.example".parse().unwrap()],
        ..with_key()
    };
    let server = Server::with(config).await;
    for method in ["GET", "POST"] {
        let headers = format!("Origin: https://evil.example\r\nAuthorization: Bearer {KEY}\r\n");
        let refused = request(&server, method, "/rooms/a/messages", &headers, "1").await;
        assert_eq!(refused.status, 403);
        assert_contains(refused.body["message"].as_str().unwrap(), "--allow-origin");
        assert!(!refused.head.contains("access-control-allow-origin"));
    }
    let allowed = request(
        &server,
        "GET",
        "/rooms/a/messages",
        "Origin: https://shop.example\r\n",
        "",
    )
    .await;
    assert_eq!(allowed.status, 200);
    assert_contains(&allowed.head, "access-control-allow-origin: https://shop.example");
    let preflight = "Origin: https://shop.example\r\nAccess-Control-Request-Method: POST\r\n\
        Access-Control-Request-Headers: authorization,content-type,idempotency-key\r\n";
    let preflight = request(&server, "OPTIONS", "/rooms/a/messages", preflight, "").await;
    assert_eq!(preflight.status, 200);
    assert_contains(
        &preflight.head,
        "access-control-allow-headers: authorization,content-type,idempotency-key",
    );
}

#[tokio::test]
async fn a_full_log_answers_with_retry_after_and_closes_a_plain_member_that_sends() {
    let config = AppOptions {
        // Capacity for two of these messages.
        log_total_bytes: 10_000,
        ..with_key()
    };
    let server = Server::with(config).await;
    let body = format!("\"{}\"", "x".repeat(4000));
    for _ in 0..2 {
        assert_eq!(publish(&server, "a", "", &body).await.status, 201);
    }
    let refused = publish(&server, "b", "", &body).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("busy")));
    assert_contains(&refused.head, "retry-after: 1");
    let health = server.health().await;
    assert_eq!(health["log"]["added"], json!(2));
    let mut bob = server.connect("/chat/b?name=bob").await;
    send(&mut bob, "x".repeat(4000)).await;
    assert_eq!(close_frame(&mut bob).await.0, 1013);
}
