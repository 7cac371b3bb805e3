//! Requests for older messages, and for users by name: as many are open as the server takes, each has its own pause, and
//! they are sent again after a reconnect. One for the users of a room waits until the room is joined.

use std::time::Duration;

use super::{Tag, rooms::Rooms};
use crate::{ClientLine, Offset, RequestId, RoomName, message};

#[derive(Debug)]
pub(super) struct History {
    /// In the order in which they were asked.
    requests: Vec<Request>,
    /// The id of the next request. Never used twice, so that a late answer is not taken for the answer to another
    /// request.
    next: RequestId,
    /// No request is sent before this time: the server refused one because there were too many.
    paused_until: Option<Duration>,
}

#[derive(Debug)]
struct Request {
    id: RequestId,
    question: Question,
    state: State,
}

#[derive(Debug)]
pub(super) struct Question {
    pub(super) room: RoomName,
    pub(super) wanted: Wanted,
    pub(super) tag: Tag,
}

#[derive(Debug)]
pub(super) enum Wanted {
    /// The newest messages before an offset.
    Page { before: Offset, limit: u32 },
    /// The users with this part of a name.
    #[cfg(feature = "find")]
    Users { name: Option<crate::UserName> },
}

impl Question {
    pub(super) fn is_for_users(&self) -> bool {
        !matches!(self.wanted, Wanted::Page { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent.
    Ready,
    /// Sent on this connection.
    Open,
    /// To be sent after this time.
    Paused(Duration),
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            requests: Vec::new(),
            next: RequestId::FIRST,
            paused_until: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, question: Question) {
        let id = self.next;
        self.next = id.next();
        let state = State::Ready;
        self.requests.push(Request { id, question, state });
    }

    /// Whether an answer of the server is awaited.
    pub(super) fn awaits_answer(&self) -> bool {
        self.open() > 0
    }

    fn open(&self) -> usize {
        let open = self.requests.iter().filter(|request| request.state == State::Open);
        open.count()
    }

    /// The request to send now, while fewer than `limit` are open.
    pub(super) fn next(&mut self, now: Duration, limit: u32, rooms: &Rooms) -> Option<ClientLine> {
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.paused_until.is_some() || self.open() >= limit.max(1) as usize {
            return None;
        }
        let request = self.requests.iter_mut().find(|Request { question, state, .. }| {
            let is_ready = match *state {
                State::Ready => true,
                State::Open => false,
                State::Paused(until) => until <= now,
            };
            is_ready && !(question.is_for_users() && rooms.awaits_join(&question.room))
        })?;
        request.state = State::Open;
        let (id, room) = (request.id, request.question.room.clone());
        Some(match &request.question.wanted {
            &Wanted::Page { before, limit } => ClientLine::History(message::History {
                id,
                room,
                before,
                limit,
            }),
            #[cfg(feature = "find")]
            Wanted::Users { name } => ClientLine::Find(message::Find {
                id,
                room,
                name: name.clone(),
            }),
        })
    }

    /// Ends the request that an answer belongs to, which is for users or for messages.
    pub(super) fn answered(&mut self, id: RequestId, users: bool) -> Option<Question> {
        let index = self.position(id)?;
        if self.requests[index].question.is_for_users() != users {
            return None;
        }
        Some(self.requests.remove(index).question)
    }

    /// Ends the first request for users: the server does not know such requests.
    pub(super) fn take_for_users(&mut self) -> Option<Question> {
        let mut requests = self.requests.iter();
        let index = requests.position(|request| request.question.is_for_users())?;
        Some(self.requests.remove(index).question)
    }

    /// The server refused a request until a time; with `all`, it takes no other one before either.
    pub(super) fn pause(&mut self, id: RequestId, until: Duration, all: bool) {
        if let Some(index) = self.position(id) {
            self.requests[index].state = State::Paused(until);
            if all {
                self.paused_until = self.paused_until.max(Some(until));
            }
        }
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        let open = |request: &Request| request.id == id && request.state == State::Open;
        self.requests.iter().position(open)
    }

    /// When the first pause ends.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        let pauses = self.requests.iter().filter_map(|request| match request.state {
            State::Paused(until) => Some(until),
            _ => None,
        });
        self.paused_until.or(pauses.min())
    }

    pub(super) fn disconnected(&mut self) {
        self.paused_until = None;
        for request in &mut self.requests {
            request.state = State::Ready;
        }
    }

    pub(super) fn stop(&mut self) -> impl Iterator<Item = Question> {
        self.disconnected();
        let requests = std::mem::take(&mut self.requests);
        requests.into_iter().map(|request| request.question)
    }
}
