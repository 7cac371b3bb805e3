//! The time in a row of the workbench's log.

use js_sys::Date;
use wasm_bindgen::JsValue;
use yew::{Html, html};

/// A time of day on the local clock, to the millisecond.
pub(crate) fn row_time(at: f64) -> Html {
    // `toTimeString` begins with HH:MM:SS in every browser and language:
    // https://tc39.es/ecma262/#sec-timestring
    let clock: String = Date::new(&JsValue::from_f64(at)).to_time_string().into();
    let clock = clock.get(..8).unwrap_or_default().to_owned();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are after 1970 and far below 2^53"
    )]
    let milliseconds = at as u64 % 1000;
    html! { <time class="time">{ clock }<span class="milliseconds">{ format!(".{milliseconds:03}") }</span></time> }
}
