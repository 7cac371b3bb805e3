//! The chat's reducer, pure: [`ChatState::update`] takes an [`Action`] and the time, and returns the [`Effect`]s for
//! the view to run.

use std::{
    cell::Cell,
    mem,
    ops::{Deref, DerefMut, Range},
    rc::Rc,
};

use talkback_client::{
    Body, Cause, Cursor, Epoch, FailReason, JoinedRoom, Member, PageError, PresenceChange, RoomName, RoomNameError,
    UserName, close, code,
};

use super::{
    history::{self, Batch, Stored},
    mentions::{self, Completion},
    other_rooms::{OtherRooms, RoomState, gap},
    outbox::{Key, Outgoing},
    people_search::PeopleSearch,
    preview::Preview,
    read_cursors::ReadCursors,
    recent_rooms::RecentRooms,
    sentences,
    switcher::Switcher,
    timeline::{NoticeKind, Older, PAGE, RoomMessage, Seek, Target},
};
use crate::{
    browser,
    form::FormError,
    format,
    i18n::{Sentence, Text},
    route::parse_room,
};

mod seek;

use seek::Seeking;

/// A field of a form, which can have an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The room of the path.
    Room,
    /// The room to open instead.
    OtherRoom,
    Name,
    Message,
    /// The user to find.
    Person,
    /// The text to find in the messages.
    Search,
    /// The room to switch to.
    Switcher,
}

/// A notification has at most so much of a message.
const MAX_ALERT_BYTES: usize = 200;

/// How long a short answer of the page is shown, in milliseconds.
const FLASH_MS: f64 = 4_000.0;

/// An acknowledgement that is this late shows the connection as slow, in milliseconds.
const SLOW_AFTER_MS: f64 = 4_000.0;

/// For this long after the browser said that the network is gone, an open connection is shown as slow, in milliseconds: the
/// client asks the server for a sign of life, and gives the connection up if none comes within 5 s.
const OFFLINE_MS: f64 = 6_000.0;

/// At least so long after a sound the next one follows, in milliseconds.
const SOUND_EVERY_MS: f64 = 2_000.0;

/// At most so many pages of history are loaded to find the text of a search, each time when the user asks for it: the server limits how
/// many are requested in a time.
const MAX_SEARCHED_PAGES: u32 = 20;

/// For this long a message that was discarded can be taken back, in milliseconds.
const UNDO_MS: f64 = 10_000.0;

/// So many messages of a room are given to the browser to keep before the timeline drops them.
const MAX_UNKEPT: u64 = 250;

/// The search in the messages that are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) text: String,
    /// The numbers of the rows that have it, oldest first.
    pub(crate) found: Vec<u64>,
    /// The index of the one that is shown.
    pub(crate) at: usize,
    /// So many pages of older messages may still be loaded to find another one.
    pub(crate) pages_left: u32,
}

/// A column that is a sheet over the conversation where the page is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sheet {
    Rooms,
    People,
}

/// What gets the focus after the next drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    Name,
    /// The name, if what had the focus is removed.
    NameIfLost,
    /// The message field: what had the focus is removed, or the user writes next.
    Message,
    OtherRoom,
    /// The first element of a sheet.
    In(Sheet),
    /// The button that opens the sheet.
    Opener(Sheet),
    AddRoom,
    Search,
    Switcher,
    /// The button that shows the search, if what had the focus is removed.
    SearchOpener,
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
        /// Its number since the connection was lost, from 1.
        attempt: u32,
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
    /// The rooms that the user has opened.
    pub(crate) recent: RecentRooms,
    /// The form for another room is shown.
    pub(crate) adds_room: bool,
    /// The text of the field for another room.
    pub(crate) other_room: String,
    /// The sheet that is open where the page is narrow.
    pub(crate) sheet: Option<Sheet>,
    /// The text of the field that finds a user.
    pub(crate) person: String,
    pub(crate) name: String,
    pub(crate) message: String,
    /// The names that complete the mention at the caret of the message field.
    pub(crate) completion: Option<Completion>,
    /// The caret of the message field, as an index in UTF-16, while names may be offered for what is written before it.
    caret: Option<usize>,
    pub(crate) error: Option<FormError<Field>>,
    /// The user name at the last join; from `welcome` on, as the server normalised it.
    pub(crate) joined_as: String,
    /// The user name that was asked for at the last join.
    asked_as: String,
    /// The most bytes of a message's JSON, as the server said last.
    max_bytes: Option<usize>,
    /// The view is shown and the page is visible.
    is_visible: bool,
    pub(crate) search: Option<Search>,
    pub(crate) switcher: Option<Switcher>,
    /// The user is notified of messages with a mention that are not in sight.
    pub(crate) alerts: bool,
    /// A sound follows new messages that are not in sight.
    pub(crate) sounds: bool,
    /// When the last sound was.
    sounded_at: f64,
    /// Since when there is a connection.
    open_since: f64,
    /// The connection was checked since an acknowledgement was late.
    is_checked: bool,
    /// When the browser said that the network is gone.
    network_lost_at: Option<f64>,
    /// This tab, and no other one, writes what the user reads.
    pub(crate) writes_history: bool,
    /// What the browser is to keep.
    unkept: Vec<Batch>,
    /// The message to show once it is loaded.
    seek: Option<Seeking>,
    /// The message that was discarded last, and until when it can be taken back.
    pub(crate) discarded: Option<(Outgoing, f64)>,
    /// A short answer to what the user did, and until when it is shown.
    pub(crate) flash: Option<(Text, f64)>,
    /// What the chat has of the room that is shown.
    here: RoomState,
    /// The rooms that stay joined beside it.
    pub(crate) others: OtherRooms,
    /// How many messages are unread in rooms of the list that are not joined.
    unjoined: Vec<(RoomName, usize)>,
    /// The key of the own message that was sent last, in any room.
    last_key: Rc<Cell<Key>>,
    local_day: fn(f64) -> i64,
    lower_case: fn(&str) -> String,
}

/// The state of the chat has that of the room that is shown.
impl Deref for ChatState {
    type Target = RoomState;

    fn deref(&self) -> &RoomState {
        &self.here
    }
}

impl DerefMut for ChatState {
    fn deref_mut(&mut self) -> &mut RoomState {
        &mut self.here
    }
}

