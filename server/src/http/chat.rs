//! `/chat/{room}`: plain text group chat. What one member sends, all members of the room receive as `[name] text`.
//!
//! A binary message has no place for the name, so it closes the sender's socket with 1003. A member that sends faster than a session may,
//! or than its room can be delivered, is slowed down: its next messages are taken later, and TCP tells it to wait.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use talkback_protocol::{Body, RoomName, UserName, close};
use tokio::time::Instant;

use super::assets::{self, Assets};
use crate::{
    budget::{Bucket, Rate},
    engine::Outcome,
    hub::Hub,
    limits::{NewRooms, Peer},
    names,
    socket::{Message, Socket, Upgrade},
};

/// Bounds of plain chat, the same as those of sessions.
#[derive(Debug)]
pub(crate) struct ChatOptions {
    /// Bytes of a message as JSON, in which it is kept.
    pub(crate) max_body: usize,
    /// Messages a second.
    pub(crate) lines: Rate,
    /// Bytes of messages a second.
    pub(crate) bytes: Rate,
}

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
    (State(hub), State(options), State(assets)): (State<Hub>, State<Arc<ChatOptions>>, State<Arc<Assets>>),
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
            socket(upgrade, hub, options, new_rooms, room, name)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &impl std::error::Error) -> Response {
    (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
}

fn socket(
    upgrade: Upgrade,
    hub: Hub,
    options: Arc<ChatOptions>,
    new_rooms: NewRooms,
    room: RoomName,
    name: UserName,
) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let beginning = match hub.may_begin(&room, &new_rooms) {
            Ok(beginning) => beginning,
            Err(after) => {
                let reason = close::retry_after_reason(after);
                return socket.sender().close_by_server(close::TOO_MANY, &reason);
            }
        };
        let joined = hub.join(&room, &name, socket.sender());
        beginning.settle();
        let membership = match joined {
            Ok(membership) => membership,
            Err(error) => return socket.sender().close_by_server(close::TOO_MANY, &error.to_string()),
        };
        drop((room, name));
        let mut pace = Pace::new();
        while let Some(message) = socket.recv().await {
            let Message::Text(text) = message else {
                return socket
                    .sender()
                    .close_by_server(close::UNSUPPORTED_DATA, "this room takes text only");
            };
            let body = Body::text(text.as_str());
            let bytes = body.json().len();
            if bytes > options.max_body {
                let reason = format!("a message may have at most {} bytes as JSON", options.max_body);
                return socket.sender().close_by_server(close::MESSAGE_TOO_BIG, &reason);
            }
            let now = Instant::now();
            let mut pause = pace.take(&options, bytes, now);
            let outcome = membership.publish(body).await;
            if let Outcome::Added(_) = outcome {
                pause = pause.max(membership.charge(bytes, now));
            }
            if let Outcome::Refused { refusal, .. } = outcome {
                // Plain chat has no other way to say that a message was not taken.
                let code = match refusal.retry_after {
                    Some(_) => close::TRY_AGAIN_LATER,
                    None => close::MESSAGE_TOO_BIG,
                };
                return socket.sender().close_by_server(code, &refusal.message);
            }
            if let Some(until) = pause {
                // Boxed, because few members ever pause and each would hold the timer.
                Box::pin(rest(until, &socket)).await;
            }
        }
    })
}

/// Takes nothing from the socket before `until`. When the socket is closed, the little that has come is taken at once.
async fn rest(until: Instant, socket: &Socket) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        _ = socket.closed() => {}
    }
}

/// What one member sent, in messages and in bytes.
struct Pace {
    lines: Bucket,
    bytes: Bucket,
}

impl Pace {
    fn new() -> Self {
        let bucket = Bucket::new(Instant::now());
        Self {
            lines: bucket,
            bytes: bucket,
        }
    }

    /// Until when to pause after a message of so many bytes.
    fn take(&mut self, options: &ChatOptions, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let lines = self.lines.take(&options.lines, 1, now);
        lines.max(self.bytes.take(&options.bytes, bytes, now))
    }
}
