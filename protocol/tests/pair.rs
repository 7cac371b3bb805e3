//! Both halves of the session together, with one fault at a time.

mod support;

use support::{Sent, TTL, World, ms, room, secs};
use talkback_protocol::session::client::{ClientSession, DeliveryState, Input, Status};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// A world with two connected members of the room `a`.
fn two_members() -> World {
    let mut world = World::new(1, 2);
    for peer in 0..2 {
        world.command(peer, ClientSession::connect);
        world.join(peer, &room("a"), true, 0);
    }
    settle(&mut world);
    world
}

fn settle(world: &mut World) {
    let settled = world.advance_until(secs(120), World::is_settled);
    assert_eq!(world.violations, [""; 0]);
    assert!(
        settled,
        "not all messages were delivered and acknowledged within two minutes"
    );
}

fn cut(world: &mut World, peer: usize, notified: bool) {
    let (_, conn) = world.peers[peer].conn.unwrap();
    world.cut(conn, notified);
}

fn both_received(world: &World, messages: usize) {
    for peer in 0..2 {
        let view = &world.peers[peer].views[&room("a")];
        assert_eq!(view.got.len(), messages, "peer {peer} got {:?}", view.got);
        assert_eq!(view.resets, 0);
    }
}

fn all_acked(world: &World) {
    for sent in world.peers.iter().flat_map(|peer| peer.sent.values()) {
        assert!(matches!(sent.last, Some(DeliveryState::Acked { .. })), "{sent:?}");
    }
}

#[test]
fn both_members_receive_every_message_once_although_the_network_is_cut_ten_times() {
    let mut world = two_members();
    for round in 0..10 {
        for peer in 0..2 {
            for _ in 0..10 {
                world.publish(peer, &room("a"));
            }
        }
        world.advance(ms(30));
        cut(&mut world, round % 2, round % 3 == 0);
        settle(&mut world);
    }
    both_received(&world, 200);
    all_acked(&world);
}

#[test]
fn a_lost_acknowledgement_does_not_duplicate_the_message() {
    let mut world = two_members();
    world.publish(0, &room("a"));
    let arrived = |world: &mut World| world.logs().head(&room("a")).get() == 1;
    assert!(world.advance_until(secs(1), arrived));
    cut(&mut world, 0, true);
    settle(&mut world);
    both_received(&world, 1);
    all_acked(&world);
}

#[test]
fn a_half_open_socket_is_detected_and_no_message_is_lost() {
    let mut world = two_members();
    cut(&mut world, 0, false);
    world.publish(0, &room("a"));
    world.publish(1, &room("a"));
    settle(&mut world);
    both_received(&world, 2);
    all_acked(&world);
}

#[test]
fn late_lines_of_an_old_socket_cause_no_duplicates_and_no_other_order() {
    let mut world = two_members();
    world.faults().link.delay = secs(3);
    for _ in 0..6 {
        world.publish(0, &room("a"));
    }
    // The page is closed and opened again at once: lines of the first socket arrive in between those of the second one.
    world.peer_input(0, Input::Suspend);
    world.advance(ms(600));
    world.faults().link.delay = ms(5);
    world.peer_input(0, Input::Resume);
    settle(&mut world);
    world.advance(secs(60));
    both_received(&world, 6);
    all_acked(&world);
}

#[test]
fn a_restart_that_keeps_the_log_loses_no_message() {
    let mut world = two_members();
    for _ in 0..20 {
        world.publish(0, &room("a"));
    }
    world.advance(ms(60));
    world.restart(false);
    settle(&mut world);
    both_received(&world, 20);
    all_acked(&world);
}

#[test]
fn a_restart_that_loses_the_log_is_a_reset_and_the_outbox_continues() {
    let mut world = two_members();
    world.publish(0, &room("a"));
    settle(&mut world);
    world.restart(true);
    world.logs().lose();
    for _ in 0..20 {
        world.publish(0, &room("a"));
    }
    settle(&mut world);
    all_acked(&world);
    for peer in 0..2 {
        assert_eq!(
            world.peers[peer].views[&room("a")].resets,
            1,
            "peer {peer} has no reset"
        );
    }
    assert_eq!(world.logs().head(&room("a")).get(), 20);
}

#[test]
fn a_member_that_was_too_slow_catches_up_from_the_log() {
    let mut world = two_members();
    for _ in 0..30 {
        world.publish(0, &room("a"));
    }
    world.advance(ms(80));
    let (_, conn) = world.peers[1].conn.unwrap();
    world.close_by_server(conn, 4413);
    settle(&mut world);
    both_received(&world, 30);
}

#[test]
fn a_reload_loses_no_stored_message() {
    for crash in [false, true] {
        let mut world = two_members();
        for _ in 0..20 {
            world.publish(0, &room("a"));
        }
        world.advance(ms(if crash { 400 } else { 45 }));
        world.reload(0, crash, secs(0), 0);
        settle(&mut world);
        all_acked(&world);
        assert_eq!(world.logs().head(&room("a")).get(), 20, "crash: {crash}");
    }
}

