//! One entry of the workbench's log.

use talkback_client::Message;

use super::{addresses::with_masked_secrets, json};
use crate::{
    format,
    i18n::{Language, Sentence, Text},
    rows::PayloadSize,
};

/// The bytes of a text that a row shows, at most: more than one line on any screen. The detail pane shows more.
const PREVIEW_BYTES: usize = 1_000;

/// The bytes of a binary message that a row shows as hex, at most.
const PREVIEW_HEX_BYTES: usize = 64;

/// Longer texts are told to be JSON by their first and last character alone, in bytes.
const READ_BYTES: usize = 4 << 10;

/// A sent or received payload, or a notice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogEntry {
    Sent(Payload),
    Received(Payload),
    /// A connection to this address begins.
    Opening(String),
    /// Something else about the connection, written out in the page's language when it is drawn.
    Notice(Sentence),
    /// A request over HTTP that got no answer, and why; its status is 0.
    Unanswered(Box<HttpAnswer>, Sentence),
}

/// Who sent a row's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Sent,
    Received,
    /// The page's own.
    Notice,
}

/// The content of a log's row.
pub(crate) trait Content: PayloadSize {
    fn direction(&self) -> Direction;
}

/// A payload by its type and transport.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Text(String),
    Binary(Vec<u8>),
    /// The text of an HTTP request (no answer), or the answer's.
    Http {
        answer: Option<Box<HttpAnswer>>,
        text: String,
    },
}

/// What an HTTP answer has besides its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpAnswer {
    /// 0 without an answer.
    pub(crate) status: u16,
    /// Of the request.
    pub(crate) url: String,
    /// When the request was made, in milliseconds since the Unix epoch.
    pub(crate) asked_at: f64,
}

impl Payload {
    /// The payload of a WebSocket message.
    pub(crate) fn received(payload: Message) -> Self {
        match payload {
            Message::Text(text) => Self::Text(text.into_string()),
            Message::Binary(bytes) => Self::Binary(bytes.into_vec()),
            // The page requests ArrayBuffers, so this does not occur.
            Message::Blob(_) => Self::Binary(Vec::new()),
        }
    }

    /// The whole payload as text; bytes as hex.
    fn full_text(&self) -> String {
        match self {
            Self::Text(text) | Self::Http { text, .. } => text.clone(),
            Self::Binary(bytes) => format::hex(bytes),
        }
    }

    /// Payload bytes on the wire, without framing.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Http { text, .. } => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The label of the type.
    pub(crate) fn tag(&self, language: Language) -> String {
        match self {
            Self::Text(text) if is_json(text) => "JSON".to_owned(),
            Self::Text(_) => Text::Textual.in_language(language).to_owned(),
            Self::Binary(_) => Text::TypeBinary.in_language(language).to_owned(),
            Self::Http { answer: None, .. } => "HTTP".to_owned(),
            Self::Http {
                answer: Some(answer), ..
            } => format!("HTTP {}", answer.status),
        }
    }

    /// The start of the payload, for one line.
    pub(crate) fn preview(&self) -> String {
        match self {
            Self::Text(text) | Self::Http { text, .. } => with_ellipsis(format::head(text, PREVIEW_BYTES), text.len()),
            Self::Binary(bytes) => {
                let head = &bytes[..bytes.len().min(PREVIEW_HEX_BYTES)];
                let mut text = format::hex(head);
                if head.len() < bytes.len() {
                    text.push_str(" …");
                }
                text
            }
        }
    }
}

impl LogEntry {
    /// The payload, if the row has one.
    pub(crate) fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Sent(content) | Self::Received(content) => Some(content),
            Self::Opening(_) | Self::Notice(_) | Self::Unanswered(..) => None,
        }
    }

    /// The text that is copied to the clipboard.
    pub(crate) fn full_text(&self, language: Language) -> String {
        match self {
            Self::Sent(content) | Self::Received(content) => content.full_text(),
            Self::Opening(_) | Self::Notice(_) | Self::Unanswered(..) => self.preview(language),
        }
    }

    /// The text for screen readers; none for a sent message, which the user wrote.
    pub(crate) fn announcement(&self, language: Language) -> Option<String> {
        (!matches!(self, Self::Sent(_))).then(|| match self.payload() {
            Some(payload) if payload.bytes() == 0 => Text::EmptyMessage.in_language(language).to_owned(),
            _ => self.preview(language),
        })
    }

    /// The row's one line.
    pub(crate) fn preview(&self, language: Language) -> String {
        match self {
            Self::Sent(content) | Self::Received(content) => content.preview(),
            Self::Opening(url) => Text::Opening
                .with([with_masked_secrets(url).into()])
                .in_language(language),
            Self::Notice(message) | Self::Unanswered(_, message) => message.in_language(language),
        }
    }
}

