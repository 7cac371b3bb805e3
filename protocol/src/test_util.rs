//! A server over a bad network, in memory and on a virtual clock, for tests of clients (feature `test-util`).
//!
//! [`TestServer`] has the connections, a [`ServerSession`](crate::session::server::ServerSession) for each, and the
//! rooms with their [`Logs`]. It decides nothing by chance: wherever a real network or server may vary, it asks its
//! [`Faults`], whose defaults are a perfect network and a perfect server.
//!
//! A test drives it as follows:
//! 1. Open a connection with [`connect`](TestServer::connect) and [`request`](TestServer::request), or
//!    [`accept`](TestServer::accept) it at once.
//! 2. Send with [`send`](TestServer::send), break connections with [`cut`](TestServer::cut) and others.
//! 3. Call [`step`](TestServer::step) until it returns [`Step::Idle`], and give each [`Arrival`] to its client; then
//!    call [`tick`](TestServer::tick).
//! 4. Set the clock to [`next_time`](TestServer::next_time) and go on with 3.

mod faults;
mod log;
mod network;
mod random;
mod server;

pub use faults::{Direction, Faults, Request};
pub use log::{Appended, Entry, Logs};
pub use network::{Arrival, ConnectionId, Cut, InFlight, Step};
pub use random::Random;
pub use server::{TestServer, user_room};
