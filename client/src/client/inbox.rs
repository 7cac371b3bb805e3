//! What one handle of a room has not taken yet. Bounded; what does not fit is read again from the room's log.

use std::collections::{BTreeSet, VecDeque};

use talkback_protocol::{
    Cursor, Epoch, Offset,
    message::{Member, Message},
    session::client::{HistoryPage, JoinedRoom, PageError, RoomEvent},
};

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
    pub(crate) members: BTreeSet<Member>,
}

impl Now {
    fn joined(&self, after: Offset) -> JoinedRoom {
        JoinedRoom {
            epoch: self.latest.epoch.clone(),
            head: self.latest.offset,
            after,
            users: self.users,
            members: self.members.iter().cloned().collect(),
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
    Behind(BTreeSet<Member>),
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
                        known.retain(|member| !joined.contains(member));
                        known.extend(left.iter().cloned());
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

    /// The page of the log that this handle needs now, if any; to be asked for, and answered with [`Inbox::answer`]. To be called
    /// after whatever changed the room or the queue.
    pub(crate) fn wants(&mut self, now: &Now) -> Option<PageWanted> {
        if self.asked.is_some() {
            return None;
        }
        if let State::Opening(Start::Since(since, history)) = &self.state
            && since.epoch != now.latest.epoch
        {
            self.state = State::Opening(Start::Newest(*history, true));
        }
        let wanted = match &self.state {
            State::First | State::Live | State::Ended => None,
            State::Opening(Start::Since(since, _)) => {
                if since.offset >= now.latest.offset {
                    self.open(RoomEvent::Recovered(now.joined(now.latest.offset)), now);
                    return None;
                }
                Some(self.page_after(since.offset, now))
            }
            State::Opening(Start::Newest(0, reset)) => {
                self.open(begun(now.joined(now.latest.offset), *reset), now);
                return None;
            }
            State::Opening(Start::Newest(history, _)) => Some(PageWanted {
                before: now.latest.offset.next(),
                limit: (*history).min(self.page_limit),
            }),
            State::Behind(known) => {
                if self.queue.len() * 2 > self.bounds.events || self.bytes * 2 > self.bounds.bytes {
                    return None;
                }
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if queued >= now.latest.offset {
                    self.catch_up(known.clone(), now);
                    return None;
                }
                Some(self.page_after(queued, now))
            }
        };
        self.asked = wanted;
        wanted
    }

    /// The page that was asked for, or why there is none. What is missing then is asked for again by [`Inbox::wants`].
    pub(crate) fn answer(&mut self, wanted: PageWanted, result: Result<HistoryPage, PageError>, now: &Now) {
        // Another one is asked for by now if the room was reset since.
        if self.asked != Some(wanted) {
            return;
        }
        self.asked = None;
        let page = match result {
            Ok(page) if page.epoch == now.latest.epoch => page,
            // The log began anew. The subscription notices that too and says so.
            Ok(_) => return,
            Err(PageError::Refused { code, message }) => {
                self.state = State::Ended;
                return self.put(RoomEvent::Refused { code, message });
            }
            // The connection is gone, or too much is asked for at once.
            Err(_) => return,
        };
        match &self.state {
            State::First | State::Live | State::Ended => {}
            State::Opening(Start::Newest(_, reset)) => {
                let after = first(&page).unwrap_or(wanted.before).before();
                self.open(begun(now.joined(after), *reset), now);
                self.fill(page);
            }
            State::Opening(Start::Since(since, history)) => {
                let (since, history) = (since.offset, *history);
                if self.follow(since, history, wanted, &page, now) {
                    self.open(RoomEvent::Recovered(now.joined(since)), now);
                    self.fill(page);
                }
            }
            State::Behind(_) => {
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if self.follow(queued, self.page_limit, wanted, &page, now) {
                    self.fill(page);
                }
            }
        }
    }

    fn page_after(&self, offset: Offset, now: &Now) -> PageWanted {
        let most = self
            .page_limit
            .min(u32::try_from(self.bounds.events / 2).unwrap_or(PAGE))
            .max(1);
        let before = offset.plus(u64::from(most) + 1).min(now.latest.offset.next());
        let count = before.get() - offset.get() - 1;
        PageWanted {
            before,
            limit: u32::try_from(count).unwrap_or(most),
        }
    }

    /// Whether the page begins right after this offset. If not, less is asked for next time, or the reader is told that messages
    /// are missing.
    fn follow(&mut self, offset: Offset, history: u32, wanted: PageWanted, page: &HistoryPage, now: &Now) -> bool {
        match first(page) {
            Some(found) if found == offset.next() => return true,
            // A server may give fewer messages than it was asked for, the newest of them.
            Some(_) if page.more && page.messages.len() < wanted.limit as usize => {
                self.page_limit = u32::try_from(page.messages.len()).unwrap_or(PAGE).max(1);
            }
            Some(found) => {
                self.open(RoomEvent::Reset(now.joined(found.before())), now);
                self.fill(page.clone());
            }
            None => self.state = State::Opening(Start::Newest(history, true)),
        }
        false
    }

    /// Begins to yield messages after what the event says, reading the log before it goes live.
    fn open(&mut self, event: RoomEvent, now: &Now) {
        let (RoomEvent::Joined(room) | RoomEvent::Recovered(room) | RoomEvent::Reset(room)) = &event else {
            return;
        };
        self.queued = Some(Cursor {
            epoch: room.epoch.clone(),
            offset: room.after,
        });
        self.state = if room.after >= now.latest.offset {
            State::Live
        } else {
            State::Behind(now.members.clone())
        };
        self.put(event);
    }

    fn fill(&mut self, page: HistoryPage) {
        for message in page.messages {
            if self
                .queued
                .as_ref()
                .is_some_and(|cursor| message.offset == cursor.offset.next())
            {
                self.put(RoomEvent::Message { message, own: false });
            }
        }
    }

    fn catch_up(&mut self, known: BTreeSet<Member>, now: &Now) {
        self.state = State::Live;
        let joined: Vec<_> = now.members.difference(&known).cloned().collect();
        let left: Vec<_> = known.difference(&now.members).cloned().collect();
        if !joined.is_empty() || !left.is_empty() {
            self.put(RoomEvent::Presence { joined, left });
        }
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

fn begun(room: JoinedRoom, reset: bool) -> RoomEvent {
    if reset {
        RoomEvent::Reset(room)
    } else {
        RoomEvent::Joined(room)
    }
}

fn first(page: &HistoryPage) -> Option<Offset> {
    page.messages.first().map(|message| message.offset)
}
