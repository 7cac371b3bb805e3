//! An outbox that survives a reload.

use std::{collections::BTreeMap, time::Duration};

use talkback_client::{Client, DeliveryState, FailReason, OutboxStorage};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, client, join, messages, next, open, room_name,
    support::{port, until, within},
};

fn stored_outbox(name: &str) -> OutboxStorage {
    OutboxStorage::session(name, Duration::from_secs(600))
}

async fn with_outbox(network: &Network, name: &str) -> Client {
    let client = network
        .client("ann")
        .outbox_storage(stored_outbox(name))
        .build()
        .unwrap();
    assert!(within("the outbox", client.keeps_outbox()).await);
    client
}

/// A room to which a page sent 0, 1 and 2 without a connection before it was reloaded.
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

/// The names of the head records, one for each client key.
fn heads(name: &str) -> Vec<String> {
    records(name).into_keys().filter(|key| !key.contains('#')).collect()
}

fn put(records: &BTreeMap<String, String>) {
    for (key, record) in records {
        storage().set_item(key, record).unwrap();
    }
}

/// Reloads the page: it is hidden, then it ends and its locks are released, without running any code. Dropping a client
/// does run code, so its records are restored as they were when the page was hidden.
fn reload(name: &str, client: Client) {
    let window = web_sys::window().unwrap();
    crate::dispatch(&window, "pagehide");
    let left = records(name);
    drop(client);
    crate::dispatch(&window, "pageshow");
    put(&left);
}

#[wasm_bindgen_test]
async fn messages_not_transmitted_before_a_reload_are_sent_after_it() {
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
async fn a_message_that_arrived_before_a_reload_is_not_duplicated_after_it() {
    let (network, room) = (Network::shared().await, room_name());
    let before = with_outbox(&network, &room).await;
    let mut inside = join(&before, &room);
    open(&before).await;
    next(&mut inside).await;
    let witness = client(port(1), "bob").build().unwrap();
    let mut seen = join(&witness, &room);
    next(&mut seen).await;
    until("the witness has joined", || inside.users() == Some(2)).await;
    // The first byte of the server's answer cuts the connection.
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
    assert_eq!(messages(&mut seen, 1).await, [8], "7 arrived once");
}

/// A duplicated tab has a copy of the records while their owner is running.
#[wasm_bindgen_test]
async fn a_copy_of_the_records_begins_with_a_new_key() {
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
    assert_eq!(heads(&room).len(), 2, "each client has its own records");
    crate::dispatch(&web_sys::window().unwrap(), "pageshow");
}

/// After a crash, browsers restore a tab with an earlier state of its storage, and a duplicated tab may be used after
/// its original: then two clients use one key after the other.
#[wasm_bindgen_test]
async fn a_restored_older_outbox_moves_to_a_new_key_and_reports_every_loss() {
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
    assert_eq!(after.sender(), key, "it begins with the stored key");
    let sender = after.room_sender::<u64>(&room).unwrap();
    let in_doubt = within(
        "the outcome of the message with the repeated number",
        sender.send(&3).await.unwrap(),
    )
    .await;
    assert!(matches!(in_doubt, Ok(_) | Err(FailReason::Unconfirmed)), "{in_doubt:?}");
    within("an acknowledgement", sender.send(&4).await.unwrap())
        .await
        .unwrap();
    assert_ne!(after.sender(), key, "it continues with a new key");
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
async fn each_message_has_its_own_record_until_it_is_acknowledged() {
    let (network, room) = (Network::shared().await, room_name());
    network.set("refuse=1").await;
    let client = with_outbox(&network, &room).await;
    let sender = client.room_sender::<u64>(&room).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..50 {
        deliveries.push(sender.send(&number).await.unwrap());
    }
    until("all messages are stored", || records(&room).len() == 52).await;
    let before = records(&room);
    deliveries.push(sender.send(&50).await.unwrap());
    until("the last one is stored", || records(&room).len() == 53).await;
    let head = heads(&room).remove(0);
    let now = records(&room);
    let changed = now.iter().filter(|(key, record)| before.get(*key) != Some(record));
    assert_eq!(changed.filter(|(key, _)| **key != head).count(), 1);
    network.set("").await;
    client.connect();
    for delivery in deliveries {
        within("an acknowledgement", delivery).await.unwrap();
    }
    until("only the head is left", || records(&room).len() == 1).await;
}

/// Earlier versions stored the whole outbox in one record.
#[wasm_bindgen_test]
async fn an_outbox_in_the_former_format_is_sent_and_stored_in_the_new_one() {
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
    until("the record is replaced", || {
        records(&room)
            .get(&head)
            .is_some_and(|record| !record.contains("snapshot"))
    })
    .await;
}

#[wasm_bindgen_test]
async fn a_broken_record_loses_only_its_own_message() {
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
async fn a_record_of_a_longer_name_is_not_touched() {
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
async fn a_record_that_is_too_old_or_unreadable_is_removed() {
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
    let storage = OutboxStorage::session(room.as_str(), Duration::ZERO);
    let after = network.client("ann").outbox_storage(storage).build().unwrap();
    assert!(after.keeps_outbox().await);
    open(&after).await;
    assert_ne!(after.sender(), sender);
    assert!(after.restored().await.is_empty());
}

/// A message that was reported as failed must not be sent by a later page.
#[wasm_bindgen_test]
async fn a_dropped_client_leaves_no_stored_message() {
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
