//! The parts of a message's text: links, code and mentions. Only ranges of the text are found; all of them are drawn as
//! text nodes.

use std::ops::Range;

/// After so many parts of a message the rest is plain text: each is an element.
const MAX_PARTS: usize = 1_000;

/// A longer address is plain text.
const MAX_LINK_BYTES: usize = 2_048;

/// A link with more characters is shortened in the middle.
const MAX_LINK_CHARS: usize = 64;

/// How many characters a shortened link shows at its end.
const LINK_TAIL_CHARS: usize = 20;

/// A message with more lines is folded.
pub(super) const MAX_LINES: usize = 20;

/// About how many characters fit in a line of the conversation.
const LINE_CHARS: usize = 90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    /// A mention of a user, with its `@`.
    Mention(&'a str),
    /// The address of an http or https URL.
    Link(&'a str),
    /// Code in a line, without its backticks.
    Code(&'a str),
    /// Code in lines of its own, without its fences.
    Block(&'a str),
}

/// The parts of a text, in order. `mentions` are the ranges of the mentions in it, ascending.
pub(super) fn parse<'a>(text: &'a str, mentions: &[Range<usize>]) -> Vec<Part<'a>> {
    let mut parser = Parser {
        text,
        plain_from: 0,
        parts: Vec::new(),
        mentions,
    };
    let mut at = 0;
    while parser.parts.len() < MAX_PARTS
        && let Some(next) = text[at..].bytes().position(|byte| matches!(byte, b'`' | b'h' | b'H'))
    {
        at += next;
        at = parser.part_at(at);
    }
    parser.plain_until(text.len());
    parser.parts
}

struct Parser<'a, 'm> {
    text: &'a str,
    /// Where the text begins that is in no part yet.
    plain_from: usize,
    parts: Vec<Part<'a>>,
    mentions: &'m [Range<usize>],
}

impl<'a> Parser<'a, '_> {
    /// Reads the part that begins at an index, if one does; returns the index at which to continue.
    fn part_at(&mut self, at: usize) -> usize {
        let rest = &self.text[at..];
        if let Some(fenced) = rest.strip_prefix("```") {
            let Some(length) = fenced.find("```") else {
                return at + 3;
            };
            let code = without_language(&fenced[..length]);
            let end = at + length + 6;
            if code.trim().is_empty() {
                return end;
            }
            // The line breaks beside a block belong to its fences.
            let before = if self.text[..at].ends_with('\n') { at - 1 } else { at };
            self.plain_until(before.max(self.plain_from));
            self.parts.push(Part::Block(code.strip_suffix('\n').unwrap_or(code)));
            self.plain_from = end + usize::from(self.text[end..].starts_with('\n'));
            return self.plain_from;
        }
        if let Some(code) = rest.strip_prefix('`') {
            let line = code.split('\n').next().unwrap_or_default();
            return match line.find('`') {
                None | Some(0) => at + 1,
                Some(length) => self.push(at, length + 2, Part::Code(&code[..length])),
            };
        }
        let follows_word = self.text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        match link_length(rest).filter(|_| !follows_word) {
            Some(length) => self.push(at, length, Part::Link(&rest[..length])),
            None => at + 1,
        }
    }

    fn push(&mut self, at: usize, length: usize, part: Part<'a>) -> usize {
        self.plain_until(at);
        self.parts.push(part);
        self.plain_from = at + length;
        self.plain_from
    }

    /// Adds the plain text until an index, with the mentions in it.
    fn plain_until(&mut self, end: usize) {
        let mut from = self.plain_from;
        for mention in self.mentions {
            if mention.start >= from && mention.end <= end && self.parts.len() < MAX_PARTS {
                self.text_part(from, mention.start);
                self.parts.push(Part::Mention(&self.text[mention.clone()]));
                from = mention.end;
            }
        }
        self.text_part(from, end);
        self.plain_from = end;
    }

    fn text_part(&mut self, from: usize, end: usize) {
        if from < end {
            self.parts.push(Part::Text(&self.text[from..end]));
        }
    }
}

