//! What one handle of a room has not taken yet. Bounded; what does not fit is read again from the room's log, and of the events that
//! tell the state of the room at most one waits.

mod page_size;

use std::collections::VecDeque;

use talkback_protocol::{
    Cursor, Offset,
    message::Member,
    session::client::{HistoryPage, JoinedRoom, PageError, PresenceChange, RoomEvent},
};

use super::Members;
use page_size::PageSize;

/// The bounds of what a [`Room`](crate::Room) holds for its reader.
///
/// At the bound nothing is lost and nobody else is slowed down: the handle takes in no more messages, and once half of what it
/// holds was read, it reads on from the room's log, a page at a time, until it has caught up. If the log has dropped messages
/// by then, the handle yields [`Event::Reset`](crate::Event::Reset). Presence is told by one list afterwards, and signals,
/// which nobody keeps, are skipped meanwhile.
///
/// However often the room is joined again before the reader reads, one event tells of it: [`Event::Recovered`](crate::Event::Recovered)
/// renews an event of that kind that was not read yet, and [`Event::Reset`](crate::Event::Reset) takes its place together with what
/// followed it. This one event, one page and one [`Event::Lost`](crate::Event::Lost) may come on top of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxOptions {
    /// The most events, 4,096 by default.
    pub events: usize,
    /// The most bytes of bodies and names, 4 MiB by default.
    pub bytes: usize,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            events: 4_096,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// What a handle wants when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartPosition {
    pub(crate) since: Option<Cursor>,
    pub(crate) history: u32,
}

/// A room as its subscription has it at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribedRoom {
    /// The last message that the subscription delivered.
    pub(crate) latest: Cursor,
    pub(crate) users: u32,
    /// `None` while the server does not tell who.
    pub(crate) members: Option<Members>,
}

impl SubscribedRoom {
    fn joined(&self, after: Offset) -> JoinedRoom {
        JoinedRoom {
            epoch: self.latest.epoch.clone(),
            head: self.latest.offset.max(after),
            after,
            users: self.users,
            members: self.members.as_ref().map(Members::list),
        }
    }

    fn presence(&self) -> RoomEvent {
        RoomEvent::Presence {
            users: self.users,
            change: match &self.members {
                Some(members) => PresenceChange::List(members.list()),
                None => PresenceChange::Untold,
            },
        }
    }
}

/// A page of the log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) before: Offset,
    pub(crate) limit: u32,
}

/// The queue between a room's subscription and one reader.
pub(crate) struct Inbox {
    options: InboxOptions,
    queue: VecDeque<(RoomEvent, usize)>,
    bytes: usize,
    state: State,
    /// The last message that was put into the queue.
    queued: Option<Cursor>,
    /// The last message that was taken out of it.
    taken: Option<Cursor>,
    asked: Option<PageRequest>,
    /// The last page was of another life of the log, or not what was asked for: no other one is asked for before the room is joined
    /// again, because the answer would be the same each time.
    stalled: bool,
    page_size: PageSize,
}

enum State {
    /// The subscription's own `join` was made for this handle; its answer is this handle's first event.
    First,
    /// The room is joined by another handle, or lost what this one would read next: it begins by reading from the log.
    Opening(Start),
    /// Takes every event.
    Live,
    /// Messages after `queued` did not fit.
    Behind {
        /// Whether the reader is to be told of presence when it has caught up.
        presence: bool,
    },
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

impl From<StartPosition> for Start {
    fn from(StartPosition { since, history }: StartPosition) -> Self {
        match since {
            Some(since) => Self::Since(since, history),
            None => Self::Newest(history, false),
        }
    }
}

impl Inbox {
    /// For the handle whose wishes the subscription's own `join` carries.
    pub(crate) fn for_first_handle(options: InboxOptions) -> Self {
        Self::new(options, State::First)
    }

    /// For a further handle of a room.
    pub(crate) fn for_further_handle(options: InboxOptions, want: StartPosition) -> Self {
        Self::new(options, State::Opening(Start::from(want)))
    }

