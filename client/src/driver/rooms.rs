//! Rooms: one subscription each, however many handles read it.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
};

use litemap::LiteMap;
use talkback_protocol::{
    Cursor, RoomName,
    message::Member,
    session::client::{HistoryPage, Input, JoinedRoom, PageError, PresenceChange, RoomEvent},
};

use super::Driver;
use crate::{
    client::{Inbox, InboxOptions, Members, PageRequest, StartPosition, SubscribedRoom},
    waiters::{Waiter, Waiters},
};

/// The rooms that have a handle.
#[derive(Default)]
pub(super) struct Rooms(RefCell<LiteMap<RoomName, Subscription>>);

#[derive(Default)]
struct Subscription {
    /// As of the last event; `None` until it is joined.
    now: Option<SubscribedRoom>,
    handles: Vec<Rc<Handle>>,
}

/// One reader of a room.
pub(crate) struct Handle {
    inbox: RefCell<Inbox>,
    readers: Waiters,
}

impl Handle {
    fn new(inbox: Inbox) -> Rc<Self> {
        Rc::new(Self {
            inbox: RefCell::new(inbox),
            readers: Waiters::default(),
        })
    }

    /// How far its reader has read.
    pub(crate) fn taken(&self) -> Option<Cursor> {
        self.inbox.borrow().taken().cloned()
    }
}

impl Driver {
    /// A further handle of a room, which joins it if it is the first.
    pub(crate) fn join(&self, room: &RoomName, want: StartPosition, bounds: InboxOptions) -> Rc<Handle> {
        let mut rooms = self.rooms.0.borrow_mut();
        if let Some(subscription) = rooms.get_mut(room) {
            let handle = Handle::new(Inbox::for_further_handle(bounds, want));
            subscription.handles.push(handle.clone());
            drop(rooms);
            self.pump(room, &handle);
            return handle;
        }
        let handle = Handle::new(Inbox::for_first_handle(bounds));
        rooms.insert(
            room.clone(),
            Subscription {
                now: None,
                handles: vec![handle.clone()],
            },
        );
        drop(rooms);
        self.input(Input::Join {
            room: room.clone(),
            since: want.since,
            history: Some(want.history),
        });
        handle
    }

    /// Gives up a handle; the room is left with the last one.
    pub(crate) fn release(&self, room: &RoomName, handle: &Rc<Handle>) {
        let left = {
            let mut rooms = self.rooms.0.borrow_mut();
            // The subscription of an earlier life of the room does not have it.
            let Some(subscription) = rooms.get_mut(room) else {
                return;
            };
            let count = subscription.handles.len();
            subscription.handles.retain(|other| !Rc::ptr_eq(other, handle));
            let last = count > 0 && subscription.handles.is_empty();
            if last { rooms.remove(room) } else { None }
        };
        if left.is_some() {
            self.input(Input::Leave { room: room.clone() });
        }
    }

