//! Readers that are slower than their room, and handles that begin with a page of the log.

use std::time::Duration;

use talkback_client::{Cursor, Event, InboxOptions, JoinOptions, Offset, PresenceChange, Room, test_util::World};
use talkback_protocol::session::server::ServerOptions;

use crate::{join, joined, next, numbers, world_with};

fn bounded(events: usize, bytes: usize) -> JoinOptions {
    JoinOptions {
        history: 0,
        inbox: InboxOptions { events, bytes },
        ..JoinOptions::default()
    }
}

fn publish(world: &World, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| world.publish("lobby", "elsewhere", &number).unwrap());
}

/// react-use-websocket#135, #200, #237: hooks that hold only the last message lose bursts; partykit#403: a full buffer
/// does.
#[test]
fn a_burst_over_the_bound_is_read_from_the_log_completely_and_in_order() {
    for (events, bytes) in [
        (10, usize::MAX),
        (1, usize::MAX),
        (1_000_000, 20),
        (7, 5),
        (4_096, 1 << 20),
    ] {
        let world = World::new();
        let client = world.client("ann");
        world.run(async {
            let mut room = client.join::<u64>("lobby", &bounded(events, bytes)).unwrap();
            let mut fast = join(&client);
            joined(&mut room).await;
            publish(&world, 0..1_000);
            assert_eq!(
                numbers(&mut fast, 1_000).await.len(),
                1_000,
                "other readers are not slowed down"
            );
            world.settle();
            assert_eq!(numbers(&mut room, 1_000).await, (0..1_000).collect::<Vec<_>>());
            publish(&world, 1_000..1_003);
            assert_eq!(numbers(&mut room, 3).await, [1_000, 1_001, 1_002], "live again");
        });
    }
}

#[test]
fn a_reader_catches_up_from_a_server_with_small_pages() {
    let mut options = ServerOptions::default();
    options.limits.page = 7;
    let world = World::with_options(options);
    let client = world.client("ann");
    world.run(async {
        let mut room = client.join::<u64>("lobby", &bounded(50, usize::MAX)).unwrap();
        joined(&mut room).await;
        publish(&world, 0..500);
        world.settle();
        assert_eq!(numbers(&mut room, 500).await, (0..500).collect::<Vec<_>>());
    });
}

#[test]
fn a_slow_reader_catches_up_across_disconnections_and_restarts() {
    let world = World::new();
    let client = world.client("ann");
    world.set_latency(Duration::from_millis(20));
    world.run(async {
        let mut room = client.join::<u64>("lobby", &bounded(10, usize::MAX)).unwrap();
        joined(&mut room).await;
        publish(&world, 0..200);
        world.wait(Duration::from_secs(1)).await;
        let mut seen = Vec::new();
        while seen.len() < 400 {
            match next(&mut room).await {
                Event::Message(message) => seen.push(*message.body.known().unwrap()),
                Event::Reset(room) => panic!("{room:?}"),
                _ => {}
            }
            if seen.len() % 37 == 0 {
                world.cut();
            }
            if seen.len() == 100 {
                publish(&world, 200..400);
                world.restart_server(true);
            }
        }
        assert_eq!(seen, (0..400).collect::<Vec<_>>());
    });
}

async fn behind(world: &World) -> (talkback_client::Client, Room<u64>) {
    let client = world.client("ann");
    let mut room = client.join::<u64>("lobby", &bounded(10, usize::MAX)).unwrap();
    joined(&mut room).await;
    publish(world, 0..100);
    world.settle();
    (client, room)
}

