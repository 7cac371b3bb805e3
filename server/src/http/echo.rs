//! `/echo`: sends back each message, over HTTP and WebSocket at the same address. Of the subprotocols of a client it
//! selects `echo`.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::assets::{self, Assets};
use crate::{
    logging,
    socket::{Message, Sockets, Upgrade},
};

#[derive(Deserialize)]
pub(crate) struct EchoQuery {
    /// Over HTTP: the text to send back; without it the page is served.
    message: Option<String>,
    /// Over WebSocket: appended to every text message.
    #[serde(default)]
    suffix: String,
}

pub(crate) async fn echo(
    upgrade: Option<Upgrade>,
    Query(query): Query<EchoQuery>,
    State(assets): State<Arc<Assets>>,
    State(sockets): State<Sockets>,
    headers: HeaderMap,
) -> Response {
    match (upgrade, query.message) {
        (Some(upgrade), _) => socket(upgrade, query.suffix),
        (None, Some(message)) => readable_by_allowed_pages(message.into_response(), &headers, &sockets),
        (None, None) => assets::respond_with_page(&assets, &headers),
    }
}

fn socket(upgrade: Upgrade, suffix: String) -> Response {
    logging::websocket_accepted("echo");
    upgrade.subprotocols(&["echo"]).on_upgrade(|mut socket| async move {
        // For tests of clients, which may send any frames at any rate; the work of each turn is bounded.
        socket.take_any_rate();
        while let Some(message) = socket.recv().await {
            let answer = match message {
                Message::Text(text) if !suffix.is_empty() => Message::from(format!("{text}{suffix}")),
                message => message,
            };
            if socket.send(answer).await.is_err() {
                break;
            }
        }
    })
}

/// The origins that may open a socket may read the plain answer too
/// ([CORS](https://fetch.spec.whatwg.org/#http-cors-protocol)).
fn readable_by_allowed_pages(mut response: Response, headers: &HeaderMap, sockets: &Sockets) -> Response {
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = headers.get(header::ORIGIN)
        && sockets.options().origins.allows(headers)
    {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}
