use talkback_protocol::{
    Body, Epoch, RoomName, SenderId, UserName,
    message::{Author, Message},
    session::client::HistoryPage,
};

use super::*;
use crate::client::Members;

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn members(names: &[&str]) -> Vec<Member> {
    let user = |name: &&str| UserName::parse(name).unwrap();
    names.iter().map(|name| Member { user: user(name) }).collect()
}

fn now(epoch: u64, latest: u64, names: &[&str]) -> SubscribedRoom {
    SubscribedRoom {
        latest: Cursor {
            epoch: Epoch::from_random(epoch),
            offset: offset(latest),
        },
        users: u32::try_from(names.len()).unwrap(),
        members: Some(Members::of(&members(names))),
    }
}

fn message(number: u64) -> RoomEvent {
    RoomEvent::Message {
        message: Message {
            room: RoomName::parse("lobby").unwrap(),
            offset: offset(number),
            from: Author {
                sender: SenderId::parse("s").unwrap(),
                user: UserName::parse("ann").unwrap(),
            },
            seq: None,
            id: None,
            at: 0,
            body: Body::text("x"),
        },
        own: false,
    }
}

fn lost(epoch: u64, offsets: impl IntoIterator<Item = u64>) -> RoomEvent {
    RoomEvent::Lost {
        epoch: Epoch::from_random(epoch),
        offsets: offsets.into_iter().map(offset).collect(),
    }
}

/// A handle that was joined at the offset 0 of epoch 1.
fn live(events: usize) -> Inbox {
    let mut inbox = Inbox::for_first_handle(InboxOptions {
        events,
        ..InboxOptions::default()
    });
    let at = now(1, 0, &["ann"]);
    inbox.push(RoomEvent::Joined(at.joined(Offset::ZERO)), Some(&at));
    inbox
}

fn shown(inbox: &mut Inbox) -> Vec<String> {
    let name = |event: RoomEvent| match event {
        RoomEvent::Joined(room) => format!("joined after {}", room.after),
        RoomEvent::Recovered(room) => format!("recovered after {}", room.after),
        RoomEvent::Reset(room) => format!("reset after {}", room.after),
        RoomEvent::Message { message, .. } => message.offset.to_string(),
        RoomEvent::Presence { users, .. } => format!("{users} users"),
        RoomEvent::Lost { offsets, .. } => format!("lost {}", offsets.len()),
        RoomEvent::Signal { .. } => "signal".to_owned(),
        RoomEvent::Left(_) | RoomEvent::Refused { .. } => "over".to_owned(),
    };
    std::iter::from_fn(|| inbox.take()).map(name).collect()
}

#[test]
fn a_room_that_is_joined_again_and_again_is_told_once_with_its_newest_members() {
    let mut inbox = live(16);
    let crowd: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    for round in 0..1_000 {
        let at = now(1, 1, if round == 999 { &["ann", "bob"] } else { &crowd });
        if round == 0 {
            inbox.push(message(1), Some(&at));
            let change = PresenceChange::Changed {
                joined: members(&["eve"]),
                left: Vec::new(),
            };
            inbox.push(RoomEvent::Presence { users: 2, change }, Some(&at));
        }
        inbox.push(RoomEvent::Recovered(at.joined(offset(1))), Some(&at));
        assert!(inbox.queue.len() <= 3, "{}", inbox.queue.len());
    }
    let Some(RoomEvent::Joined(room)) = inbox.take() else {
        panic!()
    };
    assert_eq!(
        (room.after, room.members),
        (Offset::ZERO, Some(members(&["ann", "bob"])))
    );
    assert_eq!(shown(&mut inbox), ["1"], "what the newest list says is not said again");
}

