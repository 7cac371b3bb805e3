//! Starts and ends programs for tests, measurements and `cargo xtask`. It has no async runtime, so that `xtask` builds
//! quickly.
//!
//! - [`Process`]: a child process that is killed when dropped, optionally with its whole process group;
//! - [`Server`]: a server program that listens;
//! - [`Lines`]: the output of a child process.

mod lines;
mod process;
mod server;

pub use lines::Lines;
pub use nix::sys::signal::Signal;
pub use process::{Process, signal_group};
pub use server::{Server, StartError, listening_address};
