//! Requests for older messages: one at a time, again after a reconnect.

use std::{collections::VecDeque, time::Duration};

use super::Tag;
use crate::{ClientFrame, Offset, RequestId, RoomName, message};

#[derive(Debug, Default)]
pub(super) struct History {
    requests: VecDeque<Request>,
    /// Whether the first request was sent on this connection.
    sent: bool,
    paused_until: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) room: RoomName,
    pub(super) before: Offset,
    pub(super) limit: u32,
    pub(super) tag: Tag,
}

impl History {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Whether an answer of the server is awaited.
    pub(super) fn awaits_answer(&self) -> bool {
        self.sent
    }

    /// The request to send now.
    pub(super) fn next(&mut self, now: Duration) -> Option<ClientFrame> {
        if self.sent || self.paused_until.is_some_and(|until| until > now) {
            return None;
        }
        let request = self.requests.front()?;
        self.sent = true;
        self.paused_until = None;
        Some(ClientFrame::History(message::History {
            id: RequestId::FIRST,
            room: request.room.clone(),
            before: request.before,
            limit: request.limit,
        }))
    }

    /// The request that an answer about this room belongs to.
    pub(super) fn answered(&mut self, room: &RoomName) -> Option<Tag> {
        let answered = self.sent && self.requests.front().is_some_and(|request| request.room == *room);
        if !answered {
            return None;
        }
        self.sent = false;
        self.requests.pop_front().map(|request| request.tag)
    }

    /// The server asked to come again later.
    pub(super) fn pause(&mut self, room: &RoomName, until: Duration) {
        if self.sent && self.requests.front().is_some_and(|request| request.room == *room) {
            self.sent = false;
            self.paused_until = Some(until);
        }
    }

    pub(super) fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    pub(super) fn disconnected(&mut self) {
        self.sent = false;
        self.paused_until = None;
    }

    pub(super) fn stop(&mut self) -> impl Iterator<Item = Tag> {
        self.disconnected();
        std::mem::take(&mut self.requests)
            .into_iter()
            .map(|request| request.tag)
    }
}
