//! The workbench's message over HTTP: a GET request to the echo endpoint.

use gloo_net::{Error, http::Request};
use web_sys::AbortSignal;

use crate::i18n::HttpProblem;

/// The timeout of the whole request, in seconds.
const TIMEOUT_S: u32 = 10;

/// Sends the request; returns the status and the body. Dropping the future does not abort the request.
///
/// # Errors
/// When there is no answer, or none within [`TIMEOUT_S`], after which the browser aborts the request.
pub(super) async fn fetch(url: &str) -> Result<(u16, String), HttpProblem> {
    let timeout = AbortSignal::timeout_with_u32(TIMEOUT_S * 1000);
    let answer = async {
        let answer = Request::get(url).abort_signal(Some(&timeout)).send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    answer.await.map_err(|_: Error| {
        if timeout.aborted() {
            HttpProblem::TimedOut(TIMEOUT_S)
        } else {
            HttpProblem::Unreachable
        }
    })
}
