//! Refusals for now: when the refused lines are sent again, and how many at once.

use talkback_protocol::session::client::{ClientOptions, Input};

use super::script::{Script, WELCOME, ack, ack_in, nack, publish_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn nack_in(room: &str, seq: u64, code: &str, retry_after_ms: u64) -> String {
    nack(seq, code, Some(retry_after_ms)).replace("lobby", room)
}

fn written(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.ends_with("Written")).count()
}

#[test]
fn a_message_refused_for_now_is_sent_again_in_order_after_all_answers_and_the_pause() {
    let mut script = Script::open();
    for tag in 1..=3 {
        script.publish("lobby", tag);
    }
    assert_eq!(script.received(1, &nack(1, "busy", Some(500))), [""; 0]);
    assert_eq!(script.publish("lobby", 4), ["4 Queued"]);
    script.wait(600);
    assert_eq!(script.received(1, &nack(2, "gap", Some(0))), [""; 0]);
    assert_eq!(script.received(1, &nack(3, "gap", Some(0))), [""; 0]);
    assert_eq!(script.wait(99), [""; 0], "no pause is shorter than 100 ms");
    assert_eq!(
        script.wait(1)[0],
        format!(
            "1 -> {} + {} + {}",
            publish_line(1, true, 1),
            publish_line(2, false, 2),
            publish_line(3, false, 3)
        )
    );
}

#[test]
fn a_join_or_a_page_refused_without_a_pause_waits_too() {
    let mut script = Script::open();
    script.join("lobby", None);
    let error = r#"{"error":{"code":"busy","message":"m","room":"lobby","kind":"join","retry_after_ms":0}}"#;
    assert_eq!(script.received(1, error), [""; 0]);
    assert_eq!(script.wait(99), [""; 0]);
    assert_eq!(script.wait(1), [r#"1 -> {"join":{"room":"lobby"}}"#]);
}

#[test]
fn the_window_begins_again_with_a_few_and_refusals_do_not_widen_it() {
    let wide = WELCOME.replace(r#""in_flight":3"#, r#""in_flight":100"#);
    let mut script = Script::new();
    for tag in 1..=100 {
        script.publish("lobby", tag);
    }
    script.connect();
    script.input(Input::Opened { generation: 1 });
    let mut sent = written(&script.received(1, &wide)) as u64;
    for seq in 1..=20 {
        sent += written(&script.received(1, &ack(seq, seq))) as u64;
    }
    assert_eq!(sent, 16 + 40, "36 are on the way");
    for round in 0..2 {
        for seq in 21..=sent {
            let (code, pause) = if seq == 21 { ("unavailable", 500) } else { ("gap", 0) };
            assert_eq!(script.received(1, &nack(seq, code, Some(pause))), [""; 0]);
        }
        assert_eq!(written(&script.wait(500)), 16, "in round {round}");
        sent = 36;
    }
}

#[test]
fn a_refusal_that_is_about_the_connection_pauses_all_rooms_and_another_one_its_own() {
    for (code, other_waits) in [("busy", false), ("rate", true), ("unavailable", false)] {
        let mut script = Script::open();
        script.publish("a", 1);
        assert_eq!(script.received(1, &nack_in("a", 1, code, 500)), [""; 0]);
        let sent = written(&script.publish("b", 2)) == 1;
        assert_eq!(sent, !other_waits, "{code}");
        script.wait(499);
        assert!(script.wait(1)[0].contains(r#""room":"a","seq":1"#), "{code}");
    }
}

#[test]
fn while_a_server_has_no_capacity_for_a_room_the_others_continue() {
    let mut script = Script::open();
    script.publish("new", 1);
    script.publish("old", 2);
    assert_eq!(script.received(1, &nack_in("new", 1, "busy", 5000)), [""; 0]);
    assert_eq!(script.publish("new", 3), ["3 Queued"]);
    assert_eq!(script.received(1, &ack_in("old", 1, 1)), ["2 acked 1"]);
    assert_eq!(
        script.publish("old", 4),
        [
            "4 Queued".to_owned(),
            format!("1 -> {}", publish_line(2, true, 4).replace("lobby", "old")),
            "4 Written".to_owned(),
        ]
    );
    assert_eq!(script.received(1, &ack_in("old", 2, 2)), ["4 acked 2"]);
    assert_eq!(script.wait(4999), [""; 0]);
    let again = [publish_line(1, true, 1), publish_line(2, false, 3)].map(|line| line.replace("lobby", "new"));
    assert_eq!(script.wait(1)[0], format!("1 -> {}", again.join(" + ")));
}

#[test]
fn the_longest_of_several_pauses_counts() {
    for code in ["busy", "rate"] {
        let mut script = Script::open();
        script.publish("lobby", 1);
        script.publish("lobby", 2);
        script.received(1, &nack(1, code, Some(5000)));
        script.received(1, &nack(2, code, Some(500)));
        assert_eq!(script.wait(4999), [""; 0], "{code}");
        assert_eq!(written(&script.wait(1)), 2, "{code}");
    }
}

#[test]
fn a_pause_ends_with_its_connection() {
    for code in ["busy", "rate"] {
        let mut script = Script::open();
        script.publish("lobby", 1);
        script.received(1, &nack(1, code, Some(60_000)));
        script.closed(1, 1006, "");
        script.wait_for_attempt();
        script.input(Input::Opened { generation: 2 });
        assert_eq!(written(&script.received(2, WELCOME)), 1, "{code}");
    }
}

#[test]
fn no_server_can_ask_for_a_longer_pause_than_the_configuration_allows() {
    let config = ClientOptions {
        max_retry_after: std::time::Duration::from_secs(7),
        ..ClientOptions::default()
    };
    let mut script = Script::open_with(config);
    script.publish("lobby", 1);
    script.received(1, &nack(1, "busy", Some(1_000_000_000)));
    assert_eq!(script.wait(6_999), [""; 0]);
    assert_eq!(written(&script.wait(1)), 1);
}

#[test]
fn a_room_refused_for_good_does_not_stop_the_others() {
    let mut script = Script::open();
    script.publish("a", 1);
    script.publish("b", 2);
    assert_eq!(
        script.received(1, &nack(1, "bad_room", None).replace("lobby", "a")),
        ["1 failed: no bad_room"]
    );
    assert_eq!(script.received(1, &ack_in("b", 1, 1)), ["2 acked 1"]);
}

/// When each room paused for itself alone, 64 rooms were refused 64 times as often as one, and none made progress.
#[test]
fn many_rooms_are_not_refused_more_often_than_one() {
    let wide = WELCOME.replace(r#""in_flight":3"#, r#""in_flight":100"#);
    let mut script = Script::new();
    for tag in 0..64 {
        script.publish(&format!("room-{tag:02}"), tag);
    }
    script.connect();
    script.input(Input::Opened { generation: 1 });
    assert_eq!(written(&script.received(1, &wide)), 16);
    for round in 0..3 {
        for room in 0..16 {
            // Rooms take turns, first those that were not refused yet.
            let room = (round * 16 + room) % 64;
            let refused = nack_in(&format!("room-{room:02}"), 1, "rate", 500);
            assert_eq!(script.received(1, &refused), [""; 0], "round {round}");
        }
        assert_eq!(script.wait(499), [""; 0], "round {round}");
        assert_eq!(written(&script.wait(1)), 16, "round {round}");
    }
}
