//! Close codes: [RFC 6455, section 7.4](https://www.rfc-editor.org/rfc/rfc6455#section-7.4) and Talkback's own range.
//!
//! | code | sent by Talkback when | client reconnects |
//! |---|---|---|
//! | [`NORMAL`] | the client has finished | no; yes if it did not close itself: proxies close with 1000 too |
//! | [`GOING_AWAY`] | the server stops, or the page goes away | yes |
//! | [`MESSAGE_TOO_BIG`] | a message is over the limit of the receiver | yes |
//! | [`SERVICE_RESTART`], [`TRY_AGAIN_LATER`] | the server asks the client to come back later | yes, after the pause in the reason |
//! | [`BAD_LINE`], [`FORBIDDEN`], [`NO_SUCH_ROOM`], [`WRONG_VERSION`] | trying again cannot help | no |
//! | [`UNAUTHORIZED`] | the token is missing or expired | yes, with a new token |
//! | [`HEARTBEAT_LOST`] | nothing was heard for too long | yes |
//! | [`TOO_SLOW`] | a member's outbound queue is full | yes |
//! | [`TOO_MANY`] | a rate or count limit is reached | yes, after a pause |

use std::time::Duration;

/// The normal end of a connection.
pub const NORMAL: u16 = 1000;
/// The server stops, or the user leaves the page.
pub const GOING_AWAY: u16 = 1001;
/// A frame violates RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data (for instance binary) that the endpoint does not accept.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// Never sent: the peer's close frame had no code.
pub const NO_STATUS: u16 = 1005;
/// Never sent: the connection ended without a close frame.
pub const ABNORMAL: u16 = 1006;
/// A text message that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A violation of a rule of the endpoint that has no code of its own.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message over the receiver's limit.
pub const MESSAGE_TOO_BIG: u16 = 1009;
/// The client needed an extension that the server did not offer.
pub const MANDATORY_EXTENSION: u16 = 1010;
/// An internal error of the server.
pub const INTERNAL_ERROR: u16 = 1011;
/// The server restarts; the client reconnects.
pub const SERVICE_RESTART: u16 = 1012;
/// The server is overloaded; the client reconnects later.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// A gateway got an invalid response from the upstream server.
pub const BAD_GATEWAY: u16 = 1014;
/// Never sent: the TLS handshake failed.
pub const TLS_HANDSHAKE: u16 = 1015;
/// A malformed line, or a line that is not allowed at this time; final.
pub const BAD_LINE: u16 = 4400;
/// The token is missing, invalid or expired; the client reconnects with a new one.
pub const UNAUTHORIZED: u16 = 4401;
/// The user may not do this; final.
pub const FORBIDDEN: u16 = 4403;
/// The room does not exist and may not be created; final.
pub const NO_SUCH_ROOM: u16 = 4404;
/// The heartbeat timeout: nothing was received from the peer in time.
pub const HEARTBEAT_LOST: u16 = 4408;
/// The member did not read its messages fast enough, and its outbound queue is full.
pub const TOO_SLOW: u16 = 4413;
/// Client and server have no version of the protocol in common; final.
pub const WRONG_VERSION: u16 = 4426;
/// A rate or count limit was reached.
pub const TOO_MANY: u16 = 4429;

/// The longest reason a close frame can carry, in bytes of UTF-8: a control frame holds 125 bytes and the code takes
/// two ([RFC 6455, section 5.5](https://www.rfc-editor.org/rfc/rfc6455#section-5.5)).
pub const MAX_REASON_BYTES: usize = 123;

/// A close code or reason that may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The code belongs to the protocol, not to applications
    /// ([WHATWG WebSockets, `close()`](https://websockets.spec.whatwg.org/#dom-websocket-close)).
    #[error("close code {0} may not be sent by an application: use 1000 or 3000 to 4999")]
    Code(u16),
    /// The reason does not fit into a close frame.
    #[error("the close reason has {0} bytes of UTF-8: at most {MAX_REASON_BYTES} fit into a close frame")]
    ReasonTooLong(usize),
}

