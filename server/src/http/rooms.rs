//! `/rooms/{room}/...`: the same rooms over plain HTTP, for back ends and scripts.

mod publish;
mod read;
mod wait;

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use talkback_protocol::{NameError, RoomName, message::Member, message::code, session::server::Refusal};

pub use publish::PublishKey;
pub(crate) use publish::publish;
pub(crate) use read::messages;

use crate::{engine::KEY_REUSED, hub::Hub, socket::Sockets};

/// Bounds of reading and publishing over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct RoomsOptions {
    /// What a publisher must know; without one nobody may publish.
    pub(crate) publish_key: Option<PublishKey>,
    /// Bytes of a body.
    pub(crate) max_body: usize,
    /// Messages of one answer.
    pub(crate) max_page: usize,
    /// How long a request may wait for a message.
    pub(crate) max_wait: Duration,
}

#[derive(Serialize)]
struct Members {
    room: RoomName,
    members: Vec<Member>,
}

/// `GET /rooms/{room}/members`: who is there.
pub(crate) async fn members(room: Room, State(hub): State<Hub>) -> Response {
    let members = hub.users(&room.0).into_iter().map(|user| Member { user }).collect();
    fresh(Json(Members { room: room.0, members }))
}

/// The room in the path, of a request that may come from where it does.
pub(crate) struct Room(RoomName);

impl<S> axum::extract::FromRequestParts<S> for Room
where
    S: Send + Sync,
    Sockets: axum::extract::FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        let sockets: Sockets = axum::extract::FromRef::from_ref(state);
        if !sockets.options().origins.allows(&parts.headers) {
            sockets.metrics().origins_refused.add_one();
            return Err(Problem::ForeignOrigin);
        }
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let name = path.map_err(|error| Problem::BadRequest(error.body_text()))?;
        Ok(Self(RoomName::parse(&name)?))
    }
}

/// Why a request was not answered as it wished. The body is `{"code":...,"message":...}`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0}")]
    BadRequest(String),
    #[error("pages from elsewhere may not use this server: start it with --allow-origin to let them")]
    ForeignOrigin,
    #[error(
        "publishing over HTTP is off: start the server with --publish-key KEY (or TALKBACK_PUBLISH_KEY) to turn it on"
    )]
    PublishingIsOff,
    #[error("publishing needs the header `Authorization: Bearer KEY`, with the key that the server was started with")]
    Unauthorized,
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("this `Idempotency-Key` came before with another message: take a new key for a new message")]
    KeyReused,
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Name(_) | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::ForeignOrigin | Self::PublishingIsOff => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused(refusal) if refusal.retry_after.is_some() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(refusal) if refusal.code == code::TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(_) => StatusCode::FORBIDDEN,
        }
    }

    fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Name(_) | Self::BadRequest(_) => "bad_request".into(),
            Self::ForeignOrigin | Self::PublishingIsOff => code::FORBIDDEN.into(),
            Self::Unauthorized => "unauthorized".into(),
            Self::TooLarge(_) => code::TOO_LARGE.into(),
            Self::KeyReused => KEY_REUSED.into(),
            Self::Refused(refusal) => refusal.code.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            code: Cow<'static, str>,
            message: String,
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Refused(Refusal {
                retry_after: Some(after),
                ..
            }) => {
                // Whole seconds, and never too early.
                headers.insert(
                    header::RETRY_AFTER,
                    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).into(),
                );
            }
            _ => {}
        }
        let body = Body {
            code: self.code(),
            message: self.to_string(),
        };
        (self.status(), headers, Json(body)).into_response()
    }
}

/// An answer that is true only now.
fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
