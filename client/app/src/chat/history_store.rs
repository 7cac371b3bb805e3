//! The texts of `history` in IndexedDB. Where the browser forbids it, has no space left or is told to forget, nothing is
//! kept and nothing is reported: the chat works as it would without it.
//!
//! Of several tabs of one user, the one that holds a [Web Lock](https://w3c.github.io/web-locks/) writes; the others read.
//! A browser without Web Locks keeps nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
};

use idb::{
    Database, DatabaseEvent, Error, Factory, KeyRange, ObjectStore, ObjectStoreParams, Query, Transaction,
    TransactionMode,
};
use js_sys::{Array, Function, Object, Promise, Reflect};
use talkback_client::{RoomName, UserName};
use wasm_bindgen::{JsCast, JsValue, prelude::Closure};
use wasm_bindgen_futures::spawn_local;
use yew::Callback;

use super::history::{Batch, Kept, MAX_ROOMS, Stored, read};
use crate::browser::{self, HISTORY_DATABASE};

/// The store with the index of each room, behind its key. A key is a text: server, room and user, each in a line.
const ROOMS: &str = "rooms";

/// The store with the segments. Its keys are the key of the room and the number of the segment.
const ROWS: &str = "rows";

/// At most this many jobs wait. A database that is so far behind is not used any more.
const MAX_JOBS: usize = 256;

/// A handle to the database.
#[derive(Clone)]
pub(super) struct HistoryStore(Rc<Shared>);

struct Shared {
    /// The address of the server.
    server: String,
    database: RefCell<Option<Rc<Database>>>,
    /// The database is not used any more.
    is_closed: Cell<bool>,
    jobs: RefCell<VecDeque<Job>>,
    is_working: Cell<bool>,
    writer: RefCell<Option<Writer>>,
}

/// The user whose rooms this tab writes as soon as it has the lock.
struct Writer {
    user: UserName,
    /// Releases the lock.
    release: Option<Function>,
}

enum Job {
    Load {
        room: RoomName,
        user: String,
        /// If nothing of this user is kept, what is kept of another one will do.
        of_any: bool,
        loaded: Callback<Option<Stored>>,
    },
    Write {
        user: UserName,
        batch: Batch,
    },
    /// Whose rows they are does not matter.
    Forget(RoomName),
}

impl HistoryStore {
    pub(super) fn new(server: String) -> Self {
        Self(Rc::new(Shared {
            server,
            database: RefCell::default(),
            is_closed: Cell::new(Factory::new().is_err()),
            jobs: RefCell::default(),
            is_working: Cell::default(),
            writer: RefCell::default(),
        }))
    }

    /// Whether the browser may keep something.
    fn is_open(&self) -> bool {
        !self.0.is_closed.get()
    }

    /// Reads what is kept of a room.
    pub(super) fn load(&self, room: RoomName, user: String, of_any: bool, loaded: Callback<Option<Stored>>) {
        self.begin(Job::Load {
            room,
            user,
            of_any,
            loaded,
        });
    }

    /// Keeps rows of the user of [`HistoryStore::write_as`].
    pub(super) fn write(&self, batch: Batch) {
        let user = self.0.writer.borrow().as_ref().map(|writer| writer.user.clone());
        if let Some(user) = user {
            self.begin(Job::Write { user, batch });
        }
    }

    /// Removes all that is kept of a room.
    pub(super) fn forget(&self, room: RoomName) {
        self.begin(Job::Forget(room));
    }

    /// From now on the rows of this user are written, once no other tab does so any more: then `granted` is called.
    pub(super) fn write_as(&self, user: &UserName, granted: Callback<()>) {
        if self
            .0
            .writer
            .borrow()
            .as_ref()
            .is_some_and(|writer| writer.user == *user)
        {
            return;
        }
        self.release();
        self.0.writer.replace(Some(Writer {
            user: user.clone(),
            release: None,
        }));
        let name = format!("{HISTORY_DATABASE}\n{}\n{user}", self.0.server);
        let (shared, user) = (self.0.clone(), user.clone());
        request_lock(&name, move || {
            let mut held = None;
            if let Some(writer) = shared.writer.borrow_mut().as_mut().filter(|writer| writer.user == user) {
                held = Some(Promise::new(&mut |resolve, _| writer.release = Some(resolve)));
            }
            match held {
                Some(held) => {
                    granted.emit(());
                    held
                }
                // Another user is written meanwhile.
                None => Promise::resolve(&JsValue::UNDEFINED),
            }
        });
    }

