//! How both halves of the session and the client crate log what they decide: through the `log` crate, with the feature
//! `trace`. No line has a body, a user name, a token, a key or the name of a room.

/// Logs one line of the half `client` or `server`: `log_line!(client, debug, "room {}: joined", number)`. The half is
/// the end of the target (`talkback::client`), the level a macro of `log`. The arguments are evaluated only when a
/// logger takes lines of this level.
#[cfg(feature = "trace")]
#[doc(hidden)]
#[macro_export]
macro_rules! log_line {
    ($half:ident, $level:ident, $($message:tt)+) => {
        $crate::log::$level!(target: concat!("talkback::", stringify!($half)), $($message)+)
    };
}

/// Without the feature `trace`, the arguments are type-checked and nothing is compiled from them.
#[cfg(not(feature = "trace"))]
#[doc(hidden)]
#[macro_export]
macro_rules! log_line {
    ($half:ident, $level:ident, $($message:tt)+) => {
        if false {
            let _ = format_args!($($message)+);
        }
    };
}
