//! The workbench's reducer, pure: [`WorkbenchState::update`] takes an [`Action`] and the time, and returns the
//! [`Effect`]s for the view to run.

use talkback_client::{ConnectError, close};

use super::{
    json,
    log_entry::{HttpAnswer, LogEntry, Payload},
    log_panel::Resend,
    message_mode::Mode,
    repeat::Repeat,
    round_trip::RoundTrips,
    saved::{Item, Kind},
    sent_history::SentHistory,
    sentences,
    subprotocols::{BadName, ChipMove, MAX_BYTES, Subprotocols},
    templates,
    traffic::Traffic,
};
use crate::{
    connection::{self, CloseInfo, ConnectionEvent, End, Phase},
    form::FormError,
    format,
    i18n::{Sentence, Text},
    server_address,
};

/// A field of a form, which can have an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Url,
    Subprotocols,
    CloseCode,
    CloseReason,
    Message,
    RepeatCount,
    RepeatInterval,
}

/// A file that the user has chosen; the view has the file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChosenFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// A step in what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    Older,
    Newer,
}

/// What the workbench shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkbenchState {
    pub(crate) url: String,
    pub(crate) subprotocols: Subprotocols,
    pub(crate) mode: Mode,
    /// What is written in each mode, in the order of [`Mode::ALL`]; a file has none.
    drafts: [String; 4],
    pub(crate) file: Option<ChosenFile>,
    /// The bytes of a file that is being sent.
    uploading: Option<u32>,
    /// The chosen file is being read; the next one is read only after it.
    reading: bool,
    history: SentHistory,
    pub(crate) repeat: Repeat,
    /// The number of the last message with `{{seq}}` since the user connected.
    seq: u64,
    /// The state of the generator of `{{uuid}}`.
    random: u64,
    pub(crate) close_code: String,
    pub(crate) close_reason: String,
    pub(crate) phase: Phase,
    /// `bufferedAmount`: bytes that the browser has not sent yet.
    pub(crate) buffered: u32,
    /// Whether the page connects again by itself when the connection ended and the user did not end it.
    pub(crate) reconnect: bool,
    /// The attempts to connect again since a connection was open for [`STABLE_MS`].
    pub(crate) attempts: u32,
    /// What the last connection was opened with.
    last: (String, Vec<String>),
    /// When the connection ended that is made again.
    ended_at: f64,
    /// Since the user connected.
    pub(crate) traffic: Traffic,
    pub(crate) round_trips: RoundTrips,
    pub(crate) error: Option<FormError<Field>>,
    server_origin: String,
    /// The page was left with a connection, and connects again when it is restored from the back-forward cache.
    reconnect_on_return: bool,
}

/// What the user did or what happened.
#[derive(Debug)]
pub(crate) enum Action {
    Edit(Field, String),
    Chip(ChipMove),
    /// Put a saved connection into the fields.
    Load(Box<Item>),
    /// Put a saved or sent text into the composer.
    Take(Mode, String),
    Connect,
    /// Connect again at once instead of after the pause.
    ConnectNow,
    Cancel,
    Close,
    Send,
    SendHttp,
    Resend(Resend),
    Mode(Mode),
    /// Lay the JSON out.
    Format,
    Recall(Recall),
    File(Option<ChosenFile>),
    /// Start or stop sending again and again.
    Repeat(bool),
    /// The time has come to send again.
    RepeatDue,
    Connection(ConnectionEvent),
    /// [`Effect::Open`] failed before connecting.
    Refused(ConnectError),
    /// The chosen file was read, or cannot be.
    FileRead,
    Sent(Payload),
    NotSent(Sentence),
    /// The answer to a request, with its text or why there is none.
    HttpAnswer(HttpAnswer, Result<String, Sentence>),
    PageLeft,
    PageBack,
    /// Some time has passed.
    Tick,
    /// Whether to connect again by itself.
    Reconnect(bool),
}

/// What the view does for the reducer.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Open {
        url: String,
        protocols: Vec<String>,
    },
    Send(Payload),
    /// Read the chosen file and send its bytes.
    SendFile,
    Close(Option<(u16, String)>),
    /// End the connection at once, without further events.
    Terminate,
    PollBuffer,
    Fetch(String),
    Record(LogEntry),
    /// Keep the text of a field over a reload.
    SaveField(&'static str, String),
    /// Remember whether to connect again by itself.
    SaveReconnect(bool),
    /// Remember this address, which answered.
    Used(String),
    /// Show a field that has an error and is not in view, and focus it.
    Reveal(Field),
}

