//! The parts that sentences are made of, where a value has many forms.

use talkback_client::{Cause, FailReason, NameError, RoomNameError, UserName};

use super::{Language, close_meaning};
use crate::{
    connection::{CLOSE_LIMIT_MS, Closed, End, Side},
    format,
};

pub(super) fn name_rule_english(error: &NameError) -> String {
    match error {
        NameError::Empty { max, .. } => format!("give it 1 to {max} characters"),
        NameError::TooLong { length, max, .. } => format!("it has {length} characters, at most {max} are allowed"),
        NameError::Control { found, .. } => format!("it has the control character {found:?}"),
    }
}

pub(super) fn name_rule_chinese(error: &NameError) -> String {
    match error {
        NameError::Empty { max, .. } => format!("请输入 1 到 {max} 个字符"),
        NameError::TooLong { length, max, .. } => format!("共 {length} 个字符，最多 {max} 个"),
        NameError::Control { found, .. } => format!("含有控制字符 {found:?}"),
    }
}

pub(super) fn room_rule_english(error: &RoomNameError) -> String {
    match error {
        RoomNameError::Name(error) => name_rule_english(error),
        RoomNameError::Character(found) => {
            format!("it has the character {found:?}; use letters, digits and - _ . ~")
        }
        RoomNameError::Dots => "it may not be . or .. alone".into(),
    }
}

pub(super) fn room_rule_chinese(error: &RoomNameError) -> String {
    match error {
        RoomNameError::Name(error) => name_rule_chinese(error),
        RoomNameError::Character(found) => format!("含有字符 {found:?}；只能用字母、数字和 - _ . ~"),
        RoomNameError::Dots => "不能只是 . 或 ..".into(),
    }
}

/// More names than this are counted.
const NAMED: usize = 3;

pub(super) fn users_english(users: &[UserName]) -> String {
    let named = users.len().min(NAMED);
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

pub(super) fn users_chinese(users: &[UserName]) -> String {
    let named = users.len().min(NAMED);
    let names: Vec<&str> = users[..named].iter().map(|user| &**user).collect();
    let names = names.join("、");
    match users.len() - named {
        0 => format!("{names} "),
        _ => format!("{names} 等 {} 人", users.len()),
    }
}

pub(super) fn cause_text(cause: &Cause, language: Language) -> &str {
    if cause.reason.is_empty() {
        close_meaning(cause.code, language)
    } else {
        &cause.reason
    }
}

pub(super) fn failed_english(reason: &FailReason) -> String {
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

pub(super) fn failed_chinese(reason: &FailReason) -> String {
    match reason {
        FailReason::OutboxFull | FailReason::TooManyRooms => "未发送：等待发送的消息过多".into(),
        FailReason::TooLarge { bytes, max } => {
            format!(
                "未发送：长度 {}，服务器最多接受 {}",
                format::size(*bytes as u64),
                format::size(*max as u64)
            )
        }
        FailReason::TooDeep { .. } => "未发送：嵌套过深".into(),
        FailReason::Expired => "未发送：断线时间过长".into(),
        FailReason::Unconfirmed => "可能未发送：服务器未确认，重新发送前请先查看".into(),
        FailReason::Refused { message, .. } => format!("未发送：服务器拒绝：{message}"),
        FailReason::Stopped => "未发送：您已先离开".into(),
    }
}

/// `4000 “bye” `, or nothing.
pub(super) fn frame(end: &End) -> String {
    match end.frame() {
        None => String::new(),
        Some(Closed { code, reason }) if reason.is_empty() => format!("{code} "),
        Some(Closed { code, reason }) => format!("{code} “{reason}” "),
    }
}

pub(super) fn ended_english(end: &End) -> String {
    let after = |ms: f64| format::duration(ms, Language::English);
    match end {
        End::Cancelled => "Cancelled before it was open.".into(),
        End::NeverOpened(_) => "Could not connect. The browser hides the reason. Common: server not running, wrong port or path, certificate, HTTP refusal (401/403/404), Origin refused.".into(),
        End::Lost { open_ms, .. } => format!("Connection lost without a close message after {}.", after(*open_ms)),
        End::Finished { closed, by, open_ms } => {
            let by = match by {
                Side::Page => "this page",
                Side::Server => "the server",
            };
            format!("{} (by {by}, after {})", meaning(closed, Language::English), after(*open_ms))
        }
        End::Forced { open_ms } => format!(
            "Ended by this page: the server did not answer the close within {} s. Open for {}.",
            CLOSE_LIMIT_MS / 1000,
            after(*open_ms)
        ),
    }
}

pub(super) fn ended_chinese(end: &End) -> String {
    let after = |ms: f64| format::duration(ms, Language::Chinese);
    match end {
        End::Cancelled => "连接建立前已取消".into(),
        End::NeverOpened(_) => {
            "连接失败，浏览器不提供原因。常见：服务未启动、端口或路径错误、证书问题、被拒绝(401/403/404)、来源不被允许"
                .into()
        }
        End::Lost { open_ms, .. } => format!("连接在 {} 后异常中断，未收到关闭消息", after(*open_ms)),
        End::Finished { closed, by, open_ms } => {
            let by = match by {
                Side::Page => "本页面",
                Side::Server => "服务器",
            };
            format!(
                "{}（由{by}关闭，持续 {}）",
                meaning(closed, Language::Chinese),
                after(*open_ms)
            )
        }
        End::Forced { open_ms } => {
            let limit = CLOSE_LIMIT_MS / 1000;
            format!(
                "服务器 {limit} 秒内未答复关闭，由本页面强制结束（持续 {}）",
                after(*open_ms)
            )
        }
    }
}

fn meaning(closed: &Closed, language: Language) -> &'static str {
    close_meaning(closed.code, language)
}
