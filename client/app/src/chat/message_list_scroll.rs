//! The scroll position of the message list: it stays at the end, or at the same row, while rows are added and removed.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use web_sys::{
    Element, HtmlCollection, HtmlElement, MutationObserver, MutationObserverInit,
    wasm_bindgen::{JsCast, closure::Closure},
};
use yew::NodeRef;

/// Within this distance of the end, in CSS pixels, the list counts as being at its end.
const NEAR_END: i32 = 24;

/// Within this distance of the oldest row, in CSS pixels, older messages are requested, and within it of the newest row newer ones.
const NEAR_ROWS: i32 = 300;

/// The attribute of a block whose height was measured; see the style sheet.
const SETTLED: &str = "data-settled";

/// So many elements at the end of the list are not settled: the last block, and the messages that are being sent.
const GROWING: u32 = 2;

/// The scrolled element, and the scroll anchor while it is drawn.
///
/// The browsers' own scroll anchoring (`overflow-anchor`) does not work at the very top, where history is inserted, and
/// WebKit has none.
#[derive(Default)]
pub(super) struct MessageListScroll {
    pub(super) viewport: NodeRef,
    /// Set from before a drawing until after it.
    anchor: RefCell<Option<Anchor>>,
    /// There is one as long as there is an anchor.
    changes: RefCell<Option<Changes>>,
    /// The `scrollTop` at the end, if the list was there after the last drawing.
    end: Cell<Option<i32>>,
    /// The width of the list at the last change of the window's size.
    width: Cell<i32>,
}

enum Anchor {
    End,
    Row {
        row: Element,
        /// Its lower edge before the drawing, in CSS pixels from the window's upper edge.
        bottom: f64,
        /// The list's `scrollTop` after the row was restored last.
        scrolled: Option<i32>,
    },
    Nothing,
}

/// Calls back when something in the list was changed, before the browser paints it.
struct Changes {
    observer: MutationObserver,
    _callback: Closure<dyn Fn()>,
}

impl Changes {
    fn of(list: &Element, callback: impl Fn() + 'static) -> Option<Self> {
        let callback = Closure::<dyn Fn()>::new(callback);
        let observer = MutationObserver::new(callback.as_ref().unchecked_ref()).ok()?;
        let changes = MutationObserverInit::new();
        changes.set_attributes(true);
        changes.set_child_list(true);
        changes.set_subtree(true);
        observer.observe_with_options(list, &changes).ok()?;
        Some(Self {
            observer,
            _callback: callback,
        })
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.observer.disconnect();
    }
}

/// The position of the list, as far as it decides what is drawn and requested.
pub(super) struct ScrollPosition {
    pub(super) at_end: bool,
    pub(super) near_start: bool,
    pub(super) near_end: bool,
}

impl MessageListScroll {
    pub(super) fn position(&self) -> Option<ScrollPosition> {
        let viewport = self.viewport.cast::<Element>()?;
        let below = viewport.scroll_height() - viewport.client_height() - viewport.scroll_top();
        let above_rows = older_marker(&viewport).map_or(0, |marker| marker.offset_top());
        Some(ScrollPosition {
            at_end: below <= NEAR_END,
            near_end: below <= NEAR_ROWS,
            near_start: viewport.scroll_top() <= above_rows + NEAR_ROWS,
        })
    }

    /// Another list is drawn next: it begins at its end.
    pub(super) fn forget(&self) {
        self.anchor.take();
        self.changes.take();
        self.end.take();
    }

    /// Scrolls to the row with a number and marks it, and no other. Returns whether it is on the page.
    pub(super) fn show(&self, row: u64) -> bool {
        let Some(viewport) = self.viewport.cast::<Element>() else {
            return false;
        };
        self.unmark();
        let row = viewport.query_selector(&format!("[data-row=\"{row}\"]")).ok().flatten();
        if let Some(row) = &row {
            // The attribute name is valid.
            let _: Result<(), _> = row.set_attribute("data-found", "");
            let (list, row) = (viewport.get_bounding_client_rect(), row.get_bounding_client_rect());
            #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
            let above = (row.top() - list.top() - (list.height() - row.height()) / 2.0) as i32;
            viewport.set_scroll_top(viewport.scroll_top() + above);
        }
        row.is_some()
    }

    /// Removes the mark of [`show`](Self::show).
    pub(super) fn unmark(&self) {
        let viewport = self.viewport.cast::<Element>();
        if let Some(Ok(Some(marked))) = viewport.map(|viewport| viewport.query_selector("[data-found]")) {
            // The attribute name is valid.
            let _: Result<(), _> = marked.remove_attribute("data-found");
        }
    }

    /// Before drawing: takes the anchor.
    ///
    /// When drawing takes long, Yew lets the browser paint each part of it, and may begin another drawing before
    /// [`drawn`](Self::drawn). So the position is also restored after each part, and a row that is the anchor already is
    /// kept: only the first call sees the position before the drawing.
    pub(super) fn before_drawing(self: &Rc<Self>, at_end: bool) {
        let anchor = self.new_anchor(at_end);
        match &*self.anchor.borrow() {
            Some(Anchor::Row { .. }) if !matches!(anchor, Anchor::End) => return,
            Some(_) => {}
            None => {
                let scroll = Rc::downgrade(self);
                let restore = move || scroll.upgrade().iter().for_each(|scroll| scroll.restore());
                let viewport = self.viewport.cast::<Element>();
                self.changes
                    .replace(viewport.and_then(|viewport| Changes::of(&viewport, restore)));
            }
        }
        self.anchor.replace(Some(anchor));
    }

