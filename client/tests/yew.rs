//! The hooks in a real browser, against the real server: every event reaches the reducer once, and unmounting frees
//! everything.

#![cfg(target_family = "wasm")]

mod support;

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use gloo_timers::callback::Timeout;
use talkback_client::{
    Client, Event, JoinOptions, Room, Status, UserName,
    test_util::World,
    yew::{ClientProvider, RoomReducer, use_client, use_room, use_room_with, use_status},
};
use wasm_bindgen_test::wasm_bindgen_test;
use yew::prelude::*;

use support::{references, server, turn, unique, until, until_references, within};

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

fn element() -> web_sys::Element {
    let document = web_sys::window().unwrap().document().unwrap();
    let element = document.create_element("div").unwrap();
    document.body().unwrap().append_child(&element).unwrap();
    element
}

fn client(user: &str) -> Client {
    let builder = Client::builder(&server("/ws")).name(UserName::parse(user).unwrap());
    builder.build().unwrap()
}

fn room_name() -> String {
    format!("yew-{}-{}", unique(), js_sys::Math::random().to_bits())
}

async fn joined(client: &Client, room: &str) -> Room<u64> {
    let mut inside = client.join::<u64>(room, &JoinOptions::default()).unwrap();
    let event = within("joined", inside.next()).await;
    assert!(matches!(event, Some(Event::Joined(_))), "{event:?}");
    inside
}

async fn publish(room: &Room<u64>, numbers: std::ops::Range<u64>) {
    let mut deliveries = Vec::new();
    for number in numbers {
        deliveries.push(room.send(&number).await.unwrap());
    }
    for acked in within("acknowledgements", join_all(deliveries)).await {
        acked.unwrap();
    }
}

async fn until_gone(room: &Room<u64>) {
    until("the component's user has left", || room.users() == Some(1)).await;
}

#[derive(Clone, PartialEq, Properties)]
struct PageProps {
    client: Client,
    room: AttrValue,
    #[prop_or(true)]
    shown: bool,
    #[prop_or(1)]
    copies: usize,
}

#[component]
fn Page(props: &PageProps) -> Html {
    let copies = (0..props.copies).map(|copy| html! { <List key={copy} room={props.room.clone()} /> });
    html! {
        <ClientProvider client={props.client.clone()}>
            if props.shown {
                { for copies }
            }
        </ClientProvider>
    }
}

#[derive(Clone, PartialEq, Properties)]
struct ListProps {
    room: AttrValue,
}

#[component]
fn List(props: &ListProps) -> Html {
    let room = use_room::<u64>(&props.room);
    let status = use_status();
    let status = matches!(status, Status::Open { .. });
    let numbers: Vec<_> = room
        .messages
        .iter()
        .map(|message| message.body.known().unwrap().to_string())
        .collect();
    let error = room.name_error().map(ToString::to_string);
    html! {
        <p data-open={status.to_string()} data-members={room.users().unwrap_or_default().to_string()}>
            { numbers.join(" ") }{ error }
        </p>
    }
}

fn shown(element: &web_sys::Element) -> String {
    element.text_content().unwrap()
}

