//! The memory engine: the conformance suite, and the engine's own bounds.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use talkback_protocol::{ClientKey, Cursor, Offset, PublishId, Seq, message::code};
use tokio::time::advance;

use super::super::{
    AppendOutcome, Engine, MessageId, NewRoomOptions, Origin, Range,
    conformance::{
        Seen, add, bodies, code_of, first, from_origin, message, numbered, of_copy, offset, read, request, room,
        withdrawal, withdrawn,
    },
};
use super::*;

const DEFAULTS: MemoryOptions = MemoryOptions::DEFAULT;

crate::conformance_suite!(engine(DEFAULTS));

fn engine(options: MemoryOptions) -> Arc<dyn Engine> {
    Arc::new(Memory::new(options))
}

async fn fill(engine: &Arc<dyn Engine>, room: &str, messages: u64) {
    for number in 1..=messages {
        add(engine, numbered(room, 1, number)).await;
    }
}

fn watch(engine: &Arc<dyn Engine>, name: &str) -> Watch {
    watch_now(engine, name).unwrap()
}

fn watch_now(engine: &Arc<dyn Engine>, name: &str) -> Result<Watch, Refusal> {
    let watch = engine.watch(&room(name), Arc::new(Seen::default()));
    watch.now_or_never().unwrap()
}

fn body_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[tokio::test]
async fn a_room_keeps_its_newest_messages_by_count() {
    let engine = engine(MemoryOptions {
        messages: 3,
        ..DEFAULTS
    });
    fill(&engine, "a", 10).await;
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!((page.head, page.floor), (offset(10), offset(7)));
    assert_eq!(bodies(&page), ["\"1 8\"", "\"1 9\"", "\"1 10\""]);
    assert_eq!(engine.usage().messages, 3);
}

