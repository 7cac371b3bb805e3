//! Connecting, reconnecting, the lifecycle of the page, and tokens.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use talkback_client::{
    Event, FailReason, JoinOptions, OutboxOptions, Status, StopReason, SuspendReason,
    test_util::{PageEvent, World},
};
use talkback_protocol::{close, session::server::ServerOptions};

use crate::{join, joined, message, next, numbers, open, until};

#[test]
fn the_status_stream_yields_each_change() {
    let world = World::new();
    world.refuse(true);
    let client = world.client("ann");
    assert!(matches!(client.status(), Status::Connecting));
    world.run(async {
        let waiting = until(&client, "waiting", |status| matches!(status, Status::Waiting { .. })).await;
        let Status::Waiting { attempt, .. } = waiting else {
            panic!()
        };
        assert_eq!(attempt, 1);
        assert!(client.retry_in().unwrap() <= Duration::from_millis(500));
        world.refuse(false);
        client.connect();
        open(&client).await;
        assert_eq!(client.retry_in(), None);
        client.stop();
        assert_eq!(client.status(), Status::Stopped(StopReason::Asked));
        client.connect();
        open(&client).await;
    });
}

/// ezsockets#104: reconnecting without the configured interval overloads the server.
#[test]
fn attempts_to_an_unreachable_server_back_off() {
    let world = World::new();
    world.refuse(true);
    let _client = world.client("ann");
    world.advance(Duration::from_secs(60));
    let first = world.attempts();
    assert!((3..=60).contains(&first), "{first} in the first minute");
    world.advance(Duration::from_secs(600));
    let later = world.attempts() - first;
    assert!((30..=120).contains(&later), "{later} in the ten minutes after");
}

/// A retry counter that is reset when a connection opens leads to endless attempts to a server that accepts and closes.
#[test]
fn attempts_to_a_server_that_accepts_and_closes_back_off() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        for _ in 0..20 {
            open(&client).await;
            world.close_all(close::TRY_AGAIN_LATER, "");
            until(&client, "waiting", |status| matches!(status, Status::Waiting { .. })).await;
        }
    });
    assert!(
        world.now() > Duration::from_secs(30),
        "{:?} for twenty attempts",
        world.now()
    );
}

/// phoenix#3161: proxies close with 1000, and clients never reconnect.
#[test]
fn an_unrequested_normal_close_leads_to_a_reconnection() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let mut room = join(&client);
        joined(&mut room).await;
        world.close_all(close::NORMAL, "");
        room.send(&1).await.unwrap();
        assert!(matches!(next(&mut room).await, Event::Recovered(_)));
        message(&mut room).await;
    });
}

#[test]
fn a_final_close_code_stops_the_session_with_its_reason() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        open(&client).await;
        world.close_all(close::FORBIDDEN, "banned");
        let stopped = until(&client, "stopped", |status| matches!(status, Status::Stopped(_))).await;
        let Status::Stopped(StopReason::Refused(cause)) = stopped else {
            panic!("{stopped:?}")
        };
        assert_eq!((cause.code, &*cause.reason), (close::FORBIDDEN, "banned"));
    });
    let attempts = world.attempts();
    world.advance(Duration::from_secs(600));
    assert_eq!(world.attempts(), attempts);
}

