//! The unread messages: their number, and the divider before the first of them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The list is scrolled to its end.
    pub(crate) at_end: bool,
    /// The view is shown and the page is visible.
    visible: bool,
    /// How many messages of others arrived while the end of the list was not visible.
    pub(crate) count: usize,
    /// How many of them mention this user.
    pub(crate) mentions: usize,
    /// The number of the row before which the divider is drawn.
    pub(crate) divider: Option<u64>,
    /// The offset of the message in that row, also once the row is dropped; none if it is of a log before the current one.
    pub(super) first: Option<u64>,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            at_end: true,
            visible: true,
            count: 0,
            mentions: 0,
            divider: None,
            first: None,
        }
    }
}

impl Unread {
    pub(super) fn is_visible(&self) -> bool {
        self.visible
    }

    /// The message of another user at this offset arrived, as the row with this number. The divider moves only when there was no
    /// unread message.
    pub(super) fn message_arrived(&mut self, number: u64, offset: u64, mentions_me: bool) {
        if self.at_end && self.visible {
            return;
        }
        if self.count == 0 {
            (self.divider, self.first) = (Some(number), Some(offset));
        }
        self.count += 1;
        self.mentions += usize::from(mentions_me);
    }

    /// So many messages are unread that are older than the loaded ones.
    pub(super) fn count_unloaded(&mut self, count: usize) {
        if !(self.at_end && self.visible) {
            self.count += count;
        }
    }

    /// The messages of the log come again: they are counted anew.
    pub(super) fn recount(&mut self) {
        self.count = 0;
        self.mentions = 0;
    }

    /// The reading ended before the row with this number, whose message has this offset, in an earlier visit.
    pub(super) fn divide_at(&mut self, number: u64, offset: u64) {
        if self.divider.is_none() {
            (self.divider, self.first) = (Some(number), Some(offset));
        }
    }

    pub(super) fn remove_divider(&mut self) {
        (self.divider, self.first) = (None, None);
    }

    pub(super) fn scrolled(&mut self, at_end: bool) {
        self.at_end = at_end;
        self.reset_if_seen();
    }

    pub(super) fn visibility_changed(&mut self, visible: bool) {
        self.visible = visible;
        self.reset_if_seen();
    }

    /// The user sent a message: all earlier ones count as read, and the list scrolls to its end (element-web#26076).
    pub(super) fn message_sent(&mut self) {
        self.at_end = true;
        self.count = 0;
        self.mentions = 0;
        self.remove_divider();
    }

    fn reset_if_seen(&mut self) {
        if self.at_end && self.visible {
            self.count = 0;
            self.mentions = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_visible_at_once_is_never_unread() {
        let mut unread = Unread::default();
        unread.message_arrived(1, 1, false);
        assert_eq!((unread.count, unread.divider), (0, None));
    }

    #[test]
    fn scrolling_up_or_hiding_the_page_leaves_a_divider_before_the_first_unread_message() {
        for away in [
            |r: &mut Unread| r.scrolled(false),
            |r: &mut Unread| r.visibility_changed(false),
        ] {
            let mut unread = Unread::default();
            away(&mut unread);
            unread.message_arrived(7, 1, false);
            unread.message_arrived(8, 2, true);
            assert_eq!((unread.count, unread.mentions, unread.divider), (2, 1, Some(7)));
            unread.visibility_changed(true);
            unread.scrolled(true);
            assert_eq!(
                (unread.count, unread.divider),
                (0, Some(7)),
                "it stays until the next unread messages"
            );
            unread.message_arrived(9, 3, false);
            assert_eq!(unread.divider, Some(7));
            unread.scrolled(false);
            unread.message_arrived(10, 4, true);
            assert_eq!((unread.count, unread.divider), (1, Some(10)));
        }
    }

    #[test]
    fn sending_a_message_scrolls_to_the_end_and_removes_the_divider() {
        let mut unread = Unread::default();
        unread.scrolled(false);
        unread.message_arrived(7, 1, false);
        unread.message_sent();
        assert_eq!(unread, Unread::default());
    }
}