/// What the user did or what happened.
#[derive(Debug)]
pub(crate) enum Action {
    Edit(Field, String),
    /// The caret of the message field is at this index in UTF-16.
    CaretAt(usize),
    /// Marks the next name of the completion, or the one before.
    MarkName {
        back: bool,
    },
    /// The name at this index of the completion is taken; none for the marked one.
    TakeName(Option<usize>),
    /// The path changed.
    RoomChanged(Result<RoomName, RoomNameError>),
    /// The answer to [`Effect::RememberRoom`] and [`Effect::ForgetRoom`].
    RoomsLoaded(RecentRooms),
    /// The answer to [`Effect::LoadRead`].
    ReadLoaded(RoomName, Cursor),
    /// Another tab has read on.
    ReadElsewhere(ReadCursors),
    /// How many messages are unread in rooms that are not joined.
    UnjoinedCounted(Vec<(RoomName, usize)>),
    /// Have the browser keep up to where the room is read.
    KeepRead,
    /// The answer to [`Effect::LoadHistory`].
    HistoryLoaded(RoomName, Option<Stored>),
    /// The answer to [`Effect::LoadPreview`].
    PreviewLoaded(RoomName, Preview),
    /// The browser takes too long to read what it kept: the rooms are joined without it.
    HistoryLate,
    /// This tab writes what the user reads from now on.
    HistoryWritable,
    /// The answer to [`Effect::LoadFailed`].
    FailedLoaded(RoomName, String),
    /// These rooms were joined before the page was reloaded, beside the one that is shown.
    Rejoin(Vec<RoomName>),
    /// The user shows the form for another room, or hides it.
    ToggleRoomForm,
    /// The user submits the field for another room.
    GoToRoom,
    OpenRoom(RoomName),
    /// The user follows a link to a room, perhaps to a message in it.
    Follow(RoomName, Option<Target>),
    ForgetRoom(RoomName),
    /// The user opens a sheet, or closes it.
    ToggleSheet(Sheet),
    /// The Escape key, or a press beside an open sheet.
    Dismiss,
    Join,
    Leave,
    Send,
    /// The answer to [`Effect::LoadDraft`].
    DraftLoaded(String),
    Retry(Key),
    Discard(Key),
    /// The discarded message is taken back.
    UndoDiscard,
    /// Takes a failed message back into the message field.
    EditFailed(Key),
    /// The user asks to connect without waiting for the next attempt.
    ConnectNow,
    /// The user asks whether the connection still works.
    CheckNow,
    /// The browser says that the network is gone.
    NetworkLost,
    /// The user shows the list to switch to another room by keyboard, or hides it.
    ToggleSwitcher,
    /// The list lost the focus.
    CloseSwitcher,
    /// Marks the next room of it, or the one before.
    MarkRoom {
        back: bool,
    },
    /// Opens the marked room.
    TakeRoom,
    /// The user shows the search, or hides it.
    ToggleSearch,
    /// The next message that has the text of the search: the one before it, or after it.
    SearchOn {
        older: bool,
    },
    /// Looks for the text of the search in older messages too, which are loaded for it.
    SearchBeyond,
    /// Shows a message, which may be older than what is loaded.
    GoTo(Seek),
    /// Copies the text of the message in the row with this number, or the link to it.
    Copy {
        row: u64,
        link: bool,
    },
    /// Copies the link to the room.
    CopyRoomLink,
    /// The user writes the first message of a room.
    SayHello,
    /// Whether the browser has copied it.
    Copied(bool),
    /// The list is near its start, or the user presses the button.
    LoadOlder,
    /// The list is near its end, and what follows is not loaded, or the user presses the button.
    LoadNewer,
    /// The user goes to the newest messages.
    ShowEnd,
    /// The list was scrolled; whether it is at its end.
    Scrolled {
        at_end: bool,
    },
    /// The view became visible or hidden.
    VisibilityChanged(bool),
    /// [`ChatState::needs_ticks`], and time has passed.
    Tick,
    /// Of the session, or of the room that is shown.
    Session(SessionEvent),
    InRoom(RoomName, SessionEvent),
    /// The user mutes a room, or no longer.
    ToggleMute(RoomName),
    /// The user wants to hear new messages, or no longer.
    ToggleSounds,
    /// The user wants to be notified of mentions, or no longer.
    ToggleAlerts,
    /// The answer to [`Effect::AskForAlerts`], or what the browser remembers.
    AlertsAllowed(bool),
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
    /// The answer to [`Effect::RequestPage`].
    Page {
        before: u64,
        epoch: Epoch,
        messages: Vec<RoomMessage>,
        more: bool,
    },
    PageFailed {
        before: u64,
    },
    /// The answer to [`Effect::FindPeople`].
    Found {
        part: String,
        for_mention: bool,
        /// Some users, and whether there are more.
        found: Result<(Vec<UserName>, bool), PageError>,
    },
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
    /// Join this room under this name; with a cursor, recover the messages after it.
    Join {
        room: RoomName,
        name: UserName,
        since: Option<Cursor>,
    },
    /// Leave all rooms and close the connection.
    Leave,
    /// Leave this room alone.
    LeaveRoom(RoomName),
    ConnectNow,
    /// Ask the server for a sign of life.
    CheckConnection,
    Send {
        key: Key,
        text: String,
    },
    /// Report the next delivery of [`SessionEvent::Restored`] under this key.
    TrackRestored(RoomName, Key),
    SignalTyping,
    /// Report the newest messages before an offset, at most so many.
    RequestPage {
        before: u64,
        limit: u32,
    },
    /// Ask the server for users of the room, and report them by [`SessionEvent::Found`].
    FindPeople {
        part: String,
        for_mention: bool,
    },
    Navigate(RoomName),
    /// Put the address of this message into the address bar.
    NavigateTo(RoomName, Target),
    RememberName(String),
    /// Add the room to those that the browser remembers, and report them by [`Action::RoomsLoaded`].
    RememberRoom(RoomName),
    /// Report up to where the user has read the room, by [`Action::ReadLoaded`].
    LoadRead(RoomName),
    SaveRead(RoomName, Cursor),
    /// The log of the room ends at this cursor: nothing beyond it was read.
    LowerRead(RoomName, Cursor),
    /// Report what the browser kept of the room, by [`Action::HistoryLoaded`].
    LoadHistory(RoomName),
    /// Report the newest messages that the server has of the room, by [`Action::PreviewLoaded`].
    LoadPreview(RoomName),
    /// Report the failed messages of this user in the room, by [`Action::FailedLoaded`].
    LoadFailed(RoomName, String),
    SaveFailed {
        room: RoomName,
        user: String,
        text: String,
    },
    /// Remove it with what the browser kept of it, and report the others.
    ForgetRoom(RoomName),
    /// Change whether it is muted, and report all.
    ToggleMute(RoomName),
    /// Ask the browser to allow notifications, and report whether it does by [`Action::AlertsAllowed`].
    AskForAlerts,
    SaveAlerts(bool),
    SaveSounds(bool),
    Sound,
    /// Notify the user of a message.
    Alert {
        room: RoomName,
        from: String,
        text: String,
    },
    Focus(Focus),
    /// Scroll to the row with this number, and mark it.
    ShowRow(u64),
    /// Copy a text, and report it by [`Action::Copied`].
    Copy(String),
    /// Copy the address of the room, or of a message in it, and report it.
    CopyLink(RoomName, Option<Target>),
    /// Put the caret of the message field at this index in UTF-16, after the next drawing.
    MoveCaret(usize),
    /// Report what the user has written and not sent in this room, by [`Action::DraftLoaded`].
    LoadDraft(RoomName),
    SaveDraft {
        room: RoomName,
        text: String,
    },
}

impl ChatState {
    /// Out of any room; `local_day` converts a time to a day of the local calendar, `lower_case` makes the letters of a
    /// text small.
    pub(crate) fn new(name: String, local_day: fn(f64) -> i64, lower_case: fn(&str) -> String) -> Self {
        let last_key: Rc<Cell<Key>> = Rc::default();
        Self {
            room: None,
            recent: RecentRooms::default(),
            adds_room: false,
            other_room: String::new(),
            sheet: None,
            person: String::new(),
            name,
            message: String::new(),
            completion: None,
            caret: None,
            error: None,
            joined_as: String::new(),
            asked_as: String::new(),
            max_bytes: None,
            is_visible: true,
            search: None,
            switcher: None,
            alerts: false,
            sounds: false,
            sounded_at: 0.0,
            open_since: 0.0,
            is_checked: false,
            network_lost_at: None,
            writes_history: false,
            unkept: Vec::new(),
            seek: None,
            discarded: None,
            flash: None,
            here: RoomState::new(local_day, last_key.clone()),
            others: OtherRooms::default(),
            unjoined: Vec::new(),
            last_key,
            local_day,
            lower_case,
        }
    }

    /// The user's name in the room, or before joining the one to join with.
    pub(crate) fn own_name(&self) -> &str {
        if self.here.is_out() {
            self.name.trim()
        } else {
            &self.joined_as
        }
    }

    /// The user whose history is shown: as the name was asked for, because it is not normalised yet when a room is
    /// opened.
    pub(crate) fn history_user(&self) -> String {
        let name = if self.asked_as.is_empty() {
            self.name.trim()
        } else {
            &self.asked_as
        };
        name.to_owned()
    }

    /// The user who is in a room.
    pub(crate) fn reading_user(&self) -> Option<UserName> {
        let is_in = !self.here.is_out() || self.others.is_in_any();
        UserName::parse(&self.asked_as).ok().filter(|_| is_in)
    }