/// Checks that an application may send this code: 1000, or 3000 to 4999.
///
/// # Errors
/// [`CloseError::Code`] for every other code, including those that only a browser or server may report, like 1006.
pub fn check_code(code: u16) -> Result<(), CloseError> {
    match code {
        NORMAL | 3000..=4999 => Ok(()),
        _ => Err(CloseError::Code(code)),
    }
}

/// Checks that a reason fits into a close frame. The limit counts bytes, so 41 Chinese characters are the most.
///
/// # Errors
/// [`CloseError::ReasonTooLong`] with the length in bytes.
pub fn check_reason(reason: &str) -> Result<(), CloseError> {
    if reason.len() <= MAX_REASON_BYTES {
        Ok(())
    } else {
        Err(CloseError::ReasonTooLong(reason.len()))
    }
}

/// The longest beginning of a reason that fits into a close frame.
#[must_use]
pub fn fit_reason(reason: &str) -> &str {
    // Without the panic of an index, which links how a text is shown in it.
    reason
        .get(..reason.floor_char_boundary(MAX_REASON_BYTES))
        .unwrap_or_default()
}

/// A close reason with the time after which the client may reconnect: `{"retry_after_ms":n}`.
#[must_use]
pub fn retry_after_reason(retry_after: Duration) -> String {
    format!("{{\"retry_after_ms\":{}}}", retry_after.as_millis())
}

/// Reads [`retry_after_reason`]; `None` if the reason is anything else.
#[cfg(feature = "session")]
#[must_use]
pub fn retry_after(reason: &str) -> Option<Duration> {
    #[derive(serde::Deserialize)]
    struct Reason {
        retry_after_ms: u64,
    }
    let reason: Reason = serde_json::from_str(reason).ok()?;
    Some(Duration::from_millis(reason.retry_after_ms))
}

/// Whether a client must not reconnect, because the same request would be refused again. [`NORMAL`] is not final: a
/// client that did not close itself was disconnected by a proxy.
#[must_use]
pub fn is_final(code: u16) -> bool {
    matches!(code, BAD_LINE | FORBIDDEN | NO_SUCH_ROOM | WRONG_VERSION)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn applications_may_send_1000_and_3000_to_4999_only() {
        for code in [1000, 3000, 3999, 4000, 4999] {
            assert_eq!(check_code(code), Ok(()), "{code}");
        }
        for code in [0, 999, 1001, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(check_code(code), Err(CloseError::Code(code)));
        }
    }

    #[test]
    fn a_reason_is_measured_in_bytes_not_characters() {
        assert_eq!(check_reason(&"a".repeat(123)), Ok(()));
        assert_eq!(check_reason(&"好".repeat(41)), Ok(()));
        assert_eq!(check_reason(&"好".repeat(42)), Err(CloseError::ReasonTooLong(126)));
    }

    #[test]
    fn retry_after_is_read_from_the_reason() {
        let reason = retry_after_reason(Duration::from_millis(1500));
        assert_eq!(reason, r#"{"retry_after_ms":1500}"#);
        assert_eq!(retry_after(&reason), Some(Duration::from_millis(1500)));
        for other in ["", "later", "{}", r#"{"retry_after_ms":-1}"#, "[1]5"] {
            assert_eq!(retry_after(other), None, "{other}");
        }
        assert_eq!(fit_reason(&"好".repeat(42)).len(), 123);
    }

    #[test]
    fn final_codes_are_those_where_a_retry_cannot_help() {
        assert!([4400, 4403, 4404, 4426].into_iter().all(is_final));
        assert!(
            ![1000, 1001, 1006, 1009, 1012, 1013, 4401, 4408, 4413, 4429]
                .into_iter()
                .any(is_final)
        );
    }
}
