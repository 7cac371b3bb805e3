//! Requests that wait for a message. Waiting makes no room: anybody may wait for any name.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use talkback_protocol::{RoomName, session::server::Refusal};
use tokio::sync::Notify;

use crate::engine::{Answer, Append, Engine, Limit, Outcome, Page, Range, Usage, Watch, Watcher};

/// Who waits for which room. Clones mean the same.
///
/// There are at most as many as connections.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rooms: Mutex<HashMap<RoomName, Waiters>>,
    /// So that a message to a room that nobody waits for costs no lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct Waiters {
    count: usize,
    bell: Arc<Notify>,
}

impl Waiting {
    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// The engine, with a bell that rings at each message.
    pub(crate) fn listen_to(&self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(Ringing {
            engine,
            waiting: self.clone(),
        })
    }

    /// Begins to wait. A message is in what is read after this call, or rings the bell, or both.
    pub(super) fn enter(&self, room: &RoomName) -> Waiter {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        let mut rooms = self.0.rooms.lock();
        let waiters = rooms.entry(room.clone()).or_default();
        waiters.count += 1;
        Waiter {
            waiting: self.clone(),
            room: room.clone(),
            bell: Arc::clone(&waiters.bell),
        }
    }

    fn ring(&self, room: &RoomName) {
        if self.count() > 0
            && let Some(waiters) = self.0.rooms.lock().get(room)
        {
            waiters.bell.notify_waiters();
        }
    }
}

/// One request that waits; dropping it ends the waiting.
pub(super) struct Waiter {
    waiting: Waiting,
    room: RoomName,
    pub(super) bell: Arc<Notify>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut rooms = self.waiting.0.rooms.lock();
        if let Some(waiters) = rooms.get_mut(&self.room) {
            waiters.count -= 1;
            if waiters.count == 0 {
                rooms.remove(&self.room);
            }
        }
        self.waiting.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An engine that rings for those who wait.
struct Ringing {
    engine: Arc<dyn Engine>,
    waiting: Waiting,
}

impl Engine for Ringing {
    fn append(&self, append: Append) -> Answer<Outcome> {
        let room = append.room.clone();
        match self.engine.append(append) {
            Answer::Later(outcome) => {
                let waiting = self.waiting.clone();
                Answer::Later(Box::pin(async move {
                    let outcome = outcome.await;
                    ring(&waiting, &room, &outcome);
                    outcome
                }))
            }
            Answer::Now(outcome) => {
                ring(&self.waiting, &room, &outcome);
                Answer::Now(outcome)
            }
            Answer::Taken => Answer::Taken,
        }
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        self.engine.read(room, range, limit)
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Result<Watch, Refusal> {
        self.engine.watch(room, watcher)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.engine.has(room)
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}

fn ring(waiting: &Waiting, room: &RoomName, outcome: &Outcome) {
    if let Outcome::Added(_) = outcome {
        waiting.ring(room);
    }
}
