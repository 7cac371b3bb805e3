//! `talkback-server admin` against a running server program, and publishing to many rooms.

use std::process::Stdio;

use serde_json::{Value, json};
use talkback_server::AppOptions;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{
    Server, assert_contains,
    session::{Session, cursor},
    within,
};

const KEY: &str = "an-admin-key-of-a-test";

/// A server program with an address for operators.
struct Program {
    child: Child,
    public: String,
    operations: String,
}

impl Program {
    async fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--operations-listen",
            "127.0.0.1:0",
            "--log",
            "off",
        ]);
        command
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = async |prefix: &str| {
            let line = within("an address", lines.next_line()).await.unwrap().unwrap();
            line.strip_prefix(prefix).expect("the address").to_owned()
        };
        let public = address("listening on http://").await;
        let operations = address("operations on http://").await;
        Self {
            child,
            public,
            operations,
        }
    }

    /// Ends it at once, as `kill -9` does.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Runs a command with this key: its exit code, its output and its errors.
    async fn admin_with(&self, key: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
        command
            .arg("admin")
            .args(["--operations", &self.operations])
            .args(arguments);
        command.env_clear().env("TALKBACK_ADMIN_KEY", key);
        let output = within("the command", command.output()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command, which must succeed. Returns its output.
    async fn admin(&self, arguments: &[&str]) -> String {
        let (code, output, errors) = self.admin_with(KEY, arguments).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}");
        output
    }

    async fn member(&self, number: u32, name: &str, room: &str) -> Session {
        let mut session = Session::open_at(self.public.parse().unwrap(), number, name).await;
        session.join(json!({"room": room})).await;
        session
    }
}

#[tokio::test]
async fn an_operator_lists_rooms_and_members_announces_and_closes() {
    let server = Program::start(&["--admin-key", KEY]).await;
    assert_eq!(server.admin(&["rooms"]).await, "");
    let mut ann = server.member(1, "ann", "lobby").await;
    let mut bob = server.member(2, "bob", "lobby").await;
    let mut eve = server.member(3, "eve", "日本").await;
    assert_eq!(server.admin(&["rooms"]).await, "lobby\t2\n日本\t1\n");
    let listed: Value = serde_json::from_str(&server.admin(&["rooms", "--json"]).await).unwrap();
    assert_eq!(listed["rooms"][0], json!({"room": "lobby", "members": 2}));
    assert_eq!(server.admin(&["members", "lobby"]).await, "ann\nbob\n");
    assert_eq!(server.admin(&["members", "日本"]).await, "eve\n");
    assert_eq!(server.admin(&["members", "empty"]).await, "");

    assert_eq!(server.admin(&["announce", "soon down"]).await, "published to 2 rooms\n");
    for session in [&mut ann, &mut bob, &mut eve] {
        let message = session.find("message").await;
        assert_eq!(
            (&message["body"], &message["from"]["user"]),
            (&json!("soon down"), &json!("server"))
        );
    }
    let some = ["announce", "--body", "{\"a\":1}", "--room", "日本", "--name", "ops"];
    assert_eq!(server.admin(&some).await, "published to 1 rooms\n");
    let message = eve.find("message").await;
    assert_eq!(
        (&message["body"], &message["from"]["user"]),
        (&json!({"a": 1}), &json!("ops"))
    );

    let close = ["close", "lobby", "--user", "ann", "--reason", "enough"];
    assert_eq!(server.admin(&close).await, "closed 1 connections\n");
    assert_eq!(ann.closed().await, (4403, "enough".to_owned()));
    within("ann to be no member", async {
        while server.admin(&["members", "lobby"]).await != "bob\n" {}
    })
    .await;
    assert_eq!(server.admin(&["close", "lobby"]).await, "closed 1 connections\n");
    assert_eq!(bob.closed().await.0, 4403);
    eve.say("日本", 1, json!("still here")).await;
}

