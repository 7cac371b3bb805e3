//! An outbox that outlives its page, as `tests/rooms/outbox.rs` has it in browsers.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt, future::join_all};
use talkback_client::{
    Client, ClientBuilder, DeliveryState, FailReason, OutboxOptions, OutboxStorage, test_util::World,
};

use crate::open;

const TTL: Duration = Duration::from_secs(600);

fn builder(world: &World) -> ClientBuilder {
    world.builder().outbox_storage(OutboxStorage::Session {
        name: "chat".to_owned(),
        ttl: TTL,
    })
}

/// The next page of the tab; it has its outbox unless it waits for its predecessor.
fn page(world: &World) -> Client {
    let client = builder(world).build().unwrap();
    world.settle();
    client
}

fn say(client: &Client, numbers: impl IntoIterator<Item = u64>) {
    let sender = client.room_sender::<u64>("lobby").unwrap();
    for number in numbers {
        drop(
            sender
                .send(&number)
                .now_or_never()
                .expect("the outbox has room")
                .unwrap(),
        );
    }
}

fn said(world: &World) -> Vec<u64> {
    let log = world.log("lobby").unwrap();
    log.iter().map(|message| message.body.read().unwrap()).collect()
}

/// Lets the outbox be stored, as it is a moment after each change.
fn store(world: &World) {
    world.advance(Duration::from_secs(1));
    assert_ne!(heads(world).len(), 0);
}

/// The names under which the head of each key's records is.
fn heads(world: &World) -> Vec<String> {
    let names = world.tab_storage().into_keys();
    names.filter(|name| !name.contains('#')).collect()
}

/// A world in which a page said 0, 1 and 2 without a connection, and was reloaded.
fn three_unsent() -> World {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    assert!(world.run(before.keeps_outbox()));
    say(&before, 0..3);
    world.reload(before);
    world
}

#[test]
fn what_was_not_sent_before_a_reload_is_sent_after_it() {
    let world = three_unsent();
    world.refuse(false);
    let after = page(&world);
    world.run(async {
        let restored = after.restored().await;
        let bodies: Vec<u64> = restored.iter().map(|restored| restored.body.read().unwrap()).collect();
        assert_eq!(bodies, [0, 1, 2]);
        for (index, acked) in join_all(restored.into_iter().map(|restored| restored.delivery))
            .await
            .into_iter()
            .enumerate()
        {
            assert_eq!(acked.unwrap().offset.get(), index as u64 + 1);
        }
        assert!(after.keeps_outbox().await);
        assert!(after.restored().await.is_empty(), "each is given once");
    });
    assert_eq!(said(&world), [0, 1, 2]);
}

#[test]
fn what_arrived_before_a_reload_is_not_doubled_after_it() {
    let world = World::new();
    let before = page(&world);
    world.run(open(&before));
    world.set_latency(Duration::from_secs(1));
    say(&before, [7]);
    world.advance(Duration::from_millis(1_500));
    assert_eq!(said(&world), [7]);
    let sender = before.sender();
    world.reload(before);
    let after = page(&world);
    world.run(async {
        let restored = after.restored().await.remove(0);
        assert_eq!(restored.delivery.await.unwrap().offset.get(), 1);
        assert_eq!(after.sender(), sender, "the same client");
    });
    assert_eq!(said(&world), [7]);
}

/// A browser may begin the next page before the last one is gone.
#[test]
fn a_page_waits_a_moment_for_its_predecessor_and_reads_what_it_wrote_last() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    say(&before, [0]);
    store(&world);
    let after = page(&world);
    world.advance(Duration::from_secs(1));
    assert!(after.restored().now_or_never().is_none());
    assert!(after.keeps_outbox().now_or_never().is_none());
    say(&before, [1]);
    world.reload(before);
    world.refuse(false);
    assert_eq!(world.run(after.restored()).len(), 2);
    world.settle();
    world.run(open(&after));
    world.settle();
    assert_eq!(said(&world), [0, 1]);
}

#[test]
fn what_is_sent_while_the_page_waits_for_its_predecessor_comes_after_what_that_left() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    say(&before, [0]);
    store(&world);
    let after = page(&world);
    let sender = after.room_sender::<u64>("lobby").unwrap();
    let mut sending = Box::pin(sender.send(&1));
    assert!((&mut sending).now_or_never().is_none(), "the store is not open");
    world.reload(before);
    world.refuse(false);
    world.run(async {
        assert_eq!(sending.await.unwrap().await.unwrap().offset.get(), 2);
    });
    assert_eq!(said(&world), [0, 1]);
}

