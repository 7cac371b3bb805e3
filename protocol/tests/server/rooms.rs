//! Joining without gaps or duplicates, publishing, signals and pages.

use talkback_protocol::{
    Cursor,
    codec::MemberList,
    message::Member,
    session::server::{AppendOutcome, Input, Refusal, ServerOptions},
};

use super::script::{Script, config, done, epoch, later, message_line, name, offset, request};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const JOINED: &str =
    r#"{"joined":{"room":"lobby","epoch":"e1","head":9,"after":5,"recovered":true,"users":0,"members":[]}}"#;
const JOIN: &str = r#"{"join":{"room":"lobby"}}"#;
const LEAVE: &str = r#"{"leave":{"room":"lobby"}}"#;
const LEFT: &str = r#"-> {"left":{"room":"lobby"}}"#;

fn publish(seq: u64, body: &str) -> String {
    format!(r#"{{"publish":{{"room":"lobby","seq":{seq},"id":"00000000000000a{seq}","first":true,"body":{body}}}}}"#)
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
fn messages_that_exceed_one_text_are_sent_in_several() {
    let mut script = Script::open();
    script.received(JOIN);
    let lines = script.subscribed(1, 30);
    assert!(lines.len() > 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 1100));
    assert_eq!(lines.last().unwrap(), "live 1 lobby after 35");
}

#[test]
fn a_room_that_is_left_before_the_join_was_answered_stays_left() {
    let mut script = Script::open();
    script.received(JOIN);
    assert_eq!(script.received(LEAVE), ["unsubscribe 1 lobby", LEFT]);
    assert_eq!(script.received(JOIN), ["subscribe 2 lobby since None history 0"]);
    assert_eq!(
        script.subscribed(1, 0),
        [""; 0],
        "the answer to an earlier join is ignored"
    );
    assert_eq!(script.subscribed(2, 0).len(), 2);
    assert_eq!(script.received(LEAVE), ["unsubscribe 2 lobby", LEFT]);
    assert_eq!(
        script.received(LEAVE),
        [LEFT],
        "leave is answered although the room is not joined"
    );
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
        [r#"-> {"error":{"code":"too_many_rooms","message":"leave another room first","room":"c","kind":"join"}}"#]
    );
    let result = Err(later());
    assert_eq!(
        script.input(Input::Subscribed { id: 1, result }),
        [r#"-> {"error":{"code":"unavailable","message":"later","room":"lobby","kind":"join","retry_after_ms":70}}"#]
    );
    assert_eq!(script.received(JOIN).len(), 1, "a refused room counts as joined");
}

#[test]
fn joined_has_the_members_and_the_fork() {
    let ann = Member {
        user: talkback_protocol::UserName::parse("ann \"}}").unwrap(),
    };
    let mut script = Script::open();
    script.received(JOIN);
    let lines = script.subscribed_with(1, 0, |subscription| {
        subscription.users = 2;
        subscription.members = Some(MemberList::encode(&[ann.clone(), ann]));
        let offset = offset(4);
        subscription.fork = Some(Cursor { epoch: epoch(), offset });
    });
    assert_eq!(
        lines[0],
        r#"-> {"joined":{"room":"lobby","epoch":"e1","head":9,"after":5,"recovered":true,"fork":{"epoch":"e1","offset":4},"users":2,"members":[{"user":"ann \"}}"},{"user":"ann \"}}"}]}}"#
    );
    let without_list = JOINED.replace(r#""users":0,"members":[]"#, r#""users":3000"#);
    let mut script = Script::open();
    script.received(JOIN);
    let lines = script.subscribed_with(1, 0, |subscription| {
        subscription.users = 3_000;
        subscription.members = None;
    });
    assert_eq!(lines[0], format!("-> {without_list}"));
}

#[test]
fn no_text_exceeds_sent_text_bytes_unless_it_is_one_message() {
    let mut config = config();
    config.limits.sent_text_bytes = 300;
    let mut script = Script::open_with(config);
    script.received(JOIN);
    let many = vec![
        Member {
            user: talkback_protocol::UserName::parse("somebody").unwrap()
        };
        20
    ];
    let lines = script.subscribed_with(1, 5, |subscription| {
        subscription.users = 20;
        subscription.members = Some(MemberList::encode(&many));
    });
    assert!(
        lines[0].contains(r#""users":20}}"#),
        "the list must be absent: {lines:?}"
    );
    assert!(lines.iter().all(|line| line.len() <= 303), "{lines:?}");

    script.received(r#"{"history":{"id":1,"room":"lobby","before":9,"limit":3}}"#);
    let page = &script.page_of(1, 3, false)[0];
    assert!(page.len() <= 303, "{page}");
    assert!(
        page.contains(r#""offset":3"#) && !page.contains(r#""offset":1"#),
        "the page must have the newest messages: {page}"
    );
    assert!(page.ends_with(r#""more":true}}"#), "{page}");

    let mut config = super::script::config();
    config.limits.sent_text_bytes = 30;
    let mut script = Script::open_with(config);
    script.received(r#"{"history":{"id":1,"room":"lobby","before":9,"limit":3}}"#);
    let page = &script.page_of(1, 3, false)[0];
    assert_eq!(page.matches("offset").count(), 1, "{page}");
}

#[test]
fn the_server_may_end_a_membership_with_a_reason() {
    let mut script = Script::open();
    script.received(JOIN);
    script.subscribed(1, 0);
    let expelled = || Input::Expelled {
        id: 1,
        reason: Refusal::for_good("no_such_room", "the room is over"),
    };
    assert_eq!(
        script.input(expelled()),
        [r#"-> {"left":{"room":"lobby","code":"no_such_room","message":"the room is over"}}"#]
    );
    assert_eq!(script.input(expelled()), [""; 0]);
    assert_eq!(
        script.received(LEAVE),
        [LEFT],
        "each leave has its own answer, without a code"
    );
}

#[test]
fn messages_are_appended_in_order_and_their_answers_share_a_text() {
    let mut script = Script::open();
    let text = [publish(1, "1"), publish(2, "null")].join("\n");
    assert_eq!(
        script.received(&text),
        [
            "append lobby 1 00000000000000a1 first from ann 1",
            "append lobby 2 00000000000000a2 first from ann null"
        ]
    );
    script.put_appended(1, done(8));
    script.put_appended(2, AppendOutcome::Gap { epoch: epoch() });
    assert_eq!(
        script.drain(),
        [
            r#"-> {"ack":{"room":"lobby","seq":1,"epoch":"e1","offset":8,"at":1}} + {"nack":{"room":"lobby","seq":2,"epoch":"e1","code":"gap","message":"an earlier message is missing","retry_after_ms":0}}"#
        ]
    );
}

#[test]
fn a_conflict_and_a_forgotten_number_have_different_answers() {
    let mut script = Script::open();
    script.received(&[publish(1, "1"), publish(2, "1")].join("\n"));
    assert_eq!(
        script.appended(1, AppendOutcome::Conflict { epoch: epoch() }),
        [
            r#"-> {"nack":{"room":"lobby","seq":1,"epoch":"e1","code":"conflict","message":"the number belongs to another message of this key"}}"#
        ]
    );
    assert_eq!(
        script.appended(2, AppendOutcome::Forgotten { epoch: epoch() }),
        [r#"-> {"forgotten":{"room":"lobby","seq":2,"epoch":"e1"}}"#]
    );
}

#[test]
fn a_message_over_the_limit_in_flight_is_refused_for_now() {
    let mut script = Script::open();
    let text = [1, 2, 3].map(|seq| publish(seq, "1")).join("\n");
    let lines = script.received(&text);
    assert_eq!(lines.len(), 3);
    assert!(lines[2].contains(r#""seq":3,"code":"busy""#), "{lines:?}");
    script.appended(
        1,
        AppendOutcome::Refused {
            epoch: None,
            refusal: later(),
        },
    );
    assert_eq!(script.received(&publish(3, "1")).len(), 1);
}

#[test]
fn a_message_that_is_refused_permanently_is_settled_in_the_log() {
    let mut script = Script::open();
    let long = format!("\"{}\"", "x".repeat(30));
    assert_eq!(
        script.received(&publish(1, &long)),
        ["settle lobby 1 00000000000000a1 too_large"]
    );
    let outcome = AppendOutcome::Refused {
        epoch: Some(epoch()),
        refusal: Refusal::for_good("too_large", "m"),
    };
    assert_eq!(
        script.appended(1, outcome),
        [r#"-> {"nack":{"room":"lobby","seq":1,"epoch":"e1","code":"too_large","message":"m"}}"#]
    );
    assert_eq!(
        script.received(r#"{"withdraw":{"room":"lobby","seq":2,"id":"00000000000000a2"}}"#),
        ["settle lobby 2 00000000000000a2 withdrawn"]
    );
    assert_eq!(
        script.received(&publish(3, "[[[[1]]]]")),
        ["settle lobby 3 00000000000000a3 too_deep"]
    );
}

#[test]
fn a_publish_and_its_withdrawal_both_count_as_in_flight() {
    let mut script = Script::open();
    let withdraw = r#"{"withdraw":{"room":"lobby","seq":1,"id":"00000000000000a1"}}"#;
    assert_eq!(script.received(&publish(1, "1")).len(), 1);
    assert_eq!(script.received(withdraw), ["settle lobby 1 00000000000000a1 withdrawn"]);
    assert!(script.received(withdraw)[0].contains(r#""code":"busy""#));
}

#[test]
fn lines_with_a_room_name_against_the_servers_rule_are_refused_without_other_effects() {
    fn no_slash(room: &talkback_protocol::RoomName) -> Result<(), Refusal> {
        if room.contains('/') {
            return Err(Refusal::for_good("bad_room", "no slashes"));
        }
        Ok(())
    }
    for (room, code, message) in [
        ("a/b", "bad_room", "no slashes"),
        (
            "~log",
            "forbidden",
            "rooms whose names begin with ~ are the server's own: what is addressed to a user comes by itself after the line `direct`, and only a back end publishes there",
        ),
    ] {
        let mut script = Script::open_with(ServerOptions {
            check_room: no_slash,
            ..config()
        });
        for (kind, fields) in [
            ("join", ""),
            ("signal", r#","body":1"#),
            ("history", r#","id":4,"before":1,"limit":1"#),
        ] {
            let id = if kind == "history" { r#","id":4"# } else { "" };
            assert_eq!(
                script.received(&format!(r#"{{"{kind}":{{"room":"{room}"{fields}}}}}"#)),
                [format!(
                    r#"-> {{"error":{{"code":"{code}","message":"{message}","room":"{room}","kind":"{kind}"{id}}}}}"#
                )]
            );
        }
        for (kind, fields) in [("publish", r#","body":1"#), ("withdraw", "")] {
            let line = format!(r#"{{"{kind}":{{"room":"{room}","seq":3,"id":"00000000000000aa"{fields}}}}}"#);
            assert_eq!(
                script.received(&line),
                [format!(
                    r#"-> {{"nack":{{"room":"{room}","seq":3,"code":"{code}","message":"{message}"}}}}"#
                )]
            );
        }
        let leave = script.received(&LEAVE.replace("lobby", room));
        assert_eq!(leave, [LEFT.replace("lobby", room)], "leave is answered for every name");
        assert!(!script.session.is_closed());
        assert_eq!(script.received(JOIN).len(), 1, "a refused room counts as joined");
    }
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
    let deep = signal.replace(r#""typing""#, "[[[[1]]]]");
    assert!(script.received(&deep)[0].contains(r#""code":"too_deep""#));
}

#[test]
fn pages_are_bounded_in_size_and_number_and_carry_the_id_of_their_request() {
    let history = |id| format!(r#"{{"history":{{"id":{id},"room":"lobby","before":9,"limit":50}}}}"#);
    let mut config = config();
    config.limits.history = 2;
    let mut script = Script::open_with(config);
    assert_eq!(script.received(&history(4)), ["read 4 lobby before 9 limit 3"]);
    assert_eq!(script.received(&history(5)), ["read 5 lobby before 9 limit 3"]);
    assert_eq!(
        script.received(&history(6)),
        [
            r#"-> {"error":{"code":"busy","message":"too many requests are open","room":"lobby","kind":"history","id":6,"retry_after_ms":200}}"#
        ]
    );
    let object = message_line(1).replace(r#"{"message":"#, "");
    let object = &object[..object.len() - 1];
    assert_eq!(
        script.page(5, 1),
        [format!(
            r#"-> {{"page":{{"id":5,"room":"lobby","epoch":"e1","messages":[{object}],"more":true}}}}"#
        )],
        "pages may be answered in any order"
    );
    assert_eq!(
        script.received(&history(9).replace("50", "0")),
        ["read 9 lobby before 9 limit 1"]
    );
    assert_eq!(
        script.page_of(9, 1, false),
        [r#"-> {"page":{"id":9,"room":"lobby","epoch":"e1","messages":[],"more":true}}"#],
        "the limit was 0, and there is a message"
    );
    let (id, room, result) = (request(4), name("lobby"), Err(later()));
    assert_eq!(
        script.input(Input::PageRead { id, room, result }),
        [
            r#"-> {"error":{"code":"unavailable","message":"later","room":"lobby","kind":"history","id":4,"retry_after_ms":70}}"#
        ]
    );
    assert_eq!(script.received(&history(7)).len(), 1);
    assert!(
        script.received(&history(8))[0].starts_with("read 8"),
        "no request is open"
    );
}

#[test]
fn lines_share_a_text_up_to_its_size_limit() {
    let pong = "{\"pong\":{}}";
    for (transmit_bytes, texts) in [(2 * pong.len() + 1, 1), (2 * pong.len(), 2)] {
        let mut script = Script::open_with(ServerOptions {
            transmit_bytes,
            ..config()
        });
        assert_eq!(script.received("{\"ping\":{}}\n{\"ping\":{}}").len(), texts);
    }
}

#[test]
fn a_body_may_have_exactly_body_bytes() {
    for (characters, refused) in [(18, false), (19, true)] {
        let mut script = Script::open();
        let body = format!(r#""{}""#, "x".repeat(characters));
        let lines = script.received(&publish(1, &body));
        assert_eq!(lines[0].ends_with("too_large"), refused, "{lines:?}");
    }
}

#[test]
fn users_are_found_by_members_within_the_bound_of_open_requests() {
    let find = r#"{"find":{"id":4,"room":"lobby","name":"an"}}"#;
    let refused = |message: &str, code: &str, retry: &str| {
        format!(
            r#"-> {{"error":{{"code":"{code}","message":"{message}","room":"lobby","kind":"find","id":4{retry}}}}}"#
        )
    };
    let mut script = Script::open();
    assert_eq!(
        script.received(find),
        [refused("join the room to find its users", "not_joined", "")]
    );
    script.received(JOIN);
    assert_eq!(script.received(find), ["find 4 lobby an"]);
    assert_eq!(
        script.received(find),
        [refused(
            "too many requests are open",
            "busy",
            r#","retry_after_ms":200"#
        )]
    );
    assert_eq!(
        script.found(4, &["ann", "李安"], true),
        [r#"-> {"found":{"id":4,"room":"lobby","members":[{"user":"ann"},{"user":"李安"}],"more":true}}"#]
    );
    assert_eq!(
        script.received(&find.replace(r#","name":"an""#, "")),
        ["find 4 lobby any name"]
    );
    let reserved = find.replace("lobby", "~u.1");
    assert!(script.received(&reserved)[0].contains(r#""code":"forbidden""#));
}
