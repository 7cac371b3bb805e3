//! `POST /rooms`: a back end publishes a message to many rooms at once.

use std::{borrow::Cow, sync::Arc};

use axum::{Extension, Json, body::Body, extract::State, http::HeaderMap, response::Response};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use talkback_protocol::{Body as MessageBody, Offset, RoomName, UserName};

use super::{
    Problem, RoomsOptions, fresh,
    publish::{authorize, collect, idempotency_key, publish_one},
};
use crate::{engine::AppendOutcome, hub::Hub, limits::Peer, names};

/// The most rooms of one request.
pub(crate) const MAX_ROOMS_AT_ONCE: usize = 1000;
/// The most bytes of a request with the longest body and so many rooms.
pub(crate) const MAX_MANY_BYTES: usize = 1024 * 1024;

/// The body of a request.
#[derive(Deserialize)]
pub(crate) struct ManyRequest {
    /// The rooms; each gets the message once.
    rooms: Option<Vec<String>>,
    /// The users to whom it is addressed.
    users: Option<Vec<String>>,
    /// The groups to which it is addressed.
    groups: Option<Vec<String>>,
    /// The name of the sender.
    name: Option<String>,
    /// The message.
    body: Box<RawValue>,
}

impl ManyRequest {
    /// Whether it says who gets the message.
    pub(crate) fn has_addressees(&self) -> bool {
        self.rooms.is_some() || self.users.is_some() || self.groups.is_some()
    }

    /// The rooms, and those that are addressed to the users and the groups, each once, in the order of the request.
    pub(crate) fn rooms(&self, options: &RoomsOptions) -> Result<Vec<RoomName>, Problem> {
        let [rooms, users, groups] =
            [&self.rooms, &self.users, &self.groups].map(|names| names.as_deref().unwrap_or_default());
        let count = rooms.len() + users.len() + groups.len();
        if !(1..=MAX_ROOMS_AT_ONCE).contains(&count) {
            let problem = format!("`rooms`, `users` and `groups` must have 1 to {MAX_ROOMS_AT_ONCE} names together");
            return Err(Problem::BadRequest(problem));
        }
        if !(users.is_empty() && groups.is_empty()) {
            options.check_addressing()?;
        }
        let mut all = Vec::with_capacity(count);
        for name in rooms {
            let room = RoomName::parse(name)?;
            names::room(&room)?;
            all.push(room);
        }
        for name in users {
            all.push(names::user_room(&names::user(name)?));
        }
        for name in groups {
            all.push(names::group(name)?.into_room());
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|room| seen.insert(room.clone()));
        Ok(all)
    }

    pub(crate) fn user(&self) -> Result<UserName, Problem> {
        Ok(match &self.name {
            Some(name) => names::user(name)?,
            None => UserName::parse(names::SERVER)?,
        })
    }

    pub(crate) fn body(&self, options: &RoomsOptions) -> Result<MessageBody, Problem> {
        let json = self.body.get();
        if json.len() > options.max_body {
            return Err(Problem::TooLarge(options.max_body));
        }
        let body = MessageBody::from_json(json).map_err(|error| Problem::BadRequest(error.to_string()))?;
        body.check(options.max_depth)?;
        Ok(body)
    }
}

/// The answer.
#[derive(Serialize)]
pub(crate) struct Many {
    /// One for each room, in the order of the request.
    pub(crate) results: Vec<ManyResult>,
}

/// What became of the message in one room.
#[derive(Serialize)]
pub(crate) struct ManyResult {
    room: RoomName,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Published {
        offset: Offset,
        /// Milliseconds since the Unix epoch.
        at: u64,
        duplicate: bool,
    },
    Refused {
        code: Cow<'static, str>,
        message: Cow<'static, str>,
        /// Absent if it would be refused again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

pub(crate) async fn publish_many(
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    authorize(&options, &headers, peer.as_deref())?;
    let name = idempotency_key(&headers)?;
    let bytes = collect(body, MAX_MANY_BYTES, options.body_timeout).await?;
    let request: ManyRequest = serde_json::from_slice(&bytes).map_err(|error| {
        let example = "{\"rooms\":[\"a\",\"b\"],\"body\":\"hello\"}";
        Problem::BadRequest(format!("{error}. The body of the request has the form {example}"))
    })?;
    let (rooms, user, body) = (request.rooms(&options)?, request.user()?, request.body(&options)?);
    let results = publish_to(&hub, &rooms, &user, &body, name.as_deref()).await;
    Ok(fresh(Json(Many { results })))
}

/// Publishes to all these rooms at the same time. With a name, a room that had this message under it before does not get
/// it again.
pub(crate) async fn publish_to(
    hub: &Hub,
    rooms: &[RoomName],
    user: &UserName,
    body: &MessageBody,
    name: Option<&str>,
) -> Vec<ManyResult> {
    let appends = rooms.iter().map(async |room| {
        let outcome = match publish_one(hub, room, user.clone(), body.clone(), name).await {
            AppendOutcome::Added(place) => Outcome::Published {
                offset: place.offset,
                at: place.at,
                duplicate: false,
            },
            AppendOutcome::Duplicate(place) => Outcome::Published {
                offset: place.offset,
                at: place.at,
                duplicate: true,
            },
            AppendOutcome::Refused { refusal, .. } => Outcome::Refused {
                code: refusal.code,
                message: refusal.message,
                retry_after_ms: refusal
                    .retry_after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            },
            AppendOutcome::Gap { .. } | AppendOutcome::Conflict { .. } | AppendOutcome::Forgotten { .. } => {
                unreachable!("only messages with a client's number have these outcomes")
            }
        };
        ManyResult {
            room: room.clone(),
            outcome,
        }
    });
    join_all(appends).await
}
