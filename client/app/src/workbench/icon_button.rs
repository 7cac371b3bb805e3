//! A button with an icon and no words: one function for all, because what a drawn element costs in code is in each place that draws one.

use web_sys::MouseEvent;
use yew::{AttrValue, Callback, Html, html};

/// A button; [`IconButton::new`] is a plain one.
pub(super) struct IconButton {
    /// Also its key, and the `id` unless it is an action of a list's row.
    pub(super) name: AttrValue,
    /// What it does, in words: its title, and what a screen reader says.
    pub(super) label: AttrValue,
    /// The lines of the icon, on 16 by 16.
    pub(super) path: &'static str,
    pub(super) onclick: Callback<MouseEvent>,
    pub(super) pressed: Option<bool>,
    pub(super) disabled: bool,
    /// The `id` of the popover that it opens.
    pub(super) opens: Option<&'static str>,
    /// It is an action of a list's row, each of which has one of this name.
    pub(super) of_row: bool,
    /// Its `id`, of one that is an action of a list's row.
    pub(super) id: Option<&'static str>,
}

impl IconButton {
    pub(super) fn new(
        name: impl Into<AttrValue>,
        label: impl Into<AttrValue>,
        path: &'static str,
        onclick: Callback<MouseEvent>,
    ) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            path,
            onclick,
            pressed: None,
            disabled: false,
            opens: None,
            of_row: false,
            id: None,
        }
    }

    pub(super) fn draw(self) -> Html {
        let Self {
            name,
            label,
            path,
            onclick,
            pressed,
            disabled,
            opens,
            of_row,
            id,
        } = self;
        let (act, id) = if of_row {
            (Some(name.clone()), id.map(AttrValue::Static))
        } else {
            (None, Some(name.clone()))
        };
        let pressed = pressed.map(|pressed| if pressed { "true" } else { "false" });
        html! {
            <button
                key={name.to_string()} {id} type="button" class="icon" title={label.clone()} aria-label={label}
                aria-pressed={pressed} {disabled} popovertarget={opens} data-act={act} {onclick}
            >
                <svg viewBox="0 0 16 16" aria-hidden="true"><path d={path} /></svg>
            </button>
        }
    }
}
