//! The queue of events between a room's subscription and one handle's reader. It is bounded: messages that do not fit
//! are read from the room's log later, and at most one event that gives the state of the room is queued.

mod page_size;

use std::collections::VecDeque;

use talkback_protocol::{
    Cursor, Offset,
    message::Member,
    session::client::{HistoryPage, JoinedRoom, PageError, PresenceChange, RoomEvent},
};

use super::Members;
use page_size::PageSize;

/// The bounds of the events that a [`Room`](crate::Room) queues for its reader.
///
/// At a bound no message is lost and other readers are not slowed down: the `Room` queues no more messages, and when
/// half of the queue was read, it reads the room's log, one page at a time, until it has caught up. If the log has
/// dropped messages by then, the `Room` yields [`Event::Reset`](crate::Event::Reset). After it has caught up, one list
/// replaces the presence events that did not fit. Signals that do not fit are dropped, because no log stores them.
///
/// A page has at most 100 messages and at most half of [`InboxOptions::events`]. If the server gives fewer than
/// requested, the next page is as small as the server's; after 1 to 64 full pages the size is doubled again, later each
/// time that the server gave too few.
///
/// If the room is joined again several times before the reader reads, one event reports it:
/// [`Event::Recovered`](crate::Event::Recovered) updates the queued event of the last join, and
/// [`Event::Reset`](crate::Event::Reset) replaces it together with the events after it. This one event, one page and
/// one [`Event::Lost`](crate::Event::Lost) may exceed the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxOptions {
    /// The most queued events, 4,096 by default.
    pub events: usize,
    /// The most bytes of bodies and names in queued events, 4 MiB by default.
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

/// Where a new handle begins to read: after a message, or with a number of the newest messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartPosition {
    pub(crate) since: Option<Cursor>,
    pub(crate) history: u32,
}

/// The state of a room by the last event of its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribedRoom {
    /// The last message of the subscription.
    pub(crate) latest: Cursor,
    pub(crate) users: u32,
    /// `None` while the server sends no list.
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

/// A request for the newest `limit` messages before an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) before: Offset,
    pub(crate) limit: u32,
}

/// The queue of one handle.
pub(crate) struct Inbox {
    options: InboxOptions,
    queue: VecDeque<(RoomEvent, usize)>,
    bytes: usize,
    state: InboxState,
    /// The last message that was put into the queue.
    queued: Option<Cursor>,
    /// The last message that was taken from the queue.
    taken: Option<Cursor>,
    /// The page that was requested and not answered yet.
    requested: Option<PageRequest>,
    /// The last page had another epoch, or was no answer to the request. No further page is requested before the room
    /// is joined again, because the answer would be the same.
    stalled: bool,
    page_size: PageSize,
}

enum InboxState {
    /// The room was joined for this handle, and the answer to the join is its first event.
    Joining,
    /// The handle begins with a page of the log, because another handle has joined the room, or because the log dropped
    /// the messages that it would read next.
    Opening(FirstPage),
    /// Every event is queued.
    Live,
    /// Messages after `queued` did not fit.
    Behind {
        /// Whether to queue the presence when the handle has caught up.
        presence: bool,
    },
    /// No event follows.
    Ended,
}

/// The first page of a handle.
enum FirstPage {
    /// The messages after the cursor; if the log has dropped some of them, `history` of the newest.
    Since { since: Cursor, history: u32 },
    /// The newest messages; `reset` if the reader lacks messages before them.
    Newest { history: u32, reset: bool },
}

impl From<StartPosition> for FirstPage {
    fn from(StartPosition { since, history }: StartPosition) -> Self {
        match since {
            Some(since) => Self::Since { since, history },
            None => Self::Newest { history, reset: false },
        }
    }
}

impl Inbox {
    /// For the handle that the room is joined for.
    pub(crate) fn for_first_handle(options: InboxOptions) -> Self {
        Self::new(options, InboxState::Joining)
    }

    /// For a further handle of a room that is joined already.
    pub(crate) fn for_further_handle(options: InboxOptions, start: StartPosition) -> Self {
        Self::new(options, InboxState::Opening(FirstPage::from(start)))
    }

