//! The sentences in English.

use talkback_client::{FailReason, NameError, ReadyState, RoomNameError, UserName, close::MAX_REASON_BYTES};

use super::{HttpProblem, MAX_NAMED_USERS, ROOM_NAME_PUNCTUATION, Sentence, UrlProblem, cause_text, code_and_reason};
use crate::{
    connection::{CLOSE_LIMIT_MS, ClosedBy, End},
    format,
    i18n::{Language, close_meaning},
};

pub(super) fn sentence(sentence: &Sentence) -> String {
    match sentence {
        Sentence::BadUrl(problem) => {
            let why = match problem {
                UrlProblem::Empty => "it is empty".into(),
                UrlProblem::Scheme(scheme) => format!("it starts with {scheme}: instead of ws: or wss:"),
                UrlProblem::Fragment => "it has a # part".into(),
                UrlProblem::Unreadable => "check the host and the port".to_string(),
            };
            format!("Not a WebSocket address: {why}.")
        }
        Sentence::BadSubprotocol(name) => format!("Subprotocol '{name}' is repeated or has a forbidden character."),
        Sentence::MixedContent => "This https page may not open ws://. Use wss://, or open this tool over http.".into(),
        Sentence::Unsupported => "This browser does not support WebSocket.".into(),
        Sentence::RefusedByBrowser(reason) => format!("The browser refused: {reason}"),
        Sentence::BadCloseCode => "Code must be 1000 or 3000-4999.".into(),
        Sentence::ReasonTooLong(bytes) => format!("The reason is too long: {bytes}/{MAX_REASON_BYTES} bytes."),
        Sentence::NotSent(ReadyState::Connecting) => {
            "Not sent: the connection is not open yet. Your text is kept.".into()
        }
        Sentence::NotSent(_) => "Not sent: you are not connected. Your text is kept.".into(),
        Sentence::BufferFull(bytes) => {
            format!(
                "Not sent: {} still wait to be sent. Your text is kept.",
                format::size(u64::from(*bytes))
            )
        }
        Sentence::HttpFailed(HttpProblem::TimedOut(seconds)) => format!("No HTTP answer within {seconds} s."),
        Sentence::HttpFailed(HttpProblem::Unreachable) => {
            "The HTTP request failed. The browser hides the reason. Common: server not running, or it does \
             not allow this page's origin."
                .into()
        }
        Sentence::HttpStatus(status) => format!("The server answered with HTTP status {status}."),
        Sentence::BadRoom(error) => format!("Not a room name: {}.", room_rule(error)),
        Sentence::BadName(error) => format!("This name cannot be used: {}.", name_rule(error)),
        Sentence::Opening(url) => format!("Connecting to {url}"),
        Sentence::Opened { protocol } if protocol.is_empty() => "Connected.".into(),
        Sentence::Opened { protocol } => format!("Connected with subprotocol {protocol}."),
        Sentence::Joined { room, name } => format!("You joined {room} as {name}."),
        Sentence::Left => "You left.".into(),
        Sentence::Ended(end) => connection_end(end),
        Sentence::Closed(end) => code_and_reason(end) + &connection_end(end),
        Sentence::ReasonBytes(bytes) => format!("{bytes}/{MAX_REASON_BYTES} bytes"),
        Sentence::RowsDropped(1) => "1 older row dropped".into(),
        Sentence::RowsDropped(rows) => format!("{rows} older rows dropped"),
        Sentence::DetailCut { shown, total } => {
            format!(
                "The first {} of {} are shown; Copy takes all.",
                format::size(*shown as u64),
                format::size(*total as u64)
            )
        }
        Sentence::NewMessages { count: 1, last } => last.clone(),
        Sentence::NewMessages { count, last } => format!("{count} messages, the last: {last}"),
        Sentence::NotJoined => "Not sent: join the room first. Your text is kept.".into(),
        Sentence::RoomRefused(why) if why.is_empty() => "The server ended your membership of this room.".into(),
        Sentence::RoomRefused(why) => format!("This room is not open to you: {why}"),
        Sentence::NameRefused(why) if why.is_empty() => "The server does not take this name.".into(),
        Sentence::NameRefused(why) => format!("The server does not take this name: {why}"),
        Sentence::Stopped(cause) => format!(
            "The server ended the connection: {} {}",
            cause.code,
            cause_text(cause, Language::English)
        ),
        Sentence::HistoryLost => {
            "The server was restarted without its messages: it does not have those above this line any more.".into()
        }
        Sentence::AwayTooLong => {
            "You were away for longer than the server keeps messages: some are missing here.".into()
        }
        Sentence::OwnLost(1) => "One of your messages was lost by the server.".into(),
        Sentence::OwnLost(count) => format!("{count} of your messages were lost by the server."),
        Sentence::UsersJoined(users) => format!("{} joined.", user_list(users)),
        Sentence::UsersLeft(users) => format!("{} left.", user_list(users)),
        Sentence::Typing(users) if users.len() == 1 => format!("{} is typing…", user_list(users)),
        Sentence::Typing(users) => format!("{} are typing…", user_list(users)),
        Sentence::RetryIn(seconds) => {
            format!("No connection. The next attempt is in {seconds} s; what you send waits here.")
        }
        Sentence::Reconnecting => "No connection. Connecting…".into(),
        Sentence::Offline => "You are offline. What you send waits here.".into(),
        Sentence::Failed(reason) => fail_reason(reason),
        Sentence::Unread(1) => "1 new message".into(),
        Sentence::Unread(count) => format!("{count} new messages"),
        Sentence::MoreUsers(count) => format!("and {count} more"),
        Sentence::Users(1) => "1 person".into(),
        Sentence::Users(count) => format!("{count} people"),
    }
}

