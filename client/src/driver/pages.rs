//! Pages of history: some are asked for by the application, some by a handle that reads on from the log.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use litemap::LiteMap;
use talkback_protocol::{
    Offset, RoomName,
    session::client::{HistoryPage, Input, PageError, Tag},
};

use super::{Driver, rooms::Handle};
use crate::{
    client::PageRequest,
    waiters::{Waiter, Waiters},
};

/// The pages that are asked for.
#[derive(Default)]
pub(super) struct Pages {
    asked: RefCell<LiteMap<Tag, Asker>>,
    /// Handles whose page was one too many; they ask again in turn, as soon as another page came. Each at most once.
    put_off: RefCell<VecDeque<(RoomName, Weak<Handle>)>>,
}

enum Asker {
    Application(Weak<PageSlot>),
    Handle {
        room: RoomName,
        handle: Weak<Handle>,
        wanted: PageRequest,
    },
}

/// A page on its way to the application.
#[derive(Default)]
pub(crate) struct PageSlot {
    result: RefCell<Option<Result<HistoryPage, PageError>>>,
    waiting: Waiters,
}

impl PageSlot {
    pub(crate) fn poll(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Result<HistoryPage, PageError>> {
        match self.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                self.waiting.wait(waiter, context);
                Poll::Pending
            }
        }
    }

    fn put(&self, result: Result<HistoryPage, PageError>) {
        self.result.replace(Some(result));
        self.waiting.wake();
    }
}

impl Pages {
    pub(super) fn end(&self) {
        for (_, asker) in self.asked.take() {
            if let Asker::Application(slot) = asker
                && let Some(slot) = slot.upgrade()
            {
                slot.put(Err(PageError::Stopped));
            }
        }
    }
}

impl Driver {
    /// Asks for the newest `limit` messages before an offset.
    pub(crate) fn history(&self, room: RoomName, before: Offset, limit: u32) -> Rc<PageSlot> {
        let slot = Rc::new(PageSlot::default());
        self.ask_page(
            room,
            PageRequest { before, limit },
            Asker::Application(Rc::downgrade(&slot)),
        );
        slot
    }

    pub(super) fn page_for(&self, room: RoomName, handle: &Rc<Handle>, wanted: PageRequest) {
        let asker = Asker::Handle {
            room: room.clone(),
            handle: Rc::downgrade(handle),
            wanted,
        };
        self.ask_page(room, wanted, asker);
    }

    fn ask_page(&self, room: RoomName, PageRequest { before, limit }: PageRequest, asker: Asker) {
        let tag = self.tag();
        self.pages.asked.borrow_mut().insert(tag, asker);
        self.input(Input::History {
            room,
            before,
            limit,
            tag,
        });
    }

    pub(super) fn page_came(&self, tag: Tag, result: Result<HistoryPage, PageError>) {
        let asker = self.pages.asked.borrow_mut().remove(&tag);
        if result.as_ref().err() != Some(&PageError::TooMany) {
            // Before the answer is taken in: whoever gets it and wants another page comes after those who wait.
            self.ask_put_off();
        }
        match asker {
            Some(Asker::Application(slot)) => {
                if let Some(slot) = slot.upgrade() {
                    slot.put(result);
                }
            }
            Some(Asker::Handle { room, handle, wanted }) => {
                if let Some(handle) = handle.upgrade() {
                    self.answer(&room, &handle, wanted, result);
                }
            }
            None => {}
        }
    }

    pub(super) fn put_off(&self, room: &RoomName, handle: &Rc<Handle>) {
        let mut waiting = self.pages.put_off.borrow_mut();
        waiting.retain(|(_, other)| other.strong_count() > 0);
        let handle = Rc::downgrade(handle);
        if !waiting.iter().any(|(_, other)| other.ptr_eq(&handle)) {
            waiting.push_back((room.clone(), handle));
        }
    }

    /// There is place for one page more.
    fn ask_put_off(&self) {
        loop {
            let next = self.pages.put_off.borrow_mut().pop_front();
            let Some((room, handle)) = next else { return };
            if handle.upgrade().is_some_and(|handle| self.pump(&room, &handle)) {
                return;
            }
        }
    }
}

#[cfg(all(test, feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::{
        client::{InboxOptions, StartPosition},
        test_util::World,
    };

    #[test]
    fn of_the_handles_that_were_put_off_those_that_are_gone_are_not_held() {
        let world = World::new();
        let client = world.client("ann");
        let (driver, room) = (client.driver(), RoomName::parse("lobby").unwrap());
        for _ in 0..100 {
            let want = StartPosition {
                since: None,
                history: 0,
            };
            let handle = driver.join(&room, want, InboxOptions::default());
            driver.put_off(&room, &handle);
            driver.put_off(&room, &handle);
            assert_eq!(driver.pages.put_off.borrow().len(), 1);
            driver.release(&room, &handle);
        }
    }
}
