//! Which rows the log shows: by text or pattern, direction and type. A pattern is JavaScript's, so it is tested by a worker
//! (`pattern_worker.rs`) and not here.

use super::{
    json,
    log_entry::{Content, Direction, LogEntry, Payload},
};
use crate::{browser, format, i18n::Language};

/// The bytes of a binary message in which the filter looks for hex digits, at most.
const SEARCHED_BINARY_BYTES: usize = 4 << 10;

/// The type of a message, as the filter tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text that is a JSON object or array.
    Json,
    /// Any other text.
    Text,
    Binary,
}

/// What is asked for; [`Filter::default`] admits every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    text: String,
    needle: Needle,
    /// None: all, also notices.
    pub(crate) direction: Option<Direction>,
    /// None: any, also notices.
    pub(crate) kind: Option<Kind>,
}

/// What the text of the filter means.
#[derive(Clone, Debug, Default, PartialEq)]
enum Needle {
    #[default]
    None,
    /// In lower case; beyond ASCII it has no letters with a case, as Chinese has none.
    Caseless(String),
    /// In lower case, with letters of other alphabets.
    Unicode(String),
    Pattern(Pattern),
}

/// A regular expression of JavaScript, which may be invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) source: String,
    pub(crate) flags: String,
}

impl Pattern {
    /// Reads `/source/flags`.
    fn parse(text: &str) -> Option<Self> {
        let (source, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
        let is_pattern = !source.is_empty() && flags.bytes().all(|flag| flag.is_ascii_lowercase());
        is_pattern.then(|| Self {
            source: source.to_owned(),
            flags: flags.to_owned(),
        })
    }
}

impl Filter {
    /// The text as the user typed it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn set_text(&mut self, text: String) {
        self.needle = match Pattern::parse(&text) {
            Some(pattern) => Needle::Pattern(pattern),
            None if text.is_empty() => Needle::None,
            None => {
                let lower = browser::lower_case(&text);
                if browser::upper_case(&lower) == lower.to_ascii_uppercase() {
                    Needle::Caseless(lower)
                } else {
                    Needle::Unicode(lower)
                }
            }
        };
        self.text = text;
    }

    /// A text that [`Filter::from_text`] reads: a letter for the direction, one for the type, and the text of the field.
    pub(crate) fn to_text(&self) -> String {
        let direction = match self.direction {
            Some(Direction::Sent) => "s",
            Some(Direction::Received) => "r",
            _ => "-",
        };
        let kind = match self.kind {
            Some(Kind::Json) => "j",
            Some(Kind::Text) => "t",
            Some(Kind::Binary) => "b",
            None => "-",
        };
        [direction, kind, &self.text].concat()
    }

    /// Reads [`Filter::to_text`]; unknown letters mean all.
    pub(crate) fn from_text(text: &str) -> Self {
        let mut letters = text.chars();
        let mut filter = Self {
            direction: match letters.next() {
                Some('s') => Some(Direction::Sent),
                Some('r') => Some(Direction::Received),
                _ => None,
            },
            kind: match letters.next() {
                Some('j') => Some(Kind::Json),
                Some('t') => Some(Kind::Text),
                Some('b') => Some(Kind::Binary),
                _ => None,
            },
            ..Self::default()
        };
        filter.set_text(letters.as_str().to_owned());
        filter
    }

    /// Whether there are rows that it does not admit.
    pub(crate) fn is_active(&self) -> bool {
        self.needle != Needle::None || self.direction.is_some() || self.kind.is_some()
    }

