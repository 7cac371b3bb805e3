use talkback_client::{Member, Offset};

use super::*;
use crate::{
    chat::{
        history::Part,
        outbox::SendState,
        timeline::{Body, Entry, Older},
    },
    i18n::Language,
    rows::Row,
};

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn state() -> ChatState {
    let mut state = ChatState::new("Ann".into(), |_| 0, |text| text.to_lowercase());
    open(&mut state, "lobby");
    state
}

fn apply(state: &mut ChatState, event: SessionEvent) -> Vec<Effect> {
    state.update(Action::Session(event), 10.0)
}

fn answer(epoch: u64, after: u64, head: u64, members: &[&str]) -> JoinedRoom {
    JoinedRoom {
        epoch: Epoch::from_random(epoch),
        head: Offset::new(head).unwrap(),
        after: Offset::new(after).unwrap(),
        users: u32::try_from(members.len()).unwrap(),
        members: Some(self::members(members)),
    }
}

fn members(names: &[&str]) -> Vec<Member> {
    names.iter().map(|name| Member { user: user(name) }).collect()
}

fn joined() -> ChatState {
    let mut state = state();
    state.update(Action::Join, 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 0, 0, &["Ann"]), Continuity::Fresh),
    );
    state
}

fn target(epoch: Option<u64>, offset: u64) -> Target {
    Target {
        epoch: epoch.map(Epoch::from_random),
        offset,
    }
}

fn from(name: &str, offset: u64, text: &str) -> SessionEvent {
    SessionEvent::Message(RoomMessage {
        offset,
        from: name.into(),
        at: 0.0,
        text: text.into(),
        deleted: false,
        own: name == "Ann",
        mentions: Vec::new(),
        mentions_me: false,
    })
}

fn acked(key: u64, epoch: u64, offset: u64) -> SessionEvent {
    SessionEvent::Acked {
        key,
        epoch: Epoch::from_random(epoch),
        offset,
        at: 5.0,
    }
}

fn welcome(max_bytes: Option<usize>) -> SessionEvent {
    SessionEvent::Welcome {
        user: user("Ann"),
        max_bytes,
    }
}

fn send(state: &mut ChatState, text: &str) -> Vec<Effect> {
    state.update(Action::Edit(Field::Message, text.into()), 0.0);
    without_drafts(state.update(Action::Send, 0.0))
}

fn without_drafts(effects: Vec<Effect>) -> Vec<Effect> {
    let is_draft = |effect: &Effect| matches!(effect, Effect::SaveDraft { .. });
    effects.into_iter().filter(|effect| !is_draft(effect)).collect()
}

/// Without those that keep failed messages over a reload.
fn without_failed(effects: Vec<Effect>) -> Vec<Effect> {
    let is_of_failed = |effect: &Effect| matches!(effect, Effect::LoadFailed(..) | Effect::SaveFailed { .. });
    effects.into_iter().filter(|effect| !is_of_failed(effect)).collect()
}

/// Every row; notices in angle brackets, own messages that the room has not delivered after a star.
fn shown(state: &ChatState) -> Vec<String> {
    let rows = state.timeline.previous().chain(state.timeline.current());
    let rows = rows.map(|row| match &row.content.body {
        Body::Message(RoomMessage { from, text, .. }) => format!("{from}: {text}"),
        Body::Notice(_, message) => format!("<{}>", message.in_language(Language::English)),
        Body::Presence { joined, left } => {
            format!("<{}>", sentences::presence(joined, left).in_language(Language::English))
        }
    });
    rows.chain(state.outbox.shown().map(|sent| format!("* {}", sent.text)))
        .collect()
}

const JOINED: &str = "<You joined lobby as Ann.>";

#[test]
fn joining_uses_the_room_of_the_path_and_the_trimmed_name_and_remembers_the_name() {
    let mut state = state();
    state.update(Action::Edit(Field::Name, " Ann ".into()), 0.0);
    let enter = Effect::Join {
        room: room("lobby"),
        name: user("Ann"),
        since: None,
    };
    assert_eq!(
        without_failed(state.update(Action::Join, 0.0)),
        [
            Effect::RememberName("Ann".into()),
            Effect::LoadRead(room("lobby")),
            enter
        ]
    );
    assert_eq!(
        state.update(Action::Join, 0.0),
        [],
        "a second click must not join twice"
    );
}

#[test]
fn an_invalid_name_is_an_error_of_its_field() {
    let mut state = state();
    state.update(Action::Edit(Field::Name, " ".into()), 0.0);
    assert_eq!(state.update(Action::Join, 0.0), [Effect::Focus(Focus::Name)]);
    assert_eq!(state.error.as_ref().unwrap().field, Some(Field::Name));
    state.update(Action::Edit(Field::Name, "a\u{202e}b".into()), 0.0);
    assert_eq!(state.update(Action::Join, 0.0), [Effect::Focus(Focus::Name)]);
    assert_eq!(state.error.unwrap().message, sentences::bad_in_name('\u{202e}'));
}

#[test]
fn the_shown_name_is_the_one_that_the_server_normalised() {
    let mut state = state();
    state.update(Action::Edit(Field::Name, "Ａｎｎ".into()), 0.0);
    state.update(Action::Join, 0.0);
    apply(&mut state, welcome(None));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 0, 0, &["Ann"]), Continuity::Fresh),
    );
    assert_eq!(shown(&state), [JOINED]);
}

#[test]
fn the_joined_notice_is_below_the_history() {
    let mut state = state();
    state.update(Action::Join, 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 3, 5, &["Ann"]), Continuity::Fresh),
    );
    apply(&mut state, from("Bob", 4, "a"));
    apply(&mut state, from("Bob", 5, "b"));
    apply(&mut state, from("Bob", 6, "c"));
    assert_eq!(shown(&state), ["Bob: a", "Bob: b", JOINED, "Bob: c"]);
    let live: Vec<_> = state.timeline.current().map(|row| row.content.live).collect();
    assert_eq!(live, [false, false, true, true], "history is not live");
}

#[test]
fn a_sent_message_is_shown_at_once_and_moves_to_its_offset_when_it_is_delivered() {
    let mut state = joined();
    let effects = send(&mut state, "hi");
    let [Effect::Send { key, text }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((text.as_str(), state.message.as_str()), ("hi", ""));
    assert_eq!(shown(&state), [JOINED, "* hi"]);
    apply(&mut state, SessionEvent::Written(*key));
    apply(&mut state, from("Bob", 1, "before"));
    apply(
        &mut state,
        SessionEvent::Acked {
            key: *key,
            epoch: Epoch::from_random(1),
            offset: 2,
            at: 5.0,
        },
    );
    assert_eq!(shown(&state), [JOINED, "Bob: before", "* hi"]);
    apply(&mut state, from("Ann", 2, "hi"));
    assert_eq!(shown(&state), [JOINED, "Bob: before", "Ann: hi"]);
}

#[test]
fn a_failed_message_can_be_retried_once_or_discarded() {
    let mut state = joined();
    send(&mut state, "a");
    apply(
        &mut state,
        SessionEvent::Failed {
            key: 1,
            reason: FailReason::Expired,
        },
    );
    assert_eq!(
        without_failed(state.update(Action::Retry(1), 0.0)),
        [Effect::Send {
            key: 2,
            text: "a".into()
        }]
    );
    assert_eq!(state.update(Action::Retry(1), 0.0), []);
    apply(
        &mut state,
        SessionEvent::Failed {
            key: 2,
            reason: FailReason::Expired,
        },
    );
    state.update(Action::Discard(2), 0.0);
    assert_eq!(shown(&state), [JOINED]);
    assert!(state.needs_ticks());
    state.update(Action::UndoDiscard, 0.0);
    assert_eq!(shown(&state), [JOINED, "* a"]);
    state.update(Action::UndoDiscard, 0.0);
    assert_eq!(shown(&state), [JOINED, "* a"], "once");
    state.update(Action::Discard(2), 0.0);
    state.update(Action::Tick, UNDO_MS);
    state.update(Action::UndoDiscard, UNDO_MS);
    assert_eq!(shown(&state), [JOINED], "it is too late");
}

#[test]
fn a_failed_message_stays_when_it_is_retried_or_edited_out_of_the_room() {
    let mut state = joined();
    send(&mut state, "a");
    let (key, reason) = (1, FailReason::Expired);
    apply(&mut state, SessionEvent::Failed { key, reason });
    state.update(Action::Leave, 0.0);
    assert_eq!(state.update(Action::Retry(key), 0.0), []);
    assert_eq!(state.update(Action::EditFailed(key), 0.0), []);
    assert_eq!(state.message, "");
    assert_eq!(shown(&state), ["<You left.>", "* a"]);
    state.update(Action::Join, 0.0);
    assert_eq!(without_failed(state.update(Action::Retry(key), 0.0)).len(), 1);
}

#[test]
fn leaving_and_joining_again_is_one_line_unless_something_was_said_between() {
    let mut state = joined();
    let rejoin = |state: &mut ChatState, head| {
        state.update(Action::Leave, 0.0);
        state.update(Action::Join, 0.0);
        let again = SessionEvent::Joined(answer(1, head, head, &["Ann"]), Continuity::Recovered);
        apply(state, again);
    };
    rejoin(&mut state, 0);
    rejoin(&mut state, 0);
    assert_eq!(shown(&state), [JOINED]);
    apply(&mut state, from("Bob", 1, "a"));
    rejoin(&mut state, 1);
    assert_eq!(shown(&state), [JOINED, "Bob: a", JOINED]);
}

#[test]
fn messages_sent_before_a_reload_are_shown_as_pending() {
    let mut state = joined();
    let effects = apply(&mut state, SessionEvent::Restored(vec!["a".into(), "b".into()]));
    assert_eq!(effects, [1, 2].map(|key| Effect::TrackRestored(room("lobby"), key)));
    assert_eq!(shown(&state), [JOINED, "* a", "* b"]);
    apply(&mut state, from("Ann", 1, "a"));
    assert_eq!(shown(&state), [JOINED, "Ann: a", "* b"]);
}

#[test]
fn sending_without_having_joined_is_an_error_and_keeps_the_text() {
    let mut state = state();
    assert_eq!(send(&mut state, "hi"), []);
    assert_eq!(state.message, "hi");
    assert_eq!(state.error, Some(FormError::of(Field::Message, Text::NotJoined.into())));
}

#[test]
fn a_message_sent_without_a_connection_is_queued() {
    let mut state = joined();
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Offline));
    assert_eq!(send(&mut state, "hi").len(), 1);
    assert_eq!(state.outbox.shown().next().unwrap().state, SendState::Queued);
}

#[test]
fn blank_messages_are_not_sent() {
    for blank in ["", "  ", "\n"] {
        let mut state = joined();
        assert_eq!(send(&mut state, blank), []);
        assert_eq!(state.error, None);
    }
}

#[test]
fn a_new_epoch_adds_a_notice_and_continues_below_the_earlier_messages() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "before"));
    send(&mut state, "acknowledged");
    apply(
        &mut state,
        SessionEvent::Acked {
            key: 1,
            epoch: Epoch::from_random(1),
            offset: 2,
            at: 5.0,
        },
    );
    send(&mut state, "on its way");
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Connecting));
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(2, 0, 0, &["Ann"]), Continuity::Reset),
    );
    apply(&mut state, from("Ann", 1, "on its way"));
    let lost = "<The server was restarted without its messages: it does not have those above this line any more.>";
    assert_eq!(
        shown(&state),
        [JOINED, "Bob: before", "Ann: acknowledged", lost, "Ann: on its way"]
    );
    assert_eq!(state.timeline.older(), Older::Beginning);
}

/// An `ack` may arrive before the `joined` of the same connection.
#[test]
fn an_own_message_that_was_acknowledged_before_the_room_is_reset_is_shown_once() {
    for (epoch, after) in [(2, 0), (1, 5)] {
        let mut state = joined();
        apply(&mut state, from("Bob", 1, "before"));
        for text in ["of epoch 1", "a", "b"] {
            send(&mut state, text);
        }
        apply(&mut state, acked(1, 1, 2));
        apply(&mut state, acked(2, epoch, after + 1));
        let joined = answer(epoch, after, after + 2, &["Ann"]);
        apply(&mut state, SessionEvent::Joined(joined, Continuity::Reset));
        apply(&mut state, from("Ann", after + 1, "a"));
        apply(&mut state, from("Ann", after + 2, "b"));
        apply(&mut state, acked(3, epoch, after + 2));
        let mut said = shown(&state);
        said.retain(|row| !row.starts_with('<'));
        assert_eq!(said, ["Bob: before", "Ann: of epoch 1", "Ann: a", "Ann: b"]);
    }
}