    fn new(options: InboxOptions, state: State) -> Self {
        Self {
            options,
            queue: VecDeque::new(),
            bytes: 0,
            state,
            queued: None,
            taken: None,
            asked: None,
            stalled: false,
            page_size: PageSize::default(),
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
    pub(crate) fn push(&mut self, event: RoomEvent, now: Option<&SubscribedRoom>) {
        match &event {
            RoomEvent::Left(_) | RoomEvent::Refused { .. } => {
                self.state = State::Ended;
                self.put(event);
            }
            RoomEvent::Joined(_) | RoomEvent::Recovered(_) | RoomEvent::Reset(_) => {
                if let Some(now) = now {
                    self.rejoined(event, now);
                }
            }
            RoomEvent::Message { message, .. } => {
                // A handle that began with a cursor from elsewhere may be ahead of the subscription.
                let is_known = self
                    .queued
                    .as_ref()
                    .is_some_and(|queued| message.offset <= queued.offset);
                if !matches!(self.state, State::Live) || is_known {
                    return;
                }
                if self.fits(&event) {
                    self.put(event);
                } else {
                    self.state = State::Behind { presence: false };
                }
            }
            RoomEvent::Presence { .. } => match self.state {
                State::Live if self.fits(&event) => self.put(event),
                State::Live | State::Behind { .. } => self.state = State::Behind { presence: true },
                State::First | State::Opening(_) | State::Ended => {}
            },
            RoomEvent::Signal { .. } => {
                if matches!(self.state, State::Live) && self.fits(&event) {
                    self.put(event);
                }
            }
            RoomEvent::Lost { .. } => self.lost(event),
        }
    }

    /// The subscription was joined, for the first time or again.
    fn rejoined(&mut self, event: RoomEvent, now: &SubscribedRoom) {
        self.stalled = false;
        let (is_recovered, after) = (matches!(event, RoomEvent::Recovered(_)), now.latest.offset);
        let ahead = self
            .queued
            .as_ref()
            .map(|queued| queued.offset)
            .filter(|&queued| queued > after);
        let event = match (&mut self.state, event) {
            (State::First, event) => event,
            // It still reads on to the end of the log; that the connection was lost meanwhile does not concern its reader, unless its
            // cursor is to go on in another epoch.
            (State::Behind { presence }, _) if is_recovered => {
                *presence = true;
                if let Some(queued) = &mut self.queued
                    && queued.epoch != now.latest.epoch
                {
                    queued.epoch = now.latest.epoch.clone();
                    self.asked = None;
                    let after = queued.offset;
                    self.tell_state(RoomEvent::Recovered(now.joined(after)));
                }
                return;
            }
            (State::Live, RoomEvent::Recovered(room)) => match ahead {
                Some(after) if after <= room.head => RoomEvent::Recovered(JoinedRoom { after, ..room }),
                // The log does not have what the cursor from elsewhere claimed.
                Some(_) => RoomEvent::Reset(room),
                None => RoomEvent::Recovered(room),
            },
            (State::Behind { .. } | State::Live, event) => event,
            (State::Opening(_) | State::Ended, _) => return,
        };
        self.state = State::Live;
        self.asked = None;
        self.tell_state(event);
    }

    /// Tells of the room as it is now, with the event of this kind that waits already, if there is one.
    fn tell_state(&mut self, event: RoomEvent) {
        let is_recovered = matches!(event, RoomEvent::Recovered(_));
        let Some(room) = joined_room(&event) else { return };
        self.queued = Some(Cursor {
            epoch: room.epoch.clone(),
            offset: room.after,
        });
        let Some(place) = self.queue.iter().position(|(event, _)| joined_room(event).is_some()) else {
            return self.put(event);
        };
        let room = room.clone();
        if is_recovered {
            // Its lists are those of now, so the differences since are told with them.
            self.keep(place, |event| !matches!(event, RoomEvent::Presence { .. }));
            if let RoomEvent::Joined(waiting) | RoomEvent::Recovered(waiting) | RoomEvent::Reset(waiting) =
                &mut self.queue[place].0
            {
                let after = waiting.after;
                *waiting = JoinedRoom { after, ..room };
            }
        } else {
            let has_nothing = matches!(self.queue[place].0, RoomEvent::Joined(_));
            self.keep(place, |event| matches!(event, RoomEvent::Lost { .. }));
            self.put(begun(room, !has_nothing));
        }
    }

    /// Own messages were lost. Of more than fit, the newest are told.
    fn lost(&mut self, event: RoomEvent) {
        if matches!(self.state, State::Ended) {
            return;
        }
        while !self.fits(&event)
            && let Some(place) = self
                .queue
                .iter()
                .position(|(event, _)| matches!(event, RoomEvent::Lost { .. }))
            && let Some((_, bytes)) = self.queue.remove(place)
        {
            self.bytes -= bytes;
        }
        self.put(event);
    }

    /// The page of the log that this handle needs now, if any; to be asked for, and answered with [`Inbox::answer`]. To be called
    /// after whatever changed the room or the queue.
    pub(crate) fn next_page(&mut self, now: &SubscribedRoom) -> Option<PageRequest> {
        if self.asked.is_some() || self.stalled {
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
                    // It may be ahead: what the subscription has still to deliver up to it is known to the reader.
                    let after = since.offset;
                    self.open(RoomEvent::Recovered(now.joined(after)), now);
                    return None;
                }
                Some(self.page_after(since.offset, now))
            }
            State::Opening(Start::Newest(0, reset)) => {
                self.open(begun(now.joined(now.latest.offset), *reset), now);
                return None;
            }
            State::Opening(Start::Newest(history, _)) => Some(PageRequest {
                before: now.latest.offset.next(),
                limit: *history,
            }),
            State::Behind { presence } => {
                if self.queue.len() * 2 > self.options.events || self.bytes * 2 > self.options.bytes {
                    return None;
                }
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if queued >= now.latest.offset {
                    let presence = *presence;
                    self.state = State::Live;
                    if presence {
                        self.put(now.presence());
                    }
                    return None;
                }
                Some(self.page_after(queued, now))
            }
        };
        self.asked = wanted;
        wanted
    }

