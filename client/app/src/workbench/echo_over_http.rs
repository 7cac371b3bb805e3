//! The same question over plain HTTP.

use std::pin::pin;

use futures_util::future::{Either, select};
use gloo_net::http::Request;
use gloo_timers::future::TimeoutFuture;
use web_sys::AbortController;

use crate::i18n::HttpProblem;

const LIMIT_S: u32 = 10;

/// Asks with GET; gives the status and the body. Dropping the future leaves the request to the browser.
///
/// # Errors
/// There was no answer, or none in ten seconds, after which the request is aborted.
pub(super) async fn fetch(url: &str) -> Result<(u16, String), HttpProblem> {
    let abort = AbortController::new().ok();
    let signal = abort.as_ref().map(AbortController::signal);
    let answer = pin!(async {
        let answer = Request::get(url).abort_signal(signal.as_ref()).send().await?;
        Ok((answer.status(), answer.text().await?))
    });
    match select(answer, TimeoutFuture::new(LIMIT_S * 1000)).await {
        Either::Left((answer, _)) => answer.map_err(|_: gloo_net::Error| HttpProblem::Unreachable),
        Either::Right(_) => {
            if let Some(abort) = abort {
                abort.abort();
            }
            Err(HttpProblem::TimedOut(LIMIT_S))
        }
    }
}
