//! Calls to the log that are not answered yet.

use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use talkback_protocol::session::server::{Input, Refusal, SubscriptionId};

use crate::hub::Start;

/// Later answers of the log. The session bounds their number. A set is made for its first future and dropped when it is
/// empty, because an empty one takes memory too.
#[derive(Default)]
pub(super) struct Answers {
    /// Of messages, in the order in which they were published.
    appends: Option<Box<FuturesOrdered<BoxFuture<'static, Input>>>>,
    /// Of all other calls, in any order.
    others: Option<Box<FuturesUnordered<BoxFuture<'static, Later>>>>,
}

/// A later answer of the log.
pub(super) enum Later {
    /// To a message or to a request for history.
    Input(Input),
    /// To a join.
    Start(SubscriptionId, Result<Start, Refusal>),
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_none() && self.others.is_none()
    }

    pub(super) fn push_append(&mut self, answer: BoxFuture<'static, Input>) {
        self.appends.get_or_insert_default().push_back(answer);
    }

    pub(super) fn push(&mut self, answer: BoxFuture<'static, Later>) {
        self.others.get_or_insert_default().push(answer);
    }

    /// Waits for the next answer; `None` without pending calls. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Later> {
        let Self { appends, others } = self;
        tokio::select! {
            biased;
            Some(input) = next_of(appends), if appends.is_some() => Some(Later::Input(input)),
            Some(later) = next_of(others), if others.is_some() => Some(later),
            else => None,
        }
    }
}

/// The next of these futures that is ready; the set is dropped when it is empty. Cancel safe.
async fn next_of<S: Stream + Unpin>(futures: &mut Option<Box<S>>) -> Option<S::Item> {
    let next = futures.as_mut()?.next().await;
    if next.is_none() {
        *futures = None;
    }
    next
}