    /// The page that was asked for, or why there is none. What is missing then is asked for again by [`Inbox::next_page`].
    pub(crate) fn answer(&mut self, wanted: PageRequest, result: Result<HistoryPage, PageError>, now: &SubscribedRoom) {
        // Another one is asked for by now if the room was reset since.
        if self.asked != Some(wanted) {
            return;
        }
        self.asked = None;
        let page = match result {
            Ok(page) if page.epoch == now.latest.epoch && is_answer(&page, wanted) => page,
            // The log began anew. The subscription notices that too and is joined again.
            Ok(_) => {
                self.stalled = true;
                return;
            }
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
                if self.follow(since, history, &page, now) {
                    self.open(RoomEvent::Recovered(now.joined(since)), now);
                    self.fill(page);
                }
            }
            State::Behind { .. } => {
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if self.follow(queued, self.page_size.limit(), &page, now) {
                    self.fill(page);
                }
            }
        }
    }

    fn page_after(&self, offset: Offset, now: &SubscribedRoom) -> PageRequest {
        let half = u32::try_from(self.options.events / 2).unwrap_or(u32::MAX);
        let most = self.page_size.limit().min(half).max(1);
        let before = offset.plus(u64::from(most) + 1).min(now.latest.offset.next());
        let count = before.get() - offset.get() - 1;
        PageRequest {
            before,
            limit: u32::try_from(count).unwrap_or(most),
        }
    }

