//! What stays in sight while rows come and go: the end, or what is being read.

use std::cell::{Cell, RefCell};

use web_sys::{Element, HtmlElement, wasm_bindgen::JsCast};
use yew::NodeRef;

/// Within this distance of the end, in CSS pixels, the list counts as being at its end.
const NEAR_END: i32 = 24;

/// Within this distance of the oldest row older ones are fetched, in CSS pixels.
const NEAR_START: i32 = 300;

/// The scrolled element, and the row that is held in place while it is drawn anew.
///
/// Browsers have this as `overflow-anchor`, but not at the very top, where pages of history come in, and WebKit not at all.
#[derive(Default)]
pub(super) struct Scroll {
    pub(super) viewport: NodeRef,
    held: RefCell<Option<(Element, f64)>>,
    /// How far it was scrolled to be at the end, if it was there when it was drawn last.
    end: Cell<Option<i32>>,
}

/// Where the list is scrolled to.
pub(super) struct Place {
    pub(super) at_end: bool,
    pub(super) near_start: bool,
}

impl Scroll {
    pub(super) fn place(&self) -> Option<Place> {
        let viewport = self.viewport.cast::<Element>()?;
        let below = viewport.scroll_height() - viewport.client_height() - viewport.scroll_top();
        let above_rows = older_marker(&viewport).map_or(0, |marker| marker.offset_top());
        Some(Place {
            at_end: below <= NEAR_END,
            near_start: viewport.scroll_top() <= above_rows + NEAR_START,
        })
    }

    /// Before drawing: remembers where the first row in sight ends, if that is what to stay at.
    pub(super) fn before_drawing(&self, at_end: bool) {
        // The event that tells of scrolling comes later than the scrolling. Meanwhile the list must not be moved back to the end.
        let end = self.end.take().filter(|_| at_end);
        let left_the_end = end.is_some_and(|end| {
            let top = self.viewport.cast::<Element>().map(|viewport| viewport.scroll_top());
            top.is_some_and(|top| top < end) && self.place().is_some_and(|place| !place.at_end)
        });
        if left_the_end {
            self.end.set(end);
        }
        if !at_end || left_the_end {
            let viewport = self.viewport.cast::<Element>();
            self.held
                .replace(viewport.and_then(|viewport| first_in_sight(&viewport)));
        }
    }

    /// After drawing: puts that row back where it was, or goes to the end.
    pub(super) fn after_drawing(&self, at_end: bool) {
        let Some(viewport) = self.viewport.cast::<Element>() else {
            return;
        };
        if let Some((row, bottom)) = self.held.take() {
            if row.is_connected() {
                let moved = row.get_bounding_client_rect().bottom() - bottom;
                #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
                let moved = moved.round() as i32;
                if moved != 0 {
                    viewport.set_scroll_top(viewport.scroll_top() + moved);
                }
            }
        } else if at_end {
            viewport.set_scroll_top(viewport.scroll_height());
            self.end.set(Some(viewport.scroll_top()));
        }
    }
}

/// The first row whose end is below the upper edge, and where it ends: its beginning may move when it turns out to be one speech
/// with the row above. Found by halving, as there may be thousands.
fn first_in_sight(viewport: &Element) -> Option<(Element, f64)> {
    let rows = viewport.query_selector("ol").ok()??.children();
    let edge = viewport.get_bounding_client_rect().top();
    let (mut from, mut to) = (0, rows.length());
    while from < to {
        let middle = u32::midpoint(from, to);
        if rows.item(middle)?.get_bounding_client_rect().bottom() > edge {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    // What stands between the messages moves when others come in.
    let is_held = |row: &Element| {
        let classes = row.class_list();
        classes.contains("said") || classes.contains("notice")
    };
    let row = (from..rows.length()).find_map(|index| rows.item(index).filter(is_held))?;
    let bottom = row.get_bounding_client_rect().bottom();
    Some((row, bottom))
}

fn older_marker(viewport: &Element) -> Option<HtmlElement> {
    viewport.query_selector(".older").ok()??.dyn_into().ok()
}
