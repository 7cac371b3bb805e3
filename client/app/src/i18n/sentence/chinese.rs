//! The sentences in Chinese.

use talkback_client::{FailReason, NameError, RoomNameError, UserName, close::MAX_REASON_BYTES};

use super::{HttpProblem, MAX_NAMED_USERS, ROOM_NAME_PUNCTUATION, Sentence, UrlProblem, cause_text, code_and_reason};
use crate::{
    connection::{CLOSE_LIMIT_MS, ClosedBy, End},
    format,
    i18n::{Language, Text, close_meaning},
    workbench::BinaryTextError,
};

pub(super) fn sentence(sentence: &Sentence) -> String {
    match sentence {
        Sentence::BadUrl(problem) => {
            let why = match problem {
                UrlProblem::Empty => "地址为空".into(),
                UrlProblem::Scheme(scheme) => format!("以 {scheme}: 开头，应为 ws: 或 wss:"),
                UrlProblem::Fragment => "不能包含 # 部分".into(),
                UrlProblem::Unreadable => "请检查主机和端口".to_string(),
            };
            format!("不是有效的 WebSocket 地址：{why}")
        }
        Sentence::BadSubprotocol(name) => format!("子协议“{name}”重复或含非法字符"),
        Sentence::MixedContent => "https 页面不能连接 ws://，请改用 wss:// 或以 http 打开本工具".into(),
        Sentence::Unsupported => "您的浏览器不支持 WebSocket！".into(),
        Sentence::RefusedByBrowser(reason) => format!("浏览器拒绝：{reason}"),
        Sentence::BadCloseCode => "状态码只能是 1000 或 3000–4999".into(),
        Sentence::ReasonTooLong(bytes) => format!("原因过长：{bytes}/{MAX_REASON_BYTES} 字节"),
        Sentence::NotSent(state) => format!(
            "未发送：当前{}，内容已保留",
            Text::of_state(*state).in_language(Language::Chinese)
        ),
        Sentence::BufferFull(bytes) => format!("未发送：还有 {} 等待发送，内容已保留", format::size(u64::from(*bytes))),
        Sentence::HttpFailed(HttpProblem::TimedOut(seconds)) => format!("{seconds} 秒内没有 HTTP 响应"),
        Sentence::HttpFailed(HttpProblem::Unreachable) => {
            "HTTP 请求失败，浏览器不提供原因。常见：服务未启动，或不允许本页面的来源".into()
        }
        Sentence::HttpStatus(status) => format!("服务器返回 HTTP 状态 {status}"),
        Sentence::BadRoom(error) => format!("房间名无效：{}", room_rule(error)),
        Sentence::BadName(error) => format!("名字无效：{}", name_rule(error)),
        Sentence::Opening(url) => format!("正在连接 {url}"),
        Sentence::Opened { protocol } if protocol.is_empty() => "已连接".into(),
        Sentence::Opened { protocol } => format!("已连接，子协议 {protocol}"),
        Sentence::Joined { room, name } => format!("您以“{name}”加入了 {room}"),
        Sentence::Left => "您已离开".into(),
        Sentence::Ended(end) => connection_end(end),
        Sentence::Closed(end) => code_and_reason(end) + &connection_end(end),
        Sentence::ReasonBytes(bytes) => format!("{bytes}/{MAX_REASON_BYTES} 字节"),
        Sentence::BadJson { line, column } => format!("不是有效的 JSON：第 {line} 行第 {column} 列"),
        Sentence::BadBytes(BinaryTextError::Character(found, place)) => {
            format!("第 {place} 个字符“{found}”不是有效的字节内容")
        }
        Sentence::BadBytes(BinaryTextError::Incomplete) => "最后一个字节不完整".into(),
        Sentence::NoFile => "请先选择文件".into(),
        Sentence::FileTooLarge(bytes) => format!("文件大小为 {}，最多发送 64 MiB", format::size(*bytes)),
        Sentence::FileUnreadable => "无法再读取此文件，请重新选择".into(),
        Sentence::BadRepeatCount => "请输入 1 到 1,000,000，或留空".into(),
        Sentence::BadRepeatInterval => "请输入 1 到 3,600,000 毫秒".into(),
        Sentence::StopRepeat(None) => "停止".into(),
        Sentence::StopRepeat(Some(left)) => format!("停止（剩余 {} 条）", format::thousands((*left).into())),
        Sentence::CloseWith(code) if code.is_empty() => "关闭时不带关闭码".into(),
        Sentence::CloseWith(code) => format!("以 {code} 关闭"),
        Sentence::NextAttempt { end, seconds } => {
            format!("{}{}。{seconds} 秒后重连", code_and_reason(end), connection_end(end))
        }
        Sentence::Attempt(attempt) => format!("正在重连，第 {attempt} 次…"),
        Sentence::Reconnected { ms, attempt } => {
            format!(
                "{} 后重新连接成功，共尝试 {attempt} 次",
                format::duration(*ms, Language::Chinese)
            )
        }
        Sentence::RowsDropped(rows) => format!("已丢弃较早的 {rows} 行"),
        Sentence::DetailCut { shown, total } => {
            format!(
                "显示前 {}，共 {}；复制会包含全部",
                format::size(*shown as u64),
                format::size(*total as u64)
            )
        }
        Sentence::MessageCount { shown: None, total } => format!("{} 条消息", count(*total)),
        Sentence::MessageCount {
            shown: Some(shown),
            total,
        } => {
            format!("{} / {} 条消息", count(*shown), count(*total))
        }
        Sentence::RowsWaiting(rows) => format!("{} 条待显示", format::thousands(*rows)),
        Sentence::BadPattern(why) => format!("不是有效的正则表达式：{why}，未用它筛选"),
        Sentence::SlowPattern(ms) => format!("此正则表达式太慢（超过 {ms} 毫秒），未用它筛选"),
        Sentence::NoPatternWorker => "浏览器无法启动检验正则表达式的脚本，未用它筛选，请重新加载页面".into(),
        Sentence::Exporting(percent) => format!("已导出 {percent} %"),
        Sentence::Items(items) => format!("{} 项", count(*items)),
        Sentence::NewMessages { count: 1, last } => last.clone(),
        Sentence::NewMessages { count, last } => format!("{count} 条消息，最后一条：{last}"),
        Sentence::NotJoined => "未发送：请先加入房间，内容已保留".into(),
        Sentence::RoomRefused(why) if why.is_empty() => "服务器已让您离开此房间".into(),
        Sentence::RoomRefused(why) => format!("您不能进入此房间：{why}"),
        Sentence::NameRefused(why) if why.is_empty() => "服务器不接受此名字".into(),
        Sentence::NameRefused(why) => format!("服务器不接受此名字：{why}"),
        Sentence::Stopped(cause) => format!(
            "服务器结束了连接：{} {}",
            cause.code,
            cause_text(cause, Language::Chinese)
        ),
        Sentence::HistoryLost => "服务器已重启且未保留消息：此线以上的消息已不在服务器上".into(),
        Sentence::AwayTooLong => "您离开的时间超过了服务器保留消息的时间：此处缺少部分消息".into(),
        Sentence::OwnLost(count) => format!("您的 {count} 条消息被服务器丢失"),
        Sentence::Typing(users) => format!("{}正在输入…", user_list(users)),
        Sentence::RetryIn(seconds) => format!("连接已断开，{seconds} 秒后重试；您发送的消息会在此等待"),
        Sentence::Reconnecting => "连接已断开，正在重连…".into(),
        Sentence::Offline => "您已离线，发送的消息会在此等待".into(),
        Sentence::Failed(reason) => fail_reason(reason),
        Sentence::Unread(count) => format!("{} 条新消息", format::thousands(*count as u64)),
        Sentence::MoreUsers(count) => format!("以及另外 {} 人", format::thousands(*count as u64)),
        Sentence::Users(count) => format!("{} 人", format::thousands(*count as u64)),

        Sentence::Presence { joined, left } => match (&joined[..], &left[..]) {
            (joined, []) => user_list(joined) + "加入了房间",
            ([], left) => user_list(left) + "离开了房间",
            (joined, left) => format!("{}加入了房间 · {}离开了房间", user_list(joined), user_list(left)),
        },
        Sentence::Here(count) => format!("{} 人在此", format::thousands(*count as u64)),
        Sentence::JoinRoom(room) => format!("加入 #{room}"),
        Sentence::OpenRoom(room) => format!("打开 #{room}"),
        Sentence::MessageTo(room) => format!("发消息到 #{room}"),
    }
}

