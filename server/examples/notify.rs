//! A server for notifications: Talkback for the connections, and an application that says who is in which group and
//! addresses users.
//!
//! `cargo run -p talkback-server --example notify`; then open a client as `ann`, whose `Client::direct` counts.

use std::time::Duration;

use talkback_protocol::{Body, UserName};
use talkback_server::{AppOptions, AppState, names, serve, shutdown};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = AppOptions {
        address_users: true,
        ..AppOptions::default()
    };
    let staff = names::group("staff")?;
    let app = AppState::open(&options)?.with_groups(move |user: &UserName| match &**user {
        "ann" | "bob" => vec![staff.clone()],
        _ => Vec::new(),
    });
    let (hub, shop, ann) = (app.hub().clone(), names::user("shop")?, names::user("ann")?);
    tokio::spawn(async move {
        for number in 1_u32.. {
            let outcome = hub
                .publish(&names::user_room(&ann), &shop, Body::text(&number.to_string()))
                .await;
            println!("to ann: {outcome:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, None, &options, app, async { drop(shutdown::signal().await) }).await?;
    Ok(())
}