    /// Joined and connected: messages are sent and delivered.
    pub(crate) fn is_live(&self) -> bool {
        matches!(
            self.here.membership,
            Membership::In {
                connection: ConnectionStatus::Open,
                ..
            }
        )
    }

    /// All messages from before the join that the room delivers have arrived.
    pub(crate) fn has_caught_up(&self) -> bool {
        let received = self.here.timeline.cursor().map(|cursor| cursor.offset.get());
        self.is_live() && received.is_some_and(|received| received >= self.here.history_to)
    }

    /// The view shows a countdown or typing users, which change with time.
    pub(crate) fn needs_ticks(&self) -> bool {
        matches!(
            self.here.membership.connection(),
            Some(ConnectionStatus::Waiting { .. })
        ) || self.here.typing.users().len() > 0
            || self.flash.is_some()
            || self.discarded.is_some()
            || self.network_lost_at.is_some()
            || self.waits_since().is_some()
    }

    /// Since when the oldest acknowledgement on this connection is due.
    fn waits_since(&self) -> Option<f64> {
        let others = self.others.iter().map(|(_, other)| other);
        let waiting = others.chain([&self.here]).filter_map(|room| room.outbox.waits_since());
        let is_open = self.here.membership.connection() == Some(ConnectionStatus::Open);
        waiting.reduce(f64::min).filter(|_| is_open)
    }

    /// There is a connection, but it does not answer as it should. It may only be slow, so it is kept.
    pub(crate) fn is_slow(&self, now: f64) -> bool {
        self.is_late(now)
            || self.network_lost_at.is_some() && self.here.membership.connection() == Some(ConnectionStatus::Open)
    }

    /// An acknowledgement is late.
    fn is_late(&self, now: f64) -> bool {
        let is_late = |since: f64| now - since.max(self.open_since) >= SLOW_AFTER_MS;
        self.waits_since().is_some_and(is_late)
    }

    /// What the browser is to keep since the last call.
    pub(crate) fn take_unkept(&mut self) -> Vec<Batch> {
        if self.has_unkept() {
            let here = self.room.iter().filter_map(|room| self.here.take_unkept(room));
            self.unkept.extend(here);
            let others = self.others.iter_mut();
            self.unkept
                .extend(others.filter_map(|(room, other)| other.take_unkept(room)));
        }
        mem::take(&mut self.unkept)
    }

    /// Whether there is something that the browser is to keep.
    pub(crate) fn has_unkept(&self) -> bool {
        let has = |room: &RoomState| room.unkept() > 0;
        self.writes_history
            && (!self.unkept.is_empty() || has(&self.here) || self.others.iter().any(|(_, other)| has(other)))
    }

    /// Has the browser keep the messages of the room so far. Of many, the newest are enough: those before them would be
    /// dropped again.
    fn keep(&mut self) {
        let Some(room) = self.room.as_ref().filter(|_| self.writes_history) else {
            return;
        };
        let Some(batch) = self.here.take_unkept(room) else {
            return;
        };
        let mut newer = 0;
        self.unkept.push(batch);
        for index in (0..self.unkept.len()).rev() {
            if self.unkept[index].room != *room || self.unkept[index].is_older {
                continue;
            }
            if newer >= history::MIN_ROWS {
                self.unkept.remove(index);
            } else {
                newer += self.unkept[index].rows.len();
            }
        }
    }

    /// Has the browser keep a page of history that was loaded, with so many messages: before the rows so far, which are kept first.
    fn keep_page(&mut self, messages: usize) {
        self.keep();
        if self.writes_history {
            let page = self
                .room
                .as_ref()
                .and_then(|room| self.here.loaded_page(room, messages));
            self.unkept.extend(page);
        }
    }