fn connection_end(end: &End) -> String {
    let after = |ms: f64| format::duration(ms, Language::English);
    match end {
        End::Cancelled => "Cancelled before it was open.".into(),
        End::NeverOpened(_) => {
            "Could not connect. The browser hides the reason. Common: server not running, wrong port or \
             path, certificate, HTTP refusal (401/403/404), Origin refused."
                .into()
        }
        End::Lost { open_ms, .. } => format!("Connection lost without a close message after {}.", after(*open_ms)),
        End::Finished { closed, by, open_ms } => {
            let by = match by {
                ClosedBy::Page => "this page",
                ClosedBy::Server => "the server",
            };
            format!(
                "{} (by {by}, after {})",
                close_meaning(closed.code, Language::English),
                after(*open_ms)
            )
        }
        End::Forced { open_ms } => format!(
            "Ended by this page: the server did not answer the close within {} s. Open for {}.",
            CLOSE_LIMIT_MS / 1000,
            after(*open_ms)
        ),
    }
}

fn fail_reason(reason: &FailReason) -> String {
    match reason {
        FailReason::OutboxFull | FailReason::TooManyRooms => "Not sent: too many messages wait already.".into(),
        FailReason::TooLarge { bytes, max } => {
            format!(
                "Not sent: {} is too long, the server takes {}.",
                format::size(*bytes as u64),
                format::size(*max as u64)
            )
        }
        FailReason::TooDeep { .. } => "Not sent: it is nested too deeply.".into(),
        FailReason::Expired => "Not sent: there was no connection for too long.".into(),
        FailReason::Unconfirmed => {
            "Perhaps not sent: the server did not confirm it. Look for it before you send it again.".into()
        }
        FailReason::Refused { message, .. } => format!("Not sent: the server refused it: {message}"),
        FailReason::Stopped => "Not sent: you left before it was.".into(),
    }
}

fn name_rule(error: &NameError) -> String {
    match error {
        NameError::Empty { max, .. } => format!("give it 1 to {max} characters"),
        NameError::TooLong { length, max, .. } => format!("it has {length} characters, at most {max} are allowed"),
        NameError::Control { found, .. } => format!("it has the control character {found:?}"),
    }
}

fn room_rule(error: &RoomNameError) -> String {
    match error {
        RoomNameError::Name(error) => name_rule(error),
        RoomNameError::Character(found) => {
            format!("it has the character {found:?}; use letters, digits and {ROOM_NAME_PUNCTUATION}")
        }
        RoomNameError::Dots => "it may not be . or .. alone".into(),
    }
}

fn user_list(users: &[UserName]) -> String {
    let named = users.len().min(MAX_NAMED_USERS);
    let rest = users.len() - named;
    let mut text = String::new();
    for (index, user) in users[..named].iter().enumerate() {
        text += match index {
            0 => "",
            _ if rest == 0 && index + 1 == named => " and ",
            _ => ", ",
        };
        text += user;
    }
    match rest {
        0 => {}
        1 => text += " and 1 other",
        _ => text += &format!(" and {rest} others"),
    }
    text
}
