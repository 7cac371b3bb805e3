//! Messages in the outbox: sent once, in order, bounded, and each with a last state.

use std::time::Duration;

use talkback_protocol::{
    Body,
    session::client::{ClientOptions, Input},
};

use super::script::{Script, WELCOME, ack, joined_line, nack, publish_line, withdraw_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn small(messages: usize, bytes: usize) -> ClientOptions {
    let mut config = ClientOptions::default();
    config.outbox.messages = messages;
    config.outbox.bytes = bytes;
    config.outbox.ttl = Duration::from_secs(60);
    config
}

/// Loses connection `generation` and is welcomed on the next one; returns what is sent then.
fn reconnect(script: &mut Script, generation: u64) -> Vec<String> {
    script.closed(generation, 1006, "");
    script.wait_for_attempt();
    let generation = generation + 1;
    script.input(Input::Opened { generation });
    script.received(generation, WELCOME)
}

#[test]
fn messages_that_are_ready_together_are_sent_as_one_text_without_a_join() {
    let mut script = Script::open();
    script.put_publish("lobby", 1);
    script.put_publish("lobby", 2);
    assert_eq!(
        script.drain(),
        [
            "1 Queued",
            "2 Queued",
            &*format!("1 -> {} + {}", publish_line(1, true, 1), publish_line(2, false, 2)),
            "1 Written",
            "2 Written"
        ]
    );
    assert_eq!(
        script.received(1, &[ack(1, 7), ack(2, 8)].join("\n")),
        ["1 acked 7", "2 acked 8"]
    );
}

#[test]
fn unacknowledged_messages_are_sent_again_with_their_numbers() {
    let mut script = Script::open();
    for tag in 1..=3 {
        script.publish("lobby", tag);
    }
    script.received(1, &ack(1, 7));
    assert_eq!(
        reconnect(&mut script, 1)[1],
        format!("2 -> {} + {}", publish_line(2, true, 2), publish_line(3, false, 3))
    );
    assert_eq!(script.received(2, &ack(2, 8)), ["2 acked 8"]);
    assert_eq!(script.received(2, &ack(2, 8)), [""; 0], "said twice, told once");
    assert_eq!(script.received(2, &ack(9, 8)), [""; 0], "a number that was never used");
}

#[test]
fn no_more_than_the_window_is_in_flight_and_rooms_take_turns() {
    let mut script = Script::new();
    script.connect();
    for tag in 1..=4 {
        script.publish("lobby", tag);
    }
    script.publish("other", 5);
    script.input(Input::Opened { generation: 1 });
    let lines = script.received(1, WELCOME);
    assert_eq!(lines[2..], ["1 Written", "5 Written", "2 Written"]);
    let next = script.received(1, &ack(1, 1));
    assert_eq!(next[0], "1 acked 1");
    assert_eq!(next[2..], ["3 Written"]);
}

#[test]
fn a_connection_begins_with_a_few_messages_and_takes_one_more_with_each_answer() {
    let wide = WELCOME.replace(r#""in_flight":3"#, r#""in_flight":20"#);
    let mut script = Script::new();
    for tag in 1..=100 {
        script.publish("lobby", tag);
    }
    script.connect();
    for generation in 1..=2 {
        let written = |lines: Vec<String>| lines.iter().filter(|line| line.ends_with("Written")).count();
        script.input(Input::Opened { generation });
        assert_eq!(written(script.received(generation, &wide)), 16);
        let first = if generation == 1 { 1 } else { 7 };
        let answers = [2, 2, 2, 2, 1, 1].iter().zip(first..);
        for (follow, seq) in answers {
            assert_eq!(
                written(script.received(generation, &ack(seq, seq))),
                *follow,
                "after number {seq} was settled"
            );
        }
        script.closed(generation, 1006, "");
        script.wait_for_attempt();
    }
}

#[test]
fn the_window_is_counted_from_the_first_that_is_not_settled() {
    let mut script = Script::open();
    for tag in 1..=4 {
        script.publish("lobby", tag);
    }
    // A server answers in order. If it does not, it must still keep the outcome of every number that may be resent.
    assert_eq!(
        script.received(1, &[ack(2, 2), ack(3, 3)].join("\n")),
        ["2 acked 2", "3 acked 3"]
    );
    assert!(script.received(1, &ack(1, 1))[1].contains(&publish_line(4, true, 4)));
}

/// A server gets nothing of a WebSocket message that a lost connection cut off.
#[test]
fn messages_share_small_texts_even_if_the_server_takes_large_ones() {
    let wide = WELCOME
        .replace(
            r#""text_bytes":1000,"text_lines":10,"body_bytes":100"#,
            r#""text_bytes":99000,"text_lines":99,"body_bytes":9000"#,
        )
        .replace(r#""in_flight":3"#, r#""in_flight":20"#);
    let mut script = Script::new();
    let body = Body::text(&"x".repeat(900));
    for tag in 1..=6 {
        script.put_body("lobby", body.clone(), tag);
    }
    script.connect();
    script.input(Input::Opened { generation: 1 });
    let lines = script.received(1, &wide);
    let frames = lines.iter().filter(|line| line.starts_with("1 -> "));
    assert_eq!(
        frames.map(|line| line.matches("publish").count()).collect::<Vec<_>>(),
        [2, 2, 2]
    );
}

#[test]
fn a_text_stays_within_the_limits_of_the_server() {
    let limits = WELCOME.replace(
        r#""text_bytes":1000,"text_lines":10"#,
        r#""text_bytes":190,"text_lines":2"#,
    );
    let mut script = Script::new();
    script.connect();
    for tag in 1..=3 {
        script.publish("lobby", tag);
    }
    script.input(Input::Opened { generation: 1 });
    let lines = script.received(1, &limits);
    let texts: Vec<_> = lines.iter().filter(|line| line.contains("->")).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
}

#[test]
fn a_message_refused_for_good_fails_and_the_next_goes_on() {
    let mut script = Script::open();
    script.publish("lobby", 1);
    script.publish("lobby", 2);
    assert_eq!(
        script.received(1, &nack(1, "forbidden", None)),
        ["1 failed: no forbidden"]
    );
    assert_eq!(script.received(1, &ack(2, 1)), ["2 acked 1"]);
    script.publish("lobby", 3);
}

#[test]
fn the_own_message_is_an_acknowledgement_and_comes_after_it() {
    let mut script = Script::joined();
    script.publish("lobby", 1);
    let own = r#"{"message":{"room":"lobby","offset":6,"from":{"sender":"s1","user":"ann"},"seq":1,"id":"0000000000000001","at":1,"body":1}}"#;
    assert_eq!(script.received(1, own), ["1 acked 6", "lobby: own 6 1"]);
    assert_eq!(script.received(1, &ack(1, 6)), [""; 0]);
    // Another message of the same key, which a copy of the session sent.
    script.publish("lobby", 9);
    let copy = own
        .replace(r#""offset":6"#, r#""offset":7"#)
        .replace(r#""seq":1"#, r#""seq":2"#);
    assert_eq!(script.received(1, &copy), ["lobby: own 7 1"]);
    assert_eq!(script.received(1, &ack(2, 8)), ["9 acked 8"]);
    let other = own.replace("s1", "s2").replace(r#""offset":6"#, r#""offset":8"#);
    script.publish("lobby", 1);
    assert_eq!(
        script.received(1, &other.replace(r#""seq":1"#, r#""seq":3"#)),
        ["lobby: 8 1"]
    );
}

#[test]
fn a_full_outbox_reports_that_it_is_full_and_when_it_has_capacity() {
    let mut script = Script::open_with(small(4, 1000));
    for tag in 1..=4 {
        assert_eq!(script.publish("lobby", tag)[0], format!("{tag} Queued"));
    }
    assert!(!script.session.has_capacity(1));
    assert!(script.publish("lobby", 5)[0].starts_with("5 failed: too many messages"));
    let lines = script.received(1, &ack(1, 1));
    assert_eq!(lines.last().unwrap(), "outbox has capacity");
    assert!(script.session.has_capacity(1));

    let mut script = Script::open_with(small(4, 20));
    let long = Body::text(&"x".repeat(30));
    assert!(
        script.session.has_capacity(32),
        "waiting for what never fits would never end"
    );
    assert_eq!(
        script.publish_body("lobby", long, 1),
        ["1 failed: the message has 32 bytes of JSON: the server takes at most 20"]
    );
}

#[test]
fn a_settled_message_gives_its_bytes_back() {
    let mut script = Script::open_with(small(100, 40));
    for tag in 1..=50 {
        let body = Body::text(&"x".repeat(20));
        let lines = script.publish_body("lobby", body, tag);
        assert_eq!(lines[0], format!("{tag} Queued"));
        script.received(1, &ack(tag, tag));
    }
}

/// A task that waits for capacity and publishes again at each notice.
#[test]
fn capacity_is_reported_only_when_a_waiting_message_fits() {
    for sizes in [[10, 900], [300, 300], [2, 2], [990, 10], [600, 500], [260, 998]] {
        let wide = WELCOME.replace(r#""body_bytes":100"#, r#""body_bytes":1000"#);
        let mut script = Script::with(small(8, 1000));
        script.connect();
        script.input(Input::Opened { generation: 1 });
        script.received(1, &wide);
        let mut waiting: Vec<_> = (1..=40).rev().collect();
        let (mut tries, mut told, mut acked) = (0, 1, 0);
        while let Some(tag) = waiting.pop() {
            let body = Body::text(&"x".repeat(sizes[usize::from(tag % 2 == 1)] - 2));
            tries += 1;
            assert!(tries <= 100, "{sizes:?}: tried {tries} times for 40 messages");
            let mut lines = script.publish_body("lobby", body, tag);
            if lines[0].contains("failed") {
                waiting.push(tag);
                while !lines.iter().any(|line| line == "outbox has capacity") {
                    acked += 1;
                    assert!(acked <= 40, "{sizes:?}: nobody is told of room that is there");
                    lines = script.received(1, &ack(acked, acked));
                }
                told += 1;
            }
        }
        assert!(
            tries <= 40 + told && told <= 41,
            "{sizes:?}: {tries} tries, told {told} times"
        );
    }
}

#[test]
fn an_empty_outbox_reports_no_capacity_without_a_refusal() {
    let mut script = Script::open_with(small(0, 1000));
    let lines = script.publish("lobby", 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// A task that waits with a large body gets no notice of capacity that is too small for it.
#[test]
fn capacity_is_reported_when_the_smallest_refused_body_fits() {
    let mut script = Script::open_with(small(100, 100));
    let put = |script: &mut Script, tag, bytes: usize| {
        let body = Body::text(&"x".repeat(bytes - 2));
        script.publish_body("lobby", body, tag)[0].clone()
    };
    for tag in 1..=3 {
        assert_eq!(put(&mut script, tag, 24), format!("{tag} Queued"));
    }
    assert!(put(&mut script, 4, 80).starts_with("4 failed"));
    assert_eq!(script.received(1, &ack(1, 1)), ["1 acked 1"]);
    assert!(!script.session.has_capacity(60));
    assert_eq!(script.received(1, &ack(2, 2)), ["2 acked 2", "outbox has capacity"]);
    assert!(script.session.has_capacity(60) && !script.session.has_capacity(80));
    assert_eq!(script.received(1, &ack(3, 3)), ["3 acked 3", "outbox has capacity"]);
}

#[test]
fn a_message_whose_failure_was_reported_counts_until_its_number_is_settled() {
    let mut script = Script::open_with(small(3, 1000));
    for tag in 1..=3 {
        script.publish("lobby", tag);
    }
    script.input(Input::Offline);
    script.closed(1, 1006, "");
    assert_eq!(script.wait(120_000).len(), 3, "all are unconfirmed");
    assert!(script.publish("lobby", 4)[0].starts_with("4 failed: too many messages"));
    script.input(Input::Online);
    script.input(Input::Opened { generation: 2 });
    script.received(2, WELCOME);
    let lines = script.received(2, &nack(1, "withdrawn", None));
    assert_eq!(lines, ["outbox has capacity"]);
    assert_eq!(script.publish("lobby", 5)[0], "5 Queued");
}

#[test]
fn a_message_nested_deeper_than_the_server_takes_fails_without_using_a_number() {
    let mut script = Script::open();
    let deep = |depth: usize| Body::from_json(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).unwrap();
    let put = |script: &mut Script, tag, depth| {
        let body = deep(depth);
        script.publish_body("lobby", body, tag)
    };
    let lines = put(&mut script, 1, 9);
    assert!(
        lines[1].starts_with("1 failed: lists and objects in the message are nested 9 deep"),
        "{lines:?}"
    );
    assert!(put(&mut script, 2, 8)[1].contains(r#""seq":1,"#));
}

/// A text over the limit would end the connection, on each attempt.
#[test]
fn a_message_whose_line_would_be_over_the_limit_of_a_text_is_not_sent() {
    let narrow = WELCOME.replace(r#""text_bytes":1000"#, r#""text_bytes":190"#);
    // In JSON a quote takes two bytes.
    for room in ["lobby", &"\"".repeat(20)] {
        let mut script = Script::new();
        script.connect();
        script.input(Input::Opened { generation: 1 });
        script.received(1, &narrow);
        let put = |script: &mut Script, tag, bytes: usize| {
            let body = Body::text(&"x".repeat(bytes - 2));
            script.publish_body(room, body, tag)
        };
        let failed = put(&mut script, 1, 100)[1].clone();
        assert!(
            failed.starts_with("1 failed: the message has 100 bytes of JSON: the server takes at most"),
            "{failed}"
        );
        let max = failed.rsplit(' ').next().unwrap().parse().unwrap();
        let sent = put(&mut script, 2, max)[1].clone();
        assert!(sent.starts_with("1 -> ") && sent.len() <= "1 -> ".len() + 190, "{sent}");
    }
}

#[test]
fn publishes_without_any_answer_end_the_connection() {
    let mut script = Script::open();
    script.publish("lobby", 1);
    script.pass(20_000);
    script.received(1, "{\"ping\":{}}");
    assert_eq!(
        script.wait(10_000)[0],
        "disconnect 1 4408 the server left requests without an answer"
    );
}

#[test]
fn a_message_larger_than_the_server_takes_fails_without_using_a_number() {
    let mut script = Script::open();
    let body = Body::text(&"x".repeat(200));
    let lines = script.publish_body("lobby", body, 1);
    assert!(lines[1].starts_with("1 failed: the message has 202 bytes"), "{lines:?}");
    assert!(script.publish("lobby", 2)[1].contains(r#""seq":1,"#));
}

#[test]
fn a_message_that_expires_before_it_was_sent_leaves_no_gap() {
    let mut script = Script::with(small(10, 1000));
    script.publish("lobby", 1);
    assert_eq!(script.wait(60_000), ["1 failed: the message could not be sent in time"]);
    script.publish("lobby", 2);
    script.connect();
    script.input(Input::Opened { generation: 1 });
    assert!(script.received(1, WELCOME)[1].contains(&publish_line(1, true, 2)));
}

#[test]
fn a_message_that_expires_after_it_was_sent_is_withdrawn_and_its_outcome_reported() {
    let expire = || {
        let mut script = Script::open_with(small(10, 1000));
        script.publish("lobby", 1);
        script.input(Input::Offline);
        script.closed(1, 1006, "");
        assert_eq!(script.wait(60_000), [""; 0]);
        script
    };
    let back = |script: &mut Script| {
        script.input(Input::Online);
        script.input(Input::Opened { generation: 2 });
        script.received(2, WELCOME)
    };

    let mut script = expire();
    assert_eq!(back(&mut script)[1], format!("2 -> {}", withdraw_line(1, true, 1)));
    assert_eq!(script.received(2, &ack(1, 4)), ["1 acked 4"]);

    let mut script = expire();
    back(&mut script);
    assert_eq!(
        script.received(2, &nack(1, "withdrawn", None)),
        ["1 failed: the message could not be sent in time"]
    );

    // The number stays withdrawn, so that there is no gap before the next message.
    let mut script = expire();
    let lines = script.wait(60_000);
    assert!(lines[0].contains("it may have arrived"), "{lines:?}");
    script.publish("lobby", 2);
    assert_eq!(
        back(&mut script)[1],
        format!("2 -> {} + {}", withdraw_line(1, true, 1), publish_line(2, false, 2))
    );
}

#[test]
fn stopping_ends_every_message_and_a_later_start_leaves_no_gap() {
    let mut script = Script::open();
    for tag in 1..=4 {
        script.publish("lobby", tag);
    }
    let lines = script.stop();
    assert_eq!(lines[..2], ["disconnect 1 1000 ", "Stopped(Asked)"]);
    assert!(lines[2].contains("may have arrived"), "{lines:?}");
    assert!(
        lines[5].starts_with("4 failed: the connection was stopped"),
        "{lines:?}"
    );
    assert!(script.publish("lobby", 5)[0].starts_with("5 failed"));
    script.connect();
    script.input(Input::Opened { generation: 2 });
    script.publish("lobby", 6);
    let lines = script.received(2, WELCOME);
    assert_eq!(lines[1].matches("withdraw").count(), 3);
    script.received(2, &[nack(1, "withdrawn", None), ack(2, 1), ack(3, 2)].join("\n"));
    assert!(script.received(2, "{\"pong\":{}}").is_empty());
}

fn kept() -> ClientOptions {
    ClientOptions {
        keep: true,
        ..small(10, 1000)
    }
}

#[test]
fn numbers_are_stored_before_they_are_used_and_other_changes_soon() {
    let mut script = Script::open_with(kept());
    let lines = script.publish("lobby", 1);
    assert_eq!(lines[..2], ["1 Queued", "save"]);
    assert!(lines[2].starts_with("1 -> "));
    assert_eq!(script.received(1, &ack(1, 1)), ["1 acked 1"]);
    assert_eq!(script.wait(250), ["save"]);
    assert_eq!(script.wait(1000), [""; 0]);
}

#[test]
fn changes_are_stored_even_if_the_connection_ends() {
    let mut script = Script::open_with(kept());
    script.publish("lobby", 1);
    script.received(1, &ack(1, 1));
    script.put(Input::Offline);
    assert_eq!(script.closed(1, 1006, ""), ["Suspended(Offline)"]);
    assert_eq!(script.wait(250), ["save"]);
}

#[test]
fn a_restored_session_goes_on_with_its_key_its_numbers_and_its_messages() {
    let mut script = Script::open_with(kept());
    for tag in 1..=4 {
        script.publish("lobby", tag);
    }
    script.join("lobby", None);
    script.received(1, &format!("{}\n{}", ack(1, 1), joined_line("e1", 5, true)));
    let text = serde_json::to_string(&script.session.snapshot()).unwrap();
    let snapshot: talkback_protocol::session::client::Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot, script.session.snapshot());
    assert_eq!(snapshot.rooms[0].cursor.as_ref().unwrap().offset.get(), 5);

    let mut script = Script::restored(kept(), snapshot.clone(), Duration::from_secs(50));
    script.connect();
    assert!(script.input(Input::Opened { generation: 1 })[0].contains("00112233445566778899aabbccddeeff"));
    let lines = script.received(1, WELCOME);
    assert_eq!(
        lines[2],
        format!(
            "1 -> {} + {} + {}",
            publish_line(2, true, 2),
            publish_line(3, false, 3),
            publish_line(4, false, 4)
        )
    );
    script.received(1, &[ack(2, 2), ack(3, 3), ack(4, 4)].join("\n"));
    assert!(script.publish("lobby", 5)[2].contains(r#""seq":5,"#));

    let mut script = Script::restored(kept(), snapshot, Duration::from_secs(60));
    script.connect();
    script.input(Input::Opened { generation: 1 });
    assert!(
        script.received(1, WELCOME)[2].contains(&withdraw_line(2, true, 2)),
        "its time was over: withdrawn"
    );
}

#[test]
fn a_failure_by_time_is_stored_soon() {
    let mut script = Script::with(kept());
    script.publish("lobby", 1);
    assert_eq!(script.wait(59_999), ["save"]);
    assert_eq!(script.wait(1), ["1 failed: the message could not be sent in time"]);
    assert_eq!(script.wait(250), ["save"]);
}

#[test]
fn each_answer_restarts_the_timeout_for_the_others() {
    let mut script = Script::open();
    script.publish("lobby", 1);
    script.publish("lobby", 2);
    script.pass(20_000);
    script.received(1, &ack(1, 1));
    script.pass(20_000);
    assert_eq!(script.received(1, "{\"ping\":{}}"), ["1 -> {\"pong\":{}}"]);
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 1 4408 the server left requests without an answer"
    );
}

#[test]
fn a_body_as_large_as_the_outbox_is_taken_alone() {
    let mut script = Script::with(small(10, 20));
    let mut publish = |tag| {
        let body = Body::text(&"x".repeat(18));
        script.publish_body("lobby", body, tag)
    };
    assert_eq!(publish(1), ["1 Queued"]);
    let lines = publish(2);
    assert!(lines[0].starts_with("2 failed: too many messages"), "{lines:?}");
    assert!(!script.session.has_capacity(20), "it fits once the other one is gone");
}

#[test]
fn a_refusal_for_now_of_a_number_that_was_never_used_sends_nothing_again() {
    let mut script = Script::open();
    script.publish("lobby", 1);
    assert_eq!(script.received(1, &nack(2, "gap", Some(100))), [""; 0]);
    assert_eq!(script.wait(1_000), [""; 0]);
}

fn publish_text(script: &mut Script, tag: u64, characters: usize) -> String {
    let body = Body::text(&"x".repeat(characters));
    script.publish_body("lobby", body, tag)[0].clone()
}

#[test]
fn the_capacity_of_expired_messages_is_free_again() {
    let mut script = Script::with(small(2, 44));
    for tag in [1, 3] {
        assert_eq!(publish_text(&mut script, tag, 20), format!("{tag} Queued"));
        assert_eq!(publish_text(&mut script, tag + 1, 20), format!("{} Queued", tag + 1));
        assert!(publish_text(&mut script, 9, 20).starts_with("9 failed: too many messages"));
        script.wait(60_000);
    }
}

#[test]
fn capacity_is_reported_when_a_quarter_of_the_bytes_is_free() {
    let mut script = Script::open_with(small(100, 100));
    for tag in 1..=4 {
        publish_text(&mut script, tag, 20);
    }
    publish_text(&mut script, 5, 8);
    assert!(!script.session.has_capacity(5));
    let told = |lines: Vec<String>| lines.iter().any(|line| line == "outbox has capacity");
    assert!(!told(script.input(Input::Tick)));
    assert!(!told(script.received(1, &ack(1, 1))), "76 bytes of 100 are held");
    assert!(told(script.received(1, &ack(2, 2))), "54 bytes of 100 are held");
}

#[test]
fn a_later_message_delays_neither_the_expiry_of_an_earlier_one_nor_its_record() {
    let mut script = Script::with(kept());
    script.publish("lobby", 1);
    script.pass(200);
    script.publish("lobby", 2);
    assert_eq!(script.wait(50), ["save"]);
    assert_eq!(script.wait(59_749), [""; 0]);
    assert_eq!(script.wait(1), ["1 failed: the message could not be sent in time"]);
}

#[test]
fn capacity_is_reported_when_a_quarter_of_the_messages_is_settled() {
    let mut script = Script::open_with(small(8, 1000));
    for tag in 1..=8 {
        script.publish("lobby", tag);
    }
    assert!(!script.session.has_capacity(1));
    let told = |lines: Vec<String>| lines.iter().any(|line| line == "outbox has capacity");
    assert!(!told(script.received(1, &ack(1, 1))));
    assert!(told(script.received(1, &ack(2, 2))));
}
