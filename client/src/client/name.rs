use std::borrow::Cow;

use talkback_protocol::{NameError, RoomName};

/// Reads the name of a room as a person or an address gives it: 1 to 64 letters, digits and combining marks of any script, and `-`,
/// `_`, `.`, `~`; not `.` or `..` alone.
///
/// The server takes names in Unicode's normalization form NFC only, so that what looks the same is the same room. In a browser the
/// name is brought into it by `String.prototype.normalize`; elsewhere, where tests run, it is taken as it is. The rule is checked here
/// as far as ASCII and white space go; whether another character is a letter is for the server to say, which answers with the code
/// `bad_room`.
///
/// # Errors
/// [`NameError`] says what is wrong.
pub fn room_name(name: &str) -> Result<RoomName, NameError> {
    let parsed = RoomName::parse(&normalized(name))?;
    let is_good = |c: char| match c {
        '-' | '_' | '.' | '~' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => !c.is_whitespace(),
    };
    let wrong = match &*parsed {
        "." | ".." => Some(('.', "it may not be . or .. alone")),
        name => {
            let found = name.chars().find(|&c| !is_good(c));
            found.map(|found| (found, "use letters, digits and - _ . ~"))
        }
    };
    match wrong {
        Some((found, rule)) => Err(NameError::Character {
            kind: "room",
            found,
            rule,
        }),
        None => Ok(parsed),
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
        for (name, wrong) in [("a/b", '/'), ("a b", ' '), ("a\u{3000}b", '\u{3000}'), ("..", '.')] {
            let error = room_name(name).unwrap_err();
            assert!(
                matches!(error, NameError::Character { found, .. } if found == wrong),
                "{name:?}: {error}"
            );
        }
        assert!(room_name("").is_err());
    }
}
