//! What is sent, until it is acknowledged or has failed.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all};
use talkback_client::{DeliveryState, FailReason, OutboxConfig, test_util::World};

use crate::{join, joined, numbers, open};

fn steps(states: &[DeliveryState]) -> Vec<&'static str> {
    let name = |state: &DeliveryState| match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Written => "written",
        DeliveryState::Acked { .. } => "acked",
        DeliveryState::Failed(_) => "failed",
    };
    states.iter().map(name).collect()
}

#[test]
fn a_delivery_tells_each_step() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let sender = client.room_sender::<u64>("lobby").unwrap();
        let mut delivery = sender.send(&1).await.unwrap();
        assert_eq!(delivery.next().await, Some(DeliveryState::Queued));
        assert_eq!(delivery.next().await, Some(DeliveryState::Written));
        let acked = (&mut delivery).await.unwrap();
        let rest: Vec<_> = delivery.by_ref().collect().await;
        assert_eq!(steps(&rest), ["acked"]);
        assert_eq!(delivery.await.unwrap(), acked, "it may be awaited again");
        assert_eq!(world.log("lobby").unwrap()[0].offset, acked.offset);
    });
}

/// socket.io-client#1279: a buffer that was replayed before the server knew who it was. socket.io#5363: messages of the client
/// that nobody sent again.
#[test]
fn what_was_said_without_a_connection_is_sent_once_there_is_one_in_order() {
    let world = World::new();
    world.refuse(true);
    let client = world.client("ann");
    world.run(async {
        let sender = client.room_sender::<u64>("lobby").unwrap();
        let deliveries = (0..100).map(|number| sender.try_send(&number).unwrap());
        let deliveries: Vec<_> = deliveries.collect();
        world.wait(Duration::from_secs(30)).await;
        assert!(
            deliveries
                .iter()
                .all(|delivery| delivery.state() == DeliveryState::Queued)
        );
        world.refuse(false);
        for (index, acked) in join_all(deliveries).await.into_iter().enumerate() {
            assert_eq!(acked.unwrap().offset.get(), index as u64 + 1);
        }
    });
}

#[test]
fn an_ack_that_was_lost_does_not_double_the_message() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        open(&client).await;
        world.set_latency(Duration::from_secs(1));
        let mut delivery = join(&client).send(&7).await.unwrap();
        while world.log("lobby").unwrap().is_empty() {
            world.wait(Duration::from_millis(100)).await;
        }
        assert_eq!(delivery.state(), DeliveryState::Written, "its ack is on the way");
        world.cut();
        assert_eq!((&mut delivery).await.unwrap().offset.get(), 1);
        assert_eq!(world.log("lobby").unwrap().len(), 1);
    });
}

#[test]
fn send_waits_while_the_outbox_is_full_and_try_send_says_so() {
    let world = World::new();
    let bounds = OutboxConfig {
        messages: 3,
        ..OutboxConfig::default()
    };
    world.refuse(true);
    let client = world.builder().outbox(bounds).build().unwrap();
    world.run(async {
        let sender = client.room_sender::<u64>("lobby").unwrap();
        let mut waiting = Vec::new();
        for number in 0..3 {
            waiting.push(sender.send(&number).await.unwrap());
        }
        let refused = sender.try_send(&99).unwrap().await;
        assert_eq!(refused, Err(FailReason::OutboxFull));
        world.refuse(false);
        for number in 3..50 {
            waiting.push(sender.send(&number).await.unwrap());
        }
        for (index, acked) in join_all(waiting).await.into_iter().enumerate() {
            assert_eq!(acked.unwrap().offset.get(), index as u64 + 1);
        }
        let mut room = join(&client);
        joined(&mut room).await;
        assert_eq!(numbers(&mut room, 50).await, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn what_cannot_be_sent_in_time_fails_with_its_reason() {
    let world = World::new();
    let bounds = OutboxConfig {
        ttl: Duration::from_secs(60),
        ..OutboxConfig::default()
    };
    world.refuse(true);
    let client = world.builder().outbox(bounds).build().unwrap();
    let sender = client.room_sender::<u64>("lobby").unwrap();
    world.run(async {
        let expired = sender.send(&1).await.unwrap().await;
        assert_eq!(expired, Err(FailReason::Expired));
        client.stop();
        let stopped = sender.send(&2).await.unwrap().await;
        assert_eq!(stopped, Err(FailReason::Stopped));
        client.connect();
        world.refuse(false);
        assert_eq!(sender.send(&3).await.unwrap().await.unwrap().offset.get(), 1);
    });
    let too_large = "x".repeat(100_000);
    world.run(async {
        let sender = client.room_sender::<String>("lobby").unwrap();
        let refused = sender.send(&too_large).await.unwrap().await;
        assert!(
            matches!(refused, Err(FailReason::TooLarge { .. } | FailReason::Refused { .. })),
            "{refused:?}"
        );
    });
}
