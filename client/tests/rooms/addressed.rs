//! What a back end addresses to the user.

use futures_util::StreamExt;
use gloo_net::http::Method;
use talkback_client::{Addressee, Direct, DirectOptions, Event};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{
    Network, open,
    support::{Empty, ask, port, unique, within},
};

async fn address(user: &str, number: u64) {
    let path = format!("/address?port={}&user={user}&body={number}", port(1));
    let _: Empty = ask(Method::POST, &path).await;
}

async fn numbers(direct: &mut Direct<u64>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let directed = within("what is addressed", direct.next())
            .await
            .expect("it does not end");
        assert_eq!(directed.to, Addressee::User);
        match directed.event {
            Event::Message(message) => numbers.push(*message.body.known().expect("a number")),
            Event::Joined(_) | Event::Recovered(_) => {}
            other => panic!("{other:?}"),
        }
    }
    numbers
}

#[wasm_bindgen_test]
async fn what_is_addressed_to_the_user_comes_once_and_in_order_over_connections_that_are_cut() {
    let network = Network::shared().await;
    let user = format!("addressed-{}", unique());
    let client = network.client(&user).build().unwrap();
    let mut direct = client.direct(&DirectOptions::default());
    open(&client).await;
    for number in 0..10 {
        if number % 2 == 0 {
            network.cut((number % 4 == 0).then_some(100)).await;
        }
        address(&user, number).await;
    }
    assert_eq!(numbers(&mut direct, 10).await, (0..10).collect::<Vec<_>>());
    let since = direct.cursors();
    drop((direct, client));
    address(&user, 10).await;
    let client = network.client(&user).build().unwrap();
    let mut direct = client.direct(&DirectOptions {
        since,
        ..DirectOptions::default()
    });
    assert_eq!(numbers(&mut direct, 1).await, [10], "a later page reads on");
}
