//! The pure state of the log's virtual list: all rows have one height, so only the visible ones are drawn and no row is
//! measured.

use std::ops::Range;

/// The height of a row in CSS pixels; `--row` in `log.css` is the same.
pub(crate) const ROW_PIXELS: u32 = 26;

const ROW_HEIGHT: f64 = ROW_PIXELS as f64;

/// The row elements, at most, however high the window is; `log.css` bounds the list's height accordingly.
const MAX_DRAWN: usize = 60;

/// Rows drawn beyond the visible ones on either side, so that a fast scroll shows no gap.
const OVERSCAN: usize = 6;

/// The scroll position and the selection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct VirtualList {
    pub(crate) scroll_top: f64,
    pub(crate) height: f64,
    /// The list stays at its end while rows arrive.
    pub(crate) follow: bool,
    /// The number of the selected row.
    pub(crate) selected: Option<u64>,
    /// A pointer is down on the list.
    pub(crate) pressed: bool,
    /// A key has moved the list, and its element was not scrolled yet.
    pub(crate) moved: bool,
}

/// A change of the selection by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectionMove {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Default for VirtualList {
    fn default() -> Self {
        // A usual height for the first drawing, before the element is measured.
        Self {
            scroll_top: 0.0,
            height: 24.0 * ROW_HEIGHT,
            follow: true,
            selected: None,
            pressed: false,
            moved: false,
        }
    }
}

impl VirtualList {
    /// Whether the list is at its end and stays there. Following rests while a row is selected or about to be, because a row that moves
    /// away under the pointer cannot be clicked, and one that is read must stay in view.
    pub(crate) fn is_following(&self) -> bool {
        self.follow && self.selected.is_none() && !self.pressed
    }

    /// The indices of the rows to draw among `total` rows.
    pub(crate) fn drawn(&self, total: usize) -> Range<usize> {
        let visible = rows(self.height) + 1;
        let count = (visible + 2 * OVERSCAN).min(MAX_DRAWN);
        let first = if self.is_following() {
            total.saturating_sub(visible)
        } else {
            rows(self.scroll_top)
        };
        // In a very high window, fewer are drawn beyond the visible ones.
        let above = count.saturating_sub(visible) / 2;
        let start = first.saturating_sub(above).min(total.saturating_sub(count));
        start..(start + count).min(total)
    }

    /// The element was scrolled or resized, or its content grew. Scrolling up stops following, reaching the end starts
    /// it again; growth does neither, and being at the end neither, where the user may have stopped it. Where the element
    /// stood before a key moved the list means nothing.
    pub(crate) fn scrolled(&mut self, top: f64, height: f64, content_height: f64) {
        self.height = height;
        if self.moved {
            return;
        }
        let at_end = top + height >= content_height - ROW_HEIGHT / 2.0;
        if at_end {
            self.follow |= (top - self.scroll_top).abs() > 1.0;
        } else if top < self.scroll_top - 1.0 {
            self.follow = false;
        }
        self.scroll_top = top;
    }

    /// So many rows were dropped from the front: the visible ones keep their position.
    pub(crate) fn front_dropped(&mut self, rows: u64) {
        #[expect(clippy::cast_precision_loss, reason = "the rows of a log are far below 2^53")]
        let gone = rows as f64 * ROW_HEIGHT;
        self.scroll_top = (self.scroll_top - gone).max(0.0);
    }

    /// The index of the row that a key selects among `total` rows, of which the one at the index `selected` is selected now.
    /// Without a selection, or when its row is gone, a move starts at the newest row. The row is scrolled into view.
    pub(crate) fn move_selection(
        &mut self,
        movement: SelectionMove,
        selected: Option<usize>,
        total: usize,
    ) -> Option<usize> {
        let last = total.checked_sub(1)?;
        let page = rows(self.height).saturating_sub(1).max(1);
        let target = match (movement, selected) {
            (SelectionMove::First, _) => 0,
            (SelectionMove::Last, _) | (_, None) => last,
            (SelectionMove::Up, Some(index)) => index.saturating_sub(1),
            (SelectionMove::Down, Some(index)) => index + 1,
            (SelectionMove::PageUp, Some(index)) => index.saturating_sub(page),
            (SelectionMove::PageDown, Some(index)) => index + page,
        };
        let target = target.min(last);
        if self.is_following() {
            self.scroll_top = (pixels(total) - self.height).max(0.0);
        }
        self.scroll_into_view(target, total);
        self.moved = true;
        Some(target)
    }

