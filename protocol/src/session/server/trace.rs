//! What a server's session logs, with the target `talkback::server`. A room is the number of its subscription.

/// One decision of the session.
macro_rules! trace {
    ($($message:tt)+) => {
        crate::log_line!(server, trace, $($message)+)
    };
}

pub(super) use trace;
