//! The same question over plain HTTP.

use gloo_net::{Error, http::Request};
use web_sys::AbortSignal;

use crate::i18n::HttpProblem;

const LIMIT_S: u32 = 10;

/// Asks with GET; gives the status and the body. Dropping the future leaves the request to the browser.
///
/// # Errors
/// There was no answer, or none in ten seconds, after which the browser aborts the request.
pub(super) async fn fetch(url: &str) -> Result<(u16, String), HttpProblem> {
    let limit = AbortSignal::timeout_with_u32(LIMIT_S * 1000);
    let answer = async {
        let answer = Request::get(url).abort_signal(Some(&limit)).send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    answer.await.map_err(|_: Error| {
        if limit.aborted() {
            HttpProblem::TimedOut(LIMIT_S)
        } else {
            HttpProblem::Unreachable
        }
    })
}