#[test]
fn an_own_message_that_was_acknowledged_before_a_recovery_with_another_epoch_is_shown_once() {
    let mut state = joined();
    for (key, epoch, offset) in [(1, 1, 1), (2, 2, 2)] {
        send(&mut state, &offset.to_string());
        apply(&mut state, acked(key, epoch, offset));
    }
    let recovered = answer(2, 0, 2, &["Ann"]);
    apply(&mut state, SessionEvent::Joined(recovered, Continuity::Recovered));
    apply(&mut state, from("Ann", 1, "1"));
    apply(&mut state, from("Ann", 2, "2"));
    apply(
        &mut state,
        SessionEvent::Joined(answer(3, 0, 0, &["Ann"]), Continuity::Reset),
    );
    let mut said = shown(&state);
    said.retain(|row| !row.starts_with('<'));
    assert_eq!(said, ["Ann: 1", "Ann: 2"]);
}

#[test]
fn a_cursor_older_than_the_retention_adds_a_notice() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "before"));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 500, 501, &["Ann"]), Continuity::Reset),
    );
    apply(&mut state, from("Bob", 501, "now"));
    assert_eq!(
        shown(&state)[2],
        "<You were away for longer than the server keeps messages: some are missing here.>"
    );
    assert_eq!(state.update(Action::LoadOlder, 0.0), [request_page(501)]);
}

#[test]
fn a_recovered_room_continues_without_a_notice_and_missed_messages_are_unread() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "a"));
    state.update(Action::VisibilityChanged(false), 0.0);
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 1, 2, &["Ann"]), Continuity::Recovered),
    );
    apply(&mut state, from("Bob", 2, "b"));
    assert_eq!(shown(&state), [JOINED, "Bob: a", "Bob: b"]);
    assert_eq!(state.unread.count, 1);
}

#[test]
fn joining_again_after_leaving_continues_at_the_cursor() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "a"));
    let read = Cursor {
        epoch: Epoch::from_random(1),
        offset: Offset::new(1).unwrap(),
    };
    let effects = [Effect::SaveRead(room("lobby"), read), Effect::Leave];
    assert_eq!(state.update(Action::Leave, 0.0), effects);
    assert!(state.is_out() && state.update(Action::Leave, 0.0).is_empty());
    assert_eq!(shown(&state), [JOINED, "Bob: a", "<You left.>"]);
    let effects = state.update(Action::Join, 0.0);
    let Effect::Join { since: Some(since), .. } = &effects[1] else {
        panic!("{effects:?}")
    };
    assert_eq!(since.offset.get(), 1);
}

#[test]
fn joins_and_leaves_of_others_are_notices_and_change_the_roster() {
    let mut state = joined();
    let presence = |users: u32, joined: &[&str], left: &[&str]| SessionEvent::Presence {
        users,
        change: PresenceChange::Changed {
            joined: members(joined),
            left: members(left),
        },
    };
    apply(&mut state, presence(3, &["Ann", "Bob", "Eve"], &[]));
    apply(&mut state, presence(2, &["Bob"], &["Eve", "Zoe"]));
    assert_eq!(shown(&state), [JOINED, "<Bob joined · Eve left>"]);
    assert_eq!(state.roster.names(), Some(&[user("Ann"), user("Bob")][..]));
}

#[test]
fn typing_is_signalled_while_connected_and_shown_of_others_until_their_message_arrives() {
    let mut state = joined();
    let edit = |text: &str| Action::Edit(Field::Message, text.into());
    let type_text = |state: &mut ChatState, text: &str, now| without_drafts(state.update(edit(text), now));
    assert_eq!(type_text(&mut state, "h", 0.0), [Effect::SignalTyping]);
    assert_eq!(type_text(&mut state, "hi", 100.0), []);
    assert_eq!(
        type_text(&mut state, " ", 9_000.0),
        [],
        "an emptied field is not typing"
    );
    apply(&mut state, SessionEvent::Typing(user("Ann")));
    apply(&mut state, SessionEvent::Typing(user("Bob")));
    assert!(state.typing.users().eq(&[user("Bob")]), "not the user's other tab");
    assert!(state.needs_ticks());
    apply(&mut state, from("Bob", 1, "there"));
    assert_eq!(state.typing.users().len(), 0);
    apply(&mut state, SessionEvent::Typing(user("Bob")));
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Connecting));
    assert_eq!(state.typing.users().len(), 0, "signals do not arrive");
    assert_eq!(type_text(&mut state, "hello", 20_000.0), []);
}

#[test]
fn older_messages_are_requested_once_and_only_in_a_room() {
    let mut state = joined();
    apply(
        &mut state,
        SessionEvent::Joined(answer(2, 9, 9, &["Ann"]), Continuity::Reset),
    );
    assert_eq!(state.update(Action::LoadOlder, 0.0), [request_page(10)]);
    assert_eq!(state.update(Action::LoadOlder, 0.0), []);
    state.update(Action::Leave, 0.0);
    assert_eq!(state.timeline.older(), Older::Failed, "no answer will arrive");
    assert_eq!(state.update(Action::LoadOlder, 0.0), []);
}

#[test]
fn news_counts_from_where_the_reader_left_the_end_and_ones_own_words_lead_back() {
    let mut state = joined();
    state.update(Action::Scrolled { at_end: false }, 0.0);
    apply(&mut state, from("Bob", 1, "a"));
    apply(&mut state, from("Bob", 2, "b"));
    assert_eq!(state.unread.count, 2);
    let first = state
        .timeline
        .current()
        .find(|row| matches!(row.content.body, Body::Message(_)));
    assert_eq!(state.unread.divider, first.map(|row| row.number));
    send(&mut state, "c");
    assert!(state.unread.at_end && state.unread.count == 0);
}

#[test]
fn without_a_list_of_users_only_their_number_changes() {
    let mut state = joined();
    let change = PresenceChange::Untold;
    apply(&mut state, SessionEvent::Presence { users: 3_000, change });
    let change = PresenceChange::Changed {
        joined: members(&["Bob"]),
        left: Vec::new(),
    };
    apply(&mut state, SessionEvent::Presence { users: 3_001, change });
    assert_eq!((state.roster.names(), state.roster.users()), (None, 3_001));
    assert_eq!(shown(&state), [JOINED]);
    let change = PresenceChange::List(members(&["Ann", "Bob"]));
    apply(&mut state, SessionEvent::Presence { users: 2, change });
    assert_eq!(
        (state.roster.names().map(<[_]>::len), state.roster.users()),
        (Some(2), 2)
    );
}

/// The lobby with too many users to list, and what the chat asks then.
fn joined_big_room() -> (ChatState, Vec<Effect>) {
    let mut state = state();
    state.update(Action::Join, 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    let answer = JoinedRoom {
        users: 5_000,
        members: None,
        ..answer(1, 0, 0, &[])
    };
    let effects = apply(&mut state, SessionEvent::Joined(answer, Continuity::Fresh));
    (state, searches(effects))
}

fn searches(effects: Vec<Effect>) -> Vec<Effect> {
    let is_search = |effect: &Effect| matches!(effect, Effect::FindPeople { .. });
    effects.into_iter().filter(is_search).collect()
}

fn search(part: &str, for_mention: bool) -> Effect {
    let part = part.into();
    Effect::FindPeople { part, for_mention }
}

fn found(part: &str, for_mention: bool, names: &[&str], more: bool) -> SessionEvent {
    SessionEvent::Found {
        part: part.into(),
        for_mention,
        found: Ok((names.iter().map(|name| user(name)).collect(), more)),
    }
}

#[test]
fn in_a_room_with_too_many_users_to_list_the_server_finds_them_as_one_types() {
    let (mut state, effects) = joined_big_room();
    assert_eq!(effects, [search("", false)]);
    let edit =
        |state: &mut ChatState, text: &str| searches(state.update(Action::Edit(Field::Person, text.into()), 20.0));
    assert_eq!(edit(&mut state, "a"), [], "one request at a time");
    assert_eq!(edit(&mut state, "an "), []);
    let effects = apply(&mut state, found("", false, &["Ann", "Bob"], true));
    assert_eq!(searches(effects), [search("an", false)], "the newest text");
    let effects = apply(&mut state, found("an", false, &["Ann", "Anton"], false));
    assert_eq!(searches(effects), []);
    assert_eq!(edit(&mut state, "ant"), [], "all of them are known");
    for (users, expected) in [(5_001, &[search("ant", false)][..]), (5_002, &[])] {
        let change = PresenceChange::Untold;
        let effects = apply(&mut state, SessionEvent::Presence { users, change });
        assert_eq!(searches(effects), expected, "what was found here is asked for once");
        apply(&mut state, found("ant", false, &["Anton"], false));
    }
    assert_eq!(edit(&mut state, "anto"), [search("anto", false)]);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Connecting));
    apply(&mut state, found("anto", false, &[], true));
    assert_eq!(edit(&mut state, "x"), [], "without a connection nothing is asked");
}

#[test]
fn names_of_a_mention_come_from_the_server_where_users_are_not_listed() {
    let (mut state, _) = joined_big_room();
    state.update(Action::Edit(Field::Message, "hi @an".into()), 20.0);
    assert_eq!(searches(state.update(Action::CaretAt(6), 20.0)), [search("an", true)]);
    assert_eq!(state.completion, None);
    apply(&mut state, found("an", true, &["Ann", "Anton", "Hanna"], false));
    let names = |state: &ChatState| -> Vec<String> {
        let completion = state.completion.as_ref();
        completion.map_or(Vec::new(), |completion| {
            completion.names.iter().map(ToString::to_string).collect()
        })
    };
    assert_eq!(names(&state), ["Anton"], "not the user, and names that begin like it");
    let effects = state.update(Action::TakeName(None), 20.0);
    assert_eq!(state.message, "hi @Anton ");
    assert_eq!(searches(effects), [], "the mention is whole");
    // An answer for a room that is not shown offers nothing in the one that is.
    state.update(Action::Edit(Field::Message, "hi @an".into()), 20.0);
    state.update(Action::CaretAt(6), 20.0);
    let completion = state.completion.clone();
    open(&mut state, "den");
    state.update(Action::Edit(Field::Message, "hi @an".into()), 20.0);
    state.update(Action::CaretAt(6), 20.0);
    let event = found("an", true, &["Anton"], false);
    state.update(Action::InRoom(room("lobby"), event), 20.0);
    assert!(completion.is_some() && state.completion.is_none());
}

#[test]
fn names_are_offered_only_for_what_the_user_writes_and_the_marked_one_stays_marked() {
    let (mut state, _) = joined_big_room();
    let write = |state: &mut ChatState, text: &str| {
        let mut effects = state.update(Action::Edit(Field::Message, text.into()), 20.0);
        effects.extend(state.update(Action::CaretAt(text.len()), 20.0));
        searches(effects)
    };
    let untold = || SessionEvent::Presence {
        users: 5_001,
        change: PresenceChange::Untold,
    };
    let marked = |state: &ChatState| {
        let completion = state.completion.as_ref();
        completion.map(|completion| completion.names[completion.marked].to_string())
    };
    write(&mut state, "@ab");
    apply(&mut state, found("ab", true, &["Abe", "Abel"], true));
    state.update(Action::MarkName { back: false }, 20.0);
    assert_eq!(marked(&state).as_deref(), Some("Abel"));
    apply(&mut state, found("a", true, &["Aaron"], true));
    assert_eq!(marked(&state).as_deref(), Some("Abel"), "a late answer changes nothing");
    assert_eq!(write(&mut state, "@abe"), [search("abe", true)]);
    state.update(Action::MarkName { back: false }, 20.0);
    apply(&mut state, found("abe", true, &["Abe Lee", "Abel", "Abe"], true));
    assert_eq!(
        marked(&state).as_deref(),
        Some("Abel"),
        "it is another one of the list now"
    );

    assert_eq!(write(&mut state, "@ab"), [search("ab", true)]);
    state.update(Action::Dismiss, 20.0);
    apply(&mut state, found("ab", true, &["Abe", "Abel"], true));
    assert_eq!(marked(&state), None, "the user does not want them");
    assert_eq!(searches(apply(&mut state, untold())), []);
    write(&mut state, "@abe");
    apply(&mut state, found("abe", true, &["Abe", "Abe Lee", "Abel"], true));
    let effects = state.update(Action::TakeName(None), 20.0);
    assert_eq!((searches(effects), &*state.message), (Vec::new(), "@Abel "));
    assert_eq!(searches(apply(&mut state, untold())), []);
    assert_eq!(marked(&state), None);

    write(&mut state, "@abel");
    send(&mut state, "@abel");
    apply(&mut state, found("abel", true, &["Abel Roe"], true));
    assert_eq!(marked(&state), None, "it is sent");
    write(&mut state, "@ab");
    open(&mut state, "den");
    state.update(Action::DraftLoaded("@ab".into()), 20.0);
    let answer = JoinedRoom {
        members: None,
        ..answer(1, 0, 0, &[])
    };
    let effects = apply(&mut state, SessionEvent::Joined(answer, Continuity::Fresh));
    assert_eq!(searches(effects), [search("", false)], "it is a draft");
}

