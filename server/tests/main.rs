//! The tests of the server over real sockets, in one program: linking a program for each file takes longer than all of
//! the tests.

mod addressed;
mod addresses;
mod admin;
mod answers;
mod assets;
mod binary;
mod chat;
#[cfg(unix)]
mod durable;
mod echo;
mod engines;
mod handler;
mod handshake;
mod http_reference;
mod lifecycle;
mod load;
mod metrics;
mod promises;
#[cfg(all(unix, feature = "redis"))]
mod proxied;
#[cfg(all(unix, feature = "redis"))]
mod redis;
#[cfg(unix)]
mod restart;
mod rooms;
#[cfg(unix)]
mod service;
mod session;
mod session_faults;
mod session_load;
mod stalls;
mod support;
mod violations;