fn count(number: usize) -> String {
    format::thousands(number as u64)
}

fn connection_end(end: &End) -> String {
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
                ClosedBy::Page => "本页面",
                ClosedBy::Server => "服务器",
            };
            format!(
                "{}（由{by}关闭，持续 {}）",
                close_meaning(closed.code, Language::Chinese),
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

fn fail_reason(reason: &FailReason) -> String {
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

fn name_rule(error: &NameError) -> String {
    match error {
        NameError::Empty { max, .. } => format!("请输入 1 到 {max} 个字符"),
        NameError::TooLong { length, max, .. } => format!("共 {length} 个字符，最多 {max} 个"),
        NameError::Control { found, .. } => format!("含有控制字符 {found:?}"),
    }
}

fn room_rule(error: &RoomNameError) -> String {
    match error {
        RoomNameError::Name(error) => name_rule(error),
        RoomNameError::Character(found) => format!("含有字符 {found:?}；只能用字母、数字和 {ROOM_NAME_PUNCTUATION}"),
        RoomNameError::Dots => "不能只是 . 或 ..".into(),
    }
}

fn user_list(users: &[UserName]) -> String {
    let named = users.len().min(MAX_NAMED_USERS);
    let names: Vec<&str> = users[..named].iter().map(|user| &**user).collect();
    let names = names.join("、");
    match users.len() - named {
        0 => format!("{names} "),
        _ => format!("{names} 等 {} 人", users.len()),
    }
}
