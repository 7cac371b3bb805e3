//! The workbench's reducer, pure: [`WorkbenchState::update`] takes an [`Action`] and the time, and returns the
//! [`Effect`]s for the view to run.

use talkback_client::close;

use super::{
    json,
    log_entry::{LogEntry, Payload},
    log_panel::Resend,
    message_mode::Mode,
    repeat::Repeat,
    round_trip::RoundTrips,
    sent_history::SentHistory,
    templates,
    traffic::Traffic,
};
use crate::{
    connection::{self, ConnectionEvent, End, Phase},
    form::FormError,
    format,
    i18n::{HttpProblem, Sentence},
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
    pub(crate) subprotocols: String,
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
    Refused(Sentence),
    /// The chosen file was read, or cannot be.
    FileRead,
    Sent(Payload),
    NotSent(Sentence),
    HttpAnswer(Result<(u16, String), HttpProblem>),
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
            subprotocols: String::new(),
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
                self.edit(field, text.clone());
                let name = if field == Field::Message {
                    self.mode.name()
                } else {
                    field.name()
                };
                return vec![Effect::SaveField(name, text)];
            }
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
                if let Some(end) = self.phase.cancelled() {
                    return vec![Effect::Terminate, notice(Sentence::Closed(end))];
                }
            }
            Action::Close => return self.close(now),
            Action::Send => return self.send(now),
            Action::SendHttp => return self.send_http(),
            Action::Resend(resend) => return self.resend(resend, now),
            Action::Connection(event) => return self.connection(event, now),
            Action::Refused(message) => return self.refused(message),
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
            Action::HttpAnswer(answer) => return self.http_answer(answer),
            Action::PageLeft => return self.page_left(now),
            Action::PageBack => {
                if std::mem::take(&mut self.reconnect_on_return) {
                    self.attempts = 0;
                    self.error = None;
                    return self.open(now);
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

    /// The names in the field of the subprotocols.
    pub(crate) fn subprotocol_names(&self) -> impl Iterator<Item = &str> {
        self.subprotocols
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
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

    fn edit(&mut self, field: Field, text: String) {
        *match field {
            Field::Url => &mut self.url,
            Field::Subprotocols => &mut self.subprotocols,
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
        self.error.take_if(|error| error.field == Some(field));
    }

    fn connect(&mut self, now: f64) -> Vec<Effect> {
        if !self.phase.is_over() {
            return Vec::new();
        }
        self.error = None;
        let url = self.url.trim().to_owned();
        if url.is_empty() {
            // A browser resolves an empty address to the page's own.
            self.fail(Field::Url, connection::bad_url(&url));
            return Vec::new();
        }
        self.seq = 0;
        self.traffic = Traffic::since(now);
        self.round_trips = RoundTrips::default();
        self.attempts = 0;
        let protocols = self.subprotocol_names().map(Into::into).collect();
        self.last = (url, protocols);
        self.open(now)
    }

    /// Connects to the address of the last connection, whatever is in the fields now.
    fn connect_again(&mut self, now: f64) -> Vec<Effect> {
        self.attempts += 1;
        self.open(now)
    }

    fn open(&mut self, now: f64) -> Vec<Effect> {
        self.buffered = 0;
        self.drop_file();
        self.phase = Phase::Connecting { since: now };
        let (url, protocols) = self.last.clone();
        vec![notice(Sentence::Opening(url.clone())), Effect::Open { url, protocols }]
    }

    fn close(&mut self, now: f64) -> Vec<Effect> {
        if !self.phase.is_open() {
            return Vec::new();
        }
        let (code, reason) = (self.close_code.trim(), self.close_reason.clone());
        let frame = if code.is_empty() && reason.is_empty() {
            None
        } else {
            let Some(code) = code.parse().ok().filter(|&code| close::check_code(code).is_ok()) else {
                self.fail(Field::CloseCode, Sentence::BadCloseCode);
                return vec![Effect::Reveal(Field::CloseCode)];
            };
            if close::check_reason(&reason).is_err() {
                self.fail(Field::CloseReason, Sentence::ReasonTooLong(reason.len()));
                return vec![Effect::Reveal(Field::CloseReason)];
            }
            Some((code, reason))
        };
        self.error = None;
        self.repeat.stop();
        self.phase.closing(now, frame.as_ref().map(|(code, _)| *code));
        vec![Effect::Close(frame)]
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
            Err(Sentence::NotSent(self.phase.ready_state()))
        };
        match outcome {
            Ok(effect) => {
                self.error.take_if(|error| error.field == Some(Field::Message));
                vec![effect]
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
            let file = self.file.as_ref().ok_or(Sentence::NoFile)?;
            let bytes = u32::try_from(file.bytes).ok().filter(|&bytes| bytes <= MAX_FILE_BYTES);
            self.uploading = Some(bytes.ok_or(Sentence::FileTooLarge(file.bytes))?);
            self.reading = true;
            return Ok(Effect::SendFile);
        }
        let text = self.message().to_owned();
        let payload = if self.mode.has_templates() && text.contains("{{") {
            self.seq += 1;
            let random = &mut self.random;
            self.mode.payload(templates::expand(&text, self.seq, now, || {
                uuid([next(random), next(random)])
            }))?
        } else {
            self.mode.payload(text.clone())?
        };
        self.history.sent(&text);
        Ok(Effect::Send(payload))
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
            self.fail(Field::Message, Sentence::NotSent(self.phase.ready_state()));
            return Vec::new();
        }
        let (mode, text) = match payload {
            Payload::Text(text) | Payload::Http { text, .. } => (Mode::Text, text),
            Payload::Binary(bytes) => (Mode::Hex, format::hex(&bytes)),
        };
        let mut effects = self.update(Action::Mode(mode), now);
        effects.extend(self.update(Action::Edit(Field::Message, text), now));
        effects
    }

    fn send_http(&mut self) -> Vec<Effect> {
        self.error = None;
        let Some(url) = server_address::http_echo_url(&self.url, &self.server_origin, self.message()) else {
            self.fail(Field::Url, connection::bad_url(&self.url));
            return Vec::new();
        };
        let sent = Payload::Http {
            status: None,
            text: self.message().to_owned(),
        };
        vec![Effect::Record(LogEntry::Sent(sent)), Effect::Fetch(url)]
    }

    fn connection(&mut self, event: ConnectionEvent, now: f64) -> Vec<Effect> {
        match event {
            ConnectionEvent::Opened { protocol, extensions } => {
                self.phase.opened(now, protocol.clone(), extensions);
                let mut effects = vec![notice(Sentence::Opened { protocol }), Effect::Used(self.last.0.clone())];
                if self.attempts > 0 {
                    effects.push(notice(Sentence::Reconnected {
                        ms: now - self.ended_at,
                        attempt: self.attempts,
                    }));
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
                    return vec![notice(Sentence::Closed(end))];
                }
                self.attempts = 0;
                self.repeat.stop();
                match &end {
                    End::NeverOpened(_) => self.fail(Field::Url, Sentence::Ended(end.clone())),
                    End::Lost { .. } => self.error = Some(FormError::of_connection(Sentence::Ended(end.clone()))),
                    // Each other end is in the status strip and in the log.
                    _ => {}
                }
                vec![notice(Sentence::Closed(end))]
            }
            ConnectionEvent::CloseOverdue => match self.phase.forced(now) {
                Some(end) => {
                    self.drop_file();
                    vec![Effect::Terminate, notice(Sentence::Closed(end))]
                }
                None => Vec::new(),
            },
        }
    }

    /// The connection failed before anything was sent: nothing is connected, the invalid field has the error, and the log the outcome.
    fn refused(&mut self, message: Sentence) -> Vec<Effect> {
        self.phase = Phase::Idle;
        self.attempts = 0;
        self.repeat.stop();
        let field = if matches!(message, Sentence::BadSubprotocol(_)) {
            Field::Subprotocols
        } else {
            Field::Url
        };
        self.fail(field, message.clone());
        let mut effects = vec![notice(message)];
        if field == Field::Subprotocols {
            effects.push(Effect::Reveal(field));
        }
        effects
    }

    fn http_answer(&mut self, answer: Result<(u16, String), HttpProblem>) -> Vec<Effect> {
        match answer {
            Ok((status, text)) => {
                if !(200..300).contains(&status) {
                    self.fail(Field::Message, Sentence::HttpStatus(status));
                }
                vec![Effect::Record(LogEntry::Received(Payload::Http {
                    status: Some(status),
                    text,
                }))]
            }
            Err(problem) => {
                self.fail(Field::Message, Sentence::HttpFailed(problem.clone()));
                vec![notice(Sentence::HttpFailed(problem))]
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
