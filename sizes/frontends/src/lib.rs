//! What all frontends have: a field for a line of text, and the texts that they show.

#[cfg(feature = "session")]
mod chat;

use std::fmt::Display;

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Document, HtmlElement, HtmlInputElement};

#[cfg(feature = "session")]
pub use chat::chat;

/// Appends a text to the page.
pub fn show(text: &str) {
    let shown = page().and_then(|(document, body)| {
        let line = document.create_element("p").ok()?;
        line.set_text_content(Some(text));
        body.append_child(&line).ok()
    });
    drop(shown);
}

/// Appends the text of an error to the page.
pub fn show_error(error: &dyn Display) {
    show(&error.to_string());
}

/// Appends a field to the page, and calls back with each line that the user enters. The callback lives as long as the
/// field.
pub fn on_line(mut callback: impl FnMut(String) + 'static) {
    let field = page().and_then(|(document, body)| {
        let field: HtmlInputElement = document.create_element("input").ok()?.dyn_into().ok()?;
        body.append_child(&field).ok()?;
        Some(field)
    });
    if let Some(field) = field {
        let input = field.clone();
        let entered = Closure::<dyn FnMut()>::new(move || {
            callback(input.value());
            input.set_value("");
        });
        let entered: JsValue = entered.into_js_value();
        field.set_onchange(Some(entered.unchecked_ref()));
    }
}

fn page() -> Option<(Document, HtmlElement)> {
    let document = web_sys::window()?.document()?;
    let body = document.body()?;
    Some((document, body))
}
