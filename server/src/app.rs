//! The URL map, and the state of all handlers.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, Request},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use talkback_protocol::{UserName, session::server::ServerOptions};
use tower_http::{
    cors::{AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    addressing::{Addressing, Groups},
    engine::{Engine, NotReady},
    http::{addressed, admin, assets, chat, echo, flood, health, metrics, once, rooms, session},
    hub::Hub,
    limits::Peer,
    names::{self, RoomProblem},
    options::AppOptions,
    socket::Sockets,
};

/// The URL map. It can be nested or merged into another axum application.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/", get(assets::page))
        .route("/index.html", get(assets::page))
        .nest_service("/assets", assets::under_assets(&state.assets))
        .route("/echo", get(echo::echo))
        .route("/once", get(once::once))
        .route("/chat", get(assets::page))
        .route("/chat/", get(assets::page))
        .route("/chat/{room}", get(chat::chat))
        .route("/ws", get(session::session))
        .route("/rooms", post(rooms::publish_many))
        .nest("/rooms/{room}", rooms(&state))
        .route("/users/{user}/messages", post(addressed::to_user))
        .route("/groups/{group}/messages", post(addressed::to_group))
        .route("/flood", get(flood::flood))
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
        .fallback_service(assets::files(&state.assets))
        .layer(axum::middleware::from_fn_with_state(state.clone(), count_request))
        .layer(set_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(set_header(header::REFERRER_POLICY, "same-origin"))
        // Pages of other sites may not hold a handle to this page's window, nor embed anything from this server.
        .layer(set_header(CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .layer(set_header(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .with_state(state)
}

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The URL map for operators, to be served at an address that only they can reach.
pub fn operations(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::readiness_with_reason))
        .route("/metrics", get(metrics::metrics))
        .nest("/admin", admin::routes())
        .with_state(state)
}

/// Limits the rate of requests of each address. Publishing has a key, and counts requests with a wrong key only.
async fn count_request(state: axum::extract::State<AppState>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST
        && let Some(peer) = request.extensions().get::<Peer>()
        && let Err(after) = peer.request()
    {
        state.sockets.metrics().requests_refused.add_one();
        return rooms::Problem::TooManyRequests(after).into_response();
    }
    next.run(request).await
}

/// Rooms over plain HTTP. The same origins may use them as may open a socket.
fn rooms(state: &AppState) -> Router<AppState> {
    let sockets = state.sockets.clone();
    let allowed = AllowOrigin::predicate(move |_, parts| sockets.options().origins.allows(&parts.headers));
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
        ]);
    Router::new()
        .route("/messages", get(rooms::messages).post(rooms::publish))
        .route("/members", get(rooms::members))
        .layer(cors)
}

fn set_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// The state of all handlers. Clones are handles to the same application.
#[derive(Clone)]
pub struct AppState {
    sockets: Sockets,
    hub: Hub,
    session: Arc<ServerOptions>,
    addressing: Addressing,
    rooms: Arc<rooms::RoomsOptions>,
    chat: Arc<chat::Chat>,
    waiting: rooms::Waiting,
    flood: Option<Arc<flood::FloodOptions>>,
    assets: Arc<assets::Assets>,
}

impl AppState {
    /// A new application with its own sockets and rooms, and the engine of the options
    /// ([`AppOptions::open_engine`]).
    ///
    /// # Errors
    /// [`NotReady`] if the engine cannot start, with what to do.
    pub fn open(options: &AppOptions) -> Result<Self, NotReady> {
        Ok(Self::new(options, options.open_engine()?))
    }

    /// A new application with its own sockets and rooms, whose logs are kept by `engine`. It uses all options that are
    /// not about listening, connections and addresses, which [`serve_router`](crate::serve_router) uses.
    #[must_use]
    pub fn new(options: &AppOptions, engine: Arc<dyn Engine>) -> Self {
        let session = ServerOptions {
            check_room: |room| names::room(room).map_err(RoomProblem::refusal),
            ..options.session_options()
        };
        let sockets = Sockets::new(options.socket_options());
        let metrics = Arc::clone(sockets.metrics());
        Self {
            sockets,
            hub: Hub::with_metrics(options.hub_options(), engine, metrics),
            session: Arc::new(session),
            addressing: Addressing::default(),
            rooms: Arc::new(rooms::RoomsOptions::new(options)),
            chat: Arc::new(chat::Chat::new(chat::ChatOptions::new(options))),
            waiting: rooms::Waiting::default(),
            flood: flood::FloodOptions::new(options).map(Arc::new),
            assets: Arc::new(assets::Assets::new(options.assets.clone())),
        }
    }

    /// Says which groups users belong to, so that a back end can address them: with
    /// [`AppOptions::address_users`], each session that asks for it gets what is published to
    /// `/groups/{group}/messages`, or with [`Hub::publish`] to [`GroupName::room`](names::GroupName::room).
    ///
    /// They are asked for when a session begins. When they change, call [`groups_changed`](Self::groups_changed).
    #[must_use]
    pub fn with_groups(self, groups: impl Groups) -> Self {
        Self {
            addressing: Addressing::with(groups),
            ..self
        }
    }

    /// Lets the sessions of a user on this server reconnect, so that they are asked for their groups again. They miss
    /// nothing of what stays addressed to them. Returns how many they are.
    pub fn groups_changed(&self, user: &UserName) -> usize {
        self.hub.reconnect_members(&names::user_room(user))
    }

    /// All live sockets.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// All rooms.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The number of HTTP requests that wait for a message (`?wait=`).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.count()
    }
}

impl FromRef<AppState> for Sockets {
    fn from_ref(app: &AppState) -> Self {
        app.sockets.clone()
    }
}

impl FromRef<AppState> for Hub {
    fn from_ref(app: &AppState) -> Self {
        app.hub.clone()
    }
}

impl FromRef<AppState> for Addressing {
    fn from_ref(app: &AppState) -> Self {
        app.addressing.clone()
    }
}

impl FromRef<AppState> for Arc<assets::Assets> {
    fn from_ref(app: &AppState) -> Self {
        Arc::clone(&app.assets)
    }
}

impl FromRef<AppState> for Arc<ServerOptions> {
    fn from_ref(app: &AppState) -> Self {
        Arc::clone(&app.session)
    }
}

impl FromRef<AppState> for Arc<rooms::RoomsOptions> {
    fn from_ref(app: &AppState) -> Self {
        Arc::clone(&app.rooms)
    }
}

impl FromRef<AppState> for Arc<chat::Chat> {
    fn from_ref(app: &AppState) -> Self {
        Arc::clone(&app.chat)
    }
}

impl FromRef<AppState> for rooms::Waiting {
    fn from_ref(app: &AppState) -> Self {
        app.waiting.clone()
    }
}

impl FromRef<AppState> for Option<Arc<flood::FloodOptions>> {
    fn from_ref(app: &AppState) -> Self {
        app.flood.clone()
    }
}
