//! A labelled one-line text field.

use web_sys::{HtmlInputElement, HtmlTextAreaElement, InputEvent};
use yew::{Callback, Html, TargetCast, html};

use super::ERROR_ID;
use crate::i18n::{Language, Text};

/// A field and its value; [`TextField::new`] is a plain valid one.
pub(crate) struct TextField<'a> {
    pub(crate) id: &'static str,
    pub(crate) label: Text,
    pub(crate) value: &'a str,
    pub(crate) oninput: Callback<String>,
    /// The error line is about this field.
    pub(crate) invalid: bool,
    /// The `id` of that line.
    pub(crate) error_id: &'static str,
    /// A quieter text beside the label.
    pub(crate) note: String,
    /// For addresses and codes: a fixed-width font, without spelling correction.
    pub(crate) code: bool,
}

impl<'a> TextField<'a> {
    pub(crate) fn new(id: &'static str, label: Text, value: &'a str, oninput: Callback<String>) -> Self {
        Self {
            id,
            label,
            value,
            oninput,
            invalid: false,
            error_id: ERROR_ID,
            note: String::new(),
            code: false,
        }
    }

    pub(crate) fn draw(self, language: Language) -> Html {
        let id = self.id;
        let note_id = format!("{id}_note");
        let described_by = if self.invalid {
            [&note_id, " ", self.error_id].concat()
        } else {
            note_id.clone()
        };
        html! {
            <div class="field">
                <label for={id}>{ self.label.in_language(language) }</label>
                <span id={note_id} class="note">{ self.note }</span>
                <input
                    {id}
                    type="text"
                    data-code={self.code.then_some("")}
                    value={self.value.to_owned()}
                    oninput={self.oninput.reform(|event: InputEvent| text_of(&event))}
                    autocomplete="off"
                    autocapitalize={self.code.then_some("off")}
                    spellcheck={self.code.then_some("false")}
                    aria-invalid={self.invalid.then_some("true")}
                    aria-describedby={described_by}
                />
            </div>
        }
    }
}

/// The value of the field of an input event.
pub(crate) fn text_of(event: &InputEvent) -> String {
    event
        .target_dyn_into::<HtmlInputElement>()
        .map(|input| input.value())
        .unwrap_or_else(|| {
            event
                .target_dyn_into::<HtmlTextAreaElement>()
                .map(|area| area.value())
                .unwrap_or_default()
        })
}
