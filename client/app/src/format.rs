//! Sizes, durations and bytes as text.

use std::fmt::Write;

use crate::i18n::{Language, Sentence, Text};

/// `12 B`, `1.5 KiB`, `3.0 MiB`, rounded down.
pub(crate) fn size(bytes: u64) -> String {
    const UNIT: u64 = 1024;
    // In integers: formatting floats would cost the page 16 KB of code.
    let tenths = |unit: u64| (bytes / unit, bytes % unit * 10 / unit);
    if bytes < UNIT {
        format!("{bytes} B")
    } else if bytes < UNIT * UNIT {
        let (whole, tenth) = tenths(UNIT);
        format!("{whole}.{tenth} KiB")
    } else {
        let (whole, tenth) = tenths(UNIT * UNIT);
        format!("{whole}.{tenth} MiB")
    }
}

/// `0:07`, `3:12`, `1:03:12`, from milliseconds, rounded down.
pub(crate) fn clock(ms: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative becomes 0, and no connection is open for 2^64 s"
    )]
    let seconds = (ms / 1_000.0) as u64;
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    match minutes / 60 {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{:02}:{seconds:02}", minutes % 60),
    }
}

/// `0.4 s`, `12.3 s`, `2 min 5 s`, `3 h 20 min`, from milliseconds, rounded down.
pub(crate) fn duration(ms: f64) -> Sentence {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative becomes 0, and no wait takes 2^64 ms"
    )]
    let ms = ms as u64;
    let (seconds, minutes) = (ms / 1000, ms / 60_000);
    match minutes {
        0 => Text::Seconds.with([seconds.into(), (ms % 1000 / 100).into()]),
        1..60 => Text::Minutes.with([minutes.into(), (seconds % 60).into()]),
        _ => Text::Hours.with([(minutes / 60).into(), (minutes % 60).into()]),
    }
}

/// A character for a message about it: as it is, or as `U+202E` if it would not be seen or would change the text around it.
pub(crate) fn character(found: char) -> String {
    let is_hidden = matches!(
        found,
        '\u{0}'..='\u{20}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..
    );
    if is_hidden {
        format!("U+{:04X}", u32::from(found))
    } else {
        found.to_string()
    }
}

/// `48,213`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time since the row before: `+12`, in milliseconds, or `+34 min` from a thousand seconds on.
pub(crate) fn delta(ms: f64, language: Language) -> String {
    const MINUTES_FROM: u64 = 1_000_000;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a clock that was set back gives 0, and no row waits for 2^64 ms"
    )]
    let ms = ms as u64;
    if ms < MINUTES_FROM {
        format!("+{}", thousands(ms))
    } else {
        let minutes = Sentence::thousands(ms / 60_000);
        Text::MinutesLater.with([minutes]).in_language(language)
    }
}

/// Bytes in Base64 with padding, appended to a text.
pub(crate) fn push_base64(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
}

/// Bytes as `0a ff 00`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(text, "{separator}{byte:02x}");
    }
    text
}

/// Bytes in lines of sixteen with their offset and their ASCII characters, like `hexdump -C`.
pub(crate) fn hex_dump(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(16) * 78);
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let ascii: String = chunk
            .iter()
            .map(|&byte| {
                if byte.is_ascii_graphic() || byte == b' ' {
                    char::from(byte)
                } else {
                    '.'
                }
            })
            .collect();
        // Writing to a String cannot fail.
        let _: std::fmt::Result = writeln!(text, "{:08x}  {:<47}  {ascii}", line * 16, hex(chunk));
    }
    text
}

/// The longest start of a text that has at most `max` bytes and ends between characters.
pub(crate) fn head(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Where a part first occurs in a text. The search of the standard library is made for long texts, and would cost the
/// page two kilobytes.
pub(crate) fn find(text: &str, part: &str) -> Option<usize> {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    (0..=text.len().checked_sub(part.len())?).find(|&at| text[at..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_not_seen_is_named_by_its_number() {
        assert_eq!(['/', '"', 'é', '名', '😀'].map(character), ["/", "\"", "é", "名", "😀"]);
        assert_eq!(
            ['\0', '\n', '\u{a0}', '\u{202e}', '\u{feff}', '\u{e0001}'].map(character),
            ["U+0000", "U+000A", "U+00A0", "U+202E", "U+FEFF", "U+E0001"]
        );
    }

    #[test]
    fn sizes_change_unit_at_1024() {
        assert_eq!(
            [0, 1023, 1024, 1536, 3 << 20].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "3.0 MiB"]
        );
    }

    #[test]
    fn the_time_since_a_row_has_its_unit_in_the_language_of_the_page() {
        assert_eq!(delta(12_345.0, Language::Chinese), "+12,345");
        assert_eq!(delta(2_040_000.0, Language::English), "+34 min");
        assert_eq!(delta(2_040_000.0, Language::Chinese), "+34 分");
    }

    #[test]
    fn durations_round_down_so_that_a_limit_is_not_shown_before_it_is_reached() {
        let english = |ms| duration(ms).in_language(Language::English);
        assert_eq!(english(-5.0), "0.0 s");
        assert_eq!(english(4_999.0), "4.9 s");
        assert_eq!(english(59_999.0), "59.9 s");
        assert_eq!(english(125_000.0), "2 min 5 s");
        assert_eq!(english(3_600_000.0 * 3.0 + 60_000.0 * 20.0), "3 h 20 min");
    }

    #[test]
    fn a_clock_has_hours_when_there_are_some() {
        assert_eq!(
            [-1.0, 7_999.0, 192_000.0, 3_792_000.0].map(clock),
            ["0:00", "0:07", "3:12", "1:03:12"]
        );
    }

    #[test]
    fn a_hex_dump_aligns_its_last_short_line() {
        let dump = hex_dump(b"0123456789abcdef\x00A");
        assert_eq!(
            dump,
            "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00000010  00 41                                            .A\n"
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [0, 999, 1_000, 48_213, 1_234_567].map(thousands),
            ["0", "999", "1,000", "48,213", "1,234,567"]
        );
    }

    #[test]
    fn a_delta_is_in_milliseconds_until_it_is_long_and_never_negative() {
        assert_eq!(
            [-5.0, 0.0, 12.0, 999_999.0, 1_200_000.0].map(|ms| delta(ms, Language::English)),
            ["+0", "+0", "+12", "+999,999", "+20 min"]
        );
    }

    #[test]
    fn base64_is_padded() {
        let base64 = |bytes: &[u8]| {
            let mut text = String::new();
            push_base64(&mut text, bytes);
            text
        };
        // RFC 4648, section 10.
        assert_eq!(
            [&b""[..], b"f", b"fo", b"foo", b"foob", b"fooba", b"foobar"].map(base64),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
        );
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_part_is_found_at_its_first_place() {
        assert_eq!(find("a好{{b{{", "{{"), Some(4));
        assert_eq!(find("{", "{{"), None);
        assert_eq!(find("", ""), Some(0), "as in the standard library");
    }

    #[test]
    fn a_head_never_splits_a_character() {
        assert_eq!(head("好好", 4), "好");
        assert_eq!(head("abc", 9), "abc");
    }
}