#[test]
fn a_recovery_after_one_was_read_is_told_and_its_cursor_goes_on_in_the_new_epoch() {
    let mut inbox = live(16);
    assert_eq!(shown(&mut inbox), ["joined after 0"]);
    inbox.push(message(1), Some(&now(1, 1, &["ann"])));
    let forked = now(2, 1, &["ann"]);
    inbox.push(RoomEvent::Recovered(forked.joined(offset(1))), Some(&forked));
    inbox.push(message(2), Some(&now(2, 2, &["ann"])));
    assert_eq!(shown(&mut inbox), ["1", "recovered after 1", "2"]);
    assert_eq!(inbox.taken(), Some(&now(2, 2, &[]).latest));
}

#[test]
fn a_reader_that_is_behind_gets_a_cursor_of_the_new_epoch_too() {
    let mut inbox = live(2);
    (1..=5).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
    let forked = now(2, 5, &["ann"]);
    inbox.push(RoomEvent::Recovered(forked.joined(offset(5))), Some(&forked));
    assert_eq!(shown(&mut inbox), ["joined after 0", "1"]);
    assert_eq!(inbox.taken(), Some(&now(2, 1, &[]).latest));
    assert!(inbox.next_page(&forked).is_some(), "it reads on");
}

#[test]
fn resets_that_were_not_read_are_one_and_what_stood_between_them_is_replaced() {
    let mut inbox = live(16);
    assert_eq!(shown(&mut inbox), ["joined after 0"]);
    inbox.push(message(1), Some(&now(1, 1, &["ann"])));
    for epoch in 2..10_000 {
        let at = now(epoch, 7, &["ann"]);
        inbox.push(RoomEvent::Reset(at.joined(offset(7))), Some(&at));
        inbox.push(message(8), Some(&now(epoch, 8, &["ann"])));
        assert!(inbox.queue.len() <= 3, "{}", inbox.queue.len());
    }
    assert_eq!(shown(&mut inbox), ["1", "reset after 7", "8"]);
    assert_eq!(inbox.bytes, 0, "all is given back");
}

#[test]
fn losses_survive_a_reset_and_are_bounded_with_the_newest_kept() {
    let mut inbox = live(4);
    for epoch in 1..1_000 {
        inbox.push(lost(epoch, 1..=epoch), None);
        let at = now(epoch + 1, 0, &["ann"]);
        inbox.push(RoomEvent::Reset(at.joined(Offset::ZERO)), Some(&at));
        assert!(inbox.queue.len() <= 5, "{}", inbox.queue.len());
    }
    let told = shown(&mut inbox);
    assert!(told.contains(&"lost 999".to_owned()), "{told:?}");
    assert_eq!(
        told.last().map(String::as_str),
        Some("joined after 0"),
        "the first state that this reader hears of"
    );
    assert_eq!(inbox.bytes, 0, "all is given back");
}

#[test]
fn lists_and_signals_count_as_the_bytes_they_are() {
    let mut inbox = Inbox::for_first_handle(InboxOptions {
        events: 1_000,
        bytes: 100,
    });
    let at = now(1, 0, &["ann"]);
    inbox.push(RoomEvent::Joined(at.joined(Offset::ZERO)), Some(&at));
    let signal = || RoomEvent::Signal {
        from: Author {
            sender: SenderId::parse("s").unwrap(),
            user: UserName::parse("ann").unwrap(),
        },
        body: Body::text("0123456789"),
    };
    (0..100).for_each(|_| inbox.push(signal(), Some(&at)));
    let list = |names: &[&str]| RoomEvent::Presence {
        users: 1,
        change: PresenceChange::List(members(names)),
    };
    (0..100).for_each(|_| inbox.push(list(&["a_name_of_thirty_two_characters_"]), Some(&at)));
    assert!(inbox.bytes <= 100, "{}", inbox.bytes);
    let told = shown(&mut inbox);
    assert_eq!(told.iter().filter(|event| *event == "signal").count(), 8);
    assert!(inbox.next_page(&at).is_none());
    assert_eq!(shown(&mut inbox), ["1 users"], "one list tells what did not fit");
}

