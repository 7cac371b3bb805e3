//! The buttons of the message that is pointed at or has the focus: to copy its text, and the link to it.
//!
//! One element for all messages, which is moved without drawing: buttons in each row would be half of all elements.

use std::{cell::Cell, rc::Rc};

use web_sys::{Element, HtmlElement, KeyboardEvent, wasm_bindgen::JsCast};
use yew::{Callback, Html, NodeRef, html};

use super::{icon, reducer::Action};
use crate::i18n::{Language, Text};

/// So far they may reach below their message, in CSS pixels: the margin of `.said` between two senders.
const BELOW: f64 = 12.0;

#[derive(Default)]
pub(super) struct MessageActions {
    element: NodeRef,
    /// The number of the row that they are for.
    row: Cell<Option<u64>>,
}

impl MessageActions {
    pub(super) fn draw(self: &Rc<Self>, dispatch: &Callback<Action>, language: Language) -> Html {
        let button = |id: &'static str, label: Text, link: bool, icon: Html| {
            let (actions, dispatch) = (self.clone(), dispatch.clone());
            let onclick = move |_| {
                if let Some(row) = actions.row.get() {
                    dispatch.emit(Action::Copy { row, link });
                }
            };
            let label = label.in_language(language);
            html! {
                <button key={id} {id} type="button" class="icon-button" aria-label={label} title={label} {onclick}>
                    { icon }
                </button>
            }
        };
        html! {
            <div key="actions" class="message-actions" ref={self.element.clone()}>
                { button("chat_copy", Text::CopyMessage, false, icon::copy()) }
                { button("chat_copy_link", Text::CopyLink, true, icon::link()) }
            </div>
        }
    }

    /// The pointer or the focus is at this element of the list.
    pub(super) fn point_at(&self, target: Option<Element>) {
        let Some(element) = self.element.cast::<HtmlElement>() else {
            return;
        };
        let row = target.and_then(|target| target.closest(".said[data-row]").ok().flatten());
        let number = row.as_ref().and_then(row_number);
        if let (Some(row), Some(list)) = (row.filter(|_| number.is_some()), element.parent_element()) {
            // The attribute name is valid, so setting it cannot fail. The element has its size once it is shown.
            let _: Result<(), _> = element.set_attribute("data-shown", "");
            let (list, row, is_own) = (
                list.get_bounding_client_rect(),
                row.get_bounding_client_rect(),
                row.get_attribute("data-direction").as_deref() == Some("out"),
            );
            let _: Result<bool, _> = element.toggle_attribute_with_force("data-own", is_own);
            let height = f64::from(element.offset_height());
            // Of a message that is lower than they are, they reach up beside the one above, which is of the same sender: an own message
            // below would have its text under them.
            let top = row.top().min(row.bottom() + BELOW - height) - list.top();
            // In the list also where the message begins above it or ends below it.
            let top = top.clamp(0.0, (list.height() - height).max(0.0));
            // At the end of the row, which has the space for it; before an own one.
            let right = list.right() - if is_own { row.left() } else { row.right() };
            for (side, length) in [("top", top), ("right", right)] {
                // The policy of the page allows styles that a script sets.
                let _: Result<(), _> = element.style().set_property(side, &format!("{}px", pixels(length)));
            }
        } else {
            let _: Result<(), _> = element.remove_attribute("data-shown");
        }
        self.row.set(number);
    }

    /// The list was scrolled, or the pointer left it.
    pub(super) fn hide(&self) {
        self.point_at(None);
    }
}

/// The number of the row of the message that has the focus, for the keys that concern it.
pub(super) fn row_of(event: &KeyboardEvent) -> Option<u64> {
    let target = event.target()?.dyn_into::<Element>().ok()?;
    row_number(&target)
}

/// Lets the Tab key reach what can be pressed or scrolled in the text of the message that has the focus, or of which a part has it, and in
/// no other one: a long conversation would have hundreds of such stops.
pub(super) fn let_tab_into(list: &Element, target: &Element) {
    const STOPS: &str = ".text [tabindex], .unfold";
    let row = target.closest(".said").ok().flatten();
    for (root, index) in [(Some(list), "-1"), (row.as_ref(), "0")] {
        let Some(Ok(stops)) = root.map(|root| root.query_selector_all(STOPS)) else {
            continue;
        };
        for number in 0..stops.length() {
            if let Some(stop) = stops.get(number).and_then(|stop| stop.dyn_into::<Element>().ok()) {
                // The attribute name is valid, so setting it cannot fail.
                let _: Result<(), _> = stop.set_attribute("tabindex", index);
            }
        }
    }
}

/// Moves the focus to the message above or below; from the list itself to its last one. Returns false if there is none.
pub(super) fn move_focus(list: &Element, event: &KeyboardEvent, up: bool) -> bool {
    let Some(target) = event.target().and_then(|target| target.dyn_into::<Element>().ok()) else {
        return false;
    };
    let mut next = if target == *list {
        let Ok(rows) = list.query_selector_all(".said[data-row]") else {
            return false;
        };
        rows.get(rows.length().wrapping_sub(1))
            .and_then(|row| row.dyn_into().ok())
    } else {
        sibling(&target, up)
    };
    while let Some(row) = next {
        if row_number(&row).is_some() {
            // Focusing an element that is on the page cannot fail.
            let _: Option<Result<(), _>> = row.dyn_ref::<HtmlElement>().map(HtmlElement::focus);
            return true;
        }
        next = sibling(&row, up);
    }
    false
}

/// The element above or below a row, which may be in the next block.
fn sibling(row: &Element, up: bool) -> Option<Element> {
    let next = |of: &Element| {
        if up {
            of.previous_element_sibling()
        } else {
            of.next_element_sibling()
        }
    };
    next(row).or_else(|| {
        let mut block = next(&row.parent_element()?);
        while let Some(rows) = block {
            let row = if up {
                rows.last_element_child()
            } else {
                rows.first_element_child()
            };
            if row.is_some() {
                return row;
            }
            block = next(&rows);
        }
        None
    })
}

fn row_number(row: &Element) -> Option<u64> {
    row.get_attribute("data-row")?.parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
fn pixels(length: f64) -> i32 {
    length as i32
}