    /// Another tab may write. A page in the back-forward cache would keep its lock.
    pub(super) fn release(&self) {
        let writer = self.0.writer.take();
        if let Some(release) = writer.and_then(|writer| writer.release) {
            // Resolving a promise does not throw.
            let _: Result<JsValue, JsValue> = release.call0(&JsValue::UNDEFINED);
        }
    }

    fn begin(&self, job: Job) {
        self.0.jobs.borrow_mut().push_back(job);
        if self.0.jobs.borrow().len() > MAX_JOBS {
            self.0.close();
        }
        if !self.is_open() {
            // Nothing waits for a database that does not answer.
            for job in self.0.jobs.take() {
                if let Job::Load { loaded, .. } = job {
                    loaded.emit(None);
                }
            }
            return;
        }
        if self.0.is_working.replace(true) {
            return;
        }
        let shared = self.0.clone();
        spawn_local(async move {
            while let Some(job) = shared.next_job() {
                shared.work(job).await;
            }
            shared.is_working.set(false);
        });
    }
}

impl Shared {
    fn next_job(&self) -> Option<Job> {
        self.jobs.borrow_mut().pop_front()
    }

    async fn work(self: &Rc<Self>, job: Job) {
        let database = self.database().await;
        match (job, database) {
            (
                Job::Load {
                    room,
                    user,
                    of_any,
                    loaded,
                },
                database,
            ) => {
                let mut stored = None;
                if let Some(database) = database {
                    let prefix = format!("{}\n{room}\n", self.server);
                    stored = load(&database, &prefix, &user, of_any).await;
                }
                loaded.emit(stored);
            }
            (Job::Write { user, batch }, Some(database)) => {
                let key = format!("{}\n{}\n{user}", self.server, batch.room);
                if write(&database, &key, &batch).await.is_none() {
                    // No space is left, for instance: what is kept stays, and the cursor with it.
                    self.close();
                }
            }
            (Job::Forget(room), Some(database)) => {
                if forget(&database, &format!("{}\n{room}\n", self.server)).await.is_none() {
                    self.close();
                }
            }
            (Job::Write { .. } | Job::Forget(_), None) => {}
        }
    }

    async fn database(self: &Rc<Self>) -> Option<Rc<Database>> {
        if self.is_closed.get() {
            return None;
        }
        if let Some(database) = &*self.database.borrow() {
            return Some(database.clone());
        }
        let Some(mut database) = open().await else {
            self.close();
            return None;
        };
        let shared = Rc::downgrade(self);
        // This page, or another one, forgets all.
        database.on_version_change(move |_| {
            if let Some(shared) = shared.upgrade() {
                shared.close();
            }
        });
        let database = Rc::new(database);
        self.database.replace(Some(database.clone()));
        Some(database)
    }

    fn close(&self) {
        self.is_closed.set(true);
        if let Some(database) = &*self.database.borrow() {
            database.close();
        }
    }
}

async fn open() -> Option<Database> {
    let mut request = Factory::new().ok()?.open(HISTORY_DATABASE, Some(1)).ok()?;
    request.on_upgrade_needed(|event| {
        if let Ok(database) = event.database() {
            for store in [ROOMS, ROWS] {
                // A store that is missing fails each later transaction.
                let _: Result<ObjectStore, Error> = database.create_object_store(store, ObjectStoreParams::new());
            }
        }
    });
    request.await.ok()
}

