//! The engine that keeps the logs in a Redis, so that several servers have the same rooms.
//!
//! One script adds a message (`append.lua`): it recognises resends, numbers, stores, trims and publishes in one step. The
//! servers that have watchers of a room are subscribed to its channel; what did not arrive is read from the log
//! (`rooms.rs`). Messages of all rooms go to Redis in groups over one connection (`link.rs`), so those of a room keep
//! their order.
//!
//! A Redis Cluster divides the rooms among its masters (`cluster.rs`). Each of them is served as a Redis of its own
//! (`nodes.rs`), and nothing needs more than one of them at once.
//!
//! A log is bound to the life of the data that it is in: a Redis that was started again, and a replica that was
//! promoted, may have lost messages that were acknowledged. Then each room continues in a new epoch that forks from the
//! one before (`log.lua`). `docs/redis.md` says what each setting of Redis promises.

mod cluster;
mod link;
mod nodes;
mod options;
mod present;
mod rooms;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lru::LruCache;
use parking_lot::Mutex;
use redis::Value;
use talkback_protocol::{ClientKey, Epoch, RoomName, UserName, message::Signal, session::server::Refusal};
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle, time::Instant};

use super::{
    Answer, Append, AppendOutcome, DeletedRoom, Engine, Limit, MessageId, NotReady, Page, Presence, Range, Usage,
    WaitingMessages, Watch, Watcher,
    new_rooms::NewRoomLimit,
    outcome::{OutcomeCounts, busy, too_large, too_many_watches},
};
use cluster::{Map, Surveyor};
use link::{Call, ConnectError, Link, Subscription};
use nodes::{Node, Nodes};
pub use options::{RedisOptions, RedisUrl};
use present::Present;
use rooms::{Room, Rooms, Watching};
use wire::{AppendCall, Keys};

/// The bytes that a message counts besides its own, as in memory.
const OVERHEAD: usize = 256;
/// How long the mark of a check of readiness is kept.
const CHECKED_FOR: Duration = Duration::from_secs(60);
/// Bytes of an answer that is logged or told.
const SHOWN: usize = 200;

/// Logs in a Redis. Clones are handles to the same connections, which end with the last one.
#[derive(Clone)]
pub struct Redis(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    /// The task that follows the cluster.
    task: Option<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.shared.nodes.close();
    }
}

/// What callers and the tasks that hold the connections share.
struct Shared {
    options: RedisOptions,
    nodes: Nodes,
    keys: Keys,
    runtime: Handle,
    /// Tells this server from others.
    server: u64,
    rooms: Rooms,
    present: Present,
    waiting: Arc<WaitingMessages>,
    reads: AtomicUsize,
    /// Rooms that exist, as far as this server has seen.
    known: Mutex<LruCache<RoomName, ()>>,
    new_rooms: Arc<Mutex<NewRoomLimit>>,
    outcomes: OutcomeCounts,
}

impl Redis {
    /// Connects. It blocks until Redis has answered, or for [`RedisOptions::connect_timeout`]. Without an answer the
    /// engine starts, is not ready, and goes on trying. Messages are delivered by tasks of the runtime in which this is
    /// called.
    ///
    /// # Errors
    /// [`NotReady`] with what to do: the URL, the user or the password is wrong, or logs cannot be kept in this Redis.
    pub fn open(options: RedisOptions) -> Result<Self, NotReady> {
        let runtime = Handle::try_current()
            .map_err(|_| NotReady("the Redis engine must be opened in a tokio runtime".to_owned()))?;
        let map = match check(options.clone()) {
            Err(ConnectError::Refused(why)) => return Err(why),
            Err(ConnectError::Away(why)) => {
                tracing::warn!("the server starts without its log: {why}");
                Err(why)
            }
            Ok(map) => Ok(map),
        };
        let known = options
            .known_rooms
            .max(1)
            .try_into()
            .unwrap_or(std::num::NonZeroUsize::MIN);
        let none = NotReady(format!("no master of {} is known yet", options.url));
        let shared = Arc::new(Shared {
            nodes: Nodes::new(map.as_ref().err().cloned().unwrap_or(none)),
            keys: Keys::new(&options.prefix),
            runtime,
            server: fastrand::u64(..),
            rooms: Rooms::default(),
            present: Present::default(),
            waiting: WaitingMessages::new(options.waiting),
            reads: AtomicUsize::new(0),
            known: Mutex::new(LruCache::new(known)),
            new_rooms: Arc::new(Mutex::new(NewRoomLimit::new(options.log.new_rooms))),
            outcomes: OutcomeCounts::default(),
            options,
        });
        let task = if shared.options.url.is_cluster() {
            let surveyor = Surveyor::new(&shared.options)?;
            if let Ok(Some(map)) = map {
                shared.route_by(&map, &surveyor);
            }
            let following = Arc::clone(&shared);
            let task = shared
                .runtime
                .spawn(async move { following.follow_cluster(surveyor).await });
            Some(task.abort_handle())
        } else {
            let client = link::client(&shared.options)?;
            let (name, signals) = (shared.options.url.to_string(), shared.options.signals);
            shared.route(
                |_| Some(name.clone()),
                |name| Some(Node::new(name.to_owned(), client.clone(), false, signals)),
            );
            None
        };
        Ok(Self(Arc::new(Running { shared, task })))
    }
}

