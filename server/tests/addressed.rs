//! What a back end addresses to users and groups.

use std::{net::SocketAddr, sync::Arc};

use futures_util::FutureExt;
use serde_json::{Value, json};
use talkback_protocol::{Body, UserName, session::server::Refusal};
use talkback_server::{
    AppOptions, AppState, Groups,
    engine::Answer,
    names::{self, GroupName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{
    Server,
    session::{Session, cursor, publish},
    wait_for, within,
};

const KEY: &str = "0123456789abcdef";

pub(crate) fn options() -> AppOptions {
    AppOptions {
        address_users: true,
        publish_key: Some(KEY.parse().unwrap()),
        ..AppOptions::default()
    }
}

fn user(name: &str) -> UserName {
    names::user(name).unwrap()
}

fn room_of(name: &str) -> String {
    names::user_room(&user(name)).to_string()
}

/// Posts JSON with the key and these headers. Returns the status and the answer.
async fn post_with(address: SocketAddr, path: &str, headers: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Bearer {KEY}\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Posts JSON with the key, which must be taken.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &Value) -> Value {
    let (status, answer) = post_with(address, path, "", body).await;
    assert_eq!(status, 201, "{answer}");
    answer
}

/// Asks for what is addressed, and waits for the answers for so many rooms.
pub(crate) async fn direct(session: &mut Session, direct: Value, rooms: usize) -> Vec<Value> {
    session.send(&[json!({ "direct": direct })]).await;
    let mut joined = Vec::new();
    while joined.len() < rooms {
        joined.push(session.expect("joined").await);
    }
    joined
}

/// The answer to a ping is the next line: nothing else was sent before.
async fn nothing_comes(session: &mut Session) {
    session.send(&[json!({"ping": {}})]).await;
    session.expect("pong").await;
}

#[tokio::test]
async fn without_the_option_nobody_is_addressed_and_the_refusals_say_which_it_is() {
    let server = Server::with(AppOptions {
        address_users: false,
        ..options()
    })
    .await;
    let mut ann = Session::open(&server, 1, "ann").await;
    assert_eq!(ann.welcome.get("direct"), None);
    ann.send(&[json!({"direct": {}})]).await;
    let error = ann.expect("error").await;
    assert_eq!(
        (&error["code"], &error["kind"]),
        (&json!("forbidden"), &json!("direct"))
    );
    for path in ["/users/ann/messages", "/groups/staff/messages"] {
        let (status, answer) = post_with(server.address, path, "", &json!(1)).await;
        assert_eq!((status, &answer["code"]), (403, &json!("forbidden")));
        assert!(
            answer["message"].as_str().unwrap().contains("--address-users"),
            "{answer}"
        );
    }
    let (status, answer) = post_with(server.address, "/rooms", "", &json!({"users": ["ann"], "body": 1})).await;
    assert_eq!(status, 403, "{answer}");
}

#[tokio::test]
async fn each_session_of_the_user_gets_what_is_addressed_to_it_and_no_other_does() {
    let server = Server::with(options()).await;
    let mut first = Session::open(&server, 1, "ann").await;
    let mut second = Session::open(&server, 2, "ann").await;
    let mut bob = Session::open(&server, 3, "bob").await;
    assert_eq!(first.welcome["direct"], true);
    for session in [&mut first, &mut second, &mut bob] {
        let joined = direct(session, json!({}), 1).await;
        assert_eq!((&joined[0]["users"], &joined[0]["members"]), (&json!(0), &json!([])));
    }
    let answer = post(server.address, "/users/%20ann/messages?name=shop", &json!({"sold": 7})).await;
    assert_eq!(
        (&answer["room"], &answer["offset"]),
        (&json!(room_of("ann")), &json!(1))
    );
    for session in [&mut first, &mut second] {
        let message = session.expect("message").await;
        assert_eq!(
            (&message["room"], &message["from"]["user"], &message["body"]),
            (&json!(room_of("ann")), &json!("shop"), &json!({"sold": 7}))
        );
    }
    nothing_comes(&mut bob).await;
    server
        .app
        .hub()
        .publish(
            &names::user_room(&user("bob")),
            &user("shop"),
            Body::text("by the library"),
        )
        .await;
    assert_eq!(bob.bodies(1).await, [json!("by the library")]);
    nothing_comes(&mut first).await;
    assert_eq!(
        first.presence_lines + bob.presence_lines,
        0,
        "nobody is told who is there"
    );
}

#[tokio::test]
async fn a_request_that_comes_again_is_recognised_and_a_wrong_key_is_refused() {
    let server = Server::with(options()).await;
    let again = "Idempotency-Key: a\r\n";
    for (status, duplicate) in [(201, false), (200, true)] {
        let answer = post_with(server.address, "/users/ann/messages", again, &json!(1)).await;
        assert_eq!((answer.0, &answer.1["duplicate"]), (status, &json!(duplicate)));
    }
    let request = "POST /users/ann/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n";
    for key in ["", "Authorization: Bearer wrong\r\n"] {
        let answer = server.raw(&format!("{request}{key}\r\n1")).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    for (path, code) in [
        ("/users/server/messages", 400),
        ("/groups/a%20b/messages", 400),
        ("/groups/~g.staff/messages", 400),
        ("/rooms/~u.ann/messages", 403),
    ] {
        let (status, answer) = post_with(server.address, path, "", &json!(1)).await;
        assert_eq!(status, code, "{path}: {answer}");
    }
}

#[tokio::test]
async fn one_request_addresses_rooms_users_and_groups_and_an_announcement_to_all_rooms_leaves_users_out() {
    let admin: talkback_server::ApiKey = KEY.parse().unwrap();
    let config = AppOptions {
        admin_key: Some(admin),
        ..options()
    };
    let app = AppState::open(&config).unwrap();
    let app = app.with_groups(|_: &UserName| vec![names::group("staff").unwrap()]);
    let operations = talkback_server::operations(app.clone()).with_state(());
    let server = Server::with_app(config, app, axum::Router::new().nest("/ops", operations)).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    direct(&mut ann, json!({}), 2).await;
    let request = json!({"rooms": ["lobby"], "users": ["ann", "ann", "bob"], "groups": ["staff"], "body": "all"});
    let (status, answer) = post_with(server.address, "/rooms", "", &request).await;
    let rooms: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["room"])
        .collect();
    assert_eq!(status, 200);
    assert_eq!(
        rooms,
        [
            &json!("lobby"),
            &json!(room_of("ann")),
            &json!(room_of("bob")),
            &json!("~g.staff")
        ]
    );
    assert_eq!(ann.bodies(2).await, [json!("all"), json!("all")]);
    ann.join(json!({"room": "lobby"})).await;
    let json_body = "Content-Type: application/json\r\n";
    let (status, answer) = post_with(
        server.address,
        "/ops/admin/announce",
        json_body,
        &json!({"body": "now"}),
    )
    .await;
    assert_eq!(
        (status, answer["results"].as_array().unwrap().len()),
        (200, 1),
        "{answer}"
    );
    let one = json!({"users": ["ann"], "body": "you"});
    let (status, answer) = post_with(server.address, "/ops/admin/announce", json_body, &one).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ann.bodies(2).await, [json!("now"), json!("you")]);
}

#[tokio::test]
async fn clients_can_neither_join_nor_publish_nor_signal_nor_read_where_others_are_addressed() {
    let server = Server::with(options()).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    direct(&mut ann, json!({}), 1).await;
    for room in [room_of("ann"), room_of("bob"), "~g.staff".to_owned()] {
        let lines = [
            json!({"join": {"room": room}}),
            json!({"signal": {"room": room, "body": 1}}),
        ];
        for line in lines {
            ann.send(&[line]).await;
            let error = ann.expect("error").await;
            assert_eq!(error["code"], "forbidden", "{error}");
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .contains("only a back end publishes there"),
                "{error}"
            );
        }
        ann.send(&[publish(&room, 1, json!(1))]).await;
        assert_eq!(ann.expect("nack").await["code"], "forbidden");
    }
    let history = |room: &str| json!({"history": {"id": 1, "room": room, "before": 9, "limit": 9}});
    ann.send(&[history(&room_of("bob"))]).await;
    assert_eq!(ann.expect("error").await["code"], "forbidden");
    post(server.address, "/users/ann/messages", &json!(1)).await;
    assert_eq!(ann.bodies(1).await, [json!(1)]);
    ann.send(&[history(&room_of("ann"))]).await;
    assert_eq!(
        ann.expect("page").await["messages"][0]["body"],
        1,
        "its own it may read"
    );
    let page = server.get(&format!("/rooms/{}/messages", room_of("ann")), "").await;
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    assert!(page.contains("POST /users/NAME/messages"), "{page}");
}

