//! An outbox that outlives its page.

use std::{collections::BTreeMap, time::Duration};

use talkback_client::{Client, DeliveryState, FailReason, OutboxStorage};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, client, join, messages, next, open, room_name,
    support::{port, until, within},
};

fn kept(name: &str) -> OutboxStorage {
    OutboxStorage::Session {
        name: name.to_owned(),
        ttl: Duration::from_secs(600),
    }
}

async fn with_outbox(network: &Network, name: &str) -> Client {
    let client = network.client("ann").outbox_storage(kept(name)).build().unwrap();
    assert!(within("the outbox", client.keeps_outbox()).await);
    client
}

/// A room to which a page that was reloaded wanted to send 0, 1 and 2, and could not.
async fn three_unsent() -> (Network, String) {
    let (network, room) = (Network::shared().await, room_name());
    network.set("refuse=1").await;
    let before = with_outbox(&network, &room).await;
    for number in 0..3 {
        before.room_sender::<u64>(&room).unwrap().send(&number).await.unwrap();
    }
    reload(&room, before);
    (network, room)
}

fn storage() -> web_sys::Storage {
    web_sys::window().unwrap().session_storage().unwrap().unwrap()
}

/// All records of the clients with this name, by their names.
fn records(name: &str) -> BTreeMap<String, String> {
    let storage = storage();
    let prefix = format!("talkback:{name}:");
    (0..storage.length().unwrap())
        .map(|index| storage.key(index).unwrap().unwrap())
        .filter(|key| key.starts_with(&prefix))
        .map(|key| (key.clone(), storage.get_item(&key).unwrap().unwrap()))
        .collect()
}

/// The names of the first record of each client, which tells its key.
fn heads(name: &str) -> Vec<String> {
    records(name).into_keys().filter(|key| !key.contains('#')).collect()
}

fn put(records: &BTreeMap<String, String>) {
    for (key, record) in records {
        storage().set_item(key, record).unwrap();
    }
}

/// What a reload does: the page is told that it is left, then it is gone and its locks with it, without running anything of it.
/// A client that is dropped does run something, so its records are put back as the page left them.
fn reload(name: &str, client: Client) {
    let window = web_sys::window().unwrap();
    crate::dispatch(&window, "pagehide");
    let left = records(name);
    drop(client);
    crate::dispatch(&window, "pageshow");
    put(&left);
}

#[wasm_bindgen_test]
async fn what_was_not_sent_before_a_reload_is_sent_after_it() {
    let (network, room) = three_unsent().await;
    network.set("").await;
    let after = with_outbox(&network, &room).await;
    let restored = after.restored().await;
    assert_eq!(restored.len(), 3);
    for (number, restored) in restored.into_iter().enumerate() {
        assert_eq!(restored.body.read::<usize>().unwrap(), number);
        let acked = within("an acknowledgement", restored.delivery).await.unwrap();
        assert_eq!(acked.offset.get(), number as u64 + 1);
    }
    assert!(after.restored().await.is_empty());
}

#[wasm_bindgen_test]
async fn what_arrived_before_a_reload_is_not_doubled_after_it() {
    let (network, room) = (Network::shared().await, room_name());
    let before = with_outbox(&network, &room).await;
    let mut inside = join(&before, &room);
    open(&before).await;
    next(&mut inside).await;
    let witness = client(port(1), "bob").build().unwrap();
    let mut seen = join(&witness, &room);
    next(&mut seen).await;
    until("the witness is there", || inside.users() == Some(2)).await;
    // The first byte that the server answers ends the line.
    network.set("refuse=1&cut_after_down=1").await;
    let delivery = inside.send(&7).await.unwrap();
    assert_eq!(messages(&mut seen, 1).await, [7]);
    network.until_open(0).await;
    assert!(
        !matches!(delivery.state(), DeliveryState::Acked { .. }),
        "its ack was lost"
    );
    drop((delivery, inside));
    let sender = before.sender();
    reload(&room, before);

    network.set("").await;
    let after = with_outbox(&network, &room).await;
    open(&after).await;
    assert_eq!(after.sender(), sender, "the same client");
    let mut restored = after.restored().await;
    let first = within("an acknowledgement", restored.remove(0).delivery).await.unwrap();
    let second = after.room_sender::<u64>(&room).unwrap().send(&8).await.unwrap();
    let second = within("an acknowledgement", second).await.unwrap();
    assert_eq!((first.offset.get(), second.offset.get()), (1, 2));
    assert_eq!(messages(&mut seen, 1).await, [8], "7 came once");
}

