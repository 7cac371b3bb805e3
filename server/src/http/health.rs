//! `/healthz`: whether the server is up; and, for operators, all counters.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{app::AppState, engine::Usage, metrics::Metrics};

/// The public part.
#[derive(Serialize)]
struct Liveness {
    status: &'static str,
}

/// The answer for operators.
#[derive(Serialize)]
struct Health<'a> {
    #[serde(flatten)]
    liveness: Liveness,
    sockets: usize,
    /// The number of sessions among `sockets`.
    sessions: u64,
    /// Rooms with members.
    rooms: usize,
    log: Usage,
    #[serde(flatten)]
    metrics: &'a Metrics,
}

/// 200 with `"status":"ok"`, or 503 with `"status":"draining"` once the server is stopping, so that load balancers choose another server.
pub(crate) async fn liveness(State(app): State<AppState>) -> Response {
    let (code, liveness) = look(&app);
    (code, [(header::CACHE_CONTROL, "no-store")], Json(liveness)).into_response()
}

/// The same with all counters.
pub(crate) async fn health(State(app): State<AppState>) -> Response {
    let (code, liveness) = look(&app);
    let metrics = app.sockets().metrics();
    let health = Health {
        liveness,
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

fn look(app: &AppState) -> (StatusCode, Liveness) {
    let (code, status) = if app.sockets().is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    (code, Liveness { status })
}
