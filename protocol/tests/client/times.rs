//! When a message expires, and which last state it gets then.

use std::time::Duration;

use talkback_protocol::{
    Body,
    session::client::{ClientOptions, Input},
};

use super::script::{Script, WELCOME, ack, nack, publish_line, withdraw_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const UNCONFIRMED: &str =
    "1 failed: the message was sent, but the server did not confirm it in time; it may have arrived";
const EXPIRED: &str = "1 failed: the message could not be sent in time";

/// A message may wait for a minute.
fn minute() -> ClientOptions {
    let mut config = ClientOptions {
        keep: true,
        ..ClientOptions::default()
    };
    config.outbox.ttl = Duration::from_secs(60);
    config
}

/// Message 1 was sent at the time 0, and the connection ended.
fn in_doubt() -> Script {
    let mut script = Script::open_with(minute());
    script.publish("lobby", 1);
    script.input(Input::Offline);
    script.closed(1, 1006, "");
    script.wait(250);
    script.now = Duration::ZERO;
    script
}

/// The lines after the welcome.
fn back(script: &mut Script, generation: u64) -> Vec<String> {
    script.put_connect();
    script.put(Input::Opened { generation });
    script.drain();
    script.received(generation, WELCOME).split_off(1)
}

fn deliveries(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| line.starts_with("1 failed")).collect()
}

#[test]
fn the_time_for_an_answer_counts_from_the_publish_and_not_from_waking() {
    // The machine wakes after 100 s: the rest of the time is for the answer.
    let mut script = in_doubt();
    script.pass(100_000);
    assert_eq!(deliveries(script.input(Input::Tick)), [""; 0]);
    assert_eq!(deliveries(script.wait(19_999)), [""; 0]);
    assert_eq!(deliveries(script.wait(1)), [UNCONFIRMED]);
    // The machine wakes after two minutes: no answer is certain any more.
    let mut script = in_doubt();
    script.pass(120_000);
    assert_eq!(deliveries(script.input(Input::Tick)), [UNCONFIRMED]);
    assert!(
        back(&mut script, 2)
            .iter()
            .any(|line| line.contains(&withdraw_line(1, true, 1)))
    );
    assert_eq!(script.received(2, &nack(1, "withdrawn", None)), [""; 0]);
}

#[test]
fn a_restored_message_keeps_only_the_rest_of_its_time() {
    for (passed, elapsed, told) in [
        (0, 119, false),
        (0, 120, true),
        (90, 29, false),
        (90, 30, true),
        (30, 3_540, true),
    ] {
        let mut script = in_doubt();
        script.pass(passed * 1000);
        script.input(Input::Tick);
        let snapshot = script.session.snapshot();
        let mut script = Script::restored(minute(), snapshot, Duration::from_secs(elapsed));
        let lines = deliveries(script.input(Input::Tick));
        assert_eq!(
            lines == [UNCONFIRMED],
            told,
            "{passed} s and {elapsed} s later: {lines:?}"
        );
        if !told {
            assert_eq!(deliveries(script.wait(1000)), [UNCONFIRMED]);
        }
    }
}

#[test]
fn an_answer_of_the_log_is_certain_only_in_time() {
    let withdrawn = |at: u64| {
        let mut script = in_doubt();
        script.pass(100_000);
        back(&mut script, 2);
        script.now = Duration::from_secs(at);
        deliveries(script.received(2, &nack(1, "withdrawn", None)))
    };
    assert_eq!(withdrawn(119), [EXPIRED]);
    assert_eq!(withdrawn(120), [UNCONFIRMED]);
}

#[test]
fn a_withdrawal_refused_without_the_log_leaves_the_outcome_unknown() {
    let refused = |epoch: &str| {
        let mut script = in_doubt();
        script.pass(60_000);
        back(&mut script, 2);
        let nack = nack(1, "forbidden", None).replace(r#""code""#, &format!(r#"{epoch}"code""#));
        deliveries(script.received(2, &nack))
    };
    assert_eq!(refused(""), [UNCONFIRMED]);
    assert_eq!(refused(r#""epoch":"e1","#), [EXPIRED]);
}

/// The record may be older than the last state of its page, so any message in it may have been sent.
#[test]
fn a_restored_message_is_withdrawn_also_where_the_record_does_not_say_that_it_was_sent() {
    let mut script = Script::with(minute());
    script.publish("lobby", 1);
    let snapshot = script.session.snapshot();
    let mut script = Script::restored(minute(), snapshot.clone(), Duration::from_secs(60));
    assert_eq!(deliveries(script.input(Input::Tick)), [""; 0]);
    assert!(back(&mut script, 1)[1].contains(&withdraw_line(1, true, 1)));
    assert_eq!(script.received(1, &nack(1, "withdrawn", None)), [EXPIRED]);
    let mut script = Script::restored(minute(), snapshot, Duration::from_secs(1));
    assert!(back(&mut script, 1)[1].contains(&publish_line(1, true, 1)));
}

#[test]
fn a_message_that_a_second_server_does_not_take_fails_for_that_reason() {
    let body = Body::from_json("[[[1]]]").unwrap();
    for (limit, reason) in [
        (
            WELCOME.replace(r#""body_bytes":100"#, r#""body_bytes":6"#),
            "1 failed: the message has 7 bytes",
        ),
        (
            WELCOME.replace(r#""body_depth":8"#, r#""body_depth":2"#),
            "1 failed: lists and objects",
        ),
    ] {
        let mut script = Script::open_with(minute());
        script.publish_body("lobby", body.clone(), 1);
        script.closed(1, 1006, "");
        script.wait_for_attempt();
        script.input(Input::Opened { generation: 2 });
        let lines = script.received(2, &limit);
        assert!(
            lines.iter().any(|line| line.contains(&withdraw_line(1, true, 1))),
            "{lines:?}"
        );
        let lines = script.received(2, &nack(1, "withdrawn", None));
        assert!(lines[0].starts_with(reason), "{lines:?}");
    }
}

#[test]
fn a_message_that_the_first_server_took_is_acknowledged_also_by_one_that_would_not_take_it() {
    let mut script = Script::open_with(minute());
    let body = Body::text(&"x".repeat(50));
    script.publish_body("lobby", body, 1);
    script.closed(1, 1006, "");
    script.wait_for_attempt();
    script.input(Input::Opened { generation: 2 });
    script.received(2, &WELCOME.replace(r#""body_bytes":100"#, r#""body_bytes":6"#));
    assert_eq!(script.received(2, &ack(1, 4)), ["1 acked 4"]);
}

#[test]
fn a_message_waits_for_36500_days_at_most() {
    let mut config = minute();
    config.outbox.ttl = Duration::MAX;
    config.keep = false;
    let mut script = Script::with(config);
    script.publish("lobby", 1);
    assert_eq!(script.wait(3_153_600_000_000 - 1), [""; 0]);
    assert_eq!(script.wait(1), [EXPIRED]);
}