    /// The next event for a reader.
    pub(crate) fn poll_room(
        &self,
        room: &RoomName,
        handle: &Rc<Handle>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Option<RoomEvent>> {
        let taken = handle.inbox.borrow_mut().take();
        if let Some(event) = taken {
            self.pump(room, handle);
            return Poll::Ready(Some(event));
        }
        if handle.inbox.borrow().is_over() {
            return Poll::Ready(None);
        }
        handle.readers.wait(waiter, context);
        Poll::Pending
    }

    /// The users in a room that is joined, if the server tells them.
    pub(crate) fn members(&self, room: &RoomName) -> Option<Vec<Member>> {
        let rooms = self.rooms.0.borrow();
        let now = rooms.get(room)?.now.as_ref()?;
        now.members.as_ref().map(Members::list)
    }

    /// How many users are in a room that is joined.
    pub(crate) fn users(&self, room: &RoomName) -> Option<u32> {
        let rooms = self.rooms.0.borrow();
        Some(rooms.get(room)?.now.as_ref()?.users)
    }

    pub(super) fn room_event(&self, room: &RoomName, event: RoomEvent) {
        let Some(handles) = self.rooms.fan_out(room, event) else {
            return;
        };
        for handle in handles {
            handle.readers.wake();
            self.pump(room, &handle);
        }
    }

    pub(super) fn answer(
        &self,
        room: &RoomName,
        handle: &Rc<Handle>,
        wanted: PageRequest,
        result: Result<HistoryPage, PageError>,
    ) {
        let failed = result.as_ref().err().cloned();
        {
            let rooms = self.rooms.0.borrow();
            let Some(now) = rooms.get(room).and_then(|subscription| subscription.now.as_ref()) else {
                return;
            };
            handle.inbox.borrow_mut().answer(wanted, result, now);
        }
        handle.readers.wake();
        match failed {
            None => drop(self.pump(room, handle)),
            Some(PageError::TooMany) => self.put_off(room, handle),
            // Asked for again when the room moves or is joined anew, not at once and for ever.
            Some(_) => {}
        }
    }

    /// Lets a handle that is behind read on; whether it asked for a page.
    pub(super) fn pump(&self, room: &RoomName, handle: &Rc<Handle>) -> bool {
        let wanted = {
            let rooms = self.rooms.0.borrow();
            let Some(now) = rooms.get(room).and_then(|subscription| subscription.now.as_ref()) else {
                return false;
            };
            handle.inbox.borrow_mut().next_page(now)
        };
        if let Some(wanted) = wanted {
            self.page_for(room.clone(), handle, wanted);
            return true;
        }
        if handle.inbox.borrow().has_more() {
            handle.readers.wake();
        }
        false
    }
}

impl Rooms {
    /// Gives an event to all handles of a room, and gives those back.
    fn fan_out(&self, room: &RoomName, event: RoomEvent) -> Option<Vec<Rc<Handle>>> {
        let mut rooms = self.0.borrow_mut();
        let subscription = rooms.get_mut(room)?;
        let over = matches!(event, RoomEvent::Left(_) | RoomEvent::Refused { .. });
        match &mut subscription.now {
            Some(now) => now.follow(&event),
            now => match &event {
                RoomEvent::Joined(joined) | RoomEvent::Recovered(joined) | RoomEvent::Reset(joined) => {
                    *now = Some(SubscribedRoom::of(joined));
                }
                RoomEvent::Refused { .. } | RoomEvent::Lost { .. } => {}
                // What is left of an earlier membership, which was given up.
                _ => return None,
            },
        }
        let handles = subscription.handles.clone();
        let now = subscription.now.as_ref();
        if let Some((last, others)) = handles.split_last() {
            for handle in others {
                handle.inbox.borrow_mut().push(event.clone(), now);
            }
            last.inbox.borrow_mut().push(event, now);
        }
        if over {
            rooms.remove(room);
        }
        Some(handles)
    }
}

impl SubscribedRoom {
    fn of(joined: &JoinedRoom) -> Self {
        Self {
            latest: Cursor {
                epoch: joined.epoch.clone(),
                offset: joined.after,
            },
            users: joined.users,
            members: joined.members.as_deref().map(Members::of),
        }
    }

    fn follow(&mut self, event: &RoomEvent) {
        match event {
            RoomEvent::Joined(joined) | RoomEvent::Recovered(joined) | RoomEvent::Reset(joined) => {
                *self = Self::of(joined);
            }
            RoomEvent::Message { message, .. } => {
                self.latest.offset = message.offset;
            }
            RoomEvent::Presence { users, change } => {
                self.users = *users;
                match (change, &mut self.members) {
                    (PresenceChange::Changed { joined, left }, Some(members)) => {
                        members.add(joined);
                        members.remove(left);
                    }
                    (PresenceChange::Changed { .. }, None) => {}
                    (PresenceChange::List(all), members) => *members = Some(Members::of(all)),
                    (PresenceChange::Untold, members) => *members = None,
                }
            }
            _ => {}
        }
    }
}
