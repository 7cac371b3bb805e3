//! What the reader has seen: whether the newest rows are in sight, how many are not, and where the unread ones begin.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The end of the conversation is in sight, or would be if the page were.
    pub(crate) at_end: bool,
    /// The page is in sight.
    visible: bool,
    /// How many messages of others came that were not in sight yet.
    pub(crate) unread: usize,
    /// The number of the row before which the unread ones began.
    pub(crate) divider: Option<u64>,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            at_end: true,
            visible: true,
            unread: 0,
            divider: None,
        }
    }
}

impl Unread {
    pub(super) fn is_visible(&self) -> bool {
        self.visible
    }

    /// A message of another came, as the row of this number. The divider stays where it is until the next unread run begins.
    pub(super) fn news(&mut self, number: u64) {
        if self.at_end && self.visible {
            return;
        }
        if self.unread == 0 {
            self.divider = Some(number);
        }
        self.unread += 1;
    }

    pub(super) fn scrolled(&mut self, at_end: bool) {
        self.at_end = at_end;
        self.seen();
    }

    pub(super) fn shown(&mut self, visible: bool) {
        self.visible = visible;
        self.seen();
    }

    /// The reader answered: everything before is read, and the end is where to look (element-web#26076).
    pub(super) fn wrote(&mut self) {
        self.at_end = true;
        self.unread = 0;
        self.divider = None;
    }

    fn seen(&mut self) {
        if self.at_end && self.visible {
            self.unread = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_sight_at_once_is_never_unread() {
        let mut reading = Unread::default();
        reading.news(1);
        assert_eq!((reading.unread, reading.divider), (0, None));
    }

    #[test]
    fn who_reads_further_up_or_looks_elsewhere_finds_a_divider_where_the_news_began() {
        for away in [|r: &mut Unread| r.scrolled(false), |r: &mut Unread| r.shown(false)] {
            let mut reading = Unread::default();
            away(&mut reading);
            reading.news(7);
            reading.news(8);
            assert_eq!((reading.unread, reading.divider), (2, Some(7)));
            reading.shown(true);
            reading.scrolled(true);
            assert_eq!((reading.unread, reading.divider), (0, Some(7)), "it stays to be found");
            reading.news(9);
            assert_eq!(reading.divider, Some(7));
            reading.scrolled(false);
            reading.news(10);
            assert_eq!((reading.unread, reading.divider), (1, Some(10)));
        }
    }

    #[test]
    fn an_answer_goes_to_the_end_and_takes_the_divider_away() {
        let mut reading = Unread::default();
        reading.scrolled(false);
        reading.news(7);
        reading.wrote();
        assert_eq!(reading, Unread::default());
    }
}