    fn new(options: InboxOptions, state: InboxState) -> Self {
        Self {
            options,
            queue: VecDeque::new(),
            bytes: 0,
            state,
            queued: None,
            taken: None,
            requested: None,
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
            event => {
                if let Some(room) = joined_room(event) {
                    self.taken = Some(start_of(room));
                }
            }
        }
        Some(event)
    }

    /// The last message that the reader has taken.
    pub(crate) fn taken(&self) -> Option<&Cursor> {
        self.taken.as_ref()
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether every event is queued as it comes, so that [`next_page`](Self::next_page) has no effect.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, InboxState::Live)
    }

    /// Whether no event follows.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, InboxState::Ended) && self.queue.is_empty()
    }

    /// Handles an event of the subscription. `current` is the room after the event; `None` if it was never joined.
    pub(crate) fn push(&mut self, event: RoomEvent, current: Option<&SubscribedRoom>) {
        match &event {
            RoomEvent::Left(_) | RoomEvent::Refused { .. } => {
                self.state = InboxState::Ended;
                self.put(event);
            }
            RoomEvent::Joined(_) | RoomEvent::Recovered(_) | RoomEvent::Reset(_) => {
                if let Some(current) = current {
                    self.rejoined(event, current);
                }
            }
            RoomEvent::Message { message, .. } => {
                // The cursor that a handle began with may be ahead of the subscription.
                let is_known = self
                    .queued
                    .as_ref()
                    .is_some_and(|queued| message.offset <= queued.offset);
                if !matches!(self.state, InboxState::Live) || is_known {
                    return;
                }
                if self.fits(&event) {
                    self.put(event);
                } else {
                    self.state = InboxState::Behind { presence: false };
                }
            }
            RoomEvent::Presence { .. } => match self.state {
                InboxState::Live if self.fits(&event) => self.put(event),
                InboxState::Live | InboxState::Behind { .. } => self.state = InboxState::Behind { presence: true },
                InboxState::Joining | InboxState::Opening(_) | InboxState::Ended => {}
            },
            RoomEvent::Signal { .. } => {
                if matches!(self.state, InboxState::Live) && self.fits(&event) {
                    self.put(event);
                }
            }
            RoomEvent::Lost { .. } => self.queue_lost(event),
        }
    }

    /// Handles the answer to a join, the first one or a later one.
    fn rejoined(&mut self, event: RoomEvent, current: &SubscribedRoom) {
        self.stalled = false;
        let (is_recovered, after) = (matches!(event, RoomEvent::Recovered(_)), current.latest.offset);
        let ahead = self
            .queued
            .as_ref()
            .map(|queued| queued.offset)
            .filter(|&queued| queued > after);
        let event = match (&mut self.state, event) {
            (InboxState::Joining, event) => event,
            // The handle reads the log to its end in any case. The reader gets an event only if its cursor continues in
            // a new epoch.
            (InboxState::Behind { presence }, _) if is_recovered => {
                *presence = true;
                if let Some(queued) = &mut self.queued
                    && queued.epoch != current.latest.epoch
                {
                    queued.epoch = current.latest.epoch.clone();
                    self.requested = None;
                    let after = queued.offset;
                    self.queue_state(RoomEvent::Recovered(current.joined(after)));
                }
                return;
            }
            (InboxState::Live, RoomEvent::Recovered(room)) => match ahead {
                Some(after) if after <= room.head => RoomEvent::Recovered(JoinedRoom { after, ..room }),
                // The log does not have the message of the cursor.
                Some(_) => RoomEvent::Reset(room),
                None => RoomEvent::Recovered(room),
            },
            (InboxState::Behind { .. } | InboxState::Live, event) => event,
            (InboxState::Opening(_) | InboxState::Ended, _) => return,
        };
        self.state = InboxState::Live;
        self.requested = None;
        self.queue_state(event);
    }

    /// Queues an event that gives the state of the room, or merges it into the queued one.
    fn queue_state(&mut self, event: RoomEvent) {
        let is_recovered = matches!(event, RoomEvent::Recovered(_));
        let Some(room) = joined_room(&event) else { return };
        self.queued = Some(start_of(room));
        let Some(index) = self.queue.iter().position(|(event, _)| joined_room(event).is_some()) else {
            return self.put(event);
        };
        let room = room.clone();
        if is_recovered {
            // The event has the current list, so later presence events are obsolete.
            self.retain_from(index, |event| !matches!(event, RoomEvent::Presence { .. }));
            if let RoomEvent::Joined(queued) | RoomEvent::Recovered(queued) | RoomEvent::Reset(queued) =
                &mut self.queue[index].0
            {
                let after = queued.after;
                *queued = JoinedRoom { after, ..room };
            }
        } else {
            let is_first_join = matches!(self.queue[index].0, RoomEvent::Joined(_));
            self.retain_from(index, |event| matches!(event, RoomEvent::Lost { .. }));
            self.put(joined_or_reset(room, !is_first_join));
        }
    }

    /// Queues lost messages of this client. If they do not fit, the oldest such events are dropped.
    fn queue_lost(&mut self, event: RoomEvent) {
        if matches!(self.state, InboxState::Ended) {
            return;
        }
        while !self.fits(&event)
            && let Some(index) = self
                .queue
                .iter()
                .position(|(event, _)| matches!(event, RoomEvent::Lost { .. }))
            && let Some((_, bytes)) = self.queue.remove(index)
        {
            self.bytes -= bytes;
        }
        self.put(event);
    }

    /// The page of the log to request next, if any; its result goes to [`Inbox::answer`]. Call it after each change of
    /// the room or of the queue.
    pub(crate) fn next_page(&mut self, current: &SubscribedRoom) -> Option<PageRequest> {
        if self.requested.is_some() || self.stalled {
            return None;
        }
        if let InboxState::Opening(FirstPage::Since { since, history }) = &self.state
            && since.epoch != current.latest.epoch
        {
            self.state = InboxState::Opening(FirstPage::Newest {
                history: *history,
                reset: true,
            });
        }
        let request = match &self.state {
            InboxState::Joining | InboxState::Live | InboxState::Ended => None,
            InboxState::Opening(FirstPage::Since { since, .. }) => {
                if since.offset >= current.latest.offset {
                    // The cursor may be ahead of the subscription: the reader has the messages up to it already.
                    let after = since.offset;
                    self.open(RoomEvent::Recovered(current.joined(after)), current);
                    return None;
                }
                Some(self.page_after(since.offset, current))
            }
            InboxState::Opening(FirstPage::Newest { history: 0, reset }) => {
                self.open(joined_or_reset(current.joined(current.latest.offset), *reset), current);
                return None;
            }
            InboxState::Opening(FirstPage::Newest { history, .. }) => Some(PageRequest {
                before: current.latest.offset.next(),
                limit: *history,
            }),
            InboxState::Behind { presence } => {
                if self.queue.len() * 2 > self.options.events || self.bytes * 2 > self.options.bytes {
                    return None;
                }
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if queued >= current.latest.offset {
                    let presence = *presence;
                    self.state = InboxState::Live;
                    if presence {
                        self.put(current.presence());
                    }
                    return None;
                }
                Some(self.page_after(queued, current))
            }
        };
        self.requested = request;
        request
    }

    /// Handles the result of a request. After an error, [`Inbox::next_page`] requests the missing messages again.
    pub(crate) fn answer(
        &mut self,
        request: PageRequest,
        result: Result<HistoryPage, PageError>,
        current: &SubscribedRoom,
    ) {
        // Another page may have been requested since, because the room was reset.
        if self.requested != Some(request) {
            return;
        }
        self.requested = None;
        let page = match result {
            Ok(page) if page.epoch == current.latest.epoch && is_answer(&page, request) => page,
            // The log began a new epoch. The session detects that too and joins the room again.
            Ok(_) => {
                self.stalled = true;
                return;
            }
            Err(PageError::Refused { code, message }) => {
                self.state = InboxState::Ended;
                return self.put(RoomEvent::Refused { code, message });
            }
            // The connection was lost, or there are too many requests at once.
            Err(_) => return,
        };
        match &self.state {
            InboxState::Joining | InboxState::Live | InboxState::Ended => {}
            InboxState::Opening(FirstPage::Newest { reset, .. }) => {
                let after = first(&page).unwrap_or(request.before).before();
                self.open(joined_or_reset(current.joined(after), *reset), current);
                self.queue_page(page);
            }
            InboxState::Opening(FirstPage::Since { since, history }) => {
                let (since, history) = (since.offset, *history);
                if self.follow(since, history, &page, current) {
                    self.open(RoomEvent::Recovered(current.joined(since)), current);
                    self.queue_page(page);
                }
            }
            InboxState::Behind { .. } => {
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if self.follow(queued, self.page_size.limit(), &page, current) {
                    self.queue_page(page);
                }
            }
        }
    }

    fn page_after(&self, offset: Offset, current: &SubscribedRoom) -> PageRequest {
        let half = u32::try_from(self.options.events / 2).unwrap_or(u32::MAX);
        let limit = self.page_size.limit().min(half).max(1);
        let before = offset.plus(u64::from(limit) + 1).min(current.latest.offset.next());
        let count = before.get() - offset.get() - 1;
        PageRequest {
            before,
            limit: u32::try_from(count).unwrap_or(limit),
        }
    }

    /// Whether the page begins right after this offset. If not, the next request is for fewer messages, or the reader
    /// gets a reset.
    fn follow(&mut self, offset: Offset, history: u32, page: &HistoryPage, current: &SubscribedRoom) -> bool {
        match first(page) {
            Some(found) if found == offset.next() => {
                // The last page before the handle has caught up has fewer messages, whatever the server's limit is.
                if page.messages.len() >= self.page_size.limit() as usize {
                    self.page_size.full_page();
                }
                return true;
            }
            // The server gave only the newest of the requested messages.
            Some(_) if page.more => self.page_size.short_page(page.messages.len()),
            Some(found) => {
                self.open(RoomEvent::Reset(current.joined(found.before())), current);
                self.queue_page(page.clone());
            }
            None => self.state = InboxState::Opening(FirstPage::Newest { history, reset: true }),
        }
        false
    }

    /// Begins to queue the messages after the offset of the event. Reads the log first if the subscription is ahead of
    /// it.
    fn open(&mut self, event: RoomEvent, current: &SubscribedRoom) {
        let Some(room) = joined_room(&event) else { return };
        self.state = if room.after >= current.latest.offset {
            InboxState::Live
        } else {
            InboxState::Behind { presence: false }
        };
        self.queue_state(event);
    }

    fn queue_page(&mut self, page: HistoryPage) {
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

    /// Removes the events from this index on that do not match the predicate.
    fn retain_from(&mut self, index: usize, predicate: impl Fn(&RoomEvent) -> bool) {
        for (event, bytes) in self.queue.split_off(index) {
            if predicate(&event) {
                self.queue.push_back((event, bytes));
            } else {
                self.bytes -= bytes;
            }
        }
    }

    fn fits(&self, event: &RoomEvent) -> bool {
        self.queue.len() < self.options.events && self.bytes + counted_bytes(event) <= self.options.bytes
    }

    fn put(&mut self, event: RoomEvent) {
        if let (RoomEvent::Message { message, .. }, Some(queued)) = (&event, &mut self.queued) {
            queued.offset = message.offset;
        }
        let bytes = counted_bytes(&event);
        self.bytes += bytes;
        self.queue.push_back((event, bytes));
    }
}