/// What is kept of the user's room; of another user's, if `of_any`, which was written last.
async fn load(database: &Database, prefix: &str, user: &str, of_any: bool) -> Option<Stored> {
    let transaction = database.transaction(&[ROOMS, ROWS], TransactionMode::ReadOnly).ok()?;
    let rooms = transaction.object_store(ROOMS).ok()?;
    let of_room = KeyRange::bound(&prefix.into(), &after(prefix), None, None).ok()?;
    let own = format!("{prefix}{user}");
    let mut chosen: Option<(String, Kept)> = None;
    for index in &texts(&rooms, Some(of_room)).await? {
        let Some((key, kept)) = parse(index) else {
            continue;
        };
        let is_own = key == own;
        if is_own || of_any && chosen.as_ref().is_none_or(|(_, other)| other.at < kept.at) {
            chosen = Some((key.to_owned(), kept));
            if is_own {
                break;
            }
        }
    }
    let (key, kept) = chosen?;
    let rows = transaction.object_store(ROWS).ok()?;
    let segments = texts(&rows, Some(segments(&key, None)?)).await?;
    Some(Stored {
        user: key[prefix.len()..].to_owned(),
        cursor: kept.cursor()?.clone(),
        parts: read(segments.into_iter()),
    })
}

/// Removes the rooms whose keys begin with this text.
async fn forget(database: &Database, prefix: &str) -> Option<()> {
    let transaction = database.transaction(&[ROOMS, ROWS], TransactionMode::ReadWrite).ok()?;
    let rooms = KeyRange::bound(&prefix.into(), &after(prefix), None, None).ok()?;
    let rows = KeyRange::bound(&Array::of1(&prefix.into()), &Array::of1(&after(prefix)), None, None).ok()?;
    transaction.object_store(ROOMS).ok()?.delete(rooms).ok()?;
    transaction.object_store(ROWS).ok()?.delete(rows).ok()?;
    transaction.await.ok()?.is_committed().then_some(())
}

/// Keeps rows and the cursor of the room, in one transaction; none if that failed and nothing was changed.
async fn write(database: &Database, key: &str, batch: &Batch) -> Option<()> {
    let transaction = database.transaction(&[ROOMS, ROWS], TransactionMode::ReadWrite).ok()?;
    let is_changed = change(&transaction, key, batch).await.is_some();
    let transaction = if is_changed {
        transaction
    } else {
        transaction.abort().ok()?
    };
    let result = transaction.await.ok()?;
    result.is_committed().then_some(())
}

async fn change(transaction: &Transaction, key: &str, batch: &Batch) -> Option<()> {
    let (rooms, rows) = (
        transaction.object_store(ROOMS).ok()?,
        transaction.object_store(ROWS).ok()?,
    );
    // All of them, because they are few: one of them may be to be dropped.
    let mut indexes = texts(&rooms, None).await?;
    let own = indexes
        .iter()
        .position(|index| parse(index).is_some_and(|(other, _)| other == key));
    let own = own.map(|own| indexes.swap_remove(own));
    let mut kept = own.as_deref().and_then(parse).map(|(_, kept)| kept).unwrap_or_default();
    let mut open = Vec::new();
    if let Some(number) = kept.open_segment(batch) {
        open = texts(&rows, Some(KeyRange::only(&segment(key, number)).ok()?)).await?;
    }
    let first = kept.first_segment();
    let Some(written) = kept.add(batch, open.pop()) else {
        return Some(());
    };
    for (number, text) in written {
        if number >= kept.first_segment() {
            rows.put(&text.into(), Some(&segment(key, number))).ok()?;
        }
    }
    if kept.first_segment() > first {
        let dropped = segments(key, Some(kept.first_segment()))?;
        rows.delete(dropped).ok()?;
    }
    kept.at = browser::now();
    let index = format!("{key}\n{}", kept.to_text()?);
    rooms.put(&index.into(), Some(&key.into())).ok()?;
    while indexes.len() >= MAX_ROOMS {
        // One that cannot be read is the oldest.
        let at = |index: &String| parse(index).map_or(0, |(_, kept)| kept.at);
        let oldest = (0..indexes.len()).min_by_key(|place| at(&indexes[*place]))?;
        let oldest = indexes.swap_remove(oldest);
        let Some((key, _)) = parse(&oldest) else {
            continue;
        };
        rows.delete(segments(key, None)?).ok()?;
        rooms.delete(JsValue::from(key)).ok()?;
    }
    Some(())
}

