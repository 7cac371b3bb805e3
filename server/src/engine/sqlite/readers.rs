//! The threads that read.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OptionalExtension, Row, types::Type};
use talkback_protocol::{
    Body, Cursor, Epoch, Offset, PublishId, RoomName, SenderId, Seq, UserName,
    message::{Author, Message, code},
    session::server::Refusal,
};
use tokio::sync::oneshot;

use super::{
    super::{Answer, Limit, Page, Range},
    OVERHEAD, Shared, file,
    rooms::LogEnd,
};

/// Reads that wait for a thread.
pub(super) struct Reads {
    most: usize,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    reads: VecDeque<Read>,
    is_closed: bool,
}

struct Read {
    room: RoomName,
    range: Range,
    limit: Limit,
    answer: oneshot::Sender<Result<Page, Refusal>>,
}

impl Reads {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    pub(super) fn push(
        &self,
        shared: &Shared,
        room: &RoomName,
        range: Range,
        limit: Limit,
    ) -> Answer<Result<Page, Refusal>> {
        let retry_after = shared.options.log.retry_after;
        let (answer, answered) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.reads.len() >= self.most {
            let message = "too many requests wait for the log: try again in a moment";
            return Answer::now(Err(Refusal::later(code::BUSY, message, retry_after)));
        }
        queue.reads.push_back(Read {
            room: room.clone(),
            range,
            limit,
            answer,
        });
        drop(queue);
        self.arrived.notify_one();
        Answer::later(Box::pin(async move {
            let closed = || Err(Refusal::later(code::BUSY, "the server stops", retry_after));
            answered.await.unwrap_or_else(|_| closed())
        }))
    }

    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// The next read. `None` when the engine is closed and all reads are answered.
    fn next(&self) -> Option<Read> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(read) = queue.reads.pop_front() {
                return Some(read);
            }
            if queue.is_closed {
                return None;
            }
            self.arrived.wait(&mut queue);
        }
    }
}

/// Answers reads until the engine is closed.
pub(super) fn run(shared: &Arc<Shared>, mut connection: Connection) {
    while let Some(read) = shared.reads.next() {
        // Nobody waits for it any more.
        if read.answer.is_closed() {
            continue;
        }
        let page = page(&mut connection, shared, &read).map_err(|error| {
            if file::is_damage(&error) {
                shared.failed(&error, true);
            } else {
                tracing::error!(room = %read.room, %error, "the log of a room cannot be read");
            }
            let message = "the log cannot be read now: try again later";
            Refusal::later(code::BUSY, message, shared.options.log.remembered_retry_after)
        });
        drop(read.answer.send(page));
    }
}

fn page(connection: &mut Connection, shared: &Shared, read: &Read) -> rusqlite::Result<Page> {
    // One snapshot for the bounds and the messages.
    let transaction = connection.transaction()?;
    let found = transaction
        .prepare_cached("SELECT id, epoch, head, floor, fork_epoch, fork_offset FROM rooms WHERE name = ?1")?
        .query_row([&*read.room], |row| Ok((row.get::<_, i64>(0)?, log_end(row)?)))
        .optional()?;
    let Some((id, end)) = found else {
        return Ok(Page::empty(shared.rooms.initial_epoch(&read.room)));
    };
    let floor = number(end.floor.get());
    let most = i64::try_from(read.limit.messages).unwrap_or(i64::MAX);
    let (sql, from, to) = match read.range {
        Range::After(offset) => (OLDEST, floor.max(number(offset.get())), i64::MAX),
        Range::Before(offset) => (NEWEST, floor, number(offset.get())),
        Range::Newest => (NEWEST, floor, i64::MAX),
    };
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query((id, from, to, most))?;
    let (mut messages, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let message = message(row, &read.room)?;
        bytes = bytes.saturating_add(message.body.json().len() + OVERHEAD);
        if !messages.is_empty() && bytes > read.limit.bytes {
            break;
        }
        messages.push(Arc::new(message));
    }
    if !matches!(read.range, Range::After(_)) {
        messages.reverse();
    }
    Ok(end.page(messages))
}

const OLDEST: &str = "SELECT offset, at, sender, user, seq, id, body FROM messages
    WHERE room = ?1 AND offset > ?2 AND offset < ?3 ORDER BY offset LIMIT ?4";
const NEWEST: &str = "SELECT offset, at, sender, user, seq, id, body FROM messages
    WHERE room = ?1 AND offset > ?2 AND offset < ?3 ORDER BY offset DESC LIMIT ?4";

/// The columns epoch, head, floor, fork_epoch and fork_offset, from the second on.
pub(super) fn log_end(row: &Row<'_>) -> rusqlite::Result<LogEnd> {
    let fork = match row.get_ref(4)?.as_str_or_null()? {
        Some(epoch) => Some(Cursor {
            epoch: Epoch::parse(epoch).map_err(|error| damaged(4, error))?,
            offset: offset(row, 5)?,
        }),
        None => None,
    };
    Ok(LogEnd {
        epoch: Epoch::parse(row.get_ref(1)?.as_str()?).map_err(|error| damaged(1, error))?,
        fork,
        head: offset(row, 2)?,
        floor: offset(row, 3)?,
    })
}

fn message(row: &Row<'_>, room: &RoomName) -> rusqlite::Result<Message> {
    let sender = row.get_ref(2)?.as_str()?;
    let user = row.get_ref(3)?.as_str()?;
    let seq = row.get::<_, Option<u64>>(4)?;
    let id = row.get::<_, Option<i64>>(5)?;
    let body = row.get_ref(6)?.as_str()?;
    let deleted = body.is_empty();
    Ok(Message {
        room: room.clone(),
        offset: offset(row, 0)?,
        from: Author {
            sender: SenderId::parse(sender).map_err(|error| damaged(2, error))?,
            user: UserName::parse(user).map_err(|error| damaged(3, error))?,
        },
        seq: seq.map(Seq::new).transpose().map_err(|error| damaged(4, error))?,
        id: id.map(|id| PublishId::from_random(id.cast_unsigned())),
        at: row.get(1)?,
        deleted,
        body: if deleted {
            Body::null()
        } else {
            Body::from_json(body).map_err(|error| damaged(6, error))?
        },
    })
}

pub(super) fn offset(row: &Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    Offset::new(row.get(column)?).map_err(|error| damaged(column, error))
}

/// A value that this program did not write.
pub(super) fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Offsets are at most 2^53 - 1.
pub(super) fn number(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
