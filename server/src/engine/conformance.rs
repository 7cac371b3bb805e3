//! The conformance suite of engines, for the tests of an engine. With the feature `conformance`, or in this crate's own
//! tests.
//!
//! [`conformance_suite!`](crate::conformance_suite) makes a test of each [`Behaviour`];
//! [`durable_conformance_suite!`](crate::durable_conformance_suite) one of each [`DurableBehaviour`], for an engine that
//! keeps its logs when it is closed. [`faulty`](super::faulty) has engines that fail them.
//!
//! ```
//! use std::sync::Arc;
//! use talkback_server::engine::{Engine, Memory, MemoryOptions, conformance};
//!
//! // In the tests of an engine of your own, this line is all:
//! talkback_server::conformance_suite!(Arc::new(Memory::new(MemoryOptions::default())));
//!
//! // The same without the macro:
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! for behaviour in conformance::behaviours() {
//!     behaviour.check(Arc::new(Memory::new(MemoryOptions::default()))).await;
//! }
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq, UserName,
    message::{self, Message, code},
    session::server::Refusal,
};
use tokio::time::Instant;

use super::{
    Append, AppendOutcome, DeletedRoom, Engine, KEY_REUSED, Limit, MessageId, Origin, Page, Place, Range, Watcher,
};

/// Calls the macro `$then` with the tokens in braces and the name of each behaviour.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_behaviour {
    ($then:ident { $($given:tt)* }) => {
        $then! { $($given)*
            offsets_are_contiguous_from_1_and_the_epoch_stays
            a_message_is_read_as_it_was_added
            a_page_has_what_fits_in_either_direction
            rooms_are_independent
            a_room_without_messages_is_empty_and_can_be_read
            a_number_that_comes_again_is_answered_as_the_first_time
            a_number_too_far_ahead_is_a_gap_until_the_missing_one_is_added
            a_withdrawn_number_is_settled
            a_final_refusal_settles_the_number_and_one_with_a_retry_settles_nothing
            a_client_goes_on_at_any_number_if_all_before_are_settled
            of_two_copies_of_a_client_that_alternate_the_later_one_gets_conflicts
            a_later_copy_of_a_client_gets_conflicts_until_its_numbers_are_new
            a_restored_copy_of_a_client_gets_the_outcomes_of_its_own_messages_only
            a_withdrawal_with_another_id_withdraws_nothing
            numbers_are_counted_for_each_room_and_client
            a_client_with_another_origin_is_the_same_client
            a_named_request_is_added_once
            messages_without_a_number_are_all_added
            watchers_get_every_message_in_order_until_they_are_dropped
            while_a_watcher_has_no_capacity_messages_are_refused_with_a_retry
            the_messages_of_concurrent_publishers_are_added_once_and_in_each_ones_order
            a_deleted_room_goes_on_without_messages_in_an_epoch_that_recovers_no_earlier_cursor
            watchers_of_a_deleted_room_are_told_its_epoch_before_the_next_message
            a_message_that_was_deleted_with_its_room_is_not_added_again
            deleted_messages_of_a_user_keep_their_places_and_lose_their_bodies
            a_message_whose_body_was_deleted_is_not_added_again
        }
    };
}

