//! Which blocks of the timeline are on the page. Of many, some are drawn in each frame, those at the end first: a room that is
//! opened, or a page of history, takes no task that is longer than a frame.

use std::ops::Range;

/// So many blocks of a list of which nothing is on the page yet are drawn at once; more than what a window usually shows.
const FIRST: usize = 2;

/// At most so many blocks are drawn at once at either end.
const AT_ONCE: usize = 1;

/// The blocks on the page. They follow each other.
#[derive(Debug, Default)]
pub(super) struct DrawnBlocks {
    /// The first and the last.
    ends: Option<(u64, u64)>,
    is_complete: bool,
}

impl DrawnBlocks {
    /// The indices of the blocks to draw now, among all of the timeline. With `at_end`, the newest are shown.
    pub(super) fn advance(&mut self, blocks: &[u64], at_end: bool) -> Range<usize> {
        let place = |block: u64| blocks.iter().position(|other| *other == block);
        // Rows are dropped from the front, or from the back.
        let drawn = self.ends.and_then(|(first, last)| match (place(first), place(last)) {
            (None, None) => None,
            (start, last) => Some((start.unwrap_or(0), last.map_or(blocks.len(), |last| last + 1))),
        });
        let is_near = |(_, end): &(usize, usize)| !at_end || blocks.len() - end <= AT_ONCE;
        let range = match drawn.filter(is_near) {
            Some((start, end)) => start.saturating_sub(AT_ONCE)..(end + AT_ONCE).min(blocks.len()),
            None => blocks.len().saturating_sub(FIRST)..blocks.len(),
        };
        self.ends = blocks[range.clone()]
            .first()
            .copied()
            .zip(blocks[range.clone()].last().copied());
        self.is_complete = range.len() == blocks.len();
        range
    }

    /// Whether all blocks are drawn; if not, it goes on with the next frame.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_drawn_from_its_end_a_block_at_a_time() {
        let mut drawn = DrawnBlocks::default();
        let blocks = [5, 6, 7, 8];
        let mut step = || (drawn.advance(&blocks, true), drawn.is_complete());
        assert_eq!(
            [step(), step(), step(), step()],
            [(2..4, false), (1..4, false), (0..4, true), (0..4, true)]
        );
        assert_eq!(DrawnBlocks::default().advance(&[], true), 0..0);
    }

    #[test]
    fn blocks_that_come_at_either_end_are_drawn_beside_those_that_are_there_and_dropped_ones_are_gone() {
        let mut drawn = DrawnBlocks::default();
        assert_eq!(drawn.advance(&[5, 6], false), 0..2);
        // A page of history comes while others write.
        let blocks = [10, 9, 5, 6, 7, 8];
        assert_eq!(drawn.advance(&blocks, false), 1..5);
        assert!(!drawn.is_complete());
        assert_eq!(drawn.advance(&blocks, false), 0..6);
        assert!(drawn.is_complete());
        assert_eq!(drawn.advance(&[6, 7, 8, 13], true), 0..4);
        assert!(drawn.is_complete());
    }

    #[test]
    fn newest_blocks_that_make_place_for_older_ones_leave_the_others_drawn() {
        let mut drawn = DrawnBlocks::default();
        drawn.advance(&[5, 6], false);
        assert_eq!(drawn.advance(&[5, 6, 7, 8], false), 0..3);
        assert_eq!(drawn.advance(&[10, 9, 5, 6], false), 1..4);
        assert_eq!(drawn.advance(&[11, 10, 9, 5], false), 1..4);
        // Another part of the log.
        assert_eq!(drawn.advance(&[20, 21, 22], false), 1..3);
    }

    #[test]
    fn at_the_end_the_newest_blocks_are_drawn_first_however_many_came() {
        let mut drawn = DrawnBlocks::default();
        drawn.advance(&[1, 2], true);
        let blocks = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(drawn.advance(&blocks, true), 6..8);
        assert_eq!(drawn.advance(&blocks, true), 5..8);
        let other_room = [20, 21, 22];
        assert_eq!(drawn.advance(&other_room, true), 1..3);
    }
}
