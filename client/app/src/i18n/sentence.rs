//! Sentences for the user: errors, what happened to a connection, counts; most have values in them.

use super::{Language, Text, text::texts};
use crate::format;

/// A sentence for the user; [`Sentence::in_language`] writes it out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sentence {
    /// The same in every language: a name, a number, a text of the server or of the browser.
    Same(String),
    /// A text, and what stands in its places.
    Filled(Text, Vec<Sentence>),
}

// The values of a sentence stand in its places: `{}` is the next one, `{2}` the third.
texts! {
    SENTENCES:

    // An address, and sending to it.
    UrlEmpty: "Not a WebSocket address: it is empty.", "不是有效的 WebSocket 地址：地址为空";
    UrlScheme: "Not a WebSocket address: it starts with {}: instead of ws: or wss:.",
        "不是有效的 WebSocket 地址：以 {}: 开头，应为 ws: 或 wss:";
    UrlFragment: "Not a WebSocket address: it has a # part.", "不是有效的 WebSocket 地址：不能包含 # 部分";
    UrlUnreadable: "Not a WebSocket address: check the host and the port.", "不是有效的 WebSocket 地址：请检查主机和端口";
    BadSubprotocol: "Subprotocol '{}' is repeated or has a forbidden character.", "子协议“{}”重复或含非法字符";
    MixedContent: "This https page may not open ws://. Use wss://, or open this tool over http.",
        "https 页面不能连接 ws://，请改用 wss:// 或以 http 打开本工具";
    Unsupported: "This browser does not support WebSocket.", "您的浏览器不支持 WebSocket！";
    RefusedByBrowser: "The browser refused: {}", "浏览器拒绝：{}";
    NotSentConnecting: "Not sent: the connection is still being opened. Your text is kept.", "未发送：当前连接中，内容已保留";
    NotSentClosing: "Not sent: the connection is being closed. Your text is kept.", "未发送：当前关闭中，内容已保留";
    NotSentClosed: "Not sent: you are not connected. Your text is kept.", "未发送：当前已关闭，内容已保留";
    BufferFull: "Not sent: {} still wait to be sent. Your text is kept.", "未发送：还有 {} 等待发送，内容已保留";

    // Durations.
    Seconds: "{}.{} s", "{}.{} 秒";
    Minutes: "{} min {} s", "{} 分 {} 秒";
    Hours: "{} h {} min", "{} 小时 {} 分";
    MinutesLater: "+{} min", "+{} 分";

    // Both views.
    MessagesAnnounced: "{} messages, the last: {}", "{} 条消息，最后一条：{}";
    Left: "You left.", "您已离开";

    // The workbench: the connection.
    BadCloseCode: "Code must be 1000 or 3000-4999.", "状态码只能是 1000 或 3000–4999";
    ReasonTooLong: "The reason is too long: {}/{} bytes.", "原因过长：{}/{} 字节";
    ReasonBytes: "{}/{} bytes", "{}/{} 字节";
    CloseWithoutCode: "Close without code", "关闭时不带状态码";
    CloseWith: "Close with {}", "以 {} 关闭";
    HttpTimedOut: "No HTTP answer within {} s.", "{} 秒内没有 HTTP 响应";
    HttpUnreachable: "The HTTP request failed. The browser hides the reason. Common: server not running, or it does not allow this page's origin.",
        "HTTP 请求失败，浏览器不提供原因。常见：服务未启动，或不允许本页面的来源";
    HttpStatus: "The server answered with HTTP status {}.", "服务器返回 HTTP 状态 {}";
    Opening: "Connecting to {}", "正在连接 {}";
    Opened: "Connected.", "已连接";
    OpenedWith: "Connected with subprotocol {}.", "已连接，子协议 {}";
    Attempt: "Connecting again, attempt {}…", "正在重连，第 {} 次…";
    Reconnected: "Connected again after {}, attempt {}.", "{}后重新连接成功，共尝试 {} 次";
    NextAttempt: "{} · Next attempt in {} s", "{}。{} 秒后重连";
    Cancelled: "Cancelled before it was open.", "连接建立前已取消";
    NeverOpened: "Could not connect. The browser hides the reason. Common: server not running, wrong port or path, certificate, HTTP refusal (401/403/404), Origin refused.",
        "连接失败，浏览器不提供原因。常见：服务未启动、端口或路径错误、证书问题、被拒绝（401/403/404）、来源不被允许";
    NeverOpenedWith: "{} Or the server takes none of the subprotocols {}.", "{}；或服务器不接受子协议 {}";
    ConnectionLost: "Connection lost without a close message after {}.", "连接在 {}后异常中断，未收到关闭消息";
    ClosedByPage: "{} (by this page, after {})", "{}（由本页面关闭，持续 {}）";
    ClosedByServer: "{} (by the server, after {})", "{}（由服务器关闭，持续 {}）";
    ClosedByForce: "Ended by this page: the server did not answer the close within {} s. Open for {}.",
        "服务器 {} 秒内未答复关闭，由本页面强制结束（持续 {}）";
    AfterCode: "{} {}", "{} {}";

    // The workbench: composer.
    BadJson: "Not JSON: line {}, column {}.", "不是有效的 JSON：第 {} 行第 {} 列";
    BadDigit: "Character {} is not valid here: '{}'.", "第 {} 个字符“{}”不是有效的字节内容";
    NoTemplates: "{} are replaced in texts and JSON only: write bytes here.", "{} 只在文本和 JSON 中替换，请在此填写字节";
    IncompleteByte: "The last byte is incomplete.", "最后一个字节不完整";
    NoFile: "Choose a file first.", "请先选择文件";
    FileTooLarge: "The file is {}; at most 64 MiB are sent.", "文件大小为 {}，最多发送 64 MiB";
    FileUnreadable: "The file cannot be read any more. Choose it again.", "无法再读取此文件，请重新选择";
    BadRepeatCount: "Enter 1 to 1,000,000, or leave it empty.", "请输入 1 到 1,000,000，或留空";
    BadRepeatInterval: "Enter 1 to 3,600,000 ms.", "请输入 1 到 3,600,000 毫秒";
    StopRepeat: "Stop", "停止";
    StopRepeatLeft: "Stop ({} left)", "停止（剩余 {} 条）";

    // The workbench: log.
    RowDropped: "1 older row dropped", "已丢弃较早的 1 行";
    RowsDropped: "{} older rows dropped", "已丢弃较早的 {} 行";
    DetailCut: "The first {} of {} are shown; Copy takes all.", "显示前 {}，共 {}；复制会包含全部";
    OneMessage: "1 message", "1 条消息";
    ManyMessages: "{} messages", "{} 条消息";
    MessagesOf: "{} of {} messages", "{} / {} 条消息";
    RowsWaiting: "{} waiting", "{} 条待显示";
    BadPattern: "Not a regular expression: {}. The log is shown without it.", "不是有效的正则表达式：{}，未用它筛选";
    SlowPattern: "This pattern is too slow: it took more than {} ms. The log is shown without it.",
        "此正则表达式太慢（超过 {} 毫秒），未用它筛选";
    NoPatternWorker: "The browser could not start the script that tests patterns. The log is shown without the pattern. Load the page again.",
        "浏览器无法启动检验正则表达式的脚本，未用它筛选，请重新加载页面";
    Exporting: "{} % exported", "已导出 {} %";
    OneItem: "1 item", "1 项";
    Items: "{} items", "{} 项";

    // The chat: names.
    BadRoom: "Not a room name: {}.", "房间名无效：{}";
    BadName: "This name cannot be used: {}.", "名字无效：{}";
    NameEmpty: "give it 1 to {} characters", "请输入 1 到 {} 个字符";
    NameTooLong: "it has {} characters, at most {} are allowed", "共 {} 个字符，最多 {} 个";
    NameControl: "it has the control character {}", "含有控制字符 {}";
    NameCharacter: "it has the character '{}'; use letters, digits and - _ . ~", "含有字符“{}”；只能用字母、数字和 - _ . ~";
    NameDots: "it may not be . or .. alone", "不能只是 . 或 ..";
    RoomClosed: "The server ended your membership of this room.", "服务器已让您离开此房间";
    RoomRefused: "This room is not open to you.", "您不能进入此房间";
    NameTaken: "The server does not accept this name.", "服务器不接受此名字";

    // The chat: the connection and the messages.
    Joined: "You joined {0} as {1}.", "您以“{1}”加入了 {0}";
    Stopped: "The server ended the connection: {} {}", "服务器结束了连接：{} {}";
    RetryIn: "No connection. The next attempt is in {1} s (attempt {0}); what you send waits here.",
        "连接已断开，{1} 秒后重试（第 {0} 次）；您发送的消息会在此等待";
    Reconnecting: "No connection. Connecting…", "连接已断开，正在重连…";
    Offline: "You are offline. What you send waits here.", "您已离线，发送的消息会在此等待";
    HistoryLost: "The server was restarted without its messages: it does not have those above this line any more.",
        "服务器已重启且未保留消息：此线以上的消息已不在服务器上";
    AwayTooLong: "You were away for longer than the server keeps messages: some are missing here.",
        "您离开的时间超过了服务器保留消息的时间：此处缺少部分消息";
    OneLost: "One of your messages was lost by the server.", "服务器丢失了您的 1 条消息";
    ManyLost: "{} of your messages were lost by the server.", "服务器丢失了您的 {} 条消息";
    NotJoined: "Not sent: join the room first. Your text is kept.", "未发送：请先加入房间，内容已保留";
    OutboxFull: "Not sent: too many messages wait already.", "未发送：等待发送的消息过多";
    TooLarge: "Not sent: {} is too long, the server accepts at most {}.", "未发送：长度 {}，服务器最多接受 {}";
    TooDeep: "Not sent: it is nested too deeply.", "未发送：嵌套过深";
    Expired: "Not sent: there was no connection for too long.", "未发送：断线时间过长";
    Unconfirmed: "Perhaps not sent: the server did not confirm it. Look for it before you send it again.",
        "可能未发送：服务器未确认，重新发送前请先查看";
    MessageRefused: "Not sent: the server refused it.", "未发送：服务器拒绝了此消息";
    MessageRefusedAs: "Not sent. {}", "未发送：{}";
    NotSentLeft: "Not sent: you left before it was.", "未发送：您已先离开";
    OneUnread: "1 new message", "1 条新消息";
    ManyUnread: "{} new messages", "{} 条新消息";
    JoinRoom: "Join #{}", "加入 #{}";
    OpenRoom: "Open #{}", "打开 #{}";
    MessageTo: "Message #{}", "发消息到 #{}";

    // The chat: people.
    UserListOne: "{}", "{} ";
    UserListTwo: "{} and {}", "{}、{} ";
    UserListThree: "{}, {} and {}", "{}、{}、{} ";
    UserListFour: "{}, {}, {} and 1 other", "{}、{}、{} 等 4 人";
    // The users besides the three in English, and all of them in Chinese.
    UserListMany: "{0}, {1}, {2} and {3} others", "{0}、{1}、{2} 等 {4} 人";
    OneTyping: "{} is typing…", "{}正在输入…";
    ManyTyping: "{} are typing…", "{}正在输入…";
    UsersJoined: "{} joined", "{}加入了房间";
    UsersLeft: "{} left", "{}离开了房间";
    UsersJoinedAndLeft: "{} joined · {} left", "{}加入了房间 · {}离开了房间";
    MoreUsers: "and {} more", "以及另外 {} 人";
    OneUser: "1 person", "1 人";
    Users: "{} people", "{} 人";
    Here: "{} here", "{} 人在线";

    // The chat: refusals, with the server's own text below.
    ServerSays: "{}\nThe server says: {}", "{}\n服务器说明：{}";
    NameForbidden: "it has the character '{}'; brackets, control characters and invisible characters are not allowed",
        "含有字符“{}”；不能使用方括号、控制字符和不可见字符";
    RefusedName: "The server does not allow this room name.", "服务器不允许此房间名";
    RefusedForbidden: "You may not do this in this room.", "您没有在此房间进行此操作的权限";
    RefusedTooMany: "You are in as many rooms as the server allows. Leave one first.", "您加入的房间数已达上限，请先离开一个房间";
    RefusedFull: "The room is full.", "房间人数已满";
    RefusedLarge: "It is longer than the server allows.", "内容超过服务器允许的长度";
    RefusedDeep: "It is nested more deeply than the server allows.", "嵌套层数超过服务器允许的上限";
    RefusedBusy: "The server is busy. Try again later.", "服务器繁忙，请稍后再试";
    RefusedUnavailable: "The server cannot reach its messages now. Try again later.", "服务器暂时无法访问消息，请稍后再试";

    // The workbench: the bound of the log, and what is saved.
    RowsFull: "The log has {} rows, which is all that it keeps: the oldest are dropped. Export or clear it to lose none.",
        "日志已达上限 {} 行，最早的记录正被丢弃。如需保留，请导出或清空日志";
    BytesFull: "The logs of all connections have {}, which is all that they may have: the oldest rows of the largest one, which is this, are dropped. Export or clear a log to lose none.",
        "所有连接的日志共 {}，已达上限；此日志最大，其最早的记录正被丢弃。如需保留，请导出或清空日志";
    NoName: "Give it a name.", "请输入名称";
    NoMessage: "There is no message to save.", "没有可保存的消息";
    SavedAs: "Saved as {}.", "已保存为“{}”";
    DeletedOne: "{} is deleted.", "已删除“{}”";
    DeletedMany: "{} are deleted.", "已删除 {} 项";
    NothingNew: "Nothing new is in the file.", "文件中没有新内容";
    Imported: "{} imported.", "已导入 {} 项";
    SavedFull: "Not saved: at most 500 with 1 MiB together are kept. Delete some first.", "未保存：最多保存 500 项，共 1 MiB，请先删除一些";
    StorageFull: "Not saved: the browser's storage is full or forbidden. Delete some, or allow this page to store data.",
        "未保存：浏览器存储已满或被禁用，请删除一些内容或允许本页面存储数据";
    ImportUnreadable: "The browser cannot read this file as text. Choose a file that was exported here.",
        "浏览器无法以文本读取此文件，请选择从这里导出的文件";
    ImportTooLarge: "The file is {}; at most 2 MiB are read. Choose a file that was exported here.",
        "文件大小为 {}，最多读取 2 MiB，请选择从这里导出的文件";
    ImportNotJson: "The file is not JSON: line {}, column {}. Choose a file that was exported here.",
        "文件不是有效的 JSON：第 {} 行第 {} 列，请选择从这里导出的文件";
    ImportForeign: "The file has JSON, but not of this page. Choose a file that was exported here.",
        "文件是 JSON，但不是由本页面导出的，请选择从这里导出的文件";
    ImportNewer: "The file is of a newer version of this page. Load the page again, then import it.",
        "文件来自本页面的更新版本，请刷新页面后再导入";
    BadPadding: "The padding is wrong: = only fills up the last group of four.", "填充有误：= 只能补足最后一组四个字符";
    DraftNotKept: "{} · too long to be kept over a reload", "{} · 过长，刷新后不会保留";
    NotLaidOut: "JSON of more than 256 KiB, 200 levels or 100,000 lines is shown as it came", "超过 256 KiB、200 层或 100,000 行的 JSON 按原文显示";
    EmptyMessage: "empty", "空";
    RemoveAddress: "Remove this address (Delete)", "移除此地址（Delete）";
    NoPage: "There is nothing at {}. This is the workbench. Go to:", "{} 处没有内容，此处显示调试台。前往：";
    ReopenTab: "Undo close", "撤销关闭";
    TabsFull: "There are 8 connections, which is the most", "最多同时有 8 个连接";
    HttpForeign: "Not sent over HTTP: the page's security policy allows requests to its own server alone, {}. Send it over the WebSocket.",
        "未用 HTTP 发送：本页面的安全策略只允许向自身服务器 {} 发送请求，请改用 WebSocket 发送";
    ImportMissing: "In the file, number {1} of {0} has no text {2}. Correct it there, then import it again.",
        "文件中 {0} 的第 {1} 项缺少文本 {2}，请修改后重新导入";
    MovedTo: "Moved to {}.", "已移到“{}”";
    MovedOut: "Moved out of the collections.", "已移出分组";

    // The workbench: refusals and closes by their cause.
    NotSentIdle: "Not sent: you are not connected. Your text is kept.", "未发送：当前未连接，内容已保留";
    NotSentWaiting: "Not sent: the connection ended, and the page connects again. Your text is kept.", "未发送：连接已断开，正在等待重连，内容已保留";
    SubprotocolsTooLong: "Subprotocol '{}' is too much: all names together may have {} bytes.", "子协议“{}”过长：所有名称合计最多 {} 字节";
    NotClean: "{} The close was not clean.", "{}（未正常完成关闭）";
    NumberedAttempt: "{} (attempt {})", "{}（第 {} 次）";
}

