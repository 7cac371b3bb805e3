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

fn room_at(epoch: u64, latest: u64, names: &[&str]) -> SubscribedRoom {
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
            deleted: false,
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
    let at = room_at(1, 0, &["ann"]);
    inbox.push(RoomEvent::Joined(at.joined(Offset::ZERO)), Some(&at));
    inbox
}

fn drain(inbox: &mut Inbox) -> Vec<String> {
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
fn repeated_joins_are_one_event_with_the_newest_members() {
    let mut inbox = live(16);
    let crowd: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    for round in 0..1_000 {
        let at = room_at(1, 1, if round == 999 { &["ann", "bob"] } else { &crowd });
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
    assert_eq!(drain(&mut inbox), ["1"], "the newest list replaces the presence event");
}

#[test]
fn a_recovery_in_a_new_epoch_is_an_event_and_continues_the_cursor_in_that_epoch() {
    let mut inbox = live(16);
    assert_eq!(drain(&mut inbox), ["joined after 0"]);
    inbox.push(message(1), Some(&room_at(1, 1, &["ann"])));
    let forked = room_at(2, 1, &["ann"]);
    inbox.push(RoomEvent::Recovered(forked.joined(offset(1))), Some(&forked));
    inbox.push(message(2), Some(&room_at(2, 2, &["ann"])));
    assert_eq!(drain(&mut inbox), ["1", "recovered after 1", "2"]);
    assert_eq!(inbox.taken(), Some(&room_at(2, 2, &[]).latest));
}

#[test]
fn a_reader_that_is_behind_gets_a_cursor_in_the_new_epoch() {
    let mut inbox = live(2);
    (1..=5).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
    let forked = room_at(2, 5, &["ann"]);
    inbox.push(RoomEvent::Recovered(forked.joined(offset(5))), Some(&forked));
    assert_eq!(drain(&mut inbox), ["joined after 0", "1"]);
    assert_eq!(inbox.taken(), Some(&room_at(2, 1, &[]).latest));
    assert!(inbox.next_page(&forked).is_some(), "it requests the next page");
}

#[test]
fn unread_resets_are_one_event_and_replace_the_messages_between_them() {
    let mut inbox = live(16);
    assert_eq!(drain(&mut inbox), ["joined after 0"]);
    inbox.push(message(1), Some(&room_at(1, 1, &["ann"])));
    for epoch in 2..10_000 {
        let at = room_at(epoch, 7, &["ann"]);
        inbox.push(RoomEvent::Reset(at.joined(offset(7))), Some(&at));
        inbox.push(message(8), Some(&room_at(epoch, 8, &["ann"])));
        assert!(inbox.queue.len() <= 3, "{}", inbox.queue.len());
    }
    assert_eq!(drain(&mut inbox), ["1", "reset after 7", "8"]);
    assert_eq!(inbox.bytes, 0, "all bytes are released");
}

#[test]
fn lost_events_survive_a_reset_and_the_oldest_are_dropped_at_the_bound() {
    let mut inbox = live(4);
    for epoch in 1..1_000 {
        inbox.push(lost(epoch, 1..=epoch), None);
        let at = room_at(epoch + 1, 0, &["ann"]);
        inbox.push(RoomEvent::Reset(at.joined(Offset::ZERO)), Some(&at));
        assert!(inbox.queue.len() <= 5, "{}", inbox.queue.len());
    }
    let events = drain(&mut inbox);
    assert!(events.contains(&"lost 999".to_owned()), "{events:?}");
    assert_eq!(
        events.last().map(String::as_str),
        Some("joined after 0"),
        "the first event of this reader stays a join"
    );
    assert_eq!(inbox.bytes, 0, "all bytes are released");
}

#[test]
fn lists_and_signals_count_with_their_bytes() {
    let mut inbox = Inbox::for_first_handle(InboxOptions {
        events: 1_000,
        bytes: 100,
    });
    let at = room_at(1, 0, &["ann"]);
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
    let events = drain(&mut inbox);
    assert_eq!(events.iter().filter(|event| *event == "signal").count(), 8);
    assert!(inbox.next_page(&at).is_none());
    assert_eq!(
        drain(&mut inbox),
        ["1 users"],
        "one list replaces the events that did not fit"
    );
}

#[test]
fn a_cursor_ahead_of_the_subscription_yields_only_later_messages() {
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
    assert_eq!(inbox.next_page(&room_at(1, 45, &["ann"])), None);
    (46..=52).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
    assert_eq!(drain(&mut inbox), ["recovered after 50", "51", "52"]);
}

#[test]
fn a_cursor_ahead_of_the_log_becomes_a_reset_at_the_next_join() {
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
    let at = room_at(1, 45, &["ann"]);
    inbox.next_page(&at);
    assert_eq!(drain(&mut inbox), ["recovered after 50"]);
    inbox.push(RoomEvent::Recovered(at.joined(offset(45))), Some(&at));
    inbox.push(message(46), Some(&room_at(1, 46, &["ann"])));
    assert_eq!(drain(&mut inbox), ["reset after 45", "46"]);
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

/// Otherwise such a server would get requests without end, or the reader would get messages out of order.
#[test]
fn after_a_page_that_is_no_answer_no_page_is_requested_before_the_next_join() {
    for wrong in [
        page(2, 3..=5, true),
        page(1, 1..=5, true),
        page(1, [3, 5], true),
        page(1, [5, 4, 3], true),
        page(1, 4..=6, true),
        page(1, 2..=4, true),
    ] {
        let mut inbox = live(2);
        (1..=5).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
        assert_eq!(drain(&mut inbox), ["joined after 0", "1"]);
        let at = room_at(1, 5, &["ann"]);
        let request = inbox.next_page(&at).unwrap();
        assert_eq!((request.before, request.limit), (offset(3), 1), "{request:?}");
        inbox.answer(request, Ok(wrong.clone()), &at);
        assert_eq!((inbox.next_page(&at), inbox.has_more()), (None, false), "{wrong:?}");
        inbox.push(message(6), Some(&room_at(1, 6, &["ann"])));
        assert_eq!(inbox.next_page(&room_at(1, 6, &["ann"])), None, "{wrong:?}");
        let at = room_at(1, 6, &["ann"]);
        inbox.push(RoomEvent::Recovered(at.joined(offset(6))), Some(&at));
        let request = inbox.next_page(&at).unwrap();
        inbox.answer(request, Ok(page(1, [2], true)), &at);
        assert_eq!(drain(&mut inbox), ["2"], "{wrong:?}");
    }
}

#[test]
fn a_queue_with_an_event_has_more() {
    let mut inbox = live(16);
    assert!(inbox.has_more());
    assert_eq!(drain(&mut inbox).len(), 1);
    assert!(!inbox.has_more());
}

#[test]
fn lost_events_that_fit_are_all_yielded() {
    let mut inbox = live(16);
    inbox.push(lost(1, [1]), None);
    inbox.push(lost(2, [2, 3]), None);
    assert_eq!(drain(&mut inbox), ["joined after 0", "lost 1", "lost 2"]);
}

#[test]
fn a_cursor_ahead_of_the_subscription_survives_another_join() {
    let since = Cursor {
        epoch: Epoch::from_random(1),
        offset: offset(50),
    };
    let want = StartPosition {
        since: Some(since),
        history: 5,
    };
    let mut inbox = Inbox::for_further_handle(InboxOptions::default(), want);
    inbox.next_page(&room_at(1, 45, &["ann"]));
    assert_eq!(drain(&mut inbox), ["recovered after 50"]);
    let at = room_at(1, 46, &["ann"]);
    let room = JoinedRoom {
        head: offset(52),
        ..at.joined(offset(46))
    };
    inbox.push(RoomEvent::Recovered(room), Some(&at));
    (47..=52).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
    assert_eq!(drain(&mut inbox), ["recovered after 50", "51", "52"]);
}

#[test]
fn a_presence_change_counts_the_bytes_of_its_names() {
    let change = PresenceChange::Changed {
        joined: members(&["ann"]),
        left: members(&["bo"]),
    };
    assert_eq!(counted_bytes(&RoomEvent::Presence { users: 1, change }), 5);
}

/// Takes one event after the other. For each number of events left: whether a page is requested then.
fn requests(options: InboxOptions) -> Vec<(usize, bool)> {
    let mut inbox = Inbox::for_first_handle(options);
    let at = room_at(1, 0, &["ann"]);
    inbox.push(RoomEvent::Joined(at.joined(Offset::ZERO)), Some(&at));
    inbox.take();
    (1..=20).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
    let at = room_at(1, 20, &["ann"]);
    let mut left = Vec::new();
    loop {
        let requests_page = inbox.next_page(&at).is_some();
        left.push((inbox.queue.len(), requests_page));
        if requests_page || inbox.take().is_none() {
            return left;
        }
    }
}

#[test]
fn a_page_is_requested_once_half_of_the_bound_is_free() {
    let few = InboxOptions {
        events: 4,
        ..InboxOptions::default()
    };
    assert_eq!(requests(few), [(4, false), (3, false), (2, true)]);
    // A body of these messages has three bytes.
    let small = InboxOptions { events: 100, bytes: 12 };
    assert_eq!(requests(small), [(4, false), (3, false), (2, true)]);
}

/// A reader with a bound of eight events that has read seven of the log's twenty messages.
fn behind() -> (Inbox, PageRequest) {
    let mut inbox = live(8);
    (1..=20).for_each(|n| inbox.push(message(n), Some(&room_at(1, n, &["ann"]))));
    assert_eq!(drain(&mut inbox).len(), 8);
    let request = inbox.next_page(&room_at(1, 20, &["ann"])).unwrap();
    (inbox, request)
}

#[test]
fn a_page_has_half_of_the_bound() {
    let (_, request) = behind();
    assert_eq!((request.before, request.limit), (offset(12), 4));
}

#[test]
fn dropped_messages_are_a_reset_and_a_short_page_is_requested_again() {
    let at = room_at(1, 20, &["ann"]);
    // The page is the first of the log, so the log has dropped the messages before it.
    let (mut inbox, request) = behind();
    inbox.answer(request, Ok(page(1, 10..=11, false)), &at);
    assert_eq!(drain(&mut inbox), ["reset after 9", "10", "11"]);
    let (mut inbox, request) = behind();
    inbox.answer(request, Ok(page(1, 10..=11, true)), &at);
    assert_eq!(drain(&mut inbox), [""; 0]);
    assert_eq!(inbox.next_page(&at).unwrap().limit, 2);
}

#[test]
fn an_answer_is_contiguous_ends_before_the_offset_and_is_within_the_limit() {
    let request = PageRequest {
        before: offset(12),
        limit: 4,
    };
    let answers = |offsets: &[u64]| is_answer(&page(1, offsets.iter().copied(), true), request);
    assert!(answers(&[8, 9, 10, 11]));
    assert!(answers(&[10, 11]));
    assert!(answers(&[]));
    assert!(!answers(&[7, 8, 9, 10]), "it does not end before the offset");
    assert!(!answers(&[8, 10, 11]), "it has a gap");
    assert!(!answers(&[7, 8, 9, 10, 11]), "it exceeds the limit");
}
