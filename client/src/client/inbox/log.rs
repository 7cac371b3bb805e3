//! Reading from the room's log, a page at a time: to begin where a handle wants to, and to catch up after what did not fit.

use talkback_protocol::{
    Offset,
    session::client::{HistoryPage, PageError, RoomEvent},
};

use super::{Inbox, Now, PageWanted, Start, State, begun, joined_room};

/// What a server gives at once by default, and the most that is asked for.
const PAGE: u32 = 100;

/// After so many whole pages at the latest a larger one is tried again.
const MAX_PATIENCE: u32 = 64;

/// How many messages to ask for at once. A server may give fewer than it is asked for, the newest of them, which is of no use here; so
/// the size follows what was seen of the server. It is tried from time to time whether it gives more again: rarer each time that it
/// did not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    limit: u32,
    /// Whole pages of this size in a row.
    whole: u32,
    /// How many there must be before a larger one is tried.
    patience: u32,
    /// This size was tried after a smaller one, and no page of it came yet.
    tried: bool,
}

impl Default for PageSize {
    fn default() -> Self {
        Self {
            limit: PAGE,
            whole: 0,
            patience: 1,
            tried: false,
        }
    }
}

impl PageSize {
    /// As many messages came as were asked for.
    fn came_whole(&mut self) {
        self.whole += 1;
        if std::mem::take(&mut self.tried) {
            self.patience = 1;
        }
        if self.limit < PAGE && self.whole >= self.patience {
            self.limit = (self.limit * 2).min(PAGE);
            self.whole = 0;
            self.tried = true;
        }
    }

    /// Only so many messages came.
    fn came_short(&mut self, messages: usize) {
        self.limit = u32::try_from(messages).unwrap_or(PAGE).max(1);
        self.whole = 0;
        self.tried = false;
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
    }
}

impl Inbox {
    /// The page of the log that this handle needs now, if any; to be asked for, and answered with [`Inbox::answer`]. To be called
    /// after whatever changed the room or the queue.
    pub(crate) fn wants(&mut self, now: &Now) -> Option<PageWanted> {
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
            State::Opening(Start::Newest(history, _)) => Some(PageWanted {
                before: now.latest.offset.next(),
                limit: *history,
            }),
            State::Behind { presence } => {
                if self.queue.len() * 2 > self.bounds.events || self.bytes * 2 > self.bounds.bytes {
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

    /// The page that was asked for, or why there is none. What is missing then is asked for again by [`Inbox::wants`].
    pub(crate) fn answer(&mut self, wanted: PageWanted, result: Result<HistoryPage, PageError>, now: &Now) {
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
                if self.follow(since, history, wanted, &page, now) {
                    self.open(RoomEvent::Recovered(now.joined(since)), now);
                    self.fill(page);
                }
            }
            State::Behind { .. } => {
                let queued = self.queued.as_ref().map_or(Offset::ZERO, |cursor| cursor.offset);
                if self.follow(queued, self.page_size.limit, wanted, &page, now) {
                    self.fill(page);
                }
            }
        }
    }

    fn page_after(&self, offset: Offset, now: &Now) -> PageWanted {
        let most = self
            .page_size
            .limit
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
            Some(found) if found == offset.next() => {
                // The last page before the reader has caught up is a part of one, and says nothing.
                if page.messages.len() >= self.page_size.limit as usize {
                    self.page_size.came_whole();
                }
                return true;
            }
            // A server may give fewer messages than it was asked for, the newest of them.
            Some(_) if page.more && page.messages.len() < wanted.limit as usize => {
                self.page_size.came_short(page.messages.len());
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
}

/// Whether a page has what was asked for: the newest messages before an offset, and not more of them.
fn is_answer(page: &HistoryPage, wanted: PageWanted) -> bool {
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
