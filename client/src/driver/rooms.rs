//! The rooms that the application reads: one subscription for each, shared by all its handles.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
};

use litemap::LiteMap;
use talkback_protocol::{
    Cursor, RoomName,
    message::Member,
    session::client::{HistoryPage, JoinedRoom, PageError, PresenceChange, RoomEvent},
};

use crate::{
    client::{Inbox, Members, PageRequest, SubscribedRoom},
    waiters::{Waiter, Waiters},
};

/// The rooms that have a handle, by name.
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
    /// Shared by the handles of one reader of several rooms.
    readers: Rc<Waiters>,
}

impl Handle {
    /// How far its reader has read.
    pub(crate) fn taken(&self) -> Option<Cursor> {
        self.inbox.borrow().taken().cloned()
    }

    /// The next event that is ready.
    pub(super) fn take(&self) -> Option<RoomEvent> {
        self.inbox.borrow_mut().take()
    }

    /// Ready with `None` after the last event; otherwise waits for the next one.
    pub(super) fn poll_end(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Option<RoomEvent>> {
        if self.inbox.borrow().is_over() {
            return Poll::Ready(None);
        }
        self.readers.wait(waiter, context);
        Poll::Pending
    }

    pub(super) fn wake(&self) {
        self.readers.wake();
    }

    /// Whether its reader has read the last event.
    #[cfg(feature = "direct")]
    pub(super) fn is_over(&self) -> bool {
        self.inbox.borrow().is_over()
    }

    /// Whether its reader gets every event as it comes: it needs no page of the log.
    pub(super) fn is_live(&self) -> bool {
        self.inbox.borrow().is_live()
    }
}

impl Rooms {
    pub(super) fn contains(&self, room: &RoomName) -> bool {
        self.0.borrow().contains_key(room)
    }

    /// The rooms that have a handle.
    #[cfg(feature = "direct")]
    pub(super) fn names(&self) -> Vec<RoomName> {
        self.0.borrow().iter().map(|(room, _)| room.clone()).collect()
    }

    /// Adds a handle of a room.
    pub(super) fn add(&self, room: &RoomName, inbox: Inbox, readers: Rc<Waiters>) -> Rc<Handle> {
        let handle = Rc::new(Handle {
            inbox: RefCell::new(inbox),
            readers,
        });
        let mut rooms = self.0.borrow_mut();
        let subscription = rooms.entry(room.clone()).or_default();
        subscription.handles.push(handle.clone());
        handle
    }

    /// Removes a handle of a room, and says whether it was the last one.
    pub(super) fn remove(&self, room: &RoomName, handle: &Rc<Handle>) -> bool {
        let mut rooms = self.0.borrow_mut();
        // A handle may outlive its subscription: the room ended, and another subscription has its name now.
        let Some(subscription) = rooms.get_mut(room) else {
            return false;
        };
        let count = subscription.handles.len();
        subscription.handles.retain(|other| !Rc::ptr_eq(other, handle));
        let last = count > 0 && subscription.handles.is_empty();
        last && rooms.remove(room).is_some()
    }

    /// The users in a room that is joined, if the server tells them.
    pub(super) fn members(&self, room: &RoomName) -> Option<Vec<Member>> {
        let rooms = self.0.borrow();
        let now = rooms.get(room)?.now.as_ref()?;
        now.members.as_ref().map(Members::list)
    }

    /// How many users are in a room that is joined.
    pub(super) fn users(&self, room: &RoomName) -> Option<u32> {
        let rooms = self.0.borrow();
        Some(rooms.get(room)?.now.as_ref()?.users)
    }

    /// The page that a handle needs next to read on. Wakes its readers if it has events.
    pub(super) fn next_page(&self, room: &RoomName, handle: &Handle) -> Option<PageRequest> {
        let wanted = {
            let rooms = self.0.borrow();
            let now = rooms.get(room)?.now.as_ref()?;
            handle.inbox.borrow_mut().next_page(now)
        };
        if handle.inbox.borrow().has_more() {
            handle.readers.wake();
        }
        wanted
    }

    /// Gives a handle the answer to its request, and says whether the room is still joined.
    pub(super) fn answer(
        &self,
        room: &RoomName,
        handle: &Handle,
        wanted: PageRequest,
        result: Result<HistoryPage, PageError>,
    ) -> bool {
        {
            let rooms = self.0.borrow();
            let Some(now) = rooms.get(room).and_then(|subscription| subscription.now.as_ref()) else {
                return false;
            };
            handle.inbox.borrow_mut().answer(wanted, result, now);
        }
        handle.readers.wake();
        true
    }

    /// Gives an event to all handles of a room, and returns them; their readers are still to be woken.
    pub(super) fn fan_out(&self, room: &RoomName, event: RoomEvent) -> Option<Vec<Rc<Handle>>> {
        let mut rooms = self.0.borrow_mut();
        let subscription = rooms.get_mut(room)?;
        let over = matches!(event, RoomEvent::Left(_) | RoomEvent::Refused { .. });
        match &mut subscription.now {
            Some(now) => now.follow(&event),
            now => match &event {
                RoomEvent::Joined(joined) | RoomEvent::Recovered(joined) | RoomEvent::Reset(joined) => {
                    *now = Some(SubscribedRoom::of(joined));
                }
                // The server refused the join, or ended the membership before it said that it began.
                _ => {}
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

#[cfg(test)]
mod tests {
    use talkback_protocol::{Epoch, Offset, UserName};

    use super::*;

    fn member(user: &str) -> Member {
        Member {
            user: UserName::parse(user).unwrap(),
        }
    }

    #[test]
    fn the_users_of_a_room_follow_each_kind_of_presence_change() {
        let mut room = SubscribedRoom::of(&JoinedRoom {
            epoch: Epoch::parse("a").unwrap(),
            head: Offset::ZERO,
            after: Offset::ZERO,
            users: 1,
            members: Some(vec![member("ann")]),
        });
        let mut presence = |users, change| {
            room.follow(&RoomEvent::Presence { users, change });
            (room.users, room.members.as_ref().map(Members::list))
        };
        let bob = || vec![member("bob")];
        let bob_for_ann = PresenceChange::Changed {
            joined: bob(),
            left: vec![member("ann")],
        };
        assert_eq!(presence(1, bob_for_ann.clone()), (1, Some(bob())));
        assert_eq!(presence(3_000, PresenceChange::Untold), (3_000, None));
        assert_eq!(
            presence(3_001, bob_for_ann),
            (3_001, None),
            "a change of an unknown list is ignored"
        );
        assert_eq!(presence(1, PresenceChange::List(bob())), (1, Some(bob())));
    }
}
