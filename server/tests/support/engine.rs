//! Engines that do what a test asks for: answer late, and begin a log anew.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use talkback_protocol::{Cursor, Epoch, Offset, RoomName, UserName, session::server::Refusal};
use talkback_server::engine::{
    Answer, Append, AppendOutcome, DeletedRoom, Engine, Limit, Memory, MemoryOptions, MessageId, NotReady, Page, Range,
    Usage, Watch, Watcher,
};
use tokio::sync::watch;

/// The logs of another engine, whose answers come later, and for some rooms when the test says so.
pub struct Held {
    engine: Arc<dyn Engine>,
    /// The calls for these rooms are answered later.
    rooms: watch::Sender<Vec<String>>,
}

impl Held {
    pub fn new(engine: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            rooms: watch::Sender::new(Vec::new()),
        })
    }

    /// Answers no call for these rooms any more, and all others.
    pub fn hold(&self, rooms: &[&str]) {
        self.rooms
            .send_replace(rooms.iter().map(|&room| room.to_owned()).collect());
    }

    fn later<T: Send + 'static>(&self, room: &RoomName, answer: Answer<T>) -> Answer<T>
    where
        Answer<T>: Future<Output = T>,
    {
        let (room, mut rooms) = (room.to_string(), self.rooms.subscribe());
        Answer::later(Box::pin(async move {
            let released = rooms.wait_for(|rooms| !rooms.contains(&room)).await;
            drop(released.expect("the engine lives as long as its server"));
            answer.await
        }))
    }
}

impl Engine for Held {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        let room = append.room.clone();
        self.later(&room, self.engine.append(append))
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let page = self.engine.read(room, range, limit);
        // One that only asks where the log ends is answered, so that members get to reading.
        if limit.messages == 0 {
            return page;
        }
        self.later(room, page)
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        self.later(room, self.engine.watch(room, watcher))
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        self.later(room, self.engine.delete_room(room))
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        self.engine.delete_messages_of(user, room)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.engine.has(room)
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }

    fn ready(&self) -> Answer<Result<(), NotReady>> {
        self.later(&RoomName::parse("ready").unwrap(), self.engine.ready())
    }
}

/// Logs of one room that a test can begin anew, as one does that lost its newest messages.
pub struct Restarting(Mutex<Log>);

struct Log {
    engine: Memory,
    fork: Option<Cursor>,
    next_watcher: u64,
    /// Each with its subscription to the present log.
    watchers: HashMap<u64, (Arc<dyn Watcher>, Option<Watch>)>,
}

impl Restarting {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Log {
            engine: Memory::new(MemoryOptions::default()),
            fork: None,
            next_watcher: 0,
            watchers: HashMap::new(),
        })))
    }

    /// Begins the log of this room anew with its first messages, up to this offset, in a new epoch.
    pub fn lose_after(&self, room: &str, offset: u64) {
        let room = RoomName::parse(room).unwrap();
        let mut log = self.0.lock();
        let all = Limit {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        let before = now(log.engine.read(&room, Range::After(Offset::ZERO), all)).unwrap();
        let offset = Offset::new(offset).unwrap();
        let engine = Memory::new(MemoryOptions::default());
        for message in before.messages.iter().filter(|message| message.offset <= offset) {
            let append = Append {
                room: room.clone(),
                id: MessageId::None,
                from: message.from.clone(),
                content: Ok(message.body.clone()),
            };
            assert!(matches!(now(engine.append(append)), AppendOutcome::Added(_)));
        }
        let epoch: Epoch = now(engine.read(&room, Range::Newest, all)).unwrap().epoch;
        assert_ne!(epoch, before.epoch);
        log.fork = Some(Cursor {
            epoch: before.epoch,
            offset,
        });
        for (watcher, watch) in log.watchers.values_mut() {
            *watch = None;
            watcher.restarted(&epoch);
            *watch = Some(now(engine.watch(&room, Arc::clone(watcher))).unwrap());
        }
        log.engine = engine;
    }
}

fn now<T>(answer: Answer<T>) -> T {
    answer
        .at_once()
        .unwrap_or_else(|_| panic!("this engine answers at once"))
}

/// An engine of which [`Watch`]es can remove their watcher.
pub struct Shared(pub Arc<Restarting>);

impl Engine for Shared {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        self.0.0.lock().engine.append(append)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let log = self.0.0.lock();
        let page = now(log.engine.read(room, range, limit));
        let fork = log.fork.clone();
        let forks = fork.into_iter().collect();
        Answer::now(page.map(|page| Page { forks, ..page }))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        let mut log = self.0.0.lock();
        let watch = now(log.engine.watch(room, Arc::clone(&watcher))).unwrap();
        let epoch = watch.epoch().clone();
        log.next_watcher += 1;
        let key = log.next_watcher;
        log.watchers.insert(key, (watcher, Some(watch)));
        let logs = Arc::clone(&self.0);
        Answer::now(Ok(Watch::new(epoch, move || {
            let watcher = logs.0.lock().watchers.remove(&key);
            drop(watcher);
        })))
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        self.0.0.lock().engine.delete_room(room)
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        self.0.0.lock().engine.delete_messages_of(user, room)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.0.0.lock().engine.has(room)
    }

    fn usage(&self) -> Usage {
        self.0.0.lock().engine.usage()
    }
}
