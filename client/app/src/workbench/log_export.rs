//! The log as a file, written a part at a time: JSON lines, or HAR as the developer tools of Chromium write it. Pure.

use std::fmt::Write;

use super::{
    addresses::without_secrets,
    log::Log,
    log_entry::{Content, Direction, LogEntry, Payload},
};
use crate::{format, i18n::Language, rows::Row};

/// What looking at a row costs in bytes, when nothing of it is written.
const SKIPPED_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportFormat {
    /// A JSON object in each line; binary data are in Base64.
    JsonLines,
    /// An entry for each connection with its messages in `_webSocketMessages`, then one for each request over HTTP; the page's notices are left
    /// out.
    Har,
}

impl ExportFormat {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Har => "har",
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::JsonLines => "application/x-ndjson",
            Self::Har => "application/json",
        }
    }
}

/// The rows that the log had when it began, less those that are dropped meanwhile.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) format: ExportFormat,
    /// The numbers of the rows to be written, ascending; none: all.
    only: Option<Vec<u64>>,
    first: u64,
    next: u64,
    last: u64,
    language: Language,
    /// The address and the time of the last connection that began, until its entry is written.
    connection: Option<(String, f64)>,
    entries: usize,
    /// Of the entry that is being written.
    messages: usize,
    in_entry: bool,
    /// The connections are written, and the requests over HTTP are.
    over_http: bool,
    has_begun: bool,
}

impl Export {
    pub(crate) fn new(format: ExportFormat, log: &Log<LogEntry>, only: Option<Vec<u64>>, language: Language) -> Self {
        Self {
            format,
            only,
            first: log.first_number(),
            next: log.first_number(),
            last: log.last_number(),
            language,
            connection: None,
            entries: 0,
            messages: 0,
            in_entry: false,
            over_http: false,
            has_begun: false,
        }
    }

    /// The next part of the file, of about so many bytes or a single row, and whether it is the last one.
    pub(crate) fn step(&mut self, log: &Log<LogEntry>, bytes: usize) -> (String, bool) {
        let mut text = String::new();
        if !std::mem::replace(&mut self.has_begun, true) && self.format == ExportFormat::Har {
            text.push_str(concat!(
                r#"{"log":{"version":"1.2","creator":{"name":"Talkback","version":""#,
                env!("CARGO_PKG_VERSION"),
                r#""},"pages":[],"entries":["#
            ));
        }
        let has_two_rounds = self.format == ExportFormat::Har;
        loop {
            if self.rows(&mut text, log, bytes) {
                return (text, false);
            }
            self.next = self.last + 1;
            if std::mem::take(&mut self.in_entry) {
                text.push_str("]}");
            }
            if !has_two_rounds || std::mem::replace(&mut self.over_http, true) {
                break;
            }
            self.next = self.first;
        }
        if has_two_rounds {
            text.push_str("]}}");
        }
        (text, true)
    }

    /// Writes rows until the text has so many bytes; returns whether there are more.
    fn rows(&mut self, text: &mut String, log: &Log<LogEntry>, bytes: usize) -> bool {
        let mut skipped = 0;
        for row in log.after(self.next.max(log.first_number()) - 1) {
            if row.number > self.last {
                break;
            }
            if text.len() + skipped >= bytes {
                return true;
            }
            self.next = row.number + 1;
            skipped += SKIPPED_BYTES;
            let is_wanted = self
                .only
                .as_ref()
                .is_none_or(|only| only.binary_search(&row.number).is_ok());
            match self.format {
                ExportFormat::JsonLines if is_wanted => push_json_line(text, row, self.language),
                ExportFormat::JsonLines => {}
                ExportFormat::Har if self.over_http => self.har_answer(text, row, is_wanted),
                ExportFormat::Har => self.har(text, row, is_wanted),
            }
        }
        false
    }

    /// How much is written, in percent.
    pub(crate) fn percent(&self) -> u64 {
        let all = (self.last + 1).saturating_sub(self.first).max(1);
        let written = self.next.saturating_sub(self.first);
        match (self.format, self.over_http) {
            (ExportFormat::JsonLines, _) => written * 100 / all,
            (ExportFormat::Har, false) => written * 50 / all,
            (ExportFormat::Har, true) => 50 + written * 50 / all,
        }
    }

    /// Begins an entry of a HAR file.
    fn entry(&mut self, text: &mut String, fields: &str, at: f64, ms: u64, url: &str) {
        text.push_str(if self.entries > 0 { ",\n" } else { "\n" });
        self.entries += 1;
        // Writing to a String cannot fail, here and below.
        let _: std::fmt::Result = write!(
            text,
            r#"{{{fields}"startedDateTime":"{}","time":{ms},"request":{{"method":"GET","url":"#,
            iso_time(at)
        );
        push_json_string(text, url);
        text.push_str(
            r#","httpVersion":"HTTP/1.1","headers":[],"queryString":[],"cookies":[],"headersSize":-1,"bodySize":0},"cache":{},"response":{"httpVersion":"HTTP/1.1","headers":[],"cookies":[],"redirectURL":"","headersSize":-1,"bodySize":-1,"status":"#,
        );
    }