/// Connects in a thread of its own, because the caller's runtime may have no other one. Returns the map of a cluster.
fn check(options: RedisOptions) -> Result<Option<Map>, ConnectError> {
    let failed = |error: &dyn std::fmt::Display| NotReady(format!("a thread cannot be started: {error}"));
    let check = std::thread::Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ConnectError::Refused(failed(&error)))?;
        runtime.block_on(async {
            if options.url.is_cluster() {
                cluster::check(&options).await.map(Some)
            } else {
                link::check(&options).await.map(|()| None)
            }
        })
    });
    let check = check.map_err(|error| ConnectError::Refused(failed(&error)))?;
    check
        .join()
        .unwrap_or_else(|_| Err(ConnectError::Refused(failed(&"it panicked"))))
}

impl Shared {
    /// The connections to the node that has a room.
    async fn connected(&self, room: &RoomName) -> Result<Arc<Link>, Refusal> {
        let node = self.nodes.of(room).ok_or_else(|| self.away())?;
        node.connected().await.map_err(|_| self.away())
    }

    /// A refusal of what cannot be done while Redis is away.
    fn away(&self) -> Refusal {
        let message = "the log cannot be reached now: try again later";
        busy(message, self.options.log.retry_after)
    }

    /// The answer to a message that is not in the log, or of which that is not known: its client sends it again, and
    /// the log recognises it.
    fn unavailable(&self) -> AppendOutcome {
        AppendOutcome::Refused {
            epoch: None,
            refusal: self.away(),
        }
    }

    fn full(&self, epoch: Epoch) -> AppendOutcome {
        let message = "the room is busy: try again in a moment";
        AppendOutcome::Refused {
            epoch: Some(epoch),
            refusal: busy(message, self.options.log.retry_after),
        }
    }

    fn too_many_rooms(&self, epoch: Epoch) -> AppendOutcome {
        let message = "this client made too many rooms: try again later";
        AppendOutcome::Refused {
            epoch: Some(epoch),
            refusal: busy(message, self.options.log.remembered_retry_after),
        }
    }

    /// The charge for the room that a message may make; `None` if it may not make one. Its client is charged if the room
    /// is not known to exist.
    fn charge(&self, append: &Append) -> Option<RoomCharge> {
        let MessageId::Client { key, .. } = &append.id else {
            return Some(RoomCharge(None));
        };
        if self.is_known(&append.room) {
            return Some(RoomCharge(None));
        }
        self.new_rooms.lock().take(key, Instant::now()).ok()?;
        Some(RoomCharge(Some((Arc::clone(&self.new_rooms), *key))))
    }

    fn is_known(&self, room: &RoomName) -> bool {
        self.known.lock().get(room).is_some()
    }

    /// Notes whether a room exists.
    fn has_seen(&self, room: &RoomName, exists: bool) {
        let mut known = self.known.lock();
        if !exists {
            known.pop(room);
        } else if known.get(room).is_none() {
            known.put(room.clone(), ());
        }
    }

    /// Reads from Redis. A page of another epoch than that of the room's watchers is news for them.
    async fn read_now(
        self: &Arc<Self>,
        room: &RoomName,
        range: Range,
        limit: Limit,
        is_watched: bool,
    ) -> Result<Page, Refusal> {
        let away = |_| self.away();
        let link = self.connected(room).await?;
        let limit = Limit {
            messages: limit.messages.min(self.options.read_messages),
            ..limit
        };
        let command = wire::read_command(&self.keys, &link.history, room, range, limit, is_watched);
        let answer = link.command(self, &command).await.map_err(away)?;
        let Some(wire::Read { page, exists }) = wire::read(answer, room, range) else {
            tracing::error!(%room, "the log has something that is no message");
            return Err(self.away());
        };
        self.has_seen(room, exists);
        Ok(page)
    }

