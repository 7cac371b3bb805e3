//! A burst of messages of a room, from the network to the application.

use std::hint::black_box;

use futures_util::{FutureExt, StreamExt, future::join_all};
use js_sys::{Function, Promise};
use talkback_client::{
    Client, Cursor, Event, InboxOptions, JoinOptions, JoinedRoom, Offset, Room, Status, UserName, test_util::World,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};
use web_sys::{Blob, Url, Worker};

use crate::{
    MESSAGES, interval, now,
    support::{server, within},
};

const ROUNDS: usize = 7;
/// How many messages one sender sends. A server allows 128 messages in flight for each client by default.
const SENT_PER_CLIENT: u32 = 125;

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

/// Clients in a worker, so that the page only receives.
struct Senders(Worker);

impl Senders {
    async fn connect(room: &str) -> Self {
        let script = format!(
            "const lines = Array.from({{ length: {SENT_PER_CLIENT} }}, (_, index) =>
                JSON.stringify({{ publish: {{
                    room: '{room}', seq: index + 1, id: String(index).padStart(16, '0'), first: index === 0, body: '{}',
                }} }}));
            const text = lines.join('\\n');
            const key = () => Array.from(crypto.getRandomValues(new Uint32Array(4)),
                word => word.toString(16).padStart(8, '0')).join('');
            const connect = () => new Promise(resolve => {{
                const socket = new WebSocket('{}', 'talkback.v1');
                socket.onopen = () => socket.send(JSON.stringify({{ hello: {{ client: key() }} }}));
                socket.onmessage = () => {{ socket.onmessage = null; resolve(socket); }};
            }});
            Promise.all(Array.from({{ length: {} }}, connect)).then(sockets => {{
                onmessage = () => sockets.forEach(socket => socket.send(text));
                postMessage('connected');
            }});",
            body(),
            server("/ws"),
            MESSAGES / SENT_PER_CLIENT,
        );
        let parts = js_sys::Array::of1(&script.into());
        let url = Url::create_object_url_with_blob(&Blob::new_with_str_sequence(&parts).unwrap()).unwrap();
        let worker = Worker::new(&url).unwrap();
        let connected = Promise::new(&mut |resolve, _| worker.set_onmessage(Some(&resolve)));
        within("senders", JsFuture::from(connected)).await.unwrap();
        Self(worker)
    }

    fn send(&self) {
        self.0.post_message(&JsValue::NULL).unwrap();
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.0.terminate();
    }
}

/// A member receives the messages while they are sent.
async fn receive_live() -> f64 {
    let name = room_name();
    let senders = Senders::connect(&name).await;
    let client = open_client().await;
    let mut room = client.join::<String>(&name, &options(None)).unwrap();
    joined(&mut room).await;
    let start = now();
    senders.send();
    read_burst(&mut room).await;
    microseconds_a_message(start)
}

/// A member joins with its cursor and receives the messages that it missed.
async fn receive_missed(name: &str) -> f64 {
    let witness = open_client().await;
    let joined = joined(&mut witness.join(name, &options(None)).unwrap()).await;
    let since = Cursor {
        epoch: joined.epoch,
        offset: Offset::new(joined.head.get() - u64::from(MESSAGES)).unwrap(),
    };
    let client = open_client().await;
    let start = now();
    let mut room = client.join::<String>(name, &options(Some(since))).unwrap();
    read_burst(&mut room).await;
    microseconds_a_message(start)
}

/// The same burst in plain JavaScript: one message in each frame, of the size that a message has with offset, sender
/// and time.
async fn receive_with_javascript() -> f64 {
    let run = Function::new_with_args(
        "url",
        "return new Promise(resolve => {
            const socket = new WebSocket(url);
            let start, sum = 0;
            socket.onopen = () => { start = performance.now(); };
            socket.onmessage = event => { sum += event.data.length; };
            socket.onclose = () => resolve(performance.now() - start);
        })",
    );
    let url = server(&format!("/flood?n={MESSAGES}&size=230"));
    let took = run.call1(&JsValue::UNDEFINED, &url.into()).unwrap();
    let took = JsFuture::from(took.unchecked_into::<Promise>()).await.unwrap();
    took.as_f64().unwrap() * 1000.0 / f64::from(MESSAGES)
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
    let (mut live, mut missed, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        live.push(receive_live().await);
        missed.push(receive_missed(&name).await);
        plain.push(receive_with_javascript().await);
    }
    for (what, times) in [
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
        console_log!("| {what} | {} |", interval(times));
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
