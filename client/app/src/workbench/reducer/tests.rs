use talkback_client::ReadyState;

use super::*;
use crate::connection::{CloseInfo, ClosedBy};

fn state() -> WorkbenchState {
    WorkbenchState::new("http://127.0.0.1:8787".into(), 1)
}

fn text(text: &str) -> Payload {
    Payload::Text(text.into())
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
        clean: true,
    }))
}

fn edit(state: &mut WorkbenchState, field: Field, text: &str) {
    assert_eq!(
        state.update(Action::Edit(field, text.into()), 0.0),
        [Effect::SaveField(field.name(), text.into())]
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
    assert_eq!(error(&state), Some((Field::Url, Text::UrlEmpty.into())));
    assert!(state.phase.is_over());
}

#[test]
fn the_initial_address_is_this_servers_echo_endpoint() {
    let state = state();
    assert_eq!(
        (state.url.as_str(), state.message()),
        ("ws://127.0.0.1:8787/echo", "Hello, World!")
    );
    assert_eq!(state.phase.ready_state(), ReadyState::Closed);
}

#[test]
fn connecting_takes_the_trimmed_address_and_the_subprotocols_one_by_one() {
    let mut state = state();
    edit(&mut state, Field::Url, " wss://host/x ");
    edit(&mut state, Field::Subprotocols, "a, b, c");
    assert_eq!(
        state.update(Action::Connect, 5.0),
        [
            Effect::Record(LogEntry::Opening("wss://host/x".into())),
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
        state.update(
            Action::Refused(ConnectError::Fragment {
                url: "ws://host/#x".into()
            }),
            0.0
        ),
        [notice(Text::UrlFragment.into())],
        "the log has the outcome of what it says was tried"
    );
    assert_eq!(error(&state), Some((Field::Url, Text::UrlFragment.into())));
    assert!(state.phase.is_over());
    edit(&mut state, Field::Message, "x");
    assert!(state.error.is_some(), "another field's edit keeps it");
    edit(&mut state, Field::Url, "ws://host");
    assert_eq!(state.error, None);
    state.update(Action::Connect, 0.0);
    let refused = ConnectError::Subprotocol {
        name: "a b".into(),
        repeated: false,
    };
    let effects = state.update(Action::Refused(refused), 0.0);
    assert_eq!(
        effects.last(),
        Some(&Effect::Reveal(Field::Subprotocols)),
        "its field is in a popover"
    );
    assert_eq!(error(&state).unwrap().0, Field::Subprotocols);
}

#[test]
fn a_lost_connection_is_an_error_of_no_field_until_it_connects_again() {
    let mut state = open();
    state.update(closed(1006), 20.0);
    let error = state.error.clone().unwrap();
    assert_eq!(error.field, None);
    assert!(
        matches!(error.message, Sentence::Filled(Text::ConnectionLost, _)),
        "{:?}",
        error.message
    );
    state.update(Action::Connect, 30.0);
    assert_eq!(state.error, None);
    let mut state = open();
    state.update(closed(1000), 20.0);
    assert_eq!(state.error, None, "a close is none");
}

#[test]
fn messages_are_counted_since_the_user_connected_and_echoed_texts_are_timed() {
    let mut state = open();
    let received = |text: &str| Action::Connection(ConnectionEvent::Received(text.into()));
    state.update(Action::Sent(text("Hello")), 100.0);
    state.update(received("Hello"), 107.0);
    state.update(received("你好"), 108.0);
    let Traffic {
        sent, received: taken, ..
    } = &state.traffic;
    assert_eq!((sent.messages, sent.bytes), (1, 5));
    assert_eq!((taken.messages, taken.bytes), (2, 11));
    assert_eq!(state.round_trips.percentiles().unwrap().p50, 7);
    state.update(Action::Tick, 1_000.0);
    assert_eq!(state.traffic.rate(), 3);
    state.update(closed(1006), 2_000.0);
    assert_eq!(
        state.traffic.received.messages, 2,
        "what a connection did stays in view after its end"
    );
    state.update(Action::Connect, 3_000.0);
    assert_eq!(state.traffic, Traffic::since(3_000.0));
}

#[test]
fn sending_without_a_connection_is_an_error_and_keeps_the_text() {
    let mut state = state();
    assert_eq!(state.update(Action::Send, 0.0), []);
    assert_eq!(error(&state), Some((Field::Message, Text::NotSentIdle.into())));
    assert_eq!(state.message(), "Hello, World!");
    state.update(Action::Connect, 0.0);
    state.update(Action::Send, 0.0);
    assert_eq!(error(&state), Some((Field::Message, Text::NotSentConnecting.into())));
    state.update(Action::Reconnect(true), 0.0);
    state.update(opened(), 0.0);
    state.update(closed(1006), 0.0);
    state.update(Action::Send, 0.0);
    assert_eq!(error(&state), Some((Field::Message, Text::NotSentWaiting.into())));
    state.update(Action::ConnectNow, 0.0);
    assert_eq!(state.error, None, "it is about the state before");
}

#[test]
fn a_sent_message_is_logged_only_after_the_socket_accepted_it() {
    let mut state = open();
    assert_eq!(
        state.update(Action::Send, 0.0),
        [
            Effect::Send(text("Hello, World!")),
            Effect::SaveField(HISTORY, "13 Hello, World!".into())
        ]
    );
    assert_eq!(
        state.update(Action::Sent(text("Hello, World!")), 0.0),
        [Effect::Record(LogEntry::Sent(Payload::Text("Hello, World!".into())))]
    );
    assert_eq!(state.update(Action::NotSent(Text::FileUnreadable.into()), 0.0), []);
    assert_eq!(error(&state), Some((Field::Message, Text::FileUnreadable.into())));
    assert_eq!(state.message(), "Hello, World!");
}

#[test]
fn connecting_can_be_cancelled_and_the_late_close_event_is_ignored() {
    // hoppscotch#2773: a connection that is being made could not be cancelled.
    let mut state = state();
    state.update(Action::Connect, 0.0);
    assert_eq!(
        state.update(Action::Cancel, 1.0),
        [Effect::Terminate, notice(Text::Cancelled.into())]
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
    assert_eq!(error(&state), Some((Field::Url, Text::NeverOpened.into())));
    assert_eq!(state.update(Action::Connect, 3.0).len(), 2, "and can be tried again");
    assert_eq!(state.error, None);
    state.update(closed(1006), 4.0);
    edit(&mut state, Field::Subprotocols, "chat.v1, b");
    state.update(Action::Connect, 5.0);
    state.update(Action::Edit(Field::Subprotocols, "later".into()), 5.0);
    let end = End::NeverOpened(CloseInfo {
        code: 1006,
        reason: String::new(),
        clean: false,
    });
    let offered = ["chat.v1", "b"].map(String::from);
    assert_eq!(
        state.update(closed(1006), 6.0),
        [notice(sentences::closed(&end, &offered))]
    );
    assert_eq!(error(&state), Some((Field::Url, sentences::ended(&end, &offered))));
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
    assert_eq!(state.update(Action::Close, 0.0), [Effect::Reveal(Field::CloseCode)]);
    assert_eq!(error(&state), Some((Field::CloseCode, Text::BadCloseCode.into())));
}

#[test]
fn an_invalid_code_or_reason_is_an_error_of_its_field() {
    for code in ["1001", "1006", "2999", "5000", "99999", "abc", "-1"] {
        let mut state = open();
        edit(&mut state, Field::CloseCode, code);
        assert_eq!(
            state.update(Action::Close, 0.0),
            [Effect::Reveal(Field::CloseCode)],
            "{code}"
        );
        assert_eq!(
            error(&state),
            Some((Field::CloseCode, Text::BadCloseCode.into())),
            "{code}"
        );
        assert!(state.phase.is_open());
    }
    let mut state = open();
    edit(&mut state, Field::CloseReason, &"好".repeat(42));
    assert_eq!(state.update(Action::Close, 0.0), [Effect::Reveal(Field::CloseReason)]);
    assert_eq!(
        error(&state),
        Some((
            Field::CloseReason,
            Text::ReasonTooLong.with([126_usize, 123].map(Sentence::from))
        ))
    );
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
        [Effect::Terminate, notice(sentences::closed(&end, &[]))]
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
fn a_saved_connection_is_loaded_as_it_was_and_the_text_in_the_field_can_be_taken_back() {
    let mut before = state();
    edit(&mut before, Field::Url, " wss://host/x ");
    edit(&mut before, Field::Subprotocols, "a, b");
    before.update(Action::Mode(Mode::Json), 0.0);
    before.update(Action::Edit(Field::Message, "[1]".into()), 0.0);
    let item = before.to_item().unwrap();

    let mut state = state();
    state.update(Action::Edit(Field::Message, "unsent".into()), 0.0);
    edit(&mut state, Field::Subprotocols, "old, ");
    let effects = state.update(Action::Load(Box::new(item)), 0.0);
    assert_eq!(
        (state.url.as_str(), state.mode, state.message()),
        ("wss://host/x", Mode::Json, "[1]")
    );
    assert_eq!(state.subprotocols.chosen(), ["a", "b"]);
    for (name, text) in [
        ("url", "wss://host/x"),
        ("subprotocols", "a, b, "),
        (MODE, "json"),
        ("json", "[1]"),
        ("message", "Hello, World!"),
    ] {
        let saved = Effect::SaveField(name, text.into());
        assert!(effects.contains(&saved), "{saved:?} in {effects:?}");
    }
    state.update(Action::Recall(Recall::Older), 0.0);
    assert_eq!(state.message(), "unsent");
}

#[test]
fn a_snippet_is_what_the_current_mode_has_and_an_imported_address_alone_leaves_the_message() {
    let mut state = state();
    state.update(Action::Mode(Mode::Hex), 0.0);
    assert_eq!(state.to_snippet(), Err(Text::NoMessage.into()));
    state.update(Action::Edit(Field::Message, "00".into()), 0.0);
    let snippet = state.to_snippet().unwrap();
    assert_eq!((snippet.mode(), snippet.draft(Mode::Hex)), (Mode::Hex, "00"));
    let address = Item::new(Kind::Connection).with_address("ws://h", "");
    state.update(Action::Load(Box::new(address)), 0.0);
    assert_eq!((state.url.as_str(), state.message()), ("ws://h", "00"));
    state.url = " ".into();
    assert_eq!(state.to_item(), Err(Text::UrlEmpty.into()));
}

#[test]
fn an_invalid_subprotocol_is_an_error_of_its_field_until_it_is_changed() {
    let mut state = state();
    state.update(Action::Edit(Field::Subprotocols, "a, a,".into()), 0.0);
    assert_eq!(
        error(&state),
        Some((Field::Subprotocols, Text::BadSubprotocol.with(["a".into()])))
    );
    state.update(Action::Chip(ChipMove::RemoveLast), 0.0);
    assert_eq!((error(&state), state.subprotocols.typed()), (None, "a"));
    assert_eq!(
        state.update(Action::Chip(ChipMove::Add), 0.0),
        [Effect::SaveField("subprotocols", "a, ".into())]
    );
}

fn http_answer(status: u16) -> HttpAnswer {
    HttpAnswer {
        status,
        url: "http://h/echo".into(),
        asked_at: 0.0,
    }
}

#[test]
fn the_message_can_be_sent_over_http_without_a_connection() {
    let mut state = state();
    let effects = state.update(Action::SendHttp, 0.0);
    assert_eq!(
        effects[1],
        Effect::Fetch("http://127.0.0.1:8787/echo?message=Hello%2C%20World%21".into())
    );
    let answered = http_answer(200);
    let answer = state.update(Action::HttpAnswer(answered.clone(), Ok("Hello, World!".into())), 0.0);
    let listed = Payload::Http {
        answer: Some(Box::new(answered)),
        text: "Hello, World!".into(),
    };
    assert_eq!(answer, [Effect::Record(LogEntry::Received(listed))]);
    assert_eq!(state.error, None);
    edit_message(&mut state, "{{seq}} \\{{seq}}");
    let effects = state.update(Action::SendHttp, 0.0);
    let sent = Payload::Http {
        answer: None,
        text: "1 {{seq}}".into(),
    };
    assert_eq!(
        effects[0],
        Effect::Record(LogEntry::Sent(sent)),
        "templates are replaced"
    );
    assert!(
        matches!(&effects[1], Effect::Fetch(url) if url.ends_with("?message=1%20%7B%7Bseq%7D%7D")),
        "{effects:?}"
    );
}

#[test]
fn an_http_error_status_is_logged_and_an_error_of_the_message() {
    let mut state = state();
    assert_eq!(
        state
            .update(Action::HttpAnswer(http_answer(414), Ok(String::new())), 0.0)
            .len(),
        1
    );
    assert_eq!(
        error(&state),
        Some((Field::Message, Text::HttpStatus.with([414_u32.into()])))
    );
}

#[test]
fn an_http_request_without_an_answer_is_logged_and_an_error_of_the_message() {
    let mut state = state();
    let problem = Sentence::from(Text::HttpUnreachable);
    let effects = state.update(Action::HttpAnswer(http_answer(0), Err(problem.clone())), 0.0);
    let listed = LogEntry::Unanswered(Box::new(http_answer(0)), problem.clone());
    assert_eq!(effects, [Effect::Record(listed)]);
    assert_eq!(error(&state), Some((Field::Message, problem)));
}

#[test]
fn http_with_an_invalid_address_is_an_error_of_the_address() {
    let mut state = state();
    edit(&mut state, Field::Url, "ftp://h/");
    assert_eq!(state.update(Action::SendHttp, 0.0), []);
    assert_eq!(error(&state), Some((Field::Url, Text::UrlScheme.with(["ftp".into()]))));
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
fn a_page_that_returns_before_the_answer_to_its_close_came_logs_the_end_and_connects_again() {
    let mut state = open();
    state.update(Action::PageLeft, 10.0);
    let effects = state.update(Action::PageBack, 20.0);
    assert!(
        matches!(
            effects[..],
            [
                Effect::Terminate,
                Effect::Record(LogEntry::Notice(_)),
                Effect::Record(LogEntry::Opening(_)),
                Effect::Open { .. }
            ]
        ),
        "{effects:?}"
    );
}

#[test]
fn the_return_of_a_page_without_a_connection_does_not_connect() {
    let mut state = state();
    assert_eq!(state.update(Action::PageLeft, 0.0), []);
    assert_eq!(state.update(Action::PageBack, 0.0), []);
}

#[test]
fn a_connection_that_ended_is_made_again_until_the_user_ends_it() {
    let mut state = open();
    assert_eq!(
        state.update(Action::Reconnect(true), 0.0),
        [Effect::SaveReconnect(true)]
    );
    edit(&mut state, Field::Url, "ws://elsewhere");
    state.update(closed(1006), 1_000.0);
    assert!(
        matches!(state.phase, Phase::Waiting { until: 2_000.0, .. }),
        "{:?}",
        state.phase
    );
    assert_eq!(state.error, None, "the notice says it");
    assert_eq!(state.update(Action::Tick, 1_999.0), []);
    let effects = state.update(Action::Tick, 2_000.0);
    let again = Effect::Open {
        url: "ws://127.0.0.1:8787/echo".into(),
        protocols: Vec::new(),
    };
    assert_eq!(
        effects.last(),
        Some(&again),
        "the same address, whatever is in the field by now"
    );
    state.update(closed(1006), 2_500.0);
    assert!(
        matches!(state.phase, Phase::Waiting { until: 4_500.0, .. }),
        "the pause grows: {:?}",
        state.phase
    );
    state.update(Action::Tick, 4_500.0);
    let effects = state.update(opened(), 5_000.0);
    assert_eq!(
        effects.last(),
        Some(&notice(
            Text::Reconnected.with([format::duration(4_000.0), 2_u32.into()])
        ))
    );
    state.update(Action::Close, 6_000.0);
    state.update(closed(1000), 6_001.0);
    assert!(matches!(state.phase, Phase::Closed(_)), "the user has ended it");
}

#[test]
fn the_user_may_connect_at_once_or_end_the_waiting() {
    let mut waiting = open();
    waiting.update(Action::Reconnect(true), 0.0);
    waiting.update(closed(1012), 1_000.0);
    let mut state = waiting.clone();
    state.update(Action::Connect, 1_001.0);
    assert_eq!((state.attempts, state.phase.ready_state()), (0, ReadyState::Connecting));
    for end in [Action::Cancel, Action::Reconnect(false)] {
        let mut state = waiting.clone();
        state.update(end, 1_001.0);
        assert!(matches!(state.phase, Phase::Closed(_)));
        assert_eq!(state.update(Action::Tick, 9_000.0), []);
    }
}

#[test]
fn an_address_is_remembered_when_it_has_answered() {
    let mut state = state();
    let effects = state.update(Action::Connect, 0.0);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Used(_))));
    let effects = state.update(opened(), 1.0);
    assert!(
        effects.contains(&Effect::Used("ws://127.0.0.1:8787/echo".into())),
        "{effects:?}"
    );
}

#[test]
fn each_mode_has_a_draft_of_its_own_and_sends_what_it_stands_for() {
    let mut state = open();
    for (mode, draft, sent) in [
        (Mode::Json, "{\"a\":1e400}", text("{\"a\":1e400}")),
        (Mode::Hex, "00 ff", Payload::Binary(vec![0, 0xff])),
        (Mode::Base64, "AP8=", Payload::Binary(vec![0, 0xff])),
        (Mode::Text, "00 ff", text("00 ff")),
    ] {
        assert_eq!(
            state.update(Action::Mode(mode), 0.0),
            [Effect::SaveField(MODE, mode.name().into())]
        );
        assert_eq!(
            state.update(Action::Edit(Field::Message, draft.into()), 0.0),
            [Effect::SaveField(mode.name(), draft.into())]
        );
        assert_eq!(state.update(Action::Send, 0.0)[0], Effect::Send(sent), "{mode:?}");
    }
    state.update(Action::Mode(Mode::Json), 0.0);
    assert_eq!(state.message(), "{\"a\":1e400}");
    state.update(Action::Format, 0.0);
    assert_eq!(state.message(), "{\n  \"a\": 1e400\n}");
    state.update(Action::Edit(Field::Message, "{".into()), 0.0);
    assert_eq!(state.update(Action::Send, 0.0), []);
    assert_eq!(
        error(&state),
        Some((Field::Message, Text::BadJson.with([1_usize, 2].map(Sentence::from))))
    );
    state.update(Action::Format, 0.0);
    assert_eq!(state.message(), "{", "what is no JSON is not changed");
    state.update(Action::Mode(Mode::Hex), 0.0);
    assert_eq!(state.error, None, "the error is about another draft");
}

#[test]
fn templates_are_replaced_when_the_message_is_sent_and_the_draft_keeps_them() {
    let mut state = open();
    edit_message(&mut state, "{{seq}} {{ts}} {{uuid}}");
    let sent = |state: &mut WorkbenchState| match state.update(Action::Send, 1_234.0).into_iter().next() {
        Some(Effect::Send(Payload::Text(text))) => text,
        other => panic!("{other:?}"),
    };
    let (first, second) = (sent(&mut state), sent(&mut state));
    assert!(
        first.starts_with("1 1234 ") && second.starts_with("2 1234 "),
        "{first} {second}"
    );
    assert_ne!(first[7..], second[7..], "each has a uuid of its own");
    assert_eq!(first.len(), 7 + 36);
    assert_eq!(state.message(), "{{seq}} {{ts}} {{uuid}}");
    state.update(Action::Mode(Mode::Json), 0.0);
    edit_message(&mut state, "{\"n\": {{seq}}}");
    assert_eq!(state.update(Action::Send, 0.0)[0], Effect::Send(text("{\"n\": 3}")));
    assert_eq!(
        state.update(Action::Send, 0.0).len(),
        1,
        "the same text is in the history already"
    );
}

#[test]
fn what_was_sent_is_kept_over_a_reload() {
    let mut state = open();
    edit_message(&mut state, "one");
    let kept = state.update(Action::Send, 0.0).pop();
    let Some(Effect::SaveField(HISTORY, kept)) = kept else {
        panic!("{kept:?}")
    };
    let mut restored = self::state();
    restored.restore_history(&kept);
    restored.update(Action::Recall(Recall::Older), 0.0);
    assert_eq!(restored.message(), "one");
}

#[test]
fn subprotocols_that_are_too_much_and_malformed_ones_have_an_error_each() {
    let mut state = state();
    let long = "x".repeat(MAX_BYTES + 1);
    for (name, problem) in [
        (
            &*long,
            Text::SubprotocolsTooLong.with([(&*long).into(), MAX_BYTES.into()]),
        ),
        ("a b", Text::BadSubprotocol.with(["a b".into()])),
    ] {
        state.update(Action::Edit(Field::Subprotocols, name.into()), 0.0);
        state.update(Action::Chip(ChipMove::Add), 0.0);
        assert_eq!(error(&state), Some((Field::Subprotocols, problem)));
    }
}

#[test]
fn a_uuid_has_its_version_and_variant() {
    assert_eq!(uuid([0, 0]), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid([u64::MAX, u64::MAX]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

#[test]
fn what_was_sent_is_taken_back_by_the_arrow_keys() {
    let mut state = open();
    for message in ["one", "two"] {
        edit_message(&mut state, message);
        state.update(Action::Send, 0.0);
    }
    edit_message(&mut state, "draft");
    state.update(Action::Recall(Recall::Older), 0.0);
    let effects = state.update(Action::Recall(Recall::Older), 0.0);
    assert_eq!((state.message(), effects.len()), ("one", 1));
    state.update(Action::Recall(Recall::Newer), 0.0);
    state.update(Action::Recall(Recall::Newer), 0.0);
    assert_eq!(state.message(), "draft");
    assert_eq!(state.update(Action::Recall(Recall::Newer), 0.0), []);
}

#[test]
fn a_message_is_sent_again_until_the_count_is_reached_or_it_cannot_be_sent() {
    let mut state = open();
    edit(&mut state, Field::RepeatCount, "2");
    assert_eq!(
        state.update(Action::Repeat(true), 0.0)[0],
        Effect::Send(text("Hello, World!"))
    );
    state.update(Action::Sent(text("Hello, World!")), 0.0);
    assert_eq!(state.update(Action::RepeatDue, 0.0).len(), 1);
    state.update(Action::Sent(text("Hello, World!")), 0.0);
    assert!(!state.repeat.is_running());
    assert_eq!(state.update(Action::RepeatDue, 0.0), [], "a late timer sends nothing");
    state.update(Action::Repeat(true), 0.0);
    state.update(closed(1006), 0.0);
    assert!(!state.repeat.is_running(), "the connection ended");
    state.update(Action::Repeat(true), 0.0);
    assert!(!state.repeat.is_running() && state.error.is_some(), "there is none");
    edit(&mut state, Field::RepeatInterval, "x");
    assert_eq!(
        state.update(Action::Repeat(true), 0.0),
        [Effect::Reveal(Field::RepeatInterval)]
    );
    assert_eq!(
        error(&state),
        Some((Field::RepeatInterval, Text::BadRepeatInterval.into()))
    );
}

#[test]
fn the_progress_of_a_file_is_what_has_left_the_browser() {
    let mut state = open();
    state.update(Action::Mode(Mode::File), 0.0);
    assert_eq!(state.update(Action::Send, 0.0), []);
    assert_eq!(error(&state), Some((Field::Message, Text::NoFile.into())));
    let file = |bytes| {
        Action::File(Some(ChosenFile {
            name: "a".into(),
            bytes,
        }))
    };
    state.update(file(u64::from(MAX_FILE_BYTES) + 1), 0.0);
    assert_eq!(state.update(Action::Send, 0.0), []);
    assert!(matches!(
        error(&state),
        Some((_, Sentence::Filled(Text::FileTooLarge, _)))
    ));
    state.update(file(1_000), 0.0);
    assert_eq!(state.update(Action::Send, 0.0), [Effect::SendFile]);
    let buffered = |bytes| Action::Connection(ConnectionEvent::Buffered(bytes));
    state.update(buffered(400), 0.0);
    assert_eq!(state.upload(), Some((600, 1_000)));
    state.update(buffered(0), 0.0);
    assert_eq!(state.upload(), None);
}

fn edit_message(state: &mut WorkbenchState, text: &str) {
    state.update(Action::Edit(Field::Message, text.into()), 0.0);
}

#[test]
fn a_logged_message_is_sent_again_as_it_was_or_edited_in_the_mode_that_can_write_it() {
    let resend = |payload, at_once| Action::Resend(Resend { payload, at_once });
    let mut state = open();
    state.update(Action::Edit(Field::Message, "draft".into()), 0.0);
    let bytes = || Payload::Binary(vec![0x0a, 0xff]);
    assert_eq!(state.update(resend(bytes(), true), 0.0), [Effect::Send(bytes())]);
    assert_eq!(
        state.update(resend(text("{{seq}}"), true), 0.0),
        [Effect::Send(text("{{seq}}"))]
    );
    assert_eq!((state.mode, state.message()), (Mode::Text, "draft"));
    state.update(resend(bytes(), false), 0.0);
    assert_eq!((state.mode, state.message()), (Mode::Hex, "0a ff"));
    state.update(resend(text("x"), false), 0.0);
    assert_eq!((state.mode, state.message()), (Mode::Text, "x"));
    state.update(closed(1006), 0.0);
    assert_eq!(state.update(resend(text("y"), true), 0.0), []);
    assert_eq!(error(&state), Some((Field::Message, Text::NotSentClosed.into())));
}

#[test]
fn a_connection_that_the_user_closes_is_not_made_again_however_the_server_answers() {
    for code in [1006, 1011] {
        let mut state = open();
        state.update(Action::Reconnect(true), 0.0);
        state.update(Action::Close, 20.0);
        state.update(closed(code), 30.0);
        assert!(matches!(state.phase, Phase::Closed(_)), "{:?}", state.phase);
    }
}

#[test]
fn a_repeated_file_is_read_once_at_a_time_and_only_for_its_connection() {
    let mut state = open();
    state.update(Action::Mode(Mode::File), 0.0);
    let file = ChosenFile {
        name: "a".into(),
        bytes: 3,
    };
    state.update(Action::File(Some(file)), 0.0);
    edit(&mut state, Field::RepeatCount, "2");
    assert_eq!(state.update(Action::Repeat(true), 0.0), [Effect::SendFile]);
    for action in [Action::RepeatDue, Action::Send] {
        assert_eq!(state.update(action, 1.0), [], "it is still being read");
    }
    state.update(Action::FileRead, 2.0);
    state.update(Action::Sent(Payload::Binary(vec![1, 2, 3])), 2.0);
    assert_eq!(state.update(Action::RepeatDue, 3.0), [Effect::SendFile]);
    assert!(!state.repeat.is_running() && state.is_reading());
    state.update(closed(1006), 4.0);
    assert!(!state.is_reading() && state.upload().is_none());
}

#[test]
fn a_repetition_waits_while_the_page_connects_again_and_ends_with_the_users_connection() {
    let mut state = open();
    state.update(Action::Reconnect(true), 0.0);
    state.update(Action::Repeat(true), 20.0);
    let mut user_closed = state.clone();
    user_closed.update(Action::Close, 21.0);
    assert!(!user_closed.repeat.is_running());
    state.update(closed(1006), 1_000.0);
    assert_eq!(state.update(Action::RepeatDue, 1_500.0), []);
    let mut cancelled = state.clone();
    cancelled.update(Action::Cancel, 1_500.0);
    assert!(!cancelled.repeat.is_running());
    state.update(Action::Tick, 2_000.0);
    assert_eq!(state.update(Action::RepeatDue, 2_500.0), []);
    assert!(state.repeat.is_running() && state.error.is_none());
    state.update(opened(), 3_000.0);
    assert_eq!(state.update(Action::RepeatDue, 3_500.0).len(), 1);
}

#[test]
fn a_logged_message_that_is_sent_again_is_not_counted_as_one_of_the_repetition() {
    let mut state = open();
    edit(&mut state, Field::RepeatCount, "3");
    state.update(Action::Repeat(true), 0.0);
    state.update(Action::Sent(text("Hello, World!")), 0.0);
    let resend = Resend {
        payload: text("x"),
        at_once: true,
    };
    state.update(Action::Resend(resend), 1.0);
    state.update(Action::Sent(text("x")), 1.0);
    assert_eq!(state.repeat.left(), Some(2));
}

#[test]
fn connecting_now_and_the_return_of_the_page_take_the_address_that_was_connected() {
    let again = Effect::Open {
        url: "ws://127.0.0.1:8787/echo".into(),
        protocols: Vec::new(),
    };
    let mut state = open();
    state.update(Action::Reconnect(true), 0.0);
    edit(&mut state, Field::Url, "ws://elsewhere");
    let mut left = state.clone();
    left.update(Action::PageLeft, 20.0);
    left.update(closed(1000), 21.0);
    assert_eq!(left.update(Action::PageBack, 22.0).last(), Some(&again));
    state.update(closed(1006), 1_000.0);
    assert_eq!(state.update(Action::ConnectNow, 1_001.0).last(), Some(&again));
    assert_eq!(state.update(Action::ConnectNow, 1_002.0), [], "once");
}

#[test]
fn a_page_that_is_left_while_its_connection_closes_does_not_connect_at_its_return() {
    let mut state = open();
    state.update(Action::Close, 20.0);
    assert_eq!(state.update(Action::PageLeft, 21.0), []);
    assert_eq!(state.update(Action::PageBack, 22.0), []);
}

#[test]
fn the_pause_grows_against_a_server_that_accepts_and_closes_until_a_connection_lasts() {
    let mut state = open();
    state.update(Action::Reconnect(true), 0.0);
    let wait = |state: &mut WorkbenchState, at: f64| {
        state.update(closed(1006), at);
        let Phase::Waiting { until, .. } = state.phase else {
            panic!("{:?}", state.phase)
        };
        state.update(Action::Tick, until);
        state.update(opened(), until);
        (until - at, until)
    };
    let (pause, until) = wait(&mut state, 100.0);
    assert_eq!(pause, 1_000.0);
    let (pause, until) = wait(&mut state, until + 10.0);
    assert_eq!(pause, 2_000.0);
    let (pause, _) = wait(&mut state, until + STABLE_MS);
    assert_eq!(pause, 1_000.0);
}

#[test]
fn a_host_without_a_scheme_gets_one_in_the_field_and_a_path_is_resolved_in_the_log() {
    let mut state = state();
    edit(&mut state, Field::Url, "localhost:39600/echo");
    let url = "ws://localhost:39600/echo";
    assert_eq!(
        state.update(Action::Connect, 0.0),
        [
            Effect::SaveField("url", url.into()),
            Effect::Record(LogEntry::Opening(url.into())),
            Effect::Open {
                url: url.into(),
                protocols: Vec::new()
            },
        ]
    );
    assert_eq!(state.url, url);
    state.update(Action::Cancel, 1.0);
    edit(&mut state, Field::Url, "/echo");
    let effects = state.update(Action::Connect, 2.0);
    assert_eq!(
        effects[0],
        Effect::Record(LogEntry::Opening("ws://127.0.0.1:8787/echo".into()))
    );
    assert_eq!(state.url, "/echo");
    state.update(Action::Cancel, 3.0);
    edit(&mut state, Field::Url, "?echo");
    assert_eq!(state.update(Action::Connect, 4.0), []);
    assert_eq!(error(&state), Some((Field::Url, Text::UrlUnreadable.into())));
}

#[test]
fn http_is_refused_for_other_servers_with_the_reason() {
    let mut state = state();
    edit(&mut state, Field::Url, "ws://other/echo");
    assert_eq!(state.update(Action::SendHttp, 0.0), []);
    let (field, message) = error(&state).unwrap();
    assert_eq!(field, Field::Message);
    let words = message.in_language(crate::i18n::Language::English);
    assert!(
        words.contains("security policy") && words.contains("http://127.0.0.1:8787"),
        "{words}"
    );
}

#[test]
fn that_a_message_was_not_sent_is_shown_until_the_state_changes() {
    let unsent = |state: &mut WorkbenchState| {
        state.update(Action::Send, 0.0);
        assert!(state.error.is_some());
    };
    let mut state = state();
    unsent(&mut state);
    state.update(Action::Connect, 0.0);
    unsent(&mut state);
    state.update(opened(), 1.0);
    assert_eq!(state.error, None);
    state.update(Action::Close, 2.0);
    unsent(&mut state);
    state.update(Action::Connection(ConnectionEvent::CloseOverdue), 3.0);
    assert_eq!(state.error, None);
    state.update(Action::Connect, 4.0);
    unsent(&mut state);
    state.update(Action::Cancel, 5.0);
    assert_eq!(state.error, None);
}
