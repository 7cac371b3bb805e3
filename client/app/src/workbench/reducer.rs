//! The workbench's reducer, pure: [`WorkbenchState::update`] takes an [`Action`] and the time, and returns the
//! [`Effect`]s for the view to run.

use talkback_client::{Message, close};

use super::log_entry::{LogEntry, Payload};
use crate::{
    connection::{self, ConnectionEvent, End, Phase},
    form::FormError,
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
}

/// What the workbench shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkbenchState {
    pub(crate) url: String,
    pub(crate) subprotocols: String,
    pub(crate) message: String,
    pub(crate) close_code: String,
    pub(crate) close_reason: String,
    pub(crate) phase: Phase,
    /// `bufferedAmount`: bytes that the browser has not sent yet.
    pub(crate) buffered: u32,
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
    Cancel,
    Close,
    Send,
    SendHttp,
    Connection(ConnectionEvent),
    /// [`Effect::Open`] failed before connecting.
    Refused(Sentence),
    Sent(String),
    NotSent(Sentence),
    HttpAnswer(Result<(u16, String), HttpProblem>),
    PageLeft,
    PageBack,
}

/// What the view does for the reducer.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Open {
        url: String,
        protocols: Vec<String>,
    },
    Send(String),
    Close(Option<(u16, String)>),
    /// End the connection at once, without further events.
    Terminate,
    PollBuffer,
    Fetch(String),
    Record(LogEntry),
    /// Keep the text of a field over a reload.
    SaveField(Field, String),
}

impl Field {
    /// All fields.
    pub(crate) const ALL: [Self; 5] = [
        Self::Url,
        Self::Subprotocols,
        Self::CloseCode,
        Self::CloseReason,
        Self::Message,
    ];

    /// The name in storage.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Subprotocols => "subprotocols",
            Self::CloseCode => "close_code",
            Self::CloseReason => "close_reason",
            Self::Message => "message",
        }
    }
}

impl WorkbenchState {
    pub(crate) fn new(server_origin: String) -> Self {
        Self {
            url: server_address::websocket_url(&server_origin, "/echo"),
            subprotocols: String::new(),
            message: "Hello, World!".into(),
            close_code: close::NORMAL.to_string(),
            close_reason: String::new(),
            phase: Phase::Idle,
            buffered: 0,
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
                return vec![Effect::SaveField(field, text)];
            }
            Action::Connect => return self.connect(now),
            Action::Cancel => {
                if let Some(end) = self.phase.cancelled() {
                    return vec![Effect::Terminate, notice(Sentence::Closed(end))];
                }
            }
            Action::Close => return self.close(now),
            Action::Send => return self.send(),
            Action::SendHttp => return self.send_http(),
            Action::Connection(event) => return self.connection(event, now),
            Action::Refused(message) => return self.refused(message),
            Action::Sent(text) => return vec![Effect::Record(LogEntry::Sent(Payload::Text(text)))],
            Action::NotSent(message) => self.fail(Field::Message, message),
            Action::HttpAnswer(answer) => return self.http_answer(answer),
            Action::PageLeft => return self.page_left(now),
            Action::PageBack => {
                if std::mem::take(&mut self.reconnect_on_return) {
                    self.phase = Phase::Idle;
                    return self.connect(now);
                }
            }
        }
        Vec::new()
    }

    fn edit(&mut self, field: Field, text: String) {
        *match field {
            Field::Url => &mut self.url,
            Field::Subprotocols => &mut self.subprotocols,
            Field::CloseCode => &mut self.close_code,
            Field::CloseReason => &mut self.close_reason,
            Field::Message => &mut self.message,
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
        self.buffered = 0;
        self.phase = Phase::Connecting { since: now };
        let protocols = self
            .subprotocols
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect();
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
                return Vec::new();
            };
            if close::check_reason(&reason).is_err() {
                self.fail(Field::CloseReason, Sentence::ReasonTooLong(reason.len()));
                return Vec::new();
            }
            Some((code, reason))
        };
        self.error = None;
        self.phase.closing(now, frame.as_ref().map(|(code, _)| *code));
        vec![Effect::Close(frame)]
    }

    fn send(&mut self) -> Vec<Effect> {
        if self.phase.is_open() {
            self.error.take_if(|error| error.field == Some(Field::Message));
            vec![Effect::Send(self.message.clone())]
        } else {
            self.fail(Field::Message, Sentence::NotSent(self.phase.ready_state()));
            Vec::new()
        }
    }

    fn send_http(&mut self) -> Vec<Effect> {
        self.error = None;
        let Some(url) = server_address::http_echo_url(&self.url, &self.server_origin, &self.message) else {
            self.fail(Field::Url, connection::bad_url(&self.url));
            return Vec::new();
        };
        let sent = Payload::Http {
            status: None,
            text: self.message.clone(),
        };
        vec![Effect::Record(LogEntry::Sent(sent)), Effect::Fetch(url)]
    }

    fn connection(&mut self, event: ConnectionEvent, now: f64) -> Vec<Effect> {
        match event {
            ConnectionEvent::Opened { protocol, extensions } => {
                self.phase.opened(now, protocol.clone(), extensions);
                vec![notice(Sentence::Opened { protocol })]
            }
            ConnectionEvent::Received(payload) => vec![received(payload)],
            ConnectionEvent::Buffered(bytes) => {
                self.buffered = bytes;
                // After the close, the number stays that of the bytes that were never sent.
                if bytes > 0 && !self.phase.is_over() {
                    vec![Effect::PollBuffer]
                } else {
                    Vec::new()
                }
            }
            ConnectionEvent::Closed(closed) => {
                let Some(end) = self.phase.closed(now, closed) else {
                    return Vec::new();
                };
                if matches!(end, End::NeverOpened(_)) {
                    self.fail(Field::Url, Sentence::Ended(end.clone()));
                }
                vec![notice(Sentence::Closed(end))]
            }
            ConnectionEvent::CloseOverdue => match self.phase.forced(now) {
                Some(end) => vec![Effect::Terminate, notice(Sentence::Closed(end))],
                None => Vec::new(),
            },
        }
    }

    /// The connection failed before anything was sent: nothing is connected, the invalid field has the error, and the log the outcome.
    fn refused(&mut self, message: Sentence) -> Vec<Effect> {
        self.phase = Phase::Idle;
        let field = if matches!(message, Sentence::BadSubprotocol(_)) {
            Field::Subprotocols
        } else {
            Field::Url
        };
        self.fail(field, message.clone());
        vec![notice(message)]
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
        self.reconnect_on_return = !self.phase.is_over();
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

fn received(payload: Message) -> Effect {
    Effect::Record(LogEntry::Received(Payload::received(payload)))
}

fn notice(message: Sentence) -> Effect {
    Effect::Record(LogEntry::Notice(message))
}

#[cfg(test)]
mod tests;
