//! Texts in quotes, for errors.

use std::fmt::{self, Write};

/// A text in double quotes, as `Debug` shows it, except that only control characters, format characters and white space
/// are escaped. `Debug` decides by tables of Unicode and links them: 5 KB of gzip in every page.
#[derive(Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

/// A character in single quotes, escaped as in [`Quoted`].
#[derive(Clone, Copy)]
pub struct QuotedChar(pub char);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            escape(f, c, '"')?;
        }
        f.write_char('"')
    }
}

impl fmt::Display for QuotedChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        escape(f, self.0, '\'')?;
        f.write_char('\'')
    }
}

fn escape(f: &mut fmt::Formatter<'_>, c: char, quote: char) -> fmt::Result {
    let letter = match c {
        '\0' => '0',
        '\t' => 't',
        '\r' => 'r',
        '\n' => 'n',
        '\\' => '\\',
        c if c == quote => c,
        ' ' => return f.write_char(c),
        // Marks of direction and joiners, which would hide or reorder what is around them.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => {
            return write!(f, "\\u{{{:x}}}", u32::from(c));
        }
        c if c.is_control() || c.is_whitespace() => return write!(f, "\\u{{{:x}}}", u32::from(c)),
        c => return f.write_char(c),
    };
    f.write_char('\\')?;
    f.write_char(letter)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn texts_and_characters_are_quoted_as_debug_shows_them() {
        for text in [
            "",
            "ws://a b/'x'?\"\\",
            "大厅",
            "\0\t\r\n\u{7}\u{85}\u{3000}",
            "a\u{202e}b\u{200b}\u{feff}",
        ] {
            assert_eq!(Quoted(text).to_string(), format!("{text:?}"));
            for c in text.chars() {
                assert_eq!(QuotedChar(c).to_string(), format!("{c:?}"));
            }
        }
    }
}