#[test]
fn users_who_are_shown_are_asked_for_again_when_they_may_be_long_out_of_date() {
    let (mut state, _) = joined_big_room();
    let presence = |state: &mut ChatState, change| {
        let presence = SessionEvent::Presence { users: 2_000, change };
        searches(apply(state, presence))
    };
    let answer = |state: &mut ChatState, names: &[&str]| apply(state, found("", false, names, true));
    answer(&mut state, &["Ann"]);
    assert_eq!(presence(&mut state, PresenceChange::Untold), [], "not with each change");
    assert_eq!(presence(&mut state, PresenceChange::List(members(&["Ann"]))), []);
    assert_eq!(presence(&mut state, PresenceChange::Untold), [search("", false)]);
    answer(&mut state, &["Bob"]);
    state.update(Action::VisibilityChanged(false), 20.0);
    assert_eq!(presence(&mut state, PresenceChange::Untold), []);
    let shown = state.update(Action::VisibilityChanged(true), 20.0);
    assert_eq!(searches(shown), [search("", false)]);
    answer(&mut state, &["Eve"]);
    assert_eq!(presence(&mut state, PresenceChange::Untold), []);
    open(&mut state, "den");
    assert_eq!(searches(open(&mut state, "lobby")), [search("", false)]);
}

#[test]
fn a_request_for_users_that_failed_is_asked_again_with_the_next_text() {
    let (mut state, _) = joined_big_room();
    let failed = SessionEvent::Found {
        part: String::new(),
        for_mention: false,
        found: Err(PageError::TooMany),
    };
    assert_eq!(searches(apply(&mut state, failed)), [], "no loop");
    assert!(!state.found.is_refused);
    let effects = state.update(Action::Edit(Field::Person, "a".into()), 20.0);
    assert_eq!(searches(effects), [search("a", false)]);
}

#[test]
fn a_server_that_finds_no_users_is_not_asked_again_until_the_room_is_joined_again() {
    let (mut state, _) = joined_big_room();
    let refused = SessionEvent::Found {
        part: String::new(),
        for_mention: false,
        found: Err(PageError::Refused {
            code: code::FORBIDDEN.into(),
            message: String::new(),
        }),
    };
    assert_eq!(searches(apply(&mut state, refused)), []);
    assert!(state.found.is_refused);
    assert_eq!(
        searches(state.update(Action::Edit(Field::Person, "a".into()), 20.0)),
        []
    );
    let answer = JoinedRoom {
        members: None,
        ..answer(1, 0, 0, &[])
    };
    let effects = apply(&mut state, SessionEvent::Joined(answer, Continuity::Recovered));
    assert_eq!(searches(effects), [search("a", false)]);
}

#[test]
fn lost_messages_are_counted_and_those_that_were_not_delivered_can_be_retried() {
    let mut state = joined();
    for (key, offset) in [(1, 1), (2, 2)] {
        send(&mut state, "hi");
        apply(&mut state, acked(key, 1, offset));
    }
    apply(&mut state, from("Ann", 1, "hi"));
    let (epoch, offsets) = (Epoch::from_random(1), vec![1, 2]);
    apply(&mut state, SessionEvent::Lost { epoch, offsets });
    assert_eq!(
        shown(&state),
        [
            JOINED,
            "Ann: hi",
            "<2 of your messages were lost by the server.>",
            "* hi"
        ]
    );
    apply(
        &mut state,
        SessionEvent::Joined(answer(2, 0, 0, &["Ann"]), Continuity::Reset),
    );
    assert_eq!(
        state.outbox.shown().next().map(|sent| &sent.state),
        Some(&SendState::Lost)
    );
    assert_eq!(without_failed(state.update(Action::Retry(2), 0.0)).len(), 1);
}

#[test]
fn a_search_goes_on_in_older_messages_until_it_has_found_another_one() {
    let mut state = state();
    state.update(Action::Join, 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    let answer = answer(1, 5_000, 5_001, &["Ann"]);
    apply(&mut state, SessionEvent::Joined(answer, Continuity::Fresh));
    apply(&mut state, SessionEvent::Message(said("Bob", 5_001)));
    state.update(Action::ToggleSearch, 0.0);
    state.update(Action::Edit(Field::Search, "bob 4800".into()), 0.0);
    let page = |first: u64, last: u64| SessionEvent::Page {
        before: last + 1,
        epoch: Epoch::from_random(1),
        messages: (first..=last).map(|offset| said("Bob", offset)).collect(),
        more: true,
    };
    let older = |before: u64| vec![request_page(before)];
    assert_eq!(state.update(Action::SearchBeyond, 0.0), older(5_001));
    assert_eq!(state.update(Action::Tick, 0.0), [], "one request at a time");
    assert_eq!(apply(&mut state, page(4_901, 5_000)), older(4_901));
    let effects = apply(&mut state, page(4_800, 4_900));
    let row = state.timeline.search("bob 4800", |text| text.to_lowercase())[0];
    assert_eq!(effects, [Effect::ShowRow(row)]);
    assert_eq!(state.search.as_ref().unwrap().pages_left, 0);
    // As many pages as the bound, then the user has to ask again.
    state.update(Action::Edit(Field::Search, "nobody says this".into()), 0.0);
    let (mut first, mut pages) = (4_800, 0);
    let mut effects = state.update(Action::SearchBeyond, 0.0);
    while let [Effect::RequestPage { before, .. }] = effects[..] {
        assert_eq!(before, first);
        pages += 1;
        first -= 100;
        effects = apply(&mut state, page(first, first + 99));
    }
    assert_eq!((effects, pages + 1), (vec![], MAX_SEARCHED_PAGES));
    assert!(state.has_older());
    assert_eq!(state.update(Action::SearchBeyond, 0.0), older(first));
    let failed = SessionEvent::PageFailed { before: first };
    assert_eq!(apply(&mut state, failed), [], "not again by itself");
    assert_eq!(state.search.as_ref().unwrap().pages_left, 0);
    assert_eq!(state.update(Action::SearchBeyond, 0.0), older(first));
    let end = SessionEvent::Page {
        before: first,
        epoch: Epoch::from_random(1),
        messages: (first - 100..first).map(|offset| said("Bob", offset)).collect(),
        more: false,
    };
    let focus = Effect::Focus(Focus::Search);
    assert_eq!(apply(&mut state, end), [focus], "there is no button any more");
}

fn refused(code: &str) -> SessionEvent {
    SessionEvent::Refused {
        code: code.into(),
        message: "only friends".into(),
    }
}

#[test]
fn a_room_or_name_that_the_server_refuses_is_an_error_of_its_field() {
    let mut state = joined();
    assert_eq!(
        apply(&mut state, refused("bad_room")),
        [
            Effect::Leave,
            Effect::Focus(Focus::NameIfLost),
            Effect::ForgetRoom(room("lobby"))
        ]
    );
    assert_eq!(state.error.as_ref().unwrap().field, Some(Field::Room));
    let mut state = joined();
    let cause = Cause {
        code: 4403,
        reason: "brackets are not allowed".into(),
    };
    assert_eq!(
        apply(&mut state, SessionEvent::Stopped(cause.clone())),
        [Effect::Focus(Focus::NameIfLost)]
    );
    let error = state.error.unwrap();
    assert_eq!(error.field, Some(Field::Name));
    assert_eq!(error.message, sentences::name_refused(&cause.reason));
}

#[test]
fn a_refused_join_or_session_ends_the_membership_with_the_reason() {
    let mut state = joined();
    let effects = apply(&mut state, refused("forbidden"));
    let expected = vec![Effect::Leave, Effect::Focus(Focus::NameIfLost)];
    assert_eq!((effects, state.is_out()), (expected, true));
    let message = sentences::room_refused("forbidden", "only friends");
    assert_eq!(state.error.as_ref().unwrap().message, message);
    let mut state = joined();
    let cause = Cause {
        code: 4426,
        reason: String::new(),
    };
    apply(&mut state, SessionEvent::Stopped(cause.clone()));
    assert!(state.is_out());
    assert_eq!(state.error, Some(FormError::of_connection(sentences::stopped(&cause))));
}

#[test]
fn another_room_clears_the_timeline_and_is_joined_if_the_user_was_in_a_room() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "a"));
    let effects = open(&mut state, "大厅");
    assert!(matches!(effects.last(), Some(Effect::Join { room, since: None, .. }) if &**room == "大厅"));
    assert_eq!(shown(&state), Vec::<String>::new());
    let mut state = self::state();
    let other = room("b");
    assert_eq!(
        state.update(Action::RoomChanged(Ok(other.clone())), 0.0),
        [
            Effect::LoadDraft(other.clone()),
            Effect::RememberRoom(other.clone()),
            Effect::LoadRead(other.clone()),
            Effect::LoadHistory(other.clone())
        ]
    );
    assert_eq!(
        state.update(Action::HistoryLoaded(other.clone(), None), 0.0),
        [Effect::LoadPreview(other)]
    );
}

fn preview(epoch: u64, offsets: std::ops::RangeInclusive<u64>) -> Action {
    let cursor = Cursor {
        epoch: Epoch::from_random(epoch),
        offset: Offset::new(*offsets.end()).unwrap(),
    };
    let messages = offsets.map(|offset| said("Zoe", offset)).collect();
    Action::PreviewLoaded(room("lobby"), Preview { cursor, messages })
}

#[test]
fn a_room_is_read_before_joining_and_its_messages_come_once() {
    let mut state = state();
    state.update(preview(1, 2..=3), 0.0);
    assert_eq!(shown(&state), ["Zoe: Zoe 2", "Zoe: Zoe 3"]);
    assert_eq!(
        state.timeline.older(),
        Older::Unknown,
        "only members request older ones"
    );
    state.update(preview(1, 2..=2), 0.0);
    assert_eq!(shown(&state).len(), 2, "it was read before the other one");
    state.update(preview(1, 3..=4), 0.0);
    assert_eq!(shown(&state), ["Zoe: Zoe 3", "Zoe: Zoe 4"]);
    let last = state.timeline.last_number();
    state.update(Action::Edit(Field::Name, "Zoe".into()), 0.0);
    let effects = state.update(Action::Join, 0.0);
    assert!(
        matches!(effects.last(), Some(Effect::Join { since: None, .. })),
        "{effects:?}"
    );
    state.update(preview(1, 3..=9), 0.0);
    assert_eq!(shown(&state).len(), 2, "until the room answers");
    let answer = answer(1, 2, 4, &["Zoe"]);
    apply(&mut state, SessionEvent::Joined(answer, Continuity::Fresh));
    for offset in [3, 4] {
        apply(&mut state, SessionEvent::Message(said("Zoe", offset)));
    }
    assert_eq!(
        shown(&state),
        ["Zoe: Zoe 3", "Zoe: Zoe 4", "<You joined lobby as Zoe.>"]
    );
    let rows: Vec<_> = state.timeline.current().collect();
    assert!(rows[0].content.is_own(), "now it is known who reads them");
    assert!(rows[0].number > last, "numbers are not used again");
}

