//! Trace events of both halves, through the facade of the `log` crate. No event has a body, a user name, a token, a key
//! or the name of a room: an event names a room by a number of its connection.

/// Logs one decision of a session at the level trace: `trace_event!(TARGET, "pause of {} ms", pause.as_millis())`. The
/// arguments are evaluated only when a logger takes the event. Without the feature `trace` they are type-checked and
/// nothing is compiled from them.
macro_rules! trace_event {
    ($target:expr, $($message:tt)+) => {{
        #[cfg(feature = "trace")]
        log::trace!(target: $target, $($message)+);
        #[cfg(not(feature = "trace"))]
        if false {
            let _ = $target;
            let _ = format_args!($($message)+);
        }
    }};
}
pub(crate) use trace_event;
