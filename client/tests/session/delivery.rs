//! Messages from sending until their acknowledgement or failure.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::join_all};
use talkback_client::{DeliveryState, Event, FailReason, OutboxOptions, test_util::World};

use crate::{join, joined, numbers, open};

fn names(states: &[DeliveryState]) -> Vec<&'static str> {
    let name = |state: &DeliveryState| match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Written => "written",
        DeliveryState::Acked { .. } => "acked",
        DeliveryState::Failed(_) => "failed",
    };
    states.iter().map(name).collect()
}

#[test]
fn a_delivery_yields_each_state() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let sender = client.room_sender::<u64>("lobby").unwrap();
        let mut delivery = sender.send(&1).await.unwrap();
        assert_eq!(delivery.next().await, Some(DeliveryState::Queued));
        assert_eq!(delivery.next().await, Some(DeliveryState::Written));
        let acked = (&mut delivery).await.unwrap();
        let rest: Vec<_> = delivery.by_ref().collect().await;
        assert_eq!(names(&rest), ["acked"]);
        assert_eq!(delivery.await.unwrap(), acked, "it may be awaited again");
        assert_eq!(world.log("lobby").unwrap()[0].offset, acked.offset);
    });
}

/// socket.io-client#1279: a buffer was replayed before the client was authenticated. socket.io#5363: messages of the
/// client were never sent again.
#[test]
fn messages_sent_without_a_connection_are_transmitted_in_order_after_connecting() {
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
fn a_lost_ack_does_not_duplicate_the_message() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        open(&client).await;
        world.set_latency(Duration::from_secs(1));
        let mut delivery = join(&client).send(&7).await.unwrap();
        while world.log("lobby").unwrap().is_empty() {
            world.wait(Duration::from_millis(100)).await;
        }
        assert_eq!(delivery.state(), DeliveryState::Written, "its ack is in flight");
        world.cut();
        assert_eq!((&mut delivery).await.unwrap().offset.get(), 1);
        assert_eq!(world.log("lobby").unwrap().len(), 1);
    });
}

