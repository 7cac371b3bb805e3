//! Reading from the room's log, a page at a time: to begin where a handle wants to, and to catch up after what did not fit.

use talkback_protocol::{
    Offset,
    session::client::{HistoryPage, PageError, RoomEvent},
};

use super::{Inbox, Now, PAGE, PageWanted, Start, State, begun, joined_room};

impl Inbox {
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
                limit: (*history).min(self.page_limit),
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
            State::Behind { .. } => {
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

fn first(page: &HistoryPage) -> Option<Offset> {
    page.messages.first().map(|message| message.offset)
}