    /// The pattern that rows have to match besides [`Filter::admits`].
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match &self.needle {
            Needle::Pattern(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// Leaves the pattern out, because it is invalid or too slow; the text stays.
    pub(crate) fn ignore_pattern(&mut self) {
        self.needle = Needle::None;
    }

    /// Whether a row is shown, its pattern aside. Notices have no direction and no type; a text is looked for in what they say in any language.
    pub(crate) fn admits(&self, entry: &LogEntry) -> bool {
        let Some(payload) = entry.payload() else {
            let is_in = |language| self.needle.is_in_text(&entry.preview(language));
            return self.direction.is_none()
                && self.kind.is_none()
                && self.pattern().is_none()
                && Language::ALL.into_iter().any(is_in);
        };
        self.direction.is_none_or(|direction| direction == entry.direction())
            && self.admits_kind(payload)
            && self.needle.is_in(payload)
    }

    fn admits_kind(&self, payload: &Payload) -> bool {
        match (self.kind, payload) {
            (None, _) => true,
            (Some(kind), Payload::Binary(_)) => kind == Kind::Binary,
            (Some(Kind::Binary), _) => false,
            (Some(kind), Payload::Text(text) | Payload::Http { text, .. }) => {
                (kind == Kind::Json) == json::is_container(text)
            }
        }
    }
}

impl Needle {
    fn is_in(&self, payload: &Payload) -> bool {
        matches!(self, Self::None | Self::Pattern(_)) || with_text(payload, |text| self.is_in_text(text))
    }

    fn is_in_text(&self, text: &str) -> bool {
        match self {
            Self::None | Self::Pattern(_) => true,
            Self::Caseless(needle) => contains_ignoring_case(text, needle),
            Self::Unicode(needle) => contains_ignoring_case(&browser::lower_case(text), needle),
        }
    }
}

/// The text of a payload in which the filter looks: that of a binary message is its hex digits, as its row shows them.
pub(crate) fn with_text<R>(payload: &Payload, look: impl FnOnce(&str) -> R) -> R {
    match payload {
        Payload::Text(text) | Payload::Http { text, .. } => look(text),
        Payload::Binary(bytes) => look(&format::hex(&bytes[..bytes.len().min(SEARCHED_BINARY_BYTES)])),
    }
}

/// Without a copy of the text in lower case, because it looks at megabytes. The needle is in lower case; only the case of
/// ASCII letters is ignored.
pub(super) fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    let Some((&first, rest)) = needle.split_first() else {
        return true;
    };
    let Some(last) = text.len().checked_sub(needle.len()) else {
        return false;
    };
    (0..=last)
        .any(|at| text[at].to_ascii_lowercase() == first && text[at + 1..at + needle.len()].eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::Text;

    fn filter(text: &str) -> Filter {
        let mut filter = Filter::default();
        filter.set_text(text.to_owned());
        filter
    }

    fn received(text: &str) -> LogEntry {
        LogEntry::Received(Payload::Text(text.to_owned()))
    }

    #[test]
    fn a_text_is_found_anywhere_in_any_case() {
        for (needle, text) in [
            ("ID", "{\"id\":1}"),
            ("a", "A"),
            ("end", "the END"),
            ("", ""),
            ("ÄRGER", "großer ärger"),
            ("好", "你好"),
        ] {
            assert!(filter(needle).admits(&received(text)), "{needle} in {text}");
        }
        for (needle, text) in [("ab", "a"), ("abc", "ab c"), ("好", "hello")] {
            assert!(!filter(needle).admits(&received(text)), "{needle} in {text}");
        }
    }

    #[test]
    fn binary_messages_are_found_by_their_hex_digits() {
        let entry = LogEntry::Sent(Payload::Binary(vec![0x0a, 0xff, 0x00]));
        assert!(filter("0A FF").admits(&entry) && !filter("00 0a").admits(&entry));
    }

    #[test]
    fn slashes_make_a_pattern_and_anything_else_is_text() {
        let pattern = |text| {
            let filter = filter(text);
            filter
                .pattern()
                .map(|pattern| (pattern.source.clone(), pattern.flags.clone()))
        };
        let some = |source: &str, flags: &str| Some((source.to_owned(), flags.to_owned()));
        assert_eq!(pattern("/a.c/"), some("a.c", ""));
        assert_eq!(pattern("/a/b/iu"), some("a/b", "iu"));
        for text in ["/", "//", "/abc", "a/b/", "/a/ b"] {
            assert_eq!(pattern(text), None, "{text}");
        }
        assert!(filter("/chat").admits(&received("GET /chat")));
    }

    #[test]
    fn a_filter_is_read_as_it_was_kept_and_any_other_text_is_one_too() {
        for (text, direction, kind) in [
            ("", None, None),
            ("/a+/i", Some(Direction::Sent), Some(Kind::Binary)),
            ("好 r", Some(Direction::Received), Some(Kind::Json)),
            ("x", None, Some(Kind::Text)),
        ] {
            let mut kept = filter(text);
            (kept.direction, kept.kind) = (direction, kind);
            assert_eq!(Filter::from_text(&kept.to_text()), kept, "{text}");
        }
        assert_eq!(Filter::from_text("好"), Filter::default());
    }

    #[test]
    fn a_pattern_that_is_ignored_admits_all_and_its_text_stays() {
        let mut filter = filter("/[/");
        assert!(filter.is_active() && filter.admits(&received("x")));
        filter.ignore_pattern();
        assert_eq!((filter.is_active(), filter.text()), (false, "/[/"));
    }

    #[test]
    fn types_tell_json_from_other_texts_and_binary() {
        let entries = [
            received("{\"a\":[1]}"),
            received("[1"),
            LogEntry::Received(Payload::Binary(vec![1])),
        ];
        for (index, kind) in [Kind::Json, Kind::Text, Kind::Binary].into_iter().enumerate() {
            let filter = Filter {
                kind: Some(kind),
                ..Filter::default()
            };
            let admitted: Vec<_> = entries.iter().map(|entry| filter.admits(entry)).collect();
            let expected: Vec<_> = (0..3).map(|other| other == index).collect();
            assert_eq!(admitted, expected, "{kind:?}");
        }
    }

    #[test]
    fn directions_are_told_apart_and_notices_are_found_by_what_they_say() {
        let sent = LogEntry::Sent(Payload::Text("x".to_owned()));
        let notice = LogEntry::Notice(Text::Left.into());
        let only = |direction| Filter {
            direction: Some(direction),
            ..Filter::default()
        };
        assert!(only(Direction::Sent).admits(&sent) && !only(Direction::Received).admits(&sent));
        assert!(Filter::default().admits(&notice));
        assert!(!only(Direction::Sent).admits(&notice) && !filter("lost").admits(&notice));
        assert!(filter("you LEFT").admits(&notice) && filter("离开").admits(&notice));
        assert!(
            !filter("/left/").admits(&notice),
            "a pattern is tested against messages"
        );
    }
}
