//! What is typed at the server's terminal goes to every connected page.
//!
//! `cargo run -p talkback-server --example operator`, open the address it prints in some tabs, and type.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, State},
    response::{Html, Response},
    routing::get,
};
use talkback_protocol::{Body, RoomName, UserName};
use talkback_server::{
    engine::{Memory, MemoryOptions},
    hub::{Hub, HubOptions},
    socket::{Sockets, Upgrade},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    net::TcpListener,
};

#[derive(Clone)]
struct App {
    sockets: Sockets,
    hub: Hub,
    everybody: RoomName,
    operator: UserName,
}

impl FromRef<App> for Sockets {
    fn from_ref(app: &App) -> Self {
        app.sockets.clone()
    }
}

async fn pages(upgrade: Upgrade, State(app): State<App>) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let Ok(_membership) = app.hub.join(&app.everybody, &app.operator, socket.sender()) else {
            return;
        };
        if socket
            .send("connected: wait for the operator to type something")
            .await
            .is_ok()
        {
            // Pages have nothing to say here; this waits for their end.
            while socket.recv().await.is_some() {}
        }
    })
}

const PAGE: &str = "<!DOCTYPE html><title>Operator</title><ul id=lines></ul><script>
new WebSocket(location.href.replace('http', 'ws') + 'pages').onmessage = (event) => {
    const line = document.createElement('li');
    line.textContent = event.data;
    document.getElementById('lines').append(line);
};</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = App {
        sockets: Sockets::new(Default::default()),
        hub: Hub::new(HubOptions::default(), Arc::new(Memory::new(MemoryOptions::default()))),
        everybody: RoomName::parse("everybody")?,
        operator: UserName::parse("operator")?,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("open http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/pages", get(pages))
        .with_state(app.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        app.hub.publish(&app.everybody, &app.operator, Body::text(&line)).await;
    }
    Ok(())
}