impl Direction {
    /// The value of `data-direction`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sent => "out",
            Self::Received => "in",
            Self::Notice => "info",
        }
    }

    /// The direction in words and as a sign, because colour alone is not accessible.
    pub(crate) fn label(self) -> (Text, &'static str) {
        match self {
            Self::Sent => (Text::Sent, "↑"),
            Self::Received => (Text::Received, "↓"),
            Self::Notice => (Text::Information, "·"),
        }
    }
}

impl Content for LogEntry {
    fn direction(&self) -> Direction {
        match self {
            Self::Sent(_) => Direction::Sent,
            Self::Received(_) => Direction::Received,
            Self::Opening(_) | Self::Notice(_) | Self::Unanswered(..) => Direction::Notice,
        }
    }
}

impl PayloadSize for LogEntry {
    fn payload_bytes(&self) -> usize {
        self.payload().map_or(0, Payload::bytes)
    }
}

/// Whether a text is a JSON object or array. Rows are drawn with each message, so a long text is not read for this.
fn is_json(text: &str) -> bool {
    if text.len() <= READ_BYTES {
        json::is_container(text)
    } else {
        let text = text.trim_ascii();
        matches!(
            (text.bytes().next(), text.bytes().last()),
            (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))
        )
    }
}

fn with_ellipsis(head: &str, full_bytes: usize) -> String {
    if head.len() < full_bytes {
        format!("{head}…")
    } else {
        head.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_payload_is_shown_as_it_is_and_a_long_one_is_cut_between_characters() {
        assert_eq!(Payload::Text("  a\n\"b\" <i>".into()).preview(), "  a\n\"b\" <i>");
        let preview = Payload::Text("好".repeat(1_000)).preview();
        assert_eq!(preview, format!("{}…", "好".repeat(333)));
    }

    #[test]
    fn binary_is_previewed_as_hex_and_copied_whole() {
        let content = Payload::Binary(vec![0xab; 65]);
        assert!(content.preview().starts_with("ab ab ") && content.preview().ends_with("ab …"));
        assert_eq!(content.full_text().len(), 65 * 3 - 1);
        assert_eq!(content.bytes(), 65);
    }

    #[test]
    fn the_address_of_a_connection_is_shown_and_copied_without_its_secrets() {
        let entry = LogEntry::Opening("ws://ann:pass@h/x?token=abc".into());
        let shown = "Connecting to ws://•••@h/x?token=•••";
        assert_eq!(entry.preview(Language::English), shown);
        assert_eq!(entry.full_text(Language::English), shown);
    }

    #[test]
    fn a_row_has_the_type_of_its_message() {
        let tag = |payload: Payload| payload.tag(Language::English);
        assert_eq!(tag(Payload::Text("{\"a\":1}".into())), "JSON");
        assert_eq!(tag(Payload::Text("plain".into())), "Text");
        assert_eq!(tag(Payload::Binary(vec![1])), "Binary");
        let long = "x".repeat(READ_BYTES);
        assert_eq!(tag(Payload::Text(format!(" [\"{long}\"]\n"))), "JSON");
        assert_eq!(tag(Payload::Text(long)), "Text");
    }

    #[test]
    fn an_empty_message_is_announced_as_one() {
        let entry = LogEntry::Received(Payload::Text(String::new()));
        assert_eq!(entry.announcement(Language::English).as_deref(), Some("empty"));
    }

    #[test]
    fn size_counts_utf8_bytes() {
        assert_eq!(LogEntry::Received(Payload::Text("好a".into())).payload_bytes(), 4);
    }
}
