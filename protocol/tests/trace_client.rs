//! The trace of a client's session: enough to follow a reconnection, and no secrets.

#[path = "support/logged.rs"]
mod logged;

use std::time::Duration;

use log::Level;
use talkback_protocol::{
    Body, ClientKey, Moment, RoomName, UserName,
    session::client::{ClientOptions, ClientSession, FailReason, Input, Output},
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

const KEY: &str = "00112233445566778899aabbccddeeff";
const NEW_KEY: &str = "ffeeddccbbaa99887766554433221100";
const WELCOME: &str = r#"{"welcome":{"user":"grace","sender":"sendersgrace","heartbeat_ms":25000,"limits":{"text_bytes":1000,"text_lines":10,"body_bytes":100,"body_depth":8,"rooms":4,"in_flight":3,"page":10,"history":2,"lines_per_second":0,"lines_burst":0,"bytes_per_second":0,"bytes_burst":0,"sent_text_bytes":65536}}}"#;

/// A session with a token, on a clock of its own.
struct Traced {
    session: ClientSession,
    now: Duration,
}

impl Traced {
    fn new() -> Self {
        logged::collect("talkback::client");
        let mut options = ClientOptions {
            name: Some(UserName::parse("grace").unwrap()),
            tokens: true,
            ..ClientOptions::default()
        };
        options.outbox.bytes = 100;
        Self {
            session: ClientSession::new(options, KEY.parse().unwrap()),
            now: Duration::ZERO,
        }
    }

    fn moment(&self) -> Moment {
        let random = u64::MAX / 2;
        Moment { now: self.now, random }
    }

    fn input(&mut self, input: Input) {
        self.session.handle(self.moment(), input);
        self.drain();
    }

    fn connect(&mut self) {
        self.session.connect(self.moment());
        self.drain();
    }

    fn join(&mut self, room: &str) {
        let room = RoomName::parse(room).unwrap();
        self.session.join(self.moment(), room, None, None);
        self.drain();
    }

    /// Answers what the session asks the application for.
    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::TokenWanted => self.input(Input::Token(Some("hush-token".to_owned()))),
                Output::KeyWanted => self.input(Input::Key(NEW_KEY.parse::<ClientKey>().unwrap())),
                _ => {}
            }
        }
    }

    fn received(&mut self, generation: u64, text: &str) {
        let text = text.to_owned();
        self.input(Input::Received { generation, text });
    }

    fn welcomed(&mut self, generation: u64) {
        self.input(Input::Opened { generation });
        self.received(generation, WELCOME);
    }

    fn publish(&mut self, text: &str, tag: u64) -> Result<(), FailReason> {
        let taken = self.session.publish(self.moment(), room(), Body::text(text), tag);
        self.drain();
        taken
    }

    /// Advances the clock to the next timer.
    fn wait(&mut self) {
        self.now = self.session.next_timeout().unwrap();
        self.input(Input::Tick);
    }

    /// The lines of this level since the last call.
    fn logged(&self, level: Level) -> Vec<String> {
        let of_level = logged::take().into_iter().filter(|(other, _)| *other == level);
        of_level.map(|(_, line)| line).collect()
    }
}

fn room() -> RoomName {
    RoomName::parse("attic").unwrap()
}

#[test]
fn a_reconnection_can_be_followed_in_the_trace() {
    let mut traced = Traced::new();
    traced.connect();
    traced.welcomed(1);
    traced.join("attic");
    traced.received(
        1,
        r#"{"joined":{"room":"attic","epoch":"e1","head":5,"after":5,"recovered":true,"users":1}}"#,
    );
    traced.publish("whisper", 1).unwrap();
    traced.publish("murmur", 2).unwrap();
    traced.logged(Level::Debug);
    traced.input(Input::Closed {
        generation: 1,
        code: 1006,
        reason: "grace left the attic".to_owned(),
    });
    // It was never sent, so it is not sent again.
    let basement = RoomName::parse("basement").unwrap();
    let published = traced.session.publish(traced.moment(), basement, Body::text("hush"), 3);
    published.unwrap();
    traced.wait();
    traced.welcomed(2);
    assert_eq!(
        traced.logged(Level::Debug),
        [
            "0 ms: connection 1: open, heartbeat 25000 ms -> waiting until 249 ms, after close code 1006",
            "249 ms: connection 2: waiting until 249 ms, after close code 1006 -> connecting",
            "249 ms: connection 2: connecting -> greeting",
            "room 1: 2 messages to be sent again",
            "249 ms: connection 2: greeting -> open, heartbeat 25000 ms",
        ]
    );
}

