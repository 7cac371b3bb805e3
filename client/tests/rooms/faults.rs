//! Network faults, and servers that restart.

use std::time::Duration;

use futures_util::StreamExt;
use gloo_net::http::Method;
use talkback_client::{Event, JoinOptions, Status};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, client, dispatch, join, joined, messages, next, open, room_name,
    support::{Port, ask, connect, port, server, turn, within},
    until_status,
};

/// Exactly-once delivery. socket.io#5419: the same offset was replayed twice; socket.io#5363: messages were not sent
/// again; partykit#403: messages were lost when the socket was replaced.
#[wasm_bindgen_test]
async fn a_thousand_messages_survive_twenty_cuts_at_any_byte() {
    let network = Network::shared().await;
    let room = room_name();
    // Reconnect at once, however short the last session was.
    let member = |user| {
        let builder = network
            .client(user)
            .options(|options| options.backoff.reset_after = Duration::ZERO);
        builder.build().unwrap()
    };
    let (ann, bob) = (member("ann"), member("bob"));
    let mut rooms = [join(&ann, &room), join(&bob, &room)];
    let senders = rooms.each_ref().map(|room| room.sender().clone());
    for room in &mut rooms {
        joined(room).await;
    }
    let mut accepted = network.passed().await.accepted;
    let mut deliveries = Vec::new();
    for number in 0..1_000_u64 {
        if number % 50 == 25 {
            if number > 25 {
                network.until_accepted(accepted + 1).await;
            }
            network.until_open(2).await;
            accepted = network.passed().await.accepted;
            // At a random byte: in a header, in a message, in an acknowledgement.
            network.cut(Some(1 + (number * 7) % 300)).await;
        }
        let sender = &senders[usize::from(number % 2 == 1)];
        deliveries.push(within("a place in the outbox", sender.send(&number)).await.unwrap());
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(within("an acknowledgement", delivery).await.unwrap().offset.get());
    }
    offsets.sort_unstable();
    assert_eq!(
        offsets,
        (1..=1_000).collect::<Vec<_>>(),
        "each message is in the log once"
    );
    let [mut first, mut second] = rooms;
    let seen = messages(&mut first, 1_000).await;
    assert_eq!(seen, messages(&mut second, 1_000).await, "both have the same order");
    for parity in 0..2 {
        let own: Vec<_> = seen.iter().filter(|number| *number % 2 == parity).collect();
        assert!(own.is_sorted(), "the order of the sender");
    }
}

/// iOS never fires close (centrifuge-js#228): a half-open connection is detected at the event `online`.
#[wasm_bindgen_test]
async fn a_half_open_connection_is_replaced_and_nothing_is_lost() {
    let network = Network::shared().await;
    let (room, ann) = (room_name(), network.client("ann").build().unwrap());
    let mut inside = join(&ann, &room);
    joined(&mut inside).await;
    let elsewhere = client(port(1), "bob").build().unwrap();
    let other = elsewhere.room_sender::<u64>(&room).unwrap();

    network.set("stall=1").await;
    let delivery = inside.send(&1).await.unwrap();
    within("an acknowledgement", other.send(&2).await.unwrap())
        .await
        .unwrap();
    // The session probes the server only if it has received nothing for some time.
    within("the silence is noticed", async {
        while matches!(ann.status(), Status::Open { .. }) {
            dispatch(&web_sys::window().unwrap(), "online");
            turn().await;
        }
    })
    .await;
    network.set("").await;
    within("an acknowledgement", delivery).await.unwrap();
    let mut seen = messages(&mut inside, 2).await;
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
}

/// wire-webapp#21448: two open sockets of one client lost messages.
#[wasm_bindgen_test]
async fn a_client_has_one_connection_after_any_event() {
    let network = Network::shared().await;
    let client = network.client("ann").build().unwrap();
    let window = web_sys::window().unwrap();
    open(&client).await;
    for round in 0..20 {
        for event in ["online", "pageshow", "offline", "online"] {
            dispatch(&window, event);
            client.connect();
        }
        if round % 3 == 0 {
            network.cut(None).await;
        }
        open(&client).await;
    }
    network.until_open(1).await;
}

