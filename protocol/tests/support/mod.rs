//! Both halves of the session on a virtual clock, with a model of the log between them and a bad link.
//!
//! - [`World`]: the clock, the connections and what happens on them;
//! - [`Peer`]: a client with its application, which checks everything it is told;
//! - [`ModelLog`]: the log as the engine's contract has it, and all that was ever in it;
//! - [`run`]: a list of operations, and the promises that must hold after it.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its own part"
)]

pub mod fuzz;
mod judge;
mod log;
mod ops;
mod peer;
mod random;
mod recording;
mod server;
mod world;

pub use log::ModelLog;
pub use ops::{Op, run, seeded};
pub use peer::{Peer, Sent};
pub use random::Random;
pub use recording::{Direction, Recording};
pub use world::{Link, TTL, World};

use std::time::Duration;
use talkback_protocol::RoomName;

pub fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
