//! The rooms of the client: which are joined, and how far each was read.

use std::time::Duration;

use litemap::LiteMap;

use super::{JoinedRoom, LeftReason, RoomEvent};
use crate::{
    ClientLine, Cursor, RoomName, SenderId,
    message::{Join, Joined, Message, code},
};

/// The rooms that the application has joined, or has left without an answer of the server so far.
#[derive(Debug, Default)]
pub(super) struct Rooms(LiteMap<RoomName, Room>);

/// The state of a room on this connection.
#[derive(Debug)]
enum Room {
    /// To be joined as soon as there is a connection.
    Out(Start),
    /// `join` was sent. Messages that come belong to an earlier membership.
    Joining(Start),
    /// `joined` came. The next message is the one after the cursor.
    In { cursor: Cursor, history: Option<u32> },
    /// `leave` was sent, because the application left. Lines that come before `left` are ignored. The cursor stays
    /// readable until then.
    Leaving(Start),
    /// `leave` was sent, and `join` follows after `left`: a message was missing, or the application joined again
    /// meanwhile. `join` is not sent before `left`, so that an answer always belongs to the last request.
    Rejoining(Start),
    /// The server asked to send `join` later.
    Paused { start: Start, until: Duration },
}

/// Where reading begins.
#[derive(Clone, Debug)]
struct Start {
    /// The last message that the application has.
    since: Option<Cursor>,
    /// How many of the newest messages to get without a cursor, or when the messages after it are gone.
    history: Option<u32>,
}

impl Room {
    /// The last message that the application has.
    fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Out(start) | Self::Joining(start) | Self::Leaving(start) | Self::Rejoining(start) => {
                start.since.as_ref()
            }
            Self::Paused { start, .. } => start.since.as_ref(),
            Self::In { cursor, .. } => Some(cursor),
        }
    }

    /// Where the next membership begins.
    fn start(&self) -> Start {
        match self {
            Self::Out(start) | Self::Joining(start) | Self::Leaving(start) | Self::Rejoining(start) => start.clone(),
            Self::Paused { start, .. } => start.clone(),
            Self::In { cursor, history } => Start {
                since: Some(cursor.clone()),
                history: *history,
            },
        }
    }

    /// Whether the application wants to be a member.
    fn is_wanted(&self) -> bool {
        !matches!(self, Self::Leaving(_))
    }

    /// Whether the server has a request of this room to answer.
    fn awaits_answer(&self) -> bool {
        matches!(self, Self::Joining(_) | Self::Leaving(_) | Self::Rejoining(_))
    }

    /// The start of the next `join`, if it can be sent now.
    fn joinable(&self, now: Duration) -> Option<&Start> {
        match self {
            Self::Out(start) => Some(start),
            Self::Paused { start, until } if *until <= now => Some(start),
            _ => None,
        }
    }
}

/// What a line about a room leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Emit(RoomEvent),
    /// A message is missing: the room is left, to be joined again from the cursor.
    Send(ClientLine),
    /// The server contradicts itself.
    Violation(&'static str),
}

impl Rooms {
    /// How far a room was read.
    pub(super) fn cursor(&self, room: &RoomName) -> Option<&Cursor> {
        self.0.get(room)?.cursor()
    }

