//! Lines to text and back: one JSON object per line, several lines per text.
//!
//! A browser spends about 40 us on a WebSocket message and 1 us on a line of it, so lines that are ready at the same
//! time share a text.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor},
};

use crate::{
    RequestId, RoomName,
    message::{ClientLine, Joined, Member, Message, Page, ServerLine, kinds::Kinds},
    session::server::PageLines,
};

/// The lines of one direction: [`ClientLine`] or [`ServerLine`].
pub trait Line: Serialize + DeserializeOwned {
    /// The kinds that this version knows. A line of another kind is skipped.
    const KINDS: &'static [&'static str];
}

impl Line for ClientLine {
    const KINDS: &'static [&'static str] = Self::NAMES;
}

impl Line for ServerLine {
    const KINDS: &'static [&'static str] = Self::NAMES;
}

/// The limits of one received text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// The maximum of bytes of UTF-8.
    pub bytes: usize,
    /// Lines.
    pub lines: usize,
}

/// A text that cannot be read. None of its lines is used, and the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than [`TextLimits::bytes`]; closes with 1009.
    #[error("the text has {bytes} bytes: at most {max} are taken")]
    TooManyBytes {
        /// The bytes of the text.
        bytes: usize,
        /// [`TextLimits::bytes`].
        max: usize,
    },
    /// More lines than [`TextLimits::lines`]; closes with 1009.
    #[error("the text has more than {max} lines")]
    TooManyLines {
        /// [`TextLimits::lines`].
        max: usize,
    },
    /// A line is not a JSON object with one field, its kind; closes with 4400.
    #[error("line {line} is not a JSON object with one field: {reason}")]
    NotALine {
        /// The number of the line, from 1.
        line: usize,
        /// The error of the parser.
        reason: String,
    },
    /// A line of a known kind lacks a field or has a wrong value; closes with 4400.
    #[error("line {line}: bad {kind}: {reason}")]
    Malformed {
        /// The number of the line, from 1.
        line: usize,
        /// The kind of the line.
        kind: &'static str,
        /// The error of the parser.
        reason: String,
    },
}

impl CodecError {
    /// The code with which the connection is closed.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::TooManyBytes { .. } | Self::TooManyLines { .. } => crate::close::MESSAGE_TOO_BIG,
            Self::NotALine { .. } | Self::Malformed { .. } => crate::close::BAD_LINE,
        }
    }
}

impl CodecError {
    /// The case without any text of the peer, for a trace.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::TooManyBytes { .. } => "a text has too many bytes",
            Self::TooManyLines { .. } => "a text has too many lines",
            Self::NotALine { .. } => "a line is not a JSON object with one field",
            Self::Malformed { .. } => "a line of a known kind is malformed",
        }
    }
}

/// Reads the lines of a text, in order. Empty lines and those of kinds that this version does not know are skipped, so
/// that a later version can add some.
///
/// # Errors
/// [`CodecError`]; then none of the lines may be used.
pub fn decode<L: Line>(text: &str, limits: TextLimits) -> Result<Vec<L>, CodecError> {
    if text.len() > limits.bytes {
        return Err(CodecError::TooManyBytes {
            bytes: text.len(),
            max: limits.bytes,
        });
    }
    let mut lines = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if index >= limits.lines {
            return Err(CodecError::TooManyLines { max: limits.lines });
        }
        if !line.trim_ascii().is_empty() {
            lines.extend(decode_line(index + 1, line)?);
        }
    }
    Ok(lines)
}

/// Adds a line to a text.
pub fn write_line<L: Line>(text: &mut String, line: &L) {
    append_line(text, &encode(line));
}

/// Packs lines into as few texts as the limits of the receiver allow. A line that exceeds the limit has a text of its
/// own.
pub(crate) fn pack<L: Line>(lines: &[L], max_bytes: usize, max_lines: usize) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut count = 0;
    for line in lines {
        let line = encode(line);
        match texts.last_mut() {
            Some(text) if count < max_lines && text.len() + 1 + line.len() <= max_bytes => {
                append_line(text, &line);
                count += 1;
            }
            _ => {
                texts.push(line);
                count = 1;
            }
        }
    }
    texts
}

