//! What stays in sight while rows come and go: the end, or what is being read.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use web_sys::{Element, HtmlElement, wasm_bindgen::JsCast};
use yew::{NodeRef, platform::spawn_local};

/// Within this distance of the end, in CSS pixels, the list counts as being at its end.
const NEAR_END: i32 = 24;

/// Within this distance of the oldest row older ones are fetched, in CSS pixels.
const NEAR_START: i32 = 300;

/// The scrolled element, and what stays in place while it is drawn anew.
///
/// Browsers have this as `overflow-anchor`, but not at the very top, where pages of history come in, and WebKit not at all.
#[derive(Default)]
pub(super) struct MessageListScroll {
    pub(super) viewport: NodeRef,
    /// What to stay at, while drawing.
    held: RefCell<Option<Held>>,
    /// How far it was scrolled to be at the end, if it was there when it was drawn last.
    end: Cell<Option<i32>>,
}

enum Held {
    End,
    Row {
        row: Element,
        /// Where it ended before the drawing, in CSS pixels from the window's upper edge.
        bottom: f64,
        /// How far the list was scrolled when the row was put back last.
        scrolled: Option<i32>,
    },
    Nothing,
}

/// Where the list is scrolled to.
pub(super) struct ScrollPosition {
    pub(super) at_end: bool,
    pub(super) near_start: bool,
}

impl MessageListScroll {
    pub(super) fn position(&self) -> Option<ScrollPosition> {
        let viewport = self.viewport.cast::<Element>()?;
        let below = viewport.scroll_height() - viewport.client_height() - viewport.scroll_top();
        let above_rows = older_marker(&viewport).map_or(0, |marker| marker.offset_top());
        Some(ScrollPosition {
            at_end: below <= NEAR_END,
            near_start: viewport.scroll_top() <= above_rows + NEAR_START,
        })
    }

    /// Before drawing: remembers what to stay at.
    ///
    /// When drawing takes long, Yew lets the browser show what is drawn so far, and may even begin another drawing before
    /// [`drawn`](Self::drawn). The list is put back before that too, in a microtask, and only the first beginning tells where it was.
    pub(super) fn before_drawing(self: &Rc<Self>, at_end: bool) {
        let held = self.at_hand(at_end);
        match &*self.held.borrow() {
            Some(Held::Row { .. }) if !matches!(held, Held::End) => return,
            Some(_) => {}
            None => {
                let scroll = Rc::clone(self);
                spawn_local(async move { scroll.put_back() });
            }
        }
        self.held.replace(Some(held));
    }

    /// After drawing: puts the list back to where it was, or goes to the end.
    pub(super) fn drawn(&self) {
        self.put_back();
        self.held.take();
    }

    fn at_hand(&self, at_end: bool) -> Held {
        // The event that tells of scrolling comes later than the scrolling. Meanwhile the list must not be moved back to the end.
        let end = self.end.take().filter(|_| at_end);
        let left_the_end = end.is_some_and(|end| {
            let top = self.viewport.cast::<Element>().map(|viewport| viewport.scroll_top());
            top.is_some_and(|top| top < end) && self.position().is_some_and(|place| !place.at_end)
        });
        if left_the_end {
            self.end.set(end);
        }
        if at_end && !left_the_end {
            return Held::End;
        }
        let row = self.viewport.cast().and_then(|viewport| first_in_sight(&viewport));
        row.map_or(Held::Nothing, |row| Held::Row {
            bottom: bottom(&row),
            row,
            scrolled: None,
        })
    }

    fn put_back(&self) {
        let Some(viewport) = self.viewport.cast::<Element>() else {
            return;
        };
        let top = viewport.scroll_top();
        match &mut *self.held.borrow_mut() {
            Some(Held::Row {
                row,
                bottom: stay,
                scrolled,
            }) if row.is_connected() => {
                // The reader may have scrolled since.
                *stay -= scrolled.map_or(0.0, |scrolled| f64::from(top - scrolled));
                #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
                let moved = (bottom(row) - *stay).round() as i32;
                if moved != 0 {
                    viewport.set_scroll_top(top + moved);
                }
                *scrolled = Some(viewport.scroll_top());
            }
            Some(Held::End) if self.end.get().is_none_or(|end| top >= end) => {
                viewport.set_scroll_top(viewport.scroll_height());
                self.end.set(Some(viewport.scroll_top()));
            }
            _ => {}
        }
    }
}

/// The first row whose end is below the upper edge: its beginning may move when it turns out to be one speech with the row above.
/// Found by halving, as there may be thousands.
fn first_in_sight(viewport: &Element) -> Option<Element> {
    let rows = viewport.query_selector("ol").ok()??.children();
    let edge = viewport.get_bounding_client_rect().top();
    let (mut from, mut to) = (0, rows.length());
    while from < to {
        let middle = u32::midpoint(from, to);
        if bottom(&rows.item(middle)?) > edge {
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
    (from..rows.length()).find_map(|index| rows.item(index).filter(is_held))
}

/// Where an element ends, in CSS pixels from the window's upper edge.
fn bottom(element: &Element) -> f64 {
    element.get_bounding_client_rect().bottom()
}

fn older_marker(viewport: &Element) -> Option<HtmlElement> {
    viewport.query_selector(".older").ok()??.dyn_into().ok()
}
