//! The rooms of the client: which are joined, and how far each was read.

use std::time::Duration;

use litemap::LiteMap;

use super::{JoinedRoom, LeftReason, RoomEvent};
use crate::{
    ClientLine, Cursor, RoomName, SenderId,
    message::{Direct, Join, Joined, Message, Position, code},
};

/// The rooms that the application has joined, or has left without an answer of the server so far; and the addressed
/// rooms of its user, if it wants them.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: LiteMap<RoomName, Room>,
    addressed: Option<IfLinked>,
}

#[cfg(feature = "direct")]
type IfLinked = Addressed;

/// There is no value of it, so that the compiler leaves out what is done with one.
#[cfg(not(feature = "direct"))]
#[derive(Debug)]
enum IfLinked {}

#[cfg(not(feature = "direct"))]
impl std::ops::Deref for IfLinked {
    type Target = Addressed;

    fn deref(&self) -> &Addressed {
        match *self {}
    }
}

#[cfg(not(feature = "direct"))]
impl std::ops::DerefMut for IfLinked {
    fn deref_mut(&mut self) -> &mut Addressed {
        match *self {}
    }
}

/// The application wants what is addressed to its user. The server says which rooms these are; their names are reserved,
/// and the client sends no `join` for them.
#[derive(Debug)]
struct Addressed {
    /// How many of the newest messages to get of a room without a cursor, or when the messages after it are gone.
    history: Option<u32>,
    /// When to send `direct`; `None` while it was sent on this connection.
    ask_at: Option<Duration>,
}

/// Whether a room is an addressed one, which no application joins.
pub(super) fn is_addressed(room: &RoomName) -> bool {
    cfg!(feature = "direct") && room.is_reserved()
}

