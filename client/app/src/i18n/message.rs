//! Sentences with values in them: errors, what happened to a connection, counts.

use talkback_client::{Cause, FailReason, NameError, ReadyState, RoomNameError, UserName, close::MAX_REASON_BYTES};

use super::{
    Language, Text,
    phrases::{
        cause_text, ended_chinese, ended_english, failed_chinese, failed_english, frame, name_rule_chinese,
        name_rule_english, room_rule_chinese, room_rule_english, users_chinese, users_english,
    },
};
use crate::{connection::End, format};

/// A sentence for the user; [`Message::in_language`] writes it out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    BadUrl(UrlProblem),
    BadSubprotocol(String),
    MixedContent,
    Unsupported,
    /// The browser refused for a reason of its own, in its own words.
    RefusedByBrowser(String),
    BadCloseCode,
    ReasonTooLong(usize),
    NotSent(ReadyState),
    /// So many bytes wait to be sent that no more are taken.
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
    /// How a connection ended, in a sentence.
    Ended(End),
    /// The same after the close code and reason, where there are any.
    Closed(End),
    ReasonBytes(usize),
    RowsDropped(u64),
    DetailCut {
        shown: usize,
        total: usize,
    },
    NewMessages {
        count: u64,
        last: String,
    },
    NotJoined,
    /// The server's words about why.
    RoomRefused(String),
    /// The server's words about why nobody may have this name.
    NameRefused(String),
    /// The server ended the session for good.
    Stopped(Cause),
    /// The log is another one than before.
    HistoryLost,
    /// The log goes on, but no longer reaches back to the last message on the page.
    AwayTooLong,
    /// So many own messages that the server had acknowledged are gone.
    OwnLost(usize),
    Came(Vec<UserName>),
    Went(Vec<UserName>),
    Typing(Vec<UserName>),
    /// The next attempt to connect comes in so many seconds.
    RetryIn(u64),
    Reconnecting,
    Offline,
    Failed(FailReason),
    /// So many messages below are not read.
    Unread(usize),
    /// So many users that are not listed.
    MoreUsers(usize),
    /// So many users, none of them listed.
    Users(usize),
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

/// Why an HTTP request brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpProblem {
    /// No answer within so many seconds.
    TimedOut(u32),
    /// The browser hides why: unreachable, or another origin that does not allow this page.
    Unreachable,
}

