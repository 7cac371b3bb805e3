//! `/admin/...` at the address for operators, with a key: the rooms of this server and their members, announcements,
//! and closing connections. `talkback-server admin` asks it ([`crate::admin`]).

use std::sync::Arc;

use axum::{
    Extension, Json, RequestPartsExt,
    extract::{DefaultBodyLimit, FromRef, FromRequestParts, Path, Query, State},
    http::request::Parts,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use talkback_protocol::{RoomName, UserName, close};

use super::rooms::{MAX_ROOMS_AT_ONCE, ManyRequest, Problem, RoomsOptions, fresh, publish_to};
use crate::{app::AppState, hub::Hub, limits::Peer, names};

/// The most rooms of one answer.
const MAX_LISTED: usize = 1000;

pub(crate) fn routes() -> axum::Router<AppState> {
    axum::Router::new()
        .route("/rooms", get(rooms))
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

fn room(name: &str) -> Result<RoomName, Problem> {
    let room = RoomName::parse(name)?;
    names::room(&room)?;
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

/// Publishes to some rooms, or to all that have members on this server.
async fn announce(
    _: Operator,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    Json(request): Json<ManyRequest>,
) -> Result<Response, Problem> {
    let mut results = Vec::new();
    let rooms = match &request.rooms {
        Some(_) => request.rooms()?,
        None => hub.list().into_iter().map(|(room, _)| room).collect(),
    };
    let (user, body) = (request.user()?, request.body(&options)?);
    for rooms in rooms.chunks(MAX_ROOMS_AT_ONCE) {
        results.extend(publish_to(&hub, rooms, &user, &body, None).await);
    }
    Ok(fresh(Json(super::rooms::Many { results })))
}
