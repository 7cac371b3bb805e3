//! `/healthz`: whether the server is up; and, for operators, all counters.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{engine::Usage, hub::Hub, metrics::Metrics, socket::Sockets};

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

/// 200 with `"status":"ok"`, or 503 with `"status":"draining"` once the server is stopping, so that load balancers
/// choose another server.
pub(crate) async fn liveness(State(sockets): State<Sockets>) -> Response {
    let (code, liveness) = status(&sockets);
    (code, [(header::CACHE_CONTROL, "no-store")], Json(liveness)).into_response()
}

/// The same with all counters.
pub(crate) async fn health(State(sockets): State<Sockets>, State(hub): State<Hub>) -> Response {
    let (code, liveness) = status(&sockets);
    let metrics = sockets.metrics();
    let health = Health {
        liveness,
        sockets: sockets.count(),
        sessions: metrics
            .sessions_opened
            .get()
            .saturating_sub(metrics.sessions_ended.get()),
        rooms: hub.rooms(),
        log: hub.engine().usage(),
        metrics,
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(health)).into_response()
}

fn status(sockets: &Sockets) -> (StatusCode, Liveness) {
    let (code, status) = if sockets.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    (code, Liveness { status })
}
