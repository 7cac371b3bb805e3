//! Mentions of users: `@Ann`. Which parts of a text are mentions, and which names complete one that is being written.

use std::ops::Range;

use talkback_client::UserName;

/// At most this many mentions are found in a message.
const MAX_MENTIONS: usize = 50;

/// At most this many names are offered.
const MAX_OFFERED: usize = 8;

/// The ranges of a text that mention one of these names, ascending, with their `@`. Of two names that fit, the longer
/// one. The letters of ASCII may be large or small.
pub(super) fn find<'a>(text: &str, names: impl Iterator<Item = &'a str> + Clone) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut end = 0;
    for (at, _) in text.match_indices('@').take(MAX_MENTIONS) {
        if at < end || follows_word(text, at) {
            continue;
        }
        let rest = &text[at + 1..];
        let fits = |name: &&str| {
            let start = rest.get(..name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(name))
                && !rest[name.len()..].starts_with(is_part_of_name)
        };
        if let Some(name) = names.clone().filter(fits).max_by_key(|name| name.len()) {
            end = at + 1 + name.len();
            found.push(at..end);
        }
    }
    found
}

/// The `@` at an index is one of an address, like `me@host`.
fn follows_word(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// A letter directly behind a name makes it another name, except in scripts that write without spaces.
fn is_part_of_name(c: char) -> bool {
    c < '\u{2e80}' && c.is_alphanumeric()
}

/// The names that complete the mention before the caret, while one is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// The index of its `@`.
    at: usize,
    /// The index of the caret.
    caret: usize,
    pub(crate) names: Vec<UserName>,
    /// The index of the marked name.
    pub(crate) marked: usize,
}

impl Completion {
    /// None if there is no mention before the caret, or no name begins like it. `caret` is an index in UTF-16, as in the
    /// browser.
    pub(super) fn of<'a>(text: &str, caret: usize, names: impl Iterator<Item = &'a UserName>) -> Option<Self> {
        let Range { start: at, end: caret } = begun(text, caret)?;
        let begun = &text[at + 1..caret];
        let fits = |name: &&UserName| {
            let start = name.get(..begun.len());
            name.len() > begun.len() && start.is_some_and(|start| start.eq_ignore_ascii_case(begun))
        };
        let names: Vec<_> = names.filter(fits).take(MAX_OFFERED).cloned().collect();
        (!names.is_empty()).then_some(Self {
            at,
            caret,
            names,
            marked: 0,
        })
    }

    /// Marks the name before or after, around the ends of the list.
    pub(super) fn mark(&mut self, back: bool) {
        let count = self.names.len();
        self.marked = (self.marked + if back { count - 1 } else { 1 }) % count;
    }

    /// Marks the name that is marked in another list, if this one has it.
    pub(super) fn mark_as_in(&mut self, other: &Self) {
        let marked = other.names.get(other.marked);
        let index = self.names.iter().position(|name| Some(name) == marked);
        self.marked = index.unwrap_or(self.marked);
    }

    /// The text with the name at an index, and the caret behind it in UTF-16.
    pub(super) fn complete(&self, text: &str, index: usize) -> Option<(String, usize)> {
        let name = self.names.get(index)?;
        let (before, after) = (text.get(..self.at)?, text.get(self.caret..)?);
        let space = if after.starts_with(' ') { "" } else { " " };
        let start = format!("{before}@{name}{space}");
        let caret = start.encode_utf16().count() + 1 - space.len();
        Some((start + after, caret))
    }
}

/// Where the mention before the caret is written: from its `@` to the caret, an index in UTF-16.
pub(super) fn begun(text: &str, caret: usize) -> Option<Range<usize>> {
    let caret = byte_index(text, caret);
    let at = text[..caret].rfind('@')?;
    let is_mention = !follows_word(text, at) && !text[at..caret].contains('\n');
    is_mention.then_some(at..caret)
}

/// The byte index of an index in UTF-16; the length of the text if it is beyond it.
fn byte_index(text: &str, utf16: usize) -> usize {
    let mut units = 0;
    for (index, c) in text.char_indices() {
        if units >= utf16 {
            return index;
        }
        units += c.len_utf16();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<UserName> {
        ["Ann", "Anna", "Ann Lee", "小明", "Bob"]
            .map(|name| UserName::parse(name).unwrap())
            .into()
    }

    fn mentioned(text: &str) -> Vec<&str> {
        let names = names();
        let found = find(text, names.iter().map(|name| &**name));
        found.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn a_mention_is_the_longest_name_after_an_at_sign_and_no_part_of_a_word() {
        for (text, expected) in [
            ("@Ann, @bob!", &["@Ann", "@bob"][..]),
            ("@Ann Lee and @Ann", &["@Ann Lee", "@Ann"]),
            ("@Anna's", &["@Anna"]),
            ("@小明：你好", &["@小明"]),
            ("你好@小明请看", &["@小明"]),
            ("me@Ann.example @Annabel @Eve @", &[]),
        ] {
            assert_eq!(mentioned(text), expected, "{text}");
        }
        assert_eq!(mentioned(&"@Ann ".repeat(1_000)).len(), MAX_MENTIONS);
    }

    fn offered(text: &str, caret: usize) -> Vec<String> {
        let completion = Completion::of(text, caret, names().iter());
        completion.map_or(Vec::new(), |completion| {
            completion.names.iter().map(ToString::to_string).collect()
        })
    }

    #[test]
    fn names_are_offered_for_the_mention_before_the_caret() {
        assert_eq!(offered("hi @an", 6), ["Ann", "Anna", "Ann Lee"]);
        assert_eq!(offered("hi @an", 5), ["Ann", "Anna", "Ann Lee"]);
        assert_eq!(offered("hi @ann l", 9), ["Ann Lee"]);
        assert_eq!(offered("@", 1).len(), 5);
        assert_eq!(offered("😀 @小", 5), ["小明"]);
        for (text, caret) in [
            ("hi @an", 3),
            ("a@an", 4),
            ("@zz", 3),
            ("@an\nx", 5),
            ("@Bob", 4),
            ("", 0),
        ] {
            assert_eq!(offered(text, caret), [""; 0], "{text} {caret}");
        }
    }

    #[test]
    fn a_completed_name_has_a_space_behind_it_and_the_caret_follows() {
        let names = names();
        let completion = |text, caret| Completion::of(text, caret, names.iter()).unwrap();
        let text = "😀 @b";
        assert_eq!(completion(text, 5).complete(text, 0), Some(("😀 @Bob ".into(), 8)));
        let text = "@b there";
        assert_eq!(completion(text, 2).complete(text, 0), Some(("@Bob there".into(), 5)));
        let mut two = completion("@ann", 4);
        two.mark(true);
        assert_eq!(two.marked, 1);
        two.mark(false);
        assert_eq!(two.marked, 0);
        assert_eq!(two.complete("@ann", 9), None);
    }
}
