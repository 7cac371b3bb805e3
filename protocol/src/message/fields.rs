//! Reads the objects of the wire field by field.
//!
//! serde's derive makes a visitor for each type, which reads lists as well as objects and has each field by name and by
//! index; for the lines that a browser reads this was a tenth of all code in the page. Here one visitor finds the
//! fields of any object as unparsed JSON, and the types parse them in turn.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::Offset as Number;

/// Implements `Deserialize` for structs whose fields are each `required`, or an `Option` and `optional`; `number` and
/// `optional_number` are the same for a `u64` within the range of numbers on the wire. Unknown fields are skipped. The
/// values are borrowed from the input, so this reads from a string, and not from a stream or a `Value`.
macro_rules! read_by_fields {
    ($($type:ident { $($field:ident: $presence:ident),* $(,)? })*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const NAMES: &[&str] = &[$(stringify!($field)),*];
                let mut fields = $crate::message::fields::Fields::read(deserializer, stringify!($type), NAMES)?;
                Ok(Self { $($field: fields.$presence()?),* })
            }
        }
    )*};
}
pub(crate) use read_by_fields;

/// The fields of one object, to be taken in the order of their names.
pub(crate) struct Fields<'de> {
    names: &'static [&'static str],
    values: Vec<Option<&'de RawValue>>,
    taken: usize,
}

impl<'de> Fields<'de> {
    pub(crate) fn read<D: Deserializer<'de>>(
        deserializer: D,
        object: &'static str,
        names: &'static [&'static str],
    ) -> Result<Self, D::Error> {
        let values = vec![None; names.len()];
        let taken = 0;
        deserializer.deserialize_struct(object, names, Self { names, values, taken })
    }

    /// The next field.
    pub(crate) fn required<T: DeserializeOwned, E: Error>(&mut self) -> Result<T, E> {
        let (name, value) = self.next();
        parse(name, value.ok_or_else(|| E::missing_field(name))?)
    }

    /// The next field, which may be absent or null.
    pub(crate) fn optional<T: DeserializeOwned, E: Error>(&mut self) -> Result<Option<T>, E> {
        let (name, value) = self.next();
        value.map_or(Ok(None), |value| parse(name, value))
    }

    /// The next field, a number within the range of the wire.
    pub(crate) fn number<E: Error>(&mut self) -> Result<u64, E> {
        self.required().map(Number::get)
    }

    /// The next field, such a number, which may be absent or null.
    pub(crate) fn optional_number<E: Error>(&mut self) -> Result<Option<u64>, E> {
        Ok(self.optional()?.map(Number::get))
    }

    /// The next field, which is false when it is absent or null.
    pub(crate) fn flag<E: Error>(&mut self) -> Result<bool, E> {
        Ok(self.optional()?.unwrap_or(false))
    }

    fn next(&mut self) -> (&'static str, Option<&'de RawValue>) {
        let index = self.taken;
        self.taken += 1;
        (self.names[index], self.values[index])
    }
}

fn parse<T: DeserializeOwned, E: Error>(name: &'static str, value: &RawValue) -> Result<T, E> {
    serde_json::from_str(value.get()).map_err(|error| E::custom(format_args!("{name}: {error}")))
}

impl<'de> Visitor<'de> for Fields<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the fields {}", self.names.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
        while let Some(place) = object.next_key_seed(Place(self.names))? {
            match place {
                Some(place) if self.values[place].is_some() => {
                    return Err(A::Error::duplicate_field(self.names[place]));
                }
                Some(place) => self.values[place] = Some(object.next_value()?),
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(self)
    }
}

/// Reads a name as its index in the list of known names.
struct Place(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
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
