//! The workbench's sentences that depend on more than their values. Pure.

use talkback_client::close;

use super::{log::Bound, saved::ImportProblem};
use crate::{
    connection::{CLOSE_LIMIT_MS, CloseInfo, ClosedBy, End},
    format,
    i18n::{Sentence, Text, close_meaning},
};

/// The connection is open.
pub(super) fn opened(protocol: &str) -> Sentence {
    if protocol.is_empty() {
        Text::Opened.into()
    } else {
        Text::OpenedWith.with([protocol.into()])
    }
}

/// How a connection ended that offered these subprotocols.
pub(super) fn ended(end: &End, offered: &[String]) -> Sentence {
    match end {
        End::Cancelled => Text::Cancelled.into(),
        End::NeverOpened(_) if offered.is_empty() => Text::NeverOpened.into(),
        End::NeverOpened(_) => Text::NeverOpenedWith.with([Text::NeverOpened.into(), offered.join(", ").into()]),
        End::Lost { open_ms, .. } => Text::ConnectionLost.with([format::duration(*open_ms)]),
        End::Finished { closed, by, open_ms } => {
            let text = match by {
                ClosedBy::Page => Text::ClosedByPage,
                ClosedBy::Server => Text::ClosedByServer,
            };
            text.with([close_meaning(closed.code).into(), format::duration(*open_ms)])
        }
        End::Forced { open_ms } => {
            Text::ClosedByForce.with([(CLOSE_LIMIT_MS / 1000).into(), format::duration(*open_ms)])
        }
    }
}

/// The close code and reason, if there are any, and how the connection ended.
pub(super) fn closed(end: &End, offered: &[String]) -> Sentence {
    match end.close_info() {
        None => ended(end, offered),
        Some(CloseInfo { code, reason, clean }) => {
            let mut prefix = code.to_string();
            if !reason.is_empty() {
                prefix += &format!(" “{reason}”");
            }
            let sentence = Text::AfterCode.with([prefix.into(), ended(end, offered)]);
            // 1006 says so itself.
            if *clean || *code == close::ABNORMAL {
                sentence
            } else {
                Text::NotClean.with([sentence])
            }
        }
    }
}

/// The label of the button that stops the repetition, with how many messages are left, if there is an end.
pub(super) fn stop_repeat(left: Option<u32>) -> Sentence {
    match left {
        None => Text::StopRepeat.into(),
        Some(left) => Text::StopRepeatLeft.with([Sentence::thousands(left.into())]),
    }
}

/// The label of the button that closes, with the code, which may be empty.
pub(super) fn close_with(code: &str) -> Sentence {
    if code.is_empty() {
        Text::CloseWithoutCode.into()
    } else {
        Text::CloseWith.with([code.into()])
    }
}

/// The number of rows that the log had to drop.
pub(super) fn rows_dropped(rows: u64) -> Sentence {
    match rows {
        1 => Text::RowDropped.into(),
        rows => Text::RowsDropped.with([Sentence::thousands(rows)]),
    }
}

/// How many messages the log has, and how many of them the filter shows.
pub(super) fn message_count(shown: Option<usize>, total: usize) -> Sentence {
    match shown {
        None => Sentence::counted(total, Text::OneMessage, Text::ManyMessages),
        Some(shown) => Text::MessagesOf.with([shown, total].map(|count| Sentence::thousands(count as u64))),
    }
}

/// Why a log drops rows.
pub(super) fn log_full(bound: Bound) -> Sentence {
    match bound {
        Bound::Rows(rows) => Text::RowsFull.with([Sentence::thousands(rows as u64)]),
        Bound::Bytes(bytes) => Text::BytesFull.with([Sentence::size(bytes as u64)]),
    }
}

/// So many items were deleted, of which the first has this name.
pub(super) fn deleted(count: usize, name: &str) -> Sentence {
    match count {
        1 => Text::DeletedOne.with([name.into()]),
        count => Text::DeletedMany.with([count.into()]),
    }
}

/// So many items came with a file.
pub(super) fn imported(count: usize) -> Sentence {
    match count {
        0 => Text::NothingNew.into(),
        count => Text::Imported.with([count.into()]),
    }
}

