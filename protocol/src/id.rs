//! Names, keys and numbers as types that are checked when they are created.

mod key;
mod name;
mod number;

pub use key::{ClientKey, Epoch, KeyError, OpaqueError, PublishId, PublishIdError, SenderId};
pub use name::{NameError, RoomName, UserName};
pub use number::{MAX_NUMBER, NumberError, Offset, OffsetError, RequestId, Seq};

/// Serialises a type as its text and reads it with its own parser, so that values from the wire are checked.
macro_rules! serde_as_text {
    ($($type:ty, $parse:expr, $what:literal;)*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl $crate::message::fields::Read for $type {
            fn read(value: &serde_json::value::RawValue) -> Result<Self, serde_json::Error> {
                $crate::message::fields::read_text(value, $what, |text| $parse(text).map_err(|error| error.to_string()))
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        $parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}
pub(crate) use serde_as_text;
