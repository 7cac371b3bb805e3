//! What the session tells, and what becomes of it.

use talkback_protocol::{
    Epoch, UserName, close,
    message::{Member, code},
    session::client::{JoinedRoom, PresenceChange},
};

use super::{Continuity, Effect, Event, Field, Link, Membership, State};
use crate::{chat::Incoming, form::Fault, i18n::Message};

impl State {
    pub(super) fn session(&mut self, event: Event, now: f64) -> Vec<Effect> {
        match event {
            Event::Welcome(user) => self.joined_as = user.to_string(),
            Event::Link(link) => self.link(link),
            Event::Joined(room, continuity) => self.joined(room, continuity, now),
            Event::Message(message) => self.said(message, now),
            Event::Presence { users, change } => self.presence(users, change, now),
            Event::Lost { epoch, offsets } => {
                self.outbox.lost(&epoch, &offsets);
                self.timeline.notice(now, Message::OwnLost(offsets.len()));
            }
            Event::Typing(user) => {
                if *user != *self.joined_as {
                    self.typing.heard(user, now);
                }
            }
            Event::Refused { code, message } => {
                let field = (code == code::BAD_ROOM).then_some(Field::Room);
                let message = Message::RoomRefused(message);
                self.fault = Some(Fault { field, message });
                return self.leave().into_iter().collect();
            }
            Event::Restored(texts) => {
                let keys = texts.into_iter().map(|text| self.outbox.push(text, now));
                return keys.map(Effect::Follow).collect();
            }
            Event::Written(key) => self.outbox.written(key),
            Event::Acked { key, epoch, offset, at } => self.outbox.acked(key, epoch, offset, at),
            Event::Failed { key, reason } => self.outbox.failed(key, reason),
            Event::Page { epoch, messages, more } => self.timeline.page(&epoch, messages, more),
            Event::PageFailed => self.timeline.page_failed(),
        }
        Vec::new()
    }

    fn link(&mut self, link: Link) {
        if self.is_out() {
            return;
        }
        if let Link::Stopped(Some(cause)) = &link {
            // The page has no tokens: what may not be is the name.
            let field = (cause.code == close::FORBIDDEN).then_some(Field::Name);
            let message = match field {
                Some(_) => Message::NameRefused(cause.reason.clone()),
                None => Message::Stopped(cause.clone()),
            };
            self.fault = Some(Fault { field, message });
            self.gone();
            return;
        }
        if link != Link::Open {
            // What was being typed is not known any more.
            self.typing.clear();
        }
        self.link = link;
    }

    fn joined(&mut self, room: JoinedRoom, continuity: Continuity, now: f64) {
        self.roster.replace(
            usize::try_from(room.users).unwrap_or(usize::MAX),
            room.members.map(users),
        );
        let (after, head) = (room.after.get(), room.head.get());
        if continuity == Continuity::Recovered {
            self.outbox.recovered(&room.epoch);
            self.timeline.go_on(room.epoch);
        } else {
            self.replaced(&room.epoch, after);
            if continuity == Continuity::Reset {
                self.history_lost(&room.epoch, now);
            }
            self.timeline.begin(room.epoch, after);
            self.history_to = head;
        }
        if self.membership == Membership::Entering {
            self.membership = Membership::In;
            self.greet_at = Some(head);
            self.greet(after, now);
        }
    }

    /// Own messages that will not come any more stand where the page has them.
    fn replaced(&mut self, epoch: &Epoch, after: u64) {
        for sent in self.outbox.take_acked(epoch, after) {
            self.timeline.was_said(Incoming {
                offset: 0,
                from: self.joined_as.clone(),
                at: sent.at,
                text: sent.text,
                own: true,
            });
        }
    }

    /// What is on the page stays, above the news that it does not go on.
    fn history_lost(&mut self, epoch: &Epoch, now: f64) {
        let message = if self.timeline.cursor().is_some_and(|cursor| cursor.epoch == *epoch) {
            Message::AwayTooLong
        } else {
            Message::HistoryLost
        };
        self.timeline.notice(now, message);
    }

    /// Says that the user joined, below the messages that were there before.
    fn greet(&mut self, come: u64, now: f64) {
        if self.greet_at.take_if(|head| come >= *head).is_some() {
            let (room, name) = (self.room_text(), self.joined_as.clone());
            self.timeline.notice(now, Message::Joined { room, name });
        }
    }

    fn said(&mut self, message: Incoming, now: f64) {
        let (offset, own) = (message.offset, message.own);
        let live = offset > self.history_to;
        self.typing.stopped(&message.from);
        if own {
            self.outbox.came_back(offset, &message.text);
        }
        if self.timeline.said(message, live) && live && !own {
            self.reading.news(self.timeline.last_number());
        }
        self.greet(offset, now);
        self.timeline.keep_bounds(self.reading.at_end);
    }

    fn presence(&mut self, count: u32, change: PresenceChange, now: f64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (joined, left) = match change {
            PresenceChange::Changed { joined, left } => (users(joined), users(left)),
            PresenceChange::List(members) => {
                self.roster.replace(count, Some(users(members)));
                return;
            }
            PresenceChange::Untold => {
                self.roster.replace(count, None);
                return;
            }
        };
        for user in &left {
            self.typing.stopped(user);
        }
        let not_me = |users: Vec<UserName>, me: &str| -> Vec<UserName> {
            users.into_iter().filter(|user| **user != *me).collect()
        };
        let joined = not_me(self.roster.came(joined), &self.joined_as);
        let left = not_me(self.roster.went(left), &self.joined_as);
        self.roster.count(count);
        if !joined.is_empty() {
            self.timeline.notice(now, Message::Came(joined));
        }
        if !left.is_empty() {
            self.timeline.notice(now, Message::Went(left));
        }
        self.timeline.keep_bounds(self.reading.at_end);
    }
}

fn users(members: Vec<Member>) -> Vec<UserName> {
    members.into_iter().map(|member| member.user).collect()
}
