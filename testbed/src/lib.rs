//! Real servers for browser, end-to-end and server tests, and faults that a real server never has.
//!
//! - [`Server`]: the `talkback-server` binary as a process of its own, which can be stopped, killed and started again;
//! - [`Redis`]: a redis-server as a process of its own, which can be paused, killed and started again;
//! - [`RedisCluster`]: a Redis Cluster of such processes, whose slots can be moved;
//! - [`ReverseProxy`]: nginx or Caddy in front of servers, with the configuration of docs/;
//! - [`Proxy`]: a TCP proxy in front of a server that resets connections at any byte, or stalls, delays, slows or
//!   refuses them;
//! - [`Port`]: a free port that stays reserved while the program on it is dead;
//! - [`Balancer`]: a load balancer before several servers, which asks them for `/readyz`;
//! - [`faults`]: a WebSocket endpoint that misbehaves on request, with HTTP routes that control it from inside a page;
//! - `bin/wasm-test-runner.rs`: Cargo's runner for wasm32, which starts both and then the browser.

mod balancer;
pub mod faults;
mod port;
mod proxy;
mod redis;
mod redis_cluster;
mod reverse_proxy;
mod server;
mod unpacked;

pub use balancer::Balancer;
pub use port::Port;
pub use proxy::{Budget, Direction, Passed, Proxy};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use reverse_proxy::{ProxyProgram, ReverseProxy};
pub use server::{Server, ended};
pub use talkback_launch::{Lines, Process};
