//! What the chat shows and does: a pure reducer. Actions come in with the time, effects go out.

use talkback_client::Message as Payload;
use talkback_protocol::{NameError, RoomName, UserName, close};

use super::line::{Line, Unconfirmed};
use crate::{
    address,
    connection::{End, Event, Phase},
    form::Fault,
    i18n::Message,
};

/// A field of the form, to which an error can be tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Room,
    Name,
    Message,
}

/// What the chat shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// The room of the path; none if the path names no possible room.
    pub(crate) room: Option<RoomName>,
    /// What is typed to go elsewhere.
    pub(crate) other_room: String,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) phase: Phase,
    pub(crate) fault: Option<Fault<Field>>,
    /// The name under which the room was joined.
    joined_as: String,
    unconfirmed: Unconfirmed,
    server_origin: String,
    /// The page was left while joined, to be joined again if it comes back.
    left: bool,
}

/// What the user did or what happened.
#[derive(Debug)]
pub(crate) enum Action {
    Edit(Field, String),
    /// The path names another room, or none that is possible.
    Room(Result<RoomName, NameError>),
    /// The user wants to go to the room that is typed.
    Go,
    Join,
    Leave,
    Send,
    Connection(Event),
    Refused(Message),
    Sent(String),
    NotSent {
        text: String,
        why: Message,
    },
    PageLeft,
    PageBack,
}

/// What is to be done outside.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Open(String),
    Send(String),
    Close,
    /// End the connection at once, without events.
    Terminate,
    Navigate(RoomName),
    RememberName(String),
    Record(Line),
    ClearLog,
}

impl State {
    pub(crate) fn new(server_origin: String, name: String) -> Self {
        Self {
            room: None,
            other_room: String::new(),
            name,
            message: String::new(),
            phase: Phase::Idle,
            fault: None,
            joined_as: String::new(),
            unconfirmed: Unconfirmed::default(),
            server_origin,
            left: false,
        }
    }

    /// The room's name; a dash if the path names no possible room.
    pub(crate) fn room_text(&self) -> String {
        self.room.as_deref().unwrap_or("–").to_owned()
    }