/// The name in storage of the composer's mode.
pub(crate) const MODE: &str = "mode";

/// The name in storage of what was sent.
pub(crate) const HISTORY: &str = "history";

/// The bytes that are kept of what was sent, at most: the browser has a few megabytes for all of a tab.
const MAX_HISTORY_BYTES: usize = 64 << 10;

/// The largest file that is sent: it is in memory twice, in the page and in the browser's buffer.
const MAX_FILE_BYTES: u32 = 64 << 20;

/// A connection that was open for this time, in milliseconds, resets the pause before the page connects again: a server that accepts and closes
/// at once is asked less and less often.
const STABLE_MS: f64 = 30_000.0;

impl Field {
    /// All fields.
    pub(crate) const ALL: [Self; 7] = [
        Self::Url,
        Self::Subprotocols,
        Self::CloseCode,
        Self::CloseReason,
        Self::Message,
        Self::RepeatCount,
        Self::RepeatInterval,
    ];

    /// The `id`, and the name in storage. That of the message is the name of its mode.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Subprotocols => "subprotocols",
            Self::CloseCode => "close_code",
            Self::CloseReason => "close_reason",
            Self::Message => "message",
            Self::RepeatCount => "repeat_count",
            Self::RepeatInterval => "repeat_interval",
        }
    }
}

impl WorkbenchState {
    /// The state at first. `random` is where the generator of `{{uuid}}` begins.
    pub(crate) fn new(server_origin: String, random: u64) -> Self {
        Self {
            url: server_address::websocket_url(&server_origin, "/echo"),
            subprotocols: Subprotocols::default(),
            mode: Mode::Text,
            drafts: ["Hello, World!".into(), "{}".into(), String::new(), String::new()],
            file: None,
            uploading: None,
            reading: false,
            history: SentHistory::default(),
            repeat: Repeat::default(),
            seq: 0,
            random,
            close_code: close::NORMAL.to_string(),
            close_reason: String::new(),
            phase: Phase::Idle,
            buffered: 0,
            reconnect: false,
            attempts: 0,
            last: <(String, Vec<String>)>::default(),
            ended_at: 0.0,
            traffic: Traffic::default(),
            round_trips: RoundTrips::default(),
            error: None,
            server_origin,
            reconnect_on_return: false,
        }
    }

