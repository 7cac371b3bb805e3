//! Why a connection was refused before it began, or a message not sent, as a sentence for the user.

use talkback_client::{ConnectError, ReadyState, SendErrorKind};

use super::Phase;
use crate::i18n::{Sentence, Text};

pub(crate) fn explain(error: &ConnectError) -> Sentence {
    match error {
        ConnectError::Unsupported => Text::Unsupported.into(),
        ConnectError::InvalidUrl { url, .. } => bad_url(url),
        ConnectError::Fragment { .. } => Text::UrlFragment.into(),
        ConnectError::Subprotocol { name, .. } => Text::BadSubprotocol.with([name.as_str().into()]),
        ConnectError::MixedContent { .. } => Text::MixedContent.into(),
        ConnectError::Refused { reason } => Text::RefusedByBrowser.with([reason.as_str().into()]),
        // `Socket::new` returns no other error.
        _ => Text::Unsupported.into(),
    }
}

/// The sentence about an invalid address.
pub(crate) fn bad_url(url: &str) -> Sentence {
    let url = url.trim();
    match url.split_once(':') {
        _ if url.is_empty() => Text::UrlEmpty.into(),
        Some((scheme, _))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
                && !["ws", "wss", "http", "https"]
                    .iter()
                    .any(|known| scheme.eq_ignore_ascii_case(known)) =>
        {
            Text::UrlScheme.with([scheme.into()])
        }
        _ => Text::UrlUnreadable.into(),
    }
}

/// The sentence about a message that was not sent because the connection is in this state.
pub(crate) fn not_sent(phase: &Phase) -> Sentence {
    match phase {
        Phase::Idle => Text::NotSentIdle.into(),
        Phase::Waiting { .. } => Text::NotSentWaiting.into(),
        phase => not_sent_in(phase.ready_state()),
    }
}

/// Whether a sentence says that a message was not sent because of the connection's state.
pub(crate) fn is_not_sent(sentence: &Sentence) -> bool {
    const ALL: [Text; 5] = [
        Text::NotSentIdle,
        Text::NotSentWaiting,
        Text::NotSentConnecting,
        Text::NotSentClosing,
        Text::NotSentClosed,
    ];
    ALL.into_iter().any(|text| Sentence::from(text) == *sentence)
}

/// The same sentence by the state that the socket reports.
pub(super) fn not_sent_in(state: ReadyState) -> Sentence {
    let text = match state {
        ReadyState::Connecting => Text::NotSentConnecting,
        ReadyState::Closing => Text::NotSentClosing,
        // An open connection sends.
        ReadyState::Closed | ReadyState::Open => Text::NotSentClosed,
    };
    text.into()
}

/// The sentence about a message that the socket did not take.
pub(super) fn explain_unsent(error: &SendErrorKind) -> Sentence {
    match error {
        SendErrorKind::NotOpen(state) => not_sent_in(*state),
        SendErrorKind::Full { buffered, .. } => Text::BufferFull.with([Sentence::size((*buffered).into())]),
        SendErrorKind::Rejected(reason) => Text::RefusedByBrowser.with([reason.as_str().into()]),
        // Only the sink reports other kinds; `send` reports the end of the connection as NotOpen.
        _ => not_sent_in(ReadyState::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::End, i18n::Language};

    #[test]
    fn an_invalid_address_has_its_problem() {
        assert_eq!(bad_url("  "), Text::UrlEmpty.into());
        assert_eq!(bad_url("ftp://host/"), Text::UrlScheme.with(["ftp".into()]));
        assert_eq!(bad_url("ws://host:99999/"), Text::UrlUnreadable.into());
        assert_eq!(bad_url("http://:80"), Text::UrlUnreadable.into());
        assert_eq!(bad_url("[::1]:80"), Text::UrlUnreadable.into());
    }

    #[test]
    fn what_the_browser_refuses_has_a_sentence_of_each_language() {
        let both = |error: &ConnectError| Language::ALL.map(|language| explain(error).in_language(language));
        let url = "ws://host/".to_owned();
        assert_eq!(
            both(&ConnectError::MixedContent { url }),
            [
                "This https page may not open ws://. Use wss://, or open this tool over http.",
                "https 页面不能连接 ws://，请改用 wss:// 或以 http 打开本工具"
            ]
        );
        assert_eq!(
            both(&ConnectError::Unsupported),
            [
                "This browser does not support WebSocket.",
                "您的浏览器不支持 WebSocket！"
            ]
        );
        let reason = "no".to_owned();
        assert_eq!(
            both(&ConnectError::Refused { reason }),
            ["The browser refused: no", "浏览器拒绝：no"]
        );
    }

    #[test]
    fn an_unsent_message_names_the_state_and_says_that_the_text_is_kept() {
        assert_eq!(
            Language::ALL.map(|language| not_sent(&Phase::Closed(End::Cancelled)).in_language(language)),
            [
                "Not sent: you are not connected. Your text is kept.",
                "未发送：当前已关闭，内容已保留"
            ]
        );
        let waiting = Phase::Waiting {
            until: 0.0,
            end: End::Cancelled,
        };
        let texts = [Phase::Idle, waiting].map(|phase| not_sent(&phase));
        assert_eq!(texts, [Text::NotSentIdle.into(), Text::NotSentWaiting.into()]);
        assert!(texts.iter().all(is_not_sent) && !is_not_sent(&Text::NoFile.into()));
    }
}
