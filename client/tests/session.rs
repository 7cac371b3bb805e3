//! The API of rooms, over a server, a network and a clock in memory.
//!
//! Tests that guard against a known failure name its public issue.

#![cfg(not(target_family = "wasm"))]

#[path = "session/addressed.rs"]
mod addressed;
#[path = "session/catching_up.rs"]
mod catching_up;
#[path = "session/connection.rs"]
mod connection;
#[path = "session/delivery.rs"]
mod delivery;
#[path = "session/faults.rs"]
mod faults;
#[path = "session/rooms.rs"]
mod rooms;
#[path = "session/stored_outbox.rs"]
mod stored_outbox;

use std::fmt::Debug;

use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use talkback_client::{Client, Event, JoinOptions, JoinedRoom, Received, Room, Status, test_util::World};

/// The type of the messages in these tests.
type Number = u64;

async fn next<T: DeserializeOwned>(room: &mut Room<T>) -> Event<T> {
    room.next().await.expect("the stream has ended")
}

async fn joined<T: DeserializeOwned + Debug>(room: &mut Room<T>) -> JoinedRoom {
    match next(room).await {
        Event::Joined(room) => room,
        other => panic!("{other:?}"),
    }
}

async fn message<T: DeserializeOwned + Debug>(room: &mut Room<T>) -> Received<T> {
    loop {
        match next(room).await {
            Event::Message(message) => return message,
            Event::Presence { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The next `count` messages; other events are skipped, except a reset.
async fn numbers(room: &mut Room<Number>, count: usize) -> Vec<Number> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        match next(room).await {
            Event::Message(message) => numbers.push(*message.body.known().expect("a number")),
            Event::Reset(room) => panic!("{room:?}"),
            _ => {}
        }
    }
    numbers
}

fn join(client: &Client) -> Room<Number> {
    client.join("lobby", &JoinOptions::default()).unwrap()
}

async fn until(client: &Client, what: &str, predicate: impl Fn(&Status) -> bool) -> Status {
    let mut changes = client.status_changes();
    while let Some(status) = changes.next().await {
        if predicate(&status) {
            return status;
        }
    }
    panic!("the client ended before: {what}");
}

async fn open(client: &Client) {
    until(client, "open", |status| matches!(status, Status::Open { .. })).await;
}

fn world_with(numbers: std::ops::Range<Number>) -> World {
    let world = World::new();
    numbers.for_each(|number| world.publish("lobby", "elsewhere", &number).unwrap());
    world
}