/// The log of the room over HTTP.
async fn log(server: &Program, room: &str) -> Value {
    let answer = crate::support::get(&server.public, &format!("/rooms/{room}/messages")).await;
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Reads to the message with this text.
async fn until_said(session: &mut Session, text: &str) {
    while session.find("message").await["body"] != text {}
}

/// What a client publishes again, with its number, is refused because it was deleted.
async fn is_refused_as_deleted(session: &mut Session, seq: u64, body: Value) {
    session.publish("lobby", seq, body).await;
    let nack = within("a nack", session.find("nack")).await;
    assert_eq!(
        (&nack["seq"], &nack["code"]),
        (&json!(seq), &json!("deleted")),
        "{nack}"
    );
    assert!(
        nack["epoch"].is_string() && nack.get("retry_after_ms").is_none(),
        "{nack}"
    );
}

#[tokio::test]
async fn an_operator_deletes_a_room_and_its_members_are_told_that_they_have_to_begin_anew() {
    let server = Program::start(&["--admin-key", KEY, "--reconnect-spread", "100ms"]).await;
    let mut ann = Session::open_at(server.public.parse().unwrap(), 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    let mut bob = server.member(2, "bob", "lobby").await;
    let mut eve = server.member(3, "eve", "other").await;
    ann.say("lobby", 1, json!("one")).await;
    ann.say("lobby", 2, json!("two")).await;
    bob.bodies(2).await;
    eve.say("other", 1, json!("stays")).await;

    let (code, output, errors) = server.admin_with(KEY, &["delete-room", "lobby"]).await;
    assert_eq!((code, output.as_str()), (1, ""));
    assert_contains(&errors, "all messages of the room lobby");
    assert_contains(&errors, "--yes");
    assert_eq!(log(&server, "lobby").await["messages"].as_array().unwrap().len(), 2);

    let delete = ["delete-room", "lobby", "--yes"];
    assert_eq!(server.admin(&delete).await, "deleted 2 messages\n");
    for member in [&mut ann, &mut bob] {
        assert_eq!(within("the close", member.closed()).await.0, 1012);
    }
    let after = log(&server, "lobby").await;
    assert_eq!((&after["messages"], &after["head"]), (&json!([]), &json!(2)));
    assert_ne!(after["epoch"], before["epoch"]);
    for (number, name, offset) in [(1, "ann", 2), (2, "bob", 1), (4, "late", 0)] {
        let mut member = Session::open_at(server.public.parse().unwrap(), number, name).await;
        let since = cursor(&before, offset);
        let joined = member
            .join(json!({"room": "lobby", "since": since, "history": 10}))
            .await;
        assert_eq!(
            (&joined["recovered"], &joined["after"], &joined["epoch"]),
            (&json!(false), &json!(2), &after["epoch"])
        );
        assert!(joined.get("fork").is_none(), "{joined}");
    }
    let mut ann = server.member(1, "ann", "lobby").await;
    is_refused_as_deleted(&mut ann, 2, json!("two")).await;
    assert_eq!(ann.say("lobby", 3, json!("three")).await["offset"], 3);
    assert_eq!(log(&server, "lobby").await["messages"].as_array().unwrap().len(), 1);
    eve.say("other", 2, json!("still here")).await;
    assert_eq!(log(&server, "other").await["messages"].as_array().unwrap().len(), 2);

    let again: Value = serde_json::from_str(&server.admin(&["delete-room", "lobby", "--yes", "--json"]).await).unwrap();
    assert_eq!((&again["room"], &again["messages"]), (&json!("lobby"), &json!(1)));
    assert_eq!(again["epoch"], log(&server, "lobby").await["epoch"]);
    assert_eq!(
        server.admin(&["delete-room", "empty", "--yes"]).await,
        "deleted 0 messages\n"
    );
    let metrics = crate::support::get(&server.operations, "/metrics").await;
    assert_contains(&metrics, "talkback_deleted_rooms_total 3\n");
    assert_contains(&metrics, "talkback_deleted_messages_total 3\n");
    assert_contains(&metrics, "talkback_nacks_total{code=\"deleted\"} 1\n");
}

#[tokio::test]
async fn an_operator_deletes_what_a_user_said_and_members_miss_nothing() {
    let server = Program::start(&["--admin-key", KEY]).await;
    let mut ann = server.member(1, "ann", "lobby").await;
    let mut bob = server.member(2, "bob", "lobby").await;
    let ack = ann.say("lobby", 1, json!("one")).await;
    bob.say("lobby", 1, json!("hello")).await;
    ann.say("lobby", 2, json!({"two": 2})).await;
    ann.say("other", 1, json!("elsewhere")).await;

    let (code, output, errors) = server.admin_with(KEY, &["delete-messages", "ann"]).await;
    assert_eq!((code, output.as_str()), (1, ""));
    assert_contains(&errors, "what ann said in all rooms");
    assert_contains(&errors, "--yes");
    let delete = ["delete-messages", "ann", "--room", "lobby", "--yes"];
    assert_eq!(server.admin(&delete).await, "deleted 2 messages\n");
    // Nobody is closed, and the messages that follow are as always.
    ann.say("lobby", 3, json!("three")).await;
    within("the next message", until_said(&mut bob, "three")).await;

    let mut late = Session::open_at(server.public.parse().unwrap(), 3, "late").await;
    let joined = late.join(json!({"room": "lobby", "history": 10})).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(late.find("message").await);
    }
    let seen: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                &message["offset"],
                &message["from"]["user"],
                &message["deleted"],
                &message["body"],
            )
        })
        .collect();
    let (ann_name, bob_name, none, yes) = (json!("ann"), json!("bob"), json!(null), json!(true));
    assert_eq!(
        seen,
        [
            (&json!(1), &ann_name, &yes, &none),
            (&json!(2), &bob_name, &none, &json!("hello")),
            (&json!(3), &ann_name, &yes, &none),
            (&json!(4), &ann_name, &none, &json!("three")),
        ]
    );
    assert_eq!((&messages[0]["seq"], &messages[0]["at"]), (&json!(1), &ack["at"]));
    assert_eq!(messages[0]["id"], crate::support::session::id(1));
    assert_eq!(log(&server, "lobby").await["messages"][2]["deleted"], true);
    assert_eq!(log(&server, "other").await["messages"][0]["body"], "elsewhere");
    let mut again = Session::open_at(server.public.parse().unwrap(), 1, "ann").await;
    let since = cursor(&joined, 1);
    let joined = again.join(json!({"room": "lobby", "since": since})).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(again.say("lobby", 1, json!("one")).await, ack, "a resend is not added");

    let everywhere = server.admin(&["delete-messages", "ann", "--yes"]).await;
    assert_eq!(everywhere, "deleted 2 messages\n");
    assert_eq!(log(&server, "other").await["messages"][0]["deleted"], true);
    let page = crate::support::get(&server.operations, "/metrics").await;
    assert_contains(&page, "talkback_deleted_messages_total 4\n");
}