#[test]
fn a_room_that_is_read_before_joining_takes_the_place_of_what_the_browser_kept_if_it_is_newer() {
    let kept = || Action::HistoryLoaded(room("lobby"), Some(stored(&[(1, 3, 4)])));
    for (preview, expected) in [(preview(1, 2..=4), "Bob: Bob 4"), (preview(1, 2..=5), "Zoe: Zoe 5")] {
        let mut state = ChatState::new("Ann".into(), |_| 0, |text| text.to_lowercase());
        let effects = state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0);
        assert_eq!(effects.last(), Some(&Effect::LoadHistory(room("lobby"))));
        assert_eq!(state.update(kept(), 0.0), [Effect::LoadPreview(room("lobby"))]);
        state.update(preview, 0.0);
        assert_eq!(shown(&state).last().unwrap(), expected);
    }
}

#[test]
fn kept_messages_that_come_late_are_shown_to_a_user_who_has_not_joined_unless_the_preview_is_newer() {
    let kept = || Action::HistoryLoaded(room("lobby"), Some(stored(&[(1, 3, 4)])));
    for (actions, expected) in [
        (vec![kept(), preview(1, 2..=4)], "Bob: Bob 4"),
        (vec![preview(1, 2..=4), kept()], "Bob: Bob 4"),
        (vec![preview(1, 2..=5), kept()], "Zoe: Zoe 5"),
        (vec![preview(2, 2..=4), kept()], "Zoe: Zoe 4"),
    ] {
        let mut state = ChatState::new("Ann".into(), |_| 0, |text| text.to_lowercase());
        state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0);
        assert_eq!(
            state.update(Action::HistoryLate, 0.0),
            [Effect::LoadPreview(room("lobby"))]
        );
        for action in actions {
            assert_eq!(state.update(action, 0.0), []);
        }
        assert_eq!(shown(&state).last().unwrap(), expected);
        assert_eq!(state.unread.count, 0);
    }
}

#[test]
fn the_messages_of_one_user_are_not_those_of_the_next_one_in_any_room() {
    let since = |effects: Vec<Effect>| {
        let since = effects.into_iter().find_map(|effect| match effect {
            Effect::Join { since, .. } => Some(since),
            _ => None,
        });
        since.expect("the room is joined")
    };
    let name = |state: &mut ChatState, name: &str| state.update(Action::Edit(Field::Name, name.into()), 0.0);
    let mut state = joined();
    apply(&mut state, from("Ann", 1, "a"));
    open(&mut state, "b");
    in_room(
        &mut state,
        "b",
        SessionEvent::Joined(answer(1, 0, 0, &["Ann"]), Continuity::Fresh),
    );
    apply(&mut state, from("Ann", 1, "b"));
    state.update(Action::Leave, 0.0);
    name(&mut state, "Bob");
    let effects = state.update(Action::Join, 0.0);
    assert_eq!((since(effects), shown(&state)), (None, vec![]), "they come again");
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    let answer = answer(1, 0, 1, &["Bob"]);
    apply(&mut state, SessionEvent::Joined(answer, Continuity::Fresh));
    let of_ann = RoomMessage {
        own: false,
        ..said("Ann", 1)
    };
    apply(&mut state, SessionEvent::Message(of_ann));
    state.update(Action::HistoryWritable, 0.0);
    let batches = state.take_unkept();
    let own = batches
        .iter()
        .flat_map(|batch| &batch.rows)
        .map(|row| row.content.is_own());
    assert_eq!(
        own.collect::<Vec<_>>(),
        [false],
        "as Bob's they are kept as those of another user"
    );
    let effects = open(&mut state, "lobby");
    assert_eq!((since(effects), shown(&state)), (None, vec![]));

    // What the browser kept of Ann comes when Bob was refused.
    apply(&mut state, refused("forbidden"));
    state.update(Action::RoomChanged(Ok(room("c"))), 0.0);
    let kept = || Action::HistoryLoaded(room("c"), Some(stored(&[(1, 3, 4)])));
    state.update(kept(), 0.0);
    assert_eq!(shown(&state), Vec::<String>::new());

    // Before anybody has joined, it is shown to all.
    let mut state = ChatState::new("Guest 7".into(), |_| 0, |text| text.to_lowercase());
    state.update(Action::RoomChanged(Ok(room("c"))), 0.0);
    state.update(kept(), 0.0);
    assert_eq!(shown(&state).len(), 2);
    name(&mut state, "Bob");
    let effects = state.update(Action::Join, 0.0);
    assert_eq!((since(effects), shown(&state)), (None, vec![]));
}

#[test]
fn what_is_new_is_read_before_joining_once_it_is_known_that_the_room_is_not_joined_at_once() {
    let is_read = |effects: &[Effect]| effects.contains(&Effect::LoadPreview(room("lobby")));
    let (mut state, effects) = keeping();
    assert!(!is_read(&effects), "{effects:?}");
    let effects = state.update(Action::HistoryLoaded(room("lobby"), None), 0.0);
    assert!(matches!(&effects[..], [Effect::Join { .. }]), "{effects:?}");

    // A room that was shown before is read again.
    let mut state = self::state();
    state.update(preview(1, 2..=3), 0.0);
    open(&mut state, "b");
    let effects = state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0);
    assert!(!is_read(&effects), "{effects:?}");
    let effects = state.update(Action::HistoryLoaded(room("lobby"), None), 0.0);
    assert!(is_read(&effects), "{effects:?}");
    assert_eq!(shown(&state).len(), 2);
}

#[test]
fn a_link_to_a_message_is_followed_in_the_room_that_is_shown_and_in_another_one() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "a"));
    let row = state.timeline.last_number();
    let follow = |state: &mut ChatState, name, offset: Option<u64>| {
        let target = offset.map(|offset| target(None, offset));
        state.update(Action::Follow(room(name), target), 0.0)
    };
    assert_eq!(
        follow(&mut state, "lobby", Some(1)),
        [Effect::NavigateTo(room("lobby"), target(None, 1)), Effect::ShowRow(row)]
    );
    assert_eq!(
        follow(&mut state, "b", Some(1)),
        [Effect::NavigateTo(room("b"), target(None, 1))]
    );
    assert_eq!(follow(&mut state, "b", None), [Effect::Navigate(room("b"))]);
}

#[test]
fn a_message_over_the_servers_limit_is_not_sent_and_kept() {
    let mut state = joined();
    apply(&mut state, welcome(Some(10)));
    // A quotation mark has two bytes in JSON, and the text has two around it.
    assert_eq!(
        send(&mut state, "12\"4567"),
        [Effect::Send {
            key: 1,
            text: "12\"4567".into()
        }]
    );
    assert_eq!(send(&mut state, "12\"45678"), []);
    assert_eq!((state.message.as_str(), state.size()), ("12\"45678", Some((11, 10))));
    let reason = FailReason::TooLarge { bytes: 11, max: 10 };
    assert_eq!(
        state.error,
        Some(FormError::of(Field::Message, sentences::failed(&reason)))
    );
    assert_eq!(state.outbox.shown().count(), 1);
}

#[test]
fn a_draft_belongs_to_its_room_and_ends_when_it_is_sent() {
    let draft = |room: &str, text: &str| Effect::SaveDraft {
        room: self::room(room),
        text: text.into(),
    };
    let mut state = joined();
    let effects = state.update(Action::Edit(Field::Message, "half a".into()), 0.0);
    assert!(effects.contains(&draft("lobby", "half a")), "{effects:?}");
    open(&mut state, "b");
    assert_eq!(state.message, "", "it is not the other room's");
    state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0);
    state.update(Action::DraftLoaded("half a".into()), 0.0);
    assert_eq!(state.message, "half a");
    let effects = state.update(Action::Send, 0.0);
    assert!(effects.contains(&draft("lobby", "")), "{effects:?}");
}

#[test]
fn a_message_from_another_tab_of_the_user_is_an_own_one_and_not_unread() {
    let mut state = joined();
    state.update(Action::Scrolled { at_end: false }, 0.0);
    let elsewhere = |offset, text: &str| RoomMessage {
        offset,
        from: "Ann".into(),
        at: 0.0,
        text: text.into(),
        deleted: false,
        own: false,
        mentions: Vec::new(),
        mentions_me: false,
    };
    send(&mut state, "hi");
    state.update(Action::Scrolled { at_end: false }, 0.0);
    apply(&mut state, SessionEvent::Message(elsewhere(1, "hi")));
    let is_own = |row: &Rc<Row<Entry>>| matches!(&row.content.body, Body::Message(message) if message.own);
    let own: Vec<_> = state.timeline.current().map(is_own).collect();
    assert_eq!((own.last(), state.unread.count), (Some(&true), 0));
    assert_eq!(
        state.outbox.shown().count(),
        1,
        "this tab's own message is still on its way"
    );
}

#[test]
fn the_same_room_again_changes_nothing() {
    let mut state = joined();
    assert_eq!(state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0), []);
    assert!(state.is_live());
}

#[test]
fn a_path_with_an_invalid_room_shows_none_and_is_an_error_of_its_field() {
    let mut state = joined();
    let effects = state.update(Action::RoomChanged(parse_room("a b")), 0.0);
    assert!(matches!(&effects[..], [Effect::SaveRead(..)]), "{effects:?}");
    assert!(state.is_out() && state.room.is_none());
    assert_eq!(state.error.as_ref().unwrap().field, Some(Field::Room));
    assert_eq!(state.update(Action::Join, 0.0), [], "there is no room to join");
}

#[test]
fn the_page_navigates_only_to_a_valid_room_name() {
    let mut state = state();
    state.update(Action::Edit(Field::OtherRoom, " b ".into()), 0.0);
    assert_eq!(state.update(Action::GoToRoom, 0.0), [Effect::Navigate(room("b"))]);
    state.update(Action::Edit(Field::OtherRoom, "a/b".into()), 0.0);
    assert_eq!(state.update(Action::GoToRoom, 0.0), [Effect::Focus(Focus::OtherRoom)]);
    assert_eq!(state.error.unwrap().field, Some(Field::OtherRoom));
}

#[test]
fn a_failed_message_is_edited_in_the_message_field_before_what_is_written_there() {
    let mut state = joined();
    let effects = send(&mut state, "first try");
    assert_eq!(
        state.update(Action::EditFailed(1), 0.0),
        [],
        "{effects:?} is not failed"
    );
    let reason = FailReason::Expired;
    apply(&mut state, SessionEvent::Failed { key: 1, reason });
    state.update(Action::Edit(Field::Message, "next".into()), 0.0);
    let text = "first try\nnext".to_owned();
    let draft = Effect::SaveDraft {
        room: room("lobby"),
        text: text.clone(),
    };
    assert_eq!(
        without_failed(state.update(Action::EditFailed(1), 0.0)),
        [draft, Effect::Focus(Focus::Message)]
    );
    assert_eq!((state.outbox.shown().count(), state.message), (0, text));
}

#[test]
fn a_sheet_closes_with_its_button_the_escape_key_and_another_room_and_gives_the_focus_back() {
    let mut state = joined();
    let focus = |focus| vec![Effect::Focus(focus)];
    let people = Action::ToggleSheet;
    assert_eq!(
        state.update(people(Sheet::People), 0.0),
        focus(Focus::In(Sheet::People))
    );
    assert_eq!(
        state.update(people(Sheet::People), 0.0),
        focus(Focus::Opener(Sheet::People))
    );
    state.update(people(Sheet::Rooms), 0.0);
    assert_eq!(state.update(Action::Dismiss, 0.0), focus(Focus::Opener(Sheet::Rooms)));
    assert_eq!(state.update(Action::Dismiss, 0.0), []);
    state.update(people(Sheet::Rooms), 0.0);
    assert_eq!(
        state.update(Action::OpenRoom(room("b")), 0.0),
        [Effect::Navigate(room("b"))]
    );
    assert_eq!(state.sheet, None);
}

#[test]
fn the_form_for_another_room_gets_the_focus_and_closes_without_its_error() {
    let mut state = joined();
    assert_eq!(
        state.update(Action::ToggleRoomForm, 0.0),
        [Effect::Focus(Focus::OtherRoom)]
    );
    state.update(Action::Edit(Field::OtherRoom, "a b".into()), 0.0);
    state.update(Action::GoToRoom, 0.0);
    assert!(state.adds_room && state.error.is_some());
    state.update(Action::ToggleRoomForm, 0.0);
    assert!(!state.adds_room && state.error.is_none());
}

