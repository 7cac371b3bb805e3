//! `/metrics`, and the dashboard that is made for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, header},
};
use serde_json::{Value, json};
use talkback_server::AppOptions;
use tower::ServiceExt;

use crate::support::{DEADLINE, Server, assert_contains, send, session::Session, text};

/// All samples by their name with labels, after a check of the format.
async fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let operations = talkback_server::operations(server.app.clone());
    let answer = operations.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let media_type = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_contains(&media_type, "application/openmetrics-text; version=1.0.0");
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let body = str::from_utf8(&body).unwrap();
    assert!(body.ends_with("# EOF\n"));
    let mut families = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, _) = family.split_once(' ').unwrap();
            assert!(families.insert(name), "{name} is there twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
            let of_family = |suffix| bare.strip_suffix(suffix).is_some_and(|name| families.contains(name));
            assert!(suffixes.into_iter().any(of_family), "{name} has no type");
            assert!(
                samples.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                "{name} is there twice"
            );
        }
    }
    samples
}

/// Waits until these samples have these values, and returns all.
async fn wait_for_samples(server: &Server, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let until = Instant::now() + DEADLINE;
    loop {
        let all = scrape(server).await;
        let are_expected = |(name, value): &(&str, f64)| all.get(*name) == Some(value);
        if expected.iter().all(are_expected) {
            return all;
        }
        assert!(Instant::now() < until, "expected {expected:?}, got {all:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_clients_do_is_counted() {
    let server = Server::with(AppOptions::default()).await;
    let mut ann = Session::member(&server, 1, "ann", "lobby").await;
    let mut bob = Session::member(&server, 2, "bob", "lobby").await;
    let mut plain = server.connect("/chat/lobby?name=eve").await;
    send(&mut plain, "hello").await;
    assert_eq!(text(&mut plain).await, "[eve] hello");
    ann.say("lobby", 1, json!("one")).await;
    // A resend, and a number after a gap.
    ann.say("lobby", 1, json!("one")).await;
    ann.publish("lobby", 7, json!("seven")).await;
    assert_eq!(ann.find("nack").await["code"], "gap");
    bob.bodies(2).await;
    assert_eq!(text(&mut plain).await, "[ann] one");
    let expected = [
        ("talkback_connections", 3.0),
        ("talkback_websockets", 3.0),
        ("talkback_websockets_opened_total", 3.0),
        ("talkback_sessions", 2.0),
        ("talkback_sessions_opened_total", 2.0),
        ("talkback_rooms", 1.0),
        ("talkback_members", 3.0),
        ("talkback_messages_received_total", 4.0),
        ("talkback_messages_delivered_total", 6.0),
        ("talkback_acks_total", 3.0),
        ("talkback_nacks_total{code=\"gap\"}", 1.0),
        ("talkback_nacks_total{code=\"busy\"}", 0.0),
        ("talkback_append_seconds_count", 4.0),
        ("talkback_append_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("talkback_appends_waiting", 0.0),
        ("talkback_log_added_total", 2.0),
        ("talkback_log_duplicates_total", 1.0),
        ("talkback_engine_ready", 1.0),
        ("talkback_drain_state", 0.0),
        ("talkback_send_queue_bytes", 0.0),
    ];
    wait_for_samples(&server, &expected).await;

    // A late member gets the messages of the log.
    let mut late = Session::open(&server, 3, "late").await;
    late.join(json!({"room": "lobby", "history": 10})).await;
    late.bodies(2).await;
    wait_for_samples(&server, &[("talkback_messages_delivered_total", 8.0)]).await;
    drop((bob, late));
    ann.socket.close(None).await.unwrap();
    ann.closed().await;
    let ended = [
        ("talkback_sessions", 0.0),
        ("talkback_members", 1.0),
        ("talkback_closes_total{code=\"1005\"}", 1.0),
        ("talkback_closes_total{code=\"1006\"}", 2.0),
    ];
    let all = wait_for_samples(&server, &ended).await;
    let closes: f64 = all
        .iter()
        .filter(|(name, _)| name.starts_with("talkback_closes"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(closes, 3.0, "{all:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_counted_while_bytes_wait_for_it() {
    let server = Server::with(large_queues()).await;
    let slow = Session::member(&server, 1, "slow", "lobby").await;
    let mut ann = Session::member(&server, 2, "ann", "lobby").await;
    fill(&server, &mut ann).await;
    wait_for_samples(&server, &[("talkback_slow_websockets", 1.0)]).await;
    drop(slow);
    let gone = [("talkback_websockets", 1.0), ("talkback_send_queue_bytes", 0.0)];
    wait_for_samples(&server, &gone).await;
}

/// Options with which a member may be far behind.
pub(crate) fn large_queues() -> AppOptions {
    AppOptions {
        queue_bytes: 1 << 30,
        queue_messages: 1 << 20,
        session_byte_rate: 0,
        session_line_rate: 0,
        room_delivery_rate: 0,
        ..AppOptions::default()
    }
}

/// Publishes until bytes wait for a member that does not read, beside those in the system's buffers. Returns the number
/// of messages.
pub(crate) async fn fill(server: &Server, publisher: &mut Session) -> usize {
    let body = json!("x".repeat(30_000));
    for seq in 1..2000 {
        publisher.say("lobby", seq, body.clone()).await;
        if scrape(server).await["talkback_send_queue_bytes"] > 100_000.0 {
            return usize::try_from(seq).unwrap();
        }
    }
    panic!("the system takes everything for a client that does not read");
}

#[tokio::test]
async fn the_metrics_are_served_to_operators_only() {
    let server = Server::start().await;
    assert_contains(&server.get("/metrics", "").await, "404 Not Found");
}

#[tokio::test]
async fn each_metric_of_the_dashboard_exists_and_each_panel_has_one() {
    let server = Server::start().await;
    let samples = scrape(&server).await;
    let names: BTreeSet<_> = samples.keys().map(|name| name.split('{').next().unwrap()).collect();
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics: Vec<_> = words.filter(|word| word.starts_with("talkback_")).collect();
            assert!(!metrics.is_empty(), "{expression}");
            used.extend(metrics);
        }
    }
    for metric in &used {
        assert!(names.contains(metric), "{metric} does not exist");
    }
    assert!(used.len() > 20, "{used:?}");
    assert!(used.contains("talkback_deleted_messages_total"), "{used:?}");
}
