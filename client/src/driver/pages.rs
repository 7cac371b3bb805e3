//! Open requests for pages of history, of which some are the application's and some those of a handle that reads on from
//! the log, and for users by name.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use litemap::LiteMap;
use talkback_protocol::{
    RoomName,
    session::client::{HistoryPage, PageError, Tag},
};

use super::rooms::Handle;
use crate::{
    client::PageRequest,
    waiters::{Waiter, Waiters},
};

/// The requests that are not answered.
#[derive(Default)]
pub(super) struct Pages {
    asked: RefCell<LiteMap<Tag, Asker>>,
    /// Handles whose request was refused as one too many. They ask again one by one, each after an answer to another
    /// request. Each is here at most once.
    put_off: RefCell<VecDeque<(RoomName, Weak<Handle>)>>,
}

/// Who gets the answer.
pub(super) enum Asker {
    Application(Weak<PageSlot>),
    /// For users, not for a page.
    #[cfg(feature = "find")]
    Search(Weak<Slot<crate::FoundMembers>>),
    Handle {
        room: RoomName,
        handle: Weak<Handle>,
        wanted: PageRequest,
    },
}

/// An answer on its way to the application.
pub(crate) struct Slot<A> {
    result: RefCell<Option<Result<A, PageError>>>,
    waiting: Waiters,
}

pub(crate) type PageSlot = Slot<HistoryPage>;

impl<A> Default for Slot<A> {
    fn default() -> Self {
        Self {
            result: RefCell::new(None),
            waiting: Waiters::default(),
        }
    }
}

impl<A> Slot<A> {
    pub(crate) fn poll(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Result<A, PageError>> {
        match self.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                self.waiting.wait(waiter, context);
                Poll::Pending
            }
        }
    }

    pub(super) fn put(&self, result: Result<A, PageError>) {
        self.result.replace(Some(result));
        self.waiting.wake();
    }
}

impl Pages {
    pub(super) fn add(&self, tag: Tag, asker: Asker) {
        self.asked.borrow_mut().insert(tag, asker);
    }

    /// Ends the request; `None` if there is none with this tag.
    pub(super) fn remove(&self, tag: Tag) -> Option<Asker> {
        self.asked.borrow_mut().remove(&tag)
    }

    /// Adds a handle to those that ask again, unless it is among them.
    pub(super) fn put_off(&self, room: &RoomName, handle: &Rc<Handle>) {
        let mut waiting = self.put_off.borrow_mut();
        waiting.retain(|(_, other)| other.strong_count() > 0);
        let handle = Rc::downgrade(handle);
        if !waiting.iter().any(|(_, other)| other.ptr_eq(&handle)) {
            waiting.push_back((room.clone(), handle));
        }
    }

    /// The next handle to ask again, in the order in which they were put off.
    pub(super) fn next_put_off(&self) -> Option<(RoomName, Rc<Handle>)> {
        let mut waiting = self.put_off.borrow_mut();
        loop {
            let (room, handle) = waiting.pop_front()?;
            if let Some(handle) = handle.upgrade() {
                return Some((room, handle));
            }
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::{
        client::{InboxOptions, StartPosition},
        test_util::World,
    };

    #[test]
    fn put_off_handles_that_were_dropped_are_not_held() {
        let world = World::new();
        let client = world.client("ann");
        let (driver, room) = (client.driver(), RoomName::parse("lobby").unwrap());
        for _ in 0..100 {
            let want = StartPosition {
                since: None,
                history: 0,
            };
            let handle = driver.join(&room, want, InboxOptions::default());
            driver.pages.put_off(&room, &handle);
            driver.pages.put_off(&room, &handle);
            assert_eq!(driver.pages.put_off.borrow().len(), 1);
            driver.release(&room, &handle);
        }
    }
}
