//! What Talkback's client and server must agree on, and nothing else.
//!
//! Reading order:
//! - [`close`]: the close codes on the wire, what each means for the other side, and what an application may send;
//! - [`id`]: names of rooms and users, parsed once at the edge and carried as types from there on.
//!
//! This crate reads no clock, no socket and no randomness, so that it builds and behaves the same in a browser and on a server.

pub mod close;
pub mod id;

pub use id::{NameError, RoomName, UserName};
