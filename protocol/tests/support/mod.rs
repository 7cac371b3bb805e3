//! Both halves of the session on a virtual clock, with the test server and random faults between them.
//!
//! - [`World`]: the clock, the server and the clients;
//! - [`RandomFaults`](faults::RandomFaults): what goes wrong;
//! - [`Peer`]: a client with its application, which checks every output of the session;
//! - [`run`]: a list of operations, and the promises that must hold after it.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its own part"
)]

mod faults;
pub mod fuzz;
mod judge;
mod ops;
mod peer;
mod recording;
mod world;

pub use ops::{Op, run, seeded};
pub use peer::{Peer, Sent};
pub use world::{TTL, World};

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
