//! Bytes written as hexadecimal digits or as Base64. Pure.

/// What is wrong with a text of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryTextError {
    /// A character that is no digit, and its place in the text, from 1.
    Character(char, usize),
    /// The last byte has one hexadecimal digit, or one of Base64.
    Incomplete,
    /// `=` does not fill up a group of four.
    Padding,
}

/// Reads pairs of hexadecimal digits, such as the log shows and copies: spaces, line breaks, commas, colons and `0x` may stand between bytes.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, BinaryTextError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    let mut characters = text.chars().enumerate().peekable();
    while let Some((index, character)) = characters.next() {
        match (character.to_digit(16), high) {
            (Some(0), None) if characters.next_if(|(_, next)| matches!(next, 'x' | 'X')).is_some() => {}
            (Some(digit), None) => high = Some(digit),
            (Some(digit), Some(before)) => {
                bytes.push(u8::try_from(before << 4 | digit).unwrap_or_default());
                high = None;
            }
            (None, None) if character.is_whitespace() || matches!(character, ',' | ':') => {}
            (None, _) => return Err(BinaryTextError::Character(character, index + 1)),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(BinaryTextError::Incomplete),
    }
}

/// Reads Base64 with either alphabet ([RFC 4648](https://www.rfc-editor.org/rfc/rfc4648), sections 4 and 5). The padding at the end is whole or
/// left out (section 3.2), and white space stands between groups of four digits only.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, BinaryTextError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut digits) = (0_u32, 0_usize);
    let mut padding = 0_usize;
    // White space in a group of digits, which may only be the last one.
    let mut split = None;
    for (index, character) in text.chars().enumerate() {
        let digit = match character {
            'A'..='Z' => character as u32 - 'A' as u32,
            'a'..='z' => character as u32 - 'a' as u32 + 26,
            '0'..='9' => character as u32 - '0' as u32 + 52,
            '+' | '-' => 62,
            '/' | '_' => 63,
            '=' => {
                padding += 1;
                continue;
            }
            character if character.is_whitespace() => {
                if digits > 0 {
                    split.get_or_insert((character, index + 1));
                }
                continue;
            }
            character => return Err(BinaryTextError::Character(character, index + 1)),
        };
        if padding > 0 {
            return Err(BinaryTextError::Padding);
        }
        if let Some((character, place)) = split {
            return Err(BinaryTextError::Character(character, place));
        }
        bits = bits << 6 | digit;
        digits += 1;
        if digits == 4 {
            bytes.extend(&bits.to_be_bytes()[1..]);
            (bits, digits) = (0, 0);
        }
    }
    match digits {
        0 => {}
        2 => bytes.push(u8::try_from(bits >> 4 & 0xff).unwrap_or_default()),
        3 => bytes.extend(&(bits >> 2).to_be_bytes()[2..]),
        _ => return Err(BinaryTextError::Incomplete),
    }
    if padding > 0 && (digits == 0 || digits + padding != 4) {
        return Err(BinaryTextError::Padding);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_as_people_write_them() {
        for text in ["00ff7A", "00 ff 7a", "0x00, 0xFF, 0x7a", "00:ff:7a\n", "  00FF\n7a"] {
            assert_eq!(from_hex(text), Ok(vec![0, 0xff, 0x7a]), "{text}");
        }
        assert_eq!(from_hex(""), Ok(Vec::new()));
        assert_eq!(from_hex("00 0"), Err(BinaryTextError::Incomplete));
        assert_eq!(
            from_hex("00 0 0"),
            Err(BinaryTextError::Character(' ', 5)),
            "a byte is not split"
        );
        assert_eq!(from_hex("0g"), Err(BinaryTextError::Character('g', 2)));
        assert_eq!(from_hex("好"), Err(BinaryTextError::Character('好', 1)));
    }

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        // RFC 4648, section 10.
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zg", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9v\nYmE", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("+/-_", &[0xfb, 0xff, 0xbf]),
            ("AAE", &[0, 1]),
            (" Zm9v Zg==\n", b"foof"),
        ] {
            assert_eq!(from_base64(text).as_deref(), Ok(bytes), "{text}");
        }
        assert_eq!(from_base64("Zm9vY"), Err(BinaryTextError::Incomplete));
        assert_eq!(from_base64("Zm*v"), Err(BinaryTextError::Character('*', 3)));
        for text in ["Zg==Zg", "====", "=", "Zm9v=", "Zg=", "Zg===", "Zm8=="] {
            assert_eq!(from_base64(text), Err(BinaryTextError::Padding), "{text}");
        }
        assert_eq!(
            from_base64("a b"),
            Err(BinaryTextError::Character(' ', 2)),
            "a group is not split"
        );
    }
}
