//! How many messages of the log to ask for at once.

/// What a server gives at once by default, and the most that is asked for.
const MAX: u32 = 100;

/// The most whole pages that must come before a larger page is tried.
const MAX_PATIENCE: u32 = 64;

/// The size of the next page. A server may give fewer messages than it was asked for, the newest of them, which are of no use for reading
/// on; so the size falls to what came. After some whole pages the double is tried, because another server may have other limits, and
/// after more of them each time that the server gave too few again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    limit: u32,
    /// Whole pages of this size in a row.
    whole: u32,
    /// How many of them there must be before a larger size is tried.
    patience: u32,
    /// This size was tried after a smaller one, and no page of it came yet.
    tried: bool,
}

impl Default for PageSize {
    fn default() -> Self {
        Self {
            limit: MAX,
            whole: 0,
            patience: 1,
            tried: false,
        }
    }
}

impl PageSize {
    /// From 1 to 100.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// As many messages came as were asked for.
    pub(super) fn came_whole(&mut self) {
        self.whole += 1;
        if std::mem::take(&mut self.tried) {
            self.patience = 1;
        }
        if self.whole >= self.patience {
            self.limit = (self.limit * 2).min(MAX);
            self.whole = 0;
            self.tried = true;
        }
    }

    /// Only so many messages came.
    pub(super) fn came_short(&mut self, messages: usize) {
        self.limit = u32::try_from(messages).unwrap_or(MAX).max(1);
        self.whole = 0;
        self.tried = false;
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many whole pages come until the size grows, and what it is then.
    fn grown(size: &mut PageSize) -> (u32, u32) {
        let before = size.limit();
        let pages = (1..1_000).find(|_| {
            size.came_whole();
            size.limit() != before
        });
        (pages.expect("the size grows"), size.limit())
    }

    #[test]
    fn the_size_falls_to_what_came_and_doubles_after_whole_pages() {
        let mut size = PageSize::default();
        assert_eq!(size.limit(), 100);
        size.came_short(10);
        assert_eq!(size.limit(), 10);
        assert_eq!(grown(&mut size), (2, 20));
        assert_eq!(grown(&mut size), (1, 40), "the larger size came whole");
        assert_eq!(grown(&mut size), (1, 80));
        assert_eq!(grown(&mut size), (1, 100));
        size.came_whole();
        assert_eq!(size.limit(), 100, "never more than this is asked for");
    }

    #[test]
    fn a_server_that_gives_too_few_each_time_is_asked_for_more_ever_more_seldom() {
        let mut size = PageSize::default();
        for patience in [2, 4, 8, 16, 32, 64, 64, 64] {
            size.came_short(5);
            assert_eq!(grown(&mut size), (patience, 10));
        }
        size.came_whole();
        size.came_short(5);
        assert_eq!(grown(&mut size), (2, 10), "it gave more once");
    }

    #[test]
    fn an_empty_page_still_asks_for_one_message() {
        let mut size = PageSize::default();
        size.came_short(0);
        assert_eq!(size.limit(), 1);
    }
}
