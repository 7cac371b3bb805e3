//! The counters of the protocol. All numbers on the wire are within the range of exact JavaScript numbers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The largest number on the wire: 2^53 - 1, the largest integer that every JSON parser reads exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A number that the wire cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of range: a seq or an id is 1 to {MAX_NUMBER}, other numbers 0 to {MAX_NUMBER}")]
pub struct NumberError(u64);

/// A text that is not an offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an offset is a number of 0 to {MAX_NUMBER}")]
pub struct OffsetError;

/// The place of a message in its room's log: contiguous from 1; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Offset(u64);

/// The number of a message among those of one client in one room: from 1, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Seq(u64);

/// The number of an open request for history. The client chooses it, and the answer has it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct RequestId(u64);

impl RequestId {
    /// The first request of a client.
    pub const FIRST: Self = Self(1);
}

impl Offset {
    /// Before the first message.
    pub const ZERO: Self = Self(0);

    /// The offset before it; [`ZERO`](Self::ZERO) stays [`ZERO`](Self::ZERO).
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(digits: &str) -> Result<Self, OffsetError> {
        let number = digits.parse().map_err(|_| OffsetError)?;
        Self::new(number).map_err(|_| OffsetError)
    }
}

impl Seq {
    /// The first message of a client in a room.
    pub const FIRST: Self = Self(1);
}

macro_rules! number {
    ($($type:ident from $min:literal;)*) => {$(
        impl $type {
            /// Takes a number within the range.
            ///
            /// # Errors
            /// [`NumberError`] if it is out of range.
            pub fn new(number: u64) -> Result<Self, NumberError> {
                if ($min..=MAX_NUMBER).contains(&number) {
                    Ok(Self(number))
                } else {
                    Err(NumberError(number))
                }
            }

            /// The number as an integer.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0
            }

            /// The next number, at most [`MAX_NUMBER`], which at a million messages per second is reached after 285
            /// years.
            #[must_use]
            pub fn next(self) -> Self {
                self.plus(1)
            }

            /// The number plus `count`, at most [`MAX_NUMBER`].
            #[must_use]
            pub fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count).min(MAX_NUMBER))
            }
        }
        impl TryFrom<u64> for $type {
            type Error = NumberError;
            fn try_from(number: u64) -> Result<Self, NumberError> {
                Self::new(number)
            }
        }
        impl From<$type> for u64 {
            fn from(number: $type) -> u64 {
                number.0
            }
        }
        impl $crate::message::fields::Read for $type {
            fn read(value: &serde_json::value::RawValue) -> Result<Self, serde_json::Error> {
                Self::new(u64::read(value)?).map_err(serde::de::Error::custom)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
number! {
    Offset from 0;
    Seq from 1;
    RequestId from 1;
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn numbers_are_within_the_range_that_every_json_parser_reads_exactly() {
        assert_eq!(Offset::new(0), Ok(Offset::ZERO));
        assert!(Seq::new(0).is_err());
        assert!(Offset::new(MAX_NUMBER + 1).is_err());
        assert_eq!(Offset::new(MAX_NUMBER).unwrap().next().get(), MAX_NUMBER);
    }
}
