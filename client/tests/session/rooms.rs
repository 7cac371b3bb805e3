//! Members, messages, signals, history, searches for users.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use talkback_client::{
    Body, Event, Incoming, JoinOptions, Member, Offset, PageError, PresenceChange, Status, StopReason, code,
    test_util::World,
};

use crate::{join, joined, message, next, numbers, open, world_with};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Chat {
    Text(String),
}

#[test]
fn members_get_one_order_and_their_own_messages_are_marked() {
    let world = World::new();
    let (ann, bob) = (world.client("ann"), world.client("bob"));
    world.run(async {
        let mut rooms = [join(&ann), join(&bob)];
        for number in 0..10 {
            rooms[(number % 2) as usize].send(&number).await.unwrap().await.unwrap();
        }
        let mut seen = Vec::new();
        for (index, room) in rooms.iter_mut().enumerate() {
            joined(room).await;
            let mut all = Vec::new();
            for _ in 0..10 {
                let message = message(room).await;
                let number = *message.body.known().unwrap();
                assert_eq!(message.own, number % 2 == index as u64, "{number}");
                assert_eq!(&*message.from.user, if number % 2 == 0 { "ann" } else { "bob" });
                all.push((message.offset.get(), number));
            }
            seen.push(all);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], (0..10).map(|n| (n + 1, n)).collect::<Vec<_>>());
    });
}

/// A decoder that drops unknown messages loses those of a newer version of the application.
#[test]
fn a_message_of_another_type_is_delivered_unchanged() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let mut room = client.join::<Chat>("lobby", &JoinOptions::default()).unwrap();
        joined(&mut room).await;
        world
            .publish("lobby", "bob", &serde_json::json!({"image": [1, 2]}))
            .unwrap();
        room.send(&Chat::Text("hi".into())).await.unwrap();
        let unknown = Body::from_json(r#"{"image":[1,2]}"#).unwrap();
        assert_eq!(message(&mut room).await.body, Incoming::Unknown(unknown));
        assert_eq!(message(&mut room).await.body.known(), Some(&Chat::Text("hi".into())));
    });
}

fn changed(event: Event<u64>) -> (u32, Vec<Member>, Vec<Member>) {
    match event {
        Event::Presence {
            users,
            change: PresenceChange::Changed { joined, left },
        } => (users, joined, left),
        other => panic!("{other:?}"),
    }
}

#[test]
fn presence_and_signals_reach_the_other_members() {
    let world = World::new();
    let (ann, bob) = (world.client("ann"), world.client("bob"));
    world.run(async {
        let mut room = join(&ann);
        assert_eq!(joined(&mut room).await.members.unwrap().len(), 1);
        let mut other = join(&bob);
        joined(&mut other).await;
        let (users, joined, left) = changed(next(&mut room).await);
        assert_eq!((users, &*joined[0].user, left.len()), (2, "bob", 0));
        assert_eq!((room.users(), room.members().unwrap().len()), (Some(2), 2));

        other.signal("typing").unwrap();
        let Event::Signal { from, body } = next(&mut room).await else {
            panic!()
        };
        assert_eq!((&*from.user, body.json()), ("bob", "\"typing\""));

        other.leave();
        let (users, joined, left) = changed(next(&mut room).await);
        assert_eq!((users, joined.len(), &*left[0].user), (1, 0, "bob"));
        assert_eq!((room.users(), room.members().unwrap().len()), (Some(1), 1));
    });
}

#[test]
fn a_late_member_gets_the_newest_messages_and_scrolls_back_to_the_first() {
    let world = world_with(0..300);
    let client = world.client("late");
    world.run(async {
        let mut room = join(&client);
        assert_eq!(joined(&mut room).await.after.get(), 250);
        assert_eq!(numbers(&mut room, 50).await, (250..300).collect::<Vec<_>>());
        let (mut before, mut pages) = (Offset::new(251).unwrap(), Vec::new());
        loop {
            let page = room.history(before, 100).await.unwrap();
            before = page.messages[0].offset;
            let known = page.messages.iter().map(|message| *message.body.known().unwrap());
            pages.splice(0..0, known.collect::<Vec<_>>());
            if !page.more {
                break;
            }
        }
        assert_eq!(pages, (0..250).collect::<Vec<_>>());
    });
}

