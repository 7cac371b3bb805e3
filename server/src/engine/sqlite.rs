//! The engine that keeps everything in one sqlite file, so that an acknowledged message survives the end of the process
//! and of the machine.
//!
//! One thread writes: it adds all messages that wait in one transaction and answers after the commit, which waits for
//! the disk (`writer.rs`). A few threads read, each in a snapshot of its own (`readers.rs`). Callers wait for neither:
//! they get [`Answer::later`]. Committed messages are passed to the watchers by a task of the runtime for each room
//! (`rooms.rs`).
//!
//! In memory are the table of rooms, the clients that were seen last, and what waits; so memory does not grow with the
//! messages, and no message is read at the start. `docs/sqlite.md` describes the tables.

mod clients;
mod file;
mod options;
mod readers;
mod rooms;
mod writer;

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use parking_lot::Mutex;
use talkback_protocol::{Epoch, RoomName, UserName, session::server::Refusal};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Answer, Append, AppendOutcome, DeletedRoom, Engine, Limit, NotReady, Page, Range, Usage, WaitingMessages, Watch,
    Watcher,
    outcome::{OutcomeCounts, busy, too_many_watches},
};
pub use options::SqliteOptions;
use readers::Reads;
use rooms::Rooms;
use writer::{Call, Calls, Deletion, Writer};

/// The bytes that a message counts besides its body, as in memory.
const OVERHEAD: usize = 256;

/// Logs in a sqlite file. Clones are handles to the same logs. Dropping the last one writes what waits and closes the
/// file.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    _lock: File,
}

/// What callers and threads share.
struct Shared {
    options: SqliteOptions,
    runtime: Handle,
    rooms: Rooms,
    calls: Calls,
    reads: Reads,
    waiting: Arc<WaitingMessages>,
    usage: Counters,
    problem: Mutex<Option<Problem>>,
    has_problem: AtomicBool,
}

/// Why messages cannot be added now.
#[derive(Clone)]
struct Problem {
    not_ready: NotReady,
    /// Until the server is started again.
    is_fatal: bool,
}

#[derive(Default)]
struct Counters {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    clients: AtomicUsize,
    requests: AtomicUsize,
    remembered_bytes: AtomicUsize,
    commits: AtomicU64,
    outcomes: OutcomeCounts,
}

impl Sqlite {
    /// Opens the file, or creates it. It blocks for the time of reading the table of rooms. The messages are delivered
    /// by tasks of the runtime in which this is called.
    ///
    /// # Errors
    /// [`NotReady`] with what to do: the file cannot be opened or written, is damaged, is of another program or a newer
    /// server, or another server uses it.
    pub fn open(options: SqliteOptions) -> Result<Self, NotReady> {
        let runtime = Handle::try_current()
            .map_err(|_| NotReady("the sqlite engine must be opened in a tokio runtime".to_owned()))?;
        let (connection, lock) = file::open(&options)?;
        let failed = |error: rusqlite::Error| file::explain(&options.path, &error);
        let epochs = read_epochs(&connection).map_err(failed)?;
        let readers = (0..options.readers.max(1))
            .map(|_| file::open_reader(&options))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            runtime,
            rooms: Rooms::new(epochs, options.delivery_bytes),
            calls: Calls::new(),
            reads: Reads::new(options.reads),
            waiting: WaitingMessages::new(options.waiting),
            usage: Counters::default(),
            problem: Mutex::default(),
            has_problem: AtomicBool::new(false),
            options: options.clone(),
        });
        let writer = Writer::new(Arc::clone(&shared), connection).map_err(failed)?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = Builder::new().name(name.to_owned()).spawn(run);
            thread.map_err(|error| NotReady(format!("the thread {name} cannot be started: {error}")))
        };
        let mut inner = Inner {
            shared: Arc::clone(&shared),
            readers: Vec::new(),
            writer: None,
            _lock: lock,
        };
        for connection in readers {
            let shared = Arc::clone(&shared);
            let reads = Box::new(move || readers::run(&shared, connection));
            inner.readers.push(spawn("log-reader", reads)?);
        }
        inner.writer = Some(spawn("log-writer", Box::new(move || writer.run()))?);
        Ok(Self(Arc::new(inner)))
    }
}

fn read_epochs(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<Epoch>> {
    connection
        .prepare("SELECT epoch FROM epochs ORDER BY slot")?
        .query_map([], |row| {
            let epoch = row.get_ref(0)?.as_str()?;
            Epoch::parse(epoch).map_err(|error| readers::damaged(0, error))
        })?
        .collect()
}

impl Drop for Inner {
    fn drop(&mut self) {
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the sqlite engine panicked");
            }
        };
        self.shared.reads.close();
        self.readers.drain(..).for_each(join);
        // Last, because the last connection that may write moves the write-ahead log into the file.
        self.shared.calls.close();
        self.writer.take().into_iter().for_each(join);
    }
}