/// The code of a fenced block without the name of a language that may follow the fence.
fn without_language(code: &str) -> &str {
    match code.split_once('\n') {
        Some((language, code)) if language.bytes().all(|byte| byte.is_ascii_graphic()) => code,
        _ => code,
    }
}

/// The bytes of the link at the start of a text; none if there is none.
fn link_length(text: &str) -> Option<usize> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let ends = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '<' | '>' | '"' | '`' | '\u{2018}'..='\u{201f}' | '\u{3000}'..='\u{303f}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff1f}')
    };
    // One byte more than the bound, which shows that the address is too long.
    let text = &text[..text.floor_char_boundary(MAX_LINK_BYTES + 1)];
    let mut link = &text[..text.find(ends).unwrap_or(text.len())];
    let host = link.get(scheme.len()..)?;
    let authority = host.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    // A user name before the host looks like the host: `https://known.example@other.example`.
    let is_link = link.len() <= MAX_LINK_BYTES
        && host.starts_with(|c: char| c.is_alphanumeric() || c == '[')
        && !authority.contains('@');
    if !is_link {
        return None;
    }
    // Of the sentence around it, not of the link. A bracket belongs to it if it opens one.
    while let Some(last) = link.chars().next_back() {
        let opening = match last {
            ')' => '(',
            ']' => '[',
            '}' => '{',
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' => last,
            _ => break,
        };
        let count = |c: char| link.bytes().filter(|byte| char::from(*byte) == c).count();
        if opening != last && count(opening) >= count(last) {
            break;
        }
        link = &link[..link.len() - 1];
    }
    Some(link.len())
}

/// A link as it is drawn: what is hidden at its start, what is shown, what is hidden in the middle and what is shown
/// after that. Together they are the link.
pub(super) fn shortened(link: &str) -> [&str; 4] {
    let (scheme, rest) = link.split_at(if link.starts_with("https://") { 8 } else { 0 });
    let count = rest.chars().count();
    if count <= MAX_LINK_CHARS {
        return [scheme, rest, "", ""];
    }
    let index = |chars: usize| rest.char_indices().nth(chars).map_or(rest.len(), |(index, _)| index);
    let (cut, tail) = (index(MAX_LINK_CHARS - LINK_TAIL_CHARS), index(count - LINK_TAIL_CHARS));
    [scheme, &rest[..cut], &rest[cut..tail], &rest[tail..]]
}

