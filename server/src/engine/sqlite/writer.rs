//! The thread that writes. It takes all messages that wait, adds them in one transaction, and waits for the disk once for
//! all of them: the messages that come meanwhile are the next group. Nothing is answered or delivered before the commit,
//! because a message that a crash takes back must not have been seen: its offset would be given to another one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use lru::LruCache;
use parking_lot::{Condvar, Mutex};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use sha2::{Digest, Sha256};
use talkback_protocol::{
    ClientKey, Epoch, Offset, PublishId, RoomName, Seq, UserName,
    message::{Message, Millis},
    session::server::Refusal,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        Append, AppendOutcome, DeletedRoom, KEY_REUSED, MessageId, NotReady, Origin, Permit, Place, hash,
        ledger::{Cost, Holder, Ledger, LedgerOptions},
        new_rooms::NewRoomLimit,
        outcome::{busy, too_large},
        unless_deleted,
    },
    OVERHEAD, Shared,
    clients::{Client, Outcome, Settled, known},
    file,
    readers::{damaged, log_end, number, offset},
    rooms::{LogEnd, Room},
};

/// The bytes that a client or a request counts besides what varies.
const ENTRY: usize = 256;
/// The bytes of one outcome of a client.
const OUTCOME: usize = 25;
/// The part of a room's messages that is dropped for others when all are too large together: an eighth.
const DROPPED_PART: u64 = 8;
/// Of a user's messages that are deleted, how many messages are looked at in one transaction, and about how many bytes
/// are deleted, so that publishers need not wait for all of them.
const LOOKED_AT_ONCE: i64 = 4096;
const DELETED_AT_ONCE: u64 = 4 << 20;

/// What waits for the writer.
pub(super) struct Calls {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    is_idle: bool,
    is_closed: bool,
}

pub(super) enum Call {
    Append {
        append: Append,
        permit: Permit,
        answer: oneshot::Sender<AppendOutcome>,
    },
    /// Answered after a commit.
    Check(oneshot::Sender<Result<(), NotReady>>),
    DeleteRoom {
        room: RoomName,
        answer: oneshot::Sender<Result<DeletedRoom, Refusal>>,
    },
    DeleteMessages(Deletion),
}

/// A deletion of a user's messages, in one transaction after the other.
pub(super) struct Deletion {
    user: UserName,
    /// The only room, or all.
    room: Option<RoomName>,
    /// The room and the offset of the last message that was looked at.
    after: (i64, u64),
    count: u64,
    answer: oneshot::Sender<Result<u64, Refusal>>,
}

