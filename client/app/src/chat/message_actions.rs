//! The buttons of the message that is pointed at or has the focus: to copy its text, and the link to it.
//!
//! One element for all messages, which is moved without drawing: buttons in each row would be half of all elements.

use std::{cell::Cell, rc::Rc};

use web_sys::{Element, HtmlElement, KeyboardEvent, wasm_bindgen::JsCast};
use yew::{Callback, Html, NodeRef, html};

use super::{icon, reducer::Action};
use crate::i18n::{Language, Text};

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
            let top = row.get_bounding_client_rect().top() - list.get_bounding_client_rect().top();
            // The policy of the page allows styles that a script sets.
            let _: Result<(), _> = element.style().set_property("top", &format!("{}px", pixels(top)));
            let _: Result<(), _> = element.set_attribute("data-shown", "");
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

fn sibling(row: &Element, up: bool) -> Option<Element> {
    if up {
        row.previous_element_sibling()
    } else {
        row.next_element_sibling()
    }
}

fn row_number(row: &Element) -> Option<u64> {
    row.get_attribute("data-row")?.parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
fn pixels(length: f64) -> i32 {
    length as i32
}