/// A duplicated tab has a copy of the record while the owner of the key lives.
#[wasm_bindgen_test]
async fn a_second_owner_of_a_record_begins_with_a_key_of_its_own() {
    let (network, room) = (Network::shared().await, room_name());
    let owner = with_outbox(&network, &room).await;
    let sender = owner.room_sender::<u64>(&room).unwrap();
    within("an acknowledgement", sender.send(&1).await.unwrap())
        .await
        .unwrap();
    let copy = with_outbox(&network, &room).await;
    open(&copy).await;
    assert_ne!(copy.sender(), owner.sender());
    assert!(copy.restored().await.is_empty());
    let other = copy.room_sender::<u64>(&room).unwrap();
    within("an acknowledgement", other.send(&2).await.unwrap())
        .await
        .unwrap();
    within("an acknowledgement", sender.send(&3).await.unwrap())
        .await
        .unwrap();
    let mut inside = join(&owner, &room);
    assert_eq!(messages(&mut inside, 3).await, [1, 2, 3]);
    crate::dispatch(&web_sys::window().unwrap(), "pagehide");
    assert_eq!(heads(&room).len(), 2, "each has its own");
    crate::dispatch(&web_sys::window().unwrap(), "pageshow");
}

/// Browsers restore a tab with what they stored before a crash, and a duplicate may be used after its original: then a key has two lives.
#[wasm_bindgen_test]
async fn an_older_copy_of_a_record_moves_to_a_key_and_a_record_of_its_own_and_loses_nothing_in_silence() {
    let (network, room) = (Network::shared().await, room_name());
    let before = with_outbox(&network, &room).await;
    let sender = before.room_sender::<u64>(&room).unwrap();
    within("an acknowledgement", sender.send(&1).await.unwrap())
        .await
        .unwrap();
    let window = web_sys::window().unwrap();
    crate::dispatch(&window, "pagehide");
    let (head, older) = (heads(&room).remove(0), records(&room));
    crate::dispatch(&window, "pageshow");
    within("an acknowledgement", sender.send(&2).await.unwrap())
        .await
        .unwrap();
    let key = before.sender();
    drop((before, sender));
    put(&older);

    let after = with_outbox(&network, &room).await;
    open(&after).await;
    assert_eq!(after.sender(), key, "it begins with the key of the record");
    let sender = after.room_sender::<u64>(&room).unwrap();
    let in_doubt = within("the fate of what used the number again", sender.send(&3).await.unwrap()).await;
    assert!(matches!(in_doubt, Ok(_) | Err(FailReason::Unconfirmed)), "{in_doubt:?}");
    within("an acknowledgement", sender.send(&4).await.unwrap())
        .await
        .unwrap();
    assert_ne!(after.sender(), key, "it goes on with a key that nobody has");
    let mut inside = join(&after, &room);
    let expected: &[u64] = if in_doubt.is_ok() { &[1, 2, 3, 4] } else { &[1, 2, 4] };
    assert_eq!(messages(&mut inside, expected.len()).await, expected);
    crate::dispatch(&window, "pagehide");
    let heads = heads(&room);
    crate::dispatch(&window, "pageshow");
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert_ne!(heads[0], head);
}

#[wasm_bindgen_test]
async fn each_message_has_a_record_of_its_own_for_as_long_as_it_waits() {
    let (network, room) = (Network::shared().await, room_name());
    network.set("refuse=1").await;
    let client = with_outbox(&network, &room).await;
    let sender = client.room_sender::<u64>(&room).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..50 {
        deliveries.push(sender.send(&number).await.unwrap());
    }
    until("all is stored", || records(&room).len() == 52).await;
    let before = records(&room);
    deliveries.push(sender.send(&50).await.unwrap());
    until("the last one too", || records(&room).len() == 53).await;
    let head = heads(&room).remove(0);
    let now = records(&room);
    let changed = now.iter().filter(|(key, record)| before.get(*key) != Some(record));
    assert_eq!(changed.filter(|(key, _)| **key != head).count(), 1);
    network.set("").await;
    client.connect();
    for delivery in deliveries {
        within("an acknowledgement", delivery).await.unwrap();
    }
    until("nothing but the key is left", || records(&room).len() == 1).await;
}

