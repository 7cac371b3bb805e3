//! An outbox that survives a reload; `tests/rooms/outbox.rs` tests it in browsers.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt, future::join_all};
use talkback_client::{
    Client, ClientBuilder, Delivery, DeliveryState, FailReason, OutboxOptions, OutboxStorage, test_util::World,
};

use crate::open;

const TTL: Duration = Duration::from_secs(600);

fn builder(world: &World) -> ClientBuilder {
    world.builder().outbox_storage(OutboxStorage::session("chat", TTL))
}

/// A new page of the tab. Its outbox is open, unless it waits for the lock.
fn page(world: &World) -> Client {
    let client = builder(world).build().unwrap();
    world.settle();
    client
}

fn send(client: &Client, numbers: impl IntoIterator<Item = u64>) {
    let sender = client.room_sender::<u64>("lobby").unwrap();
    for number in numbers {
        drop(
            sender
                .send(&number)
                .now_or_never()
                .expect("the outbox has capacity")
                .unwrap(),
        );
    }
}

fn logged(world: &World) -> Vec<u64> {
    let log = world.log("lobby").unwrap();
    log.iter().map(|message| message.body.read().unwrap()).collect()
}

/// Waits until the outbox is stored, which happens shortly after each change.
fn wait_for_save(world: &World) {
    world.advance(Duration::from_secs(1));
    assert_ne!(heads(world).len(), 0);
}

/// The names of the head records, one for each client key.
fn heads(world: &World) -> Vec<String> {
    let names = world.tab_storage().into_keys();
    names.filter(|name| !name.contains('#')).collect()
}

/// A world in which a page sent 0, 1 and 2 without a connection and was reloaded.
fn three_unsent() -> World {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    assert!(world.run(before.keeps_outbox()));
    send(&before, 0..3);
    world.reload(before);
    world
}

/// A page that stored the unsent message 0, and the next page of the tab, which waits for the first one's lock.
fn page_and_successor() -> (World, Client, Client) {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    send(&before, [0]);
    wait_for_save(&world);
    let after = page(&world);
    (world, before, after)
}

#[test]
fn messages_not_transmitted_before_a_reload_are_sent_after_it() {
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
        assert!(
            after.restored().await.is_empty(),
            "each restored message is returned once"
        );
    });
    assert_eq!(logged(&world), [0, 1, 2]);
}

#[test]
fn a_message_that_arrived_before_a_reload_is_not_duplicated_after_it() {
    let world = World::new();
    let before = page(&world);
    world.run(open(&before));
    world.set_latency(Duration::from_secs(1));
    send(&before, [7]);
    world.advance(Duration::from_millis(1_500));
    assert_eq!(logged(&world), [7]);
    let sender = before.sender();
    world.reload(before);
    let after = page(&world);
    world.run(async {
        let restored = after.restored().await.remove(0);
        assert_eq!(restored.delivery.await.unwrap().offset.get(), 1);
        assert_eq!(after.sender(), sender, "the same client");
    });
    assert_eq!(logged(&world), [7]);
}

/// A browser may start the next page before the last one has ended.
#[test]
fn a_page_waits_for_the_lock_of_the_previous_page_and_reads_its_last_save() {
    let (world, before, after) = page_and_successor();
    world.advance(Duration::from_secs(1));
    assert!(after.restored().now_or_never().is_none());
    assert!(after.keeps_outbox().now_or_never().is_none());
    send(&before, [1]);
    world.reload(before);
    world.refuse(false);
    assert_eq!(world.run(after.restored()).len(), 2);
    world.settle();
    world.run(open(&after));
    world.settle();
    assert_eq!(logged(&world), [0, 1]);
}

#[test]
fn messages_sent_while_waiting_for_the_lock_follow_the_restored_ones() {
    let (world, before, after) = page_and_successor();
    let sender = after.room_sender::<u64>("lobby").unwrap();
    let mut sending = Box::pin(sender.send(&1));
    assert!((&mut sending).now_or_never().is_none(), "the store is not open");
    world.reload(before);
    world.refuse(false);
    world.run(async {
        assert_eq!(sending.await.unwrap().await.unwrap().offset.get(), 2);
    });
    assert_eq!(logged(&world), [0, 1]);
}