#[test]
fn a_machine_that_slept_for_an_hour_reconnects() {
    let mut world = two_members();
    world.peers[0].wake = world.now + secs(3600);
    world.advance(secs(10));
    world.publish(1, &room("a"));
    world.advance(secs(3600));
    settle(&mut world);
    both_received(&world, 1);
}

#[test]
fn lines_that_a_hub_duplicates_or_loses_are_recovered() {
    let mut world = two_members();
    world.faults().sloppy = true;
    for _ in 0..40 {
        world.publish(0, &room("a"));
        world.advance(ms(50));
    }
    world.faults().sloppy = false;
    world.publish(0, &room("a"));
    settle(&mut world);
    both_received(&world, 41);
}

#[test]
fn a_busy_engine_loses_no_message_and_keeps_the_order() {
    let mut world = two_members();
    for _ in 0..5 {
        world.faults().busy_until = world.now + ms(100);
        for _ in 0..6 {
            world.publish(0, &room("a"));
        }
        world.advance(ms(150));
    }
    settle(&mut world);
    both_received(&world, 30);
    all_acked(&world);
}

#[test]
fn clients_of_a_server_that_accepts_and_closes_back_off() {
    let mut world = World::new(3, 20);
    world.faults().link.close_at_once = Some(1011);
    for peer in 0..20 {
        world.command(peer, ClientSession::connect);
    }
    world.advance(secs(600));
    let attempts: u64 = (0..20)
        .map(|peer| match world.peers[peer].session.status() {
            Status::Waiting { attempt, .. } => u64::from(attempt),
            _ => 0,
        })
        .sum();
    // With a cap of 20 s and full jitter there is one attempt in 10 s on average.
    assert!(attempts < 20 * 85, "{attempts} attempts of 20 clients in 10 minutes");
    assert_eq!(world.violations, [""; 0]);
}

#[test]
fn clients_reconnect_at_different_times_after_a_restart() {
    let mut world = World::new(4, 40);
    (0..40).for_each(|peer| world.command(peer, ClientSession::connect));
    world.advance(secs(20));
    world.restart(true);
    world.advance(ms(41));
    let start = world.now;
    let mut connected = Vec::new();
    world.advance_until(secs(60), |world| {
        let open = (0..40).filter(|&peer| matches!(world.peers[peer].session.status(), Status::Open { .. }));
        connected.push((world.now - start, open.count()));
        connected.last().is_some_and(|(_, open)| *open == 40)
    });
    let half = connected.iter().find(|(_, open)| *open >= 20).unwrap().0;
    assert!(half > ms(500), "half of the clients were connected after {half:?}");
    assert_eq!(world.violations, [""; 0]);
}

#[test]
fn a_message_that_waits_too_long_fails_and_is_never_delivered() {
    let mut world = two_members();
    world.faults().link.refuse = true;
    cut(&mut world, 0, true);
    world.advance(secs(1));
    world.publish(0, &room("a"));
    world.advance(TTL);
    assert!(matches!(world.peers[0].sent[&1].last, Some(DeliveryState::Failed(_))));
    world.faults().link.refuse = false;
    settle(&mut world);
    world.check_end();
    both_received(&world, 0);
}

#[test]
fn a_backlog_is_sent_at_the_rate_of_the_server_in_any_number_of_rooms() {
    const BACKLOG: u32 = 8_000;
    for rooms in [1, 8, 64] {
        let mut world = World::with_default_limits(5, 1);
        // At most 50 ms in each direction.
        world.faults().link.delay = ms(25);
        world.faults().link.refuse = true;
        world.command(0, ClientSession::connect);
        for message in 0..BACKLOG {
            world.publish(0, &room(&format!("room-{}", message % rooms)));
        }
        world.faults().link.refuse = false;
        let is_open = |world: &mut World| matches!(world.peers[0].session.status(), Status::Open { .. });
        assert!(world.advance_until(secs(60), is_open), "the client did not connect");
        let start = world.now;
        let ended = |sent: &Sent| sent.last.as_ref().is_some_and(DeliveryState::is_final);
        while !world.peers[0].sent.values().all(ended) {
            assert!(
                world.now < start + secs(600),
                "not all messages were answered within ten minutes"
            );
            world.advance(ms(50));
        }
        assert_eq!(world.violations, [""; 0]);
        all_acked(&world);
        let took = (world.now - start).as_secs_f64();
        let limits = world.limits();
        let expected = f64::from(BACKLOG - limits.lines_burst) / f64::from(limits.lines_per_second);
        assert!(
            (took / expected - 1.0).abs() <= 0.1,
            "{BACKLOG} messages to {rooms} rooms took {took:.2} s instead of {expected:.2} s"
        );
    }
}
