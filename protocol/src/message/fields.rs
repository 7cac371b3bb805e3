//! Reads the objects of the wire field by field.
//!
//! serde's derive makes a visitor for each type, which reads lists as well as objects and has each field by name and by
//! index. For the lines that a browser reads this was a tenth of all code in the page. Here one visitor finds the
//! fields of any object as unparsed JSON ([`Fields`]), and each type reads its own from there ([`Read`]). A type of the wire
//! costs the code to put its fields together, and nothing for each pair of a type and a format.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Error, value::RawValue};

use crate::Offset as Number;

/// What can be read from the text of one JSON value.
pub(crate) trait Read: Sized {
    /// Reads a whole value.
    fn read(value: &RawValue) -> Result<Self, Error>;
}

/// Implements [`Read`] and `Deserialize` for structs whose fields are each `required`, or an `Option` and `optional`;
/// `number` and `optional_number` are the same for a `u64` within the range of numbers on the wire. Unknown fields are
/// skipped. The values are borrowed from the input, so this reads from a string, and not from a stream or a `Value`.
macro_rules! read_by_fields {
    ($($type:ident { $($field:ident: $presence:ident),* $(,)? })*) => {$(
        impl $type {
            const FIELDS: &[&str] = $crate::message::fields::names(&[$(stringify!($field)),*]);

            fn take(mut fields: $crate::message::fields::Fields<'_>) -> Result<Self, serde_json::Error> {
                Ok(Self { $($field: fields.$presence()?),* })
            }
        }
        impl $crate::message::fields::Read for $type {
            fn read(value: &serde_json::value::RawValue) -> Result<Self, serde_json::Error> {
                Self::take($crate::message::fields::Fields::of(value, Self::FIELDS)?)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let fields = $crate::message::fields::Fields::new(Self::FIELDS);
                let fields = serde::de::DeserializeSeed::deserialize(fields, deserializer)?;
                Self::take(fields).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use read_by_fields;

/// Implements [`Read`] by `Deserialize`, for types of which a client reads few.
macro_rules! read_by_serde {
    ($($type:ty),*) => {$(
        impl $crate::message::fields::Read for $type {
            fn read(value: &serde_json::value::RawValue) -> Result<Self, serde_json::Error> {
                serde_json::from_str(value.get())
            }
        }
    )*};
}
pub(crate) use read_by_serde;

read_by_serde!(bool, String, u32, u64);

impl<T: Read> Read for Vec<T> {
    fn read(value: &RawValue) -> Result<Self, Error> {
        let values: Vec<&RawValue> = serde_json::from_str(value.get())?;
        values.into_iter().map(T::read).collect()
    }
}

/// The most fields of an object.
const MAX_FIELDS: usize = 13;

/// The names, if there is space for the values of so many.
pub(crate) const fn names(names: &'static [&'static str]) -> &'static [&'static str] {
    assert!(names.len() <= MAX_FIELDS, "MAX_FIELDS is too small");
    names
}

/// The fields of one object, to be taken in the order of their names.
pub(crate) struct Fields<'de> {
    names: &'static [&'static str],
    values: [Option<&'de RawValue>; MAX_FIELDS],
    taken: usize,
}

impl<'de> Fields<'de> {
    /// To be filled with the values of these names.
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            values: [None; MAX_FIELDS],
            taken: 0,
        }
    }

    /// The fields of an object.
    pub(crate) fn of(value: &'de RawValue, names: &'static [&'static str]) -> Result<Self, Error> {
        Self::new(names).deserialize(&mut serde_json::Deserializer::from_str(value.get()))
    }

    /// The next field.
    pub(crate) fn required<T: Read>(&mut self) -> Result<T, Error> {
        let (name, value) = self.next();
        match value {
            Some(value) => T::read(value).map_err(|error| of_field(name, &error)),
            None => Err(Error::missing_field(name)),
        }
    }

    /// The next field, which may be absent or null.
    pub(crate) fn optional<T: Read>(&mut self) -> Result<Option<T>, Error> {
        match self.next() {
            (name, Some(value)) if value.get() != "null" => {
                T::read(value).map(Some).map_err(|error| of_field(name, &error))
            }
            _ => Ok(None),
        }
    }

    /// The next field, a number within the range of the wire.
    pub(crate) fn number(&mut self) -> Result<u64, Error> {
        self.required().map(Number::get)
    }

    /// The next field, such a number, which may be absent or null.
    pub(crate) fn optional_number(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.optional()?.map(Number::get))
    }

    /// The next field, which is false when it is absent or null.
    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        Ok(self.optional()?.unwrap_or(false))
    }

    fn next(&mut self) -> (&'static str, Option<&'de RawValue>) {
        let index = self.taken;
        self.taken += 1;
        (self.names[index], self.values[index])
    }
}

