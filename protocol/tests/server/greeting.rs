//! The greeting, tokens, the heartbeat and the rate.

use std::time::Duration;

use talkback_protocol::session::server::{Input, ServerOptions};

use super::script::{HELLO, Script, config, done};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn hello_is_answered_with_the_user_the_sender_and_the_limits() {
    let mut script = Script::new();
    assert_eq!(script.received(HELLO), [r#"identify None Some("ann")"#]);
    assert_eq!(
        script.identified("ann", None),
        [
            r#"-> {"welcome":{"user":"ann","sender":"a8faed6abbf35c12","heartbeat_ms":25000,"find":true,"limits":{"text_bytes":500,"text_lines":8,"body_bytes":20,"body_depth":3,"rooms":2,"in_flight":2,"page":3,"history":1,"lines_per_second":0,"lines_burst":1000,"bytes_per_second":0,"bytes_burst":2097152,"sent_text_bytes":262144}}}"#
        ]
    );
    assert_eq!(&*script.session.author().unwrap().user, "ann");
}

#[test]
fn lines_after_hello_wait_until_the_user_is_known() {
    let mut script = Script::new();
    let text = format!("{HELLO}\n{{\"join\":{{\"room\":\"lobby\"}}}}\n{{\"ping\":{{}}}}");
    assert_eq!(script.received(&text).len(), 1);
    let lines = script.identified("ann", None);
    assert_eq!(lines[0], "subscribe 1 lobby since None history 0");
    assert!(lines[1].ends_with(r#" + {"pong":{}}"#), "{lines:?}");
}

#[test]
fn a_client_that_sends_nothing_or_another_line_first_is_closed() {
    let mut script = Script::new();
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(script.wait(1), ["close 4408 no hello came in time"]);
    let mut script = Script::new();
    assert_eq!(
        script.received("{\"ping\":{}}"),
        ["close 4400 the first line must be hello"]
    );
    assert_eq!(script.received(HELLO), [""; 0], "nothing follows a close");
    assert_eq!(script.session.next_timeout(), None);
    assert_eq!(Script::open().received(HELLO), ["close 4400 hello came twice"]);
}

#[test]
fn malformed_and_too_large_texts_close_with_their_codes() {
    let long = format!(r#"{{"auth":{{"token":"{}"}}}}"#, "x".repeat(500));
    assert_eq!(
        Script::open().received(&long),
        [format!(
            "close 1009 the text has {} bytes: at most 500 are taken",
            long.len()
        )]
    );
    assert_eq!(
        Script::open().received(&"\n".repeat(8)),
        ["close 1009 the text has more than 8 lines"]
    );
    assert!(
        Script::open().received("{\"ping\":{}}\n{\"join\":{}}")[0]
            .starts_with("close 4400 line 2: bad join: missing field")
    );
    assert_eq!(
        Script::open().received(r#"{"dance":{}}"#),
        [""; 0],
        "unknown kinds are skipped"
    );
}

#[test]
fn a_denied_user_gets_the_code_and_the_reason() {
    let mut script = Script::new();
    script.received(HELLO);
    assert_eq!(script.denied(4403, "not you"), ["close 4403 not you"]);
}

#[test]
fn lines_before_the_welcome_are_bounded_in_number_and_bytes() {
    let ping = "{\"ping\":{}}";
    for (text, taken) in [([ping; 4].join("\n"), 2), (format!("{ping}{}", " ".repeat(190)), 2)] {
        let mut script = Script::new();
        script.received(HELLO);
        assert!(!script.session.reads(), "the driver must not read before `Identified`");
        for _ in 0..taken {
            assert_eq!(script.received(&text), [""; 0]);
        }
        assert_eq!(script.received(&text), ["close 4429 too much came before the welcome"]);
    }
}

#[test]
fn a_silent_client_is_pinged_and_then_closed_and_any_message_is_a_sign_of_life() {
    let mut script = Script::open();
    assert_eq!(script.wait(25_000), ["-> {\"ping\":{}}"]);
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(script.received("{\"later\":{}}"), [""; 0]);
    assert_eq!(script.wait(25_000), ["-> {\"ping\":{}}"]);
    assert_eq!(script.received(""), [""; 0]);
    assert_eq!(script.wait(24_999), ["-> {\"ping\":{}}"]);
    assert_eq!(script.wait(1), [""; 0]);
    assert_eq!(script.wait(1), ["close 4408 nothing was heard from the client"]);

    let mut script = Script::open_with(ServerOptions {
        heartbeat: Duration::from_secs(5),
        heartbeat_grace: Duration::from_secs(12),
        ..config()
    });
    assert_eq!(script.wait(16_999).len(), 3, "pings");
    assert_eq!(
        script.wait(1),
        ["close 4408 nothing was heard from the client"],
        "measured from the first ping without an answer"
    );
}

#[test]
fn unsent_bytes_before_a_ping_extend_its_timeout() {
    let mut script = Script::open();
    let slow = |seconds| Input::Slow {
        by: Duration::from_secs(seconds),
    };
    assert_eq!(script.input(slow(60)), [""; 0]);
    assert_eq!(script.wait(25_000), ["-> {\"ping\":{}}"]);
    // Texts that are sent later do not extend the timeout of this ping.
    assert_eq!(script.input(slow(0)), [""; 0]);
    assert_eq!(script.wait(69_999), ["-> {\"ping\":{}}", "-> {\"ping\":{}}"]);
    assert_eq!(script.wait(1), ["close 4408 nothing was heard from the client"]);
}

#[test]
fn control_frames_do_not_count_as_a_sign_of_life() {
    let mut script = Script::open();
    script.wait(30_000);
    assert_eq!(script.input(Input::Counted { frames: 1 }), [""; 0]);
    assert_eq!(script.wait(5_000), ["close 4408 nothing was heard from the client"]);
}

#[test]
fn unread_texts_do_not_lead_to_a_heartbeat_timeout() {
    let mut script = Script::open();
    script.now += Duration::from_secs(100);
    assert_eq!(
        script.input(Input::Tick),
        ["-> {\"ping\":{}}"],
        "the timeout starts with the ping"
    );
    script.now += Duration::from_secs(11);
    script.put_appended(1, done(1));
    assert!(
        script.drain()[0].contains("ack"),
        "only a tick means that nothing is left to be read"
    );
    assert_eq!(script.received("{\"pong\":{}}"), [""; 0]);
    assert_eq!(script.input(Input::Tick), [""; 0]);
    assert!(!script.session.is_closed());

    let mut script = Script::new();
    script.now += Duration::from_secs(11);
    assert_eq!(
        script.input(Input::Counted { frames: 1 }),
        [""; 0],
        "the hello that was counted arrives now"
    );
    assert_eq!(script.received(HELLO).len(), 1);
}

#[test]
fn a_token_expires_unless_a_newer_one_of_the_same_user_is_sent() {
    let minute = Some(Duration::from_secs(60));
    let mut script = Script::new();
    script.received(&HELLO.replace(r#""name""#, r#""token":"t1","name""#));
    assert!(script.identified("ann", minute)[0].contains(r#""expires_ms":60000"#));
    script.wait(30_000);
    let text = "{\"auth\":{\"token\":\"t2\"}}\n{\"ping\":{}}";
    assert_eq!(script.received(text), [r#"identify Some("t2") Some("ann")"#]);
    let lines = script.identified("ann", minute);
    assert!(lines[0].starts_with("-> {\"welcome\""), "{lines:?}");
    assert!(
        lines[0].ends_with("{\"pong\":{}}"),
        "the lines after auth follow: {lines:?}"
    );
    assert_eq!(script.identified("bob", None), [""; 0], "no token is being checked");
    for _ in 0..2 {
        script.wait(25_000);
        script.received("{\"pong\":{}}");
    }
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(script.wait(1), ["close 4401 the token has expired"]);

    let mut script = Script::open();
    script.received("{\"auth\":{\"token\":\"t2\"}}");
    assert_eq!(
        script.identified("bob", None),
        ["close 4403 the new token is another user's"]
    );
}

/// Ten lines and a hundred bytes per second, with bursts of four lines and 300 bytes.
fn slow() -> ServerOptions {
    let mut config = ServerOptions {
        received_per_second: 50,
        received_burst: 40,
        ..config()
    };
    config.limits.lines_per_second = 10;
    config.limits.lines_burst = 4;
    // Without rooms no join makes the burst larger.
    config.limits.rooms = 0;
    config
}

const PING: &str = "{\"ping\":{}}";
const PONG: &str = "{\"pong\":{}}";

#[test]
fn a_client_over_its_rate_is_served_and_then_not_read_until_its_debt_is_paid() {
    let mut script = Script::open_with(slow());
    assert_eq!(script.received(&[PONG; 3].join("\n")), [""; 0]);
    assert!(script.session.reads());
    let outputs = script.received(&[PING; 8].join("\n"));
    assert_eq!(outputs[0], "pause until 800");
    assert_eq!(outputs[1].matches("pong").count(), 8, "nothing is refused");
    assert!(!script.session.reads());
    assert_eq!(script.wait(799), [""; 0]);
    assert!(!script.session.reads());
    assert_eq!(script.wait(1), [""; 0]);
    assert!(script.session.reads());
    assert_eq!(
        script.received(PONG),
        ["pause until 900"],
        "the bucket is not filled meanwhile"
    );
}

#[test]
fn a_join_counts_for_eight_lines() {
    let mut config = slow();
    config.limits.rooms = 1;
    let mut script = Script::open_with(config);
    let join = r#"{"join":{"room":"lobby"}}"#;
    let outputs = script.received(&[join, PONG, PONG].join("\n"));
    assert_eq!(
        outputs,
        ["subscribe 1 lobby since None history 0", "pause until 100"],
        "the burst is two lines in flight and a join, and hello was charged too"
    );
}

#[test]
fn a_pause_is_at_most_a_second_and_is_repeated_while_there_is_debt() {
    let mut config = slow();
    config.limits.lines_per_second = 0;
    config.limits.bytes_per_second = 100;
    config.limits.bytes_burst = 150;
    config.received_per_second = 0;
    let mut script = Script::open_with(config);
    let text = format!("{PONG}{}", " ".repeat(350 - PONG.len() - HELLO.len()));
    assert_eq!(script.received(&text), ["pause until 1000"]);
    assert_eq!(script.wait(1_000), ["pause until 2000"]);
    script.put_appended(1, done(1));
    assert_eq!(
        script.drain().len(),
        1,
        "everything else continues, and there is one pause"
    );
    assert_eq!(script.wait(1_000), [""; 0]);
    assert!(script.session.reads());
}

#[test]
fn a_pause_does_not_count_for_the_heartbeat_timeout() {
    let mut config = slow();
    config.limits.lines_per_second = 1;
    config.limits.lines_burst = 1;
    config.heartbeat = Duration::from_millis(2_500);
    config.heartbeat_grace = Duration::from_secs(1);
    let mut script = Script::open_with(config);
    script.received(&[PONG; 8].join("\n"));
    let outputs = script.wait(4_900);
    assert!(outputs.contains(&format!("-> {PING}")), "{outputs:?}");
    assert!(!script.session.is_closed(), "{outputs:?}");
    let outputs = script.wait(3_600);
    assert_eq!(outputs.last().unwrap(), "close 4408 nothing was heard from the client");
}

#[test]
fn signals_and_history_are_refused_when_the_client_is_more_than_a_second_behind() {
    let mut script = Script::open_with(slow());
    script.received(&[PONG; 8].join("\n"));
    script.received(&[PONG; 6].join("\n"));
    let signal = r#"{"signal":{"room":"lobby","body":1}}"#;
    let history = r#"{"history":{"id":7,"room":"lobby","before":9,"limit":2}}"#;
    let leave = r#"{"leave":{"room":"lobby"}}"#;
    // The debt is eleven lines. A driver that does not read during a pause never lets it become so large.
    assert_eq!(
        script.received(&[signal, history, leave, signal].join("\n")),
        [
            r#"-> {"error":{"code":"rate","message":"too much was sent before it","room":"lobby","kind":"signal","retry_after_ms":1100}} + {"error":{"code":"rate","message":"too much was sent before it","room":"lobby","kind":"history","id":7,"retry_after_ms":1100}} + {"left":{"room":"lobby"}} + {"error":{"code":"rate","message":"too much was sent before it","room":"lobby","kind":"signal","retry_after_ms":1200}}"#
        ],
        "a refusal is not charged"
    );
}

#[test]
fn more_than_the_bound_of_everything_received_closes() {
    let closed = ["close 4429 far more was sent than any client needs"];
    let unknown = ["{\"later\":{}}", "", " ", "{\"later\":{}}"].join("\n");
    let mut script = Script::open_with(slow());
    for _ in 0..9 {
        assert_eq!(script.received(&unknown), [""; 0]);
    }
    assert_eq!(script.received(&unknown), closed, "37 lines and hello");
    let mut script = Script::open_with(slow());
    assert_eq!(script.input(Input::Counted { frames: 39 }), [""; 0]);
    assert_eq!(script.input(Input::Counted { frames: 1 }), closed);
    let mut script = Script::open_with(slow());
    assert_eq!(script.input(Input::Counted { frames: 39 }), [""; 0]);
    script.wait(500);
    assert_eq!(script.input(Input::Counted { frames: 25 }), [""; 0]);
    assert_eq!(script.input(Input::Counted { frames: 1 }), closed);
}

#[test]
fn a_new_connection_does_not_fill_the_buckets() {
    let mut first = Script::open_with(slow());
    first.received(&[PONG; 8].join("\n"));
    first.input(Input::Shutdown {
        retry_after: Duration::ZERO,
    });
    let (client, allowance) = first.session.allowance().unwrap();
    assert_eq!(client.reveal(), "00112233445566778899aabbccddeeff");
    let (mut again, outputs) = Script::open_again(slow(), allowance, Duration::from_millis(100));
    assert_eq!(
        outputs[0], "pause until 500",
        "the debt is five lines and the new hello, minus the tokens since"
    );
    assert!(outputs[1].contains("welcome"));
    again.wait(500);
    assert!(again.session.reads());
    let (_, outputs) = Script::open_again(slow(), allowance, Duration::from_secs(60));
    assert_eq!(outputs.len(), 1, "{outputs:?}");

    let mut unwelcomed = Script::with(slow());
    unwelcomed.received(HELLO);
    assert_eq!(
        unwelcomed.session.allowance(),
        None,
        "a client that was not welcomed has no allowance"
    );
}

#[test]
fn a_server_that_stops_says_when_to_reconnect() {
    let mut script = Script::open();
    let retry_after = Duration::from_millis(1500);
    assert_eq!(
        script.input(Input::Shutdown { retry_after }),
        [r#"close 1012 {"retry_after_ms":1500}"#]
    );
    assert!(script.session.is_closed());
}

#[test]
fn lines_with_as_many_bytes_as_one_text_can_wait_for_the_welcome() {
    for (bytes, outputs) in [(500, 0), (501, 1)] {
        let mut script = Script::new();
        script.received(HELLO);
        let text = format!("{PING}{}", " ".repeat(bytes - HELLO.len() - PING.len()));
        assert_eq!(script.received(&text).len(), outputs);
    }
}

#[test]
fn the_first_line_must_be_hello_also_over_the_rate() {
    for line in [
        r#"{"signal":{"room":"lobby","body":1}}"#,
        r#"{"history":{"id":7,"room":"lobby","before":9,"limit":2}}"#,
    ] {
        let mut config = slow();
        config.limits.bytes_per_second = 100;
        config.limits.bytes_burst = 100;
        let mut script = Script::with(config);
        assert_eq!(
            script.received(&format!("{line}{}", " ".repeat(300))),
            ["close 4400 the first line must be hello"]
        );
    }
}

#[test]
fn a_rate_of_0_is_unlimited_also_without_a_burst() {
    let mut config = config();
    config.limits.bytes_per_second = 0;
    config.limits.bytes_burst = 0;
    let mut script = Script::open_with(config);
    assert_eq!(script.received(PING), [format!("-> {PONG}")]);
    assert!(script.session.reads());
}
