//! Answers about rooms, whose bytes are counted until the client has taken them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;
use crate::metrics::Metrics;

/// An answer is handed to the connection in pieces of this size, so that it is let go as the client takes it.
const PIECE: usize = 16 * 1024;

/// How many bytes of answers may be under way. Clones share the budget.
#[derive(Clone)]
pub(crate) struct Answers {
    left: Arc<Semaphore>,
    total: usize,
}

impl Answers {
    pub(crate) fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self {
            left: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// An answer in JSON, if the budget has place for it. One that is larger than the whole budget takes all of it.
    pub(super) fn json(&self, answer: &impl Serialize, metrics: &Metrics) -> Result<Response, Problem> {
        let json = serde_json::to_vec(answer).map_err(|error| Problem::Internal(error.to_string()))?;
        let wanted = u32::try_from(json.len().min(self.total)).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.left).try_acquire_many_owned(wanted) else {
            metrics.answers_refused.add_one();
            return Err(Problem::TooManyAnswers);
        };
        let body = Body::new(UnderWay {
            left: json.into(),
            _permit: permit,
        });
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Ok((kind, body).into_response())
    }
}

/// The rest of an answer.
struct UnderWay {
    left: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for UnderWay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
