//! Which names users and rooms may have on this server.
//!
//! The wire types [`UserName`] and [`RoomName`] check only what every server requires: length and control characters.
//! The whole rule is here alone, so that a client does not refuse a name that a newer server allows.
//!
//! - [`user`] checks the name that a user asks for: the `name` of `hello`, of plain chat and of a publisher over HTTP.
//! - [`room`] checks each room that a client names.
//! - [`user_room`] and [`group`] make the names of addressed rooms, which no client can name.

use std::borrow::Cow;

use precis_core::{DerivedPropertyValue, Error as PrecisError, FreeformClass, StringClass};
use precis_profiles::{Nickname, precis_core::profile::PrecisFastInvocation};
use sha2::{Digest, Sha256};
use talkback_protocol::{NameError, RoomName, UserName, message::code, session::server::Refusal};
use unicode_normalization::{char::is_combining_mark, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

/// The name of the server itself: the sender of messages that are published over HTTP without a name.
pub(crate) const SERVER: &str = "server";

/// Replaces the parts of a name that the profile does not check, while it checks the rest. The profile allows this
/// character and never changes it.
const PLACEHOLDER: char = '\u{25a0}';

/// Why a user may not have this name. The text states the rule and can be shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// The name has no visible character.
    #[error("the name has nothing to see: give it at least one letter, digit or symbol")]
    Invisible,
    /// The name has more code points than the protocol allows, after it was normalized.
    #[error("the name has {length} characters: at most {max} are allowed")]
    TooLong {
        /// The length found, in code points.
        length: usize,
        /// The longest allowed name, in code points.
        max: usize,
    },
    /// The name has a character that is not allowed.
    #[error(
        "the name has the character {0:?}: brackets, control characters and invisible characters outside emoji are not allowed"
    )]
    Character(char),
    /// The name is that of the server.
    #[error("the name `server` is the server's own: take another")]
    Reserved,
}

/// Why a client may not use a room of this name. The text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomProblem {
    /// The name has a character that is not allowed. On the wire: `bad_room`.
    #[error("the room name has the character {0:?}: use letters, digits, combining marks and - _ . ~")]
    Character(char),
    /// The name is `.` or `..`, which every URL parser removes from a path, so the room could not be reached. On the
    /// wire: `bad_room`.
    #[error("a room may not be named . or ..")]
    Dots,
    /// The name is not in normalization form C. On the wire: `bad_room`.
    #[error("the room name is not in Unicode's normalization form C: normalize it before you send it")]
    NotNormalized,
    /// The name begins with `~`. On the wire: `forbidden`.
    #[error(
        "rooms whose names begin with ~ are the server's own: what is addressed to a user comes by itself, and a back end \
         publishes it with POST /users/NAME/messages or /groups/NAME/messages"
    )]
    Reserved,
}

impl RoomProblem {
    /// The refusal of a line with this room, as the protocol carries it.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let code = match self {
            Self::Reserved => code::FORBIDDEN,
            Self::Character(_) | Self::Dots | Self::NotNormalized => code::BAD_ROOM,
        };
        Refusal {
            code: code.into(),
            message: self.to_string().into(),
            retry_after: None,
        }
    }
}

/// Why a group may not have this name. The text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupProblem {
    /// The name is empty or too long.
    #[error("the name of a group has 1 to {} characters", GroupName::MAX_CHARS)]
    Length,
    /// The name breaks the rule of [`room`].
    #[error("as the name of a group: {0}")]
    Room(RoomProblem),
}

/// The name of a group of users, to which messages can be addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupName(RoomName);

impl GroupName {
    /// The longest name of a group, in code points.
    pub const MAX_CHARS: usize = RoomName::MAX_CHARS - GROUP.len();

    /// The addressed room of the group, for [`Hub::publish`](crate::hub::Hub::publish).
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.0
    }

    pub(crate) fn into_room(self) -> RoomName {
        self.0
    }
}

/// The name of a user's room begins with this, and goes on with a hash, because names of users have other characters than
/// those of rooms.
const USER: &str = "~u.";
/// The bytes of the hash: nobody can choose two names with the same one.
const USER_HASH_BYTES: usize = 16;
/// The name of a group's room begins with this, and goes on with the name of the group.
const GROUP: &str = "~g.";