#[test]
fn the_server_sets_the_delay_of_the_reconnection() {
    let world = World::new();
    let client = world.client("ann");
    world.run(open(&client));
    world.close_all(close::SERVICE_RESTART, r#"{"retry_after_ms":45000}"#);
    let attempts = world.attempts();
    world.advance(Duration::from_secs(44));
    assert_eq!(world.attempts(), attempts);
    world.run(open(&client));
}

/// iOS never fires close (centrifuge-js#228), and a half-open connection has no event.
#[test]
fn a_half_open_connection_is_detected_and_no_message_is_lost() {
    let world = World::new();
    let (ann, bob) = (world.client("ann"), world.client("bob"));
    world.run(async {
        let mut room = join(&ann);
        joined(&mut room).await;
        open(&bob).await;
        world.half_open();
        let delivery = room.send(&1).await.unwrap();
        world.publish("lobby", "elsewhere", &2).unwrap();
        assert!(delivery.await.is_ok());
        let mut seen = numbers(&mut room, 2).await;
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        assert!(world.now() < Duration::from_secs(60), "{:?}", world.now());
    });
}

/// phoenix#4309, aspnetcore#31079: timers are throttled in a background page and do not run while the machine sleeps.
#[test]
fn after_a_sleep_a_half_open_connection_is_detected_at_once() {
    let world = World::new();
    let client = world.client("ann");
    world.run(open(&client));
    world.half_open();
    world.sleep_through(Duration::from_secs(3_600));
    let woken = world.now();
    world.run(open(&client));
    assert!(
        world.now() - woken < Duration::from_secs(2),
        "{:?}",
        world.now() - woken
    );
}

/// centrifuge-js#203: slow recovery after the network returns.
#[test]
fn online_visible_and_page_show_connect_at_once() {
    for event in [PageEvent::Online, PageEvent::Visible, PageEvent::Show] {
        let world = World::new();
        world.refuse(true);
        let client = world.client("ann");
        world.advance(Duration::from_secs(300));
        world.refuse(false);
        let before = world.now();
        world.page(event);
        world.run(open(&client));
        assert_eq!(world.now(), before, "{event:?}");
    }
}

/// socket.io#5232, whatwg/html#12085: the back/forward cache.
#[test]
fn a_hidden_page_has_no_connection_and_reconnects_when_it_is_shown() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        let mut room = join(&client);
        joined(&mut room).await;
        world.page(PageEvent::Hide);
        assert_eq!(client.status(), Status::Suspended(SuspendReason::Asleep));
        assert_eq!(world.connections(), 0);
        world.publish("lobby", "elsewhere", &5).unwrap();
        let delivery = room.try_send(&6).unwrap();
        world.wait(Duration::from_secs(500)).await;
        assert_eq!((world.connections(), world.attempts()), (0, 1));
        world.page(PageEvent::Show);
        delivery.await.unwrap();
        assert!(matches!(next(&mut room).await, Event::Recovered(_)));
        assert_eq!(numbers(&mut room, 2).await, [5, 6]);
    });
}

#[test]
fn no_attempts_are_made_while_offline() {
    let world = World::new();
    world.refuse(true);
    let client = world.client("ann");
    world.settle();
    world.page(PageEvent::Offline);
    assert_eq!(client.status(), Status::Suspended(SuspendReason::Offline));
    let attempts = world.attempts();
    world.advance(Duration::from_secs(600));
    assert_eq!(world.attempts(), attempts);
    world.refuse(false);
    world.page(PageEvent::Online);
    world.run(open(&client));
}

#[test]
fn a_token_is_requested_before_connecting_and_again_after_it_is_refused() {
    let world = World::new();
    let valid = Rc::new(RefCell::new("first".to_owned()));
    let asked = Rc::new(Cell::new(0));
    world.accept_tokens({
        let valid = valid.clone();
        move |token| token == Some(valid.borrow().as_str())
    });
    let provider = {
        let (world, asked) = (world.clone(), asked.clone());
        move || {
            asked.set(asked.get() + 1);
            let (world, count) = (world.clone(), asked.get());
            async move {
                // Getting a token takes time, as over a network.
                world.wait(Duration::from_millis(50)).await;
                Some(if count == 1 { "first" } else { "second" }.to_owned())
            }
        }
    };
    let client = world.builder().token(provider).build().unwrap();
    world.run(async {
        open(&client).await;
        assert_eq!(asked.get(), 1);
        *valid.borrow_mut() = "second".to_owned();
        world.cut();
        until(&client, "the token is refused", |_| asked.get() == 2).await;
        open(&client).await;
    });
}

#[test]
fn a_client_that_is_dropped_while_waiting_for_a_token_drops_the_future() {
    let world = World::new();
    let alive = Rc::new(());
    let provider = {
        let alive = alive.clone();
        move || {
            let alive = alive.clone();
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                None
            }
        }
    };
    let client = world.builder().token(provider).build().unwrap();
    world.settle();
    assert_eq!(Rc::strong_count(&alive), 3);
    drop(client);
    assert_eq!(Rc::strong_count(&alive), 1);
}

