//! What a back end addresses to a user and its groups.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use talkback_client::{
    Addressee, Direct, DirectOptions, Directed, Event, InboxOptions, JoinOptions, OutboxStorage, UserName,
    test_util::{PageEvent, World},
};
use talkback_protocol::{session::server::ServerOptions, test_util::Random};

use crate::{Number, open};

/// A world whose server addresses users.
fn world() -> World {
    World::with_options(ServerOptions {
        direct: true,
        ..ServerOptions::default()
    })
}

fn group(name: &str) -> Addressee {
    Addressee::Group(name.to_owned())
}

/// The next event that is not about joining.
async fn next(direct: &mut Direct<Number>) -> (Addressee, Event<Number>) {
    loop {
        let directed = direct.next().await.expect("the stream has ended");
        match directed.event {
            Event::Joined(_) | Event::Recovered(_) => {}
            event => return (directed.to, event),
        }
    }
}

/// The next message, with its addressee.
async fn message(direct: &mut Direct<Number>) -> (Addressee, Number) {
    match next(direct).await {
        (to, Event::Message(message)) => (to, *message.body.known().expect("a number")),
        other => panic!("{other:?}"),
    }
}

/// The next messages to the user.
async fn numbers(direct: &mut Direct<Number>, count: usize) -> Vec<Number> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (to, number) = message(direct).await;
        assert_eq!(to, Addressee::User);
        numbers.push(number);
    }
    numbers
}

#[test]
fn a_user_gets_what_is_addressed_to_it_and_its_groups_in_all_its_clients_and_nobody_else_does() {
    let world = world();
    world.set_groups("ann", &["staff"]).unwrap();
    let clients = [world.client("ann"), world.client("ann"), world.client("bob")];
    world.run(async {
        let mut directs = clients
            .each_ref()
            .map(|client| client.direct(&DirectOptions::default()));
        for client in &clients {
            open(client).await;
        }
        world.publish_to_user("ann", "server", &1).unwrap();
        world.publish_to_group("staff", "server", &2).unwrap();
        world.publish_to_user("bob", "server", &3).unwrap();
        for direct in &mut directs[..2] {
            let mut got = [message(direct).await, message(direct).await];
            got.sort();
            assert_eq!(got, [(Addressee::User, 1), (group("staff"), 2)]);
        }
        assert_eq!(message(&mut directs[2]).await, (Addressee::User, 3));
        world.settle();
        for direct in &mut directs {
            assert!(direct.next().now_or_never().is_none(), "there is no more");
        }
    });
}

#[test]
fn what_was_addressed_while_a_client_was_away_is_delivered_once_also_the_first_message_of_all() {
    let world = world();
    let client = world.client("ann");
    world.run(async {
        let mut direct = client.direct(&DirectOptions {
            history: 0,
            ..DirectOptions::default()
        });
        assert!(matches!(direct.next().await.unwrap().event, Event::Joined(_)));
        for number in 0..30 {
            if number % 3 == 0 {
                world.cut();
            }
            world.publish_to_user("ann", "server", &number).unwrap();
            if number % 4 == 0 {
                open(&client).await;
            }
        }
        assert_eq!(numbers(&mut direct, 30).await, (0..30).collect::<Vec<_>>());
    });
}

#[test]
fn a_later_page_continues_from_the_cursors_of_the_one_before() {
    let world = world();
    world.set_groups("ann", &["staff"]).unwrap();
    world.run(async {
        let client = world.client("ann");
        let mut direct = client.direct(&DirectOptions::default());
        assert!(direct.next().await.is_some() && direct.next().await.is_some());
        world.publish_to_user("ann", "server", &1).unwrap();
        assert_eq!(message(&mut direct).await, (Addressee::User, 1));
        let since = direct.cursors();
        assert_eq!(since.len(), 2);
        drop((direct, client));
        for number in 2..5 {
            world.publish_to_user("ann", "server", &number).unwrap();
        }
        let client = world.client("ann");
        let mut direct = client.direct(&DirectOptions {
            since,
            history: 0,
            ..DirectOptions::default()
        });
        assert_eq!(numbers(&mut direct, 3).await, [2, 3, 4]);
    });
}

#[test]
fn several_readers_of_a_client_each_get_every_message_and_the_last_one_ends_the_subscription() {
    let world = world();
    let client = world.client("ann");
    world.run(async {
        let mut first = client.direct(&DirectOptions::default());
        assert!(first.next().await.is_some());
        world.publish_to_user("ann", "server", &1).unwrap();
        assert_eq!(message(&mut first).await.1, 1);
        let mut second = client.direct(&DirectOptions::default());
        assert_eq!(message(&mut second).await.1, 1, "one of the newest");
        drop(first);
        world.publish_to_user("ann", "server", &2).unwrap();
        assert_eq!(message(&mut second).await.1, 2);
        drop(second);
        world.settle();
        world.publish_to_user("ann", "server", &3).unwrap();
        let mut third = client.direct(&DirectOptions::default());
        assert_eq!(numbers(&mut third, 3).await, [1, 2, 3]);
    });
}

