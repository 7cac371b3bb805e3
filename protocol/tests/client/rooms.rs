//! Joining, reading without gap or double, leaving, and older messages.

use talkback_protocol::{Offset, session::client::Input};

use super::script::{Script, WELCOME, joined_frame, message_frame, name};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_room_is_joined_when_the_session_opens_and_again_from_its_cursor() {
    let mut script = Script::new();
    script.input(Input::Connect);
    script.join("lobby", None);
    script.input(Input::Opened { generation: 1 });
    assert_eq!(
        script.received(1, WELCOME),
        ["open as ann s1", r#"1 -> {"join":{"room":"lobby"}}"#]
    );
    assert_eq!(
        script.received(1, &joined_frame("e1", 5, true)),
        ["lobby: joined after 5"]
    );
    assert_eq!(script.received(1, &message_frame(6)), ["lobby: 6 6"]);
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert_eq!(
        script.received(2, WELCOME)[1],
        r#"2 -> {"join":{"room":"lobby","since":{"epoch":"e1","offset":6}}}"#
    );
    let text = format!("{}\n{}", joined_frame("e1", 6, true), message_frame(7));
    assert_eq!(script.received(2, &text), ["lobby: recovered after 6", "lobby: 7 7"]);
}

#[test]
fn a_room_without_messages_recovers_too() {
    // Others lose what comes between a join and the first message (socket.io#4888, #5538).
    let mut script = Script::joined();
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert!(script.received(2, WELCOME)[1].contains(r#""since":{"epoch":"e1","offset":5}"#));
}

#[test]
fn what_cannot_be_recovered_is_told() {
    let mut script = Script::open();
    script.join("lobby", Some(("e1", 3)));
    assert_eq!(
        script.received(1, &joined_frame("e2", 9, false)),
        ["lobby: reset after 9"]
    );
    assert_eq!(script.received(1, &message_frame(10)), ["lobby: 10 10"]);
}

#[test]
fn a_server_that_recovers_from_another_place_is_not_believed() {
    let mut script = Script::open();
    script.join("lobby", Some(("e1", 3)));
    assert!(script.received(1, &joined_frame("e1", 4, true))[0].starts_with("disconnect 1 4400 joined says recovered"));
}

#[test]
fn a_message_comes_once() {
    // The same offset replayed twice (socket.io#5419).
    let mut script = Script::joined();
    let text = [6, 6, 5, 7, 6].map(message_frame).join("\n");
    assert_eq!(script.received(1, &text), ["lobby: 6 6", "lobby: 7 7"]);
}

#[test]
fn a_missing_message_is_fetched_by_leaving_and_joining_again() {
    let mut script = Script::joined();
    assert_eq!(
        script.received(1, &[8, 9].map(message_frame).join("\n")),
        [r#"1 -> {"leave":{"room":"lobby"}}"#]
    );
    assert_eq!(
        script.received(1, &message_frame(6)),
        [""; 0],
        "it belongs to the membership that ends"
    );
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        [r#"1 -> {"join":{"room":"lobby","since":{"epoch":"e1","offset":5}}}"#]
    );
    let text = format!(
        "{}\n{}",
        joined_frame("e1", 5, true),
        [6, 7].map(message_frame).join("\n")
    );
    assert_eq!(
        script.received(1, &text),
        ["lobby: recovered after 5", "lobby: 6 6", "lobby: 7 7"]
    );
}

#[test]
fn nothing_of_a_room_comes_after_leaving_and_joining_again_waits_for_left() {
    let mut script = Script::joined();
    let leave = script.input(Input::Leave { room: name("lobby") });
    assert_eq!(leave, ["lobby: Left", r#"1 -> {"leave":{"room":"lobby"}}"#]);
    assert_eq!(script.join("lobby", None), [""; 0]);
    assert_eq!(script.received(1, &message_frame(6)), [""; 0]);
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        [r#"1 -> {"join":{"room":"lobby"}}"#]
    );
}

#[test]
fn the_server_may_end_a_membership() {
    let mut script = Script::joined();
    assert_eq!(script.received(1, r#"{"left":{"room":"lobby"}}"#), ["lobby: Left"]);
    assert_eq!(script.session.cursor(&name("lobby")), None);
}

#[test]
fn a_join_is_refused_for_good_or_for_now() {
    let error = r#"{"error":{"code":"busy","message":"m","room":"lobby","frame":"join","retry_after_ms":700}}"#;
    let mut script = Script::open();
    script.join("lobby", None);
    assert_eq!(script.received(1, error), [""; 0]);
    assert_eq!(script.wait(699), [""; 0]);
    assert_eq!(script.wait(1), [r#"1 -> {"join":{"room":"lobby"}}"#]);
    let error = error
        .replace(r#","retry_after_ms":700"#, "")
        .replace("busy", "forbidden");
    assert_eq!(script.received(1, &error), ["lobby: refused forbidden"]);
    assert_eq!(script.join("lobby", None).len(), 1, "it may be asked again");
}

#[test]
fn presence_and_signals_belong_to_members() {
    let presence = r#"{"presence":{"room":"lobby","joined":[{"user":"bob"}],"left":[]}}"#;
    let signal = r#"{"signal":{"room":"lobby","from":{"sender":"s2","user":"bob"},"body":"typing"}}"#;
    let mut script = Script::joined();
    assert_eq!(script.received(1, presence).len(), 1);
    assert_eq!(script.received(1, signal).len(), 1);
    let ours = Input::Signal {
        room: name("lobby"),
        body: talkback_protocol::Body::text("typing"),
    };
    assert_eq!(
        script.input(ours.clone()),
        [r#"1 -> {"signal":{"room":"lobby","body":"typing"}}"#]
    );
    let mut script = Script::open();
    assert_eq!(script.received(1, presence), [""; 0]);
    assert_eq!(script.received(1, signal), [""; 0]);
    assert_eq!(script.input(ours), [""; 0]);
}

#[test]
fn a_request_without_any_answer_ends_the_connection() {
    let mut script = Script::open();
    script.join("lobby", None);
    let ping = "{\"ping\":{}}";
    script.pass(20_000);
    script.received(1, ping);
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 1 4408 the server left requests without an answer"
    );
}

fn history(before: u64, tag: u64) -> Input {
    let (room, before) = (name("lobby"), Offset::new(before).unwrap());
    let limit = 5;
    Input::History {
        room,
        before,
        limit,
        tag,
    }
}

#[test]
fn pages_are_asked_for_one_at_a_time_and_again_after_a_cut() {
    let page = r#"{"page":{"room":"lobby","epoch":"e1","messages":[],"more":false}}"#;
    let mut script = Script::open();
    assert_eq!(
        script.input(history(9, 1)),
        [r#"1 -> {"history":{"room":"lobby","before":9,"limit":5}}"#]
    );
    assert_eq!(script.input(history(4, 2)), [""; 0]);
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert!(script.received(2, WELCOME)[1].contains(r#""before":9"#));
    let lines = script.received(2, page);
    assert_eq!(lines[0], "page 1: 0 messages, more: false");
    assert!(lines[1].contains(r#""before":4"#));
    let busy = r#"{"error":{"code":"busy","message":"m","room":"lobby","frame":"history","retry_after_ms":100}}"#;
    assert_eq!(script.received(2, busy), [""; 0]);
    assert!(script.wait(100)[0].contains(r#""before":4"#));
    let no = r#"{"error":{"code":"forbidden","message":"not yours","room":"lobby","frame":"history"}}"#;
    assert_eq!(script.received(2, no), ["page 2: not yours"]);
    script.input(history(1, 3));
    assert!(
        script
            .input(Input::Stop)
            .contains(&"page 3: the connection was stopped".to_owned())
    );
}