#[test]
fn users_are_found_by_a_part_of_their_names_and_only_by_members() {
    let world = World::new();
    let clients: Vec<_> = ["ann", "Hanna", "bob"].map(|name| world.client(name)).into();
    world.run(async {
        let mut rooms: Vec<_> = clients.iter().map(join).collect();
        for room in &mut rooms {
            joined(room).await;
        }
        let found = async |part| {
            let found = rooms[0].find(part).await.unwrap();
            let names = found.members.iter().map(|member| member.user.to_string());
            (names.collect::<Vec<_>>(), found.more)
        };
        assert_eq!(found("AN").await, (vec!["ann".to_owned(), "Hanna".to_owned()], false));
        assert_eq!(found(" bob ").await.0, ["bob"]);
        assert_eq!(found("").await.0.len(), 3);
        assert_eq!(found(&"x".repeat(33)).await.0, [""; 0], "no name is so long");

        let sender = rooms[2].sender().clone();
        rooms.pop();
        let refused = sender.find("ann").await;
        assert!(
            matches!(&refused, Err(PageError::Refused { code, .. }) if code == code::NOT_JOINED),
            "{refused:?}"
        );
        clients[2].stop();
        assert_eq!(sender.find("ann").await, Err(PageError::Stopped));
    });
}

#[test]
fn a_search_waits_for_a_connection_and_survives_a_cut() {
    let world = World::new();
    world.set_latency(Duration::from_millis(50));
    let client = world.client("ann");
    world.run(async {
        let mut room = join(&client);
        let sender = room.sender().clone();
        assert_eq!(sender.find("a").await.unwrap().members.len(), 1);
        joined(&mut room).await;
        let mut search = Box::pin(sender.find("a"));
        assert!((&mut search).now_or_never().is_none());
        world.cut();
        assert_eq!(search.await.unwrap().members.len(), 1);
    });
}

#[test]
fn a_given_cursor_yields_exactly_the_messages_after_it() {
    let world = world_with(0..20);
    let (first, second) = (world.client("ann"), world.client("ann"));
    world.run(async {
        let mut room = join(&first);
        joined(&mut room).await;
        numbers(&mut room, 7).await;
        let options = JoinOptions {
            since: room.cursor(),
            ..JoinOptions::default()
        };
        let mut again = second.join::<u64>("lobby", &options).unwrap();
        assert!(matches!(next(&mut again).await, Event::Recovered(_)));
        assert_eq!(numbers(&mut again, 13).await, (7..20).collect::<Vec<_>>());
    });
}

#[test]
fn several_handles_of_a_room_share_one_membership() {
    let world = world_with(0..120);
    let client = world.client("ann");
    world.run(async {
        let mut first = join(&client);
        joined(&mut first).await;
        numbers(&mut first, 50).await;
        let options = |since, history| JoinOptions {
            since,
            history,
            ..JoinOptions::default()
        };
        let mut cursor = first.cursor().unwrap();
        cursor.offset = Offset::new(3).unwrap();
        let mut newest = client.join::<u64>("lobby", &options(None, 5)).unwrap();
        let mut since = client.join::<u64>("lobby", &options(Some(cursor.clone()), 5)).unwrap();
        let mut none = client.join::<u64>("lobby", &options(None, 0)).unwrap();
        let mut present = client.join::<u64>("lobby", &options(first.cursor(), 5)).unwrap();
        cursor.epoch = talkback_client::Epoch::parse("other").unwrap();
        let mut foreign = client.join::<u64>("lobby", &options(Some(cursor), 2)).unwrap();

        assert_eq!(joined(&mut newest).await.after.get(), 115);
        assert_eq!(numbers(&mut newest, 5).await, (115..120).collect::<Vec<_>>());
        assert!(matches!(next(&mut since).await, Event::Recovered(room) if room.after.get() == 3));
        assert_eq!(numbers(&mut since, 117).await, (3..120).collect::<Vec<_>>());
        assert_eq!(joined(&mut none).await.after.get(), 120);
        assert!(matches!(next(&mut present).await, Event::Recovered(room) if room.after.get() == 120));
        assert!(matches!(next(&mut foreign).await, Event::Reset(room) if room.after.get() == 118));
        assert_eq!(numbers(&mut foreign, 2).await, [118, 119]);

        world.publish("lobby", "bob", &120).unwrap();
        for room in [
            &mut first,
            &mut newest,
            &mut since,
            &mut none,
            &mut present,
            &mut foreign,
        ] {
            assert_eq!(numbers(room, 1).await, [120]);
            assert_eq!(room.members().unwrap().len(), 1, "all handles are one member");
        }
        drop((first, newest, since, none, present));
        world.publish("lobby", "bob", &121).unwrap();
        assert_eq!(
            numbers(&mut foreign, 1).await,
            [121],
            "the remaining handle is still a member"
        );
    });
    world.settle();
    let other = world.client("bob");
    world.run(async {
        let mut room = join(&other);
        assert_eq!(
            joined(&mut room).await.members.unwrap().len(),
            1,
            "ann left with her last handle"
        );
    });
}