impl Text {
    /// The sentence with these values in its places.
    pub(crate) fn with<const N: usize>(self, values: [Sentence; N]) -> Sentence {
        Sentence::Filled(self, values.into())
    }
}

impl Sentence {
    /// One sentence for a count of one, and one with the count in its place for any other.
    pub(crate) fn counted(count: usize, one: Text, many: Text) -> Self {
        match count {
            1 => one.into(),
            count => many.with([Self::thousands(count as u64)]),
        }
    }

    /// A number with separators.
    pub(crate) fn thousands(number: u64) -> Self {
        Self::Same(format::thousands(number))
    }

    /// A size in bytes.
    pub(crate) fn size(bytes: u64) -> Self {
        Self::Same(format::size(bytes))
    }

    pub(crate) fn in_language(&self, language: Language) -> String {
        let mut text = String::new();
        self.write(language, &mut text);
        text
    }

    fn write(&self, language: Language, text: &mut String) {
        match self {
            Self::Same(words) => text.push_str(words),
            Self::Filled(template, values) => {
                for (index, part) in template.in_language(language).split('{').enumerate() {
                    // The text before the first place.
                    let Some(next) = index.checked_sub(1) else {
                        text.push_str(part);
                        continue;
                    };
                    let (place, words) = part.split_once('}').unwrap_or_default();
                    let place = place.bytes().next().map_or(next, |digit| usize::from(digit - b'0'));
                    if let Some(value) = values.get(place) {
                        value.write(language, text);
                    }
                    text.push_str(words);
                }
            }
        }
    }
}

