//! What one handle of a room has not taken yet. Bounded; what does not fit is read again from the room's log.

mod log;

use std::collections::VecDeque;

use talkback_protocol::{
    Cursor, Epoch, Offset,
    message::Message,
    session::client::{JoinedRoom, RoomEvent},
};

use super::Members;

/// The bounds of what a [`Room`](crate::Room) holds for its reader.
///
/// At the bound nothing is lost and nobody else is slowed down: the handle takes in no more messages, and once half of what it
/// holds was read, it reads on from the room's log, a page at a time, until it has caught up. If the log has dropped messages
/// by then, the handle yields [`Event::Reset`](crate::Event::Reset). Presence is told as one difference afterwards, and signals,
/// which nobody keeps, are skipped meanwhile. One page may come on top of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxBounds {
    /// The most events, 4,096 by default.
    pub events: usize,
    /// The most bytes of bodies, 4 MiB by default.
    pub bytes: usize,
}

impl Default for InboxBounds {
    fn default() -> Self {
        Self {
            events: 4_096,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// What a handle wants when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) since: Option<Cursor>,
    pub(crate) history: u32,
}

/// A room as its subscription has it at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// The last message that the subscription delivered.
    pub(crate) latest: Cursor,
    /// As of the join; more than `members` if the server did not list all.
    pub(crate) users: u32,
    pub(crate) members: Members,
}

impl Now {
    fn joined(&self, after: Offset) -> JoinedRoom {
        JoinedRoom {
            epoch: self.latest.epoch.clone(),
            head: self.latest.offset,
            after,
            users: self.users,
            members: self.members.list(),
        }
    }
}

/// A page of the log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageWanted {
    pub(crate) before: Offset,
    pub(crate) limit: u32,
}

/// The queue between a room's subscription and one reader.
pub(crate) struct Inbox {
    bounds: InboxBounds,
    queue: VecDeque<(RoomEvent, usize)>,
    bytes: usize,
    state: State,
    /// The last message that was put into the queue.
    queued: Option<Cursor>,
    /// The last message that was taken out of it.
    taken: Option<Cursor>,
    asked: Option<PageWanted>,
    /// The most messages that the server was seen to put into a page.
    page_limit: u32,
}

enum State {
    /// The subscription's own `join` was made for this handle; its answer is this handle's first event.
    First,
    /// The room is joined by another handle, or lost what this one would read next: it begins by reading from the log.
    Opening(Start),
    /// Takes every event.
    Live,
    /// Messages after `queued` did not fit. The members as the reader knows them.
    Behind(Members),
    /// The reader gets no more.
    Ended,
}

/// Where a handle begins to read.
enum Start {
    /// After this message.
    Since(Cursor, u32),
    /// With so many of the newest messages; `true` if messages before them are missing to it.
    Newest(u32, bool),
}

impl From<Want> for Start {
    fn from(Want { since, history }: Want) -> Self {
        match since {
            Some(since) => Self::Since(since, history),
            None => Self::Newest(history, false),
        }
    }
}

/// What a server gives at once by default; less is learned from its pages.
const PAGE: u32 = 100;

impl Inbox {
    /// For the handle whose wishes the subscription's own `join` carries.
    pub(crate) fn first(bounds: InboxBounds) -> Self {
        Self::new(bounds, State::First)
    }

    /// For a further handle of a room.
    pub(crate) fn further(bounds: InboxBounds, want: Want) -> Self {
        Self::new(bounds, State::Opening(Start::from(want)))
    }

    fn new(bounds: InboxBounds, state: State) -> Self {
        Self {
            bounds,
            queue: VecDeque::new(),
            bytes: 0,
            state,
            queued: None,
            taken: None,
            asked: None,
            page_limit: PAGE,
        }
    }

    /// The next event for the reader.
    pub(crate) fn take(&mut self) -> Option<RoomEvent> {
        let (event, bytes) = self.queue.pop_front()?;
        self.bytes -= bytes;
        match &event {
            RoomEvent::Message { message, .. } => {
                if let Some(taken) = &mut self.taken {
                    taken.offset = message.offset;
                }
            }
            RoomEvent::Joined(room) | RoomEvent::Recovered(room) | RoomEvent::Reset(room) => {
                self.taken = Some(Cursor {
                    epoch: room.epoch.clone(),
                    offset: room.after,
                });
            }
            _ => {}
        }
        Some(event)
    }

    /// How far the reader has read.
    pub(crate) fn taken(&self) -> Option<&Cursor> {
        self.taken.as_ref()
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether nothing will come any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended) && self.queue.is_empty()
    }

    /// The subscription has an event for everybody. `now` is the room after it; there is none if it was never joined.
    pub(crate) fn push(&mut self, event: RoomEvent, now: Option<&Now>) {
        let Some(now) = now.filter(|_| !matches!(event, RoomEvent::Left | RoomEvent::Refused { .. })) else {
            self.state = State::Ended;
            return self.put(event);
        };
        match &event {
            RoomEvent::Left | RoomEvent::Refused { .. } => {}
            RoomEvent::Joined(room) | RoomEvent::Recovered(room) | RoomEvent::Reset(room) => {
                let after = room.after;
                self.rejoined(event, &now.latest.epoch, after);
            }
            RoomEvent::Message { message, .. } => {
                if !matches!(self.state, State::Live) {
                    return;
                }
                if self.fits(message) {
                    self.put(event);
                } else {
                    // The presence that the reader knows is that of this moment: a message changes nothing about it.
                    self.state = State::Behind(now.members.clone());
                }
            }
            RoomEvent::Presence { joined, left } => {
                if matches!(self.state, State::Live) {
                    if self.queue.len() < self.bounds.events {
                        self.put(event);
                    } else {
                        let mut known = now.members.clone();
                        known.go(joined);
                        known.come(left);
                        self.state = State::Behind(known);
                    }
                }
            }
            RoomEvent::Signal { .. } => {
                if matches!(self.state, State::Live) && self.queue.len() < self.bounds.events {
                    self.put(event);
                }
            }
        }
    }

    /// The subscription was joined, for the first time or again.
    fn rejoined(&mut self, event: RoomEvent, epoch: &Epoch, after: Offset) {
        let reset = matches!(event, RoomEvent::Reset(_));
        match self.state {
            State::First => self.state = State::Live,
            // It still reads on to the end of the log; that the connection was lost meanwhile does not concern its reader.
            State::Behind(_) if !reset => return,
            State::Behind(_) | State::Live => self.state = State::Live,
            State::Opening(_) | State::Ended => return,
        }
        self.asked = None;
        self.queued = Some(Cursor {
            epoch: epoch.clone(),
            offset: after,
        });
        self.put(event);
    }

    fn fits(&self, message: &Message) -> bool {
        self.queue.len() < self.bounds.events && self.bytes + message.body.json().len() <= self.bounds.bytes
    }

    fn put(&mut self, event: RoomEvent) {
        let bytes = match &event {
            RoomEvent::Message { message, .. } => {
                if let Some(queued) = &mut self.queued {
                    queued.offset = message.offset;
                }
                message.body.json().len()
            }
            _ => 0,
        };
        self.bytes += bytes;
        self.queue.push_back((event, bytes));
    }
}
