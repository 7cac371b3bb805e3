//! Which rooms are joined, and how far each was read.

use std::time::Duration;

use litemap::LiteMap;

use super::{JoinedRoom, LeftReason, RoomEvent};
use crate::{
    ClientLine, Cursor, RoomName, SenderId,
    message::{Join, Joined, Message, code},
};

/// The rooms that the application has joined, or is about to have left.
#[derive(Debug, Default)]
pub(super) struct Rooms(LiteMap<RoomName, Room>);

#[derive(Debug, Default)]
struct Room {
    /// Whether the application wants to be a member.
    wanted: bool,
    /// The last message that the application has.
    cursor: Option<Cursor>,
    history: Option<u32>,
    state: State,
}

/// Where a room stands on this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was asked.
    #[default]
    Out,
    /// `join` was sent. Messages that come belong to an earlier membership.
    Joining,
    /// `joined` came: messages count on from the cursor.
    In,
    /// `leave` was sent; what comes before `left` is not for the application any more. No `join` is sent before `left`, so that an
    /// answer always belongs to the last question.
    Leaving,
    /// The server asked to come again later.
    Waiting(Duration),
}

/// What a frame about a room leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Tell(RoomEvent),
    /// A message is missing: the room is left, to be joined again from the cursor.
    Send(ClientLine),
    /// The server contradicts itself.
    Violation(&'static str),
}

impl Rooms {
    /// How far a room was read.
    pub(super) fn cursor(&self, room: &RoomName) -> Option<&Cursor> {
        self.0.get(room)?.cursor.as_ref()
    }

    /// The rooms that the application wants to be in.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&RoomName, Option<&Cursor>)> {
        let wanted = self.0.iter().filter(|(_, room)| room.wanted);
        wanted.map(|(name, room)| (name, room.cursor.as_ref()))
    }

    /// Whether an answer of the server is awaited.
    pub(super) fn awaits_answer(&self) -> bool {
        let mut rooms = self.0.values();
        rooms.any(|room| matches!(room.state, State::Joining | State::Leaving))
    }

    /// The application wants to be a member.
    pub(super) fn want(&mut self, name: RoomName, since: Option<Cursor>, history: Option<u32>, max: usize) -> Effect {
        if self.0.len() >= max && !self.0.contains_key(&name) {
            return Effect::Tell(RoomEvent::Refused {
                code: code::TOO_MANY_ROOMS.to_owned(),
                message: format!("this client has joined {max} rooms, which is all it may"),
            });
        }
        let room = self.0.entry(name).or_default();
        if !room.wanted {
            room.wanted = true;
            room.cursor = since;
            room.history = history;
        }
        Effect::Nothing
    }

    /// The application wants to be a member no longer.
    pub(super) fn leave(&mut self, name: &RoomName) -> Effect {
        let Some(room) = self.0.get_mut(name) else {
            return Effect::Nothing;
        };
        room.wanted = false;
        match room.state {
            State::Joining | State::In => {
                room.state = State::Leaving;
                Effect::Send(ClientLine::Leave { room: name.clone() })
            }
            State::Leaving => Effect::Nothing,
            State::Out | State::Waiting(_) => {
                self.0.remove(name);
                Effect::Nothing
            }
        }
    }

    /// Is the room joined on this connection?
    pub(super) fn is_in(&self, name: &RoomName) -> bool {
        self.0.get(name).is_some_and(|room| room.state == State::In)
    }

    pub(super) fn is_wanted(&self, name: &RoomName) -> bool {
        self.0.get(name).is_some_and(|room| room.wanted)
    }

    /// The next room that is to be joined now.
    pub(super) fn next_join(&mut self, now: Duration) -> Option<ClientLine> {
        let (name, room) = self.0.iter_mut().find(|(_, room)| match room.state {
            State::Out => room.wanted,
            State::Waiting(until) => until <= now,
            State::Joining | State::In | State::Leaving => false,
        })?;
        room.state = State::Joining;
        Some(ClientLine::Join(Join {
            room: name.clone(),
            since: room.cursor.clone(),
            history: room.history,
        }))
    }

    /// When the first pause is over.
    pub(super) fn waiting_until(&self) -> Option<Duration> {
        let pauses = self.0.values().filter_map(|room| match room.state {
            State::Waiting(until) => Some(until),
            _ => None,
        });
        pauses.min()
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.0.retain(|_, room| room.wanted);
        for (_, room) in &mut self.0 {
            room.state = State::Out;
        }
    }

    pub(super) fn joined(&mut self, joined: Joined) -> Effect {
        let Some(room) = self.0.get_mut(&joined.room) else {
            return Effect::Nothing;
        };
        if room.state != State::Joining {
            return Effect::Nothing;
        }
        let start = Cursor {
            epoch: joined.epoch.clone(),
            offset: joined.after,
        };
        // In the life of the log that the cursor is from, or in the one that went on from it with all that the cursor covers.
        let goes_on = |cursor: &Cursor| {
            let shared = |fork: &Cursor| fork.epoch == cursor.epoch && cursor.offset <= fork.offset;
            let same = cursor.epoch == start.epoch || joined.fork.as_ref().is_some_and(shared);
            same && cursor.offset == start.offset
        };
        if joined.recovered && !room.cursor.as_ref().is_none_or(goes_on) {
            return Effect::Violation("joined says recovered, but begins at another place than the cursor");
        }
        room.state = State::In;
        let told = JoinedRoom {
            epoch: joined.epoch,
            head: joined.head,
            after: joined.after,
            users: joined.users,
            members: joined.members,
        };
        let had_cursor = room.cursor.replace(start).is_some();
        Effect::Tell(match (joined.recovered, had_cursor) {
            (false, _) => RoomEvent::Reset(told),
            (true, true) => RoomEvent::Recovered(told),
            (true, false) => RoomEvent::Joined(told),
        })
    }

    pub(super) fn message(&mut self, message: Message, sender: &SenderId) -> Effect {
        let Some(room) = self.0.get_mut(&message.room) else {
            return Effect::Nothing;
        };
        let (State::In, Some(cursor)) = (room.state, &mut room.cursor) else {
            return Effect::Nothing;
        };
        if message.offset <= cursor.offset {
            return Effect::Nothing;
        }
        if message.offset > cursor.offset.next() {
            room.state = State::Leaving;
            return Effect::Send(ClientLine::Leave { room: message.room });
        }
        cursor.offset = message.offset;
        let own = message.from.sender == *sender;
        Effect::Tell(RoomEvent::Message { message, own })
    }

    pub(super) fn left(&mut self, name: &RoomName, reason: Option<LeftReason>) -> Effect {
        let Some(room) = self.0.get_mut(name) else {
            return Effect::Nothing;
        };
        match room.state {
            // The server's own decision, on its way while `leave` was: the answer is still to come.
            State::Leaving if reason.is_some() => Effect::Nothing,
            State::Leaving if room.wanted => {
                room.state = State::Out;
                Effect::Nothing
            }
            State::Leaving => {
                self.0.remove(name);
                Effect::Nothing
            }
            State::Joining | State::In => {
                self.0.remove(name);
                Effect::Tell(RoomEvent::Left(reason))
            }
            State::Out | State::Waiting(_) => Effect::Nothing,
        }
    }

    /// The answer to `join` is no. `until` is when to ask again.
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
        if room.state != State::Joining {
            return Effect::Nothing;
        }
        if let Some(until) = until {
            room.state = State::Waiting(until);
            return Effect::Nothing;
        }
        self.0.remove(name);
        Effect::Tell(RoomEvent::Refused { code, message })
    }
}