    /// Whether the page begins right after this offset. If not, less is asked for next time, or the reader is told that messages
    /// are missing.
    fn follow(&mut self, offset: Offset, history: u32, page: &HistoryPage, now: &SubscribedRoom) -> bool {
        match first(page) {
            Some(found) if found == offset.next() => {
                // The last page before the reader has caught up is a part of one, and says nothing.
                if page.messages.len() >= self.page_size.limit() as usize {
                    self.page_size.came_whole();
                }
                return true;
            }
            // A server may give fewer messages than it was asked for, the newest of them. A whole page begins after the offset.
            Some(_) if page.more => self.page_size.came_short(page.messages.len()),
            Some(found) => {
                self.open(RoomEvent::Reset(now.joined(found.before())), now);
                self.fill(page.clone());
            }
            None => self.state = State::Opening(Start::Newest(history, true)),
        }
        false
    }

    /// Begins to yield messages after what the event says, reading the log before it goes live.
    fn open(&mut self, event: RoomEvent, now: &SubscribedRoom) {
        let Some(room) = joined_room(&event) else { return };
        self.state = if room.after >= now.latest.offset {
            State::Live
        } else {
            State::Behind { presence: false }
        };
        self.tell_state(event);
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

    /// Keeps of the events from this place on only these.
    fn keep(&mut self, place: usize, wanted: impl Fn(&RoomEvent) -> bool) {
        for (event, bytes) in self.queue.split_off(place) {
            if wanted(&event) {
                self.queue.push_back((event, bytes));
            } else {
                self.bytes -= bytes;
            }
        }
    }

    fn fits(&self, event: &RoomEvent) -> bool {
        self.queue.len() < self.options.events && self.bytes + weight(event) <= self.options.bytes
    }

    fn put(&mut self, event: RoomEvent) {
        if let (RoomEvent::Message { message, .. }, Some(queued)) = (&event, &mut self.queued) {
            queued.offset = message.offset;
        }
        let bytes = weight(&event);
        self.bytes += bytes;
        self.queue.push_back((event, bytes));
    }
}

/// The room, of an event that tells how it is now.
fn joined_room(event: &RoomEvent) -> Option<&JoinedRoom> {
    match event {
        RoomEvent::Joined(room) | RoomEvent::Recovered(room) | RoomEvent::Reset(room) => Some(room),
        _ => None,
    }
}

fn begun(room: JoinedRoom, reset: bool) -> RoomEvent {
    if reset {
        RoomEvent::Reset(room)
    } else {
        RoomEvent::Joined(room)
    }
}

/// Whether a page has what was asked for: the newest messages before an offset, and not more of them.
fn is_answer(page: &HistoryPage, wanted: PageRequest) -> bool {
    let offsets = || page.messages.iter().map(|message| message.offset);
    let is_contiguous = offsets().zip(offsets().skip(1)).all(|(one, other)| other == one.next());
    let reaches = page
        .messages
        .last()
        .is_none_or(|last| last.offset.next() == wanted.before);
    is_contiguous && reaches && page.messages.len() <= wanted.limit as usize
}

fn first(page: &HistoryPage) -> Option<Offset> {
    page.messages.first().map(|message| message.offset)
}

/// What an event counts of [`InboxOptions::bytes`].
fn weight(event: &RoomEvent) -> usize {
    let names = |members: &[Member]| members.iter().map(|member| member.user.len()).sum::<usize>();
    match event {
        RoomEvent::Message { message, .. } => message.body.json().len(),
        RoomEvent::Signal { body, .. } => body.json().len(),
        RoomEvent::Presence { change, .. } => match change {
            PresenceChange::Changed { joined, left } => names(joined) + names(left),
            PresenceChange::List(members) => names(members),
            PresenceChange::Untold => 0,
        },
        RoomEvent::Lost { offsets, .. } => size_of_val(offsets.as_slice()),
        RoomEvent::Joined(_)
        | RoomEvent::Recovered(_)
        | RoomEvent::Reset(_)
        | RoomEvent::Left(_)
        | RoomEvent::Refused { .. } => 0,
    }
}

#[cfg(test)]
mod tests;