#[tokio::test]
async fn what_was_addressed_while_a_user_was_away_comes_once_also_the_first_message_of_all() {
    let server = Server::with(options()).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut at = direct(&mut ann, json!({}), 1).await.remove(0);
    for number in 0..5 {
        ann.cut();
        post(server.address, "/users/ann/messages", &json!(number)).await;
        ann = Session::open(&server, 1, "ann").await;
        let mut since = cursor(&at, number);
        since["room"] = at["room"].clone();
        at = direct(&mut ann, json!({"since": [since]}), 1).await.remove(0);
        assert_eq!(at["recovered"], true, "{at}");
        assert_eq!(ann.bodies(1).await, [json!(number)]);
        nothing_comes(&mut ann).await;
    }
    let mut other = Session::open(&server, 2, "ann").await;
    direct(&mut other, json!({"history": 2}), 1).await;
    assert_eq!(
        other.bodies(2).await,
        [json!(3), json!(4)],
        "the newest, without a cursor"
    );
}

#[tokio::test]
async fn a_user_who_was_never_addressed_leaves_nothing_behind() {
    let directory = tempfile::TempDir::new().unwrap();
    let sqlite = format!("sqlite:{}", directory.path().join("log").display());
    for engine in ["memory", &sqlite] {
        let server = Server::with(AppOptions {
            engine: engine.parse().unwrap(),
            ..options()
        })
        .await;
        for number in 0..50 {
            let mut session = Session::open(&server, number, &format!("user-{number}")).await;
            direct(&mut session, json!({"history": 9}), 1).await;
        }
        let hub = server.app.hub();
        wait_for("no room with members", || hub.rooms() == 0).await;
        wait_for("no room in the log", || hub.engine().usage().rooms == 0).await;
        post(server.address, "/users/user-1/messages", &json!(1)).await;
        assert_eq!(hub.engine().usage().rooms, 1, "{engine}");
    }
}