#[test]
fn a_cursor_ahead_of_the_subscription_brings_only_what_follows_it() {
    let since = Cursor {
        epoch: Epoch::from_random(1),
        offset: offset(50),
    };
    let mut inbox = Inbox::for_further_handle(
        InboxOptions::default(),
        StartPosition {
            since: Some(since),
            history: 5,
        },
    );
    assert_eq!(inbox.next_page(&now(1, 45, &["ann"])), None);
    (46..=52).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
    assert_eq!(shown(&mut inbox), ["recovered after 50", "51", "52"]);
}

#[test]
fn a_cursor_ahead_of_the_log_is_told_to_have_been_wrong() {
    let since = Cursor {
        epoch: Epoch::from_random(1),
        offset: offset(50),
    };
    let mut inbox = Inbox::for_further_handle(
        InboxOptions::default(),
        StartPosition {
            since: Some(since),
            history: 5,
        },
    );
    let at = now(1, 45, &["ann"]);
    inbox.next_page(&at);
    assert_eq!(shown(&mut inbox), ["recovered after 50"]);
    inbox.push(RoomEvent::Recovered(at.joined(offset(45))), Some(&at));
    inbox.push(message(46), Some(&now(1, 46, &["ann"])));
    assert_eq!(shown(&mut inbox), ["reset after 45", "46"]);
}

fn page(epoch: u64, offsets: impl IntoIterator<Item = u64>, more: bool) -> HistoryPage {
    let messages = offsets.into_iter().map(|number| match message(number) {
        RoomEvent::Message { message, .. } => message,
        other => panic!("{other:?}"),
    });
    HistoryPage {
        epoch: Epoch::from_random(epoch),
        messages: messages.collect(),
        more,
    }
}

/// A server that answers so would be asked at the speed of the line, or take the reader back and forth.
#[test]
fn after_a_page_that_is_not_what_was_asked_for_nothing_is_asked_before_the_room_is_joined_again() {
    for wrong in [
        page(2, 3..=5, true),
        page(1, 1..=5, true),
        page(1, [3, 5], true),
        page(1, [5, 4, 3], true),
        page(1, 4..=6, true),
        page(1, 2..=4, true),
    ] {
        let mut inbox = live(2);
        (1..=5).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
        assert_eq!(shown(&mut inbox), ["joined after 0", "1"]);
        let at = now(1, 5, &["ann"]);
        let wanted = inbox.next_page(&at).unwrap();
        assert_eq!((wanted.before, wanted.limit), (offset(3), 1), "{wanted:?}");
        inbox.answer(wanted, Ok(wrong.clone()), &at);
        assert_eq!((inbox.next_page(&at), inbox.has_more()), (None, false), "{wrong:?}");
        inbox.push(message(6), Some(&now(1, 6, &["ann"])));
        assert_eq!(inbox.next_page(&now(1, 6, &["ann"])), None, "{wrong:?}");
        let at = now(1, 6, &["ann"]);
        inbox.push(RoomEvent::Recovered(at.joined(offset(6))), Some(&at));
        let wanted = inbox.next_page(&at).unwrap();
        inbox.answer(wanted, Ok(page(1, [2], true)), &at);
        assert_eq!(shown(&mut inbox), ["2"], "{wrong:?}");
    }
}

#[test]
fn a_queue_says_whether_something_waits_in_it() {
    let mut inbox = live(16);
    assert!(inbox.has_more());
    assert_eq!(shown(&mut inbox).len(), 1);
    assert!(!inbox.has_more());
}

#[test]
fn losses_that_fit_are_all_told() {
    let mut inbox = live(16);
    inbox.push(lost(1, [1]), None);
    inbox.push(lost(2, [2, 3]), None);
    assert_eq!(shown(&mut inbox), ["joined after 0", "lost 1", "lost 2"]);
}