fn in_room(state: &mut ChatState, name: &str, event: SessionEvent) -> Vec<Effect> {
    state.update(Action::InRoom(room(name), event), 10.0)
}

/// Opens a room of which the browser has kept nothing.
fn open(state: &mut ChatState, name: &str) -> Vec<Effect> {
    let mut effects = state.update(Action::RoomChanged(Ok(room(name))), 0.0);
    effects.extend(state.update(Action::HistoryLoaded(room(name), None), 0.0));
    effects
}

#[test]
fn a_room_stays_joined_beside_the_one_that_is_shown_and_counts_what_is_unread() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "read"));
    let effects = open(&mut state, "b");
    assert!(!effects.contains(&Effect::Leave), "{effects:?}");
    let opened = Membership::Joining(ConnectionStatus::Open);
    assert_eq!(state.membership, opened, "the connection of the other room is used");
    in_room(
        &mut state,
        "b",
        SessionEvent::Joined(answer(7, 0, 0, &["Ann"]), Continuity::Fresh),
    );
    in_room(&mut state, "lobby", from("Bob", 2, "unread"));
    in_room(&mut state, "lobby", from("Bob", 3, "@ann look"));
    in_room(&mut state, "elsewhere", from("Bob", 4, "no such room"));
    let unread = state.others.get(&room("lobby")).unwrap().unread;
    assert_eq!((unread.count, unread.mentions, state.unread_in_all()), (2, 1, 2));
    assert_eq!(shown(&state), ["<You joined b as Ann.>"]);

    let mut rooms = RecentRooms::parse("lobby\nb");
    rooms.toggle_mute(&room("lobby"));
    state.update(Action::RoomsLoaded(rooms), 0.0);
    assert_eq!(state.unread_in_all(), 1, "of a muted room the mentions count");
    let mut rooms = RecentRooms::parse("lobby\nb");
    rooms.toggle_mute(&room("b"));
    state.update(Action::RoomsLoaded(rooms), 0.0);
    state.update(Action::VisibilityChanged(false), 0.0);
    in_room(&mut state, "b", from("Bob", 1, "muted"));
    assert_eq!(state.unread_in_all(), 2, "also of the room that is shown");
    state.update(Action::VisibilityChanged(true), 0.0);

    let effects = open(&mut state, "lobby");
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::Join { .. })),
        "{effects:?}"
    );
    assert_eq!(shown(&state), [JOINED, "Bob: read", "Bob: unread", "Bob: @ann look"]);
    assert_eq!((state.unread.count, state.unread_in_all()), (0, 0));
    assert!(state.unread.divider.is_some() && state.is_live());
}

#[test]
fn the_connection_and_leaving_concern_all_rooms() {
    let mut state = joined();
    open(&mut state, "b");
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Offline));
    let other = |state: &ChatState| state.others.get(&room("lobby")).unwrap().membership;
    assert_eq!(other(&state).connection(), Some(ConnectionStatus::Offline));
    assert!(state.update(Action::Leave, 0.0).contains(&Effect::Leave));
    assert_eq!(other(&state), Membership::Out);
    open(&mut state, "lobby");
    assert!(state.is_out(), "it is not joined again by itself");
}

#[test]
fn a_room_that_ends_in_the_background_is_left_alone_and_shows_no_error_elsewhere() {
    let mut state = joined();
    open(&mut state, "b");
    let effects = in_room(&mut state, "lobby", refused("forbidden"));
    assert_eq!(effects, [Effect::LeaveRoom(room("lobby"))]);
    assert_eq!((state.error.is_some(), state.is_out()), (false, false));
    assert_eq!(
        state.update(Action::ForgetRoom(room("lobby")), 0.0),
        [Effect::LeaveRoom(room("lobby")), Effect::ForgetRoom(room("lobby"))]
    );
    assert!(state.others.get(&room("lobby")).is_none());
}

#[test]
fn a_room_that_is_opened_again_uses_no_key_of_its_messages_before() {
    let mut state = joined();
    send(&mut state, "a");
    open(&mut state, "b");
    state.update(Action::ForgetRoom(room("lobby")), 0.0);
    open(&mut state, "lobby");
    send(&mut state, "b");
    apply(&mut state, acked(1, 1, 1));
    let sent = state.outbox.shown().next().unwrap();
    assert_eq!((sent.key, &sent.state), (2, &SendState::Queued));
}

#[test]
fn forgetting_the_last_joined_room_closes_the_connection() {
    let mut state = joined();
    open(&mut state, "b");
    let effects = in_room(&mut state, "b", refused("forbidden"));
    assert_eq!(
        effects,
        [Effect::LeaveRoom(room("b")), Effect::Focus(Focus::NameIfLost)]
    );
    let read = Cursor {
        epoch: Epoch::from_random(1),
        offset: Offset::new(0).unwrap(),
    };
    assert_eq!(
        state.update(Action::ForgetRoom(room("lobby")), 0.0),
        [
            Effect::SaveRead(room("lobby"), read),
            Effect::Leave,
            Effect::ForgetRoom(room("lobby"))
        ]
    );
}

#[test]
fn the_room_that_was_shown_the_longest_ago_is_left_for_too_many_others() {
    let mut state = joined();
    let mut left = Vec::new();
    for number in 0..20 {
        let name = number.to_string();
        left.extend(open(&mut state, &name).into_iter().filter_map(|effect| match effect {
            Effect::LeaveRoom(room) => Some(room.to_string()),
            _ => None,
        }));
        let joined = answer(number, 0, 0, &["Ann"]);
        in_room(&mut state, &name, SessionEvent::Joined(joined, Continuity::Fresh));
    }
    assert_eq!(left, ["lobby", "0", "1", "2"]);
}

#[test]
fn a_message_that_is_older_than_the_loaded_ones_is_loaded_and_shown() {
    let mut state = joined();
    let joined = answer(1, 6, 7, &["Ann"]);
    apply(&mut state, SessionEvent::Joined(joined, Continuity::Reset));
    let go = |state: &mut ChatState| state.update(Action::GoTo(Seek::Message(target(None, 4))), 0.0);
    assert_eq!(go(&mut state), [], "what the room sends by itself comes first");
    assert_eq!(apply(&mut state, from("Bob", 7, "g")), [request_page(5)]);
    let page = |from: u64, to: u64| SessionEvent::Page {
        before: to + 1,
        epoch: Epoch::from_random(1),
        messages: (from..=to)
            .map(|offset| match self::from("Bob", offset, "x") {
                SessionEvent::Message(message) => message,
                _ => unreachable!(),
            })
            .collect(),
        more: true,
    };
    assert_eq!(apply(&mut state, page(3, 4)), [request_page(7)], "what follows it too");
    state.update(Action::Scrolled { at_end: true }, 0.0);
    assert!(!state.unread.at_end, "nothing is dropped meanwhile");
    let effects = apply(&mut state, page(5, 6));
    assert!(!state.timeline.is_away());
    let row = state.timeline.current().find(|row| match &row.content.body {
        Body::Message(message) => message.offset == 4,
        Body::Notice(..) | Body::Presence { .. } => false,
    });
    assert_eq!(effects, [Effect::ShowRow(row.unwrap().number)]);
    for (seek, said) in [
        (Seek::Time(1.0), Text::NothingFound),
        (Seek::Message(target(Some(2), 4)), Text::MessageNotThere),
        (Seek::Message(target(Some(1), 99)), Text::MessageNotThere),
    ] {
        state.update(Action::GoTo(seek), 5.0);
        assert_eq!(state.flash.map(|(text, _)| text), Some(said));
    }
    assert!(state.needs_ticks());
    state.update(Action::Tick, 5.0 + FLASH_MS);
    assert_eq!(state.flash, None);
}

/// A message that Bob said, `offset` seconds after the first.
fn said_at(offset: u64) -> RoomMessage {
    RoomMessage {
        at: f64::from(u32::try_from(offset).unwrap()) * 1_000.0,
        ..said("Bob", offset)
    }
}

/// In a room with so many messages, of which the newest are loaded.
fn in_a_long_room(head: u64) -> ChatState {
    let mut state = state();
    state.update(Action::Join, 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    let joined = answer(1, head - 2, head, &["Ann"]);
    apply(&mut state, SessionEvent::Joined(joined, Continuity::Fresh));
    for offset in head - 1..=head {
        apply(&mut state, SessionEvent::Message(said_at(offset)));
    }
    state
}

/// Answers requests for pages as a server that keeps the messages after `kept`, until there is none; returns the other effects and the number of requests.
fn serve(state: &mut ChatState, mut effects: Vec<Effect>, kept: u64) -> (Vec<Effect>, usize) {
    let mut requests = 0;
    while let [Effect::RequestPage { before, limit }] = effects[..] {
        requests += 1;
        let first = before.saturating_sub(u64::from(limit)).max(kept + 1);
        let page = SessionEvent::Page {
            before,
            epoch: Epoch::from_random(1),
            messages: (first..before).map(said_at).collect(),
            more: first > kept + 1,
        };
        effects = apply(state, page);
    }
    (effects, requests)
}

fn row_of(state: &ChatState, offset: u64) -> u64 {
    let row = state
        .timeline
        .current()
        .find(|row| state.timeline.offset_in(row.number) == Some(offset));
    row.unwrap().number
}

#[test]
fn a_message_far_away_is_gone_to_with_a_page_around_it() {
    let mut state = in_a_long_room(100_000);
    let effects = state.update(Action::GoTo(Seek::Message(target(Some(1), 7))), 0.0);
    let served = serve(&mut state, effects, 0);
    assert_eq!(served, (vec![Effect::ShowRow(row_of(&state, 7))], 2));
    assert!(state.timeline.is_away() && state.timeline.current().count() == 107);
    state.update(Action::Scrolled { at_end: true }, 0.0);
    assert!(!state.unread.at_end, "it is not the end of the log");
    let effects = state.update(Action::GoTo(Seek::Message(target(Some(1), 99_999))), 0.0);
    assert_eq!(effects, [Effect::ShowRow(row_of(&state, 99_999))]);
    assert!(!state.timeline.is_away(), "it is one of the newest");
}

#[test]
fn the_first_message_of_a_day_is_found_by_halves_however_long_the_room_is() {
    let mut state = in_a_long_room(100_000);
    for (time, expected) in [
        (77_000.5, 78),
        (0.0, 51),
        (99_998_000.5, 99_999),
        (60_000_000.0, 60_000),
    ] {
        let effects = state.update(Action::GoTo(Seek::Time(time)), 0.0);
        let (effects, requests) = serve(&mut state, effects, 50);
        assert_eq!(effects, [Effect::ShowRow(row_of(&state, expected))], "{time}");
        assert!(requests <= 19, "{requests}");
    }
    state.update(Action::GoTo(Seek::Time(100_000_000.5)), 5.0);
    assert_eq!(state.flash.map(|(text, _)| text), Some(Text::NothingFound));
}

#[test]
fn a_day_is_looked_for_anew_in_a_log_that_begins_meanwhile() {
    let said_later = |offset: u64, seconds: u64| RoomMessage {
        offset,
        ..said_at(offset + seconds)
    };
    let page = |epoch, before: u64, limit: u32, seconds| SessionEvent::Page {
        before,
        epoch: Epoch::from_random(epoch),
        messages: (before.saturating_sub(u64::from(limit)).max(1)..before)
            .map(|offset| said_later(offset, seconds))
            .collect(),
        more: true,
    };
    for is_found in [false, true] {
        let mut state = in_a_long_room(100_000);
        let mut effects = state.update(Action::GoTo(Seek::Time(60_000_000.0)), 0.0);
        while let [Effect::RequestPage { before, limit: 1 }] = effects[..] {
            effects = apply(&mut state, page(1, before, 1, 0));
            if !is_found {
                break;
            }
        }
        assert_eq!(effects == [request_page(60_001)], is_found, "{effects:?}");
        let other = answer(2, 998, 1_000, &["Ann"]);
        apply(&mut state, SessionEvent::Joined(other, Continuity::Reset));
        for offset in 999..=1_000 {
            effects = apply(&mut state, SessionEvent::Message(said_later(offset, 59_500)));
        }
        while let [Effect::RequestPage { before, limit }] = effects[..] {
            effects = apply(&mut state, page(2, before, limit, 59_500));
        }
        assert_eq!(effects, [Effect::ShowRow(row_of(&state, 500))]);
    }
}

#[test]
fn a_message_that_the_server_has_not_or_does_not_give_is_not_gone_to() {
    for (answer, said) in [
        (SessionEvent::PageFailed { before: 8 }, Text::OlderFailed),
        (
            SessionEvent::Page {
                before: 8,
                epoch: Epoch::from_random(1),
                messages: Vec::new(),
                more: false,
            },
            Text::MessageNotThere,
        ),
        (
            SessionEvent::Page {
                before: 8,
                epoch: Epoch::from_random(2),
                messages: vec![said_at(7)],
                more: false,
            },
            Text::MessageNotThere,
        ),
    ] {
        let mut state = in_a_long_room(1_000);
        let go = Action::GoTo(Seek::Message(target(None, 7)));
        assert_eq!(state.update(go, 5.0), [request_page(8)]);
        assert_eq!(state.update(Action::Tick, 5.0), [], "one request at a time");
        assert_eq!(apply(&mut state, answer), []);
        assert_eq!(state.flash.map(|(text, _)| text), Some(said));
        assert!(!state.timeline.is_away());
    }
    let mut state = in_a_long_room(1_000);
    state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Offline));
    let effects = apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    assert_eq!(
        effects,
        [request_page(8)],
        "it is requested again with the next connection"
    );
}

