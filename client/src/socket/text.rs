use std::{cell::OnceCell, fmt, ops::Deref};

use js_sys::JsString;

/// The content of a text message: a JavaScript string, a Rust string, or both, converted on demand and at most once.
///
/// A received text stays in JavaScript until it is read as `str`: a text that is only shown (in a text node), forwarded
/// or dropped is never copied into wasm, and queued texts do not grow the wasm memory, which never shrinks.
///
/// Measured in Chromium on 2 busy cores: converting 1 MiB of ASCII takes 4 ms to a Rust string and 1 ms back to a
/// JavaScript string, 1 MiB of Chinese 2.3 and 3 ms, and passing the JavaScript string on takes 1 us. 16 MiB of
/// received text use no wasm memory before they are read, and 16 MiB after: `cargo test --release -p talkback-client
/// --target wasm32-unknown-unknown --test measure -- --include-ignored --nocapture`
///
/// JavaScript strings may contain lone surrogates, which have no UTF-8: each becomes U+FFFD when read as `str` and when
/// sent, as the standard's [USVString](https://webidl.spec.whatwg.org/#idl-USVString) says. Received text never
/// contains any.
#[derive(Clone, Default)]
pub struct Text {
    // At least one of the two is set, or the text is empty.
    rust: OnceCell<String>,
    js: OnceCell<JsString>,
}

impl Text {
    pub(super) fn from_js(js: JsString) -> Self {
        Self {
            rust: OnceCell::new(),
            js: OnceCell::from(js),
        }
    }

    /// The text; the first call on a received text converts it.
    pub fn as_str(&self) -> &str {
        // `TextEncoder.encode` and a copy take longer at most sizes, up to eight times as long.
        self.rust
            .get_or_init(|| self.js.get().map(String::from).unwrap_or_default())
    }

    /// The text, without a further copy if it was read before.
    pub fn into_string(self) -> String {
        self.as_str();
        self.rust.into_inner().unwrap_or_default()
    }

    /// The JavaScript string; for a received text the browser's own, not a copy.
    ///
    /// # Panics
    /// Outside of JavaScript.
    pub fn to_js(&self) -> JsString {
        self.js.get_or_init(|| self.as_str().into()).clone()
    }

    /// The JavaScript string, if it has been one.
    pub(super) fn as_js(&self) -> Option<&JsString> {
        self.js.get()
    }

    pub(super) fn utf16_len(&self) -> usize {
        match self.js.get() {
            Some(js) => js.length() as usize,
            None => self.encode_utf16().count(),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<String> for Text {
    fn from(rust: String) -> Self {
        Self {
            rust: OnceCell::from(rust),
            js: OnceCell::new(),
        }
    }
}

impl From<&str> for Text {
    fn from(rust: &str) -> Self {
        rust.to_owned().into()
    }
}

impl From<&String> for Text {
    fn from(rust: &String) -> Self {
        rust.as_str().into()
    }
}

impl From<JsString> for Text {
    fn from(js: JsString) -> Self {
        Self::from_js(js)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.into_string()
    }
}
