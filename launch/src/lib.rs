//! Starts programs for tests, measurements and `cargo xtask`, and ends them. It has no async runtime, so that `xtask`
//! stays quick to build.
//!
//! - [`Process`]: a child process that is killed when dropped, on request with its whole process group;
//! - [`Server`]: a server program that has said where it listens;
//! - [`Lines`]: what a child writes, read as it comes.

mod lines;
mod process;
mod server;

pub use lines::Lines;
pub use nix::sys::signal::Signal;
pub use process::{Process, signal_group};
pub use server::{Server, StartError, listening_address};
