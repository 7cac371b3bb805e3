//! `/healthz`: whether the server lives, and what it has seen.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{app::AppState, metrics::Metrics};

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    sockets: usize,
    rooms: usize,
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
    let health = Health {
        status,
        sockets: app.sockets().count(),
        rooms: app.hub().rooms(),
        metrics: app.sockets().metrics(),
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(health)).into_response()
}
