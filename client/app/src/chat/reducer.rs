//! The chat's reducer, pure: [`ChatState::update`] takes an [`Action`] and the time, and returns the [`Effect`]s for
//! the view to run.

use talkback_client::{
    Body, Cause, Cursor, Epoch, FailReason, JoinedRoom, Member, PresenceChange, RoomName, RoomNameError, UserName,
    close, code, room_name,
};

use super::{
    outbox::{Key, Outbox},
    roster::Roster,
    timeline::{RoomMessage, Timeline},
    typing::Typing,
    unread::Unread,
};
use crate::{form::FormError, i18n::Sentence};

/// A field of a form, which can have an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Room,
    Name,
    Message,
}

/// Whether the user is in the room; inside, the state of the connection below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Membership {
    /// The user has not joined, or left, or was refused.
    Out,
    /// The user wants to join, and the room has not answered yet.
    Joining(ConnectionStatus),
    /// The room has answered. It may be unreachable for a time.
    In {
        connection: ConnectionStatus,
        /// The offset after which the notice of the user's own joining is due; none once it is shown.
        joined_notice_after: Option<u64>,
    },
}

/// The state of the session's connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ConnectionStatus {
    Connecting,
    Open,
    /// The next attempt is made at this time, in milliseconds since the Unix epoch.
    Waiting {
        until: f64,
    },
    /// The machine has no network.
    Offline,
    /// The browser has frozen the page.
    Asleep,
    /// No attempt is made.
    Stopped,
}

impl Membership {
    /// The state of the connection; none while the user is out, when there may be no connection.
    pub(crate) fn connection(self) -> Option<ConnectionStatus> {
        match self {
            Self::Out => None,
            Self::Joining(connection) | Self::In { connection, .. } => Some(connection),
        }
    }
}

/// What the chat shows.
#[derive(Debug)]
pub(crate) struct ChatState {
    /// The room of the path; none if its name breaks the rules.
    pub(crate) room: Option<RoomName>,
    /// The text of the field for another room.
    pub(crate) other_room: String,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) error: Option<FormError<Field>>,
    pub(crate) membership: Membership,
    /// The user name at the last join; from `welcome` on, as the server normalised it.
    pub(crate) joined_as: String,
    /// The most bytes of a message's JSON, as the server said last.
    max_bytes: Option<usize>,
    pub(crate) roster: Roster,
    pub(crate) typing: Typing,
    pub(crate) timeline: Timeline,
    pub(crate) outbox: Outbox,
    pub(crate) unread: Unread,
    /// Messages up to this offset are older than the join: history, which is not announced or counted as unread.
    history_to: u64,
    local_day: fn(f64) -> i64,
}

/// What the user did or what happened.
#[derive(Debug)]
pub(crate) enum Action {
    Edit(Field, String),
    /// The path changed.
    RoomChanged(Result<RoomName, RoomNameError>),
    /// The user submits the field for another room.
    GoToRoom,
    Join,
    Leave,
    Send,
    /// The answer to [`Effect::LoadDraft`].
    DraftLoaded(String),
    Retry(Key),
    Discard(Key),
    /// The user asks to connect without waiting for the next attempt.
    ConnectNow,
    /// The list is near its start, or the user presses the button.
    LoadOlder,
    /// The list was scrolled; whether it is at its end.
    Scrolled {
        at_end: bool,
    },
    /// The view became visible or hidden.
    VisibilityChanged(bool),
    /// [`ChatState::needs_ticks`], and time has passed.
    Tick,
    Session(SessionEvent),
}

/// What happened in the session.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    Welcome {
        /// The user name as the server normalised it.
        user: UserName,
        /// The most bytes of a message's JSON.
        max_bytes: Option<usize>,
    },
    Connection(ConnectionStatus),
    /// The server ended the session for good.
    Stopped(Cause),
    Joined(JoinedRoom, Continuity),
    Message(RoomMessage),
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
    /// The server refused the join or ended the membership.
    Refused {
        code: String,
        message: String,
    },
    /// The texts that were sent before the page was reloaded and are not acknowledged, in order.
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
        messages: Vec<RoomMessage>,
        more: bool,
    },
    PageFailed,
}

/// How the messages of a joined room continue those of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The timeline was empty; the newest messages follow.
    Fresh,
    /// Nothing is missing.
    Recovered,
    /// Messages are missing: the newest follow.
    Reset,
}

