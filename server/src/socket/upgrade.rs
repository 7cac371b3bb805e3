//! From an HTTP request to a socket: the opening handshake of [RFC 6455, section
//! 4.2](https://www.rfc-editor.org/rfc/rfc6455#section-4.2).

use std::future::Future;

use axum::{
    extract::{FromRef, FromRequestParts, MatchedPath, OptionalFromRequestParts},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::future::{self, FutureExt, OptionFuture};
use hyper::upgrade::OnUpgrade;
use talkback_protocol::subprotocol::is_token;
use tracing::Instrument;
use tungstenite::handshake::derive_accept_key;

use super::{Socket, Sockets, io::Transport, shared::SharedSocket, task::SocketTask};
use crate::limits::ConnectionPermit;

/// The most names that `Sec-WebSocket-Protocol` may have.
const MAX_SUBPROTOCOLS: usize = 16;

/// A request for a WebSocket that passed all checks of the opening handshake.
///
/// As an extractor:
/// - `upgrade: Upgrade` serves WebSockets only: a plain HTTP request is answered with 426;
/// - `upgrade: Option<Upgrade>` serves HTTP and WebSockets in one handler: `None` is a plain HTTP request.
///
/// In both, a malformed or refused handshake is answered with the status of its [`UpgradeError`].
///
/// ```
/// use axum::{Router, response::{IntoResponse, Response}, routing::get};
/// use talkback_server::socket::{Sockets, Upgrade};
///
/// async fn shout(upgrade: Option<Upgrade>) -> Response {
///     let Some(upgrade) = upgrade else {
///         return "this route serves WebSockets".into_response();
///     };
///     upgrade.subprotocols(&["shout"]).on_upgrade(|mut socket| async move {
///         while let Some(message) = socket.recv().await {
///             let text = message.as_text().unwrap_or_default().to_uppercase();
///             if socket.send(text).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
///
/// let router: Router = Router::new().route("/shout", get(shout)).with_state(Sockets::new(Default::default()));
/// ```
#[must_use = "the client waits for the response of `on_upgrade`"]
pub struct Upgrade {
    accept: HeaderValue,
    offered: Vec<String>,
    chosen: Option<HeaderValue>,
    on_upgrade: OnUpgrade,
    path: Box<str>,
    sockets: Sockets,
    permit: Option<ConnectionPermit>,
    finish: bool,
}

impl Upgrade {
    /// The subprotocols that the client offered, in its order of preference.
    #[must_use]
    pub fn offered_subprotocols(&self) -> &[String] {
        &self.offered
    }

    /// Chooses the first of `supported` that the client offered.
    ///
    /// If there is none, the response names none, and a browser then fails the connection
    /// ([RFC 6455, section 4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1)).
    pub fn subprotocols(mut self, supported: &[&str]) -> Self {
        let common = supported
            .iter()
            .find(|name| self.offered.iter().any(|offer| offer == *name));
        self.chosen = common.and_then(|name| HeaderValue::from_str(name).ok());
        self
    }

    /// The subprotocol that the response names; `None` before [`subprotocols`](Self::subprotocols) finds one.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.chosen.as_ref()?.to_str().ok()
    }

    /// Lets the handler run to its own end when the client is gone, even while it waits for something other than its
    /// socket.
    ///
    /// Without this such a handler is dropped as soon as the socket closes, at its current `.await`.
    pub fn finish_handler(mut self) -> Self {
        self.finish = true;
        self
    }

    /// Accepts the request. Returns the response; `handler` runs on a task of its own, in the current `tracing` span,
    /// once the client has the response.
    ///
    /// When the handler ends, the socket is closed with 1000; when it panics, with 1011. When the client closes first,
    /// a handler that waits for its socket gets the end from it, and one that waits for something else is dropped
    /// ([`finish_handler`](Self::finish_handler) prevents that).
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(Socket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self {
            accept,
            chosen,
            on_upgrade,
            path,
            sockets,
            permit,
            finish,
            ..
        } = self;
        let subprotocol = chosen.as_ref().and_then(|chosen| chosen.to_str().ok()).map(Box::from);
        let start = move |upgraded| {
            let (transport, unread) = Transport::new(upgraded);
            sockets.metrics().sockets_opened.add_one();
            let socket = sockets.register(SharedSocket::new(transport, unread, sockets.clone()), permit);
            let given = Socket::new(socket.clone(), subprotocol);
            // The task calls it, so that a panic in it is one of the handler.
            let handler = Box::pin(future::lazy(|_| handler(given)).flatten());
            SocketTask::new(socket, handler, path, finish)
        };
        // Combinators and no async block: that would hold what only the start needs for as long as the connection
        // lives. There is no connection if the client closed it before it had the response.
        let websocket = on_upgrade.then(|upgraded| OptionFuture::from(upgraded.ok().map(start)));
        // The span of the connection that was upgraded.
        tokio::spawn(websocket.in_current_span());
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(chosen) = chosen {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        response
    }

    fn from_parts(parts: &mut Parts, sockets: Sockets) -> Result<Self, UpgradeError> {
        let headers = &parts.headers;
        if !has_token(headers, &header::UPGRADE, "websocket") {
            return Err(UpgradeError::NotAnUpgrade);
        }
        if parts.method != Method::GET {
            return Err(UpgradeError::MethodNotGet);
        }
        if !has_token(headers, &header::CONNECTION, "upgrade") {
            return Err(UpgradeError::NoConnectionUpgrade);
        }
        if headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(UpgradeError::UnsupportedVersion);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(UpgradeError::NoKey)?;
        if data_encoding::BASE64.decode(key.as_bytes()).map_or(0, |key| key.len()) != 16 {
            return Err(UpgradeError::BadKey);
        }
        if !sockets.options().origins.allows(headers) {
            let origin = headers.get(header::ORIGIN);
            let origin = String::from_utf8_lossy(origin.map_or(b"", |origin| origin.as_bytes())).into_owned();
            let path = parts.extensions.get().map_or("", MatchedPath::as_str);
            tracing::debug!(path, origin, "websocket refused: foreign origin");
            sockets.metrics().origins_refused.add_one();
            return Err(UpgradeError::ForeignOrigin(origin));
        }
        let offered = offered_subprotocols(headers)?;
        if sockets.is_draining() {
            return Err(UpgradeError::Draining);
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| UpgradeError::BadKey)?;
        let on_upgrade = parts.extensions.remove().ok_or(UpgradeError::NotUpgradable)?;
        Ok(Self {
            accept,
            offered,
            chosen: None,
            on_upgrade,
            // For the log: the route, because the address is the client's text.
            path: parts.extensions.get().map_or("", MatchedPath::as_str).into(),
            sockets,
            permit: parts.extensions.get().cloned(),
            finish: false,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade
where
    Sockets: FromRef<S>,
{
    type Rejection = UpgradeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, UpgradeError> {
        Self::from_parts(parts, Sockets::from_ref(state))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Upgrade
where
    Sockets: FromRef<S>,
{
    type Rejection = UpgradeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, UpgradeError> {
        match Self::from_parts(parts, Sockets::from_ref(state)) {
            Ok(upgrade) => Ok(Some(upgrade)),
            Err(UpgradeError::NotAnUpgrade) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Why a request cannot become a socket. As a response each has its status and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// A plain HTTP request to an address that speaks only WebSocket: 426.
    #[error("this address speaks WebSocket only: connect with ws:// or wss://")]
    NotAnUpgrade,
    /// The method is not `GET`: 405.
    #[error("a WebSocket handshake must be a GET request")]
    MethodNotGet,
    /// `Upgrade: websocket` without `Connection: Upgrade`, which some proxies remove: 400.
    #[error("the header `Connection: Upgrade` is missing: a proxy in between must pass it on")]
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Version` is missing or not 13: 426, naming the version
    /// ([RFC 6455, section 4.4](https://www.rfc-editor.org/rfc/rfc6455#section-4.4)).
    #[error("the header `Sec-WebSocket-Version` must be 13")]
    UnsupportedVersion,
    /// `Sec-WebSocket-Key` is missing: 400.
    #[error("the header `Sec-WebSocket-Key` is missing")]
    NoKey,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64: 400.
    #[error("the header `Sec-WebSocket-Key` must be 16 bytes in base64")]
    BadKey,
    /// `Sec-WebSocket-Protocol` has an empty, malformed or repeated name: 400.
    #[error("the header `Sec-WebSocket-Protocol` must be a list of distinct names: {0:?} is not allowed")]
    BadSubprotocol(String),
    /// `Sec-WebSocket-Protocol` has more than 16 names: 400.
    #[error("the header `Sec-WebSocket-Protocol` has more than {MAX_SUBPROTOCOLS} names")]
    TooManySubprotocols,
    /// The origin of the page is not allowed: 403.
    #[error("pages from {0} may not connect: start the server with --allow-origin {0} to let them")]
    ForeignOrigin(String),
    /// HTTP/1.0, or a server that does not support upgrades: 400.
    #[error("this connection cannot be upgraded: use HTTP/1.1")]
    NotUpgradable,
    /// The server is stopping: 503 with `Retry-After`.
    #[error("the server is going away: try again in a moment")]
    Draining,
}

impl UpgradeError {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAnUpgrade | Self::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            Self::MethodNotGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoConnectionUpgrade
            | Self::NoKey
            | Self::BadKey
            | Self::BadSubprotocol(_)
            | Self::TooManySubprotocols
            | Self::NotUpgradable => StatusCode::BAD_REQUEST,
            Self::ForeignOrigin(_) => StatusCode::FORBIDDEN,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let extra: &[(HeaderName, &str)] = match self {
            Self::NotAnUpgrade => &[(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")],
            Self::UnsupportedVersion => &[
                (header::UPGRADE, "websocket"),
                (header::CONNECTION, "Upgrade"),
                (header::SEC_WEBSOCKET_VERSION, "13"),
            ],
            Self::MethodNotGet => &[(header::ALLOW, "GET")],
            Self::Draining => &[(header::RETRY_AFTER, "1")],
            _ => &[],
        };
        for (name, value) in extra {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether a comma-separated header has this token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.to_str().unwrap_or("\u{fffd}").split(',').map(str::trim))
}

fn offered_subprotocols(headers: &HeaderMap) -> Result<Vec<String>, UpgradeError> {
    let mut offered: Vec<String> = Vec::new();
    for name in list(headers, &header::SEC_WEBSOCKET_PROTOCOL) {
        if offered.len() == MAX_SUBPROTOCOLS {
            return Err(UpgradeError::TooManySubprotocols);
        }
        if !is_token(name) || offered.iter().any(|offer| offer == name) {
            return Err(UpgradeError::BadSubprotocol(name.to_owned()));
        }
        offered.push(name.to_owned());
    }
    Ok(offered)
}
