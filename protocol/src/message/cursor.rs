//! Whether a log recovers a cursor, and the text form of a cursor.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use super::Cursor;
use crate::{Epoch, Offset};

impl Cursor {
    /// Whether a log of this epoch has every message after the cursor, so that a member continues from it (`recovered`
    /// in `joined`). Otherwise the cursor is of another epoch, is after the newest message, or the log has dropped
    /// messages after it.
    ///
    /// `fork` is the last message in common with the epoch before: up to it a cursor of that epoch means the same
    /// messages. `kept` is the range from the offset before the oldest message of the log to the offset of its newest
    /// one.
    #[must_use]
    pub fn is_recovered_by(&self, epoch: &Epoch, fork: Option<&Self>, kept: RangeInclusive<Offset>) -> bool {
        let is_before_fork = |fork: &Self| self.epoch == fork.epoch && self.offset <= fork.offset;
        (self.epoch == *epoch || fork.is_some_and(is_before_fork)) && kept.contains(&self.offset)
    }
}

/// A text that is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is the epoch and the offset of a message with `:` between them, as a server gave it")]
pub struct CursorError;

/// Writes `epoch:offset`, as in URLs. An epoch has no `:`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, offset) = text.rsplit_once(':').ok_or(CursorError)?;
        Ok(Self {
            epoch: Epoch::parse(epoch).map_err(|_| CursorError)?,
            offset: offset.parse().map_err(|_| CursorError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn cursor(text: &str) -> Cursor {
        text.parse().unwrap()
    }

    #[test]
    fn a_cursor_is_recovered_if_its_epoch_or_the_one_before_has_all_messages_after_it() {
        let kept = || Offset::new(3).unwrap()..=Offset::new(9).unwrap();
        let fork = cursor("e1:6");
        for (text, without_fork, with_fork) in [
            ("e2:2", false, false),
            ("e2:3", true, true),
            ("e2:9", true, true),
            ("e2:10", false, false),
            ("e1:2", false, false),
            ("e1:3", false, true),
            ("e1:6", false, true),
            ("e1:7", false, false),
            ("e0:5", false, false),
        ] {
            let epoch = Epoch::parse("e2").unwrap();
            assert_eq!(
                cursor(text).is_recovered_by(&epoch, None, kept()),
                without_fork,
                "{text}"
            );
            let recovered = cursor(text).is_recovered_by(&epoch, Some(&fork), kept());
            assert_eq!(recovered, with_fork, "{text} with a fork");
        }
    }

    #[test]
    fn a_cursor_is_read_from_its_text_and_nothing_else_is() {
        assert_eq!(cursor("a-b_C:41").to_string(), "a-b_C:41");
        for wrong in [
            "",
            "41",
            ":41",
            "e1:",
            "e1:-1",
            "e1:1.0",
            "e1:9007199254740992",
            "e:1:2",
            "é:1",
        ] {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
    }
}