impl From<Text> for Sentence {
    fn from(text: Text) -> Self {
        text.with([])
    }
}

impl From<String> for Sentence {
    fn from(words: String) -> Self {
        Self::Same(words)
    }
}

impl From<&str> for Sentence {
    fn from(words: &str) -> Self {
        Self::Same(words.to_owned())
    }
}

/// A number without separators.
impl From<u64> for Sentence {
    fn from(number: u64) -> Self {
        Self::Same(number.to_string())
    }
}

impl From<usize> for Sentence {
    fn from(number: usize) -> Self {
        (number as u64).into()
    }
}

impl From<u32> for Sentence {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The places of a text, in their order.
    fn places(text: &str) -> Vec<usize> {
        let parts = text.split('{').skip(1).enumerate();
        let place = |(index, part): (usize, &str)| match part.split_once('}').expect("a place ends").0 {
            "" => index,
            place => place.parse().expect("a place has a number"),
        };
        parts.map(place).collect()
    }

    #[test]
    fn every_value_has_its_place_in_both_languages() {
        for &text in Text::SENTENCES {
            let [english, chinese] = Language::ALL.map(|language| {
                let places = places(text.in_language(language));
                let set: BTreeSet<_> = places.iter().copied().collect();
                assert_eq!(set.len(), places.len(), "{text:?}: each value once");
                set
            });
            if text != Text::UserListMany {
                assert_eq!(english, chinese, "{text:?}");
                assert!(english.iter().copied().eq(0..english.len()), "{text:?}");
            }
        }
    }

    #[test]
    fn values_are_written_in_the_order_of_the_language_and_not_read_as_places() {
        let sentence = Text::Joined.with(["{1}".into(), Text::Opened.into()]);
        assert_eq!(
            Language::ALL.map(|language| sentence.in_language(language)),
            ["You joined {1} as Connected..", "您以“已连接”加入了 {1}"]
        );
    }

    #[test]
    fn a_count_of_one_has_a_sentence_of_its_own() {
        let counted = |count| Sentence::counted(count, Text::OneItem, Text::Items).in_language(Language::English);
        assert_eq!([0, 1, 2_000].map(counted), ["0 items", "1 item", "2,000 items"]);
    }
}
