//! `POST /rooms/{room}/messages`: a back end says something.

use std::{fmt, str::FromStr, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use talkback_protocol::{Body as MessageBody, Offset, RoomName, UserName, message::Author};

use super::{Problem, Room, RoomsOptions, fresh};
use crate::{
    engine::{Append, KEY_REUSED, MessageId, Outcome, Place},
    hub::Hub,
};

/// The longest `Idempotency-Key`.
const MAX_KEY: usize = 128;
/// Who speaks when the request does not say.
const DEFAULT_NAME: &str = "server";

#[derive(Deserialize)]
pub(crate) struct PublishQuery {
    name: Option<String>,
}

#[derive(Serialize)]
struct Published {
    room: RoomName,
    offset: Offset,
    /// Milliseconds since the Unix epoch.
    at: u64,
    /// A request with this `Idempotency-Key` had published it before.
    duplicate: bool,
}

pub(crate) async fn publish(
    room: Room,
    query: Result<Query<PublishQuery>, QueryRejection>,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Room(room) = room;
    let key = options.publish_key.as_ref().ok_or(Problem::PublishingIsOff)?;
    if !bearer(&headers).is_some_and(|given| key.is(given)) {
        return Err(Problem::Unauthorized);
    }
    let Query(query) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let user = UserName::parse(query.name.as_deref().unwrap_or(DEFAULT_NAME))?;
    let name = idempotency_key(&headers)?;
    let body = read(body, options.max_body).await?;
    let id = name.map_or(MessageId::None, |name| MessageId::Request {
        name,
        digest: Sha256::digest(format!("{user}\n{}", body.json())).into(),
    });
    let from = Author {
        sender: hub.sender().clone(),
        user,
    };
    let append = Append {
        room: room.clone(),
        id,
        from,
        content: Ok(body),
    };
    let (status, place, duplicate) = match hub.engine().append(append).await {
        Outcome::Added(place) => (StatusCode::CREATED, place, false),
        Outcome::Duplicate(place) => (StatusCode::OK, place, true),
        Outcome::Refused { refusal, .. } if refusal.code == KEY_REUSED => return Err(Problem::KeyReused),
        Outcome::Refused { refusal, .. } => return Err(Problem::Refused(refusal)),
        Outcome::Gap { .. } | Outcome::Conflict { .. } | Outcome::Forgotten { .. } => {
            unreachable!("only a client's numbers are answered so")
        }
    };
    let Place { offset, at, .. } = place;
    Ok((
        status,
        fresh(Json(Published {
            room,
            offset,
            at,
            duplicate,
        })),
    )
        .into_response())
}

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(key.into())),
        _ => Err(Problem::BadRequest(format!(
            "the header `Idempotency-Key` must be 1 to {MAX_KEY} printable ASCII characters"
        ))),
    }
}

async fn read(body: Body, max: usize) -> Result<MessageBody, Problem> {
    // Fails when there is more, or when the client is gone and nobody hears the answer.
    let bytes = axum::body::to_bytes(body, max)
        .await
        .map_err(|_| Problem::TooLarge(max))?;
    let text = str::from_utf8(&bytes).map_err(|_| Problem::BadRequest("the body is not UTF-8".to_owned()))?;
    MessageBody::from_json(text).map_err(|error| {
        Problem::BadRequest(format!(
            "{error}. The body of the request is the message: any JSON, such as \"hello\" or {{\"done\":3}}"
        ))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, given) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

/// What a publisher over HTTP must know: at least 16 characters. `Debug` and `check` do not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishKey(String);

impl PublishKey {
    /// Compares hashes, so that the time it takes tells nothing about the key.
    fn is(&self, given: &str) -> bool {
        Sha256::digest(given) == Sha256::digest(&self.0)
    }
}

impl FromStr for PublishKey {
    type Err = &'static str;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        if key.len() >= 16 && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key.to_owned()))
        } else {
            Err("a key has at least 16 printable ASCII characters without spaces; `openssl rand -hex 16` makes one")
        }
    }
}

impl fmt::Debug for PublishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishKey(secret)")
    }
}

impl Serialize for PublishKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}
