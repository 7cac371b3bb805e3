//! JSON as lines to be shown, with every key, number and string as received: a value that is read and written again would lose
//! `1e400`, long integers, duplicate keys and the order of fields.

use std::ops::Range;

use crate::format;

/// How deep objects and arrays may be nested; a deeper text is shown as it is.
const MAX_DEPTH: usize = 200;

/// How many lines a text may have; a longer one is shown as it is.
const MAX_LINES: usize = 100_000;

/// An array of scalars that takes at most this many bytes is one line.
const INLINE_BYTES: usize = 72;

/// One line. Ranges are of the text in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) depth: usize,
    /// With its quotes.
    pub(crate) key: Option<Range<usize>>,
    pub(crate) content: LineContent,
    /// Another item of the same object or array follows.
    pub(crate) comma: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineContent {
    Scalar(Scalar),
    /// An array of scalars, or an object or array without items.
    Inline(Container, Vec<Scalar>),
    Open {
        container: Container,
        items: usize,
        /// The index of the line that closes it.
        close: usize,
    },
    Close(Container),
}

/// A value without items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) kind: ScalarKind,
    pub(crate) range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    /// With its quotes.
    String,
    Number,
    /// `true`, `false` or `null`.
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Object,
    Array,
}

impl Container {
    pub(crate) fn brackets(self) -> (&'static str, &'static str) {
        match self {
            Self::Object => ("{", "}"),
            Self::Array => ("[", "]"),
        }
    }
}

/// Whether a text is a JSON object or array.
pub(crate) fn is_container(text: &str) -> bool {
    matches!(text.trim_start_matches(is_space).as_bytes().first(), Some(b'{' | b'['))
        && read(text, &mut |_| true).is_some()
}

/// The lines of a JSON object or array; none for any other text, and beyond [`MAX_DEPTH`] and [`MAX_LINES`].
pub(crate) fn lines(text: &str) -> Option<Vec<Line>> {
    let mut layout = Layout::default();
    read(text, &mut |part| layout.add(part))?;
    // A scalar alone has nothing to lay out.
    matches!(
        layout.lines.first()?.content,
        LineContent::Open { .. } | LineContent::Inline(..)
    )
    .then_some(layout.lines)
}

/// A JSON object or array with a line for each item, indented by two spaces; every part of it is as in the text. None for any other text, and
/// beyond [`MAX_DEPTH`] and [`MAX_LINES`].
pub(crate) fn pretty(text: &str) -> Option<String> {
    let mut pretty = String::with_capacity(text.len() * 2);
    for line in lines(text)? {
        if !pretty.is_empty() {
            pretty.push('\n');
        }
        pretty += &"  ".repeat(line.depth);
        if let Some(key) = line.key {
            pretty += &text[key];
            pretty += ": ";
        }
        match line.content {
            LineContent::Scalar(scalar) => pretty += &text[scalar.range],
            LineContent::Inline(container, scalars) => {
                let (open, close) = container.brackets();
                pretty += open;
                for (index, scalar) in scalars.into_iter().enumerate() {
                    pretty += if index == 0 { "" } else { ", " };
                    pretty += &text[scalar.range];
                }
                pretty += close;
            }
            LineContent::Open { container, .. } => pretty += container.brackets().0,
            LineContent::Close(container) => pretty += container.brackets().1,
        }
        if line.comma {
            pretty.push(',');
        }
    }
    Some(pretty)
}

/// Whether a text that is laid out as no lines may be an object or array beyond [`MAX_DEPTH`] or [`MAX_LINES`].
pub(crate) fn is_beyond_bounds(text: &str) -> bool {
    let is_bracket = |byte: &u8| matches!(byte, b'{' | b'[');
    let text = text.trim_start_matches(is_space);
    if !text.as_bytes().first().is_some_and(is_bracket) {
        return false;
    }
    match check(text) {
        Ok(()) => true,
        Err(at) => {
            let (before, rest) = text.as_bytes().split_at(at.min(text.len()));
            rest.first().is_some_and(is_bracket) && before.iter().filter(|byte| is_bracket(byte)).count() >= MAX_DEPTH
        }
    }
}