#[test]
fn a_cursor_that_is_ahead_stays_ahead_when_the_room_is_joined_again() {
    let since = Cursor {
        epoch: Epoch::from_random(1),
        offset: offset(50),
    };
    let want = StartPosition {
        since: Some(since),
        history: 5,
    };
    let mut inbox = Inbox::for_further_handle(InboxOptions::default(), want);
    inbox.next_page(&now(1, 45, &["ann"]));
    assert_eq!(shown(&mut inbox), ["recovered after 50"]);
    let at = now(1, 46, &["ann"]);
    let room = JoinedRoom {
        head: offset(52),
        ..at.joined(offset(46))
    };
    inbox.push(RoomEvent::Recovered(room), Some(&at));
    (47..=52).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
    assert_eq!(shown(&mut inbox), ["recovered after 50", "51", "52"]);
}

#[test]
fn a_change_of_users_weighs_what_its_names_do() {
    let change = PresenceChange::Changed {
        joined: members(&["ann"]),
        left: members(&["bo"]),
    };
    assert_eq!(weight(&RoomEvent::Presence { users: 1, change }), 5);
}

/// Takes one event after the other, and gives for each number of those that are left whether the log is read then.
fn reads_on(bounds: InboxOptions) -> Vec<(usize, bool)> {
    let mut inbox = Inbox::for_first_handle(bounds);
    let at = now(1, 0, &["ann"]);
    inbox.push(RoomEvent::Joined(at.joined(Offset::ZERO)), Some(&at));
    inbox.take();
    (1..=20).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
    let at = now(1, 20, &["ann"]);
    let mut left = Vec::new();
    loop {
        let wants = inbox.next_page(&at).is_some();
        left.push((inbox.queue.len(), wants));
        if wants || inbox.take().is_none() {
            return left;
        }
    }
}

#[test]
fn the_log_is_read_on_once_half_of_what_may_wait_was_taken() {
    let few = InboxOptions {
        events: 4,
        ..InboxOptions::default()
    };
    assert_eq!(reads_on(few), [(4, false), (3, false), (2, true)]);
    // A body of these messages has three bytes.
    let small = InboxOptions { events: 100, bytes: 12 };
    assert_eq!(reads_on(small), [(4, false), (3, false), (2, true)]);
}

/// Eight events may wait; the log has twenty messages, of which seven were read.
fn behind() -> (Inbox, PageRequest) {
    let mut inbox = live(8);
    (1..=20).for_each(|n| inbox.push(message(n), Some(&now(1, n, &["ann"]))));
    assert_eq!(shown(&mut inbox).len(), 8);
    let wanted = inbox.next_page(&now(1, 20, &["ann"])).unwrap();
    (inbox, wanted)
}

#[test]
fn a_page_is_half_of_what_may_wait() {
    let (_, wanted) = behind();
    assert_eq!((wanted.before, wanted.limit), (offset(12), 4));
}

#[test]
fn what_the_log_does_not_have_any_more_is_told_and_what_a_server_gave_too_little_of_is_asked_for_again() {
    let at = now(1, 20, &["ann"]);
    // Nothing is before it: then the messages between are gone.
    let (mut inbox, wanted) = behind();
    inbox.answer(wanted, Ok(page(1, 10..=11, false)), &at);
    assert_eq!(shown(&mut inbox), ["reset after 9", "10", "11"]);
    let (mut inbox, wanted) = behind();
    inbox.answer(wanted, Ok(page(1, 10..=11, true)), &at);
    assert_eq!(shown(&mut inbox), [""; 0]);
    assert_eq!(inbox.next_page(&at).unwrap().limit, 2);
}

#[test]
fn a_page_answers_if_it_ends_where_it_was_to_and_has_no_hole_and_no_more_than_was_asked_for() {
    let wanted = PageRequest {
        before: offset(12),
        limit: 4,
    };
    let answers = |offsets: &[u64]| is_answer(&page(1, offsets.iter().copied(), true), wanted);
    assert!(answers(&[8, 9, 10, 11]));
    assert!(answers(&[10, 11]));
    assert!(answers(&[]));
    assert!(!answers(&[7, 8, 9, 10]), "it ends too early");
    assert!(!answers(&[8, 10, 11]), "it has a hole");
    assert!(!answers(&[7, 8, 9, 10, 11]), "it has too many");
}