/// The most bytes of a position in `direct` besides the name of its room, and of the rest of that line.
const POSITION_BYTES: usize = 96;

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
        self.rooms.get(room)?.cursor()
    }

    /// The rooms that the application wants to be in.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&RoomName, Option<&Cursor>)> {
        let wanted = self.rooms.iter().filter(|(_, room)| room.is_wanted());
        wanted.map(|(name, room)| (name, room.cursor()))
    }

    /// Whether an answer of the server is awaited.
    pub(super) fn awaits_answer(&self) -> bool {
        self.rooms.values().any(Room::awaits_answer)
    }

    /// The application wants to be a member. Without effect if it wants to already.
    pub(super) fn want(&mut self, name: RoomName, since: Option<Cursor>, history: Option<u32>, max: usize) -> Effect {
        let start = Start { since, history };
        let joined = self.rooms.len();
        match self.rooms.get_mut(&name) {
            Some(room @ Room::Leaving(_)) => *room = Room::Rejoining(start),
            Some(_) => {}
            None if joined >= max => {
                return Effect::Emit(RoomEvent::Refused {
                    code: code::TOO_MANY_ROOMS.to_owned(),
                    message: format!("this client has joined {max} rooms, which is all it may"),
                });
            }
            None => drop(self.rooms.insert(name, Room::Out(start))),
        }
        Effect::Nothing
    }

    /// The application does not want to be a member any more.
    pub(super) fn leave(&mut self, name: &RoomName) -> Effect {
        let Some(room) = self.rooms.get_mut(name) else {
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
                self.rooms.remove(name);
                Effect::Nothing
            }
        }
    }

    /// The application wants what is addressed to its user: the messages after these cursors, at most `max` of them, and
    /// of other rooms the newest. Without effect if it wants it already.
    #[cfg(feature = "direct")]
    pub(super) fn want_addressed(
        &mut self,
        since: impl IntoIterator<Item = (RoomName, Cursor)>,
        history: Option<u32>,
        max: usize,
    ) {
        if self.addressed.is_some() {
            return;
        }
        self.addressed = Some(Addressed {
            history,
            ask_at: Some(Duration::ZERO),
        });
        for (name, cursor) in since.into_iter().take(max) {
            if is_addressed(&name) {
                self.want(name, Some(cursor), history, usize::MAX);
            }
        }
    }

    /// The application does not want what is addressed to its user any more. Returns the lines to send.
    pub(super) fn leave_addressed(&mut self) -> Vec<ClientLine> {
        let Some(addressed) = self.addressed.take() else {
            return Vec::new();
        };
        let names: Vec<_> = self.rooms.iter().map(|(name, _)| name.clone()).collect();
        let mut lines = Vec::new();
        for name in names.into_iter().filter(is_addressed) {
            // The server may have begun a room whose `joined` is on its way.
            if addressed.ask_at.is_none()
                && let Some(room @ Room::Out(_)) = self.rooms.get_mut(&name)
            {
                *room = Room::Joining(room.start());
            }
            if let Effect::Send(line) = self.leave(&name) {
                lines.push(line);
            }
        }
        lines
    }

    /// Whether the application wants what is addressed to its user.
    pub(super) fn wants_addressed(&self) -> bool {
        self.addressed.is_some()
    }

    /// The `direct` line, if it can be sent now. It is not longer than this; cursors that do not fit are left out, and
    /// the rooms of these are reset.
    pub(super) fn next_direct(&mut self, now: Duration, max_bytes: usize) -> Option<ClientLine> {
        let Self { rooms, addressed } = self;
        let addressed = addressed.as_mut()?;
        addressed.ask_at.take_if(|at| *at <= now)?;
        let since = rooms.iter().filter(|(name, _)| is_addressed(name));
        let since = since.filter_map(|(name, room)| match room {
            // The server has left the room, or does so before it reads this line.
            Room::Out(start) | Room::Rejoining(start) => {
                let Cursor { epoch, offset } = start.since.clone()?;
                let room = name.clone();
                Some(Position { room, epoch, offset })
            }
            _ => None,
        });
        let mut left = max_bytes.saturating_sub(POSITION_BYTES);
        let since = since.take_while(|position| {
            let bytes = POSITION_BYTES + position.room.len();
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        });
        let since: Vec<_> = since.collect();
        Some(ClientLine::Direct(Direct {
            since: (!since.is_empty()).then_some(since),
            history: addressed.history,
        }))
    }

    /// The server refused `direct`, or one of its rooms, until this time.
    pub(super) fn ask_again(&mut self, until: Duration) {
        if let Some(addressed) = &mut self.addressed {
            addressed.ask_at = Some(addressed.ask_at.map_or(until, |at| at.max(until)));
        }
    }

    /// The server refused one of the addressed rooms for good.
    pub(super) fn refused_addressed(&mut self, name: &RoomName, code: String, message: String) -> Effect {
        if self.addressed.is_none() || !is_addressed(name) {
            return Effect::Nothing;
        }
        self.rooms.remove(name);
        Effect::Emit(RoomEvent::Refused { code, message })
    }

    /// Whether the room is joined on this connection.
    pub(super) fn is_in(&self, name: &RoomName) -> bool {
        matches!(self.rooms.get(name), Some(Room::In { .. }))
    }

    /// Whether the room is still to be joined on this connection.
    pub(super) fn awaits_join(&self, name: &RoomName) -> bool {
        let room = self.rooms.get(name).filter(|_| !is_addressed(name));
        matches!(
            room,
            Some(Room::Out(_) | Room::Joining(_) | Room::Rejoining(_) | Room::Paused { .. })
        )
    }

    /// The next `join` that can be sent now.
    pub(super) fn next_join(&mut self, now: Duration) -> Option<ClientLine> {
        let mut rooms = self.rooms.iter_mut().filter(|(name, _)| !is_addressed(name));
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
        let pauses = self.rooms.values().filter_map(|room| match room {
            Room::Paused { until, .. } => Some(*until),
            _ => None,
        });
        let ask_at = self.addressed.as_ref().and_then(|addressed| addressed.ask_at);
        pauses.chain(ask_at).min()
    }

    /// The connection ended.
    pub(super) fn disconnected(&mut self) {
        self.rooms.retain(|_, room| room.is_wanted());
        for (_, room) in &mut self.rooms {
            *room = Room::Out(room.start());
        }
        if let Some(addressed) = &mut self.addressed {
            addressed.ask_at = Some(Duration::ZERO);
        }
    }

    /// Makes an addressed room that the server joins one that was asked for. `None` if it may not be joined now.
    fn addressed_room(&mut self, name: &RoomName, max: usize) -> Option<&mut Room> {
        let addressed = self.addressed.as_ref();
        let start = match self.rooms.get(name) {
            Some(Room::Out(start)) => start.clone(),
            Some(_) => return self.rooms.get_mut(name),
            None if self.rooms.len() >= max => return None,
            None => Start {
                since: None,
                history: addressed.and_then(|addressed| addressed.history),
            },
        };
        self.rooms.insert(name.clone(), Room::Joining(start));
        self.rooms.get_mut(name)
    }

    /// The server joined a room: on request, or an addressed one by itself, of which there are at most `max` with the
    /// others.
    pub(super) fn joined(&mut self, joined: Joined, max: usize) -> Effect {
        let is_wanted = self.addressed.is_some() || !is_addressed(&joined.room);
        let room = if is_addressed(&joined.room) {
            self.addressed_room(&joined.room, max)
        } else {
            self.rooms.get_mut(&joined.room)
        };
        let Some(room) = room else {
            return Effect::Nothing;
        };
        if !is_wanted && matches!(room, Room::Joining(_)) {
            // It was asked for before the application lost interest.
            *room = Room::Leaving(room.start());
            return Effect::Send(ClientLine::Leave { room: joined.room });
        }
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
        let goes_on = since.as_ref().is_none_or(goes_on);
        if joined.recovered && !goes_on && !is_addressed(&joined.room) {
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
        // The server may not have the cursor of an addressed room, see `next_direct`.
        Effect::Emit(match (joined.recovered && goes_on, had_cursor) {
            (false, _) => RoomEvent::Reset(now),
            (true, true) => RoomEvent::Recovered(now),
            (true, false) => RoomEvent::Joined(now),
        })
    }

    pub(super) fn message(&mut self, message: Message, sender: &SenderId) -> Effect {
        let Some(room) = self.rooms.get_mut(&message.room) else {
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
        let Some(room) = self.rooms.get_mut(name) else {
            return Effect::Nothing;
        };
        match room {
            // The server decided by itself while `leave` was on its way: the answer to `leave` is still to come.
            Room::Leaving(_) | Room::Rejoining(_) if reason.is_some() => Effect::Nothing,
            Room::Rejoining(start) => {
                *room = Room::Out(start.clone());
                if is_addressed(name) {
                    self.ask_again(Duration::ZERO);
                }
                Effect::Nothing
            }
            Room::Leaving(_) => {
                self.rooms.remove(name);
                Effect::Nothing
            }
            Room::Joining(_) | Room::In { .. } => {
                self.rooms.remove(name);
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
        let Some(room) = self.rooms.get_mut(name) else {
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
        self.rooms.remove(name);
        Effect::Emit(RoomEvent::Refused { code, message })
    }
}
