//! `/healthz`: whether the server is up; and, for operators, some counters. `/readyz`: whether it can add messages.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    engine::{NotReady, Usage},
    hub::Hub,
    metrics::Metrics,
    socket::{DrainState, Sockets},
};

/// How long the engine may take for a round trip. Load balancers and init systems ask every few seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

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

/// The same with some counters; `/metrics` has all.
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

/// The answer for operators has the reason, which may name files.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// 200 with `"status":"ready"` if a message would be added now, by a round trip to the engine; otherwise 503 with
/// `"not ready"` or `"draining"`.
pub(crate) async fn readiness(State(sockets): State<Sockets>, State(hub): State<Hub>) -> Response {
    let (code, readiness) = ready(&sockets, &hub).await;
    let status = readiness.status;
    (code, [(header::CACHE_CONTROL, "no-store")], Json(Liveness { status })).into_response()
}

/// The same with the reason.
pub(crate) async fn readiness_with_reason(State(sockets): State<Sockets>, State(hub): State<Hub>) -> Response {
    let (code, readiness) = ready(&sockets, &hub).await;
    (code, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn ready(sockets: &Sockets, hub: &Hub) -> (StatusCode, Readiness) {
    let not_ready = |status, reason| (StatusCode::SERVICE_UNAVAILABLE, Readiness { status, reason });
    if sockets.drain_state() != DrainState::Serving {
        return not_ready("draining", None);
    }
    match engine_ready(hub).await {
        Ok(()) => {
            let status = "ready";
            (StatusCode::OK, Readiness { status, reason: None })
        }
        Err(NotReady(reason)) => not_ready("not ready", Some(reason)),
    }
}

/// A round trip to the engine.
pub(super) async fn engine_ready(hub: &Hub) -> Result<(), NotReady> {
    let answer = tokio::time::timeout(READY_TIMEOUT, hub.engine().ready()).await;
    answer.unwrap_or_else(|_| {
        let late = format!("the engine has not answered within {READY_TIMEOUT:?}");
        Err(NotReady(late))
    })
}

fn status(sockets: &Sockets) -> (StatusCode, Liveness) {
    let (code, status) = if sockets.drain_state() != DrainState::Serving {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    (code, Liveness { status })
}
