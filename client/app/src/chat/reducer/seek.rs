//! Going to a message that may not be loaded: a page of the room's log has it. That of a time is looked for by halves.

use talkback_client::Epoch;

use super::{ChatState, Effect, FLASH_MS, request_page};
use crate::{
    chat::timeline::{Found, Newer, RoomMessage, Seek, Target},
    i18n::Text,
};

/// The message to go to, and what is known about where it is.
#[derive(Debug)]
pub(super) struct Seeking {
    /// What the user asked for.
    origin: Seek,
    /// The message of that time, once its offset is known.
    seek: Seek,
    /// Of a time: every message up to this offset is older.
    after: u64,
    /// Of a time: no message from this offset on is older.
    until: u64,
    /// The page before this offset was requested for it.
    asked: Option<u64>,
}

impl Seeking {
    pub(super) fn new(seek: Seek) -> Self {
        Self {
            origin: seek.clone(),
            seek,
            after: 0,
            until: u64::MAX,
            asked: None,
        }
    }

    /// Another log begins, where nothing is known about where the message is.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.origin.clone());
    }
}

impl ChatState {
    /// Continues to look for the message to show: requests pages until it is there.
    pub(super) fn seek_on(&mut self, now: f64) -> Option<Effect> {
        let can_ask = self.has_caught_up();
        let seeking = self.seek.as_mut()?;
        let timeline = &mut self.here.timeline;
        // Without a connection it is requested again.
        seeking.asked.take_if(|_| !can_ask);
        if seeking.asked.is_some() || matches!(timeline.newer(), Newer::Loading { .. }) {
            return None;
        }
        match timeline.seek(&seeking.seek, seeking.after, seeking.until) {
            Found::Row(row) => {
                // It is shown with what follows.
                if can_ask && let Some(before) = timeline.request_after(row) {
                    return Some(request_page(before));
                }
                timeline.show_rows_with(row);
                self.seek = None;
                self.here.unread.scrolled(false);
                Some(Effect::ShowRow(row))
            }
            _ if !can_ask => None,
            Found::InPage { before } => {
                let epoch = timeline.cursor().map(|cursor| cursor.epoch);
                let offset = before - 1;
                seeking.seek = Seek::Message(Target { epoch, offset });
                seeking.asked = Some(before);
                Some(request_page(before))
            }
            Found::Between { before } => {
                seeking.asked = Some(before);
                Some(Effect::RequestPage { before, limit: 1 })
            }
            Found::Nowhere => {
                let is_time = matches!(seeking.seek, Seek::Time(_));
                // It is a day after that of the newest message.
                let text = if is_time {
                    Text::NothingFound
                } else {
                    Text::MessageNotThere
                };
                self.end_seek(text, now);
                None
            }
        }
    }

    /// Whether the page before an offset was requested for the message to go to.
    pub(super) fn is_sought(&self, before: u64) -> bool {
        self.seek.as_ref().is_some_and(|seeking| seeking.asked == Some(before))
    }

    pub(super) fn end_seek(&mut self, text: Text, now: f64) {
        self.seek = None;
        self.flash = Some((text, now + FLASH_MS));
    }

    /// The page came that was requested for the message to go to.
    pub(super) fn sought_page(&mut self, epoch: &Epoch, messages: Vec<RoomMessage>, more: bool, now: f64) {
        let timeline = &mut self.here.timeline;
        let is_of_log = timeline.cursor().is_some_and(|cursor| cursor.epoch == *epoch);
        let (Some(seeking), last) = (&mut self.seek, messages.last()) else {
            return;
        };
        let before = seeking.asked.take().unwrap_or_default();
        match (&seeking.seek, last) {
            _ if !is_of_log => self.end_seek(Text::MessageNotThere, now),
            (Seek::Time(time), Some(last)) if last.at >= *time => seeking.until = last.offset,
            (Seek::Time(_), _) => seeking.after = before - 1,
            (Seek::Message(target), Some(last)) if last.offset == target.offset => {
                timeline.open(messages, more);
                // Where the list is at its end, only the newest rows stay.
                self.here.unread.scrolled(false);
            }
            (Seek::Message(_), _) => self.end_seek(Text::MessageNotThere, now),
        }
    }
}