/// Whether a text is JSON of any kind.
///
/// # Errors
/// When it is not, or is nested deeper than [`MAX_DEPTH`]: the byte where the first part begins that is wrong or missing.
pub(crate) fn check(text: &str) -> Result<(), usize> {
    visit(text, &mut |_| true)
}

/// Visits the parts of a text in their order, while `visit` wants more.
///
/// # Errors
/// As [`check`], or where `visit` has ended it.
pub(crate) fn visit(text: &str, visit: &mut dyn FnMut(Part) -> bool) -> Result<(), usize> {
    let mut place = 0;
    read_to(text, &mut place, visit).ok_or(place)
}

/// The line and the column of a byte, from 1, as editors count them.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = format::head(text, at);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (1 + before.matches('\n').count(), 1 + line.chars().count())
}

/// The characters that a valid JSON string with its quotes stands for. A half of a surrogate pair alone becomes U+FFFD.
pub(crate) fn string(quoted: &str) -> String {
    let mut characters = quoted.get(1..quoted.len() - 1).unwrap_or_default().chars();
    let mut units = Vec::new();
    let mut text = String::with_capacity(quoted.len());
    loop {
        let character = match characters.next() {
            Some('\\') => match characters.next() {
                Some('u') => {
                    let digits = characters.by_ref().take(4);
                    let unit = digits.fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or_default());
                    #[expect(clippy::cast_possible_truncation, reason = "four digits have 16 bits")]
                    units.push(unit as u16);
                    continue;
                }
                Some('n') => Some('\n'),
                Some('r') => Some('\r'),
                Some('t') => Some('\t'),
                Some('b') => Some('\u{8}'),
                Some('f') => Some('\u{c}'),
                other => other,
            },
            other => other,
        };
        // The two halves of a pair stand beside each other.
        text.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        match character {
            Some(character) => text.push(character),
            None => return text,
        }
    }
}

/// What a reader meets, in the order of the text.
pub(crate) enum Part {
    Open(Container),
    Close,
    Key(Range<usize>),
    Scalar(Scalar),
}

#[derive(Default)]
struct Layout {
    lines: Vec<Line>,
    key: Option<Range<usize>>,
    /// The indices of the open containers' lines.
    open: Vec<usize>,
}

impl Layout {
    /// Returns whether there is room for more.
    fn add(&mut self, part: Part) -> bool {
        match part {
            Part::Key(range) => self.key = Some(range),
            Part::Scalar(scalar) => self.item(LineContent::Scalar(scalar)),
            Part::Open(container) => {
                self.item(LineContent::Open {
                    container,
                    items: 0,
                    close: 0,
                });
                self.open.push(self.lines.len() - 1);
            }
            Part::Close => self.close(),
        }
        self.lines.len() < MAX_LINES
    }

    fn item(&mut self, content: LineContent) {
        if let Some(&parent) = self.open.last() {
            let last = self.lines.len() - 1;
            self.lines[last].comma = last != parent;
            if let LineContent::Open { items, .. } = &mut self.lines[parent].content {
                *items += 1;
            }
        }
        self.lines.push(Line {
            depth: self.open.len(),
            key: self.key.take(),
            content,
            comma: false,
        });
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let LineContent::Open { container, items, .. } = self.lines[open].content else {
            return;
        };
        if let Some(scalars) = self.inline(container, open) {
            self.lines.truncate(open + 1);
            self.lines[open].content = LineContent::Inline(container, scalars);
            return;
        }
        self.lines[open].content = LineContent::Open {
            container,
            items,
            close: self.lines.len(),
        };
        self.lines.push(Line {
            depth: self.open.len(),
            key: None,
            content: LineContent::Close(container),
            comma: false,
        });
    }

