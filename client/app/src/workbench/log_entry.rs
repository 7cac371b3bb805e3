//! One entry of the workbench's log.

use talkback_client::Message;

use crate::{
    format,
    i18n::{Language, Sentence, Text},
    rows::PayloadSize,
};

/// The bytes of a text that a row shows, at most: more than one line on any screen. The detail pane shows more.
const PREVIEW_BYTES: usize = 1_000;

/// The bytes of a binary message that a row shows as hex, at most.
const PREVIEW_HEX_BYTES: usize = 64;

/// A sent or received payload, or a notice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogEntry {
    Sent(Payload),
    Received(Payload),
    /// A connection to this address begins.
    Opening(String),
    /// Something else about the connection, written out in the page's language when it is drawn.
    Notice(Sentence),
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

    /// The label of a payload that is not a WebSocket text.
    pub(crate) fn tag(&self, language: Language) -> Option<String> {
        match self {
            Self::Text(_) => None,
            Self::Binary(_) => Some(Text::Binary.in_language(language).to_owned()),
            Self::Http { answer: None, .. } => Some("HTTP".to_owned()),
            Self::Http {
                answer: Some(answer), ..
            } => Some(format!("HTTP {}", answer.status)),
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
            Self::Opening(_) | Self::Notice(_) => None,
        }
    }

    /// The text that is copied to the clipboard.
    pub(crate) fn full_text(&self, language: Language) -> String {
        match self {
            Self::Sent(content) | Self::Received(content) => content.full_text(),
            Self::Opening(_) | Self::Notice(_) => self.preview(language),
        }
    }

    /// The text for screen readers; none for a sent message, which the user wrote.
    pub(crate) fn announcement(&self, language: Language) -> Option<String> {
        (!matches!(self, Self::Sent(_))).then(|| self.preview(language))
    }

    /// The row's one line.
    pub(crate) fn preview(&self, language: Language) -> String {
        match self {
            Self::Sent(content) | Self::Received(content) => content.preview(),
            Self::Opening(url) => Text::Opening.with([url.as_str().into()]).in_language(language),
            Self::Notice(message) => message.in_language(language),
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
            Self::Opening(_) | Self::Notice(_) => Direction::Notice,
        }
    }
}

impl PayloadSize for LogEntry {
    fn payload_bytes(&self) -> usize {
        self.payload().map_or(0, Payload::bytes)
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
    fn size_counts_utf8_bytes() {
        assert_eq!(LogEntry::Received(Payload::Text("好a".into())).payload_bytes(), 4);
    }
}
