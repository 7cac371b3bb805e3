//! The Talkback server: an axum application with WebSocket echo and group chat.
//!
//! In reading order:
//! - [`router`] is the URL map, [`operations`] the one for those who run the server; [`AppState`] is what all handlers share. Nest it into your own axum application, or let
//! - [`serve`] run it: the accept loop with its limits and its orderly end, configured by a [`Config`];
//! - [`socket`] is a WebSocket for axum handlers, useful on its own: [`socket::Upgrade`], [`socket::Socket`], [`socket::Sender`];
//! - [`engine`] keeps what was said: the log of every room;
//! - [`hub`] has the rooms with members: one message, encoded once, reaches all of them;
//! - [`origin`] decides which pages may connect; [`names`] which names users and rooms may have; [`metrics`] counts; [`shutdown`] waits for signals; [`logging`] writes to stderr.

mod answers;
mod app;
mod config;
mod connection;
pub mod engine;
mod http;
pub mod hub;
mod limits;
pub mod logging;
pub mod metrics;
pub mod names;
mod notify;
pub mod origin;
mod rate;
mod serve;
pub mod shutdown;
pub mod socket;

pub use app::{AppState, operations, router};
pub use config::{Action, Config, ConfigError, LogFormat};
pub use http::rooms::PublishKey;
pub use serve::{serve, serve_router};
