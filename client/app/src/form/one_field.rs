//! A form with one field and a button beside it.

use web_sys::SubmitEvent;
use yew::{Callback, Html, html};

use super::{Button, Look, TextField, error_line};
use crate::i18n::{Language, Sentence, Text};

/// What is above the field, the field with its button, and the line for an error. The page takes the form, not the browser.
pub(crate) struct OneFieldForm<'a> {
    pub(crate) class: &'static str,
    pub(crate) above: Html,
    pub(crate) field: TextField<'a>,
    /// The `id` and the label of the button.
    pub(crate) button: (&'static str, Text),
    pub(crate) error: Option<&'a Sentence>,
    pub(crate) onsubmit: Callback<()>,
}

impl OneFieldForm<'_> {
    pub(crate) fn draw(self, language: Language) -> Html {
        let (id, label) = self.button;
        let button = Button {
            id,
            label: label.in_language(language),
            look: Look::Primary,
        };
        let onsubmit = self.onsubmit.reform(|event: SubmitEvent| event.prevent_default());
        html! {
            <form key={self.class} class={self.class} {onsubmit}>
                { self.above }
                <div class="inline">
                    { self.field.draw(language) }
                    { button.submit() }
                </div>
                { error_line(self.error, None, language) }
            </form>
        }
    }
}