#[cold]
fn of_field(name: &'static str, error: &Error) -> Error {
    Error::custom(format_args!("{name}: {error}"))
}

impl<'de> DeserializeSeed<'de> for Fields<'de> {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("object", self.names, self)
    }
}

impl<'de> Visitor<'de> for Fields<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the fields {}", self.names.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
        while let Some(index) = object.next_key_seed(Index(self.names))? {
            match index {
                Some(index) if self.values[index].is_some() => {
                    return Err(A::Error::duplicate_field(self.names[index]));
                }
                Some(index) => self.values[index] = Some(object.next_value()?),
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(self)
    }
}

/// Reads a name as its index in a list of known names.
pub(crate) struct Index(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Index {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Index {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Reads a text with a parser that checks it. `what` is what the text is, for errors.
pub(crate) fn read_text<T>(
    value: &RawValue,
    what: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Error> {
    let mut parse = Some(parse);
    let mut parsed = None;
    let mut take = |text: &str| {
        if let Some(parse) = parse.take() {
            parsed = Some(parse(text)?);
        }
        Ok(())
    };
    let text = Text { what, take: &mut take };
    serde_json::Deserializer::from_str(value.get()).deserialize_str(text)?;
    parsed.ok_or_else(|| Error::custom(what))
}

/// Hands a text to a closure, so that one visitor serves all types.
struct Text<'a> {
    what: &'static str,
    take: &'a mut dyn FnMut(&str) -> Result<(), String>,
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        (self.take)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use crate::message::{Message, Nack};

    const NACK: &str = r#"{"room":"lobby","seq":7,"code":"rate","message":"slower"}"#;

    fn nack(json: &str) -> Result<Nack, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_read_by_name_in_any_order_and_unknown_ones_are_skipped() {
        let expected = nack(NACK).unwrap();
        assert_eq!((expected.seq.get(), expected.retry_after_ms), (7, None));
        let other =
            r#"{"message":"slower","new":[{"seq":1}],"seq":7,"retry_after_ms":null,"c\u006fde":"rate","room":"lobby"}"#;
        assert_eq!(nack(other).unwrap(), expected);
    }

    #[test]
    fn an_error_names_the_field_that_has_it() {
        for (from, to, error) in [
            (r#""seq":7,"#, "", "missing field `seq`"),
            (r#""seq":7"#, r#""seq":7,"seq":7"#, "duplicate field `seq`"),
            (r#""seq":7"#, r#""seq":0"#, "seq: 0 is out of range"),
            (r#""seq":7"#, r#""seq":null"#, "seq: invalid type: null"),
            (r#""lobby""#, r#""""#, "room: the room name is empty"),
            (
                r#""code":"#,
                r#""retry_after_ms":-1,"code":"#,
                "retry_after_ms: invalid value",
            ),
        ] {
            let error_text = nack(&NACK.replace(from, to)).unwrap_err();
            assert!(error_text.starts_with(error), "{error_text}");
        }
        let error_text = nack(r#"["lobby",7,"rate","slower"]"#).unwrap_err();
        assert!(
            error_text.contains("expected an object with the fields room, seq, epoch, code"),
            "{error_text}"
        );
    }

    /// Any JSON is a body, also null. An absent body is an error.
    #[test]
    fn a_body_may_be_null_but_not_absent() {
        let message = r#"{"room":"lobby","offset":1,"from":{"sender":"s","user":"ann"},"at":1,"body":null}"#;
        assert_eq!(serde_json::from_str::<Message>(message).unwrap().body.json(), "null");
        let without = message.replace(r#","body":null"#, "");
        let error_text = serde_json::from_str::<Message>(&without).unwrap_err().to_string();
        assert!(error_text.starts_with("missing field `body`"), "{error_text}");
    }
}
