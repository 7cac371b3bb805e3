//! The code that Talkback's client and server share: the wire types, and both halves of the session.
//!
//! Reading order:
//! - [`message`]: [`ClientLine`] and [`ServerLine`], the only wire types; `docs/protocol.md` is the specification
//!   around them;
//! - [`id`]: names, keys and numbers, as types that are checked when they are created; [`Body`], the body of a message;
//! - [`codec`]: lines to text and back;
//! - [`close`]: the close codes, their meaning for the peer, and the codes that an application may send;
//! - [`subprotocol`]: which names of subprotocols the opening handshake may have;
//! - [`session`]: the state machines;
//! - `test_util` (feature `test-util`): a server over a bad network in memory, for tests.
//!
//! This crate reads no clock, no socket and no randomness, so that it builds and behaves the same in a browser and on a
//! server.

pub mod close;
mod quoted;
pub mod subprotocol;

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

pub use quoted::{Quoted, QuotedChar};

/// For [`log_line`], which the client crate uses as well.
#[cfg(feature = "trace")]
#[doc(hidden)]
pub use log;

#[cfg(all(test, target_family = "wasm"))]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
