//! `POST /users/{user}/messages` and `POST /groups/{group}/messages`: a back end addresses a message to a user or a group.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use talkback_protocol::RoomName;

use super::rooms::{Problem, RoomsOptions, publish_request};
use crate::{hub::Hub, names};

pub(crate) async fn to_user(
    Path(name): Path<String>,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    request: Request,
) -> Result<Response, Problem> {
    let room = names::user(&name).map(|user| names::user_room(&user));
    publish(room.map_err(Problem::User), &hub, &options, request).await
}

pub(crate) async fn to_group(
    Path(name): Path<String>,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    request: Request,
) -> Result<Response, Problem> {
    let room = names::group(&name).map(names::GroupName::into_room);
    publish(room.map_err(Problem::Group), &hub, &options, request).await
}

async fn publish(
    room: Result<RoomName, Problem>,
    hub: &Hub,
    options: &RoomsOptions,
    request: Request,
) -> Result<Response, Problem> {
    options.check_addressing()?;
    publish_request(hub, options, room?, request).await
}
