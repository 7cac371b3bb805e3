//! All metrics in the text format of Prometheus.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{CLOSE_CODES, LATENCY_BOUNDS, Metrics, REFUSAL_CODES};
use crate::{engine::Usage, socket::DrainState};

/// The media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is read from other parts of the server when the metrics are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) websockets: usize,
    pub(crate) rooms: usize,
    /// Sockets for which bytes wait, and how many bytes.
    pub(crate) slow_sockets: usize,
    pub(crate) waiting_bytes: usize,
    pub(crate) log: Usage,
    pub(crate) engine_ready: bool,
    pub(crate) drain: DrainState,
}

/// The metrics as text.
///
/// # Errors
/// None: a text takes any number of bytes.
pub(crate) fn text(metrics: Arc<Metrics>, state: State) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("talkback");
    registry.register_collector(Box::new(Exposition { metrics, state }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition {
    metrics: Arc<Metrics>,
    state: State,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let (metrics, state) = (&*self.metrics, &self.state);
        out.gauge("connections", "Open TCP connections", count(metrics.connections.get()))?;
        out.gauge("websockets", "Open WebSockets", state.websockets)?;
        let ended = metrics.sessions_ended.get();
        let sessions = metrics.sessions_opened.get().saturating_sub(ended);
        out.gauge("sessions", "Open sessions of talkback.v1", sessions)?;
        out.gauge("rooms", "Rooms with members on this server", state.rooms)?;
        out.gauge("members", "Members of all rooms", count(metrics.members.get()))?;
        out.counter(
            "websockets_opened",
            "WebSockets that were opened",
            metrics.sockets_opened.get(),
        )?;
        out.counter(
            "sessions_opened",
            "Sessions that were opened",
            metrics.sessions_opened.get(),
        )?;
        let help = "Messages and withdrawals that were given to the log";
        out.counter("messages_received", help, metrics.messages_received.get())?;
        let help = "Messages given to sockets of members, once for each member";
        out.counter("messages_delivered", help, metrics.messages_delivered.get())?;
        out.counter("acks", "Messages that the log acknowledged", metrics.acks.get())?;
        let known = REFUSAL_CODES.into_iter().zip(metrics.nacks.known());
        let codes = known.chain([("other", metrics.nacks.others())]);
        let codes = codes.map(|(code, counter)| (code.to_owned(), counter.get()));
        out.counters("nacks", "Messages that were refused", "code", codes)?;
        let help = "Messages whose outcome the log has forgotten";
        out.counter("forgotten", help, metrics.forgotten.get())?;
        out.latencies(metrics)?;
        let help = "Messages that were given to the log and are not answered";
        out.gauge("appends_waiting", help, metrics.appends_waiting())?;

        let help = "Rooms whose messages an operator deleted";
        out.counter("deleted_rooms", help, metrics.deleted_rooms.get())?;
        let help = "Messages that an operator deleted, with their rooms or those of a user";
        out.counter("deleted_messages", help, metrics.deleted_messages.get())?;

        let known = CLOSE_CODES.into_iter().zip(metrics.closes.known());
        let codes = known.map(|(code, counter)| (code.to_string(), counter.get()));
        let codes = codes.chain([("other".to_owned(), metrics.closes.others().get())]);
        out.counters("closes", "WebSockets that ended", "code", codes)?;
        let help = "WebSockets whose client has not taken all that was sent to it";
        out.gauge("slow_websockets", help, state.slow_sockets)?;
        let help = "Bytes that wait in the send queues of all WebSockets";
        out.gauge("send_queue_bytes", help, state.waiting_bytes)?;
        let reasons = [
            ("queue_full", &metrics.closed_too_slow),
            ("stalled", &metrics.closed_stalled),
            ("heartbeat", &metrics.closed_heartbeat_lost),
            ("too_many_frames", &metrics.closed_too_many_frames),
        ];
        let reasons = reasons.map(|(reason, counter)| (reason.to_owned(), counter.get()));
        out.counters(
            "gave_up",
            "WebSockets that were closed because of their client",
            "reason",
            reasons,
        )?;
        let reasons = [
            ("full", &metrics.connections_refused),
            ("address", &metrics.addresses_refused),
            ("request_rate", &metrics.requests_refused),
            ("host", &metrics.hosts_refused),
            ("origin", &metrics.origins_refused),
            ("answer_bytes", &metrics.answers_refused),
        ];
        let reasons = reasons.map(|(reason, counter)| (reason.to_owned(), counter.get()));
        out.counters(
            "refused",
            "Connections and requests that were refused",
            "reason",
            reasons,
        )?;
        let help = "Handlers that panicked";
        out.counter("handler_panics", help, metrics.handler_panics.get())?;

        let log = &state.log;
        out.gauge("log_rooms", "Rooms in the log", log.rooms)?;
        out.gauge("log_messages", "Messages in the log", log.messages)?;
        out.gauge("log_bytes", "Bytes of messages in the log", log.bytes)?;
        out.gauge(
            "log_clients",
            "Clients that the log remembers, once for each room",
            log.clients,
        )?;
        out.gauge("log_requests", "Idempotency-Keys that the log remembers", log.requests)?;
        out.counter("log_added", "Messages added to the log", log.added)?;
        out.counter("log_duplicates", "Resends of added messages", log.duplicates)?;
        out.counter("log_commits", "Commits of the engine", log.commits)?;
        let help = "1 if a message would be stored now";
        out.gauge("engine_ready", help, u64::from(state.engine_ready))?;
        let help = "0: serving; 1: the stop was announced, see --drain-delay; 2: sockets are being closed";
        out.gauge("drain_state", help, state.drain as u64)
    }
}

/// A gauge that was read between an increase and a decrease may be negative for a moment.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<u64>) -> fmt::Result {
        let gauge = ConstGauge::new(value.try_into().unwrap_or(u64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// A counter with one label.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            let labels = [(label, value.as_str())];
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn latencies(&mut self, metrics: &Metrics) -> fmt::Result {
        let help = "Seconds from giving a message to the log until its answer";
        let name = "append_seconds";
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        #[expect(clippy::cast_precision_loss, reason = "bounds of seconds")]
        let seconds = LATENCY_BOUNDS.map(|micros| micros as f64 / 1e6);
        let bounds = seconds.into_iter().chain([f64::INFINITY]);
        let counts = metrics.append_latency.ranges().iter().map(super::Counter::get);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let all = buckets.iter().map(|(_, count)| count).sum();
        let sum = metrics.append_latency.sum().as_secs_f64();
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, all, &buckets, None)
    }
}
