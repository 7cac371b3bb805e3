//! The button of the forms and headings.

use web_sys::MouseEvent;
use yew::{Callback, Html, html};

/// A button; [`Button::submit`] submits its form, [`Button::on_click`] calls back.
pub(crate) struct Button {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) look: Look,
}

/// The style of a button, its `data-look`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The main action of a form.
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
        let Self { id, label, look } = self;
        let look = match look {
            Look::Primary => "primary",
            Look::Plain => "plain",
            Look::Small => "small",
        };
        html! { <button key={id} {id} type={kind} data-look={look} {onclick}>{ label }</button> }
    }
}
