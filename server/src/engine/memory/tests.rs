//! The memory engine: everything that an engine must do, and its own bounds.

use std::{sync::Arc, time::Duration};

use talkback_protocol::Offset;
use tokio::time::advance;

use super::super::{
    Engine, MessageId, Outcome, Range,
    conformance::{self, Seen, add, bodies, code_of, message, numbered, offset, read, request, room},
};
use super::*;

conformance::suite!(engine(MemoryOptions::default()));

fn engine(options: MemoryOptions) -> Arc<dyn Engine> {
    Arc::new(Memory::new(options))
}

async fn fill(engine: &Arc<dyn Engine>, room: &str, messages: u64) {
    for number in 1..=messages {
        add(engine, numbered(room, 1, number)).await;
    }
}

fn body_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[tokio::test]
async fn a_room_keeps_its_newest_messages_by_count() {
    let engine = engine(MemoryOptions {
        messages: 3,
        ..MemoryOptions::default()
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
        ..MemoryOptions::default()
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
        ..MemoryOptions::default()
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
async fn what_is_too_old_goes_without_anybody_asking_and_the_room_with_it() {
    let options = MemoryOptions {
        age: Duration::from_secs(60),
        client_age: Duration::from_secs(300),
        request_age: Duration::from_secs(300),
        ..MemoryOptions::default()
    };
    let engine = engine(options);
    let watch = engine.watch(&room("watched"), Arc::new(Seen::default())).unwrap();
    fill(&engine, "a", 3).await;
    add(&engine, message("a", request("x", [0; 32]), "1")).await;
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    tokio::time::sleep(Duration::from_secs(63)).await;
    let usage = engine.usage();
    assert_eq!((usage.messages, usage.bytes, usage.rooms), (0, 0, 2));
    assert_eq!((usage.clients, usage.requests), (1, 1), "a resend is still recognised");
    assert!(matches!(
        engine.append(numbered("a", 1, 3)).await,
        Outcome::Duplicate(_)
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
        "it would begin anew"
    );
    drop(watch);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.usage().rooms, 0, "a room in which nothing was said ends at once");
}

#[tokio::test]
async fn rooms_are_bounded_and_the_one_not_used_for_longest_gives_way_unless_somebody_is_in_it() {
    let engine = engine(MemoryOptions {
        rooms: 2,
        ..MemoryOptions::default()
    });
    let _watch = engine.watch(&room("watched"), Arc::new(Seen::default())).unwrap();
    fill(&engine, "a", 1).await;
    let epoch = read(&engine, "a", Range::Newest).await.epoch;
    fill(&engine, "b", 1).await;
    assert_eq!(engine.usage().rooms, 2);
    let forgotten = read(&engine, "a", Range::Newest).await;
    assert!(forgotten.messages.is_empty() && forgotten.epoch != epoch);
    let _other = engine.watch(&room("b"), Arc::new(Seen::default())).unwrap();
    let refused = engine.append(numbered("c", 1, 1)).await;
    assert!(code_of(&refused) == Some(code::BUSY), "{refused:?}");
    assert!(engine.watch(&room("c"), Arc::new(Seen::default())).is_err());
    assert_eq!(engine.usage().messages, 1);
}

#[tokio::test]
async fn reading_makes_no_room() {
    let engine = engine(MemoryOptions::default());
    for name in ["a", "b", "c"] {
        read(&engine, name, Range::Newest).await;
    }
    assert_eq!(engine.usage().rooms, 0);
}

#[tokio::test(start_paused = true)]
async fn all_rooms_together_are_bounded_and_small_ones_lose_nothing_to_large_ones() {
    let options = MemoryOptions {
        bytes: 100_000,
        total_bytes: 120_000,
        ..MemoryOptions::default()
    };
    let engine = engine(options);
    fill(&engine, "small", 5).await;
    let push = async |room, bytes| engine.append(message(room, MessageId::None, &body_of(bytes))).await;
    for _ in 0..100 {
        assert!(matches!(push("large", 2000).await, Outcome::Added(_)));
    }
    for _ in 0..100 {
        assert!(matches!(push("huge", 2000).await, Outcome::Added(_)));
        assert!(engine.usage().bytes <= 120_000);
    }
    let in_huge = async || read(&engine, "huge", Range::Newest).await.messages.len();
    assert!(in_huge().await < 10, "the large room was there first");
    let refused = push("late", 30_000).await;
    assert!(code_of(&refused) == Some(code::BUSY), "{refused:?}");
    tokio::time::sleep(2 * SWEEP_EVERY).await;
    assert!(matches!(push("late", 30_000).await, Outcome::Added(_)));
    for _ in 0..100 {
        assert!(matches!(push("huge", 2000).await, Outcome::Added(_)));
    }
    assert!(in_huge().await > 10, "it got its share in the end");
    assert_eq!(read(&engine, "small", Range::Newest).await.messages.len(), 5);
}

#[tokio::test]
async fn clients_and_requests_are_remembered_up_to_a_number() {
    let options = MemoryOptions {
        messages: 1,
        clients: 2,
        requests: 2,
        ..MemoryOptions::default()
    };
    let engine = engine(options);
    for key in 1..=3 {
        add(&engine, numbered("a", key, 1)).await;
        add(&engine, message("a", request(&key.to_string(), [0; 32]), "1")).await;
    }
    let usage = engine.usage();
    assert_eq!((usage.clients, usage.requests), (2, 2));
    let again = async |key| engine.append(numbered("a", key, 1)).await;
    assert!(matches!(again(2).await, Outcome::Duplicate(_)));
    assert!(matches!(again(1).await, Outcome::Added(_)), "the oldest is forgotten");
}

#[tokio::test]
async fn of_a_client_that_the_table_forgot_the_log_itself_still_knows() {
    let engine = engine(MemoryOptions {
        clients: 1,
        ..MemoryOptions::default()
    });
    let first = add(&engine, numbered("a", 1, 1)).await;
    add(&engine, numbered("a", 1, 2)).await;
    add(&engine, numbered("a", 2, 1)).await;
    assert_eq!(engine.usage().clients, 1);
    assert_eq!(engine.append(numbered("a", 1, 1)).await, Outcome::Duplicate(first));
    assert!(matches!(engine.append(numbered("a", 1, 4)).await, Outcome::Gap { .. }));
    add(&engine, numbered("a", 1, 3)).await;
}

#[tokio::test]
async fn a_duplicate_is_answered_with_its_place_after_the_log_dropped_it() {
    let options = MemoryOptions {
        messages: 1,
        client_messages: 2,
        ..MemoryOptions::default()
    };
    let engine = engine(options);
    fill(&engine, "a", 3).await;
    let again = async |number| engine.append(numbered("a", 1, number)).await;
    assert!(matches!(again(2).await, Outcome::Duplicate(place) if place.offset == offset(2)));
    assert!(matches!(again(1).await, Outcome::Forgotten { .. }));
}
