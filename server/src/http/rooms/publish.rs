//! `POST /rooms/{room}/messages`: a back end publishes a message.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talkback_protocol::{Body as MessageBody, Offset, RoomName, UserName, message::Author};

use super::{Problem, Room, RoomsOptions, fresh};
use crate::{
    engine::{Append, AppendOutcome, KEY_REUSED, MessageId, Place},
    hub::Hub,
    limits::Peer,
    names,
};

/// The longest `Idempotency-Key`.
const MAX_KEY: usize = 128;

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
    /// Whether an earlier request with this `Idempotency-Key` published it.
    duplicate: bool,
}

pub(crate) async fn publish(
    Room(room): Room,
    State(hub): State<Hub>,
    State(options): State<Arc<RoomsOptions>>,
    request: Request,
) -> Result<Response, Problem> {
    publish_request(&hub, &options, room, request).await
}

/// Publishes the body of a request with the key, which may have a `name` and an `Idempotency-Key`.
pub(crate) async fn publish_request(
    hub: &Hub,
    options: &RoomsOptions,
    room: RoomName,
    request: Request,
) -> Result<Response, Problem> {
    let (request, body) = request.into_parts();
    let headers = &request.headers;
    authorize(options, headers, request.extensions.get())?;
    let query = Query::<PublishQuery>::try_from_uri(&request.uri);
    let Query(query) = query.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let user = match &query.name {
        Some(name) => names::user(name)?,
        None => UserName::parse(names::SERVER)?,
    };
    let name = idempotency_key(headers)?;
    let body = read(body, options.max_body, options.body_timeout).await?;
    body.check(options.max_depth)?;
    let outcome = publish_one(hub, &room, user, body, name.as_deref()).await;
    let (status, place, duplicate) = match outcome {
        AppendOutcome::Added(place) => (StatusCode::CREATED, place, false),
        AppendOutcome::Duplicate(place) => (StatusCode::OK, place, true),
        AppendOutcome::Refused { refusal, .. } if refusal.code == KEY_REUSED => return Err(Problem::KeyReused),
        AppendOutcome::Refused { refusal, .. } => return Err(Problem::Refused(refusal)),
        AppendOutcome::Gap { .. } | AppendOutcome::Conflict { .. } | AppendOutcome::Forgotten { .. } => {
            unreachable!("only messages with a client's number have these outcomes")
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

/// Checks the key of a request.
pub(super) fn authorize(options: &RoomsOptions, headers: &HeaderMap, peer: Option<&Peer>) -> Result<(), Problem> {
    let key = options.publish_key.as_ref().ok_or(Problem::PublishingIsOff)?;
    if bearer(headers).is_some_and(|given| key.is(given)) {
        return Ok(());
    }
    // Requests with the key are not limited; guesses of the key are.
    let counted = peer.map_or(Ok(()), Peer::request);
    Err(counted.map_or_else(Problem::TooManyRequests, |()| Problem::Unauthorized))
}

/// Gives a message to the log. With a name, the log recognises the request when it comes again.
pub(super) async fn publish_one(
    hub: &Hub,
    room: &RoomName,
    user: UserName,
    body: MessageBody,
    name: Option<&str>,
) -> AppendOutcome {
    let id = name.map_or(MessageId::None, |name| MessageId::Request {
        name: name.into(),
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
    hub.append(append).await
}

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
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

async fn read(body: Body, max: usize, within: Duration) -> Result<MessageBody, Problem> {
    let bytes = collect(body, max, within).await?;
    let text = str::from_utf8(&bytes).map_err(|_| Problem::BadRequest("the body is not UTF-8".to_owned()))?;
    MessageBody::from_json(text).map_err(|error| {
        Problem::BadRequest(format!(
            "{error}. The body of the request is the message: any JSON, such as \"hello\" or {{\"done\":3}}"
        ))
    })
}

/// The bytes of a request's body.
pub(super) async fn collect(body: Body, max: usize, within: Duration) -> Result<BytesMut, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).ok();
    let capacity = announced.filter(|size| *size <= max).ok_or(Problem::TooLarge(max))?;
    // Copied into one buffer: each piece keeps the buffer that it was read into, which may be a thousand times its
    // size.
    let mut bytes = BytesMut::with_capacity(capacity);
    let mut pieces = body.into_data_stream();
    let all = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| {
                Problem::BadRequest("the body of the request is incomplete: the connection was cut".to_owned())
            })?;
            if bytes.len() + piece.len() > max {
                return Err(Problem::TooLarge(max));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    let read = tokio::time::timeout(within, all).await;
    read.map_err(|_| Problem::BodyTimeout(within))??;
    Ok(bytes)
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, given) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    static HELD: AtomicUsize = AtomicUsize::new(0);

    /// One byte in a buffer of 4 KiB, as it is read from the network.
    struct Received(Box<[u8; 4096]>);

    impl Received {
        fn byte(byte: u8) -> Bytes {
            HELD.fetch_add(1, Ordering::Relaxed);
            Bytes::from_owner(Self(Box::new([byte; 4096]))).slice(..1)
        }
    }

    impl AsRef<[u8]> for Received {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    impl Drop for Received {
        fn drop(&mut self) {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_body_in_single_bytes_does_not_keep_the_buffers_it_was_read_into() {
        let text = format!("\"{}\"", "x".repeat(1000));
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        let pieces = futures_util::stream::iter(text.clone().into_bytes()).map(move |byte| {
            let piece = Received::byte(byte);
            seen.fetch_max(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece)
        });
        let body = read(Body::from_stream(pieces), 10_000, Duration::from_secs(60)).await;
        assert_eq!(body.unwrap_or_else(|_| panic!("it is a string")).json(), text);
        let most = most.load(Ordering::Relaxed);
        assert!((1..=2).contains(&most), "{most} buffers were held at once");
    }
}
