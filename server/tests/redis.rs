//! Several servers with their logs in one Redis, of which any is killed and started again.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use talkback_launch::{Process, Server as Program};
use talkback_testbed::{Port, Redis};

use crate::{
    addressed::{direct, post},
    durable::{get, until_ready},
    promises::{Member, assert_once_and_in_one_order, member},
    support::{
        session::{Session, cursor},
        within,
    },
};

/// The timeout of a test, much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn command(url: &str, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
    command.args(["--listen", listen, "--engine", url, "--log", "off"]);
    command.args(["--reconnect-spread", "100ms"]);
    command.env_clear().stdout(Stdio::piped());
    command
}

fn start(redis: &Redis, listen: &str) -> Program {
    start_with(redis, listen, &[])
}

/// Starts a server with these further arguments.
pub(crate) fn start_with(redis: &Redis, listen: &str, arguments: &[&str]) -> Program {
    let process = Process::spawn(command(&redis.url(), listen).args(arguments)).unwrap();
    Program::wait(process, DEADLINE).unwrap()
}

#[tokio::test]
async fn members_on_two_servers_get_the_messages_of_both_and_one_that_moves_misses_nothing() {
    let redis = Redis::start(&[]).await.unwrap();
    let mut here = start(&redis, "127.0.0.1:0");
    let mut there = start(&redis, "127.0.0.1:0");
    let mut ann = Session::open_at(here.address(), 1, "ann").await;
    let mut bob = Session::open_at(there.address(), 2, "bob").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    assert_eq!(bob.join(json!({"room": "lobby"})).await["epoch"], joined["epoch"]);
    // A message may reach its sender before the ack, so acks are not waited for.
    for (number, from_here, from_there) in [(1, "here 1", "there 1"), (2, "here 2", "there 2")] {
        ann.publish("lobby", number, json!(from_here)).await;
        bob.publish("lobby", number, json!(from_there)).await;
    }
    let all = within("all messages", ann.bodies(4)).await;
    assert_eq!(within("all messages", bob.bodies(4)).await, all, "one order");
    for (first, second) in [("here 1", "here 2"), ("there 1", "there 2")] {
        let place = |body: &str| all.iter().position(|message| message == body).unwrap();
        assert!(place(first) < place(second), "{all:?}");
    }
    ann.send(&[json!({"signal": {"room": "lobby", "body": "typing"}})])
        .await;
    let signal = within("a signal", bob.find("signal")).await;
    assert_eq!(
        (&signal["from"]["user"], &signal["body"]),
        (&json!("ann"), &json!("typing"))
    );

    here.process().kill().unwrap();
    bob.say("lobby", 3, json!("meanwhile")).await;

    let mut ann = Session::open_at(there.address(), 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby", "since": cursor(&joined, 4)})).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(ann.bodies(1).await, [json!("meanwhile")]);
    let resent = ann.say("lobby", 2, json!("here 2")).await;
    let known = all.iter().position(|message| message == "here 2").unwrap() + 1;
    assert_eq!(resent["offset"], known, "the other server knows it");
    assert_eq!(ann.say("lobby", 3, json!("moved")).await["offset"], 6);
    there.process().stop().unwrap();
}

#[tokio::test]
async fn members_see_the_users_of_other_servers_until_those_servers_are_dead() {
    let redis = Redis::start(&[]).await.unwrap();
    let mut here = start(&redis, "127.0.0.1:0");
    let mut there = start(&redis, "127.0.0.1:0");
    let mut ann = Session::open_at(here.address(), 1, "ann").await;
    ann.answers_pings = true;
    ann.join(json!({"room": "lobby"})).await;
    let mut bob = Session::open_at(there.address(), 2, "bob").await;
    bob.join(json!({"room": "lobby"})).await;
    within("both", ann.users("lobby", &["ann", "bob"])).await;
    within("both", bob.users("lobby", &["ann", "bob"])).await;
    ann.finds("lobby", "BO", &["bob"]).await;
    bob.finds("lobby", "n", &["ann"]).await;
    // A second connection of bob, at the other server: he is one user.
    let mut moved = Session::open_at(here.address(), 2, "bob").await;
    let joined = moved.join(json!({"room": "lobby"})).await;
    assert_eq!(joined["users"], 2, "{joined}");
    bob.cut();
    let cid = Session::open_at(there.address(), 3, "cid").await;
    let mut cid = cid;
    cid.join(json!({"room": "lobby"})).await;
    within("all three", ann.users("lobby", &["ann", "bob", "cid"])).await;
    within("all three", cid.users("lobby", &["ann", "bob", "cid"])).await;

    there.process().kill().unwrap();
    let killed = Instant::now();
    // Something is read all the time, because presence alone comes late.
    while ann.here["lobby"].len() > 2 {
        ann.send(&[json!({"ping": {}})]).await;
        ann.find("pong").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A server that is silent for 6 s is dead; a busy machine notices it later.
        assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", ann.here);
    }
    assert!(
        ann.here["lobby"].contains("bob"),
        "he is at the server that lives: {:?}",
        ann.here
    );
    here.process().stop().unwrap();
}

#[cfg(feature = "redis-tls")]
#[tokio::test]
async fn a_redis_with_tls_is_used_if_its_certificate_is_trusted_and_refused_otherwise() {
    let files = tempfile::TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(path("certificate"), certificate.cert.pem()).unwrap();
    std::fs::write(path("key"), certificate.signing_key.serialize_pem()).unwrap();
    let port = Port::loopback().unwrap();
    let _redis = Redis::start(&[
        "--tls-port",
        &port.number().to_string(),
        "--tls-cert-file",
        &path("certificate"),
        "--tls-key-file",
        &path("key"),
        "--tls-ca-cert-file",
        &path("certificate"),
        "--tls-auth-clients",
        "no",
    ])
    .await
    .unwrap();
    let command = |trusted: &str| {
        let mut command = command(&format!("rediss://{}", port.address()), "127.0.0.1:0");
        command.env("SSL_CERT_FILE", trusted);
        command
    };
    let process = Process::spawn(&mut command(&path("certificate"))).unwrap();
    let mut server = Program::wait(process, DEADLINE).unwrap();
    let mut ann = Session::open_at(server.address(), 1, "ann").await;
    ann.join(json!({"room": "lobby"})).await;
    assert_eq!(ann.say("lobby", 1, json!("over TLS")).await["offset"], 1);
    server.process().stop().unwrap();

    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(path("other"), other.cert.pem()).unwrap();
    let process = Process::spawn(&mut command(&path("other"))).unwrap();
    let mut server = Program::wait(process, DEADLINE).unwrap();
    until_ready(server.address(), 503).await;
    let (status, health) = get(server.address(), "/rooms/lobby/messages").await;
    assert_eq!(status, 503, "{health}");
    server.process().stop().unwrap();
}

#[tokio::test]
async fn while_redis_is_away_members_stay_publishers_get_a_nack_with_a_retry_and_readyz_says_so() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"])
        .await
        .unwrap();
    let mut server = start(&redis, "127.0.0.1:0");
    let address = server.address();
    let mut ann = Session::open_at(address, 1, "ann").await;
    let joined = ann.join(json!({"room": "lobby"})).await;
    ann.say("lobby", 1, json!("before")).await;
    until_ready(address, 200).await;
    redis.kill().unwrap();
    until_ready(address, 503).await;
    ann.publish("lobby", 2, json!("during")).await;
    let nack = within("a nack", ann.find("nack")).await;
    assert_eq!(nack["code"], "busy");
    assert!(nack["retry_after_ms"].is_u64(), "{nack}");
    ann.send(&[json!({"ping": {}})]).await;
    within("a pong on the same connection", ann.find("pong")).await;

    redis.start_again().await.unwrap();
    let (code, _) = within("the close of the epoch before", ann.closed()).await;
    assert_eq!(code, 1012);
    until_ready(address, 200).await;
    let mut ann = Session::open_at(address, 1, "ann").await;
    let again = ann.join(json!({"room": "lobby", "since": cursor(&joined, 1)})).await;
    assert_eq!((&again["recovered"], &again["head"]), (&json!(true), &json!(1)));
    assert_ne!(again["epoch"], joined["epoch"]);
    assert_eq!(ann.say("lobby", 2, json!("during")).await["offset"], 2);
    server.process().stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_and_their_redis_are_killed_at_any_time_and_no_acknowledged_message_is_lost_or_twice() {
    const CLIENTS: u8 = 4;
    const EACH: u64 = 600;
    const KILLS: usize = 2;
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"])
        .await
        .unwrap();
    let ports = [Port::loopback().unwrap(), Port::loopback().unwrap()];
    let addresses = ports.each_ref().map(Port::address);
    let mut servers = addresses.map(|address| start(&redis, &address.to_string()));
    let expects = u64::from(CLIENTS) * EACH;
    let members = (1..=CLIENTS).map(|number| {
        let address = addresses[usize::from(number % 2)];
        tokio::spawn(member(address, number, EACH, expects))
    });
    let mut members = futures_util::future::join_all(members);
    let (mut kills, mut redis_kills) = (0, 0);
    let begun = Instant::now();
    let members: Vec<Member> = loop {
        // When a kill comes is the fault of this test, and not something to wait for. A busy machine may get nothing done between two, so
        // they end.
        let next_kill = if kills < 3 * KILLS {
            Duration::from_millis(fastrand::u64(100..400))
        } else {
            DEADLINE.saturating_sub(begun.elapsed())
        };
        if let Ok(members) = tokio::time::timeout(next_kill, &mut members).await {
            break members.into_iter().map(Result::unwrap).collect();
        }
        assert!(begun.elapsed() < DEADLINE, "not all messages came within {DEADLINE:?}");
        if kills > redis_kills {
            redis.kill().unwrap();
            redis_kills += 1;
            redis.start_again().await.unwrap();
        } else {
            let index = kills % 2;
            servers[index].process().kill().unwrap();
            kills += 1;
            servers[index] = start(&redis, &addresses[index].to_string());
        }
    };
    assert!(
        kills >= KILLS && redis_kills >= KILLS,
        "only {kills} and {redis_kills} kills"
    );
    assert_once_and_in_one_order(&members, EACH);
}

/// The arguments of a server that addresses users.
const ADDRESSING: [&str; 3] = ["--address-users", "--publish-key", "0123456789abcdef"];

#[tokio::test]
async fn a_user_is_reached_at_whatever_server_and_misses_nothing_on_the_way_to_another_one() {
    let redis = Redis::start(&[]).await.unwrap();
    let mut here = start_with(&redis, "127.0.0.1:0", &ADDRESSING);
    let mut there = start_with(&redis, "127.0.0.1:0", &ADDRESSING);
    let mut ann = Session::open_at(here.address(), 1, "ann").await;
    let mut at = direct(&mut ann, json!({}), 1).await.remove(0);
    let mut bob = Session::open_at(there.address(), 2, "bob").await;
    direct(&mut bob, json!({}), 1).await;
    let (one, other) = (here.address(), there.address());
    // The first message begins the log, and each second one comes while she is away, on her way to the other server.
    for (number, server) in [(0, other), (2, one), (4, other)] {
        ann.cut();
        post(there.address(), "/users/ann/messages", &json!(number)).await;
        ann = Session::open_at(server, 1, "ann").await;
        let mut since = cursor(&at, number);
        since["room"] = at["room"].clone();
        at = direct(&mut ann, json!({"since": [since]}), 1).await.remove(0);
        assert_eq!(at["recovered"], true, "{at}");
        assert_eq!(within("a message", ann.bodies(1)).await, [json!(number)]);
        post(there.address(), "/users/ann/messages", &json!(number + 1)).await;
        assert_eq!(within("a message", ann.bodies(1)).await, [json!(number + 1)]);
    }
    post(here.address(), "/users/bob/messages", &json!("bob")).await;
    assert_eq!(
        within("a message", bob.bodies(1)).await,
        [json!("bob")],
        "and nothing of ann's"
    );
    here.process().stop().unwrap();
    there.process().stop().unwrap();
}
