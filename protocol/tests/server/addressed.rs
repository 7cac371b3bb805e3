//! What is addressed to the user: the rooms to which the server subscribes a session.

use talkback_protocol::session::server::{Input, Refusal, ServerOptions};

use super::script::{Script, config, later, name};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const DIRECT: &str = r#"{"direct":{}}"#;

/// A session of a server that addresses users.
fn open() -> Script {
    Script::open_with(ServerOptions {
        direct: true,
        ..config()
    })
}

fn addressed(script: &mut Script, rooms: &[&str]) -> Vec<String> {
    let rooms = rooms.iter().map(|room| name(room)).collect();
    script.input(Input::Addressed(Ok(rooms)))
}

#[test]
fn the_session_is_subscribed_to_the_rooms_of_its_user_from_the_cursors_of_the_client() {
    let mut script = open();
    let since = r#"{"direct":{"since":[{"room":"~g.staff","epoch":"e1","offset":5},{"room":"~g.other","epoch":"e1","offset":7}],"history":50}}"#;
    assert_eq!(script.received(since), ["address"]);
    assert_eq!(
        addressed(&mut script, &["~u.ann", "~g.staff"]),
        [
            "subscribe 1 ~u.ann since None history 3",
            "subscribe 2 ~g.staff since Some(5) history 3"
        ],
        "and not to a room that the client names"
    );
    let outputs = script.subscribed(2, 0);
    assert!(
        outputs[0].starts_with(r#"-> {"joined":{"room":"~g.staff","epoch":"e1""#),
        "{outputs:?}"
    );
    assert_eq!(outputs[1], "live 2 ~g.staff after 5");
}

#[test]
fn the_welcome_says_whether_users_are_addressed_and_otherwise_direct_is_refused() {
    for direct in [false, true] {
        let mut script = Script::with(ServerOptions { direct, ..config() });
        script.received(super::script::HELLO);
        let welcome = script.identified("ann", None);
        assert_eq!(welcome[0].contains(r#""direct":true"#), direct);
    }
    assert_eq!(
        Script::open().received(DIRECT),
        [r#"-> {"error":{"code":"forbidden","message":"this server does not address users","kind":"direct"}}"#]
    );
}

#[test]
fn rooms_that_are_followed_already_are_not_subscribed_again() {
    let mut script = open();
    script.received(DIRECT);
    addressed(&mut script, &["~u.ann"]);
    script.subscribed(1, 0);
    script.received(DIRECT);
    assert_eq!(
        addressed(&mut script, &["~u.ann", "~g.staff"]),
        ["subscribe 2 ~g.staff since None history 0"]
    );
    assert_eq!(
        script.received(r#"{"leave":{"room":"~u.ann"}}"#),
        ["unsubscribe 1 ~u.ann", r#"-> {"left":{"room":"~u.ann"}}"#]
    );
    script.received(DIRECT);
    assert_eq!(
        addressed(&mut script, &["~u.ann", "~g.staff"]),
        ["subscribe 3 ~u.ann since None history 0"]
    );
}

#[test]
fn one_direct_at_a_time_is_open_and_its_refusals_name_it() {
    let mut script = open();
    script.received(DIRECT);
    let busy = script.received(DIRECT);
    assert!(
        busy[0].contains(r#""code":"busy""#) && busy[0].contains(r#""kind":"direct","retry_after_ms":200"#),
        "{busy:?}"
    );
    assert_eq!(
        script.input(Input::Addressed(Err(later()))),
        [r#"-> {"error":{"code":"unavailable","message":"later","kind":"direct","retry_after_ms":70}}"#]
    );
    script.received(DIRECT);
    addressed(&mut script, &["~u.ann"]);
    let refusal = Err(Refusal::for_good("room_full", "full"));
    assert_eq!(
        script.input(Input::Subscribed { id: 1, result: refusal }),
        [r#"-> {"error":{"code":"room_full","message":"full","room":"~u.ann","kind":"direct"}}"#]
    );
}

#[test]
fn addressed_rooms_and_others_are_counted_apart() {
    let mut script = open();
    for room in ["a", "b"] {
        script.received(&format!(r#"{{"join":{{"room":"{room}"}}}}"#));
    }
    script.received(DIRECT);
    let outputs = addressed(&mut script, &["~u.ann", "~g.1", "~g.2"]);
    assert_eq!(
        outputs[..2].iter().filter(|line| line.starts_with("subscribe")).count(),
        2
    );
    assert!(
        outputs[2].contains(r#""code":"too_many_rooms""#) && outputs[2].contains(r#""room":"~g.2","kind":"direct""#),
        "{outputs:?}"
    );
}

#[test]
fn only_rooms_that_are_addressed_to_the_user_can_be_read_and_none_can_be_published_to() {
    let mut script = open();
    script.received(DIRECT);
    addressed(&mut script, &["~u.ann"]);
    script.subscribed(1, 0);
    let history = |room: &str| format!(r#"{{"history":{{"id":4,"room":"{room}","before":9,"limit":2}}}}"#);
    assert_eq!(script.received(&history("~u.ann")), ["read 4 ~u.ann before 9 limit 2"]);
    assert!(script.received(&history("~u.bob"))[0].contains(r#""code":"forbidden""#));
    for line in [
        r#"{"publish":{"room":"~u.ann","seq":1,"id":"00000000000000aa","first":true,"body":1}}"#,
        r#"{"withdraw":{"room":"~u.ann","seq":1,"id":"00000000000000aa","first":true}}"#,
        r#"{"signal":{"room":"~u.ann","body":1}}"#,
        r#"{"join":{"room":"~u.ann"}}"#,
        r#"{"join":{"room":"~u.bob"}}"#,
    ] {
        let refused = script.received(line);
        assert!(refused[0].contains(r#""code":"forbidden""#), "{line}: {refused:?}");
        assert_eq!(refused.len(), 1, "{refused:?}");
    }
}