/// The room, if the event gives its state.
fn joined_room(event: &RoomEvent) -> Option<&JoinedRoom> {
    match event {
        RoomEvent::Joined(room) | RoomEvent::Recovered(room) | RoomEvent::Reset(room) => Some(room),
        _ => None,
    }
}

/// The cursor before the first message that follows the event of this room.
fn start_of(room: &JoinedRoom) -> Cursor {
    Cursor {
        epoch: room.epoch.clone(),
        offset: room.after,
    }
}

fn joined_or_reset(room: JoinedRoom, reset: bool) -> RoomEvent {
    if reset {
        RoomEvent::Reset(room)
    } else {
        RoomEvent::Joined(room)
    }
}

/// Whether a page answers the request: consecutive messages, the last one right before the offset, and not more than
/// the limit.
fn is_answer(page: &HistoryPage, request: PageRequest) -> bool {
    let offsets = || page.messages.iter().map(|message| message.offset);
    let is_contiguous = offsets().zip(offsets().skip(1)).all(|(one, other)| other == one.next());
    let is_newest = page
        .messages
        .last()
        .is_none_or(|last| last.offset.next() == request.before);
    is_contiguous && is_newest && page.messages.len() <= request.limit as usize
}

fn first(page: &HistoryPage) -> Option<Offset> {
    page.messages.first().map(|message| message.offset)
}

/// The bytes of an event that count against [`InboxOptions::bytes`].
fn counted_bytes(event: &RoomEvent) -> usize {
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