fn text(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

fn props(client: &Client, room: &str) -> PageProps {
    PageProps {
        client: client.clone(),
        room: room.to_owned().into(),
        shown: true,
        copies: 1,
    }
}

fn render(element: &web_sys::Element, props: PageProps) -> AppHandle<Page> {
    yew::Renderer::<Page>::with_root_and_props(element.clone(), props).render()
}

#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<u64>>>);

thread_local! {
    static SEEN: Seen = Seen::default();
}

impl RoomReducer<u64> for Seen {
    fn take(&mut self, event: Event<u64>) {
        if let Event::Message(message) = event {
            SEEN.with(|seen| seen.0.borrow_mut().push(*message.body.known().unwrap()));
        }
    }
}

#[component]
fn Counting(props: &ListProps) -> Html {
    let room = use_room_with::<u64, Seen>(&props.room, &JoinOptions::default());
    let client = use_client();
    assert_eq!(*room.sender().unwrap().client(), client);
    html! {}
}

#[component]
fn CountingPage(props: &PageProps) -> Html {
    html! {
        <ClientProvider client={props.client.clone()}><Counting room={props.room.clone()} /></ClientProvider>
    }
}

/// react-use-websocket#135, #200, #237: hooks that hold only the last message lose bursts.
#[wasm_bindgen_test]
async fn every_message_of_a_burst_reaches_the_reducer_once() {
    let (room, sender, element) = (room_name(), client("bob"), element());
    let inside = joined(&sender, &room).await;
    SEEN.with(|seen| seen.0.borrow_mut().clear());
    let reader = client("ann");
    let app = yew::Renderer::<CountingPage>::with_root_and_props(element, props(&reader, &room)).render();
    until("the component's user has joined", || inside.users() == Some(2)).await;
    publish(&inside, 0..3_000).await;
    let count = || SEEN.with(|seen| seen.0.borrow().len());
    until("all messages", || count() >= 3_000).await;
    turn().await;
    let seen = SEEN.with(|seen| seen.0.borrow().clone());
    assert_eq!(seen, (0..3_000).collect::<Vec<_>>());
    app.destroy();
}

#[wasm_bindgen_test]
async fn a_component_shows_its_room_and_moves_to_another_with_its_name() {
    let (first, second, sender, element) = (room_name(), room_name(), client("bob"), element());
    let rooms = [joined(&sender, &first).await, joined(&sender, &second).await];
    publish(&rooms[0], 0..3).await;
    publish(&rooms[1], 10..12).await;
    let reader = client("ann");
    let mut app = render(&element, props(&reader, &first));
    until("the first room", || shown(&element) == text(0..3)).await;
    let p = element.query_selector("p").unwrap().unwrap();
    until("open", || p.get_attribute("data-open").as_deref() == Some("true")).await;
    until("both members", || {
        p.get_attribute("data-members").as_deref() == Some("2")
    })
    .await;

    app.update(props(&reader, &second));
    until("the second room", || shown(&element) == text(10..12)).await;
    until_gone(&rooms[0]).await;
    publish(&rooms[0], 3..4).await;
    publish(&rooms[1], 12..13).await;
    until("a new message of the second room", || shown(&element) == text(10..13)).await;

    app.update(props(&reader, "not a/room"));
    until("the rule for names", || {
        shown(&element).contains("the room name has the character")
    })
    .await;
    app.destroy();
    until_gone(&rooms[1]).await;
}

#[wasm_bindgen_test]
async fn several_components_share_a_membership_and_each_shows_all() {
    let (room, sender, element) = (room_name(), client("bob"), element());
    let inside = joined(&sender, &room).await;
    publish(&inside, 0..5).await;
    let reader = client("ann");
    let three = PageProps {
        copies: 3,
        ..props(&reader, &room)
    };
    let mut app = render(&element, three.clone());
    until("three lists", || {
        shown(&element) == [text(0..5), text(0..5), text(0..5)].concat()
    })
    .await;
    app.update(PageProps { copies: 1, ..three });
    publish(&inside, 5..7).await;
    until("a new message in one list", || shown(&element) == text(0..7)).await;
    app.destroy();
    until_gone(&inside).await;
}

/// Advances a world in the background, faster than real time, until it is dropped.
struct Pump(Rc<RefCell<Option<Timeout>>>);

impl Pump {
    fn start(world: &World) -> Self {
        fn turn(world: World, next: Rc<RefCell<Option<Timeout>>>) {
            world.advance(Duration::from_millis(50));
            let again = next.clone();
            let timeout = Timeout::new(1, move || turn(world, again));
            next.replace(Some(timeout));
        }
        let next = Rc::default();
        turn(world.clone(), Rc::clone(&next));
        Self(next)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// leptos-use#160: panics when the cleanup races a callback. Unmounts and events in any order.
#[wasm_bindgen_test]
async fn components_are_mounted_and_unmounted_at_any_moment_without_a_leak() {
    let world = World::new();
    let pump = Pump::start(&world);
    let inside = joined(&world.client("bob"), "lobby").await;
    let reader = world.client("ann");
    for warm_up in [true, false] {
        let before = references();
        for round in 0..if warm_up { 5 } else { 50_u64 } {
            let (element, shown, hidden) = (
                element(),
                props(&reader, "lobby"),
                PageProps {
                    shown: false,
                    ..props(&reader, "lobby")
                },
            );
            let mut app = render(&element, hidden.clone());
            // Yew 0.23 does not run the cleanup of effects of an app that is destroyed in the turn of the event loop
            // that rendered it.
            turn().await;
            app.update(shown.clone());
            let burst = inside.try_send(&round).unwrap();
            match round % 5 {
                0 => {}
                1 => turn().await,
                2 => {
                    within("an acknowledgement", burst).await.unwrap();
                }
                3 => {
                    app.update(hidden.clone());
                    app.update(props(&reader, "other"));
                    app.update(hidden);
                    app.update(shown);
                }
                _ => {
                    until("both have joined", || inside.users() == Some(2)).await;
                    app.update(props(&reader, "other"));
                    world.cut();
                    turn().await;
                }
            }
            app.destroy();
            element.remove();
        }
        until_gone(&inside).await;
        if !warm_up {
            until_references(before).await;
        }
    }
    drop(pump);
}

/// A component is tested without a server, as users of the crate do.
#[wasm_bindgen_test]
async fn a_component_can_be_tested_over_a_world_in_memory() {
    let (world, element) = (World::new(), element());
    world.publish("lobby", "bob", &1).unwrap();
    let app = render(&element, props(&world.client("ann"), "lobby"));
    let pump = Pump::start(&world);
    until("the message", || shown(&element) == "1").await;
    world.cut();
    world.publish("lobby", "bob", &2).unwrap();
    until("the next", || shown(&element) == "1 2").await;
    app.destroy();
    drop(pump);
}
