//! A chat in one room: what the frontends with a `Client` have in common.

use futures_util::StreamExt;
use talkback_client::{Client, ClientBuilder, Event, JoinOptions, RoomSender, Status, UserName};
use wasm_bindgen_futures::spawn_local;

use crate::{on_line, show, show_error};

type Error = Box<dyn std::error::Error>;

/// Shows the connection's state and the messages of a room, and sends each line that the user enters.
pub fn chat(options: impl FnOnce(ClientBuilder) -> ClientBuilder + 'static) {
    spawn_local(async {
        if let Err(error) = run(options).await {
            show_error(&error);
        }
    });
}

async fn run(options: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<(), Error> {
    let builder = Client::builder("/ws").name(UserName::parse("ann")?);
    let client = options(builder).build()?;
    let mut changes = client.status_changes();
    spawn_local(async move {
        while let Some(status) = changes.next().await {
            show(match status {
                Status::Connecting => "connecting",
                Status::Open { .. } => "open",
                Status::Waiting { .. } => "waiting",
                Status::Suspended(_) => "suspended",
                Status::Stopped(_) => "stopped",
            });
        }
    });
    let mut room = client.join::<String>("lobby", &JoinOptions::default())?;
    let sender = room.sender().clone();
    on_line(move |line| spawn_local(send(sender.clone(), line)));
    while let Some(event) = room.next().await {
        match event {
            Event::Message(message) => {
                let text = message.body.known().map_or("?", String::as_str);
                show(&format!("{}: {text}", message.from.user));
            }
            Event::Joined(room) | Event::Recovered(room) => show(&format!("{} people", room.users)),
            Event::Presence { users, .. } => show(&format!("{users} people")),
            Event::Reset(_) => show("some messages are missing"),
            Event::Refused { message, .. } => show(&message),
            Event::Lost { .. } | Event::Signal { .. } | Event::Left(_) => {}
        }
    }
    Ok(())
}

async fn send(room: RoomSender<String>, line: String) {
    match room.send(&line).await {
        Ok(delivery) => {
            if let Err(reason) = delivery.await {
                show_error(&reason);
            }
        }
        Err(error) => show_error(&error),
    }
}
