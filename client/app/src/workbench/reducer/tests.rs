use talkback_client::ReadyState;

use super::*;
use crate::{
    connection::{CloseInfo, ClosedBy},
    i18n::UrlProblem,
};

fn state() -> WorkbenchState {
    WorkbenchState::new("http://127.0.0.1:8787".into())
}

fn open() -> WorkbenchState {
    let mut state = state();
    state.update(Action::Connect, 0.0);
    state.update(opened(), 10.0);
    state
}

fn opened() -> Action {
    Action::Connection(ConnectionEvent::Opened {
        protocol: "chat".into(),
        extensions: String::new(),
    })
}

fn closed(code: u16) -> Action {
    Action::Connection(ConnectionEvent::Closed(CloseInfo {
        code,
        reason: String::new(),
    }))
}

fn edit(state: &mut WorkbenchState, field: Field, text: &str) {
    assert_eq!(
        state.update(Action::Edit(field, text.into()), 0.0),
        [Effect::SaveField(field, text.into())]
    );
}

fn error(state: &WorkbenchState) -> Option<(Field, Sentence)> {
    state
        .error
        .clone()
        .and_then(|error| Some((error.field?, error.message)))
}

#[test]
fn an_empty_address_is_an_error_of_its_field_and_not_the_pages_own_address() {
    let mut state = state();
    edit(&mut state, Field::Url, "  ");
    assert_eq!(state.update(Action::Connect, 0.0), []);
    assert_eq!(error(&state), Some((Field::Url, Sentence::BadUrl(UrlProblem::Empty))));
    assert!(state.phase.is_over());
}

#[test]
fn the_initial_address_is_this_servers_echo_endpoint() {
    let state = state();
    assert_eq!(
        (state.url.as_str(), state.message.as_str()),
        ("ws://127.0.0.1:8787/echo", "Hello, World!")
    );
    assert_eq!(state.phase.ready_state(), ReadyState::Closed);
}

#[test]
fn connecting_takes_the_trimmed_address_and_the_subprotocols_one_by_one() {
    let mut state = state();
    edit(&mut state, Field::Url, " wss://host/x ");
    edit(&mut state, Field::Subprotocols, "a, b ,,c");
    assert_eq!(
        state.update(Action::Connect, 5.0),
        [
            notice(Sentence::Opening("wss://host/x".into())),
            Effect::Open {
                url: "wss://host/x".into(),
                protocols: vec!["a".into(), "b".into(), "c".into()]
            },
        ]
    );
    assert_eq!(state.phase, Phase::Connecting { since: 5.0 });
    assert_eq!(
        state.update(Action::Connect, 6.0),
        [],
        "a second click must not open a second connection"
    );
}

#[test]
fn an_invalid_address_or_subprotocol_is_an_error_of_its_field_until_it_is_edited() {
    let mut state = state();
    state.update(Action::Connect, 0.0);
    assert_eq!(
        state.update(Action::Refused(Sentence::BadUrl(UrlProblem::Fragment)), 0.0),
        [notice(Sentence::BadUrl(UrlProblem::Fragment))],
        "the log has the outcome of what it says was tried"
    );
    assert_eq!(
        error(&state),
        Some((Field::Url, Sentence::BadUrl(UrlProblem::Fragment)))
    );
    assert!(state.phase.is_over());
    edit(&mut state, Field::Message, "x");
    assert!(state.error.is_some(), "another field's edit keeps it");
    edit(&mut state, Field::Url, "ws://host");
    assert_eq!(state.error, None);
    state.update(Action::Connect, 0.0);
    state.update(Action::Refused(Sentence::BadSubprotocol("a b".into())), 0.0);
    assert_eq!(error(&state).unwrap().0, Field::Subprotocols);
}

#[test]
fn sending_without_a_connection_is_an_error_and_keeps_the_text() {
    let mut state = state();
    assert_eq!(state.update(Action::Send, 0.0), []);
    assert_eq!(
        error(&state),
        Some((Field::Message, Sentence::NotSent(ReadyState::Closed)))
    );
    assert_eq!(state.message, "Hello, World!");
    state.update(Action::Connect, 0.0);
    state.update(Action::Send, 0.0);
    assert_eq!(
        error(&state),
        Some((Field::Message, Sentence::NotSent(ReadyState::Connecting)))
    );
}

#[test]
fn a_sent_message_is_logged_only_after_the_socket_accepted_it() {
    let mut state = open();
    assert_eq!(state.update(Action::Send, 0.0), [Effect::Send("Hello, World!".into())]);
    assert_eq!(
        state.update(Action::Sent("Hello, World!".into()), 0.0),
        [Effect::Record(LogEntry::Sent(Payload::Text("Hello, World!".into())))]
    );
    assert_eq!(state.update(Action::NotSent(Sentence::BufferFull(9)), 0.0), []);
    assert_eq!(error(&state), Some((Field::Message, Sentence::BufferFull(9))));
    assert_eq!(state.message, "Hello, World!");
}

#[test]
fn connecting_can_be_cancelled_and_the_late_close_event_is_ignored() {
    // hoppscotch#2773: a connection that is being made could not be cancelled.
    let mut state = state();
    state.update(Action::Connect, 0.0);
    assert_eq!(
        state.update(Action::Cancel, 1.0),
        [Effect::Terminate, notice(Sentence::Closed(End::Cancelled))]
    );
    assert_eq!(state.update(closed(1006), 2.0), []);
    assert_eq!(state.phase, Phase::Closed(End::Cancelled));
    assert_eq!(open().update(Action::Cancel, 0.0), []);
}