impl Shared {
    /// Notes why messages cannot be added.
    fn failed(&self, error: &rusqlite::Error, is_fatal: bool) -> NotReady {
        let not_ready = file::explain(&self.options.path, error);
        let mut problem = self.problem.lock();
        if problem.as_ref().is_some_and(|problem| problem.is_fatal) {
            return not_ready;
        }
        if problem.as_ref().is_none_or(|problem| problem.not_ready != not_ready) {
            tracing::error!(is_fatal, "the log cannot be used: {not_ready}");
        }
        *problem = Some(Problem {
            not_ready: not_ready.clone(),
            is_fatal,
        });
        self.has_problem.store(true, Ordering::Release);
        not_ready
    }

    /// Notes that messages were added.
    fn recovered(&self) {
        if self.has_problem.load(Ordering::Acquire) {
            let mut problem = self.problem.lock();
            if problem.take_if(|problem| !problem.is_fatal).is_some() {
                self.has_problem.store(false, Ordering::Release);
                tracing::info!("the log can be used again");
            }
        }
    }

    fn fatal(&self) -> Option<NotReady> {
        if !self.has_problem.load(Ordering::Acquire) {
            return None;
        }
        let problem = self.problem.lock();
        let fatal = problem.as_ref().filter(|problem| problem.is_fatal);
        fatal.map(|problem| problem.not_ready.clone())
    }

    /// The answer to a message that is not in the log, or of which that is not known: its client sends it again, and
    /// the log recognises it.
    fn unavailable(&self) -> AppendOutcome {
        AppendOutcome::Refused {
            epoch: None,
            refusal: self.not_written(),
        }
    }

    fn not_written(&self) -> Refusal {
        let message = "the log cannot be written now: try again later";
        busy(message, self.options.log.remembered_retry_after)
    }

    /// Gives a call to the writer, whose answer is a refusal if it stops before.
    fn call<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Call,
    ) -> Answer<Result<T, Refusal>> {
        let (answer, answered) = oneshot::channel();
        self.calls.push(call(answer));
        let shared = Arc::clone(self);
        Answer::later(Box::pin(async move {
            answered.await.unwrap_or_else(|_| Err(shared.not_written()))
        }))
    }
}

impl Engine for Sqlite {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        let shared = &self.0.shared;
        let permit = match shared.waiting.admit(&append) {
            Ok(permit) => permit,
            Err(refusal) => return Answer::now(AppendOutcome::Refused { epoch: None, refusal }),
        };
        let (answer, answered) = oneshot::channel();
        shared.calls.push(Call::Append { append, permit, answer });
        let shared = Arc::clone(shared);
        Answer::later(Box::pin(async move {
            answered.await.unwrap_or_else(|_| shared.unavailable())
        }))
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let shared = &self.0.shared;
        if limit.messages == 0 {
            return Answer::now(Ok(shared.rooms.end(room).page(Vec::new())));
        }
        shared.reads.push(shared, room, range, limit)
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        let shared = Arc::clone(&self.0.shared);
        let options = &shared.options.log;
        let Some((watched, key, epoch)) = shared.rooms.watch(room, watcher, options.watches) else {
            return Answer::now(Err(too_many_watches(options.remembered_retry_after)));
        };
        let room = room.clone();
        Answer::now(Ok(Watch::new(epoch, move || {
            shared.rooms.unwatch(&room, &watched, key)
        })))
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        let room = room.clone();
        self.0.shared.call(|answer| Call::DeleteRoom { room, answer })
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        let (user, room) = (user.clone(), room.cloned());
        self.0
            .shared
            .call(|answer| Call::DeleteMessages(Deletion::new(user, room, answer)))
    }

    fn has(&self, room: &RoomName) -> bool {
        self.0.shared.rooms.has(room)
    }

    fn usage(&self) -> Usage {
        let shared = &self.0.shared;
        let usage = &shared.usage;
        Usage {
            rooms: shared.rooms.len(),
            messages: usage.messages.load(Ordering::Relaxed),
            bytes: usage.bytes.load(Ordering::Relaxed),
            clients: usage.clients.load(Ordering::Relaxed),
            requests: usage.requests.load(Ordering::Relaxed),
            remembered_bytes: usage.remembered_bytes.load(Ordering::Relaxed),
            commits: usage.commits.load(Ordering::Relaxed),
            ..usage.outcomes.usage()
        }
    }

    /// Makes a commit, which waits for the disk.
    fn ready(&self) -> Answer<Result<(), NotReady>> {
        let shared = &self.0.shared;
        if let Some(not_ready) = shared.fatal() {
            return Answer::now(Err(not_ready));
        }
        let (answer, answered) = oneshot::channel();
        shared.calls.push(Call::Check(answer));
        Answer::later(Box::pin(async move {
            let closed = || Err(NotReady("the log is closed".to_owned()));
            answered.await.unwrap_or_else(|_| closed())
        }))
    }
}

#[cfg(test)]
mod tests;