#[tokio::test]
async fn a_room_keeps_its_newest_messages_by_bytes_and_refuses_what_can_never_fit() {
    let engine = engine(MemoryOptions {
        bytes: 10_000,
        ..DEFAULTS
    });
    for _ in 0..10 {
        add(&engine, message("a", MessageId::None, &body_of(4000))).await;
    }
    let usage = engine.usage();
    assert!(usage.messages == 2 && usage.bytes <= 10_000, "{usage:?}");
    let refused = engine.append(message("a", MessageId::None, &body_of(10_000))).await;
    assert!(code_of(&refused) == Some(code::TOO_LARGE), "{refused:?}");
    assert_eq!(
        read(&engine, "a", Range::Newest).await.messages.len(),
        2,
        "the others are still there"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_are_dropped_when_they_are_too_old_and_offsets_go_on() {
    let engine = engine(MemoryOptions {
        age: Duration::from_secs(60),
        ..DEFAULTS
    });
    fill(&engine, "a", 1).await;
    advance(Duration::from_secs(40)).await;
    add(&engine, numbered("a", 1, 2)).await;
    advance(Duration::from_secs(21)).await;
    let page = read(&engine, "a", Range::Newest).await;
    assert_eq!((bodies(&page), page.floor), (vec!["\"1 2\""], offset(1)));
    advance(Duration::from_secs(61)).await;
    let page = read(&engine, "a", Range::Newest).await;
    assert_eq!((page.messages.len(), page.head, page.floor), (0, offset(2), offset(2)));
    assert_eq!(add(&engine, numbered("a", 1, 3)).await.offset, offset(3));
}

#[tokio::test(start_paused = true)]
async fn expired_entries_are_swept_and_then_their_room() {
    let options = MemoryOptions {
        age: Duration::from_secs(60),
        client_age: Duration::from_secs(300),
        request_age: Duration::from_secs(300),
        ..DEFAULTS
    };
    let engine = engine(options);
    let watch = watch(&engine, "watched");
    fill(&engine, "a", 3).await;
    add(&engine, message("a", request("x", [0; 32]), "1")).await;
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    tokio::time::sleep(Duration::from_secs(63)).await;
    let usage = engine.usage();
    assert_eq!((usage.messages, usage.bytes, usage.rooms), (0, 0, 2));
    assert_eq!((usage.clients, usage.requests), (1, 1), "a resend is still recognised");
    assert!(matches!(
        engine.append(numbered("a", 1, 3)).await,
        AppendOutcome::Duplicate(_)
    ));
    tokio::time::sleep(Duration::from_secs(310)).await;
    let usage = engine.usage();
    assert_eq!(
        (usage.rooms, usage.clients, usage.requests),
        (1, 0, 0),
        "only the watched room is left"
    );
    assert_ne!(
        read(&engine, "a", Range::Newest).await.epoch,
        epoch,
        "its next message begins a new epoch"
    );
    drop(watch);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.usage().rooms, 0, "a room without activity is removed at once");
}

#[tokio::test]
async fn deletions_release_the_bytes_of_messages_and_keep_who_published_them() {
    let engine = engine(DEFAULTS);
    fill(&engine, "a", 10).await;
    fill(&engine, "b", 10).await;
    add(&engine, message("b", MessageId::None, &body_of(10_000))).await;
    let remembered = engine.usage().remembered_bytes;
    assert_eq!(engine.delete_room(&room("a")).await.unwrap().messages, 10);
    let before = engine.usage();
    assert_eq!((before.messages, before.clients), (11, 2));
    let ann = UserName::parse("ann").unwrap();
    assert_eq!(engine.delete_messages_of(&ann, None).await, Ok(11));
    let after = engine.usage();
    assert_eq!((after.messages, after.remembered_bytes), (11, remembered));
    assert!(after.bytes < before.bytes - 9_000, "{after:?}");
    assert_eq!(engine.delete_room(&room("b")).await.unwrap().messages, 11);
    assert_eq!((engine.usage().messages, engine.usage().bytes), (0, 0));
}

#[tokio::test]
async fn rooms_without_watchers_are_bounded_and_the_least_recently_used_one_is_evicted() {
    let engine = engine(MemoryOptions { rooms: 2, ..DEFAULTS });
    fill(&engine, "watched", 1).await;
    let _watch = watch(&engine, "watched");
    fill(&engine, "a", 1).await;
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    fill(&engine, "b", 1).await;
    assert_eq!(engine.usage().rooms, 3);
    fill(&engine, "c", 1).await;
    assert_eq!(engine.usage().rooms, 3);
    let forgotten = read(&engine, "a", Range::Newest).await;
    assert!(forgotten.messages.is_empty() && forgotten.epoch != epoch);
    assert_eq!(engine.usage().messages, 3);
    assert_eq!(
        engine.usage().clients,
        3,
        "the entries of its publishers are dropped with it"
    );
    assert_eq!(read(&engine, "watched", Range::Newest).await.messages.len(), 1);
}

#[tokio::test]
async fn quiet_rooms_with_watchers_never_keep_a_new_room_out() {
    let engine = engine(MemoryOptions { rooms: 10, ..DEFAULTS });
    let mut watches = Vec::new();
    for number in 0..64 {
        watches.push(watch(&engine, &format!("quiet-{number}")));
    }
    for number in 0..100 {
        fill(&engine, &format!("new-{number}"), 1).await;
    }
    assert_eq!(engine.usage().rooms, 74);
    drop(watches);
    assert_eq!(engine.usage().rooms, 10, "nothing is kept of a room without activity");
}

#[tokio::test]
async fn watches_are_bounded_and_one_that_ends_frees_its_slot() {
    let engine = engine(MemoryOptions { watches: 2, ..DEFAULTS });
    let (first, _second) = (watch(&engine, "a"), watch(&engine, "a"));
    let third = watch_now(&engine, "b");
    assert_eq!(third.err().map(|refusal| refusal.code), Some(code::BUSY.into()));
    drop(first);
    let _third = watch(&engine, "b");
}

#[tokio::test]
async fn one_client_makes_a_bounded_number_of_rooms_and_the_history_of_other_rooms_stays() {
    let engine = engine(MemoryOptions { rooms: 300, ..DEFAULTS });
    for number in 0..100 {
        add(&engine, message(&format!("old-{number}"), MessageId::None, "1")).await;
    }
    let mut made = 0;
    for number in 0..10_000 {
        let name = format!("new-{number}");
        let publish = match number % 2 {
            0 => numbered(&name, 1, 1),
            _ => withdrawal(numbered(&name, 1, 1)),
        };
        match engine.append(publish).await {
            AppendOutcome::Refused { refusal, .. } if refusal.code == code::BUSY => {
                assert!(refusal.retry_after.unwrap() > Duration::ZERO);
                assert_eq!(engine.usage().rooms, 100 + made, "a refused message makes no room");
            }
            _ => made += 1,
        }
    }
    assert!((128..140).contains(&made), "{made}");
    for number in 0..100 {
        let page = read(&engine, &format!("old-{number}"), Range::Newest).await;
        assert_eq!(page.messages.len(), 1);
    }
    add(&engine, numbered("of-another", 2, 1)).await;
    let _watch = watch(&engine, "watched");
    let in_watched = engine.append(numbered("watched", 1, 1)).await;
    assert_eq!(code_of(&in_watched), Some(code::BUSY), "a watch makes no room");
    add(&engine, numbered("new-0", 1, 2)).await;
}

#[tokio::test]
async fn a_message_that_is_refused_with_a_retry_evicts_no_room_and_costs_nothing_of_a_budget() {
    let engine = engine(MemoryOptions {
        rooms: 4,
        total_bytes: 10_000,
        clients: 20,
        new_rooms: NewRoomOptions {
            burst: 2,
            per_minute: 1,
            ..DEFAULTS.new_rooms
        },
        ..DEFAULTS
    });
    for number in 0..4 {
        add(&engine, message(&format!("r{number}"), MessageId::None, &body_of(1900))).await;
    }
    let large = |append| Append {
        content: Ok(Body::from_json(&body_of(4000)).unwrap()),
        ..append
    };
    let not_now = |append| Append {
        content: Err(Refusal::later(code::BUSY, "not now", DEFAULTS.retry_after)),
        ..append
    };
    for number in 0..100 {
        for refused in [
            large(numbered(&format!("new-{number}"), 1, 1)),
            not_now(numbered(&format!("new-{number}"), 1, 1)),
            numbered(&format!("new-{number}"), 1, 2),
        ] {
            let outcome = engine.append(refused).await;
            let is_busy = code_of(&outcome) == Some(code::BUSY);
            assert!(is_busy || matches!(outcome, AppendOutcome::Gap { .. }), "{outcome:?}");
        }
    }
    for number in 0..4 {
        let page = read(&engine, &format!("r{number}"), Range::Newest).await;
        assert_eq!(page.messages.len(), 1, "{number}");
    }
    let _watch = watch(&engine, "watched");
    let refused = engine.append(not_now(numbered("watched", 1, 1))).await;
    assert_eq!(code_of(&refused), Some(code::BUSY));
    // Its whole budget is left, and its part of the entries: one while few are free.
    add(&engine, numbered("watched", 1, 1)).await;
    let full = engine.append(numbered("new", 1, 1)).await;
    assert!(
        matches!(&full, AppendOutcome::Refused { refusal, .. } if refusal.retry_after == Some(DEFAULTS.remembered_retry_after))
    );
    assert!(!engine.has(&room("new")));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_only_read_is_evicted_before_those_that_are_published_to() {
    let options = MemoryOptions {
        rooms: 4,
        young_for: Duration::from_secs(60),
        ..DEFAULTS
    };
    let engine = engine(options);
    for number in 0..4 {
        add(&engine, message(&format!("r{number}"), MessageId::None, "1")).await;
    }
    advance(Duration::from_secs(60)).await;
    add(&engine, message("r3", MessageId::None, "2")).await;
    for number in 4..20 {
        for _ in 0..3 {
            read(&engine, "r0", Range::Newest).await;
        }
        add(&engine, message(&format!("r{number}"), MessageId::None, "1")).await;
    }
    assert!(!engine.has(&room("r0")), "however often it was read");
    assert!(engine.has(&room("r3")));
}

#[tokio::test]
async fn a_number_that_leaves_a_gap_makes_no_room() {
    let engine = engine(DEFAULTS);
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    assert_eq!(
        engine.append(numbered("a", 1, 2)).await,
        AppendOutcome::Gap { epoch: epoch.clone() }
    );
    assert_eq!(engine.usage().rooms, 0);
    assert_eq!(add(&engine, numbered("a", 1, 1)).await.epoch, epoch);
}

#[tokio::test(start_paused = true)]
async fn an_empty_room_with_a_watcher_keeps_its_epoch_when_other_rooms_are_evicted() {
    let engine = engine(MemoryOptions {
        rooms: 1,
        new_rooms: unlimited(),
        ..DEFAULTS
    });
    let _watch = watch(&engine, "waited-for");
    let epoch = read(&engine, "waited-for", Range::Newest).await.epoch;
    // So many evictions change the epoch of every room without a log.
    for number in 0..20_000 {
        add(&engine, message(&format!("r{number}"), MessageId::None, "1")).await;
    }
    let place = add(&engine, numbered("waited-for", 1, 1)).await;
    assert_eq!(
        place.epoch, epoch,
        "the cursor of the empty room is valid for its first message"
    );
    let since = Cursor {
        epoch,
        offset: Offset::ZERO,
    };
    assert!(read(&engine, "waited-for", Range::Newest).await.has_all_since(&since));
}

fn unlimited() -> NewRoomOptions {
    NewRoomOptions {
        per_minute: 0,
        ..DEFAULTS.new_rooms
    }
}

#[tokio::test]
async fn reading_makes_no_room() {
    let engine = engine(DEFAULTS);
    for name in ["a", "b", "c"] {
        read(&engine, name, Range::Newest).await;
    }
    assert_eq!(engine.usage().rooms, 0);
}

#[tokio::test(start_paused = true)]
async fn all_rooms_together_are_bounded_and_small_rooms_lose_nothing_to_large_ones() {
    let options = MemoryOptions {
        bytes: 100_000,
        total_bytes: 120_000,
        ..DEFAULTS
    };
    let engine = engine(options);
    fill(&engine, "small", 5).await;
    let push = async |room, bytes| engine.append(message(room, MessageId::None, &body_of(bytes))).await;
    for _ in 0..100 {
        assert!(matches!(push("large", 2000).await, AppendOutcome::Added(_)));
    }
    for _ in 0..100 {
        assert!(matches!(push("huge", 2000).await, AppendOutcome::Added(_)));
        assert!(engine.usage().bytes <= 120_000);
    }
    let in_huge = async || read(&engine, "huge", Range::Newest).await.messages.len();
    assert!(in_huge().await < 10, "the large room was there first");
    let refused = push("late", 30_000).await;
    assert!(code_of(&refused) == Some(code::BUSY), "{refused:?}");
    tokio::time::sleep(2 * DEFAULTS.sweep_interval).await;
    assert!(matches!(push("late", 30_000).await, AppendOutcome::Added(_)));
    for _ in 0..100 {
        assert!(matches!(push("huge", 2000).await, AppendOutcome::Added(_)));
    }
    assert!(in_huge().await > 10, "it got its share in the end");
    assert_eq!(read(&engine, "small", Range::Newest).await.messages.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_entry_of_a_client_is_not_dropped_early_for_other_clients() {
    let engine = engine(MemoryOptions {
        messages: 2,
        clients: 1000,
        new_rooms: unlimited(),
        ..DEFAULTS
    });
    let place = add(&engine, numbered("a", 200, 1)).await;
    let mut refused = 0;
    for key in 1..=40 {
        for number in 0..100 {
            let outcome = engine.append(numbered(&format!("r{number}"), key, 1)).await;
            refused += usize::from(code_of(&outcome) == Some(code::BUSY));
        }
    }
    for _ in 0..10 {
        add(&engine, message("a", MessageId::None, "1")).await;
    }
    let usage = engine.usage();
    assert!(refused > 3000 && usage.clients < 1000, "{refused} {usage:?}");
    assert_eq!(
        engine.append(numbered("a", 200, 1)).await,
        AppendOutcome::Duplicate(place),
        "although the message itself is gone"
    );
    add(&engine, numbered("a", 201, 1)).await;

    tokio::time::sleep(Duration::from_secs(3602)).await;
    assert_eq!(engine.usage().clients, 0);
    assert_eq!(engine.usage().remembered_bytes, 0);
    add(&engine, first("r0", 1, 2)).await;
}

/// The first message of one of very many made-up clients.
fn made_up(number: u64, origin: u64) -> Append {
    let id = MessageId::Client {
        key: ClientKey::from_random(u128::from(number).to_ne_bytes()),
        seq: Seq::FIRST,
        id: PublishId::from_random(number),
        first: true,
        origin: Some(Origin(origin)),
    };
    message("a", id, "1")
}

#[tokio::test(start_paused = true)]
async fn all_clients_of_one_origin_take_an_eighth_of_the_entries_and_existing_entries_stay() {
    let engine = engine(MemoryOptions {
        messages: 2,
        clients: 1000,
        ..DEFAULTS
    });
    let innocent = add(&engine, from_origin(2, numbered("a", 200, 1))).await;
    let mut heard = Vec::new();
    for number in 0..5000 {
        match engine.append(made_up(number, 1)).await {
            AppendOutcome::Added(place) => heard.push((number, place)),
            refused => assert!(
                matches!(&refused, AppendOutcome::Refused { refusal, .. } if refusal.retry_after == Some(DEFAULTS.remembered_retry_after)),
                "{refused:?}"
            ),
        }
    }
    assert!((100..=1000 / 8).contains(&heard.len()), "{}", heard.len());
    for number in 0..90 {
        add(&engine, made_up(1 << 32 | number, 2)).await;
    }
    add(&engine, numbered("a", 201, 1)).await;
    for (number, place) in heard {
        let again = engine.append(made_up(number, 3)).await;
        assert_eq!(
            again,
            AppendOutcome::Duplicate(place),
            "the message was dropped, the entry of its client was not"
        );
    }
    let again = engine.append(from_origin(1, numbered("a", 200, 1))).await;
    assert_eq!(again, AppendOutcome::Duplicate(innocent), "whatever its origin is now");
    tokio::time::sleep(Duration::from_secs(3602)).await;
    assert_eq!((engine.usage().clients, engine.usage().remembered_bytes), (0, 0));
    add(&engine, made_up(5000, 1)).await;
}

/// The log itself could answer for such a client, but only until the messages of others make it drop the message.
#[tokio::test]
async fn the_entry_of_a_client_is_kept_although_the_log_still_has_its_newest_message() {
    let engine = engine(MemoryOptions {
        messages: 100,
        clients: 32,
        ..DEFAULTS
    });
    let place = add(&engine, numbered("a", 200, 1)).await;
    let mut refused = 0;
    for number in 1..=64 {
        let outcome = engine.append(made_up(number, number)).await;
        refused += usize::from(code_of(&outcome) == Some(code::BUSY));
    }
    assert_eq!(refused, 64 - 31);
    for _ in 0..100 {
        add(&engine, message("a", MessageId::None, "1")).await;
    }
    assert_eq!(
        engine.append(numbered("a", 200, 1)).await,
        AppendOutcome::Duplicate(place)
    );
}

#[tokio::test(start_paused = true)]
async fn other_tasks_run_while_very_many_rooms_are_swept() {
    let memory = Memory::new(MemoryOptions {
        rooms: 5000,
        total_bytes: 700_000,
        ..DEFAULTS
    });
    let engine: Arc<dyn Engine> = Arc::new(memory.clone());
    let rooms = 10 * DEFAULTS.sweep_batch;
    for number in 0..rooms {
        let name = format!("r{number}");
        assert!(matches!(
            engine.append(message(&name, MessageId::None, "1")).await,
            AppendOutcome::Added(_)
        ));
        advance(Duration::from_millis(1)).await;
    }
    // The log is nearly full, so rooms without watchers lose their messages to the one with a watcher.
    let _watch = watch(&engine, "watched");
    let mut turns = 0;
    let mut sweep = std::pin::pin!(memory.0.sweep());
    let left = std::future::poll_fn(|cx| {
        turns += 1;
        sweep.as_mut().poll(cx)
    })
    .await;
    assert_eq!(left, rooms + 1);
    assert!(turns > 20, "{turns}");
    assert!(engine.usage().bytes <= 700_000 / 8 * 7);
    let kept = async |number| {
        !read(&engine, &format!("r{number}"), Range::Newest)
            .await
            .messages
            .is_empty()
    };
    assert!(
        !kept(0).await && kept(rooms - 1).await,
        "the most recently used rooms keep theirs"
    );
}

#[tokio::test(start_paused = true)]
async fn names_of_requests_are_bounded_for_each_room_and_none_is_dropped_early() {
    let engine = engine(MemoryOptions {
        requests: 2,
        ..DEFAULTS
    });
    let named = async |room, name| engine.append(message(room, request(name, [0; 32]), "1")).await;
    assert!(matches!(named("a", "1").await, AppendOutcome::Added(_)));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(matches!(named("a", "2").await, AppendOutcome::Added(_)));
    for _ in 0..100 {
        let refused = named("a", "3").await;
        assert_eq!(code_of(&refused), Some(code::BUSY));
    }
    assert!(matches!(named("b", "3").await, AppendOutcome::Added(_)), "another room");
    assert!(matches!(named("a", "1").await, AppendOutcome::Duplicate(_)));
    assert_eq!(engine.usage().requests, 3);
    tokio::time::sleep(Duration::from_secs(2601)).await;
    assert!(
        matches!(named("a", "3").await, AppendOutcome::Added(_)),
        "the first name is expired"
    );
    assert!(matches!(named("a", "2").await, AppendOutcome::Duplicate(_)));
    tokio::time::sleep(Duration::from_secs(3602)).await;
    assert_eq!((engine.usage().requests, engine.usage().remembered_bytes), (0, 0));
}

#[tokio::test]
async fn the_bytes_of_entries_are_counted_and_bounded() {
    let each = 5000;
    let engine = engine(MemoryOptions {
        messages: 1,
        remembered_bytes: 100_000,
        ..DEFAULTS
    });
    let mut withdrawn_by = [0; 100];
    for (key, count) in (0..).zip(&mut withdrawn_by) {
        for number in 1..=200 {
            let outcome = engine.append(withdrawal(numbered("a", key, number))).await;
            if code_of(&outcome) != Some(code::WITHDRAWN) {
                assert_eq!(code_of(&outcome), Some(code::BUSY));
                break;
            }
            *count = number;
        }
        let bytes = engine.usage().remembered_bytes;
        assert!(bytes <= (each * (usize::from(key) + 1)).min(100_000), "{key}: {bytes}");
    }
    assert_eq!((withdrawn_by[0], withdrawn_by[99]), (200, 0));
    let outcome = engine.append(numbered("a", 0, 200)).await;
    assert_eq!(
        code_of(&outcome),
        Some(code::WITHDRAWN),
        "no entry was dropped for others"
    );
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_in_a_room_without_watchers_is_kept_as_long_as_others() {
    let engine = engine(DEFAULTS);
    let refused = engine.append(withdrawal(numbered("a", 1, 1))).await;
    assert_eq!(code_of(&refused), Some(code::WITHDRAWN));
    tokio::time::sleep(Duration::from_secs(3500)).await;
    let late = engine.append(numbered("a", 1, 1)).await;
    assert_eq!(late, refused, "a late copy on an old connection");
    assert!(matches!(late, AppendOutcome::Refused { refusal, .. } if refusal == withdrawn()));
    tokio::time::sleep(Duration::from_secs(3602)).await;
    let usage = engine.usage();
    assert_eq!((usage.rooms, usage.clients), (0, 0), "then the room is removed");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_full_log_refused_is_not_settled() {
    let engine = engine(MemoryOptions {
        total_bytes: 10_000,
        ..DEFAULTS
    });
    for _ in 0..2 {
        add(&engine, message("full", MessageId::None, &body_of(4000))).await;
    }
    let large = |append| Append {
        content: Ok(Body::from_json(&body_of(4000)).unwrap()),
        ..append
    };
    let before = engine.usage().remembered_bytes;
    let refused = engine.append(large(numbered("a", 1, 1))).await;
    assert_eq!(code_of(&refused), Some(code::BUSY));
    assert_eq!(engine.usage().remembered_bytes, before);
    assert!(matches!(
        engine.append(large(numbered("a", 1, 2))).await,
        AppendOutcome::Gap { .. }
    ));
    tokio::time::sleep(2 * DEFAULTS.sweep_interval).await;
    add(&engine, large(of_copy("a", 1, 1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_with_members_keeps_several_queues_when_all_rooms_are_nearly_full() {
    let queue = 100_000;
    let options = MemoryOptions {
        bytes: 8 * queue,
        watched_bytes: 4 * queue,
        total_bytes: 64 * queue,
        ..DEFAULTS
    };
    let nine_tenths = options.total_bytes / 10 * 9;
    for unwatched in [9, 500] {
        let engine = engine(options.clone());
        let _watch = watch(&engine, "watched");
        let push = async |room: &str| engine.append(message(room, MessageId::None, &body_of(2000))).await;
        for number in (0..unwatched).cycle() {
            if engine.usage().bytes > nine_tenths {
                break;
            }
            push(&format!("r{number}")).await;
        }
        for _ in 0..10 {
            for _ in 0..200 {
                assert!(matches!(push("watched").await, AppendOutcome::Added(_)));
                assert!(matches!(push("r0").await, AppendOutcome::Added(_)));
            }
            tokio::time::sleep(DEFAULTS.sweep_interval).await;
        }
        assert!(engine.usage().bytes <= options.total_bytes);
        let page = read(&engine, "watched", Range::Newest).await;
        let kept: usize = page.messages.iter().map(|message| log::weight(message)).sum();
        assert!(kept >= 3 * queue, "{unwatched} other rooms: {kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_answers_for_a_client_whose_entry_expired() {
    let engine = engine(MemoryOptions {
        client_age: Duration::from_secs(60),
        ..DEFAULTS
    });
    let place = add(&engine, numbered("a", 1, 1)).await;
    add(&engine, numbered("a", 1, 2)).await;
    tokio::time::sleep(Duration::from_secs(63)).await;
    assert_eq!(engine.usage().clients, 0);
    assert_eq!(
        engine.append(numbered("a", 1, 1)).await,
        AppendOutcome::Duplicate(place)
    );
    assert!(matches!(
        engine.append(of_copy("a", 1, 1)).await,
        AppendOutcome::Conflict { .. }
    ));
    assert!(matches!(
        engine.append(numbered("a", 1, 4)).await,
        AppendOutcome::Gap { .. }
    ));
    add(&engine, numbered("a", 1, 3)).await;
}

#[tokio::test]
async fn the_log_finds_messages_of_a_sender_while_it_drops_others() {
    let engine = engine(MemoryOptions {
        messages: 10,
        client_messages: 1,
        ..DEFAULTS
    });
    let mut places = Vec::new();
    for number in 1..=40 {
        places.push(add(&engine, first("a", 1, 2 * number)).await);
        add(&engine, numbered("a", 2, number)).await;
    }
    for (number, place) in (1..).zip(places) {
        let again = engine.append(first("a", 1, 2 * number)).await;
        let skipped = engine.append(first("a", 1, 2 * number - 1)).await;
        assert!(matches!(skipped, AppendOutcome::Forgotten { .. }), "{skipped:?}");
        if number > 35 {
            assert_eq!(again, AppendOutcome::Duplicate(place));
        } else {
            assert!(matches!(again, AppendOutcome::Forgotten { .. }), "{number}: {again:?}");
        }
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_with_its_place_after_the_log_dropped_it() {
    let options = MemoryOptions {
        messages: 1,
        client_messages: 2,
        ..DEFAULTS
    };
    let engine = engine(options);
    fill(&engine, "a", 3).await;
    let again = async |number| engine.append(numbered("a", 1, number)).await;
    assert!(matches!(again(2).await, AppendOutcome::Duplicate(place) if place.offset == offset(2)));
    assert!(matches!(again(1).await, AppendOutcome::Forgotten { .. }));
}

#[tokio::test]
async fn a_room_exists_while_it_has_messages_or_a_watcher() {
    let engine = engine(DEFAULTS);
    assert!(!engine.has(&room("a")));
    fill(&engine, "a", 1).await;
    let watch = watch(&engine, "b");
    assert!(engine.has(&room("a")) && engine.has(&room("b")));
    drop(watch);
    assert!(engine.has(&room("a")) && !engine.has(&room("b")));
}

#[tokio::test]
async fn a_message_may_fill_its_room_or_all_of_the_log_exactly_and_one_byte_more_is_too_large() {
    let push =
        async |engine: &Arc<dyn Engine>, bytes| engine.append(message("a", MessageId::None, &body_of(bytes))).await;
    let any = engine(DEFAULTS);
    push(&any, 4000).await;
    let weight = log::weight(&read(&any, "a", Range::Newest).await.messages[0]);
    for (bytes, total_bytes) in [(weight, 10 * weight), (10 * weight, weight)] {
        let engine = engine(MemoryOptions {
            bytes,
            total_bytes,
            ..DEFAULTS
        });
        assert!(matches!(push(&engine, 4000).await, AppendOutcome::Added(_)));
        let refused = push(&engine, 4001).await;
        assert_eq!(code_of(&refused), Some(code::TOO_LARGE), "{refused:?}");
        assert_eq!(engine.usage().bytes, weight);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_at_its_maximum_age_is_still_kept() {
    let engine = engine(MemoryOptions {
        age: Duration::from_secs(60),
        ..DEFAULTS
    });
    fill(&engine, "a", 1).await;
    advance(Duration::from_secs(60)).await;
    assert_eq!(read(&engine, "a", Range::Newest).await.messages.len(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(read(&engine, "a", Range::Newest).await.messages.len(), 0);
}

async fn thousand(engine: &Arc<dyn Engine>, room: &str) -> AppendOutcome {
    engine.append(message(room, MessageId::None, &body_of(1000))).await
}

async fn weight_of_thousand() -> usize {
    let engine = engine(DEFAULTS);
    assert!(matches!(thousand(&engine, "a").await, AppendOutcome::Added(_)));
    engine.usage().bytes
}

#[tokio::test]
async fn a_room_is_filled_to_the_last_byte_before_it_drops_anything() {
    let engine = engine(MemoryOptions {
        bytes: 2 * weight_of_thousand().await,
        ..DEFAULTS
    });
    for kept in [1, 2, 2] {
        assert!(matches!(thousand(&engine, "a").await, AppendOutcome::Added(_)));
        assert_eq!(engine.usage().messages, kept);
    }
}

#[tokio::test]
async fn a_room_drops_its_own_messages_for_a_new_one_only_if_the_new_one_then_fits() {
    let weight = weight_of_thousand().await;
    let engine = engine(MemoryOptions {
        total_bytes: 3 * weight,
        ..DEFAULTS
    });
    for room in ["other", "other", "own", "own"] {
        assert!(matches!(thousand(&engine, room).await, AppendOutcome::Added(_)));
    }
    let usage = engine.usage();
    assert_eq!(
        (usage.messages, usage.bytes),
        (3, 3 * weight),
        "its first one was dropped"
    );
    let large = message("own", MessageId::None, &body_of(1001));
    assert_eq!(code_of(&engine.append(large).await), Some(code::BUSY));
    assert_eq!(read(&engine, "own", Range::Newest).await.messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rooms_lose_what_is_above_their_share_when_the_log_is_nearly_full_and_not_before() {
    let weight = weight_of_thousand().await;
    let engine = engine(MemoryOptions {
        bytes: 80 * weight,
        total_bytes: 80 * weight,
        ..DEFAULTS
    });
    thousand(&engine, "small").await;
    for _ in 0..69 {
        thousand(&engine, "large").await;
    }
    tokio::time::sleep(2 * DEFAULTS.sweep_interval).await;
    assert_eq!(engine.usage().messages, 70, "seven eighths are not nearly full");
    thousand(&engine, "large").await;
    tokio::time::sleep(2 * DEFAULTS.sweep_interval).await;
    assert_eq!(
        engine.usage().messages,
        1 + 35,
        "the large room keeps seven eighths of its half"
    );
}

/// Fills rooms with so many messages each and returns how many are left after a sweep. The log has capacity for 80
/// messages, and more than 70 are nearly full.
async fn left_after_sweep(rooms: &[(&str, u64)], watched: &[&str]) -> Vec<usize> {
    let weight = weight_of_thousand().await;
    let engine = engine(MemoryOptions {
        bytes: 80 * weight,
        total_bytes: 80 * weight,
        ..DEFAULTS
    });
    let _watches: Vec<_> = watched.iter().map(|name| watch(&engine, name)).collect();
    for (room, messages) in rooms {
        for _ in 0..*messages {
            assert!(matches!(thousand(&engine, room).await, AppendOutcome::Added(_)));
        }
    }
    tokio::time::sleep(2 * DEFAULTS.sweep_interval).await;
    let mut left = Vec::new();
    for (room, _) in rooms {
        left.push(read(&engine, room, Range::Newest).await.messages.len());
    }
    left
}

#[tokio::test(start_paused = true)]
async fn a_room_that_holds_no_more_than_its_share_loses_nothing() {
    assert_eq!(left_after_sweep(&[("a", 40), ("b", 31)], &[]).await, [40, 31]);
    assert_eq!(left_after_sweep(&[("a", 41), ("b", 30)], &[]).await, [35, 30]);
}

#[tokio::test(start_paused = true)]
async fn half_of_the_log_is_for_rooms_with_watchers_and_other_rooms_are_emptied_only_when_it_is_nearly_full() {
    assert_eq!(
        left_after_sweep(&[("watched", 50), ("b", 30)], &["watched"]).await,
        [40, 30]
    );
    let rooms = [("watched", 45), ("too", 1), ("b", 30)];
    assert_eq!(left_after_sweep(&rooms, &["watched", "too"]).await, [23, 1, 23]);
    let rooms = [("watched", 36), ("b", 20), ("c", 20)];
    assert_eq!(
        left_after_sweep(&rooms, &["watched"]).await,
        [36, 0, 20],
        "of the others the least recently used one is emptied first"
    );
}

#[tokio::test]
async fn requests_of_one_room_leave_capacity_for_those_of_another() {
    let engine = engine(MemoryOptions {
        remembered_bytes: 100_000,
        ..DEFAULTS
    });
    let fill = async |room| {
        let mut taken = 0;
        loop {
            let named = message(room, request(&taken.to_string(), [0; 32]), "1");
            match engine.append(named).await {
                AppendOutcome::Added(_) => taken += 1,
                refused => return (taken, code_of(&refused) == Some(code::BUSY)),
            }
        }
    };
    let (in_a, is_busy) = fill("a").await;
    assert!(in_a > 10 && is_busy, "{in_a}");
    let (in_b, is_busy) = fill("b").await;
    assert!(in_b > 10 && is_busy, "{in_b}");
}

#[tokio::test]
async fn the_requests_of_an_evicted_room_are_not_counted() {
    let engine = engine(MemoryOptions { rooms: 1, ..DEFAULTS });
    add(&engine, message("a", request("x", [0; 32]), "1")).await;
    assert_eq!(engine.usage().requests, 1);
    fill(&engine, "b", 1).await;
    assert_eq!(engine.usage().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn the_task_that_sweeps_ends_with_the_last_room_and_begins_again_with_the_next_one() {
    let engine = engine(MemoryOptions {
        age: Duration::from_secs(60),
        client_age: Duration::from_secs(60),
        request_age: Duration::from_secs(60),
        ..DEFAULTS
    });
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..2 {
        fill(&engine, "a", 1).await;
        fill(&engine, "b", 1).await;
        assert_eq!(tasks(), 1);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(tasks(), 1, "two rooms are left");
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        assert_eq!((engine.usage().rooms, tasks()), (0, 0));
    }
}
