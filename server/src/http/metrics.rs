//! `/metrics`, for operators: all counters in the text format of Prometheus.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::health::engine_ready;
use crate::{hub::Hub, metrics::exposition, socket::Sockets};

pub(crate) async fn metrics(State(sockets): State<Sockets>, State(hub): State<Hub>) -> Response {
    let engine_ready = engine_ready(&hub).await.is_ok();
    let (slow_sockets, waiting_bytes) = sockets.waiting().await;
    let state = exposition::State {
        websockets: sockets.count(),
        rooms: hub.rooms(),
        slow_sockets,
        waiting_bytes,
        log: hub.engine().usage(),
        engine_ready,
        drain: sockets.drain_state(),
    };
    match exposition::text(Arc::clone(sockets.metrics()), state) {
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, exposition::CONTENT_TYPE),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