/// Whether a message is folded until the user asks for all of it.
pub(super) fn is_long(text: &str) -> bool {
    // Only as many lines as decide it: a text may have thousands.
    let mut lines = 0;
    text.split('\n').any(|line| {
        lines += 1 + line.len() / (LINE_CHARS * 2);
        lines > MAX_LINES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<Part<'_>> {
        parse(text, &[])
    }

    fn links(text: &str) -> Vec<&str> {
        let parts = parts(text).into_iter();
        parts
            .filter_map(|part| match part {
                Part::Link(link) => Some(link),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn links_are_http_and_https_alone_and_end_before_the_punctuation_of_the_sentence() {
        for (text, link) in [
            ("see https://a.example/x?y=1#z.", "https://a.example/x?y=1#z"),
            ("(http://a.example/b_(c)), and", "http://a.example/b_(c)"),
            ("[https://a.example]", "https://a.example"),
            ("HTTPS://A.example!", "HTTPS://A.example"),
            ("看https://a.example/路，好", "https://a.example/路"),
            ("http://[::1]:3000/.", "http://[::1]:3000/"),
            ("“https://a.example”", "https://a.example"),
            ("<https://a.example>", "https://a.example"),
            ("https://a.example/\u{7}x", "https://a.example/"),
            (
                "https://a.example/@ann?to=b@c.example",
                "https://a.example/@ann?to=b@c.example",
            ),
        ] {
            assert_eq!(links(text), [link], "{text}");
        }
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://a.example",
            "xhttps://a.example",
            "https://",
            "https://.",
            "http:// a",
            "//a.example",
            "hhhh",
            "https://known.example@other.example/",
            "https://known.example:x@other.example",
            "https://known.example@other.example\\",
        ] {
            assert_eq!(links(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn an_address_over_the_bound_is_plain_text() {
        let longest = format!("https://a.example/{}", "路".repeat(676));
        assert_eq!(links(&format!("{longest}aa")), [format!("{longest}aa")]);
        assert_eq!(longest.len() + 2, MAX_LINK_BYTES);
        assert_eq!(links(&format!("{longest}路")), [""; 0]);
        assert_eq!(links(&format!("{longest}aa.")), [""; 0]);
    }

    #[test]
    fn a_text_of_many_schemes_and_brackets_is_parsed_in_bounded_work() {
        for host in [".", "a@", "a."] {
            let text = format!("https://{host}").repeat(1_800) + &")".repeat(16_000);
            assert_eq!(links(&text), [""; 0], "{host}");
        }
    }

    #[test]
    fn code_is_taken_as_it_is_and_its_marks_alone_are_text() {
        use Part::{Block, Code, Text};
        assert_eq!(
            parts("a `b https://c.example` d"),
            [Text("a "), Code("b https://c.example"), Text(" d")]
        );
        assert_eq!(
            parts("so:\n```rust\nfn main() {\n}\n```\nyes"),
            [Text("so:"), Block("fn main() {\n}"), Text("yes")]
        );
        assert_eq!(parts("```a b\nc```"), [Block("a b\nc")]);
        assert_eq!(parts("```x```"), [Block("x")]);
        for text in ["`", "``", "a ` b", "`a\nb`", "```", "``` open", "``````", "```\n```"] {
            assert_eq!(parts(text), [Text(text)], "{text:?}");
        }
    }

    #[test]
    fn mentions_are_parts_except_in_code_and_links() {
        use Part::{Code, Mention, Text};
        let text = "@Ann `@Ann` @Bob";
        assert_eq!(
            parse(text, &[0..4, 6..10, 12..16]),
            [Mention("@Ann"), Text(" "), Code("@Ann"), Text(" "), Mention("@Bob")]
        );
    }

    #[test]
    fn every_text_is_kept_and_the_number_of_parts_is_bounded() {
        let text = "`a` ".repeat(3 * MAX_PARTS);
        let parts = parts(&text);
        assert!(parts.len() <= MAX_PARTS + 2, "{}", parts.len());
        let Some(Part::Text(rest)) = parts.last() else {
            panic!("the rest is a text")
        };
        assert!(text.ends_with(rest) && rest.len() > MAX_PARTS);
        for text in ["h", "https://ä", "```ä", "`ä", "a\n\n```\nb\n```\n\nc"] {
            parse(text, &[]);
        }
    }

    #[test]
    fn a_long_link_is_shortened_in_the_middle_and_none_of_it_is_lost() {
        assert_eq!(shortened("https://a.example/b"), ["https://", "a.example/b", "", ""]);
        assert_eq!(shortened("http://a.example/b"), ["", "http://a.example/b", "", ""]);
        let link = format!("https://a.example/{}/end", "路".repeat(100));
        let [scheme, head, cut, tail] = shortened(&link);
        assert_eq!([scheme, head, cut, tail].concat(), link);
        assert_eq!(head.chars().count() + tail.chars().count(), MAX_LINK_CHARS);
        assert!(tail.ends_with("/end") && cut.len() > 100);
    }

    #[test]
    fn a_text_of_more_than_twenty_lines_is_long() {
        let lines = |count: usize| vec!["a"; count].join("\n");
        assert!(!is_long(&lines(MAX_LINES)) && is_long(&lines(MAX_LINES + 1)));
        assert!(!is_long("word ".repeat(200).as_str()) && is_long(&"word ".repeat(2_000)));
    }
}
