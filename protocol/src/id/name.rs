//! Names of rooms and users, checked when they are created.

use std::{fmt, ops::Deref, sync::Arc};

use crate::QuotedChar;

/// Why a name was refused; the text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters.
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
        /// The length of the name, in characters.
        length: usize,
        /// The longest allowed name, in characters.
        max: usize,
    },
    /// A control character.
    #[error("the {kind} name has the control character {}: leave it out", QuotedChar(*.found))]
    Control {
        /// `room` or `user`.
        kind: &'static str,
        /// The first control character.
        found: char,
    },
}

/// The name of a room: 1 to 64 characters (Unicode code points), none of them a control character.
///
/// Servers have stricter rules, and refuse a name that violates them with `bad_room`. A client accepts every name that
/// a server sends, also one that only a newer Unicode version allows. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The longest room name, in code points.
    pub const MAX_CHARS: usize = 64;

    /// Takes a percent-decoded name unchanged; nothing is trimmed, folded or normalised.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or has a control character.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked("room", name, Self::MAX_CHARS)?;
        Ok(Self(name.into()))
    }

    /// Whether it begins with `~`: such rooms are reserved for the server, and clients can neither join nor publish to
    /// them.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.starts_with('~')
    }
}

/// The name of a user: 1 to 32 characters (Unicode code points), none of them a control character.
///
/// Servers have stricter rules, and `welcome` has the name that the server made of the requested one. A clone shares
/// the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The longest user name, in code points.
    pub const MAX_CHARS: usize = 32;

    /// Takes a name unchanged; nothing is trimmed, folded or normalised.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or has a control character.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked("user", name, Self::MAX_CHARS)?;
        Ok(Self(name.into()))
    }
}

fn checked(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind, max });
    }
    let length = name.chars().count();
    if length > max {
        return Err(NameError::TooLong { kind, length, max });
    }
    match name.chars().find(|c| c.is_control()) {
        Some(found) => Err(NameError::Control { kind, found }),
        None => Ok(()),
    }
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
    fn names_that_any_server_could_allow_are_accepted() {
        for name in ["lobby", "हिन्दी", "a/b c", "..", "\u{202e}x", "~", &"x".repeat(64)] {
            assert_eq!(&*RoomName::parse(name).unwrap(), name);
        }
        for name in [" a ", "[ann]", "👩‍🚀", &"好".repeat(32)] {
            assert_eq!(&*UserName::parse(name).unwrap(), name);
        }
    }

    #[test]
    fn long_names_and_control_characters_are_refused_with_the_rule() {
        for (error, text) in [
            (
                RoomName::parse("").unwrap_err(),
                "the room name is empty: give it 1 to 64 characters",
            ),
            (
                RoomName::parse(&"好".repeat(65)).unwrap_err(),
                "the room name has 65 characters: at most 64 are allowed",
            ),
            (
                UserName::parse(&"x".repeat(33)).unwrap_err(),
                "the user name has 33 characters: at most 32 are allowed",
            ),
            (
                UserName::parse("a\r\nb").unwrap_err(),
                "the user name has the control character '\\r': leave it out",
            ),
            (
                RoomName::parse("a\u{85}").unwrap_err(),
                "the room name has the control character '\\u{85}': leave it out",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn reserved_rooms_begin_with_a_tilde() {
        assert!(RoomName::parse("~audit").unwrap().is_reserved());
        assert!(!RoomName::parse("a~").unwrap().is_reserved());
    }
}
