//! Joining without gap or double, publishing, signals and pages.

use talkback_protocol::session::server::{AppendOutcome, Input, Refusal};

use super::script::{Script, config, done, later, message_line, name};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const JOINED: &str =
    r#"{"joined":{"room":"lobby","epoch":"e1","head":9,"after":5,"recovered":true,"users":0,"members":[]}}"#;
const JOIN: &str = r#"{"join":{"room":"lobby"}}"#;
const LEAVE: &str = r#"{"leave":{"room":"lobby"}}"#;
const LEFT: &str = r#"-> {"left":{"room":"lobby"}}"#;

fn publish(seq: u64, body: &str) -> String {
    format!(r#"{{"publish":{{"room":"lobby","seq":{seq},"first":true,"body":{body}}}}}"#)
}

#[test]
fn joined_and_its_messages_go_out_before_the_room_is_live() {
    let mut script = Script::open();
    let join = r#"{"join":{"room":"lobby","since":{"epoch":"e1","offset":5},"history":50}}"#;
    assert_eq!(script.received(join), ["subscribe 1 lobby since Some(5) history 3"]);
    let text = format!("-> {JOINED} + {} + {}", message_line(6), message_line(7));
    assert_eq!(script.subscribed(1, 2), [text, "live 1 lobby after 7".to_owned()]);
}

#[test]
fn what_is_too_much_for_one_text_frame_goes_into_several() {
    let mut script = Script::open();
    script.received(JOIN);
    let lines = script.subscribed(1, 30);
    assert!(lines.len() > 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 1100));
    assert_eq!(lines.last().unwrap(), "live 1 lobby after 35");
}

#[test]
fn a_room_that_is_left_before_it_was_joined_stays_left() {
    let mut script = Script::open();
    script.received(JOIN);
    assert_eq!(script.received(LEAVE), ["unsubscribe 1 lobby", LEFT]);
    assert_eq!(script.received(JOIN), ["subscribe 2 lobby since None history 0"]);
    assert_eq!(script.subscribed(1, 0), [""; 0], "the answer to a question of the past");
    assert_eq!(script.subscribed(2, 0).len(), 2);
    assert_eq!(script.received(LEAVE), ["unsubscribe 2 lobby", LEFT]);
    assert_eq!(script.received(LEAVE), [LEFT], "answered, whether joined or not");
}

#[test]
fn joins_are_refused_with_a_reason() {
    let mut script = Script::open();
    script.received(JOIN);
    assert!(script.received(JOIN)[0].contains(r#""code":"already_joined""#));
    script.received(&JOIN.replace("lobby", "b"));
    let lines = script.received(&JOIN.replace("lobby", "c"));
    assert_eq!(
        lines,
        [r#"-> {"error":{"code":"too_many_rooms","message":"leave another room first","room":"c","frame":"join"}}"#]
    );
    let result = Err(later());
    assert_eq!(
        script.input(Input::Subscribed { id: 1, result }),
        [r#"-> {"error":{"code":"unavailable","message":"later","room":"lobby","frame":"join","retry_after_ms":70}}"#]
    );
    assert_eq!(script.received(JOIN).len(), 1, "a refused room takes no place");
}

#[test]
fn the_server_may_end_a_membership() {
    let mut script = Script::open();
    script.received(JOIN);
    script.subscribed(1, 0);
    assert_eq!(script.input(Input::Expelled { id: 1 }), [LEFT]);
    assert_eq!(script.input(Input::Expelled { id: 1 }), [""; 0]);
}

#[test]
fn messages_go_to_the_log_in_order_and_answers_share_a_text_frame() {
    let mut script = Script::open();
    let text = [publish(1, "1"), publish(2, "2")].join("\n");
    assert_eq!(
        script.received(&text),
        ["append lobby 1 first from ann 1", "append lobby 2 first from ann 2"]
    );
    script.put_appended(1, done(8));
    script.put_appended(2, AppendOutcome::Gap);
    assert_eq!(
        script.drain(),
        [
            r#"-> {"ack":{"room":"lobby","seq":1,"offset":8,"at":1}} + {"nack":{"room":"lobby","seq":2,"code":"gap","message":"an earlier message is missing","retry_after_ms":0}}"#
        ]
    );
}

#[test]
fn more_than_the_window_comes_again_later() {
    let mut script = Script::open();
    let text = [1, 2, 3].map(|seq| publish(seq, "1")).join("\n");
    let lines = script.received(&text);
    assert_eq!(lines.len(), 3);
    assert!(lines[2].contains(r#""seq":3,"code":"busy""#), "{lines:?}");
    script.appended(1, AppendOutcome::Refused(later()));
    assert_eq!(script.received(&publish(3, "1")).len(), 1);
}

#[test]
fn what_is_refused_for_good_is_settled_in_the_log() {
    let mut script = Script::open();
    let long = format!("\"{}\"", "x".repeat(30));
    assert_eq!(script.received(&publish(1, &long)), ["settle lobby 1 too_large"]);
    let outcome = AppendOutcome::Refused(Refusal::for_good("too_large", "m"));
    assert_eq!(
        script.appended(1, outcome),
        [r#"-> {"nack":{"room":"lobby","seq":1,"code":"too_large","message":"m"}}"#]
    );
    assert_eq!(
        script.received(r#"{"publish":{"room":"lobby","seq":2}}"#),
        ["settle lobby 2 withdrawn"]
    );
}

#[test]
fn signals_are_for_members() {
    let signal = r#"{"signal":{"room":"lobby","body":"typing"}}"#;
    let mut script = Script::open();
    assert!(script.received(signal)[0].contains(r#""code":"not_joined""#));
    script.received(JOIN);
    script.subscribed(1, 0);
    assert_eq!(script.received(signal), [r#"signal lobby from ann "typing""#]);
    let long = signal.replace("typing", &"x".repeat(30));
    assert!(script.received(&long)[0].contains(r#""code":"too_large""#));
}

#[test]
fn pages_are_bounded_in_size_and_number() {
    let history = r#"{"history":{"room":"lobby","before":9,"limit":50}}"#;
    let mut script = Script::open_with(config());
    assert_eq!(script.received(history), ["read lobby before 9 limit 3"]);
    assert!(script.received(history)[0].contains(r#""code":"busy""#));
    let lines = script.page(1);
    let object = message_line(1).replace(r#"{"message":"#, "");
    let object = &object[..object.len() - 1];
    assert_eq!(
        lines,
        [format!(
            r#"-> {{"page":{{"room":"lobby","epoch":"e1","messages":[{object}],"more":true}}}}"#
        )]
    );
    script.received(history);
    let (room, result) = (name("lobby"), Err(later()));
    assert!(script.input(Input::PageRead { room, result })[0].contains(r#""frame":"history","retry_after_ms":70"#));
}
