//! `GET /rooms/{room}/messages`: reads the log, and waits for new messages.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use serde::{Deserialize, Serialize, Serializer};
use talkback_protocol::{Cursor, Epoch, Offset, RoomName, message::Message};

use super::{Problem, Room, RoomsOptions, Waiting, fresh, wait::Wakeup};
use crate::{
    engine::{Engine, Limit, Page, Range},
    hub::Hub,
    limits::Peer,
    socket::Sockets,
};

/// Messages of one answer without `limit`.
const DEFAULT_LIMIT: usize = 50;

#[derive(Deserialize)]
pub(crate) struct MessagesQuery {
    /// `epoch:offset`, as `cursor` of an earlier answer, or an offset alone. Without it the newest messages are read.
    since: Option<String>,
    limit: Option<usize>,
    /// Seconds to wait if there is no message yet.
    #[serde(default)]
    wait: u64,
}

#[derive(Serialize)]
struct Messages<'a> {
    room: &'a RoomName,
    epoch: &'a Epoch,
    /// The offset of the room's newest message.
    head: Offset,
    /// The `since` of the next request.
    #[serde(serialize_with = "as_text")]
    cursor: Cursor,
    /// Whether nothing is missing between `since` and `messages`; if something is, these are the newest.
    recovered: bool,
    /// Whether the log has more messages after these.
    more: bool,
    messages: Vec<&'a Message>,
}

pub(crate) async fn messages(
    room: Room,
    query: Result<Query<MessagesQuery>, QueryRejection>,
    State(hub): State<Hub>,
    State(sockets): State<Sockets>,
    State(options): State<Arc<RoomsOptions>>,
    State(waiting): State<Waiting>,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Problem> {
    let Room(room) = room;
    let Query(query) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let messages = query.limit.unwrap_or(DEFAULT_LIMIT.min(options.max_page));
    if messages == 0 || messages > options.max_page {
        let rule = format!("limit must be 1 to {}", options.max_page);
        return Err(Problem::BadRequest(rule));
    }
    if query.wait > options.max_wait.as_secs() {
        let rule = format!("wait must be 0 to {} seconds", options.max_wait.as_secs());
        return Err(Problem::BadRequest(rule));
    }
    let since = query.since.as_deref().map(Since::parse).transpose()?;
    let limit = Limit {
        messages,
        bytes: options.max_answer,
    };

    let engine = hub.engine();
    let (mut page, mut recovered) = read(&**engine, &room, since.as_ref(), limit).await?;
    if let Some(since) = since
        .as_ref()
        .filter(|_| query.wait > 0 && recovered && page.messages.is_empty())
    {
        // Waiting for a room that does not exist creates it, so it counts as a new room of the address.
        if !engine.has(&room)
            && let Some(Extension(peer)) = peer
        {
            peer.new_rooms().take().map_err(Problem::TooManyRequests)?;
        }
        let wakeup = Arc::new(Wakeup::default());
        // Watched before it is read again, so that no message is missed in between. A watched room without messages is
        // not kept.
        let watch = engine
            .watch(&room, Arc::clone(&wakeup) as _)
            .await
            .map_err(Problem::Refused)?;
        let waiter = waiting.enter();
        (page, recovered) = read(&**engine, &room, Some(since), limit).await?;
        if recovered && page.messages.is_empty() {
            tokio::select! {
                () = wakeup.notified() => {}
                () = sockets.until_draining() => {}
                () = tokio::time::sleep(Duration::from_secs(query.wait)) => {}
            }
            (page, recovered) = read(&**engine, &room, Some(since), limit).await?;
        }
        drop((watch, waiter));
    }
    let last = page.messages.last().map(|last| last.offset);
    let last = last
        .or_else(|| since.filter(|_| recovered).map(|since| since.offset()))
        .unwrap_or(page.head);
    let messages = Messages {
        room: &room,
        epoch: &page.epoch,
        head: page.head,
        cursor: Cursor {
            epoch: page.epoch.clone(),
            offset: last,
        },
        recovered,
        more: last < page.head,
        messages: page.messages.iter().map(|message| &**message).collect(),
    };
    Ok(fresh(Json(messages)))
}

/// The messages after a cursor, or the newest, and whether no message is missing before them.
async fn read(
    engine: &dyn Engine,
    room: &RoomName,
    since: Option<&Since>,
    limit: Limit,
) -> Result<(Page, bool), Problem> {
    let Some(since) = since else {
        let page = engine
            .read(room, Range::Newest, limit)
            .await
            .map_err(Problem::Refused)?;
        return Ok((page, true));
    };
    let page = engine
        .read(room, Range::After(since.offset()), limit)
        .await
        .map_err(Problem::Refused)?;
    let has_all = match since {
        Since::Cursor(cursor) => page.has_all_since(cursor),
        Since::Offset(offset) => page.has_all_after(*offset),
    };
    if has_all {
        return Ok((page, true));
    }
    let page = engine
        .read(room, Range::Newest, limit)
        .await
        .map_err(Problem::Refused)?;
    Ok((page, false))
}

fn as_text<S: Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}

/// The last message that the client has.
enum Since {
    Cursor(Cursor),
    /// An offset in any epoch of the log.
    Offset(Offset),
}

impl Since {
    fn parse(text: &str) -> Result<Self, Problem> {
        let cursor = text.parse().map(Self::Cursor);
        let since = cursor.or_else(|_| text.parse().map(Self::Offset));
        since.map_err(|_| {
            let rule = "since must be the `cursor` of an earlier answer, or an offset: 0 is before the first message";
            Problem::BadRequest(rule.to_owned())
        })
    }

    fn offset(&self) -> Offset {
        match self {
            Self::Cursor(cursor) => cursor.offset,
            Self::Offset(offset) => *offset,
        }
    }
}
