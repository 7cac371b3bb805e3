use std::{cell::OnceCell, fmt, ops::Deref};

use js_sys::{ArrayBuffer, DataView, Uint8Array};

/// The content of a binary message: a JavaScript byte array, Rust bytes, or both, copied on demand and at most once.
///
/// Like [`Text`](crate::Text), received bytes stay in JavaScript until they are read as a slice. A `Binary` made from
/// an `ArrayBuffer` or a view of one shares that buffer, so it has the buffer's content at the time when it is read or
/// sent.
#[derive(Clone, Default)]
pub struct Binary {
    // At least one of the two is set, or it is empty.
    rust: OnceCell<Vec<u8>>,
    js: OnceCell<Uint8Array>,
}

impl Binary {
    /// The bytes; the first call on received bytes copies them.
    pub fn as_slice(&self) -> &[u8] {
        self.rust
            .get_or_init(|| self.js.get().map(Uint8Array::to_vec).unwrap_or_default())
    }

    /// The bytes, without a further copy if they were read before.
    pub fn into_vec(self) -> Vec<u8> {
        self.as_slice();
        self.rust.into_inner().unwrap_or_default()
    }

    /// The JavaScript byte array; for received bytes a view of the browser's own buffer, not a copy.
    ///
    /// # Panics
    /// Outside of JavaScript.
    pub fn to_js(&self) -> Uint8Array {
        // A copy and not a view of the wasm memory, because a view becomes invalid when the memory grows, and `send`
        // refuses shared memory.
        self.js.get_or_init(|| Uint8Array::from(self.as_slice())).clone()
    }

    pub(super) fn byte_len(&self) -> usize {
        match self.js.get() {
            Some(js) => js.byte_length() as usize,
            None => self.len(),
        }
    }
}

impl Deref for Binary {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Binary {}

impl PartialEq<[u8]> for Binary {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl From<Vec<u8>> for Binary {
    fn from(rust: Vec<u8>) -> Self {
        Self {
            rust: OnceCell::from(rust),
            js: OnceCell::new(),
        }
    }
}

impl From<&[u8]> for Binary {
    fn from(rust: &[u8]) -> Self {
        rust.to_owned().into()
    }
}

impl From<ArrayBuffer> for Binary {
    fn from(buffer: ArrayBuffer) -> Self {
        Uint8Array::new(&buffer).into()
    }
}

impl From<Uint8Array> for Binary {
    fn from(js: Uint8Array) -> Self {
        Self {
            rust: OnceCell::new(),
            js: OnceCell::from(js),
        }
    }
}

impl From<Binary> for Vec<u8> {
    fn from(binary: Binary) -> Self {
        binary.into_vec()
    }
}

impl From<DataView> for Binary {
    fn from(view: DataView) -> Self {
        // Both fit: the addresses of wasm32 have 32 bits.
        let [offset, length] = [view.byte_offset(), view.byte_length()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Uint8Array::new_with_byte_offset_and_length(&view.buffer(), offset, length).into()
    }
}

macro_rules! from_views {
    ($($view:ident),*) => {$(
        impl From<js_sys::$view> for Binary {
            fn from(view: js_sys::$view) -> Self {
                let (offset, length) = (view.byte_offset(), view.byte_length());
                Uint8Array::new_with_byte_offset_and_length(&view.buffer(), offset, length).into()
            }
        }
    )*};
}
from_views!(
    Int8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array
);
