//! The meaning of each close code, in every language. The codes are those of `talkback_client::close`.

use talkback_client::close as code;

use super::Text;

/// One short phrase about a close code; unknown codes are placed in the range of
/// [RFC 6455, section 7.4.2](https://www.rfc-editor.org/rfc/rfc6455#section-7.4.2) they belong to.
pub(crate) fn close_meaning(close_code: u16) -> Text {
    Text(match close_code {
        code::NORMAL => &["Normal closure", "正常关闭"],
        code::GOING_AWAY => &[
            "Going away: the server stops or the page is left",
            "离开：服务器停止或页面关闭",
        ],
        code::PROTOCOL_ERROR => &["Protocol error: a frame broke the rules", "协议错误：收到不合规的帧"],
        code::UNSUPPORTED_DATA => &["Unsupported kind of data", "不支持的数据类型"],
        code::NO_STATUS => &["Closed normally, no code given", "已正常关闭，未带状态码"],
        code::ABNORMAL => &["No close message was received", "未收到关闭消息"],
        code::INVALID_PAYLOAD => &["A text message was not valid UTF-8", "文本消息不是有效的 UTF-8"],
        code::POLICY_VIOLATION => &["Refused by a rule of the server", "违反服务器规则"],
        code::MESSAGE_TOO_BIG => &["A message was over the size limit", "消息超过大小限制"],
        code::MANDATORY_EXTENSION => &["The server lacks a required extension", "服务器缺少必需的扩展"],
        code::INTERNAL_ERROR => &["The server met an internal error", "服务器内部错误"],
        code::SERVICE_RESTART => &["The server restarts: connect again", "服务器重启：请重新连接"],
        code::TRY_AGAIN_LATER => &["The server is overloaded: try again later", "服务器过载：请稍后再试"],
        code::BAD_GATEWAY => &["The gateway got no valid answer", "网关未得到有效响应"],
        code::TLS_HANDSHAKE => &["The TLS handshake failed", "TLS 握手失败"],
        code::BAD_LINE => &["Talkback: malformed line", "Talkback：协议行格式错误"],
        code::UNAUTHORIZED => &["Talkback: token missing or expired", "Talkback：令牌缺失或过期"],
        code::FORBIDDEN => &["Talkback: not allowed", "Talkback：没有权限"],
        code::NO_SUCH_ROOM => &["Talkback: no such room", "Talkback：房间不存在"],
        code::HEARTBEAT_LOST => &["Talkback: heartbeat lost", "Talkback：心跳丢失"],
        code::TOO_SLOW => &[
            "Talkback: messages were not taken fast enough",
            "Talkback：接收消息过慢",
        ],
        code::WRONG_VERSION => &[
            "Talkback: versions do not match, reload the page",
            "Talkback：版本不一致，请刷新页面",
        ],
        code::TOO_MANY => &[
            "Talkback: a rate or count limit was reached",
            "Talkback：超出频率或数量限制",
        ],
        3000..=3999 => &["A code registered by a library or framework", "由库或框架注册的代码"],
        4000..=4999 => &["A code of the application's own", "应用自定义代码"],
        _ => &["A reserved code without a meaning", "未定义的保留代码"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::Language;

    #[test]
    fn every_code_of_the_protocol_has_a_meaning_of_its_own() {
        let codes = [
            code::NORMAL,
            code::GOING_AWAY,
            code::PROTOCOL_ERROR,
            code::UNSUPPORTED_DATA,
            code::NO_STATUS,
            code::ABNORMAL,
            code::INVALID_PAYLOAD,
            code::POLICY_VIOLATION,
            code::MESSAGE_TOO_BIG,
            code::MANDATORY_EXTENSION,
            code::INTERNAL_ERROR,
            code::SERVICE_RESTART,
            code::TRY_AGAIN_LATER,
            code::BAD_GATEWAY,
            code::TLS_HANDSHAKE,
            code::BAD_LINE,
            code::UNAUTHORIZED,
            code::FORBIDDEN,
            code::NO_SUCH_ROOM,
            code::HEARTBEAT_LOST,
            code::TOO_SLOW,
            code::WRONG_VERSION,
            code::TOO_MANY,
        ];
        for language in Language::ALL {
            let mut meanings: Vec<_> = codes.iter().map(|&c| close_meaning(c).in_language(language)).collect();
            meanings.extend([3999, 4999, 1004].map(|c| close_meaning(c).in_language(language)));
            let distinct: std::collections::BTreeSet<_> = meanings.iter().collect();
            assert_eq!(distinct.len(), meanings.len(), "{language:?}: {meanings:?}");
        }
    }
}
