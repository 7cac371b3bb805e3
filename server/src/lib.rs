//! The Talkback server: an axum application with WebSocket echo and group chat.
//!
//! In reading order:
//! - [`router`] is the URL map, [`operations`] the one for operators; [`AppState`] is the state of all handlers. Nest
//!   it into your own axum application, or let
//! - [`serve()`] run it: the accept loop with its limits and its shutdown, by the settings of [`AppOptions`];
//! - [`socket`] is a WebSocket for axum handlers, useful on its own: [`socket::Upgrade`], [`socket::Socket`],
//!   [`socket::Sender`];
//! - [`engine`] keeps the log of every room;
//! - [`hub`] has the rooms with members: one message, encoded once, reaches all of them;
//! - [`Groups`] says to which groups users belong, to which a back end can address messages;
//! - [`origin`] decides which pages may connect, [`names`] which names users and rooms may have; [`metrics`] counts;
//!   [`shutdown`] waits for signals; [`logging`] writes to stderr.

mod addressing;
pub mod admin;
mod answers;
mod app;
mod connection;
pub mod engine;
mod http;
pub mod hub;
mod limits;
pub mod logging;
pub mod metrics;
pub mod names;
mod notify;
mod options;
pub mod origin;
mod rate;
mod serve;
pub mod shutdown;
pub mod socket;

pub use addressing::Groups;
pub use app::{AppState, operations, router};
pub use options::{Action, ApiKey, AppOptions, EngineOption, LogFormat, OptionsError};
pub use serve::{serve, serve_router};
