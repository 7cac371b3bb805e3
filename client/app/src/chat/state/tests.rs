use talkback_client::ReadyState;

use super::*;
use crate::connection::Closed;

const LOBBY: &str = "ws://h:1/chat/lobby?name=Ann";

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn state() -> State {
    let mut state = State::new("http://h:1".into(), "Ann".into());
    state.update(Action::Room(Ok(room("lobby"))), 0.0);
    state
}

fn joined() -> State {
    let mut state = state();
    state.update(Action::Join, 0.0);
    state.update(
        Action::Connection(Event::Opened {
            protocol: String::new(),
            extensions: String::new(),
        }),
        1.0,
    );
    state
}

fn said(state: &mut State, line: &str) -> Vec<Effect> {
    state.update(Action::Connection(Event::Received(Payload::from(line))), 2.0)
}

fn closed(code: u16) -> Action {
    Action::Connection(Event::Closed(Closed {
        code,
        reason: String::new(),
    }))
}

fn send(state: &mut State, text: &str) -> Vec<Effect> {
    state.update(Action::Edit(Field::Message, text.into()), 0.0);
    let effects = state.update(Action::Send, 0.0);
    state.update(Action::Sent(text.into()), 0.0);
    effects
}

#[test]
fn joining_opens_the_room_of_the_path_under_the_trimmed_name_and_remembers_it() {
    let mut state = state();
    state.update(Action::Edit(Field::Name, " Ann ".into()), 0.0);
    assert_eq!(
        state.update(Action::Join, 0.0),
        [Effect::RememberName("Ann".into()), Effect::Open(LOBBY.into())]
    );
    assert_eq!(
        state.update(Action::Join, 0.0),
        [],
        "a second click must not join twice"
    );
}

#[test]
fn a_name_against_the_rule_is_refused_at_its_field() {
    let mut state = state();
    state.update(Action::Edit(Field::Name, "a]b".into()), 0.0);
    assert_eq!(state.update(Action::Join, 0.0), []);
    assert!(matches!(
        &state.fault,
        Some(Fault {
            field: Some(Field::Name),
            message: Message::BadName(_)
        })
    ));
}

#[test]
fn a_sent_message_leaves_the_field_and_comes_back_marked_as_ones_own() {
    let mut state = joined();
    assert_eq!(send(&mut state, "hi"), [Effect::Send("hi".into())]);
    assert_eq!(state.message, "");
    let line = |own| {
        Effect::Record(Line::Said {
            from: Some("Ann".into()),
            text: "hi".into(),
            own,
        })
    };
    assert_eq!(said(&mut state, "[Ann] hi"), [line(true)]);
    assert_eq!(
        said(&mut state, "[Ann] hi"),
        [line(false)],
        "a tab of the same name is not this one"
    );
}

#[test]
fn sending_without_having_joined_says_so_and_keeps_the_text() {
    let mut state = state();
    assert_eq!(send(&mut state, "hi"), []);
    assert_eq!(state.message, "hi");
    let expected = Fault::of(Field::Message, Message::NotSent(ReadyState::Closed));
    assert_eq!(state.fault, Some(expected));
}

#[test]
fn a_message_that_the_socket_refused_comes_back_in_front_of_what_was_typed_since() {
    let mut state = joined();
    state.update(Action::Edit(Field::Message, "first".into()), 0.0);
    state.update(Action::Send, 0.0);
    state.update(Action::Edit(Field::Message, "second".into()), 0.0);
    state.update(
        Action::NotSent {
            text: "first".into(),
            why: Message::BufferFull(1),
        },
        0.0,
    );
    assert_eq!(state.message, "first\nsecond");
}

#[test]
fn blank_messages_are_not_sent() {
    for blank in ["", "  ", "\n"] {
        let mut state = joined();
        assert_eq!(send(&mut state, blank), []);
        assert_eq!(state.fault, None);
    }
}

