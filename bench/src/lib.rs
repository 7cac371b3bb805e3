//! Measures Talkback's server next to reference servers, on one Linux machine with two cores.
//!
//! Read in this order:
//!
//! - [`frame`]: the masked frames that are sent, and a receiver that checks every byte;
//! - [`session`]: the same for `talkback.v1`;
//! - [`clients`]: many connections on one epoll loop, with little enough work to keep every server busy;
//! - [`load`]: what the clients do: echo with a number of messages in flight, append to logs, or fan-out in one room;
//! - [`process`]: a server as a child process on a core of its own, its CPU time and its memory;
//! - [`hold`]: child processes that hold idle connections, because open files are limited per process;
//! - [`contenders`]: the servers, and how each is started;
//! - [`suite`]: loads in interleaved rounds, and [`results`]: the costs, and how certain they are;
//! - [`report`] and [`plot`]: the texts of docs/bench.md and docs/bench.svg;
//! - [`engines`]: the engines, and Django Channels beside them, for the second part of docs/bench.md;
//! - [`scaling`]: what many servers hold, by a model and a simulation, for docs/scaling.md;
//! - [`attack`]: attacks on the server, and their effect on legitimate clients, for docs/attacks.md;
//! - [`reference`](mod@reference): shared code of the reference servers in `src/bin`.
//!
//! `cargo xtask bench` and `cargo xtask attack` build the programs and run them.

#[cfg(not(target_os = "linux"))]
compile_error!("talkback-bench reads /proc and uses epoll: it runs on Linux only");

pub mod attack;
pub mod clients;
pub mod contenders;
pub mod engines;
pub mod frame;
pub mod hold;
pub mod load;
pub mod plot;
pub mod process;
pub mod reference;
pub mod report;
pub mod results;
pub mod scaling;
pub mod session;
pub mod suite;
