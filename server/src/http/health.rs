//! `/healthz`: whether the server lives, and what it has seen.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{app::AppState, engine::Usage, metrics::Metrics};

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    sockets: usize,
    /// Those of them that are sessions.
    sessions: u64,
    /// With members.
    rooms: usize,
    log: Usage,
    #[serde(flatten)]
    metrics: &'a Metrics,
}

/// 200 with `"status":"ok"`, or 503 with `"status":"draining"` once the server is stopping, so that balancers look elsewhere.
pub(crate) async fn healthz(State(app): State<AppState>) -> Response {
    let (code, status) = if app.sockets().is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    let metrics = app.sockets().metrics();
    let health = Health {
        status,
        sockets: app.sockets().count(),
        sessions: metrics
            .sessions_opened
            .get()
            .saturating_sub(metrics.sessions_ended.get()),
        rooms: app.hub().rooms(),
        log: app.hub().engine().usage(),
        metrics,
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(health)).into_response()
}