    /// A whole entry of a request over HTTP, with its answer or why there is none.
    fn har_answer(&mut self, text: &mut String, row: &Row<LogEntry>, is_wanted: bool) {
        let (answer, data, problem) = match &row.content {
            _ if !is_wanted => return,
            LogEntry::Received(Payload::Http {
                answer: Some(answer),
                text,
            }) => (answer, text.as_str(), None),
            LogEntry::Unanswered(answer, problem) => (answer, "", Some(problem)),
            _ => return,
        };
        let ms = milliseconds(row.at - answer.asked_at);
        // The browser tells the page no more than when the whole answer was there.
        self.entry(text, "", answer.asked_at, ms, &answer.url);
        let _: std::fmt::Result = write!(text, r#"{},"statusText":"","#, answer.status);
        if let Some(problem) = problem {
            text.push_str(r#""_error":"#);
            push_json_string(text, &problem.in_language(self.language));
            text.push(',');
        }
        let _: std::fmt::Result = write!(
            text,
            r#""content":{{"size":{},"mimeType":"text/plain","text":"#,
            data.len()
        );
        push_json_string(text, data);
        let _: std::fmt::Result = write!(text, r#"}}}},"timings":{{"send":0,"wait":{ms},"receive":0}}}}"#);
    }

    fn har(&mut self, text: &mut String, row: &Row<LogEntry>, is_wanted: bool) {
        if let LogEntry::Opening(url) = &row.content {
            self.connection = Some((without_secrets(url), row.at));
            if std::mem::take(&mut self.in_entry) {
                text.push_str("]}");
            }
        }
        let opcode = match row.content.payload() {
            Some(Payload::Text(_)) if is_wanted => 1,
            Some(Payload::Binary(_)) if is_wanted => 2,
            _ => return,
        };
        if !self.in_entry {
            // Where the begin of the connection is no longer in the log, its address is unknown.
            let (url, at) = self
                .connection
                .take()
                .unwrap_or_else(|| ("ws://unknown.invalid/".into(), row.at));
            self.entry(text, r#""_resourceType":"websocket","#, at, 0, &url);
            text.push_str(
                r#"101,"statusText":"Switching Protocols","content":{"size":0,"mimeType":"x-unknown"}},"timings":{"send":0,"wait":0,"receive":0},"_webSocketMessages":["#,
            );
            self.messages = 0;
            self.in_entry = true;
        }
        text.push_str(if self.messages == 0 { "\n" } else { ",\n" });
        self.messages += 1;
        let kind = if row.content.direction() == Direction::Sent {
            "send"
        } else {
            "receive"
        };
        let ms = milliseconds(row.at);
        let (seconds, rest) = (ms / 1000, ms % 1000);
        let _: std::fmt::Result = write!(
            text,
            r#"{{"type":"{kind}","time":{seconds}.{rest:03},"opcode":{opcode},"data":"#
        );
        push_data(text, &row.content, self.language);
        text.push('}');
    }
}

/// The time in UTC as ECMAScript writes it: `2026-11-22T07:12:00.123Z`.
pub(crate) fn iso_time(at: f64) -> String {
    let ms = milliseconds(at);
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // The calendar has the same 146,097 days in each 400 years; counted from 1 March, the leap day is the last one of a year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + u64::from(month >= 10), (month + 2) % 12 + 1);
    let (hour, minute, second, ms) = (
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000,
    );
    format!("{year}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn milliseconds(at: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are after 1970 and far below 2^53"
    )]
    let ms = at as u64;
    ms
}

fn push_json_line(text: &mut String, row: &Row<LogEntry>, language: Language) {
    let (direction, kind) = match &row.content {
        LogEntry::Sent(payload) => ("sent", payload_type(payload)),
        LogEntry::Received(payload) => ("received", payload_type(payload)),
        LogEntry::Opening(_) | LogEntry::Notice(_) | LogEntry::Unanswered(..) => ("none", "notice"),
    };
    let _: std::fmt::Result = write!(
        text,
        r#"{{"number":{},"time":"{}","direction":"{direction}","type":"{kind}","#,
        row.number,
        iso_time(row.at)
    );
    if let Some(Payload::Http {
        answer: Some(answer), ..
    }) = row.content.payload()
    {
        let _: std::fmt::Result = write!(text, r#""status":{},"#, answer.status);
    }
    text.push_str(r#""data":"#);
    push_data(text, &row.content, language);
    text.push_str("}\n");
}

fn payload_type(payload: &Payload) -> &'static str {
    match payload {
        Payload::Text(_) => "text",
        Payload::Binary(_) => "base64",
        Payload::Http { .. } => "http",
    }
}

/// The content as a JSON string.
fn push_data(text: &mut String, entry: &LogEntry, language: Language) {
    match entry.payload() {
        Some(Payload::Text(data) | Payload::Http { text: data, .. }) => push_json_string(text, data),
        Some(Payload::Binary(bytes)) => {
            text.push('"');
            format::push_base64(text, bytes);
            text.push('"');
        }
        None => {
            let notice = match entry {
                LogEntry::Opening(url) => LogEntry::Opening(without_secrets(url)).preview(language),
                _ => entry.preview(language),
            };
            push_json_string(text, &notice);
        }
    }
}

pub(super) fn push_json_string(text: &mut String, string: &str) {
    text.push('"');
    let mut written = 0;
    for (at, byte) in string.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        text.push_str(&string[written..at]);
        written = at + 1;
        let _: std::fmt::Result = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(byte)),
            b'\n' => write!(text, "\\n"),
            b'\r' => write!(text, "\\r"),
            b'\t' => write!(text, "\\t"),
            _ => write!(text, "\\u{byte:04x}"),
        };
    }
    text.push_str(&string[written..]);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{i18n::Text, workbench::log_entry::HttpAnswer};
    use serde_json::Value;

    /// 2026-11-22T07:12:00.123Z
    const AT: f64 = 1_795_331_520_123.0;

    fn log() -> Log<LogEntry> {
        let mut log = Log::new(100);
        let text = |text: &str| Payload::Text(text.to_owned());
        log.push(AT, LogEntry::Received(text("before")));
        log.push(AT, LogEntry::Opening("ws://a/?x=\"1\"".into()));
        log.push(AT, LogEntry::Sent(text("quote \" back \\ line \n bell \u{7} 好")));
        log.push(AT + 5.0, LogEntry::Received(Payload::Binary(vec![0xfb, 0xff])));
        log.push(AT, LogEntry::Opening("ws://b/".into()));
        log.push(AT, LogEntry::Opening("ws://c/".into()));
        log.push(
            AT,
            LogEntry::Received(Payload::Http {
                answer: Some(Box::new(HttpAnswer {
                    status: 200,
                    url: "http://a/echo?message=ok".into(),
                    asked_at: AT - 12.0,
                })),
                text: "ok".into(),
            }),
        );
        log.push(AT, LogEntry::Received(text("last")));
        log
    }

    fn export(format: ExportFormat, only: Option<Vec<u64>>, bytes: usize) -> (String, usize) {
        let log = log();
        let mut export = Export::new(format, &log, only, Language::English);
        let (mut file, mut steps) = (String::new(), 0);
        loop {
            let (text, is_last) = export.step(&log, bytes);
            file += &text;
            steps += 1;
            if is_last {
                assert_eq!(export.percent(), 100);
                return (file, steps);
            }
            assert!(export.percent() < 100);
        }
    }

    fn json_lines(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_export_has_no_secrets_of_an_address() {
        let mut log = log();
        log.push(AT, LogEntry::Opening("ws://ann:word@h/?token=abc".into()));
        log.push(AT, LogEntry::Sent(Payload::Text("x".into())));
        for format in [ExportFormat::JsonLines, ExportFormat::Har] {
            let (text, _) = Export::new(format, &log, None, Language::English).step(&log, usize::MAX);
            assert!(text.contains("ws://h/?token="), "{text}");
            assert!(!text.contains("word") && !text.contains("abc"), "{text}");
        }
    }

    #[test]
    fn json_lines_have_every_row_as_it_was() {
        let lines = json_lines(&export(ExportFormat::JsonLines, None, usize::MAX).0);
        assert_eq!(lines.len(), 8);
        assert_eq!(lines[1]["type"], "notice");
        assert_eq!(lines[2]["data"], "quote \" back \\ line \n bell \u{7} 好");
        assert_eq!(lines[2]["time"], "2026-11-22T07:12:00.123Z");
        assert_eq!(
            lines[3],
            serde_json::json!({
                "number": 4, "time": "2026-11-22T07:12:00.128Z", "direction": "received", "type": "base64", "data": "+/8="
            })
        );
        assert_eq!((&lines[6]["type"], &lines[6]["status"]), (&"http".into(), &200.into()));
    }

    #[test]
    fn har_has_an_entry_for_each_connection_with_messages() {
        let har: Value = serde_json::from_str(&export(ExportFormat::Har, None, usize::MAX).0).unwrap();
        let entries = har["log"]["entries"].as_array().unwrap();
        let urls: Vec<_> = entries
            .iter()
            .map(|entry| entry["request"]["url"].as_str().unwrap())
            .collect();
        assert_eq!(
            urls,
            [
                "ws://unknown.invalid/",
                "ws://a/?x=\"1\"",
                "ws://c/",
                "http://a/echo?message=ok"
            ]
        );
        assert_eq!(entries[1]["startedDateTime"], "2026-11-22T07:12:00.123Z");
        let messages = &entries[1]["_webSocketMessages"];
        assert_eq!(
            (&messages[0]["type"], &messages[0]["opcode"], &messages[0]["time"]),
            (&"send".into(), &1.into(), &serde_json::json!(1_795_331_520.123))
        );
        assert_eq!(
            messages[1],
            serde_json::json!({ "type": "receive", "time": 1_795_331_520.128, "opcode": 2, "data": "+/8=" })
        );
        assert_eq!(entries[2]["_webSocketMessages"].as_array().unwrap().len(), 1);
        let over_http = &entries[3];
        assert_eq!(over_http["startedDateTime"], "2026-11-22T07:12:00.111Z");
        assert_eq!(
            (&over_http["time"], &over_http["response"]["status"]),
            (&12.into(), &200.into())
        );
        assert_eq!(over_http["response"]["content"]["text"], "ok");
    }

    #[test]
    fn har_has_an_entry_for_a_request_without_an_answer_and_why() {
        let mut log = log();
        let asked = HttpAnswer {
            status: 0,
            url: "http://a/echo?message=lost".into(),
            asked_at: AT - 10.0,
        };
        log.push(
            AT,
            LogEntry::Unanswered(Box::new(asked), Text::HttpTimedOut.with([10_u32.into()])),
        );
        let (text, _) = Export::new(ExportFormat::Har, &log, None, Language::English).step(&log, usize::MAX);
        let har: Value = serde_json::from_str(&text).unwrap();
        let entry = &har["log"]["entries"][4];
        assert_eq!(entry["request"]["url"], "http://a/echo?message=lost");
        assert_eq!(
            (
                &entry["response"]["status"],
                &entry["response"]["_error"],
                &entry["time"]
            ),
            (&0.into(), &"No HTTP answer within 10 s.".into(), &10.into())
        );
        let (text, _) = Export::new(ExportFormat::JsonLines, &log, None, Language::English).step(&log, usize::MAX);
        assert_eq!(json_lines(&text)[8]["type"], "notice");
    }

    #[test]
    fn a_file_in_small_parts_is_the_same() {
        for format in [ExportFormat::JsonLines, ExportFormat::Har] {
            let (whole, steps) = export(format, None, usize::MAX);
            assert_eq!(steps, 1);
            let (parts, steps) = export(format, None, 1);
            assert!(steps > 4 && parts == whole);
        }
    }

    #[test]
    fn only_the_chosen_rows_are_written_in_the_entries_of_their_connections() {
        let only = || Some(vec![4, 8]);
        assert_eq!(
            json_lines(&export(ExportFormat::JsonLines, only(), usize::MAX).0).len(),
            2
        );
        let har: Value = serde_json::from_str(&export(ExportFormat::Har, only(), usize::MAX).0).unwrap();
        let entries = har["log"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["request"]["url"], "ws://a/?x=\"1\"");
        assert_eq!(entries[0]["_webSocketMessages"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_empty_log_is_a_valid_file() {
        let log = Log::new(1);
        let export = |format| Export::new(format, &log, None, Language::English).step(&log, 1).0;
        assert_eq!(export(ExportFormat::JsonLines), "");
        let har: Value = serde_json::from_str(&export(ExportFormat::Har)).unwrap();
        assert_eq!(har["log"]["entries"], serde_json::json!([]));
    }

    #[test]
    fn rows_that_are_dropped_meanwhile_are_left_out_and_new_ones_are_not_waited_for() {
        let mut log = Log::new(3);
        let push = |log: &mut Log<LogEntry>, text: &str| log.push(AT, LogEntry::Sent(Payload::Text(text.into())));
        for text in ["1", "2", "3"] {
            push(&mut log, text);
        }
        let mut export = Export::new(ExportFormat::JsonLines, &log, None, Language::English);
        let (first, is_last) = export.step(&log, 1);
        assert!(!is_last);
        push(&mut log, "4");
        push(&mut log, "5");
        let (rest, is_last) = export.step(&log, usize::MAX);
        assert!(is_last);
        let numbers: Vec<_> = json_lines(&(first + &rest))
            .iter()
            .map(|line| line["number"].clone())
            .collect();
        assert_eq!(numbers, [1, 3]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (at, text) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000.0, "2000-02-29T00:00:00.000Z"),
            (1_709_164_799_999.0, "2024-02-28T23:59:59.999Z"),
            (1_735_689_600_000.0, "2025-01-01T00:00:00.000Z"),
            (AT, "2026-11-22T07:12:00.123Z"),
        ] {
            assert_eq!(iso_time(at), text);
        }
    }
}
