//! A client that is dropped frees everything.

use futures_util::{FutureExt, StreamExt};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, join, joined, open, room_name,
    support::{references, turn, until_references},
};

async fn one_life(network: &Network, room: &str, round: usize) {
    let client = network.client("ann").build().unwrap();
    let mut inside = join(&client, room);
    if round.is_multiple_of(3) {
        // Dropped while connecting.
        return;
    }
    open(&client).await;
    joined(&mut inside).await;
    let delivery = inside.send(&1).await.unwrap();
    if round % 3 == 1 {
        delivery.await.unwrap();
        assert!(client.status_changes().next().now_or_never().is_some());
    }
}

/// Some libraries leak four closures for each connection, or invoke closures after they were dropped.
#[wasm_bindgen_test]
async fn a_hundred_clients_leak_no_closure_and_no_connection() {
    let (network, room) = (Network::shared().await, room_name());
    for round in 0..6 {
        one_life(&network, &room, round).await;
    }
    network.until_open(0).await;
    turn().await;
    let before = references();
    for round in 0..100 {
        one_life(&network, &room, round).await;
    }
    network.until_open(0).await;
    until_references(before).await;
}

/// leptos-use#160: a panic when the cleanup races the reconnection timer.
#[wasm_bindgen_test]
async fn a_client_may_be_dropped_while_it_waits_to_connect_again() {
    let (network, before) = (Network::shared().await, references());
    network.set("refuse=1").await;
    for _ in 0..20 {
        let client = network.client("ann").build().unwrap();
        let waiting = |status: &talkback_client::Status| matches!(status, talkback_client::Status::Waiting { .. });
        crate::until_status(&client, "waiting", waiting).await;
        drop(client);
    }
    until_references(before).await;
}

#[wasm_bindgen_test]
async fn the_last_handle_closes_with_1000() {
    let network = Network::shared().await;
    let client = network.client("ann").build().unwrap();
    open(&client).await;
    drop(client);
    network.until_open(0).await;
}