/// What the view does for the reducer.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Join this room under this name and leave the one before; with a cursor, recover the messages after it.
    Join {
        room: RoomName,
        name: UserName,
        since: Option<Cursor>,
    },
    /// Leave the room and close the connection.
    Leave,
    ConnectNow,
    Send {
        key: Key,
        text: String,
    },
    /// Report the next delivery of [`SessionEvent::Restored`] under this key.
    TrackRestored(Key),
    SignalTyping,
    RequestOlder {
        before: u64,
    },
    Navigate(RoomName),
    RememberName(String),
    /// Report what the user has written and not sent in this room, by [`Action::DraftLoaded`].
    LoadDraft(RoomName),
    SaveDraft {
        room: RoomName,
        text: String,
    },
}

impl ChatState {
    /// Out of any room; `local_day` converts a time to a day of the local calendar.
    pub(crate) fn new(name: String, local_day: fn(f64) -> i64) -> Self {
        Self {
            room: None,
            other_room: String::new(),
            name,
            message: String::new(),
            error: None,
            membership: Membership::Out,
            joined_as: String::new(),
            max_bytes: None,
            roster: Roster::default(),
            typing: Typing::default(),
            timeline: Timeline::new(local_day),
            outbox: Outbox::default(),
            unread: Unread::default(),
            history_to: 0,
            local_day,
        }
    }

    /// The room's name; a dash if the path has no valid one.
    pub(crate) fn room_text(&self) -> String {
        self.room.as_deref().unwrap_or("–").to_owned()
    }

    pub(crate) fn is_out(&self) -> bool {
        self.membership == Membership::Out
    }

    /// Joined and connected: messages are sent and delivered.
    pub(crate) fn is_live(&self) -> bool {
        matches!(
            self.membership,
            Membership::In {
                connection: ConnectionStatus::Open,
                ..
            }
        )
    }

    /// All messages from before the join that the room delivers have arrived.
    pub(crate) fn has_caught_up(&self) -> bool {
        let received = self.timeline.cursor().map(|cursor| cursor.offset.get());
        self.is_live() && received.is_some_and(|received| received >= self.history_to)
    }

    /// The view shows a countdown or typing users, which change with time.
    pub(crate) fn needs_ticks(&self) -> bool {
        matches!(self.membership.connection(), Some(ConnectionStatus::Waiting { .. })) || self.typing.users().len() > 0
    }

