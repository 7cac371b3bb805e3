//! What the chat shows and does: a pure reducer. Actions come in with the time, effects go out.

use talkback_client::{RoomNameError, room_name};
use talkback_protocol::{
    Cursor, Epoch, RoomName, UserName,
    session::client::{Cause, FailReason, JoinedRoom, PresenceChange},
};

use super::{
    Incoming,
    outgoing::{Key, Outbox},
    reading::Reading,
    roster::Roster,
    timeline::Timeline,
    typing::Typing,
};
use crate::{form::Fault, i18n::Message};

/// A field of the form, to which an error can be tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Room,
    Name,
    Message,
}

/// Where the user stands with the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The user has not joined, or left, or was refused.
    Out,
    /// The user wants to be in, and the room has not answered yet.
    Entering,
    /// The room answered; whether it can be reached just now is the [`Link`]'s to say.
    In,
}

/// The connection below the room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Link {
    Connecting,
    Open,
    /// The next attempt comes by itself at a time in milliseconds since the Unix epoch.
    Waiting {
        until: f64,
    },
    /// The machine has no network.
    Offline,
    /// The page sleeps.
    Asleep,
    /// No attempt is made; with the reason, if the server refused.
    Stopped(Option<Cause>),
}

/// What the chat shows.
#[derive(Debug)]
pub(crate) struct State {
    /// The room of the path; none if the path names no possible room.
    pub(crate) room: Option<RoomName>,
    /// What is typed to go elsewhere.
    pub(crate) other_room: String,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) fault: Option<Fault<Field>>,
    pub(crate) membership: Membership,
    pub(crate) link: Link,
    /// The name under which the room was joined, as the server writes it once it has told.
    pub(crate) joined_as: String,
    pub(crate) roster: Roster,
    pub(crate) typing: Typing,
    pub(crate) timeline: Timeline,
    pub(crate) outbox: Outbox,
    pub(crate) reading: Reading,
    /// Messages up to this offset were there when the room was joined: history, and no news.
    history_to: u64,
    /// The user just joined, and this is the newest message that was there before.
    greet_at: Option<u64>,
    local_day: fn(f64) -> i64,
}

/// What the user did or what happened.
#[derive(Debug)]
pub(crate) enum Action {
    Edit(Field, String),
    /// The path names another room, or none that is possible.
    Room(Result<RoomName, RoomNameError>),
    /// The user wants to go to the room that is typed.
    Go,
    Join,
    Leave,
    Send,
    Retry(Key),
    Discard(Key),
    /// The user does not want to wait for the next attempt.
    ConnectNow,
    /// The user wants to see older messages.
    Older,
    /// The list was scrolled; whether its end is in sight.
    Scrolled {
        at_end: bool,
    },
    /// The page came into sight or went out of it.
    Shown(bool),
    /// Time has passed.
    Tick,
    Session(Event),
}

/// What the session tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// The name that others see, as the server writes it.
    Welcome(UserName),
    Link(Link),
    Joined(JoinedRoom, Continuity),
    Message(Incoming),
    Presence {
        users: u32,
        change: PresenceChange,
    },
    /// The server has lost these messages of this client, which it had acknowledged.
    Lost {
        epoch: Epoch,
        offsets: Vec<u64>,
    },
    Typing(UserName),
    /// The room is not open to this user, or not any more.
    Refused {
        code: String,
        message: String,
    },
    /// What was sent before the page was reloaded and is not answered yet, in order.
    Restored(Vec<String>),
    Written(Key),
    Acked {
        key: Key,
        epoch: Epoch,
        offset: u64,
        at: f64,
    },
    Failed {
        key: Key,
        reason: FailReason,
    },
    Page {
        epoch: Epoch,
        messages: Vec<Incoming>,
        more: bool,
    },
    PageFailed,
}

/// How a joined room goes on from what is on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// There was nothing: the newest messages follow.
    Fresh,
    /// Nothing is missing.
    Recovered,
    /// Messages are missing: the newest follow.
    Reset,
}

/// What is to be done outside.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Be in this room under this name, and in no other; with a cursor, go on behind it.
    Enter {
        room: RoomName,
        name: UserName,
        since: Option<Cursor>,
    },
    /// Be in no room, and end the connection.
    Leave,
    ConnectNow,
    Send {
        key: Key,
        text: String,
    },
    /// Tell of the next of [`Event::Restored`] under this key.
    Follow(Key),
    SayTyping,
    AskOlder {
        before: u64,
    },
    Navigate(RoomName),
    RememberName(String),
}

impl State {
    /// Not joined yet; `local_day` counts the days of the local calendar.
    pub(crate) fn new(name: String, local_day: fn(f64) -> i64) -> Self {
        Self {
            room: None,
            other_room: String::new(),
            name,
            message: String::new(),
            fault: None,
            membership: Membership::Out,
            link: Link::Stopped(None),
            joined_as: String::new(),
            roster: Roster::default(),
            typing: Typing::default(),
            timeline: Timeline::new(local_day),
            outbox: Outbox::default(),
            reading: Reading::default(),
            history_to: 0,
            greet_at: None,
            local_day,
        }
    }

    /// The room's name; a dash if the path names no possible room.
    pub(crate) fn room_text(&self) -> String {
        self.room.as_deref().unwrap_or("–").to_owned()
    }

    pub(crate) fn is_out(&self) -> bool {
        self.membership == Membership::Out
    }

