//! Who may speak, for how long, and how fast.

use std::time::Duration;

use talkback_protocol::session::server::{Input, ServerConfig};

use super::script::{HELLO, Script, config};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn hello_is_answered_with_who_the_client_is_and_what_it_may() {
    let mut script = Script::new();
    assert_eq!(script.received(HELLO), [r#"identify None Some("ann")"#]);
    assert_eq!(
        script.identified("ann", None),
        [
            r#"-> {"welcome":{"user":"ann","sender":"a8faed6abbf35c12","heartbeat_ms":25000,"limits":{"frame_bytes":500,"frame_lines":8,"body_bytes":20,"rooms":2,"in_flight":2,"page":3}}}"#
        ]
    );
    assert_eq!(&*script.session.author().unwrap().user, "ann");
}

#[test]
fn what_comes_with_hello_waits_until_the_user_is_known() {
    let mut script = Script::new();
    let text = format!("{HELLO}\n{{\"join\":{{\"room\":\"lobby\"}}}}\n{{\"ping\":{{}}}}");
    assert_eq!(script.received(&text).len(), 1);
    let lines = script.identified("ann", None);
    assert_eq!(lines[0], "subscribe 1 lobby since None history 0");
    assert!(lines[1].ends_with(r#" + {"pong":{}}"#), "{lines:?}");
}

#[test]
fn a_client_that_says_nothing_or_something_else_first_is_closed() {
    let mut script = Script::new();
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(script.wait(1), ["close 4408 no hello came in time"]);
    let mut script = Script::new();
    assert_eq!(
        script.received("{\"ping\":{}}"),
        ["close 4400 the first frame must be hello"]
    );
    assert_eq!(script.received(HELLO), [""; 0], "nothing follows a close");
    assert_eq!(script.session.next_timeout(), None);
    assert_eq!(Script::open().received(HELLO), ["close 4400 hello came twice"]);
}

#[test]
fn what_is_malformed_or_too_big_closes_with_its_code() {
    let long = format!(r#"{{"auth":{{"token":"{}"}}}}"#, "x".repeat(500));
    assert_eq!(
        Script::open().received(&long),
        [format!(
            "close 1009 the text frame has {} bytes: at most 500 are taken",
            long.len()
        )]
    );
    assert_eq!(
        Script::open().received(&"\n".repeat(8)),
        ["close 1009 the text frame has more than 8 lines"]
    );
    assert!(
        Script::open().received("{\"ping\":{}}\n{\"join\":{}}")[0]
            .starts_with("close 4400 line 2: bad join: missing field")
    );
    assert_eq!(
        Script::open().received(r#"{"dance":{}}"#),
        [""; 0],
        "a later version may dance"
    );
}

#[test]
fn a_user_who_is_denied_is_told_why() {
    let mut script = Script::new();
    script.received(HELLO);
    assert_eq!(script.denied(4403, "not you"), ["close 4403 not you"]);
}

#[test]
fn a_silent_client_is_asked_and_then_closed_and_any_frame_is_life() {
    let mut script = Script::open();
    assert_eq!(script.wait(25_000), ["-> {\"ping\":{}}"]);
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(script.received("{\"pong\":{}}"), [""; 0]);
    assert_eq!(script.wait(34_999), ["-> {\"ping\":{}}"]);
    assert_eq!(script.wait(1), ["close 4408 nothing was heard from the client"]);
}

#[test]
fn a_token_expires_unless_a_newer_one_of_the_same_user_comes() {
    let minute = Some(Duration::from_secs(60));
    let mut script = Script::new();
    script.received(&HELLO.replace(r#""name""#, r#""token":"t1","name""#));
    assert!(script.identified("ann", minute)[0].contains(r#""expires_ms":60000"#));
    script.wait(30_000);
    let text = "{\"auth\":{\"token\":\"t2\"}}\n{\"ping\":{}}";
    assert_eq!(script.received(text), [r#"identify Some("t2") None"#]);
    let lines = script.identified("ann", minute);
    assert!(lines[0].starts_with("-> {\"welcome\""), "{lines:?}");
    assert!(
        lines[0].ends_with("{\"pong\":{}}"),
        "what came behind auth follows: {lines:?}"
    );
    script.wait(20_000);
    script.received("{\"pong\":{}}");
    script.wait(30_000);
    script.received("{\"pong\":{}}");
    let lines = script.wait(10_000);
    assert_eq!(lines.last().unwrap(), "close 4401 the token has expired");

    let mut script = Script::open();
    script.received("{\"auth\":{\"token\":\"t2\"}}");
    assert_eq!(
        script.identified("bob", None),
        ["close 4403 the new token is another user's"]
    );
}

#[test]
fn a_client_that_is_too_fast_is_told_to_wait_and_then_closed() {
    let mut script = Script::open_with(ServerConfig {
        frames_per_second: 10,
        frames_burst: 4,
        ..config()
    });
    let ping = "{\"ping\":{}}";
    script.received(&[ping; 3].join("\n"));
    let text = [
        r#"{"publish":{"room":"lobby","seq":1,"body":1}}"#,
        r#"{"join":{"room":"lobby"}}"#,
        r#"{"leave":{"room":"lobby"}}"#,
        ping,
    ];
    let lines = script.received(&text.join("\n"));
    assert_eq!(
        lines,
        [
            r#"-> {"nack":{"room":"lobby","seq":1,"code":"rate","message":"too many frames a second","retry_after_ms":300}} + {"error":{"code":"rate","message":"too many frames a second","room":"lobby","frame":"join","retry_after_ms":400}} + {"left":{"room":"lobby"}} + {"pong":{}}"#
        ]
    );
    assert_eq!(
        script.received(ping),
        ["close 4429 too many frames; wait as long as the answers say"]
    );
}

#[test]
fn a_server_that_stops_says_when_to_come_back() {
    let mut script = Script::open();
    let retry_after = Duration::from_millis(1500);
    assert_eq!(
        script.input(Input::Shutdown { retry_after }),
        [r#"close 1012 {"retry_after_ms":1500}"#]
    );
    assert!(script.session.is_closed());
}