    /// Brings a row that was clicked back if the list is held at a place without it: on a busy machine newer rows are drawn
    /// some time before their element is scrolled, and can be clicked meanwhile.
    pub(crate) fn show(&mut self, index: usize) {
        let top = pixels(index);
        if top + ROW_HEIGHT <= self.scroll_top || top >= self.scroll_top + self.height {
            self.scroll_top = (top + ROW_HEIGHT - self.height).max(0.0);
            self.moved = true;
        }
    }

    /// Scrolls by the least distance that makes the row at an index wholly visible.
    pub(crate) fn scroll_into_view(&mut self, index: usize, total: usize) {
        let [top, total] = [index, total].map(pixels);
        let highest = top;
        let lowest = top + ROW_HEIGHT - self.height;
        // Not `clamp`: its panic message formats floats, 16 KB of code.
        self.scroll_top = self.scroll_top.max(lowest).min(highest).max(0.0);
        self.follow = self.scroll_top + self.height >= total - 1.0;
    }
}

/// The height of so many rows.
fn pixels(rows: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the rows of a log are far below 2^53")]
    let rows = rows as f64;
    rows * ROW_HEIGHT
}

/// How many whole rows fit into a height.
fn rows(height: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative becomes 0, and a list is no higher than its rows"
    )]
    let rows = (height / ROW_HEIGHT) as usize;
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> VirtualList {
        VirtualList {
            height: 10.0 * ROW_HEIGHT,
            ..VirtualList::default()
        }
    }

    #[test]
    fn a_hundred_thousand_rows_draw_at_most_sixty_elements() {
        for height in [0.0, 280.0, 2_000.0, 1e9] {
            for top in [0.0, 1e6, 1e12] {
                for follow in [false, true] {
                    let view = VirtualList {
                        height,
                        scroll_top: top,
                        follow,
                        ..list()
                    };
                    let drawn = view.drawn(100_000);
                    assert!(drawn.len() <= 60 && drawn.end <= 100_000, "{view:?} {drawn:?}");
                }
            }
        }
    }

    #[test]
    fn following_draws_the_newest_rows_and_otherwise_the_visible_ones() {
        let mut view = list();
        assert_eq!(view.drawn(1000).end, 1000);
        assert_eq!(view.drawn(3), 0..3);
        assert_eq!(view.drawn(0), 0..0);
        view.follow = false;
        view.scroll_top = 500.0 * ROW_HEIGHT;
        let drawn = view.drawn(1000);
        assert!(drawn.start <= 500 && drawn.end >= 511, "{drawn:?}");
    }

    #[test]
    fn scrolling_up_stops_following_and_reaching_the_end_resumes_it() {
        // bruno#6874: scrolling could not be stopped.
        let mut view = list();
        view.scrolled(720.0, 280.0, 1000.0);
        assert!(view.follow);
        view.scrolled(720.0, 280.0, 5000.0);
        assert!(view.follow, "rows that arrive below must not stop it");
        view.scrolled(600.0, 280.0, 5000.0);
        assert!(!view.follow);
        view.scrolled(800.0, 280.0, 5000.0);
        assert!(!view.follow, "scrolling down but not to the end must not start it");
        view.scrolled(4720.0, 280.0, 5000.0);
        assert!(view.follow);
        view.follow = false;
        view.scrolled(4720.0, 280.0, 5000.0);
        assert!(!view.follow, "it was stopped at the end");
    }

    #[test]
    fn a_key_moves_the_list_also_if_the_scroll_event_of_rows_that_came_before_is_late() {
        let mut view = list();
        view.scrolled(pixels(990), view.height, pixels(1000));
        assert_eq!(view.move_selection(SelectionMove::First, None, 1000), Some(0));
        view.scrolled(pixels(990), view.height, pixels(1000));
        assert_eq!((view.scroll_top, view.follow), (0.0, false));
        view.moved = false;
        view.scrolled(pixels(990), view.height, pixels(1000));
        assert!(view.follow);
    }

    #[test]
    fn a_row_that_was_clicked_before_the_list_was_scrolled_to_it_is_shown() {
        let mut view = list();
        view.scrolled(pixels(990), view.height, pixels(1000));
        view.selected = Some(1050);
        view.show(1050);
        assert!(view.drawn(1100).contains(&1050));
        assert!(view.follow, "following goes on after the row is let go");
        let place = view.scroll_top;
        view.show(1049);
        assert!(
            (view.scroll_top - place).abs() < 1.0,
            "a row that is visible moves nothing"
        );
    }

    #[test]
    fn following_rests_while_a_row_is_pressed_or_selected_and_goes_on_afterwards() {
        let mut view = list();
        view.scrolled(pixels(990), view.height, pixels(1000));
        let shows = |view: &VirtualList, rows: Range<usize>| {
            let drawn = view.drawn(1100);
            drawn.start <= rows.start && rows.end <= drawn.end
        };
        assert!(shows(&view, 1090..1100));
        view.pressed = true;
        assert!(shows(&view, 990..1000));
        view.selected = Some(995);
        view.pressed = false;
        assert!(shows(&view, 990..1000));
        view.selected = None;
        assert!(shows(&view, 1090..1100));
    }

    #[test]
    fn dropping_old_rows_keeps_the_visible_ones_in_place() {
        let mut view = VirtualList {
            follow: false,
            scroll_top: 100.0 * ROW_HEIGHT,
            ..list()
        };
        let before = view.drawn(1000).start;
        view.front_dropped(40);
        assert_eq!(view.drawn(960).start, before - 40);
        view.front_dropped(1_000_000);
        assert_eq!(view.scroll_top, 0.0);
    }

    #[test]
    fn keys_move_the_selection_and_scroll_by_the_least_distance() {
        let mut view = list();
        let mut index = None;
        let mut press = |view: &mut VirtualList, movement| {
            index = view.move_selection(movement, index, 1000);
            view.selected = index.map(|index| index as u64);
            (index, view.follow)
        };
        assert_eq!(
            press(&mut view, SelectionMove::Up),
            (Some(999), true),
            "the first key selects the newest"
        );
        for _ in 0..8 {
            press(&mut view, SelectionMove::Up);
        }
        assert_eq!(press(&mut view, SelectionMove::Up), (Some(990), true), "still visible");
        assert_eq!(press(&mut view, SelectionMove::Up), (Some(989), false));
        assert_eq!(view.scroll_top, 989.0 * ROW_HEIGHT);
        assert_eq!(press(&mut view, SelectionMove::PageUp).0, Some(980));
        assert_eq!(press(&mut view, SelectionMove::First).0, Some(0));
        assert_eq!(view.scroll_top, 0.0);
        assert_eq!(press(&mut view, SelectionMove::Up).0, Some(0));
        assert_eq!(press(&mut view, SelectionMove::Last), (Some(999), true));
        assert_eq!(press(&mut view, SelectionMove::PageDown).0, Some(999));
    }

    #[test]
    fn without_a_selected_row_a_key_selects_the_newest_and_in_an_empty_list_none() {
        let mut view = list();
        assert_eq!(view.move_selection(SelectionMove::Down, None, 50), Some(49));
        assert_eq!(view.move_selection(SelectionMove::Down, None, 0), None);
    }

    #[test]
    fn in_a_very_high_window_the_visible_rows_are_drawn() {
        let view = VirtualList {
            height: 58.0 * ROW_HEIGHT,
            scroll_top: 500.0 * ROW_HEIGHT,
            follow: false,
            ..list()
        };
        let drawn = view.drawn(1000);
        assert!(drawn.start <= 500 && drawn.end >= 559, "{drawn:?}");
    }
}
