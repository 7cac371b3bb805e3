//! The names of subprotocols in the opening handshake.

/// Whether this may be the name of a subprotocol: a token of HTTP ([RFC 6455, section
/// 4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1), item 10; [RFC 9110, section
/// 5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)).
#[must_use]
pub fn is_token(name: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
}