    /// The rooms that the application wants to be in.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&RoomName, Option<&Cursor>)> {
        let wanted = self.0.iter().filter(|(_, room)| room.is_wanted());
        wanted.map(|(name, room)| (name, room.cursor()))
    }

    /// Whether an answer of the server is awaited.
    pub(super) fn awaits_answer(&self) -> bool {
        self.0.values().any(Room::awaits_answer)
    }

    /// The application wants to be a member. Without effect if it wants to already.
    pub(super) fn want(&mut self, name: RoomName, since: Option<Cursor>, history: Option<u32>, max: usize) -> Effect {
        let start = Start { since, history };
        let joined = self.0.len();
        match self.0.get_mut(&name) {
            Some(room @ Room::Leaving(_)) => *room = Room::Rejoining(start),
            Some(_) => {}
            None if joined >= max => {
                return Effect::Emit(RoomEvent::Refused {
                    code: code::TOO_MANY_ROOMS.to_owned(),
                    message: format!("this client has joined {max} rooms, which is all it may"),
                });
            }
            None => drop(self.0.insert(name, Room::Out(start))),
        }
        Effect::Nothing
    }

    /// The application does not want to be a member any more.
    pub(super) fn leave(&mut self, name: &RoomName) -> Effect {
        let Some(room) = self.0.get_mut(name) else {
            return Effect::Nothing;
        };
        match room {
            Room::Joining(_) | Room::In { .. } => {
                *room = Room::Leaving(room.start());
                Effect::Send(ClientLine::Leave { room: name.clone() })
            }
            Room::Rejoining(start) => {
                *room = Room::Leaving(start.clone());
                Effect::Nothing
            }
            Room::Leaving(_) => Effect::Nothing,
            Room::Out(_) | Room::Paused { .. } => {
                self.0.remove(name);
                Effect::Nothing
            }
        }
    }

    /// Whether the room is joined on this connection.
    pub(super) fn is_in(&self, name: &RoomName) -> bool {
        matches!(self.0.get(name), Some(Room::In { .. }))
    }

    /// The next `join` that can be sent now.
    pub(super) fn next_join(&mut self, now: Duration) -> Option<ClientLine> {
        let mut rooms = self.0.iter_mut();
        let (name, room, start) = rooms.find_map(|(name, room)| {
            let start = room.joinable(now)?.clone();
            Some((name, room, start))
        })?;
        let join = Join {
            room: name.clone(),
            since: start.since.clone(),
            history: start.history,
        };
        *room = Room::Joining(start);
        Some(ClientLine::Join(join))
    }

    /// When the first pause ends.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        let pauses = self.0.values().filter_map(|room| match room {
            Room::Paused { until, .. } => Some(*until),
            _ => None,
        });
        pauses.min()
    }

    /// The connection ended.
    pub(super) fn disconnected(&mut self) {
        self.0.retain(|_, room| room.is_wanted());
        for (_, room) in &mut self.0 {
            *room = Room::Out(room.start());
        }
    }

    pub(super) fn joined(&mut self, joined: Joined) -> Effect {
        let Some(room) = self.0.get_mut(&joined.room) else {
            return Effect::Nothing;
        };
        let Room::Joining(Start { since, history }) = room else {
            return Effect::Nothing;
        };
        let cursor = Cursor {
            epoch: joined.epoch.clone(),
            offset: joined.after,
        };
        // In the epoch of the application's cursor, or in one that forked from it after all that the cursor covers.
        let goes_on = |since: &Cursor| {
            let shared = |fork: &Cursor| fork.epoch == since.epoch && since.offset <= fork.offset;
            let same = since.epoch == cursor.epoch || joined.fork.as_ref().is_some_and(shared);
            same && since.offset == cursor.offset
        };
        if joined.recovered && !since.as_ref().is_none_or(goes_on) {
            return Effect::Violation("joined says recovered, but begins at another place than the cursor");
        }
        let had_cursor = since.is_some();
        *room = Room::In {
            cursor,
            history: *history,
        };
        let now = JoinedRoom {
            epoch: joined.epoch,
            head: joined.head,
            after: joined.after,
            users: joined.users,
            members: joined.members,
        };
        Effect::Emit(match (joined.recovered, had_cursor) {
            (false, _) => RoomEvent::Reset(now),
            (true, true) => RoomEvent::Recovered(now),
            (true, false) => RoomEvent::Joined(now),
        })
    }

    pub(super) fn message(&mut self, message: Message, sender: &SenderId) -> Effect {
        let Some(room) = self.0.get_mut(&message.room) else {
            return Effect::Nothing;
        };
        let Room::In { cursor, .. } = room else {
            return Effect::Nothing;
        };
        if message.offset <= cursor.offset {
            return Effect::Nothing;
        }
        if message.offset > cursor.offset.next() {
            *room = Room::Rejoining(room.start());
            return Effect::Send(ClientLine::Leave { room: message.room });
        }
        cursor.offset = message.offset;
        let own = message.from.sender == *sender;
        Effect::Emit(RoomEvent::Message { message, own })
    }

    pub(super) fn left(&mut self, name: &RoomName, reason: Option<LeftReason>) -> Effect {
        let Some(room) = self.0.get_mut(name) else {
            return Effect::Nothing;
        };
        match room {
            // The server decided by itself while `leave` was on its way: the answer to `leave` is still to come.
            Room::Leaving(_) | Room::Rejoining(_) if reason.is_some() => Effect::Nothing,
            Room::Rejoining(start) => {
                *room = Room::Out(start.clone());
                Effect::Nothing
            }
            Room::Leaving(_) => {
                self.0.remove(name);
                Effect::Nothing
            }
            Room::Joining(_) | Room::In { .. } => {
                self.0.remove(name);
                Effect::Emit(RoomEvent::Left(reason))
            }
            Room::Out(_) | Room::Paused { .. } => Effect::Nothing,
        }
    }

    /// The server refused `join`: for good, or until a time at which to send it again.
    pub(super) fn refused(
        &mut self,
        name: &RoomName,
        code: String,
        message: String,
        until: Option<Duration>,
    ) -> Effect {
        let Some(room) = self.0.get_mut(name) else {
            return Effect::Nothing;
        };
        let Room::Joining(start) = room else {
            return Effect::Nothing;
        };
        if let Some(until) = until {
            *room = Room::Paused {
                start: start.clone(),
                until,
            };
            return Effect::Nothing;
        }
        self.0.remove(name);
        Effect::Emit(RoomEvent::Refused { code, message })
    }
}