#[test]
fn timers_are_logged_when_they_are_set_and_when_they_fire() {
    let mut traced = Traced::new();
    traced.connect();
    traced.logged(Level::Trace);
    traced.wait();
    assert_eq!(
        traced.logged(Level::Trace),
        ["timer Connect fired at 10000 ms", "timer Reconnect set to 10249 ms"]
    );
}

#[test]
fn no_body_and_no_name_token_or_key_is_logged() {
    let mut traced = Traced::new();
    let secrets = ["grace", "attic", "whisper", "hush-token", KEY, NEW_KEY, "basement"];
    traced.connect();
    traced.welcomed(1);
    let lines = [
        r#"{"joined":{"room":"attic","epoch":"e1","head":5,"after":5,"recovered":true,"users":1}}"#,
        r#"{"presence":{"room":"attic","users":2,"joined":[{"user":"grace"}]}}"#,
        r#"{"message":{"room":"attic","offset":6,"from":{"sender":"s2","user":"grace"},"at":1,"body":"whisper"}}"#,
        r#"{"nack":{"room":"attic","seq":1,"code":"busy","message":"grace whispers in the attic","retry_after_ms":1000}}"#,
        r#"{"nack":{"room":"attic","seq":1,"code":"grace","message":"whisper"}}"#,
        r#"{"error":{"kind":"join","room":"basement","code":"attic","message":"grace"}}"#,
        r#"{"error":{"kind":"history","id":1,"code":"rate","message":"grace","retry_after_ms":1000}}"#,
        r#"{"error":{"code":"whisper","message":"grace"}}"#,
        r#"{"left":{"room":"attic","code":"grace","message":"attic"}}"#,
    ];
    for room in ["attic", "basement"] {
        traced.join(room);
    }
    traced.publish("whisper", 1).unwrap();
    traced.publish(&"whisper".repeat(100), 2).unwrap_err();
    traced.publish(&"whisper".repeat(12), 3).unwrap();
    for line in lines {
        traced.received(1, line);
    }
    let moment = traced.moment();
    traced.session.signal(moment, room(), Body::text("whisper"));
    traced.session.leave(moment, &room());
    traced.drain();
    // A line that cannot be read is quoted in the reason of the close.
    traced.received(1, r#"{"left":{"room":"attic","code":{"grace":"whisper"}}}"#);
    traced.wait();
    traced.welcomed(2);
    traced.publish("whisper", 4).unwrap();
    traced.received(
        2,
        r#"{"nack":{"room":"attic","seq":1,"code":"conflict","message":"grace"}}"#,
    );
    traced.wait();
    traced.welcomed(3);
    traced.input(Input::Closed {
        generation: 3,
        code: 4401,
        reason: "grace".to_owned(),
    });
    traced.input(Input::Closed {
        generation: 4,
        code: 4403,
        reason: "grace".to_owned(),
    });
    traced.input(Input::Offline);
    traced.session.stop(traced.moment());
    traced.drain();
    let all: Vec<_> = logged::take().into_iter().map(|(_, line)| line).collect();
    assert!(all.len() > 40, "{all:#?}");
    for expected in [
        "(busy)",
        "(unknown code)",
        "another client uses the key",
        "new key",
        "cannot be read",
    ] {
        assert!(all.iter().any(|line| line.contains(expected)), "{expected}: {all:#?}");
    }
    for line in &all {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}