#[test]
fn far_from_the_end_new_messages_are_counted_and_an_own_one_leads_back_to_it() {
    let mut state = in_a_long_room(100_000);
    let effects = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
    serve(&mut state, effects, 0);
    let before = shown(&state);
    apply(&mut state, SessionEvent::Message(said("Bob", 100_001)));
    assert_eq!((state.unread.count, shown(&state)), (1, before));
    state.update(Action::ShowEnd, 0.0);
    assert!(state.unread.at_end && state.unread.count == 0);
    let divider = state.timeline.offset_in(state.unread.divider.unwrap());
    assert_eq!((divider, state.timeline.is_away()), (Some(100_001), false));
    let effects = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
    serve(&mut state, effects, 0);
    send(&mut state, "hello");
    assert!(!state.timeline.is_away() && state.unread.at_end);
    assert_eq!(shown(&state).last().unwrap(), "* hello");
}

#[test]
fn far_from_the_end_the_search_finds_the_newest_messages_too_and_shows_them() {
    let mut state = in_a_long_room(100_000);
    let effects = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
    serve(&mut state, effects, 0);
    assert!(state.timeline.is_away());
    let found = state.update(Action::Edit(Field::Search, "bob 100000".into()), 0.0);
    assert_eq!(found, [Effect::ShowRow(row_of(&state, 100_000))]);
    assert!(!state.timeline.is_away() && !state.unread.at_end);
}

#[test]
fn more_unread_messages_than_rows_stay_beside_those_far_away_leave_the_place_where_reading_ended() {
    for is_reset in [false, true] {
        let mut state = in_a_long_room(100_000);
        state.update(Action::ReadLoaded(room("lobby"), read_to(99_990)), 0.0);
        let effects = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
        serve(&mut state, effects, 0);
        for offset in 100_001..=100_700 {
            apply(&mut state, SessionEvent::Message(said_at(offset)));
        }
        assert_eq!((state.unread.count, state.timeline.row_of(100_001)), (700, None));
        if is_reset {
            let again = answer(1, 100_600, 100_700, &["Ann"]);
            apply(&mut state, SessionEvent::Joined(again, Continuity::Reset));
            for offset in 100_601..=100_700 {
                apply(&mut state, SessionEvent::Message(said_at(offset)));
            }
            assert_eq!(state.unread.count, 700, "each once");
        }
        state.update(Action::ShowEnd, 0.0);
        assert_eq!(state.unread.count, 0);
        while state.timeline.row_of(100_001).is_none() {
            let effects = state.update(Action::LoadOlder, 0.0);
            assert_eq!(serve(&mut state, effects, 0).1, 1);
        }
        let divider = state.timeline.offset_in(state.unread.divider.unwrap());
        assert_eq!(divider, Some(100_001), "after a reset: {is_reset}");
    }
}

#[test]
fn whoever_goes_to_the_newest_messages_or_sends_one_is_not_led_away_from_them() {
    for leads_back in [
        |state: &mut ChatState| state.update(Action::ShowEnd, 0.0),
        |state: &mut ChatState| send(state, "hello"),
    ] {
        let mut state = in_a_long_room(100_000);
        let looks = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
        leads_back(&mut state);
        assert_eq!(serve(&mut state, looks, 0), (vec![], 1));
        assert!(!state.timeline.is_away() && state.unread.at_end);
        state.update(Action::Edit(Field::Search, "bob 99998".into()), 0.0);
        let looks = state.update(Action::SearchBeyond, 0.0);
        leads_back(&mut state);
        assert_eq!(serve(&mut state, looks, 0), (vec![], 1));
        assert!(state.unread.at_end);
    }
}

/// As many bytes as the page holds are in the 100 messages of such a page.
fn page_of_long_messages(before: u64) -> SessionEvent {
    let long = |offset| RoomMessage {
        text: "x".repeat(100_000),
        ..said("Bob", offset)
    };
    SessionEvent::Page {
        before,
        epoch: Epoch::from_random(1),
        messages: (before - 100..before).map(long).collect(),
        more: true,
    }
}

#[test]
fn a_page_that_is_too_long_to_be_held_whole_is_not_given_to_the_browser_to_keep() {
    let mut state = in_a_long_room(1_000);
    state.writes_history = true;
    state.take_unkept();
    assert_eq!(state.update(Action::LoadOlder, 0.0), [request_page(999)]);
    apply(&mut state, page_of_long_messages(999));
    assert!(state.timeline.current().count() < 100);
    assert_eq!(state.take_unkept().len(), 0);
}

#[test]
fn a_room_is_opened_at_its_end_though_long_messages_came_while_it_was_hidden() {
    let mut state = in_a_long_room(1_000);
    assert_eq!(state.update(Action::LoadOlder, 0.0), [request_page(999)]);
    open(&mut state, "den");
    in_room(&mut state, "lobby", page_of_long_messages(999));
    open(&mut state, "lobby");
    assert!(state.unread.at_end && !state.timeline.is_away());
}

#[test]
fn what_is_shown_far_from_the_end_leaves_no_gap_in_what_the_browser_keeps() {
    let mut state = in_a_long_room(100_000);
    state.writes_history = true;
    let mut next = 99_999;
    let mut check = |state: &mut ChatState| {
        for batch in state.take_unkept() {
            let offsets: Vec<_> = batch
                .rows
                .iter()
                .map(|row| state.timeline.offset_in(row.number))
                .collect();
            if batch.is_older {
                continue;
            }
            assert_eq!(batch.after, next - 1);
            for offset in offsets {
                assert_eq!(offset, Some(next));
                next += 1;
            }
            assert_eq!(batch.cursor.offset.get(), next - 1);
        }
        next
    };
    check(&mut state);
    let effects = state.update(Action::GoTo(Seek::Message(target(None, 7))), 0.0);
    serve(&mut state, effects, 0);
    for offset in 100_001..=101_500 {
        apply(&mut state, SessionEvent::Message(said("Bob", offset)));
        if offset % 100 == 0 {
            check(&mut state);
        }
    }
    assert_eq!(check(&mut state), 101_501);
    for _ in 0..3 {
        let effects = state.update(Action::LoadNewer, 0.0);
        serve(&mut state, effects, 0);
        let effects = state.update(Action::LoadOlder, 0.0);
        serve(&mut state, effects, 0);
    }
    state.update(Action::ShowEnd, 0.0);
    apply(&mut state, SessionEvent::Message(said("Bob", 101_501)));
    assert_eq!(check(&mut state), 101_502);
}

#[test]
fn the_search_shows_the_newest_message_first_and_goes_round() {
    let mut state = joined();
    for (offset, text) in [(1, "one"), (2, "two"), (3, "One more")] {
        apply(&mut state, from("Bob", offset, text));
    }
    assert_eq!(state.update(Action::ToggleSearch, 0.0), [Effect::Focus(Focus::Search)]);
    let rows: Vec<_> = state
        .timeline
        .current()
        .filter(|row| matches!(row.content.body, Body::Message(_)))
        .map(|row| row.number)
        .collect();
    let show = |row: usize| vec![Effect::ShowRow(rows[row])];
    assert_eq!(state.update(Action::Edit(Field::Search, "ONE".into()), 0.0), show(2));
    let on = |older| Action::SearchOn { older };
    assert_eq!(state.update(on(true), 0.0), show(0));
    assert_eq!(state.update(on(true), 0.0), show(2));
    assert_eq!(state.update(on(false), 0.0), show(0));
    assert_eq!(state.update(Action::Edit(Field::Search, "nothing".into()), 0.0), []);
    assert_eq!(state.update(Action::Dismiss, 0.0), [Effect::Focus(Focus::SearchOpener)]);
    assert_eq!(state.search, None);
}

#[test]
fn of_a_deleted_message_only_the_link_to_it_is_copied() {
    let mut state = joined();
    let SessionEvent::Message(message) = from("Bob", 1, "") else {
        unreachable!()
    };
    let deleted = RoomMessage {
        deleted: true,
        ..message
    };
    apply(&mut state, SessionEvent::Message(deleted));
    let row = state.timeline.last_number();
    assert_eq!(state.update(Action::Copy { row, link: false }, 0.0), []);
    let link = Effect::CopyLink(room("lobby"), Some(target(Some(1), 1)));
    assert_eq!(state.update(Action::Copy { row, link: true }, 0.0), [link]);
}

#[test]
fn the_text_of_a_message_and_the_link_to_it_are_copied() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "`a`"));
    let row = state.timeline.last_number();
    let copy = |link| Action::Copy { row, link };
    assert_eq!(state.update(copy(false), 0.0), [Effect::Copy("`a`".into())]);
    let link = Effect::CopyLink(room("lobby"), Some(target(Some(1), 1)));
    assert_eq!(state.update(copy(true), 0.0), [link]);
    let link = Effect::CopyLink(room("lobby"), None);
    assert_eq!(state.update(Action::CopyRoomLink, 0.0), [link]);
    assert_eq!(state.update(Action::Copy { row: 99, link: true }, 0.0), []);
    let joined = SessionEvent::Joined(answer(2, 0, 0, &["Ann"]), Continuity::Reset);
    apply(&mut state, joined);
    assert_eq!(state.update(copy(true), 0.0), [], "a link would have another log");
    assert_eq!(state.flash.map(|(text, _)| text), Some(Text::MessageNotThere));
}

fn read_to(offset: u64) -> Cursor {
    Cursor {
        epoch: Epoch::from_random(1),
        offset: Offset::new(offset).unwrap(),
    }
}

#[test]
fn the_unread_place_is_kept_over_a_reload_and_another_log_has_none() {
    for (epoch, divided) in [(1, true), (2, false)] {
        let mut state = state();
        state.update(Action::Join, 0.0);
        state.update(Action::ReadLoaded(room("lobby"), read_to(2)), 0.0);
        apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
        apply(
            &mut state,
            SessionEvent::Joined(answer(epoch, 0, 4, &["Ann"]), Continuity::Fresh),
        );
        for offset in 1..=4 {
            apply(&mut state, from("Bob", offset, "x"));
        }
        let third = state.timeline.current().nth(2).map(|row| row.number);
        assert_eq!(state.unread.divider, third.filter(|_| divided), "epoch {epoch}");
        assert_eq!(state.unread.count, 0, "they are in sight");
        let effects = state.update(Action::VisibilityChanged(false), 0.0);
        let mut cursor = read_to(4);
        cursor.epoch = Epoch::from_random(epoch);
        assert_eq!(effects, [Effect::SaveRead(room("lobby"), cursor)]);
        assert_eq!(state.update(Action::VisibilityChanged(false), 0.0), []);
    }
}

