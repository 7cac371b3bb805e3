//! Bursts, bounds, and whether the stream or a callback gets a message.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_util::{StreamExt, future::join};
use talkback_client::{InboundOptions, Message, Overflow, Socket, SocketOptions};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{connect, connect_with, next, server, turn, until, within};

const BURST: u64 = 10_000;

fn flood(n: u64) -> String {
    server(&format!("/flood?n={n}"))
}

/// A message of `/flood` begins with its number.
fn number(message: &Message) -> u64 {
    let text = message.as_text().expect("/flood sends text");
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("no number in {text:?}"))
}

fn assert_consecutive(numbers: &[u64]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "lost, duplicated or out of order");
    }
}

fn with_inbound(max_messages: usize, max_bytes: usize, overflow: Overflow) -> SocketOptions {
    SocketOptions {
        inbound: InboundOptions {
            max_messages,
            max_bytes,
            overflow,
        },
        ..SocketOptions::default()
    }
}

/// react-use-websocket#135, #200 and #237: with one slot for the last message, bursts are merged.
#[wasm_bindgen_test]
async fn a_burst_is_complete_and_in_order_in_the_stream() {
    let socket = connect(&flood(BURST)).await;
    let all = socket
        .take(BURST.try_into().unwrap())
        .map(|message| number(&message.unwrap()));
    let numbers: Vec<u64> = within("the whole burst", all.collect()).await;
    assert_eq!(numbers.len() as u64, BURST);
    assert_consecutive(&numbers);
}

#[wasm_bindgen_test]
async fn a_burst_is_complete_and_in_order_in_a_callback() {
    let numbers = Rc::new(RefCell::new(Vec::new()));
    let socket = Socket::new(&flood(BURST), &SocketOptions::default()).unwrap();
    let _guard = socket.on_message({
        let numbers = numbers.clone();
        move |message| numbers.borrow_mut().push(number(&message))
    });
    until("the whole burst", || numbers.borrow().len() as u64 == BURST).await;
    assert_consecutive(&numbers.borrow());
}

#[wasm_bindgen_test]
async fn a_burst_waits_in_the_queue_for_a_slow_reader() {
    let mut socket = connect(&flood(BURST)).await;
    let mut numbers = Vec::new();
    for _ in 0..BURST {
        numbers.push(number(&next(&mut socket).await));
        if numbers.len() % 100 == 0 {
            turn().await;
        }
    }
    assert_consecutive(&numbers);
}

#[wasm_bindgen_test]
async fn a_full_queue_closes_the_socket_and_the_error_follows_the_queued_messages() {
    let mut socket = connect_with(&server("/echo"), &with_inbound(10, usize::MAX, Overflow::Close)).await;
    for n in 0..20 {
        socket.send(n.to_string()).unwrap();
    }
    let end = within("the socket closes", socket.closed()).await;
    assert_eq!((end.code, end.was_clean), (4413, true));
    let kept: Vec<u64> = {
        let ten = socket.by_ref().take(10).map(|message| number(&message.unwrap()));
        ten.collect().await
    };
    assert_eq!(kept.len(), 10);
    assert_consecutive(&kept);
    let overflow = socket.next().await.unwrap().unwrap_err();
    assert!(overflow.lost > 0);
    assert_eq!(socket.next().await, None);
}

#[wasm_bindgen_test]
async fn a_queue_over_its_bytes_can_drop_the_oldest_and_reports_how_many() {
    let options = with_inbound(usize::MAX, 100 * 2 * 64, Overflow::DropOldest);
    let mut socket = connect_with(&server("/flood?n=1000&size=64"), &options).await;
    // The stream is not read before the last message has arrived.
    let end = within("the server closes", socket.closed()).await;
    assert!(end.was_clean, "the overflow did not close it: {end:?}");
    let overflow = socket.next().await.unwrap().unwrap_err();
    assert_eq!(overflow.lost, 900);
    let kept: Vec<u64> = socket.by_ref().map(|message| number(&message.unwrap())).collect().await;
    assert_eq!(kept, (900..1000).collect::<Vec<u64>>());
}

#[wasm_bindgen_test]
async fn messages_go_to_the_callback_while_its_guard_lives_and_to_the_stream_otherwise() {
    let mut socket = connect(&server("/echo")).await;
    let called = Rc::new(RefCell::new(Vec::new()));
    socket.send("one").unwrap();
    assert_eq!(next(&mut socket).await, Message::from("one"));

    let guard = socket.on_message({
        let called = called.clone();
        move |message| called.borrow_mut().push(message)
    });
    socket.send("two").unwrap();
    until("the callback", || called.borrow().len() == 1).await;
    drop(guard);
    socket.send("three").unwrap();
    assert_eq!(next(&mut socket).await, Message::from("three"));
    assert_eq!(*called.borrow(), [Message::from("two")]);
}

#[wasm_bindgen_test]
async fn the_first_callback_gets_the_queued_messages() {
    let socket = connect(&flood(1000)).await;
    within("the server closes", socket.closed()).await;
    let called = Rc::new(RefCell::new(Vec::new()));
    let _guard = socket.on_message({
        let called = called.clone();
        move |message| called.borrow_mut().push(number(&message))
    });
    assert!(called.borrow().is_empty(), "the callback does not run inside the call");
    until("the queue is delivered", || called.borrow().len() == 1000).await;
    assert_consecutive(&called.borrow());
}

#[wasm_bindgen_test]
async fn a_callback_in_the_middle_of_a_burst_gets_the_queue_before_later_messages() {
    let mut socket = connect(&flood(BURST)).await;
    let mut numbers = vec![number(&next(&mut socket).await)];
    turn().await;
    let called = Rc::new(RefCell::new(Vec::new()));
    let _guard = socket.on_message({
        let called = called.clone();
        move |message| called.borrow_mut().push(number(&message))
    });
    until("the rest", || called.borrow().len() as u64 == BURST - 1).await;
    numbers.extend(&*called.borrow());
    assert_consecutive(&numbers);
}

/// dioxus#5300: an AlreadyBorrowed panic when a message arrived during another call.
#[wasm_bindgen_test]
async fn handles_may_read_and_send_at_once_and_each_message_goes_to_one() {
    let socket = connect(&server("/echo")).await;
    let (mut first, mut second) = (socket.clone(), socket.clone());
    let count = 1000;
    let seen = Cell::new(0);
    let read = async |stream: &mut Socket| {
        let mut numbers = Vec::new();
        while seen.get() < count {
            let Some(message) = stream.next().await else { break };
            numbers.push(number(&message.unwrap()));
            seen.set(seen.get() + 1);
            if seen.get() == count {
                socket.close();
            }
        }
        numbers
    };
    for n in 0..count {
        socket.send(n.to_string()).unwrap();
    }
    let (one, two) = within("both readers", join(read(&mut first), read(&mut second))).await;
    let mut all = [one, two].concat();
    all.sort_unstable();
    assert_eq!(all.len(), 1000);
    assert_consecutive(&all);
}
