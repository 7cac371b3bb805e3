//! `/rooms/{room}/...`: the same rooms over plain HTTP, for back ends and scripts.

mod many;
mod publish;
mod read;
mod wait;

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use talkback_protocol::{BodyLimit, NameError, RoomName, message::code, session::server::Refusal};

pub(crate) use many::{MAX_MANY_BYTES, MAX_ROOMS_AT_ONCE, Many, ManyRequest, publish_many, publish_to};
pub(crate) use publish::{bearer, publish, publish_request};
pub(crate) use read::messages;
pub(crate) use wait::Waiting;

use crate::{
    engine::KEY_REUSED,
    hub::Hub,
    names::{self, GroupProblem, NameProblem, RoomProblem},
    options::{ApiKey, AppOptions},
    socket::Sockets,
};

/// Options of reading and publishing over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct RoomsOptions {
    /// Without a key publishing is off.
    publish_key: Option<ApiKey>,
    /// Without a key there is no `/admin`.
    admin_key: Option<ApiKey>,
    /// Whether users and groups can be addressed.
    addresses_users: bool,
    /// Bytes of a body.
    max_body: usize,
    /// Nesting depth of a body.
    max_depth: usize,
    /// Messages of one answer.
    max_page: usize,
    /// Bytes of the messages of one answer.
    max_answer: usize,
    /// How long a request can wait for a message.
    max_wait: Duration,
    /// The timeout for a request's body.
    body_timeout: Duration,
}

impl RoomsOptions {
    pub(crate) fn new(options: &AppOptions) -> Self {
        Self {
            publish_key: options.publish_key.clone(),
            admin_key: options.admin_key.clone(),
            addresses_users: options.address_users,
            max_body: options.max_body(),
            max_depth: usize::try_from(options.max_body_depth).unwrap_or(usize::MAX),
            max_page: usize::try_from(options.max_page).unwrap_or(usize::MAX),
            max_answer: options.max_answer_size,
            max_wait: options.max_wait,
            body_timeout: options.body_timeout,
        }
    }

    /// Checks that users and groups can be addressed.
    pub(crate) fn check_addressing(&self) -> Result<(), Problem> {
        if self.addresses_users {
            Ok(())
        } else {
            Err(Problem::AddressingIsOff)
        }
    }

    pub(crate) fn admin_key(&self) -> Option<&ApiKey> {
        self.admin_key.as_ref()
    }
}

#[derive(Serialize)]
struct Members {
    room: RoomName,
    /// The number of users.
    users: u32,
    /// Absent in a room with more users than are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Box<RawValue>>,
}

/// `GET /rooms/{room}/members`: the users in the room.
pub(crate) async fn members(room: Room, State(hub): State<Hub>) -> Response {
    let (users, list) = hub.listed(&room.0);
    let members = list.and_then(|list| RawValue::from_string(list.json().to_owned()).ok());
    fresh(Json(Members {
        room: room.0,
        users,
        members,
    }))
}

/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The room in the path of a request whose origin is allowed.
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
        // A browser sends no `Origin` when a page only embeds or opens an address, but that page can measure how long
        // the answer takes.
        let site = parts.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if matches!(site, Some(b"cross-site" | b"same-site")) && !parts.headers.contains_key(header::ORIGIN) {
            sockets.metrics().origins_refused.add_one();
            return Err(Problem::ForeignOrigin);
        }
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let name = path.map_err(|error| Problem::BadRequest(error.body_text()))?;
        let room = RoomName::parse(&name)?;
        names::room(&room)?;
        Ok(Self(room))
    }
}

