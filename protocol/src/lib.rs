//! What Talkback's client and server must agree on: the wire, and both halves of the session that speaks it.
//!
//! Reading order:
//! - [`message`]: [`ClientLine`] and [`ServerLine`], the only wire types; `docs/protocol.md` is the specification
//!   around them;
//! - [`id`]: names, keys and numbers, parsed once at the edge and carried as types from there on; [`Body`], what a
//!   message says;
//! - [`codec`]: lines to text and back;
//! - [`close`]: the close codes, what each means for the other side, and what an application may send;
//! - [`session`]: the state machines;
//! - `test_util` (feature `test-util`): a server over a bad network in memory, for tests.
//!
//! This crate reads no clock, no socket and no randomness, so that it builds and behaves the same in a browser and on a
//! server.

pub mod close;

#[cfg(feature = "session")]
mod body;
#[cfg(feature = "session")]
pub mod codec;
#[cfg(feature = "session")]
pub mod id;
#[cfg(feature = "session")]
pub mod message;
#[cfg(feature = "session")]
pub mod session;
#[cfg(feature = "test-util")]
pub mod test_util;

#[cfg(feature = "session")]
pub use {
    body::{Body, BodyError, BodyLimit},
    id::{
        ClientKey, Epoch, KeyError, NameError, NumberError, Offset, OffsetError, OpaqueError, PublishId,
        PublishIdError, RequestId, RoomName, SenderId, Seq, UserName,
    },
    message::{ClientLine, Cursor, CursorError, ServerLine},
    session::Moment,
};

#[cfg(all(test, target_family = "wasm"))]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
