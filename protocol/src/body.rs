//! The body of a message: any JSON, passed on unchanged.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::message::fields::Read;

/// A text that is not one JSON value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON: {0}")]
pub struct BodyError(String);

/// The limits of a body. Many JSON parsers, also common ones, fail on a body beyond them or read it wrong, and with it
/// the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyLimit {
    /// Arrays and objects are nested too deep.
    #[error("arrays and objects in the body are nested deeper than {max}")]
    TooDeep {
        /// The deepest nesting that is allowed.
        max: usize,
    },
    /// A number has too many characters.
    #[error("the body has a number of more than {max} characters: write it as a string")]
    LongNumber {
        /// The longest number that is allowed, in characters.
        max: usize,
    },
}

/// The body of a message: one JSON value on one line, stored as its text. Numbers keep all their digits and objects the
/// order of their fields, because the text is never parsed and written again between sender and receiver.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Body(Box<RawValue>);

impl Body {
    /// Takes a JSON text, for instance one from an HTTP request. White space around it is dropped, and a line break,
    /// which JSON allows only between tokens, becomes a space, so that the body fits into a line.
    ///
    /// # Errors
    /// [`BodyError`] with the position of the first syntax error.
    pub fn from_json(json: &str) -> Result<Self, BodyError> {
        let json = json.trim_matches([' ', '\t', '\r', '\n']).replace('\n', " ");
        RawValue::from_string(json)
            .map(Self)
            .map_err(|error| BodyError(error.to_string()))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`BodyError`] if it has no JSON form, for instance a map whose keys are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, BodyError> {
        let json = serde_json::to_string(value).map_err(|error| BodyError(error.to_string()))?;
        Self::from_json(&json)
    }

    /// A body that is a JSON string, as in a chat.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of(text).unwrap_or_else(|_| unreachable!("every string has a JSON form"))
    }

    /// The body `null`, which a deleted message has too.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The longest number that [`check`](Self::check) allows, in characters. A 64-bit number has at most 24 with its
    /// sign, point and exponent; some parsers refuse numbers of more than 4,300 digits, and their time grows with the
    /// square.
    pub const MAX_NUMBER: usize = 128;

    /// How deep lists and objects are nested in it: 0 for a string, a number, a boolean or null, 1 for `[]`, 2 for
    /// `[{}]`.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.extent().depth
    }

    /// Checks that common parsers can read it: lists and objects nested at most `max_depth` deep, and numbers of at
    /// most [`MAX_NUMBER`](Self::MAX_NUMBER) characters.
    ///
    /// # Errors
    /// [`BodyLimit`] with the limit that it exceeds.
    pub fn check(&self, max_depth: usize) -> Result<(), BodyLimit> {
        let Extent { depth, number } = self.extent();
        if depth > max_depth {
            return Err(BodyLimit::TooDeep { max: max_depth });
        }
        if number > Self::MAX_NUMBER {
            let max = Self::MAX_NUMBER;
            return Err(BodyLimit::LongNumber { max });
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        let (mut depth, mut number) = (0_usize, 0);
        let mut extent = Extent::default();
        let mut in_text = false;
        let mut bytes = self.json().bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                // The next character is part of the string, also a quote.
                b'\\' if in_text => drop(bytes.next()),
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' => {
                    number += 1;
                    extent.number = extent.number.max(number);
                    continue;
                }
                b'[' | b'{' => {
                    depth += 1;
                    extent.depth = extent.depth.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            number = 0;
        }
        extent
    }

    /// Parses it as a type of the application.
    ///
    /// # Errors
    /// [`BodyError`] if it has another shape. The body is not changed and can still be shown or passed on.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        serde_json::from_str(self.json()).map_err(|error| BodyError(error.to_string()))
    }
}

impl Read for Body {
    fn read(value: &RawValue) -> Result<Self, serde_json::Error> {
        Ok(Self(value.to_owned()))
    }
}

/// The properties that parsers limit.
#[derive(Default)]
struct Extent {
    /// The deepest nesting.
    depth: usize,
    /// The characters of the longest number.
    number: usize,
}

impl PartialEq for Body {
    /// Whether the texts are equal; `1` and `1.0` are not.
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_body_is_one_line_and_otherwise_untouched() {
        let body = Body::from_json(" {\"b\": 1.50,\n\"a\":\"x\\n\", \"big\":12345678901234567890123}\n").unwrap();
        assert_eq!(body.json(), r#"{"b": 1.50, "a":"x\n", "big":12345678901234567890123}"#);
        for wrong in ["", "{", "1 2", "{\"a\":\"x\ny\"}x"] {
            assert!(Body::from_json(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_depth_counts_lists_and_objects_outside_of_texts() {
        for (json, depth) in [
            ("null", 0),
            (r#""[[{\"[""#, 0),
            ("[]", 1),
            (r#"{"a[":"]","b":[{}, 1]}"#, 3),
            (r#"[["\\"],[]]"#, 2),
        ] {
            assert_eq!(Body::from_json(json).unwrap().depth(), depth, "{json}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Body::from_json(&deep).unwrap().depth(), 10_000);
    }

    #[test]
    fn depth_and_length_of_numbers_are_bounded_and_texts_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let check = |json: &str| Body::from_json(json).unwrap().check(64);
        assert_eq!(check(&nested(64)), Ok(()));
        assert_eq!(check(&nested(65)), Err(BodyLimit::TooDeep { max: 64 }));
        assert_eq!(check(&nested(16_000)), Err(BodyLimit::TooDeep { max: 64 }));
        assert_eq!(
            check(&format!("{{\"a\":{}}}", nested(64))),
            Err(BodyLimit::TooDeep { max: 64 })
        );
        assert_eq!(
            check(&format!("[{}]", vec!["[]"; 1000].join(","))),
            Ok(()),
            "many lists in sequence"
        );
        let number = "1".repeat(Body::MAX_NUMBER);
        assert_eq!(check(&number), Ok(()));
        assert_eq!(check(&format!("[{number},{number}]")), Ok(()));
        for long in [
            format!("{number}1"),
            format!("{{\"a\":-{number}}}"),
            format!("0.{number}e9"),
        ] {
            assert_eq!(check(&long), Err(BodyLimit::LongNumber { max: 128 }), "{long}");
        }
        let text = format!(r#""{}\\\"{}{}""#, "[".repeat(100), "1".repeat(200), r"\\");
        assert_eq!(check(&text), Ok(()), "{text}");
        assert_eq!(
            Body::from_json("[1]").unwrap().check(0),
            Err(BodyLimit::TooDeep { max: 0 })
        );
        assert_eq!(Body::from_json("null").unwrap().check(0), Ok(()));
    }

    #[test]
    fn a_body_of_another_shape_is_an_error_and_stays_readable_as_text() {
        let body = Body::text("hi \"there\"");
        assert_eq!(body.read::<String>().unwrap(), "hi \"there\"");
        assert!(body.read::<u64>().is_err());
        assert_eq!(body.json(), r#""hi \"there\"""#);
    }
}
