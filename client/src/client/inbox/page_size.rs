//! The size of the pages that an inbox requests from the log.

/// The largest page that is requested, which is the default limit of servers. [`InboxOptions`](super::InboxOptions)
/// documents it.
const MAX: u32 = 100;

/// The most full pages that are needed before a larger size is tried. [`InboxOptions`](super::InboxOptions) documents
/// it.
const MAX_FULL_PAGES_NEEDED: u32 = 64;

/// The size of the next page. A server with a lower limit gives only the newest of the requested messages, which do not
/// continue the queue, so the size falls to the number that it gave. After some full pages the double size is tried,
/// because another server may have another limit; each time that the server gives too few again, more full pages are
/// needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    limit: u32,
    /// Consecutive full pages of this size.
    full_pages: u32,
    /// How many full pages are needed before a larger size is tried.
    full_pages_needed: u32,
    /// This size was raised, and the server gave no page of it yet.
    is_trial: bool,
}

impl Default for PageSize {
    fn default() -> Self {
        Self {
            limit: MAX,
            full_pages: 0,
            full_pages_needed: 1,
            is_trial: false,
        }
    }
}

impl PageSize {
    /// The most messages of the next page, from 1 to 100.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The server gave as many messages as requested.
    pub(super) fn full_page(&mut self) {
        self.full_pages += 1;
        if std::mem::take(&mut self.is_trial) {
            self.full_pages_needed = 1;
        }
        if self.full_pages >= self.full_pages_needed {
            self.limit = (self.limit * 2).min(MAX);
            self.full_pages = 0;
            self.is_trial = true;
        }
    }

    /// The server gave only this many messages.
    pub(super) fn short_page(&mut self, messages: usize) {
        self.limit = u32::try_from(messages).unwrap_or(MAX).max(1);
        self.full_pages = 0;
        self.is_trial = false;
        self.full_pages_needed = (self.full_pages_needed * 2).min(MAX_FULL_PAGES_NEEDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many full pages the size grows, and the size then.
    fn grown(size: &mut PageSize) -> (u32, u32) {
        let before = size.limit();
        let pages = (1..1_000).find(|_| {
            size.full_page();
            size.limit() != before
        });
        (pages.expect("the size grows"), size.limit())
    }

    #[test]
    fn the_size_falls_to_a_short_page_and_doubles_after_full_pages() {
        let mut size = PageSize::default();
        assert_eq!(size.limit(), 100);
        size.short_page(10);
        assert_eq!(size.limit(), 10);
        assert_eq!(grown(&mut size), (2, 20));
        assert_eq!(grown(&mut size), (1, 40), "a page of the larger size was full");
        assert_eq!(grown(&mut size), (1, 80));
        assert_eq!(grown(&mut size), (1, 100));
        size.full_page();
        assert_eq!(size.limit(), 100, "the largest size");
    }

    #[test]
    fn each_short_page_doubles_the_full_pages_needed_for_a_larger_size() {
        let mut size = PageSize::default();
        for needed in [2, 4, 8, 16, 32, 64, 64, 64] {
            size.short_page(5);
            assert_eq!(grown(&mut size), (needed, 10));
        }
        size.full_page();
        size.short_page(5);
        assert_eq!(
            grown(&mut size),
            (2, 10),
            "a page of the larger size was full in between"
        );
    }

    #[test]
    fn after_an_empty_page_one_message_is_requested() {
        let mut size = PageSize::default();
        size.short_page(0);
        assert_eq!(size.limit(), 1);
    }
}