/// The texts of a store, in the order of their keys. Boxed, so that the code is there once.
fn texts(store: &ObjectStore, keys: Option<KeyRange>) -> Pin<Box<dyn Future<Output = Option<Vec<String>>>>> {
    let request = store.get_all(keys.map(Query::from), None);
    Box::pin(async {
        let values = request.ok()?.await.ok()?;
        Some(values.iter().filter_map(JsValue::as_string).collect())
    })
}

/// The lines of the key of an index, and the index.
fn parse(index: &str) -> Option<(&str, Kept)> {
    let mut ends = index.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let (end, _) = ends.nth(2)?;
    Some((&index[..end], Kept::parse(&index[end + 1..])?))
}

/// A text after all that begin with this one.
fn after(prefix: &str) -> JsValue {
    format!("{prefix}\u{ffff}").into()
}

/// The key of a segment.
fn segment(room: &str, number: i64) -> JsValue {
    #[expect(clippy::cast_precision_loss, reason = "segments are numbered from 1, up and down")]
    Array::of2(&room.into(), &(number as f64).into()).into()
}

/// The keys of all segments of a room, or of those before a number.
fn segments(room: &str, before: Option<i64>) -> Option<KeyRange> {
    // A list is greater than every number.
    let end = before.map_or_else(
        || Array::of2(&room.into(), &Array::new()).into(),
        |before| segment(room, before),
    );
    KeyRange::bound(&Array::of1(&room.into()), &end, None, Some(true)).ok()
}

/// Asks for a lock, which is held until the promise of `granted` is settled or the tab ends.
fn request_lock(name: &str, granted: impl FnOnce() -> Promise + 'static) {
    let locks: Option<Object> = Reflect::get(&browser::window().navigator(), &"locks".into())
        .ok()
        .and_then(|locks| locks.dyn_into().ok());
    let Some(locks) = locks else { return };
    let granted = Closure::once_into_js(granted);
    if let Ok(request) = Reflect::get(&locks, &"request".into())
        && let Some(request) = request.dyn_ref::<Function>()
    {
        // Refused only for documents without an origin.
        let _: Result<JsValue, JsValue> = request.call2(&locks, &name.into(), &granted);
    }
}

#[cfg(test)]
mod tests {
    use talkback_client::{Cursor, Epoch, Offset};

    use super::*;

    #[test]
    fn a_database_that_does_not_answer_has_no_more_than_so_many_jobs_and_is_not_used_any_more() {
        // As if a job were never done.
        let store = HistoryStore(Rc::new(Shared {
            server: String::new(),
            database: RefCell::default(),
            is_closed: Cell::new(false),
            jobs: RefCell::default(),
            is_working: Cell::new(true),
            writer: RefCell::default(),
        }));
        let room = || RoomName::parse("a").unwrap();
        let answers: Rc<Cell<usize>> = Rc::default();
        let load = || {
            let answers = answers.clone();
            let loaded = move |stored: Option<Stored>| {
                assert_eq!(stored, None);
                answers.set(answers.get() + 1);
            };
            store.load(room(), "Ann".into(), false, loaded.into());
        };
        let write = || {
            let batch = Batch {
                room: room(),
                cursor: Cursor {
                    epoch: Epoch::from_random(1),
                    offset: Offset::new(1).unwrap(),
                },
                after: 0,
                forked: None,
                is_older: false,
                rows: Vec::new(),
            };
            let user = UserName::parse("Ann").unwrap();
            store.begin(Job::Write { user, batch });
        };
        load();
        (1..MAX_JOBS).for_each(|_| write());
        assert!(store.is_open());
        assert_eq!((store.0.jobs.borrow().len(), answers.get()), (MAX_JOBS, 0));
        write();
        assert!(!store.is_open());
        load();
        write();
        store.forget(room());
        assert_eq!(
            (store.0.jobs.borrow().len(), answers.get()),
            (0, 2),
            "who waits is told that nothing is kept"
        );
    }
}