#[test]
fn send_waits_while_the_outbox_is_full_and_try_send_fails() {
    let world = World::new();
    let options = OutboxOptions {
        messages: 3,
        ..OutboxOptions::default()
    };
    world.refuse(true);
    let client = world.builder().outbox(options).build().unwrap();
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
fn a_message_that_cannot_be_sent_fails_with_its_reason() {
    let world = World::new();
    let options = OutboxOptions {
        ttl: Duration::from_secs(60),
        ..OutboxOptions::default()
    };
    world.refuse(true);
    let client = world.builder().outbox(options).build().unwrap();
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

/// Counts how often it is polled.
struct Counted<F> {
    inner: std::pin::Pin<Box<F>>,
    polls: std::rc::Rc<std::cell::Cell<usize>>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        assert!(self.polls.get() < 10_000, "the future is polled too often");
        self.inner.as_mut().poll(context)
    }
}

/// The outbox is less than three quarters full, but the next message does not fit.
#[test]
fn senders_wait_for_capacity_in_fifo_order_and_do_not_spin() {
    let world = World::new();
    world.refuse(true);
    let options = OutboxOptions {
        bytes: 10_000,
        ..OutboxOptions::default()
    };
    let client = world.builder().outbox(options).build().unwrap();
    let sender = client.room_sender::<String>("lobby").unwrap();
    let text = |bytes: usize| "x".repeat(bytes);
    let held = sender.try_send(&text(5_000)).unwrap();
    let polls = std::rc::Rc::<std::cell::Cell<usize>>::default();
    let sizes = [9_000, 10, 8_000, 4_000, 10, 9_990, 6_000];
    let texts: Vec<_> = sizes.iter().map(|&bytes| text(bytes)).collect();
    let mut waiting = Box::pin(Counted {
        inner: Box::pin(join_all(texts.iter().map(|text| sender.send(text)))),
        polls: polls.clone(),
    });
    assert!((&mut waiting).now_or_never().is_none());
    world.settle();
    assert!((&mut waiting).now_or_never().is_none());
    assert!(polls.get() <= 2, "{} polls", polls.get());
    world.refuse(false);
    let deliveries = world.run(waiting);
    assert!(polls.get() <= 2 + 4 * sizes.len(), "{} polls", polls.get());
    world.run(async {
        assert_eq!(held.await.unwrap().offset.get(), 1);
        for (index, delivery) in deliveries.into_iter().enumerate() {
            let acked = delivery.unwrap().await.unwrap();
            assert_eq!(acked.offset.get(), index as u64 + 2, "in the order of the calls");
        }
    });
}

#[test]
fn a_dropped_sender_lets_the_next_one_publish() {
    let world = World::new();
    world.refuse(true);
    let options = OutboxOptions {
        bytes: 10_000,
        ..OutboxOptions::default()
    };
    let client = world.builder().outbox(options).build().unwrap();
    let sender = client.room_sender::<String>("lobby").unwrap();
    let (large, small) = ("x".repeat(9_000), "x".to_owned());
    sender.try_send(&large).unwrap();
    let mut first = Box::pin(sender.send(&large));
    let mut second = Box::pin(sender.send(&small));
    assert!((&mut first).now_or_never().is_none());
    assert!(
        (&mut second).now_or_never().is_none(),
        "it would fit, but is not the first in the queue"
    );
    drop(first);
    assert!(second.now_or_never().is_some());
}

#[test]
fn an_outbox_with_a_capacity_of_8000_messages_stores_and_sends_them() {
    let world = World::new();
    world.refuse(true);
    let options = OutboxOptions {
        messages: 8_000,
        bytes: 1 << 20,
        ..OutboxOptions::default()
    };
    let client = world.builder().outbox(options).build().unwrap();
    let senders = ["a", "b", "c"].map(|room| client.room_sender::<u64>(room).unwrap());
    let deliveries =
        (0..8_000).map(|number: u64| senders[usize::try_from(number % 3).unwrap()].try_send(&number).unwrap());
    let deliveries: Vec<_> = deliveries.collect();
    assert_eq!(
        senders[0].try_send(&8_000).unwrap().now_or_never(),
        Some(Err(FailReason::OutboxFull))
    );
    world.set_latency(Duration::from_millis(25));
    world.refuse(false);
    world.run(async {
        for acked in join_all(deliveries).await {
            acked.unwrap();
        }
    });
    let kept: usize = ["a", "b", "c"].iter().map(|room| world.log(room).unwrap().len()).sum();
    assert_eq!(kept, 8_000);
}

/// Two copies of a tab that are used one after the other have the same key.
#[test]
fn a_client_whose_key_is_used_by_another_one_continues_with_a_new_key_without_loss() {
    let world = World::new();
    let clients = [1, 2].map(|_| {
        world.set_random(99);
        world.client("ann")
    });
    world.run(async {
        open(&clients[0]).await;
        open(&clients[1]).await;
        assert_eq!(clients[0].sender(), clients[1].sender());
        let senders = clients
            .each_ref()
            .map(|client| client.room_sender::<u64>("lobby").unwrap());
        for number in 0..3 {
            senders[0].send(&number).await.unwrap().await.unwrap();
        }
        let mut missing = 0;
        for number in 3..6 {
            match senders[1].send(&number).await.unwrap().await {
                Ok(_) => {}
                Err(FailReason::Unconfirmed) => missing += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(
            missing <= 1,
            "only a message sent with the shared key may be unconfirmed"
        );
        assert_ne!(clients[0].sender(), clients[1].sender());
        let log = world.log("lobby").unwrap();
        assert_eq!(log.len(), 6 - missing);
        senders[0].send(&6).await.unwrap().await.unwrap();
    });
}

#[test]
fn acknowledged_messages_that_the_server_lost_are_reported_with_their_offsets() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let mut room = join(&client);
        joined(&mut room).await;
        let mut acked = Vec::new();
        for number in 0..5 {
            acked.push(room.send(&number).await.unwrap().await.unwrap());
        }
        assert_eq!(numbers(&mut room, 5).await, (0..5).collect::<Vec<_>>());
        world.lose_newest("lobby", 2).unwrap();
        let Event::Lost { epoch, offsets } = crate::next(&mut room).await else {
            panic!()
        };
        assert_eq!(epoch, acked[0].epoch);
        assert_eq!(offsets, [acked[3].offset, acked[4].offset]);
        let Event::Reset(joined) = crate::next(&mut room).await else {
            panic!()
        };
        assert_ne!(joined.epoch, epoch);
        let again = room.send(&3).await.unwrap().await.unwrap();
        assert_eq!((again.epoch, again.offset), (joined.epoch, acked[3].offset));
    });
}

#[test]
fn a_sender_that_has_finished_wakes_only_the_next_one() {
    let world = World::new();
    world.refuse(true);
    let options = OutboxOptions {
        messages: 1,
        ..OutboxOptions::default()
    };
    let client = world.builder().outbox(options).build().unwrap();
    let sender = client.room_sender::<u64>("lobby").unwrap();
    let numbers: Vec<u64> = (0..300).collect();
    let polls = std::rc::Rc::<std::cell::Cell<usize>>::default();
    let sends = numbers.iter().map(|number| Counted {
        inner: Box::pin(sender.send(number)),
        polls: polls.clone(),
    });
    let mut waiting = Box::pin(join_all(sends));
    assert!((&mut waiting).now_or_never().is_none());
    world.refuse(false);
    let deliveries = world.run(waiting);
    assert_eq!(deliveries.len(), 300);
    assert!(polls.get() <= 300 * 5, "{} polls", polls.get());
}

/// The unconfirmed message counts until its sequence number is settled, although its delivery has failed.
#[test]
fn a_waiting_sender_fails_when_the_session_stops_even_if_the_outbox_stays_full() {
    let world = World::new();
    let options = OutboxOptions {
        messages: 1,
        ttl: Duration::from_secs(10),
        ..OutboxOptions::default()
    };
    let client = world.builder().outbox(options).build().unwrap();
    world.run(async {
        open(&client).await;
        let sender = client.room_sender::<u64>("lobby").unwrap();
        world.half_open();
        let in_doubt = sender.send(&1).await.unwrap();
        world.refuse(true);
        assert_eq!(in_doubt.await, Err(FailReason::Unconfirmed));
        let mut waiting = Box::pin(sender.send(&2));
        assert!((&mut waiting).now_or_never().is_none(), "the outbox is full");
        client.stop();
        assert_eq!(waiting.await.unwrap().await, Err(FailReason::Stopped));
    });
}