#[test]
fn a_failed_attempt_to_connect_is_an_error_of_the_address() {
    let mut state = state();
    state.update(Action::Connect, 0.0);
    state.update(closed(1006), 2.0);
    assert!(matches!(
        error(&state),
        Some((Field::Url, Sentence::Ended(End::NeverOpened(_))))
    ));
    assert_eq!(state.update(Action::Connect, 3.0).len(), 2, "and can be tried again");
    assert_eq!(state.error, None);
}

#[test]
fn a_close_carries_the_entered_code_and_reason() {
    let mut state = open();
    edit(&mut state, Field::CloseCode, "4000");
    edit(&mut state, Field::CloseReason, "bye");
    assert_eq!(
        state.update(Action::Close, 20.0),
        [Effect::Close(Some((4000, "bye".into())))]
    );
    assert_eq!(state.phase.ready_state(), ReadyState::Closing);
    state.update(closed(4000), 30.0);
    assert!(matches!(
        state.phase,
        Phase::Closed(End::Finished { by: ClosedBy::Page, .. })
    ));
}

#[test]
fn an_empty_code_closes_without_a_code_and_allows_no_reason() {
    let mut state = open();
    edit(&mut state, Field::CloseCode, "");
    assert_eq!(state.clone().update(Action::Close, 0.0), [Effect::Close(None)]);
    edit(&mut state, Field::CloseReason, "bye");
    assert_eq!(state.update(Action::Close, 0.0), []);
    assert_eq!(error(&state), Some((Field::CloseCode, Sentence::BadCloseCode)));
}

#[test]
fn an_invalid_code_or_reason_is_an_error_of_its_field() {
    for code in ["1001", "1006", "2999", "5000", "99999", "abc", "-1"] {
        let mut state = open();
        edit(&mut state, Field::CloseCode, code);
        assert_eq!(state.update(Action::Close, 0.0), [], "{code}");
        assert_eq!(
            error(&state),
            Some((Field::CloseCode, Sentence::BadCloseCode)),
            "{code}"
        );
        assert!(state.phase.is_open());
    }
    let mut state = open();
    edit(&mut state, Field::CloseReason, &"好".repeat(42));
    state.update(Action::Close, 0.0);
    assert_eq!(error(&state), Some((Field::CloseReason, Sentence::ReasonTooLong(126))));
}

#[test]
fn a_closing_handshake_that_times_out_ends_the_connection_once() {
    let mut state = open();
    assert_eq!(
        state.update(Action::Connection(ConnectionEvent::CloseOverdue), 1.0),
        [],
        "not while open"
    );
    state.update(Action::Close, 1_010.0);
    let end = End::Forced { open_ms: 6_000.0 };
    assert_eq!(
        state.update(Action::Connection(ConnectionEvent::CloseOverdue), 6_010.0),
        [Effect::Terminate, notice(Sentence::Closed(end))]
    );
}

#[test]
fn buffered_bytes_are_polled_only_while_there_are_some_and_the_connection_exists() {
    let mut state = open();
    let buffered = |bytes| Action::Connection(ConnectionEvent::Buffered(bytes));
    assert_eq!(state.update(buffered(10), 0.0), [Effect::PollBuffer]);
    assert_eq!(state.buffered, 10);
    assert_eq!(state.update(buffered(0), 0.0), []);
    state.update(closed(1006), 0.0);
    assert_eq!(state.update(buffered(7), 0.0), []);
    assert_eq!(state.buffered, 7, "what was never sent stays visible");
}

#[test]
fn the_message_can_be_sent_over_http_without_a_connection() {
    let mut state = state();
    let effects = state.update(Action::SendHttp, 0.0);
    assert_eq!(
        effects[1],
        Effect::Fetch("http://127.0.0.1:8787/echo?message=Hello%2C%20World%21".into())
    );
    let answer = state.update(Action::HttpAnswer(Ok((200, "Hello, World!".into()))), 0.0);
    let listed = Payload::Http {
        status: Some(200),
        text: "Hello, World!".into(),
    };
    assert_eq!(answer, [Effect::Record(LogEntry::Received(listed))]);
    assert_eq!(state.error, None);
}

#[test]
fn an_http_error_status_is_logged_and_an_error_of_the_message() {
    let mut state = state();
    assert_eq!(state.update(Action::HttpAnswer(Ok((414, String::new()))), 0.0).len(), 1);
    assert_eq!(error(&state), Some((Field::Message, Sentence::HttpStatus(414))));
    state.update(Action::HttpAnswer(Err(HttpProblem::Unreachable)), 0.0);
    assert_eq!(
        error(&state),
        Some((Field::Message, Sentence::HttpFailed(HttpProblem::Unreachable)))
    );
}

#[test]
fn http_with_an_invalid_address_is_an_error_of_the_address() {
    let mut state = state();
    edit(&mut state, Field::Url, "ftp://h/");
    assert_eq!(state.update(Action::SendHttp, 0.0), []);
    assert_eq!(
        error(&state),
        Some((Field::Url, Sentence::BadUrl(UrlProblem::Scheme("ftp".into()))))
    );
}

#[test]
fn leaving_the_page_closes_normally_and_its_return_connects_again() {
    let mut state = open();
    assert_eq!(
        state.update(Action::PageLeft, 0.0),
        [Effect::Close(Some((1000, String::new())))]
    );
    state.update(closed(1000), 1.0);
    let effects = state.update(Action::PageBack, 2.0);
    assert!(matches!(effects[1], Effect::Open { .. }));
    assert_eq!(state.update(Action::PageBack, 3.0), [], "once");
}

#[test]
fn the_return_of_a_page_without_a_connection_does_not_connect() {
    let mut state = state();
    assert_eq!(state.update(Action::PageLeft, 0.0), []);
    assert_eq!(state.update(Action::PageBack, 0.0), []);
}