#[test]
fn messages_dropped_from_the_log_before_a_slow_reader_read_them_are_a_reset() {
    let world = World::new();
    world.run(async {
        let (_client, mut room) = behind(&world).await;
        world.keep_newest("lobby", 20).unwrap();
        assert_eq!(numbers(&mut room, 10).await, (0..10).collect::<Vec<_>>());
        let Event::Reset(reset) = next(&mut room).await else {
            panic!()
        };
        assert_eq!((reset.after.get(), reset.head.get()), (80, 100));
        assert_eq!(numbers(&mut room, 20).await, (80..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_new_log_is_a_reset_for_a_slow_reader() {
    let world = World::new();
    world.run(async {
        let (_client, mut room) = behind(&world).await;
        world.restart_server(false);
        assert_eq!(numbers(&mut room, 10).await, (0..10).collect::<Vec<_>>());
        assert!(matches!(next(&mut room).await, Event::Reset(_)));
        publish(&world, 500..503);
        assert_eq!(numbers(&mut room, 3).await, [500, 501, 502]);
    });
}

#[test]
fn presence_that_did_not_fit_comes_as_one_list() {
    let world = World::new();
    let others: Vec<_> = (0..20).map(|n| world.client(&format!("user{n}"))).collect();
    world.run(async {
        let (_client, mut room) = behind(&world).await;
        let mut rooms: Vec<_> = others.iter().map(join).collect();
        world.settle();
        rooms.truncate(5);
        world.settle();
        assert_eq!(numbers(&mut room, 100).await.len(), 100);
        let Event::Presence {
            users,
            change: PresenceChange::List(members),
        } = next(&mut room).await
        else {
            panic!()
        };
        assert_eq!((users, members.len()), (6, 6));
    });
}

#[test]
fn the_cursor_is_the_last_message_yielded_and_not_the_last_received() {
    let world = world_with(0..30);
    let client = world.client("ann");
    world.run(async {
        let mut room = join(&client);
        assert_eq!(room.cursor(), None);
        joined(&mut room).await;
        world.settle();
        numbers(&mut room, 4).await;
        assert_eq!(room.cursor().unwrap().offset.get(), 4);
    });
}

/// The connection is lost many times while the reader does not read: the queue stays within its bound.
#[test]
fn many_reconnections_are_one_event_for_a_reader_that_does_not_read() {
    let world = World::new();
    let client = world.client("ann");
    let mut room = client.join::<u64>("lobby", &bounded(16, usize::MAX)).unwrap();
    let mut fast = join(&client);
    world.run(joined(&mut room));
    world.run(joined(&mut fast));
    publish(&world, 0..3);
    world.settle();
    for _ in 0..200 {
        world.cut();
        world.run(async { while !matches!(next(&mut fast).await, Event::Recovered(_)) {} });
    }
    publish(&world, 3..5);
    world.settle();
    let mut events = Vec::new();
    world.run(async {
        while events.len() < 6 {
            events.push(match next(&mut room).await {
                Event::Message(message) => message.offset.get().to_string(),
                Event::Recovered(_) => "recovered".to_owned(),
                other => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(events, ["1", "2", "3", "recovered", "4", "5"]);
}

/// Each further handle requests a page; here the session allows one request at a time.
#[test]
fn handles_over_the_bound_of_page_requests_get_their_page_later() {
    let world = world_with(0..30);
    let client = world.builder().options(|options| options.pages = 1).build().unwrap();
    world.run(async {
        let mut first = join(&client);
        joined(&mut first).await;
        // No further event of the room triggers a retry.
        let mut further: Vec<_> = (0..20).map(|_| join(&client)).collect();
        for room in &mut further {
            joined(room).await;
            assert_eq!(numbers(room, 30).await, (0..30).collect::<Vec<_>>());
        }
    });
}

/// An application may have newer messages over HTTP than its subscription.
#[test]
fn a_further_handle_with_a_cursor_ahead_gets_no_message_twice() {
    let world = world_with(0..45);
    let client = world.client("ann");
    world.run(async {
        let mut first = join(&client);
        joined(&mut first).await;
        numbers(&mut first, 45).await;
        world.set_latency(Duration::from_secs(1));
        publish(&world, 45..50);
        let since = Some(Cursor {
            offset: Offset::new(50).unwrap(),
            ..first.cursor().unwrap()
        });
        let options = JoinOptions {
            since,
            ..JoinOptions::default()
        };
        let mut ahead = client.join::<u64>("lobby", &options).unwrap();
        assert!(matches!(next(&mut ahead).await, Event::Recovered(room) if room.after.get() == 50));
        publish(&world, 50..52);
        assert_eq!(numbers(&mut ahead, 2).await, [50, 51]);
        assert_eq!(numbers(&mut first, 7).await, (45..52).collect::<Vec<_>>());
    });
}

#[test]
fn a_page_that_is_refused_ends_the_room_of_a_slow_reader_with_the_reason() {
    let world = World::new();
    world.run(async {
        let (_client, mut room) = behind(&world).await;
        world.refuse_history(true);
        assert_eq!(numbers(&mut room, 10).await, (0..10).collect::<Vec<_>>());
        let Event::Refused { code, .. } = next(&mut room).await else {
            panic!()
        };
        assert_eq!(code, "forbidden");
        publish(&world, 100..101);
        world.settle();
        assert_eq!(world.pages(), 1, "it is not requested again");
    });
}

#[test]
fn after_a_page_of_another_epoch_no_page_is_requested_before_the_next_join() {
    let world = World::new();
    world.run(async {
        let (_client, mut room) = behind(&world).await;
        world.set_foreign_pages(true);
        assert_eq!(numbers(&mut room, 10).await, (0..10).collect::<Vec<_>>());
        world.settle();
        assert_eq!(world.pages(), 1);
        publish(&world, 100..110);
        world.wait(Duration::from_secs(600)).await;
        assert_eq!(world.pages(), 1, "events of the room do not trigger a request");

        world.set_foreign_pages(false);
        world.cut();
        assert_eq!(numbers(&mut room, 100).await, (10..110).collect::<Vec<_>>());
    });
}

#[test]
fn a_further_handle_waits_for_the_next_join_after_a_page_of_another_epoch() {
    let world = world_with(0..30);
    let client = world.client("ann");
    world.run(async {
        let mut first = join(&client);
        joined(&mut first).await;
        world.set_foreign_pages(true);
        let mut further = join(&client);
        world.settle();
        publish(&world, 30..40);
        world.settle();
        assert_eq!(world.pages(), 1);
        world.set_foreign_pages(false);
        world.cut();
        joined(&mut further).await;
        assert_eq!(numbers(&mut further, 40).await, (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn large_pages_are_requested_again_after_a_time_of_small_ones() {
    let mut options = ServerOptions::default();
    options.limits.page = 2;
    let world = World::with_options(options);
    let client = world.client("ann");
    world.run(async {
        let mut room = client.join::<u64>("lobby", &bounded(200, usize::MAX)).unwrap();
        joined(&mut room).await;
        publish(&world, 0..1_000);
        world.settle();
        assert_eq!(numbers(&mut room, 400).await, (0..400).collect::<Vec<_>>());
        let small = world.pages();
        // A page that is shorter than requested does not count, and becomes rarer with each one.
        assert!((100..120).contains(&small), "{small}");
        world.set_page(100);
        world.cut();
        assert_eq!(numbers(&mut room, 600).await, (400..1_000).collect::<Vec<_>>());
        publish(&world, 1_000..11_000);
        world.settle();
        assert_eq!(numbers(&mut room, 10_000).await, (1_000..11_000).collect::<Vec<_>>());
        let large = world.pages() - small;
        assert!(large < 200, "{large} pages for 10,600 messages");
    });
}
