use std::time::Duration;

use super::error::ConnectError;

/// What to ask of the server and the bounds of the socket. `Options::default()` asks for nothing special.
///
/// ```
/// use talkback_client::Options;
///
/// let options = Options { protocols: vec!["chat".into()], ..Options::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The subprotocols to offer, the preferred one first; the server chooses at most one, see
    /// [`Socket::protocol`](crate::Socket::protocol). Each is a token without spaces and none is repeated.
    pub protocols: Vec<String>,
    /// How binary messages arrive.
    pub binary_type: BinaryType,
    /// How long the opening handshake may take. `None` leaves it to the browser, which may wait for minutes.
    pub timeout: Option<Duration>,
    /// Gives up the opening handshake when it fires; afterwards it has no effect.
    pub abort: Option<web_sys::AbortSignal>,
    /// The bounds of received messages that nobody has read yet.
    pub inbound: Inbound,
    /// The bounds of sent messages that the browser has not handed to the network yet.
    pub outbound: Outbound,
}

/// How a binary message arrives: [`binaryType`](https://websockets.spec.whatwg.org/#dom-websocket-binarytype).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinaryType {
    /// As [`Message::Binary`](crate::Message::Binary), whole and in memory. The standard's own default is [`BinaryType::Blob`].
    #[default]
    ArrayBuffer,
    /// As [`Message::Blob`](crate::Message::Blob), which the browser may keep on disk and which is read asynchronously.
    Blob,
}

impl From<BinaryType> for web_sys::BinaryType {
    fn from(binary_type: BinaryType) -> Self {
        match binary_type {
            BinaryType::ArrayBuffer => Self::Arraybuffer,
            BinaryType::Blob => Self::Blob,
        }
    }
}

/// The bounds of the queue between the browser and the stream.
///
/// A browser cannot be told to stop receiving, so a page that reads too slowly must either give up the connection or some
/// messages; in both cases the stream says so with [`InboundOverflow`](crate::InboundOverflow).
///
/// Callbacks ([`Socket::on_message`](crate::Socket::on_message)) take each message as it comes and need no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The most messages in the queue, 65,536 by default.
    pub max_messages: usize,
    /// The most bytes in the queue, 64 MiB by default. A text counts two bytes for each UTF-16 unit, the most a browser takes
    /// to hold it; a blob counts its size.
    pub max_bytes: usize,
    /// What happens when the next message does not fit.
    pub overflow: Overflow,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            max_messages: 65_536,
            max_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Close,
        }
    }
}

/// What happens when a received message does not fit into the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The socket is closed with code 4413. The stream yields what was in the queue, then the error, then ends.
    #[default]
    Close,
    /// The oldest messages make room. The stream yields the error in their place and goes on; for pages that want only what is new.
    DropOldest,
}

/// The bounds of [`Socket::buffered_amount`](crate::Socket::buffered_amount), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// A sink that was not ready is ready again at or below this, 256 KiB by default.
    pub low: u32,
    /// The sink is not ready above this, 1 MiB by default.
    pub high: u32,
    /// [`Socket::send`](crate::Socket::send), which does not wait, refuses messages above this, 64 MiB by default. One message
    /// may pass the bound, as its size in UTF-8 is known to the browser only.
    pub max: u32,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            low: 256 * 1024,
            high: 1024 * 1024,
            max: 64 * 1024 * 1024,
        }
    }
}

/// Checks what the browser would refuse: each subprotocol is a token and occurs once
/// ([RFC 6455, section 4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1), item 10).
pub(super) fn check_protocols(protocols: &[String]) -> Result<(), ConnectError> {
    for (index, name) in protocols.iter().enumerate() {
        let repeated = protocols[..index].contains(name);
        if repeated || !is_token(name) {
            return Err(ConnectError::Subprotocol {
                name: name.clone(),
                repeated,
            });
        }
    }
    Ok(())
}

/// Whether the server's choice is one of those offered, or none if none was, which the
/// [standard](https://websockets.spec.whatwg.org/#concept-websocket-establish) demands and Firefox does not check.
pub(super) fn is_agreed(offered: &[String], chosen: &str) -> bool {
    if chosen.is_empty() {
        offered.is_empty()
    } else {
        offered.iter().any(|name| name == chosen)
    }
}

/// Whether this is a token of HTTP: [RFC 9110, section 5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2).
fn is_token(name: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// The milliseconds for `setTimeout`, rounded up; beyond 24.8 days it would count as zero.
pub(super) fn timeout_millis(timeout: Duration) -> u32 {
    const MOST: u32 = i32::MAX.unsigned_abs();
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Option<(String, bool)> {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        match check_protocols(&names) {
            Ok(()) => None,
            Err(ConnectError::Subprotocol { name, repeated }) => Some((name, repeated)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn subprotocols_are_tokens() {
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&["chat", "talkback.v1", "a!#$%&'*+-.^_`|~9"]), None);
        for bad in ["", " ", "a b", "a,b", "a;q=1", "a/b", "\"a\"", "聊天", "a\n", "a\u{7f}"] {
            assert_eq!(refused(&["chat", bad]), Some((bad.into(), false)));
        }
    }

    /// Several subprotocols joined into one string ("a, b") are what several crates pass on; the browser throws a SyntaxError.
    #[test]
    fn joined_subprotocols_are_refused_by_name() {
        assert_eq!(refused(&["a, b"]), Some(("a, b".into(), false)));
    }

    #[test]
    fn a_repeated_subprotocol_is_refused_by_name() {
        assert_eq!(refused(&["a", "b", "a"]), Some(("a".into(), true)));
        assert_eq!(refused(&["a", "A"]), None, "subprotocols are compared as they are");
    }

    #[test]
    fn the_servers_choice_must_be_one_that_was_offered() {
        let offered = ["a".to_owned(), "b".to_owned()];
        assert!(is_agreed(&offered, "b"));
        assert!(is_agreed(&[], ""));
        for chosen in ["", "c", "A", "a, b"] {
            assert!(!is_agreed(&offered, chosen), "{chosen}");
        }
        assert!(!is_agreed(&[], "a"));
    }

    #[test]
    fn timeouts_are_rounded_up_and_never_wrap_around() {
        assert_eq!(timeout_millis(Duration::ZERO), 0);
        assert_eq!(timeout_millis(Duration::from_nanos(1)), 1);
        assert_eq!(timeout_millis(Duration::from_millis(1500)), 1500);
        assert_eq!(timeout_millis(Duration::MAX), 2_147_483_647);
    }
}