    /// Applies an action at a time in milliseconds since the Unix epoch; returns the effects to run, in order.
    pub(crate) fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match action {
            Action::Edit(field, text) => effects = self.edit(field, text, now),
            Action::RoomChanged(room) => effects = self.room_changed(room),
            Action::GoToRoom => effects.extend(self.go_to_room()),
            Action::Join => effects = self.join(),
            Action::Leave => {
                if matches!(self.membership, Membership::In { .. }) {
                    self.timeline.push_notice(now, Sentence::Left);
                }
                effects.extend(self.leave());
            }
            Action::Send => effects = self.send(now),
            Action::DraftLoaded(text) => self.message = text,
            Action::Retry(key) => {
                if let Some(failed) = self.outbox.take_failed(key) {
                    effects.push(self.send_text(failed.text, now));
                }
            }
            Action::Discard(key) => drop(self.outbox.take_failed(key)),
            Action::ConnectNow => effects.push(Effect::ConnectNow),
            Action::LoadOlder => {
                if !self.is_out() {
                    effects.extend(
                        self.timeline
                            .request_older()
                            .map(|before| Effect::RequestOlder { before }),
                    );
                }
            }
            Action::Scrolled { at_end } => {
                self.unread.scrolled(at_end);
                self.timeline.apply_bounds(at_end);
            }
            Action::VisibilityChanged(visible) => self.unread.visibility_changed(visible),
            Action::Tick => self.typing.expire(now),
            Action::Session(event) => effects = self.session_event(event, now),
        }
        effects
    }

    fn edit(&mut self, field: Field, text: String, now: f64) -> Vec<Effect> {
        let has_text = field == Field::Message && !text.trim().is_empty();
        *match field {
            Field::Room => &mut self.other_room,
            Field::Name => &mut self.name,
            Field::Message => &mut self.message,
        } = text;
        self.error.take_if(|error| error.field == Some(field));
        let signal = (has_text && self.is_live() && self.typing.should_signal(now)).then_some(Effect::SignalTyping);
        let draft = (field == Field::Message).then(|| self.save_draft()).flatten();
        signal.into_iter().chain(draft).collect()
    }

    /// What is written and not sent belongs to its room, and stays over a reload.
    fn save_draft(&self) -> Option<Effect> {
        let (room, text) = (self.room.clone()?, self.message.clone());
        Some(Effect::SaveDraft { room, text })
    }

    /// The path has another room: the timeline is cleared, and a user who was in a room joins this one.
    fn room_changed(&mut self, room: Result<RoomName, RoomNameError>) -> Vec<Effect> {
        let (room, error) = match room {
            Ok(room) => (Some(room), None),
            Err(error) => (None, Some(FormError::of(Field::Room, Sentence::BadRoom(error)))),
        };
        if room == self.room && error.is_none() {
            return Vec::new();
        }
        let was_in = !self.is_out();
        let visible = self.unread.is_visible();
        self.room = room;
        self.error = error;
        self.other_room.clear();
        self.message.clear();
        self.membership = Membership::Out;
        self.roster = Roster::default();
        self.typing.clear();
        self.timeline = Timeline::new(self.local_day);
        self.outbox.clear();
        self.unread = Unread::default();
        self.unread.visibility_changed(visible);
        let mut effects: Vec<_> = self.room.clone().map(Effect::LoadDraft).into_iter().collect();
        match (was_in, self.room.is_some()) {
            (true, true) => effects.extend(self.join()),
            (true, false) => effects.push(Effect::Leave),
            (false, _) => {}
        }
        effects
    }

    fn go_to_room(&mut self) -> Option<Effect> {
        match room_name(self.other_room.trim()) {
            Ok(room) => Some(Effect::Navigate(room)),
            Err(error) => {
                self.fail(Field::Room, Sentence::BadRoom(error));
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
                self.error = None;
                self.membership = Membership::Joining(ConnectionStatus::Connecting);
                self.joined_as = name.to_string();
                let since = self.timeline.cursor();
                vec![
                    Effect::RememberName(name.to_string()),
                    Effect::Join { room, name, since },
                ]
            }
            Err(error) => {
                self.fail(Field::Name, Sentence::BadName(error));
                Vec::new()
            }
        }
    }

    fn leave(&mut self) -> Option<Effect> {
        if self.is_out() {
            return None;
        }
        self.reset_to_out();
        Some(Effect::Leave)
    }

    fn reset_to_out(&mut self) {
        self.membership = Membership::Out;
        self.roster = Roster::default();
        self.typing.clear();
        self.timeline.page_failed();
    }

    /// An empty message is ignored without an error.
    fn send(&mut self, now: f64) -> Vec<Effect> {
        if self.message.trim().is_empty() {
            return Vec::new();
        }
        if self.is_out() {
            self.fail(Field::Message, Sentence::NotJoined);
            return Vec::new();
        }
        if let Some((bytes, max)) = self.size().filter(|(bytes, max)| bytes > max) {
            self.fail(Field::Message, Sentence::Failed(FailReason::TooLarge { bytes, max }));
            return Vec::new();
        }
        self.error = None;
        self.typing.message_sent();
        let text = std::mem::take(&mut self.message);
        let sent = self.send_text(text, now);
        [sent].into_iter().chain(self.save_draft()).collect()
    }

    /// The bytes of the message's JSON and the most that the server takes, once the message is more than half as long.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        let max = self.max_bytes.filter(|max| self.message.len() > max / 2)?;
        Some((Body::text(&self.message).json().len(), max))
    }

    fn send_text(&mut self, text: String, now: f64) -> Effect {
        self.unread.message_sent();
        self.timeline.apply_bounds(true);
        let key = self.outbox.push(text.clone(), now);
        Effect::Send { key, text }
    }

    fn fail(&mut self, field: Field, message: Sentence) {
        self.error = Some(FormError::of(field, message));
    }

    fn session_event(&mut self, event: SessionEvent, now: f64) -> Vec<Effect> {
        match event {
            SessionEvent::Welcome { user, max_bytes } => {
                self.joined_as = user.to_string();
                self.max_bytes = max_bytes;
            }
            SessionEvent::Connection(status) => self.connection_changed(status),
            SessionEvent::Stopped(cause) => self.stopped(cause),
            SessionEvent::Joined(room, continuity) => self.joined(room, continuity, now),
            SessionEvent::Message(message) => self.message_received(message, now),
            SessionEvent::Presence { users, change } => self.presence(users, change, now),
            SessionEvent::Lost { epoch, offsets } => {
                self.outbox.lost(&epoch, &offsets);
                self.timeline.push_notice(now, Sentence::OwnLost(offsets.len()));
            }
            SessionEvent::Typing(user) => {
                if *user != *self.joined_as {
                    self.typing.signal_received(user, now);
                }
            }
            SessionEvent::Refused { code, message } => {
                let field = (code == code::BAD_ROOM).then_some(Field::Room);
                let message = Sentence::RoomRefused(message);
                self.error = Some(FormError { field, message });
                return self.leave().into_iter().collect();
            }
            SessionEvent::Restored(texts) => {
                let keys = texts.into_iter().map(|text| self.outbox.push(text, now));
                return keys.map(Effect::TrackRestored).collect();
            }
            SessionEvent::Written(key) => self.outbox.written(key),
            SessionEvent::Acked { key, epoch, offset, at } => self.outbox.acked(key, epoch, offset, at),
            SessionEvent::Failed { key, reason } => self.outbox.failed(key, reason),
            SessionEvent::Page { epoch, messages, more } => {
                let messages = messages.into_iter().map(|message| self.claim(message)).collect();
                self.timeline.insert_page(&epoch, messages, more);
            }
            SessionEvent::PageFailed => self.timeline.page_failed(),
        }
        Vec::new()
    }

    fn connection_changed(&mut self, status: ConnectionStatus) {
        let (Membership::Joining(connection) | Membership::In { connection, .. }) = &mut self.membership else {
            return;
        };
        *connection = status;
        if status != ConnectionStatus::Open {
            // Signals of others do not arrive any more.
            self.typing.clear();
        }
    }

    fn stopped(&mut self, cause: Cause) {
        if self.is_out() {
            return;
        }
        self.error = Some(if cause.code == close::FORBIDDEN {
            // The page sends no token, so the server refused the name.
            FormError::of(Field::Name, Sentence::NameRefused(cause.reason))
        } else {
            FormError::of_connection(Sentence::Stopped(cause))
        });
        self.reset_to_out();
    }

    fn joined(&mut self, room: JoinedRoom, continuity: Continuity, now: f64) {
        self.roster.replace(
            usize::try_from(room.users).unwrap_or(usize::MAX),
            room.members.map(users),
        );
        let (after, head) = (room.after.get(), room.head.get());
        if continuity == Continuity::Recovered {
            self.outbox.log_recovered(&room.epoch);
            self.timeline.continue_log(room.epoch);
        } else {
            self.push_undelivered(&room.epoch, after);
            if continuity == Continuity::Reset {
                self.notice_history_lost(&room.epoch, now);
            }
            self.timeline.start_log(room.epoch, after);
            self.history_to = head;
        }
        if let Membership::Joining(connection) = self.membership {
            self.membership = Membership::In {
                connection,
                joined_notice_after: Some(head),
            };
            self.notice_joined(after, now);
        }
    }

    /// Moves the acknowledged own messages that the room will not deliver to the timeline.
    fn push_undelivered(&mut self, epoch: &Epoch, after: u64) {
        for sent in self.outbox.take_undelivered(epoch, after) {
            self.timeline.push_undelivered(RoomMessage {
                offset: 0,
                from: self.joined_as.clone(),
                at: sent.at,
                text: sent.text,
                own: true,
            });
        }
    }

    /// Adds the notice of a gap below the rows so far.
    fn notice_history_lost(&mut self, epoch: &Epoch, now: f64) {
        let message = if self.timeline.cursor().is_some_and(|cursor| cursor.epoch == *epoch) {
            Sentence::AwayTooLong
        } else {
            Sentence::HistoryLost
        };
        self.timeline.push_notice(now, message);
    }

    /// Adds the notice of the user's own joining once the messages from before the join are there.
    fn notice_joined(&mut self, received: u64, now: f64) {
        if let Membership::In {
            joined_notice_after, ..
        } = &mut self.membership
            && joined_notice_after.take_if(|offset| received >= *offset).is_some()
        {
            let (room, name) = (self.room_text(), self.joined_as.clone());
            self.timeline.push_notice(now, Sentence::Joined { room, name });
        }
    }

    /// A message of the same user is an own one, whichever tab or device sent it.
    fn claim(&self, message: RoomMessage) -> RoomMessage {
        RoomMessage {
            own: message.own || message.from == self.joined_as,
            ..message
        }
    }

    fn message_received(&mut self, message: RoomMessage, now: f64) {
        let offset = message.offset;
        let live = offset > self.history_to;
        self.typing.remove(&message.from);
        if message.own {
            self.outbox.delivered(offset, &message.text);
        }
        let message = self.claim(message);
        let own = message.own;
        if self.timeline.push_message(message, live) && live && !own {
            self.unread.message_arrived(self.timeline.last_number());
        }
        self.notice_joined(offset, now);
        self.timeline.apply_bounds(self.unread.at_end);
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
            self.typing.remove(user);
        }
        let not_me = |users: Vec<UserName>, me: &str| -> Vec<UserName> {
            users.into_iter().filter(|user| **user != *me).collect()
        };
        let joined = not_me(self.roster.joined(joined), &self.joined_as);
        let left = not_me(self.roster.left(left), &self.joined_as);
        self.roster.set_users(count);
        if !joined.is_empty() {
            self.timeline.push_notice(now, Sentence::UsersJoined(joined));
        }
        if !left.is_empty() {
            self.timeline.push_notice(now, Sentence::UsersLeft(left));
        }
        self.timeline.apply_bounds(self.unread.at_end);
    }
}

fn users(members: Vec<Member>) -> Vec<UserName> {
    members.into_iter().map(|member| member.user).collect()
}

#[cfg(test)]
mod tests;
