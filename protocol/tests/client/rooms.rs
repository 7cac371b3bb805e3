//! Joining, reading without gaps and duplicates, leaving, and older messages.

use talkback_protocol::{
    Body,
    session::client::{ClientOptions, Input},
};

use super::script::{Script, WELCOME, joined_line, message_line, name};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_room_is_joined_when_the_session_opens_and_again_from_its_cursor() {
    let mut script = Script::new();
    script.connect();
    script.join("lobby", None);
    script.input(Input::Opened { generation: 1 });
    assert_eq!(
        script.received(1, WELCOME),
        ["open as ann s1", r#"1 -> {"join":{"room":"lobby"}}"#]
    );
    assert_eq!(
        script.received(1, &joined_line("e1", 5, true)),
        ["lobby: joined after 5"]
    );
    assert_eq!(script.received(1, &message_line(6)), ["lobby: 6 6"]);
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert_eq!(
        script.received(2, WELCOME)[1],
        r#"2 -> {"join":{"room":"lobby","since":{"epoch":"e1","offset":6}}}"#
    );
    let text = format!("{}\n{}", joined_line("e1", 6, true), message_line(7));
    assert_eq!(script.received(2, &text), ["lobby: recovered after 6", "lobby: 7 7"]);
}

#[test]
fn a_room_without_messages_recovers_too() {
    // Other clients lose the messages between a join and the first message (socket.io#4888, #5538).
    let mut script = Script::joined();
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert!(script.received(2, WELCOME)[1].contains(r#""since":{"epoch":"e1","offset":5}"#));
}

#[test]
fn a_room_that_cannot_be_recovered_is_reset() {
    let mut script = Script::open();
    script.join("lobby", Some(("e1", 3)));
    assert_eq!(
        script.received(1, &joined_line("e2", 9, false)),
        ["lobby: reset after 9"]
    );
    assert_eq!(script.received(1, &message_line(10)), ["lobby: 10 10"]);
}

#[test]
fn recovered_from_another_offset_than_the_cursor_is_a_violation() {
    let mut script = Script::open();
    script.join("lobby", Some(("e1", 3)));
    assert!(script.received(1, &joined_line("e1", 4, true))[0].starts_with("disconnect 1 4400 joined says recovered"));
    let mut script = Script::open();
    script.join("lobby", Some(("e1", 3)));
    assert!(script.received(1, &joined_line("e2", 3, true))[0].starts_with("disconnect 1 4400 joined says recovered"));
}

#[test]
fn a_joined_without_a_join_is_ignored() {
    let mut script = Script::joined();
    assert_eq!(script.received(1, &joined_line("e2", 9, true)), [""; 0]);
    assert_eq!(script.received(1, &message_line(6)), ["lobby: 6 6"]);
    script.leave("lobby");
    assert_eq!(script.received(1, &joined_line("e2", 9, true)), [""; 0]);
}

/// Joined in epoch e2, which forked from e1 at offset 7.
fn forked(after: u64, recovered: bool) -> String {
    let fork = r#""fork":{"epoch":"e1","offset":7},"users""#;
    joined_line("e2", after, recovered).replace(r#""users""#, fork)
}

/// A member of `lobby` in e1 from offset 5 on, with own messages at 7, 8 and 9, that has read up to `read` and is on
/// connection 2.
fn acknowledged(config: ClientOptions, read: u64) -> Script {
    let mut script = Script::open_with(config);
    script.join("lobby", None);
    script.received(1, &joined_line("e1", 5, true));
    for (tag, offset) in [(1, 9), (2, 7), (3, 8)] {
        script.publish("lobby", tag);
        script.received(1, &super::script::ack(tag, offset));
    }
    for offset in 6..=read {
        script.received(1, &message_line(offset));
    }
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    script.received(2, WELCOME);
    script
}

#[test]
fn a_forked_log_recovers_the_shared_messages_and_the_lost_ones_are_reported() {
    let mut script = acknowledged(ClientOptions::default(), 6);
    assert_eq!(
        script.received(2, &forked(6, true)),
        ["lobby: lost [8, 9] of e1", "lobby: recovered after 6"]
    );
    assert_eq!(script.received(2, &message_line(7)), ["lobby: 7 7"]);
    script.closed(2, 1006, "");
    script.wait(600);
    script.input(Input::Opened { generation: 3 });
    assert!(script.received(3, WELCOME)[1].contains(r#""since":{"epoch":"e2","offset":7}"#));
    assert_eq!(
        script.received(3, &forked(7, true)),
        ["lobby: recovered after 7"],
        "lost once"
    );

    let mut script = acknowledged(ClientOptions::default(), 9);
    assert_eq!(
        script.received(2, &forked(7, false)),
        ["lobby: lost [8, 9] of e1", "lobby: reset after 7"]
    );
    // After the fork, or from another epoch, nothing can be recovered.
    let mut script = acknowledged(ClientOptions::default(), 8);
    assert!(script.received(2, &forked(8, true))[0].starts_with("disconnect 2 4400 joined says recovered"));
    let mut script = acknowledged(ClientOptions::default(), 6);
    let other = forked(6, true).replace(r#""fork":{"epoch":"e1"#, r#""fork":{"epoch":"e0"#);
    assert!(script.received(2, &other)[0].starts_with("disconnect 2 4400 joined says recovered"));
}

#[test]
fn the_newest_acknowledged_messages_are_remembered() {
    let config = ClientOptions {
        acknowledged: 2,
        ..ClientOptions::default()
    };
    let mut script = acknowledged(config.clone(), 6);
    assert_eq!(script.received(2, &forked(6, true))[0], "lobby: lost [8] of e1");
    let mut script = acknowledged(
        ClientOptions {
            acknowledged: 0,
            ..config
        },
        6,
    );
    assert_eq!(script.received(2, &forked(6, true)), ["lobby: recovered after 6"]);
}

/// Expelled while its own `leave` was in flight: one `left` is the server's decision, the other one the answer.
#[test]
fn two_left_that_cross_end_one_membership() {
    let mut script = Script::joined();
    script.leave("lobby");
    assert_eq!(script.join("lobby", None), [""; 0]);
    let expelled = r#"{"left":{"room":"lobby","code":"forbidden","message":"out"}}"#;
    assert_eq!(script.received(1, expelled), [""; 0]);
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        [r#"1 -> {"join":{"room":"lobby"}}"#]
    );
    assert_eq!(
        script.received(1, &joined_line("e1", 5, true)),
        ["lobby: joined after 5"]
    );
    assert!(script.received(1, expelled)[0].starts_with("lobby: Left(Some(LeftReason"));
}

#[test]
fn a_list_that_is_absent_is_not_an_empty_one() {
    let mut script = Script::joined();
    let mut told = |fields: &str| {
        let line = format!(r#"{{"presence":{{"room":"lobby","users":2{fields}}}}}"#);
        script.received(1, &line).swap_remove(0)
    };
    let presence = |change: &str| format!("lobby: Presence {{ users: 2, change: {change} }}");
    let bob = r#"Member { user: UserName("bob") }"#;
    assert_eq!(told(""), presence("Untold"));
    assert_eq!(told(r#","members":[]"#), presence("List([])"));
    assert_eq!(
        told(r#","members":[{"user":"bob"}]"#),
        presence(&format!("List([{bob}])"))
    );
    assert_eq!(
        told(r#","left":[{"user":"bob"}]"#),
        presence(&format!("Changed {{ joined: [], left: [{bob}] }}"))
    );
}

/// A body is for the application. One that its types cannot hold does not end the connection.
#[test]
fn a_body_that_cannot_be_read_is_no_fault_of_the_line() {
    let mut script = Script::joined();
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (offset, body) in (6..).zip([&*deep, r#""\ud800""#, "1e99999", "null"]) {
        let line = message_line(offset).replace(&format!(r#""body":{offset}"#), &format!(r#""body":{body}"#));
        assert_eq!(script.received(1, &line), [format!("lobby: {offset} {body}")]);
    }
}

#[test]
fn a_message_comes_once() {
    // The same offset replayed twice (socket.io#5419).
    let mut script = Script::joined();
    let text = [6, 6, 5, 7, 6].map(message_line).join("\n");
    assert_eq!(script.received(1, &text), ["lobby: 6 6", "lobby: 7 7"]);
}

#[test]
fn a_missing_message_is_fetched_by_leaving_and_joining_again() {
    let mut script = Script::joined();
    assert_eq!(
        script.received(1, &[8, 9].map(message_line).join("\n")),
        [r#"1 -> {"leave":{"room":"lobby"}}"#]
    );
    assert_eq!(
        script.received(1, &message_line(6)),
        [""; 0],
        "it belongs to the membership that ends"
    );
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        [r#"1 -> {"join":{"room":"lobby","since":{"epoch":"e1","offset":5}}}"#]
    );
    let text = format!(
        "{}\n{}",
        joined_line("e1", 5, true),
        [6, 7].map(message_line).join("\n")
    );
    assert_eq!(
        script.received(1, &text),
        ["lobby: recovered after 5", "lobby: 6 6", "lobby: 7 7"]
    );
}

#[test]
fn nothing_of_a_room_comes_after_leaving_and_joining_again_waits_for_left() {
    let mut script = Script::joined();
    let leave = script.leave("lobby");
    assert_eq!(leave, [r#"1 -> {"leave":{"room":"lobby"}}"#]);
    assert_eq!(script.join("lobby", None), [""; 0]);
    assert_eq!(script.received(1, &message_line(6)), [""; 0]);
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        [r#"1 -> {"join":{"room":"lobby"}}"#]
    );
}

#[test]
fn a_room_that_was_being_left_when_the_connection_ended_can_be_joined_at_once() {
    let mut script = Script::joined();
    script.leave("lobby");
    script.closed(1, 1006, "");
    script.wait_for_attempt();
    script.input(Input::Opened { generation: 2 });
    script.received(2, WELCOME);
    assert_eq!(script.join("lobby", None), [r#"2 -> {"join":{"room":"lobby"}}"#]);
}

#[test]
fn a_member_of_a_quiet_room_waits_for_no_answer() {
    let mut script = Script::joined();
    for _ in 0..4 {
        assert_eq!(script.wait(20_000), [""; 0]);
        assert_eq!(script.received(1, r#"{"ping":{}}"#), [r#"1 -> {"pong":{}}"#]);
    }
}

#[test]
fn the_server_may_end_a_membership() {
    let mut script = Script::joined();
    assert_eq!(
        script.received(1, r#"{"left":{"room":"lobby"}}"#),
        ["lobby: Left(None)"]
    );
    assert_eq!(script.session.cursor(&name("lobby")), None);
}

#[test]
fn a_join_is_refused_for_good_or_for_now() {
    let error = r#"{"error":{"code":"busy","message":"m","room":"lobby","kind":"join","retry_after_ms":700}}"#;
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
    let presence = r#"{"presence":{"room":"lobby","users":2,"joined":[{"user":"bob"}],"left":[]}}"#;
    let signal = r#"{"signal":{"room":"lobby","from":{"sender":"s2","user":"bob"},"body":"typing"}}"#;
    let mut script = Script::joined();
    assert_eq!(script.received(1, presence).len(), 1);
    assert_eq!(script.received(1, signal).len(), 1);
    let ours = || Body::text("typing");
    assert_eq!(
        script.signal("lobby", ours()),
        [r#"1 -> {"signal":{"room":"lobby","body":"typing"}}"#]
    );
    for (body, code) in [
        ("x".repeat(101), "too_large"),
        (format!("{}{}", "[".repeat(9), "]".repeat(9)), "too_deep"),
    ] {
        let body = Body::from_json(&body).unwrap_or_else(|_| Body::text(&body));
        assert_eq!(script.signal("lobby", body), [format!("fault {code}")]);
    }
    let mut script = Script::open();
    assert_eq!(script.received(1, presence), [""; 0]);
    assert_eq!(script.received(1, signal), [""; 0]);
    assert_eq!(script.signal("lobby", ours()), [""; 0]);
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

fn page(id: u64, messages: &str) -> String {
    format!(r#"{{"page":{{"id":{id},"room":"lobby","epoch":"e1","messages":[{messages}],"more":false}}}}"#)
}

fn asked(generation: u64, id: u64, before: u64) -> String {
    format!(r#"{generation} -> {{"history":{{"id":{id},"room":"lobby","before":{before},"limit":5}}}}"#)
}

fn no_page(id: u64, code: &str, retry_after_ms: Option<u64>) -> String {
    let retry = retry_after_ms.map_or(String::new(), |pause| format!(r#","retry_after_ms":{pause}"#));
    format!(r#"{{"error":{{"code":"{code}","message":"no {code}","room":"lobby","kind":"history","id":{id}{retry}}}}}"#)
}

#[test]
fn as_many_pages_are_open_as_the_server_takes_and_their_answers_come_in_any_order() {
    let mut script = Script::open();
    assert_eq!(script.history(9, 1), [asked(1, 1, 9)]);
    assert_eq!(script.history(4, 2), [asked(1, 2, 4)]);
    assert_eq!(script.history(3, 3), [""; 0], "the server takes two");
    assert_eq!(
        script.received(1, &page(2, "")),
        ["page 2: 0 messages, more: false".to_owned(), asked(1, 3, 3)]
    );
    assert_eq!(script.received(1, &page(2, "")), [""; 0], "answered already");
    assert_eq!(script.received(1, &page(3, "")), ["page 3: 0 messages, more: false"]);
    assert_eq!(script.received(1, &page(1, "")), ["page 1: 0 messages, more: false"]);
}

#[test]
fn pages_are_asked_for_again_after_a_cut_and_end_with_the_session() {
    let mut script = Script::open();
    script.history(9, 1);
    script.history(4, 2);
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert_eq!(
        script.received(2, WELCOME)[1..],
        [format!("{} + {}", asked(2, 1, 9), &asked(2, 2, 4)[5..])]
    );
    assert_eq!(
        script.received(2, &no_page(1, "forbidden", None)),
        ["page 1: no forbidden"]
    );
    assert!(script.stop().contains(&"page 2: the connection was stopped".to_owned()));
}

#[test]
fn a_page_refused_for_now_holds_up_no_other() {
    let mut script = Script::open();
    script.history(9, 1);
    assert_eq!(script.received(1, &no_page(1, "busy", Some(700))), [""; 0]);
    assert_eq!(script.history(4, 2), [asked(1, 2, 4)]);
    assert_eq!(script.history(3, 3), [asked(1, 3, 3)]);
    script.received(1, &page(2, ""));
    script.received(1, &page(3, ""));
    assert_eq!(script.wait(699), [""; 0]);
    assert_eq!(script.wait(1), [asked(1, 1, 9)]);
}

#[test]
fn too_many_requests_for_pages_pause_all_of_them() {
    let mut script = Script::open();
    script.history(9, 1);
    assert_eq!(script.received(1, &no_page(1, "rate", Some(700))), [""; 0]);
    assert_eq!(script.history(4, 2), [""; 0]);
    assert_eq!(script.wait(699), [""; 0]);
    assert_eq!(
        script.wait(1),
        [format!("{} + {}", asked(1, 1, 9), &asked(1, 2, 4)[5..])]
    );
}

/// `welcome` of a server that finds users.
fn welcome_with_find() -> String {
    WELCOME.replace(r#""limits""#, r#""find":true,"limits""#)
}

fn found(id: u64, names: &[&str]) -> String {
    let members: Vec<_> = names.iter().map(|name| format!(r#"{{"user":"{name}"}}"#)).collect();
    let members = members.join(",");
    format!(r#"{{"found":{{"id":{id},"room":"lobby","members":[{members}],"more":true}}}}"#)
}

#[test]
fn users_are_searched_beside_pages_and_again_after_a_cut() {
    let mut script = Script::new();
    script.connect();
    script.input(Input::Opened { generation: 1 });
    script.received(1, &welcome_with_find());
    let asked_for =
        |generation: u64, id: u64| format!(r#"{generation} -> {{"find":{{"id":{id},"room":"lobby","name":"an"}}}}"#);
    assert_eq!(script.find("an", 1), [asked_for(1, 1)]);
    assert_eq!(script.history(4, 2), [asked(1, 2, 4)]);
    assert_eq!(script.find("an", 3), [""; 0], "the server takes two requests");
    assert_eq!(script.received(1, &found(2, &["ann"])), [""; 0], "2 is for a page");
    assert_eq!(script.received(1, &page(1, "")), [""; 0], "1 is for users");
    assert_eq!(
        script.received(1, &found(1, &["ann", "Hanna"])),
        [r#"found 1: ["ann", "Hanna"], more: true"#.to_owned(), asked_for(1, 3)]
    );
    script.closed(1, 1006, "");
    script.wait(300);
    script.input(Input::Opened { generation: 2 });
    assert_eq!(
        script.received(2, &welcome_with_find())[1..],
        [format!("{} + {}", asked(2, 2, 4), &asked_for(2, 3)[5..])]
    );
    assert_eq!(
        script.received(2, &no_page(3, "not_joined", None).replace("history", "find")),
        ["found 3: no not_joined"]
    );
    script.received(2, &page(2, ""));
    assert_eq!(script.find("", 4), [r#"2 -> {"find":{"id":4,"room":"lobby"}}"#]);
    assert!(
        script
            .stop()
            .contains(&"found 4: the connection was stopped".to_owned())
    );
}

#[test]
fn a_search_waits_until_its_room_is_joined_or_the_join_is_refused_for_good() {
    let mut script = Script::new();
    script.connect();
    script.join("lobby", None);
    script.find("an", 1);
    script.input(Input::Opened { generation: 1 });
    let join = r#"1 -> {"join":{"room":"lobby"}}"#;
    assert_eq!(script.received(1, &welcome_with_find())[1..], [join]);
    assert_eq!(script.history(4, 2), [asked(1, 2, 4)], "a page does not wait");
    let refused = |code: &str, retry: &str| {
        format!(r#"{{"error":{{"code":"{code}","message":"no","room":"lobby","kind":"join"{retry}}}}}"#)
    };
    let busy = refused("busy", r#","retry_after_ms":700"#);
    assert_eq!(script.received(1, &busy), [""; 0]);
    assert_eq!(script.wait(700), [join]);
    let found_after = |id: u64| format!(r#"1 -> {{"find":{{"id":{id},"room":"lobby","name":"an"}}}}"#);
    assert_eq!(
        script.received(1, &joined_line("e1", 5, true)),
        ["lobby: joined after 5".to_owned(), found_after(1)]
    );
    script.received(1, &found(1, &["ann"]));
    let leave = r#"1 -> {"leave":{"room":"lobby"}}"#;
    assert_eq!(script.received(1, &message_line(7)), [leave], "a message is missing");
    assert_eq!(script.find("an", 3), [""; 0]);
    let left = r#"{"left":{"room":"lobby"}}"#;
    assert_eq!(script.received(1, left).len(), 1, "it is joined again");
    let gone = script.received(1, &refused("forbidden", ""));
    assert_eq!(
        gone.last(),
        Some(&found_after(3)),
        "the server says why there is no answer"
    );
    script.received(1, &found(3, &[]));
    script.join("lobby", None);
    script.leave("lobby");
    assert_eq!(script.find("an", 4), [found_after(4)]);
}

#[test]
fn a_server_that_finds_no_users_is_not_asked_for_them() {
    let mut script = Script::open();
    let refused = "found 1: this server does not find users by name";
    assert_eq!(script.find("an", 1), [refused]);
    assert_eq!(script.history(4, 2), [asked(1, 2, 4)], "pages go on");
}

#[test]
fn a_cursor_follows_what_was_delivered() {
    let mut script = Script::joined();
    let cursor = |script: &Script, room: &str| {
        let cursor = script.session.cursor(&name(room));
        cursor.map(|cursor| (cursor.epoch.to_string(), cursor.offset.get()))
    };
    assert_eq!(cursor(&script, "lobby"), Some(("e1".to_owned(), 5)));
    script.received(1, &message_line(6));
    assert_eq!(cursor(&script, "lobby"), Some(("e1".to_owned(), 6)));
    assert_eq!(cursor(&script, "other"), None);
}

#[test]
fn the_fork_of_one_log_loses_nothing_of_another_room_or_of_its_own_present_epoch() {
    let mut script = Script::open();
    let in_b = |frame: String| frame.replace(r#""room":"lobby""#, r#""room":"b""#);
    script.join("lobby", None);
    script.join("b", None);
    script.received(1, &joined_line("e1", 5, true));
    script.received(1, &in_b(joined_line("e1", 5, true)));
    for (tag, room) in [(1, "lobby"), (2, "b")] {
        script.publish(room, tag);
        script.received(1, &super::script::ack_in(room, tag, 8));
    }
    let again = |script: &mut Script, generation: u64| {
        script.closed(generation - 1, 1006, "");
        script.wait_for_attempt();
        script.input(Input::Opened { generation });
        script.received(generation, WELCOME);
    };
    again(&mut script, 2);
    assert_eq!(
        script.received(2, &in_b(joined_line("e1", 5, true))),
        ["b: recovered after 5"]
    );
    assert_eq!(
        script.received(2, &forked(5, true)),
        ["lobby: lost [8] of e1", "lobby: recovered after 5"]
    );
    again(&mut script, 3);
    assert_eq!(
        script.received(3, &in_b(forked(5, true))),
        ["b: lost [8] of e1", "b: recovered after 5"]
    );
}

#[test]
fn no_more_pages_are_asked_for_at_once_than_the_configuration_allows() {
    let mut script = Script::open_with(ClientOptions {
        pages: 3,
        ..ClientOptions::default()
    });
    for tag in 1..=3 {
        let lines = script.history(9, tag);
        assert!(!lines.iter().any(|line| line.starts_with("page")), "{lines:?}");
    }
    let too_many = script.history(9, 4);
    assert!(too_many[0].starts_with("page 4: "), "{too_many:?}");
    script.received(1, &page(1, ""));
    assert_eq!(script.history(9, 5), [""; 0], "there is room for one again");
}

#[test]
fn a_page_that_never_comes_ends_the_connection() {
    let mut script = Script::open();
    script.history(9, 1);
    script.pass(20_000);
    script.received(1, "{\"ping\":{}}");
    assert_eq!(script.wait(9_999), [""; 0]);
    assert_eq!(
        script.wait(1)[0],
        "disconnect 1 4408 the server left requests without an answer"
    );
}

#[test]
fn as_many_rooms_are_joined_as_the_configuration_allows() {
    let mut script = Script::open_with(ClientOptions {
        rooms: 1,
        ..ClientOptions::default()
    });
    assert_eq!(script.join("lobby", None), [r#"1 -> {"join":{"room":"lobby"}}"#]);
    assert_eq!(script.join("lobby", None), [""; 0]);
    assert_eq!(script.join("b", None), ["b: refused too_many_rooms"]);
    script.received(1, &joined_line("e1", 5, true));
    assert_eq!(script.join("lobby", None), [""; 0]);
    script.leave("lobby");
    script.received(1, r#"{"left":{"room":"lobby"}}"#);
    assert_eq!(script.join("b", None), [r#"1 -> {"join":{"room":"b"}}"#]);
}

#[test]
fn leaving_a_room_that_was_not_joined_does_nothing() {
    let mut script = Script::open();
    assert_eq!(script.leave("lobby"), [""; 0]);
}

#[test]
fn a_snapshot_holds_each_room_once_whether_something_is_pending_there_or_not() {
    let mut script = Script::joined();
    let rooms = |script: &Script| {
        let rooms = script.session.snapshot().rooms;
        let shown = rooms.iter().map(|room| {
            let offset = room.cursor.as_ref().map(|cursor| cursor.offset.get());
            (room.room.to_string(), offset, room.pending.len())
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(rooms(&script), [("lobby".to_owned(), Some(5), 0)]);
    script.publish("lobby", 1);
    assert_eq!(rooms(&script), [("lobby".to_owned(), Some(5), 1)]);
}