/// Groups that are known when the test says so.
#[derive(Clone, Default)]
struct Slow {
    asked: Arc<Notify>,
    known: Arc<Notify>,
}

impl Groups for Slow {
    fn groups_of(&self, _: &UserName) -> Answer<Result<Vec<GroupName>, Refusal>> {
        self.asked.notify_one();
        let slow = self.clone();
        let answer = async move {
            slow.known.notified().await;
            Ok(vec![names::group("staff").unwrap()])
        };
        Answer::later(answer.boxed())
    }
}

#[tokio::test]
async fn a_session_goes_on_while_its_groups_are_looked_for() {
    let slow = Slow::default();
    let app = AppState::open(&options()).unwrap().with_groups(slow.clone());
    let server = Server::with_app(options(), app, axum::Router::new()).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    ann.send(&[json!({"direct": {}})]).await;
    within("the question", slow.asked.notified()).await;
    nothing_comes(&mut ann).await;
    ann.send(&[json!({"direct": {}})]).await;
    let busy = ann.expect("error").await;
    assert_eq!((&busy["code"], &busy["kind"]), (&json!("busy"), &json!("direct")));
    slow.known.notify_one();
    for room in [json!(room_of("ann")), json!("~g.staff")] {
        assert_eq!(ann.expect("joined").await["room"], room);
    }
}

#[tokio::test]
async fn a_user_whose_groups_change_reconnects_and_is_asked_for_them_again() {
    let groups = Arc::new(parking_lot::Mutex::new(vec!["staff"]));
    let of_user = Arc::clone(&groups);
    let app = AppState::open(&options()).unwrap().with_groups(move |user: &UserName| {
        let groups = of_user.lock();
        let named = groups
            .iter()
            .filter(|_| &**user == "ann")
            .map(|group| names::group(group).unwrap());
        named.collect()
    });
    let server = Server::with_app(options(), app, axum::Router::new()).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let mut bob = Session::open(&server, 2, "bob").await;
    direct(&mut ann, json!({}), 2).await;
    direct(&mut bob, json!({}), 1).await;
    *groups.lock() = vec!["board"];
    assert_eq!(server.app.groups_changed(&user("ann")), 1);
    assert_eq!(ann.closed().await.0, 1012);
    nothing_comes(&mut bob).await;
    let mut ann = Session::open(&server, 1, "ann").await;
    let joined = direct(&mut ann, json!({}), 2).await;
    assert_eq!(joined[1]["room"], "~g.board");
    post(server.address, "/groups/staff/messages", &json!("not for ann")).await;
    post(server.address, "/groups/board/messages", &json!("for ann")).await;
    assert_eq!(ann.bodies(1).await, [json!("for ann")]);
}

#[tokio::test]
async fn users_beyond_the_most_rooms_with_members_are_refused_for_now() {
    let server = Server::with(AppOptions {
        max_rooms: 1,
        ..options()
    })
    .await;
    let mut ann = Session::open(&server, 1, "ann").await;
    direct(&mut ann, json!({}), 1).await;
    let mut bob = Session::open(&server, 2, "bob").await;
    bob.send(&[json!({"direct": {}})]).await;
    let error = bob.expect("error").await;
    assert_eq!(
        (&error["code"], &error["kind"], &error["room"]),
        (&json!("busy"), &json!("direct"), &json!(room_of("bob")))
    );
    assert!(error["retry_after_ms"].is_u64(), "{error}");
    ann.cut();
    let hub = server.app.hub();
    wait_for("ann left", || hub.rooms() == 0).await;
    direct(&mut bob, json!({}), 1).await;
}
