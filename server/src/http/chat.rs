//! `/chat/{room}`: plain text group chat. What one member sends, all members of the room receive as `[name] text`.
//!
//! A binary message has no place for the name, so it closes the sender's socket with 1003.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use talkback_protocol::{RoomName, UserName, close};

use super::assets::{self, Assets};
use crate::{
    engine::Outcome,
    hub::Hub,
    limits::{NewRooms, Peer},
    names,
    socket::{Message, Upgrade},
};

#[derive(Deserialize)]
pub(crate) struct ChatQuery {
    #[serde(default = "default_name")]
    name: String,
}

fn default_name() -> String {
    "user".to_owned()
}

pub(crate) async fn chat(
    upgrade: Option<Upgrade>,
    Path(room): Path<String>,
    Query(query): Query<ChatQuery>,
    State(hub): State<Hub>,
    State(assets): State<Arc<Assets>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let room = match RoomName::parse(&room) {
        Ok(room) => room,
        Err(error) => return refused(&error),
    };
    if let Err(problem) = names::room(&room) {
        return refused(&problem);
    }
    let Some(upgrade) = upgrade else {
        return assets::respond_with_page(&assets, &headers);
    };
    match names::user(&query.name) {
        Ok(name) => {
            let new_rooms = peer.map(|Extension(peer)| peer.new_rooms()).unwrap_or_default();
            socket(upgrade, hub, new_rooms, room, name)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &impl std::error::Error) -> Response {
    (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
}

fn socket(upgrade: Upgrade, hub: Hub, new_rooms: NewRooms, room: RoomName, name: UserName) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        if let Err(after) = hub.may_begin(&room, &new_rooms) {
            let reason = close::retry_after_reason(after);
            return socket.sender().close_by_server(close::TOO_MANY, &reason);
        }
        let membership = match hub.join(&room, &name, socket.sender()) {
            Ok(membership) => membership,
            Err(error) => return socket.sender().close_by_server(close::TOO_MANY, &error.to_string()),
        };
        drop((room, name));
        while let Some(message) = socket.recv().await {
            let Message::Text(text) = message else {
                return socket
                    .sender()
                    .close_by_server(close::UNSUPPORTED_DATA, "this room takes text only");
            };
            if let Outcome::Refused(refusal) = membership.publish_text(text.as_str()).await {
                // Plain chat has no other way to say that a message was not taken.
                let code = match refusal.retry_after {
                    Some(_) => close::TRY_AGAIN_LATER,
                    None => close::MESSAGE_TOO_BIG,
                };
                return socket.sender().close_by_server(code, &refusal.message);
            }
        }
    })
}