/// The addressed room of a user: the same at every server, and for no other name of a user. For
/// [`Hub::publish`](crate::hub::Hub::publish).
#[must_use]
pub fn user_room(user: &UserName) -> RoomName {
    let hash = Sha256::digest(user.as_bytes());
    let digits = hash[..USER_HASH_BYTES].iter().map(|byte| format!("{byte:02x}"));
    let name: String = std::iter::once(USER.to_owned()).chain(digits).collect();
    RoomName::parse(&name).unwrap_or_else(|_| unreachable!("it has only ASCII characters, and few"))
}

/// Whether this is the addressed room of a user or a group.
#[must_use]
pub fn is_addressed(room: &RoomName) -> bool {
    room.starts_with(USER) || room.starts_with(GROUP)
}

/// Checks the name of a group: the rule of [`room`], and at most [`GroupName::MAX_CHARS`] characters.
///
/// # Errors
/// [`GroupProblem`]; HTTP answers with 400.
pub fn group(name: &str) -> Result<GroupName, GroupProblem> {
    let long = |_: NameError| GroupProblem::Length;
    let checked = match RoomName::parse(name) {
        Ok(name) => room(&name),
        Err(NameError::Control { found, .. }) => Err(RoomProblem::Character(found)),
        Err(error) => return Err(long(error)),
    };
    checked.map_err(GroupProblem::Room)?;
    RoomName::parse(&format!("{GROUP}{name}")).map(GroupName).map_err(long)
}