#[test]
fn what_another_tab_reads_is_read_in_this_one() {
    let mut state = joined();
    state.update(Action::RoomsLoaded(RecentRooms::parse("lobby\nb")), 0.0);
    open(&mut state, "b");
    for (offset, name, text) in [(1, "Bob", "@Ann"), (2, "Ann", "x"), (3, "Bob", "x"), (4, "Bob", "x")] {
        in_room(&mut state, "lobby", from(name, offset, text));
    }
    let mut elsewhere = |epoch: u64, offset: u64| {
        let mut read = ReadCursors::default();
        let epoch = Epoch::from_random(epoch);
        read.set(
            room("lobby"),
            Cursor {
                epoch,
                ..read_to(offset)
            },
        );
        state.update(Action::ReadElsewhere(read), 0.0);
        let divider = state.others.get(&room("lobby")).unwrap().unread.divider.is_some();
        (state.unread_of(&room("lobby")), divider)
    };
    assert_eq!(elsewhere(2, 4), ((3, 1), true), "it is another log");
    assert_eq!(elsewhere(1, 2), ((2, 0), true));
    assert_eq!(elsewhere(1, 0), ((2, 0), true), "what is read stays read");
    assert_eq!(elsewhere(1, 4), ((0, 0), false));
    assert_eq!(state.unread_in_all(), 0);
}

#[test]
fn what_is_read_is_kept_once_for_the_other_tabs() {
    let mut state = joined();
    assert!(!state.has_unsaved_read());
    apply(&mut state, from("Bob", 1, "a"));
    assert!(state.has_unsaved_read());
    let save = |offset| [Effect::SaveRead(room("lobby"), read_to(offset))];
    assert_eq!(state.update(Action::KeepRead, 0.0), save(1));
    assert!(!state.has_unsaved_read());
    state.update(Action::Scrolled { at_end: false }, 0.0);
    apply(&mut state, from("Bob", 2, "b"));
    assert_eq!(state.update(Action::KeepRead, 0.0), [], "it is not in sight");
    state.update(Action::Scrolled { at_end: true }, 0.0);
    assert_eq!(state.update(Action::KeepRead, 0.0), save(2));
}

#[test]
fn rooms_that_are_not_joined_count_what_is_new_until_they_are_opened() {
    let mut state = joined();
    state.update(Action::RoomsLoaded(RecentRooms::parse("lobby\nb\nc\tmuted")), 0.0);
    let counts = ["lobby", "b", "c"].map(|name| (room(name), 3));
    state.update(Action::UnjoinedCounted(counts.into()), 0.0);
    let unread = |state: &ChatState| ["lobby", "b", "c"].map(|name| state.unread_of(&room(name)).0);
    assert_eq!(unread(&state), [0, 3, 3], "the lobby is joined");
    assert_eq!(state.unread_in_all(), 3, "one is muted");
    open(&mut state, "b");
    open(&mut state, "lobby");
    assert_eq!(unread(&state), [0, 0, 3]);
}

#[test]
fn rooms_that_were_joined_before_a_reload_are_joined_again_and_count_what_is_unread() {
    let mut state = joined();
    let effects = state.update(Action::Rejoin(vec![room("lobby"), room("b")]), 0.0);
    let join = Effect::Join {
        room: room("b"),
        name: user("Ann"),
        since: None,
    };
    assert_eq!(
        without_failed(effects),
        [Effect::LoadRead(room("b")), Effect::LoadHistory(room("b"))]
    );
    assert_eq!(state.update(Action::HistoryLoaded(room("b"), None), 0.0), [join]);
    state.update(Action::ReadLoaded(room("b"), read_to(2)), 0.0);
    let joined = answer(1, 10, 12, &["Ann"]);
    in_room(&mut state, "b", SessionEvent::Joined(joined, Continuity::Fresh));
    for offset in [11, 12] {
        in_room(&mut state, "b", from("Bob", offset, "x"));
    }
    assert_eq!(state.unread_in_all(), 10, "the head is 12, and 2 are read");
}

#[test]
fn only_live_mentions_that_are_not_in_sight_notify_and_only_if_that_is_allowed() {
    let mut state = joined();
    let hidden =
        |state: &mut ChatState, is_hidden: bool| drop(state.update(Action::VisibilityChanged(!is_hidden), 0.0));
    hidden(&mut state, true);
    assert_eq!(apply(&mut state, from("Bob", 1, "@Ann")), [], "it is off by default");
    assert_eq!(state.update(Action::ToggleAlerts, 0.0), [Effect::AskForAlerts]);
    assert!(!state.alerts, "the browser has not allowed it yet");
    assert_eq!(
        state.update(Action::AlertsAllowed(true), 0.0),
        [Effect::SaveAlerts(true)]
    );
    let alert = Effect::Alert {
        room: room("lobby"),
        from: "Bob".into(),
        text: "look @Ann".into(),
    };
    assert_eq!(apply(&mut state, from("Bob", 2, "look @Ann")), [alert]);
    assert_eq!(apply(&mut state, from("Bob", 3, "no mention")), []);
    assert_eq!(apply(&mut state, from("Ann", 4, "@Ann")), []);
    hidden(&mut state, false);
    assert_eq!(apply(&mut state, from("Bob", 5, "@Ann")), []);
    assert_eq!(state.update(Action::ToggleAlerts, 0.0), [Effect::SaveAlerts(false)]);
    state.update(Action::AlertsAllowed(false), 0.0);
    assert_eq!(state.flash.map(|(text, _)| text), Some(Text::AlertsDenied));
}

/// A chat whose browser keeps what was read; the room is opened and joined.
fn keeping() -> (ChatState, Vec<Effect>) {
    let mut state = ChatState::new("Ann".into(), |_| 0, |text| text.to_lowercase());
    let mut effects = state.update(Action::RoomChanged(Ok(room("lobby"))), 0.0);
    effects.extend(state.update(Action::Join, 0.0));
    (state, effects)
}

fn said(name: &str, offset: u64) -> RoomMessage {
    match from(name, offset, &format!("{name} {offset}")) {
        SessionEvent::Message(message) => message,
        other => panic!("{other:?} is no message"),
    }
}

/// What is kept of the logs with these numbers as epochs: each from one offset to another.
fn stored(logs: &[(u64, u64, u64)]) -> Stored {
    let part = |&(epoch, first, last): &(u64, u64, u64)| Part {
        epoch: Epoch::from_random(epoch),
        is_break: true,
        messages: (first..=last).map(|offset| said("Bob", offset)).collect(),
    };
    let (epoch, _, last) = logs[logs.len() - 1];
    Stored {
        user: "Ann".into(),
        cursor: Cursor {
            epoch: Epoch::from_random(epoch),
            offset: Offset::new(last).unwrap(),
        },
        parts: logs.iter().map(part).collect(),
    }
}

#[test]
fn a_room_shows_what_was_kept_of_it_and_is_joined_from_there() {
    let (mut state, effects) = keeping();
    assert!(effects.contains(&Effect::LoadHistory(room("lobby"))), "{effects:?}");
    let is_join = |effect: &Effect| matches!(effect, Effect::Join { .. });
    assert!(!effects.iter().any(is_join), "{effects:?}: it is not known from where");
    let kept = stored(&[(1, 3, 4)]);
    let join = Effect::Join {
        room: room("lobby"),
        name: user("Ann"),
        since: Some(kept.cursor.clone()),
    };
    let loaded = |kept: Option<Stored>| Action::HistoryLoaded(room("lobby"), kept);
    assert_eq!(state.update(loaded(Some(kept)), 0.0), [join]);
    assert_eq!(shown(&state), ["Bob: Bob 3", "Bob: Bob 4"]);
    assert_eq!(
        state.timeline.older(),
        Older::Unknown,
        "without a connection there is nothing to request"
    );
    assert_eq!(state.update(Action::HistoryLate, 0.0), [], "it was in time");
    assert_eq!(state.update(loaded(None), 0.0), [], "it is loaded once");

    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 4, 5, &["Ann"]), Continuity::Recovered),
    );
    state.alerts = true;
    state.update(Action::VisibilityChanged(false), 0.0);
    assert_eq!(apply(&mut state, from("Bob", 5, "@Ann")), [], "it was said meanwhile");
    assert_eq!(shown(&state), ["Bob: Bob 3", "Bob: Bob 4", "Bob: @Ann", JOINED]);
    assert_eq!(state.unread.count, 1, "it was not there when the user left");
    assert_eq!(state.timeline.older(), Older::More);
}

#[test]
fn an_own_message_that_was_delivered_before_a_reload_and_acknowledged_after_it_is_shown_once() {
    let (mut state, _) = keeping();
    let mut kept = stored(&[(1, 3, 4)]);
    kept.parts[0].messages[1] = said("Ann", 4);
    state.update(Action::HistoryLoaded(room("lobby"), Some(kept)), 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(&mut state, SessionEvent::Restored(vec!["Ann 4".into(), "new".into()]));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 4, 4, &["Ann"]), Continuity::Recovered),
    );
    apply(&mut state, acked(1, 1, 4));
    apply(&mut state, acked(2, 1, 5));
    apply(&mut state, from("Ann", 5, "new"));
    assert_eq!(shown(&state), ["Bob: Bob 3", "Ann: Ann 4", JOINED, "Ann: new"]);
}

#[test]
fn a_room_whose_kept_messages_are_late_or_not_there_is_joined_without_them() {
    for action in [Action::HistoryLate, Action::HistoryLoaded(room("lobby"), None)] {
        let (mut state, _) = keeping();
        let effects = state.update(action, 0.0);
        assert!(
            matches!(&effects[..], [Effect::Join { since: None, .. }]),
            "{effects:?}"
        );
        // It answers first.
        let joined = SessionEvent::Joined(answer(1, 3, 4, &["Ann"]), Continuity::Fresh);
        apply(&mut state, joined);
        apply(&mut state, from("Bob", 4, "Bob 4"));
        let late = Action::HistoryLoaded(room("lobby"), Some(stored(&[(1, 3, 4)])));
        assert_eq!(state.update(late, 0.0), []);
        assert_eq!(shown(&state), ["Bob: Bob 4", JOINED]);
    }
}

#[test]
fn kept_messages_that_come_late_are_shown_while_the_room_has_not_answered_and_continue_once() {
    let late = || Action::HistoryLoaded(room("lobby"), Some(stored(&[(1, 3, 4)])));
    for is_answered_before in [false, true] {
        let (mut state, _) = keeping();
        state.update(Action::HistoryLate, 0.0);
        let again = Effect::Join {
            room: room("lobby"),
            name: user("Ann"),
            since: Some(read_to(4)),
        };
        assert_eq!(state.update(late(), 0.0), [again]);
        assert_eq!(shown(&state), ["Bob: Bob 3", "Bob: Bob 4"]);
        assert_eq!(state.update(late(), 0.0), [], "they come once");

        apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
        if is_answered_before {
            // To the first join, which the second one has replaced.
            let joined = SessionEvent::Joined(answer(1, 2, 5, &["Ann"]), Continuity::Fresh);
            apply(&mut state, joined);
            for offset in [3, 4] {
                apply(&mut state, SessionEvent::Message(said("Bob", offset)));
            }
            assert_eq!(shown(&state), ["Bob: Bob 3", "Bob: Bob 4"]);
        }
        let joined = SessionEvent::Joined(answer(1, 4, 5, &["Ann"]), Continuity::Recovered);
        apply(&mut state, joined);
        apply(&mut state, SessionEvent::Message(said("Bob", 5)));
        assert_eq!(shown(&state), ["Bob: Bob 3", "Bob: Bob 4", "Bob: Bob 5", JOINED]);
    }

    // A room that is not shown does the same.
    let mut state = joined();
    state.update(Action::Rejoin(vec![room("b")]), 0.0);
    state.update(Action::HistoryLate, 0.0);
    let late = Action::HistoryLoaded(room("b"), Some(stored(&[(1, 3, 4)])));
    let effects = state.update(late, 0.0);
    assert!(
        matches!(&effects[..], [Effect::Join { since: Some(since), .. }] if *since == read_to(4)),
        "{effects:?}"
    );
}

