//! Whether the conversation stays at its end.

use super::line::Line;
use crate::log::Log;

/// Within this distance of the end, in CSS pixels, the list counts as being at its end.
const NEAR_END: i32 = 24;

/// Stays at the end while rows arrive, unless the user has scrolled up; one's own new message always shows (element-web#26076).
#[derive(Debug)]
pub(super) struct StayAtEnd {
    at_end: bool,
    last_drawn: u64,
}

impl Default for StayAtEnd {
    fn default() -> Self {
        Self {
            at_end: true,
            last_drawn: 0,
        }
    }
}

impl StayAtEnd {
    /// The list was scrolled, by the user or by its owner.
    pub(super) fn scrolled(&mut self, top: i32, height: i32, content_height: i32) {
        self.at_end = top + height >= content_height - NEAR_END;
    }

    /// The log was drawn: whether to scroll to the end.
    pub(super) fn drawn(&mut self, log: &Log<Line>) -> bool {
        let own_is_new = log
            .range(0..log.len())
            .rev()
            .take_while(|row| row.number > self.last_drawn)
            .any(|row| matches!(row.content, Line::Said { own: true, .. }));
        self.last_drawn = log.last_number();
        self.at_end || own_is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Limits;

    fn say(log: &mut Log<Line>, own: bool) {
        log.push(
            0.0,
            Line::Said {
                from: None,
                text: "x".into(),
                own,
            },
        );
    }

    #[test]
    fn who_has_scrolled_up_is_not_moved_by_others_but_by_their_own_message_once() {
        let mut log = Log::new(Limits {
            rows: 100,
            bytes: usize::MAX,
        });
        let mut end = StayAtEnd::default();
        say(&mut log, false);
        assert!(end.drawn(&log));
        end.scrolled(0, 100, 1000);
        say(&mut log, false);
        assert!(!end.drawn(&log));
        say(&mut log, true);
        say(&mut log, false);
        assert!(end.drawn(&log));
        assert!(!end.drawn(&log));
        end.scrolled(890, 100, 1000);
        assert!(end.drawn(&log), "near the end is at the end");
    }
}