/// What is wrong with a file, and what to do.
pub(super) fn bad_import(problem: &ImportProblem) -> Sentence {
    match *problem {
        ImportProblem::Unreadable => Text::ImportUnreadable.into(),
        ImportProblem::TooLarge(bytes) => Text::ImportTooLarge.with([Sentence::size(bytes)]),
        ImportProblem::NotJson { line, column } => Text::ImportNotJson.with([line.into(), column.into()]),
        ImportProblem::Foreign => Text::ImportForeign.into(),
        ImportProblem::Newer => Text::ImportNewer.into(),
        ImportProblem::Missing { list, number, field } => {
            Text::ImportMissing.with([list.into(), number.into(), field.into()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::Language;

    fn both(sentence: &Sentence) -> [String; 2] {
        Language::ALL.map(|language| sentence.in_language(language))
    }

    #[test]
    fn a_1006_reads_differently_before_and_after_open() {
        let closed = CloseInfo {
            code: 1006,
            reason: String::new(),
            clean: false,
        };
        let [before, before_zh] = both(&ended(&End::NeverOpened(closed.clone()), &[]));
        assert!(
            before.starts_with("Could not connect. The browser hides the reason."),
            "{before}"
        );
        assert!(before_zh.starts_with("连接失败，浏览器不提供原因。"), "{before_zh}");
        let offered = ["chat.v1", "chat.v2"].map(String::from);
        let [with, with_zh] = both(&super::closed(&End::NeverOpened(closed.clone()), &offered));
        assert!(with.starts_with(&format!("1006 {before}")), "{with}");
        assert!(with_zh.starts_with(&format!("1006 {before_zh}")), "{with_zh}");
        for with in [with, with_zh] {
            assert!(with.contains("chat.v1, chat.v2"), "{with}");
        }
        let lost = End::Lost {
            closed,
            open_ms: 61_500.0,
        };
        let [after, after_zh] = both(&ended(&lost, &offered));
        assert_eq!(after, "Connection lost without a close message after 1 min 1 s.");
        assert_eq!(after_zh, "连接在 1 分 1 秒后异常中断，未收到关闭消息");
    }

    #[test]
    fn a_close_has_the_meaning_of_its_code_and_the_side_that_closed() {
        let end = |by| End::Finished {
            closed: CloseInfo {
                code: 1005,
                reason: String::new(),
                clean: true,
            },
            by,
            open_ms: 3_210.0,
        };
        let [page, page_zh] = both(&ended(&end(ClosedBy::Page), &[]));
        assert_eq!(page, "Closed normally, no code given (by this page, after 3.2 s)");
        assert_eq!(page_zh, "已正常关闭，未带状态码（由本页面关闭，持续 3.2 秒）");
        let [server, _] = both(&closed(&end(ClosedBy::Server), &[]));
        assert!(server.starts_with("1005 Closed normally"), "{server}");
        assert!(server.contains("by the server"), "{server}");
    }

    #[test]
    fn a_reason_is_quoted_after_its_code_and_a_cancelled_connection_has_neither() {
        let info = CloseInfo {
            code: 4000,
            reason: "bye".into(),
            clean: true,
        };
        let end = End::Finished {
            closed: info,
            by: ClosedBy::Server,
            open_ms: 0.0,
        };
        let [english, chinese] = both(&closed(&end, &[]));
        assert_eq!(
            english,
            "4000 “bye” A code of the application's own (by the server, after 0.0 s)"
        );
        assert!(chinese.starts_with("4000 “bye” 应用自定义代码"), "{chinese}");
        assert_eq!(both(&closed(&End::Cancelled, &[]))[0], "Cancelled before it was open.");
    }

    #[test]
    fn a_close_frame_without_a_clean_close_says_so() {
        let end = |clean| End::Finished {
            closed: CloseInfo {
                code: 1001,
                reason: String::new(),
                clean,
            },
            by: ClosedBy::Server,
            open_ms: 0.0,
        };
        let [clean, unclean] = [true, false].map(|clean| both(&closed(&end(clean), &[]))[0].clone());
        assert_eq!(unclean, clean + " The close was not clean.");
    }

    #[test]
    fn a_full_log_says_how_many_rows_it_keeps() {
        let [english, chinese] = both(&log_full(Bound::Rows(100_000)));
        assert!(english.starts_with("The log has 100,000 rows, which is all that it keeps"));
        assert!(chinese.starts_with("日志已达上限 100,000 行"));
    }

    #[test]
    fn the_number_of_dropped_rows_has_separators() {
        assert_eq!(both(&rows_dropped(12_345))[0], "12,345 older rows dropped");
    }
}
