//! Sentences with values in them: errors, what happened to a connection, counts. The texts are in `sentence/english.rs`
//! and `sentence/chinese.rs`.

mod chinese;
mod english;

use talkback_client::{Cause, FailReason, NameError, ReadyState, RoomNameError, UserName};

use super::{Language, close_meaning};
use crate::{
    connection::{CloseInfo, End},
    workbench::BinaryTextError,
};

/// The characters that a room name may have besides letters and digits.
const ROOM_NAME_PUNCTUATION: &str = "- _ . ~";

/// A sentence names at most this many users and counts the others.
const MAX_NAMED_USERS: usize = 3;

/// A sentence for the user; [`Sentence::in_language`] writes it out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sentence {
    BadUrl(UrlProblem),
    BadSubprotocol(String),
    MixedContent,
    Unsupported,
    /// The browser refused, with its own text.
    RefusedByBrowser(String),
    BadCloseCode,
    ReasonTooLong(usize),
    NotSent(ReadyState),
    /// The browser's send buffer is full, with so many bytes.
    BufferFull(u32),
    HttpFailed(HttpProblem),
    HttpStatus(u16),
    BadRoom(RoomNameError),
    BadName(NameError),
    Opening(String),
    Opened {
        protocol: String,
    },
    Joined {
        room: String,
        name: String,
    },
    /// The user left the room by the button.
    Left,
    /// How a connection ended.
    Ended(End),
    /// The close code and reason, if there are any, and how the connection ended.
    Closed(End),
    ReasonBytes(usize),
    /// Where a text is no JSON, from 1.
    BadJson {
        line: usize,
        column: usize,
    },
    BadBytes(BinaryTextError),
    NoFile,
    /// A file with so many bytes.
    FileTooLarge(u64),
    FileUnreadable,
    BadRepeatCount,
    BadRepeatInterval,
    /// The label of the button with how many messages are left, if there is an end.
    StopRepeat(Option<u32>),
    /// The label of the button with the close code, which may be empty.
    CloseWith(String),
    /// The connection ended like this, and is made again in so many seconds.
    NextAttempt {
        end: End,
        seconds: u64,
    },
    /// The page connects again by itself, for the so manieth time.
    Attempt(u32),
    /// The connection was made again.
    Reconnected {
        ms: f64,
        attempt: u32,
    },
    RowsDropped(u64),
    DetailCut {
        shown: usize,
        total: usize,
    },
    /// How many messages the log has, and how many of them the filter shows.
    MessageCount {
        shown: Option<usize>,
        total: usize,
    },
    /// The number of rows that were recorded since the log was paused.
    RowsWaiting(u64),
    /// The filter's pattern is none, with the browser's text.
    BadPattern(String),
    /// The filter's pattern took more than so many milliseconds.
    SlowPattern(u32),
    /// The browser could not start the worker that tests the filter's pattern.
    NoPatternWorker,
    /// How much of the log is exported, in percent.
    Exporting(u64),
    /// The number of items of a folded JSON object or array.
    Items(usize),
    NewMessages {
        count: u64,
        last: String,
    },
    NotJoined,
    /// The server's text of the reason.
    RoomRefused(String),
    /// The server's text of the reason against this name.
    NameRefused(String),
    /// The server ended the session for good.
    Stopped(Cause),
    /// The room has a new epoch of its log.
    HistoryLost,
    /// The log is the same, but its retention does not reach back to the last message of the timeline.
    AwayTooLong,
    /// The server lost so many own messages after it had acknowledged them.
    OwnLost(usize),
    Typing(Vec<UserName>),
    /// The next attempt to connect is in so many seconds.
    RetryIn(u64),
    Reconnecting,
    Offline,
    Failed(FailReason),
    /// The number of unread messages below.
    Unread(usize),
    /// The number of users besides the listed ones.
    MoreUsers(usize),
    /// The number of users when none is listed.
    Users(usize),

    /// Users who joined and left, in one line.
    Presence {
        joined: Vec<UserName>,
        left: Vec<UserName>,
    },
    /// How many users are in the room.
    Here(usize),
    JoinRoom(String),
    /// A room that the user has not opened yet.
    OpenRoom(String),
    /// What stands in the empty message field of a room.
    MessageTo(String),
}