    /// Applies an action at a time in milliseconds since the Unix epoch; returns the effects to run, in order.
    pub(crate) fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        match action {
            Action::Edit(field, text) => {
                self.error.take_if(|error| error.field == Some(field));
                if field == Field::Subprotocols {
                    let outcome = self.subprotocols.type_text(&text);
                    return self.subprotocols_changed(outcome);
                }
                self.edit(field, text.clone());
                let name = if field == Field::Message {
                    self.mode.name()
                } else {
                    field.name()
                };
                return vec![Effect::SaveField(name, text)];
            }
            Action::Chip(chip) => {
                self.error.take_if(|error| error.field == Some(Field::Subprotocols));
                let outcome = self.subprotocols.update(chip);
                return self.subprotocols_changed(outcome);
            }
            Action::Load(item) => return self.load(&item, now),
            Action::Take(mode, text) => return self.take(mode, text, now),
            Action::Connect => return self.connect(now),
            Action::ConnectNow => {
                if matches!(self.phase, Phase::Waiting { .. }) {
                    return self.connect_again(now);
                }
            }
            Action::Cancel => {
                self.attempts = 0;
                self.repeat.stop();
                self.phase.stop_waiting();
                self.state_changed();
                if let Some(end) = self.phase.cancelled() {
                    return vec![Effect::Terminate, notice(sentences::closed(&end, self.offered()))];
                }
            }
            Action::Close => return self.close(now),
            Action::Send => return self.send(now),
            Action::SendHttp => return self.send_http(now),
            Action::Resend(resend) => return self.resend(resend, now),
            Action::Connection(event) => return self.connection(event, now),
            Action::Refused(error) => return self.refused(&error),
            Action::Mode(mode) => {
                self.mode = mode;
                self.history.edited();
                self.error.take_if(|error| error.field == Some(Field::Message));
                return vec![Effect::SaveField(MODE, mode.name().into())];
            }
            Action::Format => {
                if let Some(text) = json::pretty(self.message()) {
                    return self.update(Action::Edit(Field::Message, text), now);
                }
            }
            Action::Recall(step) => return self.recall(step),
            Action::File(file) => {
                self.file = file;
                self.error.take_if(|error| error.field == Some(Field::Message));
            }
            Action::Repeat(false) => self.repeat.stop(),
            Action::Repeat(true) => match self.repeat.start() {
                Ok(()) => return self.send_repeated(now),
                Err((is_count, message)) => {
                    let field = if is_count {
                        Field::RepeatCount
                    } else {
                        Field::RepeatInterval
                    };
                    self.fail(field, message);
                    return vec![Effect::Reveal(field)];
                }
            },
            Action::RepeatDue => {
                // While the page connects again, the repetition waits.
                let is_paused = matches!(self.phase, Phase::Waiting { .. } | Phase::Connecting { .. });
                if self.repeat.is_running() && !is_paused {
                    return self.send_repeated(now);
                }
            }
            Action::FileRead => self.reading = false,
            Action::Sent(payload) => {
                self.traffic.sent(payload.bytes());
                if let Payload::Text(text) = &payload {
                    self.round_trips.sent(text, now);
                }
                return vec![Effect::Record(LogEntry::Sent(payload))];
            }
            Action::NotSent(message) => {
                self.repeat.stop();
                self.uploading = None;
                self.fail(Field::Message, message);
            }
            Action::HttpAnswer(answer, text) => return self.http_answer(answer, text),
            Action::PageLeft => return self.page_left(now),
            Action::PageBack => {
                if std::mem::take(&mut self.reconnect_on_return) {
                    let mut effects = self.unanswered(now);
                    self.attempts = 0;
                    self.error = None;
                    effects.extend(self.open(now));
                    return effects;
                }
            }
            Action::Tick => {
                if self.phase.is_open() {
                    self.traffic.tick(now);
                }
                if matches!(self.phase, Phase::Waiting { until, .. } if until <= now) {
                    return self.connect_again(now);
                }
            }
            Action::Reconnect(reconnect) => {
                self.reconnect = reconnect;
                if !reconnect {
                    self.attempts = 0;
                    if self.phase.stop_waiting() {
                        self.repeat.stop();
                    }
                }
                return vec![Effect::SaveReconnect(reconnect)];
            }
        }
        Vec::new()
    }

    /// What is saved of the connection, without a name.
    ///
    /// # Errors
    /// When there is no address.
    pub(crate) fn to_item(&self) -> Result<Item, Sentence> {
        let url = self.url.trim();
        if url.is_empty() {
            return Err(connection::bad_url(url));
        }
        let names: Vec<_> = self.subprotocols.names().collect();
        let item = Item::new(Kind::Connection)
            .with_address(url, &names.join(", "))
            .with_mode(self.mode);
        let drafts = Mode::ALL.into_iter().zip(&self.drafts);
        Ok(drafts.fold(item, |item, (mode, text)| item.with_draft(mode, text)))
    }

    /// The message as a snippet, without a name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn to_snippet(&self) -> Result<Item, Sentence> {
        match self.message() {
            "" => Err(Text::NoMessage.into()),
            text => Ok(Item::new(Kind::Snippet)
                .with_mode(self.mode)
                .with_draft(self.mode, text)),
        }
    }

    /// What was sent, the newest first.
    pub(crate) fn sent_texts(&self) -> impl Iterator<Item = &String> {
        self.history.texts()
    }

    /// What is written in the current mode; nothing for a file.
    pub(crate) fn message(&self) -> &str {
        self.drafts.get(self.mode as usize).map_or("", String::as_str)
    }

    /// Sets what is written in a mode.
    pub(crate) fn set_draft(&mut self, mode: Mode, text: String) {
        if let Some(draft) = self.drafts.get_mut(mode as usize) {
            *draft = text;
        }
    }

    /// How many bytes of a file have left the browser, and its size; none while none is being sent.
    pub(crate) fn upload(&self) -> Option<(u32, u32)> {
        let total = self.uploading?;
        Some((total.saturating_sub(self.buffered), total))
    }

    /// Whether the bytes of the chosen file are waited for.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading
    }

    /// Whether [`Action::Recall`] changes the message.
    pub(crate) fn can_recall(&self, step: Recall) -> bool {
        match step {
            Recall::Older => self.history.has_older(self.message()),
            Recall::Newer => self.history.is_shown(),
        }
    }

    /// Whether a sent message is in the field again, as it was.
    pub(crate) fn shows_history(&self) -> bool {
        self.history.is_shown()
    }

    /// What is written in a field; none for the message, see [`WorkbenchState::drafts`].
    pub(crate) fn field(&self, field: Field) -> Option<String> {
        Some(match field {
            Field::Url => self.url.clone(),
            Field::Subprotocols => self.subprotocols.to_text(),
            Field::CloseCode => self.close_code.clone(),
            Field::CloseReason => self.close_reason.clone(),
            Field::RepeatCount => self.repeat.count.clone(),
            Field::RepeatInterval => self.repeat.interval.clone(),
            Field::Message => return None,
        })
    }

    /// What is written in each mode, with the mode's name.
    pub(crate) fn drafts(&self) -> impl Iterator<Item = (&'static str, &String)> {
        Mode::ALL.map(Mode::name).into_iter().zip(&self.drafts)
    }

    fn edit(&mut self, field: Field, text: String) {
        *match field {
            Field::Url => &mut self.url,
            Field::Subprotocols => return,
            Field::CloseCode => &mut self.close_code,
            Field::CloseReason => &mut self.close_reason,
            Field::Message => {
                self.history.edited();
                match self.drafts.get_mut(self.mode as usize) {
                    Some(draft) => draft,
                    None => return,
                }
            }
            Field::RepeatCount => &mut self.repeat.count,
            Field::RepeatInterval => &mut self.repeat.interval,
        } = text;
    }

    fn subprotocols_changed(&mut self, outcome: Result<(), BadName>) -> Vec<Effect> {
        if let Err(problem) = outcome {
            let message = match problem {
                BadName::Malformed(name) => Text::BadSubprotocol.with([name.into()]),
                BadName::TooLong(name) => Text::SubprotocolsTooLong.with([name.into(), MAX_BYTES.into()]),
            };
            self.fail(Field::Subprotocols, message);
        }
        vec![Effect::SaveField(
            Field::Subprotocols.name(),
            self.subprotocols.to_text(),
        )]
    }

    /// Puts a text into the composer. The one before is taken back with the arrow keys.
    fn take(&mut self, mode: Mode, text: String, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.sent(self.message().to_owned(), &mut effects);
        effects.extend(self.update(Action::Mode(mode), now));
        effects.extend(self.update(Action::Edit(Field::Message, text), now));
        effects
    }

    fn load(&mut self, item: &Item, now: f64) -> Vec<Effect> {
        self.error = None;
        self.subprotocols = Subprotocols::default();
        let mut effects = self.update(Action::Edit(Field::Url, item.url().to_owned()), now);
        let names = item.subprotocols().to_owned() + ",";
        effects.extend(self.update(Action::Edit(Field::Subprotocols, names), now));
        if item.has_mode() {
            effects.extend(self.take(item.mode(), item.draft(item.mode()).to_owned(), now));
            for mode in Mode::ALL.into_iter().filter(|mode| *mode != Mode::File) {
                let text = item.draft(mode).to_owned();
                self.set_draft(mode, text.clone());
                effects.push(Effect::SaveField(mode.name(), text));
            }
        }
        effects
    }

    /// The subprotocols of the last connection.
    pub(super) fn offered(&self) -> &[String] {
        &self.last.1
    }

    fn connect(&mut self, now: f64) -> Vec<Effect> {
        if !self.phase.is_over() {
            return Vec::new();
        }
        self.error = None;
        let mut effects = Vec::new();
        let Some(mut url) = self.complete_url(&mut effects) else {
            return effects;
        };
        if url.starts_with('/') {
            url = server_address::websocket_url(&self.server_origin, &url);
        }
        self.seq = 0;
        self.traffic = Traffic::since(now);
        self.round_trips = RoundTrips::default();
        self.attempts = 0;
        let protocols = self.subprotocols.names().map(Into::into).collect();
        self.last = (url, protocols);
        effects.extend(self.open(now));
        effects
    }

    /// The address of the field, which gets a scheme if it has none. None if it is no address; the field has the error then.
    fn complete_url(&mut self, effects: &mut Vec<Effect>) -> Option<String> {
        let typed = self.url.trim();
        let Some(url) = server_address::with_scheme(typed, &self.server_origin) else {
            self.fail(Field::Url, connection::bad_url(&self.url));
            return None;
        };
        if url != typed {
            self.url.clone_from(&url);
            effects.push(Effect::SaveField(Field::Url.name(), url.clone()));
        }
        Some(url)
    }

    /// Connects to the address of the last connection, whatever is in the fields now.
    fn connect_again(&mut self, now: f64) -> Vec<Effect> {
        self.attempts += 1;
        self.open(now)
    }

    fn open(&mut self, now: f64) -> Vec<Effect> {
        self.buffered = 0;
        self.drop_file();
        self.state_changed();
        self.phase = Phase::Connecting { since: now };
        let (url, protocols) = self.last.clone();
        vec![
            Effect::Record(LogEntry::Opening(url.clone())),
            Effect::Open { url, protocols },
        ]
    }

    fn close(&mut self, now: f64) -> Vec<Effect> {
        if !self.phase.is_open() {
            return Vec::new();
        }
        let frame = match self.close_frame() {
            Ok(frame) => frame,
            Err((field, message)) => {
                self.fail(field, message);
                return vec![Effect::Reveal(field)];
            }
        };
        self.error = None;
        self.repeat.stop();
        self.phase.closing(now, frame.as_ref().map(|(code, _)| *code));
        vec![Effect::Close(frame)]
    }

    /// What the close frame has, as it is written now; none for one without a code.
    ///
    /// # Errors
    /// When the code or the reason cannot be sent.
    pub(crate) fn close_frame(&self) -> Result<Option<(u16, String)>, (Field, Sentence)> {
        let (code, reason) = (self.close_code.trim(), self.close_reason.clone());
        if code.is_empty() && reason.is_empty() {
            return Ok(None);
        }
        let Some(code) = code.parse().ok().filter(|&code| close::check_code(code).is_ok()) else {
            return Err((Field::CloseCode, Text::BadCloseCode.into()));
        };
        if close::check_reason(&reason).is_err() {
            let too_long = Text::ReasonTooLong.with([reason.len().into(), close::MAX_REASON_BYTES.into()]);
            return Err((Field::CloseReason, too_long));
        }
        Ok(Some((code, reason)))
    }

    /// Sends the next message of a repetition, unless a file is still being read.
    fn send_repeated(&mut self, now: f64) -> Vec<Effect> {
        let effects = self.send(now);
        if !effects.is_empty() {
            self.repeat.sent();
        }
        effects
    }

    /// A file of a connection that ended is not sent.
    fn drop_file(&mut self) {
        self.uploading = None;
        self.reading = false;
    }

    fn send(&mut self, now: f64) -> Vec<Effect> {
        if self.reading && self.mode == Mode::File {
            return Vec::new();
        }
        let outcome = if self.phase.is_open() {
            self.effect_of_message(now)
        } else {
            Err(connection::not_sent(&self.phase))
        };
        match outcome {
            Ok(effect) => {
                self.error.take_if(|error| error.field == Some(Field::Message));
                let mut effects = vec![effect];
                if self.mode != Mode::File {
                    self.sent(self.message().to_owned(), &mut effects);
                }
                effects
            }
            Err(message) => {
                self.repeat.stop();
                self.fail(Field::Message, message);
                Vec::new()
            }
        }
    }

    /// What sends the message as it is written now.
    fn effect_of_message(&mut self, now: f64) -> Result<Effect, Sentence> {
        if self.mode == Mode::File {
            let file = self.file.as_ref().ok_or(Text::NoFile)?;
            let bytes = u32::try_from(file.bytes).ok().filter(|&bytes| bytes <= MAX_FILE_BYTES);
            self.uploading = Some(bytes.ok_or_else(|| Text::FileTooLarge.with([Sentence::size(file.bytes)]))?);
            self.reading = true;
            return Ok(Effect::SendFile);
        }
        let text = self.expanded(now);
        self.mode.payload(text).map(Effect::Send)
    }

    /// The message with its templates replaced, in the modes that have them.
    fn expanded(&mut self, now: f64) -> String {
        let text = self.message().to_owned();
        if !self.mode.has_templates() || format::find(&text, "{{").is_none() {
            return text;
        }
        self.seq += 1;
        let random = &mut self.random;
        templates::expand(&text, self.seq, now, || uuid([next(random), next(random)]))
    }

    /// Puts a text into what was sent, which is kept if it has changed.
    fn sent(&mut self, text: String, effects: &mut Vec<Effect>) {
        if self.history.sent(&text) {
            effects.push(Effect::SaveField(HISTORY, self.kept_history()));
        }
    }

    /// What was sent, as it is kept over a reload.
    pub(crate) fn kept_history(&self) -> String {
        self.history.to_text(MAX_HISTORY_BYTES)
    }

    /// Takes back what was kept of what was sent.
    pub(crate) fn restore_history(&mut self, text: &str) {
        self.history = SentHistory::from_text(text);
    }

    fn recall(&mut self, step: Recall) -> Vec<Effect> {
        let text = match step {
            Recall::Older => self
                .history
                .older(self.drafts.get(self.mode as usize).map_or("", String::as_str)),
            Recall::Newer => self.history.newer(),
        };
        match text {
            Some(text) => {
                self.set_draft(self.mode, text.clone());
                vec![Effect::SaveField(self.mode.name(), text)]
            }
            None => Vec::new(),
        }
    }

    /// Sends a logged message again as it was, or puts it into the field.
    fn resend(&mut self, Resend { payload, at_once }: Resend, now: f64) -> Vec<Effect> {
        if at_once && self.phase.is_open() {
            return vec![Effect::Send(payload)];
        }
        if at_once {
            self.fail(Field::Message, connection::not_sent(&self.phase));
            return Vec::new();
        }
        let (mode, text) = match payload {
            Payload::Text(text) | Payload::Http { text, .. } => (Mode::Text, text),
            Payload::Binary(bytes) => (Mode::Hex, format::hex(&bytes)),
        };
        self.take(mode, text, now)
    }

    fn send_http(&mut self, now: f64) -> Vec<Effect> {
        self.error = None;
        let text = self.expanded(now);
        let mut effects = Vec::new();
        let Some(url) = self.complete_url(&mut effects) else {
            return effects;
        };
        let Some(url) = server_address::http_echo_url(&url, &self.server_origin, &text) else {
            self.fail(Field::Url, connection::bad_url(&self.url));
            return effects;
        };
        if !server_address::is_on(&url, &self.server_origin) {
            self.fail(
                Field::Message,
                Text::HttpForeign.with([self.server_origin.as_str().into()]),
            );
            return effects;
        }
        let sent = Payload::Http { answer: None, text };
        effects.extend([Effect::Record(LogEntry::Sent(sent)), Effect::Fetch(url)]);
        effects
    }

    fn connection(&mut self, event: ConnectionEvent, now: f64) -> Vec<Effect> {
        match event {
            ConnectionEvent::Opened { protocol, extensions } => {
                self.phase.opened(now, protocol.clone(), extensions);
                self.state_changed();
                let mut effects = vec![notice(sentences::opened(&protocol)), Effect::Used(self.last.0.clone())];
                if self.attempts > 0 {
                    effects.push(notice(
                        Text::Reconnected.with([format::duration(now - self.ended_at), self.attempts.into()]),
                    ));
                }
                effects
            }
            ConnectionEvent::Received(message) => {
                let payload = Payload::received(message);
                self.traffic.received(payload.bytes());
                if let Payload::Text(text) = &payload {
                    self.round_trips.received(text, now);
                }
                vec![Effect::Record(LogEntry::Received(payload))]
            }
            ConnectionEvent::Buffered(bytes) => {
                self.buffered = bytes;
                if bytes == 0 {
                    self.uploading = None;
                }
                // After the close, the number stays that of the bytes that were never sent.
                if bytes > 0 && !self.phase.is_over() {
                    vec![Effect::PollBuffer]
                } else {
                    Vec::new()
                }
            }
            ConnectionEvent::Closed(closed) => {
                let is_closing = matches!(self.phase, Phase::Closing { .. });
                let Some(end) = self.phase.closed(now, closed) else {
                    return Vec::new();
                };
                self.drop_file();
                self.state_changed();
                // A connection that the user closes stays closed, however the server answers.
                if self.reconnect && !is_closing && !end.is_by_page() {
                    if let End::Lost { open_ms, .. } | End::Finished { open_ms, .. } = end {
                        self.ended_at = now;
                        if open_ms >= STABLE_MS {
                            self.attempts = 0;
                        }
                    } else if self.attempts == 0 {
                        self.ended_at = now;
                    }
                    self.phase.wait(now, self.attempts);
                    return vec![notice(sentences::closed(&end, self.offered()))];
                }
                self.attempts = 0;
                self.repeat.stop();
                match &end {
                    End::NeverOpened(_) => self.fail(Field::Url, sentences::ended(&end, self.offered())),
                    End::Lost { .. } => {
                        self.error = Some(FormError::of_connection(sentences::ended(&end, self.offered())))
                    }
                    // Each other end is in the status strip and in the log.
                    _ => {}
                }
                vec![notice(sentences::closed(&end, self.offered()))]
            }
            ConnectionEvent::CloseOverdue => match self.phase.forced(now) {
                Some(end) => {
                    self.drop_file();
                    self.state_changed();
                    vec![Effect::Terminate, notice(sentences::closed(&end, self.offered()))]
                }
                None => Vec::new(),
            },
        }
    }

    /// The connection failed before anything was sent: nothing is connected, the invalid field has the error, and the log the outcome.
    fn refused(&mut self, error: &ConnectError) -> Vec<Effect> {
        self.phase = Phase::Idle;
        self.attempts = 0;
        self.repeat.stop();
        let field = if matches!(error, ConnectError::Subprotocol { .. }) {
            Field::Subprotocols
        } else {
            Field::Url
        };
        let message = connection::explain(error);
        self.fail(field, message.clone());
        let mut effects = vec![notice(message)];
        if field == Field::Subprotocols {
            effects.push(Effect::Reveal(field));
        }
        effects
    }

    fn http_answer(&mut self, answer: HttpAnswer, text: Result<String, Sentence>) -> Vec<Effect> {
        match text {
            Ok(text) => {
                if !(200..300).contains(&answer.status) {
                    self.fail(Field::Message, Text::HttpStatus.with([u32::from(answer.status).into()]));
                }
                vec![Effect::Record(LogEntry::Received(Payload::Http {
                    answer: Some(Box::new(answer)),
                    text,
                }))]
            }
            Err(problem) => {
                self.fail(Field::Message, problem.clone());
                vec![Effect::Record(LogEntry::Unanswered(Box::new(answer), problem))]
            }
        }
    }

    fn page_left(&mut self, now: f64) -> Vec<Effect> {
        self.reconnect_on_return = matches!(self.phase, Phase::Connecting { .. } | Phase::Open { .. });
        if self.phase.cancelled().is_some() {
            return vec![Effect::Terminate];
        }
        self.phase.closing(now, Some(close::NORMAL));
        if self.reconnect_on_return {
            vec![Effect::Close(Some((close::NORMAL, String::new())))]
        } else {
            Vec::new()
        }
    }

    /// Ends a connection whose page was away before the answer to its close came.
    fn unanswered(&mut self, now: f64) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Closing { .. }) {
            return Vec::new();
        }
        let closed = CloseInfo {
            code: close::NORMAL,
            reason: String::new(),
            clean: false,
        };
        let mut effects = vec![Effect::Terminate];
        effects.extend(self.connection(ConnectionEvent::Closed(closed), now));
        effects
    }

    /// Removes the error that a message was not sent in the state before.
    fn state_changed(&mut self) {
        self.error.take_if(|error| connection::is_not_sent(&error.message));
    }

    fn fail(&mut self, field: Field, message: Sentence) {
        self.error = Some(FormError::of(field, message));
    }
}

/// The next number of a generator: [SplitMix64](https://prng.di.unimi.it/splitmix64.c). Its numbers name messages and keep no secret.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut number = *state;
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A random UUID, version 4 of [RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.4).
fn uuid([high, low]: [u64; 2]) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

fn notice(message: Sentence) -> Effect {
    Effect::Record(LogEntry::Notice(message))
}

#[cfg(test)]
mod tests;