    /// After drawing: restores the position of the anchor.
    pub(super) fn drawn(&self) {
        self.restore();
        self.anchor.take();
        self.changes.take();
        self.settle();
    }

    /// Tells the browser the heights of blocks that were drawn: it need not lay them out and paint them while they are not near what is
    /// in sight. Not those at the end, which grow and must have their true height when the list is scrolled there.
    fn settle(&self) {
        let Some(blocks) = self.blocks() else { return };
        let new = (0..blocks.length().saturating_sub(GROWING)).filter_map(|index| {
            let block = blocks.item(index).filter(|block| !block.has_attribute(SETTLED))?;
            block.dyn_into::<HtmlElement>().ok()
        });
        // All are measured before the first one is changed, which would need another layout.
        let measured: Vec<_> = new.map(|block| (block.offset_height(), block)).collect();
        for (height, block) in measured {
            // The policy of the page allows styles that a script sets. The attribute name is valid.
            let style = block.style();
            let _: Result<(), _> = style.set_property("contain-intrinsic-block-size", &format!("auto {height}px"));
            let _: Result<(), _> = block.set_attribute(SETTLED, "");
        }
    }

    /// The window has another size. If the list has another width, all blocks have other heights.
    pub(super) fn resized(&self) {
        let width = self
            .viewport
            .cast::<Element>()
            .map_or(0, |viewport| viewport.client_width());
        let Some(blocks) = self.blocks().filter(|_| self.width.replace(width) != width) else {
            return;
        };
        for index in 0..blocks.length() {
            // The attribute name is valid.
            let _: Option<Result<(), _>> = blocks.item(index).map(|block| block.remove_attribute(SETTLED));
        }
    }

    fn blocks(&self) -> Option<HtmlCollection> {
        let list = self
            .viewport
            .cast::<Element>()?
            .query_selector("#chat_messages")
            .ok()??;
        Some(list.children())
    }

    fn new_anchor(&self, at_end: bool) -> Anchor {
        // The `scroll` event is dispatched after the scrolling. Until then the list must not be moved back to the end.
        let end = self.end.take().filter(|_| at_end);
        let left_the_end = end.is_some_and(|end| {
            let top = self.viewport.cast::<Element>().map(|viewport| viewport.scroll_top());
            top.is_some_and(|top| top < end) && self.position().is_some_and(|position| !position.at_end)
        });
        if left_the_end {
            self.end.set(end);
        }
        if at_end && !left_the_end {
            return Anchor::End;
        }
        let row = self.viewport.cast().and_then(|viewport| first_visible_row(&viewport));
        row.map_or(Anchor::Nothing, |row| Anchor::Row {
            bottom: bottom(&row),
            row,
            scrolled: None,
        })
    }

    fn restore(&self) {
        let Some(viewport) = self.viewport.cast::<Element>() else {
            return;
        };
        let top = viewport.scroll_top();
        match &mut *self.anchor.borrow_mut() {
            Some(Anchor::Row {
                row,
                bottom: wanted,
                scrolled,
            }) if row.is_connected() => {
                // The user may have scrolled since.
                *wanted -= scrolled.map_or(0.0, |scrolled| f64::from(top - scrolled));
                #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
                let moved = (bottom(row) - *wanted).round() as i32;
                if moved != 0 {
                    viewport.set_scroll_top(top + moved);
                }
                *scrolled = Some(viewport.scroll_top());
            }
            Some(Anchor::End) if self.end.get().is_none_or(|end| top >= end) => {
                viewport.set_scroll_top(viewport.scroll_height());
                self.end.set(Some(viewport.scroll_top()));
            }
            _ => {}
        }
    }
}

/// The first row whose lower edge is below the viewport's upper edge. The upper edge of a row cannot be the anchor: it
/// moves when the row is grouped with the one above.
fn first_visible_row(viewport: &Element) -> Option<Element> {
    let blocks = viewport.query_selector("#chat_messages").ok()??.children();
    let edge = viewport.get_bounding_client_rect().top();
    // Day lines and the unread divider move when messages are inserted.
    let is_anchor = |row: &Element| {
        let classes = row.class_list();
        classes.contains("said") || classes.contains("notice")
    };
    (first_below(&blocks, edge)?..blocks.length()).find_map(|block| {
        let rows = blocks.item(block)?.children();
        (first_below(&rows, edge)?..rows.length()).find_map(|index| rows.item(index).filter(is_anchor))
    })
}

/// The index of the first element whose lower edge is below this one. A binary search, because there may be hundreds.
fn first_below(elements: &HtmlCollection, edge: f64) -> Option<u32> {
    let (mut from, mut to) = (0, elements.length());
    while from < to {
        let middle = u32::midpoint(from, to);
        if bottom(&elements.item(middle)?) > edge {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    Some(from)
}

/// The lower edge of an element, in CSS pixels from the window's upper edge.
fn bottom(element: &Element) -> f64 {
    element.get_bounding_client_rect().bottom()
}

fn older_marker(viewport: &Element) -> Option<HtmlElement> {
    viewport.query_selector(".older").ok()??.dyn_into().ok()
}
