use std::borrow::Cow;

use talkback_protocol::{NameError, RoomName};

/// Why a room cannot have this name; the text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// It is empty, too long, or has a control character.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A character that no room's name may have.
    #[error("the room name has the character {0:?}: use letters, digits and - _ . ~")]
    Character(char),
    /// A segment of dots alone is taken out of a path by everybody who reads it.
    #[error("the room name is . or .. alone: add a letter or a digit")]
    Dots,
}

/// Reads the name of a room as a person or an address gives it: 1 to 64 letters, digits and combining marks of any script, and `-`,
/// `_`, `.`, `~`; not `.` or `..` alone.
///
/// Servers take names in Unicode's normalization form NFC only, so that what looks the same is the same room. In a browser the
/// name is brought into that form by `String.prototype.normalize`; elsewhere, where tests run, it is taken as it is. The rule is
/// checked here as far as ASCII and white space go; whether another character is a letter is for the server to say, which answers
/// with the code `bad_room`.
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
    fn a_room_is_named_by_one_segment_of_a_path() {
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
