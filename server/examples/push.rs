//! Results that go to the page as soon as each is ready, while the next is computed.
//!
//! `cargo run -p talkback-server --example push`, then in a browser's console:
//! `new WebSocket("ws://127.0.0.1:PORT/primes?below=1000").onmessage = (event) => console.log(event.data)`

use axum::{Router, extract::Query, response::Response, routing::get};
use serde::Deserialize;
use talkback_server::socket::{Sockets, Upgrade};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Job {
    below: u64,
}

async fn primes(upgrade: Upgrade, Query(job): Query<Job>) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        for candidate in 2..job.below {
            // Heavy work belongs on a thread of its own. When the page goes away, this handler is dropped at the
            // `.await`.
            let prime = tokio::task::spawn_blocking(move || is_prime(candidate)).await;
            if prime.is_ok_and(|prime| prime) && socket.send(candidate.to_string()).await.is_err() {
                return;
            }
        }
    })
}

fn is_prime(number: u64) -> bool {
    (2..number)
        .take_while(|divisor| divisor * divisor <= number)
        .all(|divisor| !number.is_multiple_of(divisor))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = Router::new()
        .route("/primes", get(primes))
        .with_state(Sockets::new(Default::default()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await
}
