//! What commands return, and what the application still gets after them. These sessions are not recorded.

use std::time::Duration;

use talkback_protocol::{
    Body, Moment, Offset,
    session::client::{ClientOptions, ClientSession, DeliveryState, FailReason, Input, Output, PageError, Tag},
};

use super::script::{WELCOME, ack_in, joined_line, key, message_line, name};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MOMENT: Moment = Moment {
    now: Duration::ZERO,
    random: 7,
};

fn received(session: &mut ClientSession, text: String) {
    session.handle(MOMENT, Input::Received { generation: 1, text });
}

/// A member of `lobby`, without outputs.
fn member(options: ClientOptions) -> ClientSession {
    let mut session = ClientSession::new(options, key());
    session.connect(MOMENT);
    session.handle(MOMENT, Input::Opened { generation: 1 });
    received(&mut session, WELCOME.to_owned());
    session.join(MOMENT, name("lobby"), None, None);
    drain(&mut session);
    received(&mut session, joined_line("e1", 5, true));
    drain(&mut session);
    session
}

fn drain(session: &mut ClientSession) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn publish(session: &mut ClientSession, room: &str, tag: Tag) -> Result<(), FailReason> {
    session.publish(MOMENT, name(room), Body::text("hello"), tag)
}

fn texts(outputs: &[Output]) -> Vec<&str> {
    let texts = outputs.iter().filter_map(|output| match output {
        Output::Transmit { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_command_that_is_refused_has_no_output() {
    let mut options = ClientOptions {
        pages: 0,
        ..ClientOptions::default()
    };
    options.outbox.messages = 0;
    let mut session = member(options);
    assert_eq!(publish(&mut session, "lobby", 1), Err(FailReason::OutboxFull));
    let asked = session.history(MOMENT, name("lobby"), Offset::ZERO, 5, 2);
    assert_eq!(asked, Err(PageError::TooMany));
    assert_eq!(drain(&mut session), []);
    session.stop(MOMENT);
    drain(&mut session);
    assert_eq!(publish(&mut session, "lobby", 3), Err(FailReason::Stopped));
    let asked = session.history(MOMENT, name("lobby"), Offset::ZERO, 5, 4);
    assert_eq!(asked, Err(PageError::Stopped));
    assert_eq!(drain(&mut session), []);
}

#[test]
fn a_message_that_is_taken_has_no_output_before_it_is_sent() {
    let mut session = ClientSession::new(ClientOptions::default(), key());
    assert_eq!(publish(&mut session, "lobby", 1), Ok(()));
    assert_eq!(drain(&mut session), []);
}

#[test]
fn no_event_of_a_room_comes_after_leaving_it_also_none_that_was_not_taken() {
    let mut session = member(ClientOptions::default());
    publish(&mut session, "b", 1).unwrap();
    drain(&mut session);
    received(&mut session, format!("{}\n{}", message_line(6), ack_in("b", 1, 1)));
    session.leave(MOMENT, &name("lobby"));
    let outputs = drain(&mut session);
    assert_eq!(outputs.len(), 2, "{outputs:?}");
    assert!(
        matches!(&outputs[0], Output::Delivery { tag: 1, state } if state.is_final()),
        "the room alone is left: {outputs:?}"
    );
    assert_eq!(texts(&outputs), [r#"{"leave":{"room":"lobby"}}"#]);
}

#[test]
fn commands_between_two_outputs_take_effect_at_once_and_their_outputs_come_last() {
    let mut session = member(ClientOptions::default());
    publish(&mut session, "lobby", 1).unwrap();
    drain(&mut session);
    received(
        &mut session,
        [message_line(6), ack_in("lobby", 1, 7), message_line(8)].join("\n"),
    );
    assert!(matches!(session.poll_output(), Some(Output::Room { .. })));
    publish(&mut session, "lobby", 2).unwrap();
    publish(&mut session, "lobby", 3).unwrap();
    let outputs = drain(&mut session);
    assert!(
        matches!(
            &outputs[0],
            Output::Delivery {
                tag: 1,
                state: DeliveryState::Acked { .. }
            }
        ),
        "{outputs:?}"
    );
    let texts = texts(&outputs);
    assert_eq!(texts.len(), 1, "the lines are sent together: {outputs:?}");
    assert_eq!(texts[0].matches("publish").count(), 2);
    session.stop(MOMENT);
    assert_eq!(publish(&mut session, "lobby", 4), Err(FailReason::Stopped));
}

#[test]
fn a_timer_that_is_due_fires_with_a_command() {
    let mut session = member(ClientOptions::default());
    let late = Moment {
        now: Duration::from_secs(3_600),
        ..MOMENT
    };
    session.leave(late, &name("b"));
    let lost = |output: &Output| matches!(output, Output::Disconnect { code: 4408, .. });
    assert!(drain(&mut session).iter().any(lost), "the heartbeat");
}
