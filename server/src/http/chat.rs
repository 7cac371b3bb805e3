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
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use talkback_protocol::{Body, RoomName, UserName, close};
use tokio::time::Instant;

use super::assets::{self, Assets};
use crate::{
    engine::Outcome,
    hub::Hub,
    limits::{Address, NewRooms, Peer},
    names,
    rate::{Bucket, Rate},
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
    /// How many of those who were over their rate when their connection ended are remembered.
    pub(crate) remembered: usize,
}

/// What plain chat keeps beside the rooms.
pub(crate) struct Chat {
    options: ChatOptions,
    paces: Paces,
}

impl Chat {
    pub(crate) fn new(options: ChatOptions) -> Self {
        Self {
            paces: Paces::new(options.remembered),
            options,
        }
    }
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
    (State(hub), State(chat), State(assets)): (State<Hub>, State<Arc<Chat>>, State<Arc<Assets>>),
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
            let address = peer.as_ref().map(|Extension(peer)| peer.address);
            let new_rooms = peer.map(|Extension(peer)| peer.new_rooms()).unwrap_or_default();
            socket(upgrade, hub, chat, address, new_rooms, room, name)
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
    chat: Arc<Chat>,
    address: Option<Address>,
    new_rooms: NewRooms,
    room: RoomName,
    name: UserName,
) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let charge = match hub.charge_new_room(&room, &new_rooms) {
            Ok(charge) => charge,
            Err(after) => {
                let reason = close::retry_after_reason(after);
                return socket.sender().close_by_server(close::TOO_MANY, &reason);
            }
        };
        let joined = hub.join(&room, &name, socket.sender());
        charge.settle();
        let membership = match joined {
            Ok(membership) => membership,
            Err(error) => return socket.sender().close_by_server(close::TOO_MANY, &error.to_string()),
        };
        drop(room);
        let options = &chat.options;
        let mut pace = Remembered::new(&chat.paces, (address, name));
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
            let mut pause = pace.pace.take(options, bytes, now);
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

/// Who is taken for the same member when it comes back. Plain chat has no keys, and a name alone may be anybody's. Who comes from the
/// same address with another name is another, as a session with another key is: what an address may do with many is bounded by its rate of
/// connections.
type Who = (Option<Address>, UserName);

/// What members took of their rates whose connections ended before it was paid for: coming back does not pay.
struct Paces {
    ended: Mutex<LruCache<Who, Pace>>,
    most: usize,
}

impl Paces {
    fn new(most: usize) -> Self {
        // Grows as it is needed: a cache that is made with its bound takes the memory at once.
        let ended = Mutex::new(LruCache::unbounded());
        Self { ended, most }
    }

    fn keep(&self, who: Who, pace: Pace, now: Instant) {
        if !pace.owes(now) || self.most == 0 {
            return;
        }
        let mut paces = self.ended.lock();
        // Of connections that overlapped, the one that used more counts.
        let pace = paces.peek(&who).map_or(pace, |kept| kept.more(&pace));
        paces.put(who, pace);
        if paces.len() > self.most {
            paces.pop_lru();
        }
        // What is paid for goes as fast as new ones come.
        for _ in 0..2 {
            if paces.peek_lru().is_none_or(|(_, oldest)| oldest.owes(now)) {
                break;
            }
            paces.pop_lru();
        }
    }

    fn take(&self, who: &Who) -> Option<Pace> {
        self.ended.lock().pop(who)
    }
}

/// A member's pace, which is kept when its connection ends.
struct Remembered<'a> {
    paces: &'a Paces,
    who: Who,
    pace: Pace,
}

impl<'a> Remembered<'a> {
    fn new(paces: &'a Paces, who: Who) -> Self {
        let pace = paces.take(&who).unwrap_or_else(|| Pace::new(Instant::now()));
        Self { paces, who, pace }
    }
}

impl Drop for Remembered<'_> {
    fn drop(&mut self) {
        self.paces.keep(self.who.clone(), self.pace, Instant::now());
    }
}

/// What one member sent, in messages and in bytes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    lines: Bucket,
    bytes: Bucket,
}

impl Pace {
    fn new(now: Instant) -> Self {
        let bucket = Bucket::new(now);
        Self {
            lines: bucket,
            bytes: bucket,
        }
    }

    /// Whether anything that was taken is not paid for.
    fn owes(&self, now: Instant) -> bool {
        !self.lines.is_full(now) || !self.bytes.is_full(now)
    }

    fn more(&self, other: &Self) -> Self {
        Self {
            lines: self.lines.max(other.lines),
            bytes: self.bytes.max(other.bytes),
        }
    }

    /// Until when to pause after a message of so many bytes.
    fn take(&mut self, options: &ChatOptions, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let lines = self.lines.take(&options.lines, 1, now);
        lines.max(self.bytes.take(&options.bytes, bytes, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_comes_back_goes_on_with_the_pace_it_had_and_few_are_remembered() {
        let start = Instant::now();
        let options = ChatOptions {
            max_body: 1000,
            lines: Rate::new(10, 10),
            bytes: Rate::new(0, 0),
            remembered: 3,
        };
        let who = |number: u32| (None, UserName::parse(&format!("user{number}")).unwrap());
        let paces = Paces::new(options.remembered);
        let mut pace = Pace::new(start);
        assert!((0..10).all(|_| pace.take(&options, 1, start).is_none()));
        // Of two that overlap, the one that used more counts.
        paces.keep(who(0), pace, start);
        paces.keep(who(0), Pace::new(start), start);
        let mut back = paces.take(&who(0)).unwrap();
        assert!(back.take(&options, 1, start).is_some(), "its burst is used up");
        assert!(paces.take(&who(0)).is_none(), "it is taken once");
        assert!(paces.take(&who(1)).is_none(), "others begin anew");
        (0..100).for_each(|number| paces.keep(who(number), pace, start));
        assert_eq!(paces.ended.lock().len(), options.remembered);
        // After a second all of it is paid for: then there is nothing to remember, and what is kept goes.
        let later = start + Duration::from_secs(2);
        paces.keep(who(200), pace, later);
        assert!(paces.take(&who(200)).is_none());
        let mut busy = Pace::new(later);
        busy.take(&options, 1, later);
        (201..203).for_each(|number| paces.keep(who(number), busy, later));
        assert_eq!(paces.ended.lock().len(), 2);
    }
}