/// A duplicated tab has a copy of the records while their owner is running.
#[test]
fn a_copy_begins_with_a_new_key_and_the_owner_writes_the_removed_records_again() {
    let (world, owner, copy) = page_and_successor();
    assert!(copy.restored().now_or_never().is_none());
    assert!(world.run(copy.restored()).is_empty());
    assert!(world.run(copy.keeps_outbox()));
    send(&owner, [1]);
    send(&copy, [2]);
    wait_for_save(&world);
    assert_eq!(heads(&world).len(), 2);
    world.refuse(false);
    world.run(async {
        open(&owner).await;
        open(&copy).await;
    });
    world.settle();
    assert_ne!(owner.sender(), copy.sender());
    let mut all = logged(&world);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn records_older_than_their_ttl_are_removed() {
    for (age, left) in [(TTL, 3), (TTL + Duration::from_millis(1), 0)] {
        let world = three_unsent();
        world.sleep_through(age);
        let after = page(&world);
        assert_eq!(world.run(after.restored()).len(), left, "{age:?}");
        assert_eq!(heads(&world).len(), usize::from(left > 0), "the records are removed");
    }
}

/// After a crash, browsers restore a tab with an earlier state of its storage.
#[test]
fn a_restored_older_outbox_moves_to_a_new_key_and_new_records() {
    let world = World::new();
    let before = page(&world);
    world.run(open(&before));
    send(&before, [1]);
    world.settle();
    let (older, key) = (world.tab_storage(), before.sender());
    send(&before, [2]);
    world.settle();
    world.reload(before);
    world.set_tab_storage(older.clone());

    let after = page(&world);
    world.run(async {
        open(&after).await;
        assert_eq!(after.sender(), key, "it begins with the stored key");
        let sender = after.room_sender::<u64>("lobby").unwrap();
        let in_doubt = sender.send(&3).await.unwrap().await;
        assert_eq!(in_doubt, Err(FailReason::Unconfirmed));
        sender.send(&4).await.unwrap().await.unwrap();
        assert_ne!(after.sender(), key);
    });
    assert_eq!(logged(&world), [1, 2, 4]);
    let heads = heads(&world);
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(!older.contains_key(&heads[0]), "the former records are removed");
}

#[test]
fn a_full_storage_is_a_warning_and_the_outbox_continues_in_memory() {
    let world = World::new();
    let client = page(&world);
    world.run(open(&client));
    world.set_storage_quota(Some(100));
    send(&client, [0, 1]);
    world.settle();
    assert_eq!(logged(&world), [0, 1]);
    assert_eq!(
        world.tab_storage(),
        BTreeMap::new(),
        "a client that restored old records would use sequence numbers again"
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
    send(&client, [0]);
    assert_eq!(world.tab_storage(), BTreeMap::new());
    assert!(world.run(client.restored()).is_empty());
}

/// The deliveries of a dropped client have failed, so the next page must not send its messages.
#[test]
fn a_dropped_client_leaves_no_stored_message() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    send(&before, [0]);
    drop(before);
    let after = page(&world);
    assert!(world.run(after.restored()).is_empty());
}

#[test]
fn messages_sent_while_the_store_is_opened_and_those_restored_from_it_are_all_delivered() {
    let world = three_unsent();
    world.refuse(false);
    let after = builder(&world).build().unwrap();
    let sender = after.room_sender::<u64>("lobby").unwrap();
    let early: Vec<_> = (3..6).map(|number| sender.try_send(&number).unwrap()).collect();
    world.settle();
    let restored = world.run(after.restored());
    let deliveries = restored.iter().map(|restored| &restored.delivery).chain(&early);
    let acked = |delivery: &Delivery| matches!(delivery.state(), DeliveryState::Acked { .. });
    assert_eq!(
        deliveries.filter(|delivery| acked(delivery)).count(),
        6,
        "{early:?} {restored:?}"
    );
    assert_eq!(logged(&world), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn messages_that_wait_for_the_store_have_the_bounds_of_the_outbox() {
    let world = World::new();
    world.refuse(true);
    let before = page(&world);
    send(&before, [0]);
    let options = OutboxOptions {
        messages: 2,
        ..OutboxOptions::default()
    };
    let after = builder(&world).outbox(options).build().unwrap();
    let sender = after.room_sender::<u64>("lobby").unwrap();
    let states: Vec<_> = (1..4).map(|number| sender.try_send(&number).unwrap().state()).collect();
    let refused = DeliveryState::Failed(FailReason::OutboxFull);
    assert_eq!(states, [DeliveryState::Queued, DeliveryState::Queued, refused]);
}