    /// The items of a container that takes one line.
    fn inline(&self, container: Container, open: usize) -> Option<Vec<Scalar>> {
        let items = &self.lines[open + 1..];
        if container == Container::Object {
            return items.is_empty().then(Vec::new);
        }
        let mut bytes = 0;
        let mut scalars = Vec::new();
        for item in items {
            let LineContent::Scalar(scalar) = &item.content else {
                return None;
            };
            bytes += scalar.range.len() + 2;
            if bytes > INLINE_BYTES {
                return None;
            }
            scalars.push(scalar.clone());
        }
        Some(scalars)
    }
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// The first item, or the end of the array or object.
    ItemOrClose,
    Key,
    CommaOrClose,
    End,
}

/// Reads a whole text; none if it is not JSON, is nested too deep, or `visit` wants no more.
fn read(text: &str, visit: &mut dyn FnMut(Part) -> bool) -> Option<()> {
    read_to(text, &mut 0, visit)
}

/// Does the same; `place` is where the part begins that was read last.
fn read_to(text: &str, place: &mut usize, visit: &mut dyn FnMut(Part) -> bool) -> Option<()> {
    let bytes = text.as_bytes();
    let mut open: Vec<Container> = Vec::new();
    let mut expected = Expected::Value;
    let mut at = 0;
    loop {
        at = skip_space(bytes, at);
        *place = at;
        let Some(&byte) = bytes.get(at) else {
            return (expected == Expected::End).then_some(());
        };
        let inside = open.last().copied();
        let after_value = if inside.is_some() {
            Expected::CommaOrClose
        } else {
            Expected::End
        };
        match (expected, byte) {
            (Expected::CommaOrClose, b',') => {
                at += 1;
                expected = if inside == Some(Container::Object) {
                    Expected::Key
                } else {
                    Expected::Value
                };
            }
            (Expected::CommaOrClose | Expected::ItemOrClose, b'}' | b']') => {
                let closed = if byte == b'}' {
                    Container::Object
                } else {
                    Container::Array
                };
                if open.pop() != Some(closed) || !visit(Part::Close) {
                    return None;
                }
                at += 1;
                expected = if open.is_empty() {
                    Expected::End
                } else {
                    Expected::CommaOrClose
                };
            }
            (Expected::Key, b'"') | (Expected::ItemOrClose, b'"') if inside == Some(Container::Object) => {
                let end = string_end(bytes, at)?;
                if !visit(Part::Key(at..end)) {
                    return None;
                }
                at = skip_space(bytes, end);
                *place = at;
                if bytes.get(at) != Some(&b':') {
                    return None;
                }
                at += 1;
                expected = Expected::Value;
            }
            (Expected::ItemOrClose, _) if inside == Some(Container::Object) => return None,
            (Expected::Value | Expected::ItemOrClose, b'{' | b'[') => {
                let container = if byte == b'{' {
                    Container::Object
                } else {
                    Container::Array
                };
                if open.len() == MAX_DEPTH || !visit(Part::Open(container)) {
                    return None;
                }
                open.push(container);
                at += 1;
                expected = Expected::ItemOrClose;
            }
            (Expected::Value | Expected::ItemOrClose, _) => {
                let (kind, end) = match byte {
                    b'"' => (ScalarKind::String, string_end(bytes, at)?),
                    b'-' | b'0'..=b'9' => (ScalarKind::Number, number_end(bytes, at)?),
                    _ => (ScalarKind::Word, word_end(bytes, at)?),
                };
                if !visit(Part::Scalar(Scalar { kind, range: at..end })) {
                    return None;
                }
                at = end;
                expected = after_value;
            }
            _ => return None,
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..]
        .iter()
        .take_while(|&&byte| is_space(char::from(byte)))
        .count()
}

/// The end of the string that begins here.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                let escaped = *bytes.get(at + 1)?;
                at += 2;
                if escaped == b'u' {
                    let digits = bytes.get(at..at + 4)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at += 4;
                } else if !b"\"\\/bfnrt".contains(&escaped) {
                    return None;
                }
            }
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = |at: usize| {
        let count = bytes[at.min(bytes.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (count > 0).then_some(at + count)
    };
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') {
        at + 1
    } else {
        digits(at)?
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = digits(at)?;
    }
    Some(at)
}

