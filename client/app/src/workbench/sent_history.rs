//! What was sent from the composer, to be taken back with the arrow keys. Pure.

use std::collections::VecDeque;

/// The texts, at most.
const MAX_TEXTS: usize = 50;

/// The bytes of one text, at most; a longer one is not kept.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Texts, the newest last, and the place in them while one is shown in the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SentHistory {
    texts: VecDeque<String>,
    /// The text that is shown, and what was in the field before the first one was.
    shown: Option<(usize, String)>,
}

impl SentHistory {
    /// A text was sent, which is the newest one then. Returns whether it was not before.
    pub(super) fn sent(&mut self, text: &str) -> bool {
        self.shown = None;
        let is_newest = self.texts.back().is_some_and(|newest| newest == text);
        if text.is_empty() || text.len() > MAX_TEXT_BYTES || is_newest {
            return false;
        }
        self.texts.retain(|other| other != text);
        if self.texts.len() == MAX_TEXTS {
            self.texts.pop_front();
        }
        self.texts.push_back(text.into());
        true
    }

    /// The newest texts, of at most `max` bytes with what stands between them, as [`Self::from_text`] reads them: each after its length.
    pub(super) fn to_text(&self, max: usize) -> String {
        let mut text = String::new();
        for sent in self.texts() {
            let length = sent.len().to_string();
            if text.len() + length.len() + 1 + sent.len() > max {
                break;
            }
            text += &length;
            text.push(' ');
            text += sent;
        }
        text
    }

    /// Reads [`Self::to_text`], a damaged text as far as it goes.
    pub(super) fn from_text(mut text: &str) -> Self {
        let mut texts = VecDeque::new();
        while let Some((length, rest)) = text.split_once(' ')
            && let Some((sent, rest)) = length.parse().ok().and_then(|length| rest.split_at_checked(length))
            && texts.len() < MAX_TEXTS
        {
            texts.push_front(sent.to_owned());
            text = rest;
        }
        Self { texts, shown: None }
    }

    /// The texts, the newest first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        self.texts.iter().rev()
    }

    /// The field was edited: what is in it now is a text of its own.
    pub(super) fn edited(&mut self) {
        self.shown = None;
    }

    /// Whether a text of the history is in the field.
    pub(super) fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether [`Self::older`] gives a text.
    pub(super) fn has_older(&self, field: &str) -> bool {
        match self.shown {
            Some((index, _)) => index > 0,
            None => self.texts.len() > usize::from(self.texts.back().is_some_and(|text| text == field)),
        }
    }

    /// The text before the one in the field; none at the oldest.
    pub(super) fn older(&mut self, field: &str) -> Option<String> {
        let (index, before) = match self.shown.take() {
            None => {
                // What is in the field is often the text that was sent last.
                let newest = self.texts.len().checked_sub(1);
                let is_newest = self.texts.back().is_some_and(|text| text == field);
                (
                    newest.and_then(|newest| newest.checked_sub(usize::from(is_newest))),
                    field.to_owned(),
                )
            }
            Some((0, before)) => {
                self.shown = Some((0, before));
                return None;
            }
            Some((index, before)) => (Some(index - 1), before),
        };
        let index = index?;
        self.shown = Some((index, before));
        self.texts.get(index).cloned()
    }

    /// The text after the one in the field, or at last what was in it before; none while no text of the history is shown.
    pub(super) fn newer(&mut self) -> Option<String> {
        let (index, before) = self.shown.take()?;
        match self.texts.get(index + 1) {
            Some(text) => {
                self.shown = Some((index + 1, before));
                Some(text.clone())
            }
            None => Some(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_walk_through_the_texts_and_back_to_what_was_in_the_field() {
        let mut history = SentHistory::default();
        assert_eq!((history.older("x"), history.newer()), (None, None));
        for text in ["a", "b", "a", "c", ""] {
            history.sent(text);
        }
        assert_eq!(history.older("draft").as_deref(), Some("c"));
        assert_eq!(history.older("c").as_deref(), Some("a"));
        assert_eq!(
            history.older("a").as_deref(),
            Some("b"),
            "a text that was sent twice is there once"
        );
        assert_eq!(history.older("b"), None);
        assert_eq!(history.newer().as_deref(), Some("a"));
        assert_eq!(history.newer().as_deref(), Some("c"));
        assert_eq!(history.newer().as_deref(), Some("draft"));
        assert_eq!(history.newer(), None);
        assert_eq!(
            history.older("c").as_deref(),
            Some("a"),
            "the one in the field is passed over"
        );
    }

    #[test]
    fn the_newest_texts_are_kept_within_a_bound_and_a_damaged_text_is_read_as_far_as_it_goes() {
        let mut history = SentHistory::default();
        let changed = ["a b", "好\n", "好\n", "7 x", ""].map(|text| history.sent(text));
        assert_eq!(changed, [true, true, false, true, false]);
        let text = history.to_text(100);
        assert_eq!(SentHistory::from_text(&text), history);
        let newest = SentHistory::from_text(&history.to_text(text.len() - 1));
        assert_eq!(newest.texts().collect::<Vec<_>>(), ["7 x", "好\n"]);
        for (damaged, left) in [("", 0), ("x", 0), ("9 a", 0), ("1 a2 好", 1), ("-1 a", 0)] {
            assert_eq!(SentHistory::from_text(damaged).texts.len(), left, "{damaged}");
        }
    }

    #[test]
    fn an_edited_text_is_a_draft_of_its_own_and_the_texts_are_bounded() {
        let mut history = SentHistory::default();
        for number in 0..1_000 {
            history.sent(&number.to_string());
        }
        history.sent(&"x".repeat(MAX_TEXT_BYTES + 1));
        assert_eq!(history.texts.len(), MAX_TEXTS);
        assert_eq!(history.older("").as_deref(), Some("999"));
        history.edited();
        assert_eq!(history.newer(), None);
        assert_eq!(history.older("9990").as_deref(), Some("999"));
        assert_eq!(history.newer().as_deref(), Some("9990"));
    }
}
