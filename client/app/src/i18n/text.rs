//! The fixed texts of each view, in every language: titles, labels, buttons and hints.

use talkback_client::ReadyState;

use super::Language;

macro_rules! texts {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        /// A text without values; [`Text::in_language`] gives it in a language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Text { $($name),* }

        impl Text {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn in_language(self, language: Language) -> &'static str {
                // In the order of the variants, so that a text is found by its index: half the code of a match.
                const TEXTS: &[(&str, &str)] = &[$(($english, $chinese)),*];
                let (english, chinese) = TEXTS[self as usize];
                match language {
                    Language::English => english,
                    Language::Chinese => chinese,
                }
            }
        }
    };
}

texts! {
    // The header.
    Views: "Views", "视图";
    SkipToContent: "Skip to content", "跳到内容";
    Workbench: "Workbench", "调试台";
    Chat: "Chat", "聊天";
    Language: "Language", "语言";
    Theme: "Theme", "主题";
    ThemeSystem: "System", "跟随系统";
    ThemeLight: "Light", "浅色";
    ThemeDark: "Dark", "深色";

    // The workbench: connection.
    Connection: "Connection", "连接";
    Url: "URL", "地址";
    Subprotocols: "Subprotocols", "子协议";
    SubprotocolsHint: "optional, separated by commas", "可选，以逗号分隔";
    Connect: "Connect", "连接";
    Cancel: "Cancel", "取消";
    Disconnect: "Disconnect", "断开";
    CloseCode: "Close code", "关闭码";
    CloseReason: "Reason", "原因";
    Protocol: "Subprotocol", "子协议";
    Extensions: "Extensions", "扩展";
    Buffered: "Buffered", "待发送";
    LastClose: "Closed", "关闭信息";
    NoneChosen: "none", "无";
    StateIdle: "Not connected", "未连接";
    StateConnecting: "Connecting", "连接中";
    StateOpen: "Open", "已连接";
    StateClosing: "Closing", "关闭中";
    StateClosed: "Closed", "已关闭";
    StillConnecting: "No answer yet. The server may be unreachable; you can cancel.", "尚无响应。服务器可能无法访问，可以取消。";
    StillClosing: "Waiting a moment for the server's close frame.", "正在稍候服务器的关闭帧。";

    // The workbench: composer.
    Message: "Message", "消息";
    Send: "Send", "发送";
    SendHttp: "Send over HTTP", "用 HTTP 发送";
    SendHint: "Ctrl+Enter sends. Over HTTP, the server's /echo answers.", "Ctrl+Enter 发送。用 HTTP 发送时由服务器的 /echo 回答。";

    // The workbench: log.
    Messages: "Messages", "消息";
    LogEmpty: "Nothing yet. Connect and send a message.", "暂无消息。连接后发送一条试试。";
    Follow: "Follow", "跟随";
    Clear: "Clear", "清空";
    UndoClear: "Undo clear", "撤销清空";
    Sent: "sent", "发出";
    Received: "received", "收到";
    Information: "information", "信息";
    Binary: "binary", "二进制";
    Details: "Message details", "消息详情";
    Copy: "Copy", "复制";
    Copied: "Copied", "已复制";
    CopyFailed: "Select and press Ctrl+C", "请选中后按 Ctrl+C";
    CloseDetails: "Close", "关闭";
    ListKeys: "Arrow keys, Page Up, Page Down, Home and End move; C copies; Escape closes the details.",
        "方向键、Page Up、Page Down、Home、End 移动；C 复制；Esc 关闭详情。";

    // The chat.
    Room: "Room", "房间";
    OtherRoom: "Go to room", "前往房间";
    Go: "Go", "前往";
    Name: "Your name", "你的名字";
    Join: "Join", "加入";
    Leave: "Leave", "离开";
    Guest: "Guest", "访客";
    You: "you", "你";
    ChatEmpty: "No messages yet.", "还没有消息。";
    ChatNotJoined: "Join the room to read and write.", "加入房间后即可收发消息。";
    People: "People", "成员";
    Today: "Today", "今天";
    Yesterday: "Yesterday", "昨天";
    UnreadBelow: "New", "新消息";
    UnreadMessages: " unread", " 条未读";
    LoadOlder: "Load older messages", "加载更早的消息";
    LoadingOlder: "Loading older messages…", "正在加载更早的消息…";
    OlderFailed: "Older messages did not come. Try again", "更早的消息加载失败，重试";
    Beginning: "This is the beginning of the room.", "房间从这里开始。";
    NotKept: "The server keeps nothing older.", "服务器未保留更早的消息。";
    PageFull: "The page shows no more at once. Go to the newest messages and scroll up again.",
        "页面已达显示上限，请回到最新消息后再向上滚动。";
    DeliveryQueued: "Waiting to be sent", "等待发送";
    DeliveryWritten: "Sending…", "发送中…";
    DeliveryAcked: "Delivered", "已送达";
    Retry: "Send again", "重新发送";
    Discard: "Discard", "丢弃";
    StateOut: "Not joined", "未加入";
    StateIn: "Connected", "已连接";
    StateWaiting: "Reconnecting", "正在重连";
    StateOffline: "Offline", "离线";
    ToNewest: "Newest", "最新消息";
    ReconnectNow: "Connect now", "立即重连";
    ChatHint: "Enter sends, Shift+Enter starts a new line.", "Enter 发送，Shift+Enter 换行。";
}

impl Text {
    /// The label of a state.
    pub(crate) fn of_state(state: ReadyState) -> Self {
        match state {
            ReadyState::Connecting => Self::StateConnecting,
            ReadyState::Open => Self::StateOpen,
            ReadyState::Closing => Self::StateClosing,
            ReadyState::Closed => Self::StateClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_exists_in_both_languages() {
        let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        for &text in Text::ALL {
            let english = text.in_language(Language::English);
            let chinese = text.in_language(Language::Chinese);
            assert!(
                !english.is_empty() && !english.chars().any(is_han),
                "{text:?}: {english}"
            );
            assert!(chinese.chars().any(is_han), "{text:?}: {chinese}");
        }
    }
}