/// What is wrong with a WebSocket address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UrlProblem {
    Empty,
    Scheme(String),
    Fragment,
    /// The browser's URL parser refused it.
    Unreadable,
}

/// Why an HTTP request had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpProblem {
    /// No answer within so many seconds.
    TimedOut(u32),
    /// The browser hides the reason: unreachable, or another origin that does not allow this page.
    Unreachable,
}

impl Sentence {
    pub(crate) fn in_language(&self, language: Language) -> String {
        match language {
            Language::English => english::sentence(self),
            Language::Chinese => chinese::sentence(self),
        }
    }
}

fn cause_text(cause: &Cause, language: Language) -> &str {
    if cause.reason.is_empty() {
        close_meaning(cause.code, language)
    } else {
        &cause.reason
    }
}

/// `4000 “bye” `, or nothing.
fn code_and_reason(end: &End) -> String {
    match end.close_info() {
        None => String::new(),
        Some(CloseInfo { code, reason }) if reason.is_empty() => format!("{code} "),
        Some(CloseInfo { code, reason }) => format!("{code} “{reason}” "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ClosedBy;

    fn both(message: &Sentence) -> [String; 2] {
        Language::ALL.map(|language| message.in_language(language))
    }

    #[test]
    fn an_unsent_message_names_the_state_and_says_that_the_text_is_kept() {
        assert_eq!(
            both(&Sentence::NotSent(ReadyState::Closed)),
            [
                "Not sent: you are not connected. Your text is kept.",
                "未发送：当前已关闭，内容已保留"
            ]
        );
    }

    #[test]
    fn a_1006_reads_differently_before_and_after_open() {
        let closed = CloseInfo {
            code: 1006,
            reason: String::new(),
        };
        let [before, before_zh] = both(&Sentence::Ended(End::NeverOpened(closed.clone())));
        assert!(
            before.starts_with("Could not connect. The browser hides the reason."),
            "{before}"
        );
        assert!(before_zh.starts_with("连接失败，浏览器不提供原因。"), "{before_zh}");
        let [after, after_zh] = both(&Sentence::Ended(End::Lost {
            closed,
            open_ms: 61_500.0,
        }));
        assert_eq!(after, "Connection lost without a close message after 1 min 1 s.");
        assert_eq!(after_zh, "连接在 1 分 1 秒 后异常中断，未收到关闭消息");
    }

    #[test]
    fn a_close_has_the_meaning_of_its_code_and_the_side_that_closed() {
        let end = |by| End::Finished {
            closed: CloseInfo {
                code: 1005,
                reason: String::new(),
            },
            by,
            open_ms: 3_210.0,
        };
        let [page, page_zh] = both(&Sentence::Ended(end(ClosedBy::Page)));
        assert_eq!(page, "Closed normally, no code given (by this page, after 3.2 s)");
        assert_eq!(page_zh, "已正常关闭，对方未给状态码（由本页面关闭，持续 3.2 秒）");
        let [server, _] = both(&Sentence::Closed(end(ClosedBy::Server)));
        assert!(server.starts_with("1005 Closed normally"), "{server}");
        assert!(server.contains("by the server"), "{server}");
    }

    #[test]
    fn a_reason_is_quoted_after_its_code_and_a_cancelled_connection_has_neither() {
        let closed = CloseInfo {
            code: 4000,
            reason: "bye".into(),
        };
        let end = End::Finished {
            closed,
            by: ClosedBy::Server,
            open_ms: 0.0,
        };
        let [english, chinese] = both(&Sentence::Closed(end));
        assert_eq!(
            english,
            "4000 “bye” A code of the application's own (by the server, after 0.0 s)"
        );
        assert!(chinese.starts_with("4000 “bye” 应用自定义代码"), "{chinese}");
        assert_eq!(
            both(&Sentence::Closed(End::Cancelled))[0],
            "Cancelled before it was open."
        );
    }

    #[test]
    fn an_invalid_name_has_its_rule_in_both_languages() {
        let error = talkback_client::room_name("a/b").unwrap_err();
        assert_eq!(
            both(&Sentence::BadRoom(error)),
            [
                "Not a room name: it has the character '/'; use letters, digits and - _ . ~.",
                "房间名无效：含有字符 '/'；只能用字母、数字和 - _ . ~"
            ]
        );
    }
}
