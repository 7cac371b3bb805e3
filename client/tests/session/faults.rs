//! Random schedules of faults: every acknowledged message reaches every member once, in the same order.

use std::time::Duration;

use talkback_client::{
    Client, Event, InboxOptions, JoinOptions, Room,
    test_util::{PageEvent, World},
};

use crate::next;

/// Replays one seed: `TEST_SEED=17 cargo test -p talkback-client --test session faults`.
const SEED: &str = "TEST_SEED";
const SEEDS: u64 = 100;
const MEMBERS: u64 = 3;
const MESSAGES: u64 = 60;

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Member {
    client: Client,
    room: Room<u64>,
    seen: Vec<(u64, u64)>,
}

impl Member {
    async fn read(&mut self) {
        match next(&mut self.room).await {
            Event::Message(message) => {
                self.seen.push((message.offset.get(), *message.body.known().unwrap()));
            }
            Event::Reset(room) => panic!("a reset although the log is complete: {room:?}"),
            _ => {}
        }
    }
}

fn inject_fault(world: &World, dice: &mut Dice) {
    match dice.roll(12) {
        0 | 1 => world.cut(),
        2 => world.half_open(),
        3 => world.restart_server(true),
        4 => world.refuse(true),
        5 | 6 => {
            world.refuse(false);
            world.stall(false);
        }
        7 => world.stall(true),
        8 => world.page(PageEvent::Hide),
        9 => world.page(PageEvent::Show),
        10 => world.set_latency(Duration::from_millis(dice.roll(300))),
        _ => world.sleep_through(Duration::from_secs(dice.roll(60))),
    }
}

fn run_seed(seed: u64) {
    let mut dice = Dice(seed);
    let world = World::new();
    let mut members: Vec<_> = (0..MEMBERS)
        .map(|index| {
            let client = world.client(&format!("user{index}"));
            let options = JoinOptions {
                history: 0,
                inbox: InboxOptions {
                    events: 1 + usize::try_from(dice.roll(20)).unwrap(),
                    bytes: usize::MAX,
                },
                ..JoinOptions::default()
            };
            let room = client.join::<u64>("lobby", &options).unwrap();
            Member {
                client,
                room,
                seen: Vec::new(),
            }
        })
        .collect();
    world.settle();
    let mut deliveries = Vec::new();
    for number in 0..MESSAGES {
        let sender = &members[usize::try_from(number % MEMBERS).unwrap()].room;
        deliveries.push((number, sender.try_send(&number).unwrap()));
        if dice.roll(3) == 0 {
            inject_fault(&world, &mut dice);
        }
        world.advance(Duration::from_millis(dice.roll(2_000)));
    }
    world.refuse(false);
    world.stall(false);
    world.page(PageEvent::Show);
    let log = world.run(async {
        for (number, delivery) in &mut deliveries {
            let acked = delivery.await.unwrap_or_else(|error| panic!("{number}: {error}"));
            assert!(acked.offset.get() > 0);
        }
        for member in &mut members {
            while member.seen.len() < usize::try_from(MESSAGES).unwrap() {
                member.read().await;
            }
        }
        world.log("lobby").unwrap()
    });
    let log: Vec<_> = log
        .iter()
        .map(|message| (message.offset.get(), message.body.read::<u64>().unwrap()))
        .collect();
    let mut numbers: Vec<_> = log.iter().map(|(_, number)| *number).collect();
    for sender in 0..MEMBERS {
        let own: Vec<_> = numbers.iter().filter(|number| *number % MEMBERS == sender).collect();
        assert!(own.is_sorted(), "the order of one sender");
    }
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (0..MESSAGES).collect::<Vec<_>>(),
        "each message is in the log once"
    );
    for member in &members {
        assert_eq!(member.seen, log, "{:?}", member.client);
    }
    world.settle();
    assert!(
        world.connections() <= members.len(),
        "one live connection for each client"
    );
}

#[test]
fn every_message_reaches_every_member_once_and_in_the_same_order_despite_faults() {
    match std::env::var(SEED) {
        Ok(seed) => run_seed(seed.parse().unwrap()),
        Err(_) => {
            for seed in 0..SEEDS {
                let outcome = std::panic::catch_unwind(|| run_seed(seed));
                assert!(outcome.is_ok(), "replay with {SEED}={seed}");
            }
        }
    }
}