/// Normalizes and checks the name that a user asks for.
///
/// The rule is the profile Nickname of [RFC 8266](https://www.rfc-editor.org/rfc/rfc8266): white space around the name
/// is removed and becomes one space inside, compatibility forms such as full width letters become the usual ones, and
/// control, unassigned and invisible characters are refused. There are three differences:
/// - emoji are allowed, with the joiners, variation selectors and tags inside them, in the fully qualified form;
/// - letters, digits and marks that are newer than the profile's tables are allowed as they are;
/// - `[` and `]` are refused, because plain chat writes `[name] text`, and so is `server` in any case.
///
/// `Ann` and `ann` are two users: names are compared as the exact texts that this function returns, which is the value
/// of `welcome.user`. The function is idempotent.
///
/// # Errors
/// [`NameProblem`]. A session is closed with 4403 and its text as the reason; HTTP answers with 400.
pub fn user(name: &str) -> Result<UserName, NameProblem> {
    let (text, replaced) = replace_exempt(name);
    let text = Nickname::enforce(text).map_err(|error| match error {
        PrecisError::BadCodepoint(info) => {
            NameProblem::Character(char::from_u32(info.cp).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        // It is empty, or has no stable form.
        PrecisError::Invalid | PrecisError::Unexpected(_) => NameProblem::Invisible,
    })?;
    let name = restore(&text, &replaced);
    if let Some(bracket) = name.chars().find(|c| matches!(c, '[' | ']')) {
        return Err(NameProblem::Character(bracket));
    }
    if name
        .chars()
        .all(|c| c.is_whitespace() || is_combining_mark(c) || is_blank(c))
    {
        return Err(NameProblem::Invisible);
    }
    let length = name.chars().count();
    if length > UserName::MAX_CHARS {
        let max = UserName::MAX_CHARS;
        return Err(NameProblem::TooLong { length, max });
    }
    if name.to_lowercase() == SERVER {
        return Err(NameProblem::Reserved);
    }
    UserName::parse(&name).map_err(|_| NameProblem::Invisible)
}

/// A part of a user's name as it is searched in names: normalized like a name if it could be one, and in small letters.
pub(crate) fn folded(part: &str) -> String {
    match user(part) {
        Ok(name) => small(&name),
        Err(_) => small(part),
    }
}

/// A name or a part of one in small letters, the same at the end of a word as inside it, which differs in Greek.
pub(crate) fn small(name: &str) -> String {
    name.to_lowercase().replace('ς', "σ")
}

/// Checks whether a client may use this room.
///
/// The rule: letters, digits and combining marks of any script and `- _ . ~`, in Unicode's normalization form C, not
/// `.` or `..`, and not beginning with `~`. A name that breaks the rule is refused and never changed.
///
/// # Errors
/// [`RoomProblem`]: a session answers the line with `error` or `nack` and continues; HTTP answers with 400, or 403 for
/// [`RoomProblem::Reserved`].
pub fn room(room: &RoomName) -> Result<(), RoomProblem> {
    if room.starts_with('~') {
        return Err(RoomProblem::Reserved);
    }
    let allowed = |c: char| {
        (c.is_alphanumeric() || is_combining_mark(c) || matches!(c, '-' | '_' | '.' | '~'))
            && !is_blank(c)
            && !is_ignorable(c)
    };
    if let Some(found) = room.chars().find(|&c| !allowed(c)) {
        return Err(RoomProblem::Character(found));
    }
    if matches!(&**room, "." | "..") {
        return Err(RoomProblem::Dots);
    }
    if !is_nfc(room) {
        return Err(RoomProblem::NotNormalized);
    }
    Ok(())
}

/// Replaces the parts that are exempt from the profile by [`PLACEHOLDER`], and returns them in their order.
fn replace_exempt(name: &str) -> (String, Vec<Cow<'_, str>>) {
    let mut text = String::with_capacity(name.len());
    let mut replaced = Vec::new();
    for cluster in name.graphemes(true) {
        if let Some(emoji) = emojis::get(cluster) {
            text.push(PLACEHOLDER);
            replaced.push(emoji.as_str().into());
            continue;
        }
        for (at, c) in cluster.char_indices() {
            if c == PLACEHOLDER || is_newer(c) {
                text.push(PLACEHOLDER);
                replaced.push(cluster[at..at + c.len_utf8()].into());
            } else {
                text.push(c);
            }
        }
    }
    (text, replaced)
}

/// Undoes [`replace_exempt`].
fn restore(text: &str, replaced: &[Cow<'_, str>]) -> String {
    let mut replaced = replaced.iter();
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match (c == PLACEHOLDER).then(|| replaced.next()).flatten() {
            Some(part) => name.push_str(part),
            None => name.push(c),
        }
    }
    name
}

/// A letter, digit or mark that the profile's tables of Unicode 6.3 do not have.
fn is_newer(c: char) -> bool {
    (c.is_alphanumeric() || is_combining_mark(c))
        && !is_ignorable(c)
        && FreeformClass::default().get_value_from_char(c) == DerivedPropertyValue::Unassigned
}

/// A symbol or letter that has no visible glyph.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// Marks without a visible effect: those with the property Default_Ignorable_Code_Point.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<String, NameProblem> {
        user(name).map(|name| name.to_string())
    }

    #[test]
    fn a_name_is_normalized_and_keeps_its_case() {
        for (asked, given) in [
            ("Ann", "Ann"),
            ("ann", "ann"),
            ("  李 \u{3000} 雷 ", "李 雷"),
            ("Ａｎｎ", "Ann"),
            ("e\u{301}", "é"),
            ("ﾊﾝｶｸ", "ハンカク"),
            ("علی\u{200c}رضا", "علی\u{200c}رضا"),
            // Newer than Unicode 6.3: Adlam.
            ("\u{1e900}\u{1e922}", "\u{1e900}\u{1e922}"),
            ("■", "■"),
        ] {
            assert_eq!(named(asked).as_deref(), Ok(given), "{asked:?}");
            assert_eq!(
                named(given).as_deref(),
                Ok(given),
                "the result of {asked:?}, put in again"
            );
        }
    }

    #[test]
    fn emoji_are_allowed_with_their_joiners_selectors_and_tags() {
        for (asked, given) in [
            ("Zoë 🤖", "Zoë 🤖"),
            ("👩\u{200d}👩\u{200d}👧\u{200d}👦", "👩\u{200d}👩\u{200d}👧\u{200d}👦"),
            ("👍🏽", "👍🏽"),
            ("🇨🇳 李", "🇨🇳 李"),
            (
                "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
                "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            ),
            ("1\u{fe0f}\u{20e3}", "1\u{fe0f}\u{20e3}"),
            // With and without the variation selector it is the same emoji.
            ("\u{263a}", "\u{263a}\u{fe0f}"),
            ("\u{263a}\u{fe0f}", "\u{263a}\u{fe0f}"),
        ] {
            assert_eq!(named(asked).as_deref(), Ok(given), "{asked:?}");
            assert_eq!(
                named(given).as_deref(),
                Ok(given),
                "the result of {asked:?}, put in again"
            );
        }
    }

    #[test]
    fn invisible_names_and_names_with_misleading_characters_are_refused() {
        for name in [
            "",
            " \t ",
            "\u{3000}",
            "\u{61c}",
            "\u{200b}",
            "\u{feff}",
            "\u{ad}",
            "\u{3164}",
            "\u{2028}",
            "\u{2800}",
            "\u{115f}",
            "\u{fe0f}",
            "\u{200d}",
            "a\u{200b}b",
            "a\u{202e}b",
            "a\u{200d}b",
            "a\nb",
            "a\u{e0061}",
            "\u{301}",
            "a] hi [b",
            "［server］",
            "\u{fffe}",
            "a\u{fe0f}",
        ] {
            assert!(named(name).is_err(), "{name:?} became {:?}", named(name));
        }
        for name in ["server", "SERVER", "Ｓｅｒｖｅｒ", " server "] {
            assert_eq!(named(name), Err(NameProblem::Reserved), "{name:?}");
        }
        assert_eq!(named("servers").as_deref(), Ok("servers"));
        assert_eq!(named("a] hi [b"), Err(NameProblem::Character(']')));
    }

    #[test]
    fn the_length_is_that_of_the_result() {
        assert!(named(&"x".repeat(32)).is_ok());
        assert_eq!(
            named(&"x".repeat(33)),
            Err(NameProblem::TooLong { length: 33, max: 32 })
        );
        // One code point that becomes 18.
        assert!(matches!(named("\u{fdfa}\u{fdfa}"), Err(NameProblem::TooLong { .. })));
    }

    #[test]
    fn the_room_of_a_user_is_that_of_its_exact_name_and_can_be_named_by_no_client() {
        let of = |name| user_room(&user(name).unwrap());
        assert_eq!(&*of("ann"), "~u.49915e0d7d4b402e3017d010bc1c0e83");
        assert_eq!(of("ann"), of(" ａｎｎ "), "it is the same name");
        assert_ne!(of("ann"), of("Ann"));
        for name in ["ann", "李 雷", &"x".repeat(32)] {
            assert_eq!(room(&of(name)), Err(RoomProblem::Reserved), "{name:?}");
            assert!(is_addressed(&of(name)), "{name:?}");
        }
        assert!(!is_addressed(&RoomName::parse("~other").unwrap()));
    }

    #[test]
    fn groups_are_named_as_rooms_are_and_their_names_say_what_is_wrong() {
        for name in ["staff", "客服", &"x".repeat(GroupName::MAX_CHARS)] {
            let group = group(name).unwrap();
            assert_eq!(group.room().strip_prefix("~g."), Some(name));
            assert_eq!(room(group.room()), Err(RoomProblem::Reserved));
        }
        let long = "x".repeat(GroupName::MAX_CHARS + 1);
        for (name, problem) in [
            ("", GroupProblem::Length),
            (&*long, GroupProblem::Length),
            ("a/b", GroupProblem::Room(RoomProblem::Character('/'))),
            ("a\nb", GroupProblem::Room(RoomProblem::Character('\n'))),
            ("~u.x", GroupProblem::Room(RoomProblem::Reserved)),
        ] {
            assert_eq!(group(name), Err(problem), "{name:?}");
        }
        assert_eq!(
            GroupProblem::Length.to_string(),
            "the name of a group has 1 to 61 characters"
        );
    }

    #[test]
    fn rooms_of_any_script_are_allowed_and_others_are_refused_with_the_rule() {
        for name in [
            "lobby",
            "大厅",
            "a-b_c.d~e",
            "Straße",
            "हिन्दी",
            "ภาษาไทย",
            "g\u{323}x",
            "...",
        ] {
            assert_eq!(room(&RoomName::parse(name).unwrap()), Ok(()), "{name:?}");
        }
        for (name, problem) in [
            ("a/b", RoomProblem::Character('/')),
            ("a b", RoomProblem::Character(' ')),
            ("a\u{200d}b", RoomProblem::Character('\u{200d}')),
            ("a\u{fe0f}", RoomProblem::Character('\u{fe0f}')),
            ("\u{3164}", RoomProblem::Character('\u{3164}')),
            (".", RoomProblem::Dots),
            ("..", RoomProblem::Dots),
            ("e\u{301}", RoomProblem::NotNormalized),
            ("~", RoomProblem::Reserved),
            ("~presence", RoomProblem::Reserved),
        ] {
            assert_eq!(room(&RoomName::parse(name).unwrap()), Err(problem), "{name:?}");
        }
    }
}