#[tokio::test]
async fn a_request_whose_message_was_deleted_with_its_room_is_refused_when_it_comes_again() {
    let options = AppOptions {
        publish_key: Some(KEY.parse().unwrap()),
        ..AppOptions::default()
    };
    let server = Server::with(options).await;
    let publish = async |name: &str| {
        let request = format!(
            "POST /rooms/a/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\
             Authorization: Bearer {KEY}\r\nIdempotency-Key: {name}\r\n\r\n\"x\""
        );
        server.raw(&request).await
    };
    assert_contains(&publish("first").await, "201 Created");
    assert_contains(&publish("first").await, "200 OK");
    let room = talkback_protocol::RoomName::parse("a").unwrap();
    let deleted = server.app.hub().engine().delete_room(&room).await.unwrap();
    assert_eq!(deleted.messages, 1);
    let again = publish("first").await;
    assert_contains(&again, "410 Gone");
    assert_contains(&again, "\"code\":\"deleted\"");
    assert_contains(&publish("second").await, "201 Created");
}

#[cfg(unix)]
#[tokio::test]
async fn a_deletion_survives_a_kill_of_the_server_right_after_its_answer() {
    let directory = tempfile::TempDir::new().unwrap();
    let engine = format!("sqlite:{}", directory.path().join("log.db").display());
    let arguments = ["--admin-key", KEY, "--engine", &engine];
    let server = Program::start(&arguments).await;
    let mut ann = Session::open_at(server.public.parse().unwrap(), 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    ann.say("lobby", 1, json!("one")).await;
    ann.say("other", 1, json!("two")).await;
    server.admin(&["delete-room", "lobby", "--yes"]).await;
    server.admin(&["delete-messages", "ann", "--yes"]).await;
    server.kill().await;

    let server = Program::start(&arguments).await;
    assert_eq!(log(&server, "lobby").await["messages"], json!([]));
    let other = log(&server, "other").await;
    assert_eq!(
        (&other["messages"][0]["deleted"], &other["head"]),
        (&json!(true), &json!(1))
    );
    let mut ann = Session::open_at(server.public.parse().unwrap(), 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby", "since": cursor(&before, 1)})).await;
    assert_eq!(joined["recovered"], false, "{joined}");
    is_refused_as_deleted(&mut ann, 1, json!("one")).await;
    assert_eq!(ann.say("lobby", 2, json!("three")).await["offset"], 2);
}

#[cfg(all(unix, feature = "redis"))]
#[tokio::test]
async fn a_deletion_at_one_server_is_told_to_the_members_at_another_one() {
    let redis = talkback_testbed::Redis::start(&[]).await.unwrap();
    let url = redis.url();
    let arguments = ["--admin-key", KEY, "--reconnect-spread", "100ms", "--engine", &url];
    let (here, there) = (Program::start(&arguments).await, Program::start(&arguments).await);
    let mut ann = Session::open_at(here.public.parse().unwrap(), 1, "ann").await;
    let before = ann.join(json!({"room": "lobby"})).await;
    let mut bob = there.member(2, "bob", "lobby").await;
    ann.say("lobby", 1, json!("one")).await;
    bob.bodies(1).await;
    let deleted = here.admin(&["delete-room", "lobby", "--yes"]).await;
    assert_eq!(deleted, "deleted 1 messages\n");
    for member in [&mut ann, &mut bob] {
        assert_eq!(within("the close", member.closed()).await.0, 1012);
    }
    let mut bob = Session::open_at(here.public.parse().unwrap(), 2, "bob").await;
    let joined = bob.join(json!({"room": "lobby", "since": cursor(&before, 1)})).await;
    assert_eq!(joined["recovered"], false, "{joined}");
    let mut ann = there.member(1, "ann", "lobby").await;
    is_refused_as_deleted(&mut ann, 1, json!("one")).await;
    assert_eq!(ann.say("lobby", 2, json!("two")).await["offset"], 2);
    assert_eq!(bob.bodies(1).await, [json!("two")]);

    assert_eq!(
        there.admin(&["delete-messages", "ann", "--yes"]).await,
        "deleted 1 messages\n"
    );
    assert_eq!(log(&here, "lobby").await["messages"][0]["deleted"], true);
    bob.say("lobby", 1, json!("three")).await;
    within("the next message", until_said(&mut ann, "three")).await;
}

#[tokio::test]
async fn without_the_key_nothing_is_answered_and_the_error_says_what_to_do() {
    let server = Program::start(&["--admin-key", KEY]).await;
    let commands: [&[&str]; 6] = [
        &["rooms"],
        &["members", "a"],
        &["announce", "x"],
        &["close", "a"],
        &["delete-room", "a", "--yes"],
        &["delete-messages", "ann", "--yes"],
    ];
    for arguments in commands {
        let (code, output, errors) = server.admin_with("another-key-of-a-test", arguments).await;
        assert_eq!((code, output.as_str()), (1, ""), "{arguments:?}");
        assert_contains(&errors, "--admin-key");
        assert_contains(&errors, "401");
    }
    // The public address has no such path.
    let answer = crate::support::get(&server.public, "/admin/rooms").await;
    assert_contains(&answer, "404 Not Found");

    let off = Program::start(&[]).await;
    let (code, _, errors) = off.admin_with(KEY, &["rooms"]).await;
    assert_eq!(code, 1);
    assert_contains(&errors, "start the server with --admin-key");
}

#[tokio::test]
async fn wrong_arguments_and_a_server_that_is_away_have_clear_errors() {
    let server = Program::start(&["--admin-key", KEY]).await;
    let (code, _, errors) = server.admin_with(KEY, &["members", "a b"]).await;
    assert_eq!(code, 1);
    assert_contains(&errors, "room");
    let (_, _, errors) = server.admin_with(KEY, &["announce", "--body", "{"]).await;
    assert_contains(&errors, "not JSON");
    let (_, _, errors) = server
        .admin_with(KEY, &["close", "a", "--reason", &"x".repeat(124)])
        .await;
    assert_contains(&errors, "123 bytes");
    let (code, _, errors) = server.admin_with("short", &["rooms"]).await;
    assert_eq!(code, 2);
    assert!(!errors.contains("'short'") || errors.contains("16"), "{errors}");
    let away = Program {
        operations: "127.0.0.1:1".to_owned(),
        ..server
    };
    let (code, _, errors) = away.admin_with(KEY, &["rooms"]).await;
    assert_eq!(code, 1);
    assert_contains(&errors, "cannot reach the server at 127.0.0.1:1");
}

#[tokio::test]
async fn a_list_of_more_rooms_than_an_answer_has_is_whole() {
    let rooms = AppOptions::default().max_rooms.min(1010);
    let server = Program::start(&[
        "--admin-key",
        KEY,
        "--max-session-rooms",
        "2000",
        "--address-room-rate",
        "0",
    ])
    .await;
    let mut ann = Session::open_at(server.public.parse().unwrap(), 1, "ann").await;
    for number in 0..rooms {
        ann.join(json!({"room": format!("room{number:04}")})).await;
    }
    let listed = server.admin(&["rooms"]).await;
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert!(
        names
            .iter()
            .enumerate()
            .all(|(number, name)| *name == format!("room{number:04}"))
    );
    assert_eq!(names.len(), rooms);
}

async fn post(server: &Server, key: &str, headers: &str, body: &Value) -> (String, Value) {
    let body = body.to_string();
    let request = format!(
        "POST /rooms HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Bearer {key}\r\n{headers}\r\n{body}",
        body.len()
    );
    let answer = server.raw(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.lines().next().unwrap().to_owned(),
        serde_json::from_str(body).unwrap(),
    )
}

#[tokio::test]
async fn a_back_end_publishes_to_many_rooms_at_once_and_each_gets_it_once() {
    let options = AppOptions {
        publish_key: Some(KEY.parse().unwrap()),
        ..AppOptions::default()
    };
    let server = Server::with(options).await;
    let mut ann = Session::member(&server, 1, "ann", "a").await;
    let mut bob = Session::member(&server, 2, "bob", "b").await;
    let request = json!({"rooms": ["a", "b", "a"], "name": "todo", "body": {"done": 3}});
    let once = "Idempotency-Key: change-1\r\n";
    let (status, answer) = post(&server, KEY, once, &request).await;
    assert_contains(&status, "200 OK");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(
        (&results[0]["room"], &results[0]["offset"], &results[0]["duplicate"]),
        (&json!("a"), &json!(1), &json!(false))
    );
    for session in [&mut ann, &mut bob] {
        let message = session.find("message").await;
        assert_eq!(
            (&message["body"], &message["from"]["user"]),
            (&json!({"done": 3}), &json!("todo"))
        );
    }
    // Sent again with one more room: only that one gets it.
    let more = json!({"rooms": ["a", "b", "c"], "name": "todo", "body": {"done": 3}});
    let (_, answer) = post(&server, KEY, once, &more).await;
    let duplicates: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["duplicate"])
        .collect();
    assert_eq!(duplicates, [true, true, false]);
    // The same key for another message is refused in the rooms that know it.
    let other = json!({"rooms": ["a", "d"], "name": "todo", "body": "other"});
    let (_, answer) = post(&server, KEY, once, &other).await;
    assert_eq!(answer["results"][0]["code"], "key_reused");
    assert_eq!(answer["results"][1]["offset"], 1);

    for (key, request, expected) in [
        ("a-wrong-key-of-a-test", &request, "401 Unauthorized"),
        (KEY, &json!({"rooms": [], "body": 1}), "400 Bad Request"),
        (KEY, &json!({"rooms": ["~server"], "body": 1}), "403 Forbidden"),
        (KEY, &json!({"rooms": ["a"]}), "400 Bad Request"),
        (
            KEY,
            &json!({"rooms": ["a"], "body": "x".repeat(40_000)}),
            "413 Payload Too Large",
        ),
    ] {
        let (status, _) = post(&server, key, "", request).await;
        assert_contains(&status, expected);
    }
}
