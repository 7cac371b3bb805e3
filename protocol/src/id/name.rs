//! Names of rooms and users, checked where they enter and never again.

use std::{fmt, ops::Deref, sync::Arc};

/// Why a name was refused; the text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters, or only white space.
    #[error("the {kind} name is empty: give it 1 to {max} characters")]
    Empty {
        /// `room` or `user`.
        kind: &'static str,
        /// The longest allowed name, in characters.
        max: usize,
    },
    /// More characters than allowed.
    #[error("the {kind} name has {length} characters: at most {max} are allowed")]
    TooLong {
        /// `room` or `user`.
        kind: &'static str,
        /// The length found, in characters.
        length: usize,
        /// The longest allowed name, in characters.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("the {kind} name has the character {found:?}: {rule}")]
    Character {
        /// `room` or `user`.
        kind: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// The rule, in words.
        rule: &'static str,
    },
}

/// The name of a room: 1 to 64 letters or digits of any script, and `-`, `_`, `.`, `~`.
///
/// A room name is one segment of a URL path, so it holds nothing that a path, a query or a log line would read as its own.
/// A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The longest room name, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Takes a name, already percent-decoded, as it is; nothing is trimmed or folded.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or has a character outside the set.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let rule = "use letters, digits and - _ . ~";
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        checked("room", name, Self::MAX_CHARS, rule, allowed)?;
        // A path segment of dots alone is removed by every URL parser, so such a room could not be reached.
        if name == "." || name == ".." {
            return Err(NameError::Character {
                kind: "room",
                found: '.',
                rule: "it may not be . or .. alone",
            });
        }
        Ok(Self(name.into()))
    }
}

/// The name a user shows: 1 to 32 characters without control characters and without `[` and `]`.
///
/// Plain group chat writes `[name] text`, so a bracket in a name could pass off text as another user's.
/// A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The longest user name, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Takes a name without the white space around it.
    ///
    /// # Errors
    /// [`NameError`] if nothing is left, it is too long, or has a forbidden character.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let name = name.trim();
        let rule = "brackets, control characters and invisible direction marks are not allowed";
        checked("user", name, Self::MAX_CHARS, rule, |c| {
            !matches!(c, '[' | ']') && !c.is_control() && !is_direction_mark(c)
        })?;
        Ok(Self(name.into()))
    }
}

fn checked(
    kind: &'static str,
    name: &str,
    max: usize,
    rule: &'static str,
    allowed: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Empty { kind, max });
    }
    let length = name.chars().count();
    if length > max {
        return Err(NameError::TooLong { kind, length, max });
    }
    match name.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(NameError::Character { kind, found, rule }),
        None => Ok(()),
    }
}

/// Characters that reorder the text after them and could make one name look like another.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

macro_rules! reads_as_str {
    ($($name:ty),*) => {$(
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str { &self.0 }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}
reads_as_str!(RoomName, UserName);

super::serde_as_text! {
    RoomName, RoomName::parse, "the name of a room";
    UserName, UserName::parse, "the name of a user";
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn room_names_of_any_script_are_taken_as_they_are() {
        for name in ["lobby", "大厅", "a-b_c.d~e", "Straße", &"x".repeat(64)] {
            assert_eq!(&*RoomName::parse(name).unwrap(), name);
        }
    }

    #[test]
    fn room_names_that_a_url_or_log_would_misread_are_refused_with_the_rule() {
        assert_eq!(RoomName::parse(""), Err(NameError::Empty { kind: "room", max: 64 }));
        assert_eq!(
            RoomName::parse(&"好".repeat(65)),
            Err(NameError::TooLong {
                kind: "room",
                length: 65,
                max: 64
            })
        );
        for (name, found) in [
            ("a/b", '/'),
            ("a b", ' '),
            ("a\nb", '\n'),
            ("a?b", '?'),
            ("a%b", '%'),
            ("..", '.'),
        ] {
            assert!(
                matches!(RoomName::parse(name), Err(NameError::Character { found: f, .. }) if f == found),
                "{name:?}"
            );
        }
        let text = RoomName::parse("a/b").unwrap_err().to_string();
        assert_eq!(
            text,
            "the room name has the character '/': use letters, digits and - _ . ~"
        );
    }

    #[test]
    fn user_names_are_trimmed_and_cannot_forge_another_line() {
        assert_eq!(&*UserName::parse("  李 雷 ").unwrap(), "李 雷");
        for name in ["a] hi [b", "a\r\nb", "a\u{202e}b"] {
            assert!(
                matches!(UserName::parse(name), Err(NameError::Character { .. })),
                "{name:?}"
            );
        }
        assert!(matches!(UserName::parse(" \t "), Err(NameError::Empty { .. })));
        assert!(matches!(
            UserName::parse(&"x".repeat(33)),
            Err(NameError::TooLong { length: 33, .. })
        ));
    }
}
