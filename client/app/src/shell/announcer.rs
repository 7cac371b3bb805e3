//! Reads new rows of a log to screen readers.
//!
//! The list itself cannot be a live region: a virtual list changes all its elements when it scrolls, and would be read anew each time.

use gloo_timers::callback::Timeout;
use yew::{Callback, Html, html};

use crate::{
    format,
    i18n::{Language, Message},
    log::{Log, Weigh},
};

/// A faster log is summed up: speech cannot keep up with it.
const PAUSE_MS: u32 = 1_000;

/// The end of a long message is not read.
const READ_BYTES: usize = 300;

/// What is read of a row.
pub(crate) trait Announce {
    /// The words; none for a row that is not read, like one's own message.
    fn announcement(&self, language: Language) -> Option<String>;
}

/// A hidden live region beside a log, whose rows are numbered in the order they come.
pub(crate) struct Announcer {
    words: String,
    /// The number of the newest row that was read or is older than this announcer.
    last_read: u64,
    pause: Option<Timeout>,
}

impl Announcer {
    /// Starts behind the newest row.
    pub(crate) fn new(last_number: u64) -> Self {
        Self {
            words: String::new(),
            last_read: last_number,
            pause: None,
        }
    }

    /// The log has changed: calls back when it is time to [`Announcer::read`] it, at most once a second.
    pub(crate) fn log_changed(&mut self, last_number: u64, wake: Callback<()>) {
        if self.pause.is_none() && last_number > self.last_read {
            self.pause = Some(Timeout::new(PAUSE_MS, move || wake.emit(())));
        }
    }

    /// Takes up what is new in a log.
    pub(crate) fn read<T: Announce + Weigh>(&mut self, log: &Log<T>, language: Language) {
        let new = usize::try_from(log.last_number().saturating_sub(self.last_read))
            .unwrap_or(usize::MAX)
            .min(log.len());
        let rows = log.range(log.len() - new..log.len());
        let words = rows.rev().map(|row| row.content.announcement(language));
        self.say(log.last_number(), words, language);
    }

    /// Takes up what is new: the words of each row after [`Announcer::last_read`], the newest first.
    pub(crate) fn say(&mut self, last_number: u64, words: impl Iterator<Item = Option<String>>, language: Language) {
        self.pause = None;
        self.last_read = last_number;
        let mut words = words.flatten();
        if let Some(last) = words.next() {
            let last = format::head(&last, READ_BYTES).to_owned();
            let count = 1 + words.count() as u64;
            self.words = Message::NewMessages { count, last }.in_language(language);
        }
    }

    /// The number of the newest row that was read.
    pub(crate) fn last_read(&self) -> u64 {
        self.last_read
    }

    pub(crate) fn draw(&self) -> Html {
        html! { <div class="visually-hidden" role="log" aria-live="polite">{ self.words.clone() }</div> }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Limits;

    struct Said(Option<&'static str>);

    impl Announce for Said {
        fn announcement(&self, _language: Language) -> Option<String> {
            self.0.map(Into::into)
        }
    }

    impl Weigh for Said {
        fn payload_bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn new_rows_are_summed_up_once_and_ones_own_are_left_out() {
        let mut log = Log::new(Limits {
            rows: 3,
            bytes: usize::MAX,
        });
        log.push(0.0, Said(Some("old")));
        let mut announcer = Announcer::new(log.last_number());
        announcer.read(&log, Language::English);
        assert_eq!(announcer.words, "");
        for said in [Some("a"), None, Some("b"), None] {
            log.push(0.0, Said(said));
        }
        announcer.read(&log, Language::English);
        assert_eq!(
            announcer.words, "b",
            "a was dropped from the log before it could be read"
        );
        log.push(0.0, Said(Some("c")));
        log.push(0.0, Said(Some("d")));
        announcer.read(&log, Language::English);
        assert_eq!(announcer.words, "2 messages, the last: d");
    }
}