/// Calls the macro `$then` with the tokens in braces and the name of each behaviour of an engine that keeps its logs.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_durable_behaviour {
    ($then:ident { $($given:tt)* }) => {
        $then! { $($given)*
            what_was_acknowledged_is_read_in_the_same_epoch_after_a_restart
            the_outcomes_of_numbers_are_kept_over_a_restart
            named_requests_are_kept_over_a_restart
            a_log_goes_on_after_a_restart
            an_empty_room_keeps_its_epoch_over_a_restart
            deletions_are_kept_over_a_restart
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test_behaviours {
    ($check:ident $new:expr; $($behaviour:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $behaviour() {
            $crate::engine::conformance::$check(stringify!($behaviour), $new).await;
        }
    )*};
}

/// A test for each [`Behaviour`](crate::engine::conformance::Behaviour), on a new engine that the expression makes: an
/// `Arc` of it. The crate that uses it needs tokio with its macros and its runtime of several threads.
#[macro_export]
macro_rules! conformance_suite {
    ($new:expr) => {
        use $crate::__test_behaviours;
        $crate::__each_behaviour! { __test_behaviours { check $new; } }
    };
}

/// A test for each [`DurableBehaviour`](crate::engine::conformance::DurableBehaviour). The expression makes a closure
/// that opens the logs, at first without a room, and later as they were left: `FnMut() -> Arc<dyn Engine>`.
#[macro_export]
macro_rules! durable_conformance_suite {
    ($open:expr) => {
        mod durable {
            use super::*;
            use $crate::__test_behaviours;
            $crate::__each_durable_behaviour! { __test_behaviours { check_durable $open; } }
        }
    };
}

type Any = Arc<dyn Engine>;

/// What every engine does. The check panics if one does not.
pub struct Behaviour {
    /// The behaviour, as a sentence.
    pub name: &'static str,
    check: fn(Any) -> BoxFuture<'static, ()>,
}

impl Behaviour {
    /// Checks it on an engine without rooms. In a runtime of several threads, because it publishes concurrently.
    ///
    /// # Panics
    /// If the engine does something else.
    pub async fn check(&self, engine: Any) {
        (self.check)(engine).await;
    }
}

macro_rules! list {
    ($($behaviour:ident)*) => {
        vec![$(Behaviour {
            name: stringify!($behaviour),
            check: |engine| async move { $behaviour(&engine).await }.boxed(),
        }),*]
    };
}

/// All behaviours.
#[must_use]
pub fn behaviours() -> Vec<Behaviour> {
    crate::__each_behaviour!(list {})
}

/// Checks the behaviour with this name.
///
/// # Panics
/// If there is none, or the engine does something else.
pub async fn check(name: &str, engine: Any) {
    let all = behaviours();
    let found = all.iter().find(|behaviour| behaviour.name == name);
    found
        .unwrap_or_else(|| panic!("no behaviour is {name}"))
        .check(engine)
        .await;
}

/// Opens the logs of an engine as they were left. Every handle to the engine before is dropped by then.
pub type Open = Box<dyn FnMut() -> Any + Send>;

/// What an engine does that keeps its logs when it is closed. The check panics if one does not.
pub struct DurableBehaviour {
    /// The behaviour, as a sentence.
    pub name: &'static str,
    check: fn(Open) -> BoxFuture<'static, ()>,
}

impl DurableBehaviour {
    /// Checks it on logs without rooms.
    ///
    /// # Panics
    /// If the engine does something else.
    pub async fn check(&self, open: Open) {
        (self.check)(open).await;
    }
}

macro_rules! list_durable {
    ($($behaviour:ident)*) => {
        vec![$(DurableBehaviour {
            name: stringify!($behaviour),
            check: |open| $behaviour(open).boxed(),
        }),*]
    };
}

/// All behaviours of engines that keep their logs.
#[must_use]
pub fn durable_behaviours() -> Vec<DurableBehaviour> {
    crate::__each_durable_behaviour!(list_durable {})
}

/// Checks the behaviour with this name.
///
/// # Panics
/// If there is none, or the engine does something else.
pub async fn check_durable(name: &str, open: impl FnMut() -> Any + Send + 'static) {
    let all = durable_behaviours();
    let found = all.iter().find(|behaviour| behaviour.name == name);
    let found = found.unwrap_or_else(|| panic!("no behaviour is {name}"));
    found.check(Box::new(open)).await;
}

pub(crate) const ALL: Limit = Limit {
    messages: usize::MAX,
    bytes: usize::MAX,
};

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub(crate) fn client(number: u8) -> ClientKey {
    ClientKey::from_random([number; 16])
}

pub(crate) fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

pub(crate) fn id(bits: u64) -> PublishId {
    PublishId::from_random(bits)
}

pub(crate) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

pub(crate) fn message(room_name: &str, id: MessageId, body: &str) -> Append {
    let key = match id {
        MessageId::Client { key, .. } => key,
        _ => client(0),
    };
    Append {
        room: room(room_name),
        id,
        from: message::Author {
            sender: key.sender(),
            user: UserName::parse("ann").unwrap(),
        },
        content: Ok(Body::from_json(body).unwrap()),
    }
}

pub(crate) fn numbered(room: &str, key: u8, number: u64) -> Append {
    let id = MessageId::Client {
        key: client(key),
        seq: seq(number),
        id: id(u64::from(key) << 32 | number),
        first: false,
        origin: None,
    };
    message(room, id, &format!("\"{key} {number}\""))
}

/// Another message with the number of one of [`numbered`], as a copy of the client would send it.
pub(crate) fn of_copy(room: &str, key: u8, number: u64) -> Append {
    let copy = MessageId::Client {
        key: client(key),
        seq: seq(number),
        id: id(u64::from(key) << 32 | 1 << 24 | number),
        first: false,
        origin: None,
    };
    message(room, copy, &format!("\"copy of {key} {number}\""))
}

/// The withdrawal of this message.
pub(crate) fn withdrawal(append: Append) -> Append {
    Append {
        content: Err(withdrawn()),
        ..append
    }
}

/// A message with the flag `first`: all earlier numbers of its client are settled.
pub(crate) fn first(room: &str, key: u8, number: u64) -> Append {
    let id = MessageId::Client {
        key: client(key),
        seq: seq(number),
        id: id(u64::from(key) << 32 | number),
        first: true,
        origin: None,
    };
    Append {
        id,
        ..numbered(room, key, number)
    }
}

/// The same message from this origin.
pub(crate) fn from_origin(number: u64, append: Append) -> Append {
    let mut append = append;
    if let MessageId::Client { origin, .. } = &mut append.id {
        *origin = Some(Origin(number));
    }
    append
}

/// The code of a refusal.
pub(crate) fn code_of(outcome: &AppendOutcome) -> Option<&str> {
    match outcome {
        AppendOutcome::Refused { refusal, .. } => Some(&refusal.code),
        _ => None,
    }
}

pub(crate) fn withdrawn() -> Refusal {
    Refusal {
        code: code::WITHDRAWN.into(),
        message: "the client withdrew it".into(),
        retry_after: None,
    }
}

pub(crate) async fn add(engine: &Any, append: Append) -> Place {
    match engine.append(append).await {
        AppendOutcome::Added(place) => place,
        other => panic!("not added: {other:?}"),
    }
}

pub(crate) async fn read(engine: &Any, room_name: &str, range: Range) -> Page {
    engine.read(&room(room_name), range, ALL).await.unwrap()
}

pub(crate) fn bodies(page: &Page) -> Vec<&str> {
    page.messages.iter().map(|message| message.body.json()).collect()
}

pub(crate) async fn offsets_are_contiguous_from_1_and_the_epoch_stays(engine: &Any) {
    let mut epochs = Vec::new();
    for number in 1..=5 {
        let place = add(engine, numbered("a", 1, number)).await;
        assert_eq!(place.offset, offset(number));
        epochs.push(read(engine, "a", Range::Newest).await.epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1);
}

pub(crate) async fn a_message_is_read_as_it_was_added(engine: &Any) {
    let body = r#"{"text":"好 \" \\ \u0007","n":1e400,"list":[1, 2]}"#;
    let number = MessageId::Client {
        key: client(9),
        seq: seq(7),
        id: id(77),
        first: true,
        origin: None,
    };
    let append = message("a", number, body);
    let from = append.from.clone();
    let place = add(engine, append).await;
    let page = read(engine, "a", Range::Newest).await;
    let read = &page.messages[0];
    assert_eq!(read.body.json(), body, "byte by byte");
    assert_eq!(
        (&page.epoch, read.offset, read.at),
        (&place.epoch, place.offset, place.at)
    );
    assert_eq!(
        (&read.from, read.seq, read.id, &*read.room),
        (&from, Some(seq(7)), Some(id(77)), "a")
    );
    let year_2020 = 1_577_836_800_000;
    assert!(place.at > year_2020, "milliseconds since 1970: {}", place.at);
}

pub(crate) async fn a_page_has_what_fits_in_either_direction(engine: &Any) {
    for number in 1..=10 {
        add(engine, numbered("a", 1, number)).await;
    }
    let page = async |range, messages| {
        let limit = Limit {
            messages,
            bytes: usize::MAX,
        };
        let page = engine.read(&room("a"), range, limit).await.unwrap();
        assert_eq!((page.head, page.floor), (offset(10), Offset::ZERO));
        page.messages
            .iter()
            .map(|message| message.offset.get())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(Range::After(Offset::ZERO), 3).await, [1, 2, 3]);
    assert_eq!(page(Range::After(offset(8)), 3).await, [9, 10]);
    assert_eq!(page(Range::After(offset(10)), 3).await, [0_u64; 0]);
    assert_eq!(page(Range::After(offset(99)), 3).await, [0_u64; 0]);
    assert_eq!(page(Range::Before(offset(4)), 2).await, [2, 3]);
    assert_eq!(page(Range::Before(offset(2)), 5).await, [1]);
    assert_eq!(page(Range::Before(offset(1)), 5).await, [0_u64; 0]);
    assert_eq!(page(Range::Before(Offset::ZERO), 5).await, [0_u64; 0]);
    assert_eq!(page(Range::Before(offset(99)), 2).await, [9, 10]);
    assert_eq!(page(Range::Newest, 4).await, [7, 8, 9, 10]);
    assert_eq!(page(Range::Newest, 0).await, [0_u64; 0]);

    let tiny = Limit { messages: 10, bytes: 1 };
    let one = engine.read(&room("a"), Range::After(Offset::ZERO), tiny).await.unwrap();
    assert_eq!(one.messages.len(), 1, "the first message is read however large it is");
}

pub(crate) async fn rooms_are_independent(engine: &Any) {
    add(engine, numbered("a", 1, 1)).await;
    assert_eq!(add(engine, numbered("b", 2, 1)).await.offset, offset(1));
    assert_eq!(bodies(&read(engine, "a", Range::Newest).await), ["\"1 1\""]);
    assert_eq!(bodies(&read(engine, "b", Range::Newest).await), ["\"2 1\""]);
}

pub(crate) async fn a_room_without_messages_is_empty_and_can_be_read(engine: &Any) {
    let before = read(engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(
        (before.head, before.floor, before.messages.len()),
        (Offset::ZERO, Offset::ZERO, 0)
    );
    add(engine, numbered("a", 1, 1)).await;
    let after = read(engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(
        after.epoch, before.epoch,
        "a cursor of the empty room is valid for the first message"
    );
}

pub(crate) async fn a_number_that_comes_again_is_answered_as_the_first_time(engine: &Any) {
    let mut places = Vec::new();
    for number in 1..=5 {
        places.push(add(engine, numbered("a", 1, number)).await);
        add(engine, numbered("a", 2, number)).await;
    }
    for number in [5, 1, 3, 5, 4, 2] {
        let again = engine.append(numbered("a", 1, number)).await;
        let first = places[usize::try_from(number).unwrap() - 1].clone();
        assert_eq!(again, AppendOutcome::Duplicate(first));
    }
    assert_eq!(
        read(engine, "a", Range::Newest).await.head,
        offset(10),
        "nothing was added"
    );
    assert_eq!(add(engine, numbered("a", 1, 6)).await.offset, offset(11));
}

pub(crate) async fn a_number_too_far_ahead_is_a_gap_until_the_missing_one_is_added(engine: &Any) {
    let epoch = add(engine, numbered("a", 1, 1)).await.epoch;
    for number in [3, 4, 3] {
        let gap = engine.append(numbered("a", 1, number)).await;
        assert_eq!(gap, AppendOutcome::Gap { epoch: epoch.clone() });
    }
    for number in [2, 3, 4] {
        assert_eq!(add(engine, numbered("a", 1, number)).await.offset, offset(number));
    }
}

pub(crate) async fn a_withdrawn_number_is_settled(engine: &Any) {
    let withdraw = |number| withdrawal(numbered("a", 1, number));
    let first = add(engine, numbered("a", 1, 1)).await;
    let epoch = first.epoch.clone();
    let refused = AppendOutcome::Refused {
        epoch: Some(epoch.clone()),
        refusal: withdrawn(),
    };
    assert_eq!(engine.append(withdraw(3)).await, AppendOutcome::Gap { epoch });
    for _ in 0..2 {
        assert_eq!(engine.append(withdraw(2)).await, refused);
    }
    assert_eq!(
        engine.append(withdraw(1)).await,
        AppendOutcome::Duplicate(first),
        "it was added before the withdrawal"
    );
    assert_eq!(
        engine.append(numbered("a", 1, 2)).await,
        refused,
        "a resend after the withdrawal is not added"
    );
    assert_eq!(add(engine, numbered("a", 1, 3)).await.offset, offset(2));
}

pub(crate) async fn a_final_refusal_settles_the_number_and_one_with_a_retry_settles_nothing(engine: &Any) {
    let epoch = add(engine, numbered("a", 1, 1)).await.epoch;
    let refused = |append, refusal: &Refusal| Append {
        content: Err(refusal.clone()),
        ..append
    };
    let answer = |refusal: &Refusal| AppendOutcome::Refused {
        epoch: Some(epoch.clone()),
        refusal: refusal.clone(),
    };
    let with_retry = Refusal::later(code::BUSY, "try again later", std::time::Duration::from_secs(1));
    let is_refused = engine.append(refused(numbered("a", 1, 2), &with_retry)).await;
    assert_eq!(is_refused, answer(&with_retry));
    let gap = AppendOutcome::Gap { epoch: epoch.clone() };
    assert_eq!(
        engine.append(numbered("a", 1, 3)).await,
        gap,
        "it does not overtake the refused one"
    );
    add(engine, of_copy("a", 1, 2)).await;

    let final_refusal = Refusal::for_good(code::TOO_LARGE, "too large");
    let is_refused = engine.append(refused(numbered("a", 1, 3), &final_refusal)).await;
    assert_eq!(is_refused, answer(&final_refusal));
    assert_eq!(engine.append(numbered("a", 1, 3)).await, answer(&final_refusal));
    assert_eq!(
        engine.append(of_copy("a", 1, 3)).await,
        AppendOutcome::Conflict { epoch: epoch.clone() }
    );
    assert_eq!(add(engine, numbered("a", 1, 4)).await.offset, offset(3));
}

pub(crate) async fn of_two_copies_of_a_client_that_alternate_the_later_one_gets_conflicts(engine: &Any) {
    let mut places = Vec::new();
    for number in 1..=4 {
        let place = add(engine, numbered("a", 1, number)).await;
        let conflict = AppendOutcome::Conflict {
            epoch: place.epoch.clone(),
        };
        for copy in [of_copy("a", 1, number), withdrawal(of_copy("a", 1, number))] {
            assert_eq!(engine.append(copy).await, conflict);
        }
        places.push(place);
    }
    for (number, place) in (1..).zip(places) {
        let again = engine.append(numbered("a", 1, number)).await;
        assert_eq!(again, AppendOutcome::Duplicate(place), "a conflict changed nothing");
    }
    assert_eq!(
        bodies(&read(engine, "a", Range::Newest).await),
        ["\"1 1\"", "\"1 2\"", "\"1 3\"", "\"1 4\""]
    );
}

pub(crate) async fn a_later_copy_of_a_client_gets_conflicts_until_its_numbers_are_new(engine: &Any) {
    let mut epoch = None;
    for number in 1..=5 {
        epoch = Some(add(engine, numbered("a", 1, number)).await.epoch);
    }
    let conflict = AppendOutcome::Conflict { epoch: epoch.unwrap() };
    // The copy was made when the original had sent two.
    for number in 3..=5 {
        assert_eq!(engine.append(of_copy("a", 1, number)).await, conflict);
    }
    let place = add(engine, of_copy("a", 1, 6)).await;
    assert_eq!(place.offset, offset(6));
    assert_eq!(
        engine.append(numbered("a", 1, 6)).await,
        conflict,
        "now the original is behind"
    );
    assert_eq!(engine.append(of_copy("a", 1, 6)).await, AppendOutcome::Duplicate(place));
}

pub(crate) async fn a_restored_copy_of_a_client_gets_the_outcomes_of_its_own_messages_only(engine: &Any) {
    let mut places = Vec::new();
    for number in 1..=6 {
        places.push(add(engine, numbered("a", 1, number)).await);
    }
    // The copy was stored when the fourth message was made and not answered. Its next message is a new one.
    let restored = engine.append(first("a", 1, 4)).await;
    assert_eq!(restored, AppendOutcome::Duplicate(places[3].clone()));
    let next = engine.append(of_copy("a", 1, 5)).await;
    assert!(matches!(next, AppendOutcome::Conflict { .. }), "{next:?}");
    assert_eq!(read(engine, "a", Range::Newest).await.head, offset(6));
}

pub(crate) async fn a_withdrawal_with_another_id_withdraws_nothing(engine: &Any) {
    let place = add(engine, numbered("a", 1, 1)).await;
    let epoch = place.epoch.clone();
    let conflict = AppendOutcome::Conflict { epoch: epoch.clone() };
    let refused = AppendOutcome::Refused {
        epoch: Some(epoch),
        refusal: withdrawn(),
    };
    assert_eq!(engine.append(withdrawal(of_copy("a", 1, 1))).await, conflict);
    assert_eq!(
        engine.append(numbered("a", 1, 1)).await,
        AppendOutcome::Duplicate(place)
    );

    assert_eq!(engine.append(withdrawal(numbered("a", 1, 2))).await, refused);
    assert_eq!(engine.append(withdrawal(of_copy("a", 1, 2))).await, conflict);
    assert_eq!(engine.append(of_copy("a", 1, 2)).await, conflict);
    assert_eq!(
        engine.append(numbered("a", 1, 2)).await,
        refused,
        "the id is kept with the withdrawal"
    );
    assert_eq!(add(engine, numbered("a", 1, 3)).await.offset, offset(2));
}

pub(crate) async fn a_client_goes_on_at_any_number_if_all_before_are_settled(engine: &Any) {
    // The client is new to this log, as after a restart that lost the log: a later message must not overtake an earlier
    // one.
    let is_gap = |outcome| matches!(outcome, AppendOutcome::Gap { .. });
    assert!(is_gap(engine.append(numbered("a", 1, 40)).await));
    assert_eq!(add(engine, first("a", 1, 40)).await.offset, offset(1));
    assert!(is_gap(engine.append(numbered("a", 1, 42)).await));
    assert_eq!(add(engine, numbered("a", 1, 41)).await.offset, offset(2));
    let ahead = add(engine, first("a", 1, 50)).await;
    assert_eq!(ahead.offset, offset(3));
    add(engine, numbered("a", 1, 51)).await;
    assert_eq!(
        engine.append(first("a", 1, 50)).await,
        AppendOutcome::Duplicate(ahead.clone())
    );
    let epoch = ahead.epoch;
    for never_sent in [39, 48, 49] {
        let late = engine.append(first("a", 1, never_sent)).await;
        assert_eq!(late, AppendOutcome::Forgotten { epoch: epoch.clone() }, "{never_sent}");
    }
}

pub(crate) async fn numbers_are_counted_for_each_room_and_client(engine: &Any) {
    for (room, key) in [("a", 1), ("a", 2), ("b", 1)] {
        add(engine, numbered(room, key, 1)).await;
        let again = engine.append(numbered(room, key, 1)).await;
        assert!(matches!(again, AppendOutcome::Duplicate(_)), "{room} {key}: {again:?}");
        add(engine, numbered(room, key, 2)).await;
    }
}

pub(crate) async fn a_client_with_another_origin_is_the_same_client(engine: &Any) {
    let place = add(engine, from_origin(1, numbered("a", 1, 1))).await;
    let again = engine.append(from_origin(2, numbered("a", 1, 1))).await;
    assert_eq!(again, AppendOutcome::Duplicate(place));
    let copy = engine.append(from_origin(2, of_copy("a", 1, 1))).await;
    assert!(matches!(copy, AppendOutcome::Conflict { .. }), "{copy:?}");
    add(engine, from_origin(2, numbered("a", 1, 2))).await;
    add(engine, numbered("a", 1, 3)).await;
    let other = add(engine, from_origin(2, numbered("a", 2, 1))).await;
    assert_eq!(other.offset, offset(4));
}

/// A request with this name and digest.
pub(crate) fn request(name: &str, digest: [u8; 32]) -> MessageId {
    MessageId::Request {
        name: name.into(),
        digest,
    }
}

pub(crate) async fn a_named_request_is_added_once(engine: &Any) {
    let named = |room, name, digest| message(room, request(name, digest), "1");
    let first = add(engine, named("a", "x", [1; 32])).await;
    add(engine, named("a", "y", [1; 32])).await;
    let again = engine.append(named("a", "x", [1; 32])).await;
    assert_eq!(again, AppendOutcome::Duplicate(first));
    let other = engine.append(named("a", "x", [2; 32])).await;
    assert_eq!(code_of(&other), Some(KEY_REUSED));
    add(engine, named("b", "x", [2; 32])).await;
    assert_eq!(read(engine, "a", Range::Newest).await.head, offset(2));
}

pub(crate) async fn messages_without_a_number_are_all_added(engine: &Any) {
    for number in 1..=3 {
        assert_eq!(
            add(engine, message("a", MessageId::None, "1")).await.offset,
            offset(number)
        );
    }
    let third = &read(engine, "a", Range::Newest).await.messages[2];
    assert_eq!((third.seq, third.id), (None, None));
}

/// How long a watcher may be without a message that was answered. A working engine is much quicker.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<u64>>);

impl Watcher for Seen {
    fn appended(&self, message: &Arc<Message>) {
        self.0.lock().push(message.offset.get());
    }

    fn restarted(&self, _epoch: &Epoch) {}
}

impl Seen {
    /// Waits until so many messages have come: an engine may call watchers after it answered.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<u64> {
        let until = Instant::now() + DEADLINE;
        loop {
            let seen = self.0.lock().clone();
            if seen.len() >= count {
                return seen;
            }
            assert!(
                Instant::now() < until,
                "a watcher got {} of {count} messages within {DEADLINE:?}: {seen:?}",
                seen.len()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) async fn watchers_get_every_message_in_order_until_they_are_dropped(engine: &Any) {
    let (first, second) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let watch = engine.watch(&room("a"), first.clone()).await.unwrap();
    add(engine, numbered("a", 1, 1)).await;
    // An engine may pass a message that was answered to a watcher that comes later too.
    assert_eq!(first.wait_for(1).await, [1]);
    let _other = engine.watch(&room("a"), second.clone()).await.unwrap();
    add(engine, numbered("b", 1, 1)).await;
    add(engine, numbered("a", 1, 2)).await;
    assert!(matches!(
        engine.append(numbered("a", 1, 2)).await,
        AppendOutcome::Duplicate(_)
    ));
    assert_eq!(first.wait_for(2).await, [1, 2]);
    drop(watch);
    add(engine, numbered("a", 1, 3)).await;
    assert_eq!(second.wait_for(2).await, [2, 3]);
    assert_eq!(first.wait_for(2).await, [1, 2], "it was dropped");
}

#[derive(Default)]
struct Full(AtomicBool);

impl Watcher for Full {
    fn has_capacity(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    fn appended(&self, _message: &Arc<Message>) {}

    fn restarted(&self, _epoch: &Epoch) {}
}

pub(crate) async fn while_a_watcher_has_no_capacity_messages_are_refused_with_a_retry(engine: &Any) {
    let full = Arc::new(Full::default());
    let _watch = engine.watch(&room("a"), full.clone()).await.unwrap();
    add(engine, numbered("a", 1, 1)).await;
    full.0.store(true, Ordering::Relaxed);
    for message in [numbered("a", 1, 2), message("a", MessageId::None, "1")] {
        let AppendOutcome::Refused { refusal, .. } = engine.append(message).await else {
            panic!("it was not refused")
        };
        assert!(refusal.retry_after.is_some());
    }
    assert!(matches!(
        engine.append(numbered("a", 1, 1)).await,
        AppendOutcome::Duplicate(_)
    ));
    add(engine, numbered("b", 1, 1)).await;
    full.0.store(false, Ordering::Relaxed);
    assert_eq!(add(engine, numbered("a", 1, 2)).await.offset, offset(2));
}

pub(crate) async fn the_messages_of_concurrent_publishers_are_added_once_and_in_each_ones_order(engine: &Any) {
    const EACH: u64 = 200;
    let seen = Arc::new(Seen::default());
    let _watch = engine.watch(&room("a"), seen.clone()).await.unwrap();
    let publishers = (1..=4).map(|key| {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            for number in 1..=EACH {
                // Every third is resent, as after a lost answer.
                for _ in 0..1 + u64::from(number % 3 == 0) {
                    let outcome = engine.append(numbered("a", key, number)).await;
                    assert!(
                        matches!(outcome, AppendOutcome::Added(_) | AppendOutcome::Duplicate(_)),
                        "{outcome:?}"
                    );
                }
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let expected: Vec<_> = (1..=4 * EACH).collect();
    assert_eq!(seen.wait_for(expected.len()).await, expected);
    let page = read(engine, "a", Range::After(Offset::ZERO)).await;
    for key in 1..=4 {
        let theirs: Vec<_> = page
            .messages
            .iter()
            .filter(|message| message.from.sender == client(key).sender())
            .collect();
        assert!(
            theirs.iter().map(|message| message.seq.unwrap().get()).eq(1..=EACH),
            "client {key}"
        );
    }
}

pub(crate) fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

async fn delete_room(engine: &Any, name: &str) -> DeletedRoom {
    engine.delete_room(&room(name)).await.unwrap()
}

async fn delete_messages(engine: &Any, name: &str, of: Option<&str>) -> u64 {
    let of = of.map(room);
    engine.delete_messages_of(&user(name), of.as_ref()).await.unwrap()
}

/// The same message in the name of another user.
fn by(name: &str, append: Append) -> Append {
    let mut append = append;
    append.from.user = user(name);
    append
}

pub(crate) async fn a_deleted_room_goes_on_without_messages_in_an_epoch_that_recovers_no_earlier_cursor(engine: &Any) {
    for number in 1..=3 {
        add(engine, numbered("a", 1, number)).await;
        add(engine, numbered("b", 1, number)).await;
    }
    let [before, other] = [
        read(engine, "a", Range::Newest).await,
        read(engine, "b", Range::Newest).await,
    ];
    let deleted = delete_room(engine, "a").await;
    assert_eq!(deleted.messages, 3);
    assert_ne!(deleted.epoch, before.epoch);
    let recovers_none = |page: &Page| {
        let cursors = (0..=5).map(|number| Cursor {
            epoch: before.epoch.clone(),
            offset: offset(number),
        });
        cursors.into_iter().all(|cursor| !page.has_all_since(&cursor))
    };
    for range in [Range::Newest, Range::After(Offset::ZERO), Range::Before(offset(9))] {
        let page = read(engine, "a", range).await;
        assert_eq!(
            (&page.epoch, page.head, page.floor),
            (&deleted.epoch, offset(3), offset(3))
        );
        assert!(page.messages.is_empty() && page.forks.is_empty() && recovers_none(&page));
    }
    let nothing = Limit { messages: 0, bytes: 0 };
    let end = engine.read(&room("a"), Range::Newest, nothing).await.unwrap();
    assert_eq!(
        (&end.epoch, end.head, end.floor),
        (&deleted.epoch, offset(3), offset(3))
    );

    let next = add(engine, numbered("a", 1, 4)).await;
    assert_eq!((&next.epoch, next.offset), (&deleted.epoch, offset(4)));
    let page = read(engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(bodies(&page), ["\"1 4\""]);
    assert!(recovers_none(&page));
    let again = delete_room(engine, "a").await;
    assert_eq!(again.messages, 1);
    assert_ne!(again.epoch, deleted.epoch);

    let unchanged = read(engine, "b", Range::Newest).await;
    assert_eq!((&unchanged.epoch, &unchanged.messages), (&other.epoch, &other.messages));
    let empty = read(engine, "c", Range::Newest).await.epoch;
    let nothing = DeletedRoom {
        epoch: empty.clone(),
        messages: 0,
    };
    assert_eq!(delete_room(engine, "c").await, nothing);
    assert_eq!(read(engine, "c", Range::Newest).await.epoch, empty);
    assert!(!engine.has(&room("c")), "deleting a room that is not there makes none");
}

/// What a watcher was told: the offset of a message, or an epoch.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<Result<u64, Epoch>>>);

impl Watcher for Told {
    fn appended(&self, message: &Arc<Message>) {
        self.0.lock().push(Ok(message.offset.get()));
    }

    fn restarted(&self, epoch: &Epoch) {
        self.0.lock().push(Err(epoch.clone()));
    }
}

impl Told {
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Result<u64, Epoch>> {
        for _ in 0..5000 {
            if self.0.lock().len() >= count {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.0.lock().clone()
    }
}

pub(crate) async fn watchers_of_a_deleted_room_are_told_its_epoch_before_the_next_message(engine: &Any) {
    let (told, other) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let watch = engine.watch(&room("a"), told.clone()).await.unwrap();
    let _other = engine.watch(&room("b"), other.clone()).await.unwrap();
    for number in 1..=2 {
        add(engine, numbered("a", 1, number)).await;
    }
    add(engine, numbered("b", 1, 1)).await;
    assert_eq!(told.wait_for(2).await, [Ok(1), Ok(2)]);
    let deleted = delete_room(engine, "a").await;
    add(engine, numbered("a", 1, 3)).await;
    assert_eq!(
        told.wait_for(4).await,
        [Ok(1), Ok(2), Err(deleted.epoch.clone()), Ok(3)]
    );
    add(engine, numbered("b", 1, 2)).await;
    assert_eq!(other.wait_for(2).await, [Ok(1), Ok(2)]);
    drop(watch);
    let late = engine.watch(&room("a"), told.clone()).await.unwrap();
    assert_eq!(*late.epoch(), deleted.epoch);
}

pub(crate) async fn a_message_that_was_deleted_with_its_room_is_not_added_again(engine: &Any) {
    let named = |name, digest| message("a", request(name, digest), "1");
    for number in 1..=3 {
        add(engine, numbered("a", 1, number)).await;
    }
    add(engine, named("x", [1; 32])).await;
    let refused = engine.append(withdrawal(numbered("a", 1, 4))).await;
    assert_eq!(code_of(&refused), Some(code::WITHDRAWN));
    let DeletedRoom { epoch, messages } = delete_room(engine, "a").await;
    assert_eq!(messages, 4);

    let resends = (1..=3).flat_map(|number| [numbered("a", 1, number), withdrawal(numbered("a", 1, number))]);
    for resend in resends.chain([named("x", [1; 32])]) {
        let AppendOutcome::Refused { epoch: of, refusal } = engine.append(resend).await else {
            panic!("a deleted message was not refused");
        };
        assert_eq!(
            (of.as_ref(), &*refusal.code, refusal.retry_after),
            (Some(&epoch), code::DELETED, None)
        );
    }
    for number in 1..=4 {
        let conflict = AppendOutcome::Conflict { epoch: epoch.clone() };
        assert_eq!(engine.append(of_copy("a", 1, number)).await, conflict);
    }
    let still_refused = AppendOutcome::Refused {
        epoch: Some(epoch.clone()),
        refusal: withdrawn(),
    };
    assert_eq!(engine.append(numbered("a", 1, 4)).await, still_refused);
    let reused = engine.append(named("x", [2; 32])).await;
    assert_eq!(code_of(&reused), Some(KEY_REUSED));
    assert_eq!(read(engine, "a", Range::Newest).await.messages, []);

    for next in [numbered("a", 1, 5), named("y", [1; 32])] {
        let place = add(engine, next.clone()).await;
        assert_eq!(engine.append(next).await, AppendOutcome::Duplicate(place));
    }
}

pub(crate) async fn deleted_messages_of_a_user_keep_their_places_and_lose_their_bodies(engine: &Any) {
    add(engine, numbered("a", 1, 1)).await;
    add(engine, by("bob", numbered("a", 2, 1))).await;
    add(engine, numbered("a", 1, 2)).await;
    add(engine, message("a", MessageId::None, "{\"long\":[1,2,3]}")).await;
    add(engine, numbered("b", 1, 1)).await;
    let [before, other] = [
        read(engine, "a", Range::Newest).await,
        read(engine, "b", Range::Newest).await,
    ];
    assert_eq!(delete_messages(engine, "ann", Some("a")).await, 3);
    add(engine, numbered("a", 3, 1)).await;
    let after = read(engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(
        (&after.epoch, after.head, after.floor),
        (&before.epoch, offset(5), Offset::ZERO)
    );
    let expected: Vec<_> = before
        .messages
        .iter()
        .map(|message| match &*message.from.user {
            "ann" => Message {
                deleted: true,
                body: Body::null(),
                ..(**message).clone()
            },
            _ => (**message).clone(),
        })
        .collect();
    let read_again: Vec<_> = after.messages[..4].iter().map(|message| (**message).clone()).collect();
    assert_eq!(read_again, expected);
    let newer = &after.messages[4];
    assert_eq!((newer.deleted, newer.body.json()), (false, "\"3 1\""));
    assert_eq!(read(engine, "b", Range::Newest).await.messages, other.messages);

    assert_eq!(delete_messages(engine, "ann", Some("a")).await, 1, "only the newer one");
    assert_eq!(delete_messages(engine, "ann", Some("c")).await, 0);
    assert_eq!(delete_messages(engine, "eve", None).await, 0);
    add(engine, numbered("d", 1, 1)).await;
    assert_eq!(delete_messages(engine, "ann", None).await, 2, "in all other rooms");
    assert!(read(engine, "b", Range::Newest).await.messages[0].deleted);
    assert!(!read(engine, "a", Range::Newest).await.messages[1].deleted);
    assert!(!engine.has(&room("c")));
}

pub(crate) async fn a_message_whose_body_was_deleted_is_not_added_again(engine: &Any) {
    let mut places = Vec::new();
    for number in 1..=3 {
        places.push(add(engine, numbered("a", 1, number)).await);
    }
    let named = || message("a", request("x", [1; 32]), "1");
    let requested = add(engine, named()).await;
    assert_eq!(delete_messages(engine, "ann", None).await, 4);
    for (number, place) in (1..).zip(places) {
        assert_eq!(
            engine.append(numbered("a", 1, number)).await,
            AppendOutcome::Duplicate(place.clone())
        );
        let conflict = AppendOutcome::Conflict { epoch: place.epoch };
        assert_eq!(engine.append(of_copy("a", 1, number)).await, conflict);
    }
    assert_eq!(engine.append(named()).await, AppendOutcome::Duplicate(requested));
    assert_eq!(add(engine, numbered("a", 1, 4)).await.offset, offset(5));
}

pub(crate) async fn deletions_are_kept_over_a_restart(mut open: Open) {
    let engine = open();
    for number in 1..=2 {
        add(&engine, numbered("a", 1, number)).await;
        add(&engine, by("bob", numbered("b", 2, number))).await;
        add(&engine, numbered("b", 1, number)).await;
    }
    let deleted = delete_room(&engine, "a").await;
    add(&engine, numbered("a", 1, 3)).await;
    assert_eq!(delete_messages(&engine, "ann", Some("b")).await, 2);
    drop(engine);

    let engine = open();
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(
        (&page.epoch, page.floor, page.forks.len()),
        (&deleted.epoch, offset(2), 0)
    );
    assert_eq!(bodies(&page), ["\"1 3\""]);
    for number in 1..=2 {
        let again = engine.append(numbered("a", 1, number)).await;
        assert_eq!(code_of(&again), Some(code::DELETED));
        let again = engine.append(numbered("b", 1, number)).await;
        assert!(matches!(again, AppendOutcome::Duplicate(_)), "{again:?}");
    }
    let page = read(&engine, "b", Range::After(Offset::ZERO)).await;
    assert_eq!(bodies(&page), ["\"2 1\"", "null", "\"2 2\"", "null"]);
    let are_deleted: Vec<_> = page.messages.iter().map(|message| message.deleted).collect();
    assert_eq!(are_deleted, [false, true, false, true]);
}

pub(crate) async fn what_was_acknowledged_is_read_in_the_same_epoch_after_a_restart(mut open: Open) {
    let mut engine = open();
    let mut places = Vec::new();
    for number in 1..=5 {
        places.push(add(&engine, numbered("a", 1, number)).await);
        places.push(add(&engine, numbered("a", 2, number)).await);
        add(&engine, numbered("b", 1, number)).await;
    }
    let before = read(&engine, "a", Range::After(Offset::ZERO)).await;
    for _ in 0..2 {
        drop(engine);
        engine = open();
        let after = read(&engine, "a", Range::After(Offset::ZERO)).await;
        assert_eq!(
            (&after.epoch, after.head, after.floor),
            (&before.epoch, offset(10), Offset::ZERO)
        );
        assert_eq!(after.forks, []);
        assert_eq!(after.messages, before.messages);
        let read_places = after.messages.iter().map(|message| (message.offset, message.at));
        assert!(read_places.eq(places.iter().map(|place| (place.offset, place.at))));
        assert_eq!(read(&engine, "b", Range::Newest).await.messages.len(), 5);
        assert!(engine.has(&room("a")) && !engine.has(&room("c")));
    }
}

pub(crate) async fn the_outcomes_of_numbers_are_kept_over_a_restart(mut open: Open) {
    let engine = open();
    let first_place = add(&engine, numbered("a", 1, 1)).await;
    let withdrawn_before = engine.append(withdrawal(numbered("a", 1, 2))).await;
    let too_large = Refusal::for_good(code::TOO_LARGE, "too large");
    let content = Err(too_large);
    let refused = Append {
        content,
        ..numbered("a", 1, 3)
    };
    let refused_before = engine.append(refused).await;
    assert_eq!(code_of(&refused_before), Some(code::TOO_LARGE));
    let only_settled = engine.append(withdrawal(numbered("b", 1, 1))).await;
    drop(engine);

    let engine = open();
    let epoch = first_place.epoch.clone();
    assert_eq!(
        engine.append(numbered("a", 1, 1)).await,
        AppendOutcome::Duplicate(first_place)
    );
    assert_eq!(engine.append(numbered("a", 1, 2)).await, withdrawn_before);
    assert_eq!(engine.append(numbered("a", 1, 3)).await, refused_before);
    for number in 1..=3 {
        let conflict = AppendOutcome::Conflict { epoch: epoch.clone() };
        assert_eq!(engine.append(of_copy("a", 1, number)).await, conflict);
    }
    let gap = AppendOutcome::Gap { epoch };
    assert_eq!(engine.append(numbered("a", 1, 5)).await, gap);
    assert_eq!(engine.append(numbered("b", 1, 1)).await, only_settled);
    assert_eq!(add(&engine, numbered("a", 1, 4)).await.offset, offset(2));
}

pub(crate) async fn named_requests_are_kept_over_a_restart(mut open: Open) {
    let named = |digest| message("a", request("x", digest), "1");
    let engine = open();
    let place = add(&engine, named([1; 32])).await;
    drop(engine);
    let engine = open();
    assert_eq!(engine.append(named([1; 32])).await, AppendOutcome::Duplicate(place));
    let other = engine.append(named([2; 32])).await;
    assert_eq!(code_of(&other), Some(KEY_REUSED));
}

pub(crate) async fn a_log_goes_on_after_a_restart(mut open: Open) {
    let engine = open();
    add(&engine, numbered("a", 1, 1)).await;
    let at = add(&engine, message("a", MessageId::None, "1")).await.at;
    drop(engine);
    let engine = open();
    let seen = Arc::new(Seen::default());
    let _watch = engine.watch(&room("a"), seen.clone()).await.unwrap();
    let third = add(&engine, numbered("a", 1, 2)).await;
    assert_eq!(third.offset, offset(3));
    assert!(third.at >= at);
    assert_eq!(seen.wait_for(1).await, [3]);
}

pub(crate) async fn an_empty_room_keeps_its_epoch_over_a_restart(mut open: Open) {
    let engine = open();
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    drop(engine);
    let engine = open();
    assert_eq!(read(&engine, "a", Range::Newest).await.epoch, epoch);
    assert_eq!(add(&engine, numbered("a", 1, 1)).await.epoch, epoch);
}
