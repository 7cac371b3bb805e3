//! The workbench's message over HTTP: a GET request to the echo endpoint.

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, RequestInit, Response};

use super::log_entry::HttpAnswer;
use crate::{
    browser,
    i18n::{Sentence, Text},
};

/// The timeout of the whole request, in seconds.
const TIMEOUT_S: u32 = 10;

/// Sends the request; returns the answer with its body, or why there is none: after [`TIMEOUT_S`] the browser aborts the
/// request. Dropping the future does not.
pub(super) async fn fetch(url: String) -> (HttpAnswer, Result<String, Sentence>) {
    let asked_at = js_sys::Date::now();
    let timeout = AbortSignal::timeout_with_u32(TIMEOUT_S * 1000);
    let options = RequestInit::new();
    options.set_signal(Some(&timeout));
    let answer = async {
        let answer = JsFuture::from(browser::window().fetch_with_str_and_init(&url, &options)).await?;
        let answer: Response = answer.unchecked_into();
        Ok((answer.status(), JsFuture::from(answer.text()?).await?))
    };
    let (status, text) = match answer.await {
        Ok((status, text)) => (status, Ok(text.as_string().unwrap_or_default())),
        Err::<_, JsValue>(_) if timeout.aborted() => (0, Err(Text::HttpTimedOut.with([TIMEOUT_S.into()]))),
        Err(_) => (0, Err(Text::HttpUnreachable.into())),
    };
    (HttpAnswer { status, url, asked_at }, text)
}
