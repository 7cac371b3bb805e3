//! The readers of what is addressed to the user: each reads all addressed rooms that the server has joined.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
};

use litemap::LiteMap;
use talkback_protocol::{Cursor, RoomName, session::client::RoomEvent};

use super::{
    Command, Driver,
    rooms::{Handle, Rooms},
};
use crate::{
    client::{Inbox, InboxOptions, StartPosition},
    waiters::{Waiter, Waiters},
};

/// All readers of a client.
#[derive(Default)]
pub(super) struct Readers(RefCell<Vec<Rc<DirectReader>>>);

/// One reader.
pub(crate) struct DirectReader {
    bounds: InboxOptions,
    /// The rooms with events to come; the first is read next.
    rooms: RefCell<VecDeque<(RoomName, Rc<Handle>)>>,
    /// How far each room was read.
    cursors: RefCell<LiteMap<RoomName, Cursor>>,
    /// Why the server gives nothing; `None` once it was read.
    refusal: RefCell<Option<RoomEvent>>,
    is_over: Cell<bool>,
    waiting: Rc<Waiters>,
}

/// An event with the room that it is of; a refusal of everything is of none.
pub(super) type Taken = (Option<(RoomName, Rc<Handle>)>, RoomEvent);

impl DirectReader {
    /// The last message of each room that was taken, or that the reader began with.
    pub(crate) fn cursors(&self) -> Vec<(RoomName, Cursor)> {
        let cursors = self.cursors.borrow();
        cursors
            .iter()
            .map(|(room, cursor)| (room.clone(), cursor.clone()))
            .collect()
    }

    /// The next event that is ready; the rooms take turns.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut rooms = self.rooms.borrow_mut();
        for _ in 0..rooms.len() {
            let (room, handle) = rooms.pop_front()?;
            let Some(event) = handle.take() else {
                if !handle.is_over() {
                    rooms.push_back((room, handle));
                }
                continue;
            };
            if let Some(cursor) = handle.taken() {
                self.cursors.borrow_mut().insert(room.clone(), cursor);
            }
            rooms.push_back((room.clone(), Rc::clone(&handle)));
            return Some((Some((room, handle)), event));
        }
        Some((None, self.refusal.take()?))
    }

    /// Ready with `None` after the last event; otherwise waits for the next one.
    pub(super) fn poll_end<T>(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Option<T>> {
        if self.is_over.get() {
            return Poll::Ready(None);
        }
        self.waiting.wait(waiter, context);
        Poll::Pending
    }

    fn add(&self, rooms: &Rooms, room: &RoomName, inbox: Inbox) -> Rc<Handle> {
        let handle = rooms.add(room, inbox, Rc::clone(&self.waiting));
        self.rooms.borrow_mut().push_back((room.clone(), Rc::clone(&handle)));
        handle
    }
}

impl Readers {
    /// Adds a reader, which begins after these cursors, or with so many of the newest messages of a room. Returns it with
    /// its handles of the rooms that are joined already, for which it may need pages.
    pub(super) fn add(
        &self,
        rooms: &Rooms,
        since: &[(RoomName, Cursor)],
        history: u32,
        bounds: InboxOptions,
    ) -> (Rc<DirectReader>, Vec<(RoomName, Rc<Handle>)>) {
        let reader = Rc::new(DirectReader {
            bounds,
            rooms: RefCell::default(),
            cursors: RefCell::new(since.iter().cloned().collect()),
            refusal: RefCell::default(),
            is_over: Cell::default(),
            waiting: Rc::default(),
        });
        let joined = rooms.names().into_iter().filter(RoomName::is_reserved);
        let handles = joined.map(|room| {
            let since = reader.cursors.borrow().get(&room).cloned();
            let inbox = Inbox::for_further_handle(bounds, StartPosition { since, history });
            let handle = reader.add(rooms, &room, inbox);
            (room, handle)
        });
        let handles = handles.collect();
        self.0.borrow_mut().push(Rc::clone(&reader));
        (reader, handles)
    }

    /// Removes a reader, and says whether it was the last one.
    pub(super) fn remove(&self, rooms: &Rooms, reader: &Rc<DirectReader>) -> bool {
        for (room, handle) in reader.rooms.take() {
            rooms.remove(&room, &handle);
        }
        let mut readers = self.0.borrow_mut();
        let count = readers.len();
        readers.retain(|other| !Rc::ptr_eq(other, reader));
        count > 0 && readers.is_empty()
    }

    /// The server joined an addressed room: all readers read it.
    pub(super) fn begin(&self, rooms: &Rooms, room: &RoomName) {
        if !rooms.contains(room) {
            for reader in self.0.borrow().iter() {
                reader.add(rooms, room, Inbox::for_first_handle(reader.bounds));
            }
        }
    }

    /// The server gives nothing that is addressed to the user: the last event of all readers.
    pub(super) fn refuse(&self, rooms: &Rooms, code: &str, message: &str) {
        for reader in self.0.take() {
            for (room, handle) in reader.rooms.borrow().iter() {
                rooms.remove(room, handle);
            }
            reader.refusal.replace(Some(RoomEvent::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            }));
            reader.is_over.set(true);
            reader.waiting.wake();
        }
    }
}

impl Driver {
    /// Adds a reader of what is addressed to the user; the first one asks the server for it.
    pub(crate) fn direct(&self, since: &[(RoomName, Cursor)], history: u32, bounds: InboxOptions) -> Rc<DirectReader> {
        let (reader, handles) = self.direct.add(&self.rooms, since, history, bounds);
        for (room, handle) in handles {
            self.pump(&room, &handle);
        }
        let since = since.to_vec();
        self.give(Command::Address { since, history });
        reader
    }

    /// Removes a reader of what is addressed to the user; without one the server is told that it is not wanted.
    pub(crate) fn release_direct(&self, reader: &Rc<DirectReader>) {
        if self.direct.remove(&self.rooms, reader) {
            self.give(Command::LeaveAddressed);
        }
    }

    /// The next event of what is addressed to the user, with its room.
    pub(crate) fn poll_direct(
        &self,
        reader: &Rc<DirectReader>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Option<(Option<RoomName>, RoomEvent)>> {
        let Some((room, event)) = reader.take() else {
            return reader.poll_end(waiter, context);
        };
        let room = room.map(|(room, handle)| {
            self.pump(&room, &handle);
            room
        });
        Poll::Ready(Some((room, event)))
    }
}
