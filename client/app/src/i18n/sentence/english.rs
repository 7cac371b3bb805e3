//! The sentences in English.

use talkback_client::{FailReason, NameError, ReadyState, RoomNameError, UserName, close::MAX_REASON_BYTES};

use super::{HttpProblem, MAX_NAMED_USERS, ROOM_NAME_PUNCTUATION, Sentence, UrlProblem, cause_text, code_and_reason};
use crate::{
    connection::{CLOSE_LIMIT_MS, ClosedBy, End},
    format,
    i18n::{Language, close_meaning},
    workbench::BinaryTextError,
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
        Sentence::BadJson { line, column } => format!("Not JSON: line {line}, column {column}."),
        Sentence::BadBytes(BinaryTextError::Character(found, place)) => {
            format!("Character {place} is no digit of the bytes: '{found}'.")
        }
        Sentence::BadBytes(BinaryTextError::Incomplete) => "The last byte is incomplete.".into(),
        Sentence::NoFile => "Choose a file first.".into(),
        Sentence::FileTooLarge(bytes) => format!("The file has {}; at most 64 MiB are sent.", format::size(*bytes)),
        Sentence::FileUnreadable => "The file cannot be read any more. Choose it again.".into(),
        Sentence::BadRepeatCount => "Give 1 to 1,000,000 messages, or none.".into(),
        Sentence::BadRepeatInterval => "Give 1 to 3,600,000 ms.".into(),
        Sentence::StopRepeat(None) => "Stop".into(),
        Sentence::StopRepeat(Some(left)) => format!("Stop ({} left)", format::thousands((*left).into())),
        Sentence::CloseWith(code) if code.is_empty() => "Close without code".into(),
        Sentence::CloseWith(code) => format!("Close with {code}"),
        Sentence::NextAttempt { end, seconds } => format!(
            "{}{} · Next attempt in {seconds} s",
            code_and_reason(end),
            connection_end(end)
        ),
        Sentence::Attempt(attempt) => format!("Connecting again, attempt {attempt}…"),
        Sentence::Reconnected { ms, attempt } => format!(
            "Connected again after {}, attempt {attempt}.",
            format::duration(*ms, Language::English)
        ),
        Sentence::RowsDropped(1) => "1 older row dropped".into(),
        Sentence::RowsDropped(rows) => format!("{rows} older rows dropped"),
        Sentence::DetailCut { shown, total } => {
            format!(
                "The first {} of {} are shown; Copy takes all.",
                format::size(*shown as u64),
                format::size(*total as u64)
            )
        }
        Sentence::MessageCount { shown: None, total: 1 } => "1 message".into(),
        Sentence::MessageCount { shown: None, total } => format!("{} messages", count(*total)),
        Sentence::MessageCount {
            shown: Some(shown),
            total,
        } => {
            format!("{} of {} messages", count(*shown), count(*total))
        }
        Sentence::RowsWaiting(rows) => format!("{} waiting", format::thousands(*rows)),
        Sentence::BadPattern(why) => format!("Not a regular expression: {why}. The log is shown without it."),
        Sentence::SlowPattern(ms) => {
            format!("This pattern is too slow: it took more than {ms} ms. The log is shown without it.")
        }
        Sentence::NoPatternWorker => {
            "The browser could not start the script that tests patterns. The log is shown without the pattern. Load the page again.".into()
        }
        Sentence::Exporting(percent) => format!("{percent} % exported"),
        Sentence::Items(1) => "1 item".into(),
        Sentence::Items(items) => format!("{} items", count(*items)),
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
        Sentence::Typing(users) if users.len() == 1 => format!("{} is typing…", user_list(users)),
        Sentence::Typing(users) => format!("{} are typing…", user_list(users)),
        Sentence::RetryIn(seconds) => {
            format!("No connection. The next attempt is in {seconds} s; what you send waits here.")
        }
        Sentence::Reconnecting => "No connection. Connecting…".into(),
        Sentence::Offline => "You are offline. What you send waits here.".into(),
        Sentence::Failed(reason) => fail_reason(reason),
        Sentence::Unread(1) => "1 new message".into(),
        Sentence::Unread(count) => format!("{} new messages", format::thousands(*count as u64)),
        Sentence::MoreUsers(count) => format!("and {} more", format::thousands(*count as u64)),
        Sentence::Users(1) => "1 person".into(),
        Sentence::Users(count) => format!("{} people", format::thousands(*count as u64)),

        Sentence::Presence { joined, left } => match (&joined[..], &left[..]) {
            (joined, []) => user_list(joined) + " joined",
            ([], left) => user_list(left) + " left",
            (joined, left) => format!("{} joined · {} left", user_list(joined), user_list(left)),
        },
        Sentence::Here(count) => format!("{} here", format::thousands(*count as u64)),
        Sentence::JoinRoom(room) => format!("Join #{room}"),
        Sentence::OpenRoom(room) => format!("Open #{room}"),
        Sentence::MessageTo(room) => format!("Message #{room}"),
    }
}

fn count(number: usize) -> String {
    format::thousands(number as u64)
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
