//! `/admin/...` at the address for operators, with a key: the rooms of this server and their members, announcements,
//! closing connections, and deletions. `talkback-server admin` asks it ([`crate::admin`]).

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, RequestPartsExt,
    extract::{DefaultBodyLimit, FromRef, FromRequestParts, Path, Query, State},
    http::request::Parts,
    response::Response,
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};
use talkback_protocol::{Epoch, RoomName, UserName, close, message::code, session::server::Refusal};

use super::rooms::{MAX_ROOMS_AT_ONCE, ManyRequest, Problem, RoomsOptions, fresh, publish_to};
use crate::{app::AppState, hub::Hub, limits::Peer, names};

/// The most rooms of one answer.
const MAX_LISTED: usize = 1000;
/// When to try a deletion again that ended because the server stops.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> axum::Router<AppState> {
    axum::Router::new()
        .route("/rooms", get(rooms))
        .route("/rooms/{room}", delete(delete_room))
        .route("/users/{user}/messages", delete(delete_messages))
        .route("/rooms/{room}/members", get(members))
        .route("/rooms/{room}/close", post(close_members))
        .route("/announce", post(announce))
        .layer(DefaultBodyLimit::max(super::rooms::MAX_MANY_BYTES))
}

/// Proof that a request has the key of `--admin-key`.
struct Operator;

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let options = Arc::<RoomsOptions>::from_ref(state);
        let key = options.admin_key().ok_or(Problem::AdminIsOff)?;
        if super::rooms::bearer(&parts.headers).is_some_and(|given| key.is(given)) {
            return Ok(Self);
        }
        // Requests with the key are not limited; guesses of it are.
        if let Ok(Extension(peer)) = parts.extract::<Extension<Peer>>().await {
            peer.request().map_err(Problem::TooManyRequests)?;
        }
        Err(Problem::NotAdmin)
    }
}

/// A room that a client may name, or an addressed one.
fn room(name: &str) -> Result<RoomName, Problem> {
    let room = RoomName::parse(name)?;
    if !names::is_addressed(&room) {
        names::room(&room)?;
    }
    Ok(room)
}

#[derive(Deserialize)]
struct RoomsQuery {
    /// The rooms after this one, in the order of their names.
    after: Option<String>,
}

#[derive(Serialize)]
struct Rooms {
    rooms: Vec<RoomOfServer>,
    /// Whether there are more, after the last one.
    more: bool,
}

#[derive(Serialize)]
struct RoomOfServer {
    room: RoomName,
    members: usize,
}

async fn rooms(_: Operator, Query(query): Query<RoomsQuery>, State(hub): State<Hub>) -> Response {
    let mut rooms = hub.list();
    rooms.sort_unstable();
    let after = query.after.as_deref().unwrap_or_default();
    let mut rooms = rooms.into_iter().filter(|(room, _)| &**room > after);
    let listed = rooms.by_ref().take(MAX_LISTED);
    let listed = listed.map(|(room, members)| RoomOfServer { room, members }).collect();
    fresh(Json(Rooms {
        rooms: listed,
        more: rooms.next().is_some(),
    }))
}

#[derive(Serialize)]
struct Members {
    room: RoomName,
    users: Vec<UserName>,
}

async fn members(_: Operator, Path(name): Path<String>, State(hub): State<Hub>) -> Result<Response, Problem> {
    let room = room(&name)?;
    let users = hub.users(&room);
    Ok(fresh(Json(Members { room, users })))
}

#[derive(Deserialize)]
struct CloseRequest {
    /// Only the connections of this user.
    user: Option<String>,
    /// What the clients are told.
    reason: Option<String>,
}

#[derive(Serialize)]
struct Closed {
    closed: usize,
}

async fn close_members(
    _: Operator,
    Path(name): Path<String>,
    State(hub): State<Hub>,
    Json(request): Json<CloseRequest>,
) -> Result<Response, Problem> {
    let room = room(&name)?;
    let user = request.user.as_deref().map(names::user).transpose()?;
    let reason = request.reason.as_deref().unwrap_or("closed by an operator");
    if close::check_reason(reason).is_err() {
        let problem = format!("`reason` has more than {} bytes", close::MAX_REASON_BYTES);
        return Err(Problem::BadRequest(problem));
    }
    let closed = hub.close_members(&room, user.as_ref(), reason).await;
    Ok(fresh(Json(Closed { closed })))
}

#[derive(Serialize)]
struct DeletedRoom {
    room: RoomName,
    /// The epoch in which the room continues.
    epoch: Epoch,
    /// How many messages were deleted.
    messages: u64,
}

/// Deletes all messages of a room.
async fn delete_room(_: Operator, Path(name): Path<String>, State(hub): State<Hub>) -> Result<Response, Problem> {
    let room = room(&name)?;
    let deleting = room.clone();
    let deleted = to_the_end(async move { hub.delete_room(&deleting).await }).await?;
    Ok(fresh(Json(DeletedRoom {
        room,
        epoch: deleted.epoch,
        messages: deleted.messages,
    })))
}

#[derive(Deserialize)]
struct DeleteQuery {
    /// Only in this room.
    room: Option<String>,
}

#[derive(Serialize)]
struct DeletedMessages {
    user: UserName,
    /// How many messages lost their bodies.
    messages: u64,
}

/// Deletes the bodies of a user's messages.
async fn delete_messages(
    _: Operator,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
    State(hub): State<Hub>,
) -> Result<Response, Problem> {
    let user = names::user(&name)?;
    let room = query.room.as_deref().map(room).transpose()?;
    let deleting = user.clone();
    let messages = to_the_end(async move { hub.delete_messages_of(&deleting, room.as_ref()).await }).await?;
    Ok(fresh(Json(DeletedMessages { user, messages })))
}

/// Runs a deletion to its end, also if the operator's connection is lost meanwhile.
async fn to_the_end<T: Send + 'static>(
    deletion: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Problem> {
    let stopped = |_| {
        let message = "the deletion was interrupted: try again";
        Err(Refusal::later(code::BUSY, message, RETRY_AFTER))
    };
    let deleted = tokio::spawn(deletion).await.unwrap_or_else(stopped);
    deleted.map_err(Problem::Refused)
}

/// Publishes to some rooms, users and groups, or to all rooms that have members on this server.
async fn announce(
    _: Operator,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    Json(request): Json<ManyRequest>,
) -> Result<Response, Problem> {
    let mut results = Vec::new();
    let rooms = if request.has_addressees() {
        request.rooms(&options)?
    } else {
        let with_members = hub.list().into_iter().map(|(room, _)| room);
        // Who is in an addressed room is in others too, or has no other.
        with_members.filter(|room| !room.is_reserved()).collect()
    };
    let (user, body) = (request.user()?, request.body(&options)?);
    for rooms in rooms.chunks(MAX_ROOMS_AT_ONCE) {
        results.extend(publish_to(&hub, rooms, &user, &body, None).await);
    }
    Ok(fresh(Json(super::rooms::Many { results })))
}
