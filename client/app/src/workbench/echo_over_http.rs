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

/// Sends the request; returns the answer and its body. Dropping the future does not abort the request.
///
/// # Errors
/// When there is no answer, or none within [`TIMEOUT_S`], after which the browser aborts the request.
pub(super) async fn fetch(url: String) -> Result<(HttpAnswer, String), Sentence> {
    let asked_at = js_sys::Date::now();
    let timeout = AbortSignal::timeout_with_u32(TIMEOUT_S * 1000);
    let options = RequestInit::new();
    options.set_signal(Some(&timeout));
    let answer = async {
        let answer = JsFuture::from(browser::window().fetch_with_str_and_init(&url, &options)).await?;
        let answer: Response = answer.unchecked_into();
        Ok((answer.status(), JsFuture::from(answer.text()?).await?))
    };
    match answer.await {
        Ok((status, text)) => {
            let text = text.as_string().unwrap_or_default();
            Ok((HttpAnswer { status, url, asked_at }, text))
        }
        Err::<_, JsValue>(_) if timeout.aborted() => Err(Text::HttpTimedOut.with([TIMEOUT_S.into()])),
        Err(_) => Err(Text::HttpUnreachable.into()),
    }
}
