//! What is addressed to the user: rooms that the server joins by itself.

use talkback_protocol::session::client::Input;

use super::script::{Script, WELCOME, joined_line, message_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The welcome of a server that addresses users.
fn welcome() -> String {
    WELCOME.replace(r#""limits""#, r#""direct":true,"limits""#)
}

fn joined(room: &str, epoch: &str, after: u64, recovered: bool) -> String {
    joined_line(epoch, after, recovered).replace("lobby", room)
}

fn message(room: &str, offset: u64) -> String {
    message_line(offset).replace("lobby", room)
}

/// A session that is open on connection 1.
fn open() -> Script {
    let mut script = Script::new();
    script.connect();
    script.input(Input::Opened { generation: 1 });
    script.received(1, &welcome());
    script
}

/// Connection 1 is lost, and connection 2 opens. Returns what the client then sends.
fn reconnect(script: &mut Script) -> Vec<String> {
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    let mut lines = script.received(2, &welcome());
    lines.retain(|line| line.contains("->"));
    lines
}

#[test]
fn the_rooms_that_the_server_joins_are_read_and_asked_for_again_from_their_cursors() {
    let mut script = open();
    assert_eq!(script.address(&[]), [r#"1 -> {"direct":{"history":9}}"#]);
    assert_eq!(script.address(&[]), [""; 0], "it is asked for once");
    assert_eq!(
        script.received(1, &joined("~u.ann", "e1", 0, true)),
        ["~u.ann: joined after 0"]
    );
    assert_eq!(
        script.received(1, &joined("~g.staff", "e2", 5, true)),
        ["~g.staff: joined after 5"]
    );
    assert_eq!(script.received(1, &message("~u.ann", 1)), ["~u.ann: 1 1"]);
    assert_eq!(script.received(1, &message("~u.ann", 1)), [""; 0], "a duplicate");
    assert_eq!(
        reconnect(&mut script),
        [
            r#"2 -> {"direct":{"since":[{"room":"~g.staff","epoch":"e2","offset":5},{"room":"~u.ann","epoch":"e1","offset":1}],"history":9}}"#
        ]
    );
    assert_eq!(
        script.received(2, &joined("~u.ann", "e1", 1, true)),
        ["~u.ann: recovered after 1"]
    );
    assert_eq!(
        script.received(2, &joined("~g.staff", "e3", 7, false)),
        ["~g.staff: reset after 7"]
    );
}

#[test]
fn the_application_begins_with_its_own_cursors() {
    let mut script = open();
    assert_eq!(
        script.address(&[("~u.ann", "e1", 4), ("lobby", "e1", 4)]),
        [r#"1 -> {"direct":{"since":[{"room":"~u.ann","epoch":"e1","offset":4}],"history":9}}"#],
        "an ordinary room is not addressed"
    );
    assert_eq!(
        script.received(1, &joined("~u.ann", "e1", 4, true)),
        ["~u.ann: recovered after 4"]
    );
}

#[test]
fn cursors_that_do_not_fit_into_one_text_are_left_out_and_their_rooms_are_reset() {
    let mut script = open();
    let rooms: Vec<_> = (10..30).map(|number| format!("~g.group-{number}")).collect();
    let since: Vec<_> = rooms.iter().map(|room| (room.as_str(), "e1", 4)).collect();
    let lines = script.address(&since);
    assert!(lines[0].len() <= 1000 + "1 -> ".len(), "{} bytes", lines[0].len());
    assert!(lines[0].contains("~g.group-10") && !lines[0].contains("~g.group-29"));
    assert_eq!(
        script.received(1, &joined("~g.group-29", "e1", 9, true)),
        ["~g.group-29: reset after 9"],
        "the server was not told of the cursor"
    );
}

#[test]
fn a_missing_message_is_read_again_from_the_cursor() {
    let mut script = open();
    script.address(&[]);
    script.received(1, &joined("~u.ann", "e1", 3, true));
    assert_eq!(
        script.received(1, &message("~u.ann", 5)),
        [r#"1 -> {"leave":{"room":"~u.ann"}}"#]
    );
    assert_eq!(
        script.received(1, r#"{"left":{"room":"~u.ann"}}"#),
        [r#"1 -> {"direct":{"since":[{"room":"~u.ann","epoch":"e1","offset":3}],"history":9}}"#]
    );
    assert_eq!(
        script.received(1, &joined("~u.ann", "e1", 3, true)),
        ["~u.ann: recovered after 3"]
    );
    assert_eq!(script.received(1, &message("~u.ann", 4)), ["~u.ann: 4 4"]);
}

#[test]
fn a_refusal_for_now_is_asked_again_after_its_pause() {
    let mut script = open();
    script.address(&[("~u.ann", "e1", 4)]);
    let error = r#"{"error":{"code":"busy","message":"later","room":"~u.ann","kind":"direct","retry_after_ms":500}}"#;
    assert_eq!(script.received(1, error), [""; 0]);
    assert_eq!(script.wait(499), [""; 0]);
    assert_eq!(
        script.wait(1),
        [r#"1 -> {"direct":{"since":[{"room":"~u.ann","epoch":"e1","offset":4}],"history":9}}"#]
    );
}

#[test]
fn a_room_that_is_refused_for_good_ends_and_the_others_go_on() {
    let mut script = open();
    script.address(&[]);
    script.received(1, &joined("~u.ann", "e1", 3, true));
    let error = r#"{"error":{"code":"too_many_rooms","message":"no","room":"~g.staff","kind":"direct"}}"#;
    assert_eq!(script.received(1, error), ["~g.staff: refused too_many_rooms"]);
    let left = r#"{"left":{"room":"~u.ann","code":"forbidden","message":"over"}}"#;
    assert!(script.received(1, left)[0].starts_with("~u.ann: Left"));
    assert_eq!(reconnect(&mut script), [r#"2 -> {"direct":{"history":9}}"#]);
}

#[test]
fn a_server_that_addresses_nobody_is_not_asked() {
    let mut script = Script::open();
    assert_eq!(script.address(&[]), ["not addressed: forbidden"]);
    assert_eq!(
        script.received(1, &joined("~u.ann", "e1", 3, true)),
        [r#"1 -> {"leave":{"room":"~u.ann"}}"#]
    );
    let mut script = open();
    script.address(&[]);
    let error = r#"{"error":{"code":"forbidden","message":"no","kind":"direct"}}"#;
    assert_eq!(script.received(1, error), ["not addressed: forbidden"]);
    assert_eq!(reconnect(&mut script), [""; 0]);
}

#[test]
fn what_is_not_wanted_any_more_is_left_also_a_room_whose_joined_is_on_its_way() {
    let mut script = open();
    script.address(&[("~g.staff", "e1", 4)]);
    script.received(1, &joined("~u.ann", "e1", 3, true));
    assert_eq!(
        script.leave_addressed(),
        [r#"1 -> {"leave":{"room":"~g.staff"}} + {"leave":{"room":"~u.ann"}}"#]
    );
    assert_eq!(script.received(1, &message("~u.ann", 4)), [""; 0]);
    assert_eq!(script.received(1, &joined("~g.staff", "e1", 4, true)), [""; 0]);
    assert_eq!(
        script.received(1, &joined("~g.board", "e1", 4, true)),
        [r#"1 -> {"leave":{"room":"~g.board"}}"#]
    );
    for room in ["~g.staff", "~u.ann", "~g.board"] {
        script.received(1, &format!(r#"{{"left":{{"room":"{room}"}}}}"#));
    }
    assert_eq!(reconnect(&mut script), [""; 0]);
}

#[test]
fn what_is_wanted_again_at_once_continues_from_the_cursors_that_are_given() {
    let mut script = open();
    script.address(&[]);
    script.received(1, &joined("~u.ann", "e1", 3, true));
    script.leave_addressed();
    assert_eq!(
        script.address(&[("~u.ann", "e1", 3)]),
        [r#"1 -> {"direct":{"since":[{"room":"~u.ann","epoch":"e1","offset":3}],"history":9}}"#]
    );
    let text = format!(
        "{}\n{}",
        r#"{"left":{"room":"~u.ann"}}"#,
        joined("~u.ann", "e1", 3, true)
    );
    assert_eq!(script.received(1, &text)[0], "~u.ann: recovered after 3");
    assert_eq!(script.received(1, &message("~u.ann", 4)), ["~u.ann: 4 4"]);
}

#[test]
fn an_application_cannot_join_a_reserved_room() {
    let mut script = open();
    assert_eq!(script.join("~u.bob", None), ["~u.bob: refused forbidden"]);
    assert_eq!(reconnect(&mut script), [""; 0]);
}