impl Deletion {
    pub(super) fn new(user: UserName, room: Option<RoomName>, answer: oneshot::Sender<Result<u64, Refusal>>) -> Self {
        Self {
            user,
            room,
            after: (0, 0),
            count: 0,
            answer,
        }
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    pub(super) fn push(&self, call: Call) {
        let mut queue = self.queue.lock();
        queue.calls.push_back(call);
        let wake = std::mem::take(&mut queue.is_idle);
        drop(queue);
        if wake {
            self.arrived.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.arrived.notify_one();
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.lock().calls.is_empty()
    }

    /// Takes the next group, of at most so many calls; it is empty at `until`. `None` when the engine is closed and all
    /// calls are taken.
    fn next(&self, most: usize, until: std::time::Instant) -> Option<VecDeque<Call>> {
        let mut queue = self.queue.lock();
        while queue.calls.is_empty() {
            if queue.is_closed {
                return None;
            }
            queue.is_idle = true;
            if self.arrived.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.is_idle = false;
        if queue.calls.len() <= most {
            return Some(std::mem::take(&mut queue.calls));
        }
        Some(queue.calls.drain(..most).collect())
    }
}

/// One room as the transaction under way sees it.
struct Log {
    /// `None` if it is not in the file.
    id: Option<i64>,
    end: LogEnd,
    /// The newest message of those that were deleted with the room.
    deleted: Offset,
    bytes: u64,
    at: Millis,
    made: Millis,
    used: Millis,
    /// When its oldest message was added, if that is known.
    oldest: Option<Millis>,
    /// How many names of requests it has, if that is known.
    requests: Option<usize>,
    /// For its watchers.
    room: Option<Arc<Room>>,
    /// The transaction changes it.
    is_dirty: bool,
    /// The transaction begins another epoch, before what it adds.
    is_restarted: bool,
    /// What the transaction adds.
    added: Vec<(Arc<Message>, usize)>,
    added_bytes: usize,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    state: State,
}

/// Everything that is about rooms and publishers. After a transaction that failed it is read again.
struct State {
    shared: Arc<Shared>,
    logs: HashMap<RoomName, Log>,
    clients: LruCache<(i64, ClientKey), Client>,
    dirty_clients: Vec<(i64, ClientKey)>,
    dirty_logs: HashSet<RoomName>,
    removed: Vec<(RoomName, usize, Epoch)>,
    /// Messages of rooms without watchers, to be freed by another thread.
    undelivered: Vec<Vec<(Arc<Message>, usize)>>,
    new_rooms: NewRoomLimit,
    ledger: Ledger,
    origins: HashMap<(i64, ClientKey), Origin>,
    messages: u64,
    bytes: u64,
    requests: usize,
    logs_swept: usize,
    clients_swept: i64,
    requests_swept: (i64, String),
    encoded: Vec<u8>,
}

/// The answer to one call, to be given after the commit.
enum Answered {
    Append(oneshot::Sender<AppendOutcome>, AppendOutcome, Permit),
    Check(oneshot::Sender<Result<(), NotReady>>),
    DeletedRoom(oneshot::Sender<Result<DeletedRoom, Refusal>>, DeletedRoom),
    /// Whether all messages were looked at.
    DeletedMessages(Deletion, bool),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, mut connection: Connection) -> rusqlite::Result<Self> {
        connection.set_prepared_statement_cache_capacity(64);
        let mut state = State::new(Arc::clone(&shared));
        let transaction = connection.transaction()?;
        state.load(&transaction)?;
        drop(transaction);
        state.publish_all();
        Ok(Self {
            shared,
            connection,
            state,
        })
    }

    /// Writes until the engine is closed.
    pub(super) fn run(mut self) {
        let interval = self.shared.options.log.sweep_interval.max(Duration::from_millis(10));
        let mut sweep_at = std::time::Instant::now() + interval;
        while let Some(calls) = self
            .shared
            .calls
            .next(self.shared.options.group_messages.max(1), sweep_at)
        {
            let now = std::time::Instant::now();
            let sweeps = now >= sweep_at;
            if sweeps {
                sweep_at = now + interval;
            }
            if sweeps || !calls.is_empty() {
                self.group(calls, sweeps);
            }
        }
    }

    fn group(&mut self, calls: VecDeque<Call>, sweeps: bool) {
        if let Some(not_ready) = self.shared.fatal() {
            return self.refuse(calls, &not_ready);
        }
        let mut answers = Vec::with_capacity(calls.len());
        let mut calls = calls;
        let result = self.state.write(&mut self.connection, &mut calls, &mut answers, sweeps);
        match result {
            Ok(()) => {
                self.shared.usage.commits.fetch_add(1, Ordering::Relaxed);
                self.state.publish();
                self.shared.recovered();
                self.give(answers);
            }
            Err(error) => {
                let fatal = file::is_fatal(&error);
                let not_ready = self.shared.failed(&error, fatal);
                for answered in answers {
                    match answered {
                        Answered::Append(answer, ..) => drop(answer.send(self.shared.unavailable())),
                        Answered::Check(check) => drop(check.send(Err(not_ready.clone()))),
                        Answered::DeletedRoom(answer, _) => drop(answer.send(Err(self.shared.not_written()))),
                        Answered::DeletedMessages(deletion, _) => {
                            drop(deletion.answer.send(Err(self.shared.not_written())));
                        }
                    }
                }
                self.refuse(calls, &not_ready);
                self.reload(fatal);
            }
        }
    }

    /// Reads the state again that a failed transaction has changed.
    fn reload(&mut self, fatal: bool) {
        if fatal {
            return;
        }
        let mut state = State::new(Arc::clone(&self.shared));
        let loaded = self
            .connection
            .transaction()
            .and_then(|transaction| state.load(&transaction));
        match loaded {
            Ok(()) => {
                self.state = state;
                self.state.publish_all();
            }
            Err(error) => {
                self.shared.failed(&error, true);
            }
        }
    }

    fn refuse(&self, calls: VecDeque<Call>, not_ready: &NotReady) {
        for call in calls {
            match call {
                Call::Append { answer, .. } => drop(answer.send(self.shared.unavailable())),
                Call::Check(answer) => drop(answer.send(Err(not_ready.clone()))),
                Call::DeleteRoom { answer, .. } => drop(answer.send(Err(self.shared.not_written()))),
                Call::DeleteMessages(deletion) => drop(deletion.answer.send(Err(self.shared.not_written()))),
            }
        }
    }

    /// Gives the answers in a task of the runtime, because each may wake another one.
    fn give(&mut self, mut answers: Vec<Answered>) {
        let unfinished = |answered: &mut Answered| matches!(answered, Answered::DeletedMessages(_, false));
        for answered in answers.extract_if(.., unfinished) {
            if let Answered::DeletedMessages(deletion, _) = answered
                && !deletion.answer.is_closed()
            {
                self.shared.calls.push(Call::DeleteMessages(deletion));
            }
        }
        let undelivered = std::mem::take(&mut self.state.undelivered);
        if answers.is_empty() && undelivered.is_empty() {
            return;
        }
        for answered in &answers {
            if let Answered::Append(_, outcome, _) = answered {
                self.shared.usage.outcomes.count(outcome);
            }
        }
        self.shared.runtime.spawn(async move {
            // After the answers.
            let _undelivered = undelivered;
            for answered in answers {
                match answered {
                    Answered::Append(answer, outcome, permit) => {
                        drop(permit);
                        drop(answer.send(outcome));
                    }
                    Answered::Check(check) => drop(check.send(Ok(()))),
                    Answered::DeletedRoom(answer, deleted) => drop(answer.send(Ok(deleted))),
                    Answered::DeletedMessages(deletion, _) => drop(deletion.answer.send(Ok(deletion.count))),
                }
            }
        });
    }
}

impl State {
    fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let log = &options.log;
        let largest = ENTRY + OUTCOME * log.client_messages.max(1);
        let ledger = Ledger::new(LedgerOptions {
            total: Cost {
                entries: log.clients,
                bytes: log.remembered_bytes,
            },
            part: log.client_part.max(1),
            origin_part: log.origin_part.max(1),
            min_bytes: largest,
            release_batch: log.sweep_batch.max(1),
        });
        Self {
            logs: HashMap::new(),
            clients: LruCache::unbounded(),
            dirty_clients: Vec::new(),
            dirty_logs: HashSet::new(),
            removed: Vec::new(),
            undelivered: Vec::new(),
            new_rooms: NewRoomLimit::new(log.new_rooms),
            ledger,
            origins: HashMap::new(),
            messages: 0,
            bytes: 0,
            requests: 0,
            logs_swept: 0,
            clients_swept: 0,
            requests_swept: (0, String::new()),
            encoded: Vec::new(),
            shared,
        }
    }

    /// Reads the table of rooms, and who is remembered. No message is read.
    fn load(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut rooms = transaction.prepare(
            "SELECT id, epoch, head, floor, fork_epoch, fork_offset, name, bytes, at, made, used, deleted FROM rooms",
        )?;
        let mut rows = rooms.query([])?;
        while let Some(row) = rows.next()? {
            let name = RoomName::parse(row.get_ref(6)?.as_str()?).map_err(|error| damaged(6, error))?;
            let end = log_end(row)?;
            self.messages += end.head.get() - end.floor.get();
            self.bytes += row.get::<_, u64>(7)?;
            let log = Log {
                id: Some(row.get(0)?),
                end,
                deleted: offset(row, 11)?,
                bytes: row.get(7)?,
                at: row.get(8)?,
                made: row.get(9)?,
                used: row.get(10)?,
                oldest: None,
                requests: None,
                room: None,
                is_dirty: false,
                is_restarted: false,
                added: Vec::new(),
                added_bytes: 0,
            };
            self.logs.insert(name, log);
        }
        let largest = self.entry_bytes();
        let mut clients = transaction.prepare("SELECT client FROM clients")?;
        let mut rows = clients.query([])?;
        while let Some(row) = rows.next()? {
            let key = ClientKey::from_random(row.get(0)?);
            let holder = Holder::Client { key, origin: None };
            self.ledger.reserve_always(
                holder,
                Cost {
                    entries: 1,
                    bytes: largest,
                },
            );
        }
        let mut requests = transaction
            .prepare("SELECT rooms.name, octet_length(requests.name) FROM requests JOIN rooms ON rooms.id = room")?;
        let mut rows = requests.query([])?;
        while let Some(row) = rows.next()? {
            let bytes = ENTRY + row.get::<_, usize>(1)?;
            let room = RoomName::parse(row.get_ref(0)?.as_str()?).map_err(|error| damaged(0, error))?;
            let holder = Holder::Requests(hash(&room));
            self.ledger.reserve_always(holder, Cost { entries: 0, bytes });
            self.requests += 1;
        }
        Ok(())
    }

    fn entry_bytes(&self) -> usize {
        ENTRY + OUTCOME * self.shared.options.log.client_messages.max(1)
    }

    /// Tells callers of all rooms, at the start.
    fn publish_all(&mut self) {
        for (name, log) in &mut self.logs {
            log.room = Some(self.shared.rooms.stored(name, log.end.clone()));
        }
        self.publish_usage();
    }

    /// Tells callers and watchers what was committed.
    fn publish(&mut self) {
        for (name, slot, epoch) in self.removed.drain(..) {
            self.shared.rooms.removed(&name, slot, epoch, &self.shared.runtime);
        }
        for name in self.dirty_logs.drain() {
            let Some(log) = self.logs.get_mut(&name) else { continue };
            log.is_dirty = false;
            let (rooms, end) = (&self.shared.rooms, log.end.clone());
            let room = if std::mem::take(&mut log.is_restarted) {
                rooms.restarted(&name, end, &self.shared.runtime)
            } else {
                rooms.stored(&name, end)
            };
            if !log.added.is_empty() {
                let undelivered = room.deliver(std::mem::take(&mut log.added), &self.shared.runtime);
                self.undelivered.extend(undelivered);
            }
            log.added_bytes = 0;
            log.room = Some(room);
        }
        self.publish_usage();
    }

    fn publish_usage(&self) {
        let usage = &self.shared.usage;
        let remembered = self.ledger.total();
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        usage.messages.store(count(self.messages), Ordering::Relaxed);
        usage.bytes.store(count(self.bytes), Ordering::Relaxed);
        usage.clients.store(remembered.entries, Ordering::Relaxed);
        usage.remembered_bytes.store(remembered.bytes, Ordering::Relaxed);
        usage.requests.store(self.requests, Ordering::Relaxed);
    }

    /// Adds a group in one transaction. After an error of the commit it is not known what the file has.
    fn write(
        &mut self,
        connection: &mut Connection,
        calls: &mut VecDeque<Call>,
        answers: &mut Vec<Answered>,
        sweeps: bool,
    ) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = milliseconds();
        // Callers count it, too, with each call: so not once for each message.
        let shared = Arc::clone(&self.shared);
        let mut is_checked = false;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            while let Some(call) = calls.pop_front() {
                match call {
                    Call::Append { append, permit, answer } => {
                        let added = self.append(&shared, &transaction, &mut insert, append, now);
                        match added {
                            Ok(outcome) => answers.push(Answered::Append(answer, outcome, permit)),
                            Err(error) => {
                                answers.push(Answered::Append(answer, self.shared.unavailable(), permit));
                                return Err(error);
                            }
                        }
                    }
                    Call::Check(answer) => {
                        is_checked = true;
                        answers.push(Answered::Check(answer));
                    }
                    Call::DeleteRoom { room, answer } => match self.delete_room(&transaction, &room) {
                        Ok(deleted) => answers.push(Answered::DeletedRoom(answer, deleted)),
                        Err(error) => {
                            drop(answer.send(Err(self.shared.not_written())));
                            return Err(error);
                        }
                    },
                    Call::DeleteMessages(mut deletion) => match self.delete_messages(&transaction, &mut deletion) {
                        Ok(is_finished) => answers.push(Answered::DeletedMessages(deletion, is_finished)),
                        Err(error) => {
                            drop(deletion.answer.send(Err(self.shared.not_written())));
                            return Err(error);
                        }
                    },
                }
            }
        }
        if is_checked {
            let sql =
                "INSERT INTO meta (name, value) VALUES ('checked', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1";
            transaction.execute(sql, [number(now)])?;
        }
        if sweeps {
            self.sweep(&transaction, now)?;
        }
        self.flush(&transaction)?;
        transaction.commit()
    }

    /// Writes what is kept once for each room and client of the group.
    fn flush(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let names: Vec<_> = self.dirty_logs.iter().cloned().collect();
        for name in &names {
            self.trim(transaction, name)?;
        }
        while self.bytes > as_u64(self.shared.options.log.total_bytes) && self.trim_largest(transaction)? {}
        for name in &self.dirty_logs {
            let Some(log) = self.logs.get(name) else { continue };
            transaction.prepare_cached(UPDATE_ROOM)?.execute((
                log.id,
                number(log.end.head.get()),
                number(log.end.floor.get()),
                number(log.bytes),
                number(log.at),
                number(log.used),
            ))?;
        }
        for (room, key) in std::mem::take(&mut self.dirty_clients) {
            let Some(client) = self.clients.peek_mut(&(room, key)) else {
                continue;
            };
            if !std::mem::take(&mut client.is_dirty) {
                continue;
            }
            client.encode(&mut self.encoded);
            let last = number(client.last.get());
            let newest = number(client.newest.get());
            match client.row {
                Some(row) => {
                    transaction.prepare_cached(UPDATE_CLIENT)?.execute((
                        row,
                        last,
                        newest,
                        number(client.used),
                        &self.encoded,
                    ))?;
                }
                None => {
                    transaction.prepare_cached(INSERT_CLIENT)?.execute((
                        room,
                        stored_key(&key),
                        last,
                        newest,
                        number(client.used),
                        &self.encoded,
                    ))?;
                    client.row = Some(transaction.last_insert_rowid());
                }
            }
        }
        let most = self.shared.options.cached_clients.max(1);
        while self.clients.len() > most {
            self.clients.pop_lru();
        }
        Ok(())
    }

    fn append(
        &mut self,
        shared: &Shared,
        transaction: &Transaction<'_>,
        insert: &mut CachedStatement<'_>,
        append: Append,
        now: Millis,
    ) -> rusqlite::Result<AppendOutcome> {
        match self.logs.get(&append.room) {
            Some(log) if log.id.is_some() => return self.append_to(shared, transaction, insert, append, now),
            Some(_) => {}
            None => {
                let epoch = self.initial_epoch(&append.room);
                let watched = shared.rooms.get(&append.room);
                self.logs
                    .insert(append.room.clone(), Log::new(LogEnd::empty(epoch), watched, now));
            }
        }
        let room = append.room.clone();
        let outcome = self.append_to(shared, transaction, insert, append, now);
        // A message that settles nothing makes no room.
        if self.logs.get(&room).is_some_and(|log| log.id.is_none()) {
            self.logs.remove(&room);
        }
        outcome
    }

    /// The epoch that a room without a log begins with.
    fn initial_epoch(&self, room: &RoomName) -> Epoch {
        let slot = self.shared.rooms.slot(room);
        // A room that this transaction removes begins again in its next epoch.
        let removed = self.removed.iter().rev().find(|(_, of, _)| *of == slot);
        removed.map_or_else(|| self.shared.rooms.initial_epoch(room), |(.., epoch)| epoch.clone())
    }

    fn append_to(
        &mut self,
        shared: &Shared,
        transaction: &Transaction<'_>,
        insert: &mut CachedStatement<'_>,
        append: Append,
        now: Millis,
    ) -> rusqlite::Result<AppendOutcome> {
        let log = self.log(&append.room);
        let (epoch, room_id, deleted) = (log.end.epoch.clone(), log.id, log.deleted);
        let client = match append.id {
            MessageId::Client { key, .. } => Some(hashed(&key)),
            MessageId::Request { .. } | MessageId::None => None,
        };
        match (&append.id, client) {
            (MessageId::Client { seq, id, first, .. }, Some(key)) => {
                let found = match room_id {
                    Some(room) => self.client(transaction, room, key)?,
                    None => None,
                };
                if let Some(outcome) = known(found.as_deref(), &epoch, *seq, *id, *first) {
                    return Ok(unless_deleted(outcome, deleted));
                }
            }
            (MessageId::Request { name, digest }, _) => {
                if let Some(room) = room_id
                    && let Some(outcome) = self.request(transaction, room, name, digest, &epoch, now)?
                {
                    return Ok(unless_deleted(outcome, deleted));
                }
            }
            _ => {}
        }
        let refused = |refusal| {
            let epoch = Some(epoch.clone());
            Ok(AppendOutcome::Refused { epoch, refusal })
        };
        let made = match append.id {
            MessageId::Client { key, .. } if room_id.is_none() => {
                if let Err(wait) = self.new_rooms.take(&key, Instant::now()) {
                    return refused(busy("this client made too many rooms: try again later", wait));
                }
                Some(key)
            }
            _ => None,
        };
        let made = made.map(|key| (key, append.room.clone()));
        let result = self.add(shared, transaction, insert, append, client, now)?;
        if let Some((key, room)) = made
            && self.log(&room).id.is_none()
        {
            self.new_rooms.give_back(&key);
        }
        match result {
            Ok(place) => Ok(AppendOutcome::Added(place)),
            Err(refusal) => refused(refusal),
        }
    }

    fn add(
        &mut self,
        shared: &Shared,
        transaction: &Transaction<'_>,
        insert: &mut CachedStatement<'_>,
        append: Append,
        client: Option<ClientKey>,
        now: Millis,
    ) -> rusqlite::Result<Result<Place, Refusal>> {
        let options = &shared.options.log;
        let Append {
            room,
            id,
            from,
            content,
        } = append;
        let content = match content {
            Err(refusal) if refusal.retry_after.is_some() => return Ok(Err(refusal)),
            content => content,
        };
        let log = self.log(&room);
        if content.is_ok()
            && let Some(watched) = &log.room
            && !shared.rooms.has_capacity(watched, log.added_bytes)
        {
            let message = "the room is busy: try again in a moment";
            return Ok(Err(busy(message, options.retry_after)));
        }
        let most = options.bytes.min(options.total_bytes);
        let content = content.and_then(|body| match body.json().len() + OVERHEAD {
            weight if weight > most => Err(too_large(options.bytes)),
            weight => Ok((body, weight)),
        });
        // A request that is refused is not remembered.
        if let (MessageId::Request { .. }, Err(refusal)) = (&id, &content) {
            return Ok(Err(refusal.clone()));
        }
        let Some(reserved) = self.reserve(transaction, &room, &id, client, now)? else {
            let message = "the server remembers too many clients and requests: try again later";
            return Ok(Err(busy(message, options.remembered_retry_after)));
        };
        let room_id = match self.log(&room).id {
            Some(id) => id,
            None => self.make_room(transaction, &room, now)?,
        };
        let log = self.log(&room);
        let was_dirty;
        let settled = match content {
            Ok((body, weight)) => {
                let at = now.max(log.at);
                let place = Place {
                    epoch: log.end.epoch.clone(),
                    offset: log.end.head.next(),
                    at,
                };
                let (seq, message_id) = id.number().unzip();
                let stored = insert.execute((
                    room_id,
                    number(place.offset.get()),
                    number(at),
                    from.sender.as_str(),
                    &*from.user,
                    seq.map(|seq: Seq| number(seq.get())),
                    message_id.map(|id: PublishId| id.bits().cast_signed()),
                    body.json(),
                ));
                if let Err(error) = stored {
                    self.ledger.release(reserved);
                    if transaction.is_autocommit() || !concerns_one_message(&error) {
                        return Err(error);
                    }
                    tracing::error!(%error, "the log cannot store a message");
                    let message = "the log cannot store this message: try again later";
                    return Ok(Err(busy(message, options.remembered_retry_after)));
                }
                log.end.head = place.offset;
                log.at = at;
                log.bytes += as_u64(weight);
                let message = Message {
                    room: room.clone(),
                    offset: place.offset,
                    from,
                    seq,
                    id: message_id,
                    at,
                    deleted: false,
                    body,
                };
                log.added_bytes += weight;
                log.added.push((Arc::new(message), weight));
                log.used = now;
                was_dirty = std::mem::replace(&mut log.is_dirty, true);
                self.messages += 1;
                self.bytes += as_u64(weight);
                Ok(place)
            }
            Err(refusal) => {
                log.used = now;
                was_dirty = std::mem::replace(&mut log.is_dirty, true);
                Err(refusal)
            }
        };
        self.settle(transaction, &room, room_id, id, client, &settled, now)?;
        if !was_dirty {
            self.dirty_logs.insert(room);
        }
        Ok(settled)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn settle(
        &mut self,
        transaction: &Transaction<'_>,
        room: &RoomName,
        room_id: i64,
        id: MessageId,
        client: Option<ClientKey>,
        settled: &Result<Place, Refusal>,
        now: Millis,
    ) -> rusqlite::Result<()> {
        match (id, client) {
            (MessageId::Client { seq, id, origin, .. }, Some(key)) => {
                let outcome = match settled {
                    Ok(place) => Outcome::Added {
                        offset: place.offset,
                        at: place.at,
                    },
                    Err(refusal) => Outcome::Refused(refusal.clone()),
                };
                let most = self.shared.options.log.client_messages.max(1);
                if let Some(origin) = origin
                    && self.clients.peek(&(room_id, key)).is_none()
                {
                    self.origins.insert((room_id, key), origin);
                }
                let client = self.clients.get_or_insert_mut((room_id, key), || Client::new(seq, now));
                let was_dirty = client.is_dirty && !client.outcomes.is_empty();
                client.settle(seq, Settled { id, outcome }, most, now);
                if !was_dirty {
                    self.dirty_clients.push((room_id, key));
                }
            }
            (MessageId::Request { name, digest }, _) => {
                if let Ok(place) = settled {
                    transaction.prepare_cached(INSERT_REQUEST)?.execute((
                        room_id,
                        &*name,
                        digest,
                        number(place.offset.get()),
                        number(place.at),
                    ))?;
                    self.requests += 1;
                    let log = self.log(room);
                    log.requests = log.requests.map(|count| count + 1);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reserves what the publisher of a message takes. `None` if it may not have it.
    fn reserve(
        &mut self,
        transaction: &Transaction<'_>,
        room: &RoomName,
        id: &MessageId,
        client: Option<ClientKey>,
        now: Millis,
    ) -> rusqlite::Result<Option<Option<(Holder, Cost)>>> {
        let room_id = self.log(room).id;
        let (holder, cost) = match (id, client) {
            (MessageId::Client { origin, .. }, Some(key)) => {
                if room_id.is_some_and(|room| self.clients.peek(&(room, key)).is_some()) {
                    return Ok(Some(None));
                }
                let bytes = self.entry_bytes();
                (Holder::Client { key, origin: *origin }, Cost { entries: 1, bytes })
            }
            (MessageId::Request { name, .. }, _) => {
                if let Some(room_id) = room_id {
                    let known = self.log(room).requests;
                    let count = match known {
                        Some(count) => count,
                        None => transaction
                            .prepare_cached("SELECT count(*) FROM requests WHERE room = ?1")?
                            .query_row([room_id], |row| row.get(0))?,
                    };
                    self.log(room).requests = Some(count);
                    if count >= self.shared.options.log.requests.max(1) {
                        return Ok(None);
                    }
                }
                let holder = Holder::Requests(hash(room));
                let bytes = ENTRY + name.len();
                (holder, Cost { entries: 0, bytes })
            }
            _ => return Ok(Some(None)),
        };
        if !self.ledger.reserve(holder, cost) {
            self.expire_clients(transaction, now, true)?;
            if !self.ledger.reserve(holder, cost) {
                return Ok(None);
            }
        }
        Ok(Some(Some((holder, cost))))
    }

    fn log(&mut self, room: &RoomName) -> &mut Log {
        self.logs
            .get_mut(room)
            .unwrap_or_else(|| unreachable!("it was inserted before the message is looked at"))
    }

    /// What is kept of a client in a room.
    fn client(
        &mut self,
        transaction: &Transaction<'_>,
        room: i64,
        key: ClientKey,
    ) -> rusqlite::Result<Option<&mut Client>> {
        if self.clients.peek(&(room, key)).is_none() {
            let read = transaction
                .prepare_cached("SELECT id, last, newest, used, outcomes FROM clients WHERE room = ?1 AND client = ?2")?
                .query_row((room, stored_key(&key)), |row| {
                    let outcomes = Client::decode(row.get_ref(4)?.as_blob()?);
                    Ok(Client {
                        row: Some(row.get(0)?),
                        last: Seq::new(row.get(1)?).map_err(|error| damaged(1, error))?,
                        newest: offset(row, 2)?,
                        used: row.get(3)?,
                        outcomes: outcomes.ok_or_else(|| damaged(4, std::fmt::Error))?,
                        is_dirty: false,
                    })
                })
                .optional()?;
            let Some(client) = read else { return Ok(None) };
            self.clients.put((room, key), client);
        }
        // One that has expired is used until a sweep removes it, because it is right.
        Ok(self.clients.get_mut(&(room, key)))
    }

    /// The outcome of an earlier request with this name.
    fn request(
        &mut self,
        transaction: &Transaction<'_>,
        room: i64,
        name: &str,
        digest: &[u8; 32],
        epoch: &Epoch,
        now: Millis,
    ) -> rusqlite::Result<Option<AppendOutcome>> {
        let oldest = now.saturating_sub(millis(self.shared.options.log.request_age));
        let found = transaction
            .prepare_cached("SELECT digest, offset, at FROM requests WHERE room = ?1 AND name = ?2")?
            .query_row((room, name), |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, offset(row, 1)?, row.get::<_, Millis>(2)?))
            })
            .optional()?;
        Ok(match found {
            Some((_, _, at)) if at < oldest => {
                self.forget_request(transaction, room, name)?;
                None
            }
            Some((known, offset, at)) if known == *digest => Some(AppendOutcome::Duplicate(Place {
                epoch: epoch.clone(),
                offset,
                at,
            })),
            Some(_) => Some(AppendOutcome::Refused {
                epoch: Some(epoch.clone()),
                refusal: Refusal::for_good(
                    KEY_REUSED,
                    "this name came before with another message: a new message takes a new one",
                ),
            }),
            None => None,
        })
    }

    fn forget_request(&mut self, transaction: &Transaction<'_>, room: i64, name: &str) -> rusqlite::Result<()> {
        transaction
            .prepare_cached("DELETE FROM requests WHERE room = ?1 AND name = ?2")?
            .execute((room, name))?;
        self.requests -= 1;
        if let Some((room, log)) = self.logs.iter_mut().find(|(_, log)| log.id == Some(room)) {
            log.requests = None;
            let bytes = ENTRY + name.len();
            self.ledger
                .release([(Holder::Requests(hash(room)), Cost { entries: 0, bytes })]);
        }
        Ok(())
    }

    fn make_room(&mut self, transaction: &Transaction<'_>, name: &RoomName, now: Millis) -> rusqlite::Result<i64> {
        let log = self.log(name);
        transaction
            .prepare_cached(INSERT_ROOM)?
            .execute((&**name, log.end.epoch.as_str(), number(now)))?;
        let id = transaction.last_insert_rowid();
        log.id = Some(id);
        self.dirty_logs.insert(name.clone());
        self.evict(transaction, name, now)?;
        Ok(id)
    }

    /// Removes a room without watchers if there are too many: of the young ones if they are more than a quarter, else
    /// of the others, the one that was not used for longest.
    fn evict(&mut self, transaction: &Transaction<'_>, new: &RoomName, now: Millis) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.shared);
        let options = &shared.options.log;
        if self.logs.len() <= options.rooms {
            return Ok(());
        }
        let young_for = millis(options.young_for);
        let (mut young, mut count) = (0, 0);
        let mut oldest: [Option<(Millis, &RoomName)>; 2] = [None; 2];
        for (name, log) in &self.logs {
            if name == new || shared.rooms.is_watched(name) {
                continue;
            }
            count += 1;
            let is_young = log.made.saturating_add(young_for) > now.max(log.used);
            young += usize::from(is_young);
            let oldest = &mut oldest[usize::from(is_young)];
            if oldest.is_none_or(|(used, _)| log.used < used) {
                *oldest = Some((log.used, name));
            }
        }
        if count < options.rooms {
            return Ok(());
        }
        let [old, of_young] = oldest;
        let evicted = if young * 4 > options.rooms {
            of_young.or(old)
        } else {
            old.or(of_young)
        };
        let Some(name) = evicted.map(|(_, name)| name.clone()) else {
            return Ok(());
        };
        self.remove_room(transaction, &name)
    }

    /// Removes a room with all that is kept of it. If it comes back it has another epoch.
    fn remove_room(&mut self, transaction: &Transaction<'_>, name: &RoomName) -> rusqlite::Result<()> {
        let Some(log) = self.logs.remove(name) else {
            return Ok(());
        };
        let Some(id) = log.id else { return Ok(()) };
        self.messages -= log.end.head.get() - log.end.floor.get();
        self.bytes -= log.bytes;
        let entry = Cost {
            entries: 1,
            bytes: self.entry_bytes(),
        };
        let clients: Vec<[u8; 16]> = transaction
            .prepare_cached("SELECT client FROM clients WHERE room = ?1")?
            .query_map([id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        // Those of this transaction may have no row yet.
        let dirty = self.dirty_clients.extract_if(.., |(room, _)| *room == id);
        let keys: HashSet<_> = dirty
            .map(|(_, key)| key)
            .chain(clients.into_iter().map(ClientKey::from_random))
            .collect();
        for key in keys {
            self.clients.pop(&(id, key));
            let origin = self.origins.remove(&(id, key));
            self.ledger.release([(Holder::Client { key, origin }, entry)]);
        }
        let requests: Vec<usize> = transaction
            .prepare_cached("SELECT octet_length(name) FROM requests WHERE room = ?1")?
            .query_map([id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        self.requests -= requests.len();
        let holder = Holder::Requests(hash(name));
        self.ledger.release(requests.iter().map(|name| {
            (
                holder,
                Cost {
                    entries: 0,
                    bytes: ENTRY + name,
                },
            )
        }));
        for sql in [
            "DELETE FROM messages WHERE room = ?1",
            "DELETE FROM clients WHERE room = ?1",
            "DELETE FROM requests WHERE room = ?1",
            "DELETE FROM rooms WHERE id = ?1",
        ] {
            transaction.prepare_cached(sql)?.execute([id])?;
        }
        let (slot, epoch) = (self.shared.rooms.slot(name), file::new_epoch());
        transaction
            .prepare_cached("UPDATE epochs SET epoch = ?2 WHERE slot = ?1")?
            .execute((number(as_u64(slot)), epoch.as_str()))?;
        self.dirty_logs.remove(name);
        self.removed.push((name.clone(), slot, epoch));
        Ok(())
    }

    /// Deletes the messages of a room, which continues in another epoch. What is kept of its publishers stays.
    fn delete_room(&mut self, transaction: &Transaction<'_>, name: &RoomName) -> rusqlite::Result<DeletedRoom> {
        let Some((id, log)) = self.logs.get_mut(name).and_then(|log| Some((log.id?, log))) else {
            let epoch = self.initial_epoch(name);
            return Ok(DeletedRoom { epoch, messages: 0 });
        };
        let (head, messages) = (log.end.head, log.end.head.get() - log.end.floor.get());
        log.end = LogEnd {
            epoch: file::new_epoch(),
            fork: None,
            head,
            floor: head,
        };
        let epoch = log.end.epoch.clone();
        self.messages -= messages;
        self.bytes -= std::mem::take(&mut log.bytes);
        log.deleted = head;
        log.oldest = None;
        log.is_restarted = true;
        log.added.clear();
        log.added_bytes = 0;
        self.dirty_logs.insert(name.clone());
        overwriting(transaction, || {
            transaction
                .prepare_cached("DELETE FROM messages WHERE room = ?1")?
                .execute([id])
        })?;
        transaction
            .prepare_cached(
                "UPDATE rooms SET epoch = ?2, fork_epoch = NULL, fork_offset = NULL, deleted = ?3 WHERE id = ?1",
            )?
            .execute((id, epoch.as_str(), number(head.get())))?;
        Ok(DeletedRoom { epoch, messages })
    }

    /// Deletes the next bodies of a user. Returns whether all messages were looked at.
    fn delete_messages(&mut self, transaction: &Transaction<'_>, deletion: &mut Deletion) -> rusqlite::Result<bool> {
        let only = match &deletion.room {
            Some(name) => match self.logs.get(name).and_then(|log| log.id) {
                Some(id) => {
                    deletion.after = deletion.after.max((id, 0));
                    Some(id)
                }
                None => return Ok(true),
            },
            None => None,
        };
        let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        let mut statement = transaction.prepare_cached(
            "SELECT room, offset, user, octet_length(body) FROM messages WHERE (room, offset) > (?1, ?2)
                ORDER BY room, offset LIMIT ?3",
        )?;
        let (room, offset) = deletion.after;
        let mut rows = statement.query((room, number(offset), LOOKED_AT_ONCE))?;
        let mut is_finished = true;
        while let Some(row) = rows.next()? {
            let (room, offset): (i64, u64) = (row.get(0)?, row.get(1)?);
            if only.is_some_and(|only| room > only) {
                break;
            }
            deletion.after = (room, offset);
            looked_at += 1;
            let of_body: u64 = row.get(3)?;
            // An empty one was deleted before.
            if of_body > 0 && row.get_ref(2)?.as_str()? == &*deletion.user {
                found.push((room, offset, of_body));
                bytes += of_body;
            }
            if looked_at == LOOKED_AT_ONCE || bytes >= DELETED_AT_ONCE {
                is_finished = false;
                break;
            }
        }
        drop(rows);
        let mut delete = transaction.prepare_cached("UPDATE messages SET body = '' WHERE room = ?1 AND offset = ?2")?;
        overwriting(transaction, || {
            for (room, offset, _) in &found {
                delete.execute((room, number(*offset)))?;
            }
            Ok(())
        })?;
        deletion.count += as_u64(found.len());
        let mut freed: HashMap<i64, u64> = HashMap::new();
        for (room, _, bytes) in found {
            *freed.entry(room).or_default() += bytes;
        }
        if !freed.is_empty() {
            for (name, log) in &mut self.logs {
                if let Some(bytes) = log.id.and_then(|id| freed.get(&id)) {
                    log.bytes = log.bytes.saturating_sub(*bytes);
                    self.bytes = self.bytes.saturating_sub(*bytes);
                    self.dirty_logs.insert(name.clone());
                }
            }
        }
        Ok(is_finished)
    }

    /// Drops the oldest messages of a room beyond its bounds of count and bytes.
    fn trim(&mut self, transaction: &Transaction<'_>, name: &RoomName) -> rusqlite::Result<()> {
        let options = &self.shared.options.log;
        let (most, bytes) = (as_u64(options.messages.max(1)), as_u64(options.bytes));
        let log = self.log(name);
        let mut floor = log.end.floor.get().max(log.end.head.get().saturating_sub(most));
        if log.bytes > bytes {
            floor = floor.max(floor_of(transaction, log, log.bytes - bytes)?);
        }
        self.drop_up_to(transaction, name, floor)
    }

    /// Drops a part of the room that has the most bytes. Returns false if there is nothing to drop.
    fn trim_largest(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        let largest = self.logs.iter().max_by_key(|(_, log)| log.bytes);
        let Some((name, log)) = largest.filter(|(_, log)| log.bytes > 0) else {
            return Ok(false);
        };
        let name = name.clone();
        let (head, floor) = (log.end.head.get(), log.end.floor.get());
        let floor = floor + ((head - floor) / DROPPED_PART).max(1);
        self.drop_up_to(transaction, &name, floor)?;
        Ok(true)
    }

    /// Drops the messages of a room up to this offset.
    fn drop_up_to(&mut self, transaction: &Transaction<'_>, name: &RoomName, floor: u64) -> rusqlite::Result<()> {
        let log = self.log(name);
        let (Some(id), before) = (log.id, log.end.floor.get()) else {
            return Ok(());
        };
        if floor <= before {
            return Ok(());
        }
        let mut delete = transaction.prepare_cached(DELETE)?;
        let mut rows = delete.query((id, number(floor)))?;
        let (mut messages, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            messages += 1;
            bytes += row.get::<_, u64>(0)? + as_u64(OVERHEAD);
        }
        let floor = Offset::new(floor).map_err(|error| damaged(0, error))?;
        let log = self.log(name);
        log.end.floor = floor.min(log.end.head);
        log.bytes = log.bytes.saturating_sub(bytes);
        log.oldest = None;
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.dirty_logs.insert(name.clone());
        Ok(())
    }

    /// Drops a batch of what has expired.
    fn sweep(&mut self, transaction: &Transaction<'_>, now: Millis) -> rusqlite::Result<()> {
        self.new_rooms.expire(Instant::now());
        self.expire_messages(transaction, now)?;
        self.expire_requests(transaction, now)?;
        self.expire_clients(transaction, now, false)
    }

    fn expire_messages(&mut self, transaction: &Transaction<'_>, now: Millis) -> rusqlite::Result<()> {
        let options = &self.shared.options.log;
        let Some(oldest) = now.checked_sub(millis(options.age)) else {
            return Ok(());
        };
        let batch = options.sweep_batch.max(1);
        let expire_batch = number(as_u64(options.expire_batch.max(1)));
        let is_due = |log: &Log| log.end.head > log.end.floor && log.oldest.is_none_or(|at| at < oldest);
        // The sweep goes on where the one before ended: a room that is trimmed in each commit is due in each sweep.
        let start = self.logs_swept.checked_rem(self.logs.len()).unwrap_or(0);
        let (mut due, mut looked_at) = (Vec::new(), 0);
        for (name, log) in self.logs.iter().cycle().skip(start).take(self.logs.len()) {
            if due.len() == batch {
                break;
            }
            looked_at += 1;
            if is_due(log) {
                due.push(name.clone());
            }
        }
        self.logs_swept = start + looked_at;
        for name in due {
            let log = self.log(&name);
            let Some(id) = log.id else { continue };
            let mut statement = transaction.prepare_cached(
                "SELECT offset, at FROM messages WHERE room = ?1 AND offset > ?2 ORDER BY offset LIMIT ?3",
            )?;
            let mut rows = statement.query((id, number(log.end.floor.get()), expire_batch))?;
            let (mut floor, mut first_kept) = (0, None);
            while let Some(row) = rows.next()? {
                let (offset, at) = (row.get::<_, u64>(0)?, row.get::<_, Millis>(1)?);
                if at >= oldest {
                    first_kept = Some(at);
                    break;
                }
                floor = offset;
            }
            drop(rows);
            self.drop_up_to(transaction, &name, floor)?;
            self.log(&name).oldest = first_kept;
        }
        Ok(())
    }

    fn expire_requests(&mut self, transaction: &Transaction<'_>, now: Millis) -> rusqlite::Result<()> {
        let options = &self.shared.options.log;
        let Some(oldest) = now.checked_sub(millis(options.request_age)) else {
            return Ok(());
        };
        if self.requests == 0 {
            return Ok(());
        }
        let batch = number(as_u64(options.sweep_batch.max(1)));
        let (room, name) = &self.requests_swept;
        let found: Vec<(i64, String, Millis)> = transaction
            .prepare_cached(
                "SELECT room, name, at FROM requests WHERE (room, name) > (?1, ?2) ORDER BY room, name LIMIT ?3",
            )?
            .query_map((room, name, batch), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        self.requests_swept = found
            .last()
            .map(|(room, name, _)| (*room, name.clone()))
            .unwrap_or_default();
        for (room, name, at) in found {
            if at < oldest {
                self.forget_request(transaction, room, &name)?;
            }
        }
        Ok(())
    }

    /// Forgets a batch of clients that were not seen for long and whose newest message is dropped; with `pressed`,
    /// because there is no capacity for others, also those whose newest message is kept.
    fn expire_clients(&mut self, transaction: &Transaction<'_>, now: Millis, pressed: bool) -> rusqlite::Result<()> {
        let options = &self.shared.options.log;
        let Some(oldest) = now.checked_sub(millis(options.client_age)) else {
            return Ok(());
        };
        let batch = if pressed {
            options.expire_batch
        } else {
            options.sweep_batch
        };
        let found: Vec<(i64, i64, [u8; 16], Millis, u64)> = transaction
            .prepare_cached("SELECT id, room, client, used, newest FROM clients WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map((self.clients_swept, number(as_u64(batch.max(1)))), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        self.clients_swept = found.last().map_or(0, |(id, ..)| *id);
        let floors: HashMap<i64, u64> = if pressed {
            HashMap::new()
        } else {
            let rooms: HashSet<_> = found.iter().map(|(_, room, ..)| *room).collect();
            let logs = self
                .logs
                .values()
                .filter_map(|log| Some((log.id?, log.end.floor.get())));
            logs.filter(|(id, _)| rooms.contains(id)).collect()
        };
        let cost = Cost {
            entries: 1,
            bytes: self.entry_bytes(),
        };
        for (row, room, client, used, newest) in found {
            let key = (room, ClientKey::from_random(client));
            let used = self.clients.peek(&key).map_or(used, |client| client.used.max(used));
            let is_kept = floors.get(&room).is_some_and(|floor| newest > *floor);
            if used >= oldest || is_kept {
                continue;
            }
            transaction
                .prepare_cached("DELETE FROM clients WHERE id = ?1")?
                .execute([row])?;
            self.clients.pop(&key);
            let origin = self.origins.remove(&key);
            self.ledger.release([(Holder::Client { key: key.1, origin }, cost)]);
        }
        Ok(())
    }
}

impl Log {
    fn new(end: LogEnd, room: Option<Arc<Room>>, now: Millis) -> Self {
        Self {
            id: None,
            end,
            deleted: Offset::ZERO,
            bytes: 0,
            at: 0,
            made: now,
            used: now,
            oldest: Some(now),
            requests: Some(0),
            room,
            is_dirty: false,
            is_restarted: false,
            added: Vec::new(),
            added_bytes: 0,
        }
    }
}

/// Runs a deletion so that what it frees is overwritten in the file.
fn overwriting<T>(transaction: &Transaction<'_>, delete: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let overwrite = |is_on: bool| transaction.pragma_update_and_check(None, "secure_delete", is_on, |_| Ok(()));
    overwrite(true)?;
    let deleted = delete();
    overwrite(false)?;
    deleted
}

/// The offset up to which messages must be dropped to free so many bytes.
fn floor_of(transaction: &Transaction<'_>, log: &Log, excess: u64) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached(
        "SELECT offset, octet_length(body) FROM messages WHERE room = ?1 AND offset > ?2 ORDER BY offset",
    )?;
    let mut rows = statement.query((log.id, number(log.end.floor.get())))?;
    let (mut floor, mut freed) = (log.end.floor.get(), 0);
    while freed < excess
        && let Some(row) = rows.next()?
    {
        floor = row.get(0)?;
        freed += row.get::<_, u64>(1)? + as_u64(OVERHEAD);
    }
    Ok(floor)
}

const INSERT: &str = "INSERT INTO messages (room, offset, at, sender, user, seq, id, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const DELETE: &str = "DELETE FROM messages WHERE room = ?1 AND offset <= ?2 RETURNING octet_length(body)";
const INSERT_ROOM: &str = "INSERT INTO rooms (name, epoch, head, floor, bytes, at, made, used)
    VALUES (?1, ?2, 0, 0, 0, 0, ?3, ?3)";
const UPDATE_ROOM: &str = "UPDATE rooms SET head = ?2, floor = ?3, bytes = ?4, at = ?5, used = ?6 WHERE id = ?1";
const INSERT_CLIENT: &str = "INSERT INTO clients (room, client, last, newest, used, outcomes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const UPDATE_CLIENT: &str = "UPDATE clients SET last = ?2, newest = ?3, used = ?4, outcomes = ?5 WHERE id = ?1";
const INSERT_REQUEST: &str = "INSERT INTO requests (room, name, digest, offset, at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// The file has no secrets: a client's key is kept as a hash.
fn hashed(key: &ClientKey) -> ClientKey {
    let digest = Sha256::new()
        .chain_update("talkback client ")
        .chain_update(key.reveal())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    ClientKey::from_random(bytes)
}

fn stored_key(hashed: &ClientKey) -> [u8; 16] {
    u128::from_str_radix(&hashed.reveal(), 16)
        .unwrap_or_default()
        .to_be_bytes()
}

/// Whether the other messages of the transaction can be added.
fn concerns_one_message(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig)
    )
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds() -> Millis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, millis)
}
