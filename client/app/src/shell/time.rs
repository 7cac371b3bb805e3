//! The time of a row.

use js_sys::Date;
use wasm_bindgen::JsValue;
use yew::{Html, html};

use crate::format;

/// A time of day on the local clock, to the millisecond; the whole date is in the element's `datetime`.
pub(crate) fn time(at: f64) -> Html {
    let date = Date::new(&JsValue::from_f64(at));
    let (clock, milliseconds) = format::time_of_day(
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds(),
        date.get_milliseconds(),
    );
    html! {
        <time class="time" datetime={String::from(date.to_iso_string())}>
            { clock }<span class="milliseconds">{ milliseconds }</span>
        </time>
    }
}