#[test]
fn a_lost_connection_says_how_many_messages_did_not_come_back_and_can_be_rejoined() {
    let mut state = joined();
    send(&mut state, "a");
    send(&mut state, "b");
    said(&mut state, "[Ann] a");
    let effects = state.update(closed(1006), 10.0);
    assert!(matches!(
        &effects[0],
        Effect::Record(Line::Notice(Message::Closed(End::Lost { .. })))
    ));
    assert_eq!(effects[1], notice(Message::Unconfirmed(1)));
    assert!(state.phase.was_lost());
    assert_eq!(state.update(Action::Join, 20.0)[1], Effect::Open(LOBBY.into()));
}

#[test]
fn leaving_closes_normally_and_is_no_loss() {
    let mut state = joined();
    assert_eq!(state.update(Action::Leave, 5.0), [Effect::Close]);
    assert_eq!(state.update(closed(1000), 6.0).len(), 1);
    assert!(!state.phase.was_lost());
}

#[test]
fn leaving_before_the_room_answered_cancels() {
    let mut state = state();
    state.update(Action::Join, 0.0);
    assert_eq!(state.update(Action::Leave, 1.0)[0], Effect::Terminate);
    assert!(state.phase.is_over());
}

#[test]
fn another_room_starts_a_new_log_and_who_was_joined_joins_there() {
    let mut state = joined();
    let effects = state.update(Action::Room(Ok(room("大厅"))), 0.0);
    assert_eq!(effects[..2], [Effect::Close, Effect::ClearLog]);
    assert_eq!(
        effects[3],
        Effect::Open("ws://h:1/chat/%E5%A4%A7%E5%8E%85?name=Ann".into())
    );
    let mut state = self::state();
    assert_eq!(
        state.update(Action::Room(Ok(room("b"))), 0.0),
        [Effect::Close, Effect::ClearLog]
    );
}

#[test]
fn messages_that_are_out_in_one_room_are_not_missed_in_the_next() {
    let mut state = joined();
    send(&mut state, "hi");
    state.update(Action::Room(Ok(room("b"))), 0.0);
    state.update(
        Action::Connection(Event::Opened {
            protocol: String::new(),
            extensions: String::new(),
        }),
        1.0,
    );
    assert_eq!(state.update(closed(1006), 2.0).len(), 1);
}

#[test]
fn the_same_room_again_changes_nothing() {
    let mut state = joined();
    assert_eq!(state.update(Action::Room(Ok(room("lobby"))), 0.0), []);
    assert!(state.phase.is_open());
}

#[test]
fn a_path_without_a_possible_room_leaves_and_says_why() {
    let mut state = joined();
    state.update(Action::Room(RoomName::parse("a b")), 0.0);
    assert!(state.phase.is_over() && state.room.is_none());
    assert!(matches!(
        &state.fault,
        Some(Fault {
            field: Some(Field::Room),
            message: Message::BadRoom(_)
        })
    ));
    assert_eq!(state.update(Action::Join, 0.0), [], "there is no room to join");
}

#[test]
fn the_typed_room_is_gone_to_only_when_it_follows_the_rule() {
    let mut state = state();
    state.update(Action::Edit(Field::Room, " b ".into()), 0.0);
    assert_eq!(state.update(Action::Go, 0.0), [Effect::Navigate(room("b"))]);
    state.update(Action::Edit(Field::Room, "a/b".into()), 0.0);
    assert_eq!(state.update(Action::Go, 0.0), []);
    assert!(matches!(
        state.fault,
        Some(Fault {
            field: Some(Field::Room),
            ..
        })
    ));
}

#[test]
fn a_page_that_is_left_while_joined_joins_again_when_it_comes_back() {
    let mut state = joined();
    assert_eq!(state.update(Action::PageLeft, 0.0), [Effect::Close]);
    assert_eq!(state.update(Action::PageBack, 1.0)[1], Effect::Open(LOBBY.into()));
    assert_eq!(state.update(Action::PageBack, 1.0), []);
}

#[test]
fn a_close_that_is_never_answered_is_forced() {
    let mut state = joined();
    state.update(Action::Leave, 5.0);
    let effects = state.update(Action::Connection(Event::CloseOverdue), 5_005.0);
    assert_eq!(effects[0], Effect::Terminate);
    assert!(state.phase.is_over());
}
