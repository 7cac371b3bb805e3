//! Reads new rows of a log to screen readers.
//!
//! The list itself cannot be a live region: a virtual list changes all its elements when it scrolls, and all of it
//! would be read again.

use gloo_timers::callback::Timeout;
use yew::{Callback, Html, html};

use crate::{
    format,
    i18n::{Language, Text},
};

/// Rows that arrive within this time, in milliseconds, are announced together, because speech is slower than a fast
/// log.
const INTERVAL_MS: u32 = 1_000;

/// An announcement quotes at most this many bytes of a message.
const MAX_QUOTED_BYTES: usize = 300;

/// A visually hidden live region beside a log whose rows have ascending numbers.
pub(crate) struct Announcer {
    text: String,
    /// The number of the newest row that was announced or is older than this announcer.
    last_number: u64,
    timer: Option<Timeout>,
}

impl Announcer {
    /// Announces only rows with a higher number than `last_number`.
    pub(crate) fn new(last_number: u64) -> Self {
        Self {
            text: String::new(),
            last_number,
            timer: None,
        }
    }

    /// Starts the timer when the log has new rows; `wake` then calls [`Announcer::announce`].
    pub(crate) fn log_changed(&mut self, last_number: u64, wake: Callback<()>) {
        if self.timer.is_none() && last_number > self.last_number {
            self.timer = Some(Timeout::new(INTERVAL_MS, move || wake.emit(())));
        }
    }

    /// Announces the rows after [`Announcer::last_number`]: the text of each, the newest first; none for a row that is
    /// not announced, like an own message.
    pub(crate) fn announce(
        &mut self,
        last_number: u64,
        texts: impl Iterator<Item = Option<String>>,
        language: Language,
    ) {
        self.timer = None;
        self.last_number = last_number;
        let mut texts = texts.flatten();
        if let Some(last) = texts.next() {
            let last = format::head(&last, MAX_QUOTED_BYTES);
            self.text = match 1 + texts.count() {
                1 => last.to_owned(),
                count => Text::MessagesAnnounced
                    .with([count.into(), last.into()])
                    .in_language(language),
            };
        }
    }

    /// The number of the newest row that was announced.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number
    }

    pub(crate) fn draw(&self) -> Html {
        html! { <div key="announcer" class="visually-hidden" role="log" aria-live="polite">{ self.text.clone() }</div> }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rows_are_announced_as_one_text_without_own_messages() {
        let mut announcer = Announcer::new(1);
        let mut announce = |last, texts: &[Option<&str>]| {
            let texts = texts.iter().map(|text| text.map(Into::into));
            announcer.announce(last, texts, Language::English);
            (announcer.text.clone(), announcer.last_number())
        };
        assert_eq!(announce(1, &[]), (String::new(), 1));
        assert_eq!(announce(5, &[None, Some("b"), None]), ("b".into(), 5));
        assert_eq!(
            announce(7, &[Some("d"), Some("c")]),
            ("2 messages, the last: d".into(), 7)
        );
        assert_eq!(announce(8, &[None]).0, "2 messages, the last: d");
    }
}