/// Adds an encoded line to a text.
pub(crate) fn append_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// The JSON of one line.
#[must_use]
pub fn encode<L: Line>(line: &L) -> String {
    serde_json::to_string(line).unwrap_or_else(|_| unreachable!("the wire types have texts for keys and cannot fail"))
}

/// A room's message, encoded once: the line for every member, and the object for pages. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine(Arc<str>);

/// Appends the line of a room's message, without a line break, to a block that the caller shares among all members.
pub fn write_message(block: &mut Vec<u8>, message: &Message) {
    #[derive(Serialize)]
    struct Tagged<'a> {
        message: &'a Message,
    }
    serde_json::to_writer(block, &Tagged { message })
        .unwrap_or_else(|_| unreachable!("a message has texts for keys and a Vec takes all"));
}

/// The users of a room, encoded once for all joins until the list changes. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList(Arc<str>);

impl MemberList {
    /// Encodes a list.
    #[must_use]
    pub fn encode(members: &[Member]) -> Self {
        let json = serde_json::to_string(members);
        Self(json.unwrap_or_else(|_| unreachable!("names are texts")).into())
    }

    /// The JSON list.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

const BEFORE_MESSAGE: &str = r#"{"message":"#;

impl MessageLine {
    /// Encodes a message.
    #[must_use]
    pub fn encode(message: &Message) -> Self {
        let mut line = Vec::new();
        write_message(&mut line, message);
        Self(
            String::from_utf8(line)
                .unwrap_or_else(|_| unreachable!("JSON is UTF-8"))
                .into(),
        )
    }

    /// The line: `{"message":{...}}`, without a line break.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.0
    }

    /// Only the message: `{"room":...}`, as in pages and over HTTP.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.0[BEFORE_MESSAGE.len()..self.0.len() - 1]
    }
}

