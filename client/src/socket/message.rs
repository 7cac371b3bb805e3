use js_sys::{ArrayBuffer, DataView, JsString, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, WebSocket};

use super::{Binary, Text};

/// One message, received or to be sent.
///
/// ```
/// use talkback_client::Message;
///
/// let text = Message::from("Hello, World!");
/// assert_eq!(text.as_text(), Some("Hello, World!"));
/// let bytes = Message::from(vec![1, 2, 3]);
/// assert_eq!(bytes.as_binary(), Some([1, 2, 3].as_slice()));
/// ```
///
/// Cloning a received message before it is read copies a reference and not the content.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Text. It is valid UTF-8 on the wire in both directions.
    Text(Text),
    /// Bytes. Received if the socket's binary type is [`BinaryType::ArrayBuffer`](crate::BinaryType::ArrayBuffer).
    Binary(Binary),
    /// Bytes that the browser stores. Received if the socket's binary type is
    /// [`BinaryType::Blob`](crate::BinaryType::Blob).
    ///
    /// Reading one ([`Blob::array_buffer`]) is asynchronous: code that reads several at once must preserve their order
    /// itself.
    Blob(Blob),
}

impl Message {
    /// The text, if this is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if this is a binary message in memory, that is no blob.
    pub fn as_binary(&self) -> Option<&[u8]> {
        match self {
            Self::Binary(binary) => Some(binary),
            _ => None,
        }
    }

    /// The `data` of a [message event](https://websockets.spec.whatwg.org/#feedback-from-the-protocol): a string, an
    /// ArrayBuffer or a Blob.
    pub(super) fn received(data: JsValue) -> Self {
        let data = match data.dyn_into() {
            Ok(string) => return Self::Text(Text::from_js(string)),
            Err(data) => data,
        };
        match data.dyn_into::<ArrayBuffer>() {
            Ok(buffer) => Self::Binary(buffer.into()),
            Err(blob) => Self::Blob(blob.unchecked_into()),
        }
    }

    pub(super) fn send_by(&self, web: &WebSocket) -> Result<(), JsValue> {
        match self {
            Self::Text(text) => match text.as_js() {
                // web-sys has one `send` for each type and none for a JavaScript string. All of them call the same
                // function of the browser with their argument unchanged.
                Some(js) => web.send_with_array_buffer_view(js),
                // The JavaScript string lives during the call only: one that Rust keeps costs half as much again.
                None => web.send_with_str(text),
            },
            Self::Binary(binary) => web.send_with_array_buffer_view(&binary.to_js()),
            Self::Blob(blob) => web.send_with_blob(blob),
        }
    }

    /// An upper bound of the memory used while the message is queued, in bytes.
    pub(super) fn queued_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.utf16_len().saturating_mul(2),
            Self::Binary(binary) => binary.byte_len(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a size is an integer; `as` saturates"
            )]
            Self::Blob(blob) => blob.size() as usize,
        }
    }
}

macro_rules! from {
    ($($variant:ident: $($source:ty),*;)*) => {$($(
        impl From<$source> for Message {
            fn from(content: $source) -> Self {
                Self::$variant(content.into())
            }
        }
    )*)*};
}
from! {
    Text: Text, &str, String, &String, JsString;
    Binary: Binary, &[u8], Vec<u8>, ArrayBuffer, Uint8Array, DataView;
    Blob: Blob;
}