    async fn delete_room_now(&self, room: &RoomName) -> Result<DeletedRoom, Refusal> {
        let away = |_| self.away();
        let link = self.connected(room).await?;
        let command = wire::delete_room_command(&self.keys, &link.history, room);
        let answer = link.command(self, &command).await.map_err(away)?;
        wire::deleted_room(&answer).ok_or_else(|| self.strange(&answer))
    }

    /// Deletes the bodies of a user in one room, or in all that Redis has.
    async fn delete_messages_now(&self, user: &UserName, room: Option<&RoomName>) -> Result<u64, Refusal> {
        let away = |_| self.away();
        let of_room = async |room: &RoomName| {
            let link = self.connected(room).await?;
            let command = wire::delete_messages_command(&self.keys, &link.history, room, user);
            let answer = link.command(self, &command).await.map_err(away)?;
            redis::from_redis_value_ref::<u64>(&answer).map_err(|_| self.strange(&answer))
        };
        if let Some(room) = room {
            return of_room(room).await;
        }
        if self.nodes.gap().is_some() {
            return Err(self.away());
        }
        let mut count = 0;
        for node in self.nodes.all() {
            let link = node.connected().await.map_err(away)?;
            let mut cursor = 0;
            loop {
                let command = wire::scan_command(&self.keys, cursor);
                let answer = link.command(self, &command).await.map_err(away)?;
                let scanned = redis::from_redis_value_ref::<(u64, Vec<Vec<u8>>)>(&answer);
                let (next, keys) = scanned.map_err(|_| self.strange(&answer))?;
                for room in keys.iter().filter_map(|key| self.keys.room_of_state(key)) {
                    count += of_room(&room).await?;
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(count)
    }

    /// The refusal of a call that Redis answers with something else.
    fn strange(&self, answer: &Value) -> Refusal {
        let shown: String = format!("{answer:?}").chars().take(SHOWN).collect();
        tracing::error!("the Redis at {} answers a deletion with {shown}", self.options.url);
        self.away()
    }

    /// Runs a call to its end, also if its answer is dropped.
    fn run_to_end<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Answer<Result<T, Refusal>> {
        let (shared, task) = (Arc::clone(self), self.runtime.spawn(call));
        Answer::later(Box::pin(
            async move { task.await.unwrap_or_else(|_| Err(shared.away())) },
        ))
    }
}

/// What a client is charged for a room that its message may make. It is given back on drop.
struct RoomCharge(Option<(Arc<Mutex<NewRoomLimit>>, ClientKey)>);

impl RoomCharge {
    /// The room was made.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RoomCharge {
    fn drop(&mut self) {
        if let Some((new_rooms, client)) = self.0.take() {
            new_rooms.lock().give_back(&client);
        }
    }
}

/// A read that waits for Redis.
struct Reading(Arc<Shared>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watcher of a room. Dropping it ends the subscription.
struct Watched {
    shared: Arc<Shared>,
    room: Arc<Room>,
    key: usize,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.rooms.unwatch(&self.room, self.key, || {
            shared.present.forget(&self.room.name);
            // Without a connection there is no subscription.
            if let Some(node) = shared.nodes.of(&self.room.name) {
                node.subscribe(Subscription::Close(self.room.name.clone()));
            }
        });
    }
}

impl Engine for Redis {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        let shared = &self.0.shared;
        let permit = match shared.waiting.admit(&append) {
            Ok(permit) => permit,
            Err(refusal) => return Answer::now(AppendOutcome::Refused { epoch: None, refusal }),
        };
        let mut append = append;
        let most = shared.options.log.bytes.min(shared.options.log.total_bytes);
        if append.content.is_ok() && wire::weight(&append) > most {
            append.content = Err(too_large(most));
        }
        let (answer, answered) = oneshot::channel();
        let is_full = append.content.is_ok() && !shared.rooms.have_capacity(&append.room);
        let charge = shared.charge(&append);
        let append = AppendCall {
            append,
            may_make: charge.is_some(),
            is_full,
        };
        let call = Call {
            append,
            charge: charge.unwrap_or(RoomCharge(None)),
            permit,
            answer,
        };
        let node = shared.nodes.of(&call.append.append.room);
        if !node.is_some_and(|node| node.call(call)) {
            let outcome = shared.unavailable();
            shared.outcomes.count(&outcome);
            return Answer::now(outcome);
        }
        let shared = Arc::clone(shared);
        Answer::later(Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                let outcome = shared.unavailable();
                shared.outcomes.count(&outcome);
                outcome
            })
        }))
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        let shared = Arc::clone(&self.0.shared);
        if shared.reads.fetch_add(1, Ordering::Relaxed) >= shared.options.reads {
            shared.reads.fetch_sub(1, Ordering::Relaxed);
            let message = "too many reads wait for the log: try again in a moment";
            let refusal = busy(message, shared.options.log.retry_after);
            return Answer::now(Err(refusal));
        }
        let (room, reading) = (room.clone(), Reading(Arc::clone(&shared)));
        Answer::later(Box::pin(async move {
            let watched = shared.rooms.get(&room);
            let page = shared.read_now(&room, range, limit, watched.is_some()).await;
            drop(reading);
            if let (Some(watched), Ok(page)) = (watched, &page) {
                watched.has_read(&shared, page);
            }
            page
        }))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        let shared = Arc::clone(&self.0.shared);
        let options = &shared.options.log;
        let mut is_away = false;
        let watching = shared.rooms.watch(room, watcher, options.watches, |room| {
            let open = Subscription::Open(Arc::clone(room));
            is_away = !shared.nodes.of(&room.name).is_some_and(|node| node.subscribe(open));
        });
        let watched = |room, key| Watched {
            shared: Arc::clone(&shared),
            room,
            key,
        };
        let watch = |epoch, watched: Watched| Watch::new(epoch, move || drop(watched));
        match watching {
            Watching::Full => Answer::now(Err(too_many_watches(options.remembered_retry_after))),
            Watching::Open(room, key, epoch) => Answer::now(Ok(watch(epoch, watched(room, key)))),
            Watching::Later(room, key, answered) => {
                let watched = watched(room, key);
                if is_away {
                    return Answer::now(Err(shared.away()));
                }
                Answer::later(Box::pin(async move {
                    let opened = answered.await.unwrap_or_else(|_| Err(watched.shared.away()));
                    opened.map(|epoch| watch(epoch, watched))
                }))
            }
        }
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        let shared = &self.0.shared;
        let (deleting, room) = (Arc::clone(shared), room.clone());
        shared.run_to_end(async move { deleting.delete_room_now(&room).await })
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        let shared = &self.0.shared;
        let (deleting, user, room) = (Arc::clone(shared), user.clone(), room.cloned());
        shared.run_to_end(async move { deleting.delete_messages_now(&user, room.as_ref()).await })
    }

    fn presence(&self) -> Option<&dyn Presence> {
        Some(self)
    }

    fn signal(&self, signal: &Signal) {
        let shared = &self.0.shared;
        // A room without a member that watches it here has no sender here either.
        if shared.rooms.get(&signal.room).is_some()
            && let Some(node) = shared.nodes.of(&signal.room)
        {
            node.signal(signal.clone());
        }
    }

    /// A room that exists and that this server has not seen yet is answered with false: it is charged as a new one.
    fn has(&self, room: &RoomName) -> bool {
        self.0.shared.is_known(room)
    }

    /// What this server has seen: the Redis and other servers are not asked.
    fn usage(&self) -> Usage {
        let shared = &self.0.shared;
        Usage {
            rooms: shared.rooms.len(),
            ..shared.outcomes.usage()
        }
    }

    /// Writes a mark at each node, which a Redis refuses that is full, read-only, or cannot write to its disk.
    fn ready(&self) -> Answer<Result<(), NotReady>> {
        let shared = Arc::clone(&self.0.shared);
        Answer::later(Box::pin(async move {
            if let Some(why) = shared.nodes.gap() {
                return Err(why);
            }
            let nodes = shared.nodes.all();
            let marks = nodes.iter().map(async |node| {
                let link = node.connected().await?;
                let mut mark = redis::cmd("SET");
                mark.arg(shared.keys.checked(link.own_part))
                    .arg(1)
                    .arg("PX")
                    .arg(CHECKED_FOR.as_millis());
                link.command(&shared, &mark).await.map(drop)
            });
            futures_util::future::try_join_all(marks).await.map(drop)
        }))
    }
}

impl Presence for Redis {
    fn set_users(&self, room: &RoomName, users: Arc<[UserName]>) {
        self.0.shared.present.set(room, users);
    }
}

#[cfg(test)]
mod tests;