/// A `page` line of encoded messages: the newest ones that fit into `largest` bytes, but at least one.
pub(crate) fn encode_page(id: RequestId, room: &RoomName, page: &PageLines, largest: usize) -> String {
    let empty = encode(&ServerLine::Page(Page {
        id,
        room: room.clone(),
        epoch: page.epoch.clone(),
        messages: Vec::new(),
        more: page.more,
    }));
    let mut bytes = empty.len() + "true".len();
    let fitting = page.messages.iter().rev().take_while(|message| {
        bytes += message.object().len() + 1;
        bytes <= largest
    });
    let count = fitting.count().max(1).min(page.messages.len());
    let left_out = page.messages.len() - count;
    let mut line = if left_out > 0 && !page.more {
        empty.replace(r#""more":false}}"#, r#""more":true}}"#)
    } else {
        empty
    };
    // Inside a string the quotes would be escaped, so this is the field itself.
    let field = r#""messages":["#;
    let at = line.find(field).map_or(line.len(), |at| at + field.len());
    let objects: Vec<_> = page.messages[left_out..].iter().map(MessageLine::object).collect();
    line.insert_str(at, &objects.join(","));
    line
}

/// A `joined` line with an encoded list of users, or without it if the line would have more than `largest` bytes.
pub(crate) fn encode_joined(joined: Joined, members: Option<&MemberList>, largest: usize) -> String {
    let mut line = encode(&ServerLine::Joined(joined));
    let field = r#","members":"#;
    if let Some(list) = members.map(MemberList::json)
        && line.len() + field.len() + list.len() <= largest
        && let Some(fields) = line.strip_suffix("}}")
    {
        let end = fields.len();
        line.truncate(end);
        for part in [field, list, "}}"] {
            line.push_str(part);
        }
    }
    line
}

fn decode_line<L: Line>(line: usize, text: &str) -> Result<Option<L>, CodecError> {
    let error = match serde_json::from_str(text) {
        Ok(line) => return Ok(Some(line)),
        Err(error) => error,
    };
    // The line is read again to distinguish an unknown kind from an error. This is not the usual path, so its cost does
    // not matter.
    let Kind(kind) = serde_json::from_str(text).map_err(|error| CodecError::NotALine {
        line,
        reason: error.to_string(),
    })?;
    match L::KINDS.iter().find(|known| **known == kind) {
        None => Ok(None),
        Some(kind) => Err(CodecError::Malformed {
            line,
            kind,
            reason: error.to_string(),
        }),
    }
}

/// The name of the only field of an object.
struct Kind(String);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneField;
        impl<'de> Visitor<'de> for OneField {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one field")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Kind, A::Error> {
                let first: Option<(String, IgnoredAny)> = object.next_entry()?;
                let second: Option<(IgnoredAny, IgnoredAny)> = object.next_entry()?;
                match (first, second) {
                    (Some((kind, _)), None) => Ok(Kind(kind)),
                    _ => Err(A::Error::custom("it has no field or several")),
                }
            }
        }
        deserializer.deserialize_map(OneField)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{Body, Epoch, Offset, RoomName, SenderId, UserName, message::Author};

    const LIMITS: TextLimits = TextLimits { bytes: 1000, lines: 4 };

    #[test]
    fn several_lines_share_a_text_and_come_back_in_order() {
        let room = RoomName::parse("lobby").unwrap();
        let lines = [
            ClientLine::Leave { room: room.clone() },
            ClientLine::Ping {},
            ClientLine::Signal {
                room,
                body: Body::from_json("[1, 2]").unwrap(),
            },
        ];
        let mut text = String::new();
        lines.iter().for_each(|line| write_line(&mut text, line));
        assert_eq!(
            text,
            "{\"leave\":{\"room\":\"lobby\"}}\n{\"ping\":{}}\n{\"signal\":{\"room\":\"lobby\",\"body\":[1, 2]}}"
        );
        assert_eq!(decode::<ClientLine>(&text, LIMITS).unwrap(), lines);
    }

    #[test]
    fn unknown_kinds_and_fields_are_skipped() {
        let text = "{\"wave\":{\"at\":[1]}}\n\n{\"leave\":{\"room\":\"a\",\"new\":true}}\r\n{\"later\":null}";
        let lines = decode::<ClientLine>(text, LIMITS).unwrap();
        assert_eq!(
            lines,
            [ClientLine::Leave {
                room: RoomName::parse("a").unwrap()
            }]
        );
    }

    #[test]
    fn a_malformed_line_of_the_server_is_refused_with_the_field_that_is_wrong() {
        const NACK: &str = r#"{"room":"a","seq":1,"code":"rate","message":"slower","retry_after_ms":5}"#;
        const MESSAGE: &str = r#"{"room":"a","offset":1,"from":{"sender":"s","user":"ann"},"at":1,"body":[1]}"#;
        let page = format!(r#"{{"id":1,"room":"a","epoch":"e","messages":[{MESSAGE}],"more":true}}"#);
        let room = r#""room":"a""#;
        for (kind, object, from, to, reason) in [
            (
                "nack",
                NACK,
                room,
                r#""room":7"#,
                "room: invalid type: integer `7`, expected the name of a room",
            ),
            (
                "nack",
                NACK,
                room,
                r#""room":"\u0007""#,
                "room: the room name has the control character",
            ),
            ("nack", NACK, room, r#""room":"\ud800""#, "room: "),
            (
                "nack",
                NACK,
                r#""seq":1"#,
                r#""seq":1.0"#,
                "seq: invalid type: floating point `1.0`, expected u64",
            ),
            (
                "nack",
                NACK,
                r#""seq":1"#,
                r#""seq":-0"#,
                "seq: invalid type: floating point `-0.0`, expected u64",
            ),
            (
                "nack",
                NACK,
                r#""seq":1"#,
                r#""seq":9007199254740992"#,
                "seq: 9007199254740992 is out of range",
            ),
            ("nack", NACK, r#""seq":1"#, r#""sea":1"#, "missing field `seq`"),
            (
                "nack",
                NACK,
                r#""seq":1"#,
                r#""seq":1,"s\u0065q":2"#,
                "duplicate field `seq`",
            ),
            (
                "nack",
                NACK,
                r#""code":"rate""#,
                r#""code":null"#,
                "code: invalid type: null, expected a string",
            ),
            (
                "nack",
                NACK,
                r#"ms":5"#,
                r#"ms":"5""#,
                "retry_after_ms: invalid type: string \"5\", expected u64",
            ),
            (
                "nack",
                NACK,
                NACK,
                "[]",
                "invalid type: sequence, expected an object with the fields room, seq",
            ),
            (
                "nack",
                NACK,
                NACK,
                "null",
                "invalid type: null, expected an object with the fields",
            ),
            (
                "page",
                &page,
                "true",
                "1",
                "more: invalid type: integer `1`, expected a boolean",
            ),
            (
                "page",
                &page,
                r#""sender":"s""#,
                r#""sender":"?""#,
                "messages: from: sender: \"?\" is not 1 to 32",
            ),
            (
                "page",
                &page,
                MESSAGE,
                "1",
                "messages: invalid type: integer `1`, expected an object with the fields",
            ),
            (
                "page",
                &page,
                &format!("[{MESSAGE}]"),
                "{}",
                "messages: invalid type: map, expected a sequence",
            ),
        ] {
            assert!(object.contains(from), "{object} has no {from}");
            let read = |object: &str| decode::<ServerLine>(&format!("{{{kind:?}:{object}}}"), LIMITS);
            assert!(read(object).is_ok(), "{object}");
            let error = read(&object.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line 1: bad {kind}: {reason}")), "{error}");
        }
    }

    #[test]
    fn an_error_in_a_known_kind_has_the_number_of_its_line() {
        let error = decode::<ClientLine>("{\"ping\":{}}\n{\"leave\":{\"room\":\"a\\u0000\"}}", LIMITS).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 2: bad leave: room: the room name has the control character"),
            "{error}"
        );
        assert_eq!(error.close_code(), crate::close::BAD_LINE);
        for text in [
            "hello",
            "[]",
            "{}",
            "{\"ping\":{},\"pong\":{}}",
            "{\"ping\":{}",
            "\"ping\"",
            "1",
        ] {
            let error = decode::<ClientLine>(text, LIMITS).unwrap_err();
            assert!(matches!(error, CodecError::NotALine { line: 1, .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_over_a_limit_is_refused_before_it_is_read() {
        let error = decode::<ClientLine>(&"x".repeat(1001), LIMITS).unwrap_err();
        assert_eq!(error.close_code(), crate::close::MESSAGE_TOO_BIG);
        assert_eq!(
            decode::<ClientLine>("\n\n\n\n", LIMITS),
            Err(CodecError::TooManyLines { max: 4 })
        );
        assert_eq!(decode::<ClientLine>("\n\n\n", LIMITS), Ok(vec![]));
    }

    #[test]
    fn a_message_is_encoded_once_for_lines_and_pages() {
        let message = Message {
            room: RoomName::parse("lobby").unwrap(),
            offset: Offset::new(3).unwrap(),
            from: Author {
                sender: SenderId::parse("s1").unwrap(),
                user: UserName::parse("ann").unwrap(),
            },
            seq: None,
            id: None,
            at: 7,
            deleted: false,
            body: Body::text("hi"),
        };
        let line = MessageLine::encode(&message);
        assert_eq!(line.line(), encode(&ServerLine::Message(message.clone())));
        assert_eq!(serde_json::from_str::<Message>(line.object()).unwrap(), message);
        let page = Page {
            id: RequestId::FIRST,
            room: message.room.clone(),
            epoch: Epoch::from_random(1),
            messages: vec![message.clone(), message],
            more: true,
        };
        let lines = PageLines {
            epoch: page.epoch.clone(),
            messages: vec![line.clone(), line],
            more: true,
        };
        assert_eq!(
            encode_page(page.id, &page.room, &lines, usize::MAX),
            encode(&ServerLine::Page(page))
        );
    }
}
