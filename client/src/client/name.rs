use std::borrow::Cow;

use talkback_protocol::{NameError, QuotedChar, RoomName};

/// Why a room name is invalid; the error text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// The name is empty, too long, or has a control character.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name has a character that room names may not contain.
    #[error("the room name has the character {}: use letters, digits and - _ . ~", QuotedChar(*.0))]
    Character(char),
    /// The name is `.` or `..`, which URL parsers remove from paths.
    #[error("the room name is . or .. alone: add a letter or a digit")]
    Dots,
}

/// Parses a room name that a user typed or a URL contains: 1 to 64 letters, digits and combining marks of any script,
/// and `-`, `_`, `.`, `~`; not `.` or `..` alone.
///
/// Servers accept names in Unicode's normalization form NFC only, so that names that look the same are the same room.
/// In a browser this function normalizes the name with `String.prototype.normalize`; elsewhere, where tests run, it
/// does not. It checks ASCII characters and white space; the server checks whether other characters are letters, and
/// answers with the code `bad_room` if not.
///
/// # Errors
/// [`RoomNameError`] says what is wrong.
pub fn room_name(name: &str) -> Result<RoomName, RoomNameError> {
    let name = RoomName::parse(&normalized(name))?;
    if matches!(&*name, "." | "..") {
        return Err(RoomNameError::Dots);
    }
    let is_good = |c: char| match c {
        '-' | '_' | '.' | '~' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => !c.is_whitespace(),
    };
    match name.chars().find(|&c| !is_good(c)) {
        Some(found) => Err(RoomNameError::Character(found)),
        None => Ok(name),
    }
}

#[cfg(target_family = "wasm")]
fn normalized(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return name.into();
    }
    let text = js_sys::JsString::from(name).normalize("NFC");
    String::from(text).into()
}

#[cfg(not(target_family = "wasm"))]
fn normalized(name: &str) -> Cow<'_, str> {
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_is_one_segment_of_a_path() {
        for name in ["lobby", "大厅", "a-b_c.d~e", "Straße", "क्षमा"] {
            assert_eq!(room_name(name).as_deref(), Ok(name));
        }
        for (name, wrong) in [("a/b", '/'), ("a b", ' '), ("a\u{3000}b", '\u{3000}'), ("a?b", '?')] {
            assert_eq!(room_name(name), Err(RoomNameError::Character(wrong)));
        }
        assert_eq!(room_name(".."), Err(RoomNameError::Dots));
        assert!(matches!(
            room_name(""),
            Err(RoomNameError::Name(NameError::Empty { .. }))
        ));
    }
}
