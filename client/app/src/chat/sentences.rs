//! The chat's sentences that depend on more than their values. Pure.

use talkback_client::{Cause, FailReason, NameError, RoomNameError, UserName};

use crate::i18n::{Sentence, Text, close_meaning};

/// What is wrong with the name of a room.
pub(super) fn bad_room(error: &RoomNameError) -> Sentence {
    let rule = match error {
        RoomNameError::Name(error) => name_rule(error),
        RoomNameError::Character(found) => Text::NameCharacter.with([format!("{found:?}").into()]),
        RoomNameError::Dots => Text::NameDots.into(),
    };
    Text::BadRoom.with([rule])
}

/// What is wrong with the name of the user.
pub(super) fn bad_name(error: &NameError) -> Sentence {
    Text::BadName.with([name_rule(error)])
}

fn name_rule(error: &NameError) -> Sentence {
    match error {
        NameError::Empty { max, .. } => Text::NameEmpty.with([(*max).into()]),
        NameError::TooLong { length, max, .. } => Text::NameTooLong.with([(*length).into(), (*max).into()]),
        NameError::Control { found, .. } => Text::NameControl.with([format!("{found:?}").into()]),
    }
}

/// The server ended the membership of the room, with a text of the reason.
pub(super) fn room_refused(why: &str) -> Sentence {
    with_reason(why, Text::RoomClosed, Text::RoomRefused)
}

/// The server does not take the user's name, with a text of the reason.
pub(super) fn name_refused(why: &str) -> Sentence {
    with_reason(why, Text::NameTaken, Text::NameRefused)
}

fn with_reason(why: &str, without: Text, with: Text) -> Sentence {
    if why.is_empty() {
        without.into()
    } else {
        with.with([why.into()])
    }
}

/// The server ended the session for good.
pub(super) fn stopped(cause: &Cause) -> Sentence {
    let why = if cause.reason.is_empty() {
        close_meaning(cause.code).into()
    } else {
        cause.reason.as_str().into()
    };
    Text::Stopped.with([u32::from(cause.code).into(), why])
}

/// The server lost so many own messages after it had acknowledged them.
pub(super) fn own_lost(count: usize) -> Sentence {
    match count {
        1 => Text::OneLost.into(),
        count => Text::ManyLost.with([count.into()]),
    }
}

/// Why a message was not sent.
pub(super) fn failed(reason: &FailReason) -> Sentence {
    let text = match reason {
        FailReason::OutboxFull | FailReason::TooManyRooms => Text::OutboxFull,
        FailReason::TooLarge { bytes, max } => {
            return Text::TooLarge.with([*bytes, *max].map(|bytes| Sentence::size(bytes as u64)));
        }
        FailReason::TooDeep { .. } => Text::TooDeep,
        FailReason::Expired => Text::Expired,
        FailReason::Unconfirmed => Text::Unconfirmed,
        FailReason::Refused { message, .. } => return Text::MessageRefused.with([message.as_str().into()]),
        FailReason::Stopped => Text::NotSentLeft,
    };
    text.into()
}

/// The number of unread messages below.
pub(super) fn unread(count: usize) -> Sentence {
    Sentence::counted(count, Text::OneUnread, Text::ManyUnread)
}

/// The users who are typing.
pub(super) fn typing(users: &[UserName]) -> Sentence {
    let text = if users.len() == 1 {
        Text::OneTyping
    } else {
        Text::ManyTyping
    };
    text.with([user_list(users)])
}

/// Users who joined and left, in one line.
pub(super) fn presence(joined: &[UserName], left: &[UserName]) -> Sentence {
    match (joined, left) {
        (joined, []) => Text::UsersJoined.with([user_list(joined)]),
        ([], left) => Text::UsersLeft.with([user_list(left)]),
        (joined, left) => Text::UsersJoinedAndLeft.with([user_list(joined), user_list(left)]),
    }
}

/// The names of at most three users, and the number of the others.
fn user_list(users: &[UserName]) -> Sentence {
    let name = |user: &UserName| Sentence::from(&**user);
    match users {
        [] => String::new().into(),
        [a] => Text::UserListOne.with([name(a)]),
        [a, b] => Text::UserListTwo.with([a, b].map(name)),
        [a, b, c] => Text::UserListThree.with([a, b, c].map(name)),
        [a, b, c, _] => Text::UserListFour.with([a, b, c].map(name)),
        [a, b, c, others @ ..] => {
            Text::UserListMany.with([name(a), name(b), name(c), others.len().into(), users.len().into()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::Language;

    fn both(sentence: &Sentence) -> [String; 2] {
        Language::ALL.map(|language| sentence.in_language(language))
    }

    #[test]
    fn an_invalid_name_has_its_rule_in_both_languages() {
        let error = talkback_client::room_name("a/b").unwrap_err();
        assert_eq!(
            both(&bad_room(&error)),
            [
                "Not a room name: it has the character '/'; use letters, digits and - _ . ~.",
                "房间名无效：含有字符 '/'；只能用字母、数字和 - _ . ~"
            ]
        );
    }

    #[test]
    fn three_users_are_named_and_the_others_counted() {
        let users: Vec<_> = ["Ann", "Bob", "Cy", "Dee", "Eve"]
            .map(|name| UserName::parse(name).unwrap())
            .into();
        let typing = |count| both(&typing(&users[..count]));
        assert_eq!(typing(1), ["Ann is typing…", "Ann 正在输入…"]);
        assert_eq!(typing(2), ["Ann and Bob are typing…", "Ann、Bob 正在输入…"]);
        assert_eq!(typing(3)[0], "Ann, Bob and Cy are typing…");
        assert_eq!(
            typing(4),
            ["Ann, Bob, Cy and 1 other are typing…", "Ann、Bob、Cy 等 4 人正在输入…"]
        );
        assert_eq!(
            typing(5),
            ["Ann, Bob, Cy and 2 others are typing…", "Ann、Bob、Cy 等 5 人正在输入…"]
        );
        assert_eq!(
            both(&presence(&users[..1], &users[1..2])),
            ["Ann joined · Bob left", "Ann 加入了房间 · Bob 离开了房间"]
        );
    }
}
