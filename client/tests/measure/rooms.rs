//! A burst of messages of a room, from the network to the application.

use std::hint::black_box;

use futures_util::{FutureExt, StreamExt, future::join_all};
use gloo_net::http::Method;
use js_sys::{Function, Promise};
use talkback_client::{
    Client, Cursor, Event, InboxOptions, JoinOptions, JoinedRoom, Offset, Room, Status, UserName, test_util::World,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use crate::{
    MESSAGES, cpu_time, interval, now,
    support::{Empty, ask, port, release, server, within},
};

const ROUNDS: usize = 7;
const PUBLISHERS: u32 = 80;

/// With its quotation marks the body has 100 bytes.
fn body() -> String {
    "x".repeat(98)
}

fn room_name() -> String {
    format!("burst-{}", js_sys::Math::random().to_bits())
}

/// An inbox with capacity for all messages, so that reading the log again is not measured.
fn options(since: Option<Cursor>) -> JoinOptions {
    JoinOptions {
        since,
        history: 0,
        inbox: InboxOptions {
            events: usize::MAX,
            bytes: usize::MAX,
        },
    }
}

async fn open_client() -> Client {
    let client = Client::builder(&server("/ws")).build().unwrap();
    let mut changes = client.status_changes();
    while !matches!(within("open", changes.next()).await, Some(Status::Open { .. })) {}
    client
}

async fn joined(room: &mut Room<String>) -> JoinedRoom {
    match within("joined", room.next()).await {
        Some(Event::Joined(joined)) => joined,
        other => panic!("{other:?}"),
    }
}

async fn read_burst(room: &mut Room<String>) {
    let mut count = 0;
    // One deadline for all: a timer for each message costs as much as the message.
    within("the burst", async {
        while count < MESSAGES {
            match room.next().await.unwrap() {
                Event::Message(message) => {
                    black_box(message.body.known().unwrap());
                    count += 1;
                }
                Event::Recovered(_) | Event::Presence { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

fn microseconds_a_message(start: f64) -> f64 {
    (now() - start) * 1000.0 / f64::from(MESSAGES)
}

/// What a burst costs, in microseconds a message.
#[derive(Default)]
struct Costs {
    /// CPU time of the page's main thread.
    cpu: Vec<f64>,
    /// Until the last message was read: with the work of the publishers, the server and the browser's network process,
    /// which share the machine with the page.
    time: Vec<f64>,
}

/// The begin of a burst.
struct Begin {
    cpu: f64,
    time: f64,
}

impl Begin {
    async fn now() -> Self {
        Self {
            cpu: cpu_time().await,
            time: now(),
        }
    }

    /// The burst was read.
    async fn end(self, costs: &mut Costs) {
        costs.time.push(microseconds_a_message(self.time));
        costs.cpu.push((cpu_time().await - self.cpu) / f64::from(MESSAGES));
    }
}

/// A member receives the messages while they are sent.
async fn receive_live(costs: &mut Costs) {
    let name = room_name();
    // Native ones, so that the browser only receives.
    let connect = format!(
        "/publishers?port={}&room={name}&count={PUBLISHERS}&messages={}&bytes={}",
        port(1),
        MESSAGES / PUBLISHERS,
        body().len()
    );
    let _: Empty = ask(Method::POST, &connect).await;
    let client = open_client().await;
    let mut room = client.join::<String>(&name, &options(None)).unwrap();
    joined(&mut room).await;
    let begin = Begin::now().await;
    release("/publishers", &name).await;
    read_burst(&mut room).await;
    begin.end(costs).await;
}

/// A member joins with its cursor and receives the messages that it missed.
async fn receive_missed(name: &str, costs: &mut Costs) {
    let witness = open_client().await;
    let joined = joined(&mut witness.join(name, &options(None)).unwrap()).await;
    let since = Cursor {
        epoch: joined.epoch,
        offset: Offset::new(joined.head.get() - u64::from(MESSAGES)).unwrap(),
    };
    let client = open_client().await;
    let begin = Begin::now().await;
    let mut room = client.join::<String>(name, &options(Some(since))).unwrap();
    read_burst(&mut room).await;
    begin.end(costs).await;
}

/// The same burst in plain JavaScript: one message in each frame, of the size that a message has with offset, sender
/// and time.
async fn receive_with_javascript(costs: &mut Costs) {
    let run = Function::new_with_args(
        "url",
        "return new Promise(resolve => {
            const socket = new WebSocket(url);
            let sum = 0;
            socket.onmessage = event => { sum += event.data.length; };
            socket.onclose = () => resolve(sum);
        })",
    );
    let url = server(&format!("/flood?n={MESSAGES}&size=230"));
    let begin = Begin::now().await;
    let received = run.call1(&JsValue::UNDEFINED, &url.into()).unwrap();
    JsFuture::from(received.unchecked_into::<Promise>()).await.unwrap();
    begin.end(costs).await;
}

#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn a_burst_of_a_room() {
    let name = room_name();
    let client = Client::builder(&server("/ws"))
        .name(UserName::parse("bob").unwrap())
        .build()
        .unwrap();
    let sender = client.room_sender::<String>(&name).unwrap();
    let mut deliveries = Vec::new();
    for _ in 0..MESSAGES {
        deliveries.push(sender.send(&body()).await.unwrap());
    }
    for acked in join_all(deliveries).await {
        acked.unwrap();
    }
    let (mut live, mut missed, mut plain) = (Costs::default(), Costs::default(), Costs::default());
    for _ in 0..ROUNDS {
        receive_live(&mut live).await;
        receive_missed(&name, &mut missed).await;
        receive_with_javascript(&mut plain).await;
    }
    for (what, costs) in [
        (
            "a member joins with its cursor and receives the messages that it missed",
            missed,
        ),
        (
            "a member receives them while 80 clients on the same machine send 125 messages each",
            live,
        ),
        (
            "plain JavaScript that does not parse them, one message per frame, as large as a room's message with offset, sender and time",
            plain,
        ),
    ] {
        console_log!("| {what} | {} | {} |", interval(costs.cpu), interval(costs.time));
    }
}

/// The same in memory, to measure the part that is not the network; it includes the server's work.
#[wasm_bindgen_test]
#[ignore = "a measurement"]
fn a_burst_of_a_room_in_memory() {
    let world = World::new();
    let client = world.client("ann");
    let mut room = client.join::<String>("lobby", &options(None)).unwrap();
    world.settle();
    let body = body();
    let start = now();
    for _ in 0..MESSAGES {
        world.publish("lobby", "bob", &body).unwrap();
    }
    world.settle();
    let mut count = 0;
    while let Some(Some(event)) = room.next().now_or_never() {
        count += u32::from(matches!(event, Event::Message(_)));
    }
    assert_eq!(count, MESSAGES);
    console_log!("in memory: {:.1} microseconds a message", microseconds_a_message(start));
}
