//! The secret key of a client, the public id derived from it, message ids, and epochs.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Quoted;

/// A client key that is not 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client key is 32 hexadecimal digits")]
pub struct KeyError;

/// The secret of one client: 128 random bits, kept across reconnects and reloads.
///
/// The log uses it to distinguish resent messages from new ones, so anyone who has it can publish as the client. It is
/// sent to the server in `hello` only; `Debug` does not show it. Only one client may use a key at a time, because the
/// log would take messages of a second one for resends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientKey([u8; 16]);

impl ClientKey {
    /// A key from 16 bytes of a cryptographic random source.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 32 hexadecimal digits, as on the wire. Anyone who has them can publish as this client.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }

    /// The public id of this client, the same on every server: the first 64 bits of the key's SHA-256.
    #[must_use]
    pub fn sender(&self) -> SenderId {
        SenderId(hex(&Sha256::digest(self.0)[..8]).into())
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(secret)")
    }
}

impl FromStr for ClientKey {
    type Err = KeyError;

    fn from_str(digits: &str) -> Result<Self, KeyError> {
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyError);
        }
        let bits = u128::from_str_radix(digits, 16).map_err(|_| KeyError)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

impl TryFrom<String> for ClientKey {
    type Error = KeyError;

    fn try_from(digits: String) -> Result<Self, KeyError> {
        digits.parse()
    }
}

impl From<ClientKey> for String {
    fn from(key: ClientKey) -> Self {
        key.reveal()
    }
}

/// An id of a message that is not 16 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a message is 16 lower-case hexadecimal digits")]
pub struct PublishIdError;

/// The id of a message: 64 random bits from its sender. The same number with another id is another message, so two
/// clients that share a key by mistake do not use each other's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishId(u64);

impl PublishId {
    /// An id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits, for a log that stores them.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Reads 16 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`PublishIdError`] for every other text.
    pub fn parse(digits: &str) -> Result<Self, PublishIdError> {
        let allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 16 || !digits.bytes().all(allowed) {
            return Err(PublishIdError);
        }
        u64::from_str_radix(digits, 16).map(Self).map_err(|_| PublishIdError)
    }
}

impl fmt::Display for PublishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for PublishId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublishId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = PublishId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a message")
            }
            fn visit_str<E: serde::de::Error>(self, digits: &str) -> Result<PublishId, E> {
                PublishId::parse(digits).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

/// A sender id or an epoch that is not 1 to 32 letters, digits, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not 1 to 32 ASCII letters, digits, - or _", Quoted(.0))]
pub struct OpaqueError(String);

/// The public id of a client. The key cannot be derived from it. Opaque: only compare it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(Arc<str>);

/// The id of one life of a room's log. A log that was lost and begins again has another epoch, and offsets of the old
/// epoch are invalid in it. Opaque: only compare it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// A new epoch from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(hex(&bits.to_be_bytes()).into())
    }
}

macro_rules! opaque {
    ($($type:ident)*) => {$(
        impl $type {
            /// Parses a value of the peer.
            ///
            /// # Errors
            /// [`OpaqueError`] if it is not 1 to 32 ASCII letters, digits, `-` or `_`.
            pub fn parse(text: &str) -> Result<Self, OpaqueError> {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err(OpaqueError(text.chars().take(40).collect()))
                }
            }

            /// The text, as on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
opaque!(SenderId Epoch);

crate::message::fields::read_by_serde!(ClientKey, PublishId);

super::serde_as_text! {
    SenderId, SenderId::parse, "a sender id";
    Epoch, Epoch::parse, "an epoch";
}

fn hex(bytes: &[u8]) -> String {
    // Each message of a client is looked up by a hash of its key as text, and the formatter would take longer than the hash.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_key_reads_and_writes_32_digits_and_debug_does_not_show_it() {
        let key: ClientKey = "00112233445566778899aabbccddeeff".parse().unwrap();
        assert_eq!(key.reveal(), "00112233445566778899aabbccddeeff");
        assert_eq!(format!("{key:?}"), "ClientKey(secret)");
        for wrong in [
            "",
            "0011",
            "+0112233445566778899aabbccddeeff",
            "0011223344556677 899aabbccddeeff",
        ] {
            assert_eq!(wrong.parse::<ClientKey>(), Err(KeyError), "{wrong:?}");
        }
    }

    #[test]
    fn the_sender_id_is_a_hash_of_the_key() {
        let key = ClientKey::from_random([0; 16]);
        // SHA-256 of sixteen zero bytes begins with these digits.
        assert_eq!(key.sender().as_str(), "374708fff7719dd5");
        assert_ne!(ClientKey::from_random([1; 16]).sender(), key.sender());
    }

    #[test]
    fn opaque_texts_are_short_and_plain() {
        assert_eq!(Epoch::from_random(255).as_str(), "00000000000000ff");
        assert!(Epoch::parse("a-b_C9").is_ok());
        for wrong in ["", "a b", "é", &"x".repeat(33)] {
            assert!(Epoch::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
