//! Both halves of the session, as state machines without any I/O.
//!
//! A session has one input method, `handle`, one queue of outputs, `poll_output`, and one timer, `next_timeout`. The
//! client's also has a method for each command of its application, which returns what is known at once. A session
//! reads no clock and no randomness: both are given with each call, as a [`Moment`]. So a driver is a loop, and a test
//! can run a day of faults in milliseconds and replay them.
//!
//! # The contract of a driver
//!
//! 1. Give each event to `handle`, and call the method of each command of the application, each with a [`Moment`]. All
//!    events that have happened already may be given before the next step.
//! 2. Take outputs from `poll_output` until it returns `None`, and carry them out in order. An event or a command that
//!    comes in between may be given at once, because a session calls no foreign code. Its outputs come after those that
//!    are there.
//! 3. Call `next_timeout`, and wait for the next event until this time; then give a `Tick`.
//!
//! As a loop, here with both halves in one place and a transport that cannot fail:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use talkback_protocol::{
//!     Body, ClientKey, Epoch, Moment, Offset, RoomName, UserName,
//!     session::{client, server},
//! };
//!
//! let start = Duration::ZERO;
//! let key = ClientKey::from_random([7; 16]); // from a cryptographic source
//! let mut client = client::ClientSession::new(client::ClientOptions::default(), key);
//! let mut server = server::ServerSession::new(Arc::new(server::ServerOptions::default()), start);
//! let moment = Moment { now: start, random: 4 }; // a clock and random bits, fresh for each input
//!
//! client.connect(moment);
//! client.publish(moment, RoomName::parse("lobby")?, Body::text("hello"), 1)?;
//!
//! let mut log = Vec::new();
//! let mut acked = None;
//! while acked.is_none() {
//!     // Steps 1 and 2 of the client's driver: a WebSocket stands behind these.
//!     while let Some(output) = client.poll_output() {
//!         match output {
//!             client::Output::Connect { generation } => client.handle(moment, client::Input::Opened { generation }),
//!             client::Output::Transmit { text, .. } => server.handle(moment, server::Input::Received { text }),
//!             client::Output::Delivery { state: client::DeliveryState::Acked { offset, .. }, .. } => acked = Some(offset),
//!             _ => {}
//!         }
//!     }
//!     // Steps 1 and 2 of the server's driver: a log and a hub stand behind these.
//!     while let Some(output) = server.poll_output() {
//!         match output {
//!             server::Output::Identify { name, .. } => {
//!                 let user = name.unwrap_or(UserName::parse("user")?);
//!                 let identity = server::Identity { user, expires: None, allowance: None };
//!                 server.handle(moment, server::Input::Identified(Ok(identity)));
//!             }
//!             server::Output::Append { room, seq, content: Ok(body), .. } => {
//!                 log.push(body);
//!                 let offset = Offset::new(log.len() as u64)?;
//!                 let outcome = server::AppendOutcome::Added(server::Place { epoch: Epoch::from_random(5), offset, at: 0 });
//!                 server.handle(moment, server::Input::Appended { room, seq, outcome });
//!             }
//!             server::Output::Transmit(text) => {
//!                 client.handle(moment, client::Input::Received { generation: 1, text });
//!             }
//!             _ => {}
//!         }
//!     }
//!     // Step 3: a driver waits here until something happens or this time has come.
//!     assert!(client.next_timeout() > Some(start) && server.next_timeout() > Some(start));
//! }
//! assert_eq!(acked, Some(Offset::new(1)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod client;
pub mod server;
mod trace;

use std::time::Duration;

/// The time of an event or of a command, and random bits.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time since any fixed start. It must include the time during which the machine sleeps, so that a dead peer is
    /// detected on waking. If it steps back, the session acts as if it had not changed.
    pub now: Duration,
    /// Fresh uniform random bits; for spreading retries, not for secrets.
    pub random: u64,
}
