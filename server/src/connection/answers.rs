//! What was asked of the log and is not answered yet.

use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use talkback_protocol::session::server::{Input, Refusal, SubscriptionId};

use crate::hub::Start;

/// The answers that come later. The session bounds how many there are. The sets are made when there is a future for
/// them: an empty one takes memory too.
#[derive(Default)]
pub(super) struct Answers {
    /// Of messages, in the order in which they were published.
    appends: Option<Box<FuturesOrdered<BoxFuture<'static, Input>>>>,
    /// Of everything else, in any order.
    others: Option<Box<FuturesUnordered<BoxFuture<'static, Later>>>>,
}

/// An answer of the log that was not there at once.
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

    /// The next answer; `None` when there is none left to wait for. Cancel safe.
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