/// dioxus#5300 (AlreadyBorrowed) and leptos-use#160 (a panic when cleanup races the reconnect): every call inside every
/// callback.
#[test]
fn every_method_may_be_called_inside_every_callback() {
    let world = World::new();
    let slot: Rc<RefCell<Option<talkback_client::Client>>> = Rc::default();
    world.accept_tokens(|_| true);
    let everything = {
        let slot = slot.clone();
        move || {
            let Some(client) = slot.borrow().clone() else { return };
            let mut room = client.join::<u64>("lobby", &JoinOptions::default()).unwrap();
            room.try_send(&1).unwrap();
            room.signal(&2).unwrap();
            let _ = (
                room.members(),
                room.cursor(),
                client.status(),
                client.sender(),
                client.retry_in(),
            );
            assert!(room.history(talkback_client::Offset::ZERO, 5).now_or_never().is_none());
            let _ = room.next().now_or_never();
            client.connect();
        }
    };
    let client = world
        .builder()
        .on_fault({
            let everything = everything.clone();
            move |_| everything()
        })
        .token({
            let everything = everything.clone();
            move || {
                everything();
                let everything = everything.clone();
                async move {
                    everything();
                    Some("token".to_owned())
                }
            }
        })
        .build()
        .unwrap();
    slot.replace(Some(client.clone()));
    world.run(open(&client));
    world.close_all(close::UNAUTHORIZED, "");
    world.run(open(&client));
    world.settle();
    assert!(!world.log("lobby").unwrap().is_empty());
    slot.take();
}

#[test]
fn retry_in_is_the_time_from_now() {
    let world = World::new();
    world.refuse(true);
    let client = world.client("ann");
    world.advance(Duration::from_secs(60));
    world.run(async {
        until(&client, "waiting", |status| matches!(status, Status::Waiting { .. })).await;
        let retry_in = client.retry_in().unwrap();
        assert!(retry_in <= Duration::from_secs(20), "{retry_in:?}");
    });
}

/// The timeout of the ack is earlier than that of a silent connection.
#[test]
fn a_missing_ack_closes_the_connection_before_the_silence_timeout() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        open(&client).await;
        world.half_open();
        let sender = client.room_sender::<u64>("lobby").unwrap();
        let _delivery = sender.try_send(&1).unwrap();
        world.wait(Duration::from_secs(31)).await;
        assert_eq!(world.attempts(), 2);
    });
}

#[test]
fn a_message_whose_ttl_ends_before_the_next_attempt_fails_at_its_ttl() {
    let world = World::new();
    let outbox = OutboxOptions {
        ttl: Duration::from_secs(2),
        ..OutboxOptions::default()
    };
    world.refuse(true);
    let client = world.builder().outbox(outbox).build().unwrap();
    let is_far = || client.retry_in().is_some_and(|after| after > Duration::from_secs(5));
    assert!((0..600).any(|_| {
        world.advance(Duration::from_secs(1));
        is_far()
    }));
    let sender = client.room_sender::<u64>("lobby").unwrap();
    let sent = sender.try_send(&1).unwrap();
    world.advance(Duration::from_secs(3));
    assert_eq!(sent.now_or_never(), Some(Err(FailReason::Expired)));
}

#[test]
fn how_large_a_message_may_be_is_known_once_the_connection_was_open() {
    let mut options = ServerOptions::default();
    options.limits.body_bytes = 1_234;
    let world = World::with_options(options);
    let client = world.client("ann");
    assert_eq!(client.max_body_bytes(), None);
    world.settle();
    assert_eq!(client.max_body_bytes(), Some(1_234));
    world.cut();
    world.refuse(true);
    world.settle();
    assert_eq!(client.max_body_bytes(), Some(1_234), "also without a connection");
}

#[test]
fn a_check_finds_a_dead_connection_and_leaves_a_living_one_alone() {
    let world = World::new();
    let client = world.client("ann");
    world.run(async {
        client.check();
        open(&client).await;
        client.check();
    });
    world.advance(Duration::from_secs(8));
    assert_eq!(world.attempts(), 1, "the server answered");
    world.half_open();
    client.check();
    world.advance(Duration::from_secs(8));
    assert_eq!(world.attempts(), 2);
    client.stop();
    client.check();
    world.advance(Duration::from_secs(8));
    assert_eq!(client.status(), Status::Stopped(StopReason::Asked));
}