#[test]
fn a_room_may_be_left_and_joined_again_at_once() {
    let world = world_with(0..3);
    let client = world.client("ann");
    world.run(async {
        for _ in 0..5 {
            let mut room = join(&client);
            joined(&mut room).await;
            assert_eq!(numbers(&mut room, 3).await, [0, 1, 2]);
        }
        for _ in 0..5 {
            drop(join(&client));
        }
        let mut room = join(&client);
        joined(&mut room).await;
        assert_eq!(numbers(&mut room, 3).await, [0, 1, 2]);
    });
}

#[test]
fn a_forbidden_room_ends_with_a_refusal_and_other_rooms_continue() {
    let world = World::new();
    world.forbid("secret", true).unwrap();
    let client = world.client("ann");
    world.run(async {
        let mut secret = client.join::<u64>("secret", &JoinOptions::default()).unwrap();
        let Event::Refused { code, .. } = next(&mut secret).await else {
            panic!()
        };
        assert_eq!(code, "forbidden");
        assert!(secret.next().await.is_none());
        joined(&mut join(&client)).await;
        world.forbid("secret", false).unwrap();
        let mut secret = client.join::<u64>("secret", &JoinOptions::default()).unwrap();
        joined(&mut secret).await;
    });
    assert!(client.join::<u64>("a/b", &JoinOptions::default()).is_err());
}

#[test]
fn dropping_the_last_handle_ends_the_connection_and_all_waiting_tasks() {
    let world = World::new();
    let client = world.client("ann");
    assert_eq!(client.sender(), None, "there was no answer of the server yet");
    let (mut status, mut delivery) = world.run(async {
        open(&client).await;
        assert!(client.sender().is_some());
        world.stall(true);
        let delivery = client.room_sender::<u64>("lobby").unwrap().send(&1).await.unwrap();
        (client.status_changes(), delivery)
    });
    let room = join(&client);
    drop(client);
    assert_eq!(world.connections(), 1, "the room is a handle too");
    drop(room);
    assert_eq!(world.connections(), 0);
    assert!(
        (&mut delivery).now_or_never().unwrap().is_err(),
        "it cannot be acknowledged any more"
    );
    let stopped = Status::Stopped(StopReason::Asked);
    assert_eq!(status.next().now_or_never(), Some(Some(stopped)));
    assert_eq!(status.next().now_or_never(), Some(None));
}

/// A room is joined and left many times while answers are in flight; in the end the server has the same membership as
/// the client.
#[test]
fn overlapping_joins_and_leaves_end_with_the_clients_last_call() {
    for seed in 0..50_u64 {
        let world = World::new();
        let (ann, bob) = (world.client("ann"), world.client("bob"));
        let mut witness = join(&bob);
        world.run(joined(&mut witness));
        world.set_latency(std::time::Duration::from_millis(20));
        let mut dice = crate::faults::Dice(seed);
        let mut rooms = Vec::new();
        for _ in 0..40 {
            match dice.roll(4) {
                0 => rooms.push(join(&ann)),
                1 => rooms.clear(),
                2 if dice.roll(5) == 0 => world.cut(),
                _ => {
                    rooms.pop();
                }
            }
            world.advance(std::time::Duration::from_millis(dice.roll(50)));
        }
        let stays = seed % 2 == 0;
        if stays {
            rooms.push(join(&ann));
        } else {
            rooms.clear();
        }
        world.advance(std::time::Duration::from_secs(60));
        let names: Vec<_> = witness
            .members()
            .iter()
            .flatten()
            .map(|member| member.user.to_string())
            .collect();
        let expected: &[&str] = if stays { &["ann", "bob"] } else { &["bob"] };
        assert_eq!(names, expected, "seed {seed}");
        if stays {
            assert_eq!(rooms[0].members().unwrap().len(), 2, "seed {seed}");
        }
    }
}