#[test]
fn a_user_who_has_read_nothing_of_a_room_finds_no_divider_in_it() {
    // The name that the browser remembers is that of another user, who has read the room.
    let mut state = joined();
    apply(&mut state, from("Ann", 1, "a"));
    state.update(Action::ReadLoaded(room("lobby"), read_to(1)), 0.0);
    state.update(Action::Leave, 0.0);
    state.update(Action::Edit(Field::Name, "Cid".into()), 0.0);
    let effects = state.update(Action::Join, 0.0);
    assert!(effects.contains(&Effect::LoadRead(room("lobby"))), "{effects:?}");
    let come_in = |state: &mut ChatState| {
        apply(state, SessionEvent::Connection(ConnectionStatus::Open));
        let joined = SessionEvent::Joined(answer(1, 0, 3, &["Cid"]), Continuity::Fresh);
        apply(state, joined);
        for offset in 1..=3 {
            apply(state, SessionEvent::Message(said("Bob", offset)));
        }
    };
    come_in(&mut state);
    assert_eq!((state.unread.divider, state.unread.count), (None, 0));
    state.update(Action::VisibilityChanged(false), 0.0);
    apply(&mut state, SessionEvent::Message(said("Bob", 4)));
    assert_eq!(state.unread.divider, Some(state.timeline.last_number()));

    // A user who has read some of it finds the rest below a divider.
    state.update(Action::Leave, 0.0);
    state.update(Action::Edit(Field::Name, "Dora".into()), 0.0);
    state.update(Action::Join, 0.0);
    state.update(Action::ReadLoaded(room("lobby"), read_to(2)), 0.0);
    come_in(&mut state);
    assert_eq!(
        state.unread.divider,
        state.timeline.current().nth(2).map(|row| row.number)
    );
}

#[test]
fn kept_messages_of_another_log_stay_above_a_notice_and_are_not_continued() {
    let (mut state, _) = keeping();
    let kept = stored(&[(1, 1, 2), (1, 5, 5), (2, 1, 1)]);
    state.update(Action::HistoryLoaded(room("lobby"), Some(kept)), 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(3, 0, 1, &["Ann"]), Continuity::Reset),
    );
    apply(&mut state, from("Bob", 1, "new"));
    let notice = |text: Text| format!("<{}>", text.in_language(crate::i18n::Language::English));
    let (lost, away) = (notice(Text::HistoryLost), notice(Text::AwayTooLong));
    let expected = [
        "Bob: Bob 1",
        "Bob: Bob 2",
        &away,
        "Bob: Bob 5",
        &lost,
        "Bob: Bob 1",
        &lost,
        "Bob: new",
        JOINED,
    ];
    assert_eq!(shown(&state), expected);
    assert_eq!(state.timeline.current().count(), 2, "the log is the new one");
}

#[test]
fn what_was_kept_and_not_read_is_unread() {
    let (mut state, _) = keeping();
    let read = Cursor {
        epoch: Epoch::from_random(1),
        offset: Offset::new(2).unwrap(),
    };
    state.update(Action::ReadLoaded(room("lobby"), read), 0.0);
    state.update(Action::VisibilityChanged(false), 0.0);
    let kept = stored(&[(1, 1, 4), (2, 1, 3)]);
    state.update(Action::HistoryLoaded(room("lobby"), Some(kept)), 0.0);
    assert_eq!(state.unread.count, 5, "two of the first log, three of the second");
    assert_eq!(
        state.unread.divider,
        state.timeline.previous().nth(2).map(|row| row.number)
    );
}

/// The offsets of what the browser is to keep, and those before the first ones.
fn unkept(state: &mut ChatState) -> Vec<(u64, Vec<u64>)> {
    let offset = |row: &std::rc::Rc<Row<Entry>>| match &row.content.body {
        Body::Message(message) => message.offset,
        notice => panic!("{notice:?} is kept"),
    };
    let batches = state.take_unkept();
    batches
        .iter()
        .map(|batch| (batch.after, batch.rows.iter().map(offset).collect()))
        .collect()
}

#[test]
fn only_the_tab_that_writes_gives_the_browser_messages_to_keep_each_once() {
    let (mut state, _) = keeping();
    state.update(Action::HistoryLoaded(room("lobby"), Some(stored(&[(1, 1, 2)]))), 0.0);
    apply(&mut state, SessionEvent::Connection(ConnectionStatus::Open));
    apply(
        &mut state,
        SessionEvent::Joined(answer(1, 2, 3, &["Ann"]), Continuity::Recovered),
    );
    apply(&mut state, from("Bob", 3, "x"));
    assert!(!state.has_unkept() && unkept(&mut state).is_empty());
    state.update(Action::HistoryWritable, 0.0);
    assert_eq!(
        unkept(&mut state),
        [(0, vec![1, 2, 3])],
        "another tab may have kept fewer"
    );
    apply(&mut state, from("Bob", 4, "x"));
    apply(&mut state, SessionEvent::Typing(user("Bob")));
    assert!(state.has_unkept());
    assert_eq!(unkept(&mut state), [(3, vec![4])]);
    assert!(!state.has_unkept());
    // The messages of a log that ends are kept before those of the next one.
    apply(&mut state, from("Bob", 5, "x"));
    apply(
        &mut state,
        SessionEvent::Joined(answer(2, 7, 8, &["Ann"]), Continuity::Reset),
    );
    apply(&mut state, from("Bob", 8, "x"));
    assert_eq!(unkept(&mut state), [(4, vec![5]), (7, vec![8])]);
}

#[test]
fn of_a_burst_the_browser_is_given_more_than_the_timeline_holds_but_no_more_than_it_keeps() {
    let mut state = joined();
    state.update(Action::HistoryWritable, 0.0);
    for offset in 1..=5_000 {
        apply(&mut state, from("Bob", offset, "x"));
    }
    let batches = unkept(&mut state);
    let all: Vec<_> = batches.into_iter().flat_map(|(_, offsets)| offsets).collect();
    assert!(all.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{all:?}");
    let kept = history::MIN_ROWS..history::MIN_ROWS + 2 * 250;
    assert!(kept.contains(&all.len()) && all.last() == Some(&5_000), "{}", all.len());
}

#[test]
fn a_room_that_the_list_drops_is_left_and_its_read_place_is_saved() {
    let mut state = joined();
    apply(&mut state, from("Bob", 1, "x"));
    open(&mut state, "b");
    assert_eq!(
        state.update(Action::RoomsLoaded(RecentRooms::parse("lobby\nb")), 0.0),
        []
    );
    let effects = state.update(Action::RoomsLoaded(RecentRooms::parse("b")), 0.0);
    assert_eq!(
        effects,
        [
            Effect::SaveRead(room("lobby"), read_to(1)),
            Effect::LeaveRoom(room("lobby"))
        ]
    );
    assert!(state.others.get(&room("lobby")).is_none() && !state.is_out());
}

#[test]
fn after_a_reset_of_the_same_log_what_was_read_is_not_unread_and_the_read_place_is_within_the_log() {
    // The log ends before the read place, and after it.
    for (head, unread, lowered) in [(3, 0, true), (8, 3, false)] {
        let mut state = joined();
        state.update(Action::ReadLoaded(room("lobby"), read_to(1)), 0.0);
        for offset in 1..=5 {
            apply(&mut state, from("Bob", offset, "x"));
        }
        state.update(Action::VisibilityChanged(false), 0.0);
        let again = answer(1, 0, head, &["Ann"]);
        let effects = apply(&mut state, SessionEvent::Joined(again, Continuity::Reset));
        for offset in 1..=head {
            apply(&mut state, from("Bob", offset, "x"));
        }
        assert_eq!(state.unread.count, unread, "of {head}");
        let lower = Effect::LowerRead(room("lobby"), read_to(head));
        assert_eq!(effects.contains(&lower), lowered, "{effects:?}");
        // Those that were unread before the reset are not counted twice.
        let again = answer(1, 0, head, &["Ann"]);
        apply(&mut state, SessionEvent::Joined(again, Continuity::Reset));
        for offset in 1..=head {
            apply(&mut state, from("Bob", offset, "x"));
        }
        assert_eq!(state.unread.count, unread, "of {head}, again");
    }
}

#[test]
fn failed_messages_are_loaded_once_for_their_user_and_saved_when_they_change() {
    let mut state = state();
    let effects = state.update(Action::Join, 0.0);
    assert!(
        effects.contains(&Effect::LoadFailed(room("lobby"), "Ann".into())),
        "{effects:?}"
    );
    let kept = "expired\t5\t\"\"\t\"not sent\"\n";
    state.update(Action::FailedLoaded(room("lobby"), kept.into()), 0.0);
    assert_eq!(shown(&state), ["* not sent"]);
    let key = state.outbox.shown().next().unwrap().key;
    let saved = |text: &str| Effect::SaveFailed {
        room: room("lobby"),
        user: "Ann".into(),
        text: text.into(),
    };
    assert_eq!(state.update(Action::Discard(key), 0.0), [saved("")]);
    send(&mut state, "a");
    state.update(Action::Leave, 0.0);
    let key = state.outbox.shown().next().unwrap().key;
    let reason = FailReason::Stopped;
    let effects = state.update(Action::InRoom(room("lobby"), SessionEvent::Failed { key, reason }), 0.0);
    assert!(
        matches!(&effects[..], [Effect::SaveFailed { text, .. }] if text.contains("\"a\"")),
        "{effects:?}"
    );
    let effects = state.update(Action::Join, 0.0);
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::LoadFailed(..))),
        "{effects:?}"
    );
}

#[test]
fn a_late_acknowledgement_and_a_lost_network_show_the_connection_as_slow() {
    let mut state = joined();
    state.update(Action::Session(SessionEvent::Connection(ConnectionStatus::Open)), 0.0);
    send(&mut state, "a");
    state.update(Action::Session(SessionEvent::Written(1)), 1_000.0);
    assert!(state.needs_ticks() && !state.is_slow(4_999.0) && state.is_slow(5_000.0));
    // A new connection has as much time as the first.
    let connection = |status| Action::Session(SessionEvent::Connection(status));
    state.update(connection(ConnectionStatus::Connecting), 5_000.0);
    assert!(!state.is_slow(9_000.0), "the connection is none");
    state.update(connection(ConnectionStatus::Open), 6_000.0);
    assert!(!state.is_slow(9_999.0) && state.is_slow(10_000.0));
    assert_eq!(state.update(Action::Tick, 9_999.0), []);
    let checked = state.update(Action::Tick, 10_000.0);
    assert_eq!(checked, [Effect::CheckConnection], "without being asked");
    assert_eq!(state.update(Action::Tick, 10_250.0), [], "once");
    assert_eq!(state.update(Action::CheckNow, 10_000.0), [Effect::CheckConnection]);
    state.update(Action::Session(acked(1, 1, 1)), 10_500.0);
    assert!(!state.is_slow(20_000.0) && !state.needs_ticks());

    state.update(Action::NetworkLost, 20_000.0);
    assert!(state.is_slow(20_000.0) && state.needs_ticks());
    state.update(Action::Tick, 25_000.0);
    assert!(state.is_slow(25_000.0));
    state.update(Action::Tick, 26_000.0);
    assert!(
        !state.is_slow(26_000.0) && !state.needs_ticks(),
        "the server has answered"
    );
}

#[test]
fn new_messages_of_others_that_are_not_in_sight_are_heard_at_most_every_two_seconds() {
    let mut state = joined();
    state.update(Action::RoomsLoaded(RecentRooms::parse("lobby")), 0.0);
    state.update(Action::VisibilityChanged(false), 0.0);
    let at = |state: &mut ChatState, name: &str, offset: u64, now: f64| {
        let effects = state.update(Action::Session(from(name, offset, "x")), now);
        effects.contains(&Effect::Sound)
    };
    assert!(!at(&mut state, "Bob", 1, 9_000.0), "it is off by default");
    let effects = state.update(Action::ToggleSounds, 9_000.0);
    assert_eq!(effects, [Effect::SaveSounds(true), Effect::Sound], "to be heard once");
    assert!(at(&mut state, "Bob", 2, 10_000.0) && !at(&mut state, "Bob", 3, 11_999.0));
    assert!(!at(&mut state, "Ann", 4, 13_000.0) && at(&mut state, "Bob", 5, 13_000.0));
    state.update(Action::RoomsLoaded(RecentRooms::parse("lobby\tmuted")), 0.0);
    assert!(!at(&mut state, "Bob", 6, 20_000.0));
    state.update(Action::RoomsLoaded(RecentRooms::parse("lobby")), 0.0);
    state.update(Action::VisibilityChanged(true), 0.0);
    assert!(!at(&mut state, "Bob", 7, 30_000.0), "it is in sight");
}
