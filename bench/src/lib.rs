//! Measures Talkback's server next to reference servers, on one Linux machine with two cores.
//!
//! Read in this order:
//!
//! - [`frame`]: the masked frames that are sent, and a reader that checks every byte that comes back;
//! - [`session`]: the same for `talkback.v1`;
//! - [`clients`]: many connections on one epoll loop, cheap enough to keep any of the servers busy;
//! - [`load`]: what the clients do: echo with a number of messages in flight, append to logs, or fan-out in one room;
//! - [`process`]: a server as a child process on a core of its own, its CPU time and its memory;
//! - [`hold`]: a process that holds idle connections, because descriptors are limited per process;
//! - [`contenders`]: the servers, and how each is started;
//! - [`suite`]: scenarios in interleaved rounds, and [`results`]: what comes out of them, and how certain that is;
//! - [`report`] and [`plot`]: docs/bench.md and docs/bench.svg;
//! - [`attack`]: attacks on the server, and what they do to others, as docs/attacks.md;
//! - [`reference`](mod@reference): what the reference servers in `src/bin` share.
//!
//! `cargo xtask bench` and `cargo xtask attack` build everything and run it.

#[cfg(not(target_os = "linux"))]
compile_error!("talkback-bench reads /proc and uses epoll: it runs on Linux only");

pub mod attack;
pub mod clients;
pub mod contenders;
pub mod frame;
pub mod hold;
pub mod load;
pub mod plot;
pub mod process;
pub mod reference;
pub mod report;
pub mod results;
pub mod session;
pub mod suite;