fn word_end(bytes: &[u8], start: usize) -> Option<usize> {
    let words = ["true", "false", "null"].iter();
    let word = words
        .into_iter()
        .find(|word| bytes[start..].starts_with(word.as_bytes()))?;
    Some(start + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_what_its_escapes_stand_for() {
        for (quoted, text) in [
            (r#""""#, ""),
            (r#""a\"b\\c\/""#, "a\"b\\c/"),
            (r#""\n\r\t\b\f""#, "\n\r\t\u{8}\u{c}"),
            (r#""\u00e9\ud83d\ude00x\ud83dy""#, "é😀x\u{fffd}y"),
            (r#""好\"""#, "好\""),
        ] {
            assert_eq!(string(quoted), text, "{quoted}");
            if !text.contains('\u{fffd}') {
                assert_eq!(serde_json::from_str::<String>(quoted).unwrap(), text);
            }
        }
    }

    #[test]
    fn every_part_is_shown_as_received() {
        let text = r#" {"n":1e400,"big":12345678901234567890,"z":1,"a":{"x":[]},"z":-0.10,"s":"\u00e9\"{","e":{},"l":[1, 2],"o":[{"k":null},true]} "#;
        let expected = r#"{
  "n": 1e400,
  "big": 12345678901234567890,
  "z": 1,
  "a": {
    "x": []
  },
  "z": -0.10,
  "s": "\u00e9\"{",
  "e": {},
  "l": [1, 2],
  "o": [
    {
      "k": null
    },
    true
  ]
}"#;
        assert_eq!(pretty(text).unwrap(), expected);
    }

    #[test]
    fn a_long_array_of_scalars_has_a_line_for_each() {
        let text = format!("[{}]", ["\"0123456789\""; 8].join(","));
        assert_eq!(lines(&text).unwrap().len(), 10);
        assert_eq!(lines("[1,2,3]").unwrap().len(), 1);
    }

    #[test]
    fn an_open_line_counts_its_own_items() {
        let lines = lines(r#"{"a":{"b":1,"c":2},"d":3}"#).unwrap();
        let items: Vec<_> = lines
            .iter()
            .filter_map(|line| match line.content {
                LineContent::Open { items, .. } => Some(items),
                _ => None,
            })
            .collect();
        assert_eq!(items, [2, 2]);
    }

    #[test]
    fn what_is_not_json_has_no_lines() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "[1]]",
            "[}",
            "{]",
            "[1}",
            "[01]",
            "[1.]",
            "[.5]",
            "[+1]",
            "[1e]",
            "[-]",
            "[truex]",
            "[nul]",
            "[\"\n\"]",
            "[\"\\x\"]",
            "[\"\\u12\"]",
            "[\"a]",
            "{}{}",
            "[1],",
            "{\"a\" 1}",
            "[\"a\":1]",
            "{1:2}",
            "{[]:1}",
            "hello",
            "['a']",
        ] {
            assert!(pretty(text).is_none() && !is_container(text), "{text}");
        }
    }

    #[test]
    fn each_open_line_names_the_one_that_closes_it() {
        let lines = lines(r#"{"a":[{}],"b":{"c":1}}"#).unwrap();
        for line in &lines {
            if let LineContent::Open { container, close, .. } = line.content {
                assert_eq!(lines[close].content, LineContent::Close(container));
            }
        }
    }

    #[test]
    fn a_scalar_alone_is_no_container() {
        for text in ["1", "\"a\"", "true", " null "] {
            assert!(!is_container(text) && pretty(text).is_none(), "{text}");
        }
        assert!(is_container(" \r\n\t[]") && is_container("{}"));
    }

    #[test]
    fn depth_and_lines_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_container(&nested(MAX_DEPTH)) && !is_container(&nested(MAX_DEPTH + 1)));
        assert!(!is_container(&nested(1_000_000)));
        assert!(is_beyond_bounds(&nested(MAX_DEPTH + 1)));
        for text in ["", "[1", "{]", "1", "[[x", "no"] {
            assert!(!is_beyond_bounds(text), "{text}");
        }
        let many = format!("[{}{{}}]", "{},".repeat(MAX_LINES));
        assert!(is_container(&many) && pretty(&many).is_none() && is_beyond_bounds(&many));
    }
}
