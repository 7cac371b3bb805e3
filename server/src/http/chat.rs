//! `/chat/{room}`: plain text group chat. All members of the room receive each member's messages as `[name] text`.
//!
//! A binary message cannot carry the name, so it closes the sender's socket with 1003. A member that sends faster than
//! a session may, or faster than its room is delivered, is read later, so that TCP slows it down.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use serde::Deserialize;
use talkback_protocol::{Body, RoomName, UserName, close, session::server::Refusal};
use tokio::time::Instant;

use super::assets::{self, Assets};
use crate::{
    engine::AppendOutcome,
    hub::{Allowances, Hub, Membership},
    limits::{Address, NewRooms, Peer},
    logging, names,
    options::AppOptions,
    rate::{Bucket, Rate},
    socket::{Message, Socket, Upgrade},
};

/// Messages of one member that the log has not answered. Further ones are read later.
const MAX_IN_FLIGHT: usize = 16;

/// Options of plain chat, the same as those of sessions.
#[derive(Debug)]
pub(crate) struct ChatOptions {
    /// Bytes of a message as JSON, in which the log keeps it.
    max_body: usize,
    /// Messages a second.
    lines: Rate,
    /// Bytes of messages a second.
    bytes: Rate,
    /// The number of members that are remembered because they were over their rate when their connection ended.
    remembered: usize,
}

impl ChatOptions {
    pub(crate) fn new(options: &AppOptions) -> Self {
        let amount = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            max_body: options.max_body(),
            lines: Rate::new(options.session_line_rate.into(), options.session_line_burst.into()),
            bytes: Rate::new(amount(options.session_byte_rate), amount(options.session_byte_burst)),
            remembered: options.hub_options().allowances,
        }
    }
}

/// The state of plain chat, besides the rooms.
pub(crate) struct Chat {
    options: ChatOptions,
    paces: Paces,
}

impl Chat {
    pub(crate) fn new(options: ChatOptions) -> Self {
        Self {
            paces: Paces::new(options.remembered, Pace::max),
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
    let (room, refusal) = match RoomName::parse(&room) {
        Ok(room) => {
            let refusal = names::room(&room).err().map(|problem| refused(&problem));
            (Some(room), refusal)
        }
        Err(error) => (None, Some(refused(&error))),
    };
    // The page says what is wrong with the name, in the user's language, and leads on.
    let wants_page = upgrade.is_none() && assets::accepts_page(&headers);
    if let Some(refusal) = refusal.filter(|_| !wants_page) {
        return refusal;
    }
    let (Some(upgrade), Some(room)) = (upgrade, room) else {
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
    logging::websocket_accepted("chat");
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
        if let Err(refusal) = membership.opened().await {
            return close_refused(&socket, &refusal);
        }
        let options = &chat.options;
        let mut pace = Remembered::new(&chat.paces, (address, name));
        // Empty while the log answers at once.
        let mut answers = FuturesOrdered::new();
        loop {
            let message = tokio::select! {
                biased;
                Some((bytes, outcome)) = answers.next(), if !answers.is_empty() => {
                    match added(&membership, bytes, outcome) {
                        Ok(Some(until)) => Box::pin(pause_until(until, &socket)).await,
                        Ok(None) => {}
                        Err(refusal) => return close_refused(&socket, &refusal),
                    }
                    continue;
                }
                message = socket.recv(), if answers.len() < MAX_IN_FLIGHT => message,
            };
            let Some(message) = message else { return };
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
            let mut pause = pace.pace.take(options, bytes, Instant::now());
            match membership.publish(body).at_once() {
                Ok(outcome) => match added(&membership, bytes, outcome) {
                    Ok(until) => pause = pause.max(until),
                    Err(refusal) => return close_refused(&socket, &refusal),
                },
                Err(later) => answers.push_back(later.map(move |outcome| (bytes, outcome)).boxed()),
            }
            if let Some(until) = pause {
                // Boxed, because few members pause and the future of each would hold the timer.
                Box::pin(pause_until(until, &socket)).await;
            }
        }
    })
}

/// Charges the member for a message of so many bytes that was added, and returns until when it should pause, if it
/// should.
fn added(membership: &Membership, bytes: usize, outcome: AppendOutcome) -> Result<Option<Instant>, Refusal> {
    match outcome {
        AppendOutcome::Added(_) => Ok(membership.charge(bytes, Instant::now())),
        AppendOutcome::Refused { refusal, .. } => Err(refusal),
        _ => Ok(None),
    }
}

/// Plain chat has no line that refuses one message.
fn close_refused(socket: &Socket, refusal: &Refusal) {
    let code = match refusal.retry_after {
        Some(_) => close::TRY_AGAIN_LATER,
        None => close::MESSAGE_TOO_BIG,
    };
    socket.sender().close_by_server(code, &refusal.message);
}

/// Reads nothing from the socket before `until`. When the socket is closed, the rest of what was received is read at
/// once.
async fn pause_until(until: Instant, socket: &Socket) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        _ = socket.closed() => {}
    }
}

/// The identity of a member over several connections. Plain chat has no keys, and several clients may use one name.
/// Another name from the same address is another member, as a session with another key is; an address with many names
/// is bounded by its rate of connections.
type Identity = (Option<Address>, UserName);

/// The paces of members whose connection ended while they were over their rate: a new connection does not reset it.
type Paces = Allowances<Identity, Pace>;

/// A member's pace, which is kept in [`Paces`] when its connection ends.
struct Remembered<'a> {
    paces: &'a Paces,
    member: Identity,
    pace: Pace,
}

impl<'a> Remembered<'a> {
    fn new(paces: &'a Paces, member: Identity) -> Self {
        let now = Instant::now();
        let pace = paces
            .take(&member, now)
            .map_or_else(|| Pace::new(now), |(pace, _)| pace);
        Self { paces, member, pace }
    }
}

impl Drop for Remembered<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.paces
            .keep(self.member.clone(), self.pace, self.pace.full_at(now), now);
    }
}

/// What one member used of its rates of messages and bytes.
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

    /// The time from which it is the same as a new one.
    fn full_at(&self, now: Instant) -> Instant {
        now + self.lines.used(now).max(self.bytes.used(now))
    }

    fn max(&self, other: &Self) -> Self {
        Self {
            lines: self.lines.max(other.lines),
            bytes: self.bytes.max(other.bytes),
        }
    }

    /// Counts a message of this size and returns until when to pause.
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
    fn a_new_connection_continues_the_pace_of_the_one_before() {
        let start = Instant::now();
        let options = ChatOptions {
            max_body: 1000,
            lines: Rate::new(10, 10),
            bytes: Rate::new(0, 0),
            remembered: 3,
        };
        let member = |number: u32| (None, UserName::parse(&format!("user{number}")).unwrap());
        let paces = Paces::new(options.remembered, Pace::max);
        let keep = |number, pace: Pace, now| paces.keep(member(number), pace, pace.full_at(now), now);
        let mut pace = Pace::new(start);
        assert!((0..10).all(|_| pace.take(&options, 1, start).is_none()));
        // Of two overlapping connections the one that used more counts.
        keep(0, pace, start);
        keep(0, Pace::new(start), start);
        let (mut back, _) = paces.take(&member(0), start).unwrap();
        assert!(back.take(&options, 1, start).is_some(), "its burst is used up");
        assert!(paces.take(&member(1), start).is_none(), "other members have no entry");
        let later = start + Duration::from_secs(2);
        keep(2, pace, start);
        assert!(paces.take(&member(2), later).is_none(), "it is within its rate again");
    }
}