#[wasm_bindgen_test]
async fn connecting_is_retried_until_the_server_accepts() {
    let network = Network::shared().await;
    network.set("refuse=1").await;
    let client = network.client("ann").build().unwrap();
    until_status(
        &client,
        "three attempts",
        |status| matches!(status, Status::Waiting { attempt, .. } if *attempt >= 3),
    )
    .await;
    assert!(client.retry_in().unwrap_or_default().as_millis() <= 200);
    network.set("").await;
    open(&client).await;
}

#[wasm_bindgen_test]
async fn a_lost_log_is_a_reset_and_the_room_continues() {
    let Port { port } = ask(Method::POST, "/server").await;
    let (room, client) = (room_name(), client(port, "ann").build().unwrap());
    let mut inside = join(&client, &room);
    joined(&mut inside).await;
    within("an acknowledgement", inside.send(&1).await.unwrap())
        .await
        .unwrap();
    assert_eq!(messages(&mut inside, 1).await, [1]);

    let Port { port: same } = ask(Method::POST, &format!("/server?port={port}")).await;
    assert_eq!(same, port);
    let event = next(&mut inside).await;
    assert!(
        matches!(&event, Event::Reset(room) if room.head.get() == 0),
        "{event:?}"
    );
    within("an acknowledgement", inside.send(&2).await.unwrap())
        .await
        .unwrap();
    assert_eq!(messages(&mut inside, 1).await, [2]);
    let _: crate::support::Empty = ask(Method::DELETE, &format!("/server?port={port}")).await;
}

#[wasm_bindgen_test]
async fn a_slow_network_loses_no_message() {
    let network = Network::shared().await;
    network.set("delay_ms=30").await;
    let (room, client) = (room_name(), network.client("ann").build().unwrap());
    let mut inside = join(&client, &room);
    joined(&mut inside).await;
    for number in 0..100 {
        inside.send(&number).await.unwrap();
    }
    assert_eq!(messages(&mut inside, 100).await, (0..100).collect::<Vec<_>>());
}

#[wasm_bindgen_test]
async fn members_over_plain_text_and_over_the_session_share_a_room() {
    let room = room_name();
    let client = client(port(1), "ann").build().unwrap();
    let mut inside = client.join::<String>(&room, &JoinOptions::default()).unwrap();
    assert!(matches!(within("joined", inside.next()).await, Some(Event::Joined(_))));
    let mut plain = connect(&server(&format!("/chat/{room}?name=bob"))).await;
    plain.send("over plain text").unwrap();
    // The handshake is answered before the user is in the room; the own message shows that it is.
    while crate::support::next(&mut plain).await.as_text() != Some("[bob] over plain text") {}
    within(
        "an acknowledgement",
        inside.send(&"over the session".to_owned()).await.unwrap(),
    )
    .await
    .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Some(Event::Message(message)) = within("a message", inside.next()).await {
            seen.push(format!("[{}] {}", message.from.user, message.body.known().unwrap()));
        }
    }
    assert_eq!(seen, ["[bob] over plain text", "[ann] over the session"]);
    while crate::support::next(&mut plain).await.as_text() != Some("[ann] over the session") {}
}

/// react-use-websocket#135, #200, #237: hooks that hold only the last message lose bursts.
#[wasm_bindgen_test]
async fn a_burst_reaches_a_reader_that_reads_after_it() {
    let (room, client) = (room_name(), client(port(1), "ann").build().unwrap());
    let mut narrow = JoinOptions::default();
    narrow.inbox.events = 100;
    let mut inside = client.join::<u64>(&room, &narrow).unwrap();
    joined(&mut inside).await;
    let mut last = None;
    for number in 0..800 {
        last = Some(inside.send(&number).await.unwrap());
    }
    within("an acknowledgement", last.unwrap()).await.unwrap();
    assert_eq!(messages(&mut inside, 800).await, (0..800).collect::<Vec<_>>());
}
