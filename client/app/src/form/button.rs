//! A button.

use web_sys::MouseEvent;
use yew::{Callback, Html, html};

/// A button with its look; [`Button::submit`] sends its form, [`Button::on_click`] calls back.
pub(crate) struct Button {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) look: Look,
    pub(crate) disabled: bool,
}

/// How much a button stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// What a form is for.
    Primary,
    Plain,
    /// In a heading.
    Small,
}

impl Button {
    pub(crate) fn submit(self) -> Html {
        self.draw("submit", Callback::noop())
    }

    pub(crate) fn on_click(self, onclick: Callback<MouseEvent>) -> Html {
        self.draw("button", onclick)
    }

    fn draw(self, kind: &'static str, onclick: Callback<MouseEvent>) -> Html {
        let Self {
            id,
            label,
            look,
            disabled,
        } = self;
        let look = match look {
            Look::Primary => "primary",
            Look::Plain => "plain",
            Look::Small => "small",
        };
        html! { <button key={id} {id} type={kind} data-look={look} {disabled} {onclick}>{ label }</button> }
    }
}
