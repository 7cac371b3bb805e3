//! Real servers for browser, end-to-end and server tests, and faults that a real server never has.
//!
//! - [`Server`]: the `talkback-server` binary as a process of its own, which can be stopped, killed and started again;
//! - [`Proxy`]: a TCP proxy in front of a server that resets connections at any byte, or stalls, delays, slows or
//!   refuses them;
//! - [`faults`]: a WebSocket endpoint that misbehaves on request, with HTTP routes that control it from inside a page;
//! - `bin/wasm-test-runner.rs`: Cargo's runner for wasm32, which starts both and then the browser.

pub mod faults;
mod proxy;
mod server;

pub use proxy::{Budget, Direction, Passed, Proxy};
pub use server::{Server, ended};
pub use talkback_launch::{Lines, Process};