/// A duplicated tab has a copy of the records while their owner lives.
#[test]
fn a_copy_begins_with_a_key_of_its_own_and_the_owner_writes_what_it_removed_again() {
    let world = World::new();
    world.refuse(true);
    let owner = page(&world);
    say(&owner, [0]);
    store(&world);
    let copy = page(&world);
    assert!(copy.restored().now_or_never().is_none());
    assert!(world.run(copy.restored()).is_empty());
    assert!(world.run(copy.keeps_outbox()));
    say(&owner, [1]);
    say(&copy, [2]);
    store(&world);
    assert_eq!(heads(&world).len(), 2);
    world.refuse(false);
    world.run(async {
        open(&owner).await;
        open(&copy).await;
    });
    world.settle();
    assert_ne!(owner.sender(), copy.sender());
    let mut all = said(&world);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn what_was_stored_before_its_time_to_live_is_dropped() {
    for (age, left) in [(TTL, 3), (TTL + Duration::from_millis(1), 0)] {
        let world = three_unsent();
        world.sleep_through(age);
        let after = page(&world);
        assert_eq!(world.run(after.restored()).len(), left, "{age:?}");
        assert_eq!(
            heads(&world).len(),
            usize::from(left > 0),
            "nothing is left of what was dropped"
        );
    }
}

/// Browsers restore a tab with what they stored before a crash.
#[test]
fn an_older_state_of_the_tab_moves_to_a_key_and_records_of_its_own() {
    let world = World::new();
    let before = page(&world);
    world.run(open(&before));
    say(&before, [1]);
    world.settle();
    let (older, key) = (world.tab_storage(), before.sender());
    say(&before, [2]);
    world.settle();
    world.reload(before);
    world.set_tab_storage(older.clone());

    let after = page(&world);
    world.run(async {
        open(&after).await;
        assert_eq!(after.sender(), key, "it begins with the key that was stored");
        let sender = after.room_sender::<u64>("lobby").unwrap();
        let in_doubt = sender.send(&3).await.unwrap().await;
        assert_eq!(in_doubt, Err(FailReason::Unconfirmed));
        sender.send(&4).await.unwrap().await.unwrap();
        assert_ne!(after.sender(), key);
    });
    assert_eq!(said(&world), [1, 2, 4]);
    let heads = heads(&world);
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(!older.contains_key(&heads[0]), "the former records are gone");
}

#[test]
fn a_storage_that_is_full_is_told_and_the_outbox_goes_on_in_memory() {
    let world = World::new();
    let client = page(&world);
    world.run(open(&client));
    world.set_storage_quota(Some(100));
    say(&client, [0, 1]);
    world.settle();
    assert_eq!(said(&world), [0, 1]);
    assert_eq!(
        world.tab_storage(),
        BTreeMap::new(),
        "what is older would use numbers again"
    );
    assert!(!world.run(client.keeps_outbox()));
    let warnings = world.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("not kept any more: the quota"), "{warnings:?}");
}

#[test]
fn an_outbox_in_memory_stores_nothing() {
    let world = World::new();
    let client = world.client("ann");
    assert!(!world.run(client.keeps_outbox()));
    say(&client, [0]);
    assert_eq!(world.tab_storage(), BTreeMap::new());
    assert!(world.run(client.restored()).is_empty());
}

/// What was given up is no longer the application's wish, so the next page does not send it.
#[test]
fn a_client_that_is_dropped_leaves_no_message_behind() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    say(&before, [0]);
    drop(before);
    let after = page(&world);
    assert!(world.run(after.restored()).is_empty());
}

#[test]
fn what_waits_for_the_store_is_bounded_as_the_outbox_is() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    say(&before, [0]);
    let bounds = OutboxOptions {
        messages: 2,
        ..OutboxOptions::default()
    };
    let after = builder(&world).outbox(bounds).build().unwrap();
    let sender = after.room_sender::<u64>("lobby").unwrap();
    let states: Vec<_> = (1..4).map(|number| sender.try_send(&number).unwrap().state()).collect();
    let refused = DeliveryState::Failed(FailReason::OutboxFull);
    assert_eq!(states, [DeliveryState::Queued, DeliveryState::Queued, refused]);
}