/// All in one record, as versions stored it that had no others.
#[wasm_bindgen_test]
async fn an_outbox_of_the_former_format_is_sent_and_stored_anew() {
    let (network, room) = (Network::shared().await, room_name());
    let head = format!("talkback:{room}:0123456789abcdef");
    let key = format!("{:032x}", js_sys::Math::random().to_bits());
    let former = format!(
        r#"{{"saved_at":{},"snapshot":{{"key":"{key}","next":1,"rooms":[{{"room":"{room}","first":1,"pending":[{{"tag":1,"id":"0123456789abcdef","body":7,"ttl_ms":600000}}]}}]}}}}"#,
        js_sys::Date::now()
    );
    storage().set_item(&head, &former).unwrap();
    let client = with_outbox(&network, &room).await;
    let restored = client.restored().await.remove(0);
    assert_eq!(restored.body.read::<u64>().unwrap(), 7);
    let acked = within("an acknowledgement", restored.delivery).await.unwrap();
    assert_eq!(acked.offset.get(), 1);
    until("it is replaced", || {
        records(&room)
            .get(&head)
            .is_some_and(|record| !record.contains("snapshot"))
    })
    .await;
}

#[wasm_bindgen_test]
async fn a_record_that_is_broken_takes_only_its_own_message_with_it() {
    let (network, room) = three_unsent().await;
    let (last, _) = records(&room)
        .into_iter()
        .find(|(_, record)| record.contains(r#""body":2"#))
        .unwrap();
    storage().set_item(&last, "{").unwrap();
    network.set("").await;
    let after = with_outbox(&network, &room).await;
    let restored = after.restored().await;
    assert_eq!(restored.len(), 2);
    for restored in restored {
        within("an acknowledgement", restored.delivery).await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn a_record_of_a_longer_name_is_left_alone() {
    let (network, room) = (Network::shared().await, room_name());
    let longer = format!("{room}:x");
    network.set("refuse=1").await;
    let other = with_outbox(&network, &longer).await;
    other.room_sender::<u64>(&room).unwrap().send(&1).await.unwrap();
    reload(&longer, other);
    let ours = with_outbox(&network, &room).await;
    assert!(ours.restored().await.is_empty());
    let other = with_outbox(&network, &longer).await;
    assert_eq!(other.restored().await.len(), 1);
}

#[wasm_bindgen_test]
async fn a_record_that_is_too_old_or_unreadable_is_dropped() {
    let (network, room) = (Network::shared().await, room_name());
    storage()
        .set_item(&format!("talkback:{room}:0123456789abcdef"), "{")
        .unwrap();
    let before = with_outbox(&network, &room).await;
    assert!(records(&room).is_empty());
    within(
        "an acknowledgement",
        before.room_sender::<u64>(&room).unwrap().send(&1).await.unwrap(),
    )
    .await
    .unwrap();
    let sender = before.sender();
    reload(&room, before);
    assert_eq!(records(&room).len(), 1);
    crate::support::turn().await;
    crate::support::turn().await;
    let storage = OutboxStorage::Session {
        name: room.clone(),
        ttl: Duration::ZERO,
    };
    let after = network.client("ann").outbox_storage(storage).build().unwrap();
    assert!(after.keeps_outbox().await);
    open(&after).await;
    assert_ne!(after.sender(), sender);
    assert!(after.restored().await.is_empty());
}

/// What was reported as failed must not be sent by a later page.
#[wasm_bindgen_test]
async fn a_client_that_was_dropped_leaves_no_message_behind() {
    let (network, room) = (Network::shared().await, room_name());
    network.set("refuse=1").await;
    let before = with_outbox(&network, &room).await;
    let sender = before.room_sender::<u64>(&room).unwrap();
    let delivery = sender.send(&1).await.unwrap();
    drop((before, sender));
    assert!(delivery.await.is_err());
    network.set("").await;
    let after = with_outbox(&network, &room).await;
    assert!(after.restored().await.is_empty());
    let sender = after.room_sender::<u64>(&room).unwrap();
    let acked = within("an acknowledgement", sender.send(&2).await.unwrap())
        .await
        .unwrap();
    assert_eq!(acked.offset.get(), 1);
}