impl Message {
    pub(crate) fn in_language(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::BadUrl(problem) => {
                let why = match problem {
                    UrlProblem::Empty => "it is empty".into(),
                    UrlProblem::Scheme(scheme) => format!("it starts with {scheme}: instead of ws: or wss:"),
                    UrlProblem::Fragment => "it has a # part".into(),
                    UrlProblem::Unreadable => "check the host and the port".to_string(),
                };
                format!("Not a WebSocket address: {why}.")
            }
            Self::BadSubprotocol(name) => format!("Subprotocol '{name}' is repeated or has a forbidden character."),
            Self::MixedContent => "This https page may not open ws://. Use wss://, or open this tool over http.".into(),
            Self::Unsupported => "This browser does not support WebSocket.".into(),
            Self::RefusedByBrowser(reason) => format!("The browser refused: {reason}"),
            Self::BadCloseCode => "Code must be 1000 or 3000-4999.".into(),
            Self::ReasonTooLong(bytes) => format!("The reason is too long: {bytes}/{MAX_REASON_BYTES} bytes."),
            Self::NotSent(state) => format!("Not sent: connection is {state}. Your text is kept."),
            Self::BufferFull(bytes) => {
                format!("Not sent: {} still wait to be sent. Your text is kept.", format::size(u64::from(*bytes)))
            }
            Self::HttpFailed(HttpProblem::TimedOut(seconds)) => format!("No HTTP answer within {seconds} s."),
            Self::HttpFailed(HttpProblem::Unreachable) => {
                "The HTTP request failed. The browser hides the reason. Common: server not running, or it does not allow this page's origin.".into()
            }
            Self::HttpStatus(status) => format!("The server answered with HTTP status {status}."),
            Self::BadRoom(error) => format!("Not a room name: {}.", room_rule_english(error)),
            Self::BadName(error) => format!("Not a usable name: {}.", name_rule_english(error)),
            Self::Opening(url) => format!("Connecting to {url}"),
            Self::Opened { protocol } if protocol.is_empty() => "Connected.".into(),
            Self::Opened { protocol } => format!("Connected with subprotocol {protocol}."),
            Self::Joined { room, name } => format!("You joined {room} as {name}."),
            Self::Left => "You left.".into(),
            Self::Ended(end) => ended_english(end),
            Self::Closed(end) => frame(end) + &ended_english(end),
            Self::ReasonBytes(bytes) => format!("{bytes}/{MAX_REASON_BYTES} bytes"),
            Self::RowsDropped(1) => "1 older row dropped".into(),
            Self::RowsDropped(rows) => format!("{rows} older rows dropped"),
            Self::DetailCut { shown, total } => {
                format!("The first {} of {} are shown; Copy takes all.", format::size(*shown as u64), format::size(*total as u64))
            }
            Self::NewMessages { count: 1, last } => last.clone(),
            Self::NewMessages { count, last } => format!("{count} messages, the last: {last}"),
            Self::NotJoined => "Not sent: join the room first. Your text is kept.".into(),
            Self::RoomRefused(why) if why.is_empty() => "The server ended your membership of this room.".into(),
            Self::RoomRefused(why) => format!("This room is not open to you: {why}"),
            Self::NameRefused(why) if why.is_empty() => "The server does not take this name.".into(),
            Self::NameRefused(why) => format!("The server does not take this name: {why}"),
            Self::Stopped(cause) => format!("The server ended the connection: {} {}", cause.code, cause_text(cause, Language::English)),
            Self::HistoryLost => "Messages were lost: the server started anew. What follows is new.".into(),
            Self::AwayTooLong => "You were away for longer than the server keeps messages: some are missing here.".into(),
            Self::OwnLost(1) => "One of your messages was lost by the server.".into(),
            Self::OwnLost(count) => format!("{count} of your messages were lost by the server."),
            Self::Came(users) => format!("{} joined.", users_english(users)),
            Self::Went(users) => format!("{} left.", users_english(users)),
            Self::Typing(users) if users.len() == 1 => format!("{} is typing…", users_english(users)),
            Self::Typing(users) => format!("{} are typing…", users_english(users)),
            Self::RetryIn(seconds) => format!("No connection. The next attempt is in {seconds} s; what you send waits here."),
            Self::Reconnecting => "No connection. Connecting…".into(),
            Self::Offline => "You are offline. What you send waits here.".into(),
            Self::Failed(reason) => failed_english(reason),
            Self::Unread(1) => "1 new message".into(),
            Self::Unread(count) => format!("{count} new messages"),
            Self::MoreUsers(count) => format!("and {count} more"),
            Self::Users(1) => "1 person".into(),
            Self::Users(count) => format!("{count} people"),
        }
    }

    fn chinese(&self) -> String {
        match self {
            Self::BadUrl(problem) => {
                let why = match problem {
                    UrlProblem::Empty => "地址为空".into(),
                    UrlProblem::Scheme(scheme) => format!("以 {scheme}: 开头，应为 ws: 或 wss:"),
                    UrlProblem::Fragment => "不能包含 # 部分".into(),
                    UrlProblem::Unreadable => "请检查主机和端口".to_string(),
                };
                format!("不是有效的 WebSocket 地址：{why}")
            }
            Self::BadSubprotocol(name) => format!("子协议“{name}”重复或含非法字符"),
            Self::MixedContent => "https 页面不能连接 ws://，请改用 wss:// 或以 http 打开本工具".into(),
            Self::Unsupported => "您的浏览器不支持 WebSocket！".into(),
            Self::RefusedByBrowser(reason) => format!("浏览器拒绝：{reason}"),
            Self::BadCloseCode => "状态码只能是 1000 或 3000–4999".into(),
            Self::ReasonTooLong(bytes) => format!("原因过长：{bytes}/{MAX_REASON_BYTES} 字节"),
            Self::NotSent(state) => format!(
                "未发送：当前{}，内容已保留",
                Text::of_state(*state).in_language(Language::Chinese)
            ),
            Self::BufferFull(bytes) => format!("未发送：还有 {} 等待发送，内容已保留", format::size(u64::from(*bytes))),
            Self::HttpFailed(HttpProblem::TimedOut(seconds)) => format!("{seconds} 秒内没有 HTTP 响应"),
            Self::HttpFailed(HttpProblem::Unreachable) => {
                "HTTP 请求失败，浏览器不提供原因。常见：服务未启动，或不允许本页面的来源".into()
            }
            Self::HttpStatus(status) => format!("服务器返回 HTTP 状态 {status}"),
            Self::BadRoom(error) => format!("房间名无效：{}", room_rule_chinese(error)),
            Self::BadName(error) => format!("名字无效：{}", name_rule_chinese(error)),
            Self::Opening(url) => format!("正在连接 {url}"),
            Self::Opened { protocol } if protocol.is_empty() => "已连接".into(),
            Self::Opened { protocol } => format!("已连接，子协议 {protocol}"),
            Self::Joined { room, name } => format!("您以“{name}”加入了 {room}"),
            Self::Left => "您已离开".into(),
            Self::Ended(end) => ended_chinese(end),
            Self::Closed(end) => frame(end) + &ended_chinese(end),
            Self::ReasonBytes(bytes) => format!("{bytes}/{MAX_REASON_BYTES} 字节"),
            Self::RowsDropped(rows) => format!("已丢弃较早的 {rows} 行"),
            Self::DetailCut { shown, total } => {
                format!(
                    "显示前 {}，共 {}；复制会包含全部",
                    format::size(*shown as u64),
                    format::size(*total as u64)
                )
            }
            Self::NewMessages { count: 1, last } => last.clone(),
            Self::NewMessages { count, last } => format!("{count} 条消息，最后一条：{last}"),
            Self::NotJoined => "未发送：请先加入房间，内容已保留".into(),
            Self::RoomRefused(why) if why.is_empty() => "服务器已让您离开此房间".into(),
            Self::RoomRefused(why) => format!("您不能进入此房间：{why}"),
            Self::NameRefused(why) if why.is_empty() => "服务器不接受此名字".into(),
            Self::NameRefused(why) => format!("服务器不接受此名字：{why}"),
            Self::Stopped(cause) => format!(
                "服务器结束了连接：{} {}",
                cause.code,
                cause_text(cause, Language::Chinese)
            ),
            Self::HistoryLost => "部分消息已丢失：服务器已重新开始，以下为新消息".into(),
            Self::AwayTooLong => "您离开的时间超过了服务器保留消息的时间：此处缺少部分消息".into(),
            Self::OwnLost(count) => format!("您的 {count} 条消息被服务器丢失"),
            Self::Came(users) => format!("{}加入了房间", users_chinese(users)),
            Self::Went(users) => format!("{}离开了房间", users_chinese(users)),
            Self::Typing(users) => format!("{}正在输入…", users_chinese(users)),
            Self::RetryIn(seconds) => format!("连接已断开，{seconds} 秒后重试；您发送的消息会在此等待"),
            Self::Reconnecting => "连接已断开，正在重连…".into(),
            Self::Offline => "您已离线，发送的消息会在此等待".into(),
            Self::Failed(reason) => failed_chinese(reason),
            Self::Unread(count) => format!("{count} 条新消息"),
            Self::MoreUsers(count) => format!("以及另外 {count} 人"),
            Self::Users(count) => format!("{count} 人"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Closed, Side};

    fn both(message: &Message) -> [String; 2] {
        Language::ALL.map(|language| message.in_language(language))
    }

    #[test]
    fn an_unsent_message_names_the_state_and_says_that_the_text_is_kept() {
        assert_eq!(
            both(&Message::NotSent(ReadyState::Closed)),
            [
                "Not sent: connection is CLOSED. Your text is kept.",
                "未发送：当前已关闭，内容已保留"
            ]
        );
    }

    #[test]
    fn a_1006_reads_differently_before_and_after_open() {
        let closed = Closed {
            code: 1006,
            reason: String::new(),
        };
        let [before, before_zh] = both(&Message::Ended(End::NeverOpened(closed.clone())));
        assert!(
            before.starts_with("Could not connect. The browser hides the reason."),
            "{before}"
        );
        assert!(before_zh.starts_with("连接失败，浏览器不提供原因。"), "{before_zh}");
        let [after, after_zh] = both(&Message::Ended(End::Lost {
            closed,
            open_ms: 61_500.0,
        }));
        assert_eq!(after, "Connection lost without a close message after 1 min 1 s.");
        assert_eq!(after_zh, "连接在 1 分 1 秒 后异常中断，未收到关闭消息");
    }

    #[test]
    fn a_close_says_what_the_code_means_and_who_closed() {
        let end = |by| End::Finished {
            closed: Closed {
                code: 1005,
                reason: String::new(),
            },
            by,
            open_ms: 3_210.0,
        };
        let [page, page_zh] = both(&Message::Ended(end(Side::Page)));
        assert_eq!(page, "Closed normally, no code given (by this page, after 3.2 s)");
        assert_eq!(page_zh, "已正常关闭，对方未给状态码（由本页面关闭，持续 3.2 秒）");
        let [server, _] = both(&Message::Closed(end(Side::Server)));
        assert!(server.starts_with("1005 Closed normally"), "{server}");
        assert!(server.contains("by the server"), "{server}");
    }

    #[test]
    fn a_reason_is_quoted_behind_its_code_and_a_cancelled_connection_has_neither() {
        let closed = Closed {
            code: 4000,
            reason: "bye".into(),
        };
        let end = End::Finished {
            closed,
            by: Side::Server,
            open_ms: 0.0,
        };
        let [english, chinese] = both(&Message::Closed(end));
        assert_eq!(
            english,
            "4000 “bye” A code of the application's own (by the server, after 0.0 s)"
        );
        assert!(chinese.starts_with("4000 “bye” 应用自定义代码"), "{chinese}");
        assert_eq!(
            both(&Message::Closed(End::Cancelled))[0],
            "Cancelled before it was open."
        );
    }

    #[test]
    fn a_bad_name_states_its_rule_in_both_languages() {
        let error = talkback_client::room_name("a/b").unwrap_err();
        assert_eq!(
            both(&Message::BadRoom(error)),
            [
                "Not a room name: it has the character '/'; use letters, digits and - _ . ~.",
                "房间名无效：含有字符 '/'；只能用字母、数字和 - _ . ~"
            ]
        );
    }
}
