//! Addressing: a back end publishes to a user or to a group, and each session of that user gets it, on whatever server it
//! is.
//!
//! What is addressed is a message in the log of an addressed room ([`names::user_room`], [`GroupName::room`]), so it is
//! kept, ordered, recognised when it comes again and recovered like any other. The server subscribes a session to these
//! rooms when its client asks for what is addressed to it; clients can neither join them nor publish there.

use std::sync::Arc;

use futures_util::FutureExt;
use talkback_protocol::{RoomName, UserName, session::server::Refusal};

use crate::{
    engine::Answer,
    names::{self, GroupName},
};

/// The groups that users belong to, which is the application's business: see
/// [`AppState::with_groups`](crate::AppState::with_groups).
///
/// A closure `Fn(&UserName) -> Vec<GroupName>` is one that answers at once.
pub trait Groups: Send + Sync + 'static {
    /// The groups of a user, for a session that asks for what is addressed to it. A session follows as many of them as it
    /// may join rooms, less one.
    ///
    /// The answer is a [`Refusal`] if they are not known now; with a retry the client asks again after it. It must not
    /// block its thread: what waits for another system is an [`Answer::later`], which is dropped when the session ends.
    fn groups_of(&self, user: &UserName) -> Answer<Result<Vec<GroupName>, Refusal>>;
}

impl<F: Fn(&UserName) -> Vec<GroupName> + Send + Sync + 'static> Groups for F {
    fn groups_of(&self, user: &UserName) -> Answer<Result<Vec<GroupName>, Refusal>> {
        Answer::now(Ok(self(user)))
    }
}

/// Which rooms are addressed to a user. Clones are handles to the same groups.
#[derive(Clone, Default)]
pub(crate) struct Addressing {
    /// Without it nobody is in a group.
    groups: Option<Arc<dyn Groups>>,
}

impl Addressing {
    pub(crate) fn with(groups: impl Groups) -> Self {
        Self {
            groups: Some(Arc::new(groups)),
        }
    }

    /// The user's own room, and those of its groups.
    pub(crate) fn rooms_of(&self, user: &UserName) -> Answer<Result<Vec<RoomName>, Refusal>> {
        let own = names::user_room(user);
        let Some(groups) = &self.groups else {
            return Answer::now(Ok(vec![own]));
        };
        let with_own = move |groups: Result<Vec<GroupName>, Refusal>| {
            let rooms = groups?.into_iter().map(GroupName::into_room);
            Ok(std::iter::once(own).chain(rooms).collect())
        };
        match groups.groups_of(user).at_once() {
            Ok(groups) => Answer::now(with_own(groups)),
            Err(later) => Answer::later(later.map(with_own).boxed()),
        }
    }
}
