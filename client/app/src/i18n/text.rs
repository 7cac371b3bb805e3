//! The fixed texts of each view, in every language: titles, labels, buttons and hints.

use talkback_client::ReadyState;

use super::Language;

/// A text in every language, in the order of [`Language`]; [`Text::in_language`] gives it in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(super) &'static [&'static str; Language::ALL.len()]);

/// Texts as constants of [`Text`], so that each binary has those only that it shows, and for tests the list of them.
macro_rules! texts {
    ($all:ident: $($name:ident: $english:literal, $chinese:literal;)*) => {
        #[expect(non_upper_case_globals, reason = "a text is named like the variant of an enum")]
        impl Text {
            $(pub(crate) const $name: Self = Self(&[$english, $chinese]);)*

            #[cfg(test)]
            pub(super) const $all: &[Self] = &[$(Self::$name),*];
        }
    };
}
pub(super) use texts;

texts! {
    LABELS:

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

    Help: "Help", "帮助";
    Keys: "Keys", "快捷键";
    KeyHelp: "This help", "显示本帮助";
    KeySend: "Send the message", "发送消息";
    KeyConnect: "Connect or disconnect", "连接或断开";
    KeyHistory: "Bring back a sent message", "找回已发送的消息";
    KeyAddress: "Go to the address", "跳到地址栏";
    KeyFilter: "Go to the filter", "跳到筛选框";
    KeyList: "Move in the log", "在日志中移动";
    KeyCopy: "Copy the selected message", "复制选中的消息";
    KeyDetails: "To the details of the message", "进入消息详情";
    KeyWidth: "Width of the details, at their edge", "在详情边缘：调整宽度";
    KeyForget: "In the addresses: forget the chosen one", "在地址列表中：移除选中的地址";
    KeyChip: "In the subprotocols: add one, or remove the last", "在子协议中：添加，或移除最后一个";
    KeyMac: "On a Mac, ⌘ does the same as Ctrl.", "在 Mac 上，⌘ 与 Ctrl 作用相同。";
    KeyChatSend: "Send", "发送";
    KeyChatLine: "New line", "换行";
    Remembered: "Remembered in this browser", "保存在此浏览器中的内容";
    RememberedHint: "Addresses, connections and their settings, snippets, drafts, rooms with what you read in them, your name, language, theme, notifications and sound, and messages that are not sent. None of it is sent anywhere else.",
        "地址、连接及其设置、常用消息、草稿、房间及其中读过的消息、名字、语言、主题、通知和提示音，以及尚未发送的消息；不会发送到其他地方。";
    Forget: "Forget all of it…", "全部清除…";
    ForgetNow: "Forget now and reload", "立即清除并刷新";

    // The workbench: connection.
    Connection: "Connection", "连接";
    Url: "URL", "地址";
    Subprotocols: "Subprotocols", "子协议";
    SubprotocolsHint: "Enter or a comma adds one", "按回车或逗号添加";
    Connect: "Connect", "连接";
    Cancel: "Cancel", "取消";
    Disconnect: "Disconnect", "断开";
    CloseCode: "Close code", "状态码";
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
    StillClosing: "Waiting a moment for the server's close frame.", "正在等待服务器的关闭帧…";

    // The workbench: composer.
    Message: "Message", "消息";
    Send: "Send", "发送";
    SendHttp: "Over HTTP", "用 HTTP 发送";
    SendHint: "Ctrl+Enter sends.", "Ctrl+Enter 发送。";

    SendHttpHint: "Sends the text as a GET request, which the server's /echo answers", "以 GET 请求发送文本，由服务器的 /echo 回答";
    ConnectionOptions: "Connection options", "连接选项";
    StateFailed: "Failed", "连接失败";
    StateLost: "Lost", "已断线";
    Rate: "Messages per second", "每秒消息数";
    PerSecond: "msg/s", "条/秒";
    Mode: "Kind of message", "消息类型";
    ModeFile: "File", "文件";
    ChooseFile: "File to send", "要发送的文件";
    DropFile: "or drop a file here", "或将文件拖到此处";
    Upload: "Sent of the file", "文件发送进度";
    FormatJson: "Format", "格式化";
    Repeat: "Repeat", "重复";
    RepeatCount: "Messages", "条数";
    RepeatCountHint: "empty: until stopped", "留空则一直发送";
    RepeatInterval: "Interval (ms)", "间隔（毫秒）";
    RepeatHint: "{{seq}}, {{ts}} and {{uuid}} in the message are replaced each time.", "消息中的 {{seq}}、{{ts}}、{{uuid}} 每次都会替换。";
    RepeatStart: "Start", "开始";
    Connections: "Connections", "连接列表";
    NewTab: "New connection", "新建连接";
    CloseTab: "Close this connection", "关闭此连接";
    ShareAddress: "Copy a link to this address, without secrets", "复制此地址的链接（不含密钥）";
    LinkCopied: "Link copied", "链接已复制";
    LinkNotCopied: "The browser does not allow copying", "浏览器不允许复制";
    Addresses: "Addresses", "地址列表";
    ShowAddresses: "Show addresses", "显示地址列表";
    PinAddress: "Pin this address", "收藏此地址";
    KeptAddress: "Pinned", "收藏";
    RecentAddress: "Recent", "最近";
    PresetEcho: "Echo", "回显";
    PresetChat: "Chat", "聊天";
    PresetFlood: "Flood 1,000/s", "每秒 1,000 条";
    PresetOnce: "Closed by server", "由服务器关闭";
    ClosingOptions: "Close code, reason, and whether to connect again", "关闭状态码、原因，以及是否自动重连";
    TemplatesNotLaidOut: "{{seq}} and the like can be laid out within quotes only", "{{seq}} 等只有在引号内才能格式化";
    Reconnect: "Connect again when the connection ends", "连接断开后自动重连";
    RoundTripHint: "Round-trip time of sent texts that come back unchanged: half take at most p50, 95 of 100 at most p95",
        "发出的文本原样返回所用的时间：一半不超过 p50，95% 不超过 p95";

    // The workbench: log.
    Messages: "Messages", "消息";
    LogEmpty: "Nothing yet. Connect and send a message.", "暂无消息。连接后发送一条试试。";
    LogCleared: "Nothing since the log was cleared.", "清空后暂无消息。";
    Follow: "Follow", "自动滚动";
    Clear: "Clear", "清空";
    UndoClear: "Undo clear", "撤销清空";
    Sent: "sent", "发出";
    Received: "received", "收到";
    Information: "information", "信息";
    Details: "Message details", "消息详情";
    Copy: "Copy", "复制";
    Copied: "Copied", "已复制";
    CopyFailed: "Select and press Ctrl+C", "请选中后按 Ctrl+C";
    CloseDetails: "Close", "关闭";
    ListKeys: "Arrow keys, Page Up, Page Down, Home and End move; Enter goes to the details; C copies; Escape closes the details.",
        "方向键、Page Up、Page Down、Home、End 移动；Enter 进入详情；C 复制；Esc 关闭详情。";

    FilterLog: "Filter: text or /regex/", "筛选：文本或 /正则/";
    Direction: "Direction", "方向";
    AllDirections: "All", "全部";
    MessageType: "Type", "类型";
    AnyType: "Any", "不限";
    Textual: "Text", "文本";
    TypeBinary: "Binary", "二进制";
    Pause: "Pause", "暂停";
    Resume: "Resume", "继续";
    Export: "Export", "导出";
    ExportAll: "All rows", "全部记录";
    ExportMessages: "All messages", "全部消息";
    ExportFiltered: "Filtered messages", "筛选出的消息";
    TooLongToCopy: "Too long: export a file", "太长，请导出为文件";
    CancelExport: "Cancel export", "取消导出";
    NothingMatches: "No message matches the filter.", "没有符合筛选条件的消息。";
    ClearFilter: "Clear filter", "清除筛选";
    ColumnTime: "Time", "时间";
    ColumnSize: "Size", "大小";
    Presentation: "Presentation", "显示方式";
    Pretty: "Pretty", "美化";
    Raw: "Raw", "原文";
    Hex: "Hex", "十六进制";
    DetailWidth: "Width of the details", "详情宽度";
    SendAgain: "Send again now", "立即再次发送";
    EditAgain: "Edit in composer", "编辑后发送";
    Fold: "Fold or unfold", "折叠或展开";
    MoreLines: "Show more lines", "显示更多行";
    ImageInMessage: "The image in the message", "消息中的图片";

    SavedConnections: "Saved connections", "已保存的连接";
    Snippets: "Snippets", "常用消息";
    SentLately: "Sent recently", "最近发送";
    SavedName: "Name", "名称";
    Collection: "Collection (optional)", "分组（可选）";
    Save: "Save", "保存";
    Rename: "Rename", "重命名";
    Delete: "Delete", "删除";
    Undo: "Undo", "撤销";
    Import: "Import…", "导入…";
    WithSecrets: "with passwords and query values", "包含密码和查询参数的值";
    Remove: "Remove", "移除";
    Negotiated: "negotiated", "已协商";

    // The chat.
    Room: "Room", "房间";
    OtherRoom: "Room name", "房间名";
    Go: "Go", "前往";
    Name: "Your name", "您的名字";
    Join: "Join", "加入";
    Leave: "Leave", "离开";
    Guest: "Guest", "访客";
    You: "(you)", "（您）";
    ChatEmpty: "No messages yet.", "还没有消息。";
    ChatNotJoined: "Others see your name; you can leave at any time.", "其他人会看到您的名字，您可以随时离开。";
    People: "People", "成员";
    Today: "Today", "今天";
    Yesterday: "Yesterday", "昨天";
    UnreadBelow: "New", "新消息";
    UnreadMessages: " unread", " 条未读";
    LoadOlder: "Load older messages", "加载更早的消息";
    LoadingOlder: "Loading older messages…", "正在加载更早的消息…";
    OlderFailed: "Older messages could not be loaded. Try again", "更早的消息加载失败，重试";
    Beginning: "This is the beginning of the room.", "房间从这里开始。";
    NotKept: "The server keeps nothing older.", "服务器未保留更早的消息。";
    LoadNewer: "Load newer messages", "加载更新的消息";
    LoadingNewer: "Loading newer messages…", "正在加载更新的消息…";
    NewerFailed: "Newer messages could not be loaded. Try again", "更新的消息加载失败，重试";
    OlderShown: "Older messages. Go to the newest", "较早的消息，前往最新消息";
    DeliveryQueued: "Waiting to be sent", "等待发送";
    DeliveryWritten: "Sending…", "发送中…";
    DeliveryAcked: "Delivered", "已送达";
    Retry: "Send again", "重新发送";
    Discard: "Discard", "丢弃";
    FailedOut: "Join the room to send it again or to edit it.", "加入房间后可重新发送或编辑。";
    StateOut: "Not joined", "未加入";
    StateIn: "Connected", "已连接";
    StateWaiting: "Reconnecting", "正在重连";
    StateOffline: "Offline", "离线";
    ToNewest: "Newest", "最新消息";
    ReconnectNow: "Connect now", "立即重连";
    ChatHint: "Enter sends, Shift+Enter starts a new line.", "Enter 发送，Shift+Enter 换行。";

    Rooms: "Rooms", "房间";
    AddRoom: "Open another room", "打开其他房间";
    ForgetRoom: "Remove from the list", "从列表中移除";
    NoSuchRoom: "There is no such room", "没有这样的房间";
    GoToLobby: "Go to the lobby", "前往 lobby";
    FindPerson: "Find a person", "查找成员";
    NobodyFound: "Nobody here has a name like this.", "没有名字匹配的成员。";
    MoreFound: "There are more: type more of the name.", "还有更多，请再输入几个字。";
    Edit: "Edit", "编辑";
    KeySends: "send", "发送";
    KeyNewLine: "new line", "换行";
    Search: "Search", "搜索";
    SearchLoaded: "Search the loaded messages", "搜索已加载的消息";
    SearchOlder: "Previous match (Enter)", "上一条（Enter）";
    SearchNewer: "Next match (Shift+Enter)", "下一条（Shift+Enter）";
    NothingFound: "Nothing found", "未找到";
    GoToDay: "Go to a day", "跳到日期";
    MessageNotThere: "The server does not have this message any more.", "服务器上已没有这条消息。";
    CopyMessage: "Copy the text (C)", "复制文本（C）";
    CopyLink: "Copy a link to the message (L)", "复制消息链接（L）";
    SwitchRoom: "Switch to a room (Ctrl+K)", "切换房间（Ctrl+K）";
    Alerts: "Notify me of mentions", "有人提到我时通知";
    AlertsDenied: "The browser does not allow notifications of this page.", "浏览器不允许本页面发送通知。";
    ShowAll: "Show all of it", "展开全文";
    Mute: "Mute", "消息免打扰";
    Unmute: "Unmute", "取消免打扰";
    Mentions: "Messages that mention you", "提到您的消息";
    ShowLess: "Show less", "收起";
    SlowConnection: "Connection is slow", "连接缓慢";
    CheckNow: "Check now", "立即检查";
    Sounds: "Sound for new messages", "新消息提示音";
    KeyMention: "Choose a name after @", "选择 @ 后的名字";
    KeyRoom: "Switch to a room", "切换房间";
    KeyFoundOlder: "In the search: previous match", "搜索时：上一条";
    KeyFoundNewer: "In the search: next match", "搜索时：下一条";
    KeyMessages: "Move in the messages", "在消息中移动";
    KeyCopyLink: "Copy a link to the message", "复制消息链接";
    KeyDismiss: "Close what is open", "关闭打开的面板";
    SearchBeyond: "Load older and search on", "加载更早的消息并继续搜索";
    SearchingOlder: "Searching older messages…", "正在搜索更早的消息…";
    Discarded: "Message discarded.", "消息已丢弃";
    MoveUp: "Move up", "上移";
    MoveDown: "Move down", "下移";
    SayHello: "Say hello", "打个招呼";
    CopyRoomLink: "Copy a link to this room", "复制房间链接";
    MessageDeleted: "This message was deleted", "此消息已被删除";
    LiteralHint: "A backslash before the braces sends them as they are: \\{{ts}}.", "在花括号前加反斜杠可原样发送：\\{{ts}}。";
}

impl Text {
    pub(crate) fn in_language(self, language: Language) -> &'static str {
        self.0[language as usize]
    }

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
        for &text in Text::LABELS.iter().chain(Text::SENTENCES) {
            let english = text.in_language(Language::English);
            let chinese = text.in_language(Language::Chinese);
            assert!(!english.is_empty() && !english.chars().any(is_han), "{text:?}");
            // A text without words, such as a list of names, may be the same.
            let has_words = english.chars().any(char::is_alphabetic);
            assert!(
                !has_words || chinese.chars().any(|c| is_han(c) || c == '、'),
                "{text:?}"
            );
        }
    }
}
