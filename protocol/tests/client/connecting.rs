//! When a client connects, waits and disconnects.

use std::time::Duration;

use talkback_protocol::session::client::{ClientOptions, Input};

use super::script::{Script, WELCOME, key};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn the_session_sends_hello_with_its_key_and_is_open_after_welcome() {
    let mut script = Script::new();
    assert_eq!(script.session.next_timeout(), None);
    assert_eq!(script.connect(), ["Connecting", "connect 1"]);
    let hello = format!(r#"1 -> {{"hello":{{"client":"{}"}}}}"#, key().reveal());
    assert_eq!(script.input(Input::Opened { generation: 1 }), [hello]);
    assert_eq!(script.received(1, WELCOME), ["open as ann s1"]);
}

#[test]
fn attempts_back_off_until_a_session_was_open_for_ten_seconds() {
    let mut script = Script::new();
    script.random = u64::MAX;
    script.connect();
    let mut generation = 1;
    let mut lose = |script: &mut Script, lived: Option<u64>| {
        if let Some(lived) = lived {
            script.input(Input::Opened { generation });
            script.received(generation, WELCOME);
            script.pass(lived);
        }
        script.closed(generation, 1006, "");
        generation += 1;
        script.wait_for_attempt()
    };
    assert_eq!(lose(&mut script, None), 500);
    assert_eq!(lose(&mut script, None), 1000);
    // A server that accepts and then closes does not reset the backoff.
    assert_eq!(lose(&mut script, Some(9_900)), 2000);
    assert_eq!(lose(&mut script, Some(0)), 4000);
    assert_eq!(lose(&mut script, Some(10_000)), 500);
    for expected in [1000, 2000, 4000, 8000, 16_000, 20_000, 20_000] {
        assert_eq!(lose(&mut script, None), expected);
    }
}

#[test]
fn a_session_that_restarting_servers_close_in_a_row_waits_for_at_most_the_base_each_time() {
    let mut script = Script::open();
    script.random = u64::MAX;
    for generation in 1..=5 {
        let reason = r#"{"retry_after_ms":0}"#;
        let close = script.closed(generation, 1012, reason);
        assert!(
            close[0].starts_with("waiting 1 until") && close[0].ends_with("because 1012"),
            "{close:?}"
        );
        assert_eq!(script.wait_for_attempt(), 500);
        script.input(Input::Opened {
            generation: generation + 1,
        });
        script.received(generation + 1, WELCOME);
    }
    // Without `welcome` it is a failure as any other.
    script.closed(6, 1006, "");
    script.wait_for_attempt();
    script.closed(7, 1012, "");
    assert_eq!(script.wait_for_attempt(), 1000);
    script.closed(8, 1012, "");
    assert_eq!(script.wait_for_attempt(), 2000);
}

#[test]
fn an_unexpected_close_with_1000_is_a_loss_of_the_connection() {
    // Proxies close with 1000 after a timeout, and clients that take this for a final close never reconnect
    // (phoenix#3161).
    let mut script = Script::open();
    assert_eq!(script.closed(1, 1000, ""), ["waiting 1 until 249 because 1000"]);
    assert_eq!(script.wait(300), ["Connecting", "connect 2"]);
}

#[test]
fn a_final_code_ends_the_session_until_the_application_connects() {
    for code in [4400, 4403, 4404, 4426] {
        let mut script = Script::open();
        let reason = format!(r#"Stopped(Refused(Cause {{ code: {code}, reason: "no" }}))"#);
        assert_eq!(script.closed(1, code, "no"), [reason]);
        assert_eq!(script.wait(3_600_000), [""; 0]);
        assert_eq!(script.input(Input::Online), [""; 0]);
        assert_eq!(script.connect(), ["Connecting", "connect 2"]);
    }
}

#[test]
fn the_server_determines_the_pause_and_only_the_application_shortens_it() {
    let mut script = Script::open();
    script.closed(1, 1012, r#"{"retry_after_ms":3000}"#);
    script.pass(1000);
    assert_eq!(script.input(Input::Visible), ["waiting 1 until 3000 because 1012"]);
    assert_eq!(script.wait(1999), [""; 0]);
    assert_eq!(script.wait(1), ["Connecting", "connect 2"]);

    let mut script = Script::open();
    script.closed(1, 1013, r#"{"retry_after_ms":3000}"#);
    assert_eq!(script.connect(), ["Connecting", "connect 2"]);
}

#[test]
fn an_event_of_the_network_or_page_connects_at_once_but_repeated_events_do_not() {
    let mut script = Script::open();
    script.random = u64::MAX;
    script.pass(600);
    script.closed(1, 1006, "");
    script.pass(1);
    assert_eq!(script.input(Input::Online), ["Connecting", "connect 2"]);
    script.closed(2, 1006, "");
    script.pass(1);
    assert_eq!(script.input(Input::Visible), ["waiting 2 until 1101 because 1006"]);
    assert_eq!(script.input(Input::Resume), [""; 0]);
    assert_eq!(script.wait(499), ["Connecting", "connect 3"]);
}

#[test]
fn offline_stops_attempts_but_keeps_a_connection_that_works() {
    let mut script = Script::open();
    assert_eq!(script.input(Input::Offline), ["1 -> {\"ping\":{}}"]);
    assert_eq!(script.received(1, "{\"pong\":{}}"), [""; 0]);
    assert_eq!(script.input(Input::Tick), [""; 0]);
    assert_eq!(script.closed(1, 1006, ""), ["Suspended(Offline)"]);
    assert_eq!(script.wait(3_600_000), [""; 0]);
    assert_eq!(script.input(Input::Visible), [""; 0]);
    assert_eq!(script.input(Input::Online), ["Connecting", "connect 2"]);
    assert_eq!(
        script.input(Input::Offline),
        ["disconnect 2 1000 offline", "Suspended(Offline)"]
    );
}

#[test]
fn a_page_that_sleeps_closes_with_1000_and_reconnects_when_it_resumes() {
    let mut script = Script::open();
    assert_eq!(
        script.input(Input::Suspend),
        ["disconnect 1 1000 the page sleeps", "Suspended(Asleep)"]
    );
    assert_eq!(script.input(Input::Online), [""; 0]);
    assert_eq!(script.wait(3_600_000), [""; 0]);
    assert_eq!(script.input(Input::Resume), ["Connecting", "connect 2"]);
}

#[test]
fn a_connection_that_dies_with_the_network_is_given_up_after_one_ping() {
    let mut script = Script::open();
    assert_eq!(script.input(Input::Offline), ["1 -> {\"ping\":{}}"]);
    assert_eq!(script.wait(4_999), [""; 0]);
    assert_eq!(
        script.wait(1),
        [
            "disconnect 1 4408 nothing was heard from the server after a ping",
            "Suspended(Offline)"
        ]
    );
    assert_eq!(script.input(Input::Online), ["Connecting", "connect 2"]);
}

#[test]
fn a_page_that_comes_back_before_the_network_is_suspended_by_the_network() {
    let mut script = Script::new();
    script.connect();
    script.input(Input::Offline);
    assert_eq!(script.input(Input::Suspend), ["Suspended(Asleep)"]);
    assert_eq!(script.input(Input::Resume), ["Suspended(Offline)"]);
    assert_eq!(script.input(Input::Visible), [""; 0]);
    script.pass(1_000);
    assert_eq!(script.input(Input::Online), ["Connecting", "connect 2"]);
}

#[test]
fn a_dead_peer_is_detected_by_any_input_although_timers_are_throttled() {
    // Background tabs run timers once a minute, and a sleeping machine runs none (phoenix#4309, aspnetcore#31079).
    let mut script = Script::open();
    script.pass(34_999);
    assert_eq!(script.publish("lobby", 1).len(), 3);
    script.pass(1);
    let lines = script.publish("lobby", 2);
    assert_eq!(
        lines[1..3],
        [
            "disconnect 1 4408 nothing was heard from the server",
            "waiting 1 until 35000 because 4408"
        ]
    );

    let mut script = Script::open();
    script.pass(34_999);
    assert_eq!(script.received(1, "{\"ping\":{}}"), ["1 -> {\"pong\":{}}"]);
    assert_eq!(script.wait(34_999), [""; 0]);
    assert_eq!(script.wait(1).len(), 2);
}

#[test]
fn a_text_that_arrived_while_the_machine_slept_counts_as_a_sign_of_life() {
    let mut script = Script::open();
    script.pass(3_600_000);
    assert_eq!(script.received(1, "{\"ping\":{}}"), ["1 -> {\"pong\":{}}"]);
}

#[test]
fn after_a_resume_the_server_has_five_seconds_to_answer_a_probe() {
    let mut script = Script::open();
    script.pass(10_000);
    assert_eq!(script.input(Input::Online), ["1 -> {\"ping\":{}}"]);
    assert_eq!(script.input(Input::Visible), [""; 0]);
    script.pass(4000);
    assert_eq!(script.received(1, "{\"pong\":{}}"), [""; 0]);
    assert_eq!(script.input(Input::Visible), [""; 0], "it was heard just now");
    script.pass(6000);
    assert_eq!(script.input(Input::Visible), ["1 -> {\"ping\":{}}"]);
    assert_eq!(
        script.wait(5000)[0],
        "disconnect 1 4408 nothing was heard from the server after a ping"
    );
}

#[test]
fn an_open_connection_is_checked_when_the_application_asks_and_given_up_after_five_seconds_of_silence() {
    let mut script = Script::new();
    assert_eq!(script.check(), [""; 0], "there is no connection");
    let mut script = Script::open();
    assert_eq!(script.check(), ["1 -> {\"ping\":{}}"]);
    assert_eq!(script.check(), [""; 0], "the first ping is not answered yet");
    script.pass(4000);
    assert_eq!(script.received(1, "{\"pong\":{}}"), [""; 0]);
    assert_eq!(script.check(), ["1 -> {\"ping\":{}}"], "also just after an answer");
    assert_eq!(script.wait(4999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 1 4408 nothing was heard from the server after a ping"
    );
}

#[test]
fn a_connection_that_does_not_open_or_a_server_that_does_not_send_welcome_times_out() {
    let mut script = Script::new();
    script.connect();
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 1 4408 the connection did not open in time"
    );
    script.wait(500);
    script.input(Input::Opened { generation: 2 });
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 2 4408 the server did not say welcome in time"
    );
}

#[test]
fn events_of_an_old_connection_are_ignored() {
    // Two live sockets of one client lose messages (wire-webapp#21448).
    let mut script = Script::open();
    script.input(Input::Suspend);
    script.input(Input::Resume);
    assert_eq!(script.wait(600), ["Connecting", "connect 2"]);
    assert_eq!(script.input(Input::Opened { generation: 1 }), [""; 0]);
    assert_eq!(script.received(1, "{\"ping\":{}}"), [""; 0]);
    assert_eq!(script.closed(1, 4403, ""), [""; 0]);
    assert_eq!(script.input(Input::Opened { generation: 2 }).len(), 1);
}

#[test]
fn a_malformed_line_closes_and_a_line_of_a_later_version_does_not() {
    let mut script = Script::open();
    assert_eq!(script.received(1, r#"{"news":{"of":"later"}}"#), [""; 0]);
    assert_eq!(
        script.received(1, r#"{"left":{"room":7}}"#)[0],
        "disconnect 1 4400 line 1: bad left: room: invalid type: integer `7`, expected the name of a room at line 1 column 1"
    );
}

#[test]
fn the_clock_may_step_back_without_harm() {
    let mut script = Script::open();
    script.pass(20_000);
    script.received(1, "{\"ping\":{}}");
    script.now = Duration::from_secs(1);
    assert_eq!(script.received(1, "{\"ping\":{}}"), ["1 -> {\"pong\":{}}"]);
    assert_eq!(script.session.next_timeout(), Some(Duration::from_secs(55)));
}

#[test]
fn lines_ready_for_a_connection_that_ended_are_not_sent_on_the_next() {
    let mut script = Script::open();
    script.put(Input::Received {
        generation: 1,
        text: "{\"ping\":{}}".to_owned(),
    });
    script.put(Input::Closed {
        generation: 1,
        code: 1006,
        reason: String::new(),
    });
    script.put_connect();
    script.put(Input::Opened { generation: 2 });
    let lines = script.drain();
    assert!(lines.last().unwrap().starts_with(r#"2 -> {"hello""#), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("pong")), "{lines:?}");
}

#[test]
fn a_pause_that_the_server_asked_for_holds_while_offline_or_asleep() {
    for (away, back) in [(Input::Offline, Input::Online), (Input::Suspend, Input::Resume)] {
        let mut script = Script::open();
        script.put(Input::Offline);
        script.closed(1, 1013, r#"{"retry_after_ms":3000}"#);
        script.input(away);
        script.pass(1000);
        script.put(back);
        script.put(Input::Online);
        let lines = script.drain();
        assert_eq!(lines.last().unwrap(), "waiting 1 until 3000 because 1000");
        assert!(!lines.contains(&"Connecting".to_owned()), "{lines:?}");
        assert_eq!(script.wait(1999), [""; 0]);
        assert_eq!(script.wait(1), ["Connecting", "connect 2"]);
    }
}

#[test]
fn the_longest_durations_do_not_overflow() {
    let ever = Duration::MAX;
    let mut config = ClientOptions {
        tokens: true,
        keep: true,
        save_delay: ever,
        connect_timeout: ever,
        hello_timeout: ever,
        token_timeout: ever,
        heartbeat_grace: ever,
        probe_timeout: ever,
        answer_timeout: ever,
        max_retry_after: ever,
        min_retry_after: ever,
        ..ClientOptions::default()
    };
    config.backoff.base = ever;
    config.backoff.cap = ever;
    config.backoff.reset_after = ever;
    config.outbox.ttl = ever;
    let mut script = Script::with(config.clone());
    script.pass(1);
    script.connect();
    script.input(token("t"));
    script.input(Input::Opened { generation: 1 });
    script.received(
        1,
        &WELCOME.replace(r#""limits""#, r#""expires_ms":18446744073709551615,"limits""#),
    );
    assert_eq!(script.publish("lobby", 1)[0], "1 Queued");
    script.received(1, &super::script::nack(1, "busy", Some(u64::MAX)));
    script.join("lobby", None);
    script.received(1, "{\"ping\":{}}");
    assert_eq!(script.wait(3_600_000), [""; 0]);
    script.closed(1, 1013, r#"{"retry_after_ms":18446744073709551615}"#);
    script.input(Input::Offline);
    script.input(Input::Online);
    let snapshot = script.session.snapshot();
    let mut script = Script::restored(config, snapshot, ever);
    let told = script.connect();
    assert!(told.iter().any(|line| line.contains("it may have arrived")), "{told:?}");
}

fn with_tokens() -> Script {
    Script::with(ClientOptions {
        tokens: true,
        ..ClientOptions::default()
    })
}

fn token(text: &str) -> Input {
    Input::Token(Some(text.to_owned()))
}

#[test]
fn a_token_is_requested_first_and_again_after_4401() {
    let mut script = with_tokens();
    assert_eq!(script.connect(), ["Connecting", "token wanted"]);
    assert_eq!(script.input(token("t1")), ["connect 1"]);
    let hello = script.input(Input::Opened { generation: 1 });
    assert!(hello[0].contains(r#""token":"t1""#), "{hello:?}");
    script.received(1, WELCOME);
    assert_eq!(script.closed(1, 4401, "expired"), ["Connecting", "token wanted"]);
    assert_eq!(script.input(token("t2")), ["connect 2"]);
    // The second refusal in sequence leads to a pause.
    assert_eq!(script.closed(2, 4401, "expired"), ["waiting 1 until 249 because 4401"]);
    assert_eq!(script.wait(300), ["Connecting", "token wanted"]);
    assert_eq!(script.input(Input::Token(None)), ["waiting 2 until 799 because 4401"]);
}

#[test]
fn the_token_timeout_ends_when_the_application_has_no_token() {
    let mut config = ClientOptions {
        tokens: true,
        token_timeout: Duration::from_millis(200),
        ..ClientOptions::default()
    };
    config.backoff.base = Duration::from_secs(10);
    let mut script = Script::with(config);
    script.connect();
    assert_eq!(script.input(Input::Token(None)), ["waiting 1 until 4999 because 4401"]);
    assert_eq!(script.wait(4998), [""; 0]);
}

#[test]
fn a_token_that_does_not_come_in_time_is_requested_again() {
    let mut script = with_tokens();
    script.connect();
    assert_eq!(script.wait(30_000), ["waiting 1 until 30249 because 4401"]);
    assert_eq!(script.wait(250), ["Connecting", "token wanted"]);
}

#[test]
fn repeated_closes_for_a_new_token_back_off() {
    let mut script = with_tokens();
    script.connect();
    script.input(token("t"));
    let mut attempts = 0;
    for generation in 1..=20 {
        script.input(Input::Opened { generation });
        script.received(generation, WELCOME);
        let lines = script.closed(generation, 4401, "");
        attempts += u32::from(lines.iter().any(|line| line == "token wanted"));
        if lines[0].starts_with("waiting") {
            script.wait(20_000);
        }
        script.input(token("t"));
    }
    assert_eq!(attempts, 1, "once at once, then with backoff");
}

#[test]
fn without_tokens_4401_is_the_end() {
    let mut script = Script::open();
    assert_eq!(script.closed(1, 4401, ""), ["Stopped(TokenNeeded)"]);
}

#[test]
fn a_newer_token_is_sent_before_the_old_one_expires() {
    let mut script = with_tokens();
    script.connect();
    script.input(token("t1"));
    script.input(Input::Opened { generation: 1 });
    script.received(1, &WELCOME.replace(r#""limits""#, r#""expires_ms":10000,"limits""#));
    assert_eq!(script.wait(7_999), [""; 0]);
    assert_eq!(script.wait(1), ["token wanted"]);
    assert_eq!(script.input(token("t2")), [r#"1 -> {"auth":{"token":"t2"}}"#]);
}

#[test]
fn late_texts_of_an_old_connection_are_ignored() {
    let mut script = Script::open();
    script.closed(1, 1006, "");
    script.wait_for_attempt();
    let error = r#"{"error":{"code":"odd","message":"m"}}"#;
    assert_eq!(script.received(2, error), [""; 0], "it did not open yet");
    script.input(Input::Opened { generation: 2 });
    script.received(2, WELCOME);
    assert_eq!(script.received(1, error), [""; 0]);
    assert_eq!(script.received(2, error), ["fault odd"]);
}

#[test]
fn before_the_welcome_every_line_but_ping_is_ignored() {
    let mut script = Script::new();
    script.connect();
    script.input(Input::Opened { generation: 1 });
    let error = r#"{"error":{"code":"odd","message":"m"}}"#;
    assert_eq!(script.received(1, error), [""; 0]);
    assert_eq!(script.received(1, "{\"ping\":{}}"), ["1 -> {\"pong\":{}}"]);
    script.received(1, WELCOME);
    assert_eq!(script.received(1, error), ["fault odd"]);
}

#[test]
fn a_second_welcome_does_not_restart_the_time_after_which_backoff_resets() {
    let mut script = Script::open();
    script.pass(6_000);
    script.received(1, WELCOME);
    script.pass(5_000);
    let lines = script.closed(1, 1006, "");
    assert!(lines[0].starts_with("waiting 1 "), "{lines:?}");
    script.wait_for_attempt();
    script.input(Input::Opened { generation: 2 });
    script.received(2, WELCOME);
    script.pass(6_000);
    script.received(2, WELCOME);
    script.pass(5_000);
    let lines = script.closed(2, 1006, "");
    assert!(
        lines[0].starts_with("waiting 1 "),
        "it has lived eleven seconds: {lines:?}"
    );
}

#[test]
fn an_event_of_the_network_does_not_delay_an_attempt() {
    let mut script = Script::open();
    script.random = u64::MAX / 50;
    assert_eq!(script.closed(1, 1006, ""), ["waiting 1 until 9 because 1006"]);
    assert_eq!(script.input(Input::Online), [""; 0]);
    assert_eq!(script.wait(10), ["Connecting", "connect 2"]);
}

#[test]
fn without_a_newer_token_the_one_in_use_stays_until_the_server_refuses_it() {
    let mut script = with_tokens();
    script.connect();
    script.input(token("t1"));
    script.input(Input::Opened { generation: 1 });
    script.received(1, &WELCOME.replace(r#""limits""#, r#""expires_ms":10000,"limits""#));
    assert_eq!(script.wait(8_000), ["token wanted"]);
    assert_eq!(script.input(Input::Token(None)), [""; 0]);
    assert_eq!(script.wait(2_000), [""; 0]);
}
