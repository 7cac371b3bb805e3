//! What the page uses of the browser: address bar, title, clipboard, dates, and in its parts storage and events. No
//! call returns an error.

pub(crate) mod events;
mod storage;

pub(crate) use storage::{Setting, remember, remember_name, remembered, remembered_name};

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Document, Element, Window};

use crate::{
    i18n::{Language, Text},
    route::with_trace_of,
    theme::Theme,
};

/// The day of the local calendar as a count of days, with the offset from UTC at that time.
pub(crate) fn local_day(at: f64) -> i64 {
    const DAY_MS: f64 = 86_400_000.0;
    let minutes = js_sys::Date::new(&JsValue::from_f64(at)).get_timezone_offset();
    #[expect(clippy::cast_possible_truncation, reason = "days are far below 2^53")]
    let day = ((at - minutes * 60_000.0) / DAY_MS).floor() as i64;
    day
}

/// A date in a language, like "Saturday, 21 November 2026".
pub(crate) fn date_in_words(at: f64, language: Language) -> String {
    let options = js_sys::Object::new();
    for (key, value) in [
        ("weekday", "long"),
        ("year", "numeric"),
        ("month", "long"),
        ("day", "numeric"),
    ] {
        // A new object takes every property.
        let _: Result<bool, JsValue> = js_sys::Reflect::set(&options, &key.into(), &value.into());
    }
    let date = js_sys::Date::new(&JsValue::from_f64(at));
    date.to_locale_date_string(language.tag(), &options).into()
}

/// Whether the page is visible, as in `document.hidden`.
pub(crate) fn is_page_visible() -> bool {
    !document().hidden()
}

/// The language that the browser prefers, as a tag.
pub(crate) fn preferred_language() -> Option<String> {
    window().navigator().language()
}

/// The page's path, percent-encoded.
pub(crate) fn path() -> String {
    window().location().pathname().unwrap_or_default()
}

/// The query of the page's address, with its question mark; empty if there is none.
pub(crate) fn query() -> String {
    window().location().search().unwrap_or_default()
}

/// Adds a path to the history and shows it in the address bar.
pub(crate) fn push_path(path: &str) {
    let address = with_trace_of(&query(), path);
    if let Ok(history) = window().history() {
        // Refused only for other origins or hundreds of calls a second.
        let _: Result<(), JsValue> = history.push_state_with_url(&JsValue::NULL, "", Some(&address));
    }
}

/// The origin of the page's server, see [`crate::server_address::server_origin`].
pub(crate) fn server_origin() -> String {
    let location = window().location();
    crate::server_address::server_origin(
        &location.origin().unwrap_or_default(),
        &location.port().unwrap_or_default(),
    )
}

/// Sets the page's language, theme and title, which are outside of the application's root element.
pub(crate) fn set_page_attributes(language: Language, theme: Theme, view: Text) {
    let document = document();
    document.set_title(&format!("{} · Talkback", view.in_language(language)));
    if let Some(root) = document.document_element() {
        // These attribute names are valid, so setting them cannot fail.
        let _: Result<(), JsValue> = root.set_attribute("lang", language.tag());
        let _: Result<(), JsValue> = root.set_attribute("data-theme", theme.name());
    }
}

/// Puts a text on the clipboard; false where the browser does not allow it, as on plain http pages of other hosts.
pub(crate) async fn copy(text: &str) -> bool {
    // `navigator.clipboard` is undefined outside secure contexts, which web-sys does not show in its type.
    let clipboard: JsValue = window().navigator().clipboard().into();
    match clipboard.dyn_into::<web_sys::Clipboard>() {
        Ok(clipboard) => wasm_bindgen_futures::JsFuture::from(clipboard.write_text(text))
            .await
            .is_ok(),
        Err(_) => false,
    }
}

/// Selects all text in an element for the browser's own copy command.
pub(crate) fn select_all(element: &Element) {
    if let Ok(Some(selection)) = window().get_selection() {
        // Fails only for a detached element, which has nothing to select.
        let _: Result<(), JsValue> = selection.select_all_children(element);
    }
}

pub(crate) fn window() -> Window {
    web_sys::window().expect("the page runs in a window")
}

pub(crate) fn document() -> Document {
    window().document().expect("a window has a document")
}