    /// Takes an action at a time, in milliseconds since the Unix epoch; gives what is to be done.
    pub(crate) fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        match action {
            Action::Edit(field, text) => self.edit(field, text),
            Action::Room(room) => return self.enter(room, now),
            Action::Go => return self.go(),
            Action::Join => return self.join(now),
            Action::Leave => return self.leave(now),
            Action::Send => return self.send(),
            Action::Connection(event) => return self.connection(event, now),
            Action::Refused(message) => {
                self.phase = Phase::Idle;
                self.fault = Some(Fault::of_connection(message));
            }
            Action::Sent(text) => self.unconfirmed.sent(text),
            Action::NotSent { text, why } => {
                // The user may have typed on; what was not sent goes in front of it.
                self.message = if self.message.is_empty() {
                    text
                } else {
                    format!("{text}\n{}", self.message)
                };
                self.fail(Field::Message, why);
            }
            Action::PageLeft => {
                self.left = !self.phase.is_over();
                return self.leave(now);
            }
            Action::PageBack => {
                if std::mem::take(&mut self.left) {
                    self.phase = Phase::Idle;
                    return self.join(now);
                }
            }
        }
        Vec::new()
    }

    fn edit(&mut self, field: Field, text: String) {
        *match field {
            Field::Room => &mut self.other_room,
            Field::Name => &mut self.name,
            Field::Message => &mut self.message,
        } = text;
        self.fault.take_if(|fault| fault.field == Some(field));
    }

    /// Another room is another conversation: the log starts anew, and who was joined joins there.
    fn enter(&mut self, room: Result<RoomName, NameError>, now: f64) -> Vec<Effect> {
        let (room, fault) = match room {
            Ok(room) => (Some(room), None),
            Err(error) => (None, Some(Fault::of(Field::Room, Message::BadRoom(error)))),
        };
        if room == self.room && fault.is_none() {
            return Vec::new();
        }
        let was_joined = !self.phase.is_over();
        self.room = room;
        self.fault = fault;
        self.other_room.clear();
        self.phase = Phase::Idle;
        self.unconfirmed.give_up();
        let mut effects = vec![Effect::Close, Effect::ClearLog];
        if was_joined && self.room.is_some() {
            effects.extend(self.join(now));
        }
        effects
    }

    fn go(&mut self) -> Vec<Effect> {
        match RoomName::parse(self.other_room.trim()) {
            Ok(room) => vec![Effect::Navigate(room)],
            Err(error) => {
                self.fail(Field::Room, Message::BadRoom(error));
                Vec::new()
            }
        }
    }

    fn join(&mut self, now: f64) -> Vec<Effect> {
        let Some(room) = self.room.as_ref().filter(|_| self.phase.is_over()) else {
            return Vec::new();
        };
        match UserName::parse(&self.name) {
            Ok(name) => {
                let url = address::chat_url(&self.server_origin, room, &name);
                self.fault = None;
                self.phase = Phase::Connecting { since: now };
                self.joined_as = name.to_string();
                vec![Effect::RememberName(name.to_string()), Effect::Open(url)]
            }
            Err(error) => {
                self.fail(Field::Name, Message::BadName(error));
                Vec::new()
            }
        }
    }

    fn leave(&mut self, now: f64) -> Vec<Effect> {
        if let Some(end) = self.phase.cancelled() {
            return vec![Effect::Terminate, notice(Message::Closed(end))];
        }
        if !self.phase.is_open() {
            return Vec::new();
        }
        self.phase.closing(now, Some(close::NORMAL));
        vec![Effect::Close]
    }

    /// An empty message is not sent and not told: there is nothing to lose.
    fn send(&mut self) -> Vec<Effect> {
        if self.message.trim().is_empty() {
            return Vec::new();
        }
        if !self.phase.is_open() {
            self.fail(Field::Message, Message::NotSent(self.phase.ready_state()));
            return Vec::new();
        }
        self.fault = None;
        vec![Effect::Send(std::mem::take(&mut self.message))]
    }

    fn connection(&mut self, event: Event, now: f64) -> Vec<Effect> {
        match event {
            Event::Opened { protocol, extensions } => {
                self.phase.opened(now, protocol, extensions);
                let room = self.room.as_ref().map(ToString::to_string).unwrap_or_default();
                vec![notice(Message::Joined {
                    room,
                    name: self.joined_as.clone(),
                })]
            }
            Event::Received(Payload::Text(text)) => {
                let (from, said) = Line::parse(&text);
                let own = self.unconfirmed.confirm(&self.joined_as, from, said);
                vec![Effect::Record(Line::Said {
                    from: from.map(Into::into),
                    text: said.into(),
                    own,
                })]
            }
            // Plain group chat is text; binary frames of another server are not shown as garbage.
            Event::Received(_) | Event::Buffered(_) => Vec::new(),
            Event::Closed(closed) => match self.phase.closed(now, closed) {
                Some(end) => self.ended(end),
                None => Vec::new(),
            },
            Event::CloseOverdue => match self.phase.forced(now) {
                Some(end) => {
                    let mut effects = vec![Effect::Terminate];
                    effects.extend(self.ended(end));
                    effects
                }
                None => Vec::new(),
            },
        }
    }

    fn ended(&mut self, end: End) -> Vec<Effect> {
        if matches!(end, End::NeverOpened(_)) {
            self.fault = Some(Fault::of_connection(Message::Ended(end.clone())));
        }
        let mut effects = vec![notice(Message::Closed(end))];
        match self.unconfirmed.give_up() {
            0 => {}
            lost => effects.push(notice(Message::Unconfirmed(lost))),
        }
        effects
    }

    fn fail(&mut self, field: Field, message: Message) {
        self.fault = Some(Fault::of(field, message));
    }
}

fn notice(message: Message) -> Effect {
    Effect::Record(Line::Notice(message))
}

#[cfg(test)]
mod tests;