    /// Messages come and go just now.
    pub(crate) fn is_live(&self) -> bool {
        self.membership == Membership::In && self.link == Link::Open
    }

    /// All messages that were there when the room was joined have come.
    pub(crate) fn has_caught_up(&self) -> bool {
        let received = self.timeline.cursor().map(|cursor| cursor.offset.get());
        self.is_live() && received.is_some_and(|received| received >= self.history_to)
    }

    /// Something on the page changes with the time alone.
    pub(crate) fn needs_ticks(&self) -> bool {
        matches!(self.link, Link::Waiting { .. }) || self.typing.users().len() > 0
    }

    /// Takes an action at a time, in milliseconds since the Unix epoch; gives what is to be done.
    pub(crate) fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match action {
            Action::Edit(field, text) => effects.extend(self.edit(field, text, now)),
            Action::Room(room) => effects = self.enter(room),
            Action::Go => effects.extend(self.go()),
            Action::Join => effects = self.join(),
            Action::Leave => {
                if self.membership == Membership::In {
                    self.timeline.notice(now, Message::Left);
                }
                effects.extend(self.leave());
            }
            Action::Send => effects.extend(self.send(now)),
            Action::Retry(key) => {
                if let Some(failed) = self.outbox.take_failed(key) {
                    effects.push(self.send_text(failed.text, now));
                }
            }
            Action::Discard(key) => drop(self.outbox.take_failed(key)),
            Action::ConnectNow => effects.push(Effect::ConnectNow),
            Action::Older => {
                if !self.is_out() {
                    effects.extend(self.timeline.ask_older().map(|before| Effect::AskOlder { before }));
                }
            }
            Action::Scrolled { at_end } => {
                self.reading.scrolled(at_end);
                self.timeline.keep_bounds(at_end);
            }
            Action::Shown(visible) => self.reading.shown(visible),
            Action::Tick => self.typing.expire(now),
            Action::Session(event) => effects = self.session(event, now),
        }
        effects
    }

    fn edit(&mut self, field: Field, text: String, now: f64) -> Option<Effect> {
        let says = field == Field::Message && !text.trim().is_empty();
        *match field {
            Field::Room => &mut self.other_room,
            Field::Name => &mut self.name,
            Field::Message => &mut self.message,
        } = text;
        self.fault.take_if(|fault| fault.field == Some(field));
        (says && self.is_live() && self.typing.say(now)).then_some(Effect::SayTyping)
    }

    /// Another room is another conversation: the rows start anew, and who was in joins there.
    fn enter(&mut self, room: Result<RoomName, RoomNameError>) -> Vec<Effect> {
        let (room, fault) = match room {
            Ok(room) => (Some(room), None),
            Err(error) => (None, Some(Fault::of(Field::Room, Message::BadRoom(error)))),
        };
        if room == self.room && fault.is_none() {
            return Vec::new();
        }
        let was_in = !self.is_out();
        let visible = self.reading.is_visible();
        self.room = room;
        self.fault = fault;
        self.other_room.clear();
        self.membership = Membership::Out;
        self.roster = Roster::default();
        self.typing.clear();
        self.timeline = Timeline::new(self.local_day);
        self.outbox.clear();
        self.reading = Reading::default();
        self.reading.shown(visible);
        match (was_in, self.room.is_some()) {
            (true, true) => self.join(),
            (true, false) => vec![Effect::Leave],
            (false, _) => Vec::new(),
        }
    }

    fn go(&mut self) -> Option<Effect> {
        match room_name(self.other_room.trim()) {
            Ok(room) => Some(Effect::Navigate(room)),
            Err(error) => {
                self.fail(Field::Room, Message::BadRoom(error));
                None
            }
        }
    }

    fn join(&mut self) -> Vec<Effect> {
        let Some(room) = self.room.clone().filter(|_| self.is_out()) else {
            return Vec::new();
        };
        match UserName::parse(self.name.trim()) {
            Ok(name) => {
                self.fault = None;
                self.membership = Membership::Entering;
                self.link = Link::Connecting;
                self.joined_as = name.to_string();
                let since = self.timeline.cursor();
                vec![
                    Effect::RememberName(name.to_string()),
                    Effect::Enter { room, name, since },
                ]
            }
            Err(error) => {
                self.fail(Field::Name, Message::BadName(error));
                Vec::new()
            }
        }
    }

    fn leave(&mut self) -> Option<Effect> {
        if self.is_out() {
            return None;
        }
        self.gone();
        Some(Effect::Leave)
    }

    fn gone(&mut self) {
        self.membership = Membership::Out;
        self.link = Link::Stopped(None);
        self.roster = Roster::default();
        self.typing.clear();
        self.timeline.page_failed();
    }

    /// An empty message is not sent and not told: there is nothing to lose.
    fn send(&mut self, now: f64) -> Option<Effect> {
        if self.message.trim().is_empty() {
            return None;
        }
        if self.is_out() {
            self.fail(Field::Message, Message::NotJoined);
            return None;
        }
        self.fault = None;
        self.typing.sent();
        let text = std::mem::take(&mut self.message);
        Some(self.send_text(text, now))
    }

    fn send_text(&mut self, text: String, now: f64) -> Effect {
        self.reading.wrote();
        self.timeline.keep_bounds(true);
        let key = self.outbox.push(text.clone(), now);
        Effect::Send { key, text }
    }

    fn fail(&mut self, field: Field, message: Message) {
        self.fault = Some(Fault::of(field, message));
    }
}

mod told;

#[cfg(test)]
mod tests;