#[test]
fn a_slow_reader_gets_everything_from_the_log_and_the_rooms_take_turns() {
    let world = world();
    world.set_groups("ann", &["staff"]).unwrap();
    let client = world.client("ann");
    world.run(async {
        let mut direct = client.direct(&DirectOptions {
            inbox: InboxOptions {
                events: 10,
                ..InboxOptions::default()
            },
            ..DirectOptions::default()
        });
        assert!(direct.next().await.is_some() && direct.next().await.is_some());
        for number in 0..500 {
            world.publish_to_user("ann", "server", &number).unwrap();
            world.publish_to_group("staff", "server", &number).unwrap();
        }
        world.settle();
        let (mut own, mut of_group) = (Vec::new(), Vec::new());
        for _ in 0..1_000 {
            match message(&mut direct).await {
                (Addressee::User, number) => own.push(number),
                (Addressee::Group(_), number) => of_group.push(number),
            }
            assert!(own.len().abs_diff(of_group.len()) < 100, "one room waits for the other");
        }
        let all: Vec<_> = (0..500).collect();
        assert_eq!((own, of_group), (all.clone(), all));
    });
}

#[test]
fn where_the_server_addresses_nobody_the_stream_says_so_and_ends() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let mut direct = client.direct::<Number>(&DirectOptions::default());
        let refused = direct.next().await.unwrap();
        assert!(
            matches!(&refused.event, Event::Refused { code, .. } if code == "forbidden"),
            "{refused:?}"
        );
        assert_eq!(direct.next().await, None);
        let mut room = client.join::<Number>("lobby", &JoinOptions::default()).unwrap();
        assert!(room.next().await.is_some(), "the session goes on");
    });
}

#[test]
fn a_log_that_was_lost_is_a_reset() {
    let world = world();
    let client = world.client("ann");
    world.run(async {
        let mut direct = client.direct(&DirectOptions::default());
        world.publish_to_user("ann", "server", &1).unwrap();
        assert_eq!(message(&mut direct).await.1, 1);
        world.restart_server(false);
        world.publish_to_user("ann", "server", &2).unwrap();
        assert!(matches!(next(&mut direct).await, (Addressee::User, Event::Reset(_))));
        assert_eq!(message(&mut direct).await.1, 2);
    });
}

#[test]
fn the_wish_of_a_page_whose_store_is_not_open_yet_is_kept() {
    let world = world();
    let builder = world.builder().name(UserName::parse("ann").unwrap());
    let client = builder
        .outbox_storage(OutboxStorage::session("test", Duration::from_secs(60)))
        .build()
        .unwrap();
    drop(client.direct::<Number>(&DirectOptions::default()));
    let mut direct = client.direct(&DirectOptions::default());
    world.publish_to_user("ann", "server", &1).unwrap();
    world.run(async {
        assert_eq!(message(&mut direct).await.1, 1);
        world.wait(Duration::from_secs(60)).await;
        world.publish_to_user("ann", "server", &2).unwrap();
        assert_eq!(message(&mut direct).await.1, 2);
    });
}

/// A client that leaves out a cursor, or asks again for a room that it follows, loses or doubles messages.
#[test]
fn under_random_faults_everything_that_is_addressed_comes_once_and_in_order() {
    for seed in 1..=150 {
        let mut random = Random::new(seed);
        let world = world();
        world.set_random(seed);
        world.set_latency(Duration::from_millis(random.below(200)));
        world.set_groups("ann", &["staff"]).unwrap();
        let client = world.client("ann");
        let mut direct = client.direct(&DirectOptions {
            history: 0,
            inbox: InboxOptions {
                events: 8,
                ..InboxOptions::default()
            },
            ..DirectOptions::default()
        });
        world.run(async { assert!(direct.next().await.is_some() && direct.next().await.is_some()) });
        let mut published = [0, 0];
        let mut read: [Vec<Number>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..120 {
            match random.below(12) {
                0 => world.cut(),
                1 => world.half_open(),
                2 => world.restart_server(true),
                3 => world.close_all(1012, "{\"retry_after_ms\":300}"),
                4 => world.page(PageEvent::Hide),
                5 => world.page(PageEvent::Show),
                6 => {
                    // A page that is loaded again, or a component that is drawn again.
                    let since = direct.cursors();
                    drop(direct);
                    direct = client.direct(&DirectOptions {
                        since,
                        history: 0,
                        ..DirectOptions::default()
                    });
                }
                7 => world.advance(Duration::from_millis(random.below(30_000))),
                8 => {
                    while let Some(Some(directed)) = direct.next().now_or_never() {
                        note(directed, &mut read);
                    }
                }
                room => {
                    let room = (room % 2) as usize;
                    let number = published[room];
                    published[room] += 1;
                    match room {
                        0 => world.publish_to_user("ann", "server", &number).unwrap(),
                        _ => world.publish_to_group("staff", "server", &number).unwrap(),
                    }
                }
            }
        }
        world.page(PageEvent::Show);
        world.run(async {
            while (0..2).any(|room| (read[room].len() as u64) < published[room]) {
                note(direct.next().await.expect("it goes on"), &mut read);
            }
        });
        for room in 0..2 {
            assert_eq!(read[room], (0..published[room]).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

/// Keeps what was read of the user's room and of the group's.
fn note(directed: Directed<Number>, read: &mut [Vec<Number>; 2]) {
    match directed.event {
        Event::Message(message) => {
            let room = usize::from(directed.to != Addressee::User);
            read[room].push(*message.body.known().expect("a number"));
        }
        Event::Joined(_) | Event::Recovered(_) => {}
        other => panic!("{other:?}"),
    }
}
