//! `/flood?n=&rate=&size=&kind=`: numbered messages for load tests. WebSocket only, and only with `--flood`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use crate::{
    logging,
    options::AppOptions,
    socket::{Message, Upgrade},
};

/// Digits of the largest number.
const LONGEST_NUMBER: usize = 10;
/// The messages that are due are sent at this interval.
const STEP: Duration = Duration::from_millis(5);

/// The limits of one request.
#[derive(Clone, Debug)]
pub(crate) struct FloodOptions {
    messages: u32,
    /// Messages a second.
    rate: u32,
    /// Bytes of one message.
    message_size: usize,
    /// Bytes of all messages.
    bytes: usize,
}

impl FloodOptions {
    /// `None` without `--flood`.
    pub(crate) fn new(options: &AppOptions) -> Option<Self> {
        options.flood.then_some(Self {
            messages: options.flood_messages,
            rate: options.flood_rate,
            message_size: options.flood_message_size,
            bytes: options.flood_bytes,
        })
    }
}

#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct FloodQuery {
    /// The number of messages, which are numbered from 0.
    n: u32,
    /// Messages a second; 0 is as fast as the client receives them, up to the maximum rate.
    rate: u32,
    /// The size of each message in bytes; a longer number is not truncated.
    size: usize,
    kind: FloodKind,
}

/// What the messages are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum FloodKind {
    /// The number, padded with spaces.
    #[default]
    Text,
    /// An object with the number and a text.
    Json,
    /// The bytes of the text, as a binary message.
    Binary,
}

impl Default for FloodQuery {
    fn default() -> Self {
        Self {
            n: 1000,
            rate: 0,
            size: 64,
            kind: FloodKind::default(),
        }
    }
}

impl FloodQuery {
    /// Checks the request against the limits. The error names the option that it exceeds.
    fn within(self, options: &FloodOptions) -> Result<Self, String> {
        let FloodOptions {
            messages,
            rate,
            message_size,
            bytes,
        } = options;
        let size = self.size.max(LONGEST_NUMBER);
        let total = usize::try_from(self.n).ok().and_then(|n| n.checked_mul(size));
        if self.n > *messages {
            Err(format!("n must be at most {messages} (--flood-messages)\n"))
        } else if self.rate > *rate {
            Err(format!(
                "rate must be at most {rate} messages a second (--flood-rate)\n"
            ))
        } else if self.size > *message_size {
            Err(format!(
                "size must be at most {message_size} bytes (--flood-message-size)\n"
            ))
        } else if total.is_none_or(|total| total > *bytes) {
            Err(format!(
                "n messages of this size have more than {bytes} bytes (--flood-bytes)\n"
            ))
        } else {
            let rate = if self.rate == 0 { *rate } else { self.rate };
            Ok(Self { rate, ..self })
        }
    }

    /// The message with this number.
    fn message(&self, number: u32) -> Message {
        match self.kind {
            FloodKind::Text => self.text(number).into(),
            FloodKind::Binary => self.text(number).into_bytes().into(),
            FloodKind::Json => self.json(number).into(),
        }
    }

    /// The number, padded with spaces to the size.
    fn text(&self, number: u32) -> String {
        let mut text = number.to_string();
        let padding = self.size.saturating_sub(text.len());
        text.extend(std::iter::repeat_n(' ', padding));
        text
    }

    /// `{"n":12,"text":"..."}`, where the text makes it as long as the size.
    fn json(&self, number: u32) -> String {
        const END: &str = "\"}";
        let mut text = format!("{{\"n\":{number},\"text\":\"");
        let padding = self.size.saturating_sub(text.len() + END.len());
        text.extend(std::iter::repeat_n('x', padding));
        text + END
    }
}

pub(crate) async fn flood(
    upgrade: Upgrade,
    Query(query): Query<FloodQuery>,
    State(options): State<Option<Arc<FloodOptions>>>,
) -> Response {
    let Some(options) = options else {
        let why = "this server sends no test traffic: start it with --flood to enable it\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let query = match query.within(&options) {
        Ok(query) => query,
        Err(rule) => return (StatusCode::BAD_REQUEST, rule).into_response(),
    };
    logging::websocket_accepted("flood");
    upgrade.on_upgrade(move |socket| async move {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = tokio::time::Instant::now();
        let mut sent = 0;
        while sent < query.n {
            step.tick().await;
            let due = started.elapsed().as_micros() * u128::from(query.rate) / 1_000_000;
            let due = u32::try_from(due).map_or(query.n, |due| query.n.min(due.saturating_add(1)));
            while sent < due {
                if socket.send(query.message(sent)).await.is_err() {
                    return;
                }
                sent += 1;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: FloodOptions = FloodOptions {
        messages: 10,
        rate: 100,
        message_size: 100_000,
        bytes: 500_000,
    };

    fn query(n: u32, rate: u32, size: usize) -> FloodQuery {
        FloodQuery {
            n,
            rate,
            size,
            kind: FloodKind::Text,
        }
    }

    #[test]
    fn an_error_names_the_exceeded_option_and_rate_0_is_the_maximum() {
        for (asked, option) in [
            (query(11, 0, 1), "--flood-messages"),
            (query(1, 101, 1), "--flood-rate"),
            (query(1, 0, 100_001), "--flood-message-size"),
            (query(6, 0, 100_000), "--flood-bytes"),
            (query(u32::MAX, 0, usize::MAX), "--flood-messages"),
        ] {
            let rule = asked.within(&OPTIONS).err().unwrap();
            assert!(rule.contains(option), "{rule}");
        }
        assert_eq!(query(5, 0, 100_000).within(&OPTIONS).unwrap().rate, 100);
        assert_eq!(query(5, 7, 100_000).within(&OPTIONS).unwrap().rate, 7);
    }

    #[test]
    fn a_text_has_the_requested_size_and_its_number_is_never_truncated() {
        for size in [0, 1, 65_535, 65_536, 1_000_000] {
            let text = query(1, 0, size).text(12);
            assert_eq!((text.len(), text.trim_end()), (size.max(2), "12"));
        }
    }

    #[test]
    fn an_object_has_the_requested_size_and_its_number() {
        for size in [0, 64, 65_536] {
            let text = query(1, 0, size).json(12);
            assert_eq!(text.len(), size.max(r#"{"n":12,"text":""}"#.len()));
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(object["n"], 12);
        }
    }
}
