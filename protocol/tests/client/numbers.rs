//! The numbers of messages: which of them a session keeps, and how it continues without the others.

use std::time::Duration;

use talkback_protocol::session::client::{ClientOptions, Input};

use super::script::{Script, WELCOME, ack_in};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn two_rooms() -> ClientOptions {
    ClientOptions {
        rooms: 2,
        keep: true,
        ..ClientOptions::default()
    }
}

/// Publishes a message that is acknowledged at once, and returns its line.
fn settled(script: &mut Script, room: &str, tag: u64, seq: u64) -> String {
    let sent = script.publish(room, tag).swap_remove(2);
    assert_eq!(
        script.received(1, &ack_in(room, seq, seq)),
        [format!("{tag} acked {seq}")]
    );
    sent
}

/// Whether the line is a `publish` with this number and the flag `first`.
fn begins_with(sent: &str, seq: u64) -> bool {
    sent.contains(&format!(r#""seq":{seq},"#)) && sent.contains(r#""first":true"#)
}

#[test]
fn a_client_may_publish_to_any_number_of_rooms_one_after_another() {
    let mut script = Script::open_with(two_rooms());
    for number in 1..=20 {
        let sent = settled(&mut script, &format!("room-{number}"), number, number);
        assert!(begins_with(&sent, number), "{sent}");
    }
    let snapshot = script.session.snapshot();
    assert_eq!((snapshot.rooms.len(), snapshot.next.get()), (0, 21));
}

#[test]
fn the_rooms_with_unsettled_messages_are_bounded() {
    let mut script = Script::open_with(two_rooms());
    script.publish("a", 1);
    script.publish("b", 2);
    assert!(script.publish("c", 3)[0].starts_with("3 failed: messages to too many different rooms"));
    script.received(1, &ack_in("a", 1, 1));
    assert_eq!(script.publish("c", 4)[0], "4 Queued");
}

/// Every number that was used is below the first number of a new room.
#[test]
fn a_forgotten_room_continues_above_all_numbers_that_it_used() {
    let mut script = Script::open_with(two_rooms());
    settled(&mut script, "a", 1, 1);
    let first = settled(&mut script, "a", 2, 2);
    assert!(begins_with(&first, 2), "without a break: {first}");
    settled(&mut script, "b", 3, 3);
    let again = settled(&mut script, "a", 4, 4);
    assert!(begins_with(&again, 4), "{again}");
}

#[test]
fn the_highest_number_of_forgotten_rooms_counts_in_any_order() {
    let mut script = Script::open_with(two_rooms());
    let late = script.publish("b", 1).swap_remove(2);
    assert!(late.contains(r#""room":"b","seq":1"#), "{late}");
    for seq in 1..=3 {
        settled(&mut script, "a", seq + 1, seq);
    }
    script.received(1, &ack_in("b", 1, 1));
    settled(&mut script, "a", 5, 4);
}

/// The client's own message, as room `a` delivers it.
fn own(number: u64) -> String {
    format!(
        r#"{{"message":{{"room":"a","offset":{number},"from":{{"sender":"s1","user":"ann"}},"seq":{number},"id":"{number:016x}","at":1,"body":1}}}}"#
    )
}

/// Former behaviour, found by random faults: the restored session used the number again, and the log took its message
/// for a resend.
#[test]
fn a_number_whose_answer_is_awaited_counts_as_used_in_a_snapshot() {
    let mut script = Script::open_with(two_rooms());
    script.join("a", None);
    let joined = super::script::joined_line("e1", 0, true).replace("lobby", "a");
    script.received(1, &joined);
    script.publish("a", 1);
    assert!(script.received(1, &own(1))[0].starts_with("1 acked"));
    assert_eq!(script.session.snapshot().next.get(), 2);
}

/// If the room were forgotten before the answer, its messages would count as in flight for ever.
#[test]
fn a_room_is_kept_until_the_last_answer_has_arrived() {
    let mut script = Script::open_with(two_rooms());
    script.join("a", None);
    let joined = super::script::joined_line("e1", 0, true).replace("lobby", "a");
    script.received(1, &joined);
    for number in 1..=5 {
        let sent = script.publish("a", number);
        assert!(sent.iter().any(|line| line.contains("->")), "{sent:?}");
        assert!(script.received(1, &own(number))[0].starts_with(&format!("{number} acked")));
        script.received(1, &ack_in("a", number, number));
    }
}

#[test]
fn a_restored_session_begins_new_rooms_above_the_numbers_of_the_former_session() {
    let mut script = Script::open_with(two_rooms());
    settled(&mut script, "a", 1, 1);
    settled(&mut script, "a", 2, 2);
    let text = serde_json::to_string(&script.session.snapshot()).unwrap();
    let mut script = Script::restored(two_rooms(), serde_json::from_str(&text).unwrap(), Duration::ZERO);
    script.connect();
    script.input(Input::Opened { generation: 1 });
    script.received(1, WELCOME);
    let sent = settled(&mut script, "a", 3, 3);
    assert!(begins_with(&sent, 3), "{sent}");
}