/// Why a request failed. The body of the answer is `{"code":...,"message":...}`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Room(#[from] RoomProblem),
    #[error(transparent)]
    User(#[from] NameProblem),
    #[error(transparent)]
    Group(#[from] GroupProblem),
    #[error("users and groups cannot be addressed: start the server with --address-users to turn it on")]
    AddressingIsOff,
    #[error("{0}")]
    BadRequest(String),
    #[error("pages of other origins may not use this server: start it with --allow-origin to allow them")]
    ForeignOrigin,
    #[error(
        "publishing over HTTP is off: start the server with --publish-key KEY (or TALKBACK_PUBLISH_KEY) to turn it on"
    )]
    PublishingIsOff,
    #[error(
        "publishing needs the header `Authorization: Bearer KEY` with the key of the server's option --publish-key"
    )]
    Unauthorized,
    #[error("there is no /admin: start the server with --admin-key KEY (or TALKBACK_ADMIN_KEY) to turn it on")]
    AdminIsOff,
    #[error("/admin needs the header `Authorization: Bearer KEY` with the key of the server's option --admin-key")]
    NotAdmin,
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Body(#[from] BodyLimit),
    #[error("the body of the request did not come within {0:?}")]
    BodyTimeout(Duration),
    #[error("too many requests come from this address: try again after the time in `Retry-After`")]
    TooManyRequests(Duration),
    #[error("this `Idempotency-Key` was used for another message: use a new key for a new message")]
    KeyReused,
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::ForeignOrigin
            | Self::PublishingIsOff
            | Self::AdminIsOff
            | Self::AddressingIsOff
            | Self::Room(RoomProblem::Reserved) => StatusCode::FORBIDDEN,
            Self::Name(_) | Self::Room(_) | Self::User(_) | Self::Group(_) | Self::BadRequest(_) | Self::Body(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized | Self::NotAdmin => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused(refusal) if refusal.retry_after.is_some() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(refusal) if refusal.code == code::TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(refusal) if refusal.code == code::DELETED => StatusCode::GONE,
            Self::Refused(_) => StatusCode::FORBIDDEN,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests(after) => Some(*after),
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    fn code(&self) -> Cow<'static, str> {
        match self {
            Self::ForeignOrigin
            | Self::PublishingIsOff
            | Self::AdminIsOff
            | Self::AddressingIsOff
            | Self::Room(RoomProblem::Reserved) => code::FORBIDDEN.into(),
            Self::Body(BodyLimit::TooDeep { .. }) => code::TOO_DEEP.into(),
            Self::Name(_) | Self::Room(_) | Self::User(_) | Self::Group(_) | Self::BadRequest(_) | Self::Body(_) => {
                "bad_request".into()
            }
            Self::BodyTimeout(_) => "timeout".into(),
            Self::TooManyRequests(_) => code::RATE.into(),
            Self::Unauthorized | Self::NotAdmin => "unauthorized".into(),
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
        if let Self::Unauthorized | Self::NotAdmin = self {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after() {
            // Whole seconds, rounded up: the client must not come too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        let body = Body {
            code: self.code(),
            message: self.to_string(),
        };
        (self.status(), headers, Json(body)).into_response()
    }
}

/// An answer that must not be cached.
pub(crate) fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One of each code that `/rooms` and `/admin` answer with.
    fn one_of_each() -> impl Iterator<Item = Problem> {
        let room = |name: &str| RoomName::parse(name).map(|room| names::room(&room));
        let permanent = |code| Problem::Refused(Refusal::for_good(code, "why"));
        let later = Refusal::later(code::BUSY, "why", Duration::from_secs(1));
        [
            Problem::Name(RoomName::parse("").expect_err("it is empty")),
            Problem::Room(room("a b").expect("the wire allows it").expect_err("a space")),
            Problem::Room(room("~a").expect("the wire allows it").expect_err("it is reserved")),
            Problem::User(names::user(names::SERVER).expect_err("it is the server's")),
            Problem::BadRequest(String::new()),
            Problem::ForeignOrigin,
            Problem::PublishingIsOff,
            Problem::Unauthorized,
            Problem::AdminIsOff,
            Problem::NotAdmin,
            Problem::TooLarge(1),
            Problem::Body(BodyLimit::TooDeep { max: 1 }),
            Problem::Body(BodyLimit::LongNumber { max: 1 }),
            Problem::BodyTimeout(Duration::ZERO),
            Problem::TooManyRequests(Duration::ZERO),
            Problem::KeyReused,
            Problem::Refused(later),
            permanent(code::TOO_LARGE),
            permanent(code::DELETED),
        ]
        .into_iter()
    }

    #[test]
    fn the_document_has_exactly_the_codes_of_the_answers() {
        let document = include_str!("../../../docs/http.md");
        let documented: BTreeSet<_> = document
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let (code, status) = (cells.next()?.strip_suffix('`')?, cells.next()?.parse::<u16>().ok()?);
                Some((code.to_owned(), status))
            })
            .collect();
        let answered: BTreeSet<_> = one_of_each()
            .map(|problem| (problem.code().into_owned(), problem.status().as_u16()))
            .collect();
        assert_eq!(documented, answered);
    }
}
