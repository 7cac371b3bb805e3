//! Calls to the log that are not answered yet.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use talkback_protocol::{
    RoomName,
    session::server::{Input, Refusal, SubscriptionId},
};

use crate::hub::Start;

/// Later answers of the log. The session bounds their number. A set is made for its first future and dropped when it is
/// empty, because an empty one takes memory too.
#[derive(Default)]
pub(super) struct Answers {
    /// Of messages.
    appends: Option<Box<Appends>>,
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

/// The open calls for the messages of each room, in the order in which they were published. One room does not wait for
/// another.
#[derive(Default)]
struct Appends(Vec<(RoomName, VecDeque<BoxFuture<'static, Input>>)>);

impl Appends {
    fn push(&mut self, room: RoomName, answer: BoxFuture<'static, Input>) {
        match self.0.iter_mut().find(|(of, _)| *of == room) {
            Some((_, answers)) => answers.push_back(answer),
            None => self.0.push((room, VecDeque::from([answer]))),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        for index in 0..self.0.len() {
            let answers = &mut self.0[index].1;
            if let Some(first) = answers.front_mut()
                && let Poll::Ready(input) = first.as_mut().poll(cx)
            {
                answers.pop_front();
                if answers.is_empty() {
                    self.0.swap_remove(index);
                }
                return Poll::Ready(input);
            }
        }
        Poll::Pending
    }
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_none() && self.others.is_none()
    }

    pub(super) fn push_append(&mut self, room: RoomName, answer: BoxFuture<'static, Input>) {
        self.appends.get_or_insert_default().push(room, answer);
    }

    pub(super) fn push(&mut self, answer: BoxFuture<'static, Later>) {
        self.others.get_or_insert_default().push(answer);
    }

    /// Waits for the next answer. Cancel safe.
    pub(super) async fn next(&mut self) -> Later {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Later> {
        if let Some(appends) = &mut self.appends
            && let Poll::Ready(input) = appends.poll_next(cx)
        {
            if appends.0.is_empty() {
                self.appends = None;
            }
            return Poll::Ready(Later::Input(input));
        }
        if let Some(others) = &mut self.others
            && let Poll::Ready(Some(later)) = others.poll_next_unpin(cx)
        {
            if others.is_empty() {
                self.others = None;
            }
            return Poll::Ready(later);
        }
        Poll::Pending
    }
}
