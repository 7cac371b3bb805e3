//! The trace of a server's session.

#[path = "support/logged.rs"]
mod logged;
#[path = "support/recording.rs"]
mod recording;
#[path = "server/script.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod script;

use std::time::Duration;

use script::{Script, config, done};
use talkback_protocol::session::server::{AppendOutcome, Input, Refusal};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

fn start_logging() {
    logged::collect("talkback::server");
}

/// The lines since the last call.
fn events() -> Vec<String> {
    logged::take().into_iter().map(|(_, line)| line).collect()
}

const KEY: &str = "00112233445566778899aabbccddeeff";
const TOKEN: &str = "the-token";
const USER: &str = "the-user";
const ROOM: &str = "the-room";
const BODY: &str = "the-body";

#[test]
fn a_connection_is_traced_without_any_secret() {
    start_logging();
    let mut options = config();
    options.limits.lines_per_second = 10;
    options.limits.lines_burst = 1;
    options.limits.in_flight = 4;
    let mut script = Script::with(options);
    script.received(&format!(
        r#"{{"hello":{{"client":"{KEY}","token":"{TOKEN}","name":"{USER}"}}}}"#
    ));
    script.identified(USER, Some(Duration::from_secs(60)));
    let publish = |seq: u64| {
        format!(r#"{{"publish":{{"room":"{ROOM}","seq":{seq},"id":"00000000000000a{seq}","body":"{BODY}"}}}}"#)
    };
    script.received(&publish(1));
    script.put_appended_in(ROOM, 1, AppendOutcome::Conflict { epoch: script::epoch() });
    script.received(&format!(
        r#"{{"join":{{"room":"{ROOM}","since":{{"epoch":"e1","offset":5}},"history":2}}}}"#
    ));
    script.subscribed(1, 2);
    script.received(&format!(r#"{{"join":{{"room":"{ROOM}"}}}}"#));
    script.received(&publish(2));
    script.put_appended_in(ROOM, 2, done(8));
    script.received(&format!(
        r#"{{"withdraw":{{"room":"{ROOM}","seq":3,"id":"00000000000000a3"}}}}"#
    ));
    let refusal = Refusal::for_good("withdrawn", BODY);
    let epoch = Some(script::epoch());
    script.put_appended_in(ROOM, 3, AppendOutcome::Refused { epoch, refusal });
    script.put_appended_in(ROOM, 4, AppendOutcome::Gap { epoch: script::epoch() });
    script.put_appended_in(ROOM, 5, AppendOutcome::Forgotten { epoch: script::epoch() });
    let reason = Refusal::for_good("forbidden", BODY);
    script.input(Input::Expelled { id: 1, reason });
    script.received(&format!(r#"{{"leave":{{"room":"{ROOM}"}}}}"#));
    script.received(&format!(r#"{{"auth":{{"token":"{TOKEN}"}}}}"#));
    script.identified(USER, None);
    script.wait(25_000);
    script.received(&format!(r#"{{"publish":{{"room":"{ROOM}","seq":"{BODY}"}}}}"#));

    let events = events();
    assert_eq!(
        events,
        [
            "hello: with a token; lines wait until the user is known",
            "welcome: heartbeat 25s, the token expires in Some(60s), 0 lines waited",
            "nack: a room that is not joined, seq 1, conflict, retry after None",
            "join: room 1, since Some(5), history 2",
            "joined: room 1, head 9, live after 7, recovered true",
            "error: join, room 1, already_joined, retry after None",
            "withdraw: room 1, seq 3",
            "nack: room 1, seq 3, withdrawn, retry after None",
            "nack: room 1, seq 4, gap, retry after Some(0ns)",
            "forgotten: room 1, seq 5",
            "expelled: room 1, forbidden",
            "leave: a room that is not joined",
            "pause: nothing is read for 100ms",
            "auth: lines wait until the newer token is checked",
            "welcome: heartbeat 25s, the token expires in None, 0 lines waited",
            "pause: nothing is read for 100ms",
            "ping: a sign of life is expected within 10s",
            "close: 4400, a line of a known kind is malformed",
        ]
    );
    for secret in [KEY, TOKEN, USER, ROOM, BODY] {
        let quoted = events.iter().find(|event| event.contains(secret));
        assert_eq!(quoted, None, "{secret}");
    }
}

#[test]
fn a_user_who_is_denied_is_not_quoted() {
    start_logging();
    let mut script = Script::new();
    script.received(script::HELLO);
    script.denied(4403, USER);
    assert_eq!(events().last().unwrap(), "close: 4403, the user is denied");
}