    /// Applies an action at a time in milliseconds since the Unix epoch; returns the effects to run, in order.
    pub(crate) fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match action {
            Action::Edit(field, text) => effects = self.edit(field, text, now),
            Action::CaretAt(caret) => self.complete_at(caret),
            Action::MarkName { back } => {
                if let Some(completion) = &mut self.completion {
                    completion.mark(back);
                }
            }
            Action::TakeName(index) => effects = self.take_name(index),
            Action::RoomChanged(room) => effects = self.room_changed(room),
            Action::RoomsLoaded(rooms) => {
                self.recent = rooms;
                effects = self.leave_dropped();
            }
            Action::HistoryLoaded(room, stored) => effects.extend(self.history_loaded(room, stored)),
            Action::PreviewLoaded(room, preview) => {
                if self.room.as_ref() == Some(&room) {
                    self.here.show_preview(preview);
                }
            }
            Action::HistoryLate => {
                let others = self.others.iter().filter(|(_, other)| other.awaits_history);
                let mut rooms: Vec<_> = others.map(|(room, _)| room.clone()).collect();
                rooms.extend(self.room.clone());
                effects.extend(rooms.into_iter().filter_map(|room| self.history_loaded(room, None)));
            }
            Action::HistoryWritable => {
                self.writes_history = true;
                let others = self.others.iter_mut().map(|(_, other)| other);
                for state in others.chain([&mut self.here]) {
                    state.kept = 0;
                    let connection = state.membership.connection();
                    state.is_current &= connection == Some(ConnectionStatus::Open);
                }
            }
            Action::FailedLoaded(room, text) => {
                if let Some(state) = self.state_of(&room) {
                    state.outbox.set_failed(&text);
                }
            }
            Action::ReadLoaded(room, cursor) => {
                if let Some(state) = self.state_of(&room) {
                    state.read = Some(cursor);
                }
            }
            Action::ReadElsewhere(read) => {
                let here = self.room.as_ref().map(|room| (room, &mut self.here));
                let others = self.others.iter_mut().map(|(room, other)| (&*room, other));
                for (room, state) in here.into_iter().chain(others) {
                    if let Some(cursor) = read.get(room) {
                        state.read_elsewhere(cursor);
                    }
                }
            }
            Action::UnjoinedCounted(mut counts) => {
                counts.retain(|(room, count)| *count > 0 && !self.has(room));
                self.unjoined = counts;
            }
            Action::KeepRead => {
                if self.has_unsaved_read() {
                    effects.extend(self.save_read());
                    self.here.saved_read = self.here.timeline.received();
                }
            }
            Action::Rejoin(rooms) => effects = self.rejoin(rooms),
            Action::ToggleRoomForm => effects.push(self.toggle_room_form()),
            Action::GoToRoom => effects.extend(self.go_to_room()),
            Action::OpenRoom(room) => {
                self.sheet = None;
                self.switcher = None;
                effects.push(Effect::Navigate(room));
            }
            Action::Follow(room, target) => {
                let is_here = self.room.as_ref() == Some(&room);
                let seek = target.clone().map(|target| Seeking::new(Seek::Message(target)));
                self.seek = seek.filter(|_| is_here);
                effects.push(match target {
                    Some(target) => Effect::NavigateTo(room, target),
                    None => Effect::Navigate(room),
                });
            }
            Action::ForgetRoom(room) => {
                effects = self.leave_other(&room);
                effects.push(Effect::ForgetRoom(room));
            }
            Action::ToggleSheet(sheet) => effects.push(Effect::Focus(self.toggle_sheet(sheet))),
            Action::Dismiss => effects.extend(self.dismiss().map(Effect::Focus)),
            Action::Join => effects = self.join(),
            Action::Leave => {
                self.sheet = None;
                effects.extend(self.save_read());
                if matches!(self.here.membership, Membership::In { .. }) {
                    self.here.timeline.push_own_presence(now, Text::Left.into());
                }
                effects.extend(self.leave());
            }
            Action::Send => effects = self.send(now),
            Action::DraftLoaded(text) => self.message = text,
            Action::Retry(key) => {
                // Out of the room it could not be sent, and would be lost.
                if !self.here.is_out()
                    && let Some(failed) = self.here.outbox.take_failed(key)
                {
                    effects.push(self.send_text(failed.text, now));
                }
            }
            Action::Discard(key) => {
                self.discarded = self.here.outbox.take_failed(key).map(|failed| (failed, now + UNDO_MS));
            }
            Action::UndoDiscard => {
                if let Some((failed, _)) = self.discarded.take() {
                    self.here.outbox.put_back(failed);
                }
            }
            Action::EditFailed(key) => effects = self.edit_failed(key),
            Action::ToggleSwitcher => effects.push(Effect::Focus(self.toggle_switcher())),
            Action::CloseSwitcher => self.switcher = None,
            Action::MarkRoom { back } => {
                if let Some(switcher) = &mut self.switcher {
                    switcher.mark(back);
                }
            }
            Action::TakeRoom => effects.extend(self.take_room()),
            Action::ToggleSearch => effects.push(Effect::Focus(self.toggle_search())),
            Action::SearchOn { older } => effects.extend(self.search_on(older)),
            Action::SearchBeyond => {
                if let Some(search) = &mut self.search {
                    search.pages_left = MAX_SEARCHED_PAGES;
                    // Where the list is at its end, only the newest rows stay.
                    self.here.unread.scrolled(false);
                }
            }
            Action::GoTo(seek) => self.seek = Some(Seeking::new(seek)),
            Action::Copy { row, link } => effects.extend(self.copy(row, link, now)),
            Action::CopyRoomLink => effects.extend(self.room.clone().map(|room| Effect::CopyLink(room, None))),
            Action::SayHello => effects.push(Effect::Focus(Focus::Message)),
            Action::Copied(is_copied) => {
                let text = if is_copied { Text::Copied } else { Text::CopyFailed };
                self.flash = Some((text, now + FLASH_MS));
            }
            Action::ConnectNow => effects.push(Effect::ConnectNow),
            Action::CheckNow => effects.push(Effect::CheckConnection),
            Action::NetworkLost => self.network_lost_at = Some(now),
            Action::LoadOlder => {
                if !self.here.is_out() {
                    effects.extend(self.here.timeline.request_older().map(request_page));
                }
            }
            Action::LoadNewer => {
                if !self.here.is_out() {
                    effects.extend(self.here.timeline.request_newer().map(request_page));
                }
            }
            Action::ShowEnd => {
                self.stop_looking();
                self.here.timeline.show_end();
                self.scrolled(true);
            }
            // What was loaded to find a message is not dropped before it is shown.
            Action::Scrolled { at_end } => self.scrolled(at_end && self.seek.is_none()),
            Action::VisibilityChanged(visible) => {
                if visible {
                    self.here.found.look_again();
                } else {
                    effects.extend(self.save_read());
                }
                self.is_visible = visible;
                self.here.unread.visibility_changed(visible);
            }
            Action::Tick => {
                self.here.typing.expire(now);
                self.flash.take_if(|(_, until)| *until <= now);
                self.discarded.take_if(|(_, until)| *until <= now);
                self.network_lost_at.take_if(|at| now - *at >= OFFLINE_MS);
                let is_late = self.is_late(now);
                if !mem::replace(&mut self.is_checked, is_late) && is_late {
                    effects.push(Effect::CheckConnection);
                }
            }
            Action::Session(event) => effects = self.session_event(event, now),
            Action::InRoom(room, event) => effects = self.in_room(room, event, now),
            Action::ToggleMute(room) => effects.push(Effect::ToggleMute(room)),
            Action::ToggleSounds => {
                self.sounds = !self.sounds;
                effects.push(Effect::SaveSounds(self.sounds));
                // The browser allows sounds of a page once the user has done something in it.
                effects.extend(self.sounds.then_some(Effect::Sound));
            }
            Action::ToggleAlerts => effects.push(if mem::take(&mut self.alerts) {
                Effect::SaveAlerts(false)
            } else {
                Effect::AskForAlerts
            }),
            Action::AlertsAllowed(is_allowed) => {
                self.alerts = is_allowed;
                effects.push(Effect::SaveAlerts(is_allowed));
                if !is_allowed {
                    self.flash = Some((Text::AlertsDenied, now + FLASH_MS));
                }
            }
        }
        if self.here.roster.names().is_none() {
            effects.extend(self.find_people());
        }
        effects.extend(self.seek_on(now));
        effects.extend(self.search_beyond());
        effects.extend(self.save_failed());
        effects
    }

    /// The failed messages that are others than before: the browser keeps them over a reload.
    fn save_failed(&mut self) -> Vec<Effect> {
        let here = self.room.as_ref().map(|room| (room, &mut self.here));
        let others = self.others.iter_mut().map(|(room, other)| (&*room, other));
        let changed = here.into_iter().chain(others).filter_map(|(room, state)| {
            Some(Effect::SaveFailed {
                text: state.outbox.take_failed_text()?,
                room: room.clone(),
                user: state.failed_of.clone(),
            })
        });
        changed.collect()
    }

    /// What the chat has of a room, whether it is shown or not.
    fn state_of(&mut self, room: &RoomName) -> Option<&mut RoomState> {
        if self.room.as_ref() == Some(room) {
            Some(&mut self.here)
        } else {
            self.others.get_mut(room)
        }
    }

    /// Shows what the browser kept of a room, and joins it if that had to wait.
    fn history_loaded(&mut self, room: RoomName, stored: Option<Stored>) -> Option<Effect> {
        // Before a user has joined, the rows of any user will do.
        let stored = stored.filter(|stored| self.asked_as.is_empty() || stored.user == self.asked_as);
        let state = self.state_of(&room)?;
        let is_awaited = mem::take(&mut state.awaits_history);
        let is_joining = matches!(state.membership, Membership::Joining(_));
        let joined_since = state.since();
        // A room that has answered meanwhile gets its messages from the server.
        if let Some(stored) = stored.filter(|_| is_joining || state.is_out()) {
            state.restore(stored);
        }
        let since = state.since();
        // A room that is joined without the rows, because they were late, is joined again from their end.
        if !is_awaited && (state.is_out() || since == joined_since) {
            return None;
        }
        if state.is_out() {
            return (self.room.as_ref() == Some(&room)).then_some(Effect::LoadPreview(room));
        }
        let name = UserName::parse(&self.asked_as).ok().filter(|_| is_joining)?;
        Some(Effect::Join { room, name, since })
    }

    /// Leaves a room that is not shown; up to where it is read stays.
    fn leave_other(&mut self, room: &RoomName) -> Vec<Effect> {
        self.unkept.retain(|batch| batch.room != *room);
        let Some(state) = self.others.take(room) else {
            return Vec::new();
        };
        let read = state.read_cursor().filter(|_| !state.is_out());
        let read = read.map(|cursor| Effect::SaveRead(room.clone(), cursor));
        let is_last = self.here.is_out() && !self.others.is_in_any();
        let leave = if is_last {
            Effect::Leave
        } else {
            Effect::LeaveRoom(room.clone())
        };
        read.into_iter().chain([leave]).collect()
    }

    /// Leaves the rooms that the list at the left does not have any more, where nothing would show what is new in them.
    fn leave_dropped(&mut self) -> Vec<Effect> {
        let names = self.others.iter().map(|(name, _)| name);
        let dropped: Vec<_> = names.filter(|name| !self.recent.contains(name)).cloned().collect();
        dropped.iter().flat_map(|room| self.leave_other(room)).collect()
    }

    /// A room of which the chat has nothing yet.
    fn new_room(&self) -> RoomState {
        RoomState::new(self.local_day, self.last_key.clone())
    }

    /// The end of the rows may be that of the log, or not.
    fn scrolled(&mut self, at_end: bool) {
        let at_end = at_end && !self.here.timeline.is_away();
        self.here.unread.scrolled(at_end);
        self.here.timeline.apply_bounds(at_end);
    }

    fn toggle_switcher(&mut self) -> Focus {
        if self.switcher.take().is_some() {
            return Focus::Message;
        }
        self.sheet = None;
        self.edit_switcher(String::new());
        Focus::Switcher
    }

    fn edit_switcher(&mut self, text: String) {
        let unread = |name: &RoomName| self.unread_of(name).0;
        let others = self.recent.iter().map(|room| &room.name);
        let others = others.filter(|name| self.room.as_ref() != Some(name));
        self.switcher = Some(Switcher::new(text, others, unread, self.lower_case));
    }

    fn take_room(&mut self) -> Option<Effect> {
        let room = self.switcher.as_ref()?.marked_room()?;
        self.switcher = None;
        Some(Effect::Navigate(room))
    }

    fn toggle_search(&mut self) -> Focus {
        if self.search.take().is_some() {
            Focus::SearchOpener
        } else {
            self.search = Some(Search::default());
            Focus::Search
        }
    }

    /// Looks again, because rows come and go.
    fn search_on(&mut self, older: bool) -> Option<Effect> {
        let search = self.search.as_mut()?;
        let shown = search.found.get(search.at).copied();
        search.found = self.here.timeline.search(&search.text, self.lower_case);
        let at = shown.and_then(|shown| search.found.iter().position(|row| *row == shown));
        let (count, newest) = (search.found.len(), search.found.len().checked_sub(1)?);
        search.at = match at {
            None => newest,
            Some(at) if older => (at + count - 1) % count,
            Some(at) => (at + 1) % count,
        };
        self.show_found()
    }

    /// Whether the server may have older messages to search.
    pub(crate) fn has_older(&self) -> bool {
        self.has_caught_up()
            && matches!(
                self.here.timeline.older(),
                Older::More | Older::Failed | Older::Loading { .. }
            )
    }

    /// Continues to look for the text of the search in older messages: it loads them until it has found another one.
    fn search_beyond(&mut self) -> Vec<Effect> {
        let is_running = self.search.as_ref().is_some_and(|search| search.pages_left > 0);
        let mut effects: Vec<_> = self.search_page().into_iter().collect();
        if is_running && !self.has_older() {
            // The button that the user pressed is removed.
            effects.push(Effect::Focus(Focus::Search));
        }
        effects
    }

    fn search_page(&mut self) -> Option<Effect> {
        let can_load = self.has_older();
        let search = self.search.as_mut().filter(|search| search.pages_left > 0)?;
        let older = self.here.timeline.older();
        if matches!(older, Older::Loading { .. }) {
            return None;
        }
        let first = search.found.first().copied();
        search.found = self.here.timeline.search(&search.text, self.lower_case);
        let is_first = |row: &u64| Some(*row) == first;
        let new = search.found.iter().position(is_first).unwrap_or(search.found.len());
        let is_asked = search.pages_left == MAX_SEARCHED_PAGES;
        search.pages_left -= 1;
        if let Some(newest) = new.checked_sub(1) {
            search.at = newest;
            search.pages_left = 0;
            return self.show_found();
        }
        // A page that failed is requested again when the user asks for it.
        if !can_load || search.text.trim().is_empty() || older == Older::Failed && !is_asked {
            search.pages_left = 0;
        }
        if search.pages_left == 0 {
            return None;
        }
        self.here.timeline.request_older().map(request_page)
    }

    fn show_found(&mut self) -> Option<Effect> {
        let search = self.search.as_ref()?;
        let row = *search.found.get(search.at)?;
        self.here.timeline.show_rows_with(row);
        self.here.unread.scrolled(false);
        Some(Effect::ShowRow(row))
    }

    fn copy(&mut self, row: u64, link: bool, now: f64) -> Option<Effect> {
        let message = self.here.timeline.message(row)?;
        if !link {
            return (!message.deleted).then(|| Effect::Copy(message.text.clone()));
        }
        let Some(offset) = self.here.timeline.offset_in(row) else {
            // It is of a previous log.
            self.flash = Some((Text::MessageNotThere, now + FLASH_MS));
            return None;
        };
        let epoch = self.here.timeline.cursor().map(|cursor| cursor.epoch);
        Some(Effect::CopyLink(self.room.clone()?, Some(Target { epoch, offset })))
    }

    fn edit(&mut self, field: Field, text: String, now: f64) -> Vec<Effect> {
        if field == Field::Switcher {
            self.edit_switcher(text);
            return Vec::new();
        }
        if field == Field::Search {
            let found = self.here.timeline.search(&text, self.lower_case);
            let at = found.len().saturating_sub(1);
            self.search = Some(Search {
                text,
                found,
                at,
                pages_left: 0,
            });
            return self.show_found().into_iter().collect();
        }
        let has_text = field == Field::Message && !text.trim().is_empty();
        *match field {
            Field::Room | Field::OtherRoom => &mut self.other_room,
            Field::Person | Field::Search | Field::Switcher => &mut self.person,
            Field::Name => &mut self.name,
            Field::Message => &mut self.message,
        } = text;
        self.error.take_if(|error| error.field == Some(field));
        let signal =
            (has_text && self.is_live() && self.here.typing.should_signal(now)).then_some(Effect::SignalTyping);
        let draft = (field == Field::Message).then(|| self.save_draft()).flatten();
        signal.into_iter().chain(draft).collect()
    }

    /// The next requests for users, in a room with too many users to list.
    fn find_people(&mut self) -> Vec<Effect> {
        if !self.is_live() {
            return Vec::new();
        }
        let lower = self.lower_case;
        let part = self.here.found.ask(self.person.trim(), lower);
        let mention = self.caret.and_then(|caret| mentions::begun(&self.message, caret));
        let mention = mention.map(|begun| &self.message[begun.start + 1..begun.end]);
        let mention = mention.and_then(|text| self.here.mentionable.ask(text, lower));
        let effect = |for_mention| move |part| Effect::FindPeople { part, for_mention };
        let effects = part.map(effect(false)).into_iter();
        effects.chain(mention.map(effect(true))).collect()
    }

    fn found(&mut self, part: &str, for_mention: bool, found: Result<(Vec<UserName>, bool), PageError>) {
        if for_mention {
            self.here.mentionable.answered(part, found);
            if let Some(caret) = self.caret {
                let before = self.completion.take();
                self.complete_at(caret);
                if let (Some(completion), Some(before)) = (&mut self.completion, before) {
                    completion.mark_as_in(&before);
                }
            }
        } else {
            self.here.found.answered(part, found);
        }
    }

    fn complete_at(&mut self, caret: usize) {
        self.caret = Some(caret);
        let names = self.here.roster.names();
        let others = names.unwrap_or_else(|| self.here.mentionable.names()).iter();
        let others = others.filter(|name| ***name != *self.joined_as);
        self.completion = Completion::of(&self.message, caret, others);
    }

    /// Offers no names until the user writes on.
    fn end_completion(&mut self) -> Option<Completion> {
        self.caret = None;
        self.here.mentionable.look_again();
        self.completion.take()
    }

    fn take_name(&mut self, index: Option<usize>) -> Vec<Effect> {
        let Some(completion) = self.end_completion() else {
            return Vec::new();
        };
        let Some((text, caret)) = completion.complete(&self.message, index.unwrap_or(completion.marked)) else {
            return Vec::new();
        };
        self.message = text;
        let effects = self.save_draft().into_iter();
        effects
            .chain([Effect::Focus(Focus::Message), Effect::MoveCaret(caret)])
            .collect()
    }

    /// What is written and not sent belongs to its room, and stays over a reload.
    fn save_draft(&self) -> Option<Effect> {
        let (room, text) = (self.room.clone()?, self.message.clone());
        Some(Effect::SaveDraft { room, text })
    }

    /// The path has another room: a user who was in a room joins this one too, and stays in the one before.
    fn room_changed(&mut self, room: Result<RoomName, RoomNameError>) -> Vec<Effect> {
        let (room, error) = match room {
            Ok(room) => (Some(room), None),
            Err(error) => (None, Some(FormError::of(Field::Room, sentences::bad_room(&error)))),
        };
        if room == self.room && error.is_none() {
            return Vec::new();
        }
        let was_in = !self.here.is_out() || self.others.is_in_any();
        let mut effects: Vec<_> = self.save_read().into_iter().collect();
        let next = room.as_ref().and_then(|room| self.others.take(room));
        let next = next.unwrap_or_else(|| self.new_room());
        let before = mem::replace(&mut self.here, next);
        // A page with long messages may have come since it was hidden.
        self.here.timeline.show_end();
        if let Some(name) = mem::replace(&mut self.room, room)
            && !(before.is_out() && before.timeline.is_empty())
        {
            effects.extend(self.others.keep(name, before).map(Effect::LeaveRoom));
        }
        self.here.unread.visibility_changed(self.is_visible);
        self.here.found.look_again();
        self.error = error;
        self.adds_room = false;
        self.other_room.clear();
        self.person.clear();
        self.message.clear();
        self.end_completion();
        self.search = None;
        self.switcher = None;
        self.seek = None;
        self.discarded = None;
        if let Some(room) = &self.room {
            self.unjoined.retain(|(name, _)| name != room);
            let room = || room.clone();
            effects.extend([
                Effect::LoadDraft(room()),
                Effect::RememberRoom(room()),
                Effect::LoadRead(room()),
            ]);
            // What is new in a room that was shown before is read after that, unless the user joins it at once.
            self.here.awaits_history |= !was_in;
            if self.here.awaits_history {
                effects.push(Effect::LoadHistory(room()));
            }
        }
        if was_in {
            effects.extend(self.join());
        }
        effects
    }

    fn go_to_room(&mut self) -> Option<Effect> {
        match parse_room(self.other_room.trim()) {
            Ok(room) => {
                self.sheet = None;
                self.adds_room = false;
                Some(Effect::Navigate(room))
            }
            Err(error) => {
                self.fail(Field::OtherRoom, sentences::bad_room(&error));
                Some(Effect::Focus(Focus::OtherRoom))
            }
        }
    }

    /// Where the page is narrow, the form is in a sheet.
    fn toggle_room_form(&mut self) -> Effect {
        self.adds_room = !self.adds_room;
        self.error.take_if(|error| error.is_of(&Field::OtherRoom));
        if self.adds_room {
            self.sheet = Some(Sheet::Rooms);
            Effect::Focus(Focus::OtherRoom)
        } else {
            Effect::Focus(Focus::AddRoom)
        }
    }

    fn toggle_sheet(&mut self, sheet: Sheet) -> Focus {
        if self.sheet.take() == Some(sheet) {
            Focus::Opener(sheet)
        } else {
            self.sheet = Some(sheet);
            Focus::In(sheet)
        }
    }

    /// Closes what is open over the conversation; returns what gets the focus.
    fn dismiss(&mut self) -> Option<Focus> {
        if self.end_completion().is_some() {
            return None;
        }
        if self.switcher.take().is_some() {
            return Some(Focus::Message);
        }
        if self.sheet.is_none() && self.search.take().is_some() {
            return Some(Focus::SearchOpener);
        }
        let is_form = mem::take(&mut self.adds_room);
        self.error.take_if(|error| error.is_of(&Field::OtherRoom));
        match self.sheet.take() {
            Some(sheet) => Some(Focus::Opener(sheet)),
            None => is_form.then_some(Focus::AddRoom),
        }
    }

    /// The text comes before what is written already, so that nothing is lost.
    fn edit_failed(&mut self, key: Key) -> Vec<Effect> {
        // Out of the room there is no message field.
        let is_in = !self.here.is_out();
        let Some(failed) = is_in.then(|| self.here.outbox.take_failed(key)).flatten() else {
            return Vec::new();
        };
        self.end_completion();
        self.message = match self.message.trim() {
            "" => failed.text,
            _ => format!("{}\n{}", failed.text, self.message),
        };
        self.error.take_if(|error| error.is_of(&Field::Message));
        let draft = self.save_draft();
        draft.into_iter().chain([Effect::Focus(Focus::Message)]).collect()
    }

    fn join(&mut self) -> Vec<Effect> {
        let Some(room) = self.room.clone().filter(|_| self.here.is_out()) else {
            return Vec::new();
        };
        let name = UserName::parse(self.name.trim()).map_err(|error| sentences::bad_name(&error));
        let name = name.and_then(|name| match browser::bad_in_user(&name) {
            Some(found) => Err(sentences::bad_in_name(found)),
            None => Ok(name),
        });
        match name {
            Ok(name) => {
                self.error = None;
                let mut connection = ConnectionStatus::Connecting;
                if mem::replace(&mut self.asked_as, name.to_string()) == *name {
                    // The connection of the other rooms is used.
                    let others = self.others.iter().find_map(|(_, other)| other.membership.connection());
                    connection = others.unwrap_or(connection);
                } else {
                    // Another name is another user, with a connection of its own.
                    self.others.iter_mut().for_each(|(_, other)| other.reset_to_out());
                    self.writes_history = false;
                    self.unkept.clear();
                }
                self.here.membership = Membership::Joining(connection);
                if connection == ConnectionStatus::Connecting {
                    self.joined_as = name.to_string();
                }
                self.sheet = None;
                let mut effects = vec![Effect::RememberName(name.to_string())];
                effects.extend(enter(&mut self.here, &room, &name));
                if !self.here.awaits_history {
                    let since = self.here.since();
                    effects.push(Effect::Join { room, name, since });
                }
                effects
            }
            Err(error) => {
                self.fail(Field::Name, error);
                vec![Effect::Focus(Focus::Name)]
            }
        }
    }

    fn save_read(&self) -> Option<Effect> {
        let cursor = self
            .here
            .read_cursor()
            .filter(|_| self.is_visible && !self.here.is_out())?;
        Some(Effect::SaveRead(self.room.clone()?, cursor))
    }

    /// Joins rooms that are not shown.
    fn rejoin(&mut self, rooms: Vec<RoomName>) -> Vec<Effect> {
        let (Some(connection), Ok(name)) = (self.here.membership.connection(), UserName::parse(&self.asked_as)) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        for room in rooms {
            if self.room.as_ref() == Some(&room) || self.others.get(&room).is_some() {
                continue;
            }
            let mut state = self.new_room();
            state.membership = Membership::Joining(connection);
            effects.extend(enter(&mut state, &room, &name));
            effects.extend(self.others.keep(room.clone(), state).map(Effect::LeaveRoom));
            effects.push(Effect::LoadHistory(room));
        }
        effects
    }

    /// Leaves all rooms.
    fn leave(&mut self) -> Option<Effect> {
        if self.here.is_out() && !self.others.is_in_any() {
            return None;
        }
        self.reset_to_out();
        Some(Effect::Leave)
    }

    fn reset_to_out(&mut self) {
        self.here.reset_to_out();
        self.others.iter_mut().for_each(|(_, other)| other.reset_to_out());
    }

    /// The server ended the membership of the room.
    fn room_left(&mut self) -> Option<Effect> {
        if self.here.is_out() {
            return None;
        }
        self.here.reset_to_out();
        match self.room.clone().filter(|_| self.others.is_in_any()) {
            Some(room) => Some(Effect::LeaveRoom(room)),
            None => Some(Effect::Leave),
        }
    }

    /// How many messages are unread in all rooms; of a muted room those that mention the user.
    pub(crate) fn unread_in_all(&self) -> usize {
        let here = self.room.iter().map(|name| (name, &self.here));
        let counts = here.chain(self.others.iter()).map(|(name, state)| {
            if self.recent.is_muted(name) {
                state.unread.mentions
            } else {
                state.unread.count
            }
        });
        let unjoined = self.unjoined.iter().filter(|(name, _)| !self.recent.is_muted(name));
        counts.chain(unjoined.map(|(_, count)| *count)).sum()
    }

    /// Whether it is the room that is shown or one of those that were shown.
    pub(crate) fn has(&self, room: &RoomName) -> bool {
        self.room.as_ref() == Some(room) || self.others.get(room).is_some()
    }

    /// How many messages of a room are unread, and how many of them mention the user as far as that is known.
    pub(crate) fn unread_of(&self, room: &RoomName) -> (usize, usize) {
        let here = (self.room.as_ref() == Some(room)).then_some(&self.here);
        if let Some(state) = here.or_else(|| self.others.get(room)) {
            return (state.unread.count, state.unread.mentions);
        }
        let unjoined = self.unjoined.iter().find(|(name, _)| name == room);
        (unjoined.map_or(0, |(_, count)| *count), 0)
    }

    /// The room is read further than the browser has kept, for the other tabs.
    pub(crate) fn has_unsaved_read(&self) -> bool {
        self.is_visible
            && self.here.unread.count == 0
            && self.here.timeline.received() != self.here.saved_read
            && self.has_caught_up()
    }

    /// An empty message is ignored without an error.
    fn send(&mut self, now: f64) -> Vec<Effect> {
        if self.message.trim().is_empty() {
            return Vec::new();
        }
        if self.here.is_out() {
            self.fail(Field::Message, Text::NotJoined.into());
            return Vec::new();
        }
        if let Some((bytes, max)) = self.size().filter(|(bytes, max)| bytes > max) {
            self.fail(Field::Message, sentences::failed(&FailReason::TooLarge { bytes, max }));
            return Vec::new();
        }
        self.error = None;
        self.here.typing.message_sent();
        self.end_completion();
        let text = mem::take(&mut self.message);
        let sent = self.send_text(text, now);
        [sent].into_iter().chain(self.save_draft()).collect()
    }

    /// The bytes of the message's JSON and the most that the server takes, once the message is more than half as long.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        let max = self.max_bytes.filter(|max| self.message.len() > max / 2)?;
        Some((Body::text(&self.message).json().len(), max))
    }

    /// The user wants the end of the log, and no message that is looked for.
    fn stop_looking(&mut self) {
        self.seek = None;
        if let Some(search) = &mut self.search {
            search.pages_left = 0;
        }
    }

    fn send_text(&mut self, text: String, now: f64) -> Effect {
        self.stop_looking();
        self.here.unread.message_sent();
        self.here.timeline.show_end();
        self.here.timeline.apply_bounds(true);
        let key = self.here.outbox.push(text.clone(), now);
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
            SessionEvent::Connection(status) => {
                self.here.connection_changed(status);
                for (_, other) in self.others.iter_mut() {
                    other.connection_changed(status);
                }
                if status == ConnectionStatus::Open {
                    self.open_since = now;
                } else {
                    self.network_lost_at = None;
                }
            }
            SessionEvent::Stopped(cause) => return self.stopped(cause).map(Effect::Focus).into_iter().collect(),
            SessionEvent::Joined(room, continuity) => return self.joined(room, continuity, now),
            SessionEvent::Message(message) => return self.message_received(message, now),
            SessionEvent::Presence { users, change } => self.presence(users, change, now),
            SessionEvent::Lost { epoch, offsets } => {
                self.here.outbox.lost(&epoch, &offsets);
                let message = sentences::own_lost(offsets.len());
                self.here.timeline.push_notice(now, NoticeKind::Failure, message);
            }
            SessionEvent::Typing(user) => {
                if *user != *self.joined_as {
                    self.here.typing.signal_received(user, now);
                }
            }
            SessionEvent::Refused { code, message } => {
                let field = (code == code::BAD_ROOM).then_some(Field::Room);
                let message = sentences::room_refused(&code, &message);
                self.error = Some(FormError { field, message });
                let mut effects: Vec<_> = self.room_left().into_iter().collect();
                effects.push(Effect::Focus(Focus::NameIfLost));
                // It can never be opened.
                let never = field.and(self.room.clone());
                effects.extend(never.map(Effect::ForgetRoom));
                return effects;
            }
            SessionEvent::Restored(texts) => {
                let Some(room) = self.room.clone() else {
                    return Vec::new();
                };
                let keys = texts.into_iter().map(|text| self.here.outbox.push(text, now));
                return keys.map(|key| Effect::TrackRestored(room.clone(), key)).collect();
            }
            SessionEvent::Written(key) => self.here.outbox.written(key, now),
            SessionEvent::Acked { key, epoch, offset, at } => {
                if self.here.timeline.has_received(&epoch, offset) {
                    // Also where an earlier page received it, which did not get the acknowledgement.
                    self.here.outbox.settled(key);
                } else {
                    self.here.outbox.acked(key, epoch, offset, at);
                }
            }
            SessionEvent::Failed { key, reason } => self.here.outbox.failed(key, reason),
            SessionEvent::Page {
                before,
                epoch,
                messages,
                more,
            } => {
                let messages = messages.into_iter().map(|message| self.claim(message)).collect();
                if self.is_sought(before) {
                    self.sought_page(&epoch, messages, more, now);
                } else {
                    let new = self.here.timeline.insert_page(before, &epoch, messages, more);
                    self.keep_page(new);
                }
                self.here.divide_again();
            }
            SessionEvent::PageFailed { before } => {
                if self.is_sought(before) {
                    self.end_seek(Text::OlderFailed, now);
                } else {
                    self.here.timeline.page_failed(before);
                }
            }
            SessionEvent::Found {
                part,
                for_mention,
                found,
            } => self.found(&part, for_mention, found),
        }
        Vec::new()
    }

    /// What happened in a room, which may be another one than the one that is shown.
    fn in_room(&mut self, room: RoomName, event: SessionEvent, now: f64) -> Vec<Effect> {
        if self.room.as_ref() == Some(&room) {
            return self.session_event(event, now);
        }
        let Some(other) = self.others.get_mut(&room) else {
            return Vec::new();
        };
        // For the time of the event it is the room that is shown. Its error is dropped: when the room is opened it is
        // joined again, and a refusal comes again.
        mem::swap(&mut self.here, other);
        let shown = self.room.replace(room.clone());
        let (error, completion) = (self.error.clone(), self.completion.clone());
        let seek = self.seek.take();
        let mut effects = self.session_event(event, now);
        self.seek = seek;
        effects.retain(|effect| !matches!(effect, Effect::Focus(_)));
        (self.error, self.completion) = (error, completion);
        self.room = shown;
        if let Some(other) = self.others.get_mut(&room) {
            mem::swap(&mut self.here, other);
        }
        effects
    }

    fn stopped(&mut self, cause: Cause) -> Option<Focus> {
        if self.here.is_out() && !self.others.is_in_any() {
            return None;
        }
        self.error = Some(if cause.code == close::FORBIDDEN {
            // The page sends no token, so the server refused the name.
            FormError::of(Field::Name, sentences::name_refused(&cause.reason))
        } else {
            FormError::of_connection(sentences::stopped(&cause))
        });
        self.reset_to_out();
        Some(Focus::NameIfLost)
    }

    fn joined(&mut self, room: JoinedRoom, continuity: Continuity, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        // An answer to the join before the kept rows came, which is repeated from their end, brings the newest of them again.
        if self.here.is_preview || self.here.is_restored && continuity == Continuity::Fresh {
            self.here.clear();
        }
        self.here.roster.replace(
            usize::try_from(room.users).unwrap_or(usize::MAX),
            room.members.clone().map(users),
        );
        if self.here.roster.names().is_none() {
            self.here.found = PeopleSearch::default();
            self.here.mentionable = PeopleSearch::default();
        }
        let (after, head) = (room.after.get(), room.head.get());
        let is_restored = mem::take(&mut self.here.is_restored);
        if continuity == Continuity::Recovered {
            self.here.outbox.log_recovered(&room.epoch);
            let before = self.here.timeline.cursor().map(|cursor| cursor.epoch);
            if let Some(before) = before.filter(|before| *before != room.epoch) {
                self.here.forked.get_or_insert(before);
            }
            self.here.timeline.continue_log(room.epoch);
            if is_restored {
                // What follows was said before the user came back.
                self.here.history_to = head;
            }
        } else {
            self.keep();
            self.push_undelivered(&room.epoch, after);
            let place = self.here.read_place();
            if continuity == Continuity::Reset {
                self.notice_history_lost(&room.epoch, now);
            }
            effects.extend(self.read_again(&room, place));
            self.here.forked = None;
            self.here.kept = after;
            self.here.start_log(room.epoch, after);
            if let Some(seeking) = &mut self.seek {
                seeking.begin_anew();
            }
            self.here.history_to = head;
        }
        self.here.is_current = true;
        if let Membership::Joining(connection) = self.here.membership {
            self.here.membership = Membership::In {
                connection,
                joined_notice_after: Some(head),
            };
            self.notice_joined(after, now);
        }
        effects
    }

    /// Messages of the log come that may have been read already, up to `place`: those after that are counted as unread.
    fn read_again(&mut self, room: &JoinedRoom, place: Option<Cursor>) -> Option<Effect> {
        let here = &mut self.here;
        here.read.take_if(|read| read.epoch != room.epoch);
        if let Some(place) = place.filter(|place| place.epoch == room.epoch) {
            here.unread.recount();
            let before = here.read.take().filter(|read| read.offset > place.offset);
            here.read = Some(before.unwrap_or(place));
        }
        let read = here.read.as_mut()?;
        let lowered = (read.offset > room.head).then(|| {
            read.offset = room.head;
            read.clone()
        });
        let unloaded = room.after.get().saturating_sub(read.offset.get());
        here.unread
            .count_unloaded(usize::try_from(unloaded).unwrap_or(usize::MAX));
        Some(Effect::LowerRead(self.room.clone()?, lowered?))
    }

    /// Moves the acknowledged own messages that the room will not deliver to the timeline.
    fn push_undelivered(&mut self, epoch: &Epoch, after: u64) {
        for sent in self.here.outbox.take_undelivered(epoch, after) {
            self.here.timeline.push_undelivered(RoomMessage {
                offset: 0,
                from: self.joined_as.clone(),
                at: sent.at,
                mentions: self.mentions(&sent.text),
                text: sent.text,
                deleted: false,
                own: true,
                mentions_me: false,
            });
        }
    }

    /// Adds the notice of a gap below the rows so far.
    fn notice_history_lost(&mut self, epoch: &Epoch, now: f64) {
        let is_same_log = self.here.timeline.cursor().is_some_and(|cursor| cursor.epoch == *epoch);
        self.here
            .timeline
            .push_notice(now, NoticeKind::Loss, gap(is_same_log).into());
    }

    /// Adds the notice of the user's own joining once the messages from before the join are there.
    fn notice_joined(&mut self, received: u64, now: f64) {
        if let Membership::In {
            joined_notice_after, ..
        } = &mut self.here.membership
            && joined_notice_after.take_if(|offset| received >= *offset).is_some()
        {
            let room = self.room.as_deref().unwrap_or_default().to_owned();
            let message = Text::Joined.with([room.into(), self.joined_as.clone().into()]);
            self.here.timeline.push_own_presence(now, message);
        }
    }

    /// A message of the same user is an own one, whichever tab or device sent it.
    fn claim(&self, message: RoomMessage) -> RoomMessage {
        let mentions = self.mentions(&message.text);
        let is_me = |mention: &Range<usize>| {
            let name = &message.text[mention.start + 1..mention.end];
            name.eq_ignore_ascii_case(&self.joined_as)
        };
        RoomMessage {
            own: message.own || message.from == self.joined_as,
            mentions_me: mentions.iter().any(is_me),
            mentions,
            ..message
        }
    }

    /// The mentions of users who are in the room.
    fn mentions(&self, text: &str) -> Vec<Range<usize>> {
        let names = self.here.roster.names().unwrap_or_default().iter().map(|name| &**name);
        mentions::find(text, names.chain([self.joined_as.as_str()]))
    }

    /// Adds a message; returns the notification and the sound of it.
    fn message_received(&mut self, message: RoomMessage, now: f64) -> Vec<Effect> {
        let offset = message.offset;
        let live = offset > self.here.history_to;
        self.here.typing.remove(&message.from);
        if message.own {
            self.here.outbox.delivered(offset, &message.text);
        }
        let message = self.claim(message);
        let (own, mentions_me) = (message.own, message.mentions_me);
        let is_alert = self.alerts && live && mentions_me && !own && !self.here.unread.is_visible();
        let alert = self.room.clone().filter(|_| is_alert).map(|room| Effect::Alert {
            room,
            from: message.from.clone(),
            text: format::head(&message.text, MAX_ALERT_BYTES).to_owned(),
        });
        let is_muted = self.room.as_ref().is_some_and(|room| self.recent.is_muted(room));
        let is_in_sight = self.here.unread.is_visible() && self.here.unread.at_end;
        let is_heard = self.sounds && live && !own && !is_muted && !is_in_sight;
        let sound = (is_heard && now - self.sounded_at >= SOUND_EVERY_MS).then(|| {
            self.sounded_at = now;
            Effect::Sound
        });
        if self.here.unkept() >= MAX_UNKEPT {
            self.keep();
        }
        let was_unread = self.here.read.as_ref().is_some_and(|read| offset > read.offset.get());
        if self.here.timeline.push_message(message, live) && (live || was_unread) && !own {
            let number = self.here.timeline.last_number();
            self.here.unread.message_arrived(number, offset, mentions_me);
            if !live {
                self.here.unread.divide_at(number, offset);
            }
        }
        self.notice_joined(offset, now);
        self.here.timeline.apply_bounds(self.here.unread.at_end);
        alert.into_iter().chain(sound).collect()
    }

    fn presence(&mut self, count: u32, change: PresenceChange, now: f64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (joined, left) = match change {
            PresenceChange::Changed { joined, left } => (users(joined), users(left)),
            PresenceChange::List(members) => {
                self.here.roster.replace(count, Some(users(members)));
                return;
            }
            PresenceChange::Untold => {
                let was_listed = self.here.roster.names().is_some();
                self.here.roster.replace(count, None);
                let RoomState { found, mentionable, .. } = &mut self.here;
                for search in [found, mentionable] {
                    search.is_outdated();
                    if was_listed {
                        search.look_again();
                    }
                }
                return;
            }
        };
        for user in &left {
            self.here.typing.remove(user);
        }
        let not_me = |users: Vec<UserName>, me: &str| -> Vec<UserName> {
            users.into_iter().filter(|user| **user != *me).collect()
        };
        let joined = not_me(self.here.roster.joined(joined), &self.joined_as);
        let left = not_me(self.here.roster.left(left), &self.joined_as);
        self.here.roster.set_users(count);
        if !joined.is_empty() || !left.is_empty() {
            self.here.timeline.push_presence(now, joined, left);
        }
        self.here.timeline.apply_bounds(self.here.unread.at_end);
    }
}

/// This user joins the room. If it was not the last one who did, the rows go, because the messages come again and say whose they are, and the
/// failed messages of the user are loaded, with the place up to where the user has read.
fn enter(state: &mut RoomState, room: &RoomName, name: &UserName) -> Vec<Effect> {
    if state.failed_of == **name {
        return Vec::new();
    }
    state.read = None;
    // A preview is replaced when the room answers.
    if !(state.timeline.is_empty() || state.is_preview) {
        state.clear();
    }
    state.failed_of = name.to_string();
    vec![
        Effect::LoadRead(room.clone()),
        Effect::LoadFailed(room.clone(), name.to_string()),
    ]
}

/// A whole page.
fn request_page(before: u64) -> Effect {
    Effect::RequestPage { before, limit: PAGE }
}

pub(super) fn users(members: Vec<Member>) -> Vec<UserName> {
    members.into_iter().map(|member| member.user).collect()
}

#[cfg(test)]
mod tests;
