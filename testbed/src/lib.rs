//! What the browser and end-to-end tests stand on: real servers, and faults that a real server never shows.
//!
//! - [`Server`]: the `talkback-server` binary as a process of its own, which can be stopped, killed and started again;
//! - [`Proxy`]: a TCP line in front of it that can be cut at any byte, stalled, delayed or refused;
//! - [`faults`]: a WebSocket endpoint that misbehaves on request, with HTTP routes that control it from inside a page;
//! - `bin/wasm-test-runner.rs`: Cargo's runner for wasm32, which starts both and then the browser.

pub mod faults;
mod proxy;
mod server;

pub use proxy::{Budget, Passed, Proxy, Way};
pub use server::{Server, ended};
pub use talkback_launch::{Lines, Process};
