//! `/flood?n=&rate=&size=`: numbered messages for load tests. WebSocket only.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use crate::socket::{Sockets, Upgrade};

/// The most messages one request may ask for.
const MAX_MESSAGES: u32 = 1_000_000;
/// The highest rate, in messages a second.
const MAX_RATE: u32 = 1_000_000;
/// A rate is kept in steps of this length.
const STEP: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct FloodQuery {
    /// How many messages, numbered from 0.
    n: u32,
    /// Messages a second; 0 is as fast as the client takes them.
    rate: u32,
    /// The size of each message in bytes. A number that is longer is sent whole.
    size: usize,
}

impl Default for FloodQuery {
    fn default() -> Self {
        Self {
            n: 1000,
            rate: 0,
            size: 64,
        }
    }
}

pub(crate) async fn flood(
    upgrade: Upgrade,
    Query(query): Query<FloodQuery>,
    State(sockets): State<Sockets>,
) -> Response {
    let max_size = sockets.options().max_message_size;
    if query.n > MAX_MESSAGES || query.rate > MAX_RATE || query.size > max_size {
        let rule = format!("at most n={MAX_MESSAGES}, rate={MAX_RATE} and size={max_size} are allowed\n");
        return (StatusCode::BAD_REQUEST, rule).into_response();
    }
    upgrade.on_upgrade(move |socket| async move {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = tokio::time::Instant::now();
        let mut sent = 0;
        while sent < query.n {
            let due = if query.rate == 0 {
                query.n
            } else {
                step.tick().await;
                let due = started.elapsed().as_micros() * u128::from(query.rate) / 1_000_000;
                u32::try_from(due).map_or(query.n, |due| query.n.min(due + 1))
            };
            while sent < due {
                let text = format!("{sent:<width$}", width = query.size);
                if socket.send(text).await.is_err() {
                    return;
                }
                sent += 1;
            }
        }
    })
}
