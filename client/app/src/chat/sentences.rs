//! The chat's sentences that depend on more than their values. Pure.

use talkback_client::{Cause, FailReason, NameError, RoomNameError, UserName, code};

use crate::{
    format,
    i18n::{Sentence, Text, close_meaning},
};

/// What is wrong with the name of a room.
pub(super) fn bad_room(error: &RoomNameError) -> Sentence {
    let rule = match error {
        RoomNameError::Name(error) => name_rule(error),
        RoomNameError::Character(found) => Text::NameCharacter.with([format::character(*found).into()]),
        RoomNameError::Dots => Text::NameDots.into(),
    };
    Text::BadRoom.with([rule])
}

/// What is wrong with the name of the user.
pub(super) fn bad_name(error: &NameError) -> Sentence {
    Text::BadName.with([name_rule(error)])
}

/// The name of the user has a character that the server does not allow.
pub(super) fn bad_in_name(found: char) -> Sentence {
    Text::BadName.with([Text::NameForbidden.with([format::character(found).into()])])
}

fn name_rule(error: &NameError) -> Sentence {
    match error {
        NameError::Empty { max, .. } => Text::NameEmpty.with([(*max).into()]),
        NameError::TooLong { length, max, .. } => Text::NameTooLong.with([(*length).into(), (*max).into()]),
        NameError::Control { found, .. } => Text::NameControl.with([format::character(*found).into()]),
    }
}

/// The server ended the membership of the room, with a code and a text of the reason.
pub(super) fn room_refused(why: &str, detail: &str) -> Sentence {
    let otherwise = if detail.is_empty() {
        Text::RoomClosed
    } else {
        Text::RoomRefused
    };
    with_detail(refusal(why).unwrap_or(otherwise).into(), detail)
}

/// The server does not take the user's name, with a text of the reason.
pub(super) fn name_refused(detail: &str) -> Sentence {
    with_detail(Text::NameTaken.into(), detail)
}

/// The meaning of a code of the protocol with which a server refuses for good, or gives up.
fn refusal(why: &str) -> Option<Text> {
    Some(match why {
        code::BAD_ROOM => Text::RefusedName,
        code::FORBIDDEN => Text::RefusedForbidden,
        code::NO_SUCH_ROOM => Text::NoSuchRoom,
        code::TOO_MANY_ROOMS => Text::RefusedTooMany,
        code::ROOM_FULL => Text::RefusedFull,
        code::TOO_LARGE => Text::RefusedLarge,
        code::TOO_DEEP => Text::RefusedDeep,
        code::BUSY | code::RATE => Text::RefusedBusy,
        code::UNAVAILABLE => Text::RefusedUnavailable,
        _ => return None,
    })
}

/// A sentence of the page, and in a line below it what the server says, which has one language.
fn with_detail(sentence: Sentence, detail: &str) -> Sentence {
    if detail.is_empty() {
        sentence
    } else {
        Text::ServerSays.with([sentence, detail.into()])
    }
}

/// The server ended the session for good.
pub(super) fn stopped(cause: &Cause) -> Sentence {
    let meaning = close_meaning(cause.code).into();
    let sentence = Text::Stopped.with([u32::from(cause.code).into(), meaning]);
    with_detail(sentence, &cause.reason)
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
        FailReason::Refused { code, message, .. } => {
            let sentence = match refusal(code) {
                Some(why) => Text::MessageRefusedAs.with([why.into()]),
                None => Text::MessageRefused.into(),
            };
            return with_detail(sentence, message);
        }
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
    use talkback_client::close;

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
                "房间名无效：含有字符“/”；只能用字母、数字和 - _ . ~"
            ]
        );
    }

    #[test]
    fn a_refusal_has_a_sentence_of_each_language_and_the_text_of_the_server_below() {
        assert_eq!(
            both(&room_refused(code::ROOM_FULL, "the room is full")),
            [
                "The room is full.\nThe server says: the room is full",
                "房间人数已满\n服务器说明：the room is full"
            ]
        );
        assert_eq!(
            both(&room_refused("", "")),
            [
                "The server ended your membership of this room.",
                "服务器已让您离开此房间"
            ]
        );
        assert_eq!(
            both(&room_refused("other", "x"))[0],
            "This room is not open to you.\nThe server says: x"
        );
        let refused = |code: &str| {
            both(&failed(&FailReason::Refused {
                code: code.into(),
                message: String::new(),
                epoch: None,
            }))
        };
        assert_eq!(
            refused(code::FORBIDDEN),
            [
                "Not sent. You may not do this in this room.",
                "未发送：您没有在此房间进行此操作的权限"
            ]
        );
        assert_eq!(
            refused("other"),
            ["Not sent: the server refused it.", "未发送：服务器拒绝了此消息"]
        );
    }

    #[test]
    fn the_end_of_a_session_and_lost_messages_have_sentences_of_each_language() {
        let cause = Cause {
            code: close::FORBIDDEN,
            reason: "not you".into(),
        };
        let [english, chinese] = both(&stopped(&cause));
        assert!(
            english.starts_with("The server ended the connection: 4403 ") && english.ends_with("says: not you"),
            "{english}"
        );
        assert!(chinese.starts_with("服务器结束了连接：4403 "), "{chinese}");
        assert_eq!(
            both(&own_lost(1)),
            [
                "One of your messages was lost by the server.",
                "服务器丢失了您的 1 条消息"
            ]
        );
        assert_eq!(both(&own_lost(2))[0], "2 of your messages were lost by the server.");
    }

    #[test]
    fn each_reason_why_a_message_or_a_name_is_refused_has_a_sentence_of_its_own() {
        let english = |sentence: &Sentence| sentence.in_language(Language::English);
        for (reason, expected) in [
            (FailReason::OutboxFull, "Not sent: too many messages wait already."),
            (FailReason::Expired, "Not sent: there was no connection for too long."),
            (FailReason::Stopped, "Not sent: you left before it was."),
        ] {
            assert_eq!(english(&failed(&reason)), expected);
        }
        for (code, expected) in [
            (
                code::TOO_MANY_ROOMS,
                "You are in as many rooms as the server allows. Leave one first.",
            ),
            (code::TOO_LARGE, "It is longer than the server allows."),
            (code::TOO_DEEP, "It is nested more deeply than the server allows."),
            (code::BUSY, "The server is busy. Try again later."),
            (code::RATE, "The server is busy. Try again later."),
            (
                code::UNAVAILABLE,
                "The server cannot reach its messages now. Try again later.",
            ),
            (code::FORBIDDEN, "You may not do this in this room."),
        ] {
            assert_eq!(english(&room_refused(code, "")), expected);
        }
        let room = |name: &str| english(&bad_room(&talkback_client::room_name(name).unwrap_err()));
        assert_eq!(room(".."), "Not a room name: it may not be . or .. alone.");
        let user = |name: &str| english(&bad_name(&UserName::parse(name).unwrap_err()));
        assert_eq!(
            user("a\u{1}"),
            "This name cannot be used: it has the control character U+0001."
        );
        let long = "x".repeat(1_000);
        let max = match UserName::parse(&long) {
            Err(NameError::TooLong { max, .. }) => max,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            user(&long),
            format!("This name cannot be used: it has 1000 characters, at most {max} are allowed.")
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
