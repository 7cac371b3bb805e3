//! Sending the message again and again. Pure.

use crate::i18n::{Sentence, Text};

/// The messages of one repetition, at most.
pub(crate) const MAX_COUNT: u32 = 1_000_000;

/// The milliseconds between two messages, at most: an hour.
pub(crate) const MAX_INTERVAL_MS: u32 = 3_600_000;

/// How often a message is sent and when, as typed, and how many are left while it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Repeat {
    /// Empty: until it is stopped.
    pub(crate) count: String,
    /// In milliseconds.
    pub(crate) interval: String,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Running {
    interval: u32,
    left: Option<u32>,
}

impl Default for Repeat {
    fn default() -> Self {
        Self {
            count: "10".into(),
            interval: "1000".into(),
            running: None,
        }
    }
}

impl Repeat {
    /// Starts.
    ///
    /// # Errors
    /// When the count or the interval is out of its bounds; the flag is whether it is the count.
    pub(crate) fn start(&mut self) -> Result<(), (bool, Sentence)> {
        let number = |text: &str, max| text.trim().parse().ok().filter(|number| (1..=max).contains(number));
        let left = match self.count.trim() {
            "" => None,
            count => Some(number(count, MAX_COUNT).ok_or((true, Text::BadRepeatCount.into()))?),
        };
        let interval = number(&self.interval, MAX_INTERVAL_MS).ok_or((false, Text::BadRepeatInterval.into()))?;
        self.running = Some(Running { interval, left });
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// A message was sent; stops after the last one.
    pub(crate) fn sent(&mut self) {
        if let Some(running) = &mut self.running
            && let Some(left) = &mut running.left
        {
            *left -= 1;
            if *left == 0 {
                self.running = None;
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The milliseconds to the next message while it runs.
    pub(crate) fn interval(&self) -> Option<u32> {
        self.running.map(|running| running.interval)
    }

    /// How many messages are left while it runs; none without an end.
    pub(crate) fn left(&self) -> Option<u32> {
        self.running?.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_its_count_or_when_it_is_stopped() {
        let mut repeat = Repeat {
            count: " 2 ".into(),
            ..Repeat::default()
        };
        repeat.start().unwrap();
        assert_eq!((repeat.interval(), repeat.left()), (Some(1_000), Some(2)));
        repeat.sent();
        assert!(repeat.is_running());
        repeat.sent();
        assert!(!repeat.is_running());
        repeat.sent();
        repeat.count = String::new();
        repeat.start().unwrap();
        for _ in 0..100 {
            repeat.sent();
        }
        assert_eq!((repeat.is_running(), repeat.left()), (true, None));
        repeat.stop();
        assert_eq!(repeat.interval(), None);
    }

    #[test]
    fn a_count_or_an_interval_out_of_bounds_is_refused() {
        for (count, interval, is_count) in [
            ("0", "1", true),
            ("-1", "1", true),
            ("1000001", "1", true),
            ("x", "1", true),
            ("1", "0", false),
            ("1", "3600001", false),
            ("1", "", false),
        ] {
            let mut repeat = Repeat {
                count: count.into(),
                interval: interval.into(),
                running: None,
            };
            assert_eq!(repeat.start().unwrap_err().0, is_count, "{count} {interval}");
            assert!(!repeat.is_running());
        }
    }
}
